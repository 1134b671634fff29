"""The inverse of one equation: which value of a number gives an output, or keeps it at most or at least at a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.bounds import size_of_terms
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, constant, short
from mlsysim_opt.algebra.extent import Extent
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import TOLERANCE, extent_of, invert
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.algebra.roots import middle_of
from mlsysim_opt.errors import InputError, MlsysimError, NotInvertibleError, ScaleError
from mlsysim_opt.physics.inverse_answer import Relation, SolvedFor, meets
from mlsysim_opt.registry.limits import limits_of
from mlsysim_opt.units import as_measure, as_time, show, to_si

if TYPE_CHECKING:
    from mlsysim_opt.registry.fields import Number as FieldNumber


class InverseEquation:
    """An equation for an output, what its other numbers are, and the one that is unknown.

    Args:
        target: the name of the output. root: its expression.
        relation: whether it is to be equal to, at most or at least what `aim` sets.
        leaf: the unknown. near: what it is today. known: the value of every other leaf.
    """

    alone = False
    """Whether other inputs follow from the unknown, so that each value of it is a question of its own."""
    askable = False
    """Whether a model can be asked about another value of the unknown."""
    unit: str | None = None
    """The unit in which the output is stated, where it is stated in one."""
    entry: str | None = None
    """The input whose entry holds the unknown, and the kind of the entry; None for other unknowns."""

    def __init__(
        self,
        target: str,
        root: Expression,
        relation: Relation,
        leaf: Symbol,
        known: Mapping[str, Any],
        near: float | None,
    ) -> None:
        self.target, self.root, self.relation, self.leaf = target, root, relation, leaf
        self.known, self.near, self.goal = {**known}, near, math.nan
        self.known.pop(leaf.name, None)
        self.seen: list[float] = []  # outputs that were looked at

    def ask(self, changed: Mapping[str, Any]) -> Any:
        """Return the model's own answer with the unknown (or an entry) replaced.

        Raises:
            InputError: there is no model to be asked.
        """
        raise InputError("there is no model to be asked about another value of it", path=self.leaf.name)

    def change(self, x: float) -> dict[str, Any]:
        """Return the input, or the entry, that has this value in place of the unknown.

        Raises:
            InputError: the unknown is neither an input nor a number of an entry that is given.
        """
        raise InputError(f"{self.leaf.name} is not a number of an entry that is given", path="unknown")

    def at(self, x: float) -> float:
        """Return the model's own output for a value of the unknown."""
        return float(self.ask(self.change(x)).si(self.target)) if self.askable else self.function(x)

    @cached_property
    def field(self) -> FieldNumber | None:
        """What the catalog says of the unknown."""
        return limits_of(self.leaf.name, {})

    @cached_property
    def program(self) -> ScalarProgram:
        """The equation of the output, compiled."""
        return ScalarProgram([self.root])

    @cached_property
    def arrays(self) -> ArrayProgram:
        """The same over arrays."""
        return ArrayProgram([self.root])

    @cached_property
    def function(self) -> Callable[[float], float]:
        """The output by the equation, as a function of the unknown in base units."""
        return lambda x: float(self.program.run_named({**self.known, self.leaf.name: x})[0])

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """The known values of the leaves of the equation, names aside."""
        leaves = {leaf.name for leaf in self.program.leaves} & self.known.keys()
        return {name: self.known[name] if isinstance(self.known[name], str) else float(self.known[name])
                for name in leaves}  # fmt: skip

    def limits(self, asked: tuple[float, float] | None) -> tuple[float, float]:
        """Return the lowest and the highest value that the unknown can have, within those that are asked for.

        Raises:
            InputError: there is none.
        """
        low, high = self.leaf.low, self.leaf.high
        field = self.field
        if field is not None:  # what the catalog says of it is what it may be
            low = field.minimum + field.above_minimum if self.leaf.integer else max(low, field.minimum)
            high = high if field.maximum is None else field.maximum
        whole = low, high
        if asked is not None:
            if not asked[0] <= asked[1]:
                ends = (show(end, self.leaf.dimension, 6) for end in asked)
                raise InputError("the lower bound {} is not below the upper bound {}".format(*ends), path="box")
            low, high = max(low, asked[0]), min(high, asked[1])
        if not low <= high:
            said = " to ".join(show(end, self.leaf.dimension, 6) for end in whole)
            raise InputError(f"{self.leaf.name} is not between these bounds", path="box", hint=f"it is within {said}")
        return low, high

    def box(self, asked: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return the same of a continuous unknown; None where all numbers that its leaf can be are looked at."""
        found = self.limits(asked)
        return None if asked is None and found == (self.leaf.low, self.leaf.high) else found

    def goal_of(self, wanted: Any) -> float:
        """Return a value that is wanted in base units; whatever is wrong with it, the error says of which output."""
        try:
            measure = as_time(as_measure(wanted, self.target), self.root.dimension)
            return to_si(measure, self.root.dimension, self.target, self.unit)
        except InputError as error:
            error.path = error.path or self.target
            raise

    def goals_of(self, wanted: Any) -> list[float]:
        """Return several values that are wanted in base units; of an array with one unit, the unit is read once."""
        numbers = getattr(wanted, "magnitude", None)
        if isinstance(numbers, np.ndarray) and numbers.ndim == 1 and numbers.size and np.isfinite(numbers).all():
            one = self.goal_of(type(wanted)(1.0, wanted.units))
            return [one * number for number in numbers.astype(float).tolist()]
        return [self.goal_of(value) for value in wanted]

    def aim(self, wanted: Any) -> None:
        """Read the value that is wanted."""
        self.goal = self.goal_of(wanted)

    def read_box(self, box: tuple[Any, Any] | None) -> tuple[float, float] | None:
        """Return the bounds to look between in base units; None where none are given.

        Raises:
            InputError: one is a value that the unknown, not being whole, cannot have.
        """
        if box is None:
            return None
        low, high = (to_si(as_measure(end, self.leaf.name), self.leaf.dimension, self.leaf.name) for end in box)
        least, most = self.leaf.low, self.leaf.high
        if self.field is not None:
            least = self.field.minimum
            most = math.inf if self.field.maximum is None else self.field.maximum
        for end in () if self.leaf.integer else (low, high):
            if not least <= end <= most:
                limit, said = (least, "below {}, the least") if end < least else (most, "above {}, the most")
                said = said.format(show(limit, self.leaf.dimension, 6))
                raise InputError(f"{show(end, self.leaf.dimension, 6)} is {said} that {self.leaf.name} can be",
                                 path="box")  # fmt: skip
        return low, high

    def answer(self, **facts: Any) -> SolvedFor:
        """Return the answer with what all have in common."""
        usual: dict[str, Any] = {"formula": None, "conditions": (), "fails_at": ()}
        if self.relation != "=":
            facts["notes"] = self.notes(facts["region"], facts["box"]) + facts.get("notes", ())
        return SolvedFor(
            unknown=self.leaf.name, target=self.target, relation=self.relation, goal=self.goal,
            dimension=self.leaf.dimension, target_dimension=self.root.dimension, _ask=self.ask, _entry=self.entry,
            _change=self.change, _equation=lambda: folded(self.root, self.known),
            **{**usual, **facts},
        )  # fmt: skip

    def notes(self, region: Sequence[Interval], box: Interval) -> tuple[str, ...]:
        """Return where a region ends only because nothing can be computed beyond."""
        found = []
        for end, beyond in ((region[0].low, -math.inf), (region[-1].high, math.inf)):
            if box.low < end < box.high:
                try:
                    self.at(end + math.copysign(1, beyond) if self.leaf.integer else math.nextafter(end, beyond))
                except ScaleError as error:
                    end_text = f"{end:,.0f}" if self.leaf.integer else show(end, self.leaf.dimension, 6)
                    found.append(f"beyond {end_text} it cannot be computed: {error.message}")
                except MlsysimError:  # no value that the model takes
                    continue
        return tuple(found)

    def continuous(self, limits: tuple[float, float] | None) -> SolvedFor:
        """Return where an unknown that is not whole meets the target.

        Args:
            limits: the lowest and the highest value to look between; None for all that it can be.
        Raises:
            NotInvertibleError: no value does, or the output does not depend on it.
        """
        goal = constant(self.goal, self.root.dimension)
        try:
            found = invert(self.root, goal, self.leaf, values=self.known, box=limits, near=self.near,
                           explain=self.relation == "=")  # fmt: skip
            roots = self.accepted(list(zip(found.values, found.ranges, strict=True)))
        except NotInvertibleError as error:
            if self.relation == "=":
                said = error.message.replace(short(self.root), self.target)
                raise NotInvertibleError(said, hint=error.hint) from error
            return self.where_it_holds(Interval(*(limits or (self.leaf.low, self.leaf.high))))
        # Formulas are of the whole box; a search may have looked at a part of it.
        box = found.box if found.method == "all roots" else Interval(*(limits or (self.leaf.low, self.leaf.high)))
        values = tuple(self.possible(x, span) for x, span in roots)
        region = tuple(span for _, span in roots)
        complete = found.complete
        if self.relation != "=":
            complete = complete and self.steady(box)
            region = self.region(box, region)
        return self.answer(
            values=values, region=region, method=found.method, complete=complete,
            formula=found.formula, conditions=found.conditions, residual=found.residual, box=box,
            _rises=self._rises(values[0]),
        )  # fmt: skip

    def possible(self, x: float, span: Interval) -> float:
        """Return a value that the unknown can have, of those around `x` with which the target is attained."""
        return x

    def accepted(self, roots: list[tuple[float, Interval]]) -> list[tuple[float, Interval]]:
        """Return those roots that the model takes, each with how far around it the target is attained.

        Raises:
            NotInvertibleError: it takes none.
        """
        return roots

    def _rises(self, x: float) -> bool | None:
        """Return whether the output is larger above a value than below it."""
        at = self.function
        step = 1e-3 * abs(x) or 1e-9
        below, above = at(max(x - step, self.leaf.low)), at(min(x + step, self.leaf.high))
        return None if below == above or math.isnan(below + above) else above > below

    def holds(self, x: float) -> bool:
        """Return whether the target is met for a value of the unknown."""
        try:
            output = self.at(x) if self.alone else self.function(x)
            self.seen.append(output)
            return meets(output, self.relation, self.goal)
        except MlsysimError:  # sizes that do not divide, numbers too large to be computed with
            return False

    def size(self, x: float) -> float:
        """Return how large the terms are of which the output is made."""
        return size_of_terms(self.root, {**self.fixed, self.leaf.name: x})

    def meets(self, output: float, x: float) -> bool:
        """Return whether an output for a value of the unknown equals the target, to what rounding may come to."""
        return abs(output - self.goal) <= TOLERANCE * (abs(self.goal) or self.size(x))

    def steady(self, box: Interval) -> bool:
        """Return whether it is proven that an inequality starts or stops to hold at a root only, or only once: the
        output never jumps, or only rises or falls."""
        return Prover(self.root, self.leaf).steady({**self.fixed, self.leaf.name: box})

    def region(
        self, box: Interval, roots: Sequence[Interval] = (), others: Sequence[float] = ()
    ) -> tuple[Interval, ...]:
        """Return where an inequality holds, as far as numbers of all sizes (and others) show: beside each root, and
        where it starts or stops to hold between two of them, by halving."""
        ends = [end for span in roots for end in span if math.isfinite(end)]
        near = [x for end in ends for x in _beside(end)]
        far = [(abs(self.near or 0.0) or 1.0) * 10.0**power for power in (-12, -9, -6, 6, 9, 12)]
        points = sorted({x for x in (*near, *self.sizes(box), *far, *ends, *others) if box.low <= x <= box.high})
        held: list[Interval] = []
        before: tuple[float, bool] | None = None
        for x in points:
            true = x in ends or self.holds(x)
            if true and before is not None and before[1]:
                held[-1] = Interval(held[-1].low, x)
            elif true:  # what holds at the first point holds down to the end of the box
                held.append(Interval(box.low if before is None else self._edge(x, before[0], ends), x))
            elif before is not None and before[1]:
                held[-1] = Interval(held[-1].low, self._edge(before[0], x, ends))
            before = x, true
        if before is not None and before[1]:
            held[-1] = Interval(held[-1].low, box.high)
        return tuple(held)

    def _edge(self, inside: float, outside: float, ends: Sequence[float]) -> float:
        """Return the last value from `inside` towards `outside` for which the target is met; a root that lies there."""
        if inside in ends:
            return inside
        while (middle := middle_of(*sorted((inside, outside)))) not in (inside, outside):
            if self.holds(middle):
                inside = middle
            else:
                outside = middle
        return inside

    def sizes(self, box: Interval) -> list[float]:
        """Return values of all sizes inside a box, zero aside, and the ends that can be had."""
        around = abs(self.near or 0.0) or 1.0
        sizes = [around * 10.0 ** (step / 10) for step in range(-30, 31)]
        sizes += [around * step / 20 for step in range(10, 41)]
        if not self.near:
            sizes += [2.0**step for step in range(-40, 61)]
        if all(map(math.isfinite, box)):
            sizes += [box.low + (box.high - box.low) * step / 20 for step in range(21)]
        return sorted({x for x in (*sizes, *box) if box.low <= x <= box.high and x != 0.0 and math.isfinite(x)})

    def where_it_holds(self, box: Interval) -> SolvedFor:
        """Return where an inequality holds, where no value gives equality.

        Raises:
            NotInvertibleError: it holds nowhere.
        """
        bounds, move = Prover(self.root, self.leaf).study({**self.fixed, self.leaf.name: box})
        everywhere = meets(bounds.low, self.relation, self.goal) and meets(bounds.high, self.relation, self.goal)
        region = (box,) if everywhere and not self.alone else self.region(box)
        if not region:
            reach = None if self.alone else self._extent(box)
            if reach is not None:  # where the output is most likely to be what is wanted
                region = self.region(box, others=[reach.at_least if self.relation == "<=" else reach.at_greatest])
        if not region:
            raise NotInvertibleError(
                f"no {self.leaf.name} makes {self.target} {self.relation} {show(self.goal, self.root.dimension)}",
                hint=self.looked_at() if reach is None else reach.described(self.goal, self.shown, complete=False),
            )
        inner = [end for span in region for end in span if box.low < end < box.high]
        end = box.low if math.isfinite(box.low) else box.high
        return self.answer(values=tuple(inner or [end]), region=region, box=box, residual=0.0, _rises=None,
                           method="boundary by halving" if inner else "holds everywhere",
                           complete=not self.alone and (everywhere or move in (1, -1)))  # fmt: skip

    def _extent(self, box: Interval) -> Extent | None:
        """Return between which values the output lies; None where the unknown plays no part in it."""
        try:
            return extent_of(self.root, self.leaf, self.known, box)
        except NotInvertibleError:
            return None

    def looked_at(self) -> str | None:
        """Return the range of the outputs that were looked at, as a text; None where there were none."""
        seen = [output for output in self.seen if not math.isnan(output)]
        if not seen:
            return None
        return f"where it was looked at, {self.target} is {self.shown(min(seen))} to {self.shown(max(seen))}"

    def shown(self, output: float, digits: int = 6) -> str:
        """Return an output as text."""
        if math.isinf(output):
            return "infinity" if output > 0 else "-infinity"
        return show(output, self.root.dimension, digits)


def _beside(end: float) -> tuple[float, float]:
    """Return a value below and one above another, near to it."""
    step = 1e-7 * (abs(end) or 1e-9)
    return end - step, end + step
