"""What may be asked of `solve_for`, in which words, and what it says of entries of the catalog."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mlsysim_opt import solve_for
from mlsysim_opt.physics import EconomicsModel, ServingModel, SustainabilityModel

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
