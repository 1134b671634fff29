"""Where solvers are known to call something optimal that is not: an answer is right, or it is refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlsysim_opt.errors import (
    InfeasibleError,
    InputError,
    LimitReachedError,
    MlsysimError,
    ScaleError,
    VerificationError,
)
from mlsysim_opt.optimize import CoupledProblem, Progress, optimize
from mlsysim_opt.optimize.backends.highs import HighsProgram, Result

REFUSED = (ScaleError, VerificationError)
SOLVERS = ("milp", "pyomo", "cpsat")


def opened_for_three(large: float, *, whole: bool) -> CoupledProblem:
    """Three servers, at 1 each, in a region that is opened for 100,000; so many of them at most."""
    problem = CoupledProblem("trickle")
    servers = problem.amounts("servers", [], whole=whole)
    opened = problem.amounts("opened", [], whole=True, high=1)
    problem.require("only where opened", servers <= opened * large)
    problem.require("demand", servers >= 3)
    problem.measure("cost", servers * 1 + opened * 100_000)
    return problem


@pytest.mark.parametrize("large", [1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e12])
@pytest.mark.parametrize("whole", [True, False])
def test_a_big_number_does_not_let_things_trickle_through(large: float, whole: bool) -> None:
    # Three servers need an opened region, at 100,000 and 1 each: 100,003. At 1e7 a solver's own tolerance lets
    # open = 3e-7 pass for zero and says 3.03.
    problem = opened_for_three(large, whole=whole)
    try:
        answer = optimize(problem, objective="min_cost")
    except REFUSED:
        assert large >= 1e9
        return
    assert answer.objective.value == pytest.approx(100_003, rel=1e-9)
    assert answer.amounts["opened"][0]["amount"] == 1
    assert answer.amounts["servers"][0]["amount"] == pytest.approx(3, rel=1e-7)


@pytest.mark.parametrize("backend", SOLVERS)
def test_whole_amounts_come_back_whole(backend: str) -> None:
    problem = CoupledProblem("thirds")
    part = problem.choose("part", range(6))
    x = problem.amounts("x", [part], whole=True, high=50)
    problem.require(
        "sum", (x * problem.table("share", [part], [1 / 3, 2 / 3, 1 / 7, 2 / 7, 1 / 9, 0.1])).equals(31 / 3)
    )
    problem.measure("cost", x * problem.table("cost", [part], [3.1, 6.3, 1.2, 2.2, 1.0, 0.95]))
    answer = optimize(problem, objective="min_cost", backend=backend)
    assert all(isinstance(row["amount"], int) for row in answer.amounts["x"])
    answer.verify()


@pytest.mark.parametrize("backend", SOLVERS)
@pytest.mark.parametrize("scale", [1e-15, 1e-9, 1.0, 1e9, 1e15, 1e24])
def test_units_of_any_size_change_nothing(backend: str, scale: float) -> None:
    # A knapsack in which rounding to 1e-6 of the largest would decide otherwise: weights 1, 2, 3.000003; room 5.
    problem = CoupledProblem("knapsack")
    thing = problem.choose("thing", ["a", "b", "c"])
    x = problem.amounts("x", [thing], whole=True, high=1)
    weight = problem.table("weight", [thing], np.array([1.0, 2.0, 3.000003]) * scale)
    problem.require("room", x * weight <= 5 * scale)
    problem.measure("gain", x * problem.table("gain", [thing], np.array([1.0, 2.5, 3.0]) * scale))
    answer = optimize(problem, objective="max_gain", backend=backend)
    # b + c weighs 5.000003: too much. a + c gains 4.
    assert answer.objective.value == pytest.approx(4 * scale, rel=1e-12)


@pytest.mark.parametrize("backend", SOLVERS)
def test_small_differences_of_large_numbers_decide(backend: str) -> None:
    # Of 2^12 plans, costs of about 1e12 USD that differ by 1e-9 of that and less; carbon of about 1e-9 kg is limited.
    dice = np.random.default_rng(7)
    cost = 1e12 * (1 + 1e-8 * dice.uniform(size=(12, 2)))
    carbon = 1e-9 * dice.uniform(1, 2, size=(12, 2))
    limit = 12 * 1.45e-9
    problem = CoupledProblem("ill-scaled")
    job, way = problem.choose("job", range(12)), problem.choose("way", [0, 1])
    run = problem.picks("run", [job, way], for_each=[job])
    problem.measure("cost", run * problem.table("cost", [job, way], cost, "USD"), unit="USD")
    problem.measure("carbon", run * problem.table("carbon", [job, way], carbon, "kgCO2e"), unit="kgCO2e")
    answer = optimize(problem, objective="min_cost", constraints=[f"carbon <= {limit!r} kgCO2e"], backend=backend)
    best = min(
        math.fsum(cost[at, pick] for at, pick in enumerate(plan))
        for plan in itertools.product((0, 1), repeat=12)
        if math.fsum(carbon[at, pick] for at, pick in enumerate(plan)) <= limit
    )
    assert answer.objective.value == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("limit", [1e-12, 1e-9, 1.0, 1e12, 1e25])
def test_limits_of_any_size_on_continuous_amounts(limit: float) -> None:
    # Two parts share a limit; one gains twice as much, up to 0.6 of the limit: 0.6 * 2 + 0.4.
    problem = CoupledProblem("limits")
    part = problem.choose("part", ["a", "b"])
    x = problem.amounts("x", [part], high=problem.table("most", [part], [np.inf, 0.6 * limit]))
    problem.require("limit", x <= limit)
    problem.measure("gain", x * problem.table("gain", [part], [1.0, 2.0]))
    assert optimize(problem, objective="max_gain").objective.value == pytest.approx(1.6 * limit, rel=1e-7)


@pytest.mark.parametrize("small", [1e-10, 1e-14, 1e-18])
def test_a_coefficient_that_a_solver_would_drop_is_kept_or_refused(small: float) -> None:
    # Where a is one, small * b must reach small * 3: b = 3. A solver that drops the coefficient says b = 0.
    problem = CoupledProblem("dropped")
    a, b = problem.amounts("a", [], whole=True, high=1), problem.amounts("b", [], whole=True, high=9)
    problem.require("either", a * 1.0 + b * small >= 3 * small)
    problem.require("not a", a <= 0)
    problem.measure("b", b)
    try:
        assert optimize(problem, objective="min_b").objective.value == 3
    except REFUSED:
        assert small <= 1e-10


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("backend", SOLVERS)
def test_numbers_that_are_none_never_reach_a_solver(number: float, backend: str) -> None:
    # Such a tuple is left out (NaN) or refused (infinite); the answer is never worth NaN.
    problem = CoupledProblem("no number")
    size = problem.choose("size", [1, 2])
    run = problem.picks("run", [size])
    problem.measure("cost", run * problem.table("cost", [size], [number, 5.0]))
    try:
        answer = optimize(problem, objective="min_cost", backend=backend)
    except REFUSED:
        assert math.isinf(number)
        return
    assert answer.objective.value == 5


def test_cpsat_says_what_it_cannot_hold() -> None:
    problem = CoupledProblem("amounts")
    flow = problem.amounts("flow", [], high=3)
    problem.measure("flow_sum", flow)
    with pytest.raises(InputError, match=r"whole numbers only, and these are not: flow"):
        optimize(problem, objective="max_flow_sum", backend="cpsat")
    wide = CoupledProblem("wide")
    part = wide.choose("part", range(40))
    x = wide.amounts("x", [part], whole=True, high=1e15)
    wide.require("sum", x * wide.table("n", [part], np.linspace(1, 2, 40)) <= 1e15)
    wide.measure("total", x)
    with pytest.raises(ScaleError, match="int64"):
        optimize(wide, objective="max_total", backend="cpsat")
    endless = CoupledProblem("endless")
    y = endless.amounts("y", [], whole=True)
    endless.measure("total", y)
    with pytest.raises(ScaleError, match="no upper bound"):
        optimize(endless, objective="max_total", backend="cpsat")
    # nothing needs any of it, and it costs: that is a bound
    assert optimize(endless, objective="min_total", backend="cpsat").objective.value == 0


@pytest.mark.parametrize("backend", SOLVERS)
def test_limits_that_just_hold_in_decimal_hold(backend: str) -> None:
    # 0.1 + 0.2 is 0.30000000000000004 in floats, and 0.3 is the limit.
    problem = CoupledProblem("decimal")
    part = problem.choose("part", ["a", "b"])
    x = problem.amounts("x", [part], whole=True, high=1)
    problem.require("limit", x * problem.table("n", [part], [0.1, 0.2]) <= 0.3)
    problem.measure("total", x)
    assert optimize(problem, objective="max_total", backend=backend).objective.value == 2


def test_what_a_solver_calls_optimal_within_its_tolerance_is_proven_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # A solver whose bound stays a millionth below its best: that nothing lies between is asked of it once more.
    solve, asked = HighsProgram.solve, []

    def blurred(self: HighsProgram, **how: Any) -> Result:
        asked.append(self.program.rows)
        found = solve(self, **how)
        return found if found.x is None else replace(found, bound=found.bound - 1e-6 * abs(found.bound))

    monkeypatch.setattr(HighsProgram, "solve", blurred)
    problem = CoupledProblem("blurred")
    part = problem.choose("part", range(8))
    x = problem.amounts("x", [part], whole=True, high=1)
    problem.require("enough", x * problem.table("n", [part], [3.0, 5, 7, 11, 13, 17, 19, 23]) >= 41)
    problem.measure("cost", x * problem.table("cost", [part], [3.2, 5.1, 7.3, 11.2, 13.4, 17.1, 19.5, 23.3]))
    answer = optimize(problem, objective="min_cost")
    assert answer.status == "optimal"
    assert answer.gap is not None
    assert answer.gap <= 1e-9
    assert asked == [1, 2]


def hard() -> CoupledProblem:
    """A market split: equalities that branch and bound takes long for."""
    dice = np.random.default_rng(3)
    problem = CoupledProblem("market split")
    item, row = problem.choose("item", range(40)), problem.choose("row", range(5))
    weight = dice.integers(0, 100, (5, 40)).astype(float)
    x = problem.amounts("x", [item], whole=True, high=1)
    over, under = problem.amounts("over", [row]), problem.amounts("under", [row])
    share = problem.table("half", [row], np.floor(weight.sum(axis=1) / 2))
    problem.require("split", (x * problem.table("w", [row, item], weight) + over - under).equals(share), each=[row])
    problem.measure("off", over + under)
    return problem


def test_a_time_limit_gives_what_is_held_with_its_gap_or_says_that_there_is_nothing() -> None:
    try:
        answer = optimize(hard(), objective="min_off", time_limit=0.5)
    except LimitReachedError:
        return
    assert answer.status == "feasible"
    assert answer.bound is not None
    assert answer.bound.value is not None
    assert answer.bound.value <= answer.objective.si
    answer.verify()


def test_progress_is_told_and_may_stop_the_search() -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> bool:
        seen.append(progress)
        return progress.incumbent is not None

    answer = optimize(hard(), objective="min_off", progress=watch, time_limit=20)
    assert seen
    assert answer.status == "feasible"
    answer.verify()


def test_a_solver_that_pyomo_does_not_find_is_named() -> None:
    problem = hard()
    with pytest.raises(MlsysimError, match="no solver 'nosuch'"):
        optimize(problem, objective="min_off", backend="pyomo:nosuch")


def test_infeasible_by_all_backends() -> None:
    problem = CoupledProblem("none")
    x = problem.amounts("x", [], whole=True, high=3)
    problem.measure("x", x)
    for backend in SOLVERS:
        with pytest.raises(InfeasibleError) as found:
            optimize(problem, objective="min_x", constraints=["x >= 4"], backend=backend)
        assert found.value.conflict == ("x >= 4",)


# without plans, or not quite ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("large", [1e5, 1e6, 1e7, 1e8])
@pytest.mark.parametrize("backend", ["milp", "pyomo"])
def test_what_is_closed_stays_infeasible(large: float, backend: str) -> None:
    # At a solver's own tolerance three servers stand in a region that is opened by 3e-7.
    problem = opened_for_three(large, whole=True)
    with pytest.raises(InfeasibleError):
        optimize(problem, objective="min_cost", constraints=["cost <= 99999"], backend=backend)


@pytest.mark.parametrize("backend", ["milp", "pyomo"])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e6, 1e8])
def test_an_odd_difference_of_an_even_sum_stays_infeasible(size: float, backend: str) -> None:
    # x + y = size and x - y = 1 have no whole numbers where size is even.
    problem = CoupledProblem("odd")
    x, y = (problem.amounts(name, [], whole=True, high=size) for name in "xy")
    problem.require("sum", (x + y).equals(size))
    problem.require("difference", (x * 0.1 - y * 0.1).equals(0.1))
    problem.measure("cost", x + y)
    with pytest.raises(InfeasibleError):
        optimize(problem, objective="min_cost", backend=backend)


@pytest.mark.parametrize("backend", ["milp", "pyomo"])
def test_large_whole_amounts_that_meet_equations_are_a_plan(backend: str) -> None:
    # Solved for one another in floating-point numbers, amounts of 1e6 are whole to 1e-9 or so: the tolerance itself.
    plan = np.array([391084.0, 437881.0, 372748.0])
    weights = np.array([[0.7, 0.3, 3.0], [0.3, 0.7, 1 / 7], [1.1, 1 / 7, 1.1]])
    problem = CoupledProblem("large")
    row, item = problem.choose("row", range(3)), problem.choose("item", range(3))
    x = problem.amounts("x", [item], whole=True, high=3e6)
    limits = [math.fsum(line) for line in (weights * plan).tolist()]
    total = x * problem.table("weight", [row, item], weights)
    problem.require("balance", (total - problem.table("limit", [row], limits)).equals(0), each=[row])
    problem.measure("cost", x)
    answer = optimize(problem, objective="min_cost", backend=backend)
    assert [entry["amount"] for entry in answer.amounts["x"]] == plan.tolist()


@pytest.mark.parametrize("backend", ["milp", "pyomo"])
def test_an_equation_that_leaves_digits_to_the_others(backend: str) -> None:
    # x = (288400.1614 - 700 * 412) / 3e-4: the rounding of the sum, 5e-11, moves x by 2e-7 and the third sum by 2e-5.
    problem = CoupledProblem("digits")
    x, y = (problem.amounts(name, [], whole=True, high=3000) for name in "xy")
    problem.require("first", (y * 200).equals(200 * 412))
    problem.require("second", (x * 3e-4 + y * 700).equals(3e-4 * 538 + 700 * 412))
    problem.require("third", (y * 0.0157819825 - x * 100).equals(0.0157819825 * 412 - 100 * 538))
    problem.measure("cost", x + y)
    answer = optimize(problem, objective="min_cost", backend=backend)
    assert (answer.amounts["x"][0]["amount"], answer.amounts["y"][0]["amount"]) == (538, 412)


# whole costs beyond what solvers tell apart ---------------------------------------------------------------------------
def nearly_alike(base: float, *, picked: bool) -> CoupledProblem:
    """Three jobs, each at one of three costs that differ in the last digits; they weigh 1, 2 and 3."""
    problem = CoupledProblem("alike")
    job, way = problem.choose("job", ["a", "b", "c"]), problem.choose("way", ["x", "y", "z"])
    if picked:
        run = problem.picks("run", [job, way], for_each=[job])
    else:
        run = problem.amounts("run", [job, way], whole=True, high=1)
        problem.require("each", run >= 1, each=[job])
    problem.measure("cost", run * problem.table("cost", [way], [base + 1, base + 2, base + 5]))
    problem.measure("weight", run * problem.table("weight", [way], [1, 2, 3]))
    return problem


@pytest.mark.parametrize("backend", SOLVERS)
@pytest.mark.parametrize("base", [1e12, 3e13, 3e15])
@pytest.mark.parametrize("picked", [True, False])
def test_costs_that_differ_in_their_last_digits(base: float, backend: str, picked: bool) -> None:
    # a weight of 5 costs least as 1 + 2 + 2: three times the base, and 1 + 2 + 2
    answer = optimize(
        nearly_alike(base, picked=picked), objective="min_cost", constraints=["weight >= 5"], backend=backend
    )
    best = 3 * base + 5
    assert answer.objective.value is not None
    assert answer.gap is not None
    if picked:  # what they have in common is counted apart
        assert answer.gap == 0
    assert (1 - answer.gap) * answer.objective.value <= best <= answer.objective.value
    assert answer.gap <= 1e-12
    if answer.gap:
        assert "told apart" in answer.certificate.proof


@pytest.mark.parametrize("seed", range(30))
def test_a_plan_is_as_near_to_the_best_as_it_says(seed: int) -> None:
    # jobs of whole costs that are far beyond 2^53 in all, which Python's whole numbers add up exactly
    dice = np.random.default_rng(seed)
    costs = [[int(item) for item in row] for row in 10**15 + dice.integers(0, 10 ** int(dice.integers(1, 15)), (6, 4))]
    weights = [[int(item) for item in row] for row in dice.integers(0, 9, (6, 4))]
    problem = CoupledProblem("large")
    job, way = problem.choose("job", range(6)), problem.choose("way", range(4))
    run = problem.picks("run", [job, way], for_each=[job])
    problem.measure("cost", run * problem.table("cost", [job, way], costs))
    problem.measure("weight", run * problem.table("weight", [job, way], weights))
    heavy = 30
    ways = itertools.product(range(4), repeat=6)
    sums = [
        (sum(costs[at][one] for at, one in enumerate(each)), sum(weights[at][one] for at, one in enumerate(each)))
        for each in ways
    ]
    possible = [cost for cost, weight in sums if weight >= heavy]
    if not possible:
        return
    answer = optimize(problem, objective="min_cost", constraints=[f"weight >= {heavy}"])
    held = sum(costs[row["job"]][row["way"]] for row in answer.amounts["run"])
    assert answer.gap is not None
    assert held - min(possible) <= answer.gap * held + math.ulp(held)
