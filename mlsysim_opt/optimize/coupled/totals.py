"""Families of amounts, and sums over them: what coupled problems are written with.

A family is one amount for each tuple of values of its choices: a replica count per region and device, a yes or no per
job and design. A `Total` is an affine function of amounts, whose coefficients are expressions over the same choices:
``servers * price + energy * tariff``. Units are checked when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from mlsysim_opt.algebra.expression import Choice, Expression, Operand, constant, expression, short
from mlsysim_opt.errors import DimensionError, InputError
from mlsysim_opt.units import NONE, Dimension, dimension_text, multiply

Sort = Literal["continuous", "whole", "pick"]
Relation = Literal["<=", ">=", "=="]
UNDER = "what is divided by a sum of amounts is not linear"
RATIOS = "ratios may be objectives, and in constraints of the user: 'a / b'"


@dataclass(frozen=True)
class Place:
    """Which axis of a family says where its coefficients stand along an axis of rows.

    Attributes:
        choice: the axis of the family. shift: rows to go on from its position (the next hour: 1).
        wrap: whether the axis of rows is a circle. Rows beyond its ends are left out if it is not.
    """

    choice: Choice
    shift: int = 0
    wrap: bool = False


@dataclass(frozen=True, eq=False)
class Family:
    """Amounts, one for each tuple of values of some choices.

    Attributes:
        name: what they are. over: the choices.
        sort: ``pick`` (whole; each group of tuples has so many in all), ``whole`` or ``continuous``.
        group, picks: for ``pick``, the choices whose values make the groups, and how many are picked in each.
        optional: whether a group may have fewer.
        low, high: bounds of each amount, expressions over the choices; no upper bound when None.
        dimension, unit: of the amounts.
        about: what they are, for people. counts: what plain numbers of them count, in texts ("nodes").
        later: whether they are decided once the scenario is known, where there are several.
        least: whether, of plans that are as good, one is told in which nothing of them is needless.
        exists: a truth over the choices: which tuples there are, of those that the problem allows; all when None.
    """

    name: str
    over: tuple[Choice, ...]
    sort: Sort = "continuous"
    group: tuple[Choice, ...] = ()
    picks: Expression | None = None
    optional: bool = False
    low: Expression | None = None
    high: Expression | None = None
    dimension: Dimension = NONE
    unit: str | None = None
    about: str = ""
    counts: str = ""
    later: bool = False
    least: bool = False
    exists: Expression | None = None
    takes_expressions: ClassVar[bool] = True
    """An expression on the left of an operator leaves it to the sum."""

    @property
    def whole(self) -> bool:
        """Whether the amounts are whole numbers."""
        return self.sort != "continuous"

    def total(self, coefficient: Operand = 1, at: Mapping[Choice, Choice | Place] | None = None) -> Total:
        """Return the sum of a coefficient times the amount.

        Args:
            coefficient: an expression over the family's choices, and over axes of rows that the family lacks.
            at: for axes of rows, the family's choice that says where along them it stands, where that is not the axis
                itself.
        """
        places = {axis: item if isinstance(item, Place) else Place(item) for axis, item in (at or {}).items()}
        for axis, place in places.items():
            if place.choice not in self.over:
                raise InputError(f"{self.name} has no choice {place.choice.name!r}", path=axis.name)
        made = expression(coefficient)
        if made.sort != "number":
            raise InputError(f"a coefficient of {self.name} is a {made.sort}, not a number: {short(made)}")
        return Total((Term(self, made, places),), constant(0, multiply(self.dimension, made.dimension)))

    def __mul__(self, other: Operand) -> Total:
        return self.total(other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Total:
        made: Total = self.total() / other
        return made

    def __rtruediv__(self, other: Operand) -> Total:
        raise InputError(UNDER, hint=RATIOS)

    def __add__(self, other: Operand | Total | Family) -> Total:
        return self.total() + other

    __radd__ = __add__

    def __sub__(self, other: Operand | Total | Family) -> Total:
        return self.total() - other

    def __rsub__(self, other: Operand | Total | Family) -> Total:
        return -self.total() + other

    def __neg__(self) -> Total:
        return -self.total()

    def __le__(self, other: Any) -> Coupling:
        return Coupling(self.total() - other, "<=")

    def __ge__(self, other: Any) -> Coupling:
        return Coupling(self.total() - other, ">=")

    def equals(self, other: Any) -> Coupling:
        """Return the relation of this sum being equal to another, or to a number."""
        return self.total().equals(other)

    def __repr__(self) -> str:
        return f"<{self.sort} {self.name} over ({', '.join(choice.name for choice in self.over)})>"


@dataclass(frozen=True, eq=False)
class Term:
    """One family with its coefficient, and where it stands along axes of rows that are not among its choices."""

    family: Family
    coefficient: Expression
    at: Mapping[Choice, Place] = field(default_factory=dict)

    @property
    def dimension(self) -> Dimension:
        return multiply(self.family.dimension, self.coefficient.dimension)


@dataclass(frozen=True, eq=False)
class Total:
    """An affine function of amounts: the sum of its terms and an offset. It has a dimension."""

    terms: tuple[Term, ...]
    offset: Expression
    takes_expressions: ClassVar[bool] = True
    """An expression on the left of an operator leaves it to the sum."""

    @property
    def dimension(self) -> Dimension:
        """The dimension of the whole sum."""
        return self.offset.dimension

    @property
    def families(self) -> list[Family]:
        """The families in it, each once."""
        return list(dict.fromkeys(term.family for term in self.terms))

    def mapped(self, change: Callable[[Expression], Expression]) -> Total:
        """Return the sum with a change made to every coefficient and to the offset."""
        terms = tuple(replace(term, coefficient=change(term.coefficient)) for term in self.terms)
        return Total(terms, change(self.offset))

    def shifted(self, axis: Choice, by: int, *, wrap: bool = False) -> Total:
        """Return the sum as it stands `by` rows later: ``stock - stock.shifted(hour, 1)`` is what an hour takes.

        Raises:
            InputError: a family of it has no such choice.
        """
        for term in self.terms:
            if axis not in term.family.over:
                raise InputError(f"{term.family.name} has no choice {axis.name!r}", path=axis.name)
        terms = tuple(replace(term, at={**term.at, axis: Place(axis, by, wrap)}) for term in self.terms)
        return Total(terms, self.offset)

    # arithmetic -----------------------------------------------------------------------------------------------------
    def __add__(self, other: Any) -> Total:
        added = total_of(other, self.dimension)
        if added.dimension != self.dimension:
            raise DimensionError(
                f"sums of {dimension_text(self.dimension)} and {dimension_text(added.dimension)} cannot be added"
            )
        return Total((*self.terms, *added.terms), self.offset + added.offset)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Total:
        return self + -total_of(other, self.dimension)

    def __rsub__(self, other: Any) -> Total:
        return -self + total_of(other, self.dimension)

    def __neg__(self) -> Total:
        return self.mapped(lambda item: -item)

    def __mul__(self, other: Operand) -> Total:
        if isinstance(other, Total | Family):
            raise InputError(
                "a product of two sums of amounts is not linear",
                hint="make one of them a choice of the other's family, so that it stands in the coefficients",
            )
        factor = expression(other)
        return self.mapped(lambda item: item * factor)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Total:
        if isinstance(other, Total | Family):
            raise InputError("a ratio of two sums of amounts is not linear", hint=RATIOS)
        divisor = expression(other)
        return self.mapped(lambda item: item / divisor)

    def __rtruediv__(self, other: Operand) -> Total:
        raise InputError(UNDER, hint=RATIOS)

    # comparison -----------------------------------------------------------------------------------------------------
    def __le__(self, other: Operand | Total | Family) -> Coupling:
        return Coupling(self - other, "<=")

    def __ge__(self, other: Operand | Total | Family) -> Coupling:
        return Coupling(self - other, ">=")

    def equals(self, other: Any) -> Coupling:
        """Return the relation of this sum being equal to another, or to a number."""
        return Coupling(self - other, "==")


@dataclass(frozen=True, eq=False)
class Coupling:
    """A sum of amounts against zero."""

    total: Total
    relation: Relation

    def __bool__(self) -> bool:
        raise InputError("a relation of sums is not decided yet", hint="hand it to CoupledProblem.require")


def total_of(value: Any, like: Dimension | None = None) -> Total:
    """Return a sum, a family or a number as a sum.

    Args:
        like: the dimension that a bare zero takes.
    """
    if isinstance(value, Total):
        return value
    if isinstance(value, Family):
        return value.total()
    if like is not None and isinstance(value, int | float) and value == 0:
        return Total((), constant(0, like))
    return Total((), expression(value))


def sum_of(parts: Iterable[Total | Family] | Sequence[Total | Family]) -> Total:
    """Return the sum of several.

    Raises:
        InputError: there are none: their dimension would not be known.
    """
    several = [total_of(item) for item in parts]
    if not several:
        raise InputError("there is nothing to add up")
    made = several[0]
    for item in several[1:]:
        made = made + item
    return made
