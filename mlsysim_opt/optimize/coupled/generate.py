"""Columns made as they are needed: plans of parts (`blocks`) that few rows tie together.

The relaxation (`relaxed`) is solved over the plans that are known; at its prices every part (`parts`) is asked for its
best plan over everything it might do, until none is better. What the parts can cost at least at some prices, together
with what the rows are worth, is below every plan (weak duality): that is the proof, and it covers all tuples, held or
not. Where a group is a mixture of several tuples, the problem is divided, and each part is asked in the same way
(branch and price).

Sources: Dantzig and Wolfe, Operations Research 8 (1960); Barnhart et al., Operations Research 46 (1998).
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlsysim_opt.optimize.backends.highs import highs_name
from mlsysim_opt.optimize.coupled.blocks import Schedule, ScheduleOracle
from mlsysim_opt.optimize.coupled.columns import Columns
from mlsysim_opt.optimize.coupled.compile import Compiled, Rows
from mlsysim_opt.optimize.coupled.outcome import Found, Options, ending, within
from mlsysim_opt.optimize.coupled.program import Array, Triplets, nothing
from mlsysim_opt.optimize.coupled.relaxed import CONVERGED, PER_GROUP, Part, Relaxation, Relaxed
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.stopping import Standing

LARGE = 100_000
"""Amounts from which columns are generated instead of held."""
ROWS = 32
"""Rows that may tie the parts together."""


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


class Generation(Relaxation):
    """A search for whole picks: where a relaxation mixes several, the problem is divided."""

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
