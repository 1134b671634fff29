"""Nodes: one object per expression, units checked where they meet, no silent truth."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from mlsysim_opt.algebra import (
    Choice,
    Constant,
    Expression,
    Symbol,
    ceildiv,
    constant,
    divides,
    equations_text,
    freeze,
    gradient,
    latex,
    log,
    lookup,
    maximum,
    substitute,
    symbols,
    thaw,
    topological,
)
from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.evaluate import ScalarProgram, evaluate
from mlsysim_opt.algebra.expression import expression, interned_count
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.render import render
from mlsysim_opt.errors import (
    DimensionError,
    InputError,
    ParseError,
    ScaleError,
    SymbolicError,
    UnknownNameError,
)
from mlsysim_opt.units import BANDWIDTH, BYTE, MONEY, NONE, Q_, TIME, TOKEN, parse_unit

t, u = Symbol("t", TIME), Symbol("u", TIME)
x, y = Symbol("x"), Symbol("y")
cost, tokens = Symbol("cost", MONEY), Symbol("tokens", TOKEN)
n = Symbol("n", integer=True)
gpu = Choice("gpu", ["a100", "h100"])
tp = Choice("tp", [1, 2, 4])


# ---- one object per expression
def test_equal_expressions_are_one_object() -> None:
    assert (t + u) * 2 is (t + u) * 2
    assert t + u is not u + t
    assert Symbol("t", TIME) is t
    assert Choice("tp", [1.0, 2, 4]) is tp
    assert Constant(30, parse_unit("ms")) is expression("30 ms")
    assert expression("30 ms") is not expression("0.03 s")
    assert Constant(-0.0) is Constant(0.0)
    assert lookup(tp, {1: 2, 2: 3, 4: 5}) is lookup(tp, {4: 5, 2: 3.0, 1: 2})


def test_what_nobody_holds_is_freed() -> None:
    kept = [Symbol(f"gone{index}") * (index + 2) + x for index in range(100)]
    watched = [weakref.ref(node) for node in topological(kept) if node.args]
    held = interned_count()
    del kept
    gc.collect()
    assert not [node for node in watched if node() is not None]
    assert interned_count() <= held - len(watched)


def test_threads_get_the_same_objects() -> None:
    found: list[list[Expression]] = []

    def work() -> None:
        found.append([(x + index) ** 2 for index in range(200)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(a is b for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_look_ups_with_other_reasons_stay_apart() -> None:
    one = lookup(gpu, {"a100": None, "h100": 2}, reasons={"a100": "no FP8"})
    two = lookup(gpu, {"a100": None, "h100": 2}, reasons={"a100": "no price"})
    assert one is not two


# ---- equality
def test_equations_are_true_when_both_sides_are_one_node() -> None:
    assert bool(t == Symbol("t", TIME)) is True
    assert bool(t == u) is False
    assert bool(t != u) is True
    assert (t == u).sort == "truth"
    assert {t: 1, u: 2}[t] == 1
    assert len({t, u, Symbol("t", TIME)}) == 2
    assert [u, t].index(t) == 1


def test_membership_works_among_any_expressions() -> None:
    mixed = [cost, gpu, tokens, t > u, tp]
    assert tp in mixed
    assert t not in mixed
    assert (gpu, t) != (tp, t)


def test_an_equation_between_incomparable_sides_says_so_when_used() -> None:
    wrong = t == cost
    with pytest.raises(DimensionError, match=r"s and USD"):
        _ = wrong & (t > u)
    with pytest.raises(DimensionError, match=r"s and USD"):
        _ = wrong.sort
    with pytest.raises(DimensionError, match=r"s and USD"):
        expression(wrong)


def test_equality_with_what_is_no_quantity_is_plain_inequality() -> None:
    assert (t == None) is False  # noqa: E711
    assert t != object()
    with pytest.raises(DimensionError):
        _ = t == 5
    with pytest.raises(ParseError):
        _ = t == "soon"
    with pytest.raises(InputError):
        _ = t == True  # noqa: E712


# ---- strict truth
@pytest.mark.parametrize("truth", [t < u, x <= 2, (t < u) & (x <= 2), ~(t < u), gpu == "h100", divides(2, n), x, t + u])
def test_python_control_flow_on_an_unknown_is_refused(truth: Expression) -> None:
    with pytest.raises(SymbolicError, match="where"):
        bool(truth)


def test_other_conversions_are_refused() -> None:
    with pytest.raises(SymbolicError):
        float(x)
    with pytest.raises(SymbolicError):
        int(x)
    with pytest.raises(SymbolicError):
        list(range(n))  # type: ignore[call-overload]
    with pytest.raises(SymbolicError):
        list(x)
    with pytest.raises(SymbolicError):
        _ = 1 < x < 2


# ---- dimensions
def test_K16_tokens_and_dollars_do_not_add() -> None:
    with pytest.raises(DimensionError) as caught:
        _ = tokens + cost
    message = str(caught.value)
    for part in ("tokens is token", "cost is USD"):
        assert part in message
    with pytest.raises(TypeError):
        _ = cost - Symbol("carbon", parse_unit("kgCO2e").dimension)


def test_dimensions_multiply_and_divide() -> None:
    size = Symbol("size", BYTE)
    assert (size / t).dimension == BANDWIDTH
    assert (t * t).dimension == (t**2).dimension
    assert ((t**2) ** 0.5).dimension == TIME
    assert (t**0.5).dimension[0] * 2 == 1
    assert (t / u).dimension == NONE
    with pytest.raises(DimensionError, match="simple fractions"):
        _ = t**0.3333
    with pytest.raises(InputError, match="constant"):
        _ = x**y
    with pytest.raises(InputError, match="too large"):
        _ = x**387420489


def test_zero_in_any_dimension_can_be_written() -> None:
    assert constant(0, (t**0.5).dimension).dimension == (t**0.5).dimension
    assert render(constant(2, (t**0.5).dimension)) == "2 [s^(1/2)]"


def test_substitution_keeps_dimensions() -> None:
    assert substitute(t + u, {u: t}) is t + t
    with pytest.raises(DimensionError, match="replacement"):
        substitute(t + u, {u: cost})


def test_foreign_numbers_on_the_left_leave_arithmetic_to_the_expression() -> None:
    assert np.float64(3) * x is 3 * x
    assert np.float64(2) - x is 2 - x
    assert Q_("30 ms") * x is expression("30 ms") * x
    assert Q_("30 ms") + t is expression("30 ms") + t
    assert (Q_("30 ms") >= t) is (t <= expression("30 ms"))


# ---- numbers
@pytest.mark.parametrize("text", ["0.07 ms", "1.1 GiB", "0.1 percent", "3e-7 USD/kWh", "1e22 s", "123456789.123 ns"])
def test_constants_keep_the_number_as_written(text: str) -> None:
    node = expression(text)
    assert render(node) == text.replace("1e22", "1e+22").replace("3e-7", "3e-07")
    assert node.value == node.magnitude * node.unit.factor


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e400])
def test_constants_are_finite(value: float) -> None:
    with pytest.raises(InputError):
        Constant(value)
    with pytest.raises(InputError):
        expression(value)


def test_whole_numbers_that_no_float_holds_are_refused() -> None:
    assert expression(2**53).value == 2**53
    for number in (2**53 + 1, 10**400):
        with pytest.raises(ScaleError):
            expression(number)
        with pytest.raises(ScaleError):
            Choice("c", [1, number])


def test_a_bool_is_no_number() -> None:
    for value in (True, np.True_):
        with pytest.raises(InputError):
            _ = x + value


def test_symbols_have_bounds_in_order() -> None:
    with pytest.raises(InputError, match="lower bound"):
        Symbol("x", low=2, high=1)
    with pytest.raises(InputError, match="lower bound"):
        Symbol("x", low=math.nan)


# ---- choices
def test_choices_are_distinct_values_of_one_kind() -> None:
    assert tp.integer
    assert not Choice("f", [0.5, 1]).integer
    assert gpu.sort == "label"
    for values in ([], [1, 1.0], [1, "a"], ["a", "a"], [math.nan], [True], [None]):
        with pytest.raises(InputError):
            Choice("c", values)


def test_labels_are_compared_by_name() -> None:
    assert (gpu == "h100") is gpu.is_value("h100")
    assert (gpu != "h100") is ~(gpu == "h100")
    with pytest.raises(UnknownNameError, match="did you mean 'h100'"):
        _ = gpu == "h10"


def test_a_table_covers_its_choice() -> None:
    with pytest.raises(InputError, match="lacks 4"):
        lookup(tp, {1: 1, 2: 2})
    with pytest.raises(InputError, match="not finite"):
        lookup(tp, {1: 1, 2: 2, 4: math.inf})
    assert lookup(tp, {1: 3, 2: 3, 4: 3}) is Constant(3)


# ---- whole numbers
@pytest.mark.parametrize("a", [0, 1, 7, -7, 2**31 + 1, 2**53 - 1, -(2**53) + 1])
@pytest.mark.parametrize("b", [1, 3, -3, 8, 2**31 - 1, 2**53 - 1])
def test_whole_number_operations_are_exact(a: int, b: int) -> None:
    m = Symbol("m", integer=True, low=-math.inf)
    given = {"n": a, "m": b}
    assert evaluate(ceildiv(n, m), given) == -(-a // b)
    assert evaluate(n % m, given) == a % b
    assert evaluate(divides(m, n), given) is (a % b == 0)
    for node in (ceildiv(n, m), n % m, divides(m, n)):
        args = [np.array([float(given[item.name])]) for item in node.args]  # type: ignore[attr-defined]
        assert node.atom.array(*args)[0] == evaluate(node, given)  # type: ignore[attr-defined]


@pytest.mark.parametrize("node", [ceildiv(n, 3), n % 3, divides(3, n)])
def test_K10_whole_numbers_beyond_a_float_are_refused(node: Expression) -> None:
    for number in (2**53, 2**60):
        with pytest.raises(ScaleError, match=r"2\*\*53"):
            evaluate(node, {"n": number})
        with pytest.raises(ScaleError, match=r"2\*\*53"):
            node.atom.array(np.array([1.0, float(number)]), np.array(3.0))  # type: ignore[attr-defined]


def test_whole_number_operations_want_whole_numbers() -> None:
    with pytest.raises(InputError, match="whole"):
        ceildiv(x, 2)
    with pytest.raises(DimensionError):
        ceildiv(Symbol("k", TOKEN, integer=True), n)
    assert math.isnan(evaluate(ceildiv(n, n), {"n": 0}))
    assert evaluate(divides(n, 4), {"n": 0}) is False


# ---- depth
def long_sum(terms: int) -> tuple[Expression, list[Symbol], dict[str, float], float]:
    inputs = [Symbol(f"x{index}", low=0, high=1) for index in range(50)]
    total: Expression = Constant(1)
    for index in range(terms):
        total = total + inputs[index % 50] * (index + 2)
    return total, inputs, {item.name: 1.0 for item in inputs}, 1.0 + terms * (terms + 3) / 2


def test_K20_a_sum_of_100_000_terms() -> None:
    total, inputs, values, exact = long_sum(100_000)
    assert evaluate(total, values) == exact
    assert bounds(total).contains(exact)
    assert render(total).startswith("1 + x0 * 2 + x1 * 3 + ")
    (slope,) = gradient(total, [inputs[3]])
    assert evaluate(slope, values) == sum(range(5, 100_002, 50))
    assert str(total).endswith(" ...")
    assert len(repr(total)) < 200


def test_K20_nothing_walks_an_expression_by_recursion() -> None:
    total, inputs, values, exact = long_sum(10_000)
    assert latex(total).count("+") == 10_000
    assert equations_text({"total": total}).startswith("total = ")
    assert thaw(freeze(total)) is total
    assert len(symbols(substitute(total, {inputs[0]: inputs[1]}))) == 49
    found = invert(total, exact, inputs[3], values=values, box=(0, 10))
    assert found.value == pytest.approx(1.0, rel=1e-9)


def test_K20_deep_nesting_and_release() -> None:
    deep: Expression = x
    for _ in range(30_000):
        deep = log(maximum(deep, 1) + 1)
    assert math.isfinite(evaluate(deep, {"x": 1.0}))
    assert len(topological([deep])) == 90_002
    del deep  # must not overflow the C stack


def test_shared_parts_do_not_unfold_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: Expression = x
    for _ in range(500):
        shared = shared * shared + 1
    assert len(repr(shared)) < 200
    assert len(str(shared)) <= 100_000
    monkeypatch.setattr("mlsysim_opt.algebra.render.LONGEST", 10_000)
    with pytest.raises(DimensionError):
        _ = shared + t
    with pytest.raises(ScaleError, match="equations_text"):
        render(shared)
    assert equations_text({"shared": shared}).count("\n") == 500


def test_a_program_reads_choices_by_value() -> None:
    speed = lookup(gpu, {"a100": 312, "h100": 989}, unit="TFLOP/s")
    program = ScalarProgram([speed * tp, gpu == "h100", tp == 2])
    assert program.run_named({"gpu": "h100", "tp": 2}) == [989e12 * 2, True, True]
    with pytest.raises(InputError, match="not one of a100, h100"):
        program.run_named({"gpu": "b200", "tp": 2})
    with pytest.raises(InputError, match="no value for 'tp'"):
        program.run_named({"gpu": "h100"})


# NumPy ----------------------------------------------------------------------------------------------------------------
def test_numbers_of_numpy_stand_on_either_side() -> None:
    time, count = Symbol("time", TIME), Choice("count", [1, 2, 3])
    three, two = np.float64(3), np.int64(2)
    assert three * time is 3.0 * time
    assert time / three is time / 3.0
    assert two + count is 2 + count
    assert two - count is 2 - count
    assert (three <= count) is (count >= 3.0)
    assert (count < two) is (count < 2)
    assert (two == count) is (2 == count)  # noqa: SIM300
    assert (two != count) is (2 != count)  # noqa: SIM300
    with pytest.raises(InputError, match="ndarray"):
        np.array([1, 2]) * time


@pytest.mark.parametrize(
    ("call", "ours"),
    [
        (np.sqrt, "algebra.sqrt"),
        (np.exp, "algebra.exp"),
        (np.log10, "algebra.log"),
        (np.ceil, "algebra.ceil"),
        (np.abs, "abs"),
        (lambda value: np.maximum(value, 1), r"algebra.maximum does; in texts, max\("),
        (lambda value: np.where(value > 1, value, 1), "algebra.where"),
        (lambda value: np.clip(value, 1, 2), "algebra.minimum"),
        (np.sum, "algebra"),
        (np.sin, "sqrt"),
    ],
)
def test_functions_of_numpy_name_their_counterpart(call: Any, ours: str) -> None:
    with pytest.raises(SymbolicError, match="numpy.*\n.*" + ours):
        call(Choice("count", [1, 2, 3]))
