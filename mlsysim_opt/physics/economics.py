"""What a fleet costs: bought or rented, its electricity and maintenance, per hour, per token and per run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import exp, exponential_mean, log, minimum
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import InputError, MissingFieldError
from mlsysim_opt.physics.base import Result, known
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.physics.keyword import Keyword
from mlsysim_opt.physics.operations import Energy, Place, rent
from mlsysim_opt.physics.sustainability import (
    DATACENTER,
    DURATION,
    OF_A_FLEET,
    OF_THE_PLACE,
    PUE,
    UTILIZATION,
    OperationsModel,
    Surroundings,
    fleet_energy,
    settle_place,
)
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import Catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import ENERGY, MONEY, TIME, TOKEN, divide

BUY, RENT = "buy", "rent"
OF_BUYING = ("amortization_years", "maintenance_rate", "infrastructure_multiplier", "residual_value")
YEAR = expression("1 year")
NOTHING = expression("0 USD")
NODES = "Nodes"
"""The group in which the catalog keeps the prices of whole nodes."""
ELECTRICITY = "Electricity"
"""The price of the catalog for electricity where no place is known."""


@dataclass(frozen=True)
class Rate(Number):
    """A rent per accelerator and time, or a price of the catalog by name or as an entry."""

    fixed = False

    def check(self, value: Any) -> Any:
        if isinstance(value, Entry):
            if value.kind != "price":
                raise InputError(f"expected a price, got the {value.kind} {value.name}", path=self.name)
            return value
        if isinstance(value, str) and value[:1].isalpha():
            return default_catalog().find("price", value)
        return super().check(value)


class EconomicsResult(Result):
    """Money, energy and what comes with it. Fields that need what is not known raise an error which says so."""

    units: ClassVar[dict[str, str]] = {
        "purchase_usd": "USD", "capex_usd": "USD", "opex_energy_usd": "USD", "opex_maintenance_usd": "USD",
        "opex_rent_usd": "USD", "total_opex_usd": "USD", "tco_usd": "USD", "kwh_price": "USD/kWh",
        "it_energy_kwh": "kWh", "total_energy_kwh": "kWh", "carbon_footprint_kg": "kgCO2e",
        "water_onsite_liters": "L", "water_source_liters": "L", "water_usage_liters": "L",
        "cost_per_device_hour": "USD/h", "cost_per_million_tokens": "USD", "cost_per_run": "USD", "run_time": "day",
    }  # fmt: skip
    floats: ClassVar[frozenset[str]] = frozenset(
        name for name in units if name.endswith(("_usd", "_kwh", "_kg", "_liters"))
    )
    purchase_usd: Any
    capex_usd: Any
    opex_energy_usd: Any
    opex_maintenance_usd: Any
    opex_rent_usd: Any
    total_opex_usd: Any
    tco_usd: Any
    kwh_price: Any
    pue: Any
    it_energy_kwh: Any
    total_energy_kwh: Any
    carbon_footprint_kg: Any
    water_onsite_liters: Any
    water_source_liters: Any
    water_usage_liters: Any
    devices: Any
    cost_per_device_hour: Any
    cost_per_million_tokens: Any
    cost_per_run: Any
    run_time: Any


class EconomicsModel(OperationsModel):
    """Total cost of running a fleet for some time, bought or rented.

    Bought: `capex_usd` is the part of the price of whole nodes (times `infrastructure_multiplier` for network, storage
    and building) that falls to the time: straight-line over `amortization_years` down to `residual_value`, nothing
    after that; with a `discount_rate` per year, the annuity that pays price and interest. Energy is that of whole nodes
    by their load, times PUE, at the place's price of electricity. Maintenance is a share of the price per year.
    Rented (`price` per accelerator and time, or a price of the catalog): the rent is all there is to pay.

    Of the place only what is asked for must be known; without a place, electricity costs the documented default and PUE
    is that of an average site, both listed in `assumptions`. `tokens_per_second` is that of the whole fleet while it
    works; at a utilization of 0 no token is made, each costs without end, and the constraint that work is done is
    violated. A bare number is read in USD/kWh, days or years where the name says so.

    Sources: Barroso, Hoelzle and Ranganathan 2018, ch. 6 (total cost of ownership); see `operations` for energy.
    """

    wall = 17
    inputs = (
        Place("fleet", "the cluster", kind="fleet", optional=OF_A_FLEET),
        DURATION,
        Number("kwh_price", "of electricity; that of the place when absent", default=None, unit="USD/kWh",
               of=divide(MONEY, ENERGY), bare=True),
        DATACENTER,
        Keyword("ownership", "buy or rent; rent when a price is given", default=None, options=(BUY, RENT)),
        Rate("price", "rent per accelerator and time, or a price of the catalog", default=None, unit="USD/h",
             of=divide(MONEY, TIME), open_low=True),
        Number("node_price", "of a whole node; that of the catalog when absent", default=None, unit="USD", of=MONEY,
               open_low=True),
        Number("amortization_years", "over which nodes lose their value", default="4 year", unit="year", of=TIME,
               open_low=True, bare=True),
        Number("maintenance_rate", "per year, of the price paid", default=0.05, high=1.0),
        Number("infrastructure_multiplier", "price of everything over price of the nodes", default=1.0, low=1.0,
               high=100.0),
        Number("residual_value", "share of the price left at the end", default=0.0, high=1.0),
        Number("discount_rate", "interest per year; straight-line depreciation when absent", default=None, high=1.0,
               open_low=True),
        UTILIZATION,
        PUE,
        *OF_THE_PLACE,
        Number("tokens_per_second", "of the whole fleet while it works", default=None, unit="token/s",
               of=divide(TOKEN, TIME), open_low=True),
        Number("tokens", "of one run", default=None, unit="token", of=TOKEN, open_low=True),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {
        "grid": "datacenter", "place": "datacenter", "region": "datacenter", "unit_cost": "node_price",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {"fleet": "Research_256", "duration_days": 365, "kwh_price": 0.08}

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        settle_place(values)
        if values["kwh_price"] is None and values["datacenter"] is None:
            stand_in = default_catalog().find("price", ELECTRICITY).parameter("energy_price")
            values["kwh_price"] = stand_in.si
            values["assumed"]["kwh_price"] = f"{stand_in.text}: no place is given ({stand_in.provenance})"
        if values["ownership"] is None:
            if values["price"] is not None and values["node_price"] is not None:
                raise InputError("price is for renting and node_price for buying; say which", path="ownership")
            values["ownership"] = BUY if values["price"] is None else RENT
            values["assumed"]["ownership"] = values["ownership"]
        if values["ownership"] == RENT:
            _settle_rent(values)
        elif values["node_price"] is None:
            found = node_price(default_catalog(), values["fleet"].node.name)
            amount = found.parameter("amount")
            values["node_price"] = amount.si
            values["assumed"]["node_price"] = f"{amount.text}: {found.name} of {found.date} ({amount.provenance})"
        return values

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        found = super().assumptions(values)
        return {name: text for name, text in found.items() if values["ownership"] == BUY or name not in OF_BUYING}

    def equations(self, **leaves: Any) -> EconomicsResult:
        around = Surroundings(leaves)
        fleet: View = leaves["fleet"]
        time = leaves["duration_days"]
        devices = fleet.node_count * fleet.number("node.accelerators_per_node")
        rented = leaves["ownership"] == RENT
        energy = known(lambda: Energy(fleet_energy(fleet, leaves["utilization"], time), around.number("pue")))
        kwh_price = known(lambda: around.number("electricity_price", given="kwh_price"))
        if rented:
            purchase = capital = electricity = maintenance = NOTHING
            rental = rent(devices, time, leaves["price"])
        else:
            for needed in (energy, kwh_price):
                if isinstance(needed, Exception):
                    raise needed
            purchase = fleet.node_count * leaves["node_price"] * leaves["infrastructure_multiplier"]
            capital = capital_cost(purchase, leaves)
            electricity = energy.facility * kwh_price
            maintenance = maintenance_cost(purchase, leaves)
            rental = NOTHING
        opex = electricity + maintenance + rental
        total = capital + opex
        if isinstance(energy, Energy):
            used: dict[str, Any] = {"it_energy_kwh": energy.it, "total_energy_kwh": energy.facility, "pue": energy.pue}
            used.update(around.footprint(energy))
        else:
            used = dict.fromkeys(
                ("it_energy_kwh", "total_energy_kwh", "pue", "carbon_footprint_kg", "water_onsite_liters",
                 "water_source_liters", "water_usage_liters"), energy,
            )  # fmt: skip
        return EconomicsResult(
            purchase_usd=purchase,
            capex_usd=capital,
            opex_energy_usd=electricity,
            opex_maintenance_usd=maintenance,
            opex_rent_usd=rental,
            total_opex_usd=opex,
            tco_usd=total,
            kwh_price=kwh_price,
            devices=devices,
            cost_per_device_hour=total / (devices * time),
            **used,
            **_per_token(total, leaves),
            constraints={} if leaves["tokens_per_second"] is None else {"work is done": leaves["utilization"] > 0},
        )


def maintenance_cost(purchase: Expression, leaves: Mapping[str, Any]) -> Expression:
    """Return what a purchase takes in maintenance over the time."""
    rate: Expression = leaves["maintenance_rate"]
    time: Expression = leaves["duration_days"]
    return purchase * rate * time / YEAR


def capital_cost(purchase: Expression, leaves: Mapping[str, Any]) -> Expression:
    """Return the part of the purchase that falls to the time; after the last year there is nothing left to pay."""
    life: Expression = leaves["amortization_years"]
    paid = minimum(leaves["duration_days"], life)
    left: Expression = leaves["residual_value"]
    interest: Expression | None = leaves["discount_rate"]
    if interest is None:
        return purchase * (1 - left) * paid / life
    worth = exp(-(life / YEAR) * log(1 + interest))  # today, of a dollar at the end of the life
    yearly = purchase * (1 - left * worth) * interest / (1 - worth)
    return yearly * paid / YEAR


def _per_token(total: Expression, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return cost per token and per run: expressions, or errors where tokens are not given."""
    speed, tokens = leaves["tokens_per_second"], leaves["tokens"]
    if speed is None:
        gap = InputError(
            "not given, but costs per token need it", path="tokens_per_second", hint="such as '1e5 token/s'"
        )
        return dict.fromkeys(("cost_per_million_tokens", "cost_per_run", "run_time"), gap)
    made = speed * leaves["utilization"]
    each = total * exponential_mean(made * leaves["duration_days"])  # without end where nothing is made
    found: dict[str, Any] = {"cost_per_million_tokens": each * expression("1e6 token")}
    if tokens is None:
        gap = InputError("not given, but the cost of a run needs it", path="tokens", hint="such as '15e12 token'")
        return {**found, "cost_per_run": gap, "run_time": gap}
    return {**found, "cost_per_run": each * tokens, "run_time": tokens * exponential_mean(made)}


