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

from mlsysim_opt.formulations.givens import Counts, Names

from mlsysim_opt.algebra.atoms import lookup, minimum
from mlsysim_opt.algebra.expression import Choice, Expression, expression
from mlsysim_opt.errors import FileError, InputError, UnknownNameError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.formulation import Formulation, defaults
from mlsysim_opt.optimize.problem import Lever, Problem, among
from mlsysim_opt.physics.disaggregation import replicas_for, request_rate, served_workers, tokens
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
        except (InputError, FileError) as error:
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
PHASES = ("prefill", "decode")
MODELLED = ("model", "input_len", "precision")
NUMBERS = ("output_len", "devices", "request_rate", "ttft_factor", "prefill_degradation", "decode_degradation")
TRIED = ("tp_size", "prefill_batch", "decode_batch", "network_bandwidth")
"""What decides only where workers come from the model."""
SERVED = "the request rate is served"
PER_DEVICE = "by all accelerators at hand, or by those used where their number is not given"
ALIASES = {"num_devices": "devices", "isl": "input_len", "osl": "output_len"}
METRIC_ALIASES = {"tpot": "itl"}


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem | CoupledProblem:
    if values["devices"] is None and values["request_rate"] is None:
        raise InputError("say how many accelerators there are, or which rate is asked for", path="devices",
                         hint="give devices, request_rate, or both")  # fmt: skip
    at_hand = values["devices"]
    sized = not values["equal_replicas"] and values["request_rate"] is not None
    if sized:  # pools that serve a given rate are as large as that takes
        values = {**values, "devices": None}
    build = _equal_replicas if values["equal_replicas"] else _pooled
    problem = build(values, narrowed)
    if sized and at_hand is not None:
        problem.assumptions["devices"] = (
            f"as many as the rate takes; {at_hand} at hand are no limit, the constraint 'devices <= {at_hand}' is"
        )
    for name in narrowed:
        if name not in problem.decisions:
            raise UnknownNameError("decision of disaggregated_serving", name, list(problem.decisions))
    tried = INPUTS if values["model"] is not None else [item for item in INPUTS if item.name not in TRIED]
    problem.assumptions.update(defaults(tried, values))
    return problem


def _wanted(values: Mapping[str, Any]) -> str:
    """Return the objective where none is given."""
    return "min_devices" if values["devices"] is None else "max_throughput_per_device"


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


def _leaves(problem: Problem | CoupledProblem, values: Mapping[str, Any]) -> dict[str, Expression]:
    """Return leaves for the given numbers that stand in the equations, and bind them."""
    given = [item for item in INPUTS if item.name in NUMBERS and values[item.name] is not None]
    problem.values.update({item.name: float(values[item.name]) for item in given})
    return {item.name: item.leaf(values[item.name]) for item in given}


def _measure_latency(problem: Problem | CoupledProblem, leaf: Mapping[str, Expression], pair: Sequence[Design]) -> None:
    problem.measure("ttft", pair[0].latency * leaf["ttft_factor"], unit="ms", about="time to first token")
    problem.measure("itl", pair[1].latency, unit="ms", about="time between tokens")


