"""Leaving out columns that no optimum needs.

**Dominance.** Of two columns of one pick that stand in the same rows, one can take the other's place wherever it costs
no more and takes no more of anything that is limited (and gives no less of anything that is asked for). So it is with
two whole amounts from zero on, where the one that takes the place has no upper limit. The senses of the rows are the
proof. Ties keep the first.

**Reduced costs.** A column whose reduced cost lifts the bound of the relaxation above a known plan is in no better one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlsysim_opt.optimize.coupled.program import Array, LinearProgram

WORK = 1_000_000_000
"""Comparisons of numbers after which the search for dominated columns ends: it is never needed for exactness."""


def undominated(program: LinearProgram, criteria: Sequence[Array] = ()) -> Array:
    """Return a mask of the columns that are left.

    Args:
        criteria: further costs for each column in which a column must be no worse to take another's place (objectives
            that are looked at later).
    """
    keep = np.ones(program.columns, dtype=bool)
    if program.group is None:
        return keep
    free = (program.low == 0) & program.whole & ((program.group >= 0) | np.isinf(program.high))
    most = np.where(np.isinf(program.high), -1, program.high)
    candidates = np.flatnonzero(free)
    if len(candidates) < 2:
        return keep
    counts = np.diff(program.start)[candidates]
    below, above = np.isfinite(program.row_low), np.isfinite(program.row_high)
    for count in np.unique(counts):
        mine = candidates[counts == count]
        at = program.start[mine][:, None] + np.arange(count)
        rows = program.index[at]
        order = np.argsort(rows, axis=1, kind="stable")
        rows = np.take_along_axis(rows, order, axis=1)
        values = np.take_along_axis(program.value[at], order, axis=1)
        # to be made small: what is limited from above as it is, from below negated, from both sides both
        parts = [program.cost[mine], *(item[mine] for item in criteria)]
        for place in range(int(count)):
            limited, asked = above[rows[:, place]], below[rows[:, place]]
            if limited.any():
                parts.append(np.where(limited, values[:, place], 0.0))
            if asked.any():
                parts.append(np.where(asked, -values[:, place], 0.0))
        bucket = np.stack([program.group[mine], _codes(rows), most[mine].astype(np.int64)])
        keep[mine[_dominated(bucket, parts)]] = False
    return keep


def _codes(rows: Array) -> Array:
    """Return a number for each line of a table that is the same for equal lines only."""
    if not rows.shape[1]:
        return np.zeros(len(rows), dtype=np.int64)
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
    return np.unique(whole.reshape(-1), return_inverse=True)[1].reshape(-1)


def _dominated(bucket: Array, parts: Sequence[Array]) -> Array:
    """Return positions of the points that another one of their bucket is at least as good as in every part."""
    order = np.lexsort((*reversed(parts), *bucket))
    code = np.zeros(len(order), dtype=np.int64)
    code[1:] = np.cumsum(np.any(np.diff(bucket[:, order], axis=1) != 0, axis=0))
    numbers = [np.ascontiguousarray(item[order]) for item in parts]
    alive, out = np.arange(len(order)), []
    lag, work = 1, 0
    while len(alive) > lag:
        now = code[alive]
        same = now[lag:] == now[:-lag]
        if not same.any():
            break
        work += int(np.count_nonzero(same)) * len(numbers)
        if work > WORK:
            break
        worse = same
        for item in numbers:
            held = item[alive]
            worse = worse & (held[:-lag] <= held[lag:])
        if worse.any():
            out.append(alive[lag:][worse])
            alive = np.delete(alive, lag + np.flatnonzero(worse))
            # what stood between a point and its neighbours is gone: the lag is not raised until nothing more falls
            continue
        lag += 1
    return order[np.concatenate(out)] if out else np.empty(0, dtype=np.int64)


def dual_bound(program: LinearProgram, duals: Array) -> float:
    """Return a number that no plan costs less than, from any duals: weak duality, checked against every column.

    It is minus infinity where an unlimited amount has a negative reduced cost beyond rounding.
    """
    y = np.where((duals > 0) & ~np.isfinite(program.row_low), 0.0, duals)
    y = np.where((y < 0) & ~np.isfinite(program.row_high), 0.0, y)
    with np.errstate(invalid="ignore"):
        fixed = np.where(y > 0, y * program.row_low, np.where(y < 0, y * program.row_high, 0.0))
    reduced = program.reduced_costs(y)
    tiny = 1e-11 * np.maximum(1e-300, np.abs(program.cost) + _moved(program, y))
    with np.errstate(invalid="ignore"):
        low = np.where(reduced > 0, reduced * program.low, 0.0)
        high = np.where(reduced < 0, reduced * program.high, 0.0)
    high = np.where(~np.isfinite(program.high) & (np.abs(reduced) <= tiny), 0.0, high)
    low = np.where(~np.isfinite(program.low) & (np.abs(reduced) <= tiny), 0.0, low)
    grouped = _grouped(program, reduced)
    if grouped is not None:
        member, least = grouped
        return float(math.fsum(fixed) + math.fsum(low[~member]) + math.fsum(high[~member]) + least) + program.offset
    return float(math.fsum(fixed) + math.fsum(low) + math.fsum(high)) + program.offset


def _moved(program: LinearProgram, y: Array) -> Array:
    return np.bincount(
        program.entry_column, weights=np.abs(program.value * y[program.index]), minlength=program.columns
    )


def _grouped(program: LinearProgram, reduced: Array) -> tuple[Array, float] | None:
    """Return which columns are picks, and the least they can add: at most as many of each group as are picked."""
    if program.group is None or not (program.group >= 0).any():
        return None
    member = (program.group >= 0) & (program.low == 0)
    groups = program.group[member]
    least = np.zeros(int(program.group.max()) + 1)
    np.minimum.at(least, groups, reduced[member])
    most = np.zeros(len(least))
    np.maximum.at(most, groups, program.high[member])
    return member, float(math.fsum(least * most))
