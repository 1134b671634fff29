"""What a question with uncertain numbers gives: at samples, or between which values where some are intervals.

Where inputs follow from an uncertain one, each sample is checked by itself, and those of one structure are evaluated
together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.envelope import envelope, label_truth, truth_envelope
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.solvers.distributions import Array
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion

MOST_SAMPLES = 10**7


@dataclass(frozen=True)
class Samples:
    """What a question gives at each sample; NaN where it is undefined.

    Attributes:
        values: outputs, constraints of the model and conditions of the user, by name, as arrays along the samples.
            Where intervals are uncertain too, they have rows. Of a number: bounds outside of which no value lies, and
            the least and the greatest found. Of a truth: whether it always holds, and whether it may hold; of a label
            the same of each that it may be, by name and label.
        excluded: how many samples cannot be, and why. count: how many there are in all.
    """

    values: Mapping[Any, Array]
    excluded: Mapping[str, int]
    count: int

    @property
    def left(self) -> int:
        """How many samples can be."""
        return self.count - sum(self.excluded.values())


Columns = Mapping[str, Array]
Evaluate = Callable[[Traced, Mapping[str, Expression], Mapping[str, Any], Columns, int], Mapping[Any, Array]]
"""Gives each root by name; from equations, roots, the values of leaves, those that vary, and how many they are."""


# evaluation -----------------------------------------------------------------------------------------------------------
def sample(question: UncertainQuestion, shares: Array, held: Mapping[str, float] | None = None) -> Samples:
    """Return what a question gives at samples.

    Args:
        shares: one row per sample and one column per distribution: how much of it lies below.
        held: the value of each interval; its middle when absent.
    """
    columns = _columns(question, shares)
    for item in question.intervals:
        columns[item.name] = np.full(len(shares), (held or {}).get(item.name, item.law.middle))

    def evaluate(
        traced: Traced, roots: Mapping[str, Expression], known: Mapping[str, Any], varied: Columns,
        count: int,
    ) -> dict[str, Array]:  # fmt: skip
        program = ArrayProgram(list(roots.values()))
        values: dict[str, Any] = {}
        for leaf in program.leaves:
            if leaf.name in varied:  # an axis of one is no axis: its values are numbers
                values[leaf.name] = varied[leaf.name] if count > 1 else float(varied[leaf.name][0])
            else:
                value = known[leaf.name]
                values[leaf.name] = leaf.position[value] if isinstance(leaf, Choice) else value
        raw = program.run(values, [count])
        found = {
            name: np.broadcast_to(np.asarray(value, dtype=float), (count,)).copy()
            for name, value in zip(roots, raw, strict=True)
        }
        return {name: _as_here(question, name, traced, array) for name, array in found.items()}

    if not question.follows:
        return Samples(evaluate(question.traced, question.roots, question.known, columns, len(shares)), {}, len(shares))
    return _one_by_one(question, columns, len(shares), evaluate)


def boxes(question: UncertainQuestion, shares: Array, pinned: Mapping[str, float] | None = None) -> Samples:
    """Return between which values a question lies at samples of its distributions, whatever its intervals are.

    Args:
        shares: as for `sample`. pinned: values of intervals that are taken as known.
    Raises:
        InputError: inputs follow from an interval.
    """
    columns = _columns(question, shares)
    points = {name: Interval(value, value) for name, value in (pinned or {}).items()}

    def evaluate(
        traced: Traced, roots: Mapping[str, Expression], known: Mapping[str, Any], varied: Columns,
        count: int,
    ) -> dict[Any, Array]:  # fmt: skip
        box = {**question.box(), **points}
        found: dict[Any, Array] = {}
        for name, root in roots.items():
            if root.sort == "number":
                item = envelope(root, known, box, varied, count)
                found[name] = np.stack([item.low, item.high, item.least, item.greatest])
            elif root.sort == "truth":
                found[name] = np.stack(truth_envelope(root, known, box, varied, count)).astype(float)
            else:
                for label in traced.labels[name]:
                    truth = label_truth(root, label)
                    found[name, label] = np.stack(truth_envelope(truth, known, box, varied, count)).astype(float)
        return found

    if not question.follows:
        return Samples(evaluate(question.traced, question.roots, question.known, columns, len(shares)), {}, len(shares))
    return _one_by_one(question, columns, len(shares), evaluate)


def _columns(question: UncertainQuestion, shares: Array) -> dict[str, Array]:
    columns: dict[str, Array] = {}
    for at, item in enumerate(question.drawn):
        assert item.law.quantile is not None
        columns[item.name] = np.asarray(item.law.quantile(shares[:, at]), dtype=float)
    return columns


def _one_by_one(question: UncertainQuestion, columns: Columns, count: int, evaluate: Evaluate) -> Samples:
    """Check each sample by itself, and evaluate those of one structure together."""
    model = question.model
    found: dict[Any, Array] = {}
    excluded: Counter[str] = Counter()
    groups: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    inputs = [item for item in question.givens if item.is_input]
    boxed = [item for item in question.intervals if item.name not in columns]
    unread = {item.name for item in boxed}
    first: MlsysimError | None = None
    for at in range(count):
        point = {
            item.name: item.text_of(float(columns[item.name][at]) if item.name in columns else item.law.middle)
            for item in inputs
        }
        try:
            values = model.check(**question.fixed, **point)
            groups.setdefault(model.identity(values), []).append((at, values))
        except MlsysimError as error:  # sizes that do not divide
            excluded[_reason(error)] += 1
            first = first or error
    if not groups:
        assert first is not None
        raise first
    for members in groups.values():
        values = members[0][1]
        if boxed:
            question.box(values)  # refuses what follows from an interval in this structure only
            values = question.general(values, boxed)
        traced, known = model.trace(values), model.leaf_values(values)
        places = np.asarray([at for at, _ in members])
        varied = {name: column[places] for name, column in columns.items()}
        for name, value in known.items():
            series = [item.get(name, value) for _, item in members]
            changes = name not in unread and any(other != value for other in series)
            if isinstance(value, int | float) and changes:
                varied[name] = np.asarray(series, dtype=float)
        part = evaluate(traced, question.wanted(traced, values), known, varied, len(members))
        for key, array in part.items():
            if (key if isinstance(key, str) else key[0]) in question.roots:
                whole = found.setdefault(key, np.full((*array.shape[:-1], count), np.nan))
                whole[..., places] = array
    return Samples(found, dict(excluded.most_common()), count)


def _as_here(question: UncertainQuestion, name: str, traced: Traced, array: Array) -> Array:
    """Return labels by their positions among all that were met in any structure; what has no label is undefined."""
    theirs = traced.labels.get(name)
    if theirs is None:
        return array
    mine = [*question.labels[name], *(label for label in theirs if label not in question.labels[name])]
    question.labels[name] = tuple(mine)
    places = np.asarray([*(mine.index(label) for label in theirs), math.nan])
    found: Array = places[array.astype(int)]
    return found  # -1 stands for none


def _reason(error: MlsysimError) -> str:
    """Return why a sample cannot be."""
    return f"{error.path}: {error.message}" if error.path else error.message
