"""What one unit of a limit is worth is told in the units that the user asked in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.optimize import CoupledProblem, PlanSolution
from mlsysim_opt.optimize.per_unit import counted, limit_unit, per_one, per_unit, written_unit
from mlsysim_opt.units import DIMENSIONLESS, POWER, dimension, divide, parse_unit

PAID = ["USD", "kUSD", "USD/h", "tCO2e", "token/s", ""]
LIMITS = ["kW", "MW", "kgCO2e", "tCO2e", "USD/h", "GiB", "gCO2e/kWh", "h", "kUSD"]


def ships() -> CoupledProblem:
    """Two jobs in Iowa or Quebec; by hand (USD/h, kW, GPUs): II (2, 20), QI (5, 12), IQ (6, 11), QQ (9, 3)."""
    made = CoupledProblem("ships")
    job, place = made.choose("job", ["a", "b"]), made.choose("place", ["Iowa", "Quebec"])
    run = made.picks("run", [job, place], for_each=[job])
    taken = [[10, 2], [10, 1]]
    made.measure("cost", run * made.table("price", [job, place], [[1, 4], [1, 5]], "USD/h"), unit="USD/h")
    made.measure("power", run * made.table("power of each", [job, place], taken, "kW"), unit="kW")
    made.measure("gpus", run * made.table("gpus of each", [job, place], taken))
    made.default_objective = "min_cost"
    return made


@pytest.mark.parametrize(
    ("constraint", "limits", "secants"),
    [
        # from 20 to 12 kW: 3 USD/h for 8 kW; to 11 kW: 1 USD/h for 1 kW; to 3 kW: 3 USD/h for 8 kW
        ("power <= 20 kW", [20, 12, 11, 3], ["0.375 USD/h/kW", "1 USD/h/kW", "0.375 USD/h/kW"]),
        ("power <= 0.02 MW", [0.02, 0.012, 0.011], ["375 USD/h/MW", "1000 USD/h/MW"]),
        ("20 kW >= power", [20, 12], ["0.375 USD/h/kW"]),
        ("power + 1 kW <= 2 * 10.5 kW", [21, 13], ["0.375 USD/h/kW"]),
    ],
)
def test_secants_by_hand_are_in_the_units_of_the_question(
    constraint: str, limits: list[float], secants: list[str]
) -> None:
    found = mo.optimize(ships()).marginal(constraint, limits)
    assert [str(item) for item in found.secants[1:]] == secants
    assert secants[0] in str(found)
    assert found.as_dict()["secants"][1]["unit"] == secants[0].split()[1]
    for other in [*found.secants[1:], *found.estimates]:  # the dual is of the same unit, so that both can be compared
        assert other is not None
        assert other.unit == secants[0].split()[1]


def test_what_is_counted_is_named() -> None:
    plan = mo.optimize(ships(), constraints=["gpus <= 19"])
    found = plan.marginal("gpus <= 20", [20, 12])
    assert "20 -> 12 costs 3 USD/h, 0.375 USD/h per gpu" in str(found)
    assert found.as_dict()["counts"] == "gpus"
    (slack,) = (item for item in plan.constraints if item.given_by_user)
    assert slack.room == "7 gpus"
    # divisible amounts: a GPU less than 20 is a part of job a in Quebec, 3 USD/h for 8 GPUs, or of b, 4 for 9
    assert slack.worth == "0.375 USD/h per gpu"
    again = PlanSolution.from_json(plan.to_json())
    assert again.constraints == plan.constraints


def test_duals_of_a_plan_are_in_the_units_of_the_question() -> None:
    plan = mo.optimize(ships(), constraints=["power <= 0.019 MW", "cost/power <= 1 USD/kWh"])
    data = {item["constraint"]: item["relaxation_dual_estimate"] for item in json.loads(plan.to_json())["constraints"]}
    assert data["power <= 0.019 MW"] == {"value": pytest.approx(375), "unit": "USD/h/MW"}
    # a limit of a ratio is one of sums, cost <= 1 USD/kWh * power: USD/h for USD/h
    assert data["cost/power <= 1 USD/kWh"]["unit"] is None


def test_a_limit_given_as_a_function_is_told_in_a_unit_for_people() -> None:
    found = mo.optimize(ships()).marginal(lambda plan: plan.power <= "20 kW", ["20 kW", "12 kW"])
    assert str(found.secants[1]) == "0.375 USD/h/kW"
    assert [str(item) for item in found.limits] == ["20 kW", "12 kW"]


@given(st.sampled_from(PAID), st.sampled_from(LIMITS), st.floats(1e-9, 1e9))
def test_any_such_number_is_the_quotient_of_what_is_paid_and_what_is_given(paid: str, limit: str, value: float) -> None:
    unit = parse_unit(limit)
    found = per_unit(value, paid, unit)
    of = divide(dimension(paid) if paid else DIMENSIONLESS.dimension, unit.dimension)
    assert (parse_unit(found.unit) if found.unit else DIMENSIONLESS).dimension == of
    assert found.si == pytest.approx(value, rel=1e-12)
    # so many of the limit's units, each of them worth this
    assert found.value is not None
    assert found.value * (parse_unit(paid).factor if paid else 1) == pytest.approx(value * unit.factor, rel=1e-12)


def test_the_unit_is_that_of_the_limit_not_of_other_numbers_beside_it() -> None:
    priced = "cost + 50 USD/tCO2e * carbon <= 900 kUSD"
    assert str(written_unit(priced, dimension("USD"))) == "kUSD"
    assert str(written_unit("5 h <= 2 * 3 min * size", dimension("h"))) == "h"
    assert written_unit("power <= limit", POWER) is None
    assert str(limit_unit("power is kept", POWER)) == "kW"
    assert str(limit_unit("a cluster works no longer than it stands", dimension("s"))) == "h"
    assert str(limit_unit("rent is kept", dimension("USD/s"))) == "USD/h"


def test_only_words_for_several_are_counted() -> None:
    assert counted("64 >= total_gpus") == "total_gpus"
    assert per_one("total_gpus") == " per total gpu"
    assert per_one("batches") == " per batch"
    for constraint in ("load <= 0.7", "loss <= 2", "2 * gpus <= 64", "gpus/nodes <= 8"):
        assert counted(constraint) == ""
    assert per_one("of the limit of memory") == ""
