"""Types of the place and the money: grids, datacenters and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import (
    CarbonIntensity,
    Date,
    Efficiency,
    Money,
    MoneyRate,
    Number,
    RatioFromOne,
    Reference,
    WaterIntensity,
)

if TYPE_CHECKING:
    from pint import Quantity

    EnergyPrice: TypeAlias = Quantity[float]
    StoragePrice: TypeAlias = Quantity[float]
    DataPrice: TypeAlias = Quantity[float]
    RequestPrice: TypeAlias = Quantity[float]
    SamplePrice: TypeAlias = Quantity[float]
else:
    EnergyPrice = Annotated[Datum, Number("quantity", "USD/kWh")]
    StoragePrice = Annotated[Datum, Number("quantity", "USD/GB/year")]
    DataPrice = Annotated[Datum, Number("quantity", "USD/GB")]
    RequestPrice = Annotated[Datum, Number("quantity", "USD/request")]
    SamplePrice = Annotated[Datum, Number("quantity", "USD/sample")]


class Grid(Entry):
    """An electricity grid: averages over one year.

    Attributes:
        carbon_intensity: of the electricity consumed, generation over its life cycle, location-based.
        market_carbon_intensity: of what is left when contracts and certificates are taken out (residual mix).
        electricity_price: what a large consumer pays.
        water_intensity: water evaporated by generation, per unit of electricity.
    """

    kind: ClassVar[str] = "grid"

    carbon_intensity: CarbonIntensity
    year: Annotated[int, Field(ge=1990, le=2100)]
    market_carbon_intensity: CarbonIntensity | None = None
    electricity_price: EnergyPrice | None = None
    water_intensity: WaterIntensity | None = None


if TYPE_CHECKING:
    GridReference: TypeAlias = Grid
    AcceleratorReference: TypeAlias = Any
    NodeReference: TypeAlias = Any
else:
    GridReference = Annotated[Grid, Reference("grid")]
    AcceleratorReference = Annotated[Any, Reference("accelerator")]
    NodeReference = Annotated[Any, Reference("node")]

OF_THE_GRID = ("carbon_intensity", "market_carbon_intensity", "electricity_price", "water_intensity")


class Datacenter(Entry):
    """A building, or all buildings of one cloud region.

    Attributes:
        grid: where its electricity comes from. What the building does not state itself (`carbon_intensity`,
            `market_carbon_intensity`, `electricity_price`, `water_intensity`) is that of the grid.
        pue: facility energy over IT energy. wue: water used on site per unit of IT energy.
        provider, region: who runs it, and the provider's code of the region.
    """

    kind: ClassVar[str] = "datacenter"

    grid: GridReference
    pue: RatioFromOne
    wue: WaterIntensity | None = None
    provider: str | None = None
    region: str | None = None
    carbon_intensity: CarbonIntensity | None = None
    market_carbon_intensity: CarbonIntensity | None = None
    electricity_price: EnergyPrice | None = None
    water_intensity: WaterIntensity | None = None

    @model_validator(mode="after")
    def _take_from_grid(self) -> Self:
        own, grid = self.__dict__, self.__dict__["grid"].__dict__
        for name in OF_THE_GRID:
            if own[name] is None:
                own[name] = grid[name]
        return self


SUBJECTS = ("accelerator", "node", "commodity")
FORMS = ("rate", "amount", "energy_price", "storage_price", "data_price", "request_price", "sample_price", "share")


class Price(Entry):
    """What one thing costs: an accelerator, a whole node, or a commodity, named in words.

    An accelerator or a node has an `amount` when it is bought (plan ``purchase``) and a `rate` per hour when it is
    rented; the rate of an accelerator is that of one, its share of the host included. A commodity has one of the forms:
    also a price per energy, per stored data and time, per data (moved, or of memory bought), per request, per sample,
    or a `share` of another price (a discount; maintenance per year).
    """

    kind: ClassVar[str] = "price"

    accelerator: AcceleratorReference | None = None
    node: NodeReference | None = None
    commodity: str | None = None
    plan: Literal["on_demand", "spot", "reserved", "purchase"]
    provider: str
    region: str | None = None
    date: Date
    rate: MoneyRate | None = None
    amount: Money | None = None
    energy_price: EnergyPrice | None = None
    storage_price: StoragePrice | None = None
    data_price: DataPrice | None = None
    request_price: RequestPrice | None = None
    sample_price: SamplePrice | None = None
    share: Efficiency | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        subjects = [name for name in SUBJECTS if self.__dict__[name] is not None]
        if len(subjects) != 1:
            raise PydanticCustomError(
                "catalog", "a price is that of one accelerator, node or commodity; got {found}",
                {"found": " and ".join(subjects) or "none of them"},
            )  # fmt: skip
        forms = [name for name in FORMS if self.__dict__[name] is not None]
        if subjects == ["commodity"]:
            if len(forms) != 1:
                raise PydanticCustomError(
                    "catalog", "the price of a commodity has one of {known}; got {found}",
                    {"known": ", ".join(FORMS), "found": " and ".join(forms) or "none"},
                )  # fmt: skip
            return self
        wanted, other = ("amount", "rate") if self.plan == "purchase" else ("rate", "amount")
        if forms != [wanted]:
            raise PydanticCustomError(
                "catalog", "a price with plan {plan} has {wanted} and no {other}",
                {"plan": repr(self.plan), "wanted": repr(wanted), "other": repr(other)},
            )  # fmt: skip
        return self
