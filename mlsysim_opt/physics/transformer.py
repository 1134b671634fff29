"""Shapes of a transformer: parameters, FLOPs and stored activations of its layers, for one rank of a parallel job.

Everything is per layer and per rank, from the model's own shapes: grouped or latent attention, gated or plain
feed-forward, routed and shared experts. Replication is counted: with more tensor-parallel ranks than key-value heads,
each rank holds one head.

Sources: Vaswani et al. 2017; Shoeybi et al. 2019 (tensor parallelism); Korthikanti et al. 2022, Table 2 (activations);
Shazeer 2020 (gated units); Ainslie et al. 2023 (grouped queries); DeepSeek-AI 2024 (latent attention, experts).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlsysim_opt.algebra.atoms import maximum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.view import View

MULTIPLY_ADD = expression("2 FLOP")
ZERO = expression(0)
ONE = expression(1)


@dataclass(frozen=True)
class Shapes:
    """Per-layer quantities of a model split over `tp` tensor-parallel ranks.

    Attributes:
        model: the model.
        tp: tensor-parallel size.
    """

    model: View
    tp: Expression

    # attention --------------------------------------------------------------------------------------------------------
    @cached_property
    def latent(self) -> bool:
        return self.model.has("mla")

    @cached_property
    def experts(self) -> bool:
        return self.model.has("moe")

    @cached_property
    def kv_heads_per_rank(self) -> Expression:
        """Key-value heads on one rank; at least one, so replicated when there are more ranks than heads."""
        return maximum(self.model.kv_heads / self.tp, 1)

    @cached_property
    def query_width(self) -> Expression:
        """Width of the queries of all heads."""
        m = self.model
        if self.latent:
            return m.heads * (m.number("mla.qk_nope_head_dim") + m.number("mla.qk_rope_head_dim"))
        return m.heads * m.head_dim

    @cached_property
    def value_width(self) -> Expression:
        """Width of the attention output of all heads."""
        m = self.model
        return m.heads * (m.number("mla.v_head_dim") if self.latent else m.head_dim)

    @cached_property
    def attention_parameters(self) -> Expression:
        """Projection weights of attention on one rank."""
        m, tp = self.model, self.tp
        out = self.value_width * m.hidden / tp
        if not self.latent:
            return m.hidden * self.query_width / tp + 2 * m.hidden * self.kv_heads_per_rank * m.head_dim + out
        nope, value = m.number("mla.qk_nope_head_dim"), m.number("mla.v_head_dim")
        rank_q, rank_kv = m.number("mla.q_lora_rank"), m.number("mla.kv_lora_rank")
        down = m.hidden * (rank_q + rank_kv + m.number("mla.qk_rope_head_dim"))
        up = (rank_q * self.query_width + rank_kv * m.heads * (nope + value)) / tp
        return down + up + out

    @cached_property
    def attention_widths(self) -> Expression:
        """Widths of all inputs and outputs of the projections of attention on one rank, together."""
        m, tp = self.model, self.tp
        if not self.latent:
            return 2 * m.hidden + (self.query_width + self.value_width) / tp + 2 * self.kv_heads_per_rank * m.head_dim
        low = m.number("mla.q_lora_rank") + m.number("mla.kv_lora_rank") + m.number("mla.qk_rope_head_dim")
        up = self.query_width + m.heads * m.number("mla.qk_nope_head_dim") + 2 * self.value_width
        return 3 * m.hidden + 2 * low + up / tp

    def attention_core_flops(self, tokens: Expression, seq_len: Expression) -> Expression:
        """Work of scores and weighted values, forward, causal: a token sees half of the sequence on average."""
        return MULTIPLY_ADD * tokens * (seq_len / 2) * (self.query_width + self.value_width) / self.tp

    # feed-forward -----------------------------------------------------------------------------------------------------
    @cached_property
    def ffn_matrices(self) -> Expression:
        """Three with a gate, else two."""
        return 2 + self.model.flag("gated_ffn")

    @cached_property
    def ffn_parameters(self) -> Expression:
        """Weights of an ordinary feed-forward layer on one rank."""
        return self.ffn_matrices * self.model.hidden * self.model.ffn / self.tp

    def ffn_widths(self, width: Expression) -> Expression:
        """Widths of all inputs and outputs of a feed-forward of this width on one rank, together."""
        return 2 * self.model.hidden + self.ffn_matrices * width / self.tp

    @cached_property
    def expert_parameters(self) -> Expression:
        """Weights of one routed expert (experts are not split further)."""
        return self.ffn_matrices * self.model.hidden * self.model.number("moe.expert_ffn")

    @cached_property
    def shared_parameters(self) -> Expression:
        """Weights of the shared experts on one rank."""
        m = self.model
        width = m.number("moe.shared_experts") * m.number("moe.shared_expert_ffn")
        return self.ffn_matrices * m.hidden * width / self.tp

    @cached_property
    def router_parameters(self) -> Expression:
        """Weights of the router, on every rank."""
        return self.model.hidden * self.model.number("moe.experts")

    @cached_property
    def norm_parameters(self) -> Expression:
        """Scales (and shifts) of the two norms, and biases of the linear layers, of one layer."""
        m = self.model
        biases = (m.heads + 2 * m.kv_heads) * m.head_dim + 2 * m.hidden + m.ffn
        extra = biases / self.tp + 2 * m.hidden
        low_rank = m.number("mla.q_lora_rank") + m.number("mla.kv_lora_rank") if self.latent else ZERO
        return 2 * m.hidden + low_rank + m.flag("biases") * extra

    # whole layers -----------------------------------------------------------------------------------------------------
    @cached_property
    def dense_layer_parameters(self) -> Expression:
        """Weights of a layer with an ordinary feed-forward, on one rank."""
        return self.attention_parameters + self.ffn_parameters + self.norm_parameters

    @cached_property
    def expert_layer_parameters(self) -> Expression:
        """Weights of a layer with experts on one rank, without its routed experts."""
        return self.attention_parameters + self.shared_parameters + self.router_parameters + self.norm_parameters

    @cached_property
    def layer_parameters(self) -> Expression:
        """Weights on one rank, without routed experts, of the kind of layer the model mostly has."""
        return self.expert_layer_parameters if self.experts else self.dense_layer_parameters

    @cached_property
    def embedding_parameters(self) -> Expression:
        """Weights of the input embedding (and learned positions) on one rank."""
        return self.model.vocab * self.model.hidden / self.tp + self.model.learned_positions * self.model.hidden

    @cached_property
    def head_parameters(self) -> Expression:
        """Weights of the output projection on one rank, whether or not they are tied to the embedding."""
        return self.model.vocab * self.model.hidden / self.tp

    @cached_property
    def own_head_parameters(self) -> Expression:
        """Weights that the output projection adds beside the embedding: none where the two are tied."""
        return where(self.model.flag("tied_embeddings") == 1, 0, self.head_parameters)

    @cached_property
    def dense_layers(self) -> Expression:
        """Layers with an ordinary feed-forward."""
        return self.model.number("moe.dense_layers") if self.experts else self.model.layers

    @cached_property
    def expert_layers(self) -> Expression:
        """Layers with routed experts."""
        return self.model.layers - self.model.number("moe.dense_layers") if self.experts else ZERO

    # activations ------------------------------------------------------------------------------------------------------
    def attention_activation_elements(self, sharded: Expression) -> Expression:
        """Elements stored per token by norm and attention of one layer, without its scores.

        `sharded` is by how much the parts outside the tensor-parallel region are split (tp with sequence parallelism).
        Korthikanti et al. 2022: norm input and output, queries, keys, values, and the input of the output projection.
        """
        m, tp = self.model, self.tp
        if self.latent:
            low = m.number("mla.q_lora_rank") + m.number("mla.kv_lora_rank") + m.number("mla.qk_rope_head_dim")
            inside = low + 2 * (self.query_width + self.value_width) / tp
        else:
            inside = (self.query_width + self.value_width) / tp + 2 * self.kv_heads_per_rank * m.head_dim
        return 2 * m.hidden / sharded + inside

    def ffn_activation_elements(self, sharded: Expression, width: Expression) -> Expression:
        """Elements stored per token by norm and an ordinary feed-forward of this width."""
        return 2 * self.model.hidden / sharded + self.ffn_matrices * width / self.tp

    def expert_activation_elements(self, sharded: Expression, imbalance: Expression) -> Expression:
        """Elements stored per token by norm, router and experts; routed tokens are split over the tensor ranks too."""
        m = self.model
        routed = m.number("moe.experts_per_token") * imbalance
        routed_elements = routed * (2 * m.hidden + self.ffn_matrices * m.number("moe.expert_ffn")) / self.tp
        shared_width = m.number("moe.shared_experts") * m.number("moe.shared_expert_ffn")
        return 2 * m.hidden / sharded + routed_elements + self.ffn_matrices * shared_width / self.tp

    # useful work ------------------------------------------------------------------------------------------------------
    def useful_forward_flops_per_token(self, seq_len: Expression) -> Expression:
        """Work of one token's forward pass of the whole model: active weights and causal attention, nothing twice.

        PaLM (Chowdhery et al. 2022, Appendix B) with the causal half counted once. The embedding look-up is free.
        """
        whole = Shapes(self.model, ONE)
        m = self.model
        weights = m.layers * whole.attention_parameters + whole.head_parameters
        if self.experts:
            active = m.number("moe.experts_per_token") * whole.expert_parameters
            weights = weights + self.expert_layers * (active + whole.shared_parameters + whole.router_parameters)
        weights = weights + self.dense_layers * whole.ffn_parameters
        return MULTIPLY_ADD * weights + m.layers * whole.attention_core_flops(ONE, seq_len)


def parameter_count(model: View) -> Expression:
    """Return the number of weights of a model from its shapes, to be compared with the published count."""
    whole = Shapes(model, ONE)
    total = whole.embedding_parameters + model.hidden * (1 + model.flag("biases"))
    total = total + whole.own_head_parameters
    total = total + whole.dense_layers * whole.dense_layer_parameters
    if whole.experts:
        routed = model.number("moe.experts") * whole.expert_parameters
        total = total + whole.expert_layers * (whole.expert_layer_parameters + routed)
    return total
