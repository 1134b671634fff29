"""Answers to questions with uncertain numbers: bounds, quantiles, bounds of quantiles; as data, text and tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.solvers.distributions import Array
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion
from mlsysim_opt.units import NONE, Unit

LOOSE = 1e-5
"""Bounds that are wider than what was found by more than this share are said to be."""
ROUNDED = 1e-6
"""Shares of the last digit shown that are rounding alone."""


@dataclass(frozen=True)
class OutputBounds:
    """Between which values an output lies, whatever the uncertain numbers are within their intervals.

    Said of the values that are defined: what has none (the wait in a queue that grows without end) is not bounded.

    Attributes:
        low, high: the bounds, guaranteed (quantities; a label or truth has `possible` instead). None: not bounded.
        at_low, at_high: uncertain numbers at which the lowest and the highest value found are attained, as text.
        method: ``corners`` (proven to rise or fall with every uncertain number: both ends are attained) or ``divided``
            (the intervals were divided; guaranteed, and wider than what was found by the share `excess` of it).
        possible: of a label, those that are not excluded; of a truth, the truths.
        si: the bounds in base units, infinite where there is none; these are guaranteed to the last digit.
    """

    name: str
    low: Any
    high: Any
    at_low: Mapping[str, str]
    at_high: Mapping[str, str]
    method: Literal["corners", "divided", "interval"]
    excess: float
    possible: tuple[Any, ...]
    si: tuple[float, float]
    _cells: tuple[str, ...] = field(repr=False, default=())
    _plain: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the bounds as JSON data."""
        return dict(self._plain)


@dataclass(frozen=True)
class OutputSpread:
    """How an output is distributed.

    Attributes:
        quantiles: its quantiles by share (quantities or floats; of a label nothing).
        mean, sd: its mean and standard deviation; None where some values are infinite.
        defined: the share of the samples in which it has a value; all figures are of those.
        shares: of a label (or a truth), how often it is each.
        values: the samples in base units; NaN where it is undefined.
    """

    name: str
    quantiles: Mapping[float, Any]
    mean: Any
    sd: Any
    defined: float
    shares: Mapping[Any, float]
    values: Array = field(repr=False, compare=False)
    _cells: tuple[str, ...] = field(repr=False, default=())
    _plain: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON data."""
        return dict(self._plain)


@dataclass(frozen=True)
class OutputBox:
    """Between which distributions an output lies, whatever the intervals are: a probability box.

    For each sample of the distributions there are bounds outside of which no value lies; a quantile of the output lies
    between the same quantile of the lower and of the upper ends. Of the values that are defined.

    Attributes:
        quantiles: for each share, the lower and the upper bound of the quantile. None: not bounded.
        mean: bounds of the mean.
        defined: the share of the samples in which it has a value; all figures are of those.
        excess: by which share the widest bounds of a sample are wider than the values found in it; 0 where all are
            attained.
        shares: of a label (or a truth), how often it is each: at least (it is, whatever the intervals are), at most (it
            is not excluded).
        low, high: the bounds of each sample in base units (of a label none).
    """

    name: str
    quantiles: Mapping[float, tuple[Any, Any]]
    mean: tuple[Any, Any]
    defined: float
    excess: float
    shares: Mapping[Any, tuple[float, float]]
    low: Array = field(repr=False, compare=False)
    high: Array = field(repr=False, compare=False)
    _cells: tuple[tuple[str, ...], ...] = field(repr=False, default=())
    _plain: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON data."""
        return dict(self._plain)


