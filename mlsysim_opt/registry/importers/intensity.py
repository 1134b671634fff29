"""Carbon intensity of a grid from a time series, such as the files of Electricity Maps."""

from __future__ import annotations

import calendar
import datetime
import os
from collections import Counter
from typing import Literal

from mlsysim_opt.errors import CatalogError, InputError
from mlsysim_opt.registry.entry import NAME, NAME_RULE
from mlsysim_opt.registry.importers.tables import Table, printable, quoted
from mlsysim_opt.registry.profiles import HOURS, MONTHS

TIMES = ("datetime_utc", "Datetime (UTC)", "timestamp", "datetime", "point_time", "time", "date")
VALUES = (
    "Carbon intensity gCO\u2082eq/kWh (Life cycle)", "Carbon intensity gCO2eq/kWh (Life cycle)",
    "Carbon Intensity gCO\u2082eq/kWh (LCA)", "Carbon Intensity gCO2eq/kWh (LCA)", "life_cycle",
    "carbon_intensity", "carbonIntensity", "carbon_intensity_avg", "gCO2e/kWh", "gCO2eq/kWh", "intensity", "avg_CI",
    "value", "Carbon intensity gCO\u2082eq/kWh (direct)", "Carbon intensity gCO2eq/kWh (direct)",
    "Carbon Intensity gCO\u2082eq/kWh (direct)", "Carbon Intensity gCO2eq/kWh (direct)", "direct",
)  # fmt: skip
FACTORS = {"gCO2e/kWh": 1.0, "kgCO2e/MWh": 1.0, "kgCO2e/kWh": 1000.0, "lb/MWh": 0.45359237}
"""Units of the file, in gCO2e/kWh; one pound is 0.45359237 kg."""
HIGHEST = 5000.0
"""gCO2e/kWh: no grid is near it; a number above is in another unit."""
LOWEST_MEAN = 1.0
"""gCO2e/kWh: no grid is as clean over a year (hydropower alone is above 4); such a mean is in another unit."""
BASES = ("life cycle", "direct")


def import_intensity(
    path: str | os.PathLike[str],
    name: str,
    *,
    column: str | None = None,
    unit: str = "gCO2e/kWh",
    basis: Literal["life cycle", "direct"] | None = None,
    kind: Literal["profile", "grid"] = "profile",
) -> str:
    """Return the carbon intensity of a grid over one year as a file of the catalog (YAML text).

    Args:
        path: a CSV file with a time (ISO 8601; UTC where no offset is written) and an intensity in each row, hourly or
            finer.
        name: the name of the entry. column: the column of the intensity, where it is not one of the usual.
        unit: of that column: gCO2e/kWh, kgCO2e/MWh, kgCO2e/kWh, or lb/MWh (as of WattTime).
        basis: whether plants and fuel supply count (life cycle) or only what is burnt (direct); needed unless the
            column's name says it.
        kind: ``profile`` for the means of each month and hour, ``grid`` for the mean of the year alone.
    Returns:
        the text; the mean is that of the 288 means, months weighted by their days.
    Raises:
        CatalogError: the file cannot be read, a column is missing, a time or a number is not one or stands twice, or an
            hour of some month has no value. InputError: another argument is not acceptable, the basis is not known, or
            the mean is so low that the unit must be another.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot be a name", path="name", hint=NAME_RULE)
    if unit not in FACTORS:
        raise InputError(f"{unit!r} is not a unit of such files", path="unit", hint="one of " + ", ".join(FACTORS))
    table = Table(path)
    at = table.column(*TIMES, wanted="the time")
    of = table.column(*((column,) if column else VALUES), wanted="the carbon intensity")
    cells: dict[int, dict[tuple[int, int], list[float]]] = {}
    rows: Counter[int] = Counter()
    seen: set[datetime.datetime] = set()
    for row in table.rows():
        moment = _moment(table, row[at])
        if moment in seen:
            raise table.fault(f"{at}: {printable(row[at])} stands twice", table.line)
        seen.add(moment)
        if not row[of]:
            continue
        value = table.number(row[of], of) * FACTORS[unit]
        if value > HIGHEST:
            raise table.fault(
                f"{of}: {printable(row[of])} {unit} is more than any grid emits", table.line, "is it in another unit?"
            )
        rows[moment.year] += 1
        cells.setdefault(moment.year, {}).setdefault((moment.month, moment.hour), []).append(value)
    if not rows:
        raise CatalogError("has no row with a value", path=table.label)
    year = rows.most_common(1)[0][0]
    known = {place: sum(values) / len(values) for place, values in cells[year].items()}
    gaps = [(month, hour) for month in range(1, MONTHS + 1) for hour in range(HOURS) if (month, hour) not in known]
    if gaps:
        month, hour = gaps[0]
        raise CatalogError(
            f"has no value in {year} for hour {hour} (UTC) of month {month}, nor for {len(gaps) - 1} other hours",
            path=table.label,
            hint="a whole year is needed",
        )
    meaning = basis or _basis(of)
    days = [calendar.monthrange(year, month)[1] for month in range(1, MONTHS + 1)]
    total = sum(known[month + 1, hour] * days[month] for month in range(MONTHS) for hour in range(HOURS))
    mean = total / (HOURS * sum(days))
    if mean < LOWEST_MEAN:
        raise InputError(
            f"with {unit}, the mean of {printable(of)} is {mean:.3g} gCO2e/kWh, less than that of any grid",
            path="unit",
            hint="the column is in another unit: give it (--unit), one of " + ", ".join(FACTORS),
        )
    other = sum(count for item, count in rows.items() if item != year)
    note = f"# {rows[year]} values of {year}" + (f"; {other} of other years are left out" if other else "") + "\n"
    locator = f"mean by month and hour of the day of column {printable(of)} ({meaning})"
    source = (
        f"sources:\n  series: {{title: {quoted('Time series of carbon intensity, ' + _stem(table.label))}, "
        f'locator: {quoted(locator)}, date: "{year}"}}\n'
    )
    head = f"{note}kind: {kind}\n{source}entries:\n  {name}:\n    title: {quoted(f'{name}, {year}')}\n"
    if kind == "grid":
        return f"{head}    source: series\n    carbon_intensity: {mean:.6g} gCO2e/kWh\n    year: {year}\n"
    listed = [", ".join(f"{known[month, hour]:.6g}" for hour in range(HOURS)) for month in range(1, MONTHS + 1)]
    return (
        f"{head}    source: series\n    zone: {quoted(name)}\n    year: {year}\n    basis: {meaning}\n"
        f"    mean: {mean:.6g} gCO2e/kWh\n    unit: gCO2e/kWh\n    values: [" + ",\n             ".join(listed) + "]\n"
    )


def _basis(column: str) -> str:
    """Return what a column says of what counts.

    Raises:
        InputError: it says nothing.
    """
    words = column.casefold().replace("_", " ")
    if "direct" in words:
        return "direct"
    if "life cycle" in words or "(lca)" in words:
        return "life cycle"
    hint = "give basis (--basis), one of 'life cycle' (plants and fuel supply count), 'direct' (only what is burnt)"
    raise InputError(f"column {printable(column)} does not say what counts", path="basis", hint=hint)


def _stem(label: str) -> str:
    name = os.path.basename(label)
    return name if name.isprintable() else ascii(name)


def _moment(table: Table, text: str) -> datetime.datetime:
    """Return a time in UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=datetime.UTC)
        return moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise table.fault(f"expected a time such as 2024-05-31T13:00:00Z, got {printable(text)}", table.line) from None
