"""Energy, carbon and water of a fleet at a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.errors import InputError, MissingFieldError
from mlsysim_opt.physics.base import Model, Result, known
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.physics.operations import Energy, Place, node_power
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import CARBON, ENERGY, POWER, TIME, WATER, divide

INTENSITY = divide(CARBON, ENERGY)
WATER_INTENSITY = divide(WATER, ENERGY)
ANYWHERE = "World_Average"
"""The building of the catalog whose PUE stands in where only a grid, or nothing, is known of the place."""

OF_A_FLEET = ("node.idle_power", "node.busy_power", "node.embodied_carbon", "node.accelerator.embodied_carbon")
OF_A_PLACE = ("wue", "market_carbon_intensity", "water_intensity", "electricity_price")

DURATION = Number("duration_days", "how long it runs", unit="day", of=TIME, open_low=True, bare=True)
DATACENTER = Place(
    "datacenter",
    "a building, a cloud region or a grid; the fleet's own when absent",
    default=None,
    kind="datacenter",
    also=("grid",),
    optional=OF_A_PLACE,
)
UTILIZATION = Number("utilization", "share of time in which the accelerators work", default=1.0, high=1.0)
PUE = Number("pue", "facility energy over IT energy; that of the place when absent", default=None, low=1.0, high=10.0)
OF_THE_PLACE = (
    Number("carbon_intensity", "location-based; that of the place when absent", default=None, unit="gCO2e/kWh",
           of=INTENSITY),
    Number("wue", "on-site water per IT energy; that of the place when absent", default=None, unit="L/kWh",
           of=WATER_INTENSITY),
    Number("water_intensity", "water of generation; that of the grid when absent", default=None, unit="L/kWh",
           of=WATER_INTENSITY),
)  # fmt: skip


class Surroundings:
    """The numbers of the place as the equations need them: what is given goes before what the catalog says."""

    def __init__(self, leaves: Mapping[str, Any]) -> None:
        self.leaves = leaves
        self.place: View | None = leaves["datacenter"]

    def number(self, name: str, given: str | None = None) -> Expression:
        """Return a number of the place; `given` is the input that goes before it, of the same name unless said.

        Raises:
            MissingFieldError: neither given nor published; names the place. InputError: no place is known.
        """
        name_given = given or name
        found: Expression | None = self.leaves.get(name_given)
        if found is not None:
            return found
        if self.place is None:
            raise InputError(
                f"not given, and no place is known that has {name!r}",
                path="datacenter",
                hint=f"give datacenter=..., such as 'AWS_us_east_1' or 'Quebec', or {name_given} itself",
            )
        try:
            return self.place.number(name)
        except MissingFieldError as error:
            error.hint = f"no figure is published; give {name_given}=..."
            raise

    def footprint(self, energy: Energy) -> dict[str, Any]:
        """Return operational carbon and water: expressions, or errors where something is not known."""
        carbon = known(lambda: energy.carbon(self.number("carbon_intensity")))
        on_site = known(lambda: energy.water_on_site(self.number("wue")))
        source = known(lambda: energy.water_at_source(self.number("water_intensity")))
        parts = [item for item in (on_site, source) if not isinstance(item, Expression)]
        return {
            "carbon_footprint_kg": carbon,
            "water_onsite_liters": on_site,
            "water_source_liters": source,
            "water_usage_liters": parts[0] if parts else on_site + source,
        }


def settle_place(values: dict[str, Any]) -> dict[str, Any]:
    """Fill in the fleet's own place, and a PUE where the place has none; what was assumed stands in ``assumed``."""
    fleet: Entry | None = values.get("fleet")
    if values["datacenter"] is None and fleet is not None:
        values["datacenter"] = fleet.datacenter or fleet.grid
    place: Entry | None = values["datacenter"]
    assumed: dict[str, str] = {}
    if values["pue"] is None and (place is None or place.kind == "grid"):
        stand_in = default_catalog().find("datacenter", ANYWHERE).parameter("pue")
        values["pue"] = float(stand_in.si)
        what = "no place is given" if place is None else f"{place.name} is a grid and has none"
        assumed["pue"] = f"{stand_in.si:g}: {what}; that of {ANYWHERE} ({stand_in.provenance})"
    values["assumed"] = assumed
    return values


class OperationsModel(Model):
    """What the models of running a fleet share: defaults that decided are listed, those of the catalog with source."""

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        return {**super().assumptions(values), **values["assumed"]}


class SustainabilityResult(Result):
    """Energy, carbon and water. Fields that need what is not known raise an error which says so when they are read."""

    units: ClassVar[dict[str, str]] = {
        "it_power": "kW", "it_energy_kwh": "kWh", "total_energy_kwh": "kWh", "carbon_intensity": "gCO2e/kWh",
        "carbon_footprint_kg": "kgCO2e", "market_carbon_kg": "kgCO2e", "embodied_carbon_kg": "kgCO2e",
        "total_carbon_kg": "kgCO2e", "water_onsite_liters": "L", "water_source_liters": "L", "water_usage_liters": "L",
    }  # fmt: skip
    floats: ClassVar[frozenset[str]] = frozenset(name for name in units if name not in ("it_power", "carbon_intensity"))
    it_power: Any
    it_energy_kwh: Any
    total_energy_kwh: Any
    pue: Any
    carbon_intensity: Any
    carbon_footprint_kg: Any
    market_carbon_kg: Any
    embodied_carbon_kg: Any
    total_carbon_kg: Any
    water_onsite_liters: Any
    water_source_liters: Any
    water_usage_liters: Any


