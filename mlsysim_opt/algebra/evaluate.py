"""Evaluation of a DAG: one point exactly (`ScalarProgram`), or a space of designs at once (`GridProgram`).

**A choice is a named axis.** A sub-expression is computed only over the axes it depends on and broadcast from there, so
a space costs far less than its number of points. Axes that constraints have joined into one table of feasible tuples
(`Axes.joined`) are projected: a node that depends on some of them is computed once per distinct sub-tuple and gathered.
Rows are processed in blocks sized to the cache; memory stays bounded for any space.
"""

from __future__ import annotations

import functools
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.expression import Choice, Constant, Expression, Operation, Symbol, topological
from mlsysim_opt.algebra.fold import settled
from mlsysim_opt.algebra.nearly import at_most, below, same
from mlsysim_opt.errors import InputError

Leaf = Symbol | Choice
Key = tuple[int, ...]
"""The joined choices that a node depends on, by their place in the space."""
BLOCK = 1 << 16
"""Elements of one block: 512 KiB per intermediate, so that the few that are alive stay in the cache."""
TABLE_LIMIT = 1 << 17
"""A sub-expression with at most this many distinct values is tabulated once, a larger one computed by blocks."""


_FAST: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "less_equal": at_most,
    "less": below,
    "equal": same,
}
"""The same values as `Atom.scalar`, without its general signature."""

_INLINE = {"divide": 1, "where": 2, "maximum": 3, "minimum": 4}
"""Operations that `ScalarProgram.run` writes out, by the kind of their stage. With `_FAST` nine steps of ten."""
_KINDS = 6


def leaves(roots: Sequence[Expression]) -> list[Leaf]:
    """Return the symbols and choices below `roots`, in order of first use."""
    return [node for node in topological(roots) if isinstance(node, Symbol | Choice)]


