"""The relaxation of a large program: solved over few columns, all others priced against it.

What comes out is proven for all columns: the bound is that of weak duality over every one of them. Rows may be violated
at a price while columns are few, so that there are duals to price by from the beginning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.optimize.backends.highs import HighsProgram
from mlsysim_opt.optimize.coupled.outcome import EXACT, added_up
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.prune import dual_bound
from mlsysim_opt.optimize.coupled.scaling import column_units

PER_GROUP = 4
"""Columns of each pick that the first relaxation has, and that each pricing adds at most."""
ADDED = 20_000
"""Columns that one pricing adds at most."""
ROUNDS = 200
CROWD = 200_000
"""So many columns outside picks do not all stand in the first relaxation."""
DEAREST = 1e6
"""What violating a row costs at most, in the largest cost of a column."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The relaxation of a program.

    Attributes:
        bound: no plan costs less. duals: what proves it. working: a mask of the columns it was solved over.
        x: its amounts. size: what their costs add up to, without signs.
    """

    bound: float
    duals: Array
    working: Array
    x: Array
    size: float


def sift(program: LinearProgram, left: Callable[[], float | None], likely: Array | None = None) -> Relaxed | None:
    """Return the relaxation over all columns; None where it could not be made feasible.

    Args:
        likely: a mask of columns to begin with, beside those that are cheap.
    """
    working = _first_columns(program)
    if likely is not None:
        working |= likely
    order = np.flatnonzero(working)
    units = column_units(program)
    price = float(np.max(np.abs(program.cost) * units, initial=0.0)) or 1.0
    elastic = _Elastic(program, units, price)
    solver = HighsProgram(_relaxed(program, order, elastic))
    best: Relaxed | None = None
    for _ in range(ROUNDS):
        try:
            result = solver.relaxation(time_limit=left())
        except MlsysimError:  # numbers that HiGHS gives up on; whole, the program may be kinder
            return None
        if result.stop != "optimal" or result.duals is None or result.x is None or result.value is None:
            return best
        bound = dual_bound(program, result.duals)
        violated = float(np.sum(result.x[: elastic.count]))
        added = _cheapest(program, program.reduced_costs(result.duals), working)
        if best is None or bound >= best.bound:
            x = np.zeros(program.columns)
            x[order] = result.x[elastic.count :]
            best = Relaxed(bound, result.duals, working, x, added_up(program, x))
        settled = result.value - best.bound <= EXACT * abs(result.value)
        if violated > EXACT and (settled or not len(added)):
            if elastic.price >= DEAREST * price:
                return None
            elastic = _Elastic(program, units, elastic.price * 100)
            solver = HighsProgram(_relaxed(program, order, elastic))
            best = None
        elif settled or not len(added):
            break
        else:
            working[added] = True
            order = np.concatenate([order, added])
            solver.add_columns(program.only(added))
    return best


class _Elastic:
    """Amounts by which rows are violated, at a price: in the largest coefficient of the row, in fitting units."""

    def __init__(self, program: LinearProgram, units: Array, price: float) -> None:
        low, high = np.flatnonzero(np.isfinite(program.row_low)), np.flatnonzero(np.isfinite(program.row_high))
        size = np.zeros(program.rows)
        np.maximum.at(size, program.index, np.abs(program.value) * units[program.entry_column])
        size[size == 0] = 1.0
        self.rows = np.concatenate([low, high])
        self.entries = np.concatenate([size[low], -size[high]])
        self.price = price
        self.count = len(self.rows)


def _relaxed(program: LinearProgram, order: Array, elastic: _Elastic) -> LinearProgram:
    """Return the relaxation over some columns, after the amounts by which rows are violated."""
    part = program.only(order)
    number = elastic.count
    entries = Triplets.joined([
        Triplets(elastic.rows, np.arange(number), elastic.entries),
        Triplets(part.index, part.entry_column + number, part.value),
    ])  # fmt: skip
    made = LinearProgram.of(
        entries,
        cost=np.concatenate([np.full(number, elastic.price), part.cost]),
        low=np.concatenate([np.zeros(number), part.low]),
        high=np.concatenate([np.full(number, math.inf), part.high]),
        whole=np.arange(number + part.columns) < number,  # whole ones keep their unit; the relaxation does not ask
        row_low=part.row_low,
        row_high=part.row_high,
        offset=part.offset,
    )
    return made


def _first_columns(program: LinearProgram) -> Array:
    """Return the columns to begin with: all that are in no pick, and of each pick the cheapest and the lightest."""
    assert program.group is not None
    working = program.group < 0
    if np.count_nonzero(working) > CROWD:
        working = working & (program.low != 0)
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
    useful = (reduced < -1e-11 * scale) & (program.high > 0)
    useful |= (reduced > 1e-11 * scale) & (program.low < 0)
    good = np.flatnonzero(~working & useful)
    if not len(good):
        return good
    group, gain = program.group[good], -np.abs(reduced[good])
    order = np.lexsort((gain, group))
    good, group, gain = good[order], group[order], gain[order]
    chosen = (group < 0) | (_rank_in_runs(group) < PER_GROUP)
    return good[chosen][np.argsort(gain[chosen], kind="stable")][:ADDED]
