"""Bounds at each of many samples: nothing lies outside, whichever leaf is an interval and whichever is sampled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra import Symbol, argmax_label, ceil, exp, log, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.enclose import enclose
from mlsysim_opt.algebra.envelope import envelope, label_truth, truth_envelope
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.units import NONE

x, y, n = Symbol("x", NONE), Symbol("y", NONE), Symbol("n", NONE, integer=True, low=1)
SHAPES: dict[str, Expression] = {
    "product": x * y,
    "on two paths": x / (x + y),
    "a valley": x + y / x,
    "a hill": x * (5 - x) * y,
    "a roofline": maximum(1 / x, y / 3),
    "a corner, rounded": sqrt(x**2 + 1 / y**2),
    "steps": ceil(x * y),
    "branches": where(x > y, x - y, y * 2),
    "logarithms": log(x) - exp(-y),
    "waves": minimum(x * y, 3) / (x + 1),
}
ENDS = st.tuples(st.floats(0.1, 10), st.floats(0.1, 10))
ROUNDING = 1e-13


@given(st.sampled_from(sorted(SHAPES)), ENDS, st.booleans(), st.integers(0, 2**32 - 1), st.sampled_from([3, 60]))
def test_nothing_lies_outside(name: str, ends: tuple[float, float], turned: bool, seed: int, parts: int) -> None:
    """At each sample, at points inside the interval and at its ends; however few parts are looked at."""
    root, inside, drawn = SHAPES[name], *(("y", "x") if turned else ("x", "y"))
    box = Interval(*sorted(ends))
    rng = np.random.default_rng(seed)
    column = 0.1 + 9.9 * rng.random(12)
    found = envelope(root, {}, {inside: box}, {drawn: column}, len(column), parts)
    for share in (0.0, *rng.random(6), 1.0):
        point = min(max(box.low + share * (box.high - box.low), box.low), box.high)
        for at, value in enumerate(column):
            there = evaluate(root, {inside: point, drawn: float(value)})
            margin = ROUNDING * max(1.0, abs(there))
            assert found.low[at] - margin <= there <= found.high[at] + margin
    assert (found.low <= found.least).all()
    assert (found.greatest <= found.high).all()


@given(st.sampled_from(sorted(SHAPES)), ENDS, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_what_is_said_to_hold_always_or_never_does(
    name: str, ends: tuple[float, float], seed: int, share: float
) -> None:
    root, box = SHAPES[name], Interval(*sorted(ends))
    rng = np.random.default_rng(seed)
    column = 0.1 + 9.9 * rng.random(8)
    points = [min(box.low + u * (box.high - box.low), box.high) for u in (0.0, *rng.random(5), 1.0)]
    values = np.array([[evaluate(root, {"x": at, "y": float(item)}) for at in points] for item in column])
    limit = float(np.quantile(values, share))
    always, maybe = truth_envelope(root <= limit, {}, {"x": box}, {"y": column}, len(column), 60)
    near = np.abs(values - limit) <= ROUNDING * max(1.0, abs(limit))
    assert not (always[:, None] & (values > limit) & ~near).any()
    assert not (~maybe[:, None] & (values <= limit) & ~near).any()
    assert (always <= maybe).all()


def test_bounds_by_hand() -> None:
    # y = 1: x + 1/x on [0.5, 4] is 2 at x = 1 and 4.25 at x = 4; y = 9: 6 at x = 3 and 18.5 at x = 0.5
    found = envelope(SHAPES["a valley"], {}, {"x": Interval(0.5, 4.0)}, {"y": np.array([1.0, 9.0])}, 2)
    assert list(found.low) == pytest.approx([2.0, 6.0], rel=1e-5)
    assert list(found.high) == pytest.approx([4.25, 18.5], rel=1e-5)
    assert not found.corners
    # rises with x whatever y is: two corners decide a million samples, exactly
    column = np.random.default_rng(0).random(10**6)
    found = envelope(x * y, {}, {"x": Interval(2.0, 3.0)}, {"y": column}, len(column))
    assert found.corners
    assert found.parts == 2
    assert (found.low == 2 * column).all()
    assert (found.high == 3 * column).all()


def test_samples_are_divided_where_they_decide_the_direction() -> None:
    # x (y - 5) rises with x where y > 5 and falls where y < 5: no direction holds for all samples
    column = np.array([1.0, 4.0, 6.0, 9.0])
    found = envelope(x * (y - 5), {}, {"x": Interval(1.0, 2.0)}, {"y": column}, 4)
    assert list(found.low) == pytest.approx([-8.0, -2.0, 1.0, 4.0], rel=1e-5)
    assert list(found.high) == pytest.approx([-4.0, -1.0, 2.0, 8.0], rel=1e-5)


@given(st.sampled_from(sorted({*SHAPES} - {"steps"})), ENDS, st.floats(0.1, 10))
def test_one_sample_is_a_known_number(name: str, ends: tuple[float, float], value: float) -> None:
    """What `enclose` finds, where it leaves nothing open; steps apart, whose very edge outward rounding leaves open."""
    box = {"x": Interval(*sorted(ends))}
    found = envelope(SHAPES[name], {}, box, {"y": np.array([value])}, 1)
    alone = enclose(SHAPES[name], {"y": value}, box)
    scale = max(abs(alone.low), abs(alone.high), 1e-9)
    if alone.excess == 0:
        assert found.low[0] == pytest.approx(alone.low, abs=1e-5 * scale)
        assert found.high[0] == pytest.approx(alone.high, abs=1e-5 * scale)


def test_a_point_is_an_evaluation() -> None:
    column = np.random.default_rng(0).random(20)
    for name, root in SHAPES.items():
        found = envelope(root, {}, {"x": Interval(1.5, 1.5)}, {"y": column}, 20)
        assert (found.low == found.high).all(), name
        assert list(found.low) == pytest.approx([evaluate(root, {"x": 1.5, "y": float(item)}) for item in column])


def test_what_has_no_value_is_told_from_what_has_no_bound() -> None:
    column = np.array([2.0, 0.5])
    never = envelope(log(x - 9) * y, {}, {"x": Interval(1.0, 1.0)}, {"y": column}, 2)
    assert np.isnan(never.low).all()
    assert np.isnan(never.high).all()
    # 1 / (x - y) has no bound where y = 2 is within 1 to 3, and is -2 to ... where y = 0.5: 1/2.5 to 1/0.5
    found = envelope(1 / (x - y), {}, {"x": Interval(1.0, 3.0)}, {"y": column}, 2)
    assert (found.low[0], found.high[0]) == (-math.inf, math.inf)
    assert (found.low[1], found.high[1]) == (pytest.approx(0.4, rel=1e-5), pytest.approx(2.0, rel=1e-5))


def test_whole_numbers_are_divided_between_whole_numbers() -> None:
    # n (7 - n) is 12 at 3 and at 4, and 12.25 between them
    found = envelope(n * (7 - n) * y, {}, {"n": Interval(1.0, 6.0)}, {"y": np.array([1.0, 2.0])}, 2)
    assert list(found.high) == pytest.approx([12.0, 24.0], rel=1e-12)
    assert list(found.low) == pytest.approx([6.0, 12.0], rel=1e-12)


def test_labels_and_truths_by_hand() -> None:
    # the largest of x in 2..4, y and 3: y = 5 always wins, y = 1 never; x does where it is above 3
    label = argmax_label(one=x, two=y, three=3)
    column = np.array([5.0, 1.0, 3.5])
    box = {"x": Interval(2.0, 4.0)}
    said = {
        item: truth_envelope(label_truth(label, item), {}, box, {"y": column}, 3) for item in ("one", "two", "three")
    }
    assert {key: [list(row) for row in rows] for key, rows in said.items()} == {
        "one": [[False, False, False], [False, True, True]],
        "two": [[True, False, False], [True, False, True]],
        "three": [[False, False, False], [False, True, False]],
    }
    rule = (x <= y) & (y < 4) | ~(x < 5)
    always, maybe = truth_envelope(rule, {}, box, {"y": column}, 3)
    assert list(always) == [False, False, False]
    assert list(maybe) == [False, False, True]  # 2 <= 3.5 < 4
