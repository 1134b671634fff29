"""The formulation `batching`: hand-worked answers, what the reference gets wrong, and that no promise is broken."""

from __future__ import annotations

import heapq
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.cli import main
from mlsysim_opt.errors import (
    DimensionError,
    InfeasibleError,
    InputError,
    MissingFieldError,
    UnknownNameError,
    UnsupportedPrecisionError,
)
from mlsysim_opt.optimize import Solution, Task, solve, task
from mlsysim_opt.physics import ContinuousBatchingModel, ServingCapacityModel, ServingModel

ASKED: dict[str, Any] = {
    "model": "Llama3_8B", "hardware": "H100", "arrival_rate": "5 request/s", "seq_len": 2048, "output_len": 256,
}  # fmt: skip
WHOLE = {"chunk_size": 8192}
STATIC: dict[str, Any] = {"policy": "static", "choices": WHOLE}


def optimize(**given_: Any) -> Solution:
    return mo.optimize("batching", **{**ASKED, **given_})


def test_what_choices_ask_for_is_evaluated_too() -> None:
    """Chunks of 2048 tokens hold prompts of 1792 as larger ones do, so they are tried where they are named."""
    asked = {"batch_size": [64], "replicas": 1, "tp_size": 1, "pp_size": 1, "chunk_size": [2048]}
    best = optimize(choices=asked, explain=False)
    seen = mo.evaluate("batching", design=best.design, **ASKED)
    assert seen["feasible"]
    assert seen["design"] == best.design
    assert seen["metrics"]["throughput"] == best.metrics["throughput"]
    assert 2048 not in task("batching", **ASKED).problem.decisions["chunk_size"].choice.values
    for wrong in ({"chunk_size": 0}, {"chunk_size": "all"}, {"tp_size": 2.5}):
        with pytest.raises(InputError, match="is not a value of"):
            mo.evaluate("batching", design={**best.design, **wrong}, **ASKED)


def test_a_design_that_breaks_a_rule_is_evaluated_with_the_rule() -> None:
    job = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "seq_len": 8192, "global_batch_size": 512}
    best = mo.optimize("parallelism", explain=False, **job)
    seen = mo.evaluate("parallelism", design={**best.design, "tp_size": 3}, **job)
    assert not seen["feasible"]
    assert not seen["constraints"]["tp divides the heads"]  # 32 of them


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_the_accelerators_that_are_missing_are_the_least(devices: int) -> None:
    """As many replicas as accelerators are tried: six do, whatever products of splits the first box happens to hold."""
    asked = {"arrival_rate": "50 request/s", "sla_latency": "12 s"}
    with pytest.raises(InfeasibleError) as caught:
        optimize(devices=devices, **asked)
    assert "accelerators within those available" in caught.value.conflict
    (way,) = (item for item in caught.value.relaxations if "accelerators" in item.change)
    assert way.amount is not None
    assert way.amount.value == 6
    assert optimize(devices=6, explain=False, **asked).status == "optimal"
    with pytest.raises(InfeasibleError):
        optimize(devices=5, **asked)


def test_a_promise_to_all_requests_is_refused() -> None:
    with pytest.raises(InputError, match="no time is long enough for all requests") as caught:
        optimize(quantile=1, sla_latency="10 s")
    assert caught.value.path == "quantile"


def safe(asked: Task) -> list[int]:
    """Return the batches that satisfy every constraint, one scalar evaluation after the other."""
    batches = asked.problem.decisions["batch_size"].choice.values
    design = {name: item.choice.values[0] for name, item in asked.problem.decisions.items()}
    return [size for size in batches if all(asked.scalar.at({**design, "batch_size": size})[2])]


def at(batch: int, **given_: Any) -> dict[str, float]:
    """Return the metrics of a batch in base units."""
    asked = task("batching", **{**ASKED, **given_})
    design = {name: item.choice.values[0] for name, item in asked.problem.decisions.items()}
    return asked.scalar.at({**design, "batch_size": batch})[1]


