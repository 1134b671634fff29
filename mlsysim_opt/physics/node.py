"""One accelerator: the roofline of a forward pass, of a transformer by its shapes or of a workload by its totals.

Sources: Williams, Waterman and Patterson 2009 (roofline); see `forward` and `kernels` for the layers of a transformer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, maximum, minimum
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import InputError, OOMError
from mlsysim_opt.physics.base import Model, Result, known
from mlsysim_opt.physics.formats import inference_format
from mlsysim_opt.physics.forward import NO_BYTES, NO_TIME, Replica, drawn_power
from mlsysim_opt.physics.inputs import Given, Number, Switch, Text
from mlsysim_opt.physics.kernels import TILE_COLUMNS, TILE_ROWS, Kernels
from mlsysim_opt.physics.rate import rate
from mlsysim_opt.physics.training import calibration_bindings, calibration_view, rates
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View, entry_bindings

SAMPLE = expression("1 sample")
WIDEST_LAYER = 4
"""Outputs of the widest layer of a convolutional network over the mean layer (ResNet-50: 802,816 over 200,000)."""
LAUNCHES = 2
"""Launches that do not overlap, of which the overhead of a transformer's layer consists; other layers are one each."""
ALONE: dict[str, Any] = dict.fromkeys(("tp", "pp", "dp", "ep"), ONE)


@dataclass(frozen=True)
class Roof:
    """What one forward pass asks of one accelerator.

    Attributes:
        compute: what all work alone takes (tiles that stay empty included). memory: the same of all memory traffic.
        overlapped: time of both together. overhead: launches, scheduling. useful: work the model needs.
        traffic: bytes moved. weights: bytes held for the weights. weights_read: of them, read in a pass, at most.
        activations: bytes worked in. peak, product_rate, memory_rate: dense peak, reached rates.
    """

    compute: Expression
    memory: Expression
    overlapped: Expression
    overhead: Expression
    useful: Expression
    traffic: Expression
    weights: Expression
    activations: Expression
    peak: Expression
    product_rate: Expression
    memory_rate: Expression

    @property
    def time(self) -> Expression:
        """Time of the pass where everything is in memory."""
        return self.overlapped + self.overhead


@dataclass(frozen=True)
class Device:
    """An accelerator that runs one number format.

    Attributes:
        hardware, calibration, numerics: the catalog entries. boost: speed of products over the dense ones (sparsity).
    """

    hardware: View
    calibration: View
    numerics: View
    boost: Expression = ONE

    @classmethod
    def of(cls, hardware: View, precision: str, efficiency: Expression | None, numerics: View | None = None) -> Device:
        """Return the device of the inputs of a model; `numerics` replaces those of the precision."""
        numerics = View("numerics", [inference_format(precision)]) if numerics is None else numerics
        return cls(hardware, calibration_view(hardware, efficiency), numerics)

    @property
    def rate(self) -> Expression:
        """Peak of matrix products."""
        return self.boost * self.hardware.number(f"compute.peak.{self.numerics.entries[0].__dict__['gemm_precision']}")

    def roof(self, model: View, batch: Expression, length: Expression) -> Roof:
        """Return the forward pass of a batch of samples, of `length` tokens each where the model sees tokens."""
        if model.entries[0].kind == "workload":
            return self._workload(model, batch)
        return self._transformer(model, batch, length)

    def power(self, roof: Roof, time: Expression) -> Expression:
        """Return what the accelerator draws where a pass takes this time."""
        bandwidth = roof.traffic / self.hardware.number("memory.bandwidth") / time
        return drawn_power(self.hardware, self.calibration, minimum(bandwidth, 1), roof.useful / (time * roof.peak))

    def replica(self, model: View) -> Replica:
        """Return the one copy of a transformer on this device. Keys and values have the width of activations."""
        products, core = rates(self.hardware, self.numerics)
        element = self.numerics.activation_bytes
        return Replica(
            model, self.numerics, self.hardware, self.calibration, self.boost * products, core, element, **ALONE
        )

    def _transformer(self, model: View, batch: Expression, length: Expression) -> Roof:
        replica = self.replica(model)
        step = replica.prefill(batch, length, ZERO)
        return Roof(
            compute=step.compute,
            memory=step.bandwidth,
            overlapped=step.time - step.overhead,
            overhead=step.overhead,
            useful=step.useful_work,
            traffic=step.traffic,
            weights=replica.weights,
            activations=replica.workspace(batch, length) + replica.kv(batch, length),
            peak=self.rate,
            product_rate=step.kernels.product_rate,
            memory_rate=step.kernels.memory_rate,
        )

    def _workload(self, model: View, batch: Expression) -> Roof:
        """Return the pass of a network known by its totals, as if its layers were alike.

        The last wave of tiles of a layer is half empty on average; where a layer is smaller than that, smaller tiles
        are taken, so that at most as much is wasted as is done. Outputs are written and read once.
        """
        outputs = batch * model.activation_elements
        useful = batch * model.forward_flops
        half_wave = self.calibration.compute_units * (TILE_ROWS * TILE_COLUMNS / 2)
        wasted = minimum(half_wave * model.layers, outputs) / outputs
        product_rate = self.rate * self.calibration.gemm_efficiency
        memory_rate = self.hardware.number("memory.bandwidth") * self.calibration.memory_bandwidth_efficiency
        weights = model.parameter_count * self.numerics.weight_bytes
        written = outputs * self.numerics.activation_bytes
        moved = 2 * written + batch * model.input_bytes
        read = weights
        if model.has("active_parameter_count"):  # look-ups of tables: each sample reads its rows only
            read = minimum(batch * model.active_parameter_count * self.numerics.weight_bytes, weights)
        compute = useful * (1 + wasted) / product_rate
        if self.hardware.has("flash"):
            memory = moved / memory_rate + read / self.hardware.number("flash.bandwidth")
        else:
            memory = (moved + read) / memory_rate
        return Roof(
            compute=compute,
            memory=memory,
            overlapped=Kernels.rounded(compute, memory),
            overhead=model.layers * self.calibration.layer_overhead / LAUNCHES,
            useful=useful,
            traffic=moved + read,
            weights=weights,
            activations=2 * WIDEST_LAYER * written / model.layers + batch * model.input_bytes,
            peak=self.rate,
            product_rate=product_rate,
            memory_rate=memory_rate,
        )


