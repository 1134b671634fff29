"""The plans of a front from one program of all tuples: it is compiled once and solved for each point."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlsysim_opt.optimize.coupled.compile import placed
from mlsysim_opt.optimize.coupled.linear import Linear, linear_objective
from mlsysim_opt.optimize.coupled.links import changes_follow
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, ProgramBackend, within
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, difference
from mlsysim_opt.optimize.coupled.prune import undominated
from mlsysim_opt.optimize.coupled.ratio import divided, left, refuse_negative_divisors
from mlsysim_opt.optimize.coupled.rechecked import values_at
from mlsysim_opt.optimize.coupled.regions import SAME, Kept, Limits, Point
from mlsysim_opt.optimize.coupled.reported import Solved
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask

TOLERANCE = 1e-9
"""Violation of a row that the solver is allowed, in units of its largest coefficient."""
FIRST = 100
"""Columns that are first branched over."""
NEAR = 1.5
"""Plans are first sought so many times as far above the relaxation as the one before was."""
TINIEST = 1e-300
"""By so much values differ at least where all of them are zero."""
STEPS = 50
INTEGERS = 1e9
CANCELLED = 4 * SAME
"""What is left of a difference below this share of its parts is less than solvers tell apart."""


@dataclass(frozen=True, eq=False)
class Sum:
    """An objective as numbers for each column: a sum, perhaps over another one.

    Attributes:
        step: how far apart two of its values are at least, where that is known; else 0.
        least: what is divided by is at least that.
    """

    cost: Array
    offset: float
    divisor: Array | None
    below: float
    step: float
    least: float = 1.0

    @property
    def parts(self) -> list[Array]:
        """What is added up, and what that is divided by."""
        return [self.cost] if self.divisor is None else [self.cost, self.divisor]

    def only(self, kept: Array) -> Sum:
        """Return it over some of the columns."""
        return replace(self, cost=self.cost[kept], divisor=None if self.divisor is None else self.divisor[kept])

    def above(self, value: float) -> tuple[Array, float]:
        """Return numbers for each column, and one more, that add up to zero or less where a ratio is at a value."""
        assert self.divisor is not None
        part = value * self.divisor
        if np.max(np.abs(part), initial=0.0) <= SAME * np.max(np.abs(self.cost), initial=0.0):
            value, part = 0.0, np.zeros(len(part))
        return difference(self.cost, part, CANCELLED), self.offset - value * self.below


class ProgramPlans:
    """The plans of a task, all tuples in one program."""

    def __init__(self, task: CoupledTask, engine: ProgramBackend, options: Options) -> None:
        self.engine, self.options, self.began = engine, options, time.monotonic()
        self.task = task
        self.solves = 0
        self.labels = 0  # of the chain that it is, if that is how they were found
        self.at = 0  # the objective that is looked for
        self.resolution: dict[int, float] = {}
        self._near: dict[int, float] = {}
        self._likely: dict[int, Array] = {}
        problem = task.problem
        objectives = [task.objective, *task.then]
        others = [linear_objective(problem, item.cost) for item in objectives[1:]]
        brought = [relation for item in others for relation in item.relations]
        self.carrying = replace(task, then=[]).with_relations(brought, "what objectives bring along")
        self.linear: list[Linear] = [self.carrying.linear, *others]
        least = []
        for item, objective in zip(self.linear, objectives, strict=True):
            if item.divisor is not None:
                begun = divided(self.carrying, engine, left(options, self.began), objective.name, item.divisor)
                self.carrying = begun.task
                least.append(begun.least or 1.0)
            else:
                least.append(1.0)
        self.linear[0] = self.carrying.linear  # the largest of something has an amount of its own in each task
        refuse_negative_divisors(self.carrying, left(options, self.began))
        self.compiled = self.carrying.compiled()
        self.chained = changes_follow(self.compiled.program)
        sums = [self._sum(item, low) for item, low in zip(self.linear, least, strict=True)]
        self.discrete = self._discrete(sums)
        program = _defined(self.compiled.program, sums)
        self.columns = np.arange(program.columns)
        if options.prune:
            criteria = [item.cost for item in sums] + [-item.divisor for item in sums if item.divisor is not None]
            self.columns = np.flatnonzero(undominated(program, criteria))
        self.program = program.only(self.columns)
        self.sums = [item.only(self.columns) for item in sums]

    def _sum(self, linear: Linear, least: float) -> Sum:
        assert self.carrying.compiler is not None
        cost, offset = self.compiled.coefficients(linear.total, self.carrying.compiler)
        if linear.divisor is None:
            return Sum(cost, offset, None, 0.0, spacing(cost, self._known()))
        divisor, below = self.compiled.coefficients(linear.divisor, self.carrying.compiler)
        return Sum(cost, offset, divisor, below, 0.0, least)

    def _known(self) -> Array:
        """Return which amounts are whole, or follow from those that are."""
        program = self.compiled.program
        return program.whole | program.links.change if self.chained and program.links else program.whole

    def _discrete(self, sums: Sequence[Sum]) -> bool:
        """Return whether objectives have so many values and no more: those of whole amounts, and of what follows.

        Of the amounts of a chain that do not follow (room for work below a limit) none counts that no objective has.
        """
        free = ~self._known() & (self.compiled.program.low < self.compiled.program.high)
        brought = {
            family for item in self.linear for other in item.relations for family in other.coupling.total.families
        }
        if self.chained:
            for item in self.compiled.columns:
                span = self.compiled.span(item)
                if item not in brought:
                    free[span] &= np.any([part[span] != 0 for one in sums for part in one.parts], axis=0)
        mine = self.task.problem.families
        return not any(free[self.compiled.span(item)].any() for item in self.compiled.columns if item.name in mine)

    # what is asked of the solver --------------------------------------------------------------------------------------
    def limited(self, limits: Limits) -> LinearProgram:
        """Return the program with some objectives held at or below values."""
        program = self.program
        for at, limit in limits.items():
            item = self.sums[at]
            if item.divisor is None:
                program = program.with_row(item.cost, -math.inf, float(difference(limit, item.offset)))
            else:
                row, offset = item.above(limit)
                program = program.with_row(row, -math.inf, -offset)
        return program

    def least(self, at: int, limits: Limits, start: Array | None = None, among: Array | None = None) -> Found:
        """Return the plan with the least of one objective, others held at or below values.

        Args:
            start: a plan to begin with. among: a mask of the columns that such plans may have, where that is known.
        """
        self.at = at
        item, program = self.sums[at], self.limited(limits)
        program = replace(program, cost=item.cost, offset=item.offset)
        if among is not None and (start is None or not np.any(start[~among])):
            return self._among(at, program, start, np.flatnonzero(among))
        if item.divisor is None:
            return self._solve(program, start, at)
        return self._least_ratio(item, item.divisor, program, start)

    def _among(self, at: int, program: LinearProgram, start: Array | None, kept: Array) -> Found:
        """Return the plan with the least of one objective that has these columns only."""
        item, part = self.sums[at].only(kept), program.only(kept)
        begin = None if start is None else start[kept]
        found = self._solve(part, begin) if item.divisor is None else self._least_ratio(item, item.divisor, part, begin)
        if found.x is None:
            return found
        x = np.zeros(program.columns)
        x[kept] = found.x
        return replace(found, x=x, duals=None, near=None)

    def _least_ratio(self, item: Sum, divisor: Array, program: LinearProgram, start: Array | None) -> Found:
        """Return the plan with the least ratio, by Dinkelbach's iteration; see `ratio.least_ratio`."""
        held = self._solve(replace(program, cost=-divisor, offset=-item.below), start)
        if held.status == "unbounded":  # any plan will do to begin with
            held = self._solve(replace(program, cost=divisor, offset=item.below), start)
        if held.x is None:
            return held
        best, x = math.inf, held.x
        for _ in range(STEPS):
            below = float(divisor @ held.x) + item.below
            ratio = (float(item.cost @ held.x) + item.offset) / below if below > 0 else math.inf
            if not ratio < best - (1e-12 * abs(best) if math.isfinite(best) else 0.0):
                break
            best, x = ratio, held.x
            cost, offset = item.above(best)
            held = self._solve(replace(program, cost=cost, offset=offset), x)
            if held.x is None:
                break
        if not math.isfinite(best):
            return replace(held, status="unknown", x=None, value=None, bound=-math.inf)
        if held.status == "unbounded":
            return held
        bound = -math.inf if held.x is None else best + min(0.0, held.bound) / item.least
        proven = within(best, bound, max(self.options.gap, EXACT), held.size / item.least)
        return replace(
            held, status="optimal" if proven else "feasible", x=x, value=best, bound=bound,
            proof=f"Dinkelbach's iteration; {held.proof}",
        )  # fmt: skip

    def _solve(self, program: LinearProgram, start: Array | None, at: int | None = None) -> Found:
        self.solves += 1
        near = math.inf if at is None else self._near.get(at, math.inf)
        gap = self.options.gap if at is not None else 0.0
        likely = None if at is None else self._likely.get(at)
        options = replace(
            left(self.options, self.began), prune=False, start=start, first=FIRST, near=near, likely=likely, gap=gap
        )
        found = self.engine.solve(program, options)
        relaxed = found.details.get("relaxation", -math.inf)
        if at is not None and found.value is not None and math.isfinite(relaxed):
            self._near[at] = NEAR * max(0.0, found.value - relaxed)
        if at is not None and found.near is not None:
            self._likely[at] = found.near
        return found

    # plans ------------------------------------------------------------------------------------------------------------
    @property
    def count(self) -> int:
        """How many objectives there are."""
        return len(self.sums)

    @property
    def careful(self) -> bool:
        """Whether several plans as good in the first objective are to be expected."""
        first = self.sums[0]
        return self.count > 2 or bool(first.step) or first.divisor is not None or not self.discrete

    @property
    def details(self) -> dict[str, int]:
        """What was done."""
        told = {"programs": self.solves, "columns": self.compiled.program.columns, "kept": len(self.columns)}
        return {**told, "labels": self.labels} if self.labels else told

    def values(self, x: Array) -> Point:
        """Return the objectives of a plan; the largest of something is looked up, not the amount that stands for it."""
        if any(item.helpers for item in self.linear):
            return values_at(self.task, self.compiled, self.full(x))
        return self.added(x)

    def added(self, x: Array) -> Point:
        """Return the objectives of a plan whose amounts that stand for the largest of something are just that."""
        out = []
        for item in self.sums:
            value = float(item.cost @ x) + item.offset
            out.append(value if item.divisor is None else value / (float(item.divisor @ x) + item.below))
        return tuple(out)

    def below(self, at: int, limit: float) -> float:
        """Return the largest value that counts as less than a limit."""
        item = self.sums[at]
        if item.step or not math.isfinite(limit):
            return limit - item.step / 2
        row = item.cost if item.divisor is None else item.above(limit)[0] / item.least
        largest = float(np.max(np.abs(row), initial=0.0))
        width = max(self.resolution.get(at, 0.0), 4 * TOLERANCE * largest, SAME * abs(limit), TINIEST)
        self.resolution[at] = width
        return limit - width

    def step(self, at: int) -> float:
        """Return how far apart two values of an objective are at least; 0 where that is not known."""
        return self.sums[at].step

    def coarsen(self, at: int, width: float) -> None:
        """Let values of an objective that differ by less than a width count as one."""
        self.resolution[at] = width
        self.sums[at] = replace(self.sums[at], step=0.0)

    def full(self, x: Array) -> Array:
        """Return amounts for all columns."""
        out = np.zeros(self.compiled.program.columns)
        out[self.columns] = x
        return out

    def begun(self, start: PlanSolution) -> Array | None:
        """Return an earlier plan as one of these; None where a tuple of it does not exist any more."""
        x = placed(self.compiled, start.amounts)
        if x is None:
            return None
        rest = np.ones(len(x), dtype=bool)
        rest[self.columns] = False
        return None if np.any(x[rest] != 0) else x[self.columns]

    def solved(self, plan: Kept, found: Found) -> Solved:
        """Return a plan with what is known of it."""
        return Solved(self.compiled, replace(found, x=self.full(plan.x)))


