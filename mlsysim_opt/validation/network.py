"""Collectives: time by ranks and bytes, on the links and with the calibrated efficiencies of the catalog.

What is measured is a call that somebody waits for: the time that a training job hides, from the call to the first byte,
stands beside that of the collective itself.
"""

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
from mlsysim_opt.registry.types import Accelerator, Fabric, Node
from mlsysim_opt.units import BYTE
from mlsysim_opt.validation.entries import hardware_entry
from mlsysim_opt.validation.fleets import link_bandwidth, row_node, sibling_node
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled

SYSTEMS = {"a100_dgx": "A100", "h100_dgx": "H100", "a100_pairwise_nvlink": "A100_PCIe",
           "h100_pairwise_nvlink": "H100_NVL"}  # fmt: skip
"""Accelerators of systems whose name is that of the server; those in pairs are of Azure (NC A100 v4, NC H100 v5)."""
PART = re.compile(r"(?<![A-Z0-9])(GB\d00|[ABHV]\d00|MI\d{3}X?)(?![A-Z0-9])")
"""The accelerator in what people call a server: ``DGX H100 8x``."""
RANKS = re.compile(r"\b(\d+)x|\bx(\d+)\b|\b(\d+) ranks")
PAIRS = re.compile(r"pairwise_nvlink")
COPY = re.compile(r"pairwise copy")
LARGE = 2.0**34
"""Bytes where only a rate is reported: so many that latencies have no part in it."""
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
        parts = _parts(row, str(row.need("op")), row.count("ranks"), _bytes(row))
        return Prediction(sum(parts.values()) * 1e6, "us", latency, {k: v * 1e6 for k, v in parts.items()}, "time")
    copied = row.measurement("value_gbs")
    if copied is not None and COPY.search(str(row.need("system"))):
        time = sum(_parts(row, "send_recv", 2, LARGE).values())
        return Prediction(LARGE / time / 1e9, "GB/s", copied, target="rate of a copy")
    bus = row.measurement("all_reduce_busbw_gbs") or row.measurement("busbw_gbs")
    if bus is None:
        raise Unmodelled("neither a time nor the bandwidth of a collective")
    ranks, size = _ranks(row), _bytes(row)
    time = sum(_parts(row, "all_reduce", ranks, size).values())
    rate = ALL_REDUCE_BUS * (ranks - 1) / ranks * size / time
    return Prediction(rate / 1e9, "GB/s", bus, target="bus bandwidth")


def _ranks(row: Row) -> int:
    """Return the ranks: as stated, else as the name of the system says (``DGX H100 8x``)."""
    named = RANKS.search(str(row.need("system")))
    if row.inputs.get("ranks") is None and named is not None:
        return int(next(item for item in named.groups() if item))
    return row.count("ranks")


def _bytes(row: Row) -> float:
    if row.inputs.get("bytes") is None and row.inputs.get("payload") is None:
        return LARGE
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


def _parts(row: Row, operation: str, ranks: int, size: float) -> dict[str, float]:
    """Return seconds of a collective: of the call, of latency (that of an empty one), and of bandwidth."""
    system = str(row.need("system"))
    if operation not in OPERATIONS:
        raise Unmodelled(f"operation {operation!r} is not modelled")
    inside = row.count("ranks_per_node", ranks)
    run, call = _program(system, operation, ranks, min(inside, ranks), row.folder)
    whole, empty = run(size), run(0.0)
    return {"bandwidth": whole - empty, "latency": empty, "call": call}


@cache
def _program(
    system: str, operation: str, ranks: int, inside: int, folder: Path
) -> tuple[Callable[[float], float], float]:
    """Return the seconds of an operation by its bytes, and those of a call before the first of them."""
    named = PART.search(system)
    part = hardware_entry(SYSTEMS.get(system) or (named[1] if named else system), folder)
    node, fabric = _links(part, inside, ranks, bool(PAIRS.search(system)))
    calibration = calibration_of(part)
    views = (View("node", [node]), View("fabric", [fabric]), View("calibration", [calibration]))
    network = Network.of(*views, congestion=ONE)
    size = Symbol("size", BYTE)
    made = OPERATIONS[operation](network, size, expression(ranks))
    program = ScalarProgram([made])
    bound: dict[str, Any] = {}
    for view in views:
        bound.update(view.bindings())
    call = calibration.parameters().get("collective_call_latency")
    return lambda amount: float(program.run_named({**bound, "size": amount})[0]), 0.0 if call is None else call.si


def _links(part: Accelerator, inside: int, ranks: int, in_pairs: bool) -> tuple[Node, Fabric]:
    """Return a node with as many accelerators as take part, and what joins such nodes.

    A ring through several pairs of one node goes at the pace of the host links between them, so there every accelerator
    stands alone on its host link.
    """
    apart = in_pairs and inside > 2
    sibling = None if in_pairs else sibling_node(part)
    rate: Any = link_bandwidth(part, sibling)
    if in_pairs and part.scale_up is not None:
        rate = part.parameter("scale_up.bandwidth").text
    neighbours = None if sibling is None else sibling.scale_up.direct_neighbours
    if sibling is not None and neighbours is not None and inside <= neighbours:  # links to all others are idle
        rate = f"{sibling.parameter('scale_up.bandwidth').si * (inside - 1) / neighbours} byte/s"
    alone = 1 if apart else inside
    node = row_node(part, alone, alone, rate)
    if apart and ranks == inside:
        host = {"name": "row-host-links", "title": "host links of the row", "source": SOURCE, "technology": "pcie",
                "topology": "fat-tree", "bandwidth": part.parameter("host_link.bandwidth").text,
                "latency": {"value": "1 us", "estimated": "two hops through the host"},
                "oversubscription_ratio": 1}  # fmt: skip
        return node, Fabric.model_validate(host)
    fabric = default_catalog().find("fabric", "InfiniBand_HDR" if part.generation == "ampere" else "InfiniBand_NDR")
    assert isinstance(fabric, Fabric)
    return node, fabric


OPERATIONS: dict[str, Callable[[Network, Expression, Expression], Expression]] = {
    "all_reduce": lambda network, size, ranks: 2 * network.reduce_scatter(size, ranks, ONE),
    "all_gather": lambda network, size, ranks: network.reduce_scatter(size, ranks, ONE),
    "reduce_scatter": lambda network, size, ranks: network.reduce_scatter(size, ranks, ONE),
    "alltoall": lambda network, size, ranks: network.all_to_all(size, ranks, ONE),
    "send_recv": lambda network, size, ranks: network.point_to_point(size, ranks),
}
"""The time of each operation on a buffer of this size (the whole buffer)."""
