"""Entries of the catalog in the place of the one that a question was asked with: why some do not answer it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.registry.entry import Entry


@dataclass(frozen=True)
class Missed:
    """An entry that does not meet what was asked for, or cannot be asked about, and why."""

    entry: Entry
    reason: str

    @property
    def accelerator(self) -> Entry:
        """The same, where accelerators are compared."""
        return self.entry


class Fitting(tuple[tuple[Entry, float], ...]):
    """The entries that meet a target, each with its output in base units, the best first.

    Attributes:
        aside: those that meet it, and violate a constraint of the model. missed: those that do not meet it, or cannot
            be asked about (no such number format). Each with the reason.
    """

    aside: tuple[Missed, ...]
    missed: tuple[Missed, ...]

    @classmethod
    def of(cls, met: Iterable[tuple[Entry, float]], aside: Iterable[Missed], missed: Iterable[Missed]) -> Fitting:
        """Return the entries that meet a target, which are in order, with all others."""
        made = cls(met)
        made.aside, made.missed = tuple(aside), tuple(missed)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (Fitting.of, (tuple(self), self.aside, self.missed))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON data, outputs in base units."""
        return {
            "met": [{"entry": item.name, "output": output} for item, output in self],
            "aside": [{"entry": item.entry.name, "reason": item.reason} for item in self.aside],
            "missed": [{"entry": item.entry.name, "reason": item.reason} for item in self.missed],
        }


def violations(solved: Any) -> list[str]:
    """Return which constraints of a model an answer of it violates, as reasons to put an entry aside."""
    return [f"violates {name!r}" for name, holds in solved.constraints.items() if not holds]
