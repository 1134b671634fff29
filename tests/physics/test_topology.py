"""Topologies against networks built node by node, and the faults of conventions that are not physical."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Choice, expression
from mlsysim_opt.errors import UnknownNameError
from mlsysim_opt.physics import TopologyModel
from mlsysim_opt.physics.topology import TOPOLOGIES, topology_factor

Graph = dict[Any, set[Any]]
NAMES = st.sampled_from(sorted(TOPOLOGIES))


def solve(topology: str, nodes: int, **given_: Any) -> Any:
    return TopologyModel().solve(fabric="InfiniBand_NDR", topology=topology, num_nodes=nodes, **given_)


# networks, built ------------------------------------------------------------------------------------------------------
def graph(links: Iterable[tuple[Any, Any]]) -> Graph:
    found: Graph = {}
    for a, b in links:
        found.setdefault(a, set()).add(b)
        found.setdefault(b, set()).add(a)
    return found


def torus(side: int, dimensions: int) -> Graph:
    def next_of(node: tuple[int, ...], axis: int) -> tuple[int, ...]:
        return tuple((at + (index == axis)) % side for index, at in enumerate(node))

    nodes = itertools.product(range(side), repeat=dimensions)
    return graph((node, next_of(node, axis)) for node in nodes for axis in range(dimensions))


def fat_tree(radix: int) -> Graph:
    """Three levels: `radix` pods of radix/2 leaves and radix/2 middle switches, radix/2 nodes to a leaf."""
    half = radix // 2
    pods, inner = range(radix), range(half)
    links: list[tuple[Any, Any]] = []
    for pod, leaf in itertools.product(pods, inner):
        links += [(("node", pod, leaf, node), ("leaf", pod, leaf)) for node in inner]
        links += [(("leaf", pod, leaf), ("middle", pod, middle)) for middle in inner]
    for pod, middle, up in itertools.product(pods, inner, inner):
        links.append((("middle", pod, middle), ("top", middle, up)))
    return graph(links)


def dragonfly(switches: int) -> Graph:
    """Balanced: a switches to a group, a/2 nodes and a/2 global links to a switch, one link between any two groups."""
    half = switches // 2
    groups = switches * half + 1
    links: list[tuple[Any, Any]] = []
    for group in range(groups):
        for a, b in itertools.combinations(range(switches), 2):
            links.append((("switch", group, a), ("switch", group, b)))
        for switch, node in itertools.product(range(switches), range(half)):
            links.append((("switch", group, switch), ("node", group, switch, node)))
        for port in range(groups - 1):
            other = (group + port + 1) % groups
            back = (group - other - 1) % groups
            if group < other:
                links.append((("switch", group, port // half), ("switch", other, back // half)))
    return graph(links)


def mean_hops(network: Graph, ends: list[Any]) -> float:
    total = 0
    for start in ends:
        far = {start: 0}
        queue = deque([start])
        while queue:
            at = queue.popleft()
            for other in network[at]:
                if other not in far:
                    far[other] = far[at] + 1
                    queue.append(other)
        total += sum(far[end] for end in ends)
    return total / (len(ends) * (len(ends) - 1))


def cut_in_half(network: Graph, side: int) -> int:
    """Links between the halves of a torus along its first dimension."""
    return sum(a[0] < side // 2 <= b[0] for a in network for b in network[a])


@pytest.mark.parametrize(("topology", "side", "dimensions"), [("ring", 16, 1), ("torus_2d", 8, 2), ("torus_3d", 4, 3),
                                                              ("torus_3d", 6, 3)])  # fmt: skip
def test_trap_the_cut_of_a_torus_counts_both_ways_around(topology: str, side: int, dimensions: int) -> None:
    # A ring is cut in 2 places, a cube of side k in 2 k^2: with half of these the bandwidth would be half
    built, nodes = torus(side, dimensions), side**dimensions
    assert cut_in_half(built, side) == 2 * side ** (dimensions - 1)
    result = solve(topology, nodes)
    assert result.bisection_links == pytest.approx(2 * side ** (dimensions - 1), rel=1e-9)
    assert result.hops_avg == pytest.approx(mean_hops(built, list(built)), rel=1e-9)
    assert result.bisection_bw_fraction == pytest.approx(min(1, 4 / side), rel=1e-9)
    want = 50 * min(2 * side ** (dimensions - 1), nodes / 2)
    assert result.bisection_bw.to("GB/s").magnitude == pytest.approx(want, rel=1e-9)


def test_a_fat_tree_of_switches_with_four_ports() -> None:
    # 16 nodes; 14 of 15 others are not on the same leaf, 12 not in the same pod: 2 + 2 x 14/15 + 2 x 12/15 = 5.4667
    built = fat_tree(4)
    ends = [node for node in built if node[0] == "node"]
    result = solve("fat_tree", 16, switch_radix=4)
    assert len(ends) == 16
    assert result.hops_avg == pytest.approx(mean_hops(built, ends), rel=1e-9)
    assert result.hops_avg == pytest.approx(5.4667, abs=1e-4)
    assert result.bisection_bw_fraction == 1
    assert not solve("fat_tree", 17, switch_radix=4).feasible


def test_trap_a_larger_tree_has_longer_ways() -> None:
    small, medium, large = (solve("fat_tree", nodes).hops_avg for nodes in (64, 1024, 16_384))
    assert small == 2  # one switch of 64 ports
    assert 2 < medium < 4 < large < 6


def test_a_balanced_dragonfly() -> None:
    # a = 6: 19 groups of 6 switches with 3 nodes each, 342 nodes. Halves of 9 and 10 groups: 90 links cross, against
    # 342/4 = 85.5 in the equation
    built = dragonfly(6)
    ends = [node for node in built if node[0] == "node"]
    result = solve("dragonfly", len(ends))
    assert len(ends) == 342
    assert result.hops_avg == pytest.approx(mean_hops(built, ends), rel=0.05)
    crossing = sum(a[1] < 9 <= b[1] for a in built for b in built[a] if a[0] == b[0] == "switch")
    assert crossing == 90
    assert result.bisection_links == pytest.approx(crossing, rel=0.06)
    assert result.effective_bw.to("GB/s").magnitude == pytest.approx(25)
    assert result.all_to_all_bw.to("GB/s").magnitude == pytest.approx(50, rel=0.01)


# conventions ----------------------------------------------------------------------------------------------------------
def test_trap_an_unknown_topology_is_not_a_fat_tree() -> None:
    with pytest.raises(UnknownNameError, match="bogus"):
        solve("bogus", 64)
    with pytest.raises(UnknownNameError):
        topology_factor("hypercube", expression(64))


def test_names_are_read_however_joined_and_default_to_the_fabrics_own() -> None:
    assert solve("fat_tree", 64).effective_bw == solve("Fat-Tree", 64).effective_bw == solve("tree", 64).effective_bw
    own = TopologyModel().solve(fabric="InfiniBand_NDR")
    assert own.effective_bw == solve("fat_tree", 64).effective_bw
    assert own.assumptions["topology"].startswith("fat-tree")


@given(NAMES, st.integers(2, 20_000), st.integers(1, 4))
def test_trap_no_node_gets_more_than_its_port(topology: str, nodes: int, links: int) -> None:
    result = solve(topology, nodes, links=links)
    port = 50 * links
    worst, even = (item.to("GB/s").magnitude for item in (result.effective_bw, result.all_to_all_bw))
    assert 0 < worst <= even * (1 + 1e-9) <= port * (1 + 2e-9)
    assert 0 < result.bisection_bw_fraction <= 1
    assert result.bisection_bw.to("GB/s").magnitude <= port * nodes / 2 * (1 + 1e-9)
    assert result.hops_avg >= 1 or nodes == 2
    larger = solve(topology, nodes + 2, links=links)
    assert larger.effective_bw <= result.effective_bw * (1 + 1e-9)


@given(NAMES, st.integers(1, 5000))
def test_the_factor_is_the_share_of_an_all_to_all(topology: str, nodes: int) -> None:
    found = evaluate(topology_factor(topology, expression(nodes)))
    assert 0 < found <= 1
    if nodes > 1:
        result = solve(topology, nodes)
        assert found == pytest.approx(result.all_to_all_bw.to("GB/s").magnitude / 50)
    else:
        assert found == 1
    choice = Choice("topology", list(TOPOLOGIES))
    assert evaluate(topology_factor(choice, expression(nodes)), {"topology": topology}) == pytest.approx(found)


def test_a_ring_carries_an_all_to_all_at_8_over_n() -> None:
    # Each of 2 links one way carries the traffic of N/2 nodes to N/2 of N - 1 others: 2 / (N^2/4/(N-1)) -> 8/N
    assert evaluate(topology_factor("ring", expression(1000))) == pytest.approx(8 / 1000, rel=2e-3)


def test_oversubscription_tapers_trees_only() -> None:
    half = expression(2)
    assert evaluate(topology_factor("fat-tree", expression(1000), expression(4))) == pytest.approx(0.5, rel=2e-3)
    assert evaluate(topology_factor("ring", expression(1000), half)) == evaluate(
        topology_factor("ring", expression(1000))
    )


def test_sweeping_topologies_and_sizes() -> None:
    swept = TopologyModel().sweep(
        fabric="InfiniBand_NDR", topology=["ring", "torus_3d"], num_nodes=[4, 64], outputs=["effective_bw"]
    )
    want = solve("torus_3d", 64).effective_bw.to("GB/s").magnitude
    assert swept["effective_bw"][1, 1].to("GB/s").magnitude == pytest.approx(want)
