"""Times of collectives on a two-level network: a scale-up domain (NVLink) inside a scale-out fabric (InfiniBand, RoCE).

Ranks are placed consecutively: tensor-parallel innermost, then context, then data, then pipeline. A group whose span
fits in a domain uses scale-up links; a larger one runs rings through all its nodes, each accelerator driving its share
of the node's NICs.

Sources: Patarasuk & Yuan 2009 (bandwidth and steps of a ring); nccl-tests PERFORMANCE.md (bus bandwidth); NCCL (rings
for reduce-scatter and all-gather).
"""

from __future__ import annotations

from dataclasses import dataclass

from mlsysim_opt.algebra.atoms import divides, maximum, where
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.physics.topology import topology_factor
from mlsysim_opt.physics.view import View


@dataclass(frozen=True)
class Network:
    """Achieved bandwidths (per accelerator, per direction) and latencies of both levels.

    Attributes:
        up, out: bandwidth inside the scale-up domain and between domains.
        up_latency, out_latency: time per hop of a collective.
        domain: accelerators in one scale-up domain.
        topology: of the links between nodes, where one is forced; only all-to-alls feel it, as rings and pipelines talk
            to neighbours. Without it every node sends at its whole rate, less the fabric's oversubscription.
    """

    up: Expression
    out: Expression
    up_latency: Expression
    out_latency: Expression
    domain: Expression
    topology: str | Choice | None = None

    @staticmethod
    def of(
        node: View, fabric: View, calibration: View, congestion: Expression, topology: str | Choice | None = None
    ) -> Network:
        """Return the network of a fleet; `congestion` divides the bandwidth between nodes."""
        per_accelerator = node.nics_per_node / node.accelerators_per_node
        wire = fabric.bandwidth * per_accelerator / fabric.oversubscription_ratio
        return Network(
            up=node.number("scale_up.bandwidth") * calibration.scale_up_efficiency,
            out=wire * calibration.scale_out_efficiency / congestion,
            up_latency=calibration.scale_up_latency,
            out_latency=calibration.scale_out_latency + fabric.latency,
            domain=node.number("scale_up.domain_size"),
            topology=topology,
        )

    def inside(self, span: Expression) -> Expression:
        """Return whether a group spanning this many consecutive ranks stays inside one domain."""
        return span <= self.domain

    def _near(self, group: Expression, stride: Expression) -> Expression:
        """Return how many ranks of each group share a domain: all, or a whole domain's worth, where groups and domains
        begin at the same ranks. Groups that straddle domains unevenly are priced as if none did."""
        span = group * stride
        whole = divides(stride, self.domain) & divides(self.domain, span)
        return where(divides(span, self.domain), group, where(whole, self.domain / stride, 1))

    def reduce_scatter(self, size: Expression, group: Expression, stride: Expression) -> Expression:
        """Return the time of a reduce-scatter or all-gather of `size` (the full buffer) over a group.

        Args:
            size: bytes of the whole buffer on one rank.
            group: ranks in the group.
            stride: distance of neighbours in placement order (1 for tensor parallelism).
        """
        near = self._near(group, stride)
        far = group / near
        # A ring runs through all nodes: both kinds of links carry it at the same time, the slower one sets the pace.
        transfer = size * maximum((1 - 1 / near) / self.up, (1 - 1 / far) / near / self.out)
        # It passes every rank: between nodes once for each node but one, inside each node once for each rank but one.
        return transfer + far * (near - 1) * self.up_latency + (far - 1) * self.out_latency

    def all_to_all(self, size: Expression, group: Expression, stride: Expression) -> Expression:
        """Return the time in which each rank sends `size` in all, spread evenly over its group (itself included)."""
        near = self._near(group, stride)
        near_time = size * (near - 1) / group / self.up + (near - 1) * self.up_latency
        out = self.out if self.topology is None else self.out * topology_factor(self.topology, group / near)
        far_time = size * (group - near) / group / out + where(group > near, 1, 0) * self.out_latency
        return maximum(near_time, far_time)

    def point_to_point(self, size: Expression, span: Expression) -> Expression:
        """Return the time to send `size` to the neighbour in a group of this span."""
        near = self.inside(span)
        return size / where(near, self.up, self.out) + where(near, self.up_latency, self.out_latency)
