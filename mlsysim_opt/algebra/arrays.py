"""Evaluation of a DAG over arrays: leaves that have a value for each place along some axes of one space.

Unlike `GridProgram`, the space belongs to the run, not to the DAG: the equations of one question serve for any values
of its leaves. A sub-expression is computed over the axes that its leaves vary along, and broadcast from there.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.expression import Choice, Constant, Expression, Operation, Symbol, topological
from mlsysim_opt.errors import InputError

Array = np.ndarray[Any, Any]
TILE = 1 << 17
"""Elements that are computed at a time: 1 MiB per intermediate, so that the few that are alive stay in the cache."""
WHOLE = 1 << 17
"""A sub-expression with at most this many elements is computed once, a larger one by tiles."""


class _Step(NamedTuple):
    """An operation: on numbers, on arrays, the slots of its arguments and of its result."""

    scalar: Callable[..., Any]
    array: Callable[..., Any]
    args: tuple[int, ...]
    out: int


class ArrayProgram:
    """A DAG compiled for runs over arrays.

    Args:
        roots: the expressions wanted.
    Attributes:
        leaves: the symbols and choices whose values a run needs, in order.
    """

    def __init__(self, roots: Sequence[Expression]) -> None:
        nodes = topological(roots)
        self.leaves = [node for node in nodes if isinstance(node, Symbol | Choice)]
        slot = {id(node): at for at, node in enumerate(self.leaves)}
        self._constants: list[Any] = [node.value for node in nodes if isinstance(node, Constant)]
        slot.update({id(node): len(slot) + at for at, node in enumerate(n for n in nodes if isinstance(n, Constant))})
        self._steps: list[_Step] = []
        position = dict(slot)  # of a choice, what of its values is taken; its number is a step of its own
        for leaf in self.leaves:
            if isinstance(leaf, Choice) and leaf.numeric:
                number = functools.partial(_number, np.asarray(leaf.values, dtype=float))
                slot[id(leaf)] = self._add(number, number, (position[id(leaf)],))
        for node in nodes:
            if isinstance(node, Operation):
                args = tuple((position if node.atom.by_position else slot)[id(item)] for item in node.args)
                scalar, array = node.atom.scalar, node.atom.array
                if node.param is not None:
                    scalar = functools.partial(scalar, param=node.param)
                    array = functools.partial(array, param=node.param)
                slot[id(node)] = self._add(scalar, array, args)
        self._outputs = [slot[id(root)] for root in roots]
        self._keep = list(roots)

    def _add(self, scalar: Callable[..., Any], array: Callable[..., Any], args: tuple[int, ...]) -> int:
        out = len(self.leaves) + len(self._constants) + len(self._steps)
        self._steps.append(_Step(scalar, array, args, out))
        return out

    def run(self, values: Mapping[str, Any], shape: Sequence[int]) -> list[Any]:
        """Return each root as a number, or as an array of as many dimensions as the space, 1 long where it is constant.

        Args:
            values: of each leaf by name: a number, or an array of several with a dimension for each axis of the space,
                1 long along those that the leaf does not vary with. Choices are given by positions of their values.
            shape: the lengths of the axes. The last are best long: loops run along them.
        Raises:
            InputError: a leaf has no value.
        """
        slots: list[Any] = []
        for leaf in self.leaves:
            if leaf.name not in values:
                raise InputError(f"no value for {leaf.name!r}", path=leaf.name)
            value = values[leaf.name]
            slots.append(value.item() if isinstance(value, np.ndarray) and value.size == 1 else value)
        slots.extend(self._constants)
        varies = [_axes(value) for value in slots]
        large: list[_Step] = []
        sizes = {0: 1}
        with np.errstate(all="ignore"):
            for step in self._steps:
                axes = 0
                for at in step.args:
                    axes |= varies[at]
                varies.append(axes)
                if not axes:
                    slots.append(step.scalar(*[slots[at] for at in step.args]))
                    continue
                if axes not in sizes:
                    sizes[axes] = math.prod(size for at, size in enumerate(shape) if axes >> at & 1)
                if sizes[axes] <= WHOLE:
                    slots.append(step.array(*[slots[at] for at in step.args]))
                else:
                    slots.append(None)
                    large.append(step)
            self._fill(slots, varies, large, shape)
        return [slots[at] for at in self._outputs]

    def _fill(self, slots: list[Any], varies: Sequence[int], large: Sequence[_Step], shape: Sequence[int]) -> None:
        """Compute the large sub-expressions tile by tile, and put those that are wanted into their slots.

        What varies along the same axes goes together, so that nothing is computed more often than it differs.
        """
        made = {step.out: step for step in large}
        by_axes: dict[int, list[int]] = {}
        for at in dict.fromkeys(at for at in self._outputs if at in made):
            by_axes.setdefault(varies[at], []).append(at)
        for axes, wanted in by_axes.items():
            steps = _below(wanted, made)
            last = {at: index for index, step in enumerate(steps) for at in step.args}
            plan = [
                (step, [at for at in set(step.args) if last[at] == index and at not in wanted])
                for index, step in enumerate(steps)
            ]
            lengths = [size if axes >> at & 1 else 1 for at, size in enumerate(shape)]
            arrays = {at: np.empty(lengths) for at in wanted}
            for cut in _tiles(lengths):
                local: dict[int, Any] = {}
                for step, finished in plan:
                    given = []
                    for at in step.args:
                        value = local.get(at)
                        if value is None:
                            value = local[at] = _part(slots[at], cut)
                        given.append(value)
                    local[step.out] = step.array(*given)
                    for at in finished:
                        del local[at]
                    del given, value
                for at, array in arrays.items():
                    array[cut] = local[at]
            for at, array in arrays.items():
                slots[at] = array


def _number(numbers: Array, positions: Any) -> Any:
    return float(numbers[positions]) if np.ndim(positions) == 0 else numbers[positions]


def _axes(value: Any) -> int:
    """Return along which axes a value varies, as bits."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return 0
    return sum(1 << at for at, size in enumerate(value.shape) if size > 1)


def _below(wanted: Sequence[int], made: Mapping[int, _Step]) -> list[_Step]:
    """Return the steps that these slots are made by, in order."""
    used, waiting = set(wanted), list(wanted)
    while waiting:
        for at in made[waiting.pop()].args:
            if at in made and at not in used:
                used.add(at)
                waiting.append(at)
    return [step for out, step in made.items() if out in used]


def _tiles(lengths: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the parts of a space, cut along its first axes first: the last ones stay whole, and loops long."""
    left = TILE
    cuts: list[list[slice]] = []
    for size in reversed(lengths):
        step = max(1, min(size, left))
        left //= max(1, size)
        cuts.insert(0, [slice(start, min(start + step, size)) for start in range(0, size, step)])
    yield from itertools.product(*cuts)


def _part(value: Any, cut: Sequence[slice]) -> Any:
    """Return what of a value belongs to a tile."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    return value[tuple(here if size > 1 else slice(None) for size, here in zip(value.shape, cut, strict=True))]
