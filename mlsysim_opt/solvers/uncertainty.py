"""What is known of an answer when not all is known of the question: bounds, quantiles, or quantiles between bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, model_of
from mlsysim_opt.solvers.sampling import draw, need_method
from mlsysim_opt.solvers.uncertain_answer import UncertainResult
from mlsysim_opt.solvers.uncertain_bounds import bounded
from mlsysim_opt.solvers.uncertain_boxes import boxed
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion
from mlsysim_opt.solvers.uncertain_samples import sampled
from mlsysim_opt.solvers.uncertain_values import MOST_SAMPLES, boxes, sample

QUANTILES = (0.05, 0.5, 0.95)


def uncertain(
    *,
    using: Model | type[Model],
    outputs: str | Sequence[str],
    constraints: str | Sequence[str] = (),
    samples: int = 4096,
    seed: int = 0,
    sampling: str = "random",
    quantiles: Sequence[float] = QUANTILES,
    **given: Any,
) -> UncertainResult:
    """Return what a model gives when some of its givens are not known exactly.

    Where all uncertain givens are intervals (`Between`), each output has guaranteed bounds: proven where the equations
    rise or fall with a given, else by dividing the intervals, always with outward rounding. Where all are
    distributions, they are sampled (independently of each other), and each output has quantiles. Where some are of
    either kind, the distributions are sampled, and for each sample there are guaranteed bounds over the intervals: each
    quantile lies between two values (a probability box).

    Args:
        using: the model. outputs: names of its outputs.
        constraints: conditions on its outputs, such as ``itl <= 30 ms``: how likely, or whether for certain, they hold.
        samples, seed: how many samples, and where they start; the same seed gives the same answer.
        sampling: ``random``; ``latin`` (Latin hypercube) or ``sobol``; the latter two need fewer, and SciPy.
        quantiles: which, as shares.
        given: the inputs of the model. A number may be uncertain: `Between`, `Uniform`, `Normal`, `LogNormal`,
            `Triangular`, `Discrete`, or their text (``0.4 .. 0.6``, ``3.2 +- 0.1 TB/s``). So may be a number of the
            catalog, by its path: ``**{"hardware.memory.bandwidth": mo.Normal("3.35 TB/s", "0.1 TB/s")}``.
    Returns:
        an `UncertainResult`: for each output `OutputBounds`, `OutputSpread` or `OutputBox`, in the units of the model.
    Raises:
        InputError: nothing is uncertain, a number lies outside of what it may be, or other inputs follow from it so
            that it has no meaning alone.
        UnknownNameError: an input, a path or an output does not exist.
    """
    question = question_of(using, outputs, constraints, given)
    levels = _levels(quantiles)
    count = whole(samples, "samples", 2, MOST_SAMPLES)
    start = whole(seed, "seed", 0, 2**63)
    need_method(sampling)
    if not question.drawn:
        return bounded(question)
    points = draw(sampling, len(question.drawn), count, start)
    if question.intervals:
        return boxed(question, boxes(question, points), levels, start, sampling)
    return sampled(question, sample(question, points), levels, start, sampling)


def _levels(quantiles: Any) -> tuple[float, ...]:
    """Return the shares of quantiles in rising order."""
    listed = list(quantiles) if isinstance(quantiles, Iterable) and not isinstance(quantiles, str) else []
    if not listed or not all(isinstance(item, int | float) and 0 < item < 1 for item in listed):
        raise InputError(f"expected shares between 0 and 1, got {quantiles!r}", path="quantiles",
                         hint="such as (0.05, 0.5, 0.95)")  # fmt: skip
    return tuple(sorted({float(item) for item in listed}))


def whole(value: Any, name: str, low: int, high: int) -> int:
    """Return a whole number between two others."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InputError(f"expected a whole number from {low} to {high:.3g}, got {value!r}", path=name)
    return int(value)


def question_of(using: Any, outputs: Any, constraints: Any, given: Mapping[str, Any]) -> UncertainQuestion:
    """Return the question to a model, given as an object or as its class."""
    return UncertainQuestion(model_of(using), outputs, constraints, given)
