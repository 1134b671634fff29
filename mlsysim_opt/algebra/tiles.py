"""Large arrays computed tile by tile, so that what lies between them stays in the cache."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
TILE = 1 << 17
"""Elements that are computed at a time: 1 MiB per intermediate, so that the few that are alive stay in the cache."""
ROWS = 32
"""As many places along the first axes stay together in a tile: the rows of products of matrices."""


class Step(NamedTuple):
    """An operation.

    Attributes:
        scalar, array: its value for numbers and for arrays. args: the slots of its arguments.
        taken: those that its value for arrays takes. out: the slot of its result.
        places: whether its value for arrays is a new array of floats, which it can put into a place that it is given.
    """

    scalar: Callable[..., Any]
    array: Callable[..., Any]
    args: tuple[int, ...]
    taken: tuple[int, ...]
    out: int
    places: bool


class _Planned(NamedTuple):
    """A step of a tile.

    Attributes:
        buffer: which one its value is put into, if any. direct: whether it is put where the result is.
        finished: the slots that are not needed after it.
    """

    step: Step
    buffer: int | None
    direct: bool
    finished: list[int]


def axes_of(value: Any) -> int:
    """Return along which axes a value varies, as bits."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return 0
    return sum(1 << at for at, size in enumerate(value.shape) if size > 1)


def cuts(lengths: Sequence[int]) -> list[list[slice]]:
    """Return where each axis of a space is cut into tiles.

    The first axes stay whole while they are short together. Of the others the last stay whole as far as a tile holds
    them: loops run along them.
    """
    first, rows = 0, 1
    while first < len(lengths) and rows * lengths[first] <= ROWS:
        rows *= lengths[first]
        first += 1
    left = max(1, TILE // rows)
    found = [[slice(0, size)] for size in lengths[:first]]
    for size in reversed(lengths[first:]):
        step = max(1, min(size, left))
        left //= max(1, size)
        found.insert(first, [slice(start, min(start + step, size)) for start in range(0, size, step)])
    return found


def several(parts: Sequence[Sequence[slice]]) -> int:
    """Return which axes are cut, as bits."""
    return sum(1 << at for at, pieces in enumerate(parts) if len(pieces) > 1)


def fill(
    slots: list[Any], varies: Sequence[int], large: Sequence[Step], wanted: Sequence[int], shape: Sequence[int]
) -> None:
    """Compute large values and put those that are wanted into their slots.

    What varies along the same axes goes together, so that nothing is computed more often than it differs.

    Args:
        slots: the values known so far. varies: along which axes those of each slot vary, as bits.
        large: the steps, arguments first. wanted: slots. shape: the lengths of the axes.
    """
    made = {step.out: step for step in large}
    needed = dict.fromkeys(at for at in wanted if at in made)
    lengths = {at: [size if varies[at] >> axis & 1 else 1 for axis, size in enumerate(shape)] for at in needed}
    block = np.empty(sum(map(math.prod, lengths.values())))  # in one piece: large pages for nearly all of it
    arrays = {}
    for at in needed:
        arrays[at], block = _first(block, lengths[at]), block[math.prod(lengths[at]) :]
    by_axes: dict[int, list[int]] = {}
    for at in needed:
        by_axes.setdefault(varies[at], []).append(at)
    for together in by_axes.values():
        _fill({at: arrays[at] for at in together}, slots, varies, _below(together, made))
    for at in needed:
        slots[at] = arrays[at]


def _fill(arrays: Mapping[int, Array], slots: Sequence[Any], varies: Sequence[int], steps: Sequence[Step]) -> None:
    """Put the values of some slots into arrays, all over the same axes."""
    parts = cuts(next(iter(arrays.values())).shape)
    given = {at for step in steps for at in step.taken} - {step.out for step in steps}
    whole = {at: slots[at] for at in given if not varies[at] & several(parts)}
    plan, buffers = _planned(steps, arrays, varies)
    copied = [item.step.out for item in plan if item.step.out in arrays and not item.direct]
    tiles = list(itertools.product(*parts))
    spaces = [np.empty(math.prod(_shape(tiles[0], axes))) for axes in buffers]
    for tile in tiles:
        here = {at: whole[at] if at in whole else _part(slots[at], tile) for at in given}
        views = [_first(space, _shape(tile, axes)) for space, axes in zip(spaces, buffers, strict=True)]
        for step, buffer, direct, finished in plan:
            values = [here[at] for at in step.taken]
            if buffer is not None:
                here[step.out] = step.array(*values, out=views[buffer])
            elif direct:
                here[step.out] = step.array(*values, out=arrays[step.out][tile])
            else:
                here[step.out] = step.array(*values)
            for at in finished:
                del here[at]
        for at in copied:
            arrays[at][tile] = here[at]


def _planned(steps: Sequence[Step], wanted: Collection[int], varies: Sequence[int]) -> tuple[list[_Planned], list[int]]:
    """Return the steps of a tile, and the axes of the buffers that they use. What is not needed any more makes room."""
    last = {at: index for index, step in enumerate(steps) for at in step.taken}
    buffers: list[int] = []
    free: list[int] = []
    held: dict[int, int] = {}
    plan = []
    for index, step in enumerate(steps):
        finished = [at for at in dict.fromkeys(step.taken) if last[at] == index and at not in wanted]
        ending = [held.pop(at) for at in finished if at in held]
        each = isinstance(step.array, np.ufunc)  # element by element: the result may stand in place of an argument
        free += ending if each else []
        buffer = None
        direct = each and step.places and step.out in wanted
        if step.places and not direct:
            buffer = next((at for at in free if buffers[at] == varies[step.out]), None)
            if buffer is None:
                buffer = len(buffers)
                buffers.append(varies[step.out])
            else:
                free.remove(buffer)
            held[step.out] = buffer
        free += [] if each else ending
        plan.append(_Planned(step, buffer, direct, finished))
    return plan, buffers


def _shape(tile: Sequence[slice], axes: int) -> tuple[int, ...]:
    """Return the lengths of what a tile holds of an array over some axes."""
    return tuple(piece.stop - piece.start if axes >> at & 1 else 1 for at, piece in enumerate(tile))


def _first(space: Array, shape: Sequence[int]) -> Array:
    """Return the first elements of a buffer as an array of this shape."""
    return space[: math.prod(shape)].reshape(shape)


def _below(wanted: Sequence[int], made: Mapping[int, Step]) -> list[Step]:
    """Return the steps that these slots are made by, in order."""
    used, waiting = set(wanted), list(wanted)
    while waiting:
        for at in made[waiting.pop()].taken:
            if at in made and at not in used:
                used.add(at)
                waiting.append(at)
    return [step for out, step in made.items() if out in used]


def _part(value: Any, tile: Sequence[slice]) -> Any:
    """Return what of a value belongs to a tile; axes before those of the space stay whole."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    before = [slice(None)] * (value.ndim - len(tile))
    sizes = value.shape[len(before) :]
    return value[(*before, *(here if size > 1 else slice(None) for size, here in zip(sizes, tile, strict=True)))]
