"""How large batches may be without breaking what is promised: TTFT, ITL and latency by quantile, at an arrival rate.

Items: one service, of equal replicas. Decisions: requests in a batch (or at once in a replica), prompt tokens of a
pass, splits, replicas; and among candidates the accelerator, the precision, the way of batching and a draft model.
Everything nonlinear is physics (`mlsysim_opt.physics.service_level`); nothing is computed here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from mlsysim_opt.formulations.givens import PLACE, PRICE, Bills, Names, allowed, divisors, renamed

from mlsysim_opt.algebra.expression import Choice, Expression, Operation, Symbol, expression
from mlsysim_opt.errors import InputError, MissingFieldError, UnknownNameError, UnsupportedPrecisionError
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.optimize.problem import Lever, Problem
from mlsysim_opt.physics.formats import BITS
from mlsysim_opt.physics.inputs import REQUIRED, Given, Input, Number
from mlsysim_opt.physics.operations import Energy, node_power, rent
from mlsysim_opt.physics.queueing import QUANTILES, Arrivals
from mlsysim_opt.physics.service_level import (
    MEMORY,
    POLICIES,
    STABLE,
    WHOLE_REQUEST,
    Limits,
    ServiceLevel,
    selected,
    service_level,
)
from mlsysim_opt.physics.serving import (
    CONTEXT_RULE,
    DOMAIN_RULE,
    REPLICA_INPUTS,
    TOKEN,
    calibration_name,
    home_of,
    node_name,
    numerics_of,
)
from mlsysim_opt.physics.training import calibration_of, rates
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import BANDWIDTH, NONE, RATE, TIME

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
    Number("quantile", "share of requests for which promises are kept", default=0.99, high=1.0, open_low=True),
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
METRIC_ALIASES = {
    "max_concurrency": "batch_size", "concurrency": "batch_size", "batch": "batch_size", "tp": "tp_size",
    "pp": "pp_size", "ep": "ep_size", "num_replicas": "replicas", "prefill_chunk_tokens": "chunk_size",
    "tpot": "itl", "request_latency": "latency", "accelerators": "devices", "cost": "cost_per_hour",
}  # fmt: skip
INPUT_BY_NAME = {item.name: item for item in INPUTS}
NUMBERS = (
    "arrival_rate", "seq_len", "output_len", "draft_acceptance_rate", "cached_prefix_len", "service_time_cv",
    "page_size", "memory_reserve", "network_bandwidth", "safety_margin", "sla_ttft", "sla_itl", "sla_latency",
)  # fmt: skip
"""Givens that equations hold as symbols."""
APART = "disaggregated"
PREFILLED = "prefill replicas are counted where they are apart"
DRAFTED = "draft tokens are counted with a draft model"
AVAILABLE = "accelerators within those available"
QUESTIONED = (MEMORY, WHOLE_REQUEST, STABLE, DOMAIN_RULE, f"draft: {DOMAIN_RULE}", CONTEXT_RULE)
"""Rules that could be given way; all others define what a design is."""
MANY = 128
"""Up to so many replicas are tried one by one."""
MOST_DRAFTED = 8
MILLION = expression("1e6 token")
SMALLEST_CHUNK = 256


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem:
    model = values["model"]
    _check(values)
    problem = Problem("batching", item="service", default_objective="max_throughput", aliases=METRIC_ALIASES)
    problem.values.update(entry_bindings("model", model))
    problem.values.update(entry_bindings("scheduler", values["scheduler"]))
    narrowed = renamed(narrowed, METRIC_ALIASES)
    bills = Bills(problem, INPUTS, values, values["hardware"])
    bills.check()
    leaves = _numbers(problem, values)
    leaves["model"], leaves["scheduler"] = View("model", [model]), View("scheduler", [values["scheduler"]])
    leaves["hardware"] = _hardware(problem, values, narrowed)
    leaves.update(_sizes(problem, values, narrowed))
    level, truths = _levels(problem, values, narrowed, leaves)
    unknown = set(narrowed) - set(problem.decisions)
    if unknown:
        problem.fixed(dict.fromkeys(unknown))
    _rules(problem, values, level, truths)
    _metrics(problem, level, truths, leaves, bills)
    _promises(problem, values, leaves)
    problem.assumptions.update(_assumed(values))
    problem.levers += [_more_devices(values, narrowed), _fewer_requests(values, narrowed)]
    return problem


def _check(values: Mapping[str, Any]) -> None:
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


def _numbers(problem: Problem, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of the plain numbers, and bind their values."""
    leaves: dict[str, Any] = {name: values[name] for name in ("kv_precision", "weight_precision", "efficiency")}
    for name in (*NUMBERS, *(["efficiency"] if values["efficiency"] is not None else [])):
        leaves[name] = None if values[name] is None else INPUT_BY_NAME[name].leaf(values[name])
        if values[name] is not None:
            problem.values[name] = float(values[name])
    return leaves


