"""What a limit is worth: the same question under other limits, solved exactly.

The dual of a fixed discrete design is zero and says nothing. So each limit is solved for, and what a step costs is the
secant between two exact answers. The dual of the relaxation stands beside it as what it is, an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, constant
from mlsysim_opt.errors import DimensionError, InputError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.linear import metric_symbols
from mlsysim_opt.optimize.coupled.search import Options
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask, user_constraint
from mlsysim_opt.optimize.problem import Constraint
from mlsysim_opt.optimize.request import ConstraintSpec, read_constraints
from mlsysim_opt.optimize.run import Task, backend_named
from mlsysim_opt.optimize.run import solution_of as design_of
from mlsysim_opt.optimize.solution import Solution
from mlsysim_opt.optimize.stopping import Halt
from mlsysim_opt.units import DIMENSIONLESS, NONE, Unit, as_measure, base_unit, dimension_text, divide, readable_unit

NEXT = 1e-6
"""The next point is looked for beyond this share of a value: closer ones count as the same."""


@dataclass(frozen=True)
class Marginal:
    """What one limit costs, by exact answers.

    Attributes:
        constraint: what is limited. objective, sense: what pays.
        limits: the loosest first. values: the objective at each, None where nothing is possible.
        reached: what the best design makes of the limit. costs: how much worse the objective is than at the limit
            before; the first has none. secants: the same for one unit of the limit.
        estimates: the dual of the relaxation at each limit: an estimate, and only where a program was solved.
        solutions: the answers themselves.
    """

    constraint: str
    objective: str
    limits: list[Value]
    values: list[Value | None]
    reached: list[Value | None]
    costs: list[Value | None]
    secants: list[Value | None]
    estimates: list[Value | None]
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
        }

    def __str__(self) -> str:
        lines = [f"{self.constraint}: what {self.objective} pays for it, by exact answers"]
        for at, limit in enumerate(self.limits):
            value = self.values[at]
            if value is None:
                lines.append(f"{limit}: nothing is possible")
                continue
            estimate = self.estimates[at]
            told = f"; the relaxation's dual, an estimate: {estimate}" if estimate else ""
            if at and self.costs[at] is not None:
                told = f"; {self.limits[at - 1]} -> {limit} costs {self.costs[at]}, {self.secants[at]}{told}"
            lines.append(f"{limit}: {value}, {self.reached[at]} reached{told}")
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(eq=False)
class _Question:
    """One constraint of a question, with its limit as a number.

    Attributes:
        moving: the side that is limited. upper: whether from above. limit: as given. unit: of limits, as written.
    """

    task: Task | CoupledTask
    name: str
    moving: Expression
    upper: bool
    limit: float
    unit: Unit

    @staticmethod
    def of(task: Task | CoupledTask, spec: ConstraintSpec) -> _Question:
        read = read_constraints(task.problem, [spec])
        if len(read) != 1 or read[0].sides is None:
            raise InputError(f"{spec!r} is not one limit", path="constraint", hint="such as 'carbon <= 100 tCO2e'")
        small, large = read[0].sides
        fixed = [not (side.choices or metric_symbols_of(task, side)) for side in (small, large)]
        if fixed.count(True) != 1:
            raise InputError(f"{read[0].name!r} has no side that is a number", path="constraint")
        if isinstance(task, CoupledTask) and not metric_symbols_of(task, read[0].holds):
            raise InputError(f"{read[0].name!r} limits choices, not a sum over the plan", path="constraint",
                             hint="what_if(constraints=[...]) answers under another one")  # fmt: skip
        upper = fixed[1]
        moving, bound = (small, large) if upper else (large, small)
        limit = float(ScalarProgram([bound]).run_named(task.problem.values)[0])
        return _Question(task, read[0].name, moving, upper, limit, _unit_of(spec, bound))

    def at(self, limit: float) -> Task | CoupledTask:
        """Return the question with another limit."""
        allowed = constant(limit, self.moving.dimension)
        holds = self.moving <= allowed if self.upper else self.moving >= allowed
        shown = Value(limit / self.unit.factor, self.unit.text if self.moving.dimension != NONE else "")
        text = f"{self.name.partition('<=' if '<=' in self.name else '>=')[0].strip()} "
        rule = Constraint(f"{text}{'<=' if self.upper else '>='} {shown}", holds, given_by_user=True)
        task = self.task
        if isinstance(task, CoupledTask):
            kept = [item for item in task.user if item.name != self.name]
            return replace(task, user=[*kept, user_constraint(task.problem, rule)])
        rest = [item for item in task.problem.constraints if item.name != self.name]
        return replace(task, problem=replace(task.problem, constraints=[*rest, rule]))

    def reached(self, solution: Solution | PlanSolution) -> float:
        """Return what a solution makes of the limited side."""
        known: dict[str, Any] = {**self.task.problem.values}
        if isinstance(solution, PlanSolution):
            known.update({name: value.si for name, value in solution.metrics.values_with_units.items()})
        else:
            known.update(solution.design)
        return float(ScalarProgram([self.moving]).run_named(known)[0])

    def keeps(self, solution: Solution | PlanSolution, limit: float) -> bool:
        """Return whether a solution satisfies another limit."""
        value = self.reached(solution)
        return value <= limit if self.upper else value >= limit


def metric_symbols_of(task: Task | CoupledTask, node: Expression) -> list[Any]:
    """Return the symbols in a node that stand for sums of a plan; none in a problem of single designs."""
    return metric_symbols(task.problem, node) if isinstance(task, CoupledTask) else []


def _unit_of(spec: ConstraintSpec, bound: Expression) -> Unit:
    """Return the unit that a limit is written in."""
    if bound.dimension == NONE:
        return DIMENSIONLESS
    if isinstance(spec, str):
        for piece in spec.replace(">=", "<=").split("<="):
            try:
                measure = as_measure(piece.strip())
            except InputError:
                continue
            if measure.dimension == bound.dimension:
                return measure.unit
    return base_unit(bound.dimension)


def answered(task: Task | CoupledTask, time_limit: float | None = None) -> Solution | PlanSolution | None:
    """Return the proven best of a question, None where nothing is possible; why it is not is not asked."""
    if isinstance(task, CoupledTask):
        from mlsysim_opt.optimize.coupled.run import program_backend, solution_of, solve_first

        engine = program_backend("auto")
        solved = solve_first(task, engine, Options(0.0, time_limit))
        if solved.found.x is None:
            if solved.found.status != "infeasible":
                raise InputError(f"a limit was reached: {solved.found.proof}", path="time_limit")
            return None
        return solution_of(task, solved, solved, engine.name, 0.0)
    answer = backend_named("enumerate").solve(task.search(), prune=True, halt=Halt(time_limit=time_limit))
    if answer.status == "unknown":
        raise InputError(f"a limit was reached: {answer.proof}", path="time_limit")
    if answer.design is None:
        return None
    return design_of(task, "enumerate", answer, answer, 0.0, explain=False)


def marginal(
    task: Task | CoupledTask,
    spec: ConstraintSpec,
    limits: Sequence[Any] | None = None,
    time_limit: float | None = None,
) -> Marginal:
    """Return what a limit is worth; see `Solution.marginal`."""
    asked = _Question.of(replace(task, then=[]), spec)
    if limits is None:
        wanted = [asked.limit]
    elif isinstance(limits, str) or not hasattr(limits, "__iter__"):
        raise InputError(f"expected limits, got {limits!r}", path="limits", hint="such as [100, 90, 80]")
    else:
        wanted = [_limit(asked, item) for item in limits]
    if not wanted:
        raise InputError("the list of limits is empty", path="limits")
    ordered = sorted(set(wanted), reverse=asked.upper)
    found: list[Solution | PlanSolution | None] = []
    for limit in ordered:
        before = found[-1] if found else None
        if found and before is None:
            found.append(None)  # tighter than what is impossible already
        elif before is not None and before.status == "optimal" and asked.keeps(before, limit):
            found.append(before)
        else:
            found.append(answered(asked.at(limit), time_limit))
    if limits is None and found[0] is not None:  # on to the next exact point
        step = asked.reached(found[0])
        beyond = step - NEXT * abs(step) if asked.upper else step + NEXT * abs(step)
        following = answered(asked.at(beyond), time_limit)
        ordered.append(beyond if following is None else asked.reached(following))
        found.append(following)
    return _told(asked, ordered, found)


def _limit(asked: _Question, given: Any) -> float:
    """Return a limit in base units; plain numbers are in the unit that the constraint is written in."""
    measure = as_measure(given, "limits")
    if measure.dimension == asked.moving.dimension:
        return measure.si
    if measure.dimension != NONE:
        raise DimensionError(f"{given!r} is no limit of {dimension_text(asked.moving.dimension)}", path="limits")
    return measure.si * asked.unit.factor


def _told(asked: _Question, limits: Sequence[float], found: Sequence[Solution | PlanSolution | None]) -> Marginal:
    objective = asked.task.objective
    sign = 1.0 if objective.sense == "min" else -1.0
    of = objective.expression.dimension
    unit = "" if asked.moving.dimension == NONE else asked.unit.text

    def shown(value: float) -> Value:
        return Value(value / asked.unit.factor, unit)

    values = [None if item is None else item.objective for item in found]
    costs: list[Value | None] = [None]
    secants: list[Value | None] = [None]
    for at in range(1, len(limits)):
        one, two = values[at - 1], values[at]
        if one is None or two is None:
            costs.append(None)
            secants.append(None)
            continue
        cost = sign * (two.si - one.si)
        wide = abs(limits[at] - limits[at - 1])
        costs.append(_readable(cost, of))
        secants.append(_readable(cost / wide, divide(of, asked.moving.dimension)))
    estimates = [_estimate(item, asked) for item in found]
    return Marginal(
        constraint=asked.name,
        objective=objective.name,
        limits=[shown(item) for item in limits],
        values=values,
        reached=[None if item is None else shown(asked.reached(item)) for item in found],
        costs=costs,
        secants=secants,
        estimates=estimates,
        solutions=list(found),
    )


def _estimate(solution: Solution | PlanSolution | None, asked: _Question) -> Value | None:
    if not isinstance(solution, PlanSolution):
        return None
    side = asked.name.partition("<=" if "<=" in asked.name else ">=")[0].strip()
    found = [item.estimate for item in solution.constraints if item.given_by_user and item.name.startswith(side)]
    return found[0] if len(found) == 1 else None


def _readable(value: float, of: Any) -> Value:
    if of == NONE:
        return Value(value)
    unit = readable_unit(value, of)
    return Value(value / unit.factor if math.isfinite(value) else None, unit.text)


# what if --------------------------------------------------------------------------------------------------------------
def asked_otherwise(
    task: Task | CoupledTask,
    *,
    constraints: Sequence[ConstraintSpec] = (),
    without: Sequence[str] = (),
    objective: Any = None,
    choices: dict[str, Any] | None = None,
    given: dict[str, Any] | None = None,
) -> Task | CoupledTask:
    """Return a question with some of it changed.

    Args:
        constraints: to be added. without: constraints of the user's, by their words, to be left out.
        objective: another one. choices, given: of the formulation, in place of what was given.
    Raises:
        InputError: there is no such constraint, or the problem is not made by a formulation that could be given these.
    """
    from mlsysim_opt.optimize.formulation import formulation

    own = read_constraints(task.problem, task.specs)
    names = [item.name for item in own]
    for name in without:
        if name not in names:
            raise InputError(f"no constraint of this question is {name!r}", path="without",
                             hint="constraints: " + "; ".join(names))  # fmt: skip
    problem: Any = task.problem
    kept = [spec for spec in task.specs if not any(item.name in without for item in read_constraints(problem, [spec]))]
    if given or choices:
        request = task.problem.request
        if not request.get("formulation"):
            raise InputError("this problem is not made by a formulation, so it has no givens", path="given")
        made = formulation(request["formulation"])
        changed = {made.aliases.get(name, name): value for name, value in (given or {}).items()}
        before = {
            name: value for name, value in request["given"].items() if made.aliases.get(name, name) not in changed
        }
        narrowed = {**(request.get("choices") or {}), **(choices or {})}
        problem = made.problem({**before, **changed}, narrowed)
    elif isinstance(task, Task):
        holds = {item.holds for item in own}
        problem = replace(problem, constraints=[item for item in problem.constraints if item.holds not in holds])
    spec = objective if objective is not None else task.objective_spec
    asked: Callable[..., Any] = CoupledTask.of if isinstance(task, CoupledTask) else Task.of
    made_task: Task | CoupledTask = asked(problem, spec, [*kept, *constraints])
    if isinstance(made_task, CoupledTask) and isinstance(task, CoupledTask) and problem is task.problem:
        made_task.compiler = task.compiler  # what it evaluated is evaluated
    return made_task
