"""Type of training runs that others published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import Count, Date, Reference, Time, Tokens

if TYPE_CHECKING:
    NodeReference: TypeAlias = Any
    ModelReference: TypeAlias = Any
else:
    NodeReference = Annotated[Any, Reference("node")]
    ModelReference = Annotated[Any, Reference("model")]


class TrainingRun(Entry):
    """A training run that was published: on what, and for how long or how it was set up.

    Attributes:
        node: where it ran. accelerators: how many worked. date: when it was published.
        accelerator_hours: what it took, all accelerators together, interruptions included.
        model, tokens, sequence_length, sequences: what was trained, on how much, and the batch of a step.
        tensor_parallel, recomputation: how it was split beyond data, and what was computed twice.
    """

    kind: ClassVar[str] = "training_run"

    node: NodeReference
    accelerators: Count
    date: Date
    accelerator_hours: Time | None = None
    model: ModelReference | None = None
    tokens: Tokens | None = None
    sequence_length: Count | None = None
    sequences: Count | None = None
    tensor_parallel: Count | None = None
    recomputation: Literal["none", "selective", "full"] = "none"

    @model_validator(mode="after")
    def _says_how_long(self) -> Self:
        setup = ("model", "tokens", "sequence_length", "sequences")
        missing = [name for name in setup if self.__dict__[name] is None]
        if self.__dict__["accelerator_hours"] is None and missing:
            raise PydanticCustomError(
                "catalog", "a run has accelerator_hours, or all of {setup}; {missing} missing",
                {"setup": ", ".join(setup), "missing": ", ".join(missing)},
            )  # fmt: skip
        return self
