"""Collectives: time by ranks and bytes, on the links and with the calibrated efficiencies of the catalog."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, expression
from mlsysim_opt.physics.collectives import Network
from mlsysim_opt.physics.training import calibration_of
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Fabric, Node
from mlsysim_opt.units import BYTE
from mlsysim_opt.validation.entries import hardware_entry
from mlsysim_opt.validation.fleets import link_bandwidth, sibling_node
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled

SYSTEMS = {"a100_dgx": "a100_sxm", "h100_dgx": "h100_sxm", "8x MI300X": "mi300x"}
"""Accelerators of systems whose name is that of the server."""
PAIRS = re.compile(r"pairwise")
SOURCE = {"title": "the row of measurements and the catalog", "locator": "inputs.system", "date": 2026}
SIZES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
ALL_REDUCE_BUS = 2.0
"""nccl-tests: the bus bandwidth of an all-reduce of n ranks is 2 (n - 1) / n times bytes over time."""


def predict_network(row: Row) -> Prediction:
    """Return the time of a collective, or the bus bandwidth of a large one.

    Raises:
        Unmodelled: its system is not in the catalog, or is not described.
    """
    latency = row.measurement("latency_us")
    if latency is not None:
        parts = _parts(row, str(row.need("op")), _bytes(row))
        return Prediction(sum(parts.values()) * 1e6, "us", latency, {k: v * 1e6 for k, v in parts.items()}, "time")
    bus = row.measurement("all_reduce_busbw_gbs") or row.measurement("busbw_gbs")
    if bus is None:
        raise Unmodelled("neither a time nor the bandwidth of a collective")
    ranks, size = row.count("ranks"), _bytes(row)
    time = sum(_parts(row, "all_reduce", size).values())
    rate = ALL_REDUCE_BUS * (ranks - 1) / ranks * size / time
    return Prediction(rate / 1e9, "GB/s", bus, target="bus bandwidth")


def _bytes(row: Row) -> float:
    size = row.number("bytes") if row.inputs.get("bytes") is not None else _payload(row)
    if size < 0:
        raise Unmodelled(f"the bytes of a collective are negative: {size:g}")
    return size


def _payload(row: Row) -> float:
    amount, _, unit = str(row.need("payload")).partition(" ")
    if unit not in SIZES:
        raise Unmodelled(f"payload {row.inputs['payload']!r} is not in {', '.join(SIZES)}")
    try:
        size = float(amount) * SIZES[unit]
    except ValueError:
        raise Unmodelled(f"payload {row.inputs['payload']!r} is no number of bytes") from None
    if not math.isfinite(size):
        raise Unmodelled("payload is not finite")
    return size


def _parts(row: Row, operation: str, size: float) -> dict[str, float]:
    """Return seconds of a collective by what they are: latency (that of an empty one), and bandwidth."""
    system = str(row.need("system"))
    if PAIRS.search(system):
        raise Unmodelled("links in pairs: not the same between all accelerators of a node")
    if operation not in OPERATIONS:
        raise Unmodelled(f"operation {operation!r} is not modelled")
    ranks = row.count("ranks")
    inside = row.count("ranks_per_node", ranks)
    run = _program(system, operation, ranks, min(inside, ranks), row.folder)
    whole, empty = run(size), run(0.0)
    return {"bandwidth": whole - empty, "latency": empty}


@cache
def _program(system: str, operation: str, ranks: int, inside: int, folder: Path) -> Callable[[float], float]:
    part = hardware_entry(SYSTEMS.get(system, system), folder)
    catalog = default_catalog()
    sibling = sibling_node(part)
    node = Node.model_validate(
        {"name": "row-node", "title": "node of the row", "source": SOURCE, "accelerator": part,
         "accelerators_per_node": inside,
         "scale_up": {"domain_size": inside, "bandwidth": link_bandwidth(part, sibling), "latency": "1 us"},
         "nics_per_node": inside, "max_power": {"value": "10 kW", "estimated": "no part of the time"}}
    )  # fmt: skip
    fabric = catalog.find("fabric", "InfiniBand_HDR" if part.generation == "ampere" else "InfiniBand_NDR")
    assert isinstance(fabric, Fabric)
    views = (View("node", [node]), View("fabric", [fabric]), View("calibration", [calibration_of(part)]))
    network = Network.of(*views, congestion=ONE)
    size = Symbol("size", BYTE)
    made = OPERATIONS[operation](network, size, expression(ranks))
    program = ScalarProgram([made])
    bound: dict[str, Any] = {}
    for view in views:
        bound.update(view.bindings())
    return lambda amount: float(program.run_named({**bound, "size": amount})[0])


OPERATIONS: dict[str, Callable[[Network, Expression, Expression], Expression]] = {
    "all_reduce": lambda network, size, ranks: 2 * network.reduce_scatter(size, ranks, ONE),
    "all_gather": lambda network, size, ranks: network.reduce_scatter(size, ranks, ONE),
    "reduce_scatter": lambda network, size, ranks: network.reduce_scatter(size, ranks, ONE),
    "alltoall": lambda network, size, ranks: network.all_to_all(size, ranks, ONE),
    "send_recv": lambda network, size, ranks: network.point_to_point(size, ranks),
}
"""The time of each operation on a buffer of this size (the whole buffer)."""
