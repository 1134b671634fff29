"""What times of `placement` are in periods, up to rounding, and what is said of jobs that have too little of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from mlsysim_opt.formulations.placement_givens import MOST_PERIODS, Array
from mlsysim_opt.formulations.placement_numbers import HOUR

from mlsysim_opt.algebra.atoms import ceil
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.optimize.coupled.blocks import FITS

Times = TypeVar("Times", Expression, Array)


def fits(time: Any, room: Any) -> Any:
    """Return whether a time is no longer than another, up to rounding; of expressions, arrays or numbers."""
    return time * (1 - FITS) <= room


def periods_of(time: Times, length: Times | float) -> Times:
    """Return in how many periods a time is, the last one begun: 1 h of a computed job is 1 h, and not 2 periods."""
    share = time / length * (1 - FITS)
    return ceil(share) if isinstance(share, Expression) else np.ceil(share)


def periods_in(room: Array, length: float) -> Array:
    """Return how many whole periods there are in a time."""
    return np.asarray(np.floor(room / length * (1 + FITS)))


def first_end(time: float, start: float, length: float | None, whole: bool) -> float:
    """Return when a job is over at the earliest.

    Args:
        length: of a period, with which it begins; None where it begins when it likes. whole: whether it ends with one.
    """
    if length is None:
        return start + time
    first, lasting = (float(periods_of(np.array(item), length)) * length for item in (start, time))
    return first + (lasting if whole else time)


def too_little_time(
    jobs: Sequence[Mapping[str, Any]], least: Array, duration: float, every: int = 1, length: float | None = None,
    whole: bool = False,
) -> str | None:  # fmt: skip
    """Return which jobs are over too late, whatever is planned, and what would do; None where all have enough time.

    More periods are named only where some number of them is enough.

    Args:
        jobs: with their `name`, `start` and `deadline`. least: the shortest time each takes, in s; infinite where none
            is known. duration: of the plan, in s. every: how many periods it has.
        length: of a period, in s, where jobs begin with one. whole: whether they take whole ones.
    """
    each = zip(jobs, least.tolist(), strict=True)
    known = [(item, time, min(item["deadline"] or np.inf, duration)) for item, time in each if np.isfinite(time)]

    def late(length: float | None) -> list[tuple[Mapping[str, Any], float, float]]:
        return [
            (item, time, end)
            for item, time, end in known
            if not fits(first_end(time, item["start"], length, whole), end)
        ]

    told = []
    for item, time, end in late(length):
        own = end < duration
        until = f"its deadline of {end / HOUR:.4g} h" if own else "the end of the plan"
        words = f"{item['name']} takes {time / HOUR:.4g} h at least"
        if length is not None and fits(item["start"] + time, end):
            first = float(periods_of(np.array(item["start"]), length))
            if whole:
                has = max(float(periods_in(np.array(end), length)) - first, 0.0)
                needed = float(periods_of(np.array(time), length))
                told.append(f"{words}, which is {needed:g} of them, and has {has:g} from its start to {until}")
            else:
                begins, lasts = first * length / HOUR, length / HOUR
                told.append(f"{words}, and begins with a period of {lasts:g} h: from {begins:.4g} h on there are "
                            f"{max(end / HOUR - begins, 0.0):.4g} h to {until}")  # fmt: skip
            continue
        over = first_end(time, item["start"], length, whole)
        what = "a duration" if not own else "a deadline" if fits(over, duration) else "a duration and a deadline"
        later = f"{what} of {np.ceil(1e4 * over / HOUR * (1 - FITS)) / 1e4:g} h would do"
        told.append(f"{words}, and has {(end - item['start']) / HOUR:.4g} h from its start to {until}: {later}")
    if not told:
        return None
    if length is not None and not late(None):
        finer = (times for times in range(2, MOST_PERIODS // every + 1) if not late(length / times))
        enough = next(finer, None)
        told[-1] += ": " + ("" if enough is None else f"more periods (periods={enough * every}), or ") + "more time"
    return "; ".join(told)
