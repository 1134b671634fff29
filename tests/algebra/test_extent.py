"""The range of an expression over one symbol: nothing lies outside, and its ends are attained or neared."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra import Symbol, ceil, exp, floor, log, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.algebra.extent import Extent
from mlsysim_opt.algebra.invert import extent_of
from mlsysim_opt.algebra.monotone import Prover

x = Symbol("x", low=-10, high=10)
p = Symbol("p")
SHAPES: dict[str, Expression] = {
    "a hill": p * (10 - p),
    "a valley": p + 1 / p,
    "a share that is best in between": p * exp(-p / 3),
    "a roofline of a share": p * maximum(4 / p, 2),
    "steps": floor(p * 3) / p,
    "branches": where(p < 2, p, 1 / p),
    "a root that begins": sqrt(p - 1) - p / 4,
    "waves": minimum(p, 3) / (p**2 + 1) + log(p + 1) / 9,
}


@given(st.sampled_from(sorted(SHAPES)), st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), st.integers(0, 2**32))
def test_nothing_lies_outside(name: str, ends: tuple[float, float], seed: int) -> None:
    low, high = sorted(ends)
    found = extent_of(SHAPES[name], p, {}, (low, high))
    rnd = random.Random(seed)
    for at in (low, high, *(rnd.uniform(low, high) for _ in range(40))):
        value = evaluate(SHAPES[name], {"p": at})
        if not math.isnan(value):
            room = 1e-9 * abs(value)
            assert found.low - room <= value <= found.high + room, at


@pytest.mark.parametrize(
    ("node", "unknown", "least", "greatest"),
    [
        (x * (10 - x), x, -200, 25),  # at -10, and at 5
        (x**2 + 1, x, 1, 101),
        (p + 4 / p, p, 4, math.inf),  # at 2
        (p * exp(-p), p, 0, 1 / math.e),  # at 1
        (p * maximum(3 / p, 5), p, 3, math.inf),  # 3 as long as p < 3/5
        (3 / (p * maximum(3 / p, 5)), p, 0, 1),
        (where(x < 0, x, x + 5), x, -10, 15),
        (floor(x / 4), x, -3, 2),
        (sqrt(x - 6), x, 0, 2),  # no value below 6
    ],
)
def test_ranges_by_hand(node: Expression, unknown: Symbol, least: float, greatest: float) -> None:
    found = extent_of(node, unknown, {})
    assert found.tight
    ends = (found.least if found.infimum is None else found.infimum,
            found.greatest if found.supremum is None else found.supremum)  # fmt: skip
    assert ends == pytest.approx((least, greatest), rel=1e-6, abs=1e-12)


def test_what_is_only_neared_is_told_from_what_is_attained() -> None:
    fading = extent_of(1 / (1 + p), p, {})
    assert (fading.infimum, fading.supremum) == (0.0, None)  # 1 at p = 0
    assert fading.described(0.0, _show, complete=True) == "attainable is 0 to 1, 0 only in the limit"
    settling = extent_of(p / (1 + p), p, {})  # rounded, it is 1 for large numbers
    assert (settling.least, settling.greatest, settling.supremum) == (0.0, 1.0, None)


def test_a_jump_is_claimed_only_between_values_that_are_attained() -> None:
    found = extent_of(where(x < 0, x, x + 5), x, {})
    assert found.described(3.0, _show, complete=True) == "its values lie within -10 to 15, but jump over this one"
    assert "jump" not in found.described(3.0, _show, complete=False)
    assert found.described(20.0, _show, complete=True) == "attainable is -10 to 15"


def test_where_the_search_has_to_stop_bounds_and_finds_are_both_said() -> None:
    found = Extent(low=0.0, high=3.0, least=0.5, greatest=2.0, at_least=1.0, at_greatest=2.0)
    assert not found.tight
    assert found.described(2.5, _show, complete=True) == "its values lie within 0 to 3; 0.5 to 2 were found"


def test_a_goal_that_looks_like_the_end_is_told_from_it() -> None:
    found = extent_of(x * (10 - x), x, {})
    assert found.described(25.0000001, _show, complete=True) == "attainable is -200 to 25"
    thirds = extent_of(x / 30, x, {})
    assert thirds.described(0.3333334, _show, complete=True) == "attainable is -0.333333333 to 0.333333333"


@pytest.mark.parametrize(
    ("node", "move"),
    [
        (p * maximum(4 / p, 2), 1),
        (p / (p + 1), 1),
        (sqrt(p) / p, -1),
        (maximum(p, 3) * minimum(4 / p, 1), None),  # rises from 3 to 4, and is 4 from there on; but only up to 4
        (ceil(p) / p, None),
        (p * (2 - p), None),
    ],
)
def test_growths_that_directions_of_factors_do_not_say(node: Expression, move: int | None) -> None:
    assert Prover(node, p).growing({})[1] == move


def _show(value: float, digits: int) -> str:
    return "infinity" if math.isinf(value) else f"{value:.{digits}g}"
