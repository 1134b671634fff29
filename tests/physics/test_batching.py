"""Continuous batching, capacity and reasoning: pages and cycles by hand, and the traps of the reference."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.physics.batching import ContinuousBatchingModel
from mlsysim_opt.physics.capacity import ServingCapacityModel
from mlsysim_opt.physics.reasoning import InferenceScalingModel
from mlsysim_opt.physics.serving import ServingModel

ASKED: dict[str, Any] = {"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048, "output_len": 256}


def solve(**given: Any) -> Any:
    return ContinuousBatchingModel().solve(**{**ASKED, "max_batch_size": 4096, **given})


def test_pages_by_hand() -> None:
    # A request holds 1,792 + 256 / 2 = 1,920 tokens on average, and half a page of 16 beyond: 1,928 tokens of 131,072
    # bytes. Reserved at once it holds 2,048. What the weights (16.06 GB), 2 GiB and the work space leave of 80 GiB:
    one = solve()
    room = 80 * 2**30 - 2 * 2**30 - 8.03e9 * 2
    assert one.max_active_requests == pytest.approx(room / (1928 * 131_072), rel=0.05)
    assert one.max_active_requests / one.static_max_active_requests == pytest.approx(2048 / 1928, abs=0.01)
    assert one.paged_internal_fragmentation == pytest.approx(8 / 1928)
    assert one.static_internal_fragmentation == pytest.approx(1 - 1920 / 2048)
    assert one.speedup_vs_static >= 1


def test_a_cycle_by_hand() -> None:
    """In a cycle each of n requests is prefilled once and decodes its output: Little's law holds."""
    one = solve(max_batch_size=32)
    n, cycle = 32, one.si("request_latency") - 0.030  # the front end's 30 ms are no part of it
    assert one.active_requests == n
    assert one.si("request_rate") == pytest.approx(n / cycle, rel=1e-9)
    assert one.si("throughput") == pytest.approx(n * 256 / cycle, rel=1e-9)
    assert one.si("itl") > one.si("decode_step")
    # Without prompts there is nothing between the steps.
    alone = solve(max_batch_size=32, output_len=None, seq_len=256)
    assert alone.si("itl") == pytest.approx(alone.si("decode_step"), rel=0.01)


def test_clients_without_room_wait() -> None:
    fits = solve().max_active_requests
    full, twice = solve(max_batch_size=fits), solve(max_batch_size=2 * fits)
    assert full.si("queueing_time") == 0
    assert twice.active_requests == fits
    assert twice.si("throughput") == pytest.approx(full.si("throughput"), rel=1e-6)
    # As many wait as are served: each waits for a whole cycle.
    cycle = fits * 256 / full.si("throughput")
    assert twice.si("queueing_time") == pytest.approx(cycle, rel=1e-2)


def test_a_run_that_starts_at_once_waits_longer() -> None:
    steady, run = solve(max_batch_size=64), solve(max_batch_size=64, requests_per_client=10)
    assert run.si("ttft") - steady.si("ttft") == pytest.approx(63 / 2 * steady.si("prefill_time") / 10)
    assert run.si("itl") == steady.si("itl")


def test_throughput_has_a_compute_ceiling() -> None:
    # The reference: 2,048 requests of 128 tokens on 8B and an H100 at 15.1 ms a step, where the work alone takes more:
    # 2 x 7.5e9 x 2,048 = 30.7e12 FLOP at 989 TFLOP/s peak are 31 ms.
    many = solve(seq_len=128, output_len=None, max_batch_size=2048)
    assert many.active_requests == 2048
    assert many.si("decode_step") > 0.031
    assert many.decode_mfu < 1


def test_a_model_without_room_is_infeasible() -> None:
    none = solve(model="Llama3_70B")
    assert none.constraints["memory fits one request"] is False
    assert not none.feasible


# capacity -------------------------------------------------------------------------------------------------------------
SERVICE: dict[str, Any] = {
    "model": "Llama3_8B", "hardware": "H100", "max_seq_len": 2048, "output_tokens": 128, "target_p99_latency_ms": "20 s"
}  # fmt: skip


def test_prompts_are_charged_to_capacity() -> None:
    # The reference: 34 requests/s per H100 for 2,000-token prompts, although their work alone (2 x 7e9 x 1,920 = 27e12
    # FLOP) limits it to 989e12 / 27e12 = 37 per second at the full peak, without a single generated token.
    one = ServingCapacityModel().solve(**SERVICE, qps=1)
    assert one.si("per_replica_qps_capacity") < 989e12 * 0.683 / 27e12
    assert one.si("per_replica_qps_capacity") == pytest.approx(11, rel=0.3)


@pytest.mark.parametrize("qps", [3, 40, 200])
def test_the_number_of_replicas_is_the_smallest(qps: float) -> None:
    model = ServingCapacityModel()
    found = model.solve(**SERVICE, qps=qps)
    n = found.required_replicas
    assert found.feasible
    if n > 1:
        assert not model.solve(**SERVICE, qps=qps, num_replicas=n - 1).feasible
    assert n >= qps / found.si("per_replica_qps_capacity")


def test_a_target_below_the_bare_latency_is_named() -> None:
    # The reference's branch for this could not be reached; it said "Tail Latency" with 1,024 replicas.
    slow = ServingCapacityModel().solve(**{**SERVICE, "target_p99_latency_ms": 500}, qps=40)
    assert not slow.feasible
    assert slow.bottleneck == "Base latency"
    assert slow.constraints["P99 within the target"] is False
    assert slow.constraints["queue is stable"] is True


