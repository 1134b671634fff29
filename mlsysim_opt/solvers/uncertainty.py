"""What is known of an answer when not all is known of the question: guaranteed bounds, or quantiles of samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.enclose import Enclosure, enclose, truth
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.base import Model, model_of
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.solvers.distributions import Array
from mlsysim_opt.solvers.sampling import draw
from mlsysim_opt.solvers.uncertain_question import MOST_SAMPLES, Given, Samples, UncertainQuestion
from mlsysim_opt.units import NONE, Unit

QUANTILES = (0.05, 0.5, 0.95)
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
class UncertainResult(Mapping[str, Any]):
    """What a model gives when some of its givens are uncertain; ``result["itl"]`` is one output.

    Attributes:
        model: its name. kind: ``bounds`` (all uncertain givens are intervals) or ``samples``.
        givens: the uncertain numbers by name, as text. notes: what was cut off of distributions, by name.
        outputs: an `OutputBounds` or `OutputSpread` of each.
        constraints: of each constraint of the model, and each condition asked for: for bounds True (always holds),
            False (never), None (neither is so); for samples the probability that it holds.
        unproven: constraints whose None is not proven: all points that were looked at agree.
        samples, seed, sampling: how samples were drawn.
        excluded: how many samples cannot be, by reason: all figures are of the others.
        assumptions: the defaults that decided the answer.
    """

    model: str
    kind: Literal["bounds", "samples"]
    givens: Mapping[str, str]
    notes: Mapping[str, str]
    outputs: Mapping[str, Any]
    constraints: Mapping[str, Any]
    unproven: tuple[str, ...]
    samples: int
    seed: int | None
    sampling: str
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
            InputError: the answer is bounds, of which nothing is said how likely they are.
        """
        if self.kind == "bounds":
            raise InputError(
                "intervals do not say how likely their values are", path="probability",
                hint="give distributions, such as mo.Uniform in place of mo.Between; or ask with constraints=[...] "
                "whether it always holds",
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
        return {**base, **drawn, "excluded": dict(self.excluded)}

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Return the answer as tables: title, columns (``>`` before those of numbers), rows."""
        given = [[name, text, self.notes.get(name, "")] for name, text in self.givens.items()]
        found = [("Uncertain", ["given", "is", ""], given)]
        rows = [[name, *item._cells] for name, item in self.outputs.items()]
        if self.kind == "bounds":
            found.append(("Guaranteed bounds", ["output", ">at least", ">at most", "how"], rows))
            said = {True: "always", False: "never", None: "depends"}
            held = [[name, said[item] if name not in self.unproven else "not proven"]
                    for name, item in self.constraints.items() if item is not True]  # fmt: skip
            held += _rest(len(self.constraints) - len(held), "always")
            found.append(("Constraints", ["constraint", "holds"], held))
            return found
        shares = next((list(item.quantiles) for item in self.outputs.values() if item.quantiles), [])
        columns = ["output", *(f">{_percent_name(share)}" for share in shares), ">mean", ">sd", ""]
        found.append((self._drawn(), columns, rows))
        count = self.samples - sum(self.excluded.values())
        held = [[name, f"{share:.2%}", f"+- {math.sqrt(share * (1 - share) / count):.2%}"]
                for name, share in self.constraints.items() if share < 1]  # fmt: skip
        held += [[*row, ""] for row in _rest(len(self.constraints) - len(held), "100%")]
        found.append(("Constraints", ["constraint", ">holds in", ">standard error"], held))
        if self.excluded:
            out = [[str(count), reason] for reason, count in [*self.excluded.items()][:5]]
            left = sum([*self.excluded.values()][5:])
            out += [[str(left), "other reasons"]] if left else []
            found.append(("Samples that cannot be: all figures are of the others", [">samples", "reason"], out))
        return found

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
    distributions, they are sampled (independently of each other), and each output has quantiles.

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
        an `UncertainResult`: for each output `OutputBounds` or `OutputSpread`, in the units of the model.
    Raises:
        InputError: nothing is uncertain, intervals and distributions are mixed, a number lies outside of what it may
            be, or other inputs follow from it so that it has no meaning alone.
        UnknownNameError: an input, a path or an output does not exist.
    """
    question = question_of(using, outputs, constraints, given)
    intervals = [item for item in question.givens if item.is_interval]
    if intervals and len(intervals) < len(question.givens):
        raise mixed(question)
    shares = tuple(sorted({float(item) for item in quantiles}))
    if not shares or not all(0 < item < 1 for item in shares):
        raise InputError("quantiles are shares between 0 and 1", path="quantiles", hint="such as (0.05, 0.5, 0.95)")
    if intervals:
        return _bounded(question)
    count = whole(samples, "samples", 2, MOST_SAMPLES)
    start = whole(seed, "seed", 0, 2**63)
    points = draw(sampling, len(question.givens), count, start)
    return _sampled(question, question.sample(points), shares, start, sampling)


def whole(value: Any, name: str, low: int, high: int) -> int:
    """Return a whole number between two others."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InputError(f"expected a whole number from {low} to {high:.3g}, got {value!r}", path=name)
    return int(value)


def question_of(using: Any, outputs: Any, constraints: Any, given: Mapping[str, Any]) -> UncertainQuestion:
    """Return the question to a model, given as an object or as its class."""
    return UncertainQuestion(model_of(using), outputs, constraints, given)


def mixed(question: UncertainQuestion) -> InputError:
    """Return the error for intervals and distributions in one question."""
    intervals = [item.name for item in question.givens if item.is_interval]
    rest = [item.name for item in question.givens if not item.is_interval]
    return InputError(
        f"an interval is given for {', '.join(intervals)} and a distribution for {', '.join(rest)}: neither bounds nor "
        "quantiles say what both mean together",
        path=intervals[0],
        hint="give all as distributions (mo.Uniform where every value between is equally likely), or all as mo.Between",
    )


# bounds ---------------------------------------------------------------------------------------------------------------
def boxed(question: UncertainQuestion) -> dict[str, Interval]:
    """Return the intervals of a question by name; raises `InputError` where inputs follow from them."""
    if question.follows:
        names = ", ".join(item.name for item in question.givens)
        raise InputError(
            f"inputs of {question.name} follow from {names}, so that no bounds hold between its ends",
            path=question.givens[0].name,
            hint="give what follows from it yourself, or a distribution (mo.Uniform): each sample is then checked",
        )
    return {item.name: Interval(item.law.low, item.law.high) for item in question.givens}


def _bounded(question: UncertainQuestion) -> UncertainResult:
    box = boxed(question)
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
        sampling="", excluded={}, **_common(question),
    )  # fmt: skip


def _common(question: UncertainQuestion) -> dict[str, Any]:
    assumed = question.model.assumptions(question.values)
    return {
        "model": question.name,
        "givens": {item.name: str(item.what) for item in question.givens},
        "notes": {item.name: item.law.note for item in question.givens if item.law.note},
        "assumptions": {name: text for name, text in assumed.items() if name not in {g.name for g in question.givens}},
    }


def _bounds_of(name: str, root: Expression, question: UncertainQuestion, box: Mapping[str, Interval]) -> OutputBounds:
    if root.sort != "number":
        return _possible(name, root, question, box)
    traced = question.traced
    found = enclose(root, question.known, box)
    unit = _unit(traced, name, [found.low, found.high])
    low, high = (_seen(traced, name, end) if math.isfinite(end) else None for end in (found.low, found.high))
    at_low, at_high = (_settings(question.givens, point) for point in (found.at_least, found.at_greatest))
    method: Literal["corners", "divided"] = "corners" if found.corners else "divided"
    plain = {
        "low": _in(unit, found.low), "high": _in(unit, found.high), "unit": unit.text if unit else "",
        "guaranteed": True, "method": method, "excess": found.excess if math.isfinite(found.excess) else None,
        "at_low": at_low, "at_high": at_high,
    }  # fmt: skip
    cells = (_end(traced, name, found.low, -1), _end(traced, name, found.high, 1), _how(found))
    return OutputBounds(
        name, low, high, at_low, at_high, method, found.excess, (), (found.low, found.high), cells, plain
    )


def _unit(traced: Traced, name: str, values: Iterable[float]) -> Unit | None:
    """Return the unit that fits numbers of an output; None where it has none."""
    sizes = [abs(item) for item in values if math.isfinite(item) and item]
    plain = traced.expressions[name].dimension == NONE
    return None if plain else traced.unit_of(name, statistics.median_high(sizes) if sizes else 0.0)


def _in(unit: Unit | None, value: float | None) -> float | None:
    """Return a number in a unit, for JSON; what is not finite is None."""
    if value is None or not math.isfinite(value):
        return None
    return value if unit is None else value / unit.factor


def _end(traced: Traced, name: str, value: float, side: int) -> str:
    """Return an end of guaranteed bounds as text, its last digit rounded outward."""
    if not math.isfinite(value):
        return "not bounded"
    unit = _unit(traced, name, [value])
    factor = 1.0 if unit is None else unit.factor
    number = value / factor
    if number:
        step = 10.0 ** (math.floor(math.log10(abs(number))) - 3)
        steps = number / step
        near = round(steps)
        steps = near if abs(steps - near) < ROUNDED else math.floor(steps) if side < 0 else math.ceil(steps)
        number = steps * step
    return traced.shown(name, number * factor)


def _how(found: Enclosure) -> str:
    if found.corners:
        return "attained at corners"
    if not math.isfinite(found.low) or not math.isfinite(found.high):
        return f"no bound in {found.parts} parts"
    if found.excess <= LOOSE:
        return f"attained, {found.parts} parts"
    return f"{100 * found.excess:.2g} % wider than found, {found.parts} parts"


def _settings(givens: Sequence[Given], point: Mapping[str, float]) -> dict[str, str]:
    return {item.name: item.place.show(point[item.name]) for item in givens if item.name in point}


def _seen(traced: Traced, name: str, value: float) -> Any:
    """Return a value of a number as users see it; a mean of whole numbers need not be whole."""
    return value if traced.expressions[name].integer else traced.read(name, value)


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


# samples --------------------------------------------------------------------------------------------------------------
def _sampled(
    question: UncertainQuestion, found: Samples, shares: Sequence[float], seed: int, sampling: str
) -> UncertainResult:
    traced = question.traced
    left = found.count - sum(found.excluded.values())
    held = {
        name: float(np.sum(found.values[name] == 1)) / left
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
        outputs={name: _spread_of(name, found.values[name], question, shares, left) for name in question.outputs},
        constraints=held, unproven=(), samples=found.count, seed=seed, sampling=sampling, excluded=found.excluded,
        _names=names, **_common(question),
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
    unit = _unit(traced, name, [float(item) for item in picked])

    def seen(value: float | None) -> Any:
        return None if value is None else _seen(traced, name, value)

    def cell(value: float | None) -> str:
        return "-" if value is None else traced.shown(name, value) if math.isfinite(value) else str(value)

    found = {share: float(item) for share, item in zip(shares, picked, strict=True)}
    told = {
        "quantiles": {str(share): _in(unit, item) for share, item in found.items()}, "mean": _in(unit, mean),
        "sd": _in(unit, sd), "unit": unit.text if unit else "", "defined": defined,
    }  # fmt: skip
    return OutputSpread(
        name, {share: seen(item) for share, item in found.items()}, seen(mean), seen(sd), defined, {}, values,
        (*(cell(item) for item in found.values()), cell(mean), cell(sd), lack), told,
    )  # fmt: skip
