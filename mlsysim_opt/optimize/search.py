"""Exhaustive search over the tables of a problem: the first-class backend, and the oracle of every other one.

One pass over the space keeps the best designs, all ties, the best design that violates each single constraint (what the
constraint costs), and, where nothing is feasible, which sets of constraints the designs violate.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.evaluate import Axes, GridProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Operation, topological
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.optimize.problem import Constraint
from mlsysim_opt.optimize.space import Domain, spaces

TIE = 1e-12
"""Objectives closer than this, relatively, are ties: the error of evaluating them in another order."""
MANY = 4096
"""More ties than this are counted but not listed."""

Design = tuple[int, ...]
"""Positions of the chosen values, in the order of the choices."""


@dataclass(order=True)
class Found:
    """A design with its cost (what is minimised) and its place in the space."""

    cost: float
    design: Design


@dataclass
class Violation:
    """The best design that satisfies all constraints but one, and the smallest violation of that one."""

    best: Found | None = None
    least: float = np.inf
    least_design: Design | None = None
    least_cost: float = np.inf


@dataclass
class Outcome:
    """What a pass over the space found.

    Attributes:
        best: the best designs, cheapest first. ties: how many share the smallest cost.
        feasible, evaluated, excluded: numbers of points that satisfy all, that were computed, and that are undefined.
        single: for each questioned constraint, the designs that violate it alone.
        violated: the sets of questioned constraints that some design violates, none containing another.
        pruned: combinations of boxes left out because their bound cannot beat what is known.
    """

    choices: list[Choice]
    best: list[Found] = field(default_factory=list)
    ties: int = 0
    feasible: int = 0
    evaluated: int = 0
    excluded: int = 0
    structural: int = 0
    pruned: int = 0
    single: list[Violation] = field(default_factory=list)
    violated: set[int] = field(default_factory=set)


class Search:
    """A search for the cheapest designs.

    Args:
        choices: the decisions, in the order of `Design`.
        cost: what to minimise.
        structural: constraints that define a design; applied when choices are joined.
        questioned: constraints evaluated on every design.
        values: bindings of the symbols.
        keep: how many of the best designs are kept.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        cost: Expression,
        structural: Sequence[Expression],
        questioned: Sequence[Constraint],
        values: Mapping[str, float],
        keep: int = 16,
    ) -> None:
        self.choices = list(choices)
        self.cost = cost
        self.structural = list(structural)
        self.questioned = list(questioned)
        self.values = values
        self.keep = keep

    def run(
        self, fixed: Mapping[Choice, int] | None = None, *, diagnose: bool = False, better_than: float = np.inf
    ) -> Outcome:
        """Search the whole space (or the part where some choices are fixed).

        Args:
            fixed: choices that may not vary, with the position of their value.
            diagnose: also record which constraints designs violate, and by how much.
            better_than: designs that violate one constraint are of interest only below this cost.
        """
        outcome = Outcome(self.choices, single=[Violation() for _ in self.questioned])
        domain = Domain.of(self.choices, fixed)
        for box, axes in spaces(domain, self.structural, self.values):
            outcome.structural += axes.points
            if not diagnose and self._cannot_beat(box, outcome):
                outcome.pruned += axes.points
                continue
            for part in self.evaluated(axes, diagnose):
                self._take(part, outcome, better_than if diagnose else None)
        if outcome.best:
            smallest = outcome.best[0].cost
            outcome.best = [item for item in outcome.best if item.cost < np.inf]
            outcome.ties = max(outcome.ties, sum(1 for item in outcome.best if _tied(item.cost, smallest)))
        return outcome

    def _cannot_beat(self, box: Domain, outcome: Outcome) -> bool:
        """Return whether interval bounds prove that no design of the box beats the worst design kept."""
        if len(outcome.best) < self.keep or box.size == 0:
            return False
        limits = {
            choice.name: Interval(
                float(min(choice.values[index] for index in positions)),
                float(max(choice.values[index] for index in positions)),
            )
            if choice.numeric
            else Interval(float(positions.min()), float(positions.max()))
            for choice, positions in box.positions.items()
        }
        known = {name: Interval(value, value) for name, value in self.values.items()}
        return bounds(self.cost, {**known, **limits}).low > outcome.best[-1].cost

    def evaluated(self, axes: Axes, sides: bool = False) -> Iterator[Part]:
        """Yield the space in blocks: cost and truth of each questioned constraint at every point."""
        wanted: list[Expression] = [self.cost, *(item.holds for item in self.questioned)]
        slots: list[int | None] = []
        if sides:
            for item in self.questioned:
                slots.append(len(wanted) if item.sides else None)
                if item.sides:
                    wanted.append(item.sides[0] - item.sides[1])
        program = GridProgram(wanted, self.values, axes)
        count = len(self.questioned)
        for start, _, values in program.blocks():
            excess = [values[slot] if slot is not None else None for slot in slots]
            yield Part(self.choices, axes, start, values[0], values[1 : 1 + count], excess)

    def _take(self, part: Part, outcome: Outcome, diagnose: float | None) -> None:
        cost = part.cost
        defined = ~np.isnan(cost)
        feasible = defined.copy()
        for holds in part.holds:
            feasible &= holds
        outcome.evaluated += cost.size
        outcome.excluded += cost.size - int(np.count_nonzero(defined))
        outcome.feasible += int(np.count_nonzero(feasible))
        self._keep_best(part, np.where(feasible, cost, np.inf), outcome)
        if diagnose is not None:
            self._diagnose(part, defined, outcome, diagnose)

    def _keep_best(self, part: Part, cost: np.ndarray[Any, Any], outcome: Outcome) -> None:
        limit = outcome.best[-1].cost if len(outcome.best) >= self.keep else np.inf
        smallest = outcome.best[0].cost if outcome.best else np.inf
        flat = cost.reshape(-1)
        low = flat.min(initial=np.inf)
        if low == np.inf or (low > limit and not _tied(low, smallest)):
            return
        if low < smallest and not _tied(low, smallest):
            outcome.ties = 0
            smallest = low
        outcome.ties += int(np.count_nonzero(flat <= smallest + TIE * abs(smallest)))
        candidates = np.flatnonzero(flat <= (limit if limit < np.inf else np.finfo(float).max))
        if len(candidates) > self.keep:
            order = np.lexsort((candidates, flat[candidates]))[: self.keep]
            candidates = candidates[order]
        fresh = [Found(float(flat[index]), part.design(int(index))) for index in candidates]
        outcome.best = heapq.nsmallest(self.keep, [*outcome.best, *fresh])

    def _diagnose(
        self, part: Part, defined: np.ndarray[Any, Any], outcome: Outcome, better_than: float
    ) -> None:
        mask = np.zeros(part.cost.shape, dtype=np.int64)
        for index, holds in enumerate(part.holds):
            mask |= np.where(holds, 0, 1 << index)
        mask = np.where(defined, mask, -1)
        for found in np.unique(mask):
            if found >= 0:
                _add_minimal(outcome.violated, int(found))
        for index, violation in enumerate(outcome.single):
            alone = np.flatnonzero(((mask == 1 << index) & (part.cost < better_than)).reshape(-1))
            if not len(alone):
                continue
            cost = part.cost.reshape(-1)[alone]
            first = int(np.argmin(cost))
            candidate = Found(float(cost[first]), part.design(int(alone[first])))
            if violation.best is None or candidate < violation.best:
                violation.best = candidate
            excess = part.excess[index]
            if excess is not None:
                amounts = excess.reshape(-1)[alone]
                order = np.lexsort((cost, amounts))
                first = int(order[0])
                if (amounts[first], cost[first]) < (violation.least, violation.least_cost):
                    violation.least, violation.least_cost = float(amounts[first]), float(cost[first])
                    violation.least_design = part.design(int(alone[first]))


