"""Regrouped expressions have the values of those that were written, and compute fewer of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.atoms import ATOMS, ceil, ceildiv, exp, log, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.expression import Constant, Expression, Operation, Symbol, symbols, topological
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.regroup import regrouped
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import NONE

SHAPE = [2, 3, 4, 5]
LEAVES = [Symbol(f"x{at}", NONE) for at in range(8)]
A, B, C, D = LEAVES[:4]  # one for each axis, in the examples by hand
OF_ONE_AXIS = {"x0": 1, "x1": 2, "x2": 4, "x3": 8}


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small spaces are regrouped like large ones, in several tiles."""
    monkeypatch.setattr("mlsysim_opt.algebra.arrays.REGROUPED", 0)
    monkeypatch.setattr("mlsysim_opt.algebra.arrays.LITTLE", 0)
    monkeypatch.setattr("mlsysim_opt.algebra.arrays.WHOLE", 6)
    monkeypatch.setattr("mlsysim_opt.algebra.tiles.TILE", 20)
    monkeypatch.setattr("mlsysim_opt.algebra.least_work.FEW", 1 << 30)


def along(axis: int, values: Sequence[float]) -> np.ndarray[Any, Any]:
    return np.asarray(values, dtype=float).reshape([-1 if at == axis else 1 for at in range(len(SHAPE))])


def form(root: Expression) -> Expression:
    """Return an expression in its new form, for leaves from 1 to 9."""
    return regrouped([root], OF_ONE_AXIS, SHAPE, {leaf.name: Interval(1.0, 9.0) for leaf in symbols(root)})[0]


def over_all_axes(*roots: Expression) -> list[str]:
    """Return the operations whose values vary along all axes."""
    axes: dict[int, int] = {}
    for node in topological(roots):
        axes[id(node)] = OF_ONE_AXIS.get(getattr(node, "name", ""), 0)
        for item in node.args:
            axes[id(node)] |= axes[id(item)]
    return [node.atom.name for node in topological(roots) if isinstance(node, Operation) and axes[id(node)] == 15]


# ---- any expression
def grown(steps: list[tuple[int, int, int]]) -> list[Expression]:
    nodes: list[Expression] = [*LEAVES, Constant(2), Constant(0)]
    for kind, i, j in steps:
        makers = ways(nodes[-1 - i % len(nodes)], nodes[-1 - j % len(nodes)], LEAVES[j % len(LEAVES)], j)
        with suppress(InputError):  # a division by the constant zero
            nodes.append(makers[kind % len(makers)]())
    return nodes[-5:]


def ways(a: Expression, b: Expression, leaf: Expression, pick: int) -> list[Callable[[], Expression]]:
    """Return ways to make one more node; sums and products are most of them."""
    zero = Constant(0)
    return [
        lambda: a + b, lambda: a * b, lambda: a + b, lambda: a * b, lambda: a / (b + 1), lambda: a / b,
        lambda: a**2, lambda: sqrt(a), lambda: a ** (3, -1, -2, 1.5)[pick % 4], lambda: maximum(a, b),
        lambda: minimum(a, b), lambda: where(leaf < 1, a, b), lambda: where(leaf <= 1, a, zero),
        lambda: where(zero < leaf, a / leaf, zero), lambda: a - b, lambda: ceil(minimum(a, 1e6)), lambda: -a,
        lambda: exp(minimum(a, 3)), lambda: log(a + 1), lambda: abs(a), lambda: sqrt(a**2 + b**2),
        lambda: (a + b) * a, lambda: a * leaf + b * leaf,
    ]  # fmt: skip


STEPS = st.lists(st.tuples(st.integers(0, 22), st.integers(0, 12), st.integers(0, 12)), min_size=3, max_size=25)
NUMBERS = st.sampled_from([0.0, 0.3, 1.0, 1.7, 2.0, 1e6, 1e-6, math.nan])
CELLS = st.lists(NUMBERS, min_size=5, max_size=5)


@given(STEPS, st.lists(st.tuples(st.integers(0, 15), CELLS), min_size=8, max_size=8), st.integers(0, 30))
def test_the_values_are_those_of_what_is_written(
    steps: list[tuple[int, int, int]], leaves: list[tuple[int, list[float]]], rare: int
) -> None:
    roots = grown(steps)
    values: dict[str, Any] = {}
    for leaf, (axes, cells) in zip(LEAVES, leaves, strict=True):
        shape = [size if axes >> at & 1 else 1 for at, size in enumerate(SHAPE)]
        sound = [1.5 if cell != cell and rare else cell for cell in cells]  # mostly without undefined numbers
        values[leaf.name] = np.resize(sound, shape) if axes else sound[0]
    program = ArrayProgram(roots)
    expected = program.run(values, SHAPE)
    for got, want in zip(program.run(values, SHAPE, as_written=False), expected, strict=True):
        np.testing.assert_allclose(*np.broadcast_arrays(got, want), rtol=1e-12, atol=0)


# ---- fewer values
def test_a_sum_computes_few_values_over_all_axes() -> None:
    # As written, + b*d has the axes of a, b, c and d, and so have + d, * 2, a * and / b.
    written = A * (((A * B + C) + B * D + D) * 2) / B
    assert len(over_all_axes(written)) == 5
    # a*b + c and (b + 1)*d are of three axes or two: a sum of all, times 2a/b.
    assert over_all_axes(form(written)) == ["inner_product", "multiply"]


