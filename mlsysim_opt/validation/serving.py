"""Predictions of published serving measurements, with the models that the optimizers use.

Rows of a static batch are asked of `ServingModel`, those of clients in a closed loop of `ContinuousBatchingModel`.
Where a submitter was free to choose (offline throughput, MLPerf), the best choice within the row's rules is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.batching import ContinuousBatchingModel
from mlsysim_opt.physics.serving import CONTEXT_RULE, DOMAIN_RULE, ServingModel
from mlsysim_opt.registry.types import Accelerator, Transformer
from mlsysim_opt.validation.entries import hardware_entry, model_entry
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled

SERVING, BATCHING = ServingModel(), ContinuousBatchingModel()
LEAST_SERVED = 4.0
"""Clients beyond so many times those whose keys and values fit cannot be those of one replica."""
REQUESTS_PER_CLIENT = 10
"""Closed-loop benchmarks (scripts of vLLM and InferenceMAX) send ten requests per client, the first ones at once."""
CLIENTS = tuple(sorted({int(2 ** (step / 2)) for step in range(25)}))
"""Numbers of clients tried where the row leaves them open: 1 to 4096 in steps of half a doubling."""
PROMPTS = {"lm-arena-chat": 250, "gpqa": 250, "sourcegraph-fim": 600}
"""Mean tokens of a prompt of ML.ENERGY's tasks, roughly: the rows do not state them, and ITL hardly depends on it."""
FREE = ("memory", DOMAIN_RULE, CONTEXT_RULE)
"""Rules that measured systems break: they fit more, or other models of the same shapes, than the equations know."""
EIGHT_BIT_CACHES = ("trtllm", "vllm")
"""Engines whose published recipes for 8-bit and 4-bit models keep keys and values in FP8; SGLang keeps 16 bits."""
UNIFORM = ("bf16", "fp16")
FORMATS = (
    (re.compile(r"nvfp4|mxfp4|fp4"), "fp4"), (re.compile(r"fp8"), "fp8"), (re.compile(r"int4|w4a16"), "int4"),
    (re.compile(r"int8"), "int8"), (re.compile(r"fp16|half"), "fp16"),
    (re.compile(r"bf16|bfloat16|unspecified"), "bf16"),
)  # fmt: skip
"""Formats as rows spell them; a row of unspecified format is that of the published weights."""


def predict_serving(row: Row) -> list[Prediction]:
    """Return the predictions of one row.

    Raises:
        Unmodelled: no model describes it, or it leaves open what one needs.
    """
    if row.subject == "silicon":
        return _closed_loop(row, silicon_of(row))
    kind = next((key for key in KINDS if row.group.startswith(key)), None)
    if kind is None:
        raise Unmodelled(f"no serving question for rows of {row.group}")
    found: list[Prediction] = KINDS[kind](row)
    return found


# what a row says ------------------------------------------------------------------------------------------------------
def _format(text: str, hardware: Accelerator) -> dict[str, Any]:
    """Return the formats of products, weights and cache; a device without a rate multiplies in 16 bits."""
    lowered = text.lower()
    found = next((name for pattern, name in FORMATS if pattern.search(lowered)), None)
    if found is None:
        raise Unmodelled(f"precision {text!r} is not known")
    kept = "fp8" if re.search(r"fp8 kv", lowered) else None
    if "weights" in lowered and "acts" not in lowered:  # weight-only
        return {"precision": _sixteen(hardware), "weight_precision": found, "kv_precision": kept}
    if found in hardware.precisions and found not in ("int4",):
        return {"precision": found, "weight_precision": None, "kv_precision": kept}
    if found in UNIFORM:
        return {"precision": _sixteen(hardware), "weight_precision": None, "kv_precision": kept}
    return {"precision": _sixteen(hardware), "weight_precision": found, "kv_precision": kept}


def _sixteen(hardware: Accelerator) -> str:
    found = next((name for name in UNIFORM if name in hardware.precisions), None)
    if found is None:
        raise Unmodelled(f"{hardware.name} has no 16-bit rate")
    return found


def _split(model: Transformer, tp: float, pp: float = 1, ep: float = 1, dp: float = 1) -> dict[str, int]:
    if model.moe is None:
        ep = dp = 1
    return {"tp_size": int(tp), "pp_size": int(pp), "ep_size": max(int(ep), 1), "attention_dp": max(int(dp), 1)}


