"""What a service with batches is given, what is refused of it, and its plain numbers as leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.formulations.givens import PLACE, PRICE, Names, Quantile

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.physics.formats import BITS
from mlsysim_opt.physics.inputs import REQUIRED, Given, Input, Number
from mlsysim_opt.physics.queueing import Arrivals
from mlsysim_opt.physics.service_level import POLICIES
from mlsysim_opt.physics.serving import REPLICA_INPUTS
from mlsysim_opt.units import BANDWIDTH, RATE, TIME

NO_DRAFT = "none"


@dataclass(frozen=True)
class Words(Input):
    """A name, or several, of a fixed set."""

    options: tuple[str, ...] = ()

    def check(self, value: Any) -> tuple[str, ...]:
        several = [value] if isinstance(value, str) else list(value)
        if not several:
            raise InputError("the set of candidates is empty", path=self.name)
        for item in several:
            if item not in self.options:
                raise UnknownNameError(self.name, str(item), self.options, path=self.name)
        return tuple(dict.fromkeys(several))

    def plain(self, value: tuple[str, ...]) -> list[str]:
        return list(value)


def _limit(name: str, about: str) -> Number:
    return Number(name, about, default=None, unit="ms", of=TIME, open_low=True)


INPUTS: tuple[Input, ...] = (
    Given("model", "what is served", kind="model"),
    Names("hardware", "the accelerator, or several to choose among", kind="accelerator"),
    Arrivals("arrival_rate", "requests that come, at random", unit="1/s", of=RATE, open_low=True),
    Number("seq_len", "tokens of a request, prompt and output", integer=True, low=2, high=2**31),
    Number("output_len", "generated tokens, of seq_len", integer=True, low=1, high=2**31),
    _limit("sla_ttft", "time to the first token, promised at the quantile"),
    _limit("sla_itl", "time between two tokens, promised at the quantile"),
    _limit("sla_latency", "time to the last token, promised at the quantile"),
    Quantile("quantile", "share of requests for which promises are kept", default=0.99, high=1.0, open_low=True),
    Number("safety_margin", "promises are kept if times are longer by this factor", default=1.0, low=1.0, high=100.0),
    Number("devices", "accelerators available", default=1, integer=True, low=1, high=10**6),
    Words("policy", "continuous batching, static batches of a fixed size, prefill and decode disaggregated; or several",
          default="continuous", options=POLICIES),
    Number("network_bandwidth", "from a prefill to a decode replica, where they are disaggregated", default=None,
           unit="GB/s", of=BANDWIDTH, open_low=True),
    Words("precision", "format of weights and products, or several", default="fp16", options=tuple(BITS)),
    Names("draft_model", "draft models to choose among, 'none' for none", default=None, kind="model", none=NO_DRAFT),
    Number("draft_acceptance_rate", "chance that a drafted token is accepted", default=0.7, high=1.0),
    Number("max_batch_size", "the largest batch that is tried", default=256, integer=True, low=1, high=2**16),
    Number("cached_prefix_len", "tokens of the prompt found in the cache", default=0, integer=True, high=2**31),
    Number("service_time_cv", "of continuous batching: how the time of requests varies", default=0.0, high=100.0),
    Number("page_size", "tokens of a page of the cache", default=16, integer=True, low=1, high=2**20),
    Given("scheduler", "how requests are admitted", default="continuous", kind="scheduler"),
    PRICE,
    *PLACE,
    *(item for item in REPLICA_INPUTS
      if item.name in ("efficiency", "weight_precision", "kv_precision", "memory_reserve")),
)  # fmt: skip
ALIASES = {
    "accelerator": "hardware", "accelerators": "hardware", "qps": "arrival_rate", "arrival_rate_qps": "arrival_rate",
    "max_seq_len": "seq_len", "output_tokens": "output_len", "sla": "sla_latency", "slo": "sla_latency",
    "ttft_slo": "sla_ttft", "itl_slo": "sla_itl", "max_search_batch": "max_batch_size", "draft_models": "draft_model",
}  # fmt: skip
INPUT_BY_NAME = {item.name: item for item in INPUTS}
NUMBERS = (
    "arrival_rate", "seq_len", "output_len", "draft_acceptance_rate", "cached_prefix_len", "service_time_cv",
    "page_size", "memory_reserve", "network_bandwidth", "safety_margin", "sla_ttft", "sla_itl", "sla_latency",
)  # fmt: skip
"""Givens that equations hold as symbols."""
APART = "disaggregated"


def check_givens(values: Mapping[str, Any]) -> None:
    """Refuse givens that do not fit together.

    Raises:
        InputError: names the one that is to blame.
    """
    prompt = values["seq_len"] - values["output_len"]
    if prompt < 1:
        raise InputError(
            f"{values['output_len']} generated tokens leave no prompt in {values['seq_len']} tokens", path="output_len"
        )
    if values["cached_prefix_len"] > prompt:
        raise InputError(f"the prompt has only {prompt} tokens", path="cached_prefix_len")
    apart = APART in values["policy"]
    if apart and values["network_bandwidth"] is None:
        raise InputError("not given, but disaggregated replicas send keys and values over it", path="network_bandwidth",
                         hint="such as '50 GB/s'")  # fmt: skip
    if apart and values["output_len"] == 1:
        raise InputError("one generated token leaves nothing to decode elsewhere", path="output_len",
                         hint="policy='continuous'")  # fmt: skip
    if apart and values["devices"] < 2:
        raise InputError("a prefill and a decode replica need two accelerators", path="devices", hint="devices=2")
    if values["service_time_cv"] and "static" in values["policy"]:
        raise InputError(
            "times that vary are for continuous batching alone: a static batch takes as long as its requests are alike",
            path="service_time_cv",
            hint="policy='continuous'",
        )


def number_leaves(problem: Problem, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of the plain numbers, and bind their values."""
    leaves: dict[str, Any] = {name: values[name] for name in ("kv_precision", "weight_precision", "efficiency")}
    for name in (*NUMBERS, *(["efficiency"] if values["efficiency"] is not None else [])):
        leaves[name] = None if values[name] is None else INPUT_BY_NAME[name].leaf(values[name])
        if values[name] is not None:
            problem.values[name] = float(values[name])
    return leaves


def assumed(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the defaults that decided the answer."""
    silent = {"draft_acceptance_rate"} if values["draft_model"] is None else set()
    if "continuous" not in values["policy"]:
        silent |= {"service_time_cv", "page_size"}
    if not any(values[name] is not None for name in ("sla_ttft", "sla_itl", "sla_latency")):
        silent |= {"quantile", "safety_margin"}
    found = {
        item.name: str(item.default)
        for item in INPUTS
        if item.default not in (None, REQUIRED) and item.name not in silent and _is_default(item, values[item.name])
    }
    generations = sorted({str(item.generation) for item in values["hardware"]})
    calibrated = f"calibrated: {', '.join(generations)}"
    return {**found, "efficiency": calibrated if values["efficiency"] is None else str(values["efficiency"])}


def _is_default(item: Input, value: Any) -> bool:
    return bool(value == item.check(item.default))
