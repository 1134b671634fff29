"""Tables of a plan: the tuples of each family, and coefficients over them.

Local physics becomes tables here: each coefficient is evaluated once, vectorised, a sub-expression once per distinct
tuple of the choices it depends on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlsysim_opt.algebra.evaluate import Axes, GridProgram, ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.errors import InputError, ScaleError
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.totals import Family
from mlsysim_opt.optimize.problem import Constraint
from mlsysim_opt.optimize.space import Domain, spaces

MOST = 20_000_000
"""Tuples of one family that are held at once: more need a formulation that generates them."""


@dataclass(eq=False)
class Columns:
    """The tuples of a family.

    Attributes:
        positions: for each choice, the position of its value in each tuple.
        count: how many tuples. raw: how many combinations there are, allowed or not.
        rejected: how many tuples each constraint that was asked for alone rejects, by name.
    """

    family: Family
    positions: dict[Choice, Array]
    count: int
    raw: int
    rejected: dict[str, int] = field(default_factory=dict)

    def evaluate(
        self, roots: Sequence[Expression], values: Mapping[str, float], dense: tuple[Choice, ...] = ()
    ) -> list[Array]:
        """Return each expression over the tuples (and over further axes), of shape (tuples, *axes)."""
        joined = dict(self.positions)
        return GridProgram(list(roots), values, Axes(joined, dense, self.count)).tables()

    def kept(self, mask: Array) -> Columns:
        """Return the tuples of a mask."""
        positions = {choice: column[mask] for choice, column in self.positions.items()}
        return Columns(self.family, positions, int(np.count_nonzero(mask)), self.raw, self.rejected)

    def code(self, choices: Sequence[Choice]) -> Array:
        """Return, for each tuple, one number that tells the values of some choices apart."""
        code = np.zeros(self.count, dtype=np.int64)
        for choice in choices:
            code = code * len(choice.values) + self.positions[choice]
        return code

    def at(self, index: int) -> dict[str, object]:
        """Return the values of one tuple by the names of its choices."""
        return {choice.name: choice.values[int(column[index])] for choice, column in self.positions.items()}


def columns_of(family: Family, local: Sequence[Constraint], values: Mapping[str, float]) -> Columns:
    """Return the tuples of a family that its constraints allow, in the order of its choices.

    Args:
        local: constraints on single tuples; those about other choices than the family's are not its own, those about
            none are about every family.
    Raises:
        ScaleError: there are too many tuples to be held.
    """
    if family.exists is not None:
        local = [*local, Constraint(f"there is such {family.name}", family.exists, structural=True)]
    mine = [item for item in local if item.holds.choices and item.holds.choices <= set(family.over)]
    raw = math.prod(len(choice.values) for choice in family.over)
    decided = [item for item in local if not item.holds.choices]  # of tables that say the same everywhere, too
    false = [item.name for item in decided if not ScalarProgram([item.holds]).run_named(values)[0]]
    if false:
        nothing = {choice: np.empty(0, dtype=np.int64) for choice in family.over}
        return Columns(family, nothing, 0, raw, {false[0]: raw} if len(false) == 1 else {})
    if not mine:
        if raw > MOST:
            raise ScaleError(f"{family.name} has {raw:,} tuples, {MOST:,} at most can be held", path=family.name)
        shape = tuple(len(choice.values) for choice in family.over)
        positions = np.unravel_index(np.arange(raw), shape) if shape else ()
        every = dict(zip(family.over, positions, strict=True))
        return Columns(family, every, raw, raw)
    joining = [item.holds for item in mine if item.structural]
    parts: list[dict[Choice, Array]] = []
    for axes in spaces(Domain.of(family.over), joining, values):
        parts.append(_flat(axes, family.over))
        if sum(len(part[family.over[0]]) for part in parts) > MOST:
            raise ScaleError(f"{family.name} has more than {MOST:,} tuples", path=family.name)
    merged = {
        choice: np.concatenate([part[choice] for part in parts]) if parts else np.empty(0, dtype=np.int64)
        for choice in family.over
    }
    found = Columns(family, merged, len(merged[family.over[0]]), raw)
    code = found.code(family.over)
    if np.any(np.diff(code) < 0):
        order = np.argsort(code)
        found.positions = {choice: column[order] for choice, column in found.positions.items()}
    asked = [item for item in mine if not item.structural]
    if not asked or not found.count:
        return found
    truths = [np.asarray(item, dtype=bool) for item in found.evaluate([item.holds for item in asked], values)]
    failing = np.sum([~item for item in truths], axis=0)
    rejected = {
        item.name: int(np.count_nonzero(~truth & (failing == 1))) for item, truth in zip(asked, truths, strict=True)
    }
    kept = found.kept(failing == 0)
    kept.rejected = rejected
    return kept


def _flat(axes: Axes, over: Sequence[Choice]) -> dict[Choice, Array]:
    width = axes.points // axes.rows
    places = np.unravel_index(np.arange(width), axes.dense_shape) if axes.dense else ()
    at = dict(zip(axes.dense, places, strict=True))
    return {
        choice: np.tile(at[choice], axes.rows) if choice in at else np.repeat(axes.joined[choice], width)
        for choice in over
    }


def over_product(
    roots: Sequence[Expression], values: Mapping[str, float], each: Sequence[Choice]
) -> tuple[list[Array], dict[Choice, Array]]:
    """Return expressions over all tuples of some choices, flat, and the positions of the choices there.

    Raises:
        InputError: an expression depends on another choice.
    """
    for root in roots:
        strangers = root.choices - set(each)
        if strangers:
            names = ", ".join(sorted(choice.name for choice in strangers))
            raise InputError(f"depends on {names}, over which there are no rows")
    shape = tuple(len(choice.values) for choice in each)
    count = math.prod(shape)
    positions = dict(zip(each, np.unravel_index(np.arange(count), shape), strict=True)) if each else {}
    tables = GridProgram(list(roots), values, Axes(positions, (), count)).tables()
    return tables, positions
