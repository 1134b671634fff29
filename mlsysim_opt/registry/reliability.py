"""Type of how often the parts of a cluster fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self, TypeAlias

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import Number

if TYPE_CHECKING:
    from pint import Quantity

    FailureRate: TypeAlias = Quantity[float]
else:
    FailureRate = Annotated[Datum, Number("quantity", "1/h", above_minimum=False)]


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
