"""Weights that stream through a device with much on-chip memory and a thin link from outside: a wafer.

Sources: Lie 2022, Cerebras Architecture Deep Dive (Hot Chips 34; weight streaming: weights pass layer by layer over the
activations, which stay); Cerebras 2024 (served models stay on the wafer where they fit); Pope et al. 2023 (decode).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, floor, maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.efficiency import useful_products
from mlsysim_opt.physics.formats import inference_format
from mlsysim_opt.physics.forward import NO_BYTES, NO_TIME, Pass, Replica
from mlsysim_opt.physics.inputs import Given, Number, Switch, Text
from mlsysim_opt.physics.keyword import Keyword
from mlsysim_opt.physics.node import Device
from mlsysim_opt.physics.training import calibration_bindings
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View, entry_bindings

TOKEN = expression("1 token")
BUFFERED_LAYERS = 2
"""Layers whose weights are on the wafer at once: one at work, one on its way."""


class WeightStreamingResult(Result):
    """Speed of a pass with streamed weights, the best batch, and the memory of the wafer."""

    units: ClassVar[dict[str, str]] = {
        "throughput_tokens_per_sec": "token/s", "step_time": "ms", "layer_compute_time": "ms",
        "layer_injection_time": "ms", "injection_bandwidth": "GB/s", "kv_cache_size": "GB", "model_weights_size": "GB",
        "memory_required": "GB",
    }  # fmt: skip
    floats: ClassVar[frozenset[str]] = frozenset({"throughput_tokens_per_sec"})
    throughput_tokens_per_sec: Any
    step_time: Any
    layer_compute_time: Any
    layer_injection_time: Any
    injection_bandwidth: Any
    bottleneck: Any
    resident: Any
    optimal_batch_size: Any
    balanced_batch_size: Any
    largest_batch_size: Any
    kv_cache_size: Any
    model_weights_size: Any
    memory_required: Any
    wafer_memory_utilization: Any


class WeightStreamingModel(Model):
    """Inference on a wafer: how fast is a batch, and which batch hides the injection of the weights?

    Where the weights do not fit beside keys, values and activations, they stream in over the host link, layer by layer:
    a layer takes the longer of its injection and its compute. Where they fit they stay (`resident`), unless
    `force_streaming`. In the ``decode`` phase each of `batch_size` sequences gets its next token, with a context of
    `seq_len`; in ``prefill`` their `seq_len` tokens pass at once.

    `balanced_batch_size` is where the work of a layer takes as long as its injection, `largest_batch_size` what fits
    while weights stream (both whole numbers, possibly 0), and `optimal_batch_size` the smaller of them, at least 1.

    Raises:
        MissingFieldError: the accelerator has no host link.
    """

    wall = 6
    inputs = (
        Given("model", "a transformer", kind="model"),
        Given("hardware", "the wafer", kind="accelerator"),
        Number("seq_len", "tokens of context, or of the prompts", integer=True, low=1),
        Number("batch_size", "sequences", default=1, integer=True, low=1),
        Text("precision", "format of weights and products", default="fp16"),
        Number("efficiency", "reached of the peak; calibrated when absent", default=None, high=1.0, open_low=True),
        Keyword("phase", "decode or prefill", default="decode", options=("decode", "prefill")),
        Switch("force_streaming", "weights stream also where they would fit", default=False),
    )
    aliases: ClassVar[dict[str, str]] = {"batch": "batch_size"}
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_70B", "hardware": "Cerebras_CS3", "seq_len": 2048, "batch_size": 16,
    }  # fmt: skip

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = entry_bindings("numerics", inference_format(values["precision"]))
        bound.update(calibration_bindings(values["hardware"]))
        return bound

    def equations(self, **leaves: Any) -> WeightStreamingResult:
        hardware: View = leaves["hardware"]
        batch, length = leaves["batch_size"], leaves["seq_len"]
        replica = Device.of(hardware, leaves["precision"], leaves["efficiency"]).replica(leaves["model"])
        decode = leaves["phase"] == "decode"
        layers, capacity = replica.model.layers, hardware.number("memory.capacity")
        link = hardware.number("host_link.bandwidth")

        step = _pass(replica, batch, length, decode)
        once = step.overhead - layers * replica.calibration.serving_layer_overhead
        compute = (step.time - once) / layers
        held = replica.weights
        working = replica.kv(batch, length) + replica.workspace(batch, step.new)
        resident = (held + working <= capacity) & (leaves["force_streaming"] == 0)
        injected = where(resident, NO_BYTES, _streamed(step))
        injection = injected / layers / link
        step_time = layers * maximum(injection, compute) + once

        buffers = BUFFERED_LAYERS * held / layers
        required = working + where(resident, held, buffers)
        one = _pass(replica, ONE, length, decode)
        per_sequence = replica.kv(ONE, length) + replica.workspace(ONE, one.new)
        largest = floor(maximum((capacity - buffers) / per_sequence, 0))
        balanced = floor(held / link / _work_time(one))
        return WeightStreamingResult(
            throughput_tokens_per_sec=batch * step.new * TOKEN / step_time,
            step_time=step_time,
            layer_compute_time=compute,
            layer_injection_time=injection,
            injection_bandwidth=link,
            bottleneck=argmax_label(**{"Compute-Bound": compute, "Interconnect-Bandwidth-Bound": injection}),
            resident=resident,
            optimal_batch_size=maximum(minimum(balanced, largest), 1),
            balanced_batch_size=balanced,
            largest_batch_size=largest,
            kv_cache_size=replica.kv(batch, length),
            model_weights_size=held,
            memory_required=required,
            wafer_memory_utilization=required / capacity,
            constraints={"memory fits": required <= capacity},
        )


def _pass(replica: Replica, batch: Expression, length: Expression, decode: bool) -> Pass:
    return replica.decode(batch, length) if decode else replica.prefill(batch, length, ZERO)


def _streamed(step: Pass) -> Expression:
    """Return the bytes of the weights that a pass needs: all but the input embedding, and experts that nobody meets."""
    r, shapes = step.replica, step.replica.shapes
    layer = r.model.layers * shapes.attention_parameters + shapes.dense_layers * shapes.ffn_parameters
    total = layer + shapes.head_parameters
    if shapes.experts:
        beside = shapes.shared_parameters + shapes.router_parameters
        total = total + shapes.expert_layers * (step.experts_met * shapes.expert_parameters + beside)
    return total * r.numerics.weight_bytes


def _work_time(step: Pass) -> Expression:
    """Return the time of the useful work of a pass at the reached rates."""
    terms = [times * useful for (times, _), useful in zip(step.loads, useful_products(step), strict=True)]
    products = functools.reduce(Expression.__add__, terms) / step.kernels.product_rate
    return products + step.core.work / step.core_rate + NO_TIME
