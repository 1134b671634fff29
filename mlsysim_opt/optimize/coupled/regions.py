"""The search for a front: where plans that are still missing must lie, until there is no such place.

Regions are kept as local upper bounds (Klamroth, Lacour and Vanderpooten, EJOR 245 (2015)): below each of them, in
every objective, something may be missing; elsewhere nothing is. In one region the first objective is minimised. That
proves it empty, or gives a plan; what that plan beats, or in a cover stands for, is taken out of all regions. The one
that was asked about shrinks by a width above zero in every case, so the search ends: by the least difference of values
that counts where the front is complete, by the step of a cover where amounts are divisible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from mlsysim_opt.errors import SolverError, VerificationError
from mlsysim_opt.optimize.coupled.outcome import ROUNDING, Found
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.dominance import undominated
from mlsysim_opt.optimize.front_points import thinned

SAME = 1e-9
"""Values of an objective that differ by less, relatively, are one value: the rounding of its sum."""
DRIFT = 1e-12
"""By so much, relatively, a value is another one than was found."""
ESCALATIONS = 12
ENOUGH = 2 / 3
"""A cover of so many of the points that were asked for has about as many."""
FULL, FEW = 0.8, 2
"""A cover of so many of them leaves little doubt that there are more than were asked for, unless it lacks these few."""
FINER = 4
"""Finer covers are tried until there are as many points as asked for, so many times the programs were solved, or steps
are so much finer: there may be no more points."""
MISSES = 3
"""So many plans that break the limits of a region are taken for the solver's tolerance before they are a fault."""

Point = tuple[float, ...]
Limits = Mapping[int, float]


class Plans(Protocol):
    """Where the plans of a front come from."""

    def least(self, at: int, limits: Limits, start: Array | None = None, among: Array | None = None) -> Found:
        """Return the plan with the least of one objective, others held at or below values.

        Args:
            start: a plan to begin with. among: a mask of the columns that such plans may have, where that is known.
        """

    def values(self, x: Array) -> Point:
        """Return the objectives of a plan."""

    def below(self, at: int, limit: float) -> float:
        """Return the largest value that counts as less than a limit."""

    def coarsen(self, at: int, width: float) -> None:
        """Let values of an objective that differ by less than a width count as one."""

    @property
    def count(self) -> int:
        """How many objectives there are."""

    @property
    def discrete(self) -> bool:
        """Whether amounts are all whole, or given: the front has an end."""

    @property
    def solves(self) -> int:
        """How many programs were solved."""

    @property
    def careful(self) -> bool:
        """Whether several plans as good in the first objective are to be expected."""


@dataclass(eq=False)
class Kept:
    """A plan of the front: its columns, its values (what is minimised), and how it is known."""

    x: Array
    values: Point
    found: Found


