"""Units and dimensions: one table of units, from which both the fast parser and the pint registry are made.

Inside the engine a number is a float in base units plus a `Dimension` (a tuple of exponents), so arithmetic
costs nothing extra. pint appears only at the edge, built the first time a user reads or passes a quantity.

Byte, FLOP, token, request, sample, USD, kg CO2e, litre and joule are dimensions of their own: adding tokens to
dollars, or bytes to FLOPs, is an error. Energy is a base dimension, hence a watt is a joule per second.
"""

from __future__ import annotations

import copyreg
import functools
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import DimensionError, InputError, ParseError, ScaleError, UnitError, did_you_mean

if TYPE_CHECKING:
    import pint

BASES = ("second", "byte", "flop", "token", "request", "sample", "USD", "kgCO2e", "litre", "joule")
"""Base units, in the order of the exponents of a `Dimension`."""

BASE_SYMBOLS = ("s", "byte", "FLOP", "token", "request", "sample", "USD", "kgCO2e", "L", "J")

Exponent = int | Fraction
Dimension = tuple[Exponent, ...]
"""Exponents of the base units; a plain number has all zeros."""

NONE: Dimension = (0,) * len(BASES)


def _base(name: str) -> Dimension:
    return tuple(int(name == base) for base in BASES)


TIME, BYTE, FLOP, TOKEN, REQUEST, SAMPLE, MONEY, CARBON, WATER, ENERGY = (_base(name) for name in BASES)


def multiply(left: Dimension, right: Dimension) -> Dimension:
    """Return the dimension of a product."""
    return tuple(a + b for a, b in zip(left, right, strict=True))


def divide(left: Dimension, right: Dimension) -> Dimension:
    """Return the dimension of a quotient."""
    return tuple(a - b for a, b in zip(left, right, strict=True))


def power(base: Dimension, exponent: Exponent) -> Dimension:
    """Return the dimension of a power; fractions that come out whole are whole again."""
    raised = (Fraction(item) * Fraction(exponent) for item in base)
    return tuple(int(item) if item.denominator == 1 else item for item in raised)


RATE = divide(NONE, TIME)
POWER = divide(ENERGY, TIME)
BANDWIDTH = divide(BYTE, TIME)
COMPUTE = divide(FLOP, TIME)

