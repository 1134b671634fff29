"""Why no plan satisfies everything: an irreducible conflict in the user's words, and the cheapest ways out.

Every statement is an exact one: conflicts by feasibility solves, ways out by minimising what has to give way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, constant, expression
from mlsysim_opt.errors import InfeasibleError, InputError, UnknownNameError
from mlsysim_opt.optimize.answer import Value, instead
from mlsysim_opt.optimize.coupled.columns import columns_of
from mlsysim_opt.optimize.coupled.generate import generates, solve_generated
from mlsysim_opt.optimize.coupled.linear import linear_divisor, metric_symbols
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem
from mlsysim_opt.optimize.coupled.ratio import left
from mlsysim_opt.optimize.coupled.reported import shown
from mlsysim_opt.optimize.coupled.run import solve_first
from mlsysim_opt.optimize.coupled.search import Found, HighsBackend, Options, ProgramBackend
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Coupling, Family, Total, sum_of
from mlsysim_opt.optimize.problem import LEVER_SECONDS, Constraint, Objective
from mlsysim_opt.optimize.solution import Relaxation
from mlsysim_opt.optimize.stopping import noted_interrupts
from mlsysim_opt.units import NONE, as_measure, readable_unit

NOTHING = 1e-9
"""Giving way by less than this share of a limit is rounding."""
PARTS = 64
"""Parts of relations that define a plan among which a contradiction is looked for."""
LOOSE = 0.99
"""Any plan will do where only feasibility is asked."""


@dataclass(eq=False)
class _Reasons:
    """The search for reasons, with the number of programs it took.

    Attributes:
        options: their time limit is that of all programs together. solves: programs about feasibility. unknown: whether
            one about the conflict was not decided within its limits. pressed: not empty once Ctrl-C was pressed.
    """

    task: CoupledTask
    engine: ProgramBackend
    options: Options
    solves: int = 0
    unknown: bool = False
    pressed: list[bool] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.options = replace(self.options, watch=None, start=None, gap=0.0)
        if not self.engine.continuous:  # what gives way is an amount that need not be whole
            self.engine = HighsBackend()

    @property
    def left(self) -> Options:
        """The options of the next program: with what is left of the time."""
        return left(self.options, self.began)

    @property
    def over(self) -> bool:
        """Whether there is no time for another program."""
        return bool(self.pressed) or self.left.time_limit == 0

    def feasible(self, task: CoupledTask) -> bool:
        """Return whether any plan satisfies a question; one that is not decided in time counts as possible."""
        status = self._status(task)
        self.unknown = self.unknown or status == "unknown"
        return status != "infeasible"

    def surely(self, task: CoupledTask) -> bool:
        """Return whether a plan that satisfies a question was found."""
        return self._status(task) not in ("infeasible", "unknown")

    def _status(self, task: CoupledTask) -> str:
        if self.over:
            return "unknown"
        self.solves += 1
        if self.engine.name == "milp" and generates(task):
            return solve_generated(task, replace(self.left, gap=LOOSE))[1].status
        program = task.compiled().program
        empty = replace(program, cost=np.zeros(program.columns), offset=0.0)
        return self.engine.solve(empty, self.left).status

    def best(self, task: CoupledTask, objective: Expression) -> Found | None:
        """Return the plan with the least of an expression of metrics; None where there is no proven one."""
        if self.over:
            return None
        asked = replace(task, objective=Objective("what gives way", "min", objective), then=[])
        try:
            found = solve_first(asked, self.engine, self.left).found
        except InputError:  # a ratio whose divisor is zero or negative in some plan, once the limits are off
            return None
        return found if found.status == "optimal" else None

    def least(self, task: CoupledTask, total: Total) -> float | None:
        """Return the least of a sum; None where there is no proven plan."""
        if self.over:
            return None
        found = self.engine.solve(task.compiled(total).program, self.left)
        return found.value if found.status == "optimal" else None


def infeasible(task: CoupledTask, engine: ProgramBackend, options: Options) -> InfeasibleError:
    """Return the error of a question without plans.

    The conflict is looked for among the user's constraints first; only where the problem has no plan without them,
    among its own, and last among the relations that define a plan. Each search takes at most one program more than
    there are constraints. When the time of the options is over, or on Ctrl-C, what is known by then is said.
    """
    reasons = _Reasons(task, engine, options)
    with noted_interrupts(reasons.pressed):
        return _told(reasons)


def _told(reasons: _Reasons) -> InfeasibleError:
    task = reasons.task
    conflict = irreducible([item.name for item in task.user if item.constraint.given_by_user],
                           lambda kept: not reasons.feasible(_only(task, kept)))  # fmt: skip
    item = task.problem.item
    solves = reasons.solves
    if conflict:
        ways = _ways_out(reasons, conflict)
        message = f"no {item} satisfies: " + "; ".join(conflict)
    else:
        bare = _only(task, [])
        notes = task.problem.notes
        conflict = list(notes) or _own_conflict(reasons, bare)
        ways = [] if notes else _own_ways_out(reasons, bare, conflict)
        levers = _levers(reasons, bare)
        ways += levers.values()
        message = f"no {item} is possible even without the constraints of the user"
        if not conflict:
            message += "; what defines it contradicts itself"
            conflict = _definitions(reasons, bare)
        solves = reasons.solves
        message += ": " if conflict else ""
        conflict = [*conflict, *levers]  # each alone makes a plan possible, so it is to blame
        message += "; ".join(f"{name}: {notes[name]}" if name in notes else name for name in conflict)
        message += _empty_picks(bare)
    if reasons.unknown:
        message += " (a limit was reached on the way: fewer of them may be enough)"
    hint = "ways out: " + " | ".join(str(way) for way in ways) if ways else None
    return InfeasibleError(message, conflict=conflict, relaxations=ways, solves=solves, hint=hint)


def irreducible(names: Sequence[str], contradictory: Callable[[list[str]], bool]) -> list[str]:
    """Return names none of which can be left out, such that what is left is contradictory; none if nothing is needed.

    Names are left out one by one, or several at once where earlier tests were saved: a part that cannot be left out
    costs a test. There is never more than one test more than there are names.

    Args:
        contradictory: whether the names that are kept are contradictory; known to be true of all of them.
    """
    needed: list[str] = []
    waiting = list(names)
    escape: list[str] = []  # one of these is needed: leaving them all out leaves no contradiction
    tests = 0
    while waiting:
        if len(escape) == 1:
            needed.append(escape[0])
            waiting.remove(escape[0])
            escape = []
            continue
        spare = len(names) + 1 - tests - len(waiting)
        pool = escape or waiting
        size = 1 if spare <= 0 else len(pool) if needed and not escape else max(1, len(pool) // 2)
        part = pool[:size]
        tests += 1
        if contradictory([*needed, *(item for item in waiting if item not in part)]):
            waiting = [item for item in waiting if item not in part]
            escape = [item for item in escape if item not in part]
        else:
            escape = part
    return needed


# questions with fewer constraints -------------------------------------------------------------------------------------
def _only(task: CoupledTask, kept: Sequence[str]) -> CoupledTask:
    """Return the question with only some of the user's constraints."""
    return task.without([item.name for item in task.user if item.constraint.given_by_user and item.name not in kept])


