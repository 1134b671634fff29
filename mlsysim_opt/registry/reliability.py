"""Type of how often the parts of a cluster fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import Number, Reference

if TYPE_CHECKING:
    from pint import Quantity

    FailureRate: TypeAlias = Quantity[float]
    SomeRate: TypeAlias = Quantity[float]
else:
    FailureRate = Annotated[Datum, Number("quantity", "1/h", above_minimum=False)]
    SomeRate = Annotated[Datum, Number("quantity", "1/h")]


class Reliability(Entry):
    """Interruptions of a synchronous job by what causes them, as rates of one part of each kind.

    `accelerator_rate` is per accelerator with its memory, `port_rate` per port to the fabric with its share of
    cables and switches, `host_rate` per node without these, `software_rate` per accelerator for causes that are not
    hardware. A record that does not tell causes apart has all of them in one rate; the others are zero.
    """

    kind: ClassVar[str] = "reliability"

    accelerator_rate: FailureRate
    port_rate: FailureRate
    host_rate: FailureRate
    software_rate: FailureRate

    @model_validator(mode="after")
    def _fails(self) -> Self:
        if not any(self.parameter(name).si for name in ("accelerator_rate", "port_rate", "host_rate", "software_rate")):
            raise PydanticCustomError("catalog", "at least one rate must be more than zero")
        return self


if TYPE_CHECKING:
    RecordReference: TypeAlias = Reliability
else:
    RecordReference = Annotated[Reliability, Reference("reliability")]


class FailureCause(Entry):
    """One cause of interruptions, alone.

    Attributes:
        part: of what the rate is that of one, as in a `Reliability`. rate: how often one of it stops a job.
        record: the record of failures whose log the rate was counted in, where the catalog has one.
    """

    kind: ClassVar[str] = "failure_cause"

    part: Literal["accelerator", "port", "host", "software"]
    rate: SomeRate
    record: RecordReference | None = None