def _entries(row: Row) -> tuple[Transformer, Accelerator]:
    return model_entry(str(row.need("model")), row.folder), hardware_entry(str(row.need("hardware")), row.folder)


def silicon_of(row: Row) -> dict[str, Any]:
    """Return what a row of closed-loop runs asks of `ContinuousBatchingModel`."""
    model = model_entry(str(row.need("model")), row.folder)
    hardware = hardware_entry(str(row.need("system")), row.folder)
    form = _format(str(row.need("precision")), hardware)
    if row.inputs.get("backend") in EIGHT_BIT_CACHES and form["precision"] in ("fp8", "fp4"):
        form["kv_precision"] = "fp8"
    tp, dp = row.count("tp"), row.count("attention_dp", 1)
    ep = row.count("moe_ep", 1) if row.inputs.get("moe_ep") else 1
    return {
        "model": model, "hardware": hardware, **form, **_split(model, tp, row.count("pp", 1), ep, dp),
        "seq_len": row.count("isl") + row.count("osl"), "output_len": row.count("osl"),
        "max_batch_size": row.count("concurrency"),
    }  # fmt: skip


# questions ------------------------------------------------------------------------------------------------------------
def _solve(model: Any, given: Mapping[str, Any]) -> Any:
    try:
        solved = model.solve(**given)
    except MlsysimError as error:
        raise Unmodelled(error.message) from error
    broken = [name for name, holds in solved.constraints.items() if not holds and not name.startswith(FREE)]
    if broken:
        raise Unmodelled(f"the split is none: {', '.join(broken)}")
    return solved


def _parts(solved: Any, prefix: str, scale: float = 1e3) -> dict[str, float]:
    names = ("compute", "bandwidth", "communication", "overhead")
    return {name: solved.si(f"{prefix}_{name}") * scale for name in names}


def _closed_loop(row: Row, given: dict[str, Any]) -> list[Prediction]:
    solved = _solve(BATCHING, {**given, "requests_per_client": REQUESTS_PER_CLIENT})
    fits, clients = solved.si("max_active_requests"), given["max_batch_size"]
    if fits < 1:
        raise Unmodelled("the weights leave no memory for one request")
    if clients > LEAST_SERVED * fits:
        raise Unmodelled(
            f"{clients} clients on one replica, whose memory holds {fits:.0f} requests: replicas not stated"
        )
    kind = "dense" if given["model"].moe is None else "moe"
    found = []
    for target, column, field in (("tpot", ("tpot_ms", "itl_ms"), "itl"), ("ttft", ("ttft_ms",), "ttft")):
        measured = next((value for name in column if (value := row.measurement(name)) is not None), None)
        if measured is None:
            continue
        parts = _parts(solved, "itl")
        if target == "tpot":
            parts["interference"] = solved.si("itl_interference") * 1e3
        else:
            parts = {"queueing": solved.si("queueing_time") * 1e3, "prompts": solved.si("prefill_time") * 1e3}
        group = f"{'silicon' if row.subject == 'silicon' else row.group}-{kind}-{target}"
        found.append(Prediction(solved.si(field) * 1e3, "ms", measured, parts, target, group))
    return found


def _static(row: Row) -> list[Prediction]:
    model, hardware = _entries(row)
    output = row.count("osl") if row.inputs.get("osl") else 0
    given = {
        "model": model, "hardware": hardware, **_format(str(row.need("precision")), hardware),
        **_split(model, row.count("tp"), row.count("pp", 1)), "batch_size": row.count("batch"),
        "seq_len": row.count("isl") + output, "output_len": output or None,
    }  # fmt: skip
    solved = _solve(SERVING, given)
    if (measured := row.measurement("output_tokens_per_s")) is not None:
        batch_time = solved.si("request_latency")
        parts = {name: value * (output - 1) for name, value in _parts(solved, "itl", 1).items()}
        shares = {name: value / batch_time for name, value in parts.items()}
        return [Prediction(given["batch_size"] * output / batch_time, "token/s", measured, shares, "throughput")]
    found = []
    for name, field in (("ttft_ms", "ttft"), ("tpot_ms", "itl")):
        if (value := row.measurement(name)) is not None:
            found.append(Prediction(solved.si(field) * 1e3, "ms", value, _parts(solved, field), field))
    return found


