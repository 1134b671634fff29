"""Random training jobs: small spaces of the formulation `parallelism`, asked as users ask."""

from __future__ import annotations

import math
import random
from typing import Any

from fuzzing.oracle import Oracle
from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.optimize import Task, task

MODELS = (
    "GPT2_Small", "GPT2_Small", "GPT2_Medium", "GPT3_Small", "GPT2_Large", "GPT2_XL", "GPT3_6_7B",
    "Llama2_7B", "Llama2_13B", "Llama3_8B", "Llama3_70B", "Llama3_405B", "Megatron_22B",
    "Mixtral_8x7B", "Mixtral_8x22B", "DeepSeek_V3",
)  # fmt: skip
FLEETS = (
    "One_DGX_H100", "One_DGX_A100", "Lab_64_H100", "Lab_64_A100", "Research_256", "H100_256", "Training_1K",
    "Training_1K_B200", "Meta_Llama3_16K_H100",
)  # fmt: skip
ACCELERATORS = ("H100", "A100", "B200", "H200", "MI300X", "L40S")
OBJECTIVES = (
    "min_step_time", "max_mfu", "min_cost", "min_carbon", "max_throughput_per_dollar", "min_memory", "max_hfu",
    "max_tokens_per_second", "min_bubble_fraction", "max_microbatches", "min_energy", "max_activations",
    "cost + 100 USD/tCO2e * carbon",
    "maximize mfu - 0.5 * bubble_fraction",
    "step_time * devices",
    "max(compute_time, dp_time + tp_time)",
    "minimize memory + 0.1 GiB * tp_size + 1 GiB * pp_size",
    "where(memory <= 40 GiB, step_time, 2 * step_time)",
    "step_time + 3 ms * zero_stage",
    ["min_memory", "max_mfu"],
    ["max_microbatches", "min_step_time"],
    ["min_bubble_fraction", "min_memory", "min_step_time"],
)  # fmt: skip
LIMITED = (
    ("memory", "GiB", "<="), ("step_time", "ms", "<="), ("activations", "GiB", "<="), ("weights", "GiB", "<="),
    ("bubble_fraction", "", "<="), ("mfu", "", ">="), ("tokens_per_second", "token/s", ">="), ("cost", "USD", "<="),
    ("carbon", "tCO2e", "<="), ("dp_time", "ms", "<="), ("microbatches", "", "<="), ("tp_time", "s", "<="),
)  # fmt: skip
DISCRETE = (
    "tp_size <= {n}", "pp_size >= {n}", "dp_size != {n}", "tp_size * pp_size <= {n}", "zero_stage < 3",
    "zero_stage > 0",
    "microbatch_size >= pp_size", 'recomputation == "none"', 'recomputation == "full" or zero_stage >= 2',
    "2 <= tp_size * cp_size <= 8", "not (sequence_parallel == 1 and overlap_comm == 1)", "mod(dp_size, 2) == 0",
    "microbatches >= {n} * pp_size", "tp == {n}",
)  # fmt: skip


def job(seed: int, size: int = 1500) -> Task:
    """Return the training job of a seed; its decisions have at most `size` combinations."""
    dice = random.Random(seed)
    while True:
        try:
            return _job(dice, size)
        except MlsysimError as error:
            if error.code not in ("unsupported-precision", "missing-value", "bad-input"):
                raise


