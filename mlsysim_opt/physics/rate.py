"""Rates that people print beside a unit of their own: ``f"{result.throughput:>8.0f} img/s"``."""

from __future__ import annotations

import copyreg
import functools
from typing import TYPE_CHECKING, Any

from mlsysim_opt.units import NUMERIC_FORMAT, registry

if TYPE_CHECKING:
    from pint import Quantity


@functools.cache
def _rate_type() -> Any:
    base: Any = registry().Quantity

    class Rate(base):  # type: ignore[misc]
        """A quantity per time; a purely numeric format specification writes its number alone."""

        def __format__(self, spec: str) -> str:
            if self.dimensionality.get("[second]", 0) < 0 and NUMERIC_FORMAT.fullmatch(spec):
                return format(self.magnitude, spec)
            return str(super().__format__(spec))

    copyreg.pickle(Rate, _reduce)
    return Rate


def rate(value: Quantity[float]) -> Quantity[float]:
    """Return the same quantity, whose number stands alone under a numeric format specification."""
    made: Quantity[float] = _rate_type()(value.magnitude, value.units)
    return made


def _reduce(item: Any) -> tuple[Any, ...]:
    return rate, (registry().Quantity(item.magnitude, item.units),)
