"""Columns made as they are needed: plans of parts (`blocks`) that few rows tie together.

The relaxation is solved over the plans that are known; at its prices every part is asked for its best plan over
everything it might do, until none is better. What the parts can cost at least at some prices, together with what the
rows are worth, is below every plan (weak duality): that is the proof, and it covers all tuples, held or not. Then one
tuple is picked for each group among the plans that are known, and the amounts of these picks are chosen again.

Sources: Dantzig and Wolfe, Operations Research 8 (1960); Luebbecke and Desrosiers, Operations Research 53 (2005).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram, Progress, Result, highs_name
from mlsysim_opt.optimize.coupled.blocks import Priced, Schedule, ScheduleOracle, ShareOracle, Shares
from mlsysim_opt.optimize.coupled.columns import Columns, columns_of, over_product
from mlsysim_opt.optimize.coupled.compile import Compiled, Rows
from mlsysim_opt.optimize.coupled.problem import Coupled
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.search import Found, Options, within
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family, Total

LARGE = 100_000
"""Amounts from which columns are generated instead of held."""
ROWS = 32
"""Rows that may tie the parts together."""
ROUNDS = 200
PER_GROUP = 3
"""Plans of each group that one pricing adds."""
CONVERGED = 1e-9


def generates(task: CoupledTask) -> bool:
    """Return whether a task is made of parts that few rows tie together, and too large to be held with ease."""
    problem = task.problem
    families = {family for block in problem.blocks for family in block.families}
    names = {block.relation for block in problem.blocks}
    tying = [item for item in task.relations if item.name not in names]
    amounts = sum(math.prod(len(choice.values) for choice in family.over) for family in families)
    return (
        bool(families)
        and families == set(problem.families.values())
        and not task.linear.helpers
        and task.linear.divisor is None
        and all(not item.each for item in tying)
        and len(tying) <= ROWS
        and amounts > LARGE
    )


def solve_generated(task: CoupledTask, options: Options) -> tuple[Compiled, Found]:
    """Return the best plan of a task of parts, as tuples that are not zero, with its proof."""
    return _Generation(task, options).run()


@dataclass(eq=False)
class _Pool:
    """The plans that are known: block, group, tuple, amounts, cost and uses of each."""

    block: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    tuple_: list[int] = field(default_factory=list)
    amounts: list[Array] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    uses: list[Array] = field(default_factory=list)
    seen: set[tuple[int, int, int, bytes]] = field(default_factory=set)

    def add(self, block: int, found: Priced) -> int:
        """Add plans that are new; return how many are."""
        before = len(self.block)
        for at in range(len(found.costs)):
            key = (block, int(found.group[at]), int(found.tuple_[at]), found.amounts[at].tobytes())
            if key in self.seen:
                continue
            self.seen.add(key)
            self.block.append(block)
            self.group.append(int(found.group[at]))
            self.tuple_.append(int(found.tuple_[at]))
            self.amounts.append(found.amounts[at])
            self.cost.append(float(found.costs[at]))
            self.uses.append(found.uses[at])
        return len(self.block) - before

    def __len__(self) -> int:
        return len(self.block)


class _Generation:
    def __init__(self, task: CoupledTask, options: Options) -> None:
        self.task, self.options = task, options
        self.problem = task.problem
        self.began = time.monotonic()
        names = {block.relation for block in self.problem.blocks}
        self.tying: list[Coupled] = [item for item in task.relations if item.name not in names]
        self.totals = [task.linear.total, *(item.coupling.total for item in self.tying)]
        self.offsets = np.array(
            [float(table[0]) for table in over_product([t.offset for t in self.totals], self.problem.values, ())[0]]
        )
        limits = -self.offsets[1:]
        senses = [item.coupling.relation for item in self.tying]
        self.row_low = np.array([-math.inf if s == "<=" else v for s, v in zip(senses, limits, strict=True)])
        self.row_high = np.array([math.inf if s == ">=" else v for s, v in zip(senses, limits, strict=True)])
        self.oracles = [self._oracle(block) for block in self.problem.blocks]
        self.first_group, self.groups = [], 0
        for oracle in self.oracles:
            self.first_group.append(self.groups)
            self.groups += oracle.count if isinstance(oracle, ScheduleOracle) else 1
        self.pool = _Pool()
        self.details: dict[str, Any] = {
            "tuples": sum(math.prod(len(c.values) for c in f.over) for f in self.problem.families.values()),
            "rows": len(self.tying),
        }

    # parts ------------------------------------------------------------------------------------------------------------
    def _coefficients(self, total: Total, family: Family, columns: Columns, axis: Any) -> Array:
        """Return what one unit of a family takes of a sum, (tuples, places) or, where steady, (tuples, 1)."""
        found: Array = np.zeros((columns.count, 1))
        for term in total.terms:
            if term.family is family:
                depends = (axis,) if axis is not None and axis in term.coefficient.choices else ()
                (values,) = columns.evaluate([term.coefficient], self.problem.values, depends)
                found = found + np.asarray(values, dtype=float).reshape(columns.count, -1)
        return found

    def _oracle(self, block: Schedule | Shares) -> ScheduleOracle | ShareOracle:
        axis, local = block.axis, self.task.local
        main = block.picks if isinstance(block, Schedule) else block.amounts
        over = tuple(choice for choice in main.over if choice is not axis)
        base = Family(main.name, over)
        columns = columns_of(base, [item for item in local if axis not in item.holds.choices], self.problem.values)
        open_ = np.ones((columns.count, len(axis.values)), dtype=bool)
        for item in local:
            if axis in item.holds.choices and item.holds.choices <= set(block.amounts.over):
                (truth,) = columns.evaluate([item.holds], self.problem.values, (axis,))
                open_ &= np.asarray(truth, dtype=bool).reshape(columns.count, -1)
        each = [self._coefficients(total, block.amounts, columns, axis) for total in self.totals]
        if isinstance(block, Schedule):
            groups = np.zeros(columns.count, dtype=np.int64)
            for choice in block.picks.group:
                groups = groups * len(choice.values) + columns.positions[choice]
            assert block.amounts.high is not None
            depends = (axis,) if axis in block.amounts.high.choices else ()
            (high,) = columns.evaluate([block.amounts.high], self.problem.values, depends)
            (needed,) = columns.evaluate([block.needed], self.problem.values)
            own = np.stack([self._coefficients(t, block.picks, columns, None)[:, 0] for t in self.totals])
            limits = np.where(open_, np.asarray(high, dtype=float).reshape(columns.count, -1), 0.0)
            made = ScheduleOracle(columns, groups, needed, limits, own, each)
            made.count = math.prod(len(choice.values) for choice in block.picks.group)
            return made
        rows = (*block.parts, axis)
        ((asked,), _) = over_product([block.asked], self.problem.values, rows)
        groups = columns.code(block.parts)
        each = [np.where(open_, item, np.nan) if not open_.all() else item for item in each]
        return ShareOracle(columns, groups, asked.reshape(-1, len(axis.values)), each)

    # the relaxation ---------------------------------------------------------------------------------------------------
    def _priced(self, weights: Array, most: int) -> tuple[float, int]:
        """Ask every part for its best plans; return what they cost together, and how many are new."""
        value, new = 0.0, 0
        for at, oracle in enumerate(self.oracles):
            found = oracle.price(weights, most) if isinstance(oracle, ScheduleOracle) else oracle.price(weights)
            value += found.value
            new += self.pool.add(at, found)
        return value, new

    def _master(self, slack_only: bool, among: Sequence[int] | None = None) -> tuple[Result, Array]:
        """Solve the relaxation over the plans that are known.

        Args:
            slack_only: minimise by how much rows are violated instead of the cost.
        """
        at = np.arange(len(self.pool)) if among is None else np.asarray(among)
        program = self._program(at, slack_only)
        return HighsProgram(program).relaxation(time_limit=self._left()), at

    def _program(self, at: Array, slack_only: bool = False) -> LinearProgram:
        """Return plans as columns: one plan in all of each group, and rows; with amounts by which rows are violated."""
        count, rows = len(at), len(self.tying)
        group = np.array([self.first_group[self.pool.block[i]] + self.pool.group[i] for i in at])
        uses = np.array([self.pool.uses[i] for i in at]).reshape(count, rows)
        row, column = np.nonzero(uses.T)
        entries = [
            Triplets(group, np.arange(count), np.ones(count)),
            Triplets(row + self.groups, column, uses.T[row, column]),
        ]
        cost = np.array([self.pool.cost[i] for i in at])
        extra = 0
        if slack_only:
            below = np.flatnonzero(np.isfinite(self.row_low))
            above = np.flatnonzero(np.isfinite(self.row_high))
            extra = len(below) + len(above)
            places = np.concatenate([below, above])
            size = np.maximum(np.abs(uses).max(axis=0, initial=0.0), 1e-300)[places]
            signs = np.concatenate([np.ones(len(below)), -np.ones(len(above))]) * size
            entries.append(Triplets(places + self.groups, count + np.arange(extra), signs))
            cost = np.concatenate([np.zeros(count), np.ones(extra)])
        total = count + extra
        ones = np.ones(self.groups)
        return LinearProgram.of(
            Triplets.joined(entries),
            cost=cost,
            low=np.zeros(total),
            high=np.concatenate([np.ones(count), np.full(extra, math.inf)]),
            whole=np.zeros(total, dtype=bool),
            row_low=np.concatenate([ones, self.row_low]),
            row_high=np.concatenate([ones, self.row_high]),
        )

    def _bound(self, duals: Array, value: float) -> float:
        """Return what no plan costs less than: what the rows are worth at these prices, and what the parts cost."""
        with np.errstate(invalid="ignore"):
            worth = np.where(duals > 0, duals * self.row_low, np.where(duals < 0, duals * self.row_high, 0.0))
        return float(math.fsum(worth)) + value

    def _row_duals(self, result: Result) -> Array:
        assert result.duals is not None
        duals = result.duals[self.groups :].copy()
        duals[(duals > 0) & ~np.isfinite(self.row_low)] = 0.0
        duals[(duals < 0) & ~np.isfinite(self.row_high)] = 0.0
        return duals

    def _left(self) -> float | None:
        limit = self.options.time_limit
        return None if limit is None else max(0.0, limit - (time.monotonic() - self.began))

    def run(self) -> tuple[Compiled, Found]:
        if not all(oracle.possible for oracle in self.oracles):
            return self._none("infeasible", "a group has no tuple that fits", math.inf)
        rows = len(self.tying)
        self._priced(np.concatenate([[1.0], np.zeros(rows)]), PER_GROUP)
        if rows:
            for row in range(rows):  # the plans that are easiest on each row
                for sense, limit in ((1.0, self.row_high[row]), (-1.0, self.row_low[row])):
                    if math.isfinite(limit):
                        self._priced(np.concatenate([[0.0], sense * np.eye(rows)[row]]), 1)
            if not self._made_feasible():
                return self._none(
                    "infeasible", "no plans of the parts satisfy the rows together, at any prices", math.inf
                )
        bound, duals = self._relaxed()
        best, value = self._picked(bound, duals)
        if best is None:
            return self._none(
                "unknown", "no whole plan was found among the plans of the relaxation", bound + self.offsets[0]
            )
        return self._answer(best, value, bound, duals)

    def _made_feasible(self) -> bool:
        """Add plans until the rows can be satisfied together; return whether they can."""
        for _ in range(ROUNDS):
            result, _ = self._master(slack_only=True)
            assert result.value is not None
            if result.value <= 1e-9:
                return True
            duals = self._row_duals(result)
            value, new = self._priced(np.concatenate([[0.0], -duals]), PER_GROUP)
            if self._bound(duals, value) > 1e-9 or not new:
                return False
        return False

    def _relaxed(self) -> tuple[float, Array]:
        """Solve the relaxation over everything the parts might do; return its bound and prices."""
        bound, best = -math.inf, np.zeros(len(self.tying))
        lp, rounds = math.inf, 0
        for _ in range(ROUNDS):
            rounds += 1
            result, _ = self._master(slack_only=False)
            if result.value is None or result.duals is None or result.stop != "optimal":
                break
            lp = result.value
            duals = self._row_duals(result)
            value, new = self._priced(np.concatenate([[1.0], -duals]), PER_GROUP)
            here = self._bound(duals, value)
            if here > bound:
                bound, best = here, duals
            if self.options.watch is not None:
                shown = Progress(time.monotonic() - self.began, None, bound + self.offsets[0], rounds)
                if self.options.watch(shown):
                    break
            if lp - bound <= CONVERGED * max(abs(lp), 1e-300) or not new or self._left() == 0:
                break
        self.details.update(relaxation=bound + float(self.offsets[0]), rounds=rounds, plans=len(self.pool))
        return bound, best

    # whole picks ------------------------------------------------------------------------------------------------------
    def _picked(self, bound: float, duals: Array) -> tuple[dict[int, float] | None, float]:
        """Return the best plan with one tuple for each group among the plans known: shares of plans, and its value."""
        result, at = self._whole()
        if result.x is None:
            return None, math.inf
        picked = self._picks_of(result.x, at)
        shares, value = self._refilled(picked)
        tried = 0
        while value - bound > max(self.options.gap, CONVERGED) * abs(value) and tried < 3 and self._left() != 0:
            # tuples whose plans are nearly as good at the prices of the relaxation
            tried += 1
            before = len(self.pool)
            for at_, oracle in enumerate(self.oracles):
                if isinstance(oracle, ScheduleOracle):
                    self.pool.add(at_, oracle.price(np.concatenate([[1.0], -duals]), PER_GROUP * 4**tried))
            if len(self.pool) == before:
                break
            result, at = self._whole()
            if result.x is None:
                break
            again, better = self._refilled(self._picks_of(result.x, at))
            if better < value - CONVERGED * abs(value):
                shares, value = again, better
            else:
                break
        return shares, value

    def _whole(self) -> tuple[Result, Array]:
        """Solve for whole picks: plans may be mixed, but only plans of one tuple of each group."""
        at = np.arange(len(self.pool))
        program = self._program(at)
        pairs = sorted(
            {
                (self.pool.block[i], self.pool.group[i], self.pool.tuple_[i])
                for i in at
                if isinstance(self.oracles[self.pool.block[i]], ScheduleOracle)
            }
        )
        number = {pair: place for place, pair in enumerate(pairs)}
        # a whole amount for each tuple: its plans add up to it
        link_row, link_column = [], []
        for i in at:
            pair = (self.pool.block[i], self.pool.group[i], self.pool.tuple_[i])
            if pair in number:
                link_row.append(number[pair])
                link_column.append(int(i))
        count, rows = program.columns, program.rows
        existing = Triplets(program.index.astype(np.int64), program.entry_column, program.value)
        linked = Triplets(np.array(link_row, dtype=np.int64) + rows, np.array(link_column), np.ones(len(link_row)))
        picks = np.arange(len(pairs))
        picked = Triplets(picks + rows, picks + count, -np.ones(len(pairs)))
        zeros = np.zeros(len(pairs))
        whole = LinearProgram.of(
            Triplets.joined([existing, linked, picked]),
            cost=np.concatenate([program.cost, zeros]),
            low=np.concatenate([program.low, zeros]),
            high=np.concatenate([program.high, np.ones(len(pairs))]),
            whole=np.concatenate([np.zeros(count, dtype=bool), np.ones(len(pairs), dtype=bool)]),
            row_low=np.concatenate([program.row_low, zeros]),
            row_high=np.concatenate([program.row_high, zeros]),
        )
        limit = self._left()
        result = HighsProgram(whole).solve(gap=max(self.options.gap / 4, 1e-7), time_limit=limit)
        if result.x is not None:
            self.details["nodes"] = self.details.get("nodes", 0) + result.nodes
        self._pairs, self._count = pairs, count
        return result, at

    def _picks_of(self, x: Array, at: Array) -> list[tuple[int, int, int]]:
        chosen = np.flatnonzero(x[self._count :] > 0.5)
        return [self._pairs[int(place)] for place in chosen]

    def _refilled(self, picked: Sequence[tuple[int, int, int]]) -> tuple[dict[int, float], float]:
        """Return the best amounts for given picks: shares of plans, and their cost."""
        allowed = {(block, tuple_) for block, _, tuple_ in picked}
        only: dict[int, Array] = {}
        for block, _, tuple_ in sorted(picked):
            only[block] = np.append(only.get(block, np.empty(0, dtype=np.int64)), tuple_)
        shares: dict[int, float] = {}
        value, bound = math.inf, -math.inf
        for _ in range(ROUNDS):
            among = [
                i
                for i in range(len(self.pool))
                if not isinstance(self.oracles[self.pool.block[i]], ScheduleOracle)
                or (self.pool.block[i], self.pool.tuple_[i]) in allowed
            ]
            result, at = self._master(slack_only=False, among=among)
            if result.x is None or result.duals is None or result.value is None:
                break
            value = result.value
            shares = {int(i): float(share) for i, share in zip(at, result.x, strict=True) if share > 0}
            duals = self._row_duals(result)
            weights = np.concatenate([[1.0], -duals])
            total, new = 0.0, 0
            for place, oracle in enumerate(self.oracles):
                if isinstance(oracle, ScheduleOracle):
                    mine = only[place]
                    found = oracle.price(weights, 1, mine[np.argsort(oracle.groups[mine])])
                else:
                    found = oracle.price(weights)
                total += found.value
                new += self.pool.add(place, found)
            bound = max(bound, self._bound(duals, total))
            if value - bound <= 1e-10 * max(abs(value), 1e-300) or not new:
                break
        return shares, value

    # the answer -------------------------------------------------------------------------------------------------------
    def _none(self, status: Any, proof: str, bound: float) -> tuple[Compiled, Found]:
        found = Found(status, None, None, bound, f"column generation: {proof}", highs_name(), self.details)
        return Compiled(self.problem, {}, {}, [], _empty(), {}), found

    def _answer(self, shares: dict[int, float], value: float, bound: float, duals: Array) -> tuple[Compiled, Found]:
        columns: dict[Family, Columns] = {}
        first: dict[Family, int] = {}
        parts: list[Array] = []
        at = 0
        for place, block in enumerate(self.problem.blocks):
            mine = [(i, share) for i, share in shares.items() if self.pool.block[i] == place]
            oracle = self.oracles[place]
            made = (
                self._scheduled(block, oracle, mine)
                if isinstance(block, Schedule) and isinstance(oracle, ScheduleOracle)
                else self._shared(block, oracle, mine)
            )
            for family, table, amounts in made:
                columns[family], first[family] = table, at
                parts.append(amounts)
                at += table.count
        x = np.concatenate(parts) if parts else np.empty(0)
        rows = [
            Rows(item.name, (), {}, np.array([low]), np.array([high]), Triplets.joined([]), item)
            for item, low, high in zip(self.tying, self.row_low, self.row_high, strict=True)
        ]
        compiled = Compiled(self.problem, columns, first, rows, _empty(), {})
        offset = float(self.offsets[0])
        near = within(value + offset, bound + offset, max(self.options.gap, CONVERGED))
        proof = "column generation: parts priced over everything they might do; bound " + (
            "reached" if near else "not reached: picks of the relaxation are not whole"
        )
        found = Found(
            "optimal" if near else "feasible", x, value + offset, min(bound, value) + offset, proof, highs_name(),
            {**self.details, "plans": len(self.pool)}, duals,
        )  # fmt: skip
        return compiled, found

    def _scheduled(
        self, block: Schedule, oracle: ScheduleOracle, mine: list[tuple[int, float]]
    ) -> list[tuple[Family, Columns, Array]]:
        chosen = sorted({self.pool.tuple_[i] for i, _ in mine})
        total = {tuple_: np.zeros(oracle.high.shape[1]) for tuple_ in chosen}
        for tuple_ in chosen:
            weight = sum(share for i, share in mine if self.pool.tuple_[i] == tuple_)
            for i, share in mine:
                if self.pool.tuple_[i] == tuple_:
                    total[tuple_] += share / weight * self.pool.amounts[i]
        positions = {choice: column[chosen] for choice, column in oracle.columns.positions.items()}
        raw = math.prod(len(choice.values) for choice in block.picks.over)
        picks = Columns(block.picks, positions, len(chosen), raw)
        table = np.array([total[tuple_] for tuple_ in chosen])
        row, place = np.nonzero(table)
        spread = {choice: column[row] for choice, column in positions.items()}
        spread[block.axis] = place
        amounts = Columns(block.amounts, spread, len(row), raw * len(block.axis.values))
        return [(block.picks, picks, np.ones(len(chosen))), (block.amounts, amounts, table[row, place])]

    def _shared(self, block: Any, oracle: Any, mine: list[tuple[int, float]]) -> list[tuple[Family, Columns, Array]]:
        held: dict[tuple[int, int], float] = {}
        weight = sum(share for _, share in mine)
        for i, share in mine:
            taken = self.pool.amounts[i]
            for part, place in np.ndindex(taken.shape):
                key = (int(taken[part, place]), place)
                held[key] = held.get(key, 0.0) + share / weight * float(oracle.asked[part, place])
        keys = sorted(key for key, amount in held.items() if amount > 0)
        tuples = np.array([key[0] for key in keys], dtype=np.int64)
        positions = {choice: column[tuples] for choice, column in oracle.columns.positions.items()}
        positions[block.axis] = np.array([key[1] for key in keys], dtype=np.int64)
        raw = math.prod(len(choice.values) for choice in block.amounts.over)
        table = Columns(block.amounts, positions, len(keys), raw)
        return [(block.amounts, table, np.array([held[key] for key in keys]))]


def _empty() -> LinearProgram:
    none = np.empty(0)
    return LinearProgram(none, none, none, none.astype(bool), none, none, np.zeros(1, dtype=np.int32),
                         none.astype(np.int32), none)  # fmt: skip
