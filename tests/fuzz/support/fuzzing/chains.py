"""Random chains of layers, asked as users ask: of measured strategies, or of a small model; and their answers.

Measured chains are tried one by one. Of a model's, the times and bytes of its physics are read one tuple at a time, and
labels go from layer to layer: a label is dropped only where another one of the same layout is no worse in anything.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fuzzing.question import Question, at_most, somewhere
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.optimize import CoupledProblem, CoupledTask, PlanSolution, formulation
from mlsysim_opt.optimize.coupled.problem import Largest

GIB, MS = 2.0**30, 1e-3
AXES = ("tp_size", "zero_stage", "recomputation", "sequence_parallel")


@dataclass(frozen=True)
class Strategy:
    """A way to run one layer: seconds, bytes for the whole step and while it works, and the layout of its sides."""

    name: Any
    layout: Any
    time: float
    kept: float
    working: float


@dataclass(frozen=True)
class Chain:
    """What a chain adds up to: the step and the part of it between layers; bytes for the whole step and at the peak."""

    step: float
    between: float
    kept: float
    peak: float


@dataclass(frozen=True)
class Wish:
    """What is asked: an objective with its value, and limits with theirs."""

    objective: str
    value: Callable[[Chain], float]
    limits: tuple[tuple[str, Callable[[Chain], bool]], ...] = ()

    def holds(self, chain: Chain) -> bool:
        return all(holds(chain) for _, holds in self.limits)


def added(
    chosen: Sequence[Strategy], change: Callable[[Any, Any], float], fixed: float = 0, factor: float = 1
) -> Chain:
    """Return what strategies of all layers add up to."""
    between = math.fsum(change(a.layout, b.layout) for a, b in itertools.pairwise(chosen)) * factor
    kept = math.fsum(item.kept for item in chosen)
    step = (math.fsum(item.time for item in chosen) + fixed) * factor + between
    return Chain(step, between, kept, kept + max(item.working for item in chosen))


@dataclass(frozen=True)
class Measured:
    """Measured layers: what is given, the strategies of each, the time of a change, and the limit of memory."""

    given: dict[str, Any]
    rows: dict[str, list[Strategy]]
    changes: dict[tuple[str, str], float]
    most: float | None

    def change(self, before: Any, after: Any) -> float:
        return 0.0 if before == after else self.changes.get((before, after), math.inf)

    def every(self, rows: dict[str, list[Strategy]] | None = None) -> list[Chain]:
        """Return what every chain adds up to that is possible and fits."""
        found = [added(chosen, self.change) for chosen in itertools.product(*(rows or self.rows).values())]
        return [item for item in found if math.isfinite(item.step) and self.fits(item)]

    def fits(self, item: Chain) -> bool:
        return self.most is None or at_most(item.peak, self.most)


def measured(dice: random.Random) -> Measured:
    """Return random layers."""
    whole = dice.random() < 0.5
    number = (lambda low, high: float(dice.randint(low, high))) if whole else dice.uniform
    layers, names = [f"l{at}" for at in range(dice.randint(1, 5))], "wxyz"[: dice.randint(1, 4)]
    layouts = {name: dice.choice("LRS") for name in names}
    rows = {
        layer: [
            Strategy(name, layouts[name], number(1, 20) * MS, number(0, 9) * GIB, number(0, 4) * GIB)
            for name in names
            if name == "w" or dice.random() < 0.8
        ]
        for layer in layers
    }
    known = sorted({item.layout for mine in rows.values() for item in mine})
    changes = {pair: number(0, 9) * MS for pair in itertools.permutations(known, 2) if dice.random() < 0.8}
    most = number(3, 40) * GIB if dice.random() < 0.6 else None
    given: dict[str, Any] = {
        "measured": [
            {"layer": layer, "strategy": item.name, "layout": item.layout, "time": f"{item.time / MS!r} ms",
             "kept": f"{item.kept / GIB!r} GiB", "working": f"{item.working / GIB!r} GiB"}
            for layer, mine in rows.items() for item in mine
        ],
        "resharding": [
            {"before": a, "after": b, "time": f"{time / MS!r} ms"} for (a, b), time in changes.items()
        ] or None,
    }  # fmt: skip
    if most is not None:
        given["memory_limit"] = f"{most / GIB!r} GiB"
    return Measured(given, rows, changes, most)


def limited(seed: int) -> Question:
    """Return the question of a seed about measured layers, under further limits."""
    return chain(seed, limited=True)


def chain(seed: int, limited: bool = False) -> Question:
    """Return the question of a seed about measured layers."""
    dice = random.Random(seed)
    drawn = measured(dice)
    wish = _wish(dice, drawn.every(), sure=drawn.most is not None)
    wish = _further(dice, drawn.every(), wish) if limited else wish
    left = {layer: [item for item in mine if f"strategy != '{item.name}'" not in dict(wish.limits)]
            for layer, mine in drawn.rows.items()}  # fmt: skip
    good = [item for item in drawn.every(left) if wish.holds(item)]

    def recheck(answer: PlanSolution) -> float | None:
        picked = [row["strategy"] for row in answer.amounts["strategies"]]
        found = [next(item for item in mine if item.name == name)
                 for mine, name in zip(left.values(), picked, strict=True)]  # fmt: skip
        item = added(found, drawn.change)
        return wish.value(item) if wish.holds(item) and drawn.fits(item) else None

    problem = formulation("layerwise").problem(drawn.given)
    return _asked(problem, wish, [wish.value(item) for item in good], recheck)


def modelled(seed: int) -> Question:
    """Return the question of a seed about the layers of a small model."""
    dice = random.Random(seed)
    given = {
        "model": "GPT2_Small",
        "stage": dice.choice(("One_DGX_H100", "One_DGX_A100", "Lab_64_H100")),
        "global_batch_size": dice.choice((64, 128)),
        "seq_len": dice.choice((512, 1024)),
        **dice.choice((
            {"tp_size": [1, 2], "zero_stage": [0], "recomputation": ["none", "full"], "sequence_parallel": [0]},
            {"tp_size": [1, 2, 4], "zero_stage": [1], "recomputation": ["none"], "sequence_parallel": [0]},
            {"tp_size": [4], "zero_stage": [0, 3], "recomputation": ["selective"], "sequence_parallel": [0, 1]},
            {"tp_size": [1], "zero_stage": [1, 3], "recomputation": ["none", "full"], "sequence_parallel": [0]},
        )),
        "overlap_comm": dice.random() < 0.5,
        "memory_limit": f"{math.exp(dice.uniform(math.log(0.5), math.log(60)))!r} GiB",
    }  # fmt: skip
    problem = formulation("layerwise").problem(given)
    assert isinstance(problem, CoupledProblem)
    physics = _Physics(problem)
    most = problem.values["memory_limit"]
    labels = physics.chains(most)
    wish = _wish(dice, labels, sure=True, choices=False)
    good = [item for item in labels if wish.holds(item)]

    def recheck(answer: PlanSolution) -> float | None:
        rows = answer.amounts["strategies"]
        item = physics.added([physics.strategy(row) for row in rows])
        return wish.value(item) if wish.holds(item) and at_most(item.peak, most) else None

    return _asked(problem, wish, [wish.value(item) for item in good], recheck)


def _wish(dice: random.Random, every: Sequence[Chain], *, sure: bool, choices: bool = True) -> Wish:
    """Return what is asked of chains, with limits near what they have."""
    limits: list[tuple[str, Callable[[Chain], bool]]] = []
    if every and dice.random() < 0.4:
        most = somewhere(dice, [item.step for item in every])
        limits.append((f"step_time <= {most!r} s", lambda item: at_most(item.step, most)))
    if every and dice.random() < 0.2:
        top = somewhere(dice, [item.peak for item in every])
        limits.append((f"memory <= {top!r} byte", lambda item: at_most(item.peak, top)))
    if every and dice.random() < 0.15:
        some = somewhere(dice, [item.between for item in every])
        limits.append((f"resharding_time <= {some!r} s", lambda item: at_most(item.between, some)))
    if choices and dice.random() < 0.2:
        limits.append((f"strategy != '{dice.choice('xyz')}'", lambda item: True))
    objective, value = dice.choice((
        ("min_step_time", lambda item: item.step),
        ("min_step_time", lambda item: item.step),
        ("min_memory", lambda item: item.peak),
        ("min_kept_memory", lambda item: item.kept),
        ("step_time + 2 ms/GiB * memory", lambda item: item.step + 2 * MS / GIB * item.peak),
        ("max(step_time, 1 ms/GiB * kept_memory)", lambda item: max(item.step, MS / GIB * item.kept)),
    ))  # fmt: skip
    assert sure or objective
    return Wish(objective, value, tuple(limits))


def _further(dice: random.Random, every: Sequence[Chain], wish: Wish) -> Wish:
    """Return what is asked with one to three limits more, each near what chains have."""
    sums: list[tuple[str, float, Callable[[Chain], float]]] = [
        ("memory <= {} byte", 1.0, lambda item: item.peak),
        ("kept_memory <= {} byte", 1.0, lambda item: item.kept),
        ("resharding_time <= {} s", 1.0, lambda item: item.between),
        ("layer_time <= {} s", 1.0, lambda item: item.step - item.between),
        ("layer_time >= {} s", -1.0, lambda item: item.step - item.between),
        ("step_time + 1 ms/GiB * memory <= {} s", 1.0, lambda item: item.step + MS / GIB * item.peak),
    ]
    limits = list(wish.limits)
    for text, sign, value in dice.sample(sums, dice.randint(1, 3)) if every else ():
        most = somewhere(dice, [value(item) for item in every])
        limits.append((text.format(repr(most)), partial(_holds, value=value, most=most, sign=sign)))
    return replace(wish, limits=tuple(limits))


def _holds(item: Chain, value: Callable[[Chain], float], most: float, sign: float) -> bool:
    return at_most(sign * value(item), sign * most)


def _asked(
    problem: Any, wish: Wish, values: Sequence[float], recheck: Callable[[PlanSolution], float | None]
) -> Question:
    limits = [text for text, _ in wish.limits if "strategy" not in text or text[-2] in _names(problem)]
    task = CoupledTask.of(problem, wish.objective, limits)
    return Question(task, min(values, default=math.inf), recheck)


def _names(problem: CoupledProblem) -> Sequence[Any]:
    return problem.decisions["strategy"].choice.values


class _Physics:
    """Times and bytes of a model's layers, read one tuple at a time."""

    def __init__(self, problem: CoupledProblem) -> None:
        self.problem = problem
        self.choices = {name: problem.decisions[name].choice for name in (*AXES, "layer", "layout")}
        step, memory = problem.totals["step_time"], problem.totals["memory"]
        assert not isinstance(step, Largest)
        assert isinstance(memory, Largest)
        layers, between = step.terms
        kept, working = memory.total.terms
        member = next(item for item in problem.couplings if item.name == "it comes from the layer before")
        self._tuple = ScalarProgram([layers.coefficient, kept.coefficient, working.coefficient])
        self._allowed = ScalarProgram([item.holds for item in problem.local])
        self._member = ScalarProgram([-member.coupling.total.terms[-1].coefficient])
        self._between = ScalarProgram([between.coefficient])
        self._high = ScalarProgram([problem.families["changes"].high])  # type: ignore[list-item]
        (self.fixed,) = ScalarProgram([step.offset]).run_named(problem.values)
        self._changes: dict[tuple[Any, Any], float] = {}
        self._known: dict[tuple[Any, ...], Strategy] = {}

    def strategy(self, row: dict[str, Any]) -> Strategy:
        name = tuple(row[axis] for axis in ("layer", *AXES))
        if name not in self._known:
            at = {**self.problem.values, **dict(zip(("layer", *AXES), name, strict=True))}
            (layout,) = (item for item in self.choices["layout"].values
                         if self._member.run_named({**at, "layout": item})[0])  # fmt: skip
            self._known[name] = Strategy(name, layout, *self._tuple.run_named(at))
        return self._known[name]

    def change(self, before: Any, after: Any) -> float:
        if (before, after) not in self._changes:
            first = self.choices["layer"].values[0]
            at = {**self.problem.values, "before": before, "after": after, "layer": first}
            possible = self._high.run_named(at)[0] >= 1
            self._changes[before, after] = self._between.run_named(at)[0] if possible else math.inf
        return self._changes[before, after]

    def added(self, chosen: Sequence[Strategy]) -> Chain:
        return added(chosen, self.change, self.fixed)

    def chains(self, most: float) -> list[Chain]:
        """Return what every chain that no other one beats in everything adds up to."""
        labels: dict[Any, list[tuple[float, float, float, float]]] = {}
        for place, layer in enumerate(self.choices["layer"].values):
            now: dict[Any, list[tuple[float, float, float, float]]] = {}
            for values in itertools.product(*(self.choices[axis].values for axis in AXES)):
                at = dict(zip(AXES, values, strict=True)) | {"layer": layer}
                if not all(self._allowed.run_named({**self.problem.values, **at})):
                    continue
                mine = self.strategy(at)
                ways = [(mine.time, 0.0, mine.kept, mine.working)] if not place else [
                    (step + mine.time + moved, between + moved, kept + mine.kept, max(working, mine.working))
                    for layout, several in labels.items()
                    if math.isfinite(moved := self.change(layout, mine.layout))
                    for step, between, kept, working in several
                    if kept + mine.kept <= most * (1 + 1e-9)
                ]  # fmt: skip
                now.setdefault(mine.layout, []).extend(ways)
            labels = {layout: _unbeaten(several) for layout, several in now.items()}
        found = [
            Chain(step + self.fixed, between, kept, kept + working)
            for several in labels.values()
            for step, between, kept, working in several
        ]
        return [item for item in found if at_most(item.peak, most)]


def _unbeaten(labels: list[tuple[float, ...]]) -> list[Any]:
    """Return the labels that no other one is at least as good as in everything; one of equal ones."""
    kept: list[tuple[float, ...]] = []
    for item in sorted(set(labels)):
        if not any(all(a <= b for a, b in zip(other, item, strict=True)) for other in kept):
            kept.append(item)
    return kept
