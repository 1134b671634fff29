"""Inversion over whole numbers: the one at which an inequality starts or stops to hold, found by comparing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlsysim_opt.algebra.bounds import Box
from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, short
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.algebra.unknown import function_of, given_box
from mlsysim_opt.errors import InputError, NotInvertibleError, ScaleError

MOST = 2**53 - 1
"""The largest whole number that is looked at: larger ones are not counted exactly."""


@dataclass(frozen=True)
class Boundary:
    """The whole number at which an inequality starts or stops to hold.

    Attributes:
        value: the last whole number for which it holds.
        side: ``smallest`` if it holds from `value` up, ``largest`` if it holds up to `value`.
        fails_at: the neighbour for which it does not hold; None where `value` is the end of the box.
    """

    unknown: Symbol
    value: int
    side: Literal["smallest", "largest"]
    fails_at: int | None


def invert_integer(
    inequality: Expression,
    unknown: Symbol,
    *,
    values: Mapping[str, Any] | None = None,
    box: tuple[float, float] | None = None,
) -> Boundary:
    """Return the whole number at which an inequality starts or stops to hold.

    The two sides are compared at the number and at its neighbour, so the answer proves itself once the
    inequality is known to change at most once, which is shown first.

    Args:
        inequality: ``left <= right`` or ``left < right``, whose difference rises or falls with `unknown`.
        unknown: the whole number sought.
        values: the value of every other leaf, by name.
        box: the smallest and the largest number considered; by default the bounds of the unknown.
    Raises:
        NotInvertibleError: it holds nowhere, or is not proven to change only once.
    """
    found = integer_boundary(inequality, unknown, values=values, box=box)
    if found is None:
        low, high = whole_box(unknown, box)
        raise NotInvertibleError(f"{short(inequality)} holds for no {unknown.name} from {low} to {high}")
    return found


def integer_boundary(
    inequality: Expression,
    unknown: Symbol,
    *,
    values: Mapping[str, Any] | None = None,
    box: tuple[float, float] | None = None,
) -> Boundary | None:
    """Return the same as `invert_integer`, or None where the inequality is proven to hold nowhere.

    Raises:
        NotInvertibleError: it is not proven to change only once, or has no value at a number that was looked at.
    """
    if not isinstance(inequality, Operation) or inequality.atom.name not in ("less_equal", "less"):
        raise InputError(f"expected an inequality such as time <= 30 ms, got {short(inequality)}")
    left, right = inequality.args
    given = values or {}
    low, high = whole_box(unknown, box)
    outer: Box = {**given_box(left - right, given, unknown), unknown.name: Interval(float(low), float(high))}
    # The difference may lose a proof that its parts have: x - x * 0.5.
    move = Prover(left - right, unknown).direction(outer)
    if move is None:
        raise NotInvertibleError(
            f"it is not proven that {short(inequality)} changes only once between {low} and {high}",
            hint="narrow the bounds of the unknown, or make it a choice",
        )
    value = function_of([inequality, left - right], unknown, given)
    if math.isnan(value(low)[1]) and low < high:
        low += 1  # nothing is divided by zero GPUs

    def holds(number: int) -> bool:
        truth, gap = value(number)
        if math.isnan(gap):
            raise NotInvertibleError(f"{short(inequality)} has no value at {unknown.name} = {number}")
        return bool(truth)

    if move <= 0:
        found = _first(holds, low, high)
        return None if found is None else Boundary(unknown, found, "smallest", found - 1 if found > low else None)
    fails = _first(lambda number: not holds(number), low, high)
    if fails == low:
        return None
    return Boundary(unknown, high if fails is None else fails - 1, "largest", fails)


def whole_box(unknown: Symbol, box: tuple[float, float] | None) -> tuple[int, int]:
    """Return the smallest and the largest whole number between bounds that can be counted exactly.

    Raises:
        InputError: there is none, or the unknown is not whole.
    """
    if not unknown.integer:
        raise InputError("this unknown is not a whole number", path=unknown.name, hint="use invert")
    low, high = (unknown.low, unknown.high) if box is None else box
    first, last = math.ceil(max(low, -MOST)), math.floor(min(high, MOST))
    if first > last:
        raise InputError(f"there is no whole number between {low} and {high}", path=unknown.name)
    return first, last


def _first(holds: Callable[[int], Any], low: int, high: int) -> int | None:
    """Return the smallest number in [low, high] that holds, where all above it hold too.

    Steps grow from the lower end, so that numbers too large to compute with exactly are not met without need.
    """
    below, at, step = low - 1, low, 1
    too_large: ScaleError | None = None
    while True:
        try:
            if holds(at):
                break
            below = at
        except ScaleError as error:
            too_large, high, step = error, at - 1, 1
        if below >= high:
            if too_large is not None:
                raise too_large
            return None
        at, step = min(high, below + step), step * 2
    above = at
    while above - below > 1:
        middle = (above + below) // 2
        if holds(middle):
            above = middle
        else:
            below = middle
    return above
