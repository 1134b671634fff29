"""Kinds of replicas that a fleet may be made of: those a model says are possible, or those that were measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from mlsysim_opt.formulations.narrowed import Narrowed, allow

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, expression
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.errors import InputError, MissingFieldError, UnsupportedPrecisionError
from mlsysim_opt.optimize.coupled.columns import over_product
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.physics.capacity import ServingCapacityModel
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.physics.replicas import ServedKind, replica_power, served_kind
from mlsysim_opt.physics.serving import REPLICA_INPUTS, home_of, replica_bindings
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import BYTE

PAGE = next(item.default for item in ServingCapacityModel.inputs if item.name == "page_size")
Times = Expression | InputError


@dataclass(frozen=True)
class ReplicaKinds:
    """What a replica can be.

    Attributes:
        axes: the choices that say what a replica is. machine: the one that says what it runs on.
        accelerators: the accelerator of each value of `machine`.
        utilization: load over full rate at most, a choice. rate: requests per time at full load.
        times: ``ttft``, ``itl`` and ``latency`` without the network; an error where they are not known.
        devices: accelerators of a replica. power: its power, and output_len: generated tokens of a request, made when
            they are asked for.
    """

    axes: tuple[Choice, ...]
    machine: Choice
    accelerators: tuple[str, ...]
    utilization: Expression
    rate: Expression
    times: dict[str, Times]
    devices: Expression
    power: Callable[[], Expression]
    output_len: Callable[[], Expression]

    def on(self, problem: CoupledProblem, accelerator: str) -> Expression:
        """Return 1 for replicas on an accelerator and 0 for others."""
        return problem.table(
            f"on {accelerator}", (self.machine,), np.array([float(item == accelerator) for item in self.accelerators])
        )


def _lengths(problem: CoupledProblem, kinds: Mapping[str, Any], request: Choice, name: str) -> Expression:
    """Return the tokens of each kind of request.

    Raises:
        MissingFieldError: one states none.
    """
    found = [getattr(kinds[label], name) for label in request.values]
    for label, value in zip(request.values, found, strict=True):
        if value is None:
            raise MissingFieldError(f"traffic {label}", name, needed_for="what replicas do")
    return problem.table(name, (request,), np.array(found, dtype=float))


# from the model -------------------------------------------------------------------------------------------------------
def modelled_kinds(
    problem: CoupledProblem, decide: Narrowed, values: Mapping[str, Any], kinds: Mapping[str, Any], request: Choice,
    accelerators: Sequence[str],
) -> ReplicaKinds:  # fmt: skip
    """Return the replicas that the physics of serving describes, by accelerator, format, split and load."""
    for name in ("model", "precision"):
        if values[name] is None:
            raise InputError("not given, and nothing was measured", path=name, hint=f"give {name}, or measured")
    machine = decide("accelerator", list(accelerators), "accelerator of a replica")
    sizes = {
        name: decide(name, list(values[name]), about)
        for name, about in (("tp_size", "tensor parallelism"), ("pp_size", "pipeline parallelism"),
                            ("concurrency", "requests in a replica at most"), ("utilization", "load of a replica"))
    }  # fmt: skip
    problem.values.update(entry_bindings("model", values["model"]))
    problem.values.update(entry_bindings("scheduler", values["scheduler"]))
    problem.values["memory_reserve"] = float(values["memory_reserve"])
    output = _lengths(problem, kinds, request, "output_len")
    prompt = _lengths(problem, kinds, request, "input_len")
    leaves = replica_leaves(values["model"], values["scheduler"], sizes, prompt, output)
    entries = {name: Given("accelerator", kind="accelerator").check(name) for name in machine.values}
    level = expression(float(values["quantile"]))
    found: dict[tuple[str, str], ServedKind] = {}
    reasons: list[InputError] = []
    for name, form in itertools.product(machine.values, values["precision"]):
        try:
            found[name, form] = settled_kind(problem.values, leaves, entries[name], form, sizes["utilization"], level)
        except (UnsupportedPrecisionError, MissingFieldError) as error:
            reasons.append(error)
    if not found:
        raise reasons[0]
    precision = decide("precision", [name for name in values["precision"] if name in {form for _, form in found}],
                       "number format")  # fmt: skip
    found = {place: item for place, item in found.items() if place[1] in precision.values}
    if not found:
        raise reasons[0]
    truths = {place: machine.is_value(place[0]) & precision.is_value(place[1]) for place in found}
    if len(found) < len(machine.values) * len(precision.values):
        allow(problem, "the accelerator has a rate in the format", reduce(Expression.__or__, truths.values()))
        problem.assumptions["left out"] = "; ".join(error.message for error in reasons)

    def one(read: Callable[[ServedKind], Expression]) -> Expression:
        several = [(truths[place], read(item)) for place, item in found.items()]
        value = several[-1][1]
        for holds, item in several[-2::-1]:
            value = where(holds, item, value)
        return value

    for rule in dict.fromkeys(name for item in found.values() for name in item.rules):
        having = [(truths[place], item.rules[rule]) for place, item in found.items() if rule in item.rules]
        _allow(problem, rule, having, everywhere=len(having) == len(found))

    axes = (machine, precision, *sizes.values())

    def power() -> Expression:
        homes = {name: home_of(entry) for name, entry in entries.items()}
        nodes = []
        for name in machine.values:
            home = homes[name]
            if home is None:
                raise MissingFieldError(name, "power", needed_for="power", hint="it has no server in the catalog")
            nodes.append(home)
        # of the kind that it holds for longest: a replica may serve several, in shares of its time
        ((held,), _) = over_product([one(lambda item: item.busy)], problem.values, (*axes, request))
        longest = np.fmax.reduce(held.reshape(-1, len(request.values)), axis=1)
        shape = tuple(len(item.values) for item in axes)
        busy = problem.table("time with a request", axes, np.clip(np.nan_to_num(longest, nan=1.0), 0, 1).reshape(shape))
        return replica_power(one(lambda item: item.devices), View("node", nodes, machine), busy)

    return ReplicaKinds(
        axes=axes,
        machine=machine,
        accelerators=tuple(machine.values),
        utilization=sizes["utilization"],
        rate=one(lambda item: item.rate),
        times={"ttft": one(lambda item: item.ttft), "itl": one(lambda item: item.itl),
               "latency": one(lambda item: item.latency)},
        devices=one(lambda item: item.devices),
        power=power,
        output_len=lambda: output,
    )  # fmt: skip


def replica_leaves(
    model: Entry, scheduler: Entry, sizes: Mapping[str, Choice], prompt: Expression, output: Expression
) -> dict[str, Any]:
    """Return what the equations of a replica get for requests of so many tokens: leaves, and choices for its sizes.

    Args:
        sizes: `tp_size`, `concurrency` and, if it is chosen, `pp_size`. prompt, output: tokens of a request.
    """
    leaves: dict[str, Any] = {item.name: item.default for item in REPLICA_INPUTS}
    leaves |= dict.fromkeys(("tp_size", "pp_size", "ep_size", "attention_dp"), ONE)
    leaves |= {name: sizes[name] for name in ("tp_size", "pp_size") if name in sizes and sizes[name].values != (1,)}
    return leaves | {
        "model": View("model", [model]), "scheduler": View("scheduler", [scheduler]),
        "max_batch_size": sizes["concurrency"], "max_seq_len": prompt + output, "mean_request_tokens": None,
        "output_tokens": output, "service_time_cv": ZERO, "page_size": expression(PAGE),
        "memory_reserve": Symbol("memory_reserve", BYTE), "draft_model": None,
    }  # fmt: skip


def settled_kind(
    known: Mapping[str, Any], leaves: Mapping[str, Any], accelerator: Entry, precision: str, utilization: Expression,
    quantile: Expression,
) -> ServedKind:  # fmt: skip
    """Return what a replica on one accelerator does in one number format, with the numbers of both in place.

    Accelerators differ in what they have (links, formats), so each has equations of its own.

    Args:
        known: numbers of the other symbols. leaves: see `replica_leaves`. utilization, quantile: see `served_kind`.
    """
    given = {**leaves, "hardware": View("hardware", [accelerator]), "precision": precision}
    found = served_kind(given, utilization, quantile)
    bound = {"precision": precision, "weight_precision": None, "hardware": accelerator}
    known = {**known, **entry_bindings("hardware", accelerator), **replica_bindings(bound)}
    return ServedKind(
        rate=folded(found.rate, known),
        ttft=folded(found.ttft, known),
        itl=folded(found.itl, known),
        latency=folded(found.latency, known),
        devices=folded(found.devices, known),
        busy=folded(found.busy, known),
        rules={name: folded(holds, known) for name, holds in found.rules.items()},
    )


def _allow(
    problem: CoupledProblem, name: str, rules: Sequence[tuple[Expression, Expression]], *, everywhere: bool
) -> None:
    """Declare a rule that each accelerator and number format has in its own form."""
    first = rules[0][1]
    if everywhere and all(rule is first for _, rule in rules):
        joined = first
    else:
        joined = reduce(Expression.__and__, (~holds | rule for holds, rule in rules))
    allow(problem, name, joined)


# from measurements ----------------------------------------------------------------------------------------------------
def measured_kinds(
    problem: CoupledProblem, decide: Narrowed, values: Mapping[str, Any], kinds: Mapping[str, Any], request: Choice
) -> ReplicaKinds:
    """Return the replicas of a table of measurements."""
    by_label: dict[str, tuple[str, int]] = {}
    cells: dict[tuple[str, str], Mapping[str, Any]] = {}
    powers: dict[str, float | None] = {}
    for row in values["measured"]:
        label = " ".join(part for part in (row["accelerator"], row["configuration"]) if part)
        if by_label.setdefault(label, (row["accelerator"], row["devices"])) != (row["accelerator"], row["devices"]):
            raise InputError(f"{label} has different numbers of devices", path="measured")
        if powers.setdefault(label, row["power"]) != row["power"]:
            raise InputError(f"{label} has different powers", path="measured")
        fitting = [name for name, kind in kinds.items() if _fits(row, kind)]
        for name in fitting:
            if (label, name) in cells:
                raise InputError(f"{label} is measured twice with {name}", path="measured")
            cells[label, name] = row
    machine = decide("replica", list(by_label), "kind of replica")
    for name in request.values:
        if not any((label, name) in cells for label in machine.values):
            raise InputError(f"no replica was measured with {name}", path="measured",
                             hint="rows match traffic by name, input_len and output_len")  # fmt: skip
    utilization = decide("utilization", list(values["utilization"]), "load of a replica")

    def column(name: str, unit: str) -> Expression:
        numbers = [
            [cells[label, kind][name] if (label, kind) in cells else np.nan for kind in request.values]
            for label in machine.values
        ]
        return problem.table(name, (machine, request), np.array(numbers, dtype=float), unit)

    def time(name: str) -> Times:
        gaps = [label for (label, kind), row in cells.items() if row[name] is None and label in machine.position]
        if gaps:
            return MissingFieldError(f"measured {gaps[0]}", name, needed_for=f"the {name} of requests")
        return column(name, "s")

    def power() -> Expression:
        for label in machine.values:
            if powers[label] is None:
                raise MissingFieldError(f"measured {label}", "power", needed_for="power")
        numbers = np.array([powers[label] for label in machine.values], dtype=float)
        return problem.table("power", (machine,), numbers, "W")

    measured = np.array([[float((label, kind) in cells) for kind in request.values] for label in machine.values])
    allow(problem, "it was measured", problem.table("measured", (machine, request), measured) > 0, structural=True)
    devices = np.array([float(by_label[label][1]) for label in machine.values])
    return ReplicaKinds(
        axes=(machine, utilization),
        machine=machine,
        accelerators=tuple(by_label[label][0] for label in machine.values),
        utilization=utilization,
        rate=column("request_rate", "request/s"),
        times={name: time(name) for name in ("ttft", "itl", "latency")},
        devices=problem.table("devices", (machine,), devices),
        power=power,
        output_len=lambda: _lengths(problem, kinds, request, "output_len"),
    )


def _fits(row: Mapping[str, Any], kind: Any) -> bool:
    """Return whether a measurement is about a kind of request."""
    return all(row[name] is None or row[name] == getattr(kind, name) for name in ("name", "input_len", "output_len"))
