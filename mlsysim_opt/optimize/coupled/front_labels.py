"""Complete fronts of chains: labels of all objectives at once, from which every undominated chain is read.

A label is what the beginning of a chain adds up to: of each objective, of each limit, and the most that one stage needs
of what counts at its largest. Labels of one layout that another one beats in all of that go, as do those from which no
chain keeps the limits; what is left at the end is the front. So it takes one pass, not a program for each point. That a
program is such a chain is proven in `links`.

Sources: Martins, EJOR 16 (1984), labels of shortest paths with several objectives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlsysim_opt.optimize.coupled.chain import ROOM, Taken
from mlsysim_opt.optimize.coupled.front_program import ProgramPlans, Sum
from mlsysim_opt.optimize.coupled.labels import Labels, columns_of, unbeaten
from mlsysim_opt.optimize.coupled.links import Limit, Needs, Parts, parts_of
from mlsysim_opt.optimize.coupled.outcome import Found, added_up
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.regions import Kept
from mlsysim_opt.optimize.stopping import Halt, Standing

PROOF = "labels over the chain: dominance in all objectives and limits"
MADE = 2_000_000
"""Labels that are made at once at most, before those that others beat go."""
KEPT = {1: 500_000, 2: 500_000, 3: 50_000}
"""Labels of one layout that are kept at most, by how many sums they have."""
FEWEST = 10_000
"""As many where they have more."""


class TooManyLabels(Exception):
    """There are too many labels, or too little time."""


def chain_front(plans: ProgramPlans, halt: Halt) -> list[Kept] | None:
    """Return every chain that no other one beats; None where the plans are no chains that labels tell.

    Raises:
        TooManyLabels: the front is too large, or half of the time is over.
    """
    costs = [_cost(item) for item in plans.sums]
    if not plans.chained or any(item is None for item in costs):
        return None
    rows = [item for item in costs if item is not None]
    program = replace(plans.program, cost=rows[0])
    parts = parts_of(program, free=True)
    if parts is None or any(row[item.column] < 0 for row in rows for item in parts.helpers):
        return None
    search = _Search(parts, [parts.needs(row) for row in rows], halt)
    found = []
    for columns in search.run():
        x = parts.amounts(columns, program.columns)
        values = plans.added(x)
        told = Found("optimal", x, values[0], values[0], PROOF, "labels", {}, None, added_up(program, x))
        found.append(Kept(x, values, told))
    plans.labels = search.labels
    return found or None  # what fits is a matter of rounding where none does


def _cost(item: Sum) -> Array | None:
    """Return numbers that order plans as an objective does: itself, or of a number over a sum that sum; else None."""
    if item.divisor is None:
        return item.cost
    if item.cost.any() or not item.offset:
        return None
    return item.divisor if item.offset < 0 else -item.divisor


@dataclass(frozen=True, eq=False)
class _Kept:
    """A limit of a sum of labels: the row of it, and what it may be by the number of the peak."""

    row: int
    room: Array


class _Search:
    def __init__(self, parts: Parts, goals: Sequence[Needs], halt: Halt) -> None:
        self.parts, self.goals, self.halt = parts, goals, halt
        self.stages, self.layouts = len(parts.picks), parts.changes.shape[1]
        self.peaks = np.unique(np.concatenate([parts.peak[mine] for mine in parts.picks]))
        sums: list[Array] = [item.each for item in goals]
        self.kept: list[_Kept] = []
        for item in (*parts.limits, *parts.caps):
            row, like = next(
                ((row, like) for row, each in enumerate(sums) if (like := item.like(each)) is not None),
                (len(sums), 1.0),
            )
            if row == len(sums):
                sums.append(item.each)
            self.kept.append(_Kept(row, self._rooms(item.times(1 / like))))
        top = [item.peak * float(self.peaks[-1]) for item in goals] + [0.0] * (len(sums) - len(goals))
        self.sums = [Taken.of(parts, each, beside) for each, beside in zip(sums, top, strict=True)]
        counted = [item.peak for item in goals]
        counted += [taken for item in (*parts.limits, *parts.caps) for taken, _ in item.ends]
        self.peaked = any(counted)
        self.rows = len(sums) + self.peaked
        self.labels = 0
        self.picks = [self._picks(stage) for stage in range(self.stages)]
        self.after = self._after()

    def _rooms(self, item: Limit) -> Array:
        return np.array([item.room(float(peak), ROOM) for peak in self.peaks])

    def run(self) -> Iterator[list[int]]:
        """Yield the columns of every chain that no other one beats, in no order."""
        ends: list[list[Labels]] = []
        for stage in range(self.stages):
            row = [
                self._extended(self._reached(ends[-1] if stage else None, stage, at), stage, at)
                for at in range(self.layouts)
            ]
            ends.append(row)
        found = [(at, label) for at, item in enumerate(ends[-1]) for label in range(item.count)]
        if not found:
            return
        totals = np.concatenate([self._values(item) for item in ends[-1]], axis=1)
        for place in unbeaten(totals).tolist():
            yield list(columns_of(self.parts, ends, *found[place]))

    def _values(self, labels: Labels) -> Array:
        """Return the objectives of whole chains."""
        values: Array = labels.totals[self.rows - len(self.sums) :][: len(self.goals)]
        if not self.peaked:
            return values
        peak = self.peaks[labels.totals[0]]
        added = [item.whole(goal.peak * peak) for goal, item in zip(self.goals, self.sums, strict=False)]
        return np.asarray(values + np.stack(added))

    # labels -----------------------------------------------------------------------------------------------------------
    def _own(self, stage: int, picks: Array) -> Array:
        """Return what picks of a stage add, and the number of their peak where it counts."""
        own = [item.whole(item.picks[stage][picks]) for item in self.sums]
        if self.peaked:
            own = [np.searchsorted(self.peaks, self.parts.peak[self.parts.picks[stage][picks]]), *own]
        return np.stack(own)

    def _picks(self, stage: int) -> list[Array]:
        """Return, by layout, the picks of a stage without those that others beat, or that need too much at once."""
        mine = self.parts.picks[stage]
        fits = [all(item.room(float(peak), ROOM) >= 0 for item in self.parts.tops) for peak in self.parts.peak[mine]]
        found = []
        for at in range(self.layouts):
            here = np.flatnonzero((self.parts.layout[mine] == at) & np.array(fits))
            found.append(here[unbeaten(self._own(stage, here))] if len(here) else here)
        return found

    def _after(self) -> Array:
        """Return the least of each sum that follows each stage, by sum, stage and layout."""
        found = np.zeros((len(self.sums), self.stages, self.layouts))
        for stage in range(self.stages - 1, 0, -1):
            closed = self.parts.changes[stage - 1] < 0
            for row, item in enumerate(self.sums):
                own = np.array([item.picks[stage][here].min(initial=np.inf) for here in self.picks[stage]])
                change = np.where(closed, np.inf, item.changes[stage - 1])
                found[row, stage - 1] = (change + own + found[row, stage]).min(axis=1)
        return found

    def _reached(self, before: Sequence[Labels] | None, stage: int, at: int) -> Labels:
        """Return labels at the beginning of a stage in a layout: those of the stage before, changed."""
        if before is None:
            none = np.zeros(1, dtype=np.int64)
            return Labels(np.zeros((self.rows, 1), dtype=np.int64), none, none, none)
        found = []
        for old, labels in enumerate(before):
            if labels.count and self.parts.changes[stage - 1, old, at] >= 0:
                change = [item.whole(item.changes[stage - 1, old, at]) for item in self.sums]
                totals = labels.totals + np.array([0, *change] if self.peaked else change)[:, None]
                count = np.arange(labels.count)
                found.append(Labels(totals, np.full(labels.count, old), count, np.zeros_like(count)))
        return Labels.joined(found, self.rows - 1).unbeaten()

    def _extended(self, labels: Labels, stage: int, at: int) -> Labels:
        """Return the labels behind a stage: each with each pick, without those that are beaten, or break a limit."""
        picks = self.picks[stage][at]
        if self._stopped() or labels.count * len(picks) > MADE:
            raise TooManyLabels
        own = self._own(stage, picks)
        totals = labels.totals[:, :, None] + own[:, None, :]
        if self.peaked:
            totals[0] = np.maximum(labels.totals[0][:, None], own[0])
        made = Labels(
            totals.reshape(self.rows, -1), np.repeat(labels.layout, len(picks)), np.repeat(labels.label, len(picks)),
            np.tile(picks, labels.count),
        )  # fmt: skip
        good = np.ones(made.count, dtype=bool)
        for item in self.kept:
            taken = made.totals[item.row + self.peaked] * self.sums[item.row].unit + self.after[item.row, stage, at]
            good &= taken <= (item.room[made.totals[0]] if self.peaked else item.room[0])
        found = made.only(np.flatnonzero(good)).unbeaten()
        self.labels += found.count
        if found.count > KEPT.get(self.rows, FEWEST):
            raise TooManyLabels
        return found

    def _stopped(self) -> bool:
        """Return whether to leave the rest to others: half of the time is over, or who watches says so."""
        limit = self.halt.time_limit
        self.halt.watch(Standing(self.halt.seconds, None, None, self.labels))
        return bool(self.halt.pressed) or (limit is not None and self.halt.seconds > limit / 2)
