"""How to split one training job over a fleet: tensor, pipeline, data, context and expert parallelism, microbatches,
virtual stages, ZeRO, recomputation, sequence parallelism, overlap; and optionally which accelerator and how many nodes.

Items: one training job. Everything nonlinear is physics (`mlsysim_opt.physics.training`); nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlsysim_opt.formulations.givens import PLACE, PRICE, Bills, Counts, Names, allowed, divisors, renamed

from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, constant
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.optimize.problem import Lever, Problem
from mlsysim_opt.physics.inputs import REQUIRED, Given, Input, Number, Switch, Text
from mlsysim_opt.physics.operations import Run
from mlsysim_opt.physics.training import (
    QUESTIONED,
    RECOMPUTATION,
    System,
    calibration_bindings,
    rates,
    training_equations,
)
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import BYTE, NONE, TOKEN

INPUTS: tuple[Input, ...] = (
    Given("model", "what is trained", kind="model"),
    Given("fleet", "what it is trained on", kind="fleet"),
    Number("global_batch_size", "sequences per optimizer step", integer=True, low=1, high=2**31),
    Number("seq_len", "tokens per sequence", integer=True, low=1, high=2**31),
    Text("precision", "number format", default="bf16", of_kind="numerics"),
    Number("token_budget", "tokens to train on", default=None, unit="token", of=TOKEN, open_low=True),
    Names("accelerator", "accelerators to choose among instead of the fleet's", default=None, kind="accelerator"),
    Counts("nodes", "node counts to choose among; 'any' for all sensible ones", default=None),
    PRICE,
    *PLACE,
    Number("goodput", "share of time not lost to failures", default=1.0, high=1.0, open_low=True),
    Number(
        "efficiency", "reached share of peak compute; calibrated when absent", default=None, high=1.0, open_low=True
    ),
    Number("memory_reserve", "memory kept free for runtime and fragmentation", default="2 GiB", unit="GiB", of=BYTE),
    Number("overlap_efficiency", "share of a hidden communication that is free", default=0.85, high=1.0),
    Number("congestion_factor", "divides bandwidth between nodes", default=1.0, low=1.0, high=1e6),
    Number("straggler_factor", "slowdown by slow workers", default=1.0, low=1.0, high=1e6),
    Number("moe_routing_imbalance_factor", "fullest expert over mean", default=1.0, low=1.0, high=1e6),
    Switch("fused_attention", "attention scores are never stored", default=True),
    Switch("fused_kernels", "fused norms and activations, attention kernels of 2023 and later", default=True),
    Switch("tp_comm_overlap", "tensor-parallel communication hides behind the products it feeds", default=False),
    Switch("dropout", "keep dropout masks", default=False),
    Switch("tp_across_nodes", "allow tensor parallelism beyond the scale-up domain", default=False),
)
ALIASES = {"batch_size": "global_batch_size", "tokens": "token_budget", "accelerators": "accelerator"}
METRIC_ALIASES = {
    "tp": "tp_size", "pp": "pp_size", "dp": "dp_size", "cp": "cp_size", "ep": "ep_size", "mbs": "microbatch_size",
    "virtual_stages": "v_stages", "zero": "zero_stage", "total_memory": "memory", "latency": "step_time",
    "throughput": "tokens_per_second", "carbon_footprint": "carbon", "overlap": "overlap_comm",
}  # fmt: skip
PART_OF = {
    **dict.fromkeys(("weights", "gradients", "optimizer_state", "activations", "logits", "buffers"), "memory"),
    **dict.fromkeys(
        ("compute_time", "tp_time", "ep_time", "cp_time", "pp_time", "bubble_time", "dp_time", "optimizer_time",
         "straggler_time"), "step_time",
    ),
}  # fmt: skip
UNCHANGED_SYMBOLS = (
    "overlap_efficiency", "congestion_factor", "straggler_factor", "moe_routing_imbalance_factor", "memory_reserve",
    "fused_attention", "dropout", "fused_kernels", "tp_comm_overlap",
)  # fmt: skip
SWITCHES = {item.name for item in INPUTS if isinstance(item, Switch)}
INPUT_BY_NAME = {item.name: item for item in INPUTS}


def _nodes_of(accelerators: tuple[Entry, ...], fleet: Entry) -> list[Entry]:
    """Return the node of the catalog that holds each accelerator: the fleet's own where it fits."""
    catalog = default_catalog()
    found = []
    for accelerator in accelerators:
        if fleet.node.accelerator.name == accelerator.name:
            found.append(fleet.node)
            continue
        every = (catalog.find("node", name) for name in catalog.names("node"))
        fitting = [node for node in every if node.accelerator.name == accelerator.name]
        if not fitting:
            raise InputError(
                f"no node of the catalog holds {accelerator.name}",
                path="accelerator",
                hint="add one in a folder of your own: --catalog FOLDER, or registry.use_folder",
            )
        found.append(max(fitting, key=lambda node: int(node.accelerators_per_node)))
    return found


