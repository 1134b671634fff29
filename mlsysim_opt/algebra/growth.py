"""How fast what is positive grows with one symbol: proofs for quotients in which the symbol stands above and below.

An expression whose growth lies within [p, q] satisfies (y / x)^p <= f(y) / f(x) <= (y / x)^q for x <= y, so that it
never falls if p >= 0 and never rises if q <= 0. Growths of factors are added, of terms and of the larger or smaller of
two they are joined: x * max(a / x, b) grows within [0, 1], which the directions of its factors do not say.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

from mlsysim_opt.algebra.atoms.selection import Extreme
from mlsysim_opt.algebra.expression import Expression, Operation, Symbol
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
    """Return what the growths of the arguments say of that of an operation, by what its atom states of itself."""
    atom, args = node.atom, node.args
    picked = atom.picked([found[id(item)] for item in args])
    if picked is not None:
        return grown[id(args[picked])]
    joined = args if isinstance(atom, Extreme) else atom.addends(args)
    factors = atom.factors(args) or ()
    if any(id(item) not in grown or found[id(item)].low < 0.0 for item in joined or [part for part, _ in factors]):
        return EVERYTHING
    if joined:
        return functools.reduce(union, (grown[id(item)] for item in joined))
    ends = [sorted(end * power for end in grown[id(part)]) for part, power in factors]
    return Interval(sum(low for low, _ in ends), sum(high for _, high in ends)) if factors else EVERYTHING
