"""Parts of a coupled problem whose best plan at given prices is known without a solver.

Where few rows tie them together, columns are generated (`generate`): a part is asked for its best plan at the prices of
those rows, and its plans become columns. What is never held is the product of everything it might do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.optimize.coupled.columns import Columns
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.totals import Family

FITS = 1e-12
"""Share of what is needed that may be lacking where it has to fit: times are computed, and added up over periods."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A pick for each tuple of some choices, and amounts of what is picked along one axis, up to what it needs in all.

    Attributes:
        picks: one of each group is picked. amounts: over the choices of the picks, and the axis last.
        needed: what the amounts of a pick add up to. relation: the name of the relation that says so.
    """

    picks: Family
    amounts: Family
    needed: Expression
    relation: str

    @property
    def axis(self) -> Choice:
        """The axis along which amounts stand."""
        return self.amounts.over[-1]

    @property
    def families(self) -> tuple[Family, ...]:
        """Its families."""
        return self.picks, self.amounts


@dataclass(frozen=True, eq=False)
class Shares:
    """Amounts without upper limits that add up to what is asked for, in each row by itself.

    Attributes:
        amounts: the axis last, the choices of `parts` first. parts: with the axis, the choices of the rows.
        asked: over the rows. relation: the name of the relation that says so.
    """

    amounts: Family
    parts: tuple[Choice, ...]
    asked: Expression
    relation: str

    @property
    def axis(self) -> Choice:
        """The axis along which amounts stand."""
        return self.amounts.over[-1]

    @property
    def families(self) -> tuple[Family, ...]:
        """Its families."""
        return (self.amounts,)


Block = Schedule | Shares


@dataclass(frozen=True, eq=False)
class Standing:
    """What is held along the whole axis, for the amounts of all parts to use, and what is rented beside it.

    Attributes:
        held: over the choices of places. rented: over them and the axis; None if nothing is rented.
        relation: the name of the one that says what is used is held or rented. capacity: of the limits of both.
    """

    held: Family
    rented: Family | None
    relation: str
    capacity: str | None = None

    @property
    def families(self) -> tuple[Family, ...]:
        """Its families."""
        return (self.held,) if self.rented is None else (self.held, self.rented)

    @property
    def relations(self) -> tuple[str, ...]:
        """The names of its relations."""
        return (self.relation,) if self.capacity is None else (self.relation, self.capacity)


@dataclass(frozen=True, eq=False)
class Chain:
    """One pick for each stage in a row, and between neighbours a change from the layout of one to that of the other.

    Attributes:
        picks: one of each stage. changes: over stage, before and after: whether a change is made behind a stage.
        stage, layout, before, after: the choices. goes_on, comes_from: the names of the relations of picks and changes.
    """

    picks: Family
    changes: Family
    stage: Choice
    layout: Choice
    before: Choice
    after: Choice
    goes_on: str
    comes_from: str


@dataclass(eq=False)
class Priced:
    """Plans of a part at some prices.

    Attributes:
        value: the least that the whole part can cost at these prices.
        group, tuple_: for each plan, the group that it is a plan of, and the tuple that is picked (0 for shares).
        amounts: for each plan, amounts along the axis (schedules), or the tuple that takes each row (shares).
        costs, uses: of each plan: its true cost, and what it takes of each row.
    """

    value: float
    group: Array
    tuple_: Array
    amounts: Array
    costs: Array
    uses: Array


class ScheduleOracle:
    """Cheapest schedules: for each group the tuple and the amounts along the axis that cost least.

    For one tuple that is a continuous knapsack with equal weights: fill the cheapest places first. Most tuples are left
    out by a bound before anything is sorted: every place as cheap as the cheapest, number by number.

    Args:
        columns: the picks. needed: of each. high: limits of the amounts, of shape (tuples, places).
        own: costs and uses of a pick itself, of shape (1 + rows, tuples).
        each: costs and uses of an amount, a list of arrays of shape (tuples, places) or (tuples, 1).
    """

    def __init__(
        self, columns: Columns, groups: Array, needed: Array, high: Array, own: Array, each: Sequence[Array]
    ) -> None:
        high = np.where(_unknown(each, high.shape), 0.0, high)  # nothing runs where a number does not exist
        self.columns, self.groups, self.needed, self.high, self.own = columns, groups, needed, high, own
        self.each = [np.nan_to_num(item) for item in each]
        self.low = np.stack([item.min(axis=1) for item in self.each])
        self.most = np.stack([item.max(axis=1) for item in self.each])
        fits = high.sum(axis=1) >= needed * (1 - FITS)
        known = ~np.isnan(self.own).any(axis=0)
        self.may = np.flatnonzero(fits & known)
        order = self.may[np.argsort(groups[self.may], kind="stable")]
        self.order = order
        self.first = _starts(groups[order])
        self.count = int(groups.max(initial=-1)) + 1

    @property
    def possible(self) -> bool:
        """Whether every group has a tuple that fits."""
        return len(self.first) == self.count

    def price(self, weights: Array, most: int, only: Array | None = None) -> Priced:
        """Return the best plans of each group, at most so many, and the least they cost together.

        Args:
            weights: of the cost and of each row. only: tuples to look at, in the order of `order`; all when None.
        """
        order = self.order if only is None else only
        first = self.first if only is None else _starts(self.groups[only])
        bound = weights @ self.own[:, order]
        for weight, low, high in zip(weights, self.low, self.most, strict=True):
            if weight:
                bound += weight * self.needed[order] * (low if weight > 0 else high)[order]
        sizes = np.diff([*first, len(order)])
        run = np.repeat(np.arange(len(first)), sizes)
        # the tuple of the least bound in each group gives a value; only tuples whose bound is below it may be better
        least = np.minimum.reduceat(bound, first)
        start = self._argmin(bound, least, run)
        reach, _ = self.fill(weights, order[start])
        near = bound <= reach[run]
        near[start] = True  # where a bound is exact, rounding may have put it above its value
        kept = np.flatnonzero(near)
        exact, _ = self.fill(weights, order[kept])
        rank = np.lexsort((exact, run[kept]))
        codes = run[kept][rank]
        begin = np.concatenate([[True], codes[1:] != codes[:-1]])
        place = np.arange(len(codes)) - np.maximum.accumulate(np.where(begin, np.arange(len(codes)), 0))
        best = rank[place < most]
        picked = order[kept][best]
        _, amounts = self.fill(weights, picked)
        costs, uses = self.totals(picked, amounts)
        value = float(np.sum(exact[rank[begin]]))
        return Priced(value, self.groups[picked], picked, amounts, costs, uses)

    @staticmethod
    def _argmin(bound: Array, least: Array, run: Array) -> Array:
        at = np.flatnonzero(bound == least[run])
        first: Array = at[np.concatenate([[True], np.diff(run[at]) > 0])]
        return first

    def _at(self, weights: Array, tuples: Array) -> Array:
        price = np.zeros((len(tuples), self.high.shape[1]))
        for weight, item in zip(weights, self.each, strict=True):
            if weight:
                price += weight * item[tuples]
        return price

    def fill(self, weights: Array, tuples: Array) -> tuple[Array, Array]:
        """Return what each tuple costs at its best, and the amounts."""
        price = self._at(weights, tuples)
        order = np.argsort(price, axis=1, kind="stable")
        room = np.take_along_axis(self.high[tuples], order, axis=1)
        before = np.cumsum(room, axis=1) - room
        filled = np.clip(self.needed[tuples][:, None] - before, 0.0, room)
        amounts = np.empty_like(filled)
        np.put_along_axis(amounts, order, filled, axis=1)
        return weights @ self.own[:, tuples] + (price * amounts).sum(axis=1), amounts

    def totals(self, tuples: Array, amounts: Array) -> tuple[Array, Array]:
        parts = [self.own[at, tuples] + (item[tuples] * amounts).sum(axis=1) for at, item in enumerate(self.each)]
        return parts[0], np.stack(parts[1:], axis=1) if len(parts) > 1 else np.empty((len(tuples), 0))


def _unknown(each: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """Return where a tuple has no number, of shape (tuples, places)."""
    found = np.zeros(shape, dtype=bool)
    for item in each:
        found |= np.isnan(item)
    return found


def _starts(codes: Array) -> Array:
    """Return where each run of equal codes begins."""
    found: Array = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else codes
    return found


class ShareOracle:
    """Cheapest shares: each row is taken by the tuple that costs least there.

    Args:
        groups: for each tuple, its part. asked: what each part asks for, of shape (parts, places).
        each: costs and uses of an amount, a list of arrays of shape (tuples, places) or (tuples, 1).
    """

    def __init__(self, columns: Columns, groups: Array, asked: Array, each: Sequence[Array]) -> None:
        self.columns, self.asked = columns, asked
        self.closed = _unknown(each, (len(groups), asked.shape[1]))
        some = ~self.closed.all(axis=1)
        self.members = [np.flatnonzero((groups == part) & some) for part in range(len(asked))]
        self.each = list(each)

    @property
    def possible(self) -> bool:
        """Whether every part has a tuple wherever it asks for something."""
        return all(
            not np.any(self.closed[members].all(axis=0) & (asked > 0))
            for members, asked in zip(self.members, self.asked, strict=True)
        )

    def price(self, weights: Array) -> Priced:
        """Return the best plan of all rows together."""
        places = self.asked.shape[1]
        taken = np.empty(self.asked.shape, dtype=np.int64)
        value = 0.0
        for part, members in enumerate(self.members):
            price = np.zeros((len(members), places))
            for weight, item in zip(weights, self.each, strict=True):
                if weight:
                    price += weight * item[members]
            price[self.closed[members]] = np.inf
            best = price.argmin(axis=0)
            asked = self.asked[part] > 0
            value += float(price[best, np.arange(places)][asked] @ self.asked[part][asked])
            taken[part] = members[best]
        where = np.arange(places)
        wanted = self.asked > 0
        parts = [
            float(np.sum((item[taken, where if item.shape[1] > 1 else 0] * self.asked)[wanted])) for item in self.each
        ]
        zero = np.zeros(1, dtype=np.int64)
        return Priced(value, zero, zero, taken[None], np.array(parts[:1]), np.array([parts[1:]]))
