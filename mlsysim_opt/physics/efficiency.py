"""What part of an accelerator's peak a workload reaches, and where the rest goes.

Sources: Chowdhery et al. 2022, Appendix B (model FLOPs utilization); Williams et al. 2009 (roofline); NVIDIA, Matrix
Multiplication Background User's Guide (tiles and waves); Dao et al. 2022 (scores in memory, or not).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, where
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.formats import inference_format
from mlsysim_opt.physics.forward import NO_TIME, Pass
from mlsysim_opt.physics.inputs import Given, Number, Switch, Text
from mlsysim_opt.physics.kernels import SCORE_PASSES, Load
from mlsysim_opt.physics.keyword import Keyword
from mlsysim_opt.physics.node import Device
from mlsysim_opt.physics.training import calibration_bindings
from mlsysim_opt.physics.transformer import MULTIPLY_ADD, ZERO
from mlsysim_opt.physics.view import View, entry_bindings

TRANSFORMER_PARTS = ("attention", "ffn", "gemm", "whole")
WORKLOAD_PARTS = ("conv", "whole")
PARTS = tuple(dict.fromkeys((*TRANSFORMER_PARTS, *WORKLOAD_PARTS)))


@dataclass(frozen=True)
class Share:
    """Some of the work of a pass, and its time by cause.

    Attributes:
        useful: work the model needs. reached: time of it at the reached rates. compute: time of all work, tiles that
        stay empty included. time: with waiting for memory. overhead: on top of it.
    """

    useful: Expression
    reached: Expression
    compute: Expression
    time: Expression
    overhead: Expression = NO_TIME

    def __add__(self, other: Share) -> Share:
        return Share(
            self.useful + other.useful, self.reached + other.reached, self.compute + other.compute,
            self.time + other.time, self.overhead + other.overhead,
        )  # fmt: skip


class EfficiencyResult(Result):
    """Reached utilization; the five shares of the time, of which `at_peak` is the utilization, add up to one."""

    units: ClassVar[dict[str, str]] = {"achievable_flops": "TFLOP/s", "peak_flops": "TFLOP/s", "time": "ms"}
    mfu: Any
    achievable_flops: Any
    peak_flops: Any
    time: Any
    bottleneck: Any
    at_peak: Any
    gemm_inefficiency: Any
    wave_quantization: Any
    memory_stall: Any
    overhead: Any

    @property
    def overhead_breakdown(self) -> dict[str, float]:
        """The share of the time by cause: work at peak, and what keeps it from being all."""
        names = ("at_peak", "gemm_inefficiency", "wave_quantization", "memory_stall", "overhead")
        return {name: getattr(self, name) for name in names}


class EfficiencyModel(Model):
    """Model FLOPs utilization of a part of a forward pass on an accelerator, from the shapes of its products.

    `workload_type` says which part: ``attention`` (scores and weighted values, in tiles with `use_flash_attention`,
    else through memory), ``ffn`` (the products of the feed-forward, experts included), ``gemm`` (all matrix products),
    ``conv`` (a network of the catalog that is no transformer), or ``whole`` (everything, overheads included; here too
    attention is in tiles only with `use_flash_attention`). In the ``prefill`` phase, `seq_len` tokens of each sample
    pass at once; in ``decode`` one token does, and sees `seq_len`.

    Returns:
        `EfficiencyResult`: `mfu`, the rate that makes (`achievable_flops`), and its complement by cause: large products
        below peak (`gemm_inefficiency`), tiles that stay empty and scores that are masked (`wave_quantization`),
        waiting for memory, overhead.
    Raises:
        InputError: the model has no such part.
    """

    wall = 3
    inputs = (
        Given("model", "a transformer or another workload", kind="model", also=("workload",)),
        Given("hardware", "the accelerator", kind="accelerator"),
        Keyword("workload_type", "the part looked at", default="ffn", options=PARTS),
        Switch("use_flash_attention", "scores stay on the chip", default=False),
        Text("precision", "format of weights and products", default="fp16"),
        Number("efficiency", "reached of the peak; calibrated when absent", default=None, high=1.0, open_low=True),
        Number("batch_size", "samples", default=1, integer=True, low=1),
        Number("seq_len", "tokens of each sample", default=2048, integer=True, low=1),
        Keyword("phase", "prefill or decode", default="prefill", options=("prefill", "decode")),
    )
    aliases: ClassVar[dict[str, str]] = {"batch": "batch_size"}
    example: ClassVar[dict[str, Any]] = {"model": "Llama3_8B", "hardware": "H100"}

    def refuse(self, values: Mapping[str, Any]) -> None:
        parts = WORKLOAD_PARTS if values["model"].kind == "workload" else TRANSFORMER_PARTS
        if values["workload_type"] not in parts:
            raise InputError(
                f"{values['model'].name} has no part {values['workload_type']!r}", path="workload_type",
                hint=f"it has {', '.join(parts)}",
            )  # fmt: skip

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = entry_bindings("numerics", inference_format(values["precision"]))
        bound.update(calibration_bindings(values["hardware"]))
        return bound

    def equations(self, **leaves: Any) -> EfficiencyResult:
        device = Device.of(leaves["hardware"], leaves["precision"], leaves["efficiency"])
        share = _share(device, leaves)
        whole = share.time + share.overhead
        ideal = share.useful / device.rate
        mfu = ideal / whole
        below, empty, waiting = share.reached - ideal, share.compute - share.reached, share.time - share.compute
        return EfficiencyResult(
            mfu=mfu,
            achievable_flops=mfu * device.rate,
            peak_flops=device.rate,
            time=whole,
            bottleneck=argmax_label(Compute=share.compute, Memory=waiting, Overhead=share.overhead),
            at_peak=mfu,
            gemm_inefficiency=below / whole,
            wave_quantization=empty / whole,
            memory_stall=waiting / whole,
            overhead=share.overhead / whole,
        )


def _share(device: Device, leaves: Mapping[str, Any]) -> Share:
    """Return the part of the pass that is asked for."""
    model: View = leaves["model"]
    part, batch, length = leaves["workload_type"], leaves["batch_size"], leaves["seq_len"]
    if model.entries[0].kind == "workload":
        roof = device.roof(model, batch, length)
        overhead = roof.overhead if part == "whole" else NO_TIME
        return Share(roof.useful, roof.useful / roof.product_rate, roof.compute, roof.overlapped, overhead)
    replica = device.replica(model)
    step = replica.prefill(batch, length, ZERO) if leaves["phase"] == "prefill" else replica.decode(batch, length)
    attention = _attention(step, length, leaves["use_flash_attention"])
    if part == "attention":
        return attention
    products = _products(step, only_ffn=part == "ffn")
    if part != "whole":
        return products
    return products + attention + Share(0 * step.useful_work, NO_TIME, NO_TIME, step.elementwise, step.overhead)


def _products(step: Pass, only_ffn: bool) -> Share:
    """Return the matrix products of a pass, or those of its feed-forwards."""
    rate = step.kernels.product_rate

    def share(times: Expression, load: Load, useful: Expression) -> Share:
        return Share(
            times * useful, times * useful / rate, times * load.work / rate, times * step.kernels.roofline(load)
        )

    pairs = zip(step.loads, useful_products(step), strict=True)
    shares = [share(times, load, useful) for (times, load), useful in pairs]
    if only_ffn:  # the first is attention, the third the output projection
        del shares[2], shares[0]
    return functools.reduce(Share.__add__, shares)


def useful_products(step: Pass) -> list[Expression]:
    """Return the useful work of each of `Pass.loads`: rows times weights."""
    r, shapes = step.replica, step.replica.shapes
    pairs = [
        (step.rows, shapes.attention_parameters),
        (step.rows, shapes.ffn_parameters),
        (step.per_rank, shapes.head_parameters),
    ]
    if shapes.experts:
        pairs.append((step.routed_rows, shapes.expert_parameters / r.expert_slices))
        pairs.append((step.rows, shapes.shared_parameters + shapes.router_parameters))
    return [MULTIPLY_ADD * rows * weights for rows, weights in pairs]


def _attention(step: Pass, context: Expression, flash: Expression) -> Share:
    """Return the attention core of a pass. Unfused, it works on all scores, also those that are masked, and they cross
    the memory."""
    kernels, r = step.kernels, step.replica
    fused = step.attention
    useful = step.core.work
    reached = useful / step.core_rate
    scores = r.model.layers * step.rows * context
    full = MULTIPLY_ADD * scores * step.width / step.core_rate
    moved = SCORE_PASSES * scores * r.model.heads * r.numerics.activation_bytes + step.core.traffic
    in_tiles = flash == 1
    return Share(
        useful, reached, where(in_tiles, reached, full),
        where(in_tiles, fused, full + moved / kernels.memory_rate),
    )  # fmt: skip
