"""Utilization from shapes: limits by hand, what other tools ignore, and that the shares add up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics import SingleNodeModel
from mlsysim_opt.physics.efficiency import PARTS, TRANSFORMER_PARTS, EfficiencyModel


def solve(**given_: Any) -> Any:
    return EfficiencyModel().solve(**{"model": "Llama3_8B", "hardware": "H100", **given_})


def test_a_decode_step_of_one_sequence_is_below_one_percent() -> None:
    # 1 FLOP per byte: 0.9 x 3.35 TB/s make 3.0 TFLOP/s of 989: 0.3 percent
    result = solve(workload_type="gemm", phase="decode")
    assert result.mfu == pytest.approx(0.9 * 3.35e12 / 989.4e12, rel=0.03)
    assert result.bottleneck == "Memory"
    assert result.memory_stall > 0.95


def test_trap_batch_shape_and_device_decide() -> None:
    few, many = (solve(workload_type="gemm", phase="decode", batch_size=size).mfu for size in (1, 256))
    assert many > 50 * few
    assert solve(workload_type="gemm").mfu > 100 * few
    assert solve(model="Llama3_70B").mfu > solve().mfu  # wider products leave fewer tiles empty
    assert solve(hardware="A100").mfu != solve().mfu


def test_scores_in_memory_cost_most_of_attention() -> None:
    # 32 heads, 2048 tokens: 6 passes over 32 x 2048^2 scores of 2 bytes are 1.61 GB a layer: 0.53 ms of 3.0 TB/s,
    # against 2 x 2048 x 1024 x 8192 = 34.4 GFLOP in tiles: 0.1 ms at a third of the peak
    through_memory = solve(workload_type="attention")
    in_tiles = solve(workload_type="attention", use_flash_attention=True)
    assert in_tiles.mfu > 4 * through_memory.mfu
    assert through_memory.bottleneck == "Memory"
    floor = 32 * 6 * 32 * 2048**2 * 2 / (0.9 * 3.35e12)
    assert floor < through_memory.si("time") < 1.5 * floor
    assert solve(use_flash_attention=True).mfu == solve().mfu  # the feed-forward has no scores


def test_large_products_reach_what_was_calibrated() -> None:
    reached = solve(seq_len=131072, model="Llama3_405B", hardware="H200").mfu
    calibrated = solve(seq_len=131072, model="Llama3_405B", hardware="H200", efficiency=0.6).mfu
    assert 0.6 < reached < 0.8
    assert calibrated == pytest.approx(0.6, rel=0.02)


def test_the_whole_is_that_of_the_single_node() -> None:
    # one relation, one value: the same pass asked through both
    for batch, length in ((1, 1), (1, 2048), (8, 512)):
        mine = solve(workload_type="whole", use_flash_attention=True, batch_size=batch, seq_len=length)
        node = SingleNodeModel().solve("Llama3_8B", "H100", batch_size=batch, seq_len=length)
        assert mine.mfu == pytest.approx(node.mfu, rel=1e-12)
        assert mine.si("time") == pytest.approx(node.si("latency"), rel=1e-12)
    image = EfficiencyModel().solve("ResNet50", "A100", "whole", batch_size=8)
    node = SingleNodeModel().solve("ResNet50", "A100", batch_size=8)
    assert image.mfu == pytest.approx(node.mfu, rel=1e-12)


def test_parts_that_a_model_has_not() -> None:
    with pytest.raises(InputError, match="no part 'conv'"):
        solve(workload_type="conv")
    with pytest.raises(InputError, match="no part 'ffn'"):
        solve(model="ResNet50")
    with pytest.raises(UnknownNameError):
        solve(workload_type="atention")


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(["Llama3_8B", "Mixtral_8x7B", "DeepSeek_V3", "GPT3"]),
    hardware=st.sampled_from(["H100", "A100", "MI300X", "TPUv5p", "B200"]),
    part=st.sampled_from(TRANSFORMER_PARTS),
    flash=st.booleans(),
    phase=st.sampled_from(["prefill", "decode"]),
    batch=st.integers(1, 512),
    length=st.integers(1, 16384),
)
def test_the_shares_add_up(
    model: str, hardware: str, part: str, flash: bool, phase: str, batch: int, length: int
) -> None:
    result = solve(
        model=model, hardware=hardware, workload_type=part, use_flash_attention=flash, phase=phase, batch_size=batch,
        seq_len=length, precision="bf16",
    )  # fmt: skip
    shares = result.overhead_breakdown
    assert sum(shares.values()) == pytest.approx(1, rel=1e-9)
    assert all(share >= -1e-12 for share in shares.values())
    assert 0 < result.mfu < 1
    assert result.si("achievable_flops") == pytest.approx(result.mfu * result.si("peak_flops"))


def test_every_part_is_known() -> None:
    assert set(PARTS) == {"attention", "ffn", "gemm", "conv", "whole"}
