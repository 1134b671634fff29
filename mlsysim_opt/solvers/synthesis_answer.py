"""The answer of a synthesis: the least hardware, why it is that, and what of the catalog does as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.solvers.matching import Matches, Ranking, replica_size
from mlsysim_opt.solvers.synthesis_targets import Asked
from mlsysim_opt.units import BYTE, TIME, show

if TYPE_CHECKING:
    from pint import Quantity

    from mlsysim_opt.registry.types import Accelerator

PARTS = {"bandwidth": "memory traffic", "memory": "memory traffic", "compute": "compute",
         "communication": "exchanges", "overhead": "launches and scheduling"}  # fmt: skip
"""Outputs that are parts of a latency, by the end of their names."""


@dataclass(frozen=True)
class Target:
    """What was asked for: an inequality between outputs of the model.

    Attributes:
        text: as it was asked. output: the output it is about. binds: whether less hardware would miss it.
        value, limit: what the least hardware reaches, and what was asked for, in base units. shown: both as text.
    """

    text: str
    output: str
    binds: bool
    value: float
    limit: float
    shown: tuple[str, str]

    @property
    def slack(self) -> float:
        """How far the value is from the limit, as a share of it."""
        return abs(self.value - self.limit) / abs(self.limit)


@dataclass(frozen=True)
class SynthesisResult:
    """The least hardware for some targets.

    Attributes:
        required_bandwidth, required_flops, required_memory: of one accelerator.
        required_link_bandwidth: of its links to the others of its server; None where it was given, or no target depends
            on it.
        target_latency: what was asked for, if it was one latency of the model. targets: all that was asked for.
        compute_memory_ratio: FLOP/s over bandwidth. balance: why this ratio and no other.
        assumptions: what was not asked for and decided the answer.
    """

    required_bandwidth: Quantity[float]
    required_flops: Quantity[float]
    required_memory: Quantity[float]
    required_link_bandwidth: Quantity[float] | None
    target_latency: Quantity[float] | None
    compute_memory_ratio: Quantity[float]
    assumptions: dict[str, str]
    targets: tuple[Target, ...]
    balance: str
    _model: Model = field(repr=False)
    _inputs: Mapping[str, Any] = field(repr=False)
    _asked: Asked = field(repr=False)
    _hardware: Accelerator = field(repr=False)

    @property
    def required_bw(self) -> Quantity[float]:
        """The same as `required_bandwidth`."""
        return self.required_bandwidth

    def as_hardware(self) -> Accelerator:
        """Return an accelerator with exactly these numbers, otherwise like the one it was derived from."""
        return self._hardware

    @property
    def explanation(self) -> tuple[str, ...]:
        """Where time and memory go on the synthesized accelerator, in sentences."""
        solved = self._model.solve(**self._inputs, hardware=self._hardware)
        known = set(solved.field_names())
        said = []
        for item in self.targets:
            stem = item.output.removesuffix("_resident")
            parts = [
                f"{show(solved.si(f'{stem}_{part}'), TIME, 3)} {name}"
                for part, name in PARTS.items()
                if f"{stem}_{part}" in known and solved.si(f"{stem}_{part}") > 0
            ]
            if parts:
                said.append(f"{stem} of {item.shown[0]}, each alone: {', '.join(parts)}; what overlaps is not added up")
        said.append(self.balance)
        if "kv_cache_size" in known:
            devices = replica_size(self._model.check(**self._inputs, hardware=self._hardware))
            whole, weights, cache = (
                solved.si(name) / devices for name in ("total_memory_required", "model_weights_size", "kv_cache_size")
            )
            said.append(f"memory of one accelerator: {show(weights, BYTE, 3)} weights, {show(cache, BYTE, 3)} keys and "
                        f"values, {show(whole - weights - cache, BYTE, 3)} workspace and reserve")  # fmt: skip
        return tuple(said)

    def matching(
        self, accelerators: Iterable[Accelerator | str] | None = None, rank_by: str | Callable[[Any], Any] = "latency"
    ) -> Matches:
        """Return the accelerators on which the model meets the targets, the best first.

        Each is asked with the equations of the model itself, as many of it as the replica has.

        Args:
            accelerators: those to look at, as entries or by name; all of the catalog when absent.
            rank_by: ``latency`` (the output of the first target), ``price_per_hour`` of the replica by the lowest
                on-demand rate of the catalog, ``price_per_million_tokens``, ``tdp`` of the replica, any output of the
                model (``energy_per_token``), a number of one accelerator by its path (``memory.bandwidth``,
                ``hardware.tdp``, ``embodied_carbon``), an expression of these (``price_per_hour * itl``), or a function
                of the model's result. The least is best; ``max_throughput`` or ``-throughput`` turns it round.
        Returns:
            the accelerators in order, with what they were ranked by (`ranked`), those that meet the targets and lack
            what the ranking needs (`unranked`), and all others (`missed`), each with the reason.
        """
        every: Any = default_catalog().all("accelerator") if accelerators is None else accelerators
        read = Given("accelerators", kind="accelerator").check
        chosen: Any = [read(item) for item in ([every] if isinstance(every, str) else every)]
        probe = {**self._inputs, "hardware": self._hardware}
        ranking = Ranking.by(rank_by, self.targets[0].output, self._model, probe)
        return Matches.among(chosen, self._model, self._inputs, self._asked, ranking)

    def numbers(self, digits: int) -> list[tuple[str, str]]:
        """Return the name and the value of each number of one accelerator, for people."""
        found = [
            ("memory bandwidth", f"{self.required_bandwidth.to('TB/s').magnitude:,.{digits}g} TB/s"),
            ("compute", f"{self.required_flops.to('TFLOP/s').magnitude:,.{digits}g} TFLOP/s"),
            ("memory", f"{self.required_memory.to('GB').magnitude:,.{digits}g} GB"),
        ]
        if self.required_link_bandwidth is not None:
            found.append(("links", f"{self.required_link_bandwidth.to('GB/s').magnitude:,.{digits}g} GB/s"))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the specification as JSON data."""

        def plain(item: Quantity[float]) -> dict[str, Any]:
            return {"value": float(item.magnitude), "unit": f"{item.units:~}".replace(" ", "")}

        return {
            "required_bandwidth": plain(self.required_bandwidth),
            "required_flops": plain(self.required_flops),
            "required_memory": plain(self.required_memory),
            "required_link_bandwidth": None if self.required_link_bandwidth is None
            else plain(self.required_link_bandwidth),
            "compute_memory_ratio": plain(self.compute_memory_ratio),
            "balance": self.balance,
            "explanation": list(self.explanation),
            "targets": [
                {"target": item.text, "output": item.output, "binds": item.binds, "value": item.shown[0],
                 "limit": item.shown[1], "relative_slack": item.slack}
                for item in self.targets
            ],
            "assumptions": dict(self.assumptions),
        }  # fmt: skip

    def __str__(self) -> str:
        rows = [f"  {name:16}  {text}" for name, text in self.numbers(4)]
        asked = [f"  {item.text}: {item.shown[0]}" + (" (binds)" if item.binds else "") for item in self.targets]
        assumed = "; ".join(f"{name} = {text}" for name, text in self.assumptions.items())
        return "\n".join(["the least of one accelerator", *rows, *asked, f"  balance: {self.balance}",
                          f"  assumed: {assumed}"])  # fmt: skip