def _hardware(problem: Problem, values: Mapping[str, Any], narrowed: Mapping[str, Any]) -> View:
    """Return the accelerator, or the choice among several."""
    entries: tuple[Entry, ...] = values["hardware"]
    if len(entries) > 1:
        names = [item.name for item in entries]
        if "accelerator" in narrowed:
            names = allowed("accelerator", narrowed["accelerator"], names)
        choice = problem.choose("accelerator", names, about="accelerator")
        return View("hardware", [next(item for item in entries if item.name == name) for name in names], choice)
    entry = entries[0]
    problem.values.update(entry_bindings("hardware", entry))
    problem.values.update(entry_bindings(calibration_name("hardware"), calibration_of(entry)))
    home = home_of(entry)
    if home is not None:
        problem.values.update(entry_bindings(node_name("hardware"), home))
    return View("hardware", entries)


def _sizes(problem: Problem, values: Mapping[str, Any], narrowed: Mapping[str, Any]) -> dict[str, Any]:
    """Declare the decisions that are whole numbers; what can only be 1 is left out of the equations."""
    model, devices = values["model"], int(values["devices"])
    prompt = int(values["seq_len"]) - int(values["output_len"]) - int(values["cached_prefix_len"])
    whole = int(values["scheduler"].tokens_per_pass)
    powers = {2**k for k in range(devices.bit_length())}
    experts = divisors(int(model.moe.experts)) if model.moe is not None else [1]
    chunks = {whole, *(SMALLEST_CHUNK * 2**k for k in range(20) if SMALLEST_CHUNK * 2**k < min(prompt, whole))}
    some = range(1, devices + 1) if devices <= MANY else sorted({*divisors(devices), *powers})
    left_out = f"of 1 to {devices} only divisors and powers of two were tried; choices={{'replicas': ...}} for others"

    def decide(name: str, options: Iterable[int], about: str, limited: str | None = None) -> Expression:
        found = sorted(options)
        if name in narrowed:
            found, limited = sorted(set(allowed(name, narrowed[name], None))), None
        choice = problem.choose(name, found, about=about, limited=limited)
        return ONE if found == [1] else choice

    most = int(values["max_batch_size"])
    return {
        "replicas": decide("replicas", some, "replicas", left_out if devices > MANY else None),
        "prefill_replicas": decide(
            "prefill_replicas", some, "replicas for prompts; the others decode", left_out if devices > MANY else None
        )
        if APART in values["policy"]
        else ONE,
        "tp_size": decide("tp_size", [n for n in divisors(int(model.heads)) if n <= devices], "tensor parallelism"),
        "pp_size": decide(
            "pp_size",
            [n for n in {*divisors(int(model.layers)), *powers} if n <= min(devices, int(model.layers))],
            "pipeline parallelism",
        ),
        "attention_dp": decide("attention_dp", [1], "groups of ranks that share the experts"),
        "ep_size": decide("ep_size", [n for n in experts if n <= devices], "expert parallelism"),
        "chunk_size": decide("chunk_size", chunks, "prompt tokens of a pass"),
        "batch_size": decide(
            "batch_size",
            range(1, most + 1),
            "requests of a static batch, or at once in a replica",
            f"batches of more than {most} were not tried; give max_batch_size=... for larger ones",
        ),
    }


