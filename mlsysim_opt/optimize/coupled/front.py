"""Fronts of coupled problems: every undominated value of two to four objectives, each proven by exact programs.

Search regions are kept as local upper bounds (Klamroth, Lacour and Vanderpooten, EJOR 245 (2015)): points that no plan
found so far is better than in every objective, and below which all that is missing must lie. For each, the first
objective is minimised with the others held below it; that gives a new plan, or proves the region empty. With two
objectives this is the epsilon-constraint method, its steps taken from the plans found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.errors import LimitReachedError, UnboundedError
from mlsysim_opt.optimize.backends.highs import Progress
from mlsysim_opt.optimize.coupled.linear import Linear, linear_objective
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.prune import undominated as undominated_columns
from mlsysim_opt.optimize.coupled.ratio import divided, left, refuse_negative_divisors
from mlsysim_opt.optimize.coupled.run import Solved, checked_search, program_backend, solution_of
from mlsysim_opt.optimize.coupled.search import Found, Options
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask, user_constraint
from mlsysim_opt.optimize.dominance import undominated
from mlsysim_opt.optimize.front import Front, FrontObjective
from mlsysim_opt.optimize.front_designs import checked, cover_text, in_units, limit_spec, shown_unit
from mlsysim_opt.optimize.request import read_constraints

TOLERANCE = 1e-9
"""Violation of a row that the solver is allowed, in units of its largest coefficient."""
SAME = 1e-9
"""Values of an objective that differ by less, relatively, are one value: the rounding of its sum."""
FIRST = 100
"""Columns that are first branched over."""
NEAR = 1.5
"""Plans are first sought so many times as far above the relaxation as the one before was."""
COVER = 25
"""Points about which a front of divisible amounts is asked where nothing is said."""
STEPS = 50
ESCALATIONS = 12
INTEGERS = 1e9

Point = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Sum:
    """An objective as numbers for each column: a sum, perhaps over another one.

    Attributes:
        step: how far apart two of its values are at least, where that is known; else 0.
    """

    cost: Array
    offset: float
    divisor: Array | None
    below: float
    step: float


@dataclass(eq=False)
class Kept:
    """A plan of the front: its columns, its values (what is minimised), and how it is known."""

    x: Array
    values: Point
    found: Found


@dataclass(eq=False)
class _Front:
    """The search for a front."""

    task: CoupledTask
    options: Options
    backend: str
    step: Array | None = None
    solves: int = 0
    resolution: dict[int, float] = field(default_factory=dict)
    _alone: dict[int, Found] = field(default_factory=dict)
    _near: dict[int, float] = field(default_factory=dict)
    _least: list[float] = field(default_factory=list)  # of what each objective divides by

    def __post_init__(self) -> None:
        self.engine = program_backend(self.backend)
        self.began = time.monotonic()
        self.objectives = [self.task.objective, *self.task.then]
        problem = self.task.problem
        others = [linear_objective(problem, item.cost) for item in self.objectives[1:]]
        brought = [relation for item in others for relation in item.relations]
        self.carrying = replace(self.task, then=[]).with_relations(brought, "what objectives bring along")
        self.linear: list[Linear] = [self.carrying.linear, *others]
        for item, objective in zip(self.linear, self.objectives, strict=True):
            if item.divisor is not None:
                begun = divided(self.carrying, self.engine, self._left(), objective.name, item.divisor)
                self.carrying = begun.task
                self._least.append(begun.least or 1.0)
            else:
                self._least.append(1.0)
        refuse_negative_divisors(self.carrying, self._left())
        self.compiled = self.carrying.compiled()
        sums = [self._sum(item) for item in self.linear]
        program = self._defined(self.compiled.program, sums)
        self.columns = np.arange(program.columns)
        if self.options.prune:
            criteria = [item.cost for item in sums] + [-item.divisor for item in sums if item.divisor is not None]
            self.columns = np.flatnonzero(undominated_columns(program, criteria))
        self.program = program.only(self.columns)
        self.sums = [
            replace(item, cost=item.cost[self.columns],
                    divisor=None if item.divisor is None else item.divisor[self.columns])
            for item in sums
        ]  # fmt: skip
        self._values = ScalarProgram([item.cost for item in self.objectives])

    # what is asked of the solver --------------------------------------------------------------------------------------
    def _sum(self, linear: Linear) -> Sum:
        assert self.carrying.compiler is not None
        cost, offset = self.compiled.coefficients(linear.total, self.carrying.compiler)
        if linear.divisor is None:
            return Sum(cost, offset, None, 0.0, _spacing(cost, self.compiled.program.whole))
        divisor, below = self.compiled.coefficients(linear.divisor, self.carrying.compiler)
        return Sum(cost, offset, divisor, below, 0.0)

    def _defined(self, program: LinearProgram, sums: Sequence[Sum]) -> LinearProgram:
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

    def _left(self) -> Options:
        return left(self.options, self.began)

    def limited(self, limits: Mapping[int, float]) -> LinearProgram:
        """Return the program with some objectives held at or below values."""
        program = self.program
        for at, limit in limits.items():
            item = self.sums[at]
            if item.divisor is None:
                program = program.with_row(item.cost, -math.inf, limit - item.offset)
            else:
                row = item.cost - limit * item.divisor
                program = program.with_row(row, -math.inf, limit * item.below - item.offset)
        return program

    def least(self, at: int, limits: Mapping[int, float], start: Array | None = None) -> Found:
        """Return the plan with the least of one objective, others held at or below values."""
        item, program = self.sums[at], self.limited(limits)
        if item.divisor is None:
            return self._solve(replace(program, cost=item.cost, offset=item.offset), start, at)
        held = self._solve(replace(program, cost=-item.divisor, offset=-item.below), start)
        if held.status == "unbounded":  # any plan will do to begin with
            held = self._solve(replace(program, cost=item.divisor, offset=item.below), start)
        best: tuple[float, Array] | None = None
        for _ in range(STEPS):  # Dinkelbach's iteration; see `ratio.least_ratio`
            if held.x is None:
                return held
            top = float(item.cost @ held.x) + item.offset
            below = float(item.divisor @ held.x) + item.below
            if below <= 0 or (best is not None and not top / below < best[0] - 1e-12 * abs(best[0])):
                break
            best = top / below, held.x
            cost, offset = item.cost - best[0] * item.divisor, item.offset - best[0] * item.below
            held = self._solve(replace(program, cost=cost, offset=offset), held.x)
        if best is None:
            return replace(held, status="infeasible", x=None, value=None)
        return replace(held, x=best[1], value=best[0], bound=best[0], proof=f"Dinkelbach's iteration; {held.proof}")

    def alone(self, at: int) -> Found:
        """Return the plan with the least of one objective, whatever the others are."""
        if at not in self._alone:
            self._alone[at] = self.least(at, {}, self.options.start if at == 0 else None)
        return self._alone[at]

    def _solve(self, program: LinearProgram, start: Array | None, at: int | None = None) -> Found:
        self.solves += 1
        near = math.inf if at is None else self._near.get(at, math.inf)
        options = replace(self._left(), prune=False, start=start, first=FIRST, near=near)
        found = self.engine.solve(program, options)
        relaxed = found.details.get("relaxation", -math.inf)
        if at is not None and found.value is not None and math.isfinite(relaxed):
            self._near[at] = NEAR * max(0.0, found.value - relaxed)
        return found

    # plans ------------------------------------------------------------------------------------------------------------
    def values(self, x: Array) -> Point:
        """Return the objectives of a plan; the largest of something is looked up, not the amount that stands for it."""
        out = []
        for at, item in enumerate(self.sums):
            value = float(item.cost @ x) + item.offset
            if item.divisor is not None:
                value /= float(item.divisor @ x) + item.below
            if self.linear[at].helpers:
                value = self._by_scalars(x, at)
            out.append(value)
        return tuple(out)

    def _by_scalars(self, x: Array, at: int) -> float:
        from mlsysim_opt.optimize.coupled.audit import Auditor
        from mlsysim_opt.optimize.coupled.run import amounts_of

        problem = self.task.problem
        amounts = [item for item in amounts_of(self.compiled, self.full(x)) if item.family.name in problem.families]
        totals = Auditor(problem, [], []).run(amounts, list(problem.totals.values())).totals
        named = {**problem.values, **dict(zip(problem.totals, totals, strict=True))}
        return float(self._values.run_named(named)[at])

    def full(self, x: Array) -> Array:
        """Return amounts for all columns."""
        out = np.zeros(self.compiled.program.columns)
        out[self.columns] = x
        return out

    def below(self, at: int, limit: float) -> float:
        """Return the largest value that counts as less than a limit."""
        item = self.sums[at]
        if item.step or not math.isfinite(limit):
            return limit - item.step / 2
        row = item.cost if item.divisor is None else (item.cost - limit * item.divisor) / self._least[at]
        largest = float(np.max(np.abs(row), initial=0.0))
        width = max(self.resolution.get(at, 0.0), 4 * TOLERANCE * largest, SAME * abs(limit))
        self.resolution[at] = width
        return limit - width

    def first_below(self, upper: Point, start: Array | None) -> Found:
        """Return the plan with the least first objective that is below `upper` in all others."""
        for _ in range(ESCALATIONS):
            limits = {at: self.below(at, upper[at]) for at in range(1, len(upper)) if math.isfinite(upper[at])}
            found = self.least(0, limits, start)
            if found.x is None:
                return found
            values = self.values(found.x)
            close = [at for at in limits if values[at] >= upper[at] - 0.25 * (upper[at] - limits[at])]
            if not close:
                return found
            for at in close:  # the solver's tolerance let a plan through that is no better: a wider step, which is told
                self.resolution[at] = 8 * (upper[at] - limits[at])
                self.sums[at] = replace(self.sums[at], step=0.0)
        return replace(found, status="feasible")

    def refined(self, found: Found, upper: Point) -> Found:
        """Return, of the plans as good in the first objective, one that no other beats in the rest."""
        assert found.x is not None
        assert found.value is not None
        held = {0: found.value + SAME * abs(found.value)}
        held.update({at: self.below(at, upper[at]) for at in range(1, len(upper)) if math.isfinite(upper[at])})
        x = found.x
        for at in range(1, len(self.sums)):
            other = self.least(at, {key: limit for key, limit in held.items() if key != at}, x)
            if other.x is None or other.value is None:
                break
            x = other.x
            held[at] = other.value + SAME * abs(other.value)
        return replace(found, x=x)

    # the search -------------------------------------------------------------------------------------------------------
    def run(self) -> tuple[list[Kept], bool]:
        """Return the plans found, and whether every region was settled."""
        count = len(self.sums)
        first = self.alone(0)
        if first.status in ("infeasible", "unbounded") or first.x is None:
            self._refuse(first)
        lows = [self.alone(at) for at in range(1, count)]
        for item in lows:
            if item.status == "unbounded":
                self._refuse(item)
        if any(item.status != "optimal" for item in (first, *lows)):
            return [self._kept(first)], False
        floor = [first.bound, *(item.bound for item in lows)]
        starts = [item.x for item in lows if item.x is not None]
        careful = count > 2 or bool(self.sums[0].step) or self.sums[0].divisor is not None
        known: list[tuple[Point, Found]] = [((math.inf,) * count, first)]
        kept = [] if self.step is None else self._ends(lows)
        regions: list[Point] = [(math.inf,) * count]
        while regions:
            upper = regions.pop()
            if any(self.below(at, upper[at]) < floor[at] - SAME * abs(floor[at]) for at in range(1, count)):
                continue
            found = _known(known, upper, self.values)
            if found is None:
                begin = next(
                    (x for x in starts if all(a < b for a, b in zip(self.values(x), upper, strict=True))), None
                )
                found = self.first_below(upper, begin)
                if found.status not in ("optimal", "infeasible"):
                    return self._settled(kept), False
                known.append((upper, found))
            if found.x is None or found.value is None or found.value >= upper[0] - SAME * abs(upper[0]):
                continue
            if careful:
                found = self.refined(found, upper)
                known.append((upper, found))
            plan = self._kept(found)
            kept.append(plan)
            regions = _split([*regions, upper], self._corner(plan.values), plan.values)
        return self._settled(kept), True

    def _ends(self, lows: Sequence[Found]) -> list[Kept]:
        """Return the plans that are best in one of the other objectives, then in the first: a cover has them too."""
        out = []
        for at, low in enumerate(lows, 1):
            assert low.value is not None
            found = self.least(0, {at: low.value + SAME * abs(low.value)}, low.x)
            if found.x is not None:
                out.append(self._kept(found))
        return out

    def _corner(self, values: Point) -> Point:
        """Return the point beyond which a plan stands for all others: itself, or a step better in a cover."""
        return values if self.step is None else tuple(np.array(values) - self.step)

    def _kept(self, found: Found) -> Kept:
        assert found.x is not None
        return Kept(found.x, self.values(found.x), found)

    def _settled(self, kept: Sequence[Kept]) -> list[Kept]:
        if not kept:
            return []
        costs = np.array([item.values for item in kept])
        for column in costs.T:
            order = np.argsort(column)
            for one, two in pairwise(order):
                if column[two] - column[one] <= SAME * abs(column[two]):
                    column[two] = column[one]
        return [kept[at] for at in undominated(costs)]

    def _refuse(self, found: Found) -> None:
        if found.status == "infeasible":
            from mlsysim_opt.optimize.coupled.reasons import infeasible

            raise infeasible(replace(self.task, then=[]), self.engine, self.options)
        if found.status == "unbounded":
            raise UnboundedError("an objective of the front can be improved without limit",
                                 hint="an amount that pays for itself has no upper bound")  # fmt: skip
        raise LimitReachedError(f"no plan was found: {found.proof}", hint="raise the time limit")

    @property
    def discrete(self) -> bool:
        """Whether amounts of the plan itself are all whole, or given."""
        mine, program = self.task.problem.families, self.compiled.program
        free = ~program.whole & (program.low < program.high)
        return not any(free[self.compiled.span(item)].any() for item in self.compiled.columns if item.name in mine)


def _spacing(cost: Array, whole: Array) -> float:
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
    while two > least:
        rest = math.fmod(one, two)
        one, two = two, min(rest, two - rest)
        if two <= 1e-12 * one:
            return one
    return 0.0


def _known(known: Sequence[tuple[Point, Found]], upper: Point, values: Callable[[Array], Point]) -> Found | None:
    """Return what an earlier, wider question already answers."""
    for wide, found in known:
        if all(a >= b for a, b in zip(wide[1:], upper[1:], strict=True)):
            if found.x is None:
                return found
            if all(a < b for a, b in zip(values(found.x)[1:], upper[1:], strict=True)):
                return found
    return None


def _split(regions: Sequence[Point], corner: Point, values: Point) -> list[Point]:
    """Return the local upper bounds after a new point."""
    out: list[Point] = []
    fresh: list[Point] = []
    for upper in regions:
        if all(a < b for a, b in zip(values, upper, strict=True)):
            fresh += [(*upper[:at], corner[at], *upper[at + 1 :]) for at in range(len(upper))]
        else:
            out.append(upper)
    for at, one in enumerate(fresh):
        beside = [*out, *fresh[at + 1 :]]
        if not any(all(a <= b for a, b in zip(one, other, strict=True)) for other in beside):
            out.append(one)
    return sorted(out, key=lambda item: -item[0])


def coupled_front(
    task: CoupledTask,
    points: int | None = None,
    *,
    backend: str = "auto",
    prune: bool = True,
    time_limit: float | None = None,
    progress: Callable[[Progress], bool | None] | None = None,
    start: PlanSolution | None = None,
) -> Front:
    """Return the front of a coupled problem.

    Args:
        points: about so many points, with the guarantee of a cover; all when None (25 where amounts are divisible).
        start: an earlier plan to begin with.
    Raises:
        InfeasibleError, UnboundedError, LimitReachedError: as of `solve_coupled`.
    """
    checked([task.objective, *task.then], points)
    checked_search(progress, start)
    began = time.perf_counter()
    search = _Front(task, Options(0.0, time_limit, prune, progress), backend)
    if start is not None:
        search.options = replace(search.options, start=_start(search, start))
    asked = points if points is not None or search.discrete else COVER
    if asked is not None:
        search.step = _steps(search, asked)
    kept, settled = search.run()
    if not kept:
        raise LimitReachedError("the time was up before any point was proven", hint="raise the time limit")
    return _front(search, kept, settled, time.perf_counter() - began)


def _start(search: _Front, start: PlanSolution) -> Array | None:
    from mlsysim_opt.optimize.coupled.run import columns_of

    x = columns_of(search.compiled, start)
    if x is None:
        return None
    rest = np.ones(len(x), dtype=bool)
    rest[search.columns] = False
    return None if np.any(x[rest] != 0) else x[search.columns]


def _steps(search: _Front, points: int) -> Array:
    """Return how far apart points may stand: the ranges of the objectives beyond the first, in equal parts."""
    ends = []
    for at in range(len(search.sums)):
        found = search.alone(at)
        if found.x is None or found.status == "unbounded":
            search._refuse(found)
        ends.append(search.values(search.refined(found, (math.inf,) * len(search.sums)).x if at == 0 else found.x))  # type: ignore[arg-type]
    costs = np.array(ends)
    parts = max(1, math.floor(points ** (1 / (len(search.sums) - 1)) + 1e-9) - 1)
    step = (costs.max(axis=0) - costs.min(axis=0)) / parts
    step[0] = 0.0
    return np.asarray(step)


def _front(search: _Front, kept: Sequence[Kept], settled: bool, seconds: float) -> Front:
    task, objectives = search.task, search.objectives
    specs = task.objective_spec if isinstance(task.objective_spec, list | tuple) else [task.objective_spec]
    metrics = list(task.problem.metrics.values())
    costs = np.array([item.values for item in kept])
    units = [shown_unit(metrics, item, costs[:, at]) for at, item in enumerate(objectives)]
    found = []
    for plan in kept:
        held = [limit_spec(*pair, plan.values[at + 1], units[at + 1])
                for at, pair in enumerate(zip(objectives[1:], specs[1:], strict=True))]  # fmt: skip
        mine = replace(
            search.carrying,
            user=[*task.user, *(user_constraint(task.problem, item) for item in read_constraints(task.problem, held))],
            specs=[*task.specs, *held],
            objective_spec=specs[0],
        )
        known = plan.found
        value = plan.values[0]
        outcome = replace(known, x=search.full(plan.x), value=value, bound=min(known.bound, value), duals=None)
        solved = Solved(search.compiled, outcome)
        found.append(solution_of(mine, solved, solved, search.engine.name, seconds))
    proven = settled and all(item.status == "optimal" for item in found)
    complete = proven and search.step is None
    return Front(
        problem=task.problem.name,
        objectives=[
            FrontObjective(item.name, item.sense, unit.text if unit else "")
            for item, unit in zip(objectives, units, strict=True)
        ],
        points=found,
        values=in_units(objectives, units, costs),
        complete=complete,
        guarantee=_guarantee(search, proven, units, len(kept)),
        details={"programs": search.solves, "columns": search.compiled.program.columns, "kept": len(search.columns)},
        seconds=seconds,
    )


def _guarantee(search: _Front, proven: bool, units: Sequence[Any], count: int) -> str:
    if not proven:
        return f"{count} points were found before a limit was reached; there may be others"
    if search.step is not None:
        return cover_text(search.objectives, search.step, units, "every plan")
    text = f"complete: all {count} undominated values, by {search.solves} exact programs"
    told = []
    for at, width in sorted(search.resolution.items()):
        unit = units[at]
        shown = f"{width / (unit.factor if unit else 1.0):.2g} {unit.text if unit else ''}".rstrip()
        told.append(f"{shown} in {search.objectives[at].name}")
    return text + (f"; plans closer than {' and '.join(told)} count as one" if told else "")
