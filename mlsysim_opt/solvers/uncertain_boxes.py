"""Bounds of quantiles: where some of the uncertain numbers of a question are intervals, and some distributions.

Source: Ferson et al. 2003, Constructing Probability Boxes and Dempster-Shafer Structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsysim_opt.solvers.distributions import Array
from mlsysim_opt.solvers.uncertain_answer import (
    OutputBox,
    UncertainResult,
    common,
    end_text,
    of_width,
    plain_in,
    seen_as,
    unit_for,
)
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion
from mlsysim_opt.solvers.uncertain_values import Samples


def boxed(
    question: UncertainQuestion, found: Samples, shares: Sequence[float], seed: int, sampling: str
) -> UncertainResult:
    """Return bounds of the quantiles of each output, by shares."""
    rules = (*question.traced.constraint_names, *question.conditions)
    return UncertainResult(
        kind="boxes",
        outputs={name: _box_of(name, question, found, shares) for name in question.outputs},
        constraints={name: _often(found.values[name], found.left) for name in rules},
        unproven=(), samples=found.count, seed=seed, sampling=sampling, levels=tuple(shares), excluded=found.excluded,
        **common(question),
    )  # fmt: skip


def _often(rows: Array, left: int) -> tuple[float, float]:
    """Return in which share of the samples a truth always holds, and in which it may."""
    always, maybe = (float(np.sum(row == 1)) / left for row in rows)
    return always, maybe


def _box_of(name: str, question: UncertainQuestion, found: Samples, shares: Sequence[float]) -> OutputBox:
    if question.traced.expressions[name].sort != "number":
        return _shares_of(name, question, found, len(shares))
    low, high, least, greatest = (row[~np.isnan(found.values[name][0])] for row in found.values[name])
    defined = len(low) / found.left
    lack = "" if defined == 1 else f"defined in {defined:.1%} of the samples"
    whole = (found.values[name][0], found.values[name][1])
    if not len(low):
        none = ("", *("-" for _ in shares), "-", lack)
        return OutputBox(name, {}, (None, None), 0.0, 0.0, {}, *whole, (none,), {"quantiles": {}, "defined": 0.0})
    ends = [_quantiles(low, shares, "lower"), _quantiles(high, shares, "higher")]
    means = [float(np.mean(row)) if np.isfinite(row).all() else sign * np.inf for row, sign in ((low, -1), (high, 1))]
    excess = _excess(low, high, least, greatest)
    traced = question.traced
    unit = unit_for(traced, name, [*ends[0], *ends[1]])

    def seen(value: float) -> Any:
        return seen_as(traced, name, value) if np.isfinite(value) else None

    cells = tuple(
        (side, *(end_text(traced, name, value, sign) for value in row), end_text(traced, name, mean, sign), note)
        for side, sign, row, mean, note in (
            ("at least", -1, ends[0], means[0], " ".join(filter(None, (of_width(excess), lack)))),
            ("at most", 1, ends[1], means[1], ""),
        )
    )
    told = {
        "quantiles": {
            str(share): {"low": plain_in(unit, lower), "high": plain_in(unit, upper)}
            for share, lower, upper in zip(shares, *ends, strict=True)
        },
        "mean": {"low": plain_in(unit, means[0]), "high": plain_in(unit, means[1])}, "unit": unit.text if unit else "",
        "defined": defined, "excess": excess if np.isfinite(excess) else None,
    }  # fmt: skip
    quantiles = {share: (seen(lower), seen(upper)) for share, lower, upper in zip(shares, *ends, strict=True)}
    return OutputBox(
        name, quantiles, (seen(means[0]), seen(means[1])), defined, excess, {}, *whole, cells, told
    )  # fmt: skip


def _quantiles(values: Array, shares: Sequence[float], side: str) -> list[float]:
    """Return quantiles; where some values are infinite, of the values themselves, on the side that is safe."""
    method: Any = "linear" if np.isfinite(values).all() else side
    return [float(item) for item in np.quantile(values, shares, method=method)]


def _excess(low: Array, high: Array, least: Array, greatest: Array) -> float:
    """Return by which share of the larger end the widest bounds of a sample are wider than what was found there."""
    with np.errstate(all="ignore"):
        missing = (high - low) - (greatest - least)
        share = np.where((low == least) & (high == greatest), 0.0, missing / np.maximum(np.abs(low), np.abs(high)))
    return float(np.max(np.where(np.isnan(share), np.inf, np.maximum(share, 0.0))))


def _shares_of(name: str, question: UncertainQuestion, found: Samples, count: int) -> OutputBox:
    """Return how often a label or a truth is each that it may be: at least, and at most."""
    if question.traced.expressions[name].sort == "truth":
        always, maybe = _often(found.values[name], found.left)
        often = {False: (1 - maybe, 1 - always), True: (always, maybe)}
    else:
        often = {key[1]: _often(rows, found.left) for key, rows in found.values.items() if key[0] == name}
    often = {label: ends for label, ends in often.items() if ends[1] > 0}
    shown = ", ".join(
        f"{label} {low:.2%}" + (f" to {high:.2%}" if high > low else "") for label, (low, high) in often.items()
    )
    told = {"shares": {str(label): {"at_least": low, "at_most": high} for label, (low, high) in often.items()}}
    none = np.full(found.count, np.nan)
    cells = (("", *("" for _ in range(count)), "", shown),)
    return OutputBox(name, {}, (None, None), 1.0, 0.0, often, none, none, cells, told)