def _job(dice: random.Random, size: int) -> Task:
    given: dict[str, Any] = {
        "model": dice.choice(MODELS),
        "fleet": dice.choice(FLEETS),
        "nodes": dice.choice((1, 1, 2, 3, 4, [1, 2], [2, 4, 6], 8, 16)),
        "global_batch_size": dice.choice((4, 8, 24, 32, 48, 64, 96, 128, 256)),
        "seq_len": dice.choice((512, 1024, 2048, 4096, 6000, 8192)),
        "precision": dice.choice(("bf16", "bf16", "fp16", "fp8", "fp32")),
        "token_budget": "1e9 token",
        "price": f"{dice.uniform(1, 5):.3f} USD/h",
        "carbon_intensity": f"{dice.uniform(20, 700):.1f} gCO2e/kWh",
        "pue": round(dice.uniform(1.0, 1.6), 3),
    }
    if dice.random() < 0.3:
        given["accelerator"] = dice.sample(ACCELERATORS, dice.randint(1, 3))
    if dice.random() < 0.2:
        given["tp_across_nodes"] = True
    if dice.random() < 0.3:
        given["goodput"] = round(dice.uniform(0.5, 1.0), 2)
    counts = given["nodes"] if isinstance(given["nodes"], list) else [given["nodes"]]
    choices = _choices(dice, size, 8 * dice.choice(counts), len(given.get("accelerator", [0])) * len(counts))
    objective = dice.choice(OBJECTIVES)
    plain = task("parallelism", objective=objective, choices=choices, **given)
    constraints = _constraints(dice, plain)
    return task("parallelism", objective=objective, choices=choices, constraints=constraints, **given)


def _choices(dice: random.Random, size: int, devices: int, factor: int) -> dict[str, Any]:
    """Return a few values for each decision, among them one split that uses all devices."""
    split = dict.fromkeys(("tp_size", "pp_size", "dp_size", "cp_size"), 1)
    for prime in _primes(devices):
        split[dice.choice(("tp_size", "tp_size", "pp_size", "dp_size", "dp_size", "cp_size"))] *= prime
    options: dict[str, list[Any]] = {
        "tp_size": [1, 2, 4, 8, 16],
        "pp_size": [1, 2, 4, 8, 3],
        "dp_size": [1, 2, 4, 8, 16, 6, 12, 32, 64],
        "cp_size": [1, 2, 4],
        "ep_size": [1, 2, 8],
        "microbatch_size": [1, 2, 4, 8],
        "v_stages": [1, 2, 4],
        "zero_stage": [0, 1, 2, 3],
        "recomputation": ["none", "selective", "full"],
        "sequence_parallel": [0, 1],
        "overlap_comm": [0, 1],
    }
    first = {**split, "ep_size": 1, "v_stages": 1, "microbatch_size": 1}
    chosen = {name: [first.get(name, dice.choice(values))] for name, values in options.items()}
    wanted = list(options)
    dice.shuffle(wanted)
    for name in ["dp_size", "tp_size", *wanted]:
        others = math.prod(len(values) for key, values in chosen.items() if key != name)
        room = size // (factor * others)
        more = [value for value in options[name] if value != chosen[name][0]]
        if room >= 2 and len(chosen[name]) == 1:
            chosen[name] += dice.sample(more, dice.randint(1, min(room - 1, len(more))))
    return chosen


def _primes(number: int) -> list[int]:
    found = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found


def _constraints(dice: random.Random, plain: Task) -> list[str]:
    """Return a few constraints whose limits lie among the values that designs have."""
    found: list[str] = []
    points = Oracle(plain).points if dice.random() < 0.8 else []
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        if points and dice.random() < 0.7:
            name, unit, sign = dice.choice(LIMITED)
            if name not in plain.problem.metrics or plain.problem.metrics[name].expression is None:
                continue
            point = dice.choice(points)
            _, metrics, _, _ = plain.scalar.at(
                dict(zip((choice.name for choice in plain.problem.choices), point.design, strict=True))
            )
            from mlsysim_opt.units import parse_unit

            value = metrics[name] / (parse_unit(unit).factor if unit else 1.0)
            if not math.isfinite(value):
                continue
            value *= dice.choice((1.0, 1.0, dice.uniform(0.5, 1.5), dice.uniform(0.01, 0.5)))
            found.append(f"{name} {sign} {value!r} {unit}".strip())
        else:
            text = dice.choice(DISCRETE).format(n=dice.choice((1, 2, 4, 8)))
            named = [label for label in ("none", "full") if f'"{label}"' in text]
            if all(label in plain.problem.decisions["recomputation"].choice.position for label in named):
                found.append(text)
    return list(dict.fromkeys(found))
