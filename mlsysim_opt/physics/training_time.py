"""Time of one training step: compute, exposed communication, bubble, optimizer, stragglers.

Sources: Narayanan et al. 2021 (schedules, bubble); Korthikanti et al. 2022 (sequence parallelism, recomputation);
Rajbhandari et al. 2020 (ZeRO traffic); Dao 2023 (fused attention does 5 products backward for 2 forward);
Lepikhin et al. 2021 (expert all-to-all); Llama Team 2024, Section 3.3.2 (context parallelism, interleaving).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlsysim_opt.algebra.atoms import log, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.collectives import Network
from mlsysim_opt.physics.kernels import NO_TIME, Kernels
from mlsysim_opt.physics.transformer import MULTIPLY_ADD, ONE

NO_WORK = expression("0 FLOP")


@dataclass(frozen=True)
class TrainingTime(Kernels):
    """Equations of time for a `Job` on accelerators and a network.

    Attributes:
        network: the links. nodes: how many nodes work.
        overlap_efficiency: share of a hidden communication that costs nothing; the rest slows the compute above it.
        straggler_factor: slowdown by slow workers, on top of the jitter of the fleet's size.
    """

    network: Network
    nodes: Expression
    overlap_efficiency: Expression
    straggler_factor: Expression

    # communication of one layer ---------------------------------------------------------------------------------------
    @cached_property
    def tensor_collective(self) -> Expression:
        """Time of one all-gather or reduce-scatter of a layer's input over the tensor-parallel group."""
        job = self.job
        size = job.tokens * job.model.hidden * job.numerics.activation_bytes
        return self.network.reduce_scatter(size, job.tp, ONE)

    @cached_property
    def _tensor_collectives(self) -> Expression:
        """Tensor-parallel communication of one layer, forward: two collectives per block (an all-reduce is both)."""
        if not self.job.shapes.experts:
            return 4 * self.tensor_collective
        shared = where(self.job.model.number("moe.shared_experts") > 0, 2, 0)
        return (2 + shared) * self.tensor_collective

    def _tensor_exposed(self, communication: Expression, window: Expression) -> Expression:
        """What tensor-parallel communication costs. Where it overlaps, it runs in as many pieces as there are ranks,
        behind the products it feeds; the first piece cannot hide."""
        job = self.job
        hidden = self.overlap_efficiency * minimum(communication * (1 - 1 / job.tp), window)
        return where(job.tensor_overlap, communication - hidden, communication)

    @cached_property
    def tensor_forward(self) -> Expression:
        """Exposed tensor-parallel communication of one layer, forward."""
        return self._tensor_exposed(self._tensor_collectives, self.products_forward)

    @cached_property
    def tensor_backward(self) -> Expression:
        """The same backward; with sequence parallelism inputs are gathered again, behind another product."""
        again = where(self.job.sequence_parallel, self._tensor_collectives / 2, NO_TIME)
        once = self._tensor_exposed(self._tensor_collectives, self.products_backward)
        return once + self._exposed(again, self.products_backward)

    @cached_property
    def expert_exchange(self) -> Expression:
        """Time of one dispatch or combine of a layer's routed tokens over the expert-parallel group; the mean over the
        layers, where some have no feed-forward."""
        job = self.job
        if not job.shapes.experts:
            return NO_TIME
        size = job.routed_tokens * job.shapes.expert_hidden * job.numerics.activation_bytes
        return self.network.all_to_all(size, job.ep, ONE) * self.routed_share

    @cached_property
    def context_exchange(self) -> Expression:
        """Time to bring keys and values of the whole sequence to each context-parallel rank, for one layer."""
        return self.network.reduce_scatter(self.job.context_bytes, self.job.cp, self.job.tp)

    def _exposed(self, communication: Expression, window: Expression) -> Expression:
        """What a communication costs: all of it, or with overlap what the compute it can hide behind does not cover."""
        hidden = self.overlap_efficiency * minimum(communication, window)
        return where(self.job.overlap, communication - hidden, communication)

    # passes of one layer ----------------------------------------------------------------------------------------------
    @cached_property
    def context_forward(self) -> Expression:
        """Exposed time of the context exchange of one layer, forward: it hides behind the attention core."""
        return self._exposed(self.context_exchange, self.core)

    @cached_property
    def context_backward(self) -> Expression:
        """The same backward: keys and values are gathered again, their gradients are reduced."""
        return self._exposed(2 * self.context_exchange, 2 * self.core)

    @cached_property
    def forward_compute(self) -> Expression:
        """Compute of one layer and microbatch, forward."""
        kernels = self.products_forward + self.adapters_forward + self.core + self.elementwise
        return kernels + self.calibration.layer_overhead

    @cached_property
    def backward_compute(self) -> Expression:
        """Compute of one layer and microbatch, backward, without recomputation."""
        core = self.core * where(self.job.unfused_attention, 2, 2.5)
        kernels = self.products_backward + 2 * self.adapters_forward + 2 * self.elementwise + core
        return kernels + self.calibration.layer_overhead

    @cached_property
    def forward_layer(self) -> Expression:
        """Time of one layer and microbatch, forward, with its exposed communication."""
        return self.forward_compute + self.tensor_forward + 2 * self.expert_exchange + self.context_forward

    @cached_property
    def recompute(self) -> Expression:
        """Compute and communication of recomputing one layer before its backward pass."""
        job = self.job
        return where(job.full, self.forward_layer, where(job.selective, self.core + self.context_forward, NO_TIME))

    @cached_property
    def backward_layer(self) -> Expression:
        """Time of one layer and microbatch, backward: recomputation included."""
        communication = self.tensor_backward + 2 * self.expert_exchange + self.context_backward
        return self.backward_compute + communication + self.recompute

    @cached_property
    def layer(self) -> Expression:
        """Time of one layer and microbatch, both passes."""
        return self.forward_layer + self.backward_layer

    # where the time of one layer goes, both passes and recomputation together
    @cached_property
    def layer_tensor(self) -> Expression:
        """Tensor-parallel communication."""
        return self.tensor_forward * where(self.job.full, 2, 1) + self.tensor_backward

    @cached_property
    def layer_expert(self) -> Expression:
        """Expert exchange: dispatch and combine, forward and backward."""
        return self.expert_exchange * where(self.job.full, 6, 4)

    @cached_property
    def layer_context(self) -> Expression:
        """Exposed context exchange."""
        again = where(self.job.full | self.job.selective, 2, 1)
        return self.context_forward * again + self.context_backward

    # stages -----------------------------------------------------------------------------------------------------------
    @cached_property
    def head(self) -> Expression:
        """Time of output projection and loss of one microbatch, both passes."""
        job, shapes = self.job, self.job.shapes
        width = job.model.vocab / job.tp
        sides = (job.tokens, shapes.head_parameters, width + job.model.hidden)
        forward = self.roofline(self.forward_load(*sides))
        product = forward + job.when_frozen(forward, self.roofline(self.backward_load(*sides)))
        loss = job.tokens * width * expression("20 byte") / self.memory_rate
        return product + loss + 2 * self.tensor_collective

    @cached_property
    def embedding(self) -> Expression:
        """Time of the embedding look-up and its gradient of one microbatch."""
        job = self.job
        traffic = 5 * job.tokens * job.model.hidden * job.numerics.activation_bytes / self.memory_rate
        return traffic + 2 * self.tensor_collective

    @cached_property
    def slowest_stage(self) -> Expression:
        """Time per microbatch of the stage that sets the pace, both passes, without boundary transfers."""
        job = self.job
        first = job.first_layers * self.layer + self.embedding
        last = job.last_layers * self.layer + self.head
        middle = where(job.pp >= 3, job.middle_layers, 0) * self.layer
        alone = job.model.layers * self.layer + self.embedding + self.head
        return where(job.single, alone, maximum(maximum(first, last), middle))

    @cached_property
    def boundary(self) -> Expression:
        """Time to pass the activations (or gradients) of one microbatch from one stage to the next.

        Each tensor-parallel rank sends its share; without sequence parallelism the receivers gather the whole among
        them (Narayanan et al. 2021, Section 4.1).
        """
        job = self.job
        size = job.tokens * job.model.hidden * job.numerics.activation_bytes / job.tp
        gather = where(job.sequence_parallel, NO_TIME, self.tensor_collective)
        return self.network.point_to_point(size, job.devices) + gather

    @cached_property
    def transfer(self) -> Expression:
        """Exposed time per microbatch of passing activations and gradients between stages, for all chunks of a stage.

        Under plain 1F1B a transfer stands in the way; interleaved, it can hide behind another chunk's compute.
        """
        job = self.job
        window = self.slowest_stage / (2 * job.v_stages)
        once = where(job.v_stages > 1, self._exposed(self.boundary, window), self.boundary)
        return where(job.single, NO_TIME, 2 * job.v_stages * once)

    @cached_property
    def microbatch(self) -> Expression:
        """Time per microbatch of the slowest stage with its transfers."""
        return self.slowest_stage + self.transfer

    @cached_property
    def pipeline(self) -> Expression:
        """Time of all microbatches through the pipeline."""
        return self.busy + self.bubble

    @cached_property
    def busy(self) -> Expression:
        """Time in which the slowest stage works."""
        return self.job.microbatches * self.microbatch

    @cached_property
    def bubble(self) -> Expression:
        """Time in which the slowest stage waits for the pipeline to fill and drain (tensor communication included)."""
        return (self.job.pp - 1) / self.job.v_stages * self.microbatch

    # gradients and weights --------------------------------------------------------------------------------------------
    @cached_property
    def stage_parameters(self) -> Expression:
        """Weights on a rank of the fullest stage, without routed experts."""
        job, shapes = self.job, self.job.shapes
        first = job.first_layers * shapes.layer_parameters + shapes.embedding_parameters
        middle = where(job.pp >= 3, job.middle_layers, job.first_layers) * shapes.layer_parameters
        alone = job.model.layers * shapes.layer_parameters + shapes.embedding_parameters + shapes.own_head_parameters
        return where(job.single, alone, maximum(first, middle))

    @cached_property
    def stage_experts(self) -> Expression:
        """Weights of routed experts on a rank of the fullest stage."""
        job, shapes = self.job, self.job.shapes
        if not shapes.experts:
            return expression(0)
        layers = where(job.single, shapes.expert_layers, job.slowest_layers)
        return layers * job.model.number("moe.experts") / job.ep * shapes.expert_parameters

    @cached_property
    def _trained(self) -> Expression:
        """Weights on a rank of the fullest stage that are trained, without routed experts."""
        adapters = self.job.slowest_layers * self.job.adapter_parameters
        return self.job.when_frozen(adapters, self.stage_parameters)

    @cached_property
    def _trained_experts(self) -> Expression:
        """Weights of routed experts on a rank of the fullest stage that are trained."""
        return self.job.when_frozen(0, self.stage_experts)

    def _over_replicas(self, per_parameter: Expression, dense: Expression, routed: Expression) -> Expression:
        """Time to reduce-scatter (or gather) this much per parameter over the ranks that share weights, by layers."""
        job, layers = self.job, self._layers
        time = layers * self.network.reduce_scatter(dense * per_parameter / layers, job.replicas, job.tp)
        if not job.shapes.experts:
            return time
        size = routed * per_parameter / layers
        return time + layers * self.network.reduce_scatter(size, job.expert_replicas, job.ep)

    @cached_property
    def _layers(self) -> Expression:
        """Layers of the fullest stage: messages in which weights and gradients travel."""
        return maximum(self.job.slowest_layers, 1)

    @cached_property
    def _hideable(self) -> Expression:
        """Share of the communication of gradients and weights that passes can hide: not that of the first layer."""
        return 1 - 1 / self._layers

    @cached_property
    def gradient_reduction(self) -> Expression:
        """Communication of gradients per step: once, or once per round when they are kept split (ZeRO 2, 3)."""
        once = self._over_replicas(self.job.numerics.gradient_bytes, self._trained, self._trained_experts)
        return where(self.job.zero_stage >= 2, self.job.rounds, 1) * once

    @cached_property
    def weight_gathering(self) -> Expression:
        """Communication that brings weights back per step.

        ZeRO 0: the second half of the gradients' all-reduce; 1 and 2: the updated weights once; 3: the weights of each
        round, forward and backward.
        """
        job = self.job
        every = self._over_replicas(job.numerics.weight_bytes, self.stage_parameters, self.stage_experts)
        updated = self._over_replicas(job.numerics.weight_bytes, self._trained, self._trained_experts)
        gradients = self._over_replicas(job.numerics.gradient_bytes, self._trained, self._trained_experts)
        return where(job.zero_stage >= 3, 2 * job.rounds * every, where(job.zero_stage >= 1, updated, gradients))

    @cached_property
    def _windows(self) -> tuple[Expression, Expression]:
        """Time per microbatch of forward and backward pass in which the links between nodes are free.

        Context, expert and pipeline traffic use the same links, and compute that hides them cannot hide more.
        """
        job = self.job
        share = self.slowest_stage / self.layer
        taken = where(job.single, NO_TIME, job.v_stages * self.boundary)
        experts = 2 * self.expert_exchange
        forward = share * (self.forward_layer - self.context_exchange - experts) - taken
        backward = share * (self.backward_layer - 2 * self.context_exchange - experts) - taken
        return maximum(forward, NO_TIME), maximum(backward, NO_TIME)

    @cached_property
    def replica_communication(self) -> Expression:
        """Exposed communication of gradients and weights per step.

        It hides behind the passes it belongs to: the backward (or forward) of the last (or first) microbatches a chunk
        runs in a row, or of all of them when each round communicates; no pass hides more than its length.
        """
        job = self.job
        forward, backward = self._windows
        gradients, weights = self.gradient_reduction, self.weight_gathering
        reducing = where(job.zero_stage >= 2, job.microbatches, job.group_microbatches) * backward
        first = minimum(gradients * self._hideable, reducing)
        gathering = where(
            job.zero_stage >= 3, job.microbatches * (forward + backward) - first, job.group_microbatches * forward
        )
        hidden = first + minimum(weights * self._hideable, gathering)
        return gradients + weights - where(job.overlap, self.overlap_efficiency * hidden, NO_TIME)

    @cached_property
    def optimizer(self) -> Expression:
        """Time to update the weights: every state is read and written once."""
        job, numerics = self.job, self.job.numerics
        split = self._trained / job.replicas + self._trained_experts / job.expert_replicas
        mine = where(job.zero_stage >= 1, split, self._trained + self._trained_experts)
        traffic = 2 * numerics.optimizer_bytes + numerics.gradient_bytes + numerics.weight_bytes
        return mine * traffic / self.memory_rate

    @cached_property
    def jitter(self) -> Expression:
        """How much longer the slowest of many nodes takes than the mean one: sigma sqrt(2 ln n)."""
        return self.straggler_factor * (1 + self.calibration.step_jitter * sqrt(2 * log(maximum(self.nodes, 1))))

    @cached_property
    def step(self) -> Expression:
        """Time of one optimizer step."""
        fixed = self.optimizer + self.calibration.step_overhead
        return (self.pipeline + self.replica_communication + fixed) * self.jitter

    # work -------------------------------------------------------------------------------------------------------------
    @cached_property
    def useful_flops(self) -> Expression:
        """Work of one step that the model needs: three forward passes' worth (two where the weights are frozen),
        recomputation not counted."""
        job = self.job
        passes = job.when_frozen(2, 3)
        return passes * job.global_batch_size * job.seq_len * job.shapes.useful_forward_flops_per_token(job.seq_len)

    @cached_property
    def executed_flops(self) -> Expression:
        """Work of one step with recomputation, as hardware utilization counts it."""
        job = self.job
        tokens = job.global_batch_size * job.seq_len
        whole = job.shapes.__class__(job.model, ONE)
        forward = whole.useful_forward_flops_per_token(job.seq_len)
        head = MULTIPLY_ADD * whole.head_parameters
        core = job.model.layers * whole.attention_core_flops(ONE, job.seq_len)
        again = where(job.full, forward - head, where(job.selective, core, NO_WORK))
        return tokens * (job.when_frozen(2, 3) * forward + again)
