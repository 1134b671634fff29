"""One accelerator: the roofline of a transformer's forward pass."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import UnknownNameError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.design import Job
from mlsysim_opt.physics.inputs import Given, Number, Text
from mlsysim_opt.physics.kernels import Kernels
from mlsysim_opt.physics.training import calibration_bindings, calibration_view, rates
from mlsysim_opt.physics.training_memory import TrainingMemory
from mlsysim_opt.physics.transformer import MULTIPLY_ADD, ONE, ZERO, parameter_count
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry.entry import Entry

BITS = {
    "fp64": 64, "fp32": 32, "tf32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "fp6": 6, "fp4": 4, "int4": 4,
}  # fmt: skip
"""Bits of one number in memory (IEEE 754; OCP formats; TF32 is stored as FP32)."""
LOGIT = expression("4 byte")
NO = expression(0) == 1
YES = expression(1) == 1


class SingleNodeResult(Result):
    """Time, traffic and memory of one forward pass on one accelerator."""

    units: ClassVar[dict[str, str]] = {
        "latency": "ms", "latency_compute": "ms", "latency_memory": "ms", "latency_overhead": "ms",
        "throughput": "sample/s", "memory_footprint": "GiB", "peak_flops_actual": "TFLOP/s", "peak_bw_actual": "GB/s",
        "energy": "J",
    }  # fmt: skip
    latency: Any
    latency_compute: Any
    latency_memory: Any
    latency_overhead: Any
    throughput: Any
    bottleneck: Any
    arithmetic_intensity: Any
    energy: Any
    memory_footprint: Any
    peak_flops_actual: Any
    peak_bw_actual: Any
    mfu: Any


class SingleNodeModel(Model):
    """Forward pass of a batch of sequences on one accelerator, weights and activations in one format.

    Each sample is `seq_len` tokens that are seen for the first time; the output projection runs for the last token of
    each. The default of one token is a decode step without its key-value cache (serving models add that traffic). Of
    the experts of a mixture only those that a token meets are read. Every product has its own roofline (`kernels`), so
    the latency exceeds the larger of `latency_compute` and `latency_memory`, which are what all work and all traffic
    would take alone. Activation traffic follows from the shapes of the layers. `energy` is the rated power of the
    accelerator over the latency: an upper bound of its own energy, without the rest of the server.

    Sources: Williams, Waterman and Patterson 2009 (roofline); see `kernels` and `transformer` for the layer.
    """

    wall = 1
    inputs = (
        Given("model", kind="model"),
        Given("hardware", kind="accelerator"),
        Number("batch_size", "sequences", default=1, integer=True, low=1),
        Text("precision", "format of weights and products", default="fp16"),
        Number("efficiency", "reached of the peak; calibrated when absent", default=None, high=1.0, open_low=True),
        Number("seq_len", "new tokens per sequence", default=1, integer=True, low=1),
    )

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = entry_bindings("numerics", _format(values["precision"]))
        bound.update(calibration_bindings(values["hardware"]))
        return bound

    def equations(self, **leaves: Any) -> SingleNodeResult:
        model: View = leaves["model"]
        hardware: View = leaves["hardware"]
        batch, length = leaves["batch_size"], leaves["seq_len"]
        numerics = View("numerics", [_format(leaves["precision"])])
        rate, attention_rate = rates(hardware, numerics)
        job = _alone(model, numerics, batch, length)
        kernels = Kernels(job, hardware, rate, attention_rate, calibration_view(hardware, leaves["efficiency"]))
        head = kernels.forward_load(batch, job.shapes.head_parameters, model.hidden + model.vocab)
        loads = kernels.layer_loads(kernels.forward_load)

        work = model.layers * _sum(load.work for load in loads) + head.work
        traffic = model.layers * (_sum(load.traffic for load in loads) + kernels.elementwise_traffic) + head.traffic
        overhead = model.layers * kernels.calibration.layer_overhead
        compute = work / kernels.product_rate + model.layers * kernels.core
        layer = kernels.products_forward + kernels.core + kernels.elementwise
        latency = model.layers * layer + kernels.roofline(head) + overhead

        tokens = batch * length
        hidden_only = job.shapes.useful_forward_flops_per_token(length) - MULTIPLY_ADD * job.shapes.head_parameters
        useful = tokens * hidden_only + batch * MULTIPLY_ADD * job.shapes.head_parameters
        footprint = (
            parameter_count(model) * numerics.weight_bytes
            + TrainingMemory(job).layer_activation
            + batch * model.vocab * LOGIT
        )
        memory_time = traffic / kernels.memory_rate
        return SingleNodeResult(
            latency=latency,
            latency_compute=compute,
            latency_memory=memory_time,
            latency_overhead=overhead,
            throughput=batch * expression("1 sample") / latency,
            bottleneck=argmax_label(Compute=compute, Memory=memory_time, Overhead=overhead),
            arithmetic_intensity=useful / traffic,
            energy=hardware.tdp * latency,
            memory_footprint=footprint,
            peak_flops_actual=kernels.product_rate,
            peak_bw_actual=kernels.memory_rate,
            mfu=useful / (latency * rate),
            constraints={"memory fits": footprint <= hardware.number("memory.capacity")},
        )


def _sum(terms: Any) -> Expression:
    total: Expression = functools.reduce(Expression.__add__, terms)
    return total


def _alone(model: View, numerics: View, batch: Expression, length: Expression) -> Job:
    """Return the job of one rank that does everything, in one microbatch."""
    return Job(
        model=model, numerics=numerics, global_batch_size=batch, seq_len=length, microbatch_size=batch,
        tp=ONE, pp=ONE, dp=ONE, cp=ONE, ep=ONE, v_stages=ONE, zero_stage=ZERO, selective=NO, full=NO,
        sequence_parallel=NO, overlap=NO, tensor_overlap=NO, fused_kernels=YES, unfused_attention=NO, dropout=NO,
        imbalance=ONE,
    )  # fmt: skip


@functools.cache
def _format(precision: str) -> Entry:
    """Return a number format as a recipe without gradients; activations have at least 16 bits.

    Raises:
        UnknownNameError: it is not a format.
    """
    from mlsysim_opt.registry.types import NumericsRecipe

    if precision not in BITS:
        raise UnknownNameError("precision", precision, BITS, path="precision")
    return NumericsRecipe.model_validate(
        {
            "name": precision,
            "title": f"{precision}, inference",
            "source": {"title": "IEEE 754-2019; OCP 8-bit and MX formats", "locator": "width in bits", "date": 2023},
            "weight_bytes": f"{BITS[precision] / 8} B",
            "gradient_bytes": f"{BITS[precision] / 8} B",
            "optimizer_bytes": "0 B",
            "activation_bytes": f"{max(BITS[precision], 16) / 8} B",
            "gemm_precision": precision,
            "optimizer": "none",
        }
    )
