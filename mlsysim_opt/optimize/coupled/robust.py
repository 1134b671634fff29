"""One plan for several scenarios: rows for each scenario over the same columns, so the answer is exact."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms import maximum, where
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, constant, substitute
from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.audit import Amount, Auditor
from mlsysim_opt.optimize.coupled.compile import Compiled, Compiler, placed
from mlsysim_opt.optimize.coupled.engines import program_backend
from mlsysim_opt.optimize.coupled.linear import (
    linear_divisor,
    linear_objective,
    linear_relations,
    metric_symbols,
)
from mlsysim_opt.optimize.coupled.outcome import Options
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.ratio import refuse_negative_divisors
from mlsysim_opt.optimize.coupled.rechecked import amounts_in, values_at
from mlsysim_opt.optimize.coupled.reported import shown
from mlsysim_opt.optimize.coupled.run import solve_coupled
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.stages import Stages, in_scenario, written
from mlsysim_opt.optimize.coupled.task import CoupledTask, UserConstraint, user_constraint
from mlsysim_opt.optimize.coupled.totals import Family, Total, sum_of
from mlsysim_opt.optimize.problem import Constraint, Metric, Objective
from mlsysim_opt.optimize.scenarios import Measure, Robustness, changed_relation, in_all


def robust_plan(
    base: CoupledTask,
    tasks: Sequence[CoupledTask],
    asked: CoupledTask,
    given: Sequence[dict[str, Any]],
    measure: Measure,
    **settings: Any,
) -> PlanSolution:
    """Return the plan with the least measure over scenarios; every relation holds in each of them.

    Args:
        base: the question for the givens as they are. tasks: the same question under each scenario.
        asked: that of all of them (`robust_task`). given: what is given in each, for the report.
        settings: as of `solve_coupled`.
    Raises:
        InfeasibleError: no plan keeps everything in all scenarios; what must give way is that of all of them.
    """
    found = solve_coupled(asked, **settings)
    try:
        nominal = solve_coupled(base, **settings)
    except InfeasibleError:  # the givens as they are need be none of the scenarios
        nominal = None
    report = _report(base, tasks, given, measure, found, nominal)
    objective = replace(found.objective, value=0.0) if report.value.value == 0 else found.objective
    return replace(found, objective=objective, robustness=report)


def robust_task(base: CoupledTask, tasks: Sequence[CoupledTask], measure: Measure, **settings: Any) -> CoupledTask:
    """Return the question whose answer is the plan with the least measure over scenarios; see `robust_plan`.

    Raises:
        InputError: the objective is a ratio, or a scenario changes what there is to choose.
    """
    for task in tasks:
        refuse_negative_divisors(task, Options())
    if any(task.linear.divisor is not None for task in [base, *tasks]):
        raise InputError("robust answers are for sums: this objective is a ratio", path="objective",
                         hint="limit one of its sums, and make the other one small")  # fmt: skip
    merged = _Merged(base, tasks, Stages.of(base.problem, [task.problem for task in tasks]))
    alone = [0.0] * len(tasks)
    if measure.name == "regret":
        try:
            best = [solve_coupled(task, **settings) for task in tasks]
        except InfeasibleError:  # nor is there a plan for all of them, and why is asked of all of them
            return merged.asked(replace(measure, name="worst_case"), alone)
        for plan in best:
            plan.refuse_unsettled()
        alone = [plan.objective.si if plan.sense == "min" else -plan.objective.si for plan in best]
    return merged.asked(measure, alone)


@dataclass(eq=False)
class _Merged:
    """The scenarios of a question, as one problem.

    Attributes:
        problem: of the amounts of all scenarios. versions: by the name of a sum of theirs, what stands for it in each.
    """

    base: CoupledTask
    tasks: Sequence[CoupledTask]
    stages: Stages
    problem: CoupledProblem = field(init=False)
    versions: dict[str, list[Expression]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.problem = problem = self.base.problem.copy()
        problem.decisions, problem.families = dict(problem.decisions), dict(self.stages.families)
        problem.coarser, problem.levers = None, []  # these are of one scenario
        if not self.stages.same:  # what is known about parts of the problem is about its own amounts
            problem.blocks, problem.standing, problem.chain = [], None, None
        problem.local = self.stages.local
        self._drop_later()
        problem.couplings = self._couplings()

    def asked(self, measure: Measure, alone: Sequence[float]) -> CoupledTask:
        """Return the question whose answer is robust.

        Args:
            alone: what would have been best in each scenario, for the regret.
        """
        problem, base = self.problem, self.base
        user = [self._user(at) for at in range(len(base.user))]
        sign = 1.0 if base.objective.sense == "min" else -1.0
        unit = next((item.unit for item in base.problem.metrics.values()
                     if item.expression is base.objective.expression and item.unit), None)  # fmt: skip
        costs = [self.there(number, task.objective.cost) for number, task in enumerate(self.tasks)]
        for number, cost in enumerate(costs):
            told = f"{base.objective.name} there"
            problem.measure(f"scenario_{number + 1}", cost if sign > 0 else -cost, unit=unit, about=told)
        losses = [cost - constant(best, cost.dimension) for cost, best in zip(costs, alone, strict=True)]
        if measure.name in ("worst_case", "regret"):
            cost = maximum(*dict.fromkeys(losses))
        elif measure.name == "expected":
            cost = sum_of_shares(losses, measure.shares)
        else:
            cost = _tail(problem, losses, measure)
        objective = Objective(f"{measure.name} of {base.objective.name}", "min", cost)
        if sign < 0 and measure.name != "regret":
            objective = Objective(objective.name, "max", -cost)
        then = []
        if measure.name != "expected" and any(family.later for family in problem.families.values()):
            # what is decided later is decided as well as possible in every scenario, not in the worst alone
            total = sum_of_shares(costs, [1 / len(costs)] * len(costs))
            then = [Objective(f"mean of {base.objective.name}", "min", total)]
        return replace(base, problem=problem, objective=objective, then=then, user=user, compiler=Compiler(problem))

    # metrics ----------------------------------------------------------------------------------------------------------
    def there(self, number: int, node: Expression) -> Expression:
        """Return what an expression of the metrics of a scenario is in the problem of all of them."""
        symbols = metric_symbols(self.tasks[number].problem, node)
        replaced: dict[Expression, Expression] = {item: self._versions(item.name)[number] for item in symbols}
        return self.stages.changes[number](substitute(node, replaced) if replaced else node)

    def _versions(self, name: str) -> list[Expression]:
        """Return the metric that a sum is in each scenario: the problem's own where it is the same in all of them."""
        if name not in self.versions:
            totals = [self.stages.measured(at, task.problem.totals[name]) for at, task in enumerate(self.tasks)]
            known: dict[Any, Expression] = {}
            if name in self.problem.totals:
                known[written(self.problem.totals[name])] = self.problem.metric(name)
            if not all(written(total) in known for total in totals):
                known = {}
            made = []
            for number, total in enumerate(totals):
                key = written(total)
                if key not in known:
                    metric = self.base.problem.metrics[name]
                    self.problem.measure(in_scenario(name, number), total, unit=metric.unit, about=metric.about)
                    known[key] = self.problem.metric(in_scenario(name, number))
                made.append(known[key])
            self.versions[name] = made
        return self.versions[name]

    def _drop_later(self) -> None:
        """Leave out metrics of amounts that every scenario decides for itself: they have no value for all of them."""
        problem, families = self.problem, set(self.stages.families.values())
        problem.totals = {name: self.stages.as_given(total) for name, total in problem.totals.items()}
        lost = {name for name, total in problem.totals.items() if not families.issuperset(_families_of(total))}
        for name, metric in problem.metrics.items():
            if metric.expression is None:
                continue
            if lost & {symbol.name for symbol in metric_symbols(self.base.problem, metric.expression)}:
                reason = InputError("differs by scenario: it follows from what is decided once the scenario is known")
                problem.metrics[name] = Metric(name, None, metric.unit, metric.about, reason, metric.part_of)
        for name in lost:
            del problem.totals[name]

    # relations --------------------------------------------------------------------------------------------------------
    def _couplings(self) -> list[Coupled]:
        """Return the problem's relations, once where they are the same in all scenarios, else once for each."""
        made: list[Coupled] = []
        for at, item in enumerate(self.base.problem.couplings):
            variants: dict[Any, Coupled] = {}
            for number, task in enumerate(self.tasks):
                others = task.problem.couplings
                if len(others) != len(self.base.problem.couplings) or others[at].name != item.name:
                    raise InputError("a scenario changes which relations there are", path="scenarios")
                moved = changed_relation(
                    others[at], self.stages.changes[number], functools.partial(self.stages.total, number)
                )
                key = (written(moved.coupling.total), moved.when)
                variants.setdefault(key, replace(moved, name=in_scenario(item.name, number)))
            if len(variants) == 1:
                made.append(replace(next(iter(variants.values())), name=item.name))
            else:
                made += variants.values()
        return made

    def _user(self, at: int) -> UserConstraint:
        """Return a constraint of the user's as one that holds in all scenarios: of the largest, where it is a limit."""
        own = self.base.user[at].constraint
        if any(len(task.user) != len(self.base.user) for task in self.tasks):
            raise InputError("a scenario changes which relations there are", path="scenarios")
        truths = [self.there(number, task.user[at].constraint.holds) for number, task in enumerate(self.tasks)]
        rules = [replace(own, holds=holds) for holds in truths]
        different = list({rule.holds: rule for rule in rules}.values())
        if len(different) == 1:
            return user_constraint(self.problem, different[0])
        merged = in_all(different)
        if any(rule.holds.choices for rule in different):
            return UserConstraint(merged, tuple(self._kept(rules)))
        if not any(metric_symbols(self.problem, rule.holds) for rule in different):
            return user_constraint(self.problem, merged)
        if merged.sides is not None and not any(linear_divisor(self.problem, rule) for rule in different):
            return user_constraint(self.problem, merged)
        both = replace(own, holds=functools.reduce(Expression.__and__, (rule.holds for rule in different)))
        first = {holds: number for number, holds in reversed(list(enumerate(truths)))}
        relations = [
            replace(relation, name=in_scenario(relation.name, first[rule.holds]))
            for rule in different
            for relation in linear_relations(self.problem, rule)
        ]
        return UserConstraint(both, tuple(relations))

    def _kept(self, rules: Sequence[Constraint]) -> list[Coupled]:
        """Return that no amounts stand where a truth about single tuples, which differs by scenario, is false."""
        truths: dict[tuple[Any, Expression], None] = {}
        for number, rule in enumerate(rules):
            if not rule.holds.choices:
                truths[None, rule.holds] = None
            for family in self.stages.there[number].values():
                if rule.holds.choices and rule.holds.choices <= set(family.over):
                    truths[family, rule.holds] = None
        made = []
        for family, holds in truths:
            excess = Total((), where(holds, 0, 1)) if family is None else family.total(where(holds, 0, 1))
            made.append(Coupled(rules[0].name, excess <= 0, given_by_user=True))
        return made


