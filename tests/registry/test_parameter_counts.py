"""The published parameter count of every model, recomputed from its shapes."""

from __future__ import annotations

import pytest

from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Transformer

EXACT = {"GPT2_Small", "GPT2_Medium", "GPT2_Large", "GPT2_XL", "Llama2_7B", "Llama2_13B", "Llama2_70B", "Llama3_8B",
         "Llama3_70B", "Llama3_405B", "Mixtral_8x7B", "Mixtral_8x22B"}  # fmt: skip
MODELS = [entry for entry in default_catalog().all("model") if isinstance(entry, Transformer)]


def attention(model: Transformer) -> int:
    if model.mla is not None:
        mla, heads = model.mla, model.heads
        queries = model.hidden * mla.q_lora_rank + mla.q_lora_rank
        queries += mla.q_lora_rank * heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        keys = model.hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim) + mla.kv_lora_rank
        keys += mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
        return queries + keys + heads * mla.v_head_dim * model.hidden
    width, narrow = model.heads * model.head_dim, model.kv_heads * model.head_dim
    weights = 2 * model.hidden * width + 2 * model.hidden * narrow
    return weights + (width + 2 * narrow + model.hidden if model.biases else 0)


def feed_forward(model: Transformer, width: int) -> int:
    weights = (3 if model.gated_ffn else 2) * model.hidden * width
    return weights + (width + model.hidden if model.biases else 0)


def recount(model: Transformer) -> int:
    norm = model.hidden * (2 if model.biases else 1)
    dense = model.layers
    total = model.layers * (attention(model) + 2 * norm) + norm
    if model.moe is not None:
        moe = model.moe
        dense = moe.dense_layers
        layer = model.hidden * moe.experts + moe.experts * feed_forward(model, moe.expert_ffn)
        layer += moe.shared_experts * feed_forward(model, moe.shared_expert_ffn) if moe.shared_experts else 0
        total += (model.layers - dense) * layer
    total += dense * feed_forward(model, model.ffn)
    total += model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
    return total + model.learned_positions * model.hidden


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_published_count(model: Transformer) -> None:
    if model.name in EXACT:
        assert recount(model) == model.parameter_count
    else:
        assert recount(model) == pytest.approx(model.parameter_count, rel=0.01)


def test_the_models_asked_for_are_there() -> None:
    assert {model.name for model in MODELS} >= EXACT | {
        "GPT3", "DeepSeek_V3", "Megatron_22B", "Megatron_175B", "Megatron_530B", "Megatron_1T",
    }  # fmt: skip


def test_deepseek_is_counted_with_shared_expert_and_dense_layers() -> None:
    model = next(model for model in MODELS if model.name == "DeepSeek_V3")
    assert model.heads == 128
    assert model.moe is not None
    assert (model.moe.dense_layers, model.moe.shared_experts) == (3, 1)
    assert recount(model) == pytest.approx(671.03e9, rel=1e-4)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_heads_fill_the_width(model: Transformer) -> None:
    if model.mla is None and model.name != "GPT3_13B":  # the paper prints 5140 with 40 heads of 128
        assert model.heads * model.head_dim == model.hidden
