"""Grids, bounds, derivatives and transport: the cases that random expressions seldom meet."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from mlsysim_opt.algebra import (
    Axes,
    Choice,
    Constant,
    Expression,
    GridProgram,
    Interval,
    Symbol,
    argmax_label,
    ceildiv,
    elasticity,
    exp,
    freeze,
    gradient,
    log,
    lookup,
    maximum,
    sqrt,
    thaw,
    where,
)
from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.evaluate import ScalarProgram, evaluate
from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.errors import InputError, ScaleError
from mlsysim_opt.units import TIME, divide

x, y = Symbol("x", low=-3, high=3), Symbol("y", low=0, high=5)
t = Symbol("t", TIME)
p, m = Choice("p", [1, 2, 4, 8]), Choice("m", [1, 2, 16])
gpu = Choice("gpu", ["a", "b"])


# ---- grids
def test_a_grid_needs_an_axis_for_each_choice_and_a_value_for_each_symbol() -> None:
    with pytest.raises(InputError, match="no axis for 'm'"):
        GridProgram([p * m], {}, Axes.of([p]))
    with pytest.raises(InputError, match="no value for 'x'"):
        GridProgram([p * x], {}, Axes.of([p]))


def test_an_empty_space_has_empty_tables() -> None:
    nothing = np.zeros(0, dtype=np.intp)
    (table,) = GridProgram([p * m + gpu.is_value("a").choices.__len__()], {}, Axes({p: nothing}, (m,), 0)).tables()
    assert table.shape == (0, 3)


def test_tuples_of_many_choices_do_not_collide() -> None:
    # 24 choices of 8 values make 2**72 tuples: a code of 64 bits would confuse some of them.
    choices = [Choice(f"c{index}", range(8)) for index in range(24)]
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 8, size=(40, 24))
    rows[1] = rows[0]
    rows[1, 0] = (rows[0, 0] + 4) % 8  # differs in the leading digits only
    total: Expression = Constant(0)
    for weight, choice in enumerate(choices):
        total = total + choice * (weight + 1)
    axes = Axes({choice: rows[:, index] for index, choice in enumerate(choices)}, (), len(rows))
    (table,) = GridProgram([total], {}, axes).tables()
    assert table.tolist() == (rows * np.arange(1, 25)).sum(axis=1).tolist()


def test_single_points_and_narrow_blocks_have_the_values_of_the_whole_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysim_opt.algebra.evaluate.TABLE_LIMIT", 40)  # so that much is computed block by block
    a, b = Choice("a", range(1, 30)), Choice("b", range(1, 8))
    c, d, e = Choice("c", [2, 3, 5]), Choice("d", ["x", "y"]), Choice("e", [1, 4])
    rate = lookup(d, {"x": 2.0, "y": 7.0})
    pairs = np.array([(i, j) for i in range(29) for j in range(7) if (i + j) % 3])
    axes = Axes({a: pairs[:, 0], b: pairs[:, 1]}, (c, d, e), len(pairs))
    wide, narrow, small = (a * b + c) * rate / e, maximum(a * rate, b * b), e * rate
    program = GridProgram([wide, narrow, small], {}, axes)
    tables = program.tables()
    dice = np.random.default_rng(0)
    rows, places = dice.integers(len(pairs), size=50), [dice.integers(n, size=50) for n in (3, 2)]
    every = np.arange(2)[:, None]  # all values of e at each point
    for table, found in zip(tables, program.points([wide, narrow, small], rows, [*places, every]), strict=True):
        assert found.shape == (2, 50)
        assert (found == table[rows, places[0], places[1], every]).all()
    for start, stop, (value,) in program.narrow_blocks([narrow], [d]):
        assert value.shape == (1, 2, 1, stop - start)
        assert (np.moveaxis(value, -1, 0) == tables[1][start:stop, :1, :, :1]).all()


def test_undefined_cells_stay_undefined() -> None:
    rate = lookup(gpu, {"a": 2.0, "b": None})
    label = argmax_label(one=rate, two=Constant(1)) == "one"
    quotient, labels = GridProgram([1 / (rate - 2), label], {}, Axes.of([gpu])).tables()
    assert np.isnan(quotient).all()
    assert labels.tolist() == [True, False]
    assert math.isnan(evaluate(rate, {"gpu": "b"}))


def test_whole_numbers_too_large_are_refused_in_grids_too() -> None:
    with pytest.raises(ScaleError):
        GridProgram([ceildiv(p * 2**51, 3)], {}, Axes.of([p])).tables()


def test_choices_may_be_whole_numbers_given_as_floats() -> None:
    assert evaluate(lookup(p, {1: 1, 2: 3, 4: 9, 8: 27}), {"p": 4.0}) == 9


# ---- bounds
def test_the_sign_of_products_is_kept() -> None:
    assert bounds(y * y).low == 0.0
    assert bounds(y / (y + 1)).low == 0.0
    assert bounds(1 / (1 + y * y)).low > 0.0
    assert bounds(sqrt(y)).low == 0.0
    assert bounds(exp(x - 1000)).low >= 0.0
    assert bounds(exp(x - 1000)).high > 0.0


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1.0, 2.0), (0.0, 4.0), (0.25, math.inf)),
        ((-2.0, 1.0), (0.0, 4.0), (-math.inf, math.inf)),
        ((-2.0, -1.0), (0.0, 4.0), (-math.inf, -0.25)),
        ((1.0, 2.0), (-4.0, 0.0), (-math.inf, -0.25)),
        ((1.0, 2.0), (-1.0, 1.0), (-math.inf, math.inf)),
        ((1.0, math.inf), (1.0, math.inf), (0.0, math.inf)),
        ((0.0, 0.0), (0.0, 3.0), (0.0, 0.0)),
        ((-8.0, 4.0), (2.0, 4.0), (-4.0, 2.0)),
    ],
)
def test_quotients(a: tuple[float, float], b: tuple[float, float], expected: tuple[float, float]) -> None:
    got = iv.divide(Interval(*a), Interval(*b))
    assert got.low <= expected[0] and got.high >= expected[1]  # noqa: PT018
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("a", "exponent", "expected"),
    [
        ((-2.0, 3.0), 2, (0.0, 9.0)),
        ((-2.0, 3.0), 3, (-8.0, 27.0)),
        ((-2.0, 3.0), 0, (1.0, 1.0)),
        ((0.0, 2.0), -1, (0.5, math.inf)),
        ((0.0, 2.0), -2, (0.25, math.inf)),
        ((-2.0, 1.0), -2, (0.25, math.inf)),
        ((-2.0, 1.0), -1, (-math.inf, math.inf)),
        ((-4.0, 9.0), 0.5, (0.0, 3.0)),
        ((1e200, 1e300), 3, (math.inf, math.inf)),
        ((1e-300, 1e-200), 3, (0.0, 0.0)),
    ],
)
def test_powers(a: tuple[float, float], exponent: float, expected: tuple[float, float]) -> None:
    got = iv.raise_to(Interval(*a), exponent)
    assert got.low <= expected[0] and got.high >= expected[1]  # noqa: PT018
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-300) or expected[0] == math.inf


def test_whole_quotients_have_exact_bounds() -> None:
    assert bounds(ceildiv(m, p)) == (1.0, 16.0)
    assert bounds(ceildiv(expression(8), expression(2))) == (4.0, 4.0)


def test_bounds_over_parts_of_choices() -> None:
    rate = lookup(p, {1: 10, 2: 5, 4: None, 8: 1})
    assert bounds(rate) == (1.0, 10.0)
    assert bounds(rate, {"p": Interval(2.0, 4.0)}) == (5.0, 5.0)
    assert bounds(gpu == "a", {"gpu": "a"}) == (1.0, 1.0)
    assert bounds(gpu == "a", {"gpu": "b"}) == (0.0, 0.0)
    assert bounds(argmax_label(a=y, b=y + 9)) == (1.0, 1.0)
    with pytest.raises(InputError, match="not a value"):
        bounds(gpu == "a", {"gpu": "c"})


# ---- derivatives
def test_a_dead_branch_does_not_spoil_the_derivative() -> None:
    for node in (where(x > 0, log(x), x), where(x > 0, 1 / x, x), where(x > 0, sqrt(x), 2 * x) * 3):
        (slope,) = gradient(node, [x])
        assert evaluate(slope, {"x": 0.0}) in (1.0, 6.0)
        assert math.isfinite(evaluate(slope, {"x": -2.0}))


def test_derivatives_have_units_and_leave_whole_numbers_alone() -> None:
    (slope,) = gradient(t * y, [t])
    assert slope is y
    assert gradient(t**2, [t])[0].dimension == TIME
    assert gradient(t, [x])[0].dimension == divide(TIME, x.dimension)
    with pytest.raises(InputError, match="whole"):
        gradient(p * x, [p])
    with pytest.raises(InputError, match="only numbers"):
        gradient(x <= 1, [x])


def test_elasticities_are_exponents_of_powers() -> None:
    assert evaluate(elasticity(3 * y**2, y), {"y": 1.7}) == pytest.approx(2)
    assert evaluate(elasticity(maximum(y, 4), y), {"y": 1.0}) == 0
    assert elasticity(t * 2, t).dimension == x.dimension


# ---- values at the edge of what floats can hold
@pytest.mark.parametrize(
    ("node", "value", "expected"),
    [
        (1 / x, 0.0, math.nan),
        (log(x), 0.0, math.nan),
        (log(x), -1.0, math.nan),
        (sqrt(x), -1.0, math.nan),
        (x**-2, 0.0, math.nan),
        (x**3, -1e200, -math.inf),
        (x**4, -1e200, math.inf),
        (exp(x), 1e4, math.inf),
        (exp(x), math.nan, math.nan),
        (maximum(x, 1), math.nan, math.nan),
        (x**0, 0.0, 1.0),
    ],
)
def test_one_point_and_a_column_agree(node: Expression, value: float, expected: float) -> None:
    got = [
        ScalarProgram([node]).run([value])[0],
        GridProgram([node * (p / p)], {"x": value}, Axes.of([p])).tables()[0][0],
        _array(node, value),
    ]
    for item in got:
        assert item == expected or (math.isnan(item) and math.isnan(expected))


def _array(node: Expression, value: float) -> float:
    args = [np.array([value]) if item is x else np.float64(evaluate(item)) for item in node.args]
    with np.errstate(all="ignore"):
        return float(np.asarray(node.atom.array(*args)).reshape(-1)[0])  # type: ignore[attr-defined]


# ---- transport
def test_expressions_travel_to_another_process(run_python: Callable[..., object]) -> None:
    rate = lookup(gpu, {"a": 2.5, "b": None}, unit="GB/s", reasons={"b": "no rate"}, title="rate")
    node = where(gpu == "a", expression("30 ms") * rate, Constant(1) * rate * t) ** 0.5
    data = pickle.dumps([node, node, rate])
    code = f"""
