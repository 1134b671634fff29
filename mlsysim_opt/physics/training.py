"""Training on a fleet: `TrainingMemoryModel` (does it fit?) and `DistributedModel` (how fast is it?).

Both are thin: inputs, named constraints and results around the equations of `training_memory` and `training_time`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, divides, maximum, where
from mlsysim_opt.algebra.expression import Choice, Expression, expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.collectives import Network
from mlsysim_opt.physics.design import Job
from mlsysim_opt.physics.inputs import Given, Input, Number, Option, Switch, Text
from mlsysim_opt.physics.topology import TOPOLOGIES, TopologyOption
from mlsysim_opt.physics.training_memory import Parts, TrainingMemory
from mlsysim_opt.physics.training_time import TrainingTime
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import Catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import BYTE

RECOMPUTATION = ("none", "selective", "full")
SIXTEEN_BIT_OR_MORE = ("fp64", "fp32", "tf32", "fp16", "bf16")


def numerics_view(precision: str) -> View:
    """Return the bytes per parameter and activation of a training precision."""
    return View("numerics", [default_catalog().find("numerics", precision)])


def rates(accelerator: View, numerics: View) -> tuple[Expression, Expression]:
    """Return the dense peak for matrix products, and for the attention core, which stays in 16 bits under FP8 (but on
    devices that have nothing wider)."""
    precision = str(numerics.entries[0].__dict__["gemm_precision"])
    known = {name for entry in accelerator.entries for name in entry.compute.peak.precisions}
    core = precision
    if precision not in SIXTEEN_BIT_OR_MORE:
        core = next((name for name in ("bf16", "fp16") if name in known), precision)
    return accelerator.number(f"compute.peak.{precision}"), accelerator.number(f"compute.peak.{core}")


def calibration_view(accelerator: View, efficiency: Expression | None = None, name: str = "calibration") -> View:
    """Return the calibrated constants of an accelerator's generation; a given efficiency replaces those of compute."""
    found = [calibration_of(entry) for entry in accelerator.entries]
    view = View(name, found, accelerator._choice)
    return view if efficiency is None else view.replacing(gemm_efficiency=efficiency, attention_efficiency=efficiency)


def calibration_of(accelerator: Entry) -> Entry:
    """Return the calibration entry of an accelerator.

    Raises:
        InputError: its generation has not been calibrated.
    """
    generation = str(accelerator.__dict__["generation"])
    found = _calibration(default_catalog(), generation)
    if found is None:
        raise InputError(
            f"no calibrated efficiencies for {accelerator.name} (generation {generation!r})",
            path="efficiency",
            hint="give efficiency=..., or add catalog/calibration/" + generation + ".yaml",
        )
    return found


@lru_cache
def _calibration(catalog: Catalog, generation: str) -> Entry | None:
    return catalog.find("calibration", generation) if generation in catalog.names("calibration") else None


QUESTIONED = ("tp within the scale-up domain", "memory fits")
"""Constraints that depend on the hardware and could be given way; all others define what a split is."""


def split_rules(
    job: Job, devices: Expression, domain: Expression, tp_across_nodes: Expression
) -> dict[str, Expression]:
    """Return what makes a split a valid one, by name.

    Sources: Shoeybi et al. 2019 and Narayanan et al. 2021 (divisibility); Megatron-Core (interleaving in multiples of
    the pipeline size; experts with tensor parallelism need sequence parallelism); Llama Team 2024 (uneven first and
    last stage; context in 2 cp chunks for balance).
    """
    m = job.model
    rules = {
        "tp x pp x dp x cp = devices": job.devices == devices,
        "tp and the scale-up domain divide": divides(job.tp, domain) | divides(domain, job.tp),
        "tp divides the heads": divides(job.tp, m.heads),
        "tp and the kv heads divide": divides(job.tp, m.kv_heads) | divides(m.kv_heads, job.tp),
        "dp x microbatch divides the batch": divides(job.dp * job.microbatch_size, job.global_batch_size),
        "layers + 2 >= pp x virtual stages": m.layers + 2 >= job.pp * job.v_stages,
        "virtual stages need a pipeline": (job.v_stages == 1) | (job.pp > 1),
        "interleaving needs microbatches in multiples of pp": (job.v_stages == 1) | divides(job.pp, job.microbatches),
        "cp divides the sequence": (job.cp == 1) | divides(2 * job.cp, job.seq_len),
        "sequence parallelism needs tp": ~job.sequence_parallel | (job.tp > 1),
        "tp within the scale-up domain": job.tp <= where(tp_across_nodes, job.tp, domain),
    }
    if job.shapes.experts:
        rules["ep divides the experts"] = divides(job.ep, m.number("moe.experts"))
        rules["ep divides tp x cp x dp"] = divides(job.ep, job.tp * job.cp * job.dp)
        rules["experts with tp need sequence parallelism"] = (job.tp == 1) | job.sequence_parallel
    else:
        rules["ep is for models with experts"] = job.ep == 1
    return rules


