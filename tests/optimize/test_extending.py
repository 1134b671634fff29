"""Parts of the user's own: metrics, decisions, constraints and objectives that plug into any formulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
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


# metrics and sums -----------------------------------------------------------------------------------------------------
def fleet() -> CoupledProblem:
    """Two jobs, of 1 USD in Iowa or 3 USD in Utah; a place that is used at all may need a contract."""
    problem = CoupledProblem("fleet")
    job, place = problem.choose("job", ["a", "b"]), problem.choose("place", ["Iowa", "Utah"])
    run = problem.picks("run", [job, place], for_each=[job])
    contract = problem.amounts("contract", [place], whole=True, high=2)
    problem.require("by contract", run <= contract, each=[place])
    problem.measure("cost", run * problem.table("price", [place], [1.0, 3.0], "USD"), unit="USD")
    problem.measure("both", problem.metric("cost") * 2, unit="USD")
    problem.measure("jobs", run)
    return problem


FEE = "10 USD"


@pytest.mark.parametrize(
    ("written", "best"),
    [  # both jobs in Iowa: 2 USD, with two contracts of 10 USD
        (lambda cost, contract, both: cost + contract * FEE, 22),
        (lambda cost, contract, both: contract * FEE + cost, 22),
        (lambda cost, contract, both: cost + contract.total(FEE), 22),
        (lambda cost, contract, both: contract.total(FEE) + cost / 2 + 0.5 * cost, 22),
        (lambda cost, contract, both: both + contract * FEE, 24),
        (lambda cost, contract, both: contract * FEE - cost, 14),  # both in Utah: 20 - 6
        (lambda cost, contract, both: 3 * cost - (contract * "-10 USD" + cost) + "1 USD", 25),
        (lambda cost, contract, both: np.float64(2) * (cost + contract * FEE), 44),
    ],
)
def test_metrics_and_amounts_add_up_in_either_order(written: Any, best: float) -> None:
    problem = fleet()
    cost, both = problem.metric("cost"), problem.metric("both")
    problem.measure("all", written(cost, problem.families["contract"], both), unit="USD")
    found = mo.optimize(problem, objective="min_all")
    assert found.objective.value == best
    found.verify()
    assert mo.pareto(problem, objectives=["min_all", "max_jobs"]).values == [[best, 2]]


def test_metrics_stand_in_relations_of_the_whole_plan() -> None:
    for relation in (
        lambda cost, contract: cost <= contract * "1 USD",  # 2 USD need two contracts: as many as there are
        lambda cost, contract: contract * "1 USD" >= cost,
        lambda cost, contract: cost - contract * "1 USD" <= 0,
    ):
        problem = fleet()
        problem.require("paid for", relation(problem.metric("cost"), problem.families["contract"]))
        found = mo.optimize(problem, objective="maximize cost")
        assert found.objective.value == 4  # one job in each place needs four contracts: two in each
        found.verify()
    place = problem.decisions["place"].choice
    with pytest.raises(InputError, match="whole plan, but this is asked for each place"):
        problem.require("each", problem.metric("cost") <= problem.families["contract"] * FEE, each=[place])


def test_products_and_ratios_of_metrics_and_amounts_are_refused() -> None:
    problem = fleet()
    cost, contract = problem.metric("cost"), problem.families["contract"]
    with pytest.raises(InputError, match="product of sums"):
        problem.measure("product", contract * cost)
    for ratio in (lambda: cost / contract, lambda: cost / contract.total(), lambda: contract / contract.total()):
        with pytest.raises(InputError, match="not linear"):
            ratio()
    problem.measure("worst", Largest(problem.families["run"] * "1 USD", (problem.decisions["job"].choice,)))
    with pytest.raises(InputError, match="largest of something"):
        problem.measure("all", problem.metric("worst") + contract * FEE)


def test_a_metric_that_exists_is_replaced_only_where_that_is_said() -> None:
    problem = fleet()
    with pytest.raises(InputError, match="cost: there is a metric of this name already"):
        problem.measure("cost", problem.families["contract"] * FEE)
    problem.measure("cost", problem.metric("cost") + problem.families["contract"] * FEE, unit="USD", replaces=True)
    assert mo.optimize(problem, objective="min_cost").objective.value == 22
    problem.measure("cost", problem.metric("cost") * 0.5, unit="USD", replaces=True)
    assert mo.optimize(problem, objective="min_cost").objective.value == 11

    def free(problem: Problem) -> None:
        problem.measure("step_time", problem.metric("step_time") * 0, unit="s")

    with pytest.raises(InputError, match="step_time: there is a metric of this name already"):
        mo.optimize("parallelism", extend=free, **JOB)
