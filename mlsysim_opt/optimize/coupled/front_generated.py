"""The plans of a front made of parts that few rows tie together: each is found by generated columns.

Holding an objective below a value is one more such row, so no program of all tuples is needed. Each point, and each
region without plans, is proven by weak duality over everything the parts might do; see `generate`.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from mlsysim_opt.algebra.expression import constant
from mlsysim_opt.optimize.coupled.generate import ROWS, generates
from mlsysim_opt.optimize.coupled.linear import Linear, linear_objective
from mlsysim_opt.optimize.coupled.outcome import Found, Options, ProgramBackend
from mlsysim_opt.optimize.coupled.problem import Coupled
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.ratio import left, ratio_number
from mlsysim_opt.optimize.coupled.rechecked import values_at
from mlsysim_opt.optimize.coupled.regions import Kept, Limits, Point
from mlsysim_opt.optimize.coupled.reported import Solved
from mlsysim_opt.optimize.coupled.run import solve_first
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask

WIDTH = 1e-7
"""Values of an objective that differ by less, relatively, are not told apart: rows of relaxations are kept to that."""


TINIEST = 1e-300
"""By so much values differ at least where all of them are zero."""


def generates_front(task: CoupledTask, engine: ProgramBackend) -> bool:
    """Return whether every plan of a front can be found by generated columns."""
    alone = [replace(task, objective=item, then=[]) for item in (task.objective, *task.then)]
    return engine.name == "milp" and all(generates(item, ROWS - len(task.then)) for item in alone)


class GeneratedPlans:
    """The plans of a task of parts. Here `x` is the place of a plan in `plans`."""

    careful = True
    discrete = False
    """Amounts of parts are divisible."""

    def __init__(self, task: CoupledTask, engine: ProgramBackend, options: Options) -> None:
        self.task, self.engine, self.options, self.began = task, engine, options, time.monotonic()
        self.carrying = replace(task, then=[])
        self.objectives = [task.objective, *task.then]
        self.linear: list[Linear] = [linear_objective(task.problem, item.cost) for item in self.objectives]
        self.plans: list[tuple[Solved, Point]] = []
        self.solves = 0
        self.at = 0  # the objective that is looked for
        self.resolution: dict[int, float] = {}

    @property
    def count(self) -> int:
        """How many objectives there are."""
        return len(self.objectives)

    @property
    def details(self) -> dict[str, int]:
        """What was done."""
        tuples = {solved.found.details.get("tuples", 0) for solved, _ in self.plans}
        return {"programs": self.solves, "tuples": max(tuples, default=0)}

    def least(self, at: int, limits: Limits, start: Array | None = None, among: Array | None = None) -> Found:
        """Return the plan with the least of one objective, others held at or below values."""
        self.at = at
        held = [self._held(other, limit) for other, limit in limits.items()]
        asked = self.carrying.with_relations(held, "objectives are held") if held else self.carrying
        others = [item for item in self.objectives if item is not self.objectives[at]]  # they have to have numbers
        asked = replace(asked, objective=self.objectives[at], then=others)
        solved = solve_first(asked, self.engine, left(self.options, self.began))
        self.solves += 1
        if solved.found.x is None:
            return solved.found
        values = values_at(self.task, solved.compiled, solved.found.x)
        self.plans.append((solved, values))
        return replace(solved.found, x=np.array([len(self.plans) - 1]))

    def _held(self, at: int, limit: float) -> Coupled:
        item = self.linear[at]
        name = f"{self.objectives[at].name} is held"
        if item.divisor is None:
            return Coupled(name, item.total <= constant(limit, item.total.dimension), structural=True)
        return Coupled(name, item.total - item.divisor * ratio_number(item, limit) <= 0, structural=True)

    def values(self, x: Array) -> Point:
        """Return the objectives of a plan."""
        return self.plans[int(x[0])][1]

    def below(self, at: int, limit: float) -> float:
        """Return the largest value that counts as less than a limit."""
        if not math.isfinite(limit):
            return limit
        self.resolution[at] = max(self.resolution.get(at, 0.0), WIDTH * abs(limit), TINIEST)
        return limit - self.resolution[at]

    def step(self, at: int) -> float:
        """Return 0: how far apart values are is not known."""
        return 0.0

    def coarsen(self, at: int, width: float) -> None:
        """Let values of an objective that differ by less than a width count as one."""
        self.resolution[at] = width

    def begun(self, start: PlanSolution) -> Array | None:
        """Return None: plans of parts are found again faster than they are looked up."""
        return None

    def solved(self, plan: Kept, found: Found) -> Solved:
        """Return a plan with what is known of it."""
        made = self.plans[int(plan.x[0])][0]
        return Solved(made.compiled, replace(found, x=made.found.x))
