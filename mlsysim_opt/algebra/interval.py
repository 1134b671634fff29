"""Interval arithmetic with outward rounding: the result always contains every value the operation can take."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

from mlsysim_opt.algebra.nearly import at_most, below, same


class Interval(NamedTuple):
    """A closed interval; infinite ends mean unbounded."""

    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Return whether `value` lies inside."""
        return self.low <= value <= self.high

    @property
    def is_point(self) -> bool:
        """Whether it holds one value only."""
        return self.low == self.high


EVERYTHING = Interval(-math.inf, math.inf)
TRUE, FALSE, EITHER = Interval(1.0, 1.0), Interval(0.0, 0.0), Interval(0.0, 1.0)


NORMAL = sys.float_info.min
EXACT = 2.0**53
"""Up to here, every whole number is a float."""
TINY = math.ulp(0.0)
"""The smallest positive float: what a product that underflows is at most."""


def outward(low: float, high: float) -> Interval:
    """Return the interval widened by one float on each side; undefined ends become infinite.

    A zero stays as it is: sums give zero only when it is exact, and products that underflow arrive here as `TINY`.
    So the sign of a product of positive numbers is not lost.
    """
    low = -math.inf if math.isnan(low) else math.nextafter(low, -math.inf) if low else 0.0
    high = math.inf if math.isnan(high) else math.nextafter(high, math.inf) if high else 0.0
    return Interval(low, high)


def add(a: Interval, b: Interval) -> Interval:
    """Return the interval of sums."""
    low, high = a.low + b.low, a.high + b.high
    return Interval(low, high) if _whole(low, high, a, b) else outward(low, high)


def subtract(a: Interval, b: Interval) -> Interval:
    """Return the interval of differences."""
    low, high = a.low - b.high, a.high - b.low
    return Interval(low, high) if _whole(low, high, a, b) else outward(low, high)


def _whole(low: float, high: float, a: Interval, b: Interval) -> bool:
    """Return whether sums or products are seen to have no rounding error: those of whole numbers that are not large."""
    return low >= -EXACT and high <= EXACT and not (a.low % 1.0 or a.high % 1.0 or b.low % 1.0 or b.high % 1.0)


def _product(x: float, y: float) -> float:
    if x == 0.0 or y == 0.0:
        return 0.0
    return x * y or math.copysign(TINY, x) * math.copysign(1.0, y)


def multiply(a: Interval, b: Interval) -> Interval:
    """Return the interval of products; an infinite end is a limit, so that zero times it is zero."""
    ends = [_product(x, y) for x in a for y in b]
    low, high = min(ends), max(ends)
    return Interval(low, high) if _whole(low, high, a, b) else outward(low, high)


def divide(a: Interval, b: Interval) -> Interval:
    """Return the interval of quotients, where the divisor is not zero."""
    if b.low < 0.0 < b.high or b == (0.0, 0.0):
        return EVERYTHING
    if b.high <= 0.0:
        a, b = Interval(-a.high, -a.low), Interval(-b.high, -b.low)
    least, most = (a.low, b.high if a.low >= 0.0 else b.low), (a.high, b.low if a.high >= 0.0 else b.high)
    low, high = _quotient(*least), _quotient(*most)
    wide = outward(low, high)
    return Interval(low if _exact(*least, low) else wide.low, high if _exact(*most, high) else wide.high)


def _exact(x: float, y: float, quotient: float) -> bool:
    """Return whether a quotient is seen to have no rounding error: 1 - 1/n is then not below zero for n from 1 on."""
    return math.frexp(y)[0] == 0.5 and NORMAL < abs(quotient) < math.inf


def _quotient(x: float, y: float) -> float:
    """Return x / y for y in [0, inf] as a limit: 0 / y is 0, x / inf is 0, x / 0 is infinite."""
    if x == 0.0 or (math.isinf(y) and not math.isinf(x)):
        return 0.0
    if y == 0.0:
        return math.copysign(math.inf, x)
    if math.isinf(y):
        return 0.0
    return x / y or math.copysign(TINY, x)


def raise_to(a: Interval, exponent: float) -> Interval:
    """Return the image of x -> x**exponent for a constant exponent, where it is defined."""
    whole = float(exponent).is_integer()
    even = whole and int(exponent) % 2 == 0
    if not whole:
        a = Interval(max(a.low, 0.0), max(a.high, 0.0))
    if exponent < 0 and a.low < 0.0 <= a.high and not (even and a.high == 0.0):
        nearest = min(_power(a.low, exponent), _power(a.high, exponent))
        return widen_power(nearest, math.inf) if even else EVERYTHING
    ends = [_power(a.low, exponent), _power(a.high, exponent)]
    if even and exponent > 0 and a.low < 0.0 < a.high:
        ends.append(0.0)
    return widen_power(min(ends), max(ends))


def _power(x: float, exponent: float) -> float:
    if exponent == 0.0:
        return 1.0
    if x == 0.0:
        return 0.0 if exponent > 0 else math.inf
    odd = float(exponent) % 2 == 1
    try:
        return float(x**exponent) or math.copysign(TINY, x if odd else 1.0)
    except OverflowError:
        return -math.inf if x < 0 and odd else math.inf


def widen_power(low: float, high: float) -> Interval:
    """Widen by several floats: the C library's `pow` is not correctly rounded. A zero is exact."""
    for _ in range(3):
        low = math.nextafter(low, -math.inf) if low else 0.0
        high = math.nextafter(high, math.inf) if high else 0.0
    return Interval(low, high)


def union(a: Interval, b: Interval) -> Interval:
    """Return the smallest interval that holds both."""
    return Interval(min(a.low, b.low), max(a.high, b.high))


def less_equal(a: Interval, b: Interval) -> Interval:
    """Return the truth of a <= b, as far as it is known."""
    if at_most(a.high, b.low):
        return TRUE
    return FALSE if below(b.high, a.low) else EITHER


def less(a: Interval, b: Interval) -> Interval:
    """Return the truth of a < b, as far as it is known."""
    if below(a.high, b.low):
        return TRUE
    return FALSE if at_most(b.high, a.low) else EITHER


def equal(a: Interval, b: Interval) -> Interval:
    """Return the truth of a == b, as far as it is known."""
    if a.is_point and b.is_point and same(a.low, b.low):
        return TRUE
    return FALSE if below(a.high, b.low) or below(b.high, a.low) else EITHER
