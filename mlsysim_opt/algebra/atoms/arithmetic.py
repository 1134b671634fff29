"""Sums, products, powers, exponentials and logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.atoms.base import (
    P_CALL,
    P_OR,
    P_POWER,
    P_PRODUCT,
    P_SUM,
    P_UNARY,
    Atom,
    Infix,
    Inversion,
    Typing,
    is_constant,
    is_one,
    need_numbers,
    plain_number,
    product_curve,
    same_dimension,
    sign,
    sum_curve,
)
from mlsysim_opt.algebra.expression import ATOMS, Constant, Expression, constant, short
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import DimensionError, InputError
from mlsysim_opt.units import NONE, dimension_text, divide, multiply, power


class Add(Infix):
    """A sum."""

    name, symbol, precedence = "add", "+", P_SUM

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        left, right = args
        if left.dimension != right.dimension:
            return None
        if is_constant(right, 0.0):
            return left
        return right if is_constant(left, 0.0) else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("+", args)
        return same_dimension("add", args), args[0].integer and args[1].integer, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return values[0] + values[1]

    array = staticmethod(np.add)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.add(*intervals)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return Constant(1)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return sign(intervals[0]) is not None and sign(intervals[0]) == sign(intervals[1])

    def addends(self, args: tuple[Expression, ...]) -> tuple[Expression, ...] | None:
        return args

    def log_curve(self, curves: Sequence[int | None], args: Sequence[Expression]) -> int | None:
        return sum_curve(curves)

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        return Inversion(target - args[1 - index])


class Subtract(Infix):
    """A difference."""

    name, symbol, precedence = "subtract", "-", P_SUM

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        left, right = args
        if left.dimension != right.dimension:
            return None
        return left if is_constant(right, 0.0) else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("-", args)
        return same_dimension("subtract", args), args[0].integer and args[1].integer, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return values[0] - values[1]

    array = staticmethod(np.subtract)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.subtract(*intervals)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return Constant(1 if index == 0 else -1)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1 if index == 0 else -1

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        return Inversion(target + args[1] if index == 0 else args[0] - target)


class Multiply(Infix):
    """A product."""

    name, symbol, precedence = "multiply", "*", P_PRODUCT

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        left, right = args
        if is_one(right):
            return left
        if is_one(left):
            return right
        return None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("*", args)
        return multiply(args[0].dimension, args[1].dimension), args[0].integer and args[1].integer, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return values[0] * values[1]

    array = staticmethod(np.multiply)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.multiply(*intervals)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return node.args[1 - index]

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return sign(intervals[1 - index])

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return True

    def factors(self, args: tuple[Expression, ...]) -> tuple[tuple[Expression, float], ...] | None:
        return (args[0], 1.0), (args[1], 1.0)

    def log_curve(self, curves: Sequence[int | None], args: Sequence[Expression]) -> int | None:
        return product_curve(*curves)

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        other = args[1 - index]
        return Inversion(target / other, (other != constant(0, other.dimension),))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} \cdot {args[1]}"


class Divide(Infix):
    """A quotient; undefined where the divisor is zero."""

    name, symbol, precedence, total = "divide", "/", P_PRODUCT, False

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        return args[0] if is_one(args[1]) else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("/", args)
        if is_constant(args[1], 0.0):
            raise InputError(f"division by zero in {short(args[0])} / {short(args[1])}")
        return divide(args[0].dimension, args[1].dimension), False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return values[0] / values[1] if values[1] != 0 else math.nan

    def array(self, *values: Any, param: Any = None) -> Any:
        quotient = np.true_divide(values[0], values[1])
        if not np.all(values[1]):
            quotient = np.where(np.equal(values[1], 0), np.nan, quotient)
        return quotient

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.divide(*intervals)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        top, bottom = node.args
        return 1 / bottom if index == 0 else -(top / bottom**2)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        top, bottom = intervals
        if bottom.low <= 0.0 <= bottom.high and not (bottom.low == 0.0 and bottom.high > 0.0):
            return None
        if index == 0:
            return 1 if bottom.high > 0.0 else -1
        of_top = sign(top)
        return None if of_top is None else -of_top

    def jumps(self, intervals: Sequence[Interval]) -> bool:
        return intervals[1].low < 0.0 < intervals[1].high

    def defined(self, intervals: Sequence[Interval]) -> bool:
        return not intervals[1].contains(0.0)

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return True

    def factors(self, args: tuple[Expression, ...]) -> tuple[tuple[Expression, float], ...] | None:
        return (args[0], 1.0), (args[1], -1.0)

    def log_curve(self, curves: Sequence[int | None], args: Sequence[Expression]) -> int | None:
        return product_curve(curves[0], None if curves[1] is None else -curves[1])

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        if index == 0:
            return Inversion(target * args[1], (args[1] != constant(0, args[1].dimension),))
        return Inversion(args[0] / target, (target != constant(0, target.dimension),))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\frac{{{args[0]}}}{{{args[1]}}}"

    latex_precedence = P_POWER

    def argument_precedence(self, index: int) -> int:
        return P_PRODUCT + index

    def latex_argument_precedence(self, index: int) -> int:
        return P_OR


class Power(Infix):
    """A power with a constant exponent (so that its dimension is known)."""

    name, symbol, precedence, total = "power", "^", P_POWER, False

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        return args[0] if is_one(args[1]) else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("^", args)
        base, exponent = args
        if not isinstance(exponent, Constant) or exponent.dimension != NONE:
            raise InputError(f"the exponent in {short(base)} ^ {short(exponent)} must be a plain constant number")
        if abs(exponent.value) > 1000:
            raise InputError(f"the exponent {short(exponent)} is too large to be meant")
        exact = Fraction(exponent.value).limit_denominator(12)
        if base.dimension != NONE and not math.isclose(exact, exponent.value, rel_tol=1e-12):
            raise DimensionError(
                f"{short(base)} is {dimension_text(base.dimension)}; it can be raised to simple fractions only, "
                f"not to {short(exponent)}"
            )
        raised = power(base.dimension, exact)
        return raised, base.integer and exponent.integer and exponent.value >= 0, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        base, exponent = values
        if (base == 0 and exponent < 0) or (base < 0 and not float(exponent).is_integer()):
            return math.nan
        if exponent == 0.5:
            return math.sqrt(base)
        if exponent == 2:
            return base * base
        try:
            return base**exponent
        except OverflowError:
            return -math.inf if base < 0 and exponent % 2 == 1 else math.inf

    def array(self, *values: Any, param: Any = None) -> Any:
        base, exponent = values
        if np.ndim(exponent) == 0 and exponent in (0.5, 2):
            return np.sqrt(base) if exponent == 0.5 else np.multiply(base, base)
        raised = np.power(np.asarray(base, dtype=float), exponent)
        return np.where((np.asarray(base) == 0) & (np.asarray(exponent) < 0), np.nan, raised)

    def ufunc(self, args: tuple[Expression, ...]) -> tuple[np.ufunc, int] | None:
        exponent = args[1]
        known = {0.5: np.sqrt, 2.0: np.square}.get(exponent.value) if isinstance(exponent, Constant) else None
        return None if known is None else (known, 1)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.raise_to(intervals[0], intervals[1].low)

    def nowhere(self, intervals: Sequence[Interval]) -> bool:
        base, exponent = intervals
        return base.high < 0.0 and exponent.is_point and not exponent.low.is_integer()

    def derivative(self, index: int, node: Expression) -> Expression | None:
        if index == 1:
            return None
        base, exponent = node.args
        assert isinstance(exponent, Constant)
        return exponent * base ** Constant(exponent.value - 1) if exponent.value != 2 else 2 * base

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        base, exponent = intervals
        if index == 1 or (base.low < 0.0 and float(exponent.low).is_integer() and int(exponent.low) % 2 == 0):
            return None
        if exponent.low < 0.0 and base.low < 0.0 < base.high:
            return None
        return 1 if exponent.low >= 0.0 else -1

    def jumps(self, intervals: Sequence[Interval]) -> bool:
        return intervals[1].low < 0.0 and intervals[0].low < 0.0 < intervals[0].high

    def defined(self, intervals: Sequence[Interval]) -> bool:
        return intervals[0].low > 0.0

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return index == 0 and abs(intervals[1].low) <= 4.0

    def factors(self, args: tuple[Expression, ...]) -> tuple[tuple[Expression, float], ...] | None:
        exponent = args[1]
        return ((args[0], exponent.value),) if isinstance(exponent, Constant) and exponent.value else None

    def log_curve(self, curves: Sequence[int | None], args: Sequence[Expression]) -> int | None:
        exponent = args[1]
        if curves[0] is None or not isinstance(exponent, Constant):
            return None
        return curves[0] if exponent.value > 0 else -curves[0] if exponent.value else 0

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        exponent = args[1]
        if index == 1 or not isinstance(exponent, Constant) or exponent.value == 0:
            return None
        root = target ** Constant(1 / exponent.value)
        return Inversion(root, (target >= constant(0, target.dimension), args[0] >= constant(0, args[0].dimension)))

    def argument_precedence(self, index: int) -> int:
        return P_CALL

    def text(self, args: Sequence[str], param: Any) -> str:
        return f"{args[0]}^{args[1]}"

    def latex(self, args: Sequence[str], param: Any) -> str:
        return f"{{{args[0]}}}^{{{args[1]}}}"

    def latex_argument_precedence(self, index: int) -> int:
        return P_CALL if index == 0 else P_OR


class Negate(Atom):
    """A number with its sign turned."""

    name, arity, precedence = "negate", 1, P_UNARY

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        (inner,) = args
        return Constant(-inner.magnitude, inner.unit) if isinstance(inner, Constant) else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("-", args)
        return args[0].dimension, args[0].integer, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return -values[0]

    array = staticmethod(np.negative)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return Interval(-intervals[0].high, -intervals[0].low)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return Constant(-1)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return -1

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return True

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        return Inversion(-target)

    def argument_precedence(self, index: int) -> int:
        return P_POWER

    def text(self, args: Sequence[str], param: Any) -> str:
        return f"-{args[0]}"

    def latex(self, args: Sequence[str], param: Any) -> str:
        return f"-{args[0]}"


class Absolute(Atom):
    """A number without its sign."""

    name, function, arity = "absolute", "abs", 1

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("abs", args)
        return args[0].dimension, args[0].integer, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return abs(values[0])

    array = staticmethod(np.absolute)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        (a,) = intervals
        low = 0.0 if a.contains(0.0) else min(abs(a.low), abs(a.high))
        return Interval(low, max(abs(a.low), abs(a.high)))

    def switch(self, node: Expression) -> Expression | None:
        return node.args[0] >= constant(0, node.args[0].dimension)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return ATOMS["where"](self.switch(node), 1, -1)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return sign(intervals[0])

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return True

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\left|{args[0]}\right|"


class Exp(Atom):
    """e to the power of a plain number."""

    name, function, arity, total = "exp", "exp", 1, False
    latex_precedence = P_POWER

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        return plain_number("exp", args), False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        try:
            return math.exp(values[0])
        except OverflowError:
            return math.inf

    array = staticmethod(np.exp)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (self.scalar(item) for item in intervals[0])
        return Interval(max(0.0, iv.widen_power(low, low).low), iv.widen_power(high, high or iv.TINY).high)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return node

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1

    def log_curve(self, curves: Sequence[int | None], args: Sequence[Expression]) -> int | None:
        return sum_curve(curves)  # a log-convex function is convex, and it is the logarithm here

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        return Inversion(ATOMS["log"](target), (target > Constant(0),))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"e^{{{args[0]}}}"


class Log(Atom):
    """The natural logarithm."""

    name, function, arity, total = "log", "log", 1, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        return plain_number("log", args), False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return math.log(values[0]) if values[0] > 0 else math.nan

    def array(self, *values: Any, param: Any = None) -> Any:
        positive = np.asarray(values[0]) > 0
        return np.where(positive, np.log(np.where(positive, values[0], 1.0)), np.nan)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = intervals[0]
        if high <= 0:
            return iv.EVERYTHING
        return iv.widen_power(math.log(low) if low > 0 else -math.inf, math.log(high) if high < math.inf else math.inf)

    def nowhere(self, intervals: Sequence[Interval]) -> bool:
        return intervals[0].high <= 0.0

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return 1 / node.args[0]

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        return Inversion(ATOMS["exp"](target))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\ln\left({args[0]}\right)"