def _own_only(task: CoupledTask, kept: Sequence[str]) -> CoupledTask:
    """Return the question with only some of the problem's own constraints, and those that define a plan."""
    problem = task.problem.copy()
    problem.couplings = [item for item in problem.couplings if item.structural or item.name in kept]
    problem.local = [item for item in problem.local if item.structural or item.name in kept]
    return replace(task, problem=problem)


def _own_conflict(reasons: _Reasons, bare: CoupledTask) -> list[str]:
    """Return an irreducible contradiction among the problem's own constraints that do not define a plan."""
    own = [entry.name for entry in bare.problem.couplings if not entry.structural]
    own += [entry.name for entry in bare.problem.local if not entry.structural]
    return irreducible(list(dict.fromkeys(own)), lambda kept: not reasons.feasible(_own_only(bare, kept)))


def _definitions(reasons: _Reasons, bare: CoupledTask) -> list[str]:
    """Return an irreducible contradiction among the relations that define a plan, by item where these are few."""

    def contradictory(relations: Sequence[Coupled]) -> Callable[[list[str]], bool]:
        def test(kept: list[str]) -> bool:
            problem = bare.problem.copy()
            problem.couplings, problem.blocks = [item for item in relations if item.name in kept], []
            return not reasons.feasible(replace(bare, problem=problem))

        return test

    every = bare.problem.couplings
    large = reasons.engine.name == "milp" and generates(bare)
    if large or contradictory(every)([]):  # picks and bounds alone: what they lack is told beside
        return []
    found = irreducible(list(dict.fromkeys(item.name for item in every)), contradictory(every))
    parts = [part for item in every if item.name in found for part in _by_item(item)]
    if len(parts) > PARTS or reasons.over:
        return found
    return irreducible([item.name for item in parts], contradictory(parts))


