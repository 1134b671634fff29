"""Where, on what and when: training jobs and served demands over regions, accelerators, fleet sizes and periods, under
a budget, a carbon cap, a water cap, deadlines, capacity and data residency.

Items: each job picks one column (accelerator, nodes, split) in one region, and when it runs; each demand is divided
over regions and accelerators, period by period. What a run takes is physics (`operations`, `sustainability`,
`economics`, the designs of `parallelism`, `ServingModel`); what stands here is who may go where, and sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsysim_opt.formulations.fleet_givens import QUANTILE, ROUND_TRIP, UTILIZATION
from mlsysim_opt.formulations.givens import Counts, Names
from mlsysim_opt.formulations.placement_givens import (
    DEMAND,
    HOURLY,
    INTENSITY,
    JOB,
    MOST_PERIODS,
    ByRegion,
    Records,
    settled_periods,
)
from mlsysim_opt.formulations.placement_periods import Grouping
from mlsysim_opt.formulations.placement_plan import Plan
from mlsysim_opt.formulations.rows import Several
from mlsysim_opt.formulations.serving_columns import RESERVE

from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.coupled.problem import Coarser, CoupledProblem
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.physics.inputs import Given, Input, Number, Option, Switch
from mlsysim_opt.units import CARBON, ENERGY, MONEY, POWER, TIME, divide

INPUTS: tuple[Input, ...] = (
    Records("jobs", "training jobs, each with its own givens", default=None, of=JOB, one="job"),
    Records("demands", "served demands, each with its own givens", default=None, of=DEMAND, one="demand"),
    Names("regions", "sites to choose among", kind="datacenter"),
    Given("fleet", "its fabric connects the nodes of a job, its node is used where it fits", default=None,
          kind="fleet"),
    Names("accelerators", "accelerators to choose among; that of the fleet when absent", default=None,
          kind="accelerator"),
    Counts("nodes", "node counts that a job may choose among", default=None),
    Number("duration", "time that is planned for; jobs need it only where it limits them", default=None, unit="h",
           of=TIME, open_low=True),
    Number("periods", "equal spans the duration is divided into; as many as the longest series has values when absent",
           default=None, integer=True, low=1, high=MOST_PERIODS),
    Number("representative", "periods by which the plan is found, each standing for many that are alike; it is made "
           "for all of them, with the error", default=None, integer=True, low=1, high=MOST_PERIODS),
    Number("month", "month of the hourly profiles of grids, 1 to 12; the first period begins at 0 h UTC", default=None,
           integer=True, low=1, high=12),
    Switch("pauses", "jobs may pause and go on in another period, at no cost", default=True),
    ByRegion("price", "rent of an accelerator by accelerator, region and period; or 'catalog'", default=None,
             unit="USD/h", of=HOURLY, catalog=True),
    Option("plan", "which prices of the catalog", default="on_demand", options=("on_demand", "spot", "reserved")),
    ByRegion("price_elsewhere", "rent where the catalog states none", default=None, unit="USD/h", of=HOURLY),
    ByRegion("carbon_intensity", "of the grid, by region and period; that of the catalog when absent", default=None,
             unit="gCO2e/kWh", of=INTENSITY, by_accelerator=False),
    ByRegion("market_carbon_intensity", "after contracts, by region and period; that of the catalog when absent",
             default=None, unit="gCO2e/kWh", of=INTENSITY, by_accelerator=False),
    ByRegion("electricity_price", "of equipment that is bought, by region and period; that of the catalog when absent",
             default=None, unit="USD/kWh", of=divide(MONEY, ENERGY), by_accelerator=False),
    ByRegion("capacity", "accelerators there are, by accelerator and region; no limit when absent", default=None),
    Option("accounting", "which intensity counts as carbon: of the grid, or after contracts", default="location",
           options=("location", "market")),
    Number("carbon_price", "of emitted carbon, in total_cost", default=None, unit="USD/tCO2e",
           of=divide(MONEY, CARBON)),
    ByRegion("embodied_carbon_per_device", "of making an accelerator and its share of the node; by the catalog when "
             "absent", default=None, unit="kgCO2e", of=CARBON),
    Number("lifetime_years", "over which embodied carbon is spread", default="4 year", unit="year", of=TIME,
           open_low=True, bare=True),
    Number("lifetime_utilization", "share of the lifetime in which equipment serves somebody", default=1.0, high=1.0,
           open_low=True),
    Several("serving_utilization", "load of a server over its full rate, or several to choose among; where absent, 0.5 "
            "to 0.9 in steps of 0.1, but for measured rates", default=None,
            each=Number("serving_utilization", high=1.0, open_low=True)),
    ROUND_TRIP,
    Option("hold", "nodes held for the whole duration: 'reserved' beside what is rented on demand, bought for all that "
           "works ('buy'), or bought for some of it and the rest rented on demand ('buy_or_rent')",
           default=None, options=("reserved", "buy", "buy_or_rent")),
    ByRegion("reserved_price", "rent of a held accelerator, used or not", default=None, unit="USD/h", of=HOURLY),
    ByRegion("node_price", "of a node that is bought, host and network cards included; that of the catalog when absent",
             default=None, unit="USD", of=MONEY),
    ByRegion("idle_power", "of a node on which nothing runs, by accelerator: what held nodes draw, and servers between "
             "requests; that of the catalog when absent", default=None, unit="W", of=POWER),
    Number("amortization_years", "over which bought nodes lose their value", default="4 year", unit="year", of=TIME,
           open_low=True, bare=True),
    Number("maintenance_rate", "per year, of the price of bought nodes", default=0.05, high=1.0),
    Number("infrastructure_multiplier", "price of everything over price of the nodes", default=1.0, low=1.0,
           high=100.0),
)  # fmt: skip
ALIASES = {"datacenters": "regions", "accelerator": "accelerators", "devices": "accelerators"}
METRIC_ALIASES = {"rent": "rent_cost", "carbon_footprint": "carbon", "water_usage": "water"}


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> CoupledProblem:
    if not values["jobs"] and not values["demands"]:
        raise InputError("there is nothing to place", path="jobs", hint="give jobs, demands, or both")
    values = {**values, "periods": settled_periods(values, INPUTS)}
    problem, plan = _declared(values, narrowed)
    if values["representative"] is not None:
        if values["periods"] <= values["representative"]:
            raise InputError(f"{values['representative']} periods cannot stand for {values['periods']}",
                             path="representative", hint="periods is how many there are in all")  # fmt: skip
        if values["jobs"] and not values["pauses"]:
            raise InputError("jobs that do not pause need periods in their order", path="representative",
                             hint="pauses=true, or no representative periods")  # fmt: skip
        grouping = plan.alike(int(values["representative"]))
        problem.coarser = Coarser(_declared(values, narrowed, grouping)[0], "period", len(grouping.weights))
    modelled = [item for item in values["demands"] or () if item["requests_per_device"] is None]
    if modelled:
        problem.assumptions["memory_reserve"] = f"{RESERVE / 2**30:g} GiB"
        problem.assumptions["queues"] = "each replica has its own: an upper bound on the wait of pooled ones"
    if modelled and values["serving_utilization"] is None:
        problem.assumptions["serving_utilization"] = ", ".join(f"{item:g}" for item in UTILIZATION)
    promising = [item for item in modelled if item["ttft"] is not None or item["latency"] is not None]
    if any(item["quantile"] == QUANTILE.default for item in promising):
        problem.assumptions["quantile"] = str(QUANTILE.default)
    for item in promising:
        if item["origin"] is None:
            problem.assumptions[f"network of {item['name']}"] = "no round trip: its origin is not given"
    problem.assumptions["accounting"] = values["accounting"]
    return problem


def _declared(
    values: dict[str, Any], narrowed: Mapping[str, Any], grouping: Grouping | None = None
) -> tuple[CoupledProblem, Plan]:
    problem = CoupledProblem("placement", default_objective="min_cost", aliases=METRIC_ALIASES)
    plan = Plan(problem, values, narrowed, grouping)
    plan.declare()
    return problem, plan


placement = Formulation(
    name="placement",
    about="where, on what and when training jobs and served demands run",
    inputs=INPUTS,
    build=_build,
    aliases=ALIASES,
    example={
        "jobs": [
            {"name": "pretraining", "model": "Llama3_8B", "token_budget": "1e11 token", "global_batch_size": 512,
             "seq_len": 8192, "deadline": "14 day"},
        ],
        "regions": ["AWS_us_east_1", "AWS_us_east_2", "AWS_ca_central_1", "AWS_eu_north_1"],
        "fleet": "Research_256",
        "nodes": [8, 16, 32],
        "price": "catalog",
    },
)  # fmt: skip
