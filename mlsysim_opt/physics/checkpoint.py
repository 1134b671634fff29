"""Checkpoints of training: their size, how long they hold the job up, and what that costs.

A checkpoint leaves the accelerators over their host links into host memory (the snapshot) and goes from there to
storage. Synchronously the job waits for the slower of the two, which run as one stream. Asynchronously it waits for the
snapshot only, and the rest must be written before the next one. With tiers only every so many-th checkpoint goes to
storage; the others stay in host memory.

Sources: Rajbhandari et al. 2020, section 3.1 (bytes per parameter); Mohan, Phanishayee and Chidambaram 2021 (snapshot
and background writing, CheckFreq); Wang et al. 2023 (tiers in host memory, Gemini).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import ATOMS, ceil, lookup, minimum
from mlsysim_opt.algebra.expression import Choice, Expression, expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Given, Number, Option
from mlsysim_opt.physics.transformer import parameter_count
from mlsysim_opt.physics.view import View
from mlsysim_opt.units import BANDWIDTH, BYTE, TIME

SINGLE = expression("4 byte")
"""One number in single precision: optimizers keep the weights and their moments in it."""
SINGLES = {"adam": 3, "adamw": 3, "lion": 2, "sgd_momentum": 2, "sgd": 1, "none": 0}
"""Single-precision numbers per parameter beside the working weights: the master weight and the moments."""
DEFAULT_INTERVAL = "4 h"


def weights_of(model: View) -> Expression:
    """Return the parameters of a transformer, from its shapes, or of another workload, as published."""
    if model.entries[0].kind == "model":
        return parameter_count(model)
    return model.parameter_count


class CheckpointResult(Result):
    """Size and times of a checkpoint, and the share of training time it costs."""

    units: ClassVar[dict[str, str]] = {
        "checkpoint_size": "GB", "bytes_per_parameter": "B", "write_time": "s", "write_time_seconds": "s",
        "blocking_time": "s", "snapshot_time": "s", "write_bandwidth": "GB/s", "bandwidth_required": "GB/s",
    }  # fmt: skip
    floats = frozenset(("write_time_seconds",))
    checkpoint_size: Any
    bytes_per_parameter: Any
    n_writers: Any
    snapshot_time: Any
    write_time: Any
    write_time_seconds: Any
    blocking_time: Any
    write_bandwidth: Any
    bandwidth_required: Any
    bottleneck: Any
    mfu_penalty: Any
    mfu_penalty_pct: Any


class CheckpointModel(Model):
    """Size of a training checkpoint, time to write it, and the utilization lost.

    All weights (2 bytes) and the single-precision state of the optimizer are saved once: 14 bytes per parameter with
    Adam. They are written by `n_writers` accelerators, each over its own host link, by default by as many as it takes
    to hold them. `storage` is what each writer writes to (a drive, or one client of a file system);
    `filesystem_bandwidth` limits all together. **With neither, the checkpoint stays in host memory**, and the
    assumption says so.

    `mfu_penalty` is the share of time lost, blocking time over interval and blocking time; `mfu_penalty_pct` the same
    in percent. `write_time` is until the checkpoint is safe in the last tier, `bandwidth_required` what one in each
    interval (and the time that it blocks) needs.

    Sources: see `checkpoint`.
    """

    wall = 19
    inputs = (
        Given("model", kind="model", also=("workload",)),
        Given("hardware", kind="accelerator"),
        Option("optimizer", "decides the state that is saved", default="adam", options=tuple(SINGLES)),
        Number("checkpoint_interval_hours", "work between two checkpoints", default=None, unit="h", of=TIME,
               open_low=True, bare=True),
        Number("n_writers", "accelerators that write; as many as hold the state where absent", default=None,
               integer=True, low=1),
        Number("filesystem_bandwidth", "what the storage takes from all writers together", default=None, unit="GB/s",
               of=BANDWIDTH, open_low=True, bare=True),
        Number("checkpoint_interval", "the same as checkpoint_interval_hours, with a unit", default=None, unit="min",
               of=TIME, open_low=True),
        Given("storage", "what each writer writes to", kind="storage", default=None),
        Option("mode", "whether training waits for the storage", default="synchronous",
               options=("synchronous", "asynchronous")),
        Number("persist_every", "every how many-th checkpoint goes to storage", default=1, integer=True, low=1),
        Number("weight_bytes", "bytes per parameter of the working weights", default="2 B", unit="B", of=BYTE,
               bare=True),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {
        "filesystem_limit_gbs": "filesystem_bandwidth", "filesystem_limit": "filesystem_bandwidth",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_70B", "hardware": "H100", "checkpoint_interval": "30 min", "filesystem_bandwidth": "100 GB/s",
    }  # fmt: skip

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        values = super().check(*args, **given)
        if values["checkpoint_interval"] is not None and values["checkpoint_interval_hours"] is not None:
            raise InputError(
                "give the interval once: checkpoint_interval or checkpoint_interval_hours", path="checkpoint_interval"
            )
        return values

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        found = super().assumptions(values)
        if values["checkpoint_interval"] is None and values["checkpoint_interval_hours"] is None:
            found["checkpoint_interval"] = DEFAULT_INTERVAL
        if values["storage"] is None and values["filesystem_bandwidth"] is None:
            found["storage"] = "none: checkpoints stay in host memory"
        if values["n_writers"] is None:
            found["n_writers"] = "as many accelerators as hold the state"
        return found

    def equations(self, **leaves: Any) -> CheckpointResult:
        hardware: View = leaves["hardware"]
        hours, given = leaves["checkpoint_interval_hours"], leaves["checkpoint_interval"]
        interval: Expression = given if given is not None else expression(DEFAULT_INTERVAL) if hours is None else hours
        per_parameter = leaves["weight_bytes"] + _numbers_kept(leaves["optimizer"]) * SINGLE
        size = weights_of(leaves["model"]) * per_parameter
        writers = leaves["n_writers"]
        if writers is None:
            writers = ceil(size / hardware.number("memory.capacity"))
        out = writers * hardware.number("host_link.bandwidth")
        tiers = {"host link": out}
        if leaves["storage"] is not None:
            tiers["storage"] = writers * leaves["storage"].write_bandwidth
        if leaves["filesystem_bandwidth"] is not None:
            tiers["file system"] = leaves["filesystem_bandwidth"]
        slowest = minimum(*tiers.values())
        snapshot, write = size / out, size / slowest
        apart = _takes(leaves["mode"], "asynchronous")
        waits = (write - snapshot) * (1 - apart) / leaves["persist_every"]
        blocking = snapshot + waits
        lost = blocking / (blocking + interval)
        return CheckpointResult(
            checkpoint_size=size,
            bytes_per_parameter=per_parameter,
            n_writers=writers,
            snapshot_time=snapshot,
            write_time=write,
            write_time_seconds=write,
            blocking_time=blocking,
            write_bandwidth=slowest,
            bandwidth_required=size / (blocking + interval * leaves["persist_every"]),
            bottleneck=ATOMS["argmax_label"](*(1 / rate for rate in tiers.values()), param=tuple(tiers)),
            mfu_penalty=lost,
            mfu_penalty_pct=100 * lost,
            constraints={
                "a checkpoint is written before the next one": write <= blocking + interval * leaves["persist_every"]
            },
        )


def _numbers_kept(optimizer: Choice) -> Expression:
    return lookup(optimizer, {name: SINGLES[name] for name in optimizer.values}, title="fp32 numbers per parameter")


def _takes(choice: Choice, label: str) -> Expression:
    """Return 1 where the choice is `label`, else 0."""
    return lookup(choice, {item: float(item == label) for item in choice.values}, title=label)
