"""The operations, one class each. All that is known of an operation stands in its class and nowhere else:

its dimension rule, its value (exact scalar and NumPy), its interval bounds, derivative, direction of monotonicity,
inverse, text and LaTeX. A new operation is one more class, in any module that is imported.
"""

from __future__ import annotations

from mlsysim_opt.algebra.atoms import (
    arithmetic,
    contraction,
    filling,
    normal,
    privacy,
    queues,
    renewal,
    selection,
    truths,
    whole,
)
from mlsysim_opt.algebra.atoms.base import Atom, Infix, Inversion
from mlsysim_opt.algebra.atoms.queues import sojourn_tail
from mlsysim_opt.algebra.atoms.selection import Grid, Table
from mlsysim_opt.algebra.atoms.whole import EXACT
from mlsysim_opt.algebra.atoms.writing import (
    argmax_label,
    best_interval,
    ceil,
    ceildiv,
    divides,
    erlang_c,
    exp,
    exponential_mean,
    filling_quantile,
    floor,
    gaussian_privacy,
    grid_lookup,
    log,
    lookup,
    maximum,
    minimum,
    normal_tail,
    poisson_below,
    private_noise,
    private_rate,
    sojourn_quantile,
    sqrt,
    wait_decay,
    where,
)
from mlsysim_opt.algebra.expression import ATOMS

__all__ = [
    "ATOMS",
    "Atom",
    "EXACT",
    "Grid",
    "Infix",
    "Inversion",
    "Table",
    "argmax_label",
    "arithmetic",
    "best_interval",
    "ceil",
    "ceildiv",
    "contraction",
    "divides",
    "erlang_c",
    "exp",
    "exponential_mean",
    "filling",
    "filling_quantile",
    "floor",
    "gaussian_privacy",
    "grid_lookup",
    "log",
    "lookup",
    "maximum",
    "minimum",
    "normal",
    "normal_tail",
    "poisson_below",
    "privacy",
    "private_noise",
    "private_rate",
    "queues",
    "renewal",
    "selection",
    "sojourn_quantile",
    "sojourn_tail",
    "sqrt",
    "truths",
    "wait_decay",
    "where",
    "whole",
]
