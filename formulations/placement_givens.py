"""What `placement` is given: jobs, demands, and numbers by accelerator, region and period."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlsysim_opt.formulations.fleet_givens import QUANTILE
from mlsysim_opt.formulations.givens import Counts, Names
from mlsysim_opt.formulations.rows import Label, given_table

from mlsysim_opt.errors import CatalogError, InputError
from mlsysim_opt.physics.inputs import Given, Input, Number, Text, check_all
from mlsysim_opt.registry.importers.tables import Table, printable
from mlsysim_opt.units import (
    CARBON,
    ENERGY,
    MONEY,
    POWER,
    REQUEST,
    TIME,
    TOKEN,
    divide,
)

Array = np.ndarray[Any, Any]
CATALOG = "catalog"
MOST_PERIODS = 8784


@dataclass(frozen=True)
class Records(Input):
    """Several things of one kind, each with inputs of its own: a list of mappings, or a mapping by name."""

    of: tuple[Input, ...] = ()
    one: str = "item"
    distinct: bool = True

    def check(self, value: Any) -> tuple[dict[str, Any], ...]:
        if isinstance(value, Mapping):
            value = (
                [value]
                if set(value) <= {item.name for item in self.of}
                else [{"name": name, **_mapping(item, f"{self.name}.{name}")} for name, item in value.items()]
            )
        if not isinstance(value, list | tuple):
            raise InputError(f"expected a list of {self.one}s, got {value!r}", path=self.name)
        found = []
        for place, item in enumerate(value, 1):
            given = {"name": f"{self.one} {place}", **_mapping(item, f"{self.name}.{place}")}
            try:
                found.append(check_all(self.of, given, {}, f"{self.one} {given['name']!r}"))
            except InputError as error:
                error.path = f"{self.name}.{given['name']}.{error.path}" if error.path else self.name
                raise
        names = [item["name"] for item in found]
        if self.distinct and len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"two are named {twice!r}", path=self.name)
        return tuple(found)

    def plain(self, value: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
        return [
            {item.name: item.plain(record[item.name]) for item in self.of if record[item.name] is not None}
            for record in value
        ]


def _mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"expected a mapping of names to values, got {value!r}", path=path)
    return dict(value)


@dataclass(frozen=True)
class Column:
    """A column of a CSV file: its values in a unit, from which file."""

    values: list[float]
    unit: str
    file: str


class Values(tuple[float, ...]):
    """A checked series.

    Attributes:
        file: where it is from; None where it was not a file.
    """

    file: str | None = None


def columns_of_file(path: str | os.PathLike[str], name: str) -> dict[str, Column]:
    """Return the columns of a CSV file by name; a header may state the unit: ``AWS_us_east_1 [USD/h]``.

    Args:
        name: of the given.
    Raises:
        FileError: the file cannot be read. CatalogError: a cell is no number, or a line between others is empty; says
            of which given.
    """
    try:
        return _columns(given_table(path, name), name)
    except CatalogError as error:
        place = f"{error.path} (line {error.line})" if error.line is not None else error.path
        raise CatalogError(f"{place}: {error.message}", path=name, hint=error.hint) from None


def _columns(table: Table, name: str) -> dict[str, Column]:
    heads = [head.partition("[") for head in table.columns]
    names = [name.strip() for name, _, _ in heads]
    if len(set(names)) < len(names):
        raise table.fault("has two columns of one name", table.line)
    values: list[list[float]] = [[] for _ in table.columns]
    before = table.line
    for row in table.rows():
        if table.line > before + 1:
            raise table.fault("has no value here, and more below: later ones would move up", before + 1,
                              "give every value; an estimate for what was not measured")  # fmt: skip
        before = table.line
        for column, (head, text) in zip(values, row.items(), strict=True):
            column.append(table.number(text, printable(head), low=-math.inf))
    units = [unit.rstrip("] ") for _, _, unit in heads]
    return {name: Column(each, unit, table.label) for name, unit, each in zip(names, units, values, strict=True)}


def is_file(value: Any) -> bool:
    """Return whether a given is the name of a CSV file."""
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value.lower().endswith(".csv"))


@dataclass(frozen=True)
class Series(Number):
    """A number, or one for each of some equal spans of time: a list, ``{values: [...], unit: ...}``, or a CSV file by
    its name, with one column."""

    fixed = False
    verbatim = True

    def check(self, value: Any) -> Any:
        if is_file(value):
            columns = columns_of_file(value, self.name)
            if len(columns) > 1:
                raise InputError(f"{value} has {len(columns)} columns, and one is wanted", path=self.name)
            (value,) = columns.values()
        file = None
        if isinstance(value, Column):
            file, value = value.file, {"values": value.values, "unit": value.unit}
        if isinstance(value, Mapping) and set(value) == {"values", "unit"}:
            unit = value["unit"]
            value = [f"{item!r} {unit}" if isinstance(item, int | float) else item for item in value["values"]]
        if isinstance(value, list | tuple):
            if not value:
                raise InputError("the list is empty", path=self.name)
            found = Values(super(Series, self).check(item) for item in value)
            found.file = file
            return found
        return super().check(value)

    def plain(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self.plain(item) for item in value]
        return super().plain(value)


@dataclass(frozen=True)
class ByRegion(Series):
    """A number, a series, or one of them for each region, for each accelerator, or for both (accelerator first).

    A CSV file has a column for each region (or accelerator), with its name and unit in the header.
    """

    catalog: bool = False
    by_accelerator: bool = True

    def check(self, value: Any) -> Any:
        if self.catalog and value == CATALOG:
            return CATALOG
        if is_file(value):
            value = columns_of_file(value, self.name)
        if not isinstance(value, Mapping) or set(value) == {"values", "unit"}:
            return super().check(value)
        found: dict[str, Any] = {}
        kinds = ("accelerator", "datacenter") if self.by_accelerator else ("datacenter",)
        named = Given(self.name, kind=kinds[0], also=kinds[1:])
        for name, item in value.items():
            entry = named.check(name)
            if entry.kind == "accelerator":
                found[entry.name] = self.check(item)
            else:
                found[entry.name] = super().check(item)
        return found

    def plain(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self.plain(item) for name, item in value.items()}
        return value if value == CATALOG else super().plain(value)

    def number(self, value: Any, accelerator: str | None, region: str) -> Any:
        """Return what is given for an accelerator in a region: a number, a series, or None."""
        if isinstance(value, Mapping) and accelerator in value:
            value = value[accelerator]
        return value.get(region) if isinstance(value, Mapping) else value


HOURLY = divide(MONEY, TIME)
RATE = divide(REQUEST, TIME)
INTENSITY = divide(CARBON, ENERGY)

MEASURED: tuple[Input, ...] = (
    Text("name", "what it is called"),
    Given("accelerator", "what it runs on", kind="accelerator"),
    Number("nodes", "nodes it holds", integer=True, low=1),
    Number("time", "wall-clock time it takes", unit="h", of=TIME, open_low=True),
    Number("node_power", "mean power of one of its nodes; the node's busy power when absent", default=None, unit="W",
           of=POWER, open_low=True),
)  # fmt: skip

JOB: tuple[Input, ...] = (
    Text("name", "what it is called"),
    Given("model", "what is trained", default=None, kind="model"),
    Number("token_budget", "tokens to train on", default=None, unit="token", of=TOKEN, open_low=True),
    Number("global_batch_size", "sequences per optimizer step", default=None, integer=True, low=1, high=2**31),
    Number("seq_len", "tokens per sequence", default=None, integer=True, low=1, high=2**31),
    Text("precision", "number format", default="bf16", of_kind="numerics"),
    Number("goodput", "share of time not lost to failures", default=1.0, high=1.0, open_low=True),
    Counts("nodes", "node counts to choose among; those of the plan when absent", default=None),
    Names("accelerators", "accelerators to choose among; those of the plan when absent", default=None,
          kind="accelerator"),
    Names("regions", "where it may run (data residency); anywhere when absent", default=None, kind="datacenter"),
    Number("start", "time before which it does not run", default="0 h", unit="h", of=TIME),
    Number("deadline", "time by which it must be done; the end of the plan when absent", default=None, unit="h",
           of=TIME, open_low=True),
    Records("designs", "measured ways to run it, in place of model, tokens and batch", default=None, of=MEASURED,
            one="design", distinct=False),
)  # fmt: skip

DEMAND: tuple[Input, ...] = (
    Text("name", "what it is called"),
    Given("model", "what is served", default=None, kind="model"),
    Series("rate", "requests that come, over time", unit="request/s", of=RATE),
    Number("input_len", "tokens of a prompt", default=None, integer=True, low=1, high=2**31),
    Number("output_len", "tokens of an answer", default=None, integer=True, low=1, high=2**31),
    Text("precision", "number format", default="bf16", of_kind="numerics"),
    Label("origin", "where requests come from; its round trips are then part of TTFT and latency", default=None),
    Number("ttft", "longest time to the first token at the quantile", default=None, unit="ms", of=TIME, open_low=True),
    Number("itl", "longest mean time between tokens", default=None, unit="ms", of=TIME, open_low=True),
    Number("latency", "longest time to the last token at the quantile", default=None, unit="ms", of=TIME,
           open_low=True),
    QUANTILE,
    Names("accelerators", "accelerators to choose among; those of the plan when absent", default=None,
          kind="accelerator"),
    Names("regions", "where it may be served (data residency, latency); anywhere when absent", default=None,
          kind="datacenter"),
    Number("requests_per_device", "measured: requests an accelerator serves per time at full load, in place of model "
           "and lengths", default=None, unit="request/s", of=RATE, open_low=True),
)  # fmt: skip


def series_given(values: Mapping[str, Any], inputs: Sequence[Input]) -> Iterator[tuple[str, Values]]:
    """Yield every series that is given, with its place."""
    for item in inputs:
        if isinstance(item, ByRegion):
            yield from series_in(item.name, values[item.name])
    for demand in values["demands"] or ():
        yield from series_in(f"demands.{demand['name']}.rate", demand["rate"])


def series_in(place: str, value: Any) -> Iterator[tuple[str, Values]]:
    """Yield every series of a number that may be by region and accelerator, with its place."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from series_in(f"{place}.{name}", item)
    elif isinstance(value, Values) and len(value) > 1:
        yield place, value


