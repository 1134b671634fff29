"""A model over many points at once: any inputs may be lists, and every combination of them is evaluated as arrays.

Numbers and catalog entries become choices of the very equations that a single `solve` evaluates; inputs that decide
the structure (a precision, a model with experts or without) split the space into parts of one structure each.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.atoms import Table
from mlsysim_opt.algebra.evaluate import Axes, GridProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Operation, constant, topological
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.inputs import Given, Input, Number, Option, Switch
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import NONE, Unit, parse_unit, quantity, readable_unit

if TYPE_CHECKING:
    from mlsysim_opt.physics.base import Model, Result

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


class _Part(NamedTuple):
    """A part of the space with one structure: distinct checked values, and where each point takes them from.

    `positions` maps an input to a row of positions; inputs of `dense` have an axis of their own.
    """

    values: Mapping[str, Sequence[Any]]
    dense: tuple[str, ...]
    positions: Mapping[str, Array]
    rows: int


def sweep(model: Model, given: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Sweep:
    """Evaluate a model for every combination of the inputs that are given as lists; see `Model.sweep`."""
    known = {item.name: item for item in model.inputs}
    swept: dict[str, list[Any]] = {}
    single: dict[str, Any] = {}
    for name, value in given.items():
        real = model.aliases.get(name, name)
        if isinstance(value, str | Entry) or not _is_list(value):
            single[name] = value
            continue
        if real not in known:
            raise UnknownNameError(f"argument of {type(model).__name__}", name, [*known, *model.aliases])
        swept[real] = [None if item is None else known[real].read(item) for item in value]
        if not swept[real]:
            raise InputError("the list of values is empty", path=real)
    points = int(np.prod([len(values) for values in swept.values()], dtype=float)) if swept else 1
    if points > MOST_POINTS:
        raise InputError(
            f"{points:.3g} points are more than one sweep holds ({MOST_POINTS:.0e})", hint="sweep in parts"
        )
    result = Sweep({name: tuple(_label(item) for item in values) for name, values in swept.items()})
    derived = type(model).prepare is not _base_prepare()
    parts = _by_rows(model, swept, single, result) if derived else _by_product(model, swept, single)
    failed: list[MlsysimError] = []
    done = 0
    for place, part in parts:
        try:
            _fill(result, model, part, place, outputs)
            done += 1
        except MlsysimError as error:  # a structure that cannot be: a device without this precision
            if isinstance(error, UnknownNameError):
                raise
            failed.append(error)
    if not done:
        raise failed[0] if failed else InputError(f"no point can be evaluated: {'; '.join(result.excluded[:3])}")
    result.excluded += [
        item for item in dict.fromkeys(error.message for error in failed) if item not in result.excluded
    ]
    return result


def _base_prepare() -> Any:
    from mlsysim_opt.physics.base import Model

    return Model.prepare


def _is_list(value: Any) -> bool:
    if isinstance(value, list | tuple | range | np.ndarray):
        return True
    magnitude = getattr(value, "magnitude", None)
    return isinstance(magnitude, np.ndarray | list)


def _label(value: Any) -> Any:
    return value.name if isinstance(value, Entry) else value


# cutting the space into parts of one structure ------------------------------------------------------------------------
def _structure(item: Input, value: Any) -> Any:
    return (value is None, None if value is None else item.key(value))


def _by_product(model: Model, swept: dict[str, list[Any]], single: Mapping[str, Any]) -> Iterator[tuple[Any, _Part]]:
    """Yield (where it goes, part) for inputs that vary independently of each other."""
    known = {item.name: item for item in model.inputs}
    first = {**single, **{name: values[0] for name, values in swept.items()}}
    whole = model.check(**first)
    groups: list[list[list[int]]] = []
    for name, values in swept.items():
        by_key: dict[Any, list[int]] = {}
        for index, value in enumerate(values):
            by_key.setdefault(_structure(known[name], value), []).append(index)
        groups.append(list(by_key.values()))
    sizes = [len(values) for values in swept.values()]
    for combination in itertools.product(*groups):
        chosen = {
            name: [swept[name][at] for at in places] for name, places in zip(swept, combination, strict=True)
        }  # fmt: skip
        columns: dict[str, Sequence[Any]] = {**{name: [value] for name, value in whole.items()}, **chosen}
        free = [name for name in swept if not isinstance(known[name], Option | Switch) and len(chosen[name]) > 1]
        longest = max(free, key=lambda name: len(chosen[name]), default=None)
        dense = tuple(name for name in free if name != longest)
        labels = [name for name in swept if isinstance(known[name], Option | Switch)]
        ordered = [*labels, *([longest] if longest else [])]
        rows = int(np.prod([len(chosen[name]) for name in ordered], dtype=np.int64)) if ordered else 1
        grid = np.indices([len(chosen[name]) for name in ordered]).reshape(len(ordered), rows)
        positions = dict(zip(ordered, grid, strict=True))
        part = _Part(columns, dense, positions, rows)
        yield _Place(list(swept), [np.asarray(item) for item in combination], sizes, dense, ordered), part


class _Place:
    """Where a part that is a product stands among all points."""

    def __init__(
        self, names: list[str], at: list[Array], sizes: list[int], dense: Sequence[str], joined: Sequence[str]
    ) -> None:
        self.names, self.at, self.sizes = names, at, sizes
        self.dense, self.joined = list(dense), list(joined)

    def write(self, whole: Array, part: Array) -> None:
        """Write a part of shape (*dense, rows) into the array of all points."""
        length = dict(zip(self.names, (len(item) for item in self.at), strict=True))
        order = [*self.dense, *self.joined]
        shaped = part.reshape([length[name] for name in order])
        rest = [name for name in self.names if name not in order]
        shaped = shaped.reshape([*shaped.shape, *(1 for _ in rest)])
        order += rest
        shaped = np.transpose(shaped, [order.index(name) for name in self.names])
        whole = whole.reshape(self.sizes)
        if all(len(item) == size for item, size in zip(self.at, self.sizes, strict=True)):
            whole[...] = shaped
        else:
            whole[np.ix_(*self.at)] = shaped


class _Rows:
    """Where a part that is a list of points stands among all points."""

    def __init__(self, at: list[int]) -> None:
        self.at = at

    def write(self, whole: Array, part: Array) -> None:
        whole.reshape(-1)[self.at] = part.reshape(-1)


def _by_rows(
    model: Model, swept: dict[str, list[Any]], single: Mapping[str, Any], result: Sweep
) -> Iterator[tuple[Any, _Part]]:
    """Yield parts for a model whose inputs follow from each other: each point is checked by itself."""
    grouped: dict[Any, tuple[list[int], list[dict[str, Any]]]] = {}
    for index, point in enumerate(itertools.product(*swept.values())):
        try:
            values = model.check(**{**single, **dict(zip(swept, point, strict=True))})
        except InputError as error:
            if isinstance(error, UnknownNameError):
                raise
            if error.message not in result.excluded:
                result.excluded.append(error.message)
            continue
        key = tuple(_structure(item, values[item.name]) for item in model.inputs)
        places, rows = grouped.setdefault(key, ([], []))
        places.append(index)
        rows.append(values)
    for places, rows in grouped.values():
        distinct: dict[str, Sequence[Any]] = {}
        positions: dict[str, Array] = {}
        for item in model.inputs:
            seen: dict[Any, int] = {}
            column = [seen.setdefault(_identity(row[item.name]), len(seen)) for row in rows]
            first = {at: row[item.name] for at, row in zip(reversed(column), reversed(rows), strict=True)}
            distinct[item.name] = [first[at] for at in range(len(seen))]
            if len(seen) > 1:
                positions[item.name] = np.asarray(column, dtype=np.intp)
        yield _Rows(places), _Part(distinct, (), positions, len(rows))


def _identity(value: Any) -> Any:
    return (value.kind, value.name) if isinstance(value, Entry) else value


# evaluating one part --------------------------------------------------------------------------------------------------
def _fill(result: Sweep, model: Model, part: _Part, place: Any, outputs: Sequence[str] | None) -> None:
    leaves: dict[str, Any] = {}
    joined: dict[Choice, Array] = {}
    dense: list[Choice] = []
    for item in model.inputs:
        values = part.values[item.name]
        leaf, choice = _leaf(item, values)
        leaves[item.name] = leaf
        if choice is None:
            continue
        position = part.positions.get(item.name)
        if item.name in part.dense:
            dense.append(choice)
            continue
        at = np.asarray([choice.position[value] for value in values] if _is_label(item) else range(len(values)))
        joined[choice] = at[position if position is not None else np.zeros(part.rows, dtype=np.intp)]
    equations = model.equations(**leaves)
    dense.sort(key=lambda choice: part.dense.index(choice.name))
    wanted = _wanted(equations, outputs)
    named = model.leaf_values({name: values[0] for name, values in part.values.items()})
    program = GridProgram(list(wanted.values()), named, Axes(joined, tuple(dense), part.rows))
    shape = (*(len(choice.values) for choice in dense), part.rows)
    arrays = {name: np.empty(shape) for name in wanted}
    for start, stop, block in program.blocks():
        for array, value in zip(arrays.values(), block, strict=True):
            array[..., start:stop] = value
    _note_reasons(result, list(wanted.values()))
    undefined = np.zeros(shape, dtype=bool)
    for name, array in arrays.items():
        if not name.startswith("\n"):
            undefined |= np.isnan(array)
    if outputs is None or FEASIBLE in outputs:
        holds = ~undefined
        for name, array in arrays.items():
            if name.startswith("\n"):
                holds &= array == 1
        arrays[FEASIBLE] = holds.astype(float)
    total = int(np.prod(result.shape, dtype=np.int64))
    for name, array in arrays.items():
        if name.startswith("\n"):
            continue
        if name not in result._si:
            result._si[name] = np.full(total, 0.0 if name == FEASIBLE else np.nan).reshape(result.shape)
            result._shown[name] = _shown(equations, name, array)
        place.write(result._si[name], array)


def _is_label(item: Input) -> bool:
    return isinstance(item, Option | Switch)


def _leaf(item: Input, values: Sequence[Any]) -> tuple[Any, Choice | None]:
    """Return what the equations get for these values, and the choice that ranges over them, if there is one."""
    if values[0] is None:
        return None, None
    if isinstance(item, Option | Switch):
        choice: Any = item.leaf(values[0])
        return choice, choice
    if len(values) == 1:
        return item.leaf(values[0]), None
    if isinstance(item, Given):
        choice = Choice(item.name, [entry.name for entry in values])
        return View(item.name, values, choice), choice
    if isinstance(item, Number):
        choice = Choice(item.name, values)
        return (choice if item.of == NONE else choice * constant(1.0, item.of)), choice
    raise InputError(f"several values of {item.name!r} cannot be of one structure", path=item.name)


def _wanted(equations: Result, outputs: Sequence[str] | None) -> dict[str, Expression]:
    """Return the expressions to evaluate, by name; those of constraints begin with a line break."""
    have = equations.expressions()
    for name in outputs or ():
        if name not in have and name != FEASIBLE:
            raise UnknownNameError("output", name, [*have, FEASIBLE])
    wanted = {name: node for name, node in have.items() if outputs is None or name in outputs}
    if outputs is None or FEASIBLE in outputs:
        wanted.update({f"\n{name}": truth for name, truth in equations.constraints.items()})
    return wanted


def _shown(equations: Result, name: str, array: Array) -> tuple[Unit | None, tuple[str, ...], bool]:
    """Return in which unit an output is shown, its labels, and whether it is a truth."""
    if name == FEASIBLE:
        return None, (), True
    node = equations.expressions()[name]
    if node.sort == "label":
        assert isinstance(node, Operation)
        return None, tuple(node.param), False
    if node.sort == "truth":
        return None, (), True
    if node.dimension == NONE:
        return None, (), False
    text = equations.units.get(name)
    if text:
        return parse_unit(text), (), False
    finite = np.abs(array[np.isfinite(array)])
    return readable_unit(float(np.median(finite)) if finite.size else 1.0, node.dimension), (), False


def _note_reasons(result: Sweep, roots: Sequence[Expression]) -> None:
    for node in topological(roots):
        param = node.param if isinstance(node, Operation) else None
        for reason in param.reasons.values() if isinstance(param, Table) else ():
            if reason not in result.excluded:
                result.excluded.append(reason)
