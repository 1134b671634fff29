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
KEPT_SWEEPS = 16
"""Sweeps of a model whose equations are kept."""
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
    """A part of the space with one structure.

    Attributes:
        values: the distinct checked values of each input.
        positions: for a part that is a list of points, where each point takes an input's value from; None for a part
            in which all inputs with several values vary independently.
    """

    values: Mapping[str, Sequence[Any]]
    positions: Mapping[str, Array] | None = None


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
    points = int(np.prod([len(values) for values in swept.values()], dtype=float)) if swept else 1
    if points > MOST_POINTS:
        raise InputError(
            f"{points:.3g} points are more than one sweep holds ({MOST_POINTS:.0e})", hint="sweep in parts"
        )
    result = Sweep({name: tuple(_label(item) for item in values) for name, values in swept.items()})
    derived = type(model).prepare is not _base_prepare()
    parts = _by_rows(model, raw, single, result) if derived else _by_product(model, swept, raw, single)
    failed: list[MlsysimError] = []
    done = 0
    waiting = list(parts)
    while waiting:
        place, part = waiting.pop(0)
        try:
            _fill(result, model, part, place, outputs)
            done += 1
        except MlsysimError as error:  # a structure that cannot be: a device without this precision, or several in one
            if isinstance(error, UnknownNameError):
                raise
            finer = _finer(model, swept, place, part)
            waiting = finer + waiting
            if not finer:
                failed.append(error)
    if not done:
        raise failed[0] if failed else InputError(f"no point can be evaluated: {'; '.join(result.excluded[:3])}")
    result.excluded += [
        item for item in dict.fromkeys(error.message for error in failed) if item not in result.excluded
    ]
    for name in outputs or ():
        if name not in result._si:
            raise InputError(f"{name} is not known for any of the points: {'; '.join(result.excluded[:3])}", path=name)
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


def _coarse(item: Input, value: Any) -> Any:
    """Return what of a value surely decides the equations. Entries of one type often have the same ones, whatever else
    they state; where they do not, the part fails and is divided."""
    if isinstance(item, Number) and value is not None:
        return None
    return type(value) if isinstance(value, Entry) else _structure(item, value)


def _by_product(
    model: Model, swept: dict[str, list[Any]], raw: dict[str, list[Any]], single: Mapping[str, Any]
) -> Iterator[tuple[Any, _Part]]:
    """Yield (where it goes, part) for inputs that vary independently of each other."""
    known = {item.name: item for item in model.inputs}
    first = {**single, **{name: values[0] for name, values in raw.items()}}
    whole = model.check(**first)
    groups: list[list[list[int]]] = []
    for name, values in swept.items():
        by_key: dict[Any, list[int]] = {}
        for index, value in enumerate(values):
            by_key.setdefault(_coarse(known[name], value), []).append(index)
        groups.append(list(by_key.values()))
    for combination in itertools.product(*groups):
        yield _product(swept, {name: [value] for name, value in whole.items()}, combination)


def _product(
    swept: dict[str, list[Any]], whole: Mapping[str, Sequence[Any]], places: Sequence[Sequence[int]]
) -> tuple[_Place, _Part]:
    """Return the part of these positions of the swept values, and where it goes."""
    chosen = {name: [swept[name][at] for at in at_these] for name, at_these in zip(swept, places, strict=True)}
    sizes = [len(values) for values in swept.values()]
    return _Place([np.asarray(item) for item in places], sizes), _Part({**whole, **chosen})


def _finer(model: Model, swept: dict[str, list[Any]], place: Any, part: _Part) -> list[tuple[Any, _Part]]:
    """Return the parts of one structure each that a part divides into; none where it has one structure already."""
    if not isinstance(place, _Place):
        return []
    known = {item.name: item for item in model.inputs}
    groups: list[list[list[int]]] = []
    for name, places in zip(swept, place.at, strict=True):
        by_key: dict[Any, list[int]] = {}
        for at in places.tolist():
            by_key.setdefault(_structure(known[name], swept[name][at]), []).append(at)
        groups.append(list(by_key.values()))
    if all(len(group) == 1 for group in groups):
        return []
    return [_product(swept, part.values, combination) for combination in itertools.product(*groups)]


class _Place:
    """Where a part that is a product stands among all points."""

    def __init__(self, at: list[Array], sizes: list[int]) -> None:
        self.at, self.sizes = at, sizes
        self.whole = all(len(item) == size for item, size in zip(at, sizes, strict=True))

    def write(self, into: Array, part: Array) -> None:
        """Write a part, with one axis for each swept input, into the array of all points."""
        into[np.ix_(*self.at) if self.at else ()] = part


