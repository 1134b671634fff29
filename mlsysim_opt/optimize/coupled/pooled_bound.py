"""What no plan of parts that share what is held costs less than, over all places, of which few are in a program.

One amount held at a place serves every period there, so that as many rows tie the parts together as there are places
and periods. The relaxation is solved over few places and few schedules. At its prices every schedule and every share at
all places is priced; where a place is not in the relaxation, its prices are chosen so that it attracts as little as
possible. What the parts cost at least is below every plan (weak duality), whatever the prices are, as long as nothing
held or rented costs less than it is worth at them.

Sources: Geoffrion, Mathematical Programming Study 2 (1974); Lubbecke and Desrosiers, Operations Research 53 (2005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram, Result
from mlsysim_opt.optimize.coupled.blocks import Priced, ScheduleOracle, ShareOracle
from mlsysim_opt.optimize.coupled.outcome import Options
from mlsysim_opt.optimize.coupled.pools import Base, Pools
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.relaxed import PER_GROUP
from mlsysim_opt.optimize.coupled.task import CoupledTask

ROUNDS = 40
INNER = 60
ADDED = 8
"""Places that one pricing adds."""
CLOSE = 0.4
"""Share of the gap asked for to which the relaxation is solved; at least `FINEST`."""
FINEST = 1e-4
STEP = 0.1
"""How far prices go from the best known to those of the last relaxation (Wentges, 1997)."""
SAFE = 1 - 1e-12


@dataclass(frozen=True, eq=False)
class Prices:
    """Prices of a relaxation: weights of the cost and the rows; of use and of capacity by place and period."""

    weights: Array
    use: Array
    room: Array

    def toward(self, other: Prices, step: float) -> Prices:
        """Return prices part of the way to others; what both keep to, they keep to as well."""
        pairs = ((self.weights, other.weights), (self.use, other.use), (self.room, other.room))
        return Prices(*(mine + step * (theirs - mine) for mine, theirs in pairs))


@dataclass(frozen=True, eq=False)
class Related:
    """The relaxation: its bound, the prices that prove it, and the last one over some places with its schedules."""

    bound: float
    prices: Prices
    base: Base
    result: Result
    known: Array


class PooledBound(Pools):
    """The relaxation of all places, solved over few of them."""

    # prices -----------------------------------------------------------------------------------------------------------
    def _most(self, prices: Prices) -> tuple[Array, Array]:
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

    def _repaired(self, prices: Prices) -> Prices:
        """Return prices at which nothing that is held or rented costs less than it is worth."""
        rented, held = self._most(prices)
        use = np.clip(prices.use, 0.0, np.maximum(rented, 0.0)) * SAFE
        worth = (use * self.per_held).sum(axis=1)
        use = use * np.where(worth > held, np.maximum(held, 0.0) / np.maximum(worth, 1e-300) * SAFE, 1.0)[:, None]
        return Prices(prices.weights, use, prices.room)

    def _spread(self, prices: Prices, least: Array) -> Array:
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
        if self.pressed:
            return 0.0
        return None if left is None or limit is None else max(0.0, left - limit / 2)

    def _lagrangian(self, prices: Prices) -> tuple[float, list[Any]]:
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
    def _plans(self, base: Base, known: Array) -> LinearProgram:
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

    def _schedules(self, parts: list[Any], places: Array, prices: Prices) -> list[int]:
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

    def _prices_of(self, base: Base, duals: Array) -> tuple[Prices, Array, list[Array]]:
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
        prices = Prices(weights, use, room)
        spread = self._spread(prices, least)
        spread[base.places] = use[base.places]
        groups = [
            duals[first : first + oracle.count] if isinstance(oracle, ScheduleOracle) else np.empty(0)
            for first, oracle in zip(self.first_group, self.oracles, strict=True)
        ]
        return self._repaired(Prices(weights, spread, room)), asked, groups

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

    def _related(self) -> Related | None:
        """Solve the relaxation; return its bound, and the last one over some places with its schedules."""
        none = np.zeros((self.count, self.periods))
        flat = Prices(np.concatenate([[1.0], np.zeros(len(self.tying))]), none, none)
        prices = self._repaired(Prices(flat.weights, self._spread(flat, none), none))
        bound, parts = self._lagrangian(prices)
        if not math.isfinite(bound):
            return None
        places = self._first_places(parts)
        self._schedules(parts, places, prices)
        dear = 100 * max(abs(bound), float(np.abs(self.held_cost[0]).max()))
        aim = max(FINEST, CLOSE * self.options.gap)
        last: Related | None = None
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
                last = Related(bound, best, base, result, known)
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


def pooled_bound(task: CoupledTask, options: Options) -> float | None:
    """Return what no plan is below, over everything that parts might do; None where this way does not apply."""
    made = PooledBound(task, options)
    related = made._related() if made.applies else None
    return None if related is None else related.bound + float(made.offsets[0])
