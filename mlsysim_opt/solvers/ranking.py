"""Which uncertain given matters most: by shares of the variance, or of the width of guaranteed bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mlsysim_opt.algebra.enclose import enclose
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.solvers.distributions import Array
from mlsysim_opt.solvers.sampling import draw, sobol_indices
from mlsysim_opt.solvers.uncertain_answer import as_text, seen_as
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion
from mlsysim_opt.solvers.uncertain_values import MOST_SAMPLES, Samples, boxes, sample
from mlsysim_opt.solvers.uncertainty import question_of, whole

BOOTSTRAPS = 200
"""Resamples of which the confidence intervals are made."""


@dataclass(frozen=True)
class Index:
    """How much of the uncertainty of one output comes from one uncertain given.

    Attributes:
        given: its name.
        first: the share of the variance that it makes alone (None for intervals).
        total: the share that it makes together with others. For intervals: the share of the width of the bounds that
            goes when it is known to be in its middle (of the mean width, where there are samples).
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
class Unknowing:
    """What intervals leave open of an output beside its distribution.

    Attributes:
        width: how far apart the guaranteed bounds are, as a mean over the samples.
        sd: the standard deviation of the samples with each interval in its middle, to compare it with.
        indices: which share of the width goes when an interval is known to be in its middle, the largest first.
    """

    width: Any
    sd: Any
    indices: tuple[Index, ...]
    _plain: Mapping[str, Any] = field(repr=False)
    _text: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data, in base units."""
        return {**self._plain, "indices": [item.as_dict() for item in self.indices]}


@dataclass(frozen=True)
class UncertaintyRanking:
    """Which uncertain given matters most for each output, the largest total first.

    Attributes:
        model: its name. by: ``variance`` (Sobol indices) or ``width`` (of guaranteed bounds).
        givens: the uncertain numbers by name, as text.
        indices: for each output the index of each given; none where the output does not vary. Where some givens are
            intervals and some are distributions, of the distributions.
        held: where the intervals are held for these indices, by name; other values of theirs give other indices.
        intervals: for each output what the intervals leave open, where some givens are of either kind. There is no
            common measure: nothing is said of how likely the values of an interval are.
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
    held: Mapping[str, str] = field(default_factory=dict)
    intervals: Mapping[str, Unknowing] = field(default_factory=dict)

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
            "evaluations": self.evaluations, "held": dict(self.held),
            "intervals": {name: item.as_dict() for name, item in self.intervals.items()},
        }  # fmt: skip

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Return the ranking as tables: title, columns (``>`` before those of numbers), rows."""
        found: list[tuple[str, list[str], list[list[str]]]] = []
        for name, items in self.indices.items():
            if not items:
                moved = "no distribution" if self.held else "nothing that is uncertain"
                found.append((f"{name} does not vary: {moved} moves it", [], []))
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
                at = ", ".join(f"{given} = {text}" for given, text in self.held.items())
                with_ = f" with {at}" if at else ""
                found.append((f"Sobol indices of {name}{with_}: shares of its variance", columns, rows))
            if name in self.intervals:
                left = self.intervals[name]
                rows = [[item.given, f"{item.total:.1%}"] for item in left.indices]
                title = f"What widens the bounds of {name}: {left._text}"
                found.append((title, ["given", ">gone if known"] if rows else [], rows))
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
    Where some are of either kind, both, each among its own: the indices with every interval in its middle (`held`), and
    beside them the mean width of the bounds (`intervals`).

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
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise InputError(f"{confidence!r} is not between 0 and 1", path="confidence", hint="such as 0.95")
    count = whole(samples, "samples", 2, MOST_SAMPLES // (len(question.drawn) + 2))
    start = whole(seed, "seed", 0, 2**63)
    if not question.drawn:
        return _by_width(question)

    def evaluate(points: Array) -> Array:
        return np.stack([_finite(name, sample(question, points), name) for name in question.outputs])

    exact, low, high, varies = sobol_indices(evaluate, len(question.drawn), count, start, BOOTSTRAPS, confidence)
    indices = {}
    for row, name in enumerate(question.outputs):
        items = [
            Index(
                item.name, float(exact[0][row, at]), float(exact[1][row, at]),
                (float(low[0][row, at]), float(high[0][row, at])), (float(low[1][row, at]), float(high[1][row, at])),
            )
            for at, item in enumerate(question.drawn)
        ]  # fmt: skip
        indices[name] = tuple(sorted(items, key=lambda item: -item.total)) if varies[row] else ()
    held = {item.name: item.place.show(item.law.middle) for item in question.intervals}
    points = draw("sobol", len(question.drawn), count, start)
    return UncertaintyRanking(
        question.name, "variance", {item.name: str(item.what) for item in question.givens}, indices, confidence, count,
        start, count * (len(question.drawn) + 2), held, _left_open(question, points) if held else {},
    )  # fmt: skip


def _finite(name: str, found: Samples, key: str) -> Array:
    """Return an output at all samples; raises `InputError` where it is undefined or infinite at one."""
    values = np.atleast_2d(found.values[key])
    missing = int(np.sum(~np.isfinite(values).all(axis=0)))
    if missing:
        why = next(iter(found.excluded), "it is undefined or infinite there")
        raise InputError(
            f"{name} has no finite value at {missing} of {found.count} samples ({why})", path=name,
            hint="a ranking is of outputs that have a value everywhere: narrow the uncertain givens",
        )  # fmt: skip
    return found.values[key]


def _left_open(question: UncertainQuestion, points: Array) -> dict[str, Unknowing]:
    """Return what intervals leave open of each output, at samples of the distributions."""
    middle, whole_ = sample(question, points), boxes(question, points)
    known = {item.name: boxes(question, points, {item.name: item.law.middle}) for item in question.intervals}
    found: dict[str, Unknowing] = {}
    for name in question.outputs:
        width = _mean_width(name, whole_)
        sd = float(np.std(middle.values[name], ddof=1))
        items = [
            Index(given, None, max(0.0, 1 - _mean_width(name, part) / width), None, None)
            for given, part in known.items() if width
        ]  # fmt: skip
        shown = [seen_as(question.traced, name, value) for value in (width, sd)]
        texts = [question.traced.shown(name, value) for value in (width, sd)]
        found[name] = Unknowing(
            shown[0], shown[1], tuple(sorted(items, key=lambda item: -item.total)), {"width": width, "sd": sd},
            f"{texts[0]} apart in the mean, beside a standard deviation of {texts[1]}",
        )  # fmt: skip
    return found


def _mean_width(name: str, found: Samples) -> float:
    low, high = _finite(name, found, name)[:2]
    return float(np.mean(high - low))


def _by_width(question: UncertainQuestion) -> UncertaintyRanking:
    box = question.box()
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
