"""Type of what keeps data: drives and storage systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import ByteRate, Bytes, Number, Time

if TYPE_CHECKING:
    from pint import Quantity

    OperationRate: TypeAlias = Quantity[float]
else:
    OperationRate = Annotated[Datum, Number("quantity", "1/s")]


class Storage(Entry):
    """One drive, or what one client (or a whole system, where the title says so) gets from a storage system.

    Bandwidths are sequential, of large transfers; `latency` is the time to the first byte of a random read;
    `read_iops` and `write_iops` are small random operations per second.
    """

    kind: ClassVar[str] = "storage"

    medium: Literal["dram", "nvme", "sata", "disk", "file-system", "object-store", "flash-card"]
    read_bandwidth: ByteRate
    write_bandwidth: ByteRate
    capacity: Bytes | None = None
    latency: Time | None = None
    read_iops: OperationRate | None = None
    write_iops: OperationRate | None = None
