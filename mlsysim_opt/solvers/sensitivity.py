"""Which number should be better first, how far that holds, and what comes after: wall 21."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.base import Model, model_of
from mlsysim_opt.physics.node import SingleNodeModel
from mlsysim_opt.physics.questions import sensitivity
from mlsysim_opt.solvers.changes import Changes, RegimeChange, label_now, sides
from mlsysim_opt.solvers.margins import Margin, WayOut, margins, ways_out
from mlsysim_opt.solvers.point import Point, measured, number_outputs, plain
from mlsysim_opt.units import show

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
class NumberSensitivity:
    """What an output answers to one continuous number of the equations.

    Attributes:
        name: the path of the number. value: what it is.
        elasticity: percent of the output for one percent of the number; at a kink, on the side whose branch is live.
        below, above: the elasticity towards smaller and towards larger values; they differ at a kink only.
        kink: the branches that meet at the present value, where they do.
        up, down: the exact relative change of the output when the number grows and when it shrinks by the percentage
            asked for; None where it cannot (a share above 1), or where the output has no value there.
        regimes: where, and to what, the regime changes as this number changes alone; the nearest first.
        text: the value as it is shown.
    """

    name: str
    value: Any
    elasticity: float
    below: float | None
    above: float | None
    kink: str | None
    up: float | None
    down: float | None
    regimes: tuple[RegimeChange, ...]
    text: str
    _plain: dict[str, Any] = field(repr=False)

    @property
    def swing(self) -> float:
        """How far the output moves between both changes."""
        return _swing(self.up, self.down)

    @property
    def holds_between(self) -> tuple[float, float]:
        """The factors of the number between which the elasticity is that of the same branches of the equations."""
        ends = [item.factor for item in self.regimes if item.kind in ("kink", "end")]
        low = max((item for item in ends if item < 1), default=0.0)
        return (1.0 if self.kink else low), min((item for item in ends if item > 1), default=math.inf)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            **self._plain,
            "elasticity": self.elasticity, "below": self.below, "above": self.above, "kink": self.kink,
            "up": self.up, "down": self.down, "regimes": [item.as_dict() for item in self.regimes],
        }  # fmt: skip


@dataclass(frozen=True)
class SensitivityResult:
    """What an output answers to.

    Attributes:
        output: its name. baseline: its value. feasible: whether every constraint holds.
        perturbation_pct: the change that `changes`, `numbers` and the tornado are for, in percent.
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
    assumptions: dict[str, str] = field(default_factory=dict)
    _point: Point = field(repr=False, compare=False, kw_only=True)

    @property
    def baseline_latency(self) -> Quantity[float]:
        """The same as `baseline`."""
        return self.baseline

    # what is looked at when it is asked for ---------------------------------------------------------------------------
    @cached_property
    def numbers(self) -> dict[str, NumberSensitivity]:
        """Every continuous number of the equations of the output, the largest swing first: one-sided elasticities,
        exact changes, and where its regime ends; then those that only constraints depend on."""
        point, found = self._point, []
        changes = Changes(point)
        kinked = changes.kinked()
        beside = sides(point, kinked)
        beyond = changes.all()
        for name, leaf in point.numbers.items():
            here = self.elasticities.get(name, 0.0)
            below, above = beside.get(name, (here, here))
            regimes = [*beyond.get((name, True), ()), *beyond.get((name, False), ())]
            found.append(
                NumberSensitivity(
                    name=name,
                    value=measured(point.named[name], leaf.dimension),
                    elasticity=here,
                    below=below,
                    above=above,
                    kink=kinked.get(name),
                    up=self.change(name),
                    down=self.change(name, -self.perturbation_pct),
                    regimes=tuple(sorted(regimes, key=lambda item: abs(math.log(item.factor)))),
                    text=show(point.named[name], leaf.dimension),
                    _plain=plain(point.named[name], leaf.dimension),
                )
            )
        return {item.name: item for item in sorted(found, key=lambda item: (-item.swing, -abs(item.elasticity)))}

    @cached_property
    def limits(self) -> dict[str, str]:
        """What limits the output now, as the labels of the model that are made of the same equations say."""
        return label_now(self._point)

    @cached_property
    def regimes(self) -> tuple[RegimeChange, ...]:
        """Every regime change of every number, the nearest first."""
        every = [change for item in self.numbers.values() for change in item.regimes]
        return tuple(sorted(every, key=lambda item: abs(math.log(item.factor))))

    @cached_property
    def constraints(self) -> dict[str, Margin]:
        """Each named constraint with its slack."""
        return margins(self._point)

    @property
    def violated(self) -> list[Margin]:
        """The constraints that do not hold."""
        return [item for item in self.constraints.values() if not item.holds]

    @property
    def tightest(self) -> Margin | None:
        """Of the constraints that hold, the inequality with the smallest slack relative to its limit."""
        held = [item for item in self.constraints.values() if item.holds and item.relative is not None]
        return min(held, key=lambda item: item.relative or 0.0, default=None)

    @cached_property
    def ways_out(self) -> tuple[WayOut, ...]:
        """For each violated constraint, the numbers whose change alone makes it hold, by its inverse."""
        return tuple(way for item in self.violated for way in ways_out(self._point, item.name))

    def change(self, name: str, percent: float | None = None) -> float | None:
        """Return the exact relative change of the output when one number, or a lever, changes by so many percent.

        Args:
            name: a lever (``memory_bandwidth``), or a continuous number by its path (``hardware.memory.bandwidth``).
            percent: of the number; that of the question when absent.
        Returns:
            the change, -0.08 for 8 percent less; None where the number cannot have the value, or the output has none.
        Raises:
            UnknownNameError: the output does not depend on a number of this name. InputError: no percentage.
        """
        share = self.perturbation_pct if percent is None else percent
        _check_percent(share)
        factor = 1 + share / 100
        if name in LEVERS:
            return self._point.change([leaf for leaf in self._point.traced.leaf_names if LEVERS[name](leaf)], factor)
        if name not in self._point.numbers:
            raise UnknownNameError(f"number that {self.output} depends on", name, [*LEVERS, *self._point.numbers])
        return self._point.change([name], factor)

    # showing ----------------------------------------------------------------------------------------------------------
    def swings(self, of: str = "numbers") -> list[tuple[str, float | None, float | None]]:
        """Return name, change for less and change for more, the largest swing first.

        Args:
            of: ``numbers`` or ``levers``.
        """
        if of not in ("numbers", "levers"):
            raise UnknownNameError("part of a tornado", of, ["numbers", "levers"], path="of")
        if of == "numbers":
            return [(item.name, item.down, item.up) for item in self.numbers.values() if item.swing]
        rows = [(name, self.change(name, -self.perturbation_pct), self.change(name)) for name in LEVERS]
        return sorted((row for row in rows if _swing(*row[1:])), key=lambda row: -_swing(*row[1:]))

    def tornado(self, of: str = "numbers", *, most: int = 15, plain: bool = False) -> str:
        """Return the tornado as text: the changes of the output, and a bar from one to the other.

        Args:
            of: ``numbers`` or ``levers``. most: rows. plain: without characters beyond ASCII.
        """
        from mlsysim_opt.solvers.tornado import tornado_text

        return tornado_text(self, of, most=most, plain=plain)

    def plot_tornado(self, path: str | Path, of: str = "numbers", *, most: int = 15) -> Path:
        """Write the tornado as a picture and return its path; needs matplotlib, the extra ``plots``.

        Args:
            path: where to; its ending says the format (png, svg, pdf). of: ``numbers`` or ``levers``. most: bars.
        Raises:
            LibraryMissingError: matplotlib is not installed. InputError: the ending is of no known format.
            FileError: the file cannot be written.
        """
        from mlsysim_opt.solvers.plots import plot_tornado

        return plot_tornado(self, path, of, most=most)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON data."""
        point = self._point
        return {
            "model": type(point.model).__name__,
            "output": self.output,
            "baseline": plain(point.base, point.root.dimension),
            "feasible": self.feasible,
            "perturbation_pct": self.perturbation_pct,
            "limits": self.limits,
            "levers": {name: {"elasticity": value, "up": self.change(name),
                              "down": self.change(name, -self.perturbation_pct)}
                       for name, value in self.levers.items()},
            "binding_lever": self.binding_constraint,
            "numbers": {name: item.as_dict() for name, item in self.numbers.items()},
            "constraints": [item.as_dict() for item in self.constraints.values()],
            "ways_out": [item.as_dict() for item in self.ways_out],
            "note": self.note,
            "assumptions": self.assumptions,
        }  # fmt: skip

    def __str__(self) -> str:
        from mlsysim_opt.solvers.tornado import sensitivity_text

        return sensitivity_text(self)


@dataclass(frozen=True)
class ElasticityTable:
    """Elasticities of every output of a model to every continuous number.

    Attributes:
        elasticities: by output, then by number; a number that is absent plays no part.
        without: outputs without elasticities, and why: they are zero, or need a number that is not known.
    """

    elasticities: dict[str, dict[str, float]]
    without: dict[str, str]

    def __getitem__(self, output: str) -> dict[str, float]:
        if output not in self.elasticities:
            raise UnknownNameError("output with elasticities", output, self.elasticities,
                                   hint=self.without.get(output))  # fmt: skip
        return self.elasticities[output]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"elasticities": self.elasticities, "without": self.without}

    def __str__(self) -> str:
        from mlsysim_opt.solvers.tornado import table_text

        return table_text(self)


class SensitivitySolver:
    """Elasticities of an output of a model, by differentiating its equations.

    An elasticity of -0.88 to the memory bandwidth means: one percent more bandwidth is 0.88 percent less latency. It
    holds for small changes, and as long as the regime stays; `changes` are the exact answers for changes of
    `perturbation_pct`, and `numbers` says of each number how far the regime holds and which one is next.

    Source: Saltelli et al. 2008, Global Sensitivity Analysis: The Primer, 1.2 (elasticities, one number at a time).
    """

    wall = 21

    def solve(
        self,
        model: Any = None,
        hardware: Any = None,
        precision: str | None = "fp16",
        perturbation_pct: float = 10.0,
        efficiency: float | None = None,
        *,
        using: Model | type[Model] = SingleNodeModel,
        output: str = "latency",
        **given: Any,
    ) -> SensitivityResult:
        """Return what an output answers to.

        Where memory does not suffice, the answer is that of the pass with everything in memory (`latency_resident`),
        and `note` says what must change first, by how much; where any other constraint is violated, the answer is that
        of the equations as they are, and `note` says the same.

        Args:
            model, hardware, precision, efficiency, given: inputs of the model that is asked; those that are None are
                left to its defaults. The precision is fp16 where the model has one.
            perturbation_pct: the change for `changes`, in percent.
            using: the model that is asked. output: its output.
        Raises:
            InputError: an input is wrong, or the output is not a number other than zero.
        """
        _check_percent(perturbation_pct)
        asked = model_of(using)
        known = {*(item.name for item in asked.inputs), *asked.aliases}
        usual = {"model": model, "hardware": hardware, "precision": precision, "efficiency": efficiency}
        if "precision" not in known and precision == "fp16":
            del usual["precision"]  # nobody asked for it
        inputs = {**{name: value for name, value in usual.items() if value is not None}, **given}
        values = asked.check(**inputs)
        solved = asked.solved(values)
        resident = None
        if output == "latency" and not solved.constraints.get("memory fits", True):
            resident = "latency_resident" if "latency_resident" in type(solved).field_names() else None
        point = Point(asked, values, resident or output)
        elasticities = sensitivity(asked, point.output, inputs)
        levers = {
            lever: sum(value for leaf, value in elasticities.items() if belongs(leaf)) + 0.0
            for lever, belongs in LEVERS.items()
        }
        return SensitivityResult(
            output=point.output,
            baseline=getattr(solved, point.output),
            feasible=solved.feasible,
            perturbation_pct=perturbation_pct,
            sensitivities={name: levers[name] for name in FIRST},
            levers=levers,
            elasticities=elasticities,
            binding_constraint=max(levers, key=lambda lever: abs(levers[lever])),
            changes=changes(asked, point.output, inputs, 1 + perturbation_pct / 100),
            note=None if solved.feasible else _note(point, solved, with_memory=resident is not None),
            assumptions=solved.assumptions,
            _point=point,
        )

    def every_output(self, using: Model | type[Model] = SingleNodeModel, **given: Any) -> ElasticityTable:
        """Return the elasticity of every output of a model to every continuous number it depends on.

        Args:
            using: the model. given: its inputs.
        Raises:
            InputError: an input is wrong.
        """
        asked = model_of(using)
        traced = asked.trace(asked.check(**given))
        found: dict[str, dict[str, float]] = {}
        without: dict[str, str] = {
            name: item.message for name, item in traced.result.__dict__.items() if isinstance(item, MlsysimError)
        }
        for name in number_outputs(traced.expressions):
            try:
                found[name] = sensitivity(asked, name, given)
            except InputError as error:
                without[name] = error.message
        return ElasticityTable(found, without)

    def of_optimum(self, asked: Any, *, numbers: Any = None, reach: float = 4.0) -> Any:
        """Return what the optimum of a decision answers to, and how far its design stays optimal.

        Args:
            asked: a `Solution` of `optimize`, or a `Task`.
            numbers: the numbers to look at, by path; all continuous ones when absent.
            reach: how many times as large and as small they are made at most.
        Returns:
            an `OptimumSensitivity`; see `Solution.sensitivity`.
        Raises:
            InputError: `asked` is neither.
        """
        ask = getattr(asked, "sensitivity", None)
        if isinstance(asked, Model | type) or not callable(ask):
            raise InputError(
                f"expected a solution of optimize(), got {type(asked).__name__}", path="asked",
                hint="for an output of a model, use solve(using=...)",
            )  # fmt: skip
        return ask(numbers=numbers, reach=reach)


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


def _check_percent(percent: float) -> None:
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not -100 < percent < 1e6 or percent == 0:
        raise InputError(f"{percent!r} percent is no change to look at", path="perturbation_pct", hint="such as 10")


def _swing(up: float | None, down: float | None) -> float:
    return max(up or 0.0, down or 0.0, 0.0) - min(up or 0.0, down or 0.0, 0.0)


def _note(point: Point, solved: Any, *, with_memory: bool) -> str:
    """Return what must change before any lever counts: the first violated constraint, by how much, in which number."""
    item = next(margin for margin in margins(point).values() if not margin.holds)
    ways = " or ".join(str(way) for way in ways_out(point, item.name)[:2])
    how = f" ({ways})" if ways else ""
    if with_memory:
        short = solved.si("memory_footprint") - solved.si("memory_available")
        return f"memory first: {short / 2**30:.3g} GiB are missing{how}; the levers are those of a device that has them"
    if not math.isfinite(point.base):
        how += f"; until then {point.output} is {point.base}, and nothing changes it by a percentage"
        return f"{item.name!r} first: it is violated{how}"
    over = f"is over by {item.text.removeprefix('-')}" if item.slack is not None else "does not hold"
    return f"{item.name!r} first: it {over}{how}; the levers are those of the same equations without it"


__all__ = [
    "LEVERS", "ElasticityTable", "NumberSensitivity", "SensitivityResult", "SensitivitySolver", "changes",
]  # fmt: skip