def _equal_replicas(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem:
    problem = Problem("disaggregated_serving", item="set of replicas", default_objective=_wanted(values),
                      aliases=dict(METRIC_ALIASES), allowed=narrowed)  # fmt: skip
    leaf = _leaves(problem, values)
    most = int(values["replica_devices"] or values["devices"] or REPLICA)
    limited = None
    if values["replica_devices"] is None and values["devices"] is None:
        limited = f"replicas of more than {REPLICA} accelerators were not tried; give replica_devices"
    pair, counts = [], []
    for phase in PHASES:
        rows = _workers(values, phase)
        choice = problem.choose(phase, [item.name for item in rows], about=f"design of a {phase} worker")
        pair.append(Design.of(choice, rows))
    for phase in PHASES:
        about = f"{phase} workers of a replica"
        counts.append(problem.choose(f"{phase}_workers", range(1, most), about=about, limited=limited))
    used = [count * design.devices for count, design in zip(counts, pair, strict=True)]
    rates = [count * design.rate * leaf[f"{phase}_degradation"]
             for phase, count, design in zip(PHASES, counts, pair, strict=True)]  # fmt: skip
    one, size = request_rate(*rates), used[0] + used[1]
    for phase, part in zip(PHASES, used, strict=True):  # implied by the next one, and quickly joined
        problem.require(f"the {phase} workers leave room for the others", part < most, structural=True)
    problem.require(f"a replica has at most {most} accelerators", size <= most, structural=True)
    if "devices" in leaf:
        replicas: Expression = problem.choose("replicas", range(1, values["devices"] // 2 + 1), about="equal replicas")
        problem.require("the replicas fit the devices", replicas * size <= leaf["devices"], structural=True)
    else:
        replicas = replicas_for(leaf["request_rate"], one)
        problem.measure("replicas", replicas, about="equal replicas, as many as the rate needs")
    rate, devices = replicas * one, replicas * size
    if "request_rate" in leaf:
        problem.require(SERVED, rate >= leaf["request_rate"])
    _measure_latency(problem, leaf, pair)
    latency = problem.metric("ttft") + (leaf["output_len"] - 1) * problem.metric("itl")
    throughput = tokens(rate, leaf["output_len"])
    problem.measure("request_latency", latency, unit="s", about="of a whole request")
    problem.measure("request_rate", rate, unit="request/s", about="requests that both phases sustain")
    problem.measure("throughput", throughput, unit="token/s", about="generated tokens")
    shared = throughput / leaf.get("devices", devices)
    problem.measure("throughput_per_device", shared, unit="token/s", about=PER_DEVICE)
    problem.measure("devices", devices, about="accelerators that are used")
    for phase, part, sustained in zip(PHASES, used, rates, strict=True):
        problem.measure(f"{phase}_devices", replicas * part, about=f"of {phase} workers", part_of="devices")
        problem.measure(f"{phase}_rate", replicas * sustained, unit="request/s", about=f"that {phase} workers sustain")
    problem.measure("balance", minimum(rates[0] / rates[1], rates[1] / rates[0]),
                    about="rate of the slower phase over that of the faster one")  # fmt: skip
    if values["devices"] is not None:
        problem.levers.append(_more_devices(values, narrowed))
    return problem


def _pooled(values: Mapping[str, Any], narrowed: Mapping[str, Any]) -> CoupledProblem:
    problem = CoupledProblem("disaggregated_serving", item="pair of pools", default_objective=_wanted(values),
                             aliases=dict(METRIC_ALIASES))  # fmt: skip
    leaf = _leaves(problem, values)
    rate = problem.amounts("served", (), unit="request/s", about="requests that are served").total()
    used, pair = [], []
    for phase in PHASES:
        rows = _workers(values, phase)
        names = [item.name for item in rows]
        if phase in narrowed:
            names = among(phase, narrowed[phase], names)
        design = Design.of(problem.choose(phase, names, about=f"design of {phase} workers"), rows)
        one = design.rate * leaf[f"{phase}_degradation"]
        workers = problem.amounts(f"{phase}_workers", [design.choice], whole=True, about=f"{phase} workers of a design")
        problem.require(f"there is a {phase} worker", workers >= 1, structural=True)
        sustained = workers * one
        problem.require(f"the {phase} workers keep up", rate - sustained <= 0, structural=True)
        problem.measure(f"{phase}_rate", sustained, unit="request/s", about=f"that {phase} workers sustain")
        problem.measure(f"{phase}_devices", workers * design.devices, about=f"of {phase} workers", part_of="devices")
        used.append(workers * design.devices)
        pair.append(design)
    devices = used[0] + used[1]
    if "devices" in leaf:
        problem.require("the workers fit the devices", devices <= leaf["devices"])
    if "request_rate" in leaf:
        problem.require(SERVED, rate.equals(leaf["request_rate"]), structural=True)
    _measure_latency(problem, leaf, pair)
    throughput = rate * tokens(expression(1), leaf["output_len"])
    problem.measure("request_rate", rate, unit="request/s", about="requests that are served")
    problem.measure("throughput", throughput, unit="token/s", about="generated tokens")
    problem.measure("devices", devices, about="accelerators that are used")
    if "devices" in leaf:
        problem.measure("throughput_per_device", throughput / leaf["devices"], unit="token/s", about=PER_DEVICE)
    else:
        shared = problem.metric("throughput") / problem.metric("devices")
        problem.measure("throughput_per_device", shared, unit="token/s", about=PER_DEVICE)
    return problem


def _more_devices(values: Mapping[str, Any], narrowed: Mapping[str, Any]) -> Lever:
    now = int(values["devices"])
    return Lever(
        name="devices",
        now=now,
        candidates=lambda: sorted({*range(now + 1, now + 9), *(now * k // 4 for k in range(5, 17))}),
        rebuild=lambda count: _equal_replicas({**values, "devices": count}, narrowed),
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
