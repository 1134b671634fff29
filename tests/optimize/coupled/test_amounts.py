"""Bounds, whole numbers and picks, on examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mlsysim_opt.errors import InfeasibleError, UnboundedError
from mlsysim_opt.optimize import CoupledProblem, optimize


def test_bounds_may_differ_by_tuple() -> None:
    # Bounds of A are 1 and 4, of B -3 and 2: the largest sum is 6, the smallest -2.
    problem = CoupledProblem("bounds")
    site = problem.choose("site", ["A", "B"])
    low, high = problem.table("low", [site], [1.0, -3.0]), problem.table("high", [site], [4.0, 2.0])
    problem.measure("total", problem.amounts("x", [site], low=low, high=high))
    assert optimize(problem, objective="max_total").objective.value == pytest.approx(6)
    assert optimize(problem, objective="min_total").objective.value == pytest.approx(-2)


def test_bounds_of_whole_amounts_are_rounded_inwards() -> None:
    # Between 0.2 and 2.9 there are 1 and 2.
    problem = CoupledProblem("whole")
    problem.measure("x", problem.amounts("x", [], whole=True, low=0.2, high=2.9))
    assert optimize(problem, objective="min_x").objective.value == 1
    assert optimize(problem, objective="max_x").objective.value == 2


def test_bounds_carry_the_unit_of_the_amount() -> None:
    problem = CoupledProblem("units")
    problem.measure("power", problem.amounts("power", [], unit="kW", low=2, high="0.005 MW"), unit="W")
    assert optimize(problem, objective="min_power").objective.value == pytest.approx(2000)
    assert optimize(problem, objective="max_power").objective.value == pytest.approx(5000)


def test_what_has_no_bound_and_pays_is_unbounded() -> None:
    problem = CoupledProblem("gold mine")
    problem.measure("gain", problem.amounts("dig", []))
    with pytest.raises(UnboundedError, match="max_gain"):
        optimize(problem, objective="max_gain")


def test_unbounded_and_impossible_is_impossible() -> None:
    # Digging pays without limit, but no plan has two spades where one is the most there can be.
    problem = CoupledProblem("gold mine without a spade")
    spades = problem.amounts("spades", [], whole=True, high=1)
    problem.require("spades", spades >= 2)
    problem.measure("gain", problem.amounts("dig", []))
    with pytest.raises(InfeasibleError):
        optimize(problem, objective="max_gain")


def test_whole_means_whole() -> None:
    # 3 x <= 7 (x <= 2.33): 2; and 2 x + 2 y = 3 has no whole answer although it has others.
    problem = CoupledProblem("parity")
    x, y = problem.amounts("x", [], whole=True, high=9), problem.amounts("y", [], whole=True, high=9)
    problem.measure("x", x)
    problem.require("limit", x * 3 <= 7)
    assert optimize(problem, objective="max_x").objective.value == 2
    problem.require("odd", (x * 2 + y * 2).equals(3))
    with pytest.raises(InfeasibleError):
        optimize(problem, objective="max_x")


def jobs(**how: object) -> CoupledProblem:
    """Two jobs, three sizes; the gain of a size is its value (1, 2, 4), a job's total is 10 and 1 times that."""
    problem = CoupledProblem("jobs")
    job, size = problem.choose("job", ["a", "b"]), problem.choose("size", [1, 2, 4])
    run = problem.picks("run", [job, size], for_each=[job], **how)  # type: ignore[arg-type]
    weight = problem.table("weight", [job], [10.0, 1.0])
    problem.measure("gain", run * (size * weight))
    problem.measure("used", run * size)
    return problem


def test_one_tuple_is_picked_for_each() -> None:
    # 4 * 10 + 4 * 1.
    assert optimize(jobs(), objective="max_gain").objective.value == 44
    # Of 5 units: 4 for a, 1 for b.
    answer = optimize(jobs(), objective="max_gain", constraints=["used <= 5"])
    assert answer.amounts["run"] == [
        {"job": "a", "size": 4, "amount": 1},
        {"job": "b", "size": 1, "amount": 1},
    ]