@dataclass(frozen=True)
class Fit:
    """Where weights and activations go: into memory (weights into flash, where a device has it), or beyond it.

    Attributes:
        device, roof: who runs what. wanted: truth, weights may stay in host memory.
    """

    device: Device
    roof: Roof
    wanted: Expression

    @property
    def spill(self) -> Expression:
        """Bytes of weights that do not fit."""
        return maximum(self.footprint - self.device.hardware.number("memory.capacity"), NO_BYTES)

    @property
    def footprint(self) -> Expression:
        """Bytes wanted in memory."""
        held = NO_BYTES if self.device.hardware.has("flash") else self.roof.weights
        return held + self.roof.activations

    @property
    def delay(self) -> Expression:
        """Time in which spilled weights cross the host link: those that the pass reads, and no others."""
        if not self.device.hardware.has("host_link"):
            return NO_TIME
        read = minimum(self.roof.traffic / self.roof.weights, 1)
        return self.spill * read / self.device.hardware.number("host_link.bandwidth")

    @property
    def rules(self) -> dict[str, Expression]:
        """The constraints, by name."""
        hardware = self.device.hardware
        capacity = hardware.number("memory.capacity")
        fits = self.footprint <= capacity
        if hardware.has("host_link"):
            fits = fits | (self.wanted & (self.roof.activations <= capacity))
        rules = {"memory fits": fits}
        if hardware.has("flash"):
            rules["weights fit the flash memory"] = self.roof.weights <= hardware.number("flash.capacity")
        return rules


class SingleNodeResult(Result):
    """Time, traffic and memory of one forward pass on one accelerator. Times are those of the whole batch."""

    units: ClassVar[dict[str, str]] = {
        "latency": "ms", "latency_compute": "ms", "latency_memory": "ms", "latency_overhead": "ms",
        "latency_offload": "ms", "latency_resident": "ms", "throughput": "sample/s", "peak_flops_actual": "TFLOP/s",
        "peak_bw_actual": "GB/s", "offload_effective_bw": "GB/s", "arithmetic_intensity": "FLOP/byte",
        "energy": "J",
    }  # fmt: skip
    latency: Any
    latency_compute: Any
    latency_memory: Any
    latency_overhead: Any
    latency_offload: Any
    latency_resident: Any
    throughput: Any
    bottleneck: Any
    arithmetic_intensity: Any
    memory_footprint: Any
    memory_available: Any
    offload_spill_bytes: Any
    offload_effective_bw: Any
    peak_flops_actual: Any
    peak_bw_actual: Any
    mfu: Any
    energy: Any

    @property  # type: ignore[no-redef]
    def throughput(self) -> Any:
        """Samples per time; under a numeric format specification its number alone, in samples per second."""
        traced = self.__dict__["_traced"]
        return rate(traced.read("throughput", self.si("throughput")))  # type: ignore[attr-defined]


