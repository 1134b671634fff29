"""Where relations hold: the values of some numbers of a model, and the least demanding of them.

Everything is decided by the relations' own expressions: what is proven of their directions (`monotone`) and of their
shape in logarithms (`convex`), and exact evaluation at points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from mlsysim_opt.algebra.bounds import Box
from mlsysim_opt.algebra.convex import log_curvature
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, expression, symbols, topological
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.monotone import Direction, direction
from mlsysim_opt.algebra.roots import brent
from mlsysim_opt.errors import MlsysimError, NotInvertibleError
from mlsysim_opt.solvers.relations import Relation

Point = tuple[float, ...]
KNEES = 64
"""Places of a frontier, over a factor of a thousand, between which another relation may take over."""
FAR = 1e3
"""Gap of what has no value, or no limit: larger than the logarithm of any ratio of floats."""


@dataclass(frozen=True)
class Unknown:
    """A number that is sought, and the range it is sought in (base units, both ends above zero)."""

    leaf: Symbol
    low: float
    high: float

    @property
    def name(self) -> str:
        """Its path."""
        return self.leaf.name


def gap(left: float, right: float) -> float:
    """Return how far `left` is above `right`, as a logarithm where both are positive; at most 0 where it is not above.

    The sign is exact: that of the comparison of the two numbers.
    """
    if math.isnan(left) or math.isnan(right):
        return FAR
    if left > 0.0 and right > 0.0 and math.isfinite(left) and math.isfinite(right):
        size = math.log(left) - math.log(right)
    elif math.isinf(left) or math.isinf(right):
        size = FAR
    else:
        size = (left - right) / (abs(left) + abs(right) or 1.0)
    return max(abs(size), math.ulp(0.0)) if left > right else min(-abs(size), 0.0)


class Region:
    """The points at which relations hold.

    Args:
        relations: the inequalities. unknowns: what moves, in the order of the coordinates of a point.
        known: the value of every other leaf, by name.
    Attributes:
        moves: for each relation and unknown, how left minus right moves: +1 (never falls: more of it hurts), -1 (more
            of it helps), 0 (does not depend), None (not proven).
    """

    def __init__(self, relations: Sequence[Relation], unknowns: Sequence[Unknown], known: Mapping[str, Any]) -> None:
        self.relations, self.unknowns = tuple(relations), tuple(unknowns)
        self.known = {name: value for name, value in known.items() if name not in {item.name for item in unknowns}}
        numbers = {name: value for name, value in self.known.items() if isinstance(value, int | float)}
        self.sides = [(folded(item.left, numbers), folded(item.right, numbers)) for item in self.relations]
        self._program = ScalarProgram([side for pair in self.sides for side in pair])
        places = {item.name: at for at, item in enumerate(self.unknowns)}
        self._leaves = [
            (places.get(leaf.name), None if leaf.name in places else self.known[leaf.name])
            for leaf in self._program.leaves
        ]
        self.box: Box = {
            **{leaf.name: self.known[leaf.name] for leaf in self._program.leaves if leaf.name not in places},
            **{item.name: Interval(item.low, item.high) for item in self.unknowns},
        }
        self.moves: list[list[Direction]] = [
            [_move(left, right, item.leaf, self.box) for item in self.unknowns] for left, right in self.sides
        ]

    # evaluation -------------------------------------------------------------------------------------------------------
    def values(self, point: Sequence[float]) -> list[tuple[float, float]]:
        """Return both sides of each relation at a point."""
        raw = self._program.run([value if at is None else point[at] for at, value in self._leaves])
        return list(zip(raw[::2], raw[1::2], strict=True))

    def gaps(self, point: Sequence[float]) -> list[float]:
        """Return how far each relation is from holding; what holds has at most 0."""
        return [gap(left, right) for left, right in self.values(point)]

    def holds(self, point: Sequence[float]) -> bool:
        """Return whether every relation holds, as the model itself would compare."""
        return all(left <= right for left, right in self.values(point))

    def binding(self, point: Sequence[float], tolerance: float = 1e-9) -> tuple[int, ...]:
        """Return the relations that hold with no room at a point."""
        return tuple(at for at, item in enumerate(self.gaps(point)) if abs(item) <= tolerance)

    # directions -------------------------------------------------------------------------------------------------------
    @cached_property
    def unproven(self) -> list[tuple[int, int]]:
        """Relations and unknowns whose direction is not proven."""
        return [(j, i) for j, row in enumerate(self.moves) for i, move in enumerate(row) if move is None]

    @cached_property
    def differences(self) -> list[tuple[Expression, list[Expression]]]:
        """Left minus right of the relations whose directions are not all proven, each with its nodes in order."""
        found = [left - right for (left, right), row in zip(self.sides, self.moves, strict=True) if None in row]
        return [(node, topological([node])) for node in found]

    @cached_property
    def senses(self) -> list[int]:
        """For each unknown, -1 if more of it helps some relation and hurts none, +1 the other way round, else 0."""
        found = []
        for at in range(len(self.unknowns)):
            column = {row[at] for row in self.moves} - {0}
            found.append(column.pop() or 0 if len(column) == 1 else 0)
        return found

    @cached_property
    def aligned(self) -> bool:
        """Whether every unknown is proven to help all relations, or to hurt all."""
        return not self.unproven and all(self.senses)

    def wants_least(self, at: int) -> bool:
        """Return whether little of an unknown is the less demanding; where all relations suffer from it, much is."""
        return self.senses[at] != 1

    def hard(self, at: int) -> float:
        """Return the least demanding end of an unknown's range."""
        return self.unknowns[at].low if self.wants_least(at) else self.unknowns[at].high

    def easy(self, at: int) -> float:
        """Return the most demanding end of an unknown's range, at which an aligned region holds if anywhere."""
        return self.unknowns[at].high if self.wants_least(at) else self.unknowns[at].low

    @property
    def easiest(self) -> Point:
        """The corner at which an aligned region holds if it holds anywhere."""
        return tuple(self.easy(at) for at in range(len(self.unknowns)))

    @cached_property
    def log_convex(self) -> bool:
        """Whether every relation is proven to be a convex set in the logarithms of the unknowns."""
        leaves = [item.leaf for item in self.unknowns]
        for left, right in self.sides:
            above, below = log_curvature(left, leaves, self.box), log_curvature(right, leaves, self.box)
            if above is None or below is None or above < 0 or below > 0:
                return False
        return True

    # the least demanding value ----------------------------------------------------------------------------------------
    def least(self, point: Sequence[float], at: int) -> float | None:
        """Return the least demanding value of one unknown with which all relations hold; None if there is none.

        With proven directions it is exact: at the next float beyond, a relation is broken. Else all roots of all
        relations are tried.
        """
        trial = list(point)
        column = [row[at] for row in self.moves]
        hard, easy = self.hard(at), self.easy(at)
        helped = -1 if self.wants_least(at) else 1

        def worst(x: float, relations: Sequence[int]) -> float:
            trial[at] = x
            found = self.gaps(trial)
            return max((found[j] for j in relations), default=-FAR)

        every = [j for j, move in enumerate(column) if move != 0]
        if None in column:
            candidates = [hard, *self._roots(point, at, easy, hard), easy]
            return next((x for x in candidates if worst(x, every) <= 0.0), None)
        wanting = [j for j, move in enumerate(column) if move == helped]
        if worst(easy, wanting) > 0.0:
            return None
        x = border(lambda item: worst(item, wanting), hard, easy)
        return x if worst(x, every) <= 0.0 else None  # what suffers from more suffers least here

    def _roots(self, point: Sequence[float], at: int, easy: float, hard: float) -> list[float]:
        """Return where a relation starts or stops to hold along one unknown, the least demanding first; each on both
        sides of the border, since rounding decides which of them holds."""
        unknown = self.unknowns[at]
        rest = {**self.known, **{item.name: point[i] for i, item in enumerate(self.unknowns) if i != at}}
        found: list[float] = []
        for left, right in self.sides:
            if unknown.leaf not in symbols(left, right):
                continue
            try:
                box = (unknown.low, unknown.high)
                roots = invert(left / right, expression(1), unknown.leaf, values=rest, box=box, explain=False)
            except (NotInvertibleError, MlsysimError):
                continue
            found += [x * step for x in roots.values for step in (1 - 1e-13, 1.0, 1 + 1e-13, 1 - 1e-11, 1 + 1e-11)]
        return sorted((x for x in found if unknown.low <= x <= unknown.high), reverse=hard > easy)

    def lowered(self, point: Sequence[float]) -> Point:
        """Return a point of the frontier that asks for no more of any unknown: each in turn is made as little demanding
        as the others allow. In an aligned region nothing can be taken from it after that."""
        trial = list(point)
        for at in range(len(trial)):
            found = self.least(trial, at)
            if found is not None:
                trial[at] = found
        return tuple(trial)

    @cached_property
    def ideal(self) -> Point | None:
        """For each unknown, the least with which the relations hold when the others do all they can; None if they hold
        nowhere. No point of an aligned region is less demanding in any unknown."""
        found = [self.least(self.easiest, at) for at in range(len(self.unknowns))]
        return None if None in found else tuple(item for item in found if item is not None)

    def along(self, start: Sequence[float], steps: Sequence[float]) -> Point | None:
        """Return the first point that holds on a ray of an aligned region, lowered to the frontier.

        The ray goes from `start` towards what helps; `steps` are the shares of the unknowns, in logarithms.
        """
        signs = [1.0 if self.wants_least(at) else -1.0 for at in range(len(steps))]
        room = min(
            abs(math.log(self.easy(at) / x)) / step for at, (x, step) in enumerate(zip(start, steps, strict=True))
            if step > 0.0
        )  # fmt: skip

        def at_length(length: float) -> Point:
            return tuple(
                min(max(x * math.exp(sign * step * length), item.low), item.high)
                for x, step, sign, item in zip(start, steps, signs, self.unknowns, strict=True)
            )

        def worst(length: float) -> float:
            return max(self.gaps(at_length(length)))

        if worst(0.0) <= 0.0:
            return self.lowered(start)
        if worst(room) > 0.0:
            return None
        length = brent(worst, 0.0, room, worst(0.0), worst(room))
        while worst(length) > 0.0:  # the root itself may lie a float short of it
            length = min(room, length * (1 + 1e-15) + 1e-16)
        return self.lowered(at_length(length))

    # parts ------------------------------------------------------------------------------------------------------------
    def blocks(self) -> list[tuple[list[int], list[int]]]:
        """Return the unknowns that relations connect, with those relations: each group can be decided by itself."""
        groups: list[tuple[set[int], set[int]]] = []
        for j, row in enumerate(self.moves):
            mine, relations = {i for i, move in enumerate(row) if move != 0}, {j}
            apart = []
            for unknowns, others in groups:
                if unknowns & mine:
                    mine, relations = mine | unknowns, relations | others
                else:
                    apart.append((unknowns, others))
            groups = [*apart, (mine, relations)]
        return [(sorted(unknowns), sorted(relations)) for unknowns, relations in groups if unknowns]


