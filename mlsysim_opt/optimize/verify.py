"""Independent re-evaluation of a solution: scalar arithmetic only, no tables, no solver."""

from __future__ import annotations

import random
from typing import Any

from mlsysim_opt.errors import VerificationError
from mlsysim_opt.optimize.answer import Value, relative
from mlsysim_opt.optimize.run import AGREEMENT, Task
from mlsysim_opt.optimize.solution import Solution


def verify(task: Task, solution: Solution, samples: int) -> dict[str, Any]:
    """Return what the scalar path finds; see `Solution.verify`."""
    cost, metrics, truths, _ = task.scalar.at(solution.design)
    failing = [item.name for item, holds in zip(task.problem.constraints, truths, strict=True) if not holds]
    worst = 0.0
    for name, shown in solution.metrics.values_with_units.items():
        worst = max(worst, _deviation(shown, metrics[name]))
    sign = 1.0 if solution.sense == "min" else -1.0
    worst = max(worst, _deviation(solution.objective, sign * cost))
    if failing or worst > AGREEMENT:
        raise VerificationError(
            "the solution does not hold: " + (f"violates {', '.join(failing)}" if failing else f"off by {worst:.3g}")
        )
    bound = sign * solution.bound.si if solution.bound is not None else None
    if bound is not None and cost < bound - AGREEMENT * abs(bound):
        raise VerificationError("the solution is better than its own bound")
    tried = 0
    for design in _others(task, solution, samples):
        other, _, holds, _ = task.scalar.at(design)
        tried += 1
        if bound is not None and all(holds) and other < bound - AGREEMENT * abs(bound):
            raise VerificationError(f"a better design exists than the bound says: {design}")
    return {
        "objective": solution.objective.as_dict(),
        "deviation": worst,
        "constraints_hold": True,
        "designs_tried_against_the_bound": tried,
    }


def _deviation(shown: Value, exact: float) -> float:
    if shown.value is None or exact != exact:
        return 0.0
    return abs(relative(shown.si, exact)) if exact else abs(shown.si)


def _others(task: Task, solution: Solution, samples: int) -> list[dict[str, Any]]:
    """Return runner-ups and random designs near and far; most random ones are infeasible, which is what they test."""
    chosen = [item.design for item in [*solution.runner_ups, *solution.ties]]
    dice = random.Random(0)
    for _ in range(samples):
        design = dict(solution.design)
        for choice in dice.sample(task.problem.choices, k=min(3, len(task.problem.choices))):
            design[choice.name] = dice.choice(choice.values)
        chosen.append(design)
    return chosen
