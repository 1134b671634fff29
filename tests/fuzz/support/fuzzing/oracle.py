"""The other way to the same answer: every combination of the decisions, one after the other, in plain Python.

No NumPy, no joined tables, no bounds, no pruning: `itertools.product` over all values and the scalar evaluator. What
the package says of a problem (its optimum, its ties, what binds, why it is infeasible, why not this design) is held
against it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize import Solution, Task, Value
from mlsysim_opt.optimize.explain import WhyNot
from mlsysim_opt.units import parse_unit

CLOSE = 1e-9
TIE = 1e-12


@dataclass(frozen=True)
class Point:
    """One combination that satisfies the structural constraints and has a cost."""

    design: tuple[Any, ...]
    cost: float
    then: tuple[float, ...]
    violated: frozenset[int]
    excess: tuple[float | None, ...]


class Oracle:
    """All designs of a task, by scalar evaluation of every combination.

    Attributes:
        names: of the decisions. asked: the constraints that could give way; `Point.violated` holds their indices.
        points: the valid designs with a cost, in the order of designs that the package documents.
        undefined: how many valid designs have no cost.
    """

    def __init__(
        self, task: Task, dropped: frozenset[int] = frozenset(), raised: Mapping[int, float] | None = None
    ) -> None:
        problem = task.problem
        self.task = task
        self.choices = problem.choices
        self.names = [choice.name for choice in self.choices]
        self.asked = [item for item in problem.constraints if not item.structural]
        structural = [item.holds for item in problem.constraints if item.structural]
        sides = [item.sides for item in self.asked]
        excess = [pair[0] - pair[1] for pair in sides if pair]
        costs = [task.objective.cost, *(item.cost for item in task.then)]
        early = _Compiled(structural, problem.values, self.names)
        late = _Compiled([*costs, *(item.holds for item in self.asked), *excess], problem.values, self.names)
        self.points: list[Point] = []
        self.valid = self.undefined = 0
        for design in itertools.product(*(choice.values for choice in self.choices)):
            if not all(early.run(design)):
                continue
            self.valid += 1
            out = late.run(design)
            if not math.isfinite(out[0]):
                self.undefined += 1
                continue
            truths = out[len(costs) : len(costs) + len(self.asked)]
            amounts = iter(out[len(costs) + len(self.asked) :])
            by = tuple(next(amounts) if pair else None for pair in sides)
            violated = frozenset(index for index, holds in enumerate(truths) if not holds)
            self.points.append(Point(design, out[0], tuple(out[1 : len(costs)]), violated, by))

    # what is true ---------------------------------------------------------------------------------------------------
    def satisfying(self, ignoring: frozenset[int] = frozenset()) -> list[Point]:
        """Return the designs that satisfy every constraint, but those that may be violated."""
        return [point for point in self.points if point.violated <= ignoring]

    @property
    def best(self) -> float:
        """The smallest cost."""
        return min(point.cost for point in self.satisfying())

    def lexicographic(self) -> list[Point]:
        """Return the designs that are best in every objective, one after the other."""
        left = [point for point in self.satisfying() if near(point.cost, self.best, TIE)]
        for index in range(len(self.task.then)):
            known = [point for point in left if math.isfinite(point.then[index])]
            if known:  # an objective that has no value for any of them cannot decide
                low = min(point.then[index] for point in known)
                left = [point for point in known if near(point.then[index], low, TIE)]
        return left

    def at(self, design: Mapping[str, Any]) -> Point:
        """Return the point of a design."""
        key = tuple(design[name] for name in self.names)
        return next(point for point in self.points if point.design == key)

    def cost(self, shown: Value) -> float:
        """Return a shown objective as a cost."""
        return si(shown) * (1.0 if self.task.objective.sense == "min" else -1.0)

    # what is said ---------------------------------------------------------------------------------------------------
    def check_solution(self, solution: Solution) -> None:
        """Hold a solution against all designs: it is feasible and none is better."""
        point = self.at(solution.design)
        assert solution.status == "optimal"
        assert not point.violated
        assert near(point.cost, self.best, CLOSE), (point.cost, self.best)
        assert near(self.cost(solution.objective), self.best, CLOSE)
        assert solution.gap == 0.0
        assert solution.bound is not None
        assert near(self.cost(solution.bound), self.best, CLOSE)
        assert point.design in {item.design for item in self.lexicographic()}

    def check_neighbours(self, solution: Solution) -> None:
        """Hold the ties and runners-up against the best designs there are."""
        feasible = sorted(point.cost for point in self.satisfying())
        exact = sum(1 for cost in feasible if near(cost, self.best, TIE / 10))
        loose = sum(1 for cost in feasible if near(cost, self.best, TIE * 10))
        assert exact <= solution.tie_count <= loose
        others = [*solution.ties, *solution.runner_ups]
        assert len({tuple(item.design.values()) for item in others}) == len(others)
        if not self.task.then:
            assert len(others) == min(15, len(feasible) - 1)
        for item, cost in zip(others, feasible[1:], strict=False):
            assert near(self.cost(item.objective), cost, CLOSE)
            assert near(self.at(item.design).cost, cost, CLOSE)

    def check_slacks(self, solution: Solution) -> None:
        """Hold what each constraint costs against the designs that violate it alone."""
        assert [item.name for item in solution.constraints] == [item.name for item in self.asked]
        chosen = self.at(solution.design)
        for index, item in enumerate(solution.constraints):
            if chosen.excess[index] is not None and item.slack is not None and item.slack.value is not None:
                assert near(si(item.slack), -chosen.excess[index], CLOSE, 1e-12)
            alone = [point for point in self.points if point.violated == {index} and point.cost < self.best]
            better = [point for point in alone if not near(point.cost, self.best, TIE)]
            assert item.binding == bool(better), item
            if not better:
                assert item.gain is None
                continue
            assert item.gain is not None
            low = min(point.cost for point in better)
            assert near(self.cost(item.gain.objective), low, CLOSE)
            assert near(self.at(item.gain.design).cost, low, CLOSE)
            least = self._least(better, index)
            if least is not None:
                assert item.relax_by is not None
                assert near(si(item.relax_by), least, CLOSE, 1e-12)

    def _least(self, points: Sequence[Point], index: int) -> float | None:
        """Return by how much a constraint must give way for one of these designs: a whole number more if strict."""
        known = [amount for point in points if (amount := point.excess[index]) is not None and amount == amount]
        if not known:
            return None
        less = self.asked[index].holds.atom.name == "less"  # type: ignore[attr-defined]
        return min(known) + (1.0 if less and not self.asked[index].strict else 0.0)

    def check_infeasible(self, error: InfeasibleError) -> None:
        """Hold a conflict and its ways out against all designs."""
        assert not self.satisfying()
        assert error.conflict
        if self.valid == 0:
            self._check_structural(error.conflict)
        elif not self.points:
            assert error.conflict == ("every design has an undefined number",)
        else:
            self._check_conflict(error.conflict)
        for item in error.relaxations:
            if item.constraint not in {lever.name for lever in self.task.problem.levers}:
                self._check_relaxation(item.constraint, item.amount, item.design)

    def _check_conflict(self, names: Sequence[str]) -> None:
        conflict = frozenset(index for index, item in enumerate(self.asked) if item.name in names)
        assert {self.asked[index].name for index in conflict} == set(names)
        assert all(point.violated & conflict for point in self.points)
        for index in conflict:
            assert any(not point.violated & (conflict - {index}) for point in self.points), f"{names} is reducible"

    def _check_structural(self, names: Sequence[str]) -> None:
        problem = self.task.problem
        kept = [item for item in problem.constraints if item.name in names]
        assert {item.name for item in kept} == set(names)
        program = _Compiled([item.holds for item in kept], problem.values, self.names)
        truths = [program.run(design) for design in itertools.product(*(choice.values for choice in self.choices))]
        assert not any(all(row) for row in truths)
        for index in range(len(kept)):
            assert any(all(row[:index] + row[index + 1 :]) for row in truths), f"{names} is reducible"

    def _check_relaxation(self, name: str, amount: Value | None, design: Mapping[str, Any]) -> None:
        indices = self._named(name)
        able = [point for point in self.points if point.violated <= indices]
        assert able, f"giving up {name} does not help"
        if design:
            assert self.at(design) in able
        if amount is None or amount.value is None:
            return
        (index,) = indices
        least = self._least(able, index)
        assert least is not None
        assert near(si(amount), least, CLOSE, 1e-12), (si(amount), least)
        excess = self.at(design).excess[index]
        assert excess is not None
        assert excess <= si(amount) * (1 + CLOSE)
        assert not any((other := point.excess[index]) is not None and other < 0.99 * least - 1 for point in able)

    def _named(self, name: str) -> frozenset[int]:
        """Return the constraints a way out names: one, or several joined by "and"."""
        names = [item.name for item in self.asked]
        for size in range(1, len(names) + 1):
            for some in itertools.combinations(range(len(names)), size):
                if " and ".join(names[index] for index in some) == name:
                    return frozenset(some)
        raise AssertionError(f"{name} is not a constraint")

    def check_why_not(self, asked: Mapping[str, Any], answer: WhyNot) -> None:
        """Hold what is said of a partial design against all its completions."""
        fits = [
            point
            for point in self.points
            if all(point.design[self.names.index(name)] == value for name, value in asked.items())
        ]
        feasible = [point for point in fits if not point.violated]
        assert answer.possible == bool(feasible)
        if feasible:
            low = min(point.cost for point in feasible)
            assert answer.best is not None
            assert near(self.cost(answer.best.objective), low, CLOSE)
            assert near(self.at(answer.best.design).cost, low, CLOSE)
            worse = (low - self.best) / abs(self.best) if self.best else None
            assert worse is None or near(answer.best.worse_by, worse, 1e-6, 1e-9)
            return
        assert answer.conflict
        if not fits:
            return
        conflict = frozenset(index for index, item in enumerate(self.asked) if item.name in answer.conflict)
        assert all(point.violated & conflict for point in fits)
        for index in conflict:
            assert any(not point.violated & (conflict - {index}) for point in fits)
        for item in answer.rejected_by:
            indices = self._named(item.constraint)
            able = [point for point in fits if point.violated <= indices]
            assert able
            if item.amount is not None and item.amount.value is not None:
                (index,) = indices
                least = self._least(able, index)
                assert least is not None
                assert near(si(item.amount), least, CLOSE, 1e-12)


class _Compiled:
    """Expressions as a function of a combination of values."""

    def __init__(self, roots: Sequence[Expression], values: Mapping[str, float], names: Sequence[str]) -> None:
        self._program = ScalarProgram(roots)
        self._plan = [
            (names.index(leaf.name), None) if leaf.name in names else (-1, values[leaf.name])
            for leaf in self._program.leaves
        ]

    def run(self, design: Sequence[Any]) -> list[Any]:
        return self._program.run([fixed if at < 0 else design[at] for at, fixed in self._plan])


def near(left: float, right: float, relative: float, absolute: float = 0.0) -> bool:
    """Return whether two numbers agree."""
    return left == right or abs(left - right) <= max(absolute, relative * max(abs(left), abs(right)))


def si(shown: Value) -> float:
    """Return a shown number in base units."""
    assert shown.value is not None
    return shown.value * (parse_unit(shown.unit).factor if shown.unit else 1.0)