def _by_item(relation: Coupled) -> list[Coupled]:
    """Return a relation as one for each value of its first axis: for each job, for each demand."""
    if not relation.each:
        return [relation]
    axis = relation.each[0]
    return [
        replace(relation, name=f"{relation.name} ({axis.name}={value})",
                when=(axis == value) if relation.when is None else (axis == value) & relation.when)
        for value in axis.values
    ]  # fmt: skip


# ways out -------------------------------------------------------------------------------------------------------------
def ways_out(
    task: CoupledTask, engine: ProgramBackend, options: Options, weights: Mapping[str, Any] | None = None
) -> list[Relaxation]:
    """Return how a question without plans becomes possible: each constraint alone, and last the cheapest combination.

    Args:
        weights: for constraints by name, what giving way by the size of the limit costs (1 each when None), or by one
            unit of it (``"50 USD/tCO2e"``); those that are left out hold.
    """
    reasons = _Reasons(task, engine, options)
    return _ways_out(reasons, [item.name for item in task.user if item.constraint.given_by_user], weights)


def _ways_out(reasons: _Reasons, conflict: Sequence[str], weights: Mapping[str, Any] | None = None) -> list[Relaxation]:
    alone = [way for name in conflict if (way := _alone(reasons, name)) is not None]
    together = _together(reasons, weights)
    if len(together) == 1 and any(way.constraint == together[0].constraint for way in alone):  # one alone is cheapest
        return alone if weights is None else sorted(alone, key=lambda way: way.constraint == together[0].constraint)
    return [*alone, *together]


def _alone(reasons: _Reasons, name: str) -> Relaxation | None:
    """Return the smallest change of one constraint of the user's that makes a plan possible, all others held."""
    task = reasons.task
    item = next(entry for entry in task.user if entry.name == name)
    rest = task.without([name])
    if not item.relations:
        return _local(reasons, rest, item.constraint)
    sides = item.constraint.sides
    if sides is None:
        if sum(relation.given_by_user for relation in item.relations) > 1:  # one for each scenario
            return Relaxation(name, f"give up {name!r}", None, {}) if reasons.surely(rest) else None
        return _by_slack(reasons, rest, item.relations[0], _with_all)
    small, large = sides
    if not metric_symbols(task.problem, item.constraint.holds):  # decided by what is given, whatever is planned
        return Relaxation(name, f"give up {name!r}", None, {}) if reasons.surely(rest) else None
    if metric_symbols(task.problem, large):
        moving = small - large if metric_symbols(task.problem, small) else -large
    else:
        moving = small
    found = reasons.best(rest, moving)
    if found is None or found.value is None:
        return None
    fixed = large if moving is small else small
    if moving is small or not metric_symbols(task.problem, small):
        limit = _number(task.problem, fixed)
        reached = found.value if moving is small else -found.value
        amount = abs(reached - limit)
        told = _instead(task.problem, moving, reached, limit)
    else:
        amount, told = found.value, ""
    if moving is not small and not metric_symbols(task.problem, small):
        told = _instead(task.problem, large, reached, limit)
    value = _shown(task.problem, small, amount)
    return Relaxation(name, f"{name!r} by {value.text(1)}{told}", value, {})


