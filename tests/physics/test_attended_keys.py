"""What a sequence keeps and what its tokens see: windows, recurrent layers, latent attention; each worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Symbol, expression
from mlsysim_opt.physics.transformer import ONE, Shapes, kv_bytes
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.units import NONE

BF16 = expression("2 byte")
NEW, BEFORE = Symbol("new", NONE), Symbol("before", NONE)


def of(name: str) -> tuple[View, dict[str, Any]]:
    entry = default_catalog().find("model", name)
    return View("model", [entry]), entry_bindings("model", entry)


def kept(name: str, context: int, tp: int = 1) -> Any:
    model, values = of(name)
    return evaluate(kv_bytes(model, expression(context), BF16, expression(tp)), values)


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        ("Llama3_70B", 327_680),  # 80 layers x 2 x 8 heads x 128 x 2 B
        ("Qwen2_5_72B", 327_680),  # the same shapes
        ("Llama3_405B", 516_096),  # 126 x 2 x 8 x 128 x 2 B
        ("DeepSeek_V3", 70_272),  # 61 x (512 + 64) x 2 B
        ("GPT3", 4_718_592),  # 96 x 2 x 96 x 128 x 2 B
        ("PaLM_540B", 120_832),  # 118 x 2 x 1 x 256 x 2 B
    ],
)
def test_kept_per_token(name: str, per_token: int) -> None:
    assert kept(name, 1) == per_token
    assert kept(name, 1000) == 1000 * per_token


def test_published_table_of_kept_bytes(validation: Callable[[str], Any]) -> None:
    rows = [row for row in validation("training_memory.yaml")["rows"] if row["group"] == "kv-cache-per-token"]
    for row in rows:
        assert kept(row["inputs"]["model"], 1) / 1000 == row["measured"]["kv_kb_per_token"]
    assert len(rows) >= 2


def test_a_windowed_layer_keeps_its_window() -> None:
    # Gemma 3 27B: 62 layers, every sixth of them global: 10; 52 local ones keep 1024 tokens
    # at 8192 tokens 10 x 8192 + 52 x 1024 = 135,168 keys of 2 x 16 x 128 = 4096 numbers in 2 B
    assert kept("Gemma3_27B", 8192) == 135_168 * 4096 * 2 == 1_107_296_256
    # at 512 tokens the window is not full: all 62 layers keep 512
    assert kept("Gemma3_27B", 512) == 62 * 512 * 4096 * 2
    # gpt-oss-20b: 12 full layers, 12 of a window of 128, 2 x 8 x 64 numbers
    assert kept("GPT_OSS_20B", 4096) == (12 * 4096 + 12 * 128) * 1024 * 2 == 103_809_024


def test_a_recurrent_layer_keeps_a_state_of_one_size() -> None:
    # Nemotron Nano 9B v2: 4 attention layers, 8 key-value heads of 128; 27 Mamba-2 layers of 128 heads x 80 x 128
    # numbers and 3 inputs of a convolution over 128 x 80 + 2 x 8 x 128 = 12,288 channels, in fp32
    state = 27 * (128 * 80 * 128 + 3 * 12_288) * 4
    assert state == 145_539_072
    for context in (1, 131_072):
        assert kept("Nemotron_Nano_9B_v2", context) == 4 * context * 2 * 8 * 128 * 2 + state


def test_tensor_ranks_share_heads_but_not_latents() -> None:
    assert kept("Llama3_70B", 1, tp=8) == 327_680 / 8
    assert kept("Llama3_70B", 1, tp=16) == 327_680 / 8  # one head is the least a rank holds
    assert kept("DeepSeek_V3", 1, tp=8) == 70_272  # the latent numbers are on every rank
    assert kept("Nemotron_Nano_9B_v2", 0, tp=4) == 145_539_072 / 4


def test_width_of_a_decode_step() -> None:
    # Llama 3 70B: 64 heads, a key and a value of 128; DeepSeek-V3: 128 heads work on the latent numbers: 512 + 64 of a
    # key, 512 of a value
    model, values = of("Llama3_70B")
    assert evaluate(Shapes(model, ONE).decode_core_width, values) == 64 * 256
    model, values = of("DeepSeek_V3")
    assert evaluate(Shapes(model, ONE).decode_core_width, values) == 128 * 1088


def seen(layers: int, windowed: int, size: int, new: int, before: int) -> int:
    """The pairs of query and key, counted one by one."""
    return sum((layers - windowed) * (before + i) + windowed * min(before + i, size) for i in range(1, new + 1))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 50), st.integers(1, 24))
def test_pairs_are_those_counted_one_by_one(new: int, before: int, size: int, windowed: int) -> None:
    model, values = of("GPT_OSS_20B")
    values |= {"model.window.size": size, "model.window.layers": windowed, "new": new, "before": before}
    shapes = Shapes(model, ONE)
    wanted = seen(24, windowed, size, new, before)
    assert evaluate(shapes.attended_prefill(NEW, BEFORE), values) == pytest.approx(wanted, rel=1e-12)
    steps = sum(evaluate(shapes.attended_decode(NEW), {**values, "new": before + i}) for i in range(1, new + 1))
    assert steps == pytest.approx(wanted, rel=1e-12)


@given(st.integers(1, 4000), st.integers(0, 4000))
def test_one_prefilled_token_is_a_decode_step(new: int, before: int) -> None:
    for name in ("Llama3_8B", "Gemma3_1B", "Nemotron_H_8B"):
        model, values = of(name)
        shapes = Shapes(model, ONE)
        values |= {"new": new, "before": before}
        # all tokens at once see what they see one after the other: those before, then the new ones
        whole = evaluate(shapes.attended_prefill(NEW + BEFORE, expression(0)), values)
        first = evaluate(shapes.attended_prefill(BEFORE, expression(0)), values) if before else 0
        assert first + evaluate(shapes.attended_prefill(NEW, BEFORE), values) == pytest.approx(whole, rel=1e-12)
        step = evaluate(shapes.attended_prefill(expression(1), BEFORE), values)
        assert step == pytest.approx(evaluate(shapes.attended_decode(BEFORE + 1), values), rel=1e-12)


def core(name: str, length: int) -> Any:
    model, values = of(name)
    return evaluate(Shapes(model, ONE).attention_core_flops(ONE, expression(length)), values)


def test_core_work_respects_windows() -> None:
    # Gemma 3 27B at 8192: a global layer's token sees 4096 keys on average; a local one's 1024 less half a window over
    # the first of 8 windows: 1024 - 1024 / (2 x 8) = 960; mean of 10 and 52 layers; 2 FLOP x (4096 + 4096) a key
    assert core("Gemma3_27B", 8192) == pytest.approx(2 * 8192 * (10 * 4096 + 52 * 960) / 62, rel=1e-12)
    # shorter than the window: half of the sequence, as everywhere
    assert core("Gemma3_27B", 512) == pytest.approx(2 * 8192 * 256, rel=1e-12)


def test_core_work_of_recurrent_layers_does_not_grow() -> None:
    # Nemotron-H 8B: 28 mixers, 4 with attention of 32 heads of 128 (2 FLOP x 8192 a key, half of the sequence), 24
    # Mamba-2: state of 128 x 64 x 128 + 3 x (8192 + 2048) = 1,079,296 numbers, two multiply-adds each
    state = 24 * 4 * 1_079_296 / 28
    assert core("Nemotron_H_8B", 8192) == pytest.approx(4 / 28 * 2 * 8192 * 4096 + state, rel=1e-12)


def test_an_encoder_sees_the_whole_sequence() -> None:
    # BERT base, 512 tokens: each sees 512 keys of 768 + 768 numbers
    assert core("BERT_Base", 512) == 2 * 512 * 1536
    model, values = of("BERT_Base")
    assert evaluate(Shapes(model, ONE).attended_prefill(expression(512), expression(0)), values) == 12 * 512 * 512


def test_weights_of_mixed_layers_add_up() -> None:
    # Jamba v0.1, 32 layers: 4 with attention (2 x 4096^2 + 2 x 4096 x 1024 = 41,943,040), 28 Mamba
    model, values = of("Jamba_v0_1")
    entry = default_catalog().find("model", "Jamba_v0_1")
    mixer = entry.parameter("recurrent.mixer_parameters").si
    # in and out 3 x 4096 x 8192, convolution 5 x 8192, to dt, B, C 8192 x (256 + 32) and their norms 288, dt 256 x 8192
    # and 8192, A 8192 x 16, D 8192
    assert mixer == 100_663_296 + 40_960 + 2_359_296 + 288 + 2_097_152 + 8192 + 131_072 + 8192
    total = evaluate(model.layers * Shapes(model, ONE).attention_parameters, values)
    assert total == pytest.approx(4 * 41_943_040 + 28 * mixer, rel=1e-12)


def test_feed_forwards_stand_in_some_layers_only() -> None:
    # Nemotron Nano 12B v2: 34 mixers, 28 feed-forwards of 2 x 5120 x 20480 weights
    model, values = of("Nemotron_Nano_12B_v2")
    assert evaluate(model.layers * Shapes(model, ONE).ffn_parameters, values) == pytest.approx(28 * 209_715_200)
    # Nemotron 3 Super: experts between 1024 and 2688 in 40 of 48 layers, which project 4096 to 1024 and back
    model, values = of("Nemotron_3_Super")
    shapes = Shapes(model, ONE)
    assert evaluate(shapes.expert_layers * shapes.expert_parameters, values) == pytest.approx(40 * 2 * 1024 * 2688)
    assert evaluate(shapes.expert_layers * shapes.router_parameters, values) == pytest.approx(40 * 4096 * (512 + 2048))