def _settle_rent(values: dict[str, Any]) -> None:
    """Turn a price of the catalog into the number it states, if it is that of renting this accelerator."""
    accelerator, price = values["fleet"].node.accelerator.name, values["price"]
    if price is None:
        raise InputError(
            f"not given, but renting {accelerator} needs it",
            path="price",
            hint="give price, such as '2.50 USD/h' per accelerator, or a price of the catalog by name "
            "('mlsysim-opt zoo list price')",
        )
    if not isinstance(price, Entry):
        return
    own = price.accelerator
    if own is None or own.name != accelerator or "rate" not in price.parameters():
        of = price.plan + " of " + (own.name if own is not None else "something else")
        raise InputError(f"{price.name} is a price for {of}; rent of {accelerator} is needed", path="price")
    rate = price.parameter("rate")
    values["price"] = rate.si
    values["assumed"]["price"] = f"{rate.text}: {price.name} ({rate.provenance})"


@functools.lru_cache(maxsize=64)
def node_price(catalog: Catalog, node: str) -> Entry:
    """Return the newest price at which a node is bought: from the group of nodes, or else from the whole catalog.

    Raises:
        MissingFieldError: there is none; the price of its accelerators alone would leave out half of the server.
    """
    for group in (NODES, None):
        every: list[Any] = [catalog.find("price", name) for name in catalog.names("price", group)]
        fitting = [
            item for item in every if item.node is not None and item.node.name == node and item.plan == "purchase"
        ]
        if fitting:
            newest: Entry = max(fitting, key=lambda item: item.date)
            return newest
    raise MissingFieldError(
        node, "price", needed_for="buying it",
        hint="give node_price=..., such as '350000 USD' for the whole node with host, network cards and chassis",
    )  # fmt: skip