def _families_of(total: Total | Largest) -> list[Family]:
    return (total.total if isinstance(total, Largest) else total).families


def sum_of_shares(losses: Sequence[Expression], shares: Sequence[float]) -> Expression:
    """Return the expected value of what is lost in each scenario."""
    made = losses[0] * shares[0]
    for loss, share in zip(losses[1:], shares[1:], strict=True):
        made = made + loss * share
    return made


def _tail(problem: CoupledProblem, costs: Sequence[Expression], measure: Measure) -> Expression:
    """Return the mean of the worst share of scenarios: a level, and what exceeds it. Source: Rockafellar and Uryasev,
    Journal of Risk 2 (2000).
    """
    of = costs[0].dimension
    none = constant(0.0, of)
    level = replace(problem.amounts("value_at_risk", ()), dimension=of, low=None, about="the level of the tail")
    problem.families[level.name] = level
    parts: list[Total] = [level.total()]
    for at, (cost, share) in enumerate(zip(costs, measure.shares, strict=True)):
        linear = linear_objective(problem, cost)
        if linear.relations:
            raise InputError("the mean of a tail is known for sums: this objective is the largest of something",
                             path="robust", hint="worst_case, expected or regret")  # fmt: skip
        name = f"beyond_{at + 1}"
        beyond = replace(problem.amounts(name, ()), dimension=of, low=none, about="what exceeds the level there")
        problem.families[name] = beyond
        problem.require(f"{name} is what exceeds the level", linear.total - level - beyond <= 0, structural=True)
        parts.append(beyond.total(share / (1 - measure.alpha)))
    problem.measure("cvar", sum_of(parts))
    return problem.metric("cvar")


