"""MILP through Pyomo, solved by HiGHS: one selector per row, linked to one-hot variables of the choices.

Passes: selector form -> scaled costs -> Pyomo model -> HiGHS -> row -> exact re-ranking inside the solver's tolerance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.optimize.backends._imports import load_highs, load_pyomo
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.backends.rows import infeasible, rank_band, scaled
from mlsysim_opt.optimize.search import Search
from mlsysim_opt.optimize.selector import SelectorForm, selector_form

TOLERANCE = 1e-6
"""HiGHS's feasibility and optimality tolerance: rows closer than this, of the scaled costs, are re-ranked exactly."""


class MilpBackend:
    """Pyomo model of the selector rows, solved by HiGHS."""

    name = "milp"

    def solve(self, search: Search, *, prune: bool = True, time_limit: float | None = None) -> Answer:
        """Return the cheapest row, proven by the solver's bound and re-ranked exactly within its tolerance."""
        form = selector_form(search, prune=prune)
        if not len(form.costs):
            return infeasible(form, f"HiGHS {_highs_version()}")
        costs, unit = scaled(form.costs)
        model = pyomo_model(form, costs)
        picked, bound, optimal = _run(model, len(costs), time_limit)
        if picked is None:
            return Answer("unknown", None, None, None, "time limit before any solution", f"HiGHS {_highs_version()}")
        best = rank_band(form, float(costs[picked]), costs, TOLERANCE)
        proof = (
            f"HiGHS bound {bound:.9g} and value {costs[picked]:.9g} in units of {unit:.6g}; "
            f"rows within {TOLERANCE:g} of it re-ranked exactly"
        )
        cost = float(form.costs[best])
        proven = optimal and bound >= costs[picked] - TOLERANCE
        return Answer(
            "optimal" if proven else "feasible",
            form.design(best),
            cost,
            cost if proven else bound * unit,
            proof,
            f"HiGHS {_highs_version()} through Pyomo",
            {"rows": len(costs), "feasible": form.feasible, "evaluated": form.evaluated},
        )


def pyomo_model(form: SelectorForm, costs: np.ndarray[Any, Any]) -> Any:
    """Return the Pyomo model of a selector form, to solve, inspect or export."""
    pyo = load_pyomo()
    model = pyo.ConcreteModel()
    model.row = pyo.Var(range(len(costs)), bounds=(0, 1))
    model.one_row = pyo.Constraint(expr=sum(model.row.values()) == 1)
    model.cost = pyo.Objective(
        expr=sum(float(cost) * variable for cost, variable in zip(costs, model.row.values(), strict=True))
    )
    model.links = pyo.ConstraintList()
    pairs = [(index, int(value)) for index in form.linked for value in np.unique(form.positions[:, index])]
    model.value = pyo.Var(pairs, domain=pyo.Binary)
    for index, value in pairs:
        rows = np.flatnonzero(form.positions[:, index] == value)
        model.links.add(sum(model.row[int(row)] for row in rows) == model.value[index, value])
    return model


def _run(model: Any, rows: int, time_limit: float | None) -> tuple[int | None, float, bool]:
    """Return the picked row, the proven bound and whether the solver calls it optimal."""
    load_highs()
    pyo = load_pyomo()
    solver = pyo.SolverFactory("appsi_highs")
    solver.config.load_solution = False
    solver.config.time_limit = time_limit
    solver.highs_options = {"mip_rel_gap": 0.0, "mip_abs_gap": 0.0, "threads": 1, "random_seed": 0}
    results = solver.solve(model, load_solutions=False)
    condition = str(results.solver.termination_condition)
    if condition not in ("optimal", "maxTimeLimit"):
        raise MlsysimError(f"HiGHS stopped with {condition} on a problem that has {rows} feasible rows")
    bound = results.problem.lower_bound
    bound = -np.inf if bound is None else float(bound)
    try:
        solver.load_vars()
    except Exception:  # no incumbent: the interface raises its own kinds
        return None, bound, False
    values = np.array([variable.value or 0.0 for variable in model.row.values()])
    return int(np.argmax(values)), bound, condition == "optimal"


def _highs_version() -> str:
    from importlib.metadata import version

    return version("highspy")
