"""Published measurements as rows: read from YAML or CSV files of others, safely, into one form.

A YAML file holds ``meta`` and ``rows``, each row with ``id``, ``group``, ``inputs``, ``measured``, ``source`` and
perhaps ``flags``; files that hold tables under other names (``chinchilla_table3``, ``peaks_measured``) are read by
`TABLES`. In a CSV file every line is a row; `MEASURED_COLUMNS` are what was measured, all other columns are inputs.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlsysim_opt.errors import InputError
from mlsysim_opt.registry.yaml_io import Document, read_text, read_yaml

MAX_ROWS = 200_000
MEASURED_COLUMNS = ("ttft_ms", "tpot_ms", "est_output_tok_s", "latency_us", "busbw_gbs")
SETS = {
    "A": "training", "A-memory": "memory", "B": "inference", "C": "reliability", "D": "energy", "E": "scaling",
    "F": "network",
}  # fmt: skip
"""What the collectors' letters for sets of rows stand for."""
TABLES = {
    "chinchilla_table3": ("scaling", ("tokens",)), "trained_points": ("scaling", ("flops",)),
    "peaks_measured": ("network", ("all_reduce_busbw_gbs", "small_message_latency_us")),
    "reference_values": ("network", ("busbw_gbs", "value_gbs")),
}  # fmt: skip
"""Tables under a name of their own: their subject, and which of their columns were measured."""
CSV_SUBJECTS = {"tpot_ms": "silicon", "busbw_gbs": "collectives"}
"""The subject of a CSV file, by a column that only it has."""


MOST = 2**53
"""Numbers beyond are no counts, lengths or rates of any system, and not exact as floating-point numbers."""
WORK = ("flop", "flops")
"""The ends of names of amounts of work, which are larger."""
NOTHING_MEASURED = "nothing was measured as a positive number"


