"""Evaluation of a DAG over arrays: leaves that have a value for each place along some axes of one space.

Unlike `GridProgram`, the space belongs to the run, not to the DAG: the equations of one question serve for any values
of its leaves. A sub-expression is computed over the axes that its leaves vary along, and broadcast from there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.expression import Choice, Constant, Expression, Operation, Symbol, topological
from mlsysim_opt.algebra.interval import EVERYTHING, Interval, union
from mlsysim_opt.algebra.regroup import regrouped
from mlsysim_opt.algebra.tiles import Array, Step, axes_of, cuts, fill, several
from mlsysim_opt.errors import InputError

REGROUPED = 100_000
"""Values that an operation has on average from which on regrouping pays: it takes as long as computing so many."""
WHOLE = 1 << 17
"""A sub-expression with at most this many elements is computed once, if it were computed again in other tiles."""
LITTLE = 1 << 14
"""A sub-expression with at most this many elements is computed once."""


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
        self._steps: list[Step] = []
        position = dict(slot)  # of a choice, what of its values is taken; its number is a step of its own
        for leaf in self.leaves:
            if isinstance(leaf, Choice) and leaf.numeric:
                number = functools.partial(_number, np.asarray(leaf.values, dtype=float))
                slot[id(leaf)] = self._add(number, number, (position[id(leaf)],))
        for node in nodes:
            if isinstance(node, Operation):
                args = tuple((position if node.atom.by_position else slot)[id(item)] for item in node.args)
                staged = node.atom.staged()
                if staged is not None:
                    many = len(staged.parts)
                    made = [self._add(part, part, args[at::many]) for at, part in enumerate(staged.parts)]
                    slot[id(node)] = self._add(staged.whole, staged.whole, tuple(made), places=True)
                    continue
                ufunc = node.atom.ufunc(node.args)
                if ufunc is not None and node.sort == "number":
                    slot[id(node)] = self._add(node.atom.scalar, ufunc[0], args, taken=args[: ufunc[1]], places=True)
                    continue
                scalar, array = node.atom.scalar, node.atom.array
                if node.param is not None:
                    scalar = functools.partial(scalar, param=node.param)
                    array = functools.partial(array, param=node.param)
                slot[id(node)] = self._add(scalar, array, args)
        self._outputs = [slot[id(root)] for root in roots]
        self.roots = list(roots)
        self._regrouped: _Regrouped | None = None

    def _add(self, scalar: Callable[..., Any], array: Callable[..., Any], args: tuple[int, ...], **more: Any) -> int:
        out = len(self.leaves) + len(self._constants) + len(self._steps)
        self._steps.append(Step(scalar, array, args, **{"taken": args, "out": out, "places": False, **more}))
        return out

    def run(self, values: Mapping[str, Any], shape: Sequence[int], *, as_written: bool = True) -> list[Any]:
        """Return each root as a number, or as an array of as many dimensions as the space, 1 long where it is constant.

        Args:
            values: of each leaf by name: a number, or an array of several with a dimension for each axis of the space,
                1 long along those that the leaf does not vary with. Choices are given by positions of their values.
            shape: the lengths of the axes. The last are best long: loops run along them.
            as_written: whether operations are done as they are written, to the last digit. Otherwise those of a large
                space are regrouped (`regroup`): several times faster, and equal to about 1e-14 of each value.
        Raises:
            InputError: a leaf has no value.
        """
        given: list[Any] = []
        for leaf in self.leaves:
            if leaf.name not in values:
                raise InputError(f"no value for {leaf.name!r}", path=leaf.name)
            value = values[leaf.name]
            given.append(value.item() if isinstance(value, np.ndarray) and value.size == 1 else value)
        program = None if as_written else self._regrouped
        if program is not None and program.serves(given, shape):
            return program.run(given, shape)
        if as_written or self._work(given, shape) < REGROUPED * len(self._steps):
            return self._run(given, shape)
        self._regrouped = program = _Regrouped(self, given, shape)
        return program.run(given, shape)

    def _work(self, given: Sequence[Any], shape: Sequence[int]) -> int:
        """Return how many values are computed when every operation is done as it is written."""
        varies = [axes_of(value) for value in given] + [0] * len(self._constants)
        for step in self._steps:
            axes = 0
            for at in step.args:
                axes |= varies[at]
            varies.append(axes)
        sizes = {axes: math.prod(size for at, size in enumerate(shape) if axes >> at & 1) for axes in set(varies)}
        return sum(sizes[axes] for axes in varies[-len(self._steps) :]) if self._steps else 0

    def _run(self, given: Sequence[Any], shape: Sequence[int], **errors: Any) -> list[Any]:
        """Return the roots for the values of the leaves, in their order."""
        slots = [*given, *self._constants]
        varies = [axes_of(value) for value in slots]
        large: list[Step] = []
        sizes = {0: 1}
        cut_axes = several(cuts(shape))
        with np.errstate(**{"all": "ignore", **errors}):
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
                if sizes[axes] <= (WHOLE if cut_axes & ~axes else LITTLE):
                    slots.append(step.array(*[slots[at] for at in step.taken]))
                else:
                    slots.append(None)
                    large.append(step)
            fill(slots, varies, large, self._outputs, shape)
        return [slots[at] for at in self._outputs]


class _Regrouped:
    """A program regrouped for a space, and for values in a box.

    Numbers that become too large or too small for a float on the way (they need not in the program as written) are
    noticed, and the program as written is run.
    """

    def __init__(self, program: ArrayProgram, given: Sequence[Any], shape: Sequence[int]) -> None:
        self._written = program
        self._shape = list(shape)
        self._axes = [axes_of(value) for value in given]
        last = program._regrouped
        self._box: list[_Extremes] = [_extremes(value) for value in given]
        if last is not None:  # values that change a little need no new program
            self._box = [new.with_those_of(old) for new, old in zip(self._box, last._box, strict=True)]
        names = [leaf.name for leaf in program.leaves]
        made = regrouped(
            program.roots,
            dict(zip(names, self._axes, strict=True)),
            shape,
            {
                leaf.name: box.interval
                for leaf, box in zip(program.leaves, self._box, strict=True)
                if isinstance(leaf, Symbol)
            },
            [name for name, box in zip(names, self._box, strict=True) if not box.defined],
        )
        self._program = ArrayProgram(made)
        self._order = [names.index(leaf.name) for leaf in self._program.leaves]

    def serves(self, given: Sequence[Any], shape: Sequence[int]) -> bool:
        """Return whether it is made for this space, and for values like these."""
        return (
            list(shape) == self._shape
            and [axes_of(value) for value in given] == self._axes
            and all(box.holds(_extremes(value)) for value, box in zip(given, self._box, strict=True))
        )

    def run(self, given: Sequence[Any], shape: Sequence[int]) -> list[Any]:
        """Return the roots for the values of the leaves of the program as written."""
        values = [given[at] for at in self._order]
        sound = [np.float64(value) if isinstance(value, float) else value for value in values]
        try:
            return self._program._run(sound, shape, over="raise", under="raise")
        except FloatingPointError:
            return self._written._run(given, shape)


class _Extremes(NamedTuple):
    """The smallest and the largest number of several, and whether all are defined."""

    interval: Interval
    defined: bool

    def holds(self, other: _Extremes) -> bool:
        (low, high), (least, most) = self.interval, other.interval
        return low <= least and most <= high and (other.defined or not self.defined)

    def with_those_of(self, other: _Extremes) -> _Extremes:
        return _Extremes(union(self.interval, other.interval), self.defined and other.defined)


def _extremes(value: Any) -> _Extremes:
    if not isinstance(value, np.ndarray):
        return _Extremes(Interval(value, value), True) if value == value else _Extremes(EVERYTHING, False)
    low, high = float(np.min(value)), float(np.max(value))
    return _Extremes(Interval(low, high), True) if low == low else _Extremes(EVERYTHING, False)


def _number(numbers: Array, positions: Any) -> Any:
    return float(numbers[positions]) if np.ndim(positions) == 0 else numbers[positions]
