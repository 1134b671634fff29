"""Chains: one pick for each stage in a row, changes between neighbours, and limits of what all of them use.

Labels (cost and use of a beginning of the chain, by the layout it ends in) are extended stage by stage. A label goes if
another one of its layout costs and uses no more, or if nothing that follows keeps it below a value; that is known from
the relaxation of the limits at several prices. If a chain is found below the value, the best one is the best of all;
otherwise none is below, and the value is raised: both are proofs. Where something is needed once, by the stage that
needs most of it, every such amount is tried.

Sources: Desrochers and Soumis, INFOR 26 (1988), labels under resource limits; Handler and Zang, Networks 10 (1980),
bounds.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.optimize.coupled.labels import Labels, columns_of, unbeaten
from mlsysim_opt.optimize.coupled.links import Parts, parts_of
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, added_up
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.stopping import Standing

WHOLE = 2.0**60
"""What all stages together take at most, in the units of labels: sums of whole numbers do not depend on their order."""
FIRST, STEP = 1e-6, 4.0
"""The share above the bound that is first looked at, and by how much more each time."""
LEAST = 1e-3
"""A bound counts as at least this share of what the dearest chain costs, where it is nearly zero."""
PRICES = {1: 48, 2: 20, 3: 8}
"""Prices of each limit that are tried at once, by how many limits there are."""
REFINED = {1: 9, 2: 5, 3: 3}
"""Prices of each limit by which labels are judged."""
LABELS = {0: 2_000_000, 1: 2_000_000, 2: 200_000, 3: 50_000}
"""Labels of one layout that are extended at most."""
ROOM = 1e-12
"""Rounding of what is used, as a share of the limit."""


def solve_chain(program: LinearProgram, options: Options, pressed: list[bool]) -> Found | None:
    """Return the best chain with its proof; None where a program is no chain under few limits, or has too many labels.

    Args:
        pressed: not empty once the search is to stop.
    """
    parts = parts_of(program)
    if parts is None or len(parts.limits) >= len(LABELS):
        return None
    return _Search(parts, program, options, pressed).run()


@dataclass(frozen=True, eq=False)
class Taken:
    """What each pick and each change takes of something, and a unit in which all that chains take are whole numbers.

    Attributes:
        picks: of each stage. changes: by stage, layout before and after; zero where there is none.
    """

    picks: list[Array]
    changes: Array
    unit: float

    @staticmethod
    def of(parts: Parts, each: Array, beside: float = 0.0) -> Taken:
        """Return it for a sum over the chain.

        Args:
            beside: what is added to it at most.
        """
        picks = [each[mine] for mine in parts.picks]
        changes = np.where(parts.changes >= 0, each[parts.changes], 0.0)
        most = sum(float(np.abs(item).max(initial=0.0)) for item in picks)
        most += float(np.abs(changes).max(axis=(1, 2), initial=0.0).sum())
        return Taken(picks, changes, (most + beside or 1.0) / WHOLE)

    def whole(self, value: Any) -> Any:
        """Return numbers in units."""
        return np.round(np.asarray(value) / self.unit).astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Tail:
    """What follows each stage, where no pick needs more than a peak.

    Attributes:
        peak, picks: the peak, and by stage the picks that others do not beat. room: what is left of each limit.
        prices: of shape (prices, limits). cost: the least of cost and use at them, by stage, price and layout.
        use: the least of each limit, by stage, limit and layout. bound: no chain costs less.
    """

    picks: list[Array]
    own: float
    cap: float
    room: Array
    prices: Array
    cost: Array
    use: Array
    bound: float


class _Late(Exception):
    """There are too many labels, or too little time."""


class _Search:
    def __init__(self, parts: Parts, program: LinearProgram, options: Options, pressed: list[bool]) -> None:
        self.parts, self.program, self.options, self.pressed = parts, program, options, pressed
        self.began = time.monotonic()
        self.labels = 0
        self.cost, self.uses = Taken.of(parts, parts.cost.each), [Taken.of(parts, item.each) for item in parts.limits]
        self.stages, self.layouts = len(parts.picks), parts.changes.shape[1]
        self.layout = [parts.layout[mine] for mine in parts.picks]
        self.bound = -math.inf

    def run(self) -> Found | None:
        """Return the best chain, or that there is none; None where neither is certain."""
        try:
            best = self._best(ROOM)
            if best is not None:
                return self._told(self.parts.amounts(best, self.program.columns))
            return self._none() if self._best(EXACT) is None else None  # what fits is a matter of rounding
        except _Late:
            return None

    def _best(self, room: float) -> list[int] | None:
        """Return the columns of the best chain; None where no chain keeps the limits but for a share of them."""
        peaks = np.unique(np.concatenate([self.parts.peak[mine] for mine in self.parts.picks]))
        tails = [tail for peak in peaks if (tail := self._tail(float(peak), room)) is not None]
        if not tails:
            return None
        tails.sort(key=lambda item: item.bound)
        self.bound, unit = tails[0].bound, self.cost.unit
        scale = max(abs(self.bound), LEAST * WHOLE * unit)
        above = FIRST if self.parts.cost.each.any() else math.inf  # of no costs all are the least
        while True:
            most = self.bound + above * scale
            best: tuple[float, list[int]] | None = None
            for tail in tails:
                limit = most if best is None else min(most, best[0])
                if tail.bound < limit or (best is None and tail.bound == limit):
                    found = self._labels(tail, min(limit - tail.own, tail.cap))
                    if found is not None and (best is None or found[0] * unit + tail.own < best[0]):
                        best = found[0] * unit + tail.own, found[1]
            if best is not None:
                return best[1]
            if not most - self.bound <= 2 * WHOLE * unit:
                return None
            above *= STEP

    # bounds -----------------------------------------------------------------------------------------------------------
    def _tail(self, peak: float, share: float) -> _Tail | None:
        """Return bounds of what follows where no pick needs more than a peak; None if nothing is possible."""
        picks = [self._picks(stage, peak) for stage in range(self.stages)]
        if any(not len(item) for item in picks) or any(item.room(peak, share) < 0 for item in self.parts.tops):
            return None
        limits = len(self.uses)
        room = np.array([item.room(peak, share) for item in self.parts.limits])
        cap = min((item.room(peak, share) for item in self.parts.caps), default=math.inf)
        least = self._backward(picks, np.eye(limits), 0.0)
        if not (least[0].min(axis=1) <= room).all():
            return None
        prices, value = self._prices(picks, room)
        if not value <= cap + share * abs(value) or math.isinf(value):
            return None
        kept = prices[None, :]
        if limits:
            each = np.linspace(0.6, 1.4, REFINED[limits])
            around = np.array(list(itertools.product(each, repeat=limits)))
            kept = np.unique(np.concatenate([np.zeros((1, limits)), kept, prices * around]), axis=0)
        found = self._backward(picks, kept, 1.0)
        own = self.parts.cost.peak * peak
        return _Tail(picks, own, cap, room, kept, found[1:], least[1:], value + own)

    def _picks(self, stage: int, peak: float) -> Array:
        """Return the picks of a stage that need no more than a peak, without those that another one beats."""
        here = np.flatnonzero(self.parts.peak[self.parts.picks[stage]] <= peak)
        kept = []
        for at in np.unique(self.layout[stage][here]).tolist():
            mine = here[self.layout[stage][here] == at]
            each = [item.picks[stage][mine] for item in (*self.uses, self.cost)]
            kept.append(mine[unbeaten(np.stack(each))])
        return np.sort(np.concatenate(kept)) if kept else here

    def _prices(self, picks: Sequence[Array], room: Array) -> tuple[Array, float]:
        """Return prices of the limits at which the least of cost and use, beyond what they let, is large; and it."""
        limits = len(self.uses)
        if not limits:
            return np.zeros(0), float(self._backward(picks, np.zeros((1, 0)), 1.0)[0].min())
        scale = [self.cost.unit / item.unit for item in self.uses]
        axes = [np.concatenate([[0.0], size * np.geomspace(1e-4, 1e4, PRICES[limits])]) for size in scale]
        best, value = np.zeros(limits), -math.inf
        for _ in range(4 if limits == 1 else 8):
            grid = np.array(list(itertools.product(*axes)))
            values = self._backward(picks, grid, 1.0)[0].min(axis=1) - grid @ room
            at = int(np.argmax(values))
            best, value = grid[at], float(values[at])
            places = [int(place) for place in np.unravel_index(at, tuple(len(axis) for axis in axes))]
            axes = [
                np.linspace(axis[max(place - 1, 0)], axis[min(place + 1, len(axis) - 1)], PRICES[limits])
                for axis, place in zip(axes, places, strict=True)
            ]
        return best, value

    def _backward(self, picks: Sequence[Array], prices: Array, weight: float) -> Array:
        """Return the least of cost (by weight) and use (by price) from each stage on, by stage, price and layout.

        The first is the whole chain by the layout it begins with; the others are what follows a stage.
        """
        after = np.zeros((len(prices), self.layouts))
        found = np.empty((self.stages + 1, len(prices), self.layouts))
        for stage in range(self.stages - 1, -1, -1):
            found[stage + 1] = after
            here = picks[stage]
            each = weight * self.cost.picks[stage][here]
            for price, item in zip(prices.T, self.uses, strict=True):
                each = each + price[:, None] * item.picks[stage][here]
            each = np.broadcast_to(each, (len(prices), len(here)))
            own = np.full((len(prices), self.layouts), math.inf)
            layout = self.layout[stage][here]
            for at in np.unique(layout).tolist():
                own[:, at] = each[:, layout == at].min(axis=1)
            own = own + after
            if stage:
                closed = self.parts.changes[stage - 1] < 0
                change = np.where(closed, math.inf, weight * self.cost.changes[stage - 1])[None]
                for price, item in zip(prices.T, self.uses, strict=True):
                    change = change + price[:, None, None] * item.changes[stage - 1]
                after = (change + own[:, None, :]).min(axis=2)
            else:
                found[0] = own
        return found

    # labels -----------------------------------------------------------------------------------------------------------
    def _labels(self, tail: _Tail, most: float) -> tuple[int, list[int]] | None:
        """Return the cost, in units, and the columns of the best chain that costs no more than a value; None: none."""
        ends: list[list[Labels]] = []
        for stage in range(self.stages):
            here = tail.picks[stage]
            row = []
            for at in range(self.layouts):
                reached = self._reached(ends[-1] if stage else None, stage, at)
                row.append(self._extended(reached, stage, at, here[self.layout[stage][here] == at], tail, most))
            ends.append(row)
            if not any(item.count for item in row):
                return None
        cost, at = min((int(item.totals[-1].min()), at) for at, item in enumerate(ends[-1]) if item.count)
        return cost, list(columns_of(self.parts, ends, at, int(np.argmin(ends[-1][at].totals[-1]))))

    def _reached(self, before: Sequence[Labels] | None, stage: int, at: int) -> Labels:
        """Return labels at the beginning of a stage in a layout: those of the stage before, changed."""
        sums = (*self.uses, self.cost)
        if before is None:
            none = np.zeros(1, dtype=np.int64)
            return Labels(np.zeros((len(sums), 1), dtype=np.int64), none, none, none)
        found = []
        for old, labels in enumerate(before):
            if labels.count and self.parts.changes[stage - 1, old, at] >= 0:
                change = [item.whole(item.changes[stage - 1, old, at]) for item in sums]
                totals = labels.totals + np.array(change)[:, None]
                count = np.arange(labels.count)
                found.append(Labels(totals, np.full(labels.count, old), count, np.zeros_like(count)))
        return Labels.joined(found, len(self.uses)).unbeaten()

    def _extended(self, labels: Labels, stage: int, at: int, picks: Array, tail: _Tail, most: float) -> Labels:
        """Return the labels behind a stage: each with each pick, without those from which nothing good follows."""
        count, limits = labels.count, len(self.uses)
        if count * len(picks) > 8 * LABELS[limits]:
            raise _Late
        sums = (*self.uses, self.cost)
        own = np.stack([item.whole(item.picks[stage][picks]) for item in sums])
        made = Labels(
            (labels.totals[:, :, None] + own[:, None, :]).reshape(len(sums), -1), np.repeat(labels.layout, len(picks)),
            np.repeat(labels.label, len(picks)), np.tile(picks, count),
        )  # fmt: skip
        used = [item.unit * total for item, total in zip(self.uses, made.totals, strict=False)]
        spent = made.totals[-1] * self.cost.unit
        good = np.ones(made.count, dtype=bool)
        for total, after, room in zip(used, tail.use[stage, :, at], tail.room, strict=True):
            good &= total + after <= room
        for prices, after in zip(tail.prices, tail.cost[stage, :, at], strict=True):
            value = spent + after
            for price, total, room in zip(prices, used, tail.room, strict=True):
                value = value + price * (total - room)
            good &= value <= most + EXACT * 1e-3 * abs(most)
        found = made.only(np.flatnonzero(good)).unbeaten()
        self.labels += found.count
        if found.count > LABELS[limits] or self._stopped():
            raise _Late
        return found

    def _stopped(self) -> bool:
        """Return whether to leave the rest to others: half of the time is over, or who watches says so."""
        seconds, limit, watch = time.monotonic() - self.began, self.options.time_limit, self.options.watch
        bound = self.bound + self.program.offset
        if watch is not None and watch(Standing(seconds, None, bound if math.isfinite(bound) else None, self.labels)):
            self.pressed.append(True)
        return bool(self.pressed) or (limit is not None and seconds > limit / 2)

    # answers ----------------------------------------------------------------------------------------------------------
    def _none(self) -> Found:
        proof = "labels over the chain: no chain keeps the limits"
        return Found("infeasible", None, None, math.inf, proof, "labels", self._details())

    def _told(self, x: Array) -> Found:
        program = self.program
        value = float(program.cost @ x) + program.offset
        proof = "labels over the chain: dominance, and bounds by prices of the limits; bound reached"
        return Found("optimal", x, value, value, proof, "labels", self._details(), None, added_up(program, x))

    def _details(self) -> dict[str, Any]:
        return {"columns": self.program.columns, "rows": self.program.rows, "labels": self.labels}
