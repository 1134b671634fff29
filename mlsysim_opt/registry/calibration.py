"""Type of the calibrated constants of one accelerator generation."""

from __future__ import annotations

from typing import ClassVar

from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import Count, Efficiency, RatioFromOne, RatioOrZero, TimeOrZero


class Calibration(Entry):
    """What an accelerator generation reaches of its peaks, and the fixed times beside them.

    The name is the `generation` of the accelerators it holds for. Efficiencies are the reached share of a
    peak rate: large matrix products, attention, memory reads, collectives inside the scale-up domain and
    between nodes. `compute_units` are the parts of the device that each make one tile of outputs at a time
    (streaming multiprocessors, compute units). Latencies are per hop of a collective; `layer_overhead` is per
    layer and pass, `step_overhead` per training step; `step_jitter` is the standard deviation of the nodes'
    times, of which a step waits for the longest. `unfused_traffic` is how much more memory traffic operators
    outside the products make when they are not fused, `early_attention` how much longer attention takes in
    fused kernels of the first generation (FlashAttention 1, Triton).
    """

    kind: ClassVar[str] = "calibration"

    compute_units: Count
    gemm_efficiency: Efficiency
    attention_efficiency: Efficiency
    memory_bandwidth_efficiency: Efficiency
    scale_up_efficiency: Efficiency
    scale_out_efficiency: Efficiency
    scale_up_latency: TimeOrZero
    scale_out_latency: TimeOrZero
    layer_overhead: TimeOrZero
    step_overhead: TimeOrZero
    step_jitter: RatioOrZero
    unfused_traffic: RatioFromOne
    early_attention: RatioFromOne
