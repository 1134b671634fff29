"""What is decided of a service with batches: sizes, the accelerator, and the structures among which names decide."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from mlsysim_opt.formulations.batching_givens import APART, NO_DRAFT
from mlsysim_opt.formulations.givens import allowed, divisors

from mlsysim_opt.algebra.expression import Choice, Expression, expression
from mlsysim_opt.errors import MissingFieldError, UnsupportedPrecisionError
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.physics.service_level import Limits, ServiceLevel, service_level
from mlsysim_opt.physics.serving import calibration_name, home_of, node_name, numerics_of
from mlsysim_opt.physics.training import calibration_of, rates
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry.entry import Entry

PREFILLED = "prefill replicas are counted where they are apart"
DRAFTED = "draft tokens are counted with a draft model"
MANY = 128
"""Up to so many replicas are tried one by one."""
MOST_DRAFTED = 8
SMALLEST_CHUNK = 256


def declare_hardware(problem: Problem, values: Mapping[str, Any], narrowed: Mapping[str, Any]) -> View:
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


def declare_sizes(problem: Problem, values: Mapping[str, Any], narrowed: Mapping[str, Any]) -> dict[str, Any]:
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


def declare_structures(
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
