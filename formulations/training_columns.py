"""The splits of one training job that a plan of many jobs may want: for each fleet size, time against energy.

Everything else about a split (how it cuts the layers, what it keeps in memory) is of no concern to a plan of several
jobs, so of all designs of `parallelism` only those are kept that no other of the same size beats in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mlsysim_opt.algebra.evaluate import Axes, GridProgram
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.algebra.nearly import all_at_most
from mlsysim_opt.errors import MissingFieldError
from mlsysim_opt.optimize.formulation import formulation
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.physics.training_bound import OF_ZERO, quickest
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import Catalog

Array = np.ndarray[Any, Any]
SHOWN = ("tp_size", "pp_size", "dp_size", "cp_size", "ep_size")
KEPT = 1024
"""Jobs whose columns are kept."""
SAMPLE = 32
"""So many designs of a size, the most promising ones, are looked at before all are."""
QUICK = ("zero_stage", "overlap_comm")
"""Decisions that change a good step little: a bound that holds for all their values is tight."""
ROUNDED = 1 + 1e-12
"""What a bound may be too high by, through rounding."""


@dataclass(frozen=True)
class TrainingColumn:
    """A way to run a training job.

    Attributes:
        nodes: nodes it holds. speed: tokens per second. power: watts of its nodes together, on average; None where the
            node states no power. split: the design, by decision. title: its name, where it has one.
    """

    nodes: int
    speed: float
    power: float | None
    split: Mapping[str, Any]
    title: str = ""

    @property
    def label(self) -> str:
        """The split in short."""
        if self.title:
            return self.title
        degrees = (f"{name.removesuffix('_size')}{self.split[name]}" for name in SHOWN if self.split.get(name, 1) != 1)
        return " ".join(degrees) or "no split"


def training_columns(given: Mapping[str, Any]) -> dict[str, tuple[TrainingColumn, ...]]:
    """Return the columns of a job by accelerator, fleet sizes ascending, of each size the fastest first.

    Args:
        given: what `parallelism` is given, with lists of `accelerator` and `nodes`, without tokens: time and energy go
            with the tokens, so jobs that differ in nothing else share their columns.
    Raises:
        InputError: something given is wrong, or an accelerator cannot run the job at all.
        MissingFieldError: of several accelerators, a node states no power; alone its columns are without.
    """
    plain = tuple(sorted((name, tuple(item) if isinstance(item, list) else item) for name, item in given.items()))
    return _columns(default_catalog(), plain)


@lru_cache(maxsize=KEPT)
def _columns(catalog: Catalog, given: tuple[tuple[str, Any], ...]) -> dict[str, tuple[TrainingColumn, ...]]:
    values = {name: list(item) if isinstance(item, tuple) else item for name, item in given}
    names: list[str] = values["accelerator"]
    problem = formulation("parallelism").problem({**values, "token_budget": "1 token"})
    assert isinstance(problem, Problem)
    choices = [item.choice for item in problem.decisions.values()]
    try:
        wanted = [problem.metric("time"), problem.metric("it_energy")]
    except MissingFieldError:
        if len(names) > 1:
            raise
        wanted = [problem.metric("time")]
    front = _search(problem, choices, wanted)
    found: dict[str, list[TrainingColumn]] = {name: [] for name in names}
    for row in front:
        split = {choice.name: choice.values[int(place)] for choice, place in zip(choices, row[3:], strict=True)}
        found[split.pop("accelerator", names[0])].append(
            TrainingColumn(
                nodes=int(split.get("nodes", values["nodes"][0])),
                speed=1.0 / float(row[1]),
                power=float(row[2] / row[1]) if len(wanted) > 1 else None,
                split=split,
            )
        )
    return {name: tuple(columns) for name, columns in found.items()}


def _search(problem: Problem, choices: Sequence[Choice], wanted: Sequence[Expression]) -> Array:
    """Return the designs that no other of the same accelerator and size beats in time and energy.

    Rows hold the number of accelerator and size, time, energy, and the position of every value. Bounds that hold for
    all values of the `QUICK` decisions are looked at first; few designs are left to be evaluated one by one.
    """
    held = [choice for name in ("accelerator", "nodes") for choice in choices if choice.name == name]
    # a constraint of one choice leaves fewer designs to look at, at once
    few = [item.structural or len(item.holds.choices) == 1 for item in problem.constraints]
    joining = [item.holds for item, small in zip(problem.constraints, few, strict=True) if small]
    asked = [item for item, small in zip(problem.constraints, few, strict=True) if not small]
    sides = [side for item in asked for side in item.sides or ()]
    exact = [*wanted, *(item.holds for item in asked)]
    quick = frozenset(choice for choice in choices if choice.name in QUICK)
    limits = [*_least(problem, wanted), *sides]
    front = np.empty((0, 3 + len(choices)))
    for axes in spaces(Domain.of(choices), joining, problem.values):
        program = GridProgram([*limits, *exact], problem.values, axes)
        for start, stop, tables in program.narrow_blocks(limits, [item for item in axes.dense if item not in quick]):
            block = _Block(axes, quick, start, stop)
            least = [block.reduced(np.min, table) for table in tables[: len(wanted)]]
            codes = _codes(held, axes, start, stop)
            fastest = _fastest(front, held)[:, codes]
            may = np.ones(block.shape, dtype=bool)
            for small, large in zip(tables[len(wanted) :: 2], tables[len(wanted) + 1 :: 2], strict=True):
                may &= all_at_most(block.reduced(np.min, small), block.reduced(np.max, large))
            # where nothing is known of a size, the most promising designs first: what they beat is left out at once
            for first in (False,) if np.isfinite(fastest).all() else (True, False):
                better = [~(low >= known * ROUNDED) for low, known in zip(least, fastest, strict=False)]
                flat = np.flatnonzero(may & np.logical_or.reduce(better))
                code = np.broadcast_to(codes, block.shape).reshape(-1)[flat]
                if first:
                    unknown = np.flatnonzero(np.isinf(_fastest(front, held)[0, code]))
                    promise = np.broadcast_to(least[0], block.shape).reshape(-1)[flat[unknown]]
                    near = unknown[_first_of_each(code[unknown], promise)]
                    code, flat = code[near], flat[near]
                rows, places = block.points(flat)
                time, *rest = program.points(exact, rows, places)
                energy = rest[0] if len(wanted) > 1 else np.zeros_like(time)
                known = _fastest(front, held)[:, code]
                good = np.logical_and.reduce([np.isfinite(time), *rest[len(wanted) - 1 :]])
                better_still = np.nonzero(good & ((time < known[0]) | (energy < known[1])))
                every = (code, time, energy, rows, *places)
                found = [np.broadcast_to(item, good.shape)[better_still] for item in every]
                near = _candidates(front, *found[:3])
                code, time, energy, row, *at = (item[near] for item in found)
                place = dict(zip(axes.dense, at, strict=True)) | {c: axes.joined[c][row] for c in axes.joined}
                new = np.column_stack([code, time, energy, *(place[choice] for choice in choices)])
                front = _front(np.concatenate([front, new]))
                fastest = _fastest(front, held)[:, codes]
    return front


def _least(problem: Problem, wanted: Sequence[Expression]) -> list[Expression]:
    """Return what time and energy are not below, whatever the quick decisions are."""
    decided = [problem.metric(name) for name in OF_ZERO]
    return [quickest(item, decided, problem.decisions["overlap_comm"].choice) for item in wanted]


@dataclass(frozen=True)
class _Block:
    """Some rows of a space, the `quick` ones of its dense choices left aside."""

    axes: Axes
    quick: frozenset[Choice]
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = (1 if choice in self.quick else len(choice.values) for choice in self.axes.dense)
        return (*sizes, self.stop - self.start)

    def reduced(self, function: Callable[..., Array], table: Any) -> Array:
        """Return the least or the greatest of a table over the quick choices."""
        values = np.asarray(table)
        if values.ndim < len(self.shape):
            return values
        many = (at for at, choice in enumerate(self.axes.dense) if choice in self.quick and values.shape[at] > 1)
        axes = tuple(many)
        return function(values, axis=axes, keepdims=True) if axes else values

    def points(self, flat: Array) -> tuple[Array, list[Array]]:
        """Return rows and dense positions of points, the quick choices at all their values: to be broadcast."""
        *dense, row = np.unravel_index(flat, self.shape)
        sizes = [len(choice.values) for choice in self.axes.dense if choice in self.quick]
        each = np.indices(sizes).reshape(len(sizes), -1, 1)
        quick = dict(zip([choice for choice in self.axes.dense if choice in self.quick], each, strict=True))
        return row + self.start, [quick.get(item, at) for item, at in zip(self.axes.dense, dense, strict=True)]


def _codes(held: Sequence[Choice], axes: Axes, start: int, stop: int) -> Array:
    """Return a number for each combination of some choices, over a block as far as it depends on it."""
    found: Array = np.zeros(1, dtype=np.int64)
    for choice in held:
        if choice in axes.joined:
            positions = axes.joined[choice][start:stop]
        else:
            shape = [-1 if item is choice else 1 for item in axes.dense] + [1]
            positions = np.arange(len(choice.values)).reshape(shape)
        found = found * len(choice.values) + positions
    return found


def _fastest(front: Array, held: Sequence[Choice]) -> Array:
    """Return time and energy of the fastest known, by the number of its combination; infinite where there is none."""
    found = np.full((2, math.prod(len(choice.values) for choice in held)), np.inf)
    first = np.flatnonzero(np.diff(front[:, 0], prepend=-1.0))
    found[:, front[first, 0].astype(int)] = front[first, 1:3].T
    return found


def _first_of_each(code: Array, value: Array) -> Array:
    """Return where the `SAMPLE` least values of each code are."""
    order = np.lexsort((value, code))
    mine = code[order]
    place = np.arange(len(order)) - np.searchsorted(mine, mine)
    return np.sort(order[place < SAMPLE])


def _candidates(front: Array, size: Array, time: Array, energy: Array) -> Array:
    """Return which points nothing known beats: the front so far, and of each size the fastest and the thriftiest."""
    found: list[Array] = []
    for value in np.unique(size):
        mine = np.flatnonzero(size == value)
        best = mine[[int(np.argmin(time[mine])), int(np.argmin(energy[mine]))]]
        known = np.concatenate([front[front[:, 0] == value, 1:3], np.column_stack([time[best], energy[best]])])
        known = known[np.lexsort((known[:, 1], known[:, 0]))]
        least = np.minimum.accumulate(known[:, 1])
        place = np.searchsorted(known[:, 0], time[mine], side="right") - 1
        beaten = (place >= 0) & (energy[mine] >= least[np.maximum(place, 0)])
        found.append(np.union1d(mine[~beaten], best))
    return np.concatenate(found) if found else np.empty(0, dtype=int)


def _front(rows: Array) -> Array:
    """Return the rows that no other of the same size is at least as good as in time and energy; the first of ties."""
    order = np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))
    size, energy = rows[order, 0], rows[order, 2]
    keep = np.zeros(len(order), dtype=bool)
    for first, last in _runs(size):
        part = energy[first:last]
        keep[first] = True
        keep[first + 1 : last] = part[1:] < np.minimum.accumulate(part)[:-1]
    kept: Array = rows[order[keep]]
    return kept


def _runs(codes: Array) -> Sequence[tuple[int, int]]:
    ends = np.flatnonzero(np.diff(codes)) + 1
    return list(zip([0, *ends], [*ends, len(codes)], strict=True)) if len(codes) else []
