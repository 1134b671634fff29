"""Limits on ratios, against counting: they mean the ratio, or are refused; never its opposite."""

from __future__ import annotations

import itertools
import operator
import random

import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError, InputError, UnboundedError
from mlsysim_opt.optimize import CoupledProblem, Progress

JOBS, SITES = ("a", "b", "c"), ("x", "y", "z")


def jobs(numbers: dict[str, list[list[float]]], optional: bool = False) -> CoupledProblem:
    """One site for each job; every metric is a sum of a table over (job, site)."""
    made = CoupledProblem("jobs")
    job, site = made.choose("job", JOBS), made.choose("site", SITES)
    run = made.picks("run", [job, site], for_each=[job], optional=optional)
    for name, table in numbers.items():
        made.measure(name, run * made.table(name, [job, site], table))
    made.default_objective = "min_cost"
    return made


def plans(numbers: dict[str, list[list[float]]]) -> list[dict[str, float]]:
    """The metrics of every plan."""
    choices = itertools.product(range(len(SITES)), repeat=len(JOBS))
    return [{name: sum(table[j][s] for j, s in enumerate(at)) for name, table in numbers.items()} for at in choices]


@pytest.mark.parametrize("seed", range(30))
def test_a_limit_on_a_ratio_is_that_of_counting(seed: int) -> None:
    dice = random.Random(seed)
    numbers = {
        "cost": [[dice.randint(1, 20) for _ in SITES] for _ in JOBS],
        "gain": [[dice.randint(-9, 9) for _ in SITES] for _ in JOBS],
        "load": [[dice.randint(1, 9) for _ in SITES] for _ in JOBS],
    }
    limit = dice.choice([-0.5, 0, 0, 0.25, 1])
    words, holds = dice.choice([("<=", operator.le), (">=", operator.ge)])
    kept = [plan["cost"] for plan in plans(numbers) if holds(plan["gain"] / plan["load"], limit)]
    for text in (f"gain / load {words} {limit}", f"2 * gain / load {words} {2 * limit}"):
        if kept:
            found = mo.optimize(jobs(numbers), constraints=[text])
            assert found.objective.value == min(kept), text
        else:
            with pytest.raises(InfeasibleError):
                mo.optimize(jobs(numbers), constraints=[text])


@pytest.mark.parametrize("text", ["cost <= 2 * max(load, 2)", "cost / max(load, 2) <= 2", "2 * max(load, 2) >= cost"])
def test_a_largest_is_not_a_limit_from_above_whatever_it_is_multiplied_by(text: str) -> None:
    # an amount that is at least the largest may be as large as you like: the limit would say nothing
    with pytest.raises(InputError, match="not the other way round"):
        mo.optimize(jobs(SIGNED), objective="max_cost", constraints=[text])


SIGNED = {
    "cost": [[1, 2, 3], [1, 2, 3], [1, 2, 3]],
    "gain": [[-1, 1, 1], [-1, 1, 1], [-1, 1, 1]],
    "load": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
}


def test_a_divisor_that_may_be_negative_is_refused() -> None:
    # The cheapest plan gains -3: its ratio is -1, within the limit. Multiplied by -3 the limit would be broken.
    with pytest.raises(InputError, match="may be negative"):
        mo.optimize(jobs(SIGNED), constraints=["load / gain <= 1"])
    with pytest.raises(InputError, match="may be negative"):
        mo.pareto(jobs(SIGNED), objectives=["min_cost", "max_load"], constraints=["load / gain <= 1"])
    with pytest.raises(InputError, match="may be negative"):
        mo.pareto(jobs(SIGNED), objectives=["min_cost", "minimize load / gain"])
    with pytest.raises(InputError, match="may be negative"):
        mo.optimize(jobs(SIGNED), scenarios=[{}], robust="worst_case", constraints=["load / gain <= 1"])
    # with a limit that says it is not, all is well: two of three must gain
    found = mo.optimize(jobs(SIGNED), constraints=["load / gain <= 3", "gain >= 0"])
    assert found.objective.value == 1 + 2 + 2


def test_a_divisor_of_zero_has_no_ratio_in_a_front_either() -> None:
    numbers = {**SIGNED, "load": [[0, 1, 2], [0, 1, 2], [0, 1, 2]]}
    front = mo.pareto(jobs(numbers), objectives=["min_cost", "minimize cost / load"])
    # at least one job has load: 1 + 1 + 2 at 4 a load is the cheapest, 3 + 3 + 3 at 9 / 6 is the best ratio
    assert front.values[0] == [4, 4]
    assert front.values[-1][1] == 1.5


@pytest.mark.parametrize("seed", range(20))
def test_what_is_best_among_the_best_ratios_is_that_of_counting(seed: int) -> None:
    dice = random.Random(seed)
    load = [[dice.choice([0.7, 1.1, 3.3]) for _ in SITES] for _ in JOBS]
    numbers = {
        "cost": [[dice.randint(1, 20) for _ in SITES] for _ in JOBS],
        "load": load,
        # two sites of three have one ratio of 0.011, whatever is planned there: what is left of the two is rounding
        "gain": [[x * 0.011, y * 0.011, z * dice.choice([0.1, 1, 100])] for x, y, z in load],
    }
    every = plans(numbers)
    best = min(plan["gain"] / plan["load"] for plan in every)
    least = min(plan["cost"] for plan in every if plan["gain"] / plan["load"] <= best * (1 + 1e-9))
    found = mo.optimize(jobs(numbers), objective=["gain / load", "min_cost"])
    assert found.status == "optimal"
    assert found.objective.value == pytest.approx(0.011, rel=1e-9)
    assert found.metrics["cost"] == least


def test_a_later_objective_without_limit_is_told() -> None:
    made = jobs(SIGNED)
    spare = made.amounts("spare", [made.decisions["site"].choice], whole=True)
    made.measure("spares", spare.total())
    with pytest.raises(UnboundedError, match="max_spares"):
        mo.optimize(made, objective=["min_cost", "max_spares"])


def test_a_later_objective_that_is_not_proven_is_not_called_optimal() -> None:
    dice = random.Random(1)
    made = CoupledProblem("knapsacks")
    item, sack = made.choose("item", range(60)), made.choose("sack", range(4))
    taken = made.amounts("taken", [item], whole=True, high=1)
    weight = made.table("weight", [item, sack], [[dice.randint(20, 90) for _ in range(4)] for _ in range(60)])
    made.require("room", taken * weight <= 900, each=[sack])
    made.measure("none", taken * 0)
    made.measure("gain", taken * made.table("gain", [item], [dice.randint(20, 90) for _ in range(60)]))
    seen: list[Progress] = []

    def stop(progress: Progress) -> bool:
        seen.append(progress)
        return True

    answer = mo.optimize(made, objective=["min_none", "max_gain"], progress=stop)
    assert seen, "the search was to be stopped"
    assert answer.status == "feasible"
    assert "max_gain among such plans: not proven" in answer.certificate.proof
