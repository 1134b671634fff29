"""Inference-time compute: what it takes to let a model think before it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.physics.base import Model, Result, known
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.physics.serving import (
    CONTEXT_RULE,
    REPLICA_ALIASES,
    REPLICA_INPUTS,
    TOKEN,
    limit,
    replica_bindings,
    replica_of,
    replica_rules,
)
from mlsysim_opt.physics.transformer import ONE, ZERO


class InferenceScalingResult(Result):
    """Time, tokens, memory and energy of one question."""

    units: ClassVar[dict[str, str]] = {
        "total_reasoning_time": "s", "ttft": "ms", "itl": "ms", "first_itl": "ms", "last_itl": "ms",
        "time_per_step": "ms", "tokens_generated": "token", "kv_cache_size": "GB", "total_memory_required": "GB",
        "energy_per_query": "J",
    }  # fmt: skip
    total_reasoning_time: Any
    ttft: Any
    itl: Any
    first_itl: Any
    last_itl: Any
    time_per_step: Any
    tokens_generated: Any
    kv_cache_size: Any
    total_memory_required: Any
    decode_mfu: Any
    bottleneck: Any
    energy_per_query: Any


class InferenceScalingModel(Model):
    """What do hidden reasoning steps cost: how long until the answer, how much memory and energy?

    A prompt of `context_length` tokens is processed once; then `reasoning_steps` steps of `tokens_per_step` tokens are
    generated, in `num_samples` parallel attempts (best of n, majority vote) that are one decode batch. Keys and values
    grow with every generated token: `itl` is the mean, and the cache of the end must fit. More attempts raise the work
    of a step, not its reading of weights; only they move decoding towards the compute ceiling (`bottleneck`).

    Sources: Wei et al. 2022 (chains of thought); Snell et al. 2024, Brown et al. 2024 (more samples); see `forward`.
    """

    wall = 12
    inputs = (
        *REPLICA_INPUTS[:2],
        Number("reasoning_steps", "hidden steps", default=8, integer=True, low=1),
        Number("context_length", "tokens of the prompt", default=2048, integer=True, low=1),
        *REPLICA_INPUTS[2:4],
        Number("tokens_per_step", "generated tokens of a step", default=50, integer=True, low=1),
        Number("num_samples", "attempts in parallel", default=1, integer=True, low=1),
        *REPLICA_INPUTS[4:],
    )
    aliases = REPLICA_ALIASES
    example: ClassVar[dict[str, Any]] = {"model": "Llama3_8B", "hardware": "H100", "reasoning_steps": 128}

    def bindings(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return replica_bindings(values)

    def equations(self, **leaves: Any) -> InferenceScalingResult:
        replica = replica_of(leaves)
        prompt, samples = leaves["context_length"], leaves["num_samples"]
        steps, each = leaves["reasoning_steps"], leaves["tokens_per_step"]
        tokens = steps * each
        prefill = replica.prefill(ONE, prompt, ZERO)
        decode = replica.decode(samples, prompt + (tokens + 1) / 2)
        total = prefill.time + (tokens - 1) * decode.time
        kv = replica.kv(samples, prompt + tokens)
        work = replica.workspace(ONE, prompt) + replica.workspace(samples, ONE)
        memory = replica.weights + kv + work + leaves["memory_reserve"]
        return InferenceScalingResult(
            total_reasoning_time=total,
            ttft=prefill.time,
            itl=decode.time,
            first_itl=replica.decode(samples, prompt + 1).time,
            last_itl=replica.decode(samples, prompt + tokens).time,
            time_per_step=each * decode.time,
            tokens_generated=tokens * samples * TOKEN,
            kv_cache_size=kv * replica.devices,
            total_memory_required=memory * replica.devices,
            decode_mfu=decode.mfu,
            bottleneck=limit(decode),
            energy_per_query=known(lambda: prefill.power * prefill.time + decode.power * (tokens - 1) * decode.time),
            constraints={
                **replica_rules(replica),
                CONTEXT_RULE: prompt + tokens <= replica.model.context_length,
                "memory fits": memory <= replica.hardware.number("memory.capacity"),
            },
        )
