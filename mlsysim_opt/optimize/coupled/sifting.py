"""The relaxation of a large program: solved over few columns, all others priced against it.

What comes out is proven for all columns: the bound is that of weak duality over every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.prune import dual_bound

PER_GROUP = 4
"""Columns of each pick that the first relaxation has, and that each pricing adds at most."""
ADDED = 20_000
"""Columns that one pricing adds at most."""
ROUNDS = 60
CROWD = 200_000
"""So many columns outside picks do not all stand in the first relaxation."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The relaxation of a program.

    Attributes:
        bound: no plan costs less. duals: what proves it. working: a mask of the columns it was solved over.
        size: what its costs add up to, without signs.
    """

    bound: float
    duals: Array
    working: Array
    size: float


def sift(program: LinearProgram, left: Callable[[], float | None], start: Array | None = None) -> Relaxed | None:
    """Return the relaxation over all columns.

    The relaxation is solved over few columns; all others are priced against its duals, and those that would lower it
    join, until none would. The bound returned is that of weak duality over every column.
    """
    working = _first_columns(program)
    if start is not None:
        working |= start != 0
    best = -math.inf
    kept_duals: Array | None = None
    size = 0.0
    for _ in range(ROUNDS):
        part = np.flatnonzero(working)
        result = HighsProgram(program.only(part)).relaxation(time_limit=left())
        if result.stop != "optimal" or result.duals is None:
            return None if kept_duals is None else Relaxed(best, kept_duals, working, size)
        bound = dual_bound(program, result.duals)
        if bound > best or kept_duals is None:
            best, kept_duals = bound, result.duals
        assert result.value is not None
        assert result.x is not None
        size = float(np.abs(program.cost[part]) @ np.abs(result.x))
        if result.value - best <= 1e-9 * max(1e-300, abs(result.value)):
            break
        reduced = program.reduced_costs(result.duals)
        added = _cheapest(program, reduced, working)
        if not len(added):
            break
        working[added] = True
    assert kept_duals is not None
    return Relaxed(best, kept_duals, working, size)


def _first_columns(program: LinearProgram) -> Array:
    """Return the columns to begin with: all that are in no pick, and of each pick the cheapest and the lightest."""
    assert program.group is not None
    working = program.group < 0
    if np.count_nonzero(working) > CROWD:
        working = working & (program.low > 0)
    members = np.flatnonzero(program.group >= 0)
    weight = np.bincount(program.entry_column, weights=np.abs(program.value), minlength=program.columns)
    for key in (program.cost, weight):
        order = members[np.lexsort((key[members], program.group[members]))]
        working[order[_rank_in_runs(program.group[order]) < PER_GROUP]] = True
    return working


def _rank_in_runs(codes: Array) -> Array:
    """Return, for sorted codes, the place of each in its run of equal ones."""
    first = np.concatenate([[True], codes[1:] != codes[:-1]])
    begin = np.maximum.accumulate(np.where(first, np.arange(len(codes)), 0))
    return np.arange(len(codes)) - begin


def _cheapest(program: LinearProgram, reduced: Array, working: Array) -> Array:
    """Return columns that would lower the relaxation: of each pick the best few, of the others the best."""
    assert program.group is not None
    scale = float(np.max(np.abs(program.cost), initial=0.0))
    good = np.flatnonzero(~working & (reduced < -1e-11 * scale))
    if not len(good):
        return good
    group = program.group[good]
    order = np.lexsort((reduced[good], group))
    good, group = good[order], group[order]
    chosen = good[(group < 0) | (_rank_in_runs(group) < PER_GROUP)]
    return chosen[np.argsort(reduced[chosen])][:ADDED]
