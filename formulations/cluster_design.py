"""What to buy: nodes, fabric, storage, cooling and size of one or several clusters for a portfolio of workloads.

Families: picks of designs, each to train or to serve, and shares of each workload on them. What serves is on all the
time and a training run takes a whole cluster, so no cluster does both. The size of a cluster is one of a few, so that
what is not linear in it (the split of a training job, its communication) is a table: each entry is the optimum of
`parallelism` or of `serving_fleet` for this workload on this hardware. Money and carbon are those of `EconomicsModel`
and `SustainabilityModel`, which are affine in the share of time at work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mlsysim_opt.formulations.cluster_levers import (
    clusters_lever,
    done,
    promise_levers,
    share_of,
    sizes_lever,
    years_lever,
)
from mlsysim_opt.formulations.cluster_site import OF_THE_PLACE, OWN, TRAINS, Site, label_of, purpose_of
from mlsysim_opt.formulations.narrowed import Narrowed, allow
from mlsysim_opt.formulations.rows import Label, Rows, Several

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import Expression, Symbol, constant
from mlsysim_opt.errors import InputError, MissingFieldError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.physics.inputs import Given, Input, Number, Switch, Text
from mlsysim_opt.physics.portfolio import added_by_load, serving_time, training_time
from mlsysim_opt.physics.replicas import facility_power
from mlsysim_opt.units import BANDWIDTH, CARBON, MONEY, NONE, REQUEST, TIME, TOKEN, divide


def _whole(name: str, about: str) -> Number:
    return Number(name, about, default=None, integer=True, low=1, high=2**31)


def _price(about: str) -> Number:
    return Number("price", about, default=None, unit="USD", of=MONEY)


WORKLOADS = Rows(
    "workloads", "rows: training runs (`tokens`), and services (`request_rate`)",
    columns=(
        Label("name", "of the workload"),
        Given("model", "trained or served", kind="model"),
        Text("precision", "number format", of_kind="numerics"),
        Number("tokens", "to train on, in all the years", default=None, unit="token", of=TOKEN, open_low=True),
        _whole("global_batch_size", "sequences per optimizer step"),
        _whole("seq_len", "tokens per sequence"),
        Number("data_rate", "data that one accelerator consumes in training", default=None, unit="GB/s", of=BANDWIDTH),
        Number("request_rate", "to be served all the time", default=None, unit="request/s", of=divide(REQUEST, TIME),
               open_low=True),
        _whole("input_len", "tokens of a prompt"),
        _whole("output_len", "generated tokens"),
        Number("ttft", "limit of the P99 of the time to the first token", default=None, unit="ms", of=TIME),
        Number("itl", "limit of the mean time between two tokens", default=None, unit="ms", of=TIME),
    ),
)  # fmt: skip
INPUTS: tuple[Input, ...] = (
    WORKLOADS,
    Rows("nodes", "rows: servers to choose among",
         columns=(Given("node", "server of the catalog", kind="node"), _price("that of the catalog when absent"),
                  Number("embodied_carbon_per_device", "of making an accelerator and its share of the node; by the "
                         "catalog when absent", default=None, unit="kgCO2e", of=CARBON))),
    Rows("fabrics", "rows: networks to choose among, oversubscription included",
         columns=(Given("fabric", "of the catalog", kind="fabric"), _price("for each node"))),
    Rows("storages", "rows: storage to choose among; the nodes' own when absent", default=None,
         columns=(Label("name", "of the option"), Given("storage", "of the catalog", kind="storage"),
                  Number("count", "drives or clients of each node", default=1, integer=True, low=1),
                  _price("for each node"))),
    Rows("coolings", "rows: ways of cooling to choose among; the place's PUE when absent", default=None,
         columns=(Label("name", "of the option"), Number("pue", "facility energy over IT energy", low=1.0, high=10.0),
                  _price("for each node"))),
    Several("sizes", "nodes of a cluster to choose among", each=Number("sizes", integer=True, low=1, high=2**20)),
    Number("clusters", "clusters at most", default=1, integer=True, low=1, high=100),
    Number("years", "for which it is bought", unit="year", of=TIME, open_low=True, bare=True),
    Number("availability", "share of time that a cluster works", default=1.0, high=1.0, open_low=True),
    Given("datacenter", "where it stands", kind="datacenter"),
    Number("maintenance_rate", "per year, of the price paid", default=0.05, high=1.0),
    Switch("scaled", "as much as possible of the portfolio, instead of all of it once", default=False),
)  # fmt: skip


def _build(
    values: dict[str, Any], narrowed: Mapping[str, Any], known: dict[tuple[Any, ...], Any] | None = None
) -> CoupledProblem:
    """Return the problem.

    Args:
        known: answers of nested questions, where some are known already.
    """
    _check(values)
    problem = CoupledProblem("cluster_design", item="cluster", default_objective="min_tco")
    decide = Narrowed(problem, narrowed)

    def rows(table: str, key: str, absent: str) -> list[str]:
        return [label_of(item[key]) for item in values[table] or ({key: absent},)]

    workload = decide("workload", rows("workloads", "name", ""), "what is run")
    purposes = {purpose_of(row) for row in values["workloads"] if row["name"] in workload.values}
    if len(purposes) > values["clusters"]:
        raise InputError("a cluster either trains or serves, and both are asked for", path="clusters",
                         hint="clusters=2 or more")  # fmt: skip
    site = Site(
        problem, values, workload,
        decide("node", rows("nodes", "node", ""), "server"),
        decide("fabric", rows("fabrics", "fabric", ""), "network between servers"),
        decide("storage", rows("storages", "name", OWN), "where data is read from"),
        decide("cooling", rows("coolings", "name", OF_THE_PLACE), "how the building is cooled"),
        decide("nodes", list(values["sizes"]), "servers of a cluster"),
        decide("purpose", sorted(purposes, reverse=True), "whether a cluster trains or serves"),
        {} if known is None else known,
    )  # fmt: skip
    decide.finished()
    for name in ("years", "availability", "clusters"):
        problem.values[name] = float(values[name])
    duration = Symbol("years", TIME)
    bought = problem.picks(
        "clusters", (*site.axes, site.purpose), count=Symbol("clusters", NONE, integer=True, low=1), optional=True,
        about="that are bought",
    )  # fmt: skip
    run = problem.amounts("shares", (site.workload, *site.axes), about="of a workload on a design")
    scale = problem.amounts("portfolios", (), low=0 if values["scaled"] else 1, high=None if values["scaled"] else 1,
                            about="how many times all workloads are done")  # fmt: skip
    time = _time(site, duration)
    problem.recheck = lambda plan: site.recheck(plan, time)
    for name in workload.values:
        share = share_of(run, workload, name)
        problem.require(done(name), (share - scale).equals(0), counts="of it")
        why = site.cannot_run(name)
        if why is not None:
            problem.notes[done(name)] = why
    works = run.total(time * site.done_there) - bought.total(duration * Symbol("availability", NONE, high=1.0))
    each = (*site.axes, site.purpose)
    problem.require("a cluster works no longer than it stands", works <= 0, each=each, structural=True)
    if not values["scaled"]:
        _levers(site, narrowed, bought, run)
    _metrics(site, bought, run, scale, time, duration)
    for item in INPUTS:
        if item.name in ("availability", "maintenance_rate", "clusters") and values[item.name] == item.check(
            item.default
        ):
            problem.assumptions[item.name] = str(item.default)
    return problem


def _levers(site: Site, narrowed: Mapping[str, Any], bought: Family, run: Family) -> None:
    """Declare what could be given otherwise where nothing is possible."""
    problem, values = site.problem, site.values
    trained = [name for name in site.workload.values if purpose_of(site.row("workloads", "name", name)) == TRAINS]

    def rebuild(changed: dict[str, Any]) -> CoupledProblem:
        return _build(changed, narrowed, site.known)

    problem.levers.append(clusters_lever(problem, int(values["clusters"]), bought))
    if trained:
        problem.levers.append(years_lever(problem, float(values["years"]), run, site.workload, trained))
    if "nodes" not in narrowed:
        problem.levers.append(sizes_lever(values, site.refused, rebuild))
    problem.levers += promise_levers(values, site.refused, rebuild)


def _check(values: Mapping[str, Any]) -> None:
    """Refuse workloads of which something is missing, and names that stand twice."""
    for table, key in (
        ("workloads", "name"),
        ("nodes", "node"),
        ("fabrics", "fabric"),
        ("storages", "name"),
        ("coolings", "name"),
    ):
        labels = [label_of(item[key]) for item in values[table] or ()]
        for label in labels:
            if labels.count(label) > 1:
                raise InputError(f"{label} is given twice", path=table)
    for row in values["workloads"]:
        if (row["tokens"] is None) == (row["request_rate"] is None):
            raise InputError(f"{row['name']} needs tokens to train on, or a request_rate to serve", path="workloads")
        needed = ("global_batch_size", "seq_len") if row["tokens"] is not None else ("input_len", "output_len")
        for name in needed:
            if row[name] is None:
                raise MissingFieldError(f"workloads {row['name']}", name, needed_for="what it takes")


def _time(site: Site, duration: Expression) -> Expression:
    """Return the time that a workload keeps a cluster, and leave out designs on which it cannot run."""
    problem, workload = site.problem, site.workload
    tokens = [site.row("workloads", "name", item)["tokens"] or np.nan for item in workload.values]
    asked = problem.table("tokens", (workload,), np.array(tokens, dtype=float), "token")
    speed = site.over((workload, site.node, site.fabric, site.size), site.tokens_per_second, "speed", "token/s")
    stall = site.over((workload, site.node, site.fabric, site.storage), site.stall, "stall", "dimensionless")
    needed = site.over((workload, site.node), site.accelerators, "accelerators needed", "dimensionless")
    there = site.over((site.node,), lambda name: site.row("nodes", "node", name)["node"].accelerators_per_node,
                      "accelerators of a node", "dimensionless") * site.size  # fmt: skip
    time = where(site.trained > 0, training_time(asked, speed, stall), serving_time(needed, there, duration))
    allow(problem, "the workload can run on it", time > constant(0, TIME), structural=True)
    return time


def _metrics(site: Site, bought: Family, run: Family, scale: Family, time: Expression, duration: Expression) -> None:
    problem, axes = site.problem, site.axes
    carbon_axes = (site.node, site.fabric, site.cooling, site.size)

    def affine(idle: Expression, busy: Expression) -> Total:
        return bought.total(idle) + run.total(added_by_load(idle, busy, time, duration))

    def money(field: str) -> Callable[[], Total]:
        return lambda: affine(
            *(site.over(axes, site.economics(load, field), f"{field} at {load:g}", "USD") for load in (0.0, 1.0))
        )

    def footprint(field: str) -> Callable[[], Total]:
        return lambda: affine(
            *(site.over(carbon_axes, site.carbon(load, field), f"{field} at {load:g}", "kgCO2e") for load in (0.0, 1.0))
        )

    def power() -> Total:
        it = site.over(carbon_axes, site.carbon(1.0, "it_power"), "power at work", "W")
        pue = site.over(carbon_axes, site.carbon(1.0, "pue"), "PUE", "dimensionless")
        return bought.total(facility_power(it, pue))

    per_node = site.over((site.node,), lambda name: site.row("nodes", "node", name)["node"].accelerators_per_node,
                         "accelerators of a node", "dimensionless")  # fmt: skip
    measure = problem.measure
    measure("tco", money("tco_usd"), unit="USD", about="price, electricity and maintenance over the years")
    measure("purchase", money("purchase_usd"), unit="USD", about="price of all that is bought", part_of="tco")
    measure("electricity", money("opex_energy_usd"), unit="USD", about="electricity", part_of="tco")
    measure("carbon", footprint("total_carbon_kg"), unit="tCO2e", about="operation and embodied, over the years")
    measure(
        "operational_carbon",
        footprint("carbon_footprint_kg"),
        unit="tCO2e",
        about="of electricity, location-based",
        part_of="carbon",
    )
    measure(
        "embodied_carbon", footprint("embodied_carbon_kg"), unit="tCO2e", about="of what is bought", part_of="carbon"
    )
    measure("facility_power", power, unit="kW", about="power of the buildings with all nodes at work")
    measure("nodes_bought", bought.total(site.size), about="servers")
    measure("accelerators", bought.total(site.size * per_node), about="accelerators")
    measure("work", run.total(time), unit="day", about="time of clusters at work")
    measure("portfolios", scale.total(), about="how many times all workloads are done")


cluster_design = Formulation(
    name="cluster_design",
    about="what to buy for a portfolio of workloads over years: servers, network, storage, cooling, size",
    inputs=INPUTS,
    build=_build,
    example={
        "workloads": [
            {"name": "training", "model": "Llama3_8B", "precision": "bf16", "tokens": "2e12 token",
             "global_batch_size": 512, "seq_len": 4096},
            {"name": "chat", "model": "Llama3_8B", "precision": "fp16", "request_rate": "40 request/s",
             "input_len": 500, "output_len": 250, "itl": "40 ms"},
        ],
        "nodes": [{"node": "DGX_H100"}, {"node": "DGX_A100"}],
        "fabrics": [
            {"fabric": "InfiniBand_NDR", "price": "40000 USD"},
            {"fabric": "InfiniBand_NDR_4to1", "price": "22000 USD"},
        ],
        "sizes": [4, 8, 16],
        "clusters": 2,
        "years": 3,
        "datacenter": "AWS_us_east_1",
    },
)  # fmt: skip
