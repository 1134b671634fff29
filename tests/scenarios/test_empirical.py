"""Anchors in the published world: what was measured, what the models predict, and how far apart they may be.

`mlsysim-opt validate` measures the models on whole tables; these few say at once when something is badly off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import mlsysim_opt as mo


@dataclass(frozen=True)
class Anchor:
    what: str
    published: float
    tolerance: float
    source: str
    predict: Callable[[], float]


def trained(unit: str, of: str, **job: Any) -> Callable[[], float]:
    return lambda: float(getattr(mo.DistributedModel().solve(**job), of).to(unit).magnitude)


def batch_of(model: str, hardware: str, batch: int, prompt: int, output: int, **more: Any) -> Callable[[], float]:
    """Return output tokens per second of a static batch: prompts first, then all tokens."""

    def predict() -> float:
        solved = mo.ServingModel().solve(model, hardware, prompt + output, batch, output_len=output, **more)
        return batch * output / float(solved.request_latency.to("s").magnitude)

    return predict


def images(hardware: str, batch: int) -> Callable[[], float]:
    return lambda: float(mo.Engine.solve("ResNet50", hardware, batch, "int8").throughput.to("sample/s").magnitude)


ANCHORS = [
    Anchor(
        "Llama 3 405B on 16,384 H100: TFLOP/s per GPU", 400, 0.10, "Grattafiori et al. 2024, Table 4",
        trained("TFLOP/s", "flops_per_device", model="Llama3_405B", fleet="Meta_Llama3_16K_H100", batch_size=2048,
                seq_len=8192, precision="bf16", tp_size=8, pp_size=16, microbatch_size=1, v_stages=8, zero_stage=1,
                sequence_parallel=True, overlap_comm=True),
    ),
    Anchor(
        "Megatron 22B on 8 A100, full recomputation: seconds a step", 1.42, 0.10, "Korthikanti et al. 2022, Table 5",
        trained("s", "step_time", model="Megatron_22B", fleet="One_DGX_A100", batch_size=4, seq_len=2048,
                precision="bf16", tp_size=8, microbatch_size=4, recomputation="full",
                fused_attention=False, dropout=True),
    ),
    Anchor(
        "GPT-J 6B on one H100, FP8, 64 x (128 + 128): tokens/s", 10907, 0.25,
        "TensorRT-LLM, H100 against A100, 2023", batch_of("GPT_J_6B", "H100", 64, 128, 128, precision="fp8"),
    ),
    Anchor(
        "Llama 2 70B on four A100, FP16, 64 x (128 + 128): tokens/s", 1237, 0.25,
        "TensorRT-LLM performance page, 0.5.0, 2023", batch_of("Llama2_70B", "A100", 64, 128, 128, tp_size=4),
    ),
    # Mostly prefill, which comes out too slow on this device.
    Anchor(
        "Llama 2 7B on one L40S, FP8, 32 x (2048 + 128): tokens/s", 574, 0.35,
        "TensorRT-LLM performance page, 0.9.0, 2024", batch_of("Llama2_7B", "L40S", 32, 2048, 128, precision="fp8"),
    ),
    # MLPerf submissions are tuned by hand for the one network and keep layers in the cache, which the models do not
    # know: they come out slower, by more on the newer device. Figures quoted from memory of the published tables.
    Anchor("ResNet-50 on a T4, INT8: images/s", 5622, 0.25, "MLPerf Inference v0.5, offline, 8 x T4",
           images("T4", 128)),
    Anchor("ResNet-50 on an A100, INT8: images/s", 39000, 0.25, "MLPerf Inference v1.1, offline, 8 x A100",
           images("A100", 2048)),
    Anchor("ResNet-50 on an H100, INT8: images/s", 88000, 0.40, "MLPerf Inference v3.0, offline, 8 x H100",
           images("H100", 2048)),
]  # fmt: skip


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.what)
def test_anchor(anchor: Anchor) -> None:
    assert anchor.predict() == pytest.approx(anchor.published, rel=anchor.tolerance), anchor.source


def test_most_anchors_are_close() -> None:
    errors = sorted(abs(anchor.predict() / anchor.published - 1) for anchor in ANCHORS)
    assert errors[len(errors) // 2] < 0.15
