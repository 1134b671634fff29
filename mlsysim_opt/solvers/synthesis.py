"""The least hardware that meets a latency: wall 22."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from mlsysim_opt.algebra.expression import Expression, Symbol, constant, substitute, symbols
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.physics.serving import ServingModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.units import TIME, as_measure, as_time, base_unit, divide, quantity, to_si

if TYPE_CHECKING:
    from pint import Quantity

    from mlsysim_opt.registry.types import Accelerator

BANDWIDTH_LEAF, PEAK = "hardware.memory.bandwidth", "hardware.compute.peak."


class _Outputs(NamedTuple):
    """Names of the outputs of a model: its latency, the parts of it, and the memory it takes."""

    latency: str
    compute: str
    bandwidth: str
    memory: str


OUTPUTS = {
    "ServingModel": _Outputs("itl", "itl_compute", "itl_bandwidth", "total_memory_required"),
    "SingleNodeModel": _Outputs("latency_resident", "latency_compute", "latency_memory", "memory_footprint"),
}


@dataclass(frozen=True)
class SynthesisResult:
    """The least hardware for a latency.

    Attributes:
        required_bandwidth, required_flops, required_memory: of one accelerator.
        target_latency: what was asked for. compute_memory_ratio: FLOP/s over bandwidth.
        assumptions: what was not asked for and decided the answer.
    """

    required_bandwidth: Quantity[float]
    required_flops: Quantity[float]
    required_memory: Quantity[float]
    target_latency: Quantity[float]
    compute_memory_ratio: Quantity[float]
    assumptions: dict[str, str]
    _model: Model = field(repr=False)
    _outputs: _Outputs = field(repr=False)
    _inputs: Mapping[str, Any] = field(repr=False)
    _hardware: Accelerator = field(repr=False)

    @property
    def required_bw(self) -> Quantity[float]:
        """The same as `required_bandwidth`."""
        return self.required_bandwidth

    def as_hardware(self) -> Accelerator:
        """Return an accelerator with exactly these numbers, otherwise like the one it was derived from."""
        return self._hardware

    def matching(self, accelerators: Iterable[Accelerator] | None = None) -> tuple[Accelerator, ...]:
        """Return the accelerators (all of the catalog when absent) on which the model meets the target, fastest first.

        Each is asked with the equations of the model itself; those without the number format do not match.
        """
        limit = self.target_latency.to("s").magnitude * (1 + 1e-9)
        found = []
        for item in default_catalog().all("accelerator") if accelerators is None else accelerators:
            try:
                solved = self._model.solve(**{**self._inputs, "hardware": item})
            except InputError:  # no such number format, or a number that is not published
                continue
            if solved.feasible and solved.si(self._outputs.latency) <= limit:
                found.append((solved.si(self._outputs.latency), item))
        return tuple(item for _, item in sorted(found, key=lambda pair: pair[0]))  # type: ignore[misc]


class SynthesisSolver:
    """The least memory bandwidth, FLOP/s and memory with which a decode step meets a latency.

    The very equation of `ServingModel` (or of `SingleNodeModel`) is inverted. Bandwidth and FLOP/s can stand in for
    each other near the ridge, so their balance is chosen: compute alone takes `compute_share` of the time that memory
    traffic alone takes. What is not synthesized (overheads, efficiencies, links) is that of the accelerator `like`.
    """

    wall = 22

    def solve(
        self,
        model: Any,
        target_latency: Any,
        precision: str = "fp16",
        efficiency: float | None = None,
        batch_size: int = 1,
        seq_len: int | None = None,
        *,
        using: Model | type[Model] = ServingModel,
        like: Any = "H100",
        compute_share: float = 0.2,
        **given: Any,
    ) -> SynthesisResult:
        """Return the least hardware for a time per decode step.

        Args:
            model: a transformer. target_latency: a time, ``30 ms`` or ``30 ms/token``.
            precision, efficiency, batch_size, seq_len, given: inputs of the model that is asked; the context is 2048
                tokens for `ServingModel`, and one token for `SingleNodeModel`, when absent.
            using: the model that is asked. like: the accelerator whose other numbers hold.
            compute_share: time of compute alone over that of memory traffic alone.
        Raises:
            InputError: the target is not a time, or an input is wrong.
            NotInvertibleError: no bandwidth meets the target, because overheads alone take longer.
        """
        asked = using() if isinstance(using, type) else using
        outputs = OUTPUTS.get(type(asked).__name__)
        if outputs is None:
            raise InputError(f"{type(asked).__name__} cannot be synthesized from", path="using",
                             hint="ServingModel or SingleNodeModel")  # fmt: skip
        if not 0 < compute_share <= 10:
            raise InputError(f"{compute_share} is outside 0 to 10", path="compute_share")
        target = to_si(as_time(as_measure(target_latency, "target_latency"), TIME), TIME, "target_latency")
        length = seq_len or (2048 if isinstance(asked, ServingModel) else 1)
        inputs = {"model": model, "precision": precision, "efficiency": efficiency, "batch_size": batch_size,
                  "seq_len": length, **given}  # fmt: skip
        base = Given("like", kind="accelerator").check(like)
        values = asked.check(**inputs, hardware=base)
        traced, named = asked.trace(values), asked.leaf_values(values)
        raw = dict(zip(traced.position, traced.program.run([named[leaf] for leaf in traced.leaf_names]), strict=False))
        faster = raw[outputs.compute] / (compute_share * raw[outputs.bandwidth])  # FLOP/s for the wished balance
        root, unknown = _balanced(traced.expressions[outputs.latency], named, faster)
        known = {leaf: value for leaf, value in named.items() if leaf != BANDWIDTH_LEAF}
        bandwidth = invert(root, constant(target, TIME), unknown, values=known, box=(1.0, 1e30)).value
        scale = faster * bandwidth / named[BANDWIDTH_LEAF]
        peaks = {leaf: named[leaf] * scale for leaf in traced.leaf_names if leaf.startswith(PEAK)}
        memory = raw[outputs.memory] / _devices(values)
        products = peaks[f"{PEAK}{precision}"]
        return SynthesisResult(
            required_bandwidth=quantity(bandwidth, "TB/s"),
            required_flops=quantity(products, "TFLOP/s"),
            required_memory=quantity(memory, "GB"),
            target_latency=quantity(target, "ms"),
            compute_memory_ratio=quantity(products / bandwidth, "FLOP/byte"),
            assumptions={
                **asked.assumptions(values),
                "like": base.name,
                "compute_share": str(compute_share),
                "seq_len": str(length),
            },
            _model=asked,
            _outputs=outputs,
            _inputs=inputs,
            _hardware=_hardware(base, bandwidth, memory, {leaf.removeprefix(PEAK): si for leaf, si in peaks.items()}),
        )


def _devices(values: Mapping[str, Any]) -> int:
    sizes = (values.get(name, 1) for name in ("tp_size", "pp_size", "attention_dp"))
    total = 1
    for size in sizes:
        total *= int(size)
    return total


def _balanced(root: Expression, named: Mapping[str, Any], faster: float) -> tuple[Expression, Symbol]:
    """Return the latency with all peaks in a fixed proportion to the bandwidth, and the bandwidth."""
    leaves = {leaf.name: leaf for leaf in symbols(root)}
    unknown = leaves[BANDWIDTH_LEAF]
    in_proportion: dict[Expression, Expression] = {}
    for name, leaf in leaves.items():
        if name.startswith(PEAK):
            ratio = faster * named[name] / named[BANDWIDTH_LEAF]
            in_proportion[leaf] = unknown * constant(ratio, divide(leaf.dimension, unknown.dimension))
    return substitute(root, in_proportion), unknown


def _hardware(base: Any, bandwidth: float, memory: float, peaks: Mapping[str, float]) -> Any:
    """Return an accelerator like another, with other numbers."""

    def datum(old: Datum, si: float) -> Datum:
        text = base_unit(old.dimension).text
        return Datum(si, f"{si!r} {text}", text, old.dimension, "quantity", None, "synthesized for a target latency")

    old = base.memory.__dict__
    held = {"bandwidth": datum(old["bandwidth"], bandwidth), "capacity": datum(old["capacity"], memory)}
    rates = base.compute.peak
    chosen = {name: datum(rates.__dict__[name], peaks[name]) if name in peaks else None for name in rates.precisions}
    compute = base.compute.model_copy(update={"peak": rates.model_copy(update=chosen)})
    return base.model_copy(
        update={
            "name": f"Synthesized_like_{base.name}", "title": f"Synthesized, like {base.name}", "aliases": (),
            "memory": base.memory.model_copy(update=held), "compute": compute,
        }
    )  # fmt: skip


__all__ = ["SynthesisResult", "SynthesisSolver"]
