"""What a limit is worth: the same question under other limits, solved exactly.

The dual of a fixed discrete design is zero and says nothing. So each limit is solved for, and what a step costs is the
secant between two exact points: an answer has a value, and what it makes of the limit, which may be less than was
allowed. The dual of the relaxation stands beside it as what it is, an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, constant
from mlsysim_opt.errors import DimensionError, InfeasibleError, InputError, LimitReachedError, MlsysimError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.linear import metric_symbols
from mlsysim_opt.optimize.coupled.robust import amounts_there, metrics_there
from mlsysim_opt.optimize.coupled.search import Options
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.difference import SAME
from mlsysim_opt.optimize.otherwise import asked_otherwise, specs_without
from mlsysim_opt.optimize.per_unit import RELATION, counted, per_one, per_unit, written_unit
from mlsysim_opt.optimize.problem import Constraint, Objective
from mlsysim_opt.optimize.request import ConstraintSpec, Metrics, read_constraints
from mlsysim_opt.optimize.run import Task, backend_named
from mlsysim_opt.optimize.run import solution_of as design_of
from mlsysim_opt.optimize.solution import Solution
from mlsysim_opt.optimize.stopping import Halt
from mlsysim_opt.units import DIMENSIONLESS, NONE, Unit, as_measure, base_unit, dimension_text, readable_unit

if TYPE_CHECKING:
    from mlsysim_opt.optimize.robust import Uncertain

NEXT = 1e-6
"""The next point is looked for beyond this share of a value: closer ones count as the same."""
TIES = 64
"""Answers of one value that are looked at, each by a search, until one is found of another value."""


Answer = Solution | PlanSolution | None


@dataclass(frozen=True)
class Step:
    """The next exact point after an answer: the best one where the limit is tighter than what the answer makes of it.

    Attributes:
        reached: what it makes of the limit: where the answer changes. value: of the objective there.
        secant: what one unit of the limit costs between the two points.
    """

    reached: Value
    value: Value
    secant: Value

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {name: getattr(self, name).as_dict() for name in ("reached", "value", "secant")}


@dataclass(frozen=True)
class Marginal:
    """What one limit costs, by exact answers.

    Attributes:
        constraint: what is limited. objective, sense: what pays.
        limits: the loosest first. values: the objective at each, None where nothing is possible.
        reached: what the best design makes of the limit. costs: how much worse the objective is than at the limit
            before; the first has none. secants: the same for one unit between what is reached there and here, as the
            limit is written (``USD/kW``); none where the answer is the same.
        steps: the next exact point after each answer; None where nothing is possible beyond it or it was not looked
            for.
        estimates: the dual of the relaxation at each limit: an estimate, and only where a program was solved.
        counts: what a limit without a unit counts ("gpus"). solutions: the answers themselves.
    """

    constraint: str
    objective: str
    limits: list[Value]
    values: list[Value | None]
    reached: list[Value | None]
    costs: list[Value | None]
    secants: list[Value | None]
    estimates: list[Value | None]
    steps: list[Step | None] = field(default_factory=list)
    counts: str = ""
    solutions: list[Any] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data, without the solutions."""

        def plain(items: Sequence[Value | None]) -> list[Any]:
            return [None if item is None else item.as_dict() for item in items]

        columns = ("limits", "values", "reached", "costs", "secants", "estimates")
        return {
            "constraint": self.constraint,
            "objective": self.objective,
            **{name: plain(getattr(self, name)) for name in columns},
            "steps": [None if item is None else item.as_dict() for item in self.steps],
            "counts": self.counts or None,
        }

    def __str__(self) -> str:
        lines = [f"{self.constraint}: what {self.objective} pays for it, by exact answers"]
        for at, limit in enumerate(self.limits):
            value = self.values[at]
            if value is None:
                lines.append(f"{limit}: nothing is possible")
                continue
            one = per_one(self.counts)
            told = f"{limit}: {value}, {self.reached[at]} reached"
            if at and self.secants[at] is not None:
                told += f"; {self.limits[at - 1]} -> {limit} costs {self.costs[at]}, {self.secants[at]}{one}"
            elif at:
                told += f"; {self.limits[at - 1]} -> {limit} costs nothing: the same answer"
            step = self.steps[at] if self.steps else None
            if step is not None:
                told += f"; next at {step.reached}: {step.value}, {step.secant}{one}"
            if self.estimates[at]:
                told += f"; the relaxation's dual, an estimate: {self.estimates[at]}{one}"
            lines.append(told)
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(eq=False)
class _Question:
    """One constraint of a question, with its limit as a number.

    Attributes:
        task: the question; of a robust one, that for the givens as they are. spec: the constraint, as the user says it.
        moving: the side that is limited. upper: whether from above. limit: as given. unit: of limits, as
            written; the base unit where that is not told.
        there: of a robust question, the same in each scenario.
    """

    task: Task | CoupledTask
    spec: ConstraintSpec
    name: str
    moving: Expression
    upper: bool
    limit: float
    unit: Unit
    uncertain: Uncertain | None = None
    there: list[_Question] = field(default_factory=list)

    @staticmethod
    def of(task: Task | CoupledTask, spec: ConstraintSpec) -> _Question:
        read = read_constraints(task.problem, [spec])
        if len(read) != 1 or read[0].sides is None:
            raise InputError(f"{spec!r} is not one limit", path="constraint", hint="such as 'carbon <= 100 tCO2e'")
        limited = _limited(task, read[0])
        if limited is None:
            raise InputError(f"{read[0].name!r} has no side that is a number", path="constraint")
        if isinstance(task, CoupledTask) and not metric_symbols_of(task, read[0].holds):
            raise InputError(f"{read[0].name!r} limits choices, not a sum over the plan", path="constraint",
                             hint="what_if(constraints=[...]) answers under another one")  # fmt: skip
        moving, upper, bound = limited
        limit = float(ScalarProgram([bound]).run_named(task.problem.values)[0])
        unit = written_unit(spec, bound.dimension) or base_unit(bound.dimension)
        return _Question(task, spec, read[0].name, moving, upper, limit, unit)

    def at(self, limit: float) -> Task | CoupledTask | Uncertain:
        """Return the question with another limit in place of all that it has of the same and on the same side."""
        problem = self.task.problem

        def replaced(rule: Constraint) -> bool:
            limited = _limited(self.task, rule)
            return limited is not None and limited[0] is self.moving and limited[1] == self.upper

        specs = [*specs_without(problem, self.task.specs, replaced), self._spec(limit)]
        if self.uncertain is not None:
            return self.uncertain.otherwise(specs=specs)
        return replace(asked_otherwise(self.task, specs=specs), then=[])

    def _spec(self, limit: float) -> ConstraintSpec:
        """Return the constraint with another limit: as text where the user wrote it so, and text says it exactly."""
        text = f"{self.words} {'<=' if self.upper else '>='} {_digits(limit / self.unit.factor)}"
        text += f" {self.unit.text}" if self.moving.dimension != NONE else ""
        if isinstance(self.spec, str):
            try:
                again = _Question.of(self.task, text)
            except MlsysimError:
                again = None
            if again is not None and again.moving is self.moving and (again.upper, again.limit) == (self.upper, limit):
                return text
        spec = self.spec

        def limited(metrics: Metrics) -> Expression:
            (rule,) = read_constraints(metrics._problem, [spec])
            assert rule.sides is not None
            small, large = rule.sides
            allowed = constant(limit, small.dimension)
            return small <= allowed if self.upper else allowed <= large

        limited.__name__ = text
        return limited

    @cached_property
    def size(self) -> float:
        """How far from zero what is limited may go, all else held: what is near to a limit of zero is a share of it."""
        if self.uncertain is not None:
            return max(item.size for item in self.there)
        goal = Objective("what is limited", "min", self.moving if self.upper else -self.moving)
        try:
            found = answered(replace(self.task, objective=goal, then=[]))
        except MlsysimError:  # without end, say
            return 0.0
        return 0.0 if found is None else abs(self._reached(found))

    @property
    def unit_shown(self) -> Unit:
        """The unit that limits are shown in: as they are written, where that is told."""
        return written_unit(self.spec, self.moving.dimension) or readable_unit(self.limit, self.moving.dimension)

    @property
    def words(self) -> str:
        """What is limited, as the user says it."""
        pieces = RELATION.split(self.name)
        if len(pieces) != 3:
            return self.name
        return pieces[0 if self.upper == (pieces[1] == "<=") else 2].strip()

    def reached(self, solution: Solution | PlanSolution) -> float:
        """Return what a solution makes of the limited side; of a robust one, in the scenario that is worst for it."""
        if self.uncertain is None:
            return self._reached(solution)
        found = [item._reached(solution, number) for number, item in enumerate(self.there)]
        return max(found) if self.upper else min(found)

    def _reached(self, solution: Solution | PlanSolution, scenario: int | None = None) -> float:
        known: dict[str, Any] = {**self.task.problem.values}
        if not isinstance(solution, PlanSolution):
            known.update(solution.design)
        elif scenario is None:
            known.update({name: value.si for name, value in solution.metrics.values_with_units.items()})
        else:
            assert isinstance(self.task, CoupledTask)
            known.update(metrics_there(self.task, amounts_there(self.task, solution, scenario)))
        return float(ScalarProgram([self.moving]).run_named(known)[0])

    def keeps(self, solution: Solution | PlanSolution, limit: float) -> bool:
        """Return whether a solution satisfies another limit."""
        value = self.reached(solution)
        return value <= limit if self.upper else value >= limit


