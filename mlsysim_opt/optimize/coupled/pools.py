"""Parts that share what is held, as arrays and as a linear program over some places.

What is held at a place serves every period there. The program over some places has the shares, what is held and what is
rented there; picks are added to it one by one, with an amount in each period.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlsysim_opt.optimize.backends.highs import highs_name
from mlsysim_opt.optimize.coupled.blocks import Schedule, ScheduleOracle, ShareOracle
from mlsysim_opt.optimize.coupled.columns import Columns, columns_of, over_product
from mlsysim_opt.optimize.coupled.compile import Compiled
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, ending, settled, within
from mlsysim_opt.optimize.coupled.parts import Parts
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets, nothing
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family, Total

Pick = tuple[int, int]
"""A pick of a block: the block and the tuple."""
LARGE = 20_000
"""Amounts from which a task is not held as one program as it stands."""


@dataclass(frozen=True, eq=False)
class Base:
    """What a relaxation over some places holds beside schedules.

    Attributes:
        served: for each block of shares, tuples and periods of its columns. first: the row of use of the first place.
        row: for each place, which of those here it is, -1 for none. rows: how many rows there are.
    """

    places: Array
    row: Array
    served: dict[int, tuple[Array, Array]]
    program: LinearProgram
    entries: Triplets
    shares_row: int
    tying_row: int
    first: int
    spare: int


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan: its value, the amounts of a base, and of each pick its block, tuple and amounts in each period."""

    value: float
    base: Base
    x: Array
    jobs: list[tuple[int, int, Array]]


