"""Whole unknowns of `solve_for`: the numbers that meet a target, and the neighbours that do not.

Where the output is proven to rise or fall with the unknown, the ends are found by proof over all numbers it can be.
Else every number of a range is looked at: by the equations as one array, or, where other inputs follow from the
unknown, by a question to the model for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from mlsysim_opt.algebra.expression import Choice, constant
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import TOLERANCE
from mlsysim_opt.algebra.invert_whole import MOST, Boundary, integer_boundary, whole_box
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.errors import InputError, MlsysimError, NotInvertibleError
from mlsysim_opt.physics.inverse_answer import BOUNDARY, EVERY, SPANS, SolvedFor, meets
from mlsysim_opt.physics.inverse_equation import InverseEquation
from mlsysim_opt.physics.inverse_question import InverseQuestion
from mlsysim_opt.units import show

MANY, FEW = 1 << 17, 1 << 11
"""Whole numbers that are looked at where no bounds are given: evaluated as arrays, or each as a question of its own."""
FARTHER = "a box looks farther"


def solve_between(task: InverseEquation, asked: tuple[float, float] | None) -> SolvedFor:
    """Return what meets the target, of the values that the unknown can be: a share is at most 1.

    Args:
        asked: the lowest and the highest value to look at; None for all that it can be.
    Raises:
        NotInvertibleError: nothing does; the message says what comes nearest. InputError: there is nothing between.
    """
    if task.leaf.integer:
        return solve_whole(task, asked)
    box = task.box(asked)
    try:
        return task.continuous(box)
    except NotInvertibleError as error:
        said = None if asked is not None and box == asked else _at_the_end(task, *task.limits(asked))
        if said is None:
            raise
        raise NotInvertibleError(error.message, hint="; ".join(filter(None, (error.hint, said)))) from error


def _moves(task: InverseEquation, low: float, high: float) -> int | None:
    """Return whether the output is proven to rise or to fall between two values of the unknown."""
    return Prover(task.root, task.leaf).direction({**task.fixed, task.leaf.name: Interval(low, high)})


def _at_the_end(task: InverseEquation, *ends: float) -> str | None:
    """Return what the output is at the end of a box that comes nearest to the target, where nothing else is nearer."""
    if not _moves(task, *ends):
        return None
    seen = {}
    for end in filter(math.isfinite, ends):
        with suppress(MlsysimError, ArithmeticError):
            seen[end] = task.at(end)
    near = {end: output for end, output in seen.items() if math.isfinite(output)}
    if not near:
        return None
    best = min(near, key=lambda end: abs(near[end] - task.goal))
    return f"even at {show(best, task.leaf.dimension, 6)} {task.target} is {show(near[best], task.root.dimension, 6)}"


def solve_whole(task: InverseEquation, limits: tuple[float, float] | None) -> SolvedFor:
    """Return the whole numbers that meet the target: by proof where the output rises or falls, else by looking.

    Args:
        limits: the lowest and the highest number to look at; None for all that the unknown can be.
    Raises:
        NotInvertibleError: none does; the message names the nearest. InputError: there is no number to look at.
    """
    if isinstance(task, InverseQuestion) and task.alone and task.askable:
        return _one_by_one(task, limits)
    found = _proven(task, *task.limits(limits))
    if found is not None:
        return found
    low, high = _range(task, limits, MANY)
    if limits is None:
        high = int(min(task.limits(None)[1], max(high, 4 * (task.near or 0), low), low + 16 * MANY - 1))
    more = limits is None and high < task.limits(None)[1]
    return _among(task, low, _by_equation(task, low, high), complete=True, more=more)


def _proven(task: InverseEquation, low: float, high: float) -> SolvedFor | None:
    """Return the ends of what meets the target over all numbers between bounds; None where that is not proven.

    Raises:
        NotInvertibleError: it is proven that none does.
    """
    first, last = whole_box(task.leaf, (low, high))
    high = float(last) if math.isfinite(high) else high
    move = _moves(task, float(first), float(last))
    found = _sides(task, first, last) if move else None
    if found is None or move is None:
        return None
    start, end = first, last
    for side in found:
        if side is None:
            raise _missed(task, first, last, [first, last])
        if side.side == "smallest":
            start = side.value
        else:
            end = side.value
    if start > end:
        raise _missed(task, first, last, [end, start])
    fails = sorted(side.fails_at for side in found if side is not None and side.fails_at is not None)
    inner = [edge for edge in (start, end) if first < edge < last]
    return task.answer(
        values=tuple(dict.fromkeys(map(float, inner or [end if task.relation != "=" and move > 0 else start]))),
        region=(Interval(float(start), high if end == last else float(end)),), method=BOUNDARY, complete=True,
        residual=0.0, box=Interval(float(first), high), fails_at=tuple(fails), _rises=move > 0,
    )  # fmt: skip


def _sides(task: InverseEquation, first: int, last: int) -> list[Boundary | None] | None:
    """Return where the output starts to be large enough, and to be small enough, as far as each is asked for; None
    where numbers are met for which it has no value, or which are too large to be computed with exactly."""
    root, room = task.root, TOLERANCE * abs(task.goal)
    asked = []
    if task.relation != "<=":
        asked.append(constant(task.goal - room, root.dimension) <= root)
    if task.relation != ">=":
        asked.append(root <= constant(task.goal + room, root.dimension))
    try:
        return [integer_boundary(item, task.leaf, values=task.known, box=(first, last)) for item in asked]
    except (InputError, NotInvertibleError):
        return None


def _one_by_one(task: InverseQuestion, limits: tuple[float, float] | None) -> SolvedFor:
    """Return the same by a question to the model for each number of a range; where that does not reach far enough, by
    the equations, as far as the model confirms what they say."""
    low, high = _range(task, limits, FEW)
    outputs = task.outputs([*range(low, high + 1)])
    if limits is None and high < task.limits(None)[1]:
        held = [meets(output, task.relation, task.goal) for output in outputs]
        found = _confirmed(task) if held[-1] or not any(held) else None
        if found is None and task.relation == "=" and not any(held):
            found = _as_others_follow(task)
        if found is not None:
            return found
        outputs, step = _farther(task, low, outputs)
        skipped = (f"above {high:,} only multiples of {step:,} were looked at",) if step > 1 else ()
        return _among(task, low, outputs, complete=not skipped, notes=skipped,
                      more=low + len(outputs) <= task.limits(None)[1])  # fmt: skip
    return _among(task, low, outputs, complete=True, more=False)


def _farther(task: InverseQuestion, low: int, outputs: Sequence[float]) -> tuple[list[float], int]:
    """Return the outputs of numbers from `low` on, those that are known and more, until the target is no longer met, or
    as many again were asked about. Where only multiples of a number have an output (of the replicas that share a
    batch), only those are asked about: it is returned too, 1 where none was left out."""
    found = [*outputs]
    step = math.gcd(*(low + at for at, output in enumerate(outputs) if not math.isnan(output))) or 1
    last, left = int(min(task.limits(None)[1], MOST)), len(outputs)
    while left > 0 and _held_last(task, found):
        following = low + len(found)
        numbers = [*range(-(-following // step) * step, min(last, 2 * following) + 1, step)][:left]
        if not numbers:
            break
        left -= len(numbers)
        found += [math.nan] * (numbers[-1] + 1 - following)
        with suppress(MlsysimError):  # none of them has an output
            for number, output in zip(numbers, task.outputs(numbers), strict=True):
                found[number - low] = output
    return found, step if len(found) > len(outputs) else 1


def _held_last(task: InverseEquation, outputs: Sequence[float]) -> bool:
    """Return whether the last number that has an output meets the target."""
    last = next((output for output in reversed(outputs) if not math.isnan(output)), math.nan)
    return meets(last, task.relation, task.goal)


def _range(task: InverseEquation, limits: tuple[float, float] | None, most: int) -> tuple[int, int]:
    """Return the smallest and the largest whole number to look at: around the value of today where there is one."""
    least, last = task.limits(limits)
    low = math.ceil(least)
    if limits is None:
        near = int(task.near or 0)
        low = low if 2 * near <= most else max(low, near - most // 2)
        last = min(last, float(low + most - 1))
    high = math.floor(min(last, float(low + 16 * most)))
    if not low <= high < low + 16 * most:
        raise InputError(f"there are no whole numbers, or too many, from {least:g} to {last:g}", path="box",
                         hint=f"at most {16 * most:,} are looked at")  # fmt: skip
    return low, high


def _by_equation(task: InverseEquation, low: int, high: int, known: Mapping[str, Any] | None = None) -> list[float]:
    """Return the output for every number of a range as the equations of one structure give it, by default with the
    other leaves as they are known."""
    program = task.arrays
    numbers = np.arange(low, high + 1, dtype=float)
    values = {**(known or task.known), task.leaf.name: numbers if len(numbers) > 1 else float(low)}
    for leaf in program.leaves:
        if isinstance(leaf, Choice):
            values[leaf.name] = leaf.position[values[leaf.name]]
    (outputs,) = program.run(values, [len(numbers)])
    found: list[float] = np.broadcast_to(outputs, numbers.shape).tolist()
    return found


def _confirmed(task: InverseQuestion) -> SolvedFor | None:
    """Return what the equations say of many numbers, where the model itself confirms it at the ends of what they find:
    other inputs may follow from the unknown. None where it does not."""
    low, high = _range(task, None, MANY)
    try:
        more = high < task.limits(None)[1]
        found = _among(task, low, _by_equation(task, low, high), complete=False, more=more)
        ends = {int(end) for span in (*found.region[:SPANS], found.region[-1]) for end in span}
        seen = {number: task.at(number) for number in {*ends, *found.fails_at[:SPANS]}}
    except MlsysimError:
        return None
    right = all(meets(output, task.relation, task.goal) is (number not in found.fails_at)
                for number, output in seen.items())  # fmt: skip
    return found if right else None


def _as_others_follow(task: InverseQuestion) -> SolvedFor | None:
    """Return numbers that the model confirms to give the target, with what follows from numbers of all sizes; None
    where there are none."""
    low, high = _range(task, None, MANY)
    sizes = sorted({min(max(round(low * 1.2**step), low), high) for step in range(80)})
    numbers: set[int] = set()
    for known in dict(filter(None, map(task.setting, sizes))).values():
        outputs = np.array(_by_equation(task, low, high, known))
        near = np.abs(outputs - task.goal) <= TOLERANCE * abs(task.goal)
        for run in _runs((low + np.flatnonzero(near)).tolist()):
            for number in {run[0], run[-1]}:
                with suppress(MlsysimError):
                    numbers |= {number} if meets(task.at(number), "=", task.goal) else set()
    if not numbers:
        return None
    spans = [Interval(float(run[0]), float(run[-1])) for run in _runs(sorted(numbers))]
    return task.answer(values=tuple(map(float, sorted(numbers))), region=tuple(spans), method=EVERY, complete=False,
                       residual=0.0, box=Interval(float(low), float(high)), _rises=None)  # fmt: skip


def _among(task: InverseEquation, low: int, outputs: Sequence[float], *, complete: bool, more: bool,
           notes: tuple[str, ...] = ()) -> SolvedFor:  # fmt: skip
    """Return which of the whole numbers from `low` on meet the target, by their outputs; `more` says whether the
    unknown can be larger."""
    high = low + len(outputs) - 1
    holds = np.array([meets(output, task.relation, task.goal) for output in outputs])
    if not holds.any():
        known = [(abs(output - task.goal), low + at) for at, output in enumerate(outputs) if output == output]
        raise _missed(task, low, high, [number for _, number in sorted(known)[:2]], outputs, more=more)
    if more and _held_last(task, outputs):
        notes += (f"{high:,} is where the search ends, not where the target is missed: {FARTHER}",)
    spans = [Interval(float(low + run[0]), float(low + run[-1])) for run in _runs(np.flatnonzero(holds).tolist())]
    inner = [end for span in spans for end in span if low < end < high] or [spans[0].low]
    beside = {span.low - 1 for span in spans} | {span.high + 1 for span in spans}
    defined = [output for output in outputs if output == output]
    return task.answer(
        values=tuple(dict.fromkeys(inner)), region=tuple(spans), method=EVERY, complete=complete, residual=0.0,
        box=Interval(float(low), float(high)),
        fails_at=tuple(sorted(int(item) for item in beside if low <= item <= high)),
        _rises=defined[-1] > defined[0] if defined else None,
        notes=notes,
    )  # fmt: skip


def _missed(
    task: InverseEquation, low: int, high: int, nearest: Sequence[int], outputs: Sequence[float] | None = None,
    *, more: bool = False,
) -> NotInvertibleError:  # fmt: skip
    """Return the error that no whole number meets the target, with the ones that come nearest to it."""
    wanted = f"{task.target} {task.relation} {show(task.goal, task.root.dimension, 6)}"
    reach = f"from {low} up" if high >= MOST else f"from {low} to {high}"
    said = f"no whole {task.leaf.name} {reach} gives {wanted}"
    seen = {}
    for number in filter(lambda at: at < MOST, nearest):  # the largest number stands for all that are larger
        output = task.function(float(number)) if outputs is None else outputs[number - low]
        if not math.isnan(output):
            seen[number] = show(output, task.root.dimension, 6) if math.isfinite(output) else "infinity"
    if not seen:
        hint = "there is no value for any of them"
    else:
        hint = "the nearest: " + ", ".join(f"{at} gives {text}" for at, text in seen.items())
    return NotInvertibleError(said, hint=f"{hint}; {FARTHER}" if more else hint)


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return runs of neighbouring numbers."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found
