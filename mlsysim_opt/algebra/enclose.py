"""Between which values an expression lies over a box: guaranteed, and as tight as the effort allows.

Interval arithmetic alone is wide where a symbol stands on several paths. Where the expression is proven to rise or
fall with a symbol, only the corner counts; the rest of the box is divided, the part with the least bound first
(branch and bound), until the bound meets a value that is attained.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlsysim_opt.algebra.bounds import Box, all_bounds, bounds
from mlsysim_opt.algebra.evaluate import ScalarProgram, leaves
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.interval import EITHER, Interval, multiply, outward, subtract
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.errors import InputError

TOLERANCE = 1e-6
"""Relative difference between a bound and an attained value at which the search ends."""
PARTS = 400
"""Parts of the box looked at for each side, if not told otherwise."""


@dataclass(frozen=True)
class Enclosure:
    """Between which values an expression lies over a box.

    Attributes:
        low, high: no value lies outside; infinite where nothing is proven.
        least, greatest: the smallest and the largest value found; NaN where none is defined.
        at_least, at_greatest: the symbols of the box at these.
        corners: whether the expression is proven to rise or fall with every symbol, so that both ends are attained.
        parts: parts of the box that were looked at.
    """

    low: float
    high: float
    least: float
    greatest: float
    at_least: Mapping[str, float]
    at_greatest: Mapping[str, float]
    corners: bool
    parts: int

    @property
    def excess(self) -> float:
        """How much wider it is than what was found, as a share of the larger end; 0 where both ends are attained."""
        width, scale = self.high - self.low, max(abs(self.low), abs(self.high))
        if not math.isfinite(width) or math.isnan(self.least):
            return math.inf
        missing = max(width - (self.greatest - self.least), 0.0)
        return 0.0 if missing <= 2 * TOLERANCE * scale else missing / scale


def enclose(root: Expression, values: Mapping[str, Any], box: Mapping[str, Interval], parts: int = PARTS) -> Enclosure:
    """Return between which values a number lies over a box of some of its symbols.

    Args:
        root: a number. values: of its other leaves, by name. box: the intervals of symbols, by name.
        parts: how many parts of the box are looked at for each side.
    """
    inside = {name: item for name, item in box.items() if not item.is_point}
    known = {**values, **{name: item.low for name, item in box.items() if item.is_point}}
    down = _Descent(root, known, inside)
    up = _Descent(-root, known, inside)
    low, least, at_least, seen = down.run(parts)
    high, greatest, at_greatest, more = up.run(parts)
    corners = down.corner and up.corner
    return Enclosure(low, 0.0 - high, least + 0.0, 0.0 - greatest, at_least, at_greatest, corners, seen + more)


@dataclass(order=True)
class _Part:
    bound: float
    order: int
    box: dict[str, Interval] = field(compare=False)


class _Descent:
    """The search for the least value of one expression over a box."""

    def __init__(self, root: Expression, values: Mapping[str, Any], box: Mapping[str, Interval]) -> None:
        needed = {leaf.name: leaf for leaf in leaves([root])}
        self.root = root
        self.fixed = {name: _bound(needed[name], values[name]) for name in needed if name not in box}
        small = folded(root, {name: value for name, value in values.items() if name not in box})
        found = {leaf.name: leaf for leaf in leaves([small]) if isinstance(leaf, Symbol) and leaf.name in box}
        self.unknowns = found
        self.box = {name: box[name] for name in found}
        self.small = small
        self.choices = {name: value for name, value in self.fixed.items() if isinstance(needed[name], Choice)}
        self.provers = {name: Prover(small, leaf) for name, leaf in found.items()}
        self.program = ScalarProgram([small])
        self.raw = {leaf.name: values[leaf.name] for leaf in self.program.leaves if leaf.name not in found}
        self.corner = False
        self.best = math.nan
        self.where: dict[str, float] = {}

    def run(self, parts: int) -> tuple[float, float, dict[str, float], int]:
        """Return a bound below all values, the least value found, where, and how many parts were looked at."""
        count = itertools.count()
        self.best = math.nan
        first = self._look(dict(self.box))
        self.corner = all(item.is_point for item in first[1].values())
        waiting = [_Part(first[0], next(count), first[1])]
        seen = 1
        while True:
            part = waiting[0]
            if seen >= parts or self._met(part.bound) or all(item.is_point for item in part.box.values()):
                break
            heapq.heappop(waiting)
            for half in self._halves(part.box):
                bound, narrowed = self._look(half)
                seen += 1
                heapq.heappush(waiting, _Part(max(bound, part.bound), next(count), narrowed))
        return waiting[0].bound, self.best, self.where, seen

    def _met(self, bound: float) -> bool:
        return bool(self.best - bound <= TOLERANCE * max(abs(self.best), abs(bound)))

    def _look(self, box: dict[str, Interval]) -> tuple[float, dict[str, Interval]]:
        """Return a bound below all values in a part, and the part without what is proven not to matter."""
        slopes: dict[str, Interval | None] = {}
        for name, prover in self.provers.items():
            if box[name].is_point:
                continue
            _, move, slopes[name] = prover.look({**self.choices, **box})
            if move is not None:
                end = box[name].high if move < 0 else box[name].low
                box[name] = Interval(end, end)
        if all(item.is_point for item in box.values()):
            point = {name: item.low for name, item in box.items()}
            self._try(point)
            return self._exactly(point), box
        centre = {name: self._middle(name, item) for name, item in box.items()}
        self._try(centre)
        plain = bounds(self.small, {**self.choices, **box}).low
        return max(plain, self._from_centre(centre, box, slopes)), box

    def _from_centre(
        self, centre: Mapping[str, float], box: Mapping[str, Interval], slopes: Mapping[str, Interval | None]
    ) -> float:
        """Return a bound below by the mean value theorem: the value at the centre and the slopes around it. It is the
        better one where a symbol stands on several paths and the part is small."""
        low = bounds(self.small, {**self.choices, **centre}).low
        for name, item in box.items():
            if item.is_point:
                continue
            slope = slopes[name]
            if slope is None:
                return -math.inf
            apart = subtract(item, Interval(centre[name], centre[name]))
            step = multiply(slope, apart).low
            low = outward(low + step, low + step).low
        return low if low == low else -math.inf

    def _middle(self, name: str, item: Interval) -> float:
        if self.unknowns[name].integer:
            return float((item.low + item.high) // 2)
        return item.low + (item.high - item.low) / 2

    def _try(self, point: dict[str, float]) -> None:
        """Keep a value that is attained, if it is the least so far."""
        (value,) = self.program.run_named({**self.raw, **point})
        if value == value and not value >= self.best:
            self.best, self.where = float(value), point

    def _exactly(self, point: Mapping[str, float]) -> float:
        """Return a bound below the value at a point: outward-rounded, and once more by what rounding came to, because
        between two points that differ by rounding alone nothing is proven."""
        low, high = all_bounds([self.root], {**self.fixed, **point})[id(self.root)]
        if not math.isfinite(low) or not math.isfinite(high):
            return low
        return outward(low - (high - low), high).low

    def _halves(self, box: Mapping[str, Interval]) -> Sequence[dict[str, Interval]]:
        """Return a part in two, cut where it is widest of what it was."""

        def share(name: str) -> float:
            return (box[name].high - box[name].low) / (self.box[name].high - self.box[name].low)

        name = max(box, key=share)
        item, middle = box[name], self._middle(name, box[name])
        if self.unknowns[name].integer:
            cut = (Interval(item.low, middle), Interval(middle + 1, item.high))
        else:
            cut = (Interval(item.low, middle), Interval(middle, item.high))
        return [{**box, name: half} for half in cut]


def _bound(leaf: Any, value: Any) -> Any:
    return value if isinstance(leaf, Choice) else Interval(float(value), float(value))


def truth(
    root: Expression, values: Mapping[str, Any], box: Mapping[str, Interval], parts: int = PARTS
) -> tuple[bool | None, bool]:
    """Return whether a comparison holds everywhere in a box (True), nowhere (False), or neither is so (None), and
    whether that is proven: an unproven None has only one of both among the points that were looked at."""
    small = folded(root, {name: value for name, value in values.items() if name not in box})
    program = ScalarProgram([small])
    found = {leaf.name: leaf for leaf in program.leaves if isinstance(leaf, Symbol) and leaf.name in box}
    raw = {leaf.name: values[leaf.name] for leaf in program.leaves if leaf.name not in found}
    provers = [Prover(side, leaf) for side in _difference(small) for leaf in found.values()]
    seen: set[bool] = set()
    waiting: list[dict[str, Interval]] = [{name: box[name] for name in found}]
    looked = 0
    decided: set[bool] = set()
    while waiting and looked < parts and len(seen) < 2:
        part = waiting.pop(0)
        looked += 1
        for ends in itertools.islice(itertools.product(*part.values()), 64):
            (value,) = program.run_named({**raw, **dict(zip(part, ends, strict=True))})
            if value == value:
                seen.add(bool(value))
        result = bounds(small, {**raw, **part})
        if result == EITHER:
            result = _corners(small, provers, raw, part)
        if result != EITHER:
            decided.add(bool(result.low))
            continue
        wide = [name for name, item in part.items() if not item.is_point]
        if not wide:
            continue  # rounding alone leaves it open
        name = max(wide, key=lambda key: (part[key].high - part[key].low) / (box[key].high - box[key].low))
        item = part[name]
        middle = item.low + (item.high - item.low) / 2
        if found[name].integer:
            middle = float(math.floor(middle))
        upper = middle + 1 if found[name].integer else middle
        waiting += [{**part, name: Interval(item.low, middle)}, {**part, name: Interval(upper, item.high)}]
    if len(seen) == 2:
        return None, True
    if not waiting and len(decided) == 1 and decided == (seen or decided):
        return decided.pop(), True
    return None, False


def _difference(node: Expression) -> list[Expression]:
    """Return, for an inequality, the difference of its sides, whose corners decide it; else nothing."""
    name = getattr(getattr(node, "atom", None), "name", "")
    if name not in ("less", "less_equal") or node.args[0].sort != "number":
        return []
    with suppress(InputError):
        return [node.args[0] - node.args[1]]
    return []


def _corners(
    node: Expression, provers: Sequence[Prover], raw: Mapping[str, Any], part: Mapping[str, Interval]
) -> Interval:
    """Return the truth of an inequality over a part by the sign of the difference at its extreme corners."""
    if not provers:
        return EITHER
    high: dict[str, Interval] = dict(part)
    low: dict[str, Interval] = dict(part)
    for prover in provers:
        name = prover.unknown.name
        move = prover.direction({**raw, **part})
        if move is None:
            return EITHER
        item = part[name]
        up, down = (item.high, item.low) if move > 0 else (item.low, item.high)
        high[name], low[name] = Interval(up, up), Interval(down, down)
    most: Box = {**raw, **high}
    least: Box = {**raw, **low}
    first, second = bounds(node, most), bounds(node, least)
    return first if first == second else EITHER


__all__ = ["PARTS", "Enclosure", "enclose", "truth"]