# name -> (factor to base units, dimension, takes SI prefixes, takes binary prefixes)
_DAY = 86400.0
_UNITS: dict[str, tuple[float, Dimension, bool, bool]] = {
    "dimensionless": (1.0, NONE, False, False),
    "percent": (0.01, NONE, False, False),
    "s": (1.0, TIME, True, False),
    "second": (1.0, TIME, False, False),
    "min": (60.0, TIME, False, False),
    "minute": (60.0, TIME, False, False),
    "h": (3600.0, TIME, False, False),
    "hr": (3600.0, TIME, False, False),
    "hour": (3600.0, TIME, False, False),
    "day": (_DAY, TIME, False, False),
    "week": (7 * _DAY, TIME, False, False),
    "year": (365.25 * _DAY, TIME, False, False),
    "Hz": (1.0, RATE, True, False),
    "B": (1.0, BYTE, True, True),
    "byte": (1.0, BYTE, False, False),
    "bit": (0.125, BYTE, True, True),
    "FLOP": (1.0, FLOP, True, False),
    "flop": (1.0, FLOP, False, False),
    "token": (1.0, TOKEN, False, False),
    "request": (1.0, REQUEST, False, False),
    "sample": (1.0, SAMPLE, False, False),
    "USD": (1.0, MONEY, True, False),
    "dollar": (1.0, MONEY, False, False),
    "gCO2e": (1e-3, CARBON, True, False),
    "tCO2e": (1e3, CARBON, True, False),
    "L": (1.0, WATER, True, False),
    "litre": (1.0, WATER, False, False),
    "liter": (1.0, WATER, False, False),
    "J": (1.0, ENERGY, True, False),
    "joule": (1.0, ENERGY, False, False),
    "W": (1.0, POWER, True, False),
    "Wh": (3600.0, ENERGY, True, False),
    "watt": (1.0, POWER, False, False),
}
_ALIASES = {
    "seconds": "s", "sec": "s", "minutes": "min", "hours": "h", "days": "day", "weeks": "week", "years": "year",
    "bytes": "byte", "bits": "bit", "FLOPs": "FLOP", "flops": "flop", "tokens": "token", "tok": "token",
    "requests": "request", "req": "request", "samples": "sample", "dollars": "dollar", "litres": "litre",
    "liters": "liter", "joules": "joule", "watts": "watt",
}  # fmt: skip
_SI = {
    "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "E": 1e18, "Z": 1e21,
}  # fmt: skip
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_SMALL_PREFIXES_ONLY_FOR = {"s", "J", "W", "L", "Hz", "Wh", "gCO2e"}
_HINTS = {
    "Gb": "write Gbit for gigabits or GB for gigabytes",
    "Mb": "write Mbit for megabits or MB for megabytes",
    "Tb": "write Tbit for terabits or TB for terabytes",
    "b": "write bit or B",
    "kg": "carbon is kgCO2e (or gCO2e, tCO2e)",
    "t": "carbon is tCO2e (or kgCO2e)",
    "g": "carbon is gCO2e (or kgCO2e)",
    "ton": "carbon is tCO2e",
    "tonne": "carbon is tCO2e",
    "$": "write USD",
    "EUR": "only USD is known; convert with a dated rate first",
    "FLOPS": "a rate is FLOP/s (TFLOP/s); an amount of work is FLOP",
    "TFLOPS": "write TFLOP/s",
    "PFLOPS": "write PFLOP/s",
    "%": "write percent",
    "degC": "temperatures are not used here",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its text as written, its factor to base units and its dimension."""

    text: str
    factor: float
    dimension: Dimension

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its unit as written. `si` is the value in base units."""

    magnitude: float
    unit: Unit

    @property
    def si(self) -> float:
        """The value in base units."""
        return self.magnitude * self.unit.factor

    @property
    def dimension(self) -> Dimension:
        """The dimension of the unit."""
        return self.unit.dimension

    @property
    def quantity(self) -> pint.Quantity[float]:
        """The same as a pint quantity of this package's registry."""
        result: pint.Quantity[float] = registry().Quantity(self.magnitude, _pint_unit(self.unit))
        return result

    def __str__(self) -> str:
        return f"{self.magnitude:g} {self.unit.text}"


DIMENSIONLESS = Unit("dimensionless", 1.0, NONE)


@functools.cache
def _lookup(name: str) -> tuple[float, Dimension] | None:
    name = _ALIASES.get(name, name)
    found = _UNITS.get(name)
    if found is not None:
        return found[0], found[1]
    for prefixes, which in ((_BINARY, 3), (_SI, 2)):
        for prefix, scale in prefixes.items():
            rest = name[len(prefix) :]
            rest = {"FLOPs": "FLOP"}.get(rest, rest)
            entry = _UNITS.get(rest) if name.startswith(prefix) else None
            if entry is None or not entry[which]:
                continue
            if scale < 1 and rest not in _SMALL_PREFIXES_ONLY_FOR:
                continue
            return scale * entry[0], entry[1]
    return None


def known_units() -> list[str]:
    """Return the names of all units without prefixes, for messages and completion."""
    return [*_UNITS, "GB", "GiB", "TB", "Gbit", "TFLOP", "PFLOP", "ms", "us", "ns", "kW", "MW", "kWh", "MWh", "kgCO2e",
            "MUSD", "kUSD"]  # fmt: skip


def _alike(word: str) -> str | None:
    """Return a hint naming the units that differ from `word` in one letter (``GB`` for ``GX``)."""

    def near(unit: str) -> bool:
        return len(unit) == len(word) and sum(a != b for a, b in zip(unit, word, strict=True)) == 1

    found = [unit for unit in known_units() if len(word) > 1 and near(unit)]
    return "did you mean " + " or ".join(repr(item) for item in found[:3]) + "?" if found else None


_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-zµμ$%_][A-Za-z0-9_$%]*)|(?P<number>[0-9]+)|(?P<op>\*\*|[*/^()·-]))")
_LARGEST_POWER = 12


