"""Series of `placement`: how fine a plan is, what stands for several values of a period, and what files may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlsysim_opt.formulations import serving_columns

import mlsysim_opt as mo
from mlsysim_opt.cli import main
from mlsysim_opt.errors import CatalogError, InfeasibleError, InputError
from mlsysim_opt.optimize.coupled import pooled, pools
from mlsysim_opt.optimize.coupled.solution import PlanSolution

REGIONS = ["AWS_us_east_1", "AWS_ca_central_1"]
RATES = [10, 20, 0, 5]
JOB = {"name": "a", "designs": [{"accelerator": "H100", "nodes": 1, "time": "4 h", "node_power": "8 kW"}]}


def hourly(*values: float, unit: str = "request/s") -> dict[str, Any]:
    return {"values": list(values), "unit": unit}


def demand(rate: Any) -> list[dict[str, Any]]:
    return [{"name": "q", "requests_per_device": "1 request/s", "rate": rate}]


def place(**asked: Any) -> PlanSolution:
    found = mo.optimize("placement", **{"accelerators": "H100", "regions": REGIONS[0], "serving_utilization": 1.0,
                                        "duration": "4 h", **asked})  # fmt: skip
    assert isinstance(found, PlanSolution)
    return found


def usd(plan: PlanSolution) -> float:
    return float(plan.metrics["cost"].m_as("USD"))


# how fine a plan is ---------------------------------------------------------------------------------------------------
def test_a_plan_is_as_fine_as_its_longest_series() -> None:
    # 12 h of 2 accelerators at 1 USD/h and 12 h of 20 at 5: 24 + 1200 USD. Means of both are 11 x 3 x 24 = 792 USD; a
    # price is 2 USD/h from its mean, and 11 x 24 = 264 accelerator hours times that are more than the error of 432 USD
    asked: dict[str, Any] = {
        "demands": demand(hourly(*[2] * 12, *[20] * 12)), "duration": "24 h",
        "price": hourly(*[1] * 12, *[5] * 12, unit="USD/h"),
    }  # fmt: skip
    fine, coarse = place(**asked), place(**asked, periods=1)
    assert usd(fine) == pytest.approx(1224)
    assert len(fine.amounts["serving"]) == 24
    assert not [name for name in fine.assumptions if "of a period" in name or "in a period" in name]
    assert usd(coarse) == pytest.approx(792)
    assert "differs by 2 USD/h at most: that times the accelerator hours" in coarse.assumptions["price of a period"]
    assert "one is 9 request/s above it" in coarse.assumptions["rate of q in a period"]
    assert usd(fine) - usd(coarse) <= 2 * coarse.metrics["device_time"].m_as("h")
    again = PlanSolution.from_json(fine.to_json())
    assert again.verify()["constraints_hold"]


def test_jobs_follow_a_series_of_intensities() -> None:
    # 4 h of 8 kW in the four cleanest of six hours: 8 x 1.15 x (0.1 + 0.1 + 0.2 + 0.3)
    plan = place(jobs=[JOB], carbon_intensity=hourly(300, 100, 900, 100, 500, 200, unit="gCO2e/kWh"), duration="6 h",
                 objective="min_carbon")  # fmt: skip
    assert plan.metrics["carbon"].m_as("kgCO2e") == pytest.approx(8 * 1.15 * 0.7)


def test_series_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match=r"demands.q.rate: has 4 values for 3 periods\n") as said:
        place(demands=demand(hourly(*RATES)), price="2 USD/h", periods=3)
    assert said.value.hint == "give as many, or a multiple of them"
    with pytest.raises(InputError, match=r"capacity.AWS_us_east_1: has 2 values for 4 periods, as many as the longest"):
        place(demands=demand(hourly(*RATES)), price="2 USD/h", capacity={REGIONS[0]: [20, 20]})
    with pytest.raises(InputError, match="has 9000 values, and 8784 periods are planned at most"):
        place(demands=demand(hourly(*[1] * 9000)), price="2 USD/h")
    with pytest.raises(InputError, match="duration: not given, but periods, series"):
        place(jobs=[JOB], price=hourly(1, 2, unit="USD/h"), duration=None)


# what stands for several values ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("periods", [None, 1, 2, 4])
def test_what_is_held_and_what_there_is_carries_the_peak(periods: int | None) -> None:
    # 35 request hours are 35 accelerator hours at 2 USD: 70 USD; the peak takes 20 accelerators, 3 nodes of 8
    asked: dict[str, Any] = {"demands": demand(hourly(*RATES)), "price": "2 USD/h", "periods": periods}
    assert usd(place(**asked, capacity=20)) == pytest.approx(70)
    with pytest.raises(InfeasibleError, match=r"capacity.*by 1 accelerators"):
        place(**asked, capacity=19)
    bought = place(**asked, hold="buy", electricity_price="0.1 USD/kWh")
    assert [row["amount"] for row in bought.amounts["held"]] == [3]
    assert bought.metrics["device_time"].m_as("h") == pytest.approx(35)


@pytest.mark.parametrize("periods", [None, 1, 2])
def test_an_outage_stays_one(periods: int | None) -> None:
    # without the second hour 12 accelerators are there in the other three; and elsewhere in all four
    asked: dict[str, Any] = {"demands": demand("12 request/s"), "periods": periods, "regions": REGIONS,
                             "price": {REGIONS[0]: "1 USD/h", REGIONS[1]: "3 USD/h"}}  # fmt: skip
    out = {REGIONS[0]: [16, 0, 16, 16]}
    with pytest.raises(InfeasibleError, match="capacity"):
        place(**asked, capacity={**out, REGIONS[1]: 0})
    hours_away = 1 if periods is None else 4 / periods
    assert usd(place(**asked, capacity=out)) == pytest.approx(12 * (3 * hours_away + 4 - hours_away))
    if periods:
        told = place(**asked, capacity=out).assumptions["capacity of a period"]
        assert told == "the least of its values, of which one is 16 accelerators more at most: none is exceeded"


HELD: list[dict[str, Any]] = [
    {"capacity": hourly(24, 9, 16, 16, 24, 12, 30, 11, unit="")},
    {"hold": "reserved", "reserved_price": "1 USD/h"},
    {"hold": "reserved", "reserved_price": "1 USD/h", "capacity": 24},
    {"hold": "buy", "electricity_price": "0.1 USD/kWh"},
    {"hold": "buy_or_rent", "electricity_price": "0.1 USD/kWh"},
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 14), min_size=8, max_size=8), st.sampled_from(HELD), st.sampled_from([1, 2, 4]))
def test_a_coarse_plan_is_one_that_the_fine_question_has_too(rates: list[int], held: Any, periods: int) -> None:
    """What a coarse plan holds, rents and pays is enough for every value: no fine plan is as dear."""
    asked: dict[str, Any] = {
        "demands": demand(hourly(*rates)), "regions": REGIONS, "duration": "8 h",
        "price": {REGIONS[0]: "3 USD/h", REGIONS[1]: "2.5 USD/h"}, **held,
    }  # fmt: skip
    try:
        coarse = place(**asked, periods=periods)
    except InfeasibleError:
        return
    assert usd(place(**asked)) <= usd(coarse) * (1 + 1e-7) + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 14), min_size=16, max_size=16), st.sampled_from(HELD[1:]), st.integers(1, 7))
def test_no_plan_is_below_what_few_periods_with_peaks_say(rates: list[int], held: Any, count: int) -> None:
    asked: dict[str, Any] = {
        "demands": demand(hourly(*rates)), "regions": REGIONS, "duration": "8 h", "periods": 8,
        "price": {REGIONS[0]: "3 USD/h", REGIONS[1]: "2.5 USD/h"}, **held,
    }  # fmt: skip
    try:
        best = place(**asked).objective.value
    except InfeasibleError:
        return
    few = place(**asked, representative=count)
    assert few.bound is not None
    assert few.bound.value <= best * (1 + 1e-7) + 1e-9
    assert few.objective.value >= best * (1 - 1e-7) - 1e-9


def test_large_fleets_carry_peaks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    asked: dict[str, Any] = {
        "demands": demand(hourly(*rng.integers(1, 40, 12).tolist())), "regions": REGIONS, "jobs": [JOB],
        "duration": "6 h", "periods": 6, "price": "3 USD/h", "hold": "reserved", "reserved_price": "1 USD/h",
        "carbon_intensity": {region: hourly(*rng.integers(10, 900, 6).tolist(), unit="gCO2e/kWh")
                             for region in REGIONS},
    }  # fmt: skip
    best = place(**asked)
    monkeypatch.setattr(pools, "LARGE", 0)
    whole = place(**asked)
    monkeypatch.setattr(pooled, "WHOLE", 0)
    made = place(**asked)
    for found in (whole, made):
        assert found.bound is not None
        assert found.bound.value <= best.objective.value * (1 + 1e-9)
        assert found.objective.value >= best.objective.value * (1 - 1e-7)
        assert found.verify()["constraints_hold"]
    assert whole.objective.value == pytest.approx(best.objective.value, rel=1e-7)


def test_a_price_elsewhere_may_change_by_the_hour() -> None:
    # the catalog has no price of an H100 there: two hours at 1 and two at 3 USD/h, 5 accelerators
    plan = place(demands=demand("5 request/s"), regions="Azure_westeurope", price="catalog",
                 price_elsewhere=hourly(1, 1, 3, 3, unit="USD/h"))  # fmt: skip
    assert usd(plan) == pytest.approx(5 * 8)


# files ----------------------------------------------------------------------------------------------------------------
def test_a_file_that_does_not_fit_is_named_with_what_it_is_given_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pr.csv").write_text("AWS_us_east_1 [USD/h]\n2\n3\n")
    plan = (
        "formulation: placement\ngiven:\n  accelerators: H100\n  regions: AWS_us_east_1\n  duration: 4 h\n"
        "  periods: 4\n  price: {}\n  jobs:\n    - name: a\n"
        "      designs: [{{accelerator: H100, nodes: 1, time: 2 h, node_power: 8 kW}}]\n"
        "objective: min_carbon\nconstraints: [cost <= 100 USD]\n"
    )
    Path("a.yaml").write_text(plan.format("2 USD/h"))
    assert main(["optimize", "placement", "a.yaml", "--set", "price=pr.csv"]) == 3
    said = capsys.readouterr().err
    assert "--set price (price.AWS_us_east_1): pr.csv has 2 values for 4 periods" in said
    Path("b.yaml").write_text(plan.format("pr.csv"))
    assert main(["optimize", "placement", "b.yaml"]) == 3
    said = capsys.readouterr().err
    assert "b.yaml: given.price.AWS_us_east_1 (line 7, column 10): pr.csv has 2 values for 4 periods" in said
    Path("pr.csv").write_text("AWS_us_east_1 [USD/h]\n2\n\n3\n4\n5\n")
    assert main(["optimize", "placement", "b.yaml"]) == 3
    said = capsys.readouterr().err
    assert "b.yaml: given.price (line 7, column 10): pr.csv (line 3): has no value here" in said
    Path("c.yaml").write_text(plan.replace("  price: {}\n", "").replace("{{", "{").replace("}}", "}"))
    assert main(["optimize", "placement", "c.yaml"]) == 3
    assert "constraints.0 (line 11, column 15): price: not given, but cost needs it" in capsys.readouterr().err


def test_a_missing_line_moves_nothing_up(tmp_path: Path) -> None:
    file = tmp_path / "rate.csv"
    asked: dict[str, Any] = {"demands": demand(str(file)), "price": "2 USD/h"}
    for line, text in (
        (3, "r [request/s]\n1\n\n3\n4\n5\n"),
        (4, "r [request/s]\n1\n2\n  \n\n3\n"),
        (4, "\n# x\nr [request/s]\n\n1\n2\n"),
    ):
        file.write_text(text)
        with pytest.raises(CatalogError, match=rf"demands.q.rate: .*rate.csv \(line {line}\): has no value here"):
            place(**asked)
    file.write_text("r [request/s]\n1\n2\n3\n4\n\n \n")  # at the end nothing is missing
    assert usd(place(**asked)) == pytest.approx(20)


# energy and what things are made of -----------------------------------------------------------------------------------
@pytest.mark.parametrize(("concurrency", "load"), [(1, 0.5), (2, 0.8), (8, 0.5), (256, 0.5)])
def test_the_same_service_draws_the_same_power_however_it_is_asked_for(
    concurrency: int, load: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three replicas at a load: as batches, as a fleet, and as parts of one that add up to three."""
    monkeypatch.setattr(serving_columns, "CONCURRENCY", (concurrency,))
    design = {"tp_size": 1, "pp_size": 1, "attention_dp": 1, "ep_size": 1, "chunk_size": 8192,
              "batch_size": concurrency, "replicas": 3}  # fmt: skip

    def batching(rate: float) -> Any:
        return mo.evaluate("batching", design=design, arrival_rate=f"{rate!r} request/s", model="Llama3_8B", devices=3,
                           hardware="H100", seq_len=2048, output_len=256)["metrics"]  # fmt: skip

    rate = load * batching(0.01)["capacity"].m_as("request/s")
    power = batching(rate)["power"].m_as("kW")
    lengths = {"name": "q", "input_len": 1792, "output_len": 256}
    fleet = mo.optimize(
        "serving_fleet", model="Llama3_8B", precision="bf16", traffic=[{**lengths, "request_rate": rate * (1 - 1e-12)}],
        offers=[{"accelerator": "H100", "price": "2 USD/h"}], tp_size=1, concurrency=concurrency, utilization=load,
    )  # fmt: skip
    plan = place(
        demands=[{**lengths, "model": "Llama3_8B", "rate": f"{rate!r} request/s"}], duration="1 h", price="2 USD/h",
        serving_utilization=load,
    )  # fmt: skip
    assert fleet.metrics["replicas"] == 3
    assert fleet.metrics["power"].m_as("kW") == pytest.approx(power, rel=1e-9)
    assert plan.metrics["it_energy"].m_as("kWh") == pytest.approx(power, rel=1e-9)
    # of a node of 8 with 1.5 kW idle and 8.4 kW at work: one request at a time has a server busy for its load
    if concurrency == 1:
        assert power == pytest.approx(3 / 8 * (1.5 + load * (8.4 - 1.5)))
    if concurrency == 256:
        assert power == pytest.approx(3 / 8 * 8.4, rel=1e-6)
    assert "of 1 accelerators and 1.05 kW at most" in plan.assumptions["replicas"]


