"""Types of the place and the money: grids, datacenters and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import (
    CarbonIntensity,
    Date,
    Money,
    MoneyRate,
    RatioFromOne,
    Reference,
    WaterIntensity,
)


class Grid(Entry):
    """An electricity grid: its average carbon intensity over one year."""

    kind: ClassVar[str] = "grid"

    carbon_intensity: CarbonIntensity
    year: Annotated[int, Field(ge=1990, le=2100)]


if TYPE_CHECKING:
    GridReference: TypeAlias = Grid
    AcceleratorReference: TypeAlias = Any
else:
    GridReference = Annotated[Grid, Reference("grid")]
    AcceleratorReference = Annotated[Any, Reference("accelerator")]


class Datacenter(Entry):
    """A building: its grid, its power usage effectiveness and its water use per kWh of IT energy."""

    kind: ClassVar[str] = "datacenter"

    grid: GridReference
    pue: RatioFromOne
    wue: WaterIntensity | None = None


class Price(Entry):
    """What one accelerator costs: `rate` per hour when rented, `amount` once when bought.

    `plan` says which; the other of the two is absent.
    """

    kind: ClassVar[str] = "price"

    accelerator: AcceleratorReference
    plan: Literal["on_demand", "spot", "reserved", "purchase"]
    provider: str
    region: str | None = None
    date: Date
    rate: MoneyRate | None = None
    amount: Money | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        wanted, other = ("amount", "rate") if self.plan == "purchase" else ("rate", "amount")
        if self.__dict__[wanted] is None or self.__dict__[other] is not None:
            raise PydanticCustomError(
                "catalog", "a price with plan {plan} has {wanted} and no {other}",
                {"plan": repr(self.plan), "wanted": repr(wanted), "other": repr(other)},
            )  # fmt: skip
        return self
