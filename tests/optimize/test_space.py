"""Joining choices: the rows of a join are exactly the tuples that satisfy the constraints, however it is split."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.algebra.atoms import divides
from mlsysim_opt.algebra.evaluate import Axes
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.optimize import space
from mlsysim_opt.optimize.space import Domain, spaces

SIZES = [1, 2, 3, 4, 6, 8, 12, 24]


def rows(choices: list[Choice], axes: Axes) -> set[tuple[Any, ...]]:
    """Return every tuple of values that a space holds."""
    found = set()
    dense = [range(len(choice.values)) for choice in axes.dense]
    for row in range(axes.rows):
        for free in itertools.product(*dense):
            at = dict(zip(axes.dense, free, strict=True))
            found.add(
                tuple(
                    choice.values[at[choice] if choice in at else int(axes.joined[choice][row])] for choice in choices
                )
            )
    return found


@pytest.mark.parametrize("at_once", [4, 40, 1 << 21])
def test_the_join_holds_exactly_the_valid_tuples(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "ROWS_AT_ONCE", at_once)
    a, b, c = (Choice(name, SIZES) for name in ("a", "b", "c"))
    free = Choice("free", ["x", "y", "z"])
    constraints: list[Expression] = [a * b * c == 24, divides(a, b) | (c == 1), b <= 12]
    expected = {
        (x, y, z, label)
        for x, y, z in itertools.product(SIZES, repeat=3)
        for label in ("x", "y", "z")
        if x * y * z == 24 and (y % x == 0 or z == 1) and y <= 12
    }
    found: list[tuple[Any, ...]] = []
    for axes in spaces(Domain.of([a, b, c, free]), constraints, {}):
        found += sorted(rows([a, b, c, free], axes))
    assert len(found) == len(set(found)), "a tuple was held twice"
    assert set(found) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(SIZES), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from(SIZES), min_size=1, max_size=6, unique=True),
    st.integers(1, 48),
)
def test_an_equality_of_two_choices(left: list[int], right: list[int], product: int) -> None:
    a, b = Choice("a", left), Choice("b", right)
    found = set()
    for axes in spaces(Domain.of([a, b]), [a * b == product], {}):
        found |= rows([a, b], axes)
    assert found == {(x, y) for x in left for y in right if x * y == product}


def test_fixed_choices_stay_fixed() -> None:
    a, b = Choice("a", SIZES), Choice("b", SIZES)
    found = set()
    for axes in spaces(Domain.of([a, b], {a: 3}), [a * b <= 24], {}):
        found |= rows([a, b], axes)
    assert found == {(4, y) for y in SIZES if 4 * y <= 24}


def test_nothing_valid_yields_nothing() -> None:
    a, b = Choice("a", SIZES), Choice("b", SIZES)
    assert list(spaces(Domain.of([a, b]), [a * b == 7 * 24], {})) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(SIZES), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from([2, 5, 16, 24, 36, 48]), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from([0, 1, 2, 4]), min_size=1, max_size=4, unique=True),
    st.sampled_from([4, 40, 1 << 21]),
)
def test_an_equality_that_says_what_another_choice_is(
    factors: list[int], sizes: list[int], parts: list[int], at_once: int
) -> None:
    """``a * b == n / part``: several rows may have one value, a value several rows, and a side may be undefined."""
    a, b, n, part = Choice("a", factors), Choice("b", SIZES), Choice("n", sizes), Choice("part", parts)
    constraints: list[Expression] = [a * b == 2 * n, n / part <= a * b, divides(a, b) | (b <= 3)]
    expected = {
        (x, y, size, piece)
        for x, y, size, piece in itertools.product(factors, SIZES, sizes, parts)
        if x * y == 2 * size and piece and size / piece <= x * y and (y % x == 0 or y <= 3)
    }
    found: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, "ROWS_AT_ONCE", at_once)
        for axes in spaces(Domain.of([a, b, n, part]), constraints, {}):
            found += sorted(rows([a, b, n, part], axes))
    assert len(found) == len(set(found)), "a tuple was held twice"
    assert set(found) == expected


def test_what_an_equality_leaves_undefined_equals_nothing() -> None:
    a, n = Choice("a", [0, 1, 2]), Choice("n", [0, 1, 2, 4])
    found = set()
    for axes in spaces(Domain.of([a, n]), [4 / a == 8 / n], {}):
        found |= rows([a, n], axes)
    assert found == {(1, 2), (2, 4)}
