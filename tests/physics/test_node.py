"""One accelerator: a forward pass by hand, and the traps of other tools."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysim_opt.errors import UnknownNameError, UnsupportedPrecisionError
from mlsysim_opt.physics import SingleNodeModel
from mlsysim_opt.registry import Hardware, Models


def solve(**given: Any) -> Any:
    return SingleNodeModel().solve(**{"model": "Llama3_8B", "hardware": "H100", **given})


def test_one_token_reads_the_weights_once() -> None:
    # 8,030,261,248 weights without the embedding (525,336,576) and norms (65 x 4096) of 2 bytes: 15.009 GB; with 0.5
    # % of activations over 0.9 x 3.35 TB/s: 4.98 ms
    result = solve()
    weights = 2 * (8_030_261_248 - 525_336_576 - 65 * 4096)
    assert weights < result.si("latency_memory") * 0.9 * 3.35e12 < 1.005 * weights
    assert result.bottleneck == "Memory"
    assert result.si("arithmetic_intensity") == pytest.approx(1, rel=0.01)


def test_a_long_prompt_is_bound_by_compute() -> None:
    # 2048 tokens: 2 x 6.98 B x 2048 = 28.6 TFLOP of layers, and attention, over 0.683 x 989.4 TFLOP/s: above 42 ms
    result = solve(seq_len=2048)
    assert result.bottleneck == "Compute"
    assert result.si("latency") > 2 * 6_979_321_856 * 2048 / (0.683 * 989.4e12)
    assert 0.4 < result.mfu < 0.683


def test_the_latency_is_above_both_limits_and_below_their_sum() -> None:
    for batch in (1, 8, 64, 512, 4096):
        result = solve(batch_size=batch)
        compute, memory = result.si("latency_compute"), result.si("latency_memory")
        overhead = result.si("latency_overhead")
        assert max(compute, memory) <= (result.si("latency") - overhead) * (1 + 1e-9) <= (compute + memory) * (1 + 1e-9)


def test_trap_activations_do_not_grow_with_the_weights() -> None:
    # Charging a tenth of the weights per sequence makes 32 sequences four times slower; the shapes say 15 percent.
    assert solve(batch_size=32).si("latency") < 1.2 * solve().si("latency")


def test_trap_experts_that_nobody_meets_are_not_read() -> None:
    # DeepSeek-V3 has 671 B parameters; one token meets 37 B of them
    one = SingleNodeModel().solve(model="DeepSeek_V3", hardware="H200", precision="fp8")
    assert one.si("latency_memory") * 0.9 * 4.8e12 < 45e9
    many = SingleNodeModel().solve(model="DeepSeek_V3", hardware="H200", precision="fp8", batch_size=1024)
    assert many.si("latency_memory") * 0.9 * 4.8e12 > 640e9


def test_narrow_formats_halve_the_weights() -> None:
    assert solve(precision="fp8").si("latency_memory") == pytest.approx(solve().si("latency_memory") / 2, rel=0.02)
    assert solve(precision="fp8").si("peak_flops_actual") == pytest.approx(
        2 * solve().si("peak_flops_actual"), rel=0.001
    )


def test_a_missing_precision_is_an_error_never_another_rate() -> None:
    with pytest.raises(UnsupportedPrecisionError):
        solve(precision="fp4")
    with pytest.raises(UnknownNameError):
        solve(precision="fp12")


def test_memory_that_does_not_suffice_is_infeasible() -> None:
    result = solve(model="Llama3_70B")
    assert not result.feasible
    assert result.si("memory_footprint") > 141e9
    assert solve(model="Llama3_70B", hardware="H200", precision="fp8").feasible


def test_efficiency_can_be_given() -> None:
    half = solve(efficiency=0.5, seq_len=2048)
    assert half.si("peak_flops_actual") == pytest.approx(0.5 * 989.4e12)
    assert half.si("latency") > solve(seq_len=2048, efficiency=0.9).si("latency")


def test_energy_is_rated_power_over_the_latency() -> None:
    result = solve()
    assert result.si("energy") == pytest.approx(700 * result.si("latency"))
    assert result.si("throughput") == pytest.approx(1 / result.si("latency"))


@pytest.mark.parametrize("hardware", [entry.name for entry in Hardware.all()])
@pytest.mark.parametrize("model", [entry.name for entry in Models.all()])
def test_every_model_on_every_accelerator(model: str, hardware: str) -> None:
    result = solve(model=model, hardware=hardware, batch_size=4, seq_len=16)
    assert 0 < result.mfu < 1
    assert result.si("latency") > 0