def _limited(task: Task | CoupledTask, rule: Constraint) -> tuple[Expression, bool, Expression] | None:
    """Return what a constraint limits, whether from above, and the limit; None where it is no limit."""
    if rule.sides is None:
        return None
    small, large = rule.sides
    fixed = [not (side.choices or metric_symbols_of(task, side)) for side in (small, large)]
    if fixed.count(True) != 1:
        return None
    return (small, True, large) if fixed[1] else (large, False, small)


def same_limits(task: Task | CoupledTask, specs: Sequence[ConstraintSpec]) -> list[str]:
    """Return, by their words, the user's constraints that limit the same as some other ones, from the same side.

    Who asks what another limit would give means it in place of these.
    """
    others = [_limited(task, rule) for rule in read_constraints(task.problem, specs)]
    sides = [(item[0], item[1]) for item in others if item is not None]
    found = []
    for rule in read_constraints(task.problem, task.specs):
        limited = _limited(task, rule)
        if limited is not None and any(limited[0] is side and limited[1] == upper for side, upper in sides):
            found.append(rule.name)
    return found


def _digits(value: float) -> str:
    """Return a number as short as it can be told exactly."""
    return next(text for text in (f"{value:g}", repr(value)) if float(text) == value)


def metric_symbols_of(task: Task | CoupledTask, node: Expression) -> list[Any]:
    """Return the symbols in a node that stand for sums of a plan; none in a problem of single designs."""
    return metric_symbols(task.problem, node) if isinstance(task, CoupledTask) else []