def _together(reasons: _Reasons, weights: Mapping[str, Any] | None) -> list[Relaxation]:
    """Return the cheapest combination of changes; nothing where fewer than two constraints can give way."""
    task = reasons.task
    names = [item.name for item in task.user if item.constraint.given_by_user and item.constraint.sides]
    for name in weights or {}:
        if name not in names:
            raise UnknownNameError("constraint that can give way", name, names, path="weights")
    wanted = [item for item in task.user if item.relations and item.name in (names if weights is None else weights)]
    wanted = [item for item in wanted if metric_symbols(task.problem, item.constraint.holds)]
    giving = [item for item in wanted if linear_divisor(task.problem, item.constraint) is None]
    if weights is None and (len(giving) < 2 or (reasons.engine.name == "milp" and generates(task))):
        return []  # where columns are generated the program with room for all is too large to be held unasked
    rest = task.without([item.name for item in giving])
    room: dict[str, Family] = {}
    relations: list[Coupled] = []
    costs: list[Total] = []
    for item in giving:
        first, *brought = item.relations
        family = _slack(f"room for {item.name}", first.coupling.total)
        room[item.name] = family
        relations += [replace(first, coupling=first.coupling.total - family <= 0), *brought]
        costs.append(
            family.total(_weight(task.problem, item.constraint, None if weights is None else weights[item.name]))
        )
    if reasons.over:
        return []
    asked = rest.with_relations(relations, "with room")
    found = reasons.engine.solve(asked.compiled(sum_of(costs)).program, reasons.left)
    if found.x is None or found.status != "optimal":
        return []
    compiled = asked.compiled(sum_of(costs))
    parts = []
    for item in giving:
        amount = float(found.x[compiled.span(room[item.name])][0])
        assert item.constraint.sides is not None
        small, large = item.constraint.sides
        free = [side for side in (small, large) if not metric_symbols(task.problem, side)]
        size = max((abs(_number(task.problem, side)) for side in free), default=0.0)
        if amount <= NOTHING * size:
            continue
        told = f"{item.name!r} by {_shown(task.problem, small, amount).text(1)}"
        if free:
            limit = _number(task.problem, free[0])
            after = limit + amount if free[0] is large else limit - amount
            moving = small if free[0] is large else large
            told += _instead(task.problem, moving, after, limit)
        parts.append((item.name, told))
    if not parts:
        return []
    together = " together with " if len(parts) > 1 else ""
    return [Relaxation(" and ".join(name for name, _ in parts), together.join(text for _, text in parts), None, {})]


def _weight(problem: CoupledProblem, constraint: Constraint, given: Any) -> Expression:
    """Return what one unit of room costs: a share of the limit, or what the user says."""
    assert constraint.sides is not None
    if given is not None:
        measure = as_measure(given, constraint.name)
        if measure.magnitude <= 0:
            raise InputError(f"{given!r} is not a weight", path=f"weights.{constraint.name}", hint="a positive number")
        if measure.dimension != NONE:
            return constant(measure.si, measure.dimension)
    sizes = [abs(_number(problem, side)) for side in constraint.sides if not metric_symbols(problem, side)]
    size = constant(max(sizes, default=0.0) or 1.0, constraint.sides[0].dimension)
    return expression(1.0 if given is None else float(given)) / size


def _slack(name: str, total: Total) -> Family:
    return Family(name, (), low=constant(0.0, total.dimension), dimension=total.dimension)


Asked = Callable[[CoupledTask, Sequence[Coupled]], CoupledTask]


def _with_all(task: CoupledTask, relations: Sequence[Coupled]) -> CoupledTask:
    return task.with_relations(relations, "with room")


def _by_slack(reasons: _Reasons, rest: CoupledTask, relation: Coupled, asked: Asked) -> Relaxation | None:
    """Return the smallest amount by which all rows of a relation must give way for a plan to be possible."""
    total, kind = relation.coupling.total, relation.coupling.relation
    family = _slack(f"room for {relation.name}", total)
    couplings: list[Coupling] = []
    if kind in ("<=", "=="):
        couplings.append(total - family <= 0)
    if kind in (">=", "=="):
        couplings.append(total + family >= 0)
    made = asked(rest, [replace(relation, coupling=item) for item in couplings])
    amount = reasons.least(made, family.total())
    if amount is None:
        return None
    unit = None if total.dimension == NONE else readable_unit(amount, total.dimension)
    value = Value(amount) if unit is None else Value(amount / unit.factor, unit.text)
    where = " where it lacks most" if relation.each else ""
    counts = f" {relation.counts}" if relation.counts else ""
    return Relaxation(relation.name, f"{relation.name!r} by {value.text(1)}{counts}{where}", value, {})


