"""The run of a coupled problem: compiled, solved, checked by the scalar path, and made into a solution."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import constant
from mlsysim_opt.errors import InputError, LimitReachedError, UnboundedError, UnknownNameError, VerificationError
from mlsysim_opt.optimize.answer import WITHIN_GAP, Answered, Certificate, Metrics, Value, relative
from mlsysim_opt.optimize.coupled.audit import Amount, Audit, Auditor
from mlsysim_opt.optimize.coupled.chain import solve_chain
from mlsysim_opt.optimize.coupled.compile import Compiled, amounts_of, placed
from mlsysim_opt.optimize.coupled.generate import generates, solve_generated
from mlsysim_opt.optimize.coupled.linear import metric_symbols
from mlsysim_opt.optimize.coupled.pooled import pools, solve_pooled
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.ratio import (
    AGREEMENT,
    TIE,
    TIED,
    least_ratio,
    left,
    ratio_number,
    refuse_negative_divisors,
)
from mlsysim_opt.optimize.coupled.search import EXACT, ROUNDING, Found, Options, ProgramBackend, within
from mlsysim_opt.optimize.coupled.solution import PlanSlack, PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.per_unit import counted, limit_unit, per_unit
from mlsysim_opt.optimize.problem import Objective
from mlsysim_opt.optimize.progress import Show, checked_progress, watch_of
from mlsysim_opt.optimize.stopping import Watch
from mlsysim_opt.units import NONE, parse_unit, readable_unit

DUST = 1e-9
"""An amount of less than this share of the largest of its item is rounding."""
PROGRAM_BACKENDS = {
    "milp": "mlsysim_opt.optimize.coupled.search:HighsBackend",
    "cpsat": "mlsysim_opt.optimize.backends.cpsat_program:CpSatProgramBackend",
    "pyomo": "mlsysim_opt.optimize.backends.pyomo_program:PyomoBackend",
}


def program_backend(name: str) -> ProgramBackend:
    """Return a backend for coupled problems by name; ``auto`` is HiGHS. ``pyomo:NAME`` is Pyomo with that solver.

    Raises:
        UnknownNameError: there is no such backend.
    """
    if not isinstance(name, str):
        raise InputError(f"expected the name of a backend, got {name!r}", path="backend")
    kind, _, solver = ("milp" if name == "auto" else name).partition(":")
    if kind not in PROGRAM_BACKENDS or (solver and kind != "pyomo"):
        raise UnknownNameError(
            "backend of coupled problems", name, [*PROGRAM_BACKENDS, "auto", "pyomo:NAME"], path="backend"
        )
    module, _, attribute = PROGRAM_BACKENDS[kind].partition(":")
    made: Any = getattr(importlib.import_module(module), attribute)
    backend: ProgramBackend = made(solver) if solver else made()
    return backend


@dataclass(frozen=True, eq=False)
class Solved:
    """A program with its outcome, for one objective."""

    compiled: Compiled
    found: Found


def solve_coupled(
    task: CoupledTask,
    *,
    backend: str = "auto",
    prune: bool = True,
    time_limit: float | None = None,
    gap: float | str = 0.0,
    progress: Show | None = None,
    start: Answered | None = None,
    explain: bool = True,
) -> PlanSolution:
    """Return the proven best plan, checked by the scalar path.

    Args:
        gap: relative distance to the bound at which to stop, ``0.01`` or ``"1%"``. progress: called now and then;
            returning True stops.
        start: an earlier plan to begin with.
    Raises:
        InfeasibleError: nothing satisfies every constraint; carries the conflict and the cheapest ways out.
        LimitReachedError: a limit was reached before any plan was found.
        UnboundedError: the objective can be improved without limit.
        VerificationError: the answer does not survive re-evaluation; it is withheld.
    """
    share = checked_gap(gap)
    begin = checked_search(progress, start)
    engine = program_backend(backend)
    began = time.monotonic()
    options = Options(within_share(share), time_limit, prune, watching(task, progress))
    first = _by_fewer(task, options) if engine.name == "milp" and begin is None else None
    first = first or solve_first(task, engine, options, begin)
    status = first.found.status
    if status == "infeasible":
        from mlsysim_opt.optimize.coupled.reasons import infeasible

        raise infeasible(task, engine, left(options, began))
    if status == "unbounded":
        raise _unbounded(task.objective)
    if first.found.x is None:
        late = time_limit is not None and time.monotonic() - began >= time_limit
        known = _no_better(task, first.found)
        wait = "raise the time limit" if late else "let it run longer"
        raise LimitReachedError(f"no plan was found: {first.found.proof}{known}", hint=wait)
    solved, current, unsettled = first, task, None
    for objective in task.then:
        following = replace(left(options, began), watch=watching(replace(task, objective=objective), progress))
        current, solved, settled = _refine(current, solved, objective, engine, following)
        if not settled:  # what comes after it is not looked at: it would decide among plans that are not its best
            unsettled = objective
            break
    answer = solution_of(task, first, solved, engine.name, time.monotonic() - began, share)
    if unsettled is not None:
        proof = f"{answer.certificate.proof}; {unsettled.name} among such plans: not proven, a limit was reached"
        answer.status, answer.certificate = "feasible", replace(answer.certificate, proof=proof)
    return answer


def checked_gap(gap: Any) -> float:
    """Return a relative distance, given as a number (``0.01``) or as text (``"1%"``).

    Raises:
        InputError: it is no number from 0 to 1.
    """
    share = gap
    if isinstance(gap, str):
        number, percent, rest = gap.partition("%")
        try:
            share = float(number) / (100 if percent else 1)
        except ValueError:
            rest = gap
        share = share if not rest.strip() else None
    if isinstance(share, bool) or not (isinstance(share, int | float) and 0 <= share < 1):
        raise InputError(f"{gap!r} is not a gap", path="gap", hint="a share below one, such as 0.01 or '1%'")
    return float(share)


def _no_better(task: CoupledTask, found: Found) -> str:
    """Return the bound that is known where no plan is, in words."""
    if task.linear.divisor is not None or not math.isfinite(found.bound):
        return ""
    objective, least = task.objective, task.objective.sense == "min"
    of = objective.expression.dimension
    bound = shown(task.problem, objective.expression, found.bound if least else -found.bound, of)
    return f"; no plan is {'below' if least else 'above'} {objective.name} = {bound}"


def within_share(gap: float) -> float:
    """Return the share of a plan's value that its bound may be off, for a gap that is told as a share of the bound."""
    return gap / (1 + gap)