class TrainingMemoryResult(Result):
    """Memory of one rank on the fullest pipeline stage, by part."""

    units: ClassVar[dict[str, str]] = dict.fromkeys(
        ("total_memory", "weights", "gradients", "optimizer_state", "activations", "logits", "buffers",
         "available_memory"), "GiB",
    )  # fmt: skip
    total_memory: Any
    weights: Any
    gradients: Any
    optimizer_state: Any
    activations: Any
    logits: Any
    buffers: Any
    available_memory: Any
    memory_utilization: Any
    parameters_per_rank: Any


def _counts(*names: str) -> tuple[Input, ...]:
    return tuple(Number(name, default=1, integer=True, low=1) for name in names)


SPLIT_INPUTS: tuple[Input, ...] = (
    *_counts("tp_size", "pp_size", "cp_size", "ep_size"),
    Number("dp_size", "derived from the devices where it is absent", default=None, integer=True, low=1),
    Number("v_stages", "virtual stages: model chunks per pipeline stage", default=1, integer=True, low=1),
    Number("microbatch_size", "sequences per microbatch", default=None, integer=True, low=1),
    Number("microbatch_count", "microbatches per step and replica", default=None, integer=True, low=1),
    Number("gradient_accumulation_steps", default=1, integer=True, low=1),
    Number("zero_stage", default=0, integer=True, low=0, high=3),
    Option("recomputation", default="none", options=RECOMPUTATION),
    Switch("sequence_parallel", default=False),
    Switch("overlap_comm", default=False),
    Switch("tp_comm_overlap", "tensor-parallel communication hides behind the products it feeds", default=False),
    Switch("fused_kernels", "fused norms and activations, attention kernels of 2023 and later", default=True),
    Switch("fused_attention", "attention scores are never stored", default=True),
    Switch("dropout", default=False),
    Number("moe_routing_imbalance_factor", "load of the fullest expert over the mean", default=1.0, low=1.0),
    Switch("is_lora", "only low-rank adapters are trained, the model's own weights are frozen", default=False),
    Number("lora_rank", "rank of the adapters", default=16, integer=True, low=1),
)
SPLIT_ALIASES = {
    "tp": "tp_size", "pp": "pp_size", "dp": "dp_size", "cp": "cp_size", "ep": "ep_size", "virtual_stages": "v_stages",
    "global_batch_size": "batch_size", "activation_recomputation": "recomputation",
    "activation_checkpointing": "recomputation",
}  # fmt: skip


def _takes(choice: Any, label: str) -> Expression:
    """Return the truth of a choice being `label`, which a narrowed choice may never be."""
    if isinstance(choice, Choice) and label not in choice.position:
        never: Expression = expression(0) == 1
        return never
    truth: Expression = choice == label
    return truth


def job_of(model: View, numerics: View, leaves: Mapping[str, Any], batch_size: Expression, seq_len: Expression) -> Job:
    """Return the job described by the leaves of `SPLIT_INPUTS`."""
    recomputation = leaves["recomputation"]
    return Job(
        model=model,
        numerics=numerics,
        global_batch_size=batch_size,
        seq_len=seq_len,
        tp=leaves["tp_size"],
        pp=leaves["pp_size"],
        dp=leaves["dp_size"],
        cp=leaves["cp_size"],
        ep=leaves["ep_size"],
        microbatch_size=leaves["microbatch_size"],
        v_stages=leaves["v_stages"],
        zero_stage=leaves["zero_stage"],
        selective=_takes(recomputation, "selective"),
        full=_takes(recomputation, "full"),
        sequence_parallel=leaves["sequence_parallel"] == 1,
        overlap=leaves["overlap_comm"] == 1,
        tensor_overlap=(leaves.get("tp_comm_overlap", ZERO) == 1) & (leaves["sequence_parallel"] == 1),
        fused_kernels=leaves.get("fused_kernels", ONE) == 1,
        unfused_attention=leaves["fused_attention"] == 0,
        dropout=leaves["dropout"] == 1,
        imbalance=leaves["moe_routing_imbalance_factor"],
        frozen=leaves.get("is_lora", ZERO) == 1,
        lora_rank=leaves.get("lora_rank", ONE),
    )


