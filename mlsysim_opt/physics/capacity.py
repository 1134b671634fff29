"""How many replicas does a service need? Continuous batching inside a replica, a queue before all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, minimum
from mlsysim_opt.algebra.expression import constant, expression, symbols
from mlsysim_opt.algebra.invert import invert_integer
from mlsysim_opt.errors import NotInvertibleError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.batching import Batching
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.physics.queueing import Arrivals, Queue
from mlsysim_opt.physics.serving import (
    REPLICA_ALIASES,
    REPLICA_INPUTS,
    replica_bindings,
    replica_of,
    replica_rules,
)
from mlsysim_opt.physics.transformer import ZERO
from mlsysim_opt.units import RATE, TIME

P99 = 0.99


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
    work; a request stays for one cycle of a full batch, which is slower than of a half-empty one, so latency is an
    upper bound. All places of all replicas serve one queue (M/G/c, see `queueing`). Without `num_replicas` the
    smallest number that meets the target is found by the inverse of the very equation, and reported; where even no
    waiting at all would be too slow (`bottleneck` "Base latency"), the number that keeps the queue stable is.

    Sources: see `batching`, `queueing`.
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
        Number("service_time_cv", "standard deviation of the service time over its mean", default=1.0),
        Number("page_size", "tokens of a page of the cache", default=16, integer=True, low=1),
        Given("scheduler", "how requests are admitted", default="continuous", kind="scheduler"),
        *REPLICA_INPUTS[4:],
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {
        **REPLICA_ALIASES, "target_p99_latency": "target_p99_latency_ms", "qps_target": "qps",
        "output_len": "output_tokens", "arrival_rate": "qps", "replicas": "num_replicas",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_8B", "hardware": "H100", "qps": "40 1/s", "target_p99_latency_ms": "20 s",
    }  # fmt: skip

    def bindings(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return replica_bindings(values)

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["num_replicas"] is not None:
            return values
        values = {**values, "num_replicas": 1}
        traced = self.trace(values)
        known = self.leaf_values(values)
        known.pop("num_replicas")
        goals = [traced.result.constraints["P99 within the target"], traced.result.constraints["queue is stable"]]
        for goal in goals:
            unknown = next(leaf for leaf in symbols(goal) if leaf.name == "num_replicas")
            try:
                found = invert_integer(goal, unknown, values=known)
            except NotInvertibleError:
                continue
            return {**values, "num_replicas": found.value}
        return values

    def equations(self, **leaves: Any) -> ServingCapacityResult:
        replica = replica_of(leaves)
        output = leaves["output_tokens"]
        tokens = leaves["max_seq_len"] if leaves["mean_request_tokens"] is None else leaves["mean_request_tokens"]
        inside = Batching(
            replica, leaves["max_batch_size"], tokens - output, ZERO, output, leaves["page_size"],
            replica.hardware.number("memory.capacity") - leaves["memory_reserve"], leaves["scheduler"],
        )  # fmt: skip
        places = inside.active
        rate = places / inside.cycle
        replicas, qps, target = leaves["num_replicas"], leaves["qps"], leaves["target_p99_latency_ms"]
        queue = Queue(qps, inside.cycle, replicas * places, leaves["service_time_cv"])
        level = expression(P99)
        p99 = leaves["scheduler"].front_end + queue.latency_quantile(level)
        base = leaves["scheduler"].front_end + inside.cycle
        unhurried = Queue(constant(1e-9, RATE), inside.cycle, replicas * places, leaves["service_time_cv"])
        return ServingCapacityResult(
            required_replicas=replicas,
            required_accelerators=replicas * replica.devices,
            qps_target=qps,
            qps_capacity=rate * replicas,
            per_replica_qps_capacity=rate,
            utilization=queue.utilization,
            target_p99_latency=target,
            estimated_p99_latency=p99,
            base_request_latency=base,
            queue_wait_p99=queue.wait_quantile(level),
            ttft=leaves["scheduler"].front_end + inside.first_token,
            itl=inside.between_tokens,
            decode_step=inside.step.time,
            active_batch_size=places,
            bottleneck=argmax_label(
                Throughput=queue.utilization,
                **{"Base latency": minimum(unhurried.latency_quantile(level) / target, 10)},
            ),
            constraints={
                **replica_rules(replica),
                "the output leaves a prompt": output < tokens,
                "memory fits one request": inside.paged_capacity >= 1,
                "queue is stable": queue.stable,
                "P99 within the target": p99 <= target,
            },
        )
