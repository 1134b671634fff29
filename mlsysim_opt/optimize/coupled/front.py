"""Fronts of coupled problems: every undominated value of two to four objectives, or a cover, by exact programs.

Where plans come from is `front_program` (one program of all tuples) or `front_generated` (generated columns); where the
next one is looked for, and why the search ends, is `regions`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlsysim_opt.errors import LimitReachedError, UnboundedError
from mlsysim_opt.optimize.coupled.audit import Scalars
from mlsysim_opt.optimize.coupled.engines import program_backend
from mlsysim_opt.optimize.coupled.front_generated import GeneratedPlans, generates_front
from mlsysim_opt.optimize.coupled.front_labels import TooManyLabels, chain_front
from mlsysim_opt.optimize.coupled.front_program import ProgramPlans
from mlsysim_opt.optimize.coupled.outcome import Found, Options, ProgramBackend
from mlsysim_opt.optimize.coupled.regions import SAME, Kept, Point, Regions
from mlsysim_opt.optimize.coupled.reported import solution_of
from mlsysim_opt.optimize.coupled.run import checked_gap, checked_search, watching, within_share
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask, user_constraint
from mlsysim_opt.optimize.front import Front
from mlsysim_opt.optimize.front_points import Written, checked
from mlsysim_opt.optimize.progress import Show, watch_of
from mlsysim_opt.optimize.request import read_constraints
from mlsysim_opt.optimize.stopping import Halt, Standing, Watch, noted_interrupts

ROUNDED = 1e-8
"""What a point may be above its bound, relatively, by rounding: of its programs and of those that choose among ties."""
COVER = 25
"""Points about which a front of divisible amounts is asked where nothing is said."""


def coupled_front(
    task: CoupledTask,
    points: int | None = None,
    *,
    backend: str = "auto",
    prune: bool = True,
    time_limit: float | None = None,
    gap: float | str = 0.0,
    progress: Show | None = None,
    start: PlanSolution | None = None,
) -> Front:
    """Return the front of a coupled problem.

    Args:
        points: about so many points, with the guarantee of a cover, or all where there are no more; all when None (25
            where amounts are divisible).
        gap: relative distance to the bound at which to stop in each program: the front is a cover with that width in
            the first objective. progress: called now and then; returning True stops.
        start: an earlier plan to begin with.
    Raises:
        InfeasibleError, UnboundedError, LimitReachedError: as of `solve_coupled`.
    """
    checked([task.objective, *task.then], points)
    share = checked_gap(gap)
    checked_search(progress, start)
    began = time.perf_counter()
    engine = program_backend(backend)
    halt = Halt(watch_of(progress, task.objective, None), time_limit)
    options = Options(within_share(share), time_limit, prune, None if progress is None else halt.watch)
    with noted_interrupts(halt.pressed):
        plans: ProgramPlans | GeneratedPlans = (
            GeneratedPlans(task, engine, options)
            if generates_front(task, engine)
            else ProgramPlans(task, engine, options)
        )
        if progress is not None:
            watches = [watching(replace(task, objective=item), progress) for item in (task.objective, *task.then)]
            halt.progress = _looked_for(plans, watches)
        chains, endless = _chains(plans, engine, halt)
        asked = points if points is not None or (plans.discrete and not endless) else COVER
        parts = None if asked is None else max(1, math.floor(asked ** (1 / (plans.count - 1)) + 1e-9) - 1)
        begin = None if start is None else plans.begun(start)
        search = Regions(plans, halt.now, parts, begin, points)
        if chains is None:
            kept = search.run(lambda found: _refuse(task, engine, options, found))
        else:
            kept = search.known(chains)
    return _front(task, engine, plans, search, kept, time.perf_counter() - began, share)


def _chains(plans: ProgramPlans | GeneratedPlans, engine: ProgramBackend, halt: Halt) -> tuple[list[Kept] | None, bool]:
    """Return all undominated chains, if plans are such, and whether there are too many to look for them one by one."""
    if isinstance(plans, GeneratedPlans) or engine.name != "milp":
        return None, False
    try:
        return chain_front(plans, halt), False
    except TooManyLabels:
        return None, True


def _looked_for(plans: ProgramPlans | GeneratedPlans, watches: Sequence[Watch | None]) -> Watch:
    """Return the watch of whichever objective is looked for."""

    def watch(standing: Standing) -> bool | None:
        of = watches[plans.at]
        return None if of is None else of(standing)

    return watch


def _refuse(task: CoupledTask, engine: ProgramBackend, options: Options, found: Found) -> None:
    if found.status == "infeasible":
        from mlsysim_opt.optimize.coupled.reasons import infeasible

        raise infeasible(replace(task, then=[]), engine, options)
    if found.status == "unbounded":
        raise UnboundedError("an objective of the front can be improved without limit",
                             hint="an amount that pays for itself has no upper bound")  # fmt: skip
    raise LimitReachedError(f"no plan was found: {found.proof}", hint="raise the time limit")


def _front(
    task: CoupledTask,
    engine: ProgramBackend,
    plans: ProgramPlans | GeneratedPlans,
    search: Regions,
    kept: Sequence[Kept],
    seconds: float,
    gap: float,
) -> Front:
    objectives = [task.objective, *task.then]
    costs = np.array([item.values for item in kept])
    written = Written.of(list(task.problem.metrics.values()), objectives, task.objective_spec, costs)
    found, scalars = [], Scalars(task.problem)
    for plan in kept:
        held = written.held(plan.values)
        mine = replace(
            plans.carrying,
            user=[*task.user, *(user_constraint(task.problem, item) for item in read_constraints(task.problem, held))],
            specs=[*task.specs, *held],
            objective_spec=written.specs[0],
        )
        known, value = plan.found, plan.values[0]
        outcome = replace(known, value=value, bound=min(known.bound, value), duals=None)
        solved = plans.solved(plan, outcome)
        found.append(solution_of(mine, solved, solved, engine.name, seconds, gap, scalars))
    widths = np.zeros(len(objectives)) if search.steps is None else search.steps.copy()
    if search.room > ROUNDED * float(np.max(np.abs(costs[:, 0]))):
        widths[0] = search.room
    for at, width in enumerate(widths):  # of values with a step between them, what is less than one is nothing
        step = plans.step(at)
        widths[at] = step * math.floor(width / step + SAME) if step else width
    settled = not search.open
    complete = settled and not widths.any()
    details: dict[str, Any] = dict(plans.details)
    if not settled:
        details["open_regions"] = [_shown(written, upper) for upper in search.open]
    return written.front(
        task.problem.name,
        found,
        costs,
        complete=complete,
        guarantee=_guarantee(written, plans, search, widths, len(kept)),
        settled=settled,
        details=details,
        seconds=seconds,
        steps=written.amounts(widths.tolist()) if widths.any() else [],
    )


def _guarantee(written: Written, plans: ProgramPlans | GeneratedPlans, search: Regions, widths: Any, count: int) -> str:
    if widths.any():
        text = written.cover(widths.tolist(), "every plan")
    else:
        how = f"{plans.solves} exact programs" if plans.solves else "labels over the chain"
        text = f"complete: all {count} undominated values, by {how}"
        told = [f"{written.text(at, width)} in {written.objectives[at].name}"
                for at, width in sorted(plans.resolution.items())]  # fmt: skip
        text += f"; plans closer than {' and '.join(told)} count as one" if told else ""
    if not search.open:
        return text
    why = search.given_up[0] if search.given_up else "a limit was reached"
    found = f"{why}: {count} points were found; others"
    if len(search.open) > 1:
        return f"{found} may be missing in {len(search.open)} regions (details: open_regions), nowhere else"
    ends = _ends(written, search.open[0])
    return f"{found} may be missing {f'with {ends}, nowhere else' if ends else 'anywhere'}"


def _ends(written: Written, upper: Point) -> str:
    """Return where a region lies, in words."""
    parts = []
    for item, end in zip(written.objectives, _shown(written, upper), strict=True):
        if end is not None:
            unit = written.units[written.objectives.index(item)]
            parts.append(f"{item.name} {'below' if item.sense == 'min' else 'above'} {end:.6g} "
                         f"{unit.text if unit else ''}".rstrip())  # fmt: skip
    return " and ".join(parts)


def _shown(written: Written, upper: Point) -> list[float | None]:
    """Return the ends of a region in the units that are shown, None for no end."""
    signs = [1.0 if item.sense == "min" else -1.0 for item in written.objectives]
    return [sign * end if math.isfinite(end) else None for sign, end in zip(signs, written.amounts(upper), strict=True)]
