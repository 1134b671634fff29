"""The step time that a published measurement of training means, in the source's own convention."""

from __future__ import annotations

from mlsysim_opt.registry.types import Transformer
from mlsysim_opt.validation.rows import Row, Unmodelled

EVALUATED = 5760 / 24576
"""MLPerf GPT-3: sequences evaluated for each that is trained on (5,760 after every 24,576); forward passes only."""


def step_seconds(row: Row, model: Transformer, accelerators: int, batch: int, peak: float) -> tuple[float, float]:
    """Return the measured seconds of a step, and how many forward-and-backward steps' work they hold.

    Args:
        row: the row. model: its model. accelerators: how many worked. batch: sequences per step.
        peak: dense 16-bit rate of one accelerator in FLOP/s.
    Raises:
        Unmodelled: nothing that was measured says how long a step took.
    """
    step = row.measurement("step_time_s")
    if step is not None:
        return step, 1.0
    length = row.number("seq_len")
    tokens = batch * length
    per_accelerator = row.measurement("tokens_per_s_per_gpu")
    if per_accelerator is not None:
        return tokens / (per_accelerator * accelerators), 1.0
    minutes, trained = row.measurement("time_to_train_min"), row.measurement("samples_or_tokens_trained")
    if minutes is not None:
        if trained is None or trained < 1e6 or "pretrain" not in str(row.inputs.get("task")):
            raise Unmodelled("time to a quality, and the samples that it took are not stated")
        return minutes * 60 / (trained / tokens), 1 + EVALUATED / 3
    rate = row.measurement("achieved_tflops_per_gpu") or row.measurement("achieved_tflops_per_chip")
    share = row.measurement("mfu_pct")
    if rate is None and share is not None:
        rate = share / 100 * peak / 1e12
    if rate is None:
        raise Unmodelled("no step time")
    return counted_flops(row, model, tokens, length) / (rate * 1e12 * accelerators), 1.0


def counted_flops(row: Row, model: Transformer, tokens: float, length: float) -> float:
    """Return the work of a step as the source counts it.

    Narayanan et al. 2021, Eq. 3: recomputation included and attention not causal; all others as PaLM (Appendix B) and
    Megatron: weights and attention, not causal, by the model's own shapes.
    """
    hidden, layers = int(model.hidden), int(model.layers)
    if row.family == "megatron-sc21":
        extra = 1 + length / (6 * hidden) + model.vocab / (16 * layers * hidden)
        return 96 * tokens * layers * hidden**2 * extra
    width = int(model.heads) * int(model.head_dim)
    attention = 2 * hidden * width + 2 * hidden * int(model.kv_heads) * int(model.head_dim)
    layer = attention + (3 if model.gated_ffn else 2) * hidden * int(model.ffn)
    return tokens * (6 * (layers * layer + hidden * int(model.vocab)) + 12 * layers * width * length)