def border(worst: Callable[[float], float], hard: float, easy: float) -> float:
    """Return the number nearest to `hard` at which `worst` is at most 0, where it never rises towards `easy`.

    Exact in floats: at the neighbour towards `hard`, `worst` is above 0.
    """
    at_hard = worst(hard)
    if at_hard <= 0.0:
        return hard
    low, high = min(hard, easy), max(hard, easy)
    toward = 1.0 if easy > hard else -1.0
    at_easy = min(worst(easy), -math.ulp(0.0))
    x = math.exp(brent(lambda z: worst(min(max(math.exp(z), low), high)), math.log(hard), math.log(easy), at_hard,
                       at_easy))  # fmt: skip
    fails, holds, width = hard, easy, 1e-14
    while width < 1.0:  # the logarithm's root is right to some 1e-14; the rest is bisection
        a, b = (min(max(x * (1 + side * toward * width), low), high) for side in (-1.0, 1.0))
        if worst(a) > 0.0 and worst(b) <= 0.0:
            fails, holds = a, b
            break
        width *= 32.0
    while True:
        middle = fails + (holds - fails) / 2
        if middle in (fails, holds):
            return holds
        if worst(middle) <= 0.0:
            holds = middle
        else:
            fails = middle


class Corner(NamedTuple):
    """A point of a frontier where one relation takes over from another.

    Before its first number, `before` decides what the second has to be; beyond it, `after` does.
    """

    point: Point
    before: int
    after: int


