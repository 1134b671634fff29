"""Random services: small spaces of the formulation `batching`, asked as users ask."""

from __future__ import annotations

import math
import random
from typing import Any

from fuzzing.oracle import Oracle
from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.optimize import Task, task
from mlsysim_opt.units import parse_unit

MODELS = ("Llama3_8B", "Llama3_8B", "Llama2_7B", "Llama2_13B", "Llama3_70B", "Mixtral_8x7B", "DeepSeek_V3", "GPT3_6_7B")
EXPERTS = ("Mixtral_8x7B", "DeepSeek_V3")
ACCELERATORS = ("H100", "A100", "H200", "B200", "MI300X", "L40S")
OBJECTIVES = (
    "max_throughput", "max_batch_size", "min_cost_per_million_tokens", "max_goodput", "min_latency_p99",
    "min_ttft_p999", "min_itl", "min_devices", "max_capacity", "min_cost_per_hour", "min_energy_per_token",
    "cost_per_hour + 1 USD/h/s * latency_p95", "maximize throughput / devices",
    "where(utilization <= 0.5, latency, 2 * latency)",
    ["max_batch_size", "max_throughput"], ["min_devices", "min_latency_p99"], ["min_cost_per_hour", "max_goodput"],
)  # fmt: skip
LIMITED = (
    ("ttft_p99", "ms", "<="), ("itl_p99", "ms", "<="), ("latency_p99", "s", "<="), ("latency", "s", "<="),
    ("memory", "GiB", "<="), ("throughput", "token/s", ">="), ("utilization", "", "<="), ("devices", "", "<="),
    ("cost_per_hour", "USD/h", "<="), ("power", "kW", "<="), ("goodput", "request/s", ">="),
)  # fmt: skip
DISCRETE = (
    "batch_size != {n}", "batch_size >= {n}", "tp_size * pp_size <= {n}", "replicas <= {n}",
    "mod(batch_size, {n}) == 0", "not (tp_size == 1 and pp_size == 1)", "chunk_size >= 64 * batch_size",
)  # fmt: skip


def service(seed: int, size: int = 50) -> Task:
    """Return the service of a seed; its decisions have at most about `size` combinations."""
    dice = random.Random(seed)
    while True:
        try:
            return _service(dice, size)
        except MlsysimError as error:
            if error.code not in ("unsupported-precision", "missing-value", "bad-input"):
                raise


def _service(dice: random.Random, size: int) -> Task:
    output = dice.choice((16, 64, 128, 256, 500))
    devices = dice.choice((2, 8, 16, 32, 64))
    given: dict[str, Any] = {
        "model": dice.choice(MODELS),
        "hardware": dice.sample(ACCELERATORS, dice.choice((1, 1, 1, 2))),
        "arrival_rate": f"{dice.choice((0.1, 0.5, 1, 2, 5, 20, 60)) * dice.uniform(0.7, 1.4):.4f} request/s",
        "seq_len": output + dice.choice((32, 200, 1000, 1792, 6000)),
        "output_len": output,
        "devices": devices,
        "policy": dice.choice(("continuous", "static", "static", ["continuous", "static"])),
        "precision": dice.choice(("fp16", "fp16", "bf16", "fp8", ["fp16", "fp8"])),
        "sla_latency": f"{dice.choice((5, 20, 60, 200, 600)) * dice.uniform(0.7, 1.4):.3f} s",
        "price": {name: f"{dice.uniform(1, 5):.3f} USD/h" for name in ACCELERATORS},
    }
    if dice.random() < 0.4:
        given["sla_ttft"] = f"{dice.uniform(100, 5000):.1f} ms"
    if dice.random() < 0.4:
        given["sla_itl"] = f"{dice.uniform(8, 200):.1f} ms"
    if dice.random() < 0.3:
        given["safety_margin"], given["quantile"] = round(dice.uniform(1.0, 2.0), 2), dice.choice((0.5, 0.9, 0.999))
    if dice.random() < 0.2:
        given["draft_model"] = dice.choice((["none", "Llama3_8B"], "Llama3_8B"))
    if given["policy"] == "continuous" and dice.random() < 0.4:
        given["service_time_cv"] = dice.choice((0.5, 1.0, 2.0))
    choices = _choices(dice, given, size)
    objective = dice.choice(OBJECTIVES)
    plain = task("batching", objective=objective, choices=choices, **given)
    constraints = _constraints(dice, plain)
    return task("batching", objective=objective, choices=choices, constraints=constraints, **given)


def _choices(dice: random.Random, given: dict[str, Any], size: int) -> dict[str, Any]:
    """Return a few values for each decision."""
    several = [given["hardware"], *(given[name] for name in ("policy", "precision") if isinstance(given[name], list))]
    room = size // math.prod(len(item) for item in several)
    options: dict[str, list[int]] = {
        "batch_size": list(range(1, 257)),
        "chunk_size": [256, 512, 1024, 2048, 8192],
        "replicas": [1, 2, 3, 4],
        "tp_size": [1, 2, 4, 8],
        "pp_size": [1, 2, 4],
        "ep_size": [1, 2, 4],
        "draft_tokens": [1, 2, 4],
    }
    if "draft_model" not in given:
        del options["draft_tokens"]
    elif isinstance(given["draft_model"], list):
        room //= 2
    if given["model"] not in EXPERTS:
        options["ep_size"] = [1]
    chosen: dict[str, list[int]] = {
        name: [values[0] if dice.random() < 0.6 else dice.choice(values[:3])] for name, values in options.items()
    }
    for name in ("tp_size", "replicas"):
        count = dice.choice((1, 2, 2, 3))
        chosen[name] = sorted(dice.sample(options[name], min(count, max(1, room // 8))))
        room //= len(chosen[name])
    for name in dice.sample(["pp_size", "chunk_size"], 2):
        if room >= 20:
            chosen[name] = sorted(dice.sample(options[name], 2))
            room //= 2
    steps = dice.choice((1, 3, 7, 11))
    chosen["batch_size"] = options["batch_size"][:: max(steps, -(-256 // max(room, 1)))]
    return chosen


def _constraints(dice: random.Random, plain: Task) -> list[str]:
    """Return a few constraints whose limits lie among the values that designs have."""
    found: list[str] = []
    points = Oracle(plain).points if dice.random() < 0.7 else []
    for _ in range(dice.choice((0, 1, 1, 2))):
        if points and dice.random() < 0.6:
            name, unit, sign = dice.choice(LIMITED)
            if plain.problem.metrics[name].expression is None:
                continue
            point = dice.choice(points)
            design = dict(zip((choice.name for choice in plain.problem.choices), point.design, strict=True))
            _, metrics, _, _ = plain.scalar.at(design)
            value = metrics[name] / (parse_unit(unit).factor if unit else 1.0)
            if math.isfinite(value):
                found.append(f"{name} {sign} {value * dice.choice((1.0, dice.uniform(0.5, 1.5)))!r} {unit}".strip())
        else:
            found.append(dice.choice(DISCRETE).format(n=dice.choice((1, 2, 4, 8))))
    return list(dict.fromkeys(found))
