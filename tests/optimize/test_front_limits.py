"""Fronts that end early, by Ctrl-C, a time limit or a gap: what they say is proven, against counting."""

from __future__ import annotations

import itertools
import math
import signal
from typing import Any

import numpy as np
import pytest
from fuzzing.counted import METRICS, Shop
from fuzzing.fronts import by_counting

import mlsysim_opt as mo
from mlsysim_opt.errors import InputError, LimitReachedError
from mlsysim_opt.optimize import CoupledProblem, Front
from mlsysim_opt.optimize.coupled.front_program import ProgramPlans

EXACT = 1e-9


def press(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Press Ctrl-C once so many programs were solved."""
    solve, count = ProgramPlans.least, itertools.count(1)

    def least(self: ProgramPlans, *arguments: Any, **named: Any) -> Any:
        found = solve(self, *arguments, **named)
        if next(count) == after:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(ProgramPlans, "least", least)


@pytest.mark.parametrize("after", [1, 3, 4, 6, 9, 14])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_interrupted_front_says_where_points_may_be_missing(
    seed: int, count: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.of(seed, whole=seed % 2 == 0)
    names = METRICS[:count]
    every = by_counting([plan[name] for name in names] for plan in shop.plans())
    press(monkeypatch, after)
    found = mo.pareto(shop.problem(), objectives=[f"min_{name}" for name in names])
    assert all(plan.status == "optimal" for plan in found)
    for plan in found:
        plan.verify()
    if found.settled:
        assert found.status == "complete"
        assert np.allclose(sorted(found.values), every)
        return
    assert found.status == "stopped"
    assert not found.complete
    assert "a limit was reached" in found.guarantee
    regions = [[math.inf if end is None else end for end in upper] for upper in found.details["open_regions"]]
    for one in every:
        held = any(np.allclose(one, value) for value in found.values)
        assert held or any(np.all(np.array(one) < np.array(upper) + EXACT) for upper in regions), (one, regions)
    again = Front.from_json(found.to_json())
    assert again.status == "stopped"
    assert (again.values, again.guarantee, again.details) == (found.values, found.guarantee, found.details)


def test_the_guarantee_of_a_stopped_front_is_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    made = CoupledProblem("ships")
    job, place = made.choose("job", ["a", "b"]), made.choose("place", ["Iowa", "Quebec"])
    run = made.picks("run", [job, place], for_each=[job])
    made.measure("cost", run * made.table("price", [job, place], [[1, 4], [1, 5]], "USD"), unit="USD")
    made.measure("clean", run * made.table("clean", [job, place], [[1, 9], [1, 10]], "kgCO2e"), unit="kgCO2e")
    # 2 USD and 2 kg, 5 and 10, 6 and 11, 9 and 19: two programs for the ends, two for each point between
    press(monkeypatch, 4)
    found = mo.pareto(made, objectives=["min_cost", "max_clean"])
    assert found.values == [[2, 2], [5, 10]]
    assert found.guarantee == (
        "a limit was reached: 2 points were found; others may be missing with max_clean above 10 kgCO2e, nowhere else"
    )


def test_a_time_limit_before_any_point() -> None:
    with pytest.raises(LimitReachedError):
        mo.pareto(Shop.of(1).problem(), objectives=["min_cost", "min_carbon"], time_limit=1e-9)


@pytest.mark.parametrize("points", [None, 3])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_a_front_to_a_gap_keeps_its_promise(seed: int, count: int, points: int | None) -> None:
    shop = Shop.of(seed)
    names = METRICS[:count]
    every = [[plan[name] for name in names] for plan in shop.plans()]
    if not every:
        return
    found = mo.pareto(shop.problem(), objectives=[f"min_{name}" for name in names], points=points, gap=0.2)
    assert found.settled
    steps = np.array(found.steps or [0.0] * count)
    values = np.array(found.values)
    assert found.complete == (not steps.any())
    assert steps[0] <= 0.2 * values[:, 0].max()
    for one in every:
        assert np.any(np.all(values <= np.array(one) + steps + EXACT, axis=1)), (one, found.guarantee)
    for plan in found:
        assert plan.verify()["constraints_hold"]


@pytest.mark.parametrize("gap", [-0.1, 1, "% 1", True])
def test_what_is_no_gap(gap: Any) -> None:
    with pytest.raises(InputError, match="gap"):
        mo.pareto(Shop.of(1).problem(), objectives=["min_cost", "min_carbon"], gap=gap)


def test_a_search_that_is_watched_can_be_stopped() -> None:
    dice = np.random.default_rng(0)
    made = CoupledProblem("sacks")
    item, sack = made.choose("item", range(40)), made.choose("sack", range(3))
    taken = made.amounts("taken", [item], whole=True, high=1)
    made.require("room", taken * made.table("weight", [item, sack], dice.uniform(20, 90, (40, 3))) <= 600, each=[sack])
    made.measure("gain", taken * made.table("gain", [item], dice.uniform(20, 90, 40)))
    made.measure("risk", taken * made.table("risk", [item], dice.uniform(20, 90, 40)))
    seen = itertools.count(1)
    found = mo.pareto(made, objectives=["max_gain", "min_risk"], progress=lambda progress: next(seen) > 40)
    assert found.status == "stopped"
    assert "others may be missing" in found.guarantee