MADE: dict[str, Any] = {"embodied_carbon_per_device": "100 kgCO2e", "electricity_price": "0.1 USD/kWh"}


def embodied(**asked: Any) -> float:
    job = {"name": "a", "designs": [{**JOB["designs"][0], "time": "0.75 year"}]}
    plan = place(jobs=[job], periods=8, **{"duration": "4 year", "price": "2 USD/h", **MADE, **asked})
    return float(plan.metrics["embodied_carbon"].m_as("kgCO2e"))


def test_held_nodes_embody_what_they_were_made_with_and_no_more() -> None:
    # 800 kg for a node that lasts 4 years. It is held for all of them, however long it works; one that is rented for
    # 9 months of work takes 3/16 of them, or 3/8 where it is idle for half of its life
    assert embodied(hold="buy") == pytest.approx(800)
    assert embodied(hold="buy", lifetime_utilization=0.5) == pytest.approx(800)
    assert embodied(hold="buy", duration="2 year", lifetime_utilization=0.5) == pytest.approx(400)
    assert embodied() == pytest.approx(150)
    assert embodied(lifetime_utilization=0.5) == pytest.approx(300)
    # one node reserved for 4 years at a price that nothing else beats, or rented for two whole periods of half a year
    reserved = {"hold": "reserved", "lifetime_utilization": 0.5}
    assert embodied(**reserved, reserved_price="0.1 USD/h") == pytest.approx(800)
    assert embodied(**reserved, reserved_price="9 USD/h") == pytest.approx(400)
    # without pauses it is rented until it ends: 9 months
    assert embodied(**reserved, reserved_price="9 USD/h", pauses=False) == pytest.approx(300)


def test_nodes_are_not_used_for_longer_than_they_last() -> None:
    with pytest.raises(InputError, match="bought last 4 years, and the plan is for 8: nothing is bought again"):
        embodied(hold="buy", duration="8 year")
    assert embodied(hold="buy", duration="8 year", lifetime_years=8) == pytest.approx(800)
