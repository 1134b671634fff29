"""Inversion: closed forms with their conditions, brackets, all roots, whole numbers; each answer substituted back."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlsysim_opt.algebra import (
    Choice,
    Expression,
    Symbol,
    ceil,
    ceildiv,
    constant,
    exp,
    floor,
    log,
    lookup,
    maximum,
    minimum,
    sqrt,
    where,
)
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.invert_whole import invert_integer
from mlsysim_opt.algebra.monotone import direction
from mlsysim_opt.algebra.unknown import isolate
from mlsysim_opt.errors import DimensionError, InputError, NotInvertibleError, ScaleError
from mlsysim_opt.units import BANDWIDTH, BYTE, COMPUTE, FLOP, TIME

bandwidth, weights = Symbol("bandwidth", BANDWIDTH), Symbol("weights", BYTE)
work, peak = Symbol("work", FLOP), Symbol("peak", COMPUTE)
x = Symbol("x", low=-10, high=10)
p = Symbol("p")
n = Symbol("n", integer=True, low=1, high=10**6)
GIVEN = {"weights": 140e9, "work": 1e12, "peak": 1e15}
memory_time, compute_time = weights / bandwidth, work / peak


def test_the_unknown_is_isolated() -> None:
    found = invert(memory_time, "30 ms", bandwidth, values=GIVEN)
    assert found.method == "closed form"
    assert found.complete
    assert found.formula is weights / expression("30 ms")
    assert found.value == pytest.approx(140e9 / 0.03)
    assert found.residual <= 1e-9
    assert str(found) == "bandwidth = 4.66667 TB/s (closed form)"


def test_a_time_per_token_is_a_time_here() -> None:
    assert invert(memory_time, "30 ms/token", bandwidth, values=GIVEN).value == pytest.approx(140e9 / 0.03)


def test_conditions_of_the_closed_form_are_kept() -> None:
    found = invert(maximum(memory_time, compute_time), "30 ms", bandwidth, values=GIVEN)
    assert [str(item) for item in found.conditions] == ["work / peak <= 30 ms"]
    assert found.method == "closed form"


def test_a_condition_that_fails_means_no_solution_and_the_range_is_said() -> None:
    with pytest.raises(NotInvertibleError, match="attainable is 1 ms to infinity"):
        invert(maximum(memory_time, compute_time), "0.5 ms", bandwidth, values=GIVEN)


def test_a_plateau_is_given_as_a_range() -> None:
    found = invert(maximum(memory_time, compute_time), "1 ms", bandwidth, values=GIVEN)
    assert found.value == pytest.approx(140e12)
    assert found.ranges[0].high > 1e299
    low = invert(maximum(x, 5), 5, x)
    assert low.ranges == (Interval(-10.0, 5.0),)


def test_a_monotone_expression_is_bracketed() -> None:
    twice = memory_time + weights / (bandwidth + constant(1e12, BANDWIDTH))
    found = invert(twice, "30 ms", bandwidth, values=GIVEN)
    assert found.method == "bracketed root"
    assert found.complete
    assert evaluate(twice, {**GIVEN, "bandwidth": found.value}) == pytest.approx(0.03, rel=1e-12)


@pytest.mark.parametrize(
    ("node", "target", "roots"),
    [
        (x**2, 4, [-2, 2]),
        ((x - 1) ** 2, 0, [1]),
        (x**3 - 3 * x, 1, [-1.53208888624, -0.34729635533, 1.87938524157]),
        (x * x * x - x, 0, [-1, 0, 1]),
        (abs(x), 3, [-3, 3]),
        (1 / x, 2, [0.5]),
        (1 / x, -0.5, [-2]),
        (where(x < 0, x, x + 5), 6, [1]),
        (exp(x) + x, 3, [0.792059968]),
        (x - x * 0.5, 2, [4]),
        (x * (10 - x), 9, [1, 9]),
        (minimum(x + 4, 4 - x), 2, [-2, 2]),
        (sqrt(x - 3), 2, [7]),
        (sqrt(-3 - x), 2, [-7]),
        (log(x), 1, [math.e]),
        (abs(x**2 - 4), 3, [-math.sqrt(7), -1, 1, math.sqrt(7)]),
        ((1 - x) / (1 + x), 0.25, [0.6]),
    ],
)
def test_all_roots_in_the_box_are_found(node: Expression, target: float, roots: list[float]) -> None:
    found = invert(node, target, x)
    assert list(found.values) == pytest.approx(roots, rel=1e-6)
    assert found.complete
    assert found.residual <= 1e-9


def test_roots_of_extreme_size_are_found() -> None:
    assert invert(p**2, 1e-40, p).value == pytest.approx(1e-20)
    assert invert(p + p**3, 1e90, p).value == pytest.approx(1e30)
    assert invert(p + p**3, 1e-30, p).value == pytest.approx(1e-30)
    assert invert(p * log(p + 1), 1e-12, p).value == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize(
    ("node", "target", "part"),
    [
        (x**2 + 1, 0.5, "attainable is 1 to 101"),
        (where(x < 0, x, x + 5), 3, "jump over"),
        (ceil(x), 2.5, "jumps between 2 and 3"),
        (floor(x) * 2, 3, "jumps between"),
        (x + 100, 5, "attainable is 90 to 110"),
        (1 / x, 0, "no x"),
    ],
)
def test_no_solution_says_what_is_attainable(node: Expression, target: float, part: str) -> None:
    with pytest.raises(NotInvertibleError, match="x") as caught:
        invert(node, target, x)
    assert part in str(caught.value)


@pytest.mark.parametrize("node", [1 / (1 + p), p**2 / (1 + p**3) + 1 / (1 + p), 1 / (p + 5) + 1e-30 / p])
def test_zero_is_not_attained_by_what_only_fades(node: Expression) -> None:
    with pytest.raises(NotInvertibleError, match="0 only in the limit"):
        invert(node, 0, p, box=(1, math.inf))


@pytest.mark.parametrize(
    ("node", "root"),
    [
        (p * 0.1 - 0.07, 0.7),
        (p * 0.1 + p * 0.2 - 0.21, 0.7),
        (p * p - 2 * p * 0.3, 0.6),
        (1e20 * (p - 0.3), 0.3),
        (1e-20 * (p * p - 2), math.sqrt(2)),
    ],
)
def test_zero_is_attained_where_terms_cancel_up_to_rounding(node: Expression, root: float) -> None:
    assert invert(node, 0, p, box=(0.1, 9)).value == pytest.approx(root, rel=1e-9)


def test_a_goal_out_of_reach_is_not_searched_for() -> None:
    # 1/4 at most (at 1): the bounds of a piece around 1 exceed it however small it is, and no search would end.
    with pytest.raises(NotInvertibleError, match="between 0 and \\+inf gives p / ") as caught:
        invert(p / (1 + p) ** 2, 0.5, p)
    assert caught.value.hint == "attainable is 0 to 0.25"


def test_a_plateau_without_end_has_none() -> None:
    assert invert(minimum(p, 3) + p * 0, 3, p).ranges == (Interval(3.0, math.inf),)


def test_a_search_that_is_cut_short_says_so() -> None:
    wild = sum((exp(-((x - k) ** 2)) for k in range(-8, 9, 4)), start=expression(0))
    cut = invert(wild, 0.5, x, effort=40)
    assert not cut.complete
    assert cut.resolution > 1e-14
    full = invert(wild, 0.5, x)
    assert full.complete
    assert len(full.values) == 10


def test_what_is_not_asked_properly_is_refused() -> None:
    with pytest.raises(NotInvertibleError, match="does not depend"):
        invert(x + 1, 2, p)
    with pytest.raises(DimensionError, match="s, the target 5 GB is byte"):
        invert(memory_time, "5 GB", bandwidth, values=GIVEN)
    with pytest.raises(InputError, match="no value for 'weights'"):
        invert(memory_time, "30 ms", bandwidth)
    with pytest.raises(InputError, match="invert_integer"):
        invert(n * 2, 4, n)
    with pytest.raises(InputError, match="depends on x itself"):
        invert(x + 1, x * 2, x)
    with pytest.raises(InputError, match="lower bound"):
        invert(x + 1, 2, x, box=(3, 2))


def test_choices_and_labels_are_values_like_others() -> None:
    gpu = Choice("gpu", ["a100", "h100"])
    rate = lookup(gpu, {"a100": 2, "h100": None}, unit="TB/s")
    assert invert(p * weights / rate, "35 ms", p, values={**GIVEN, "gpu": "a100"}).value == pytest.approx(0.5)
    with pytest.raises(NotInvertibleError):
        invert(p * weights / rate, "35 ms", p, values={**GIVEN, "gpu": "h100"})


def test_isolation_alone_needs_no_values() -> None:
    target = Symbol("target", TIME)
    isolated = isolate(memory_time + compute_time, target, bandwidth)
    assert isolated is not None
    assert isolated[0] is weights / (target - compute_time)
    assert isolate(p + p**2, target, p) is None


def test_the_end_of_the_box_is_a_root_in_spite_of_rounding() -> None:
    found = invert(x * 0.1 + 0.2, 0.1 * 0.3 + 0.2 + 1e-17, x, box=(-10, 0.3))
    assert found.value == pytest.approx(0.3)
    twice = p * 0.1 + p * 0.2
    end = evaluate(twice, {"p": 0.7})
    assert invert(twice, math.nextafter(end, 9), p, box=(0, 0.7)).value == 0.7
    with pytest.raises(NotInvertibleError):
        invert(twice, end * (1 + 1e-9), p, box=(0, 0.7))


def test_what_cancels_out_does_not_move() -> None:
    with pytest.raises(NotInvertibleError, match="does not change"):
        invert(p - (p + x), -3, p, values={"x": 3.0})


# ---- direction
@pytest.mark.parametrize(
    ("node", "box", "expected"),
    [
        (p + 1, {}, 1),
        (1 / p, {}, -1),
        (p - p * 0.5, {}, 1),
        (p / (p + 1), {"p": Interval(1.0, 1.2)}, 1),
        (x**2, {}, None),
        (x**2, {"x": Interval(0.0, 3.0)}, 1),
        (x**2, {"x": Interval(-3.0, -1.0)}, -1),
        (ceil(p) + p, {}, 1),
        (ceil(p) - p, {}, None),
        (-1 / x, {"x": Interval(-1.0, 1.0)}, None),
        (x**-1, {"x": Interval(-1.0, 1.0)}, None),
        (where(p < 3, p, p - 1), {}, None),
        (where(p < 3, p, p - 1), {"p": Interval(4.0, 9.0)}, 1),
        (where(x < 0, p, p * 2), {}, 1),
        (maximum(p, 5), {"p": Interval(0.0, 4.0)}, 0),
        (weights + constant(1, BYTE), {}, 0),
    ],
)
def test_direction_is_proven_or_not_claimed(node: Expression, box: dict[str, Any], expected: int | None) -> None:
    unknown = x if "x" in box or node in (x**2, -1 / x) else p
    assert direction(node, unknown, box) == expected


# ---- whole numbers
def test_the_smallest_whole_number_proves_itself() -> None:
    inequality = weights / (n * bandwidth) <= expression("30 ms")
    given = {"weights": 1e12, "bandwidth": 3e12}
    found = invert_integer(inequality, n, values=given)
    assert (found.value, found.side, found.fails_at) == (12, "smallest", 11)
    assert evaluate(inequality, {**given, "n": 12}) is True
    assert evaluate(inequality, {**given, "n": 11}) is False


@pytest.mark.parametrize(
    ("inequality", "value", "side", "fails_at"),
    [
        (ceildiv(n, 8) <= 5, 40, "largest", 41),
        (ceildiv(expression(1000), n) <= 7, 143, "smallest", 142),
        (n * n <= 10**12, 10**6, "largest", None),
        (n * n <= 10**10, 10**5, "largest", 10**5 + 1),
        (n >= 1, 1, "smallest", None),
        (n > 5, 6, "smallest", 5),
    ],
)
def test_boundaries(inequality: Expression, value: int, side: str, fails_at: int | None) -> None:
    found = invert_integer(inequality, n)
    assert (found.value, found.side, found.fails_at) == (value, side, fails_at)


def test_boundaries_from_zero_and_without_end() -> None:
    m = Symbol("m", integer=True)
    assert invert_integer(ceildiv(expression(1000), m) <= 7, m).value == 143
    assert invert_integer(m * m <= 10**15, m).value == 31622776
    assert invert_integer(m <= 10, m, box=(3, 20)).value == 10
    with pytest.raises(ScaleError):
        invert_integer(ceildiv(m * 2**40, 3) <= 2**60, m)


def test_boundaries_that_do_not_exist_or_are_not_proven() -> None:
    with pytest.raises(NotInvertibleError, match="holds for no n"):
        invert_integer(n * n <= 0, n)
    with pytest.raises(NotInvertibleError, match="not proven"):
        invert_integer(n % 3 <= 1, n)
    with pytest.raises(NotInvertibleError, match="does not depend"):
        invert_integer(p <= 1, n, values={"p": 3})
    with pytest.raises(InputError, match="inequality"):
        invert_integer(n == 3, n)
    with pytest.raises(InputError, match="use invert"):
        invert_integer(x <= 3, x)


def test_all_roots_where_there_is_no_value_below_a_number() -> None:
    # ln(p - 2) has no value up to 2: there is nothing there, and the search says so for all of them.
    found = invert(log(p - 2) / p + log(p - 2), 1, p)
    assert found.complete
    assert (found.box.low, found.box.high) == (0.0, math.inf)
    for root in found.values:
        assert math.log(root - 2) / root + math.log(root - 2) == pytest.approx(1, rel=1e-9)


def test_a_search_that_stops_says_over_which_part_it_is_complete() -> None:
    # (1 - e^-p) / p falls from 1 to 0; where p is nearly zero its bounds say nothing, however small the piece.
    found = invert((1 - exp(-p)) / p, 0.5, p, box=(0, 1e6), effort=1500)
    assert found.complete
    assert found.box.low < 0.1
    assert found.box.high == 1e6
    assert found.values == (pytest.approx(1.5936242600400401, rel=1e-9),)
