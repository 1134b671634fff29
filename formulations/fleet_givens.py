"""What a serving fleet is planned for: traffic, offers, round trips, and measurements of replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlsysim_opt.formulations.givens import Quantile
from mlsysim_opt.formulations.rows import Label, Rows

from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.physics.economics import Rate
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import MONEY, POWER, REQUEST, TIME, divide

ANYWHERE = "anywhere"
ON_DEMAND = "on_demand"
REQUEST_RATE = divide(REQUEST, TIME)


def _time(name: str, about: str) -> Number:
    return Number(name, about, default=None, unit="ms", of=TIME, open_low=True)


def _tokens(name: str, about: str) -> Number:
    return Number(name, about, default=None, integer=True, low=1, high=2**31)


def _rate(name: str, about: str) -> Number:
    return Number(name, about, unit="request/s", of=REQUEST_RATE, open_low=True, bare=True)


TRAFFIC = Rows(
    "traffic", "rows: requests of one length from one place, with what is promised to them",
    columns=(
        Label("name", "class of the requests"),
        Label("origin", "where they come from", default=ANYWHERE),
        _tokens("input_len", "tokens of the prompt"),
        _tokens("output_len", "generated tokens"),
        _rate("request_rate", "requests per time"),
        _time("ttft", "limit of the time to the first token at the quantile, round trip included"),
        _time("itl", "limit of the mean time between two tokens"),
        _time("latency", "limit of the time to the last token at the quantile, round trip included"),
    ),
)  # fmt: skip
OFFERS = Rows(
    "offers", "rows: what can be had where, for how much",
    columns=(
        Label("accelerator", "what is offered"),
        Label("site", "datacenter of the catalog", default=ANYWHERE),
        Label("plan", "such as on_demand, reserved, spot", default=ON_DEMAND),
        Rate("price", "rent of one accelerator, or the name of a price of the catalog", default=None, unit="USD/h",
             of=divide(MONEY, TIME)),
        Number("available", "accelerators there are", default=None, integer=True, high=2**31),
        Number("uptime", "share of time that a replica is not interrupted", default=1.0, high=1.0, open_low=True),
    ),
)  # fmt: skip
ROUND_TRIP = Rows(
    "round_trip", "rows: network time from where requests come from to a site and back", default=None,
    columns=(
        Label("origin", "where requests come from"),
        Label("site", "datacenter of the catalog"),
        Number("time", "round trip", unit="ms", of=TIME, bare=True),
    ),
)  # fmt: skip


QUANTILE = Quantile("quantile", "share of requests for which limits of TTFT and latency hold", default=0.99, high=1.0,
                    open_low=True)  # fmt: skip
UTILIZATION = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Loads of a replica over its full rate that are tried where none is given."""
MEASURED = Rows(
    "measured", "rows: what a replica was measured to do with requests of one kind", default=None,
    columns=(
        Label("accelerator", "what it runs on"),
        Label("configuration", "what tells replicas on the same accelerators apart", default=""),
        Number("devices", "accelerators of the replica", default=1, integer=True, low=1, high=2**20),
        Label("name", "class of the requests; all when absent", default=None),
        _tokens("input_len", "tokens of the prompt; all when absent"),
        _tokens("output_len", "generated tokens; all when absent"),
        _rate("request_rate", "requests per time at full load"),
        _time("ttft", "time to the first token"),
        _time("itl", "time between two tokens"),
        _time("latency", "time to the last token"),
        Number("power", "of the replica under load", default=None, unit="W", of=POWER, open_low=True),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Requests that are alike: of one class and length, with the same promises."""

    name: str
    input_len: int | None
    output_len: int | None
    ttft: float | None
    itl: float | None
    latency: float | None


def read_traffic(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Kind], list[str], dict[tuple[str, str], float]]:
    """Return the kinds of requests by label, where they come from, and the rate of each pair."""
    found = list(dict.fromkeys(Kind(*(row[name] for name in Kind.__dataclass_fields__)) for row in rows))
    labels: dict[Kind, str] = {}
    for kind in found:
        alike = [item for item in found if item.name == kind.name]
        label = kind.name if len(alike) == 1 else f"{kind.name} {kind.input_len}/{kind.output_len}"
        if label in labels.values():
            raise InputError(
                f"requests named {kind.name!r} have several promises",
                path="traffic",
                hint="what is promised to a kind of request holds wherever it comes from; "
                "requests with other promises need another name",
            )
        labels[kind] = label
    rates: dict[tuple[str, str], float] = {}
    for row in rows:
        place = labels[Kind(*(row[name] for name in Kind.__dataclass_fields__))], row["origin"]
        if place in rates:
            raise InputError(f"{place[0]} from {place[1]} is given twice", path="traffic")
        rates[place] = row["request_rate"]
    return {label: kind for kind, label in labels.items()}, list(dict.fromkeys(row["origin"] for row in rows)), rates


def read_offers(
    rows: Sequence[Mapping[str, Any]], *, catalogued: bool
) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    """Return the offers by accelerator, site and plan, with prices as numbers."""
    found: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in rows:
        name, site = row["accelerator"], row["site"]
        if catalogued:
            name = Given("offers", kind="accelerator").check(name).name
        if site != ANYWHERE:
            site = Given("offers", kind="datacenter").check(site).name
        place = name, site, row["plan"]
        if place in found:
            raise InputError(f"{name} at {site}, {row['plan']}, is offered twice", path="offers")
        price = row["price"]
        if isinstance(price, Entry):
            own = price.accelerator
            if own is None or "rate" not in price.parameters() or (catalogued and own.name != name):
                raise InputError(f"{price.name} is no rent of {name}", path="offers")
            price = price.parameter("rate").si
        found[place] = {**row, "price": price}
    return found


def round_trips(
    problem: CoupledProblem, rows: Sequence[Mapping[str, Any]] | None, origin: Choice, site: Choice
) -> Expression | None:
    """Return the network time over (origin, site); None where requests come from no place in particular."""
    if rows is None and origin.values == (ANYWHERE,):
        return None
    times = round_trip_times(rows, [(a, b) for a in origin.values for b in site.values])
    numbers = [[times[a, b] for b in site.values] for a in origin.values]
    return problem.table("round trip", (origin, site), np.array(numbers), "s")


def round_trip_times(
    rows: Sequence[Mapping[str, Any]] | None, needed: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    """Return the network time of each pair of origin and site, in seconds.

    Raises:
        InputError: one that is needed is not given, or one is given twice.
    """
    if rows is None:
        raise InputError(
            "traffic says where requests come from, so the time to each site is needed",
            path="round_trip",
            hint="rows with origin, site and time, such as {'origin': 'Europe', 'site': '...', 'time': '90 ms'}",
        )
    times: dict[tuple[str, str], float] = {}
    for row in rows:
        where = row["site"]
        if where != ANYWHERE:
            where = Given("round_trip", kind="datacenter").check(where).name
        if (row["origin"], where) in times:
            raise InputError(f"{row['origin']} to {where} is given twice", path="round_trip")
        times[row["origin"], where] = row["time"]
    missing = [f"{a} to {b}" for a, b in needed if (a, b) not in times]
    if missing:
        raise InputError(f"not given: {', '.join(missing[:5])}", path="round_trip")
    return times
