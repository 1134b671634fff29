"""What fronts of designs and of plans are written with: units, the constraints that hold a point, what is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.dominance import covering
from mlsysim_opt.optimize.front import Array, Front, FrontObjective
from mlsysim_opt.optimize.problem import Metric, Objective
from mlsysim_opt.optimize.search import TIE
from mlsysim_opt.units import NONE, Unit, parse_unit, readable_unit

MOST = 4
"""Objectives that a front may have."""


def checked(objectives: Sequence[Objective], points: int | None) -> None:
    """Refuse what makes no front.

    Raises:
        InputError: there are fewer than two objectives or more than four, one stands twice, or `points` is no count.
    """
    if not 2 <= len(objectives) <= MOST:
        raise InputError(f"a front has two to {MOST} objectives, got {len(objectives)}", path="objectives",
                         hint="optimize() takes one, and several in order of importance")  # fmt: skip
    costs = [item.cost for item in objectives]
    for at, item in enumerate(objectives):
        if any(item.cost is other for other in costs[:at]):
            raise InputError(f"{item.name} is given twice", path="objectives")
    if points is not None and (isinstance(points, bool) or not isinstance(points, int) or points < 2):
        raise InputError(f"{points!r} is not a number of points", path="points", hint="two or more")


def thinned(costs: Array, points: int) -> tuple[Array, Array]:
    """Return which points of an undominated set are left of it, and the steps by which these stand for all.

    Args:
        costs: a row for each, the best of the first objective first. points: how many are left.
    """
    span = costs.max(axis=0) - costs.min(axis=0)
    steps = np.where(np.arange(len(span)) > 0, span, 0.0)  # the first objective exactly
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if len(covering(costs, steps * middle)) <= points else (middle, high)
    kept = covering(costs, steps * high).tolist()
    scaled = costs / np.where(span > 0, span, 1.0)
    apart = np.abs(scaled[:, None] - scaled[None, kept]).max(axis=2).min(axis=1)
    apart[kept] = -1.0
    while len(kept) < min(points, len(costs)):  # then what is farthest from those
        at = int(np.argmax(apart))
        kept.append(at)
        apart = np.minimum(apart, np.abs(scaled - scaled[at]).max(axis=1))
        apart[at] = -1.0
    return np.sort(np.array(kept)), steps * high


@dataclass(frozen=True, eq=False)
class Written:
    """The objectives of a front as they are shown.

    Attributes:
        specs: as they were asked. units: of each, None for plain numbers.
    """

    objectives: list[Objective]
    specs: Sequence[Any]
    units: list[Unit | None]

    @staticmethod
    def of(metrics: Sequence[Metric], objectives: list[Objective], spec: Any, costs: Array) -> Written:
        """Return them for the values of a front.

        Args:
            spec: the objectives as they were asked. costs: what is minimised, a row for each point, in base units.
        """
        units = [shown_unit(metrics, item, costs[:, at]) for at, item in enumerate(objectives)]
        return Written(objectives, spec if isinstance(spec, list | tuple) else [spec], units)

    def held(self, costs: Sequence[float]) -> list[Any]:
        """Return the constraints that hold all objectives but the first at the values of a point."""
        several = zip(self.objectives[1:], self.specs[1:], costs[1:], self.units[1:], strict=True)
        return [limit_spec(*item) for item in several]

    def amounts(self, widths: Sequence[float]) -> list[float]:
        """Return differences in base units, one for each objective, in the units that are shown."""
        return [float(w) / (unit.factor if unit else 1.0) for w, unit in zip(widths, self.units, strict=True)]

    def text(self, at: int, width: float) -> str:
        """Return a difference in base units as text."""
        unit = self.units[at]
        return f"{width / (unit.factor if unit else 1.0):.4g} {unit.text if unit else ''}".rstrip()

    def cover(self, widths: Sequence[float], of: str) -> str:
        """Return what a cover promises.

        Args:
            widths: by how much a point may be worse, in base units. of: what points stand for.
        """
        parts = [
            f"at most {self.text(at, width)} worse in {item.name}" if at or width else f"no worse in {item.name}"
            for at, (item, width) in enumerate(zip(self.objectives, widths, strict=True))
        ]
        return f"cover: for {of}, some point is " + " and ".join(parts)

    def front(self, problem: str, points: list[Any], costs: Array, **known: Any) -> Front:
        """Return the front.

        Args:
            points: their solutions. costs: of each, what is minimised. known: what else a `Front` holds.
        """
        return Front(
            problem=problem,
            objectives=[
                FrontObjective(item.name, item.sense, unit.text if unit else "")
                for item, unit in zip(self.objectives, self.units, strict=True)
            ],
            points=points,
            values=in_units(self.objectives, self.units, costs),
            **known,
        )


def limit_spec(objective: Objective, spec: Any, value: float, unit: Unit | None) -> Any:
    """Return the constraint that an objective is no worse than a value, as text where it was asked as text.

    Args:
        value: of what is minimised, in base units; a share of 1e-12 more is allowed, for rounding of the text.
    """
    sign = 1.0 if objective.sense == "min" else -1.0
    factor = unit.factor if unit else 1.0
    allowed = float(sign * (value + TIE * abs(value)) / factor)
    text = spec if isinstance(spec, str) else objective.name if spec is None else None
    if text is None:
        from mlsysim_opt.algebra.expression import constant

        return objective.cost <= constant(value + TIE * abs(value), objective.cost.dimension)
    text = text.strip()
    word, _, rest = text.partition(" ")
    if text.startswith(("min_", "max_")):
        text = text[4:]
    elif word.rstrip(":") in ("minimize", "minimise", "maximize", "maximise"):
        text = rest
    relation = "<=" if objective.sense == "min" else ">="
    return f"{text} {relation} {allowed!r} {unit.text if unit else ''}".rstrip()


def shown_unit(metrics: Sequence[Metric], objective: Objective, values: Array) -> Unit | None:
    """Return the one unit in which the values of an objective are shown; None for plain numbers."""
    of = objective.expression.dimension
    if of == NONE:
        return None
    named = [item.unit for item in metrics if item.expression is objective.expression and item.unit]
    return parse_unit(named[0]) if named else readable_unit(float(np.max(np.abs(values))), of)


def in_units(objectives: Sequence[Objective], units: Sequence[Unit | None], costs: Array) -> list[list[float]]:
    """Return costs in base units as values of the objectives in their units."""
    signs = [1.0 if item.sense == "min" else -1.0 for item in objectives]
    factors = [unit.factor if unit else 1.0 for unit in units]
    return [
        [sign * float(cost) / factor for sign, cost, factor in zip(signs, row, factors, strict=True)] for row in costs
    ]
