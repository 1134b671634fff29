"""Measured tables of serving workers: how many requests per second one worker of each design sustains, and how fast.

The columns are those that NVIDIA's aiconfigurator writes: ``ttft`` (of prefill workers) or ``tpot`` (of decode workers)
in milliseconds, ``seq/s``, ``num_total_gpus``, and ``tp``, ``pp``, ``bs``, ... that name the design. Other names and
units are read where the header says so: ``itl [s]``, ``request_rate [request/min]``, ``devices``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlsysim_opt.errors import InputError
from mlsysim_opt.registry.importers.tables import Table, printable
from mlsysim_opt.units import NONE, REQUEST, TIME, Dimension, Unit, dimension_text, divide, parse_unit

_HEAD = re.compile(r"(?P<name>[^\[(]*?)\s*(?:\[(?P<square>[^\]]*)\]|\((?P<round>[^)]*)\))?")
_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,40}")
LATENCIES = {"prefill": ("ttft",), "decode": ("tpot", "itl")}
RATES = ("seq/s", "request_rate")
DEVICES = ("num_total_gpus", "devices")
NAMED_BY = ("system", "device", "backend", "precision", "tp", "pp", "dp", "ep", "moe_tp", "moe_ep", "bs", "batch_size")
"""Columns that say which design a row is of, in the order of its name."""


@dataclass(frozen=True)
class Worker:
    """One design of a worker.

    Attributes:
        name: of the design. devices: accelerators of one worker.
        latency: TTFT of a prefill worker, time between tokens of a decode worker, in seconds.
        rate: requests per second.
    """

    name: str
    devices: int
    latency: float
    rate: float


def read_workers(path: str | os.PathLike[str], phase: str) -> tuple[Worker, ...]:
    """Return the designs in a CSV file.

    Args:
        path: the file. phase: ``prefill`` or ``decode``.
    Raises:
        CatalogError: it cannot be read, a column is missing or has a wrong unit, a number is not one, or two rows are
            of the same design; names file, line and column.
    """
    table = _Columns(path)
    latency = table.measured(LATENCIES[phase], TIME, "ms", f"latency of a {phase} worker")
    rate = table.measured(RATES, divide(REQUEST, TIME), "request/s", "requests per second of a worker")
    devices = table.measured(DEVICES, NONE, "dimensionless", "accelerators of a worker")
    named_by = [table.names[name] for name in NAMED_BY if name in table.names]
    found: dict[str, tuple[Worker, int]] = {}
    for row in table.rows():
        count = devices.read(row)
        if not count.is_integer():
            raise table.fault(
                f"{devices.head}: expected a whole number, got {printable(row[devices.head])}", table.line
            )
        name = " ".join(table.word(row, head) for head in named_by) or f"line {table.line}"
        if name in found:
            hint = "rows of one design need a column that tells them apart, such as bs"
            raise table.fault(f"is of the same design as line {found[name][1]}: {name}", table.line, hint)
        found[name] = (Worker(name, int(count), latency.read(row), rate.read(row)), table.line)
    if not found:
        raise table.fault("has no rows below its header", None)
    return tuple(worker for worker, _ in found.values())


class _Columns(Table):
    """A table whose headers may carry a unit in brackets.

    Attributes:
        names: the header of each column by its name without unit, in lower case.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.names: dict[str, str] = {}
        for head in self.columns:
            name = _parts(head)[0].casefold()
            if name and name in self.names:
                raise self.fault(f"has two columns {printable(name)}", self.line)
            self.names[name] = head

    def measured(self, names: tuple[str, ...], of: Dimension, unit: str, what: str) -> _Column:
        """Return the first of these columns that is there, read in its own unit, or in `unit` where it has none."""
        found = next((self.names[name] for name in names if name in self.names), None)
        if found is None:
            found = self.column(*names, wanted=what)
        written = _parts(found)[1]
        try:
            made = parse_unit(written or unit)
        except InputError as error:
            raise self.fault(f"{printable(found)}: {error.message}", self.line, error.hint) from None
        if made.dimension != of:
            wanted = f"{printable(found)} is in {written}, but {dimension_text(of)} is expected ({what})"
            raise self.fault(wanted, self.line)
        return _Column(self, found, made)

    def word(self, row: Mapping[str, str], head: str) -> str:
        """Return the part of a design's name that a column gives."""
        if not _NAME.fullmatch(row[head]):
            raise self.fault(f"{head}: {printable(row[head])} cannot be part of a name", self.line)
        name = _parts(head)[0].casefold()
        return f"{name}{row[head]}" if row[head][0].isdigit() else row[head]


@dataclass(frozen=True)
class _Column:
    table: Table
    head: str
    unit: Unit

    def read(self, row: Mapping[str, str]) -> float:
        return self.table.number(row[self.head], self.head, above=True) * self.unit.factor


def _parts(head: str) -> tuple[str, str]:
    """Return the name in a header, and its unit if it has one."""
    found = _HEAD.fullmatch(head)
    if found is None:
        return head, ""
    return found["name"].strip(), (found["square"] or found["round"] or "").strip()