def settled_periods(values: Mapping[str, Any], inputs: Sequence[Input]) -> int:
    """Return the number of periods: as it is given, or as many as the longest series has values.

    Raises:
        InputError: a series does not fit; names it, and its file.
    """
    found = list(series_given(values, inputs))
    asked: int | None = values["periods"]
    place, longest = max(found, key=lambda item: len(item[1]), default=("", (0.0,)))
    periods = asked or len(longest)
    if periods > MOST_PERIODS:
        raise InputError(
            f"has {periods} values, and {MOST_PERIODS} periods are planned at most", path=place,
            hint="give periods, of which its length is a multiple: each then stands for several values",
        )  # fmt: skip
    for place, series in found:
        if len(series) % periods:
            of = f"{series.file} " if series.file else ""
            why = "" if asked else ", as many as the longest series has values"
            raise InputError(f"{of}has {len(series)} values for {periods} periods{why}", path=place,
                             hint="give as many, or a multiple of them")  # fmt: skip
    return periods


def parts_of(value: Any, periods: int) -> Array:
    """Return the values of each period of a number or a checked series, of shape (periods, values)."""
    series = np.atleast_1d(np.asarray(value, dtype=float))
    return np.full((periods, 1), series[0]) if len(series) == 1 else series.reshape(periods, -1)
