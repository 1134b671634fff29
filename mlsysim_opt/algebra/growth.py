"""How fast what is positive grows with one symbol: proofs for quotients in which the symbol stands above and below.

An expression whose growth lies within [p, q] satisfies (y / x)^p <= f(y) / f(x) <= (y / x)^q for x <= y, so that it
never falls if p >= 0 and never rises if q <= 0. Growths of factors are added, of terms and of the larger or smaller of
two they are joined: x * max(a / x, b) grows within [0, 1], which the directions of its factors do not say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlsysim_opt.algebra.expression import Constant, Expression, Operation, Symbol
from mlsysim_opt.algebra.interval import EVERYTHING, Interval, union

STILL = Interval(0.0, 0.0)


def growth(
    order: Sequence[Expression], unknown: Symbol, found: Mapping[int, Interval], moves: Mapping[int, int | None]
) -> Interval:
    """Return the growth of the last of some nodes with a symbol that is positive.

    Args:
        order: the nodes, arguments first. found: bounds of each. moves: the directions of those that depend on it.
    """
    grown: dict[int, Interval] = {}
    for node in order:
        known = EVERYTHING
        if node is unknown:
            known = Interval(1.0, 1.0)
        elif id(node) not in moves:
            known = STILL
        elif isinstance(node, Operation) and found[id(node)].low >= 0.0:
            move = moves[id(node)]
            if move is not None:
                known = Interval(0.0 if move >= 0 else -math.inf, 0.0 if move <= 0 else math.inf)
            other = _of(node, grown, found)
            known = Interval(max(known.low, other.low), min(known.high, other.high))
        grown[id(node)] = known
    return grown[id(order[-1])]


def _of(node: Operation, grown: Mapping[int, Interval], found: Mapping[int, Interval]) -> Interval:
    """Return what the growths of the arguments say of that of an operation."""
    name = node.atom.name
    if name == "where":
        chosen = found[id(node.args[0])]
        return grown[id(node.args[1 if chosen.low > 0.0 else 2])] if chosen.is_point else EVERYTHING
    if name not in ("add", "maximum", "minimum", "multiply", "divide", "power"):
        return EVERYTHING
    first, second = (grown[id(item)] for item in node.args)
    if any(found[id(item)].low < 0.0 for item in node.args[: 1 if name == "power" else 2]):
        return EVERYTHING
    if name == "multiply":
        return Interval(first.low + second.low, first.high + second.high)
    if name == "divide":
        return Interval(first.low - second.high, first.high - second.low)
    if name == "power":
        exponent = node.args[1]
        ends = sorted(_times(end, exponent.value) for end in first) if isinstance(exponent, Constant) else EVERYTHING
        return Interval(*ends)
    return union(first, second)


def _times(end: float, exponent: float) -> float:
    return end * exponent if exponent else 0.0
