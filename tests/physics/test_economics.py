"""What a fleet costs: worked examples, properties, and the traps of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.errors import InputError, MissingFieldError, UnitError, UnknownNameError
from mlsysim_opt.physics import EconomicsModel
from mlsysim_opt.registry import Infra, Systems, default_catalog

MODEL = EconomicsModel()
YEARS = 365 / 365.25


def solve(**more: Any) -> Any:
    facts = {"fleet": "Research_256", "duration_days": 365, "kwh_price": 0.08, "pue": 1.5, "node_price": "375 kUSD"}
    return MODEL.solve(**{**facts, **more})


def rent(**more: Any) -> Any:
    return MODEL.solve(**{"fleet": "Research_256", "duration_days": 30, "price": "2.5 USD/h", **more})


# ---- by hand
def test_a_year_of_256_h100() -> None:
    # 32 nodes x 375,000 = 12 MUSD over 4 years of 365.25 days: 12 M x 365 / 1461 = 2,997,947
    # 32 x 8.4 kW x 8,760 h = 2,354,688 kWh x 1.5 = 3,532,032 kWh x 0.08 = 282,562.56
    # maintenance: 5 percent of 12 M a year: 599,589
    result = solve()
    assert result.purchase_usd == pytest.approx(12e6)
    assert result.capex_usd == pytest.approx(12e6 * 365 / 1461)
    assert result.it_energy_kwh == pytest.approx(2_354_688)
    assert result.total_energy_kwh == pytest.approx(3_532_032)
    assert result.opex_energy_usd == pytest.approx(282_562.56)
    assert result.opex_maintenance_usd == pytest.approx(600_000 * YEARS)
    assert result.tco_usd == pytest.approx(12e6 * 365 / 1461 + 282_562.56 + 600_000 * YEARS)
    assert result.cost_per_device_hour.to("USD/h").magnitude == pytest.approx(result.tco_usd / (256 * 8760))
    assert type(result.tco_usd) is float


def test_the_seeds_call_runs_and_prints() -> None:
    cost = MODEL.solve(fleet=Systems.Clusters.Research_256, duration_days=365, kwh_price=0.08)
    assert f"Annual TCO: ${cost.tco_usd:,.0f}" == "Annual TCO: $3,891,401"
    assert "Purchase_DGX_H100" in cost.assumptions["node_price"]
    assert "World_Average" in cost.assumptions["pue"]


def test_bare_numbers_are_read_in_the_unit_of_the_name() -> None:
    text = solve(kwh_price="80 USD/MWh", duration_days="8760 h", amortization_years="1461 day")
    assert text.tco_usd == pytest.approx(solve().tco_usd)
    with pytest.raises(UnitError):
        solve(kwh_price="0.08 USD")
    with pytest.raises(InputError, match="no unit"):
        solve(node_price=375_000)


def test_trap_idle_accelerators_make_no_tokens() -> None:
    idle = rent(tokens_per_second="1e6 token/s", tokens="1e12 token", utilization=0)
    assert not idle.feasible
    assert idle.constraints == {"work is done": False}
    for name in ("cost_per_million_tokens", "cost_per_run", "run_time"):
        assert idle.si(name) == float("inf")
    assert rent(utilization=0).feasible  # who asks for no tokens may pay for idle ones
    assert rent(tokens_per_second="1e6 token/s", utilization=0.1).feasible


def test_price_of_electricity_without_a_place_is_the_documented_default() -> None:
    result = solve(kwh_price=None)
    assert result.kwh_price.to("USD/kWh").magnitude == pytest.approx(0.12)
    assert "no place is given" in result.assumptions["kwh_price"]


def test_renting_costs_the_rent() -> None:
    # 256 accelerators x 720 h x 2.50 USD/h
    result = rent()
    assert result.opex_rent_usd == result.tco_usd == pytest.approx(460_800)
    assert result.capex_usd == result.opex_energy_usd == result.opex_maintenance_usd == 0
    assert result.assumptions["ownership"] == "rent"
    assert "amortization_years" not in result.assumptions
    assert result.it_energy_kwh == pytest.approx(193_536)


def test_rent_by_a_price_of_the_catalog() -> None:
    result = rent(price="H100_Lambda")
    assert result.tco_usd == pytest.approx(256 * 720 * 3.29)
    assert rent(price=Infra.Prices.H100_Lambda).tco_usd == result.tco_usd
    assert "Lambda" in result.assumptions["price"]
    with pytest.raises(InputError, match="on_demand of A100; rent of H100 is needed"):
        rent(price="A100_AWS")
    with pytest.raises(InputError, match="purchase of H100"):
        rent(price="H100_Purchase")
    with pytest.raises(UnknownNameError, match="H100_Lambada"):
        rent(price="H100_Lambada")
    with pytest.raises(InputError, match="renting H100 needs it"):
        rent(price=None, ownership="rent")


def test_price_and_node_price_need_a_decision() -> None:
    with pytest.raises(InputError, match="say which"):
        solve(price="2.5 USD/h")
    assert solve(price="2.5 USD/h", ownership="buy").tco_usd == solve().tco_usd
    assert solve(price="2.5 USD/h", ownership="rent").tco_usd == pytest.approx(256 * 8760 * 2.5)


def test_cost_per_token_and_per_run() -> None:
    # 460,800 USD in 30 days; 1e6 token/s while busy, busy 80 percent: 2.0736e12 tokens: 0.2222 USD per million
    # a run of 1e12 tokens: 222,222 USD in 1e12 / 0.8e6 s = 14.47 days
    result = rent(tokens_per_second="1e6 token/s", tokens="1e12 token", utilization=0.8)
    assert result.cost_per_million_tokens.to("USD").magnitude == pytest.approx(460_800 / 2_073_600)
    assert result.cost_per_run.to("USD").magnitude == pytest.approx(222_222.2, rel=1e-6)
    assert result.run_time.to("day").magnitude == pytest.approx(14.4676, rel=1e-4)
    with pytest.raises(InputError, match="costs per token need it"):
        _ = rent().cost_per_million_tokens
    with pytest.raises(InputError, match="the cost of a run needs it"):
        _ = rent(tokens_per_second="1 token/s").cost_per_run


def test_nothing_is_left_to_pay_after_the_last_year() -> None:
    # 5 years of use, 4 years of depreciation; residual value of a tenth is never paid
    assert solve(duration_days="5 year").capex_usd == pytest.approx(12e6)
    assert solve(duration_days="5 year", residual_value=0.1).capex_usd == pytest.approx(10.8e6)


def test_interest_makes_an_annuity() -> None:
    # 12 MUSD at 8 percent over 4 years: 12 M x 0.08 / (1 - 1.08^-4) = 3,623,050 a year
    yearly = 12e6 * 0.08 / (1 - 1.08**-4)
    assert yearly == pytest.approx(3_623_050, abs=1)
    assert solve(discount_rate=0.08, duration_days="1 year").capex_usd == pytest.approx(yearly)
    # at hardly any interest it is the straight line
    assert solve(discount_rate=1e-6, duration_days="1 year").capex_usd == pytest.approx(3e6, rel=1e-5)


# ---- traps
def test_trap_capital_is_the_whole_node_not_its_accelerators() -> None:
    # The reference charges 8 x 25,000 = 200,000 USD; the node costs 375,000
    result = MODEL.solve(fleet="One_DGX_H100", duration_days=365)
    assert result.purchase_usd == 375_000


OWN = """\
kind: fleet
entries:
  Own: {title: Own, node: Server_8x_H100_PCIe, node_count: {value: 4, estimated: mine}, fabric: Ethernet_100G}
