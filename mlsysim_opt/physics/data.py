"""The way of the data to the accelerators: from storage over network and host links, and through the processors.

Sources: Mohan et al. 2021, Analyzing and Mitigating Data Stalls in DNN Training (fetch and prep stalls); Murray et al.
2021, tf.data (prefetching overlaps preparation and training).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import ATOMS, ceil, maximum, minimum, where
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Given, Number, Switch
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View
from mlsysim_opt.units import BANDWIDTH, BYTE, RATE, TIME


class DataResult(Result):
    """Data that is needed and data that arrives, per accelerator."""

    units: ClassVar[dict[str, str]] = dict.fromkeys(("demand_bw", "supply_bw", "margin"), "GB/s")
    is_stalled: Any
    utilization: Any
    demand_bw: Any
    supply_bw: Any
    margin: Any
    stall_fraction: Any
    bottleneck: Any


class DataModel(Model):
    """Whether storage, network and host links bring an accelerator its training data fast enough.

    The supply is the slowest of the stages that are given: the host link of the accelerator, which is its own; the
    drives (`storage`, or those of the node where no other source is given) and the ports of the `fabric`, which
    `sharing` accelerators share (all of the node's, where a node is given). A stage that is not given, or that the
    catalog does not know, is left out; at least one must be there. `workload_data_rate` is the demand of one
    accelerator. `stall_fraction` is the share of time it waits for data.

    Sources: see `data`.
    """

    wall = 8
    inputs = (
        Number("workload_data_rate", "data one accelerator consumes", unit="GB/s", of=BANDWIDTH, open_low=True),
        Given("hardware", kind="accelerator", default=None),
        Given("storage", "the drive or client the data is read from", kind="storage", default=None),
        Given("fabric", "the network the data comes over", kind="fabric", default=None),
        Given("node", "the server; its accelerators share drives and ports", kind="node", default=None),
        Number("sharing", "accelerators that share drives and ports", default=None, integer=True, low=1),
        Number("storage_count", "drives (or clients) that are read at the same time", default=None, integer=True,
               low=1),
    )  # fmt: skip
    example: ClassVar[dict[str, Any]] = {"workload_data_rate": "6 GB/s", "hardware": "A100"}

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        found = super().assumptions(values)
        if values["sharing"] is None:
            found["sharing"] = "the accelerators of the node" if values["node"] is not None else "1"
        if values["storage_count"] is None:
            found["storage_count"] = "those of the node" if _drives_of(values) else "1"
        return found

    def equations(self, **leaves: Any) -> DataResult:
        demand = leaves["workload_data_rate"]
        stages = self._stages(leaves)
        if not stages:
            raise InputError(
                "nothing says how fast data can come", path="hardware",
                hint="give hardware with a host link, storage, a fabric or a node",
            )  # fmt: skip
        supply = minimum(*stages.values())
        return DataResult(
            is_stalled=demand > supply,
            utilization=demand / supply,
            demand_bw=demand,
            supply_bw=supply,
            margin=supply - demand,
            stall_fraction=1 - minimum(supply / demand, 1),
            bottleneck=ATOMS["argmax_label"](*(demand / rate for rate in stages.values()), param=tuple(stages)),
            constraints={"data arrives in time": demand <= supply},
        )

    @staticmethod
    def _stages(leaves: Mapping[str, Any]) -> dict[str, Expression]:
        """Return what each stage supplies to one accelerator, by name."""
        node: View | None = leaves["node"]
        hardware: View | None = leaves["hardware"]
        storage, count = leaves["storage"], leaves["storage_count"]
        if hardware is None and node is not None:
            hardware = node.below("accelerator")
        sharing = leaves["sharing"]
        if sharing is None:
            sharing = ONE if node is None else node.accelerators_per_node
        if _drives_of(leaves) and node is not None:
            storage, count = node.below("local_storage"), node.storage_count if count is None else count
        stages: dict[str, Expression] = {}
        if storage is not None:
            stages["Storage"] = storage.read_bandwidth * (ONE if count is None else count) / sharing
        if leaves["fabric"] is not None:
            ports = sharing if node is None else node.nics_per_node
            stages["Network"] = leaves["fabric"].bandwidth * ports / sharing
        if hardware is not None and hardware.has("host_link"):
            stages["Interconnect"] = hardware.number("host_link.bandwidth")
        return stages


def _drives_of(given: Mapping[str, Any]) -> bool:
    """Return whether data is read from the node's own drives."""
    node = given["node"]
    if node is None or given["storage"] is not None or given["fabric"] is not None:
        return False
    if isinstance(node, View):
        return node.has("local_storage") and node.has("storage_count")
    return node.local_storage is not None and node.storage_count is not None


class TransformationResult(Result):
    """Time to prepare a batch, against the time to train on it."""

    units: ClassVar[dict[str, str]] = {"transform_time": "ms", "accelerator_step_time": "ms", "throughput": "1/s"}
    transform_time: Any
    accelerator_step_time: Any
    step_time: Any
    throughput: Any
    is_bottleneck: Any
    accelerator_utilization: Any
    slowdown_factor: Any
    required_workers: Any


class TransformationModel(Model):
    """Whether the processors decode and augment samples as fast as the accelerators use them.

    The speed of preparation is `num_workers` times `cpu_throughput_per_worker_hz` (samples per second), or times
    `cpu_throughput` (bytes per second) for samples of `sample_size_bytes`. The batch is used up in
    `accelerator_step_time`. **Without it that is one second**: the batch is then what is needed per second, so that 64
    workers of 850 images/s (54,400) do keep up with 40,000 images/s. With prefetching, preparation and training run at
    the same time and the slower sets the pace; without, one after the other. Workers are taken not to hinder each
    other.

    Sources: see `data`.
    """

    wall = 9
    inputs = (
        Number("batch_size", "samples prepared for one step", integer=True, low=1),
        Number("sample_size_bytes", "bytes of one sample", default=None, unit="B", of=BYTE, open_low=True, bare=True),
        Number("cpu_throughput", "bytes per second that one worker prepares", default=None, unit="B/s", of=BANDWIDTH,
               open_low=True),
        Number("accelerator_step_time", "time in which the batch is used up", default="1 s", unit="s", of=TIME,
               open_low=True),
        Number("cpu_throughput_per_worker_hz", "samples per second that one worker prepares", default=None, unit="1/s",
               of=RATE, open_low=True, bare=True),
        Number("num_workers", "processor cores that prepare samples", default=1, integer=True, low=1),
        Switch("prefetch", "whether the next batch is prepared during the step", default=True),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {"sample_size": "sample_size_bytes", "workers": "num_workers"}
    example: ClassVar[dict[str, Any]] = {
        "batch_size": 40000, "cpu_throughput_per_worker_hz": 850, "num_workers": 64,
    }  # fmt: skip

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        values = super().check(*args, **given)
        by_bytes = values["cpu_throughput"] is not None
        if by_bytes == (values["cpu_throughput_per_worker_hz"] is not None):
            raise InputError(
                "give the speed of a worker once: cpu_throughput_per_worker_hz or cpu_throughput",
                path="cpu_throughput_per_worker_hz",
            )
        if by_bytes != (values["sample_size_bytes"] is not None):
            raise InputError(
                "cpu_throughput is in bytes: it goes with sample_size_bytes, and only with it",
                path="sample_size_bytes",
            )
        return values

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        found = super().assumptions(values)
        if values["accelerator_step_time"] == 1.0:
            found["accelerator_step_time"] = "1 s: the batch is what is needed per second"
        return found

    def equations(self, **leaves: Any) -> TransformationResult:
        batch, step, workers = leaves["batch_size"], leaves["accelerator_step_time"], leaves["num_workers"]
        rate = leaves["cpu_throughput_per_worker_hz"]
        if rate is None:
            rate = leaves["cpu_throughput"] / leaves["sample_size_bytes"]
        transform = batch / (workers * rate)
        pace = where(leaves["prefetch"] == 1, maximum(transform, step), transform + step)
        return TransformationResult(
            transform_time=transform,
            accelerator_step_time=step,
            step_time=pace,
            throughput=batch / pace,
            is_bottleneck=transform > step,
            accelerator_utilization=step / pace,
            slowdown_factor=pace / step,
            required_workers=ceil(batch / (rate * step)),
            constraints={"preparation keeps up": transform <= step},
        )