class SustainabilityModel(OperationsModel):
    """Energy, carbon and water of running accelerators at a place for some time.

    IT power is that of whole nodes: idle power and, for the share of time `utilization`, busy power (`device_power`
    per accelerator takes its place, measured `it_energy` that of power and time). The facility draws PUE times as much.
    `carbon_footprint_kg` is operational and location-based; `market_carbon_kg` is the same energy after contracts, and
    `total_carbon_kg` adds to the first the embodied carbon that falls to this time: that of servers and accelerators by
    `duration / (lifetime_years * lifetime_utilization)`. `water_usage_liters` is WUE times IT energy and the water that
    power plants evaporate for the energy of the facility. A bare grid has no PUE: give `pue`, or the average of sites
    the world over is assumed and listed in `assumptions`. Fields the place publishes no number for raise an error.

    Sources: see `operations`; Gupta et al. 2022 (ACT) and Luccioni et al. 2022, section 4.1 (embodied carbon by share
    of lifetime); Li et al. 2023, "Making AI Less Thirsty" (on-site and source water).
    """

    wall = 18
    inputs = (
        Place("fleet", "the cluster", default=None, kind="fleet", optional=OF_A_FLEET),
        DURATION,
        DATACENTER,
        UTILIZATION,
        PUE,
        *OF_THE_PLACE,
        Number("market_carbon_intensity", "market-based; that of the place when absent", default=None,
               unit="gCO2e/kWh", of=INTENSITY),
        Number("devices", "accelerators, instead of a fleet", default=None, integer=True, low=1),
        Number("device_power", "mean power of an accelerator with its share of the node; by the node's load when "
               "absent", default=None, unit="W", of=POWER, open_low=True),
        Number("it_energy", "measured energy of the IT equipment, instead of power and time", default=None, unit="kWh",
               of=ENERGY),
        Number("embodied_carbon_per_device", "of making an accelerator and its share of the node; by the catalog when "
               "absent", default=None, unit="kgCO2e", of=CARBON),
        Number("lifetime_years", "over which embodied carbon is spread", default="4 year", unit="year", of=TIME,
               open_low=True, bare=True),
        Number("lifetime_utilization", "share of the lifetime in which the equipment serves somebody", default=1.0,
               high=1.0, open_low=True),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {"grid": "datacenter", "place": "datacenter", "region": "datacenter"}
    example: ClassVar[dict[str, Any]] = {
        "fleet": "Research_256",
        "duration_days": 30,
        "datacenter": "AWS_us_east_1",
        "utilization": 0.8,
    }

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        if (values["fleet"] is None) == (values["devices"] is None):
            raise InputError("give a fleet, or devices and their power", path="fleet")
        if values["fleet"] is None and values["device_power"] is None and values["it_energy"] is None:
            raise InputError(
                "devices without a fleet need their power", path="device_power", hint="such as device_power='700 W'"
            )
        return settle_place(values)

    def equations(self, **leaves: Any) -> SustainabilityResult:
        around = Surroundings(leaves)
        fleet: View | None = leaves["fleet"]
        time = leaves["duration_days"]
        devices = leaves["devices"] if fleet is None else fleet.node_count * fleet.number("node.accelerators_per_node")
        if leaves["it_energy"] is not None:
            used = leaves["it_energy"]
        elif leaves["device_power"] is not None:
            used = devices * leaves["device_power"] * time
        else:
            assert fleet is not None
            used = fleet_energy(fleet, leaves["utilization"], time)
        energy = Energy(used, around.number("pue"))
        footprint = around.footprint(energy)
        embodied = known(lambda: _embodied(fleet, devices, leaves))
        carbon = footprint["carbon_footprint_kg"]
        gaps = [item for item in (carbon, embodied) if not isinstance(item, Expression)]
        return SustainabilityResult(
            it_power=used / time,
            it_energy_kwh=used,
            total_energy_kwh=energy.facility,
            pue=energy.pue,
            carbon_intensity=known(lambda: around.number("carbon_intensity")),
            market_carbon_kg=known(lambda: energy.carbon(around.number("market_carbon_intensity"))),
            embodied_carbon_kg=embodied,
            total_carbon_kg=gaps[0] if gaps else carbon + embodied,
            **footprint,
        )


def fleet_energy(fleet: View, utilization: Expression, time: Expression) -> Expression:
    """Return the energy of all nodes of a fleet over a time."""
    return fleet.node_count * node_power(fleet.below("node"), utilization) * time


def _embodied(fleet: View | None, devices: Expression, leaves: Mapping[str, Any]) -> Expression:
    """Return the embodied carbon that falls to the run.

    Raises:
        MissingFieldError: the catalog has no figure for the server or for the accelerator. InputError: no fleet.
    """
    whole: Expression
    if leaves["embodied_carbon_per_device"] is not None:
        whole = devices * leaves["embodied_carbon_per_device"]
    elif fleet is None:
        raise InputError(
            "not given, and no fleet is known that has it",
            path="embodied_carbon_per_device",
            hint="such as embodied_carbon_per_device='500 kgCO2e'",
        )
    else:
        servers = fleet.node_count * published_embodied(fleet, "node.embodied_carbon")
        whole = servers + devices * published_embodied(fleet, "node.accelerator.embodied_carbon")
    return whole * life_share(leaves["duration_days"], leaves["lifetime_years"], leaves["lifetime_utilization"])


def published_embodied(equipment: View, path: str) -> Expression:
    """Return the carbon of making a server or an accelerator, of the catalog.

    Raises:
        MissingFieldError: it states none; the hint names what is given instead.
    """
    try:
        return equipment.number(path)
    except MissingFieldError as error:
        error.hint = "no figure is published; give embodied_carbon_per_device=..., such as '500 kgCO2e'"
        raise


def life_share(time: Expression, lifetime: Expression, utilization: Expression) -> Expression:
    """Return the share of the life of equipment that falls to a time in which it serves somebody."""
    return time / (lifetime * utilization)
