"""Types of what is computed: transformers by shapes, other workloads by their totals, and training number formats."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.fields import Bytes, BytesOrZero, Count, CountOrZero, Efficiency, Flops, Tokens

if TYPE_CHECKING:
    from pint import Quantity

KV_CACHE = ("mlsysim_opt.physics.cache", "kv_cache_size")
"""Who answers `Transformer.get_kv_cache_size`: the equation stands with the physics, which nothing here imports."""

Family = Literal[
    "cnn", "vit", "detection", "diffusion", "recommendation", "state-space", "encoder-decoder", "tiny", "policy",
]  # fmt: skip


class MixtureOfExperts(Part):
    """Expert feed-forward layers; `dense_layers` layers of the model have an ordinary one.

    `experts` counts routed experts, of which each token uses `experts_per_token`; shared experts see every
    token. Dense layers are taken as the first ones, also where they alternate with those of experts. Routed
    experts work in `hidden` numbers, or in `expert_latent`, to which the layer projects them and back.
    """

    experts: Count
    experts_per_token: Count
    expert_ffn: Count
    shared_experts: CountOrZero
    shared_expert_ffn: CountOrZero
    dense_layers: CountOrZero
    expert_latent: Count | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.experts_per_token > self.experts:
            raise PydanticCustomError("catalog", "experts_per_token is larger than experts")
        if (self.shared_experts == 0) != (self.shared_expert_ffn == 0):
            raise PydanticCustomError("catalog", "shared_experts and shared_expert_ffn are both zero or both positive")
        return self


class LatentAttention(Part):
    """Multi-head latent attention: keys-values, and queries where they have a rank, pass through low-rank
    projections."""

    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count


class SlidingWindow(Part):
    """Layers whose tokens attend to the last `size` tokens only (themselves included).

    Attention within chunks of `size` tokens is taken as such a window too.
    """

    size: Count
    layers: Count


class RecurrentMixer(Part):
    """Layers that keep a state of fixed size instead of keys and values (state space, linear attention).

    `mixer_parameters` are the weights of one such mixer, `state_elements` the numbers of its state for one
    sequence (convolution state included), each kept in `state_element`.
    """

    layers: Count
    mixer_parameters: Count
    state_elements: Count
    state_element: Bytes


class Transformer(Entry):
    """A transformer of one stack of layers by its shapes: each layer mixes tokens, then has a feed-forward.

    `ffn` is the width of an ordinary feed-forward layer (where all layers have experts, that of an expert);
    `gated_ffn` means three matrices instead of two. `learned_positions` is 0 with rotary or other position
    codes. `biases` means that linear layers and norms have a bias vector. With `mla`, `head_dim` is that of
    the values. `parameter_count` is the published one (absent where nobody published one: the models count the
    shapes); so is `active_parameter_count`, the weights that one token meets (publishers differ in whether they
    count the input embedding).

    Where layers differ: `window` and `recurrent` say how many attend to a window or have no attention;
    `ffn_layers` how many have a feed-forward, where not all do; `bidirectional_layers` is there for encoders
    only, all of whose layers see the whole sequence. `relative_positions` are the weights of a layer's
    projection of relative positions (Transformer-XL), which no token passes through.
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
    parameter_count: Count | None = None
    active_parameter_count: Count | None = None
    training_tokens: Tokens | None = None
    ffn_layers: Count | None = None
    bidirectional_layers: Count | None = None
    relative_positions: Count | None = None
    mla: LatentAttention | None = None
    moe: MixtureOfExperts | None = None
    window: SlidingWindow | None = None
    recurrent: RecurrentMixer | None = None

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it."""
        return self.bidirectional_layers is None

    @property
    def attention(self) -> Literal["mha", "gqa", "mqa", "mla"]:
        """The form of attention: full heads, grouped keys-values, one key-value head, or latent."""
        if self.mla is not None:
            return "mla"
        if self.kv_heads == self.heads:
            return "mha"
        return "mqa" if self.kv_heads == 1 else "gqa"

    def get_kv_cache_size(self, seq_len: int, batch_size: int = 1, precision: str = "fp16") -> Quantity[float]:
        """Return the bytes of keys and values of `batch_size` sequences of `seq_len` tokens; see `KVCacheModel`.

        Raises:
            InputError: a number is not a count, or the precision is unknown.
        """
        module, name = KV_CACHE
        answer: Quantity[float] = getattr(importlib.import_module(module), name)(self, seq_len, batch_size, precision)
        return answer

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heads % self.kv_heads:
            raise PydanticCustomError("catalog", "heads is not a multiple of kv_heads")
        if self.moe is not None and self.moe.dense_layers >= (self.ffn_layers or self.layers):
            raise PydanticCustomError("catalog", "moe.dense_layers leaves no layer with experts")
        if self.moe is not None and self.moe.dense_layers == 0 and self.ffn != self.moe.expert_ffn:
            raise PydanticCustomError("catalog", "ffn differs from moe.expert_ffn although no layer is dense")
        if self.ffn_layers is not None and self.ffn_layers > self.layers:
            raise PydanticCustomError("catalog", "ffn_layers is larger than layers")
        recurrent = self.recurrent.layers if self.recurrent is not None else 0
        windowed = self.window.layers if self.window is not None else 0
        if recurrent + windowed > self.layers:
            raise PydanticCustomError("catalog", "recurrent.layers and window.layers are together more than layers")
        if self.bidirectional_layers is not None and self.bidirectional_layers != self.layers - recurrent:
            raise PydanticCustomError("catalog", "bidirectional_layers must be all layers with attention")
        if self.bidirectional_layers is not None and self.window is not None:
            raise PydanticCustomError("catalog", "a window is causal: it cannot stand beside bidirectional_layers")
        total, active = self.parameter_count, self.active_parameter_count
        if total is not None and active is not None and active > total:
            raise PydanticCustomError("catalog", "active_parameter_count is larger than parameter_count")
        return self


class Accuracy(Part):
    """A published quality: which metric (on which data), and its value as a ratio."""

    metric: str
    value: Efficiency


class Workload(Entry):
    """A network that is not a transformer by shapes: what one forward pass of one sample takes, in total.

    `sample` says what a sample is (an image of 224 x 224 x 3), `forward_flops` is its work at 2 FLOP a
    multiply-add, `activation_elements` the outputs of its convolutions and linear layers together (what is
    written once and read at least once), `input_bytes` the raw sample as it reaches the device, `layers` the
    convolutions, linear layers and attention cores launched one after the other. `active_parameter_count` are
    the weights that one sample reads, where these are not all (rows of embedding tables).
    """

    kind: ClassVar[str] = "workload"

    family: Family
    sample: str
    parameter_count: Count
    forward_flops: Flops
    activation_elements: Count
    input_bytes: Bytes
    layers: Count
    active_parameter_count: Count | None = None
    accuracy: Accuracy | None = None


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