def _levels(
    problem: Problem, values: Mapping[str, Any], narrowed: Mapping[str, Any], leaves: dict[str, Any]
) -> tuple[list[ServiceLevel], list[Expression]]:
    """Return what the service does for each combination of names that decide equations, and when each holds."""

    def candidates(name: str, options: Iterable[str]) -> list[str]:
        return allowed(name, narrowed[name], list(options)) if name in narrowed else list(options)

    drafts: dict[str, Any] = {getattr(item, "name", NO_DRAFT): item for item in values["draft_model"] or (NO_DRAFT,)}
    names: dict[str, list[str]] = {
        "precision": candidates("precision", values["precision"]),
        "policy": candidates("policy", values["policy"]),
        "draft_model": candidates("draft_model", drafts),
    }
    leaves["draft_tokens"] = None
    if names["draft_model"] != [NO_DRAFT]:
        several = narrowed.get("draft_tokens", range(1, MOST_DRAFTED + 1))
        leaves["draft_tokens"] = problem.choose(
            "draft_tokens", allowed("draft_tokens", several, None), about="tokens a draft model proposes a round"
        )
        for name in names["draft_model"]:
            if name != NO_DRAFT:
                problem.values.update(entry_bindings(f"draft.{name}", drafts[name]))
    formats, left_out = _formats(problem, values, leaves, names["precision"])
    names["precision"] = list(formats)
    choices: dict[str, Choice] = {}
    for name, about in (("precision", "format of weights and products"), ("policy", "way of batching"),
                        ("draft_model", "draft model")):  # fmt: skip
        if len(names[name]) > 1 or name in narrowed or (name == "draft_model" and names[name] != [NO_DRAFT]):
            choices[name] = problem.choose(
                name, names[name], about=about, limited=left_out if name == "precision" else None
            )
    limits = Limits(
        expression(float(values["quantile"])), leaves["safety_margin"], leaves["sla_ttft"], leaves["sla_itl"],
        leaves["sla_latency"],
    )  # fmt: skip
    found, truths = [], []
    for labels in itertools.product(*names.values()):
        precision, policy, draft = labels
        view = None if draft == NO_DRAFT else View(f"draft.{draft}", [drafts[draft]])
        given = {**leaves, "precision": precision, "numerics": formats[precision], "draft_model": view}
        found.append(service_level(policy, given, limits))
        chosen = [
            choices[name].is_value(label) for name, label in zip(names, labels, strict=True) if len(names[name]) > 1
        ]
        truths.append(reduce(Expression.__and__, chosen, *([] if chosen else [ONE == 1])))
    if APART in names["policy"] and len(names["policy"]) > 1 and isinstance(leaves["prefill_replicas"], Choice):
        prefill = leaves["prefill_replicas"]
        none = prefill == expression(int(prefill.values[0]))
        problem.require(PREFILLED, choices["policy"].is_value(APART) | none, structural=True)
    if len(names["draft_model"]) > 1 and NO_DRAFT in names["draft_model"]:
        tokens = leaves["draft_tokens"]
        first = tokens == expression(int(tokens.values[0]))
        problem.require(DRAFTED, ~choices["draft_model"].is_value(NO_DRAFT) | first, structural=True)
    return found, truths


def _formats(
    problem: Problem, values: Mapping[str, Any], leaves: Mapping[str, Any], precisions: list[str]
) -> tuple[dict[str, View], str | None]:
    """Return the number formats that some accelerator has a rate for, and which others were left out.

    Raises:
        UnsupportedPrecisionError: there is no rate for any of them.
    """
    found: dict[str, View] = {}
    errors: dict[str, UnsupportedPrecisionError | MissingFieldError] = {}
    for precision in precisions:
        name = "numerics" if len(precisions) == 1 else f"numerics.{precision}"
        view = numerics_of(precision, values["weight_precision"], name)
        try:
            rates(leaves["hardware"], view)
        except (UnsupportedPrecisionError, MissingFieldError) as error:
            errors[precision] = error
            continue
        found[precision] = view
        problem.values.update(view.bindings())
    if not found:
        raise next(iter(errors.values()))
    return found, "; ".join(f"{name}: {error.message}" for name, error in errors.items()) or None


