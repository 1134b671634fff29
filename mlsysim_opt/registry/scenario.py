"""Types of scenarios: a workload on a system, and what was promised of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, GetCoreSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.fields import (
    ByteRate,
    Bytes,
    Carbon,
    Count,
    Efficiency,
    LoadContext,
    Money,
    Number,
    Power,
    RatioFromOne,
    Time,
    Tokens,
    fault,
)
from mlsysim_opt.registry.hardware import PeakRates

if TYPE_CHECKING:
    from pint import Quantity

    from mlsysim_opt.registry.hardware import Accelerator, Fleet
    from mlsysim_opt.registry.sites import Datacenter, Grid
    from mlsysim_opt.registry.storage import Storage
    from mlsysim_opt.registry.workloads import Transformer, Workload

    SampleRate: TypeAlias = Quantity[float]
    TokenRate: TypeAlias = Quantity[float]
    RequestRate: TypeAlias = Quantity[float]
    Water: TypeAlias = Quantity[float]
    Energy: TypeAlias = Quantity[float]
    OfWorkload: TypeAlias = Transformer | Workload
    OfSystem: TypeAlias = Accelerator | Fleet
    OfPlace: TypeAlias = Datacenter | Grid
    OfStorage: TypeAlias = Storage
else:
    SampleRate = Annotated[Datum, Number("quantity", "sample/s")]
    TokenRate = Annotated[Datum, Number("quantity", "token/s")]
    RequestRate = Annotated[Datum, Number("quantity", "request/s")]
    Water = Annotated[Datum, Number("quantity", "L")]
    Energy = Annotated[Datum, Number("quantity", "J")]


@dataclass(frozen=True)
class OneOf:
    """Marker of a field that names an entry of one of several kinds, and holds that entry."""

    kinds: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """The kinds in words."""
        return " or ".join(self.kinds)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda entry: entry.name),
        )

    def _validate(self, raw: Any, info: ValidationInfo) -> Any:
        from mlsysim_opt.registry.catalog import default_catalog

        if isinstance(raw, Entry):
            if raw.kind in self.kinds:
                return raw
            raise fault(InputError(f"expected a {self.wanted}, got the {raw.kind} {raw.name}"))
        if not isinstance(raw, str):
            raise fault(InputError(f"expected the name of a {self.wanted}, got {raw!r}"))
        known = info.context.catalog if isinstance(info.context, LoadContext) else None
        catalog = known or default_catalog()
        for kind in self.kinds:
            if catalog.lookup(kind, raw) is not None:
                return catalog.find(kind, raw)
        raise fault(UnknownNameError(self.wanted, raw, [name for kind in self.kinds for name in catalog.names(kind)]))


if not TYPE_CHECKING:
    OfWorkload = Annotated[Any, OneOf(("model", "workload"))]
    OfSystem = Annotated[Any, OneOf(("accelerator", "fleet"))]
    OfPlace = Annotated[Any, OneOf(("datacenter", "grid"))]
    OfStorage = Annotated[Any, OneOf(("storage",))]


class Limits(Part):
    """What was promised. Times, energy, power, money, carbon and water are at most, the others at least so much."""

    latency: Time | None = Field(None, description="of one pass of the whole batch")
    ttft: Time | None = Field(None, description="time to first token")
    itl: Time | None = Field(None, description="time between tokens")
    request_latency: Time | None = Field(None, description="from a prompt to its last token, without waiting")
    p50_latency: Time | None = Field(None, description="median latency of requests, waiting included")
    p95_latency: Time | None = Field(None, description="95th percentile of the same")
    p99_latency: Time | None = Field(None, description="99th percentile of the same")
    p999_latency: Time | None = Field(None, description="99.9th percentile of the same")
    step_time: Time | None = Field(None, description="of a training step")
    training_time: Time | None = Field(None, description="for all tokens, without failures")
    throughput: SampleRate | None = Field(None, description="samples per time, at least")
    token_throughput: TokenRate | None = Field(None, description="tokens per time, at least")
    mfu: Efficiency | None = Field(None, description="model FLOPs utilization, at least")
    energy: Energy | None = Field(None, description="of one pass of the accelerators")
    power: Power | None = Field(None, description="of the accelerator while it works, or of all nodes of a fleet")
    cost: Money | None = Field(None, description="of the fleet for the duration")
    carbon: Carbon | None = Field(None, description="operational, for the duration")
    water: Water | None = Field(None, description="on site and at the source, for the duration")
    accuracy: Efficiency | None = Field(None, description="published quality of the network, at least")

    def given(self) -> dict[str, Datum]:
        """Return the promises that were made, by name."""
        return {name: item for name, item in self.__dict__.items() if type(item) is Datum}


class Split(Part):
    """How one copy of a model is spread over the accelerators of a fleet, and how it is trained.

    What is absent is chosen as well as possible.
    """

    tp_size: Count | None = Field(None, description="tensor parallelism")
    pp_size: Count | None = Field(None, description="pipeline parallelism")
    cp_size: Count | None = Field(None, description="context parallelism")
    ep_size: Count | None = Field(None, description="expert parallelism")
    microbatch_size: Count | None = Field(None, description="sequences of a microbatch")
    v_stages: Count | None = Field(None, description="virtual pipeline stages")
    zero_stage: Literal[0, 1, 2, 3] | None = Field(None, description="ZeRO stage")
    recomputation: Literal["none", "selective", "full"] | None = Field(None, description="of activations")
    sequence_parallel: bool | None = None
    overlap_comm: bool | None = None
    is_lora: bool | None = Field(None, description="only low-rank adapters are trained")

    def given(self) -> dict[str, Any]:
        """Return what was decided, by name."""
        return {name: getattr(self, name) for name, item in self.__dict__.items() if item is not None}


class ScenarioEntry(Entry):
    """A workload, the system it runs on, and what was promised of it.

    `task` is inferred where it is absent: a fleet with `tokens` trains; a transformer with `output_len` is served; all
    else is one forward pass after the other.
    """

    kind: ClassVar[str] = "scenario"

    application: str = Field("", description="what it is for, in words")
    task: Literal["inference", "serving", "training"] | None = Field(None, description="what is done with the model")
    workload: OfWorkload = Field(description="the network")
    system: OfSystem = Field(description="what it runs on")
    batch_size: Count | None = Field(None, description="samples of a pass, requests of a batch, sequences of a step")
    precision: str = Field("fp16", description="number format")
    weight_precision: str | None = Field(None, description="format of the weights in memory, where it is narrower")
    efficiency: Efficiency | None = Field(None, description="reached share of the peak; calibrated when absent")
    seq_len: Count | None = Field(None, description="tokens of a request or sequence, prompt and output")
    output_len: Count | None = Field(None, description="generated tokens of a request, of seq_len")
    arrival_rate: RequestRate | None = Field(None, description="requests that arrive")
    replicas: Count | None = Field(None, description="copies of the model; as many as the fleet holds when absent")
    data_rate: ByteRate | None = Field(None, description="data that one accelerator reads while it works")
    storage: OfStorage | None = Field(None, description="where it reads it from")
    offload: bool = Field(False, description="weights that do not fit are read from host memory, on purpose")
    memory_reserve: Bytes | None = Field(None, description="memory kept free for the runtime")
    tokens: Tokens | None = Field(None, description="of a training run")
    duration: Time | None = Field(None, description="of what cost, carbon and water are counted for")
    place: OfPlace | None = Field(None, description="datacenter or grid")
    split: Split | None = Field(None, description="parallelism on a fleet; the best is found when absent")
    limits: Limits | None = Field(None, description="what was promised")
    safety_margin: RatioFromOne | None = Field(
        None, description="estimates of times and rates must keep their limits when they are worse by this factor"
    )

    @field_validator("precision", "weight_precision")
    @classmethod
    def _known_format(cls, text: str | None) -> str | None:
        from mlsysim_opt.registry.catalog import default_catalog

        known = dict.fromkeys((*PeakRates.model_fields, *default_catalog().names("numerics")))
        if text is not None and text not in known:
            raise fault(UnknownNameError("precision", text, known))
        return text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        training = self.job == "training"
        if training and self.system.kind != "fleet":
            raise PydanticCustomError("catalog", "training needs a fleet as its system, got an accelerator")
        if self.job in ("training", "serving") and self.workload.kind != "model":
            raise PydanticCustomError("catalog", "only transformers can be served or trained, not {name}",
                                      {"name": self.workload.name})  # fmt: skip
        if self.job in ("training", "serving") and self.seq_len is None:
            raise PydanticCustomError("catalog", "seq_len is needed for {job}", {"job": self.job})
        if self.output_len is not None and self.seq_len is not None and self.output_len >= self.seq_len:
            raise PydanticCustomError("catalog", "output_len leaves no prompt: it must be less than seq_len")
        return self

    @property
    def job(self) -> str:
        """The task, as given or inferred."""
        if self.task is not None:
            return self.task
        if self.tokens is not None and self.system.kind == "fleet":
            return "training"
        return "serving" if self.output_len is not None else "inference"
