"""The search over picks that share places: a known plan made better, picks that it rules out, the others searched.

A relaxation is solved again with each pick; what it then says no plan with the pick is below is compared with a known
plan. The better that one is, the fewer picks are left: so it is made better first, two groups of picks at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np

from mlsysim_opt.optimize.backends.highs import RESTARTS, HighsProgram, Result
from mlsysim_opt.optimize.coupled.blocks import Schedule, ScheduleOracle
from mlsysim_opt.optimize.coupled.cores import Worker, with_cores
from mlsysim_opt.optimize.coupled.outcome import EXACT, within
from mlsysim_opt.optimize.coupled.pooled_bound import PooledBound
from mlsysim_opt.optimize.coupled.pools import Base, Pick, Plan
from mlsysim_opt.optimize.coupled.probing import with_each
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.stopping import Standing

FEW = 2_000
"""Amounts of picks up to which all are, and each is tried in the relaxation before the search."""
FEWER = 0.7
"""Share of the picks of a search that are left when it is begun again without the others."""
PAIR = 5e-3
"""Gap to which the picks of two groups are chosen again, in the first node."""
PATIENCE, FINE = 2, 1e-4
"""Pairs of groups in a row that make a plan no better by this share, after which others are not tried."""
CLOSER = 0.98
"""Share of the gap at which a search ends: amounts are chosen again afterwards."""


class PooledSearch(PooledBound):
    """The search for whole amounts over some places."""

    def _near(self, value: float, bound: float) -> bool:
        return within(value, bound, max(self.options.gap, EXACT))

    def _narrowing(
        self,
        base: Base,
        program: LinearProgram,
        whole: LinearProgram,
        picks: Sequence[Pick],
        columns: Sequence[int],
        best: Plan | None,
        bound: float,
    ) -> tuple[Plan | None, float]:
        """Return the best plan of some picks, and what no plan is below; begun again when few of them are left.

        A pick is left where a plan with it may be better, by the gap, than the best plan that is known. A plan with one
        of the others costs no less than what the relaxation says of it, and to that the best one is near enough.
        """
        gap, nodes = max(self.options.gap, EXACT) * CLOSER, 0
        least = dict.fromkeys(picks, -math.inf)

        def left(value: float) -> list[Pick]:
            return [pick for pick, low in least.items() if low != math.inf and not within(value, low, gap)]

        def fewer(count: float, value: float) -> bool:
            return len(left(value)) < count

        while True:
            if best is not None and len(picks) * self.periods <= FEW:
                for pick, low in zip(picks, with_each(whole, columns, self._left()), strict=True):
                    least[pick] = max(least[pick], float(low))
                best, stopped = self._polished(base, picks, best, bound, left)
                if stopped:
                    break
                kept = {(block, tuple_) for block, tuple_, _ in best.jobs}.union(left(best.value))
                picks = [pick for pick in picks if pick in kept]
                program, columns = self._with_picks(base, picks)
                whole = self._strengthened(base, program, picks, columns, set(picks))
            start = None if best is None else self._started(best, program, whole, picks, columns)
            few = 0.0 if best is None else FEWER * len(left(best.value))
            result = self._searched(whole, start, bound, again=partial(fewer, few))
            nodes += result.nodes
            out = min((low for pick, low in least.items() if pick not in picks), default=math.inf)
            bound = max(bound, min(result.bound, out))
            before = math.inf if best is None else len(left(best.value))
            if result.x is not None and (best is None or result.value is None or result.value < best.value):
                best = self._plan(base, program, result.x[: program.columns], picks, columns)
            if best is None or result.stop != "limit" or self._near(best.value, bound):
                break
            if len(left(best.value)) >= before:
                break
        self.details.update(picks_left=len(picks), columns=whole.columns, rows=whole.rows, nodes=nodes)
        return best, bound

    def _polished(
        self, base: Base, picks: Sequence[Pick], best: Plan, bound: float, left: Callable[[float], list[Pick]]
    ) -> tuple[Plan, bool]:
        """Return a plan, with the picks of two groups chosen again while the others stay, and whether to stop."""
        kept = {(block, tuple_) for block, tuple_, _ in best.jobs}.union(left(best.value))
        picks = [pick for pick in picks if pick in kept]
        program, columns = self._with_picks(base, picks)
        owner, pick_of = np.full((2, program.columns), -1)  # of each column: its group, and the number of its pick
        for at, (column, (block, tuple_)) in enumerate(zip(columns, picks, strict=True)):
            oracle, own = self.oracles[block], slice(column, column + 1 + len(self._open(block, tuple_)))
            assert isinstance(oracle, ScheduleOracle)
            owner[own], pick_of[own] = self.first_group[block] + int(oracle.groups[tuple_]), at
        known = dict(zip(picks, columns, strict=True))
        tries = 0
        ended: list[bool] = []  # after the first node

        def watch(seen: Standing) -> bool:
            if self.options.watch is not None and self.options.watch(replace(seen, bound=bound)):
                return True
            if seen.nodes > 0:
                ended.append(True)
            return bool(ended)

        for pair in combinations(np.unique(owner[owner >= 0]).tolist(), 2):
            if self._near(best.value, bound) or tries == PATIENCE:
                break
            mine = {(block, tuple_) for block, tuple_, _ in best.jobs}.union(left(best.value))
            free = np.array([*(pick in mine for pick in picks), True])[pick_of] & np.isin(owner, [-1, *pair])
            x = self._begun(best, program.columns, [known[block, tuple_] for block, tuple_, _ in best.jobs])
            result = HighsProgram(program.fixed(x, ~free), size=best.value).solve(
                gap=PAIR, time_limit=self._left(), start=x, watch=watch, without=RESTARTS
            )
            if result.stop == "interrupted" and not ended:
                return best, True
            tries += 1
            ended.clear()
            if result.x is not None:
                found = self._plan(base, program, result.x, picks, columns)
                if found.value < best.value - FINE * abs(best.value):
                    best, tries = found, 0
        return best, False

    def _searched(
        self,
        program: LinearProgram,
        start: Array | None,
        bound: float,
        most: float | None = None,
        again: Callable[[float], bool] = lambda value: False,
    ) -> Result:
        """Search for whole amounts until a plan is near a bound, for so many seconds, or until it is to begin again."""
        enough: list[bool] = []
        gap = max(self.options.gap, EXACT)

        def watch(seen: Standing) -> bool:
            low = bound if seen.bound is None else max(bound, seen.bound)
            if self.options.watch is not None and self.options.watch(replace(seen, bound=low)):
                return True
            done = seen.incumbent is not None and within(seen.incumbent, low, gap * CLOSER)
            late = most is not None and seen.seconds > most
            if done or (seen.incumbent is not None and (late or again(seen.incumbent))):
                enough.append(True)
            return bool(enough)

        size = None if start is None else float(np.abs(program.cost) @ np.abs(start))
        result = HighsProgram(program, size=size).solve(
            gap=gap * CLOSER, time_limit=self._left(), start=start, watch=watch
        )
        return replace(result, stop="limit") if enough else result

    def _started(
        self, best: Plan, program: LinearProgram, whole: LinearProgram, picks: Sequence[Pick], columns: Sequence[int]
    ) -> Array | None:
        """Return a known plan as amounts of the program of all picks."""
        known = dict(zip(picks, columns, strict=True))
        x = self._begun(best, program.columns, [known[block, tuple_] for block, tuple_, _ in best.jobs])
        full = np.concatenate([x, np.zeros(whole.columns - program.columns)])
        rest = HighsProgram(whole.fixed(full, np.arange(whole.columns) < program.columns)).relaxation()
        return rest.x

    def _strengthened(
        self, base: Base, program: LinearProgram, picks: Sequence[Pick], columns: Sequence[int], said: Collection[Pick]
    ) -> LinearProgram:
        """Return a program with rows for the largest pick of each place, if one of some that work in whole periods."""
        if not all(part.amounts.whole for part in self.problem.blocks if isinstance(part, Schedule)):
            return program
        workers: list[Worker] = []
        for (block, tuple_), column in zip(picks, columns, strict=True):
            oracle, place, when = self.oracles[block], int(self.at[block][tuple_]), self._open(block, tuple_)
            assert isinstance(oracle, ScheduleOracle)
            use = np.broadcast_to(self.uses[block][tuple_], self.periods)[when]
            if np.any(use < 0):
                return program
            workers.append(
                Worker(
                    int(base.row[place]), self.first_group[block] + int(oracle.groups[tuple_]), column, when,
                    column + 1 + np.arange(len(when)), float(oracle.needed[tuple_]), use, oracle.high[tuple_, when],
                    float(np.min(use / self.per_held[place, when], initial=np.inf)) if len(when) else 0.0,
                    (block, tuple_) in said,
                )
            )  # fmt: skip
        held, rented = self._standing_columns(base)
        per_rented = None if rented is None else self.per_rented[base.places]
        return with_cores(program, workers, held, rented, per_rented)
