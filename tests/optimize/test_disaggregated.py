"""Disaggregated serving: the exact optimum of published tables, by hand, from the physics, and with bad inputs."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.cli import main
from mlsysim_opt.optimize import PlanSolution, Solution

TABLES = next(
    (up / "shared/reference/tables" for up in Path(__file__).resolve().parents if (up / "shared").is_dir()), Path()
)
PREFILL = "tp,ttft,seq/s,num_total_gpus\n1,900,1.0,1\n2,500,1.8,2\n"
DECODE = "tp,bs,tpot,seq/s,num_total_gpus\n2,8,20,1.0,2\n4,32,28,4.0,4\n4,64,40,6.0,4\n"
LIMITS = ["ttft <= 2 s", "itl < 30 ms"]


@pytest.fixture
def small(tmp_path: Path) -> dict[str, Any]:
    """Two tables that can be worked out by hand."""
    (tmp_path / "prefill.csv").write_text(PREFILL)
    (tmp_path / "decode.csv").write_text(DECODE)
    files = {f"{name}_table": str(tmp_path / f"{name}.csv") for name in ("prefill", "decode")}
    return {**files, "output_len": 100, "prefill_degradation": 0.9}


def asked(objective: Any, constraints: Any = LIMITS, **given: Any) -> Solution:
    found = mo.optimize("disaggregated_serving", objective=objective, constraints=constraints, **given)
    assert isinstance(found, Solution)
    return found


def pooled(objective: Any, constraints: Any = LIMITS, **given: Any) -> PlanSolution:
    found = mo.optimize("disaggregated_serving", objective=objective, constraints=constraints, **given)
    assert isinstance(found, PlanSolution)
    return found


# the published tables -------------------------------------------------------------------------------------------------
@pytest.fixture
def published() -> dict[str, Any]:
    """Tables of aiconfigurator 0.12: Llama-3.1-70B on H200, 4,000 tokens in, 1,000 out."""
    if not (TABLES / "tables_h200_sxm_prefill.csv").exists():
        pytest.skip("shared/reference/tables is not here")
    return {
        "prefill_table": str(TABLES / "tables_h200_sxm_prefill.csv"),
        "decode_table": str(TABLES / "tables_h200_sxm_decode.csv"),
        "output_len": 1000, "ttft_factor": 1.8, "prefill_degradation": 0.9, "decode_degradation": 0.92,
    }  # fmt: skip


def test_the_optimum_of_the_published_tables_in_equal_replicas(published: dict[str, Any]) -> None:
    """aiconfigurator answers 401.35: it fills 24 of the 32 accelerators."""
    found = asked(
        "max_throughput_per_device", ["ttft <= 2000 ms", "itl < 30 ms"], devices=32, equal_replicas=True, **published
    )
    assert found.design == {
        "prefill": "tp1 pp1 bs1", "decode": "tp4 pp1 bs128", "prefill_workers": 4, "decode_workers": 1, "replicas": 4,
    }  # fmt: skip
    # 4 replicas x min(4 x 1.14 x 0.9, 4.284 x 0.92) request/s x 1000 token / 32
    assert found.objective.value == pytest.approx(4 * min(4 * 1.14 * 0.9, 4.284 * 0.92) * 1000 / 32, rel=1e-12)
    assert found.objective.value == pytest.approx(492.66, abs=0.005)
    assert found.metrics["ttft"].to("ms").magnitude == pytest.approx(1578.35, abs=0.005)
    assert found.metrics["itl"].to("ms").magnitude == pytest.approx(29.908)
    assert (found.status, found.gap) == ("optimal", 0)
    found.verify()


@pytest.mark.parametrize(("rate", "devices"), [(5, 13), (10, 22), (20, 42), (50, 101), (100, 202)])
@pytest.mark.parametrize("prune", [True, False])
def test_the_fewest_devices_of_the_published_tables_in_pools(
    rate: int, devices: int, prune: bool, published: dict[str, Any]
) -> None:
    """aiconfigurator answers 104 for 50 request/s."""
    found = pooled("min_devices", equal_replicas=False, request_rate=f"{rate} request/s", prune=prune, **published)
    assert (found.objective.value, found.status, found.gap) == (devices, "optimal", 0)
    assert found.certificate.details["columns"] == 134  # with less than 30 ms; the served requests are one of them
    if prune:
        assert found.certificate.details["undominated"] < 10  # of one size, only the fastest worker can be of use
    found.verify()


def test_pools_are_no_worse_than_replicas_of_them(published: dict[str, Any]) -> None:
    pools = pooled("max_throughput_per_device", devices=40, equal_replicas=False, **published)
    equal = asked("max_throughput_per_device", devices=40, equal_replicas=True, replica_devices=16, **published)
    assert pools.objective.value >= equal.objective.value - 1e-9


def test_the_command_of_the_issue(published: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"--set={name}={value}" for name, value in published.items()]
    limits = ["--constraint", "ttft <= 2000 ms", "--constraint", "itl < 30 ms", "--json"]
    one = ["--set", "devices=32", "--set", "equal_replicas=true", "--objective", "max_throughput_per_device"]
    assert main(["optimize", "disaggregated_serving", *given, *one, *limits]) == 0
    assert json.loads(capsys.readouterr().out)["objective"]["value"] == pytest.approx(492.66, abs=0.005)
    two = ["--set", "equal_replicas=false", "--set", "request_rate=50 request/s", "--objective", "min_devices"]
    for at_hand in ([], ["--set", "devices=32"]):
        assert main(["optimize", "disaggregated_serving", *given, *at_hand, *two, *limits]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["objective"]["value"] == 101
        assert ("devices" in answer["assumptions"]) == bool(at_hand)  # that they are no limit here is said


# by hand --------------------------------------------------------------------------------------------------------------
def test_equal_replicas_by_hand(small: dict[str, Any]) -> None:
    """On 9 accelerators: 5 prefill workers of 1 (5 x 0.9 = 4.5/s) and one decode worker of 4 (4/s): 4/s, 400 token/s.

    Decode workers of 2 give half of that per accelerator, and the faster one of 4 has 40 ms. More of both do not fit.
    """
    best = asked("max_throughput", devices=9, equal_replicas=True, **small)
    assert best.objective.value == pytest.approx(400)
    assert best.design == {
        "prefill": "tp1", "decode": "tp4 bs32", "prefill_workers": 5, "decode_workers": 1, "replicas": 1,
    }  # fmt: skip
    assert best.metrics["throughput_per_device"].magnitude == pytest.approx(400 / 9)
    assert best.metrics["request_latency"].to("s").magnitude == pytest.approx(0.9 + 99 * 0.028)
    assert best.metrics["balance"] == pytest.approx(4 / 4.5)
    (binding,) = best.binding
    assert binding.name == "itl < 30 ms"  # the worker of 6/s would give 4.5 with five prefill workers
    assert binding.gain is not None
    assert binding.gain.objective.value == pytest.approx(450)


def test_replicas_follow_from_the_rate_where_devices_are_not_given(small: dict[str, Any]) -> None:
    """7/s: two replicas of (4 x 0.9 = 3.6) and 4: 7.2/s with 16; one of (8 x 0.9 = 7.2) and 8: the same, and first."""
    found = asked("min_devices", equal_replicas=True, request_rate="7 request/s", replica_devices=8, **small)
    assert found.objective.value == 16
    assert found.metrics["replicas"] == 2
    assert found.limits == []
    wide = asked("min_devices", equal_replicas=True, request_rate="7 request/s", **small)
    assert wide.objective.value == 16
    assert any("replica_devices" in text for text in wide.limits)  # what was not tried is said


def test_pools_by_hand(small: dict[str, Any]) -> None:
    """5/s: 6 prefill workers (5.4/s), and 5/s of decode: one of 4/s and one of 1/s: 6 + 4 + 2 = 12 accelerators."""
    found = pooled("min_devices", equal_replicas=False, request_rate="5 request/s", **small)
    assert found.objective.value == 12
    assert found.amounts["prefill_workers"] == [{"prefill": "tp1", "amount": 6}]
    assert found.amounts["decode_workers"] == [
        {"decode": "tp2 bs8", "amount": 1}, {"decode": "tp4 bs32", "amount": 1},
    ]  # fmt: skip
    share = pooled("max_throughput_per_device", equal_replicas=False, request_rate="5 request/s", **small)
    assert share.objective.value == pytest.approx(500 / 12)  # a ratio: the same pools


def test_a_front_of_pools_is_complete_where_devices_are_whole(small: dict[str, Any]) -> None:
    # n tp1 prefill workers do n request/s on n devices; a decode worker of 4 devices does 6, of 2 devices 1. So with
    # 9 devices 5 + 4 do 5 request/s of 100 tokens, each device less is 1 less, down to 2 + 4; what 4 or 5 devices do,
    # 1 + 2 do as well. A cover whose step is below one device has left nothing out.
    front = mo.pareto(
        "disaggregated_serving", devices=9, equal_replicas=False, objectives=["max_throughput", "min_devices"],
        **{**small, "prefill_degradation": 1.0},
    )  # fmt: skip
    assert front.values == [[500, 9], [400, 8], [300, 7], [200, 6], [100, 3]]
    assert front.complete
    assert front.guarantee.startswith("complete: all 5 undominated values")


@pytest.mark.parametrize("seed", range(8))
def test_what_ties_leave_is_not_rounded_down(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    sizes = {"prefill": (1, 2), "decode": (2, 4)}
    rates = {phase: [dice.uniform(0.5, 3) * devices for devices in of] for phase, of in sizes.items()}
    for phase, head in (("prefill", "tp,ttft"), ("decode", "tp,bs,tpot")):
        rows = [f"{n},{'8,' if phase == 'decode' else ''}20,{rate!r},{n}"
                for n, rate in zip(sizes[phase], rates[phase], strict=True)]  # fmt: skip
        (tmp_path / f"{phase}.csv").write_text("\n".join([f"{head},seq/s,num_total_gpus", *rows]) + "\n")
    front = mo.pareto(
        "disaggregated_serving", devices=12, equal_replicas=False, objectives=["max_throughput", "min_devices"],
        output_len=100, **{f"{phase}_table": str(tmp_path / f"{phase}.csv") for phase in sizes},
    )  # fmt: skip

    def most(phase: str, devices: int) -> float:
        (small_one, large_one), (slow, fast) = sizes[phase], rates[phase]
        return max(
            (k * fast + (devices - k * large_one) // small_one * slow for k in range(devices // large_one + 1)),
            default=0,
        )

    for throughput, devices in front.values:
        best = max(min(most("prefill", n), most("decode", int(devices) - n)) for n in range(1, int(devices)))
        assert throughput == pytest.approx(100 * best, rel=1e-12)


def test_choices_are_narrowed(small: dict[str, Any]) -> None:
    for equal in (True, False):
        given = {**small, "devices": 9, "equal_replicas": equal, "choices": {"decode": "tp2 bs8"}}
        found = mo.optimize("disaggregated_serving", objective="max_throughput", constraints=LIMITS, **given)
        assert found.objective.value == pytest.approx(270)  # three of 2 and three of 1: min(3, 2.7)/s; four need 10
        for name, value, says in (("decode", "tp9", "tp2 bs8"), ("decod", "tp2 bs8", "decode")):
            with pytest.raises(mo.UnknownNameError, match=value if name == "decode" else name) as caught:
                mo.optimize("disaggregated_serving", **{**given, "choices": {name: value}})
            assert says in str(caught.value.hint)


# from the physics -----------------------------------------------------------------------------------------------------
SERVED = {"model": "Llama3_8B", "precision": "fp8", "input_len": 2000, "output_len": 200, "devices": 4}


def test_workers_of_the_model_are_those_of_serving_apart() -> None:
    """Both phases on devices of their own: what `ServingModel` says of them, with the keys and values sent over."""
    found = asked(
        "max_throughput_per_device", ["itl <= 15 ms"], equal_replicas=True, prefill_device="H100", decode_device="H200",
        decode_batch=[16, 32, 64], **SERVED,
    )  # fmt: skip
    prefill, decode = found.design["prefill"].split(), found.design["decode"].split()
    assert (prefill[0], decode[0]) == ("H100", "H200")
    common = {"model": "Llama3_8B", "precision": "fp8", "hardware": "H100", "decode_hardware": "H200"}
    one = mo.ServingModel().solve(
        seq_len=2000, tp_size=int(prefill[1][2:]), batch_size=int(prefill[2][2:]), **common
    )  # fmt: skip
    two = mo.ServingModel().solve(
        seq_len=2200, output_len=200, tp_size=int(decode[1][2:]), batch_size=int(decode[2][2:]), **common
    )
    assert found.metrics["ttft"].to("s").magnitude == pytest.approx(one.ttft.to("s").magnitude, rel=1e-12)
    assert found.metrics["itl"].to("s").magnitude == pytest.approx(two.itl.to("s").magnitude, rel=1e-12)
    workers = found.design["decode_workers"] * found.design["replicas"]
    rate = int(decode[2][2:]) / (199 * two.itl.to("s").magnitude)  # a request stays for all tokens but its first
    assert found.metrics["decode_rate"].to("request/s").magnitude == pytest.approx(workers * rate, rel=1e-12)


def test_what_does_not_fit_is_no_worker() -> None:
    given = {**SERVED, "model": "Llama3_70B", "precision": "bf16"}
    with pytest.raises(mo.InputError, match="no prefill worker is possible"):
        asked("min_devices", prefill_device="H100", decode_device="H100", tp_size=1, equal_replicas=True, **given)


# bad inputs -----------------------------------------------------------------------------------------------------------
def test_what_is_missing_is_named(small: dict[str, Any]) -> None:
    with pytest.raises(mo.InputError, match="how many accelerators"):
        asked(None, equal_replicas=True, **small)
    with pytest.raises(mo.InputError, match="decode workers need a decode_table, or model, input_len, precision"):
        asked(None, devices=8, output_len=10, prefill_table=small["prefill_table"])
    with pytest.raises(mo.InputError, match="from a table or from a model"):
        asked(None, devices=8, prefill_device="H100", **small)
    with pytest.raises(mo.InputError, match="needs 'output_len'"):
        asked(None, devices=8)


def test_a_bad_table_is_named_with_the_input(small: dict[str, Any], tmp_path: Path) -> None:
    for text, says in (
        (PREFILL.replace("900", "fast"), r"prefill_table: .*prefill.csv \(line 2\): ttft: .* 'fast'"),
        (DECODE, r"prefill_table: .*has no column 'ttft'"),
    ):
        (tmp_path / "prefill.csv").write_text(text)
        with pytest.raises(mo.InputError, match=says):
            asked(None, devices=8, **small)
    with pytest.raises(mo.FileError, match=r"decode_table: no\.csv: no such file"):
        asked(None, devices=8, output_len=10, decode_table="no.csv")


# infeasible -----------------------------------------------------------------------------------------------------------
def test_ways_out_are_told_without_an_objective_too(small: dict[str, Any]) -> None:
    """5/s: six prefill workers of one (5.4/s), and a decode worker of four (6/s): 10 accelerators."""
    given = {**small, "request_rate": "5 request/s", "equal_replicas": True}
    with pytest.raises(mo.InfeasibleError) as caught:
        mo.optimize("disaggregated_serving", devices=4, **given)
    assert caught.value.conflict == ("the request rate is served",)
    lever = next(way for way in caught.value.relaxations if way.constraint == "devices")
    assert lever.amount is not None
    assert lever.amount.value == 10


def test_nothing_possible_names_the_conflict_and_ways_out(small: dict[str, Any]) -> None:
    given = {**small, "devices": 9, "equal_replicas": True}
    with pytest.raises(mo.InfeasibleError) as caught:
        asked("min_devices", [*LIMITS, "request_rate >= 4.5 request/s"], **given)
    assert set(caught.value.conflict) == {"itl < 30 ms", "request_rate >= 4.5 request/s"}
    ways = [str(item) for item in caught.value.relaxations]
    assert any("by 0.5 request/s: a limit of 4 request/s instead of 4.5 request/s" in way for way in ways), ways
    assert any("by more than 10 ms: a limit above 40 ms instead of 30 ms" in way for way in ways), ways
    assert any("devices: 13 accelerators instead of 9" in way for way in ways), ways  # five of 1, two of 4
    with pytest.raises(mo.InfeasibleError) as caught:
        pooled("min_devices", ["itl < 20 ms"], devices=9, equal_replicas=False, **small)
    assert caught.value.conflict == ("itl < 20 ms",)
