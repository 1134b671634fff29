"""Scenarios: every promise is checked, nothing that was skipped counts as passed, each fault is called by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.scenarios import Status


def chat(**changes: Any) -> mo.Scenario:
    given: dict[str, Any] = {
        "name": "Chat", "workload": "Llama3_8B", "system": "H100", "seq_len": 4096, "output_len": 512, "batch_size": 8,
        **changes,
    }  # fmt: skip
    return mo.Scenario(**given)


def check(seen: mo.SystemEvaluation, name: str) -> Any:
    return next(item for item in seen.checks if item.name == name)


# the catalog ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", mo.Scenarios.names())
def test_scenarios_of_the_catalog_keep_their_promises(name: str) -> None:
    seen = mo.Scenarios[name].validate()
    assert seen.verdict == Status.PASS
    assert name in ("AV",) or seen.passed_all
    again = json.loads(seen.to_json())
    assert again["verdict"] == "PASS"
    assert set(again["levels"]) == {"feasibility", "performance", "macro"}
    for text in (seen.scorecard(), seen.to_html()):
        assert seen.scenario.title in text


def test_lighthouses_are_there() -> None:
    assert {"Doorbell", "AV", "Frontier", "KeywordSpotting", "LocalTraining", "MobileAssistant"} <= set(
        mo.Scenarios.names()
    )
    assert mo.Scenarios.Doorbell.spec.workload.name == "WakeVision"
    with pytest.raises(AttributeError, match="Doorbell"):
        mo.Scenarios.Dorbell  # noqa: B018
    assert not hasattr(mo.Scenarios, "Nonsense")
    for item in mo.Scenarios:  # every number says where it comes from
        assert all(datum.source or datum.estimated for datum in item.spec.parameters().values())


# promises -------------------------------------------------------------------------------------------------------------
LIMITS = {
    "ttft": "1.5 s", "itl": "30 ms", "request_latency": "20 s", "token_throughput": "500 token/s", "power": "700 W",
    "carbon": "1 tCO2e", "energy": "2 kJ",
}  # fmt: skip


def test_every_promise_is_checked_both_ways() -> None:
    base = chat(sla=LIMITS, duration="30 day", place="France").evaluate()
    for name, limit in LIMITS.items():
        assert check(base, name).status == Status.PASS, check(base, name).reason
        value, limit_seen = check(base, name).value, check(base, name).limit
        assert value == base.metric(name)
        number, unit = limit.split()
        just_missed = (1.01 if name == "token_throughput" else 0.99) * float(number) * value.si / limit_seen.si
        tight = {**LIMITS, name: f"{just_missed!r} {unit}"}
        seen = chat(sla=tight, duration="30 day", place="France").evaluate()
        assert check(seen, name).status == Status.FAIL, name
        assert seen.failed
        assert not seen.passed_all
        with pytest.raises(mo.SLAViolation, match=name):
            chat(sla=tight, duration="30 day", place="France").validate()


def test_power_and_accuracy_are_checked() -> None:
    # Both are read and never looked at in the reference implementation (trap).
    door = {"name": "Door", "workload": "WakeVision", "system": "ESP32_S3", "precision": "int8"}
    assert mo.Scenario(**door, power_budget="0.5 W", target_accuracy=0.8).evaluate().macro.status == Status.PASS
    weak = mo.Scenario(**door, power_budget="0.1 W")
    assert weak.evaluate().macro.status == Status.FAIL
    with pytest.raises(mo.SLAViolation, match="power"):
        weak.validate()
    with pytest.raises(mo.SLAViolation, match=r"accuracy is 0\.8, promised was at least 0\.9"):
        mo.Scenario(**door, target_accuracy=0.9).validate()


def test_memory_is_an_oom_with_numbers() -> None:
    large = chat(workload="Llama3_70B", sla={"itl": "1 s"})
    seen = large.evaluate()
    assert seen.feasibility.status == Status.FAIL
    assert seen.performance.status == Status.SKIPPED  # a workload that cannot run has no latency
    assert not seen.performance.metrics
    assert not seen.passed_all
    with pytest.raises(mo.OOMError) as caught:
        large.validate()
    # 141.1 GB of weights, 8 x 1.342 GB of keys and values, and the reserve of 2 GiB, on 80 GB
    assert caught.value.required_bytes > 141.1e9 + 8 * 1.342e9 + 2 * 2**30
    assert caught.value.available_bytes < 86e9


def test_a_slow_data_supply_is_not_an_oom() -> None:
    # The reference implementation raises OOMError for it (trap).
    fed = {"name": "Fed", "workload": "ResNet50", "system": "A100", "batch_size": 64, "data_rate": "6 GB/s"}
    assert mo.Scenario(**fed).evaluate().performance.status == Status.PASS
    hungry = mo.Scenario(**{**fed, "data_rate": "60 GB/s"})  # PCIe 4.0 x16 carries 31.5 GB/s one way
    seen = hungry.evaluate()
    assert seen.feasibility.status == Status.PASS
    assert check(seen, "data arrives in time").status == Status.FAIL
    with pytest.raises(mo.SLAViolation, match="data arrives in time"):
        hungry.validate()


def test_a_fleet_is_judged_with_its_split() -> None:
    # GPT-3 has 350 GB of weights. Unsharded they fit on no GPU, and the reference implementation says OOM for 1,024
    # of them (trap).
    given = {"name": "GPT-3", "workload": "GPT3", "system": "Training_1K_A100", "batch_size": 1536, "seq_len": 2048,
             "precision": "bf16", "tokens": "300e9 token", "task": "training"}  # fmt: skip
    found = mo.Scenario(**given, sla={"training_time": "40 day"}).evaluate()
    assert found.feasibility.status == Status.PASS
    assert found.design["tp_size"] * found.design["pp_size"] > 4
    fixed = mo.Scenario(**given, split={"tp_size": 8, "pp_size": 8}).evaluate()
    assert (fixed.design["tp_size"], fixed.design["pp_size"]) == (8, 8)
    assert fixed.metric("training_time").si >= found.metric("training_time").si
    # 6 x 175e9 x 300e9 FLOP at the peak of 1,024 A100 take 11.4 days.
    assert found.metric("training_time").si > 6 * 175e9 * 300e9 / (1024 * 312e12)
    alone = mo.Scenario(**given, split={"tp_size": 1, "pp_size": 1, "cp_size": 1, "zero_stage": 0})
    assert alone.evaluate().feasibility.status == Status.FAIL
    with pytest.raises(mo.InfeasibleError):
        alone.validate()


def test_a_fleet_serves_with_the_smallest_split_that_fits() -> None:
    seen = chat(workload="Llama3_70B", system="One_DGX_H100", sla={"itl": "50 ms"}).evaluate()
    assert seen.design["tp_size"] == 2  # 141 GB and a cache on 2 x 80 GB
    assert seen.design["replicas"] == 4
    one = mo.ServingModel().solve("Llama3_70B", "H100", 4096, 8, output_len=512, tp_size=2)
    assert seen.metric("itl").si == pytest.approx(one.si("itl"))
    assert seen.metric("token_throughput").si == pytest.approx(4 * one.si("throughput"))
    assert chat(workload="Llama3_70B", system="One_DGX_H100", replicas=5).evaluate().failed


def test_serving_is_not_judged_by_one_decode_token() -> None:
    # A promise for the whole request is compared with the prompt and all tokens (trap).
    seen = chat(sla_latency="1 s").evaluate()
    assert seen.metric("latency").si > 511 * seen.metric("itl").si
    assert check(seen, "latency").status == Status.FAIL


# what stays open ------------------------------------------------------------------------------------------------------
def test_skipped_is_never_passed() -> None:
    bare = chat().evaluate()
    assert bare.performance.status == bare.macro.status == Status.SKIPPED
    assert not bare.passed_all
    assert bare.verdict == Status.SKIPPED
    assert not bare.failed
    asked = chat(sla={"itl": "1 s"}).evaluate()
    assert asked.verdict == Status.PASS
    assert not asked.passed_all  # nothing is known of power, cost, carbon or accuracy


@pytest.mark.parametrize(
    ("promise", "missing"),
    [
        ({"target_accuracy": 0.5}, "no published accuracy"),
        ({"sla": {"step_time": "1 s"}}, "step_time is not a number of serving"),
        ({"sla": {"p99_latency": "1 s"}}, "arrival_rate"),
        ({"carbon_cap": "1 tCO2e"}, "duration"),
        ({"carbon_cap": "1 tCO2e", "duration": "1 day"}, "no place"),
        ({"budget": "5 USD", "duration": "1 day"}, "fleets"),
    ],
)
def test_a_promise_that_cannot_be_judged_stays_open(promise: dict[str, Any], missing: str) -> None:
    asked = chat(**promise)
    seen = asked.evaluate()
    assert len(seen.open) == 1
    assert seen.open[0].status == Status.SKIPPED
    assert missing in seen.open[0].reason
    assert seen.verdict == Status.SKIPPED
    assert not seen.passed_all
    with pytest.raises(mo.InputError, match=missing):
        asked.validate()


def test_margins() -> None:
    itl = chat().evaluate().metric("itl").si * 1e3
    kept = chat(sla={"itl": f"{itl * 1.1} ms"})
    assert check(kept.evaluate(), "itl").status == Status.WARNING  # kept, by less than the usual margin
    assert kept.evaluate().verdict == Status.WARNING
    kept.validate()
    asked = {"safety_margin": 1.5}
    assert check(chat(sla={"itl": f"{itl * 1.6} ms"}, **asked).evaluate(), "itl").status == Status.PASS
    assert check(chat(sla={"itl": f"{itl * 1.4} ms"}, **asked).evaluate(), "itl").status == Status.FAIL
    exact = chat(sla={"itl": f"{itl!r} ms"}, safety_margin=1.0)
    assert check(exact.evaluate(), "itl").status == Status.PASS  # a limit that is met exactly is met


def test_quantiles_and_unstable_queues() -> None:
    given = {"name": "Q", "workload": "ResNet50", "system": "T4", "precision": "int8"}
    calm = mo.Scenario(**given, arrival_rate="100 request/s", sla={"p50_latency": "5 ms", "p999_latency": "100 ms"})
    seen = calm.validate()
    assert seen.metric("p50_latency").si < seen.metric("p99_latency").si < seen.metric("p999_latency").si
    over = mo.Scenario(**given, arrival_rate="100000 request/s").evaluate()
    assert check(over, "the queue is stable").status == Status.FAIL
    many = mo.Scenario(**given, arrival_rate="100000 request/s", replicas=200).evaluate()
    assert check(many, "the queue is stable").status == Status.PASS


# writing it down ------------------------------------------------------------------------------------------------------
def test_quantities_and_entries_are_taken() -> None:
    made = mo.Scenario(
        "Mine", mo.Models.Language.Llama3_8B, mo.Hardware.Cloud.H100, seq_len=2048, output_len=128,
        sla={"itl": mo.Q_("20 ms")}, power_budget=mo.Q_(700, "W"),
    )  # fmt: skip
    assert made.evaluate().verdict == Status.PASS
    assert made.evaluate(batch_size=16).metric("itl").si > made.evaluate().metric("itl").si
    assert "Mine" in str(made.evaluate())


def test_every_fault_of_a_scenario_is_named_at_once() -> None:
    with pytest.raises(mo.InputError) as caught:
        mo.Scenario("x", "Llama3-8Bx", "H1000", batchsize=3, sla={"itl": "50 GB", "ttf": "1 s"})
    text = str(caught.value)
    for part in ("workload", "Llama3_8B", "system", "'H100'", "batch_size", "limits.itl", "'ttft'"):
        assert part in text
    with pytest.raises(mo.InputError, match="given twice"):
        mo.Scenario("x", "ResNet50", "A100", sla={"latency": "1 s"}, sla_latency="2 s")


def test_task_is_inferred() -> None:
    assert chat().spec.job == "serving"
    assert chat(output_len=None, seq_len=128).spec.job == "inference"
    with pytest.raises(mo.InputError, match="training needs a fleet"):
        chat(task="training")
    with pytest.raises(mo.InputError, match="only transformers"):
        mo.Scenario("x", "ResNet50", "A100", task="serving", seq_len=10)
    with pytest.raises(mo.InputError, match="leaves no prompt"):
        chat(output_len=4096)


def test_unsupported_formats_are_infeasible_not_replaced() -> None:
    seen = mo.Scenario("x", "ResNet50", "A100", precision="fp8", sla={"latency": "1 s"}).evaluate()
    assert seen.feasibility.status == Status.FAIL
    assert "A100 has no rate for precision 'fp8'" in seen.feasibility.summary


def test_html_escapes_what_comes_from_outside() -> None:
    bad = mo.Scenario("<script>alert(1)</script>", "ResNet50", "A100", application="<img src=x onerror=y>")
    page = bad.evaluate().to_html()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page  # nothing is loaded from anywhere


def test_sample_of_a_scorecard() -> None:
    text = mo.Scenarios.Doorbell.evaluate().scorecard()
    lines = text.splitlines()
    assert lines[0] == "Smart doorbell: WakeVision on ESP32_S3 (inference)"
    assert lines[1] == "verdict: PASS"
    assert any(line.startswith("feasibility") for line in lines)
    assert any("promised at most 200 ms" in line for line in lines)
