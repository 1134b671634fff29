"""What an optimum answers to: its elasticities, and how far its design stays optimal as one number changes.

At a fixed design the objective is a smooth function of prices, rates and efficiencies, and the optimum moves with them
as the objective at the optimal design does (envelope theorem; Milgrom and Segal 2002), until another design is better
or this one violates a constraint. That point is found among the designs that are known, and then the whole space is
searched there: a design that is better joins the known ones, until none is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, symbols
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.search import TIE, Design, Outcome, Search
from mlsysim_opt.units import show

if TYPE_CHECKING:
    from mlsysim_opt.optimize.run import Task

KEPT = 64
"""Designs that are known before any number is changed, ties among them."""
ROUNDS = 60
"""Designs that may join them for one number and direction."""
POINTS = 65
"""Factors of each look among the known designs."""
PROBES = 2
"""Factors between one and the end of a range at which the whole space is searched too."""
BETTER = 4 * TIE
"""Relative difference from which a design is better than another."""


@dataclass(frozen=True)
class DesignChange:
    """Where a design stops to be optimal as one number changes alone.

    Attributes:
        factor: how many times its present value the number is there. value: the number there, as text.
        because: another design is better, or the constraint that the design violates.
        design: the best design just beyond; None where there is none. changed: its decisions that differ.
        confirmed: whether a search of the whole space just before found nothing better.
    """

    factor: float
    value: str
    because: str
    design: dict[str, Any] | None
    changed: dict[str, Any]
    confirmed: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "factor": self.factor, "value": self.value, "because": self.because, "design": self.design,
            "changed": self.changed, "confirmed": self.confirmed,
        }  # fmt: skip

    def __str__(self) -> str:
        new = ", ".join(f"{name}={value}" for name, value in self.changed.items()) or "no design"
        return f"{self.factor:.4g}x ({self.value}): {self.because}; then {new}"


@dataclass(frozen=True)
class OptimumNumber:
    """What an optimum answers to one continuous number.

    Attributes:
        name, value: the number. below, above: elasticity of the best objective towards smaller and larger values; they
            differ where several designs tie.
        low, high: where the design stops to be optimal, downwards and upwards; None: nowhere within the reach.
        searched: the factors at which the whole space was searched and nothing better found.
        looked: the smallest and the largest factor looked at; a share is not made larger than one.
    """

    name: str
    value: str
    below: float
    above: float
    low: DesignChange | None
    high: DesignChange | None
    searched: tuple[float, ...]
    looked: tuple[float, float]

    @property
    def elasticity(self) -> float:
        """The elasticity; where designs tie, the larger one in size of both sides."""
        return self.below if abs(self.below) >= abs(self.above) else self.above

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "value": self.value, "below": self.below, "above": self.above,
            "low": self.low.as_dict() if self.low else None, "high": self.high.as_dict() if self.high else None,
            "searched": list(self.searched),
        }  # fmt: skip


@dataclass(frozen=True)
class OptimumSensitivity:
    """What an optimum answers to.

    Attributes:
        problem, objective_name, objective, design: what was asked, and the answer.
        numbers: by path, the largest elasticity first.
        reach: factor up to which numbers were changed. tie_count: designs that are as good; elasticities are those of
            the first 64 of them.
        searches: how often the whole space was searched. designs: how many were compared at all factors.
    """

    problem: str
    objective_name: str
    objective: Value
    design: dict[str, Any]
    numbers: dict[str, OptimumNumber]
    reach: float
    tie_count: int
    searches: int
    designs: int

    @property
    def elasticities(self) -> dict[str, float]:
        """The elasticity of the best objective to each number."""
        return {name: item.elasticity for name, item in self.numbers.items()}

    @property
    def proof(self) -> str:
        """What is proven, and to which resolution."""
        return (
            f"the whole space was searched {self.searches} times: at the end of every range, and at {PROBES} factors "
            f"inside; between them {self.designs} designs were compared"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "problem": self.problem,
            "objective": {"name": self.objective_name, **self.objective.as_dict()},
            "design": self.design,
            "reach": self.reach,
            "tie_count": self.tie_count,
            "numbers": {name: item.as_dict() for name, item in self.numbers.items()},
            "proof": self.proof,
        }

    def __str__(self) -> str:
        from mlsysim_opt.solvers.tornado import cells, rendered

        rows = []
        for item in self.numbers.values():
            ends = [
                f"{end.factor:.4g}x" if end else f"beyond {far:.4g}x"
                for end, far in zip((item.low, item.high), item.looked, strict=True)
            ]
            elasticity = f"{item.above:+.4f}" if item.below == item.above else f"{item.below:+.4f} | {item.above:+.4f}"
            rows.append([item.name, item.value, elasticity, *ends])
        changes = [[item.name, str(end)] for item in self.numbers.values() for end in (item.low, item.high) if end]
        lines = [
            f"{self.objective_name} = {self.objective} with "
            + ", ".join(f"{name}={value}" for name, value in self.design.items()),
            *([f"{self.tie_count} designs tie"] if self.tie_count > 1 else []),
            "", "Elasticity of the optimum, and the factors between which its design stays optimal",
            rendered(*cells((("number", ">value", ">elasticity", ">from", ">to"), rows))),
            *(["", "What ends it", rendered(*cells((("number", "at"), changes)))] if changes else []),
            "", self.proof,
        ]  # fmt: skip
        return "\n".join(lines)


def sensitivity(
    task: Task, design: Mapping[str, Any], numbers: Sequence[str] | None, reach: float
) -> OptimumSensitivity:
    """Return what the optimum of a task answers to; see `Solution.sensitivity`.

    Raises:
        UnknownNameError: neither objective nor constraints depend on a number of this name.
        InputError: the reach is not above 1, or the design is not optimal.
    """
    if not 1 < reach <= 1e6:
        raise InputError(f"{reach} is not a factor above 1", path="reach", hint="such as 2 or 4")
    return _Optimum(task, design, reach).study(numbers)


class _Optimum:
    """The optimum of a task, and the designs that are known to compete with it."""

    def __init__(self, task: Task, design: Mapping[str, Any], reach: float) -> None:
        self.task, self.reach = task, reach
        problem = task.problem
        self.design: Design = tuple(choice.position[design[choice.name]] for choice in problem.choices)
        rules = [item.holds for item in problem.constraints]
        roots: list[Expression] = [task.objective.cost, *rules]
        self.program = ArrayProgram(roots)
        self.leaves = {item.name: item for item in symbols(*roots) if not item.integer and problem.values[item.name]}
        self.searches = 0
        outcome = self.search({}, keep=KEPT)
        best = outcome.best
        self.known: list[Design] = [self.design, *(item.design for item in best if item.design != self.design)]
        self.best = self.cost(self.design)
        if not best or self.best > best[0].cost + TIE * abs(best[0].cost):
            raise InputError("this design is not the optimum of its task", path="design", hint="optimize again")
        tied = [item.design for item in best if item.cost <= self.best + TIE * abs(self.best)]
        self.tied = list(dict.fromkeys([self.design, *tied]))
        self.ties = max(1, outcome.ties)

    def search(self, factors: Mapping[str, float], keep: int = 1) -> Outcome:
        """Search the whole space, with some numbers multiplied."""
        made = self.task.search(keep=keep)
        values = {**made.values, **{name: made.values[name] * factor for name, factor in factors.items()}}
        changed = Search(made.choices, made.cost, made.structural, made.questioned, values, keep)
        self.searches += 1
        return changed.run()

    def cost(self, design: Design, factors: Mapping[str, float] | None = None) -> float:
        """Return what a design costs."""
        values = self.task.problem.values
        scaled = {**values, **{name: values[name] * factor for name, factor in (factors or {}).items()}}
        return float(ScalarProgram([self.task.objective.cost]).run_named({**scaled, **self.named(design)})[0])

    def named(self, design: Design) -> dict[str, Any]:
        return self.task.design_values(design)

    # elasticities -----------------------------------------------------------------------------------------------------
    def elasticities(self) -> dict[str, tuple[float, float]]:
        """Return the elasticity from below and from above: of designs that tie, the cheaper one on each side."""
        cost, values = self.task.objective.cost, self.task.problem.values
        wanted = {item.name: item for item in symbols(cost) if not item.integer and values[item.name]}
        if not wanted or not self.best:
            return {}
        program = ScalarProgram(gradient(cost, list(wanted.values())))
        slopes = [program.run_named({**values, **self.named(design)}) for design in self.tied]
        found: dict[str, tuple[float, float]] = {}
        for at, name in enumerate(wanted):
            mine = [slope[at] for slope in slopes if math.isfinite(slope[at])]
            if mine:
                scale = values[name] / self.best
                found[name] = max(mine) * scale, min(mine) * scale
        return found

    def study(self, numbers: Sequence[str] | None) -> OptimumSensitivity:
        """Return what the optimum answers to these numbers, or to all."""
        for name in numbers or ():
            if name not in self.leaves:
                raise UnknownNameError("number of the problem", name, list(self.leaves), path="numbers")
        elasticities = self.elasticities()
        found = []
        for name in self.leaves if numbers is None else dict.fromkeys(numbers):
            leaf = self.leaves[name]
            (low, below), (high, above) = self.end(leaf, up=False), self.end(leaf, up=True)
            value = show(self.task.problem.values[name], leaf.dimension)
            sides = elasticities.get(name, (0.0, 0.0))
            searched = tuple(sorted({*below, *above}))
            found.append(OptimumNumber(name, value, *sides, low, high, searched, self.limits(leaf)))
        found.sort(key=lambda item: -max(abs(item.below), abs(item.above)))
        objective = self.task.objective
        sign = 1.0 if objective.sense == "min" else -1.0
        return OptimumSensitivity(
            problem=self.task.problem.name,
            objective_name=objective.name,
            objective=self.task.shown(objective.expression, sign * self.best),
            design=self.named(self.design),
            numbers={item.name: item for item in found},
            reach=self.reach,
            tie_count=self.ties,
            searches=self.searches,
            designs=len(self.known),
        )

    # ranges -----------------------------------------------------------------------------------------------------------
    def end(self, leaf: Symbol, *, up: bool) -> tuple[DesignChange | None, list[float]]:
        """Return where the design stops to be optimal in one direction, and where the whole space was searched."""
        far = self.limits(leaf)[up]
        if not (far > 1 if up else far < 1):
            return None, []
        searched: list[float] = []
        for turn in range(ROUNDS):
            bracket = self.among_known(leaf, far)
            at = far if bracket is None else bracket[0]
            probes = [at ** (step / (PROBES + 1)) for step in range(1, PROBES + 1)] if at != 1 else []
            nearer = (factor for factor in searched if abs(math.log(factor)) < abs(math.log(at)))
            clear = max(nearer, key=lambda factor: abs(math.log(factor)), default=1.0)
            # rivals may be many, each better a little earlier than the last: what is left is halved before its end
            halfway = [math.sqrt(clear * at)] if turn else []
            for factor in [*halfway, at, *probes]:
                rival = None if factor in searched else self.better(leaf, factor)
                if rival is not None:
                    break
                searched.append(factor)
            else:
                return (None if bracket is None else self.change(leaf, bracket[1], confirmed=True)), searched
            if rival in self.known:  # the two evaluations differ in the last digits: it is a tie
                break
            self.known.append(rival)
        bracket = self.among_known(leaf, far)
        return (None if bracket is None else self.change(leaf, bracket[1], confirmed=False)), searched

    def limits(self, leaf: Symbol) -> tuple[float, float]:
        """Return the smallest and the largest factor of a number that is within reach and its own bounds."""
        ends = sorted(bound / self.task.problem.values[leaf.name] for bound in (leaf.low, leaf.high))
        return max(1 / self.reach, ends[0]), min(self.reach, ends[1])

    def better(self, leaf: Symbol, factor: float) -> Design | None:
        """Return a design of the whole space that is better than this one when a number is multiplied."""
        found = self.search({leaf.name: factor}).best
        if not found or found[0].design == self.design:
            return None
        mine = self.cost(self.design, {leaf.name: factor})
        return found[0].design if found[0].cost < mine - BETTER * abs(mine) else None

    def among_known(self, leaf: Symbol, far: float) -> tuple[float, float] | None:
        """Return the last factor at which no known design is better, and the first at which one is."""
        inside, beyond = 1.0, far
        factors = np.exp(math.log(far) * np.linspace(0.0, 1.0, POINTS))
        factors[-1] = far
        for _ in range(12):
            stays = self.stays(leaf, factors)
            stays[0] = True  # it was proven there
            if stays.all():
                return None
            first = int(np.argmin(stays))
            inside, beyond = float(factors[first - 1]), float(factors[first])
            if abs(beyond - inside) <= 4 * math.ulp(max(inside, beyond)):
                break
            factors = np.linspace(inside, beyond, POINTS)
        return inside, beyond

    def stays(self, leaf: Symbol, factors: Any) -> Any:
        """Return at which factors the design is feasible and no known one that is feasible is better."""
        cost, feasible, _ = self.evaluated(leaf, factors)
        others = np.where(feasible[1:], cost[1:], np.inf).min(axis=0, initial=np.inf)
        margin = BETTER * np.where(np.isfinite(cost[0]), np.abs(cost[0]), 0.0)
        return feasible[0] & (others >= cost[0] - margin)

    def evaluated(self, leaf: Symbol, factors: Any) -> tuple[Any, Any, list[Any]]:
        """Return cost, feasibility and the truth of each constraint for every known design and factor."""
        problem = self.task.problem
        values: dict[str, Any] = dict(problem.values)
        values[leaf.name] = (problem.values[leaf.name] * factors)[None, :]
        for at, choice in enumerate(problem.choices):
            values[choice.name] = np.array([design[at] for design in self.known])[:, None]
        shape = (len(self.known), len(factors))
        cost, *truths = (np.broadcast_to(item, shape) for item in self.program.run(values, shape))
        feasible = np.isfinite(cost)
        for truth in truths:
            feasible = feasible & truth.astype(bool)
        return cost, feasible, list(truths)

    def change(self, leaf: Symbol, factor: float, *, confirmed: bool) -> DesignChange:
        """Return what ends the range of a number at this factor."""
        _, feasible, truths = self.evaluated(leaf, np.array([factor]))
        because = "another design is better"
        if not feasible[0, 0]:
            names = [item.name for item in self.task.problem.constraints]
            violated = [name for name, truth in zip(names, truths, strict=True) if not truth[0, 0]]
            because = f"{violated[0]!r} is violated" if violated else "the objective has no value"
        beyond = 1 + (factor - 1) * (1 + 1e-9) if factor != 1 else factor
        found = self.search({leaf.name: beyond}, keep=2).best
        best = next((item.design for item in found if item.design != self.design), None)
        design = None if best is None else self.named(best)
        mine = self.named(self.design)
        changed = {name: value for name, value in (design or {}).items() if value != mine[name]}
        value = show(self.task.problem.values[leaf.name] * factor, leaf.dimension)
        return DesignChange(factor, value, because, design, changed, confirmed)


def sensitivity_of_task(task: Task, numbers: Sequence[str] | None, reach: float) -> OptimumSensitivity:
    """Return what the optimum of a task answers to, after finding it."""
    from mlsysim_opt.optimize.run import proven

    return sensitivity(task, proven(task).design, numbers, reach)


__all__ = ["DesignChange", "OptimumNumber", "OptimumSensitivity", "sensitivity", "sensitivity_of_task"]
