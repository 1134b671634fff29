"""How far to quantize a served model: bits of weights, format of products and batch against accuracy and latency."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from mlsysim_opt.formulations.givens import Counts

from mlsysim_opt.algebra.atoms import lookup, where
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.optimize.formulation import Formulation, defaults
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.physics.compression import CompressionModel
from mlsysim_opt.physics.serving import ServingModel

SHARED = ("model", "hardware", "precision", "seq_len", "output_len", "tp_size")
INPUTS = (
    *(item for item in ServingModel.inputs if item.name in SHARED),
    Counts("batch_size", "requests in the batch, to choose among", default=(1, 2, 4, 8, 16, 32, 64, 128)),
)
SCHEMES: dict[str, tuple[int, str | None, str | None]] = {
    "none": (16, None, None), "int8_weights": (8, None, "int8"), "int4_weights": (4, None, "int4"),
    "int8": (8, "int8", None), "fp8": (8, "fp8", None),
}  # fmt: skip
"""Bits of a weight, format of the products where it changes, and of the weights where products stay wider."""
OUTPUTS = {
    "total_memory_required": ("byte", "GB", "of all accelerators"), "ttft": ("s", "ms", "time to first token"),
    "itl": ("s", "ms", "time between tokens"), "throughput": ("token/s", "token/s", "generated tokens"),
    "feasible": ("dimensionless", None, "whether it can be served"),
}  # fmt: skip
QUALITY = {"accuracy_delta": "published change", "accuracy_delta_low": "the worst published change"}


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem:
    problem = Problem("compression", item="compressed model", default_objective="min_itl", allowed=narrowed)
    problem.assumptions.update(defaults(INPUTS, values))
    has = [name for name, (_, products, _) in SCHEMES.items() if products in (None, *values["hardware"].precisions)]
    scheme = problem.choose("scheme", has, about="which weights and products are narrower")
    batch = problem.choose("batch_size", values["batch_size"], about="requests in the batch")
    swept, smaller = {}, {}
    for name in scheme.values:
        bits, products, weights = SCHEMES[name]
        served = {item: values[item] for item in SHARED} | {"batch_size": list(batch.values)}
        served.update(precision=products or values["precision"], weight_precision=weights)
        swept[name] = ServingModel().sweep(outputs=[*OUTPUTS], **served)
        smaller[name] = CompressionModel().solve(
            model=values["model"], hardware=values["hardware"], target_bitwidth=bits,
            baseline_precision=values["precision"], compute_precision=served["precision"],
        )  # fmt: skip

    def table(output: str, unit: str) -> Expression:
        """Return an output of the serving model: a table over batches for each scheme, joined by selection."""
        of = {name: dict(zip(batch.values, item.si(output).tolist(), strict=True)) for name, item in swept.items()}
        first, *rest = [(name, lookup(batch, of[name], unit=unit, title=f"{name} {output}")) for name in scheme.values]
        return reduce(lambda made, item: where(scheme.is_value(item[0]), item[1], made), rest, first[1])

    for output, (unit, shown, about) in OUTPUTS.items():
        problem.measure(output, table(output, unit), unit=shown, about=about)
    problem.require("it can be served: memory, split and context", problem.metric("feasible") == 1)
    for field, about in QUALITY.items():
        known = {name: 0.0 if name == "none" else getattr(item, field) for name, item in smaller.items()}
        missing = {name: "no change of accuracy is published" for name, number in known.items() if number is None}
        problem.measure(field, lookup(scheme, known, reasons=missing, title=field), about=f"{about}; -0.01: 1 % lost")
    return problem


compression = Formulation(
    name="compression",
    about="how far to quantize a served model",
    inputs=INPUTS,
    build=_build,
    aliases={"tp": "tp_size", "batch": "batch_size"},
    example={"model": "Llama3_70B", "hardware": "H200", "seq_len": 4096, "output_len": 512},
)
