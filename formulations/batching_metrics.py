"""What is measured of a service with batches: rates, times and their quantiles, memory, money, energy and carbon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsysim_opt.formulations.givens import Bills

from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import InputError, MissingFieldError
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.physics.operations import Energy, rent
from mlsysim_opt.physics.queueing import QUANTILES
from mlsysim_opt.physics.replicas import replica_power
from mlsysim_opt.physics.service_level import ServiceLevel, selected
from mlsysim_opt.physics.serving import TOKEN, home_of, node_name
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View

MILLION = expression("1e6 token")

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


def declare_metrics(
    problem: Problem, levels: list[ServiceLevel], truths: list[Expression], leaves: Mapping[str, Any], bills: Bills
) -> None:
    """Declare the metrics, each that of the structure that is chosen.

    Args:
        levels: what the service does, by structure. truths: when each is chosen. bills: prices and the place.
    """

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
        return replica_power(number("devices"), node, number("busy"))

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