def _offline(row: Row) -> list[Prediction]:
    """All requests are there from the start: the throughput of the best batch."""
    model, hardware = _entries(row)
    measured = row.measurement("output_tokens_per_s")
    if measured is None:
        raise Unmodelled("no throughput was measured")
    given = {
        "model": model, "hardware": hardware, **_format(str(row.need("precision")), hardware),
        **_split(model, row.count("tp"), row.count("pp", 1)),
        "seq_len": row.count("isl") + row.count("osl"), "output_len": row.count("osl"),
    }  # fmt: skip
    if given["precision"] in ("fp8", "fp4"):
        given["kv_precision"] = "fp8"
    most = row.count("num_requests", CLIENTS[-1])
    best = _best(given, [count for count in CLIENTS if count <= most])
    return [Prediction(best[0], "token/s", measured, best[1], "throughput", note=f"{best[2]} requests at once")]


def _best(given: Mapping[str, Any], clients: list[int], **limits: float) -> tuple[float, dict[str, float], int]:
    """Return the largest throughput over numbers of clients within limits of outputs, its parts, and the number."""
    names = ("throughput", "itl", "ttft", "active_requests", "max_active_requests", "itl_compute", "itl_bandwidth",
             "itl_communication", "itl_overhead")  # fmt: skip
    try:
        swept = BATCHING.sweep(outputs=names, max_batch_size=clients, **given)
    except MlsysimError as error:
        raise Unmodelled(error.message) from error
    fine = swept.si("max_active_requests") >= 1
    for name, most in limits.items():
        fine &= swept.si(name) <= most
    if not fine.any():
        raise Unmodelled("no batch keeps to the row's limits, or none fits in memory")
    at = int(np.argmax(np.where(fine, swept.si("throughput"), 0)))
    parts = {name.removeprefix("itl_"): float(swept.si(name)[at]) for name in names if name.startswith("itl_")}
    return float(swept.si("throughput")[at]), parts, clients[at]


LENGTHS = re.compile(r"mean input ~([\d.]+)(k?)")
OUTPUTS = re.compile(r"(?:mean output|output up to) ~?([\d.]+)")
TTFT_LIMIT = re.compile(r"TTFT[^\d]*([\d.]+)\s*(ms|s)")
TPOT_LIMIT = re.compile(r"TPOT[^\d]*([\d.]+)\s*(ms|s)")


def _submission(row: Row) -> list[Prediction]:
    """The best replica size, format and batch within the limits of an MLPerf scenario."""
    model, hardware = _entries(row)
    measured = row.measurement("tokens_per_s")
    if measured is None:
        raise Unmodelled("no throughput was measured")
    text = str(row.need("dataset"))
    if text == "same dataset" or text.startswith("15000 samples (OpenOrca"):
        text = f"mean input ~294.5, {text}"  # of OpenOrca, as other rows say; the mixture's other parts are shorter
    lengths, outputs = LENGTHS.search(text), OUTPUTS.search(text)
    if lengths is None:
        raise Unmodelled("the lengths of the dataset are not stated")
    prompt = int(float(lengths[1]) * (1000 if lengths[2] else 1))
    logged = row.inputs.get("mean_output_tokens_from_log")
    if logged is None and outputs is None:
        raise Unmodelled("the lengths of the outputs are not stated")
    output = int(float(logged) if logged is not None else float(outputs[1]) if outputs else 0)
    if "beam" in text:
        raise Unmodelled("beam search")
    limits = {}
    if row.inputs.get("sla"):
        for name, pattern in (("ttft", TTFT_LIMIT), ("itl", TPOT_LIMIT)):
            if found := pattern.search(str(row.inputs["sla"])):
                limits[name] = float(found[1]) * (1e-3 if found[2] == "ms" else 1)
    devices = row.count("gpus")
    wanted = [str(row.inputs.get("weight_dtype") or "fp16")]
    if "fp8" in hardware.precisions and wanted[0] not in ("fp4", "fp8"):
        wanted.append("fp8")  # the closed division calibrates to 8 bits; the field states what was downloaded
    best: tuple[float, dict[str, float], str] | None = None
    why = Unmodelled("nothing fits")
    for name in wanted:
        form = _format(name, hardware)
        if form["precision"] in ("fp8", "fp4"):
            form["kv_precision"] = "fp8"
        for tp in (size for size in (1, 2, 4, 8) if devices % size == 0):
            given = {"model": model, "hardware": hardware, **form, **_split(model, tp),
                     "seq_len": prompt + output, "output_len": output}  # fmt: skip
            try:
                rate, parts, clients = _best(given, list(CLIENTS), **limits)
            except Unmodelled as reason:
                why = reason
                continue
            if best is None or rate * devices / tp > best[0]:
                best = rate * devices / tp, parts, f"{devices // tp} replicas of tp={tp}, {name}, {clients} clients"
    if best is None:
        raise why
    scenario = str(row.inputs.get("scenario", "")).lower()
    return [Prediction(best[0], "token/s", measured, best[1], "throughput", f"{row.group}-{scenario}", best[2])]


