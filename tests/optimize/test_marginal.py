"""What a limit costs, and the same question otherwise: by hand and by counting."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing.counted import Shop

import mlsysim_opt as mo
from mlsysim_opt.errors import DimensionError, InputError, UnknownNameError
from mlsysim_opt.optimize import CoupledProblem


def ships() -> CoupledProblem:
    """Two jobs, two places. Plans by hand (USD, kgCO2e): (2, 20), (5, 12), (6, 11), (9, 3)."""
    made = CoupledProblem("ships")
    job, place = made.choose("job", ["a", "b"]), made.choose("place", ["Iowa", "Quebec"])
    run = made.picks("run", [job, place], for_each=[job])
    made.measure("cost", run * made.table("price", [job, place], [[1, 4], [1, 5]], "USD"), unit="USD")
    made.measure("carbon", run * made.table("carbon", [job, place], [[10, 2], [10, 1]], "kgCO2e"), unit="kgCO2e")
    made.default_objective = "min_cost"
    return made


def test_steps_of_a_limit_by_hand() -> None:
    found = mo.optimize(ships()).marginal("carbon <= 20 kgCO2e", [20, 15, 11, 3, 2])
    assert [item.value if item else None for item in found.values] == [2, 5, 6, 9, None]
    assert [item.value if item else None for item in found.reached] == [20, 12, 11, 3, None]
    assert [item.value if item else None for item in found.costs] == [None, 3, 1, 3, None]
    # between what is reached: 3 USD from 20 to 12 kg, 1 USD from 12 to 11 kg, 3 USD from 11 to 3 kg
    secants = [None, 3 / 8, 1, 3 / 8, None]
    assert [item.value if item else None for item in found.secants] == pytest.approx(secants)
    # and these are all points there are: each one is the next of the one before
    assert [item.reached.value if item else None for item in found.steps] == [12, 11, 3, None, None]
    assert [item.value.value if item else None for item in found.steps] == [5, 6, 9, None, None]
    assert [item.secant.value if item else None for item in found.steps] == pytest.approx([*secants[1:4], None, None])
    assert found.as_dict()["steps"][0]["reached"] == {"value": 12.0, "unit": "kgCO2e"}
    text = str(found)
    assert "20 kgCO2e -> 15 kgCO2e costs 3 USD, 0.375 USD/kgCO2e; next at 11 kgCO2e: 6 USD, 1 USD/kgCO2e" in text
    assert "2 kgCO2e: nothing is possible" in text
    assert "an estimate" in text


def test_the_next_exact_point() -> None:
    found = mo.optimize(ships(), constraints=["carbon <= 15 kgCO2e"]).marginal("carbon <= 15 kgCO2e")
    assert [item.value for item in found.limits] == pytest.approx([15, 11])
    assert [item.value for item in found.values if item] == [5, 6]
    assert found.secants[1] is not None
    assert found.secants[1].value == pytest.approx(1)  # 1 USD from 12 kg, which is what 15 kg make, to 11 kg


def test_limits_between_the_same_two_points_are_one_answer() -> None:
    found = mo.optimize(ships()).marginal("carbon <= 20 kgCO2e", [20, 19, 10, 9, 3, 2, 1])
    assert [item.value if item else None for item in found.values] == [2, 5, 9, 9, 9, None, None]
    # 7 USD from 20 to 3 kg by way of 12 kg: 3 USD for 8 kg, and 4 USD for 9 kg
    secants = [None, 3 / 8, 4 / 9, None, None, None, None]
    assert [item.value if item else None for item in found.secants] == pytest.approx(secants)
    assert "10 kgCO2e -> 9 kgCO2e costs nothing: the same answer" in str(found)


def test_of_answers_of_one_cost_the_point_is_the_one_that_reaches_least() -> None:
    # 5 USD for 9, 8 or 7 kg, whichever is found: the point is (7, 5), and from there it is 2 USD to (3, 7)
    made = CoupledProblem("ties")
    place = made.choose("place", ["a", "b", "c", "d"])
    run = made.picks("run", [place])
    made.measure("cost", run * made.table("price", [place], [5, 5, 5, 7], "USD"), unit="USD")
    made.measure("carbon", run * made.table("carbon", [place], [9, 8, 7, 3], "kgCO2e"), unit="kgCO2e")
    found = mo.optimize(made, objective="min_cost").marginal("carbon <= 10 kgCO2e", [10, 8.5, 5])
    assert [item.value if item else None for item in found.reached] == [7, 7, 3]
    assert [item.value if item else None for item in found.secants] == pytest.approx([None, None, 2 / 4])
    assert [item.reached.value if item else None for item in found.steps] == [3, 3, None]


@pytest.mark.parametrize("relation", [">=", "<="])
def test_from_a_limit_of_zero_that_is_met_there_is_a_next_point(relation: str) -> None:
    # 2 USD for 0 kg, 5 USD for 4 kg (or -4 kg) and 9 USD for twice that
    made = CoupledProblem("balance")
    place = made.choose("place", ["a", "b", "c"])
    run = made.picks("run", [place])
    saved = [0, 4, 8] if relation == ">=" else [0, -4, -8]
    made.measure("cost", run * made.table("price", [place], [2, 5, 9], "USD"), unit="USD")
    made.measure("saved", run * made.table("carbon", [place], saved, "kgCO2e"), unit="kgCO2e")
    found = mo.optimize(made, objective="min_cost").marginal(f"saved {relation} 0 kgCO2e", [0])
    (step,) = found.steps
    assert step is not None
    assert (step.reached.value, step.value.value) == (saved[1], 5)
    assert step.secant.value == pytest.approx(3 / 4)


@pytest.mark.parametrize("seed", range(10))
def test_each_limit_is_solved_exactly(seed: int) -> None:
    shop = Shop.of(seed)
    plans = list(shop.plans())
    if not plans:
        return
    limits = np.linspace(0.8, 1.2, 5) * float(np.median([plan["carbon"] for plan in plans]))
    found = mo.optimize(shop.problem()).marginal(f"carbon <= {limits[0]}", limits)
    for limit, value in zip(found.limits, found.values, strict=True):
        possible = [plan["cost"] for plan in plans if limit.value is not None and plan["carbon"] <= limit.value]
        assert (value is None) is (not possible)
        if value is not None:
            assert value.value == pytest.approx(min(possible), rel=1e-9)


def test_limits_of_a_design() -> None:
    job = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 256, "seq_len": 8192}
    best = mo.optimize("parallelism", **job)
    found = best.marginal("memory <= 80 GB", range(80, 20, -20))
    assert [str(item) for item in found.limits] == ["80 GB", "60 GB", "40 GB"]
    for limit, value in zip(found.limits, found.values, strict=True):
        if value is not None:
            again = mo.optimize("parallelism", constraints=[f"memory <= {limit}"], explain=False, **job)
            assert value.si == pytest.approx(again.objective.si, rel=1e-12)
    tighter = best.what_if(constraints=["memory <= 40 GB"], seq_len=4096)
    assert tighter.request["given"]["seq_len"] == 4096
    assert tighter.metrics["memory"].to("GB").magnitude <= 40


def test_the_same_question_otherwise() -> None:
    first = mo.optimize(ships(), constraints=["carbon <= 15 kgCO2e"])
    other = first.what_if(constraints=["cost <= 100 USD"], without=["carbon <= 15 kgCO2e"])
    assert other.objective.value == 2
    assert first.moves(other) == ["run: job a moves place from Quebec to Iowa"]
    assert first.what_if(objective="min_carbon").objective.value == 3
    for words in ("carbon<=15kgCO2e", " carbon  <= 15 kgCO2e", "carbon <= 15000 gCO2e", "15 kgCO2e >= carbon"):
        assert first.what_if(without=[words]).objective.value == 2
    for words in ("carbon <= 1 kgCO2e", "carbon", "carbon <= 15 kgCO2"):
        with pytest.raises(UnknownNameError, match="constraint of this question") as caught:
            first.what_if(without=[words])
        assert "carbon <= 15 kgCO2e" in str(caught.value.hint)
    with pytest.raises(InputError, match="formulation"):
        first.what_if(price="1 USD")


def test_the_other_question_is_solved_as_asked() -> None:
    plan = mo.optimize(ships(), constraints=["carbon <= 15 kgCO2e"])
    other = plan.what_if(constraints=["cost <= 6 USD"], backend="cpsat", gap="1%", progress=lambda _: None)
    assert (other.objective.value, other.backend) == (5, "cpsat")
    with pytest.raises(InputError, match="progress"):
        plan.what_if(progress=3)
    best = mo.optimize("compression", model="Llama3_8B", hardware="H100", seq_len=4096, output_len=512, explain=False)
    with pytest.raises(InputError, match="no gap to stop at"):
        best.what_if(gap=0.1)


def test_what_is_no_limit_is_refused() -> None:
    best = mo.optimize(ships())
    for wrong in ("carbon == 3 kgCO2e", "carbon / 1 kgCO2e <= cost / 1 USD"):
        with pytest.raises(InputError):
            best.marginal(wrong, [1])
    with pytest.raises(InputError, match="empty"):
        best.marginal("carbon <= 3 kgCO2e", [])
    with pytest.raises(DimensionError):
        best.marginal("carbon <= 3 kgCO2e", ["3 USD"])
    with pytest.raises(InputError, match="expected limits"):
        best.marginal("carbon <= 3 kgCO2e", 3)


@pytest.mark.parametrize(
    "text",
    ["carbon <= 10 kgCO2e", "carbon<=10 kgCO2e", "carbon <= 10000 gCO2e", "10 kgCO2e >= carbon", "carbon <= 11 kgCO2e"],
)
def test_a_limit_replaces_what_it_means_not_what_it_is_called(text: str) -> None:
    # under 10 kgCO2e only both in Quebec are left: 9 USD; 20 kgCO2e allow both in Iowa: 2 USD
    best = mo.optimize(ships(), constraints=["carbon <= 10 kgCO2e"])
    assert [item.value for item in best.marginal(text, ["20 kgCO2e", "10 kgCO2e"]).values if item] == [2, 9]


def test_limits_of_other_things_stay() -> None:
    best = mo.optimize(ships(), constraints=["carbon <= 10 kgCO2e", "carbon >= 2 kgCO2e", "cost <= 9 USD"])
    found = best.marginal("carbon<=10 kgCO2e", [20, 12])
    assert [item.name for item in found.solutions[0].constraints if item.given_by_user] == [
        "carbon >= 2 kgCO2e", "cost <= 9 USD", "carbon <= 20 kgCO2e"
    ]  # fmt: skip
    # what is asked of such an answer is asked under its own limit
    assert found.solutions[1].what_if().objective.value == 5
    assert found.solutions[1].request["constraints"][-1] == "carbon <= 12 kgCO2e"
    # of a conjunction the other part stays: 5 USD or more
    both = mo.optimize(ships(), constraints=["2 kgCO2e <= carbon <= 10 kgCO2e", "cost >= 5 USD"])
    assert both.marginal("carbon <= 20 kgCO2e", [20, 10]).values[0].value == 5
    assert both.what_if(without=["2 kgCO2e <= carbon"], objective="min_carbon").objective.value == 3


def test_a_limit_given_as_a_function() -> None:
    best = mo.optimize(ships(), constraints=["carbon <= 10 kgCO2e"])
    found = best.marginal(lambda plan: plan.carbon <= "10 kgCO2e", ["20 kgCO2e", "10 kgCO2e"])
    assert [item.value for item in found.values if item] == [2, 9]


def test_a_limit_of_a_design_replaces_what_it_means() -> None:
    job = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 256, "seq_len": 8192}
    tight = mo.optimize("parallelism", constraints=["memory <= 40 GB"], **job)
    free = mo.optimize("parallelism", constraints=["memory <= 80 GB"], **job)
    assert tight.objective.si > free.objective.si
    for text in ("memory<=40 GB", "memory <= 40000 MB", "40 GB >= memory"):
        values = tight.marginal(text, ["80 GB", "40 GB"]).values
        assert [item.si for item in values if item] == [free.objective.si, tight.objective.si]


def test_givens_of_a_problem_that_a_function_adds_to_are_not_changed_without_it() -> None:
    def capped(problem: CoupledProblem) -> None:
        problem.measure("twice", problem.totals["cost"] * 2, unit="USD")

    jobs = [{"name": "a", "designs": [{"accelerator": "H100", "nodes": 1, "time": "2 h", "node_power": "8 kW"}]}]
    given = {"jobs": jobs, "accelerators": "H100", "regions": "AWS_us_east_1", "price": "2 USD/h"}
    best = mo.optimize("placement", extend=capped, constraints=["twice <= 100 USD"], **given)
    with pytest.raises(InputError, match="function"):
        best.what_if(price="3 USD/h")
    # over scenarios the function is known: 2 h on 8 accelerators, at 3 USD/h, twice
    safe = mo.optimize(
        "placement", extend=capped, scenarios=[{}, {"price": "2.5 USD/h"}], objective="min_twice", **given
    )
    assert safe.objective.value == 80
    assert safe.what_if(price="3 USD/h").objective.value == 96
