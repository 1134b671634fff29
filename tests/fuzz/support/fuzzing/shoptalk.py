"""A formulation as another distribution would bring it: jobs that each pick a place, in so many slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsysim_opt.algebra import lookup
from mlsysim_opt.algebra.expression import Symbol
from mlsysim_opt.optimize import CoupledProblem, Formulation
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.units import parse_unit

PRICE = {"Iowa": 1.0, "Quebec": 4.0, "Oslo": 6.0}
CARBON = {"Iowa": 10.0, "Quebec": 2.0, "Oslo": 1.0}
TARIFF = parse_unit("USD/tCO2e")


def build(values: dict[str, Any], choices: Mapping[str, Any]) -> CoupledProblem:
    """Return the problem: three places, a job of each size from one to `jobs`."""
    made = CoupledProblem("shoptalk", values={"carbon_price": values["carbon_price"]})
    job = made.choose("job", range(1, values["jobs"] + 1), about="jobs, by size")
    place = made.choose("place", choices.get("place", tuple(PRICE)), about="where")
    run = made.picks("run", [job, place], for_each=[job], about="where each job runs")
    names = place.values
    price = job * lookup(place, {name: PRICE[name] for name in names}, unit="USD", title="price")
    carbon = job * lookup(place, {name: CARBON[name] for name in names}, unit="tCO2e", title="carbon per job")
    made.require("slots", run.total(job) <= values["slots"], each=[place])
    made.measure("rent", run * price, unit="USD", about="rent of all jobs")
    made.measure("carbon", run * carbon, unit="tCO2e", about="carbon of all jobs")
    made.measure("cost", run * price + run * carbon * Symbol("carbon_price", TARIFF.dimension), unit="USD")
    made.default_objective = "min_cost"
    made.assumptions = {"slots": str(values["slots"])}
    plain = {**values, "carbon_price": f"{values['carbon_price'] / TARIFF.factor!r} USD/tCO2e"}
    made.request = {"formulation": "shoptalk", "given": plain, "choices": dict(choices)}
    return made


shoptalk = Formulation(
    name="shoptalk",
    about="where to run jobs",
    inputs=(
        Number("jobs", "how many jobs", integer=True, low=1, high=1000),
        Number("slots", "slots of each place", 1000, integer=True, low=1),
        Number("carbon_price", "price of carbon", "0 USD/tCO2e", unit="USD/tCO2e", of=TARIFF.dimension),
    ),
    build=build,
    example={"jobs": 3},
)