def is_unit(name: str) -> bool:
    """Return whether `name` is one unit name, with or without a prefix."""
    return _lookup(name) is not None


@functools.lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit:
    """Parse a unit such as ``GB/s``, ``USD/tCO2e``, ``ms/token`` or ``W*h``.

    Args:
        text: unit names with SI or binary prefixes, joined by ``*``, ``/``, ``^`` (small whole powers, or a fraction
            such as ``s^(1/2)``) and parentheses.
    Returns:
        the unit with its factor to base units and its dimension; its text is written without spaces.
    Raises:
        UnitError: a name is unknown; the hint offers the nearest one.
        ParseError: the text is not a unit expression.
    """
    if not isinstance(text, str) or not text.strip():
        raise UnitError(f"expected a unit, got {type(text).__name__} {str(text)[:40]!r}")
    if len(text) > 200:
        raise UnitError("this is too long to be a unit")
    reader = _UnitReader(text)
    try:
        factor, dimension = reader.product(0)
    except OverflowError:
        factor, dimension = math.inf, NONE
    if not (math.isfinite(factor) and factor > 0):
        raise UnitError(f"the unit {text!r} is outside the range of numbers")
    if reader.index != len(reader.tokens):
        raise reader.error(f"unexpected {reader.word!r} in a unit")
    return Unit("".join(reader.words), factor, dimension)


class _UnitReader:
    """A recursive-descent reader of unit texts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        self.index = 0
        position, stripped = 0, text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                symbol = stripped[position:].lstrip()[0]
                raise UnitError(f"{symbol!r} is not allowed in the unit {text!r}", hint=_HINTS.get(symbol))
            kind = match.lastgroup or ""
            self.tokens.append((kind, match.group(kind), match.start(kind) + 1))
            position = match.end()

    @property
    def words(self) -> list[str]:
        """The tokens in their one spelling."""
        spelling = {"**": "^", "·": "*"}
        return [spelling.get(word, word) for _, word, _ in self.tokens]

    @property
    def word(self) -> str:
        return self.tokens[self.index][1] if self.index < len(self.tokens) else ""

    def error(self, message: str) -> ParseError:
        column = self.tokens[self.index][2] if self.index < len(self.tokens) else len(self.text) + 1
        return ParseError(message, text=self.text, column=column)

    def product(self, depth: int) -> tuple[float, Dimension]:
        factor, dimension = self.power(depth)
        while self.word in ("*", "/", "·") and self.word:
            operator = self.word
            self.index += 1
            right, right_dimension = self.power(depth)
            if operator == "/":
                factor, dimension = factor / right, divide(dimension, right_dimension)
            else:
                factor, dimension = factor * right, multiply(dimension, right_dimension)
        return factor, dimension

    def power(self, depth: int) -> tuple[float, Dimension]:
        factor, dimension = self.atom(depth)
        if self.word in ("^", "**"):
            self.index += 1
            exponent = self.exponent()
            if abs(exponent) > _LARGEST_POWER:
                self.index -= 1
                raise self.error(f"a power of a unit is at most {_LARGEST_POWER}")
            whole = int(exponent) if exponent.denominator == 1 else exponent
            factor, dimension = float(factor**whole), power(dimension, exponent)
            if factor == 0.0:
                raise OverflowError
        return factor, dimension

    def atom(self, depth: int) -> tuple[float, Dimension]:
        if self.index >= len(self.tokens):
            raise self.error("the unit ends too early")
        if depth > 20:
            raise self.error("too many parentheses")
        kind, word, _ = self.tokens[self.index]
        if word == "(":
            self.index += 1
            result = self.product(depth + 1)
            if self.word != ")":
                raise self.error("a parenthesis is not closed in a unit")
        elif kind == "name":
            found = _lookup(word)
            if found is None:
                hint = _HINTS.get(word) or did_you_mean(word, known_units()) or _alike(word)
                raise UnitError(f"unknown unit {word!r} in {self.text!r}", hint=hint)
            result = found
        elif word == "1":
            result = (1.0, NONE)
        else:
            raise self.error(f"expected a unit, found {word!r}")
        self.index += 1
        return result

    def exponent(self) -> Fraction:
        grouped = self.word == "("
        self.index += grouped
        sign = -1 if self.word == "-" else 1
        self.index += self.word == "-"
        value = Fraction(self.digits())
        if grouped:
            if self.word == "/":
                self.index += 1
                below = self.digits()
                if not below:
                    raise self.error("division by zero in the power of a unit")
                value /= below
            if self.word != ")":
                raise self.error("a parenthesis is not closed in the power of a unit")
            self.index += 1
        return sign * value

    def digits(self) -> int:
        if self.index >= len(self.tokens) or self.tokens[self.index][0] != "number" or len(self.word) > 2:
            raise self.error(f"a power of a unit is a whole number up to {_LARGEST_POWER}")
        self.index += 1
        return int(self.tokens[self.index - 1][1])


NUMBER = r"(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""The pattern of an unsigned number, here and in the grammar of constraints."""

