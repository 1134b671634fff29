"""A question to a model in which some numbers are uncertain: read, checked, and evaluated for many samples at once.

The equations are traced once, with a leaf for every number; uncertain numbers are leaves that get arrays (or
intervals) in place of values. That is right only where nothing else follows from an uncertain number while inputs are
prepared (`follows.reads`); where something does, each sample is checked by itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.follows import reads
from mlsysim_opt.physics.inputs import Degree, Number
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.registry.limits import limits_of
from mlsysim_opt.solvers.distributions import (
    Array,
    Law,
    Place,
    Uncertain,
    is_uncertain_text,
    place_of_number,
    uncertain_number,
)
from mlsysim_opt.units import NONE, base_unit

MOST_SAMPLES = 10**7


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


@dataclass(frozen=True)
class Samples:
    """What a question gives at each sample; NaN where it is undefined.

    Attributes:
        values: outputs, constraints of the model and constraints of the user, by name.
        excluded: how many samples cannot be, and why. count: how many there are in all.
    """

    values: Mapping[str, Array]
    excluded: Mapping[str, int]
    count: int


class UncertainQuestion:
    """A model with some uncertain givens, and the outputs asked for.

    Args:
        model: the model. outputs: names of its outputs. constraints: conditions on its outputs, as text.
        given: its inputs, uncertain ones among them, and numbers of catalog entries by their paths.
    Raises:
        InputError: nothing is uncertain, or an uncertain number is outside of what it may be.
        UnknownNameError: an input, a path or an output does not exist.
    """

    def __init__(
        self, model: Model, outputs: Sequence[str], constraints: Sequence[str], given: Mapping[str, Any]
    ) -> None:
        self.model = model
        self.name = type(model).__name__
        self.outputs = tuple(dict.fromkeys([outputs] if isinstance(outputs, str) else outputs))
        self.conditions = tuple(dict.fromkeys([constraints] if isinstance(constraints, str) else constraints))
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
        self._programs: dict[int, ArrayProgram] = {}
        start = self._nominal(laws)
        self.values = start
        self.known = dict(model.leaf_values(start))
        leaves = {leaf.name: leaf for leaf in model.trace(start).program.leaves}
        laws.update({path: self._number(path, what, leaves) for path, what in paths.items()})
        self.givens = tuple(laws[name] for name in [self.model.aliases.get(key, key) for key in given] if name in laws)
        self._degrees = [item for item in self.givens if isinstance(self._inputs.get(item.name), Degree)]
        self.follows = self._what_follows()
        if not self.follows:
            self.values = self._general(start)
            self.known = dict(model.leaf_values(self.values))
        self.traced = model.trace(self.values)
        self.labels: dict[str, tuple[Any, ...]] = dict(self.traced.labels)
        self.roots = self._wanted(self.traced, self.values)

    # reading ----------------------------------------------------------------------------------------------------------
    def _sorted(self, given: Mapping[str, Any]) -> tuple[dict[str, Uncertain], dict[str, Uncertain]]:
        """Return the uncertain inputs and the uncertain numbers of entries; what is certain goes to `fixed`."""
        asked: dict[str, Uncertain] = {}
        paths: dict[str, Uncertain] = {}
        for name, value in given.items():
            real = self.model.aliases.get(name, name)
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
            elif real in asked or any(self.model.aliases.get(key, key) == real for key in self.fixed):
                raise InputError(f"{real!r} is given twice (as {name!r} too)", path=real)
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
        if numbers and self._reads(numbers):
            names = ", ".join(item.name for item in numbers)
            raise InputError(
                f"inputs of {self.name} follow from {names}" + self._derived(), path=numbers[0].name,
                hint="give what follows from it yourself; where that is no help, ask once for each of its values",
            )  # fmt: skip
        return self._reads([item for item in self.givens if item.is_input])

    def _reads(self, givens: Iterable[Given]) -> bool:
        """Return whether a number is looked at while the inputs are prepared and entries are bound."""
        nominal = {item.name: item.text_of(self.values[item.name]) for item in self.givens if item.is_input}
        return reads(self.model, {**self.fixed, **nominal}, self.values, [item.name for item in givens])

    def _derived(self) -> str:
        """Return which inputs the model found out for itself, as text."""
        usual = {self.model.aliases.get(name, name) for name in self.fixed}
        found = [
            item.name for item in self.model.inputs
            if item.name not in usual and item.default is None and self.values.get(item.name) is not None
        ]  # fmt: skip
        return f": {', '.join(found)}" if found else ""

    def _general(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return inputs whose equations hold for all values of uncertain degrees, also where one plays no part."""
        general = dict(values)
        for item in self._degrees:
            degree = self._inputs[item.name]
            assert isinstance(degree, Degree)
            if item.law.low != item.law.high:
                general[item.name] = degree.neutral + 1
        return general

    # evaluating -------------------------------------------------------------------------------------------------------
    def _wanted(self, traced: Traced, values: Mapping[str, Any]) -> dict[str, Expression]:
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

    def sample(self, shares: Array) -> Samples:
        """Return what the question gives for samples.

        Args:
            shares: one row per sample and one column per uncertain number: how much of its distribution lies below.
        """
        count = len(shares)
        columns: dict[str, Array] = {}
        for at, item in enumerate(self.givens):
            assert item.law.quantile is not None
            columns[item.name] = np.asarray(item.law.quantile(shares[:, at]), dtype=float)
        if self.follows:
            return self._one_by_one(columns, count)
        return Samples(self._run(self.traced, self.roots, self.known, columns, count), {}, count)

    def _run(
        self, traced: Traced, roots: Mapping[str, Expression], known: Mapping[str, Any],
        columns: Mapping[str, Array], count: int,
    ) -> dict[str, Array]:  # fmt: skip
        program = self._programs.get(id(traced))
        if program is None:
            program = self._programs[id(traced)] = ArrayProgram(list(roots.values()))
        values: dict[str, Any] = {}
        for leaf in program.leaves:
            if leaf.name in columns:  # an axis of one is no axis: its values are numbers
                values[leaf.name] = columns[leaf.name] if count > 1 else float(columns[leaf.name][0])
            else:
                value = known[leaf.name]
                values[leaf.name] = leaf.position[value] if isinstance(leaf, Choice) else value
        raw = program.run(values, [count])
        return {
            name: np.broadcast_to(np.asarray(value, dtype=float), (count,)).copy()
            for name, value in zip(roots, raw, strict=True)
        }

    def _one_by_one(self, columns: Mapping[str, Array], count: int) -> Samples:
        """Check each sample by itself, and evaluate those of one structure together."""
        found = {name: np.full(count, np.nan) for name in self.roots}
        excluded: Counter[str] = Counter()
        groups: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
        inputs = [item for item in self.givens if item.is_input]
        first: MlsysimError | None = None
        for at in range(count):
            try:
                values = self.model.check(
                    **self.fixed, **{item.name: item.text_of(float(columns[item.name][at])) for item in inputs}
                )
                groups.setdefault(self.model.identity(values), []).append((at, values))
            except MlsysimError as error:  # sizes that do not divide
                excluded[_reason(error)] += 1
                first = first or error
        if not groups:
            assert first is not None
            raise first
        for members in groups.values():
            values = members[0][1]
            traced, known = self.model.trace(values), self.model.leaf_values(values)
            places = np.asarray([at for at, _ in members])
            varied = {name: column[places] for name, column in columns.items()}
            for name, value in known.items():
                series = [item.get(name, value) for _, item in members]
                if isinstance(value, int | float) and any(other != value for other in series):
                    varied[name] = np.asarray(series, dtype=float)
            part = self._run(traced, self._wanted(traced, values), known, varied, len(members))
            for name, array in part.items():
                if name in found:
                    found[name][places] = self._as_here(name, traced, array)
        return Samples(found, dict(excluded.most_common()), count)

    def _as_here(self, name: str, traced: Traced, array: Array) -> Array:
        """Return labels of another structure by their positions in this one."""
        theirs = traced.labels.get(name)
        if theirs is None or theirs == self.labels[name]:
            return array
        mine = [*self.labels[name], *(label for label in theirs if label not in self.labels[name])]
        self.labels[name] = tuple(mine)
        return np.asarray([math.nan if at != at else mine.index(theirs[int(at)]) for at in array], dtype=float)


def _reason(error: MlsysimError) -> str:
    """Return why a sample cannot be."""
    return f"{error.path}: {error.message}" if error.path else error.message
