"""Rows that every plan satisfies and mixtures of plans do not, where picks share what is held.

A pick that works in some periods only, at full size, is a mixture of half sizes in twice the periods to a relaxation,
and needs half as much held. In a plan, the largest pick of a place, its core, has what it uses held all the time or
rented in each period in which it works; what is held in part is a mixture of both with the same periods. All other
picks there may use whatever is left. Said of the largest pick alone, this needs no list of who shares a place.

Source: disjunctive programming, Balas, SIAM J. Alg. Disc. Meth. 6 (1985), for one pick at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets


@dataclass(frozen=True, eq=False)
class Worker:
    """A pick in a program: whole amounts along the axis that add up to what it needs, or nothing.

    Attributes:
        place, group: where it is, and the group of which only one is picked. pick: its column.
        when, work: the periods in which it may work, and their columns. needed: what the work adds up to.
        use, high: in these periods, of one unit, and how many units at most.
        held: what has to be held for its use, at least. core: whether to say what it has as a core; what is not said of
            some remains true of the others.
    """

    place: int
    group: int
    pick: int
    when: Array
    work: Array
    needed: float
    use: Array
    high: Array
    held: float
    core: bool = True


def with_cores(
    program: LinearProgram, workers: Sequence[Worker], held: Array, rented: Array | None, per_rented: Array | None
) -> LinearProgram:
    """Return a program with columns and rows that say what the core of each place has held or rented.

    Args:
        held: the column of what is held at each place. rented, per_rented: the columns of what is rented at each place
            in each period of the axis, and what one of them is good for; None where nothing can be rented.
    """
    made = _Rows(program)
    places: dict[int, list[Worker]] = {}
    for worker in workers:
        places.setdefault(worker.place, []).append(worker)
    for place, here in sorted(places.items()):
        here.sort(key=lambda item: (-float(item.use.max(initial=0.0)), item.pick))
        rents = None if rented is None or per_rented is None else (rented[place], per_rented[place])
        made.place(here, int(held[place]), rents)
    return made.program()


class _Rows:
    def __init__(self, program: LinearProgram) -> None:
        self.base = program
        self.rows, self.columns = program.rows, program.columns
        self.low: list[float] = []
        self.high: list[float] = []
        self.parts: list[Triplets] = []

    def _row(self, low: float, high: float, count: int = 1) -> Array:
        self.low += [low] * count
        self.high += [high] * count
        self.rows += count
        return np.arange(self.rows - count, self.rows)

    def _column(self, count: int = 1) -> Array:
        self.columns += count
        return np.arange(self.columns - count, self.columns)

    def _add(self, row: Array, column: Array, value: Array | float) -> None:
        row, column, value = np.broadcast_arrays(row, column, np.asarray(value, dtype=float))
        self.parts.append(Triplets(row.copy(), column.copy(), value.copy()))

    def place(self, here: Sequence[Worker], held: int, rents: tuple[Array, Array] | None) -> None:
        """Add what is so of one place: one core at most, and what it has held or rented."""
        one = self._row(-np.inf, 1.0)
        whole = self._row(0.0, np.inf)
        self._add(whole, np.array([held]), 1.0)
        by_period: Array | None = None
        if rents is not None:
            by_period = self._row(0.0, np.inf, len(rents[0]))
            self._add(by_period, rents[0], rents[1])
        before: list[tuple[Worker, Array | None]] = []  # larger ones, each with the column that says it is no core
        for worker in here:
            if not worker.core:
                before.append((worker, None))
                continue
            pick = np.array([worker.pick])
            others: list[Array] = []  # amounts of what is no core, and of what is rented
            larger = [item for item in before if item[0].group != worker.group]
            beside = self._column() if larger else None
            if beside is not None:
                some = self._row(-np.inf, 0.0)  # who is no core has a larger one beside it
                self._add(some, beside, 1.0)
                for item, no_core in larger:
                    self._add(some, np.array([item.pick]), -1.0)
                    if no_core is not None:
                        self._add(some, no_core, 1.0)
                others.append(self._mode(worker, beside))
            before.append((worker, beside))
            self._add(one, pick, 1.0)
            self._add(whole, pick, -worker.held)
            if beside is not None:
                self._add(one, beside, -1.0)
                self._add(whole, beside, worker.held)
            by_renting = None
            if rents is not None and by_period is not None:
                by_renting = self._column()
                self._add(whole, by_renting, worker.held)
                work = self._mode(worker, by_renting)
                self._add(by_period[worker.when], work, -worker.use)
                others.append(work)
            self._rest(worker, [item for item in (beside, by_renting) if item is not None], others)

    def _mode(self, worker: Worker, share: Array) -> Array:
        """Add the work that a pick does in one way, for a share of it; return its columns."""
        count = len(worker.work)
        work = self._column(count)
        total, limits = self._row(0.0, 0.0), self._row(-np.inf, 0.0, count)
        self._add(total, work, 1.0)
        self._add(total, share, -worker.needed)
        self._add(limits, work, 1.0)
        self._add(limits, share, -worker.high)
        return work

    def _rest(self, worker: Worker, shares: Sequence[Array], works: Sequence[Array]) -> None:
        """Add that what is left of a pick is its work as a core that is held: neither negative nor too much."""
        count = len(worker.work)
        least, most = self._row(0.0, np.inf, count), self._row(-np.inf, 0.0, count)
        for rows in (least, most):
            self._add(rows, worker.work, 1.0)
            for work in works:
                self._add(rows, work, -1.0)
        self._add(most, np.array([worker.pick]), -worker.high)
        for share in shares:
            self._add(most, share, worker.high)

    def program(self) -> LinearProgram:
        base, more = self.base, self.columns - self.base.columns
        entries = Triplets.joined([Triplets(base.index, base.entry_column, base.value), *self.parts])
        kept = entries.value != 0
        entries = Triplets(entries.row[kept], entries.column[kept], entries.value[kept])
        made = LinearProgram.of(
            entries,
            cost=np.concatenate([base.cost, np.zeros(more)]),
            low=np.concatenate([base.low, np.zeros(more)]),
            high=np.concatenate([base.high, np.full(more, np.inf)]),
            whole=np.concatenate([base.whole, np.zeros(more, dtype=bool)]),
            row_low=np.concatenate([base.row_low, self.low]),
            row_high=np.concatenate([base.row_high, self.high]),
        )
        return replace(made, offset=base.offset)
