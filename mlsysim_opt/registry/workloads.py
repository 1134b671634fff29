"""Types of what is computed: transformers and the number formats they are trained in."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.fields import Bytes, BytesOrZero, Count, CountOrZero, Tokens


class MixtureOfExperts(Part):
    """Expert feed-forward layers. The first `dense_layers` layers of the model have an ordinary one.

    `experts` counts routed experts, of which each token uses `experts_per_token`; shared experts see every
    token.
    """

    experts: Count
    experts_per_token: Count
    expert_ffn: Count
    shared_experts: CountOrZero
    shared_expert_ffn: CountOrZero
    dense_layers: CountOrZero

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.experts_per_token > self.experts:
            raise PydanticCustomError("catalog", "experts_per_token is larger than experts")
        if (self.shared_experts == 0) != (self.shared_expert_ffn == 0):
            raise PydanticCustomError("catalog", "shared_experts and shared_expert_ffn are both zero or both positive")
        return self


class LatentAttention(Part):
    """Multi-head latent attention: queries and keys-values pass through low-rank projections."""

    q_lora_rank: Count
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count


class Transformer(Entry):
    """A decoder-only transformer by its shapes.

    `ffn` is the width of an ordinary feed-forward layer (where all layers have experts, that of an expert);
    `gated_ffn` means three matrices instead of two. `learned_positions` is 0 with rotary or other position
    codes. `biases` means that linear layers and norms have a bias vector. With `mla`, `head_dim` is that of
    the values. `parameter_count` is the published one.
    """

    kind: ClassVar[str] = "model"

    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    ffn: Count
    gated_ffn: bool
    vocab: Count
    tied_embeddings: bool
    learned_positions: CountOrZero
    biases: bool
    context_length: Count
    parameter_count: Count
    training_tokens: Tokens | None = None
    mla: LatentAttention | None = None
    moe: MixtureOfExperts | None = None

    @property
    def attention(self) -> Literal["mha", "gqa", "mqa", "mla"]:
        """The form of attention: full heads, grouped keys-values, one key-value head, or latent."""
        if self.mla is not None:
            return "mla"
        if self.kv_heads == self.heads:
            return "mha"
        return "mqa" if self.kv_heads == 1 else "gqa"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heads % self.kv_heads:
            raise PydanticCustomError("catalog", "heads is not a multiple of kv_heads")
        if self.moe is not None and self.moe.dense_layers >= self.layers:
            raise PydanticCustomError("catalog", "moe.dense_layers leaves no layer with experts")
        if self.moe is not None and self.moe.dense_layers == 0 and self.ffn != self.moe.expert_ffn:
            raise PydanticCustomError("catalog", "ffn differs from moe.expert_ffn although no layer is dense")
        return self


class NumericsRecipe(Entry):
    """A training precision: bytes per parameter of what is kept, and the rate its matrix products run at.

    `optimizer_bytes` holds everything beyond weights and gradients (master weights, Adam moments);
    `activation_bytes` is per stored activation element; `gemm_precision` is a key of an accelerator's peak
    rates.
    """

    kind: ClassVar[str] = "numerics"

    weight_bytes: Bytes
    gradient_bytes: Bytes
    optimizer_bytes: BytesOrZero
    activation_bytes: Bytes
    gemm_precision: Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp6", "fp4", "int8", "int4"]
    optimizer: str
