"""Representative periods of `placement`: groups of periods, the plan for all of them, and both ends of its error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlsysim_opt.formulations.placement_periods import alike

import mlsysim_opt as mo
from mlsysim_opt.errors import CatalogError, FileError, InputError, UnknownNameError
from mlsysim_opt.optimize.coupled.outcome import within
from mlsysim_opt.optimize.coupled.solution import PlanSolution

REGIONS = ["AWS_us_east_1", "AWS_ca_central_1"]


def place(**asked: Any) -> PlanSolution:
    found = mo.optimize("placement", accelerators="H100", serving_utilization=0.5, **asked)
    assert isinstance(found, PlanSolution)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 40))
def test_groups_are_as_many_as_asked_and_none_is_across_an_edge(seed: int, periods: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 4, (periods, 2)).astype(float)
    edge = float(rng.uniform(0, periods))
    grouping = alike(features, [edge], count)
    assert len(grouping.weights) <= max(count, 3)  # an edge within a period leaves it alone: three spans
    for group in range(len(grouping.weights)):
        mine = np.flatnonzero(grouping.of == group)
        assert not mine.min() < np.floor(edge) <= mine.max()
        assert not mine.min() < np.ceil(edge) <= mine.max()
    values = rng.uniform(size=(3, periods))
    assert grouping.sum(values).sum() == pytest.approx(values.sum())
    assert grouping.mean(values) @ grouping.weights == pytest.approx(values.sum(axis=1))


def test_days_of_two_kinds_are_two_groups() -> None:
    grouping = alike(np.array([[1.0], [9.0], [1.1], [8.9]]), [], 2)
    assert grouping.of.tolist() == [0, 1, 0, 1]


SHARED: list[dict[str, Any]] = [
    {},
    {"capacity": 24},
    {"hold": "reserved", "reserved_price": "1 USD/h"},
    {"hold": "reserved", "reserved_price": "1 USD/h", "capacity": 40},
    {"hold": "buy", "electricity_price": "0.1 USD/kWh"},
    {"hold": "buy_or_rent", "electricity_price": "0.1 USD/kWh"},
]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SHARED), st.integers(1, 7), st.booleans())
def test_the_best_plan_is_between_the_bound_and_the_plan_by_few_periods(
    seed: int, shared: dict[str, Any], count: int, capped: bool
) -> None:
    rng = np.random.default_rng(seed)
    periods = 8

    def series(low: float, high: float, unit: str) -> dict[str, Any]:
        return {"values": [float(item) for item in rng.uniform(low, high, periods)], "unit": unit}

    asked: dict[str, Any] = {
        "jobs": [{"name": "a", "start": "1.5 h", "deadline": "7 h", "designs": [
            {"name": "d", "accelerator": "H100", "nodes": 1, "time": f"{rng.uniform(1, 4)} h", "node_power": "8 kW"},
        ]}],
        "demands": [{"name": "d", "requests_per_device": "1 request/s", "rate": series(1, 8, "request/s")}],
        "regions": REGIONS, "duration": f"{periods} h", "periods": periods,
        "price": {"H100": {region: series(2, 4, "USD/h") for region in REGIONS}},
        "carbon_intensity": {region: series(50, 600, "gCO2e/kWh") for region in REGIONS},
        **shared,
    }  # fmt: skip
    exact = place(**asked)
    limits = []
    if capped:
        least = place(**asked, objective="min_carbon").metrics["carbon"].m_as("kgCO2e")
        limits = [f"carbon <= {1.2 * least!r} kgCO2e"]
        exact = place(**asked, constraints=limits)
    few = place(**asked, constraints=limits, representative=count)
    best = exact.objective.si
    assert few.objective.si >= best * (1 - 1e-7)
    assert few.bound is not None
    assert few.bound.si <= best * (1 + 1e-7)
    assert few.verify()["constraints_hold"]
    assert sum(row["amount"] for row in few.amounts["serving"]) == pytest.approx(
        sum(asked["demands"][0]["rate"]["values"])
    )
    if "values of period for" in few.certificate.proof:
        assert few.certificate.details["representative"] >= count or count == periods


def test_what_few_periods_say_is_told_beside_what_all_of_them_cost() -> None:
    # Two hours at 1 USD/h and two at 3, 8 request/s of which the second hour has all: a mean of one period is
    # (1 + 1 + 3 + 3) / 4 = 2 USD/h x 2 request/s / 0.5 x 4 h = 32 USD; at every hour it is 8 / 0.5 x 1 = 16.
    plan = place(
        demands=[{"name": "d", "requests_per_device": "1 request/s",
                  "rate": {"values": [0, 8, 0, 0], "unit": "request/s"}}],
        regions=REGIONS[:1], duration="4 h", periods=4, representative=1,
        price={"values": [1, 1, 3, 3], "unit": "USD/h"},
    )  # fmt: skip
    assert plan.metrics["cost"].m_as("USD") == pytest.approx(16)
    assert "1 values of period for 4: min_cost 32 USD, for all 4 16 USD (-0.5), no plan is below 16" in str(plan)
    assert plan.status == "optimal"


def test_a_ratio_is_solved_for_all_periods() -> None:
    plan = place(
        demands=[{"name": "d", "requests_per_device": "1 request/s", "rate": "4 request/s"}],
        regions=REGIONS, duration="4 h", periods=4, representative=2, objective="carbon / energy",
        carbon_intensity={region: {"values": list(values), "unit": "gCO2e/kWh"}
                          for region, values in zip(REGIONS, ((9, 9, 1, 1), (5, 2, 7, 8)), strict=True)},
    )  # fmt: skip
    assert {(row["period"], row["region"]) for row in plan.amounts["serving"]} == {
        (0, REGIONS[1]), (1, REGIONS[1]), (2, REGIONS[0]), (3, REGIONS[0]),
    }  # fmt: skip


def test_series_of_regions_are_read_from_a_file(tmp_path: Path) -> None:
    intensity, rate = tmp_path / "intensity.csv", tmp_path / "rate.csv"
    intensity.write_text(
        "# by hour\nAWS_us_east_1 [gCO2e/kWh],AWS_ca_central_1 [kgCO2e/MWh]\n400,30\n100,30\n100,500\n"
    )
    rate.write_text("all [request/s]\n1\n2\n3\n")
    asked: dict[str, Any] = {
        "demands": [{"name": "d", "requests_per_device": "1 request/s", "rate": str(rate)}],
        "regions": REGIONS, "duration": "3 h", "periods": 3, "objective": "min_carbon",
    }  # fmt: skip
    plan = place(**asked, carbon_intensity=str(intensity))
    at = {row["period"]: (row["region"], row["amount"]) for row in plan.amounts["serving"]}
    assert at == {0: ("AWS_ca_central_1", 1), 1: ("AWS_ca_central_1", 2), 2: ("AWS_us_east_1", 3)}
    intensity.write_text("AWS_us_east_1 [gCO2e/kWh],AWS_ca_central_1\n400,x\n")
    with pytest.raises(CatalogError, match="expected a number"):
        place(**asked, carbon_intensity=str(intensity))
    intensity.write_text("Quebek [gCO2e/kWh]\n400\n400\n400\n")
    with pytest.raises(UnknownNameError, match="Quebek"):
        place(**asked, carbon_intensity=str(intensity))
    intensity.write_text("AWS_us_east_1 [gCO2e/kWh],AWS_us_east_1 [kgCO2e/kWh]\n1,1\n")
    with pytest.raises(CatalogError, match="two columns"):
        place(**asked, carbon_intensity=str(intensity))
    with pytest.raises(FileError, match="carbon_intensity"):
        place(**asked, carbon_intensity=str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"representative": 4}, "cannot stand for"),
        ({"pauses": False}, "in their order"),
        ({"constraints": ["period >= 2"]}, "single values of period"),
        ({"objective": ["min_cost", "min_carbon"]}, "several objectives"),
    ],
)
def test_what_few_periods_cannot_say_is_refused(change: dict[str, Any], says: str) -> None:
    asked: dict[str, Any] = {
        "jobs": [{"name": "a", "designs": [
            {"name": "d", "accelerator": "H100", "nodes": 1, "time": "2 h", "node_power": "8 kW"}]}],
        "regions": REGIONS, "duration": "4 h", "periods": 4, "representative": 2, "price": "2 USD/h",
    }  # fmt: skip
    with pytest.raises(InputError, match=says):
        place(**{**asked, **change})


def test_a_bound_that_is_not_known_proves_nothing() -> None:
    assert not within(5.0, float("-inf"), 0.01)
    assert within(5.0, 4.96, 0.01)