def prepare_split(values: dict[str, Any], devices: int | None) -> dict[str, Any]:
    """Derive data parallelism from the devices and the microbatch size from their count, where absent.

    Raises:
        InputError: they do not divide evenly, so that devices would idle or samples be dropped.
    """
    values = dict(values)
    model_parallel = values["tp_size"] * values["pp_size"] * values["cp_size"]
    asked = values["dp_size"]
    if devices is not None and asked is not None and asked * model_parallel != devices:
        raise InputError(
            f"tp x pp x cp x dp = {asked * model_parallel}, but the fleet has {devices} accelerators", path="dp_size",
            hint="leave dp_size out to use all of them",
        )  # fmt: skip
    if values["dp_size"] is None:
        if devices is None:
            values["dp_size"] = 1
        elif devices % model_parallel:
            raise InputError(
                f"tp x pp x cp = {model_parallel} does not divide the {devices} accelerators", path="tp_size"
            )
        else:
            values["dp_size"] = devices // model_parallel
    batch, replicas = values["batch_size"], values["dp_size"]
    size, count = values["microbatch_size"], values["microbatch_count"]
    steps = values["gradient_accumulation_steps"]
    if size is not None:
        if batch % (replicas * size):
            raise InputError(
                f"{replicas} replicas of microbatches of {size} do not divide a batch of {batch} sequences",
                path="microbatch_size", hint="no sample may be dropped and no replica idle",
            )  # fmt: skip
        if (count is not None or steps != 1) and (count or 1) * steps * replicas * size != batch:
            raise InputError(
                f"{batch} sequences on {replicas} replicas in microbatches of {size} are {batch // (replicas * size)} "
                f"microbatches, not {(count or 1) * steps}", path="microbatch_count",
                hint="give microbatch_size or microbatch_count",
            )  # fmt: skip
    else:
        count = (count or 1) * steps
        if batch % (replicas * count):
            raise InputError(
                f"a batch of {batch} sequences does not divide into {replicas} replicas of {count} microbatches",
                path="batch_size",
                hint="no sample may be dropped and no replica idle: change batch_size, dp_size or microbatch_count",
            )
        values["microbatch_size"] = batch // (replicas * count)
    return values


class TrainingMemoryModel(Model):
    """Memory of one training rank by part: weights, gradients, optimizer states, activations, logits, buffers.

    Sources: Rajbhandari et al. 2020; Korthikanti et al. 2022; Narayanan et al. 2021.
    """

    wall = 2
    inputs = (
        Given("model", kind="model"),
        Given("hardware", kind="accelerator"),
        Number("batch_size", "sequences per optimizer step", integer=True, low=1),
        Number("seq_len", "tokens per sequence", default=2048, integer=True, low=1),
        Text("precision", default="fp16", of_kind="numerics"),
        *SPLIT_INPUTS,
        Number("memory_reserve", "kept free for the runtime", default="0 GiB", unit="GiB", of=BYTE),
    )
    aliases = SPLIT_ALIASES
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_8B", "hardware": "H100", "batch_size": 64, "dp_size": 8, "microbatch_size": 1,
        "zero_stage": 3, "recomputation": "selective", "precision": "bf16",
    }  # fmt: skip

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        return super().check(*args, **_seed_switch(given))

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        return prepare_split(values, None)

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return entry_bindings("numerics", default_catalog().find("numerics", values["precision"]))

    def equations(self, **leaves: Any) -> TrainingMemoryResult:
        job = job_of(
            leaves["model"], numerics_view(leaves["precision"]), leaves, leaves["batch_size"], leaves["seq_len"]
        )
        memory = TrainingMemory(job)
        capacity = leaves["hardware"].number("memory.capacity")
        return memory_result(memory, capacity, leaves["memory_reserve"])


