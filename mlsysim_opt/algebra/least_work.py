"""Expressions for sums and products of powers, in the order in which the fewest values are computed over a space."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from mlsysim_opt.algebra.expression import ATOMS, Constant, Expression
from mlsysim_opt.algebra.products import (
    ROOT,
    Factor,
    Product,
    a_sum,
    axes_of,
    axes_of_sum,
    finite,
    key,
    number,
    times,
    without,
)

FEW = 64
"""What has this many times fewer values than the space costs nothing: sums of so few stay as written."""
MOST_PAIRS = 16
"""Products in a sum that is made a product of matrices."""
MATRIX_WORK, MATRIX_WORK_EACH = 0.4, 0.2
"""What a product of matrices takes for each of its values, and for each of the products that are summed in it, compared
with one operation on arrays in the cache. Measured with OpenBLAS on doubles, 5 to 200 rows."""
MATRIX_LEAST, MATRIX_MOST = 1e-280, 1e280
"""A sum between these is not changed by a product in it that is too small for a float."""

Part = TypeVar("Part", bound=tuple[int, *tuple[object, ...]])
Pair = tuple[list[Product], list[Product]]
"""Two sums that are multiplied: over the rows of a matrix, and over its columns."""
Quotient = tuple[int, Expression | None, Expression | None]
"""The axes of a quotient, what stands above and what below."""


class Space:
    """How many values there are along axes."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape
        self.few = math.prod(shape) // FEW
        self._sizes: dict[int, int] = {}
        self._works: dict[tuple[int, ...], int] = {}

    def size(self, axes: int) -> int:
        """Return how many values vary along these axes."""
        found = self._sizes.get(axes)
        if found is None:
            found = self._sizes[axes] = math.prod(size for at, size in enumerate(self.shape) if axes >> at & 1)
        return found

    def joined(self, items: Sequence[Part], join: Callable[[Part, Part], Part]) -> Part:
        """Return items, each of which begins with its axes, joined two by two: first those that have the fewest values
        together."""
        left = list(items)
        while len(left) > 1:
            pairs = ((self.size(left[i][0] | left[j][0]), i, j) for j in range(1, len(left)) for i in range(j))
            _, at, to = min(pairs)
            other = left.pop(to)
            left[at] = join(left[at], other)
        return left[0]

    def joining(self, axes: Iterable[int]) -> int:
        """Return how many values are computed when arrays over these axes are joined."""
        known = tuple(sorted(axes))
        found = self._works.get(known)
        if found is None:
            start = [(item, 0) for item in known or (0,)]
            found = self._works[known] = self.joined(
                start, lambda a, b: (a[0] | b[0], a[1] + b[1] + self.size(a[0] | b[0]))
            )[1]
        return found

    def work(self, terms: Sequence[Product]) -> float:
        """Return how many values are computed for a sum of products, with those of sums that only stand there."""
        found = float(self.joining(axes_of(term) for term in terms))
        inner = {}
        for term in terms:
            found += self.joining(item.axes for item in term)
            for item, power in term.items():
                found += self.size(item.axes) if abs(power) != 1 else 0
                if item.open:
                    inner[item] = item
        for item in inner:
            if item.work is None:
                item.work = self.work(item.terms)
            found += item.work
        return found


