"""Columns made as they are needed: plans of parts (`blocks`) that few rows tie together.

The relaxation is solved over the plans that are known; at its prices every part is asked for its best plan over
everything it might do, until none is better. What the parts can cost at least at some prices, together with what the
rows are worth, is below every plan (weak duality): that is the proof, and it covers all tuples, held or not. Where a
group is a mixture of several tuples, the problem is divided, and each part is asked in the same way (branch and price).

Sources: Dantzig and Wolfe, Operations Research 8 (1960); Barnhart et al., Operations Research 46 (1998).
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram, Result, highs_name
from mlsysim_opt.optimize.coupled.blocks import Priced, Schedule, ScheduleOracle, ShareOracle, Shares
from mlsysim_opt.optimize.coupled.columns import Columns, columns_of, over_product
from mlsysim_opt.optimize.coupled.compile import Compiled, Rows
from mlsysim_opt.optimize.coupled.outcome import ending
from mlsysim_opt.optimize.coupled.problem import Coupled
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.search import Found, Options, within
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.stopping import Standing

LARGE = 100_000
"""Amounts from which columns are generated instead of held."""
ROWS = 32
"""Rows that may tie the parts together."""
ROUNDS = 200
PER_GROUP = 3
"""Plans of each group that one pricing adds."""
CONVERGED = 1e-9
TINY = 1e-9
"""Shares of plans below this are rounding."""
Part = Mapping[int, Array]
"""A part of the problem: by block, the tuples that may still be picked; all of a block that is not named."""


def generates(task: CoupledTask, rows: int = ROWS) -> bool:
    """Return whether a task is made of parts that few rows tie together, and too large to be held with ease.

    Args:
        rows: so many at most.
    """
    problem = task.problem
    families = {family for block in problem.blocks for family in block.families}
    names = {block.relation for block in problem.blocks}
    tying = [item for item in task.relations if item.name not in names]
    amounts = sum(math.prod(len(choice.values) for choice in family.over) for family in families)
    return (
        bool(families)
        and families == set(problem.families.values())
        and not task.linear.helpers
        and all(not item.each for item in tying)
        and len(tying) <= rows
        and amounts > LARGE
    )


def solve_generated(task: CoupledTask, options: Options, total: Total | None = None) -> tuple[Compiled, Found]:
    """Return the best plan of a task of parts, as tuples that are not zero, with its proof.

    Args:
        total: the sum that is minimised; the first objective's when None.
    """
    return Generation(task, options, total).run()


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A relaxation: no plan is below the bound; prices of the rows; the value and the shares of the plans it takes."""

    bound: float
    prices: Array
    value: float
    plans: dict[int, float]


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


