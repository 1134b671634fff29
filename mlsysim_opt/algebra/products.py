"""Products of powers: what `regroup` calculates with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.expression import Constant, Expression
from mlsysim_opt.algebra.interval import Interval

ROOT = 0.5
WHOLE_POWERS = 4
"""Factors are raised to whole powers up to this, and to square roots; other powers stay as written."""


class Factor:
    """What is not looked into: an expression, or a sum of products.

    Attributes:
        node: the expression; None for a sum that is not written yet.
        axes: which axes it varies along, as bits. bounds: of its value.
        terms: of a sum. shared: whether the sum stands in several places. depth: how many sums stand in each other.
        work: how many values are computed for it, where that is known.
    """

    __slots__ = ("axes", "bounds", "depth", "node", "shared", "terms", "work")

    def __init__(self, node: Expression | None, axes: int, bounds: Interval, terms: Sequence[Product] = ()) -> None:
        self.node, self.axes, self.bounds, self.terms = node, axes, bounds, terms
        self.shared = False
        self.depth: int = 1 + max((item.depth for term in terms for item in term), default=-1)
        self.work: float | None = None

    @property
    def open(self) -> bool:
        """Whether it is a sum that stands in one place and is not written yet: its terms may go elsewhere."""
        return self.node is None and not self.shared

    def finite(self, power: float) -> bool:
        """Return whether a power of it is finite wherever it is defined."""
        known = math.isfinite(self.bounds.low) and math.isfinite(self.bounds.high)
        return known and (power > 0.0 or not self.bounds.contains(0.0))


Product: TypeAlias = dict[Factor, float]
"""Factors and their powers, none of them zero."""


def number(value: float) -> Product:
    """Return a number as a product."""
    return {Factor(Constant(value), 0, Interval(value, value)): 1.0}


def key(product: Product) -> frozenset[tuple[Factor, float]]:
    """Return what equal products have in common."""
    return frozenset(product.items())


def axes_of(product: Iterable[Factor]) -> int:
    """Return along which axes a product varies, as bits."""
    found = 0
    for item in product:
        found |= item.axes
    return found


def axes_of_sum(terms: Iterable[Product]) -> int:
    """Return the same of a sum of products."""
    return axes_of(item for term in terms for item in term)


def finite(product: Product) -> bool:
    """Return whether all factors are finite wherever they are defined."""
    return all(item.finite(power) for item, power in product.items())


def times(*products: Product | None) -> Product | None:
    """Return the product of all; None where one is None, or a factor would be cancelled: it may be undefined."""
    found: Product = {}
    for product in products:
        if product is None:
            return None
        for item, power in product.items():
            old = found.get(item, 0.0)
            if old * power < 0.0:
                return None
            found[item] = old + power
    return found


def without(product: Product, common: Product) -> Product:
    """Return what remains of a product when common factors are drawn out of it."""
    left = {item: power - common.get(item, 0.0) for item, power in product.items()}
    return {item: power for item, power in left.items() if power}


def common(terms: Sequence[Product]) -> Product:
    """Return the factors that can be drawn out of all terms."""
    found = dict(terms[0])
    for term in terms[1:]:
        for item, power in list(found.items()):
            other = term.get(item, 0.0)
            found[item] = min(power, other, key=abs) if power * other > 0.0 else 0.0
    return {item: power for item, power in found.items() if power and item.finite(power)}


def a_sum(terms: Sequence[Product]) -> Factor:
    """Return a sum as a factor."""
    within = Interval(0.0, 0.0)
    for term in terms:
        part = Interval(1.0, 1.0)
        for item, power in term.items():
            part = iv.multiply(part, iv.raise_to(item.bounds, power))
        within = iv.add(within, part)
    return Factor(None, axes_of_sum(terms), within, terms)


def raised(product: Product | None, power: float) -> Product | None:
    """Return a product to a power; None where that is not the product of the powers, or slow."""
    if product is None or power == 1:
        return product
    found = {}
    for item, old in product.items():
        new = old * power
        if not power.is_integer() and item.bounds.low < 0.0:
            return None
        if power < 0.0 and (item.bounds == (0.0, 0.0) or (old < 0.0 and not item.finite(old))):
            return None
        if not (new.is_integer() and abs(new) <= WHOLE_POWERS) and abs(new) != ROOT:
            return None
        found[item] = new
    return found
