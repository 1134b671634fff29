"""Tables that users give: rows as mappings, or the name of a CSV file. Each cell is checked by its column's input."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlsysim_opt.errors import FileError, InputError, UnknownNameError
from mlsysim_opt.physics.inputs import REQUIRED, Input, Number
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.importers.tables import Table, printable
from mlsysim_opt.units import NONE

MOST_ROWS = 100_000
_HEAD = re.compile(r"(?P<name>[^\[]*?)\s*(?:\[(?P<unit>[^\]]*)\])?")
_LABEL = re.compile(r"[\w .+/@-]{1,80}")


@dataclass(frozen=True)
class Label(Input):
    """A name that a user gives to something."""

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or (not _LABEL.fullmatch(value) and value):
            shown = printable(value) if isinstance(value, str) else repr(value)
            raise InputError(f"{shown} is no name", path=self.name, hint="letters, digits, spaces and _.+/@-")
        return value.strip()


@dataclass(frozen=True)
class Several(Input):
    """One value or several different ones, each checked by `each`: candidates to choose among."""

    fixed = False
    each: Input = field(default_factory=lambda: Label("name"))

    def check(self, value: Any) -> tuple[Any, ...]:
        several = list(value) if isinstance(value, list | tuple | range | set) else [value]
        if not several:
            raise InputError("the set of candidates is empty", path=self.name)
        return tuple(dict.fromkeys(self.each.read(item) for item in several))

    def plain(self, value: Iterable[Any]) -> list[Any]:
        return [self.each.plain(item) for item in value]


def given_table(path: str | os.PathLike[str], name: str) -> Table:
    """Return the CSV file of a given.

    Raises:
        FileError: it cannot be read; says of which given it is. CatalogError: it is no table.
    """
    try:
        return Table(path)
    except FileError as error:
        error.path = f"{name}: {error.path}"
        raise


@dataclass(frozen=True)
class Rows(Input):
    """A table: a list of mappings, or a CSV file by its name, whose header may state units (``ttft [ms]``).

    Attributes:
        columns: what each row has; cells of those with a default may be absent or empty.
    """

    fixed = False
    verbatim = True
    columns: tuple[Input, ...] = ()

    def check(self, value: Any) -> tuple[dict[str, Any], ...]:
        if isinstance(value, str | os.PathLike):
            rows: Iterator[tuple[str, Mapping[str, Any]]] = self._of_file(value)
        elif isinstance(value, Sequence) and all(isinstance(item, Mapping) for item in value):
            rows = ((f"{self.name}[{at}]", row) for at, row in enumerate(value))
        else:
            raise InputError(
                f"expected rows or the name of a CSV file, got {type(value).__name__}",
                path=self.name,
                hint="rows are mappings: " + repr([{item.name: "..." for item in self.columns[:3]}]),
            )
        found = [self._row(place, row) for place, row in rows]
        if not found:
            raise InputError("has no rows", path=self.name)
        if len(found) > MOST_ROWS:
            raise InputError(f"has {len(found):,} rows, {MOST_ROWS:,} at most are read", path=self.name)
        return tuple(found)

    def plain(self, value: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {item.name: _plain_cell(item, row[item.name]) for item in self.columns if row[item.name] is not None}
            for row in value
        ]

    def _of_file(self, path: str | os.PathLike[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        table = given_table(path, self.name)
        heads = [self._head(table, text) for text in table.columns]
        if len({name for name, _ in heads}) < len(heads):
            raise table.fault("has two columns of one name", table.line)
        for row in table.rows():
            cells = {}
            for (name, unit), text in zip(heads, row.values(), strict=True):
                if text:
                    cells[name] = f"{text} {unit}" if unit else text
            yield f"{table.label} line {table.line}", cells

    def _head(self, table: Table, text: str) -> tuple[str, str]:
        parts = _HEAD.fullmatch(text)
        name = (parts["name"] if parts else text).strip()
        if name not in {item.name for item in self.columns}:
            known = ", ".join(item.name for item in self.columns)
            raise table.fault(f"column {printable(text)} is not known; known are {known}", table.line)
        return name, ((parts["unit"] if parts else None) or "").strip()

    def _row(self, place: str, row: Mapping[str, Any]) -> dict[str, Any]:
        names = [item.name for item in self.columns]
        for name in row:
            if name not in names:
                raise UnknownNameError(f"column of {self.name}", str(name), names, path=place)
        found: dict[str, Any] = {}
        for item in self.columns:
            value = row.get(item.name)
            if value is None and item.default is REQUIRED:
                raise InputError(f"{item.name} is missing ({item.about})", path=place)
            try:
                found[item.name] = item.default if value is None else item.check(_number(item, value))
            except InputError as error:
                error.path = f"{place}: {item.name}"
                raise
        return found


def _number(item: Input, value: Any) -> Any:
    """Return the text of a cell that a plain number stands in as that number."""
    if isinstance(item, Number) and item.of == NONE and isinstance(value, str):
        try:
            return int(value) if value.strip().lstrip("+").isdigit() else float(value)
        except ValueError:
            return value
    return value


def _plain_cell(item: Input, value: Any) -> Any:
    """Return a checked cell as JSON data; where a number may be an entry of the catalog, its name."""
    return value.name if isinstance(value, Entry) else item.plain(value)
