"""Continuous batching: requests come and go, keys and values live in pages, prompts slow the decoding of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import exp, floor, maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.forward import NO_TIME, Pass, Replica
from mlsysim_opt.physics.inputs import Degree, Given, Input, Number
from mlsysim_opt.physics.serving import (
    CONTEXT_RULE,
    REPLICA_ALIASES,
    REPLICA_INPUTS,
    TOKEN,
    draft_rules,
    limit,
    replica_bindings,
    replica_of,
    replica_rules,
    speculation_of,
)
from mlsysim_opt.physics.speculation import DRAFT_INPUTS, Speculation
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View

REQUEST = expression("1 request")


@dataclass(frozen=True)
class Batching:
    """A replica in a steady state: as soon as a request is done, the next one that waits takes its place.

    Between two completions of one place lies a cycle: the prompts of all requests in the batch are processed once, and
    the request's own output is decoded. The replica is never idle, and decoding rests while prompts are processed.

    Attributes:
        replica: the replica. clients: requests at hand, in the batch or waiting. prompt: tokens of a prompt that are
            not cached. cached: tokens of it that are. output: generated tokens. page: tokens of a page of the cache.
        room: memory of one rank for weights, work space and cache. scheduler: how requests are admitted.
        speculation: a draft model that proposes tokens, if there is one.
    """

    replica: Replica
    clients: Expression
    prompt: Expression
    cached: Expression
    output: Expression
    page: Expression
    room: Expression
    scheduler: View
    speculation: Speculation | None = None

    # memory -----------------------------------------------------------------------------------------------------------
    @cached_property
    def held(self) -> Expression:
        """Tokens that a request in the batch keeps, on average over its output."""
        return self.cached + self.prompt + self.output / 2

    @cached_property
    def weights(self) -> Expression:
        """Bytes of the weights on one rank, those of the draft model included."""
        own = self.replica.weights
        return own if self.speculation is None else own + self.speculation.draft.weights

    def kv(self, requests: Expression, tokens: Expression) -> Expression:
        """Return the bytes of keys and values on one rank, those of the draft model included."""
        own = self.replica.kv(requests, tokens)
        return own if self.speculation is None else own + self.speculation.draft.kv(requests, tokens)

    @cached_property
    def workspace(self) -> Expression:
        """Bytes in which the prompts of one pass are processed."""
        return self.replica.workspace(ONE, maximum(minimum(self.prompt, self.scheduler.tokens_per_pass), 1))

    @cached_property
    def cache_room(self) -> Expression:
        """Bytes of one rank that are left for keys and values."""
        return maximum(self.room - self.weights - self.workspace, expression("0 byte"))

    @cached_property
    def paged_capacity(self) -> Expression:
        """Requests whose keys and values fit in pages: the last page of each is half empty on average."""
        return self.replica.dp * floor(self.cache_room / self.each(self.held + self.page / 2))

    def each(self, tokens: Expression) -> Expression:
        """Return the bytes of one rank that a request of so many tokens takes: its cache, and its part of a step."""
        checked = ONE if self.speculation is None else self.speculation.proposed + 1
        return self.kv(ONE, tokens) + self.replica.workspace(ONE, checked)

    def memory(self, requests: Expression) -> Expression:
        """Return the bytes that so many requests in the batch take of the fullest rank, without a reserve."""
        each = self.each(self.held + self.page / 2)
        return self.weights + self.replica.on_a_rank(requests) * each + self.workspace

    @cached_property
    def static_capacity(self) -> Expression:
        """Requests that fit when each is given room for its whole length at the start."""
        return self.replica.dp * floor(self.cache_room / self.each(self.cached + self.prompt + self.output))

    @cached_property
    def active(self) -> Expression:
        """Requests in the batch."""
        return minimum(self.clients, maximum(self.paged_capacity, 1))

    # time -------------------------------------------------------------------------------------------------------------
    @cached_property
    def prefill(self) -> Pass:
        """One of the passes that process a prompt, on each attention group one."""
        return self.replica.prefill(self.replica.dp, self.prompt, self.cached, self.prefill_passes)

    @cached_property
    def prefill_passes(self) -> Expression:
        """Passes of a prompt: longer ones are cut to what a scheduler takes."""
        return maximum(self.prompt / self.scheduler.tokens_per_pass, 1)

    @cached_property
    def prompt_time(self) -> Expression:
        """Time of the passes of one prompt, through the draft model too."""
        each = self.prefill.time
        if self.speculation is not None:
            draft = self.speculation.draft
            each = each + draft.prefill(draft.dp, self.prompt, self.cached, self.prefill_passes).time
        return where(self.prompt > 0, each * self.prefill_passes, NO_TIME)

    @cached_property
    def at_once(self) -> Expression:
        """Prompts that a replica works on at the same time: on each attention group, and in each pipeline stage."""
        return self.replica.dp * self.replica.pp

    @cached_property
    def prompt_cost(self) -> Expression:
        """Time that one prompt takes from all others."""
        return self.prompt_time / self.at_once

    @cached_property
    def mixed_passes(self) -> Expression:
        """Passes of a cycle that process the prompt of another request and also give the one at hand a token."""
        return where(self.prompt > 0, minimum(self.other_passes, (self.output - 1) / self.step_tokens), ZERO)

    @cached_property
    def other_passes(self) -> Expression:
        """Passes of a cycle that process the prompts of other requests after one's own."""
        return (self.active - 1 - self.companions) * self.prefill_passes

    @cached_property
    def middle(self) -> Expression:
        """Tokens that a request in the middle of its output attends to."""
        return self.cached + self.prompt + (self.output + 1) / 2

    @cached_property
    def step(self) -> Pass:
        """The decode step of the batch in the middle of the output: one token each, or the check of drafted ones."""
        if self.speculation is not None:
            return self.speculation.check(self.active, self.middle)
        return self.replica.decode(self.active, self.middle)

    @cached_property
    def step_tokens(self) -> Expression:
        """Tokens that a step gives each request."""
        return ONE if self.speculation is None else self.speculation.tokens

    @cached_property
    def drafting(self) -> Expression:
        """Time of a step in which the draft model proposes tokens."""
        return NO_TIME if self.speculation is None else self.speculation.drafting(self.active, self.middle)

    @cached_property
    def round_time(self) -> Expression:
        """Time of an undisturbed step, with that in which the draft model proposes its tokens."""
        return self.step.time if self.speculation is None else self.step.time + self.drafting

    @cached_property
    def token_time(self) -> Expression:
        """Time of an undisturbed step for each of its tokens."""
        return self.round_time if self.speculation is None else self.round_time / self.step_tokens

    @cached_property
    def cycle(self) -> Expression:
        """Time from one completion of a place in the batch to the next: a request's own prompt and those before it, its
        decode steps, and the prompts of all others in between."""
        others = (self.active - 1 - self.companions) * self.prompt_cost - self.mixed_passes * self.shared / self.at_once
        return self.first_token + (self.output - 1) * self.token_time + others

    @cached_property
    def shared(self) -> Expression:
        """Time that a mixed pass saves over a prompt and a step apart: one launch, and weights that are read once.

        The products of a prompt leave the memory idle, so of those of the step only the work remains.
        """
        step = self.step
        return step.products - step.products_compute + step.overhead

    @cached_property
    def companions(self) -> Expression:
        """Prompts that are processed before the end of that of an admitted request, on average; see `Scheduler`."""
        s = self.scheduler
        return minimum(self.active - 1, s.companions) * exp(-self.output / s.coherence)

    @cached_property
    def first_token(self) -> Expression:
        """Time from admission to the first token: that of the prompts admitted together."""
        return self.prompt_time + self.companions * self.prompt_cost

    @cached_property
    def queueing(self) -> Expression:
        """Time a request waits for a place in the batch (Little 1961: all others before it)."""
        return (self.clients - self.active) / self.active * self.cycle

    @cached_property
    def between_tokens(self) -> Expression:
        """Mean time between two tokens of a request: what is left of the cycle after its first token."""
        rest = self.cycle - self.first_token
        return where(self.output > 1, rest / maximum(self.output - 1, 1), self.token_time)

    @cached_property
    def longest_pass(self) -> Expression:
        """Time of the longest pass of a prompt: its last one."""
        chunk = maximum(minimum(self.prompt, self.scheduler.tokens_per_pass), 1)
        return self.replica.last_chunk(self.replica.dp, chunk, self.cached + maximum(self.prompt, 1)).time