# by hand --------------------------------------------------------------------------------------------------------------
def test_a_static_batch_by_hand() -> None:
    # A batch of 16 from 5 requests per s fills in 15 / 5 = 3 s from its first request, 1.5 s on average. It then takes
    # ttft + 255 itl of ServingModel, and 5 / 16 batches come per s.
    alone = ServingModel().solve(model="Llama3_8B", hardware="H100", seq_len=2048, output_len=256, batch_size=16)
    service = alone.si("ttft") + 255 * alone.si("itl")
    found = at(16, **STATIC)
    assert found["filling"] == pytest.approx(1.5)
    assert found["utilization"] == pytest.approx(5 / 16 * service, rel=1e-12)
    assert found["capacity"] == pytest.approx(16 / service, rel=1e-12)
    assert found["throughput"] == pytest.approx(16 * 256 / service, rel=1e-12)
    assert found["latency"] == pytest.approx(1.5 + found["wait"] + service, rel=1e-12)
    assert found["ttft"] == pytest.approx(1.5 + found["wait"] + alone.si("ttft"), rel=1e-12)
    assert found["memory"] == pytest.approx(alone.si("total_memory_required"), rel=1e-12)


def test_batch_one_is_unstable_and_eight_is_safe() -> None:
    # 2 requests per s. Alone, a request takes about 1.68 s: 2 x 1.68 = 3.4 servers of work for one. Eight together take
    # about 2.16 s: 2 / 8 x 2.16 = 0.54. Their filling takes 7 / 2 = 3.5 s for the first.
    asked = task("batching", **ASKED | {"arrival_rate": "2 request/s"}, sla_latency="12 s", **STATIC)
    found = safe(asked)
    assert at(1, arrival_rate="2 request/s", **STATIC)["utilization"] == pytest.approx(3.37, abs=0.01)
    assert at(8, arrival_rate="2 request/s", **STATIC)["utilization"] == pytest.approx(0.54, abs=0.01)
    assert 1 not in found
    assert 8 in found
    best = optimize(arrival_rate="2 request/s", sla_latency="12 s", objective="max_batch_size", **STATIC)
    assert best.design["batch_size"] == max(found)


def test_safe_batches_need_not_be_an_interval() -> None:
    # Eight pipeline stages take ceil(b / 8) requests each: 48 requests are 8 x 6 and take as long as 41 would, 49 are
    # 8 x 7 less some. At 49 the load is above that at 48, and only at 51 it is as low again: 48 is safe, 49 and 50 are
    # not, 51 to 60 are. Bisection from 48 would stop there.
    asked: dict[str, Any] = {
        "arrival_rate": "20 request/s", "policy": "static", "sla_latency": "6 s", "devices": 8, "max_batch_size": 96,
        "choices": {"pp_size": 8, "tp_size": 1, "replicas": 1, **WHOLE},
    }  # fmt: skip
    found = safe(task("batching", **ASKED | asked))
    assert found == [48, *range(51, 61)]
    assert optimize(objective="max_batch_size", **asked).design["batch_size"] == 60
    assert optimize(objective="min_batch_size", **asked).design["batch_size"] == 48


def test_where_the_reference_fills_for_longer_than_it_promises() -> None:
    # 5 requests per s, 20 s promised: it answers 256, of which the first waits 255 / 5 = 51 s for the others.
    best = mo.BatchingOptimizer().solve("Llama3_8B", "H100", 2048, 20_000, 5, output_len=256)
    assert at(256, **STATIC)["filling"] == pytest.approx(25.5)
    assert at(256, **STATIC)["latency_p99"] > 51
    assert best.best_batch_size == max(safe(task("batching", **ASKED, sla_latency="20 s", **STATIC))) == 59
    assert best.p99_latency.to("s").magnitude <= 20
    assert best.slo_headroom_ratio == pytest.approx(1 - best.p99_latency.to("s").magnitude / 20)
    # Simulated, with the very times of the batch: 99 of 100 requests are answered in time, and not by chance.
    service = at(59, **STATIC)
    waits = _simulated(5, 59, service["latency"] - service["filling"] - service["wait"])
    assert np.quantile(waits, 0.99) <= 20


