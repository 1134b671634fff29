"""The placement formulation: arithmetic by hand, random small instances against brute force, and faults."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mlsysim_opt.formulations import training_columns
from mlsysim_opt.formulations.placement import placement
from mlsysim_opt.formulations.serving_columns import serving_ways
from scipy.optimize import linprog

import mlsysim_opt as mo
from mlsysim_opt.cli import main
from mlsysim_opt.errors import InfeasibleError, InputError, LimitReachedError, MissingFieldError, UnknownNameError
from mlsysim_opt.optimize.backends.highs import HighsProgram, Result
from mlsysim_opt.optimize.coupled import generate, pooled, pools
from mlsysim_opt.optimize.coupled.compile import Compiler
from mlsysim_opt.optimize.coupled.places import undominated_places
from mlsysim_opt.optimize.coupled.probing import with_each
from mlsysim_opt.optimize.coupled.program import LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.units import parse_unit

REGIONS = ("AWS_us_east_1", "AWS_ca_central_1", "AWS_eu_central_1")
TRAINING = {
    "name": "pretraining", "model": "Llama3_8B", "token_budget": "1e11 token", "global_batch_size": 512,
    "seq_len": 8192,
}  # fmt: skip


def design(nodes: int, hours: float, kilowatts: float, name: str = "design", accelerator: str = "H100") -> Any:
    return {
        "name": name, "accelerator": accelerator, "nodes": nodes, "time": f"{hours!r} h",
        "node_power": f"{kilowatts!r} kW",
    }  # fmt: skip


def place(**given: Any) -> PlanSolution:
    found = mo.optimize("placement", **{"accelerators": "H100", "regions": list(REGIONS), **given})
    assert isinstance(found, PlanSolution)
    return found


def pue(region: str) -> float:
    return float(default_catalog().find("datacenter", region).parameter("pue").si)


def test_one_job_by_hand() -> None:
    # 2 nodes of 8 accelerators for 10 h: 160 accelerator hours at 2 USD are 320 USD. 2 nodes draw 5 kW each: 100 kWh,
    # times PUE 1.15 of us-east-1 are 115 kWh; at 400 g/kWh that is 46 kg.
    plan = place(
        jobs=[{"name": "a", "designs": [design(2, 10.0, 5.0)]}],
        regions="AWS_us_east_1",
        price="2 USD/h",
        carbon_intensity="400 gCO2e/kWh",
        carbon_price="100 USD/tCO2e",
    )
    assert pue("AWS_us_east_1") == 1.15
    assert plan.metrics["device_time"].m_as("h") == pytest.approx(160)
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(320)
    assert plan.metrics["it_energy"].m_as("kWh") == pytest.approx(100)
    assert plan.metrics["energy"].m_as("kWh") == pytest.approx(115)
    assert plan.metrics["carbon"].m_as("kgCO2e") == pytest.approx(46)
    assert plan.metrics["total_cost"].m_as("USD") == pytest.approx(324.6)
    assert plan.verify()["constraints_hold"]


def test_a_job_that_may_pause_works_in_the_cleanest_periods() -> None:
    # 2.5 h of 4, intensities 400, 100, 300, 200: the whole of 100 and 200, and half of 300.
    plan = place(
        jobs=[{"name": "a", "designs": [design(1, 2.5, 10.0)]}],
        regions="AWS_us_east_1", duration="4 h", periods=4,
        carbon_intensity=[f"{value} gCO2e/kWh" for value in (400, 100, 300, 200)], objective="min_carbon",
    )  # fmt: skip
    hours = {row["period"]: row["amount"] for row in plan.amounts["work"]}
    assert hours == pytest.approx({1: 1.0, 3: 1.0, 2: 0.5})
    assert plan.metrics["carbon"].m_as("kgCO2e") == pytest.approx(10 * 1.15 * (0.1 + 0.2 + 0.5 * 0.3))


def test_a_job_that_does_not_pause_begins_at_the_best_hour() -> None:
    # windows of 2.5 h from 0, 1 (the end of the 4 h forbids later): 400 + 100 + 150 against 100 + 300 + 100
    plan = place(
        jobs=[{"name": "a", "designs": [design(1, 2.5, 10.0)]}],
        regions="AWS_us_east_1", duration="4 h", periods=4, pauses=False,
        carbon_intensity={"values": [400, 100, 300, 200], "unit": "gCO2e/kWh"}, objective="min_carbon",
    )  # fmt: skip
    assert [row["start"] for row in plan.amounts["jobs"]] == [1]
    assert plan.metrics["carbon"].m_as("kgCO2e") == pytest.approx(10 * 1.15 * 0.5)


def test_half_the_nodes_are_held_and_the_peak_is_rented() -> None:
    # Measured: 1 request/s an accelerator, loaded to 0.5. 4, 4, 4 and 12 request/s need 8, 8, 8 and 24 accelerators.
    # Held: 1 node of 8 at 1 USD/h for 4 h: 32 USD, and 16 rented at 3 USD for one hour: 48 USD. A second node held
    # would cost 32 and save 24.
    plan = place(
        demands=[{"name": "d", "requests_per_device": "1 request/s",
                  "rate": {"values": [4, 4, 4, 12], "unit": "request/s"}}],
        regions="AWS_us_east_1", duration="4 h", periods=4, serving_utilization=0.5,
        hold="reserved", reserved_price="1 USD/h", price="3 USD/h",
    )  # fmt: skip
    assert [(row["amount"], row["unit"]) for row in plan.amounts["held"]] == [(1, "nodes")]
    assert "accelerator=H100, region=AWS_us_east_1: 1 nodes" in str(plan)
    assert "period=3: 16 accelerators" in str(plan)
    assert "period=0 to 2: 4 request/s each" in str(plan)  # neighbours that are the same are told once
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(80)
    node = default_catalog().find("node", "DGX_H100")
    # six node hours, all with requests: a server at half of its rate is no less at work for that
    assert plan.metrics["it_energy"].m_as("J") == pytest.approx(6 * 3600 * node.parameter("busy_power").si, rel=1e-9)
    assert "busy power all the time" in plan.assumptions["power of servers"]


def test_jobs_take_turns_in_whole_periods_where_accelerators_are_few() -> None:
    # 8 accelerators: jobs of 2.5 h and 1 h, one node each, take 3 and 1 of the 4 periods, and never the same one
    given: dict[str, Any] = {
        "jobs": [
            {"name": "long", "designs": [design(1, 2.5, 10.0)]},
            {"name": "short", "designs": [design(1, 1.0, 10.0)]},
        ],
        "regions": "AWS_us_east_1", "price": "2 USD/h", "capacity": 8,
    }  # fmt: skip
    plan = place(duration="4 h", periods=4, **given)
    works = [(row["period"], row["job"]) for row in plan.amounts["work"]]
    assert sorted(period for period, _ in works) == [0, 1, 2, 3]
    assert sum(job == "long" for _, job in works) == 3
    assert sorted((row["period"], row["job"]) for row in plan.amounts["kept"]) == sorted(works)
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(8 * 3.5 * 2)  # others have the half hour of nobody
    assert (
        "the whole of each period of 1 h in which it works; it pays for its own time"
        in (plan.assumptions["whole periods"])
    )
    with pytest.raises(InfeasibleError, match=r"'capacity' by . accelerators where"):
        place(duration="3 h", periods=3, **given)
    straight = place(duration="4 h", periods=4, pauses=False, **given)
    begins = {row["job"]: row["start"] for row in straight.amounts["jobs"]}
    assert begins in ({"long": 0, "short": 3}, {"long": 1, "short": 0})
    assert straight.metrics["cost"].m_as("USD") == pytest.approx(8 * 3.5 * 2)


def test_a_job_that_only_whole_periods_make_impossible_is_named() -> None:
    # 50 h by 60 h: possible, and 3 whole days of which 2 are over by then; of 6 half days it takes and has 5. Bought
    # nodes are held for the duration: no more of them for 5 half days of work, and power for 50 h
    given: dict[str, Any] = {
        "jobs": [{"name": "a", "deadline": "60 h", "designs": [design(1, 50.0, 10.0)]}],
        "regions": "AWS_us_east_1", "price": "2 USD/h", "duration": "72 h",
    }  # fmt: skip
    for free in ({}, {"capacity": 80}):  # a job keeps its accelerators on the third day, and is done at noon
        assert place(periods=3, **free, **given).metrics["cost"].m_as("USD") == pytest.approx(50 * 8 * 2)
    held = {**given, "hold": "buy", "electricity_price": "0.1 USD/kWh"}
    with pytest.raises(InfeasibleError, match=r"of 24 h: a takes 50 h.*is 3 .*has 2 .*deadline of 60 h") as said:
        place(periods=3, **held)
    assert "more periods (periods=6), or more time" in str(said.value)
    finer = place(periods=6, **held)
    assert sum(row["amount"] for row in finer.amounts["work"]) == 5
    assert finer.metrics["device_time"].m_as("h") == pytest.approx(50 * 8)
    assert finer.metrics["it_energy"].m_as("kWh") == pytest.approx(50 * 10 + 22 * 1.5)  # 1.5 kW when idle


def test_bought_nodes_draw_power_and_lose_value() -> None:
    # 4 years of 35,064 h: 24 h carry 24 / 35064 of the price, and 5 percent a year in maintenance
    plan = place(
        demands=[{"name": "d", "requests_per_device": "1 request/s", "rate": "8 request/s"}],
        regions="AWS_us_east_1", duration="24 h", serving_utilization=1.0, hold="buy",
        electricity_price="0.10 USD/kWh",
    )  # fmt: skip
    node = default_catalog().find("node", "DGX_H100")
    kwh = node.parameter("busy_power").si * 24 / 1000 * 1.15
    price = 375_000.0
    expected = price * 24 / 35064 + price * 0.05 * 24 / 8766 + kwh * 0.10
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(expected)


# brute force ----------------------------------------------------------------------------------------------------------
@st.composite
def instances(draw: st.DrawFn) -> dict[str, Any]:
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    periods = draw(st.sampled_from([1, 3]))
    regions = list(REGIONS[: number(1, 3)])
    jobs = [
        {
            "name": f"job {place}",
            "designs": [
                design(number(1, 4), number(1, 20) / 10 * periods, number(3, 10), f"way {way}")
                for way in range(number(1, 2))
            ],
        }
        for place in range(number(1, 2))
    ]
    return {
        "jobs": jobs,
        "demands": [{"name": "d", "requests_per_device": "2 request/s", "rate": f"{number(1, 30)} request/s"}],
        "regions": regions,
        "duration": f"{2 * periods} h",
        "serving_utilization": 0.7,
        "periods": periods,
        "carbon_intensity": {
            region: {"values": [number(10, 900) for _ in range(periods)], "unit": "gCO2e/kWh"} for region in regions
        },
        "price": {"H100": {region: f"{number(100, 400) / 100} USD/h" for region in regions}},
        "cap": number(1, 10) / 10,
    }


def by_brute_force(item: dict[str, Any], carbon_cap: float | None) -> float:
    """Return the least cost: every combination of picks, a linear program for the rest of each; infinity for none."""
    periods, regions = item["periods"], item["regions"]
    node = default_catalog().find("node", "DGX_H100")
    busy = node.parameter("busy_power").si / 1000
    price = {region: float(item["price"]["H100"][region].split()[0]) for region in regions}
    grid = {region: np.array(item["carbon_intensity"][region]["values"]) / 1000 * pue(region) for region in regions}
    rate = float(item["demands"][0]["rate"].split()[0])
    ways = [
        [
            (region, way["nodes"], float(way["time"].split()[0]), float(way["node_power"].split()[0]))
            for way in job["designs"]
            for region in regions
        ]
        for job in item["jobs"]
    ]
    best = math.inf
    for combination in itertools.product(*ways):
        cost, carbon, equal, limit, bounds = [], [], [], [], []
        count = periods * (len(combination) + len(regions))
        for place, (region, nodes, hours, kilowatts) in enumerate(combination):
            row = np.zeros(count)
            row[place * periods : (place + 1) * periods] = 1
            equal.append(row)
            limit.append(hours)
            cost += [8 * nodes * price[region]] * periods
            carbon += list(nodes * kilowatts * grid[region])
            bounds += [(0, 2)] * periods
        for region in regions:  # hours times requests per second; 2 request/s at full load, loaded to 0.7
            cost += [2 * price[region] / 1.4] * periods
            carbon += list(2 * busy / 8 / 1.4 * grid[region])
            bounds += [(0, None)] * periods
        for period in range(periods):
            row = np.zeros(count)
            row[len(combination) * periods + period :: periods] = 1
            equal.append(row)
            limit.append(rate)
        if any(hours > 2 * periods for _, _, hours, _ in combination):
            continue
        capped = {} if carbon_cap is None else {"A_ub": [carbon], "b_ub": [carbon_cap]}
        found = linprog(cost, A_eq=equal, b_eq=limit, bounds=bounds, **capped)
        if found.status == 0:
            best = min(best, found.fun)
    return best


@settings(max_examples=25, deadline=None)
@given(instances())
def test_random_instances_have_the_cost_of_brute_force(item: dict[str, Any]) -> None:
    asked = {name: value for name, value in item.items() if name != "cap"}
    cheapest = by_brute_force(item, None)
    if math.isinf(cheapest):
        with pytest.raises(InfeasibleError):
            place(**asked)
        return
    plan = place(**asked)
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(cheapest, rel=1e-9)
    cleanest = place(objective="min_carbon", **asked).metrics["carbon"].m_as("kgCO2e")
    cap = cleanest + item["cap"] * (plan.metrics["carbon"].m_as("kgCO2e") - cleanest) + 1e-6
    expected = by_brute_force(item, cap)
    for prune in (True, False):
        capped = place(constraints=[f"carbon <= {cap!r} kgCO2e"], prune=prune, **asked)
        assert capped.status == "optimal"
        assert capped.metrics["cost"].m_as("USD") == pytest.approx(expected, rel=1e-6)
        assert capped.metrics["carbon"].m_as("kgCO2e") <= cap * (1 + 1e-9)
        assert capped.verify()["constraints_hold"]


@settings(max_examples=25, deadline=None)
@given(instances(), st.data())
def test_generated_columns_are_as_good_as_the_program_that_holds_all(item: dict[str, Any], data: st.DataObject) -> None:
    asked = {name: value for name, value in item.items() if name != "cap"}
    asked |= {"periods": 4, "duration": "8 h"}
    for region in asked["regions"]:
        draws = data.draw(st.lists(st.integers(10, 900), min_size=4, max_size=4))
        asked["carbon_intensity"][region] = {"values": draws, "unit": "gCO2e/kWh"}
    cheapest, cleanest = place(**asked), place(objective="min_carbon", **asked)
    low, high = (plan.metrics["carbon"].m_as("kgCO2e") for plan in (cleanest, cheapest))
    cap = low + item["cap"] * (high - low) + 1e-6
    limits = [f"carbon <= {cap!r} kgCO2e"]
    held = place(constraints=limits, **asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "LARGE", 0)
        made = place(constraints=limits, **asked)
        assert place(**asked).metrics["cost"].m_as("USD") == pytest.approx(cheapest.metrics["cost"].m_as("USD"))
        assert place(objective="min_carbon", **asked).metrics["carbon"].m_as("kgCO2e") == pytest.approx(low)
    assert "column generation" in made.certificate.proof
    best = held.metrics["cost"].m_as("USD")
    assert made.bound is not None
    assert made.bound.value <= best * (1 + 1e-9)  # the bound is below every plan
    assert made.status == "optimal"
    assert made.metrics["cost"].m_as("USD") == pytest.approx(best, rel=1e-7)
    assert made.verify()["constraints_hold"]


@settings(max_examples=15, deadline=None)
@given(instances(), st.data())
def test_generated_columns_leave_out_single_periods(item: dict[str, Any], data: st.DataObject) -> None:
    """A region that is closed in some hours still takes work in the others."""
    asked = {name: value for name, value in item.items() if name != "cap"}
    region, hour = data.draw(st.sampled_from(asked["regions"])), data.draw(st.integers(1, 2))
    assume(item["periods"] > 1)
    closed = f"region != '{region}' or period >= {hour}"
    expected: Any = None
    with contextlib.suppress(InfeasibleError):
        expected = place(constraints=[closed], **asked).metrics["cost"].m_as("USD")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "LARGE", 0)
        if expected is None:
            with pytest.raises(InfeasibleError):
                place(constraints=[closed], **asked)
            return
        made = place(constraints=[closed], **asked)
    assert "column generation" in made.certificate.proof
    assert made.metrics["cost"].m_as("USD") == pytest.approx(expected, rel=1e-7)


@settings(max_examples=25, deadline=None)
@given(instances(), st.data())
def test_nodes_held_over_hours_are_bounded_and_planned_as_by_the_program_that_holds_all(
    item: dict[str, Any], data: st.DataObject
) -> None:
    rate = data.draw(st.lists(st.integers(2, 40), min_size=4, max_size=4))
    asked = {name: value for name, value in item.items() if name != "cap"} | {"periods": 4, "duration": "8 h"}
    asked["demands"] = [
        {"name": "d", "requests_per_device": "1 request/s", "rate": {"values": rate, "unit": "request/s"}}
    ]
    for region in asked["regions"]:
        draws = data.draw(st.lists(st.integers(10, 900), min_size=4, max_size=4))
        asked["carbon_intensity"][region] = {"values": draws, "unit": "gCO2e/kWh"}
    asked |= data.draw(
        st.sampled_from([
            {"hold": "reserved", "reserved_price": "1.2 USD/h"},
            {"hold": "reserved", "reserved_price": "1.2 USD/h", "capacity": 88},
            {"hold": "buy", "electricity_price": "0.1 USD/kWh"},
        ])
    )  # fmt: skip
    limits = []
    if data.draw(st.booleans()):
        cleanest = place(objective="min_carbon", **asked).metrics["carbon"].m_as("kgCO2e")
        limits = [f"carbon <= {cleanest * (1 + item['cap']) + 1e-6!r} kgCO2e"]
    if data.draw(st.booleans()):  # more than is of use
        limits = [f"it_energy >= {2 * place(**asked).metrics['it_energy'].m_as('kWh')!r} kWh"]
    try:
        best = place(constraints=limits, **asked)
    except InfeasibleError:  # there is no capacity for so much
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "LARGE", 0)
        whole = place(constraints=limits, **asked)
        patch.setattr(pooled, "WHOLE", 0)
        made = place(constraints=limits, **asked)
    for found in (whole, made):
        assert found.bound is not None
        assert found.bound.value <= best.objective.value * (1 + 1e-9)  # the bound is below every plan
        assert found.objective.value >= best.objective.value * (1 - 1e-7)
        assert found.verify()["constraints_hold"]
    if "stand in" in whole.certificate.proof:  # all that a best plan needs is searched
        assert whole.status == "optimal"
        assert whole.objective.value == pytest.approx(best.objective.value, rel=1e-7)
    if "weak duality" in made.certificate.proof:
        assert made.status == "optimal" or made.gap


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_jobs_and_demands_that_share_few_places_are_planned_as_by_the_program_that_holds_all(
    data: st.DataObject,
) -> None:
    """Several jobs on what is held at one place, some hours or regions closed to them, with little time or much."""
    hours = data.draw(st.integers(3, 5))
    jobs = []
    for name in "abc"[: data.draw(st.integers(2, 3))]:
        item: dict[str, Any] = {
            "name": name,
            "designs": [
                design(data.draw(st.integers(1, 4)), float(data.draw(st.integers(1, hours))), 8.0, accelerator=kind)
                for kind in ("H100", "A100")
            ],
        }
        if data.draw(st.booleans()):
            item["start"] = f"{data.draw(st.integers(0, 1))} h"
        jobs.append(item)
    rates = data.draw(st.lists(st.integers(1, 40), min_size=hours, max_size=hours))
    asked: dict[str, Any] = {
        "jobs": jobs, "accelerators": ["H100", "A100"], "regions": list(REGIONS[:2]),
        "demands": [
            {"name": "d", "requests_per_device": "1 request/s", "rate": {"values": rates, "unit": "request/s"}}
        ],
        "price": {
            kind: {region: f"{data.draw(st.integers(10, 40)) / 10} USD/h" for region in REGIONS[:2]}
            for kind in ("H100", "A100")
        },
        "reserved_price": {kind: f"{data.draw(st.integers(6, 20)) / 10} USD/h" for kind in ("H100", "A100")},
        "hold": "reserved", "duration": f"{hours} h", "periods": hours, "serving_utilization": 0.7,
    }  # fmt: skip
    limits = data.draw(st.sampled_from([[], [f"region != '{REGIONS[0]}' or period >= 1"], ["cost <= 1 USD"]]))
    try:
        best = place(constraints=limits, **asked)
    except InfeasibleError:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pools, "LARGE", 0)
            with pytest.raises(InfeasibleError):
                place(constraints=limits, **asked)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "LARGE", 0)
        made = place(constraints=limits, **asked)
    assert made.status == "optimal"
    assert made.bound is not None
    assert made.bound.value <= best.objective.value * (1 + 1e-9)
    assert made.objective.value == pytest.approx(best.objective.value, rel=1e-7)
    assert made.verify()["constraints_hold"]


def test_a_place_is_left_out_only_where_another_can_do_all_that_it_does() -> None:
    held = np.array([[1.0], [2.0], [0.5], [1.0]])
    # the first thing can be done at the first three places, the other at 1 and 3: by hand, 0 stands in for nobody that
    # does the other thing, 2 stands in for 0, and of 1 and 3, 3 does not do the first
    at, key = np.array([0, 1, 2, 1, 3]), np.array([0, 0, 0, 1, 1])
    assert undominated_places(held, [(at, key, np.ones((5, 1)))]).tolist() == [1, 2, 3]
    # equals are left out but for one
    assert len(undominated_places(np.ones((3, 1)), [])) == 1


def test_held_nodes_that_are_always_full_cost_what_the_relaxation_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # one job of 8 of 8 h fills its node: 1 held at 8 devices * 8 h * 1 USD/h, as cheap as the relaxation
    given: dict[str, Any] = {
        "jobs": [{"name": "a", "designs": [design(1, 8.0, 10.0)]}], "regions": list(REGIONS[:2]), "price": "3 USD/h",
        "demands": [{"name": "d", "requests_per_device": "1 request/s", "rate": "8 request/s"}],
        "duration": "8 h", "periods": 8, "serving_utilization": 1.0, "hold": "reserved", "reserved_price": "1 USD/h",
    }  # fmt: skip
    monkeypatch.setattr(pools, "LARGE", 0)
    monkeypatch.setattr(pooled, "WHOLE", 0)
    plan = place(**given)
    assert "weak duality" in plan.certificate.proof
    assert plan.status == "optimal"
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(2 * 8 * 8)
    assert plan.bound is not None
    assert plan.bound.value == pytest.approx(2 * 8 * 8)
    assert sum(row["amount"] for row in plan.amounts["held"]) == 2


def test_places_are_priced_where_their_relaxation_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {
        "jobs": [{"name": "a", "designs": [design(1, 8.0, 10.0)]}], "regions": list(REGIONS[:2]), "price": "3 USD/h",
        "duration": "8 h", "periods": 8, "serving_utilization": 1.0, "hold": "reserved", "reserved_price": "1 USD/h",
        "demands": [{"name": "d", "requests_per_device": "1 request/s", "rate": "8 request/s"}],
    }  # fmt: skip
    monkeypatch.setattr(pools, "LARGE", 0)
    late = Result("limit", None, None, -np.inf)
    monkeypatch.setattr(pooled._Pooled, "_relaxation", lambda *arguments: (late, 0.0))
    plan = place(**given)
    assert "weak duality" in plan.certificate.proof
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(2 * 8 * 8)  # two nodes of 8 held for 8 h at 1 USD/h


def test_a_relaxation_with_each_pick_says_what_plans_with_it_cost() -> None:
    # one of three, at 1, 2 and 5, with 3 more for each unit below 2 that it brings: they bring 0, 1 and 2
    program = LinearProgram.of(
        Triplets(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 1, 2, 3]), np.array([1.0, 1, 1, 1, 2, 1])),
        cost=np.array([1.0, 2, 5, 3]), low=np.zeros(4), high=np.array([1.0, 1, 1, np.inf]),
        whole=np.array([True, True, True, False]), row_low=np.array([1.0, 2]), row_high=np.array([1.0, np.inf]),
    )  # fmt: skip
    assert with_each(program, [0, 1, 2]).tolist() == pytest.approx([1 + 2 * 3, 2 + 3, 5])
    assert with_each(program, [2, 0, 1]).tolist() == pytest.approx([5, 7, 5])  # none leaves anything to the next
    assert with_each(program, [0], 0.0).tolist() == [-np.inf]  # no time: nothing is known


def in_base_units(front: Any, values: Any) -> Any:
    return np.array(values) * [parse_unit(item.unit or "1").factor for item in front.objectives]


@settings(max_examples=8, deadline=None)
@given(instances(), st.sampled_from([("min_cost", "min_carbon"), ("min_cost", "minimize carbon / energy"),
                                     ("min_cost", "min_carbon", "min_energy")]), st.data())  # fmt: skip
def test_a_front_of_generated_columns_is_a_cover(
    item: dict[str, Any], objectives: tuple[str, ...], data: st.DataObject
) -> None:
    asked = {name: value for name, value in item.items() if name != "cap"}
    asked |= {"periods": 3, "duration": "8 h", "accelerators": "H100"}
    for region in asked["regions"]:
        draws = data.draw(st.lists(st.integers(10, 900), min_size=3, max_size=3))
        asked["carbon_intensity"][region] = {"values": draws, "unit": "gCO2e/kWh"}
    held = mo.pareto("placement", objectives=list(objectives), points=9, **asked)  # by the program that holds all
    assert "columns" in held.details
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "LARGE", 0)
        made = mo.pareto("placement", objectives=list(objectives), points=4, **asked)
        for plan in made:
            assert plan.status == "optimal"
            assert plan.verify()["constraints_hold"]
    assert "tuples" in made.details
    assert made.settled
    known, found = in_base_units(held, held.values), in_base_units(made, made.values)
    steps = in_base_units(made, [made.steps or [0.0] * len(objectives)])[0]
    for row in known:  # something stands for each plan of the other front
        assert np.any(np.all(found <= row + steps + 1e-6 * np.abs(row), axis=1)), (row, found)
    for row in found:  # and no plan of the other front beats one of these
        better = np.all(known <= row - 1e-6 * np.abs(row), axis=1)
        assert not better.any(), (row, known[better])
    text = f"{objectives[1].removeprefix('min_').removeprefix('minimize ')} <= {{}} {made.objectives[1].unit}"
    if len(objectives) == 2:  # each is the cheapest of its carbon
        for row in made.values:
            best = place(constraints=[text.format(repr(float(row[1]) * (1 + 1e-9)))], **asked)
            assert best.metrics["cost"].m_as(made.objectives[0].unit) == pytest.approx(row[0], rel=1e-6)


@pytest.mark.parametrize("objective", ["carbon / cost", "carbon / energy", "maximize device_time / cost"])
def test_ratios_of_generated_columns(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {
        "jobs": [{"name": "a", "designs": [design(2, 4.0, 5.0, "small"), design(4, 3.0, 6.0, "large")]}],
        "demands": [{"name": "d", "requests_per_device": "2 request/s", "rate": "9 request/s"}],
        "duration": "8 h", "periods": 4, "serving_utilization": 0.7,
        "price": {"H100": {region: f"{2 + place} USD/h" for place, region in enumerate(REGIONS)}},
        "carbon_intensity": {region: {"values": [400 - 90 * place, 90 + 40 * place, 500, 120], "unit": "gCO2e/kWh"}
                             for place, region in enumerate(REGIONS)},
    }  # fmt: skip
    limits = ["carbon / cost <= 0.12 kgCO2e/USD"]
    best, cheapest = place(objective=objective, **given), place(constraints=limits, **given)
    monkeypatch.setattr(generate, "LARGE", 0)
    monkeypatch.setattr(Compiler, "compile", None)  # no program of all tuples is made
    made = place(objective=objective, **given)
    assert made.status == "optimal"
    assert made.objective.si == pytest.approx(best.objective.si, rel=1e-8)
    assert place(constraints=limits, **given).objective.si == pytest.approx(cheapest.objective.si, rel=1e-8)
    with pytest.raises(InputError, match="may be negative"):
        place(constraints=["cost / (carbon - 1 tCO2e) <= 2 USD/kgCO2e"], **given)


@pytest.mark.parametrize("after", [1, 2, 3, 5, 8, 13, 21, 34, 55])
def test_ctrl_c_never_makes_a_possible_placement_impossible(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {
        "jobs": [{"name": f"{place}", "designs": [design(2, 4.0, 5.0, "small"), design(4, 3.0, 6.0, "large")]}
                 for place in range(3)],
        "demands": [{"name": "d", "requests_per_device": "2 request/s", "rate": "9 request/s"}],
        "duration": "8 h", "periods": 4, "serving_utilization": 0.7,
        "price": {"H100": {region: f"{2 + place} USD/h" for place, region in enumerate(REGIONS)}},
        "carbon_intensity": {region: {"values": [400 - 90 * place, 90 + 40 * place, 500, 120], "unit": "gCO2e/kWh"}
                             for place, region in enumerate(REGIONS)},
    }  # fmt: skip
    both = ["min_cost", "min_carbon"]
    best = place(constraints=["carbon <= 200 kgCO2e"], **given).objective.value
    whole = mo.pareto("placement", objectives=both, regions=list(REGIONS), accelerators="H100", points=5, **given)
    monkeypatch.setattr(generate, "LARGE", 0)
    count = itertools.count(1)

    watched = HighsProgram._watched

    @contextlib.contextmanager
    def interrupted(self: HighsProgram, watch: Any) -> Any:
        with watched(self, watch) as pressed:
            if next(count) == after:
                signal.raise_signal(signal.SIGINT)
            yield pressed

    monkeypatch.setattr(HighsProgram, "_watched", interrupted)
    try:
        plan = place(constraints=["carbon <= 200 kgCO2e"], **given)
    except LimitReachedError:
        pass
    else:
        assert plan.status == "feasible" or plan.objective.value == pytest.approx(best, rel=1e-7)
        assert plan.bound is None or plan.bound.value <= best * (1 + 1e-7)
    count = itertools.count(1)
    try:
        found = mo.pareto("placement", objectives=both, regions=list(REGIONS), accelerators="H100", points=5, **given)
    except LimitReachedError:
        return
    for row in in_base_units(whole, whole.values):
        reach = row * (1 + 1e-6) + in_base_units(found, [found.steps or [0.0, 0.0]])[0]
        assert np.any(np.all(in_base_units(found, found.values) <= reach, axis=1)) or not found.settled


def test_generated_columns_say_when_nothing_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "LARGE", 0)
    given: dict[str, Any] = {
        "jobs": [{"name": "a", "designs": [design(1, 5.0, 10.0)]}], "price": "2 USD/h", "duration": "8 h", "periods": 8,
        "carbon_intensity": "400 gCO2e/kWh",
    }  # fmt: skip
    assert place(**given).metrics["cost"].m_as("USD") == pytest.approx(80)
    with pytest.raises(InfeasibleError, match="cost"):
        place(constraints=["cost <= 79 USD"], **given)
    with pytest.raises(InfeasibleError):
        place(constraints=["carbon <= 1 kgCO2e", "cost <= 200 USD"], **given)


# what is promised to those who are served -----------------------------------------------------------------------------
SERVED: dict[str, Any] = {
    "name": "chat", "model": "Llama3_8B", "precision": "fp8", "input_len": 500, "output_len": 250,
    "rate": "1000000 request/s", "ttft": "250 ms", "itl": "40 ms",
}  # fmt: skip
TRIPS = [
    {"origin": "Ohio", "site": "AWS_us_east_1", "time": "20 ms"},
    {"origin": "Ohio", "site": "AWS_ca_central_1", "time": "30 ms"},
    {"origin": "Ohio", "site": "AWS_eu_central_1", "time": "110 ms"},
]


def serve(change: dict[str, Any] | None = None, **given: Any) -> PlanSolution:
    return place(**{"demands": [{**SERVED, **(change or {})}], "duration": "1 h", "price": "2 USD/h", **given})


@pytest.mark.parametrize(
    "change", [{}, {"ttft": "100 ms"}, {"quantile": 0.5, "ttft": "70 ms"}, {"latency": "3 s", "itl": None}]
)
def test_a_demand_takes_the_accelerators_of_a_fleet_that_keeps_the_same_promises(change: dict[str, Any]) -> None:
    # of so many replicas that the last one does not matter
    kind = {**SERVED, **change}
    fleet = mo.optimize(
        "serving_fleet", model=kind["model"], precision=kind["precision"], quantile=kind.get("quantile", 0.99),
        concurrency=[2**power for power in range(10)], offers=[{"accelerator": "H100"}], objective="min_accelerators",
        traffic=[{name: kind.get(name) for name in ("name", "input_len", "output_len", "ttft", "itl", "latency")}
                 | {"request_rate": kind["rate"]}],
    )  # fmt: skip
    plan = serve(change, regions="AWS_us_east_1")
    assert plan.metrics["device_time"].m_as("h") == pytest.approx(fleet.metrics["accelerators"], rel=1e-3)


def test_a_way_that_is_left_out_is_beaten() -> None:
    demand = {**SERVED, "quantile": 0.95, "model": default_catalog().find("model", "Llama3_8B")}
    ways = serving_ways(demand, default_catalog().find("accelerator", "H100"), (0.4, 0.7, 0.9))
    promised, trip = {"ttft": 0.3, "itl": 0.03}, 0.1
    kept = ways.keep(promised, trip)
    good = [
        at for at in range(len(ways.labels)) if ways.times["ttft"][at] + trip <= 0.3 and ways.times["itl"][at] <= 0.03
    ]
    used = ways.rate * ways.load
    assert 0 < kept.sum() < len(good) < len(ways.labels)
    assert set(np.flatnonzero(kept)) <= set(good)
    for at in good:
        assert any(used[other] >= used[at] and ways.rate[other] >= ways.rate[at] for other in np.flatnonzero(kept))


def test_the_network_is_part_of_what_is_promised() -> None:
    cheap_abroad = {"AWS_us_east_1": "3 USD/h", "AWS_ca_central_1": "2 USD/h", "AWS_eu_central_1": "1 USD/h"}
    given: dict[str, Any] = {"round_trip": TRIPS, "price": cheap_abroad}
    anywhere = serve({"origin": "Ohio", "ttft": "300 ms"}, **given)
    assert {row["region"] for row in anywhere.amounts["serving"]} == {"AWS_eu_central_1"}
    near = serve({"origin": "Ohio", "ttft": "130 ms"}, **given)
    assert {row["region"] for row in near.amounts["serving"]} == {"AWS_ca_central_1"}
    assert "AWS_eu_central_1" in near.assumptions["chat on H100"]
    with pytest.raises(InfeasibleError, match="20 ms of it on the network"):
        serve({"origin": "Ohio", "ttft": "25 ms"}, **given)
    assert "its origin is not given" in serve().assumptions["network of chat"]


def test_the_load_of_servers_is_chosen_or_given_and_never_assumed_of_measured_ones() -> None:
    given = {"regions": "AWS_us_east_1"}
    chosen, fixed = serve(**given), serve(serving_utilization=0.6, **given)
    assert "load 0.6" in fixed.amounts["serving"][0]["replica"]
    assert chosen.metrics["cost"].m_as("USD") < fixed.metrics["cost"].m_as("USD")
    measured = {"name": "d", "rate": "5 request/s", "requests_per_device": "1 request/s"}
    with pytest.raises(InputError, match="serving_utilization"):
        place(demands=[measured], duration="1 h", price="2 USD/h")
    with pytest.raises(InputError, match="grows without end"):
        serve(serving_utilization=1.0)
    with pytest.raises(InputError, match="all requests"):
        serve({"quantile": 1.0})
    with pytest.raises(InputError, match="says nothing of latencies"):
        place(demands=[{**measured, "ttft": "1 s"}], duration="1 h", price="2 USD/h", serving_utilization=0.7)


# the command line and the front ---------------------------------------------------------------------------------------
def test_a_plan_file_is_answered_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "formulation: placement\n"
        "given:\n"
        "  accelerators: H100\n"
        "  regions: [AWS_us_east_1, AWS_ca_central_1]\n"
        "  price: 2 USD/h\n"
        "  jobs:\n"
        "    - name: a\n"
        "      designs: [{name: d, accelerator: H100, nodes: 2, time: 10 h, node_power: 5 kW}]\n"
        "objective: min_carbon\n"
        "constraints: [cost <= 400 USD]\n"
    )
    assert main(["optimize", "placement", str(study), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["amounts"]["jobs"][0]["region"] == "AWS_ca_central_1"
    assert main(["optimize", "--plan", str(study), "--constraint", "cost <= 300 USD", "--json"]) == 5


def test_the_front_is_the_economics_of_the_site() -> None:
    found = mo.PlacementOptimizer().solve("Research_256", 30, ["AWS_us_east_1", "AWS_us_west_2"])
    assert found.best_region in ("AWS_us_east_1", "AWS_us_west_2")
    alone = mo.EconomicsModel().solve(fleet="Research_256", duration_days=30, datacenter=found.best_region)
    assert found.lowest_tco.m_as("USD") == pytest.approx(alone.tco_usd, rel=1e-9)
    assert found.carbon_footprint.m_as("kgCO2e") == pytest.approx(alone.carbon_footprint_kg, rel=1e-9)
    assert found.objective_value == pytest.approx(alone.tco_usd + 0.1 * alone.carbon_footprint_kg, rel=1e-9)
    assert found.pue == pytest.approx(pue(found.best_region))
    with pytest.raises(UnknownNameError, match="Quebek"):
        mo.PlacementOptimizer().solve("Research_256", 30, ["Quebek"])
    with pytest.raises(InfeasibleError):
        mo.PlacementOptimizer().solve("Research_256", 30, ["AWS_us_east_1"], budget="1 USD")


# from models, catalog prices and profiles ----------------------------------------------------------------------------
def test_designs_are_those_of_parallelism() -> None:
    plan = place(jobs=[TRAINING], fleet="Research_256", nodes=[8], price="2 USD/h", regions="AWS_us_east_1",
                 objective="min_makespan")  # fmt: skip
    alone = mo.optimize("parallelism", model="Llama3_8B", fleet="Research_256", nodes=8, global_batch_size=512,
                        seq_len=8192, token_budget="1e11 token", objective="min_time", price="2 USD/h", pue=1.15,
                        carbon_intensity="100 gCO2e/kWh")  # fmt: skip
    assert plan.metrics["makespan"].m_as("s") == pytest.approx(alone.metrics["time"].m_as("s"), rel=1e-12)
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(alone.metrics["cost"].m_as("USD"), rel=1e-12)
    assert plan.metrics["energy"].m_as("J") == pytest.approx(alone.metrics["energy"].m_as("J"), rel=1e-9)


def test_residency_capacity_and_a_stored_plan() -> None:
    given: dict[str, Any] = {
        "jobs": [
            {"name": "here", "designs": [design(2, 10.0, 5.0)], "regions": ["AWS_eu_central_1"]},
            {"name": "there", "designs": [design(2, 10.0, 5.0)]},
        ],
        "price": {"AWS_us_east_1": "3 USD/h", "AWS_ca_central_1": "2 USD/h", "AWS_eu_central_1": "1 USD/h"},
        "capacity": {"AWS_eu_central_1": 16},
    }
    plan = place(**given)
    at = {row["job"]: row["region"] for row in plan.amounts["jobs"]}
    assert at == {"here": "AWS_eu_central_1", "there": "AWS_ca_central_1"}
    again = PlanSolution.from_json(plan.to_json())
    assert again.verify()["constraints_hold"]


def test_hourly_profiles_and_their_means_state_the_error() -> None:
    given: dict[str, Any] = {
        "jobs": [{"name": "a", "designs": [design(1, 5.0, 10.0)]}], "regions": "AWS_us_west_1",
        "duration": "24 h", "month": 7, "objective": "min_carbon",
    }  # fmt: skip
    profile = default_catalog().find("profile", "California_2024")
    hourly = place(periods=24, **given)
    cleanest = sorted(profile.at(7, hour).m_as("gCO2e/kWh") for hour in range(24))[:5]
    assert hourly.metrics["carbon"].m_as("gCO2e") == pytest.approx(10 * pue("AWS_us_west_1") * sum(cleanest))
    coarse = place(periods=6, **given)
    stated = coarse.assumptions["carbon_intensity of a period"]
    bound = float(stated.split("by ")[1].split(" ")[0])
    energy = coarse.metrics["energy"].m_as("kWh")
    off = abs(coarse.metrics["carbon"].m_as("gCO2e") - hourly.metrics["carbon"].m_as("gCO2e"))
    assert 0 < off <= bound * energy * 1.01
    # one period has the mean of its hours, not that of the year
    whole = place(periods=1, **given)
    mean = sum(profile.at(7, hour).m_as("gCO2e/kWh") for hour in range(24)) / 24
    assert whole.metrics["carbon"].m_as("gCO2e") == pytest.approx(whole.metrics["energy"].m_as("kWh") * mean)
    without = place(**{name: value for name, value in given.items() if name != "duration"})
    assert without.assumptions["carbon_intensity"] == "mean of the year (no duration): AWS_us_west_1"


def test_catalog_prices_leave_out_what_has_none() -> None:
    job = {"name": "a", "designs": [design(1, 1.0, 10.0)]}
    regions = ["AWS_us_east_1", "Azure_westeurope"]
    plan = place(jobs=[job], regions=regions, price="catalog")
    assert plan.amounts["jobs"][0]["region"] == "AWS_us_east_1"
    assert regions[1] in plan.assumptions["price of H100"]
    with pytest.raises(MissingFieldError, match="price"):
        place(jobs=[job], regions=regions[1], price="catalog")
    there = place(jobs=[job], regions=regions[1], price="catalog", price_elsewhere="9 USD/h")
    assert there.metrics["cost"].m_as("USD") == pytest.approx(72)
    assert place(jobs=[job], regions=regions[1], objective="min_carbon").status == "optimal"


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_columns_are_the_same_whether_points_come_at_once_or_in_blocks(seed: int, count: int) -> None:
    numbers = np.random.default_rng(seed)
    size = numbers.integers(0, 3, count).astype(float)
    time, energy = numbers.integers(1, 12, (2, count)).astype(float)
    rows = np.column_stack([size, time, energy, np.arange(count)])
    by_hand = {
        tuple(row[:3])
        for row in rows
        if not any(
            other[0] == row[0] and other[1] <= row[1] and other[2] <= row[2] and tuple(other[1:3]) != tuple(row[1:3])
            for other in rows
        )
    }
    front = np.empty((0, 4))
    for block in np.array_split(rows, 3):
        near = training_columns._candidates(front, block[:, 0], block[:, 1], block[:, 2])
        front = training_columns._front(np.concatenate([front, block[near]]))
    assert {tuple(row[:3]) for row in front} == by_hand
    assert len(front) == len(by_hand)


def test_market_based_carbon_of_given_contracts() -> None:
    # 2 nodes of 5 kW for 10 h are 100 kWh: with the PUE of each region, 10 and 20 g/kWh of contracts
    near, far = REGIONS[:2]
    asked: dict[str, Any] = {
        "jobs": [JOB], "regions": [near, far], "accounting": "market", "objective": "min_carbon",
    }  # fmt: skip
    plan = place(**asked, market_carbon_intensity={near: "20 gCO2e/kWh", far: "10 gCO2e/kWh"})
    assert plan.amounts["jobs"][0]["region"] == far
    assert plan.metrics["carbon"].m_as("kgCO2e") == pytest.approx(100 * pue(far) * 0.01)
    only = place(**asked, market_carbon_intensity={near: "20 gCO2e/kWh"})
    assert only.amounts["jobs"][0]["region"] == near
    assert far in only.assumptions["market_carbon_intensity"]


def test_metrics_that_cannot_be_computed_are_named_with_what_to_give() -> None:
    plan = place(jobs=[JOB], regions=REGIONS[0], price="2 USD/h")
    assert "market_carbon" not in plan.metrics
    assert "give market_carbon_intensity" in plan.metrics.unavailable["market_carbon"]
    assert "not known: embodied_carbon, total_carbon: DGX_H100 has no 'embodied_carbon'" in str(plan)
    assert PlanSolution.from_json(plan.to_json()).metrics.unavailable == plan.metrics.unavailable


# faults ---------------------------------------------------------------------------------------------------------------
JOB = {"name": "a", "designs": [design(2, 10.0, 5.0)]}


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"regions": ["AWS_us_east_9"], "jobs": [JOB]}, UnknownNameError, "AWS_us_east_1"),
        ({"regions": ["home"], "jobs": [JOB]}, UnknownNameError, "use_folder"),
        ({"accelerators": [7], "jobs": [JOB]}, InputError, "expected an accelerator"),
        ({"jobs": [JOB], "price": {"H10O": "2 USD/h"}}, UnknownNameError, "'H100'"),  # a region is not all it may be
        ({}, InputError, "nothing to place"),
        ({"jobs": [JOB]}, InputError, "price"),
        ({"jobs": [{**JOB, "deadline": "9 h"}], "price": "2 USD/h"}, InfeasibleError, "no|infeasible|deadline"),
        ({"jobs": [JOB], "price": "2 USD/h", "constraints": ["cost <= 319 USD"]}, InfeasibleError, "cost"),
        ({"jobs": [{**JOB, "regions": ["GCP_us_central1"]}], "price": "2 USD/h"}, InputError, "none of the regions"),
        ({"jobs": [JOB, JOB], "price": "2 USD/h"}, InputError, "two are named"),
        ({"jobs": [{**JOB, "start": "3 h", "deadline": "2 h"}], "price": "2 USD/h"}, InputError, "has to be done"),
        ({"jobs": [{**JOB, "sleep": 1}], "price": "2 USD/h"}, UnknownNameError, "sleep"),
        ({"jobs": [JOB], "price": "2 USD/h", "duration": "2 h", "periods": 7, "month": 3}, InputError, "whole hours"),
        ({"jobs": [JOB], "price": ["2 USD/h"] * 5, "duration": "24 h", "periods": 3}, InputError, "5 values"),
        ({"jobs": [JOB], "price": "2 USD/h", "periods": 3}, InputError, "duration"),
        ({"jobs": [JOB], "price": "2 USD/h", "objective": "min_total_cost"}, InputError, "carbon_price"),
        ({"jobs": [{"name": "a"}], "price": "2 USD/h"}, InputError, "fleet|model"),
        ({"jobs": [JOB], "objective": "min_total_carbon"}, MissingFieldError, "give embodied_carbon_per_device"),
        ({"jobs": [JOB], "accounting": "market", "objective": "min_carbon"}, MissingFieldError,
         "give market_carbon_intensity"),
        ({"jobs": [JOB], "price": "2 USD/h", "reserved_price": "1 USD/h"}, InputError, "hold='reserved'"),
        (
            {"jobs": [{**JOB, "regions": "AWS_us_east_1"}], "price": {"AWS_us_east_2": "2 USD/h"},
             "regions": ["AWS_us_east_1", "AWS_us_east_2"]},
            MissingFieldError,
            "AWS_us_east_1 has no 'price', which the cost of a needs",
        ),
        ({"demands": [{"name": "d", "rate": "1 request/s"}], "duration": "1 h"}, InputError, "requests_per_device"),
        ({"demands": [{"name": "d", "rate": 1}], "duration": "1 h"}, InputError, "unit"),
        (
            {"demands": [{"name": "d", "rate": "1 request/s", "requests_per_device": "1 request/s", "regions": []}]},
            InputError,
            "empty",
        ),
        ({"jobs": [JOB], "price": "2 USD/h", "hold": "reserved", "duration": "24 h"}, InputError, "periods"),
    ],
)  # fmt: skip
def test_faults_say_what_is_wrong(given: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        place(**given)


@pytest.mark.parametrize("pauses", [True, False])
def test_a_ratio_held_at_its_best_lets_the_next_objective_decide(pauses: bool) -> None:
    # Each job is 8 accelerators for 2 h. In Stockholm (PUE 1.1, 30 g/kWh, 3 USD/h) one hour of a job is
    # 8 kW * 1.1 * 30 g = 264 g for 24 USD: 0.011 kg/USD. In Virginia 8 * 1.15 * 400 g = 3680 g for 16 USD: 0.23.
    # So all four hours are in Stockholm, for 96 USD; nothing is left of 0.264 kg less 0.011 kg/USD of 24 USD.
    numbers = {"AWS_us_east_1": ("2 USD/h", "400 gCO2e/kWh"), "AWS_eu_north_1": ("3 USD/h", "30 gCO2e/kWh")}
    assert pue("AWS_eu_north_1") == 1.1
    plan = place(
        regions=list(numbers), jobs=[{"name": name, "designs": [design(1, 2.0, 8.0)]} for name in "ab"],
        price={name: price for name, (price, _) in numbers.items()},
        carbon_intensity={name: grid for name, (_, grid) in numbers.items()},
        duration="4 h", periods=4, pauses=pauses, objective=["carbon/cost", "min_cost"],
    )  # fmt: skip
    assert plan.status == "optimal"
    assert plan.objective.value == pytest.approx(0.011)
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(96)


@pytest.mark.parametrize(
    ("job", "plan", "says", "mended"),
    [
        # 2 h do not fit into the first hour
        ({"deadline": "1 h"}, {}, "a takes 2 h at least, and has 1 h from its start to its deadline of 1 h: a deadline "
         "of 2 h would do", {"deadline": "2 h"}),
        # from 3 h on there is 1 h left
        ({"start": "3 h"}, {}, "has 1 h from its start to the end of the plan: a duration of 5 h would do",
         {"duration": "5 h"}),
        ({"start": "3 h", "deadline": "3.5 h"}, {}, "has 0.5 h from its start to its deadline of 3.5 h: a duration "
         "and a deadline of 5 h would do", {"deadline": "5 h", "duration": "5 h"}),
        ({"deadline": "9 h"}, {"duration": "1.5 h"}, "has 1.5 h from its start to the end of the plan: a duration "
         "of 2 h would do", {"duration": "2 h"}),
        # no number of periods is enough: none is named
        ({"deadline": "1 h"}, {"hold": "reserved", "reserved_price": "2 USD/h"}, "a takes 2 h at least, and has 1 h "
         "from its start to its deadline of 1 h: a deadline of 2 h would do; or a way", {"deadline": "2 h"}),
        ({"start": "1.5 h", "deadline": "3 h"}, {"hold": "reserved", "reserved_price": "2 USD/h"}, "a deadline of 4 h "
         "would do; or a way", {"deadline": "4 h"}),
        # from 0.5 to 2.5 h there is one whole hour, and there are four whole half hours
        ({"start": "0.5 h", "deadline": "2.5 h"}, {"hold": "reserved", "reserved_price": "2 USD/h"}, "which is 2 of "
         "them, and has 1 from its start to its deadline of 2.5 h: more periods (periods=8), or more time",
         {"periods": 8}),
        # a job that runs through begins with an hour: with the second one, and ends at 3 h
        ({"start": "0.5 h", "deadline": "2.5 h"}, {"pauses": False}, "takes 2 h at least, and begins with a period of "
         "1 h: from 1 h on there are 1.5 h to its deadline of 2.5 h: more periods (periods=8), or more time",
         {"periods": 8}),
        ({"start": "0.5 h", "deadline": "2.4 h"}, {"pauses": False}, "has 1.9 h from its start to its deadline of 2.4 "
         "h: a deadline of 3 h would do; or a way", {"deadline": "3 h"}),
        ({"start": "1 h", "deadline": "2.5 h"}, {"periods": 1}, "has 1.5 h from its start to its deadline of 2.5 h: a "
         "deadline of 3 h would do", {"deadline": "3 h"}),
    ],
)  # fmt: skip
def test_a_job_that_has_too_little_time_is_named(
    job: dict[str, Any], plan: dict[str, Any], says: str, mended: dict[str, Any]
) -> None:
    def asked(**changed: Any) -> PlanSolution:
        given = {"duration": "4 h", "periods": 4, "regions": "AWS_us_east_1", "price": "2 USD/h", **plan, **changed}
        own = {name: given.pop(name) for name in ("start", "deadline") if name in given}
        return place(jobs=[{"name": "a", "designs": [design(1, 2.0, 8.0)], **job, **own}], **given)

    with pytest.raises(InfeasibleError) as told:
        asked(constraints=["cost <= 5 USD"])
    assert says in str(told.value)
    assert "jobs end by their deadline" in told.value.conflict[0]
    assert asked(**mended).metrics["device_time"].m_as("h") == pytest.approx(16)  # 8 accelerators for 2 h


def test_held_nodes_draw_idle_power_that_is_told_or_given() -> None:
    # 2 nodes are held for 4 h and work for 3 of them at 5 kW: 30 kWh. In the hour that is left they draw 1.5 kW each by
    # the catalog (estimated), 3 kWh more; or as much as is said.
    def energy(**given: Any) -> tuple[float, str | None]:
        plan = place(
            jobs=[{"name": "a", "designs": [design(2, 3.0, 5.0)]}], regions="AWS_us_east_1", duration="4 h", periods=4,
            price="3 USD/h", hold="reserved", reserved_price="1 USD/h", **given,
        )  # fmt: skip
        assert plan.amounts["held"][0]["amount"] == 2
        assert plan.verify()["constraints_hold"]
        return plan.metrics["it_energy"].m_as("kWh"), plan.assumptions.get("idle_power")

    told = "a held node on which nothing runs draws DGX_H100: 1.5 kW (estimated)"
    assert energy() == (pytest.approx(33), told)
    assert energy(idle_power="2 kW") == (pytest.approx(34), None)
    assert energy(idle_power={"H100": "0 W"}) == (pytest.approx(30), None)
    assert energy(idle_power={"A100": "9 kW"}) == (pytest.approx(33), told)  # says nothing of these
    with pytest.raises(InputError, match="idle_power: it is the power of nodes that are held or serve"):
        place(jobs=[{"name": "a", "designs": [design(2, 3.0, 5.0)]}], regions="AWS_us_east_1", idle_power="1 kW")


def test_the_page_names_all_that_is_given() -> None:
    page = (Path(__file__).parents[2] / "docs/placement.md").read_text()
    section = page.partition("\n## What is given\n")[2].partition("\n## ")[0]
    assert [item.name for item in placement.inputs if f"`{item.name}`" not in section] == []
