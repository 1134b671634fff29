"""One value of several: the larger, the one that a condition or a table selects, the label of the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.atoms.base import (
    P_COMPARE,
    P_OR,
    P_SUM,
    Atom,
    Inversion,
    Typing,
    is_constant,
    need_numbers,
    need_truths,
    same_dimension,
    sum_curve,
)
from mlsysim_opt.algebra.atoms.wording import label_text, latex_text, number_text, quoted, unit_text, unquoted
from mlsysim_opt.algebra.expression import ATOMS, Choice, Constant, Expression, Operand, short
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import DIMENSIONLESS, NONE, Unit


class Extreme(Atom):
    """The larger or the smaller of two values."""

    folds = True
    larger: ClassVar[bool]

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        return args[0] if args[0] is args[1] else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.name, args)
        return same_dimension("compare", args), args[0].integer and args[1].integer, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        a, b = values
        if a != a or b != b:
            return math.nan
        return (a if a >= b else b) if self.larger else (a if a <= b else b)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        a, b = intervals
        pick = max if self.larger else min
        return Interval(pick(a.low, b.low), pick(a.high, b.high))

    def switch(self, node: Expression) -> Expression | None:
        a, b = node.args
        return a >= b if self.larger else a <= b

    def passes(self, index: int, decided: Any) -> Any:
        return np.equal(decided, index == 0)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        first = self.switch(node)
        return ATOMS["where"](first, 1, 0) if index == 0 else ATOMS["where"](first, 0, 1)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        mine, other = intervals[index], intervals[1 - index]
        beaten = mine.high <= other.low if self.larger else mine.low >= other.high
        return 0 if beaten else 1

    def picked(self, intervals: Sequence[Interval]) -> int | None:
        beaten = [self.monotone(index, intervals) == 0 for index in (0, 1)]
        return beaten.index(False) if any(beaten) and not all(beaten) else None

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return True

    def log_curve(self, curves: Sequence[int | None], args: Sequence[Expression]) -> int | None:
        if self.larger:
            return sum_curve(curves)
        return -1 if all(item is not None and item <= 0 for item in curves) else None

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        other = args[1 - index]
        return Inversion(target, (other <= target if self.larger else other >= target,))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\{'max' if self.larger else 'min'}\left({', '.join(args)}\right)"


class Maximum(Extreme):
    """The larger of two values."""

    name, function, larger = "maximum", "max", True
    array = staticmethod(np.maximum)  # type: ignore[assignment]


class Minimum(Extreme):
    """The smaller of two values."""

    name, function, larger = "minimum", "min", False
    array = staticmethod(np.minimum)  # type: ignore[assignment]


class Where(Atom):
    """One of two values, by a condition. Only the live branch is evaluated in meaning and differentiated."""

    name, function, arity, continuous, guards = "where", "where", 3, False, True
    latex_precedence = P_OR

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        if args[0].sort != "truth" or args[1].dimension != args[2].dimension:
            return None
        return args[1] if args[1] is args[2] else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_truths("where", args[:1])
        need_numbers("where", args[1:])
        return same_dimension("choose between", args[1:]), args[1].integer and args[2].integer, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return values[1] if values[0] else values[2]

    array = staticmethod(np.where)  # type: ignore[assignment]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        condition, then, otherwise = intervals
        if condition == iv.TRUE:
            return then
        return otherwise if condition == iv.FALSE else iv.union(then, otherwise)

    def switch(self, node: Expression) -> Expression | None:
        return node.args[0]

    def passes(self, index: int, decided: Any) -> Any:
        return False if index == 0 else np.equal(decided, index == 1)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        if index == 0:
            return None
        return ATOMS["where"](node.args[0], 1, 0) if index == 1 else ATOMS["where"](node.args[0], 0, 1)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        if index == 0:
            return None if intervals[0] == iv.EITHER else 0
        dead = iv.FALSE if index == 1 else iv.TRUE
        return 0 if intervals[0] == dead else 1

    def picked(self, intervals: Sequence[Interval]) -> int | None:
        return {iv.TRUE: 1, iv.FALSE: 2}.get(intervals[0])

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        return index > 0

    def factors(self, args: tuple[Expression, ...]) -> tuple[tuple[Expression, float], ...] | None:
        condition, then, otherwise = args
        return ((ATOMS["where"](condition, 1, 0), 1.0), (then, 1.0)) if is_constant(otherwise, 0.0) else None

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        if index == 0:
            return None
        return Inversion(target, (args[0] if index == 1 else ~args[0],))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\begin{{cases}} {args[1]} & \text{{if }} {args[0]} \\ {args[2]} & \text{{otherwise}} \end{{cases}}"


class Lookup(Atom):
    """A number for each value of a choice. A missing number is undefined, with the reason kept for the answer.

    The parameter is a `Table`.
    """

    name, arity, by_position, continuous, total = "lookup", 1, True, False, False

    def __call__(self, *args: Operand, param: Any = None) -> Expression:
        if len(args) == 1 and isinstance(args[0], Choice) and len(param.values) == len(args[0].values):
            param = param.labelled(tuple(label_text(item) for item in args[0].values))
        return super().__call__(*args, param=param)

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        values = set(param.values)
        return Constant(param.magnitudes[0], param.unit) if len(values) == 1 and None not in values else None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        choice = args[0]
        if not isinstance(choice, Choice):
            raise InputError(f"lookup needs a choice, but {short(choice)} is not one")
        if len(param.values) != len(choice.values):
            raise InputError(f"lookup({choice.name}) has {len(param.values)} numbers for {len(choice.values)} values")
        of = param.unit.dimension
        return of, of == NONE and all(item is not None and float(item).is_integer() for item in param.values), "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        found = param.values[int(values[0])]
        return math.nan if found is None else found

    def array(self, *values: Any, param: Any = None) -> Any:
        return param.array[values[0]]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (int(item) for item in intervals[0])
        some = [item for item in param.values[low : high + 1] if item is not None]
        return Interval(min(some), max(some)) if some else iv.EVERYTHING

    def text(self, args: Sequence[str], param: Any) -> str:
        return f"lookup({', '.join([args[0], *param.texts()])})"

    def brief(self, args: Sequence[str], param: Any) -> str:
        return f"{param.title}({args[0]})" if param.title else self.text(args, param)

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\operatorname{{{latex_text(param.title or 'lookup')}}}\left({args[0]}\right)"


class Table:
    """The numbers of a `Lookup`, one per value of the choice, with reasons for those undefined.

    Args:
        labels: the values of the choice as texts (set by the look-up that uses the table).
        magnitudes: a number in `unit` for each value; None where it is undefined.
        unit: the unit of all of them.
        reasons: for undefined values, why; by label.
        title: what the numbers are, for LaTeX and messages.
    Attributes:
        values: the numbers in base units.
        array: the same as an array, NaN where undefined.
    """

    __slots__ = ("array", "labels", "magnitudes", "reasons", "title", "unit", "values")

    def __init__(
        self,
        labels: Sequence[str],
        magnitudes: Sequence[float | None],
        unit: Unit,
        reasons: Mapping[str, str] | None = None,
        title: str = "",
    ) -> None:
        self.labels = tuple(labels)
        self.magnitudes = tuple(None if item is None else float(item) + 0.0 for item in magnitudes)
        self.values = tuple(None if item is None else item * unit.factor for item in self.magnitudes)
        if not all(item is None or math.isfinite(item) for item in self.values):
            raise InputError("a number is not finite; write None where there is none", path=title or "lookup")
        self.unit = unit
        self.reasons = dict(reasons or {})
        self.title = title
        self.array = np.array([math.nan if item is None else item for item in self.values])
        self.array.setflags(write=False)

    def labelled(self, labels: tuple[str, ...]) -> Table:
        """Return the same table under these labels."""
        if labels == self.labels:
            return self
        return Table(labels, self.magnitudes, self.unit, self.reasons, self.title)

    def texts(self) -> list[str]:
        """Return the entries as they stand in the text of a look-up."""
        unit = "" if self.unit == DIMENSIONLESS else f" {unit_text(self.unit)}"
        texts = []
        for label, item in zip(self.labels, self.magnitudes, strict=True):
            if item is not None:
                texts.append(f"{label}: {number_text(item)}{unit}")
                continue
            reason = self.reasons.get(unquoted(label))
            texts.append(f"{label}: none" + (f" {quoted(reason)}" if reason else ""))
        if unit and all(item is None for item in self.magnitudes):
            texts.append(f"unit={quoted(self.unit.text)}")
        if self.title:
            texts.append(f"title={quoted(self.title)}")
        return texts

    def _key(self) -> tuple[Any, ...]:
        reasons = tuple(sorted(self.reasons.items()))
        return self.labels, self.magnitudes, self.unit, reasons, self.title

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Grid:
    """The numbers of a `GridLookup`, one per combination of values of several choices.

    Args:
        values: the numbers in base units, one axis per choice; NaN where undefined, infinity where there is no limit.
        unit: the unit they are shown in.
        title: what the numbers are, for texts.
    """

    __slots__ = ("array", "title", "unit")

    def __init__(self, values: Any, unit: Unit, title: str) -> None:
        self.array = np.array(values, dtype=float)
        self.array.setflags(write=False)
        self.unit = unit
        self.title = title

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Grid)
            and (self.title, self.unit, self.array.shape) == (other.title, other.unit, other.array.shape)
            and np.array_equal(self.array, other.array, equal_nan=True)
        )

    def __hash__(self) -> int:
        return hash((self.title, self.unit, self.array.shape))


class GridLookup(Atom):
    """A number for each combination of values of several choices: a price by region and hour.

    The parameter is a `Grid`.
    """

    name, arity, by_position, continuous, total = "grid_lookup", None, True, False, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        wrong = [short(item) for item in args if not isinstance(item, Choice)]
        if wrong:
            raise InputError(f"{param.title} is looked up by choices, but {wrong[0]} is not one")
        sizes = tuple(len(item.values) for item in args if isinstance(item, Choice))
        if sizes != param.array.shape:
            names = ", ".join(item.name for item in args if isinstance(item, Choice))
            raise InputError(f"{param.title}({names}) has numbers for {param.array.shape}, expected {sizes}")
        return param.unit.dimension, False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return param.array.item(*map(int, values))

    def array(self, *values: Any, param: Any = None) -> Any:
        return param.array[values]

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        part = param.array[tuple(slice(int(item.low), int(item.high) + 1) for item in intervals)]
        known = part[~np.isnan(part)]
        return Interval(float(known.min()), float(known.max())) if known.size else iv.EVERYTHING

    def text(self, args: Sequence[str], param: Any) -> str:
        return f"{param.title}({', '.join(args)})"

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\operatorname{{{latex_text(param.title)}}}\left({', '.join(args)}\right)"


class IsLabel(Atom):
    """Whether a choice takes this label: ``recomputation == "full"``. The parameter is (label, position)."""

    name, arity, precedence, by_position, continuous = "is_label", 1, P_COMPARE, True, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        if not isinstance(args[0], Choice):
            raise InputError(f"{short(args[0])} is not a choice, it has no names to compare with {param[0]!r}")
        return NONE, False, "truth"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return values[0] == param[1]

    def array(self, *values: Any, param: Any = None) -> Any:
        return np.equal(values[0], param[1])

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        return iv.equal(intervals[0], Interval(float(param[1]), float(param[1])))

    def text(self, args: Sequence[str], param: Any) -> str:
        return f"{args[0]} == {quoted(param[0])}"

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"{args[0]} = \text{{{latex_text(param[0])}}}"

    def argument_precedence(self, index: int) -> int:
        return P_SUM


class IsArgmax(IsLabel):
    """Whether an `argmax_label` takes this label: ``bottleneck == "memory"``. The parameter is (label, position)."""

    name, by_position = "is_argmax", False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        if args[0].sort != "label" or isinstance(args[0], Choice):
            raise InputError(f"{short(args[0])} has no names to compare with {param[0]!r}")
        return NONE, False, "truth"


class ArgmaxLabel(Atom):
    """The label of the largest argument (the first of equals): which limit binds. The parameter is the labels.

    Its value is the position of the label; -1 where an argument is undefined.
    """

    name, arity, continuous = "argmax_label", None, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        if not args:
            raise InputError("argmax_label needs at least one value")
        need_numbers("argmax_label", args)
        same_dimension("compare", args)
        if len(param) != len(args) or len(set(param)) != len(param):
            raise InputError(f"argmax_label needs one label for each of its {len(args)} values, got {param}")
        return NONE, False, "label"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        if any(item != item for item in values):
            return -1
        return max(range(len(values)), key=lambda index: values[index])

    def array(self, *values: Any, param: Any = None) -> Any:
        stacked = np.stack(np.broadcast_arrays(*values))
        return np.where(np.isnan(stacked).any(axis=0), -1, np.argmax(stacked, axis=0))

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        floor = max(item.low for item in intervals)
        able = [index for index, item in enumerate(intervals) if item.high >= floor]
        return Interval(float(min(able)), float(max(able)))

    def text(self, args: Sequence[str], param: Any) -> str:
        labels = [label if label.isidentifier() and label.isascii() else quoted(label) for label in param]
        return f"argmax_label({', '.join(f'{label}: {item}' for label, item in zip(labels, args, strict=True))})"

    def latex(self, args: Sequence[str], param: Any) -> str:
        pairs = (rf"\text{{{latex_text(label)}}}: {item}" for label, item in zip(param, args, strict=True))
        return rf"\operatorname{{arg\,max}}\left({', '.join(pairs)}\right)"