class _Rows:
    """Where a part that is a list of points stands among all points."""

    whole = False

    def __init__(self, at: list[int]) -> None:
        self.at = at

    def write(self, into: Array, part: Array) -> None:
        """Write the values of these points into the array of all points."""
        into.reshape(-1)[self.at] = part.reshape(-1)


def _by_rows(
    model: Model, raw: dict[str, list[Any]], single: Mapping[str, Any], result: Sweep
) -> Iterator[tuple[Any, _Part]]:
    """Yield parts for a model whose inputs follow from each other: each point is checked by itself."""
    grouped: dict[Any, tuple[list[int], list[dict[str, Any]]]] = {}
    for index, point in enumerate(itertools.product(*raw.values())):
        try:
            values = model.check(**{**single, **dict(zip(raw, point, strict=True))})
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
        yield _Rows(places), _Part(distinct, {**positions, "": np.arange(len(rows))})


def _identity(value: Any) -> Any:
    return (value.kind, value.name) if isinstance(value, Entry) else value


# evaluating one part --------------------------------------------------------------------------------------------------
class _Written(NamedTuple):
    """The equations of a part, and the choice that ranges over each input that has one."""

    equations: Result
    choices: Mapping[str, Choice]
    entries: list[Any]
    """Keeps the entries of the key alive, whose identities it holds."""
    reasons: dict[Sequence[str] | None, list[str]]
    """Why values can be undefined, by the outputs that were asked for."""


def _written(model: Model, part: _Part) -> _Written:
    """Return the equations of a part; those of the last few sweeps are kept."""
    known = type(model).__dict__["_cache"]
    key: Any = ("sweep", *(_signature(item, part.values[item.name]) for item in model.inputs))
    found = known.get(key)
    if found is None:
        made = {item.name: _leaf(item, part.values[item.name]) for item in model.inputs}
        choices = {name: choice for name, (_, choice) in made.items() if choice is not None}
        entries = [value for values in part.values.values() for value in values if isinstance(value, Entry)]
        found = _Written(model.equations(**{name: leaf for name, (leaf, _) in made.items()}), choices, entries, {})
        for old in [item for item in known if item and item[0] == "sweep"][: -KEPT_SWEEPS or None]:
            del known[old]
        known[key] = found
    written: _Written = found
    return written


def _signature(item: Input, values: Sequence[Any]) -> Any:
    if len(values) == 1 and not isinstance(item, Option | Switch):
        return _structure(item, values[0])
    return tuple(id(value) if isinstance(value, Entry) else value for value in values)


def _fill(result: Sweep, model: Model, part: _Part, place: Any, outputs: Sequence[str] | None) -> None:
    written = _written(model, part)
    wanted = _wanted(written.equations, outputs)
    named = model.leaf_values({name: values[0] for name, values in part.values.items()})
    inputs = {item.name: item for item in model.inputs}
    arrays: dict[str, Array] = {}
    for names, roots in _by_choices(wanted, written.choices).items():
        if part.positions is None:
            axes, order = _independent(names, part, written.choices, inputs, result.axes)
        else:
            axes, order = _listed(names, part, written.choices, inputs), [""]
        for name, array in zip(roots, _evaluated(list(roots.values()), named, axes), strict=True):
            arrays[name] = array if part.positions is not None else _spread(array, order, part, result.axes)
    asked = None if outputs is None else tuple(outputs)
    if asked not in written.reasons:
        written.reasons[asked] = _reasons(list(wanted.values()))
    lacking = _lacking(written.equations, outputs)
    result.excluded += [reason for reason in (*written.reasons[asked], *lacking) if reason not in result.excluded]
    if outputs is None or FEASIBLE in outputs:
        holds = np.ones(next(iter(arrays.values())).shape, dtype=bool)
        for name, array in arrays.items():
            holds = holds & ((array == 1) if name.startswith("\n") else ~np.isnan(array))
        arrays[FEASIBLE] = holds.astype(float)
    for name, array in arrays.items():
        if name.startswith("\n"):
            continue
        if name not in result._shown:
            result._shown[name] = _shown(written.equations, name, array)
        if place.whole:
            result._si[name] = array  # of what does not depend on an axis, all along it the same numbers
            continue
        if name not in result._si:
            result._si[name] = np.full(result.shape, 0.0 if name == FEASIBLE else np.nan)
        place.write(result._si[name], array)


