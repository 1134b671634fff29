"""Types of published evidence: fits of scaling laws, and measured changes of accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.fields import Count, CountOrZero, Number

if TYPE_CHECKING:
    from pint import Quantity

    Work: TypeAlias = Quantity[float]
    Positive: TypeAlias = float
    Change: TypeAlias = float
    Share: TypeAlias = float
else:
    Work = Annotated[Datum, Number("quantity", "FLOP")]
    Positive = Annotated[Datum, Number("ratio")]
    Change = Annotated[Datum, Number("ratio", minimum=-1.0, maximum=1.0, above_minimum=False)]
    Share = Annotated[Datum, Number("ratio", maximum=1.0, above_minimum=False)]


class LossSurface(Part):
    """Loss (nats per token) of a model of N parameters trained on D tokens: E + A / N^alpha + B / D^beta."""

    E: Positive
    A: Positive
    B: Positive
    alpha: Positive
    beta: Positive


class Frontier(Part):
    """Compute-optimal parameters as a power of compute: parameters * (C / compute)^exponent."""

    compute: Work
    parameters: Positive
    exponent: Share


class Repetition(Part):
    """How repeated tokens, and parameters beyond what the unique tokens call for, lose their value.

    After this many repetitions (epochs beyond the first, or multiples beyond the first) their value has fallen to 1/e.
    """

    tokens: Positive
    parameters: Positive


class ScalingLaw(Entry):
    """One published fit of how loss or the compute-optimal size follows from compute.

    It states a `surface` of the loss, a `frontier` of optimal sizes, or a ratio of `tokens_per_parameter`; `repetition`
    is for training data seen more than once.
    """

    kind: ClassVar[str] = "scaling_law"

    surface: LossSurface | None = None
    frontier: Frontier | None = None
    tokens_per_parameter: Positive | None = None
    repetition: Repetition | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = [name for name in ("surface", "frontier", "tokens_per_parameter") if self.__dict__[name] is not None]
        if len(forms) != 1:
            raise PydanticCustomError(
                "catalog", "a scaling law has one of surface, frontier and tokens_per_parameter, this has {count}",
                {"count": len(forms)},
            )  # fmt: skip
        return self


class Evidence(Entry):
    """What a compression did to the quality of models of one class, as published.

    `low`, `typical` and `high` are changes of the metric relative to the uncompressed model (-0.01 is one percent of
    its score lost), the worst, the middle and the best of the cited rows. `bits` is the width of the weights and
    `activation_bits` that of the activations; `sparsity` the share of weights removed. The rows are of models between
    `parameters_from` and `parameters_to`.
    """

    kind: ClassVar[str] = "evidence"

    method: Literal["quantization", "pruning", "distillation"]
    model_class: Literal["language", "vision", "encoder"]
    metric: str
    parameters_from: CountOrZero
    parameters_to: Count
    low: Change
    typical: Change
    high: Change
    bits: Count | None = None
    activation_bits: Count | None = None
    number_format: Literal["int", "float"] | None = None
    sparsity: Share | None = None
    sparsity_type: Literal["unstructured", "structured", "n_m"] | None = None
    kept_parameters: Share | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.low <= self.typical <= self.high:
            raise PydanticCustomError("catalog", "low, typical and high are not in order")
        if self.parameters_from >= self.parameters_to:
            raise PydanticCustomError("catalog", "parameters_from is not below parameters_to")
        needed = {
            "quantization": ("bits", "activation_bits", "number_format"),
            "pruning": ("sparsity", "sparsity_type"),
            "distillation": ("kept_parameters",),
        }
        for name in needed[self.method]:
            if self.__dict__[name] is None:
                raise PydanticCustomError("catalog", "evidence of {method} needs {name}",
                                          {"method": self.method, "name": repr(name)})  # fmt: skip
        return self