@dataclass(frozen=True)
class UncertainResult(Mapping[str, Any]):
    """What a model gives when some of its givens are uncertain; ``result["itl"]`` is one output.

    Attributes:
        model: its name. kind: ``bounds`` (all uncertain givens are intervals), ``samples`` (all are distributions), or
            ``boxes`` (some are of either kind).
        givens: the uncertain numbers by name, as text. notes: what was cut off of distributions, by name.
        outputs: an `OutputBounds`, `OutputSpread` or `OutputBox` of each.
        constraints: of each constraint of the model, and each condition asked for: for bounds True (always holds),
            False (never), None (neither is so); for samples the probability that it holds; for boxes that it holds
            whatever the intervals are, and that it is not excluded for all they may be.
        unproven: constraints whose None is not proven: all points that were looked at agree.
        samples, seed, sampling: how samples were drawn. levels: the shares of the quantiles.
        excluded: how many samples cannot be, by reason: all figures are of the others.
        assumptions: the defaults that decided the answer.
    """

    model: str
    kind: Literal["bounds", "samples", "boxes"]
    givens: Mapping[str, str]
    notes: Mapping[str, str]
    outputs: Mapping[str, Any]
    constraints: Mapping[str, Any]
    unproven: tuple[str, ...]
    samples: int
    seed: int | None
    sampling: str
    levels: tuple[float, ...]
    excluded: Mapping[str, int]
    assumptions: Mapping[str, str]
    _names: Mapping[str, Expression] = field(repr=False, compare=False, default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        if name not in self.outputs:
            raise UnknownNameError("output that was asked for", name, list(self.outputs))
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    __hash__ = object.__hash__

    def probability(self, condition: str) -> float:
        """Return in which share of the samples a condition on the outputs holds.

        Args:
            condition: such as ``itl <= 30 ms`` or ``itl <= 30 ms and ttft <= 1 s``.
        Raises:
            InputError: some givens are intervals, of which nothing is said how likely their values are.
        """
        if self.kind != "samples":
            raise InputError(
                "intervals do not say how likely their values are", path="probability",
                hint="give distributions, such as mo.Uniform in place of mo.Between; or ask with constraints=[...] "
                + ("whether it always holds" if self.kind == "bounds" else "between which bounds its probability lies"),
            )  # fmt: skip
        node = parse(condition, self._names)
        if node.sort != "truth":
            raise InputError(f"{condition!r} is not a condition", path="probability", hint="such as 'itl <= 30 ms'")
        program = ArrayProgram([node])
        values: dict[str, Any] = {}
        defined = np.ones(self.samples, dtype=bool)
        for leaf in program.leaves:
            column = self.outputs[leaf.name].values
            defined &= ~np.isnan(column)
            values[leaf.name] = np.nan_to_num(column).astype(int) if isinstance(leaf, Choice) else column
        (raw,) = program.run(values, [self.samples])
        return float(np.mean(np.broadcast_to(raw, (self.samples,))[defined]))

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON data."""
        base: dict[str, Any] = {
            "model": self.model, "kind": self.kind, "givens": dict(self.givens), "notes": dict(self.notes),
            "outputs": {name: item.as_dict() for name, item in self.outputs.items()},
            "constraints": dict(self.constraints), "assumptions": dict(self.assumptions),
        }  # fmt: skip
        if self.kind == "bounds":
            return {**base, "guaranteed": True, "unproven": list(self.unproven)}
        drawn = {"samples": self.samples, "seed": self.seed, "sampling": self.sampling}
        if self.kind == "boxes":
            base["constraints"] = {
                name: {"at_least": low, "at_most": high} for name, (low, high) in self.constraints.items()
            }
        return {**base, **drawn, "excluded": dict(self.excluded)}

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Return the answer as tables: title, columns (``>`` before those of numbers), rows."""
        given = [[name, text, self.notes.get(name, "")] for name, text in self.givens.items()]
        found = [("Uncertain", ["given", "is", ""], given)]
        if self.kind == "boxes":
            return [*found, *self._box_tables()]
        rows = [[name, *item._cells] for name, item in self.outputs.items()]
        if self.kind == "bounds":
            found.append(("Guaranteed bounds", ["output", ">at least", ">at most", "how"], rows))
            said = {True: "always", False: "never", None: "depends"}
            held = [[name, said[item] if name not in self.unproven else "not proven"]
                    for name, item in self.constraints.items() if item is not True]  # fmt: skip
            held += _rest(len(self.constraints) - len(held), "always")
            found.append(("Constraints", ["constraint", "holds"], held))
            return found
        columns = ["output", *self._share_names(), ">mean", ">sd", ""]
        found.append((self._drawn(), columns, rows))
        count = self.samples - sum(self.excluded.values())
        held = [[name, f"{share:.2%}", f"+- {math.sqrt(share * (1 - share) / count):.2%}"]
                for name, share in self.constraints.items() if share < 1]  # fmt: skip
        held += [[*row, ""] for row in _rest(len(self.constraints) - len(held), "100%")]
        found.append(("Constraints", ["constraint", ">holds in", ">standard error"], held))
        return [*found, *self._excluded_table()]

    def _box_tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        rows = [[name if at == 0 else "", *cells] for name, item in self.outputs.items()
                for at, cells in enumerate(item._cells)]  # fmt: skip
        columns = ["output", "", *self._share_names(), ">mean", ""]
        held = [[name, f"{low:.2%}", f"{high:.2%}"] for name, (low, high) in self.constraints.items() if low < 1]
        held += [[*row, row[1]] for row in _rest(len(self.constraints) - len(held), "100%")]
        return [
            (f"{self._drawn()}: bounds of quantiles, whatever the intervals are", columns, rows),
            ("Constraints", ["constraint", ">holds in at least", ">at most"], held),
            *self._excluded_table(),
        ]

    def _share_names(self) -> list[str]:
        return [f">{_percent_name(share)}" for share in self.levels]

    def _excluded_table(self) -> list[tuple[str, list[str], list[list[str]]]]:
        if not self.excluded:
            return []
        out = [[str(count), reason] for reason, count in [*self.excluded.items()][:5]]
        left = sum([*self.excluded.values()][5:])
        out += [[str(left), "other reasons"]] if left else []
        return [("Samples that cannot be: all figures are of the others", [">samples", "reason"], out)]

    def _drawn(self) -> str:
        ways = {"random": "random samples", "latin": "samples of a Latin hypercube", "sobol": "Sobol points"}
        return f"{self.samples} {ways[self.sampling]}, seed {self.seed}"

    def __str__(self) -> str:
        return as_text(self.model, self.tables())


def _rest(count: int, word: str) -> list[list[str]]:
    return [[f"{count} other{'s' if count > 1 else ''}", word]] if count else []


def _percent_name(share: float) -> str:
    return f"p{100 * share:.6g}"


def as_text(title: str, tables: Iterable[tuple[str, list[str], list[list[str]]]]) -> str:
    """Return tables as text with aligned columns."""
    lines = [title]
    for heading, columns, rows in tables:
        if not rows:
            lines += [] if columns else ["", heading]
            continue
        names = [item.removeprefix(">") for item in columns]
        widths = [max(len(row[at]) for row in [names, *rows]) for at in range(len(names))]
        lines += ["", heading]
        for row in [names, ["-" * width for width in widths], *rows]:
            cells = [
                cell.rjust(width) if column.startswith(">") else cell.ljust(width)
                for cell, width, column in zip(row, widths, columns, strict=True)
            ]
            lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


# numbers as they are shown -------------------------------------------------------------------------------------------
def common(question: UncertainQuestion) -> dict[str, Any]:
    """Return what every answer says of its question."""
    assumed = question.model.assumptions(question.values)
    return {
        "model": question.name,
        "givens": {item.name: str(item.what) for item in question.givens},
        "notes": {item.name: item.law.note for item in question.givens if item.law.note},
        "assumptions": {name: text for name, text in assumed.items() if name not in {g.name for g in question.givens}},
    }


def unit_for(traced: Traced, name: str, values: Iterable[float]) -> Unit | None:
    """Return the unit that fits numbers of an output; None where it has none."""
    sizes = [abs(item) for item in values if math.isfinite(item) and item]
    plain = traced.expressions[name].dimension == NONE
    return None if plain else traced.unit_of(name, statistics.median_high(sizes) if sizes else 0.0)


def plain_in(unit: Unit | None, value: float | None) -> float | None:
    """Return a number in a unit, for JSON; what is not finite is None."""
    if value is None or not math.isfinite(value):
        return None
    return value if unit is None else value / unit.factor


def end_text(traced: Traced, name: str, value: float, side: int) -> str:
    """Return an end of guaranteed bounds as text, its last digit rounded outward."""
    if not math.isfinite(value):
        return "not bounded"
    unit = unit_for(traced, name, [value])
    factor = 1.0 if unit is None else unit.factor
    number = value / factor
    if number:
        step = 10.0 ** (math.floor(math.log10(abs(number))) - 3)
        steps = number / step
        near = round(steps)
        steps = near if abs(steps - near) < ROUNDED else math.floor(steps) if side < 0 else math.ceil(steps)
        number = steps * step
    return traced.shown(name, number * factor)


def seen_as(traced: Traced, name: str, value: float) -> Any:
    """Return a value of a number as users see it; a mean of whole numbers need not be whole."""
    return value if traced.expressions[name].integer else traced.read(name, value)


def of_width(excess: float) -> str:
    """Return how much wider than what was found bounds are, as text; empty where they are attained."""
    if not math.isfinite(excess):
        return "no bound"
    return "" if excess <= LOOSE else f"{100 * excess:.2g} % wider than found"
