"""Shapes of a transformer: parameters, FLOPs and stored activations of its layers, for one rank of a parallel job.

Everything is per layer and per rank, from the model's own shapes: grouped or latent attention, gated or plain
feed-forward, routed and shared experts. Where layers differ (attention windows, recurrent mixers, layers without a
feed-forward) it is the mean over the layers, so that `layers` times it is right. Replication is counted: with more
tensor-parallel ranks than key-value heads, each rank holds one head.

Sources: Vaswani et al. 2017; Shoeybi et al. 2019 (tensor parallelism); Korthikanti et al. 2022, Table 2 (activations);
Shazeer 2020 (gated units); Ainslie et al. 2023 (grouped queries); DeepSeek-AI 2024 (latent attention, experts);
Beltagy et al. 2020, Jiang et al. 2023 (windows); Dao and Gu 2024 (state spaces).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlsysim_opt.algebra.atoms import maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.view import View

MULTIPLY_ADD = expression("2 FLOP")
ZERO = expression(0)
ONE = expression(1)
HALF = expression(0.5)


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
    def recurrent(self) -> bool:
        return self.model.has("recurrent")

    @cached_property
    def uneven(self) -> bool:
        """Whether layers differ in what their tokens see."""
        return self.recurrent or self.model.has("window")

    @cached_property
    def kv_heads_per_rank(self) -> Expression:
        """Key-value heads on one rank; at least one, so replicated when there are more ranks than heads."""
        return maximum(self.model.kv_heads / self.tp, 1)

    @cached_property
    def query_rank(self) -> Expression:
        """Rank of the queries of latent attention; zero where they are projected at once."""
        return self.model.number("mla.q_lora_rank") if self.model.has("mla.q_lora_rank") else ZERO

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
        """Weights of attention on one rank; with recurrent mixers, the mean over both kinds of layers."""
        if not self.recurrent:
            return self._projection_parameters
        mixer = self.model.number("recurrent.mixer_parameters") / self.tp
        return self._mixed(self._projection_parameters, mixer)

    @cached_property
    def _projection_parameters(self) -> Expression:
        m, tp = self.model, self.tp
        out = self.value_width * m.hidden / tp
        if not self.latent:
            return m.hidden * self.query_width / tp + 2 * m.hidden * self.kv_heads_per_rank * m.head_dim + out
        nope, value = m.number("mla.qk_nope_head_dim"), m.number("mla.v_head_dim")
        rank_q, rank_kv = self.query_rank, m.number("mla.kv_lora_rank")
        down = m.hidden * (rank_q + rank_kv + m.number("mla.qk_rope_head_dim"))
        from_rank = rank_q if m.has("mla.q_lora_rank") else m.hidden
        up = (from_rank * self.query_width + rank_kv * m.heads * (nope + value)) / tp
        return down + up + out

    @cached_property
    def attention_widths(self) -> Expression:
        """Widths of all inputs and outputs of the projections of attention on one rank, together."""
        if not self.recurrent:
            return self._projection_widths
        return self._mixed(self._projection_widths, 2 * self.model.hidden + self._recurrent_width)

    @cached_property
    def _projection_widths(self) -> Expression:
        m, tp = self.model, self.tp
        if not self.latent:
            return 2 * m.hidden + (self.query_width + self.value_width) / tp + 2 * self.kv_heads_per_rank * m.head_dim
        low = self.query_rank + m.number("mla.kv_lora_rank") + m.number("mla.qk_rope_head_dim")
        up = self.query_width + m.heads * m.number("mla.qk_nope_head_dim") + 2 * self.value_width
        return 3 * m.hidden + 2 * low + up / tp

    @cached_property
    def _recurrent_width(self) -> Expression:
        """Inner widths of a recurrent mixer on one rank: it is made of matrices between `hidden` and these."""
        return self.model.number("recurrent.mixer_parameters") / self.model.hidden / self.tp

    def _mixed(self, attention: Expression, recurrent: Expression) -> Expression:
        """Return the mean over the layers of what is `attention` in some and `recurrent` in the others."""
        m, others = self.model, self.model.number("recurrent.layers")
        return (self.attention_layers * attention + others * recurrent) / m.layers

    @cached_property
    def attention_layers(self) -> Expression:
        """Layers with attention, windowed or not."""
        return self.model.layers - self.model.number("recurrent.layers") if self.recurrent else self.model.layers

    def attention_core_flops(self, tokens: Expression, seq_len: Expression) -> Expression:
        """Work of scores and weighted values, forward, causal: a token sees half of the sequence on average.

        A recurrent mixer updates its state and reads it: two multiply-adds an element.
        """
        if self.uneven:
            keys = self._pairs(seq_len, ZERO, ZERO) / maximum(seq_len, 1) / self.model.layers
        else:
            keys = seq_len if self.model.has("bidirectional_layers") else seq_len / 2
        work = MULTIPLY_ADD * tokens * keys * (self.query_width + self.value_width) / self.tp
        return work + self.state_flops(tokens) / self.model.layers if self.recurrent else work

    def state_flops(self, tokens: Expression) -> Expression:
        """Return the work of recurrent mixers on their states, over all layers, on one rank."""
        state = self.model.number("recurrent.layers") * self.model.number("recurrent.state_elements")
        return MULTIPLY_ADD * tokens * 2 * state / self.tp

    # keys and values --------------------------------------------------------------------------------------------------
    def _pairs(self, new: Expression, before: Expression, own: Expression) -> Expression:
        """Pairs of query and key, over all layers, where `new` tokens follow `before` others. `own` is 1/2 where a
        token's own key is counted, 0 for the mean over long sequences.
        """
        full = new * (before + (new if self.model.has("bidirectional_layers") else new / 2 + own))
        if not self.model.has("window"):
            return self.attention_layers * full
        windowed, size = self.model.number("window.layers"), self.model.number("window.size")
        rising = maximum(minimum(size - before, new), 0)  # tokens that still see all before them
        seen = rising * (before + rising / 2 + own) + (new - rising) * size
        return (self.attention_layers - windowed) * full + windowed * seen

    def attended_prefill(self, new: Expression, before: Expression) -> Expression:
        """Return the pairs of query and key, over all layers, of `new` tokens that follow `before` cached ones."""
        return self._pairs(new, before, HALF)

    def attended_decode(self, context: Expression) -> Expression:
        """Return the keys, over all layers, that the last of `context` tokens sees, itself included."""
        m = self.model
        if not m.has("window"):
            return self.attention_layers * context
        windowed = m.number("window.layers")
        return (self.attention_layers - windowed) * context + windowed * minimum(context, m.number("window.size"))

    @cached_property
    def kv_elements_per_token_layer(self) -> Expression:
        """Numbers that a layer with attention keeps of one token on one rank; latent ones are on every rank."""
        m = self.model
        if self.latent:
            return m.number("mla.kv_lora_rank") + m.number("mla.qk_rope_head_dim")
        return 2 * self.kv_heads_per_rank * m.head_dim

    @cached_property
    def decode_core_width(self) -> Expression:
        """Multiply-adds of a query with one key and value, of all heads. Latent attention works on the latent numbers
        themselves, the up-projections being absorbed into those of queries and outputs (DeepSeek-AI 2024, 2.1.2)."""
        m = self.model
        if self.latent:
            return m.heads * (2 * m.number("mla.kv_lora_rank") + m.number("mla.qk_rope_head_dim"))
        return self.query_width + self.value_width

    # feed-forward -----------------------------------------------------------------------------------------------------
    @cached_property
    def ffn_matrices(self) -> Expression:
        """Three with a gate, else two."""
        return 2 + self.model.flag("gated_ffn")

    def _spread(self, amount: Expression) -> Expression:
        """Return the mean over the layers of what those with a feed-forward have (with experts, those with experts)."""
        m = self.model
        if not m.has("ffn_layers"):
            return amount
        dense = m.number("moe.dense_layers") if self.experts else ZERO
        return amount * (m.ffn_layers - dense) / (m.layers - dense)

    @cached_property
    def ffn_parameters(self) -> Expression:
        """Weights of an ordinary feed-forward layer on one rank."""
        weights = self.ffn_matrices * self.model.hidden * self.model.ffn / self.tp
        return weights if self.experts else self._spread(weights)

    def ffn_widths(self, width: Expression) -> Expression:
        """Widths of all inputs and outputs of a feed-forward of this width on one rank, together."""
        return self._spread(2 * self.model.hidden + self.ffn_matrices * width / self.tp)

    @cached_property
    def expert_parameters(self) -> Expression:
        """Weights of one routed expert (experts are not split further)."""
        return self._spread(self.ffn_matrices * self.expert_hidden * self.model.number("moe.expert_ffn"))

    @cached_property
    def expert_hidden(self) -> Expression:
        """Width of the inputs and outputs of a routed expert."""
        latent = self.model.has("moe.expert_latent")
        return self.model.number("moe.expert_latent") if latent else self.model.hidden

    @cached_property
    def shared_parameters(self) -> Expression:
        """Weights of the shared experts on one rank."""
        m = self.model
        width = m.number("moe.shared_experts") * m.number("moe.shared_expert_ffn")
        return self._spread(self.ffn_matrices * m.hidden * width / self.tp)

    @cached_property
    def router_parameters(self) -> Expression:
        """Weights of the router, and of the projections to and from latent experts, on every rank."""
        m = self.model
        latent = 2 * m.number("moe.expert_latent") if m.has("moe.expert_latent") else ZERO
        return self._spread(m.hidden * (m.number("moe.experts") + latent))

    @cached_property
    def norm_parameters(self) -> Expression:
        """Scales (and shifts) of the two norms, and biases of the linear layers, of one layer."""
        m = self.model
        biases = (m.heads + 2 * m.kv_heads) * m.head_dim + 2 * m.hidden + m.ffn
        extra = biases / self.tp + 2 * m.hidden
        low_rank = self.query_rank + m.number("mla.kv_lora_rank") if self.latent else ZERO
        positions = m.relative_positions / self.tp if m.has("relative_positions") else ZERO
        return 2 * m.hidden + low_rank + m.flag("biases") * extra + positions

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
            low = self.query_rank + m.number("mla.kv_lora_rank") + m.number("mla.qk_rope_head_dim")
            inside = low + 2 * (self.query_width + self.value_width) / tp
        else:
            inside = (self.query_width + self.value_width) / tp + 2 * self.kv_heads_per_rank * m.head_dim
        if self.recurrent:
            inside = self._mixed(inside, self._recurrent_width)
        return 2 * m.hidden / sharded + inside

    def ffn_activation_elements(self, sharded: Expression, width: Expression) -> Expression:
        """Elements stored per token by norm and an ordinary feed-forward of this width."""
        return self._spread(2 * self.model.hidden / sharded + self.ffn_matrices * width / self.tp)

    def expert_activation_elements(self, sharded: Expression, imbalance: Expression) -> Expression:
        """Elements stored per token by norm, router and experts; routed tokens are split over the tensor ranks too."""
        m = self.model
        routed = m.number("moe.experts_per_token") * imbalance
        routed_elements = routed * (2 * self.expert_hidden + self.ffn_matrices * m.number("moe.expert_ffn")) / self.tp
        shared_width = m.number("moe.shared_experts") * m.number("moe.shared_expert_ffn")
        return self._spread(2 * m.hidden / sharded + routed_elements + self.ffn_matrices * shared_width / self.tp)

    # useful work ------------------------------------------------------------------------------------------------------
    @cached_property
    def active_parameters(self) -> Expression:
        """Weights of the matrices of the whole model that one token meets, without those looked up (embeddings)."""
        whole = Shapes(self.model, ONE)
        weights = self.model.layers * whole.attention_parameters + whole.head_parameters
        if self.experts:
            active = self.model.number("moe.experts_per_token") * whole.expert_parameters
            weights = weights + self.expert_layers * (active + whole.shared_parameters + whole.router_parameters)
        return weights + self.dense_layers * whole.ffn_parameters

    def useful_forward_flops_per_token(self, seq_len: Expression) -> Expression:
        """Work of one token's forward pass of the whole model: active weights and causal attention, nothing twice.

        PaLM (Chowdhery et al. 2022, Appendix B) with the causal half counted once. The embedding look-up is free.
        """
        core = self.model.layers * Shapes(self.model, ONE).attention_core_flops(ONE, seq_len)
        return MULTIPLY_ADD * self.active_parameters + core


def kv_bytes(model: View, context: Expression, kv_bytes_per_element: Expression, tp: Expression = ONE) -> Expression:
    """Return the bytes that one sequence of `context` tokens keeps on one of `tp` ranks, over all layers.

    Keys and values of full layers grow with the context, those of windowed layers up to the window; the state of a
    recurrent layer has one size. A rank holds at least one key-value head; latent keys and values are on every rank.

    Args:
        model: the model. context: tokens of the sequence. kv_bytes_per_element: of keys and values.
        tp: tensor-parallel size.
    """
    rank = Shapes(model, tp)
    kept = rank.attended_decode(context) * rank.kv_elements_per_token_layer * kv_bytes_per_element
    if not rank.recurrent:
        return kept
    state = model.number("recurrent.state_elements") * model.number("recurrent.state_element")
    return kept + model.number("recurrent.layers") * state / tp


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
