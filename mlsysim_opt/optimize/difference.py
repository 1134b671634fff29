"""What another answer differs in: the objective, the metrics, what is decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlsysim_opt.optimize.answer import Answered, Value, relative
from mlsysim_opt.units import parse_unit

SAME = 1e-9
"""Numbers that differ by less than this share are the same, up to rounding."""


@dataclass(frozen=True)
class Change:
    """A number of two answers.

    Attributes:
        before, after: the number, None where an answer does not have it; `after` in the unit of `before`.
        by: how much more it is. share: the same as a share of `before`. None where one is not known.
    """

    before: Value | None
    after: Value | None
    by: Value | None = None
    share: float | None = None

    @staticmethod
    def of(before: Value | None, after: Value | None) -> Change:
        """Return what changes from one number to another."""
        if before is None or after is None or before.value is None or after.value is None:
            return Change(before, after)
        value = after.value
        if before.unit != after.unit:
            value = after.si / (parse_unit(before.unit).factor if before.unit else 1.0)
        by = value - before.value
        if abs(by) <= SAME * max(abs(value), abs(before.value)):
            by = 0.0
        share = relative(before.value + by, before.value) if before.value else None
        return Change(before, Value(value, before.unit), Value(by, before.unit), share)

    @property
    def any(self) -> bool:
        """Whether something changes."""
        return self.before != self.after if self.by is None else self.by.value != 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        numbers = {"before": self.before, "after": self.after, "by": self.by}
        return {**{name: item.as_dict() if item else None for name, item in numbers.items()}, "share": self.share}

    def __str__(self) -> str:
        if self.by is None or self.by.value is None:
            return f"{self.before or 'not known'} -> {self.after or 'not known'}" if self.any else "the same"
        if not self.any:
            return "the same"
        share = "" if self.share is None else f" ({self.share:+.2%})"
        return f"{Value(abs(self.by.value), self.by.unit)} {'more' if self.by.value > 0 else 'less'}{share}"


@dataclass(frozen=True)
class Difference:
    """What one answer differs in from another.

    Attributes:
        objective: None where the two were asked for different ones. metrics: those that change, by name.
        decisions: what is decided otherwise, in words.
    """

    objective: Change | None
    metrics: dict[str, Change]
    decisions: list[str]

    @staticmethod
    def between(before: Any, after: Any) -> Difference:
        """Return what an answer (a `Solution` or a `PlanSolution`) differs in from one before it."""
        one: Answered = before
        two: Answered = after
        asked = (one.objective_name, one.sense) == (two.objective_name, two.sense)
        old, new = one.metrics.values_with_units, two.metrics.values_with_units
        changes = {name: Change.of(old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new])}
        return Difference(
            Change.of(one.objective, two.objective) if asked else None,
            {name: item for name, item in changes.items() if item.any},
            before.moves(after),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "objective": self.objective.as_dict() if self.objective else None,
            "metrics": {name: item.as_dict() for name, item in self.metrics.items()},
            "decisions": self.decisions,
        }
