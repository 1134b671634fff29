"""What `pareto` returns: designs or plans that no other one beats in every objective, and what to read from them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.files import written_whole
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.solution import PlanSolution, amount_lines
from mlsysim_opt.optimize.dominance import hypervolume
from mlsysim_opt.optimize.exports import pyarrow_writer
from mlsysim_opt.optimize.solution import Solution
from mlsysim_opt.units import DIMENSIONLESS, NONE, as_measure, parse_unit, to_si

SCHEMA = 1
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FrontObjective:
    """One objective of a front: its name as asked, its sense, and the unit its values are shown in."""

    name: str
    sense: str
    unit: str = ""

    @property
    def label(self) -> str:
        """The name with its unit, for columns and axes."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def read(self, given: Any) -> float:
        """Return a value in the unit that is shown; plain numbers are in it already.

        Raises:
            InputError: it is no number, or of another dimension.
        """
        measure = as_measure(given, self.name)
        if measure.dimension == NONE:
            return measure.si
        unit = parse_unit(self.unit) if self.unit else DIMENSIONLESS
        return to_si(measure, unit.dimension, self.name) / unit.factor


@dataclass
class Front:
    """Points that no design (or plan) beats in every objective, the best of the first objective first.

    Attributes:
        problem: its name. objectives: what is compared.
        points: a solution for each; its constraints hold the other objectives at their values, so that its proof is
            that of the point. values: a row of objective values for each point, in the units of `objectives`.
        complete: whether every undominated value is among them. guarantee: what is proven, in a sentence.
        settled: whether the search came to its end; else `guarantee` says where points may be missing.
        steps: of a cover, by how much a point may be worse than one that it stands for, in each objective and its unit;
            empty for none.
        details: counts. seconds: how long it took.
    """

    problem: str
    objectives: list[FrontObjective]
    points: list[Solution] | list[PlanSolution] | list[Any]
    values: list[list[float]]
    complete: bool
    guarantee: str
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    steps: list[float] = field(default_factory=list)
    settled: bool = True

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.points)

    def __getitem__(self, index: int) -> Any:
        return self.points[index]

    @property
    def status(self) -> str:
        """``complete``, ``cover``, or ``stopped`` where a limit was reached."""
        return "complete" if self.complete else "cover" if self.settled else "stopped"

    # reading ----------------------------------------------------------------------------------------------------------
    @property
    def _costs(self) -> Array:
        """The values as what is minimised."""
        signs = np.array([1.0 if item.sense == "min" else -1.0 for item in self.objectives])
        values = np.array(self.values, dtype=float).reshape(len(self.values), len(self.objectives))
        return np.asarray(values * signs)

    def _shown(self, costs: Array) -> dict[str, Value]:
        signs = [1.0 if item.sense == "min" else -1.0 for item in self.objectives]
        return {
            item.name: Value(float(sign * cost), item.unit)
            for item, sign, cost in zip(self.objectives, signs, costs, strict=True)
        }

    @property
    def ideal(self) -> dict[str, Value]:
        """The best value of each objective by itself."""
        return self._shown(self._costs.min(axis=0))

    @property
    def nadir(self) -> dict[str, Value]:
        """The worst value of each objective on the front: the exact nadir point where the front is complete."""
        return self._shown(self._costs.max(axis=0))

    def hypervolume(self, reference: Mapping[str, Any] | Sequence[Any] | None = None) -> float:
        """Return the volume that the front dominates, as a share of the box between ideal and reference point.

        Args:
            reference: a value for each objective, by name or in the order of `objectives`, with its unit or as a number
                in the unit that is shown (as in `values`); the nadir point when None.
        Raises:
            InputError: the reference lacks an objective, or is not beyond the ideal point in each.
        """
        costs = self._costs
        low = costs.min(axis=0)
        high = costs.max(axis=0) if reference is None else self._reference(reference)
        if np.any(high < low):
            raise InputError("the reference point is better than the ideal point", path="reference")
        span = high - low
        if np.any(span == 0):
            return 0.0
        return hypervolume((costs - low) / span, np.ones(len(span)))

    def _reference(self, given: Mapping[str, Any] | Sequence[Any]) -> Array:
        names = [item.name for item in self.objectives]
        wanted = "a value for each of " + ", ".join(item.label for item in self.objectives)
        if isinstance(given, str) or not isinstance(given, Mapping | Sequence | np.ndarray):
            raise InputError(f"expected {wanted}, got {given!r}", path="reference")
        if not isinstance(given, Mapping):
            if len(given) != len(names):
                raise InputError(f"has {len(given)} values, expected {wanted}", path="reference")
            given = dict(zip(names, given, strict=True))
        for name in given:
            if name not in names:
                raise UnknownNameError("objective of this front", name, names, path="reference")
        missing = [name for name in names if name not in given]
        if missing:
            raise InputError(f"lacks a value of {missing[0]!r}", path="reference", hint=wanted)
        signs = [1.0 if item.sense == "min" else -1.0 for item in self.objectives]
        return np.array([sign * item.read(given[item.name]) for sign, item in zip(signs, self.objectives, strict=True)])

    @property
    def knee(self) -> int:
        """The position of the point that is farthest below the plane through the ends of the front.

        With each objective scaled from its ideal to its nadir value, that is the least sum.
        """
        costs = self._costs
        span = costs.max(axis=0) - costs.min(axis=0)
        scaled = (costs - costs.min(axis=0)) / np.where(span > 0, span, 1.0)
        return int(np.argmin(scaled.sum(axis=1)))

    def moves(self, first: int, second: int) -> list[str]:
        """Return what changes from one point to another: decisions of a design, amounts of a plan."""
        points: list[Any] = self.points
        old, new = (points[self._checked(at)] for at in (first, second))
        changed: list[str] = old.moves(new)
        return changed

    def _checked(self, point: int) -> int:
        """Return the number of a point.

        Raises:
            InputError: there is no such point.
        """
        if isinstance(point, bool) or not isinstance(point, int) or not -len(self) <= point < len(self):
            raise InputError(f"there is no point {point!r}", path="point", hint=f"there are {len(self)}, from 0")
        return point

    def trade(self, first: int, second: int) -> str:
        """Return what one point gives up and gains against another, and by which moves."""
        parts = []
        old_values, new_values = (self.values[self._checked(at)] for at in (first, second))
        for item, old, new in zip(self.objectives, old_values, new_values, strict=True):
            if new != old:
                parts.append(f"{item.name} {Value(old, item.unit)} -> {Value(new, item.unit)}")
        return f"{'; '.join(parts)}: {'; '.join(self.moves(first, second)) or 'nothing moves'}"

    # storing ----------------------------------------------------------------------------------------------------------
    def as_dict(self) -> dict[str, Any]:
        """Return the front as strict JSON data."""
        return {
            "schema": SCHEMA,
            "kind": "front",
            "status": self.status,
            "problem": self.problem,
            "objectives": [vars(item) for item in self.objectives],
            "values": self.values,
            "complete": self.complete,
            "guarantee": self.guarantee,
            "settled": self.settled,
            "steps": self.steps,
            "ideal": {name: value.as_dict() for name, value in self.ideal.items()},
            "nadir": {name: value.as_dict() for name, value in self.nadir.items()},
            "hypervolume": self.hypervolume(),
            "knee": self.knee,
            "moves": [self.moves(at, at + 1) for at in range(len(self) - 1)],
            "points": [item.as_dict() for item in self.points],
            "details": self.details,
            "seconds": self.seconds,
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return the front as JSON text, from which `from_json` makes an equal one."""
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Front:
        """Return the front a JSON text describes.

        Raises:
            InputError: the text is not a front of this schema.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA or data["kind"] != "front":
                raise ValueError(f"schema {data['schema']} of a {data['kind']}, expected {SCHEMA} of a front")
            points = [
                (PlanSolution if item["kind"] == PlanSolution.KIND else Solution).from_dict(item)
                for item in data["points"]
            ]
            objectives = [FrontObjective(**item) for item in data["objectives"]]
            rest = {
                name: data[name]
                for name in ("values", "complete", "guarantee", "details", "seconds", "steps", "settled")
            }
            return cls(problem=data["problem"], objectives=objectives, points=points, **rest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is not a front written by this version: {error}", path="front") from error

    def table(self) -> dict[str, list[Any]]:
        """Return columns: the objectives, the other metrics (each in one unit), and what is chosen.

        That is, of designs each decision; of plans each kind of amounts, as a text that shows the first of them.
        """
        columns: dict[str, list[Any]] = {
            item.label: [row[at] for row in self.values] for at, item in enumerate(self.objectives)
        }
        for name in dict.fromkeys(name for point in self.points for name in point.metrics.values_with_units):
            shown = [point.metrics.values_with_units.get(name, Value(None)) for point in self.points]
            unit = next((item.unit for item in shown if item.unit), "")
            factor = parse_unit(unit).factor if unit else 1.0
            label = f"{name} [{unit}]" if unit else name
            columns[label] = [None if item.value is None else item.si / factor for item in shown]
        plans = [point for point in self.points if isinstance(point, PlanSolution)]
        designs = [point for point in self.points if not isinstance(point, PlanSolution)]
        for name in plans[0].amounts if plans else ():
            columns.setdefault(name, [_told(name, plan.amounts[name]) for plan in plans])
        for name in designs[0].design if designs else ():
            columns.setdefault(name, [one.design[name] for one in designs])
        return columns

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return `table` as CSV text, and write it where a path is given.

        Raises:
            FileError: it cannot be written.
        """
        columns = self.table()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        if path is not None:
            with written_whole(_path(path)) as part:
                part.write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()

    def to_parquet(self, path: str | Path) -> Path:
        """Write `table` as a Parquet file.

        Raises:
            LibraryMissingError: pyarrow is not installed. FileError: it cannot be written.
        """
        pyarrow, write_table = pyarrow_writer()
        target = _path(path)
        table = pyarrow.table(self.table())
        with written_whole(target) as part:
            write_table(table, part)
        return target

    def plot(self, path: str | Path) -> Path:
        """Draw the front (png, svg, pdf): one panel for each pair of objectives, the knee marked.

        Raises:
            LibraryMissingError: matplotlib is not installed (extra ``plots``). FileError: it cannot be written.
        """
        from mlsysim_opt.solvers.plots import plot_front

        labels = [item.label for item in self.objectives]
        return plot_front(labels, self.values, path, f"{self.problem}: {len(self)} points, {self.status}", self.knee)

    # showing ----------------------------------------------------------------------------------------------------------
    def __str__(self) -> str:
        lines = [f"{len(self)} points of {self.problem}: {self.guarantee}"]
        for at, row in enumerate(self.values):
            shown = ", ".join(
                f"{item.name} = {Value(value, item.unit)}" for item, value in zip(self.objectives, row, strict=True)
            )
            lines.append(f"{at}: {shown}" + (" (knee)" if at == self.knee and len(self) > 2 else ""))
            if at + 1 < len(self):
                lines.append(f"   then {_few(self.moves(at, at + 1))}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def _told(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(line.strip() for line in amount_lines(name, rows)[1:])


def _few(moves: Sequence[str], most: int = 4) -> str:
    more = f"; and {len(moves) - most} more" if len(moves) > most else ""
    return ("; ".join(moves[:most]) + more) or "nothing moves"


def _path(path: str | Path) -> Path:
    if not isinstance(path, str | Path):
        raise InputError(f"expected a path, got {path!r}", path="path")
    return Path(path)
