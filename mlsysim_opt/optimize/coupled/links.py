"""Programs that are one pick after another: which columns and rows say so, and what is left beside them as numbers.

Amounts that stand for the largest of something are put in: such an amount is what all stages add up to, and the most
that one of them adds. What is left are a cost and limits, each a sum over the chain and a share of that peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlsysim_opt.optimize.coupled.blocks import Chain
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Links

if TYPE_CHECKING:
    from mlsysim_opt.optimize.coupled.columns import Columns
    from mlsysim_opt.optimize.coupled.compile import Rows
    from mlsysim_opt.optimize.coupled.totals import Family

SAME = 1e-12
"""Numbers that differ by less, relatively, are the same: what sums leave of them by rounding."""
ENTRIES = 50_000_000
"""Coefficients of limits that are looked at, zeros included."""


def links_of(
    chain: Chain, rows: Sequence[Rows], columns: Mapping[Family, Columns], first: Mapping[Family, int], count: int
) -> Links | None:
    """Return what makes a program a chain; None where the relations that say so are not all there."""
    stages, below = len(chain.stage.values), 0
    layout = np.full(count, -1 if stages > 1 else 0, dtype=np.int64)
    structure: list[Array] = []
    named = set()
    for item in rows:
        if item.source is None or item.name in (chain.goes_on, chain.comes_from):
            structure.append(np.arange(below, below + item.count))
            if item.source is not None:
                named.add(item.name)
                layout[item.entries.column] = item.positions[chain.layout][item.entries.row]
        below += item.count
    picks, changes = columns[chain.picks], columns[chain.changes]
    stage, before, after = np.full(count, -1, dtype=np.int64), layout.copy(), layout.copy()
    pick, change = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    mine = slice(first[chain.picks], first[chain.picks] + picks.count)
    between = slice(first[chain.changes], first[chain.changes] + changes.count)
    pick[mine], change[between] = True, True
    stage[mine], stage[between] = picks.positions[chain.stage], changes.positions[chain.stage]
    before[between], after[between] = changes.positions[chain.before], changes.positions[chain.after]
    if (stages > 1 and len(named) < 2) or any(
        family.sort == "pick" and family is not chain.picks for family in columns
    ):
        return None
    rows_of = np.concatenate(structure)
    return Links(pick, change, stage, before, after, stages, len(chain.layout.values), rows_of)


def changes_follow(program: LinearProgram) -> bool:
    """Return whether all changes of a chain are known, as one or none, once its picks are: its numbers prove it.

    One of each stage is picked, in one layout. A change has no other layout before it, as a row holds those that have
    below the picks that do, and no other layout behind it, as another row makes them as many as the picks that do. So
    between two picks all changes but one are none, and that one is one.
    """
    links, high = program.links, program.group_high
    if links is None or program.group is None or high is None:
        return False
    picks, free = np.flatnonzero(links.pick), links.change & (program.high > program.low)
    groups = set(zip(links.stage[picks].tolist(), program.group[picks].tolist(), strict=True))
    if len(groups) > links.stages or not all(at >= 0 and high[at] == 1 for _, at in groups):
        return False
    if not program.whole[picks].all() or np.any(program.low[links.pick | links.change] < 0):
        return False
    row, column, value = program.index, program.entry_column, program.value
    pick, change = links.pick[column], links.change[column]
    apart = np.zeros(program.rows, dtype=bool)  # rows that say no more than: as many changes as picks, or fewer
    apart[links.rows] = program.row_high[links.rows] == 0
    sizes = np.zeros(program.rows)
    np.maximum.at(sizes, row, np.abs(value))
    apart[row[value != np.where(pick, -1.0, 1.0) * sizes[row]]] = False
    apart[row[~(pick | change)]] = False
    place = links.stage * links.layouts + links.before
    least, most = np.full(program.rows, program.columns * links.layouts), np.full(program.rows, -1)
    np.minimum.at(least, row[pick], place[column[pick]])
    np.maximum.at(most, row[pick], place[column[pick]])
    apart &= most <= least
    told = change & apart[row]
    equal = program.row_low[row] == 0
    leaves = told & (most[row] == place[column])
    enters = told & equal & (most[row] == (links.stage[column] + 1) * links.layouts + links.after[column])
    known = np.zeros((3, program.columns), dtype=bool)
    for at, where in enumerate((leaves, enters, told & (most[row] < 0))):
        known[at, column[where]] = True
    pairs = (place * links.layouts + links.after)[free]
    return bool(((known[0] & known[1]) | known[2])[free].all()) and len(np.unique(pairs)) == len(pairs)


@dataclass(frozen=True, eq=False)
class Needs:
    """A sum over the chain: of each column, and of a unit of the peak."""

    each: Array
    peak: float


@dataclass(frozen=True, eq=False)
class Limit:
    """What a sum over the chain is at most.

    Attributes:
        each: of each column. ends: what a unit of the peak takes, and what all is at most; all of them hold.
    """

    each: Array
    ends: list[tuple[float, float]]

    def room(self, peak: float, share: float) -> float:
        """Return what the columns may take at a peak, with a share of the limit for rounding."""
        away = float(-self.each.min(initial=0.0))  # what is taken away has a rounding of its own
        return min(most - taken * peak + share * max(abs(most), away) for taken, most in self.ends)

    def times(self, factor: float) -> Limit:
        """Return the limit of so many times the sum."""
        return Limit(factor * self.each, [(factor * taken, factor * most) for taken, most in self.ends])

    def like(self, each: Array) -> float | None:
        """Return how many times a sum is another one; None where it is not, or less than nothing of it."""
        at = int(np.argmax(np.abs(each)))
        if each[at] == 0 or not self.each[at] / each[at] > 0:
            return None
        factor = float(self.each[at] / each[at])
        return factor if np.max(np.abs(self.each - factor * each)) <= SAME * np.max(np.abs(self.each)) else None


@dataclass(frozen=True, eq=False)
class Helper:
    """An amount that is as large as it has to be: a sum over the chain, and the most that one stage adds to it.

    Attributes:
        column: of the amount. common: of each column. beyond: of each pick, what counts at its largest.
    """

    column: int
    common: Array
    beyond: Array
    offset: float

    def shares_of(self, peak: Array) -> float:
        """Return what a unit of the peak takes of it."""
        return float(self.beyond.max() / peak.max()) if peak.any() else 0.0


@dataclass(frozen=True, eq=False)
class Parts:
    """A chain as numbers.

    Attributes:
        picks: the columns of each stage. layout: of each column. changes: the column of a change behind a stage, by
            layout before and after; -1 where there is none.
        peak: of each pick. cost: what is minimised. limits: what has to be kept, none of which is like another.
        caps: limits of the cost itself. tops: limits of the peak alone. helpers: the other amounts.
    """

    picks: list[Array]
    layout: Array
    changes: Array
    peak: Array
    cost: Needs
    limits: list[Limit]
    caps: list[Limit]
    tops: list[Limit]
    helpers: list[Helper]

    def amounts(self, columns: Sequence[int], count: int) -> Array:
        """Return the amounts of a chain that has these columns."""
        x = np.zeros(count)
        x[list(columns)] = 1.0
        for item in self.helpers:
            x[item.column] = float(item.common @ x) + float(item.beyond[list(columns)].max()) + item.offset
        return x

    def needs(self, row: Array) -> Needs:
        """Return a sum over all columns as one over the chain, but for a number."""
        each, top = row, 0.0
        for item in self.helpers:
            each = each + row[item.column] * item.common
            top += row[item.column] * item.shares_of(self.peak)
        return Needs(each, top)


def parts_of(program: LinearProgram, free: bool = False) -> Parts | None:
    """Return a program as a chain under limits; None if it is none, or nothing ties its stages but their changes.

    Args:
        free: whether that nothing ties them is no matter.
    """
    links = program.links
    if links is None:
        return None
    chained = links.pick | links.change
    if not program.whole[links.pick].all() or np.any(program.low[chained] > 0):
        return None
    open_ = chained & (program.high >= 1)
    picks = [np.flatnonzero(links.pick & open_ & (links.stage == at)) for at in range(links.stages)]
    if any(not len(item) or (links.before[item] < 0).any() for item in picks):
        return None
    limiting = np.setdiff1d(np.arange(program.rows), links.rows)
    if len(limiting) * program.columns > ENTRIES:
        return None
    rows = _at_most(program, limiting)
    if rows is None:
        return None
    helpers = [
        item
        for column in np.flatnonzero(~chained)
        if (item := _helper(program, links, open_, rows, int(column))) is not None
    ]
    if len(helpers) < np.count_nonzero(~chained):
        return None
    peak = _peak(helpers, program.columns)
    if peak is None:
        return None
    own = {item.column: item.shares_of(peak) for item in helpers}

    def needed(row: Array) -> tuple[Needs, float]:
        each, top, offset = np.where(open_, row, 0.0), 0.0, 0.0
        for item in helpers:
            each = each + row[item.column] * np.where(open_, item.common, 0.0)
            top += row[item.column] * own[item.column]
            offset += row[item.column] * item.offset
        return Needs(each, top), offset

    cost, _ = needed(program.cost)
    limits = []
    matrix, most = rows
    for row, limit in zip(matrix, most, strict=True):
        if not (row[~chained] < 0).any():
            of, offset = needed(row)
            limits.append(Limit(of.each, [(of.peak, float(limit - offset))]))
    for item in helpers:
        if math.isfinite(program.high[item.column]):
            of, offset = needed(np.eye(1, program.columns, item.column)[0])
            limits.append(Limit(of.each, [(of.peak, float(program.high[item.column] - offset))]))
    if not free and not limits and not cost.peak:
        return None
    changes = np.full((links.stages, links.layouts, links.layouts), -1, dtype=np.int64)
    at = np.flatnonzero(links.change & open_)
    changes[links.stage[at], links.before[at], links.after[at]] = at
    tops = [item for item in limits if not item.each.any()]
    kept, caps = _apart([item for item in limits if item.each.any()], cost, picks, changes, peak)
    return Parts(picks, links.before, changes, peak, cost, kept, caps, tops, helpers)


def _at_most(program: LinearProgram, limiting: Array) -> tuple[Array, Array] | None:
    """Return rows as numbers for each column, and what they are at most; None where one is limited on both sides."""
    place = np.full(program.rows, -1, dtype=np.int64)
    place[limiting] = np.arange(len(limiting))
    at, inside = place[program.index], place[program.index] >= 0
    matrix = np.zeros((len(limiting), program.columns))
    matrix[at[inside], program.entry_column[inside]] = program.value[inside]
    low, high = program.row_low[limiting], program.row_high[limiting]
    if np.any(np.isfinite(low) & np.isfinite(high)):
        return None
    some = np.isfinite(low) | np.isfinite(high)
    sign = np.where(np.isfinite(high), 1.0, -1.0)
    most = np.where(np.isfinite(high), high, -low)
    return (matrix * sign[:, None])[some], most[some]


def _helper(
    program: LinearProgram, links: Links, open_: Array, rows: tuple[Array, Array], column: int
) -> Helper | None:
    """Return what an amount that is no pick and no change is; None where it is not as large as it has to be."""
    matrix, most = rows
    mine = np.flatnonzero(matrix[:, column] < 0)
    least, none = program.low[column], np.zeros(program.columns)
    others = ~(links.pick | links.change)
    if program.whole[column] or program.cost[column] < 0:
        return None
    if not len(mine):
        return Helper(column, none, none, float(least)) if math.isfinite(least) else None
    if np.count_nonzero(matrix[np.ix_(mine, others)]) > len(mine):
        return None
    factor = -matrix[mine, column]
    each = np.where(open_, matrix[mine] / factor[:, None], 0.0)
    offsets = -most[mine] / factor
    if len(set(offsets.tolist())) > 1:
        return None
    common = each.min(axis=0)
    beyond = each - common
    row, at = np.nonzero(beyond)
    # each stage has a row of its own, in which alone its picks need more
    if np.any(links.change[at]) or len(set(at.tolist())) < len(at):
        return None
    pairs = set(zip(links.stage[at].tolist(), row.tolist(), strict=True))
    if len({stage for stage, _ in pairs}) < len(pairs) or len({place for _, place in pairs}) < len(pairs):
        return None
    lowest = sum(
        float(common[kind & open_ & (links.stage == at)].min(initial=math.inf if kind is links.pick else 0.0))
        for kind in (links.pick, links.change) for at in range(links.stages)
    )  # fmt: skip
    if not lowest + offsets[0] >= least:
        return None
    return Helper(column, common, beyond.max(axis=0), float(offsets[0]))


def _peak(helpers: Sequence[Helper], columns: int) -> Array | None:
    """Return what of each pick counts at its largest, to which that of all amounts is in proportion; None if not."""
    several = sorted((item for item in helpers if item.beyond.any()), key=lambda item: bool(item.common.any()))
    if not several:
        return np.zeros(columns)
    peak = several[0].beyond / several[0].beyond.max()
    if any(np.max(np.abs(item.beyond / item.beyond.max() - peak)) > SAME for item in several):
        return None
    sizes, place = np.unique(peak, return_inverse=True)
    for at in range(len(sizes) - 2, -1, -1):
        if sizes[at + 1] - sizes[at] <= SAME:
            sizes[at] = sizes[at + 1]
    return np.asarray(sizes[place.reshape(-1)])


def _apart(
    limits: Sequence[Limit], cost: Needs, picks: Sequence[Array], changes: Array, peak: Array
) -> tuple[list[Limit], list[Limit]]:
    """Return limits without those that every chain keeps and those that others imply, and those of the cost itself."""
    kept: list[Limit] = []
    caps: list[Limit] = []
    top = float(peak.max())
    for item in limits:
        most = sum(float(item.each[mine].max()) for mine in picks)
        between = np.where(changes >= 0, item.each[changes], -math.inf)[:-1]
        most += float(np.maximum(between.max(axis=(1, 2), initial=-math.inf), 0.0).sum())
        if most <= min(item.room(0.0, 0.0), item.room(top, 0.0)):
            continue
        factor = item.like(cost.each)
        if factor is not None:
            caps.append(item.times(1 / factor))
            continue
        for at, other in enumerate(kept):
            factor = item.like(other.each)
            if factor is not None:
                kept[at] = Limit(other.each, [*other.ends, *item.times(1 / factor).ends])
                break
        else:
            kept.append(item)
    return kept, caps