# the report -----------------------------------------------------------------------------------------------------------
def amounts_there(task: CoupledTask, plan: PlanSolution, number: int) -> list[Amount]:
    """Return the amounts of a robust plan in one of its scenarios, as those of the question there."""
    families = {name: item for name, item in task.problem.families.items() if not item.later}
    mine = {name: rows for name, rows in plan.amounts.items() if name in families}
    for name in task.problem.families.keys() - families.keys():
        mine[name] = plan.amounts.get(in_scenario(name, number), [])
    return amounts_in(task.problem, replace(plan, amounts=mine))


def metrics_there(task: CoupledTask, amounts: Sequence[Amount]) -> dict[str, float]:
    """Return the sums that amounts make in a question, by name, by the scalar path."""
    names = list(task.problem.totals)
    totals = Auditor(task.problem, [], []).run(amounts, [task.problem.totals[name] for name in names]).totals
    return dict(zip(names, totals, strict=True))


def _value_of(task: CoupledTask, plan: PlanSolution) -> float | None:
    """Return the best objective (minimised) in a question of a plan whose early decisions stay; None if it does not do.

    What is decided later is decided anew.
    """
    compiled = task.compiled()
    early = [family for family in compiled.columns if family.name in task.problem.families and not family.later]
    x = placed(compiled, plan.amounts, early)
    if x is None:
        return None
    fixed = compiled.program.fixed(x, _columns(compiled, early))
    found = program_backend("auto").solve(fixed, Options())
    return None if found.x is None else values_at(task, compiled, found.x)[0]