_NUMBER = re.compile(rf"\s*([+-]?{NUMBER})(?:(?![\w.])|(?=[A-Za-zµμ$%]))\s*")


def parse_quantity(text: str) -> Measure:
    """Parse ``80 GiB``, ``3.35 TB/s`` or ``0.12 USD/kWh``; a bare number is dimensionless.

    Raises:
        InputError: the number is not finite. UnitError: the unit is unknown, or the number is out of range.
        ParseError: the text is not a number with a unit.
    """
    if not isinstance(text, str):
        raise InputError(f"expected text such as '80 GiB', got {type(text).__name__} {text!r}")
    if len(text) > 200:
        raise ParseError("this is too long to be a quantity")
    match = _NUMBER.match(text)
    if match is None:
        if re.match(r"\s*[+-]?(nan|inf)", text, re.IGNORECASE):
            raise InputError(f"{text!r} is not a finite number")
        raise ParseError("expected a number with a unit, such as '80 GiB'", text=text, column=1)
    magnitude = float(match.group(1).replace("_", ""))
    rest = text[match.end() :].strip()
    unit = parse_unit(rest) if rest else DIMENSIONLESS
    if not math.isfinite(magnitude * unit.factor):
        raise UnitError(f"{text!r} is outside the range of numbers")
    return Measure(magnitude, unit)


def as_time(measure: Measure, wanted: Dimension) -> Measure:
    """Return a time per token as a time where a time is wanted; every other measure as it is.

    The latency between tokens has the dimension of time, and people write it as ``30 ms/token`` too.
    """
    if wanted != TIME or measure.dimension != divide(TIME, TOKEN):
        return measure
    text = re.sub(r"/(tokens?|tok)$", "", measure.unit.text)
    if text != measure.unit.text:
        return Measure(measure.magnitude, parse_unit(text))
    return Measure(measure.si, base_unit(TIME))


def dimension(text: str) -> Dimension:
    """Return the dimension of a unit text: ``dimension("byte/second")``."""
    return parse_unit(text).dimension


@functools.cache
def dimension_text(value: Dimension) -> str:
    """Return a dimension in base units, such as ``byte/s``; ``dimensionless`` for a plain number."""
    if value == POWER:
        return "W"
    above = [_powered(name, item) for name, item in zip(BASE_SYMBOLS, value, strict=True) if item > 0]
    below = [_powered(name, -item) for name, item in zip(BASE_SYMBOLS, value, strict=True) if item < 0]
    if not above and not below:
        return "dimensionless"
    return "*".join(above or ["1"]) + "".join("/" + item for item in below)


def _powered(name: str, exponent: Exponent) -> str:
    if exponent == 1:
        return name
    return f"{name}^{exponent}" if isinstance(exponent, int) else f"{name}^({exponent})"


