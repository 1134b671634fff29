"""Points of a frontier: in which directions they are sought, and which of those found are shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from mlsysim_opt.solvers.region import Point, Region, Unknown

WIDEST = 1e3
"""Places that are tried lie within this factor of what is proven to be needed, where that is known."""


def rays(count: int, points: int) -> list[tuple[float, ...]]:
    """Return directions into the positive quadrant, about evenly spread."""
    if count == 2:
        angles = [math.pi / 2 * (at + 0.5) / points for at in range(points)]
        return [(math.cos(angle), math.sin(angle)) for angle in angles]
    parts = 1
    while math.comb(parts + count - 1, count - 1) < points:
        parts += 1
    found = []
    for bars in itertools.combinations(range(parts + count - 1), count - 1):
        cuts = (-1, *bars, parts + count - 1)
        found.append(tuple(b - a - 1 + 1 / count for a, b in itertools.pairwise(cuts)))
    return found


def places(unknown: Unknown, low: float, high: float, count: int) -> list[float]:
    """Return values of an unknown that are tried: near what is proven to be needed, else over its whole range."""
    if low > unknown.low:
        high = min(high, low * WIDEST)
    elif high < unknown.high:
        low = max(low, high / WIDEST)
    return [low * (high / low) ** (at / (count - 1)) for at in range(count)]


def evenly(region: Region) -> list[float]:
    """Return costs with which the middles of the ranges of all unknowns cost the same."""
    return [1 / math.sqrt(item.low * item.high) for item in region.unknowns]


def spread(points: list[Point], signs: Sequence[float], count: int) -> list[Point]:
    """Return at most so many of some points, in directions as different as can be from what none goes below."""
    if len(points) <= count:
        return points
    logs = [[sign * math.log(x) for x, sign in zip(point, signs, strict=True)] for point in points]
    least = [min(column) for column in zip(*logs, strict=True)]
    steps = [[x - low for x, low in zip(row, least, strict=True)] for row in logs]

    def nearness(ray: Sequence[float], at: int) -> float:
        along: float = sum(a * b for a, b in zip(ray, steps[at], strict=True))
        return along / (math.hypot(*steps[at]) or 1.0)

    chosen = {max(range(len(points)), key=lambda at, ray=ray: nearness(ray, at)) for ray in rays(len(signs), count)}  # type: ignore[misc]
    return [points[at] for at in sorted(chosen)]


def distinct(points: Iterable[Point]) -> list[Point]:
    """Return points in order, of those that differ by rounding only one."""
    found: list[Point] = []
    for point in sorted(points):
        if not found or any(abs(a - b) > 1e-9 * abs(b) for a, b in zip(point, found[-1], strict=True)):
            found.append(point)
    return found


def undominated(points: Sequence[Point], signs: Sequence[float]) -> list[Point]:
    """Return the points than which no other asks for less or as much of everything; signs turn unknowns round."""

    def below(a: Point, b: Point) -> bool:
        return a != b and all(s * x <= s * y for s, x, y in zip(signs, a, b, strict=True))

    return [point for point in points if not any(below(other, point) for other in points)]
