"""Regimes: edges worked out by hand, and against the evaluation of the expression on both of their sides."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlsysim_opt.algebra import Choice, Symbol, argmax_label, ceil, evaluate, floor, maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.algebra.regimes import BESIDE, BRANCH, Edge, Regimes
from mlsysim_opt.units import NONE

X, Y, Z = (Symbol(name, NONE) for name in "xyz")
SHARE = Symbol("share", NONE, high=1.0)


def edges(root: Expression, values: dict[str, Any], **watched: Any) -> dict[tuple[str, bool], dict[str, Edge]]:
    leaves = [item for item in (X, Y, Z, SHARE) if item.name in values]
    return Regimes(root, {name: [node] for name, node in watched.items()}).edges(values, leaves)


def test_a_roofline_turns_where_both_sides_are_equal() -> None:
    # work 2 at rate x against traffic 3 at rate y: 2/4 = 0.5 s against 3/2 = 1.5 s. Traffic binds until y is three
    # times as large (3/6 = 0.5), or x a third (2/(4/3) = 1.5); nothing happens the other way.
    compute, traffic = 2 / X, 3 / Y
    found = edges(maximum(compute, traffic), {"x": 4.0, "y": 2.0})
    assert found["y", True][BRANCH].factor == pytest.approx(3, rel=1e-15)
    assert found["x", False][BRANCH].factor == pytest.approx(1 / 3, rel=1e-15)
    assert found["x", True] == found["y", False] == {}
    edge = found["y", True][BRANCH]
    assert (edge.before, edge.after) == (0.0, 1.0)  # the second of the two, then the first
    assert edge.inside < edge.factor <= math.nextafter(math.nextafter(edge.inside, 4), 4)


def test_what_is_not_live_is_no_edge() -> None:
    # max(x, min(y, 5)) with x = 100: the inner minimum turns at y = 5, but nobody sees it before it is 100.
    found = edges(maximum(X, minimum(Y, expression(5))), {"x": 100.0, "y": 4.0})
    assert found["y", True] == {}
    assert found["x", False][BRANCH].factor == pytest.approx(0.04)
    # where: the branch that is not taken, and what the condition is made of, are no edges by themselves
    found = edges(where(Z > 1, X, maximum(Y, expression(5))), {"x": 2.0, "y": 4.0, "z": 2.0})
    assert found["y", True] == {}
    assert found["z", False][BRANCH].factor == pytest.approx(0.5)


def test_whole_numbers_step() -> None:
    # ceil(2.5) = 3 holds from above 2 to 3: factors 0.8 and 1.2
    found = edges(ceil(X) * 7, {"x": 2.5})
    up, down = found["x", True][BRANCH], found["x", False][BRANCH]
    assert (up.inside, up.after) == (pytest.approx(1.2, rel=1e-15), 4.0)
    assert (down.factor, down.after) == (pytest.approx(0.8, rel=1e-15), 2.0)
    assert edges(floor(X), {"x": 2.5})["x", True][BRANCH].factor == pytest.approx(1.2, rel=1e-15)


def test_labels_and_truths_are_watched_apart_from_branches() -> None:
    # a smooth sum has no branches; its larger part changes all the same: 3/y is larger than 2/x until y is tripled
    label = argmax_label(compute=2 / X, memory=3 / Y)
    found = edges(2 / X + 3 / Y, {"x": 4.0, "y": 2.0}, label=label, fits=X * Y <= 12)
    assert set(found["y", True]) == {"label", "fits"}
    assert found["y", True]["label"].factor == pytest.approx(3, rel=1e-15)
    assert found["y", True]["fits"].inside == pytest.approx(1.5, rel=1e-15)  # 4 x 3 = 12 still fits


def test_a_number_keeps_its_bounds_and_an_end_is_an_edge() -> None:
    found = edges(maximum(SHARE, expression(0.9)) + 0 * X, {"share": 0.5, "x": 1.0})
    assert found["share", True][BRANCH].factor == pytest.approx(1.8)
    assert edges(maximum(SHARE, expression(2)), {"share": 0.5})["share", True] == {}  # it would be at 4 x, beyond 1
    undefined = edges((3 - X) ** 0.5, {"x": 1.0})["x", True][BRANCH]
    assert undefined.kind == "undefined"
    assert undefined.inside == pytest.approx(3, rel=1e-15)


def test_a_kink_at_the_present_value_is_seen_from_both_sides() -> None:
    regimes = Regimes(maximum(X, Y) + Z)
    values = {"x": 2.0, "y": 2.0, "z": 1.0}
    assert set(regimes.kinks(values, [X, Y, Z])) == {"x", "y"}
    assert regimes.kinks({**values, "y": 2.0 + 1e-6}, [X, Y, Z]) == {}


def test_choices_are_given_by_value() -> None:
    kind = Choice("kind", ("flat", "steep"))
    root = where(kind == "steep", maximum(X, expression(3)), X)
    assert edges(root, {"x": 1.0, "kind": "steep"})["x", True][BRANCH].factor == pytest.approx(3)
    assert edges(root, {"x": 1.0, "kind": "flat"})["x", True] == {}


numbers = st.floats(0.2, 5.0)


@given(a=numbers, b=numbers, c=numbers, x=numbers, y=numbers, z=numbers)
def test_between_edges_one_branch_is_taken_and_another_beyond(
    a: float, b: float, c: float, x: float, y: float, z: float
) -> None:
    """Against a walk over many factors that only evaluates which piece of the expression is live."""
    pieces = [a * X + b, Y * b / X, X * X + c, a + Z]
    root = maximum(minimum(pieces[0], pieces[1]), minimum(pieces[2], pieces[3]))
    values = {"x": x, "y": y, "z": z}

    def live(factor: float) -> int:
        here = {**values, "x": x * factor}
        whole = evaluate.evaluate(root, here)
        return [evaluate.evaluate(item, here) for item in pieces].index(whole)

    for up in (True, False):
        edge = edges(root, values)["x", up].get(BRANCH)
        end = edge.inside if edge else (1e3 if up else 1e-3)
        start = 1 + 2 * BESIDE if up else 1 - 2 * BESIDE
        assume(start < end if up else end < start)
        now = live(start)
        for step in range(1, 40):
            at = start * (end / start) ** (step / 40)
            # one that begins and ends between two looks (11 percent apart at most) may be passed over, as is said
            assert live(at) == now or live(at * 1.11) == now == live(at / 1.11)
        if edge:
            assert live(edge.factor * (1 + 1e-9 if up else 1 - 1e-9)) != now
