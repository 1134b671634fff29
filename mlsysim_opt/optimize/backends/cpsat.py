"""OR-Tools CP-SAT on the selector rows, with integer costs and a stated rounding bound.

Passes: selector form -> costs floored at a resolution -> CP-SAT -> row -> exact re-ranking of rows inside the rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.optimize.backends._imports import load_cpsat
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.backends.rows import infeasible, rank_band, scaled
from mlsysim_opt.optimize.search import Search
from mlsysim_opt.optimize.selector import SelectorForm, selector_form

STEPS = 2**40
"""Integer costs span this many steps: far inside int64, and a rounding of 1e-12 of the largest cost."""


class CpSatBackend:
    """CP-SAT over one literal per feasible row."""

    name = "cpsat"

    def solve(self, search: Search, *, prune: bool = True, time_limit: float | None = None) -> Answer:
        """Return the cheapest row; rows within the rounding of the proven value are re-ranked exactly."""
        form = selector_form(search, prune=prune)
        solver_name = f"OR-Tools CP-SAT {_version()}"
        if not len(form.costs):
            return infeasible(form, solver_name)
        costs, unit = scaled(form.costs)
        whole = np.floor(costs * STEPS).astype(np.int64)
        status, picked, bound = _run(form, whole, time_limit)
        if picked is None:
            return Answer("unknown", None, None, None, f"stopped with {status}", solver_name)
        best = rank_band(form, float(whole[picked]), whole.astype(float), 0.0)
        proven = status == "OPTIMAL" and bound >= whole[picked]
        proof = (
            f"CP-SAT {status}: integer value {whole[picked]} = bound {bound}, steps of {unit / STEPS:.3g} "
            f"(floored, so at most one step low); rows in that step re-ranked exactly"
        )
        cost = float(form.costs[best])
        return Answer(
            "optimal" if proven else "feasible",
            form.design(best),
            cost,
            cost if proven else bound / STEPS * unit,
            proof,
            solver_name,
            {"rows": len(costs), "feasible": form.feasible, "evaluated": form.evaluated},
        )


def _run(
    form: SelectorForm, whole: np.ndarray[Any, Any], time_limit: float | None
) -> tuple[str, int | None, float]:
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
    model.minimize(cp_model.LinearExpr.weighted_sum(rows, [int(item) for item in whole]))
    invalid = model.validate()
    if invalid:
        raise MlsysimError(f"CP-SAT rejects the model: {invalid}")
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.cp_model_probing_level = 0
    if time_limit is not None:
        solver.parameters.max_time_in_seconds = time_limit
    status = solver.status_name(solver.solve(model))
    if status not in ("OPTIMAL", "FEASIBLE"):
        return status, None, -np.inf
    picked = next(index for index, literal in enumerate(rows) if solver.boolean_value(literal))
    return status, picked, solver.best_objective_bound


def _version() -> str:
    from importlib.metadata import version

    return version("ortools")
