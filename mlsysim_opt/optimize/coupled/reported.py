"""A solved program as the plan that people read: amounts, metrics, slacks and the certificate, in units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.errors import ScaleError, VerificationError
from mlsysim_opt.optimize.answer import WITHIN_GAP, Certificate, Value, relative
from mlsysim_opt.optimize.coupled.audit import Amount, Audit, Scalars
from mlsysim_opt.optimize.coupled.compile import Compiled, amounts_of
from mlsysim_opt.optimize.coupled.lowered import lowered
from mlsysim_opt.optimize.coupled.outcome import EXACT, ROUNDING, Found, within
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.ratio import AGREEMENT, TIE
from mlsysim_opt.optimize.coupled.rechecked import evaluated
from mlsysim_opt.optimize.coupled.solution import PlanSlack, PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family
from mlsysim_opt.optimize.per_unit import counted, limit_unit, per_unit
from mlsysim_opt.units import NONE, parse_unit, readable_unit

DUST = 1e-9
"""An amount of less than this share of the largest of its item is rounding."""


@dataclass(frozen=True, eq=False)
class Solved:
    """A program with its outcome, for one objective."""

    compiled: Compiled
    found: Found


def solution_of(
    task: CoupledTask,
    first: Solved,
    solved: Solved,
    backend: str,
    seconds: float,
    asked_gap: float = 0.0,
    scalars: Scalars | None = None,
) -> PlanSolution:
    """Return a solved program as a solution, after its plan was evaluated again by the scalar path.

    Args:
        asked_gap: the gap at which the search was to stop. scalars: the numbers of the problem that plans before this
            one needed.
    Raises:
        VerificationError: something disagrees. ScaleError: the objective is no finite number.
    """
    found = solved.found
    assert found.x is not None
    assert first.found.value is not None
    claimed = first.found.value
    room = AGREEMENT if solved is first else 2 * TIE
    every = amounts_of(solved.compiled, lowered(solved.compiled, found.x))
    clean = without_dust(every)
    for amounts in (clean, every) if len(clean) < len(every) else (every,):
        seen = evaluated(task, amounts, scalars)
        audit, value = seen.audit, seen.value
        added = max(seen.added, seen.compared, first.found.size)
        size = max(abs(claimed), abs(value), ROUNDING * added) or 1.0
        deviation = abs(value - claimed) / size
        if not audit.failing and deviation <= room:
            break
    if not math.isfinite(value):
        raise ScaleError(f"{task.objective.name} is not a finite number at the best plan", path="objective",
                         hint="a number in it is too large, or divided by zero")  # fmt: skip
    if audit.failing or not deviation <= room:
        raise VerificationError(
            f"the plan of {found.solver} does not hold: "
            + ("; ".join(audit.failing[:5]) if audit.failing else f"objective off by {deviation:.2g}"),
            hint="this is a fault of the solver or of this package; please report it",
        )
    sign = 1.0 if task.objective.sense == "min" else -1.0
    bound = first.found.bound
    gap = None
    if math.isfinite(bound):
        exact = within(value, bound, EXACT, added) and not first.found.unresolved
        gap = 0.0 if exact else max(0.0, relative(value, bound))
    status: str = first.found.status
    if status == "optimal" and asked_gap > EXACT and not within(claimed, bound, EXACT, first.found.size):
        status = WITHIN_GAP
    of = task.objective.expression.dimension
    problem = task.problem
    combinations = solved.compiled.combinations
    return PlanSolution(
        status=status,
        problem=problem.name,
        objective_name=task.objective.name,
        sense=task.objective.sense,
        objective=shown(problem, task.objective.expression, sign * value, of),
        bound=shown(problem, task.objective.expression, sign * bound, of, sign * value)
        if math.isfinite(bound)
        else None,
        gap=gap,
        amounts=_tables(amounts, problem),
        metrics=seen.metrics,
        constraints=_slacks(task, audit, first),
        certificate=Certificate(
            kind="solver bound",
            proof=first.found.proof,
            solver=found.solver,
            combinations=int(10 ** min(combinations, 300.0)),
            details={**first.found.details, "combinations_power_of_ten": round(combinations, 2)},
            rechecked={"deviation": deviation, "constraints_hold": True, "checked": audit.checked},
        ),
        undefined=solved.compiled.undefined,
        assumptions=dict(problem.assumptions),
        backend=backend,
        seconds=seconds,
        request=task.request,
        task=task,
    )


def without_dust(amounts: Sequence[Amount]) -> list[Amount]:
    """Return amounts without those that are rounding of a solver beside the others of their item.

    An item is a value of the family's first choice: a demand beside a much larger one is not rounding.
    """

    def item(amount: Amount) -> tuple[Family, Any]:
        return amount.family, amount.at[amount.family.over[0].name] if amount.family.over else None

    largest: dict[tuple[Family, Any], float] = {}
    for amount in amounts:
        largest[item(amount)] = max(largest.get(item(amount), 0.0), abs(amount.amount))
    return [amount for amount in amounts if abs(amount.amount) > DUST * largest[item(amount)]]


def shown(problem: CoupledProblem, expression: Any, value: float, of: Any, like: float | None = None) -> Value:
    """Return a value of an expression as shown to people: in the unit of the metric it is, or in a readable one."""
    if of == NONE:
        return Value(value)
    named = [item.unit for item in problem.metrics.values() if item.expression is expression and item.unit]
    unit = parse_unit(named[0]) if named else readable_unit(value if like is None else like, of)
    return Value(value / unit.factor, unit.text)


def _tables(amounts: Sequence[Amount], problem: CoupledProblem) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in problem.families}
    for item in amounts:
        if item.family.name not in tables:
            continue
        family: Family = item.family
        row = dict(item.at)
        if family.whole:
            row["amount"] = int(item.amount)
        elif family.unit:
            row["amount"], row["unit"] = item.amount / parse_unit(family.unit).factor, family.unit
        else:
            row["amount"] = item.amount
        if family.counts:
            row["unit"] = family.counts
        tables[family.name].append(row)
    return tables


def _slacks(task: CoupledTask, audit: Audit, first: Solved) -> list[PlanSlack]:
    found: list[PlanSlack] = []
    mine = {relation.name for item in task.user for relation in item.relations}
    prices = _estimates(task, first)
    for relation in task.relations:
        if relation.name not in audit.slacks:
            continue
        slack, place = audit.slacks[relation.name]
        of = relation.coupling.total.dimension
        shown = None
        if math.isfinite(slack) and relation.coupling.relation != "==":  # an equation has no room
            shown = Value(slack) if of == NONE else _readable(slack, of)
        user = relation.name in mine
        counts = relation.counts or (counted(relation.name) if user and of == NONE else "")
        found.append(PlanSlack(relation.name, shown, place, user, prices.get(relation.name), counts))
    return found


def _readable(value: float, of: Any) -> Value:
    unit = readable_unit(value, of)
    return Value(value / unit.factor, unit.text)


def _estimates(task: CoupledTask, first: Solved) -> dict[str, Value]:
    """Return, for each relation, the dual of the relaxation summed over its rows."""
    duals = first.found.duals
    if duals is None or task.linear.divisor is not None:
        return {}
    objective = task.objective.expression
    unit = shown(task.problem, objective, first.found.value or 0.0, objective.dimension).unit
    found: dict[str, Value] = {}
    at = 0
    for rows in first.compiled.rows:
        part = duals[at : at + rows.count]
        at += rows.count
        if rows.source is None:
            continue
        limit = limit_unit(rows.name, rows.source.coupling.total.dimension)
        found[rows.name] = per_unit(abs(float(np.sum(part))), unit, limit)
    return found
