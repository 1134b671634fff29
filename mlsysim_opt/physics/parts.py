"""Many questions about a model at once: any inputs as lists, divided into parts that have the same equations.

The equations are those that a single question traces, with arrays as the values of their leaves. Inputs that decide the
structure (a precision, a model with experts or without) divide the space; so does a number that only some entries have.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.inputs import Degree
from mlsysim_opt.registry.entry import Entry

if TYPE_CHECKING:
    from mlsysim_opt.physics.base import Model
    from mlsysim_opt.physics.traced import Bound, Traced

FEASIBLE = "feasible"
MOST_POINTS = 10**8
"""Points of one space: three outputs of so many are 2.4 GB."""

Array = np.ndarray[Any, Any]


class Point(NamedTuple):
    """A combination of the inputs that decide the equations or follow from each other.

    Attributes:
        at: the position of its value along each of their axes. values: every input, checked.
        bound: its equations, with the values of the leaves that entries bind.
    """

    at: tuple[int, ...]
    values: Mapping[str, Any]
    bound: Bound


def is_list(value: Any) -> bool:
    """Return whether an input is given as several values."""
    if isinstance(value, str | Entry):
        return False
    if isinstance(value, list | tuple | range | np.ndarray):
        return True
    magnitude = getattr(value, "magnitude", None)
    return isinstance(magnitude, np.ndarray | list)


@dataclass(frozen=True)
class Space:
    """The inputs of many questions.

    Attributes:
        model: the model. swept: checked values of each input that has several, in the order given; names that are no
            inputs are axes of whatever asks. raw: the same as given. single: the others.
    """

    model: Model
    swept: dict[str, list[Any]]
    raw: dict[str, list[Any]]
    single: dict[str, Any]

    @staticmethod
    def of(model: Model, given: Mapping[str, Any]) -> Space:
        """Return the space of these inputs.

        Raises:
            UnknownNameError: one is unknown. InputError: a list is empty, a value is wrong, or points are too many.
        """
        known = {item.name: item for item in model.inputs}
        swept: dict[str, list[Any]] = {}
        raw: dict[str, list[Any]] = {}
        single: dict[str, Any] = {}
        for name, value in given.items():
            real = model.aliases.get(name, name)
            if not is_list(value):
                single[name] = value
                continue
            if real not in known:
                raise UnknownNameError(f"argument of {type(model).__name__}", name, [*known, *model.aliases])
            raw[real] = list(value)
            swept[real] = [None if item is None else known[real].read(item) for item in raw[real]]
            if not swept[real]:
                raise InputError("the list of values is empty", path=real)
        found = Space(model, swept, raw, single)
        if found.points > MOST_POINTS:
            raise InputError(
                f"{found.points:.3g} points are more than one sweep holds ({MOST_POINTS:.0e})", hint="sweep in parts"
            )
        return found

    @property
    def points(self) -> int:
        """The number of combinations."""
        return math.prod(len(values) for values in self.swept.values())

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The swept inputs, each with its values as people write them."""
        return {
            name: tuple(item.name if isinstance(item, Entry) else item for item in values)
            for name, values in self.swept.items()
        }

    def with_axis(self, name: str, values: Sequence[float]) -> Space:
        """Return the same space with one more axis, of something that is no input."""
        return Space(self.model, {name: list(values), **self.swept}, self.raw, self.single)

    def parts(self, outputs: Sequence[str] | None) -> tuple[list[Part], list[MlsysimError]]:
        """Return the parts that have the same equations for these outputs, and why some points have none."""
        apart = [item.name for item in self.model.inputs if isinstance(item, Degree) and item.name in self.raw]
        parts, failed = self._parts(outputs, [])
        if failed and apart:  # where a degree plays no part, there may be equations
            parts, failed = self._parts(outputs, apart)
        return parts, failed

    def _parts(self, outputs: Sequence[str] | None, apart: Sequence[str]) -> tuple[list[Part], list[MlsysimError]]:
        """Return the same. Degrees decide the equations where they are listed in `apart`; else the general ones are
        taken for all their values."""
        model, swept = self.model, self.swept
        keyed = {item.name for item in (*model._keyed, *model._compound)}
        general = {item.name: item.neutral + 1 for item in model.inputs
                   if isinstance(item, Degree) and item.name in self.raw and item.name not in apart
                   and not model.derives and None not in swept[item.name]}  # fmt: skip
        joint = [
            name
            for name in self.raw
            if model.derives or (name in keyed and name not in general) or any(item is None for item in swept[name])
        ]
        first = {name: values[0] for name, values in self.raw.items()}
        whole = {} if model.derives else model.check(**{**self.single, **first})
        whole.update(general)
        failed: list[MlsysimError] = []
        seen: dict[Any, tuple[Bound, Any] | None] = {}
        groups: dict[Any, list[Point]] = {}
        for at in itertools.product(*(range(len(swept[name])) for name in joint)):
            here = dict(zip(joint, at, strict=True))
            try:
                if model.derives:
                    values = model.check(**self.single, **{name: self.raw[name][place] for name, place in here.items()})
                else:
                    values = {**whole, **{name: swept[name][place] for name, place in here.items()}}
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
                groups.setdefault(found[1], []).append(Point(at, values, found[0]))
        return [Part(self, joint, group) for group in groups.values()], failed