def _simulated(rate: float, size: int, service: float) -> Any:
    arrivals = np.cumsum(np.random.default_rng(5).exponential(1 / rate, 100_000 // size * size)).reshape(-1, size)
    free = [0.0]
    ends = []
    for full in arrivals[:, -1]:
        ends.append(max(heapq.heappop(free), full) + service)
        heapq.heappush(free, ends[-1])
    return (np.array(ends)[:, None] - arrivals).ravel()


# prefill and decode apart ---------------------------------------------------------------------------------------------
APART: dict[str, Any] = {
    "policy": "disaggregated", "network_bandwidth": "50 GB/s", "seq_len": 4096, "output_len": 256, "devices": 4,
    "arrival_rate": "12 request/s",
}  # fmt: skip
HELD: dict[str, Any] = {"prefill_replicas": 2, "replicas": 1, "tp_size": 1, "pp_size": 1, **WHOLE}


def test_phases_apart_by_hand() -> None:
    # Prompts of 3840 tokens, one at a time, by two workers; one worker decodes 16 requests at once, each of which stays
    # for 255 steps: the slower of both rates is the capacity.
    prompt = ServingModel().solve(model="Llama3_8B", hardware="H100", seq_len=3840, batch_size=1,
                                  prefill_chunk_tokens=8192)  # fmt: skip
    decode = ServingModel().solve(model="Llama3_8B", hardware="H100", seq_len=4096, output_len=256, batch_size=16,
                                  prefill_chunk_tokens=1)  # fmt: skip
    found = at(16, **APART, choices=HELD)
    each, stay = prompt.si("ttft"), 255 * decode.si("itl")
    assert found["capacity"] == pytest.approx(min(2 / each, 16 / stay), rel=1e-12)
    assert found["utilization"] == pytest.approx(max(12 * each / 2, 12 * stay / 16), rel=1e-12)
    assert found["devices"] == 3
    assert found["disaggregation_ratio"] == 2
    sent = 3840 * 131072 / 50e9  # bytes of keys and values of a token: 32 layers x 8 heads x 128 x 2 x 2
    assert found["latency"] == pytest.approx(each + sent + found["wait"] + stay, rel=1e-9)
    assert found["itl_p99"] >= found["itl"]


def test_phases_apart_have_the_rate_of_the_pools_of_disaggregated_serving() -> None:
    pools = mo.optimize(
        "disaggregated_serving", model="Llama3_8B", precision="fp16", input_len=3840, output_len=256, devices=3,
        prefill_device="H100", decode_device="H100", tp_size=1, prefill_batch=1, decode_batch=16, equal_replicas=True,
        choices={"prefill_workers": 2, "decode_workers": 1},
    )  # fmt: skip
    found = at(16, **APART, choices={**HELD, "chunk_size": 3840})
    assert found["capacity"] == pytest.approx(pools.metrics["request_rate"].to("request/s").magnitude, rel=1e-9)


def test_the_ratio_is_the_best_of_all() -> None:
    given_ = {**APART, "sla_ttft": "800 ms", "sla_itl": "25 ms", "sla_latency": "8 s", "max_batch_size": 48,
              "choices": {"tp_size": 1, "pp_size": 1, **WHOLE}}  # fmt: skip
    asked = task("batching", **ASKED | given_, objective="max_throughput")
    design = {name: item.choice.values[0] for name, item in asked.problem.decisions.items()}
    best = 0.0
    for prefill in range(1, 5):
        for decode in range(1, 5):
            for size in range(1, 49):
                found = asked.scalar.at({**design, "prefill_replicas": prefill, "replicas": decode, "batch_size": size})
                best = max(best, found[1]["throughput"] if all(found[2]) else 0.0)
    assert best > 0
    for backend in ("enumerate", "milp"):
        answer = solve(asked, backend=backend)
        assert answer.metrics["throughput"].to("token/s").magnitude == pytest.approx(best, rel=1e-9)
        assert answer.verify()["constraints_hold"]


def test_what_phases_apart_promise_is_kept_in_a_simulation() -> None:
    found = at(16, **APART, choices={**HELD, "replicas": 2})
    sent = 3840 * 131072 / 50e9
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(1 / 12, 60_000))
    each = ServingModel().solve(model="Llama3_8B", hardware="H100", seq_len=3840, batch_size=1,
                                prefill_chunk_tokens=8192).si("ttft")  # fmt: skip
    stay = 255 * found["itl"]
    first = _through(arrivals, 2, each)
    done = _through(np.sort(first + sent), 32, stay)
    assert np.quantile(first + sent - arrivals, 0.99) <= found["ttft_p99"] * 1.02
    assert np.quantile(np.sort(done) - arrivals, 0.99) <= found["latency_p99"] * 1.02


def _through(arrivals: Any, servers: int, service: float) -> Any:
    """Return when each of the arrivals, in order, leaves equal servers."""
    free = [0.0] * servers
    ends = []
    for arrival in arrivals:
        ends.append(max(heapq.heappop(free), arrival) + service)
        heapq.heappush(free, ends[-1])
    return np.array(ends)


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    sets = [f"{name}={value}" for name, value in {**ASKED, **APART, "sla_itl": "30 ms", "precision": "fp8"}.items()]
    given_ = [text for item in sets for text in ("--set", item)]
    assert main(["optimize", "batching", *given_, "--set", "draft_model=Llama3_8B", "--objective", "min_devices",
                 "--constraint", "tp_size <= 2", "--json"]) == 0  # fmt: skip
    design = json.loads(capsys.readouterr().out)["design"]
    for name in ("batch_size", "chunk_size", "tp_size", "pp_size", "ep_size", "replicas", "draft_tokens"):
        assert name in design
    assert design["prefill_replicas"] >= 1


# one relation, one value ----------------------------------------------------------------------------------------------
def test_continuous_batching_is_that_of_the_models() -> None:
    capacity = ServingCapacityModel().solve(
        model="Llama3_8B", hardware="H100", qps=5, target_p99_latency_ms="10 s", max_seq_len=2048, output_tokens=256,
        max_batch_size=32, num_replicas=2,
    )  # fmt: skip
    found = at(32, devices=2, choices={"replicas": 2, **WHOLE})
    assert found["latency_p99"] == pytest.approx(capacity.si("estimated_p99_latency"), rel=1e-12)
    assert found["itl"] == pytest.approx(capacity.si("itl"), rel=1e-12)
    assert found["capacity"] == pytest.approx(capacity.si("qps_capacity"), rel=1e-12)
    full = ContinuousBatchingModel().solve(
        model="Llama3_8B", hardware="H100", seq_len=2048, output_len=256, max_batch_size=32
    )
    assert found["memory"] == pytest.approx(full.si("total_memory_required"), rel=1e-12)
    assert found["decode_step"] == pytest.approx(full.si("decode_step"), rel=1e-12)


def test_small_chunks_shorten_the_longest_gap_between_tokens() -> None:
    # 5 prompts per s in one pass of 8192, and gaps of 10 ms: 5 % of the gaps have one, more than the 1 % beyond P99.
    gaps = [at(64, choices={"chunk_size": chunk})["itl_p99"] for chunk in (256, 512, 1024, 8192)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 1.5 * gaps[1]
    waits = [at(64, choices={"chunk_size": chunk})["ttft"] for chunk in (256, 8192)]
    assert waits[0] > waits[1]


def test_goodput_counts_what_keeps_the_promise() -> None:
    # 99 % keep the P99 of continuous batching by definition; twice the time lets nearly all of them.
    limit = at(16, choices=WHOLE, service_time_cv=1.0)["latency_p99"]
    asked = {"choices": WHOLE, "service_time_cv": 1.0}
    assert at(16, sla_latency=f"{limit!r} s", **asked)["goodput"] == pytest.approx(5 * 0.99, rel=1e-9)
    assert at(16, sla_latency=f"{2 * limit!r} s", **asked)["goodput"] > 5 * 0.999


# decisions ------------------------------------------------------------------------------------------------------------
def test_all_kinds_of_decisions_at_once() -> None:
    best = optimize(
        model="Llama3_70B", hardware=["H100", "H200"], devices=8, precision=["fp16", "fp8"],
        policy=["continuous", "static"], draft_model=["none", "Llama3_8B"], sla_latency="20 s", sla_ttft="2 s",
        price="H100=3 USD/h, H200=4 USD/h", objective="min_cost_per_million_tokens",
        choices={"batch_size": [1, 4, 16, 32, 64], "draft_tokens": [2, 4], "chunk_size": [1024, 8192], "pp_size": 1},
    )  # fmt: skip
    assert best.design["policy"] == "continuous"
    # 1,280 tokens per s of the load: 4.608 million an hour, for as many dollars as the accelerators cost.
    cost = best.metrics["cost_per_hour"].magnitude
    assert best.metrics["cost_per_million_tokens"].magnitude == pytest.approx(cost / 4.608)
    assert best.design["draft_model"] != "none" or best.design["draft_tokens"] == 2
    assert best.verify(samples=20)


def test_an_objective_of_ones_own() -> None:
    text = "cost_per_million_tokens + 0.1 USD/s * latency_p99"
    best = optimize(sla_latency="20 s", price="2 USD/h", objective=text)
    again = optimize(
        sla_latency="20 s", price="2 USD/h",
        objective=lambda m: m.cost_per_million_tokens + "0.1 USD/s" * m.latency_p99,
    )  # fmt: skip
    assert best.objective.value == again.objective.value
    # the most profitable one: what the answered tokens bring less what the accelerators cost
    rich = optimize(
        devices=4, sla_latency="20 s", price="2 USD/h", objective="cost_per_hour - 1e-6 USD/token * throughput"
    )
    assert rich.status == "optimal"


def test_a_safety_margin_leaves_room() -> None:
    plain, careful = (
        optimize(sla_latency="20 s", safety_margin=margin, objective="max_batch_size", **STATIC) for margin in (1, 1.5)
    )
    assert careful.design["batch_size"] < plain.design["batch_size"]
    assert careful.metrics["latency_p99"].to("s").magnitude * 1.5 <= 20


@pytest.mark.parametrize("backend", ["milp", "cpsat"])
def test_backends_agree(backend: str) -> None:
    asked: dict[str, Any] = {"sla_latency": "20 s", "sla_itl": "40 ms", "policy": ["static", "continuous"]}
    assert optimize(backend=backend, **asked).design == optimize(**asked).design


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(("static", "continuous")), st.floats(0.05, 40), st.floats(0.5, 60), st.floats(20, 5000),
    st.sampled_from((0.5, 0.9, 0.99, 0.999)), st.floats(1, 2), st.sampled_from((1, 2)),
)  # fmt: skip
def test_no_promise_is_broken(
    policy: str, rate: float, latency: float, ttft: float, quantile: float, margin: float, devices: int
) -> None:
    asked = task(
        "batching",
        **ASKED | {"arrival_rate": f"{rate!r} request/s", "seq_len": 1024, "output_len": 128},
        policy=policy, sla_latency=f"{latency!r} s", sla_ttft=f"{ttft!r} ms", quantile=quantile, safety_margin=margin,
        devices=devices, max_batch_size=64, objective="max_batch_size",
    )  # fmt: skip
    try:
        best = solve(asked, explain=False)
    except InfeasibleError:
        return
    _, metrics, truths, _ = asked.scalar.at(best.design)
    assert all(truths)
    assert metrics["latency_at_quantile"] * margin <= latency * (1 + 1e-12)
    assert metrics["ttft_at_quantile"] * margin <= ttft / 1000 * (1 + 1e-12)
    assert metrics["ttft_p50"] <= metrics["ttft_p99"] <= metrics["latency_p99"] < math.inf
    assert metrics["devices"] <= devices


# bad input ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given_", "error", "says"),
    [
        ({"hardware": "H1000"}, UnknownNameError, "did you mean 'H100'"),
        ({"hardware": []}, InputError, "the set of candidates is empty"),
        ({"precision": "fp17"}, UnknownNameError, "fp17"),
        ({"hardware": "A100", "precision": "fp8"}, UnsupportedPrecisionError, "fp8"),
        ({"policy": "dynamic"}, UnknownNameError, "dynamic"),
        ({"arrival_rate": "0 request/s"}, InputError, "not above 0"),
        ({"arrival_rate": 5}, InputError, "no unit"),
        ({"arrival_rate": "nan request/s"}, InputError, "arrival_rate"),
        ({"sla_latency": "20 GB"}, DimensionError, "byte"),
        ({"sla_latency": 20}, InputError, "no unit"),
        ({"sla_latency": "-1 s"}, InputError, "not above 0"),
        ({"output_len": 2048}, InputError, "leave no prompt"),
        ({"cached_prefix_len": 2000}, InputError, "only 1792 tokens"),
        ({"policy": "static", "service_time_cv": 1.0}, InputError, "continuous"),
        ({"policy": "disaggregated", "devices": 2}, InputError, "network_bandwidth"),
        ({"policy": "disaggregated", "network_bandwidth": "50 GB/s"}, InputError, "two accelerators"),
        ({"policy": "disaggregated", "network_bandwidth": "50 GB/s", "output_len": 1}, InputError, "nothing to decode"),
        ({"safety_margin": 0.5}, InputError, "at least 1"),
        ({"objective": "min_cost_per_million_tokens"}, InputError, "price"),
        ({"objective": "max_goodput"}, InputError, "no time is promised"),
        ({"objective": "min_carbon_per_million_tokens"}, InputError, "pue"),
        ({"objective": "max_speed"}, UnknownNameError, "max_speed"),
        ({"hardware": ["H100", "A100"], "price": "2 USD/h"}, InputError, "several accelerators"),
        ({"hardware": ["H100", "A100"], "price": "H100=2 USD/h", "objective": "min_cost_per_hour"}, MissingFieldError,
         "A100"),
        ({"choices": {"batchsize": 3}}, UnknownNameError, "batch_size"),
        ({"choices": {"batch_size": 0}}, InputError, "at least 1"),
        ({"choices": {"batch": 3, "batch_size": 4}}, InputError, "given twice"),
        ({"draft_model": "Llama9"}, UnknownNameError, "Llama9"),
    ],
)  # fmt: skip
def test_bad_input_is_named(given_: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        optimize(**given_)


def test_a_promise_that_cannot_be_kept_says_what_can() -> None:
    with pytest.raises(InfeasibleError) as caught:
        optimize(sla_latency="1 ms", objective="max_batch_size")
    assert caught.value.conflict == ("P99 latency within its SLA",)
    (way,) = (item for item in caught.value.relaxations if item.constraint == "P99 latency within its SLA")
    assert way.amount is not None
    assert way.amount.value is not None
    # given that much, and a hair for rounding, it is kept
    eased = (0.001 + way.amount.quantity.to("s").magnitude) * (1 + 1e-9)
    assert optimize(sla_latency=f"{eased!r} s", objective="max_batch_size").status == "optimal"


def test_a_queue_that_grows_without_end_is_not_given_up() -> None:
    with pytest.raises(InfeasibleError) as caught:
        optimize(arrival_rate="60 request/s", policy="static")
    assert caught.value.conflict == ("the queue is stable", "accelerators within those available")
    ways = {item.constraint: item for item in caught.value.relaxations}
    assert set(ways) == {"devices", "arrival_rate"}
    fewer = ways["arrival_rate"].amount
    assert fewer is not None
    assert optimize(arrival_rate=f"{fewer.value} request/s", policy="static").status == "optimal"


def test_an_objective_that_is_infinite_everywhere_is_named_with_what_makes_it_so() -> None:
    with pytest.raises(InfeasibleError, match="ttft_p99 is undefined, as none keeps 'the queue is stable'"):
        optimize(arrival_rate="60 request/s", objective="minimize max(ttft_p99, itl_p99)")


def test_prompts_wait_for_prompts_near_the_capacity() -> None:
    # 199 places are never all taken, but 24 of the 25.2 prompts per s that can be processed come.
    design = {"replicas": 1, "tp_size": 2, "pp_size": 2, "attention_dp": 1, "ep_size": 1, "chunk_size": 512,
              "batch_size": 199}  # fmt: skip
    asked = {**ASKED, "devices": 4, "sla_ttft": "500 ms", "sla_itl": "30 ms"}
    near, half = (
        mo.evaluate("batching", design=design, **{**asked, "arrival_rate": f"{rate} request/s"}) for rate in (24, 12)
    )
    assert half["feasible"]
    assert not near["feasible"]
    waits = [found["metrics"]["ttft_p99"].to("ms").magnitude for found in (half, near)]
    assert waits[0] < 250
    assert waits[1] > 700
    # and the median gap at half of the load is a step of the batch that is there, not of a full one
    steps = [half["metrics"][name].to("ms").magnitude for name in ("itl_p50", "itl", "decode_step")]
    assert steps == sorted(steps)


def test_too_many_requests_ask_for_more_accelerators() -> None:
    with pytest.raises(InfeasibleError) as caught:
        optimize(arrival_rate="12 request/s", sla_latency="20 s")
    assert "the queue is stable" in caught.value.conflict
    (more,) = (item for item in caught.value.relaxations if item.constraint == "devices")
    assert more.amount is not None
    assert (
        optimize(arrival_rate="12 request/s", sla_latency="20 s", devices=int(more.amount.value or 0)).status
        == "optimal"
    )


def test_a_model_that_does_not_fit_says_so() -> None:
    with pytest.raises(InfeasibleError) as caught:
        optimize(model="Llama3_70B", sla_latency="60 s")
    assert any("memory" in name for name in caught.value.conflict)


# the fronts of the seed documents -------------------------------------------------------------------------------------
def test_both_fronts_are_where_the_documents_import_them() -> None:
    from mlsysim_opt.core import solver
    from mlsysim_opt.solvers import BatchingOptimizer, ParallelismOptimizer

    assert BatchingOptimizer is mo.BatchingOptimizer is solver.BatchingOptimizer
    assert ParallelismOptimizer is mo.ParallelismOptimizer is solver.ParallelismOptimizer


def test_a_comparison_of_two_accelerators() -> None:
    # "Should I use A100s or H100s?": the throughput is that of the batch, not of the requests that come.
    asked: dict[str, Any] = {
        "seq_len": 2048,
        "sla_latency_ms": "20 s",
        "arrival_rate_qps": "5 1/s",
        "policy": "continuous",
    }
    slow, fast = (mo.BatchingOptimizer().solve("Llama3_8B", name, **asked) for name in ("A100", "H100"))
    assert fast.max_throughput > slow.max_throughput
    assert fast.is_feasible
    assert fast.objective_value == fast.best_batch_size


def test_the_front_of_parallelism() -> None:
    best = mo.ParallelismOptimizer().solve("Llama3_8B", "Lab_64_H100", 256, max_tp=4, max_pp=1)
    same = mo.optimize(
        "parallelism", model="Llama3_8B", fleet="Lab_64_H100", global_batch_size=256, seq_len=2048, precision="fp16",
        objective="max_mfu", constraints=["tp_size <= 4", "pp_size <= 1"], choices={"recomputation": "none"},
    )  # fmt: skip
    assert best.best_mfu == best.objective_value == same.metrics["mfu"]
    assert math.prod(best.best_config.values()) == 64
    assert best.top_candidates[0] == best.solution.design
    assert 0 < best.total_searched <= best.search_space_size
    assert best.best_step_time.magnitude > 0
    assert best.best_throughput.magnitude > 0
