"""Roots of a function of one number: Brent's method, brackets over unbounded intervals, search for all roots."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from mlsysim_opt.algebra.interval import EVERYTHING, Interval

Function = Callable[[float], float]
Study = Callable[[float, float], tuple[Interval | None, int | None, bool, Interval | None]]
LARGEST = 1e300
FINEST = 1e-14
"""Relative width at which a piece of the box is not divided further."""


def brent(function: Function, low: float, high: float, at_low: float, at_high: float) -> float:
    """Return a root of a continuous function between two points of opposite sign (Brent 1973, zeroin)."""
    a, b, c = low, high, low
    fa, fb, fc = at_low, at_high, at_low
    step = before = b - a
    for _ in range(400):
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        tolerance = 2.0 * math.ulp(b)
        middle = 0.5 * (c - b)
        if abs(middle) <= tolerance or fb == 0.0:
            return b
        if abs(before) < tolerance or abs(fa) <= abs(fb) or not math.isfinite(fa + fb + fc):
            step = before = middle
        else:
            ratio = fb / fa
            if a == c:
                p, q = 2.0 * middle * ratio, 1.0 - ratio
            else:
                q, r = fa / fc, fb / fc
                p = ratio * (2.0 * middle * q * (q - r) - (b - a) * (r - 1.0))
                q = (q - 1.0) * (r - 1.0) * (ratio - 1.0)
            p, q = (p, -q) if p > 0.0 else (-p, q)
            if 2.0 * p < min(3.0 * middle * q - abs(tolerance * q), abs(before * q)):
                before, step = step, p / q
            else:
                step = before = middle
        a, fa = b, fb
        b += step if abs(step) > tolerance else math.copysign(tolerance, middle)
        fb = function(b)
        if (fb > 0.0) == (fc > 0.0):
            c, fc = a, fa
            step = before = b - a
    return b


@dataclass(frozen=True)
class Bracket:
    """A root of a rising function, or None, with the points between which it was sought.

    Where the function has no value at one of them, the absence of a root is not shown.
    """

    root: float | None
    low: float
    high: float
    undefined: bool = False


def find_bracket(function: Function, low: float, high: float) -> Bracket:
    """Return the root of a function that never falls on [low, high]; the ends may be infinite or without a value."""
    start = _start(low, high)
    value = function(start)
    if value == 0.0:
        return Bracket(start, start, start)
    upwards = not value > 0.0
    near, at_near = start, value
    for far in _outwards(start, high if upwards else low, upwards):
        at_far = function(far)
        if math.isnan(at_far) or math.isnan(at_near):
            return Bracket(None, min(start, far), max(start, far), undefined=True)
        if at_far == 0.0:
            return Bracket(far, far, far)
        if (at_far > 0.0) != (at_near > 0.0):
            ends = sorted([(near, at_near), (far, at_far)])
            return Bracket(_root(function, ends), ends[0][0], ends[1][0])
        near, at_near = far, at_far
    return Bracket(None, min(start, near), max(start, near))


def _root(function: Function, ends: list[tuple[float, float]]) -> float:
    (low, at_low), (high, at_high) = ends
    # Brent's method wants ends that are finite and of one scale.
    while not (math.isfinite(at_low) and math.isfinite(at_high) and _one_scale(low, high)):
        middle = middle_of(low, high)
        if middle in (low, high):
            return middle
        value = function(middle)
        if value > 0.0:
            high, at_high = middle, value
        else:
            low, at_low = middle, value
    return brent(function, low, high, at_low, at_high)


def _one_scale(low: float, high: float) -> bool:
    return low * high > 0.0 and 1e-3 < low / high < 1e3


def _start(low: float, high: float) -> float:
    if math.isfinite(low) and math.isfinite(high):
        return middle_of(low, high) if low < high else low
    if low <= 1.0 <= high:
        return 1.0
    return low if math.isfinite(low) else high if math.isfinite(high) else 0.0


def _outwards(start: float, end: float, upwards: bool) -> list[float]:
    """Return points from `start` to `end`, farther and farther; zero is neared from its own side."""
    sign = 1.0 if upwards else -1.0
    points: list[float] = []
    at, factor = start, 2.0
    while len(points) < 80:
        if at * sign > 0.0:
            at = at * factor
        elif abs(at) > 1e-300 and (end * sign < 0.0 or end == 0.0 or math.isinf(end)):
            at = at / factor
        else:
            at = sign * 1e-300 if at == 0.0 else 0.0
        factor = min(factor * factor, 1e30)
        if abs(at) > LARGEST or at * sign >= end * sign:
            break
        points.append(at)
    points.append(end if math.isfinite(end) else sign * LARGEST)
    return points


def middle_of(low: float, high: float) -> float:
    """Return a point that divides an interval: the arithmetic mean, or the geometric one over many scales."""
    if low < 0.0 < high:
        return 0.0
    if low == 0.0:
        return min(1.0, high / 2) if high > 1e-6 else high / 1e6
    if high == 0.0:
        return -middle_of(0.0, -low)
    if high < 0.0:
        return -middle_of(-high, -low)
    if math.isinf(high):
        return max(1.0, min(low * 1e6, LARGEST))
    return math.sqrt(low) * math.sqrt(high) if high / low > 4.0 else low + (high - low) / 2


SAME = 1e-9
"""Relative difference from the goal at which it counts as attained."""
GRID = 200
"""Points of the grid on which sides of the goal are compared where a search had to stop."""
SAMPLES = (0.0, 1.0, 0.5, 0.13, 0.71, 0.34, 0.92)
"""Where a piece is looked at, from its low to its high end."""
CLOSE = 61
"""Values, of sizes in between, at which a piece is looked at before its bounds are done without."""
FAR = 10.0
"""By which factor a search has to reach beyond a root on both sides before it says that there are no others."""


@dataclass
class Found:
    """What a search found: roots with the interval of each, and whether there can be no others in a box."""

    roots: list[tuple[float, Interval]] = field(default_factory=list)
    complete: bool = True
    resolution: float = FINEST
    box: Interval = EVERYTHING


class Search:
    """The search for all roots, by dividing an interval until each piece has none, or exactly one.

    Args:
        function: the function.
        goal: the wanted value.
        study: for an interval, bounds of the function over it (None where it has no value there), whether it rises,
            falls, stays (None: not known), whether the values for which it is defined are known to be neighbours, and
            bounds of its slope (None: not known).
        residual: the relative difference from the goal at a point.
        plateau: for a root and an interval over which the function never falls or never rises, how far around the
            root the goal is attained.
    """

    def __init__(
        self,
        function: Function,
        goal: float,
        study: Study,
        residual: Function,
        plateau: Callable[[float, float, float], Interval],
    ) -> None:
        self.function, self.goal, self.study = function, goal, study
        self.residual, self.plateau = residual, plateau

    def run(self, low: float, high: float, effort: int) -> Found:
        """Return all roots in [low, high]; after `effort` pieces, what was found so far.

        Halves wait for all pieces of their parents' size, so that one place that bounds say little of (zero, infinity)
        does not take the effort of all others.
        """
        found = Found(box=Interval(low, high))
        waiting = deque([(low, high)])
        pieces = 0
        while waiting and pieces < effort:
            a, b = waiting.popleft()
            pieces += 1
            bounds, move, together, _ = self.study(a, b)
            if bounds is None or not bounds.contains(self.goal):
                continue
            if self._attained(a, b, bounds, found) or self._settled(a, b, move, together, found):
                continue
            middle = middle_of(a, b)
            if _width(a, b) <= FINEST or not a < middle < b:
                self._candidate(a, b, found)
                continue
            waiting += [(a, middle), (middle, b)]
        if waiting:
            found.resolution = max(_width(a, b) for a, b in waiting)
            found.roots += self._crossings(low, high)
            found.roots = [
                (x, self._around(x, low, high) if span.low == span.high else span) for x, span in found.roots
            ]
        found.roots = merged_roots(found.roots, self.residual)
        if waiting:
            self._limit(found, list(waiting))
        return found

    def _limit(self, found: Found, unsettled: list[tuple[float, float]]) -> None:
        """Say over which part of the interval the search is complete: that around a root, if any is large enough."""
        low, high = found.box
        places = [(low, low), *sorted(unsettled), (high, high)]
        parts = [Interval(before, after) for (_, before), (after, _) in pairwise(places) if before < after]
        for part in parts:
            inside = [span for _, span in found.roots if part.low <= span.low and span.high <= part.high]
            if inside and _wide(part, inside, found.box):
                found.box = part
                return
        found.complete = False

    def _around(self, x: float, low: float, high: float) -> Interval:
        """Return how far around a root the goal is attained, as far as steps that double show."""
        ends = []
        for end, sign in ((low, -1.0), (high, 1.0)):
            inside, step = x, (abs(x) or 1.0) * 1e-6
            while inside != end:
                following = max(min(x + sign * step, high), low)
                if self.residual(following) > SAME:
                    for _ in range(60):
                        middle = middle_of(*sorted((inside, following)))
                        inside, following = (middle, following) if self.residual(middle) <= SAME else (inside, middle)
                    break
                inside, step = following, step * 2
            ends.append(inside)
        return Interval(*ends)

    def _crossings(self, low: float, high: float) -> list[tuple[float, Interval]]:
        """Return roots between points of a grid at which the function lies on different sides of the goal."""
        start = min(max(low, 1e-30), high)
        ratio = (min(high, 1e30) / start) ** (1 / GRID) if start > 0.0 else 1.0
        points = [start * ratio**step for step in range(GRID + 1)]
        roots = []
        for a, b in pairwise(points):
            ends = self._defined(a, b)
            if ends is None:
                continue
            (a, at_a), (b, at_b) = ends
            attained = self.residual(a) <= SAME, self.residual(b) <= SAME
            if any(attained):
                inside, out = (a, b) if attained[0] else (b, a)
                while not all(attained) and (middle := middle_of(*sorted((inside, out)))) not in (inside, out):
                    inside, out = (middle, out) if self.residual(middle) <= SAME else (inside, middle)
                span = (a, b) if all(attained) else (a, inside) if attained[0] else (inside, b)
                roots.append((span[0], Interval(*span)))
            elif at_a * at_b < 0.0:
                x = self._crossing(a, b, at_a, at_b)
                if self.residual(x) <= SAME:
                    roots.append((x, Interval(x, x)))
        return roots

    def _defined(self, a: float, b: float) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Return the ends of an interval with the differences from the goal there, an end without a value moved to
        where values begin; None where neither has one."""
        gaps = {x: self.function(x) - self.goal for x in (a, b)}
        lacking = [x for x, gap in gaps.items() if not math.isfinite(gap)]
        if len(lacking) == 2:
            return None
        if lacking:
            out, inside = lacking[0], b if lacking[0] == a else a
            while (middle := middle_of(*sorted((out, inside)))) not in (out, inside):
                if math.isfinite(self.function(middle)):
                    inside = middle
                else:
                    out = middle
            a, b = (inside, b) if lacking[0] == a else (a, inside)
        return (a, self.function(a) - self.goal), (b, self.function(b) - self.goal)

    def _attained(self, a: float, b: float, bounds: Interval, found: Found) -> bool:
        """Deal with a piece over all of which the goal is attained: proven by its bounds, or, where terms cancel that
        bounds do not see, as far as samples show."""
        room = SAME * abs(self.goal)
        if not (self.goal - room <= bounds.low and bounds.high <= self.goal + room):
            if math.isinf(b) or any(self.residual(a + (b - a) * at) > SAME for at in SAMPLES):
                return False
            start = max(a, b * 1e-30)
            between = [start * (b / start) ** (step / CLOSE) for step in range(1, CLOSE)] if start > 0.0 else []
            if any(self.residual(x) > SAME for x in between):
                return False
        found.roots.append((a, Interval(a, b)))
        return True

    def _settled(self, a: float, b: float, move: int | None, together: bool, found: Found) -> bool:
        """Deal with a piece over which the function never falls, or never rises, and has values at both ends, or, where
        those for which it is defined are neighbours, at one."""
        if move is None:
            return False
        if together:
            a, b = max(a, -LARGEST), min(b, LARGEST)
        if not (math.isfinite(a) and math.isfinite(b)):
            return False
        at_a, at_b = self.function(a) - self.goal, self.function(b) - self.goal
        if not (math.isfinite(at_a) and math.isfinite(at_b)):
            ends = self._defined(a, b) if together else None
            if ends is None:
                return False
            (a, at_a), (b, at_b) = ends
        if at_a * at_b > 0.0:
            return True
        x = a if at_a == 0.0 else b if at_b == 0.0 else self._crossing(a, b, at_a, at_b)
        if self.residual(x) <= SAME:
            found.roots.append((x, self.plateau(x, a, b)))
        return True

    def _crossing(self, a: float, b: float, at_a: float, at_b: float) -> float:
        return brent(lambda item: self.function(item) - self.goal, a, b, at_a, at_b)

    def _candidate(self, a: float, b: float, found: Found) -> None:
        """Take a piece that cannot be divided further for a root if the goal is attained there."""
        best = min((a, b, middle_of(a, b)), key=self.residual)
        if self.residual(best) <= SAME:
            found.roots.append((best, Interval(a, b)))


def _wide(part: Interval, roots: list[Interval], box: Interval) -> bool:
    """Return whether a part of a box reaches far enough on both sides of the roots in it, or to the end of the box."""
    lowest, highest = min(span.low for span in roots), max(span.high for span in roots)
    down = part.low <= box.low or (lowest > 0.0 and part.low * FAR <= lowest)
    return down and (part.high >= box.high or (highest > 0.0 and part.high >= highest * FAR))


def _width(a: float, b: float) -> float:
    if math.isinf(a) or math.isinf(b):
        return math.inf
    scale = max(abs(a), abs(b))
    return (b - a) / scale if scale > 1e-290 else 0.0


def merged_roots(roots: list[tuple[float, Interval]], residual: Function) -> list[tuple[float, Interval]]:
    """Return roots with their intervals, pieces that touch joined: a double root, or a plateau, leaves several."""
    joined: list[tuple[float, Interval]] = []
    for x, span in sorted(roots):
        if joined:
            before, last = joined[-1]
            if span.low - last.high <= 1e-8 * max(abs(span.low), abs(last.high)):
                best = min((before, x), key=residual)
                joined[-1] = (best, Interval(last.low, max(last.high, span.high)))
                continue
        joined.append((x, span))
    return joined
