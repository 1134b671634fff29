"""Numbers that are not known exactly: anything between two values, or distributed in some way.

They are written with their units, in Python or as text, and mean nothing until they stand for a number of a model
(`Place`), which reads them in its own units and within its own limits.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from statistics import NormalDist
from typing import Any, ClassVar, Literal, Self

import numpy as np

from mlsysim_opt.errors import DimensionError, InputError, ParseError, UnknownNameError
from mlsysim_opt.units import (
    NONE,
    NUMBER,
    Dimension,
    Measure,
    as_measure,
    base_unit,
    dimension_text,
    parse_unit,
    show,
    to_si,
)

Array = np.ndarray[Any, Any]
STANDARD = NormalDist()
MOST_CUT = 0.5
"""A distribution of which more than this lies outside what the number may be is refused."""
WORTH_SAYING = 5e-5
"""The least share cut off that is mentioned."""


@dataclass(frozen=True)
class Place:
    """Where an uncertain number stands: what it may be there.

    Attributes:
        name: of the input, or the path of the number. dimension: its dimension. unit: in which bare numbers are read,
            where they are (``duration_days``).
        integer: whether it is whole. low, high: what it may be, in base units; `open_low`: without the lower end.
        check: reads one value as the place does, and refuses what cannot stand there.
    """

    name: str
    dimension: Dimension
    integer: bool
    low: float
    high: float
    open_low: bool
    check: Callable[[str], float] = field(compare=False)
    unit: str | None = None

    def value(self, measure: Measure) -> float:
        """Return a value in base units; raises `InputError` where it cannot stand here."""
        return float(self.check(written(measure)))

    def spread(self, measure: Measure, about: float) -> float:
        """Return a standard deviation in base units; percent of a number that has a unit are a share of `about`."""
        if measure.unit.text == "percent" and self.dimension != NONE:
            return measure.si * abs(about)
        if measure.dimension == NONE and self.unit is not None:
            return measure.magnitude * parse_unit(self.unit).factor
        return to_si(measure, self.dimension, self.name)

    def least(self) -> float:
        """Return the lowest value that may stand here."""
        return math.nextafter(self.low, math.inf) if self.open_low else self.low

    def show(self, value: float) -> str:
        """Return a value in base units as text."""
        return show(value, self.dimension)


@dataclass(frozen=True)
class Law:
    """An uncertain number in base units, as one place reads it.

    Attributes:
        kind: ``interval`` (anything between, nothing said of how likely) or ``distribution``.
        low, high: between which it lies. middle: a value in its middle. integer: whether it is whole.
        quantile: values for probabilities; None for an interval. note: what was cut off, where something was.
    """

    kind: Literal["interval", "distribution"]
    low: float
    high: float
    middle: float
    integer: bool
    quantile: Callable[[Array], Array] | None = field(compare=False, default=None)
    note: str = ""


def written(measure: Measure) -> str:
    """Return a measure as text that reads back as the same number."""
    number = repr(measure.magnitude)
    number = number.removesuffix(".0") if abs(measure.magnitude) < 1e15 else number
    return number if measure.unit.text == "dimensionless" else f"{number} {measure.unit.text}"


def _measure(value: Any, what: str) -> Measure:
    try:
        return as_measure(value, what)
    except InputError as error:
        error.path = error.path or what
        raise


class Uncertain:
    """A number that is not known exactly: an interval (`Between`) or a distribution (all others)."""

    word: ClassVar[str]
    """Its name in text: ``uniform(0.4, 0.6)``."""

    def law(self, place: Place) -> Law:
        """Return what it is where it stands; raises `InputError` where it cannot stand there."""
        raise NotImplementedError

    def _measures(self, *names: str) -> None:
        """Read the fields of these names as numbers of one dimension."""
        found = [_measure(getattr(self, name), f"{self.word} {name}") for name in names]
        for name, item in zip(names, found, strict=True):
            if item.dimension != found[0].dimension:
                raise DimensionError(
                    f"{written(found[0])} is {dimension_text(found[0].dimension)}, {written(item)} is "
                    f"{dimension_text(item.dimension)}",
                    path=f"{self.word} {name}", hint="both are numbers of the same kind, each with its unit",
                )  # fmt: skip
            object.__setattr__(self, name, item)

    def _rising(self, *names: str) -> None:
        values = [getattr(self, name) for name in names]
        for left, right in itertools.pairwise(values):
            if not left.si <= right.si:
                raise InputError(
                    f"{written(left)} is above {written(right)}", path=self.word, hint="give them in rising order"
                )

    def __str__(self) -> str:
        return f"{self.word}({', '.join(written(getattr(self, item.name)) for item in fields(self))})"  # type: ignore[arg-type]


def _continuous(kind: str, place: Place) -> None:
    if place.integer:
        raise InputError(
            f"{place.name} is a whole number, which no {kind} distribution gives", path=place.name,
            hint="Uniform(low, high) makes each whole number equally likely; Discrete gives each its weight",
        )  # fmt: skip


@dataclass(frozen=True)
class Between(Uncertain):
    """Anything between two values, nothing said of how likely each is: answers are guaranteed bounds.

    Args:
        low, high: numbers with units, both possible.
    """

    low: Any
    high: Any
    word: ClassVar[str] = "between"

    def __post_init__(self) -> None:
        self._measures("low", "high")
        self._rising("low", "high")

    def law(self, place: Place) -> Law:
        low, high = place.value(self.low), place.value(self.high)
        middle = float((low + high) // 2) if place.integer else low + (high - low) / 2
        return Law("interval", low, high, middle, place.integer)

    def __str__(self) -> str:
        return f"{written(self.low)} .. {written(self.high)}"


@dataclass(frozen=True)
class Uniform(Uncertain):
    """Every value between two is equally likely; of a whole number, every whole number.

    Args:
        low, high: numbers with units.
    """

    low: Any
    high: Any
    word: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        self._measures("low", "high")
        self._rising("low", "high")

    def law(self, place: Place) -> Law:
        low, high = place.value(self.low), place.value(self.high)
        if place.integer:
            count = high - low + 1
            return Law("distribution", low, high, float((low + high) // 2), True,
                       lambda share: np.minimum(low + np.floor(share * count), high))  # fmt: skip
        return Law("distribution", low, high, low + (high - low) / 2, False,
                   lambda share: np.minimum(low + share * (high - low), high))  # fmt: skip


@dataclass(frozen=True)
class Triangular(Uncertain):
    """Rising from the lowest value to the most likely one, and falling to the highest.

    Args:
        low, mode, high: numbers with units, in this order.
    """

    low: Any
    mode: Any
    high: Any
    word: ClassVar[str] = "triangular"

    def __post_init__(self) -> None:
        self._measures("low", "mode", "high")
        self._rising("low", "mode", "high")

    def law(self, place: Place) -> Law:
        _continuous(self.word, place)
        low, mode, high = (place.value(item) for item in (self.low, self.mode, self.high))
        width = high - low
        turn = (mode - low) / width if width else 0.5

        def quantile(share: Array) -> Array:
            rising = low + np.sqrt(share * width * (mode - low))
            falling = high - np.sqrt((1 - share) * width * (high - mode))
            return np.clip(np.where(share < turn, rising, falling), low, high)

        return Law("distribution", low, high, float(quantile(np.asarray(0.5))), False, quantile)


@dataclass(frozen=True)
class Normal(Uncertain):
    """Normally distributed; what lies outside of what the number may be is cut off, and the answer says how much.

    Args:
        mean: a number with its unit.
        sd: the standard deviation with its unit, or in percent of the mean where the mean has a unit.
    """

    mean: Any
    sd: Any
    word: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        sd, mean = _measure(self.sd, "normal sd"), _measure(self.mean, "normal mean")
        if sd.unit.text == "percent" and mean.unit.text != "percent":
            if mean.dimension == NONE:
                raise InputError(
                    f"{written(sd)} of {written(mean)} can be read in two ways", path="normal sd",
                    hint=f"write {sd.si:g} (points), or {sd.si * mean.si:g} (a share of the mean)",
                )  # fmt: skip
            self._measures("mean")
            object.__setattr__(self, "sd", sd)
        else:
            self._measures("mean", "sd")
        if not self.sd.si > 0:
            raise InputError(f"the standard deviation {written(self.sd)} is not above zero", path="normal sd")

    @classmethod
    def from_percentiles(cls, p5: Any, p95: Any) -> Self:
        """Return the normal distribution with one twentieth of it below `p5`, and one above `p95`."""
        pair = Between(p5, p95)
        reach = (pair.high.si - pair.low.si) / 2
        unit = pair.low.unit
        middle = (pair.low.si + reach) / unit.factor
        return cls(Measure(middle, unit), Measure(reach / STANDARD.inv_cdf(0.95) / unit.factor, unit))

    def law(self, place: Place) -> Law:
        _continuous(self.word, place)
        mean = place.value(self.mean)
        return _cut(place, mean, place.spread(self.sd, mean), None)

    def __str__(self) -> str:
        return f"{written(self.mean)} +- {written(self.sd)}"


@dataclass(frozen=True)
class LogNormal(Uncertain):
    """A number whose logarithm is normally distributed: it is as likely twice the median as half of it.

    Args:
        median: a number above zero, with its unit.
        factor: by which factor one standard deviation multiplies or divides it; above 1, without a unit.
    """

    median: Any
    factor: Any
    word: ClassVar[str] = "lognormal"

    def __post_init__(self) -> None:
        self._measures("median")
        factor = to_si(_measure(self.factor, "lognormal factor"), NONE, "lognormal factor")
        if not factor > 1:
            raise InputError(f"the factor {factor:g} is not above 1", path="lognormal factor",
                             hint="1.2 stands for a standard deviation of about 20 percent")  # fmt: skip
        object.__setattr__(self, "factor", as_measure(factor))
        if not self.median.si > 0:
            raise InputError(f"the median {written(self.median)} is not above zero", path="lognormal median")

    @classmethod
    def from_percentiles(cls, p5: Any, p95: Any) -> Self:
        """Return the lognormal distribution with one twentieth of it below `p5`, and one above `p95`."""
        pair = Between(p5, p95)
        if not pair.low.si > 0:
            raise InputError(f"{written(pair.low)} is not above zero", path="lognormal p5")
        spread = math.log(pair.high.si / pair.low.si) / 2 / STANDARD.inv_cdf(0.95)
        median = math.sqrt(pair.low.si * pair.high.si) / pair.low.unit.factor
        return cls(Measure(median, pair.low.unit), math.exp(spread))

    def law(self, place: Place) -> Law:
        _continuous(self.word, place)
        return _cut(place, place.value(self.median), None, math.log(self.factor.si))


@dataclass(frozen=True)
class Discrete(Uncertain):
    """One of a few values, each with its weight; weights are probabilities once divided by their sum.

    Args:
        weights: the weight of each value, ``{1: 0.5, 2: 0.3, 4: 0.2}``; values with a unit are text.
    """

    weights: Any
    word: ClassVar[str] = "discrete"

    def __post_init__(self) -> None:
        given = self.weights
        if not isinstance(given, Mapping) or not given:
            raise InputError("expected the weight of each value", path=self.word, hint="Discrete({1: 0.5, 2: 0.5})")
        pairs = []
        for value, weight in given.items():
            share = to_si(_measure(weight, f"discrete weight of {value}"), NONE, f"discrete weight of {value}")
            if not share > 0:
                raise InputError(f"the weight {share:g} of {value} is not above zero", path=self.word)
            pairs.append((_measure(value, "discrete value"), share))
        if len({item.dimension for item, _ in pairs}) > 1:
            raise DimensionError("the values are not numbers of the same kind", path=self.word)
        object.__setattr__(self, "weights", tuple(sorted(pairs, key=lambda pair: pair[0].si)))

    def law(self, place: Place) -> Law:
        values = np.asarray([place.value(item) for item, _ in self.weights])
        steps = np.cumsum([share for _, share in self.weights])
        steps = steps / steps[-1]

        def quantile(share: Array) -> Array:
            return values[np.minimum(np.searchsorted(steps, share, side="right"), len(values) - 1)]

        middle = float(quantile(np.asarray(0.5)))
        return Law("distribution", float(values[0]), float(values[-1]), middle, place.integer, quantile)

    def __str__(self) -> str:
        return f"discrete({', '.join(f'{written(item)}: {share:g}' for item, share in self.weights)})"


def _cut(place: Place, middle: float, sd: float | None, log_sd: float | None) -> Law:
    """Return a normal (or lognormal) distribution within what a number may be."""
    bell = NormalDist(middle, sd) if sd is not None else NormalDist(math.log(middle), log_sd or 0.0)
    floor = place.low if sd is not None else math.log(place.low) if place.low > 0 else -math.inf
    roof = place.high if sd is not None or math.isinf(place.high) else math.log(place.high)
    below = 0.0 if math.isinf(floor) else bell.cdf(floor)
    above = 0.0 if math.isinf(roof) else 1 - bell.cdf(roof)
    cut = below + above
    if cut > MOST_CUT:
        raise InputError(
            f"{cut:.0%} of the distribution lie outside of what it may be", path=place.name,
            hint="choose a distribution of numbers that it may be, such as Uniform or Triangular",
        )  # fmt: skip

    def quantile(share: Array) -> Array:
        inside = np.clip(below + np.asarray(share, dtype=float) * (1 - cut), 2**-53, 1 - 2**-53)
        standard = np.asarray([STANDARD.inv_cdf(item) for item in inside.reshape(-1)]).reshape(inside.shape)
        raw = bell.mean + bell.stdev * standard
        return np.clip(raw if sd is not None else np.exp(raw), place.least(), place.high)

    side = " and ".join(
        text for share, text in ((below, f"below {place.show(place.low)}"), (above, f"above {place.show(place.high)}"))
        if share > WORTH_SAYING
    )  # fmt: skip
    note = f"{cut:.2%} of the distribution, {side}, is cut off" if side else ""
    return Law("distribution", place.low, place.high, middle, False, quantile, note)


# text -----------------------------------------------------------------------------------------------------------------
KINDS: dict[str, type[Uncertain]] = {kind.word: kind for kind in (Between, Uniform, Triangular, Normal, LogNormal)}
_CALL = re.compile(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*", re.DOTALL)
_BARE = re.compile(rf"\s*[+-]?{NUMBER}\s*")
_PLUS_MINUS = re.compile(r"\+-|\+/-|±")
FORMS = "'2.9 .. 3.4 TB/s', '3.2 +- 0.1 TB/s', 'uniform(0.4, 0.6)', 'triangular(1, 2, 4)', 'lognormal(0.5, 1.2)' or " \
        "'discrete(1: 0.5, 2: 0.5)'"  # fmt: skip


def is_uncertain_text(text: str) -> bool:
    """Return whether a text is meant as an uncertain number: no quantity and no name of the catalog looks like one."""
    call = _CALL.fullmatch(text)
    return ".." in text or _PLUS_MINUS.search(text) is not None or call is not None


def uncertain_number(text: str) -> Uncertain:
    """Read an uncertain number from text; a unit at the end holds for all numbers that have none.

    Args:
        text: such as ``2.9 .. 3.4 TB/s`` (an interval), ``3.2 +- 0.1 TB/s`` (normally distributed, with the standard
            deviation), ``uniform(0.4, 0.6)``, ``triangular(low, mode, high)``, ``lognormal(median, factor)`` or
            ``discrete(1: 0.5, 2: 0.5)``.
    Raises:
        ParseError: it is none of these. UnknownNameError: there is no distribution of this name.
    """
    if not isinstance(text, str):
        raise InputError(f"expected the text of an uncertain number, got {type(text).__name__}", hint=FORMS)
    call = _CALL.fullmatch(text)
    if call is not None:
        name, inside = call[1].lower(), [part.strip() for part in call[2].split(",")]
        if name == Discrete.word:
            return _discrete(text, inside)
        if name not in KINDS:
            raise UnknownNameError("distribution", call[1], [*KINDS, Discrete.word])
        wanted = len(fields(KINDS[name]))  # type: ignore[arg-type]
        if len(inside) != wanted or not all(inside):
            names = ", ".join(item.name for item in fields(KINDS[name]))  # type: ignore[arg-type]
            raise ParseError(f"{name} takes {wanted} numbers: {name}({names})", text=text)
        if name == LogNormal.word:
            return LogNormal(*inside)
        return KINDS[name](*_with_unit(inside))
    parts = _PLUS_MINUS.split(text)
    if len(parts) == 2:
        mean, sd = (part.strip() for part in parts)
        return Normal(*((mean, sd) if sd.endswith("percent") and not _BARE.fullmatch(mean) else _with_unit([mean, sd])))
    ends = [part.strip() for part in text.split("..")]
    if len(ends) == 2 and all(ends):
        return Between(*_with_unit(ends))
    raise ParseError("expected an uncertain number", text=text, hint=FORMS)


def _with_unit(texts: list[str]) -> list[str]:
    """Return numbers with the unit of the last where they have none."""
    match = re.match(rf"\s*[+-]?{NUMBER}\s*", texts[-1])
    unit = texts[-1][match.end() :] if match else ""
    return [f"{text} {unit}".strip() if _BARE.fullmatch(text) else text for text in texts]


def _discrete(text: str, inside: list[str]) -> Discrete:
    pairs = [part.rpartition(":") for part in inside]
    if not all(colon and value.strip() for value, colon, _ in pairs):
        raise ParseError("discrete takes value: weight, ...", text=text, hint="for example 'discrete(1: 0.5, 2: 0.5)'")
    values = [value.strip() for value, _, _ in pairs]
    if len(set(values)) != len(values):
        raise ParseError("a value stands twice", text=text)
    return Discrete(dict(zip(_with_unit(values), (weight.strip() for *_, weight in pairs), strict=True)))


def place_of_number(
    name: str, dimension: Dimension, low: float, high: float, *, integer: bool, open_low: bool = False
) -> Place:
    """Return the place of a number that is no input: of an entry of the catalog, by its path."""

    def check(text: str) -> float:
        number = to_si(text, dimension, name)
        if integer and not number.is_integer():
            raise InputError(f"expected a whole number, got {text}", path=name)
        if number < low or number > high or (open_low and number == low):
            unit = "" if dimension == NONE else f" {base_unit(dimension).text}"
            limit = f"{'above' if open_low else 'at least'} {low:g}{unit}"
            raise InputError(
                f"{text} is not {limit}" + ("" if math.isinf(high) else f" and at most {high:g}{unit}"), path=name
            )
        return number

    return Place(name, dimension, integer, low, high, open_low, check)
