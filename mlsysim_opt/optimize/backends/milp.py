"""MILP through Pyomo, solved by HiGHS: one selector per row, linked to one-hot variables of the choices.

Passes: selector form -> scaled costs -> Pyomo model -> HiGHS -> row -> exact ranking inside the solver's tolerance.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from mlsysim_opt.errors import InputError, MlsysimError, VerificationError
from mlsysim_opt.optimize.backends._imports import load_highs, load_pyomo
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.backends.rows import infeasible, scaled, settled
from mlsysim_opt.optimize.search import Array, Search
from mlsysim_opt.optimize.selector import SelectorForm, selector_form
from mlsysim_opt.optimize.stopping import Halt, Noting

TOLERANCE = 1e-6
"""HiGHS's feasibility and optimality tolerance: rows closer than this, of the scaled costs, are ranked exactly."""

one_at_a_time = threading.Lock()
"""Pyomo redirects the output of the whole process while a solver runs."""


class MilpBackend:
    """Pyomo model of the selector rows, solved by HiGHS."""

    name = "milp"

    def solve(self, search: Search, *, prune: bool = True, halt: Halt | None = None) -> Answer:
        """Return the cheapest row, proven by the solver's bound and ranked exactly within its tolerance."""
        load_highs()
        halt = halt or Halt()
        solver = f"HiGHS {version('highspy')} through Pyomo {version('pyomo')}"
        form = selector_form(search, prune=prune, halt=halt)
        if not len(form.costs):
            return infeasible(form, solver)
        costs, unit = scaled(form.costs)
        with one_at_a_time:
            run = _run(pyomo_model(form, costs), len(costs), halt)
        details = {"rows": len(costs), "feasible": form.feasible, "evaluated": form.evaluated}
        if run.picked is None:
            return Answer("unknown", None, None, None, f"{halt.why} before any design was found", solver, details)
        value = float(costs[run.picked])
        proven = run.optimal and run.bound is not None and run.bound >= value - TOLERANCE
        best = settled(form, run.picked, costs, TOLERANCE, proven=proven, solver=solver)
        cost = float(form.costs[best])
        bound = cost if proven else None if run.bound is None else min(cost, run.bound * unit)
        shown = "none" if run.bound is None else f"{run.bound:.9g}"
        proof = (
            f"HiGHS bound {shown} and value {value:.9g} in units of {unit:.6g}; "
            f"rows within {TOLERANCE:g} of it ranked exactly"
        )
        return Answer("optimal" if proven else "feasible", form.design(best), cost, bound, proof, solver, details)


def pyomo_model(form: SelectorForm, costs: Array) -> Any:
    """Return the Pyomo model of a selector form, to solve, inspect or export."""
    pyo = load_pyomo()
    model = pyo.ConcreteModel()
    model.row = pyo.Var(range(len(costs)), bounds=(0, 1))
    rows = list(model.row.values())
    model.one_row = pyo.Constraint(expr=pyo.quicksum(rows) == 1)
    model.cost = pyo.Objective(expr=pyo.quicksum(float(cost) * row for cost, row in zip(costs, rows, strict=True)))
    present = {index: np.unique(form.positions[:, index]) for index in form.linked}
    pairs = [(index, int(value)) for index, values in present.items() if len(values) > 1 for value in values]
    model.value = pyo.Var(pairs, domain=pyo.Binary)
    model.links = pyo.ConstraintList()
    for index, value in pairs:
        mine = np.flatnonzero(form.positions[:, index] == value)
        model.links.add(pyo.quicksum(rows[row] for row in mine) == model.value[index, value])
    return model


def model_of_search(search: Search) -> Any:
    """Return the Pyomo model of the designs that may be the best one.

    Raises:
        InputError: no design keeps all limits.
    """
    form = selector_form(search, prune=True)
    if not len(form.costs):
        raise InputError(
            "no design keeps all limits: there is no model to make",
            path="constraints",
            hint="optimize() says which limits are in conflict",
        )
    return pyomo_model(form, form.costs)


@dataclass(frozen=True)
class _Run:
    """What HiGHS holds: the row it picked, its bound, and whether it calls the row optimal."""

    picked: int | None
    bound: float | None
    optimal: bool


def _run(model: Any, rows: int, halt: Halt) -> _Run:
    load_pyomo()
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition

    results: Any = None
    with interrupts_told():
        results = SolverFactory("highs").solve(
            model,
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
            time_limit=halt.left,
            threads=1,
            rel_gap=0.0,
            abs_gap=0.0,
            solver_options={"random_seed": 0},
        )
    if results is None:  # it was interrupted before it began
        return _Run(None, None, False)
    why = results.termination_condition
    if why == TerminationCondition.unknown and halt.pressed:
        why = TerminationCondition.maxTimeLimit
    if why not in (TerminationCondition.convergenceCriteriaSatisfied, TerminationCondition.maxTimeLimit):
        raise MlsysimError(f"HiGHS stopped with {why.name} on a problem that has {rows} feasible rows")
    bound = None if results.objective_bound is None else float(results.objective_bound)
    if bound is not None and not np.isfinite(bound):
        bound = None
    if results.solution_status not in (SolutionStatus.optimal, SolutionStatus.feasible):
        return _Run(None, bound, False)
    variables = list(model.row.values())
    results.solution_loader.load_vars(variables)
    shares = [variable.value or 0.0 for variable in variables]
    picked = int(np.argmax(shares))
    if shares[picked] < 0.5:
        raise VerificationError("HiGHS returns a mixture of designs where one is asked for")
    return _Run(picked, bound, why == TerminationCondition.convergenceCriteriaSatisfied)


@contextmanager
def interrupts_told() -> Iterator[None]:
    """Let Ctrl-C stop a run of Pyomo, whose HiGHS waits for KeyboardInterrupt but swallows it.

    After the block it is raised, unless whoever asks has it noted (`noted_interrupts`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        if callable(before):
            before(number, frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    noted = isinstance(before, Noting)
    try:
        yield
    except KeyboardInterrupt:
        if not noted:
            raise
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed and not noted:
            raise KeyboardInterrupt