def decode_of(row: Row) -> dict[str, Any]:
    """Return what a row of a mean batch asks of `ServingModel`: attention is split, or copied for each of `dp` groups,
    and experts are spread over all ranks where ep says so."""
    model, hardware = _entries(row)
    prompt = PROMPTS.get(str(row.inputs.get("task")))
    if prompt is None:
        raise Unmodelled("the lengths of the prompts are not stated")
    output = max(int(row.number("avg_output_tokens")), 2)
    devices = row.count("gpus")
    tp, dp, ep = row.count("tp", 1), row.count("dp", 1), row.count("ep", 1)
    if model.moe is not None:
        tp, dp = (tp, devices // tp) if dp > 1 else (devices, 1)
    return {
        "model": model, "hardware": hardware, **_format(str(row.need("precision")), hardware),
        **_split(model, tp, 1, ep, dp), "seq_len": prompt + output, "output_len": output,
        "batch_size": max(round(row.number("avg_batch")), 1),
    }  # fmt: skip


def _undisturbed(row: Row) -> list[Prediction]:
    """The median time between tokens at a mean batch: that of a step that no prompt disturbs."""
    measured = row.measurement("itl_median_ms")
    if measured is None:
        raise Unmodelled("no time between tokens was measured")
    solved = _solve(SERVING, decode_of(row))
    return [Prediction(solved.si("itl") * 1e3, "ms", measured, _parts(solved, "itl"), "itl")]


def _nim(row: Row) -> list[Prediction]:
    model, hardware = _entries(row)
    given = {
        "model": model, "hardware": hardware, **_format(str(row.need("precision")), hardware),
        **_split(model, row.count("tp")), "seq_len": row.count("isl") + row.count("osl"),
        "output_len": row.count("osl"), "max_batch_size": row.count("concurrency"),
    }  # fmt: skip
    return _closed_loop(row, given)


PHASE = re.compile(r"(prefill|decode) (\d+)(?: tokens after (\d+))?")


def _pope(row: Row) -> list[Prediction]:
    """One phase on a torus of TPUs."""
    model, hardware = _entries(row)
    phase = PHASE.search(str(row.need("phase")))
    measured = row.measurement("latency_s")
    if phase is None or measured is None:
        raise Unmodelled("the phase is not stated")
    tokens, before = int(phase[2]), int(phase[3] or 0)
    decode = phase[1] == "decode"
    given = {
        "model": model, "hardware": hardware, **_format(str(row.need("precision")), hardware),
        **_split(model, row.count("chips")), "batch_size": row.count("batch"), "seq_len": before + tokens,
        "output_len": tokens if decode else None,
    }  # fmt: skip
    solved = _solve(SERVING, given)
    value = solved.si("itl") * tokens if decode else solved.si("ttft")
    return [Prediction(value, "s", measured, _parts(solved, "itl" if decode else "ttft", 1), phase[1])]


KINDS = {
    "trtllm-static": _static, "trtllm-ttft": _static, "misc-inference": _static, "trtllm-ifb": _offline,
    "mlperf-inference": _submission, "ml-energy": _undisturbed, "nim": _nim, "pope2023": _pope,
    "closed-loop": _nim, "static": _static,
}  # fmt: skip
"""The question that the rows of a group ask."""