@dataclass(eq=False)
class Regions:
    """The search for a front.

    Attributes:
        stopped: whether a limit was reached. parts: into how many steps a cover divides the range of an objective; a
            complete front when None. start: a plan to begin with. asked: how many points a cover shall have; a front of
            whole amounts that has no more is complete.
        steps: of a cover, by how much a plan may be worse than one that it stands for. open: regions in which
            something may be missing, because a limit was reached. room: by how much the first objective of a plan is
            above its bound at most. given_up: what the solver said where it found neither a plan nor that none is.
    """

    plans: Plans
    stopped: Callable[[], bool]
    parts: int | None = None
    start: Array | None = None
    asked: int | None = None
    steps: Array | None = None
    open: list[Point] = field(default_factory=list)
    room: float = 0.0
    given_up: list[str] = field(default_factory=list)
    _known: list[tuple[Point, Kept | None]] = field(default_factory=list)
    _floor: list[float] = field(default_factory=list)
    _starts: list[Array] = field(default_factory=list)
    _scale: Array = field(default_factory=lambda: np.zeros(0))
    _low: Array = field(default_factory=lambda: np.zeros(0))
    _high: Array = field(default_factory=lambda: np.zeros(0))

    # the search -------------------------------------------------------------------------------------------------------
    def run(self, refuse: Callable[[Found], None]) -> list[Kept]:
        """Return the plans of the front, the best of the first objective first.

        Args:
            refuse: raises the error for an objective that has no least value, or no plan.
        """
        count = self.plans.count
        everywhere = (math.inf,) * count
        lows = [self.plans.least(0, {}, self.start)]
        for at in range(1, count):
            if lows[0].x is None or lows[0].status != "optimal":
                break
            lows.append(self._sought(at, {}))
        for low in lows:
            if low.status == "unbounded" or (low.x is None and low is lows[0]):
                refuse(low)
        self._scale, self._low = np.zeros(count), np.full(count, math.inf)
        self._high = np.full(count, -math.inf)
        first = self._kept(lows[0])
        if any(low.status != "optimal" for low in lows):
            self.open = [everywhere]
            return [first]
        self._known = [(everywhere, first)]
        self._floor = [low.bound for low in lows]
        self._starts = [low.x for low in lows if low.x is not None]
        if self.parts is None:
            return self._searched([], None) or [first]
        self.steps = np.zeros(count)
        ends = [self._end(at, low) for at, low in enumerate(lows)]
        for end in ends:
            if end is not None:
                self._widen(end.values)
        self._known = [] if ends[0] is None else [(everywhere, ends[0])]
        kept = self._searched([end for end in ends if end is not None], None) or [first]
        if self.asked is None or self.open or not self.steps.any():
            return kept
        doubt = len(kept) < FULL * self.asked or self.asked - len(kept) <= FEW
        whole = self._completed(kept, self.asked) if doubt and self.plans.discrete else None
        return self._finer(kept, self.asked) if whole is None else whole

    def known(self, plans: Sequence[Kept]) -> list[Kept]:
        """Return a front of plans that are known: those that no other one beats, or so many points as are asked for."""
        for item in plans:
            self._scale = np.maximum(self._scale, np.abs(item.values)) if self._scale.size else np.abs(item.values)
        kept = sorted(self._settled(plans), key=lambda item: item.values)
        return kept if self.asked is None else self._thinned(kept, self.asked)

    def _completed(self, cover: list[Kept], asked: int) -> list[Kept] | None:
        """Return the complete front, or so many points of it; None where it has many more: that is soon found out."""
        steps, known = self.steps, self._known
        self.steps, self._known = None, []
        whole = self._searched(cover, asked if _enough(cover, asked) else 2 * asked)
        if whole is None or self.open:  # what was found before stands for all
            self.steps, self._known, self.open = steps, known, []
            return None
        return self._thinned(whole, asked)

    def _finer(self, kept: list[Kept], asked: int) -> list[Kept]:
        """Return a cover, of finer steps where it has much fewer points than asked for."""
        most, finest = FINER * self.plans.solves, FINER * ((self.parts or 1) + 1)
        while not _enough(kept, asked) and self.plans.solves < most and (self.parts or 1) < finest:
            steps, parts = self.steps, self.parts or 1
            more = (asked / len(kept)) ** (1 / (self.plans.count - 1))
            self.parts = min(finest, max(parts + 1, math.ceil(parts * more)))
            self.steps = np.zeros(self.plans.count)
            self._widen(kept[0].values)
            finer = self._searched(kept, None)
            if self.open:  # what was found before stands for all
                self.steps, self.open = steps, []
                break
            kept = finer or kept
        return kept

    def _thinned(self, kept: list[Kept], asked: int) -> list[Kept]:
        """Return so many points of a complete front, with the steps by which they stand for all."""
        if self.open or len(kept) <= asked:
            return kept
        few, self.steps = thinned(np.array([item.values for item in kept]), asked)
        return [kept[at] for at in few]

    def _searched(self, kept: list[Kept], most: int | None) -> list[Kept] | None:
        """Return the plans of the front, or of a cover of it; None where there are more than so many.

        Args:
            kept: plans of it that are known.
        """
        count, floor = self.plans.count, self._floor
        kept = list(kept)
        regions: list[Point] = [(math.inf,) * count]
        if self.steps is None:  # of the complete front: nothing is missing where one of it is better
            for item in kept:
                regions = split(regions, [], item.values)
        while regions:
            if most is not None and len(kept) > most and len(self._settled(kept)) > most:
                return None
            if self.stopped():
                self.open += regions
                break
            upper = regions.pop()
            if any(self._limit(at, upper[at]) < floor[at] - self._rounding(at, floor[at]) for at in range(1, count)):
                continue
            answered, plan = self._answered(upper)
            if not answered:
                settled, plan = self._asked(upper, self._starts)
                if not settled:
                    self.open.append(upper)
                    continue
                self._known.append((upper, plan))
            if plan is None or plan.values[0] >= upper[0] - self._rounding(0, upper[0]):
                continue
            if not any(plan is other for other in kept):
                kept.append(plan)
            self._widen(plan.values)
            corner = self._corner(plan.values)
            # nothing in the region is better in the first objective: what is left is better in another one
            fresh = [
                (*upper[:at], min(corner[at], self.plans.below(at, upper[at])), *upper[at + 1 :])
                for at in range(1, count)
            ]
            regions = split(regions, fresh, corner)
        return self._settled(kept) if kept else []

    def _end(self, at: int, low: Found) -> Kept | None:
        """Return the plan that is best in one objective, then in all others in their order."""
        assert low.value is not None
        others = [other for other in range(self.plans.count) if other != at]
        found = self._improved(low, {at: low.value}, {}, others)
        return None if found is None else self._kept(found)

    def _improved(self, found: Found, values: Limits, limits: Limits, order: Sequence[int]) -> Found | None:
        """Return the plan that is best in one objective after the other; None where a limit was reached.

        Args:
            found: the plan to begin with. values: what has to stay as it is. limits: of the objectives of `order`.
        """
        assert found.x is not None
        held, x, first = dict(values), found.x, found
        for at in order:
            rest = {key: limit for key, limit in limits.items() if key not in held and key != at}
            better = self._least(at, held, rest, x, found.near)
            if better.status == "infeasible":  # but for the plan at hand
                held[at] = self.plans.values(x)[at]
                continue
            if better.x is None or better.value is None or better.status != "optimal":
                return None
            x, held[at] = better.x, better.value
            first = better if at == 0 else first
        if 0 in values and self.plans.values(x)[0] > values[0] + DRIFT * abs(values[0]):
            # of amounts that are divisible others took what rounding left of the first: it has that back
            again = self._least(0, {at: held[at] for at in order}, {}, x, found.near)
            x = again.x if again.x is not None and again.status == "optimal" else x
        return replace(first, x=x)

    def _least(self, at: int, held: Limits, rest: Limits, x: Array, near: Array | None) -> Found:
        """Return the plan with the least of one objective, others as they are."""
        for wider in (1.0, 10.0, 100.0):  # the solver's tolerance may leave no plan between several limits
            kept = {key: self._kept_at(key, value, wider) for key, value in held.items()}
            better = self._sought(at, {**kept, **rest}, x, near)
            if better.status != "infeasible":
                break
        return better

    def _sought(self, at: int, limits: Limits, start: Array | None = None, among: Array | None = None) -> Found:
        """Return what `least` does; where the solver gives up, that nothing is known: other points are not lost."""
        try:
            return self.plans.least(at, limits, start, among)
        except SolverError as error:
            self.given_up.append(error.message)
            return Found("unknown", None, None, -math.inf, error.message, "")

    def _asked(self, upper: Point, starts: Sequence[Array]) -> tuple[bool, Kept | None]:
        """Return whether a region is settled, and its plan with the least first objective; None if it is empty."""
        inside = (x for x in starts if all(a < b for a, b in zip(self.plans.values(x), upper, strict=True)))
        begin = next(inside, None)
        for attempt in range(ESCALATIONS):
            limits = self._limits(upper)
            free = [at for at in limits if not self._step(at)]
            try:
                found = self._sought(0, limits, begin)
            except VerificationError:
                if not free or attempt >= MISSES:
                    raise
                close = free
            else:
                if found.status == "infeasible":
                    return True, None
                if found.x is None or found.status != "optimal":
                    return False, None
                values = self.plans.values(found.x)
                close = [at for at in free if values[at] >= upper[at] - 0.25 * (upper[at] - limits[at])]
                if not close:
                    return self._refined(found, limits)
            for at in close:  # the solver's tolerance let a plan through that is no better: a wider step, which is told
                self.plans.coarsen(at, 8 * (upper[at] - limits[at]))
        return False, None

    def _refined(self, found: Found, limits: Limits) -> tuple[bool, Kept | None]:
        """Return, of the plans as good in the first objective, one that no other beats in the rest."""
        assert found.x is not None
        assert found.value is not None
        if self.steps is None and not self.plans.careful:  # one that is beaten by a tie is found to be later
            return True, self._kept(found)
        better = self._improved(found, {0: found.value}, limits, range(1, self.plans.count))
        return (False, None) if better is None else (True, self._kept(better))

    def _answered(self, upper: Point) -> tuple[bool, Kept | None]:
        """Return whether an earlier, wider question already answers one, and the answer."""
        for wide, plan in self._known:
            if all(a >= b for a, b in zip(wide[1:], upper[1:], strict=True)):
                if plan is None:
                    return True, None
                if all(plan.values[at] <= self._limit(at, upper[at]) for at in range(1, len(upper))):
                    return True, plan
        return False, None

    # values -----------------------------------------------------------------------------------------------------------
    def _kept(self, found: Found) -> Kept:
        assert found.x is not None
        values = self.plans.values(found.x)
        if not all(math.isfinite(value) for value in values):
            raise VerificationError("a plan has no number for an objective",
                                    hint="this is a fault of this package; please report it")  # fmt: skip
        self._scale = np.maximum(self._scale, np.abs(values))
        if values[0] - found.bound > SAME * ROUNDING * found.size:
            self.room = max(self.room, values[0] - found.bound)
        return Kept(found.x, values, found)

    def _rounding(self, at: int, value: float) -> float:
        """Return by how much values of an objective may differ and be the same."""
        size = abs(value) if math.isfinite(value) else 0.0
        return SAME * max(size, ROUNDING * float(self._scale[at]))

    def _kept_at(self, at: int, value: float, wider: float) -> float:
        """Return the limit that lets an objective stay as it is; of zero it is zero, which needs no unit."""
        if wider == 1.0 and abs(value) <= SAME * float(self._scale[at]):
            return 0.0
        return value + wider * self._rounding(at, value)

    def _step(self, at: int) -> float:
        return 0.0 if self.steps is None else float(self.steps[at])

    def _limit(self, at: int, end: float) -> float:
        """Return what an objective is held at in a region: at its end in a cover, where the end itself is covered."""
        return end if self._step(at) else self.plans.below(at, end)

    def _limits(self, upper: Point) -> dict[int, float]:
        return {at: self._limit(at, upper[at]) for at in range(1, len(upper)) if math.isfinite(upper[at])}

    def _widen(self, values: Point) -> None:
        """Let the steps of a cover grow with the range of what was found."""
        self._low, self._high = np.minimum(self._low, values), np.maximum(self._high, values)
        if self.steps is not None and self.parts is not None:
            self.steps = np.maximum(self.steps, (self._high - self._low) / self.parts)
            self.steps[0] = 0.0

    def _corner(self, values: Point) -> Point:
        """Return the point beyond which a plan stands for all others: itself, or a step better in a cover."""
        return values if self.steps is None else tuple((np.array(values) - self.steps).tolist())

    def _settled(self, kept: Sequence[Kept]) -> list[Kept]:
        """Return the plans that no other beats, each value once."""
        costs = np.array([item.values for item in kept])
        for at, column in enumerate(costs.T):
            order = np.argsort(column)
            for one, two in pairwise(order):
                if column[two] - column[one] <= self._rounding(at, column[two]):
                    column[two] = column[one]
        return [kept[at] for at in undominated(costs)]


def _enough(kept: Sequence[Kept], asked: int) -> bool:
    return len(kept) >= ENOUGH * asked


def split(regions: Sequence[Point], fresh: Sequence[Point], corner: Point) -> list[Point]:
    """Return regions without what lies beyond a corner, the one with the least first end last.

    Args:
        fresh: regions that are without it already.
    """
    out: list[Point] = []
    made = list(fresh)
    for upper in regions:
        if all(a < b for a, b in zip(corner, upper, strict=True)):
            made += [(*upper[:at], corner[at], *upper[at + 1 :]) for at in range(len(upper))]
        else:
            out.append(upper)
    for at, one in enumerate(made):
        beside = [*out, *made[at + 1 :]]
        if not any(all(a <= b for a, b in zip(one, other, strict=True)) for other in beside):
            out.append(one)
    return sorted(out, key=lambda item: -item[0])
