"""Quantiles of the outputs of a question all of whose uncertain numbers are distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsysim_opt.algebra.expression import Choice, Expression, Symbol
from mlsysim_opt.solvers.distributions import Array
from mlsysim_opt.solvers.uncertain_answer import OutputSpread, UncertainResult, common, plain_in, seen_as, unit_for
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion
from mlsysim_opt.solvers.uncertain_values import Samples


def sampled(
    question: UncertainQuestion, found: Samples, shares: Sequence[float], seed: int, sampling: str
) -> UncertainResult:
    """Return the quantiles of each output, by shares."""
    traced = question.traced
    held = {
        name: float(np.sum(found.values[name] == 1)) / found.left
        for name in (*traced.constraint_names, *question.conditions)
    }  # fmt: skip
    names: dict[str, Expression] = {}
    for name in question.outputs:
        node = traced.expressions[name]
        names[name] = (
            Choice(name, question.labels[name]) if node.sort == "label"
            else Symbol(name, node.dimension, low=-math.inf)
        )  # fmt: skip
    return UncertainResult(
        kind="samples",
        outputs={name: _spread_of(name, found.values[name], question, shares, found.left) for name in question.outputs},
        constraints=held, unproven=(), samples=found.count, seed=seed, sampling=sampling, levels=tuple(shares),
        excluded=found.excluded,
        _names=names, **common(question),
    )  # fmt: skip


def _spread_of(
    name: str, values: Array, question: UncertainQuestion, shares: Sequence[float], count: int
) -> OutputSpread:
    traced = question.traced
    node = traced.expressions[name]
    good = values[~np.isnan(values)]
    defined = len(good) / count
    lack = "" if len(good) == count else f"defined in {defined:.1%} of the samples"
    if node.sort != "number":
        kinds = dict(enumerate(question.labels[name])) if node.sort == "label" else {0: False, 1: True}
        often = {label: float(np.mean(good == at)) for at, label in kinds.items() if np.any(good == at)}
        shown = ", ".join(f"{label} {share:.2%}" for label, share in often.items())
        cells = (*("" for _ in shares), "", "", f"{shown} {lack}".strip())
        told = {"shares": {str(key): share for key, share in often.items()}, "defined": defined}
        return OutputSpread(name, {}, None, None, defined, often, values, cells, told)
    if not len(good):
        cells = (*("-" for _ in shares), "-", "-", lack)
        return OutputSpread(name, {}, None, None, 0.0, {}, values, cells, {"quantiles": {}, "defined": 0.0})
    finite = bool(np.isfinite(good).all())
    picked = np.quantile(good, shares, method="linear" if finite else "inverted_cdf")
    mean, sd = (float(np.mean(good)), float(np.std(good, ddof=1)) if len(good) > 1 else 0.0) if finite else (None, None)
    if finite and good.min() == good.max():  # of equal numbers, mean and deviation are not off by rounding
        mean, sd, lack = float(good[0]), 0.0, " ".join(filter(None, ("does not vary", lack)))
    unit = unit_for(traced, name, [float(item) for item in picked])

    def seen(value: float | None) -> Any:
        return None if value is None else seen_as(traced, name, value)

    def cell(value: float | None) -> str:
        return "-" if value is None else traced.shown(name, value) if math.isfinite(value) else str(value)

    found = {share: float(item) for share, item in zip(shares, picked, strict=True)}
    told = {
        "quantiles": {str(share): plain_in(unit, item) for share, item in found.items()}, "mean": plain_in(unit, mean),
        "sd": plain_in(unit, sd), "unit": unit.text if unit else "", "defined": defined,
    }  # fmt: skip
    return OutputSpread(
        name, {share: seen(item) for share, item in found.items()}, seen(mean), seen(sd), defined, {}, values,
        (*(cell(item) for item in found.values()), cell(mean), cell(sd), lack), told,
    )  # fmt: skip
