"""The cheapest point of random systems: two proofs that share nothing agree, and no sampled point is cheaper."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlsysim_opt.algebra import Symbol, sqrt
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.solvers import cheapest as module
from mlsysim_opt.solvers.cheapest import cheapest
from mlsysim_opt.solvers.region import Region, Unknown
from mlsysim_opt.solvers.relations import Relation

NAMES = ("x", "y", "z")
COEFFICIENT = st.floats(0.05, 20)


@st.composite
def systems(draw: st.DrawFn, most: int = 3) -> tuple[Region, list[float]]:
    """Return relations like those of rooflines: sums and rounded corners of work over rates, each at most a limit."""
    count = draw(st.integers(2, most))
    leaves = [Symbol(name) for name in NAMES[:count]]
    relations = []
    for at in range(draw(st.integers(1, 3))):
        parts: list[Expression] = [draw(COEFFICIENT) / leaf ** draw(st.sampled_from([0.5, 1, 2])) for leaf in leaves]
        corner = sqrt(parts[0] ** 2 + parts[1] ** 2)
        left = corner + sum(parts[2:], start=expression(0.01)) + draw(COEFFICIENT) / (leaves[0] * leaves[1])
        relations.append(Relation(f"r{at}", left, expression(draw(st.floats(0.1, 10)))))
    made = Region(relations, [Unknown(leaf, 1e-4, 1e6) for leaf in leaves], {})
    return made, [draw(st.floats(0.01, 100)) for _ in leaves]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(systems())
def test_the_optimum_is_proven_and_nothing_sampled_is_cheaper(question: tuple[Region, list[float]]) -> None:
    region, costs = question
    found = cheapest(region, costs)
    assert found is not None
    assert region.log_convex
    assert region.holds(found.point)
    assert found.cost == pytest.approx(sum(map(math.prod, zip(costs, found.point, strict=True))))
    assert found.gap <= 1e-9
    random = np.random.default_rng(0)
    for _ in range(50):
        start = [x * math.exp(random.normal(0, 1)) for x in found.point]
        start[-1] = region.unknowns[-1].high
        if region.holds(start):
            other = region.lowered(start)
            assert float(np.dot(costs, other)) >= found.bound * (1 - 1e-12)
    # less of any unknown breaks a relation
    for at, x in enumerate(found.point):
        less = [*found.point]
        less[at] = math.nextafter(x, 0.0)
        assert not region.holds(less)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(systems(most=2))
def test_boxes_and_multipliers_prove_the_same(question: tuple[Region, list[float]]) -> None:
    region, costs = question
    first = cheapest(region, costs)
    second = module._divided(region, np.asarray(costs), None)
    assert first is not None
    assert second is not None
    assume(second.gap < 1e-3)  # within the limit on boxes
    assert second.cost >= first.bound * (1 - 1e-12)
    assert second.bound <= first.cost * (1 + 1e-12)


@settings(max_examples=12, deadline=None)
@given(systems(), st.floats(1.001, 1.01))
def test_prices_bound_what_more_slack_saves(question: tuple[Region, list[float]], looser: float) -> None:
    # convex in the logarithm of the limit: relaxing saves at most the first price for each factor of e
    region, costs = question
    first = cheapest(region, costs)
    assert first is not None
    for at, price in enumerate(first.prices):
        relations = [
            Relation(item.text, item.left, item.right * looser) if j == at else item
            for j, item in enumerate(region.relations)
        ]
        again = cheapest(Region(relations, region.unknowns, {}), costs)
        assert again is not None
        saved = first.cost - again.cost
        assert saved >= -1e-9 * first.cost
        assert saved <= price * math.log(looser) + 1e-7 * first.cost


def test_an_empty_region_has_no_cheapest() -> None:
    x, y = Symbol("x"), Symbol("y")
    unknowns = [Unknown(x, 0.1, 10.0), Unknown(y, 0.1, 10.0)]
    for left in (1 / x + 1 / y, 1 / (x * y)):
        region = Region([Relation("r", left, expression(0.001))], unknowns, {})
        assert cheapest(region, [1.0, 1.0]) is None


def test_a_range_that_binds_is_part_of_the_proof() -> None:
    # 1/x + 4/y <= 1 with y at most 5: x = 5, y = 5, where without the limit it is (3, 6)
    x, y = Symbol("x"), Symbol("y")
    region = Region([Relation("r", 1 / x + 4 / y, expression(1))], [Unknown(x, 1e-3, 1e3), Unknown(y, 1e-3, 5.0)], {})
    found = cheapest(region, [1.0, 1.0])
    assert found is not None
    assert found.point == pytest.approx((5, 5), rel=1e-6)
    assert found.gap <= 1e-6
    assert found.bound <= 10


def test_neighbouring_costs_have_neighbouring_optima() -> None:
    x, y = Symbol("x"), Symbol("y")
    region = Region([Relation("r", 1 / x + 4 / y, expression(1))], [Unknown(x, 1e-3, 1e3), Unknown(y, 1e-3, 1e3)], {})
    found = [cheapest(region, [1.0, 10.0**power]) for power in range(-3, 4)]
    points = [item.point for item in found if item is not None]
    assert len(points) == 7
    for before, after in itertools.pairwise(points):  # the dearer y, the less of it
        assert after[1] < before[1]
        assert after[0] > before[0]