def _local(reasons: _Reasons, rest: CoupledTask, rule: Constraint) -> Relaxation | None:
    """Return the smallest change of a truth about single tuples: of its limit over the values there are."""
    if not reasons.surely(rest):
        return None
    give_up = Relaxation(rule.name, f"give up {rule.name!r}", None, {})
    if rule.sides is None:
        return give_up
    small, large = rule.sides
    excess = small - large
    steps: set[float] = set()
    for family in rest.problem.families.values():
        if rule.holds.choices <= set(family.over):
            table = columns_of(family, rest.local, rest.problem.values)
            (amounts,) = table.evaluate([excess], rest.problem.values)
            steps.update(np.unique(amounts[np.isfinite(amounts) & (amounts >= 0)]).tolist())
    ordered = sorted(steps)
    low, high = 0, len(ordered) - 1
    while low < high:
        middle = (low + high) // 2
        eased = replace(rule, holds=excess <= constant(ordered[middle], excess.dimension))
        possible = reasons.surely(replace(rest, problem=_with_local(rest.problem, eased)))
        low, high = (low, middle) if possible else (middle + 1, high)
    if not ordered or reasons.over:  # without time for all of them, the least change is not known
        return give_up
    amount = ordered[high]
    value = _plain(amount, excess)
    told = ""
    if not large.choices or not small.choices:
        fixed = large if not large.choices else small
        limit = _number(rest.problem, fixed)
        after = limit + amount if fixed is large else limit - amount
        told = f": a limit of {instead(_plain(after, excess), _plain(limit, excess), 1 if fixed is large else -1)}"
    return Relaxation(rule.name, f"{rule.name!r} by {value.text(1)}{told}", value, {})


def _with_local(problem: CoupledProblem, rule: Constraint) -> CoupledProblem:
    made = problem.copy()
    made.local = [*made.local, rule]
    return made


def _own_ways_out(reasons: _Reasons, bare: CoupledTask, conflict: Sequence[str]) -> list[Relaxation]:
    """Return, for constraints of the problem itself, the smallest change of each alone."""
    found: list[Relaxation | None] = []
    for name in conflict:
        problem = bare.problem.copy()
        problem.couplings = [item for item in problem.couplings if item.name != name]
        problem.local = [item for item in problem.local if item.name != name]
        rest = replace(bare, problem=problem)
        found += [_by_slack(reasons, rest, item, _with_all) for item in bare.problem.couplings if item.name == name]
        found += [_local(reasons, rest, item) for item in bare.problem.local if item.name == name]
    return [item for item in found if item is not None]


def _levers(reasons: _Reasons, bare: CoupledTask) -> dict[str, Relaxation]:
    """Return, for each given that may be changed, the first candidate with which there is a plan, by what is given."""
    found: dict[str, Relaxation] = {}
    for lever in [] if bare.problem.request.get("extended") else bare.problem.levers:
        deadline = time.monotonic() + LEVER_SECONDS
        for candidate in lever.candidates():
            if reasons.over or time.monotonic() > deadline:
                break
            other = CoupledTask.of(lever.rebuild(candidate), bare.objective_spec, [])
            if reasons.surely(other):
                amount = Value(float(candidate)) if isinstance(candidate, int | float) else None
                found[f"{lever.name} = {lever.now}"] = Relaxation(lever.name, lever.told(candidate), amount, {})
                break
    return found


# words ----------------------------------------------------------------------------------------------------------------
def _number(problem: CoupledProblem, side: Expression) -> float:
    return float(ScalarProgram([side]).run_named(problem.values)[0])


def _shown(problem: CoupledProblem, side: Expression, value: float) -> Value:
    return shown(problem, side, value, side.dimension)


def _instead(problem: CoupledProblem, moving: Expression, after: float, limit: float) -> str:
    """Return in words that a limit becomes another one; it is one from above where that is larger."""
    told = instead(_shown(problem, moving, after), _shown(problem, moving, limit), 1 if after > limit else -1)
    return f": a limit of {told}"


def _plain(value: float, like: Expression) -> Value:
    if like.dimension == NONE:
        return Value(value)
    unit = readable_unit(value, like.dimension)
    return Value(value / unit.factor, unit.text)


def _empty_picks(task: CoupledTask) -> str:
    """Return which picks have nothing to pick from, and what left their tuples out."""
    compiled = task.compiled()
    told = []
    for rows in compiled.rows:
        if rows.source is not None:
            continue
        usable = compiled.program.high[rows.entries.column] > 0
        have = np.bincount(rows.entries.row[usable], minlength=rows.count)
        told += [rows.label(int(at)) for at in np.flatnonzero((have == 0) & (rows.low > 0))]
    if not told:
        return ""
    undefined = [f"{count:,} of {name}" for name, count in compiled.undefined.items()]
    left = f"; left out because a number is not known: {', '.join(undefined)}" if undefined else ""
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return f" (nothing to pick from: {'; '.join(told[:3])}{more}{left})"
