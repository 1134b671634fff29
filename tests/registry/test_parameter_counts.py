"""The published parameter count of every model, recomputed from its shapes."""

from __future__ import annotations

import pytest

from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Transformer

EXACT = {
    "GPT2_Small", "GPT2_Medium", "GPT2_Large", "GPT2_XL", "LLaMA_7B", "LLaMA_13B", "LLaMA_65B", "Llama2_7B",
    "Llama2_13B", "Llama2_34B", "Llama2_70B", "Llama3_8B", "Llama3_70B", "Llama3_405B", "Llama3_2_1B", "Llama3_2_3B",
    "Mixtral_8x7B", "Mixtral_8x22B", "Mistral_7B", "Mistral_7B_v0_3", "Mistral_Nemo_12B", "Mistral_Small_22B",
    "Mistral_Small_24B", "Mistral_Large_123B", "Gemma_2B", "Gemma_7B", "OPT_1_3B", "OPT_6_7B", "OPT_13B", "OPT_30B",
    "GPT_NeoX_20B", "Pythia_70M", "Pythia_160M", "Pythia_410M", "Pythia_1B", "Pythia_1_4B", "Pythia_2_8B",
    "Pythia_6_9B", "Pythia_12B", "Phi_3_mini", "Phi_3_medium", "Phi_4", "Phi_4_mini", "SmolLM3_3B",
}  # fmt: skip
WIDER_OR_NARROWER = {
    "GPT3_13B",  # the paper prints 5140 with 40 heads of 128
    "GLM_4_5", "GLM_4_5_Air", "GPT_OSS_20B", "GPT_OSS_120B", "Gemma2_2B", "Gemma2_9B", "Gemma2_27B", "Gemma3_1B",
    "Gemma3_4B", "Gemma3_12B", "Gemma3_27B", "Gemma_7B", "MaxText_16B", "MaxText_128B", "MaxText_1024B", "MiniMax_M2",
    "MiniMax_Text_01", "Mistral_Nemo_12B", "Mistral_Small_24B", "Nemotron_3_Nano", "Nemotron_Nano_9B_v2", "PaLM_540B",
    "Qwen3_0_6B", "Qwen3_4B", "Qwen3_32B", "Qwen3_30B_A3B", "Qwen3_235B_A22B", "Qwen3_5_397B_A17B",
    "Qwen3_Coder_480B_A35B", "Qwen3_Next_80B_A3B",
}  # fmt: skip
"""Models whose heads are published to be wider or narrower together than the model."""
MODELS = [entry for entry in default_catalog().all("model") if isinstance(entry, Transformer)]
PUBLISHED = [model for model in MODELS if model.parameters()["parameter_count"].estimated is None]


def attention(model: Transformer) -> int:
    if model.mla is not None:
        mla, heads = model.mla, model.heads
        wide = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        queries = model.hidden * wide
        if mla.q_lora_rank is not None:
            queries = model.hidden * mla.q_lora_rank + mla.q_lora_rank + mla.q_lora_rank * wide
        keys = model.hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim) + mla.kv_lora_rank
        keys += mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
        return queries + keys + heads * mla.v_head_dim * model.hidden
    width, narrow = model.heads * model.head_dim, model.kv_heads * model.head_dim
    weights = 2 * model.hidden * width + 2 * model.hidden * narrow
    return weights + (width + 2 * narrow + model.hidden if model.biases else 0)


def feed_forward(model: Transformer, width: int, hidden: int | None = None) -> int:
    weights = (3 if model.gated_ffn else 2) * (hidden or model.hidden) * width
    return weights + (width + model.hidden if model.biases else 0)


def experts(model: Transformer, each: int) -> int:
    """Weights of the router, of so many routed experts, and of the shared ones, in one layer."""
    moe = model.moe
    assert moe is not None
    layer = model.hidden * moe.experts + each * feed_forward(model, moe.expert_ffn, moe.expert_latent)
    layer += 2 * model.hidden * moe.expert_latent if moe.expert_latent else 0
    return layer + (moe.shared_experts * feed_forward(model, moe.shared_expert_ffn) if moe.shared_experts else 0)


def recount(model: Transformer, experts_of_a_layer: int | None = None) -> int:
    norm = model.hidden * (2 if model.biases else 1)
    dense = model.ffn_layers or model.layers
    recurrent = model.recurrent.layers if model.recurrent else 0
    total = (model.layers - recurrent) * attention(model) + model.layers * 2 * norm + norm
    total += recurrent * model.recurrent.mixer_parameters if model.recurrent else 0
    total += model.layers * (model.relative_positions or 0)
    if model.moe is not None:
        moe = model.moe
        total += (dense - moe.dense_layers) * experts(model, experts_of_a_layer or moe.experts)
        dense = moe.dense_layers
    total += dense * feed_forward(model, model.ffn)
    total += model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
    return total + model.learned_positions * model.hidden


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_published_count(model: Transformer) -> None:
    if model.name in EXACT:
        assert recount(model) == model.parameter_count
    else:
        assert recount(model) == pytest.approx(model.parameter_count, rel=0.01)


@pytest.mark.parametrize("model", [model for model in MODELS if model.active_parameter_count], ids=repr)
def test_published_active_count(model: Transformer) -> None:
    # publishers differ in whether the look-up of the input embedding counts
    assert model.moe is not None
    assert model.active_parameter_count is not None
    met = recount(model, model.moe.experts_per_token)
    without = met - model.vocab * model.hidden
    assert min(abs(met / model.active_parameter_count - 1), abs(without / model.active_parameter_count - 1)) < 0.03


def test_most_counts_are_published_ones() -> None:
    assert len(PUBLISHED) >= 120
    assert {model.name for model in PUBLISHED} >= EXACT


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
    if model.mla is None:
        assert (model.heads * model.head_dim == model.hidden) == (model.name not in WIDER_OR_NARROWER)