import pickle
first, second, rate = pickle.loads({data!r})
assert first is second
assert str(first) == {str(node)!r}, str(first)
assert rate.param.reasons == {{"b": "no rate"}}
"""
    run_python(code)


def test_frozen_expressions_are_plain_data() -> None:
    def plain(item: object) -> bool:
        return (
            item is None
            or isinstance(item, str | int | float | bool)
            or (isinstance(item, tuple) and all(plain(part) for part in item))
        )

    node = lookup(gpu, {"a": 2.5, "b": None}) * t**0.5 + constant_like()
    assert plain(freeze(node))
    assert thaw(freeze(node)) is node


def constant_like() -> Expression:
    return expression("1 s") ** 0.5


@pytest.mark.parametrize(
    "data",
    [
        (),
        ("x",),
        (("symbol", "x"),),
        (("operation", "os.system", (), ("plain", None)),),
        (("operation", "add", (0, 1), ("plain", None)),),
        (("constant", 1.0, ("s", 1.0, (1,) * 10)), ("operation", "add", (0, -1), ("plain", None))),
        (("constant", float("nan"), ("s", 1.0, (1,) * 10)),),
        None,
        5,
    ],
)
def test_data_that_are_no_expression_are_refused(data: object) -> None:
    with pytest.raises(InputError):
        thaw(data)  # type: ignore[arg-type]
