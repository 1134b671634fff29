"""Coupled problems of growing size, in a process of their own: ``python benchmarks/coupled.py CASE`` prints JSON.

Each of W jobs picks a device, a region and a design (K of them: sizes with their own efficiency). Fleets of devices in
regions are limited, regions cost something to open, and carbon is capped or has a price. The numbers are synthetic, of
the magnitude of real ones. Times are CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Shape:
    """An instance.

    Attributes:
        jobs, devices, regions, designs: how many. room: of a fleet, in the nodes of a middle design, about.
        opening: whether regions cost something to open. cap: whether carbon is capped (else it has a price).
    """

    jobs: int
    devices: int
    regions: int
    designs: int
    room: float = 4.0
    opening: bool = True
    cap: bool = True
    seed: int = 0


CASES = {
    "medium": (Shape(20, 10, 30, 8), 1e-4),
    "large": (Shape(50, 20, 60, 32), 1e-4),
    "tight": (Shape(50, 20, 60, 8, room=0.35), 1e-2),
}


@dataclass(frozen=True)
class Numbers:
    """What an instance is made of: by job, device, design, and by region."""

    nodes: Any
    cost: Any
    energy: Any
    intensity: Any
    fleet: Any
    open_cost: Any
    deadline: Any
    hours: Any
    carbon_cap: float


def numbers(shape: Shape) -> Numbers:
    """Return the numbers of an instance."""
    dice = np.random.default_rng(shape.seed)
    work = np.exp(dice.normal(8, 1.2, shape.jobs))  # device hours on a device of speed one
    speed = np.exp(dice.normal(0, 0.5, shape.devices))
    power = 0.7 * speed**0.8  # kW
    hourly = 2.0 * speed ** dice.uniform(0.8, 1.1, shape.devices)  # USD
    nodes = np.unique(np.round(2 ** np.linspace(0, 7, shape.designs), 2))
    nodes = np.resize(nodes, shape.designs)
    fit = dice.uniform(0.4, 1.0, (shape.jobs, shape.devices))
    efficiency = fit[:, :, None] * (1 + nodes / 64) ** -dice.uniform(0.1, 0.7, (shape.jobs, 1, 1))
    efficiency = efficiency * dice.uniform(0.9, 1.0, efficiency.shape)
    hours = work[:, None, None] / (8 * nodes * speed[None, :, None] * efficiency)
    busy = 8 * nodes * hours  # device hours
    price = dice.uniform(0.7, 1.4, shape.regions)
    intensity = np.exp(dice.normal(-1.2, 0.8, shape.regions))  # kg/kWh
    cost = (busy * hourly[None, :, None])[:, :, None, :] * price[None, None, :, None]
    energy = busy * power[None, :, None]
    deadline = np.quantile(hours.reshape(shape.jobs, -1), 0.6, axis=1)
    middle = float(np.median(nodes))
    fleet = shape.room * middle * np.exp(dice.normal(0, 1, (shape.devices, shape.regions)))
    fleet *= dice.uniform(size=fleet.shape) < 0.5
    for job in range(shape.jobs):  # one plan is possible: the fewest nodes in time, somewhere
        device = int(dice.integers(shape.devices))
        least = nodes[hours[job, device] <= deadline[job]]
        fleet[device, dice.integers(shape.regions)] += float(least.min(initial=nodes[-1])) if len(least) else 0.0
    cheapest = float(np.sum(np.min(cost.reshape(shape.jobs, -1), axis=1)))
    cleanest = np.sort(intensity)[: max(1, shape.regions // 4)].mean()
    return Numbers(
        nodes=nodes,
        cost=cost,
        energy=energy,
        intensity=intensity,
        fleet=np.ceil(fleet * 4) / 4,
        open_cost=dice.uniform(0.01, 0.03, shape.regions) * cheapest,
        deadline=deadline,
        hours=hours,
        carbon_cap=float(np.sum(np.min(energy.reshape(shape.jobs, -1), axis=1)) * cleanest * 2.0),
    )


def problem(shape: Shape, given: Numbers | None = None) -> Any:
    """Return an instance as a coupled problem."""
    from mlsysim_opt.optimize import CoupledProblem

    given = given or numbers(shape)
    made = CoupledProblem("jobs on fleets")
    job = made.choose("job", range(shape.jobs))
    device = made.choose("device", range(shape.devices))
    region = made.choose("region", range(shape.regions))
    design = made.choose("design", range(shape.designs))
    run = made.picks("run", [job, device, region, design], for_each=[job])
    hours = made.table("hours", [job, device, design], given.hours, "h")
    made.allow("deadline", hours <= made.table("deadline", [job], given.deadline, "h"))
    nodes = made.table("nodes", [design], given.nodes)
    made.require("fleet", run * nodes <= made.table("fleet", [device, region], given.fleet), each=[device, region])
    cost = run * made.table("cost", [job, device, region, design], given.cost, "USD")
    if shape.opening:
        opened = made.amounts("opened", [region], whole=True, high=1)
        made.require("only in opened regions", run <= opened, each=[job, region])
        cost = cost + opened * made.table("opening", [region], given.open_cost, "USD")
    intensity = made.table("intensity", [region], given.intensity, "kgCO2e/kWh")
    carbon = run * (made.table("energy", [job, device, design], given.energy, "kWh") * intensity)
    if shape.cap:
        made.require("carbon", carbon <= f"{given.carbon_cap} kgCO2e")
    else:
        cost = cost + carbon * "0.2 USD/kgCO2e"
    made.measure("cost", cost, unit="USD")
    made.measure("carbon", carbon, unit="kgCO2e")
    made.default_objective = "min_cost"
    return made


def solve(shape: Shape, gap: float, time_limit: float | None = None) -> dict[str, Any]:
    """Return how long an instance takes, from the declaration to the checked answer."""
    from mlsysim_opt import optimize

    given = numbers(shape)
    started = time.process_time()
    answer = optimize(problem(shape, given), gap=gap, time_limit=time_limit)
    seconds = time.process_time() - started
    return {
        "seconds": seconds,
        "gap": answer.gap,
        "answer": f"{answer.objective} ({answer.status}, gap {answer.gap:.2g})",
        "details": answer.certificate.details,
    }


if __name__ == "__main__":
    shape, gap = CASES[sys.argv[1]]
    changes = {key: eval(value) for key, value in (item.split("=") for item in sys.argv[2:])}  # noqa: S307
    limit = changes.pop("limit", None)
    gap = changes.pop("gap", gap)
    print(json.dumps(solve(replace(shape, **changes), gap, limit), default=str))