_LADDERS: dict[Dimension, tuple[str, ...]] = {
    TIME: ("ns", "us", "ms", "s", "h", "day"),
    BYTE: ("byte", "KiB", "MiB", "GiB", "TiB"),
    BANDWIDTH: ("byte/s", "KB/s", "MB/s", "GB/s", "TB/s"),
    FLOP: ("FLOP", "KFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"),
    COMPUTE: ("FLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s", "EFLOP/s"),
    MONEY: ("USD", "kUSD", "MUSD"),
    CARBON: ("gCO2e", "kgCO2e", "tCO2e", "ktCO2e"),
    ENERGY: ("J", "kJ", "kWh", "MWh", "GWh"),
    POWER: ("W", "kW", "MW"),
    WATER: ("L", "kL", "ML"),
}

_QUOTED: dict[Dimension, str] = {
    divide(MONEY, TIME): "USD/h",
    divide(MONEY, ENERGY): "USD/kWh",
    divide(CARBON, ENERGY): "gCO2e/kWh",
    divide(CARBON, TIME): "kgCO2e/h",
    divide(WATER, ENERGY): "L/kWh",
}
"""How prices and intensities are quoted, whatever their size."""


def base_unit(of: Dimension) -> Unit:
    """Return the unit of a dimension whose factor is one."""
    return DIMENSIONLESS if of == NONE else Unit(dimension_text(of), 1.0, of)


_CUSTOMARY = {
    TIME: "ms", BYTE: "GiB", BANDWIDTH: "GB/s", FLOP: "TFLOP", COMPUTE: "TFLOP/s", MONEY: "USD", CARBON: "tCO2e",
    ENERGY: "kWh", POWER: "W", WATER: "L",
}  # fmt: skip


def customary_unit(of: Dimension) -> Unit:
    """Return the unit in which people mostly write this dimension, for examples in messages."""
    text = _CUSTOMARY.get(of)
    return parse_unit(text) if text is not None else base_unit(of)


def has_ladder(of: Dimension) -> bool:
    """Return whether a dimension has units of several sizes to be shown in."""
    return of in _LADDERS


def readable_unit(value: float, of: Dimension) -> Unit:
    """Return the unit in which a value of this dimension is read most easily (``ms`` for 0.0123 s)."""
    ladder = _LADDERS.get(of)
    if ladder is None:
        return parse_unit(_QUOTED[of]) if of in _QUOTED else base_unit(of)
    chosen = parse_unit(ladder[0])
    for text in ladder:
        unit = parse_unit(text)
        if abs(value) >= unit.factor * 0.9995:
            chosen = unit
    return chosen


def show(value: float, of: Dimension, digits: int = 4) -> str:
    """Return a value in base units as text in its most readable unit, ``12.3 ms``."""
    unit = readable_unit(value, of)
    number = f"{value / unit.factor:,.{digits}g}"
    if "e" in number and 1.0 <= abs(value / unit.factor) < 1e15:
        number = f"{value / unit.factor:,.0f}"
    return number if of == NONE else f"{number} {unit.text}"


_PINT_PREFIXES = {
    "nano": "n", "micro": "u", "milli": "m", "kilo": "k", "mega": "M", "giga": "G", "tera": "T", "peta": "P",
    "exa": "E", "zetta": "Z", "kibi": "Ki", "mebi": "Mi", "gibi": "Gi", "tebi": "Ti", "pebi": "Pi",
}  # fmt: skip
_PINT_NAMES = {"s": "second", "min": "minute", "h": "hour", "B": "byte", "FLOP": "flop", "L": "litre", "J": "joule",
               "W": "watt", "Hz": "hertz", "Wh": "watt_hour"}  # fmt: skip


