"""Curvature in logarithms: every claim is checked against the definition on random pairs of points."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.algebra import Symbol, exp, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.convex import log_curvature
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.algebra.interval import Interval

X, Y = Symbol("x"), Symbol("y")
BOX = {"x": Interval(0.01, 100.0), "y": Interval(0.01, 100.0)}


def curve(root: Expression) -> int | None:
    return log_curvature(root, [X, Y], BOX)


def test_the_calculus_of_geometric_programs() -> None:
    assert curve(3 * X**2 / sqrt(Y)) == 0  # a monomial
    assert curve(3 * X + 1 / Y) == 1  # a posynomial
    assert curve(sqrt((1 / X) ** 2 + (2 / Y) ** 2) + 5) == 1  # the rounded roofline
    assert curve(1 / (X + Y)) == -1
    assert curve(maximum(1 / X, 2 / Y)) == 1
    assert curve(minimum(X, Y)) == -1
    assert curve(exp(X)) == 1
    assert curve(expression(7)) == 0


def test_what_is_not_proven_is_not_claimed() -> None:
    assert curve(X - 0.001) is None  # a difference
    assert curve((X + 1) / (Y + 1)) is None
    assert curve(where(X > Y, X, Y)) is None
    assert curve(X * Y + expression(-1)) is None
    assert log_curvature(X + Y, [X], {"x": Interval(1.0, 2.0), "y": Interval(0.0, 1.0)}) is None  # y may be zero


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> Expression:
    if depth == 0:
        return draw(st.sampled_from([X, Y, expression(2.5), expression(0.0)]))
    a, b = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    kind = draw(st.sampled_from(["+", "*", "/", "max", "min", "sqrt", "square", "-"]))
    if kind == "/" and b is expression(0.0):
        return a
    made = {
        "+": lambda: a + b, "*": lambda: a * b, "/": lambda: a / b, "max": lambda: maximum(a, b),
        "min": lambda: minimum(a, b), "sqrt": lambda: sqrt(a), "square": lambda: a**2, "-": lambda: a - b,
    }  # fmt: skip
    return made[kind]()


POINT = st.tuples(st.floats(-4, 4), st.floats(-4, 4))


@settings(max_examples=400)
@given(expressions(), POINT, POINT, st.floats(0, 1))
def test_a_proven_curve_is_the_curve(root: Expression, first: tuple[float, float], last: tuple[float, float],
                                     share: float) -> None:  # fmt: skip
    claimed = curve(root)
    if claimed is None:
        return

    def log_value(z: tuple[float, float]) -> float:
        found = evaluate(root, {"x": math.exp(z[0]), "y": math.exp(z[1])})
        return math.log(found) if found > 0 else -math.inf

    middle = (first[0] + share * (last[0] - first[0]), first[1] + share * (last[1] - first[1]))
    ends = [log_value(first), log_value(last)]
    if not all(map(math.isfinite, ends)):
        return
    chord = ends[0] + share * (ends[1] - ends[0])
    if claimed >= 0:
        assert log_value(middle) <= chord + 1e-9
    if claimed <= 0:
        assert log_value(middle) >= chord - 1e-9
