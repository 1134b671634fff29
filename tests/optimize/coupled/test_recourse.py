"""What is decided once the scenario is known: two-stage plans against counting, with a linear program per scenario."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.optimize import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Total

MEASURES = ("worst_case", "expected", "cvar", "regret")
ALPHA, SHARES = 0.6, (0.2, 0.5, 0.3)
SITES, TOWNS, MOST = 2, 2, 3


def depots(numbers: dict[str, Any], **bounds: Any) -> CoupledProblem:
    """Lorries are bought for each site; what they carry to which town is decided once the demand is known."""
    made = CoupledProblem("depots", default_objective="min_cost")
    site, town = made.choose("site", ["north", "south"]), made.choose("town", ["A", "B"])
    high = made.table("most", [site], numbers.get("most", [MOST] * SITES))
    lorries = made.amounts("lorries", [site], whole=True, high=high)
    carried = made.amounts("carried", [site, town], later=True, **bounds)
    bought = made.amounts("bought", [town], later=True)
    demand = made.table("demand", [town], numbers["demand"])
    made.require("all is brought", carried.total() + bought.total() >= Total((), demand), each=[town], structural=True)
    made.require("lorries carry it", carried.total() - lorries * 2 <= 0, each=[site], structural=True)
    fixed = lorries * made.table("lorry", [site], numbers["lorry"])
    way = carried * made.table("way", [site, town], numbers["way"])
    made.measure("cost", fixed + way + bought * made.table("shop", [town], numbers["shop"]))
    made.measure("bought_in_all", bought.total())
    made.measure("driven", carried * made.table("distance", [site, town], numbers["distance"]))
    made.measure("most_at_a_site", Largest(carried.total(), (site,)))
    return made


def numbers_of(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    dice = np.random.default_rng(seed)
    numbers = {"demand": dice.uniform(0, 5, TOWNS), "lorry": dice.uniform(1, 4, SITES),
               "way": dice.uniform(0.5, 2, (SITES, TOWNS)), "shop": dice.uniform(2, 6, TOWNS),
               "distance": dice.uniform(1, 3, (SITES, TOWNS))}  # fmt: skip
    changed = [{"demand": dice.uniform(0, 5, TOWNS)}, {"way": dice.uniform(0.5, 2, (SITES, TOWNS))},
               {"demand": dice.uniform(2, 7, TOWNS), "shop": dice.uniform(2, 6, TOWNS)}]  # fmt: skip
    return numbers, changed


def least(numbers: dict[str, Any], lorries: tuple[int, ...], driven: float = np.inf) -> float | None:
    """Return what it costs at least to serve a scenario with these lorries: the linear program, written out.

    Columns: carried (north A, north B, south A, south B), bought (A, B).
    """
    costs = [*np.ravel(numbers["way"]), *numbers["shop"]]
    rows = [[-1, 0, -1, 0, -1, 0], [0, -1, 0, -1, 0, -1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]
    limits = [*(-np.asarray(numbers["demand"])), *(2 * np.asarray(lorries))]
    if np.isfinite(driven):
        rows.append([*np.ravel(numbers["distance"]), 0, 0])
        limits.append(driven)
    found = linprog(costs, A_ub=rows, b_ub=limits)
    return float(found.fun + np.dot(numbers["lorry"], lorries)) if found.status == 0 else None


def measured(losses: list[float], best: list[float], measure: str) -> float:
    if measure == "worst_case":
        return max(losses)
    if measure == "regret":
        return max(loss - one for loss, one in zip(losses, best, strict=True))
    if measure == "expected":
        return float(np.dot(losses, SHARES))
    left, total = 1 - ALPHA, 0.0  # the mean of the worst share, the last scenario in part
    for loss, share in sorted(zip(losses, SHARES, strict=True), reverse=True):
        taken = min(share, left)
        total, left = total + taken * loss, left - taken
    return total / (1 - ALPHA)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("seed", range(4))
def test_two_stages_are_those_of_counting(seed: int, measure: str) -> None:
    numbers, changed = numbers_of(seed)
    every = list(itertools.product(range(MOST + 1), repeat=SITES))
    losses = {plan: [least({**numbers, **item}, plan) or np.nan for item in changed] for plan in every}
    best = [min(row[at] for row in losses.values()) for at in range(len(changed))]
    values = {plan: measured(row, best, measure) for plan, row in losses.items()}
    shares = SHARES if measure in ("expected", "cvar") else None
    found = mo.optimize(
        depots(numbers), scenarios=changed, robust=measure, alpha=ALPHA if measure == "cvar" else None, shares=shares
    )
    assert found.objective.value == pytest.approx(min(values.values()), rel=1e-7, abs=1e-9)
    by_site = {row["site"]: row["amount"] for row in found.amounts["lorries"]}
    plan = (by_site.get("north", 0), by_site.get("south", 0))
    assert values[plan] == pytest.approx(min(values.values()), rel=1e-7, abs=1e-9)
    report = found.robustness
    assert report is not None
    # in every scenario what is decided later is the best of it, not in the worst alone
    assert [item.value for item in report.values] == pytest.approx(losses[plan], rel=1e-6)
    nominal = min(least(numbers, item) or np.nan for item in every)
    assert report.nominal is not None
    assert report.nominal.value == pytest.approx(nominal, rel=1e-7)
    assert report.of_robust is not None
    assert report.of_robust.value == pytest.approx(least(numbers, plan), rel=1e-7)  # served anew, as given
    assert found.verify()["constraints_hold"]
    assert set(found.amounts) > {"lorries", "carried [scenario 1]", "bought [scenario 3]"}
    assert "differs by scenario" in found.metrics.unavailable["driven"]
    alone = [mo.optimize(depots({**numbers, **item})).objective.value for item in changed]
    assert alone == pytest.approx(best, rel=1e-7)


# 0 and 2 take minutes: many plans cost the same there. 4: more is asked for than all lorries carry.
@pytest.mark.parametrize("seed", [1, 3, 4, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 2))])
def test_limits_of_what_follows_hold_in_each_scenario(seed: int) -> None:
    numbers, changed = numbers_of(seed)
    every = list(itertools.product(range(MOST + 1), repeat=SITES))
    asked = mo.optimize(depots(numbers), scenarios=changed)
    steps = asked.marginal("driven <= 100", [8.0, 3.0])
    for limit, value in zip((8.0, 3.0), steps.values, strict=True):
        rows = ([least({**numbers, **item}, plan, limit) for item in changed] for plan in every)
        expected = min(max(row) for row in rows if None not in row)  # type: ignore[type-var]
        assert value is not None
        assert value.value == pytest.approx(expected, rel=1e-7)
    # nothing is bought where lorries carry all that the worst scenario asks for
    need = max(float(np.sum(item.get("demand", numbers["demand"]))) for item in changed)
    room = 2 * MOST * SITES
    if need <= room:
        assert mo.optimize(depots(numbers), objective="min_bought_in_all", scenarios=changed).objective.value == 0
        return
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(depots(numbers), scenarios=changed, constraints=["bought_in_all <= 0"])
    assert caught.value.relaxations[0].amount is not None
    assert caught.value.relaxations[0].amount.value == pytest.approx(need - room, rel=1e-7)


def by_hand() -> tuple[CoupledProblem, dict[str, Any]]:
    """Lorries cost 3 in the north and 5 in the south, ways 1, shops 10; the demand is 2 and 2."""
    numbers = {"demand": [2, 2], "lorry": [3, 5], "way": [[1, 1], [1, 1]], "shop": [10, 10],
               "distance": [[1, 4], [4, 1]]}  # fmt: skip
    return depots(numbers), numbers


def test_one_scenario_is_the_plain_problem() -> None:
    problem, _ = by_hand()
    # two lorries of the north, four ways
    assert mo.optimize(problem).objective.value == 2 * 3 + 4
    assert mo.optimize(problem, scenarios=[{}]).objective.value == 10
    # a demand of 4 and 0 takes the same lorries, and another way
    found = mo.optimize(problem, scenarios=[{}, {"demand": [4, 0]}])
    assert found.objective.value == 10
    assert found.where("carried [scenario 2]") == [{"site": "north", "town": "A", "amount": 4.0}]
    stored = mo.PlanSolution.from_json(found.to_json())
    assert stored.amounts == found.amounts
    assert found.what_if(constraints=["bought_in_all <= 1"]).objective.value == 10
    # the largest over sites: 2 each at best, though the north alone would be cheaper
    spread = mo.optimize(problem, objective="min_most_at_a_site", scenarios=[{}, {"demand": [4, 0]}],
                         constraints=["bought_in_all <= 0"])  # fmt: skip
    assert spread.objective.value == pytest.approx(2)


def test_bounds_of_what_is_decided_before_are_those_of_all_scenarios() -> None:
    problem, _ = by_hand()
    # one lorry of the north in one scenario, none of the south in another: 2 carried, 2 bought
    found = mo.optimize(problem, scenarios=[{"most": [1, 3]}, {"most": [3, 0]}])
    assert found.objective.value == 3 + 2 + 2 * 10
    assert [(row["site"], row["amount"]) for row in found.amounts["lorries"]] == [("north", 1)]
    assert mo.optimize(problem, scenarios=[{"most": [1, 3]}]).objective.value == 3 + 5 + 4


def test_bounds_of_what_is_decided_later_are_those_of_its_scenario() -> None:
    problem, _ = by_hand()
    numbers = {"demand": [2, 2], "lorry": [3, 5], "way": [[1, 1], [1, 1]], "shop": [10, 10],
               "distance": [[1, 4], [4, 1]]}  # fmt: skip
    site, town = problem.decisions["site"].choice, problem.decisions["town"].choice
    narrow = depots(numbers, high=problem.table("road", [site, town], [[9, 9], [9, 9]]))
    # with the road from the north to B closed, one lorry of the south takes its place
    found = mo.optimize(narrow, scenarios=[{}, {"road": [[9, 0], [9, 9]]}])
    assert found.objective.value == 3 + 5 + 4
    assert mo.optimize(narrow, scenarios=[{}]).objective.value == 10


def test_tuples_that_a_scenario_leaves_out_are_there_in_others() -> None:
    problem, _ = by_hand()
    site, town = problem.decisions["site"].choice, problem.decisions["town"].choice
    problem.allow("the road is open", problem.table("open", [site, town], [[1, 1], [1, 1]]) >= 1, structural=True)
    found = mo.optimize(problem, scenarios=[{}, {"open": [[1, 0], [1, 1]]}])
    assert found.objective.value == 3 + 5 + 4
    assert found.verify()["constraints_hold"]
    # where they are left out in all of them, no lorry of the north goes to B in any
    closed = mo.optimize(problem, scenarios=[{"open": [[1, 0], [1, 1]]}] * 2)
    assert closed.objective.value == 12


def test_a_limit_on_choices_that_differs_by_scenario() -> None:
    problem, _ = by_hand()
    site, town = problem.decisions["site"].choice, problem.decisions["town"].choice
    problem.measure("delay", problem.table("delay", [site, town], [[1, 1], [1, 1]], "h"), unit="h")
    late = {"delay": [[1, 5], [1, 1]]}
    found = mo.optimize(problem, scenarios=[{}, late], constraints=["delay <= 2 h"])
    assert found.objective.value == 3 + 5 + 4
    rows = found.where("carried [scenario 2]", site="north")
    assert {row["town"] for row in rows} == {"A"}
    problem.require("nothing is bought", problem.families["bought"].total() <= 0)
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(problem, scenarios=[{}, {"delay": [[1, 5], [1, 5]]}], constraints=["delay <= 2 h"])
    assert caught.value.conflict == ("delay <= 2 h",)
    assert [str(way) for way in caught.value.relaxations] == ["give up 'delay <= 2 h'"]


def test_what_there_is_to_choose_is_the_same_in_all_scenarios() -> None:
    made = CoupledProblem("counts", default_objective="min_cost")
    item = made.choose("item", [1, 2])
    run = made.picks("run", [item], count=made.table("count", [], 1))
    made.measure("cost", run * item)
    with pytest.raises(InputError, match="how many are picked"):
        mo.optimize(made, scenarios=[{}, {"count": 2}])
