"""Weights streamed through a wafer: by hand, and the traps of other tools."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysim_opt.errors import MissingFieldError, UnknownNameError
from mlsysim_opt.physics.streaming import WeightStreamingModel
from mlsysim_opt.registry import Hardware

CS3 = Hardware.Cloud.Cerebras_CS3


def solve(**given: Any) -> Any:
    asked = {"model": "Llama3_70B", "hardware": CS3, "seq_len": 2048, **given}
    return WeightStreamingModel().solve(**asked)


def test_trap_the_system_takes_in_terabits_not_terabytes() -> None:
    # 1.2 Tbit/s = 150 GB/s. 70.55 B weights without the input embedding (128256 x 8192 = 1.051 B) and norms
    # (161 x 8192) are 69.50 B x 2 B = 139.0 GB: 0.927 s a pass, however small the batch; with 1.2 TB/s it were 0.116.
    result = solve()
    streamed = 2 * (70_553_706_496 - 128_256 * 8192 - 161 * 8192)
    assert result.si("injection_bandwidth") == 150e9
    assert 80 * result.si("layer_injection_time") == pytest.approx(streamed / 150e9, rel=1e-9)
    assert result.bottleneck == "Interconnect-Bandwidth-Bound"
    assert 0.9267 < result.si("step_time") < 0.93
    assert solve(batch_size=32).si("step_time") == pytest.approx(result.si("step_time"), rel=1e-3)


def test_throughput_grows_with_the_batch_while_injection_binds() -> None:
    one, many = solve(), solve(batch_size=32)
    assert many.throughput_tokens_per_sec == pytest.approx(32 * one.throughput_tokens_per_sec, rel=1e-3)


def test_trap_keys_and_values_follow_the_model_s_own_heads() -> None:
    # Llama 3 70B: 8 key-value heads of 128: 2 x 80 x 8 x 128 x 2 B = 327,680 bytes a token
    assert solve(batch_size=3).si("kv_cache_size") == 3 * 2048 * 327_680
    # DeepSeek-V3 keeps 512 + 64 latent numbers a layer: 61 x 576 x 2 B = 70,272 bytes a token, not 128 heads of them
    assert solve(model="DeepSeek_V3", precision="bf16").si("kv_cache_size") == 2048 * 70_272


def test_trap_prefill_attention_uses_all_query_heads() -> None:
    # At 32k tokens the core of Llama 3 70B (64 heads of 128, causal) is 2 x (64 x 256) x 32768^2 / 2 = 17.6 TFLOP a
    # layer, over 0.40 x 15 PFLOP/s: 2.9 ms; with the 8 key-value heads it were an eighth.
    result = solve(phase="prefill", seq_len=32768)
    core = 2 * 64 * 256 * 32768**2 / 2 / (0.40 * 15e15)
    products = 2 * 32768 * 855_638_016 / (0.50 * 15e15)  # 855.6 M weights a layer
    assert result.si("layer_compute_time") == pytest.approx(core + products, rel=0.03)


def test_trap_the_best_batch_fits_the_memory() -> None:
    # Balanced would be 48 thousand sequences; 44 GB less two layers of weights (3.5 GB) hold 60 of 671 MB.
    result = solve()
    assert result.balanced_batch_size > 10_000
    assert result.optimal_batch_size == result.largest_batch_size == 60
    assert solve(batch_size=result.optimal_batch_size).feasible
    assert not solve(batch_size=result.optimal_batch_size + 1).feasible


def test_the_balanced_batch_balances() -> None:
    # prompts of 2048 tokens: injection 11.6 ms a layer; work 2 x 2048 x 0.856e9 / 7.5e15 = 0.467 ms and attention
    result = solve(phase="prefill")
    assert result.optimal_batch_size == result.balanced_batch_size < result.largest_batch_size
    below = solve(phase="prefill", batch_size=result.balanced_batch_size)
    above = solve(phase="prefill", batch_size=result.balanced_batch_size + 3)
    assert below.bottleneck == "Interconnect-Bandwidth-Bound"
    assert above.bottleneck == "Compute-Bound"


def test_what_does_not_fit_says_so_and_still_names_the_largest_batch() -> None:
    result = solve(batch_size=1000)
    assert not result.feasible
    assert result.wafer_memory_utilization > 1
    assert result.largest_batch_size == 60
    assert solve(batch_size=60).wafer_memory_utilization <= 1


def test_models_that_fit_stay_on_the_wafer() -> None:
    # Llama 3 8B: 16.1 GB of 44 GB
    stays = solve(model="Llama3_8B")
    assert stays.resident
    assert stays.si("layer_injection_time") == 0
    streams = solve(model="Llama3_8B", force_streaming=True)
    assert not streams.resident
    assert streams.si("step_time") > 20 * stays.si("step_time")
    assert not solve(model="Llama3_8B", batch_size=120).resident  # its keys and values take the room


def test_experts_that_nobody_meets_are_not_streamed() -> None:
    one = solve(model="DeepSeek_V3", precision="bf16")
    many = solve(model="DeepSeek_V3", precision="bf16", batch_size=1024)
    assert one.si("layer_injection_time") < 0.06 * many.si("layer_injection_time")


def test_a_device_without_a_host_link_has_no_injection() -> None:
    with pytest.raises(MissingFieldError, match="host_link"):
        solve(hardware=CS3.model_copy(update={"host_link": None}))
    with pytest.raises(UnknownNameError):
        solve(phase="training")


def test_more_link_is_never_slower() -> None:
    lever = WeightStreamingModel().sensitivity(
        "step_time", model="Llama3_70B", hardware="Cerebras_CS3", seq_len=2048, batch_size=16
    )
    assert lever["hardware.host_link.bandwidth"] == pytest.approx(-1, abs=0.01)


def test_a_resident_step_is_the_decode_step_of_serving() -> None:
    # one relation, one value
    from mlsysim_opt.physics.serving import ServingModel

    serving = ServingModel().solve("Llama3_8B", CS3, seq_len=2048, batch_size=4)
    mine = solve(model="Llama3_8B", batch_size=4)
    assert mine.si("step_time") == pytest.approx(serving.si("itl"), rel=1e-12)
