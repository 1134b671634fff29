"""The relaxation over everything that parts might do, solved over the plans that are known; see `generate`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram, Result
from mlsysim_opt.optimize.coupled.blocks import ScheduleOracle
from mlsysim_opt.optimize.coupled.parts import Parts
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets

ROUNDS = 200
PER_GROUP = 3
"""Plans of each group that one pricing adds."""
CONVERGED = 1e-9
TINY = 1e-9
"""Shares of plans below this are rounding."""

Part = Mapping[int, Array]
"""A part of the problem: by block, the tuples that may still be picked; all of a block that is not named."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A relaxation: no plan is below the bound; prices of the rows; the value and the shares of the plans it takes."""

    bound: float
    prices: Array
    value: float
    plans: dict[int, float]


class Relaxation(Parts):
    """Parts asked for plans at the prices of the rows, until none is better than those that are known."""

    halted = False
    """By the time limit or Ctrl-C: what was not found then is not known to be missing."""

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

    def _row_duals(self, result: Result) -> Array:
        assert result.duals is not None
        duals = result.duals[self.groups :].copy()
        duals[(duals > 0) & ~np.isfinite(self.row_low)] = 0.0
        duals[(duals < 0) & ~np.isfinite(self.row_high)] = 0.0
        return duals

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
