"""Partial evaluation: what of an expression follows from known values, and what remains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.expression import Constant, Expression, Operation, Symbol, constant, topological
from mlsysim_opt.errors import InputError


def settled(nodes: Sequence[Expression], known: Mapping[str, Any]) -> tuple[dict[int, Any], dict[int, Expression]]:
    """Return the values of the nodes that depend on known symbols alone, and what stands in place of a node: the branch
    that a settled condition takes. Both by identity.

    Args:
        nodes: arguments before the operations on them.
        known: values of symbols by name.
    """
    values: dict[int, Any] = {}
    taken: dict[int, Expression] = {}
    for node in nodes:
        if isinstance(node, Constant):
            values[id(node)] = node.value
        elif isinstance(node, Symbol) and node.name in known:
            values[id(node)] = known[node.name]
        elif known and isinstance(node, Operation) and not node.atom.by_position:
            args = [taken.get(id(item), item) for item in node.args]
            if all(id(item) in values for item in args):
                values[id(node)] = node.atom.scalar(*[values[id(item)] for item in args], param=node.param)
            elif node.atom.name == "where" and id(args[0]) in values:
                branch = taken[id(node)] = args[1] if values[id(args[0])] else args[2]
                if id(branch) in values:
                    values[id(node)] = values[id(branch)]
    return values, taken


def folded(root: Expression, known: Mapping[str, Any]) -> Expression:
    """Return a shorter expression that has the same value: what is known is a number in it, and of a `where` whose
    condition is known, the branch that is taken.
    """
    order = topological([root])
    values, taken = settled(order, known)
    made: dict[int, Expression] = {}
    for node in order:
        value = values.get(id(node))
        if node.sort == "number" and value is not None and math.isfinite(value):
            made[id(node)] = constant(float(value), node.dimension)
        elif id(node) in taken:
            made[id(node)] = made[id(taken[id(node)])]
        else:
            made[id(node)] = _with(node, made)
    return made[id(root)]


def _with(node: Expression, made: Mapping[int, Expression]) -> Expression:
    """Return a node with other arguments; as it is where they cannot be (a quotient by a zero that is never used)."""
    if not isinstance(node, Operation):
        return node
    try:
        return node.atom(*(made[id(item)] for item in node.args), param=node.param)
    except InputError:
        return node
