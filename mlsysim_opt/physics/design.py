"""A training job as equations see it: what is given, and how it is split. Shared by memory and time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlsysim_opt.algebra.atoms import ceildiv, maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, Operand, expression
from mlsysim_opt.physics.transformer import ONE, Shapes
from mlsysim_opt.physics.view import View

NEVER = expression(0) == 1


@dataclass(frozen=True)
class Job:
    """One training job and its split.

    Attributes:
        model, numerics: catalog entries.
        global_batch_size: sequences per optimizer step. seq_len: tokens per sequence.
        tp, pp, dp, cp, ep: sizes of tensor, pipeline, data, context and expert parallelism.
        microbatch_size: sequences per microbatch. v_stages: model chunks per pipeline stage.
        zero_stage: 0 nothing, 1 optimizer states, 2 gradients too, 3 weights too are split over data parallelism.
        selective, full: truths, which recomputation is used. sequence_parallel, overlap: truths.
        tensor_overlap: truth, tensor-parallel communication hides too. fused_kernels: truth, see `training_time`.
        frozen: truth, only low-rank adapters beside the attention projections are trained (LoRA). lora_rank: theirs.
    """

    model: View
    numerics: View
    global_batch_size: Expression
    seq_len: Expression
    tp: Expression
    pp: Expression
    dp: Expression
    cp: Expression
    ep: Expression
    microbatch_size: Expression
    v_stages: Expression
    zero_stage: Expression
    selective: Expression
    full: Expression
    sequence_parallel: Expression
    overlap: Expression
    tensor_overlap: Expression
    fused_kernels: Expression
    unfused_attention: Expression
    dropout: Expression
    imbalance: Expression
    frozen: Expression = NEVER
    lora_rank: Expression = ONE

    @cached_property
    def shapes(self) -> Shapes:
        return Shapes(self.model, self.tp)

    @cached_property
    def devices(self) -> Expression:
        """Accelerators at work."""
        return self.tp * self.pp * self.dp * self.cp

    @cached_property
    def microbatches(self) -> Expression:
        """Microbatches that each replica runs per step."""
        return ceildiv(self.global_batch_size, self.dp * self.microbatch_size)

    @cached_property
    def tokens(self) -> Expression:
        """Tokens of one microbatch on one rank (before tensor parallelism splits the layer)."""
        return self.microbatch_size * self.seq_len / self.cp

    @cached_property
    def routed_tokens(self) -> Expression:
        """Tokens that one rank sends to experts (and receives), each as often as it is routed; ranks of tensor
        parallelism share them (expert tensor parallelism is 1)."""
        return self.tokens / self.tp * self.model.number("moe.experts_per_token") * self.imbalance

    def when_frozen(self, frozen: Operand, trained: Operand) -> Expression:
        """Return `frozen` where only adapters are trained, else `trained`; where they never are, without a choice."""
        return expression(trained) if self.frozen is NEVER else where(self.frozen, frozen, trained)

    @cached_property
    def adapter_parameters(self) -> Expression:
        """Weights of the adapters of one layer on one rank: two thin matrices beside each attention projection."""
        return self.lora_rank * self.shapes.attention_widths

    @cached_property
    def sharded(self) -> Expression:
        """By how much activations outside the tensor-parallel region are split."""
        return where(self.sequence_parallel, self.tp, 1)

    @cached_property
    def context_bytes(self) -> Expression:
        """Keys and values of the whole sequence that a rank of context parallelism works with, for one layer and
        microbatch. Latent ones are exchanged after their projection."""
        shapes = self.shapes
        width = (
            (shapes.query_width + shapes.value_width) / self.tp
            if shapes.latent
            else 2 * shapes.kv_heads_per_rank * self.model.head_dim
        )
        whole: Expression = self.microbatch_size * self.seq_len * width * self.numerics.activation_bytes
        return whole

    # layers on the stages ---------------------------------------------------------------------------------------------
    @cached_property
    def chunk_layers(self) -> Expression:
        """Layers of a full chunk. First and last chunk also hold embedding and head, instead of a layer where that is
        enough: 126 layers on 16 stages of 8 chunks leave first and last stage one layer less."""
        return ceildiv(self.model.layers, self.pp * self.v_stages)

    @cached_property
    def middle_layers(self) -> Expression:
        """Layers of a stage between the first and the last."""
        return self.v_stages * self.chunk_layers

    @cached_property
    def _spare(self) -> Expression:
        return self.pp * self.middle_layers - self.model.layers

    @cached_property
    def last_layers(self) -> Expression:
        """Layers of the last stage, relieved of half the places that stay empty, for the head."""
        return maximum(self.middle_layers - ceildiv(self._spare, 2), self.v_stages - 1)

    @cached_property
    def first_layers(self) -> Expression:
        """Layers of the first stage, relieved of the other half, for the embedding."""
        return maximum(self.middle_layers - (self._spare - ceildiv(self._spare, 2)), self.v_stages - 1)

    @cached_property
    def single(self) -> Expression:
        """Whether there is no pipeline."""
        alone: Expression = self.pp == 1
        return alone

    @cached_property
    def slowest_layers(self) -> Expression:
        """Layers of the fullest stage."""
        return where(self.single, self.model.layers, where(self.pp >= 3, self.middle_layers, self.first_layers))

    # sharding ---------------------------------------------------------------------------------------------------------
    @cached_property
    def replicas(self) -> Expression:
        """Ranks that hold the same non-expert weights: data and context parallelism."""
        return self.dp * self.cp

    @cached_property
    def expert_replicas(self) -> Expression:
        """Ranks that hold the same experts, when experts are spread over tensor, context and data ranks."""
        return ceildiv(self.tp * self.cp * self.dp, self.ep)

    @cached_property
    def rounds(self) -> Expression:
        """How often per step sharded gradients are reduced (ZeRO 2) or weights gathered (ZeRO 3).

        An interleaved schedule runs a chunk for `pp` microbatches in a row, and reduces once after them; otherwise it
        is once per microbatch.
        """
        return where(self.v_stages > 1, ceildiv(self.microbatches, self.pp), self.microbatches)

    @cached_property
    def group_microbatches(self) -> Expression:
        """Microbatches that one chunk runs in a row."""
        return where(self.v_stages > 1, minimum(self.microbatches, self.pp), 1)

    @cached_property
    def live_layers(self) -> Expression:
        """Layers whose unreduced gradients (or gathered weights) one pass holds at once under ZeRO 2 and 3.

        Interleaved, a whole chunk, for it runs several microbatches in a row; with overlap another one is on its way.
        """
        return where(self.v_stages > 1, self.chunk_layers, 1) * where(self.overlap, 2, 1)

    @cached_property
    def live_passes(self) -> Expression:
        """Passes that hold gathered weights at once: interleaved, forward and backward run different chunks."""
        return where(self.v_stages > 1, 2, 1)
