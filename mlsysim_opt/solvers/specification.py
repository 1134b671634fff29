"""Values of several unknowns that meet relations: as they are shown, what they cost, and as numbers of entries."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.expression import Symbol
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.units import (
    POWER,
    Dimension,
    as_measure,
    base_unit,
    customary_unit,
    dimension_text,
    divide,
    parse_quantity,
    quantity,
    show,
)

if TYPE_CHECKING:
    from pint import Quantity


@dataclass(frozen=True)
class Specification:
    """Values of the unknowns with which every relation holds.

    Attributes:
        values: by unknown, in base units. binding: the relations that hold with no room.
    """

    values: Mapping[str, float]
    binding: tuple[str, ...]
    _leaves: Mapping[str, Symbol] = field(repr=False)

    def __getitem__(self, name: str) -> Quantity[float] | float:
        if name not in self.values:
            raise UnknownNameError("number that is sought", name, list(self.values))
        value, of = self.values[name], self._leaves[name].dimension
        unit = customary_unit(of)
        return value if unit.text == "dimensionless" else quantity(value, unit)

    def shown(self, name: str, digits: int = 6) -> str:
        """Return one value as text."""
        return show(self.values[name], self._leaves[name].dimension, digits)

    def as_dict(self) -> dict[str, Any]:
        """Return the specification as JSON data, in base units."""
        units = {name: dimension_text(self._leaves[name].dimension) for name in self.values}
        return {
            "values": {name: {"value": value, "unit": units[name]} for name, value in self.values.items()},
            "binding": list(self.binding),
        }

    def __str__(self) -> str:
        values = ", ".join(f"{name} = {self.shown(name)}" for name in self.values)
        return f"{values} (binds: {', '.join(self.binding) or 'nothing'})"


@dataclass(frozen=True)
class Dual:
    """What relaxing one relation saves at first.

    Attributes:
        relation: its text. saves: cost per unit of slack, in `unit`. text: both, for people.
    """

    relation: str
    saves: float
    unit: str

    @property
    def text(self) -> str:
        """The price of the relation, for people."""
        return f"{self.saves:,.4g} {self.unit}" if self.saves else "nothing: it does not bind"


@dataclass(frozen=True)
class Cheapest:
    """The cheapest specification.

    Attributes:
        specification: its values. cost: what it costs. bound: a proven lower bound of what any costs.
        gap: how far both are apart, as a share of the cost. status: ``optimal`` where the gap is at most 1e-9, else
            ``feasible``. proof: how the bound is proven. duals: what relaxing each relation saves at first.
    """

    specification: Specification
    cost: Quantity[float]
    bound: Quantity[float]
    gap: float
    status: str
    proof: str
    duals: tuple[Dual, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON data."""
        return {
            **self.specification.as_dict(),
            "status": self.status,
            "cost": {"value": float(self.cost.magnitude), "unit": f"{self.cost.units:~}".replace(" ", "")},
            "bound": float(self.bound.magnitude),
            "gap": self.gap,
            "proof": self.proof,
            "duals": [{"relation": item.relation, "saves": item.saves, "unit": item.unit} for item in self.duals],
        }


@dataclass(frozen=True)
class Cost:
    """The cost of one base unit: its number, what it counts, and the unit that was written."""

    si: float
    of: Dimension
    unit: str


def read_cost(text: Any, of: Dimension, name: str) -> Cost:
    """Read ``2 USD per GB/s``, or a quantity such as ``0.002 USD*s/byte``, as the cost of one base unit.

    Raises:
        InputError: it is not positive, or not a cost of what the unknown is counted in.
    """
    path = f"costs.{name}"
    parts = re.split(r"\s+per\s+", text.strip()) if isinstance(text, str) else []
    if len(parts) == 2:
        cost = parse_quantity(parts[0])
        each = parse_quantity(parts[1] if re.match(r"[-+.\d]", parts[1]) else f"1 {parts[1]}")
        if each.dimension != of:
            raise InputError(f"{text!r} is a cost per {dimension_text(each.dimension)}, the unknown is "
                             f"{dimension_text(of)}", path=path, hint=f"per {customary_unit(of).text}")  # fmt: skip
        if not each.si > 0:
            raise InputError(f"{text!r} is a cost of nothing", path=path)
        found = Cost(cost.si / each.si, cost.dimension, cost.unit.text)
    else:
        measure = as_measure(text, path)
        counted = divide(measure.dimension, tuple(-item for item in of))
        if counted != POWER and [item for item in counted if item] != [1]:  # money, power, energy, carbon, ...
            raise InputError(f"{text!r} is not a cost per {dimension_text(of)}", path=path,
                             hint=f'for example "2 USD per {customary_unit(of).text}"')  # fmt: skip
        found = Cost(measure.si, counted, base_unit(counted).text)
    if not (found.si > 0 and math.isfinite(found.si)):
        raise InputError(f"{text!r} is not above zero", path=path, hint="what costs nothing would be taken without end")
    return found
