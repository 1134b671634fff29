"""Training: a row's configuration as calls of `DistributedModel`, and what they predict.

What rows leave open is decided by one rule for all, by what the framework of the group of rows does, never by row:
optimizer states are sharded (ZeRO 1) with Megatron of 2023 and later, weights too with FSDP; communication overlaps
and sequence parallelism goes with tensor parallelism, except in systems from before 2022; recomputation that is not
stated is none; a microbatch size that is not stated is the largest that fits, and 1 with a pipeline.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.training import DistributedModel
from mlsysim_opt.registry.types import Fleet, Transformer
from mlsysim_opt.validation.entries import model_entry
from mlsysim_opt.validation.fleets import fleet_of
from mlsysim_opt.validation.measured import step_seconds
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled, shown

RECIPES = (
    ("int8", "int8"), ("nvfp4 or fp8", "fp8"), ("fp4", "fp4_zero"), ("fp8", "fp8"), ("float8", "fp8"),
    ("bf16", "bf16"), ("fp16", "fp16"), ("fp32", "fp32"),
)  # fmt: skip
"""The number format by what its published name contains, the narrowest first."""
BEFORE_2022 = ("megatron-sc21", "megatron-2020", "korthikanti", "mt-nlg")
"""Groups whose systems had neither fused attention nor overlap of communication."""
NEMO = ("dgxc", "megatron-bridge", "nemo-24.07", "mlperf-training")
"""Groups whose framework keeps and reduces gradients in bfloat16, and overlaps tensor-parallel communication."""
EAGER = ("llm-foundry",)
"""Groups that ran without fused norms and activations, on attention kernels of the first generation."""
LAYOUT = ("tp", "pp", "cp", "dp", "fsdp", "data", "per_device_batch")
"""Inputs that say how a job is split; where a row has none of them, the split was the submitter's choice."""
SEARCHED = {"tp_size": (1, 2, 4, 8), "pp_size": (1, 2, 4, 8, 16), "cp_size": (1, 2, 4, 8)}
"""The splits among which the fastest is taken for such a row."""
ROW_NAMES = {
    "accelerators": "gpus", "batch_size": "global_batch", "microbatch_size": "micro_batch", "tp_size": "tp",
    "pp_size": "pp", "cp_size": "cp", "ep_size": "ep", "v_stages": "vp", "recomputation": "activation_recompute",
}  # fmt: skip
"""The names of the model's own inputs, as rows spell them."""
STATED = ("overlap_comm", "tp_comm_overlap", "fused_attention", "fused_kernels", "dropout", "straggler_factor",
          "congestion_factor")  # fmt: skip
"""Inputs of the model that a row may state under their own name; they go before what its framework does by default."""
SHARDED = (("FULL_SHARD", 3), ("over the rest", 3), ("rest of the slice", 3), ("NO_SHARD", 0),
           ("SHARD", 2), ("ZeRO-2", 2))  # fmt: skip
"""The ZeRO stage by what the published name of a sharding contains."""
ZERO_STAGES = (0, 1, 2, 3)
NOT_RECOMPUTED = ("none", "false", "not stated", "minimal", "save_dot")
"""How names begin of what keeps the outputs of products: cheap operators at most are computed again."""
MOST_CHUNKS, MOST_AT_ONCE = 1024, 65_536
"""No framework splits a stage into more chunks, or takes more sequences at once: the search ends there."""
INT8_TRAINING = {"int8": 2 / 3, "bf16": 1 / 3}
"""Accurate quantized training: products for outputs and gradients of inputs take 8 bits, those for gradients of weights
16."""
HALF = "half of the products are recomputed: the mean of no and of full recomputation"


@dataclass(frozen=True)
class Setting:
    """A row as calls of the model, each with its share of the whole.

    Attributes:
        model, fleet, recipe: what is trained, on what, in which number format.
        calls: share and arguments of each call of `DistributedModel`. note: what was decided for the row.
    """

    model: Transformer
    fleet: Fleet
    recipe: str
    calls: tuple[tuple[float, dict[str, Any]], ...]
    note: str = ""


