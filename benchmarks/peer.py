"""One measurement of mlsysim 0.3.0, by its own interpreter: ``$PEER_PYTHON benchmarks/peer.py CASE`` prints JSON."""

import json
import resource
import sys
import time

SOLVE = {"batch_size": 2048, "precision": "fp16", "tp_size": 8, "pp_size": 8, "microbatch_count": 16, "seq_len": 4096}
LOOPS = 100


def search() -> dict:
    """Its ParallelismOptimizer on the fleet of the demo; configurations are those it tries."""
    from mlsysim import Models, Systems
    from mlsysim.solvers import ParallelismOptimizer

    fleet = Systems.Clusters.Meta_Llama3_16K_H100
    given = {"batch_size": 2048, "seq_len": 8192, "activation_recomputation": True}
    optimizer = ParallelismOptimizer()
    optimizer.solve(Models.Language.Llama3_405B, fleet, **given)
    started = time.process_time()
    result = optimizer.solve(Models.Language.Llama3_405B, fleet, **given)
    seconds = time.process_time() - started
    count = fleet.count * fleet.node.accelerators_per_node
    powers = [2**k for k in range(10) if 2**k <= count]
    tried = sum(1 for tp in powers for pp in powers if tp <= fleet.node.accelerators_per_node and tp * pp <= count)
    return {
        "seconds": seconds,
        "combinations": tried,
        "evaluated": result.total_searched,
        "answer": f"MFU {result.best_mfu:.4f} with "
        + " ".join(f"{k.upper()} {v}" for k, v in result.best_config.items()),
    }


def solve() -> dict:
    """One warm `DistributedModel().solve`, step time and feasibility read."""
    from mlsysim import Models, Systems
    from mlsysim.solvers import DistributedModel

    model = DistributedModel()
    given = (Models.Language.Llama3_70B, Systems.Clusters.Frontier_8K)
    result = model.solve(*given, **SOLVE)
    started = time.process_time()
    for _ in range(LOOPS):
        result = model.solve(*given, **SOLVE)
        assert result.node_profile.feasible in (True, False)
        assert result.step_latency_total.magnitude > 0
    seconds = (time.process_time() - started) / LOOPS
    step = result.step_latency_total.to("s").magnitude
    return {"seconds": seconds, "answer": f"step {step:.3f} s, feasible {result.node_profile.feasible}"}


def serve() -> dict:
    """One warm `ServingModel().solve`; TTFT, ITL and feasibility read."""
    from mlsysim import Hardware, Models
    from mlsysim.solvers import ServingModel

    model = ServingModel()
    given = {"seq_len": 4096, "batch_size": 8, "precision": "fp16"}
    where = (Models.Language.Llama3_70B, Hardware.Cloud.H200)
    result = model.solve(*where, **given)
    started = time.process_time()
    for _ in range(LOOPS):
        result = model.solve(*where, **given)
        assert result.feasible in (True, False)
        assert result.ttft.magnitude > 0
        assert result.itl.magnitude > 0
    seconds = (time.process_time() - started) / LOOPS
    ttft, itl = result.ttft.to("ms").magnitude, result.itl.to("ms").magnitude
    return {"seconds": seconds, "answer": f"TTFT {ttft:.0f} ms, ITL {itl:.1f} ms"}


PLACEMENTS = [("Research_256", 30, 100.0), ("Research_256", 30, 0.0), ("Frontier_8K", 90, 100.0)]
"""Questions for both sides: fleet, days, USD per tonne of carbon."""
BATCHINGS = [(5.0, 20.0), (0.5, 30.0), (2.0, 60.0), (10.0, 20.0), (20.0, 20.0)]
"""Requests per second and the P99 latency promised, in s: Llama3_8B on an H100."""
TOKENS = 256
"""Of each prompt, and as many are generated."""


def peer_placement() -> dict:
    """Its PlacementOptimizer over the grids it tries when none are named."""
    from mlsysim import Systems
    from mlsysim.solvers import PlacementOptimizer

    optimizer = PlacementOptimizer()
    optimizer.solve(Systems.Clusters.Research_256, 30)
    started = time.process_time()
    results = [
        optimizer.solve(getattr(Systems.Clusters, fleet), days, carbon_tax_per_ton=tax)
        for fleet, days, tax in PLACEMENTS
    ]
    seconds = (time.process_time() - started) / len(results)
    return {"seconds": seconds, "regions": [result.best_region for result in results]}


def peer_batching() -> dict:
    """Its BatchingOptimizer: the largest of 256 batches that it says is safe."""
    from mlsysim import Hardware, Models
    from mlsysim.solvers import BatchingOptimizer

    optimizer = BatchingOptimizer()
    started = time.process_time()
    results = [
        optimizer.solve(Models.Language.Llama3_8B, Hardware.Cloud.H100, TOKENS, promised * 1000, rate)
        for rate, promised in BATCHINGS
    ]
    seconds = (time.process_time() - started) / len(results)
    return {"seconds": seconds, "batches": [int(result.best_batch_size) for result in results]}


def load() -> dict:
    """``import mlsysim``."""
    started = time.process_time()
    import mlsysim

    return {"seconds": time.process_time() - started, "answer": mlsysim.__version__}


if __name__ == "__main__":
    cases = [search, solve, serve, peer_placement, peer_batching, load]
    found = {case.__name__: case for case in cases}[sys.argv[1]]()
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