def answered(task: Task | CoupledTask | Uncertain, time_limit: float | None = None) -> Solution | PlanSolution | None:
    """Return the proven best of a question, None where nothing is possible; why it is not is not asked."""
    if not isinstance(task, Task | CoupledTask):
        try:
            return task.answer(time_limit=time_limit)
        except InfeasibleError:
            return None
    if isinstance(task, CoupledTask):
        from mlsysim_opt.optimize.coupled.engines import program_backend
        from mlsysim_opt.optimize.coupled.reported import solution_of
        from mlsysim_opt.optimize.coupled.run import solve_first

        engine = program_backend("auto")
        solved = solve_first(task, engine, Options(0.0, time_limit))
        if solved.found.x is None:
            if solved.found.status != "infeasible":
                raise LimitReachedError(f"a limit was reached: {solved.found.proof}", path="time_limit")
            return None
        return solution_of(task, solved, solved, engine.name, 0.0)
    answer = backend_named("enumerate").solve(task.search(), prune=True, halt=Halt(time_limit=time_limit))
    if answer.status == "unknown":
        raise LimitReachedError(f"a limit was reached: {answer.proof}", path="time_limit")
    if answer.design is None:
        return None
    return design_of(task, "enumerate", answer, answer, 0.0, explain=False)


def asked_limits(
    task: Task | CoupledTask, spec: ConstraintSpec, limits: Sequence[Any] | None
) -> tuple[_Question, list[float]]:
    """Return what is limited, and the limits to solve for, in base units; nothing is solved.

    Raises:
        InputError: it is no limit, or limits are not understood.
    """
    uncertain = task.uncertain
    asked = _Question.of(task if uncertain is None else uncertain.base, spec)
    if uncertain is not None:
        there = [_Question.of(item, spec) for item in uncertain.tasks]
        asked = replace(asked, uncertain=uncertain, there=there)
    if limits is None:
        return asked, [asked.limit]
    if isinstance(limits, str) or not hasattr(limits, "__iter__"):
        raise InputError(f"expected limits, got {limits!r}", path="limits", hint="such as [100, 90, 80]")
    wanted = [_limit(asked, item) for item in limits]
    if not wanted:
        raise InputError("the list of limits is empty", path="limits")
    return asked, wanted


def marginal(
    task: Task | CoupledTask,
    spec: ConstraintSpec,
    limits: Sequence[Any] | None = None,
    time_limit: float | None = None,
) -> Marginal:
    """Return what a limit is worth; see `Solution.marginal`."""
    asked, wanted = asked_limits(task, spec, limits)
    ordered = sorted(set(wanted), reverse=asked.upper)
    found: list[_Point] = []
    for limit in ordered:
        found.append(_answer(asked, limit, found[-1] if found else None, time_limit))
    if limits is None and found[0].answer is not None and found[0].looked:  # on to the next exact point
        following = found[0].following
        ordered.append(_beyond(asked, found[0].answer) if following is None else asked.reached(following))
        found.append(_Point(following))
    return _told(asked, ordered, found)


