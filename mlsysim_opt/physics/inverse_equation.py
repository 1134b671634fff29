"""The inverse of one equation: which value of a number gives an output, or keeps it at most or at least at a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, constant, short
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.algebra.roots import middle_of
from mlsysim_opt.errors import InputError, NotInvertibleError
from mlsysim_opt.physics.inverse_answer import Relation, SolvedFor, meets
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
    field: FieldNumber | None = None
    """What the catalog says of the unknown."""
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
        """Return the lowest and the highest value that a whole unknown can have, within those that are asked for.

        Raises:
            InputError: there is none.
        """
        low, high = self.leaf.low, self.leaf.high
        field = self.field
        if field is not None:  # what the catalog says of it is what it may be
            low = field.minimum + field.above_minimum
            high = high if field.maximum is None else field.maximum
        if asked is not None:
            low, high = max(low, asked[0]), min(high, asked[1])
        if not low <= high:
            raise InputError(f"{self.leaf.name} is not between these bounds", path="box")
        return low, high

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

    def answer(self, **facts: Any) -> SolvedFor:
        """Return the answer with what all have in common."""
        usual: dict[str, Any] = {"formula": None, "conditions": (), "fails_at": ()}
        return SolvedFor(
            unknown=self.leaf.name, target=self.target, relation=self.relation, goal=self.goal,
            dimension=self.leaf.dimension, target_dimension=self.root.dimension, _ask=self.ask, _entry=self.entry,
            _change=self.change, _equation=lambda: folded(self.root, self.known),
            **{**usual, **facts},
        )  # fmt: skip

    def continuous(self, limits: tuple[float, float] | None) -> SolvedFor:
        """Return where an unknown that is not whole meets the target.

        Args:
            limits: the lowest and the highest value to look between; None for all that it can be.
        Raises:
            NotInvertibleError: no value does, or the output does not depend on it.
        """
        goal = constant(self.goal, self.root.dimension)
        try:
            found = invert(self.root, goal, self.leaf, values=self.known, box=limits, near=self.near)
            self.substituted_back(found.values)
        except NotInvertibleError as error:
            if self.relation == "=":
                said = error.message.replace(short(self.root), self.target)
                raise NotInvertibleError(said, hint=error.hint) from error
            return self._everywhere(limits)
        # Formulas are of the whole box; a search may have looked at a part of it.
        box = found.box if found.method == "all roots" else Interval(*(limits or (self.leaf.low, self.leaf.high)))
        values = tuple(map(self.possible, found.values, found.ranges))
        region = found.ranges if self.relation == "=" else self._region(found.ranges, box)
        return self.answer(
            values=values, region=region, method=found.method, complete=found.complete and not self.alone,
            formula=found.formula, conditions=found.conditions, residual=found.residual, box=box,
            _rises=self._rises(found.values[0]),
        )  # fmt: skip

    def possible(self, x: float, span: Interval) -> float:
        """Return a value that the unknown can have, of those around `x` with which the target is attained."""
        return x

    def substituted_back(self, roots: Sequence[float]) -> None:
        """Ask the model itself about what was found, where other inputs may follow from it.

        Raises:
            NotInvertibleError: they do, and the equation alone is not what the model answers.
        """

    def _rises(self, x: float) -> bool | None:
        """Return whether the output is larger above a value than below it."""
        at = self.function
        step = 1e-3 * abs(x) or 1e-9
        below, above = at(max(x - step, self.leaf.low)), at(min(x + step, self.leaf.high))
        return None if below == above or math.isnan(below + above) else above > below

    def _region(self, roots: Sequence[Interval], box: Interval) -> tuple[Interval, ...]:
        """Return where an inequality holds: between two places where both sides are equal it holds or fails as one."""
        at = self.function
        ends = [box.low, *(end for span in roots for end in span), box.high]
        held: list[Interval] = []
        for index, (low, high) in enumerate(pairwise(ends)):
            on_root = index % 2 == 1
            if on_root or (low < high and meets(at(_inside(low, high)), self.relation, self.goal)):
                if held and held[-1].high == low:
                    held[-1] = Interval(held[-1].low, high)
                else:
                    held.append(Interval(low, high))
        return tuple(held)

    def _everywhere(self, limits: tuple[float, float] | None) -> SolvedFor:
        """Return the whole box where the target is met all over it; raise where it is met nowhere."""
        box = Interval(*(limits or (self.leaf.low, self.leaf.high)))
        bounds, _ = Prover(self.root, self.leaf).study({**self.fixed, self.leaf.name: box})
        at = self.function
        points = [_inside(box.low, box.high), *([self.near] if self.near else [])]
        seen = [value for value in map(at, points) if not math.isnan(value)]
        if not seen or not all(meets(value, self.relation, self.goal) for value in seen):
            reach = f"{show(bounds.low, self.root.dimension)} to {show(bounds.high, self.root.dimension)}"
            raise NotInvertibleError(
                f"no {self.leaf.name} makes {self.target} {self.relation} {show(self.goal, self.root.dimension)}",
                hint=f"its values lie within {reach}" if all(map(math.isfinite, bounds)) else None,
            )
        proven = meets(bounds.low, self.relation, self.goal) and meets(bounds.high, self.relation, self.goal)
        end = box.low if math.isfinite(box.low) else box.high
        return self.answer(values=(end,), region=(box,), method="holds everywhere", complete=proven, residual=0.0,
                           box=box, _rises=None)  # fmt: skip


def _inside(low: float, high: float) -> float:
    return middle_of(low, high) if math.isfinite(low) or math.isfinite(high) else 1.0
