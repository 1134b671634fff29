"""Fronts against fronts by counting, by hand, and against each other."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing.counted import METRICS, Shop
from hypothesis import given, settings
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.algebra.atoms import lookup
from mlsysim_opt.errors import InfeasibleError, InputError, LibraryMissingError, LimitReachedError, UnknownNameError
from mlsysim_opt.optimize import CoupledProblem, Front, Largest, Problem
from mlsysim_opt.optimize.coupled.front_program import spacing
from mlsysim_opt.optimize.dominance import covering, hypervolume, undominated
from mlsysim_opt.optimize.front_points import thinned

EXACT = 1e-9


def by_counting(vectors: Any) -> list[tuple[float, ...]]:
    """Return the vectors that no other one beats, equal ones once: each against each."""
    unique: list[tuple[float, ...]] = []
    for one in sorted({tuple(round(item, 9) for item in row) for row in vectors}):
        beaten = (
            all(a <= b for a, b in zip(other, one, strict=True)) and other != one
            for other in {tuple(round(item, 9) for item in row) for row in vectors}
        )
        if not any(beaten):
            unique.append(one)
    return unique


def agree(found: Front, expected: list[tuple[float, ...]]) -> None:
    assert found.complete, found.guarantee
    assert np.allclose(sorted(found.values), expected, rtol=EXACT, atol=EXACT), (found.values, expected)


# volumes --------------------------------------------------------------------------------------------------------------
def test_hypervolume_by_hand() -> None:
    # three points under (4, 4): 1x3 + 1x2 + 1x1 = 6; a dominated one adds nothing
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [3.0, 3.0]])
    assert hypervolume(points, np.array([4.0, 4.0])) == 3 * 1 + 2 * 1 + 1 * 1
    # two boxes of 2x1x1 and 1x1x2 share 1x1x1: 2 + 2 - 1
    assert hypervolume(np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]]), np.array([2.0, 2.0, 2.0])) == 3.0
    assert hypervolume(np.array([[5.0, 5.0]]), np.array([4.0, 4.0])) == 0.0


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_hypervolume_is_that_of_the_union_of_boxes(seed: int, dimensions: int, count: int) -> None:
    points = np.random.default_rng(seed).integers(0, 5, (count, dimensions)).astype(float)
    cells = itertools.product(range(5), repeat=dimensions)
    counted = sum(any(all(p <= c for p, c in zip(row, cell, strict=True)) for row in points) for cell in cells)
    assert hypervolume(points, np.full(dimensions, 5.0)) == counted


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_undominated_and_covering(seed: int, dimensions: int, count: int) -> None:
    points = np.random.default_rng(seed).integers(0, 6, (count, dimensions)).astype(float)
    kept = points[undominated(points)]
    assert sorted(map(tuple, kept)) == by_counting(points)
    step = np.array([0.0] + [2.0] * (dimensions - 1))
    few = points[covering(points, step)]
    assert all(any(np.all(one <= row + step) for one in few) for row in points)


# designs --------------------------------------------------------------------------------------------------------------
def puzzle(seed: int, side: int = 5) -> Problem:
    dice = np.random.default_rng(seed)
    problem = Problem("tables")
    a, b, c = (problem.choose(name, range(side)) for name in "abc")
    for name in "xyzw":
        tables = [lookup(item, dict(enumerate(dice.integers(1, 7, side).tolist()))) for item in (a, b, c)]
        problem.measure(name, tables[0] * tables[1] + tables[2])
    problem.require("apart", a + b + c >= 3)
    problem.default_objective = "min_x"
    return problem


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_a_front_of_designs_is_that_of_counting(seed: int, count: int) -> None:
    problem = puzzle(seed)
    names = "xyzw"[:count]
    found = mo.pareto(problem, objectives=[f"min_{name}" for name in names], constraints=["x <= 40"])
    every = []
    for values in itertools.product(range(5), repeat=3):
        at = mo.evaluate(problem, design=dict(zip("abc", values, strict=True)), constraints=["x <= 40"])
        if at["feasible"]:
            every.append([at["metrics"][name] for name in names])
    agree(found, by_counting(every))
    for point in found:
        assert point.status == "optimal"
        assert point.verify()["constraints_hold"]


def test_senses_units_and_texts_of_a_front() -> None:
    front = mo.pareto(
        "parallelism", model="Llama3_8B", fleet="Lab_64_H100", global_batch_size=256, seq_len=8192,
        objectives=["min_step_time", "max_mfu", "minimize memory"],
    )  # fmt: skip
    assert front.complete
    assert [item.sense for item in front.objectives] == ["min", "max", "min"]
    best = mo.optimize("parallelism", model="Llama3_8B", fleet="Lab_64_H100", global_batch_size=256, seq_len=8192)
    assert front.ideal["min_step_time"].si == pytest.approx(best.objective.si, rel=1e-12)
    again = Front.from_json(front.to_json())
    assert again.as_dict() == front.as_dict()
    again[len(again) // 2].verify()  # the task of a point is made again from what was asked


def test_a_cover_stands_for_every_point() -> None:
    objectives = ["min_x", "min_y", "min_z"]
    whole = mo.pareto(puzzle(0), objectives=objectives)
    few = mo.pareto(puzzle(0), objectives=objectives, points=4)
    assert not few.complete
    assert len(few) == 4 < len(whole)
    assert few.guarantee.startswith(f"cover: for each of the {len(whole)} undominated values")
    words = few.guarantee.replace(",", "").split()
    steps = [0.0, *(float(words[at + 2]) for at, word in enumerate(words) if word == "at" and words[at + 1] == "most")]
    for row in whole.values:
        assert any(all(a <= b + s * (1 + 1e-3) for a, b, s in zip(one, row, steps, strict=True)) for one in few.values)


# plans ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", range(8))
def test_a_front_of_plans_is_that_of_counting(seed: int, count: int, whole: bool) -> None:
    shop = Shop.of(seed, whole=whole)
    names = METRICS[:count]
    every = [[plan[name] for name in names] for plan in shop.plans()]
    objectives = [f"min_{name}" for name in names]
    if not every:
        with pytest.raises(InfeasibleError):
            mo.pareto(shop.problem(), objectives=objectives)
        return
    for prune in (True, False) if seed < 3 else (True,):
        found = mo.pareto(shop.problem(), objectives=objectives, prune=prune)
        agree(found, by_counting(every))
        for point in found:
            assert point.status == "optimal"


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_a_front_is_the_same_over_few_columns_first(
    seed: int, count: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.of(seed, whole=seed % 2 == 0)
    names = METRICS[:count]
    every = [[plan[name] for name in names] for plan in shop.plans()]
    if not every:
        return
    monkeypatch.setattr("mlsysim_opt.optimize.coupled.front_program.FIRST", first)
    for near in (0.0, 1.5):  # nothing but ties of the relaxation, then what the step before suggests
        monkeypatch.setattr("mlsysim_opt.optimize.coupled.front_program.NEAR", near)
        found = mo.pareto(shop.problem(), objectives=[f"min_{name}" for name in names], prune=False)
        agree(found, by_counting(every))


@pytest.mark.parametrize("seed", range(12))
def test_a_cover_of_plans_keeps_its_promise(seed: int) -> None:
    shop = Shop.of(seed)
    every = [(plan["cost"], plan["carbon"]) for plan in shop.plans()]
    if not every:
        return
    found = mo.pareto(shop.problem(), objectives=["min_cost", "min_carbon"], points=3)
    step = found.steps[1] if found.steps else 0.0  # one point stands for itself
    for one, two in every:
        assert any(a <= one + EXACT and b <= two + step + EXACT for a, b in found.values)


@pytest.mark.parametrize("points", [2, 3, 5, 9])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_so_many_points_as_asked_or_all_there_are(seed: int, count: int, points: int) -> None:
    # a front of no more points comes out complete; of a larger one about so many, and what they promise holds
    shop = Shop.of(seed)
    names = METRICS[:count]
    every = by_counting([[plan[name] for name in names] for plan in shop.plans()])
    if not every:
        return
    found = mo.pareto(shop.problem(), objectives=[f"min_{name}" for name in names], points=points)
    if len(every) <= points:
        agree(found, every)
        return
    assert not found.complete
    assert 2 / 3 * points <= len(found) <= 3 * points
    for row in every:
        assert any(
            all(a <= b + s + EXACT for a, b, s in zip(one, row, found.steps, strict=True)) for one in found.values
        )
    for point in found.values:
        assert any(np.allclose(point, row, rtol=EXACT, atol=EXACT) for row in every)


def test_more_points_cost_a_few_times_the_programs_of_the_least_cover() -> None:
    shop = Shop.of(0)
    objectives = [f"min_{name}" for name in METRICS[:3]]
    programs = [
        mo.pareto(shop.problem(), objectives=objectives, points=points).details["programs"] for points in (2, 5, 9)
    ]
    assert max(programs) <= 8 * programs[0]


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 30), st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_a_thinned_front_has_as_many_points_and_its_steps_hold(
    seed: int, dimensions: int, count: int, asked: int
) -> None:
    points = np.random.default_rng(seed).integers(0, 30, (count, dimensions)).astype(float)
    whole = points[undominated(points)]
    kept, steps = thinned(whole, asked)
    assert len(kept) == len(set(kept)) == min(asked, len(whole))
    assert steps[0] == 0
    assert all(any(np.all(one <= row + steps) for one in whole[kept]) for row in whole)


def ships() -> CoupledProblem:
    """Two jobs, two places: cheap and dirty, or dear and clean. By hand: (2, 20), (5, 12), (6, 11), (9, 3)."""
    made = CoupledProblem("ships")
    job, place = made.choose("job", ["a", "b"]), made.choose("place", ["Iowa", "Quebec"])
    run = made.picks("run", [job, place], for_each=[job])
    made.measure("cost", run * made.table("price", [job, place], [[1, 4], [1, 5]], "USD"), unit="USD")
    made.measure("carbon", run * made.table("carbon", [job, place], [[10, 2], [10, 1]], "kgCO2e"), unit="kgCO2e")
    made.measure("worst", Largest(run * made.table("wait", [job, place], [[3, 1], [2, 7]], "s"), (job,)), unit="s")
    return made


def test_a_front_by_hand_with_its_moves() -> None:
    found = mo.pareto(ships(), objectives=["min_cost", "min_carbon"])
    assert found.values == [[2.0, 20.0], [5.0, 12.0], [6.0, 11.0], [9.0, 3.0]]
    assert found.moves(0, 1) == ["run: job a moves place from Iowa to Quebec"]
    assert found.moves(1, 2) == [
        "run: job a moves place from Quebec to Iowa",
        "run: job b moves place from Iowa to Quebec",
    ]
    with pytest.raises(InputError, match="there is no point 99"):
        found.moves(0, 99)
    assert str(found.ideal["min_cost"]) == "2 USD"
    assert str(found.nadir["min_carbon"]) == "20 kgCO2e"
    # scaled by 7 USD and 17 kg, the sums are 1, 3/7 + 9/17 = 0.958, 4/7 + 8/17 = 1.042 and 1
    assert found.knee == 1
    # (5, 12) and (6, 11) dominate 4 x 8 and 3 x 1 of the 7 x 17 box that the ends span
    assert found.hypervolume() == pytest.approx((4 * 8 + 3 * 1) / (7 * 17))
    assert found.hypervolume({"min_cost": "10 USD", "min_carbon": "21 kgCO2e"}) == pytest.approx(
        (8 * 1 + 5 * 8 + 4 * 1 + 1 * 8) / (8 * 18)
    )
    assert found.hypervolume([10, 21]) == found.hypervolume(["10 USD", "21000 gCO2e"]) == pytest.approx(60 / 144)
    for wrong in ([10], [10, "3 USD"], "10 USD, 21 kgCO2e", 10, {"min_cost": "10 USD"}, [1, 21], [None, 21]):
        with pytest.raises(InputError):
            found.hypervolume(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"min_cost \[USD\], min_carbon \[kgCO2e\]"):
        found.hypervolume([10])
    assert "job a moves place from Iowa to Quebec" in found.trade(0, 1)
    for point in found:
        point.verify()


def test_the_largest_of_something_and_ratios_may_be_objectives() -> None:
    # plans: (cost, worst): II (2, 3), QI (5, 2), IQ (6, 7), QQ (9, 7); kg per USD: 10, 12/5, 11/6, 3/9
    found = mo.pareto(ships(), objectives=["min_cost", "min_worst"])
    assert found.values == [[2.0, 3.0], [5.0, 2.0]]
    found[1].verify()
    found = mo.pareto(ships(), objectives=["carbon / cost", "min_worst"])
    assert np.allclose([row[0] for row in found.values], [3 / 9, 12 / 5])
    found = mo.pareto(ships(), objectives=["min_cost", "minimize carbon / cost"])
    assert np.allclose([row[1] for row in found.values], [10, 12 / 5, 11 / 6, 3 / 9])


def test_divisible_amounts_are_covered() -> None:
    made = CoupledProblem("mix")
    source = made.choose("source", ["coal", "wind"])
    share = made.amounts("share", [source], high=1)
    made.require("all", share.total().equals(1))
    made.measure("cost", share * lookup(source, {"coal": 1.0, "wind": 2.0}))
    made.measure("carbon", share * lookup(source, {"coal": 10.0, "wind": 0.0}))
    found = mo.pareto(made, objectives=["min_cost", "min_carbon"], points=6)
    assert not found.complete
    assert "at most 2 worse in min_carbon" in found.guarantee
    assert np.allclose(found.values, [[1 + at / 5, 10 - 2 * at] for at in range(6)])
    assert len(mo.pareto(made, objectives=["min_cost", "min_carbon"])) == 25


def test_a_divisible_amount_that_is_given_leaves_a_front_complete() -> None:
    made = CoupledProblem("given")
    kind = made.choose("kind", ["a", "b"])
    run = made.picks("run", [kind])
    served = made.amounts("served", [], low=5, high=5)
    made.measure("cost", run * lookup(kind, {"a": 1.0, "b": 2.0}) + served)
    made.measure("wait", run * lookup(kind, {"a": 9.0, "b": 3.0}))
    found = mo.pareto(made, objectives=["min_cost", "min_wait"])
    assert found.complete
    assert found.values == [[6.0, 9.0], [7.0, 3.0]]


@pytest.mark.parametrize(
    ("numbers", "step"),
    [
        ([2.0, 4.0, 7.0], 1.0),
        ([0.3, 0.1, 0.7], 0.1),
        ([2.5, 7.5], 2.5),
        ([1.0, 2**0.5], 0.0),
        ([3.0, 3.0], 3.0),
        ([1.0, 1e13], 0.0),
    ],
)
def test_how_far_apart_sums_of_whole_amounts_are(numbers: list[float], step: float) -> None:
    cost = np.array([*numbers, 0.0])
    assert spacing(cost, np.array([*(True for _ in numbers), False])) == pytest.approx(step)
    assert spacing(np.append(cost, 1.0), np.zeros(len(cost) + 1, dtype=bool)) == 0.0


# storing --------------------------------------------------------------------------------------------------------------
def test_a_front_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mo.pareto(ships(), objectives=["min_cost", "min_carbon"])
    head, first, *_ = found.to_csv(tmp_path / "front.csv").splitlines()
    assert head == "min_cost [USD],min_carbon [kgCO2e],cost [USD],carbon [kgCO2e],worst [s],run"
    assert first == '2.0,20.0,2.0,20.0,3.0,"job=a, place=Iowa: 1; job=b, place=Iowa: 1"'
    assert (tmp_path / "front.csv").read_text() == found.to_csv()
    assert json.loads(found.to_json())["moves"][0] == ["run: job a moves place from Iowa to Quebec"]
    assert found.plot(tmp_path / "front.svg").stat().st_size > 1000
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(LibraryMissingError, match=r"mlsysim-opt\[parquet\]"):
        found.to_parquet(tmp_path / "front.parquet")
    monkeypatch.undo()
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(found.to_parquet(tmp_path / "front.parquet"))
    assert table.to_pydict()["min_carbon [kgCO2e]"] == [20.0, 12.0, 11.0, 3.0]


# refusing -------------------------------------------------------------------------------------------------------------
def test_what_is_no_front_is_refused() -> None:
    for objectives in (["min_x"], ["min_x"] * 2, "min_x", ["min_x", "min_y", "min_z", "min_w", "max_x"]):
        with pytest.raises(InputError):
            mo.pareto(puzzle(0), objectives=objectives)
    with pytest.raises(UnknownNameError):
        mo.pareto(puzzle(0), objectives=["min_x", "min_q"])
    with pytest.raises(InputError, match="number of points"):
        mo.pareto(puzzle(0), objectives=["min_x", "min_y"], points=1)
    with pytest.raises(InfeasibleError):
        mo.pareto(puzzle(0), objectives=["min_x", "min_y"], constraints=["x <= 0"])
    with pytest.raises(LimitReachedError):
        mo.pareto(puzzle(0), objectives=["min_x", "min_y"], time_limit=1e-9)
