"""One measurement of this package, in a process of its own: ``python benchmarks/ours.py CASE`` prints JSON.

Times are CPU seconds. What is imported or built before the clock starts stands in the case.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
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


SITES = {"US_Avg": "US_Average", "Quebec": "Quebec_Hydro", "Iowa": "GCP_us_central1"}
"""The peer's grids, as sites of this catalog."""


def asked_of_peer(case: str) -> dict[str, Any] | None:
    """Return what the peer answers to a case; None without a peer."""
    python = os.environ.get("PEER_PYTHON")
    if python is None:
        return None
    script = Path(__file__).with_name("peer.py")
    done = subprocess.run([python, str(script), case], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peer_placement() -> dict[str, Any]:
    """Where a fleet should stand, of all sites of the catalog; and what the peer's answers take in the same model."""
    from peer import PLACEMENTS

    from mlsysim_opt import PlacementOptimizer

    optimizer = PlacementOptimizer()
    optimizer.solve("Research_256", 30)
    started = time.process_time()
    ours = [optimizer.solve(fleet, days, carbon_tax_per_ton=tax) for fleet, days, tax in PLACEMENTS]
    found: dict[str, Any] = {"seconds": (time.process_time() - started) / len(ours), "answer": ""}
    theirs = asked_of_peer("peer_placement")
    if theirs is None:
        return found
    worse, shown = [], []
    for (fleet, days, tax), best, region in zip(PLACEMENTS, ours, theirs["regions"], strict=True):
        there = optimizer.solve(fleet, days, [SITES[region]], carbon_tax_per_ton=tax)
        worse.append(there.objective_value / best.objective_value - 1)
        shown.append(
            f"{fleet}, {days} days, {tax:g} USD/t: {best.best_region} {best.objective_value:,.0f} USD and "
            f"{best.carbon_footprint.m_as('tCO2e'):.1f} t, the peer's {SITES[region]} {there.objective_value:,.0f} USD "
            f"and {there.carbon_footprint.m_as('tCO2e'):.1f} t"
        )
    return {**found, "answer": "; ".join(shown), "theirs": theirs["seconds"], "worse": max(worse)}


def peer_batching() -> dict[str, Any]:
    """The largest batch that keeps a P99 latency, and how long the peer's answers take in the same model."""
    from peer import BATCHINGS, TOKENS

    from mlsysim_opt import BatchingOptimizer, optimize
    from mlsysim_opt.errors import InfeasibleError

    def solved(rate: float, promised: float) -> int:
        try:
            found = optimizer.solve("Llama3_8B", "H100", length, f"{promised} s", f"{rate} 1/s", output_len=TOKENS)
        except InfeasibleError:
            return 0
        return int(found.best_batch_size)

    optimizer, length = BatchingOptimizer(), 2 * TOKENS  # the peer's length is that of the prompt, and of the output
    solved(*BATCHINGS[0])
    started = time.process_time()
    ours = [solved(*asked) for asked in BATCHINGS]
    found: dict[str, Any] = {"seconds": (time.process_time() - started) / len(ours), "answer": ""}
    theirs = asked_of_peer("peer_batching")
    if theirs is None:
        return found
    over, shown, unsafe = [0.0], [], 0
    for (rate, promised), mine, batch in zip(BATCHINGS, ours, theirs["batches"], strict=True):
        text = f"{rate:g} requests/s, {promised:g} s: {mine or 'no batch'}, the peer {batch or 'no batch'}"
        if batch:
            asked = optimize.task("batching", model="Llama3_8B", hardware="H100", arrival_rate=f"{rate} request/s",
                                  seq_len=length, output_len=TOKENS, policy="static", precision="fp16",
                                  choices={"replicas": 1})  # fmt: skip
            design = {name: item.choice.values[0] for name, item in asked.problem.decisions.items()}
            taken = asked.scalar.at({**design, "batch_size": batch})[1]["latency_p99"]
            over.append(taken / promised)
            unsafe += over[-1] > 1
            text += f" (P99 {taken:,.0f} s, {over[-1]:.2g} times what is promised)"
        shown.append(text)
    return {**found, "answer": "; ".join(shown), "theirs": theirs["seconds"], "unsafe": unsafe,
            "questions": sum(1 for batch in theirs["batches"] if batch), "over": max(over)}  # fmt: skip


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


ACCELERATORS = ["H100", "H200", "A100", "B200", "MI300X", "A100_40GB", "MI250X", "H100_PCIe"]
TRAINED = ["Llama3_8B", "Llama2_7B", "Llama2_13B", "Llama3_70B", "Mistral_7B", "Qwen2_5_7B", "Gemma2_9B", "Llama2_70B"]


def jobs_on_clusters() -> dict[str, Any]:
    """100 training jobs on 8 clusters in two regions, carbon capped, designs from the physics of training included."""
    import numpy as np

    from mlsysim_opt.optimize import formulation, question, solve_coupled

    dice = np.random.default_rng(0)
    jobs = [
        {
            "name": f"job {at}", "model": TRAINED[at % len(TRAINED)], "deadline": "90 day",
            "token_budget": f"{float(dice.uniform(1, 50))}e10 token",
            "global_batch_size": int(dice.choice([256, 512])), "seq_len": int(dice.choice([2048, 4096])),
        }
        for at in range(100)
    ]  # fmt: skip
    given = {
        "jobs": jobs, "regions": ["AWS_us_east_1", "AWS_eu_north_1"], "fleet": "Research_256",
        "accelerators": ACCELERATORS, "nodes": [1, 2, 4, 8, 16, 32], "capacity": dict.fromkeys(ACCELERATORS, 2048),
        "price": {name: f"{float(dice.uniform(1, 4))} USD/h" for name in ACCELERATORS},
    }  # fmt: skip
    started = time.process_time()
    problem = formulation("placement").problem(given)
    built = time.process_time() - started
    plan = solve_coupled(question(problem, "min_cost", ["carbon <= 400 tCO2e"]), gap=1e-4)
    seconds = time.process_time() - started
    columns = plan.certificate.details["columns"]
    told = f"{plan.objective} ({plan.status}, gap {plan.gap:.2g}), {columns:,} columns built in {built:.1f} s"
    return {"seconds": seconds, "gap": plan.gap, "answer": f"{told}, the plan in {seconds - built:.2f} s"}


def one_job() -> dict[str, Any]:
    """A training job over every split of every fleet of 8 to 4,096 GPUs."""
    from mlsysim_opt import optimize

    given = {"model": "Llama3_70B", "fleet": "Meta_Llama3_16K_H100", "global_batch_size": 1024, "seq_len": 4096}
    started = time.process_time()
    found = optimize("parallelism", objective="max_mfu", explain=False, nodes=range(1, 513), **given)
    seconds = time.process_time() - started
    counts = found.certificate.details
    return {
        "seconds": seconds,
        "gap": found.gap,
        "strategies": counts["structurally_valid"],
        "answer": f"{found.status}, gap {found.gap:g}: MFU {found.objective} with {_split(found.design)} on "
        f"{found.design['nodes']} nodes; of {found.certificate.combinations:.2g} combinations "
        f"{counts['structurally_valid']:,} are strategies, {counts['feasible']:,} of them fit in memory",
    }


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
    "peer_placement": peer_placement,
    "peer_batching": peer_batching,
    "elastic": elastic,
    "jobs_on_clusters": jobs_on_clusters,
    "one_job": one_job,
    "sweep": sweep,
    "dense": dense,
    "load": load,
    "memory": memory,
}

if __name__ == "__main__":
    found = CASES[sys.argv[1]]()
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