# reasoning ------------------------------------------------------------------------------------------------------------
def test_keys_and_values_grow_with_the_thoughts() -> None:
    # The reference froze the cache at the prompt: 16 % too fast after 51,200 tokens.
    asked: dict[str, Any] = {"model": "Llama3_8B", "hardware": "H100", "reasoning_steps": 1024}
    long = InferenceScalingModel().solve(**asked)
    assert long.si("tokens_generated") == 51_200
    frozen = long.si("ttft") + 51_199 * long.si("first_itl")
    assert long.si("total_reasoning_time") > 1.1 * frozen
    assert long.si("kv_cache_size") == 131_072 * (2048 + 51_200)
    assert long.si("last_itl") > long.si("itl") > long.si("first_itl")
    assert long.si("total_reasoning_time") == pytest.approx(long.si("ttft") + 51_199 * long.si("itl"), rel=1e-12)


def test_attempts_share_the_weights() -> None:
    asked: dict[str, Any] = {"model": "Llama3_8B", "hardware": "H100", "reasoning_steps": 20}
    one, many = (InferenceScalingModel().solve(**asked, num_samples=n) for n in (1, 32))
    assert many.si("total_reasoning_time") < 2 * one.si("total_reasoning_time")
    assert many.si("tokens_generated") == 32 * one.si("tokens_generated")
    assert one.bottleneck == "Memory"
    assert many.decode_mfu > 15 * one.decode_mfu


# properties -----------------------------------------------------------------------------------------------------------
@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(("Llama3_8B", "Mixtral_8x7B")), st.sampled_from(("H100", "H200", "B200", "MI300X")),
    st.integers(2, 16384), st.integers(1, 512), st.integers(1, 64), st.sampled_from((2, 4, 8)),
)  # fmt: skip
def test_sanity(model: str, hardware: str, prompt: int, output: int, clients: int, tp: int) -> None:
    asked = {"model": model, "hardware": hardware, "tp_size": tp, "output_len": output, "seq_len": prompt + output}
    here = ContinuousBatchingModel().solve(**asked, max_batch_size=clients)
    more = ContinuousBatchingModel().solve(**asked, max_batch_size=clients + 1)
    assert here.si("itl") >= here.si("decode_step") * (1 - 1e-12) or output == 1
    assert more.si("throughput") >= here.si("throughput") * (1 - 1e-9)
    assert more.si("ttft") >= here.si("ttft") * (1 - 1e-9)
    assert 0 <= here.prefill_share <= 1
    if output >= 16:  # else the half-empty last page outweighs what is not reserved yet
        assert here.max_active_requests >= here.static_max_active_requests
    assert all(math.isfinite(here.si(name)) for name in ("ttft", "itl", "throughput"))


# findings of a review -------------------------------------------------------------------------------------------------
def test_a_pipeline_works_on_several_prompts() -> None:
    rates = [solve(max_batch_size=64, seq_len=4160, output_len=64, pp_size=pp).si("throughput") for pp in (1, 2, 4)]
    assert rates[1] > 1.7 * rates[0]
    assert rates[2] > 3 * rates[0]


def test_one_request_must_fit_at_its_full_length() -> None:
    # On average a request of 900,000 generated tokens holds half of them; at its end it needs 118 GB of 80 GiB.
    long = solve(hardware="A100", seq_len=900_128, output_len=900_000, max_batch_size=1)
    assert long.constraints["memory fits one request"] is False


def test_an_idle_service_is_as_fast_as_one_request() -> None:
    from mlsysim_opt.physics.serving import ServingModel

    idle = ServingCapacityModel().solve(**SERVICE, qps=0.01, num_replicas=1000)
    alone = ServingModel().solve("Llama3_8B", "H100", seq_len=2048, output_len=128)
    assert idle.si("estimated_p99_latency") == pytest.approx(0.030 + alone.si("request_latency"), rel=1e-3)
    # itself, and the others it meets: 0.01 / 1000 a second, each of which stays for less than a second
    assert 1 < idle.active_batch_size < 1 + 1e-5
    busy = ServingCapacityModel().solve(**SERVICE, qps=40)
    assert 1 < busy.active_batch_size <= 32


def test_the_longest_request_must_fit() -> None:
    given = {**SERVICE, "max_seq_len": 2_000_000, "mean_request_tokens": 1000}
    assert ServingCapacityModel().solve(**given, qps=1).constraints["memory fits the longest request"] is False


def test_a_draft_in_a_continuous_batch_is_that_of_a_static_one() -> None:
    # One request, no prompt: nothing but rounds. The mean context is the same through both models.
    asked = {"model": "Llama3_70B", "hardware": "H200", "precision": "fp8", "draft_model": "Llama3_8B"}
    static = ServingModel().solve(**asked, seq_len=1024 + 256, batch_size=1)
    stream = ContinuousBatchingModel().solve(**asked, seq_len=1024 + 511, output_len=511, max_batch_size=1)
    assert stream.si("itl") == pytest.approx(static.si("itl"), rel=1e-12)
    assert stream.si("model_weights_size") == pytest.approx(static.si("model_weights_size"), rel=1e-12)
    bare = ContinuousBatchingModel().solve(
        model="Llama3_70B", hardware="H200", precision="fp8", seq_len=1024 + 511, output_len=511, max_batch_size=1
    )
    assert stream.si("itl") < bare.si("itl")
    assert stream.si("ttft") > bare.si("ttft")
    assert stream.max_active_requests < bare.max_active_requests


def test_a_wrong_split_of_a_draft_is_a_violated_rule() -> None:
    found = solve(draft_model="GPT2", tp_size=8)
    assert not found.constraints["draft: tp divides the heads"]
