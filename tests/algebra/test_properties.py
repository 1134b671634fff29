"""Random expressions: every view of one expression must agree with its exact value at a point."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlsysim_opt.algebra import (
    Axes,
    Choice,
    Constant,
    Expression,
    GridProgram,
    Interval,
    Operation,
    ScalarProgram,
    Symbol,
    all_bounds,
    argmax_label,
    ceil,
    ceildiv,
    divides,
    exp,
    floor,
    freeze,
    gradient,
    log,
    lookup,
    maximum,
    minimum,
    substitute,
    thaw,
    topological,
    where,
)
from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.algebra.render import render
from mlsysim_opt.errors import MlsysimError, NotInvertibleError, ScaleError
from mlsysim_opt.units import BYTE, NONE, TIME, divide, parse_unit

T = Symbol("latency", TIME, low=0.1, high=9.0)
S = Symbol("s", TIME, low=0.5, high=4.0)  # a name that is also a unit
B = Symbol("model.weights", BYTE, low=1.0, high=100.0)
X = Symbol("x", NONE, low=-3.0, high=3.0)
N = Symbol("node count", NONE, integer=True, low=1.0, high=12.0)  # a name that is no plain word
TP = Choice("tp", [1, 2, 4, 8])
ODD = Choice("odd", [7, 1, 3])
FRACTION = Choice("fraction", [0.5, 1.5, 2.25])
KIND = Choice("kind", ["fp8", "bf16", 'a "quoted" one'])
CHOICES = [TP, ODD, FRACTION, KIND]
SYMBOLS = [T, S, B, X, N]
NAMES = {leaf.name: leaf for leaf in [*CHOICES, *SYMBOLS]}
RATES = lookup(
    KIND, {"fp8": 4.0, "bf16": 2.0, 'a "quoted" one': None}, unit="KB/s", reasons={'a "quoted" one': "no rate"}
)
SPEED = lookup(TP, {1: 1.0, 2: 1.75, 4: None, 8: 5.0}, title="speed-up")


@dataclass
class Pool:
    """Nodes made so far. `rough` holds those whose last digits may differ between the C library and NumPy."""

    nodes: list[Expression]
    rough: set[int] = field(default_factory=set)

    def pick(self, number: int, accept: Callable[[Expression], bool]) -> Expression:
        fitting = [node for node in self.nodes if accept(node)]
        return fitting[number % len(fitting)]

    def add(self, node: Expression, rough: bool = False) -> None:
        if any(abs(exponent) > 4 for exponent in node.dimension):
            return
        if rough or (isinstance(node, Operation) and any(id(item) in self.rough for item in node.args)):
            self.rough.add(id(node))
        self.nodes.append(node)


def is_number(node: Expression) -> bool:
    return node.sort == "number"


def is_truth(node: Expression) -> bool:
    return node.sort == "truth"


def is_whole(node: Expression) -> bool:
    return node.sort == "number" and node.integer and node.dimension == NONE


def grow(pool: Pool, step: tuple[int, int, int, int]) -> None:
    kind, i, j, k = step
    first = pool.pick(i, is_number)
    second = pool.pick(j, lambda node: is_number(node) and node.dimension == first.dimension)
    other = pool.pick(j, is_number)
    exact = pool.pick(i, lambda node: is_number(node) and node.dimension == NONE and id(node) not in pool.rough)
    plain = pool.pick(i, lambda node: is_number(node) and node.dimension == NONE)
    sure = [node for node in (first, second) if id(node) in pool.rough] == []
    truth, truth2 = pool.pick(k, is_truth), pool.pick(i, is_truth)
    whole, whole2 = pool.pick(i, is_whole), pool.pick(j, is_whole)
    makers: list[Callable[[], tuple[Expression, bool]]] = [
        lambda: (first + second, False),
        lambda: (first - second, False),
        lambda: (first * other, False),
        lambda: (first / other, False),
        lambda: (maximum(first, second), False),
        lambda: (minimum(first, second), False),
        lambda: (-first, False),
        lambda: (abs(first), False),
        lambda: (first ** (2, 0.5)[k % 2], False),
        lambda: (first ** (3, -1, -2, 1.5)[k % 4], True),
        lambda: ((ceil, floor)[k % 2](exact), False),
        lambda: (ceildiv(whole, whole2), False),
        lambda: (whole % whole2, False),
        lambda: (divides(whole, whole2), False),
        lambda: (exp(minimum(maximum(plain, -3), 3)), True),
        lambda: (log(plain), True),
        lambda: (where(truth, first, second), False),
        lambda: ([first <= second, first < second][k % 2] if sure else first, False),
        lambda: ([first == second, first != second][k % 2] if sure else first, False),
        lambda: ([truth & truth2, truth | truth2, ~truth][i % 3], False),
        lambda: (argmax_label(one=first, two=second) == ("one", "two")[k % 2] if sure else first, False),
        lambda: (
            Constant((3.5, -0.07, 1e-9, 12.0)[k % 4], parse_unit(("ms", "dimensionless", "GB/s", "1/s")[i % 4])),
            False,
        ),
    ]
    try:
        node, rough = makers[kind % len(makers)]()
    except MlsysimError:  # division by a constant zero, and the like
        return
    pool.add(node, rough)


STEP = st.tuples(*[st.integers(0, 200)] * 4)
STEPS = st.lists(STEP, min_size=1, max_size=18)


def build(steps: list[tuple[int, int, int, int]]) -> Pool:
    seeds: list[Expression] = [T, S, B, X, N, TP, ODD, FRACTION, RATES, SPEED, Constant(2), KIND == "fp8", T <= S]
    pool = Pool(seeds)
    for step in steps:
        grow(pool, step)
    return pool


UNIT = st.floats(0.0, 1.0, allow_nan=False)


def point(fractions: list[float], picks: list[int]) -> dict[str, Any]:
    values: dict[str, Any] = {c.name: c.values[p % len(c.values)] for c, p in zip(CHOICES, picks, strict=True)}
    for symbol, fraction in zip(SYMBOLS, fractions, strict=True):
        value = symbol.low + fraction * (symbol.high - symbol.low)
        values[symbol.name] = int(value) if symbol.integer else value
    return values


FRACTIONS = st.lists(UNIT, min_size=5, max_size=5)
PICKS = st.lists(st.integers(0, 11), min_size=4, max_size=4)


@contextmanager
def small_blocks(block: int, limit: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlsysim_opt.algebra.evaluate.BLOCK", block)
        patch.setattr("mlsysim_opt.algebra.evaluate.TABLE_LIMIT", limit)
        yield


def agree(got: Any, want: Any, tolerance: float) -> bool:
    if isinstance(want, bool | np.bool_):
        return bool(got) == bool(want)
    if math.isnan(want) or math.isnan(got):
        return math.isnan(want) and math.isnan(got)
    return got == want or abs(got - want) <= tolerance


def comparison(pool: Any, roots: list[Any]) -> Callable[[dict[str, Any], list[Any]], None]:
    """Return what compares values of expressions at a point with the exact evaluation there."""
    everything, program = ScalarProgram(topological(roots)), ScalarProgram(roots)

    def compare(values: dict[str, Any], got: list[Any]) -> None:
        try:
            inner = [abs(float(item)) for item in everything.run_named(values)]
            expected = program.run_named(values)
        except ScaleError:
            assume(False)
        largest = max((item for item in inner if math.isfinite(item)), default=0.0)
        assume(largest < 1e15)
        for root, mine, want in zip(roots, got, expected, strict=True):
            tolerance = 1e-9 * max(largest, 1.0) if id(root) in pool.rough else 0.0
            assert agree(mine, want, tolerance), (str(root), values, mine, want)

    return compare


# ---- the grid and array evaluators
@given(
    STEPS,
    FRACTIONS,
    st.lists(PICKS, min_size=1, max_size=9),
    st.integers(0, 15),
    st.sampled_from([(1, 1), (4, 3), (1 << 15, 1 << 18)]),
)
def test_a_grid_gives_the_scalar_value_at_every_point(
    steps: list[Any], fractions: list[float], tuples: list[list[int]], joint: int, sizes: tuple[int, int]
) -> None:
    pool = build(steps)
    roots = pool.nodes[-6:]
    fixed = point(fractions, [0, 0, 0, 0])
    together = [choice for index, choice in enumerate(CHOICES) if joint >> index & 1]
    apart = [choice for choice in CHOICES if all(choice is not item for item in together)]
    columns = {
        choice: np.array([row[index] % len(choice.values) for row in tuples]) for index, choice in enumerate(together)
    }
    axes = Axes(columns, tuple(apart), len(tuples))
    symbols = {symbol.name: fixed[symbol.name] for symbol in SYMBOLS}
    try:
        with small_blocks(*sizes):
            tables = GridProgram(roots, symbols, axes).tables()
    except ScaleError:
        assume(False)
    compare = comparison(pool, roots)
    for index in np.ndindex(len(tuples), *axes.dense_shape):
        values = dict(fixed)
        values.update({c.name: c.values[int(columns[c][index[0]])] for c in together})
        values.update({c.name: c.values[p] for c, p in zip(apart, index[1:], strict=True)})
        compare(values, [table[index] for table in tables])


@given(STEPS, FRACTIONS, PICKS, st.sets(st.sampled_from([symbol.name for symbol in SYMBOLS])))
def test_values_known_beforehand_change_no_result(
    steps: list[Any], fractions: list[float], picks: list[int], names: set[str]
) -> None:
    pool = build(steps)
    roots = pool.nodes[-6:]
    values = point(fractions, picks)
    try:
        expected = ScalarProgram(roots).run_named(values)
        program = ScalarProgram(roots, {name: values[name] for name in names})
    except ScaleError:
        assume(False)
    assert not names & {leaf.name for leaf in program.leaves}
    for got, want in zip(program.run_named(values), expected, strict=True):
        assert agree(got, want, 0.0)
    known = {name: values[name] for name in names}
    for root, want in zip(roots, expected, strict=True):
        assert agree(evaluate(folded(root, known), values), want, 0.0), str(root)


@given(STEPS, FRACTIONS, st.integers(0, 15), st.sampled_from([(1, 0), (7, 3), (1 << 17, 1 << 17)]))
def test_arrays_give_the_scalar_value_at_every_place(
    steps: list[Any], fractions: list[float], varied: int, sizes: tuple[int, int]
) -> None:
    pool = build(steps)
    roots = pool.nodes[-6:]
    fixed = point(fractions, [0, 0, 0, 0])
    axes = [choice for index, choice in enumerate(CHOICES) if varied >> index & 1]
    shape = [len(choice.values) for choice in axes]
    arrays: dict[str, Any] = {**fixed, **{choice.name: 0 for choice in CHOICES}}
    for at, choice in enumerate(axes):
        shaped = [-1 if here == at else 1 for here in range(len(axes))]
        arrays[choice.name] = np.arange(len(choice.values)).reshape(shaped)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlsysim_opt.algebra.tiles.TILE", sizes[0])
        patch.setattr("mlsysim_opt.algebra.arrays.WHOLE", sizes[1])
        patch.setattr("mlsysim_opt.algebra.arrays.LITTLE", sizes[1])
        try:
            found = ArrayProgram(roots).run(arrays, shape)
        except ScaleError:
            assume(False)
    compare = comparison(pool, roots)
    for index in np.ndindex(*shape):
        values = {**fixed, **{choice.name: choice.values[at] for choice, at in zip(axes, index, strict=True)}}
        compare(values, [np.broadcast_to(array, shape)[index] for array in found])


# ---- bounds
@given(STEPS, st.lists(st.tuples(FRACTIONS, PICKS), min_size=3, max_size=6))
def test_bounds_hold_every_value_in_a_box(steps: list[Any], samples: list[tuple[list[float], list[int]]]) -> None:
    pool = build(steps)
    nodes = topological(pool.nodes[-4:])
    points = [point(*sample) for sample in samples]
    box: dict[str, Any] = {}
    for symbol in SYMBOLS:
        values = [float(item[symbol.name]) for item in points]
        box[symbol.name] = Interval(min(values), max(values))
    for choice in CHOICES:
        at = [item[choice.name] for item in points]
        places = [float(choice.position[item]) if isinstance(item, str) else float(item) for item in at]
        box[choice.name] = Interval(min(places), max(places))
    try:
        found = all_bounds(pool.nodes[-4:], box)
        rows = [ScalarProgram(nodes).run_named(item) for item in points]
    except ScaleError:
        assume(False)
    for row in rows:
        undefined: set[int] = set()
        for node, value in zip(nodes, row, strict=True):
            if node.sort == "label" or math.isnan(value) or any(id(item) in undefined for item in node.args):
                undefined.add(id(node))
            elif math.isfinite(value):
                assert found[id(node)].contains(float(value)), (str(node), box, value, found[id(node)])


# ---- derivatives
@given(STEPS, FRACTIONS, PICKS, st.sampled_from([T, S, B, X]))
def test_derivatives_agree_with_differences(
    steps: list[Any], fractions: list[float], picks: list[int], by: Symbol
) -> None:
    pool = build(steps)
    root = next(node for node in reversed(pool.nodes) if node.sort == "number")
    (slope,) = gradient(root, [by])
    assert slope.dimension == divide(root.dimension, by.dimension)
    values = point(fractions, picks)
    program = ScalarProgram(topological([root]))
    near: dict[int, list[float]] = {}
    width = 1e-6 * (by.high - by.low)
    try:
        for offset in (-2, -1, 0, 1, 2):
            moved = {**values, by.name: values[by.name] + offset * width}
            near[offset] = [float(item) for item in program.run_named(moved)]
        got = float(ScalarProgram([slope]).run_named(values)[0])
    except ScaleError:
        assume(False)
    assume(all(math.isfinite(item) for row in near.values() for item in row))
    left, right = (near[0][-1] - near[-2][-1]) / (2 * width), (near[2][-1] - near[0][-1]) / (2 * width)
    middle = (near[1][-1] - near[-1][-1]) / (2 * width)
    # The derivative of a square root has no value where the root is zero.
    assume(not (math.isnan(got) and 0.0 in near[0]))
    noise = 1e-8 * max(abs(item) for item in near[0]) + 1e-4 * max(abs(left), abs(right))
    # At a kink, at a jump and where it bends strongly the differences disagree among themselves.
    assume(abs(left - right) < noise and abs(middle - left) < noise)
    assert abs(got - middle) <= 2 * noise, (str(root), str(slope), values, got, middle)


# ---- forms
@given(STEPS)
def test_every_form_reads_back_as_the_same_node(steps: list[Any]) -> None:
    pool = build(steps)
    for node in pool.nodes[-4:]:
        text = render(node)
        assume(len(text) <= 9000)
        inside = {item.name: item for item in topological([node]) if isinstance(item, Symbol | Choice)}
        assert parse(text, inside) is node, text
        assert parse(render(node, names=NAMES), NAMES) is node
        assert thaw(freeze(node)) is node
        assert pickle.loads(pickle.dumps(node)) is node


@given(STEPS, st.sampled_from([T, S, B, X]))
def test_dimensions_survive_every_transformation(steps: list[Any], by: Symbol) -> None:
    pool = build(steps)
    for node in pool.nodes[-4:]:
        other = Symbol("other", by.dimension, low=by.low, high=by.high)
        try:
            replaced = substitute(node, {by: other})
        except MlsysimError:  # what replaced it made a division by zero visible
            continue
        for item in (replaced, thaw(freeze(node)), parse(render(node, names=NAMES), NAMES)):
            assert (item.dimension, item.integer, item.sort) == (node.dimension, node.integer, node.sort)
        assert substitute(replaced, {other: by}) is node


# ---- inverses
@settings(max_examples=80)
@given(STEPS, FRACTIONS, PICKS, st.sampled_from([T, S, B, X]))
def test_every_inverse_substitutes_back(
    steps: list[Any], fractions: list[float], picks: list[int], unknown: Symbol
) -> None:
    pool = build(steps)
    root = next(node for node in reversed(pool.nodes) if node.sort == "number")
    values = point(fractions, picks)
    program = ScalarProgram([root])
    refused = ""
    try:
        wanted = float(program.run_named(values)[0])
        assume(math.isfinite(wanted) and abs(wanted) < 1e12)
        found = invert(
            root, Symbol("goal", root.dimension, low=-math.inf), unknown, values={**values, "goal": wanted}, effort=300
        )
    except ScaleError:
        assume(False)
    except NotInvertibleError as error:
        refused = str(error)
    if refused:
        # The value is attained, so this is right only where the unknown does nothing, or the search gave up.
        assert "does not" in refused or "stopped" in refused, (str(root), values, wanted)
        return
    for value in found.values:
        back = float(program.run_named({**values, unknown.name: value})[0])
        assert abs(back - wanted) <= 1e-9 * max(abs(wanted), 0.0 if wanted else 1.0), (str(root), values, found)
    if found.complete:
        here = values[unknown.name]
        distance = min(max(span.low - here, here - span.high, 0.0) for span in found.ranges)
        assert distance <= 1e-3 * (unknown.high - unknown.low), (str(root), values, found)
