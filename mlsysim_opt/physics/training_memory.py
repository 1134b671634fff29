"""Memory of a training rank by part, on the fullest pipeline stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlsysim_opt.algebra.atoms import maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.design import Job

ONE_BYTE = expression("1 byte")


@dataclass(frozen=True)
class Parts:
    """Bytes on one rank, by what they hold."""

    weights: Expression
    gradients: Expression
    optimizer_states: Expression
    activations: Expression
    logits: Expression
    buffers: Expression

    @cached_property
    def total(self) -> Expression:
        return self.weights + self.gradients + self.optimizer_states + self.activations + self.logits + self.buffers


@dataclass(frozen=True)
class TrainingMemory:
    """Equations of memory for a `Job`.

    Sources: Rajbhandari et al. 2020 (ZeRO); Korthikanti et al. 2022, Eq. 1-6 and Table 2 (activations, 1F1B and
    interleaved in-flight microbatches); Narayanan et al. 2021 (schedules); Dao et al. 2022 (fused attention keeps no
    scores).
    """

    job: Job

    # one layer --------------------------------------------------------------------------------------------------------
    @cached_property
    def layer_activation(self) -> Expression:
        """Bytes that one layer keeps of one microbatch until its backward pass, without full recomputation."""
        job, shapes = self.job, self.job.shapes
        elements = shapes.attention_activation_elements(job.sharded) + self._ffn_elements
        element = job.numerics.activation_bytes
        kept = job.tokens * elements * element
        masks = where(job.dropout, job.tokens * 2 * job.model.hidden / job.sharded, 0) * ONE_BYTE
        return kept + masks + where(job.selective, expression("0 byte"), self.attention_scores)

    @cached_property
    def _ffn_elements(self) -> Expression:
        """Elements stored per token by norm and feed-forward. Frozen weights have no gradients of their own: the inputs
        of the two products (or three) are not needed, only those of the norm and of the activation function."""
        job, shapes = self.job, self.job.shapes
        if shapes.experts:
            return shapes.expert_activation_elements(job.sharded, job.imbalance)
        m = job.model
        frozen = m.hidden / job.sharded + (shapes.ffn_matrices - 1) * m.ffn / job.tp
        return job.when_frozen(frozen, shapes.ffn_activation_elements(job.sharded, m.ffn))

    @cached_property
    def attention_scores(self) -> Expression:
        """Bytes of the attention core: its scores when unfused, else only the row statistics in fp32."""
        job = self.job
        rows = job.tokens * job.model.heads / job.tp
        per_score = job.numerics.activation_bytes * where(job.dropout, 2, 1) + where(job.dropout, 1, 0) * ONE_BYTE
        return where(job.unfused_attention, rows * job.seq_len * per_score, rows * 4 * ONE_BYTE)

    @cached_property
    def layer_input(self) -> Expression:
        """Bytes of the input of one layer, all that full recomputation keeps."""
        job = self.job
        return job.tokens * job.model.hidden * job.numerics.activation_bytes / job.sharded

    @cached_property
    def stored_per_layer(self) -> Expression:
        """Bytes kept per layer and microbatch in flight."""
        return where(self.job.full, self.layer_input, self.layer_activation)

    @cached_property
    def working_layer(self) -> Expression:
        """Bytes of the layer being recomputed; nothing without full recomputation."""
        return where(self.job.full, self.layer_activation, expression("0 byte"))

    # stages -----------------------------------------------------------------------------------------------------------
    def _in_flight(self, before_last: Expression, layers: Expression) -> Expression:
        """Layers times microbatches that a stage of this many layers holds at its peak.

        Korthikanti et al. 2022, Section 4.2.3: under 1F1B stage r holds pp - r microbatches; interleaved, its first
        chunk holds 2 (pp - r) - 1 and each other chunk pp. Never more than there are microbatches.
        """
        job = self.job
        m, p, v, chunk = job.microbatches, job.pp, job.v_stages, job.chunk_layers
        first_chunk = maximum(chunk - (job.middle_layers - layers), 0)
        interleaved = (v - 1) * chunk * minimum(m, p) + first_chunk * minimum(m, 2 * before_last - 1)
        return where(v > 1, interleaved, layers * minimum(m, before_last))

    def states(
        self, dense: Expression, routed: Expression, live: Expression
    ) -> tuple[Expression, Expression, Expression]:
        """Weights, gradients and optimizer states for these many parameters on a rank, after ZeRO.

        What is split is whole for a while: `live` parameters at a time (never more than there are). Frozen weights
        have neither gradients nor optimizer states; their adapters have (`_adapters` of them, not worth splitting).
        """
        job, numerics = self.job, self.job.numerics
        split = dense / job.replicas + routed / job.expert_replicas
        whole = dense + routed
        gathered = minimum(split + job.live_passes * live, whole)
        weights = where(job.zero_stage >= 3, gathered, whole) * numerics.weight_bytes
        reduced = where(job.zero_stage >= 2, minimum(split + live, whole), whole)
        gradients = job.when_frozen(self._adapters, reduced) * numerics.gradient_bytes
        held = where(job.zero_stage >= 1, split, whole)
        optimizer = job.when_frozen(self._adapters, held) * numerics.optimizer_bytes
        return weights, gradients, optimizer

    @cached_property
    def _adapters(self) -> Expression:
        """Weights of the adapters on a rank of the fullest stage."""
        return self.job.slowest_layers * self.job.adapter_parameters

    def _stage(
        self, layers: Expression, extra: Expression, in_flight: Expression, logits: Expression, dense_layers: Expression
    ) -> Parts:
        job, shapes = self.job, self.job.shapes
        layer = shapes.layer_parameters
        dense = (layers - dense_layers) * layer + dense_layers * shapes.dense_layer_parameters + extra
        experts = (
            job.model.number("moe.experts") / job.ep * shapes.expert_parameters if shapes.experts else expression(0)
        )
        live = job.live_layers * (layer + experts) + extra
        weights, gradients, optimizer = self.states(dense, (layers - dense_layers) * experts, live)
        activations = in_flight * self.stored_per_layer + self.working_layer
        return Parts(weights, gradients, optimizer, activations, logits, self.buffers)

    @cached_property
    def buffers(self) -> Expression:
        """Communication buffers: a gathered layer input, the gathered keys and values of a layer, boundary tensors, the
        gradients of a layer on their way (with ZeRO 2 and 3 those are counted as gradients); doubled to overlap."""
        job = self.job
        nothing = expression("0 byte")
        tensor = job.tokens * job.model.hidden * job.numerics.activation_bytes
        gathered = where(job.tp > 1, tensor, nothing)
        context = where(job.cp > 1, job.context_bytes, nothing)
        boundary = where(job.single, nothing, 2 * tensor / job.sharded)
        reduced = job.when_frozen(job.adapter_parameters, job.shapes.layer_parameters)
        travelling = where((job.replicas > 1) & (job.zero_stage <= 1), reduced, 0)
        return (gathered + context + boundary + travelling * job.numerics.gradient_bytes) * where(job.overlap, 2, 1)

    @cached_property
    def logits(self) -> Expression:
        """Bytes of the logits of one microbatch: in fp32 for the loss, and their gradient in the activation format."""
        job = self.job
        return job.tokens * job.model.vocab / job.tp * (4 * ONE_BYTE + job.numerics.activation_bytes)

    @cached_property
    def stages(self) -> tuple[Parts, Parts, Parts]:
        """Memory of the first stage (or the only one), of a middle stage, and of the last stage."""
        job, shapes = self.job, self.job.shapes
        no_logits = expression("0 byte")
        head = shapes.own_head_parameters
        only_dense = shapes.dense_layers if shapes.experts else expression(0)
        zero = expression(0)
        one_in_flight = job.model.layers * minimum(job.microbatches, 1)
        first = self._stage(
            where(job.single, job.model.layers, job.first_layers),
            shapes.embedding_parameters + where(job.single, head, 0),
            where(job.single, one_in_flight, self._in_flight(job.pp, job.first_layers)),
            where(job.single, self.logits, no_logits),
            where(job.single, only_dense, zero),
        )
        middle = self._stage(
            job.middle_layers, zero, self._in_flight(maximum(job.pp - 1, 1), job.middle_layers), no_logits, zero
        )
        waiting = self._in_flight(expression(1), job.last_layers)
        last = self._stage(job.last_layers, shapes.head_parameters, waiting, self.logits, zero)
        return first, middle, last

    @cached_property
    def peak(self) -> Parts:
        """Memory by part of the fullest stage."""
        first, middle, last = self.stages
        job = self.job
        zero = expression("0 byte")
        middle_total = where(job.pp >= 3, middle.total, zero)
        last_total = where(job.single, zero, last.total)
        use_last = last_total > maximum(first.total, middle_total)
        use_middle = middle_total > first.total

        def pick(name: str) -> Expression:
            a, b, c = (getattr(parts, name) for parts in (first, middle, last))
            return where(use_last, c, where(use_middle, b, a))

        return Parts(*(pick(name) for name in Parts.__dataclass_fields__))

    @cached_property
    def total(self) -> Expression:
        """Bytes on the fullest stage."""
        first, middle, last = self.stages
        zero = expression("0 byte")
        others = maximum(where(self.job.pp >= 3, middle.total, zero), where(self.job.single, zero, last.total))
        return maximum(first.total, others)
