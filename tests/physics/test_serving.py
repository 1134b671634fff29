"""Serving: both phases worked by hand, what must not make anything slower, and the traps of the reference."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.errors import (
    InputError,
    MissingFieldError,
    ScaleError,
    UnknownNameError,
    UnsupportedPrecisionError,
)
from mlsysim_opt.optimize import task
from mlsysim_opt.physics.batching import ContinuousBatchingModel
from mlsysim_opt.physics.capacity import ServingCapacityModel
from mlsysim_opt.physics.reasoning import InferenceScalingModel
from mlsysim_opt.physics.serving import ServingModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.solvers import SynthesisSolver

LLAMA: dict[str, Any] = {"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048}


def solve(**given: Any) -> Any:
    return ServingModel().solve(**{**LLAMA, **given})


def constant(name: str, of: str = "hopper") -> float:
    return float(default_catalog().find("calibration", of).parameter(name).si)


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    # Entries that state the same numbers share their equations, but not where one stands in a server and another not.
    names = [entry.name for entry in default_catalog().all("accelerator")]

    def answers(order: list[str]) -> dict[str, Any]:
        asked = type("Fresh", (ServingModel,), {})()
        found: dict[str, Any] = {}
        for name in order:
            try:
                step = asked.solve(model="Llama3_8B", hardware=name, seq_len=2048, tp_size=2)
            except InputError as error:
                found[name] = error.message
                continue
            found[name] = (step.si("itl"), step.constraints)
        return found

    assert answers(names) == answers(names[::-1])


def test_a_missing_number_is_blamed_on_the_device_that_lacks_it() -> None:
    for name in ("A100", "A100_PCIe"):  # which share their equations
        entry = default_catalog().find("accelerator", name)
        step = solve(hardware=entry.model_copy(update={"tdp": None}))
        with pytest.raises(MissingFieldError, match=f"{name} has no"):
            step.energy_per_token  # noqa: B018


# worked by hand -------------------------------------------------------------------------------------------------------
def test_a_decode_step_reads_all_weights_and_the_cache() -> None:
    # Llama 3 8B: 8.03e9 weights less the input embedding (128,256 x 4,096 = 0.53e9, looked up) = 7.50e9, 2 bytes each:
    # 15.01 GB. Cache: 2 x 8 heads x 128 x 32 layers x 2 bytes = 131,072 bytes a token, times 2,048: 0.268 GB.
    # At 0.90 x 3,350 GB/s: 4.98 + 0.089 = 5.07 ms. Everything else is small: launches 32 x 32 us + 0.3 ms = 1.3 ms.
    step = solve()
    rate = 3350e9 * constant("memory_bandwidth_efficiency")
    by_hand = (15.01e9 + 0.268e9) / rate
    assert step.si("itl_bandwidth") == pytest.approx(by_hand, rel=0.01)
    overhead = 32 * constant("serving_layer_overhead") + constant("serving_step_overhead")
    assert step.si("itl_overhead") == pytest.approx(overhead + constant("serving_request_overhead"), rel=1e-9)
    assert step.si("itl") == pytest.approx(by_hand + overhead, rel=0.03)
    assert step.decode_bottleneck == "Memory"


def test_a_prompt_is_bound_by_work() -> None:
    # 2 x 7.50e9 less the head for all but one token (2 x 0.53e9): 13.95e9 FLOP a token; causal attention on 2,048
    # tokens adds 32 x 4 x 4,096 x 1,024.5 = 0.54e9. The former at 0.683 of 989.4 TFLOP/s takes 42.3 ms, the latter at
    # 0.358 of it 3.1 ms. Half-empty waves of tiles cost up to a fifth more.
    step = solve()
    linear = 2048 * 13.95e9 / (989.4e12 * constant("gemm_efficiency"))
    attention = 2048 * 0.54e9 / (989.4e12 * constant("attention_efficiency"))
    assert 1 < step.si("ttft_compute") / (linear + attention) < 1.2
    assert step.prefill_bottleneck == "Compute"
    assert step.si("ttft") > step.si("ttft_compute")


def test_keys_and_values_of_known_models() -> None:
    # Llama 3 70B: 2 x 8 x 128 x 80 x 2 bytes = 327,680 bytes a token. DeepSeek-V3: (512 + 64) x 61 x 2 = 70,272.
    llama = solve(model="Llama3_70B", seq_len=1000)
    assert llama.si("kv_cache_size") == 327_680 * 1000
    latent = solve(model="DeepSeek_V3", hardware="H200", seq_len=1000)
    assert latent.si("kv_cache_size") == 70_272 * 1000
    assert llama.total_kv_cache_gb == pytest.approx(0.32768)


def test_speculation_follows_its_series() -> None:
    # Four proposals accepted with 0.75 each: 1 + 0.75 + 0.5625 + 0.4219 + 0.3164 = 3.05 tokens a round.
    both = {"model": "Llama3_70B", "hardware": "H200", "draft_model": "Llama3_8B"}
    spec = solve(**both, draft_acceptance_rate=0.75)
    assert spec.tokens_per_step == pytest.approx(3.0508, rel=1e-4)
    assert solve(**both, draft_acceptance_rate=1.0).tokens_per_step == 5
    assert solve(**both, draft_acceptance_rate=0.0).tokens_per_step == 1
    assert spec.si("itl") < solve(model="Llama3_70B", hardware="H200").si("itl")
    assert spec.si("model_weights_size") > solve(model="Llama3_70B", hardware="H200").si("model_weights_size")


def test_disaggregation_sends_the_cache_once() -> None:
    # 2,048 tokens x 131,072 bytes = 268 MB over 10 GB/s: 26.8 ms.
    apart = solve(decode_hardware="H200", network_bandwidth="10 GB/s")
    assert apart.si("kv_transfer_time") == pytest.approx(0.02684, rel=1e-3)
    assert apart.si("ttft") == pytest.approx(solve().si("ttft") + apart.si("kv_transfer_time"), rel=1e-9)
    assert apart.si("itl") == pytest.approx(solve(hardware="H200").si("itl"), rel=1e-12)
    assert "memory of the prefill accelerator fits" in apart.constraints


def test_chunks_read_the_weights_again() -> None:
    whole, chunked = solve(), solve(prefill_chunk_tokens=256)
    assert chunked.prefill_chunks == 8
    assert chunked.si("ttft") > whole.si("ttft")
    assert chunked.si("decode_stall_bound") < whole.si("ttft") / 3
    assert chunked.si("decode_stall_bound") >= chunked.si("prefill_chunk_time")


def test_a_cached_prefix_saves_its_share() -> None:
    warm = solve(cached_prefix_len=1024)
    assert warm.prompt_cache_hit_ratio == 0.5
    assert solve().si("ttft") / 2 < warm.si("ttft") < solve().si("ttft") / 1.5
    assert solve(cached_prefix_len=4096).constraints["the cached prefix is part of the prompt"] is False


def test_the_context_grows_with_the_output() -> None:
    # The mean of all steps lies between that of the first and of the last; the cost of a step is almost linear.
    last = solve(seq_len=2048 + 8192).si("itl")
    mean = solve(seq_len=2048 + 8192, output_len=8192)
    assert solve().si("itl") < mean.si("itl") < last
    assert mean.si("request_latency") == pytest.approx(mean.si("ttft") + 8191 * mean.si("itl"), rel=1e-12)


# traps of the reference -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch", [1, 64, 512, 4096])
def test_no_utilization_above_one(batch: int) -> None:
    # The reference: 8B on an H100, context 128, batch 4,096: implied MFU 2.6 (no compute ceiling in decode).
    step = solve(seq_len=128, batch_size=batch)
    assert 0 < step.decode_mfu < 1
    assert 0 < step.prefill_mfu < 1
    assert 0 < step.decode_bandwidth_utilization < 1


def test_a_short_prompt_still_reads_the_weights() -> None:
    # The reference: 16 tokens in 0.53 ms, although reading 15 GB at 3.35 TB/s takes 4.5 ms.
    assert solve(seq_len=16).si("ttft") > 15.0e9 / 3350e9


def test_only_active_experts_work_and_only_met_ones_are_read() -> None:
    # The reference charges all 671e9 parameters to each token of a prompt: 17 times too much.
    given: dict[str, Any] = {"model": "DeepSeek_V3", "hardware": "H200", "precision": "fp8", "tp_size": 8}
    prompt = solve(**given, seq_len=2048)
    all_experts = 2 * 671e9 * 2048 / 8 / (1979e12 * constant("gemm_efficiency"))
    assert prompt.si("ttft_compute") < all_experts / 7
    one, many = solve(**given, seq_len=128), solve(**given, seq_len=128, batch_size=256)
    whole = 671e9 / 8 / (4800e9 * constant("memory_bandwidth_efficiency"))
    assert one.si("itl_bandwidth") < whole / 8  # 37e9 of 671e9 are active
    assert many.si("itl_bandwidth") > whole * 0.9  # 256 tokens meet almost all


def test_attention_is_causal() -> None:
    # From 32,768 to 65,536 tokens, full squares of scores would add 32 x 4 x 4,096 x 32,768 = 17.2e9 FLOP a token; half
    # of that is due.
    long, short = solve(seq_len=65536), solve(seq_len=32768)
    extra = long.si("ttft_compute") / 65536 - short.si("ttft_compute") / 32768
    full = 32 * 4 * 4096 * 32768 / (989.4e12 * constant("attention_efficiency"))
    assert 0.48 * full < extra < 0.5 * full


def test_keys_and_values_keep_their_format() -> None:
    # The reference quantizes the cache with the weights: int4 weights would give half a byte per element.
    kept = solve(precision="bf16", weight_precision="int4")
    assert kept.si("kv_cache_size") == solve().si("kv_cache_size")
    assert solve(kv_precision="fp8").si("kv_cache_size") == solve().si("kv_cache_size") / 2
    assert kept.si("model_weights_size") == pytest.approx(solve().si("model_weights_size") / 4)


def test_seventy_billion_on_four_devices() -> None:
    assert not solve(model="Llama3_70B").feasible
    four = solve(model="Llama3_70B", tp_size=4)
    assert four.feasible
    assert four.si("itl") < solve(model="Llama3_70B").si("itl") / 2
    assert four.si("itl_communication") > 0


def test_a_device_without_a_rate_or_link_is_refused() -> None:
    with pytest.raises(UnsupportedPrecisionError, match="fp8"):
        solve(hardware="A100", precision="fp8")
    with pytest.raises(UnknownNameError, match="fp17"):
        solve(precision="fp17")
    with pytest.raises(UnknownNameError, match="int3"):
        solve(weight_precision="int3")


# replicas -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("qps", "replicas"), [("1e6 1/s", 91_661), ("1e8 1/s", 9_166_033)])
def test_more_requests_need_more_replicas(qps: str, replicas: int) -> None:
    # A replica answers 10.909846 requests per second: so many fewer would not keep up.
    asked: dict[str, Any] = {"model": "Llama3_8B", "hardware": "H100", "target_p99_latency_ms": "20 s"}
    assert ServingCapacityModel().solve(qps=qps, **asked).required_replicas == replicas
    assert replicas == math.ceil(float(qps.split()[0]) / 10.909846257189434)


def test_so_many_requests_that_no_number_of_replicas_is_known_to_do() -> None:
    asked: dict[str, Any] = {"model": "Llama3_8B", "hardware": "H100", "target_p99_latency_ms": "20 s"}
    with pytest.raises(ScaleError, match="qps: no number of replicas up to 1,073,741,824 keeps the queue stable"):
        ServingCapacityModel().solve(qps="1.172e10 1/s", **asked)
    told = ServingCapacityModel().solve(qps="1.172e10 1/s", num_replicas=1, **asked)
    assert not told.constraints["queue is stable"]


# one relation, one value ----------------------------------------------------------------------------------------------
def test_the_same_decode_step_from_every_model() -> None:
    """Prompt 1,024, output 511: in the middle of the output the context is 1,280 tokens."""
    batch, context = 16, 1024 + 256
    asked: dict[str, Any] = {"model": "Llama3_8B", "hardware": "H100", "precision": "bf16"}
    serving = ServingModel().solve(**asked, seq_len=context, batch_size=batch).si("itl")
    output = ServingModel().solve(**asked, seq_len=1024 + 511, output_len=511, batch_size=batch).si("itl")
    batching = ContinuousBatchingModel().solve(**asked, seq_len=1024 + 511, output_len=511, max_batch_size=batch)
    capacity = ServingCapacityModel().solve(
        **asked, qps=1, target_p99_latency_ms="100 s", max_seq_len=1024 + 511, output_tokens=511, max_batch_size=batch
    )
    thinking = InferenceScalingModel().solve(
        **asked, context_length=1024, reasoning_steps=511, tokens_per_step=1, num_samples=batch
    )
    # What the batching optimizer compiles, for both ways of batching, its splits left open.
    asked_again = task(
        "batching", **asked, arrival_rate="1 request/s", seq_len=1024 + 511, output_len=511, devices=8,
        policy=["static", "continuous"],
    )  # fmt: skip
    first = {name: item.choice.values[0] for name, item in asked_again.problem.decisions.items()}
    designs = [{**first, "batch_size": batch, "policy": policy} for policy in ("static", "continuous")]
    optimized = [asked_again.scalar.at(design)[1]["decode_step"] for design in designs]
    for other in (output, batching.si("decode_step"), capacity.si("decode_step"), thinking.si("itl"), *optimized):
        assert other == pytest.approx(serving, rel=1e-12)
    # The accelerator that is synthesized for this very time takes it, asked through each of them.
    spec = SynthesisSolver().solve(
        "Llama3_8B", f"{serving} s", precision="bf16", batch_size=batch, seq_len=context, like="H100"
    )
    made = {**asked, "hardware": spec.as_hardware()}
    alone = ServingModel().solve(**made, seq_len=context, batch_size=batch)
    assert alone.si("itl") == pytest.approx(serving, rel=1e-12)
    again = ContinuousBatchingModel().solve(**made, seq_len=1024 + 511, output_len=511, max_batch_size=batch)
    assert again.si("decode_step") == pytest.approx(serving, rel=1e-12)


# properties -----------------------------------------------------------------------------------------------------------
MODELS = ("Llama3_8B", "Llama3_70B", "Mixtral_8x7B", "DeepSeek_V3", "GPT3")
points = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "hardware": st.sampled_from(("A100", "H100", "H200", "B200", "MI300X")),
        "seq_len": st.integers(2, 65536),
        "batch_size": st.integers(1, 2048),
        "tp_size": st.sampled_from((1, 2, 4, 8)),
        "pp_size": st.sampled_from((1, 2, 3)),
    }
)


class Faster(ServingModel):
    """The model with one number of the hardware changed."""

    name, factor = "", 2.0

    def entry_values(self, values: Any) -> dict[str, Any]:
        named = super().entry_values(values)
        named[self.name] *= self.factor
        return named


@settings(max_examples=60, deadline=None)
@given(
    points, st.sampled_from(("hardware.memory.bandwidth", "hardware.compute.peak.fp16", "hardware.scale_up.bandwidth"))
)
def test_better_hardware_never_makes_it_slower(point: dict[str, Any], name: str) -> None:
    base = ServingModel().solve(**point)
    model = type("Changed", (Faster,), {"name": name})()
    better = model.solve(**point)
    for field in ("ttft", "itl"):
        assert better.si(field) <= base.si(field) * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(points)
def test_sanity_of_any_point(point: dict[str, Any]) -> None:
    here = ServingModel().solve(**point)
    assert 0 < here.prefill_mfu <= 1
    assert 0 < here.decode_mfu <= 1
    assert 0 < here.decode_bandwidth_utilization <= 1
    more = ServingModel().solve(**{**point, "batch_size": point["batch_size"] + 1})
    longer = ServingModel().solve(**{**point, "seq_len": point["seq_len"] + 1})
    if point["pp_size"] == 1:
        for field in ("ttft", "itl"):
            assert more.si(field) >= here.si(field) * (1 - 1e-12)
    for field in ("ttft", "itl", "kv_cache_size", "total_memory_required"):
        assert longer.si(field) >= here.si(field) * (1 - 1e-12)
    one = ServingModel().solve(**{**point, "batch_size": 1})
    assert here.si("itl") <= point["batch_size"] * one.si("itl") * (1 + 1e-9)
    assert here.si("total_memory_required") > here.si("kv_cache_size") + here.si("model_weights_size")


def test_power_that_is_not_published_is_said() -> None:
    known: Any = default_catalog().find("accelerator", "H100")
    unrated = type(known).model_validate({**known.__dict__, "tdp": None})
    step = solve(hardware=unrated)
    assert step.si("itl") == solve().si("itl")
    with pytest.raises(MissingFieldError, match="tdp"):
        _ = step.energy_per_token


def test_power_follows_what_is_used() -> None:
    # Published for H100 at decode: about half to all of 700 W; a step that uses more bandwidth and compute draws more.
    small, large = solve(seq_len=1024), solve(seq_len=1024, batch_size=256)
    powers = [item.si("energy_per_token") * n / item.si("itl") for item, n in ((small, 1), (large, 256))]
    assert 0.5 * 700 < powers[0] < powers[1] <= 700
    assert large.si("energy_per_token") < small.si("energy_per_token") / 40


# splits of a replica --------------------------------------------------------------------------------------------------
def test_one_request_stands_in_one_attention_group() -> None:
    # Qwen3 235B: 2 x 4 heads x 128 x 94 layers x 2 bytes = 192,512 bytes a token, 193 GB for a million, which one
    # H200 of 141 GB does not hold, however many attention groups there are.
    given: dict[str, Any] = {
        "model": "Qwen3_235B_A22B", "hardware": "H200", "precision": "fp8", "attention_dp": 8, "ep_size": 8,
    }  # fmt: skip
    one = solve(**given, seq_len=1_000_000)
    assert one.constraints["memory fits"] is False
    assert one.si("itl") > 192_512e6 / 4800e9
    eight = solve(**given, seq_len=4096, batch_size=8)
    assert eight.si("itl") == pytest.approx(solve(**given, seq_len=4096).si("itl"), rel=0.5)


def test_a_pipeline_fills_and_drains() -> None:
    # Eight prompts on eight stages: the last is through after 1 + 7/8 times the time of one.
    given: dict[str, Any] = {"model": "Llama3_70B", "seq_len": 4096, "pp_size": 8}
    one, eight = solve(**given), solve(**given, batch_size=8)
    assert eight.si("ttft") == pytest.approx(one.si("ttft") * (1 + 7 / 8), rel=1e-9)
    assert eight.prefill_mfu < solve(model="Llama3_70B", seq_len=4096, batch_size=8).prefill_mfu
    # A single request keeps one stage of four at work.
    alone = solve(pp_size=4)
    assert alone.decode_bandwidth_utilization == pytest.approx(solve().decode_bandwidth_utilization / 4, rel=0.02)


def test_the_cache_is_sent_once_however_it_is_split() -> None:
    sent = [
        solve(decode_hardware="H200", batch_size=8, **split).si("kv_transfer_time")
        for split in ({}, {"tp_size": 8}, {"pp_size": 4}, {"tp_size": 2, "pp_size": 2})
    ]
    assert sent == pytest.approx([8 * 2048 * 131_072 / 100e9] * 4, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"model": "Llama3_70B", "tp_size": 64}, "ranks within the scale-up domain"),
        ({"hardware": "H100_PCIe", "tp_size": 16}, "ranks within the scale-up domain"),
        ({"model": "Llama3_2_3B", "tp_size": 3}, "tp and the kv heads divide"),
        ({"draft_model": "GPT2", "tp_size": 8}, "draft: tp divides the heads"),
        ({"model": "GPT2", "seq_len": 8192}, "the request is within the model's context"),
    ],
)
def test_what_no_replica_can_be(given: dict[str, Any], rule: str) -> None:
    assert solve(**given).constraints[rule] is False


def test_a_draft_reads_the_prompt_too() -> None:
    both: dict[str, Any] = {"model": "Llama3_70B", "hardware": "B200"}
    extra = solve(**both, draft_model="Llama3_8B").si("ttft") - solve(**both).si("ttft")
    assert extra == pytest.approx(solve(hardware="B200").si("ttft"), rel=1e-9)
