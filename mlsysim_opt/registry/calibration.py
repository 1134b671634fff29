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
    (streaming multiprocessors, compute units). Latencies are per hop of a collective; `collective_call_latency` is
    what a call takes before its first byte where somebody waits for it, as benchmarks do (training calls ahead, and
    serving has it in the hops below). `layer_overhead` is per layer and pass, `step_overhead` per training step;
    `serving_layer_overhead` and `serving_step_overhead` are those of a pass of a served model (captured graphs;
    scheduling and hand-over), `serving_request_overhead` that of each request in it (sampling, streaming);
    an all-reduce inside a served replica waits for `serving_collective_hops`, however small. An accelerator at work
    draws, of its rated power, `awake_power_share` and in proportion to the used shares of memory bandwidth and
    peak compute the other two, the rated power at most. `step_jitter` is the standard deviation of the nodes'
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
    collective_call_latency: TimeOrZero | None = None
    layer_overhead: TimeOrZero
    serving_layer_overhead: TimeOrZero | None = None
    serving_step_overhead: TimeOrZero | None = None
    serving_request_overhead: TimeOrZero | None = None
    serving_collective_hops: RatioOrZero | None = None
    awake_power_share: RatioOrZero | None = None
    bandwidth_power_share: RatioOrZero | None = None
    compute_power_share: RatioOrZero | None = None
    step_overhead: TimeOrZero
    step_jitter: RatioOrZero
    unfused_traffic: RatioFromOne
    early_attention: RatioFromOne
