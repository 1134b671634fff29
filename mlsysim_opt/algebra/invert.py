"""Inversion: the value of one unknown that gives an expression a wanted value.

The unknown is isolated in closed form where it stands on one path; else its root is bracketed where the expression is
proven to rise or fall; else all roots are found by dividing the box. Every root is substituted back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from mlsysim_opt.algebra.bounds import Box, size_of_terms
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import (
    Choice,
    Constant,
    Expression,
    Operand,
    Symbol,
    constant,
    expression,
    short,
    topological,
)
from mlsysim_opt.algebra.extent import PARTS, Extent, extent
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.interval import EVERYTHING, Interval
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.algebra.roots import Function, Search, find_bracket
from mlsysim_opt.algebra.unknown import dependents, function_of, given_box, isolate
from mlsysim_opt.errors import DimensionError, InputError, NotInvertibleError
from mlsysim_opt.units import Measure, as_time, dimension_text, show

TOLERANCE = 1e-9
"""Relative difference from the target that an accepted root may leave."""

ROUNDING = 1e-13
"""Relative difference that rounding alone may make: an end of the box this near to the target is a root."""

USUAL, FEWEST = 300, 100
"""Nodes of an expression beyond which fewer pieces are looked at, and how many at least."""

Method = Literal["closed form", "bracketed root", "all roots"]


@dataclass(frozen=True)
class Inverse:
    """The answer of an inversion.

    Attributes:
        unknown: the symbol solved for.
        values: the roots in base units, lowest first.
        formula: the unknown as an expression of everything else, where it stands on one path.
        conditions: what must hold for the formula to be valid; where the method is "closed form", all of it does.
        method: how the roots were found.
        complete: whether it is proven that the box holds no other root.
        residual: the largest relative difference from the target when a root is substituted back.
        ranges: for each root, the interval over which the target is attained (wider than a point on a plateau).
        resolution: relative width down to which the box was searched; 0 where nothing had to be searched.
        box: what `complete` is said of.
    """

    unknown: Symbol
    values: tuple[float, ...]
    formula: Expression | None
    conditions: tuple[Expression, ...]
    method: Method
    complete: bool
    residual: float
    ranges: tuple[Interval, ...]
    resolution: float = 0.0
    box: Interval = EVERYTHING

    @property
    def value(self) -> float:
        """The only root, or the lowest."""
        return self.values[0]

    def __str__(self) -> str:
        found = " or ".join(show(item, self.unknown.dimension, 6) for item in self.values)
        others = "" if self.complete else "; other values are not excluded"
        if self.complete and self.method == "all roots":
            low, high = (show(item, self.unknown.dimension, 4) if math.isfinite(item) else f"{item:+}"
                         for item in self.box)  # fmt: skip
            others = f"; none else between {low} and {high}"
        return f"{self.unknown.name} = {found} ({self.method}{others})"


def invert(
    root: Expression,
    target: Operand,
    unknown: Symbol,
    *,
    values: Mapping[str, Any] | None = None,
    box: tuple[float, float] | None = None,
    near: float | None = None,
    effort: int = 4000,
    explain: bool = True,
) -> Inverse:
    """Return the values of `unknown` for which `root` equals `target`.

    Args:
        root: the expression.
        target: the wanted value: an expression of the same dimension, a quantity, or text such as ``30 ms``.
        unknown: a symbol that is not whole by type (see `invert_whole.invert_integer`).
        values: the value of every other leaf, by name.
        box: where to look, in base units; by default the bounds of the unknown.
        near: where all roots have to be searched and no box is given, they are searched within a factor of a thousand
            of this value first.
        effort: how many pieces of the box are looked at, at most, where all roots are searched; in proportion fewer
            for an expression of more than `USUAL` nodes, its derivative included.
        explain: whether the attainable range is looked for where nothing gives the target.
    Raises:
        NotInvertibleError: no value gives the target; the hint says what can be attained.
        DimensionError: the target has another dimension than the expression.
        InputError: a leaf has no value, or the unknown is not in the expression.
    """
    task = _Task(root, _target(root, target), unknown, values or {}, box, explain)
    closed = task.closed_form()
    if closed is not None:
        return closed
    bounds, move = task.prover.study(task.box(task.low, task.high))
    if not bounds.contains(task.goal):
        raise task.failure()
    if move == 0:
        raise NotInvertibleError(f"{short(root)} does not change with {unknown.name} between the given bounds")
    found = None if move is None else task.bracketed(move)
    if found is None:
        seen = task.seen(near)
        if task.indifferent(seen):
            raise NotInvertibleError(f"{short(root)} does not change with {unknown.name} by more than rounding")
        if not (min(seen, default=math.inf) <= task.goal <= max(seen, default=-math.inf)):
            task.within_reach()
        if near and box is None:
            found = task.nearby(near, effort)
    return found or task.all_roots(effort)


def extent_of(
    root: Expression, unknown: Symbol, values: Mapping[str, Any], box: tuple[float, float] | None = None
) -> Extent:
    """Return between which values `root` lies as `unknown` moves over a box; arguments are those of `invert`."""
    return _Task(root, constant(0, root.dimension), unknown, values, box).extent


# one task ---------------------------------------------------------------------------------------------------
class _Task:
    """What is asked, with the functions that all three ways use."""

    def __init__(
        self,
        root: Expression,
        target: Expression,
        unknown: Symbol,
        values: Mapping[str, Any],
        box: tuple[float, float] | None,
        explain: bool = True,
    ) -> None:
        if unknown.integer:
            raise InputError("this unknown is a whole number", path=unknown.name, hint="use invert_integer")
        if id(unknown) not in dependents(root, unknown):
            raise NotInvertibleError(f"{short(root)} does not depend on {unknown.name}")
        if id(unknown) in dependents(target, unknown):
            raise InputError(f"the target {short(target)} depends on {unknown.name} itself")
        self.root, self.target, self.unknown, self.values = root, target, unknown, values
        self.low, self.high = (unknown.low, unknown.high) if box is None else (float(box[0]), float(box[1]))
        if not self.low <= self.high:
            low, high = (show(item, unknown.dimension, 6) for item in (self.low, self.high))
            raise InputError(f"the lower bound {low} is not below the upper bound {high}", path=unknown.name)
        self.fixed = given_box(root, values, unknown)
        work = folded(root, {name: value for name, value in self.fixed.items() if isinstance(value, float)})
        if id(unknown) not in dependents(work, unknown):
            raise NotInvertibleError(f"{short(root)} does not change with {unknown.name}, as the others are given")
        value = function_of([work], unknown, values)
        self.goal = float(ScalarProgram([target]).run_named(values)[0])
        if not math.isfinite(self.goal):
            raise InputError(f"the target {short(target)} is not a finite number")
        self.prover = Prover(work, unknown)
        self.explain = explain
        self.isolated = isolate(root, target, unknown)
        self.function: Function = lambda x: float(value(x)[0])

    def box(self, low: float, high: float) -> Box:
        return {**self.fixed, self.unknown.name: Interval(low, high)}

    def residual(self, x: float) -> float:
        """Return the relative difference from the target at `x`; infinite where there is no value.

        A target of zero has no size: then the difference is one from the terms that cancel.
        """
        gap = abs(self.function(x) - self.goal)
        if math.isnan(gap):
            return math.inf
        if self.goal or not gap:
            return gap / abs(self.goal) if gap else 0.0
        return gap / size_of_terms(self.prover.root, self.box(x, x))

    def answer(self, roots: list[tuple[float, Interval]], **facts: Any) -> Inverse:
        formula, conditions = self.isolated or (None, ())
        return Inverse(
            unknown=self.unknown,
            values=tuple(x for x, _ in roots),
            formula=formula,
            conditions=tuple(item for item in conditions if _has_leaves(item)),
            ranges=tuple(span for _, span in roots),
            residual=max(self.residual(x) for x, _ in roots),
            **{"box": Interval(self.low, self.high), **facts},
        )

    def show(self, value: float, digits: int = 6) -> str:
        if math.isinf(value):
            return "-infinity" if value < 0 else "infinity"
        return show(value, self.root.dimension, digits)

    @cached_property
    def extent(self) -> Extent:
        """Between which values the expression lies over the box."""
        parts = max(FEWEST // 5, min(PARTS, PARTS * USUAL // self.prover.size))
        return extent(self.function, lambda a, b: self.prover.growing(self.box(a, b)), self.low, self.high, parts)

    def within_reach(self) -> None:
        """Raise the error that nothing gives the target, where it is proven to lie outside of what can be attained."""
        if not self.extent.contains(self.goal, TOLERANCE * abs(self.goal)):
            raise self.failure()

    def failure(self, *, complete: bool = True) -> NotInvertibleError:
        """Return the error that nothing gives the target, which is proven where the search was `complete`."""
        unknown = self.unknown
        low, high = (
            show(item, unknown.dimension, 6) if math.isfinite(item) else f"{item:+}" for item in (self.low, self.high)
        )
        said = f"no {unknown.name} between {low} and {high} gives {short(self.root)} the value {self.show(self.goal)}"
        reach = self.extent.described(self.goal, self.show, complete=complete) if self.explain else None
        if complete:
            return NotInvertibleError(said, hint=reach)
        return NotInvertibleError(
            f"{said}, as far as the search went", hint="; ".join(filter(None, [reach, "a box narrows the search"]))
        )

    # (a) ----------------------------------------------------------------------------------------------------
    def closed_form(self) -> Inverse | None:
        """Return the isolated root if it holds; None hands over to the search."""
        if self.isolated is None:
            return None
        formula, conditions = self.isolated
        value = float(ScalarProgram([formula]).run_named(self.values)[0])
        if not (math.isfinite(value) and self.low <= value <= self.high and self.residual(value) <= TOLERANCE):
            return None
        held = ScalarProgram(conditions).run_named({**self.values, self.unknown.name: value})
        if not all(held) or not self.only_one() or self.plateau(value, self.low, self.high) != (value, value):
            return None
        return self.answer([(value, Interval(value, value))], method="closed form", complete=True)

    def only_one(self) -> bool:
        """Whether every step to the unknown has one inverse over the box."""
        return self.prover.direction(self.box(self.low, self.high)) is not None

    def plateau(self, x: float, low: float, high: float) -> Interval:
        """Return how far around the root `x` the target is attained, where the expression only rises or falls."""
        attained = (self.goal, self.function(x))  # the two may differ in the last digit
        step = abs(x) * 1e-6 or 1e-300

        def same(item: float) -> bool:
            return self.function(item) in attained

        return Interval(
            _edge(same, x, low) if x > low and same(max(low, x - step)) else x,
            _edge(same, x, high) if x < high and same(min(high, x + step)) else x,
        )

    # (b) ----------------------------------------------------------------------------------------------------
    def bracketed(self, move: int) -> Inverse | None:
        """Return the root of an expression that never falls (`move` 1) or never rises (-1).

        None if it has no value at some place, so that a root may be hidden beyond.
        """
        found = find_bracket(lambda x: move * (self.function(x) - self.goal), self.low, self.high)
        if found.undefined:
            return None
        if found.root is None:
            end = min((found.low, found.high), key=self.residual)
            if self.residual(end) > ROUNDING:
                raise self.failure()
            return self.answer([(end, Interval(end, end))], method="bracketed root", complete=True)
        x = found.root
        if self.residual(x) > TOLERANCE:
            room = abs(x) * ROUNDING
            beside = (math.nextafter(x - room, -math.inf), math.nextafter(x + room, math.inf))
            below, above = (self.show(self.function(item)) for item in beside)
            raise NotInvertibleError(
                f"{short(self.root)} never is {self.show(self.goal)}: at {self.unknown.name} = "
                f"{show(x, self.unknown.dimension, 6)} it jumps between {below} and {above}"
            )
        span = self.plateau(x, self.low, self.high)
        lowest = span.low if span.low < span.high and math.isfinite(span.low) else x
        return self.answer([(lowest, span)], method="bracketed root", complete=True)

    # (c) ----------------------------------------------------------------------------------------------------
    def seen(self, near: float | None) -> list[float]:
        """Return the values at numbers of all sizes, as far as there are any."""
        powers = range(-12, 13) if near else range(-30, 31, 2)
        points = [min(max(abs(near or 1.0) * 10.0**power, self.low), self.high) for power in powers]
        return [value for value in map(self.function, points) if not math.isnan(value)]

    @staticmethod
    def indifferent(seen: Sequence[float]) -> bool:
        """Whether values are the same up to rounding: those of terms that cancel."""
        return bool(seen) and max(seen) - min(seen) <= TOLERANCE * max(map(abs, seen)) < math.inf

    def nearby(self, near: float, effort: int) -> Inverse | None:
        """Return all roots within a factor of a thousand of a value; None if there are none, or not all were found."""
        low, high = sorted((near / 1e3, near * 1e3))
        part = max(low, self.low), min(high, self.high)
        around = _Task(self.root, self.target, self.unknown, self.values, part, explain=False)
        bounds, _ = around.prover.study(around.box(around.low, around.high))
        if not bounds.contains(self.goal):
            return None
        try:
            found = around.all_roots(effort)
        except NotInvertibleError:
            return None
        return found if found.complete else None

    def all_roots(self, effort: int) -> Inverse:
        search = Search(
            self.function,
            self.goal,
            lambda low, high: self.prover.piece(self.box(low, high)),
            self.residual,
            self.plateau,
        )
        effort = min(effort, max(FEWEST, effort * USUAL // self.prover.size))
        found = search.run(self.low, self.high, effort)
        if not found.roots:
            raise self.failure(complete=found.complete)
        return self.answer(
            found.roots, method="all roots", complete=found.complete, resolution=found.resolution, box=found.box
        )


# helpers ----------------------------------------------------------------------------------------------------
def _target(root: Expression, target: Operand) -> Expression:
    node = expression(target)
    if isinstance(node, Constant):
        measure = as_time(Measure(node.magnitude, node.unit), root.dimension)
        node = Constant(measure.magnitude, measure.unit)
    if node.dimension != root.dimension or node.sort != "number" or root.sort != "number":
        raise DimensionError(
            f"{short(root)} is {dimension_text(root.dimension)}, the target {short(node)} is "
            f"{dimension_text(node.dimension)}"
        )
    return node


def _has_leaves(node: Expression) -> bool:
    return any(isinstance(item, Symbol | Choice) for item in topological([node]))


def _edge(same: Callable[[float], bool], inside: float, end: float) -> float:
    """Return the last float from `inside` towards `end` at which `same` holds, by halving; an infinite end where the
    largest numbers are among them."""
    asked = end
    if math.isinf(end):
        outside = inside or math.copysign(1.0, end)
        while same(outside) and abs(outside) < 1e300:
            outside = (
                outside * 4 if outside * end > 0 else outside / 4 if abs(outside) > 1e-300 else math.copysign(1.0, end)
            )
        end = outside
    if same(end):
        return asked
    while True:
        middle = inside + (end - inside) / 2
        if middle in (inside, end):
            return inside
        if same(middle):
            inside = middle
        else:
            end = middle