"""


def own(tmp_path: Path, text: str = OWN) -> Any:
    (tmp_path / "fleets.yaml").write_text(text)
    return default_catalog().with_folder(tmp_path).find("fleet", "Own")


def test_trap_a_missing_price_is_not_zero(tmp_path: Path) -> None:
    fleet = own(tmp_path)
    with pytest.raises(MissingFieldError, match=r"Server_8x_H100_PCIe has no 'price'(.|\n)*node_price"):
        MODEL.solve(fleet=fleet, duration_days=365)
    assert MODEL.solve(fleet=fleet, duration_days=365, node_price="250 kUSD").purchase_usd == pytest.approx(1e6)
    assert MODEL.solve(fleet=fleet, duration_days=1, price="2 USD/h").tco_usd == pytest.approx(4 * 8 * 24 * 2)


def test_trap_regions_do_not_all_pay_the_same() -> None:
    # Iowa 6.91, Virginia 8.92, California 18.64 cents (EIA, industrial, 2023)
    cents = [
        solve(kwh_price=None, datacenter=code).kwh_price.to("USD/kWh").magnitude
        for code in ("us-central1", "us-east-1", "us-west-1")
    ]
    assert cents == pytest.approx([0.0691, 0.0892, 0.1864])
    with pytest.raises(MissingFieldError, match=r"Greece has no 'electricity_price'.*\n.*kwh_price"):
        solve(kwh_price=None, datacenter="Greece")
    assert rent(datacenter="Greece").tco_usd == pytest.approx(460_800), "rent includes electricity"


def test_trap_energy_is_that_of_the_load() -> None:
    # half the time idle: 1.5 + 0.5 x (8.4 - 1.5) = 4.95 kW a node, not 8.4
    assert solve(utilization=0.5).opex_energy_usd == pytest.approx(solve().opex_energy_usd * 4.95 / 8.4)


def test_trap_water_does_not_grow_with_pue() -> None:
    facts = {"datacenter": "AWS_us_east_1"}
    assert solve(pue=1.2, **facts).water_onsite_liters == solve(pue=2.4, **facts).water_onsite_liters


def test_without_a_place_carbon_is_an_error_and_cost_is_not() -> None:
    with pytest.raises(InputError, match="no place is known that has 'carbon_intensity'"):
        _ = solve().carbon_footprint_kg
    there = solve(grid="Quebec")
    assert there.carbon_footprint_kg == pytest.approx(there.total_energy_kwh * 0.03051)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fleet": "Research_257"}, {"duration_days": 0}, {"kwh_price": -0.1}, {"kwh_price": float("inf")},
        {"node_price": "0 USD"}, {"amortization_years": 0}, {"maintenance_rate": 2}, {"residual_value": 1.1},
        {"discount_rate": 0}, {"ownership": "lease"}, {"infrastructure_multiplier": 0.5}, {"utilization": -1},
        {"price": "2.5"}, {"price": "2.5 USD"}, {"datacenter": "US_East"}, {"kwh_prise": 0.1},
    ],
)  # fmt: skip
def test_bad_input_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        solve(**wrong)


# ---- properties
FACTS = st.fixed_dictionaries(
    {
        "duration_days": st.floats(0.01, 5000),
        "kwh_price": st.floats(0, 1),
        "utilization": st.floats(0, 1),
        "pue": st.floats(1, 3),
        "maintenance_rate": st.floats(0, 0.3),
        "infrastructure_multiplier": st.floats(1, 3),
        "residual_value": st.floats(0, 1),
        "discount_rate": st.none() | st.floats(0.001, 0.5),
    }
)


@settings(max_examples=80, deadline=None)
@given(facts=FACTS)
def test_parts_add_up(facts: dict[str, Any]) -> None:
    result = solve(**facts)
    parts = (result.opex_energy_usd, result.opex_maintenance_usd, result.opex_rent_usd)
    assert result.total_opex_usd == pytest.approx(sum(parts))
    assert result.tco_usd == pytest.approx(result.capex_usd + result.total_opex_usd)
    assert min(*parts, result.capex_usd) >= 0
    if facts["discount_rate"] is None:
        assert result.capex_usd <= result.purchase_usd * (1 + 1e-12)


@settings(max_examples=80, deadline=None)
@given(
    facts=FACTS,
    more=st.sampled_from(["duration_days", "kwh_price", "utilization", "pue", "maintenance_rate",
                          "infrastructure_multiplier"]),
    share=st.floats(0, 1),
)  # fmt: skip
def test_cost_never_falls_when_more_is_used(facts: dict[str, Any], more: str, share: float) -> None:
    top = {"duration_days": 5000, "kwh_price": 1, "utilization": 1, "pue": 3, "maintenance_rate": 0.3,
           "infrastructure_multiplier": 3}[more]  # fmt: skip
    raised = facts[more] + share * (top - facts[more])
    assert solve(**{**facts, more: raised}).tco_usd >= solve(**facts).tco_usd * (1 - 1e-9)


@settings(max_examples=40, deadline=None)
@given(cheap=st.floats(0.01, 0.5), dear=st.floats(0.01, 0.5))
def test_the_place_with_the_lower_price_is_cheaper(cheap: float, dear: float) -> None:
    low, high = sorted((cheap, dear))
    assert solve(kwh_price=low).tco_usd <= solve(kwh_price=high).tco_usd


def test_regions_and_both_ways_in_one_sweep() -> None:
    codes = ["us-central1", "us-east-1", "us-west-1"]
    facts = {"fleet": "Research_256", "duration_days": 365, "node_price": "375 kUSD", "price": "2.5 USD/h"}
    sweep = MODEL.sweep(**facts, datacenter=codes, ownership=["buy", "rent"], outputs=["tco_usd"])
    found = sweep.plain("tco_usd")
    assert found.shape == (3, 2)
    assert found[0, 0] < found[1, 0] < found[2, 0], "electricity costs 6.91, 8.92 and 18.64 cents"
    assert found[:, 1] == pytest.approx([256 * 8760 * 2.5] * 3)
    assert found[1, 0] == pytest.approx(MODEL.solve(**facts, datacenter="us-east-1", ownership="buy").tco_usd)


def test_elasticities_say_what_matters() -> None:
    found = MODEL.sensitivity("tco_usd", **MODEL.example)
    result = MODEL.solve(**MODEL.example)
    assert found["kwh_price"] == pytest.approx(result.opex_energy_usd / result.tco_usd)
    assert found["maintenance_rate"] == pytest.approx(result.opex_maintenance_usd / result.tco_usd)
    assert found["amortization_years"] == pytest.approx(-result.capex_usd / result.tco_usd)


def test_the_inverse_gives_the_rent_that_equals_buying() -> None:
    bought = solve()
    inverse = MODEL.solve_for(
        "tco_usd", f"{bought.tco_usd!r} USD", unknown="price", ownership="rent", fleet="Research_256",
        duration_days=365,
    )  # fmt: skip
    # 256 accelerators x 8,760 h
    assert inverse.value * 3600 == pytest.approx(bought.tco_usd / (256 * 8760))