class ScalarProgram:
    """A DAG compiled to a tape of exact scalar operations.

    This is the reference evaluator: solvers' answers are re-evaluated by it, and a warm `Model.solve` runs it.

    Args:
        roots: the expressions wanted.
        known: values of symbols, by name, that are the same in every run: what depends on them alone is computed here.
    """

    def __init__(self, roots: Sequence[Expression], known: Mapping[str, float] | None = None) -> None:
        order = topological(roots)
        values, taken = settled(order, known or {})
        nodes = _needed(order, roots, values, taken)
        self.leaves: list[Leaf] = [
            node for node in nodes if isinstance(node, Symbol | Choice) and id(node) not in values
        ]
        slot: dict[int, int] = {id(node): index for index, node in enumerate(self.leaves)}
        self._labelled = [
            (at, leaf) for at, leaf in enumerate(self.leaves) if isinstance(leaf, Choice) and not leaf.numeric
        ]
        width = len(self.leaves)
        positions: dict[int, int] = {}
        self._position_of: list[tuple[int, Choice]] = []
        for node in nodes:
            for choice in node.args if isinstance(node, Operation) and node.atom.by_position else ():
                if id(choice) not in positions:
                    assert isinstance(choice, Choice)
                    positions[id(choice)] = width + len(self._position_of)
                    self._position_of.append((slot[id(choice)], choice))
        width += len(self._position_of)
        self._constants: list[Any] = []
        for node in nodes:
            if id(node) in values:
                slot[id(node)] = width + len(self._constants)
                self._constants.append(values[id(node)])
        width += len(self._constants)
        self._stages: list[tuple[int, list[Any]]] = []
        waiting = [node for node in nodes if isinstance(node, Operation) and id(node) not in values]
        for stage, members in _staged(waiting, taken):
            steps = []
            for node in members:
                where = positions if node.atom.by_position else slot
                slots_of = [where[id(taken.get(id(item), item))] for item in node.args]
                steps.append(tuple(slots_of) if 0 < stage % _KINDS < 5 else (_function(node), *slots_of))
                slot[id(node)] = width
                width += 1
            self._stages.append((stage % _KINDS, steps))
        self._outputs = [slot[id(taken.get(id(root), root))] for root in roots]
        self._keep = list(roots)

    def run(self, values: Sequence[Any]) -> list[Any]:
        """Return the value of each root for one value per leaf, in the order of `self.leaves`.

        Choices are given by value (a number or a label). Undefined results are NaN.
        """
        slots = list(values)
        if len(slots) != len(self.leaves):
            raise InputError(f"expected {len(self.leaves)} values, got {len(slots)}")
        for index, leaf in self._labelled:
            slots[index] = leaf.position.get(slots[index], -1)
        for index, choice in self._position_of:
            given = values[index]
            if given not in choice.position:
                shown = ", ".join(str(item) for item in choice.values)
                raise InputError(f"{given!r} is not one of {shown}", path=choice.name)
            slots.append(choice.position[given])
        slots.extend(self._constants)
        push = slots.append
        for kind, steps in self._stages:
            if kind == 0:
                for function, a, b in steps:
                    push(function(slots[a], slots[b]))
            elif kind == 1:
                for a, b in steps:
                    y = slots[b]
                    push(slots[a] / y if y != 0 else math.nan)
            elif kind == 2:
                for a, b, c in steps:
                    push(slots[b] if slots[a] else slots[c])
            elif kind == 3:
                for a, b in steps:
                    x, y = slots[a], slots[b]
                    push(x if x >= y else y if x < y else math.nan)
            elif kind == 4:
                for a, b in steps:
                    x, y = slots[a], slots[b]
                    push(x if x <= y else y if x > y else math.nan)
            else:
                for function, *rest in steps:
                    push(function(*[slots[index] for index in rest]))
        return [slots[index] for index in self._outputs]

    def run_named(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the value of each root for values by leaf name.

        Raises:
            InputError: a leaf has no value.
        """
        given = []
        for leaf in self.leaves:
            if leaf.name not in values:
                raise InputError(f"no value for {leaf.name!r}", path=leaf.name)
            given.append(values[leaf.name])
        return self.run(given)


def _function(node: Operation) -> Callable[..., Any]:
    """Return a function of an operation's arguments, its parameter bound."""
    function = _FAST.get(node.atom.name, node.atom.scalar)
    return function if node.param is None else functools.partial(function, param=node.param)


def _needed(
    nodes: Sequence[Expression],
    roots: Sequence[Expression],
    values: Mapping[int, Any],
    taken: Mapping[int, Expression],
) -> list[Expression]:
    """Return, of nodes in order, those that the roots are computed from, none below one that is settled."""
    used = {id(taken.get(id(root), root)) for root in roots}
    for node in reversed(nodes):
        if id(node) in used and id(node) not in values:
            used.update(id(taken.get(id(item), item)) for item in node.args)
    return [node for node in nodes if id(node) in used]


def _staged(nodes: Sequence[Operation], taken: Mapping[int, Expression]) -> list[tuple[int, list[Operation]]]:
    """Return operations in stages of one kind, each after those of its arguments.

    The kind of a stage is its number modulo `_KINDS`: 0 holds functions of two arguments, 1 to 4 those of `_INLINE`,
    5 the others.
    """
    stages: dict[int, int] = {}
    members: dict[int, list[Operation]] = {}
    for node in nodes:
        kind = _INLINE.get(node.atom.name, 0 if len(node.args) == 2 else 5)
        earliest = max((stages.get(id(taken.get(id(item), item)), 0) for item in node.args), default=0)
        stage = earliest + (kind - earliest) % _KINDS
        stages[id(node)] = stage
        members.setdefault(stage, []).append(node)
    return sorted(members.items())


def evaluate(root: Expression, values: Mapping[str, Any] | None = None) -> Any:
    """Return the exact value of one expression, in base units, for values by leaf name."""
    return ScalarProgram([root]).run_named(values or {})[0]


@dataclass(frozen=True)
class Axes:
    """The space to evaluate over.

    Attributes:
        joined: choices that vary together: for each, the positions of its values in the rows of one table.
        dense: choices that vary independently of everything else, each a dimension of its own.
        rows: number of rows of the joined table.
    """

    joined: Mapping[Choice, np.ndarray[Any, np.dtype[np.intp]]]
    dense: tuple[Choice, ...]
    rows: int

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """The sizes of the dense axes."""
        return tuple(len(choice.values) for choice in self.dense)

    @property
    def points(self) -> int:
        """How many designs the space holds."""
        return self.rows * int(np.prod(self.dense_shape, dtype=np.int64))

    @staticmethod
    def of(choices: Sequence[Choice]) -> Axes:
        """Return a space in which all choices vary freely."""
        if not choices:
            return Axes({}, (), 1)
        longest = max(choices, key=lambda item: len(item.values))
        rest = tuple(choice for choice in choices if choice is not longest)
        return Axes({longest: np.arange(len(longest.values))}, rest, len(longest.values))


@dataclass
class Projection:
    """Distinct sub-tuples of some joined choices: their number, a row showing each, and each row's sub-tuple."""

    count: int
    first: np.ndarray[Any, np.dtype[np.intp]]
    inverse: np.ndarray[Any, np.dtype[np.intp]]


def project(
    columns: list[np.ndarray[Any, Any]], sizes: list[int], rows: int, known: Projection | None = None
) -> Projection:
    """Return the distinct sub-tuples of columns of positions.

    Args:
        columns, sizes: for each choice, its positions in the rows, and how many positions there are.
        known: the sub-tuples of further choices, already numbered.
    """
    code: np.ndarray[Any, Any]
    code, span = (np.zeros(rows, dtype=np.int64), 1) if known is None else (known.inverse, known.count)
    for column, size in zip(columns, sizes, strict=True):
        if span * size >= 1 << 62:  # the code would overflow: number the sub-tuples met so far afresh
            code = np.unique(code, return_inverse=True)[1].reshape(-1).astype(np.int64)
            span = rows
        code = code * size + column
        span *= size
    if span <= max(4 * rows, 1 << 16):
        present = np.zeros(span, dtype=bool)
        present[code] = True
        codes = np.flatnonzero(present)
        ids = np.empty(span, dtype=np.intp)
        ids[codes] = np.arange(len(codes))
        inverse = ids[code]
        count = len(codes)
    else:
        codes, inverse = np.unique(code, return_inverse=True)
        inverse, count = inverse.reshape(-1), len(codes)
    first = np.zeros(count, dtype=np.intp)
    first[inverse] = np.arange(rows)
    return Projection(count, first, inverse)


class _Planned(NamedTuple):
    """One step of a block: an operation, the identities of its arguments and result, and which are not needed after."""

    function: Callable[..., Any]
    args: list[int]
    param: Any
    out: int
    finished: list[int]


def _valued(node: Expression) -> tuple[Expression, ...]:
    """Return what an operation needs the values of, not just the positions."""
    return () if isinstance(node, Operation) and node.atom.by_position else node.args


class GridProgram:
    """A DAG evaluated over a space of choices.

    Args:
        roots: the expressions wanted.
        values: a number in base units for every symbol, by name.
        axes: the space.
    """

    def __init__(self, roots: Sequence[Expression], values: Mapping[str, float], axes: Axes) -> None:
        self.roots = list(roots)
        self.axes = axes
        self._nodes = topological(roots)
        self._order = list(axes.joined)
        self._dense_position = {choice: index for index, choice in enumerate(axes.dense)}
        for node in self._nodes:
            if isinstance(node, Choice) and node not in axes.joined and node not in self._dense_position:
                raise InputError(f"the space has no axis for {node.name!r}", path=node.name)
        self._projections: dict[Key, Projection] = {}
        self._kinds: dict[frozenset[Choice], tuple[Key, bool]] = {}
        self._keys: dict[int, Key] = {}
        self._plans: dict[tuple[int, ...], list[_Planned]] = {}
        self._values: dict[int, Any] = {}
        self._blocked: list[Expression] = []
        uses = Counter(id(item) for node in self._nodes for item in _valued(node))
        needed_later = {id(root) for root in roots}
        with np.errstate(all="ignore"):
            for node in self._nodes:
                if isinstance(node, Choice) and id(node) not in uses and id(node) not in needed_later:
                    continue  # only its positions are asked for
                key, few = self._kinds.get(node.choices) or self._kind(node.choices)
                self._keys[id(node)] = key
                # what reads no values is at most as large as one choice, or as what it looks up
                if _valued(node) and not (few and all(id(item) in self._values for item in node.args)):
                    self._blocked.append(node)
                    needed_later.update(id(item) for item in node.args)
                    continue
                self._values[id(node)] = self._compute(node, key, values)
                for item in _valued(node):
                    uses[id(item)] -= 1
                    if not uses[id(item)] and id(item) not in needed_later:
                        self._values.pop(id(item), None)

    def _kind(self, choices: frozenset[Choice]) -> tuple[Key, bool]:
        """Return which joined choices are among these, and whether their combinations are few enough for a table."""
        key = tuple(index for index, choice in enumerate(self._order) if choice in choices)
        width = math.prod(len(choice.values) for choice in choices if choice in self._dense_position)
        found = self._kinds[choices] = key, not key or self._projection(key).count * width <= TABLE_LIMIT
        return found

    def _projection(self, key: Key) -> Projection:
        found = self._projections.get(key)
        if found is None:
            part = max((other for other in self._projections if set(other) < set(key)), key=len, default=())
            choices = [self._order[index] for index in key if index not in part]
            columns = [self.axes.joined[choice] for choice in choices]
            sizes = [len(choice.values) for choice in choices]
            found = project(columns, sizes, self.axes.rows, self._projections.get(part))
            self._projections[key] = found
        return found

    def _compute(self, node: Expression, key: Key, values: Mapping[str, float]) -> Any:
        if isinstance(node, Constant):
            return node.value
        if isinstance(node, Symbol):
            if node.name not in values:
                raise InputError(f"no value for {node.name!r}", path=node.name)
            return values[node.name]
        if isinstance(node, Choice):
            positions = self._positions(node, key)
            return np.asarray(node.values, dtype=float)[positions] if node.numeric else positions
        assert isinstance(node, Operation)
        if node.atom.by_position:
            places = [self._positions(choice, key) for choice in node.args if isinstance(choice, Choice)]
            return node.atom.array(*places, param=node.param)
        args = [self._gathered(item, key) for item in node.args]
        if not node.choices:
            return node.atom.scalar(*args, param=node.param)
        return node.atom.array(*args) if node.param is None else node.atom.array(*args, param=node.param)

    def _positions(self, choice: Choice, key: Key) -> Any:
        if choice in self._dense_position:
            shape = [1] * (1 + len(self.axes.dense))
            shape[self._dense_position[choice]] = len(choice.values)
            return np.arange(len(choice.values)).reshape(shape)
        return self.axes.joined[choice][self._projection(key).first]  # the last axis, to which all others broadcast

    def _gathered(self, node: Expression, key: Key) -> Any:
        value = self._values[id(node)]
        mine = self._keys[id(node)]
        if mine == key or not mine:
            return value
        return np.take(value, self._projection(mine).inverse[self._projection(key).first], axis=-1)

    def blocks(self) -> Iterator[tuple[int, int, list[Any]]]:
        """Yield (first row, last row + 1, values of the roots), the values broadcast to (*dense shape, rows).

        Rows are the last axis: loops over it are long, whatever the dense axes are.
        """
        for start, stop, values in self.narrow_blocks(self.roots, self.axes.dense):
            shape = (*self.axes.dense_shape, stop - start)
            yield start, stop, [np.broadcast_to(value, shape) for value in values]

    def narrow_blocks(
        self, roots: Sequence[Expression], dense: Sequence[Choice]
    ) -> Iterator[tuple[int, int, list[Any]]]:
        """Yield the same of some of the roots, as they are before they are broadcast.

        Args:
            roots: some of the roots. dense: the dense choices that these depend on.
        """
        step = max(1, BLOCK // max(1, math.prod(len(choice.values) for choice in dense)))
        plan = self._plan(roots)
        for start in range(0, self.axes.rows, step):
            stop = min(start + step, self.axes.rows)
            yield start, stop, self._run(plan, roots, functools.partial(self._fetch, slice(start, stop)))

    def points(self, roots: Sequence[Expression], rows: Any, places: Sequence[Any]) -> list[Any]:
        """Return the values of some of the roots at single points of the space.

        Args:
            rows: the row of each point. places: for each dense choice, the position of its value. All of these are
                broadcast against each other, and so are the results.
        """
        indices: dict[tuple[tuple[int, ...], Key], Any] = {}

        def fetch(item: int) -> Any:
            value, key = np.asarray(self._values[item]), self._keys[item]
            if not value.ndim:
                return value
            index = indices.get((value.shape, key))
            if index is None:
                sizes = value.shape[:-1]  # none, or those of all dense choices
                index = self._projection(key).inverse[rows] if key else 0
                stride = value.shape[-1]
                for size, place in zip(reversed(sizes), reversed(places), strict=False):
                    index = index + place * stride if size > 1 else index
                    stride *= size
                indices[value.shape, key] = index
            return value.reshape(-1)[index]

        shape = np.broadcast_shapes(np.shape(rows), *(np.shape(place) for place in places))
        return [np.broadcast_to(value, shape) for value in self._run(self._plan(roots), roots, fetch)]

    def _plan(self, roots: Sequence[Expression]) -> list[_Planned]:
        """Return the steps of a block. A value is dropped after its last use: its memory, still in cache, is reused."""
        wanted = tuple(id(root) for root in roots)
        if wanted in self._plans:
            return self._plans[wanted]
        needed = set(wanted)
        for node in reversed(self._blocked):
            if id(node) in needed:
                needed.update(id(item) for item in node.args)
        steps = [node for node in self._blocked if isinstance(node, Operation) and id(node) in needed]
        last = {id(item): at for at, node in enumerate(steps) for item in node.args}
        for root in roots:
            last[id(root)] = len(steps)
        plan = self._plans[wanted] = [
            _Planned(
                node.atom.array,
                [id(item) for item in node.args],
                node.param,
                id(node),
                [item for item in {id(item) for item in node.args} if last[item] == at],
            )
            for at, node in enumerate(steps)
        ]
        return plan

    def _run(self, plan: list[_Planned], roots: Sequence[Expression], fetch: Callable[[int], Any]) -> list[Any]:
        """Return the values of some roots, where those of the tables are fetched."""
        local: dict[int, Any] = {}
        with np.errstate(all="ignore"):
            for function, args, param, out, finished in plan:
                given = []
                for item in args:
                    value = local.get(item)
                    if value is None:
                        value = fetch(item)
                        local[item] = value
                    given.append(value)
                local[out] = function(*given) if param is None else function(*given, param=param)
                for item in finished:
                    del local[item]
                del given, value
            result = []
            for root in roots:
                value = local.get(id(root))
                result.append(fetch(id(root)) if value is None else value)
        return result

    def _fetch(self, rows: slice, item: int) -> Any:
        value, key = self._values[item], self._keys[item]
        return np.take(value, self._projection(key).inverse[rows], axis=-1) if key else value

    def tables(self) -> list[np.ndarray[Any, Any]]:
        """Return the values of the roots over the whole space, of shape (rows, *dense shape)."""
        parts: list[list[np.ndarray[Any, Any]]] = [[] for _ in self.roots]
        for _, _, values in self.blocks():
            for part, value in zip(parts, values, strict=True):
                part.append(np.moveaxis(value, -1, 0).copy())
        if not self.axes.rows:
            return [np.empty((0, *self.axes.dense_shape)) for _ in self.roots]
        return [np.concatenate(part) for part in parts]
