"""Type of an hourly profile of a grid: how its carbon intensity runs through the day, month by month."""

from __future__ import annotations

import calendar
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt import units
from mlsysim_opt.errors import InputError
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import CarbonIntensity, Reference, fault
from mlsysim_opt.registry.sites import Grid

if TYPE_CHECKING:
    from pint import Quantity

    GridReference: TypeAlias = Grid
else:
    GridReference = Annotated[Grid, Reference("grid")]

MONTHS, HOURS = 12, 24
UNIT = "gCO2e/kWh"
NEAR = 0.01
"""The stated mean of the year and that of the table may differ by this share (rounding, hours without data)."""


def _table(raw: Any) -> tuple[float, ...]:
    if not isinstance(raw, list | tuple):
        raise fault(InputError(f"expected a list of {MONTHS * HOURS} numbers, got {type(raw).__name__}"))
    if len(raw) != MONTHS * HOURS:
        raise fault(
            InputError(
                f"expected {MONTHS * HOURS} numbers ({MONTHS} months of {HOURS} hours, January first), got {len(raw)}"
            )
        )
    for place, value in enumerate(raw):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            where = f"month {place // HOURS + 1}, hour {place % HOURS}"
            raise fault(InputError(f"{where}: expected a number from zero, got {value!r}"))
    return tuple(float(value) for value in raw)


def _unit(raw: Any) -> str:
    try:
        if units.dimension(raw) == units.dimension(UNIT):
            return str(raw)
    except InputError as problem:
        raise fault(problem) from None
    raise fault(InputError(f"{raw!r} is not a unit of carbon per energy", hint=f"such as {UNIT}"))


class Profile(Entry):
    """Mean carbon intensity of a grid for each month and hour of the day (UTC) of one year.

    Attributes:
        zone: the grid as the publisher names it. grid: the grid of the catalog it belongs to.
        basis: whether building the plants and bringing the fuel count (life cycle), or only burning it (direct).
        mean: over all hours of the year.
        values: 288 numbers in `unit`: the 24 hours of January, then those of February, and so on.
    """

    kind: ClassVar[str] = "profile"

    zone: str
    grid: GridReference | None = None
    year: Annotated[int, Field(ge=1990, le=2100)]
    basis: Literal["life cycle", "direct"]
    mean: CarbonIntensity
    unit: Annotated[str, BeforeValidator(_unit)]
    values: Annotated[tuple[float, ...], BeforeValidator(_table)]

    @model_validator(mode="after")
    def _mean_is_near(self) -> Self:
        stated = self.__dict__["mean"].si / units.parse_unit(self.unit).factor
        found = self._over(range(1, MONTHS + 1), range(HOURS))
        if abs(found - stated) > NEAR * max(stated, 1.0):
            raise PydanticCustomError(
                "catalog", "the stated mean is {stated} but the hours give {found} {unit}",
                {"stated": f"{stated:g}", "found": f"{found:.4g}", "unit": self.unit},
            )  # fmt: skip
        return self

    def _over(self, months: Iterable[int], hours: Iterable[int]) -> float:
        """Return the mean over these hours of these months, each month by its days, as a number in `unit`."""
        chosen = list(hours)
        days = {month: calendar.monthrange(self.year, month)[1] for month in months}
        total = sum(self.values[(month - 1) * HOURS + hour] * count for month, count in days.items() for hour in chosen)
        return total / (sum(days.values()) * len(chosen))

    def at(self, month: int, hour: int) -> Quantity[float]:
        """Return the mean intensity of a month (1 to 12) at an hour of the day (0 to 23, UTC).

        Raises:
            InputError: there is no such month or hour.
        """
        return self.mean_between(hour, 1, [month])

    def mean_between(self, start_hour: int, hours: int = HOURS, months: Iterable[int] | None = None) -> Quantity[float]:
        """Return the mean intensity of a daily window: `hours` hours from `start_hour` (UTC), over midnight if need be.

        Args:
            start_hour: 0 to 23. hours: 1 to 24. months: 1 to 12; the whole year when absent.
        Raises:
            InputError: one of them is out of range.
        """
        chosen = range(1, MONTHS + 1) if months is None else list(months)
        _check("start_hour", start_hour, 0, HOURS - 1)
        _check("hours", hours, 1, HOURS)
        for month in chosen:
            _check("month", month, 1, MONTHS)
        if not chosen:
            raise InputError("no month is given", path="months")
        window = [(start_hour + step) % HOURS for step in range(hours)]
        unit = units.parse_unit(self.unit)
        return units.quantity(self._over(chosen, window) * unit.factor, unit)

    def cleanest_start(self, hours: int, months: Iterable[int] | None = None) -> int:
        """Return the hour of the day (UTC) at which a daily window of so many hours emits least; see `mean_between`."""
        chosen = None if months is None else list(months)
        return min(range(HOURS), key=lambda start: self.mean_between(start, hours, chosen).magnitude)


def _check(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"expected a whole number from {low} to {high}, got {value!r}", path=name)
