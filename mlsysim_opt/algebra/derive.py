"""Derivatives and elasticities, as expressions, by reverse accumulation on the DAG."""

from __future__ import annotations

from collections.abc import Sequence

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import Constant, Expression, Operation, constant, short, topological
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import divide


def gradient(root: Expression, wanted: Sequence[Expression]) -> list[Expression]:
    """Return the derivative of `root` by each node in `wanted`, as expressions with their own units.

    At a kink of max, min or where the derivative of the branch that is live there is taken. Whole numbers are
    constants in between: their derivative is zero almost everywhere. A branch that is not live contributes zero
    even where it is undefined (the logarithm of a negative number).

    Raises:
        InputError: `root` is not a number, or a node of `wanted` is whole by type.
    """
    if root.sort != "number":
        raise InputError(f"{short(root)} is a {root.sort}; only numbers have derivatives")
    order = topological([root])
    relevant = {id(node) for node in wanted}
    for item in wanted:
        if item.integer:
            raise InputError(f"{short(item)} is a whole number; it has no derivative", hint="compare neighbours")
    for node in order:
        if any(id(item) in relevant for item in node.args):
            relevant.add(id(node))
    adjoint: dict[int, Expression] = {id(root): Constant(1)}
    guarded: set[int] = set()
    defined = _always_defined(order)
    for node in reversed(order):
        mine = adjoint.get(id(node))
        if mine is None or not isinstance(node, Operation) or id(node) not in relevant:
            continue
        for index, item in enumerate(node.args):
            if id(item) not in relevant or item.sort != "number":
                continue
            partial = node.atom.derivative(index, node)
            if partial is None:
                continue
            term = _times(mine, partial)
            if term is None:
                continue
            if id(node) in guarded and not _stays_defined(partial, node, defined):
                term = where(mine != constant(0, mine.dimension), term, constant(0, term.dimension))
            if id(node) in guarded or node.atom.guards:
                guarded.add(id(item))
            old = adjoint.get(id(item))
            adjoint[id(item)] = term if old is None else old + term
    return [adjoint.get(id(item), constant(0, divide(root.dimension, item.dimension))) for item in wanted]


def _always_defined(order: Sequence[Expression]) -> set[int]:
    """Return the nodes that have a value wherever the leaves have one."""
    found: set[int] = set()
    for node in order:
        total = not isinstance(node, Operation) or node.atom.total
        if total and all(id(item) in found for item in node.args):
            found.add(id(node))
    return found


def _stays_defined(partial: Expression, node: Operation, defined: set[int]) -> bool:
    """Whether a factor is a number everywhere; judged from the few nodes that the derivative added."""
    stack, met = [partial], 0
    while stack:
        item = stack.pop()
        met += 1
        if id(item) in defined or isinstance(item, Constant):
            continue
        if item is node or met > 50 or not isinstance(item, Operation) or not item.atom.total:
            return False
        stack.extend(item.args)
    return True


def _times(left: Expression, right: Expression) -> Expression | None:
    for item in (left, right):
        if isinstance(item, Constant) and item.value == 0.0:
            return None
    if isinstance(right, Constant) and right.value == -1.0 and not isinstance(left, Constant):
        return -left
    return left * right


def elasticity(root: Expression, by: Expression) -> Expression:
    """Return d ln(root) / d ln(by): the percentage by which `root` changes for one percent of `by`."""
    return elasticities(root, [by])[0]


def elasticities(
    root: Expression, wanted: Sequence[Expression], slopes: Sequence[Expression] | None = None
) -> list[Expression]:
    """Return the same by each node in `wanted`; undefined where `root` is zero.

    Args:
        slopes: the gradient by these nodes, where it is at hand.
    """
    by_node = gradient(root, wanted) if slopes is None else slopes
    return [slope * by / root for slope, by in zip(by_node, wanted, strict=True)]