class Generation:
    """The parts of a task as oracles, and the plans of them that are known."""

    def __init__(self, task: CoupledTask, options: Options, total: Total | None = None) -> None:
        self.task, self.options = task, options
        self.problem = task.problem
        self.began = time.monotonic()
        self.halted = False  # by the time limit or Ctrl-C: what was not found then is not known to be missing
        names = self._relations()
        self.tying: list[Coupled] = [item for item in task.relations if item.name not in names]
        self.totals = [total or task.linear.total, *(item.coupling.total for item in self.tying)]
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

    def _relations(self) -> set[str]:
        """Return the names of the relations that stand inside parts."""
        return {block.relation for block in self.problem.blocks}

    # parts ------------------------------------------------------------------------------------------------------------
    def _coefficients(self, total: Total, family: Family, columns: Columns, axis: Any) -> Array:
        """Return what one unit of a family takes of a sum, (tuples, places) or, where steady, (tuples, 1)."""
        found: Array = np.zeros((columns.count, 1))
        for term in total.terms:
            if term.family is family:
                depends = (axis,) if axis is not None and axis in term.coefficient.choices else ()
                (values,) = columns.evaluate([term.coefficient], self.problem.values, depends)
                found = found + _by_tuple(values, columns, float)
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
                open_ &= _by_tuple(truth, columns, bool)
        each = [self._coefficients(total, block.amounts, columns, axis) for total in self.totals]
        for total in self.task.sums:
            open_ &= ~np.isnan(self._coefficients(total, block.amounts, columns, axis))
        if isinstance(block, Schedule):
            groups = np.zeros(columns.count, dtype=np.int64)
            for choice in block.picks.group:
                groups = groups * len(choice.values) + columns.positions[choice]
            assert block.amounts.high is not None
            depends = (axis,) if axis in block.amounts.high.choices else ()
            (high,) = columns.evaluate([block.amounts.high], self.problem.values, depends)
            (needed,) = columns.evaluate([block.needed], self.problem.values)
            own = np.stack([self._coefficients(t, block.picks, columns, None)[:, 0] for t in self.totals])
            for total in self.task.sums:
                own[0, np.isnan(self._coefficients(total, block.picks, columns, None)[:, 0])] = np.nan
            limits = np.where(open_, _by_tuple(high, columns, float), 0.0)
            made = ScheduleOracle(columns, groups, needed, limits, own, each)
            made.count = math.prod(len(choice.values) for choice in block.picks.group)
            return made
        rows = (*block.parts, axis)
        ((asked,), _) = over_product([block.asked], self.problem.values, rows)
        groups = columns.code(block.parts)
        each = [np.where(open_, item, np.nan) if not open_.all() else item for item in each]
        return ShareOracle(columns, groups, asked.reshape(-1, len(axis.values)), each)

    # the relaxation ---------------------------------------------------------------------------------------------------
    def _priced(self, weights: Array, most: int, part: Part) -> tuple[float, int]:
        """Ask every part for its best plans; return what they cost together, and how many are new."""
        value, new = 0.0, 0
        for at, oracle in enumerate(self.oracles):
            if isinstance(oracle, ScheduleOracle):
                found = oracle.price(weights, most, part.get(at))
            else:
                found = oracle.price(weights)
            value += found.value
            new += self.pool.add(at, found)
        return value, new

    def _known(self, part: Part) -> Array:
        """Return the plans that are known, of the tuples of a part of the problem."""
        if not part:
            return np.arange(len(self.pool))
        block, tuple_ = np.array(self.pool.block), np.array(self.pool.tuple_)
        keep = np.ones(len(block), dtype=bool)
        for at, only in part.items():
            allowed = np.zeros(self.oracles[at].columns.count, dtype=bool)
            allowed[only] = True
            mine = block == at
            keep[mine] = allowed[tuple_[mine]]
        return np.flatnonzero(keep)

    def _master(self, at: Array, slack_only: bool) -> Result:
        """Solve the relaxation over some plans; with `slack_only`, minimise by how much rows are violated instead."""
        result = HighsProgram(self._program(at, slack_only)).relaxation(time_limit=self._left())
        self.halted = self.halted or result.stop in ("limit", "interrupted")
        return result

    def _program(self, at: Array, slack_only: bool) -> LinearProgram:
        """Return plans as columns: one plan in all of each group, and rows; with amounts by which rows are violated."""
        count, rows = len(at), len(self.tying)
        group = np.array([self.first_group[self.pool.block[i]] + self.pool.group[i] for i in at], dtype=np.int64)
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

    def _over(self) -> bool:
        return self.halted or self._left() == 0

    def _made_feasible(self, part: Part) -> bool:
        """Add plans until the rows can be satisfied together; return whether they can."""
        for _ in range(ROUNDS):
            result = self._master(self._known(part), slack_only=True)
            if result.value is None:
                return False
            if result.value <= 1e-9:
                return True
            duals = self._row_duals(result)
            value, new = self._priced(np.concatenate([[0.0], -duals]), PER_GROUP, part)
            if self._bound(duals, value) > 1e-9 or not new:
                return False
        return False

    def _relaxed(self, part: Part, beaten: float = math.inf) -> Relaxed | None:
        """Solve the relaxation over everything that a part of the problem might do; None if that is nothing.

        Args:
            beaten: a value; a part that cannot be below it is of no interest.
        """
        bound, value, prices = -math.inf, math.inf, np.zeros(len(self.tying))
        plans: dict[int, float] = {}
        for _ in range(ROUNDS):
            at = self._known(part)
            result = self._master(at, slack_only=False)
            if result.stop == "infeasible":
                if not self._made_feasible(part) and not self.halted:
                    return None
                if self.halted:
                    break
                continue
            if result.x is None or result.value is None or result.duals is None:
                break
            value = result.value
            plans = {int(i): float(share) for i, share in zip(at, result.x, strict=True) if share > TINY}
            duals = self._row_duals(result)
            total, new = self._priced(np.concatenate([[1.0], -duals]), PER_GROUP, part)
            self.details["rounds"] = self.details.get("rounds", 0) + 1
            here = self._bound(duals, total)
            if here > bound:
                bound, prices = here, duals
            if value - bound <= CONVERGED * max(abs(value), 1e-300) or not new or self._over() or bound >= beaten:
                break
        return Relaxed(min(bound, value), prices, value, plans)

    # whole picks ------------------------------------------------------------------------------------------------------
    def run(self) -> tuple[Compiled, Found]:
        """Return the best plan as tuples that are not zero, with its proof."""
        if not all(oracle.possible for oracle in self.oracles):
            return self._none("infeasible", "a group has no tuple that fits", math.inf)
        rows = len(self.tying)
        self._priced(np.concatenate([[1.0], np.zeros(rows)]), PER_GROUP, {})
        for row in range(rows):  # the plans that are easiest on each row
            for sense, limit in ((1.0, self.row_high[row]), (-1.0, self.row_low[row])):
                if math.isfinite(limit):
                    self._priced(np.concatenate([[0.0], sense * np.eye(rows)[row]]), 1, {})
        root = self._relaxed({})
        if root is None:
            return self._none("infeasible", "no plans of the parts satisfy the rows together", math.inf)
        self.details["relaxation"] = root.bound + float(self.offsets[0])
        best, value, bound = self._branched(root)
        if best is None:
            status = "infeasible" if math.isinf(bound) else "unknown"
            return self._none(status, "no picks of whole tuples satisfy the rows", bound + self.offsets[0])
        return self._answer(best, value, bound, root.prices)

    def _branched(self, root: Relaxed) -> tuple[dict[int, float] | None, float, float]:
        """Search for whole picks, the part with the least bound first; return plans, their value and the bound.

        Where a group is mixed of several tuples, the problem is divided by a value of one of its choices: those that
        have it, and those that have not.
        """
        best: dict[int, float] | None = None
        value = math.inf
        room = max(self.options.gap, CONVERGED)
        waiting: list[tuple[float, int, Part, Relaxed]] = [(root.bound, 0, {}, root)]
        made = 0
        while waiting:
            bound = waiting[0][0]
            enough = best is not None and value - bound <= room * abs(value)
            if enough or self._over() or self._stopped(value, bound, made):
                break
            _, _, part, here = heapq.heappop(waiting)
            mixed = self._mixed(here.plans)
            if mixed is None and here.value < value:  # of the root; others are looked at when they are made
                best, value = here.plans, here.value
            for picks in self._roundings(here):
                tried = self._relaxed(picks)
                if tried is not None and tried.value < value and self._mixed(tried.plans) is None:
                    best, value = tried.plans, tried.value
            if mixed is None:
                continue
            for child in self._divided(part, *mixed):
                below = self._relaxed(child, value)
                if below is None or (best is not None and below.bound >= value - room * abs(value)):
                    continue
                if self._mixed(below.plans) is None and below.value < value:
                    best, value = below.plans, below.value
                made += 1
                heapq.heappush(waiting, (max(below.bound, here.bound), made, child, below))
        self.details["nodes"] = made
        return best, value, min([item[0] for item in waiting] + [value])

    def _stopped(self, value: float, bound: float, nodes: int) -> bool:
        if self.options.watch is None:
            return False
        offset = float(self.offsets[0])
        held = value + offset if math.isfinite(value) else None
        return bool(self.options.watch(Standing(time.monotonic() - self.began, held, bound + offset, nodes)))

    def _weights(self, plans: Mapping[int, float]) -> dict[tuple[int, int], dict[int, float]]:
        """Return, for each group of picks, how much of each tuple a relaxation takes."""
        found: dict[tuple[int, int], dict[int, float]] = {}
        for i, share in plans.items():
            block = self.pool.block[i]
            if isinstance(self.oracles[block], ScheduleOracle):
                tuples = found.setdefault((block, self.pool.group[i]), {})
                tuples[self.pool.tuple_[i]] = tuples.get(self.pool.tuple_[i], 0.0) + share
        return found

    def _mixed(self, plans: Mapping[int, float]) -> tuple[int, dict[int, float]] | None:
        """Return the block and the tuples of the group that is farthest from one tuple; None where all are whole."""
        mixed = [(max(t.values()), block, t) for (block, _), t in self._weights(plans).items() if len(t) > 1]
        if not mixed:
            return None
        _, block, tuples = min(mixed, key=lambda item: item[:2])
        return block, tuples

    def _roundings(self, here: Relaxed) -> list[Part]:
        """Return parts of the problem with one tuple for each group: those that the relaxation takes most of."""
        weights = self._weights(here.plans)
        mixed = [key for key, tuples in weights.items() if len(tuples) > 1]
        if len(mixed) <= 3:
            several = [list(weights[key]) for key in mixed]
        else:
            several = [[max(weights[key], key=lambda t: weights[key][t])] for key in mixed]
        found: list[Part] = []
        for chosen in itertools.islice(itertools.product(*several), 8):
            taken = {key: next(iter(tuples)) for key, tuples in weights.items()}
            taken.update(zip(mixed, chosen, strict=True))
            part: dict[int, list[int]] = {}
            for (block, _), tuple_ in sorted(taken.items()):
                part.setdefault(block, []).append(tuple_)
            found.append({block: np.array(tuples) for block, tuples in part.items()})
        return found

    def _divided(self, part: Part, block: int, tuples: Mapping[int, float]) -> list[Part]:
        """Return a part of the problem divided in two by a value of the choice that divides a mixed group best."""
        oracle = self.oracles[block]
        assert isinstance(oracle, ScheduleOracle)
        held = np.array(list(tuples))
        weight = np.array(list(tuples.values()))
        options: list[tuple[float, Any, int]] = []
        for choice, column in oracle.columns.positions.items():
            values = column[held]
            share = np.bincount(values, weights=weight)
            if np.count_nonzero(share) > 1:
                options.append((abs(float(share.max()) / float(weight.sum()) - 0.5), choice, int(share.argmax())))
        _, choice, value = min(options, key=lambda item: item[0])
        order = part.get(block, oracle.order)
        mine = oracle.groups[order] == oracle.groups[held[0]]
        has = oracle.columns.positions[choice][order] == value
        return [{**part, block: order[~mine | has]}, {**part, block: order[~mine | ~has]}]

    # the answer -------------------------------------------------------------------------------------------------------
    def _none(self, status: Any, proof: str, bound: float) -> tuple[Compiled, Found]:
        found = Found(status, None, None, bound, f"column generation: {proof}", highs_name(), self.details)
        return Compiled(self.problem, {}, {}, [], nothing(), {}), found

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
        compiled = Compiled(self.problem, columns, first, rows, nothing(), {})
        offset = float(self.offsets[0])
        exact = within(value + offset, bound + offset, CONVERGED)
        near = exact or within(value + offset, bound + offset, self.options.gap)
        proof = f"column generation: parts priced over everything they might do; {ending(near, exact)}"
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


def _by_tuple(values: Array, columns: Columns, kind: type) -> Array:
    """Return numbers (or truths) of tuples along an axis, (tuples, places) or, where they are steady, (tuples, 1)."""
    width = values.size // columns.count if columns.count else 1  # of no tuples, a shape says nothing
    return np.asarray(values, dtype=kind).reshape(columns.count, width)


def nothing() -> LinearProgram:
    """Return the program of no columns: plans that were generated have none."""
    none = np.empty(0)
    return LinearProgram(none, none, none, none.astype(bool), none, none, np.zeros(1, dtype=np.int32),
                         none.astype(np.int32), none)  # fmt: skip
