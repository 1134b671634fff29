"""Joining choices into tables of feasible tuples.

Choices linked by equalities and divisibility are mostly incompatible: their dense product is nearly empty. They are
joined first, the most constrained next, each constraint applied as soon as its choices are there. Output form: `Axes`
whose joined rows satisfy every structural constraint, and whose dense axes are the choices no constraint links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.algebra.bounds import all_bounds
from mlsysim_opt.algebra.evaluate import BLOCK, Axes, GridProgram, project
from mlsysim_opt.algebra.expression import Choice, Expression, Operation
from mlsysim_opt.algebra.interval import FALSE, Interval
from mlsysim_opt.algebra.nearly import all_raised

ROWS_AT_ONCE = 1 << 20
"""A join that would hold more rows than this is split along one of its choices."""
DENSE_AT_ONCE = BLOCK // 8
"""Dense axes hold at most this many combinations, so that a block of rows is not a single one."""

PAIRS_AT_ONCE = 16 * ROWS_AT_ONCE
"""The truths that say which values another choice may take beside each row, a byte each, are at most so many."""

Positions = np.ndarray[Any, Any]
Columns = dict[Choice, Positions]


@dataclass(frozen=True)
class Domain:
    """A box of choices: for each, the positions still allowed."""

    positions: Mapping[Choice, Positions]

    @staticmethod
    def of(choices: Sequence[Choice], fixed: Mapping[Choice, int] | None = None) -> Domain:
        """Return the box of all values, with some choices fixed."""
        fixed = fixed or {}
        return Domain(
            {
                choice: np.array([fixed[choice]], dtype=np.int32)
                if choice in fixed
                else np.arange(len(choice.values), dtype=np.int32)
                for choice in choices
            }
        )

    @property
    def size(self) -> int:
        """Number of combinations."""
        total = 1
        for positions in self.positions.values():
            total *= len(positions)
        return total

    def intervals(self, values: Mapping[str, float]) -> dict[str, Interval]:
        """Return the interval of every choice, and the value of every symbol, for interval arithmetic."""
        known = {name: Interval(value, value) for name, value in values.items()}
        for choice, positions in self.positions.items():
            held = [choice.values[index] for index in positions] if choice.numeric else positions
            known[choice.name] = Interval(float(min(held)), float(max(held)))
        return known

    def split(self, parts: int = 2) -> list[Domain]:
        """Return the box cut along the choice with the most values, in so many parts if it has as many values."""
        widest = max(self.positions, key=lambda choice: len(self.positions[choice]))
        values = self.positions[widest]
        pieces = np.array_split(values, min(max(2, parts), len(values)))
        return [Domain({**self.positions, widest: piece}) for piece in pieces]


class TooManyRows(Exception):
    """The join of a box has too many rows to be held at once; `times` as many."""

    def __init__(self, times: int) -> None:
        super().__init__(times)
        self.times = times


def join(domain: Domain, constraints: Sequence[Expression], values: Mapping[str, float]) -> Axes | None:
    """Return the space of a box under structural constraints, or None if nothing satisfies them.

    Raises:
        TooManyRows: the box should be split.
    """
    narrowed = dict(domain.positions)
    pending: list[Expression] = []
    for holds in constraints:
        linked = holds.choices & narrowed.keys()
        if not linked:
            if not _filter({}, holds, values, 1).all():
                return None
        elif len(linked) == 1:
            (choice,) = linked
            keep = _filter({choice: narrowed[choice]}, holds, values, len(narrowed[choice]))
            narrowed[choice] = narrowed[choice][keep]
            if not len(narrowed[choice]):
                return None
        else:
            pending.append(holds)
    linked_choices = [choice for choice in narrowed if any(choice in holds.choices for holds in pending)]
    columns, rows = _join(linked_choices, narrowed, pending, values)
    if rows == 0:
        return None
    free = [choice for choice in narrowed if choice not in columns]
    # Small axes stay dense. A choice with fewer values left than it has cannot be one; it joins the rows.
    dense: set[Choice] = set()
    width = 1
    for choice in sorted(free, key=lambda choice: len(choice.values)):
        whole = len(narrowed[choice]) == len(choice.values)
        if whole and width * len(choice.values) <= DENSE_AT_ONCE:
            dense.add(choice)
            width *= len(choice.values)
    for choice in free:
        if choice not in dense:
            columns, rows = _extended(columns, rows, choice, narrowed[choice], (), values)
    return Axes(columns, tuple(choice for choice in free if choice in dense), rows)


def _join(
    choices: list[Choice], narrowed: Mapping[Choice, Positions], pending: list[Expression], values: Mapping[str, float]
) -> tuple[Columns, int]:
    """Return the tuples of choices that satisfy the constraints, one choice after the other."""
    columns: Columns = {}
    rows = 1
    remaining, waiting = list(choices), list(pending)
    while remaining and rows:
        chosen = _most_ready(remaining, waiting, columns, narrowed)
        remaining = [choice for choice in remaining if choice is not chosen]
        known = {*columns, chosen}
        ready = [holds for holds in waiting if holds.choices <= known]
        waiting = [holds for holds in waiting if not holds.choices <= known]
        columns, rows = _extended(columns, rows, chosen, narrowed[chosen], ready, values)
    return columns, rows


def _most_ready(
    remaining: Sequence[Choice], waiting: Sequence[Expression], columns: Columns, narrowed: Mapping[Choice, Positions]
) -> Choice:
    """Return the choice to join next: the one that the constraints bind most, of these one with few values."""

    def readiness(choice: Choice) -> tuple[int, int, int, int]:
        have = {*columns, choice}
        mine = [holds for holds in waiting if choice in holds.choices]
        equalities = sum(1 for holds in mine if _is_equality(holds))
        ready = sum(1 for holds in mine if holds.choices <= have)
        touching = sum(1 for holds in mine if holds.choices & columns.keys())
        return -equalities, -ready, -touching, len(narrowed[choice])

    return min(remaining, key=readiness)


def _is_equality(holds: Expression) -> bool:
    """Equalities leave fewest tuples: their choices are joined first."""
    return isinstance(holds, Operation) and holds.atom.name == "equal"


def _extended(
    columns: Columns,
    rows: int,
    choice: Choice,
    positions: Positions,
    constraints: Sequence[Expression],
    values: Mapping[str, float],
) -> tuple[Columns, int]:
    """Return the rows with each value of another choice that the constraints allow beside them.

    A constraint is evaluated once for each distinct sub-tuple of the choices it links, not for each row.
    """
    for holds in constraints:
        sides = _sides(holds, choice)
        if sides is not None:
            columns, rows = _matched(columns, rows, choice, positions, sides, values)
            for other in constraints:
                if other is not holds:
                    keep = _filter(columns, other, values, rows)
                    columns, rows = {key: column[keep] for key, column in columns.items()}, int(np.count_nonzero(keep))
            return columns, rows
    count = len(positions)
    _check_size(rows * count, PAIRS_AT_ONCE)
    allowed: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    for holds in constraints:
        beside = [other for other in columns if other in holds.choices]
        found = project([columns[other] for other in beside], [len(other.values) for other in beside], rows)
        _check_size(found.count * count, ROWS_AT_ONCE)
        distinct = {other: columns[other][found.first] for other in beside}
        if count == len(choice.values):
            axes = Axes(distinct, (choice,), found.count)
        else:
            crossed = {other: np.repeat(column, count) for other, column in distinct.items()}
            axes = Axes({**crossed, choice: np.tile(positions, found.count)}, (), found.count * count)
        (table,) = GridProgram([holds], values, axes).tables()
        holding = np.asarray(table, dtype=bool).reshape(found.count, count)
        mine = holding[found.inverse]
        allowed = mine if allowed is None else allowed & mine
    if allowed is None:
        _check_size(rows * count, ROWS_AT_ONCE)
        crossed = {other: np.repeat(column, count) for other, column in columns.items()}
        return {**crossed, choice: np.tile(positions, rows)}, rows * count
    _check_size(int(np.count_nonzero(allowed)), ROWS_AT_ONCE)
    row, value = np.nonzero(allowed)
    return {**{other: column[row] for other, column in columns.items()}, choice: positions[value]}, len(row)


def _sides(holds: Expression, choice: Choice) -> tuple[Expression, Expression] | None:
    """Return the sides of an equality, that which depends on the choice alone last; None for any other constraint."""
    if not isinstance(holds, Operation) or holds.atom.name != "equal":
        return None
    for mine, other in (holds.args, reversed(holds.args)):
        if mine.choices == {choice} and choice not in other.choices:
            return other, mine
    return None


def _matched(
    columns: Columns,
    rows: int,
    choice: Choice,
    positions: Positions,
    sides: tuple[Expression, Expression],
    values: Mapping[str, float],
) -> tuple[Columns, int]:
    """Return the rows with each value of another choice whose side of an equality is that of the row."""
    beside = [other for other in columns if other in sides[0].choices]
    found = project([columns[other] for other in beside], [len(other.values) for other in beside], rows)
    distinct = {other: columns[other][found.first] for other in beside}
    (left,) = GridProgram(sides[:1], values, Axes(distinct, (), found.count)).tables()
    (right,) = GridProgram(sides[1:], values, Axes({choice: positions}, (), len(positions))).tables()
    order = np.argsort(right, kind="stable")
    first = np.searchsorted(right[order], -all_raised(-left), "left")
    last = np.searchsorted(right[order], all_raised(left), "right")
    times = np.where(left == left, last - first, 0)[found.inverse]  # what is undefined equals nothing
    _check_size(int(times.sum()), ROWS_AT_ONCE)
    row = np.repeat(np.arange(rows), times)
    place = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
    value = order[first[found.inverse][row] + place]
    return {**{other: column[row] for other, column in columns.items()}, choice: positions[value]}, len(row)


def _check_size(rows: int, most: int) -> None:
    if rows > most:
        raise TooManyRows(-(-rows // most))


def _filter(columns: Columns, holds: Expression, values: Mapping[str, float], rows: int) -> Any:
    """Return, for each row, whether the constraint holds there."""
    joined = {choice: column for choice, column in columns.items() if choice in holds.choices}
    program = GridProgram([holds], values, Axes(joined, (), rows if joined else 1))
    (table,) = program.tables()
    return np.broadcast_to(table.astype(bool), (rows,))


def spaces(
    domain: Domain,
    constraints: Sequence[Expression],
    values: Mapping[str, float],
    cut: Callable[[Domain], bool] = lambda box: False,
) -> Iterator[Axes]:
    """Yield the spaces that together hold every tuple of the box satisfying the structural constraints.

    Boxes whose join would be too large are split, so memory is bounded for any space.

    Args:
        cut: whether a box, before it is joined, can be left out.
    """
    waiting = [domain]
    while waiting:
        box = waiting.pop()
        if box.size == 0 or cut(box) or (box is not domain and _impossible(box, constraints, values)):
            continue
        try:
            axes = join(box, constraints, values)
        except TooManyRows as error:
            smaller = _supported(box, constraints, values)
            waiting.extend([smaller] if smaller.size < box.size else reversed(box.split(error.times)))
            continue
        if axes is not None:
            yield axes


def _supported(box: Domain, constraints: Sequence[Expression], values: Mapping[str, float]) -> Domain:
    """Return a box without the values that a constraint of two choices allows beside no value of the other."""
    positions = dict(box.positions)
    for holds in constraints:
        if len(holds.choices & positions.keys()) == 2:
            first, second = (choice for choice in positions if choice in holds.choices)
            with suppress(TooManyRows):
                columns = {first: positions[first]}
                pairs, _ = _extended(columns, len(positions[first]), second, positions[second], [holds], values)
                positions |= {choice: np.unique(column) for choice, column in pairs.items()}
    return Domain(positions)


def _impossible(box: Domain, constraints: Sequence[Expression], values: Mapping[str, float]) -> bool:
    """Return whether interval bounds prove that some constraint holds nowhere in a box."""
    limits = box.intervals(values)
    found = all_bounds(list(constraints), limits)
    return any(found[id(holds)] == FALSE for holds in constraints)
