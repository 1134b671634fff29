"""Which input gives an output: `solve_for`, the inverse of the very equations that run.

A continuous unknown is isolated, bracketed or searched for (`algebra.invert`); a whole one is found where the target
starts or stops to be met, by proof where the output only rises or falls, else by looking at every number of a range.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, constant, symbols
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import TOLERANCE, invert, invert_integer
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.algebra.roots import middle_of
from mlsysim_opt.errors import InputError, MlsysimError, NotInvertibleError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Degree, Given, Input, Number
from mlsysim_opt.physics.parts import is_list
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import Dimension, as_measure, as_time, base_unit, quantity, readable_unit, show, to_si

if TYPE_CHECKING:
    from pint import Quantity

    from mlsysim_opt.physics.traced import Traced

Relation = Literal["=", "<=", ">="]
TARGET = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|==?)\s*(\S.*?)\s*", re.DOTALL)
"""A target in one text: ``itl <= 30 ms``."""
VALUE = re.compile(r"\s*(<=|>=|==?)\s*(\S.*?)\s*", re.DOTALL)
"""A value with what it limits: ``<= 30 ms``."""
MANY, FEW = 1 << 17, 1 << 11
"""Whole numbers that are looked at where no bounds are given: evaluated as arrays, or each as a question of its own."""


@dataclass(frozen=True)
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
        residual: the largest relative difference from the target when a value is substituted back.
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

    def matching(self, entries: Iterable[Entry] | None = None) -> tuple[tuple[Entry, float], ...]:
        """Return the entries of the catalog (or these) that meet the target in place of the one asked about, each with
        its output in base units, the best first.

        For ``=``, what is on the good side of the target meets it: that of a larger unknown.

        Raises:
            InputError: the unknown is no number of an entry that was given.
        """
        if self._entry is None:
            raise InputError(f"{self.unknown} is no number of an entry of the catalog", path="unknown")
        least = self.relation == ">=" or (self.relation == "=" and self._rises is True)
        found = []
        for name, item in self._alternatives(entries):
            try:
                output = float(self._ask({name: item}).si(self.target))
            except MlsysimError:  # no such format, a number that is not published
                continue
            if _meets(output, ">=" if least else "<=", self.goal):
                found.append((item, output))
        return tuple(sorted(found, key=lambda pair: -pair[1] if least else pair[1]))

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
            "conditions": [str(item) for item in self.conditions], "fails_at": list(self.fails_at),
            "residual": self.residual, "searched": list(self.box), "violated": list(self.violated),
        }  # fmt: skip

    def shown(self, value: float) -> str:
        """Return a value of the unknown as text."""
        if math.isinf(value):
            return "-infinity" if value < 0 else "infinity"
        return f"{value:,.0f}" if self.fails_at or self.method in WHOLE else show(value, self.dimension, 6)

    def __str__(self) -> str:
        if self.relation == "=" and self.method not in WHOLE:
            found = " or ".join(map(self.shown, self.values))
            spans = [span for span in self.region if span.low < span.high]
            if spans:
                found += f" (anything from {self.shown(spans[0].low)} to {self.shown(spans[0].high)})"
            said = f"{self.unknown} = {found}"
        else:
            said = f"{self.unknown} " + " or ".join(self._span(span) for span in self.region[:SPANS])
            if len(self.region) > SPANS:
                said += f" or ... {self._span(self.region[-1])}, {len(self.region)} such stretches"
        others = ""
        if not self.complete:
            others = "; other values are not excluded"
        elif self.method in ("all roots", EVERY):
            others = f"; nothing else between {self.shown(self.box.low)} and {self.shown(self.box.high)}"
        return f"{said} ({self.method}{others})"

    def _span(self, span: Interval) -> str:
        if span.low == span.high:
            return f"= {self.shown(span.low)}"
        if span.low <= self.box.low:
            return f"at most {self.shown(span.high)}"
        if span.high >= self.box.high:
            return f"at least {self.shown(span.low)}"
        return f"from {self.shown(span.low)} to {self.shown(span.high)}"


SPANS = 4
"""Stretches that the text of an answer lists."""
EVERY = "every whole number"
BOUNDARY = "whole number at the boundary"
WHOLE = (EVERY, BOUNDARY)


def solve_for(
    target: str,
    value: Any = None,
    *,
    unknown: str,
    using: Any,
    box: tuple[Any, Any] | None = None,
    **given: Any,
) -> Any:
    """Return what one number must be for an output to be equal to, at most or at least a value.

    Args:
        target: name of an output of the model, or all in one: ``"itl <= 30 ms"``.
        value: what it should be, with its unit; ``"<= 30 ms"`` for at most, ``">= 30 ms"`` for at least.
            Several values, as a list, are an axis of the answer.
        unknown: a numeric input of the model, or a number of an entry by its path
            (``fleet.node.accelerator.memory.bandwidth``; the end of the path will do where only one ends so).
        using: the model, or the solution of an optimization, whose design's metrics are asked about (equal to a value
            only). box: lowest and highest value to look between. given: all other inputs; those given as lists
            are axes, and every combination is a question.
    Returns:
        a `SolvedFor`: where the target is met, the formula where there is one, and whether there is anything else; over
        axes a `SolvedSweep`.
    Raises:
        NotInvertibleError: no value meets the target (the message says the attainable range), or the output does not
            depend on the unknown.
        UnknownNameError: there is no such output or number. InputError, DimensionError: an input is wrong.
    """
    model = using() if isinstance(using, type) else using
    name, relation, wanted = _asked(target, value)
    if not isinstance(model, Model):
        if relation != "=" or given:
            raise InputError("a metric of a solution is asked to be equal to a value, and nothing else is given",
                             path="using")  # fmt: skip
        return model.solve_for(name, wanted, unknown=unknown, box=box)
    if is_list(wanted) or any(map(is_list, given.values())):
        from mlsysim_opt.physics.inverse_sweep import solve_for_many

        return solve_for_many(model, name, relation, wanted, unknown, box, given)
    task = Question(model, name, relation, unknown, given)
    task.aim(wanted)
    limits = None if box is None else (task.read(box[0]), task.read(box[1]))
    return task.whole(limits) if task.leaf.integer else task.continuous(limits)


def _asked(target: str, value: Any) -> tuple[str, Relation, Any]:
    """Return output, relation and value of a question in one or in two parts."""
    if value is None:
        found = TARGET.fullmatch(target)
        if found is None:
            raise InputError(f"{target!r} is not of the form output = value", path="target",
                             hint="for example 'itl <= 30 ms'")  # fmt: skip
        return found[1], _relation(found[2]), found[3]
    limited = VALUE.fullmatch(value) if isinstance(value, str) else None
    return (target, "=", value) if limited is None else (target, _relation(limited[1]), limited[2])


def _relation(text: str) -> Relation:
    return "<=" if text == "<=" else ">=" if text == ">=" else "="


def _meets(output: float, relation: Relation, goal: float) -> bool:
    room = TOLERANCE * (abs(goal) or 1.0)
    if relation == "<=":
        return output <= goal + room
    return output >= goal - room if relation == ">=" else abs(output - goal) <= room


class Question:
    """One question: the model, its equation for the output, and the leaf that is unknown."""

    def __init__(self, model: Model, target: str, relation: Relation, unknown: str, given: dict[str, Any]) -> None:
        self.model, self.target, self.relation = model, target, relation
        inputs = {item.name: item for item in model.inputs}
        asked = {model.aliases.get(name, name): value for name, value in given.items()}
        real = model.aliases.get(unknown, unknown)
        self.given = asked
        self.item: Input | None = inputs.get(real)
        if self.item is not None and asked.get(real) is not None:
            raise InputError(f"{real} is the unknown, and given as {asked[real]}", path=real)
        self.values = self._checked(asked)
        self.traced: Traced = model.trace(self.values)
        if target not in self.traced.expressions and target in self.traced.result.field_names():
            model.check_known(target, self.traced, self.values)
            raise NotInvertibleError(f"{target} is not known here")
        self.root = model.output(target, self.traced)
        if self.root.sort != "number":
            raise InputError(f"{target} is a {self.root.sort}, not a number", path="target")
        self.known = model.leaf_values(self.values)
        self.leaf = self._leaf(real)
        self.near = None if self.item is not None else float(self.known[self.leaf.name])
        self.known.pop(self.leaf.name, None)
        self.goal = math.nan

    def _checked(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs with some value of an unknown one, so that there are equations to look at.

        Raises:
            InputError: an input is wrong, or no value of the unknown goes with the others.
        """
        if self.item is None:
            return self.model.check(**asked)
        first: InputError | None = None
        for value in _placeholders(self.item):
            try:
                return self.model.check(**{**asked, self.item.name: value})
            except InputError as error:  # sizes that do not divide
                if not self.model.derives or isinstance(error, UnknownNameError):
                    raise
                first = first or error
        assert first is not None
        raise first

    def _leaf(self, name: str) -> Symbol:
        """Return the leaf of this name, or the only one whose path ends so.

        A count of an entry (the nodes of a fleet) may decide what is derived before there are equations: then it is the
        unknown although it is no leaf of them.

        Raises:
            NotInvertibleError: there is such a number, but the output does not depend on it.
            UnknownNameError: there is none.
        """
        leaves = {leaf.name: leaf for leaf in symbols(self.root)}
        if name.endswith(".size") and name not in leaves:
            name = name.removesuffix("size") + "node_count"
        if name in leaves:
            return leaves[name]
        ends = [leaf for path, leaf in leaves.items() if path.endswith("." + name)]
        if len(ends) == 1:
            return ends[0]
        start, _, path = name.partition(".")
        entry = self.values.get(start)
        datum = entry.parameters().get(path) if isinstance(entry, Entry) else None
        if datum is not None and datum.kind == "count" and self.model.derives:
            return Symbol(name, datum.dimension, integer=True)
        if self.item is not None or datum is not None:
            raise NotInvertibleError(f"{self.target} does not depend on {name}, as the others are given")
        raise UnknownNameError("number that the output depends on", name, [*leaves])

    def goal_of(self, wanted: Any) -> float:
        """Return a value that is wanted in base units."""
        measure = as_time(as_measure(wanted, self.target), self.root.dimension)
        return to_si(measure, self.root.dimension, self.target)

    def aim(self, wanted: Any) -> None:
        """Read the value that is wanted."""
        self.goal = self.goal_of(wanted)

    def read(self, value: Any) -> float:
        """Return a bound of the unknown in base units."""
        return to_si(as_measure(value, self.leaf.name), self.leaf.dimension, self.leaf.name)

    def ask(self, changed: Mapping[str, Any]) -> Any:
        """Return the model's own answer with the unknown (or an entry) replaced."""
        return self.model.solve(**{**self.given, **changed})

    def change(self, x: float) -> dict[str, Any]:
        """Return the input, or the entry, that has this value in place of the unknown.

        Raises:
            InputError: the unknown is neither an input nor a number of an entry that is given.
        """
        if self.item is not None:
            integer = self.leaf.integer
            return {self.item.name: int(x) if integer else f"{x!r} {base_unit(self.leaf.dimension).text}"}
        name, _, path = self.leaf.name.partition(".")
        entry = self.values.get(name)
        if not isinstance(entry, Entry):
            raise InputError(f"{self.leaf.name} is not a number of an entry that is given", path="unknown")
        new = entry.parameter(path).changed(int(x) if self.leaf.integer else x, "solved for")
        return {name: entry.replacing(path, new)}

    @property
    def entry(self) -> str | None:
        """The input whose entry holds the unknown, and the kind of the entry; None for other unknowns."""
        name, dot, _ = self.leaf.name.partition(".")
        found = next((item for item in self.model.inputs if item.name == name and isinstance(item, Given)), None)
        return f"{name}:{found.kind}" if dot and found is not None else None

    def answer(self, **facts: Any) -> SolvedFor:
        """Return the answer with what all have in common."""
        usual: dict[str, Any] = {"formula": None, "conditions": (), "fails_at": ()}
        return SolvedFor(
            unknown=self.leaf.name, target=self.target, relation=self.relation, goal=self.goal,
            dimension=self.leaf.dimension, target_dimension=self.root.dimension, _ask=self.ask, _entry=self.entry,
            _change=self.change,
            **{**usual, **facts},
        )  # fmt: skip

    # continuous unknowns ----------------------------------------------------------------------------------------------
    def continuous(self, limits: tuple[float, float] | None) -> SolvedFor:
        goal = constant(self.goal, self.root.dimension)
        try:
            found = invert(self.root, goal, self.leaf, values=self.known, box=limits, near=self.near)
        except NotInvertibleError:
            if self.relation == "=":
                raise
            return self._everywhere(limits)
        self._substituted_back(found.values)
        # Formulas are of the whole box; a search may have looked at a part of it.
        box = found.box if found.method == "all roots" else Interval(*(limits or (self.leaf.low, self.leaf.high)))
        region = found.ranges if self.relation == "=" else self._region(found.ranges, box)
        return self.answer(
            values=found.values, region=region, method=found.method, complete=found.complete, formula=found.formula,
            conditions=found.conditions, residual=found.residual, box=box, _rises=self._rises(found.values[0]),
        )  # fmt: skip

    def _function(self) -> Callable[[float], float]:
        program = ScalarProgram([self.root])
        return lambda x: float(program.run_named({**self.known, self.leaf.name: x})[0])

    def _rises(self, x: float) -> bool | None:
        """Return whether the output is larger above a value than below it."""
        at = self._function()
        step = 1e-3 * abs(x) or 1e-9
        below, above = at(max(x - step, self.leaf.low)), at(min(x + step, self.leaf.high))
        return None if below == above or math.isnan(below + above) else above > below

    def _region(self, roots: Sequence[Interval], box: Interval) -> tuple[Interval, ...]:
        """Return where an inequality holds: between two places where both sides are equal it holds or fails as one."""
        at = self._function()
        ends = [box.low, *(end for span in roots for end in span), box.high]
        held: list[Interval] = []
        for index, (low, high) in enumerate(pairwise(ends)):
            on_root = index % 2 == 1
            if on_root or (low < high and _meets(at(_inside(low, high)), self.relation, self.goal)):
                if held and held[-1].high == low:
                    held[-1] = Interval(held[-1].low, high)
                else:
                    held.append(Interval(low, high))
        return tuple(held)

    def _everywhere(self, limits: tuple[float, float] | None) -> SolvedFor:
        """Return the whole box where the target is met all over it; raise where it is met nowhere."""
        box = Interval(*(limits or (self.leaf.low, self.leaf.high)))
        fixed: dict[str, Any] = {name: value for name, value in self.known.items() if not isinstance(value, Entry)}
        leaves = {leaf.name for leaf in ScalarProgram([self.root]).leaves}
        within = {name: float(value) if not isinstance(value, str) else value for name, value in fixed.items()
                  if name in leaves}  # fmt: skip
        bounds, _ = Prover(self.root, self.leaf).study({**within, self.leaf.name: box})
        at = self._function()
        points = [_inside(box.low, box.high), *([self.near] if self.near else [])]
        seen = [value for value in map(at, points) if not math.isnan(value)]
        if not seen or not all(_meets(value, self.relation, self.goal) for value in seen):
            reach = f"{show(bounds.low, self.root.dimension)} to {show(bounds.high, self.root.dimension)}"
            raise NotInvertibleError(
                f"no {self.leaf.name} makes {self.target} {self.relation} {show(self.goal, self.root.dimension)}",
                hint=f"its values lie within {reach}" if all(map(math.isfinite, bounds)) else None,
            )
        proven = _meets(bounds.low, self.relation, self.goal) and _meets(bounds.high, self.relation, self.goal)
        end = box.low if math.isfinite(box.low) else box.high
        return self.answer(values=(end,), region=(box,), method="holds everywhere", complete=proven, residual=0.0,
                           box=box, _rises=None)  # fmt: skip

    def _substituted_back(self, roots: Sequence[float]) -> None:
        """Ask the model itself about an input that was solved for: others may follow from it.

        Raises:
            NotInvertibleError: they do, and the equation alone is not what the model answers.
        """
        if self.item is None or not self.model.derives:
            return
        for x in roots:
            if math.isinf(x):
                continue
            got = float(self.ask(self.change(x)).si(self.target))
            if abs(got - self.goal) > 1e-6 * (abs(self.goal) or 1.0):
                raise NotInvertibleError(
                    f"other inputs follow from {self.item.name}, and with {show(x, self.leaf.dimension, 6)} "
                    f"{self.target} is {show(got, self.root.dimension, 6)}",
                    hint="give those that follow from it",
                )

    # whole unknowns ---------------------------------------------------------------------------------------------------
    def whole(self, limits: tuple[float, float] | None) -> SolvedFor:
        """Return the whole numbers that meet the target: by proof where the output rises or falls, else by looking."""
        if self.relation != "=" and not self.model.derives and self.item is not None:
            found = self._boundary(limits)
            if found is not None:
                return found
        alone = self.item is None or self.model.derives
        low, high = self._range(limits, FEW if alone else MANY)
        outputs = self._looked_at(low, high)
        cut = alone and self.item is not None and limits is None and high < self.leaf.high
        beyond = cut and not any(_meets(output, self.relation, self.goal) for output in outputs[:-1])
        if beyond or (cut and _meets(outputs[-1], self.relation, self.goal)):
            found = self._by_equation()
            if found is not None:
                return found
        return self._among(low, high, outputs, complete=True)

    def _range(self, limits: tuple[float, float] | None, most: int) -> tuple[int, int]:
        """Return the smallest and the largest whole number to look at."""
        low = math.ceil(max(self.leaf.low, 1.0) if limits is None else limits[0])
        high = math.floor(min(self.leaf.high, float(most)) if limits is None else limits[1])
        if not low <= high < low + 16 * most:
            raise InputError(f"there are no whole numbers, or too many, from {low} to {high}", path="box",
                             hint=f"at most {16 * most:,} are looked at")  # fmt: skip
        return low, high

    def _among(self, low: int, high: int, outputs: Sequence[float], *, complete: bool) -> SolvedFor:
        """Return which of these whole numbers meet the target, by their outputs."""
        holds = np.array([_meets(output, self.relation, self.goal) for output in outputs])
        if not holds.any():
            raise self._missed(low, high, outputs)
        spans = [Interval(float(low + run[0]), float(low + run[-1])) for run in _runs(np.flatnonzero(holds).tolist())]
        return self._whole_answer(spans, Interval(float(low), float(high)), EVERY, outputs, complete)

    def _by_equation(self) -> SolvedFor | None:
        """Return the same by the equations of one number for all, where the model itself confirms what they say at the
        ends of what they find: other inputs may follow from the unknown. None where it does not."""
        low, high = self._range(None, MANY)
        program = self.traced.arrays([self.target])
        numbers = np.arange(low, high + 1, dtype=float)
        values = {**self.known, self.leaf.name: numbers if len(numbers) > 1 else float(low)}
        for leaf in program.leaves:
            if isinstance(leaf, Choice):
                values[leaf.name] = leaf.position[values[leaf.name]]
        (outputs,) = program.run(values, [len(numbers)])
        try:
            found = self._among(low, high, np.broadcast_to(outputs, numbers.shape).tolist(), complete=False)
            ends = [int(end) for span in (*found.region[:SPANS], found.region[-1]) for end in span]
            for number in {*ends, *found.fails_at[:SPANS]}:
                seen = float(self.ask(self.change(number)).si(self.target))
                if _meets(seen, self.relation, self.goal) is (number in found.fails_at):
                    return None
        except (InputError, NotInvertibleError):
            return None
        return found

    def _boundary(self, limits: tuple[float, float] | None) -> SolvedFor | None:
        goal = constant(self.goal, self.root.dimension)
        inequality = self.root <= goal if self.relation == "<=" else goal <= self.root
        try:
            found = invert_integer(inequality, self.leaf, values=self.known, box=limits)
        except (NotInvertibleError, InputError):
            return None
        low, high = (self.leaf.low, self.leaf.high) if limits is None else limits
        low = max(low, 1.0) if limits is None and isinstance(self.item, Degree) else low
        span = Interval(found.value, high) if found.side == "smallest" else Interval(low, found.value)
        return self.answer(
            values=(found.value,), region=(span,), method=BOUNDARY, complete=True, residual=0.0,
            box=Interval(low, high), fails_at=() if found.fails_at is None else (found.fails_at,),
            _rises=(found.side == "smallest") == (self.relation == ">="),
        )  # fmt: skip

    def _looked_at(self, low: int, high: int) -> Sequence[float]:
        """Return the output for every whole number of a range; NaN where there is none."""
        if self.item is not None:
            swept = self.model.sweep(outputs=[self.target], **{**self.given, self.item.name: range(low, high + 1)})
            found: list[float] = swept.si(self.target).tolist()
            return found
        outputs = []
        for number in range(low, high + 1):
            try:
                outputs.append(float(self.ask(self.change(number)).si(self.target)))
            except MlsysimError:
                outputs.append(math.nan)
        return outputs

    def _missed(self, low: int, high: int, outputs: Sequence[float]) -> NotInvertibleError:
        """Return the error that no whole number meets the target, with the ones that come nearest to it."""
        known = [(abs(output - self.goal), low + at, output) for at, output in enumerate(outputs) if output == output]
        wanted = f"{self.target} {self.relation} {show(self.goal, self.root.dimension)}"
        said = f"no whole {self.leaf.name} from {low} to {high} gives {wanted}"
        if not known:
            return NotInvertibleError(said, hint="there is no value for any of them")
        nearest = sorted(known)[:2]
        near = ", ".join(f"{number} gives {show(output, self.root.dimension, 6)}" for _, number, output in nearest)
        return NotInvertibleError(said, hint=f"the nearest: {near}")

    def _whole_answer(
        self, spans: Sequence[Interval], box: Interval, method: str, outputs: Sequence[float], complete: bool
    ) -> SolvedFor:
        inner = [end for span in spans for end in span if box.low < end < box.high] or [spans[0].low]
        beside = {span.low - 1 for span in spans} | {span.high + 1 for span in spans}
        known = [output for output in outputs if output == output]
        return self.answer(
            values=tuple(dict.fromkeys(inner)), region=tuple(spans), method=method, complete=complete, residual=0.0,
            box=box, fails_at=tuple(sorted(int(item) for item in beside if box.low <= item <= box.high)),
            _rises=known[-1] > known[0] if known else None,
        )  # fmt: skip


def placeholder(item: Input) -> Any:
    """Return a value that stands for an unknown input while the equations are written."""
    return next(_placeholders(item))


def _placeholders(item: Input) -> Iterator[Any]:
    """Yield values that may stand for the unknown while the equations are written."""
    if not isinstance(item, Number):
        raise InputError(f"{item.name} is not a number", path="unknown", hint="solve for a number")
    if isinstance(item, Degree):
        yield item.neutral + 1
    start = max(item.low, 1.0) if math.isinf(item.high) else item.high
    if not item.integer:
        yield f"{start} {item.unit}"
        return
    yield from (int(start) << power for power in range(17))
    yield from range(int(start), 512)


def _inside(low: float, high: float) -> float:
    return middle_of(low, high) if math.isfinite(low) or math.isfinite(high) else 1.0


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return runs of neighbouring numbers."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found