def memory_result(memory: TrainingMemory, capacity: Expression, reserve: Expression) -> TrainingMemoryResult:
    """Return the parts of memory on the fullest stage with the constraint that they fit."""
    peak: Parts = memory.peak
    return TrainingMemoryResult(
        total_memory=memory.total,
        weights=peak.weights,
        gradients=peak.gradients,
        optimizer_state=peak.optimizer_states,
        activations=peak.activations,
        logits=peak.logits,
        buffers=peak.buffers,
        available_memory=capacity - reserve,
        memory_utilization=memory.total / capacity,
        parameters_per_rank=peak.weights / memory.job.numerics.weight_bytes,
        constraints={"memory fits": memory.total + reserve <= capacity},
    )


def _seed_switch(given: dict[str, Any]) -> dict[str, Any]:
    """Read the seed-era switch ``activation_recomputation=True`` as full recomputation."""
    for name in ("activation_recomputation", "activation_checkpointing", "recomputation"):
        if isinstance(given.get(name), bool):
            given = {**given, name: "full" if given[name] else "none"}
    return given


class DistributedResult(Result):
    """Speed of a training job: the step and its parts, utilization, throughput, memory."""

    units: ClassVar[dict[str, str]] = {
        "tokens_per_second": "token/s", "effective_throughput": "sample/s", "total_memory": "GiB", "weights": "GiB",
        "gradients": "GiB", "optimizer_state": "GiB", "activations": "GiB", "logits": "GiB", "buffers": "GiB",
        "flops_per_device": "TFLOP/s",
    }  # fmt: skip
    step_time: Any
    compute_time: Any
    tp_time: Any
    ep_time: Any
    cp_time: Any
    pp_time: Any
    bubble_time: Any
    dp_time: Any
    optimizer_time: Any
    straggler_time: Any
    bottleneck: Any
    bubble_fraction: Any
    busy_fraction: Any
    mfu: Any
    hfu: Any
    flops_per_device: Any
    scaling_efficiency: Any
    tokens_per_second: Any
    effective_throughput: Any
    microbatches: Any
    total_memory: Any
    weights: Any
    gradients: Any
    optimizer_state: Any
    activations: Any
    logits: Any
    buffers: Any


class DistributedModel(Model):
    """Time, utilization and memory of one training step on a fleet under tensor, pipeline, data, context and expert
    parallelism.

    MFU counts useful work only: recomputation never raises it. Every rank works, no sample is dropped: sizes that do
    not multiply to the fleet or divide the batch are errors, not roundings.

    Sources: see `training_time`, `training_memory` and `collectives`.
    """

    wall = 14
    inputs = (
        Given("model", kind="model"),
        Given("fleet", kind="fleet"),
        Number("batch_size", "sequences per optimizer step", default=1, integer=True, low=1),
        Text("precision", default="fp16", of_kind="numerics"),
        Number(
            "efficiency", "reached share of the peak; calibrated when absent", default=None, high=1.0, open_low=True
        ),
        *SPLIT_INPUTS,
        Number("seq_len", "tokens per sequence", default=2048, integer=True, low=1),
        Number("overlap_efficiency", "share of a hidden communication that costs nothing", default=0.85, high=1.0),
        Number("congestion_factor", "divides the bandwidth between nodes", default=1.0, low=1.0),
        Number("straggler_factor", "slowdown by slow workers, beyond calibrated jitter", default=1.0, low=1.0),
        Number("memory_reserve", "kept free for the runtime", default="2 GiB", unit="GiB", of=BYTE),
        Switch("tp_across_nodes", "allow tensor parallelism beyond the scale-up domain", default=False),
        TopologyOption("topology_override", "how nodes are connected, instead of without a bottleneck", default=None,
                       options=tuple(TOPOLOGIES)),
    )  # fmt: skip
    aliases = SPLIT_ALIASES
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_70B", "fleet": "Research_256", "batch_size": 512, "tp_size": 8, "pp_size": 4, "zero_stage": 1,
        "microbatch_size": 1, "sequence_parallel": True, "seq_len": 4096, "precision": "bf16",
    }  # fmt: skip

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        return super().check(*args, **_seed_switch(given))

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        fleet = values["fleet"]
        return prepare_split(values, int(fleet.node_count) * int(fleet.node.accelerators_per_node))

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = entry_bindings("numerics", default_catalog().find("numerics", values["precision"]))
        bound.update(calibration_bindings(values["fleet"].node.accelerator))
        return bound

    def equations(self, **leaves: Any) -> DistributedResult:
        fleet: View = leaves["fleet"]
        node = fleet.below("node")
        system = System(
            accelerator=node.below("accelerator"),
            node=node,
            fabric=fleet.below("fabric"),
            devices=fleet.node_count * node.accelerators_per_node,
        )
        return training_equations(system, leaves)


