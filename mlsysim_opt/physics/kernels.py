"""Time that the parts of a transformer layer take on one rank: matrix products, attention core, everything else.

Sources: Williams et al. 2009 (roofline); NVIDIA CUTLASS, efficient GEMM, and NVIDIA, Matrix Multiplication Background
User's Guide (tiles, waves and their last, half empty one); Dao et al. 2022, Dao 2023 (attention in tiles);
Korthikanti et al. 2022 (what is computed between the products); Transformer Engine (casts for FP8); Hu et al. 2021
(low-rank adapters).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

from mlsysim_opt.algebra.atoms import exp, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.design import Job
from mlsysim_opt.physics.transformer import MULTIPLY_ADD, ONE
from mlsysim_opt.physics.view import View

TILE_ROWS, TILE_COLUMNS = 128, 256
"""Rows and columns of outputs that one compute unit makes at a time (CUTLASS, efficient GEMM; rows: FlashAttention)."""
CHUNK = 256
"""Tokens that a recurrent mixer takes together (Dao and Gu 2024, the default of their implementation)."""
SCORE_PASSES = 6
"""Passes of unfused scores over the memory: product, scale and mask, softmax (read, write), dropout, weighted sum."""
NARROW = ("fp8", "fp6", "fp4", "int8", "int4")
ONE_BYTE = expression("1 byte")
NO_TIME = expression("0 s")


class Load(NamedTuple):
    """Work of matrix products, tiles that stay empty included, and their memory traffic."""

    work: Expression
    traffic: Expression


@dataclass(frozen=True)
class Kernels:
    """Equations of the computations of a `Job` on an accelerator.

    Attributes:
        job: the job and its split.
        accelerator: the device. rate, attention_rate: its dense peak for matrix products and for the attention core.
        calibration: what it reaches of its peaks.
    """

    job: Job
    accelerator: View
    rate: Expression
    attention_rate: Expression
    calibration: View

    # rates ------------------------------------------------------------------------------------------------------------
    @cached_property
    def memory_rate(self) -> Expression:
        """Reached rate of reading memory."""
        return self.accelerator.number("memory.bandwidth") * self.calibration.memory_bandwidth_efficiency

    @cached_property
    def product_rate(self) -> Expression:
        """Reached rate of large matrix products."""
        return self.rate * self.calibration.gemm_efficiency

    def _half_wave(self, rows: Expression) -> Expression:
        """Outputs that cost as much as the last, on average half empty, wave of tiles of a product with these rows."""
        return self.calibration.compute_units * minimum(rows, TILE_ROWS) * (TILE_COLUMNS / 2)

    def forward_load(
        self, rows: Expression, weights: Expression, widths: Expression, held: Expression | None = None
    ) -> Load:
        """Return the load of the matrix products of `rows` rows by `weights` numbers.

        `widths` are those of all inputs and outputs together, about half of them inputs, along which a wave of tiles
        sums. `held` are the numbers read from memory, where they are not the `weights` a row meets (experts).
        """
        numerics = self.job.numerics
        work = MULTIPLY_ADD * (rows * weights + self._half_wave(rows) * widths / 2)
        read = (weights if held is None else held) * numerics.weight_bytes
        return Load(work, read + rows * widths * numerics.activation_bytes)

    def backward_load(
        self, rows: Expression, weights: Expression, widths: Expression, held: Expression | None = None
    ) -> Load:
        """Return the load of the gradients of inputs and weights: twice the products, and the weights' gradients are
        added up in memory. The products for weights sum over the rows (two products in a block)."""
        numerics = self.job.numerics
        work = MULTIPLY_ADD * (2 * rows * weights + self._half_wave(rows) * (widths / 2 + 2 * rows))
        update = (weights if held is None else held) * (numerics.weight_bytes + 2 * numerics.gradient_bytes)
        return Load(work, update + 2 * rows * widths * numerics.activation_bytes)

    def roofline(self, load: Load) -> Expression:
        """Time of work and memory traffic together: the longer of the two, with a rounded corner.

        Near the ridge neither limit is reached (loads and products overlap imperfectly); the root of the squares is
        41 % above the sharp roofline at the ridge and 2 % above it at a fifth of the traffic.
        """
        return self.rounded(load.work / self.product_rate, load.traffic / self.memory_rate)

    @staticmethod
    def rounded(compute: Expression, memory: Expression) -> Expression:
        """Return the time of two things that overlap, with the rounded corner of `roofline`."""
        return sqrt(compute**2 + memory**2)

    @cached_property
    def routed_share(self) -> Expression:
        """Share of the layers counted as layers with experts that have any; less than 1 where some have no
        feed-forward."""
        m = self.job.model
        if not m.has("ffn_layers"):
            return ONE
        return (m.ffn_layers - m.number("moe.dense_layers")) / (m.layers - m.number("moe.dense_layers"))

    # one layer --------------------------------------------------------------------------------------------------------
    def layer_loads(self, block: Callable[..., Load]) -> tuple[Load, ...]:
        """Return the loads of the blocks of one layer and microbatch; `block` is one direction of one block.

        Of the experts on a rank, those that get no row are not read (rows per expert taken as Poisson-distributed, as
        many experts as one token meets at least); the rows of each other one fill whole tiles, the last half empty.
        """
        job, shapes = self.job, self.job.shapes
        m, tokens = job.model, job.tokens
        attention = block(tokens, shapes.attention_parameters, shapes.attention_widths)
        if not shapes.experts:
            return attention, block(tokens, shapes.ffn_parameters, shapes.ffn_widths(m.ffn))
        local = m.number("moe.experts") / job.ep
        met = maximum(local * (1 - exp(-job.routed_tokens / local)), m.number("moe.experts_per_token") / job.ep)
        rows = job.routed_tokens + met * minimum(job.routed_tokens, TILE_ROWS / 2)
        width = self.routed_share * (2 * shapes.expert_hidden + (1 + shapes.ffn_matrices) * m.number("moe.expert_ffn"))
        experts = block(rows, shapes.expert_parameters, width, met * shapes.expert_parameters)
        shared = m.number("moe.shared_experts") * m.number("moe.shared_expert_ffn")
        beside = block(tokens, shapes.shared_parameters + shapes.router_parameters, shapes.ffn_widths(shared))
        return attention, experts, beside

    def _time(self, block: Callable[..., Load]) -> Expression:
        return reduce(Expression.__add__, (self.roofline(load) for load in self.layer_loads(block)))

    @cached_property
    def products_forward(self) -> Expression:
        """Time of the linear layers of one layer and microbatch, forward."""
        return self._time(self.forward_load)

    @cached_property
    def products_backward(self) -> Expression:
        """Time of the linear layers of one layer and microbatch, backward. Frozen weights need no gradients of their
        own: what is left is one product of the forward size each, for the gradients of the inputs."""
        return self.job.when_frozen(self.products_forward, self._time(self.backward_load))

    @cached_property
    def adapters_forward(self) -> Expression:
        """Time of the low-rank adapters of one layer and microbatch, forward; nothing where all weights are trained."""
        job = self.job
        load = self.forward_load(job.tokens, job.adapter_parameters, job.shapes.attention_widths)
        return job.when_frozen(self.roofline(load), NO_TIME)

    @cached_property
    def core(self) -> Expression:
        """Time of the attention core of one layer and microbatch, forward.

        Fused, a causal core skips what it does not need, but for half a tile of keys along the diagonal; unfused, it
        works on the full square and its scores cross the memory. A wave of tiles of rows is half empty on average.
        """
        job = self.job
        time = self.core_work / (self.attention_rate * self.calibration.attention_efficiency)
        time = time * where(job.fused_kernels, 1, self.calibration.early_attention)
        scores = job.tokens * job.model.heads / job.tp * job.seq_len * job.numerics.activation_bytes
        return time + where(job.unfused_attention, SCORE_PASSES * scores / self.memory_rate, NO_TIME)

    @cached_property
    def core_work(self) -> Expression:
        """Work of the attention core of one layer and microbatch, forward, empty tiles included."""
        job = self.job
        rows = job.tokens + self.calibration.compute_units * (TILE_ROWS / 2) * job.tp / job.model.heads
        keys = where(job.unfused_attention, 2 * job.seq_len, job.seq_len + TILE_ROWS)
        return job.shapes.attention_core_flops(rows, keys)

    @cached_property
    def _recurrent_traffic(self) -> Expression:
        """Elements that a recurrent mixer moves per token beside its products: convolution, scan and gate each read and
        write about the inner widths; the state of each chunk of tokens is written and read once (Dao and Gu 2024)."""
        m, job = self.job.model, self.job
        passes = 2.5 * m.number("recurrent.mixer_parameters") / m.hidden
        states = 2 * m.number("recurrent.state_elements") / CHUNK
        state_size = m.number("recurrent.state_element") / job.numerics.activation_bytes
        return (passes + states * state_size) / job.tp

    @cached_property
    def elementwise(self) -> Expression:
        """Time of what stands between the products of one layer and microbatch, forward."""
        return self.elementwise_traffic / self.memory_rate

    @cached_property
    def elementwise_traffic(self) -> Expression:
        """Memory traffic of norms, residuals, activation functions and position codes of one layer, forward.

        Narrow products need their inputs cast: read once, written twice (also transposed, for the backward products).
        """
        job, shapes = self.job, self.job.shapes
        m = job.model
        outside = 10 * m.hidden / job.sharded
        if shapes.experts:
            width = m.number("moe.experts_per_token") * m.number("moe.expert_ffn") * job.imbalance
            width = width + m.number("moe.shared_experts") * m.number("moe.shared_expert_ffn")
            permute = 4 * m.number("moe.experts_per_token") * shapes.expert_hidden / job.tp
        else:
            width, permute = m.ffn, expression(0)
        mixer = 4 * shapes.query_width / job.tp
        if shapes.recurrent:
            mixer = mixer + (self._recurrent_traffic - mixer) * m.number("recurrent.layers") / m.layers
        inside = shapes.ffn_matrices * width / job.tp + mixer + permute
        traffic = (outside + inside) * job.numerics.activation_bytes
        if str(job.numerics.entries[0].__dict__["gemm_precision"]) in NARROW:
            inputs = (shapes.attention_widths + shapes.ffn_widths(width)) / 2
            traffic = traffic + inputs * (job.numerics.activation_bytes + 2 * ONE_BYTE)
        return job.tokens * traffic * where(job.fused_kernels, 1, self.calibration.unfused_traffic)
