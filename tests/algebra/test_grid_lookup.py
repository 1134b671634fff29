"""Numbers given for each combination of values of several choices: one answer by every evaluator."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.atoms import grid_lookup
from mlsysim_opt.algebra.evaluate import Axes, GridProgram, evaluate
from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import parse_unit

REGION, HOUR = Choice("region", ["Iowa", "Utah", "Oslo"]), Choice("hour", [0, 6])
NUMBERS = st.lists(
    st.one_of(st.floats(-1e9, 1e9, allow_nan=False), st.just(math.nan), st.just(math.inf)), min_size=6, max_size=6
)


def same(one: float, two: float) -> bool:
    return one == two or (math.isnan(one) and math.isnan(two))


@given(NUMBERS)
def test_one_by_one_and_all_at_once_are_equal_and_within_the_bounds(numbers: list[float]) -> None:
    values = np.array(numbers).reshape(3, 2)
    node = grid_lookup([REGION, HOUR], values, title="price")
    single = [[evaluate(node, {"region": r, "hour": h}) for h in HOUR.values] for r in REGION.values]
    (table,) = GridProgram([node], {}, Axes({}, (REGION, HOUR), 1)).tables()
    for at in np.ndindex(3, 2):
        assert same(single[at[0]][at[1]], values[at])
        assert same(float(table.reshape(3, 2)[at]), values[at])
    known = values[~np.isnan(values)]
    if known.size and node.args:
        bounds = node.atom.bounds(iv.Interval(0, 2), iv.Interval(0, 1), param=node.param)  # type: ignore[attr-defined]
        assert (bounds.low, bounds.high) == (known.min(), known.max())


def test_numbers_are_in_their_unit() -> None:
    node = grid_lookup([HOUR], [1.0, 2.0], unit="GB", title="size")
    assert evaluate(node, {"hour": 6}) == 2 * parse_unit("GB").factor
    assert node.dimension == parse_unit("B").dimension


def test_the_shape_must_be_that_of_the_choices() -> None:
    with pytest.raises(InputError, match=r"price\(region, hour\) has numbers for \(2, 3\), expected \(3, 2\)"):
        grid_lookup([REGION, HOUR], np.zeros((2, 3)), title="price")
    with pytest.raises(InputError, match="looked up by choices"):
        grid_lookup([REGION, HOUR + 1], np.zeros((3, 2)), title="price")  # type: ignore[list-item]


def test_text_and_transport() -> None:
    node = grid_lookup([REGION, HOUR], [[1.0, np.nan], [3.0, 4.0], [np.inf, 6.0]], unit="USD", title="price") * 2
    assert "price(region, hour)" in str(node)
    again = pickle.loads(pickle.dumps(node))
    assert again is node
    for at in ({"region": "Utah", "hour": 6}, {"region": "Oslo", "hour": 0}):
        assert evaluate(again, at) == evaluate(node, at)


def test_equal_tables_are_one_expression_and_others_are_not() -> None:
    one = grid_lookup([HOUR], [1.0, math.nan], title="price")
    assert grid_lookup([HOUR], [1.0, math.nan], title="price") is one
    assert grid_lookup([HOUR], [1.0, 2.0], title="price") is not one
    assert grid_lookup([HOUR], [1.0, math.nan], title="cost") is not one
    assert grid_lookup([HOUR], [1.0, math.nan], title="price", unit="USD") is not one


def test_the_numbers_cannot_be_changed_afterwards() -> None:
    values = np.array([1.0, 2.0])
    node = grid_lookup([HOUR], values, title="price")
    values[0] = 9.0
    assert evaluate(node, {"hour": 0}) == 1
    with pytest.raises(ValueError, match="read-only"):
        node.param.array[0] = 9.0  # type: ignore[attr-defined]
