"""Fronts: all designs that no other one beats in every objective, by one exact pass over the space."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlsysim_opt.algebra.evaluate import GridProgram
from mlsysim_opt.errors import InputError, LimitReachedError, UnboundedError
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.dominance import Array, beaten, covering, undominated
from mlsysim_opt.optimize.front import Front, FrontObjective
from mlsysim_opt.optimize.problem import Metric, Objective
from mlsysim_opt.optimize.request import read_constraints
from mlsysim_opt.optimize.run import Task, solution_of
from mlsysim_opt.optimize.search import TIE, Design, Part
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.units import NONE, Unit, parse_unit, readable_unit

MOST = 4
"""Objectives that a front may have."""


def checked(objectives: Sequence[Objective], points: int | None) -> None:
    """Refuse what makes no front.

    Raises:
        InputError: there are fewer than two objectives or more than four, one stands twice, or `points` is no count.
    """
    if not 2 <= len(objectives) <= MOST:
        raise InputError(f"a front has two to {MOST} objectives, got {len(objectives)}", path="objectives",
                         hint="optimize() takes one, and several in order of importance")  # fmt: skip
    costs = [item.cost for item in objectives]
    for at, item in enumerate(objectives):
        if any(item.cost is other for other in costs[:at]):
            raise InputError(f"{item.name} is given twice", path="objectives")
    if points is not None and (isinstance(points, bool) or not isinstance(points, int) or points < 2):
        raise InputError(f"{points!r} is not a number of points", path="points", hint="two or more")


def limit_spec(objective: Objective, spec: Any, value: float, unit: Unit | None) -> Any:
    """Return the constraint that an objective is no worse than a value, as text where it was asked as text.

    Args:
        value: of what is minimised, in base units; a share of 1e-12 more is allowed, for rounding of the text.
    """
    sign = 1.0 if objective.sense == "min" else -1.0
    factor = unit.factor if unit else 1.0
    allowed = float(sign * (value + TIE * abs(value)) / factor)
    text = spec if isinstance(spec, str) else objective.name if spec is None else None
    if text is None:
        from mlsysim_opt.algebra.expression import constant

        return objective.cost <= constant(value + TIE * abs(value), objective.cost.dimension)
    text = text.strip()
    word, _, rest = text.partition(" ")
    if text.startswith(("min_", "max_")):
        text = text[4:]
    elif word.rstrip(":") in ("minimize", "minimise", "maximize", "maximise"):
        text = rest
    relation = "<=" if objective.sense == "min" else ">="
    return f"{text} {relation} {allowed!r} {unit.text if unit else ''}".rstrip()


def shown_unit(metrics: Sequence[Metric], objective: Objective, values: Array) -> Unit | None:
    """Return the one unit in which the values of an objective are shown; None for plain numbers."""
    of = objective.expression.dimension
    if of == NONE:
        return None
    named = [item.unit for item in metrics if item.expression is objective.expression and item.unit]
    return parse_unit(named[0]) if named else readable_unit(float(np.max(np.abs(values))), of)


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


def step_for(costs: Array, points: int) -> Array:
    """Return how far apart points may stand so that so few cover an undominated set: the first objective exactly."""
    span = costs.max(axis=0) - costs.min(axis=0)
    span[0] = 0.0
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if len(covering(costs, span * middle)) <= points else (middle, high)
    return np.asarray(span * high)


def front(task: Task, points: int | None = None, time_limit: float | None = None) -> Front:
    """Return the front of an uncoupled problem: every design is looked at.

    Args:
        points: at most so many points, with the guarantee that says what they stand for; all when None.
    Raises:
        InfeasibleError: no design satisfies every constraint. LimitReachedError: the time was up before all were seen.
    """
    objectives = [task.objective, *task.then]
    checked(objectives, points)
    began = time.perf_counter()
    costs, designs, counts = _pass(task, objectives, time_limit)
    if not len(costs):
        from mlsysim_opt.optimize.explain import infeasible

        raise infeasible(replace(task, then=[]))
    level = snapped(costs)
    kept = undominated(level)
    guarantee = f"complete: all of the {len(kept)} undominated values, by evaluation of {counts['evaluated']:,} designs"
    complete = points is None or len(kept) <= points
    units = [shown_unit(list(task.problem.metrics.values()), item, costs[kept, at])
             for at, item in enumerate(objectives)]  # fmt: skip
    if not complete:
        assert points is not None
        step = step_for(level[kept], points)
        total, kept = len(kept), kept[covering(level[kept], step)]
        guarantee = cover_text(objectives, step, units, f"each of the {total} undominated values")
    specs: Sequence[Any] = (
        task.objective_spec if isinstance(task.objective_spec, list | tuple) else [task.objective_spec]
    )
    found = []
    for at in kept:
        held = [limit_spec(*pair, costs[at, other + 1], units[other + 1])
                for other, pair in enumerate(zip(objectives[1:], specs[1:], strict=True))]  # fmt: skip
        extended = task.problem.with_constraints(read_constraints(task.problem, held))
        mine = Task(extended, objectives[0], [], [*task.specs, *held], specs[0])
        cost = float(costs[at, 0])
        proof = "every design was evaluated; none that is as good in the other objectives is better in this one"
        answer = Answer("optimal", designs[at], cost, cost, proof, f"numpy {np.__version__}", counts)
        found.append(solution_of(mine, "enumerate", answer, answer, time.perf_counter() - began, explain=False))
    return Front(
        problem=task.problem.name,
        objectives=[
            FrontObjective(item.name, item.sense, unit.text if unit else "")
            for item, unit in zip(objectives, units, strict=True)
        ],
        points=found,
        values=in_units(objectives, units, costs[kept]),
        complete=complete,
        guarantee=guarantee,
        details=counts,
        seconds=time.perf_counter() - began,
    )


def in_units(objectives: Sequence[Objective], units: Sequence[Unit | None], costs: Array) -> list[list[float]]:
    """Return costs in base units as values of the objectives in their units."""
    signs = [1.0 if item.sense == "min" else -1.0 for item in objectives]
    factors = [unit.factor if unit else 1.0 for unit in units]
    return [
        [sign * float(cost) / factor for sign, cost, factor in zip(signs, row, factors, strict=True)] for row in costs
    ]


def cover_text(objectives: Sequence[Objective], step: Array, units: Sequence[Unit | None], of: str) -> str:
    """Return what a cover promises."""
    parts = [f"no worse in {objectives[0].name}"]
    for item, width, unit in zip(objectives[1:], step[1:], units[1:], strict=True):
        shown = f"{width / (unit.factor if unit else 1.0):.4g} {unit.text if unit else ''}".rstrip()
        parts.append(f"at most {shown} worse in {item.name}")
    return f"cover: for {of}, some point is " + " and ".join(parts)


def _pass(
    task: Task, objectives: Sequence[Objective], time_limit: float | None
) -> tuple[Array, list[Design], dict[str, Any]]:
    """Return costs and designs that no design beats, equal ones once: the first in the order of designs."""
    search = task.search()
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    costs, designs = np.empty((0, len(objectives))), np.empty((0, len(search.choices)), dtype=np.int64)
    evaluated = feasible = 0
    roots = [*(item.cost for item in objectives), *(item.holds for item in search.questioned)]
    for axes in spaces(Domain.of(search.choices), search.structural, search.values):
        for start, _, values in GridProgram(roots, search.values, axes).blocks():
            if time.monotonic() > deadline:
                raise LimitReachedError(
                    f"the time was up after {evaluated:,} designs; a front of part of them would prove nothing",
                    hint="raise the time limit, or narrow the choices",
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
