"""What the row-picking backends share: the scale of costs, and settling what a solver cannot tell apart."""

from __future__ import annotations

import math

import numpy as np

from mlsysim_opt.errors import ScaleError, VerificationError
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.search import Array
from mlsysim_opt.optimize.selector import SelectorForm

CAP = 4.0
"""Scaled costs above this are lowered to it: the cheapest row is below 2, so none of them can be the answer."""


def scaled(costs: Array) -> tuple[Array, float]:
    """Return the costs in a unit that makes the smallest of them about one, and the unit.

    The unit is a power of two, so that dividing by it is exact. Solvers work with absolute tolerances: this scale makes
    them relative to the answer, whatever the worst row costs.

    Raises:
        ScaleError: a cost is not a finite number; no such number may reach a solver.
    """
    if not np.all(np.isfinite(costs)):
        raise ScaleError("a cost is not a finite number; it is not handed to a solver", path="objective")
    size = abs(float(np.min(costs)))
    if size == 0.0:
        size = float(np.min(np.abs(costs), initial=np.inf, where=costs != 0))
    if not math.isfinite(size):
        return np.zeros(len(costs)), 1.0
    unit = math.ldexp(1.0, math.frexp(size)[1] - 1)
    with np.errstate(over="ignore"):
        return np.minimum(costs / unit, CAP), unit


def settled(form: SelectorForm, picked: int, measured: Array, width: float, *, proven: bool, solver: str) -> int:
    """Return the first row, in the order of designs, among those the solver cannot tell from the one it picked.

    Args:
        measured: the costs that the solver saw. width: how far apart two of them must be to be told apart.
        proven: whether the solver says that none is cheaper.
    Raises:
        VerificationError: it says so, but a row is cheaper by more than that.
    """
    value = measured[picked]
    if proven and np.min(measured) < value - width:
        raise VerificationError(
            f"{solver} calls a design optimal that costs {float(form.costs[picked])!r}, "
            f"but one that it was given costs {float(np.min(form.costs))!r}",
            hint="this is a fault of the solver; use another backend, and please report it",
        )
    band = np.flatnonzero(np.abs(measured - value) <= width)
    columns = (form.positions[band, index] for index in reversed(range(form.positions.shape[1])))
    order = np.lexsort((*columns, form.costs[band]))
    return int(band[order[0]])


def infeasible(form: SelectorForm, solver: str) -> Answer:
    """Return the answer of a problem without feasible rows."""
    proof = f"no row is feasible among {form.evaluated:,} evaluated designs"
    return Answer("infeasible", None, None, None, proof, solver, {"rows": 0, "evaluated": form.evaluated})
