"""Between which values an expression lies over a box of some of its leaves, at each of many samples of others.

Where it is proven to rise or fall with every leaf of the box, whatever the samples are, two corners decide for all
samples at once. Elsewhere the box is divided, and the samples too, until the bounds meet values that are attained.
What is proven is proven of exact numbers: the values at corners are rounded like those of any evaluation.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.enclose import PARTS, TOLERANCE
from mlsysim_opt.algebra.evaluate import leaves
from mlsysim_opt.algebra.expression import Choice, Expression, Operation, Symbol
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.interval import Interval, multiply, subtract
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.algebra.tiles import Array


@dataclass(frozen=True)
class Envelope:
    """Between which values a number lies, sample by sample.

    Attributes:
        low, high: no value lies outside; infinite where nothing is proven, NaN where there is no value at all.
        least, greatest: the smallest and the largest value found.
        corners: whether corners alone decided.
        parts: parts of box and samples that were looked at.
    """

    low: Array
    high: Array
    least: Array
    greatest: Array
    corners: bool
    parts: int


def envelope(
    root: Expression,
    values: Mapping[str, Any],
    box: Mapping[str, Interval],
    columns: Mapping[str, Array],
    count: int,
    parts: int = PARTS,
) -> Envelope:
    """Return between which values a number lies over a box, at each sample.

    Args:
        root: a number. box: the intervals of symbols, by name. columns: the samples of other symbols, by name, each
            `count` long. values: of all other leaves, by name.
        parts: how many parts are looked at for each side.
    """
    down, up = (_Descent(node, values, box, columns, count) for node in (root, -root))
    low, least = down.run(parts)
    high, greatest = up.run(parts)
    corners = down.corners and up.corners
    return Envelope(low, 0.0 - high, least, 0.0 - greatest, corners, down.seen + up.seen)


def truth_envelope(
    root: Expression,
    values: Mapping[str, Any],
    box: Mapping[str, Interval],
    columns: Mapping[str, Array],
    count: int,
    parts: int = PARTS,
) -> tuple[Array, Array]:
    """Return at which samples a truth holds everywhere in a box, and at which it is not excluded that it holds
    somewhere; arguments as for `envelope`. Both are exact where one comparison decides that is settled by corners."""

    def of(node: Expression) -> tuple[Array, Array]:
        if not any(leaf.name in box and not box[leaf.name].is_point for leaf in leaves([node])):
            once = _Descent(where(node, 1, 0), values, box, columns, count).run(1)[0] == 1.0
            return once, once
        name = node.atom.name if isinstance(node, Operation) else ""
        if name in ("and", "or"):
            both = np.logical_and if name == "and" else np.logical_or
            (always, maybe), (more, other) = (of(item) for item in node.args)
            return both(always, more), both(maybe, other)
        if name == "not":
            always, maybe = of(node.args[0])
            return ~maybe, ~always
        if name in ("less", "less_equal") and node.args[0].sort == "number":
            strict = name == "less"
            gap = node.args[0] - node.args[1]
            low = _Descent(gap, values, box, columns, count, stop=(0.0, strict)).run(parts)[0]
            high = 0.0 - _Descent(-gap, values, box, columns, count, stop=(0.0, not strict)).run(parts)[0]
            return (high < 0.0, low < 0.0) if strict else (high <= 0.0, low <= 0.0)
        as_number = envelope(where(node, 1, 0), values, box, columns, count, parts)
        return as_number.low == 1.0, as_number.high == 1.0

    return of(root)


def label_truth(root: Expression, label: Any) -> Expression:
    """Return the truth that a label is this one; of the largest of several, as comparisons of the numbers."""
    if not isinstance(root, Operation) or root.atom.name != "argmax_label":
        truth: Expression = root == label
        return truth
    place = root.param.index(label)
    mine = root.args[place]
    held = [mine > item if at < place else mine >= item for at, item in enumerate(root.args) if at != place]
    whole: Expression = mine <= mine
    for at, item in enumerate(held):
        whole = item if at == 0 else whole & item
    return whole


@dataclass(order=True)
class _Part:
    """A part of the box, at some of the samples."""

    rank: float
    order: int
    box: dict[str, Interval] = field(compare=False)
    rows: Array = field(compare=False)
    bound: Array = field(compare=False)


class _Descent:
    """The search for the least value of one expression over a box, at each sample.

    Args:
        stop: a value that decides, where only the side of it counts, and whether that value itself counts as above.
    """

    def __init__(
        self,
        root: Expression,
        values: Mapping[str, Any],
        box: Mapping[str, Interval],
        columns: Mapping[str, Array],
        count: int,
        stop: tuple[float, bool] | None = None,
    ) -> None:
        wide = {name: item for name, item in box.items() if not item.is_point}
        points = {name: item.low for name, item in box.items() if item.is_point}
        known = {name: item for name, item in {**values, **points}.items() if name not in {*wide, *columns}}
        self.small = folded(root, known)
        self.program = ArrayProgram([self.small])
        found = {leaf.name: leaf for leaf in self.program.leaves}
        self.unknowns = {name: leaf for name, leaf in found.items() if isinstance(leaf, Symbol) and name in wide}
        self.box = {name: wide[name] for name in self.unknowns}
        self.columns = {name: columns[name] for name in found if name in columns}
        self.spans = {name: _span(column) for name, column in self.columns.items()}
        choices = [leaf for leaf in found.values() if isinstance(leaf, Choice)]
        self.choices = {leaf.name: known[leaf.name] for leaf in choices}
        self.fixed = {
            leaf.name: leaf.position[known[leaf.name]] if isinstance(leaf, Choice) else known[leaf.name]
            for leaf in self.program.leaves
            if leaf.name not in self.unknowns and leaf.name not in self.columns
        }
        self.provers = {name: Prover(self.small, leaf) for name, leaf in self.unknowns.items()}
        self.count, self.stop = count, stop
        self.least = np.full(count, np.nan)
        self.corners = True
        self.seen = 0

    def run(self, parts: int) -> tuple[Array, Array]:
        """Return a bound below all values and the least value found, for each sample."""
        order = itertools.count()
        low = np.full(self.count, np.inf)
        every = np.arange(self.count)
        waiting = [_Part(0.0, next(order), dict(self.box), every, np.full(self.count, -np.inf))]
        while waiting:
            part = heapq.heappop(waiting)
            narrowed, bound = self._look(part)
            self.seen += 1
            bound = np.maximum(bound, part.bound)
            open_ = ~self._met(part.rows, bound) if self.seen < parts else np.zeros(len(bound), dtype=bool)
            shut = part.rows[~open_]
            low[shut] = np.minimum(low[shut], bound[~open_])
            if not open_.any():
                continue
            self.corners = False
            rows, bound = part.rows[open_], bound[open_]
            for box, inside in self._halves(narrowed, rows):
                rank = -float(np.sum(np.minimum(_apart(self.least[rows[inside]], bound[inside]), 1.0)))
                heapq.heappush(waiting, _Part(rank, next(order), box, rows[inside], bound[inside]))
        low = np.fmin(low, self.least)
        return np.where(np.isposinf(low) & np.isnan(self.least), np.nan, low), self.least

    def _met(self, rows: Array, bound: Array) -> Array:
        """Return at which samples nothing in a part can be better than what was found."""
        least = self.least[rows]
        met = (bound == least) | (bound == np.inf) | (_apart(least, bound) <= TOLERANCE)
        if self.stop is not None:
            value, above = self.stop
            met |= (bound >= value) if above else (bound > value)
            met |= (least < value) if above else (least <= value)
        return np.asarray(met)

    def _look(self, part: _Part) -> tuple[dict[str, Interval], Array]:
        """Return a part without what is proven not to matter, and a bound below all values in it for each sample."""
        box, rows = dict(part.box), part.rows
        single = all(item.is_point for item in box.values())
        spans = {name: _span(column[rows]) for name, column in self.columns.items()}
        slopes: dict[str, Interval | None] = {}
        for name, prover in self.provers.items():
            if box[name].is_point:
                continue
            _, move, slopes[name] = prover.look({**self.choices, **spans, **box})
            if move is not None:
                end = box[name].high if move < 0 else box[name].low
                box[name] = Interval(end, end)
        centre = {name: self._middle(name, item) for name, item in box.items()}
        value = self._value(centre, rows)
        self.least[rows] = np.fmin(self.least[rows], value)
        if all(item.is_point for item in box.values()):  # where a corner has no value, the rest may have one
            return part.box, np.where(np.isnan(value), np.inf if single else -np.inf, value)
        plain = bounds(self.small, {**self.choices, **spans, **box}).low
        drop = self._drop(centre, box, slopes)
        if drop is None:
            return box, np.full(len(rows), plain)
        return box, np.fmax(plain, value + drop)  # a value that is undefined bounds nothing

    def _drop(
        self, centre: Mapping[str, float], box: Mapping[str, Interval], slopes: Mapping[str, Interval | None]
    ) -> float | None:
        """Return how far below the value at the centre others are at most, by slopes; None where that is unknown."""
        low = 0.0
        for name, item in box.items():
            if item.is_point:
                continue
            slope = slopes[name]
            if slope is None:
                return None
            low += multiply(slope, subtract(item, Interval(centre[name], centre[name]))).low
        return low if low == low and low > -np.inf else None

    def _value(self, point: Mapping[str, float], rows: Array) -> Array:
        chosen: dict[str, Any] = {name: column[rows] for name, column in self.columns.items()}
        if len(rows) == 1:  # an axis of one is no axis: its values are numbers
            chosen = {name: float(column[0]) for name, column in chosen.items()}
        (raw,) = self.program.run({**self.fixed, **chosen, **point}, [len(rows)])
        return np.broadcast_to(np.asarray(raw, dtype=float), (len(rows),))

    def _middle(self, name: str, item: Interval) -> float:
        if self.unknowns[name].integer:
            return float((item.low + item.high) // 2)
        return item.low + (item.high - item.low) / 2

    def _halves(self, box: dict[str, Interval], rows: Array) -> Sequence[tuple[dict[str, Interval], Array]]:
        """Return a part in two, cut where it is widest of what it was: in the box, or between the samples."""
        every = np.ones(len(rows), dtype=bool)
        shares = {name: (item.high - item.low) / (self.box[name].high - self.box[name].low)
                  for name, item in box.items() if not item.is_point}  # fmt: skip
        spread: dict[str, float] = {}
        for name, column in self.columns.items():
            low, high = _span(column[rows])
            if high > low:
                spread[name] = (high - low) / (self.spans[name].high - self.spans[name].low)
        name = max(shares, key=shares.__getitem__)
        widest = max(spread, key=spread.__getitem__, default=None)
        if widest is not None and spread[widest] > shares[name]:
            taken = self.columns[widest][rows]
            low, high = _span(taken)
            lower = taken < low + (high - low) / 2
            lower = lower if lower.any() else taken <= low
            return [(dict(box), lower), (dict(box), ~lower)]
        item, middle = box[name], self._middle(name, box[name])
        upper = middle + 1 if self.unknowns[name].integer else middle
        return [({**box, name: Interval(item.low, middle)}, every), ({**box, name: Interval(upper, item.high)}, every)]


def _span(column: Array) -> Interval:
    return Interval(float(np.min(column)), float(np.max(column)))


def _apart(least: Array, bound: Array) -> Array:
    """Return how far a bound is below a value that was found, as a share; infinite where one of them is."""
    with np.errstate(all="ignore"):
        share = (least - bound) / np.maximum(np.abs(least), np.abs(bound))
    share = np.where(least == bound, 0.0, share)
    return np.where(np.isnan(share), np.inf, share)


__all__ = ["Envelope", "envelope", "label_truth", "truth_envelope"]
