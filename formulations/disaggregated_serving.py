"""How many workers of which design process prompts, and how many generate: two pools, matched in rate.

Workers come from measured tables, or from `ServingModel` for each device, split and batch that is tried. In equal
replicas, one replica (so many prefill workers of one design, so many decode workers of one) is repeated; pooled, each
phase may have any number of workers of any designs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.formulations.parallelism import Counts, Names

from mlsysim_opt.algebra.atoms import lookup, minimum
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.optimize.problem import Lever, Problem
from mlsysim_opt.physics.disaggregation import Pools, replicas_for, served_workers, tokens
from mlsysim_opt.physics.inputs import Given, Input, Number, Switch, Text
from mlsysim_opt.registry.importers.workers import Worker, read_workers
from mlsysim_opt.units import BYTE, REQUEST, TIME, divide

RATE = divide(REQUEST, TIME)
REPLICA = 64
"""Accelerators of a replica at most, where the number of all is not given."""


@dataclass(frozen=True)
class WorkerFile(Input):
    """A table of workers by the name of its file; read when it is checked."""

    fixed = False
    verbatim = True
    phase: str = ""

    def check(self, value: Any) -> tuple[str, tuple[Worker, ...]]:
        if not isinstance(value, str | os.PathLike):
            raise InputError(f"expected the name of a CSV file, got {value!r}", path=self.name)
        try:
            return os.fspath(value), read_workers(value, self.phase)
        except InputError as error:
            error.path = f"{self.name}: {error.path}"
            raise

    def plain(self, value: tuple[str, tuple[Worker, ...]]) -> str:
        return value[0]


INPUTS: tuple[Input, ...] = (
    Number("output_len", "generated tokens of a request", integer=True, low=1),
    Number("devices", "accelerators at hand", default=None, integer=True, low=2, high=2**20),
    Number("request_rate", "requests to be served", default=None, unit="request/s", of=RATE, open_low=True),
    Switch("equal_replicas", "one replica, repeated; else any number of workers of any designs", default=False),
    Number("replica_devices", "accelerators of a replica at most", default=None, integer=True, low=2, high=2**20),
    Number("ttft_factor", "TTFT under load over that of a worker at rest", default=1.0, low=1.0, high=1e6),
    Number("prefill_degradation", "share of the rate of prefill workers that is reached", default=1.0, high=1.0,
           open_low=True),
    Number("decode_degradation", "share of the rate of decode workers that is reached", default=1.0, high=1.0,
           open_low=True),
    WorkerFile("prefill_table", "CSV of measured prefill workers", default=None, phase="prefill"),
    WorkerFile("decode_table", "CSV of measured decode workers", default=None, phase="decode"),
    Given("model", "served model, where there is no table", default=None, kind="model"),
    Names("prefill_device", "accelerators to choose among", default=None, kind="accelerator"),
    Names("decode_device", "accelerators to choose among", default=None, kind="accelerator"),
    Number("input_len", "tokens of a prompt", default=None, integer=True, low=1),
    Text("precision", "number format", default=None),
    Counts("tp_size", "tensor parallelism to choose among", default=(1, 2, 4, 8)),
    Counts("prefill_batch", "prompts of a prefill worker to choose among", default=(1, 2, 4, 8)),
    Counts("decode_batch", "requests of a decode worker to choose among", default=tuple(range(8, 513, 8))),
    Number("network_bandwidth", "between both phases", default="100 GB/s", unit="GB/s", of=divide(BYTE, TIME),
           open_low=True),
)  # fmt: skip
MODELLED = ("model", "input_len", "precision")
ALIASES = {"num_devices": "devices", "isl": "input_len", "osl": "output_len"}
METRIC_ALIASES = {"tpot": "itl", "tokens_per_second": "throughput"}


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem:
    if values["devices"] is None and values["request_rate"] is None:
        raise InputError("say how many accelerators there are, or which rate is asked for", path="devices",
                         hint="give devices, request_rate, or both")  # fmt: skip
    problem = Problem(
        "disaggregated_serving", item="pair of pools", aliases=METRIC_ALIASES, allowed=narrowed,
        default_objective="min_devices" if values["devices"] is None else "max_throughput_per_device",
    )  # fmt: skip
    _equal_replicas(problem, values)
    if unknown := set(narrowed) - {*problem.decisions, *METRIC_ALIASES}:
        problem.fixed(dict.fromkeys(unknown))
    if values["devices"] is not None:
        problem.levers.append(_more_devices(values, narrowed))
    return problem


def _workers(values: Mapping[str, Any], phase: str) -> tuple[Worker, ...]:
    """Return the designs of a phase: those of its table, or those that the model says are possible."""
    table, devices = values[f"{phase}_table"], values[f"{phase}_device"]
    if table is not None and devices is not None:
        raise InputError(f"the {phase} workers come from a table or from a model; give one", path=f"{phase}_device")
    if table is not None:
        return table[1]  # type: ignore[no-any-return]
    missing = [name for name in (*MODELLED, f"{phase}_device") if values[name] is None]
    if missing:
        raise InputError(f"{phase} workers need a {phase}_table, or {', '.join(missing)}", path=missing[-1])
    given = {name: values[name] for name in (*MODELLED, "output_len", "network_bandwidth")}
    given["network_bandwidth"] = f"{given['network_bandwidth']!r} byte/s"
    found, reasons = served_workers(phase, given, devices, values["tp_size"], values[f"{phase}_batch"])
    if not found:
        raise InputError(f"no {phase} worker is possible: {'; '.join(reasons) or 'memory does not fit'}",
                         path=f"{phase}_device", hint="a larger tp_size, a smaller batch, another device")  # fmt: skip
    return found


@dataclass(frozen=True)
class Design:
    """The chosen design of a phase, as numbers by choice."""

    choice: Choice
    devices: Expression
    latency: Expression
    rate: Expression

    @classmethod
    def of(cls, choice: Choice, workers: Iterable[Worker]) -> Design:
        """Return the numbers of the workers whose names are the values of a choice."""
        rows = {worker.name: worker for worker in workers}

        def table(title: str, unit: str) -> Expression:
            numbers = {name: getattr(rows[name], title) for name in choice.values}
            return lookup(choice, numbers, unit=unit, title=f"{choice.name} {title}")

        return cls(choice, table("devices", "dimensionless"), table("latency", "s"), table("rate", "request/s"))


def _symbols(problem: Problem, values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Expression]:
    """Return leaves for given numbers, and bind them."""
    inputs = {item.name: item for item in INPUTS}
    problem.values.update({name: float(values[name]) for name in names})
    return {name: inputs[name].leaf(values[name]) for name in names}


def _equal_replicas(problem: Problem, values: Mapping[str, Any]) -> None:
    given = [name for name in ("output_len", "devices", "request_rate", "ttft_factor", "prefill_degradation",
                               "decode_degradation") if values[name] is not None]  # fmt: skip
    leaf = _symbols(problem, values, given)
    workers = {phase: _workers(values, phase) for phase in ("prefill", "decode")}
    most = int(values["replica_devices"] or values["devices"] or REPLICA)
    limited = None
    if values["replica_devices"] is None and values["devices"] is None:
        limited = f"replicas of more than {REPLICA} accelerators were not tried; give replica_devices"
    first, second = (
        Design.of(problem.choose(phase, [item.name for item in rows], about=f"design of a {phase} worker"), rows)
        for phase, rows in workers.items()
    )
    counts = [
        problem.choose(f"{phase}_workers", range(1, most), about=f"{phase} workers of a replica", limited=limited)
        for phase in workers
    ]
    used = [count * design.devices for count, design in zip(counts, (first, second), strict=True)]
    one = Pools(
        counts[0] * first.rate * leaf["prefill_degradation"], counts[1] * second.rate * leaf["decode_degradation"],
        leaf["output_len"],
    )  # fmt: skip
    for phase, part in zip(workers, used, strict=True):
        problem.require(f"the {phase} workers leave room for the others", part < most, structural=True)
    problem.require(f"a replica has at most {most} accelerators", used[0] + used[1] <= most, structural=True)
    if "devices" in leaf:
        replicas: Expression = problem.choose("replicas", range(1, values["devices"] // 2 + 1), about="equal replicas")
        problem.require("the replicas fit the devices", replicas * (used[0] + used[1]) <= leaf["devices"],
                        structural=True)  # fmt: skip
    else:
        replicas = replicas_for(leaf["request_rate"], one.request_rate)
        problem.measure("replicas", replicas, about="equal replicas, as many as the rate needs")
    rate = replicas * one.request_rate
    if "request_rate" in leaf:
        problem.require("the request rate is served", rate >= leaf["request_rate"])
    devices = replicas * (used[0] + used[1])
    throughput = tokens(rate, leaf["output_len"])
    ttft, itl = first.latency * leaf["ttft_factor"], second.latency
    problem.measure("ttft", ttft, unit="ms", about="time to first token")
    problem.measure("itl", itl, unit="ms", about="time between tokens")
    problem.measure("request_latency", ttft + (leaf["output_len"] - 1) * itl, unit="s", about="of a whole request")
    problem.measure("request_rate", rate, unit="request/s", about="requests that both phases sustain")
    problem.measure("throughput", throughput, unit="token/s", about="generated tokens")
    problem.measure("throughput_per_device", throughput / leaf.get("devices", devices), unit="token/s",
                    about="by all accelerators at hand, or by those used where their number is not given")  # fmt: skip
    problem.measure("devices", devices, about="accelerators that are used")
    problem.measure("prefill_devices", replicas * used[0], about="accelerators of prefill workers", part_of="devices")
    problem.measure("decode_devices", replicas * used[1], about="accelerators of decode workers", part_of="devices")
    problem.measure("prefill_rate", replicas * one.prefill, unit="request/s", about="that prefill workers sustain")
    problem.measure("decode_rate", replicas * one.decode, unit="request/s", about="that decode workers sustain")
    problem.measure("balance", minimum(one.prefill / one.decode, one.decode / one.prefill),
                    about="rate of the slower phase over that of the faster one")  # fmt: skip


def _more_devices(values: Mapping[str, Any], narrowed: Mapping[str, Any]) -> Lever:
    now = int(values["devices"])
    return Lever(
        name="devices",
        now=now,
        candidates=lambda: sorted({*range(now + 1, now + 9), *(now * k // 4 for k in range(5, 17))}),
        rebuild=lambda count: _build({**values, "devices": count}, narrowed),
        describe=lambda count: f"{count} accelerators",
    )


disaggregated_serving = Formulation(
    name="disaggregated_serving",
    about="prefill and decode workers apart: which designs, how many of each",
    inputs=INPUTS,
    build=_build,
    aliases=ALIASES,
    example={
        "model": "Llama3_70B", "precision": "fp8", "input_len": 4000, "output_len": 1000, "prefill_device": "H200",
        "decode_device": "H200", "decode_batch": [32, 64, 128], "devices": 16, "equal_replicas": True,
    },
)  # fmt: skip
