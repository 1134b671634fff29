"""Compare the training model with published measurements, and fit its few constants per accelerator generation.

    python benchmarks/calibrate_training.py FOLDER          # the errors of the constants in the catalog
    python benchmarks/calibrate_training.py FOLDER --fit    # fit them anew, and print what to put into the catalog

FOLDER holds training.yaml, models.yaml and hardware.yaml of the validation set. Every row that the model can describe
is predicted from its stated configuration; what a row leaves open is decided by one rule for all (see `configuration`),
never per row. Rows that the model cannot describe are counted by reason, not dropped silently.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.training import DistributedModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Accelerator, Fabric, Fleet, Node, Transformer

FITTED = ("gemm_efficiency", "attention_efficiency")
"""The constants fitted here; all others stand at the sources named in the catalog."""
CATALOG = {
    "v100-sxm2-32gb": "V100", "a100-sxm-40gb": "A100_40GB", "a100-sxm-80gb": "A100", "h100-sxm-80gb": "H100",
    "h200-sxm-141gb": "H200", "b200-sxm-180gb": "B200", "gb200": "GB200", "mi300x": "MI300X",
}  # fmt: skip
"""Accelerators that the catalog holds; the others are made from hardware.yaml."""
GENERATION = {"gb300": "blackwell", "b300-sxm-270gb": "blackwell", "h100-sxm-96gb-hbm2e-500w": "hopper"}
PORT = {"ampere": "200 Gbit/s", "volta": "100 Gbit/s"}
"""Rate of one port to the fabric, one port an accelerator: HDR for A100, else NDR (400 Gbit/s)."""
NUMERICS = {
    "fp16 mixed": "fp16", "bf16 mixed": "bf16", "bf16": "bf16", "BF16": "bf16", "amp_bf16": "bf16", "amp_fp8": "fp8",
    "fp8": "fp8", "FP8": "fp8", "FP8-CS": "fp8", "FP8-MX": "fp8", "MXFP8": "fp8", "fp8 hybrid": "fp8",
    "float8 linears": "fp8", "float8 rowwise": "fp8", "float8 tensorwise": "fp8",
    "float8 linears + fp8 all-gather": "fp8",
}  # fmt: skip
BEFORE_FUSED_ATTENTION = ("megatron-sc21", "megatron-2020", "korthikanti", "mt-nlg")
NEMO = ("dgxc", "megatron-bridge", "nemo-24.07", "mlperf-training")
"""Groups whose framework keeps and reduces gradients in bfloat16."""
NOT_IN_FIT = ("torchtitan",)
"""A part limited to 500 W whose peak is not published, with recomputation of single operators."""
SOURCE = {"title": "validation set", "locator": "models.yaml, hardware.yaml", "date": 2026}


class NotDescribedError(Exception):
    """The model cannot describe a row; the text says why."""


@dataclass
class Case:
    """A row as a call of the model."""

    name: str
    group: str
    generation: str
    numerics: str
    measured: float
    arguments: dict[str, Any]
    compiled: Callable[[Mapping[str, float]], float] = field(repr=False, default=lambda _: math.nan)


# entries --------------------------------------------------------------------------------------------------------------
def transformer(name: str, row: Mapping[str, Any], layers: int | None) -> Transformer:
    """Return the model of models.yaml as an entry.

    Raises:
        NotDescribedError: it is not a plain decoder.
    """
    row = dict(row)
    keys = row.get("hf_config_keys") or {}
    if "hybrid_override_pattern" in keys or keys.get("model_type") == "nemotron_h":
        raise NotDescribedError("layers of several kinds (Mamba)")
    if keys.get("sliding_window"):
        raise NotDescribedError("sliding-window attention")
    if row["arch"] not in ("dense_decoder", "moe_decoder"):
        raise NotDescribedError("not a decoder")
    fields: dict[str, Any] = {
        "layers": keys.get("num_hidden_layers", row.get("layers")),
        "hidden": keys.get("hidden_size", row.get("hidden")),
        "heads": keys.get("num_attention_heads", row.get("heads")),
        "kv_heads": keys.get("num_key_value_heads", row.get("kv_heads")),
        "vocab": keys.get("vocab_size", row.get("vocab")),
        "tied_embeddings": bool(row.get("tied_embeddings", False)),
    }
    width = fields["hidden"] // fields["heads"]
    fields["head_dim"] = keys.get("v_head_dim", keys.get("head_dim", row.get("head_dim", width)))
    fields["ffn"] = keys.get("intermediate_size", row.get("ffn"))
    fields["gated_ffn"] = bool(row.get("gated_ffn", row["arch"] == "moe_decoder"))
    fields["biases"] = row.get("pos") == "learned"
    fields["learned_positions"] = 2048 if row.get("pos") == "learned" else 0
    experts = keys.get("n_routed_experts", keys.get("num_experts", keys.get("num_local_experts", row.get("experts"))))
    if experts:
        shared = keys.get("n_shared_experts", 0)
        width = keys.get("moe_intermediate_size", fields["ffn"])
        dense = keys.get("first_k_dense_replace", 0)
        fields["moe"] = {
            "experts": experts, "experts_per_token": keys.get("num_experts_per_tok", row.get("topk")),
            "expert_ffn": width, "shared_experts": shared, "shared_expert_ffn": width if shared else 0,
            "dense_layers": dense,
        }  # fmt: skip
        fields["ffn"] = fields["ffn"] if dense else width
    if "kv_lora_rank" in keys:
        names = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        fields["mla"] = {name: keys[name] for name in names}
    fields["layers"] = layers or fields["layers"]
    return Transformer.model_validate(
        {"name": "m-" + name, "title": name, "source": SOURCE, "context_length": 8192, "parameter_count": 1, **fields}
    )


def fleet(hardware: Mapping[str, Any], key: str, accelerators: int, per_node: int, domain: int | None) -> Fleet:
    """Return a fleet of so many accelerators, in whole nodes."""
    if key in CATALOG:
        part = default_catalog().find("accelerator", CATALOG[key])
    elif key in GENERATION:
        row = hardware[key]
        bf16 = row["bf16_tflops"] if isinstance(row["bf16_tflops"], int | float) else 989.4
        peak = {"bf16": f"{bf16} TFLOP/s", "fp8": f"{row.get('fp8_tflops', 2 * bf16)} TFLOP/s"}
        part = Accelerator.model_validate(
            {"name": "x-" + key, "title": key, "source": SOURCE, "vendor": "NVIDIA", "released": 2025,
             "generation": GENERATION[key], "tdp": f"{row['tdp_w']} W", "compute": {"peak": peak},
             "memory": {"capacity": f"{row['mem_gb']} GB", "bandwidth": f"{row['mem_bw_gbs']} GB/s"},
             "scale_up": {"bandwidth": f"{row['nvlink_gbs_bidir'] / 2} GB/s"}}
        )  # fmt: skip
    else:
        raise NotDescribedError(f"no calibrated generation for {key}")
    assert isinstance(part, Accelerator)
    if part.scale_up is None:
        raise NotDescribedError(f"no links known for {key}")
    per_node = min(per_node, accelerators)
    node = Node.model_validate(
        {"name": "node", "title": "node", "source": SOURCE, "accelerator": part, "accelerators_per_node": per_node,
         "scale_up": {"domain_size": domain or per_node, "bandwidth": part.__dict__["scale_up"].__dict__["bandwidth"],
                      "latency": "1 us"},
         "nics_per_node": per_node, "max_power": "10 kW"}
    )  # fmt: skip
    fabric = {
        "name": "fabric", "title": "fabric", "source": SOURCE, "technology": "infiniband", "topology": "fat-tree",
        "bandwidth": PORT.get(part.generation, "400 Gbit/s"), "latency": "5 us", "oversubscription_ratio": 1,
    }  # fmt: skip
    return Fleet.model_validate(
        {"name": "fleet", "title": "fleet", "source": SOURCE, "node": node, "node_count": accelerators // per_node,
         "fabric": Fabric.model_validate(fabric)}
    )  # fmt: skip


# rows -----------------------------------------------------------------------------------------------------------------
def measured_step(row: Mapping[str, Any], model: Transformer) -> float:
    """Return the measured step time, or that which a rate in the source's own convention means."""
    inputs, measured = row["inputs"], row["measured"]
    if "step_time_s" in measured:
        return float(measured["step_time_s"])
    rate = measured.get("achieved_tflops_per_gpu")
    peak = {"h100-sxm-80gb": 989.4, "a100-sxm-80gb": 312.0, "a100-sxm-40gb": 312.0}.get(inputs["hardware"])
    if rate is None and "mfu_pct" in measured and peak is not None:
        rate = measured["mfu_pct"] / 100 * peak
    if rate is None:
        raise NotDescribedError("no step time")
    tokens, length = inputs["global_batch"] * inputs["seq_len"], inputs["seq_len"]
    hidden, layers = int(model.hidden), int(model.layers)
    head = hidden * int(model.vocab)
    if row["group"] == "megatron-sc21":  # Narayanan et al. 2021, Eq. 3: with recomputation, attention not causal
        work = 96 * tokens * layers * hidden**2 * (1 + length / (6 * hidden) + model.vocab / (16 * layers * hidden))
    else:  # PaLM, Appendix B, as Megatron counts: 72 B s l h^2 (1 + s/6h + V/12lh), by the model's own shapes
        weights = layers * _layer_weights(model) + head
        work = tokens * (6 * weights + 12 * layers * hidden * length)
    return float(work / (rate * 1e12 * inputs["gpus"]))