def test_optional_picks_may_be_left_out() -> None:
    # With one for each, two units are the least: size 1 twice. Optional, of 4 units a takes all: 40.
    with pytest.raises(InfeasibleError) as found:
        optimize(jobs(), objective="max_gain", constraints=["used <= 1"])
    assert found.value.conflict == ("used <= 1",)
    answer = optimize(jobs(optional=True), objective="max_gain", constraints=["used <= 4"])
    assert answer.amounts["run"] == [{"job": "a", "size": 4, "amount": 1}]
    assert optimize(jobs(optional=True), objective="min_gain").amounts["run"] == []


def test_several_may_be_picked_and_of_one_tuple_several() -> None:
    # Three for each, at most 14 units: 4, 4, 1 of a (90) would leave 5 for b's three, 1 + 1 + 2: 4. The most: a has
    # 12 only if b's three fit into 2: no. a: 4 + 4 + 2 = 10, b: 1 + 1 + 2 = 4: 104. a: 4+4+1, b: 5 is 95. 11 is none.
    answer = optimize(jobs(count=3), objective="max_gain", constraints=["used <= 14"])
    assert answer.objective.value == 104
    assert answer.where("run", job="a") == [
        {"job": "a", "size": 2, "amount": 1},
        {"job": "a", "size": 4, "amount": 2},
    ]


def test_the_count_may_depend_on_the_group() -> None:
    # Twice a (8 * 10), once b (4).
    problem = CoupledProblem("counted")
    job, size = problem.choose("job", ["a", "b"]), problem.choose("size", [1, 4])
    count = problem.table("count", [job], [2.0, 1.0])
    run = problem.picks("run", [job, size], for_each=[job], count=count)
    problem.measure("gain", run * (size * problem.table("weight", [job], [10.0, 1.0])))
    assert optimize(problem, objective="max_gain").objective.value == 84


def test_one_pick_in_all_where_no_group_is_given() -> None:
    problem = CoupledProblem("one")
    size = problem.choose("size", [1, 2, 4])
    problem.measure("size", problem.picks("run", [size]) * size)
    assert optimize(problem, objective="max_size").amounts["run"] == [{"size": 4, "amount": 1}]


def test_allow_keeps_tuples_where_it_holds() -> None:
    problem = jobs()
    job, size = problem.decisions["job"].choice, problem.decisions["size"].choice
    limit = problem.table("limit", [job], [2.0, 4.0])
    problem.allow("fits", size <= limit)
    # a has 2 at most: 20 + 4.
    assert optimize(problem, objective="max_gain").objective.value == 24
    # A user's constraint on a choice is of the same kind: b has 2 too: 20 + 2.
    assert optimize(problem, objective="max_gain", constraints=["size <= 2"]).objective.value == 22
    with pytest.raises(InfeasibleError) as found:
        optimize(problem, objective="max_gain", constraints=["size >= 4"])
    assert found.value.conflict == ("size >= 4",)


def test_tuples_without_a_number_are_left_out_and_counted() -> None:
    # b cannot run at size 4 (no number): 40 + 2.
    problem = CoupledProblem("undefined")
    job, size = problem.choose("job", ["a", "b"]), problem.choose("size", [1, 2, 4])
    run = problem.picks("run", [job, size], for_each=[job])
    problem.measure("gain", run * problem.table("gain", [job, size], [[10.0, 20.0, 40.0], [1.0, 2.0, np.nan]]))
    answer = optimize(problem, objective="max_gain")
    assert answer.objective.value == 42
    assert answer.undefined == {"run": 1}
    answer.task.problem.require("room", run * problem.table("room", [size], [np.nan, 1.0, 1.0]) <= 9)  # type: ignore[union-attr]
    again = optimize(problem, objective="min_gain")  # sizes of 1 are gone too: 20 + 2
    assert again.objective.value == 22
    assert again.undefined == {"run": 3}


def test_a_group_whose_tuples_are_all_left_out_makes_the_plan_impossible() -> None:
    problem = CoupledProblem("nothing for b")
    job, size = problem.choose("job", ["a", "b"]), problem.choose("size", [1, 2])
    run = problem.picks("run", [job, size], for_each=[job])
    problem.measure("gain", run * problem.table("gain", [job, size], [[1.0, 2.0], [np.nan, np.nan]]))
    with pytest.raises(InfeasibleError):
        optimize(problem, objective="max_gain")