class Pools(Parts):
    """The parts of a task, and what is held and rented at all places."""

    def __init__(self, task: CoupledTask, options: Options) -> None:
        super().__init__(task, options)
        standing = task.problem.standing
        assert standing is not None
        self.standing = standing
        self.axis = self.problem.blocks[0].axis
        self.periods = len(self.axis.values)
        named = {item.name: item.coupling.total for item in task.relations}
        use = named[standing.relation]
        room = named[standing.capacity] if standing.capacity is not None else None
        held = columns_of(standing.held, task.local, self.problem.values)
        self.count = math.prod(len(choice.values) for choice in standing.held.over)
        self.held_table = held
        self.applies = held.count == self.count
        if not self.applies:
            return
        self.held_cost = np.stack([self._of(total, standing.held, held)[:, 0] for total in self.totals])
        self.per_held = -self._wide(self._of(use, standing.held, held))
        self.rented = standing.rented
        if self.rented is not None:
            rented = columns_of(Family(self.rented.name, standing.held.over), [], self.problem.values)
            self.rent_cost = np.stack([self._wide(self._of(total, self.rented, rented)) for total in self.totals])
            self.per_rented = -self._wide(self._of(use, self.rented, rented))
            self.applies &= bool(np.isfinite(self.rent_cost).all())
        self.room: Array | None = None
        if room is not None:
            self.held_room = self._wide(self._of(room, standing.held, held))
            if self.rented is not None:
                self.rented_room = self._wide(self._of(room, self.rented, rented))
            ((offset,), _) = over_product([room.offset], self.problem.values, (*standing.held.over, self.axis))
            self.room = -offset.reshape(self.count, self.periods)
        self.uses = [self._of(use, block.amounts, oracle.columns) for block, oracle in self._parts()]
        self.at = [oracle.columns.code(standing.held.over) for oracle in self.oracles]
        for oracle in self.oracles:
            oracle.each.append(np.zeros((1, 1)))
            if isinstance(oracle, ScheduleOracle):
                oracle.own = np.concatenate([oracle.own, np.zeros((1, oracle.own.shape[1]))])
        here = set(standing.held.over) | {self.axis}
        steady = not any(self.axis in item.holds.choices and item.holds.choices <= here for item in task.local)
        for oracle in self.oracles:  # a share that is possible in some periods only is none that oracles know
            if isinstance(oracle, ShareOracle):
                unknown = [np.isnan(item) for item in oracle.each]
                steady &= all(bool((item.any(axis=1) == item.all(axis=1)).all()) for item in unknown)
        tuples = sum(oracle.columns.count for oracle in self.oracles)
        self.applies &= (
            steady
            and tuples * self.periods > LARGE
            and bool(np.isfinite(self.held_cost).all())
            and all(item.possible for item in self.oracles)
        )

    def _relations(self) -> set[str]:
        assert self.problem.standing is not None
        return super()._relations() | set(self.problem.standing.relations)

    def _parts(self) -> list[tuple[Any, Any]]:
        return list(zip(self.problem.blocks, self.oracles, strict=True))

    def _of(self, total: Total, family: Family, columns: Columns) -> Array:
        return self._coefficients(total, family, columns, self.axis)

    def _wide(self, found: Array) -> Array:
        return np.broadcast_to(found, (len(found), self.periods))

    # a program over some places ---------------------------------------------------------------------------------------
    def _base(self, places: Array, whole: bool, elastic: float) -> Base:
        """Return shares, what is held and rented, at some places, and what rows may be violated by at a price."""
        row = np.full(self.count, -1)
        row[places] = np.arange(len(places))
        number, periods, rows = len(places), self.periods, len(self.tying)
        shares = [(at, oracle) for at, oracle in enumerate(self.oracles) if isinstance(oracle, ShareOracle)]
        shares_row = self.groups
        tying_row = shares_row + sum(oracle.asked.size for _, oracle in shares)
        first = tying_row + rows
        spare = first + number * periods
        total = spare + (number * periods if self.room is not None else 0)
        row_low, row_high = np.full(total, -math.inf), np.zeros(total)
        row_low[:shares_row] = row_high[:shares_row] = 1.0
        row_low[[self.first_group[at] for at, _ in shares]] = 0.0  # shares have rows of their own
        row_low[tying_row:first], row_high[tying_row:first] = self.row_low, self.row_high
        if self.room is not None:
            row_high[spare:] = self.room[places].reshape(-1)
        entries: list[Triplets] = []
        costs, wholes = [], []
        column = 0
        when = np.arange(periods)

        def add(cost: Array, uses: Array, at: list[tuple[Array, Array]], is_whole: bool = False) -> None:
            nonlocal column
            mine = column + np.arange(len(cost))
            for rows_, value in at:
                entries.append(Triplets(rows_, mine, np.broadcast_to(value, len(mine)).astype(float)))
            for tie in range(rows):
                entries.append(Triplets(np.full(len(mine), tying_row + tie), mine, uses[tie]))
            costs.append(cost)
            wholes.append(np.full(len(mine), is_whole))
            column += len(mine)

        served: dict[int, tuple[Array, Array]] = {}
        begin = shares_row
        for at, oracle in shares:
            groups = np.full(oracle.columns.count, -1)
            for part, members in enumerate(oracle.members):
                groups[members] = part
            mine = np.flatnonzero((groups >= 0) & (row[self.at[at]] >= 0))
            tuples, period = np.repeat(mine, periods), np.tile(when, len(mine))
            wide = [self._wide(item[mine]).reshape(-1) for item in oracle.each[:-1]]
            use = self._wide(self.uses[at][mine]).reshape(-1)
            add(wide[0], np.array(wide[1:]), [
                (begin + groups[tuples] * periods + period, np.ones(len(tuples))),
                (first + row[self.at[at][tuples]] * periods + period, use),
            ])  # fmt: skip
            served[at] = tuples, period
            row_low[begin : begin + oracle.asked.size] = row_high[begin : begin + oracle.asked.size] = (
                oracle.asked.reshape(-1)
            )
            begin += oracle.asked.size
        of_place = np.repeat(np.arange(number), periods)
        use_rows = first + np.arange(number * periods)
        held = column + of_place
        entries.append(Triplets(use_rows, held, -self.per_held[places].reshape(-1)))
        if self.room is not None:
            entries.append(Triplets(spare + np.arange(number * periods), held, self.held_room[places].reshape(-1)))
        add(self.held_cost[0, places], self.held_cost[1:, places], [], whole)
        if self.rented is not None:
            rent = self.rent_cost[:, places].reshape(1 + rows, -1)
            at_rows = [(use_rows, -self.per_rented[places].reshape(-1))]
            if self.room is not None:
                at_rows.append((spare + np.arange(number * periods), self.rented_room[places].reshape(-1)))
            add(rent[0], rent[1:], at_rows)
        if elastic:
            for sign, finite in ((1.0, np.isfinite(self.row_low)), (-1.0, np.isfinite(self.row_high))):
                for tie in np.flatnonzero(finite):
                    size = abs(self.held_cost[1 + tie]).max(initial=1e-300)
                    entries.append(Triplets(np.array([tying_row + tie]), np.array([column]), np.array([sign * size])))
                    add(np.array([elastic]), np.zeros((rows, 1)), [])
            if self.room is not None:
                add(
                    np.full(number * periods, elastic),
                    np.zeros((rows, number * periods)),
                    [(use_rows, np.full(number * periods, -1.0))],
                )
        joined = _clean(Triplets.joined(entries))
        program = LinearProgram.of(
            joined, cost=np.concatenate(costs), low=np.zeros(column), high=np.full(column, math.inf),
            whole=np.concatenate(wholes), row_low=row_low, row_high=row_high,
        )  # fmt: skip
        return Base(places, row, served, program, joined, shares_row, tying_row, first, spare)

    def _with_picks(self, base: Base, picks: Sequence[Pick]) -> tuple[LinearProgram, list[int]]:
        """Return the program of a base with some picks, and where the columns of each begin."""
        program, columns = base.program, []
        for block, tuple_ in picks:
            columns.append(program.columns)
            program = self._with_periods(base, program, block, tuple_)
        return program, columns

    def _standing_columns(self, base: Base) -> tuple[Array, Array | None]:
        """Return the columns of what is held at each place, and of what is rented there in each period."""
        number = len(base.places)
        first = sum(len(tuples) for tuples, _ in base.served.values())
        held = first + np.arange(number)
        if self.rented is None:
            return held, None
        return held, (first + number + np.arange(number * self.periods)).reshape(number, self.periods)

    def _plan(
        self, base: Base, program: LinearProgram, x: Array, picks: Sequence[Pick], columns: Sequence[int]
    ) -> Plan:
        """Return the plan that amounts of a program are, with whole amounts made whole."""
        x = settled(program, x)
        jobs = []
        for (block, tuple_), column in zip(picks, columns, strict=True):
            if x[column] > 0.5:
                amounts = np.zeros(self.periods)
                when = self._open(block, tuple_)
                amounts[when] = x[column + 1 : column + 1 + len(when)]
                jobs.append((block, tuple_, amounts))
        return Plan(float(program.cost @ x), base, x[: base.program.columns], jobs)

    def _with_periods(self, base: Base, program: LinearProgram, block: int, tuple_: int) -> LinearProgram:
        """Return a program with one more pick and its amounts in each period."""
        oracle, part = self.oracles[block], self.problem.blocks[block]
        assert isinstance(oracle, ScheduleOracle)
        assert isinstance(part, Schedule)
        when = self._open(block, tuple_)
        count, rows = len(when), program.rows
        each = np.stack([self._wide(item[tuple_ : tuple_ + 1])[0, when] for item in oracle.each[:-1]])
        own, ties = oracle.own[:-1, tuple_], base.tying_row + np.arange(len(self.tying))
        use = np.broadcast_to(self.uses[block][tuple_], self.periods)[when]
        work = 1 + np.arange(count)
        group = self.first_group[block] + int(oracle.groups[tuple_])
        entries = _clean(Triplets.joined([
            Triplets(np.array([group, rows]), np.zeros(2, dtype=np.int64), np.array([1.0, -oracle.needed[tuple_]])),
            Triplets(np.full(count, rows), work, np.ones(count)),
            Triplets(base.first + base.row[self.at[block][tuple_]] * self.periods + when, work, use),
            Triplets(ties, np.zeros(len(ties), dtype=np.int64), own[1:]),
            Triplets(np.repeat(ties, count), np.tile(work, len(ties)), each[1:].reshape(-1)),
        ]))  # fmt: skip
        low, top = np.append(program.row_low, 0.0), np.append(program.row_high, 0.0)
        more = LinearProgram.of(
            entries, cost=np.concatenate([own[:1], each[0]]), low=np.zeros(1 + count),
            high=np.concatenate([[1.0], oracle.high[tuple_, when]]),
            whole=np.concatenate([[True], np.full(count, part.amounts.whole)]), row_low=low, row_high=top,
        )  # fmt: skip
        return beside(replace(program, row_low=low, row_high=top), more)

    def _begun(self, best: Plan, columns: int, first: list[int]) -> Array:
        """Return a known plan as amounts of a program over the same places."""
        x = np.zeros(columns)
        x[: len(best.x)] = best.x
        for (block, tuple_, amounts), column in zip(best.jobs, first, strict=True):
            when = self._open(block, tuple_)
            x[column] = 1.0
            x[column + 1 : column + 1 + len(when)] = amounts[when]
        return x

    def _open(self, block: int, tuple_: int) -> Array:
        """Return the periods in which a pick may do something."""
        oracle = self.oracles[block]
        assert isinstance(oracle, ScheduleOracle)
        return np.flatnonzero(oracle.high[tuple_])

    def _place(self, plan: int) -> int:
        return int(self.at[self.pool.block[plan]][self.pool.tuple_[plan]])

    # the answer -------------------------------------------------------------------------------------------------------
    def _told(self, bound: float, best: Plan, how: str) -> tuple[Compiled, Found]:
        """Return a plan as tuples that are not zero, with its proof."""
        base, x = best.base, best.x
        columns: dict[Family, Columns] = {}
        first: dict[Family, int] = {}
        parts: list[Array] = []

        def add(family: Family, positions: Mapping[Any, Array], amounts: Array) -> None:
            kept = np.flatnonzero(amounts > 0)
            raw = math.prod(len(choice.values) for choice in family.over)
            chosen = {choice: positions[choice][kept] for choice in family.over}
            columns[family], first[family] = Columns(family, chosen, len(kept), raw), sum(len(item) for item in parts)
            parts.append(amounts[kept])

        column = 0
        for at, (tuples, when) in base.served.items():
            where = {choice: item[tuples] for choice, item in self.oracles[at].columns.positions.items()}
            add(self.problem.blocks[at].amounts, {**where, self.axis: when}, x[column : column + len(tuples)])
            column += len(tuples)
        places = {choice: item[base.places] for choice, item in self.held_table.positions.items()}
        add(self.standing.held, places, x[column : column + len(base.places)])
        column += len(base.places)
        if self.rented is not None:
            there = {choice: np.repeat(item, self.periods) for choice, item in places.items()}
            there[self.axis] = np.tile(np.arange(self.periods), len(base.places))
            add(self.rented, there, x[column : column + len(base.places) * self.periods])
        for at, block in enumerate(self.problem.blocks):
            if isinstance(block, Schedule):
                mine = [(tuple_, amounts) for which, tuple_, amounts in best.jobs if which == at]
                picked = np.array([item[0] for item in mine], dtype=np.int64)
                table = self.oracles[at].columns.positions
                add(block.picks, {choice: item[picked] for choice, item in table.items()}, np.ones(len(picked)))
                spread = {choice: np.repeat(item[picked], self.periods) for choice, item in table.items()}
                spread[self.axis] = np.tile(np.arange(self.periods), len(picked))
                add(block.amounts, spread, np.concatenate([item[1] for item in mine]))
        offset = float(self.offsets[0])
        exact = within(best.value, bound, EXACT)
        near = exact or within(best.value, bound, self.options.gap)
        proof = f"{how}: {ending(near, exact, 'interrupted' if self.pressed else 'stopped')}"
        amounts = np.concatenate(parts)
        found = Found(
            "optimal" if near else "feasible", amounts, best.value + offset, min(bound, best.value) + offset, proof,
            highs_name(), self.details,
        )  # fmt: skip
        return Compiled(self.problem, columns, first, [], nothing(), {}), found


def _clean(entries: Triplets) -> Triplets:
    kept = entries.value != 0
    return Triplets(entries.row[kept], entries.column[kept], entries.value[kept])


def beside(program: LinearProgram, more: LinearProgram) -> LinearProgram:
    """Return a program with more columns of the same rows."""
    return replace(
        program,
        cost=np.concatenate([program.cost, more.cost]),
        low=np.concatenate([program.low, more.low]),
        high=np.concatenate([program.high, more.high]),
        whole=np.concatenate([program.whole, more.whole]),
        start=np.concatenate([program.start, program.start[-1] + more.start[1:]]).astype(np.int32),
        index=np.concatenate([program.index, more.index]),
        value=np.concatenate([program.value, more.value]),
    )
