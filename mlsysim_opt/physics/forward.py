"""One forward pass of a served model on a group of accelerators: what every question about inference is built from.

A pass takes some new tokens of each of some sequences through all layers: a prompt (or a chunk of one), a decode step,
or the check of drafted tokens. Serving, batching, capacity, reasoning and synthesis all ask this one equation.

Sources: Pope et al. 2023 (prefill and decode, tensor-parallel layouts); Williams et al. 2009 (roofline); DeepSeek-AI
2024, 2.1.2 (latent attention without its up-projections); Shazeer et al. 2017 (experts); see `kernels`, `transformer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

from mlsysim_opt.algebra.atoms import ceil, exp, maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.design import Job
from mlsysim_opt.physics.kernels import TILE_ROWS, Kernels, Load
from mlsysim_opt.physics.training_memory import TrainingMemory
from mlsysim_opt.physics.transformer import MULTIPLY_ADD, ONE, ZERO, Shapes, kv_bytes
from mlsysim_opt.physics.view import View

NO_TIME = expression("0 s")
NO_BYTES = expression("0 byte")
LOGIT = expression("4 byte")
NO = expression(0) == 1
YES = expression(1) == 1


@dataclass(frozen=True)
class Replica:
    """One copy of a served model and the accelerators it is split over.

    Attributes:
        model, numerics: the model, and the format of its weights and products.
        hardware, calibration: the accelerator and what it reaches. rate, attention_rate: its dense peaks.
        kv_element: bytes of one key or value element.
        tp, pp: tensor and pipeline parallelism. dp: groups of `tp` ranks that hold the attention once each and share
            the experts. ep: ranks over which experts are spread; the remaining ranks split each expert.
        node: the server the accelerator stands in, for its links; None where it is not known.
    """

    model: View
    numerics: View
    hardware: View
    calibration: View
    rate: Expression
    attention_rate: Expression
    kv_element: Expression
    tp: Expression = ONE
    pp: Expression = ONE
    dp: Expression = ONE
    ep: Expression = ONE
    node: View | None = None

    @cached_property
    def shapes(self) -> Shapes:
        return Shapes(self.model, self.tp)

    @cached_property
    def group(self) -> Expression:
        """Ranks that work on one layer."""
        return self.tp * self.dp

    @cached_property
    def devices(self) -> Expression:
        """Accelerators of the replica."""
        return self.group * self.pp

    @property
    def alone(self) -> bool:
        """Whether the replica is one accelerator by its equations, so that links have no part in them."""
        return self.tp is ONE and self.pp is ONE and self.dp is ONE

    @cached_property
    def expert_slices(self) -> Expression:
        """Ranks over which one expert is split."""
        return self.group / self.ep

    # memory -----------------------------------------------------------------------------------------------------------
    @cached_property
    def parameters_per_rank(self) -> Expression:
        """Weights on one rank (the mean over pipeline stages)."""
        shapes = self.shapes
        total = shapes.embedding_parameters + shapes.own_head_parameters
        total = total + shapes.dense_layers * shapes.dense_layer_parameters
        if shapes.experts:
            routed = self.model.number("moe.experts") * shapes.expert_parameters / self.group
            total = total + shapes.expert_layers * (shapes.expert_layer_parameters + routed)
        return total / self.pp

    @cached_property
    def weights(self) -> Expression:
        """Bytes of the weights on one rank."""
        return self.parameters_per_rank * self.numerics.weight_bytes

    def kv(self, sequences: Expression, context: Expression) -> Expression:
        """Return the bytes of keys and values of `sequences` of `context` tokens on one rank."""
        each = kv_bytes(self.model, context, self.kv_element, self.tp)
        return self.on_a_rank(sequences) * each / self.pp

    def cache(self, sequences: Expression, context: Expression) -> Expression:
        """Return the bytes of keys and values of these sequences, each counted once, however many ranks hold it."""
        return sequences * kv_bytes(self.model, context, self.kv_element)

    def workspace(self, sequences: Expression, new: Expression) -> Expression:
        """Return the bytes one pass works in: the activations of one layer, and logits in fp32."""
        one = Pass(self, sequences, new, NO_BYTES, ZERO, ZERO)
        logits = self.on_a_rank(sequences) * self.model.vocab * LOGIT / self.tp
        return TrainingMemory(one.job).layer_activation + logits

    # links ------------------------------------------------------------------------------------------------------------
    @cached_property
    def link(self) -> Expression | None:
        """Reached rate of the link to the other ranks; None where the accelerator has none."""
        if self.node is not None:
            return self.node.number("scale_up.bandwidth") * self.calibration.scale_up_efficiency
        for path in ("scale_up.bandwidth", "host_link.bandwidth"):
            if self.hardware.has(path.partition(".")[0]):
                return self.hardware.number(path) * self.calibration.scale_up_efficiency
        return None

    def all_reduce(self, size: Expression, ranks: Expression) -> Expression:
        """Return the time to add up `size` over `ranks`; the latency of small ones does not depend on the ranks."""
        if ranks is ONE or self.link is None:
            return NO_TIME
        c = self.calibration
        time = 2 * size * (1 - 1 / ranks) / self.link + c.serving_collective_hops * c.scale_up_latency
        return where(ranks > 1, time, NO_TIME)

    # passes -----------------------------------------------------------------------------------------------------------
    def prefill(self, sequences: Expression, new: Expression, before: Expression, chunks: Expression = ONE) -> Pass:
        """Return one of the passes of `chunks` that process `new` tokens of each sequence after `before` cached ones.

        Work and traffic of attention are the mean over the chunks.
        """
        pairs = self.shapes.attended_prefill(new, before) / chunks
        width = self.shapes.query_width + self.shapes.value_width
        read = self.kv(self.together(sequences), before + new / 2) * self.pp
        return Pass(self, sequences, new / chunks, read, pairs, width)

    def last_chunk(self, sequences: Expression, chunk: Expression, context: Expression) -> Pass:
        """Return the pass of the last `chunk` tokens of a prompt of `context` tokens."""
        return self.prefill(sequences, chunk, context - chunk)

    def decode(self, sequences: Expression, context: Expression, new: Expression = ONE) -> Pass:
        """Return the pass that gives each sequence its next token, or checks `new` tokens; the last sees `context`."""
        pairs = new * self.shapes.attended_decode(context)
        read = self.kv(self.together(sequences), context) * self.pp
        return Pass(self, sequences, new, read, pairs, self.shapes.decode_core_width)

    def together(self, sequences: Expression) -> Expression:
        """Return the sequences of one pipeline microbatch: all stages work when there are enough of them."""
        if self.pp is ONE:
            return sequences
        return where(self.pp > 1, ceil(sequences / minimum(self.pp, sequences)), sequences)

    def on_a_rank(self, sequences: Expression) -> Expression:
        """Return how many of these sequences the fullest attention group holds."""
        return sequences if self.dp is ONE else where(self.dp > 1, ceil(sequences / self.dp), sequences)


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes:
        replica: who runs it. sequences: in all. new: tokens of each that go through all layers.
        kv_read: bytes of keys and values that one rank reads, over all layers.
        pairs: pairs of a query and a key, over all layers, of one sequence. width: multiply-adds of a pair, all heads.
    """

    replica: Replica
    sequences: Expression
    new: Expression
    kv_read: Expression
    pairs: Expression
    width: Expression

    @cached_property
    def per_rank(self) -> Expression:
        """Sequences of one microbatch on one rank."""
        return self.replica.on_a_rank(self.replica.together(self.sequences))

    @cached_property
    def job(self) -> Job:
        r = self.replica
        return Job(
            model=r.model, numerics=r.numerics, global_batch_size=self.sequences, seq_len=self.new,
            microbatch_size=self.per_rank, tp=r.tp, pp=r.pp, dp=ONE, cp=ONE, ep=r.ep, v_stages=ONE, zero_stage=ZERO,
            selective=NO, full=NO, sequence_parallel=NO, overlap=NO, tensor_overlap=NO, fused_kernels=YES,
            unfused_attention=NO, dropout=NO, imbalance=ONE,
        )  # fmt: skip

    @cached_property
    def kernels(self) -> Kernels:
        r = self.replica
        return Kernels(self.job, r.hardware, r.rate, r.attention_rate, r.calibration)

    @cached_property
    def rows(self) -> Expression:
        """Tokens on one rank."""
        return self.per_rank * self.new

    # loads: (times it occurs, load) -----------------------------------------------------------------------------------
    @cached_property
    def loads(self) -> tuple[tuple[Expression, Load], ...]:
        """Matrix products of the whole pass on one rank, by kind of layer."""
        r, shapes, block = self.replica, self.replica.shapes, self.kernels.forward_load
        attention = block(self.rows, shapes.attention_parameters, shapes.attention_widths)
        dense = block(self.rows, shapes.ffn_parameters, shapes.ffn_widths(r.model.ffn))
        head = block(self.per_rank, shapes.head_parameters, r.model.hidden + r.model.vocab / r.tp)
        found = [(r.model.layers, attention), (shapes.dense_layers, dense), (ONE, head)]
        if shapes.experts:
            found += [(shapes.expert_layers, self._experts), (shapes.expert_layers, self._beside)]
        return tuple(found)

    @cached_property
    def experts_met(self) -> Expression:
        """Experts of one rank that get a token (independently of each other), at least those of one token."""
        m, ep = self.replica.model, self.replica.ep
        local = m.number("moe.experts") / ep
        routed = self.routed_rows
        return maximum(local * (1 - exp(-routed / local)), minimum(m.number("moe.experts_per_token") / ep, routed))

    @cached_property
    def routed_rows(self) -> Expression:
        """Rows that the experts of one rank get, of all tokens of the group."""
        r = self.replica
        tokens = r.together(self.sequences) * self.new
        return tokens * r.model.number("moe.experts_per_token") / r.ep

    @cached_property
    def _experts(self) -> Load:
        r, shapes = self.replica, self.replica.shapes
        weights = shapes.expert_parameters / r.expert_slices
        rows = self.routed_rows + self.experts_met * minimum(self.routed_rows / self.experts_met, TILE_ROWS / 2)
        inner = r.model.number("moe.expert_ffn") / r.expert_slices
        widths = 2 * shapes.expert_hidden + (1 + shapes.ffn_matrices) * inner
        return self.kernels.forward_load(rows, weights, widths, self.experts_met * weights)

    @cached_property
    def _beside(self) -> Load:
        r, shapes = self.replica, self.replica.shapes
        shared = r.model.number("moe.shared_experts") * r.model.number("moe.shared_expert_ffn")
        return self.kernels.forward_load(
            self.rows, shapes.shared_parameters + shapes.router_parameters, shapes.ffn_widths(shared)
        )

    @cached_property
    def core(self) -> Load:
        """Attention over keys and values of the whole pass on one rank."""
        r = self.replica
        work = MULTIPLY_ADD * self.per_rank * self.pairs * self.width / r.tp
        return Load(work + r.shapes.state_flops(self.rows) if r.shapes.recurrent else work, self.kv_read)

    # times ------------------------------------------------------------------------------------------------------------
    @cached_property
    def products(self) -> Expression:
        """Time of the matrix products."""
        return reduce(Expression.__add__, (times * self.kernels.roofline(load) for times, load in self.loads))

    @cached_property
    def products_compute(self) -> Expression:
        """What the work of the matrix products alone would take."""
        work = reduce(Expression.__add__, (times * load.work for times, load in self.loads))
        return work / self.kernels.product_rate

    @cached_property
    def attention(self) -> Expression:
        """Time of attention over keys and values."""
        k = self.kernels
        return k.rounded(self.core.work / self.core_rate, self.core.traffic / k.memory_rate)

    @cached_property
    def core_rate(self) -> Expression:
        """Reached rate of the attention core."""
        return self.replica.attention_rate * self.replica.calibration.attention_efficiency

    @cached_property
    def elementwise(self) -> Expression:
        """Time of what stands between the products."""
        return self.replica.model.layers * self.kernels.elementwise

    @cached_property
    def communication(self) -> Expression:
        """Time of the exchanges inside the layers, and of the hand-over between pipeline stages.

        Attention and feed-forward each end in an all-reduce over the ranks that split them; with several attention
        groups, the tokens of all are gathered for the experts and their results scattered.
        """
        r = self.replica
        hidden = self.rows * r.model.hidden * r.numerics.activation_bytes
        reduce = r.all_reduce(hidden, r.tp)
        exchange = reduce
        if r.shapes.experts and r.dp is not ONE:
            exchange = where(r.dp > 1, r.all_reduce(hidden * r.dp, r.group), reduce)
        inside = r.model.layers * (reduce + exchange)
        if r.pp is ONE or r.link is None:
            return inside
        hop = hidden / r.link + r.calibration.scale_up_latency
        return inside + (r.pp - 1) * hop

    @cached_property
    def overhead(self) -> Expression:
        """Time of launches, of scheduling once per pass, and of sampling and streaming the token of each request.

        A layer with experts launches about twice as many kernels (router, sorting, grouped products, merging).
        """
        r, c = self.replica, self.replica.calibration
        launches = r.model.layers + r.shapes.expert_layers
        return (
            launches * c.serving_layer_overhead + c.serving_step_overhead + self.per_rank * c.serving_request_overhead
        )

    @cached_property
    def time(self) -> Expression:
        """Time of the pass of one microbatch through all stages; all microbatches come round in it."""
        return self.products + self.attention + self.elementwise + self.communication + self.overhead

    @cached_property
    def drain(self) -> Expression:
        """Time from the first microbatch that is through to the last, where they start together."""
        r = self.replica
        return NO_TIME if r.pp is ONE else (minimum(r.pp, self.sequences) - 1) / r.pp * self.time

    @cached_property
    def busy(self) -> Expression:
        """Share of the time in which a stage has work."""
        r = self.replica
        return ONE if r.pp is ONE else minimum(r.pp, self.sequences) / r.pp

    # what limits it ---------------------------------------------------------------------------------------------------
    @cached_property
    def compute(self) -> Expression:
        """What all work alone would take at the reached rates."""
        return self.products_compute + self.core.work / self.core_rate

    @cached_property
    def traffic(self) -> Expression:
        """Bytes that one rank moves to and from its memory, over all stages."""
        moved = reduce(Expression.__add__, (times * load.traffic for times, load in self.loads))
        return moved + self.core.traffic + self.replica.model.layers * self.kernels.elementwise_traffic

    @cached_property
    def bandwidth(self) -> Expression:
        """What all memory traffic alone would take at the reached rate."""
        return self.traffic / self.kernels.memory_rate

    @cached_property
    def useful_work(self) -> Expression:
        """Work of the whole pass that the model needs: active weights and seen keys, nothing twice."""
        r = self.replica
        whole = Shapes(r.model, ONE)
        hidden = whole.active_parameters - whole.head_parameters
        tokens = self.sequences * self.new
        attention = self.sequences * self.pairs * self.width
        work = MULTIPLY_ADD * (tokens * hidden + self.sequences * whole.head_parameters + attention)
        return work + whole.state_flops(tokens) if whole.recurrent else work

    @cached_property
    def mfu(self) -> Expression:
        """Useful work over what the peak of all accelerators does in the time of the pass.

        While one microbatch goes through all stages, each stage works on all microbatches in turn.
        """
        r = self.replica
        return self.useful_work / (self.time * r.rate * r.devices)

    @cached_property
    def bandwidth_utilization(self) -> Expression:
        """Share of the peak memory bandwidth that is used."""
        peak = self.replica.hardware.number("memory.bandwidth")
        return self.busy * self.traffic / peak / self.time

    @cached_property
    def power(self) -> Expression:
        """Power of the replica's accelerators in the pass, by what they use of their bandwidth and compute."""
        r = self.replica
        return r.devices * drawn_power(r.hardware, r.calibration, self.bandwidth_utilization, self.mfu)


def drawn_power(hardware: View, calibration: View, bandwidth: Expression, compute: Expression) -> Expression:
    """Return what an accelerator at work draws, by the used shares of its peak bandwidth and compute.

    Source: fitted on the measured power of ML.ENERGY's decode steps (Chung et al. 2025), see docs/validation.md.
    """
    used = calibration.bandwidth_power_share * bandwidth + calibration.compute_power_share * compute
    return hardware.tdp * minimum(calibration.awake_power_share + used, 1)
