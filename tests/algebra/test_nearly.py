"""Numbers that differ by their rounding are one: for limits, and where a number is made whole."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra import ceil, constant, floor
from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.algebra.nearly import ROUNDING, all_at_most, all_below, all_ceilings, at_most, below, ceiling
from mlsysim_opt.units import NONE

numbers = st.floats(-1e300, 1e300)


def value(node: Expression) -> float:
    return float(ScalarProgram([node]).run_named({})[0])


@pytest.mark.parametrize(("count", "each", "total"), [(3, 1.1, 3.3), (3, 0.7, 2.1), (6, 0.1, 0.6), (-3, 1.1, -3.3)])
def test_what_is_met_exactly_in_decimals_is_met(count: int, each: float, total: float) -> None:
    product = count * each
    assert product != total  # by a unit in the last place: 3 x 1.1 = 3.3000000000000003
    assert at_most(product, total)
    assert at_most(total, product)
    assert not below(product, total)
    assert not below(total, product)


def test_three_workers_of_0_7_serve_2_1_and_no_more() -> None:
    # 2.1 / 0.7 = 3.0000000000000004 in floats
    assert value(ceil(constant(2.1, NONE) / constant(0.7, NONE))) == 3
    assert value(floor(constant(0.3, NONE) / constant(0.1, NONE))) == 3  # 2.9999999999999996
    assert value(ceil(constant(2.1, NONE) / constant(0.7, NONE) + 1e-12)) == 4
    assert value(floor(constant(3 - 1e-12, NONE))) == 2
    assert bounds(ceil(constant(2.1, NONE) / constant(0.7, NONE))).low == 3


@given(numbers, numbers)
def test_more_than_rounding_is_told_apart(one: float, two: float) -> None:
    # against exact arithmetic: what differs by 32 units in the last place is never the same
    apart = abs(Fraction(one) - Fraction(two)) > 2 * Fraction(ROUNDING) * max(abs(Fraction(one)), abs(Fraction(two)))
    if apart:
        assert at_most(one, two) == below(one, two) == (one < two)
    assert at_most(one, two) is not below(two, one)
    assert at_most(one, two) or at_most(two, one)


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1))
def test_arrays_say_what_numbers_say(pairs: list[tuple[float, float]]) -> None:
    left, right = np.array(pairs).T
    with np.errstate(all="ignore"):
        assert all_at_most(left, right).tolist() == [at_most(*pair) for pair in pairs]
        assert all_below(left, right).tolist() == [below(*pair) for pair in pairs]
        np.testing.assert_array_equal(all_ceilings(left), [ceiling(one) for one, _ in pairs])


@given(st.integers(-(2**53), 2**53), st.floats(-16, 16))
def test_a_whole_number_stays_one(whole: int, ulps: float) -> None:
    assert ceiling(float(whole)) == whole
    if 0 < abs(whole) < 2**40:
        near = whole + ulps / 2 * math.ulp(whole)
        assert ceiling(near) == whole
    if 0 < abs(whole) < 2**30:
        assert ceiling(whole + 0.001) == whole + 1


def test_what_is_no_number_is_at_most_nothing() -> None:
    assert not at_most(math.nan, 1.0)
    assert not at_most(1.0, math.nan)
    assert not below(math.nan, 1.0)
    assert at_most(math.inf, math.inf)
    assert at_most(-math.inf, -math.inf)
    assert not at_most(math.inf, 1.0)
    assert not at_most(0.0, -math.inf)
    assert below(1.0, math.inf)
