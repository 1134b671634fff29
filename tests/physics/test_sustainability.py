"""Energy, carbon and water: worked examples, published identities, properties, and the traps of other tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.errors import DimensionError, InputError, MissingFieldError, UnknownNameError
from mlsysim_opt.physics import SustainabilityModel
from mlsysim_opt.registry import Infra, Systems

MODEL = SustainabilityModel()


def solve(**more: Any) -> Any:
    return MODEL.solve(**{"fleet": "Research_256", "duration_days": 30, "datacenter": "AWS_us_east_1", **more})


# ---- by hand
def test_a_month_of_256_h100_in_virginia() -> None:
    # 32 DGX H100, busy all the time: 32 x 8.4 kW = 268.8 kW; 720 h: 193,536 kWh; PUE 1.15: 222,566.4 kWh
    # carbon: 222,566.4 x 0.392016 = 87,249.6 kg
    # water: 0.12 L/kWh x 193,536 = 23,224 L on site; 3.1321 x 222,566.4 = 697,100 L at the plants
    result = solve()
    assert result.it_power.to("kW").magnitude == pytest.approx(268.8)
    assert result.it_energy_kwh == pytest.approx(193_536)
    assert result.total_energy_kwh == pytest.approx(222_566.4)
    assert result.carbon_footprint_kg == pytest.approx(87_249.6, rel=1e-5)
    assert result.water_onsite_liters == pytest.approx(23_224.3, rel=1e-5)
    assert result.water_source_liters == pytest.approx(697_100, rel=1e-4)
    assert result.water_usage_liters == pytest.approx(23_224.3 + 697_100, rel=1e-4)
    assert type(result.carbon_footprint_kg) is float


def test_idle_nodes_draw_idle_power() -> None:
    # utilization 0.5 of nodes of 1.5 kW idle and 8.4 kW busy: 4.95 kW, 32 of them 158.4 kW
    assert solve(utilization=0.5).it_power.to("kW").magnitude == pytest.approx(158.4)
    assert solve(utilization=0).it_power.to("kW").magnitude == pytest.approx(48.0)


def test_power_and_energy_can_be_given() -> None:
    # 1,000 devices of 500 W for 2 days: 24,000 kWh, PUE 1.25: 30,000 kWh, 100 g: 3,000 kg
    result = MODEL.solve(
        devices=1000, device_power="500 W", duration_days=2, pue=1.25, carbon_intensity="100 gCO2e/kWh"
    )
    assert result.total_energy_kwh == pytest.approx(30_000)
    assert result.carbon_footprint_kg == pytest.approx(3_000)
    measured = solve(it_energy="1 MWh", pue=2)
    assert measured.total_energy_kwh == pytest.approx(2_000)


def test_names_that_say_their_unit_take_bare_numbers() -> None:
    assert solve(duration_days=30).it_energy_kwh == solve(duration_days="720 h").it_energy_kwh
    assert solve(duration_days="30").it_energy_kwh == solve(duration_days="30 day").it_energy_kwh
    with pytest.raises(DimensionError, match="duration_days"):
        solve(duration_days="30 GB")
    with pytest.raises(InputError, match="has no unit"):
        solve(carbon_intensity=100)


def test_the_seeds_question_where_to_train() -> None:
    tonnes = [
        MODEL.solve(fleet=Systems.Clusters.Research_256, duration_days=30, datacenter=grid).carbon_footprint_kg / 1000
        for grid in (Infra.Grids.Quebec, Infra.Grids.US_Avg, Infra.Grids.Poland)
    ]
    # 193,536 kWh x 1.56 = 301,916 kWh: times 30.51, 369.473, 661.926 g
    assert tonnes == pytest.approx([9.211, 111.55, 199.85], rel=1e-3)


def test_a_grid_has_no_pue_and_the_assumption_is_listed() -> None:
    result = solve(datacenter="Poland")
    assert result.pue == 1.56
    assert "Poland is a grid" in result.assumptions["pue"]
    assert "Uptime" in result.assumptions["pue"]
    given_pue = solve(datacenter="Poland", pue=1.1)
    assert given_pue.pue == 1.1
    assert "pue" not in given_pue.assumptions
    assert "pue" not in solve().assumptions


def test_the_fleet_s_own_place_is_used_when_none_is_given(tmp_path: Any) -> None:
    from mlsysim_opt.registry import default_catalog

    text = (
        "kind: fleet\nentries:\n  Here:\n    {title: Here, node: DGX_H100, node_count: {value: 2, estimated: mine},"
        " fabric: InfiniBand_NDR, datacenter: AWS_us_east_1}\n"
    )
    (tmp_path / "fleets.yaml").write_text(text)
    fleet = default_catalog().with_folder(tmp_path).find("fleet", "Here")
    result = MODEL.solve(fleet=fleet, duration_days=1)
    assert result.pue == 1.15
    assert result.carbon_footprint_kg == pytest.approx(2 * 8.4 * 24 * 1.15 * 0.392016)


# ---- what is not known
def test_what_a_place_does_not_publish_is_an_error_that_names_it() -> None:
    google = solve(datacenter="GCP_us_central1")
    assert google.carbon_footprint_kg > 0
    for place in ("GCP_us_central1", "GCP_europe_west4"):  # equations are shared, names are not
        with pytest.raises(MissingFieldError, match=f"{place} has no 'wue'"):
            _ = solve(datacenter=place).water_usage_liters
    assert solve(datacenter="GCP_us_central1", wue="0.2 L/kWh").water_usage_liters > 0
    with pytest.raises(MissingFieldError, match="AWS_us_east_1 has no 'market_carbon_intensity'"):
        _ = solve().market_carbon_kg


def test_without_a_place_energy_is_known_and_carbon_is_not() -> None:
    result = MODEL.solve(fleet="Research_256", duration_days=30)
    assert result.it_energy_kwh == pytest.approx(193_536)
    with pytest.raises(InputError, match="no place is known that has 'carbon_intensity'"):
        _ = result.carbon_footprint_kg
    with pytest.raises(AttributeError, match="has no field 'carbon_footprint'"):
        _ = result.carbon_footprint


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"fleet": None}, InputError),
        ({"devices": 8}, InputError),
        ({"fleet": None, "devices": 8}, InputError),
        ({"duration_days": 0}, InputError),
        ({"duration_days": -3}, InputError),
        ({"duration_days": float("nan")}, InputError),
        ({"utilization": 1.5}, InputError),
        ({"pue": 0.9}, InputError),
        ({"carbon_intensity": "-1 gCO2e/kWh"}, InputError),
        ({"datacenter": "Atlantis"}, UnknownNameError),
        ({"datacenter": Systems.Nodes.DGX_H100}, InputError),
        ({"grid": "Poland"}, InputError),
        ({"gird": "Poland"}, UnknownNameError),
    ],
)
def test_bad_input_is_refused(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        solve(**wrong)


# ---- traps
def test_trap_water_is_counted_on_it_energy() -> None:
    # The reference multiplies WUE with facility energy: PUE times too much.
    low, high = solve(pue=1.0), solve(pue=2.0)
    assert low.water_onsite_liters == high.water_onsite_liters == pytest.approx(0.12 * 193_536)
    assert high.water_source_liters == pytest.approx(2 * low.water_source_liters)


def test_trap_power_is_that_of_the_whole_node() -> None:
    # Eight H100 of 700 W are 5.6 kW; the node that holds them draws 8.4 kW under load
    node = solve().it_power.to("kW").magnitude / 32
    assert node == pytest.approx(8.4)
    assert node > 8 * 0.7


def test_trap_electrical_load_is_not_mfu() -> None:
    # Nothing here is called MFU: a decode at 1 percent MFU keeps its accelerators busy.
    with pytest.raises(UnknownNameError):
        solve(mfu=0.01)


def test_trap_embodied_carbon_is_charged_by_time() -> None:
    # 1,000 devices of 200 kg over 4 years of 365.25 days; a month of 30 days carries 30 / 1461 of 200 t: 4,107 kg
    facts = {"fleet": None, "devices": 1000, "device_power": "1 kW", "embodied_carbon_per_device": "200 kgCO2e"}
    month = solve(**facts)
    assert month.embodied_carbon_kg == pytest.approx(200_000 * 30 / 1461)
    assert month.total_carbon_kg == pytest.approx(month.carbon_footprint_kg + month.embodied_carbon_kg)
    assert solve(**facts, duration_days=1461).embodied_carbon_kg == pytest.approx(200_000)
    assert solve(**facts, lifetime_years=8).embodied_carbon_kg == pytest.approx(100_000 * 30 / 1461)


def test_trap_embodied_carbon_of_the_catalog_counts() -> None:
    fleet: Any = Systems.Clusters.Research_256
    numbers = fleet.parameters()
    if "node.embodied_carbon" not in numbers:
        with pytest.raises(MissingFieldError, match=r"node\.embodied_carbon"):
            _ = solve().total_carbon_kg
        return
    whole = 32 * numbers["node.embodied_carbon"].si + 256 * numbers["node.accelerator.embodied_carbon"].si
    assert solve().embodied_carbon_kg == pytest.approx(whole * 30 / 1461)


# ---- published identities (energy = power x time x PUE, carbon = energy x intensity), to 1 percent or the last digit
def near(found: float, printed: float) -> bool:
    text = f"{printed:g}"
    last_digit = 10.0 ** -len(text.partition(".")[2]) if "." in text else 1.0
    return abs(found - printed) <= max(0.01 * printed, 0.5 * last_digit)


def run(devices: int, hours: float, power: float, pue: float, grams: float) -> Any:
    return MODEL.solve(
        devices=devices, duration_days=f"{hours / devices} h", device_power=f"{power} W", pue=pue,
        carbon_intensity=f"{grams} gCO2e/kWh",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("who", "devices", "device_hours", "watts", "pue", "grams", "mwh", "tonnes"),
    [
        ("Patterson et al. 2021, Table 4: T5 11B", 512, 512 * 20 * 24, 310, 1.12, 545, 85.7, 46.7),
        ("Patterson et al. 2021, Table 4: Meena", 1024, 1024 * 30 * 24, 289, 1.09, 415, 232, 96.4),
        ("Patterson et al. 2021, Table 4: GPT-3", 10_000, 10_000 * 14.8 * 24, 330, 1.1, 429, 1287, 552.1),
        ("LLaMA, Table 15: OPT-175B", 992, 809_472, 400, 1.1, 385, 356, 137),
        ("LLaMA, Table 15: LLaMA-33B", 2048, 530_432, 400, 1.1, 385, 233, 90),
        ("BLOOM, Tables 1 to 3: dynamic", 384, 1_082_990, 400, 1.0, 57, 433.196, 24.69),
        ("PaLM, appendix B", 6144, 8_404_992, 378.5, 1.08, 79, 3435.8, 271.43),
    ],
)
def test_published_accounts(
    who: str, devices: int, device_hours: float, watts: float, pue: float, grams: float, mwh: float, tonnes: float
) -> None:
    result = run(devices, device_hours, watts, pue, grams)
    assert near(result.total_energy_kwh / 1000, mwh), who
    assert near(result.carbon_footprint_kg / 1000, tonnes), who


def test_embodied_carbon_of_bloom() -> None:
    # 384 GPUs of 150 kg over 6 years used 85 percent: 3.64 t of 1,082,990 hours; 48 servers of 2,500 kg: 7.57 t
    facts: dict[str, Any] = {"duration_days": f"{1_082_990 / 384} h", "device_power": "400 W", "lifetime_years": 6,
                             "lifetime_utilization": 0.85}  # fmt: skip
    chips = MODEL.solve(devices=384, embodied_carbon_per_device="150 kgCO2e", **facts)
    servers = MODEL.solve(devices=48, embodied_carbon_per_device="2500 kgCO2e", **facts)
    assert near(chips.embodied_carbon_kg / 1000, 3.64)
    assert near(servers.embodied_carbon_kg / 1000, 7.57)


def test_water_of_olmo2() -> None:
    # 257 MWh of GPUs x PUE 1.12 x 3.1 L/kWh (all of it per facility energy, as that paper counts): 892 kL
    result = MODEL.solve(
        devices=1, it_energy="257 MWh", duration_days=1, pue=1.12, carbon_intensity="351 gCO2e/kWh", wue="0 L/kWh",
        water_intensity="3.1 L/kWh",
    )  # fmt: skip
    assert near(result.water_usage_liters / 1000, 892)
    assert near(result.carbon_footprint_kg / 1000, 101)


def test_every_account_of_the_validation_set(validation: Callable[[str], Any]) -> None:
    checked = 0
    for row in validation("energy_cost.yaml")["rows"]:
        facts, measured = row["inputs"], row["measured"]
        hours = facts.get("gpu_hours") or facts.get("chip_hours") or 24 * facts.get("days", 0) * facts.get("chips", 0)
        watts = next((facts[name] for name in facts if "power" in name and name.endswith("_w")), None)
        if row["group"] not in ("patterson", "model-card", "bloom", "palm", "gopher") or not hours or not watts:
            continue
        factor = measured.get("implied_kgco2e_per_gpu_kwh_incl_pue")
        kilograms = next((facts[name] for name in facts if name.endswith("kgco2e_per_kwh")), None)
        kilograms = facts.get("grid_gco2_per_kwh", 0) / 1000 if kilograms is None else kilograms
        result = run(1000, hours, watts, facts.get("pue", 1.0), 1000 * (kilograms or factor))
        for name, value in measured.items():
            if name.startswith("energy_mwh"):
                assert near(result.total_energy_kwh / 1000, value), row["id"]
            elif "tco2e" in name:
                assert near(result.carbon_footprint_kg / 1000, value), row["id"]
            else:
                continue
            checked += 1
    assert checked >= 20


# ---- properties
PLACES = st.sampled_from([place.name for place in Infra.Datacenters])
SHARE = st.floats(0, 1)
DAYS = st.floats(0.01, 3000)


@settings(max_examples=60, deadline=None)
@given(place=PLACES, days=DAYS, more=st.floats(1, 10), share=SHARE, busier=SHARE)
def test_more_work_never_emits_less(place: str, days: float, more: float, share: float, busier: float) -> None:
    low, high = sorted((share, busier))
    one = solve(datacenter=place, duration_days=days, utilization=low)
    assert solve(datacenter=place, duration_days=days * more, utilization=low).carbon_footprint_kg >= (
        one.carbon_footprint_kg * (1 - 1e-12)
    )
    assert solve(datacenter=place, duration_days=days, utilization=high).carbon_footprint_kg >= (
        one.carbon_footprint_kg * (1 - 1e-12)
    )


@settings(max_examples=60, deadline=None)
@given(place=PLACES, days=DAYS, pue=st.floats(1, 5))
def test_facility_energy_is_proportional_to_pue(place: str, days: float, pue: float) -> None:
    one = solve(datacenter=place, duration_days=days, pue=pue)
    two = solve(datacenter=place, duration_days=days, pue=2 * pue)
    assert two.total_energy_kwh == pytest.approx(2 * one.total_energy_kwh)
    assert two.it_energy_kwh == one.it_energy_kwh
    assert two.carbon_footprint_kg == pytest.approx(2 * one.carbon_footprint_kg)


def test_elasticities_of_a_product_are_one() -> None:
    found = MODEL.sensitivity("carbon_footprint_kg", fleet="Research_256", duration_days=30, datacenter="eastus")
    for name in ("duration_days", "datacenter.pue", "datacenter.carbon_intensity", "fleet.node.busy_power"):
        assert found[name] == pytest.approx(1.0)


def test_the_inverse_gives_the_time_a_budget_allows() -> None:
    inverse = MODEL.solve_for(
        "carbon_footprint_kg", "50 tCO2e", unknown="duration_days", fleet="Research_256", datacenter="Quebec_Hydro"
    )
    days = inverse.value / 86400
    assert solve(duration_days=days, datacenter="Quebec_Hydro").carbon_footprint_kg == pytest.approx(50_000)


def test_all_regions_in_one_sweep() -> None:
    names = [place.name for place in Infra.Datacenters]
    sweep = MODEL.sweep(fleet="Research_256", duration_days="30 day", datacenter=names, outputs=["carbon_footprint_kg"])
    found = sweep.plain("carbon_footprint_kg")
    assert len(found) == len(names) >= 100
    for name, value in zip(names[::10], found[::10], strict=True):
        assert value == pytest.approx(solve(datacenter=name).carbon_footprint_kg)
