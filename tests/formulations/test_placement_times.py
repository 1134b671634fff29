"""Times of jobs in a placement: what fits up to rounding, whole periods, and that a job pays for its own time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.cli import main
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize.coupled.solution import PlanSolution

RESERVED: dict[str, Any] = {"hold": "reserved", "reserved_price": "9 USD/h"}
BOUGHT: dict[str, Any] = {"hold": "buy", "electricity_price": "0.1 USD/kWh"}
HERE: dict[str, Any] = {"accelerators": "H100", "regions": "AWS_us_east_1", "price": "1 USD/h"}


def job(time: str, name: str = "a", nodes: int = 1, **more: Any) -> dict[str, Any]:
    way = {"accelerator": "H100", "nodes": nodes, "time": time, "node_power": "8 kW"}
    return {"name": name, "designs": [way], **more}


def place(*jobs: dict[str, Any], **asked: Any) -> PlanSolution:
    found = mo.optimize("placement", jobs=list(jobs), **{**HERE, **asked})
    assert isinstance(found, PlanSolution)
    return found


def cost(plan: PlanSolution) -> float:
    return float(plan.metrics["cost"].m_as("USD"))


# rounding -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tokens", [{}, {"token_budget": "1e9 token"}, {"goodput": 0.95}])
@pytest.mark.parametrize("hours", [1, 2, 8, 9, 11, 17, 18, 22])
def test_a_job_of_whole_hours_takes_as_many_periods(hours: int, tokens: dict[str, Any]) -> None:
    # its time is computed from its tokens and speed, and 1 h is then 1.0000000000000002 h
    asked = {"duration": "24 h", "periods": 24}
    work = place(job(f"{hours} h", **tokens), **asked, **RESERVED).amounts["work"]
    assert sum(row["amount"] for row in work) == hours
    assert cost(place(job(f"{hours} h", **tokens), **asked, capacity=8)) == pytest.approx(8 * hours)


@pytest.mark.parametrize("pauses", [True, False])
@pytest.mark.parametrize("limit", [{"capacity": 8}, {**RESERVED, "capacity": 8}])
def test_two_jobs_of_an_hour_follow_each_other_in_two(limit: dict[str, Any], pauses: bool) -> None:
    two = (job("1 h", name, token_budget="1e9 token") for name in "ab")
    plan = place(*two, duration="2 h", periods=2, pauses=pauses, **limit)
    assert cost(plan) == pytest.approx(16)  # 8 accelerators for 2 h, rented


@pytest.mark.parametrize("limit", [{}, {"capacity": 8}, RESERVED, BOUGHT])
@pytest.mark.parametrize("pauses", [True, False])
@given(st.floats(0.01, 1000), st.integers(2, 12), st.floats(0.1, 1.0))
@settings(max_examples=15, deadline=None)
def test_a_job_as_long_as_the_plan_fits_into_it(
    limit: dict[str, Any], pauses: bool, hours: float, periods: int, goodput: float
) -> None:
    item = job(f"{hours!r} h", goodput=goodput, token_budget="3e11 token", deadline=f"{hours!r} h")
    plan = place(item, duration=f"{hours!r} h", periods=periods, pauses=pauses, explain=False, **limit)
    assert plan.metrics["device_time"].m_as("h") == pytest.approx(8 * hours)


def test_a_year_is_four_quarters() -> None:
    assert cost(place(job("1 year"), duration="1 year", periods=4, capacity=8)) == pytest.approx(8 * 8766)


# what is paid ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limit", "pauses", "dollars", "energy"),
    [
        ({}, True, 4, 4.0),
        ({}, False, 4, 4.0),
        ({"capacity": 8}, True, 4, 4.0),
        ({"capacity": 8}, False, 4, 4.0),
        (RESERVED, False, 4, 4.0),
        # rented for the whole hour: 8 accelerators for 1 h, half of it idle at 1.5 kW
        (RESERVED, True, 8, 4.75),
    ],
)
def test_half_an_hour_of_work_is_paid_as_such(
    limit: dict[str, Any], pauses: bool, dollars: float, energy: float
) -> None:
    # 8 accelerators for 0.5 h at 1 USD are 4 USD, and 8 kW for 0.5 h are 4 kWh
    plan = place(job("0.5 h"), duration="4 h", periods=4, pauses=pauses, **limit)
    assert cost(plan) == pytest.approx(dollars)
    assert plan.metrics["it_energy"].m_as("kWh") == pytest.approx(energy)
    assert plan.metrics["device_time"].m_as("h") == pytest.approx(4)
    told = plan.assumptions.get("whole periods", "")
    assert ("what it rents is paid for all of them" in told) == (dollars == 8)
    assert ("pays for its own time" in told) == (bool(limit) and dollars == 4)
    assert plan.verify()["constraints_hold"]


HOURS = st.integers(0, 30).map(lambda tenths: tenths / 10)


@settings(max_examples=40, deadline=None)
@given(HOURS, st.integers(1, 20).map(lambda tenths: tenths / 10), st.lists(st.integers(1, 9), min_size=5, max_size=5),
       st.booleans(), st.booleans())  # fmt: skip
def test_a_capacity_that_does_not_bind_changes_nothing(
    start: float, hours: float, prices: list[int], pauses: bool, capped: bool
) -> None:
    item = job(f"{hours} h", start=f"{start} h", deadline="4.5 h")
    asked: dict[str, Any] = {"duration": "5 h", "periods": 5, "pauses": pauses, "explain": False,
                             "price": [f"{price} USD/h" for price in prices]}  # fmt: skip
    asked["carbon_intensity"] = [f"{100 * price} gCO2e/kWh" for price in reversed(prices)]
    try:
        free = place(item, **asked)
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            place(item, **asked, capacity=800)
        return
    if capped:  # half way between the cheapest and the cleanest hours
        cleanest = place(item, **asked, objective="min_carbon")
        cap = (free.metrics["carbon"].m_as("kgCO2e") + cleanest.metrics["carbon"].m_as("kgCO2e")) / 2 + 1e-6
        asked["constraints"] = [f"carbon <= {cap!r} kgCO2e"]
        free = place(item, **asked)
    limited = place(item, **asked, capacity=800)
    assert cost(limited) == pytest.approx(cost(free), rel=1e-7)


@pytest.mark.parametrize("objective", ["min_cost", ["min_carbon", "min_cost"], "carbon / cost"])
def test_accelerators_are_kept_only_where_a_job_works(objective: Any) -> None:
    # there is room for everything everywhere, and keeping accelerators costs nothing
    plan = place(job("2.5 h"), job("1 h", "b"), regions=["AWS_us_east_1", "AWS_ca_central_1"], capacity=24,
                 duration="6 h", periods=6, objective=objective)  # fmt: skip
    where = ("job", "nodes", "region", "period")
    kept, works = ({tuple(row[name] for name in where) for row in plan.amounts[of]} for of in ("kept", "work"))
    assert kept == works
    assert plan.verify()["constraints_hold"]


def test_what_held_nodes_lack_is_rented_until_a_job_ends() -> None:
    # From the beginning, 8 accelerators work for 1.25 h and 16 for 1.5 h. Rented at 1 USD/h and without nodes held that
    # is 8 * 1.25 + 16 * 1.5 = 34 USD. A node held for 2 h costs 8 * 2 * 0.7 = 11.2 USD.
    # 1 held: 16 lack for 1.25 h, then 8 for 0.25 h: 20 + 2 + 11.2 = 33.2. 2 held: 8 lack for 1.25 h: 10 + 22.4 = 32.4.
    # 3 held: 33.6.
    jobs = [job("1.25 h", "a", 1, deadline="1.25 h"), job("1.5 h", "b", 2, deadline="1.5 h")]
    asked: dict[str, Any] = {"duration": "2 h", "periods": 2, "pauses": False, "hold": "reserved"}
    plan = place(*jobs, **asked, reserved_price="0.7 USD/h")
    assert plan.amounts["held"][0]["amount"] == 2
    assert cost(plan) == pytest.approx(32.4)
    # 8 kW for each node at work; 2 held nodes stand idle in what is left of 2 h, at 1.5 kW, after b: 0.5 h
    assert plan.metrics["it_energy"].m_as("kWh") == pytest.approx(8 * (1.25 + 2 * 1.5) + 1.5 * 2 * 0.5)
    assert cost(place(*jobs, **asked, reserved_price="2 USD/h")) == pytest.approx(34)
    one = place(*jobs, **asked, reserved_price="2 USD/h", constraints=["it_energy >= 34 kWh"], capacity=24)
    assert cost(one) == pytest.approx(34)
    with pytest.raises(InfeasibleError, match="capacity"):
        place(*jobs, **asked, reserved_price="2 USD/h", capacity=23)


def test_the_rent_of_the_last_period_is_that_of_its_hour() -> None:
    # 1.5 h from the beginning, 8 accelerators: 1 h at 2 USD and half an hour at 6
    plan = place(job("1.5 h", deadline="1.5 h"), duration="3 h", periods=3, pauses=False, **RESERVED,
                 price=["2 USD/h", "6 USD/h", "1 USD/h"])  # fmt: skip
    assert cost(plan) == pytest.approx(8 * (2 + 0.5 * 6))


# one period -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("limit", [{"capacity": 16}, BOUGHT])
def test_in_one_period_several_jobs_work_at_once_and_that_is_told(limit: dict[str, Any]) -> None:
    # two jobs of 16 for 10 h: at once they need 32, and in 100 h they take turns on 16
    two = [job("10 h", name, 2) for name in "ab"]
    if "capacity" in limit:
        with pytest.raises(InfeasibleError, match=r"all jobs at once: with periods they may take turns"):
            place(*two, duration="100 h", **limit)
    at_once = place(*two, duration="100 h", **({"capacity": 32} if "capacity" in limit else limit))
    assert "they may take turns" in at_once.assumptions["one period"]
    assert sum(row["amount"] for row in at_once.amounts.get("held", [])) in (0, 4)
    turns = place(*two, duration="100 h", periods=10, **limit)
    assert sum(row["amount"] for row in turns.amounts.get("held", [])) in (0, 2)
    # one job takes as many whenever it runs
    alone = place(two[0], duration="100 h", **limit)
    assert alone.metrics["device_time"].m_as("h") == pytest.approx(160)


# what fits nowhere ----------------------------------------------------------------------------------------------------
CHAT = {"name": "chat", "model": "Llama3_8B", "precision": "fp8", "input_len": 500, "output_len": 250,
        "rate": "10 request/s"}  # fmt: skip


def serve(**change: Any) -> PlanSolution:
    asked = {"demands": [{**CHAT, **change}], "duration": "1 h", **HERE}
    found = mo.optimize("placement", **asked)
    assert isinstance(found, PlanSolution)
    return found


def test_a_promise_that_nobody_keeps_is_infeasible_with_the_least_that_is_kept() -> None:
    with pytest.raises(InfeasibleError, match="no plan is possible: H100 cannot serve chat: ttft is") as told:
        serve(ttft="1 ms", latency="5 s")
    assert told.value.conflict == ("ttft of chat",)
    (way,) = told.value.relaxations
    assert way.constraint == "ttft of chat"
    enough = 1 + way.amount.value
    assert serve(ttft=f"{enough} ms", latency="5 s").status == "optimal"
    with pytest.raises(InfeasibleError):
        serve(ttft=f"{enough - 0.02} ms", latency="5 s")


def test_promises_that_are_kept_only_together_with_others_are_changed_together() -> None:
    with pytest.raises(InfeasibleError) as told:
        serve(ttft="1 ms", itl="1 us")
    (way,) = told.value.relaxations
    assert way.constraint == "ttft of chat and itl of chat"
    first, second = (part.split("a limit of ")[1].split(" ms")[0] for part in way.change.split(" together with "))
    assert serve(ttft=f"{first} ms", itl=f"{second} ms").status == "optimal"


def test_a_model_that_fits_nowhere_is_infeasible_with_the_memory_that_would_do() -> None:
    # 405.9e9 parameters of 2 bytes on 8 are 94.5 GiB each, and 2 GiB are reserved: with its cache a little above 96.5
    with pytest.raises(InfeasibleError, match="in any split and batch, and there are 15 GiB") as told:
        mo.optimize("placement", demands=[{**CHAT, "model": "Llama3_405B", "precision": "fp16"}], duration="1 h",
                    **{**HERE, "accelerators": "T4"})  # fmt: skip
    (way,) = told.value.relaxations
    assert way.constraint == "memory of T4"
    assert 96.5 < 15 + way.amount.value < 96.8


def test_a_job_that_fits_nowhere_says_what_does_not_fit_and_leaves_with_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "formulation: placement\n"
        "given:\n"
        "  regions: AWS_us_east_1\n"
        "  fleet: Research_256\n"
        "  nodes: [1]\n"
        "  price: 2 USD/h\n"
        "  jobs: [{name: big, model: Llama3_70B, token_budget: 1e9 token, global_batch_size: 64, seq_len: 8192}]\n"
    )
    assert main(["optimize", "placement", str(study), "--json"]) == 5
    told = json.loads(capsys.readouterr().out)
    assert told["conflict"] == ["memory fits"]
    assert "big fits on none of the accelerators and sizes" in told["error"]["message"]
    assert told["relaxations"][0]["constraint"] == "memory fits"
    study.write_text(study.read_text().replace("nodes: [1]", "nodes: [1, 2]"))
    assert main(["optimize", "placement", str(study), "--json"]) == 0
