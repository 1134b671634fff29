"""OR-Tools CP-SAT on the selector rows, with integer costs and a stated rounding bound.

Passes: selector form -> scaled costs -> floored to whole steps -> CP-SAT -> row -> exact ranking inside the rounding.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np

from mlsysim_opt.errors import MlsysimError, ScaleError
from mlsysim_opt.optimize.backends._imports import load_cpsat
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.backends.rows import CAP, infeasible, scaled, settled
from mlsysim_opt.optimize.search import Array, Search
from mlsysim_opt.optimize.selector import SelectorForm, selector_form
from mlsysim_opt.optimize.stopping import Halt, noted_interrupts

FINEST = 50
"""Steps per unit, as a power of two: finer ones would be lost in the 53 bits of a float."""
COARSEST = 24
"""Coarser steps than this tell nothing."""
WHOLE = 62
"""The sum of all whole costs stays below two to this power: CP-SAT refuses an objective that could leave int64."""

T = TypeVar("T")


class CpSatBackend:
    """CP-SAT over one literal per feasible row."""

    name = "cpsat"

    def solve(self, search: Search, *, prune: bool = True, halt: Halt | None = None) -> Answer:
        """Return the cheapest row; rows within the rounding of the proven value are ranked exactly."""
        load_cpsat()
        halt = halt or Halt()
        solver = f"OR-Tools CP-SAT {version('ortools')}"
        form = selector_form(search, prune=prune, halt=halt)
        if not len(form.costs):
            return infeasible(form, solver)
        costs, unit = scaled(form.costs)
        whole, steps = whole_costs(costs)
        status, picked, bound = _run(form, whole, halt)
        details = {"rows": len(costs), "feasible": form.feasible, "evaluated": form.evaluated, "steps_per_unit": steps}
        if picked is None:
            return Answer("unknown", None, None, None, f"{halt.why} before any design was found", solver, details)
        proven = status == "OPTIMAL" and bound > whole[picked] - 1  # whole costs: nothing lies between
        best = settled(form, picked, whole, 0, proven=proven, solver=solver)
        proof = (
            f"CP-SAT {status}: whole value {int(whole[picked])}, bound {bound:.0f}, in steps of {unit / steps:.3g} "
            f"(floored, so less than one step low); rows in that step ranked exactly"
        )
        cost = float(form.costs[best])
        held = cost if proven else min(cost, bound / steps * unit) if math.isfinite(bound) else None
        return Answer("optimal" if proven else "feasible", form.design(best), cost, held, proof, solver, details)


def whole_costs(costs: Array) -> tuple[Array, int]:
    """Return scaled costs as whole numbers of steps, rounded down, and how many steps make a unit.

    The steps are as fine as int64 allows: the sum of all costs must not leave it.

    Raises:
        ScaleError: there are so many rows that no useful step is left.
    """
    finest = min(FINEST, WHOLE - math.ceil(math.log2(CAP * max(1, len(costs)))))
    if finest < COARSEST:
        raise ScaleError(
            f"{len(costs):,} rows leave int64 no room for costs in steps of 2^-{COARSEST}",
            path="objective",
            hint="let it prune (prune=True), or use backend='enumerate'",
        )
    steps = 2**finest
    return np.floor(costs * steps).astype(np.int64), steps


def _run(form: SelectorForm, whole: Array, halt: Halt) -> tuple[str, int | None, float]:
    """Return CP-SAT's status, the row it picked and its bound."""
    cp_model = load_cpsat()
    model = cp_model.CpModel()
    rows = [model.new_bool_var(f"row{index}") for index in range(len(whole))]
    model.add_exactly_one(rows)
    for index in form.linked:
        present = np.unique(form.positions[:, index])
        if len(present) < 2:
            continue
        values = {int(value): model.new_bool_var(f"{form.choices[index].name}_{value}") for value in present}
        model.add_exactly_one(values.values())
        for value, literal in values.items():
            mine = np.flatnonzero(form.positions[:, index] == value)
            model.add(sum(rows[int(row)] for row in mine) == literal)
    model.minimize(cp_model.LinearExpr.weighted_sum(rows, whole.tolist()))
    invalid = model.validate()
    if invalid:
        raise MlsysimError(f"CP-SAT rejects the model: {invalid}")
    solver = solver_of(halt.left)
    code = interruptible(lambda: solver.solve(model), solver.stop_search)
    status: str = solver.status_name(code)
    if status not in ("OPTIMAL", "FEASIBLE", "UNKNOWN"):
        raise MlsysimError(f"CP-SAT stopped with {status} on a problem that has {len(whole)} feasible rows")
    if status == "UNKNOWN":
        return status, None, -math.inf
    picked = next(index for index, literal in enumerate(rows) if solver.boolean_value(literal))
    return status, picked, float(solver.best_objective_bound)


def solver_of(time_limit: float | None) -> Any:
    """Return CP-SAT on one core, the same run every time, with what is known to be wrong in it switched off."""
    solver = load_cpsat().CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.cp_model_probing_level = 0
    solver.parameters.catch_sigint_signal = False
    # of picks in limits, this step leaves out the best and calls another one optimal (google/or-tools#5293)
    solver.parameters.presolve_inclusion_work_limit = 0
    if time_limit is not None:
        solver.parameters.max_time_in_seconds = time_limit
    return solver


def interruptible(solve: Callable[[], T], stop: Callable[[], Any]) -> T:
    """Return what `solve` returns; Ctrl-C stops it, and is noted by whoever asks (`noted_interrupts`)."""
    if threading.current_thread() is not threading.main_thread():
        return solve()
    found: list[T] = []
    failed: list[BaseException] = []
    done = threading.Event()  # not Thread.join, which an interrupt makes believe that the thread has ended

    def work() -> None:
        try:
            found.append(solve())
        except BaseException as error:  # handed to the thread that waits
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=work, daemon=True)
    pressed: list[bool] = []
    with noted_interrupts(pressed):
        thread.start()
        while not done.wait(0.2):
            if pressed:
                stop()
        thread.join()
    if failed:
        raise failed[0]
    return found[0]
