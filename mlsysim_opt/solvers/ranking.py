"""Which uncertain given matters most: by shares of the variance, or of the width of guaranteed bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlsysim_opt.algebra.enclose import enclose
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.solvers.distributions import Array
from mlsysim_opt.solvers.sampling import sobol_indices
from mlsysim_opt.solvers.uncertain_question import MOST_SAMPLES, UncertainQuestion
from mlsysim_opt.solvers.uncertainty import as_text, boxed, mixed, question_of, whole

BOOTSTRAPS = 200
"""Resamples of which the confidence intervals are made."""


@dataclass(frozen=True)
class Index:
    """How much of the uncertainty of one output comes from one uncertain given.

    Attributes:
        given: its name.
        first: the share of the variance that it makes alone (None for intervals).
        total: the share that it makes together with others. For intervals: the share of the width of the bounds that
            goes when it is known to be in its middle.
        first_range, total_range: confidence intervals of both.
    """

    given: str
    first: float | None
    total: float
    first_range: tuple[float, float] | None
    total_range: tuple[float, float] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the index as JSON data."""
        ranges = {
            name: list(item) if (item := getattr(self, name)) else None for name in ("first_range", "total_range")
        }
        return {"given": self.given, "first": self.first, "total": self.total, **ranges}


@dataclass(frozen=True)
class UncertaintyRanking:
    """Which uncertain given matters most for each output, the largest total first.

    Attributes:
        model: its name. by: ``variance`` (Sobol indices) or ``width`` (of guaranteed bounds).
        givens: the uncertain numbers by name, as text.
        indices: for each output the index of each given; none where the output does not vary.
        confidence: of the ranges. samples, seed: as asked; evaluations: of the model in all.
    """

    model: str
    by: Literal["variance", "width"]
    givens: Mapping[str, str]
    indices: Mapping[str, tuple[Index, ...]]
    confidence: float
    samples: int
    seed: int | None
    evaluations: int

    def __getitem__(self, output: str) -> tuple[Index, ...]:
        if output not in self.indices:
            raise UnknownNameError("output that was asked for", output, list(self.indices))
        return self.indices[output]

    def as_dict(self) -> dict[str, Any]:
        """Return the ranking as JSON data."""
        return {
            "model": self.model, "by": self.by, "givens": dict(self.givens),
            "indices": {name: [item.as_dict() for item in found] for name, found in self.indices.items()},
            "confidence": self.confidence, "samples": self.samples, "seed": self.seed,
            "evaluations": self.evaluations,
        }  # fmt: skip

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Return the ranking as tables: title, columns (``>`` before those of numbers), rows."""
        found: list[tuple[str, list[str], list[list[str]]]] = []
        for name, items in self.indices.items():
            if not items:
                found.append((f"{name} does not vary: nothing that is uncertain moves it", [], []))
            elif self.by == "width":
                rows = [[item.given, f"{item.total:.1%}"] for item in items]
                found.append((f"What widens the bounds of {name}", ["given", ">gone if known"], rows))
            else:
                rows = [
                    [item.given, f"{item.total:.3f}", _range(item.total_range), f"{item.first or 0.0:.3f}",
                     _range(item.first_range)]
                    for item in items
                ]  # fmt: skip
                columns = ["given", ">total", f">{self.confidence:.0%}", ">alone", f">{self.confidence:.0%}"]
                found.append((f"Sobol indices of {name}: shares of its variance", columns, rows))
        return found

    def __str__(self) -> str:
        head = f"{self.model}, {self.evaluations} evaluations"
        return as_text(head if self.seed is None else f"{head}, seed {self.seed}", self.tables())


def _range(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f} .. {ends[1]:.3f}"


def rank_uncertainty(
    *,
    using: Model | type[Model],
    outputs: str | Sequence[str],
    samples: int = 1024,
    seed: int = 0,
    confidence: float = 0.95,
    **given: Any,
) -> UncertaintyRanking:
    """Return which uncertain given matters most for each output.

    Of distributions, by Sobol indices: the share of the variance of the output that a given makes alone (`first`) and
    together with the others (`total`). Of intervals, by how much narrower the guaranteed bounds are once it is known.

    Args:
        using, outputs, given: as for `uncertain`.
        samples: a power of two; ``samples * (givens + 2)`` points are evaluated. seed: the same seed, the same answer.
        confidence: of the ranges, by a bootstrap.
    Returns:
        an `UncertaintyRanking`: for each output the givens, the one with the largest total first.
    Raises:
        InputError: as for `uncertain`; an output is not a number, or undefined at some samples.
        SolverMissingError: SciPy is not installed (extra ``uncertainty``).
    Source: Sobol 2001; Saltelli et al. 2010; by `scipy.stats.sobol_indices`.
    """
    question = question_of(using, outputs, (), given)
    for name in question.outputs:
        if question.roots[name].sort != "number":
            raise InputError(f"{name} is not a number; it has no variance", path=name)
    intervals = [item for item in question.givens if item.is_interval]
    if intervals and len(intervals) < len(question.givens):
        raise mixed(question)
    if not 0 < confidence < 1:
        raise InputError(f"{confidence} is not between 0 and 1", path="confidence", hint="such as 0.95")
    if intervals:
        return _by_width(question)
    count = whole(samples, "samples", 2, MOST_SAMPLES // (len(question.givens) + 2))
    start = whole(seed, "seed", 0, 2**63)

    def evaluate(points: Array) -> Array:
        found = question.sample(points)
        for name in question.outputs:
            missing = int(np.sum(~np.isfinite(found.values[name])))
            if missing:
                why = next(iter(found.excluded), "it is undefined or infinite there")
                raise InputError(
                    f"{name} has no finite value at {missing} of {found.count} samples ({why})", path=name,
                    hint="indices are of outputs that have a value everywhere: narrow the uncertain givens",
                )  # fmt: skip
        return np.stack([found.values[name] for name in question.outputs])

    exact, low, high, varies = sobol_indices(
        evaluate, len(question.givens), count, start, BOOTSTRAPS, confidence
    )  # fmt: skip
    indices = {}
    for row, name in enumerate(question.outputs):
        items = [
            Index(
                item.name, float(exact[0][row, at]), float(exact[1][row, at]),
                (float(low[0][row, at]), float(high[0][row, at])), (float(low[1][row, at]), float(high[1][row, at])),
            )
            for at, item in enumerate(question.givens)
        ]  # fmt: skip
        indices[name] = tuple(sorted(items, key=lambda item: -item.total)) if varies[row] else ()
    return UncertaintyRanking(
        question.name, "variance", {item.name: str(item.what) for item in question.givens}, indices, confidence, count,
        start, count * (len(question.givens) + 2),
    )  # fmt: skip


def _by_width(question: UncertainQuestion) -> UncertaintyRanking:
    box = boxed(question)
    indices: dict[str, tuple[Index, ...]] = {}
    for name in question.outputs:
        found = enclose(question.roots[name], question.known, box)
        width = found.high - found.low
        if not math.isfinite(width):
            raise InputError(f"{name} is not bounded", path=name, hint="narrow the intervals")
        if width <= 1e-12 * max(abs(found.low), abs(found.high)):
            indices[name] = ()
            continue
        items = []
        for item in question.givens:
            fixed = {**box, item.name: Interval(item.law.middle, item.law.middle)}
            left = enclose(question.roots[name], question.known, fixed)
            items.append(Index(item.name, None, max(0.0, 1 - (left.high - left.low) / width), None, None))
        indices[name] = tuple(sorted(items, key=lambda item: -item.total))
    return UncertaintyRanking(
        question.name, "width", {item.name: str(item.what) for item in question.givens}, indices, 1.0, 0, None,
        (len(question.givens) + 1) * len(question.outputs),
    )  # fmt: skip
