"""Random tables of prefill and decode workers, asked as users ask; and what pools of them can do, by counting."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlsysim_opt.optimize import CoupledTask, PlanSolution, Task, task

Row = tuple[int, float, float]
"""Devices of a worker, its latency in ms, and its requests per second."""
LATENCIES = (10.0, 12.5, 20.0, 25.0, 40.0)


def rows(dice: random.Random, most: int) -> list[Row]:
    """Return the workers of one phase; some are dominated, some have equal numbers."""
    return [
        (
            dice.choice((1, 1, 2, 4)),
            dice.choice(LATENCIES),
            dice.choice((0.5, 1.0, 1.5, round(dice.uniform(0.4, 3), 3))),
        )
        for _ in range(dice.randint(1, most))
    ]


def tables(prefill: list[Row], decode: list[Row]) -> dict[str, str]:
    """Return the tables as files, as givens of the formulation."""
    folder = Path(tempfile.mkdtemp())
    for name, latency, found in (("prefill", "ttft", prefill), ("decode", "tpot", decode)):
        lines = [f"bs,{latency},seq/s,num_total_gpus"]
        lines += [f"{at},{slow!r},{rate!r},{devices}" for at, (devices, slow, rate) in enumerate(found)]
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    return {f"{name}_table": str(folder / f"{name}.csv") for name in ("prefill", "decode")}


def _limits(dice: random.Random) -> list[str]:
    found = []
    for name in ("ttft", "itl"):
        if dice.random() < 0.6:  # limits that latencies have: strict and not strict differ
            found.append(f"{name} {dice.choice(('<', '<='))} {dice.choice(LATENCIES)} ms")
    return found


def replicas(seed: int) -> Task:
    """Return the question of a seed about equal replicas."""
    dice = random.Random(seed)
    devices = dice.randint(2, 7)
    given: dict[str, Any] = {"devices": devices} if dice.random() < 0.7 else {"replica_devices": devices}
    if "devices" not in given or dice.random() < 0.3:
        given["request_rate"] = f"{dice.choice((0.5, 1.0, 3.0, 4.5))} request/s"
    extra = ["devices <= 5", "prefill_workers < 3", "throughput >= 50 token/s", "balance >= 0.5", "devices != 4"]
    asked = task(
        "disaggregated_serving", equal_replicas=True, output_len=dice.choice((2, 100)),
        prefill_degradation=dice.choice((1.0, 0.9)), decode_degradation=dice.choice((1.0, 0.92)),
        ttft_factor=dice.choice((1.0, 2.0)), **tables(rows(dice, 3), rows(dice, 3)), **given,
        objective=dice.choice((
            "max_throughput_per_device", "min_devices", "min_itl", "max_balance", "min_request_latency",
            "devices + 3 s/request * request_rate", "throughput / devices", ["max_throughput", "min_devices"],
            ["min_devices", "max_request_rate"],
        )),
        constraints=[*_limits(dice), *dice.sample(extra, dice.choice((0, 0, 1, 2)))],
    )  # fmt: skip
    assert isinstance(asked, Task)
    return asked


class Pools:
    """A question about pools, and its answer by counting every plan.

    Attributes:
        task: the question. best: the best value of its objective in base units; None if nothing is possible.
    """

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        prefill, decode = rows(dice, 4), rows(dice, 4)
        shares = dice.choice((1.0, 0.9)), dice.choice((1.0, 0.92))
        devices, limits = dice.randint(2, 12), _limits(dice)
        most, rate = (devices, None) if dice.random() < 0.6 else (32, dice.choice((0.5, 1.0, 2.5)))
        kind = dice.choice(("max_throughput_per_device", "max_request_rate") if rate is None else (
            "min_devices", "max_throughput_per_device", "devices + 2 * decode_devices"))  # fmt: skip
        given: dict[str, Any] = {"devices": devices} if rate is None else {"request_rate": f"{rate} request/s"}
        made = task(
            "disaggregated_serving", equal_replicas=False, output_len=10, prefill_degradation=shares[0],
            decode_degradation=shares[1], **tables(prefill, decode), **given, objective=kind, constraints=limits,
        )  # fmt: skip
        assert isinstance(made, CoupledTask)
        self.task = made
        allowed = [
            [row for row in found if all(_holds(text, name, row[1]) for text in limits)]
            for name, found in (("ttft", prefill), ("itl", decode))
        ]
        rates = [_rates(found, share, most) for found, share in zip(allowed, shares, strict=True)]
        self.best = _best(rates, kind, rate, devices)

    @property
    def possible(self) -> bool:
        return self.best is not None

    def check(self, answer: PlanSolution, way: str) -> None:
        """Hold an answer against the best of all plans."""
        assert self.best is not None
        assert abs(answer.objective.si - self.best) <= 1e-9 * abs(self.best), (way, answer.objective, self.best)


def _holds(limit: str, name: str, latency: float) -> bool:
    about, relation, value, _ = limit.split()
    if about != name:
        return True
    return latency < float(value) if relation == "<" else latency <= float(value)


def _plans(found: list[Row], most: int) -> Iterator[tuple[int, float]]:
    """Yield accelerators and rate of every multiset of workers."""
    if not found:
        yield 0, 0.0
        return
    (devices, _, rate), *rest = found
    for count in range(most // devices + 1):
        for used, sustained in _plans(rest, most - count * devices):
            yield used + count * devices, sustained + count * rate


def _rates(found: list[Row], share: float, most: int) -> dict[int, float]:
    """Return the highest rate for each number of accelerators, from one worker on."""
    best: dict[int, float] = {}
    for used, sustained in _plans(found, most):
        if used:
            best[used] = max(best.get(used, 0.0), sustained * share)
    return best


def _best(by_used: list[dict[int, float]], kind: str, asked: float | None, devices: int) -> float | None:
    values = []
    for first, fast in by_used[0].items():
        for second, slow in by_used[1].items():
            used, rate = first + second, min(fast, slow)
            if asked is None:
                if used <= devices:
                    values.append(rate * (10 / devices if "throughput" in kind else 1))
            elif rate >= asked - 1e-12:
                values.append({"min_devices": used, "devices + 2 * decode_devices": used + 2 * second}.get(
                    kind, asked * 10 / used))  # fmt: skip
    if not values:
        return None
    return max(values) if kind.startswith("max") else min(values)
