"""What an operation is, and the rules that many of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.expression import ATOMS, Constant, Expression, Operand, Sort, expression, operation, short
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import DimensionError, InputError
from mlsysim_opt.units import NONE, Dimension, dimension_text

Typing = tuple[Dimension, bool, Sort]

# Precedence of text forms, loosest first.
P_OR, P_AND, P_NOT, P_COMPARE, P_SUM, P_PRODUCT, P_UNARY, P_POWER, P_CALL = range(9)


class Inversion(NamedTuple):
    """An argument isolated: its expression, and what must hold for the step to be valid."""

    value: Expression
    conditions: tuple[Expression, ...] = ()


class Staged(NamedTuple):
    """An operation on arrays in two steps.

    Attributes:
        parts: functions of every n-th argument, of those after them, and so on; n functions.
        whole: the value, from theirs. Where the arguments vary little, it alone is computed tile by tile.
    """

    parts: tuple[Callable[..., Any], ...]
    whole: Callable[..., Any]


class Atom:
    """One operation. Subclasses state everything that is known of it."""

    name: ClassVar[str]
    arity: ClassVar[int | None] = 2
    precedence: ClassVar[int] = P_CALL
    symbol: ClassVar[str] = ""
    function: ClassVar[str] = ""
    """Its name where it is written as a function of expressions only; empty for operators."""
    folds: ClassVar[bool] = False
    """Whether ``f(f(a, b), c)`` is written ``f(a, b, c)``."""
    latex_precedence: ClassVar[int | None] = None
    """How tightly the LaTeX form binds, where it differs from `precedence`."""
    by_position: ClassVar[bool] = False
    """Whether the argument is a choice given by the position of its value instead of by the value itself."""
    continuous: ClassVar[bool] = True
    """Whether the value has no jumps where it is defined."""
    total: ClassVar[bool] = True
    """Whether there is a finite value for all finite arguments."""
    guards: ClassVar[bool] = False
    """Whether only one of the arguments is live, so that the others may be undefined."""

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            ATOMS[cls.name] = cls()

    def __call__(self, *args: Operand, param: Any = None) -> Expression:
        """Return the node of this atom applied to `args`, simplified where that loses nothing."""
        nodes = tuple(expression(item) for item in args)
        if self.arity is not None and len(nodes) != self.arity:
            plural = "" if self.arity == 1 else "s"
            raise InputError(f"{self.name} takes {self.arity} argument{plural}, got {len(nodes)}")
        simpler = self.simplify(nodes, param)
        return operation(self, nodes, param) if simpler is None else simpler

    def simplify(self, args: tuple[Expression, ...], param: Any) -> Expression | None:
        """Return a simpler node of equal value and dimension, or None. Never reorders what was written."""
        return None

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        """Return dimension, integrality and sort of the result; raises `DimensionError` when units do not fit."""
        raise NotImplementedError

    def scalar(self, *values: Any, param: Any = None) -> Any:
        """Return the exact value for plain numbers. Undefined points give NaN."""
        raise NotImplementedError

    def array(self, *values: Any, param: Any = None) -> Any:
        """Return the value for broadcastable NumPy arrays."""
        raise NotImplementedError

    def ufunc(self, args: tuple[Expression, ...]) -> tuple[np.ufunc, int] | None:
        """Return the NumPy function that gives the value for arrays of the first so many of these arguments, if any."""
        return (self.array, len(args)) if isinstance(self.array, np.ufunc) else None

    def staged(self) -> Staged | None:
        """Return how arrays are computed in two steps; None where `array` is all."""
        return None

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        """Return an interval that contains every value for arguments inside `intervals`."""
        return iv.EVERYTHING

    def derivative(self, index: int, node: Expression) -> Expression | None:
        """Return the partial derivative by argument `index`; None where it is zero almost everywhere."""
        return None

    def nowhere(self, intervals: Sequence[Interval]) -> bool:
        """Return whether it has no value for any arguments within these bounds."""
        return False

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        """Return +1, -1 or 0 if the value never falls, never rises or ignores argument `index`; None if unknown."""
        return None

    def defined(self, intervals: Sequence[Interval]) -> bool:
        """Return whether there is a finite value for all finite arguments inside `intervals`."""
        return self.total

    def picked(self, intervals: Sequence[Interval]) -> int | None:
        """Return which argument the value is, for all arguments inside `intervals`; None where that is not one."""
        return None

    def steady(self, index: int, intervals: Sequence[Interval]) -> bool:
        """Return whether a small relative error of argument `index` becomes one of about that size in the value."""
        return False

    def factors(self, args: tuple[Expression, ...]) -> tuple[tuple[Expression, float], ...] | None:
        """Return the value as a product: each factor with its power; None if it is none.

        Undefined factors make the value undefined, unless the atom `guards`.
        """
        return None

    def addends(self, args: tuple[Expression, ...]) -> tuple[Expression, ...] | None:
        """Return what the value is the sum of; None if it is no sum."""
        return None

    def jumps(self, intervals: Sequence[Interval]) -> bool:
        """Return whether the value may jump between two points of `intervals`."""
        return not self.continuous

    def log_curve(self, curves: Sequence[int | None], args: Sequence[Expression]) -> int | None:
        """Return how the logarithm bends over logarithms, from how those of the arguments (all above zero) do.

        +1 convex, -1 concave, 0 straight, None unknown; see `convex.log_curvature`.
        """
        return None

    def switch(self, node: Expression) -> Expression | None:
        """Return what decides which form the value has: a truth, a label or a whole number; None where it has one."""
        return None

    def passes(self, index: int, decided: Any) -> Any:
        """Return whether the value moves with argument `index`, for what the switch says (a number, or an array)."""
        return True

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        """Return argument `index` as an expression of the result and the other arguments; None if not possible."""
        return None

    def text(self, args: Sequence[str], param: Any) -> str:
        """Return the text form, from arguments already rendered at `argument_precedence`.

        Parsing this text gives the same node again.
        """
        return f"{self.function or self.name}({', '.join(args)})"

    def brief(self, args: Sequence[str], param: Any) -> str:
        """Return a text for people, which may leave out long data."""
        return self.text(args, param)

    def latex(self, args: Sequence[str], param: Any) -> str:
        """Return the LaTeX form."""
        return rf"\operatorname{{{self.name.replace('_', ' ')}}}\left({', '.join(args)}\right)"

    def argument_precedence(self, index: int) -> int:
        """Return how tightly argument `index` must bind to stand without parentheses."""
        return P_OR

    def latex_argument_precedence(self, index: int) -> int:
        """Return the same for the LaTeX form."""
        return self.argument_precedence(index)

    def __repr__(self) -> str:
        return f"<atom {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return (ATOMS.__getitem__, (self.name,))


def same_dimension(name: str, args: Sequence[Expression]) -> Dimension:
    """Return the dimension that all arguments have; refuse others, naming both units."""
    first = args[0]
    for item in args[1:]:
        if item.dimension != first.dimension:
            raise DimensionError(
                f"cannot {name} {dimension_text(first.dimension)} and {dimension_text(item.dimension)}: "
                f"{short(first)} is {dimension_text(first.dimension)}, "
                f"{short(item)} is {dimension_text(item.dimension)}"
            )
    return first.dimension


def need_numbers(name: str, args: Sequence[Expression]) -> None:
    """Refuse arguments that are not numbers."""
    for item in args:
        if item.sort != "number":
            raise InputError(f"{name} needs numbers, but {short(item)} is a {item.sort}")


def need_truths(name: str, args: Sequence[Expression]) -> None:
    """Refuse arguments that are not comparisons."""
    for item in args:
        if item.sort != "truth":
            raise InputError(f"{name} needs comparisons, but {short(item)} is a {item.sort}")


def plain_number(name: str, args: Sequence[Expression]) -> Dimension:
    """Refuse an argument with a unit."""
    need_numbers(name, args)
    if args[0].dimension != NONE:
        raise DimensionError(f"{name} of {short(args[0])}, which is {dimension_text(args[0].dimension)}, not a number")
    return NONE


def is_constant(node: Expression, value: float) -> bool:
    """Return whether the node is this constant, in base units."""
    return isinstance(node, Constant) and node.value == value


def is_one(node: Expression) -> bool:
    """Return whether the node is the plain number 1."""
    return is_constant(node, 1.0) and node.dimension == NONE


def sign(interval: Interval) -> int | None:
    """Return the sign that all values of an interval have; zero counts as either."""
    if interval.low >= 0.0:
        return 1
    return -1 if interval.high <= 0.0 else None


def product_curve(first: int | None, second: int | None) -> int | None:
    """Return how the logarithm of a product bends: as both factors do, where they do not bend apart."""
    if first is None or second is None or first * second < 0:
        return None
    return first or second


def sum_curve(curves: Sequence[int | None]) -> int | None:
    """Return how the logarithm of a sum bends: log-convex functions are closed under sums, log-concave ones are not
    (Boyd et al. 2007, A tutorial on geometric programming)."""
    return 1 if all(item is not None and item >= 0 for item in curves) else None


class Infix(Atom):
    """An operation written between its arguments, grouping to the left."""

    def text(self, args: Sequence[str], param: Any) -> str:
        return f"{args[0]} {self.symbol} {args[1]}"

    def argument_precedence(self, index: int) -> int:
        return self.precedence + index

    def latex(self, args: Sequence[str], param: Any) -> str:
        return f"{args[0]} {self.symbol} {args[1]}"
