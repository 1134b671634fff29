"""The fleets that rows of measurements ran on: whole nodes of one accelerator, as far as the row describes them.

Links inside a node, the size of their domain and the ports to the fabric are those of the node of the catalog that
holds the accelerator; what a row states about its network wins.
"""

from __future__ import annotations

import re
from typing import Any

from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Accelerator, Fabric, Fleet, Node
from mlsysim_opt.validation.entries import hardware_entry
from mlsysim_opt.validation.rows import Row, Unmodelled

SOURCE = {"title": "the row of measurements and the catalog", "locator": "inputs.hardware", "date": 2026}
PORT_GBIT = {"volta": 100, "ampere": 200, "gaudi2": 100, "cdna2": 200}
"""Rate of one port to the fabric in Gbit/s where a row does not say: EDR for V100, HDR for A100; else NDR (400)."""
DCN_GBIT = {"tpu_v3": 25, "tpu_v4": 50, "tpu_v5e": 25, "tpu_v5p": 50, "tpu_v6e": 50}
"""Rate to the datacenter network for each chip of a TPU in Gbit/s: a host's network cards over its chips."""
PER_NODE = re.compile(r"(\d+)\s*x\D{0,14}?(\d+)\s*Gb/s(?:[^,;]*per node| NICs per node)?", re.IGNORECASE)
PER_ACCELERATOR = re.compile(r"(\d+)\s*Gb/s(?: RDMA)? per GPU", re.IGNORECASE)
RACKS = ("GB200", "GB300")
"""Accelerators whose racks are one domain of 72. Jobs of a power of two use 64 of each, so that no group straddles."""


def fleet_of(row: Row, accelerators: int) -> Fleet:
    """Return the fleet of a row.

    Raises:
        Unmodelled: its accelerator is not known, or how its accelerators reach each other.
    """
    part = hardware_entry(str(row.need("hardware")), row.folder)
    sibling = sibling_node(part)
    domain, per_node = _sizes(row, part, sibling, accelerators)
    bandwidth = link_bandwidth(part, sibling)
    stated = _stated_gbit(str(row.inputs.get("inter_node", "")), per_node)
    port = stated or DCN_GBIT.get(part.generation) or PORT_GBIT.get(part.generation, 400)
    node = row_node(part, per_node, domain, bandwidth)
    fabric = Fabric.model_validate(
        {"name": "row-fabric", "title": "fabric of the row", "source": SOURCE, "technology": "infiniband",
         "topology": "fat-tree", "bandwidth": f"{port} Gbit/s",
         "latency": {"value": "5 us", "estimated": "two switches and adapters"}, "oversubscription_ratio": 1}
    )  # fmt: skip
    return Fleet.model_validate(
        {"name": "row-fleet", "title": "fleet of the row", "source": SOURCE, "node": node,
         "node_count": accelerators // per_node, "fabric": fabric}
    )  # fmt: skip


def row_node(part: Accelerator, count: int, domain: int, bandwidth: Any) -> Node:
    """Return a node of `count` accelerators as a row describes it; each has a port of its own."""
    return Node.model_validate(
        {"name": "row-node", "title": "node of the row", "source": SOURCE, "accelerator": part,
         "accelerators_per_node": count,
         "scale_up": {"domain_size": domain, "bandwidth": bandwidth, "latency": "1 us"},
         "nics_per_node": count, "max_power": {"value": "10 kW", "estimated": "no part of the time"}}
    )  # fmt: skip


def sibling_node(part: Accelerator) -> Node | None:
    """Return the node of the catalog with (nearest to eight of) this accelerator, else with one of its generation."""
    catalog = default_catalog()
    nodes = [node for node in catalog.all("node") if isinstance(node, Node)]
    same = [node for node in nodes if node.accelerator.name == part.name]
    alike = [node for node in nodes if node.accelerator.generation == part.generation and part.name.startswith("x-")]
    found = same or alike
    return min(found, key=lambda node: abs(node.accelerators_per_node - 8)) if found else None


def _sizes(row: Row, part: Accelerator, sibling: Node | None, accelerators: int) -> tuple[int, int]:
    """Return the accelerators that share fast links, and those of a node."""
    if part.generation.startswith("tpu"):  # a slice is one torus; slices are joined by the datacenter network
        inside = max(accelerators // row.count("slices", 1), 1)
        return inside, inside
    title = part.title.upper()
    if any(name in (part.name.upper(), title) for name in RACKS):
        return (72 if accelerators % 72 == 0 else 64), min(4, accelerators)
    default = sibling.accelerators_per_node if sibling is not None else 8
    per_node = min(row.count("gpus_per_node", default), accelerators)
    if accelerators % per_node:
        raise Unmodelled(f"{accelerators} accelerators are not whole nodes of {per_node}")
    return per_node, per_node


def link_bandwidth(part: Accelerator, sibling: Node | None) -> Any:
    """Return the rate of the links between the accelerators of a node, per accelerator and direction, as text.

    Raises:
        Unmodelled: it is not known.
    """
    if part.name.startswith("x-") and part.scale_up is not None:
        return part.parameter("scale_up.bandwidth").text
    if sibling is not None:
        return sibling.parameter("scale_up.bandwidth").text
    if part.scale_up is not None:
        return part.parameter("scale_up.bandwidth").text
    raise Unmodelled(f"no links known for {part.title}")


def _stated_gbit(text: str, per_node: int) -> float | None:
    """Return the rate to the fabric for each accelerator that a text such as ``8x HDR IB 200 Gb/s per node`` means."""
    found = PER_ACCELERATOR.search(text)
    if found is not None:
        return float(found[1])
    found = PER_NODE.search(text)
    if found is not None:
        return int(found[1]) * float(found[2]) / per_node
    return None
