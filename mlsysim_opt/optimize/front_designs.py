"""Fronts: all designs that no other one beats in every objective, by one exact pass over the space."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlsysim_opt.algebra.evaluate import GridProgram
from mlsysim_opt.errors import InfeasibleError, LimitReachedError, UnboundedError
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.dominance import Array, beaten, undominated
from mlsysim_opt.optimize.finite import refuse_overflow
from mlsysim_opt.optimize.front import Front
from mlsysim_opt.optimize.front_points import Written, checked, thinned
from mlsysim_opt.optimize.problem import Objective
from mlsysim_opt.optimize.progress import Show, checked_progress, watch_of
from mlsysim_opt.optimize.request import read_constraints
from mlsysim_opt.optimize.run import Task, solution_of
from mlsysim_opt.optimize.search import TIE, Design, Part
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.optimize.stopping import Halt, Standing, noted_interrupts


def snapped(costs: Array) -> Array:
    """Return costs in which those of one objective that differ by rounding only are the same number."""
    out = costs.copy()
    for column in out.T:
        order = np.argsort(column)
        ranked = column[order]
        apart = np.diff(ranked) > TIE * np.abs(ranked[1:])
        first = np.maximum.accumulate(np.where(np.concatenate([[True], apart]), np.arange(len(ranked)), 0))
        column[order] = ranked[first]
    return out


def front(
    task: Task, points: int | None = None, time_limit: float | None = None, progress: Show | None = None
) -> Front:
    """Return the front of an uncoupled problem: every design is looked at.

    Args:
        points: so many points, with the guarantee that says what they stand for; all when None.
        progress: called now and then; returning True stops.
    Raises:
        InfeasibleError: no design satisfies every constraint. LimitReachedError: it was ended before all were seen.
    """
    objectives = [task.objective, *task.then]
    checked(objectives, points)
    began = time.perf_counter()
    checked_progress(progress)
    halt = Halt(watch_of(progress, task.objective, None, designs=True), time_limit)
    with noted_interrupts(halt.pressed):
        try:
            costs, designs, counts = _pass(task, objectives, halt)
        except UnboundedError:
            refuse_overflow(task)
            raise
    if not len(costs):
        from mlsysim_opt.optimize.explain import infeasible

        # each objective may have designs, and none in common
        for item in objectives:
            alone = replace(task, objective=item, then=[])
            if not alone.search(keep=1).run().best:
                raise infeasible(alone)
        raise InfeasibleError("no design has a number for every objective: "
                              + ", ".join(item.name for item in objectives))  # fmt: skip
    level = snapped(costs)
    kept = undominated(level)
    guarantee = f"complete: all of the {len(kept)} undominated values, by evaluation of {counts['evaluated']:,} designs"
    written = Written.of(list(task.problem.metrics.values()), objectives, task.objective_spec, costs[kept])
    complete, steps = points is None or len(kept) <= points, []
    if not complete:
        assert points is not None
        few, step = thinned(level[kept], points)
        total, kept = len(kept), kept[few]
        guarantee = written.cover(step.tolist(), f"each of the {total} undominated values")
        steps = written.amounts(step.tolist())
    found = []
    for at in kept:
        held = written.held(costs[at].tolist())
        extended = task.problem.with_constraints(read_constraints(task.problem, held))
        mine = Task(extended, objectives[0], [], [*task.specs, *held], written.specs[0])
        cost = float(costs[at, 0])
        proof = "every design was evaluated; none that is as good in the other objectives is better in this one"
        answer = Answer("optimal", designs[at], cost, cost, proof, f"numpy {np.__version__}", counts)
        found.append(solution_of(mine, "enumerate", answer, answer, time.perf_counter() - began, explain=False))
    return written.front(
        task.problem.name, found, costs[kept], complete=complete, guarantee=guarantee, details=counts,
        seconds=time.perf_counter() - began, steps=steps,
    )  # fmt: skip


def _pass(task: Task, objectives: Sequence[Objective], halt: Halt) -> tuple[Array, list[Design], dict[str, Any]]:
    """Return costs and designs that no design beats, equal ones once: the first in the order of designs."""
    search = task.search()
    costs, designs = np.empty((0, len(objectives))), np.empty((0, len(search.choices)), dtype=np.int64)
    evaluated = feasible = 0
    roots = [*(item.cost for item in objectives), *(item.holds for item in search.questioned)]
    for axes in spaces(Domain.of(search.choices), search.structural, search.values):
        for start, _, values in GridProgram(roots, search.values, axes).blocks():
            if halt.watch(Standing(halt.seconds, None, None, evaluated)) or halt.now():
                raise LimitReachedError(
                    f"{halt.why} after {evaluated:,} designs; a front of part of them would prove nothing",
                    hint=f"{halt.hint}, or narrow the choices",
                )
            part = Part(search.choices, axes, start, values[0], values[len(objectives) :], [])
            good = part.feasible()
            for other in values[1 : len(objectives)]:
                if np.any(good & (other == -np.inf)):
                    raise UnboundedError("an objective has no limit: it is minus infinity at a possible design")
                good = good & np.isfinite(other)
            evaluated += part.cost.size
            flat = np.flatnonzero(good)
            feasible += len(flat)
            mine = np.stack([item.reshape(-1)[flat] for item in values[: len(objectives)]], axis=1)
            alive = ~beaten(mine, costs)
            mine, flat = mine[alive], flat[alive]
            if not len(flat):
                continue
            best = undominated(mine)
            columns = np.stack(part.positions(flat[best]), axis=1) if search.choices else np.empty((1, 0), np.int64)
            costs = np.concatenate([costs, mine[best]])
            designs = np.concatenate([designs, columns])
            # equal costs in two blocks: the earlier design stays
            order = np.lexsort((*reversed(designs.T),)) if search.choices else np.arange(len(designs))
            costs, designs = costs[order], designs[order]
            kept = undominated(costs)
            costs, designs = costs[kept], designs[kept]
    counts = {"evaluated": evaluated, "feasible": feasible}
    return costs, [tuple(int(item) for item in row) for row in designs], counts
