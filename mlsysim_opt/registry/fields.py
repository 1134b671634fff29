"""How the types of the catalog declare their numbers: ``bandwidth: ByteRate`` is all that a field needs.

To a type checker (and to a reader) such a field is what it reads as: a pint quantity, an int, a float, or
another entry. At run time the field holds a `Datum`, made and checked by the markers of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mlsysim_opt import units
from mlsysim_opt.errors import InputError, did_you_mean
from mlsysim_opt.registry.datum import DATE, Datum, Source, read_count, read_measured, read_ratio

if TYPE_CHECKING:
    from pint import Quantity

    from mlsysim_opt.registry.catalog import Catalog


@dataclass(frozen=True)
class LoadContext:
    """What a field needs to know of its surroundings: the sources of its file and the catalog it refers
    into."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    catalog: Catalog | None = None


def fault(problem: Exception) -> PydanticCustomError:
    """Turn one of our errors into one that pydantic collects, keeping message and hint."""
    message = getattr(problem, "message", None) or str(problem)
    return PydanticCustomError(
        "catalog", "{message}", {"message": message, "hint": getattr(problem, "hint", None), "caught": True}
    )


def resolve_source(raw: Any, context: Any) -> Source:
    """Return the source that `raw` names (a key of the file's sources) or spells out.

    Raises:
        InputError: the key is unknown, or the mapping is incomplete.
    """
    if isinstance(raw, Source):
        return raw
    if isinstance(raw, str):
        known = context.sources if isinstance(context, LoadContext) else {}
        if raw not in known:
            hint = did_you_mean(raw, known) or "sources are declared at the top of the file"
            raise InputError(f"unknown source {raw!r}", hint=hint)
        return known[raw]
    return Source.read(raw)


@dataclass(frozen=True)
class Number:
    """Marker of a numeric field: which kind of number, and between which bounds.

    Attributes:
        kind: quantity, count or ratio.
        unit: for a quantity, a unit of the expected dimension.
        minimum, maximum: bounds, in base units.
        above_minimum: whether the minimum itself is refused (zero bandwidth).
    """

    kind: Literal["quantity", "count", "ratio"]
    unit: str = ""
    minimum: float = 0.0
    maximum: float | None = None
    above_minimum: bool = True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(_as_written)
        )

    def _validate(self, raw: Any, info: ValidationInfo) -> Datum:
        if isinstance(raw, Datum):
            return raw
        try:
            return self.read(raw, info.context)
        except InputError as problem:
            raise fault(problem) from None

    def read(self, raw: Any, context: Any = None) -> Datum:
        """Make a datum from the short form (``80 GiB``) or the long one (``{value: 80 GiB, source: key}``).

        Raises:
            InputError: with what was given and what is expected.
        """
        value, origin, reason = _split(raw, context)
        si: float
        unit, dimension = "", units.NONE
        if self.kind == "quantity":
            si, text, unit, dimension = read_measured(value, self.unit)
        elif self.kind == "count":
            si, text = read_count(value)
        else:
            si, text = read_ratio(value)
        self._check_bounds(si, text)
        return Datum(si, text, unit, dimension, self.kind, origin, reason)

    def _check_bounds(self, si: float, text: str) -> None:
        if si < self.minimum or (self.above_minimum and si == self.minimum):
            if self.minimum == 0:
                raise InputError(f"{text!r} must be {'positive' if self.above_minimum else 'zero or more'}")
            raise InputError(f"{text!r} must be {'more than' if self.above_minimum else 'at least'} {self.minimum:g}")
        if self.maximum is not None and si > self.maximum:
            hint = "a ratio, not a percentage: write 0.4 or '40 percent'" if self.kind == "ratio" else None
            raise InputError(f"{text!r} must be at most {self.maximum:g}", hint=hint)


def _as_written(value: Datum) -> str | int | float:
    return value.text if value.kind == "quantity" else value.si