ALL_COUNTS = 128
"""Fleets of up to this many nodes are searched at every node count when any will do."""


def _node_counts(given: tuple[int, ...] | str | None, available: int) -> tuple[list[int], str | None]:
    """Return the node counts to choose among, and what was left out, if anything."""
    if given is None:
        return [available], None
    if given != "any":
        return [int(item) for item in given], None
    if available <= ALL_COUNTS:
        return list(range(1, available + 1)), None
    powers = (2**k for k in range(available.bit_length()) if 2**k <= available)
    left_out = f"of 1 to {available} only divisors and powers of two were tried; give nodes=... for others"
    return sorted({*divisors(available), *powers}), left_out


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem:
    model, fleet = values["model"], values["fleet"]
    problem = Problem("parallelism", item="training job", default_objective="min_step_time", aliases=METRIC_ALIASES)
    problem.values.update(entry_bindings("model", model))
    problem.values.update(entry_bindings("fleet", fleet))
    numerics = default_catalog().find("numerics", values["precision"])
    problem.values.update(entry_bindings("numerics", numerics))

    narrowed = renamed(narrowed, METRIC_ALIASES)

    def decide(name: str, candidates: Iterable[Any], about: str, *, closed: bool = False) -> Choice:
        options = list(candidates)
        if name in narrowed:
            options = allowed(name, narrowed[name], options if closed else None)
        return problem.choose(name, options, about=about)

    accelerators: tuple[Entry, ...] = values["accelerator"] or (fleet.node.accelerator,)
    bills = Bills(problem, INPUTS, values, accelerators)
    bills.check()
    system, counts = _system(problem, values, fleet, accelerators)
    sizes = sorted({count * int(node.accelerators_per_node) for count in counts for node in system.node.entries})
    if max(sizes) > 10**7:
        raise InputError(f"{max(sizes)} accelerators are more than any fleet (10^7 at most)", path="fleet")
    splits = sorted({item for size in sizes for item in divisors(size)})
    batch, length = int(values["global_batch_size"]), int(values["seq_len"])
    layers, heads = int(model.layers), int(model.heads)
    experts = int(model.moe.experts) if model.moe is not None else 1

    leaves: dict[str, Any] = {
        "model": View("model", [model]),
        "precision": values["precision"],
        "batch_size": Symbol("global_batch_size", NONE, integer=True, low=1),
        "seq_len": Symbol("seq_len", NONE, integer=True, low=1),
        "tp_size": decide("tp_size", [n for n in splits if n <= heads], "tensor parallelism"),
        "pp_size": decide("pp_size", [n for n in splits if n <= layers + 2], "pipeline parallelism"),
        "dp_size": decide("dp_size", [n for n in splits if n <= batch], "data parallelism"),
        "cp_size": decide("cp_size", [n for n in splits if length % n == 0], "context parallelism"),
        "ep_size": decide("ep_size", divisors(experts), "expert parallelism"),
        "microbatch_size": decide("microbatch_size", divisors(batch), "sequences per microbatch"),
        "v_stages": decide("v_stages", range(1, layers + 3), "virtual stages per pipeline stage"),
        "zero_stage": decide("zero_stage", range(4), "ZeRO stage", closed=True),
        "recomputation": decide("recomputation", RECOMPUTATION, "activation recomputation", closed=True),
        "sequence_parallel": decide("sequence_parallel", (0, 1), "sequence parallelism", closed=True),
        "overlap_comm": decide("overlap_comm", (0, 1), "overlap of communication with compute", closed=True),
        "tp_across_nodes": Symbol("tp_across_nodes", NONE, integer=True, high=1),
        "efficiency": None if values["efficiency"] is None else Symbol("efficiency", NONE, high=1.0),
    }
    unknown = set(narrowed) - set(problem.decisions)
    if unknown:
        problem.fixed(dict.fromkeys(unknown))
    for name in UNCHANGED_SYMBOLS:
        # A switch is a whole number, so that nobody asks for one percent more of it; the others keep their bounds.
        leaves[name] = (
            Symbol(name, NONE, integer=True, high=1.0) if name in SWITCHES else INPUT_BY_NAME[name].leaf(values[name])
        )
        problem.values[name] = float(values[name])
    problem.values["tp_across_nodes"] = float(values["tp_across_nodes"])
    if values["efficiency"] is not None:
        problem.values["efficiency"] = float(values["efficiency"])
    problem.values["global_batch_size"], problem.values["seq_len"] = float(batch), float(length)

    if len(accelerators) > 1:
        for rate in rates(system.accelerator, View("numerics", [numerics])):
            problem.require(
                f"the accelerator has a rate for {values['precision']}",
                rate > constant(0, rate.dimension),
                structural=True,
            )
    result = training_equations(system, leaves)
    for name, holds in result.constraints.items():
        problem.require(name, holds, structural=name not in QUESTIONED)
    _metrics(problem, result, system, bills)
    problem.assumptions.update(
        {item.name: str(item.default) for item in INPUTS
         if item.default not in (None, REQUIRED) and values[item.name] == item.check(item.default)
         and (item.name != "moe_routing_imbalance_factor" or model.moe is not None)
         and (item.name != "goodput" or values["token_budget"] is not None)}
    )  # fmt: skip
    problem.assumptions["efficiency"] = (
        str(values["efficiency"]) if values["efficiency"] is not None
        else f"calibrated: {', '.join(sorted({str(item.generation) for item in accelerators}))}"
    )  # fmt: skip
    if values["nodes"] is None:
        problem.levers.append(_more_nodes(values, narrowed, int(fleet.node_count)))
    return problem


