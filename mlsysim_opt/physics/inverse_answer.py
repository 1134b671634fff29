"""What `solve_for` returns: where a target is met, how that is known, and which entries of the catalog meet it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import TOLERANCE
from mlsysim_opt.algebra.roots import LARGEST
from mlsysim_opt.errors import InputError, MlsysimError
from mlsysim_opt.physics.candidates import Fitting, Missed, violations
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import Dimension, base_unit, quantity, readable_unit, show

if TYPE_CHECKING:
    from pint import Quantity

Relation = Literal["=", "<=", ">="]
SPANS = 4
"""Stretches that the text of an answer lists."""
EVERY = "every whole number"
BOUNDARY = "whole number at the boundary"
CHOICE = "every value of the choice"
WHOLE = (EVERY, BOUNDARY, CHOICE)


def meets(output: float, relation: Relation, goal: float) -> bool:
    """Return whether an output is what is wanted, to `TOLERANCE` of it: zero is not nearly attained."""
    room = TOLERANCE * abs(goal)
    if relation == "<=":
        return output <= goal + room
    return output >= goal - room if relation == ">=" else abs(output - goal) <= room


def shown(value: float, of: Dimension, *, whole: bool) -> str:
    """Return a value of an unknown as text."""
    if math.isinf(value):
        return "-infinity" if value < 0 else "infinity"
    return f"{value:,.0f}" if whole else show(value, of, 6)


@dataclass(frozen=True, repr=False)
class SolvedFor:
    """What an unknown must be for an output to meet a target.

    Attributes:
        unknown: the input or the number of an entry. target, relation, goal: what was asked, in base units.
        values: where the output equals the target, lowest first, in base units; for a whole number, the last ones that
            meet it.
        region: where the target is met; for ``=`` as wide as the target is attained around each value.
        method: how it was found. complete: whether it is proven that there is nothing else in `box`.
        formula: the unknown as an expression of everything else, where there is one; valid while `conditions` hold.
        fails_at: for a whole number, the neighbours of the region that do not meet the target.
        residual: the largest relative difference from the target when a value is substituted back; where that is zero,
            from the terms that cancel.
        notes: where the region ends although the target is not known to be missed beyond: the search, or what can be
            computed, ends there.
    """

    unknown: str
    target: str
    relation: Relation
    goal: float
    values: tuple[float, ...]
    region: tuple[Interval, ...]
    method: str
    complete: bool
    formula: Expression | None
    conditions: tuple[Expression, ...]
    fails_at: tuple[int, ...]
    residual: float
    box: Interval
    dimension: Dimension = field(repr=False)
    target_dimension: Dimension = field(repr=False)
    _ask: Callable[[Mapping[str, Any]], Any] = field(repr=False, compare=False)
    _change: Callable[[float], Mapping[str, Any]] = field(repr=False, compare=False)
    _entry: str | None = field(repr=False, compare=False)
    _rises: bool | None = field(repr=False, compare=False)
    _equation: Callable[[], Expression] = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()

    @property
    def equation(self) -> Expression:
        """The output as an expression of the unknown alone: what was inverted, with everything else filled in."""
        return self._equation()

    @property
    def value(self) -> float:
        """The first of `values`, in base units."""
        return self.values[0]

    @property
    def ranges(self) -> tuple[Interval, ...]:
        """The same as `region`."""
        return self.region

    @property
    def quantity(self) -> Quantity[float] | float:
        """The first of `values` with its unit; a plain number where it has none."""
        unit = readable_unit(self.value, self.dimension)
        return quantity(self.value, unit) if self.dimension else self.value

    @property
    def on_entry(self) -> bool:
        """Whether the unknown is a number of an entry of the catalog that was given."""
        return self._entry is not None

    def matching(self, entries: Iterable[Entry] | None = None) -> Fitting:
        """Return the entries of the catalog (or these) that meet the target, each as a whole in the place of the one
        asked about, with its output in base units, the best first.

        For ``=``, what is on the good side of the target meets it: that of a larger unknown. Entries with which the
        model's own constraints do not hold (no room for the weights) are put aside, each with the reason.

        Raises:
            InputError: the unknown is no number of an entry that was given.
        """
        if self._entry is None:
            raise InputError(f"{self.unknown} is no number of an entry of the catalog", path="unknown")
        least = self.relation == ">=" or (self.relation == "=" and self._rises is True)
        met: list[tuple[Entry, float]] = []
        aside, missed = [], []
        for name, item in self._alternatives(entries):
            try:
                solved = self._ask({name: item})
                output = float(solved.si(self.target))
                violated = violations(solved)
            except MlsysimError as error:  # no such format, a number that is not published
                missed.append(Missed(item, error.message))
                continue
            if not meets(output, ">=" if least else "<=", self.goal):
                missed.append(Missed(item, f"{self.target} is {show(output, self.target_dimension)}"))
            elif violated:
                aside.append(Missed(item, "; ".join(violated)))
            else:
                met.append((item, output))
        return Fitting.of(sorted(met, key=lambda pair: -pair[1] if least else pair[1]), aside, missed)

    def _alternatives(self, entries: Iterable[Entry] | None) -> Iterator[tuple[str, Entry]]:
        assert self._entry is not None
        name, _, kind = self._entry.partition(":")
        for item in default_catalog().all(kind) if entries is None else entries:
            yield name, item

    def result(self) -> Any:
        """Return the model's own answer at the first value: all its outputs and constraints.

        Raises:
            InputError: the unknown is of derived numbers (calibration), which no question of the model can give.
        """
        if math.isinf(self.value):
            raise InputError(f"{self.unknown} = {self.shown(self.value)} cannot be asked about", path="unknown")
        return self._ask(self._change(self.value))

    @property
    def violated(self) -> tuple[str, ...]:
        """The constraints of the model that do not hold at the first value; none where the model cannot be asked."""
        try:
            return tuple(name for name, holds in self.result().constraints.items() if not holds)
        except InputError:
            return ()

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, in base units."""
        return {
            "unknown": self.unknown, "target": self.target, "relation": self.relation, "goal": self.goal,
            "unit": base_unit(self.dimension).text, "values": list(self.values),
            "region": [[item.low, item.high] for item in self.region], "method": self.method,
            "complete": self.complete, "formula": None if self.formula is None else str(self.formula),
            "equation": str(self.equation),
            "conditions": [str(item) for item in self.conditions], "fails_at": list(self.fails_at),
            "residual": self.residual, "searched": list(self.box), "violated": list(self.violated),
            "notes": list(self.notes),
        }  # fmt: skip

    def shown(self, value: float) -> str:
        """Return a value of the unknown as text; numbers next to infinity and to zero as these."""
        if abs(value) >= LARGEST:
            return "-infinity" if value < 0 else "infinity"
        value = 0.0 if abs(value) <= 1 / LARGEST else value
        return shown(value, self.dimension, whole=bool(self.fails_at) or self.method in WHOLE)

    def __str__(self) -> str:
        if self.relation == "=" and self.method not in WHOLE:
            found = " or ".join(map(self.shown, self.values))
            spans = [span for span in self.region if span.low < span.high]
            if spans:
                found += f" ({self._span(spans[0])})"
            said = f"{self.unknown} = {found}"
        else:
            said = f"{self.unknown} " + " or ".join(self._span(span) for span in self.region[:SPANS])
            if len(self.region) > SPANS:
                said += f" or ... {self._span(self.region[-1])}, {len(self.region)} such stretches"
        others = ""
        if not self.complete:
            others = "; other values are not excluded"
        elif self.method in ("all roots", EVERY, CHOICE):
            others = f"; nothing else between {self.shown(self.box.low)} and {self.shown(self.box.high)}"
        return "; ".join([f"{said} ({self.method}{others})", *self.notes])

    def __repr__(self) -> str:
        return f"<{self}>"

    @property
    def beside(self) -> str:
        """Where a whole unknown does not meet the target any more, as text; of many such numbers the first and last."""
        numbers = [f"{item:,}" for item in self.fails_at]
        if len(numbers) > SPANS:
            return f"{', '.join(numbers[:2])}, ..., {numbers[-1]} ({len(numbers):,} such numbers)"
        return " and ".join(numbers)

    def _span(self, span: Interval) -> str:
        low, high = self.shown(span.low), self.shown(span.high)
        if span.low == span.high:
            return f"= {low}"
        from_start = span.low <= self.box.low or low == self.shown(self.box.low)
        to_end = span.high >= self.box.high or high == self.shown(self.box.high)
        if from_start and to_end:
            return "any value" if math.isinf(self.box.high) else f"anything from {low} to {high}"
        if from_start:
            return f"at most {high}"
        return f"at least {low}" if to_end else f"from {low} to {high}"
