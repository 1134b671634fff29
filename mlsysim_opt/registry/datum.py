"""A number of the catalog: its value, its unit as written, its dimension, and where it comes from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlsysim_opt import units
from mlsysim_opt.errors import InputError, did_you_mean
from mlsysim_opt.units import Dimension

if TYPE_CHECKING:
    from pint import Quantity

DATE = re.compile(r"(1|2)\d{3}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
MAX_COUNT = 2**53


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number was published.

    Attributes:
        title: the document.
        locator: the place in it (page, table, address).
        date: when it was published or read, ``2024``, ``2024-05`` or ``2024-05-31``.
    """

    title: str
    locator: str
    date: str

    def __str__(self) -> str:
        return f"{self.title}, {self.locator} ({self.date})"

    @classmethod
    def read(cls, raw: Any) -> Source:
        """Make a source from a mapping with title, locator and date.

        Raises:
            InputError: a key is missing or unknown, or a value is not text.
        """
        if not isinstance(raw, Mapping):
            raise InputError(f"expected title, locator and date, got {raw!r}")
        for key in raw:
            if key not in ("title", "locator", "date"):
                raise InputError(f"unknown key {key!r} in a source", hint=did_you_mean(key, cls.__slots__))
        values = {}
        for key in ("title", "locator", "date"):
            value = str(raw[key]) if key == "date" and isinstance(raw.get(key), int) else raw.get(key)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"a source needs {key!r} (title, locator and date)")
            values[key] = value.strip()
        if not DATE.fullmatch(values["date"]):
            raise InputError(f"date {values['date']!r} is not of the form 2024, 2024-05 or 2024-05-31")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Datum:
    """One number with its provenance. Internal code reads `si` and never meets pint.

    Attributes:
        si: the value in base units (an int for a count).
        text: the number as written.
        unit: the unit as written; empty for counts and ratios.
        dimension: exponents of the base units.
        kind: ``quantity`` (has a unit), ``count`` (a whole number) or ``ratio`` (a plain float).
        source: where it was published; None only for estimates.
        estimated: for an estimate, its reason.
    """

    si: float
    text: str
    unit: str
    dimension: Dimension
    kind: Literal["quantity", "count", "ratio"]
    source: Source | None = None
    estimated: str | None = None

    @property
    def public(self) -> Quantity[float] | float | int:
        """What a user reads: a pint quantity (a fresh one each time), an int, or a float."""
        if self.kind == "quantity":
            return units.quantity(self.si, self.unit)
        return int(self.si) if self.kind == "count" else float(self.si)

    def changed(self, si: float, reason: str) -> Datum:
        """Return another value of the same dimension and kind, in base units, which is no published one."""
        unit = units.base_unit(self.dimension).text
        text = str(int(si)) if self.kind == "count" else f"{si!r} {unit}"
        return Datum(si, text, unit, self.dimension, self.kind, None, reason)

    @property
    def provenance(self) -> str:
        """The source or the reason of the estimate as one line of text."""
        if self.estimated is not None:
            basis = f"; after {self.source}" if self.source is not None else ""
            return f"estimated: {self.estimated}{basis}"
        return str(self.source)

    def __str__(self) -> str:
        return self.text


def read_measured(value: Any, unit: str) -> tuple[float, str, str, Dimension]:
    """Read a number with a unit of the dimension of `unit`; return si, text, unit text and dimension.

    Raises:
        InputError: no unit, an unknown unit, another dimension, or not finite.
    """
    expected = units.dimension(unit)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"expected a number with a unit of {unit}, got {_shown(value)}")
    if not isinstance(value, str):
        raise InputError(f"{value!r} has no unit, a unit of {unit} is needed", hint=f"write it as '{value} {unit}'")
    measure = units.parse_quantity(value)
    if measure.dimension != expected:
        given = "no unit" if measure.dimension == units.NONE else f"the unit {measure.unit.text!r}"
        raise InputError(f"{value!r} has {given}, a unit of {unit} is needed")
    _check_finite(measure.si, value)
    return measure.si, value.strip(), measure.unit.text, expected


def read_count(value: Any) -> tuple[int, str]:
    """Read a whole number; floats, booleans and text are refused.

    Raises:
        InputError: not a whole number, or larger than 2**53.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        hint = f"write {int(value)}" if isinstance(value, float) and value.is_integer() else None
        raise InputError(f"expected a whole number, got {_shown(value)}", hint=hint)
    if abs(value) > MAX_COUNT:
        raise InputError(f"{value} is larger than 2**53")
    return value, str(value)


def read_ratio(value: Any) -> tuple[float, str]:
    """Read a plain number, or text such as ``85 percent``.

    Raises:
        InputError: it has a unit, is not a number, or is not finite.
    """
    if isinstance(value, str):
        measure = units.parse_quantity(value)
        if measure.dimension != units.NONE:
            raise InputError(f"{value!r} has a unit, a plain number is expected")
        return measure.si, value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"expected a number, got {_shown(value)}")
    _check_finite(value, value)
    return float(value), str(value)


def _check_finite(number: float, given: Any) -> None:
    if not math.isfinite(number):
        raise InputError(f"{given!r} is not a finite number")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value) if len(repr(value)) < 80 else repr(value)[:77] + "..."
