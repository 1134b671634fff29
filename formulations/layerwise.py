"""A strategy for each layer of a training job, where neighbours that are split in different ways pay for resharding.

Families: picks of a strategy for each layer, and flows from the layout of a layer to that of the next. The layouts of
neighbours are joined by conservation of flow: without a limit of memory this is a shortest path, whose linear program
is integral. Layers are coupled by the memory of a rank. Times and bytes are physics (`mlsysim_opt.physics.layerwise`),
or a table of measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlsysim_opt.formulations.givens import divisors
from mlsysim_opt.formulations.narrowed import Narrowed, allow
from mlsysim_opt.formulations.rows import Label, Rows, Several

from mlsysim_opt.algebra.atoms import ceildiv, divides, where
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, constant, expression, symbols
from mlsysim_opt.errors import InfeasibleError, InputError, UnknownNameError
from mlsysim_opt.optimize.coupled.blocks import Chain as Chained
from mlsysim_opt.optimize.coupled.problem import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Family, Place, Total
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.physics.collectives import Network
from mlsysim_opt.physics.inputs import REQUIRED, Given, Input, Number, Option, Switch, Text
from mlsysim_opt.physics.layerwise import (
    EmbeddingTime,
    HeadTime,
    LayerTime,
    copies,
    embedding_memory,
    head_memory,
    layer_memory,
    resharding,
)
from mlsysim_opt.physics.training import (
    RECOMPUTATION,
    calibration_bindings,
    calibration_view,
    job_of,
    numerics_view,
    rates,
    split_rules,
)
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.units import BYTE, NONE, TIME

MEASURED = Rows(
    "measured", "rows: time of a step and memory of a layer under a strategy", default=None,
    columns=(
        Label("layer", "in the order of the model"),
        Label("strategy", "how it is split"),
        Label("layout", "of its inputs and outputs; the strategy itself when absent", default=None),
        Number("time", "of a step that the layer takes", unit="ms", of=TIME, bare=True),
        Number("kept", "memory of a rank for the whole step", default=0.0, unit="GiB", of=BYTE),
        Number("working", "memory of a rank while the layer is at work", default=0.0, unit="GiB", of=BYTE),
    ),
)  # fmt: skip
RESHARDING = Rows(
    "resharding", "rows: time from one layout to another, both passes, in a step", default=None,
    columns=(
        Label("before", "layout"),
        Label("after", "layout"),
        Number("time", "of a step", unit="ms", of=TIME, bare=True),
    ),
)  # fmt: skip
INPUTS: tuple[Input, ...] = (
    Given("model", "what is trained: a dense transformer", default=None, kind="model"),
    Given("stage", "the accelerators of all layers: a fleet of the catalog", default=None, kind="fleet"),
    Number("global_batch_size", "sequences per optimizer step", default=None, integer=True, low=1, high=2**31),
    Number("seq_len", "tokens per sequence", default=None, integer=True, low=1, high=2**31),
    Number("microbatch_count", "microbatches per step and replica, of all layers", default=1, integer=True, low=1),
    Text("precision", "number format", default="bf16", of_kind="numerics"),
    Several("tp_size", "tensor parallelism to choose among; all that fit when absent", default=None,
            each=Number("tp_size", integer=True, low=1, high=4096)),
    Several("zero_stage", "ZeRO stages to choose among", default=(0, 1, 2, 3),
            each=Number("zero_stage", integer=True, low=0, high=3)),
    Several("recomputation", "activation recomputation to choose among", default=RECOMPUTATION,
            each=Option("recomputation", options=RECOMPUTATION)),
    Several("sequence_parallel", "without and with sequence parallelism", default=(0, 1),
            each=Switch("sequence_parallel")),
    Switch("overlap_comm", "communication of weights hides behind the passes of their layer", default=False),
    Number("efficiency", "reached share of peak compute; calibrated when absent", default=None, high=1.0,
           open_low=True),
    Number("overlap_efficiency", "share of a hidden communication that is free", default=0.85, high=1.0),
    Number("congestion_factor", "divides bandwidth between nodes", default=1.0, low=1.0, high=1e6),
    Number("straggler_factor", "slowdown by slow workers", default=1.0, low=1.0, high=1e6),
    Number("memory_reserve", "memory kept free for runtime and fragmentation", default="2 GiB", unit="GiB", of=BYTE),
    MEASURED,
    RESHARDING,
    Number("memory_limit", "of a rank; that of the accelerator less the reserve when absent", default=None, unit="GiB",
           of=BYTE),
)  # fmt: skip
ALIASES = {"batch_size": "global_batch_size"}
EMBEDDING, HEAD = "embedding", "head"
GOES_ON, COMES_FROM = "a layer's layout goes on", "it comes from the layer before"
WORK_SPACE = "work space of each layer"
DIVIDED = "microbatches divide the batch"
STRATEGY = ("tp_size", "zero_stage", "recomputation", "sequence_parallel")
MODELLED = ("model", "stage", "global_batch_size", "seq_len")


@dataclass(frozen=True)
class Chain:
    """Layers in a row.

    Attributes:
        layer: which there are, in order. axes: what a strategy is. time, kept, working: of a layer under one.
        member: 1 where a strategy has a layout, 0 where not, over the axes and `layout`.
        before, after: layouts on the two sides of a boundary. possible, between: truth and time of a change.
        fixed: time of a step beside the layers. factor: by which all times are stretched. limit: memory of a rank.
    """

    layer: Choice
    axes: tuple[Choice, ...]
    time: Expression
    kept: Expression
    working: Expression
    layout: Choice
    member: Expression
    before: Choice
    after: Choice
    possible: Expression
    between: Expression
    fixed: Expression
    factor: Expression
    limit: Expression | None


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> CoupledProblem:
    problem = CoupledProblem("layerwise", item="chain of strategies", default_objective="min_step_time")
    decide = Narrowed(problem, narrowed)
    chain = (_modelled if values["measured"] is None else _measured)(problem, decide, values)
    decide.finished()
    picked = problem.picks("strategies", (chain.layer, *chain.axes), for_each=(chain.layer,), about="of each layer")
    layers = len(chain.layer.values)
    place = problem.table("place", (chain.layer,), np.arange(float(layers)))
    flow = problem.amounts("changes", (chain.layer, chain.before, chain.after),
                           high=where(chain.possible & (place < layers - 1), 1, 0),
                           about="layouts before and after the boundary behind a layer")  # fmt: skip
    member = picked.total(chain.member)
    out_of = flow.total(at={chain.layout: chain.before})
    into = flow.total(at={chain.layout: chain.after, chain.layer: Place(chain.layer, 1)})
    rows = (chain.layer, chain.layout)
    problem.require(GOES_ON, out_of - member <= 0, each=rows, when=place < layers - 1, structural=True)
    problem.require(COMES_FROM, (into - member).equals(0), each=rows, when=place > 0, structural=True)
    _metrics(problem, chain, picked, flow, values)
    problem.chain = Chained(picked, flow, chain.layer, chain.layout, chain.before, chain.after, GOES_ON, COMES_FROM)
    problem.assumptions.update(
        {item.name: str(item.default) for item in INPUTS
         if chain.limit is not None and item.default not in (None, REQUIRED) and not isinstance(item, Several)
         and values[item.name] == item.check(item.default)}
    )  # fmt: skip
    return problem


def _metrics(problem: CoupledProblem, chain: Chain, picked: Family, flow: Family, values: Mapping[str, Any]) -> None:
    """Declare metrics and the limit of memory."""
    layers, between = picked.total(chain.time), flow.total(chain.between)
    step = (layers + between + Total((), chain.fixed)) * chain.factor
    kept = picked.total(chain.kept)
    problem.measure("step_time", step, unit="s", about="time of one optimizer step")
    problem.measure("layer_time", layers * chain.factor, unit="s", about="of the layers", part_of="step_time")
    problem.measure("resharding_time", between * chain.factor, unit="s", about="between layers", part_of="step_time")
    at_work = problem.choose("at_work", chain.layer.values, about="layer at work")
    working = picked.total(chain.working, at={at_work: chain.layer})
    problem.measure("memory", Largest(kept + working, (at_work,)), unit="GiB", about="of a rank, at its peak")
    problem.measure("kept_memory", kept, unit="GiB", about="of a rank, for the whole step", part_of="memory")
    if values["model"] is not None:
        tokens = expression(f"{values['global_batch_size'] * values['seq_len']} token")
        problem.measure("tokens_per_second", lambda: tokens / problem.metric("step_time"), unit="token/s",
                        about="tokens of the whole job per second")  # fmt: skip
    if chain.limit is not None:
        # As a share of the limit it is a number of about one, like the picks that it is compared with. That it is below
        # one is said by the limit alone: where that gives way, so does it.
        share = where(chain.limit > constant(0, BYTE), chain.limit, expression("1 GiB"))
        most = problem.amounts("work space", (), about="share of memory of the layer that needs most of it",
                               counts="of the limit of memory").total(share)  # fmt: skip
        problem.require(WORK_SPACE, working - most <= 0, each=(at_work,), structural=True)
        problem.require("memory fits", kept + most <= chain.limit)


# from the model -------------------------------------------------------------------------------------------------------
def _modelled(problem: CoupledProblem, decide: Narrowed, values: dict[str, Any]) -> Chain:
    missing = [name for name in MODELLED if values[name] is None]
    if missing:
        raise InputError("not given, and nothing was measured", path=missing[0], hint=f"give {', '.join(missing)}")
    model, fleet = values["model"], values["stage"]
    if getattr(model, "moe", None) is not None:
        raise InputError(f"{model.name} has experts; strategies by layer are for dense transformers", path="model")
    devices = int(fleet.node_count) * int(fleet.node.accelerators_per_node)
    sizes = values["tp_size"] or tuple(n for n in range(1, devices + 1) if devices % n == 0 and model.heads % n == 0)
    leaves = _leaves(problem, decide, values, sizes)
    job = job_of(
        View("model", [model]), numerics_view(values["precision"]), leaves, leaves["batch_size"], leaves["seq_len"]
    )
    view = View("stage", [fleet])
    node = view.below("node")
    accelerator = node.below("accelerator")
    calibration = calibration_view(accelerator, leaves["efficiency"])
    rate, attention_rate = rates(accelerator, job.numerics)
    network = Network.of(node, view.below("fabric"), calibration, leaves["congestion_factor"])
    problem.values.update(entry_bindings("model", model))
    problem.values.update(entry_bindings("stage", fleet))
    problem.values.update(entry_bindings("numerics", default_catalog().find("numerics", values["precision"])))
    problem.values.update(calibration_bindings(fleet.node.accelerator))
    every: dict[str, Any] = {
        "job": job,
        "accelerator": accelerator,
        "rate": rate,
        "attention_rate": attention_rate,
        "calibration": calibration,
        "network": network,
        "nodes": view.node_count,
        "overlap_efficiency": leaves["overlap_efficiency"],
        "straggler_factor": leaves["straggler_factor"],
    }
    times = {EMBEDDING: EmbeddingTime(**every), HEAD: HeadTime(**every), "": LayerTime(**every)}
    memories = {EMBEDDING: embedding_memory(job), HEAD: head_memory(job), "": layer_memory(job)}
    layer = decide("layer", [EMBEDDING, *(f"layer {at + 1}" for at in range(int(model.layers))), HEAD], "in order")

    def by_kind(read: Callable[[str], Expression]) -> Expression:
        first, last = layer.is_value(EMBEDDING), layer.is_value(HEAD)
        return where(first, read(EMBEDDING), where(last, read(HEAD), read("")))

    rules = split_rules(job, expression(devices), node.number("scale_up.domain_size"), expression(0) == 1)
    for name, holds in rules.items():
        allow(problem, name, holds, structural=True)
    _divided(problem, leaves, rules)
    axes = tuple(leaves[name] for name in STRATEGY)
    tp, split = leaves["tp_size"], leaves["sequence_parallel"]
    layouts = sorted({1, *sizes})
    layout, before, after = (
        problem.choose(name, layouts, about=about)
        for name, about in (("layout", "copies of activations"), ("before", "copies before a boundary"),
                            ("after", "copies after a boundary"))
    )  # fmt: skip
    change = resharding(job, network, leaves["microbatch_count"], expression(devices), before, after)
    return Chain(
        layer=layer, axes=axes,
        time=by_kind(lambda kind: times[kind].in_step),
        kept=by_kind(lambda kind: memories[kind].kept),
        working=by_kind(lambda kind: memories[kind].working),
        layout=layout, member=where(copies(tp, split) == layout, ONE, ZERO),
        before=before, after=after, possible=divides(before, after) | divides(after, before),
        between=change,
        fixed=calibration.step_overhead, factor=times[""].jitter,
        limit=accelerator.number("memory.capacity") - leaves["memory_reserve"] if values["memory_limit"] is None
        else _bound(problem, values, "memory_limit"),
    )  # fmt: skip


def _bound(problem: CoupledProblem, values: Mapping[str, Any], name: str) -> Expression:
    """Return the leaf of a given number, and bind its value."""
    item = next(item for item in INPUTS if item.name == name)
    assert isinstance(item, Number)
    problem.values[name] = float(values[name])
    return Symbol(name, item.of, integer=item.integer)


def _bound_switch(problem: CoupledProblem, values: Mapping[str, Any], name: str) -> Expression:
    problem.values[name] = float(values[name])
    return Symbol(name, NONE, integer=True, high=1.0)


def _leaves(
    problem: CoupledProblem, decide: Narrowed, values: dict[str, Any], sizes: tuple[int, ...]
) -> dict[str, Any]:
    """Return what equations get for the inputs of a training job: choices for what a strategy is."""
    leaves: dict[str, Any] = {
        "tp_size": decide("tp_size", list(sizes), "tensor parallelism"),
        "zero_stage": decide("zero_stage", list(values["zero_stage"]), "ZeRO stage"),
        "recomputation": decide("recomputation", list(values["recomputation"]), "activation recomputation"),
        "sequence_parallel": decide("sequence_parallel", list(values["sequence_parallel"]), "sequence parallelism"),
        "efficiency": None if values["efficiency"] is None else _bound(problem, values, "efficiency"),
        "batch_size": _bound(problem, values, "global_batch_size"),
        "overlap_comm": _bound_switch(problem, values, "overlap_comm"),
        "fused_attention": ONE, "dropout": ZERO, "moe_routing_imbalance_factor": ONE,
    }  # fmt: skip
    leaves |= dict.fromkeys(("pp_size", "cp_size", "ep_size", "v_stages"), ONE)
    for name in ("seq_len", "microbatch_count", "overlap_efficiency", "congestion_factor", "straggler_factor",
                 "memory_reserve"):  # fmt: skip
        leaves[name] = _bound(problem, values, name)
    devices = int(values["stage"].node_count) * int(values["stage"].node.accelerators_per_node)
    leaves["dp_size"] = ceildiv(devices, leaves["tp_size"])
    leaves["microbatch_size"] = ceildiv(leaves["batch_size"], leaves["dp_size"] * leaves["microbatch_count"])
    whole = divides(leaves["dp_size"] * leaves["microbatch_count"], leaves["batch_size"])
    allow(problem, DIVIDED, whole, structural=True)
    return leaves


def _divided(problem: CoupledProblem, leaves: Mapping[str, Any], rules: Mapping[str, Expression]) -> None:
    """Refuse microbatches that divide the batch under no tensor parallelism; say which would.

    Args:
        rules: what else a strategy has to be.
    """
    batch, count = (int(problem.values[name]) for name in ("global_batch_size", "microbatch_count"))
    others = ScalarProgram([holds for holds in rules.values() if leaves["batch_size"] not in symbols(holds)])
    replicas, sizes = ScalarProgram([leaves["dp_size"]]), leaves["tp_size"].values
    allowed = [
        {"tp_size": size, "sequence_parallel": split}
        for size in sizes for split in leaves["sequence_parallel"].values
        if all(others.run_named({**problem.values, "tp_size": size, "sequence_parallel": split}))
    ]  # fmt: skip
    ways = sorted({int(replicas.run_named({**problem.values, **item})[0]) for item in allowed})
    if not ways or any(batch % (way * count) == 0 for way in ways):
        return
    counts = {item for way in ways if batch % way == 0 for item in divisors(batch // way)}
    batches = {way * count * times for way in ways for times in (batch // (way * count), batch // (way * count) + 1)}
    near = {"microbatch_count": _beside(count, counts), "global_batch_size": _beside(batch, batches - {0})}
    raise InfeasibleError(
        f"no {problem.item} is possible: {DIVIDED}: {batch} sequences are no whole number for each of {count} "
        f"microbatches of each of {_any_of(ways)} replicas",
        conflict=[DIVIDED],
        hint="the nearest that divide: " + "; ".join(f"{name} {told}" for name, told in near.items() if told),
    )


def _beside(number: int, known: Collection[int]) -> str:
    """Return the nearest numbers on both sides of one, in words."""
    below, above = [item for item in known if item < number], [item for item in known if item > number]
    return _any_of([*sorted(below)[-1:], *sorted(above)[:1]])


def _any_of(numbers: Sequence[int]) -> str:
    """Return numbers as text: 8, 16 or 32."""
    *first, last = map(str, numbers) if numbers else [""]
    return f"{', '.join(first)} or {last}" if first else last


# from measurements ----------------------------------------------------------------------------------------------------
def _measured(problem: CoupledProblem, decide: Narrowed, values: dict[str, Any]) -> Chain:
    if values["model"] is not None:
        raise InputError("layers come from measurements or from a model; give one", path="model")
    rows: dict[tuple[str, str], Mapping[str, Any]] = {}
    layouts: dict[str, str] = {}
    for row in values["measured"]:
        place = row["layer"], row["strategy"]
        if place in rows:
            raise InputError(f"{row['layer']} is measured twice under {row['strategy']}", path="measured")
        rows[place] = row
        own = row["layout"] or row["strategy"]
        if layouts.setdefault(row["strategy"], own) != own:
            raise InputError(f"{row['strategy']} has two layouts", path="measured")
    layer = decide("layer", list(dict.fromkeys(name for name, _ in rows)), "in order")
    strategy = decide("strategy", list(layouts), "how a layer is split")
    names = list(dict.fromkeys(layouts[item] for item in strategy.values))
    layout, before, after = (problem.choose(name, names) for name in ("layout", "before", "after"))

    def column(name: str, unit: str, absent: float) -> Expression:
        numbers = [[rows[a, b][name] if (a, b) in rows else absent for b in strategy.values] for a in layer.values]
        return problem.table(name, (layer, strategy), np.array(numbers, dtype=float), unit)

    known = [[float((a, b) in rows) for b in strategy.values] for a in layer.values]
    allow(
        problem, "it was measured", problem.table("measured", (layer, strategy), np.array(known)) > 0, structural=True
    )
    times = {(name, name): 0.0 for name in names}
    for row in values["resharding"] or ():
        for name in (row["before"], row["after"]):
            if name not in layouts.values():
                raise UnknownNameError("layout", name, list(layouts.values()), path="resharding")
        times[row["before"], row["after"]] = row["time"]
    changes = np.array([[times.get((a, b), np.nan) for b in names] for a in names])
    possible = problem.table("possible", (before, after), np.where(np.isnan(changes), 0.0, 1.0))
    inside = np.array([[float(layouts[item] == name) for item in strategy.values] for name in names])
    return Chain(
        layer=layer, axes=(strategy,), time=column("time", "s", 0.0), kept=column("kept", "byte", 0.0),
        working=column("working", "byte", 0.0), layout=layout,
        member=problem.table("layout of a strategy", (layout, strategy), inside), before=before, after=after,
        possible=possible > 0, between=problem.table("change", (before, after), np.nan_to_num(changes), "s"),
        fixed=constant(0, TIME), factor=ONE,
        limit=None if values["memory_limit"] is None else _bound(problem, values, "memory_limit"),
    )  # fmt: skip


layerwise = Formulation(
    name="layerwise",
    about="a strategy for each layer of a training job, with what it costs to change between neighbours",
    inputs=INPUTS,
    build=_build,
    aliases=ALIASES,
    one_of=("measured", "stage"),
    example={
        "model": "Llama3_8B",
        "stage": "Lab_64_H100",
        "global_batch_size": 64,
        "seq_len": 8192,
        "tp_size": [1, 2, 4],
    },
)
