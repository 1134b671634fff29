"""One measurement of this package, in a process of its own: ``python benchmarks/ours.py CASE`` prints JSON.

Times are CPU seconds. What is imported or built before the clock starts stands in the case.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

DEMO = {"model": "Llama3_405B", "fleet": "Meta_Llama3_16K_H100", "global_batch_size": 2048, "seq_len": 8192}
NODES = [512, 768, 1024, 1280, 1536, 1792, 1920, 2048]
SOLVE = {"batch_size": 2048, "precision": "fp16", "tp_size": 8, "pp_size": 8, "microbatch_count": 16, "seq_len": 4096}
LOOPS = 300
SWEEPS = 5


def search() -> dict[str, Any]:
    """The full training model over the splits of several sizes of fleet: the second search of a process."""
    from mlsysim_opt import optimize

    task = optimize.task("parallelism", objective="max_mfu", nodes=NODES, **DEMO)
    task.search().run()
    started = time.process_time()
    outcome = task.search().run()
    seconds = time.process_time() - started
    best = task.design_values(outcome.best[0].design)
    return {
        "seconds": seconds,
        "combinations": task.problem.combinations,
        "evaluated": outcome.evaluated,
        "answer": f"MFU {-outcome.best[0].cost:.4f} with {_split(best)} on {best['nodes']} nodes",
    }


def proof() -> dict[str, Any]:
    """The optimum of the demo, proven, in a fresh process: from the call to the answer, explanations left out."""
    import mlsysim_opt

    optimize = mlsysim_opt.optimize
    started = time.process_time()
    solution = optimize("parallelism", objective="max_mfu", explain=False, **DEMO)
    return {
        "seconds": time.process_time() - started,
        "combinations": solution.certificate.combinations,
        "answer": f"{solution.status}, gap {solution.gap:g}: MFU {solution.objective} with {_split(solution.design)}",
    }


def solve() -> dict[str, Any]:
    """One warm `DistributedModel().solve`, step time and feasibility read."""
    from mlsysim_opt import DistributedModel, Models, Systems

    model, arguments = DistributedModel(), {**SOLVE, "dp_size": 128}
    given = {"model": Models.Language.Llama3_70B, "fleet": Systems.Clusters.Frontier_8K}
    for _ in range(LOOPS):
        result = model.solve(**given, **arguments)
        assert result.feasible in (True, False)
        result.si("step_time")
    started = time.process_time()
    for _ in range(LOOPS):
        result = model.solve(**given, **arguments)
        assert result.feasible in (True, False)
        result.si("step_time")
    seconds = (time.process_time() - started) / LOOPS
    return {
        "seconds": seconds,
        "answer": f"step {result.step_time.to('s').magnitude:.3f} s, feasible {result.feasible}",
    }


SERVE = {"seq_len": 4096, "batch_size": 8, "precision": "fp16"}


def serve() -> dict[str, Any]:
    """One warm `ServingModel().solve`, whose fields are evaluated when they are read; and with three of them read."""
    from mlsysim_opt import Hardware, Models, ServingModel

    model = ServingModel()
    given = {"model": Models.Language.Llama3_70B, "hardware": Hardware.Cloud.H200, **SERVE}
    for _ in range(LOOPS):
        result = model.solve(**given)
        assert result.feasible in (True, False)
        result.si("ttft"), result.si("itl")
    started = time.process_time()
    for _ in range(LOOPS):
        result = model.solve(**given)
    seconds = (time.process_time() - started) / LOOPS
    started = time.process_time()
    for _ in range(LOOPS):
        result = model.solve(**given)
        assert result.feasible in (True, False)
        result.si("ttft"), result.si("itl")
    read = (time.process_time() - started) / LOOPS
    ttft, itl = result.ttft.to("ms").magnitude, result.itl.to("ms").magnitude
    return {"seconds": seconds, "read": read, "answer": f"TTFT {ttft:.0f} ms, ITL {itl:.1f} ms"}


def place() -> dict[str, Any]:
    """Where a fleet should stand, of all sites of the catalog; and what the peer's answer takes in the same model."""
    from mlsysim_opt import PlacementOptimizer

    optimizer = PlacementOptimizer()
    optimizer.solve("Research_256", 30)
    started = time.process_time()
    best = optimizer.solve("Research_256", 30)
    seconds = time.process_time() - started
    theirs = optimizer.solve("Research_256", 30, ["Quebec_Hydro"])
    shown = [
        f"{item.best_region} {item.objective_value:,.0f} USD with carbon at 100 USD/t, "
        f"{item.carbon_footprint.m_as('tCO2e'):.1f} t"
        for item in (best, theirs)
    ]
    return {"seconds": seconds, "answer": f"{shown[0]}; the peer's answer in this model: {shown[1]}"}


