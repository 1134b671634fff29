"""Which number of the hardware should be better first: wall 21."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.node import SingleNodeModel
from mlsysim_opt.physics.questions import sensitivity

if TYPE_CHECKING:
    from pint import Quantity

LEVERS: dict[str, Callable[[str], bool]] = {
    "peak_flops": lambda leaf: ".compute.peak." in leaf,
    "memory_bandwidth": lambda leaf: leaf.endswith(".memory.bandwidth"),
    "memory_capacity": lambda leaf: leaf.endswith(".memory.capacity"),
    "link_bandwidth": lambda leaf: leaf.endswith((".host_link.bandwidth", ".scale_up.bandwidth", ".fabric.bandwidth")),
    "overhead": lambda leaf: leaf.endswith("_overhead"),
}
"""What can be bought or tuned, by which leaves of the equations it is."""
FIRST = ("peak_flops", "memory_bandwidth", "memory_capacity")


@dataclass(frozen=True)
class SensitivityResult:
    """What an output answers to.

    Attributes:
        output: its name. baseline: its value. feasible: whether every constraint holds.
        sensitivities: elasticities (percent for one percent) to peak FLOP/s, memory bandwidth and memory capacity.
        levers: the same of every lever, links and overheads among them.
        elasticities: the same of every continuous number of the equations, by path, the largest first.
        binding_constraint: the lever with the largest elasticity.
        changes: the relative change of the output when a lever grows by `perturbation_pct`, exactly.
        note: what must be changed before any lever counts, where something must.
    """

    output: str
    baseline: Quantity[float]
    feasible: bool
    perturbation_pct: float
    sensitivities: dict[str, float]
    levers: dict[str, float]
    elasticities: dict[str, float]
    binding_constraint: str
    changes: dict[str, float]
    note: str | None

    @property
    def baseline_latency(self) -> Quantity[float]:
        """The same as `baseline`."""
        return self.baseline


class SensitivitySolver:
    """Elasticities of an output of a model, by differentiating its equations.

    An elasticity of -0.88 to the memory bandwidth means: one percent more bandwidth is 0.88 percent less latency. It
    holds for small changes; `changes` are the exact answers for changes of `perturbation_pct`.
    """

    wall = 21

    def solve(
        self,
        model: Any,
        hardware: Any = None,
        precision: str = "fp16",
        perturbation_pct: float = 10.0,
        efficiency: float | None = None,
        *,
        using: Model | type[Model] = SingleNodeModel,
        output: str = "latency",
        **given: Any,
    ) -> SensitivityResult:
        """Return what an output answers to.

        Where memory does not suffice, the answer is that of the pass with everything in memory (`latency_resident`),
        and `note` says what must change first.

        Args:
            model, hardware, precision, efficiency, given: inputs of the model that is asked.
            perturbation_pct: the change for `changes`, in percent.
            using: the model that is asked. output: its output.
        Raises:
            InputError: an input is wrong, or the output is not a number above zero.
        """
        if not -100 < perturbation_pct < 1e6 or perturbation_pct == 0:
            raise InputError(f"{perturbation_pct} percent is no change to look at", path="perturbation_pct")
        asked = using() if isinstance(using, type) else using
        known = {item.name for item in asked.inputs}
        usual = {"model": model, "hardware": hardware, "precision": precision, "efficiency": efficiency}
        inputs = {**{name: value for name, value in usual.items() if name in known and value is not None}, **given}
        solved = asked.solve(**inputs)
        note = None
        unmet = not solved.constraints.get("memory fits", True)
        if output == "latency" and unmet and "latency_resident" in type(solved).field_names():
            output = "latency_resident"
            short = solved.si("memory_footprint") - solved.si("memory_available")
            note = f"memory first: {short / 2**30:.3g} GiB are missing; the levers are those of a device that has them"
        elasticities = sensitivity(asked, output, inputs)
        levers = {
            lever: sum(value for leaf, value in elasticities.items() if belongs(leaf)) + 0.0
            for lever, belongs in LEVERS.items()
        }
        return SensitivityResult(
            output=output,
            baseline=getattr(solved, output),
            feasible=solved.feasible,
            perturbation_pct=perturbation_pct,
            sensitivities={name: levers[name] for name in FIRST},
            levers=levers,
            elasticities=elasticities,
            binding_constraint=max(levers, key=lambda lever: abs(levers[lever])),
            changes=changes(asked, output, inputs, 1 + perturbation_pct / 100),
            note=note,
        )


def changes(model: Model, output: str, inputs: Mapping[str, Any], factor: float) -> dict[str, float]:
    """Return the relative change of an output when each lever is multiplied by `factor`."""
    values = model.check(**inputs)
    traced = model.trace(values)
    named = model.leaf_values(values)
    place = traced.position[output]

    def value(belongs: Callable[[str], bool]) -> float:
        scaled = [named[leaf] * factor if belongs(leaf) else named[leaf] for leaf in traced.leaf_names]
        return float(traced.program.run(scaled)[place])

    base = value(lambda leaf: False)
    return {lever: value(belongs) / base - 1 for lever, belongs in LEVERS.items()}