def test_common_factors_are_drawn_out_of_a_root() -> None:
    # sqrt((a*b*c)^2 + (b*d)^2) is b * sqrt((a*c)^2 + d^2): squares, sum and root do without b.
    written = sqrt((A * B * C) ** 2 + (B * D) ** 2)
    assert over_all_axes(written) == ["add", "power"]
    assert over_all_axes(form(written)) == ["multiply"]


def test_terms_of_two_factors_are_a_product_of_matrices() -> None:
    # 6 places of a and b times 20 of c and d, three products for each pair of them.
    written = sqrt(A * B * (C * D) + A**2 * (C + D) + (B + A) * D**2)
    assert over_all_axes(written) == ["multiply", "add", "add", "power"]
    assert over_all_axes(form(written)) == ["inner_product", "power"]
    # (a*c + b*d)^2 + (b*d)^2 = a^2*c^2 + 2*a*b*c*d + 2*b^2*d^2: a square is opened where its terms divide.
    assert over_all_axes(form(sqrt((A * C + B * D) ** 2 + (B * D) ** 2))) == ["inner_product", "power"]


def test_what_is_decided_everywhere_is_not_computed() -> None:
    assert form(maximum(A + B, 1) * where(C < 10, C * D, D)) is form((A + B) * (C * D))
    assert form(maximum(A + B, 3) * D) is not form((A + B) * D)


# ---- no other values
@pytest.mark.parametrize("root", [
    (A * B + C * D) - (B * A + D), ceil(A * B * C * D), ceildiv(*(Symbol(name, NONE, integer=True) for name in "nm")),
    log(A * B * C + D), (A + B + C) < D, A * B * C + (D - 20),
])  # fmt: skip
def test_what_would_make_an_error_larger_gets_what_is_written(root: Expression) -> None:
    assert form(root) is root


def test_branches_that_are_not_taken_stay_undefined() -> None:
    values = {"x0": along(0, [0, 2]), "x1": along(1, [1, 2, 3]), "x2": along(2, range(4)), "x3": along(3, range(5))}
    root = where(A > 0, B * (C / A) + D, 0) + C * D  # C / A is not a number for A = 0
    assert_as_written([root], values)
    assert np.isfinite(ArrayProgram([root]).run(values, SHAPE, as_written=False)[0]).all()


@pytest.mark.parametrize("tiny", [1e-200, 1e200])
def test_numbers_out_of_range_on_the_way_are_noticed(tiny: float) -> None:
    values = {"x0": tiny * along(0, [1, 2]), "x1": along(1, [1, 2, 3]), "x2": along(2, [3, 1, 2, 4]) / tiny**1.5,
              "x3": tiny * along(3, [1, 2, 3, 4, 5])}  # fmt: skip
    # As written all is near tiny^0.5; a * d alone would be tiny^2, which is 0 or infinite.
    assert_as_written([A * (B * C * D), A * (C * D) + A * B * (C * D)], values)


def test_a_program_serves_values_near_those_it_was_made_for() -> None:
    program = ArrayProgram([sqrt(A * B + C * D) + A])
    values = {"x0": along(0, [1, 2]), "x1": along(1, [1, 2, 3]), "x2": along(2, range(4)), "x3": along(3, range(5))}
    program.run(values, SHAPE, as_written=False)
    made = program._regrouped
    assert_as_written(program, {**values, "x3": along(3, [0, 0.5, 1, 2, 4])})
    assert program._regrouped is made
    below = {**values, "x1": along(1, [-1, -2, 3]), "x2": along(2, [math.nan, -1, 0, 1])}
    assert_as_written(program, below)  # terms may be negative or undefined now
    assert program._regrouped is not made
    made = program._regrouped
    assert_as_written(program, values)
    assert program._regrouped is made


def assert_as_written(roots: ArrayProgram | list[Expression], values: dict[str, Any]) -> None:
    program = roots if isinstance(roots, ArrayProgram) else ArrayProgram(roots)
    found, expected = program.run(values, SHAPE, as_written=False), program.run(values, SHAPE)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(*np.broadcast_arrays(got, want), rtol=1e-12, atol=0)


@pytest.mark.parametrize("depth", [3, 400])
def test_sums_in_sums_may_be_deep(depth: int) -> None:
    root: Expression = A
    for at in range(depth):
        root = (root + LEAVES[at % 4]) * LEAVES[(at + 1) % 4] ** 0.5 / 2
        root = sqrt(root * B + C * D)
    values = {f"x{at}": along(at, np.linspace(1, 2, size)) for at, size in enumerate(SHAPE)}
    assert_as_written([root], values)


# ---- the product of matrices
@pytest.mark.parametrize("first", range(16))
@pytest.mark.parametrize("second", range(16))
def test_an_inner_product_over_any_axes(first: int, second: int) -> None:
    random = np.random.default_rng(first * 16 + second)
    sides = [[size if axes >> at & 1 else 1 for at, size in enumerate(SHAPE)] for axes in (first, second)]
    a, b, c, d = (random.random(side) for side in (*sides, *sides))
    found = ATOMS["inner_product"].array(a, b, c, d)
    np.testing.assert_allclose(np.broadcast_to(found, np.shape(a * b)), a * b + c * d, rtol=1e-15)


def test_an_inner_product_at_a_point() -> None:
    node = ATOMS["inner_product"](A, B, C, 2)
    assert node.atom.scalar(3.0, 5.0, 7.0, 2.0) == 3 * 5 + 7 * 2
    assert node.atom.bounds(*[Interval(1.0, 2.0)] * 4).contains(8.0)
    assert str(node) == "(x0) * (x1) + (x2) * (2)"