@dataclass
class Part:
    """A block of evaluated points."""

    choices: list[Choice]
    axes: Axes
    start: int
    cost: np.ndarray[Any, Any]
    holds: list[np.ndarray[Any, Any]]
    excess: list[np.ndarray[Any, Any] | None]

    def design(self, flat: int) -> Design:
        """Return the design at a flat index of the block."""
        row, *dense = np.unravel_index(flat, self.cost.shape)
        at = dict(zip(self.axes.dense, dense, strict=True))
        return tuple(
            int(at[choice]) if choice in at else int(self.axes.joined[choice][self.start + int(row)])
            for choice in self.choices
        )


def _tied(left: float, right: float) -> bool:
    return abs(left - right) <= TIE * max(abs(left), abs(right)) or left == right


def _add_minimal(sets: set[int], new: int) -> None:
    """Add a set of constraints (as bits) unless it contains one already there; drop those that contain it."""
    if any(old & new == old for old in sets):
        return
    for old in [old for old in sets if new & old == new]:
        sets.discard(old)
    sets.add(new)


def excluded_reasons(roots: Sequence[Expression]) -> dict[str, str]:
    """Return why some values of choices have no number in what the expressions need, by value."""
    reasons: dict[str, str] = {}
    for node in topological(roots):
        if isinstance(node, Operation) and node.atom.name == "lookup":
            reasons.update(node.param.reasons)
    return reasons


def conflicts(violated: set[int], count: int) -> list[int]:
    """Return the smallest sets of constraints (as bits) that cannot hold together.

    A set conflicts when every design violates one of its members: the minimal hitting sets of the violated sets.
    """
    hitting: list[int] = [0]
    for family in sorted(violated, key=int.bit_count):
        grown: list[int] = []
        for chosen in hitting:
            if chosen & family:
                grown.append(chosen)
                continue
            grown.extend(chosen | (1 << bit) for bit in range(count) if family >> bit & 1)
        minimal: list[int] = []
        for chosen in sorted(set(grown), key=int.bit_count):
            if not any(other & chosen == other for other in minimal):
                minimal.append(chosen)
        hitting = minimal
    return sorted(hitting, key=int.bit_count)
