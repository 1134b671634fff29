"""A random question about a formulation, with its answer by trying everything."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlsysim_opt.optimize import CoupledTask, PlanSolution

Recheck = Callable[[PlanSolution], float | None]
CLOSE = 1e-9


@dataclass(frozen=True)
class Question:
    """A question, and its answer.

    Attributes:
        task: the question. best: the best value of its objective in base units, infinite where nothing is possible.
        recheck: what the objective of a plan is by plain Python; None where a limit does not hold.
    """

    task: CoupledTask
    best: float
    recheck: Recheck

    @property
    def possible(self) -> bool:
        return math.isfinite(self.best)

    def check(self, answer: PlanSolution, way: str) -> None:
        """Hold an answer against the best, and its amounts against all limits."""
        assert near(answer.objective.si, self.best), f"{way}: {answer.objective.si!r} instead of {self.best!r}"
        value = self.recheck(answer)
        assert value is not None, f"{way}: its plan does not hold"
        assert near(value, self.best), f"{way}: its plan is worth {value!r}, not {self.best!r}"


def near(one: float, other: float, close: float = CLOSE) -> bool:
    """Return whether two numbers agree up to rounding."""
    return abs(one - other) <= close * max(abs(one), abs(other), 1e-12)


def at_most(total: float, limit: float) -> bool:
    """Return whether a sum keeps a limit up to rounding."""
    return total <= limit + CLOSE * max(abs(total), abs(limit))


def somewhere(dice: random.Random, values: Sequence[float]) -> float:
    """Return a limit that decides: a value that plans have, or one between them."""
    one, other = dice.choice(values), dice.choice(values)
    return one if dice.random() < 0.5 else (one + other) / 2
