"""What running a job takes: time for a token budget, money, energy, carbon.

Sources: Henderson et al. 2020 and Patterson et al. 2021 (energy = power x time x PUE, carbon = energy x intensity);
node power between its idle and its full draw by the share of time its accelerators work (Barroso, Hoelzle and
Ranganathan 2018, ch. 5: power is affine in utilization).
"""

from __future__ import annotations

from dataclasses import dataclass

from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.physics.view import View


@dataclass(frozen=True)
class Run:
    """A job that keeps `devices` accelerators of whole nodes for the time its tokens take.

    Attributes:
        tokens: tokens to process. tokens_per_second: the job's speed. goodput: share of time not lost to failures.
        devices, nodes: accelerators and nodes held. busy: share of time in which the slowest stage works.
    """

    tokens: Expression
    tokens_per_second: Expression
    goodput: Expression
    devices: Expression
    nodes: Expression
    node: View
    busy: Expression

    @property
    def time(self) -> Expression:
        """Wall-clock time of the run."""
        return self.tokens / (self.tokens_per_second * self.goodput)

    def cost(self, price: Expression) -> Expression:
        """Rent of the accelerators; `price` is per accelerator and time."""
        return self.time * self.devices * price

    @property
    def node_power(self) -> Expression:
        """Mean power of a whole node, not only of its accelerators. Busy power is measured, below the rated maximum."""
        idle, busy = self.node.idle_power, self.node.busy_power
        return idle + (busy - idle) * self.busy

    @property
    def it_energy(self) -> Expression:
        """Energy of the nodes."""
        return self.time * self.nodes * self.node_power

    def energy(self, pue: Expression) -> Expression:
        """Energy of the facility."""
        return self.it_energy * pue

    def carbon(self, pue: Expression, intensity: Expression) -> Expression:
        """Operational carbon, location-based."""
        return self.energy(pue) * intensity
