"""Guaranteed bounds of the outputs of a question all of whose uncertain numbers are intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mlsysim_opt.algebra.enclose import Enclosure, enclose, truth
from mlsysim_opt.algebra.expression import Expression, symbols
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.solvers.uncertain_answer import (
    OutputBounds,
    UncertainResult,
    common,
    end_text,
    of_width,
    plain_in,
    seen_as,
    unit_for,
)
from mlsysim_opt.solvers.uncertain_question import Given, UncertainQuestion


def bounded(question: UncertainQuestion) -> UncertainResult:
    """Return the bounds of each output; raises `InputError` where inputs follow from an interval."""
    box = question.box()
    roots, traced = question.roots, question.traced
    outputs = {name: _bounds_of(name, roots[name], question, box) for name in question.outputs}
    conditions: dict[str, bool | None] = {}
    unproven: list[str] = []
    for name in (*traced.constraint_names, *question.conditions):
        conditions[name], proven = truth(roots[name], question.known, box)
        if not proven:
            unproven.append(name)
    return UncertainResult(
        kind="bounds", outputs=outputs, constraints=conditions, unproven=tuple(unproven), samples=0, seed=None,
        sampling="", levels=(), excluded={}, **common(question),
    )  # fmt: skip


def _bounds_of(name: str, root: Expression, question: UncertainQuestion, box: Mapping[str, Interval]) -> OutputBounds:
    if root.sort != "number":
        return _possible(name, root, question, box)
    traced = question.traced
    found = enclose(root, question.known, box)
    unit = unit_for(traced, name, [found.low, found.high])
    low, high = (seen_as(traced, name, end) if math.isfinite(end) else None for end in (found.low, found.high))
    at_low, at_high = (_settings(question.givens, point) for point in (found.at_least, found.at_greatest))
    method: Literal["corners", "divided"] = "corners" if found.corners else "divided"
    plain = {
        "low": plain_in(unit, found.low), "high": plain_in(unit, found.high), "unit": unit.text if unit else "",
        "guaranteed": True, "method": method, "excess": found.excess if math.isfinite(found.excess) else None,
        "at_low": at_low, "at_high": at_high,
    }  # fmt: skip
    if any(leaf.name in box for leaf in symbols(root)):
        cells = (end_text(traced, name, found.low, -1), end_text(traced, name, found.high, 1), _how(found))
    else:  # the ends differ by outward rounding alone
        one = traced.shown(name, found.low)
        cells = (one, one, "does not depend on what is uncertain")
    return OutputBounds(
        name, low, high, at_low, at_high, method, found.excess, (), (found.low, found.high), cells, plain
    )


def _how(found: Enclosure) -> str:
    if found.corners:
        return of_width(found.excess) or "attained at corners"
    if not math.isfinite(found.low) or not math.isfinite(found.high):
        return f"no bound in {found.parts} parts"
    return f"{of_width(found.excess) or 'attained'}, {found.parts} parts"


def _settings(givens: Sequence[Given], point: Mapping[str, float]) -> dict[str, str]:
    return {item.name: item.place.show(point[item.name]) for item in givens if item.name in point}


def _possible(name: str, root: Expression, question: UncertainQuestion, box: Mapping[str, Interval]) -> OutputBounds:
    """Return which labels or truths are not excluded."""
    if root.sort == "truth":
        held, _ = truth(root, question.known, box)
        possible: tuple[Any, ...] = (True, False) if held is None else (held,)
    else:
        labels = question.labels[name]
        possible = tuple(label for label in labels if truth(root == label, question.known, box)[0] is not False)
    shown = " or ".join(str(item) for item in possible)
    cells = (shown, "", "not excluded" if len(possible) > 1 else "")
    told = {"possible": list(possible), "guaranteed": True}
    return OutputBounds(name, None, None, {}, {}, "interval", 0.0, possible, (-math.inf, math.inf), cells, told)