def _by_fewer(task: CoupledTask, options: Options) -> Solved | None:
    """Return a plan by way of a smaller problem that stands for this one; None where there is none."""
    if task.problem.coarser is None:
        return None
    from mlsysim_opt.optimize.coupled.aggregate import solve_aggregated

    found = solve_aggregated(task, options)
    return None if found is None else Solved(*found)


def checked_search(progress: Any, start: Any) -> PlanSolution | None:
    """Return the plan to begin with; refuse what is none, and what cannot be told about the progress.

    Raises:
        InputError: it is no function, or no plan.
    """
    checked_progress(progress)
    if start is not None and not isinstance(start, PlanSolution):
        raise InputError(f"expected an earlier plan, got {type(start).__name__}", path="start",
                         hint="an answer of optimize(), or PlanSolution.from_json(text)")  # fmt: skip
    return start


def watching(task: CoupledTask, progress: Show | None) -> Watch | None:
    """Return what watches the search for the best of a task's first objective."""
    if progress is None:
        return None
    objective, of = task.objective, task.objective.expression.dimension

    def told(value: float, like: float) -> Value:
        return shown(task.problem, objective.expression, value, of, like)

    return watch_of(progress, objective, told if task.linear.divisor is None else None)


def _unbounded(objective: Objective) -> UnboundedError:
    return UnboundedError(
        f"{objective.name} can be improved without limit",
        hint="an amount that pays for itself has no upper bound, and nothing limits it",
    )


