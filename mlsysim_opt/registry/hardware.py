"""Types of what computes and connects: accelerators, nodes, fabrics and fleets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.errors import InputError, UnsupportedPrecisionError
from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.fields import (
    ByteRate,
    Bytes,
    Carbon,
    Count,
    Date,
    FlopRate,
    Power,
    RatioFromOne,
    Reference,
    Time,
)
from mlsysim_opt.registry.sites import Datacenter, Grid
from mlsysim_opt.registry.storage import Storage

if TYPE_CHECKING:
    from pint import Quantity


class Memory(Part):
    """Device memory: what the driver offers to programs, and the peak rate of reading it."""

    capacity: Bytes
    bandwidth: ByteRate


class OnChipMemory(Part):
    """SRAM beside the main memory: a cache, or a scratchpad that the program fills."""

    capacity: Bytes
    bandwidth: ByteRate | None = None


class Link(Part):
    """A connection of one accelerator: its rate in one direction."""

    bandwidth: ByteRate


class PeakRates(Part):
    """Dense peak rates by precision; integer operations count as FLOP. Absent means the device has none."""

    fp64: FlopRate | None = None
    fp32: FlopRate | None = None
    tf32: FlopRate | None = None
    fp16: FlopRate | None = None
    bf16: FlopRate | None = None
    fp8: FlopRate | None = None
    fp6: FlopRate | None = None
    fp4: FlopRate | None = None
    int8: FlopRate | None = None
    int4: FlopRate | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> PeakRates:
        if not self.precisions:
            raise PydanticCustomError("catalog", "needs the rate of at least one precision")
        return self

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions this device has a rate for."""
        return tuple(name for name, value in self.__dict__.items() if value is not None)

    def missing(self, entry: str, path: str) -> InputError:
        """Return the error for a precision without a rate."""
        return UnsupportedPrecisionError(entry, path.rpartition(".")[2], self.precisions)

    def __getitem__(self, precision: str) -> Quantity[float]:
        """Return the dense rate of a precision.

        Raises:
            UnsupportedPrecisionError: the device has none; another rate is never used in its place.
        """
        if precision not in self.precisions:
            raise self.missing("the device", precision)
        rate: Quantity[float] = getattr(self, precision)
        return rate


class Compute(Part):
    """The arithmetic of one accelerator.

    `structured_sparsity` is how much faster products run when two of every four weights are zero (2:4); absent where
    the device has no such units.
    """

    peak: PeakRates
    structured_sparsity: RatioFromOne | None = None

    @property
    def peak_flops(self) -> Quantity[float]:
        """The dense 16-bit rate: fp16 or bf16, whichever is faster.

        Raises:
            UnsupportedPrecisionError: the device has neither.
        """
        half, brain = self.peak.fp16, self.peak.bf16
        faster_bf16 = brain is not None and (half is None or brain > half)
        return self.peak["bf16" if faster_bf16 else "fp16"]


class Accelerator(Entry):
    """One accelerator as its driver shows it: rates are dense, links are per direction.

    `memory` holds weights and activations; on a device without DRAM (wafer, microcontroller) it is the SRAM, and
    `flash` is where a microcontroller keeps its weights. `host_link` is the way in from the host, or into a whole
    system from outside. Vendors that publish no `tdp` leave it absent; what needs it then says so.
    """

    kind: ClassVar[str] = "accelerator"

    vendor: str
    released: Date
    generation: str
    memory: Memory
    compute: Compute
    tdp: Power | None = None
    onchip_memory: OnChipMemory | None = None
    flash: Memory | None = None
    scale_up: Link | None = None
    host_link: Link | None = None
    idle_power: Power | None = None
    embodied_carbon: Carbon | None = None

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions this device has a rate for."""
        return self.compute.peak.precisions

    def peak(self, precision: str) -> Quantity[float]:
        """Return the dense rate of a precision.

        Raises:
            UnsupportedPrecisionError: the device has none; another rate is never used in its place.
        """
        self.peak_parameter(precision)
        return self.compute.peak[precision]

    def peak_parameter(self, precision: str) -> Datum:
        """Return the dense rate of a precision with its provenance; pint is not involved.

        Raises:
            UnsupportedPrecisionError: the device has none; another rate is never used in its place.
        """
        if precision not in self.precisions:
            raise UnsupportedPrecisionError(self.name, precision, self.precisions)
        return self.parameter(f"compute.peak.{precision}")


class ScaleUp(Part):
    """The domain in which accelerators reach each other without the fabric.

    Where each has links of its own to all others (a full mesh) and no switch, `direct_neighbours` are those others, and
    each gets an equal share of the bandwidth.
    """

    domain_size: Count
    bandwidth: ByteRate
    latency: Time
    direct_neighbours: Count | None = None


if TYPE_CHECKING:
    AcceleratorReference: TypeAlias = Accelerator
    StorageReference: TypeAlias = Storage
else:
    AcceleratorReference = Annotated[Accelerator, Reference("accelerator")]
    StorageReference = Annotated[Storage, Reference("storage")]


class Node(Entry):
    """One server: its accelerators, how they are connected, and its power at the plug.

    `scale_up.domain_size` may exceed `accelerators_per_node` (a rack-scale domain). `nics_per_node` counts
    the ports to the compute fabric. `max_power` is that of the whole server, accelerators included. `local_storage`
    is one of its `storage_count` drives for data. `embodied_carbon` is that of the server without its accelerators.
    """

    kind: ClassVar[str] = "node"

    accelerator: AcceleratorReference
    accelerators_per_node: Count
    scale_up: ScaleUp
    nics_per_node: Count
    max_power: Power
    busy_power: Power | None = None
    idle_power: Power | None = None
    host_memory: Bytes | None = None
    local_storage: StorageReference | None = None
    storage_count: Count | None = None
    embodied_carbon: Carbon | None = None


Topology = Literal["fat-tree", "rail-optimized", "dragonfly", "torus", "single-switch"]


class Fabric(Entry):
    """A network between nodes: rate of one port in one direction, and latency between two nodes."""

    kind: ClassVar[str] = "fabric"

    technology: Literal["infiniband", "roce", "ethernet", "efa", "slingshot", "pcie"]
    topology: Topology
    bandwidth: ByteRate
    latency: Time
    oversubscription_ratio: RatioFromOne


if TYPE_CHECKING:
    NodeReference: TypeAlias = Node
    FabricReference: TypeAlias = Fabric
    GridReference: TypeAlias = Grid
    DatacenterReference: TypeAlias = Datacenter
else:
    NodeReference = Annotated[Node, Reference("node")]
    FabricReference = Annotated[Fabric, Reference("fabric")]
    GridReference = Annotated[Grid, Reference("grid")]
    DatacenterReference = Annotated[Datacenter, Reference("datacenter")]


class Fleet(Entry):
    """A cluster: so many nodes of one type on one fabric, perhaps in a known place."""

    kind: ClassVar[str] = "fleet"

    node: NodeReference
    node_count: Count
    fabric: FabricReference
    grid: GridReference | None = None
    datacenter: DatacenterReference | None = None

    @property
    def accelerators(self) -> int:
        """The number of accelerators in the fleet."""
        return self.node_count * self.node.accelerators_per_node

    @property
    def size(self) -> int:
        """The same as `accelerators`."""
        return self.accelerators

    @property
    def accelerator(self) -> Accelerator:
        """The accelerator of its nodes."""
        return self.node.accelerator
