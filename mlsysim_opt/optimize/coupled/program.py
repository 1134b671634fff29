"""One linear program, kept as arrays: what every backend is handed.

Column-wise sparse: building and handing over a million columns takes a second, where one object per variable takes half
a minute. Costs are to be minimised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
CANCELLED = 2.0**-50
"""What is left of a sum below this share of its parts is their rounding."""


def difference(one: Array | float, other: Array | float, cancelled: float = CANCELLED) -> Array:
    """Return one less the other, zero where what is left is below a share of both."""
    left = one - other
    apart: Array = np.where(np.abs(left) <= cancelled * (np.abs(one) + np.abs(other)), 0.0, left)
    return apart


@dataclass(frozen=True, eq=False)
class Triplets:
    """Entries of a matrix: the row, the column and the number of each."""

    row: Array
    column: Array
    value: Array

    @staticmethod
    def joined(parts: Sequence[Triplets]) -> Triplets:
        """Return all entries of several matrices in one place."""
        if not parts:
            none = np.empty(0, dtype=np.int64)
            return Triplets(none, none, np.empty(0))
        return Triplets(
            np.concatenate([item.row for item in parts]),
            np.concatenate([item.column for item in parts]),
            np.concatenate([item.value for item in parts]),
        )

    def summed(self, columns: int, cancelled: float = CANCELLED) -> Triplets:
        """Return the entries with those of one row and column added up, and what cancels left out.

        Args:
            cancelled: what is left of a sum below this share of its parts is left out.
        """
        code = self.row.astype(np.int64) * columns + self.column
        codes, inverse = np.unique(code, return_inverse=True)
        value = np.bincount(inverse.reshape(-1), weights=self.value, minlength=len(codes))
        size = np.bincount(inverse.reshape(-1), weights=np.abs(self.value), minlength=len(codes))
        kept = ~(np.abs(value) <= cancelled * size)  # numbers that do not exist stay
        return Triplets(codes[kept] // columns, codes[kept] % columns, value[kept])


@dataclass(frozen=True, eq=False)
class Links:
    """What makes a program one pick after another, each in a layout, with changes of layout between neighbours.

    Attributes:
        pick, change: masks of the columns. stage: of each, that of a pick or that before a change.
        before, after: layouts of a change; that of a pick, twice. stages, layouts: how many there are.
        rows: those that say so.
    """

    pick: Array
    change: Array
    stage: Array
    before: Array
    after: Array
    stages: int
    layouts: int
    rows: Array

    def only(self, positions: Array) -> Links:
        """Return it for some of the columns."""
        return Links(
            self.pick[positions], self.change[positions], self.stage[positions], self.before[positions],
            self.after[positions], self.stages, self.layouts, self.rows,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """Minimise ``cost @ x + offset`` with ``row_low <= A x <= row_high``, ``low <= x <= high``, some x whole.

    Attributes:
        start, index, value: A by columns: entries of column j are at ``start[j]:start[j + 1]``.
        group: for each column, the pick it belongs to (so many of a group in all), -1 for none.
        group_low, group_high: how many are picked of each group, at least and at most.
        links: what makes it a chain, if it is one.
    """

    cost: Array
    low: Array
    high: Array
    whole: Array
    row_low: Array
    row_high: Array
    start: Array
    index: Array
    value: Array
    offset: float = 0.0
    group: Array | None = None
    group_low: Array | None = None
    group_high: Array | None = None
    links: Links | None = None

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return len(self.cost)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.row_low)

    @property
    def entry_column(self) -> Array:
        """The column of each entry."""
        return np.repeat(np.arange(self.columns), np.diff(self.start))

    @staticmethod
    def of(
        entries: Triplets,
        *,
        cost: Array,
        low: Array,
        high: Array,
        whole: Array,
        row_low: Array,
        row_high: Array,
        offset: float = 0.0,
        group: tuple[Array, Array, Array] | None = None,
    ) -> LinearProgram:
        """Return the program with these entries, no two of which are at one place.

        Args:
            group: `group`, `group_low` and `group_high`.
        """
        order = np.argsort(entries.column, kind="stable")  # parts come in order of columns: a merge
        counts = np.bincount(entries.column, minlength=len(cost))
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        index = entries.row[order].astype(np.int32)
        return LinearProgram(
            cost, low, high, whole, row_low, row_high, start, index, entries.value[order], offset, *(group or ())
        )

    def activity(self, x: Array) -> Array:
        """Return ``A x``."""
        return np.bincount(self.index, weights=self.value * x[self.entry_column], minlength=self.rows)

    def reduced_costs(self, duals: Array, cost: Array | None = None) -> Array:
        """Return ``cost - duals A``."""
        prices = np.bincount(self.entry_column, weights=self.value * duals[self.index], minlength=self.columns)
        return (self.cost if cost is None else cost) - prices

    def only(self, kept: Array) -> LinearProgram:
        """Return the program with some of the columns (a mask or positions), the others at zero."""
        positions = np.flatnonzero(kept) if kept.dtype == bool else kept
        counts = np.diff(self.start)[positions]
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        at = np.repeat(self.start[positions] - start[:-1], counts) + np.arange(start[-1])
        return replace(
            self,
            cost=self.cost[positions],
            low=self.low[positions],
            high=self.high[positions],
            whole=self.whole[positions],
            start=start,
            index=self.index[at],
            value=self.value[at],
            group=None if self.group is None else self.group[positions],
            links=None if self.links is None else self.links.only(positions),
        )

    def fixed(self, x: Array, where: Array) -> LinearProgram:
        """Return the program with some columns (a mask) fixed to their values."""
        low, high = self.low.copy(), self.high.copy()
        low[where] = high[where] = x[where]
        return replace(self, low=low, high=high)

    def with_row(self, entries: Array, low: float, high: float) -> LinearProgram:
        """Return the program with one more row, given by a number for each column."""
        at = np.flatnonzero(entries)
        added = np.zeros(self.columns, dtype=np.int64)
        added[at] = 1
        ends = self.start[1:][at]
        index = np.insert(self.index, ends, np.int32(self.rows))
        value = np.insert(self.value, ends, entries[at])
        start = (self.start + np.concatenate([[0], np.cumsum(added)])).astype(np.int32)
        return replace(
            self,
            start=start,
            index=index,
            value=value,
            row_low=np.append(self.row_low, low),
            row_high=np.append(self.row_high, high),
        )

    def row_sizes(self, x: Array) -> Array:
        """Return what each row adds up without signs, or its limit where that is more: rounding is a share of it."""
        size = np.bincount(self.index, weights=np.abs(self.value * x[self.entry_column]), minlength=self.rows)
        sizes: Array = np.maximum(size, finite_sizes(self.row_low, self.row_high))
        return sizes

    def row_violations(self, x: Array) -> Array:
        """Return by how much each row is violated, relative to what it adds up."""
        activity = self.activity(x)
        with np.errstate(invalid="ignore"):
            over = np.maximum(self.row_low - activity, activity - self.row_high)
        shares: Array = np.maximum(over, 0.0) / np.maximum(self.row_sizes(x), 1e-300)
        return shares


def finite_sizes(low: Array, high: Array) -> Array:
    """Return the larger size of two ends that is finite; zero where none is."""
    ends = np.abs(np.stack([low, high]))
    sizes: Array = np.max(ends, axis=0, initial=0.0, where=np.isfinite(ends))
    return sizes


def nothing() -> LinearProgram:
    """Return the program of no columns: plans that were generated have none."""
    none = np.empty(0)
    return LinearProgram(none, none, none, none.astype(bool), none, none, np.zeros(1, dtype=np.int32),
                         none.astype(np.int32), none)  # fmt: skip
