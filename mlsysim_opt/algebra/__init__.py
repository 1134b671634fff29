"""Algebra: expressions with units, evaluated, bounded, differentiated, inverted and rendered. Knows no ML systems."""

from __future__ import annotations

from mlsysim_opt.algebra.atoms import (
    argmax_label,
    ceil,
    ceildiv,
    divides,
    exp,
    floor,
    log,
    lookup,
    maximum,
    minimum,
    sqrt,
    where,
)
from mlsysim_opt.algebra.bounds import all_bounds, bounds
from mlsysim_opt.algebra.derive import elasticity, gradient
from mlsysim_opt.algebra.evaluate import Axes, GridProgram, ScalarProgram, evaluate
from mlsysim_opt.algebra.expression import (
    Choice,
    Constant,
    Expression,
    Operation,
    Symbol,
    constant,
    expression,
    substitute,
    symbols,
    topological,
)
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.render import equation, equations_latex, equations_text, latex, render
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
    "bounds",
    "ceil",
    "ceildiv",
    "constant",
    "divides",
    "elasticity",
    "equation",
    "equations_latex",
    "equations_text",
    "evaluate",
    "exp",
    "expression",
    "floor",
    "freeze",
    "gradient",
    "latex",
    "log",
    "lookup",
    "maximum",
    "minimum",
    "render",
    "sqrt",
    "substitute",
    "symbols",
    "thaw",
    "topological",
    "where",
]
