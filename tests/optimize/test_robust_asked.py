"""What is asked of a robust answer: ways out, what-ifs and limits are about all scenarios. By hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra import lookup
from mlsysim_opt.algebra.expression import Symbol
from mlsysim_opt.errors import InfeasibleError, InputError, LimitReachedError
from mlsysim_opt.optimize import CoupledProblem, Largest, Problem
from mlsysim_opt.units import NONE


def ships() -> CoupledProblem:
    """Two jobs, each in Iowa or Quebec: what is paid, and what is emitted, add up."""
    made = CoupledProblem("ships", default_objective="min_cost")
    job, place = made.choose("job", ["a", "b"]), made.choose("place", ["Iowa", "Quebec"])
    run = made.picks("run", [job, place], for_each=[job])
    made.measure("cost", run * made.table("price", [place], [1, 2], "USD"), unit="USD")
    made.measure("carbon", run * made.table("emitted", [place], [3, 1], "tCO2e"), unit="tCO2e")
    made.measure("worst", Largest(run * made.table("time", [place], [4, 6], "h"), (job,)), unit="h")
    return made


# jobs in Quebec:      0     1     2
#   cost as given      2     3     4 USD;   otherwise 20, 19, 18 USD
#   carbon as given    6     4     2 tCO2e; otherwise  4,  6,  8 tCO2e
#   worst as given     4     6     6 h;     otherwise  9,  9,  5 h
SCENARIOS: list[dict[str, Any]] = [{}, {"price": [10, 9], "emitted": [2, 4], "time": [9, 5]}]


def refused(constraints: list[str], measure: str = "worst_case", **asked: Any) -> InfeasibleError:
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(ships(), scenarios=SCENARIOS, robust=measure, constraints=constraints, **asked)
    return caught.value


@pytest.mark.parametrize("measure", ["worst_case", "expected", "cvar", "regret"])
def test_a_way_out_is_one_in_all_scenarios(measure: str) -> None:
    # the cheapest in its worst scenario costs 18 USD: 7 more than 11
    error = refused(["cost <= 11 USD"], measure)
    assert [str(way) for way in error.relaxations] == [
        "'cost <= 11 USD' by 7 USD: a limit of 18 USD instead of 11 USD"
    ]  # fmt: skip
    assert error.conflict == ("cost <= 11 USD",)
    mo.optimize(ships(), scenarios=SCENARIOS, robust=measure, constraints=["cost <= 18 USD"])


def test_ways_out_of_several_limits() -> None:
    # with 5 tCO2e alone: 6 at least; with 18 USD as well only both jobs in Quebec are left, at 8
    error = refused(["carbon <= 5 tCO2e", "cost <= 18 USD"])
    assert error.conflict == ("carbon <= 5 tCO2e",)
    assert str(error.relaxations[0]) == "'carbon <= 5 tCO2e' by 3 tCO2e: a limit of 8 tCO2e instead of 5 tCO2e"
    # from below: both in Quebec emit 2 as given, one 4 and 6; none 6 and 4
    error = refused(["carbon >= 5 tCO2e"])
    assert str(error.relaxations[0]) == "'carbon >= 5 tCO2e' by 1 tCO2e: a limit of 4 tCO2e instead of 5 tCO2e"
    # the largest of something: 6 h at least, with both in Quebec
    error = refused(["worst <= 5 h"])
    assert str(error.relaxations[0]) == "'worst <= 5 h' by 1 h: a limit of 6 h instead of 5 h"
    # a ratio: its least is not a sum
    error = refused(["cost / carbon <= 1 USD/tCO2e"])
    assert str(error.relaxations[0]) == "give up 'cost / carbon <= 1 USD/tCO2e'"


def test_an_objective_that_is_the_largest_of_something() -> None:
    found = mo.optimize(ships(), objective="min_worst", scenarios=SCENARIOS)
    assert str(found.objective) == "6 h"
    assert found.robustness is not None
    assert [str(item) for item in found.robustness.values] == ["6 h", "5 h"]
    with pytest.raises(InputError, match="tail"):
        mo.optimize(ships(), objective="min_worst", scenarios=SCENARIOS, robust="cvar")


def test_the_givens_as_they_are_need_be_no_scenario() -> None:
    # as given nothing costs 5 USD or more
    found = mo.optimize(ships(), scenarios=SCENARIOS[1:], constraints=["cost >= 5 USD"])
    assert str(found.objective) == "18 USD"
    report = found.robustness
    assert report is not None
    assert (report.nominal, report.of_robust, report.price, report.of_nominal) == (None, None, None, [None])
    assert "nothing is possible for the givens as they are" in str(found)
    assert mo.PlanSolution.from_json(found.to_json()).robustness == report


def test_ways_out_of_placement() -> None:
    jobs = [{"name": name, "designs": [{"accelerator": "H100", "nodes": 1, "time": "2 h", "node_power": "8 kW"}]}
            for name in "ab"]  # fmt: skip
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(
            "placement", jobs=jobs, accelerators="H100", regions=["AWS_us_east_1", "AWS_eu_north_1"],
            price={"AWS_us_east_1": "2 USD/h", "AWS_eu_north_1": "3 USD/h"},
            scenarios=[{}, {"price": "30 USD/h"}], constraints=["cost <= 100 USD"],
        )  # fmt: skip
    # 2 jobs, 2 h on 8 accelerators at 30 USD/h
    assert "a limit of 960 USD instead of 100 USD" in str(caught.value)


def loads() -> Problem:
    """A size whose heat grows with a load, and whose cost falls."""
    made = Problem("loads", values={"load": 1.0}, default_objective="min_cost")
    size, load = made.choose("size", [1, 2, 3]), Symbol("load", NONE)
    made.measure("cost", lookup(size, {1: 9.0, 2: 5.0, 3: 4.0}))
    made.measure("heat", size * load)
    return made


def test_ways_out_of_a_design() -> None:
    # heat at loads of 2 and 3: the smallest has 3 at most
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(loads(), scenarios=[{"load": 2}, {"load": 3}], constraints=["heat <= 1"])
    assert caught.value.conflict == ("heat <= 1",)
    (way,) = caught.value.relaxations
    assert str(way).startswith("'heat <= 1' by 2: a limit of 3 instead of 1")


def test_what_is_not_asked_over_scenarios_says_so() -> None:
    with pytest.raises(InputError, match="front is of one scenario"):
        mo.pareto(ships(), objectives=["min_cost", "min_carbon"], scenarios=SCENARIOS)
    with pytest.raises(InputError, match="ratio"):
        mo.optimize(ships(), objective="cost / carbon", scenarios=SCENARIOS)
    with pytest.raises(InputError, match="one objective"):
        mo.optimize(ships(), objective=["min_cost", "min_carbon"], scenarios=SCENARIOS)
    with pytest.raises(InputError, match="earlier"):
        mo.optimize(ships(), scenarios=SCENARIOS, start=mo.optimize(ships()))


# the same question otherwise ------------------------------------------------------------------------------------------
def test_a_what_if_of_a_robust_plan_is_robust() -> None:
    first = mo.optimize(ships(), scenarios=SCENARIOS)
    assert str(first.objective) == "18 USD"
    again = first.what_if()
    assert (str(again.objective), again.robustness) == ("18 USD", first.robustness)
    # both in Quebec emit 8 in the other scenario; one of them 6, at 19 USD
    other = first.what_if(constraints=["carbon <= 7 tCO2e"])
    assert str(other.objective) == "19 USD"
    assert other.robustness is not None
    assert [str(item) for item in other.robustness.values] == ["3 USD", "19 USD"]
    assert str(other.what_if(without=["carbon <= 7 tCO2e"]).objective) == "18 USD"
    assert str(first.what_if(objective="min_carbon").objective) == "6 tCO2e"
    with pytest.raises(InfeasibleError, match="limit of 6 tCO2e instead of 5 tCO2e"):
        first.what_if(constraints=["carbon <= 5 tCO2e"])
    with pytest.raises(InputError, match="one objective"):
        first.what_if(objective=["min_cost", "min_carbon"])


@pytest.mark.parametrize("measure", ["worst_case", "expected", "regret"])
def test_a_stored_robust_plan_is_asked_again(measure: str) -> None:
    jobs = [{"name": "a", "designs": [{"accelerator": "H100", "nodes": 1, "time": "2 h", "node_power": "8 kW"}]}]
    asked = {"jobs": jobs, "accelerators": "H100", "regions": ["AWS_us_east_1", "AWS_eu_north_1"],
             "price": {"AWS_us_east_1": "2 USD/h", "AWS_eu_north_1": "3 USD/h"}}  # fmt: skip
    first = mo.optimize("placement", scenarios=[{}, {"price": "30 USD/h"}], robust=measure, **asked)
    read = mo.PlanSolution.from_json(first.to_json())
    assert read.verify()["constraints_hold"]
    # four jobs' worth of hours costs four times as much, in each scenario: worst 1,920 USD instead of 480
    longer = [{**jobs[0], "designs": [{**jobs[0]["designs"][0], "time": "8 h"}]}]
    for plan in (first, read):
        assert plan.what_if().objective == first.objective
        changed = plan.what_if(jobs=longer)
        assert changed.robustness is not None
        assert [item.value for item in changed.robustness.values] == pytest.approx([128, 1920])
        assert changed.request["given"]["jobs"][0]["designs"][0]["time"] != "2 h"


def test_what_ifs_and_limits_of_a_robust_design() -> None:
    scenarios = [{"load": 2}, {"load": 3}]
    first = mo.optimize(loads(), scenarios=scenarios)
    # heat at a load of 3: 3, 6, 9
    assert first.design == {"size": 3}
    other = first.what_if(constraints=["heat <= 8"])
    assert other.design == {"size": 2}
    assert other.robustness is not None
    steps = first.marginal("heat <= 9", [9, 6, 5, 2])
    assert [None if item is None else item.value for item in steps.values] == [4, 5, 9, None]
    assert [None if item is None else item.value for item in steps.reached] == [9, 6, 3, None]
    given = {"model": "Llama3_70B", "hardware": "H200", "seq_len": 4096, "output_len": 512}
    longer = [{}, {"seq_len": 8192}]
    fast = mo.optimize("compression", objective="min_itl", scenarios=longer, **given)
    assert fast.what_if(constraints=["batch_size >= 4"]).robustness is not None
    stored = mo.Solution.from_json(fast.to_json())
    assert stored.what_if().robustness == fast.robustness
    changed = stored.what_if(output_len=1024)
    again = mo.optimize("compression", objective="min_itl", scenarios=longer, **{**given, "output_len": 1024})
    assert changed.objective == again.objective


def test_limits_of_a_robust_plan_hold_in_all_scenarios() -> None:
    # worst carbon of none, one, two in Quebec: 6, 6, 8; worst cost 20, 19, 18
    steps = mo.optimize(ships(), scenarios=SCENARIOS).marginal("carbon <= 8 tCO2e", [8, 7, 5, 4])
    assert [None if item is None else item.value for item in steps.values] == [18, 19, None, None]
    assert [None if item is None else item.value for item in steps.reached] == [8, 6, None, None]
    assert steps.objective == "worst_case of min_cost"
    assert steps.solutions[1].robustness is not None
    # from below, the worst is the least: carbon of one in Quebec is 4 and 6, of none 6 and 4, of two 2 and 8
    below = mo.optimize(ships(), scenarios=SCENARIOS).marginal("carbon >= 1 tCO2e", [1, 3, 5])
    assert [None if item is None else item.value for item in below.values] == [18, 19, None]


def test_hundreds_of_corners() -> None:
    # 256 corners of eight prices, each twice as high at worst; eight kinds cost 1 to 8, of one each at least
    made = CoupledProblem("corners", values={f"price_{kind}": 1.0 for kind in range(1, 9)})
    kind = made.choose("kind", range(1, 9))
    some = made.amounts("some", [kind], whole=True, low=1)
    parts = []
    for at in range(1, 9):
        here = lookup(kind, {item: float(at if item == at else 0) for item in range(1, 9)})
        parts.append(some * (Symbol(f"price_{at}", NONE) * here))
    made.measure("cost", sum(parts[1:], parts[0]))
    intervals = {f"price_{at}": (0.5, 2.0) for at in range(1, 9)}
    assert mo.optimize(made, objective="min_cost", intervals=intervals).objective.value == 2 * 36
    with pytest.raises(InfeasibleError, match="limit of 72 instead of 50"):
        mo.optimize(made, objective="min_cost", intervals=intervals, constraints=["cost <= 50"])


def test_a_regret_rests_on_bests_that_are_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlsysim_opt.optimize.coupled import robust

    monkeypatch.setattr(
        robust, "solve_coupled", lambda *args, **asked: replace(mo.optimize(ships()), status="feasible")
    )
    with pytest.raises(LimitReachedError, match="no best was proven"):
        mo.optimize(ships(), scenarios=SCENARIOS, robust="regret")
