"""Between which values an expression lies while one of its symbols moves: proven, and as tight as the effort allows.

The interval of the symbol is divided, the piece with the farthest bound first, until that bound meets a value that is
attained (branch and bound). A piece over which the expression is proven to rise or fall is settled by its ends.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from mlsysim_opt.algebra.roots import Function, Study, middle_of

ROUNDING = 1e-12
"""Share of a value that rounding may come to."""
TOLERANCE, FINE = 1e-6, 1e-10
"""Relative difference between a bound and an attained value that counts as none, and at which the search ends."""
PARTS = 600
"""Pieces that are looked at for each side."""
MOST = 1e100
"""Stands for infinity, and its inverse for the numbers next to zero: no quantity is larger or smaller."""


@dataclass(frozen=True)
class Extent:
    """Between which values an expression lies.

    Attributes:
        low, high: no value lies outside.
        least, greatest: the smallest and the largest value found; NaN where none was.
        at_least, at_greatest: the symbol at these.
        infimum, supremum: what it nears on these sides without ever being it, as the symbol goes to infinity or to
            zero; None where it is not known to.
    """

    low: float
    high: float
    least: float
    greatest: float
    at_least: float
    at_greatest: float
    infimum: float | None = None
    supremum: float | None = None

    def contains(self, value: float, room: float = 0.0) -> bool:
        """Return whether a value, or one as near as `room`, is not proven to lie outside."""
        return self.low - room <= value <= self.high + room

    @property
    def tight(self) -> bool:
        """Whether both ends are proven to be the smallest and the largest value."""
        return _met(self.low, self.least) and _met(self.high, self.greatest)

    def described(self, goal: float, show: Callable[[float, int], str], *, complete: bool) -> str:
        """Return the range as text, for a goal that is not attained.

        Args:
            show: a value and the digits of it as text. complete: whether it is proven that the goal is not attained.
        """
        if math.isnan(self.least):
            return "it has no value where it was looked at"
        least = self.least if self.infimum is None else self.infimum
        greatest = self.greatest if self.supremum is None else self.supremum
        low = least if _met(self.low, self.least) else self.low
        high = greatest if _met(self.high, self.greatest) else self.high
        digits = next((n for n in (6, 9, 12) if show(goal, n) not in (show(low, n), show(high, n))), 6)
        reach = f"{show(low, digits)} to {show(high, digits)}"
        if least < goal < greatest:
            return f"its values lie within {reach}" + (", but jump over this one" if complete else "")
        if not self.tight:
            found = f"{show(least, digits)} to {show(greatest, digits)} were found"
            return f"its values lie within {reach}; {found}" if low > -math.inf or high < math.inf else found
        return f"attainable is {reach}" + (
            f", {show(goal, digits)} only in the limit" if goal in (self.infimum, self.supremum) else ""
        )


def _met(bound: float, found: float, tolerance: float = TOLERANCE) -> bool:
    if math.isinf(bound) or math.isnan(found):
        return bound == found
    return abs(bound - found) <= tolerance * max(abs(bound), abs(found))


def extent(function: Function, study: Study, low: float, high: float, parts: int = PARTS) -> Extent:
    """Return between which values a function lies over an interval; its ends may be infinite.

    Args:
        function: the function, NaN where it has no value.
        study: what is proven of a piece, as for `roots.Search`.
        parts: how many pieces are looked at for each side at most.
    """
    search = _Descent(function, study, low, high)
    greatest, at_greatest, above = search.run(-1.0, parts)
    least, at_least, below = search.run(1.0, parts)
    limits = _limit(function, at_least), _limit(function, at_greatest)
    return Extent(below, above, least, greatest, at_least, at_greatest, *limits)


def _limit(function: Function, at: float) -> float | None:
    """Return what a function nears beyond a number that stands for infinity or zero: zero or infinity, where it still
    moves by a share; None for other numbers, and where it has settled."""
    large, small = MOST / 2 <= abs(at) <= MOST, 1 / MOST <= abs(at) <= 2 / MOST
    if not (large or small):
        return None
    here, before = function(at), function(at / 1e10 if large else at * 1e10)
    if here * before > 0.0 and abs(here) > 1.01 * abs(before):
        return math.copysign(math.inf, here)
    return 0.0 if here * before > 0.0 and abs(here) < 0.99 * abs(before) else None


class _Descent:
    """The search for the least value, or the greatest."""

    def __init__(self, function: Function, study: Study, low: float, high: float) -> None:
        self.function = function
        self.study = functools.cache(study)
        self.pieces = [(x, x) for x in (low, high) if x == 0.0]
        if high > 0.0:
            last = high if math.isfinite(high) else max(low, MOST)
            self.pieces.append((low if low > 0.0 else min(1 / MOST, last), last))
        if low < 0.0:
            first = low if math.isfinite(low) else min(high, -MOST)
            self.pieces.append((first, high if high < 0.0 else max(-1 / MOST, first)))
        self.best, self.where = math.nan, math.nan

    def run(self, sign: float, parts: int) -> tuple[float, float, float]:
        """Return the least value of `sign` times the function, where it is, and a bound below all values; the values
        are again those of the function."""
        self.best, self.where = math.nan, math.nan
        order = itertools.count()
        waiting = [(self._bound(a, b, sign), next(order), a, b) for a, b in self.pieces]
        heapq.heapify(waiting)
        looked = 0
        while looked < parts and not self._met(waiting[0][0]):
            bound, _, a, b = heapq.heappop(waiting)
            middle = middle_of(a, b)
            halves = ((a, middle), (middle, b)) if a < middle < b else ((a, a), (b, b))  # neighbours: nothing between
            for start, end in halves:
                heapq.heappush(waiting, (max(bound, self._bound(start, end, sign)), next(order), start, end))
            looked += 2
        proven = waiting[0][0] if math.isnan(self.best) else min(waiting[0][0], self.best)
        return sign * self.best + 0.0, self.where, sign * proven + 0.0

    def _met(self, bound: float) -> bool:
        return not math.isnan(self.best) and (bound >= self.best or _met(bound, self.best, FINE))

    def _bound(self, a: float, b: float, sign: float) -> float:
        """Return a bound below the values of a piece: one that is attained, where it only rises or falls."""
        if a == b:
            values = [self._value(a, sign)]
            return math.inf if math.isnan(values[0]) else values[0]
        bounds, move, together, slope = self.study(a, b)
        if bounds is None:
            return math.inf
        ends = None if move is None else self._ends(a, b, together)
        if ends is not None:
            return min(self._value(x, sign) for x in ends)
        middle = middle_of(a, b)
        value = self._value(middle, sign)
        plain = bounds.low if sign > 0 else -bounds.high
        if slope is None or not math.isfinite(value):
            return plain
        # the mean value theorem: the value inside, and the slope on both sides
        fall = min(sign * end * (x - middle) for end in slope for x in (a, b))
        return plain if math.isnan(fall) else max(plain, value + fall - ROUNDING * (abs(value) + abs(fall)))

    def _value(self, x: float, sign: float) -> float:
        """Return `sign` times the value at a number, and keep it if it is the least so far."""
        value = sign * self.function(x)
        if not math.isnan(value) and not value >= self.best:
            self.best, self.where = value, x
        return value

    def _ends(self, a: float, b: float, together: bool) -> list[float] | None:
        """Return the ends of a piece between which the function only rises or falls, moved to where values begin; None
        where it has none there."""
        lacking = [x for x in (a, b) if math.isnan(self.function(x))]
        if not lacking:
            return [a, b]
        if len(lacking) == 2 or not together:
            return None
        out, inside = lacking[0], b if lacking[0] == a else a
        end = inside
        while (middle := middle_of(*sorted((out, inside)))) not in (out, inside):
            if math.isnan(self.function(middle)):
                out = middle
            else:
                inside = middle
        return [inside, end]
