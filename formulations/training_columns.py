"""The splits of one training job that a plan of many jobs may want: for each fleet size, time against energy.

Everything else about a split (how it cuts the layers, what it keeps in memory) is of no concern to a plan of several
jobs, so of all designs of `parallelism` only those are kept that no other of the same size beats in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mlsysim_opt.algebra.evaluate import Axes, GridProgram
from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import MissingFieldError
from mlsysim_opt.optimize.formulation import formulation
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.optimize.search import Part
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import Catalog

Array = np.ndarray[Any, Any]
SHOWN = ("tp_size", "pp_size", "dp_size", "cp_size", "ep_size")
KEPT = 1024
"""Jobs whose columns are kept."""
SAMPLE = 32
"""Of so many designs one is looked at before all are."""


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
    held = [choice for name in ("accelerator", "nodes") for choice in choices if choice.name == name]
    try:
        wanted = [problem.metric("time"), problem.metric("it_energy")]
    except MissingFieldError:
        if len(names) > 1:
            raise
        wanted = [problem.metric("time")]
    # a constraint of one choice leaves fewer designs to look at, at once
    few = [item.structural or len(item.holds.choices) == 1 for item in problem.constraints]
    joining = [item.holds for item, small in zip(problem.constraints, few, strict=True) if small]
    asked = [item.holds for item, small in zip(problem.constraints, few, strict=True) if not small]
    # accelerator and size, time, energy, and the position of every value: the best so far, one row each
    front = np.empty((0, 3 + len(choices)))
    for axes in spaces(Domain.of(choices), joining, problem.values):
        for start, stop, tables in GridProgram([*wanted, *asked], problem.values, axes).blocks():
            time, truths = tables[0], tables[len(wanted) :]
            energy = tables[1] if len(wanted) > 1 else np.zeros_like(time)
            part = Part(choices, axes, start, time, truths, [])
            codes = _codes(held, axes, start, stop)
            good = part.feasible()
            fastest, its_energy = _fastest(front, held)[:, codes]
            # where nothing is known of a size, a few designs first: what they beat is left out at once
            for step in (1,) if np.isfinite(fastest).all() else (SAMPLE, 1):
                flat = np.flatnonzero(good & ((time < fastest) | (energy < its_energy)))[::step]
                code, mine, its = (
                    np.broadcast_to(item, time.shape).reshape(-1)[flat] for item in (codes, time, energy)
                )
                near = _candidates(front, code, mine, its)
                at = part.positions(flat[near])
                front = _front(np.concatenate([front, np.column_stack([code[near], mine[near], its[near], *at])]))
                fastest, its_energy = _fastest(front, held)[:, codes]
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


def _codes(held: Sequence[Choice], axes: Axes, start: int, stop: int) -> Array:
    """Return a number for each combination of some choices, over a block as far as it depends on it."""
    found: Array = np.zeros(1, dtype=np.int64)
    for choice in held:
        if choice in axes.joined:
            positions = axes.joined[choice][start:stop]
        else:
            shape = [1] * (1 + len(axes.dense))
            shape[axes.dense.index(choice)] = -1
            positions = np.arange(len(choice.values)).reshape(shape)
        found = found * len(choice.values) + positions
    return found


def _fastest(front: Array, held: Sequence[Choice]) -> Array:
    """Return time and energy of the fastest known, by the number of its combination; infinite where there is none."""
    found = np.full((2, math.prod(len(choice.values) for choice in held)), np.inf)
    first = np.flatnonzero(np.diff(front[:, 0], prepend=-1.0))
    found[:, front[first, 0].astype(int)] = front[first, 1:3].T
    return found


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
