"""What a model may be given: each input checks a plain value, and hands the equations a leaf in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, expression
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.view import KEPT, View, entry_bindings, kept_by_entry
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import OWN_ENTRIES
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import (
    DIMENSIONLESS,
    NONE,
    Dimension,
    Measure,
    as_measure,
    dimension_text,
    parse_unit,
    to_si,
)

REQUIRED: Any = object()


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: the argument's name. about: what it is, for help texts.
        default: the value when it is not given; `REQUIRED` if it must be. None means it may be absent.
    """

    name: str
    about: str = ""
    default: Any = REQUIRED

    fixed = True
    """Whether a value is always read the same; names of the catalog are not."""
    verbatim = False
    """Whether text is the value, such as the name of a file: the command line then reads nothing into it."""

    def check(self, value: Any) -> Any:
        """Return the plain value, or raise `InputError` naming what is wrong with it."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """Return the checked value; whatever is wrong with it, the error says in which input."""
        try:
            return self.check(value)
        except InputError as error:
            error.path = error.path or self.name
            raise

    def plain(self, value: Any) -> Any:
        """Return a checked value as JSON data that `check` reads again."""
        return value

    def leaf(self, value: Any) -> Any:
        """Return what the equations get in place of a checked value."""
        raise NotImplementedError

    def bind(self, value: Any) -> dict[str, Any]:
        """Return the values of the leaves this input made."""
        return {self.name: value}

    def key(self, value: Any) -> Any:
        """Return what of the value decides the equations."""
        return None

    def identity(self, value: Any) -> Any:
        """Return what stands for the value among those that decide equations or bind leaves of other names."""
        return self.key(value)


@dataclass(frozen=True)
class Number(Input):
    """A quantity with a dimension, or a plain number; `integer` for a count.

    The dimension `of` is that of the unit where it is not given. `bare` is for names that say their unit
    (``duration_days``): a number without a unit is then read in `unit`.
    """

    unit: str = "dimensionless"
    of: Dimension = NONE
    integer: bool = False
    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    bare: bool = False

    def __post_init__(self) -> None:
        if self.of == NONE:
            object.__setattr__(self, "of", parse_unit(self.unit).dimension)

    def check(self, value: Any) -> float:
        if (
            type(value) is int
            and self.of == NONE
            and self.low <= value <= self.high
            and not (self.open_low and value == self.low)
            and value < 2**53
        ):
            return value if self.integer else float(value)
        measure = self._measure(value)
        if self.bare and measure.unit.text == DIMENSIONLESS.text:
            measure = Measure(measure.magnitude, parse_unit(self.unit))
        if measure.dimension == NONE and self.of != NONE and not isinstance(value, str):
            raise InputError(
                f"{value!r} has no unit; a unit of {dimension_text(self.of)} is needed",
                path=self.name,
                hint=f"for example '{measure.magnitude:g} {self.unit}'",
            )
        number = to_si(measure, self.of, self.name)
        if self.integer and not float(number).is_integer():
            raise InputError(f"expected a whole number, got {value}", path=self.name)
        if number < self.low or number > self.high or (self.open_low and number == self.low):
            raise InputError(f"{value} is not {self.range_text}", path=self.name, hint=self._percent_hint(number))
        if self.integer and number > 2**53:
            raise InputError(f"{value} is too large to be counted exactly (2**53 at most)", path=self.name)
        return int(number) if self.integer else number

    def _measure(self, value: Any) -> Measure:
        wanted = "a whole number" if self.integer else "a number"
        if self.of == NONE and isinstance(value, bool):
            raise InputError(f"expected {wanted}, got {value}", path=self.name)
        try:
            return as_measure(value, self.name)
        except InputError as error:
            if self.of != NONE or not isinstance(value, str):
                raise
            raise InputError(f"expected {wanted}, got {value!r}", path=self.name, hint=error.hint) from error

    def plain(self, value: Any) -> Any:
        return value if self.of == NONE else f"{value / parse_unit(self.unit).factor!r} {self.unit}"

    @property
    def range_text(self) -> str:
        """The allowed range, for messages."""
        low = f"{'above' if self.open_low else 'at least'} {self.low:g}"
        return low if math.isinf(self.high) else f"{low} and at most {self.high:g}"

    def _percent_hint(self, number: float) -> str | None:
        if self.high == 1.0 and 1.0 < number <= 100.0:
            return f"a share is written as a number up to 1: {number / 100:g} for {number:g} percent"
        return None

    def leaf(self, value: Any) -> Expression:
        if isinstance(value, Expression):
            return value
        return Symbol(self.name, self.of, integer=self.integer, low=self.low, high=self.high)


@dataclass(frozen=True)
class Degree(Number):
    """A count that usually has the value at which it plays no part (no split, nothing cached): equations without it are
    shorter, and are kept apart."""

    neutral: int = 1

    def key(self, value: Any) -> Any:
        return value == self.neutral

    def leaf(self, value: Any) -> Expression:
        return expression(value) if not isinstance(value, Expression) and value == self.neutral else super().leaf(value)


@dataclass(frozen=True)
class Option(Input):
    """One of a few names."""

    options: tuple[str, ...] = ()

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise UnknownNameError(self.name, str(value), self.options, path=self.name)
        return value

    def leaf(self, value: Any) -> Expression:
        return value if isinstance(value, Expression) else Choice(self.name, self.options)


@dataclass(frozen=True)
class Switch(Input):
    """Yes or no."""

    def check(self, value: Any) -> int:
        if isinstance(value, bool) or (type(value) is int and value in (0, 1)):
            return int(value)
        raise InputError(f"expected true or false, got {value!r}", path=self.name)

    def plain(self, value: Any) -> bool:
        return bool(value)

    def leaf(self, value: Any) -> Expression:
        return value if isinstance(value, Expression) else Choice(self.name, (0, 1))


@dataclass(frozen=True)
class Given(Input):
    """A catalog entry, by name or as an object; `kind` is its kind in the catalog, `also` are others that will do."""

    fixed = False
    kind: str = ""
    also: tuple[str, ...] = ()

    def check(self, value: Any) -> Entry:
        kinds = (self.kind, *self.also)
        wanted = " or ".join(kinds)
        article = "an" if wanted[0] in "aeiou" else "a"
        if isinstance(value, Entry):
            if value.kind not in kinds:
                raise InputError(f"expected {article} {wanted}, got the {value.kind} {value.name}", path=self.name)
            return value
        if not isinstance(value, str):
            raise InputError(f"expected {article} {wanted} or its name, got {type(value).__name__}", path=self.name)
        catalog = default_catalog()
        for kind in kinds:
            if catalog.lookup(kind, value) is not None:
                return catalog.find(kind, value)
        names = [name for kind in kinds for name in catalog.names(kind)]
        raise UnknownNameError(wanted, value, names, also=OWN_ENTRIES)

    def plain(self, value: Entry) -> str:
        return value.name

    def leaf(self, value: Any) -> View:
        return value if isinstance(value, View) else View(self.name, [value])

    def bind(self, value: Any) -> dict[str, Any]:
        return entry_bindings(self.name, value)

    def key(self, value: Any) -> Any:
        return _signature(value)

    def identity(self, value: Any) -> Any:
        return id(value)


@kept_by_entry
def _signature(entry: Entry) -> Any:
    """Return which numbers an entry has: entries that have the same ones share their equations."""
    return type(entry), tuple(sorted(entry.parameters()))


@dataclass(frozen=True)
class Text(Input):
    """A name that decides the equations, such as a precision."""

    fixed = False
    of_kind: str = ""

    def check(self, value: Any) -> str:
        if not isinstance(value, str):
            raise InputError(f"expected a name, got {value!r}", path=self.name)
        return default_catalog().find(self.of_kind, value).name if self.of_kind else value

    def leaf(self, value: Any) -> Any:
        return value

    def bind(self, value: Any) -> dict[str, Any]:
        return {}

    def key(self, value: Any) -> Any:
        return value


def check_all(inputs: Sequence[Input], given: dict[str, Any], aliases: dict[str, str], owner: str) -> dict[str, Any]:
    """Return the checked value of every input.

    Raises:
        UnknownNameError: an argument is not known. InputError: one is missing or wrong.
    """
    by_name, base, undecided = _plan(inputs)
    values: dict[str, Any] = {}
    for name, value in given.items():
        real = aliases.get(name, name)
        if real not in by_name:
            raise UnknownNameError(f"argument of {owner}", name, [*by_name, *aliases])
        if real in values:
            raise InputError(f"{real!r} is given twice (as {name!r} too)", path=real)
        values[real] = None if value is None else by_name[real].read(value)
    found = base.copy()
    for name, value in values.items():
        if value is not None:
            found[name] = value
    for item in undecided:
        if found[item.name] is not OPEN:
            continue
        if item.default is REQUIRED:
            raise InputError(
                f"{owner} needs {item.name!r}" + (f" ({item.about})" if item.about else ""), path=item.name
            )
        found[item.name] = item.check(item.default)
    return found


OPEN: Any = object()
"""Stands for an input that has no value yet."""
_plans: dict[int, tuple[Sequence[Input], dict[str, Input], dict[str, Any], list[Input]]] = {}


def _plan(inputs: Sequence[Input]) -> tuple[dict[str, Input], dict[str, Any], list[Input]]:
    """Return inputs by name; the checked defaults of those whose check never changes its mind; and the others."""
    found = _plans.get(id(inputs))
    if found is None or found[0] is not inputs:
        if len(_plans) >= KEPT:
            _plans.clear()
        base: dict[str, Any] = {}
        for item in inputs:
            settled = item.default is None or (item.fixed and item.default is not REQUIRED)
            base[item.name] = OPEN if not settled else None if item.default is None else item.check(item.default)
        undecided = [item for item in inputs if base[item.name] is OPEN]
        found = (inputs, {item.name: item for item in inputs}, base, undecided)
        _plans[id(inputs)] = found
    return found[1], found[2], found[3]


Preparation = Callable[[dict[str, Any]], dict[str, Any]]
