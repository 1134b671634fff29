"""How many replicas of what, where, and which share of which requests each serves: a fleet for given traffic.

Families: requests served per second (by kind of request, where it comes from, site and kind of replica), and replicas
(by site, plan and kind of replica). Latency in a queue is not linear in the number of replicas, so each replica has a
queue of its own and a utilization chosen from a few: the wait is then a table. What replicas do is physics
(`mlsysim_opt.physics.replicas`), or a table of measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlsysim_opt.formulations.fleet_givens import (
    ANYWHERE,
    MEASURED,
    OFFERS,
    QUANTILE,
    ROUND_TRIP,
    TRAFFIC,
    UTILIZATION,
    Kind,
    read_offers,
    read_traffic,
    round_trips,
)
from mlsysim_opt.formulations.fleet_replicas import ReplicaKinds, measured_kinds, modelled_kinds
from mlsysim_opt.formulations.narrowed import Narrowed, allow
from mlsysim_opt.formulations.rows import Several

from mlsysim_opt.algebra.expression import Choice, Expression, constant, expression
from mlsysim_opt.errors import InputError, MissingFieldError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.physics.inputs import Given, Input, Number, Text
from mlsysim_opt.physics.operations import rent
from mlsysim_opt.physics.replicas import carbon_rate, facility_power
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import BYTE, NONE

LATENCIES = ("ttft", "itl", "latency")
MILLION = expression("1e6 token")
TOKEN_PER_REQUEST = expression("1 token/request")


INPUTS: tuple[Input, ...] = (
    TRAFFIC,
    OFFERS,
    ROUND_TRIP,
    MEASURED,
    Given("model", "what is served, where nothing was measured", default=None, kind="model"),
    Several("precision", "formats to choose among", default=None, each=Text("precision", of_kind="numerics")),
    Several("tp_size", "tensor parallelism to choose among", default=(1, 2, 4, 8),
            each=Number("tp_size", integer=True, low=1, high=4096)),
    Several("pp_size", "pipeline parallelism to choose among", default=(1,),
            each=Number("pp_size", integer=True, low=1, high=4096)),
    Several("concurrency", "requests in a replica at most, to choose among", default=(8, 16, 32, 64, 128, 256),
            each=Number("concurrency", integer=True, low=1, high=2**20)),
    Several("utilization", "load of a replica over its full rate at most, to choose among; 1 where measured",
            default=None, each=Number("utilization", high=1.0, open_low=True)),
    QUANTILE,
    Number("spare", "replicas that may be lost, of each kind at each site; they count as always up", default=0,
           integer=True, high=2**20),
    Number("served_share", "share of each row of traffic that must be served", default=1.0, high=1.0, open_low=True),
    Number("slices", "equal parts of each row of traffic, each served by one kind of replica; divisible when absent",
           default=None, integer=True, low=1, high=2**20),
    Given("scheduler", "how requests are admitted", default="continuous", kind="scheduler"),
    Number("memory_reserve", "memory kept free for the runtime", default="2 GiB", unit="GiB", of=BYTE),
)  # fmt: skip
INPUT_BY_NAME = {item.name: item for item in INPUTS}
MEASURED_UTILIZATION = (1.0,)
ALIASES = {"max_batch_size": "concurrency"}


@dataclass
class Parts:
    """What the parts of the problem are written with."""

    problem: CoupledProblem
    values: Mapping[str, Any]
    kinds: dict[str, Kind]
    request: Choice
    origin: Choice
    site: Choice
    plan: Choice
    replica: ReplicaKinds
    demand: Expression
    served: Family
    part: Expression
    replicas: Family
    offers: dict[tuple[str, str, str], Mapping[str, Any]]

    def flow(self, coefficient: Expression | float = 1.0) -> Total:
        """Return the sum of a coefficient times requests per time."""
        return self.served.total(self.part * coefficient)

    def by_offer(self, name: str, unit: str, read: Callable[[Mapping[str, Any]], float], absent: float) -> Expression:
        """Return a number of the offers over (kind of replica, site, plan)."""
        over = (self.replica.machine, self.site, self.plan)
        return self.problem.table(
            name, over, _grid(self.replica, self.site, self.plan, self.offers, read, absent), unit
        )


def _grid(
    replica: ReplicaKinds, site: Choice, plan: Choice, offers: Mapping[tuple[str, str, str], Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], float], absent: float,
) -> Any:  # fmt: skip
    made = np.full((len(replica.machine.values), len(site.values), len(plan.values)), absent)
    for at, accelerator in enumerate(replica.accelerators):
        for (name, where, how), row in offers.items():
            if name == accelerator and where in site.position and how in plan.position:
                made[at, site.position[where], plan.position[how]] = read(row)
    return made


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> CoupledProblem:
    problem = CoupledProblem("serving_fleet", item="fleet", default_objective="min_cost")
    decide = Narrowed(problem, narrowed)
    measured = values["measured"] is not None
    if measured and values["model"] is not None:
        raise InputError("replicas come from measurements or from a model; give one", path="model")
    if values["utilization"] is None:
        values = {**values, "utilization": MEASURED_UTILIZATION if measured else UTILIZATION}
        problem.assumptions["utilization"] = ", ".join(f"{item:g}" for item in values["utilization"])
    kinds, origins, rates = read_traffic(values["traffic"])
    offers = read_offers(values["offers"], catalogued=not measured)
    request = decide("request", list(kinds), "kind of request")
    origin = decide("origin", origins, "where requests come from")
    site = decide("site", list(dict.fromkeys(where for _, where, _ in offers)), "where replicas are")
    plan = decide("plan", list(dict.fromkeys(how for _, _, how in offers)), "how accelerators are paid for")
    if measured:
        replica = measured_kinds(problem, decide, values, kinds, request)
    else:
        replica = modelled_kinds(problem, decide, values, kinds, request, list(dict.fromkeys(a for a, _, _ in offers)))
    decide.finished()
    table = np.array([[rates.get((kind, place), 0.0) for place in origin.values] for kind in request.values])
    demand = problem.table("demand", (request, origin), table, "request/s")
    everything = (request, origin, site, *replica.axes)
    if values["slices"] is None:
        part: Expression = constant(1, NONE)
        served = problem.amounts("served", everything, unit="request/s", later=True, about="requests served per second")
    else:
        part = demand / int(values["slices"])
        served = problem.amounts(
            "served", everything, whole=True, later=True, about="parts of the traffic that are served"
        )
    offered = _grid(replica, site, plan, offers, lambda row: 1.0, 0.0)
    replicas = problem.amounts("replicas", (site, plan, *replica.axes), whole=True, about="replicas")
    parts = Parts(problem, values, kinds, request, origin, site, plan, replica, demand, served, part, replicas, offers)
    allow(problem, "there is such traffic", demand > constant(0, demand.dimension), structural=True)
    here = problem.table("offered", (replica.machine, site, plan), offered)
    anyhow = problem.table("offered at the site", (replica.machine, site), offered.max(axis=2))
    allow(problem, "it is offered", here > 0, structural=True)
    allow(problem, "it is offered at the site", anyhow > 0, structural=True)
    _promises(parts, round_trips(problem, values["round_trip"], origin, site))
    _couplings(parts)
    _metrics(parts)
    for name in ("quantile", "spare", "served_share", "memory_reserve"):
        if not (measured and name == "quantile") and values[name] == INPUT_BY_NAME[name].check(
            INPUT_BY_NAME[name].default
        ):
            problem.assumptions.setdefault(name, str(INPUT_BY_NAME[name].default))
    problem.assumptions["queues"] = "each replica has its own: an upper bound on the wait of pooled ones"
    return problem


def _available(row: Mapping[str, Any]) -> float:
    return math.inf if row["available"] is None else float(row["available"])


# what must hold -------------------------------------------------------------------------------------------------------
ABOUT = {"ttft": "P{share:g} of the time to the first token", "itl": "mean time between two tokens",
         "latency": "P{share:g} of the time to the last token"}  # fmt: skip


WORST = "of the worst kind of request, mean over the replicas that serve it: "


def _promises(parts: Parts, trip: Expression | None) -> None:
    """Keep tuples that keep the promises, and measure the latencies."""
    for name in LATENCIES:
        limits = [getattr(parts.kinds[label], name) for label in parts.request.values]
        value = parts.replica.times[name]
        about = ABOUT[name].format(share=100 * parts.values["quantile"])
        promised = any(limit is not None for limit in limits)
        if isinstance(value, InputError):
            if promised:
                raise value
            parts.problem.measure(name, _raising(value), unit="ms", about=about)
            parts.problem.measure(f"worst_{name}", _raising(value), unit="ms", about=WORST + about)
            continue
        if trip is not None and name != "itl":
            value = value + trip
        parts.problem.measure(name, value, unit="ms", about=about)
        if promised:
            numbers = np.array([math.inf if limit is None else limit for limit in limits])
            limit = parts.problem.table(f"{name} promised", (parts.request,), numbers, "s")
            allow(parts.problem, f"{name} as promised", value <= limit)
        parts.problem.measure(f"worst_{name}", _worst(parts, value), unit="ms", about=WORST + about)


def _worst(parts: Parts, value: Expression) -> Callable[[], Largest]:
    def made() -> Largest:
        if float(parts.values["served_share"]) < 1:
            raise InputError("the mean over all requests is known only if all are served", path="served_share")
        return Largest(parts.flow(value / parts.demand), (parts.request, parts.origin))

    return made


def _raising(error: InputError) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def _couplings(parts: Parts) -> None:
    problem, replica = parts.problem, parts.replica
    demanded = Total((), parts.demand)
    share = float(parts.values["served_share"])
    each = (parts.request, parts.origin)
    real = parts.demand > constant(0, parts.demand.dimension)
    if share == 1:
        problem.require("all requests are served", parts.flow().equals(demanded), each=each, when=real)
    else:
        problem.require("enough requests are served", parts.flow() >= demanded * share, each=each, when=real)
        problem.require("no more are served than come", parts.flow() <= demanded, each=each, when=real, structural=True)
    uptime = parts.by_offer("uptime", "dimensionless", lambda row: float(row["uptime"]), 1.0)
    load = parts.flow(1 / replica.rate)
    capacity = parts.replicas.total(uptime * replica.utilization)
    place = (parts.site, *replica.axes)
    spare = int(parts.values["spare"])
    if spare:
        used = problem.amounts("used", place, whole=True, high=1, later=True,
                               about="whether a kind of replica is used at a site")  # fmt: skip
        capacity = capacity - used.total(spare * replica.utilization)
        problem.require(
            "replicas that serve are used", parts.flow() - used.total(parts.demand) <= 0, each=(*each, *place),
            when=real, structural=True,
        )  # fmt: skip
    problem.require("replicas carry the load", load - capacity <= 0, each=place, structural=True)
    for name in dict.fromkeys(replica.accelerators):
        table = np.array(
            [[_available(parts.offers[name, where, how]) if (name, where, how) in parts.offers else math.inf
              for how in parts.plan.values] for where in parts.site.values]
        )  # fmt: skip
        if np.isfinite(table).any():
            limit = problem.table(f"{name} available", (parts.site, parts.plan), table)
            used_up = parts.replicas.total(replica.devices * replica.on(problem, name))
            problem.require(f"{name} available", used_up - Total((), limit) <= 0, each=(parts.site, parts.plan))


# what is measured -----------------------------------------------------------------------------------------------------
def _metrics(parts: Parts) -> None:
    problem, replica = parts.problem, parts.replica
    site_entries = [_place(name) for name in parts.site.values]
    prices = parts.by_offer("price", "USD/s", lambda row: math.nan if row["price"] is None else row["price"], math.nan)

    def price(needed_for: str) -> Expression:
        for (name, where, how), row in parts.offers.items():
            if row["price"] is None:
                raise MissingFieldError(f"{name} at {where}, {how}", "price", needed_for=needed_for,
                                        hint="give price in its row of offers")  # fmt: skip
        return prices

    def places(needed_for: str) -> View:
        if ANYWHERE in parts.site.values:
            raise InputError(f"offers state no site, but {needed_for} needs it", path="offers")
        return View("site", site_entries, parts.site)

    def power() -> Total:
        return parts.replicas.total(replica.power())

    def facility() -> Total:
        return parts.replicas.total(facility_power(replica.power(), places("facility power").number("pue")))

    def carbon() -> Total:
        place = places("carbon")
        rate = carbon_rate(replica.power(), place.number("pue"), place.number("carbon_intensity"))
        return parts.replicas.total(rate)

    def by(condition: Expression) -> Total:
        return parts.replicas.total(replica.devices * condition)

    def tokens() -> Total:
        return parts.flow(replica.output_len() * TOKEN_PER_REQUEST)

    hourly = expression("1 h")
    measure = problem.measure
    measure("cost", lambda: parts.replicas.total(rent(replica.devices, hourly, price("cost")) / hourly), unit="USD/h",
            about="rent")  # fmt: skip
    measure("power", power, unit="kW", about="power of the nodes")
    measure("facility_power", facility, unit="kW", about="power of the buildings")
    measure("carbon", carbon, unit="kgCO2e/h", about="operational carbon, location-based")
    measure("replicas", parts.replicas.total(), about="replicas")
    measure("accelerators", parts.replicas.total(replica.devices), about="accelerators")
    measure("request_rate", parts.flow(), unit="request/s", about="requests served")
    measure("token_rate", tokens, unit="token/s", about="generated tokens")
    measure("load", parts.flow(1 / replica.rate), about="replicas that are busy")
    for choice in (parts.site, parts.plan):
        for label in choice.values if len(choice.values) > 1 else ():
            measure(f"accelerators_{_word(label)}", by(_is(problem, choice, label)), about=f"accelerators: {label}",
                    part_of="accelerators")  # fmt: skip
    for label in dict.fromkeys(replica.accelerators):
        measure(f"accelerators_{_word(label)}", by(replica.on(problem, label)), about=f"accelerators: {label}",
                part_of="accelerators")  # fmt: skip
    for label in parts.site.values if len(parts.site.values) > 1 else ():
        measure(f"served_{_word(label)}", parts.flow(_is(problem, parts.site, label)), unit="request/s",
                about=f"requests served at {label}", part_of="request_rate")  # fmt: skip
    measure(
        "max_site_utilization", lambda: _site_utilization(parts), about="largest share of a site's accelerators in use"
    )
    measure("utilization_mean", lambda: problem.metric("load") / problem.metric("replicas"), about="load of a replica")
    measure("cost_per_million_tokens", lambda: problem.metric("cost") / problem.metric("token_rate") * MILLION,
            unit="USD", about="of generated tokens")  # fmt: skip
    measure("carbon_per_million_tokens", lambda: problem.metric("carbon") / problem.metric("token_rate") * MILLION,
            unit="gCO2e", about="of generated tokens")  # fmt: skip


def _site_utilization(parts: Parts) -> Largest:
    totals = dict.fromkeys(parts.site.values, 0.0)
    for (name, where, how), row in parts.offers.items():
        if where in totals and how in parts.plan.position and name in parts.replica.accelerators:
            if row["available"] is None:
                raise MissingFieldError(f"{name} at {where}, {how}", "available", needed_for="the share in use",
                                        hint="give available in its row of offers")  # fmt: skip
            totals[where] += float(row["available"])
    numbers = np.array([totals[where] or math.nan for where in parts.site.values])
    there = parts.problem.table("accelerators at the site", (parts.site,), numbers)
    return Largest(parts.replicas.total(parts.replica.devices / there), (parts.site,))


def _is(problem: CoupledProblem, choice: Choice, label: str) -> Expression:
    """Return 1 for one value of a choice and 0 for the others."""
    return problem.table(f"is {label}", (choice,), np.array([float(item == label) for item in choice.values]))


def _place(name: str) -> Entry:
    return Given("site", kind="datacenter").check(name) if name != ANYWHERE else None  # type: ignore[return-value]


def _word(label: str) -> str:
    return "".join(item if item.isalnum() else "_" for item in label)


serving_fleet = Formulation(
    name="serving_fleet",
    about="a fleet for given traffic: how many replicas of what, where, serving which share of which requests",
    inputs=INPUTS,
    build=_build,
    aliases=ALIASES,
    example={
        "model": "Llama3_8B",
        "precision": "fp16",
        "traffic": [
            {"name": "chat", "input_len": 500, "output_len": 250, "request_rate": "20 request/s", "ttft": "500 ms"},
            {"name": "document", "input_len": 6000, "output_len": 500, "request_rate": "2 request/s", "ttft": "5 s"},
        ],
        "offers": [
            {"accelerator": "H100", "price": "2.5 USD/h"},
            {"accelerator": "A100", "price": "1.4 USD/h"},
        ],
    },
)
