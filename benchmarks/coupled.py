"""One measurement of a coupled problem, in a process of its own: ``python benchmarks/coupled.py CASE`` prints JSON.

Each of W jobs picks a device, a region and a design (K of them: sizes with their own efficiency). Fleets of devices in
regions are limited, regions cost something to open, and carbon is capped or has a price. The numbers are synthetic, of
the magnitude of real ones. Times are CPU seconds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
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
    "tightest": (Shape(50, 20, 60, 8, room=0.35), 1e-4),
    "priced": (Shape(50, 20, 60, 32, opening=False, cap=False), 1e-4),
}


FRONTS = {"front_small": Shape(10, 8, 15, 8), "front": Shape(20, 10, 30, 8)}


FLEETS = {"fleets_small": ((10, 8, 15, 24), 1e-2, 120.0), "fleets_week": ((20, 10, 30, 168), 3e-2, 240.0)}
"""Whole nodes held over hours: the size of `placement_cases.instance`, the gap asked for, and a limit in seconds."""
SEEDS = range(5)


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


def front(shape: Shape) -> dict[str, Any]:
    """Return how long a front of cost and carbon takes: a cover of 25 steps at most, each point proven optimal."""
    from mlsysim_opt.optimize import pareto

    given = numbers(shape)
    started = time.process_time()
    found = pareto(problem(shape, given), objectives=["min_cost", "min_carbon"], points=25)
    seconds = time.process_time() - started
    proven = sum(item.status == "optimal" for item in found)
    told = f"{len(found)} points ({proven} proven) by {found.details['programs']} programs; {found.guarantee}"
    return {"seconds": seconds, "answer": told, "values": found.values}


def nsga2() -> dict[str, Any]:
    """The small front, and what NSGA-II has found of it after the same time and after ten times as long.

    What a front covers is its hypervolume, as a share of that of the complete front, all of whose points are proven;
    the reference point is a tenth of each range beyond its worst values. NSGA-II is run by the interpreter in
    PYMOO_PYTHON, with three seeds, of which the median counts.
    """
    from mlsysim_opt.optimize import pareto
    from mlsysim_opt.optimize.dominance import hypervolume

    given, asked = numbers(FRONTS["front_small"]), ["min_cost", "min_carbon"]
    started = time.process_time()
    cover = pareto(problem(FRONTS["front_small"], given), objectives=asked, points=25)
    seconds = time.process_time() - started
    started = time.process_time()
    whole = pareto(problem(FRONTS["front_small"], given), objectives=asked)
    whole_seconds = time.process_time() - started
    low, high = np.min(whole.values, axis=0), np.max(whole.values, axis=0)

    def covered(points: Any) -> float:
        if not len(points):
            return 0.0
        return hypervolume((np.asarray(points) - low) / (high - low), np.full(2, 1.1))

    all_of_it = covered(whole.values)
    found: dict[str, Any] = {
        "seconds": seconds,
        "covered": covered(cover.values) / all_of_it,
        "whole_seconds": whole_seconds,
        "answer": f"{len(cover)} points; the complete front has {len(whole)}, {whole_seconds:.1f} s",
    }
    python = os.environ.get("PYMOO_PYTHON")
    if python is None:
        return found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.npz"
        np.savez(path, **asdict(given))
        script = Path(__file__).with_name("nsga2.py")
        command = [python, str(script), str(path), repr(seconds), repr(10 * seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    runs = json.loads(done.stdout.splitlines()[-1])

    def of_theirs(measure: Callable[[Any], float]) -> list[float]:
        return [statistics.median(measure(run[at]["front"]) for run in runs) for at in (0, 1)]

    def right(points: Any) -> int:
        return sum(bool(np.isclose(whole.values, point, rtol=1e-9, atol=0).all(axis=1).any()) for point in points)

    shares, points, proven = of_theirs(lambda front: covered(front) / all_of_it), of_theirs(len), of_theirs(right)
    found["answer"] += "; NSGA-II: " + " and ".join(
        f"{count:.0f} points ({exact:.0f} of them on the complete front) after {times} of the time"
        for count, exact, times in zip(points, proven, ("once", "ten times"), strict=True)
    )
    return found | {"equal_time": shares[0], "ten_times": shares[1]}


def fleets(size: tuple[int, int, int, int], gap: float, time_limit: float) -> dict[str, Any]:
    """Return how long placements with whole nodes held over hours take, the median of several, and their gaps."""
    from placement_cases import instance

    from mlsysim_opt import optimize

    seconds, gaps = [], []
    for seed in SEEDS:
        given = instance(*size, seed=seed, reserved=0.6)
        started = time.process_time()
        answer = optimize("placement", gap=gap, time_limit=time_limit, **given)
        seconds.append(time.process_time() - started)
        gaps.append(float(answer.gap))
    told = ", ".join(f"{100 * item:.2g} % in {took:.1f} s" for item, took in zip(gaps, seconds, strict=True))
    return {"seconds": float(np.median(seconds)), "gap": max(gaps), "answer": f"gaps {told}"}


def build() -> dict[str, Any]:
    """Building 767,448 columns of three coefficients each, and handing them to HiGHS."""
    from mlsysim_opt.optimize import CoupledProblem, CoupledTask
    from mlsysim_opt.optimize.backends.highs import HighsProgram

    sizes = {"job": 19, "device": 11, "region": 17, "hour": 216}
    dice = np.random.default_rng(0)
    price, work, room = dice.uniform(1, 2, tuple(sizes.values())), dice.uniform(1, 9, 19), dice.uniform(5, 9, (17, 216))
    HighsProgram(CoupledTask.of(problem(Shape(2, 2, 2, 2)), None, []).compiled().program)  # what is imported once
    started = time.process_time()
    made = CoupledProblem("build")
    job, device, region, hour = (made.choose(name, range(size)) for name, size in sizes.items())
    run = made.amounts("run", [job, device, region, hour], high=1)
    made.require("work", run >= made.table("work", [job], work), each=[job])
    made.require("room", run <= made.table("room", [region, hour], room), each=[region, hour])
    made.require("fleet", run * 1.5 <= 100, each=[device, region])
    made.measure("cost", run * made.table("price", [job, device, region, hour], price))
    program = CoupledTask.of(made, "min_cost", []).compiled().program
    built = time.process_time()
    HighsProgram(program)
    ended = time.process_time()
    told = f"built in {built - started:.2f} s, handed over in {ended - built:.2f} s"
    return {"seconds": ended - started, "answer": f"{program.columns:,} columns: {told}"}


def conflict() -> dict[str, Any]:
    """Why no plan keeps three limits, two of which are at odds: programs about feasibility, the first one included."""
    from mlsysim_opt import optimize
    from mlsysim_opt.errors import InfeasibleError

    made = problem(CASES["medium"][0])
    cheapest, cleanest = (optimize(made, objective=name, gap=1e-4).metrics for name in ("min_cost", "min_carbon"))
    limits = [
        f"cost <= {1.01 * cheapest['cost'].m_as('USD')!r} USD",
        f"carbon <= {1.01 * cleanest['carbon'].m_as('kgCO2e')!r} kgCO2e",
        f"cost <= {2 * cleanest['cost'].m_as('USD')!r} USD",
    ]
    started = time.process_time()
    try:
        optimize(made, constraints=limits)
    except InfeasibleError as error:
        seconds = time.process_time() - started
        told = f"{' and '.join(error.conflict)}; {len(error.relaxations)} ways out"
        return {"seconds": seconds, "programs": error.solves, "limits": len(limits), "answer": told}
    raise SystemExit("the limits are not at odds")


def by_hand() -> dict[str, Any]:
    """The medium instance as a Pyomo model written by hand, beside what this package makes of it."""
    import pyomo.environ as pyo
    from pyomo.contrib.solver.common.factory import SolverFactory

    from mlsysim_opt import optimize

    shape = CASES["medium"][0]
    given = numbers(shape)
    started = time.process_time()
    answer = optimize(problem(shape, given), gap=1e-6)
    ours = time.process_time() - started
    started = time.process_time()
    model = pyo.ConcreteModel()
    places = [(int(j), int(d), r, int(k)) for j, d, k in np.argwhere(given.hours <= given.deadline[:, None, None])
              for r in range(shape.regions)]  # fmt: skip
    model.run = pyo.Var(places, domain=pyo.Binary)
    model.opened = pyo.Var(range(shape.regions), domain=pyo.Binary)
    of_job: dict[int, list[Any]] = {}
    of_fleet: dict[tuple[int, int], list[Any]] = {}
    beside: dict[tuple[int, int], list[Any]] = {}
    for place in places:
        j, d, r, k = place
        of_job.setdefault(j, []).append(model.run[place])
        of_fleet.setdefault((d, r), []).append(float(given.nodes[k]) * model.run[place])
        beside.setdefault((j, r), []).append(model.run[place])
    model.one = pyo.Constraint(list(of_job), rule=lambda m, j: pyo.quicksum(of_job[j]) == 1)
    model.fleet = pyo.Constraint(
        list(of_fleet), rule=lambda m, d, r: pyo.quicksum(of_fleet[d, r]) <= float(given.fleet[d, r])
    )
    model.only = pyo.Constraint(list(beside), rule=lambda m, j, r: pyo.quicksum(beside[j, r]) <= m.opened[r])
    model.carbon = pyo.Constraint(
        expr=pyo.quicksum(float(given.energy[j, d, k] * given.intensity[r]) * model.run[j, d, r, k]
                          for j, d, r, k in places) <= given.carbon_cap
    )  # fmt: skip
    model.cost = pyo.Objective(
        expr=pyo.quicksum(float(given.cost[place]) * model.run[place] for place in places)
        + pyo.quicksum(float(given.open_cost[r]) * model.opened[r] for r in range(shape.regions))
    )
    built = time.process_time()
    found = SolverFactory("highs").solve(model, rel_gap=1e-6, threads=1)
    ended = time.process_time()
    value = float(found.incumbent_objective)
    return {
        "seconds": ours,
        "by_hand": ended - started,
        "build": built - started,
        "same": abs(value - answer.objective.value) <= 2e-6 * value,
        "answer": f"{answer.objective.value:.2f} and {value:.2f} USD; by hand built in {built - started:.2f} s, "
        f"solved in {ended - built:.2f} s",
    }


if __name__ == "__main__":
    name = sys.argv[1].removeprefix("coupled_")
    cases = {"build": build, "by_hand": by_hand, "conflict": conflict, "nsga2": nsga2}
    cases |= {key: lambda shape=shape: front(shape) for key, shape in FRONTS.items()}
    cases |= {key: lambda case=case: fleets(*case) for key, case in FLEETS.items()}
    cases |= {key: lambda case=case: solve(*case) for key, case in CASES.items()}
    print(json.dumps(cases[name](), default=str))