def _rules(problem: Problem, values: Mapping[str, Any], levels: list[ServiceLevel], truths: list[Expression]) -> None:
    """Declare what every design must satisfy; what one structure alone asks for holds where that one is chosen."""
    names = dict.fromkeys(name for level in levels for name in level.rules)
    for name in names:
        having = [
            (truth, level.rules[name]) for truth, level in zip(truths, levels, strict=True) if name in level.rules
        ]
        problem.require(name, _joined(having, len(levels)), structural=name not in QUESTIONED, lawful=name == STABLE)
    devices = Symbol("devices", NONE, integer=True, low=1)
    problem.values["devices"] = float(values["devices"])
    used = selected(truths, [level.numbers["devices"] for level in levels])
    problem.require(AVAILABLE, used <= devices)


def _joined(having: list[tuple[Expression, Expression]], count: int) -> Expression:
    """Return one rule of several structures: as one comparison where all compare, so that it keeps its slack."""
    truths, rules = [truth for truth, _ in having], [rule for _, rule in having]
    if all(rule is rules[0] for rule in rules) and len(having) == count:
        return rules[0]
    compared = [rule.args for rule in rules if isinstance(rule, Operation) and rule.atom.name == "less_equal"]
    if len(compared) == count:
        return selected(truths, [pair[0] for pair in compared]) <= selected(truths, [pair[1] for pair in compared])
    found = ~truths[0] | rules[0]
    for truth, rule in having[1:]:
        found = found & (~truth | rule)
    return found


UNITS: tuple[tuple[str, str | None, str, str | None], ...] = (
    ("throughput", "token/s", "generated tokens per second at full load", None),
    ("capacity", "request/s", "requests per second at full load", None),
    ("utilization", None, "load over capacity: of places and prompts (continuous) or replicas (static)", None),
    ("ttft", "ms", "mean time to the first token", None),
    ("itl", "ms", "mean time between two tokens under the load", None),
    ("latency", "s", "mean time to the last token", None),
    ("filling", "s", "mean wait until a static batch is full", "latency"),
    ("wait", "s", "mean wait for a place and prompts before, or a replica", "latency"),
    ("decode_step", "ms", "one undisturbed step of a full batch", None),
    ("memory", "GiB", "memory of the fullest accelerator", None),
    ("weights", "GiB", "weights, those of a draft model too", "memory"),
    ("kv_cache", "GiB", "keys and values of a full batch", "memory"),
    ("devices", None, "accelerators at work", None),
)
QUANTILE_UNITS = {"ttft": ("ms", "time to the first token"), "itl": ("ms", "time between two tokens"),
                  "latency": ("s", "time to the last token")}  # fmt: skip


def _metrics(
    problem: Problem, levels: list[ServiceLevel], truths: list[Expression], leaves: Mapping[str, Any], bills: Bills
) -> None:
    def number(name: str) -> Expression:
        return selected(truths, [level.numbers[name] for level in levels])

    for name, unit, about, whole in UNITS:
        problem.measure(name, number(name), unit=unit, about=about, part_of=whole)
        for quantile, share in QUANTILES.items() if name in QUANTILE_UNITS else ():
            of, what = QUANTILE_UNITS[name]
            problem.measure(
                f"{name}_{quantile}", number(f"{name}_{quantile}"), unit=of, about=f"P{100 * share:g} {what}"
            )
    for name, (unit, what) in QUANTILE_UNITS.items():
        about = f"{what} at the promised quantile"
        problem.measure(f"{name}_at_quantile", number(f"{name}_at_quantile"), unit=unit, about=about)
    served = leaves["arrival_rate"] * leaves["output_len"] * TOKEN

    def goodput() -> Expression:
        if "goodput" not in levels[0].numbers:
            raise InputError(
                "goodput counts requests that keep what is promised, and no time is promised",
                path="sla_latency",
                hint="give sla_latency or sla_ttft",
            )
        return number("goodput")

    def rental(needed_for: str) -> Expression:
        return rent(number("devices"), ONE, bills.price(needed_for))

    def power(needed_for: str) -> Expression:
        homes = [home_of(entry) for entry in leaves["hardware"].entries]
        lacking = [entry.name for entry, home in zip(leaves["hardware"].entries, homes, strict=True) if home is None]
        if lacking:
            raise MissingFieldError(lacking[0], "power", needed_for=needed_for, hint="it has no server in the catalog")
        known = [home for home in homes if home is not None]
        node = View(node_name("hardware"), known, leaves["hardware"].choice)
        return number("devices") / node.accelerators_per_node * node_power(node, number("busy"))

    def carbon(needed_for: str) -> Expression:
        energy = Energy(power(needed_for) / served, bills.pue(needed_for))
        return energy.carbon(bills.intensity(needed_for))

    if "prefill_replicas" in problem.decisions:
        problem.measure("disaggregation_ratio", leaves["prefill_replicas"] / leaves["replicas"],
                        about="replicas for prompts over replicas that decode")  # fmt: skip
    problem.measure("served", served, unit="token/s", about="generated tokens per second that are asked for")
    problem.measure(
        "goodput", goodput, unit="request/s", about="requests per second that keep TTFT and latency, at least"
    )
    problem.measure("cost_per_hour", lambda: rental("cost_per_hour"), unit="USD/h", about="rent of all accelerators")
    problem.measure(
        "cost_per_million_tokens",
        lambda: rental("cost_per_million_tokens") / served * MILLION,
        unit="USD",
        about="rent for a million generated tokens of the load",
    )
    problem.measure("power", lambda: power("power"), unit="kW", about="mean power of the servers' share in use")
    problem.measure(
        "energy_per_token",
        lambda: power("energy_per_token") / served,
        unit="J/token",
        about="energy of the servers for a generated token of the load",
    )
    problem.measure(
        "carbon_per_million_tokens",
        lambda: carbon("carbon_per_million_tokens") * MILLION,
        unit="gCO2e",
        about="operational carbon for a million generated tokens of the load",
    )


