"""The cheapest point at which relations hold, with a proof that no other is cheaper.

Where every relation is a convex set in logarithms, so is the question, and one point with multipliers bounds all others
(weak duality). Else boxes are divided, and those without a point that could be cheaper are left out.

Sources: Boyd and Vandenberghe 2004, 4.5 (geometric programs), 5.1 (bounds by duality), 11.3 (barrier method); Tuy 2000,
Monotonic optimization (boxes with monotone constraints).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.algebra.bounds import all_bounds
from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InputError, LimitReachedError
from mlsysim_opt.solvers.region import Point, Region, border

Vector = np.ndarray[Any, np.dtype[np.float64]]
PROVEN = 1e-9
"""Relative gap below which an answer is called optimal."""
ENOUGH = 1e-6
"""Relative gap at which boxes are divided no further."""
BOXES = 2000
"""Boxes that are looked at, at most."""
STEP = 1e-5
"""Step of the differences that second derivatives are taken by; only the way there depends on it, not the proof."""


@dataclass(frozen=True)
class Optimum:
    """A cheap point, and what no point can be cheaper than.

    Attributes:
        point: the values. cost: its cost. bound: a proven lower bound of all costs; minus infinity without proof.
        proof: how it is proven. prices: for each relation, what relaxing it by a factor of e would save at first
            (the multiplier of the logarithm of its sides), 0 where it does not bind.
    """

    point: Point
    cost: float
    bound: float
    proof: str
    prices: tuple[float, ...]

    @property
    def gap(self) -> float:
        """How much cheaper another point could be, as a share of the cost."""
        return max(0.0, (self.cost - self.bound) / self.cost) if math.isfinite(self.bound) else math.inf


def cheapest(region: Region, costs: Sequence[float]) -> Optimum | None:
    """Return the cheapest point of a region; None if it is proven to be empty.

    Args:
        region: the relations. costs: of one base unit of each unknown, above zero.
    Raises:
        LimitReachedError: no point was found, and it is not proven that there is none.
    """
    if region.aligned:
        if region.ideal is None:
            return None
        return _aligned(region, np.asarray(costs, dtype=float), region.ideal)
    found = _divided(region, np.asarray(costs, dtype=float), None)
    if found is None:
        return None
    prices = Slopes(region).prices(found.point, np.asarray(costs, dtype=float))
    return Optimum(found.point, found.cost, found.bound, found.proof, prices)


def _aligned(region: Region, costs: Vector, ideal: Point) -> Optimum:
    slopes = Slopes(region)
    if region.holds(ideal):  # each unknown by itself
        cost = float(costs @ ideal)
        return Optimum(ideal, cost, cost, "each number alone is the least", slopes.prices(ideal, costs))
    start = region.along(ideal, [1.0] * len(costs))
    assert start is not None  # the easiest corner holds
    best = Optimum(start, float(costs @ start), -math.inf, "", ())
    if slopes.known:  # where nothing is proven of the shape, a good point is found all the same
        best = _convex(region, costs, slopes, best)
    if best.gap > PROVEN:
        divided = _divided(region, costs, best)
        best = divided if divided is not None and divided.gap <= best.gap else best
    return Optimum(best.point, best.cost, best.bound, best.proof, slopes.prices(best.point, costs))


# first derivatives ----------------------------------------------------------------------------------------------------
class Slopes:
    """Gaps of relations and their derivatives, over the logarithms of the unknowns."""

    def __init__(self, region: Region) -> None:
        self.region = region
        leaves = [item.leaf for item in region.unknowns]
        self.known = True
        try:
            roots = [part for pair in region.sides for side in pair for part in (side, *gradient(side, leaves))]
        except InputError:
            self.known, roots = False, []
        self._program = ScalarProgram(roots)
        places = {item.name: at for at, item in enumerate(region.unknowns)}
        self._leaves = [(places.get(leaf.name), region.known.get(leaf.name)) for leaf in self._program.leaves]

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        """Return ln(left / right) of each relation, and its derivatives by the logarithms of the unknowns."""
        point = np.exp(z)
        raw = self._program.run([value if at is None else float(point[at]) for at, value in self._leaves])
        table = np.asarray(raw, dtype=float).reshape(len(self.region.relations), 2, 1 + len(z))
        value, slope = table[:, :, 0], table[:, :, 1:] * point
        with np.errstate(all="ignore"):
            logs, shares = np.log(value), slope / value[:, :, None]
        return logs[:, 0] - logs[:, 1], shares[:, 0] - shares[:, 1]

    def bends(self, z: Vector) -> Vector:
        """Return the second derivatives of each relation, by differences of the exact first ones."""
        size = len(z)
        made = np.empty((len(self.region.relations), size, size))
        for at in range(size):
            step = np.zeros(size)
            step[at] = STEP
            made[:, :, at] = (self.at(z + step)[1] - self.at(z - step)[1]) / (2 * STEP)
        return (made + np.swapaxes(made, 1, 2)) / 2

    def prices(self, point: Point, costs: Vector) -> tuple[float, ...]:
        """Return the multipliers of the relations that bind at a point, 0 for the others; none below zero."""
        count = len(self.region.relations)
        if not self.known:
            return (math.nan,) * count
        gaps, slopes = self.at(np.log(point))
        active = [at for at in range(count) if abs(gaps[at]) <= 1e-9]
        inside = [at for at, (x, item) in enumerate(zip(point, self.region.unknowns, strict=True))
                  if item.low < x < item.high]  # fmt: skip
        wanted = (costs * point)[inside]
        found = np.zeros(count)
        while active:
            solved = np.linalg.lstsq(-slopes[active][:, inside].T, wanted, rcond=None)[0]
            if (solved >= -1e-9 * np.sum(wanted)).all():
                found[active] = np.maximum(solved, 0.0)
                break
            active.pop(int(np.argmin(solved)))
        return tuple(float(item) for item in found)


# convex in logarithms -------------------------------------------------------------------------------------------------
def _convex(region: Region, costs: Vector, slopes: Slopes, start: Optimum) -> Optimum:
    """Return the optimum of a question that is convex in logarithms: a barrier method, Newton's method on the
    conditions of the optimum, and the bound that its multipliers prove."""
    low = np.log([item.low for item in region.unknowns])
    high = np.log([item.high for item in region.unknowns])
    z = np.log(start.point)
    z = z + 0.1 * np.minimum(high - z, 1.0)
    barrier = _Barrier(slopes, costs / start.cost, low, high)
    weight = 1.0
    if not barrier.inside(z):
        return start
    while weight < 1e10:
        z = barrier.centre(z, weight)
        weight *= 20.0
    gaps, _ = slopes.at(z)
    prices = start.cost / (weight / 20.0 * -gaps)
    best = start
    for candidate, multipliers in [(z, prices), *_newton(slopes, costs, z, prices, start.cost)]:
        point = _held(region, np.exp(candidate))
        if point is None:
            continue
        cost = float(costs @ point)
        bound = -math.inf
        if region.log_convex:
            bound = _bound(region, slopes, costs, candidate, multipliers, min(cost, best.cost))
        if cost < best.cost or bound > best.bound:
            cheaper = (point, cost) if cost < best.cost else (best.point, best.cost)
            best = Optimum(*cheaper, max(bound, best.bound), "convex in logarithms: bounded by the multipliers", ())
    return best


class _Barrier:
    """The cost with what keeps a point away from the borders."""

    def __init__(self, slopes: Slopes, costs: Vector, low: Vector, high: Vector) -> None:
        self.slopes, self.costs, self.low, self.high = slopes, costs, low, high

    def inside(self, z: Vector) -> bool:
        return bool((z > self.low).all() and (z < self.high).all() and (self.slopes.at(z)[0] < 0.0).all())

    def value(self, z: Vector, weight: float) -> float:
        if not ((z > self.low).all() and (z < self.high).all()):
            return math.inf
        gaps, _ = self.slopes.at(z)
        if not (gaps < 0.0).all():
            return math.inf
        borders = np.log(-gaps).sum() + np.log(z - self.low).sum() + np.log(self.high - z).sum()
        return float(weight * (self.costs @ np.exp(z)) - borders)

    def centre(self, z: Vector, weight: float) -> Vector:
        """Return the point where cost and borders balance, from a point inside."""
        for _ in range(40):
            gaps, slope = self.slopes.at(z)
            spent = weight * self.costs * np.exp(z)
            first = spent + (slope / -gaps[:, None]).sum(axis=0) - 1 / (z - self.low) + 1 / (self.high - z)
            second = np.diag(spent + 1 / (z - self.low) ** 2 + 1 / (self.high - z) ** 2)
            second = second + np.einsum("ji,jk,j->ik", slope, slope, 1 / gaps**2)
            second = second + np.einsum("jik,j->ik", self.slopes.bends(z), -1 / gaps)
            try:
                step = -np.linalg.solve(second, first)
            except np.linalg.LinAlgError:
                return z
            decrement = float(-(first @ step))
            if not decrement > 1e-10:
                return z
            length, here = 1.0, self.value(z, weight)
            while length > 1e-12 and not self.value(z + length * step, weight) <= here - 0.1 * length * decrement:
                length /= 2
            if length <= 1e-12:
                return z
            z = z + length * step
        return z


def _newton(slopes: Slopes, costs: Vector, z: Vector, prices: Vector, scale: float) -> list[tuple[Vector, Vector]]:
    """Return points and multipliers that meet the conditions of the optimum ever more exactly."""
    active = np.flatnonzero(prices > 1e-5 * scale)
    found: list[tuple[Vector, Vector]] = []
    if not active.size:
        return found
    size, multipliers = len(z), prices[active].copy()
    for _ in range(8):
        gaps, slope = slopes.at(z)
        spent, mine = costs * np.exp(z), slope[active]
        bend = np.diag(spent) + np.einsum("jik,j->ik", slopes.bends(z)[active], multipliers)
        matrix = np.block([[bend, mine.T], [mine, np.zeros((active.size, active.size))]])
        residual = np.concatenate([spent + mine.T @ multipliers, gaps[active]])
        step = np.linalg.lstsq(matrix, -residual, rcond=None)[0]
        if not np.isfinite(step).all() or np.abs(step[:size]).max() > 1.0:
            break
        z, multipliers = z + step[:size], multipliers + step[size:]
        every = np.zeros(len(gaps))
        every[active] = np.maximum(multipliers, 0.0)
        found.append((z, every))
    return found[-2:]


def _held(region: Region, point: Vector) -> Point | None:
    """Return a point of the frontier next to one that may miss a relation by rounding."""
    ease = 0.0
    while ease < 1e-3:
        near = tuple(
            min(max(float(x) * (1 + ease), item.low), item.high) for x, item in zip(point, region.unknowns, strict=True)
        )
        if region.holds(near):
            return region.lowered(near)
        ease = ease * 8 or 1e-16
    return None


def _bound(region: Region, slopes: Slopes, costs: Vector, z: Vector, prices: Vector, cost: float) -> float:
    """Return what no point can be cheaper than: a convex function is nowhere below its tangent.

    The tangent is that of the cost plus the multiplied relations; a cheaper point lies between the least that each
    unknown can be, and what all the money buys of it.
    """
    ideal = region.ideal
    assert ideal is not None
    gaps, slope = slopes.at(z)
    spent = costs * np.exp(z)
    tangent = spent + prices @ slope
    low = np.log(ideal)
    high = np.log(np.minimum([item.high for item in region.unknowns], cost / costs * (1 + 1e-12)))
    value = spent.sum() + prices @ gaps
    return float(value + np.where(tangent > 0, tangent * (low - z), tangent * (high - z)).sum())


# dividing boxes -------------------------------------------------------------------------------------------------------
def _divided(region: Region, costs: Vector, best: Optimum | None) -> Optimum | None:
    """Return the cheapest point found by dividing boxes, cheapest corner first; None if no box can hold a point.

    Raises:
        LimitReachedError: no point was found within the limit.
    """
    serial = itertools.count()
    low = np.asarray([item.low for item in region.unknowns])
    high = np.asarray([item.high for item in region.unknowns])
    if region.aligned and region.ideal is not None:
        low = np.asarray(region.ideal)
    waiting: list[tuple[float, int, Vector, Vector]] = [(float(costs @ low), next(serial), low, high)]
    solo = _solo(region)
    point = None if best is None else best.point
    upper = math.inf if best is None else best.cost
    bound, seen = math.inf, 0
    while waiting:
        bound, _, low, high = heapq.heappop(waiting)
        seen += 1
        if bound >= upper * (1 - ENOUGH) or seen > BOXES:
            break
        reduced = _reduced(region, solo, costs, low, high, upper)
        if reduced is None:
            bound = math.inf
            continue
        low, high = reduced
        for trial in _trials(region, low, high):
            cost = float(costs @ trial)
            if cost < upper:
                point, upper = trial, cost
        at = int(np.argmax(costs * (high - low)))
        middle = math.sqrt(low[at] * high[at])
        for side in (0, 1):
            a, b = low.copy(), high.copy()
            (b if side == 0 else a)[at] = middle
            heapq.heappush(waiting, (float(costs @ a), next(serial), a, b))
        bound = waiting[0][0]
    if point is None:
        if waiting or seen > BOXES:
            raise LimitReachedError(
                f"no values were found after {BOXES} boxes, and it is not proven that there are none",
                hint="narrow the ranges with box=...",
            )
        return None
    proof = f"{seen} boxes were divided; the rest can hold nothing cheaper than the bound"
    return Optimum(point, upper, min(bound, upper), proof, ())


def narrowed(region: Region) -> tuple[Vector, Vector] | None:
    """Return the smallest box that the proven directions of single relations leave of a region; None if nothing."""
    low = np.asarray([item.low for item in region.unknowns])
    high = np.asarray([item.high for item in region.unknowns])
    return _narrowed(region, _solo(region), low, high)


def _solo(region: Region) -> list[Region]:
    """Return the regions of those relations alone whose directions are all proven."""
    return [
        Region([item], region.unknowns, region.known)
        for item, moves in zip(region.relations, region.moves, strict=True)
        if None not in moves
    ]


def _narrowed(region: Region, solo: Sequence[Region], low: Vector, high: Vector) -> tuple[Vector, Vector] | None:
    """Return what single relations leave of a box: for each unknown, what is needed when the others do all they can."""
    low, high = low.copy(), high.copy()
    for one in solo:
        moves = one.moves[0]
        corner = [float(b if move == -1 else a) for a, b, move in zip(low, high, moves, strict=True)]
        if one.gaps(corner)[0] > 0.0:
            return None
        for at, move in enumerate(moves):
            needed = one.least(corner, at) if move else None
            if needed is not None and move == -1:
                low[at] = max(low[at], min(needed, high[at]))
            elif needed is not None:
                high[at] = min(high[at], max(needed, low[at]))
    return low, high


def _reduced(
    region: Region, solo: Sequence[Region], costs: Vector, low: Vector, high: Vector, upper: float
) -> tuple[Vector, Vector] | None:
    """Return what of a box can hold a cheaper point; None if nothing can."""
    if math.isfinite(upper):
        high = np.minimum(high, low + (upper - float(costs @ low)) / costs)
    if (high < low).any():
        return None
    left = _narrowed(region, solo, low, high)
    return None if left is None or _excluded(region, *left) else left


def _excluded(region: Region, low: Vector, high: Vector) -> bool:
    """Whether, by intervals, a relation whose directions are not proven holds nowhere in a box."""
    box: dict[str, Any] = dict(region.box)
    for item, a, b in zip(region.unknowns, low, high, strict=True):
        box[item.name] = Interval(float(a), float(b))
    for difference, order in region.differences:
        if all_bounds([difference], box, order)[id(difference)].low > 0.0:
            return True
    return False


def _trials(region: Region, low: Vector, high: Vector) -> list[Point]:
    """Return points of a box that hold, made cheaper one unknown after the other."""
    middle = [float(math.sqrt(a * b)) for a, b in zip(low, high, strict=True)]
    corner = [float(x) for x in high]
    point = next((trial for trial in (middle, corner) if region.holds(trial)), None)
    if point is None:
        return []
    if region.aligned:
        return [region.lowered(point)]
    for at, least in enumerate(low):

        def worst(x: float, at: int = at, point: list[float] = point) -> float:
            return max(region.gaps([*point[:at], x, *point[at + 1 :]]))

        point[at] = border(worst, float(least), point[at]) if least < point[at] else point[at]
    return [tuple(point)] if region.holds(point) else []
