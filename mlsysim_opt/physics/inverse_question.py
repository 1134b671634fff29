"""One question of `solve_for`: the model, its equation for the output, and the number that is unknown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.expression import Symbol, constant, symbols
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.roots import merged_roots, middle_of
from mlsysim_opt.errors import InputError, MlsysimError, NotInvertibleError, ScaleError, UnknownNameError
from mlsysim_opt.physics.base import Model, own_name
from mlsysim_opt.physics.follows import input_text, reads
from mlsysim_opt.physics.inputs import REQUIRED, Degree, Given, Input, Number
from mlsysim_opt.physics.inverse_answer import Relation, SolvedFor
from mlsysim_opt.physics.inverse_equation import InverseEquation
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.limits import limits_of
from mlsysim_opt.units import show

if TYPE_CHECKING:
    from mlsysim_opt.physics.traced import Traced
    from mlsysim_opt.registry.fields import Number as FieldNumber


EFFORT, SETTINGS = 300, 250
"""Where other inputs follow from the unknown: pieces looked at between two numbers near to each other, and numbers from
which they are derived."""


class InverseQuestion(InverseEquation):
    """One question: the model, its equation for the output, and the leaf that is unknown."""

    def __init__(self, model: Model, target: str, relation: Relation, unknown: str, given: dict[str, Any]) -> None:
        self.model, self.target = model, target
        inputs = {item.name: item for item in model.inputs}
        asked = {model.aliases.get(name, name): value for name, value in given.items()}
        real = own_name(model, unknown)
        self.given = asked
        self.item: Input | None = inputs.get(real)
        if self.item is not None and asked.get(real) is not None:
            raise InputError(f"{real} is the unknown, and given as {asked[real]}", path=real)
        self.values = self._checked(asked, target)
        self.traced: Traced = model.trace(self.values)
        if target not in self.traced.expressions and target in self.traced.result.field_names():
            model.check_known(target, self.traced, self.values)
            raise NotInvertibleError(f"{target} is not known here")
        self.root = model.output(target, self.traced)
        if self.root.sort != "number":
            raise InputError(f"{target} is a {self.root.sort}, not a number", path="target")
        known = model.leaf_values(self.values)
        leaf = self._leaf(real)
        near = self._usual() if self.item is not None else float(known[leaf.name])
        super().__init__(target, self.root, relation, leaf, known, near)

    def _usual(self) -> float | None:
        """Return what an unknown input is where it is not given; None where it has no usual value."""
        default = None if self.item is None or self.item.default is REQUIRED else self.item.default
        return None if default is None or self.item is None else float(self.item.read(default)) or None

    @property
    def unit(self) -> str | None:  # type: ignore[override]
        return self.traced.result.units.get(self.target)

    @cached_property
    def field(self) -> FieldNumber | None:
        return limits_of(self.leaf.name, self.values) if self.item is None else None

    @cached_property
    def alone(self) -> bool:  # type: ignore[override]
        """Whether other inputs follow from the unknown, so that each value of it is a question of its own."""
        leaves = symbols(self.root)
        if not any(leaf is self.leaf for leaf in leaves):
            return True
        derived = self.model.derived
        if derived and derived.isdisjoint(leaf.name for leaf in leaves):
            return False  # what follows from others plays no part in this output
        return reads(self.model, self.given, self.values, [self.leaf.name])

    def _checked(self, asked: dict[str, Any], target: str) -> dict[str, Any]:
        """Return the inputs with some value of an unknown one, so that there are equations of the target to look at.

        Raises:
            InputError: an input is wrong, or no value of the unknown goes with the others.
        """
        if self.item is None:
            return self.model.check(**asked)
        first: InputError | None = None
        lacking: dict[str, Any] | None = None
        for value in _placeholders(self.item):
            try:
                found = self.model.check(**{**asked, self.item.name: value})
            except InputError as error:  # sizes that do not divide
                if not self.model.derives or isinstance(error, UnknownNameError):
                    raise
                first = first or error
                continue
            if not self.model.derives or target in self.model.trace(found).expressions:
                return found
            lacking = lacking or found
        if lacking is not None:
            return lacking
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
        if (isinstance(self.item, Number) or datum is not None) and reads(self.model, self.given, self.values, [name]):
            if isinstance(self.item, Number):
                return Symbol(name, self.item.of, integer=self.item.integer, low=self.item.low, high=self.item.high)
            assert datum is not None
            return Symbol(name, datum.dimension, integer=datum.kind == "count")
        if self.item is not None or datum is not None:
            raise NotInvertibleError(f"{self.target} does not depend on {name}, as the others are given")
        raise UnknownNameError("number that the output depends on", name, [*leaves])

    def ask(self, changed: Mapping[str, Any]) -> Any:
        """Return the model's own answer with the unknown (or an entry) replaced."""
        return self.model.solve(**{**self.given, **changed})

    @property
    def askable(self) -> bool:  # type: ignore[override]
        """Whether the unknown is an input or a number of an entry that is given, not one that is derived."""
        name, _, path = self.leaf.name.partition(".")
        entry = self.values.get(name)
        return self.item is not None or (isinstance(entry, Entry) and (path in entry.parameters() or self._yes_or_no))

    @property
    def _yes_or_no(self) -> bool:
        return self.leaf.integer and self.leaf.high == 1.0

    def change(self, x: float) -> dict[str, Any]:
        """Return the input, or the entry, that has this value in place of the unknown.

        Raises:
            InputError: the unknown is neither an input nor a number of an entry that is given.
        """
        if isinstance(self.item, Number):
            return {self.item.name: input_text(self.item, x)}
        name, _, path = self.leaf.name.partition(".")
        entry = self.values.get(name)
        if not isinstance(entry, Entry) or not self.askable:
            raise InputError(f"{self.leaf.name} is not a number of an entry that is given", path="unknown")
        if self._yes_or_no:
            return {name: entry.replacing(path, bool(x))}
        new = entry.parameter(path).changed(int(x) if self.leaf.integer else x, "solved for")
        return {name: entry.replacing(path, new)}

    def outputs(self, numbers: Sequence[float]) -> list[float]:
        """Return the model's own output for each of several values; NaN where there is none."""
        changes = [self.change(number) for number in numbers]
        ((name, _),) = changes[0].items()
        swept = self.model.sweep(outputs=[self.target], **{**self.given, name: [item[name] for item in changes]})
        found: list[float] = swept.si(self.target).tolist()
        return found

    @property
    def entry(self) -> str | None:  # type: ignore[override]
        """The input whose entry holds the unknown, and the kind of the entry; None for other unknowns."""
        name, dot, _ = self.leaf.name.partition(".")
        held = self.values.get(name)
        takes = any(item.name == name and isinstance(item, Given) for item in self.model.inputs)
        return f"{name}:{held.kind}" if dot and takes and isinstance(held, Entry) else None

    # continuous unknowns ----------------------------------------------------------------------------------------------
    def continuous(self, limits: tuple[float, float] | None) -> SolvedFor:
        if not self.alone or not self.askable:
            return super().continuous(limits)
        if self.relation == "=":
            return self._as_others_follow(limits)
        return self._kept_as_others_follow(limits)

    def _kept_as_others_follow(self, limits: tuple[float, float] | None) -> SolvedFor:
        """Return where an inequality holds, as far as values of all sizes, and those that give equality, show."""
        box = Interval(*(limits or (self.leaf.low, self.leaf.high)))
        try:
            found = self._as_others_follow(limits)
        except NotInvertibleError:
            return self.where_it_holds(box)
        region = self.region(box, found.region)
        return replace(found, region=region, _rises=self._rises(found.value), box=box, notes=self.notes(region, box))

    def holds(self, x: float) -> bool:
        return super().holds(x) and (not (self.askable and self.model.refuses) or self._taken(x))

    def _taken(self, x: float) -> bool:
        """Return whether the model takes a value of the unknown."""
        try:
            self.model.check(**{**self.given, **self.change(x)})
        except MlsysimError:
            return False
        return True

    def possible(self, x: float, span: Interval) -> float:
        if isinstance(self.item, Number) and self.item.open_low and x <= self.item.low < span.high:  # no load at all
            return span.high if math.isfinite(span.high) else middle_of(*span)
        return x

    def setting(self, number: float) -> tuple[Any, dict[str, Any]] | None:
        """Return what all leaves but the unknown are for a value of it, where other inputs follow from it, and a key of
        that; None where it cannot have this value, or the equations are others."""
        try:
            values = self.model.check(**{**self.given, **self.change(number)})
        except MlsysimError:  # sizes that do not divide
            return None
        if self.model.trace(values).expressions.get(self.target) is not self.root:
            return None
        known = self.model.leaf_values(values)
        known.pop(self.leaf.name, None)
        return tuple((name, value) for name, value in known.items() if isinstance(value, int | float | str)), known

    def _refined(self, points: Sequence[float]) -> dict[float, tuple[Any, dict[str, Any]] | None]:
        """Return the settings of numbers, and of numbers between two of different settings."""
        found = {point: self.setting(point) for point in points}
        waiting = list(pairwise(points))
        for _ in range(4):
            halves = []
            for low, high in waiting:
                here, there = found[low], found[high]
                middle = middle_of(low, high)
                if here and there and here[0] != there[0] and len(found) < SETTINGS and low < middle < high:
                    found[middle] = self.setting(middle)
                    halves += [(low, middle), (middle, high)]
            waiting = halves
        return dict(sorted(found.items()))

    def _as_others_follow(self, limits: tuple[float, float] | None) -> SolvedFor:
        """Return the values that the model confirms. Each set of values of what follows from the unknown is looked at
        around the numbers that lead to it: that of today, and others of all sizes near to it.

        Raises:
            NotInvertibleError: there is none.
        """
        low, high = limits or (self.leaf.low, self.leaf.high)
        settings = self._refined(self.sizes(Interval(low, high)))
        roots = []
        for box in pairwise(settings):
            ends = dict(item for item in map(settings.get, box) if item is not None)
            for known in ends.values():
                roots += self._crossed(known, Interval(*box))
        if not roots:
            hints = [self.looked_at(), "give those that follow from it"]
            raise NotInvertibleError(
                f"no {self.leaf.name} was found that gives {self.target} the value "
                f"{show(self.goal, self.root.dimension, 6)}: other inputs follow from it",
                hint="; ".join(filter(None, hints)),
            )
        roots = merged_roots(roots, lambda x: abs(self.at(x) - self.goal))
        roots = [(x, self._widened(span, [*settings]) if span.low < span.high else span) for x, span in roots]
        values = tuple(x for x, _ in roots)
        off = max(abs(self.at(x) - self.goal) / (abs(self.goal) or self.size(x)) for x in values)
        return self.answer(values=values, region=tuple(span for _, span in roots), method="all roots", complete=False,
                           residual=off, box=Interval(low, high), _rises=None)  # fmt: skip

    def _crossed(self, known: Mapping[str, Any], box: Interval) -> list[tuple[float, Interval]]:
        """Return the values that the model confirms in a small box at whose ends the output lies on both sides of the
        target, or on it, each with how far it is attained around; none where it lies on one side."""
        try:
            at = [float(self.program.run_named({**known, self.leaf.name: end})[0]) for end in box]
        except ScaleError:  # too large to be computed with
            return []
        self.seen += at
        on = [self.meets(output, end) for output, end in zip(at, box, strict=True)]
        found: list[tuple[float, Interval]] = []
        if all(on):
            found = [(box.low, box)]
        elif any(on) or (at[0] - self.goal) * (at[1] - self.goal) < 0:
            with suppress(NotInvertibleError, ScaleError):
                goal = constant(self.goal, self.root.dimension)
                inverse = invert(self.root, goal, self.leaf, values=known, box=box, effort=EFFORT,
                                 explain=False)  # fmt: skip
                found = list(zip(inverse.values, inverse.ranges, strict=True))
        roots = []
        for x, span in found:
            ends = [end for end in (x, span.low, middle_of(*span), span.high) if self._confirms(end)]
            if ends:
                roots.append((ends[0], span if len(ends) == 4 else Interval(ends[0], ends[0])))
        return roots

    def _confirms(self, x: float) -> bool:
        """Return whether the model itself gives the target for a value of the unknown."""
        try:
            return self.meets(self.at(x), x)
        except MlsysimError:
            return False

    def accepted(self, roots: list[tuple[float, Interval]]) -> list[tuple[float, Interval]]:
        if not self.model.refuses or not self.askable:
            return roots
        kept = []
        for x, span in roots:
            ends = [end for end in (x, span.low, middle_of(*span), span.high) if self._confirms(end)]
            if ends:
                kept.append((ends[0], span if len(ends) == 4 else self._confirmed(ends[0], span)))
        if not kept:
            with suppress(NotInvertibleError):
                self.at(roots[0][0])  # says what is wrong with it
            raise NotInvertibleError(f"no {self.leaf.name} that the model takes gives {self.target} this value")
        return kept

    def _widened(self, span: Interval, points: Sequence[float]) -> Interval:
        """Return a stretch on which the target is attained up to where it is not, before the points around it."""
        low = max((x for x in points if x < span.low), default=span.low)
        high = min((x for x in points if x > span.high), default=span.high)
        return Interval(self._confirmed(span.low, Interval(low, low)).low,
                        self._confirmed(span.high, Interval(high, high)).high)  # fmt: skip

    def _confirmed(self, x: float, span: Interval) -> Interval:
        """Return how far around `x` the model gives the target, of an interval."""
        ends = []
        for outside in span:
            inside = x
            while (middle := middle_of(*sorted((inside, outside)))) not in (inside, outside):
                inside, outside = (middle, outside) if self._confirms(middle) else (inside, middle)
            ends.append(outside if self._confirms(outside) else inside)
        return Interval(*ends)


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
        shares = [start * 2.0**power for power in (-1, -2, 1, 2, 4, 8)]
        yield from (f"{share} {item.unit}" for share in shares if item.low < share < item.high)
        return
    yield from (int(start) << power for power in range(17))
    yield from range(int(start), 512)
