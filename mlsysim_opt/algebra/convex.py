"""Proofs that an expression is convex (or concave, or straight) once it and its unknowns are taken as logarithms.

What is log-convex below a limit is a convex set in logarithms, so that a local optimum is the optimum: the calculus of
geometric programs (Boyd et al. 2007, A tutorial on geometric programming; Agrawal et al. 2019, Disciplined geometric
programming).
"""

from __future__ import annotations

from collections.abc import Sequence

from mlsysim_opt.algebra.bounds import Box, all_bounds
from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, topological
from mlsysim_opt.algebra.interval import Interval

NOTHING = Interval(0.0, 0.0)


def log_curvature(root: Expression, unknowns: Sequence[Symbol], box: Box | None = None) -> int | None:
    """Return how ln(root) bends over the logarithms of the unknowns.

    Returns:
        +1 convex, -1 concave, 0 straight, None not proven.

    Args:
        root: the expression. unknowns: the symbols that move.
        box: intervals or values of the leaves by name; all that is added or multiplied must be above zero over it.
    """
    order = topological([root])
    found = all_bounds([root], box or {}, order)
    moving = {id(item) for item in unknowns}
    dependent = set(moving)
    curves: dict[int, int | None] = {}
    for node in order:
        if any(id(item) in dependent for item in node.args):
            dependent.add(id(node))
        if node.sort != "number":
            curves[id(node)] = None
        elif found[id(node)] == NOTHING:
            curves[id(node)] = 0
        elif id(node) not in dependent or not isinstance(node, Operation):
            curves[id(node)] = 0 if found[id(node)].low > 0.0 else None
        elif found[id(node)].low <= 0.0:
            curves[id(node)] = None
        else:
            curves[id(node)] = node.atom.log_curve([curves[id(item)] for item in node.args], node.args)
    return curves[id(root)]
