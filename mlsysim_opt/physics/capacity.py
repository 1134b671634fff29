"""How many replicas does a service need? Continuous batching inside a replica, a queue before all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, minimum
from mlsysim_opt.algebra.expression import constant, expression
from mlsysim_opt.errors import ScaleError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.batching import Batching
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.physics.pool import Pool
from mlsysim_opt.physics.queueing import Arrivals, Queue
from mlsysim_opt.physics.serving import (
    CONTEXT_RULE,
    REPLICA_ALIASES,
    REPLICA_INPUTS,
    draft_rules,
    replica_bindings,
    replica_of,
    replica_rules,
    speculation_of,
)
from mlsysim_opt.physics.speculation import DRAFT_INPUTS
from mlsysim_opt.physics.traced import CONSTRAINTS
from mlsysim_opt.physics.transformer import ZERO
from mlsysim_opt.units import RATE, TIME

P99 = 0.99
MOST_REPLICAS = 2**30


def _mean_tokens(leaves: Mapping[str, Any]) -> Any:
    """Return prompt and output of a mean request: the longest one, where nothing else is given."""
    return leaves["max_seq_len"] if leaves["mean_request_tokens"] is None else leaves["mean_request_tokens"]


def pool_of(leaves: Mapping[str, Any]) -> Pool:
    """Return the pool that inputs of `ServingCapacityModel` describe."""
    replica = replica_of(leaves)
    output, tokens = leaves["output_tokens"], _mean_tokens(leaves)
    inside = Batching(
        replica, leaves["max_batch_size"], tokens - output, ZERO, output, leaves["page_size"],
        replica.hardware.number("memory.capacity") - leaves["memory_reserve"], leaves["scheduler"],
        speculation_of(leaves, replica),
    )  # fmt: skip
    return Pool(inside, leaves["num_replicas"], leaves["qps"], leaves["service_time_cv"])


class ServingCapacityResult(Result):
    """Replicas, their load, and the latency of requests."""

    units: ClassVar[dict[str, str]] = {
        "qps_target": "1/s", "qps_capacity": "1/s", "per_replica_qps_capacity": "1/s", "target_p99_latency": "ms",
        "estimated_p99_latency": "ms", "base_request_latency": "ms", "queue_wait_p99": "ms", "ttft": "ms", "itl": "ms",
        "decode_step": "ms",
    }  # fmt: skip
    required_replicas: Any
    required_accelerators: Any
    qps_target: Any
    qps_capacity: Any
    per_replica_qps_capacity: Any
    utilization: Any
    target_p99_latency: Any
    estimated_p99_latency: Any
    base_request_latency: Any
    queue_wait_p99: Any
    ttft: Any
    itl: Any
    decode_step: Any
    active_batch_size: Any
    bottleneck: Any


class ServingCapacityModel(Model):
    """How many replicas answer `qps` requests per second within a P99 latency?

    A replica holds up to `max_batch_size` requests (as many as fit) under continuous batching, prompts included in its
    work; a request waits for a place and for the prompts before its own, and stays as long as the batch that the load
    keeps in a replica makes it (see `pool`). Requests are alike unless `service_time_cv` says how their times vary.
    `itl` and `ttft` are means, the latter without the waits; `queue_wait_p99` is the P99 of both. Without
    `num_replicas` the smallest number that meets the target is found by bisection on the very equation, and reported;
    where even a request alone would be too slow (`bottleneck` "Base latency"), the number that keeps the queue stable
    is.

    Sources: see `batching`, `pool`, `queueing`.
    """

    wall = 7
    inputs = (
        *REPLICA_INPUTS[:2],
        Arrivals("qps", "requests per second", unit="1/s", of=RATE, open_low=True, bare=True),
        Number("target_p99_latency_ms", "objective for the P99 of a request", unit="ms", of=TIME, open_low=True,
               bare=True),
        Number("max_seq_len", "longest request", default=2048, integer=True, low=2),
        Number("mean_request_tokens", "prompt and output of a mean request; max_seq_len when absent", default=None,
               integer=True, low=2),
        Number("output_tokens", "generated tokens of a request", default=128, integer=True, low=1),
        Number("max_batch_size", "requests in a replica at most", default=32, integer=True, low=1),
        *REPLICA_INPUTS[2:4],
        Number("num_replicas", "replicas; the fewest that do when absent", default=None, integer=True, low=1),
        Number("service_time_cv", "standard deviation of the service time over its mean", default=0.0),
        Number("page_size", "tokens of a page of the cache", default=16, integer=True, low=1),
        Given("scheduler", "how requests are admitted", default="continuous", kind="scheduler"),
        *REPLICA_INPUTS[4:],
        *DRAFT_INPUTS,
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {
        **REPLICA_ALIASES, "target_p99_latency": "target_p99_latency_ms", "qps_target": "qps",
        "output_len": "output_tokens", "arrival_rate": "qps", "replicas": "num_replicas",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_8B", "hardware": "H100", "qps": "40 1/s", "target_p99_latency_ms": "20 s",
    }  # fmt: skip

    derived = frozenset({"num_replicas"})

    def bindings(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return replica_bindings(values)

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["num_replicas"] is not None:
            return values
        values = {**values, "num_replicas": 1}
        traced = self.trace(values)
        known = self.leaf_values(values)
        goals = traced.part(CONSTRAINTS)
        rules = [traced.constraint_names.index(name) for name in ("queue is stable", "P99 within the target")]

        def holds(count: int) -> list[bool]:
            found = goals.run_named({**known, "num_replicas": count})
            return [bool(found[at]) for at in rules]

        stable = _smallest(lambda count: holds(count)[0], 1)
        if stable is None:
            raise ScaleError(f"no number of replicas up to {MOST_REPLICAS:,} keeps the queue stable", path="qps",
                             hint="a lower qps, or num_replicas")  # fmt: skip
        enough = _smallest(lambda count: all(holds(count)), stable)
        return {**values, "num_replicas": enough or stable}

    def equations(self, **leaves: Any) -> ServingCapacityResult:
        pool = pool_of(leaves)
        inside, places, alone = pool.inside, pool.places, pool.alone
        replica, output, tokens = inside.replica, leaves["output_tokens"], _mean_tokens(leaves)
        rate, replicas, qps, target = pool.rate, pool.replicas, leaves["qps"], leaves["target_p99_latency_ms"]
        level = expression(P99)
        p99 = pool.latency(level)
        base = pool.front_end + alone.cycle
        unhurried = Queue(constant(1e-9, RATE), alone.cycle, replicas * places, leaves["service_time_cv"])
        return ServingCapacityResult(
            required_replicas=replicas,
            required_accelerators=replicas * replica.devices,
            qps_target=qps,
            qps_capacity=rate * replicas,
            per_replica_qps_capacity=rate,
            utilization=pool.utilization,
            target_p99_latency=target,
            estimated_p99_latency=p99,
            base_request_latency=base,
            queue_wait_p99=pool.wait(level),
            ttft=pool.front_end + pool.own_prompt,
            itl=pool.itl,
            decode_step=inside.step.time,
            active_batch_size=pool.batch,
            bottleneck=argmax_label(
                Throughput=pool.utilization,
                **{"Base latency": minimum(unhurried.latency_quantile(level) / target, 10)},
            ),
            constraints={
                **replica_rules(replica),
                **draft_rules(inside.speculation),
                "the output leaves a prompt": output < tokens,
                CONTEXT_RULE: leaves["max_seq_len"] <= replica.model.context_length,
                "mean requests are no longer than the longest": tokens <= leaves["max_seq_len"],
                "memory fits the longest request": inside.each(leaves["max_seq_len"]) <= inside.cache_room,
                "queue is stable": pool.stable,
                "P99 within the target": p99 <= target,
            },
        )


def _smallest(holds: Callable[[int], bool], start: int) -> int | None:
    """Return the smallest count from `start` on for which something holds that goes on to hold; None where none does.

    More replicas never make a request slower: each has less to do, and all serve one queue.
    """
    high = start
    while not holds(high):
        high *= 2
        if high > MOST_REPLICAS:
            return None
    low = high // 2 if high > start else start - 1  # the last count that failed, or none
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
