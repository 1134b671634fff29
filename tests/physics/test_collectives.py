"""Collectives on two levels of network, by hand."""

from __future__ import annotations

import pytest

from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.collectives import Network

LINKS = Network(
    up=expression("300 GB/s"), out=expression("25 GB/s"), up_latency=expression("2 us"),
    out_latency=expression("10 us"), domain=expression(8),
)  # fmt: skip
GIGABYTE = expression("1 GB")


def seconds(time: Expression) -> float:
    return float(evaluate(time))


def test_ring_inside_a_domain() -> None:
    # 8 ranks: 7/8 of 1 GB over 300 GB/s = 2.91667 ms, and 7 hops of 2 us
    time = LINKS.reduce_scatter(GIGABYTE, expression(8), expression(1))
    assert seconds(time) == pytest.approx(7 / 8 / 300 + 7 * 2e-6, rel=1e-12)


def test_all_reduce_is_two_of_them() -> None:
    # 2 (n - 1)/n times the bytes, 2 (n - 1) hops
    once = seconds(LINKS.reduce_scatter(GIGABYTE, expression(4), expression(1)))
    assert 2 * once == pytest.approx(2 * 3 / 4 / 300 + 6 * 2e-6, rel=1e-12)


def test_ring_through_nodes_uses_all_their_ports() -> None:
    # 64 ranks on 8 nodes: each node receives 7/8 of 1 GB over 8 ports of 25 GB/s = 4.375 ms, more than NVLink's 2.917
    # ms; the ring has 63 hops: 7 between nodes, and 7 inside each of the 8. (Measured: small all-reduces of 16 A100 on
    # two nodes take 65 us; 2 x (14 x 1.5 + 10) = 62, not 2 x (7 x 1.5 + 10) = 41.)
    time = LINKS.reduce_scatter(GIGABYTE, expression(64), expression(1))
    assert seconds(time) == pytest.approx(7 / 8 / (8 * 25) + 56 * 2e-6 + 7 * 10e-6, rel=1e-12)


def test_ranks_eight_apart_share_nothing_inside() -> None:
    # stride 8 in a domain of 8: every hop goes over the one port of the rank
    time = LINKS.reduce_scatter(GIGABYTE, expression(4), expression(8))
    assert seconds(time) == pytest.approx(3 / 4 / 25 + 3 * 10e-6, rel=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 8, 64])
def test_one_rank_waits_for_nobody(stride: int) -> None:
    assert seconds(LINKS.reduce_scatter(GIGABYTE, expression(1), expression(stride))) == 0
    assert seconds(LINKS.all_to_all(GIGABYTE, expression(1), expression(stride))) == 0


def test_all_to_all_inside_and_across() -> None:
    # 16 ranks on 2 nodes send 1 GB each: 7/16 stay on NVLink (1.458 ms), 8/16 leave over one port (20 ms) at the same
    # time
    time = LINKS.all_to_all(GIGABYTE, expression(16), expression(1))
    assert seconds(time) == pytest.approx(8 / 16 / 25 + 10e-6, rel=1e-12)
    inside = LINKS.all_to_all(GIGABYTE, expression(8), expression(1))
    assert seconds(inside) == pytest.approx(7 / 8 / 300 + 7 * 2e-6, rel=1e-12)


def test_neighbours() -> None:
    assert seconds(LINKS.point_to_point(GIGABYTE, expression(8))) == pytest.approx(1 / 300 + 2e-6, rel=1e-12)
    assert seconds(LINKS.point_to_point(GIGABYTE, expression(9))) == pytest.approx(1 / 25 + 10e-6, rel=1e-12)