@dataclass(frozen=True)
class Case:
    """A row as calls of the model and a measured time: the sum of their steps, each with its weight.

    Attributes:
        row: the row. generation: of its accelerator. precision: the recipe. measured: seconds of one step.
        calls: weight and arguments of each call. note: what was decided for the row.
    """

    row: Row
    generation: str
    precision: str
    measured: float
    calls: tuple[tuple[float, dict[str, Any]], ...]
    note: str = ""


def predict_training(row: Row) -> Prediction:
    """Return the predicted time of one training step of a row, in seconds.

    Raises:
        Unmodelled: the row cannot be described as a call of the model.
    """
    case = configuration(row)
    total, parts = _step(case.calls)
    return Prediction(total, "s", case.measured, parts, "step_time", note=case.note)


def run_seconds(row: Row, tokens: float) -> float:
    """Return the seconds in which the job of a row trains on so many tokens, without a pause.

    Raises:
        Unmodelled: the row cannot be described as calls of the model.
    """
    calls = setting(row).calls
    given = calls[0][1]
    steps: float = tokens / (given["batch_size"] * given["seq_len"])
    return steps * _step(calls)[0]


def _step(calls: tuple[tuple[float, dict[str, Any]], ...]) -> tuple[float, dict[str, float]]:
    """Return the seconds of a step and of its parts: those of all calls, each with its weight."""
    model, total, parts = _solver(), 0.0, dict.fromkeys(PARTS, 0.0)
    for weight, arguments in calls:
        found = model.solve(**arguments)
        total += weight * found.si("step_time")
        for name, fields in PARTS.items():
            parts[name] += weight * sum(found.si(item) for item in fields)
    return total, parts


PARTS = {
    "compute": ("compute_time",), "bandwidth": ("optimizer_time",),
    "communication": ("tp_time", "ep_time", "cp_time", "pp_time", "dp_time"),
    "overhead": ("bubble_time", "straggler_time"),
}  # fmt: skip
"""The parts of a step by what they are; all memory traffic between the products counts as compute here."""


def configuration(row: Row) -> Case:
    """Return a row as calls of the model whose steps, weighted and summed, are what was measured.

    Raises:
        Unmodelled: the row cannot be described, or does not say how long a step took.
    """
    found = setting(row)
    given = found.calls[0][1]
    seconds, steps = step_seconds(row, found.model, found.fleet.accelerators, given["batch_size"], _peak(found.fleet))
    calls = tuple((share * steps, arguments) for share, arguments in found.calls)
    return Case(row, str(found.fleet.node.accelerator.generation), found.recipe, seconds, calls, found.note)


