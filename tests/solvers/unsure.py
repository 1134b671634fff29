"""What tests of uncertain givens share: a model to work out by hand, and uncertain numbers around any example."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import mlsysim_opt as mo
from mlsysim_opt import physics
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.units import NONE, base_unit

MODELS = [
    kind
    for kind in (getattr(physics, name) for name in physics.__all__)
    if isinstance(kind, type) and issubclass(kind, Model) and kind.example
]


class TwoResult(Result):
    product: Any
    weighted: Any
    share: Any


class Two(Model):
    """A product, a weighted sum and a share of two numbers."""

    inputs = (Number("a", open_low=True), Number("b", default=1.0, open_low=True))
    example: ClassVar[dict[str, Any]] = {"a": 2, "b": 3}

    def equations(self, **leaves: Any) -> TwoResult:
        a, b = leaves["a"], leaves["b"]
        return TwoResult(product=a * b, weighted=2 * a + b, share=a / (a + b), constraints={"a below b": a < b})


def nearby(kind: type[Model], names: list[str], share: float, interval: bool) -> dict[str, Any]:
    """Return the example of a model with some of its numbers uncertain by a share."""
    model = kind()
    values = model.check(**kind.example)
    known = model.leaf_values(values)
    make = mo.Between if interval else mo.Uniform
    inputs = {item.name: item for item in kind.inputs}
    asked: dict[str, Any] = {}
    for name in names:
        item, value = inputs.get(name), float(known[name])
        low, high = sorted((value * (1 - share), value * (1 + share)))
        dimension = item.of if isinstance(item, Number) else next(
            leaf.dimension for leaf in model.trace(values).program.leaves if leaf.name == name
        )  # fmt: skip
        if isinstance(item, Number):
            low, high = max(low, item.low), min(high, item.high)
            if item.integer:
                low, high = float(math.ceil(low)), float(math.floor(high))
        unit = "" if dimension == NONE else base_unit(dimension).text
        asked[name] = make(f"{low!r} {unit}", f"{high!r} {unit}")
    single = {kind.aliases.get(name, name): value for name, value in kind.example.items()}
    return {**single, **asked}


def numbers(kind: type[Model]) -> list[str]:
    """Return the inputs and the numbers of entries that the equations of an example use, other than zero."""
    model = kind()
    values = model.check(**kind.example)
    known = model.leaf_values(values)
    inputs = {item.name for item in kind.inputs if isinstance(item, Number)}
    found = []
    for leaf in model.trace(values).program.leaves:
        value = known[leaf.name]
        if isinstance(value, int | float) and not isinstance(value, bool) and value and (
            leaf.name in inputs or ("." in leaf.name and not leaf.integer)
        ):  # fmt: skip
            found.append(leaf.name)
    return found
