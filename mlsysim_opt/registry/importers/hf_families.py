"""What the configurations of Hugging Face's model types mean: one function for each family of shapes.

Keys and defaults are those of the configuration classes of the Transformers library (v4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlsysim_opt.registry.importers.hf_config import Config

Shapes = dict[str, Any]


# parts ----------------------------------------------------------------------------------------------------------------
def _stack(c: Config, *, gated: bool, tied: bool, biases: bool = False) -> Shapes:
    """The shapes that most configurations name alike."""
    hidden = c.count("hidden_size", "n_embd", "n_embed", "d_model")
    heads = c.count("num_attention_heads", "n_head", "n_heads")
    return {
        "layers": c.layers("num_hidden_layers", "n_layer", "n_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": c.count("num_key_value_heads", "num_kv_heads", default=heads),
        "head_dim": c.count("head_dim", default=0) or c.divided("hidden_size", hidden, heads),
        "ffn": c.count("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", default=4 * hidden),
        "gated_ffn": gated,
        "vocab": c.count("vocab_size"),
        "tied_embeddings": c.flag("tie_word_embeddings", tied),
        "learned_positions": 0,
        "biases": biases,
        "context_length": c.count("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", default=2048),
    }


def _window(shapes: Shapes, size: int | None, layers: int) -> Shapes:
    """Add a window, unless it is as long as the context or no layer has it."""
    if size is not None and layers and size < shapes["context_length"]:
        shapes["window"] = {"size": size, "layers": layers}
    return shapes


def _local_layers(c: Config, shapes: Shapes, otherwise: Callable[[int], bool]) -> int:
    """Count the layers with a window: those listed as such, else those of which `otherwise` says so."""
    listed = c.listed("layer_types")
    if listed is None:
        return sum(otherwise(index) for index in range(shapes["layers"]))
    if len(listed) != shapes["layers"]:
        raise c.fault("layer_types", f"{len(listed)} entries for {shapes['layers']} layers")
    return sum(str(item) in ("sliding_attention", "chunked_attention") for item in listed)


def _experts(
    c: Config, shapes: Shapes, experts: int, expert_ffn: int, *, shared: int = 0, shared_ffn: int = 0, dense: int = 0
) -> Shapes:
    shapes["moe"] = {
        "experts": experts,
        "experts_per_token": c.count("num_experts_per_tok", "experts_per_token"),
        "expert_ffn": expert_ffn,
        "shared_experts": shared,
        "shared_expert_ffn": shared_ffn,
        "dense_layers": dense,
    }
    if not dense:
        shapes["ffn"] = expert_ffn
    return shapes


def _linear_attention(c: Config, shapes: Shapes) -> Shapes:
    """Gated delta networks (Yang et al. 2024) in all but every so many layers."""
    listed = c.listed("layer_types")
    if listed is None:
        recurrent = shapes["layers"] - shapes["layers"] // c.count("full_attention_interval", default=4)
    else:
        recurrent = sum(item == "linear_attention" for item in listed)
    hidden, key_dim, value_dim = shapes["hidden"], c.count("linear_key_head_dim"), c.count("linear_value_head_dim")
    heads = c.count("linear_num_value_heads")
    keys, values = c.count("linear_num_key_heads") * key_dim, heads * value_dim
    channels, kernel = 2 * keys + values, c.count("linear_conv_kernel_dim")
    mixer = hidden * (channels + values + 2 * heads) + channels * kernel + 2 * heads + value_dim + values * hidden
    shapes["recurrent"] = {
        "layers": recurrent,
        "mixer_parameters": mixer,
        "state_elements": heads * key_dim * value_dim + channels * (kernel - 1),
    }
    return shapes


# families -------------------------------------------------------------------------------------------------------------
def _llama(c: Config) -> Shapes:
    """Gated feed-forward, own output head, no biases; a window in all layers where there is one."""
    shapes = _stack(c, gated=True, tied=False)
    return _window(shapes, c.count("sliding_window", default=0) or None, shapes["layers"])


def _qwen(c: Config) -> Shapes:
    shapes = _stack(c, gated=True, tied=False)
    if not c.flag("use_sliding_window", False):
        return shapes
    first = c.count("max_window_layers", default=shapes["layers"], low=0)
    return _window(shapes, c.count("sliding_window"), _local_layers(c, shapes, lambda index: index >= first))


def _gemma(c: Config) -> Shapes:
    return _stack(c.with_defaults(head_dim=256), gated=True, tied=True)


def _cohere(c: Config) -> Shapes:
    return _stack(c, gated=True, tied=True)


def _gemma2(c: Config) -> Shapes:
    c = c.with_defaults(head_dim=256, sliding_window=4096)
    shapes = _stack(c, gated=True, tied=True)
    return _window(shapes, c.count("sliding_window"), _local_layers(c, shapes, lambda index: index % 2 == 0))


def _gemma3(c: Config) -> Shapes:
    c = c.with_defaults(
        vocab_size=262208, head_dim=256, num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=131072,
        sliding_window=4096,
    )  # fmt: skip
    shapes = _stack(c, gated=True, tied=True)
    every = c.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    return _window(shapes, c.count("sliding_window"), _local_layers(c, shapes, lambda index: (index + 1) % every != 0))


def _mixtral(c: Config) -> Shapes:
    shapes = _llama(c)
    return _experts(c, shapes, c.count("num_local_experts", "num_experts"), shapes["ffn"])


def _qwen_moe(c: Config) -> Shapes:
    shapes = _qwen(c)
    step = c.count("decoder_sparse_step", default=1)
    plain = set(c.listed("mlp_only_layers") or ())
    layers = range(shapes["layers"])
    sparse = sum((index + 1) % step == 0 and index not in plain for index in layers)
    shared = c.count("shared_expert_intermediate_size", default=0, low=0)
    return _experts(
        c, shapes, c.count("num_experts"), c.count("moe_intermediate_size"),
        shared=int(shared > 0), shared_ffn=shared, dense=shapes["layers"] - sparse,
    )  # fmt: skip


def _qwen_next(c: Config) -> Shapes:
    shapes = _qwen_moe(c) if c.has("num_experts") else _qwen(c)
    return _linear_attention(c, shapes)


def _deepseek(c: Config) -> Shapes:
    """Experts after some dense layers, shared ones beside them; latent attention where it has ranks."""
    shapes = _stack(c, gated=True, tied=False) if not c.has("kv_lora_rank") else _latent(c)
    if not c.has("n_routed_experts"):
        return shapes
    width, shared = c.count("moe_intermediate_size"), c.count("n_shared_experts", default=0, low=0)
    first, step = c.count("first_k_dense_replace", default=0, low=0), c.count("moe_layer_freq", default=1)
    sparse = sum(index >= first and index % step == 0 for index in range(shapes["layers"]))
    return _experts(
        c, shapes, c.count("n_routed_experts"), width,
        shared=shared, shared_ffn=width if shared else 0, dense=shapes["layers"] - sparse,
    )  # fmt: skip


def _latent(c: Config) -> Shapes:
    heads, value = c.count("num_attention_heads"), c.count("v_head_dim")
    shapes: Shapes = {
        "layers": c.layers("num_hidden_layers"), "hidden": c.count("hidden_size"), "heads": heads,
        "kv_heads": c.count("num_key_value_heads", default=heads), "head_dim": value,
        "ffn": c.count("intermediate_size"), "gated_ffn": True, "vocab": c.count("vocab_size"),
        "tied_embeddings": c.flag("tie_word_embeddings", False), "learned_positions": 0, "biases": False,
        "context_length": c.count("max_position_embeddings"),
    }  # fmt: skip
    shapes["mla"] = {
        "kv_lora_rank": c.count("kv_lora_rank"),
        "qk_nope_head_dim": c.count("qk_nope_head_dim"),
        "qk_rope_head_dim": c.count("qk_rope_head_dim"),
        "v_head_dim": value,
    }
    if c.has("q_lora_rank"):
        shapes["mla"]["q_lora_rank"] = c.count("q_lora_rank")
    return shapes


def _gpt_oss(c: Config) -> Shapes:
    shapes = _stack(c, gated=True, tied=False)
    _experts(c, shapes, c.count("num_local_experts"), shapes["ffn"])
    return _window(shapes, c.count("sliding_window"), _local_layers(c, shapes, lambda index: index % 2 == 0))


def _llama4(c: Config) -> Shapes:
    """Experts in every so many layers, one shared; attention within chunks where positions are rotated."""
    shapes = _stack(c, gated=True, tied=False)
    step = c.count("interleave_moe_layer_step", default=1)
    listed = c.listed("moe_layers")
    sparse = len(listed) if listed is not None else shapes["layers"] // step
    width = shapes["ffn"]
    shapes["ffn"] = c.count("intermediate_size_mlp")
    experts = c.count("num_local_experts")
    _experts(c, shapes, experts, width, shared=1, shared_ffn=width, dense=shapes["layers"] - sparse)
    rotated = c.listed("no_rope_layers") or None
    if rotated is not None and c.listed("layer_types") is None:
        local = sum(bool(item) for item in rotated)
    else:
        every = c.count("no_rope_layer_interval", default=4)
        local = _local_layers(c, shapes, lambda index: (index + 1) % every != 0)
    return _window(shapes, c.count("attention_chunk_size", default=0) or None, local)


def _gpt2(c: Config) -> Shapes:
    shapes = _stack(c, gated=False, tied=True, biases=True)
    if c.flag("multi_query", False):
        shapes["kv_heads"] = 1
    shapes["learned_positions"] = shapes["context_length"]
    return shapes


def _gpt_neox(c: Config) -> Shapes:
    return _stack(c, gated=False, tied=False, biases=True)


def _gptj(c: Config) -> Shapes:
    return _stack(c, gated=False, tied=False)


def _nemotron(c: Config) -> Shapes:
    """Squared ReLU: two matrices."""
    return _stack(c, gated=False, tied=False)


def _nemotron_h(c: Config) -> Shapes:
    """Blocks of one kind each (Mamba-2, attention, feed-forward, experts); the first two are the layers here."""
    pattern = c.text("hybrid_override_pattern")
    blocks = [_BLOCKS.get(str(item), "?") for item in c.listed("layers_block_type") or pattern or ()]
    if not blocks or "?" in blocks:
        raise c.fault("hybrid_override_pattern", "expected a pattern of M, *, - and E")
    shapes = _stack(c.with_defaults(num_hidden_layers=len(blocks)), gated=False, tied=False)
    if not blocks.count("*") or not blocks.count("-") + blocks.count("E"):
        raise c.fault("hybrid_override_pattern", "a model without attention or feed-forwards is not supported")
    shapes["layers"] = blocks.count("M") + blocks.count("*")
    shapes["ffn_layers"] = blocks.count("-") + blocks.count("E")
    if blocks.count("M"):
        heads, groups, state = c.count("mamba_num_heads"), c.count("n_groups"), c.count("ssm_state_size")
        inner, kernel = heads * c.count("mamba_head_dim"), c.count("conv_kernel", default=4)
        channels = inner + 2 * groups * state
        matrices = shapes["hidden"] * (inner + channels + heads) + inner * shapes["hidden"]
        shapes["recurrent"] = {
            "layers": blocks.count("M"),
            "mixer_parameters": matrices + channels * (kernel + 1) + 3 * heads + inner,
            "state_elements": inner * state + channels * (kernel - 1),
        }
    if blocks.count("E"):
        shared = c.count("moe_shared_expert_intermediate_size", default=0, low=0)
        _experts(
            c, shapes, c.count("n_routed_experts"), c.count("moe_intermediate_size"),
            shared=int(shared > 0), shared_ffn=shared, dense=blocks.count("-"),
        )  # fmt: skip
        if c.has("moe_latent_size"):
            shapes["moe"]["expert_latent"] = c.count("moe_latent_size")
    return shapes


def _starcoder2(c: Config) -> Shapes:
    shapes = _stack(c, gated=False, tied=True, biases=c.flag("use_bias", True))
    return _window(shapes, c.count("sliding_window", default=0) or None, shapes["layers"])


def _opt(c: Config) -> Shapes:
    shapes = _stack(c, gated=False, tied=True, biases=c.flag("enable_bias", True))
    if c.count("word_embed_proj_dim", default=shapes["hidden"]) != shapes["hidden"]:
        raise c.fault("word_embed_proj_dim", "a projected embedding is not supported")
    shapes["learned_positions"] = shapes["context_length"] + 2  # an offset of the implementation
    return shapes


def _bloom(c: Config) -> Shapes:
    return _stack(c, gated=False, tied=True, biases=True)


def _falcon(c: Config) -> Shapes:
    shapes = _stack(c, gated=False, tied=True, biases=c.flag("bias", False))
    if not c.flag("new_decoder_architecture", False):
        shapes["kv_heads"] = 1 if c.flag("multi_query", True) else shapes["heads"]
    return shapes


def _mpt(c: Config) -> Shapes:
    shapes = _stack(c, gated=False, tied=True, biases=not c.flag("no_bias", True))
    shapes["ffn"] = shapes["hidden"] * c.count("expansion_ratio", default=4)
    return shapes


def _bert(c: Config) -> Shapes:
    shapes = _stack(c, gated=False, tied=True, biases=True)
    shapes["learned_positions"] = shapes["context_length"]
    shapes["bidirectional_layers"] = shapes["layers"]
    return shapes


_BLOCKS = {
    "M": "M", "*": "*", "-": "-", "E": "E", "mamba": "M", "attention": "*", "mlp": "-", "moe": "E",
}  # fmt: skip
FAMILIES: dict[str, Callable[[Config], Shapes]] = {
    **dict.fromkeys(("llama", "mistral", "phi3", "olmo", "olmo2", "smollm3", "granite", "ministral"), _llama),
    **dict.fromkeys(("qwen2", "qwen3"), _qwen),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe"), _qwen_moe),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _qwen_next),
    "gemma": _gemma,
    "cohere": _cohere,
    "gemma2": _gemma2,
    **dict.fromkeys(("gemma3", "gemma3_text"), _gemma3),
    **dict.fromkeys(("mixtral", "phimoe", "olmoe", "minimax_m2"), _mixtral),
    **dict.fromkeys(("deepseek", "deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe", "glm_moe_dsa"), _deepseek),
    "gpt_oss": _gpt_oss,
    "llama4_text": _llama4,
    **dict.fromkeys(("gpt2", "gpt_bigcode"), _gpt2),
    **dict.fromkeys(("gpt_neox", "phi"), _gpt_neox),
    "gptj": _gptj,
    "nemotron": _nemotron,
    "nemotron_h": _nemotron_h,
    "starcoder2": _starcoder2,
    "opt": _opt,
    "bloom": _bloom,
    "falcon": _falcon,
    "mpt": _mpt,
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), _bert),
}
"""What reads a configuration, by its ``model_type``."""
WRAPPED = ("text_config", "llm_config")
"""Keys under which configurations of several modalities keep their language part."""
