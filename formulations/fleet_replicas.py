"""Kinds of replicas that a fleet may be made of: those a model says are possible, or those that were measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, constant, substitute, symbols
from mlsysim_opt.errors import InputError, MissingFieldError, UnsupportedPrecisionError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.physics.replicas import ServedKind, served_kind, working_power
from mlsysim_opt.physics.serving import REPLICA_INPUTS, home_of, node_name, replica_bindings
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.units import BYTE

Decide = Callable[[str, Sequence[Any], str], Choice]
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
    problem: CoupledProblem, decide: Decide, values: Mapping[str, Any], kinds: Mapping[str, Any], request: Choice,
    accelerators: Sequence[str],
) -> ReplicaKinds:  # fmt: skip
    """Return the replicas that the physics of serving describes: accelerator, format, split, concurrency, utilization."""
    for name in ("model", "precision"):
        if values[name] is None:
            raise InputError("not given, and nothing was measured", path=name, hint=f"give {name}, or measured")
    machine = decide("accelerator", list(accelerators), "accelerator of a replica")
    sizes = {
        name: decide(name, list(values[name]), about)
        for name, about in (("tp_size", "tensor parallelism"), ("pp_size", "pipeline parallelism"),
                            ("concurrency", "requests in a replica at most"), ("utilization", "load of a replica"))
    }  # fmt: skip
    entries = [Given("accelerator", kind="accelerator").check(name) for name in machine.values]
    problem.values.update(entry_bindings("model", values["model"]))
    problem.values.update(entry_bindings("scheduler", values["scheduler"]))
    problem.values["memory_reserve"] = float(values["memory_reserve"])
    output = _lengths(problem, kinds, request, "output_len")
    total = output + _lengths(problem, kinds, request, "input_len")
    leaves: dict[str, Any] = {item.name: item.default for item in REPLICA_INPUTS}
    leaves |= {name: ONE for name in ("tp_size", "pp_size", "ep_size", "attention_dp")}
    leaves |= {name: sizes[name] for name in ("tp_size", "pp_size") if sizes[name].values != (1,)}
    leaves |= {
        "model": View("model", [values["model"]]), "hardware": View("hardware", entries, machine), "draft_model": None,
        "scheduler": View("scheduler", [values["scheduler"]]), "max_batch_size": sizes["concurrency"],
        "max_seq_len": total, "mean_request_tokens": None, "output_tokens": output, "service_time_cv": constant(0, ONE.dimension),
        "page_size": constant(16, ONE.dimension), "memory_reserve": Symbol("memory_reserve", BYTE),
    }  # fmt: skip
    formats: dict[str, ServedKind] = {}
    reasons: list[InputError] = []
    for precision in values["precision"]:
        try:
            formats[precision] = _with_format(leaves, precision, sizes["utilization"], entries)
        except (UnsupportedPrecisionError, MissingFieldError) as error:
            reasons.append(error)
    if not formats:
        raise reasons[0]
    precision = decide("precision", list(formats), "number format")
    several = [formats[name] for name in precision.values]
    truths = [precision.is_value(name) for name in precision.values]

    def one(read: Callable[[ServedKind], Expression]) -> Expression:
        found = read(several[-1])
        for holds, item in zip(truths[-2::-1], several[-2::-1], strict=True):
            found = where(holds, read(item), found)
        return found

    for name in several[0].rules:
        _allow(problem, name, [item.rules[name] for item in several], truths)
    rate = one(lambda item: item.rate)
    problem.allow("a rate is known", rate > constant(0, rate.dimension))
    devices = one(lambda item: item.devices)

    def power() -> Expression:
        homes = [home_of(entry) for entry in entries]
        for entry, home in zip(entries, homes, strict=True):
            if home is None:
                raise MissingFieldError(entry.name, "power", needed_for="power", hint="it has no server in the catalog")
        known = [home for home in homes if home is not None]
        return working_power(devices, View(node_name("hardware"), known, machine))

    return ReplicaKinds(
        axes=(machine, precision, *sizes.values()),
        machine=machine,
        accelerators=tuple(machine.values),
        utilization=sizes["utilization"],
        rate=rate,
        times={"ttft": one(lambda item: item.ttft), "itl": one(lambda item: item.itl),
               "latency": one(lambda item: item.latency)},
        devices=devices,
        power=power,
        output_len=lambda: output,
    )  # fmt: skip


def _with_format(leaves: Mapping[str, Any], precision: str, utilization: Expression, entries: Sequence[Any]) -> ServedKind:
    """Return what a replica does in one number format, whose own numbers are settled."""
    found = served_kind({**leaves, "precision": precision}, utilization)
    bound = {"precision": precision, "weight_precision": None, "hardware": entries[0]}
    numbers = {name: value for name, value in replica_bindings(bound).items() if name.startswith("numerics.")}

    def settled(node: Expression) -> Expression:
        known = {item: constant(numbers[item.name], item.dimension) for item in symbols(node) if item.name in numbers}
        return substitute(node, known) if known else node

    rules = {name: settled(holds) for name, holds in found.rules.items()}
    times = [settled(item) for item in (found.rate, found.ttft, found.itl, found.latency, found.devices)]
    return ServedKind(*times, rules)


def _allow(problem: CoupledProblem, name: str, rules: Sequence[Expression], truths: Sequence[Expression]) -> None:
    """Declare a rule that each number format has in its own form."""
    joined = rules[0]
    if any(rule is not rules[0] for rule in rules):
        joined = ~truths[0] | rules[0]
        for holds, rule in zip(truths[1:], rules[1:], strict=True):
            joined = joined & (~holds | rule)
    if joined.choices:
        problem.allow(name, joined)
    elif not ScalarProgram([joined]).run_named(problem.values)[0]:
        raise InputError(f"no replica is possible: {name!r} does not hold", path="model")


# from measurements ----------------------------------------------------------------------------------------------------
def measured_kinds(
    problem: CoupledProblem, decide: Decide, values: Mapping[str, Any], kinds: Mapping[str, Any], request: Choice
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
    problem.allow("it was measured", problem.table("measured", (machine, request), measured) > 0, structural=True)
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