def corners(region: Region) -> list[Corner]:
    """Return the points of the frontier of an aligned region of two unknowns where another relation takes over.

    Between each two places that are looked at, at most one is found.
    """
    ideal = region.ideal
    if ideal is None:
        return []
    toward = 1.0 if region.wants_least(0) else -1.0

    def binding(x: float) -> tuple[int, float] | None:
        y = region.least((x, region.easy(1)), 1)
        if y is None:
            return None
        gaps = region.gaps((x, y))
        return max(range(len(gaps)), key=gaps.__getitem__), y

    shares = [0.0, *(10.0**power for power in range(-9, -2)), *(3 * (at + 1) / KNEES for at in range(KNEES))]
    places = [min(max(ideal[0] * 10 ** (toward * share), region.unknowns[0].low), region.unknowns[0].high)
              for share in shares]  # fmt: skip
    seen = [(x, binding(x)) for x in places]
    found: list[Corner] = []
    for (near, before), (far, after) in itertools.pairwise(seen):
        if before is None or after is None or before[0] == after[0]:
            continue
        y = after[1]
        while True:
            middle = near + (far - near) / 2
            if middle in (near, far):
                break
            here = binding(middle)
            if here is not None and here[0] == before[0]:
                near = middle
            else:
                far, y = middle, y if here is None else here[1]
        found.append(Corner(region.lowered((far, y)), before[0], after[0]))
    return found


def _move(left: Expression, right: Expression, leaf: Symbol, box: Box) -> Direction:
    """Return how left minus right moves: by its sides where they agree, else by the difference."""
    if leaf not in symbols(left, right):
        return 0
    above, below = direction(left, leaf, box), direction(right, leaf, box)
    if above is not None and below is not None and above * below <= 0:
        return above or -below
    return direction(left - right, leaf, box)


__all__ = ["Corner", "Point", "Region", "Unknown", "border", "corners", "gap"]