@functools.cache
def registry() -> pint.UnitRegistry[Any]:
    """Return the one pint registry, made from the unit table of this module on first use."""
    import pint

    made: pint.UnitRegistry[Any] = pint.UnitRegistry(None)
    scales = {**_SI, **_BINARY}
    for name, symbol in _PINT_PREFIXES.items():
        made.define(f"{name}- = {scales[symbol]!r} = {symbol}-" + (" = K-" if symbol == "k" else ""))
    bases = {"second": "s", "byte": "B", "flop": "FLOP", "litre": "L", "joule": "J", "gCO2e": "_"}
    for name in BASES:
        unit = "gCO2e" if name == "kgCO2e" else name
        made.define(f"{unit} = [{unit}] = {bases.get(unit, '_')}")
    made.define("percent = 0.01")
    symbols = {long: short for short, long in _PINT_NAMES.items()}
    for name, (factor, of, _si, _binary) in _UNITS.items():
        long = _PINT_NAMES.get(name, name)
        if long in made or name in ("dimensionless", "percent"):
            continue
        made.define(f"{long} = {factor!r} * {_pint_text(of)} = {symbols.get(long, '_')}")
    for alias, target in _ALIASES.items():
        if alias not in made:
            made.define(f"@alias {_PINT_NAMES.get(target, target)} = {alias}")
    made.define("@alias litre = liter")
    # A quantity is pickled with a reference to this module, so that a fresh process finds its units without having
    # imported the package, and pint's application registry stays the user's own.
    copyreg.pickle(made.Quantity, _reduce_quantity)
    _format_ratios_as_numbers(made.Quantity)
    copyreg.pickle(made.Unit, _reduce_unit)
    # pint then leaves ``quantity * expression`` to the expression instead of wrapping it in a quantity.
    foreign: dict[str, type | None] = pint.compat.upcast_type_map  # type: ignore[assignment]
    for kind in ("Constant", "Symbol", "Choice", "Operation"):
        foreign.setdefault(f"mlsysim_opt.algebra.expression.{kind}", None)
    return made


NUMERIC_FORMAT = re.compile(r"(?:.?[<>=^])?[-+ ]?#?0?\d*[,_]?(?:\.\d+)?[eEfFgGn%]")
"""A format specification for a number and nothing else (pint's own ask for units in some form: ``~``, ``P``, ``L``)."""


def _format_ratios_as_numbers(kind: Any) -> None:
    """Let ``f"{a / b:.2f}"`` of two times be a number; pint would write ``dimensionless`` behind it."""
    usual = kind.__format__

    def formatted(self: Any, spec: str) -> str:
        if NUMERIC_FORMAT.fullmatch(spec) and self.dimensionless and "percent" not in dict(self.unit_items()):
            return format(self.m_as("dimensionless"), spec)
        return str(usual(self, spec))

    kind.__format__ = formatted


def _reduce_quantity(item: Any) -> tuple[Any, ...]:
    return _load_quantity, (item.magnitude, tuple(item.unit_items()))


def _reduce_unit(item: Any) -> tuple[Any, ...]:
    return _load_unit, (tuple(item._units.items()),)


def _load_quantity(magnitude: Any, names: tuple[tuple[str, Any], ...]) -> Any:
    return registry().Quantity(magnitude, _load_unit(names))


def _load_unit(names: tuple[tuple[str, Any], ...]) -> Any:
    from pint.util import UnitsContainer

    return registry().Unit(UnitsContainer(dict(names)))


def _pint_text(of: Dimension) -> str:
    parts = []
    for name, item in zip(BASES, of, strict=True):
        if item != 0:
            parts.append(f"({'1000 * gCO2e' if name == 'kgCO2e' else name}) ** {item}")
    return " * ".join(parts) or "1"


def _pint_unit(unit: Unit) -> Any:
    """Return the pint unit of one of ours; unit text of ours is a safe expression by construction."""
    if unit.dimension == NONE and unit.factor == 1.0:
        return registry().dimensionless
    return registry().parse_units(unit.text.replace("µ", "u").replace("μ", "u"))


def quantity(si: float, unit: Unit | str) -> pint.Quantity[float]:
    """Return a pint quantity from a value in base units, shown in `unit`."""
    shown = parse_unit(unit) if isinstance(unit, str) else unit
    result: pint.Quantity[float] = registry().Quantity(si / shown.factor, _pint_unit(shown))
    return result


def Q_(value: Any, unit: str | None = None) -> pint.Quantity[Any]:
    """Make a quantity: ``Q_("30 ms")``, ``Q_(80, "GiB")``; a quantity of another pint registry is converted.

    Raises:
        UnitError: the unit is unknown or the number is not finite.
    """
    if unit is None:
        if isinstance(value, str):
            return parse_quantity(value).quantity
        if hasattr(value, "magnitude"):
            measure = as_measure(value)
            return quantity(measure.si, measure.unit)
        return registry().Quantity(value, registry().dimensionless)
    return registry().Quantity(value, _pint_unit(parse_unit(unit)))


