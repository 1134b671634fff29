"""What may be asked of a plan: largest, ratios, one after another, and text over metrics."""

from __future__ import annotations

import numpy as np
import pytest

from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize import CoupledProblem, Largest, PlanSolution, optimize, pareto


def numbers(answer: PlanSolution, *names: str) -> tuple[float | None, ...]:
    """The metrics of a plan, in the units they are shown in."""
    return tuple(answer.metrics.values_with_units[name].value for name in names)


@pytest.fixture
def fleet() -> CoupledProblem:
    """Three jobs of 3, 2 and 2 units on two sites; a unit costs 1 USD at A and 2 USD at B."""
    problem = CoupledProblem("fleet")
    job, site = problem.choose("job", ["a", "b", "c"]), problem.choose("site", ["A", "B"])
    run = problem.picks("run", [job, site], for_each=[job])
    units = problem.table("units", [job], [3.0, 2.0, 2.0])
    problem.measure("cost", run * (units * problem.table("price", [site], [1.0, 2.0], unit="USD")), unit="USD")
    problem.measure("peak", Largest(run * units, (site,)))
    problem.measure("at_B", run * problem.table("is B", [site], [0.0, 1.0]))
    problem.measure("at_A", run * problem.table("is A", [site], [1.0, 0.0]))
    return problem


def test_the_largest_is_minimised_exactly(fleet: CoupledProblem) -> None:
    # 7 units on two sites: 3 | 2 + 2, the larger of which is 4.
    answer = optimize(fleet, objective="min_peak")
    assert answer.objective.value == 4
    assert answer.metrics["peak"] == 4


def test_one_objective_after_another(fleet: CoupledProblem) -> None:
    # Of the plans with peak 4, the cheaper has 4 units at A: 4 * 1 + 3 * 2 = 10 (the other 3 + 8 = 11).
    answer = optimize(fleet, objective=["min_peak", "min_cost"])
    assert answer.objective.value == 4
    assert numbers(answer, "peak", "cost") == (4, 10)
    # The other way round everything is at A: 7 USD, peak 7.
    answer = optimize(fleet, objective=["min_cost", "min_peak"])
    assert numbers(answer, "cost", "peak") == (7, 7)


def test_later_objectives_see_what_an_earlier_one_would_prune() -> None:
    # Two tuples that cost the same but differ in what is asked second.
    problem = CoupledProblem("ties")
    size = problem.choose("size", [1, 2, 3])
    run = problem.picks("run", [size])
    problem.measure("cost", run * problem.table("cost", [size], [5.0, 4.0, 4.0]))
    problem.measure("carbon", run * problem.table("carbon", [size], [1.0, 7.0, 3.0]))
    answer = optimize(problem, objective=["min_cost", "min_carbon"])
    assert answer.where("run") == [{"size": 3, "amount": 1}]


def test_weighted_sums_and_constraints_as_text(fleet: CoupledProblem) -> None:
    # Each job at B is worth 3 USD: a costs 3 more there (a tie), b and c 2 more: cost 11 - 6 = 5 with b, c at B.
    answer = optimize(fleet, objective="cost - 3 USD * at_B")
    assert answer.objective.value == pytest.approx(5)
    # Under a peak of 4 there are two plans: b and c at B (3 + 8 = 11, less 6) and a at B (4 + 6 = 10, less 3).
    assert optimize(fleet, objective="cost - 3 USD * at_B", constraints=["peak <= 4"]).objective.value == 5
    assert optimize(fleet, objective="cost - 3 USD * at_B", constraints=["peak <= 4", "at_B <= 1"]).objective.value == 7
    assert optimize(fleet, objective="maximize at_B", constraints=["8 USD <= cost <= 12 USD"]).objective.value == 2
    assert optimize(fleet, objective=lambda m: m.cost + m.peak * "1 USD").objective.value == 14  # 7 + 7, 10 + 4


