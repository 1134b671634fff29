"""What a placement takes: energy, carbon, water and money, as sums over its loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from mlsysim_opt.formulations.placement_designs import may_use
from mlsysim_opt.formulations.placement_numbers import Numbers, catalog_prices, several

from mlsysim_opt.algebra.expression import Expression, constant, expression
from mlsysim_opt.errors import InputError, MissingFieldError
from mlsysim_opt.optimize.coupled.totals import Total, sum_of
from mlsysim_opt.physics.economics import capital_cost, maintenance_cost, node_price
from mlsysim_opt.physics.operations import Energy, rent
from mlsysim_opt.physics.sustainability import life_share, published_embodied
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.units import CARBON, MONEY, NONE, TIME, divide

if TYPE_CHECKING:
    from mlsysim_opt.formulations.placement_plan import Load, Plan


def declare_metrics(plan: Plan) -> None:
    """Declare every metric; one that lacks a number keeps the error until it is asked for."""
    made = _Metrics(plan)
    accounting = plan.values["accounting"]
    counted = made.location_carbon if accounting == "location" else made.market_carbon
    for name, value, unit, about in (
        ("it_energy", lambda: made.sum(lambda load: load.energy), "MWh", "energy of the nodes"),
        ("energy", lambda: made.sum(lambda load: made.energy(load).facility), "MWh", "energy of the buildings"),
        ("location_carbon", made.location_carbon, "tCO2e", "operational carbon, by the grid"),
        ("market_carbon", made.market_carbon, "tCO2e", "operational carbon, after contracts"),
        ("carbon", counted, "tCO2e", f"operational carbon, {accounting}-based"),
        ("embodied_carbon", made.embodied, "tCO2e", "carbon of making what is used, by time"),
        ("total_carbon", lambda: counted() + made.embodied(), "tCO2e", "operational and embodied carbon"),
        ("water_onsite", made.water_onsite, "kL", "water of the buildings"),
        ("water_source", made.water_source, "kL", "water that power plants evaporate"),
        ("water", lambda: made.water_onsite() + made.water_source(), "kL", "both"),
        ("device_time", made.device_time, "h", "accelerator hours at work"),
        ("cost", made.cost, "USD", "rent, or what is bought and its electricity"),
        ("carbon_cost", lambda: counted() * made.carbon_price(), "USD", "carbon at its price"),
        ("total_cost", lambda: made.cost() + counted() * made.carbon_price(), "USD", "cost and carbon"),
    ):
        plan.problem.measure(name, value, unit=unit, about=about)


class _Metrics:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values = plan.values

    def sum(self, coefficient: Callable[[Load], Expression], loads: Sequence[Load] | None = None) -> Total:
        """Return a sum over loads; over all of them when None."""
        return sum_of([item.family.total(coefficient(item)) for item in (self.plan.loads if loads is None else loads)])

    def energy(self, load: Load) -> Energy:
        return Energy(load.energy, self.plan.site.pue)

    def device_time(self) -> Total:
        return self.sum(lambda load: load.devices * load.time, self.plan.uses)

    def location_carbon(self) -> Total:
        return self.sum(lambda load: self.energy(load).carbon(load.number(self.plan.intensity)))

    def market_carbon(self) -> Total:
        intensity = self._contracts()
        return self.sum(lambda load: self.energy(load).carbon(load.number(intensity)))

    def _contracts(self) -> Numbers:
        """Return the market-based intensity: what is given goes before what the catalog says of a region."""
        plan = self.plan
        known = [item.__dict__["market_carbon_intensity"] for item in plan.regions]
        published = np.array([np.nan if item is None else item.si for item in known])
        found = Numbers(
            "market_carbon_intensity", "gCO2e/kWh", np.repeat(published[None, :, None], plan.periods, axis=2)
        )
        if self.values["market_carbon_intensity"] is not None:
            own = plan.given("market_carbon_intensity")
            found = replace(own, values=np.where(np.isnan(own.values[:1]), found.values, own.values[:1]))
        lacking = np.isnan(found.values[0]).any(axis=1)
        if lacking.all():
            raise MissingFieldError(
                plan.regions[0].name, "market_carbon_intensity", needed_for="market-based carbon",
                hint="give market_carbon_intensity by region: what its contracts leave",
            )  # fmt: skip
        if lacking.any():
            names = several([item.name for item, gap in zip(plan.regions, lacking, strict=True) if gap])
            note = f"none known, left out where market-based carbon counts: {names}"
            plan.problem.assumptions["market_carbon_intensity"] = note
        return found

    def water_onsite(self) -> Total:
        return self.sum(lambda load: self.energy(load).water_on_site(self.plan.site.number("wue")))

    def water_source(self) -> Total:
        return self.sum(lambda load: self.energy(load).water_at_source(self.plan.site.number("water_intensity")))

    def embodied(self) -> Total:
        plan = self.plan
        if self.values["embodied_carbon_per_device"] is not None:
            each = plan.on_average(plan.given("embodied_carbon_per_device"))
        else:
            made = published_embodied(plan.node, "embodied_carbon")
            each = made / plan.per_node + published_embodied(plan.node, "accelerator.embodied_carbon")
        life = constant(self.values["lifetime_years"], TIME)
        use = constant(self.values["lifetime_utilization"], NONE)

        def shared(loads: Sequence[Load], use: Expression) -> Total:
            return self.sum(lambda load: load.devices * each * life_share(load.time, life, use), loads)

        if plan.held is None:
            return shared(plan.uses, use)
        # what is held is counted while it is idle, too: nobody else has a share of its life in that time
        held = shared([load for load in plan.loads if load.family is plan.held], expression(1))
        return held + shared(plan.rents, use) if plan.rents else held

    def carbon_price(self) -> Expression:
        price = self.values["carbon_price"]
        if price is None:
            raise InputError("not given, but total_cost needs it", path="carbon_price", hint="such as '100 USD/tCO2e'")
        return constant(price, divide(MONEY, CARBON))

    # money ------------------------------------------------------------------------------------------------------------
    def cost(self) -> Total:
        hold = self.values["hold"]
        if hold == "reserved":
            return self._reserved()
        if hold is None:
            return self._rent(self.plan.uses)
        return self._bought() + self._rent(self.plan.rents) if self.plan.decides else self._bought()

    def _rent(self, loads: Sequence[Load]) -> Total:
        price = self._price()
        return self.sum(lambda load: rent(load.devices, load.time, load.number(price)), loads)

    def _price(self) -> Numbers:
        plan, price = self.plan, self.values["price"]
        if price is None:
            raise InputError(
                "not given, but cost needs it",
                path="price",
                hint="such as price='catalog', or '2.50 USD/h', or by accelerator, and in it by region",
            )
        if price == "catalog":
            elsewhere = None if self.values["price_elsewhere"] is None else plan.given("price_elsewhere")
            found, notes = catalog_prices(plan.accelerators, plan.regions, self.values["plan"], elsewhere, plan.periods)
            plan.problem.assumptions.update(notes)
            numbers = Numbers("price", "USD/h", found)
        else:
            numbers = plan.given("price")
        unknown = np.isnan(numbers.values).all(axis=2)
        for item in () if plan.decides else (*plan.jobs, *plan.demands):  # what is not rented may be owned
            devices = may_use(item, "accelerators", plan.accelerators)
            places = np.ix_(devices, may_use(item, "regions", plan.regions))
            if unknown[places].all():
                raise MissingFieldError(
                    several([plan.regions[place].name for place in places[1].ravel()]),
                    "price",
                    needed_for=f"the cost of {item['name']}",
                    hint=f"{item['name']} may be nowhere else; give price there, for "
                    f"{several([plan.accelerators[place].name for place in places[0].ravel()])}, or price_elsewhere "
                    "beside price='catalog'",
                )
        return numbers

    def _reserved(self) -> Total:
        plan = self.plan
        if self.values["reserved_price"] is None:
            raise InputError("not given, but held nodes need it", path="reserved_price", hint="such as '1.80 USD/h'")
        price = plan.on_average(plan.given("reserved_price"))
        (held,) = (load for load in plan.loads if load.family is plan.held)
        kept: Total = held.family.total(rent(held.devices, held.time, price))
        return kept + self._rent(plan.rents)

    def _bought(self) -> Total:
        plan = self.plan
        assert plan.held is not None
        purchase = self._purchase() * constant(self.values["infrastructure_multiplier"], NONE)
        leaves = {
            "duration_days": constant(plan.duration or 0.0, TIME),
            "amortization_years": constant(self.values["amortization_years"], TIME),
            "maintenance_rate": constant(self.values["maintenance_rate"], NONE),
            "residual_value": expression(0),
            "discount_rate": None,
        }
        tariff = self._tariff()
        electricity = self.sum(lambda load: self.energy(load).facility * load.number(tariff), plan.own)
        owned: Total = plan.held.total(capital_cost(purchase, leaves) + maintenance_cost(purchase, leaves))
        return owned + electricity

    def _purchase(self) -> Expression:
        """Return the price of a node: what is given goes before what the catalog says.

        Raises:
            MissingFieldError: a node has none; where it is decided what is bought, none of them has one.
        """
        plan, catalog, unknown = self.plan, default_catalog(), None
        given = None if self.values["node_price"] is None else plan.given("node_price")
        known = np.full((len(plan.accelerators), 1, 1), np.nan) if given is None else given.values
        prices = np.full((len(plan.accelerators), 1, 1), np.nan)
        for place, node in enumerate(plan.node.entries):
            if not np.isnan(known[place]).any():
                continue
            try:
                found = node_price(catalog, node.name).parameter("amount")
            except MissingFieldError as error:
                if not plan.decides:
                    raise
                unknown = error
                plan.problem.assumptions[f"price of {node.name}"] = "none known, only rented where cost counts"
                continue
            plan.problem.assumptions[f"price of {node.name}"] = found.text
            prices[place] = found.si
        values = np.where(np.isnan(known), prices, known)
        if unknown is not None and np.isnan(values).all():
            raise unknown
        each: Expression
        if given is not None:
            each = plan.on_average(replace(given, values=values))
        else:
            each = plan.problem.table("node price", (plan.accelerator,), prices[:, 0, 0], "USD")
        return each

    def _tariff(self) -> Numbers:
        plan = self.plan
        if self.values["electricity_price"] is not None:
            found = plan.given("electricity_price")
            return Numbers(found.name, "USD/kWh", found.values[:1])
        known = [item.__dict__["electricity_price"] for item in plan.regions]
        each = np.array([np.nan if item is None else item.si for item in known])
        if np.isnan(each).all():
            raise MissingFieldError(
                "electricity_price",
                plan.regions[0].name,
                needed_for="electricity of what is bought",
                hint="give electricity_price",
            )
        lacking = [item.name for item, price in zip(plan.regions, each, strict=True) if np.isnan(price)]
        if lacking:
            note = f"none published, left out where cost counts: {several(lacking)}"
            plan.problem.assumptions["electricity_price"] = note
        return Numbers("electricity_price", "USD/kWh", np.repeat(each[None, :, None], plan.periods, axis=2))
