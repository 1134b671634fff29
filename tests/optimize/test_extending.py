"""Parts of the user's own: metrics, decisions, constraints and objectives that plug into any formulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fuzzing.counted import Shop
from fuzzing.shoptalk import build, shoptalk

import mlsysim_opt as mo
from mlsysim_opt.algebra import lookup, maximum
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize import CoupledProblem, Formulation, Largest, Problem, formulation_names

JOB = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 256, "seq_len": 8192}


# through an entry point -----------------------------------------------------------------------------------------------
def test_a_formulation_of_another_distribution(third_party: str) -> None:
    assert third_party in formulation_names()
    found = mo.optimize(third_party, jobs=3)
    assert found.objective.value == 6  # all in Iowa: 1 + 2 + 3 USD
    again = mo.PlanSolution.from_json(found.to_json())
    assert again.verify()["constraints_hold"]
    # at 1 USD per ton, a unit of size costs 11 in Iowa, 6 in Quebec, 7 in Oslo
    assert found.what_if(carbon_price="1 USD/tCO2e").objective.value == 6 * 6
    assert found.what_if(choices={"place": ["Oslo"]}).objective.value == 6 * 6
    front = mo.pareto(third_party, objectives=["min_rent", "min_carbon"], jobs=2)
    assert front.complete
    assert mo.Front.from_json(front.to_json()).as_dict() == front.as_dict()
    with pytest.raises(UnknownNameError):
        mo.optimize(third_party, job=3)


@pytest.mark.parametrize(
    ("module", "fault"), [("fuzzing.shoptalk", "AttributeError"), ("nowhere", "ModuleNotFoundError")]
)
def test_a_distribution_that_cannot_be_loaded_is_named(
    third_party: str, module: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "site" / "shoptalk-1.0.dist-info" / "entry_points.txt").write_text(
        f"[mlsysim_opt.formulations]\nshoptalk = {module}:missing\n"
    )
    with pytest.raises(InputError, match=f"{module}:missing.*{fault}") as caught:
        mo.optimize(third_party)
    assert caught.value.path == third_party


def test_without_it_the_name_is_not_known() -> None:
    with pytest.raises(UnknownNameError):
        mo.optimize("shoptalk", jobs=3)


# by a function --------------------------------------------------------------------------------------------------------
def test_a_function_adds_metrics_decisions_and_constraints_to_a_coupled_formulation() -> None:
    def with_trips(problem: CoupledProblem) -> None:
        job, place = (problem.decisions[name].choice for name in ("job", "place"))
        miles = lookup(place, {"Iowa": 9.0, "Quebec": 2.0, "Oslo": 4.0})
        trips = problem.amounts("trips", [place], whole=True, high=3)
        problem.require("visited", problem.families["run"].total() <= trips * 2, each=[place])
        problem.measure("miles", trips * miles)
        problem.measure("size", problem.families["run"] * job)

    found = mo.optimize(shoptalk, jobs=4, extend=with_trips, objective="min_miles", constraints=["size <= 100"])
    assert found.objective.value == 4  # two trips to Quebec carry four jobs
    assert sum(row["amount"] for row in found.amounts["trips"]) == 2
    with pytest.raises(InputError, match="function"):
        mo.PlanSolution.from_json(found.to_json()).verify()
    assert "miles" not in mo.optimize(shoptalk, jobs=4).metrics


def test_a_function_adds_to_a_formulation_of_designs() -> None:
    def spread(problem: Problem) -> Problem:
        tp_size, pp_size = (problem.decisions[name].choice for name in ("tp_size", "pp_size"))
        spares = problem.choose("spares", [0, 1, 2])
        problem.measure("penalty", problem.metric("step_time") * (tp_size + spares))
        problem.require("no pipeline", pp_size == 1)
        problem.require("some spares", spares >= 1)
        return problem

    found = mo.optimize("parallelism", extend=spread, objective="min_penalty", explain=False, **JOB)
    assert (found.design["pp_size"], found.design["spares"]) == (1, 1)
    assert found.objective.si == pytest.approx(
        found.metrics["step_time"].to("s").magnitude * (found.design["tp_size"] + 1)
    )
    with pytest.raises(UnknownNameError):
        mo.optimize("parallelism", objective="min_penalty", **JOB)
    with pytest.raises(InputError, match="not a problem"):
        mo.optimize("parallelism", extend=lambda problem: 3, **JOB)


# by a subclass --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Capped(Formulation):
    """A formulation of jobs that never lets a place run more than half of them."""

    def problem(self, given: Any, choices: Any = None) -> CoupledProblem:
        made = super().problem(given, choices)
        assert isinstance(made, CoupledProblem)
        run, place = made.families["run"], made.decisions["place"].choice
        made.require("at most half", run.total() <= given["jobs"] / 2, each=[place])
        return made


def test_a_subclass_and_a_changed_copy() -> None:
    capped = Capped("capped", "jobs, spread", shoptalk.inputs, build)
    # sizes 1 to 4, two jobs a place: 4 and 3 in Iowa, 1 and 2 in Quebec
    assert mo.optimize(capped, jobs=4).objective.value == 7 + 4 * 3
    dear = replace(shoptalk, build=lambda values, choices: build({**values, "slots": 1}, choices))
    assert mo.optimize(dear, jobs=1).objective.value == 1


# objectives -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(12))
def test_custom_objectives_are_those_of_counting(seed: int) -> None:
    shop = Shop.of(seed)
    plans = list(shop.plans())
    if not plans:
        return
    problem = shop.problem()

    def told(metrics: Any) -> Any:
        return metrics.cost + 2 * metrics.carbon

    asked = {
        "cost + 2 * carbon": lambda plan: plan["cost"] + 2 * plan["carbon"],
        "minimize max(cost, 3 * energy, delay)": lambda plan: max(plan["cost"], 3 * plan["energy"], plan["delay"]),
        "minimize carbon / energy": lambda plan: plan["carbon"] / plan["energy"],
        "maximize energy / (cost + carbon)": lambda plan: plan["energy"] / (plan["cost"] + plan["carbon"]),
    }
    for text, value in asked.items():
        best = max if text.startswith("maximize") else min
        assert mo.optimize(problem, objective=text).objective.value == pytest.approx(best(map(value, plans)), rel=1e-9)
    assert mo.optimize(problem, objective=told).objective.value == pytest.approx(
        min(plan["cost"] + 2 * plan["carbon"] for plan in plans), rel=1e-9
    )
    fair = maximum(problem.metric("cost"), problem.metric("delay"))
    assert mo.optimize(problem, objective=fair).objective.value == pytest.approx(
        min(max(plan["cost"], plan["delay"]) for plan in plans), rel=1e-9
    )
    ratio = mo.optimize(problem, constraints=["carbon / energy <= 1.1"], objective="min_delay") if any(
        plan["carbon"] <= 1.1 * plan["energy"] for plan in plans) else None  # fmt: skip
    if ratio is not None:
        assert ratio.objective.value == pytest.approx(
            min(plan["delay"] for plan in plans if plan["carbon"] <= 1.1 * plan["energy"]), rel=1e-9
        )


@pytest.mark.parametrize("seed", range(12))
def test_lexicographic_is_that_of_counting(seed: int) -> None:
    shop = Shop.of(seed, whole=True)
    plans = list(shop.plans())
    if not plans:
        return
    found = mo.optimize(shop.problem(), objective=["min_delay", "min_cost", "max_energy"])
    best = min((plan["delay"], plan["cost"], -plan["energy"]) for plan in plans)
    assert [found.metrics[name] for name in ("delay", "cost", "energy")] == pytest.approx(
        [best[0], best[1], -best[2]], rel=1e-9
    )


def test_the_worst_place() -> None:
    def worst(problem: CoupledProblem) -> None:
        run, place, job = problem.families["run"], *(problem.decisions[name].choice for name in ("place", "job"))
        problem.measure("busiest", Largest(run.total(job), (place,)))

    # sizes 1 to 4 over three places: 4, 3 and 1 + 2
    assert mo.optimize(shoptalk, jobs=4, extend=worst, objective="min_busiest").objective.value == 4
    found = mo.optimize(shoptalk, jobs=4, extend=worst, objective="min_rent", constraints=["busiest <= 6"])
    # at most six a place: 6 in Iowa, 4 in Quebec
    assert found.objective.value == 6 * 1 + 4 * 4
    found = mo.optimize(shoptalk, jobs=4, extend=worst, objective="minimize max(busiest, rent / 10 USD, 1)")
    # 4 in Iowa, 3 in Quebec, 1 + 2 in Oslo rent for 34 USD
    assert found.objective.value == 4
