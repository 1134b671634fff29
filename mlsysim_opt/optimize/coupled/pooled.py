"""Parts that share what is held: amounts that stand along the whole axis, used by schedules and shares place by place.

Places that another can stand in for are left out. If what is left is small, it is one program with rows that mixtures
of plans do not satisfy (`cores`), searched to the gap asked for. If not, it is bounded over all places by prices
(`pooled_bound`), and schedules are chosen again, period by period, with whole amounts held, over the places that the
relaxation uses: such a plan comes with its gap, and no search closes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlsysim_opt.errors import LimitReachedError
from mlsysim_opt.optimize.backends.highs import HighsProgram, Result
from mlsysim_opt.optimize.coupled.blocks import ScheduleOracle, ShareOracle
from mlsysim_opt.optimize.coupled.compile import Compiled
from mlsysim_opt.optimize.coupled.generate import ROWS
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, settled, within
from mlsysim_opt.optimize.coupled.places import undominated_places
from mlsysim_opt.optimize.coupled.pooled_bound import Related
from mlsysim_opt.optimize.coupled.pooled_search import FEW, PooledSearch
from mlsysim_opt.optimize.coupled.pools import Base, Pick, Plan, beside
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.relaxed import TINY
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.stopping import Standing, noted_interrupts

WORTH = 1e-3
"""Share of a place in what is done, or of a pick, that makes it worth branching over."""
WHOLE = 120_000
"""Columns up to which all picks at all places that are left are one program."""
FIRST = 4.0
"""How many times as long as its relaxation a first plan is searched for, or a second if that is longer."""
TURNS = 6
"""Relaxations with more and more of the picks as cores."""
WHOLLY = "places that others stand in for left out, branch and bound over the rest"
MIXED = "shared parts priced at all places (weak duality), branch and bound over few"


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
    """Return the best plan found, with its bound; None where this way finds no plan or does not apply.

    Raises:
        LimitReachedError: Ctrl-C was pressed before there was a plan.
    """
    made = _Pooled(task, options)
    with noted_interrupts(made.pressed):
        found = made.answered()
    if found is None and made.pressed:
        raise LimitReachedError("no plan was found: the search was interrupted", hint="let it run longer")
    return found


class _Pooled(PooledSearch):
    def answered(self) -> tuple[Compiled, Found] | None:
        """Return the best plan found with its bound."""
        if not self.applies:
            return None
        places = self._needed_places()
        if self._size(places) <= WHOLE:
            found = self._over_all(places)
            if found is not None:
                return found
        related = self._related()
        if related is None:
            return None
        assert related.result.x is not None
        offset = float(self.offsets[0])
        self.details.update(relaxation=related.bound + offset, places=len(related.base.places), plans=len(self.pool))
        if self.options.watch is not None:
            self.options.watch(Standing(0.0, None, related.bound + offset, 0))
        places = self._used(related)
        best = self._of_schedules(related, places)
        if best is None or not within(best.value, related.bound, self.options.gap):
            again = self._of_periods(related, places, best)
            best = again if again is not None and (best is None or again.value < best.value) else best
        return None if best is None else self._told(related.bound, best, MIXED)

    # all places in one program ----------------------------------------------------------------------------------------
    def _needed_places(self) -> Array:
        """Return the places at which a best plan may be: all of them where places have limits of their own."""
        if self.room is not None:
            return np.arange(self.count)
        senses = [1.0]
        which = [0]
        for row, (low, high) in enumerate(zip(self.row_low, self.row_high, strict=True)):
            for sense, limit in ((-1.0, low), (1.0, high)):
                if np.isfinite(limit):
                    senses.append(sense)
                    which.append(1 + row)

        def less(items: Sequence[Array], at: Array) -> list[Array]:
            """Return costs and uses of which less is better, one row for each thing."""
            return [sense * items[one].reshape(len(at), -1) for sense, one in zip(senses, which, strict=True)]

        every = np.arange(self.count)
        held = [*less(list(self.held_cost), every), -self.per_held]
        if self.rented is not None:
            held += [*less(list(self.rent_cost), every), -self.per_rented]
        parts = []
        for block, (_, oracle) in enumerate(self._parts()):
            table, at = oracle.columns, self.at[block]
            others = tuple(choice for choice in table.positions if choice not in self.standing.held.over)
            numbers = [*less(oracle.each[:-1], at), self.uses[block]]
            if isinstance(oracle, ScheduleOracle):
                needed = oracle.needed[:, None]
                numbers += [*less(list(oracle.own[:-1]), at), needed, -needed, -oracle.high]
            parts.append((at, table.code(others), np.concatenate(numbers, axis=1)))
        return undominated_places(np.concatenate(held, axis=1), parts)

    def _picks_at(self, places: Array) -> list[Pick]:
        """Return all picks that are possible at some places."""
        here = np.zeros(self.count, dtype=bool)
        here[places] = True
        found: list[Pick] = []
        for block, (_, oracle) in enumerate(self._parts()):
            if isinstance(oracle, ScheduleOracle):
                found += [(block, int(tuple_)) for tuple_ in oracle.order[here[self.at[block][oracle.order]]]]
        return found

    def _size(self, places: Array) -> int:
        """Return about how many columns the program of all picks at some places has."""
        shares = sum(
            int(np.isin(at, places).sum())
            for at, (_, oracle) in zip(self.at, self._parts(), strict=True)
            if isinstance(oracle, ShareOracle)
        )
        return (shares + len(places) + 3 * len(self._picks_at(places))) * self.periods

    def _over_all(self, places: Array) -> tuple[Compiled, Found] | None:
        """Return the best plan over some places, of which a best plan needs no others; None where there is none.

        The best plan of the picks that a relaxation mixes is often close enough. If not, picks whose reduced cost says
        that no better plan has them are left out, and the others are searched with the rows of cores.
        """
        base = self._base(places, True, 0.0)
        picks = self._picks_at(places)
        program, columns = self._with_picks(base, picks)
        left = self._left()
        root, seconds = self._relaxation(program, None if left is None else left / 3)  # the rest is for another way
        if root.stop != "optimal" or root.x is None or root.value is None or root.duals is None:
            return None
        bound, offset = root.value, float(self.offsets[0])
        self.details.update(relaxation=bound + offset, places=len(places), picks=len(picks))
        best, stopped = self._of_mixed(base, picks, root.x[columns], bound, None, seconds)
        if stopped or (best is not None and self._near(best.value, bound)):
            return None if best is None else self._told(bound, best, WHOLLY)
        every, first = picks, columns
        if best is not None:
            dearer = self._dearer(program, root.duals, picks, columns)
            most = best.value + EXACT * abs(best.value)
            picks = [pick for pick, more in zip(picks, dearer, strict=True) if bound + more <= most]
            program, columns = self._with_picks(base, picks)
        mixed = {pick for pick, share in zip(every, root.x[first], strict=True) if share > WORTH}
        for _ in range(TURNS):  # of few picks a relaxation has anything: it is they of which more is said
            said = set(picks) if len(picks) * self.periods <= FEW else mixed
            whole = self._strengthened(base, program, picks, columns, said)
            root, seconds = self._relaxation(whole)
            if root.stop != "optimal" or root.x is None or root.value is None:
                break
            bound = max(bound, root.value)
            best, stopped = self._of_mixed(base, picks, root.x[columns], bound, best, seconds)
            if stopped or (best is not None and self._near(best.value, bound)):
                break
            more = {pick for pick, share in zip(picks, root.x[columns], strict=True) if share > WORTH} - said
            if not more:
                break
            mixed |= more
        if not stopped and not (best is not None and self._near(best.value, bound)):
            best, bound = self._narrowing(base, program, whole, picks, columns, best, bound)
        return None if best is None else self._told(min(bound, best.value), best, WHOLLY)

    def _relaxation(self, program: LinearProgram, most: float | None = None) -> tuple[Result, float]:
        began = time.monotonic()
        limit = self._left() if most is None else most
        return HighsProgram(program).relaxation(time_limit=limit), time.monotonic() - began

    def _dearer(
        self, program: LinearProgram, duals: Array, picks: Sequence[Pick], columns: Sequence[int]
    ) -> list[float]:
        """Return how far above the relaxation a plan with each pick is at least: it works where that costs least."""
        reduced = np.maximum(program.reduced_costs(duals), 0.0)
        found = []
        for (block, tuple_), column in zip(picks, columns, strict=True):
            oracle = self.oracles[block]
            assert isinstance(oracle, ScheduleOracle)
            when = self._open(block, tuple_)
            work = reduced[column + 1 : column + 1 + len(when)]
            order = np.argsort(work, kind="stable")
            room = oracle.high[tuple_, when][order]
            before = np.cumsum(room) - room
            found.append(float(reduced[column] + work[order] @ np.clip(oracle.needed[tuple_] - before, 0.0, room)))
        return found

    def _of_mixed(
        self, base: Base, picks: Sequence[Pick], shares: Array, bound: float, best: Plan | None, seconds: float
    ) -> tuple[Plan | None, bool]:
        """Return the better of a plan and one of the picks that a relaxation mixes, and whether to stop there."""
        mixed = [pick for pick, share in zip(picks, shares, strict=True) if share > WORTH]
        program, columns = self._with_picks(base, mixed)
        result = self._searched(program, None, bound, max(1.0, FIRST * seconds))
        if result.x is not None:
            found = self._plan(base, program, result.x, mixed, columns)
            best = found if best is None or found.value < best.value else best
        return best, result.stop == "interrupted"

    # few places -------------------------------------------------------------------------------------------------------
    def _whole(self, program: LinearProgram, start: Array | None, share: float) -> Result:
        left = self._left()
        size = None if start is None else float(np.abs(program.cost) @ np.abs(start))
        return HighsProgram(program, size=size).solve(
            gap=max(self.options.gap / 3, EXACT), time_limit=None if left is None else left * share, start=start,
            watch=self.options.watch,
        )  # fmt: skip

    def _of_schedules(self, related: Related, places: Array) -> Plan | None:
        """Return the best plan of the schedules that the relaxation mixes, over some places."""
        assert related.result.x is not None
        base = self._base(places, True, 0.0)
        share = related.result.x[related.base.program.columns :]
        known = related.known[share > TINY]
        known = np.array([i for i in known if base.row[self._place(i)] >= 0], dtype=np.int64)
        part = self._plans(base, known)
        program = beside(base.program, replace(part, whole=np.ones(len(known), dtype=bool)))
        result = self._whole(program, None, 0.3)
        if result.x is None:
            return None
        x = settled(program, result.x)
        chosen = known[x[base.program.columns :] > 0.5]
        jobs = [(self.pool.block[i], int(self.pool.tuple_[i]), self.pool.amounts[i]) for i in chosen]
        return Plan(float(program.cost @ x), base, x[: base.program.columns], jobs)

    def _of_periods(self, related: Related, places: Array, best: Plan | None) -> Plan | None:
        """Return the best plan, period by period, of the picks of a known one or of the relaxation."""
        assert related.result.x is not None
        base = self._base(places, True, 0.0)
        picks = [(block, tuple_) for block, tuple_, _ in best.jobs] if best is not None else self._most_mixed(related)
        program, columns = self._with_picks(base, picks)
        start = None if best is None else self._begun(best, program.columns, columns)
        result = self._whole(program, start, 1.0)
        if result.x is None:
            return None
        return self._plan(base, program, result.x, picks, columns)

    def _most_mixed(self, related: Related) -> list[tuple[int, int]]:
        """Return, of each group, the pick that the relaxation has most of."""
        assert related.result.x is not None
        shares: dict[tuple[int, int], dict[int, float]] = {}
        for i, share in zip(related.known, related.result.x[related.base.program.columns :], strict=True):
            mine = shares.setdefault((self.pool.block[i], self.pool.group[i]), {})
            mine[self.pool.tuple_[i]] = mine.get(self.pool.tuple_[i], 0.0) + float(share)
        return [(block, max(mine, key=lambda key: mine[key])) for (block, _), mine in shares.items()]

    def _used(self, related: Related) -> Array:
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
