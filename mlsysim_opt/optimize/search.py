"""Exhaustive search over the tables of a problem: the first-class backend, and the oracle of every other one.

One pass over the space keeps the best designs, all ties, the best design that violates each single constraint (what the
constraint costs), and, where nothing is feasible, which sets of constraints the designs violate.

**Order of designs.** The cheaper comes first; of designs whose cost is the same number, the one whose values stand
earlier in their lists, decision by decision in the order of declaration. Every backend keeps to this order.
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
from mlsysim_opt.errors import UnboundedError
from mlsysim_opt.optimize.problem import Constraint
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.optimize.stopping import Halt, Standing

TIE = 1e-12
"""Objectives closer than this, relatively, are ties: the error of evaluating them in another order."""
FEW = 16
"""For so many constraints, a table of all their subsets is small."""
WORD = 62
"""Constraints whose truths are gathered in one machine integer."""

Design = tuple[int, ...]
"""Positions of the chosen values, in the order of the choices."""
Array = np.ndarray[Any, Any]


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
        best: the best designs, in the order of designs. ties: how many share the smallest cost.
        feasible, evaluated, excluded: numbers of points that satisfy all, that were computed, that have no cost.
        structural: number of points that satisfy the structural constraints, those of `pruned` boxes left out.
        single: for each questioned constraint, the designs that violate it alone.
        violated: the sets of questioned constraints that some design violates, none containing another.
        pruned: combinations of boxes left out because their bound cannot beat what is known.
        stopped: whether it was ended before the whole space was seen.
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
    stopped: bool = False


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
        self,
        fixed: Mapping[Choice, int] | None = None,
        *,
        diagnose: bool = False,
        better_than: float = np.inf,
        halt: Halt | None = None,
    ) -> Outcome:
        """Search the whole space (or the part where some choices are fixed).

        Args:
            fixed: choices that may not vary, with the position of their value.
            diagnose: also record which constraints designs violate, and by how much.
            better_than: designs that violate one constraint are of interest only below this cost.
            halt: what ends the search early, with what it has by then; it is shown where the search stands.
        Raises:
            UnboundedError: the cost of a feasible design is minus infinity.
        """
        outcome = Outcome(self.choices, single=[Violation() for _ in self.questioned])
        halt = halt or Halt()
        floor = self.lower_bound() if halt.progress is not None else -np.inf

        def cut(box: Domain) -> bool:
            outcome.stopped = outcome.stopped or halt.now()
            if outcome.stopped or diagnose or not self._cannot_beat(box, outcome):
                return outcome.stopped
            outcome.pruned += box.size
            return True

        for axes in spaces(Domain.of(self.choices, fixed), self.structural, self.values, cut):
            outcome.structural += axes.points
            for part in self.evaluated(axes, diagnose):
                self._take(part, outcome, better_than if diagnose else None)
                held = outcome.best[0].cost if outcome.best else None
                known = floor if np.isfinite(floor) else None
                if halt.watch(Standing(halt.seconds, held, known, outcome.evaluated)) or halt.now():
                    outcome.stopped = True
                    return outcome
        return outcome

    def lower_bound(self, box: Domain | None = None) -> float:
        """Return a number that the cost of no design of a box (or of the whole space) is below."""
        limits = (box or Domain.of(self.choices)).intervals(self.values)
        low = bounds(self.cost, limits).low
        return low if low == low else -np.inf

    def _cannot_beat(self, box: Domain, outcome: Outcome) -> bool:
        """Return whether interval bounds prove that no design of the box comes before the worst design kept."""
        if len(outcome.best) < self.keep or box.size == 0:
            return False
        worst = outcome.best[-1].cost
        return self.lower_bound(box) > worst + TIE * abs(worst)

    def evaluated(self, axes: Axes, sides: bool = False) -> Iterator[Part]:
        """Yield the space in blocks: cost and truth of each questioned constraint at every point."""
        wanted: list[Expression] = [self.cost, *(item.holds for item in self.questioned)]
        slots: list[int | None] = []
        if sides:
            for item in self.questioned:
                amount = _excess(item)
                slots.append(None if amount is None else len(wanted))
                if amount is not None:
                    wanted.append(amount)
        program = GridProgram(wanted, self.values, axes)
        count = len(self.questioned)
        for start, _, values in program.blocks():
            excess = [values[slot] if slot is not None else None for slot in slots]
            yield Part(self.choices, axes, start, values[0], values[1 : 1 + count], excess)

    def _take(self, part: Part, outcome: Outcome, diagnose: float | None) -> None:
        feasible = part.feasible()
        outcome.evaluated += part.cost.size
        outcome.excluded += part.cost.size - int(np.count_nonzero(part.defined))
        flat = np.flatnonzero(feasible)
        if len(flat):
            outcome.feasible += len(flat)
            self._keep_best(part, flat, outcome)
        if diagnose is not None:
            self._diagnose(part, outcome, diagnose)

    def _keep_best(self, part: Part, flat: Array, outcome: Outcome) -> None:
        cost = part.cost.reshape(-1)[flat]
        low = float(cost.min())
        if not outcome.best or (low < outcome.best[0].cost and not _tied(low, outcome.best[0].cost)):
            outcome.ties, smallest = 0, low
        else:
            smallest = outcome.best[0].cost
        outcome.ties += int(np.count_nonzero(cost <= smallest + TIE * abs(smallest)))
        limit = outcome.best[-1].cost if len(outcome.best) >= self.keep else np.inf
        if low > limit:
            return
        if len(cost) > self.keep:
            limit = min(limit, float(np.partition(cost, self.keep - 1)[self.keep - 1]))
        near = np.flatnonzero(cost <= limit)
        fresh = part.ordered(flat[near], cost[near], self.keep)
        outcome.best = heapq.nsmallest(self.keep, [*outcome.best, *fresh])

    def _diagnose(self, part: Part, outcome: Outcome, better_than: float) -> None:
        failing = np.zeros(part.cost.shape, dtype=np.intp)
        for found in _violated(part):
            _add_minimal(outcome.violated, found)
        for holds in part.holds:
            failing += ~holds
        alone = part.defined & (failing == 1) & (part.cost < better_than)
        if not alone.any():
            return
        for holds, excess, violation in zip(part.holds, part.excess, outcome.single, strict=True):
            flat = np.flatnonzero(alone & ~holds)
            if not len(flat):
                continue
            cost = part.cost.reshape(-1)[flat]
            near = np.flatnonzero(cost == cost.min())
            (candidate,) = part.ordered(flat[near], cost[near], 1)
            if violation.best is None or candidate < violation.best:
                violation.best = candidate
            if excess is not None:
                _keep_least(part, flat, cost, excess.reshape(-1)[flat], violation)


def _excess(constraint: Constraint) -> Expression | None:
    """Return by how much an inequality must give way where it is violated.

    A strict one of whole numbers takes one more; any other strict one takes anything more than this.
    """
    if constraint.sides is None:
        return None
    small, large = constraint.sides
    less = isinstance(constraint.holds, Operation) and constraint.holds.atom.name == "less"
    return small - large + 1 if less and not constraint.strict else small - large


def _keep_least(part: Part, flat: Array, cost: Array, amounts: Array, violation: Violation) -> None:
    """Keep the design that violates a constraint least; the cheapest of them."""
    known = ~np.isnan(amounts)
    if not known.any():
        return
    least = amounts[known].min()
    near = np.flatnonzero(amounts == least)
    (candidate,) = part.ordered(flat[near], cost[near], 1)
    held = (violation.least, violation.least_cost, violation.least_design or ())
    if (float(least), candidate.cost, candidate.design) < held or violation.least_design is None:
        violation.least, violation.least_cost = float(least), candidate.cost
        violation.least_design = candidate.design


@dataclass
class Part:
    """A block of evaluated points."""

    choices: list[Choice]
    axes: Axes
    start: int
    cost: Array
    holds: list[Array]
    excess: list[Array | None]

    def __post_init__(self) -> None:
        self.defined = np.isfinite(self.cost)

    def feasible(self) -> Array:
        """Return which points have a cost and satisfy every constraint.

        Raises:
            UnboundedError: a point that satisfies every constraint costs minus infinity.
        """
        good = self.defined
        for holds in self.holds:
            good = good & holds
        if not self.defined.all() and (lowest := np.flatnonzero(self.cost == -np.inf)).size:
            for holds in self.holds:
                lowest = lowest[holds.reshape(-1)[lowest]]
            if lowest.size:
                at = zip(self.choices, self.design(int(lowest[0])), strict=True)
                shown = ", ".join(f"{choice.name}={choice.values[index]}" for choice, index in at)
                raise UnboundedError(f"the objective has no limit: it is infinite at {shown}")
        return good

    def positions(self, flat: Array) -> list[Array]:
        """Return the position of each choice's value at flat indices of the block."""
        *dense, row = np.unravel_index(flat, self.cost.shape)
        at = dict(zip(self.axes.dense, dense, strict=True))
        return [at[choice] if choice in at else self.axes.joined[choice][self.start + row] for choice in self.choices]

    def design(self, flat: int) -> Design:
        """Return the design at a flat index of the block."""
        return tuple(int(column[0]) for column in self.positions(np.array([flat])))

    def ordered(self, flat: Array, cost: Array, most: int) -> list[Found]:
        """Return the first of these points, in the order of designs."""
        columns = self.positions(flat)
        order = np.lexsort((*reversed(columns), cost))[:most]
        return [Found(float(cost[at]), tuple(int(column[at]) for column in columns)) for at in order]


def _violated(part: Part) -> set[int]:
    """Return the sets of constraints (as bits) that the defined points of a block violate."""
    words: list[Array] = []
    for first in range(0, max(1, len(part.holds)), WORD):
        word = np.zeros(part.cost.shape, dtype=np.int64)
        for bit, holds in enumerate(part.holds[first : first + WORD]):
            word |= np.where(holds, 0, 1 << bit)
        words.append(word[part.defined])
    if len(part.holds) <= FEW:
        seen = np.zeros(1 << len(part.holds), dtype=bool)
        seen[words[0]] = True
        return set(np.flatnonzero(seen).tolist())
    rows = np.unique(np.stack(words, axis=1), axis=0)
    return {sum(int(word) << (WORD * index) for index, word in enumerate(row)) for row in rows}


def _tied(left: float, right: float) -> bool:
    return abs(left - right) <= TIE * max(abs(left), abs(right))


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
        for chosen in sorted(set(grown), key=lambda item: (item.bit_count(), item)):
            if not any(other & chosen == other for other in minimal):
                minimal.append(chosen)
        hitting = minimal
    return sorted(hitting, key=lambda item: (item.bit_count(), item))
