"""What is said of an optimum against brute force: every design of the whole space, evaluated at changed numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.optimize import Solution

NODE = {"model": "Llama3_8B", "fleet": "One_DGX_H100", "global_batch_size": 16, "seq_len": 4096}
SERVED = {"model": "Llama3_8B", "hardware": "H100", "arrival_rate": "5 request/s", "seq_len": 2048, "output_len": 256,
          "sla_latency": "20 s", "policy": "static"}  # fmt: skip
TRAINING = ["fleet.node.accelerator.memory.capacity", "numerics.activation_bytes", "overlap_efficiency"]
NARROW = {"recomputation": "none", "v_stages": 1, "overlap_comm": 1, "cp_size": 1}
TIE = 1e-8


def brute_force(solution: Solution) -> Callable[[dict[str, float]], Any]:
    """Return what gives the cost of every design with some numbers multiplied; infinite where it is infeasible."""
    task = solution._task()
    problem = task.problem
    program = ArrayProgram([task.objective.cost, *(item.holds for item in problem.constraints)])
    shape = [len(item.values) for item in problem.choices]

    def costs(factors: dict[str, float]) -> Any:
        values: dict[str, Any] = {**problem.values, **{name: problem.values[name] * x for name, x in factors.items()}}
        for at, choice in enumerate(problem.choices):
            values[choice.name] = np.arange(shape[at]).reshape([-1 if at == axis else 1 for axis in range(len(shape))])
        cost, *truths = (np.broadcast_to(np.asarray(item), shape) for item in program.run(values, shape))
        feasible = np.isfinite(cost)
        for truth in truths:
            feasible = feasible & truth.astype(bool)
        return np.where(feasible, cost, np.inf)

    return costs


def compare(solution: Solution, numbers: list[str] | None, inside: int, seed: int = 0) -> int:
    """Compare ranges and elasticities of some numbers, or of all; return how many statements held."""
    costs = brute_force(solution)
    found = solution.sensitivity(numbers).numbers
    task = solution._task()
    mine = tuple(item.position[solution.design[item.name]] for item in task.problem.choices)
    best, rng, held = float(costs({}).min()), random.Random(seed), 0
    for number in found.values():
        low = number.low.factor if number.low else number.looked[0]
        high = number.high.factor if number.high else number.looked[1]
        for _ in range(inside):
            factor = low * (high / low) ** rng.random()
            every = costs({number.name: factor})
            assert every[mine] <= every.min() + TIE * abs(every.min()), (number.name, factor)
            held += 1
        for end, beyond in ((number.low, 1 / (1 + 1e-6)), (number.high, 1 + 1e-6)):
            if end is not None:
                every = costs({number.name: end.factor * beyond})
                assert end.confirmed
                assert every[mine] > every.min() or math.isinf(every[mine]), (number.name, end)
                held += 1
        for said, step, far in (
            (number.above, 1e-6, number.looked[1] - 1),
            (number.below, -1e-6, 1 - number.looked[0]),
        ):
            if far > abs(step):
                there = float(costs({number.name: 1 + step}).min())
                # objectives are costs: both signs cancel in a relative change
                assert said == pytest.approx((there / best - 1) / step, rel=1e-4, abs=1e-4), number.name
                held += 1
    return held


@pytest.mark.parametrize(
    ("name", "asked", "numbers"),
    [
        ("parallelism", {**NODE, "objective": "min_step_time", "choices": NARROW}, TRAINING),
        ("parallelism", {**NODE, "objective": "max_mfu", "choices": NARROW}, TRAINING),
        # as many requests fill batches of 60, 61, ... in time, each a little earlier than the next
        ("batching", {**SERVED, "objective": "max_batch_size"}, ["arrival_rate"]),
        ("batching", {**SERVED, "objective": "min_latency_p99"}, ["arrival_rate", "hardware.memory.bandwidth"]),
    ],
)
def test_ranges_and_elasticities_are_those_of_all_designs(name: str, asked: dict[str, Any], numbers: list[str]) -> None:
    assert compare(mo.optimize(name, **asked), numbers, inside=4) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["min_step_time", "max_mfu", "max_tokens_per_second", "min_memory", "max_hfu"])
@pytest.mark.parametrize("batch", [8, 16, 24])
def test_every_number_of_a_training_job(objective: str, batch: int) -> None:
    choices = {"recomputation": ["none", "full"], "v_stages": 1}
    asked = {**NODE, "global_batch_size": batch, "objective": objective, "choices": choices}
    assert compare(mo.optimize("parallelism", **asked), numbers=None, inside=5) > 10


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["max_batch_size", "min_latency_p99", "max_throughput"])
def test_every_number_of_a_service(objective: str) -> None:
    assert compare(mo.optimize("batching", **SERVED, objective=objective), numbers=None, inside=5) > 10
