"""How far each constraint of a result is from being violated, and what makes a violated one hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, constant, symbols
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.invert_whole import invert_integer
from mlsysim_opt.errors import InputError, NotInvertibleError
from mlsysim_opt.solvers.point import Point, measured, plain
from mlsysim_opt.units import NONE, show

REACH = 1e6
"""A number is not asked to become more than so many times as large, or as small."""
BARELY = 1e-12
"""Relative distance by which a limit is kept, so that the last digit does not decide."""
COME_LAST = ("model.", "numerics.", "calibration.", "draft_model.")
"""Leaves of what is run and of what hardware reaches of its peaks: they come after those that are bought or chosen."""


@dataclass(frozen=True)
class Margin:
    """A constraint of a result.

    Attributes:
        name: the constraint. holds: whether it does.
        slack: the larger side minus the smaller, negative where it is violated; None where it is no inequality.
        relative: the slack over the larger side.
    """

    name: str
    holds: bool
    slack: Any = None
    relative: float | None = None
    text: str = ""
    _plain: dict[str, Any] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "constraint": self.name, "holds": self.holds, "slack": self._plain, "relative_slack": self.relative,
        }  # fmt: skip


@dataclass(frozen=True)
class WayOut:
    """A change of one number by which a violated constraint holds, everything else staying.

    Attributes:
        constraint, number: their names. value, needed: what the number is, and what it has to be.
        factor: needed over value. whole: whether the number is counted.
    """

    constraint: str
    number: str
    value: Any
    needed: Any
    factor: float
    whole: bool
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"constraint": self.constraint, "number": self.number, "factor": self.factor, "change": self.text}

    def __str__(self) -> str:
        return self.text


def margins(point: Point) -> dict[str, Margin]:
    """Return each named constraint with its slack, in the order of the model."""
    return {name: _margin(name, holds, point.named) for name, holds in point.traced.result.constraints.items()}


def _sides(holds: Expression, named: Mapping[str, Any]) -> tuple[Expression, Expression] | None:
    """Return the smaller and the larger side of the inequality that decides a constraint here; None where none does.

    Of several that must all hold it is one that does not; of alternatives, the one that could.
    """
    if not isinstance(holds, Operation):
        return None
    if holds.atom.name in ("less_equal", "less"):
        return holds.args[0], holds.args[1]
    if holds.atom.name not in ("and", "or"):
        return None
    wanted = holds.atom.name == "or"
    truths = ScalarProgram(list(holds.args)).run_named(named)
    deciding = [item for item, truth in zip(holds.args, truths, strict=True) if bool(truth) is wanted]
    found = [sides for item in deciding or holds.args if (sides := _sides(item, named)) is not None]
    return found[0] if len(found) == 1 or (found and not wanted) else None


def _margin(name: str, holds: Expression, named: Mapping[str, Any]) -> Margin:
    sides = _sides(holds, named)
    if sides is None:
        return Margin(name, bool(ScalarProgram([holds]).run_named(named)[0]))
    ok, small, large = ScalarProgram([holds, *sides]).run_named(named)
    of = sides[0].dimension
    slack = large - small
    if not math.isfinite(slack):
        return Margin(name, bool(ok))
    relative = slack / abs(large) if large else None
    return Margin(name, bool(ok), measured(slack, of), relative, show(slack, of), plain(slack, of))


def ways_out(point: Point, name: str) -> list[WayOut]:
    """Return the single numbers whose change makes a violated inequality hold, by the inverse of the constraint.

    Numbers of hardware and of the question come first, each kind with the smallest change first. What is returned has
    been tried: with the number needed, the constraint holds.
    """
    holds = point.traced.result.constraints[name]
    sides = _sides(holds, point.named)
    if sides is None:
        return []
    whole = {item.name for item in point.model.inputs}
    found: list[WayOut] = []
    for leaf in symbols(holds):
        now = point.named[leaf.name]
        if not now or (leaf.integer and leaf.name not in whole):
            continue
        needed = _whole_needed(sides, leaf, point.named) if leaf.integer else _needed(sides, leaf, point.named)
        if needed is None or not 1 / REACH < needed / now < REACH:
            continue
        if not ScalarProgram([holds]).run_named({**point.named, leaf.name: needed})[0]:
            continue
        found.append(_way_out(name, leaf, now, needed))
    return sorted(found, key=lambda item: (item.number.startswith(COME_LAST), abs(math.log(item.factor))))


def _needed(sides: tuple[Expression, Expression], leaf: Symbol, named: Mapping[str, Any]) -> float | None:
    """Return the value of a continuous number at which both sides are equal, a last digit towards where it holds."""
    small, large = sides
    inside = [any(item is leaf for item in symbols(side)) for side in sides]
    if not any(inside):
        return None
    values = {name: value for name, value in named.items() if name != leaf.name}
    try:
        if all(inside):
            root, target = small / large, constant(1, NONE)
        else:
            root, other = (small, large) if inside[0] else (large, small)
            target = constant(float(ScalarProgram([other]).run_named(named)[0]), other.dimension)
        found = invert(root, target, leaf, values=values, near=named[leaf.name], explain=False)
    except (InputError, NotInvertibleError):
        return None
    now = named[leaf.name]
    best = min(found.values, key=lambda item: abs(math.log(item / now)) if item / now > 0 else math.inf)
    beyond = best * (1 + math.copysign(BARELY, best - now))
    return beyond if leaf.low <= beyond <= leaf.high else None


def _whole_needed(sides: tuple[Expression, Expression], leaf: Symbol, named: Mapping[str, Any]) -> float | None:
    """Return the count nearest to the present one for which an inequality holds."""
    values = {name: value for name, value in named.items() if name != leaf.name}
    now = int(named[leaf.name])
    try:
        found = invert_integer(
            sides[0] <= sides[1], leaf, values=values, box=(max(leaf.low, 1), min(leaf.high, now * 1000))
        )
    except (InputError, NotInvertibleError):
        return None
    return float(found.value)


def _way_out(name: str, leaf: Symbol, now: float, needed: float) -> WayOut:
    if leaf.integer:
        side = "at most" if needed < now else "at least"
        text = f"{leaf.name} {side} {needed:.0f} instead of {now:.0f}"
        return WayOut(name, leaf.name, int(now), int(needed), needed / now, True, text)
    text = f"{leaf.name} {show(needed, leaf.dimension)} instead of {show(now, leaf.dimension)} ({needed / now:.4g}x)"
    of = leaf.dimension
    return WayOut(name, leaf.name, measured(now, of), measured(needed, of), needed / now, False, text)


__all__ = ["Margin", "WayOut", "margins", "ways_out"]