def solve_first(
    task: CoupledTask, engine: ProgramBackend, options: Options, start: PlanSolution | None = None
) -> Solved:
    """Return the best of the first objective: one program, or for a ratio a few (Dinkelbach's iteration)."""
    if not engine.continuous:
        _all_whole(task, engine)
    refuse_negative_divisors(task, options)
    if engine.name == "milp" and task.linear.divisor is None and generates(task):
        return Solved(*solve_generated(task, options))
    if engine.name == "milp":
        chained = solve_chain(task, options)
        if chained is not None:
            return Solved(*chained)
    if engine.name == "milp" and start is None and pools(task):
        pooled = solve_pooled(task, options)
        if pooled is not None:
            return Solved(*pooled)
    if task.linear.divisor is None:
        compiled = task.compiled()
        if start is not None:
            options = replace(options, start=placed(compiled, start.amounts))
        return Solved(compiled, engine.solve(compiled.program, options))
    return Solved(*least_ratio(task, engine, options))


def _all_whole(task: CoupledTask, engine: ProgramBackend) -> None:
    """Refuse a plan with amounts that are not whole, for a backend that knows no others."""
    families = [
        *task.problem.families.values(),
        *(it for item in task.relations for it in item.coupling.total.families),
    ]
    names = list(dict.fromkeys(family.name for family in families if not family.whole))
    if names and task.problem.families.keys().isdisjoint(names):
        raise InputError(
            f"{engine.name} knows whole numbers only, and the largest or smallest of several, as asked for, is none",
            path="backend",
            hint="use backend='milp'",
        )
    if names:
        raise InputError(
            f"{engine.name} knows whole numbers only, and these are not: {', '.join(names)}",
            path="backend",
            hint="use backend='milp', or declare them whole",
        )


def _refine(
    task: CoupledTask, solved: Solved, objective: Objective, engine: ProgramBackend, options: Options
) -> tuple[CoupledTask, Solved, bool]:
    """Return the best plan for the next objective among those as good in the one before, and whether that is proven."""
    value = solved.found.value
    assert value is not None
    linear = task.linear
    size = abs(value) or ROUNDING * solved.found.size
    name = f"{task.objective.name} stays at its best"
    if linear.divisor is None:
        most = linear.total <= constant(value + TIE * size, linear.total.dimension)
        held = Coupled(name, most, structural=True)
    else:
        most = linear.total - linear.divisor * ratio_number(linear, value + TIE * size) <= 0
        held = Coupled(name, most, structural=True, cancelled=TIED)
    narrowed = task.with_relations([held, *linear.relations], name)
    following = replace(narrowed, objective=objective, then=[])
    found = solve_first(following, engine, replace(options, start=None))
    if found.found.status == "unbounded":
        raise _unbounded(objective)
    if found.found.x is None:
        return task, solved, False
    return following, found, found.found.status == "optimal"


def values_at(task: CoupledTask, compiled: Compiled, x: Array) -> tuple[float, ...]:
    """Return what is minimised, the first objective and those after it, of a plan by the scalar path."""
    problem, costs = task.problem, [item.cost for item in (task.objective, *task.then)]
    own = [item for item in amounts_of(compiled, x) if item.family.name in problem.families]
    names = list(dict.fromkeys(symbol.name for cost in costs for symbol in metric_symbols(problem, cost)))
    totals = Auditor(problem, [], []).run(own, [problem.totals[name] for name in names]).totals
    return tuple(ScalarProgram(costs).run_named({**problem.values, **dict(zip(names, totals, strict=True))}))


# the answer -----------------------------------------------------------------------------------------------------------
def solution_of(
    task: CoupledTask, first: Solved, solved: Solved, backend: str, seconds: float, asked_gap: float = 0.0
) -> PlanSolution:
    """Return a solved program as a solution, after its plan was evaluated again by the scalar path.

    Args:
        asked_gap: the gap at which the search was to stop.
    Raises:
        VerificationError: something disagrees.
    """
    found = solved.found
    assert found.x is not None
    assert first.found.value is not None
    claimed = first.found.value
    room = AGREEMENT if solved is first else 2 * TIE
    every = amounts_of(solved.compiled, found.x)
    clean = without_dust(every)
    for amounts in (clean, every) if len(clean) < len(every) else (every,):
        audit, metrics, value, added = _audited(task, amounts)
        added = max(added, first.found.size, _sums_in(task, audit))
        size = max(abs(claimed), abs(value), ROUNDING * added) or 1.0
        deviation = abs(value - claimed) / size
        if not audit.failing and deviation <= room:
            break
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
        gap = 0.0 if within(value, bound, 1e-9, added) else max(0.0, relative(value, bound))
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
        metrics=metrics,
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


