"""What a smaller form of a model saves in memory and time, and what is published of its quality.

Sources: Frantar et al. 2023 (GPTQ) and Lin et al. 2024 (AWQ): weights in groups, multiplied in 16 bits;
Mishra et al. 2021 (2:4 sparsity, its index of 2 bits a kept weight, and its units); Hinton et al. 2015 (distillation).
Changes of accuracy are entries of the catalog (kind ``evidence``), each with its paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, maximum, minimum, sqrt
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import InputError, UnsupportedPrecisionError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.formats import BITS, inference_format
from mlsysim_opt.physics.inputs import Given, Input, Number, Text
from mlsysim_opt.physics.keyword import Keyword
from mlsysim_opt.physics.node import Device, Roof
from mlsysim_opt.physics.training import calibration_bindings
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry

METHODS = ("quantization", "pruning", "distillation")
SPARSITIES = ("unstructured", "structured", "n_m")
BIT = expression("1 bit")
SCALE_BITS, USUAL_GROUP = 16, 128
INDEX_BITS = 1
"""Bits a weight that say where the kept weights are: a bit mask, or 2 bits for each of the two kept of four."""
CLASSES = {"cnn": "vision", "detection": "vision", "vit": "vision"}


@dataclass(frozen=True)
class EvidenceRows(Input):
    """Entries of published evidence, by name or as objects; chosen by the model where absent."""

    fixed = False

    def check(self, value: Any) -> tuple[Entry, ...]:
        given = value if isinstance(value, list | tuple) else [value]
        return tuple(Given(self.name, kind="evidence").check(item) for item in given)

    def leaf(self, value: Sequence[Entry]) -> tuple[View, ...]:
        return tuple(View(f"{self.name}.{entry.name}", [entry]) for entry in value)

    def bind(self, value: Sequence[Entry]) -> dict[str, Any]:
        return {path: number for entry in value
                for path, number in entry_bindings(f"{self.name}.{entry.name}", entry).items()}  # fmt: skip

    def key(self, value: Sequence[Entry]) -> Any:
        return tuple(entry.name for entry in value)

    def identity(self, value: Sequence[Entry]) -> Any:
        return tuple(id(entry) for entry in value)


class SmallerResult(Result):
    """Sizes and speeds before and after."""

    units: ClassVar[dict[str, str]] = {
        "original_size": "GB", "compressed_size": "GB", "original_latency": "ms", "compressed_latency": "ms",
    }  # fmt: skip
    original_size: Any
    compressed_size: Any
    compression_ratio: Any
    memory_savings: Any
    bits_per_weight: Any
    original_latency: Any
    compressed_latency: Any
    inference_speedup: Any
    original_bottleneck: Any
    bottleneck: Any

    @property
    def memory_savings_pct(self) -> Any:
        """The saved share of the memory in percent."""
        return 100 * self.memory_savings

    @property
    def accuracy_range(self) -> tuple[float, float, float] | None:
        """The worst, the typical and the best published change of accuracy; None where there is none."""
        low, high = getattr(self, "accuracy_delta_low", None), getattr(self, "accuracy_delta_high", None)
        return None if low is None or high is None else (low, self.estimated_accuracy_delta, high)

    @property
    def estimated_accuracy_delta(self) -> Any:
        """The same as `accuracy_delta`."""
        return getattr(self, "accuracy_delta", None)


class SizeResult(SmallerResult):
    """The same, of a compression of which no change of accuracy is published."""

    accuracy_delta = accuracy_delta_low = accuracy_delta_high = None
    """Nothing is published; `assumptions` says what was looked for."""


class CompressionResult(SmallerResult):
    """The same, with the published change of accuracy."""

    accuracy_delta: Any
    accuracy_delta_low: Any
    accuracy_delta_high: Any


class CompressionModel(Model):
    """Is a compression worth it: how small does the model get, how fast, and what does it cost in quality?

    ``quantization``: weights in `target_bitwidth` bits, with a 16-bit scale for each group of `group_size` weights (128
    for widths below 8; above, one scale a channel, which is not counted). Products run in `compute_precision`: for 8
    bits INT8 or FP8 where the device has it, else, and for narrower weights, the baseline's (weight-only quantization).
    ``pruning``: a `sparsity` of the weights; ``structured`` makes matrices narrower, ``n_m`` (two of every four) is
    faster where the device has units for it, ``unstructured`` is smaller and no faster (kernels stay dense). Sparse
    forms keep an index of 1 bit a weight. ``distillation``: a `student` takes the model's place. All weights are
    compressed, embeddings included.

    Times are those of a forward pass of `SingleNodeModel`, in memory, by the same equations. Accuracy is the change of
    a metric relative to the original (-0.01: one percent lost), from published tables: `accuracy_delta` typical,
    `accuracy_delta_low` and `_high` the worst and best of the rows; None where nothing comparable is published.

    Raises:
        InputError: the method lacks what it needs. UnsupportedPrecisionError: the device has no such rate.
    """

    wall = 13
    inputs = (
        Given("model", "a transformer or another workload", kind="model", also=("workload",)),
        Given("hardware", "the accelerator", kind="accelerator"),
        Keyword("method", default="quantization", options=METHODS),
        Number("target_bitwidth", "bits of a weight", default=8, integer=True, low=1, high=16),
        Number("sparsity", "share of the weights removed", default=None, high=0.99),
        Keyword("sparsity_type", default="unstructured", options=SPARSITIES),
        Keyword("baseline_precision", "of the original", default="fp16", options=tuple(BITS)),
        Number("group_size", "weights that share a scale", default=None, integer=True, low=1),
        Given("student", "the smaller model", default=None, kind="model", also=("workload",)),
        Text("compute_precision", "format of the products of a quantized model", default=None),
        EvidenceRows("evidence", "published changes of accuracy", default=None),
        Number("efficiency", "reached of the peak; calibrated when absent", default=None, high=1.0, open_low=True),
        Number("batch_size", "samples", default=1, integer=True, low=1),
        Number("seq_len", "new tokens per sample", default=1, integer=True, low=1),
    )
    aliases: ClassVar[dict[str, str]] = {"bits": "target_bitwidth", "batch": "batch_size"}
    example: ClassVar[dict[str, Any]] = {"model": "Llama3_70B", "hardware": "H100", "target_bitwidth": 4}

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        values = dict(values)
        method, hardware = values["method"], values["hardware"]
        _check_method(values)
        values["compute_precision"] = values["compute_precision"] or _compute_precision(values)
        if values["compute_precision"] not in hardware.precisions:
            raise UnsupportedPrecisionError(hardware.name, values["compute_precision"], hardware.precisions)
        if method == "quantization" and values["group_size"] is None and values["target_bitwidth"] < 8:
            values["group_size"] = USUAL_GROUP
        if method == "pruning" and values["sparsity"] is None:
            values["sparsity"] = 0.5
        if values["evidence"] is None:
            values["evidence"] = published(values)
        return values

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        rows = values["evidence"]
        found = "; ".join(f"{row.title} ({row.sources[0].title}, {row.sources[0].date})" for row in rows or ())
        decided = {**super().assumptions(values), "compute_precision": values["compute_precision"]}
        return {**decided, "evidence": found or f"none published for this {values['method']} of such a model"}

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = entry_bindings("original", inference_format(values["baseline_precision"]))
        bound.update(entry_bindings("numerics", inference_format(values["compute_precision"])))
        bound.update(calibration_bindings(values["hardware"]))
        return bound

    def equations(self, **leaves: Any) -> SmallerResult:
        hardware: View = leaves["hardware"]
        model: View = leaves["model"]
        original = View("original", [inference_format(leaves["baseline_precision"])])
        before = Device.of(hardware, leaves["baseline_precision"], leaves["efficiency"], original)
        smaller, device = _compressed(model, before, leaves)
        shape = (leaves["batch_size"], leaves["seq_len"])
        one, other = before.roof(model, *shape), device.roof(smaller, *shape)
        stored = other.weights
        if leaves["method"] == "pruning" and leaves["sparsity_type"] == "unstructured":
            kept = (1 - leaves["sparsity"]) * one.weights + _count(one, original) * INDEX_BITS * BIT
            stored = minimum(kept, one.weights)  # what is hardly sparse is stored dense
        fields: dict[str, Any] = {
            "original_size": one.weights,
            "compressed_size": stored,
            "compression_ratio": one.weights / stored,
            "memory_savings": 1 - stored / one.weights,
            "bits_per_weight": stored / _count(one, original) / BIT,
            "original_latency": one.time,
            "compressed_latency": other.time,
            "inference_speedup": one.time / other.time,
            "original_bottleneck": _limit(one),
            "bottleneck": _limit(other),
            "constraints": {"the compressed model fits": stored + other.activations <= hardware.number(CAPACITY)},
        }
        if not leaves["evidence"]:
            return SizeResult(**fields)
        changes = {name: _change(leaves, name) for name in ("low", "typical", "high")}
        return CompressionResult(
            **fields, accuracy_delta=changes["typical"], accuracy_delta_low=changes["low"],
            accuracy_delta_high=changes["high"],
        )  # fmt: skip


CAPACITY = "memory.capacity"


def _check_method(values: Mapping[str, Any]) -> None:
    method = values["method"]
    if method == "distillation" and values["student"] is None:
        raise InputError("distillation needs the student", path="student", hint="name the smaller model")
    if method != "distillation" and values["student"] is not None:
        raise InputError(f"{method} has no use for a student", path="student")
    if method != "pruning" and values["sparsity"]:
        raise InputError(f"{method} has no use for a sparsity", path="sparsity")
    if method != "pruning":
        return
    if values["sparsity"] is None and values["sparsity_type"] != "n_m":
        raise InputError("pruning needs the share of the weights removed", path="sparsity", hint="sparsity=0.5")
    if values["sparsity_type"] == "n_m" and values["sparsity"] not in (None, 0.5):
        raise InputError(f"two of four are a sparsity of 0.5, not {values['sparsity']}", path="sparsity")


def _compute_precision(values: Mapping[str, Any]) -> str:
    """Return the format of the products: narrow ones for 8 bits only, and only those that the device has."""
    baseline = str(values["baseline_precision"])
    if values["method"] != "quantization" or values["target_bitwidth"] != 8 or BITS[baseline] <= 8:
        return baseline
    return next((name for name in ("int8", "fp8") if name in values["hardware"].precisions), baseline)


def _compressed(model: View, before: Device, leaves: Mapping[str, Any]) -> tuple[View, Device]:
    """Return the smaller model, and the device that runs it."""
    if leaves["method"] == "distillation":
        return leaves["student"], before
    numerics = View("numerics", [inference_format(leaves["compute_precision"])])
    if leaves["method"] == "quantization":
        scale = expression(0) if leaves["group_size"] is None else SCALE_BITS / leaves["group_size"]
        held = (leaves["target_bitwidth"] + scale) * BIT
        return model, Device(before.hardware, before.calibration, numerics.replacing(weight_bytes=held))
    kept = 1 - leaves["sparsity"]
    if leaves["sparsity_type"] == "structured":
        return _narrower(model, kept), before
    if leaves["sparsity_type"] == "n_m" and before.hardware.has("compute.structured_sparsity"):
        held = kept * before.numerics.weight_bytes + INDEX_BITS * BIT
        faster = before.hardware.number("compute.structured_sparsity")
        return model, Device(before.hardware, before.calibration, numerics.replacing(weight_bytes=held), faster)
    return model, before


def _narrower(model: View, kept: Expression) -> View:
    """Return a model whose matrices have so much of their weights left: fewer heads and a narrower feed-forward, or
    fewer channels (whose number enters twice) in each layer of another network."""
    if model.entries[0].kind == "workload":
        return model.replacing(
            parameter_count=kept * model.parameter_count, forward_flops=kept * model.forward_flops,
            activation_elements=sqrt(kept) * model.activation_elements,
        )  # fmt: skip
    names = ["ffn", "heads", "kv_heads", *(["moe.expert_ffn", "moe.shared_expert_ffn"] if model.has("moe") else [])]
    return model.replacing(**{name: kept * model.number(name) for name in names})


def _count(roof: Roof, numerics: View) -> Expression:
    return roof.weights / numerics.weight_bytes


def _limit(roof: Roof) -> Expression:
    return argmax_label(Compute=roof.compute, Memory=roof.memory, Overhead=roof.overhead)


# evidence -------------------------------------------------------------------------------------------------------------
def model_class(entry: Entry) -> str | None:
    """Return which rows of evidence speak of a model: of language models, of encoders, of vision, or none."""
    if entry.kind == "workload":
        return CLASSES.get(str(entry.__dict__["family"]))
    return "language" if entry.__dict__["bidirectional_layers"] is None else "encoder"


def published(values: Mapping[str, Any]) -> tuple[Entry, ...] | None:
    """Return the rows of the catalog that speak of this compression of such a model; None where there are none."""
    model, method = values["model"], values["method"]
    size = model.parameter("parameter_count").si
    rows = [
        row for row in default_catalog().all("evidence")
        if row.__dict__["method"] == method and row.__dict__["model_class"] == model_class(model)
        and row.parameter("parameters_from").si <= size < row.parameter("parameters_to").si
    ]  # fmt: skip
    if method == "quantization":
        compute = values["compute_precision"]
        narrow = BITS[compute] < 16
        form = "float" if narrow and compute.startswith("fp") else "int"
        wanted = {"bits": values["target_bitwidth"], "activation_bits": BITS[compute] if narrow else 16}
        rows = [row for row in rows if all(row.parameter(name).si == value for name, value in wanted.items())]
        rows = [row for row in rows if row.__dict__["number_format"] == form][:1]
    elif method == "distillation":
        ratio = values["student"].parameter("parameter_count").si / size
        rows = [row for row in rows if abs(row.parameter("kept_parameters").si - ratio) <= 0.05][:1]
    else:
        rows = [row for row in rows if row.__dict__["sparsity_type"] == values["sparsity_type"]]
        rows.sort(key=lambda row: row.parameter("sparsity").si)
        if rows and values["sparsity"] > rows[-1].parameter("sparsity").si:
            rows = []
    return tuple(rows) or None


def _change(leaves: Mapping[str, Any], name: str) -> Expression:
    """Return the change of accuracy: as published, or by straight lines through no change and the published points."""
    rows: tuple[View, ...] = leaves["evidence"]
    if leaves["method"] != "pruning":
        change: Expression = rows[0].number(name)
        return change
    total, at, value = expression(0), expression(0), expression(0)
    for row in rows:
        there, then = row.number("sparsity"), row.number(name)
        inside = minimum(maximum(leaves["sparsity"] - at, 0), there - at)
        total = total + inside * (then - value) / (there - at)
        at, value = there, then
    return total


__all__ = [
    "CompressionModel",
    "CompressionResult",
    "EvidenceRows",
    "SizeResult",
    "SmallerResult",
    "model_class",
    "published",
]
