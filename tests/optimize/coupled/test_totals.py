"""What coupled problems are written with: units are checked at the line that is wrong, and errors name it."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from mlsysim_opt.errors import DimensionError, InputError, UnknownNameError
from mlsysim_opt.optimize import CoupledProblem, Largest, optimize
from mlsysim_opt.optimize.coupled.totals import Place, sum_of


@pytest.fixture
def shop() -> CoupledProblem:
    """One site with servers (2 USD each) and storage (in GB, 0.5 USD/GB)."""
    problem = CoupledProblem("shop")
    site = problem.choose("site", ["Iowa"])
    servers = problem.amounts("servers", [site], whole=True, high=9)
    storage = problem.amounts("storage", [site], unit="GB", high=100)
    price = problem.table("price", [site], [2.0], unit="USD")
    rent = problem.table("rent", [site], [0.5], unit="USD/GB")
    problem.measure("cost", servers * price + storage * rent, unit="USD")
    problem.measure("stored", storage, unit="GB")
    problem.measure("count", servers)
    problem.default_objective = "min_cost"
    return problem


def test_a_sum_of_two_dimensions_is_refused_where_it_is_written(shop: CoupledProblem) -> None:
    servers, storage = shop.families["servers"], shop.families["storage"]
    with pytest.raises(DimensionError):
        servers + storage
    with pytest.raises(DimensionError):
        shop.require("limit", storage <= 5)
    with pytest.raises(DimensionError):
        (servers * "2 USD").equals("3 GB")


def test_a_limit_may_be_given_in_any_unit_of_its_dimension(shop: CoupledProblem) -> None:
    # 0.03 TB are 30 GB, at 0.5 USD/GB: 15 USD.
    shop.require("enough", shop.families["storage"] >= "0.03 TB")
    answer = optimize(shop)
    assert answer.where("storage") == [{"site": "Iowa", "amount": 30.0, "unit": "GB"}]
    assert answer.objective.value == pytest.approx(15, rel=1e-12)
    assert answer.objective.unit == "USD"


def test_zero_takes_the_dimension_of_the_sum(shop: CoupledProblem) -> None:
    storage = shop.families["storage"]
    assert (storage <= 0).total.dimension == storage.dimension
    assert (storage - 0).dimension == storage.dimension


def test_products_and_ratios_of_sums_are_refused_with_what_to_do(shop: CoupledProblem) -> None:
    servers, storage = shop.families["servers"], shop.families["storage"]
    with pytest.raises(InputError, match="not linear") as product:
        servers.total() * storage  # type: ignore[operator]
    assert "coefficients" in str(product.value)
    with pytest.raises(InputError, match="not linear") as ratio:
        servers.total() / storage.total()  # type: ignore[operator]
    assert "objectives" in str(ratio.value)


def test_a_coefficient_must_be_a_number(shop: CoupledProblem) -> None:
    site = shop.decisions["site"].choice
    with pytest.raises(InputError, match="a coefficient of servers is a label"):
        shop.families["servers"] * site
    with pytest.raises(InputError, match="a coefficient of servers is a truth"):
        shop.families["servers"] * (site == "Iowa")


def test_arithmetic_of_sums() -> None:
    # 10 - (2 a - 3 b) / 2 at a = 4, b = 2 is 10 - 1 = 9.
    problem = CoupledProblem("two")
    a = problem.amounts("a", [], low=4, high=4)
    b = problem.amounts("b", [], low=2, high=2)
    problem.measure("left", 10 - (a * 2 - 3 * b) / 2)
    problem.measure("negative", -a + 5 - b)
    problem.measure("many", sum_of([a, b, a]))
    found = optimize(problem, objective="min_left").metrics
    assert (found["left"], found["negative"], found["many"]) == (9, -1, 10)
    with pytest.raises(InputError, match="nothing to add up"):
        sum_of([])


def test_a_relation_has_no_truth_yet(shop: CoupledProblem) -> None:
    relation = shop.families["servers"] <= 3
    with pytest.raises(InputError, match="require"):
        bool(relation)
    with pytest.raises(InputError, match="expected a relation"):
        shop.require("wrong", True)  # type: ignore[arg-type]


def test_what_is_declared_twice_or_not_at_all_is_named(shop: CoupledProblem) -> None:
    from mlsysim_opt.algebra.expression import Choice

    with pytest.raises(InputError, match=r"site.*declared twice"):
        shop.choose("site", ["Utah"])
    with pytest.raises(InputError, match=r"servers.*declared twice"):
        shop.amounts("servers", [])
    with pytest.raises(InputError, match="uses 'hour', which is not declared"):
        shop.amounts("energy", [Choice("hour", [1, 2])])
    other = shop.choose("hour", [1, 2])
    with pytest.raises(InputError, match="picks for each hour"):
        shop.picks("start", [shop.decisions["site"].choice], for_each=[other])
    with pytest.raises(InputError, match="servers has no choice 'hour'"):
        shop.families["servers"].total(at={other: Place(other)})
    with pytest.raises(InputError, match="servers has no choice 'hour'"):
        shop.families["servers"].total().shifted(other, 1)


def test_a_coefficient_may_not_depend_on_what_neither_family_nor_row_has(shop: CoupledProblem) -> None:
    hour = shop.choose("hour", [1, 2])
    tariff = shop.table("tariff", [hour], [1.0, 2.0])
    shop.require("bill", shop.families["servers"] * tariff <= 3)
    with pytest.raises(InputError, match="depends on hour, which it has not"):
        optimize(shop)


def test_an_offset_may_not_depend_on_what_the_rows_lack(shop: CoupledProblem) -> None:
    hour = shop.choose("hour", [1, 2])
    demand = shop.table("demand", [hour], [1.0, 2.0])
    shop.require("demand", shop.families["servers"] >= demand)
    with pytest.raises(InputError, match=r"demand.*depends on hour, over which there are no rows"):
        optimize(shop)


@pytest.mark.parametrize(
    ("objective", "says"),
    [
        ("minimize cost * cost", "not linear in cost"),
        ("minimize sqrt(count)", "not linear in count"),
        ("minimize 3", "is no sum over the plan"),
        ("minimize min(count, 2)", "the smallest of something (min_1) can be made large"),
        ("maximize max(count, 2)", "not the other way round"),
        ("minimize max(count, 2) / count", "a ratio with a largest"),
    ],
)
def test_objectives_that_are_not_linear_are_refused_with_the_part_to_blame(
    shop: CoupledProblem, objective: str, says: str
) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        optimize(shop, objective=objective)


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        ("cost * count <= 3 USD", "not linear"),
        ("count + site <= 3", "site"),
        ("max(count, 2) == 3", "cannot be required to be a number"),
        ("max(count, 2) >= 3", "not the other way round"),
    ],
)
def test_constraints_that_are_not_linear_are_refused(shop: CoupledProblem, constraint: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        optimize(shop, constraints=[constraint])


def test_unknown_names_come_with_the_nearest(shop: CoupledProblem) -> None:
    with pytest.raises(UnknownNameError, match="min_cost"):
        optimize(shop, objective="min_cots")
    with pytest.raises(UnknownNameError, match="cost"):
        optimize(shop, constraints=["cots <= 3 USD"])
    with pytest.raises(UnknownNameError, match="servers"):
        optimize(shop).where("server")
    with pytest.raises(UnknownNameError, match="pyomo"):
        optimize(shop, backend="piomo")


@pytest.mark.parametrize("gap", [-0.1, 1, math.nan, "% 1"])
def test_a_gap_is_a_share(shop: CoupledProblem, gap: object) -> None:
    with pytest.raises(InputError, match="gap"):
        optimize(shop, gap=gap)  # type: ignore[arg-type]


def test_a_limit_that_is_not_known_is_named_with_its_place() -> None:
    problem = CoupledProblem("gap in a table")
    hour = problem.choose("hour", [1, 2])
    x = problem.amounts("x", [hour])
    problem.require("demand", x >= problem.table("demand", [hour], [1.0, np.nan]), each=[hour])
    problem.measure("total", x)
    with pytest.raises(InputError, match=r"demand.*not known at hour=2"):
        optimize(problem, objective="min_total")


def test_a_largest_can_be_limited_and_minimised_but_not_maximised() -> None:
    problem = CoupledProblem("peak")
    hour = problem.choose("hour", [1, 2])
    x = problem.amounts("x", [hour], high=9)
    problem.require("work", x >= 6)
    problem.measure("peak", Largest(x * 1, (hour,)))
    assert optimize(problem, objective="min_peak").objective.value == pytest.approx(3, abs=1e-9)
    with pytest.raises(InputError, match="not the other way round"):
        optimize(problem, objective="max_peak")