def as_measure(value: Any, what: str = "value") -> Measure:
    """Read text, a number, a `Measure` or any pint quantity (of any registry) as a `Measure`.

    Raises:
        InputError: the value is none of these, is a bool, or is not finite.
    """
    if isinstance(value, Measure):
        return value
    if isinstance(value, str):
        return parse_quantity(value)
    if isinstance(value, bool) or type(value).__name__ == "bool":  # the latter is NumPy's
        raise InputError(f"expected a number with a unit, got {value}", path=what)
    if hasattr(value, "magnitude") and hasattr(value, "units"):
        measure = _from_pint(value)
    elif isinstance(value, int | float) or hasattr(value, "__float__"):
        measure = Measure(_number(value, what), DIMENSIONLESS)
    else:
        raise InputError(f"expected a number with a unit, got {type(value).__name__}", path=what)
    if not math.isfinite(measure.si):
        raise InputError(f"{value!r} is not a finite number", path=what)
    return measure


def _number(value: Any, what: str) -> float:
    """Return a Python or NumPy number as a float; refuse a whole number that a float would round."""
    try:
        number = float(value)
    except OverflowError as error:
        raise ScaleError("this whole number is too large", path=what) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a number, got {type(value).__name__}", path=what) from error
    if isinstance(value, int) and int(number) != value:
        raise ScaleError(f"{value} is above 2**53 and no float holds it exactly", path=what)
    return number


def _from_pint(value: Any) -> Measure:
    items = value.unit_items() if hasattr(value, "unit_items") else value._units.items()
    text = value_text([(_short_name(str(name)), exponent) for name, exponent in items])
    try:
        magnitude = float(value.magnitude)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"expected one number with a unit, got {value!r}") from error
    return Measure(magnitude, parse_unit(text))


def value_text(names: list[tuple[str, Any]]) -> str:
    """Return unit text from (name, exponent) pairs."""
    exact = [(name, Fraction(exponent).limit_denominator(_LARGEST_POWER)) for name, exponent in names]
    above = [_powered(name, _whole(item)) for name, item in exact if item > 0]
    below = [_powered(name, _whole(-item)) for name, item in exact if item < 0]
    if not above and not below:
        return "dimensionless"
    return "*".join(above or ["1"]) + "".join("/" + item for item in below)


def _whole(exponent: Fraction) -> Exponent:
    return int(exponent) if exponent.denominator == 1 else exponent


def _short_name(name: str) -> str:
    """Return our name of a unit that pint spells out (``gigabyte`` -> ``GB``)."""
    short = {long: symbol for symbol, long in _PINT_NAMES.items()}
    if name in short:
        return short[name]
    for prefix, symbol in _PINT_PREFIXES.items():
        rest = name.removeprefix(prefix)
        if rest != name and _lookup(symbol + short.get(rest, rest)) is not None:
            return symbol + short.get(rest, rest)
    return name


def to_si(value: Any, of: Dimension, what: str, unit: str | None = None) -> float:
    """Return `value` in base units, insisting on its dimension.

    Args:
        value: text (``"30 ms"``), a pint quantity, a `Measure`, or a bare number where `of` is dimensionless.
        of: the dimension expected.
        what: the name shown in messages. unit: the unit of examples in messages; the customary one when absent.
    Raises:
        DimensionError: the value has another dimension (or none, where a unit is needed).
    """
    measure = as_measure(value, what)
    if measure.dimension != of:
        given = dimension_text(measure.dimension)
        if measure.dimension == NONE:
            number = f"{measure.magnitude:.12g}"
            raise DimensionError(
                f"{number if isinstance(value, Measure) else value} has no unit; "
                f"a unit of {dimension_text(of)} is needed",
                path=what,
                hint=f"write it with its unit, for example '{number} {unit or customary_unit(of).text}'",
            )
        raise DimensionError(
            f"{value!s} is {given}, but {dimension_text(of)} is expected",
            path=what,
            hint="carbon is written in kgCO2e or tCO2e" if of == CARBON else None,
        )
    return measure.si