class SingleNodeModel(Model):
    """Forward pass of a batch on one accelerator: is it bound by compute, by memory, or by overhead?

    A transformer sees `seq_len` tokens of each sample for the first time; the output projection runs for the last of
    them. The default of one token is a decode step without a context before it (see `ServingModel`). Of the experts of
    a mixture only those that a token meets are read. Any other network is known by its totals: work, weights, and the
    activations that its layers write and read.

    `latency` exceeds the larger of `latency_compute` and `latency_memory`, which are what all work and all traffic
    would take alone. `bottleneck` is the largest of compute, memory and overhead. Weights that do not fit cross the
    host link in every pass (`offload_spill_bytes`, and only they): `latency_offload` is that time, `latency_resident`
    the rest, and `offload_effective_bw` the mean rate of all traffic. The result is infeasible ("memory fits") unless
    `offload=True` says that this is wanted and the accelerator has a host link.

    `energy` is that of the accelerator alone, by what it uses of its bandwidth and compute (`forward.drawn_power`);
    without a rated power there is none.

    Raises:
        OOMError: with ``raise_errors=True``, memory does not suffice.
    """

    wall = 1
    inputs = (
        Given("model", "a transformer or another workload", kind="model", also=("workload",)),
        Given("hardware", "the accelerator", kind="accelerator"),
        Number("batch_size", "samples", default=1, integer=True, low=1),
        Text("precision", "format of weights and products", default="fp16"),
        Number("efficiency", "reached of the peak; calibrated when absent", default=None, high=1.0, open_low=True),
        Number("seq_len", "new tokens per sample of a transformer", default=1, integer=True, low=1),
        Switch("offload", "weights that do not fit are read from host memory, on purpose", default=False),
    )
    aliases: ClassVar[dict[str, str]] = {"batch": "batch_size"}
    example: ClassVar[dict[str, Any]] = {"model": "Llama3_8B", "hardware": "H100"}

    def solve(self, *args: Any, raise_errors: bool = False, **given: Any) -> Any:
        """Evaluate the model at one point; see `Model.solve`.

        Raises:
            OOMError: memory does not suffice, and `raise_errors` is set.
        """
        if raise_errors not in (True, False):
            raise InputError(f"expected true or false, got {raise_errors!r}", path="raise_errors")
        solved = super().solve(*args, **given)
        if raise_errors and not solved.constraints["memory fits"]:
            values = self.check(*args, **given)
            raise OOMError(
                solved.si("memory_footprint"), solved.si("memory_available"), what=values["model"].name,
                where=values["hardware"].name, path="memory fits",
                hint="a narrower precision, a smaller batch, more accelerators, or offload=True",
            )  # fmt: skip
        return solved

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = entry_bindings("numerics", inference_format(values["precision"]))
        bound.update(calibration_bindings(values["hardware"]))
        return bound

    def equations(self, **leaves: Any) -> SingleNodeResult:
        device = Device.of(leaves["hardware"], leaves["precision"], leaves["efficiency"])
        roof = device.roof(leaves["model"], leaves["batch_size"], leaves["seq_len"])
        fit = Fit(device, roof, leaves["offload"] == 1)
        latency = roof.time + fit.delay
        moving = roof.memory + fit.delay
        fields = {
            "latency": latency,
            "latency_compute": roof.compute,
            "latency_memory": roof.memory,
            "latency_overhead": roof.overhead,
            "latency_offload": fit.delay,
            "latency_resident": roof.time,
            "throughput": leaves["batch_size"] * SAMPLE / latency,
            "bottleneck": argmax_label(Compute=roof.compute, Memory=moving, Overhead=roof.overhead),
            "arithmetic_intensity": roof.useful / roof.traffic,
            "memory_footprint": fit.footprint,
            "memory_available": device.hardware.number("memory.capacity"),
            "offload_spill_bytes": fit.spill,
            "offload_effective_bw": roof.traffic / moving,
            "peak_flops_actual": roof.product_rate,
            "peak_bw_actual": roof.memory_rate,
            "mfu": roof.useful / (latency * roof.peak),
            "energy": known(lambda: device.power(roof, latency) * latency),
        }
        return SingleNodeResult(**fields, constraints=fit.rules)


class Engine:
    """The roofline of one accelerator under the name it had first: ``Engine.solve(model, hardware, batch_size)``."""

    @staticmethod
    def solve(*args: Any, **given: Any) -> Any:
        """Evaluate `SingleNodeModel` at one point."""
        return SingleNodeModel().solve(*args, **given)


__all__ = ["Device", "Engine", "Fit", "Roof", "SingleNodeModel", "SingleNodeResult"]
