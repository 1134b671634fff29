"""One design or plan for several scenarios: what is asked of it, and of which problems."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms import maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, constant
from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.robust import robust_plan, robust_task, sum_of_shares
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.difference import SAME
from mlsysim_opt.optimize.formulation import Instance, asked_again, formulation
from mlsysim_opt.optimize.otherwise import asked_otherwise
from mlsysim_opt.optimize.problem import Constraint, Objective, Problem
from mlsysim_opt.optimize.request import ConstraintSpec, read_constraints
from mlsysim_opt.optimize.run import Task, proven, solve
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

SETTINGS_OF_DESIGNS = ("backend", "prune", "time_limit")


@dataclass(frozen=True, eq=False)
class Uncertain:
    """A question whose answer must do in several scenarios.

    Attributes:
        base: the question for the givens as they are. given: what is given instead, in each scenario.
        measure: what is made small over them. intervals: numbers whose ends the scenarios are, if they are.
        instance: the formulation with its givens; None where the problem is the user's own.
    """

    base: Task | CoupledTask
    given: list[dict[str, Any]]
    measure: Measure
    intervals: tuple[str, ...] = ()
    instance: Instance | None = None

    @staticmethod
    def of(
        base: Task | CoupledTask,
        *,
        scenarios: Sequence[Mapping[str, Any]] | None,
        intervals: Mapping[str, Any] | None,
        measure: str,
        alpha: float | None,
        shares: Sequence[float] | None,
        instance: Instance | None = None,
    ) -> Uncertain:
        """Return the question that a user means; see `optimize`."""
        if (scenarios is None) == (intervals is None):
            raise InputError("either scenarios or intervals", path="scenarios")
        given = checked_scenarios(scenarios) if intervals is None else corners(intervals)
        asked = Measure.of(measure, alpha, shares, len(given))
        if intervals is not None and asked.name not in ("worst_case", "regret"):
            raise InputError(f"{asked.name} needs scenarios with probabilities, not intervals", path="robust")
        return Uncertain(base, given, asked, tuple(intervals or ()), instance)

    def otherwise(self, *, given: Mapping[str, Any] | None = None, choices: Any = None, **changed: Any) -> Uncertain:
        """Return the question with some of it changed, over the same scenarios; see `asked_otherwise`."""
        if self.instance is None or not (given or choices):
            return replace(self, base=asked_otherwise(self.base, given=given, choices=choices, **changed))
        instance = self.instance.under(given or {}, choices)
        return replace(self, base=asked_otherwise(self.base, problem=instance.problem(), **changed), instance=instance)

    @cached_property
    def tasks(self) -> list[Any]:
        """The question in each scenario."""
        base = self.base
        takes = sorted(self.instance.of.takes) if self.instance else []
        if self.intervals:
            refuse_bent(_roots(base), _numbers(self.intervals, base, takes))

        def rebuild(given: dict[str, Any]) -> Problem | CoupledProblem:
            assert self.instance is not None
            return self.instance.under(given).problem()

        problems: list[Any] = [under(base.problem, item, takes, rebuild) for item in self.given]
        if isinstance(base, CoupledTask):
            return [CoupledTask.of(item, self.objective, base.specs) for item in problems]
        return [_bare_task(item, self.objective, base.specs) for item in problems]

    @property
    def objective(self) -> Any:
        """What is wanted in each scenario, as the user says it.

        Raises:
            InputError: these are several objectives.
        """
        found = self.base.objective_spec if self.base.objective_spec is not None else self.base.objective.name
        if isinstance(found, list | tuple) and len(found) > 1:
            raise InputError("a robust answer has one objective, and several are given", path="objective",
                             hint="make the most important one robust, and limit the others")  # fmt: skip
        return found

    def question(self, **settings: Any) -> Task | CoupledTask:
        """Return the question of all scenarios at once, whose plain answer is the robust one.

        Args:
            settings: of the solves that a regret takes.
        """
        made: Task | CoupledTask
        if isinstance(self.base, CoupledTask):
            made = robust_task(self.base, self.tasks, self.measure, **settings)
        else:
            made = _robust_task(self.base, self.tasks, self.measure, **settings)
        try:
            stored = {"uncertain": {
                "scenarios": [_plain(item) for item in self.given], "intervals": list(self.intervals),
                "robust": self.measure.name, "alpha": self.measure.alpha, "shares": list(self.measure.shares),
            }}  # fmt: skip
        except TypeError:
            stored = {"extended": "scenarios"}  # type: ignore[dict-item]
        made.problem.request = {**made.problem.request, **stored}
        made.objective_spec, made.uncertain = self.objective, self
        return made

    def answer(self, **settings: Any) -> Solution | PlanSolution:
        """Return the answer with the least measure over the scenarios.

        Args:
            settings: of the solve, as of `optimize`.
        Raises:
            InfeasibleError, InputError: as `optimize`.
        """
        if not isinstance(self.base, CoupledTask):
            settings = {name: value for name, value in settings.items() if name in SETTINGS_OF_DESIGNS}
        asked = self.question(**settings)
        if isinstance(asked, CoupledTask):
            return robust_plan(self.base, self.tasks, asked, self.given, self.measure, **settings)  # type: ignore[arg-type]
        return _robust_design(self, asked, **settings)


def stored_question(request: Mapping[str, Any]) -> Task | CoupledTask:
    """Return the question that a stored answer is of: where it is one of several scenarios, that of all at once.

    Raises:
        InputError: its objective or a constraint was a function, which JSON cannot hold.
    """
    problem, asked = asked_again(request), request.get("uncertain")
    kind: Any = CoupledTask if isinstance(problem, CoupledProblem) else Task
    base: Task | CoupledTask = kind.of(problem, request["objective"], request["constraints"])
    if not asked:
        return base
    instance = Instance(formulation(request["formulation"]), request["given"], request.get("choices"))
    given = checked_scenarios(asked["scenarios"])
    measure = Measure(asked["robust"], asked["alpha"], tuple(asked["shares"]))
    return Uncertain(base, given, measure, tuple(asked["intervals"]), instance).question()


def _plain(item: Any) -> Any:
    """Return what is given in a scenario as JSON data.

    Raises:
        TypeError: it is none.
    """
    if isinstance(item, Mapping) and all(isinstance(name, str) for name in item):
        return {name: _plain(value) for name, value in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(value) for value in item]
    if isinstance(item, np.ndarray | np.generic):
        return _plain(item.tolist())
    if item is None or isinstance(item, str | bool | int) or (isinstance(item, float) and math.isfinite(item)):
        return item
    raise TypeError(f"{item!r} is not stored")


def _numbers(intervals: Sequence[str], base: Task | CoupledTask, takes: Sequence[str]) -> list[str]:
    for name in intervals:
        if name in takes or name not in base.problem.values:
            raise InputError("is not a number of the problem, so what is between its ends is not known",
                             path=f"intervals.{name}", hint="give scenarios")  # fmt: skip
    return list(intervals)


def _roots(base: Task | CoupledTask) -> list[Expression]:
    """Return the expressions that decide what a question's answer is."""
    if isinstance(base, Task):
        return [base.objective.cost, *(side for item in base.problem.constraints for side in item.sides or ())]
    totals = [base.linear.total, *(item.coupling.total for item in base.relations)]
    totals += [item.total for item in base.problem.totals.values() if isinstance(item, Largest)]
    roots = [item for total in totals for item in (total.offset, *(term.coefficient for term in total.terms))]
    return [*roots, *(side for item in base.local for side in item.sides or ())]


