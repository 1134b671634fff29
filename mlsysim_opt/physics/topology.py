"""Topologies of networks: what their bisection carries, what each node gets of its port, how far messages go.

The bisection is the thinnest cut into two halves, in links: N/2 where every node can send to the other half at full
rate. Under uniform traffic (all-to-all) only about half of all messages cross it.

Sources: Dally and Towles 2004, sections 3.2 and 5.2 (bisection, torus), 9 (uniform traffic); Leiserson 1985 and
Al-Fares, Loukissas and Vahdat 2008 (fat trees of switches with k ports); Kim, Dally, Scott and Abts 2008 (balanced
dragonfly).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import maximum, minimum, where
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.errors import UnknownNameError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Given, Number, Option
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View


@dataclass(frozen=True)
class Network:
    """The numbers that a topology depends on: nodes, ports of a switch, oversubscription of the upper levels."""

    nodes: Expression
    radix: Expression
    oversubscription: Expression

    def outside(self, group: Expression) -> Expression:
        """Return the share of other nodes that are not among the `group` nodes nearest to one."""
        return maximum(self.nodes - group, 0) / (self.nodes - 1)


@dataclass(frozen=True)
class Topology:
    """One topology.

    Attributes:
        cut: links of the bisection, each way. hops: mean links between two nodes. most: nodes it can have at most.
    """

    cut: Callable[[Network], Expression]
    hops: Callable[[Network], Expression]
    most: Callable[[Network], Expression]


def _tree_hops(net: Network) -> Expression:
    """Two links by a switch both nodes are on, two more for every level above."""
    leaf, pod = net.radix / 2, net.radix**2 / 4
    second = where(net.nodes > net.radix, 2 * net.outside(leaf), 0)
    third = where(net.nodes > net.radix**2 / 2, 2 * net.outside(pod), 0)
    return 2 + second + third


def _dragonfly_hops(net: Network) -> Expression:
    """Two links to switches, one between groups, and on either side one within a group unless the switch is right.

    A balanced group has a switches for about a^4 / 4 nodes in all."""
    return 3 + 2 * (1 - 1 / (4 * net.nodes) ** 0.25)


def _torus(dimensions: int) -> Topology:
    """Nodes in a cube that closes on itself: two links per node of a face are cut, a quarter of a side is the way."""
    part = 1 / dimensions
    return Topology(
        cut=lambda net: 2 * net.nodes ** (1 - part) if dimensions > 1 else 2 * ONE,
        hops=lambda net: dimensions * net.nodes**part / 4 * net.nodes / (net.nodes - 1),
        most=lambda net: net.nodes,
    )


def _full(net: Network) -> Expression:
    return net.nodes / 2


def _tapered(net: Network) -> Expression:
    return net.nodes / 2 / net.oversubscription


TOPOLOGIES: dict[str, Topology] = {
    "fat-tree": Topology(_tapered, _tree_hops, lambda net: net.radix**3 / 4),
    "rail-optimized": Topology(_tapered, _tree_hops, lambda net: net.radix**3 / 4),
    "single-switch": Topology(_full, lambda net: 2 * ONE, lambda net: net.radix),
    # One link between any two of g groups: g^2/4 cross, and a balanced dragonfly has about g^2 nodes.
    "dragonfly": Topology(lambda net: net.nodes / 4 / net.oversubscription, _dragonfly_hops, lambda net: net.nodes),
    "torus-3d": _torus(3),
    "torus-2d": _torus(2),
    "ring": _torus(1),
}
"""All topologies by name. On a fat tree or rails every node has one port per plane, on a torus one link each way along
each dimension."""
_OTHER_NAMES = {"tree": "fat-tree", "torus": "torus-3d", "switch": "single-switch", "rail": "rail-optimized"}


def topology_name(name: str) -> str:
    """Return the name of a topology as it stands in `TOPOLOGIES`, however its words are joined.

    Raises:
        UnknownNameError: there is none; nothing is taken in its place.
    """
    folded = str(name).lower().replace("_", "-").replace(" ", "-")
    folded = _OTHER_NAMES.get(folded, folded)
    if folded not in TOPOLOGIES:
        raise UnknownNameError("topology", str(name), [*TOPOLOGIES, *_OTHER_NAMES], path="topology")
    return folded


def _chosen(topology: str | Choice, part: Callable[[Topology], Callable[[Network], Expression]], net: Network) -> Any:
    """Return a part of the equations of a topology, or of each that a choice among them can be."""
    if isinstance(topology, str):
        return part(TOPOLOGIES[topology_name(topology)])(net)
    found: Expression | None = None
    for label in topology.values:
        mine = part(TOPOLOGIES[label])(net)
        found = mine if found is None else where(topology == label, mine, found)
    return found


def bisection_share(topology: str | Choice, nodes: Expression, oversubscription: Expression = ONE) -> Expression:
    """Return the share of its port's rate that every node gets when all send to the other half; at most 1.

    Args:
        topology: a name of `TOPOLOGIES`, or a choice among them.
    """
    cut = _chosen(topology, lambda item: item.cut, Network(nodes, ONE, oversubscription))
    return minimum(cut / (nodes / 2), 1)


def topology_factor(topology: str | Choice, nodes: Expression, oversubscription: Expression = ONE) -> Expression:
    """Return the share of its port's rate that every node gets in an all-to-all (uniform traffic); at most 1.

    Rings, reduce-scatters and pipelines talk to neighbours and get their port's whole rate on all of these topologies.
    For a single node there is no network, and the share is 1.

    Args:
        topology: a name of `TOPOLOGIES`, or a choice among them. oversubscription: of upper levels, 1 for none.
    """
    cut = _chosen(topology, lambda item: item.cut, Network(nodes, ONE, oversubscription))
    crossing = nodes / 2 * (nodes / 2) / maximum(nodes - 1, 1)
    return minimum(cut / crossing, 1)


@dataclass(frozen=True)
class TopologyOption(Option):
    """The name of a topology, its words joined by ``-`` or ``_``."""

    def check(self, value: Any) -> str:
        return topology_name(value)


class TopologyResult(Result):
    """Bandwidth across and through a network, and the way of its messages."""

    units: ClassVar[dict[str, str]] = dict.fromkeys(("effective_bw", "all_to_all_bw", "bisection_bw"), "GB/s")
    effective_bw: Any
    all_to_all_bw: Any
    bisection_bw: Any
    bisection_bw_fraction: Any
    bisection_links: Any
    hops_avg: Any

    @property
    def hops(self) -> Any:
        """The same as `hops_avg`."""
        return self.hops_avg


class TopologyModel(Model):
    """What a network of some topology gives each node, at the rate of the fabric's ports.

    `effective_bw` is what every node gets when all send to the other half (the worst case), `all_to_all_bw` when they
    send evenly to all; neither exceeds the rate of the port. `bisection_bw` is what crosses the thinnest cut one way.
    Without `topology` it is the fabric's own. A torus is taken as a cube of equal sides, a dragonfly as balanced; the
    fabric's oversubscription tapers trees, rails and dragonflies, and does not exist on a torus, a ring or one switch.
    An unknown topology is an error.

    Sources: see `topology`.
    """

    wall = 10
    inputs = (
        Given("fabric", kind="fabric"),
        TopologyOption("topology", "how nodes are connected; as the fabric's where absent", default=None,
                       options=tuple(TOPOLOGIES)),
        Number("num_nodes", "nodes on the network", default=64, integer=True, low=2),
        Number("links", "parallel networks, one port of each node on each", default=1, integer=True, low=1),
        Number("switch_radix", "ports of one switch", default=64, integer=True, low=2),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {"nodes": "num_nodes", "radix": "switch_radix"}
    example: ClassVar[dict[str, Any]] = {"fabric": "InfiniBand_NDR", "topology": "torus_3d", "num_nodes": 512}

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["topology"] is None:
            values = {**values, "topology": topology_name(values["fabric"].topology)}
        return values

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        found = super().assumptions(values)
        if values["topology"] == topology_name(values["fabric"].topology):
            found["topology"] = f"{values['topology']}, as the fabric's"
        return found

    def equations(self, **leaves: Any) -> TopologyResult:
        fabric: View = leaves["fabric"]
        topology, nodes = leaves["topology"], leaves["num_nodes"]
        rate = fabric.bandwidth * leaves["links"]
        taper = fabric.oversubscription_ratio
        net = Network(nodes, leaves["switch_radix"], taper)
        share = bisection_share(topology, nodes, taper)
        return TopologyResult(
            effective_bw=share * rate,
            all_to_all_bw=topology_factor(topology, nodes, taper) * rate,
            bisection_bw=share * nodes / 2 * rate,
            bisection_bw_fraction=share,
            bisection_links=_chosen(topology, lambda item: item.cut, net) * leaves["links"],
            hops_avg=_chosen(topology, lambda item: item.hops, net),
            constraints={"switches have enough ports": nodes <= _chosen(topology, lambda item: item.most, net)},
        )
