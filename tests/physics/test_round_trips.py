"""A number of a model is changed, the output read, and the number asked for that gives it: it is among what is returned.

Every model, every output, and every number on which the output depends, of the example of the model and of other questions
that use the inputs the example leaves out. `make round-trips` runs all of them and prints how the answers were found.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from mlsysim_opt import physics, solve_for
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Symbol, symbols
from mlsysim_opt.errors import InputError, MlsysimError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import base_unit

MODELS = [
    kind
    for kind in (getattr(physics, name) for name in physics.__all__)
    if isinstance(kind, type) and issubclass(kind, Model) and kind.example
]
MORE: dict[str, list[dict[str, Any]]] = {}


class Trip:
    """One output and one number of a question."""

    def __init__(self, kind: type[Model], given: dict[str, Any], output: str, leaf: Symbol) -> None:
        self.model, self.given, self.output, self.leaf = kind(), given, output, leaf
        self.values = self.model.check(**given)
        traced = self.model.trace(self.values)
        self.program = ScalarProgram([traced.expressions[output]])
        self.dimension = traced.expressions[output].dimension
        self.named = self.model.leaf_values(self.values)
        self.start = float(self.named[leaf.name])
        self.rest = {name: value for name, value in given.items() if kind.aliases.get(name, name) != leaf.name}

    def at(self, x: float) -> float:
        """Return the output of the model with another value of the number; NaN where it has none."""
        try:
            return float(self.model.solve(**self.changed(x)).si(self.output))
        except KeyError:  # a derived number, such as an efficiency of a generation: only the equations have it
            return float(self.program.run_named({**self.named, self.leaf.name: x})[0])
        except MlsysimError:
            return math.nan

    def changed(self, x: float) -> dict[str, Any]:
        name, _, path = self.leaf.name.partition(".")
        inputs = {item.name: item for item in self.model.inputs}
        if isinstance(inputs.get(name), Number):
            unit = base_unit(self.leaf.dimension).text if self.leaf.dimension else ""
            return {**self.rest, name: int(x) if self.leaf.integer else f"{x!r} {unit}"}
        entry = self.values.get(name) if name in inputs else None
        if not isinstance(entry, Entry):
            raise KeyError(name)
        datum = entry.parameters().get(path)
        new = bool(x) if datum is None else datum.changed(int(x) if self.leaf.integer else x, "a test")
        return {**self.rest, name: entry.replacing(path, new)}

    def others(self, rnd: random.Random) -> list[float]:
        """Return other values of the number that the model takes."""
        low, high, start = self.leaf.low, self.leaf.high, self.start
        if not self.leaf.integer:
            drawn = [start * rnd.uniform(0.7, 1.4) or rnd.random(), start * 0.9, start * 1e-3, start * 0.5, start * 2, start * 1e3]
            found = [min(max(x, low), high) for x in drawn]
        else:
            drawn = [round(start * rnd.uniform(0.7, 1.4)), start + 1, start - 1, start * 2, start // 2, start * 4]
            found = [float(x) for x in drawn if max(low, 0.0 if high == 1.0 else 1.0) <= x <= high and x != start]
        return found


def trips(kind: type[Model]) -> Iterator[Trip]:
    seen = set()
    for given in [kind.example, *MORE.get(kind.__name__, [])]:
        model = kind()
        for output, root in model.trace(model.check(**given)).expressions.items():
            for leaf in symbols(root):
                if root.sort == "number" and (output, leaf.name) not in seen:
                    seen.add((output, leaf.name))
                    yield Trip(kind, given, output, leaf)


def there_and_back(trip: Trip, rnd: random.Random) -> str:
    """Return how the number was found again, or why it could not be looked for."""
    tried = [(x, y) for x in trip.others(rnd) if math.isfinite(y := trip.at(x))]
    before = trip.at(trip.start)
    if not tried:
        return "no other value"
    x, y = tried[0]
    outputs = [*(output for _, output in tried), *([before] if math.isfinite(before) else [])]
    if max(outputs) - min(outputs) <= 1e-9 * abs(y):
        return "no dependence here"
    unit = base_unit(trip.dimension).text if trip.dimension else ""
    found = solve_for(trip.output, f"{y!r} {unit}", unknown=trip.leaf.name, using=trip.model, **trip.rest if trip.leaf.name not in trip.rest else trip.rest)
    assert found.residual <= 1e-9
    for value in found.values:
        if math.isfinite(value):
            assert trip.at(value) == pytest.approx(y, rel=1e-9, abs=1e-9 if y == 0 else 0), value
    assert any(span.low * (1 - 1e-6) <= x <= span.high * (1 + 1e-6) for span in found.region), (x, found)
    return found.method + ("" if found.complete else ", others not excluded")
