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
from dataclasses import dataclass

import numpy as np

from mlsysim_opt.algebra.evaluate import Projection, project
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
        rows, values = program.index[at], program.value[at]
        if np.any(rows[:, 1:] < rows[:, :-1]):
            order = np.argsort(rows, axis=1, kind="stable")
            rows, values = (np.take_along_axis(item, order, axis=1) for item in (rows, values))
        # to be made small: what is limited from above as it is, from below negated, from both sides both
        parts = [program.cost[mine], *(item[mine] for item in criteria)]
        for place in range(int(count)):
            limited, asked = above[rows[:, place]], below[rows[:, place]]
            if limited.any():
                parts.append(np.where(limited, values[:, place], 0.0))
            if asked.any():
                parts.append(np.where(asked, -values[:, place], 0.0))
        limits, limit = np.unique(most[mine], return_inverse=True)
        keys = [program.group[mine] + 1, limit, *rows.T]
        sizes = [int(program.group.max(initial=-1)) + 2, len(limits), *[program.rows] * int(count)]
        keep[mine[_dominated(project(keys, sizes, len(mine)), parts)]] = False
    return keep


def _dominated(bucket: Projection, parts: Sequence[Array]) -> Array:
    """Return positions of the points that another one of their bucket is at least as good as in every part."""
    behind = _behind_the_best(bucket, parts)
    left = np.flatnonzero(~behind)
    order = left[np.lexsort((*(item[left] for item in reversed(parts)), bucket.inverse[left]))]
    code, numbers = bucket.inverse[order], [item[order] for item in parts]
    alive, out = np.arange(len(order)), [np.flatnonzero(behind)]
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
            out.append(order[alive[lag:][worse]])
            alive = np.delete(alive, lag + np.flatnonzero(worse))
            # what stood between a point and its neighbours is gone: the lag is not raised until nothing more falls
            continue
        lag += 1
    return np.concatenate(out)


def _behind_the_best(bucket: Projection, parts: Sequence[Array]) -> Array:
    """Return the points that the best one of their bucket in the first part beats: most of them, before any sort."""
    first, of = parts[0], bucket.inverse
    least = np.full(bucket.count, np.inf)
    np.minimum.at(least, of, first)
    at = np.flatnonzero(first == least[of])[::-1]  # the first of several that are as good is written last
    best = bucket.first.copy()
    best[of[at]] = at
    behind: Array = np.logical_and.reduce([item[best][of] <= item for item in parts])
    behind[best] = False
    return behind


def dual_bound(program: LinearProgram, duals: Array) -> float:
    """Return a number that no plan costs less than, from any duals: weak duality, checked against every column.

    It is minus infinity where an unlimited amount has a negative reduced cost beyond rounding.
    """
    y = _usable(program, duals)
    with np.errstate(invalid="ignore"):
        fixed = np.where(y > 0, y * program.row_low, np.where(y < 0, y * program.row_high, 0.0))
    reduced = program.reduced_costs(y)
    tiny = 1e-11 * np.maximum(1e-300, np.abs(program.cost) + _moved(program, y))
    with np.errstate(invalid="ignore"):
        low = np.where(reduced > 0, reduced * program.low, 0.0)
        high = np.where(reduced < 0, reduced * program.high, 0.0)
    high = np.where(~np.isfinite(program.high) & (np.abs(reduced) <= tiny), 0.0, high)
    low = np.where(~np.isfinite(program.low) & (np.abs(reduced) <= tiny), 0.0, low)
    groups = Groups.of(program, reduced)
    own = np.ones(program.columns, dtype=bool) if groups is None else ~groups.member
    picked = 0.0 if groups is None else groups.value
    return float(math.fsum(fixed) + math.fsum(low[own]) + math.fsum(high[own]) + picked) + program.offset


def excess(program: LinearProgram, duals: Array) -> Array:
    """Return by how much a plan that uses a column costs at least more than `dual_bound`.

    It is zero where nothing is known: of amounts that are not whole, or that are not zero at the least.
    """
    reduced = program.reduced_costs(_usable(program, duals))
    above = np.maximum(reduced, 0.0)
    groups = Groups.of(program, reduced)
    if groups is not None:
        group = np.asarray(program.group)[groups.member]
        above[groups.member] = reduced[groups.member] - groups.base[group]
    return np.where(program.whole & (program.low == 0), above, 0.0)


@dataclass(frozen=True, eq=False)
class Groups:
    """What picks can add to a bound.

    Attributes:
        member: which columns are picked from zero on. base: the least that one more in each group costs.
        value: the least that all groups add: as many as must be where it costs, as may be where it pays.
    """

    member: Array
    base: Array
    value: float

    @staticmethod
    def of(program: LinearProgram, reduced: Array) -> Groups | None:
        """Return it for reduced costs; None where nothing is picked."""
        if program.group is None or program.group_low is None or program.group_high is None:
            return None
        member = program.group >= 0
        if not member.any():
            return None
        groups, low = program.group[member], program.low[member]
        least = np.full(len(program.group_low), math.inf)
        np.minimum.at(least, groups, reduced[member])
        given = np.bincount(groups, weights=low, minlength=len(least))
        must, may = np.maximum(program.group_low - given, 0.0), np.maximum(program.group_high - given, 0.0)
        known = np.where(np.isfinite(least), least, 0.0)
        base = np.where((known > 0) & (must == 0), 0.0, known)
        value = math.fsum(np.where(known > 0, known * must, known * may)) + math.fsum(reduced[member] * low)
        return Groups(member, base, float(value))


def _usable(program: LinearProgram, duals: Array) -> Array:
    """Return duals without those of sides that have no limit, which rounding leaves behind."""
    y = np.where((duals > 0) & ~np.isfinite(program.row_low), 0.0, duals)
    return np.where((y < 0) & ~np.isfinite(program.row_high), 0.0, y)


def _moved(program: LinearProgram, y: Array) -> Array:
    return np.bincount(
        program.entry_column, weights=np.abs(program.value * y[program.index]), minlength=program.columns
    )
