"""Answers for several scenarios against counting: every plan in every scenario."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from fuzzing.counted import Shop
from fuzzing.shoptalk import shoptalk

import mlsysim_opt as mo
from mlsysim_opt.algebra import lookup
from mlsysim_opt.algebra.expression import Symbol
from mlsysim_opt.errors import InfeasibleError, InputError, MlsysimError, UnknownNameError
from mlsysim_opt.optimize import CoupledProblem, Problem
from mlsysim_opt.units import NONE

MEASURES = ("worst_case", "expected", "cvar", "regret")
ALPHA = 0.6


def measured(losses: list[float], best: list[float], measure: str) -> float:
    """Return a measure by its definition, all scenarios equally likely."""
    if measure == "worst_case":
        return max(losses)
    if measure == "expected":
        return sum(losses) / len(losses)
    if measure == "regret":
        return max(loss - least for loss, least in zip(losses, best, strict=True))
    left, total = (1 - ALPHA) * len(losses), 0.0  # the mean of the worst share, the last scenario in part
    for loss in sorted(losses, reverse=True):
        taken = min(1.0, left)
        total, left = total + taken * loss, left - taken
        if left <= 0:
            break
    return total / ((1 - ALPHA) * len(losses))


def level(measure: str) -> float | None:
    """Return the level of a measure that has one."""
    return ALPHA if measure == "cvar" else None


def scenarios_of(shop: Shop, seed: int, count: int) -> list[dict[str, Any]]:
    dice = np.random.default_rng(seed)
    changed = [shop.numbers["cost"] * dice.uniform(0.5, 2, shop.numbers["cost"].shape) for _ in range(count)]
    return [{"cost": table} for table in changed]


def plans_in(shop: Shop, scenario: dict[str, Any]) -> list[dict[str, float]]:
    numbers = {**shop.numbers, **scenario}
    return list(Shop(shop.jobs, shop.sites, shop.sizes, numbers, shop.slots, shop.opening).plans())


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("seed", range(8))
def test_a_robust_plan_is_that_of_counting(seed: int, measure: str) -> None:
    shop = Shop.of(seed)
    scenarios = scenarios_of(shop, seed, 3)
    each = [plans_in(shop, scenario) for scenario in scenarios]
    if not each[0]:
        with pytest.raises(InfeasibleError):
            mo.optimize(shop.problem(), scenarios=scenarios, robust=measure, alpha=level(measure))
        return
    best = [min(plan["cost"] for plan in plans) for plans in each]
    expected = min(measured([plan["cost"] for plan in row], best, measure) for row in zip(*each, strict=True))
    found = mo.optimize(shop.problem(), scenarios=scenarios, robust=measure, alpha=level(measure))
    assert found.objective.value == pytest.approx(expected, rel=1e-8, abs=1e-8)
    report = found.robustness
    assert report is not None
    values = [value.si for value in report.values]
    assert measured(values, best, measure) == pytest.approx(expected, rel=1e-8, abs=1e-8)
    nominal = min(plan["cost"] for plan in shop.plans())
    assert report.nominal.si == pytest.approx(nominal, rel=1e-9)
    assert report.price.si == pytest.approx(report.of_robust.si - nominal, abs=1e-9)
    assert report.price.si >= -1e-9
    known = [value.si for value in report.of_nominal if value is not None]
    assert measured(known, best, measure) >= expected - 1e-8
    assert "price of robustness" in str(found)
    assert mo.PlanSolution.from_json(found.to_json()).robustness == report


@pytest.mark.parametrize("seed", range(6))
def test_constraints_hold_in_every_scenario(seed: int) -> None:
    shop = Shop.of(seed)
    scenarios = scenarios_of(shop, seed, 2)
    each = [plans_in(shop, scenario) for scenario in scenarios]
    if not each[0]:
        return
    limit = 1.2 * min(max(row[0]["cost"], row[1]["cost"]) for row in zip(*each, strict=True))
    possible = [row for row in zip(*each, strict=True) if all(plan["cost"] <= limit for plan in row)]
    found = mo.optimize(shop.problem(), objective="min_carbon", scenarios=scenarios, constraints=[f"cost <= {limit!r}"])
    assert found.objective.value == pytest.approx(min(row[0]["carbon"] for row in possible), rel=1e-9)


def test_givens_of_a_formulation_and_intervals() -> None:
    # at 0 USD/t a unit of size costs 1, 4, 6 USD; at 1 USD/t 11, 6, 7: Quebec is worst at 6
    ends = ("0 USD/tCO2e", "1 USD/tCO2e")
    for asked in ({"intervals": {"carbon_price": ends}}, {"scenarios": [{"carbon_price": end} for end in ends]}):
        if "intervals" in asked:
            with pytest.raises(InputError, match="scenarios"):
                mo.optimize(shoptalk, jobs=2, **asked)
            found = mo.optimize(shoptalk.problem({"jobs": 2}), **asked)
        else:
            found = mo.optimize(shoptalk, jobs=2, **asked)
        assert found.objective.value == 6 * 3
        assert {row["place"] for row in found.amounts["run"]} == {"Quebec"}
        report = found.robustness
        assert report is not None
        assert [str(item) for item in report.values] == ["12 USD", "18 USD"]
        assert str(report.price) == "9 USD"  # 12 instead of 3 USD, for the givens as they are
    with pytest.raises(InputError, match="choose"):
        mo.optimize(shoptalk, jobs=2, scenarios=[{"jobs": 3}])
    # slots of 1 are too few for the job of size 2
    with pytest.raises(InfeasibleError):
        mo.optimize(shoptalk, jobs=2, scenarios=[{}, {"slots": 1}])


def test_maximizing_takes_the_least() -> None:
    made = CoupledProblem("gains", values={"luck": 1.0})
    kind = made.choose("kind", ["safe", "bold"])
    run = made.picks("run", [kind])
    luck = Symbol("luck", NONE)
    made.measure(
        "gain", run * (lookup(kind, {"safe": 3.0, "bold": 0.0}) + luck * lookup(kind, {"safe": 0.0, "bold": 5.0}))
    )
    # bold gains 5, 2.5 on average of 0 and 1; safe always 3
    found = mo.optimize(made, objective="max_gain", intervals={"luck": (0, 1)})
    assert found.objective.value == 3
    assert found.robustness is not None
    assert found.robustness.price.value == 2
    assert mo.optimize(made, objective="max_gain", scenarios=[{"luck": 0}, {"luck": 2}], robust="expected",
                       shares=[0.3, 0.7]).objective.value == 7  # fmt: skip
    # regret: safe loses 5 - 3 = 2 at luck 1 and nothing at 0; bold loses 3 at luck 0
    assert mo.optimize(made, objective="max_gain", intervals={"luck": (0, 1)}, robust="regret").objective.value == 2


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("seed", range(4))
def test_a_robust_design_is_that_of_counting(seed: int, measure: str) -> None:
    dice = np.random.default_rng(seed)
    problem = Problem("designs", values={"load": 1.0})
    a, b = problem.choose("a", range(4)), problem.choose("b", range(4))
    load = Symbol("load", NONE)
    first, second = (dice.uniform(1, 9, 4) for _ in range(2))
    table = lookup(a, dict(enumerate(first.tolist())), title="first")
    problem.measure("cost", table * load + load * load * lookup(b, dict(enumerate(second.tolist()))) + a * b)
    problem.measure("heat", load * (a + b))
    problem.default_objective = "min_cost"
    other = dice.uniform(1, 9, 4)
    given = [{"load": 0.5}, {"load": 2.0}, {"first": other}]

    def cost(x: int, y: int, scenario: dict[str, Any]) -> float:
        size, numbers = scenario.get("load", 1.0), scenario.get("first", first)
        return float(numbers[x] * size + size * size * second[y] + x * y)

    designs = [(x, y) for x, y in itertools.product(range(4), repeat=2) if 2 * (x + y) <= 8]
    best = [
        min(cost(*design, item) for design in designs if item.get("load", 1.0) * sum(design) <= 8) for item in given
    ]
    every = list(itertools.product(range(4), repeat=2))
    best = [min(cost(*d, item) for d in every if item.get("load", 1.0) * sum(d) <= 8) for item in given]
    expected = min(measured([cost(*design, item) for item in given], best, measure) for design in designs)
    found = mo.optimize(problem, scenarios=given, robust=measure, alpha=level(measure), constraints=["heat <= 8"])
    assert found.objective.value == pytest.approx(expected, rel=1e-9)
    assert found.robustness is not None
    assert mo.Solution.from_json(found.to_json()).robustness == found.robustness
    with pytest.raises(InputError, match="not affine"):
        mo.optimize(problem, intervals={"load": (0.5, 2)})


def test_what_is_no_scenario_is_refused() -> None:
    problem = Shop.of(1).problem()
    for wrong in ([], {}, [3], "cost"):
        with pytest.raises(InputError):
            mo.optimize(problem, scenarios=wrong)
    with pytest.raises(UnknownNameError, match="price"):
        mo.optimize(problem, scenarios=[{"price": 3}])
    with pytest.raises(UnknownNameError, match="worst"):
        mo.optimize(problem, scenarios=[{}], robust="worst")
    for options in ({"alpha": 1.0}, {"shares": [0.5]}, {"shares": [0.5, 0.6]}):
        with pytest.raises(InputError):
            mo.optimize(problem, scenarios=[{}, {}], robust="cvar", **options)
    with pytest.raises(InputError):
        mo.optimize(problem, scenarios=[{"cost": [1, 2]}])
    with pytest.raises(InputError, match="ratio"):
        mo.optimize(problem, scenarios=[{}], objective="cost / carbon")
    with pytest.raises(MlsysimError):
        mo.optimize(problem, intervals={"cost": (1, 2)})
    assert not math.isnan(mo.optimize(problem, scenarios=[{}]).objective.value or 0.0)


def test_a_level_that_says_nothing_is_refused() -> None:
    for measure in (None, "worst_case", "expected", "regret"):
        with pytest.raises(InputError, match="level of cvar") as caught:
            mo.optimize(Shop.of(1).problem(), scenarios=[{}], robust=measure, alpha=0.5)
        assert caught.value.path == "alpha"


def test_what_rounding_leaves_is_no_regret_and_no_price() -> None:
    """One answer is best in every scenario: nothing is lost, whatever thirds and tenths add up to."""
    ways = CoupledProblem("ways")
    run = ways.picks(
        "run", [ways.choose("job", list("abc")), ways.choose("way", [1, 2])], for_each=[ways.decisions["job"].choice]
    )
    ways.measure(
        "cost", run * ways.table("price", list(run.over), [[0.1, 0.3], [0.2, 0.7], [1 / 3, 0.9]], "kUSD"), unit="USD"
    )
    dearer = {"price": [[0.3, 0.4], [0.7, 0.8], [0.1, 0.9]]}
    designs = Problem("designs")
    x = designs.choose("x", [1, 2, 3])
    designs.measure("gain", x * mo.Q_("0.1 USD") / 3, unit="USD")
    for problem, objective, scenarios in ((ways, "min_cost", [{}, dearer]), (designs, "max_gain", [{}])):
        for measure in ("regret", "worst_case"):
            found = mo.optimize(problem, objective=objective, scenarios=scenarios, robust=measure)
            assert found.robustness is not None
            assert str(found.robustness.price) == "0 USD"
            if measure == "regret":
                assert str(found.objective) == str(found.robustness.value) == "0 USD"
            found.verify()


def test_a_long_given_is_marked_as_cut() -> None:
    made = CoupledProblem("routes")
    run = made.picks("run", [made.choose("way", [f"way {number}" for number in range(20)])])
    made.measure("cost", run * made.table("price", list(run.over), list(range(20, 40)), "USD"), unit="USD")
    answer = mo.optimize(made, objective="min_cost", scenarios=[{"price": list(range(100, 120))}], robust="worst_case")
    assert answer.robustness is not None
    (shown,) = (item["price"] for item in answer.robustness.scenarios if item)
    assert shown.startswith("[100, 101, ")
    assert shown.endswith("...")
    assert len(shown) == 60