def elastic() -> dict[str, Any]:
    """Jobs and demands (50) on 20 accelerators in 60 regions over 168 hours, at half the carbon, built and proven."""
    from placement_cases import instance

    from mlsysim_opt.optimize import formulation, question, solve_coupled

    given = instance(50, 20, 60, 168)
    started = time.process_time()
    problem = formulation("placement").problem(given)
    seconds = time.process_time() - started
    cheapest, cleanest = (solve_coupled(question(problem, name, []), gap=1e-4) for name in ("min_cost", "min_carbon"))
    cap = sum(plan.metrics["carbon"].m_as("tCO2e") for plan in (cheapest, cleanest)) / 2
    started = time.process_time()
    plan = solve_coupled(question(problem, "min_cost", [f"carbon <= {cap!r} tCO2e"]), gap=1e-4)
    seconds += time.process_time() - started
    return {"seconds": seconds, "gap": plan.gap, "answer": f"{plan.status}, gap {plan.gap:.1g}, {plan.objective}"}


DEVICES = ["A100", "H100", "H200", "B200", "MI300X"]
DENSE = {"batch_size": range(1, 201), "seq_len": range(64, 64 * 251, 64), "tp_size": [1, 2, 4, 8]}
SPECULATIVE = {
    "batch_size": [2**step for step in range(10)], "seq_len": range(64, 64 * 126, 64), "tp_size": [1, 2, 4, 8],
    "draft_model": "Llama3_8B", "draft_acceptance_rate": [0.2 + step / 50 for step in range(40)],
}  # fmt: skip


def sweep() -> dict[str, Any]:
    """TTFT, ITL and memory of a million points: devices, splits, batches, contexts and acceptance rates of a draft."""
    return _sweep({**SPECULATIVE})


def dense() -> dict[str, Any]:
    """The same of a million points that differ in everything that all three depend on."""
    return _sweep({**DENSE})


def _sweep(axes: dict[str, Any]) -> dict[str, Any]:
    from mlsysim_opt import ServingModel

    given = {"model": "Llama3_70B", "hardware": DEVICES, "precision": "fp16", **axes}
    model, wanted = ServingModel(), ("ttft", "itl", "total_memory_required")
    started = time.process_time()
    model.sweep(outputs=wanted, **given)
    first = time.process_time() - started
    for _ in range(SWEEPS):
        found = model.sweep(outputs=wanted, **given)
    started = time.process_time()
    for _ in range(SWEEPS):
        found = model.sweep(outputs=wanted, **given)
    seconds = (time.process_time() - started) / SWEEPS
    points = found.si("ttft").size
    answer = f"ITL from {found.si('itl').min() * 1e3:.1f} ms; the first sweep of the process took {first:.2f} s"
    return {"seconds": seconds, "points": points, "answer": answer}


def load() -> dict[str, Any]:
    """``import mlsysim_opt``."""
    started = time.process_time()
    import mlsysim_opt

    return {"seconds": time.process_time() - started, "answer": mlsysim_opt.__version__}


def memory() -> dict[str, Any]:
    """The largest space at hand: every sensible number of nodes of the largest fleet, five accelerators."""
    from mlsysim_opt import optimize

    given = {**DEMO, "fleet": "Meta_GenAI_H100_24K_RoCE", "global_batch_size": 12_288}
    accelerators = ["H100", "H200", "B200", "A100", "MI300X"]
    task = optimize.task("parallelism", objective="max_mfu", nodes="any", accelerator=accelerators, **given)
    started = time.process_time()
    outcome = task.search().run()
    return {
        "seconds": time.process_time() - started,
        "combinations": task.problem.combinations,
        "evaluated": outcome.evaluated,
        "answer": f"MFU {-outcome.best[0].cost:.4f} with {_split(task.design_values(outcome.best[0].design))}",
    }


def _split(design: dict[str, Any]) -> str:
    short = {"tp_size": "TP", "pp_size": "PP", "dp_size": "DP", "cp_size": "CP"}
    return " ".join(f"{title} {design[name]}" for name, title in short.items())


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "search": search,
    "proof": proof,
    "solve": solve,
    "serve": serve,
    "place": place,
    "elastic": elastic,
    "sweep": sweep,
    "dense": dense,
    "load": load,
    "memory": memory,
}

if __name__ == "__main__":
    found = CASES[sys.argv[1]]()
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
