"""Bounds of an expression over boxes of its symbols and subsets of its choices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlsysim_opt.algebra.expression import Choice, Constant, Expression, Operation, Symbol, topological
from mlsysim_opt.algebra.interval import EITHER, EVERYTHING, Interval
from mlsysim_opt.errors import InputError

Box = Mapping[str, Interval | float | str]
"""For each symbol, by name, its interval or value in base units. For a choice, the interval of its values or one
value; for a choice of labels, the interval of their positions or one label."""

EPSILONS = 2.0**50
"""By this, a few roundings of a number become its size."""


def all_bounds(roots: Sequence[Expression], box: Box, order: Sequence[Expression] | None = None) -> dict[int, Interval]:
    """Return an enclosing interval for every node below `roots`, by node identity.

    Args:
        order: the nodes, arguments first, where they are at hand.
    """
    found: dict[int, Interval] = {}
    for node in topological(roots) if order is None else order:
        if isinstance(node, Constant):
            found[id(node)] = Interval(node.value, node.value)
        elif isinstance(node, Symbol | Choice):
            found[id(node)] = _leaf(node, box)
        elif isinstance(node, Operation):
            intervals = (
                [_positions(item, box) for item in node.args]
                if node.atom.by_position
                else [found[id(item)] for item in node.args]
            )
            result = node.atom.bounds(*intervals, param=node.param)
            found[id(node)] = EITHER if node.sort == "truth" and result == EVERYTHING else result
    return found


def bounds(root: Expression, box: Box | None = None) -> Interval:
    """Return an interval that contains every value of `root` over `box`.

    Symbols not in the box range over their declared bounds, choices over all their values. Rounding is outward.
    """
    return all_bounds([root], box or {})[id(root)]


def size_of_terms(root: Expression, box: Box) -> float:
    """Return how large the terms are of which the value of `root` at a point is made, by what rounding may come to.

    1 - x for x near to 1 is made of terms of size 1, 1 / x of nothing but itself.
    """
    low, high = bounds(root, box)
    sizes = (high - low) * EPSILONS, max(abs(low), abs(high))
    return next((size for size in sizes if 0.0 < size < math.inf), 1.0)


def _leaf(node: Symbol | Choice, box: Box) -> Interval:
    given = box.get(node.name)
    if isinstance(given, str):
        if not isinstance(node, Choice) or given not in node.position:
            raise InputError(f"{given!r} is not a value of it", path=node.name)
        return Interval(float(node.position[given]), float(node.position[given]))
    if given is not None:
        return given if isinstance(given, Interval) else Interval(float(given), float(given))
    if isinstance(node, Symbol):
        return Interval(node.low, node.high)
    if not node.numeric:
        return Interval(0.0, float(len(node.values) - 1))
    return Interval(float(min(node.values)), float(max(node.values)))


def _positions(choice: Expression, box: Box) -> Interval:
    if not isinstance(choice, Choice):
        raise InputError("positions are of choices only")
    within = _leaf(choice, box)
    if not choice.numeric:
        return within
    inside = [index for index, value in enumerate(choice.values) if within.contains(float(value))]
    if not inside:
        return Interval(0.0, float(len(choice.values) - 1))
    return Interval(float(min(inside)), float(max(inside)))
