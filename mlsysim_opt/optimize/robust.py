"""One design or plan for several scenarios: what is asked of it, and of which problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mlsysim_opt.algebra.atoms import maximum, minimum
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, constant
from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.problem import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.robust import robust_plan, sum_of_shares
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.problem import Constraint, Objective, Problem
from mlsysim_opt.optimize.request import read_constraints
from mlsysim_opt.optimize.run import Task, solve
from mlsysim_opt.optimize.scenarios import (
    Measure,
    Robustness,
    checked_scenarios,
    corners,
    in_all,
    refuse_bent,
    settled_in,
    under,
)
from mlsysim_opt.optimize.solution import Solution

Rebuild = Callable[[dict[str, Any]], Problem | CoupledProblem]


def robust(
    base: Task | CoupledTask,
    *,
    scenarios: Sequence[Mapping[str, Any]] | None,
    intervals: Mapping[str, Any] | None,
    measure: str,
    alpha: float,
    shares: Sequence[float] | None,
    takes: Sequence[str] = (),
    rebuild: Rebuild | None = None,
    **settings: Any,
) -> Solution | PlanSolution:
    """Return the answer with the least measure over scenarios; see `optimize`.

    Args:
        takes, rebuild: givens of the formulation, and what makes its problem from changed ones.
        settings: of the solve.
    """
    if (scenarios is None) == (intervals is None):
        raise InputError("either scenarios or intervals", path="scenarios")
    given = checked_scenarios(scenarios) if intervals is None else corners(intervals)
    asked = Measure.of(measure, alpha, shares, len(given))
    if intervals is not None and asked.name not in ("worst_case", "regret"):
        raise InputError(f"{asked.name} needs scenarios with probabilities, not intervals", path="robust")
    objective = base.objective_spec if base.objective_spec is not None else base.objective.name
    if isinstance(objective, list | tuple) and len(objective) > 1:
        raise InputError("a robust answer has one objective", path="objective")
    problems: list[Any] = [under(base.problem, item, takes, rebuild) for item in given]
    if isinstance(base, CoupledTask):
        tasks = [CoupledTask.of(item, objective, base.specs) for item in problems]
        if intervals is not None:
            refuse_bent(_plan_roots(base), _numbers(intervals, base, takes))
        return robust_plan(base, tasks, given, asked, **settings)
    if intervals is not None:
        roots = [base.objective.cost, *(side for item in base.problem.constraints for side in item.sides or ())]
        refuse_bent(roots, _numbers(intervals, base, takes))
    settings = {name: value for name, value in settings.items() if name in ("backend", "prune", "time_limit")}
    return _robust_design(base, problems, given, asked, objective, settings)


def _numbers(intervals: Mapping[str, Any], base: Task | CoupledTask, takes: Sequence[str]) -> list[str]:
    for name in intervals:
        if name in takes or name not in base.problem.values:
            raise InputError("is not a number of the problem, so what is between its ends is not known",
                             path=f"intervals.{name}", hint="give scenarios")  # fmt: skip
    return list(intervals)


def _plan_roots(base: CoupledTask) -> list[Expression]:
    totals = [base.linear.total, *(item.coupling.total for item in base.relations)]
    totals += [item.total for item in base.problem.totals.values() if isinstance(item, Largest)]
    roots = [item for total in totals for item in (total.offset, *(term.coefficient for term in total.terms))]
    return [*roots, *(side for item in base.local for side in item.sides or ())]


def _robust_design(
    base: Task,
    problems: Sequence[Problem],
    given: Sequence[dict[str, Any]],
    measure: Measure,
    objective: Any,
    settings: dict[str, Any],
) -> Solution:
    """Return the design with the least measure: the measure is an expression, so every design is evaluated."""
    sign = 1.0 if base.objective.sense == "min" else -1.0
    specs = base.specs
    bare = []
    for item in problems:
        users = {rule.holds for rule in read_constraints(item, specs)}
        bare.append(replace(item, constraints=[rule for rule in item.constraints if rule.holds not in users]))
    tasks = [Task.of(item, objective, specs) for item in bare]
    changes = [settled_in(task.problem.values, base.problem.values) for task in tasks]
    costs = []
    for task, change in zip(tasks, changes, strict=True):
        if [item.choice for item in task.problem.decisions.values()] != base.problem.choices:
            raise InputError("a scenario changes what there is to choose", path="scenarios")
        costs.append(change(task.objective.cost))
    rules = _rules(tasks, changes)
    alone = [0.0] * len(tasks)
    if measure.name == "regret":
        with suppress(InfeasibleError):  # else there is no design for all of them, and why is asked of all of them
            found = [solve(task, explain=False, **settings) for task in tasks]
            alone = [sign * item.objective.si for item in found]
    losses = [cost - constant(best, cost.dimension) for cost, best in zip(costs, alone, strict=True)]
    cost = _measured(losses, measure)
    name = f"{measure.name} of {base.objective.name}"
    asked = Objective(name, "min", cost)
    if sign < 0 and measure.name != "regret":
        asked = Objective(name, "max", -cost)
    problem = replace(base.problem, constraints=rules, request={**base.problem.request, "extended": "scenarios"})
    answer = solve(Task(problem, asked, [], specs, lambda metrics: cost), explain=False, **settings)
    nominal: Solution | None = None
    with suppress(InfeasibleError):  # the givens as they are need be none of the scenarios
        nominal = solve(base, explain=False, **settings)
    expression = base.objective.expression

    def told(value: float) -> Value:
        return base.shown(expression, value)

    def at(design: Mapping[str, Any], roots: Sequence[Expression]) -> list[float]:
        return [float(item) for item in ScalarProgram(list(roots)).run_named({**base.problem.values, **design})]

    def value_of(task: Task, found: Solution | None) -> float | None:
        if found is None:
            return None
        cost, _, holds, _ = task.scalar.at(found.design)
        return sign * cost if all(holds) else None

    report = Robustness.of(
        measure,
        given,
        told,
        sense=base.objective.sense,
        value=answer.objective,
        nominal=None if nominal is None else nominal.objective,
        of_robust=value_of(base, answer),
        values=[sign * item for item in at(answer.design, costs)],
        of_nominal=[value_of(task, nominal) for task in tasks],
    )
    return replace(answer, robustness=report)


def _rules(tasks: Sequence[Task], changes: Sequence[Callable[[Expression], Expression]]) -> list[Constraint]:
    """Return the constraints of all scenarios, each once by its name."""
    by_name: dict[str, list[Constraint]] = {}
    for task, change in zip(tasks, changes, strict=True):
        for rule in task.problem.constraints:
            by_name.setdefault(rule.name, []).append(replace(rule, holds=change(rule.holds)))
    return [in_all(rules) for rules in by_name.values()]


def _measured(losses: Sequence[Expression], measure: Measure) -> Expression:
    if len(losses) == 1:
        return losses[0]
    if measure.name in ("worst_case", "regret"):
        return maximum(*losses)
    if measure.name == "expected":
        return sum_of_shares(losses, measure.shares)
    zero = constant(0.0, losses[0].dimension)
    levels = []
    for level in losses:  # the mean of the tail is least at one of the losses
        made = level
        for loss, share in zip(losses, measure.shares, strict=True):
            if loss is not level:
                made = made + maximum(loss - level, zero) * (share / (1 - measure.alpha))
        levels.append(made)
    return minimum(*levels)
