"""Energy, carbon, water and cost: accounting identities through the models, and measured power of whole nodes.

The identities (model cards, Patterson et al., BLOOM, OLMo, rent) test arithmetic, not physics: power, time, PUE,
intensity and price are given; their groups are reported as accounts. Where a row states its intensity or price only as
what follows from its own result, the account is closed: only a multiplication is tested, and the group says so.
Measured are the AC readings of MLPerf (whole nodes), the power of accelerators of ML.ENERGY, the idle power of BLOOM's
nodes and the energy of OLMo. Where a row names a run and states nothing of it (the costs that Epoch AI estimates, the
carbon of Gemma), accelerators and hours are those of the run in the catalog.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlsysim_opt.physics.economics import EconomicsModel
from mlsysim_opt.physics.serving import ServingModel
from mlsysim_opt.physics.sustainability import SustainabilityModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Fabric, Fleet, Node
from mlsysim_opt.validation.entries import hardware_entry
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled, read_rows
from mlsysim_opt.validation.runs import fleet_of_run, hours, run_of, runs_of
from mlsysim_opt.validation.serving import decode_of

SOURCE = {"title": "the row of measurements", "locator": "inputs", "date": 2026}
NOTHING = "0 gCO2e/kWh"
CAPPED = "_MaxQ"
"""How names of nodes of the catalog end whose accelerators are limited in power."""
GOOGLE, GRID = "GCP_us_central1", "US_Avg"
"""Where Google's machines are taken to stand if a row does not say: the PUE of one, the electricity of the other."""
HOURS_PER_DAY = 24.0
PER_SERVER = 8
"""Accelerators of a server of the BLOOM cluster (Luccioni et al. 2022, section 4.1)."""
MODEL = SustainabilityModel()


def predict_energy(row: Row) -> list[Prediction]:
    """Return what the models say of the energy, carbon, water, power or cost of a row.

    Raises:
        Unmodelled: the row states too little.
    """
    question = _question(row)
    found = question(row)
    if not found:
        raise Unmodelled("nothing that was measured follows from what is stated")
    if question not in ACCOUNTS:
        return found
    closed = row.inputs.get("usd_per_gpu_hour") is None and row.measurement(IMPLIED_PRICE) is not None
    closed = closed or row.measurement(IMPLIED_INTENSITY) is not None
    return [replace(item, group=f"{row.group} {CLOSED if closed else ACCOUNT}") for item in found]


def _question(row: Row) -> Callable[[Row], list[Prediction]]:
    named = next((ask for name, ask in BY_MEASUREMENT.items() if row.measurement(name) is not None), None)
    question = named or next((ask for group, ask in QUESTIONS.items() if row.group.startswith(group)), None)
    if question is None:
        raise Unmodelled(f"no question of energy or cost for rows of {row.group}")
    return question


# identities -----------------------------------------------------------------------------------------------------------
ENERGY = (("energy_mwh", 1e3, "MWh"), ("energy_kwh", 1.0, "kWh"))
CARBON = ("net_tco2e", "tco2e", "tco2e_location_based")


def _operation(row: Row) -> list[Prediction]:
    """Power of accelerators for a time, or measured energy; PUE and intensity are those of the row."""
    given, pue = _load(row), row.number("pue") if row.inputs.get("pue") else 1.0
    solved = MODEL.solve(
        **given, pue=pue, carbon_intensity=_intensity(row), wue="0 L/kWh",
        water_intensity=f"{row.inputs.get('wue_l_per_kwh') or 0} L/kWh",
    )  # fmt: skip
    found = []
    for name, size, unit in ENERGY:
        if (value := row.measurement(name)) is not None and row.inputs.get("gpu_energy_mwh") is None:
            found.append(Prediction(solved.total_energy_kwh / size, unit, value, target="energy"))
    for name in CARBON:
        if (value := row.measurement(name)) is not None and solved.carbon_footprint_kg > 0:
            found.append(Prediction(solved.carbon_footprint_kg / 1e3, "tCO2e", value, target="carbon"))
    if (value := row.measurement("water_kl")) is not None:
        # OLMo 2 counts the water of generation, for the energy of the facility; its sites are cooled in closed loops.
        found.append(Prediction(solved.water_usage_liters / 1e3, "kL", value, target="water"))
    return found


def _bloom(row: Row) -> list[Prediction]:
    """BLOOM's account in parts, of which the later ones build on the first (dynamic) one."""
    if row.inputs.get("base") is not None:
        return _operation(_on_top(row))
    if row.inputs.get("gpu_embodied_kg") is not None:
        return _embodied(_on_top(row))
    return _operation(row)


def _on_top(row: Row) -> Row:
    """Return a row with the inputs of the first of its group where it states none of its own."""
    first = next(item for item in read_rows(row.file) if item.group == row.group)
    return replace(row, inputs={**first.inputs, **row.inputs})