@dataclass(frozen=True, eq=False)
class _Point:
    """The answer under a limit, and under one that is tighter than what it reaches; None where nothing is possible.

    Attributes:
        looked: whether the second was looked for.
    """

    answer: Answer
    following: Answer = None
    looked: bool = False


def _answer(asked: _Question, limit: float, before: _Point | None, time_limit: float | None) -> _Point:
    """Return the answer under a limit.

    Args:
        before: that under a looser one, which may say it already.
    """
    if before is not None and before.answer is None:
        return before
    if before is not None and before.answer is not None and before.answer.status == "optimal":
        if asked.keeps(before.answer, limit):
            return before
        if before.looked and before.following is None:
            return _Point(None)
    answer = answered(asked.at(limit), time_limit)
    return _Point(None) if answer is None else _exact(asked, answer, time_limit)


def _exact(asked: _Question, answer: Solution | PlanSolution, time_limit: float | None) -> _Point:
    """Return an answer with the next one; of several of one value, the one that reaches least."""
    for _ in range(TIES):
        beyond = _beyond(asked, answer)
        if answer.status != "optimal" or not math.isfinite(beyond) or beyond == asked.reached(answer):
            break
        try:
            following = answered(asked.at(beyond), time_limit)
            if following is None or following.status != "optimal":
                return _Point(answer, looked=following is None)
            if abs(following.objective.si - answer.objective.si) > SAME * abs(answer.objective.si):
                return _Point(answer, following, looked=True)
            # under a limit that can be read
            answer = answered(asked.at(asked.reached(following)), time_limit) or following
        except LimitReachedError:
            break
    return _Point(answer)


def _beyond(asked: _Question, answer: Solution | PlanSolution) -> float:
    """Return the limit that is a little tighter than what an answer reaches."""
    reached = asked.reached(answer)
    width = NEXT * (abs(reached) or abs(asked.limit) or asked.size)
    return reached - width if asked.upper else reached + width


def _limit(asked: _Question, given: Any) -> float:
    """Return a limit in base units; plain numbers are in the unit that the constraint is written in."""
    measure = as_measure(given, "limits")
    if measure.dimension == asked.moving.dimension:
        return measure.si
    if measure.dimension != NONE:
        raise DimensionError(f"{given!r} is no limit of {dimension_text(asked.moving.dimension)}", path="limits")
    return measure.si * asked.unit.factor


def _told(asked: _Question, limits: Sequence[float], points: Sequence[_Point]) -> Marginal:
    objective = asked.task.objective
    found = [item.answer for item in points]
    known = next((item for item in found if item is not None), None)
    name, sense = (objective.name, objective.sense) if known is None else (known.objective_name, known.sense)
    sign = 1.0 if sense == "min" else -1.0
    unit = "" if known is None else known.objective.unit
    limit = asked.unit_shown

    def shown(value: float) -> Value:
        return Value(value / limit.factor, "" if limit.dimension == NONE else limit.text)

    def cost(one: Answer, two: Answer) -> Value | None:
        if one is None or two is None:
            return None
        return per_unit(sign * (two.objective.si - one.objective.si), unit, DIMENSIONLESS)

    def secant(one: Answer, two: Answer) -> Value | None:
        if one is None or two is None:
            return None
        start, end = asked.reached(one), asked.reached(two)
        wide = abs(end - start)
        if wide <= SAME * max(abs(start), abs(end)):
            return None
        return per_unit(sign * (two.objective.si - one.objective.si) / wide, unit, limit)

    def step(point: _Point) -> Step | None:
        slope = secant(point.answer, point.following)
        if slope is None or point.following is None:
            return None
        return Step(shown(asked.reached(point.following)), point.following.objective, slope)

    pairs = list(pairwise(found))
    return Marginal(
        constraint=asked.name,
        objective=name,
        limits=[shown(item) for item in limits],
        values=[None if item is None else item.objective for item in found],
        reached=[None if item is None else shown(asked.reached(item)) for item in found],
        costs=[None, *(cost(*pair) for pair in pairs)],
        secants=[None, *(secant(*pair) for pair in pairs)],
        estimates=[_estimate(item, asked) for item in found],
        steps=[step(item) for item in points],
        counts=counted(asked.name) if limit.dimension == NONE else "",
        solutions=list(found),
    )


def _estimate(solution: Solution | PlanSolution | None, asked: _Question) -> Value | None:
    if not isinstance(solution, PlanSolution):
        return None
    found = [item.estimate for item in solution.constraints if item.given_by_user and item.name.startswith(asked.words)]
    return found[0] if len(found) == 1 else None
