"""What the row-picking backends share: scaling of costs, and exact re-ranking of rows a solver cannot tell apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlsysim_opt.errors import ScaleError
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.selector import SelectorForm


def scaled(costs: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
    """Return the costs in a unit that makes the largest of them about one, and the unit.

    Raises:
        ScaleError: a cost is not a finite number; no such number may reach a solver.
    """
    if not np.all(np.isfinite(costs)):
        raise ScaleError("a cost is not a finite number; it is not handed to a solver")
    unit = float(np.max(np.abs(costs), initial=0.0)) or 1.0
    return costs / unit, unit


def rank_band(form: SelectorForm, value: float, measured: np.ndarray[Any, Any], width: float) -> int:
    """Return the exactly cheapest row among those whose measured cost is within `width` of the solver's value."""
    band = np.flatnonzero(measured <= value + width)
    order = np.lexsort((band, form.costs[band]))
    return int(band[order[0]])


def infeasible(form: SelectorForm, solver: str) -> Answer:
    """Return the answer of a problem without feasible rows."""
    proof = f"no row is feasible among {form.evaluated:,} evaluated designs"
    return Answer("infeasible", None, None, None, proof, solver, {"rows": 0, "evaluated": form.evaluated})
