"""Comparisons, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra import nearly
from mlsysim_opt.algebra.atoms.base import (
    P_AND,
    P_COMPARE,
    P_NOT,
    P_OR,
    P_SUM,
    Atom,
    Infix,
    Typing,
    need_numbers,
    need_truths,
    same_dimension,
)
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.units import NONE


class Compare(Infix):
    """A comparison of two numbers of one dimension."""

    precedence, continuous = P_COMPARE, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.symbol, args)
        same_dimension("compare", args)
        return NONE, False, "truth"

    def argument_precedence(self, index: int) -> int:
        return P_SUM


class LessEqual(Compare):
    """At most, up to rounding."""

    name, symbol = "less_equal", "<="

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return nearly.at_most(*values)

    array = staticmethod(nearly.all_at_most)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.less_equal(*intervals)

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} \le {args[1]}"


class Less(Compare):
    """Strictly less, by more than rounding."""

    name, symbol = "less", "<"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return nearly.below(*values)

    array = staticmethod(nearly.all_below)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.less(*intervals)


class Equal(Compare):
    """An equality, up to rounding.

    Its Python truth value is identity of the two sides, so expressions can stand in dicts and sets.
    """

    name, symbol = "equal", "=="

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return nearly.same(*values)

    array = staticmethod(nearly.all_same)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.equal(*intervals)

    def latex(self, args: Sequence[str], param: Any) -> str:
        return f"{args[0]} = {args[1]}"


class NotEqual(Compare):
    """The opposite of an equality; its Python truth value is that the sides are different nodes."""

    name, symbol = "not_equal", "!="

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return not nearly.same(*values)

    def array(self, *values: Any, param: Any = None) -> Any:
        return ~nearly.all_same(*values)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        same = iv.equal(*intervals)
        return Interval(1.0 - same.high, 1.0 - same.low)

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} \ne {args[1]}"


class Logical(Infix):
    """A combination of truths."""

    continuous = False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_truths(self.name, args)
        return NONE, False, "truth"


class And(Logical):
    """Both."""

    name, symbol, precedence = "and", "and", P_AND

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return bool(values[0]) and bool(values[1])

    array = staticmethod(np.logical_and)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        a, b = intervals
        return Interval(min(a.low, b.low), min(a.high, b.high))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} \land {args[1]}"


class Or(Logical):
    """At least one of the two."""

    name, symbol, precedence = "or", "or", P_OR

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return bool(values[0]) or bool(values[1])

    array = staticmethod(np.logical_or)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        a, b = intervals
        return Interval(max(a.low, b.low), max(a.high, b.high))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} \lor {args[1]}"


class Not(Atom):
    """The opposite."""

    name, arity, precedence, continuous = "not", 1, P_NOT, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_truths("not", args)
        return NONE, False, "truth"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return not values[0]

    array = staticmethod(np.logical_not)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return Interval(1.0 - intervals[0].high, 1.0 - intervals[0].low)

    def text(self, args: Sequence[str], param: Any) -> str:
        return f"not {args[0]}"

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\lnot {args[0]}"

    def argument_precedence(self, index: int) -> int:
        return P_NOT
