"""How large batches may be without breaking what is promised: TTFT, ITL and latency by quantile, at an arrival rate.

Items: one service, of equal replicas. Decisions: requests in a batch (or at once in a replica), prompt tokens of a
pass, splits, replicas; and among candidates the accelerator, the precision, the way of batching and a draft model.
Everything nonlinear is physics (`mlsysim_opt.physics.service_level`); nothing is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mlsysim_opt.formulations.batching_decisions import declare_hardware, declare_sizes, declare_structures
from mlsysim_opt.formulations.batching_givens import ALIASES, APART, INPUTS, assumed, check_givens, number_leaves
from mlsysim_opt.formulations.batching_metrics import declare_metrics
from mlsysim_opt.formulations.givens import Bills, allowed, renamed

from mlsysim_opt.algebra.expression import Expression, Operation, Symbol
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.optimize.problem import Lever, Problem
from mlsysim_opt.physics.service_level import MEMORY, STABLE, WHOLE_REQUEST, ServiceLevel, selected
from mlsysim_opt.physics.serving import CONTEXT_RULE, DOMAIN_RULE
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.units import NONE

METRIC_ALIASES = {
    "max_concurrency": "batch_size", "concurrency": "batch_size", "batch": "batch_size", "tp": "tp_size",
    "pp": "pp_size", "ep": "ep_size", "num_replicas": "replicas", "prefill_chunk_tokens": "chunk_size",
    "tpot": "itl", "request_latency": "latency", "accelerators": "devices", "cost": "cost_per_hour",
}  # fmt: skip
AVAILABLE = "accelerators within those available"
QUESTIONED = (MEMORY, WHOLE_REQUEST, STABLE, DOMAIN_RULE, f"draft: {DOMAIN_RULE}", CONTEXT_RULE)
"""Rules that could be given way; all others define what a design is."""


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem:
    model = values["model"]
    check_givens(values)
    problem = Problem("batching", item="service", default_objective="max_throughput", aliases=METRIC_ALIASES)
    problem.values.update(entry_bindings("model", model))
    problem.values.update(entry_bindings("scheduler", values["scheduler"]))
    narrowed = renamed(narrowed, METRIC_ALIASES)
    bills = Bills(problem, INPUTS, values, values["hardware"])
    bills.check()
    leaves = number_leaves(problem, values)
    leaves["model"], leaves["scheduler"] = View("model", [model]), View("scheduler", [values["scheduler"]])
    leaves["hardware"] = declare_hardware(problem, values, narrowed)
    leaves.update(declare_sizes(problem, values, narrowed))
    level, truths = declare_structures(problem, values, narrowed, leaves)
    unknown = set(narrowed) - set(problem.decisions)
    if unknown:
        problem.fixed(dict.fromkeys(unknown))
    _rules(problem, values, level, truths)
    declare_metrics(problem, level, truths, leaves, bills)
    _promises(problem, values, leaves)
    problem.assumptions.update(assumed(values))
    problem.levers += [_more_devices(values, narrowed), _fewer_requests(problem)]
    return problem


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


def _promises(problem: Problem, values: Mapping[str, Any], leaves: Mapping[str, Any]) -> None:
    """Declare the limits that are promised, times longer by the safety margin."""
    for name, what in (("ttft", "TTFT"), ("itl", "ITL"), ("latency", "latency")):
        limit = leaves[f"sla_{name}"]
        if limit is not None:
            promised = problem.metric(f"{name}_at_quantile")
            holds = promised * leaves["safety_margin"] <= limit if values["safety_margin"] > 1 else promised <= limit
            problem.require(f"P{100 * values['quantile']:g} {what} within its SLA", holds)


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
        states=AVAILABLE,
    )


def _fewer_requests(problem: Problem) -> Lever:
    now = problem.values["arrival_rate"]

    def with_rate(rate: float) -> Problem:  # a number that no decision depends on
        return replace(problem, values={**problem.values, "arrival_rate": rate}, levers=[])

    return Lever(
        name="arrival_rate",
        now=f"{now:g}",
        candidates=lambda: [now * share for share in (*(tenth / 10 for tenth in range(9, 0, -1)), 0.03, 0.01)],
        rebuild=with_rate,
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