def test_an_objective_that_cancels_to_nothing() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17 one after another and 0 rounded once: neither is wrong.
    problem = CoupledProblem("nothing")
    part = problem.choose("part", ["a", "b", "c"])
    x = problem.amounts("x", [part], whole=True, low=1, high=2)
    problem.measure("sum", x * problem.table("value", [part], [0.1, 0.2, -0.3]))
    problem.require("one each", x <= 3)
    answer = optimize(problem, objective="min_sum")
    assert answer.status == "optimal"
    assert answer.objective.value == pytest.approx(0, abs=1e-15)


def test_the_largest_of_written_sums(fleet: CoupledProblem) -> None:
    # max(at_A, 2 at_B): 3 | 0 gives 3, 2 | 1 gives 2, 1 | 2 gives 4.
    answer = optimize(fleet, objective="max(at_A, 2 * at_B)")
    assert answer.objective.value == 2
    assert numbers(answer, "at_A", "at_B") == (2, 1)


def test_the_smallest_of_written_sums_is_maximised(fleet: CoupledProblem) -> None:
    # min(at_A, 2 at_B): 3 | 0 gives 0, 2 | 1 gives 2, 1 | 2 gives 1, 0 | 3 gives 0.
    for text in ("maximize min(at_A, 2 * at_B)", "minimize max(-at_A, -2 * at_B)", "minimize -min(at_A, 2 * at_B)"):
        answer = optimize(fleet, objective=text)
        assert numbers(answer, "at_A", "at_B") == (2, 1), text
        assert abs(answer.objective.value or 0) == pytest.approx(2)
        assert answer.verify()["constraints_hold"]
    # three of them, one fixed: min(2, 2, 1.5)
    assert optimize(fleet, objective="maximize min(at_A, 2 * at_B, 1.5)").objective.value == pytest.approx(1.5)
    # held from below, the cheapest is b or c at B: 3 + 2 + 4 USD
    assert optimize(fleet, objective="min_cost", constraints=["min(at_A, 2 * at_B) >= 2"]).objective.value == 9
    assert optimize(fleet, objective=["maximize min(at_A, 2 * at_B)", "min_cost"]).metrics["cost"].m_as("USD") == 9
    # the other way round is no question of sums: an amount at most the smallest may be as small as you like
    with pytest.raises(
        InputError, match=r"the smallest of something \(min_1\) can be made large, or be limited from below"
    ):
        optimize(fleet, objective="minimize min(at_A, 2 * at_B)")
    with pytest.raises(InputError, match="not the other way round"):
        optimize(fleet, constraints=["min(at_A, at_B) <= 2"], objective="min_cost")
    with pytest.raises(InputError, match="max takes one argument or more, got 0"):
        optimize(fleet, objective="max()")


def test_a_front_of_the_smallest(fleet: CoupledProblem) -> None:
    # cost | min(at_A, 2 at_B): all at A 7 | 0, b at B 9 | 2; a at B costs 10 and is no better
    front = pareto(fleet, objectives=["min_cost", "maximize min(at_A, 2 * at_B)"])
    assert front.values == [[7, 0], [9, 2]]


def test_a_solver_of_whole_numbers_says_that_a_largest_is_none(fleet: CoupledProblem) -> None:
    with pytest.raises(InputError, match="the largest or smallest of several, as asked for, is none"):
        optimize(fleet, objective="max(at_A, 2 * at_B)", backend="cpsat")


def test_the_largest_of_negative_sums_is_negative() -> None:
    problem = CoupledProblem("below zero")
    site = problem.choose("site", ["A", "B"])
    x = problem.amounts("x", [site], low=-5, high=5)
    problem.require("total", x.equals(-7))
    problem.measure("most", Largest(x * 1, (site,)))
    # -7 split over two: the larger is -3.5 at best.
    assert optimize(problem, objective="min_most").objective.value == pytest.approx(-3.5)


