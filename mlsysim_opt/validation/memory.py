"""Memory of training ranks: what was measured, and the identities that papers print.

Measured peaks are those of an allocator (reserved, not live), as the sources say. The identities go through the very
equations of `TrainingMemory` and `Shapes`: model states of transformer layers alone, activations of the first stage,
bytes of keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.design import Job
from mlsysim_opt.physics.training import DistributedModel, TrainingMemoryModel, job_of, numerics_view
from mlsysim_opt.physics.training_memory import TrainingMemory
from mlsysim_opt.physics.transformer import ONE, Shapes, kv_bytes
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Transformer
from mlsysim_opt.validation.entries import model_entry
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled
from mlsysim_opt.validation.training import setting

GIB, GB, KB = 2**30, 1e9, 1e3
MIXED = "bf16"
"""The recipe with 18 bytes a parameter: 16-bit weights, 32-bit gradients, master weights and two moments."""
STATES = "bf16_zero"
"""The recipe of the ZeRO paper, 16 bytes a parameter."""


def predict_memory(row: Row) -> list[Prediction]:
    """Return what the equations say of each amount of memory that a row states.

    Raises:
        Unmodelled: the row states none of the amounts of `TARGETS`, or cannot be described.
    """
    found = [make(row, value) for name, make in TARGETS.items() if (value := row.measurement(name)) is not None]
    if not found:
        raise Unmodelled("no amount of memory that the equations give")
    return found


# measured -------------------------------------------------------------------------------------------------------------
PARTS = ("weights", "gradients", "optimizer_state", "activations", "logits", "buffers")


def _measured(row: Row, value: float, unit: str, size: float) -> Prediction:
    """Return the peak of the fullest rank; of a mixture of recomputations, the mean."""
    found = setting(row)
    parts, total, model = dict.fromkeys(PARTS, 0.0), 0.0, DistributedModel()
    for share, arguments in found.calls:
        solved = model.solve(**arguments)
        total += share * solved.si("total_memory") / size
        for name in PARTS:
            parts[name] += share * solved.si(name) / size
    return Prediction(total, unit, value, parts, "peak memory", note=found.note)


def _peak_gib(row: Row, value: float) -> Prediction:
    return _measured(row, value, "GiB", GIB)


def _peak_gb(row: Row, value: float) -> Prediction:
    return _measured(row, value, "GB", GB)


# identities -----------------------------------------------------------------------------------------------------------
def _arguments(row: Row, model: Transformer) -> dict[str, Any]:
    """Return the arguments of the memory model for a job of Korthikanti et al. 2022, with a full pipeline."""
    pp = row.count("pp")
    micro = row.count("micro_batch")
    how = str(row.need("activation_recompute"))
    return {
        "model": model, "hardware": "A100", "precision": MIXED, "seq_len": row.count("seq_len"),
        "tp_size": row.count("tp"), "pp_size": pp, "v_stages": row.count("vp", 1) if pp > 1 else 1,
        "microbatch_size": micro, "batch_size": micro * 4 * pp, "fused_attention": False, "dropout": True,
        "sequence_parallel": row.switch("sequence_parallel", False),
        "recomputation": "selective" if how.startswith("selective") else how,
    }  # fmt: skip


def _value(made: Expression, *views: View, **leaves: float) -> float:
    """Return an expression over the numbers of some entries, and further leaves by name, in base units."""
    bound: dict[str, Any] = dict(leaves)
    for view in views:
        bound.update(view.bindings())
    return float(ScalarProgram([made]).run_named(bound)[0])


def _model_states(row: Row, value: float) -> Prediction:
    """Return weights, gradients and optimizer states of the matrices of a rank's layers."""
    model = View("model", [model_entry(str(row.need("model")), row.folder)])
    numerics = numerics_view(MIXED)
    shapes = Shapes(model, expression(row.count("tp")))
    per_layer = shapes.attention_parameters + shapes.ffn_parameters
    each = numerics.weight_bytes + numerics.gradient_bytes + numerics.optimizer_bytes
    made = model.layers / expression(row.count("pp")) * per_layer * each
    return Prediction(_value(made, model, numerics) / GIB, "GiB", value, target="model states")


def _activations(row: Row, value: float) -> Prediction:
    model = model_entry(str(row.need("model")), row.folder)
    solved = TrainingMemoryModel().solve(**_arguments(row, model))
    return Prediction(solved.si("activations") / GIB, "GiB", value, target="activations")


def _activation_share(row: Row, value: float) -> Prediction:
    """Return what a layer keeps, in percent of tensor parallelism alone."""
    model = model_entry(str(row.need("model")), row.folder)
    arguments = _arguments(row, model)
    plain = {**arguments, "sequence_parallel": False, "recomputation": "none"}
    share = _stored(arguments) / _stored(plain)
    return Prediction(100 * share, "percent", value, target="activations of the baseline")


def _stored(arguments: Mapping[str, Any]) -> float:
    solver = TrainingMemoryModel()
    values = solver.check(**arguments)
    made = _memory(arguments["model"], values).stored_per_layer
    return float(ScalarProgram([made]).run_named(solver.leaf_values(values))[0])


def _memory(model: Transformer, values: Mapping[str, Any]) -> TrainingMemory:
    leaves = {
        item.name: item.leaf(values[item.name])
        for item in TrainingMemoryModel.inputs
        if values[item.name] is not None and item.name not in ("model", "hardware", "precision")
    }
    job: Job = job_of(
        View("model", [model]), numerics_view(values["precision"]), leaves, leaves["batch_size"], leaves["seq_len"]
    )
    return TrainingMemory(job)


def _zero_states(row: Row, value: float) -> Prediction:
    """Return the model states of one rank for a number of parameters (Rajbhandari et al. 2020, Figure 1)."""
    model = default_catalog().find("model", "GPT2_XL")  # states depend on the number of parameters alone
    assert isinstance(model, Transformer)
    dp = row.count("dp")
    solver = TrainingMemoryModel()
    values = solver.check(
        model=model, hardware="A100", precision=STATES, batch_size=dp, dp_size=dp, microbatch_size=1,
        zero_stage=int(row.number("zero_stage")),
    )  # fmt: skip
    nothing = expression(0)
    parts = _memory(model, values).states(expression(row.number("params")), nothing, nothing)
    made = parts[0] + parts[1] + parts[2]
    bytes_ = float(ScalarProgram([made]).run_named(solver.leaf_values(values))[0])
    return Prediction(bytes_ / GB, "GB", value, target="model states")


def _kv_bytes(row: Row, value: float) -> Prediction:
    """Return the bytes of keys and values of one more token."""
    entry = model_entry(str(row.need("model")), row.folder)
    model = View("model", [entry])
    numerics = numerics_view(MIXED)
    if str(row.need("precision")) not in ("bf16", "fp16"):
        raise Unmodelled(f"keys and values in {row.inputs['precision']}")
    made = kv_bytes(model, ONE, numerics.activation_bytes)
    bound = {**entry_bindings("model", entry), **numerics.bindings()}
    return Prediction(float(ScalarProgram([made]).run_named(bound)[0]) / KB, "kB", value, target="keys and values")


TARGETS: dict[str, Callable[[Row, float], Prediction]] = {
    "params_opt_gib": _model_states,
    "activations_gib": _activations,
    "activation_pct_of_baseline": _activation_share,
    "model_states_gb": _zero_states,
    "kv_kb_per_token": _kv_bytes,
    "peak_mem_gib": _peak_gib,
    "max_mem_gb": _peak_gb,
}
"""What answers each amount of memory that rows state."""
