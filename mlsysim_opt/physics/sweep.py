"""A model over many points at once: any inputs may be lists, and every combination of them is evaluated as arrays.

The equations are those that a single `solve` evaluates, with arrays as the values of their leaves. Inputs that decide
the structure (a precision, a model with experts or without) divide the space into parts of one structure each.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.expression import Choice, Operation
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.inputs import Degree
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import NONE, Unit, parse_unit, quantity, readable_unit

if TYPE_CHECKING:
    from mlsysim_opt.physics.base import Model
    from mlsysim_opt.physics.traced import Bound, Traced

FEASIBLE = "feasible"
MOST_POINTS = 10**8
"""Points of one sweep: three outputs of so many are 2.4 GB."""

Array = np.ndarray[Any, Any]


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
        """Write the records with a header; units stand in brackets after the names of the outputs."""
        header = [*self.axes, *(f"{name} [{self.unit(name)}]" if self.unit(name) else name for name in self._si)]
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(row.values() for row in self.rows())

    def __repr__(self) -> str:
        size = " x ".join(f"{name}: {len(values)}" for name, values in self.axes.items())
        return f"<Sweep {size}; outputs {', '.join(self._si)}>"


class _Point(NamedTuple):
    """A combination of the inputs that decide the equations or follow from each other.

    Attributes:
        at: the position of its value along each of their axes. values: every input, checked.
        bound: its equations, with the values of the leaves that entries bind.
    """

    at: tuple[int, ...]
    values: Mapping[str, Any]
    bound: Bound


def sweep(model: Model, given: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Sweep:
    """Evaluate a model for every combination of the inputs that are given as lists; see `Model.sweep`."""
    known = {item.name: item for item in model.inputs}
    swept: dict[str, list[Any]] = {}
    raw: dict[str, list[Any]] = {}
    single: dict[str, Any] = {}
    for name, value in given.items():
        real = model.aliases.get(name, name)
        if isinstance(value, str | Entry) or not _is_list(value):
            single[name] = value
            continue
        if real not in known:
            raise UnknownNameError(f"argument of {type(model).__name__}", name, [*known, *model.aliases])
        raw[real] = list(value)
        swept[real] = [None if item is None else known[real].read(item) for item in raw[real]]
        if not swept[real]:
            raise InputError("the list of values is empty", path=real)
    points = math.prod(len(values) for values in swept.values())
    if points > MOST_POINTS:
        raise InputError(
            f"{points:.3g} points are more than one sweep holds ({MOST_POINTS:.0e})", hint="sweep in parts"
        )
    result = Sweep({name: tuple(_label(item) for item in values) for name, values in swept.items()})
    failed: list[MlsysimError] = []
    apart = [item.name for item in model.inputs if isinstance(item, Degree) and item.name in swept]
    joint, groups = _grouped(model, swept, raw, single, failed, outputs, [])
    if failed and apart:  # where a degree plays no part, there may be equations
        failed.clear()
        joint, groups = _grouped(model, swept, raw, single, failed, outputs, apart)
    for group in groups:
        _fill(result, model, group, joint, swept, outputs)
    reasons = list(dict.fromkeys([*(error.message for error in failed), *result.excluded]))
    result.excluded = reasons
    if not groups:
        raise failed[0]
    for name in outputs or ():
        if name not in result._si:
            raise InputError(f"{name} is not known for any of the points: {'; '.join(reasons[:3])}", path=name)
    return result


def _is_list(value: Any) -> bool:
    if isinstance(value, list | tuple | range | np.ndarray):
        return True
    magnitude = getattr(value, "magnitude", None)
    return isinstance(magnitude, np.ndarray | list)


def _label(value: Any) -> Any:
    return value.name if isinstance(value, Entry) else value


# dividing the space into parts of one structure -----------------------------------------------------------------------
def _grouped(
    model: Model,
    swept: Mapping[str, list[Any]],
    raw: Mapping[str, list[Any]],
    single: Mapping[str, Any],
    failed: list[MlsysimError],
    outputs: Sequence[str] | None,
    apart: Sequence[str],
) -> tuple[list[str], list[list[_Point]]]:
    """Return the inputs that decide the equations (all, where inputs follow from each other), and their combinations,
    those with the same equations together; the reasons of those that cannot be go to `failed`.

    Degrees decide the equations where they are listed in `apart`; else the general ones are taken for all their values.
    """
    keyed = {item.name for item in (*model._keyed, *model._compound)}
    general = {item.name: item.neutral + 1 for item in model.inputs
               if isinstance(item, Degree) and item.name in swept and item.name not in apart and not model.derives
               and None not in swept[item.name]}  # fmt: skip
    joint = [
        name
        for name, values in swept.items()
        if model.derives or (name in keyed and name not in general) or any(item is None for item in values)
    ]
    whole = {} if model.derives else model.check(**{**single, **{name: values[0] for name, values in raw.items()}})
    whole.update(general)
    seen: dict[Any, tuple[Bound, Any] | None] = {}
    groups: dict[Any, list[_Point]] = {}
    for at in itertools.product(*(range(len(swept[name])) for name in joint)):
        try:
            if model.derives:
                values = model.check(**single, **{name: raw[name][here] for name, here in zip(joint, at, strict=True)})
            else:
                values = {**whole, **{name: swept[name][here] for name, here in zip(joint, at, strict=True)}}
            key = model.identity(values)
            if key not in seen:
                seen[key] = None
                bound = model.bound(values)
                seen[key] = bound, _same_equations(bound.traced, outputs)
        except MlsysimError as error:  # sizes that do not divide, a device without this precision
            if isinstance(error, UnknownNameError):
                raise
            failed.append(error)
            continue
        found = seen[key]
        if found is not None:
            groups.setdefault(found[1], []).append(_Point(at, values, found[0]))
    return joint, list(groups.values())


def _same_equations(traced: Traced, outputs: Sequence[str] | None) -> Any:
    """Return what structures with the same equations for these outputs have in common: equal expressions are one."""
    names, _ = _wanted(traced, outputs)
    return tuple(names), tuple(id(traced.everything[name]) for name in names), tuple(traced.labels.items())


# evaluating one part --------------------------------------------------------------------------------------------------
def _fill(
    result: Sweep,
    model: Model,
    group: Sequence[_Point],
    joint: Sequence[str],
    swept: Mapping[str, list[Any]],
    outputs: Sequence[str] | None,
) -> None:
    """Evaluate a part and write it where it belongs. Its axes are its points, then the other swept inputs; while it is
    computed, the longest is the last."""
    traced = group[0].bound.traced
    for name in outputs or ():
        if name not in traced.result.field_names() and name != FEASIBLE:
            raise UnknownNameError("output", name, [*traced.result.field_names(), FEASIBLE])
    free = [name for name in swept if name not in joint]
    lengths = [len(group), *(len(swept[name]) for name in free)]
    order = sorted(range(len(lengths)), key=lambda axis: lengths[axis])
    names, roots = _wanted(traced, outputs)
    program = traced.arrays(names)
    values = {leaf.name: _leaf(leaf, group, free, swept, order) for leaf in program.leaves}
    raw = program.run(values, [lengths[axis] for axis in order])
    found = dict(zip(names, (_in_order(value, order) for value in raw), strict=True))
    if outputs is None or FEASIBLE in outputs:
        holds = np.ones([1] * len(lengths), dtype=bool)
        for name in names:
            holds = holds & (found[name] == 1 if name in traced.result.constraints else ~np.isnan(found[name]))
        found = {**{name: found[name] for name in roots}, FEASIBLE: holds.astype(float)}
    held = {name: traced.result.__dict__[name] for name in outputs or () if name not in found}
    for name, error in held.items():
        result.excluded += _why(model, group, name) if isinstance(error, MlsysimError) else [
            f"{name} is not known for some of the points"
        ]  # fmt: skip
    whole = len(group) == math.prod(len(swept[name]) for name in joint)
    for name, value in found.items():
        part = np.broadcast_to(value, lengths)
        if name not in result._shown:
            result._shown[name] = _shown(traced, name, part)
        if whole:
            result._si[name] = _spread(part, joint, free, swept)
            continue
        if name not in result._si:
            result._si[name] = np.full(result.shape, 0.0 if name == FEASIBLE else np.nan)
        axes = [*(list(swept).index(name) for name in joint), *(list(swept).index(name) for name in free)]
        place = np.transpose(result._si[name], axes)
        place[tuple(np.asarray(column) for column in zip(*(point.at for point in group), strict=True))] = part


def _leaf(
    leaf: Any, group: Sequence[_Point], free: Sequence[str], swept: Mapping[str, list[Any]], order: Sequence[int]
) -> Any:
    """Return the value of a leaf in a part: a number, or an array along one of its axes."""
    if leaf.name in group[0].bound.known:
        axis, column = 0, [point.bound.known[leaf.name] for point in group]
    elif leaf.name in free:
        axis, column = 1 + free.index(leaf.name), swept[leaf.name]
    else:
        axis, column = 0, [point.values[leaf.name] for point in group]
    if isinstance(leaf, Choice):
        column = [leaf.position[value] for value in column]
    if column.count(column[0]) == len(column):
        return column[0]
    shape = [1] * len(order)
    shape[order.index(axis)] = len(column)
    return np.asarray(column, dtype=int if isinstance(leaf, Choice) else float).reshape(shape)


def _in_order(value: Any, order: Sequence[int]) -> Array:
    """Return an array over the axes as they are computed as one over the axes of the part; a number as an array."""
    array = np.asarray(value, dtype=float)
    if not array.ndim:
        return array.reshape([1] * len(order))
    return np.transpose(array, np.argsort(order))


def _spread(part: Array, joint: Sequence[str], free: Sequence[str], swept: Mapping[str, list[Any]]) -> Array:
    """Return a part that is the whole space, over its points and the other inputs, as an array over all inputs."""
    apart = part.reshape([*(len(swept[name]) for name in joint), *part.shape[1:]])
    made = [*joint, *free]
    return np.transpose(apart, [made.index(name) for name in swept])


def _wanted(traced: Traced, outputs: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the names of what to evaluate, constraints after outputs, and of the outputs alone."""
    names = [name for name in traced.expressions if outputs is None or name in outputs]
    rules = traced.constraint_names if outputs is None or FEASIBLE in outputs else ()
    return [*names, *rules], names


def _why(model: Model, group: Sequence[_Point], name: str) -> list[str]:
    """Return why the points of a part have no such output."""
    errors = (model.written(point.values).__dict__[name] for point in group)
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
