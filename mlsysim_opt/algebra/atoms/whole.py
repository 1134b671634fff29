"""Whole numbers: rounding, and exact division with remainder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.atoms.base import P_COMPARE, P_PRODUCT, P_SUM, Atom, Typing, need_numbers, same_dimension
from mlsysim_opt.algebra.expression import ATOMS, Expression, Sort, short
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.nearly import all_ceilings, ceiling
from mlsysim_opt.errors import DimensionError, InputError, ScaleError
from mlsysim_opt.units import NONE, Dimension, dimension_text

EXACT = 2**53
"""Integers below are exact in a float. From here on a number may have been rounded, so exact operations refuse."""


class Rounding(Atom):
    """Rounding up or down to a whole number; only of plain numbers. What is one up to its own rounding stays one."""

    arity, continuous = 1, False
    up: ClassVar[bool]

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        return args[0] if args[0].integer else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.name, args)
        if args[0].dimension != NONE:
            raise DimensionError(
                f"{self.name} of {short(args[0])}, which is {dimension_text(args[0].dimension)}",
                hint="divide by a unit first: the result of rounding would depend on it",
            )
        return NONE, True, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return ceiling(values[0]) if self.up else 0.0 - ceiling(-values[0])

    def array(self, *values: Any, param: Any = None) -> Any:
        return all_ceilings(values[0]) if self.up else 0.0 - all_ceilings(np.negative(values[0]))

    def switch(self, node: Expression) -> Expression | None:
        return node

    def passes(self, index: int, decided: Any) -> Any:
        return False  # between two whole numbers it does not move

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return Interval(self.scalar(intervals[0].low), self.scalar(intervals[0].high))

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1

    def latex(self, args: Sequence[str], param: Any) -> str:
        which = "ceil" if self.up else "floor"
        return rf"\left\l{which} {args[0]} \right\r{which}"


class Ceil(Rounding):
    """The next whole number above."""

    name, function, up = "ceil", "ceil", True


class Floor(Rounding):
    """The next whole number below."""

    name, function, up = "floor", "floor", False


def _whole(values: Sequence[Any], name: str) -> tuple[list[Any], Any]:
    """Return values as exact integers, and where one is undefined; refuse what a float cannot hold exactly."""
    result, missing = [], np.False_
    for item in values:
        data = np.asarray(item, dtype=float)
        known = np.isfinite(data)
        data = np.where(known, data, 0.0)
        if np.any(np.abs(data) >= EXACT):
            raise ScaleError(f"{name} of a number from 2**53 up ({np.max(np.abs(data)):.3g}) would not be exact")
        result.append(data.astype(np.int64))
        missing = missing | ~known
    return result, missing


def _whole_scalars(values: Sequence[Any], name: str) -> tuple[int, int] | None:
    a, b = values
    if -EXACT < a < EXACT and -EXACT < b < EXACT:
        return int(a), int(b)
    if any(item != item or math.isinf(item) for item in values):
        return None
    raise ScaleError(f"{name} of a number from 2**53 up ({max(map(abs, values)):.3g}) would not be exact")


class WholeNumbers(Atom):
    """An exact operation on two whole numbers."""

    continuous, total = False, False
    sort: ClassVar[Sort] = "number"

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.name, args)
        for item in args:
            if not item.integer:
                raise InputError(f"{self.name} needs whole numbers, but {short(item)} is not one by its type")
            if item.dimension != args[0].dimension:
                same_dimension(self.name, args)
        return (NONE if self.sort == "truth" else self.result(args)), self.sort == "number", self.sort

    def switch(self, node: Expression) -> Expression | None:
        return node

    def passes(self, index: int, decided: Any) -> Any:
        return False  # between two whole numbers it does not move

    def result(self, args: tuple[Expression, ...]) -> Dimension:
        """Return the dimension of the result."""
        return NONE

    def exact(self, a: int, b: int) -> Any:
        """Return the value for two Python integers."""
        raise NotImplementedError

    def exact_array(self, a: Any, b: Any) -> Any:
        """Return the value for two arrays of int64."""
        raise NotImplementedError

    def scalar(self, *values: Any, param: Any = None) -> Any:
        whole = _whole_scalars(values, self.name)
        if whole is None or self.undefined(whole[0], whole[1]):
            return False if self.sort == "truth" else math.nan
        result = self.exact(*whole)
        return result if self.sort == "truth" else float(result)

    def defined(self, intervals: Sequence[Interval]) -> bool:
        return not intervals[0 if self.sort == "truth" else 1].contains(0.0)

    def undefined(self, a: int, b: int) -> bool:
        """Return whether there is no result."""
        return b == 0

    def array(self, *values: Any, param: Any = None) -> Any:
        (a, b), missing = _whole(values, self.name)
        zero = (a if self.sort == "truth" else b) == 0
        if self.sort == "truth":
            return self.exact_array(np.where(zero, 1, a), b) & ~zero & ~missing
        result = self.exact_array(a, np.where(zero, 1, b)).astype(float)
        bad = zero | missing
        return np.where(bad, np.nan, result) if np.any(bad) else result


def _inside(interval: Interval) -> tuple[int, int]:
    """Return the outermost whole numbers of an interval, as far as it holds any."""
    low, high = math.ceil(interval.low), math.floor(interval.high)
    return (low, high) if low <= high else (high, low)


class CeilDivide(WholeNumbers):
    """How many groups of b hold a: the exact ceiling of a / b."""

    name = function = "ceildiv"

    def exact(self, a: int, b: int) -> int:
        return -(-a // b)

    def exact_array(self, a: Any, b: Any) -> Any:
        return -(-a // b)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        a, b = intervals
        if not b.contains(0.0) and all(abs(end) < EXACT for end in (*a, *b)):
            ends = [self.exact(x, y) for x in _inside(a) for y in _inside(b)]
            return Interval(float(min(ends)), float(max(ends)))
        quotient = iv.divide(*intervals)
        return Interval(float(np.ceil(quotient.low)), float(np.ceil(quotient.high)))

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return ATOMS["divide"].monotone(index, intervals)

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\left\lceil \frac{{{args[0]}}}{{{args[1]}}} \right\rceil"


class Modulo(WholeNumbers):
    """The remainder of a / b, with the sign of b."""

    name = function = "mod"
    latex_precedence = P_PRODUCT

    def result(self, args: tuple[Expression, ...]) -> Dimension:
        return args[0].dimension

    def exact(self, a: int, b: int) -> int:
        return a % b

    def exact_array(self, a: Any, b: Any) -> Any:
        return a % b

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        b = intervals[1]
        return Interval(min(b.low, 0.0), max(b.high, 0.0))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} \bmod {args[1]}"

    def latex_argument_precedence(self, index: int) -> int:
        return P_PRODUCT + index


class Divides(WholeNumbers):
    """Whether a divides b without remainder: ``divides(tp_size, heads)``."""

    name, function, sort = "divides", "divides", "truth"
    latex_precedence = P_COMPARE

    def exact(self, a: int, b: int) -> bool:
        return b % a == 0

    def exact_array(self, a: Any, b: Any) -> Any:
        return b % a == 0

    def undefined(self, a: int, b: int) -> bool:
        return a == 0

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        a, b = intervals
        if a.is_point and b.is_point:
            return Interval(*[float(self.scalar(a.low, b.low))] * 2)
        return iv.EITHER

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} \mid {args[1]}"

    def latex_argument_precedence(self, index: int) -> int:
        return P_SUM
