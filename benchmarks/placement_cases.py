"""Synthetic placements of a size: jobs, demands, accelerators, regions and hours; numbers drawn, physics real."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlsysim_opt.physics.serving import home_of
from mlsysim_opt.registry import default_catalog


def instance(
    works: int, devices: int, sites: int, hours: int, seed: int = 0, reserved: float | None = None
) -> dict[str, Any]:
    """Return givens of `placement`: every other work is a job with a measured design on each device, or a demand.

    Args:
        reserved: rent of nodes held for all hours, as a share of the price on demand; no nodes are held when None.
    """
    rng, catalog = np.random.default_rng(seed), default_catalog()
    accelerators: list[str] = []
    for entry in catalog.all("accelerator"):
        node = home_of(entry)
        known = node is not None and {"idle_power", "busy_power"} <= set(node.parameters())
        if known and len(accelerators) < devices:
            accelerators.append(entry.name)
    every: tuple[Any, ...] = catalog.all("datacenter")
    regions = [entry.name for entry in every if entry.provider][:sites]
    hour = np.arange(hours)

    def day(low: float, high: float) -> Any:
        level, phase = rng.uniform(low, high), rng.uniform(0, 6)
        return (level * (1.2 + np.sin(hour / 24 * 2 * np.pi + phase))).tolist()

    jobs, demands = [], []
    for work in range(works):
        if work % 2:
            rate = {"values": day(20, 200), "unit": "request/s"}
            demands.append({"name": f"demand {work}", "rate": rate, "requests_per_device": "1 request/s"})
            continue
        length = rng.uniform(0.1, 0.5) * hours
        designs = [
            {
                "name": "measured",
                "accelerator": name,
                "nodes": int(rng.integers(4, 64)),
                "time": f"{float(length * rng.uniform(0.6, 1.6))} h",
                "node_power": f"{float(rng.uniform(4, 11))} kW",
            }
            for name in accelerators
        ]
        jobs.append({"name": f"job {work}", "designs": designs})
    scale = dict(zip(regions, rng.uniform(0.7, 1.4, sites).tolist(), strict=True))
    intensity = {name: {"values": day(30, 600), "unit": "gCO2e/kWh"} for name in regions}
    prices = {
        name: {region: f"{float(price) * scale[region]} USD/h" for region in regions}
        for name, price in zip(accelerators, rng.uniform(1, 4, devices), strict=True)
    }
    held = {}
    if reserved is not None:
        kept = {
            name: {region: f"{float(text.split()[0]) * reserved} USD/h" for region, text in mine.items()}
            for name, mine in prices.items()
        }
        held = {"hold": "reserved", "reserved_price": kept}
    return {
        "jobs": jobs,
        "demands": demands,
        "accelerators": accelerators,
        "regions": regions,
        "duration": f"{hours} h",
        "periods": hours,
        "carbon_intensity": intensity,
        "price": prices,
        "serving_utilization": 0.7,
        **held,
    }
