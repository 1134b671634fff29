"""Each form of relation on an example small enough to be worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize import CoupledProblem, PlanSolution, optimize
from mlsysim_opt.optimize.coupled.totals import Place


def amounts(answer: PlanSolution, family: str, *axes: str) -> dict[Any, float]:
    """The amounts of a family by their place."""
    return {
        tuple(row[axis] for axis in axes) if len(axes) > 1 else row[axes[0]]: round(row["amount"], 6)
        for row in answer.amounts[family]
    }


def test_each_makes_one_row_per_tuple() -> None:
    # Demand 3 and 5 at two sites; servers cost 2 and 1. One row per site: 3 * 2 + 5 * 1 = 11.
    # One row for all would put everything where it is cheap: 8 * 1 = 8.
    def made(*, each: bool) -> float:
        problem = CoupledProblem("sites")
        site = problem.choose("site", ["A", "B"])
        servers = problem.amounts("servers", [site], whole=True)
        demand = problem.table("demand", [site], [3.0, 5.0])
        if each:
            problem.require("demand", servers >= demand, each=[site])
        else:
            problem.require("demand", servers >= 8)
        problem.measure("cost", servers * problem.table("price", [site], [2.0, 1.0]))
        return optimize(problem, objective="min_cost").objective.value

    assert made(each=True) == 11
    assert made(each=False) == 8


def test_when_leaves_rows_out() -> None:
    # Only hours from 2 on need 4 units: of three hours two have a row, 8 in all.
    problem = CoupledProblem("late")
    hour = problem.choose("hour", [1, 2, 3])
    x = problem.amounts("x", [hour])
    problem.require("enough", x >= 4, each=[hour], when=hour >= 2)
    problem.measure("total", x)
    answer = optimize(problem, objective="min_total")
    assert amounts(answer, "x", "hour") == {2: 4, 3: 4}


def test_at_says_where_along_the_rows_an_amount_stands() -> None:
    # Shipments from site to site: what arrives is counted by its destination. A has 5, needs 2; B needs 3, has none.
    # The cheapest: 2 stay in A for nothing, 3 go to B at 7 each: 21.
    problem = CoupledProblem("ship")
    source, target = problem.choose("source", ["A", "B"]), problem.choose("target", ["A", "B"])
    ship = problem.amounts("ship", [source, target])
    site = problem.choose("site", ["A", "B"])
    have, need = problem.table("have", [site], [5.0, 0.0]), problem.table("need", [site], [2.0, 3.0])
    problem.require("stock", ship.total(at={site: source}) <= have, each=[site])
    problem.require("need", ship.total(at={site: Place(target)}) >= need, each=[site])
    problem.measure("cost", ship * problem.table("fare", [source, target], [[0.0, 7.0], [7.0, 0.0]]))
    answer = optimize(problem, objective="min_cost")
    assert amounts(answer, "ship", "source", "target") == {("A", "A"): 2, ("A", "B"): 3}
    assert answer.objective.value == pytest.approx(21, abs=1e-9)


def battery(*, wrap: bool) -> CoupledProblem:
    """Three hours, prices 1, 5, 9; demand 2 each; a store. stock(h) - stock(h-1) = bought(h) - 2."""
    problem = CoupledProblem("battery")
    hour = problem.choose("hour", [1, 2, 3])
    bought = problem.amounts("bought", [hour], high=6)
    stock = problem.amounts("stock", [hour], high=3)
    before = stock.total().shifted(hour, 1, wrap=wrap)
    problem.require("balance", (stock - before - bought).equals(-2), each=[hour], structural=True)
    problem.measure("cost", bought * problem.table("price", [hour], [1.0, 5.0, 9.0]))
    problem.measure("stored", stock)
    return problem


def test_shifted_rows_beyond_the_end_are_left_out() -> None:
    # Hour 1: buy 2 + 3 to fill the store (5 at 1). Hour 2: use 2 of the store, buy 1 so that hour 3 has 2: 1 at 5.
    # Hour 3: the store covers it. 5 + 5 = 10.
    answer = optimize(battery(wrap=False), objective="min_cost")
    assert amounts(answer, "bought", "hour") == {1: 5, 2: 1}
    assert amounts(answer, "stock", "hour") == {1: 3, 2: 2}
    assert answer.objective.value == pytest.approx(10, abs=1e-9)


def test_wrapped_rows_make_a_circle() -> None:
    # Nothing is gained by the circle, as stock at the end would have to be bought at 9 or 5 for an hour at 1; but a
    # requirement of 1 in stock after hour 3 is now paid back in hour 1: 4 bought there, 2 at 5: 4 + 10 = 14, not 15.
    for wrap, cost in ((True, 14), (False, 15)):
        problem = battery(wrap=wrap)
        hour = problem.decisions["hour"].choice
        problem.require("end", problem.families["stock"] >= 1, each=[hour], when=hour >= 3)
        answer = optimize(problem, objective="min_cost")
        assert answer.objective.value == pytest.approx(cost, abs=1e-9), wrap


def test_spread_coefficients_depend_on_axes_of_rows_that_the_family_lacks() -> None:
    # A job started at s runs two hours: it loads hours s and s+1. Two jobs, capacity one per hour, prices 1..4 by
    # start: the starts must be two apart; the cheapest are 1 and 3 (1 + 3 = 4).
    problem = CoupledProblem("starts")
    job = problem.choose("job", ["a", "b"])
    begin, hour = problem.choose("begin", [1, 2, 3, 4]), problem.choose("hour", [1, 2, 3, 4, 5])
    run = problem.picks("run", [job, begin], for_each=[job])
    load = problem.table("load", [begin, hour], [[float(b <= h <= b + 1) for h in range(1, 6)] for b in range(1, 5)])
    problem.require("capacity", run * load <= 1, each=[hour])
    problem.measure("cost", run * begin)
    answer = optimize(problem, objective="min_cost")
    assert sorted(amounts(answer, "run", "job", "begin")) in ([("a", 1), ("b", 3)], [("a", 3), ("b", 1)])
    assert answer.objective.value == 4


def test_a_family_without_an_axis_of_the_rows_stands_in_all_of_them() -> None:
    # A pool of x serves both sites, each needs 3 less what it has itself: y(A) <= 1, y(B) <= 2.
    # min x + 10 y: x = 3 covers both alone.
    problem = CoupledProblem("pool")
    site = problem.choose("site", ["A", "B"])
    pool = problem.amounts("pool", [])
    own = problem.amounts("own", [site], high=problem.table("limit", [site], [1.0, 2.0]))
    problem.require("need", pool + own >= 3, each=[site])
    problem.measure("cost", pool.total() + own * 10)
    assert optimize(problem, objective="min_cost").objective.value == pytest.approx(3)
    # At 0.1 for each own unit, A can spare the pool one unit only: 2 + 0.1 + 0.1 = 2.2.
    problem.measure("cheap", pool.total() + own * 0.1)
    assert optimize(problem, objective="min_cheap").objective.value == pytest.approx(2.2)


def test_one_family_twice_in_a_row_is_added_up() -> None:
    # 2 x + x - 4 x = -x >= -3: x is 3 at most.
    problem = CoupledProblem("twice")
    x = problem.amounts("x", [])
    problem.require("limit", x * 2 + x - x * 4 >= -3)
    problem.measure("x", x)
    assert optimize(problem, objective="max_x").objective.value == pytest.approx(3)


def test_infinite_limits_make_no_rows() -> None:
    problem = CoupledProblem("unlimited")
    site = problem.choose("site", ["A", "B"])
    x = problem.amounts("x", [site], high=10)
    problem.require("limit", x <= problem.table("limit", [site], [4.0, np.inf]), each=[site])
    problem.measure("total", x)
    answer = optimize(problem, objective="max_total")
    assert answer.objective.value == pytest.approx(14)


def test_a_row_without_amounts_still_has_to_hold() -> None:
    # Nothing stands in the second row, which asks for one.
    problem = CoupledProblem("empty row")
    site = problem.choose("site", ["A", "B"])
    x = problem.amounts("x", [site])
    problem.require("need", x * problem.table("works", [site], [1.0, 0.0]) >= 1, each=[site])
    problem.measure("total", x)
    with pytest.raises(InfeasibleError) as found:
        optimize(problem, objective="min_total")
    assert found.value.conflict == ("need",)


@pytest.mark.parametrize(("relation", "best"), [("<=", 7), (">=", 8), ("==", 7)])
def test_senses(relation: str, best: float) -> None:
    # x of 3 a + 4 b, a and b whole: at most 7.5 -> 7 (maximised); at least 7.5 -> 8 (minimised); exactly 7 -> 7.
    problem = CoupledProblem("senses")
    a, b = problem.amounts("a", [], whole=True, high=9), problem.amounts("b", [], whole=True, high=9)
    total = a * 3 + b * 4
    problem.measure("x", total)
    problem.require("limit", {"<=": total <= 7.5, ">=": total >= 7.5, "==": total.equals(7)}[relation])
    assert optimize(problem, objective="max_x" if relation == "<=" else "min_x").objective.value == best