class ContinuousBatchingResult(Result):
    """Latencies, throughput and cache of a replica that serves a steady stream of requests."""

    units: ClassVar[dict[str, str]] = {
        "ttft": "ms", "itl": "ms", "decode_step": "ms", "prefill_time": "ms", "queueing_time": "ms",
        "request_latency": "s", "throughput": "token/s", "static_throughput": "token/s", "request_rate": "request/s",
        "paged_kv_cache_size": "GB", "static_kv_cache_size": "GB", "total_memory_required": "GB",
        "model_weights_size": "GB", "itl_compute": "ms", "itl_bandwidth": "ms", "itl_communication": "ms",
        "itl_overhead": "ms", "itl_interference": "ms",
    }  # fmt: skip
    ttft: Any
    itl: Any
    decode_step: Any
    prefill_time: Any
    queueing_time: Any
    request_latency: Any
    throughput: Any
    request_rate: Any
    static_throughput: Any
    speedup_vs_static: Any
    max_active_requests: Any
    static_max_active_requests: Any
    active_requests: Any
    paged_internal_fragmentation: Any
    static_internal_fragmentation: Any
    paged_kv_cache_size: Any
    static_kv_cache_size: Any
    model_weights_size: Any
    total_memory_required: Any
    prefill_share: Any
    decode_mfu: Any
    decode_bandwidth_utilization: Any
    bottleneck: Any
    itl_compute: Any
    itl_bandwidth: Any
    itl_communication: Any
    itl_overhead: Any
    itl_interference: Any

    @property
    def throughput_tokens_per_sec(self) -> float:
        """Generated tokens per second, as a plain number."""
        return float(self.throughput.to("token/s").magnitude)

    @property
    def static_throughput_tokens_per_sec(self) -> float:
        """Generated tokens per second of a static reservation of the cache, as a plain number."""
        return float(self.static_throughput.to("token/s").magnitude)


