"""Numbers of `placement` by accelerator, region and period: what is given goes before what the catalog says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mlsysim_opt.formulations.placement_givens import Array, ByRegion, parts_of
from mlsysim_opt.formulations.placement_periods import Grouping

from mlsysim_opt.errors import InputError, MissingFieldError, ScaleError
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import parse_unit

HOUR = 3600.0
MOST = 50_000_000
"""Means over runs that are held at once."""
SHOWN = 6
ERRORS = {
    "price": ("accelerator hours", "cost"), "price_elsewhere": ("accelerator hours", "cost"),
    "carbon_intensity": ("energy", "carbon"), "market_carbon_intensity": ("energy", "market-based carbon"),
    "electricity_price": ("energy", "cost"), "idle_power": ("node hours", "energy"),
}  # fmt: skip
"""Of numbers whose mean stands for several values: by what an error is multiplied, and of what it then is."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """One number for each accelerator, region and period, in base units; NaN where it is not known.

    Attributes:
        name: what it is. unit: a unit of its dimension. values: of shape (accelerators, regions, periods), the first of
            length 1 where it is the same for all accelerators. weights: how much each period counts; equally when None.
    """

    name: str
    unit: str
    values: Array
    weights: Array | None = None

    @property
    def steady(self) -> bool:
        """Whether it does not change over the periods."""
        return bool(np.array_equal(self.values.min(axis=2), self.values.max(axis=2), equal_nan=True))

    @property
    def mean(self) -> Array:
        """The mean over the periods."""
        return np.average(self.values, axis=2, weights=self.weights)

    def grouped(self, grouping: Grouping | None) -> Numbers:
        """Return the means over periods that are stood for by others."""
        if grouping is None:
            return self
        return replace(self, values=grouping.mean(self.values), weights=grouping.weights)

    def _check_size(self, lasting: Array) -> None:
        count = lasting.size * self.values.shape[1] * self.values.shape[2]
        if count > MOST:
            raise ScaleError(
                f"{count:,} means over runs are more than can be held",
                path="pauses", hint="with pauses=true jobs are placed hour by hour; or divide into fewer periods",
            )  # fmt: skip

    def at_ends(self, needed: Array) -> Array:
        """Return the number in the last period of a run, as `over_runs` does: by way, region and first period.

        Args:
            needed: periods in which it works, of shape (jobs, accelerators, ...); NaN where there is no run.
        """
        self._check_size(needed)
        count = self.values.shape[2]
        last = np.minimum(np.arange(count) + np.nan_to_num(needed, nan=1.0)[..., None] - 1, count - 1).astype(int)
        out = np.empty((*needed.shape, self.values.shape[1], count))
        for place in range(needed.shape[1]):
            mine = self.values[min(place, len(self.values) - 1)]
            out[:, place] = np.moveaxis(mine[:, last[:, place]], 0, -2)
        return out

    def over_runs(self, lasting: Array) -> Array:
        """Return the mean over a run for each way to run a job, region and period in which it begins.

        Args:
            lasting: periods that it takes, of shape (jobs, accelerators, ...); NaN where there is no run.
        """
        count = self.values.shape[2]
        self._check_size(lasting)
        sums = np.concatenate([np.zeros((*self.values.shape[:2], 1)), np.cumsum(self.values, axis=2)], axis=2)
        start = np.arange(count)
        end = np.minimum(start + lasting[..., None, None], count)
        whole = np.nan_to_num(np.floor(end)).astype(int)
        # for each accelerator its own numbers: the axis of accelerators is the second
        out = np.empty((*lasting.shape, self.values.shape[1], count))
        regions = np.arange(self.values.shape[1])[:, None]
        for place in range(lasting.shape[1]):
            mine = sums[min(place, len(sums) - 1)]
            each = self.values[min(place, len(sums) - 1)]
            at = np.broadcast_to(whole[:, place], (*whole[:, place].shape[:-2], len(regions), count))
            part = (np.broadcast_to(end[:, place], at.shape) - at) * each[regions, np.minimum(at, count - 1)]
            total = mine[regions, at] + part - mine[:, :-1]
            out[:, place] = total / (np.broadcast_to(end[:, place], at.shape) - start)
        return out


Aggregate = Callable[[Array], tuple[Array, float]]
"""What stands for the values of each period, of shape (periods, values), and how far one of them is from it at most."""


def mean_of(parts: Array) -> tuple[Array, float]:
    """Return the means, for what adds up over time."""
    means = parts.mean(axis=1)
    return means, float(np.max(np.abs(parts - means[:, None])))


def least_of(parts: Array) -> tuple[Array, float]:
    """Return the least, for limits: what keeps it keeps all of them."""
    least = parts.min(axis=1)
    return least, float(np.max(parts - least[:, None]))


def told_of_a_period(name: str, off: float, unit: str) -> str:
    """Return what stands for the values of a period of the plan, and the error that this makes at most."""
    shown = f"{off / parse_unit(unit).factor:.3g} {unit}"
    if name == "capacity":
        return f"the least of its values, of which one is {off:.3g} accelerators more at most: none is exceeded"
    if name == "reserved_price":
        return "the mean of its values, as nodes are held for the whole time"
    told = f"the mean of its values, from which one differs by {shown} at most"
    if name not in ERRORS:
        return told
    return f"{told}: that times the {ERRORS[name][0]} bounds the error of the {ERRORS[name][1]}"


def given_numbers(
    item: ByRegion, value: Any, accelerators: Sequence[Entry | None], regions: Sequence[Entry], periods: int,
    of: Aggregate = mean_of,
) -> tuple[Numbers, float]:  # fmt: skip
    """Return what is given, NaN where nothing is, and by how much a value differs most from what stands for it.

    Args:
        of: what stands for the values of a period.
    """
    found = np.full((len(accelerators), len(regions), periods), np.nan)
    off = 0.0
    for row, accelerator in enumerate(accelerators):
        for column, region in enumerate(regions):
            mine = item.number(value, accelerator.name if accelerator is not None else None, region.name)
            if mine is not None:
                found[row, column], distance = of(parts_of(mine, periods))
                off = max(off, distance)
    return Numbers(item.name, item.unit, found), off


def catalog_idle_power(nodes: Sequence[Entry]) -> tuple[Array, list[str]]:
    """Return what nodes draw when nothing runs on them, in W, and the same in words with where it is from.

    A node that states none has NaN.
    """
    values, told = np.full(len(nodes), np.nan), []
    for at, node in enumerate(nodes):
        try:
            found = node.parameter("idle_power")
        except MissingFieldError:
            told.append(f"{node.name}: not known")
            continue
        values[at] = found.si
        told.append(f"{node.name}: {found.text} ({'estimated' if found.estimated else 'published'})")
    return values, told


def profile_hours(region: Entry, month: int, hours: int) -> Array | None:
    """Return the carbon intensity of a region for so many hours of a month, from 0 h UTC; None without a profile."""
    catalog = default_catalog()
    for name in catalog.names("profile"):
        profile = catalog.find("profile", name)
        if profile.grid is not None and profile.grid.name == region.grid.name:
            day = np.array(profile.values[(month - 1) * 24 : month * 24]) * parse_unit(profile.unit).factor
            return np.tile(day, -(-hours // 24))[:hours]
    return None


def intensities(
    item: ByRegion, given: Any, regions: Sequence[Entry], periods: int, length: float | None, month: int | None
) -> tuple[Numbers, dict[str, str]]:
    """Return the carbon intensity of the grid, and what was assumed for it."""
    numbers, off = given_numbers(item, given, [None], regions, periods)
    assumed: dict[str, str] = {}
    flat: list[str] = []
    for place, region in enumerate(regions):
        if not np.isnan(numbers.values[0, place]).any():
            continue
        hours = None
        if month is not None and length is not None:
            count = periods * length / HOUR
            if abs(count - round(count)) > 1e-9 or round(count) % periods:
                raise InputError(f"a period is {length / HOUR:g} h; hourly profiles need whole hours", path="periods")
            hours = profile_hours(region, month, round(count))
        if hours is None:
            numbers.values[0, place] = region.parameter("carbon_intensity").si
            flat.append(region.name)
            continue
        numbers.values[0, place], distance = mean_of(hours.reshape(periods, -1))
        off = max(off, distance)
    if flat and (periods > 1 or month is not None):
        why = "no month is given" if month is None else "no hourly profile" if length is not None else "no duration"
        assumed["carbon_intensity"] = f"mean of the year ({why}): {several(flat)}"
    if off:
        assumed["carbon_intensity of a period"] = told_of_a_period(item.name, off, item.unit)
    return numbers, assumed


def catalog_prices(
    accelerators: Sequence[Entry], regions: Sequence[Entry], plan: str, elsewhere: Numbers | None, periods: int
) -> tuple[Array, dict[str, str]]:
    """Return the rent of each accelerator in each region and period by the catalog, and where it states none."""
    catalog = default_catalog()
    every: tuple[Any, ...] = catalog.all("price")
    found = np.full((len(accelerators), len(regions), periods), np.nan)
    notes: dict[str, str] = {}
    for row, accelerator in enumerate(accelerators):
        mine = [
            item for item in every
            if item.accelerator is not None and item.accelerator.name == accelerator.name and item.plan == plan
        ]  # fmt: skip
        for column, region in enumerate(regions):
            here = [item for item in mine if item.group == region.group and item.region == region.region]
            if here and region.region is not None:
                newest = max(here, key=lambda item: (item.date, -item.parameter("rate").si))
                found[row, column] = newest.parameter("rate").si
        lacking = [region.name for region, price in zip(regions, found[row, :, 0], strict=True) if np.isnan(price)]
        if not lacking:
            continue
        if elsewhere is not None and not np.isnan(elsewhere.values[row, :, 0]).all():
            place = np.isnan(found[row, :, 0])
            found[row, place] = elsewhere.values[row, place]
            notes[f"price of {accelerator.name}"] = f"price_elsewhere, not published: {several(lacking)}"
        else:
            notes[f"price of {accelerator.name}"] = f"none published, left out where cost counts: {several(lacking)}"
    return found, notes


def several(names: Sequence[str], between: str = ", ") -> str:
    """Return a list of names for people, the first few of a long one."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