def _split(raw: Any, context: Any) -> tuple[Any, Source | None, str | None]:
    """Take the long form apart into value, source and reason of an estimate."""
    if not isinstance(raw, Mapping):
        return raw, None, None
    for key in raw:
        if key not in ("value", "source", "estimated"):
            hint = did_you_mean(str(key), ("value", "source", "estimated"))
            raise InputError(f"unknown key {key!r} beside a number", hint=hint or "known: value, source, estimated")
    if "value" not in raw:
        raise InputError("a number in the long form needs 'value'")
    reason = raw.get("estimated")
    if reason is not None and (not isinstance(reason, str) or not reason.strip()):
        raise InputError("'estimated' states the reason as text")
    origin = resolve_source(raw["source"], context) if raw.get("source") is not None else None
    return raw["value"], origin, reason


@dataclass(frozen=True)
class Reference:
    """Marker of a field that names another entry (``accelerator: H100``) and holds that entry."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda entry: entry.name),
        )

    def _validate(self, raw: Any, info: ValidationInfo) -> Any:
        from mlsysim_opt.registry.catalog import default_catalog

        if getattr(type(raw), "kind", None) == self.kind:
            return raw
        if not isinstance(raw, str):
            raise fault(InputError(f"expected the name of a {self.kind}, got {raw!r}"))
        catalog = info.context.catalog if isinstance(info.context, LoadContext) else None
        try:
            return (catalog or default_catalog()).find(self.kind, raw)
        except InputError as problem:
            raise fault(problem) from None


def _date(raw: Any) -> Any:
    """Take a bare year as text: YAML reads ``date: 2025`` as a number."""
    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    if isinstance(text, str) and not DATE.fullmatch(text):
        raise fault(InputError(f"{text!r} is not of the form 2024, 2024-05 or 2024-05-31"))
    return text


Date = Annotated[str, BeforeValidator(_date)]
"""A year, month or day as text."""


if TYPE_CHECKING:
    Bytes: TypeAlias = Quantity[float]
    ByteRate: TypeAlias = Quantity[float]
    Flops: TypeAlias = Quantity[float]
    FlopRate: TypeAlias = Quantity[float]
    Power: TypeAlias = Quantity[float]
    Time: TypeAlias = Quantity[float]
    TimeOrZero: TypeAlias = Quantity[float]
    Carbon: TypeAlias = Quantity[float]
    CarbonIntensity: TypeAlias = Quantity[float]
    WaterIntensity: TypeAlias = Quantity[float]
    Tokens: TypeAlias = Quantity[float]
    Money: TypeAlias = Quantity[float]
    MoneyRate: TypeAlias = Quantity[float]
    BytesOrZero: TypeAlias = Quantity[float]
    Count: TypeAlias = int
    CountOrZero: TypeAlias = int
    Efficiency: TypeAlias = float
    RatioOrZero: TypeAlias = float
    RatioFromOne: TypeAlias = float
else:
    Bytes = Annotated[Datum, Number("quantity", "byte")]
    BytesOrZero = Annotated[Datum, Number("quantity", "byte", above_minimum=False)]
    ByteRate = Annotated[Datum, Number("quantity", "byte/s")]
    Flops = Annotated[Datum, Number("quantity", "FLOP")]
    FlopRate = Annotated[Datum, Number("quantity", "FLOP/s")]
    Power = Annotated[Datum, Number("quantity", "W")]
    Time = Annotated[Datum, Number("quantity", "s")]
    TimeOrZero = Annotated[Datum, Number("quantity", "s", above_minimum=False)]
    Carbon = Annotated[Datum, Number("quantity", "kgCO2e")]
    CarbonIntensity = Annotated[Datum, Number("quantity", "gCO2e/kWh", above_minimum=False)]
    WaterIntensity = Annotated[Datum, Number("quantity", "L/kWh", above_minimum=False)]
    Tokens = Annotated[Datum, Number("quantity", "token")]
    Money = Annotated[Datum, Number("quantity", "USD")]
    MoneyRate = Annotated[Datum, Number("quantity", "USD/h")]
    Count = Annotated[Datum, Number("count")]
    CountOrZero = Annotated[Datum, Number("count", above_minimum=False)]
    Efficiency = Annotated[Datum, Number("ratio", maximum=1.0)]
    RatioOrZero = Annotated[Datum, Number("ratio", above_minimum=False)]
    RatioFromOne = Annotated[Datum, Number("ratio", minimum=1.0, above_minimum=False)]
