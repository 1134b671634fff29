"""What replicas of a served model promise, whichever way they batch: latencies by quantile, capacity, memory.

The ways share names, so that a design can choose between them; the equations are those of `ServingModel` with
`queueing.Gathered` (static batches), of `batching.Batching` with `pool.Pool` (continuous batching), and of
`ServingModel` with two queues and the rates of `disaggregation` (prompts and tokens by workers of their own).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.atoms import maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.batching import REQUEST, Batching
from mlsysim_opt.physics.disaggregation import decode_rate, prefill_rate, request_rate
from mlsysim_opt.physics.forward import NO_TIME, Replica
from mlsysim_opt.physics.pool import Pool
from mlsysim_opt.physics.queueing import QUANTILES, Gathered, Queue, occupied_share
from mlsysim_opt.physics.serving import (
    CONTEXT_RULE,
    ServingModel,
    draft_rules,
    replica_of,
    replica_rules,
    speculation_of,
    transfer_time,
)
from mlsysim_opt.physics.speculation import Speculation
from mlsysim_opt.physics.transformer import ONE, ZERO

POLICIES = ("continuous", "static", "disaggregated")
STABLE = "the queue is stable"
MEMORY = "memory fits"
WHOLE_REQUEST = "memory fits a whole request"


@dataclass(frozen=True)
class Limits:
    """What is promised: a quantile, a factor by which estimates may be too low, and limits, some of them None.

    Attributes:
        ttft, itl, latency: at the quantile, that of the ITL in a full batch.
    """

    quantile: Expression
    margin: Expression
    ttft: Expression | None = None
    itl: Expression | None = None
    latency: Expression | None = None


@dataclass(frozen=True)
class ServiceLevel:
    """What a service does under its load.

    Attributes:
        numbers: by name. rules: what must hold, by name.
    """

    numbers: dict[str, Expression]
    rules: dict[str, Expression]


def service_level(policy: str, leaves: Mapping[str, Any], limits: Limits) -> ServiceLevel:
    """Return what a service does, for leaves (or choices) of the inputs of `ServingModel` and these: `arrival_rate`,
    `replicas`, `chunk_size`, `page_size`, `scheduler` and `service_time_cv`; where phases are apart, `prefill_replicas`
    and `network_bandwidth`, and `replicas` are those that decode."""
    ways = {"static": _static, "continuous": _continuous, "disaggregated": _disaggregated}
    return ways[policy](leaves, limits)


def _static(leaves: Mapping[str, Any], limits: Limits) -> ServiceLevel:
    """Batches of a fixed size are gathered, and each replica processes one at a time."""
    given = {**leaves, "decode_hardware": None, "prefill_chunk_tokens": leaves["chunk_size"]}
    batch = ServingModel().equations(**given)
    replica = replica_of(leaves)
    speculation = speculation_of(leaves, replica)
    size, output = leaves["batch_size"], leaves["output_len"]
    queue = Gathered(leaves["arrival_rate"], size, batch.request_latency, leaves["replicas"])
    gap = _gap(leaves, replica, speculation)
    numbers = _by_level(limits, lambda level: queue.wait_quantile(level) + batch.ttft, gap, queue.latency_quantile)
    numbers |= {
        "ttft": queue.mean_wait + batch.ttft,
        "itl": batch.itl,
        "latency": queue.mean_wait + batch.request_latency,
        "filling": queue.mean_filling,
        "wait": queue.mean_wait - queue.mean_filling,
        "decode_step": replica.decode(size, leaves["seq_len"] - output + (output + 1) / 2).time,
        "utilization": queue.utilization,
        "busy": minimum(queue.utilization, 1),
        "capacity": REQUEST * size * leaves["replicas"] / batch.request_latency,
        "devices": replica.devices * leaves["replicas"],
        "memory": batch.total_memory_required / replica.devices,
        "weights": batch.model_weights_size / replica.devices,
        "kv_cache": batch.kv_cache_size / replica.devices,
    }
    limit_ttft = None if limits.ttft is None else queue.starts_beyond(limits.ttft / limits.margin - batch.ttft)
    limit_latency = (
        None if limits.latency is None else queue.starts_beyond(limits.latency / limits.margin - queue.service)
    )
    rules = {**replica_rules(replica), **draft_rules(speculation)}
    return _level(leaves, limits, numbers, rules, queue.stable, (limit_ttft, limit_latency))


def _gap(leaves: Mapping[str, Any], replica: Replica, speculation: Speculation | None) -> Any:
    """Return the time from one token to the next of a batch without prompts, as the context grows, by quantile."""
    size, output = leaves["batch_size"], leaves["output_len"]

    def gap(level: Expression) -> Expression:
        context = leaves["seq_len"] - output + level * output
        if speculation is None:
            return replica.decode(size, context).time
        checked = speculation.check(size, context).time + speculation.drafting(size, context)
        return checked / speculation.tokens

    return gap


def _disaggregated(leaves: Mapping[str, Any], limits: Limits) -> ServiceLevel:
    """Prompts are processed one at a time by workers of their own, and sent to those that decode in batches."""
    replica = replica_of(leaves)
    speculation = speculation_of(leaves, replica)
    size, output = leaves["batch_size"], leaves["output_len"]
    tokens = leaves["seq_len"] - output
    given = {**leaves, "decode_hardware": None}
    asked = {"seq_len": tokens, "output_len": None, "batch_size": ONE, "prefill_chunk_tokens": leaves["chunk_size"]}
    prompt = ServingModel().equations(**given | asked)
    # prompts come from elsewhere: in chunks of a token they take no more memory than a step does
    decode = ServingModel().equations(**given | {"prefill_chunk_tokens": ONE})
    first = Queue(leaves["arrival_rate"], prompt.ttft, leaves["prefill_replicas"], leaves["service_time_cv"])
    stay = decode.itl * maximum(output - 1, ZERO)
    second = Queue(leaves["arrival_rate"], stay, leaves["replicas"] * size, leaves["service_time_cv"])
    front = leaves["scheduler"].front_end + prompt.ttft
    front = front + transfer_time(replica, ONE, tokens, leaves["network_bandwidth"])

    def latency(level: Expression) -> Expression:
        each = (1 + level) / 2  # Boole: what both keep to but for half of the rest
        found: Expression = front + first.wait_quantile(each) + second.latency_quantile(each)
        return found

    gap = _gap(leaves, replica, speculation)
    numbers = _by_level(limits, lambda level: front + first.wait_quantile(level), gap, latency)
    workers = leaves["prefill_replicas"] + leaves["replicas"]
    decoding = occupied_share(second.load / leaves["replicas"], size)
    numbers |= {
        "ttft": front + first.mean_wait,
        "itl": decode.itl,
        "latency": front + first.mean_wait + second.mean_wait + stay,
        "filling": NO_TIME,
        "wait": first.mean_wait + second.mean_wait,
        "decode_step": replica.decode(size, tokens + (output + 1) / 2).time,
        "utilization": maximum(first.utilization, second.utilization),
        "busy": (leaves["prefill_replicas"] * minimum(first.utilization, 1) + leaves["replicas"] * decoding) / workers,
        "capacity": request_rate(
            leaves["prefill_replicas"] * prefill_rate(ONE, prompt.ttft),
            leaves["replicas"] * decode_rate(size, decode.itl, output),
        ),
        "devices": replica.devices * workers,
        "memory": maximum(prompt.total_memory_required, decode.total_memory_required) / replica.devices,
        "weights": decode.model_weights_size / replica.devices,
        "kv_cache": decode.kv_cache_size / replica.devices,
    }
    rules = {**replica_rules(replica), **draft_rules(speculation)}
    limit_ttft, limit_latency = None, None
    if limits.ttft is not None:
        limit_ttft = first.waits_beyond(limits.ttft / limits.margin - front)
    if limits.latency is not None:
        rest = limits.latency / limits.margin - front
        waiting = maximum(rest - stay, NO_TIME) / 2
        limit_latency = minimum(first.waits_beyond(waiting) + second.takes_beyond(rest - waiting), ONE)
    stable = first.stable & second.stable
    return _level(leaves, limits, numbers, rules, stable, (limit_ttft, limit_latency))


def _continuous(leaves: Mapping[str, Any], limits: Limits) -> ServiceLevel:
    """Requests join and leave the batch of a replica one by one; `batch_size` are in it at most."""
    replica = replica_of(leaves)
    size, output, cached = leaves["batch_size"], leaves["output_len"], leaves["cached_prefix_len"]
    scheduler = leaves["scheduler"].replacing(tokens_per_pass=leaves["chunk_size"])
    room = replica.hardware.number("memory.capacity") - leaves["memory_reserve"]
    inside = Batching(
        replica, size, maximum(leaves["seq_len"] - output - cached, 1), cached, output, leaves["page_size"], room,
        scheduler, speculation_of(leaves, replica),
    )  # fmt: skip
    pool = Pool(inside, leaves["replicas"], leaves["arrival_rate"], leaves["service_time_cv"])
    numbers = _by_level(limits, pool.ttft, pool.token_gap, pool.latency)
    numbers |= {
        "ttft": pool.mean_ttft,
        "itl": pool.itl,
        "latency": pool.mean_latency,
        "filling": NO_TIME,
        "wait": pool.mean_wait,
        "decode_step": inside.step.time,
        "utilization": pool.utilization,
        "busy": pool.busy,
        "capacity": REQUEST * pool.rate * leaves["replicas"],
        "devices": replica.devices * leaves["replicas"],
        "memory": inside.memory(size) + leaves["memory_reserve"],
        "weights": inside.weights,
        "kv_cache": inside.kv(size, inside.held + inside.page / 2),
    }
    rules = {
        **replica_rules(replica),
        **draft_rules(inside.speculation),
        WHOLE_REQUEST: inside.each(leaves["seq_len"]) <= inside.cache_room,
    }
    limit_ttft, limit_latency = None, None
    if limits.ttft is not None:
        limit_ttft = pool.ttft_beyond(limits.ttft / limits.margin, limits.quantile)
    if limits.latency is not None:
        limit_latency = pool.latency_beyond(limits.latency / limits.margin, limits.quantile)
    return _level(leaves, limits, numbers, rules, pool.stable, (limit_ttft, limit_latency))


def _by_level(limits: Limits, ttft: Any, itl: Any, latency: Any) -> dict[str, Expression]:
    """Return quantiles by name, those that are promised without one."""
    levels = {f"_{name}": expression(level) for name, level in QUANTILES.items()} | {"_at_quantile": limits.quantile}
    found = {"ttft": ttft, "itl": itl, "latency": latency}
    return {f"{name}{suffix}": of(level) for name, of in found.items() for suffix, level in levels.items()}


def _level(
    leaves: Mapping[str, Any], limits: Limits, numbers: dict[str, Expression], rules: Mapping[str, Expression],
    stable: Expression, beyond: tuple[Expression | None, Expression | None],
) -> ServiceLevel:  # fmt: skip
    """Return the numbers and rules that both ways have in common, added."""
    numbers["throughput"] = numbers["capacity"] * leaves["output_len"] * expression("1 token/request")
    shares = [item for item in beyond if item is not None]
    if shares:
        missed = shares[0] if len(shares) == 1 else shares[0] + shares[1]  # Boole: it may miss both
        numbers["goodput"] = REQUEST * leaves["arrival_rate"] * maximum(1 - missed, ZERO)
    capacity = leaves["hardware"].number("memory.capacity")
    known = {CONTEXT_RULE: leaves["seq_len"] <= leaves["model"].context_length, MEMORY: numbers["memory"] <= capacity}
    return ServiceLevel(numbers, {**rules, STABLE: stable, **known})


def selected(truths: list[Expression], values: list[Expression]) -> Expression:
    """Return the value whose truth holds, the last one where none of the others does."""
    found = values[-1]
    for holds, value in zip(reversed(truths[:-1]), reversed(values[:-1]), strict=True):
        found = where(holds, value, found)
    return found
