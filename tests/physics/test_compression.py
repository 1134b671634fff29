"""Sizes by hand, speed by the same roofline, accuracy from published rows only; and the traps of other tools."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysim_opt.errors import InputError, UnknownNameError, UnsupportedPrecisionError
from mlsysim_opt.physics import SingleNodeModel
from mlsysim_opt.physics.compression import CompressionModel
from mlsysim_opt.registry import default_catalog

WEIGHTS = 8_030_261_248  # Llama 3.1 8B


def solve(**given: Any) -> Any:
    return CompressionModel().solve(**{"model": "Llama3_8B", "hardware": "H100", **given})


# quantization ---------------------------------------------------------------------------------------------------------
def test_trap_ratios_are_against_sixteen_bits() -> None:
    # INT8 of a model published in BF16 halves it; a default baseline of FP32 would claim 4x
    result = solve()
    assert result.compression_ratio == pytest.approx(2)
    assert result.si("original_size") == pytest.approx(2 * WEIGHTS, rel=1e-6)
    assert result.assumptions["baseline_precision"] == "fp16"
    assert solve(model="ResNet50", hardware="A100", baseline_precision="fp32").compression_ratio == pytest.approx(4)


def test_trap_scales_take_room() -> None:
    # 4 bits, and 16 bits for each group of 128: 4.125 bits a weight; in groups of 32: 4.5
    assert solve(target_bitwidth=4).compression_ratio == pytest.approx(16 / 4.125)
    assert solve(target_bitwidth=4, group_size=32).bits_per_weight == pytest.approx(4.5)
    assert solve(target_bitwidth=4).si("compressed_size") == pytest.approx(WEIGHTS * 4.125 / 8)


def test_speed_is_that_of_the_single_node() -> None:
    # one relation: INT8 weights and products on an H100 are the same pass asked of SingleNodeModel
    node = SingleNodeModel().solve("Llama3_8B", "H100", precision="int8", batch_size=8)
    result = solve(batch_size=8)
    assert result.si("compressed_latency") == pytest.approx(node.si("latency_resident"), rel=1e-12)
    plain = SingleNodeModel().solve("Llama3_8B", "H100", batch_size=8)
    assert result.inference_speedup == pytest.approx(plain.si("latency") / node.si("latency"), rel=1e-12)


def test_weight_only_formats_compute_in_sixteen_bits() -> None:
    # decoding: bytes fall 3.88-fold, and with them its time, but for overhead; a prompt of 2048 tokens gains nothing
    decode, prompt = solve(target_bitwidth=4), solve(target_bitwidth=4, seq_len=2048)
    assert 1.8 < decode.inference_speedup < 3.88
    assert 1 <= prompt.inference_speedup < 1.05
    assert decode.assumptions["compute_precision"] == "fp16"
    assert solve(seq_len=2048).inference_speedup > 1.5  # INT8 products are twice as fast


def test_trap_a_device_without_the_rate_does_not_get_it() -> None:
    # V100 has neither INT8 nor FP8 products: 8-bit weights are multiplied in 16 bits there
    old = solve(hardware="V100", seq_len=2048)
    assert old.assumptions["compute_precision"] == "fp16"
    assert old.inference_speedup < 1.05
    with pytest.raises(UnsupportedPrecisionError):
        solve(hardware="V100", compute_precision="int8")
    assert solve(hardware="MI300X", compute_precision="fp8").assumptions["compute_precision"] == "fp8"


def test_fewer_bits_are_smaller_and_never_slower() -> None:
    found = [solve(target_bitwidth=bits, compute_precision="fp16", group_size=128) for bits in range(2, 17)]
    sizes = [item.si("compressed_size") for item in found]
    times = [item.si("compressed_latency") for item in found]
    assert sizes == sorted(sizes)
    assert times == sorted(times)


# pruning --------------------------------------------------------------------------------------------------------------
def test_unstructured_sparsity_saves_memory_and_no_time() -> None:
    # half of 16 bits and a bit mask: 9 bits a weight
    result = solve(method="pruning", sparsity=0.5)
    assert result.bits_per_weight == pytest.approx(9)
    assert result.compression_ratio == pytest.approx(16 / 9)
    assert result.inference_speedup == 1
    assert solve(method="pruning", sparsity=0.01).compression_ratio == 1  # the mask would cost more than it saves


def test_trap_no_jump_at_one_half() -> None:
    for hardware in ("A100", "V100"):
        below, above = (
            solve(model="ResNet50", hardware=hardware, method="pruning", sparsity=share) for share in (0.4999, 0.5001)
        )
        assert below.accuracy_delta == pytest.approx(above.accuracy_delta, abs=1e-4)
        assert below.compression_ratio == pytest.approx(above.compression_ratio, rel=1e-3)
        assert below.inference_speedup == pytest.approx(above.inference_speedup, rel=1e-3)


def test_trap_two_of_four_is_faster_only_where_there_are_units_for_it() -> None:
    def ask(hardware: str, **more: Any) -> Any:
        return solve(hardware=hardware, method="pruning", sparsity_type="n_m", seq_len=2048, **more)

    assert ask("V100").inference_speedup == 1
    assert ask("V100").compression_ratio == 1
    assert 1.3 < ask("A100").inference_speedup < 2
    # 8 of 16 bits and 2 bits of index for each of two kept of four: 9 bits
    assert ask("A100").bits_per_weight == pytest.approx(9)
    with pytest.raises(InputError, match="two of four"):
        ask("A100", sparsity=0.7)


def test_structured_sparsity_makes_matrices_narrower() -> None:
    # half of the weights of the layers (6.98 B), none of the embeddings (1.05 B)
    result = solve(method="pruning", sparsity=0.5, sparsity_type="structured")
    layers = 32 * (4096 * 4096 * 2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert result.si("compressed_size") == pytest.approx(2 * (WEIGHTS - layers / 2), rel=1e-5)
    assert 1.3 < result.inference_speedup < 2
    image = solve(
        model="ResNet50", hardware="A100", method="pruning", sparsity=0.5, sparsity_type="structured", batch_size=64
    )
    assert image.compression_ratio == pytest.approx(2)
    assert 1.2 < image.inference_speedup < 2


# distillation ---------------------------------------------------------------------------------------------------------
def test_trap_distillation_is_not_a_silent_no_op() -> None:
    result = solve(model="Llama3_70B", method="distillation", student="Llama3_8B")
    assert result.compression_ratio == pytest.approx(70_553_706_496 / WEIGHTS)
    assert result.inference_speedup > 5
    with pytest.raises(InputError, match="needs the student"):
        solve(method="distillation")
    with pytest.raises(UnknownNameError):
        solve(method="factorization")


# accuracy -------------------------------------------------------------------------------------------------------------
def test_accuracy_is_what_was_published() -> None:
    row = default_catalog().find("evidence", "LLM_int4_weights")
    result = solve(target_bitwidth=4)
    assert result.accuracy_range == (row.low, row.typical, row.high)
    assert "Neural Magic" in result.assumptions["evidence"]


def test_trap_accuracy_depends_on_method_and_model() -> None:
    assert solve().accuracy_delta != solve(compute_precision="fp8").accuracy_delta
    assert solve(model="ResNet50", hardware="A100").accuracy_delta != solve().accuracy_delta
    small = solve(method="pruning", sparsity=0.5)
    large = solve(model="Llama3_70B", method="pruning", sparsity=0.5)
    assert small.accuracy_delta < large.accuracy_delta


def test_no_evidence_no_number() -> None:
    for asked in (
        {"target_bitwidth": 2},
        {"method": "pruning", "sparsity": 0.9},
        {"model": "Llama3_70B", "method": "distillation", "student": "Llama3_8B"},
        {"model": "GPT2"} if "GPT2" in default_catalog().names("model") else {"target_bitwidth": 3},
    ):
        result = solve(**asked)
        assert result.accuracy_delta is None
        assert result.accuracy_range is None
        assert result.estimated_accuracy_delta is None
        assert "none published" in result.assumptions["evidence"]


def test_evidence_of_one_s_own_replaces_that_of_the_catalog() -> None:
    assert solve(evidence="LLM_fp8_weights_and_activations").accuracy_delta == -0.0044


def test_accuracy_between_published_points_lies_on_straight_lines() -> None:
    def delta(share: float) -> float:
        asked = {"model": "ResNet50", "hardware": "A100", "method": "pruning", "sparsity": share}
        return float(solve(**asked).accuracy_delta)

    assert delta(0.0) == 0
    assert delta(0.8) == pytest.approx(-0.0145)
    assert delta(0.85) == pytest.approx((-0.0145 - 0.0362) / 2)
    assert delta(0.4) == pytest.approx(-0.0145 / 2)
    lever = CompressionModel().sensitivity(
        "accuracy_delta", model="ResNet50", hardware="A100", method="pruning", sparsity=0.4
    )
    assert lever["sparsity"] == pytest.approx(1)


def test_every_row_of_evidence_is_in_order_and_used() -> None:
    for row in default_catalog().all("evidence"):
        assert row.low <= row.typical <= row.high
        assert row.metric


def test_wrong_questions_are_named() -> None:
    with pytest.raises(InputError, match="no use for a sparsity"):
        solve(sparsity=0.5)
    with pytest.raises(InputError, match="needs the share"):
        solve(method="pruning")
    with pytest.raises(InputError, match="no use for a student"):
        solve(student="Llama3_8B")
