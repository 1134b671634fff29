"""Regimes: which branches of an expression are live, and how far one number moves before others are.

A switch is a node whose value has several forms: the larger of two, a choice by a condition, a rounded number. It is
live where the value of the root moves with it. All numbers are looked at together, over arrays of factors: first over
a grid that is dense near one, then between the two points where something changed, until no number is left between
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Operation, Symbol, topological

Array = np.ndarray[Any, Any]
Kind = Literal["branch", "undefined", "watched"]

BESIDE = 1e-10
"""Relative distance at which one side of a kink is told from the other."""
POINTS = 128
"""Factors of the first look, in each direction."""
BETWEEN = 33
"""Points of each closer look."""
DEAD = -1.0
"""Stands for what a switch says where it is not live."""


@dataclass(frozen=True)
class Edge:
    """Where something changes as one number is multiplied.

    Attributes:
        symbol: the number's name. factor: the first one beyond the change. inside: the last one before it.
        kind: another branch, no (finite) value any more or one again, or a change of something watched.
        node: the switch, or what is watched. before, after: what it says there: a truth, a whole number, a position.
    """

    symbol: str
    factor: float
    inside: float
    kind: Kind
    node: Expression
    before: float
    after: float

    @property
    def upwards(self) -> bool:
        """Whether it lies above the present value."""
        return self.factor > 1


class Regimes:
    """The switches of an expression.

    Args:
        root: the expression.
        watched: groups of truths and labels whose changes are looked for too, each group by itself.
    """

    def __init__(self, root: Expression, watched: Mapping[str, Sequence[Expression]] | None = None) -> None:
        self.root = root
        self._order = [node for node in reversed(topological([root])) if isinstance(node, Operation)]
        found = [(node, node.atom.switch(node)) for node in self._order]
        self.switches = [(node, switch) for node, switch in found if switch is not None]
        self.watched = {name: list(items) for name, items in (watched or {}).items()}
        every = [item for items in self.watched.values() for item in items]
        self._program = ArrayProgram([root, *(switch for _, switch in self.switches), *every])
        self.leaves = {leaf.name: leaf for leaf in self._program.leaves}

    # looking ----------------------------------------------------------------------------------------------------------
    def edges(
        self,
        values: Mapping[str, Any],
        symbols: Sequence[Symbol],
        reach: float = 1e3,
        beyond: Mapping[tuple[str, bool], float] | None = None,
    ) -> dict[tuple[str, bool], dict[str, Edge]]:
        """Return, for each symbol by name and direction (upwards or not), the first change of each group.

        The branches of the root are the group ``branch``. Changes are found to the last digit; of a regime that lies
        between two factors of the first look (0.05 percent apart near one, 11 percent far away) nothing is seen.

        Args:
            values: of all leaves, by name.
            symbols: the numbers to multiply; none beyond its own bounds.
            reach: the largest factor, and the inverse of the smallest.
            beyond: look at these symbols and directions alone, outwards from these factors.
        """
        known = [item for item in symbols if item.name in self.leaves and values[item.name]]
        start = beyond or {}
        rows = [(item, up) for item in known for up in (True, False) if beyond is None or (item.name, up) in beyond]
        if not rows:
            return {}
        factors = np.array([
            _factors(item, float(values[item.name]), up, reach, start.get((item.name, up), 1.0)) for item, up in rows
        ])  # fmt: skip
        names = [item.name for item, _ in rows]
        groups = self._codes(values, names, factors)
        found: dict[tuple[str, bool], dict[str, Edge]] = {(item.name, up): {} for item, up in rows}
        wanted = []
        for group, codes in groups.items():
            differs = (codes != codes[:, :, :1]).any(axis=0)
            for row in map(int, np.flatnonzero(differs.any(axis=1))):
                first = int(np.argmax(differs[row]))
                wanted.append((group, row, factors[row, first - 1], factors[row, first]))
        for (group, row, *_), edge in zip(wanted, self._closer(values, names, wanted), strict=True):
            if edge is not None:
                item, up = rows[row]
                found[item.name, up][group] = edge
        return found

    def kinks(self, values: Mapping[str, Any], symbols: Sequence[Symbol]) -> dict[str, Edge]:
        """Return, for each symbol at a kink by name, the switch that says one thing just below its value and another
        just above: a relative 1e-10 beside it."""
        names = [item.name for item in symbols if item.name in self.leaves and values[item.name]]
        if not names:
            return {}
        factors = np.tile([1 - BESIDE, 1 + BESIDE], (len(names), 1))
        codes = self._codes(values, names, factors)[BRANCH]
        found = (self._edge(BRANCH, name, 1 - BESIDE, 1 + BESIDE, codes[:, at]) for at, name in enumerate(names))
        return {edge.symbol: edge for edge in found if edge is not None}

    def _closer(
        self, values: Mapping[str, Any], names: Sequence[str], wanted: Sequence[tuple[str, int, float, float]]
    ) -> list[Edge | None]:
        """Return the change between each pair of factors, by looking ever closer at all of them together."""
        if not wanted:
            return []
        inside, beyond = (np.array([item[at] for item in wanted]) for at in (2, 3))
        mine = [names[row] for _, row, *_ in wanted]
        every = np.arange(len(wanted))
        share = np.linspace(0.0, 1.0, BETWEEN)
        for _ in range(12):
            factors = inside[:, None] + (beyond - inside)[:, None] * share
            factors[:, -1] = beyond
            groups = self._codes(values, mine, factors)
            first = np.empty(len(wanted), dtype=int)
            for at, (group, *_) in enumerate(wanted):
                codes = groups[group][:, at]
                first[at] = np.argmax((codes != codes[:, :1]).any(axis=0))
            inside, beyond = factors[every, first - 1], factors[every, first]
            if np.all(np.abs(beyond - inside) <= 2 * np.spacing(np.maximum(beyond, inside))):
                break
        groups = self._codes(values, mine, np.stack([inside, beyond], axis=1))
        return [
            self._edge(group, mine[at], float(inside[at]), float(beyond[at]), groups[group][:, at])
            for at, (group, *_) in enumerate(wanted)
        ]

    def _edge(self, group: str, name: str, inside: float, beyond: float, codes: Array) -> Edge | None:
        changed = np.flatnonzero(codes[:, 0] != codes[:, 1])
        if not len(changed):
            return None
        if group != BRANCH:
            first = int(changed[0])
            node = self.watched[group][first]
            return Edge(name, beyond, inside, "watched", node, float(codes[first, 0]), float(codes[first, 1]))
        if changed[-1] == len(self.switches):  # the last code says whether there is a value
            return Edge(name, beyond, inside, "undefined", self.root, float(codes[-1, 0]), float(codes[-1, 1]))
        # What was not live before, or is not after, follows from another switch; of the rest, the nearest to the root.
        causes = [at for at in changed if DEAD not in (codes[at, 0], codes[at, 1])]
        first = int(causes[0] if causes else changed[0])
        return Edge(
            name, beyond, inside, "branch", self.switches[first][0], float(codes[first, 0]), float(codes[first, 1])
        )

    # evaluating -------------------------------------------------------------------------------------------------------
    def _codes(self, values: Mapping[str, Any], names: Sequence[str], factors: Array) -> dict[str, Array]:
        """Return what each member of each group says, one row of factors for each name; last of the branches: whether
        the root has a value."""
        given: dict[str, Any] = dict(values)
        rows = np.array(names)
        for name in set(names):
            given[name] = np.where((rows == name)[:, None], values[name] * factors, values[name])
        out = self._program.run(
            {
                name: leaf.position[given[name]] if isinstance(leaf, Choice) else given[name]
                for name, leaf in self.leaves.items()
            },
            factors.shape,
        )
        count = len(self.switches)
        decided = out[1 : 1 + count]
        codes = np.empty((count + 1, *factors.shape))
        for at, (live, says) in enumerate(zip(self._live(decided), decided, strict=True)):
            codes[at] = np.where(live, np.nan_to_num(np.asarray(says, dtype=float), nan=-2.0), DEAD)
        codes[count] = np.isfinite(np.asarray(out[0], dtype=float))
        groups = {BRANCH: codes}
        rest = iter(out[1 + count :])
        for group, items in self.watched.items():
            groups[group] = np.array(
                [np.broadcast_to(np.asarray(next(rest), dtype=float), factors.shape) for _ in items]
            )
        return {group: codes for group, codes in groups.items() if len(codes)}

    def _live(self, decided: Sequence[Any]) -> list[Any]:
        """Return where each switch is live, in order."""
        says = {id(node): value for (node, _), value in zip(self.switches, decided, strict=True)}
        live: dict[int, Any] = {id(self.root): True}
        for node in self._order:
            mine = live.get(id(node), False)
            if mine is False:
                continue
            for index, item in enumerate(node.args):
                if not item.args or live.get(id(item)) is True:
                    continue
                reached = np.logical_and(mine, node.atom.passes(index, says.get(id(node))))
                before = live.get(id(item), False)
                reached = np.logical_or(before, reached) if before is not False else reached
                live[id(item)] = bool(reached) if np.ndim(reached) == 0 else reached
        return [live.get(id(node), False) for node, _ in self.switches]


BRANCH = "branch"
"""The group of the switches of the root."""


def _factors(symbol: Symbol, value: float, up: bool, reach: float, start: float) -> Array:
    """Return factors from beside `start` outwards, dense near it; none takes the number beyond its bounds."""
    limit = symbol.high / value if up else symbol.low / value
    end = min(reach, limit) if up else max(1 / reach, limit)
    first = start * (1 + BESIDE if up else 1 - BESIDE)
    if not (first < end if up else end < first):
        return np.full(POINTS, start)
    factors: Array = start * np.exp(math.log(end / start) * np.linspace(0.0, 1.0, POINTS) ** 2)
    factors[0] = first
    factors[-1] = end
    return factors


__all__ = ["BESIDE", "BRANCH", "Edge", "Regimes"]