def setting(row: Row) -> Setting:
    """Return a row as calls of the model; see the top of this module for what rows leave open.

    Raises:
        Unmodelled: the row leaves open too much, or states what the model has no word for.
    """
    row = replace(row, inputs={ROW_NAMES.get(name, name): value for name, value in row.inputs.items()})
    inputs, text = row.inputs, f"{row.inputs.get('task', '')} {row.inputs.get('system', '')}"
    if row.family == "full-run":
        raise Unmodelled("a whole run: layout not stated, downtime included")
    accelerators = row.count("gpus" if "gpus" in inputs else "chips")
    batch = row.count("global_batch")
    layers = row.count("layers_override", 0)
    model = model_entry(str(row.need("model")), row.folder, layers or None)
    fleet = fleet_of(row, accelerators)
    recipe = _recipe(row, fleet)
    arguments = {
        "model": model, "fleet": fleet, "batch_size": batch, "seq_len": row.count("seq_len"),
        "precision": recipe, "tp_across_nodes": True, "is_lora": "lora" in text.lower(),
        **_split(row, model, fleet), **{name: inputs[name] for name in STATED if name in inputs},
    }  # fmt: skip
    stated = _recomputation(row)
    note = HALF if len(stated) > 1 else ""
    if not any(name in inputs for name in LAYOUT):
        arguments.update(_best_split({**arguments, "recomputation": stated[-1]}, accelerators))
        note = "the split is not stated: the fastest that fits, of " + ", ".join(SEARCHED)
    model_parallel = arguments["tp_size"] * arguments["pp_size"] * arguments["cp_size"]
    replicas = accelerators // model_parallel
    if accelerators % model_parallel or not replicas:
        raise Unmodelled("tp x pp x cp does not divide the accelerators")
    if batch % replicas:
        raise Unmodelled("the replicas do not divide the batch")
    arguments["microbatch_size"] = _microbatch(row, {**arguments, "recomputation": stated[-1]}, batch // replicas)
    if batch % (replicas * arguments["microbatch_size"]):
        raise Unmodelled("the batch does not divide into microbatches")
    mixture = INT8_TRAINING if recipe == "int8" else {recipe: 1.0}
    calls = tuple(
        (share / len(stated), {**arguments, "recomputation": how, "precision": products})
        for how in stated
        for products, share in mixture.items()
    )
    return Setting(model, fleet, recipe, calls, note)


def _peak(fleet: Fleet) -> float:
    part = fleet.node.accelerator
    return part.peak_parameter("bf16" if "bf16" in part.precisions else "fp16").si


def _recipe(row: Row, fleet: Fleet) -> str:
    said = str(row.need("precision")).lower()
    if "not stated" in said:  # MLPerf: submitters use the narrowest format that trains well where the part has it
        formats = ("fp8", "int8") if row.family == "mlperf-training" else ()
        said = next((item for item in formats if item in fleet.node.accelerator.precisions), "bf16")
    format_ = next((recipe for word, recipe in RECIPES if word in said), None)
    if format_ is None:
        raise Unmodelled(f"precision {shown(said)} is not known")
    if row.family == "mlperf-training" and format_ == "fp8":
        return "fp8_weights"  # submissions keep the weights themselves in 8 bits
    if row.family in NEMO and format_ in ("bf16", "fp8"):
        return format_ + "_zero"
    return "bf16_zero" if row.inputs.get("mp_mode") == "PURE" else format_


def _split(row: Row, model: Transformer, fleet: Fleet) -> dict[str, Any]:
    """Return how the job is split, and what its framework can do."""
    inputs, group = row.inputs, row.family
    name = str(inputs["model"]).lower()
    old = group in BEFORE_2022 or name.startswith("bloom")
    plain = old or (group == "named-mfu" and not name.startswith("llama"))
    tp, pp, cp, ep = (_count(row, name) for name in ("tp", "pp", "cp", "ep"))
    zero = _zero_stage(row, 0 if plain else 1)
    overlapped = _overlapped(str(inputs.get("system", "")))
    return {
        "tp_size": tp, "pp_size": pp, "cp_size": cp, "ep_size": ep, "zero_stage": zero,
        "v_stages": _chunks(row, model, pp) if pp > 1 else 1,
        "sequence_parallel": tp > 1 and row.switch("sequence_parallel", not plain or "system" in inputs),
        "overlap_comm": not plain or zero == 3 or "DP" in overlapped,
        "tp_comm_overlap": group in (*NEMO, "mcore-r0.8") or row.switch("async_tp", False) or "TP" in overlapped,
        "fused_attention": not old, "dropout": old,
        "fused_kernels": not (group in EAGER or not row.switch("torch_compile", True)),
        "congestion_factor": fleet.node.accelerators_per_node if old and zero == 3 else 1,
    }  # fmt: skip


def _overlapped(system: str) -> tuple[str, ...]:
    """Return which communication overlaps in MegaScale (Jiang et al. 2024, Table 3: one technique after the other)."""
    if system == "megascale":
        return ("TP", "DP")
    techniques = ("parallel transformer", "sliding window", "TP overlap", "PP overlap", "DP overlap", "efficient",
                  "misc", "LAMB")  # fmt: skip
    reached = next((place for place, name in enumerate(techniques) if name in system), -1)
    return (("TP",) if reached >= 2 else ()) + (("DP",) if reached >= 4 else ())


def _count(row: Row, name: str) -> int:
    if isinstance(row.inputs.get(name), str):
        raise Unmodelled(f"{name} not stated as a number")
    return row.count(name, 1)


def _zero_stage(row: Row, default: int) -> int:
    inputs = row.inputs
    sharded = inputs.get("fsdp")
    if isinstance(sharded, str):
        found = next((stage for word, stage in SHARDED if word in sharded), None)
        if found is None:
            raise Unmodelled(f"fsdp {shown(sharded)} is not known")
        return found
    if row.family == "torchtitan" or (isinstance(sharded, int) and sharded > 1):
        return 3
    stage = inputs.get("zero_stage", default)
    if isinstance(stage, bool) or stage not in ZERO_STAGES:
        raise Unmodelled(f"zero_stage is none of 0 to 3: {shown(stage)}")
    return int(stage)


def _chunks(row: Row, model: Transformer, pp: int) -> int:
    """Return the virtual stages: as stated, else the fewest that interleave where the framework interleaves."""
    if row.inputs.get("vp") is not None:
        return row.count("vp")
    if "interleaved" in str(row.inputs.get("schedule")) or row.family in ("mcore-r0.8", *NEMO):
        return _smallest_divisor(int(model.layers) // pp)
    if row.family == "named-mfu" and str(row.inputs["model"]).lower().startswith("llama3"):
        return 8  # Llama Team 2024: interleaved, the number of chunks is not stated
    return 1


def _smallest_divisor(number: int) -> int:
    return next((item for item in range(2, min(number, MOST_CHUNKS) + 1) if number % item == 0), 1)


def _recomputation(row: Row) -> tuple[str, ...]:
    """Return what of each layer is recomputed: one of the model's options; two, where it is half of each."""
    inputs = row.inputs
    stated = str(inputs.get("activation_recompute", inputs.get("remat_policy", inputs.get("remat", "")))).lower()
    if inputs.get("activation_ckpt") is not None:
        return ("full",) if row.switch("activation_ckpt", False) else ("none",)
    if stated.startswith("full") or stated == "true":
        return ("full",)
    if stated.startswith("selective (attention core)") or (stated == "selective" and row.family != "torchtitan"):
        return ("selective",)
    if "op sac" in stated or "per-op" in stated or (row.family == "torchtitan" and stated.startswith("selective")):
        return ("none", "full")  # selective by operator: every second product is computed again
    if stated and not stated.startswith(NOT_RECOMPUTED):
        raise Unmodelled(f"recomputation {shown(stated)} is not known")
    return ("none",)


def _best_split(arguments: Mapping[str, Any], accelerators: int) -> dict[str, Any]:
    """Return the fastest split whose memory fits, or the fastest at all; with a pipeline, interleaved.

    Raises:
        Unmodelled: none of `SEARCHED` divides accelerators and batch.
    """
    found: list[tuple[bool, float, dict[str, Any]]] = []
    for sizes in itertools.product(*SEARCHED.values()):
        split: dict[str, Any] = dict(zip(SEARCHED, sizes, strict=True))
        replicas, rest = divmod(accelerators, math.prod(sizes))
        if rest or not replicas or arguments["batch_size"] % replicas:
            continue
        split["sequence_parallel"] = split["tp_size"] > 1
        split["v_stages"] = _smallest_divisor(int(arguments["model"].layers) // split["pp_size"]) if sizes[1] > 1 else 1
        try:
            solved = _solver().solve(**{**arguments, **split, "microbatch_size": 1})
        except InputError:
            continue
        broken = [name for name, holds in solved.constraints.items() if not holds]
        if broken in ([], ["memory fits"]):
            found.append((bool(broken), float(solved.si("step_time")), split))
    if not found:
        raise Unmodelled("no split divides the accelerators and the batch")
    return min(found, key=lambda item: item[:2])[2]


def _microbatch(row: Row, arguments: Mapping[str, Any], whole: int) -> int:
    if row.inputs.get("micro_batch") is not None:
        return row.count("micro_batch")
    if "per_device_batch" in row.inputs:  # JAX: the whole batch at once
        return whole
    if arguments["pp_size"] > 1:
        return 1
    given = {key: value for key, value in arguments.items() if key != "microbatch_size"}
    for size in (item for item in range(min(whole, MOST_AT_ONCE), 1, -1) if whole % item == 0):
        try:
            if _solver().solve(**given, microbatch_size=size).constraints["memory fits"]:
                return size
        except InputError:
            continue
    return 1


@cache
def _solver() -> DistributedModel:
    return DistributedModel()
