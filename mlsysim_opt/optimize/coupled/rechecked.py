"""A plan as the scalar path finds it: what it is worth, what its value adds up, and whether it holds.

Of the arrays that were solved, and of a stored plan, only the amounts are taken over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.errors import VerificationError
from mlsysim_opt.optimize.answer import Metrics, Value
from mlsysim_opt.optimize.coupled.audit import Amount, Audit, Auditor, Scalars
from mlsysim_opt.optimize.coupled.compile import Compiled, amounts_of
from mlsysim_opt.optimize.coupled.linear import metric_symbols
from mlsysim_opt.optimize.coupled.outcome import ROUNDING
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.ratio import AGREEMENT
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.units import NONE, parse_unit


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A plan with what the scalar path finds.

    Attributes:
        value: of what is minimised. added: what it adds up in all its parts, without signs.
        compared: where it has the largest of several sums, the largest of them without its sign: what those are told
            apart from. 0 without.
    """

    audit: Audit
    metrics: Metrics
    value: float
    added: float
    compared: float


def evaluated(task: CoupledTask, amounts: Sequence[Amount], scalars: Scalars | None = None) -> Evaluated:
    """Return what the scalar path finds of a plan.

    Args:
        scalars: the numbers of the problem that plans before this one needed.
    """
    problem = task.problem
    families = set(problem.families.values())
    own = [item for item in amounts if item.family in families]
    relations = [item for item in task.relations if families.issuperset(item.coupling.total.families)]
    named = list(problem.totals)
    audit = Auditor(problem, relations, task.local, scalars).run(own, [problem.totals[name] for name in named])
    totals = dict(zip(named, audit.totals, strict=True))
    for item in task.user:  # with a largest in them, whose stand-in is no amount of the plan
        if item.constraint.sides and not families.issuperset(item.families):
            audit.compare(item.name, ScalarProgram(item.constraint.sides).run_named({**problem.values, **totals}))
    cost = task.objective.cost
    parts = metric_symbols(problem, cost)
    value, *slopes = ScalarProgram([cost, *gradient(cost, parts)]).run_named({**problem.values, **totals})
    sizes = dict(zip(named, audit.sizes, strict=True))
    shown: dict[str, Value] = {}
    for name, metric in problem.metrics.items():
        if metric.expression is None or not metric_symbols(problem, metric.expression):
            continue
        (amount,) = ScalarProgram([metric.expression]).run_named({**problem.values, **totals})
        known = math.isfinite(amount)
        if metric.expression.dimension == NONE:
            shown[name] = Value(amount if known else None)
        else:
            unit = metric.display_unit(amount)
            shown[name] = Value(amount / unit.factor if known else None, unit.text)
    return Evaluated(
        audit,
        Metrics(shown, {name: item.reason for name, item in problem.metrics.items() if item.reason}),
        value,
        added=math.fsum(abs(slope) * sizes[part.name] for slope, part in zip(slopes, parts, strict=True)),
        compared=max(abs(totals[part.name]) for part in parts) if task.linear.helpers else 0.0,
    )


def values_at(task: CoupledTask, compiled: Compiled, x: Array) -> tuple[float, ...]:
    """Return what is minimised, the first objective and those after it, of a plan by the scalar path."""
    problem, costs = task.problem, [item.cost for item in (task.objective, *task.then)]
    own = [item for item in amounts_of(compiled, x) if item.family.name in problem.families]
    names = list(dict.fromkeys(symbol.name for cost in costs for symbol in metric_symbols(problem, cost)))
    totals = Auditor(problem, [], []).run(own, [problem.totals[name] for name in names]).totals
    return tuple(ScalarProgram(costs).run_named({**problem.values, **dict(zip(names, totals, strict=True))}))


def amounts_in(problem: CoupledProblem, solution: PlanSolution) -> list[Amount]:
    """Return the amounts of a stored plan."""
    amounts = []
    for name, rows in solution.amounts.items():
        family = problem.families[name]
        factor = parse_unit(family.unit).factor if family.unit else 1.0
        for row in rows:
            at: Mapping[str, Any] = {choice.name: row[choice.name] for choice in family.over}
            amounts.append(Amount(family, dict(at), row["amount"] * factor))
    return amounts


def verify(task: CoupledTask, solution: PlanSolution) -> dict[str, Any]:
    """Return what the scalar path finds of a stored plan; see `PlanSolution.verify`."""
    amounts = amounts_in(task.problem, solution)
    found = evaluated(task, amounts)
    sign = 1.0 if solution.sense == "min" else -1.0
    worst = _deviation(solution.objective, sign * found.value, ROUNDING * found.added)
    for name, shown in solution.metrics.values_with_units.items():
        worst = max(worst, _deviation(shown, found.metrics.values_with_units[name].si))
    failing = found.audit.failing
    if failing or worst > AGREEMENT * 10:
        raise VerificationError(
            "the plan does not hold: " + ("; ".join(failing[:5]) if failing else f"off by {worst:.3g}")
        )
    again = list(task.problem.recheck(solution)) if task.problem.recheck is not None else []
    for name, held, exact in again:
        off = abs(held - exact) / max(abs(held), abs(exact), 1e-300)
        if not off <= AGREEMENT * 10:
            raise VerificationError(f"{name} is {exact:.9g} when it is computed again, and {held:.9g} in the plan")
        worst = max(worst, off)
    bound = None if solution.bound is None else solution.bound.si
    room = AGREEMENT * 10 * max(abs(found.value), ROUNDING * found.added)
    if bound is not None and sign * bound > found.value + room:
        raise VerificationError("the plan is better than its own bound")
    return {
        "objective": solution.objective.as_dict(),
        "deviation": worst,
        "constraints_hold": True,
        "checked": found.audit.checked + len(again),
    }


def _deviation(shown: Value, exact: float, least: float = 0.0) -> float:
    """Return how far a value is off, of the larger of the two or of the least size that counts."""
    if shown.value is None or exact != exact:
        return 0.0
    size = max(abs(shown.si), abs(exact), least)
    return abs(shown.si - exact) / size if size else 0.0
