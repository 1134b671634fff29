"""A model over many points at once: any inputs may be lists, and every combination of them is evaluated as arrays.

The space is divided into parts that have the same equations (`parts`), and each is evaluated over its axes.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsysim_opt.algebra.expression import Operation
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.files import written_whole
from mlsysim_opt.physics.parts import FEASIBLE, Array, Part, Space, wanted
from mlsysim_opt.units import NONE, Unit, parse_unit, quantity, readable_unit

if TYPE_CHECKING:
    from mlsysim_opt.physics.base import Model
    from mlsysim_opt.physics.traced import Traced


class Sweep(Mapping[str, Any]):
    """What a model returns over many points: ``sweep["itl"]`` is an array with one axis per swept input.

    Attributes:
        axes: the swept inputs in order, each with its values as given (entries by name).
        excluded: why cells are undefined, one line for each cause.
    Undefined cells are NaN, and not feasible.
    """

    def __init__(self, axes: dict[str, tuple[Any, ...]]) -> None:
        self.axes = axes
        self.excluded: list[str] = []
        self._si: dict[str, Array] = {}
        self._shown: dict[str, tuple[Unit | None, tuple[str, ...], bool]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values of each axis."""
        return tuple(len(values) for values in self.axes.values())

    def __len__(self) -> int:
        return len(self._si)

    def __iter__(self) -> Iterator[str]:
        return iter(self._si)

    def si(self, name: str) -> Array:
        """Return an output in base units as plain numbers.

        Raises:
            UnknownNameError: it was not evaluated.
        """
        if name not in self._si:
            raise UnknownNameError("output of the sweep", name, list(self._si))
        return self._si[name]

    def unit(self, name: str) -> str:
        """Return the unit in which an output is shown."""
        self.si(name)
        unit = self._shown[name][0]
        return "" if unit is None else unit.text

    def plain(self, name: str) -> Array:
        """Return an output as an array of numbers in its shown unit, of labels or of truths."""
        raw = self.si(name)
        unit, labels, truth = self._shown[name]
        if labels:
            names: Array = np.asarray([*labels, ""], dtype=object)
            return np.take(names, np.where(np.isnan(raw), len(labels), raw).astype(int))
        if truth:
            return np.equal(raw, 1)
        return raw if unit is None else raw / unit.factor

    def __getitem__(self, name: str) -> Any:
        unit, _, _ = self._shown.get(name, (None, (), False))
        if unit is None:
            return self.plain(name)
        return quantity(self.si(name), unit)  # type: ignore[arg-type]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one flat record per point: the inputs, then the outputs in their shown units."""
        columns = {name: self.plain(name).reshape(-1) for name in self._si}
        for index, point in enumerate(itertools.product(*self.axes.values())):
            yield {
                **dict(zip(self.axes, point, strict=True)),
                **{name: column[index].item() if isinstance(column[index], np.generic) else column[index]
                   for name, column in columns.items()},
            }  # fmt: skip

    def to_csv(self, path: str | Path) -> None:
        """Write the records with a header; units stand in brackets after the names of the outputs.

        Raises:
            FileError: the file cannot be written.
        """
        header = [*self.axes, *(f"{name} [{self.unit(name)}]" if self.unit(name) else name for name in self._si)]
        with written_whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(row.values() for row in self.rows())

    def __repr__(self) -> str:
        size = " x ".join(f"{name}: {len(values)}" for name, values in self.axes.items())
        return f"<Sweep {size}; outputs {', '.join(self._si)}>"


def sweep(model: Model, given: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Sweep:
    """Evaluate a model for every combination of the inputs that are given as lists; see `Model.sweep`."""
    space = Space.of(model, given)
    parts, failed = space.parts(outputs)
    result = Sweep(space.axes)
    for part in parts:
        _fill(result, part, outputs)
    reasons = list(dict.fromkeys([*(error.message for error in failed), *result.excluded]))
    result.excluded = reasons
    if not parts:
        raise failed[0]
    for name in outputs or ():
        if name not in result._si:
            raise InputError(f"{name} is not known for any of the points: {'; '.join(reasons[:3])}", path=name)
    return result


def _fill(result: Sweep, part: Part, outputs: Sequence[str] | None) -> None:
    """Evaluate a part and write it where it belongs."""
    traced = part.traced
    for name in outputs or ():
        if name not in traced.result.field_names() and name != FEASIBLE:
            raise UnknownNameError("output", name, [*traced.result.field_names(), FEASIBLE])
    names, roots = wanted(traced, outputs)
    program = traced.arrays(names)
    raw = program.run({leaf.name: part.leaf(leaf) for leaf in program.leaves}, part.shape, as_written=False)
    found = dict(zip(names, map(part.in_order, raw), strict=True))
    if outputs is None or FEASIBLE in outputs:
        holds = np.ones([1] * len(part.lengths), dtype=bool)
        for name in names:
            holds = holds & (found[name] == 1 if name in traced.result.constraints else ~np.isnan(found[name]))
        found = {**{name: found[name] for name in roots}, FEASIBLE: holds.astype(float)}
    held = {name: traced.result.__dict__[name] for name in outputs or () if name not in found}
    for name, error in held.items():
        result.excluded += _why(part, name) if isinstance(error, MlsysimError) else [
            f"{name} is not known for some of the points"
        ]  # fmt: skip
    for name, value in found.items():
        if name not in result._shown:
            result._shown[name] = _shown(traced, name, np.broadcast_to(value, part.lengths))
        result._si[name] = part.write(value, result._si.get(name), 0.0 if name == FEASIBLE else np.nan)


def _why(part: Part, name: str) -> list[str]:
    """Return why the points of a part have no such output."""
    errors = (part.space.model.written(point.values).__dict__[name] for point in part.group)
    return list(dict.fromkeys(error.message for error in errors))


def _shown(traced: Traced, name: str, array: Array) -> tuple[Unit | None, tuple[str, ...], bool]:
    """Return in which unit an output is shown, its labels, and whether it is a truth."""
    if name == FEASIBLE:
        return None, (), True
    node = traced.expressions[name]
    if node.sort == "label":
        assert isinstance(node, Operation)
        return None, tuple(node.param), False
    if node.sort == "truth":
        return None, (), True
    if node.dimension == NONE:
        return None, (), False
    text = traced.result.units.get(name)
    if text:
        return parse_unit(text), (), False
    finite = np.abs(array[np.isfinite(array)])
    return readable_unit(float(np.median(finite)) if finite.size else 1.0, node.dimension), (), False
