"""Serving by two pools of workers: one processes prompts, the other generates; every request passes through both.

Sources: Zhong et al. 2024 (DistServe) and Patel et al. 2024 (Splitwise): phases apart, each with its own parallelism
and batch, matched in rate; Little 1961 (a decode worker holds a request for all its steps).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.atoms import ceil, minimum
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol
from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.batching import REQUEST
from mlsysim_opt.physics.parts import FEASIBLE
from mlsysim_opt.physics.serving import TOKEN, ServingModel
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.importers.workers import Worker
from mlsysim_opt.units import NONE, TIME


def request_rate(prefill: Expression, decode: Expression) -> Expression:
    """Return the requests per time of a stream that passes both phases: the slower one sets it."""
    return minimum(prefill, decode)


def tokens(request_rate: Expression, output: Expression) -> Expression:
    """Return the tokens per time of requests that each generate so many."""
    return request_rate * output * (TOKEN / REQUEST)


def prefill_rate(batch: Expression, time: Expression) -> Expression:
    """Return the prompts per time of a worker that processes a batch of them in this time."""
    return batch * REQUEST / time


def decode_rate(batch: Expression, step: Expression, output: Expression) -> Expression:
    """Return the requests per time of a worker that decodes a batch: each stays for all tokens but its first."""
    return batch * REQUEST / (step * (output - 1))


def replicas_for(demand: Expression, rate: Expression) -> Expression:
    """Return the fewest replicas of a rate that serve a demand."""
    return ceil(demand / rate)


def served_workers(
    phase: str,
    values: Mapping[str, Any],
    accelerators: Sequence[Entry],
    tp_sizes: Sequence[int],
    batches: Sequence[int],
) -> tuple[tuple[Worker, ...], list[str]]:
    """Return the workers of a phase that `ServingModel` says are possible, and why others are not.

    Args:
        phase: ``prefill`` or ``decode``. values: inputs of the model that all share, with `input_len` and `output_len`.
        accelerators, tp_sizes, batches: what is tried, all with all.
    """
    given = {name: value for name, value in values.items() if name not in ("input_len", "output_len")}
    points = list(itertools.product(tp_sizes, batches))
    wanted: tuple[str, ...]
    prompt, output = int(values["input_len"]), int(values["output_len"])
    batch, time, length = (Symbol(name, of) for name, of in (("batch", NONE), ("time", TIME), ("output", NONE)))
    if phase == "prefill":
        rate = ScalarProgram([prefill_rate(batch, time)])
        wanted, given = ("ttft", "kv_transfer_time"), {**given, "seq_len": prompt}
    else:  # prompts come from elsewhere: in chunks of a token they take no more memory than a step does
        rate = ScalarProgram([decode_rate(batch, time, length)])
        wanted = ("itl",)
        given = {**given, "seq_len": prompt + output, "output_len": output, "prefill_chunk_tokens": 1}
    found, reasons = [], []
    for accelerator in accelerators:
        given.update(hardware=accelerator, decode_hardware=accelerator)
        try:
            swept = ServingModel().sweep(
                outputs=[*wanted, FEASIBLE], tp_size=list(tp_sizes), batch_size=list(batches), **given
            )
        except MlsysimError as error:
            reasons.append(f"{accelerator.name}: {error.message}")
            continue
        reasons += [f"{accelerator.name}: {reason}" for reason in swept.excluded]
        columns = zip(*(swept.si(name).reshape(-1).tolist() for name in (*wanted, FEASIBLE)), strict=True)
        for (tp, size), (latency, *transfer, feasible) in zip(points, columns, strict=True):
            if feasible == 1:
                (sustained,) = rate.run_named({"batch": size, "time": latency - sum(transfer), "output": output})
                found.append(Worker(f"{accelerator.name} tp{tp} bs{size}", tp, latency, sustained))
    return tuple(found), reasons
