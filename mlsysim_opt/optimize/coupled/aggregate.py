"""A plan for every value of an axis by way of a problem with few of them: what is picked there is picked here.

The smaller problem says which tuples are used. With these alone, amounts are chosen again for every value of the axis:
that is a plan of the whole problem, and its value is no estimate. What no plan can be better than is the relaxation of
the whole problem (over all tuples), so that both ends of the error are known.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms import grid_lookup
from mlsysim_opt.algebra.expression import Choice, expression
from mlsysim_opt.errors import InfeasibleError, InputError, LimitReachedError
from mlsysim_opt.optimize.backends.highs import HighsProgram, highs_name
from mlsysim_opt.optimize.coupled.compile import Compiled, placed
from mlsysim_opt.optimize.coupled.generate import generates, solve_generated
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, within
from mlsysim_opt.optimize.coupled.pooled import pools
from mlsysim_opt.optimize.coupled.pooled_bound import pooled_bound
from mlsysim_opt.optimize.coupled.problem import Coarser
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.search import HighsBackend
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask, UserConstraint
from mlsysim_opt.optimize.problem import Constraint

PATIENCE = 60.0
"""Seconds for each of the two searches over all values, where the user gives no limit."""
CLOSE = 1e-3
"""The gap, to the best plan of these picks, at which the search for amounts ends."""


def solve_aggregated(task: CoupledTask, options: Options) -> tuple[Compiled, Found] | None:
    """Return a plan for every value of the axis with a bound that covers all plans; None where none was found.

    Raises:
        InputError: a constraint is about single values of the axis, or there are several objectives.
    """
    coarser = task.problem.coarser
    assert coarser is not None
    axis = task.problem.decisions[coarser.axis].choice
    _refuse(task, axis)
    if task.linear.divisor is not None:  # a ratio takes several programs: they are solved for all values
        return None
    began = time.monotonic()
    limit = options.time_limit
    few = _coarse_plan(task, coarser, replace(options, time_limit=None if limit is None else limit / 3))
    if few is None:
        return None

    def left(share: float) -> float:
        return PATIENCE if limit is None else share * max(0.0, limit - (time.monotonic() - began))

    if generates(task):
        compiled, found = solve_generated(task, replace(options, time_limit=left(1.0)))
        bound = found.bound
    else:
        compiled = _pinned(task, few, axis).compiled()
        found = _amounts(compiled, few, axis, replace(options, time_limit=left(0.5)))
        bound = _bound(task, replace(options, time_limit=left(1.0)))
    if found.x is None or found.value is None:
        return None
    return compiled, _told(task, coarser, axis, few, replace(found, bound=min(bound, found.value)), options)


def _refuse(task: CoupledTask, axis: Choice) -> None:
    if task.then:
        raise InputError(f"several objectives are for every {axis.name}: leave out the ones that stand for them",
                         path="objective")  # fmt: skip
    for item in task.user:
        if axis in item.constraint.holds.choices:
            raise InputError(f"{item.name!r} is about single values of {axis.name}, of which few stand for all",
                             path="constraints")  # fmt: skip


def _coarse_plan(task: CoupledTask, coarser: Coarser, options: Options) -> PlanSolution | None:
    from mlsysim_opt.optimize.coupled.run import solve_coupled

    asked = CoupledTask.of(coarser.problem, task.objective_spec, task.specs)
    try:
        return solve_coupled(asked, gap=options.gap, time_limit=options.time_limit, explain=False)
    except (InfeasibleError, LimitReachedError):
        return None


def _pinned(task: CoupledTask, plan: PlanSolution, axis: Choice) -> CoupledTask:
    """Return the question over the tuples that a plan uses: of picks, and of amounts that no other family stands on."""
    pins = []
    families = list(task.problem.families.values())
    for family in families:
        beside = [choice for choice in family.over if choice is not axis]
        shared = any(set(beside) <= set(other.over) for other in families if other is not family)
        if (shared and family.sort != "pick") or not beside:
            continue
        used = np.zeros([len(choice.values) for choice in beside])
        for row in plan.amounts.get(family.name, ()):
            used[tuple(choice.position[row[choice.name]] for choice in beside)] = 1
        name = f"{family.name}: as with few values of {axis.name}"
        holds = grid_lookup(beside, used, unit="dimensionless", title=name) >= expression(1)
        pins.append(UserConstraint(Constraint(name, holds, structural=True)))
    return replace(task, user=[*task.user, *pins])


def _amounts(compiled: Compiled, few: PlanSolution, axis: Choice, options: Options) -> Found:
    """Return the amounts for every value of the axis: of the relaxation, made whole; better ones as time allows."""
    began, limit = time.monotonic(), options.time_limit

    def left() -> float:
        assert limit is not None
        return max(0.0, limit - (time.monotonic() - began))

    # what is the same for all values may be too little for some
    for program in (_as_in(compiled, few, axis), compiled.program):
        if program is None:
            continue
        start = None
        relaxed = HighsProgram(program).relaxation(time_limit=left())
        if relaxed.stop == "infeasible":
            continue
        if relaxed.x is not None and program.whole.any():
            rounded = _rounded(compiled, axis, relaxed.x)
            again = HighsProgram(program.fixed(rounded, program.whole)).relaxation(time_limit=left())
            if again.stop == "optimal" and again.x is not None:
                start = np.where(program.whole, rounded, again.x)
        asked = replace(options, start=start, gap=max(options.gap, CLOSE), time_limit=left(), prune=False)
        found = HighsBackend().solve(program, asked)
        if found.status != "infeasible":
            return found
    return Found("infeasible", None, None, math.inf, "the tuples used do not do", highs_name())


def _as_in(compiled: Compiled, few: PlanSolution, axis: Choice) -> LinearProgram | None:
    """Return the program with whole amounts that do not depend on the axis as in a plan, if it has their tuples."""
    steady = [family for family in compiled.columns if family.whole and axis not in family.over]
    x = placed(compiled, few.amounts, steady)
    if x is None:
        return None
    held = np.zeros(compiled.program.columns, dtype=bool)
    for family in steady:
        held[compiled.span(family)] = True
    return compiled.program.fixed(x, held)


def _rounded(compiled: Compiled, axis: Choice, x: Array) -> Array:
    """Return whole amounts near those of a relaxation: along the axis as many in all, the largest ones first."""
    found = x.copy()
    for family, table in compiled.columns.items():
        if not family.whole or not table.count:
            continue
        span = compiled.span(family)
        mine, high = x[span], compiled.program.high[span]
        if axis not in family.over:
            found[span] = np.round(mine) if family.sort == "pick" else np.minimum(np.ceil(mine - EXACT), high)
            continue
        down = np.floor(mine + EXACT)
        code = table.code(tuple(choice for choice in family.over if choice is not axis))
        for tuple_ in np.unique(code):
            at = np.flatnonzero(code == tuple_)
            more = round(float(mine[at].sum() - down[at].sum()))
            down[at[np.argsort(down[at] - mine[at], kind="stable")[:more]]] += 1
        found[span] = np.minimum(down, high)
    return found


def _bound(task: CoupledTask, options: Options) -> float:
    """Return what no plan is below, over all tuples and values: weak duality where it is known, else the relaxation."""
    if pools(task):
        known = pooled_bound(task, options)
        if known is not None:
            return known
    program: LinearProgram = task.compiled().program
    return HighsProgram(program).relaxation(time_limit=options.time_limit).bound


def _told(
    task: CoupledTask, coarser: Coarser, axis: Choice, few: PlanSolution, found: Found, options: Options
) -> Found:  # fmt: skip
    """Return an outcome that says how far the few values were from all of them."""
    assert found.value is not None
    sign = 1.0 if task.objective.sense == "min" else -1.0
    unit = few.objective.si / few.objective.value if few.objective.value else 1.0
    coarse, here = few.objective.value, sign * found.value / unit
    off = f" ({(here - coarse) / abs(coarse):+.2g})" if coarse else ""
    every = len(axis.values)
    words = (
        f"{coarser.count} values of {axis.name} for {every}: {task.objective.name} {few.objective}, "
        f"for all {every} {here:,.6g} {few.objective.unit}{off}"
    )
    details: dict[str, Any] = {**found.details, "representative": coarser.count, "of_representative": coarse}
    near = within(found.value, found.bound, max(options.gap, EXACT))
    side = "below" if sign > 0 else "above"
    words += f", no plan is {side} {sign * found.bound / unit:,.6g}" if np.isfinite(found.bound) else ", no bound"
    return replace(
        found, status="optimal" if near else "feasible", proof=words.rstrip(), details=details, solver=highs_name(),
        duals=None,
    )  # fmt: skip