def _layer_weights(model: Transformer) -> int:
    width = int(model.heads) * int(model.head_dim)
    attention = 2 * model.hidden * width + 2 * model.hidden * model.kv_heads * model.head_dim
    return int(attention + (3 if model.gated_ffn else 2) * model.hidden * model.ffn)


def configuration(row: Mapping[str, Any], models: Mapping[str, Any], hardware: Mapping[str, Any]) -> Case:
    """Return a row as a call of the model.

    What rows leave open: optimizer states are sharded (ZeRO 1) with Megatron of 2023 and later, weights too with FSDP;
    communication overlaps and sequence parallelism goes with tensor parallelism, except in systems from before 2022;
    recomputation that is not stated is the least that fits the memory; a missing microbatch size is 1.

    Raises:
        NotDescribedError: the model cannot describe the row.
    """
    inputs, group = row["inputs"], row["group"]
    text = str(inputs.get("task", "")) + str(inputs.get("system", ""))
    if row.get("flags"):
        raise NotDescribedError("flagged by the collectors")
    if group == "full-run":
        raise NotDescribedError("full run, downtime included")
    if "LoRA" in text:
        raise NotDescribedError("LoRA")
    if "cumulative" in text or text.endswith("megascale"):
        raise NotDescribedError("changed model or kernels (MegaScale)")
    if inputs["precision"] not in NUMERICS:
        raise NotDescribedError(f"precision {inputs['precision']}")
    if not isinstance(inputs.get("pp", 1), int) or "global_batch" not in inputs or "gpus" not in inputs:
        raise NotDescribedError("split not stated")
    model = transformer(inputs["model"], models[inputs["model"]], inputs.get("layers_override"))
    key, gpus = inputs["hardware"], inputs["gpus"]
    domain = inputs.get("gpus_per_nvlink_domain")
    per_node = 4 if key in ("gb200", "gb300") else inputs.get("gpus_per_node", 8)
    domain = 72 if key in ("gb200", "gb300") else None
    where = fleet(hardware, key, gpus, per_node, domain)
    old = group in BEFORE_FUSED_ATTENTION or inputs["model"] == "bloom-176b"
    tp, pp, cp = inputs.get("tp", 1), inputs.get("pp", 1), inputs.get("cp", 1)
    unknown = group == "named-mfu" and "405b" not in inputs["model"]
    sequence_parallel = inputs.get("sequence_parallel", (not old and not unknown) or "megatron-lm" in text)
    sharded = isinstance(inputs.get("fsdp"), str) and "SHARD" in inputs["fsdp"]
    zero = inputs.get("zero_stage", 0 if old or unknown else 1)
    if sharded:
        zero = 3 if inputs["fsdp"] == "FULL_SHARD" else 2
    elif group == "torchtitan" or (isinstance(inputs.get("fsdp"), int) and inputs["fsdp"] > 1):
        zero = 3
    elif "ZeRO-2" in str(inputs.get("fsdp")):
        zero = 2
    numerics = NUMERICS[inputs["precision"]]
    if group in NEMO:
        numerics += "_zero"
    if inputs.get("mp_mode") == "PURE":
        numerics = "bf16_zero"
    vp = inputs.get("vp")
    if vp is None and pp > 1 and ("interleaved" in str(inputs.get("schedule")) or group in ("mcore-r0.8", *NEMO)):
        vp = _smallest_divisor(int(model.layers) // pp)
    if vp is None and group == "named-mfu" and inputs["model"] == "llama3-405b":
        vp = 8  # Llama Team 2024: interleaved, the number of chunks is not stated
    arguments: dict[str, Any] = {
        "model": model, "fleet": where, "batch_size": inputs["global_batch"], "seq_len": inputs["seq_len"],
        "precision": numerics, "tp_size": tp, "pp_size": pp, "cp_size": cp, "ep_size": inputs.get("ep") or 1,
        "v_stages": vp if vp and pp > 1 else 1, "zero_stage": zero,
        "sequence_parallel": bool(sequence_parallel) and tp > 1, "overlap_comm": (not old and not unknown) or zero == 3,
        "fused_attention": not old, "dropout": old,
        "tp_comm_overlap": group in ("mcore-r0.8", *NEMO),
        "fused_kernels": not (group == "llm-foundry" or inputs.get("torch_compile") is False),
        "tp_across_nodes": True,
    }  # fmt: skip
    replicas = gpus // (tp * pp * cp)
    arguments["recomputation"] = _recomputation(inputs)
    arguments["microbatch_size"] = _microbatch(inputs, arguments, replicas)
    if gpus % (tp * pp * cp) or inputs["global_batch"] % (replicas * arguments["microbatch_size"]):
        raise NotDescribedError("batch does not divide")
    return Case(row["id"], group, str(where.accelerator.generation), numerics, measured_step(row, model), arguments)


def _smallest_divisor(number: int) -> int:
    return next((item for item in range(2, number + 1) if number % item == 0), 1)


def _recomputation(inputs: Mapping[str, Any]) -> str:
    stated = inputs.get("activation_recompute", inputs.get("remat_policy"))
    if "activation_ckpt" in inputs:
        return "full" if inputs["activation_ckpt"] else "none"
    if isinstance(stated, str) and stated.startswith("full"):
        return "full"
    if isinstance(stated, str) and stated.startswith("selective (attention core)"):
        return "selective"
    if isinstance(stated, str) and stated.startswith("none") and "/" not in stated:
        return "none"
    return "none"


def _microbatch(inputs: Mapping[str, Any], arguments: Mapping[str, Any], replicas: int) -> int:
    if "micro_batch" in inputs:
        return int(inputs["micro_batch"])
    if arguments["pp_size"] > 1:
        return 1
    solver, whole = DistributedModel(), inputs["global_batch"] // replicas
    for size in (item for item in range(whole, 1, -1) if whole % item == 0):
        if solver.solve(**arguments, microbatch_size=size).constraints["memory fits"]:
            return size
    return 1


def compile_case(case: Case) -> None:
    """Give the case a function from calibrated constants to the predicted step time."""
    model = DistributedModel()
    values = model.check(**case.arguments)
    traced = model.trace(values)
    named = model.leaf_values(values)
    position = traced.position["step_time"]

    def predict(constants: Mapping[str, float]) -> float:
        bound = {**named, **{f"calibration.{name}": value for name, value in constants.items()}}
        return float(traced.program.run([bound[name] for name in traced.leaf_names])[position])

    case.compiled = predict


# fit and report -------------------------------------------------------------------------------------------------------
def error(case: Case, constants: Mapping[str, float]) -> float:
    """Return the relative error of the predicted step time."""
    return case.compiled(constants) / case.measured - 1


def loss(cases: Sequence[Case], constants: Mapping[str, float]) -> float:
    """Return the mean absolute logarithmic error, each group of rows with the weight of the root of its size."""
    groups: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(abs(math.log(case.compiled(constants) / case.measured)))
    weights = {name: math.sqrt(len(items)) for name, items in groups.items()}
    return sum(weights[name] * statistics.fmean(items) for name, items in groups.items()) / sum(weights.values())


def fit(cases: Sequence[Case], start: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return the constants of least loss: cyclic search with shrinking steps (the loss has kinks, the space few
    dimensions)."""
    best, step = dict(start), 0.08
    low = loss(cases, best)
    while step > 1e-3:
        improved = False
        for name in names:
            for factor in (1 + step, 1 / (1 + step)):
                value = best[name] * factor
                if name.endswith("efficiency"):
                    value = min(value, 0.98)
                trial = {**best, name: value}
                now = loss(cases, trial)
                if now < low - 1e-9:
                    best, low, improved = trial, now, True
        if not improved:
            step /= 2
    return best


def spread(cases: Sequence[Case], best: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return the range of each fitted constant when one group of rows after the other is left out."""
    groups = sorted({case.group for case in cases})
    fits = [dict(best)]
    if len(groups) > 1:
        fits += [fit([case for case in cases if case.group != group], best, FITTED) for group in groups]
    return {name: (min(item[name] for item in fits), max(item[name] for item in fits)) for name in FITTED}


def spread_by_size(cases: Sequence[Case], constants: Mapping[str, Mapping[str, float]], jitter: float) -> float:
    """Return the mean distance of logarithmic errors from the median of their series, for this `step_jitter`.

    A series is a set of rows that differ only in how many nodes (and replicas, at the same work of each) they have;
    what is common to a series is of no weight here.
    """
    series: dict[Any, list[float]] = defaultdict(list)
    for case in cases:
        given, where = case.arguments, case.arguments["fleet"]
        replicas = where.accelerators // (given["tp_size"] * given["pp_size"] * given["cp_size"])
        key = (case.group, given["model"].title, given["model"].layers, where.accelerator.name,
               round(given["batch_size"] / replicas, 3),
               *(value for name, value in given.items() if name not in ("model", "fleet", "batch_size")))  # fmt: skip
        predicted = case.compiled({**constants[case.generation], "step_jitter": jitter})
        series[key].append(math.log(predicted / case.measured))
    apart = [abs(x - statistics.median(row)) for row in series.values() if len(row) > 1 for x in row]
    return statistics.fmean(apart)


def constants_of(generation: str) -> dict[str, float]:
    """Return the constants of a generation as they stand in the catalog."""
    entry = default_catalog().find("calibration", generation)
    return {name: float(datum.si) for name, datum in entry.parameters().items()}


def report(cases: Sequence[Case], constants: Mapping[str, Mapping[str, float]], verbose: bool) -> None:
    """Print errors by generation and group."""
    rows: dict[tuple[str, str], list[float]] = defaultdict(list)
    for case in cases:
        off = error(case, constants[case.generation])
        for key in ((case.generation, case.group), (case.generation, "all"), ("all", case.group), ("all", "all"),
                    ("all", "precision " + case.numerics)):  # fmt: skip
            rows[key].append(off)
        if verbose:
            print(f"  {off:+7.1%}  {case.measured:10.4f} s  {case.arguments['recomputation']:9s} {case.name}")
    print(f"{'generation':12s} {'group':22s} rows  mean APE  median APE   bias")
    for (generation, group), errors in sorted(rows.items()):
        size = [abs(item) for item in errors]
        print(
            f"{generation:12s} {group:22s} {len(errors):4d}  {statistics.fmean(size):8.2%}  "
            f"{statistics.median(size):9.2%}  {statistics.fmean(errors):+7.2%}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fit", action="store_true", help="fit the constants instead of taking the catalog's")
    parser.add_argument("--rows", action="store_true", help="print each row")
    chosen = parser.parse_args(arguments)
    load = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def read(name: str) -> Any:
        return yaml.load((chosen.folder / name).read_text("utf-8"), load)  # noqa: S506

    models, hardware = read("models.yaml")["models"], read("hardware.yaml")["hardware"]
    cases, left_out = [], Counter[str]()
    for row in read("training.yaml")["rows"]:
        try:
            case = configuration(row, models, hardware)
        except (NotDescribedError, MlsysimError) as problem:
            left_out[str(problem).splitlines()[0]] += 1
            continue
        compile_case(case)
        cases.append(case)
    generations = sorted({case.generation for case in cases})
    constants = {generation: constants_of(generation) for generation in generations}
    if chosen.fit:
        for generation in generations:
            used = [case for case in cases if case.generation == generation and case.group not in NOT_IN_FIT]
            constants[generation] = fit(used, constants[generation], FITTED)
            bars = spread(used, constants[generation])
            size = statistics.fmean(abs(error(case, constants[generation])) for case in used)
            print(f"{generation}: {len(FITTED)} constants fitted on {len(used)} rows, mean error {size:.1%}")
            for name in FITTED:
                low, high = bars[name]
                print(f"  {name} {constants[generation][name]:.3f} (one group left out: {low:.3f} to {high:.3f})")
        for jitter in (0.0, 0.01, 0.02, 0.03, 0.04):
            print(f"step_jitter {jitter:.2f}: mean spread within series {spread_by_size(cases, constants, jitter):.3%}")
    report(cases, constants, chosen.rows)
    print(f"{len(cases)} rows modelled; left out:")
    for reason, count in left_out.most_common():
        print(f"  {count:4d}  {reason}")


if __name__ == "__main__":
    main()