def _by_choices(
    wanted: Mapping[str, Expression], choices: Mapping[str, Choice]
) -> dict[tuple[str, ...], dict[str, Expression]]:
    """Return the expressions by the inputs that they depend on, of those that have several values."""
    found: dict[tuple[str, ...], dict[str, Expression]] = {}
    for name, root in wanted.items():
        used = tuple(item for item, choice in choices.items() if choice in root.choices)
        found.setdefault(used, {})[name] = root
    return found


def _independent(
    names: Sequence[str],
    part: _Part,
    choices: Mapping[str, Choice],
    inputs: Mapping[str, Input],
    swept: Mapping[str, Any],
) -> tuple[Axes, list[str]]:
    """Return the axes of inputs that vary independently, and the inputs in the order of the result's axes.

    The longest axis, and options (of which only some values may be wanted), make up the rows.
    """
    free = [name for name in names if name in swept and not _is_label(inputs[name])]
    longest = max(free, key=lambda name: len(part.values[name]), default=None)
    labels = [name for name in names if _is_label(inputs[name])]
    joined = [*labels, *([longest] if longest else [])]
    sizes = [len(part.values[name]) for name in joined]
    rows = int(np.prod(sizes, dtype=np.int64))
    grid = np.indices(sizes).reshape(len(joined), rows)
    at = {choices[name]: _positions(inputs[name], part.values[name], choices[name])[row]
          for name, row in zip(joined, grid, strict=True)}  # fmt: skip
    dense = [name for name in free if name != longest]
    return Axes(at, tuple(choices[name] for name in dense), rows), [*dense, *joined]


def _listed(names: Sequence[str], part: _Part, choices: Mapping[str, Choice], inputs: Mapping[str, Input]) -> Axes:
    """Return the axes of a list of points."""
    assert part.positions is not None
    rows = len(part.positions[""])
    one = np.zeros(rows, dtype=np.intp)
    at = {choices[name]: _positions(inputs[name], part.values[name], choices[name])[part.positions.get(name, one)]
          for name in names}  # fmt: skip
    return Axes(at, (), rows)


def _positions(item: Input, values: Sequence[Any], choice: Choice) -> Array:
    return np.asarray([choice.position[value] for value in values] if _is_label(item) else range(len(values)))


def _evaluated(roots: list[Expression], named: Mapping[str, float], axes: Axes) -> list[Array]:
    """Return the values of expressions over some axes, of shape (*dense, rows)."""
    program = GridProgram(roots, named, axes)
    arrays = [np.empty((*axes.dense_shape, axes.rows)) for _ in roots]
    for start, stop, block in program.blocks():
        for array, value in zip(arrays, block, strict=True):
            array[..., start:stop] = value
    return arrays


def _spread(array: Array, order: list[str], part: _Part, swept: Mapping[str, Any]) -> Array:
    """Return an array over some inputs as one over all swept inputs, in their order."""
    shaped = array.reshape([len(part.values[name]) for name in order])
    here = [name for name in swept if name in order]
    single = [name for name in order if name not in swept]  # options that are not swept have one value
    shaped = np.transpose(shaped, [order.index(name) for name in [*here, *single]])
    whole = tuple(len(part.values[name]) for name in swept)
    shaped = shaped.reshape([len(part.values[name]) if name in here else 1 for name in swept])
    return np.broadcast_to(shaped, whole)


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
        if name not in equations.field_names() and name != FEASIBLE:
            raise UnknownNameError("output", name, [*equations.field_names(), FEASIBLE])
    wanted = {name: node for name, node in have.items() if outputs is None or name in outputs}
    if outputs is None or FEASIBLE in outputs:
        wanted.update({f"\n{name}": truth for name, truth in equations.constraints.items()})
    return wanted


def _lacking(equations: Result, outputs: Sequence[str] | None) -> list[str]:
    """Return why outputs that were asked for have no equation in this part of the space."""
    held = {name: equations.__dict__[name] for name in outputs or () if name != FEASIBLE}
    return [
        item.message if isinstance(item, MlsysimError) else f"{name} is not known for some of the points"
        for name, item in held.items()
        if not isinstance(item, Expression)
    ]


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


def _reasons(roots: Sequence[Expression]) -> list[str]:
    """Return why values of these expressions can be undefined."""
    tables = [node.param for node in topological(roots) if isinstance(node, Operation)]
    return list(
        dict.fromkeys(reason for table in tables if isinstance(table, Table) for reason in table.reasons.values())
    )
