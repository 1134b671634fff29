"""Solving one linear program with whole amounts by HiGHS, to proven optimality or to a certified gap.

Small programs go to the solver as they are. Of large ones, columns that cannot matter are left out first, each step
with its proof: dominated ones; then the relaxation is solved over few columns and all others are priced against it,
which gives the bound of the whole; then those are left out that the bound and a known plan exclude.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram, Progress, Result, highs_name
from mlsysim_opt.optimize.coupled.outcome import (
    ROUNDING,
    Found,
    Options,
    Part,
    ProgramBackend,
    added_up,
    finished,
    pruned,
    within,
)
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.prune import excess
from mlsysim_opt.optimize.coupled.sifting import sift

FEW = 20_000
"""Programs of up to so many columns go to the solver as they are."""

__all__ = ["FEW", "Found", "HighsBackend", "Options", "ProgramBackend", "ROUNDING", "within"]


class HighsBackend:
    """HiGHS on the arrays."""

    name = "milp"
    continuous = True

    def solve(self, program: LinearProgram, options: Options) -> Found:
        """Return the best amounts with their proof, or why there are none."""
        return _Search(pruned(program, options)).run()


class _Search:
    def __init__(self, part: Part) -> None:
        self.part, self.program, self.options = part, part.program, part.options
        self.began = time.monotonic()
        self.size: float | None = None

    def left(self) -> float | None:
        """Return the seconds that are left."""
        if self.options.time_limit is None:
            return None
        return max(0.0, self.options.time_limit - (time.monotonic() - self.began))

    def run(self) -> Found:
        """Return the outcome of the program."""
        if self.program.columns <= FEW or not self.program.whole.any():
            return self._direct()
        return self._sifted()

    # small ------------------------------------------------------------------------------------------------------------
    def _direct(self) -> Found:
        program = self.program
        solver = HighsProgram(program)
        if not program.whole.any():
            result = self._told_apart(solver.solve(time_limit=self.left(), watch=self.options.watch))
            return finished(self.part, result, highs_name(), "linear program", result.duals)
        relaxed = self._told_apart(solver.relaxation(time_limit=self.left()))
        if relaxed.stop in ("infeasible", "unbounded"):
            return finished(self.part, relaxed, highs_name(), "relaxation")
        if relaxed.x is not None:
            solver = HighsProgram(program, size=added_up(program, relaxed.x))
        result = solver.solve(
            gap=self.options.gap, time_limit=self.left(), start=self.part.start, watch=self.options.watch
        )
        bound = max(result.bound, relaxed.bound if relaxed.stop == "optimal" else -math.inf)
        self.part.details["relaxation"] = relaxed.bound
        return finished(self.part, replace(result, bound=bound), highs_name(), "branch and bound", relaxed.duals)

    def _told_apart(self, result: Result) -> Result:
        """Return an outcome with unbounded told apart from infeasible, which solvers do not always do."""
        if result.stop != "unbounded":
            return result
        free = replace(self.program, cost=np.zeros(self.program.columns), offset=0.0)
        possible = HighsProgram(free).solve(time_limit=self.left()).stop != "infeasible"
        return result if possible else replace(result, stop="infeasible", bound=math.inf)

    # large ------------------------------------------------------------------------------------------------------------
    def _sifted(self) -> Found:
        program, options = self.program, self.options
        sifted = sift(program, self.left, self.part.start)
        if sifted is None:  # the relaxation over few columns could not be made feasible: the solver sees it all
            return self._direct()
        bound, duals, working = sifted.bound, sifted.duals, sifted.working
        self.size = sifted.size
        self.part.details.update(relaxation=bound, working=int(np.count_nonzero(working)))
        above = excess(program, duals)
        best = self.part.start
        value = math.inf if best is None else float(program.cost @ best) + program.offset
        if options.watch is not None:
            options.watch(Progress(time.monotonic() - self.began, None, bound, 0))
        first = np.flatnonzero(working)
        tried = self._over(first, None, share=0.3, gap=max(options.gap, 1e-3))
        if tried.x is not None and tried.value is not None and tried.value < value:
            best, value = np.zeros(program.columns), tried.value
            best[first] = tried.x
        open_ = above <= value - bound if math.isfinite(value) else np.ones(program.columns, dtype=bool)
        if best is not None:
            open_ |= best != 0
        self.part.details["after_reduced_costs"] = int(np.count_nonzero(open_))
        rest = np.flatnonzero(open_)
        result = self._over(rest, None if best is None else best[rest], share=1.0, gap=options.gap)
        if result.x is not None and result.value is not None and result.value <= value:
            best, value = np.zeros(program.columns), result.value
            best[rest] = result.x
        proven = max(bound, min(result.bound, value))
        stop = "optimal" if result.stop == "infeasible" and best is not None else result.stop
        merged = Result(stop, best, None if best is None else value, proven, duals, result.nodes)
        how = "column pricing, reduced costs, branch and bound"
        return finished(self.part, merged, highs_name(), how, duals)

    def _over(self, columns: Array, start: Array | None, *, share: float, gap: float) -> Result:
        """Return the best over some columns."""
        left = self.left()
        limit = None if left is None else left * share
        solver = HighsProgram(self.program.only(columns), size=self.size)
        return solver.solve(gap=gap, time_limit=limit, start=start, watch=self.options.watch)