def _columns(compiled: Compiled, families: Sequence[Family]) -> Array:
    mask = np.zeros(compiled.program.columns, dtype=bool)
    for family in families:
        mask[compiled.span(family)] = True
    return mask


def _report(
    base: CoupledTask,
    tasks: Sequence[CoupledTask],
    given: Sequence[dict[str, Any]],
    measure: Measure,
    found: PlanSolution,
    nominal: PlanSolution | None,
) -> Robustness:
    expression, sign = base.objective.expression, 1.0 if base.objective.sense == "min" else -1.0

    def told(value: float) -> Value:
        return shown(base.problem, expression, value, expression.dimension)

    def signed(value: float | None) -> float | None:
        return None if value is None else sign * value

    values = []
    for number, task in enumerate(tasks):
        known = {**task.problem.values, **metrics_there(task, amounts_there(task, found, number))}
        values.append(float(ScalarProgram([task.objective.expression]).run_named(known)[0]))
    return Robustness.of(
        measure,
        given,
        told,
        sense=base.objective.sense,
        value=found.objective,
        nominal=None if nominal is None else nominal.objective,
        of_robust=signed(_value_of(base, found)),
        values=values,
        of_nominal=[None if nominal is None else signed(_value_of(task, nominal)) for task in tasks],
    )