class Writer:
    """Expressions for products and sums."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._written: dict[frozenset[tuple[Factor, float]], Expression] = {}
        self._two = number(2.0)

    def factor(self, item: Factor) -> Expression:
        """Return the expression of a factor."""
        if item.node is None:
            item.node, item.depth = self._sum(item.terms), 0
        return item.node

    def product(self, product: Product) -> Expression:
        """Return the expression of a product."""
        found = self._written.get(key(product))
        if found is None:
            parts: list[Quotient] = [(0, None, None)]
            for item, power in product.items():
                node = _power(self.factor(item), abs(power))
                parts.append((item.axes, node, None) if power > 0 else (item.axes, None, node))
            _, top, bottom = self._space.joined(parts, _multiplied)
            found = self._written[key(product)] = _ratio(top, bottom)
        return found

    def _sum(self, terms: Sequence[Product]) -> Expression:
        many = Counter(map(key, terms))
        first = {key(term): term for term in reversed(terms)}
        distinct = [first[at] if many[at] == 1 else {**first[at], **number(many[at])} for at in many]
        pairs, rest = self._best(distinct)
        parts = [(axes_of(term), self.product(term)) for term in rest]
        if pairs:
            axes = axes_of_sum(term for pair in pairs for side in pair for term in side)
            sides = [self.product(_one(side)) for pair in pairs for side in pair]
            parts.append((axes, ATOMS["inner_product"](*sides)))
        return self._space.joined(parts, _added)[1]

    def _best(self, terms: list[Product]) -> tuple[list[Pair], list[Product]]:
        """Return what of a sum is a product of matrices, and the other terms, so that it is the least work."""
        best: tuple[list[Pair], list[Product]] = [], self._drawn_out(terms)
        least = self._space.work(best[1])
        within = a_sum(terms).bounds
        if not MATRIX_LEAST < within.low <= within.high < MATRIX_MOST:
            return best
        for rows, columns in self._splits(terms):
            pairs, left = self._paired(terms, rows, columns)
            if len(pairs) < 2 or len(pairs) > MOST_PAIRS:
                continue
            over = [axes_of_sum(term for pair in pairs for term in pair[side]) for side in (0, 1)]
            if not (over[0] & ~over[1] and over[1] & ~over[0]):
                continue
            left = self._drawn_out(left)
            size = self._space.size(over[0] | over[1])
            work = size * (MATRIX_WORK + MATRIX_WORK_EACH * len(pairs))
            work += sum(self._space.work(side) for pair in pairs for side in pair)
            work += self._space.work(left) + self._space.size(axes_of_sum(terms)) if left else 0
            if work < least:
                best, least = (pairs, left), work
        return best

    # ---- sums of products of few by few values: products of matrices
    def _splits(self, terms: Sequence[Product]) -> Iterator[tuple[int, int]]:
        """Yield the ways to divide the axes of a sum into two groups, as bits. The first axes may be in both."""
        every = axes_of_sum(terms)
        present = [1 << at for at in range(len(self._space.shape)) if every >> at & 1]
        for both, rows in itertools.combinations(range(len(present)), 2):
            yield sum(present[:rows]), sum(present[:both]) | sum(present[rows:])

    def _paired(self, terms: Sequence[Product], rows: int, columns: int) -> tuple[list[Pair], list[Product]]:
        """Return the terms that divide into a factor over the axes of the rows and one over those of the columns, and
        those that do not. Terms that have one of the two in common are drawn together."""
        found: list[tuple[Product, Product]] = []
        rest = []
        for term in terms:
            parts = self._divided(term, rows, columns)
            if parts is None:
                rest.append(term)
            else:
                found += parts
        pairs: list[Pair] = []
        while found:
            side, most = Counter((side, key(pair[side])) for pair in found for side in (0, 1)).most_common(1)[0][0]
            same = [pair for pair in found if key(pair[side]) == most]
            found = [pair for pair in found if key(pair[side]) != most]
            one, other = [same[0][side]], [pair[1 - side] for pair in same]
            pairs.append((other, one) if side else (one, other))
        return pairs, rest

    def _divided(self, term: Product, rows: int, columns: int) -> list[tuple[Product, Product]] | None:
        """Return products over the axes of the rows and products over those of the columns, such that the term is the
        sum of what they give together; None where there are none."""
        if not finite(term):
            return None
        found: list[tuple[Product, Product]] = [({}, {})]
        for item, power in term.items():
            if not item.axes & ~rows:
                parts: list[tuple[Product, Product]] | None = [({item: power}, {})]
            elif not item.axes & ~columns:
                parts = [({}, {item: power})]
            else:
                parts = self._opened(item, power, rows, columns)
            if parts is None or len(parts) * len(found) > MOST_PAIRS:
                return None
            made = [(times(a, c), times(b, d)) for a, b in found for c, d in parts]
            found = [(a, b) for a, b in made if a is not None and b is not None]
            if len(found) < len(made):
                return None
        return found

    def _opened(self, item: Factor, power: float, rows: int, columns: int) -> list[tuple[Product, Product]] | None:
        """Return the same for a sum, or for its square."""
        if not item.open or power not in (1.0, 2.0):
            return None
        found: list[tuple[Product, Product]] = []
        for term in item.terms:
            parts = self._divided(term, rows, columns)
            if parts is None:
                return None
            found += parts
        if power == 1.0:
            return found
        made = [(times(a, a), times(b, b)) for a, b in found]
        made += [(times(self._two, a, c), times(b, d)) for (a, b), (c, d) in itertools.combinations(found, 2)]
        known = [(a, b) for a, b in made if a is not None and b is not None]
        return known if len(known) == len(made) else None

    # ---- sums of products, operation by operation
    def _drawn_out(self, terms: list[Product]) -> list[Product]:
        """Return terms with the same sum, common factors of some drawn out of them as far as that saves work."""
        terms = [self._absorbed(term) for term in terms]
        least = self._space.work(terms)
        while True:
            found = None
            counted = Counter((item, power > 0) for term in terms for item, power in term.items())
            for (item, upwards), many in counted.items():
                if many < 2 or not item.finite(1.0 if upwards else -1.0):
                    continue
                inside = [term for term in terms if item in term and (term[item] > 0) == upwards]
                drawn = {item: min((term[item] for term in inside), key=abs)}
                others = [term for term in terms if not any(term is other for other in inside)]
                made = [*others, {**drawn, a_sum([without(term, drawn) for term in inside]): 1.0}]
                work = self._space.work(made)
                if work < least:
                    least, found = work, made
            if found is None:
                return terms
            terms = found

    def _absorbed(self, term: Product) -> Product:
        """Return a product with factors moved below the root of a sum, where its terms have some of the same size."""
        inner = next((item for item, power in term.items() if power == ROOT and item.open), None)
        if inner is None:
            return term
        rest = {item: power for item, power in term.items() if item is not inner}
        inside = list(inner.terms)
        for item, power in list(rest.items()):
            moved = [times(part, {item: 2.0 * power}) for part in inside]
            known = [part for part in moved if part is not None]
            if len(known) < len(moved) or item.bounds.low < 0.0 or not item.finite(power):
                continue
            if self._space.work(known) <= self._space.work(inside) + self._space.few:
                inside = known
                del rest[item]
        return {**rest, a_sum(inside): ROOT} if len(rest) + 1 < len(term) else term


def _one(terms: list[Product]) -> Product:
    return terms[0] if len(terms) == 1 else {a_sum(terms): 1.0}


def _power(node: Expression, power: float) -> Expression:
    if power == 1:
        return node
    if power == 3:
        return node**2 * node
    return (node**2) ** 2 if power == 4 else node ** Constant(power)


def _ratio(top: Expression | None, bottom: Expression | None) -> Expression:
    above = Constant(1) if top is None else top
    return above if bottom is None else above / bottom


def _both(a: Expression | None, b: Expression | None) -> Expression | None:
    return b if a is None else a if b is None else a * b


def _multiplied(a: Quotient, b: Quotient) -> Quotient:
    """Return the product of two quotients; one that has fewer values than the product is divided before."""
    axes = a[0] | b[0]
    (_, top, bottom), (_, other_top, other_bottom) = (
        item if item[0] == axes else (item[0], _ratio(item[1], item[2]), None) for item in (a, b)
    )
    return axes, _both(top, other_top), _both(bottom, other_bottom)


def _added(a: tuple[int, Expression], b: tuple[int, Expression]) -> tuple[int, Expression]:
    return a[0] | b[0], a[1] + b[1]
