"""What leaves columns out, and the bounds it rests on, against every plan of random small programs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from mlsysim_opt.optimize.coupled.program import LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.prune import dual_bound, excess, undominated
from mlsysim_opt.optimize.coupled.sifting import sift


def program(dice: np.random.Generator) -> LinearProgram:
    """A few picks in two groups, optional or not, one or two of each; two whole amounts beside; two to four rows."""
    group = np.array([0, 0, 0, 1, 1, 1, -1, -1])
    count = dice.integers(1, 3, 2).astype(float)
    optional = dice.uniform(size=2) < 0.4
    low = np.where(group >= 0, 0.0, dice.integers(-1, 2, 8)).astype(float)
    high = np.where(group >= 0, count[np.maximum(group, 0)], low + dice.integers(0, 3, 8))
    rows = int(dice.integers(2, 5))
    matrix = dice.integers(-2, 6, (rows, 8)) * (dice.uniform(size=(rows, 8)) < 0.7)
    matrix = np.vstack([matrix, *(group == item for item in (0, 1))]).astype(float)
    kind = dice.integers(0, 3, rows)
    limit = dice.integers(0, 12, rows).astype(float)
    row_low = np.concatenate([np.where(kind == 0, -math.inf, limit / 2), np.where(optional, 0.0, count)])
    row_high = np.concatenate([np.where(kind == 1, math.inf, limit), count])
    row, column = np.nonzero(matrix)
    order = np.argsort(column, kind="stable")
    entries = Triplets(row[order], column[order], matrix[row[order], column[order]])
    return LinearProgram.of(
        entries,
        cost=dice.integers(-6, 12, 8).astype(float),
        low=low,
        high=high,
        whole=np.ones(8, dtype=bool),
        row_low=row_low,
        row_high=row_high,
        offset=3.0,
        group=(group, np.where(optional, 0.0, count), count),
    )


def plans(item: LinearProgram) -> Iterator[np.ndarray]:
    """Every plan of a program."""
    spans = [np.arange(low, high + 1) for low, high in zip(item.low, item.high, strict=True)]
    for x in itertools.product(*spans):
        made = np.array(x)
        if not np.any(item.row_violations(made) > 1e-9):
            yield made


SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_duals_give_a_bound_and_what_a_column_adds_to_it(seed: int) -> None:
    dice = np.random.default_rng(seed)
    item = program(dice)
    every = list(plans(item))
    costs = [float(item.cost @ x) + item.offset for x in every]
    relaxed = sift(item, lambda: None)
    duals = [dice.normal(0, 3, item.rows) for _ in range(4)] + ([] if relaxed is None else [relaxed.duals])
    for y in duals:
        bound, above = dual_bound(item, y), excess(item, y)
        for x, cost in zip(every, costs, strict=True):
            assert bound <= cost + 1e-9
            used = x != 0
            assert bound + float(np.max(above[used], initial=0.0)) <= cost + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_plan_is_left_when_dominated_columns_are_gone(seed: int) -> None:
    dice = np.random.default_rng(1000 + seed)
    item = program(dice)
    further = dice.integers(0, 3, 8).astype(float)
    every = list(plans(item))
    for criteria in ((), (further,)):
        kept = undominated(item, criteria)
        assert kept[np.asarray(item.group) < 0].all()
        left = [x for x in every if not np.any(x[~kept])]
        for cost in (item.cost, *criteria):
            best = min((float(cost @ x) for x in every), default=math.inf)
            assert min((float(cost @ x) for x in left), default=math.inf) == best


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_is_what_no_other_column_beats(seed: int) -> None:
    # One pick of many columns under one limited row and one that is asked for, numbers drawn so that many are equal: a
    # column falls where another one costs no more, takes no more of the first and gives no less of the second; of equal
    # ones the first is left. Some stand in the rows in reverse order, some in one of them only.
    dice = np.random.default_rng(seed)
    count = 60
    cost, takes, gives = (dice.integers(1, 5, count).astype(float) for _ in range(3))
    only = dice.uniform(size=count) < 0.3
    gives[only] = 0.0
    entries = [
        (row, column, value)
        for column in range(count)
        for row, value in ([(0, takes[column]), (1, gives[column])] if column % 2 else
                           [(1, gives[column]), (0, takes[column])])
        if value
    ]  # fmt: skip
    row, column, value = (np.array(item) for item in zip(*entries, strict=True))
    group = np.zeros(count, dtype=np.int64)
    item = LinearProgram.of(
        Triplets(row, column, value.astype(float)), cost=cost, low=np.zeros(count), high=np.ones(count),
        whole=np.ones(count, dtype=bool), row_low=np.array([-math.inf, 3.0]), row_high=np.array([9.0, math.inf]),
        group=(group, np.ones(1), np.ones(1)),
    )  # fmt: skip

    def beats(one: int, other: int) -> bool:
        points = [(cost[at], takes[at], -gives[at]) for at in (one, other)]
        worse = only[one] == only[other] and all(a <= b for a, b in zip(*points, strict=True))
        return bool(worse and (points[0] != points[1] or one < other))

    left = [at for at in range(count) if not any(beats(other, at) for other in range(count) if other != at)]
    assert np.flatnonzero(undominated(item)).tolist() == left


def test_pruning_does_leave_something_out() -> None:
    # Otherwise the test above would show nothing.
    counts = [int(np.count_nonzero(~undominated(program(np.random.default_rng(1000 + seed))))) for seed in SEEDS]
    assert sum(counts) > 10


@pytest.mark.parametrize("seed", range(20))
def test_the_sifted_relaxation_is_that_of_all_columns(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlsysim_opt.optimize.backends.highs import HighsProgram

    monkeypatch.setattr("mlsysim_opt.optimize.coupled.sifting.PER_GROUP", 1)
    item = program(np.random.default_rng(seed))
    whole = HighsProgram(item).relaxation()
    found = sift(item, lambda: None)
    if whole.stop == "infeasible":
        assert found is None
    else:
        assert found is not None
        assert found.bound == pytest.approx(whole.value, rel=1e-9, abs=1e-9)
