"""A question to a model in which some numbers are uncertain: read and checked.

The equations are traced once, with a leaf for every number; uncertain numbers are leaves that get arrays (or
intervals) in place of values. That is right only where nothing else follows from an uncertain number while inputs are
prepared (`follows.reads`); where something does, each sample is checked by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.expression import Expression, Symbol
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.follows import reads
from mlsysim_opt.physics.inputs import Degree, Number
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.registry.limits import limits_of
from mlsysim_opt.solvers.distributions import (
    Law,
    Place,
    Uncertain,
    is_uncertain_text,
    place_of_number,
    uncertain_number,
)
from mlsysim_opt.units import NONE, base_unit


@dataclass(frozen=True)
class Given:
    """An uncertain number of a question.

    Attributes:
        name: of the input, or the path of the number. what: as it was given. law: what it is there.
        is_input: whether it is an input of the model, not a number of the catalog. place: what it may be.
    """

    name: str
    what: Uncertain
    law: Law
    is_input: bool
    place: Place

    @property
    def is_interval(self) -> bool:
        """Whether nothing is said of how likely its values are."""
        return self.law.kind == "interval"

    def text_of(self, value: float) -> str:
        """Return a value of it as the model's inputs take it."""
        unit = "" if self.place.dimension == NONE else f" {base_unit(self.place.dimension).text}"
        return f"{int(value)}" if self.place.integer else f"{value!r}{unit}"