def _promises(problem: Problem, values: Mapping[str, Any], leaves: Mapping[str, Any]) -> None:
    """Declare the limits that are promised, times longer by the safety margin."""
    for name, what in (("ttft", "TTFT"), ("itl", "ITL"), ("latency", "latency")):
        limit = leaves[f"sla_{name}"]
        if limit is not None:
            promised = problem.metric(f"{name}_at_quantile")
            holds = promised * leaves["safety_margin"] <= limit if values["safety_margin"] > 1 else promised <= limit
            problem.require(f"P{100 * values['quantile']:g} {what} within its SLA", holds)


def _assumed(values: Mapping[str, Any]) -> dict[str, str]:
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


def _more_devices(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Lever:
    now = int(values["devices"])
    sizes = ("replicas", "tp_size", "pp_size", *(["prefill_replicas"] if APART in values["policy"] else []))
    held = [narrowed.get(name) for name in sizes]
    # Where all sizes are narrowed, more accelerators than the largest ones take are of no use.
    most = math.inf if None in held else math.prod(max(allowed("devices", item, None)) for item in held)

    def candidates() -> Iterable[int]:
        counts = sorted({*range(now + 1, now + 9), *(now * 2**k for k in range(1, 8))})
        yield from (count for count in counts if count <= most)

    return Lever(
        name="devices",
        now=now,
        candidates=candidates,
        rebuild=lambda count: _build({**values, "devices": count}, narrowed),
        describe=lambda count: f"{count} accelerators",
    )


def _fewer_requests(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Lever:
    now = float(values["arrival_rate"])
    return Lever(
        name="arrival_rate",
        now=f"{now:g}",
        candidates=lambda: [now * share for share in (*(tenth / 10 for tenth in range(9, 0, -1)), 0.03, 0.01)],
        rebuild=lambda rate: _build({**values, "arrival_rate": rate}, narrowed),
        describe=lambda rate: f"{rate:g} requests per second",
    )


batching = Formulation(
    name="batching",
    about="the largest batch, or the best service, that keeps what is promised",
    inputs=INPUTS,
    build=_build,
    aliases=ALIASES,
    example={
        "model": "Llama3_8B",
        "hardware": "H100",
        "arrival_rate": "5 request/s",
        "seq_len": 2048,
        "output_len": 256,
        "sla_ttft": "500 ms",
        "sla_itl": "50 ms",
        "sla_latency": "10 s",
        "price": "2.50 USD/h",
        "pue": 1.2,
        "carbon_intensity": "400 gCO2e/kWh",
    },
)