def _defined(program: LinearProgram, sums: Sequence[Sum]) -> LinearProgram:
    """Return the program without columns for which some objective has no number."""
    undefined = np.zeros(program.columns, dtype=bool)
    for item in sums:
        for numbers in (item.cost, item.divisor):
            if numbers is not None:
                undefined |= np.isnan(numbers)
                numbers[np.isnan(numbers)] = 0.0
    if not undefined.any():
        return program
    return replace(program, high=np.where(undefined, 0.0, program.high))


def spacing(cost: Array, whole: Array) -> float:
    """Return how far apart different values of a sum are at least: its coefficients are multiples of that; else 0."""
    used = np.isfinite(cost) & (cost != 0)
    if not used.any() or not whole[used].all():
        return 0.0
    sizes = np.unique(np.abs(cost[used]))
    unit = float(sizes[0])
    for size in sizes[1:]:
        unit = _common(unit, float(size))
        if unit == 0.0:
            return 0.0
    return unit


def _common(one: float, two: float) -> float:
    """Return the greatest common divisor of two numbers, 0 where there is none that is not tiny."""
    least = max(one, two) / INTEGERS
    if min(one, two) <= least:
        return 0.0  # in the steps below, what is so small is the rounding of what is left
    while two > least:
        rest = math.fmod(one, two)
        one, two = two, min(rest, two - rest)
        if two <= 1e-12 * one:
            return one
    return 0.0
