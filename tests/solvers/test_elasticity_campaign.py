"""Every output of every model to every number: central differences, and both sides of every kink that is named.

The example of each model in every run; points around it with `-m slow`.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from mlsysim_opt import physics
from mlsysim_opt.algebra.regimes import BRANCH, Regimes
from mlsysim_opt.physics.base import Model
from mlsysim_opt.solvers.changes import Changes, RegimeChange, sides
from mlsysim_opt.solvers.point import Point, number_outputs

ALL = [
    kind
    for name in physics.__all__
    if inspect.isclass(kind := getattr(physics, name)) and issubclass(kind, Model) and kind.example
]
LONG = {"ResponsibleEngineeringModel", "ServingCapacityModel", "DistributedModel"}
"""Many outputs, or roots that are found numerically: minutes, with the other long ones."""
EXAMPLES = [pytest.param(kind, marks=[pytest.mark.slow] if kind.__name__ in LONG else []) for kind in ALL]
STEP, STEEP = 1e-6, 1e3


def points(kind: type[Model], seed: int | None = None) -> Iterator[Point]:
    """Yield the example for each output that is a number other than zero; with a seed, with all numbers changed."""
    model = kind()
    values = model.check(**kind.example)
    rng, factors = random.Random(seed), dict[str, float]()
    for output in number_outputs(model.trace(values).expressions):
        point = Point(model, values, output)
        for name, leaf in point.leaves.items():
            if seed is not None:
                scaled = point.named[name] * factors.setdefault(name, rng.uniform(0.6, 1.6))
                point.named[name] = min(max(scaled, leaf.low), leaf.high * 0.999)
        if point.base and math.isfinite(point.base):
            yield point


def kinks(point: Point) -> Iterator[RegimeChange]:
    """Yield every place where a number that the output depends on changes the branch of its equations."""
    for found in Changes(point).all().values():
        yield from (item for item in found if item.kind == "kink" and item.number in point.leaves)


def slope(point: Point, name: str, at: float, side: int) -> float | None:
    """Return the elasticity by one-sided differences of second order; None where a value is missing, or zero."""
    near, one, two = (point.value({name: at * (1 + side * STEP * far)}) for far in (0, 1, 2))
    if not near or not all(math.isfinite(item) for item in (near, one, two)):
        return None
    return side * (-3 * near + 4 * one - two) / (2 * STEP * near)


def agree(said: float | None, seen: float | None, what: Any) -> None:
    """Compare two elasticities, where the output goes neither to zero nor without end: there they have none."""
    if said is not None and seen is not None and max(abs(said), abs(seen)) < STEEP:
        assert said == pytest.approx(seen, rel=1e-3, abs=1e-3), what


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_both_sides_of_every_kink(kind: type[Model]) -> None:
    for point in points(kind):
        for item in kinks(point):
            out = 1 if item.factor > 1 else -1
            what = (point.output, item.text)
            agree(item.elasticity, slope(point, item.number, item.factor * (1 + out * STEP), out), what)
            inside = item.factor * (1 - out * STEP)
            agree(point.elasticities({item.number: inside})[item.number],
                  slope(point, item.number, inside, -out), what)  # fmt: skip
            before, after = (point.value({item.number: item.factor * (1 + far * 1e-12)}) for far in (-out, out))
            if before and after and math.isfinite(before) and math.isfinite(after):
                assert item.jump == pytest.approx(after / before - 1, abs=1e-6), what


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_a_number_that_stands_at_a_kink_is_said_to(kind: type[Model]) -> None:
    """With the elasticity of each side: that of the branch before it, and that of the branch beyond."""
    for point in points(kind):
        for item in kinks(point):
            if abs(item.jump) > 1e-12:
                continue
            there = Point(point.model, point.values, point.output)
            there.named[item.number] *= item.factor
            kinked = Changes(there).kinked()
            assert item.number in kinked, (point.output, item.text)
            below, above = sides(there, kinked)[item.number]
            out = 1 if item.factor > 1 else -1
            before = point.elasticities({item.number: item.factor * (1 - out * 1e-7)})[item.number]
            ends = (before, item.elasticity) if out > 0 else (item.elasticity, before)
            for said, seen in zip((below, above), ends, strict=True):
                agree(said, seen, (point.output, item.text))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", [item for item in ALL if item.__name__ not in LONG], ids=lambda kind: kind.__name__)
def test_elasticities_around_every_example(kind: type[Model], seed: int) -> None:
    """All outputs and all numbers, with all numbers of the question drawn anew."""
    step = 1e-5
    for point in points(kind, seed):
        found = Regimes(point.root).edges(point.named, list(point.leaves.values()), reach=1 + 3 * step)
        kinked = {name for (name, _), edges in found.items() if BRANCH in edges}
        for name, exact in point.elasticities().items():
            if name in kinked:
                continue
            far, low, high, further = (point.value({name: 1 + at * step}) for at in (-2, -1, 1, 2))
            by_difference = (far - 8 * low + 8 * high - further) / (12 * step * point.base)
            assert exact == pytest.approx(by_difference, rel=1e-6, abs=1e-6), (point.output, name)