def _system(
    problem: Problem, values: Mapping[str, Any], fleet: Entry, accelerators: tuple[Entry, ...]
) -> tuple[System, list[int]]:
    view = View("fleet", [fleet])
    if len(accelerators) == 1 and accelerators[0].name == fleet.node.accelerator.name:
        node = view.below("node")
        accelerator = node.below("accelerator")
        problem.values.update(calibration_bindings(accelerators[0]))
    else:
        choice = problem.choose("accelerator", [item.name for item in accelerators], about="accelerator")
        node = View("fleet.node", _nodes_of(accelerators, fleet), choice)
        accelerator = View("fleet.node.accelerator", accelerators, choice)
    available = int(fleet.node_count)
    counts, left_out = _node_counts(values["nodes"], available)
    if len(counts) == 1 and values["nodes"] is None:
        held: Expression = view.node_count
    elif len(counts) == 1:
        problem.values["nodes"] = float(counts[0])
        held = Symbol("nodes", NONE, integer=True, low=1)
    else:
        held = problem.choose("nodes", counts, about="nodes used", limited=left_out)
    devices = held * node.accelerators_per_node
    return System(accelerator, node, view.below("fabric"), devices), counts


def _metrics(problem: Problem, result: Any, system: System, bills: Bills) -> None:
    for name, unit, about in (
        ("step_time", "s", "time of one optimizer step"),
        ("mfu", None, "useful work over peak"),
        ("hfu", None, "executed work over peak"),
        ("tokens_per_second", "token/s", "tokens of the whole job per second"),
        ("flops_per_device", "TFLOP/s", "useful work per accelerator and second"),
        ("total_memory", "GiB", "memory of the fullest rank"),
        ("weights", "GiB", "weights"),
        ("gradients", "GiB", "gradients"),
        ("optimizer_state", "GiB", "optimizer states"),
        ("activations", "GiB", "activations"),
        ("logits", "GiB", "logits"),
        ("buffers", "GiB", "communication buffers"),
        ("compute_time", "s", "compute"),
        ("tp_time", "s", "tensor-parallel communication"),
        ("ep_time", "s", "expert exchange"),
        ("cp_time", "s", "exposed context exchange"),
        ("pp_time", "s", "exposed pipeline transfers"),
        ("bubble_time", "s", "pipeline bubble"),
        ("dp_time", "s", "exposed gradient and weight communication"),
        ("optimizer_time", "s", "weight update"),
        ("straggler_time", "s", "fixed overhead and slow workers"),
        ("bubble_fraction", None, "share of the step the slowest stage waits"),
        ("microbatches", None, "microbatches per replica and step"),
    ):
        label = "memory" if name == "total_memory" else name
        problem.measure(label, getattr(result, name), unit=unit, about=about, part_of=PART_OF.get(name))
    problem.measure("devices", system.devices, about="accelerators at work")

    nodes = system.devices / system.node.accelerators_per_node
    goodput = Symbol("goodput", NONE, high=1.0)
    problem.values["goodput"] = float(bills.values["goodput"])

    def run(needed_for: str) -> Run:
        tokens = bills.given("token_budget", needed_for, "give token_budget, such as '15.6e12 token'")
        return Run(tokens, result.tokens_per_second, goodput, system.devices, nodes, system.node, result.busy_fraction)

    problem.measure("time", lambda: run("time").time, unit="day", about="time to train the token budget")
    problem.measure(
        "cost", lambda: run("cost").cost(bills.price("cost")), unit="USD", about="rent for the token budget"
    )
    problem.measure("it_energy", lambda: run("it_energy").it_energy, unit="MWh", about="energy of the nodes")
    problem.measure(
        "energy", lambda: run("energy").energy(bills.pue("energy")), unit="MWh", about="energy of the facility"
    )
    problem.measure(
        "carbon",
        lambda: run("carbon").carbon(bills.pue("carbon"), bills.intensity("carbon")),
        unit="tCO2e",
        about="operational carbon for the token budget",
    )
    problem.measure(
        "throughput_per_dollar",
        lambda: result.tokens_per_second / (system.devices * bills.price("throughput_per_dollar")),
        unit="token/USD",
        about="tokens per dollar of rent",
    )


def _more_nodes(values: dict[str, Any], narrowed: Mapping[str, Any], now: int) -> Lever:
    def candidates() -> Iterable[int]:
        near = range(now + 1, now + 33)
        yield from sorted({*near, *(2**k for k in range(17) if 2**k > now), *(now * k for k in range(2, 65))})

    return Lever(
        name="nodes",
        now=now,
        candidates=candidates,
        rebuild=lambda count: _build({**values, "nodes": (count,)}, narrowed),
        describe=lambda count: (
            f"{count} nodes ({count * int(values['fleet'].node.accelerators_per_node)} accelerators)"
        ),
    )


parallelism = Formulation(
    name="parallelism",
    about="the best split of one training job over a fleet",
    inputs=INPUTS,
    build=_build,
    aliases=ALIASES,
    example={
        "model": "Llama3_8B",
        "fleet": "Lab_64_H100",
        "global_batch_size": 512,
        "seq_len": 8192,
        "token_budget": "1e12 token",
        "price": "2.50 USD/h",
        "pue": 1.2,
        "carbon_intensity": "400 gCO2e/kWh",
    },
)
