"""One plan for several scenarios: rows for each scenario over the same columns, so the answer is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlsysim_opt.algebra.atoms import maximum
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, constant
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.compile import Compiler
from mlsysim_opt.optimize.coupled.linear import Linear
from mlsysim_opt.optimize.coupled.outcome import Options
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem
from mlsysim_opt.optimize.coupled.ratio import refuse_negative_divisors
from mlsysim_opt.optimize.coupled.run import audited, shown, solve_coupled
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask, UserConstraint
from mlsysim_opt.optimize.coupled.totals import Term, Total, sum_of
from mlsysim_opt.optimize.problem import Constraint, Objective
from mlsysim_opt.optimize.scenarios import Measure, Robustness, changed_relation, settled_in


def robust_plan(
    base: CoupledTask, tasks: Sequence[CoupledTask], given: Sequence[dict[str, Any]], measure: Measure, **settings: Any
) -> PlanSolution:
    """Return the plan with the least measure over scenarios; every relation holds in each of them.

    Args:
        base: the question for the givens as they are. tasks: the same question under each scenario.
        given: what is given in each, for the report. settings: as of `solve_coupled`.
    Raises:
        InputError: the objective is a ratio or a largest, or a scenario changes what there is to choose.
    """

    def solve(task: CoupledTask) -> PlanSolution:
        return solve_coupled(task, **settings)

    for task in tasks:
        refuse_negative_divisors(task, Options())
    costs = [_rebased(base, task) for task in tasks]
    alone = [_cost_of(solve(task)) for task in tasks] if measure.name == "regret" else [0.0] * len(tasks)
    asked = _asked(base, tasks, costs, measure, alone)
    found = solve(asked)
    nominal = solve(base)
    return replace(found, robustness=_report(base, tasks, given, measure, found, nominal))


def _cost_of(plan: PlanSolution) -> float:
    return plan.objective.si if plan.sense == "min" else -plan.objective.si


def _rebased(base: CoupledTask, task: CoupledTask) -> Total:
    """Return what a scenario minimises, as a sum of the amounts of the base."""
    linear: Linear = task.linear
    if linear.divisor is not None or linear.relations or base.linear.divisor is not None:
        raise InputError("robust answers are for sums: this objective is a ratio, or the largest of something",
                         path="objective")  # fmt: skip
    return _moved(base.problem, task.problem, linear.total)


def _moved(base: CoupledProblem, other: CoupledProblem, total: Total) -> Total:
    change = settled_in(other.values, base.values)
    terms = tuple(
        Term(_same_family(base, other, term), change(term.coefficient), term.at) for term in total.terms
    )  # fmt: skip
    return Total(terms, change(total.offset))


def _same_family(base: CoupledProblem, other: CoupledProblem, term: Term) -> Any:
    family = term.family
    if family.name not in other.families:
        return family  # an amount that a constraint brought along
    mine = base.families.get(family.name)
    change = settled_in(other.values, base.values)
    if mine is family and all(
        change(item) is item for item in (family.low, family.high, family.picks) if item is not None
    ):
        return mine
    if mine is None or (mine.over, mine.sort, mine.group) != (family.over, family.sort, family.group):
        raise InputError(f"a scenario changes what there is to choose: {family.name}", path="scenarios")
    for one, two in ((mine.low, family.low), (mine.high, family.high), (mine.picks, family.picks)):
        if one is not two or (two is not None and change(two) is not two):
            raise InputError(f"a scenario changes the bounds of {family.name}", path="scenarios",
                             hint="bounds that depend on a scenario belong into a relation")  # fmt: skip
    return mine


def _asked(
    base: CoupledTask, tasks: Sequence[CoupledTask], costs: Sequence[Total], measure: Measure, alone: Sequence[float]
) -> CoupledTask:
    """Return the question whose answer is robust."""
    problem = base.problem.copy()
    problem.decisions, problem.families = dict(problem.decisions), dict(problem.families)
    problem.couplings = _in_each(base, tasks, [task.problem.couplings for task in tasks], base.problem.couplings)
    problem.local = _truths(base, tasks)
    user = []
    for at, item in enumerate(base.user):
        if not item.relations:
            continue  # among the truths
        relations = _in_each(base, tasks, [task.user[at].relations for task in tasks], item.relations)
        user.append(UserConstraint(item.constraint, tuple(relations)))
    sign = 1.0 if base.objective.sense == "min" else -1.0
    unit = next((item.unit for item in problem.metrics.values()
                 if item.expression is base.objective.expression and item.unit), None)  # fmt: skip
    of = base.objective.cost.dimension
    names = [f"scenario_{at + 1}" for at in range(len(tasks))]
    for name, total in zip(names, costs, strict=True):
        problem.measure(name, total if sign > 0 else -total, unit=unit, about=f"{base.objective.name} there")
    told = [problem.metric(name) for name in names]
    losses: list[Expression] = [sign * item - constant(best, of) for item, best in zip(told, alone, strict=True)]
    cost: Expression
    if measure.name in ("worst_case", "regret"):
        cost = losses[0] if len(losses) == 1 else maximum(*losses)
    elif measure.name == "expected":
        cost = _weighted(losses, measure.shares)
    else:
        cost = _tail(problem, costs, measure)
    objective = Objective(f"{measure.name} of {base.objective.name}", "min", cost)
    if sign < 0 and measure.name != "regret":
        objective = Objective(objective.name, "max", -cost)
    problem.request = {**problem.request, "extended": "scenarios"}
    return replace(base, problem=problem, objective=objective, then=[], user=user, compiler=Compiler(problem))


def _weighted(losses: Sequence[Expression], shares: Sequence[float]) -> Expression:
    made = losses[0] * shares[0]
    for loss, share in zip(losses[1:], shares[1:], strict=True):
        made = made + loss * share
    return made


def _tail(problem: CoupledProblem, costs: Sequence[Total], measure: Measure) -> Expression:
    """Return the mean of the worst share of scenarios: a level, and what exceeds it. Source: Rockafellar and Uryasev,
    Journal of Risk 2 (2000).
    """
    of = costs[0].dimension
    none = constant(0.0, of)
    level = replace(problem.amounts("value_at_risk", ()), dimension=of, low=None, about="the level of the tail")
    problem.families[level.name] = level
    parts: list[Total] = [level.total()]
    for at, (cost, share) in enumerate(zip(costs, measure.shares, strict=True)):
        name = f"beyond_{at + 1}"
        beyond = replace(problem.amounts(name, ()), dimension=of, low=none, about="what exceeds the level there")
        problem.families[name] = beyond
        problem.require(f"{name} is what exceeds the level", cost - level - beyond <= 0, structural=True)
        parts.append(beyond.total(share / (1 - measure.alpha)))
    problem.measure("cvar", sum_of(parts))
    return problem.metric("cvar")


def _in_each(
    base: CoupledTask, tasks: Sequence[CoupledTask], each: Sequence[Sequence[Coupled]], own: Sequence[Coupled]
) -> list[Coupled]:
    """Return relations once where they are the same in all scenarios, else once for each of them."""
    made: list[Coupled] = []
    for at, item in enumerate(own):
        variants: dict[Any, Coupled] = {}
        for number, (task, relations) in enumerate(zip(tasks, each, strict=True), 1):
            if len(relations) != len(own) or relations[at].name != item.name:
                raise InputError("a scenario changes which relations there are", path="scenarios")
            other = relations[at]
            change = settled_in(task.problem.values, base.problem.values)
            total = _moved(base.problem, task.problem, other.coupling.total)
            if any(family.name not in base.problem.families for family in total.families):
                if _written(total) != _written(item.coupling.total):
                    raise InputError(f"{item.name!r} limits the largest of something that a scenario changes",
                                     path="scenarios")  # fmt: skip
                total = item.coupling.total
            moved = replace(changed_relation(other, change), coupling=replace(other.coupling, total=total))
            key = (
                tuple((term.family, term.coefficient, tuple(term.at.items())) for term in total.terms),
                total.offset, moved.when,
            )  # fmt: skip
            variants.setdefault(key, replace(moved, name=f"{item.name} [scenario {number}]"))
        if len(variants) == 1:
            made += [replace(next(iter(variants.values())), name=item.name)]
        else:
            made += variants.values()
    return made


def _written(total: Total) -> list[Any]:
    return [total.offset, *((term.family.name, term.coefficient) for term in total.terms)]


def _truths(base: CoupledTask, tasks: Sequence[CoupledTask]) -> list[Constraint]:
    """Return truths about single tuples: those of all scenarios."""
    made: list[Constraint] = []
    for task in tasks:
        change = settled_in(task.problem.values, base.problem.values)
        for item in task.local:
            moved = replace(item, holds=change(item.holds))
            if not any(moved.holds is other.holds for other in made):
                made.append(moved)
    return made


# the report -----------------------------------------------------------------------------------------------------------
def _report(
    base: CoupledTask,
    tasks: Sequence[CoupledTask],
    given: Sequence[dict[str, Any]],
    measure: Measure,
    found: PlanSolution,
    nominal: PlanSolution,
) -> Robustness:
    expression, sign = base.objective.expression, 1.0 if base.objective.sense == "min" else -1.0

    def told(value: float) -> Value:
        return shown(base.problem, expression, value, expression.dimension)

    def objective_of(plan: PlanSolution) -> float:
        known = {name: value.si for name, value in plan.metrics.values_with_units.items()}
        return float(ScalarProgram([expression]).run_named({**base.problem.values, **known})[0])

    of_nominal: list[float | None] = []
    for task in tasks:
        audit = audited(task, nominal, [task.linear.total])
        of_nominal.append(None if audit.failing else sign * audit.totals[0])
    return Robustness.of(
        measure,
        given,
        told,
        sense=base.objective.sense,
        value=found.objective,
        nominal=nominal.objective,
        of_robust=objective_of(found),
        values=[found.metrics.values_with_units[f"scenario_{at + 1}"].si for at in range(len(tasks))],
        of_nominal=of_nominal,
    )
