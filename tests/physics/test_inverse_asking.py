"""What may be asked of `solve_for`, in which words, and what it says of entries of the catalog."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mlsysim_opt import solve_for
from mlsysim_opt.errors import DimensionError, InputError, NotInvertibleError
from mlsysim_opt.physics import (
    DistributedModel,
    EconomicsModel,
    OrchestrationModel,
    ServingModel,
    SingleNodeModel,
    SustainabilityModel,
)

BANDWIDTH = "hardware.memory.bandwidth"
ALONE: dict[str, Any] = {"using": ServingModel, "model": "Llama3_70B", "hardware": "H200", "seq_len": 4096}
RUN: dict[str, Any] = {"fleet": "Research_256", "duration_days": 30}


def test_entries_that_cannot_hold_the_model_do_not_meet_the_target() -> None:
    found = solve_for("itl = 30 ms", unknown=BANDWIDTH, **ALONE)
    fitting = found.matching()
    assert fitting
    given = {name: value for name, value in ALONE.items() if name not in ("using", "hardware")}
    assert all(ServingModel().solve(**given, hardware=entry).feasible for entry, _ in fitting)
    aside = {item.entry.name: item.reason for item in fitting.aside}
    # 0.23 GB of static memory are fast, and do not hold the 141 GB of the weights.
    assert aside["Groq_LPU"] == "violates 'memory fits'"
    missed = {item.entry.name: item.reason for item in fitting.missed}
    assert missed["H100"].startswith("itl is 4")
    assert not {entry.name for entry, _ in fitting} & (aside.keys() | missed.keys())
    again = pickle.loads(pickle.dumps(fitting))
    assert again == fitting
    assert again.as_dict() == fitting.as_dict()


@pytest.mark.parametrize("name", ["grid", "place", "region", "datacenter"])
def test_an_entry_is_asked_about_by_the_name_it_is_given_with(name: str) -> None:
    found = solve_for(
        "carbon_footprint_kg <= 100 tCO2e", unknown=f"{name}.carbon_intensity", using=SustainabilityModel,
        **RUN, **{name: "Poland"},
    )  # fmt: skip
    assert found.unknown == "datacenter.carbon_intensity"
    assert found.result().si("carbon_footprint_kg") == pytest.approx(100_000, rel=1e-9)
    # Grids take the place of a grid: the PUE of a building would be another question.
    assert {entry.kind for entry, _ in found.matching()} == {"grid"}


def test_an_entry_is_asked_about_by_its_other_names_over_axes() -> None:
    asked = {"using": EconomicsModel, "unknown": "grid.electricity_price", **RUN}
    found = solve_for("opex_energy_usd", ["50 kUSD", "60 kUSD"], **asked, grid=["Quebec", "Norway"])
    for row in found.rows():
        one = solve_for(f"opex_energy_usd = {row['opex_energy_usd']!r} USD", **asked, grid=row["datacenter"])
        assert row["datacenter.electricity_price"] == pytest.approx(one.value, rel=1e-9)


def test_limits_are_an_axis_of_one_relation() -> None:
    sla = [f"<= {22 + step} ms" for step in range(20)]
    found = solve_for("itl", sla, unknown="batch_size", **{**ALONE, "tp_size": 2})
    assert found.relation == "<="
    for text, batch in zip(sla, found.si, strict=True):
        one = solve_for("itl", text, unknown="batch_size", **{**ALONE, "tp_size": 2})
        assert batch == one.value
    assert list(found.si) == sorted(found.si)  # more time, more requests
    assert found.si[0] < found.si[-1]


@pytest.mark.parametrize(
    ("target", "value", "message"),
    [
        ("itl", ["<= 10 ms", ">= 20 ms"], "'<=' and '>=' stand in one list"),
        ("itl", ["<= 10 ms", "20 ms"], "'<=' and '=' stand in one list"),
        ("itl <= 20 ms", "30 ms", "the target is given twice: in 'itl <= 20 ms', and as '30 ms'"),
        ("itl <= 20 ms", ["30 ms"], "the target is given twice"),
    ],
)
def test_a_target_is_one_relation_and_given_once(target: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        solve_for(target, value, unknown="batch_size", **ALONE)
    assert caught.value.path == "value"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ({"target": "carbon_footprint_kg <= 10000", "unknown": "pue", "using": SustainabilityModel}, "10000 kgCO2e"),
        ({"target": "tco_usd = 5e6", "unknown": "kwh_price", "using": EconomicsModel}, "5000000 USD"),
        ({"target": "avg_wait_time_days <= 0.1", "unknown": "job_size", "using": OrchestrationModel}, "0.1 day"),
        ({"target": "itl", "value": ["<= 20 ms", "<= 30"], "unknown": "batch_size", **ALONE}, "30 ms"),
    ],
)
def test_a_number_without_a_unit_is_answered_with_that_of_the_output(asked: dict[str, Any], hint: str) -> None:
    given: dict[type, dict[str, Any]] = {
        SustainabilityModel: {**RUN, "grid": "Poland"},
        EconomicsModel: {**RUN, "grid": "Poland"},
        OrchestrationModel: {"fleet": "Research_256", "arrival_rate_jobs_per_day": 12, "avg_job_duration_days": 0.5},
    }
    with pytest.raises(DimensionError) as caught:
        solve_for(**asked, **given.get(asked["using"], {}))
    assert str(caught.value.hint).endswith(f"'{hint}'")
    assert "dimensionless" not in caught.value.message


def test_a_value_that_cannot_be_read_says_of_which_output() -> None:
    with pytest.raises(InputError) as caught:
        solve_for("itl", ["<= 10 ms", "<= soon"], unknown="batch_size", **ALONE)
    assert caught.value.path == "itl"


def test_points_out_of_reach_are_counted_and_the_first_says_what_is_attained() -> None:
    axes = {**ALONE, "model": ["Llama3_8B", "Llama3_70B"], "precision": "fp8"}
    found = solve_for("itl", ["30 ms", "1 ms"], unknown=BANDWIDTH, **{**axes, "hardware": ["H200", "H100"]})
    assert found.excluded[0].startswith(
        "4 of 8 points have no answer; the first, itl = 1 ms, model Llama3_8B, hardware"
    )
    with pytest.raises(NotInvertibleError) as alone:
        solve_for("itl = 1 ms", unknown=BANDWIDTH, **{**axes, "model": "Llama3_8B"})
    assert alone.value.hint
    assert alone.value.hint in found.excluded[0]
    missing = found.missing()
    assert [row["model"] for row in missing] == ["Llama3_8B", "Llama3_8B", "Llama3_70B", "Llama3_70B"]
    assert missing[0]["reason"] != missing[2]["reason"]  # each has a range of its own
    with pytest.raises(NotInvertibleError, match="the first of 2, model Llama3_8B") as none:
        solve_for("itl = 1 ms", unknown=BANDWIDTH, **axes)
    assert none.value.hint == alone.value.hint


def test_a_point_that_cannot_be_asked_about_hides_no_other() -> None:
    axes = {**ALONE, "model": "Llama3_8B", "hardware": ["A100", "H100"], "precision": "fp8"}
    found = solve_for("itl", ["30 ms", "1 ms"], unknown=BANDWIDTH, **axes)
    first, other = found.excluded
    assert first.startswith("3 of 4 points have no answer; the first, itl = 30 ms, hardware A100: A100 has no rate")
    assert other.startswith("another, itl = 1 ms, hardware H100: no hardware.memory.bandwidth")
    assert found.si[0, 1] > 0


@pytest.mark.parametrize("unknown", ["calibration.memory_bandwidth_efficiency", "efficiency"])
def test_a_share_is_at_most_one(unknown: str) -> None:
    asked: dict[str, Any] = {**ALONE, "model": "Llama3_8B", "unknown": unknown}
    for target in ("itl = 1 ms", "itl <= 1 ms"):
        with pytest.raises(NotInvertibleError) as caught:
            solve_for(target, **asked)
        assert "even at 1 itl is " in str(caught.value.hint)
    with pytest.raises(NotInvertibleError, match="the first of 2, itl = 1 ms"):
        solve_for("itl", ["1 ms", "2 ms"], **asked)
    with pytest.raises(InputError, match="2 is above 1, the most that"):
        solve_for("itl = 1 ms", **asked, box=(2, 3))


def test_what_a_number_of_the_catalog_can_be_bounds_the_answer() -> None:
    asked = {"using": SustainabilityModel, **RUN, "datacenter": "AWS_us_east_1"}
    found = solve_for("carbon_footprint_kg <= 100 tCO2e", unknown="datacenter.pue", **asked)
    assert found.region[0].low == 1.0  # no facility draws less than what stands in it
    with pytest.raises(NotInvertibleError, match=r"no datacenter\.pue makes"):
        solve_for("carbon_footprint_kg <= 50 tCO2e", unknown="datacenter.pue", **asked)


def test_the_class_of_a_model_answers_as_an_instance_does() -> None:
    given = {name: value for name, value in ALONE.items() if name != "using"}
    found = ServingModel.solve_for("itl <= 60 ms", unknown="batch_size", **given)
    assert found.value == ServingModel().solve_for("itl <= 60 ms", unknown="batch_size", **given).value
    assert ServingModel.solve("Llama3_70B", "H200", 4096).itl == ServingModel().solve(**given).itl
    assert SingleNodeModel.solve("Llama3_8B", "H100", raise_errors=True).feasible  # with a `solve` of its own
    assert ServingModel.sweep(**{**given, "seq_len": [1024, 4096]}).si("itl").shape == (2,)
    assert ServingModel.sensitivity("itl", **given) == ServingModel().sensitivity("itl", **given)


def test_many_neighbours_that_do_not_meet_it_are_said_shortly() -> None:
    # Only sizes that divide the batch can be: each has two neighbours that do not.
    job = {"using": DistributedModel, "model": "Llama3_8B", "fleet": "Research_256", "tp_size": 8, "seq_len": 4096}
    found = solve_for("step_time <= 20 s", unknown="fleet.size", batch_size=1024, **job)
    assert len(found.fails_at) > 4
    assert f"({len(found.fails_at)} such numbers)" in found.beside
    assert len(repr(found)) < 300
    few = solve_for("itl <= 60 ms", unknown="batch_size", **ALONE)
    assert few.beside == f"{few.fails_at[0]:,}"