def _embodied(row: Row) -> list[Prediction]:
    """Embodied carbon of servers and accelerators that falls to the time of use."""
    found = []
    server = row.number("server_embodied_kg") / PER_SERVER
    parts = {"gpu_tco2e": row.number("gpu_embodied_kg"), "server_tco2e": server}
    parts["total_tco2e"] = sum(parts.values())
    for name, each in parts.items():
        if (value := row.measurement(name)) is None:
            continue
        solved = MODEL.solve(
            **_load(row), pue=1.0, carbon_intensity=NOTHING, embodied_carbon_per_device=f"{each} kgCO2e",
            lifetime_years=row.number("lifetime_years"), lifetime_utilization=row.number("utilization"),
        )  # fmt: skip
        found.append(Prediction(solved.embodied_carbon_kg / 1e3, "tCO2e", value, target=name.removesuffix("_tco2e")))
    return found


def _load(row: Row) -> dict[str, Any]:
    inputs = row.inputs
    if inputs.get("gpu_energy_mwh") is not None:
        return {"devices": 1, "duration_days": 1, "it_energy": f"{row.number('gpu_energy_mwh')} MWh"}
    power = next((inputs[name] for name in POWERS if inputs.get(name) is not None), None)
    if power is None:
        raise Unmodelled("power not stated")
    hours = next((inputs[name] for name in ("gpu_hours", "chip_hours") if inputs.get(name) is not None), None)
    if hours is None:
        hours = row.number("chips") * row.number("days") * HOURS_PER_DAY
    return {"devices": 1, "duration_days": f"{hours} h", "device_power": f"{power} W"}


POWERS = ("gpu_power_w", "power_per_chip_w", "measured_system_power_per_chip_w", "avg_system_power_per_chip_w")


def _intensity(row: Row) -> str:
    inputs = row.inputs
    for name, unit in (("kgco2e_per_kwh", "kgCO2e/kWh"), ("net_kgco2e_per_kwh", "kgCO2e/kWh"),
                       ("grid_gco2_per_kwh", "gCO2e/kWh")):  # fmt: skip
        if inputs.get(name) is not None:
            return f"{inputs[name]} {unit}"
    implied = row.measurement(IMPLIED_INTENSITY)  # the source's factor, with PUE in it
    return NOTHING if implied is None else f"{implied} kgCO2e/kWh"


# measured power -------------------------------------------------------------------------------------------------------
def _nodes(row: Row) -> Fleet:
    """Return the fleet of a row, of nodes of the catalog."""
    catalog = default_catalog()
    part = hardware_entry(str(row.need("hardware")), row.folder)
    wanted = row.count("gpus_per_node" if row.inputs.get("gpus_per_node") is not None else "gpus", 8)
    nodes = [node for node in catalog.all("node") if isinstance(node, Node) and node.accelerator.name == part.name]
    capped = "capped" in str(row.inputs.get("power_mode"))
    fitting = [node for node in nodes if node.accelerators_per_node == wanted and node.name.endswith(CAPPED) == capped]
    if not fitting:
        limited = " whose accelerators are limited in power" if capped else ""
        raise Unmodelled(f"no node of {wanted} {part.name}{limited} in the catalog")
    fabric = catalog.find("fabric", "InfiniBand_NDR")
    assert isinstance(fabric, Fabric)
    count = row.count("nodes", 1)
    fields = {"node": fitting[0], "node_count": count, "fabric": fabric, "source": SOURCE}
    return Fleet.model_validate({"name": "row-fleet", "title": "nodes of the row", **fields})


def _training_power(row: Row) -> list[Prediction]:
    """Energy of nodes that train without a pause."""
    value = row.measurement("energy_kwh")
    if value is None:
        return []
    minutes = row.number("minutes")
    solved = MODEL.solve(fleet=_nodes(row), duration_days=f"{minutes} min", pue=1.0, carbon_intensity=NOTHING)
    return [Prediction(solved.it_energy_kwh, "kWh", value, target="energy of the nodes")]


def _inference_power(row: Row) -> list[Prediction]:
    """Power of a node that serves at its limit."""
    value = row.measurement("avg_system_power_w")
    solved = MODEL.solve(fleet=_nodes(row), duration_days="1 h", pue=1.0, carbon_intensity=NOTHING)
    return [] if value is None else [Prediction(solved.si("it_power"), "W", value, target="power of the node")]


def _decode_power(row: Row) -> list[Prediction]:
    """Power of accelerators in a decode step of the mean batch."""
    value = row.measurement("gpu_power_w_per_gpu")
    if value is None:
        return []
    given = decode_of(row)
    solved = ServingModel().solve(**given)
    power = solved.si("energy_per_token") * solved.si("throughput") / row.count("gpus")
    return [Prediction(power, "W", value, target="power of an accelerator")]


