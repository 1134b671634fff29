"""A first plan of a large program, so that a search which is ended early has one to hand back.

Greedily: one pick after the other takes the cheapest tuple that there is room for; one for which there is none goes
first the next time. Where that ends without a plan, by diving: picks that the relaxation has settled are held, and the
one nearest to that; the relaxation is solved again from where it ended, until all amounts are whole. What leaves no
plan is taken back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlsysim_opt.errors import VerificationError
from mlsysim_opt.optimize.backends.highs import HighsProgram
from mlsysim_opt.optimize.coupled.outcome import EXACT, possible, settled
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram

MANY = 2_000
"""Columns from which a first plan is looked for: of fewer, branch and bound finds one at once."""
SETTLED = 0.9
"""Picks of at least this share are held together."""
WHOLE = 1e-6
"""An amount so near to a whole one is whole."""
TRIES = 50
"""Orders in which picks are made greedily."""
BACK = 50
"""How often what leaves no plan is taken back."""
Over = Callable[[], bool]
"""Whether to give up."""


def asks_for_one(program: LinearProgram) -> bool:
    """Return whether a first plan of a program is looked for: it is large, and has picks."""
    return program.columns >= MANY and program.group is not None and bool(np.any(program.group >= 0))


def greedy_plan(program: LinearProgram, over: Over) -> Array | None:
    """Return amounts of a plan, found without the relaxation; None where there is no room for some pick."""
    picked = _Greedy(program).run(over)
    if picked is None:
        return None
    assert program.group is not None
    kept = np.flatnonzero(picked | (program.group < 0))
    part = program.only(kept)
    part = part.fixed(picked[kept].astype(float), picked[kept])
    return _checked(program, part, kept, part.low if picked[kept].all() else _Dive(part).run(over))


def dived_plan(program: LinearProgram, over: Over, kept: Array) -> Array | None:
    """Return amounts of a plan near the relaxation, with some of the columns; None where the dive ends without one."""
    part = program.only(kept)
    return _checked(program, part, kept, _Dive(part).run(over))


def _checked(program: LinearProgram, part: LinearProgram, kept: Array, x: Array | None) -> Array | None:
    """Return amounts of some columns as those of all, if they are a plan."""
    if x is None:
        return None
    whole = np.zeros(program.columns)
    try:
        whole[kept] = settled(part, x)
    except VerificationError:
        return None
    return possible(program, whole)


class _Greedy:
    def __init__(self, program: LinearProgram) -> None:
        assert program.group is not None
        self.program = program
        ends = np.where(program.value > 0, program.low[program.entry_column], program.high[program.entry_column])
        free = (program.group < 0)[program.entry_column]
        least = np.bincount(program.index[free], weights=(ends * program.value)[free], minlength=program.rows)
        room = program.row_high - least  # where the amounts beside the picks leave most
        self.room: Array = room + EXACT * np.where(np.isfinite(room), np.abs(room), 0.0)
        allowed = np.flatnonzero((program.group >= 0) & (program.high >= 1) & (program.low <= 1))
        order = allowed[np.lexsort((program.cost[allowed], program.group[allowed]))]
        groups, first = np.unique(program.group[order], return_index=True)
        self.members = dict(zip(groups.tolist(), np.split(order, first[1:]), strict=True)) if len(order) else {}

    def run(self, over: Over) -> Array | None:
        """Return a mask of the columns that are picked."""
        least = self.program.group_low
        if least is None or np.any(least > 1):
            return None
        must = np.flatnonzero(least > 0).tolist()
        if any(group not in self.members for group in must):
            return None
        waiting = sorted(must, key=lambda group: (len(self.members[group]), group))
        for _ in range(TRIES):
            picked, stuck = self._tried(waiting)
            if stuck is None:
                return picked
            if over():
                break
            waiting.remove(stuck)
            waiting.insert(0, stuck)
        return None

    def _tried(self, waiting: list[int]) -> tuple[Array, int | None]:
        """Return what is picked in this order, and the pick that there is no room for."""
        program, used = self.program, np.zeros(self.program.rows)
        picked = np.zeros(program.columns, dtype=bool)
        for group in waiting:
            members = self.members[group]
            counts = np.diff(program.start)[members]
            ends = np.cumsum(counts)
            at = np.repeat(program.start[members] - (ends - counts), counts) + np.arange(int(ends[-1]))
            rows, value = program.index[at], program.value[at]
            full = (value > 0) & (used[rows] + value > self.room[rows])
            crowded = np.bincount(np.repeat(np.arange(len(members)), counts), weights=full, minlength=len(members))
            fitting = np.flatnonzero(crowded == 0)
            if not len(fitting):
                return picked, group
            column = int(members[fitting[0]])
            picked[column] = True
            mine = slice(int(program.start[column]), int(program.start[column + 1]))
            used[program.index[mine]] += program.value[mine]
        return picked, None


class _Dive:
    def __init__(self, program: LinearProgram) -> None:
        assert program.group is not None
        self.program, self.picks = program, program.group >= 0
        self.solver = HighsProgram(program)
        self.low, self.high = program.low.copy(), program.high.copy()
        self.taken: list[tuple[int, Array, Array]] = []
        """Amounts that were held, with the limits of all amounts before that."""

    def run(self, over: Over) -> Array | None:
        back = 0
        while not over():
            result = self.solver.relaxation()
            if result.stop == "infeasible" and self.taken and back < BACK:
                back += 1
                self._take_back()
            elif result.stop != "optimal" or result.x is None:
                return None
            else:
                open_ = np.flatnonzero(self.program.whole & (np.abs(result.x - np.round(result.x)) > WHOLE))
                if not len(open_):
                    return result.x
                self._settle(result.x, open_)
        return None

    def _settle(self, x: Array, open_: Array) -> None:
        """Hold what is nearly settled, and the amount that is next: a pick, where one is open."""
        picked = open_[self.picks[open_]]
        among = picked if len(picked) else open_
        column = int(among[np.argmax(x[among] - np.floor(x[among]))])
        self.taken.append((column, self.low, self.high))
        low = np.where(self.picks & (x >= SETTLED), np.maximum(self.low, 1.0), self.low)
        low[column] = np.ceil(x[column])
        self._limit(low, self.high)

    def _take_back(self) -> None:
        """Let go of what was held last, and go the other way there."""
        column, low, high = self.taken.pop()
        least = self.low[column]
        high = high.copy()
        high[column] = max(low[column], least - 1)
        self._limit(low, high)

    def _limit(self, low: Array, high: Array) -> None:
        for column in np.flatnonzero((low != self.low) | (high != self.high)).tolist():
            self.solver.change_column(column, float(low[column]), float(high[column]))
        self.low, self.high = low, high