class Unmodelled(Exception):
    """No model describes a row (yet), or the row leaves open what one needs; the text says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return (Unmodelled, (self.reason,))


@dataclass(frozen=True)
class Row:
    """One published measurement.

    Attributes:
        id: its name in the file. group: the series it belongs to.
        subject: what it is about (training, memory, inference, silicon, energy, reliability, scaling, network ...).
        inputs: the configuration, as published. measured: what was measured, by name (the unit is part of it).
        flags: why it should be read before it is scored; empty for most.
        source: where it was published. file: where it stands; models.yaml and hardware.yaml lie beside it.
    """

    id: str
    group: str
    subject: str
    inputs: Mapping[str, Any]
    measured: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    source: str = ""
    file: Path = field(default=Path(), compare=False)

    @property
    def folder(self) -> Path:
        """Where its file lies."""
        return self.file.parent

    @property
    def family(self) -> str:
        """The group without what is measured of it: rows of memory are of the same jobs as those of time."""
        return self.group.removeprefix("measured-")

    def need(self, name: str) -> Any:
        """Return an input.

        Raises:
            Unmodelled: the row does not state it.
        """
        value = self.inputs.get(name)
        if value is None:
            raise Unmodelled(f"{name} not stated")
        return value

    def number(self, name: str) -> float:
        """Return an input that is a number.

        Raises:
            Unmodelled: the row does not state it, or not as a number.
        """
        value = self.need(name)
        if not _is_number(value):
            raise Unmodelled(f"{name} is no number: {shown(value)}")
        _check_size(name, value)
        return float(value)

    def count(self, name: str, default: int | None = None) -> int:
        """Return an input that counts something.

        Args:
            name: of the input. default: what it is where the row does not state it.
        Raises:
            Unmodelled: it is no whole number from 1, or is not stated and has no default.
        """
        if default is not None and self.inputs.get(name) is None:
            return default
        value = self.number(name)
        if value < 1 or not value.is_integer():
            raise Unmodelled(f"{name} is no positive whole number: {shown(self.inputs[name])}")
        return int(value)

    def switch(self, name: str, default: bool) -> bool:
        """Return an input that is true or false.

        Raises:
            Unmodelled: it is stated as something else.
        """
        value = self.inputs.get(name)
        if value is None:
            return default
        if value not in (True, False):
            raise Unmodelled(f"{name} is neither true nor false: {shown(value)}")
        return bool(value)

    def measurement(self, name: str) -> float | None:
        """Return what was measured under this name, if it is a positive (finite) number."""
        value: Any = self.measured.get(name)
        return float(value) if _is_number(value) and 0 < value <= sys.float_info.max else None

    def check(self) -> None:
        """Check every number of the row before a model sees it.

        Raises:
            Unmodelled: an input is beyond `MOST` or not finite, or no number that was measured is positive.
        """
        for name, value in self.inputs.items():
            if _is_number(value):
                _check_size(name, value)
        numbers = [name for name, value in self.measured.items() if _is_number(value)]
        if numbers and all(self.measurement(name) is None for name in numbers):
            raise Unmodelled(NOTHING_MEASURED)


def shown(value: Any) -> str:
    """Return a value of a row as a short text of one line."""
    if isinstance(value, int) and abs(value) > MOST:  # thousands of digits are slow to write, or refused
        return "a number beyond 2^53"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_size(name: str, value: float) -> None:
    if value != value or value in (float("inf"), float("-inf")):
        raise Unmodelled(f"{name} is not finite")
    if str(name).lower().endswith(WORK):
        most, said = sys.float_info.max, "1.8e308"
    else:
        most, said = MOST, "2^53 (9.0e15)"
    if abs(value) > most:
        raise Unmodelled(f"{name} is beyond {said}")


def read_rows(path: str | Path) -> list[Row]:
    """Return the rows of a file.

    Args:
        path: a ``.csv`` file, or a YAML file.
    Raises:
        InputError: the file cannot be read, or is not of the form described above; with its place.
    """
    path = Path(path)
    found = _csv_rows(path) if path.suffix.lower() == ".csv" else _yaml_rows(path)
    if not found:
        raise InputError("holds no rows", path=str(path), hint="see docs/validation.md for the form of these files")
    if len(found) > MAX_ROWS:
        raise InputError(f"holds more than {MAX_ROWS} rows", path=str(path))
    return found


# YAML -----------------------------------------------------------------------------------------------------------------
def _yaml_rows(path: Path) -> list[Row]:
    document = read_yaml(path)
    data = document.data
    if not isinstance(data, dict):
        raise _fault(document, (), "expected a mapping with 'rows'")
    meta: Any = data.get("meta")
    found: list[Row] = []
    if "rows" in data:
        if not isinstance(data["rows"], list):
            raise _fault(document, ("rows",), "expected a list of rows")
        subject = _subject(meta if isinstance(meta, dict) else {}, path)
        found += [_row(document, index, raw, subject, path) for index, raw in enumerate(data["rows"])]
    for table, (subject, measured) in TABLES.items():
        if isinstance(data.get(table), list):
            found += [
                _table_row(document, table, index, raw, subject, measured, path)
                for index, raw in enumerate(data[table])
            ]
    if not found:
        raise _fault(document, (), "holds no rows", "a file of measurements has 'rows', or one of " + ", ".join(TABLES))
    _check_unique(document, found)
    return found


def _subject(meta: Mapping[str, Any], path: Path) -> str:
    """Return what the rows of a file are about: as it says itself, else after its name."""
    said = meta.get("subject") or meta.get("set")
    if isinstance(said, str):
        return SETS.get(said, said)
    title = str(meta.get("title", ""))
    if title.startswith("Set "):
        return SETS.get(title[4:].partition(":")[0].strip(), path.stem)
    named = {"training_memory": "memory", "energy_cost": "energy", "scaling_laws": "scaling"}
    return named.get(path.stem, path.stem)


def _row(document: Document, index: int, raw: Any, subject: str, path: Path) -> Row:
    place = ("rows", index)
    if not isinstance(raw, dict):
        raise _fault(document, place, "expected a mapping of id, group, inputs and measured")
    for key in ("inputs", "measured"):
        if not isinstance(raw.get(key), dict):
            raise _fault(document, (*place, key), f"a row needs a mapping {key!r}")
    name = raw.get("id")
    if name is not None and not isinstance(name, str | int):
        raise _fault(document, (*place, "id"), f"expected a name, got {name!r}")
    return Row(
        id=str(name if name is not None else index),
        group=str(raw.get("group", path.stem)),
        subject=SETS.get(str(raw.get("set")), subject),
        inputs=raw["inputs"],
        measured=raw["measured"],
        flags=_flags(raw.get("flags")),
        source=_source(raw.get("source")),
        file=path,
    )


def _table_row(
    document: Document, table: str, index: int, raw: Any, subject: str, measured: tuple[str, ...], path: Path
) -> Row:
    if not isinstance(raw, dict):
        raise _fault(document, (table, index), "expected a mapping")
    name = raw.get("model") or raw.get("system") or index
    return Row(
        id=f"{table}-{index}" + (f"-{name}" if name != index else ""),
        group=table,
        subject=subject,
        inputs={key: value for key, value in raw.items() if key not in measured},
        measured={key: raw[key] for key in measured if key in raw},
        source=str(raw.get("source", "")),
        file=path,
    )


def _flags(raw: Any) -> tuple[str, ...]:
    if not raw:
        return ()
    return tuple(str(item) for item in raw) if isinstance(raw, list) else (str(raw),)


def _source(raw: Any) -> str:
    if isinstance(raw, dict):
        return ", ".join(str(raw[key]) for key in ("title", "locator") if key in raw)
    return "" if raw is None else str(raw)


def _check_unique(document: Document, rows: list[Row]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError(f"two rows are named {row.id!r}", path=document.label)
        seen.add(row.id)


def _fault(document: Document, path: tuple[str | int, ...], message: str, hint: str | None = None) -> InputError:
    line, column = document.place(path) or (None, None)
    return InputError(message, path=document.label, line=line, column=column, hint=hint)


# CSV ------------------------------------------------------------------------------------------------------------------
def _csv_rows(path: Path) -> list[Row]:
    text = read_text(path)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#")]
    if not lines:
        raise InputError("is empty", path=str(path))
    header = next(csv.reader(io.StringIO(lines[0][1])))
    measured = [name for name in header if name in MEASURED_COLUMNS]
    if not measured:
        raise InputError(
            "has no column of measurements", path=str(path), line=lines[0][0],
            hint="one of " + ", ".join(MEASURED_COLUMNS) + " is needed",
        )  # fmt: skip
    subject = next((said for column, said in CSV_SUBJECTS.items() if column in header), path.stem)
    body = io.StringIO("\n".join(line for _, line in lines[1:]))
    found = []
    for (number, _), cells in zip(lines[1:], csv.reader(body), strict=False):
        if len(cells) != len(header):
            raise InputError(f"{len(cells)} cells in a table of {len(header)} columns", path=str(path), line=number)
        found.append(_csv_row(dict(zip(header, cells, strict=True)), number, measured, subject, path))
    return found


def _csv_row(cells: dict[str, str], number: int, measured: list[str], subject: str, path: Path) -> Row:
    values = {name: _cell(text) for name, text in cells.items()}
    flags = _flags(values.pop("flags", None))
    if "score" in values and values.pop("score") != 1 and not flags:
        flags = ("not meant to be scored",)
    # A column "measured" holds the date, where there is one.
    return Row(
        id=str(values.pop("id", f"line-{number}")),
        group=str(values.get("group") or values.get("system") or path.stem),
        subject=subject,
        inputs={name: value for name, value in values.items() if name not in measured and value is not None},
        measured={name: values[name] for name in measured if values[name] is not None},
        flags=flags,
        source=path.name,
        file=path,
    )


def _cell(text: str) -> Any:
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
