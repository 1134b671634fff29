"""Proofs that an expression rises or falls with one symbol over a box."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

from mlsysim_opt.algebra.bounds import Box, all_bounds
from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, topological
from mlsysim_opt.algebra.growth import growth
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InputError

PASSED_ON = ("add", "subtract", "multiply", "divide", "power", "negate", "absolute", "exp", "log")
"""Operations that have no value where one of their arguments has none."""

Direction = int | None
"""+1 never falls, -1 never rises, 0 does not depend, None not proven."""


def direction(root: Expression, unknown: Symbol, box: Box | None = None) -> Direction:
    """Return how `root` moves with `unknown` over `box`, everything else in the box held fixed.

    The proof composes what each operation says of its arguments; where that is not enough, the sign of the
    derivative's interval decides, provided that no jump can hide between two points.

    Args:
        root: the expression.
        unknown: the symbol that moves.
        box: intervals or values of the leaves by name; others range over all they can be.
    """
    prover = Prover(root, unknown)
    return prover.direction(box or {})


class Prover:
    """The same for one expression and many boxes.

    Args:
        root: the expression.
        unknown: the symbol that moves.
    """

    def __init__(self, root: Expression, unknown: Symbol) -> None:
        self.root, self.unknown = root, unknown
        self._order = topological([root])
        self._dependent = {id(unknown)}
        for node in self._order:
            if any(id(item) in self._dependent for item in node.args):
                self._dependent.add(id(node))
        self.depends = id(root) in self._dependent
        self._slope: Expression | None = None
        if self.depends and root.sort == "number" and not unknown.integer:
            with suppress(InputError):  # a slope that divides by a number that is zero: none that can be bounded
                (self._slope,) = gradient(root, [unknown])
        self._roots = [root] if self._slope is None else [root, self._slope]
        self._every = topological(self._roots)
        self.size = len(self._every)

    def direction(self, box: Box) -> Direction:
        """Return how the expression moves over `box`."""
        return self.study(box)[1]

    def piece(self, box: Box) -> tuple[Interval | None, Direction, bool, Interval | None]:
        """Return the bounds over `box` (None where it is proven to have no value there), how it moves, whether the
        values for which it is defined are proven to be neighbours (each operation gets what only rises or falls), and
        where no direction is proven the bounds of the slope, if no jump hides in between."""
        return self._piece(all_bounds(self._roots, box, self._every))

    def _piece(self, found: dict[int, Interval]) -> tuple[Interval | None, Direction, bool, Interval | None]:
        if any(node.atom.nowhere([found[id(item)] for item in node.args]) for node in self._needed):
            return None, None, False, None
        bounds, move, slope, composed = self._looked(found)
        return bounds, move, composed, slope

    @cached_property
    def _needed(self) -> list[Operation]:
        """The operations without whose values the whole has none."""
        needed = {id(self.root)}
        for node in reversed(self._order):
            if id(node) in needed and isinstance(node, Operation) and node.atom.name in PASSED_ON:
                needed.update(map(id, node.args))
        return [node for node in self._order if id(node) in needed and isinstance(node, Operation)]

    def steady(self, box: Box) -> bool:
        """Return whether it is proven that the expression does not jump over `box`, or that it only rises or falls."""
        found = all_bounds(self._roots, box, self._every)
        move, continuous = self._compose(found) if self.depends else (0, True)
        return continuous or move is not None

    def study(self, box: Box) -> tuple[Interval, Direction]:
        """Return the bounds of the expression over `box`, and how it moves there."""
        return self.look(box)[:2]

    def look(self, box: Box) -> tuple[Interval, Direction, Interval | None]:
        """Return the same, and where no direction is proven the bounds of the slope, if no jump hides in between."""
        return self._looked(all_bounds(self._roots, box, self._every))[:3]

    def _looked(self, found: dict[int, Interval]) -> tuple[Interval, Direction, Interval | None, bool]:
        bounds = found[id(self.root)]
        if not self.depends:
            return bounds, 0, None, False
        composed, continuous = self._compose(found)
        if composed is not None or not continuous or self._slope is None:
            return bounds, composed, None, composed is not None
        slope = found[id(self._slope)]
        if slope == (0.0, 0.0):
            return bounds, 0, None, False
        if slope.low >= 0.0:
            return bounds, 1, None, False
        return bounds, *((-1, None, False) if slope.high <= 0.0 else (None, slope, False))

    def growing(self, box: Box) -> tuple[Interval | None, Direction, bool, Interval | None]:
        """Return the same as `piece`, where it does not say how the expression moves by how fast it grows: then what
        is proven to stay may differ by rounding."""
        found = all_bounds(self._roots, box, self._every)
        bounds, move, together, slope = self._piece(found)
        if bounds is None or move is not None or not self.depends or found[id(self.unknown)].low < 0.0:
            return bounds, move, together, slope
        grown = growth(self._order, self.unknown, found, self._moves(found)[0])
        return bounds, 1 if grown.low >= 0.0 else -1 if grown.high <= 0.0 else None, together, slope

    def _compose(self, found: dict[int, Interval]) -> tuple[Direction, bool]:
        """Return the direction composed from the operations, and whether there is no jump in between."""
        moves, continuous = self._moves(found)
        return moves[id(self.root)], continuous

    def _moves(self, found: dict[int, Interval]) -> tuple[dict[int, Direction], bool]:
        """Return the directions of what depends on the symbol, and whether there is no jump in between."""
        moves: dict[int, Direction] = {id(self.unknown): 1}
        smooth: set[int] = {id(self.unknown)}
        for node in self._order:
            if id(node) not in self._dependent or not isinstance(node, Operation):
                continue
            intervals = [found[id(item)] for item in node.args]
            total: Direction = 0
            continuous = True
            for index, item in enumerate(node.args):
                if id(item) not in self._dependent:
                    continue
                step = node.atom.monotone(index, intervals)
                if step == 0:  # this argument is ignored over the whole box
                    continue
                continuous = continuous and id(item) in smooth and self._no_jump(node, index, intervals)
                move = moves[id(item)]
                if move == 0:
                    continue
                if step is None or move is None or total is None or total * step * move < 0:
                    total = None
                else:
                    total = step * move
            moves[id(node)] = total
            if continuous:
                smooth.add(id(node))
        return moves, id(self.root) in smooth

    @staticmethod
    def _no_jump(node: Operation, index: int, intervals: list[Interval]) -> bool:
        if node.atom.guards and index > 0:
            # A choice between two branches jumps with its condition, which is looked at as argument 0.
            return True
        return not node.atom.jumps(intervals)