# runs of the catalog --------------------------------------------------------------------------------------------------
def _idle_energy(row: Row) -> list[Prediction]:
    """Energy of the nodes of a run beyond what its accelerators draw while they work: that of idle nodes."""
    value = row.measurement("idle_energy_kwh")
    run = run_of(str(row.need("model")))
    days = f"{hours(run)} h"
    solved = MODEL.solve(
        fleet=fleet_of_run(run), duration_days=days, utilization=0.0, pue=1.0, carbon_intensity=NOTHING
    )
    return [] if value is None else [Prediction(solved.it_energy_kwh, "kWh", value, target="energy of idle nodes")]


def _accelerator_energy(row: Row) -> list[Prediction]:
    """Energy of accelerators that train at their rated power, for as long as the model of training says."""
    value = row.measurement("gpu_energy_mwh")
    run = run_of(str(row.need("model")))
    solved = MODEL.solve(
        devices=run.accelerators, duration_days=f"{hours(run)} h", pue=1.0,
        device_power=f"{run.node.accelerator.parameter('tdp').si} W", carbon_intensity=NOTHING,
    )  # fmt: skip
    return [] if value is None else [Prediction(solved.it_energy_kwh / 1e3, "MWh", value, target="energy")]


def _family_carbon(row: Row) -> list[Prediction]:
    """Carbon of all runs of a family of models on Google's machines, at a site that is not named."""
    value = row.measurement("tco2e")
    pue = default_catalog().find("datacenter", GOOGLE).parameter("pue").si
    total = 0.0
    for run in runs_of(str(row.need("models")).partition(" ")[0]):
        days = f"{hours(run)} h"
        solved = MODEL.solve(fleet=fleet_of_run(run), duration_days=days, pue=pue, datacenter=GRID)
        total += solved.carbon_footprint_kg / 1e3
    return [] if value is None else [Prediction(total, "tCO2e", value, target="carbon")]


def _bought(row: Row) -> list[Prediction]:
    """Cost of hardware and electricity of a run, as Cottier et al. count: a share of the price, no maintenance."""
    value = row.measurement("cost_usd")
    run = run_of(str(row.need("model")))
    network, lost = (
        default_catalog().find("price", name).parameter("share").si
        for name in ("Cluster_Network", "Accelerator_Depreciation")
    )
    solved = EconomicsModel().solve(
        fleet=fleet_of_run(run), duration_days=f"{hours(run)} h", ownership="buy",
        infrastructure_multiplier=1 / (1 - network), amortization_years=1 / lost, maintenance_rate=0.0,
    )  # fmt: skip
    return [] if value is None else [Prediction(solved.tco_usd, "USD", value, target="cost")]


# cost -----------------------------------------------------------------------------------------------------------------
def _rent(row: Row) -> list[Prediction]:
    """Rent of accelerators for a time, at the row's price. (The kind of accelerator has no part in it.)"""
    value = row.measurement("cost_2023usd") or row.measurement("cost_usd")
    price = row.inputs.get("usd_per_gpu_hour") or row.measurement(IMPLIED_PRICE)
    if value is None or price is None:
        raise Unmodelled("the price of an accelerator is not stated")
    if row.inputs.get("chip_hours") is not None:
        hours = row.number("chip_hours")
    else:
        hours = row.number("gpus") * row.number("days") * HOURS_PER_DAY
    fleet = default_catalog().find("fleet", "One_DGX_A100")
    assert isinstance(fleet, Fleet)
    solved = EconomicsModel().solve(
        fleet=fleet, duration_days=f"{hours / fleet.accelerators} h", price=f"{price} USD/h", kwh_price=0.0,
        pue=1.0,
    )  # fmt: skip
    return [Prediction(solved.tco_usd, "USD", value, target="cost")]


QUESTIONS: dict[str, Callable[[Row], list[Prediction]]] = {
    "patterson": _operation, "model-card": _operation, "bloom": _bloom, "palm": _operation, "gopher": _operation,
    "olmo": _operation, "mlperf-training-power": _training_power, "mlperf-inference-power": _inference_power,
    "ml-energy": _decode_power, "rental-cost": _rent, "epoch-cost-top": _bought, "epoch-cost": _rent,
    "gemma": _family_carbon,
}  # fmt: skip
"""The question that the rows of a group ask."""
BY_MEASUREMENT = {"idle_energy_kwh": _idle_energy, "gpu_energy_mwh": _accelerator_energy}
"""Questions that what was measured asks, whatever the group."""
ACCOUNTS = (_operation, _bloom, _rent)
"""Questions whose answers are products of what the row states."""
ACCOUNT, CLOSED = "(account)", "(closed account)"
"""What is added to the group that their rows are reported under."""
IMPLIED_INTENSITY, IMPLIED_PRICE = "implied_kgco2e_per_gpu_kwh_incl_pue", "usd_per_chip_hour"
"""What collectors of rows worked out from the rows' own results."""
