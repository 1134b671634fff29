"""Requests that come at random to replicas with continuous batching: by hand, and against simulated passes."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.batching import Batching
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.physics.pool import Pool
from mlsysim_opt.physics.serving import REPLICA_INPUTS, replica_bindings, replica_of
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog

Read = Callable[[Expression], float]


@dataclass(frozen=True)
class Shape:
    """Requests of Llama3_8B on H100s."""

    places: int
    chunk: int
    tokens: int
    output: int
    pp: int = 1


def pool_at(shape: Shape, rate: float) -> tuple[Pool, Read]:
    """Return a replica under a load, and what reads its numbers."""
    model = Given("model", kind="model").check("Llama3_8B")
    hardware = Given("hardware", kind="accelerator").check("H100")
    scheduler = default_catalog().find("scheduler", "continuous")
    leaves: dict[str, Any] = {item.name: item.default for item in REPLICA_INPUTS}
    leaves |= dict.fromkeys(("tp_size", "pp_size", "ep_size", "attention_dp"), ONE)
    leaves |= {"model": View("model", [model]), "hardware": View("hardware", [hardware]), "precision": "fp16"}
    if shape.pp > 1:
        leaves["pp_size"] = expression(shape.pp)
    known = {
        **entry_bindings("model", model), **entry_bindings("hardware", hardware),
        **entry_bindings("scheduler", scheduler),
        **replica_bindings({"precision": "fp16", "weight_precision": None, "hardware": hardware}),
    }  # fmt: skip
    replica = replica_of(leaves)
    inside = Batching(
        replica, expression(shape.places), expression(shape.tokens - shape.output), ZERO, expression(shape.output),
        expression(16), replica.hardware.number("memory.capacity") - expression("2 GiB"),
        View("scheduler", [scheduler]).replacing(tokens_per_pass=expression(shape.chunk)),
    )  # fmt: skip
    return Pool(inside, ONE, expression(f"{rate!r} 1/s"), ZERO), lambda item: float(evaluate(item, known))


@dataclass(frozen=True)
class Times:
    """What a simulation needs: times of a step and what a mixed pass saves, by requests; of a prompt, and its passes."""

    step: Any
    shared: Any
    prompt: float
    passes: float
    lanes: int

    @classmethod
    def of(cls, shape: Shape) -> Times:
        pool, read = pool_at(shape, 1.0)
        some = sorted({round(item) for item in np.geomspace(1, shape.places, 24)})
        each = [replace(pool.inside, clients=expression(count)) for count in some]
        counts = np.arange(shape.places + 1)
        return cls(
            np.interp(counts, some, [read(item.step.time) for item in each]),
            np.interp(counts, some, [read(item.shared) for item in each]),
            read(pool.inside.prompt_time), read(pool.inside.prefill_passes), int(read(pool.inside.at_once)),
        )  # fmt: skip


def simulated(shape: Shape, times: Times, rate: float, count: int, seed: int = 1) -> dict[str, Any]:
    """Return TTFTs and latencies, and the gaps between tokens with how many requests had each.

    A lane starts a pass as soon as it has work: a token for each of its requests, and the next part of a prompt, the
    first that waits where there is a free place. The last part of a prompt is as long as what is left of it.
    """
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count)).tolist()
    parts = math.ceil(times.passes - 1e-9)
    lengths = [1.0] * (parts - 1) + [times.passes - (parts - 1)]
    waiting: deque[int] = deque()
    prompt: list[list[int] | None] = [None] * times.lanes
    decoded, ends = [0] * times.lanes, [list[tuple[int, int]]() for _ in range(times.lanes)]
    first, done = [0.0] * count, [0.0] * count
    gaps: list[tuple[float, int]] = []
    clock, idle = [(0.0, lane) for lane in range(times.lanes)], list[int]()
    came = held = finished = 0
    while finished < count:
        if not clock or (idle and came < count and arrivals[came] < clock[0][0]):
            clock += [(arrivals[came], lane) for lane in idle]
            heapq.heapify(clock)
            idle = []
        now, lane = heapq.heappop(clock)
        while came < count and arrivals[came] <= now:
            waiting.append(came)
            came += 1
        mine, own = prompt[lane], ends[lane]
        if mine is None and waiting and held < shape.places:
            mine = prompt[lane] = [waiting.popleft(), 0]
            held += 1
        if mine is None and not own:
            idle.append(lane)
            continue
        batch = min(shape.places, times.lanes * len(own))
        took = float(times.step[batch]) if own else 0.0
        if mine is not None:
            took += times.prompt / times.passes * lengths[mine[1]] - (float(times.shared[batch]) if own else 0.0)
        end = now + took
        if own:
            gaps.append((took, len(own)))
        decoded[lane] += 1
        while own and own[0][0] <= decoded[lane]:
            done[heapq.heappop(own)[1]] = end
            held, finished = held - 1, finished + 1
        if mine is not None:
            mine[1] += 1
            if mine[1] == parts:
                prompt[lane] = None
                first[mine[0]] = end
                heapq.heappush(own, (decoded[lane] + shape.output - 1, mine[0]))
        heapq.heappush(clock, (end, lane))
    kept = slice(count // 10, count - count // 10)
    length, weight = np.array(gaps).T
    order = np.argsort(length)
    return {"ttft": (np.array(first) - arrivals)[kept], "latency": (np.array(done) - arrivals)[kept],
            "gaps": length[order], "below": np.cumsum(weight[order]) / weight.sum()}  # fmt: skip