class UncertainQuestion:
    """A model with some uncertain givens, and the outputs asked for.

    Args:
        model: the model. outputs: names of its outputs. constraints: conditions on its outputs, as text.
        given: its inputs, uncertain ones among them, and numbers of catalog entries by their paths.
    Attributes:
        givens: the uncertain numbers, in the order given. drawn: those that are distributions. intervals: the others.
        follows: whether other inputs follow from an uncertain one, so that each sample is checked by itself.
        values, known, traced, roots: checked inputs with some value of each uncertain one, the leaves of their
            equations, these equations, and what of them is asked for (outputs, constraints, conditions) by name.
        labels: of each output that is a label, what it may be.
    Raises:
        InputError: nothing is uncertain, or an uncertain number is outside of what it may be.
        UnknownNameError: an input, a path or an output does not exist.
    """

    def __init__(
        self, model: Model, outputs: Sequence[str], constraints: Sequence[str], given: Mapping[str, Any]
    ) -> None:
        self.model = model
        self.name = type(model).__name__
        self.outputs = _texts(outputs, "outputs", "itl")
        self.conditions = _texts(constraints, "constraints", "itl <= 30 ms")
        if not self.outputs:
            raise InputError("name at least one output", path="outputs")
        self._inputs = {item.name: item for item in model.inputs}
        self.fixed: dict[str, Any] = {}
        asked, paths = self._sorted(given)
        if not asked and not paths:
            raise InputError(
                "nothing is uncertain", path=self.name,
                hint="give an input, or a number such as 'hardware.memory.bandwidth', as mo.Between, mo.Normal, "
                "mo.Uniform, ...; for known numbers ask the model itself",
            )  # fmt: skip
        laws = {name: self._given(name, what) for name, what in asked.items()}
        start = self._nominal(laws)
        self.values = start
        self.known = dict(model.leaf_values(start))
        leaves = {leaf.name: leaf for leaf in model.trace(start).program.leaves}
        laws.update({path: self._number(path, what, leaves) for path, what in paths.items()})
        self.givens = tuple(laws[name] for name in [self.model.aliases.get(key, key) for key in given] if name in laws)
        self.drawn = tuple(item for item in self.givens if not item.is_interval)
        self.intervals = tuple(item for item in self.givens if item.is_interval)
        self.follows = self._what_follows()
        if not self.follows:
            self.values = self.general(start, self.givens)
            self.known = dict(model.leaf_values(self.values))
        self.traced = model.trace(self.values)
        self.labels: dict[str, tuple[Any, ...]] = dict(self.traced.labels)
        self.roots = self.wanted(self.traced, self.values)

    # reading ----------------------------------------------------------------------------------------------------------
    def _sorted(self, given: Mapping[str, Any]) -> tuple[dict[str, Uncertain], dict[str, Uncertain]]:
        """Return the uncertain inputs and the uncertain numbers of entries; what is certain goes to `fixed`."""
        asked: dict[str, Uncertain] = {}
        paths: dict[str, Uncertain] = {}
        real_names = [self.model.aliases.get(name, name) for name in given]
        for name, value in given.items():
            real = self.model.aliases.get(name, name)
            if real_names.count(real) > 1:
                spelt = [repr(key) for key in given if self.model.aliases.get(key, key) == real]
                raise InputError(f"{real!r} is given twice: as {' and as '.join(spelt)}", path=real)
            is_path = real not in self._inputs and "." in name
            item = self._inputs.get(real)
            if isinstance(value, str) and is_uncertain_text(value) and (is_path or isinstance(item, Number)):
                try:
                    value = uncertain_number(value)
                except InputError as error:
                    error.path = error.path or real
                    raise
            if is_path:
                if not isinstance(value, Uncertain):
                    raise InputError(
                        f"{value!r} is certain; numbers of the catalog are given here only where they are uncertain",
                        path=name, hint=f"mo.Between({value!r}, {value!r}) puts another value in its place",
                    )  # fmt: skip
                paths[name] = value
            elif not isinstance(value, Uncertain):
                self.fixed[name] = value
            elif item is None:
                raise UnknownNameError(f"argument of {self.name}", name, [*self._inputs, *self.model.aliases])
            elif not isinstance(item, Number):
                raise InputError(f"{real} is not a number, so it cannot be uncertain", path=real,
                                 hint="ask once for each of its values")  # fmt: skip
            else:
                asked[real] = value
        return asked, paths

    def _given(self, name: str, what: Uncertain) -> Given:
        item = self._inputs[name]
        assert isinstance(item, Number)
        place = Place(
            name, item.of, item.integer, item.low, item.high, item.open_low, item.read, item.unit if item.bare else None
        )
        return Given(name, what, what.law(place), True, place)

    def _number(self, path: str, what: Uncertain, leaves: Mapping[str, Any]) -> Given:
        leaf = leaves.get(path)
        if not isinstance(leaf, Symbol) or path in self._inputs:
            if path in self.known:
                raise InputError(
                    f"the equations of {self.name} do not use it for these inputs, so that nothing depends on it",
                    path=path,
                )
            raise UnknownNameError(f"number of the equations of {self.name}", path, [*leaves, *self._inputs])
        field = limits_of(path, self.values)
        low, high, open_low = leaf.low, leaf.high, False
        if field is not None:  # what the catalog says of it is what it may be
            low, open_low = field.minimum, field.above_minimum
            high = math.inf if field.maximum is None else field.maximum
        place = place_of_number(path, leaf.dimension, low, high, integer=leaf.integer, open_low=open_low)
        return Given(path, what, what.law(place), False, place)

    def _nominal(self, laws: Mapping[str, Given]) -> dict[str, Any]:
        """Return checked inputs with some value of each uncertain one; the middle if that can be."""
        first: MlsysimError | None = None
        for pick in ("middle", "low", "high"):
            try:
                return self.model.check(**self.fixed, **{
                    name: item.text_of(getattr(item.law, pick)) for name, item in laws.items()
                })  # fmt: skip
            except MlsysimError as error:
                if isinstance(error, UnknownNameError) or not self.model.derives:
                    raise
                first = first or error
        assert first is not None
        raise first

    # what follows from what -------------------------------------------------------------------------------------------
    def _what_follows(self) -> bool:
        """Return whether inputs follow from an uncertain one, so that each sample has to be checked by itself.

        Raises:
            InputError: they follow from an uncertain number of the catalog.
        """
        numbers = [item for item in self.givens if not item.is_input]
        if numbers and self._reads(numbers, self.values):
            names = ", ".join(item.name for item in numbers)
            raise InputError(
                f"inputs of {self.name} follow from {names}" + self._derived(), path=numbers[0].name,
                hint="give what follows from it yourself; where that is no help, ask once for each of its values",
            )  # fmt: skip
        return self._reads([item for item in self.givens if item.is_input], self.values)

    def _reads(self, givens: Iterable[Given], values: Mapping[str, Any]) -> bool:
        """Return whether a number is looked at while the inputs are prepared and entries are bound."""
        nominal = {item.name: item.text_of(values[item.name]) for item in self.givens if item.is_input}
        return reads(self.model, {**self.fixed, **nominal}, values, [item.name for item in givens])

    def box(self, values: Mapping[str, Any] | None = None) -> dict[str, Interval]:
        """Return the intervals by name.

        Args:
            values: checked inputs of one sample, where each is checked by itself.
        Raises:
            InputError: inputs follow from an interval.
        """
        if self.follows and (not self.drawn or self._reads(self.intervals, values or self.values)):
            names = ", ".join(item.name for item in self.intervals)
            raise InputError(
                f"inputs of {self.name} follow from {names}, so that no bounds hold between its ends",
                path=self.intervals[0].name,
                hint="give what follows from it yourself, or a distribution (mo.Uniform): each sample is then checked",
            )
        return {item.name: Interval(item.law.low, item.law.high) for item in self.intervals}

    def _derived(self) -> str:
        """Return which inputs the model found out for itself, as text."""
        usual = {self.model.aliases.get(name, name) for name in self.fixed}
        found = [
            item.name for item in self.model.inputs
            if item.name not in usual and item.default is None and self.values.get(item.name) is not None
        ]  # fmt: skip
        return f": {', '.join(found)}" if found else ""

    def general(self, values: Mapping[str, Any], givens: Iterable[Given]) -> dict[str, Any]:
        """Return inputs whose equations hold for all values of uncertain degrees, also where one plays no part."""
        found = dict(values)
        for item in givens:
            degree = self._inputs.get(item.name)
            if isinstance(degree, Degree) and item.law.low != item.law.high:
                found[item.name] = degree.neutral + 1
        return found

    # what is asked ----------------------------------------------------------------------------------------------------
    def wanted(self, traced: Traced, values: Mapping[str, Any]) -> dict[str, Expression]:
        """Return the expressions of the outputs, of the constraints of the model, and of those of the user."""
        found: dict[str, Expression] = {}
        for name in self.outputs:
            if name not in traced.expressions:
                self.model.check_known(name, traced, values)
                raise UnknownNameError(f"output of {self.name}", name, list(traced.expressions))
            found[name] = traced.expressions[name]
        found.update(traced.result.constraints)
        for text in self.conditions:
            node = parse(text, traced.expressions)
            if node.sort != "truth":
                raise InputError(f"{text!r} is not a condition", path="constraints", hint="such as 'itl <= 30 ms'")
            found[text] = node
        return found


def _texts(given: Any, path: str, example: str) -> tuple[str, ...]:
    """Return one text, or several, without repetition."""
    listed = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    wrong = [item for item in listed if not isinstance(item, str)]
    if wrong:
        raise InputError(f"expected text, got {wrong[0]!r}", path=path, hint=f"such as {example!r}")
    return tuple(dict.fromkeys(listed))
