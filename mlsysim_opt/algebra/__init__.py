"""Algebra: expressions with units, evaluated, bounded, differentiated, inverted and rendered. Knows no ML systems.

Functions that bear the name of their module are imported from it: ``algebra.evaluate.evaluate``, and likewise
`bounds`, `expression`, `invert`, `parse` and `render`.
"""

from __future__ import annotations

from mlsysim_opt.algebra.atoms import (
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
from mlsysim_opt.algebra.bounds import all_bounds
from mlsysim_opt.algebra.derive import elasticity, gradient
from mlsysim_opt.algebra.evaluate import Axes, GridProgram, ScalarProgram
from mlsysim_opt.algebra.expression import (
    Choice,
    Constant,
    Expression,
    Operation,
    Symbol,
    constant,
    substitute,
    symbols,
    topological,
)
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.render import equation, equations_latex, equations_text, latex
from mlsysim_opt.algebra.transport import freeze, thaw

__all__ = [
    "Axes",
    "Choice",
    "Constant",
    "Expression",
    "GridProgram",
    "Interval",
    "Operation",
    "ScalarProgram",
    "Symbol",
    "all_bounds",
    "argmax_label",
    "best_interval",
    "ceil",
    "ceildiv",
    "constant",
    "divides",
    "elasticity",
    "equation",
    "equations_latex",
    "equations_text",
    "erlang_c",
    "exp",
    "exponential_mean",
    "filling_quantile",
    "floor",
    "freeze",
    "gaussian_privacy",
    "gradient",
    "latex",
    "log",
    "lookup",
    "maximum",
    "minimum",
    "normal_tail",
    "poisson_below",
    "private_noise",
    "private_rate",
    "sojourn_quantile",
    "sqrt",
    "substitute",
    "symbols",
    "thaw",
    "topological",
    "wait_decay",
    "where",
]