@dataclass
class Part:
    """Points with the same equations. Its axes are those points, then the other swept inputs; while it is computed, the
    longest is the last."""

    space: Space
    joint: Sequence[str]
    group: Sequence[Point]
    free: list[str] = field(init=False)
    lengths: list[int] = field(init=False)
    order: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.free = [name for name in self.space.swept if name not in self.joint]
        self.lengths = [len(self.group), *(len(self.space.swept[name]) for name in self.free)]
        self.order = sorted(range(len(self.lengths)), key=lambda axis: self.lengths[axis])

    @property
    def traced(self) -> Traced:
        """The equations."""
        return self.group[0].bound.traced

    @property
    def shape(self) -> list[int]:
        """The lengths of the axes as they are computed."""
        return [self.lengths[axis] for axis in self.order]

    @property
    def whole(self) -> bool:
        """Whether it is the whole space."""
        return len(self.group) == math.prod(len(self.space.swept[name]) for name in self.joint)

    def leaf(self, leaf: Any) -> Any:
        """Return the value of a leaf: a number, or an array along one of the axes as they are computed."""
        known = self.group[0].bound.known
        if leaf.name in known:
            axis, column = 0, [point.bound.known[leaf.name] for point in self.group]
        elif leaf.name in self.free:
            axis, column = 1 + self.free.index(leaf.name), self.space.swept[leaf.name]
        else:
            axis, column = 0, [point.values[leaf.name] for point in self.group]
        if isinstance(leaf, Choice):
            column = [leaf.position[value] for value in column]
        if column.count(column[0]) == len(column):
            return column[0]
        shape = [1] * len(self.order)
        shape[self.order.index(axis)] = len(column)
        return np.asarray(column, dtype=int if isinstance(leaf, Choice) else float).reshape(shape)

    def in_order(self, value: Any) -> Array:
        """Return an array over the axes as they are computed as one over the axes of the part; a number as an array."""
        array = np.asarray(value, dtype=float)
        if not array.ndim:
            return array.reshape([1] * len(self.order))
        return np.transpose(array, np.argsort(self.order))

    def write(self, array: Array, into: Array | None, absent: float) -> Array:
        """Return an array over all swept inputs with these values (of the axes of the part) where the part belongs.

        Args:
            into: what it is written into; None for a new one, with `absent` everywhere else.
        """
        swept = self.space.swept
        names = [*self.joint, *self.free]
        array = np.broadcast_to(array, self.lengths)
        if self.whole:
            apart = array.reshape([*(len(swept[name]) for name in self.joint), *array.shape[1:]])
            return np.transpose(apart, [names.index(name) for name in swept])
        if into is None:
            into = np.full([len(values) for values in swept.values()], absent)
        place = np.transpose(into, [list(swept).index(name) for name in names])
        place[tuple(np.asarray(column) for column in zip(*(point.at for point in self.group), strict=True))] = array
        return into


def _same_equations(traced: Traced, outputs: Sequence[str] | None) -> Any:
    """Return what structures with the same equations for these outputs have in common: equal expressions are one."""
    names, _ = wanted(traced, outputs)
    return tuple(names), tuple(id(traced.everything[name]) for name in names), tuple(traced.labels.items())


def wanted(traced: Traced, outputs: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the names of what to evaluate, constraints after outputs, and of the outputs alone."""
    names = [name for name in traced.expressions if outputs is None or name in outputs]
    rules = traced.constraint_names if outputs is None or FEASIBLE in outputs else ()
    return [*names, *rules], names