class ContinuousBatchingModel(Model):
    """What throughput and latency has a replica with continuous batching and a paged KV cache?

    `max_batch_size` requests are at hand all the time (a closed loop of as many clients); those whose keys and values
    fit are in the batch, the others wait. Requests are of one length: `seq_len` tokens, of which the last `output_len`
    are generated; without `output_len` all but one are, and prompts cost nothing. `itl` is the mean time between two
    tokens of a request, the prompts of others that come between them included; `decode_step` is that of an undisturbed
    step. `ttft` counts from the arrival. With `requests_per_client` the mean over a run that begins with all clients at
    once is taken: the first request of each waits for half of all prompts. A `draft_model` works as in `ServingModel`.

    Sources: Kwon et al. 2023 (pages); Yu et al. 2022 (iteration-level scheduling); Agrawal et al. 2024 (prompts stall
    decoding); Little 1961; see `forward`.
    """

    wall = 5
    inputs: ClassVar[tuple[Input, ...]] = (
        *REPLICA_INPUTS[:2],
        Number("seq_len", "tokens of a request, prompt and output", integer=True, low=1),
        Number("max_batch_size", "requests at hand", default=1, integer=True, low=1),
        Number("page_size", "tokens of a page of the cache", default=16, integer=True, low=1),
        *REPLICA_INPUTS[2:4],
        Number("output_len", "generated tokens, of seq_len", default=None, integer=True, low=1),
        Degree("cached_prefix_len", "tokens of the prompt found in the cache", default=0, integer=True, neutral=0),
        Given("scheduler", "how requests are admitted", default="continuous", kind="scheduler"),
        Number("requests_per_client", "of a run that starts with all clients at once", default=None, low=1.0),
        *REPLICA_INPUTS[4:],
        *DRAFT_INPUTS,
    )
    aliases: ClassVar[dict[str, str]] = {
        **REPLICA_ALIASES, "max_seq_len": "seq_len", "max_batch": "max_batch_size", "concurrency": "max_batch_size",
        "batch_size": "max_batch_size",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_8B", "hardware": "H100", "seq_len": 2048, "max_batch_size": 64, "output_len": 256,
    }  # fmt: skip

    def bindings(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return replica_bindings(values)

    def equations(self, **leaves: Any) -> ContinuousBatchingResult:
        replica = replica_of(leaves)
        scheduler: View = leaves["scheduler"]
        total, cached = leaves["seq_len"], leaves["cached_prefix_len"]
        output = maximum(total - 1, 1) if leaves["output_len"] is None else leaves["output_len"]
        prompt = ZERO if leaves["output_len"] is None else maximum(total - output - cached, 1)
        b = Batching(
            replica, leaves["max_batch_size"], prompt, cached, output, leaves["page_size"],
            replica.hardware.number("memory.capacity") - leaves["memory_reserve"], scheduler,
            speculation_of(leaves, replica),
        )  # fmt: skip
        start = leaves["requests_per_client"]
        burst = NO_TIME if start is None else (b.active - 1) / 2 * b.prompt_cost / start
        ttft = b.queueing + scheduler.front_end + b.first_token + burst
        static = minimum(b.clients, maximum(b.static_capacity, 1))
        alone = replace(b, clients=static)
        throughput = b.active * output * TOKEN / b.cycle
        slower = static * output * TOKEN / alone.cycle
        held = b.kv(b.active, b.held + b.page / 2)
        step = b.step
        rules = {**replica_rules(replica), **draft_rules(b.speculation)}
        if leaves["output_len"] is not None:
            rules["output_len leaves a prompt"] = output < total
            rules["the cached prefix is part of the prompt"] = cached <= total - output
        return ContinuousBatchingResult(
            ttft=ttft,
            itl=b.between_tokens,
            decode_step=step.time,
            prefill_time=b.prompt_time,
            queueing_time=b.queueing,
            request_latency=ttft + (output - 1) * b.between_tokens,
            throughput=throughput,
            request_rate=b.active * REQUEST / b.cycle,
            static_throughput=slower,
            speedup_vs_static=throughput / slower,
            max_active_requests=b.paged_capacity,
            static_max_active_requests=b.static_capacity,
            active_requests=b.active,
            paged_internal_fragmentation=(b.page / 2) / (b.held + b.page / 2),
            static_internal_fragmentation=1 - b.held / (cached + prompt + output),
            paged_kv_cache_size=held * replica.devices,
            static_kv_cache_size=b.kv(static, cached + prompt + output) * replica.devices,
            model_weights_size=b.weights * replica.devices,
            total_memory_required=(b.memory(b.active) + leaves["memory_reserve"]) * replica.devices,
            prefill_share=b.active * b.prompt_cost / b.cycle,
            decode_mfu=step.mfu,
            decode_bandwidth_utilization=step.bandwidth_utilization,
            bottleneck=limit(step),
            itl_compute=step.compute / b.step_tokens,
            itl_bandwidth=step.bandwidth / b.step_tokens,
            itl_communication=step.communication / b.step_tokens,
            itl_overhead=(step.overhead + b.drafting) / b.step_tokens,
            itl_interference=b.between_tokens - b.token_time,
            constraints={
                **rules,
                CONTEXT_RULE: total <= replica.model.context_length,
                "memory fits one request": b.static_capacity >= 1,
            },
        )
