"""`solve_for` over many points: the unknown that meets the target at each of them, as arrays.

The formula of a closed form is evaluated as arrays; where the output is proven to rise or fall at all points of a part,
all its roots are bracketed and neared together; any other point is a question of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, constant, symbols
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import TOLERANCE, invert
from mlsysim_opt.algebra.invert_whole import whole_box
from mlsysim_opt.algebra.monotone import Prover
from mlsysim_opt.algebra.unknown import isolate
from mlsysim_opt.errors import MlsysimError, UnknownNameError
from mlsysim_opt.physics.base import Model, own_name
from mlsysim_opt.physics.inverse_answer import BOUNDARY, Relation, SolvedFor
from mlsysim_opt.physics.inverse_equation import InverseEquation
from mlsysim_opt.physics.inverse_question import InverseQuestion, placeholder
from mlsysim_opt.physics.inverse_sweep_answer import SolvedSweep
from mlsysim_opt.physics.inverse_whole import solve_between, solve_whole
from mlsysim_opt.physics.parts import Array, Part, Space, is_list

GROWTH, STEPS = 16.0, 12
"""The first step of a bracket is this factor, the next its square, its cube; so many at most."""
TRIED = 1000
"""Points of which the first that can be asked about is looked for."""
ITERATIONS, FINE = 100, 1e-14
"""Steps towards a root at most, and the relative difference from the target that ends them."""
CLOSED, BRACKETED, ALONE = "closed form", "bracketed root", "each alone"


def solve_for_many(
    model: Model, target: str, relation: Relation, wanted: Any, unknown: str, box: Any, given: Mapping[str, Any]
) -> SolvedSweep:
    """Return the unknown at every combination of the inputs (and wanted values) that are lists; see `solve_for`.

    Raises:
        InputError: an input is wrong.
        NotInvertibleError: no point has an answer.
    """
    real = own_name(model, unknown)
    item = next((one for one in model.inputs if one.name == real), None)
    given = {model.aliases.get(name, name): value for name, value in given.items()}
    ask = _first(model, target, relation, unknown, given)
    goals = ask.goals_of(wanted if is_list(wanted) else [wanted])
    space = Space.of(model, given if item is None else {**given, item.name: placeholder(item)})
    name = f"{target}\n"  # the axis of wanted values; no input has such a name
    space = space.with_axis(name, goals)
    axes = {target if key == name else key: values for key, values in space.axes.items()}
    result = SolvedSweep(ask.leaf.name, target, relation, axes)
    result.dimension, result.target_dimension = ask.leaf.dimension, ask.root.dimension
    asked = ask.read_box(box)

    def alone(at: Sequence[int]) -> SolvedFor:
        """Return the answer at one point, by its position along each axis, that of wanted values included."""
        point = {key: space.raw[key][place] for key, place in zip(list(space.swept)[1:], at[1:], strict=True)}
        task = InverseQuestion(model, target, relation, unknown, {**given, **point})
        task.goal = goals[at[0]]
        return solve_between(task, asked)

    if ask.alone and (ask.leaf.integer or ask.askable):
        _each_asked(alone, result)
    else:
        limits = ask.limits(asked)
        parts, failed = space.parts([target])
        result.excluded = list(dict.fromkeys(error.message for error in failed))
        whole: Array | None = None
        for part in parts:
            if target in part.traced.expressions:
                solved = _Many(part, target, name, ask.leaf.name, limits, result).values()
                whole = part.write(part.in_order(solved), whole, math.nan)
        if whole is not None:
            result.si = whole
    result._alone = alone
    result.whole = ask.leaf.integer
    if not is_list(wanted):
        result.goal = goals[0]
        result.si, result.axes = result.si[0], {key: values for key, values in axes.items() if key != target}
        result._alone = lambda at: alone((0, *at))
    result.explain()
    return result


def _first(model: Model, target: str, relation: Relation, unknown: str, given: Mapping[str, Any]) -> InverseQuestion:
    """Return the question at the first point that can be asked about.

    Raises:
        MlsysimError: the first point cannot, nor can others.
    """
    first: MlsysimError | None = None
    swept = {name: list(value) for name, value in given.items() if is_list(value)}
    for values in itertools.islice(itertools.product(*swept.values()), TRIED):
        try:
            return InverseQuestion(model, target, relation, unknown, {**given, **dict(zip(swept, values, strict=True))})
        except UnknownNameError:
            raise
        except MlsysimError as error:  # a device without this precision
            first = first or error
    assert first is not None
    raise first


def _each_asked(alone: Callable[[tuple[int, ...]], SolvedFor], result: SolvedSweep) -> None:
    """Fill in unknowns that other inputs follow from: every point is a question of its own."""
    for at in np.ndindex(*result.si.shape):
        try:
            found = alone(at)
        except MlsysimError as error:
            if error.message not in result.excluded and len(result.excluded) < 10:
                result.excluded.append(error.message)
            continue
        result.si[at] = found.value
        result.methods[ALONE] += 1
        result.proven = result.proven and found.complete


class _Many:
    """The points of a part, all with the same equation for the output."""

    def __init__(
        self, part: Part, target: str, axis: str, unknown: str, limits: tuple[float, float], result: SolvedSweep
    ) -> None:
        self.part, self.target, self.limits, self.result = part, target, limits, result
        self.root: Expression = part.traced.expressions[target]
        found = [leaf for leaf in symbols(self.root) if leaf.name == unknown]
        self.unknown: Symbol | None = found[0] if found else None
        self.goal = Symbol(axis, self.root.dimension)
        self.program = ArrayProgram([self.root])
        self.known = {leaf.name: part.leaf(leaf) for leaf in self.program.leaves if leaf.name != unknown}
        self.goals = np.asarray(part.leaf(self.goal), dtype=float)
        self.shape = tuple(part.shape)
        self.prover = None if self.unknown is None else Prover(self.root, self.unknown)

    def values(self) -> Array:
        """Return the unknown over the axes of the part as they are computed.

        What is not proven of all points at once may be proven of fewer: they are halved while it is of their first.
        """
        shape = self.shape
        if self.unknown is None or self.prover is None:
            count = math.prod(shape)
            self.result.excluded.append(f"{self.target} does not depend on {self.result.unknown} at {count:,} points")
            return np.full(shape, np.nan)
        move = self.prover.direction(self._box())
        if move not in (1, -1) and math.prod(shape) > 1 and self._first()._proven:
            axis = int(np.argmax(shape))
            halves = [self._slice(axis, half) for half in np.array_split(np.arange(shape[axis]), 2)]
            return np.concatenate([half.values() for half in halves], axis)
        if move in (1, -1) and self.unknown.integer:
            ends = self._boundaries(move, shape)
            self.result.methods[BOUNDARY] += int(np.isfinite(ends).sum())
            return ends
        if move in (1, -1):
            found = self._closed(shape)
            if found is not None:
                self.result.methods[CLOSED] += int(np.isfinite(found).sum())
                return found
            found = self._bracketed(move, shape)
            self.result.methods[BRACKETED] += int(np.isfinite(found).sum())
            return found
        return self._alone(shape)

    @property
    def _proven(self) -> bool:
        return self.prover is not None and self.prover.direction(self._box()) in (1, -1)

    def _first(self) -> _Many:
        """Return the first point alone."""
        first = self
        for axis in range(len(self.shape)):
            first = first._slice(axis, np.zeros(1, dtype=int))
        return first

    def _slice(self, axis: int, at: Array) -> _Many:
        """Return some of the points, by their positions along an axis."""

        def cut(value: Any) -> Any:
            return np.take(value, at, axis) if np.ndim(value) and np.shape(value)[axis] > 1 else value

        part = copy(self)
        part.shape = (*self.shape[:axis], len(at), *self.shape[axis + 1 :])
        part.known, part.goals = {name: cut(value) for name, value in self.known.items()}, cut(self.goals)
        return part

    def _box(self) -> dict[str, Any]:
        """Return all values that leaves have at some point."""
        box: dict[str, Any] = {self.result.unknown: Interval(*self.limits)}
        for leaf in self.program.leaves:
            if leaf.name == self.result.unknown:
                continue
            seen = np.asarray(self.known[leaf.name], dtype=float)
            if isinstance(leaf, Choice) and leaf.numeric:
                seen = np.asarray(leaf.values, dtype=float)[seen.astype(int)]
            box[leaf.name] = Interval(float(seen.min()), float(seen.max()))
        return box

    def _outputs(self, x: Array) -> Array:
        (found,) = self.program.run({**self.known, self.result.unknown: _plain(x)}, self.shape)
        return np.broadcast_to(np.asarray(found, dtype=float), self.shape)

    def _residual(self, x: Array) -> Array:
        scale = np.where(self.goals == 0, 1.0, np.abs(self.goals))
        return np.asarray(np.abs(self._outputs(x) - self.goals) / scale)

    def _closed(self, shape: Sequence[int]) -> Array | None:
        """Return the values of the formula, where there is one and it holds everywhere."""
        assert self.unknown is not None
        isolated = isolate(self.root, self.goal, self.unknown)
        if isolated is None:
            return None
        formula = ArrayProgram([isolated[0]])
        values = {
            leaf.name: self.goals if leaf.name == self.goal.name else self.known[leaf.name] for leaf in formula.leaves
        }
        (raw,) = formula.run(values, shape)
        found = np.broadcast_to(np.asarray(raw, dtype=float), shape)
        inside = (found >= self.limits[0]) & (found <= self.limits[1])
        met = self._residual(np.where(inside, found, np.nan)) <= TOLERANCE
        if isolated[1] and not met.all():  # a regime in which the formula is not valid
            return None
        return np.where(met, found, np.nan)

    def _bracketed(self, move: int, shape: Sequence[int]) -> Array:
        """Return the roots of outputs that only rise (`move` 1) or fall, over all points at once."""
        low, high = self.limits
        if low < 0.0:
            return self._alone(shape)

        def above(x: Array) -> Array:
            return np.asarray(move * (self._outputs(x) - self.goals))

        at = np.full(shape, min(max(self._near(), low or 1e-300), high))
        gap = above(at)
        found = np.where(gap == 0.0, at, np.nan)
        left, right = np.full(shape, np.nan), np.full(shape, np.nan)
        beyond = np.where(gap == 0.0, np.nan, gap)
        for step in range(1, STEPS + 1):  # outwards, until the output lies on the other side
            factor = GROWTH**step
            following = np.where(beyond > 0.0, np.maximum(at / factor, low), np.minimum(at * factor, high))
            after = above(following)
            crossed = (beyond > 0.0) & (after <= 0.0) | (beyond < 0.0) & (after >= 0.0)
            left = np.where(crossed, np.minimum(at, following), left)
            right = np.where(crossed, np.maximum(at, following), right)
            waiting = ~crossed & np.isfinite(after) & (following != at) & np.isfinite(beyond)
            if not waiting.any():
                break
            at, beyond = following, np.where(waiting, after, np.nan)
        return np.where(np.isnan(found), self._between(above, left, right), found)

    def _boundaries(self, move: int, shape: Sequence[int]) -> Array:
        """Return the whole numbers at which outputs that only rise (`move` 1) or fall stop or start to meet the target:
        the last one where smaller ones do, the first where larger ones do."""
        first, last = whole_box(self._whole_unknown, self.limits)
        room = TOLERANCE * np.abs(self.goals)
        until = self.result.relation == ("<=" if move > 0 else ">=")

        def beyond(numbers: Array) -> Array:
            gap = move * (self._outputs(numbers) - self.goals)
            return np.asarray(gap > room if until else gap >= -room)

        low, high, step = np.full(shape, first - 1.0), np.full(shape, np.nan), 1.0
        at = np.full(shape, float(first))
        while True:  # steps that double, so that numbers too large to compute with are not met without need
            hit = beyond(at)
            high = np.where(np.isnan(high) & hit, at, high)
            low = np.where(np.isnan(high), at, low)
            if not np.isnan(high).any() or (at[np.isnan(high)] >= last).all():
                break
            at, step = np.where(np.isnan(high), np.minimum(at + step, last), high), step * 2
        none = np.isnan(high)
        low, high = np.where(none, last, low), np.where(none, last + 1.0, high)
        while (high - low > 1).any():
            middle = np.floor((low + high) / 2)
            hit = beyond(np.clip(middle, first, last))
            low, high = np.where(hit, low, np.maximum(middle, low)), np.where(hit, np.minimum(middle, high), high)
        found = low if until else np.where(none, np.nan, high)
        found = np.where(found < first, np.nan, found)
        output = self._outputs(np.where(np.isnan(found), first, found))
        gap = output - self.goals
        met = np.abs(gap) <= room if self.result.relation == "=" else gap <= room if self.result.relation == "<=" else (
            gap >= -room
        )  # fmt: skip
        return np.where(met, found, np.nan)

    @property
    def _whole_unknown(self) -> Symbol:
        assert self.unknown is not None
        return self.unknown

    def _between(self, above: Callable[[Array], Array], left: Array, right: Array) -> Array:
        """Return the roots between ends at which the output lies on different sides, by the Illinois method on the
        logarithm: false position, an end that stays counting half (Dowell and Jarratt 1971)."""
        low, high = np.log(np.maximum(left, 1e-300)), np.log(np.maximum(right, 1e-300))
        at_low, at_high = above(left), above(right)
        best, nearest = high, np.abs(at_high)
        for step in range(ITERATIONS):
            with np.errstate(all="ignore"):
                middle = (low * at_high - high * at_low) / (at_high - at_low)
            inside = (middle > np.fmin(low, high)) & (middle < np.fmax(low, high))
            middle = np.where(inside & (step % 3 < 2), middle, (low + high) / 2)  # halving bounds the number of steps
            x = np.exp(middle)
            gap = above(x)
            best, nearest = np.where(np.abs(gap) < nearest, middle, best), np.fmin(np.abs(gap), nearest)
            if not (nearest > FINE * np.abs(self.goals)).any():
                break
            other = gap * at_high < 0.0
            low, at_low = np.where(other, high, low), np.where(other, at_high, at_low / 2)
            high, at_high = middle, gap
        x = np.exp(best)
        return np.where(self._residual(x) <= TOLERANCE, x, np.nan)

    def _one(self, values: Mapping[str, Any], goal: float) -> SolvedFor:
        """Return the whole numbers that meet the target at one point."""
        relation: Any = self.result.relation
        near = self.part.group[0].bound.known.get(self.result.unknown)
        task = InverseEquation(self.target, self.root, relation, self._whole_unknown, values, near)
        task.goal = goal
        return solve_whole(task, None if math.isinf(self.limits[1]) else self.limits)

    def _near(self) -> float:
        known = self.part.group[0].bound.known.get(self.result.unknown)
        return float(known) if known else 1.0

    def _alone(self, shape: Sequence[int]) -> Array:
        """Return the lowest root of each point, asked alone: proofs for all of them at once do not hold."""
        assert self.unknown is not None
        spread = {name: np.broadcast_to(np.asarray(value), shape) for name, value in self.known.items()}
        goals = np.broadcast_to(self.goals, shape)
        labels = {leaf.name: leaf for leaf in self.program.leaves if isinstance(leaf, Choice)}
        found = np.full(shape, np.nan)
        box = None if self.limits == (self.unknown.low, self.unknown.high) else self.limits
        for at in np.ndindex(*shape):
            values = {name: labels[name].values[int(array[at])] if name in labels else float(array[at])
                      for name, array in spread.items()}  # fmt: skip
            goal = constant(float(goals[at]), self.root.dimension)
            try:
                one = self._one(values, float(goals[at])) if self.unknown.integer else invert(
                    self.root, goal, self.unknown, values=values, near=self._near(), box=box, explain=False
                )  # fmt: skip
            except MlsysimError as error:
                if error.message not in self.result.excluded and len(self.result.excluded) < 10:
                    self.result.excluded.append(error.message)
                continue
            found[at] = one.value
            self.result.methods[ALONE] += 1
            self.result.proven = self.result.proven and one.complete
        return found


def _plain(x: Array) -> Any:
    """Return a single number as one: programs take arrays for axes."""
    return float(x.reshape(-1)[0]) if x.size == 1 else x