def test_a_ratio_is_minimised_exactly() -> None:
    # Cost over output of the four plans of two jobs: (1 + 4) / (1 + 2), (1 + 9) / (1 + 6), (3 + 4) / (4 + 2),
    # (3 + 9) / (4 + 6) = 1.667, 1.429, 1.167, 1.2. The least numerator is 5, the largest divisor 10: neither is best.
    problem = CoupledProblem("ratio")
    job, size = problem.choose("job", ["a", "b"]), problem.choose("size", [1, 2])
    run = problem.picks("run", [job, size], for_each=[job])
    problem.measure("cost", run * problem.table("cost", [job, size], [[1.0, 3.0], [4.0, 9.0]], unit="USD"))
    problem.measure("output", run * problem.table("output", [job, size], [[1.0, 4.0], [2.0, 6.0]]))
    answer = optimize(problem, objective="cost / output")
    assert answer.objective.value == pytest.approx(7 / 6, rel=1e-12)
    assert answer.gap == 0
    best = optimize(problem, objective="maximize output / cost")
    assert best.objective.value == pytest.approx(6 / 7, rel=1e-12)
    assert best.amounts == answer.amounts
    # A limit on a ratio is linear: cost / output <= 1.3 leaves 7/6 and 12/10, of which the second has more output.
    most = optimize(problem, objective="max_output", constraints=["cost / output <= 1.3 USD"])
    assert most.objective.value == 10
    # And the ratio first, then something else among its ties.
    assert optimize(problem, objective=["cost / output", "max_output"]).metrics["output"] == 6


def test_a_ratio_leaves_out_tuples_without_a_numerator() -> None:
    # The second size has no cost; it would have the largest divisor.
    problem = CoupledProblem("ratio with gaps")
    size = problem.choose("size", [1, 2, 3])
    run = problem.picks("run", [size])
    problem.measure("cost", run * problem.table("cost", [size], [4.0, np.nan, 9.0]))
    problem.measure("output", run * problem.table("output", [size], [2.0, 50.0, 3.0]))
    answer = optimize(problem, objective="cost / output")
    assert answer.objective.value == 2
    assert answer.where("run") == [{"size": 1, "amount": 1}]
    assert answer.undefined == {"run": 1}


def test_plans_without_a_divisor_have_no_ratio() -> None:
    # Left alone, the second choice gains 4 for nothing; it does not count as a ratio. With the pick: (2 - 4) / 2.
    problem = CoupledProblem("nothing done")
    size, mode = problem.choose("size", [1, 2]), problem.choose("mode", ["off", "on"])
    run = problem.picks("run", [size], optional=True)
    gain = problem.picks("gain", [mode]) * problem.table("gain", [mode], [0.0, -4.0])
    problem.measure("cost", run * problem.table("cost", [size], [2.0, 5.0]) + gain)
    problem.measure("output", run * problem.table("output", [size], [2.0, 4.0]))
    answer = optimize(problem, objective="cost / output")
    assert answer.objective.value == -1
    assert answer.status == "optimal"


def test_a_ratio_without_a_bound_is_refused() -> None:
    # Cost 1 for anything, output as small as you like: with cost at -1 there is no least ratio.
    problem = CoupledProblem("as near as you like")
    x = problem.amounts("x", [], high=2)
    problem.measure("cost", x - 1)
    problem.measure("output", x)
    with pytest.raises(InputError, match="as near to it as you like"):
        optimize(problem, objective="cost / output")
    assert optimize(problem, objective="cost / output", constraints=["output >= 0.5"]).objective.value == -1


def test_a_ratio_by_what_is_always_zero_is_refused() -> None:
    problem = CoupledProblem("by zero")
    x = problem.amounts("x", [], high=1)
    y = problem.amounts("y", [], high=0)
    problem.measure("x", x)
    problem.measure("y", y)
    with pytest.raises(InputError, match="divides by a sum that is zero"):
        optimize(problem, objective="minimize x / y")


def test_a_ratio_by_what_may_be_negative_is_refused() -> None:
    problem = CoupledProblem("by a negative")
    x = problem.amounts("x", [], low=1, high=2)
    y = problem.amounts("y", [], low=-1, high=3)
    problem.measure("x", x)
    problem.measure("y", y)
    with pytest.raises(InputError, match="may be negative"):
        optimize(problem, objective="minimize x / y")