def _sums_in(task: CoupledTask, audit: Audit) -> float:
    """Return the largest sum of which an objective is the largest, without its sign: what it is told apart from."""
    if not task.linear.helpers:
        return 0.0
    known = dict(zip(task.problem.totals, audit.totals, strict=True))
    return max(abs(known[symbol.name]) for symbol in metric_symbols(task.problem, task.objective.cost))


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


def _audited(task: CoupledTask, amounts: Sequence[Amount]) -> tuple[Audit, Metrics, float, float]:
    """Return what the scalar path finds: the audit, the metrics, what is minimised, what that adds up without signs."""
    problem = task.problem
    families = set(problem.families.values())
    own = [item for item in amounts if item.family in families]
    relations = [item for item in task.relations if families.issuperset(item.coupling.total.families)]
    named = list(problem.totals)
    audit = Auditor(problem, relations, task.local).run(own, [problem.totals[name] for name in named])
    totals = dict(zip(named, audit.totals, strict=True))
    for item in task.user:  # with a largest in them, whose stand-in is no amount of the plan
        if item.constraint.sides and not families.issuperset(item.families):
            audit.compare(item.name, ScalarProgram(item.constraint.sides).run_named({**problem.values, **totals}))
    cost = task.objective.cost
    parts = metric_symbols(problem, cost)
    value, *slopes = ScalarProgram([cost, *gradient(cost, parts)]).run_named({**problem.values, **totals})
    added = math.fsum(abs(slope * totals[part.name]) for slope, part in zip(slopes, parts, strict=True))
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
    return (
        audit,
        Metrics(shown, {name: item.reason for name, item in problem.metrics.items() if item.reason}),
        value,
        added,
    )


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


def audited(task: CoupledTask, solution: PlanSolution, totals: Sequence[Total]) -> Audit:
    """Return what the scalar path finds of a plan in another question about the same amounts."""
    families = set(task.problem.families.values())
    relations = [item for item in task.relations if families.issuperset(item.coupling.total.families)]
    return Auditor(task.problem, relations, task.local).run(amounts_in(task.problem, solution), totals)


def verify(task: CoupledTask, solution: PlanSolution) -> dict[str, Any]:
    """Return what the scalar path finds of a stored plan; see `CoupledProblemSolution.verify`."""
    amounts = amounts_in(task.problem, solution)
    audit, metrics, value, added = _audited(task, amounts)
    sign = 1.0 if solution.sense == "min" else -1.0
    worst = _deviation(solution.objective, sign * value, ROUNDING * added)
    for name, shown in solution.metrics.values_with_units.items():
        worst = max(worst, _deviation(shown, metrics.values_with_units[name].si))
    if audit.failing or worst > AGREEMENT * 10:
        raise VerificationError(
            "the plan does not hold: " + ("; ".join(audit.failing[:5]) if audit.failing else f"off by {worst:.3g}")
        )
    again = list(task.problem.recheck(solution)) if task.problem.recheck is not None else []
    for name, held, exact in again:
        off = abs(held - exact) / max(abs(held), abs(exact), 1e-300)
        if not off <= AGREEMENT * 10:
            raise VerificationError(f"{name} is {exact:.9g} when it is computed again, and {held:.9g} in the plan")
        worst = max(worst, off)
    bound = None if solution.bound is None else solution.bound.si
    if bound is not None and sign * bound > value + AGREEMENT * 10 * max(abs(value), ROUNDING * added):
        raise VerificationError("the plan is better than its own bound")
    return {
        "objective": solution.objective.as_dict(),
        "deviation": worst,
        "constraints_hold": True,
        "checked": audit.checked + len(again),
    }


def _deviation(shown: Value, exact: float, least: float = 0.0) -> float:
    """Return how far a value is off, of the larger of the two or of the least size that counts."""
    if shown.value is None or exact != exact:
        return 0.0
    size = max(abs(shown.si), abs(exact), least)
    return abs(shown.si - exact) / size if size else 0.0