def calibration_bindings(accelerator: Entry) -> dict[str, float]:
    """Return the values of the calibrated constants of an accelerator."""
    return entry_bindings("calibration", calibration_of(accelerator))


@dataclass(frozen=True)
class System:
    """What a job runs on. Each part may be a choice among catalog entries."""

    accelerator: View
    node: View
    fabric: View
    devices: Expression


def training_equations(system: System, leaves: Mapping[str, Any]) -> DistributedResult:
    """Return the equations of a training job for leaves (or choices) of all inputs of `DistributedModel`."""
    numerics = numerics_view(leaves["precision"])
    job = job_of(leaves["model"], numerics, leaves, leaves["batch_size"], leaves["seq_len"])
    calibration = calibration_view(system.accelerator, leaves["efficiency"])
    rate, attention_rate = rates(system.accelerator, numerics)
    nodes = maximum(job.devices / system.node.accelerators_per_node, 1)
    time = TrainingTime(
        job=job,
        accelerator=system.accelerator,
        rate=rate,
        attention_rate=attention_rate,
        calibration=calibration,
        network=Network.of(
            system.node, system.fabric, calibration, leaves["congestion_factor"], leaves.get("topology_override")
        ),
        nodes=nodes,
        overlap_efficiency=leaves["overlap_efficiency"],
        straggler_factor=leaves["straggler_factor"],
    )
    memory = TrainingMemory(job)
    capacity = system.accelerator.number("memory.capacity")
    fits = memory_result(memory, capacity, leaves["memory_reserve"])
    rules = split_rules(job, system.devices, system.node.number("scale_up.domain_size"), leaves["tp_across_nodes"] == 1)
    m, layers = job.microbatches, job.slowest_layers
    tp_time = m * layers * time.layer_tensor
    ep_time = m * layers * time.layer_expert
    cp_time = m * layers * time.layer_context
    pp_time = m * time.transfer
    compute_time = m * time.slowest_stage - tp_time - ep_time - cp_time
    waiting = time.step - (time.pipeline + time.replica_communication + time.optimizer)
    step = time.step
    peak = rate * job.devices
    sequences = job.global_batch_size * expression("1 sample")
    return DistributedResult(
        step_time=step,
        compute_time=compute_time,
        tp_time=tp_time,
        ep_time=ep_time,
        cp_time=cp_time,
        pp_time=pp_time,
        bubble_time=time.bubble,
        dp_time=time.replica_communication,
        optimizer_time=time.optimizer,
        straggler_time=waiting,
        bottleneck=argmax_label(
            compute=compute_time, tensor_communication=tp_time, expert_communication=ep_time,
            context_communication=cp_time, pipeline_transfer=pp_time, pipeline_bubble=time.bubble,
            data_communication=time.replica_communication,
        ),
        bubble_fraction=time.bubble / step,
        busy_fraction=time.busy / step,
        mfu=time.useful_flops / (step * peak),
        hfu=time.executed_flops / (step * peak),
        flops_per_device=time.useful_flops / (step * job.devices),
        scaling_efficiency=compute_time / step,
        tokens_per_second=job.global_batch_size * job.seq_len * expression("1 token") / step,
        effective_throughput=sequences / step,
        microbatches=m,
        total_memory=fits.total_memory,
        weights=fits.weights,
        gradients=fits.gradients,
        optimizer_state=fits.optimizer_state,
        activations=fits.activations,
        logits=fits.logits,
        buffers=fits.buffers,
        constraints={**rules, **fits.constraints},
    )  # fmt: skip


__all__ = [
    "QUESTIONED", "RECOMPUTATION", "DistributedModel", "DistributedResult", "System", "TrainingMemoryModel",
    "TrainingMemoryResult", "calibration_bindings", "split_rules", "training_equations",
]  # fmt: skip
