"""What running a job takes: time for a token budget, energy, money, carbon, water. Written once for all models.

Sources: Henderson et al. 2020 and Patterson et al. 2021 (energy = power x time x PUE, carbon = energy x intensity);
node power between its idle and its full draw by the share of time its accelerators work (Barroso, Hoelzle and
Ranganathan 2018, ch. 5: power is affine in utilization); The Green Grid, white papers 35 and 49 (WUE and PUE have the
energy of the IT equipment below the line); GHG Protocol, Scope 2 Guidance (location- and market-based).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry.entry import Entry, Part


def node_power(node: View, busy: Expression) -> Expression:
    """Return the mean power of a whole node, not only of its accelerators.

    Args:
        node: its idle and busy power; busy power is measured under load, below the rated maximum.
        busy: share of time in which its accelerators work.
    Raises:
        MissingFieldError: the node states no idle or no busy power.
    """
    idle, full = node.idle_power, node.busy_power
    return idle + (full - idle) * busy


@dataclass(frozen=True)
class Energy:
    """Energy of IT equipment, and what it takes of the building and the world.

    Attributes:
        it: energy of nodes. pue: energy of the building per energy of IT equipment.
    """

    it: Expression
    pue: Expression

    @property
    def facility(self) -> Expression:
        """Energy of the building."""
        return self.it * self.pue

    def carbon(self, intensity: Expression) -> Expression:
        """Operational carbon: location-based with the intensity of the grid, market-based with that of contracts."""
        return self.facility * intensity

    def water_on_site(self, wue: Expression) -> Expression:
        """Water the building uses: WUE counts litres per energy of IT equipment, so PUE has no part in it."""
        return self.it * wue

    def water_at_source(self, intensity: Expression) -> Expression:
        """Water that power plants evaporate for all the electricity of the building."""
        return self.facility * intensity


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
        return rent(self.devices, self.time, price)

    @property
    def node_power(self) -> Expression:
        """Mean power of a whole node."""
        return node_power(self.node, self.busy)

    @property
    def it_energy(self) -> Expression:
        """Energy of the nodes."""
        return self.time * self.nodes * self.node_power

    def energy(self, pue: Expression) -> Expression:
        """Energy of the facility."""
        return Energy(self.it_energy, pue).facility

    def carbon(self, pue: Expression, intensity: Expression) -> Expression:
        """Operational carbon, location-based."""
        return Energy(self.it_energy, pue).carbon(intensity)


def rent(devices: Expression, time: Expression, price: Expression) -> Expression:
    """Return what accelerators cost that are held for a time, at a price per accelerator and time."""
    return devices * time * price


# what an entry may lack ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Place(Given):
    """A catalog entry some of whose numbers are not always published.

    Equations are kept by structure, not by name. Where one of `optional` is missing, the name joins the key, so that
    the error which stands in place of a result names this entry and no other.
    """

    optional: tuple[str, ...] = ()

    def key(self, value: Any) -> Any:
        gaps = any(not _has(value, path) for path in self.optional)
        return (super().key(value), value.name if gaps else None)


def _has(entry: Entry, path: str) -> bool:
    here: Any = entry
    for step in path.split("."):
        here = here.__dict__.get(step) if isinstance(here, Part) else None
    return here is not None
