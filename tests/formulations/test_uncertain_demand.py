"""Fleets and placements under several demands: what is bought is shared, what serves whom follows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from scipy.optimize import linprog

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError, InputError

# requests/s of a replica at full load, by kind of request
RATES = {"H100": (4.0, 2.0), "A100": (2.0, 1.5)}
FLEET: dict[str, Any] = {
    "measured": [{"accelerator": kind, "name": name, "request_rate": rate}
                 for kind, rates in RATES.items() for name, rate in zip("xy", rates, strict=True)],
    "offers": [{"accelerator": "H100", "price": "3 USD/h"}, {"accelerator": "A100", "price": "1.3 USD/h",
                                                             "available": 3}],
}  # fmt: skip


def traffic(x: float, y: float) -> list[dict[str, Any]]:
    return [{"name": "x", "request_rate": x}, {"name": "y", "request_rate": y}]


def serve(hundreds: int, ampere: int, x: float, y: float) -> bool:
    """Whether replicas carry a demand; columns are what H100 and A100 serve of x and of y."""
    load = [[1 / RATES["H100"][0], 1 / RATES["H100"][1], 0, 0], [0, 0, 1 / RATES["A100"][0], 1 / RATES["A100"][1]]]
    all_of_it = [[1, 0, 1, 0], [0, 1, 0, 1]]
    return bool(linprog([0] * 4, A_ub=load, b_ub=[hundreds, ampere], A_eq=all_of_it, b_eq=[x, y]).status == 0)


@pytest.mark.parametrize("demands", [[(7, 3), (2, 9)], [(7, 3), (15, 1), (1, 7)], [(0.5, 0.1), (11, 6)]])
def test_a_fleet_for_several_demands_is_that_of_counting(demands: list[tuple[float, float]]) -> None:
    possible = (
        (3 * hundreds + 1.3 * ampere) for hundreds, ampere in itertools.product(range(9), range(4))
        if all(serve(hundreds, ampere, *demand) for demand in demands)
    )  # fmt: skip
    found = mo.optimize("serving_fleet", traffic=traffic(7, 3), scenarios=[{"traffic": traffic(*it)} for it in demands],
                        **FLEET)  # fmt: skip
    assert found.objective.value == pytest.approx(min(possible), rel=1e-9)
    assert found.verify()["constraints_hold"]
    for number, (x, y) in enumerate(demands, 1):
        for name, rate in (("x", x), ("y", y)):
            rows = found.where(f"served [scenario {number}]", request=name)
            assert sum(row["amount"] for row in rows) == pytest.approx(rate)


def test_a_fleet_for_two_demands_by_hand() -> None:
    one = [{"name": "x", "request_rate": "20 request/s"}]
    asked = {"measured": [{"accelerator": "H100", "name": "x", "request_rate": 4}],
             "offers": [{"accelerator": "H100", "price": "3 USD/h"}], "traffic": one}  # fmt: skip
    many = {"traffic": [{"name": "x", "request_rate": "100 request/s"}]}
    found = mo.optimize("serving_fleet", scenarios=[{}, many], **asked)
    # 25 replicas serve 100 request/s; 5 would do for 20
    assert found.objective.value == pytest.approx(25 * 3)
    assert found.robustness is not None
    assert found.robustness.price is not None
    assert found.robustness.price.value == pytest.approx(20 * 3)
    assert found.robustness.of_nominal[1] is None  # 5 replicas do not serve 100 request/s
    # spare replicas and whole parts: one beyond the load
    more = mo.optimize("serving_fleet", scenarios=[{}, many], spare=1, slices=2, **asked)
    assert more.objective.value == pytest.approx(26 * 3)
    with pytest.raises(InfeasibleError, match="limit of 75 USD/h instead of 60 USD/h"):
        found.what_if(constraints=["cost <= 60 USD/h"])
    with pytest.raises(InputError, match="request must have the same values in all scenarios"):
        mo.optimize("serving_fleet", scenarios=[{"traffic": [{"name": "y", "request_rate": 1}]}],
                    **{**asked, "measured": [*asked["measured"], {"accelerator": "H100", "name": "y",
                                                                  "request_rate": 4}]})  # fmt: skip


def demands(rate: str) -> list[dict[str, str]]:
    return [{"name": "chat", "requests_per_device": "1 request/s", "rate": rate}]


HELD: dict[str, Any] = {
    "demands": demands("10 request/s"), "serving_utilization": 0.5, "accelerators": "H100", "regions": "AWS_us_east_1",
    "duration": "1 h", "price": "3 USD/h", "hold": "reserved", "reserved_price": "1 USD/h",
}  # fmt: skip


def test_nodes_are_held_before_the_demand_is_known() -> None:
    # half loaded: 20 accelerators for 10 request/s, 60 for 30; held nodes of 8 cost 8 USD, others 3 each
    def cost(nodes: int, accelerators: int) -> float:
        return 8 * nodes + 3 * max(0, accelerators - 8 * nodes)

    many = {"demands": demands("30 request/s")}
    # expected: 3 nodes cost 24 + 0.2 * 3 * 36 = 45.6 USD (2: 52, 4: 48.8)
    expected = min(0.8 * cost(nodes, 20) + 0.2 * cost(nodes, 60) for nodes in range(9))
    assert expected == pytest.approx(45.6)
    found = mo.optimize("placement", scenarios=[{}, many], robust="expected", shares=[0.8, 0.2], **HELD)
    assert found.objective.value == pytest.approx(45.6)
    assert [row["amount"] for row in found.amounts["held"]] == [3]
    assert [row["amount"] for row in found.amounts["rented [scenario 2]"]] == [pytest.approx(36)]
    assert found.robustness is not None
    assert [value.value for value in found.robustness.values] == pytest.approx([24, 24 + 3 * 36])
    # the worst case is that of 60 accelerators: 8 nodes
    worst = mo.optimize("placement", scenarios=[{}, many], **HELD)
    assert worst.objective.value == pytest.approx(min(cost(nodes, 60) for nodes in range(9)))
    # regret: 20 accelerators cost 24 USD at best (3 nodes), 60 cost 64
    regret = mo.optimize("placement", scenarios=[{}, many], robust="regret", **HELD)
    assert regret.objective.value == pytest.approx(
        min(max(cost(nodes, 20) - 24, cost(nodes, 60) - 64) for nodes in range(9))
    )


def test_demands_by_period_and_a_carbon_cap() -> None:
    # two regions and two hours: the cheap one emits more, and only so much may be emitted in either scenario
    asked: dict[str, Any] = {
        "demands": demands("10 request/s"), "serving_utilization": 0.5, "accelerators": "H100",
        "regions": ["AWS_us_east_1", "AWS_eu_north_1"], "duration": "2 h", "periods": 2,
        "price": {"AWS_us_east_1": "2 USD/h", "AWS_eu_north_1": "3 USD/h"},
        "carbon_intensity": {"AWS_us_east_1": "400 gCO2e/kWh", "AWS_eu_north_1": "30 gCO2e/kWh"},
    }  # fmt: skip
    more = {"demands": demands("20 request/s")}
    free = mo.optimize("placement", scenarios=[{}, more], **asked)
    assert free.objective.value == pytest.approx(2 * 40 * 2)  # hours, accelerators, USD/h
    alone = {name: mo.optimize("placement", **{**asked, **given}) for name, given in (("few", {}), ("many", more))}
    cap = alone["few"].metrics.values_with_units["carbon"]
    capped = mo.optimize("placement", scenarios=[{}, more], constraints=[f"carbon <= {cap}"], **asked)
    again = mo.optimize("placement", constraints=[f"carbon <= {cap}"], **{**asked, **more})
    assert capped.objective.value == pytest.approx(again.objective.value, rel=1e-7)
    assert capped.robustness is not None
    assert capped.robustness.values[0].value == pytest.approx(alone["few"].objective.value, rel=1e-6)