# designs --------------------------------------------------------------------------------------------------------------
def _bare_task(problem: Any, objective: Any, specs: Sequence[ConstraintSpec]) -> Task:
    """Return the question about a problem that may carry the user's constraints already."""
    users = {rule.holds for rule in read_constraints(problem, specs)}
    bare = replace(problem, constraints=[rule for rule in problem.constraints if rule.holds not in users])
    return Task.of(bare, objective, specs)


def _robust_task(base: Task, tasks: Sequence[Task], measure: Measure, **settings: Any) -> Task:
    """Return the question of all scenarios: the measure is an expression, so every design is evaluated."""
    sign = 1.0 if base.objective.sense == "min" else -1.0
    changes = [settled_in(task.problem.values, base.problem.values) for task in tasks]
    costs = []
    for task, change in zip(tasks, changes, strict=True):
        if [id(choice) for choice in task.problem.choices] != [id(choice) for choice in base.problem.choices]:
            raise InputError("a scenario changes what there is to choose", path="scenarios")
        costs.append(change(task.objective.cost))
    losses = costs
    if measure.name == "regret":
        with suppress(InfeasibleError):  # else there is no design for all of them, and why is asked of all of them
            found = [proven(task, **settings) for task in tasks]
            losses = [_lost(cost, sign * item.objective.si) for cost, item in zip(costs, found, strict=True)]
    cost = _measured(losses, measure)
    asked = Objective(f"{measure.name} of {base.objective.name}", "min", cost)
    if sign < 0 and measure.name != "regret":
        asked = Objective(asked.name, "max", -cost)
    problem = replace(base.problem, constraints=_rules(tasks, changes))
    return Task(problem, asked, [], base.specs, base.objective_spec)


def _robust_design(uncertain: Uncertain, asked: Task, **settings: Any) -> Solution:
    """Return the design with the least measure, and what it costs."""
    base = uncertain.base
    assert isinstance(base, Task)
    answer = solve(asked, explain=False, **settings)
    nominal: Solution | None = None
    with suppress(InfeasibleError):  # the givens as they are need be none of the scenarios
        nominal = solve(base, explain=False, **settings)
    sign = 1.0 if base.objective.sense == "min" else -1.0

    def value_of(task: Task, found: Solution | None) -> float | None:
        if found is None:
            return None
        cost, _, holds, _ = task.scalar.at(found.design)
        return sign * cost if all(holds) else None

    report = Robustness.of(
        uncertain.measure,
        uncertain.given,
        lambda value: base.shown(base.objective.expression, value),
        sense=base.objective.sense,
        value=answer.objective,
        nominal=None if nominal is None else nominal.objective,
        of_robust=value_of(base, answer),
        values=[sign * task.scalar.at(answer.design)[0] for task in uncertain.tasks],
        of_nominal=[value_of(task, nominal) for task in uncertain.tasks],
    )
    return replace(answer, robustness=report)


def _rules(tasks: Sequence[Task], changes: Sequence[Callable[[Expression], Expression]]) -> list[Constraint]:
    """Return the constraints of all scenarios, each once by its name."""
    by_name: dict[str, list[Constraint]] = {}
    for task, change in zip(tasks, changes, strict=True):
        for rule in task.problem.constraints:
            by_name.setdefault(rule.name, []).append(replace(rule, holds=change(rule.holds)))
    return [in_all(rules) for rules in by_name.values()]


def _lost(cost: Expression, best: float) -> Expression:
    """Return what is lost against the best; nothing where that is rounding."""
    of = cost.dimension
    return where(cost <= constant(best + SAME * abs(best), of), constant(0.0, of), cost - constant(best, of))


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
