"""One layer at a time: what each takes of a step and of memory under its own strategy, and what lies between two.

The equations are those of `TrainingTime` and `TrainingMemory` for a stage that holds one layer, the embedding or the
head alone. Layers of one stage may be split in different ways; between two that are, activations change their layout.

Sources: Zheng et al. 2022 (Alpa: resharding between operators); Miao et al. 2022 (Galvatron: strategies by layer).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlsysim_opt.algebra.atoms import ceildiv, maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.collectives import Network
from mlsysim_opt.physics.design import Job
from mlsysim_opt.physics.training_memory import TrainingMemory
from mlsysim_opt.physics.training_time import TrainingTime
from mlsysim_opt.physics.transformer import ONE, ZERO

NO_BYTES = expression("0 byte")


@dataclass(frozen=True)
class LayerTime(TrainingTime):
    """Time of one layer of a stage without a pipeline. With overlap, its gradients hide behind its own passes."""

    @cached_property
    def stage_parameters(self) -> Expression:
        return self.job.shapes.layer_parameters

    @cached_property
    def _layers(self) -> Expression:
        return ONE

    @cached_property
    def _hideable(self) -> Expression:
        return ONE

    @cached_property
    def slowest_stage(self) -> Expression:
        return self.layer

    @cached_property
    def in_step(self) -> Expression:
        """Time of a step that this layer takes: passes, exposed communication of its weights, their update."""
        return self.job.microbatches * self.slowest_stage + self.replica_communication + self.optimizer


@dataclass(frozen=True)
class EmbeddingTime(LayerTime):
    """The same of the embedding; its gradients come last, and hide behind nothing."""

    @cached_property
    def stage_parameters(self) -> Expression:
        return self.job.shapes.embedding_parameters

    @cached_property
    def _hideable(self) -> Expression:
        return ZERO

    @cached_property
    def slowest_stage(self) -> Expression:
        return self.embedding


@dataclass(frozen=True)
class HeadTime(LayerTime):
    """The same of the output projection and the loss."""

    @cached_property
    def stage_parameters(self) -> Expression:
        return self.job.shapes.own_head_parameters

    @cached_property
    def _hideable(self) -> Expression:
        return ZERO

    @cached_property
    def slowest_stage(self) -> Expression:
        return self.head


@dataclass(frozen=True)
class LayerMemory:
    """Bytes on one rank that a part of the model takes.

    Attributes:
        kept: for the whole step: its weights, gradients and optimizer states, and activations until its backward pass.
        working: only while it is at work: weights gathered for it, activations computed again, buffers.
    """

    kept: Expression
    working: Expression

    @staticmethod
    def of(job: Job, parameters: Expression, stored: Expression, recomputed: Expression) -> LayerMemory:
        """Return the memory of a part.

        Args:
            parameters: its weights on a rank before ZeRO. stored: activations that it keeps.
            recomputed: activations that are computed again.
        """
        memory = TrainingMemory(job)
        split = _sum(memory.states(parameters, ZERO, ZERO))
        whole = _sum(memory.states(parameters, ZERO, parameters))
        working = job.live_layers * (whole - split) + recomputed + memory.buffers
        return LayerMemory(split + stored, working)


def layer_memory(job: Job) -> LayerMemory:
    """Return the memory of a layer, with one microbatch in flight."""
    memory = TrainingMemory(job)
    return LayerMemory.of(job, job.shapes.layer_parameters, memory.stored_per_layer, memory.working_layer)


def embedding_memory(job: Job) -> LayerMemory:
    """Return the memory of the embedding."""
    return LayerMemory.of(job, job.shapes.embedding_parameters, NO_BYTES, NO_BYTES)


def head_memory(job: Job) -> LayerMemory:
    """Return the memory of the output projection and the logits."""
    return LayerMemory.of(job, job.shapes.own_head_parameters, TrainingMemory(job).logits, NO_BYTES)


def _sum(parts: tuple[Expression, Expression, Expression]) -> Expression:
    return parts[0] + parts[1] + parts[2]


def copies(tp: Expression, sequence_parallel: Expression) -> Expression:
    """Return on how many ranks each part of the activations between two layers lies.

    Ranks of tensor parallelism hold the same activations, unless sequence parallelism splits them.
    """
    return where(sequence_parallel == 1, ONE, tp)


def resharding(
    job: Job, network: Network, microbatches: Expression, devices: Expression, before: Expression, after: Expression
) -> Expression:
    """Return the time of a step in which the activations between two layers change their layout, both passes.

    Towards more copies, neighbouring ranks gather what the others hold; towards fewer, each keeps its part and sends
    nothing. Gradients go the other way: one of the two passes gathers.

    Args:
        microbatches: of each replica. devices: ranks. before, after: copies of each part; one divides the other.
    """
    more, fewer = maximum(before, after), minimum(before, after)
    whole = job.global_batch_size / microbatches * job.seq_len * job.model.hidden * job.numerics.activation_bytes
    return microbatches * network.reduce_scatter(whole * more / devices, ceildiv(more, fewer), fewer)
