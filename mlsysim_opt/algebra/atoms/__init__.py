"""The operations, one class each. All that is known of an operation stands in its class and nowhere else:

its dimension rule, its value (exact scalar and NumPy), its interval bounds, derivative, direction of monotonicity,
inverse, text and LaTeX. A new operation is one more class, in any module that is imported.
"""

from __future__ import annotations

from mlsysim_opt.algebra.atoms import arithmetic, selection, truths, whole
from mlsysim_opt.algebra.atoms.base import Atom, Infix, Inversion
from mlsysim_opt.algebra.atoms.selection import Table
from mlsysim_opt.algebra.atoms.whole import EXACT
from mlsysim_opt.algebra.atoms.writing import (
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
from mlsysim_opt.algebra.expression import ATOMS

__all__ = [
    "ATOMS",
    "Atom",
    "EXACT",
    "Infix",
    "Inversion",
    "Table",
    "argmax_label",
    "arithmetic",
    "ceil",
    "ceildiv",
    "divides",
    "exp",
    "floor",
    "log",
    "lookup",
    "maximum",
    "minimum",
    "selection",
    "sqrt",
    "truths",
    "where",
    "whole",
]
