"""Fronts of random measured chains against every chain: two to four objectives, by labels, and by a program a point."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from fuzzing.chains import GIB, MS, Chain, measured
from fuzzing.fronts import agree, by_counting, covers
from fuzzing.question import at_most, somewhere
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize import CoupledProblem, CoupledTask, formulation
from mlsysim_opt.optimize.coupled import front as searched
from mlsysim_opt.optimize.coupled.front import coupled_front

LABELLED: list[tuple[str, Callable[[Chain], float]]] = [
    ("min_step_time", lambda item: item.step),
    ("min_memory", lambda item: item.peak),
    ("min_kept_memory", lambda item: item.kept),
    ("min_resharding_time", lambda item: item.between),
    ("min_layer_time", lambda item: item.step - item.between),
    ("step_time + 2 ms/GiB * memory", lambda item: item.step + 2 * MS / GIB * item.peak),
]
"""Objectives that labels tell."""
OTHERS: list[tuple[str, Callable[[Chain], float]]] = [
    ("max(step_time, 1 ms/GiB * kept_memory)", lambda item: max(item.step, MS / GIB * item.kept)),
    ("max_layer_time", lambda item: item.between - item.step),
    ("kept_memory / step_time", lambda item: item.kept / item.step),
]
LIMITS: list[tuple[str, Callable[[Chain], float]]] = [
    ("memory <= {!r} byte", lambda item: item.peak),
    ("kept_memory <= {!r} byte", lambda item: item.kept),
    ("step_time <= {!r} s", lambda item: item.step),
    ("step_time + 1 ms/GiB * memory <= {!r} s", lambda item: item.step + MS / GIB * item.peak),
]


def examine_chains(seed: int, *, every: bool = False) -> str:
    """Hold the front of measured layers against every chain; return how it was found."""
    dice = random.Random(f"front {seed}")
    drawn = measured(dice)
    goals = dice.sample([*LABELLED, *(OTHERS if dice.random() < 0.3 else [])], dice.choice([2, 2, 3, 3, 4]))
    chains, limits = drawn.every(), []
    for text, value in dice.sample(LIMITS, dice.choice([0, 0, 1, 2])) if chains else ():
        most = somewhere(dice, [value(item) for item in chains])
        limits.append(text.format(most))
        chains = list(filter(partial(_holds, value=value, most=most), chains))
    points = [tuple(value(item) for _, value in goals) for item in chains]
    texts = [text for text, _ in goals]
    signs = [-1.0 if text.startswith("max_") else 1.0 for text in texts]
    problem = formulation("layerwise").problem(drawn.given)
    assert isinstance(problem, CoupledProblem)
    task = CoupledTask.of(problem, texts, limits)
    told = "infeasible"
    ways = [(True, None), (False, None), (True, 3)]
    for labels, count in ways if every else [(seed % 4 > 0, 3 if seed % 5 == 0 else None)]:
        where = f"labels={labels}, points={count}, {texts}, {limits}"
        with pytest.MonkeyPatch.context() as patch:
            if not labels:
                patch.setattr(searched, "chain_front", lambda *of: None)
            try:
                found = coupled_front(task, count)
            except InfeasibleError:
                assert not points, f"{where}: says that there is no chain"
                continue
        assert points, f"{where}: found a front where there is no chain"
        assert all(plan.status == "optimal" for plan in found), where
        told = str(found[0].certificate.solver)
        if count is None:
            agree(found, points, signs, where)
        else:
            covers(found, points, signs, where)
            assert found.complete == (len(found) == len(by_counting(points))), where
            assert len(found) <= count or found.details["programs"], where  # by programs, about so many
        for plan in found[:: max(1, len(found) // 3)]:
            plan.verify()
    return told


def _holds(item: Chain, value: Callable[[Chain], float], most: float) -> bool:
    return at_most(value(item), most)
