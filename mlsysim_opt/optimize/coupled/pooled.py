"""Parts that share what is held: amounts that stand along the whole axis, used by schedules and shares place by place.

One amount held at a place serves every period there, so that as many rows tie the parts together as there are places
and periods. The relaxation is solved over few places and few schedules. At its prices every schedule and every share at
all places is priced; where a place is not in the relaxation, its prices are chosen so that it attracts as little as
possible. What the parts cost at least is below every plan (weak duality), whatever the prices are, as long as nothing
held or rented costs less than it is worth at them. Then schedules are chosen again, period by period, with whole
amounts held, over the places that the relaxation uses: that is the plan.

Sources: Geoffrion, Mathematical Programming Study 2 (1974); Lubbecke and Desrosiers, Operations Research 53 (2005).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram, Progress, Result, highs_name
from mlsysim_opt.optimize.coupled.blocks import Priced, Schedule, ScheduleOracle, ShareOracle
from mlsysim_opt.optimize.coupled.columns import Columns, columns_of, over_product
from mlsysim_opt.optimize.coupled.compile import Compiled
from mlsysim_opt.optimize.coupled.generate import PER_GROUP, ROWS, TINY, Generation, nothing
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, settled, within
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family, Total

LARGE = 20_000
"""Amounts from which places are left out of the relaxation instead of held."""
ROUNDS = 40
INNER = 60
ADDED = 8
"""Places that one pricing adds."""
CLOSE = 0.4
"""Share of the gap asked for to which the relaxation is solved; at least `FINEST`."""
FINEST = 1e-4
WORTH = 1e-3
"""Share of a place in what is done that makes it worth branching over."""
STEP = 0.1
"""How far prices go from the best known to those of the last relaxation (Wentges, 1997)."""
SAFE = 1 - 1e-12


def pools(task: CoupledTask) -> bool:
    """Return whether a task is made of parts that share what is held, if large enough."""
    problem, standing = task.problem, task.problem.standing
    if standing is None or not problem.blocks or task.linear.helpers or task.linear.divisor is not None:
        return False
    families = {family for block in problem.blocks for family in block.families} | set(standing.families)
    names = {block.relation for block in problem.blocks} | set(standing.relations)
    tying = [item for item in task.relations if item.name not in names]
    return families == set(problem.families.values()) and all(not item.each for item in tying) and len(tying) <= ROWS


def solve_pooled(task: CoupledTask, options: Options) -> tuple[Compiled, Found] | None:
    """Return the best plan found, with its bound; None where this way finds no plan or does not apply."""
    return _Pooled(task, options).answered()


def pooled_bound(task: CoupledTask, options: Options) -> float | None:
    """Return what no plan is below, over everything that parts might do; None where this way does not apply."""
    made = _Pooled(task, options)
    related = made._related() if made.applies else None
    return None if related is None else related.bound + float(made.offsets[0])


@dataclass(frozen=True, eq=False)
class _Prices:
    """Prices of a relaxation: weights of the cost and the rows; of use and of capacity by place and period."""

    weights: Array
    use: Array
    room: Array

    def toward(self, other: _Prices, step: float) -> _Prices:
        """Return prices part of the way to others; what both keep to, they keep to as well."""
        pairs = ((self.weights, other.weights), (self.use, other.use), (self.room, other.room))
        return _Prices(*(mine + step * (theirs - mine) for mine, theirs in pairs))


@dataclass(frozen=True, eq=False)
class _Base:
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
class _Related:
    """The relaxation: its bound, the prices that prove it, and the last one over some places with its schedules."""

    bound: float
    prices: _Prices
    base: _Base
    result: Result
    known: Array


@dataclass(frozen=True, eq=False)
class _Plan:
    """A plan: its value, the amounts of a base, and of each pick its block, tuple and amounts in each period."""

    value: float
    base: _Base
    x: Array
    jobs: list[tuple[int, int, Array]]


class _Pooled(Generation):
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

    # prices -----------------------------------------------------------------------------------------------------------
    def _most(self, prices: _Prices) -> tuple[Array, Array]:
        """Return what use may cost at most: in each period by what is rented, in all by what is held.

        Where that is negative, something held or rented pays for itself, and these prices prove nothing.
        """
        held = prices.weights @ self.held_cost
        rented = np.full((self.count, self.periods), math.inf)
        if self.rented is not None:
            rented = np.tensordot(prices.weights, self.rent_cost, axes=1)
            if self.room is not None:
                rented = rented + self.rented_room * prices.room
            rented = rented / self.per_rented
        if self.room is not None:
            held = held + (self.held_room * prices.room).sum(axis=1)
        return rented, held

    def _repaired(self, prices: _Prices) -> _Prices:
        """Return prices at which nothing that is held or rented costs less than it is worth."""
        rented, held = self._most(prices)
        use = np.clip(prices.use, 0.0, np.maximum(rented, 0.0)) * SAFE
        worth = (use * self.per_held).sum(axis=1)
        use = use * np.where(worth > held, np.maximum(held, 0.0) / np.maximum(worth, 1e-300) * SAFE, 1.0)[:, None]
        return _Prices(prices.weights, use, prices.room)

    def _spread(self, prices: _Prices, least: Array) -> Array:
        """Return prices of use, at least so high where that is possible, otherwise as even as they may be."""
        rented, held = self._most(prices)
        low = np.zeros(self.count)
        high = np.maximum(held, 0.0) / self.per_held.min(axis=1)
        for _ in range(50):
            middle = (low + high) / 2
            use = np.minimum(np.maximum(least, middle[:, None]), rented)
            fits = (use * self.per_held).sum(axis=1) <= held
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        found: Array = np.minimum(np.maximum(least, low[:, None]), rented)
        return found

    def _half(self) -> float | None:
        """Return the seconds left for the relaxation: half of all."""
        left, limit = self._left(), self.options.time_limit
        return None if left is None or limit is None else max(0.0, left - limit / 2)

    def _lagrangian(self, prices: _Prices) -> tuple[float, list[Any]]:
        """Return what no plan costs less than, and what each part would do: schedules, or what shares cost."""
        duals = -prices.weights[1:]
        proves = all(bool(np.all(item >= 0)) for item in self._most(prices))
        parts: list[Any] = []
        worth: list[float] = []
        weights = np.append(prices.weights, 1.0)
        for (_, oracle), use, at in zip(self._parts(), self.uses, self.at, strict=True):
            extra = use * prices.use[at]
            oracle.each[-1] = extra
            if isinstance(oracle, ScheduleOracle):
                value, _ = oracle.fill(weights, oracle.order)
                parts.append(value)
                worth += np.minimum.reduceat(value, oracle.first).tolist()
                continue
            price = sum(weight * item for weight, item in zip(weights, oracle.each, strict=True) if weight)
            price = np.broadcast_to(np.asarray(price), (oracle.columns.count, self.periods))
            parts.append(price)
            for part, members in enumerate(oracle.members):
                worth.append(float(price[members].min(axis=0) @ oracle.asked[part]))
        if self.room is not None:
            bounded = prices.room > 0
            worth.append(-float(np.sum(prices.room[bounded] * self.room[bounded])))
        return self._bound(duals, math.fsum(worth)) if proves else -math.inf, parts

    # relaxations ------------------------------------------------------------------------------------------------------
    def _base(self, places: Array, whole: bool, elastic: float) -> _Base:
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
        return _Base(places, row, served, program, joined, shares_row, tying_row, first, spare)

    def _plans(self, base: _Base, known: Array) -> LinearProgram:
        """Return known schedules as columns of the rows of a base."""
        entries = []
        for column, i in enumerate(known):
            block, tuple_ = self.pool.block[i], self.pool.tuple_[i]
            place = base.row[self.at[block][tuple_]]
            taken = np.broadcast_to(self.uses[block][tuple_], self.periods) * self.pool.amounts[i]
            (when,) = np.nonzero(taken)
            ties = np.flatnonzero(self.pool.uses[i])
            group = self.first_group[block] + self.pool.group[i]
            rows = np.concatenate([[group], base.tying_row + ties, base.first + place * self.periods + when])
            values = np.concatenate([[1.0], self.pool.uses[i][ties], taken[when]])
            entries.append(Triplets(rows.astype(np.int64), np.full(len(rows), column), values))
        count = len(known)
        return LinearProgram.of(
            Triplets.joined(entries), cost=np.array([self.pool.cost[i] for i in known], dtype=float),
            low=np.zeros(count), high=np.full(count, math.inf), whole=np.zeros(count, dtype=bool),
            row_low=base.program.row_low, row_high=base.program.row_high,
        )  # fmt: skip

    def _schedules(self, parts: list[Any], places: Array, prices: _Prices) -> list[int]:
        """Add the best schedules of each group at some places; return those that are new."""
        weights = np.append(prices.weights, 1.0)
        here = np.zeros(self.count, dtype=bool)
        here[places] = True
        before = len(self.pool)
        for block, (_, oracle) in enumerate(self._parts()):
            if not isinstance(oracle, ScheduleOracle):
                continue
            mine = np.flatnonzero(here[self.at[block][oracle.order]])
            groups = oracle.groups[oracle.order[mine]]
            value = parts[block][mine]
            rank = np.lexsort((value, groups))
            start = np.searchsorted(groups[rank], groups[rank])
            best = oracle.order[mine[rank[np.arange(len(rank)) - start < PER_GROUP]]]
            if not len(best):
                continue
            oracle.each[-1] = self.uses[block] * prices.use[self.at[block]]
            _, amounts = oracle.fill(weights, best)
            costs, uses = oracle.totals(best, amounts)
            self.pool.add(block, Priced(0.0, oracle.groups[best], best, amounts, costs, uses[:, :-1]))
        return list(range(before, len(self.pool)))

    def _first_places(self, parts: list[Any]) -> Array:
        """Return the places that are cheapest for each group and each share."""
        chosen: set[int] = set()
        for at, oracle in enumerate(self.oracles):
            if isinstance(oracle, ScheduleOracle):
                groups = oracle.groups[oracle.order]
                rank = np.lexsort((parts[at], groups))
                start = np.searchsorted(groups[rank], groups[rank])
                chosen.update(self.at[at][oracle.order[rank[np.arange(len(rank)) - start < PER_GROUP]]].tolist())
                continue
            for members in oracle.members:
                order = np.argsort(parts[at][members].sum(axis=1))[:PER_GROUP]
                chosen.update(self.at[at][members[order]].tolist())
        return np.array(sorted(chosen), dtype=np.int64)

    def _prices_of(self, base: _Base, duals: Array) -> tuple[_Prices, Array, list[Array]]:
        """Return the prices of all places at the duals of some, and what shares and groups are worth."""
        ties = duals[base.tying_row : base.first].copy()
        ties[(ties > 0) & ~np.isfinite(self.row_low)] = 0.0
        ties[(ties < 0) & ~np.isfinite(self.row_high)] = 0.0
        weights = np.concatenate([[1.0], -ties])
        shape = (self.count, self.periods)
        use, room = np.zeros(shape), np.zeros(shape)
        number = len(base.places) * self.periods
        use[base.places] = np.maximum(-duals[base.first : base.first + number], 0.0).reshape(-1, self.periods)
        if self.room is not None:
            room[base.places] = np.maximum(-duals[base.spare :], 0.0).reshape(-1, self.periods)
            room[~np.isfinite(self.room)] = 0.0
        least = np.zeros(shape)
        asked = duals[base.shares_row : base.tying_row]
        begin = 0
        for at, oracle in enumerate(self.oracles):
            if not isinstance(oracle, ShareOracle):
                continue
            worth = asked[begin : begin + oracle.asked.size].reshape(oracle.asked.shape)
            begin += oracle.asked.size
            for part, members in enumerate(oracle.members):
                own = sum(v * item[members] for v, item in zip(weights, oracle.each[:-1], strict=True) if v)
                need = np.maximum(worth[part] - own, 0.0) / np.maximum(self.uses[at][members], 1e-300)
                np.maximum.at(least, self.at[at][members], need)
        prices = _Prices(weights, use, room)
        spread = self._spread(prices, least)
        spread[base.places] = use[base.places]
        groups = [
            duals[first : first + oracle.count] if isinstance(oracle, ScheduleOracle) else np.empty(0)
            for first, oracle in zip(self.first_group, self.oracles, strict=True)
        ]
        return self._repaired(_Prices(weights, spread, room)), asked, groups

    def _attraction(self, parts: list[Any], asked: Array, groups: list[Array]) -> Array:
        """Return by how much each place might lower the relaxation, about."""
        found = np.zeros(self.count)
        begin = 0
        for at, oracle in enumerate(self.oracles):
            if isinstance(oracle, ScheduleOracle):
                gain = np.maximum(groups[at][oracle.groups[oracle.order]] - parts[at], 0.0)
                np.add.at(found, self.at[at][oracle.order], gain)
                continue
            for part, members in enumerate(oracle.members):
                worth = asked[begin : begin + self.periods]
                begin += self.periods
                gain = np.maximum(worth - parts[at][members], 0.0) @ oracle.asked[part]
                np.add.at(found, self.at[at][members], gain)
        return found

    def _related(self) -> _Related | None:
        """Solve the relaxation; return its bound, and the last one over some places with its schedules."""
        none = np.zeros((self.count, self.periods))
        flat = _Prices(np.concatenate([[1.0], np.zeros(len(self.tying))]), none, none)
        prices = self._repaired(_Prices(flat.weights, self._spread(flat, none), none))
        bound, parts = self._lagrangian(prices)
        if not math.isfinite(bound):
            return None
        places = self._first_places(parts)
        self._schedules(parts, places, prices)
        dear = 100 * max(abs(bound), float(np.abs(self.held_cost[0]).max()))
        aim = max(FINEST, CLOSE * self.options.gap)
        last: _Related | None = None
        best = prices
        for turn in range(ROUNDS):
            base = self._base(places, False, dear)
            here = [i for i in range(len(self.pool)) if base.row[self.at[self.pool.block[i]][self.pool.tuple_[i]]] >= 0]
            known = np.array(here, dtype=np.int64)
            solver = HighsProgram(base.program)
            solver.add_columns(self._plans(base, known))
            for _ in range(INNER):
                result = solver.relaxation(time_limit=self._half())
                if result.stop != "optimal" or result.x is None or result.duals is None or result.value is None:
                    return last
                prices, asked, groups = self._prices_of(base, result.duals)
                mixed = best.toward(prices, STEP)
                value, parts = self._lagrangian(mixed)
                new = self._schedules(parts, places, mixed)
                if not new:  # what is best near the best prices is known: at the prices themselves
                    mixed = prices
                    value, parts = self._lagrangian(mixed)
                    new = self._schedules(parts, places, mixed)
                if value > bound:
                    bound, best = value, mixed
                last = _Related(bound, best, base, result, known)
                self.details["pricings"] = self.details.get("pricings", 0) + 1
                if not new or self._half() == 0 or result.value - bound <= aim * abs(result.value):
                    break
                known = np.concatenate([known, new])
                solver.add_columns(self._plans(base, np.array(new)))
            assert result.value is not None
            gain = self._attraction(parts, asked, groups)
            gain[places] = 0.0
            more = np.argsort(-gain)[:ADDED]
            more = more[gain[more] > 1e-9 * abs(result.value)]
            done = result.value - bound <= aim * abs(result.value)
            if done or not len(more) or self._half() == 0:
                break
            places = np.sort(np.concatenate([places, more]))
            self._schedules(parts, more, mixed)
            self.details["rounds"] = turn + 1
        return last

    # whole amounts ----------------------------------------------------------------------------------------------------
    def answered(self) -> tuple[Compiled, Found] | None:
        """Return the best plan found with its bound."""
        related = self._related() if self.applies else None
        if related is None:
            return None
        assert related.result.x is not None
        offset = float(self.offsets[0])
        self.details.update(relaxation=related.bound + offset, places=len(related.base.places), plans=len(self.pool))
        if self.options.watch is not None:
            self.options.watch(Progress(0.0, None, related.bound + offset, 0))
        places = self._used(related)
        best = self._of_schedules(related, places)
        if best is None or not within(best.value, related.bound, self.options.gap):
            again = self._of_periods(related, places, best)
            best = again if again is not None and (best is None or again.value < best.value) else best
        return None if best is None else self._told(related.bound, best)

    def _whole(self, program: LinearProgram, start: Array | None, share: float) -> Result:
        left = self._left()
        size = None if start is None else float(np.abs(program.cost) @ np.abs(start))
        return HighsProgram(program, size=size).solve(
            gap=max(self.options.gap / 3, EXACT), time_limit=None if left is None else left * share, start=start,
            watch=self.options.watch,
        )  # fmt: skip

    def _of_schedules(self, related: _Related, places: Array) -> _Plan | None:
        """Return the best plan of the schedules that the relaxation mixes, over some places."""
        assert related.result.x is not None
        base = self._base(places, True, 0.0)
        share = related.result.x[related.base.program.columns :]
        known = related.known[share > TINY]
        known = np.array([i for i in known if base.row[self._place(i)] >= 0], dtype=np.int64)
        part = self._plans(base, known)
        program = _beside(base.program, replace(part, whole=np.ones(len(known), dtype=bool)))
        result = self._whole(program, None, 0.3)
        if result.x is None:
            return None
        x = settled(program, result.x)
        chosen = known[x[base.program.columns :] > 0.5]
        jobs = [(self.pool.block[i], int(self.pool.tuple_[i]), self.pool.amounts[i]) for i in chosen]
        return _Plan(float(program.cost @ x), base, x[: base.program.columns], jobs)

    def _of_periods(self, related: _Related, places: Array, best: _Plan | None) -> _Plan | None:
        """Return the best plan, period by period, of the picks of a known one or of the relaxation."""
        assert related.result.x is not None
        base = self._base(places, True, 0.0)
        picks = [(block, tuple_) for block, tuple_, _ in best.jobs] if best is not None else self._most_mixed(related)
        program, columns = base.program, []
        for block, tuple_ in picks:
            columns.append(program.columns)
            program = self._with_periods(base, program, block, tuple_)
        start = None if best is None else self._begun(best, program.columns, columns)
        result = self._whole(program, start, 1.0)
        if result.x is None:
            return None
        x = settled(program, result.x)
        jobs = []
        for (block, tuple_), column in zip(picks, columns, strict=True):
            amounts = np.zeros(self.periods)
            when = self._open(block, tuple_)
            amounts[when] = x[column + 1 : column + 1 + len(when)]
            jobs.append((block, tuple_, amounts))
        return _Plan(float(program.cost @ x), base, x[: base.program.columns], jobs)

    def _most_mixed(self, related: _Related) -> list[tuple[int, int]]:
        """Return, of each group, the pick that the relaxation has most of."""
        assert related.result.x is not None
        shares: dict[tuple[int, int], dict[int, float]] = {}
        for i, share in zip(related.known, related.result.x[related.base.program.columns :], strict=True):
            mine = shares.setdefault((self.pool.block[i], self.pool.group[i]), {})
            mine[self.pool.tuple_[i]] = mine.get(self.pool.tuple_[i], 0.0) + float(share)
        return [(block, max(mine, key=lambda key: mine[key])) for (block, _), mine in shares.items()]

    def _with_periods(self, base: _Base, program: LinearProgram, block: int, tuple_: int) -> LinearProgram:
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
        return _beside(replace(program, row_low=low, row_high=top), more)

    def _begun(self, best: _Plan, columns: int, first: list[int]) -> Array:
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

    def _used(self, related: _Related) -> Array:
        """Return the places that a relaxation uses."""
        base, x = related.base, related.result.x
        assert x is not None
        used = np.zeros(self.count)
        column = 0
        for at, (tuples, _) in base.served.items():
            oracle = self.oracles[at]
            assert isinstance(oracle, ShareOracle)
            asked = max(float(oracle.asked.sum()), 1e-300)
            np.add.at(used, self.at[at][tuples], x[column : column + len(tuples)] / asked)
            column += len(tuples)
        for i, share in zip(related.known, x[base.program.columns :], strict=True):
            used[self._place(i)] += share
        return np.flatnonzero(used > WORTH)

    def _told(self, bound: float, best: _Plan) -> tuple[Compiled, Found]:
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
        near = within(best.value, bound, max(self.options.gap, EXACT))
        proof = "shared parts priced at all places (weak duality), branch and bound over few: bound " + (
            "reached" if near else "not reached: stopped"
        )
        amounts = np.concatenate(parts)
        found = Found(
            "optimal" if near else "feasible", amounts, best.value + offset, min(bound, best.value) + offset, proof,
            highs_name(), self.details,
        )  # fmt: skip
        return Compiled(self.problem, columns, first, [], nothing(), {}), found


def _clean(entries: Triplets) -> Triplets:
    kept = entries.value != 0
    return Triplets(entries.row[kept], entries.column[kept], entries.value[kept])


def _beside(program: LinearProgram, more: LinearProgram) -> LinearProgram:
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
