"""Solving one linear program with whole amounts by HiGHS, to proven optimality or to a certified gap.

Small programs go to the solver as they are. Of large ones, columns that cannot matter are left out first, each step
with its proof: dominated ones; then the relaxation is solved over few columns and all others are priced against it,
which gives the bound of the whole; then those are left out that the bound and a known plan exclude.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from mlsysim_opt.errors import VerificationError
from mlsysim_opt.optimize.backends.highs import LONG_SEARCHES, HighsProgram, Result, Stop, highs_name
from mlsysim_opt.optimize.coupled.chain import solve_chain
from mlsysim_opt.optimize.coupled.first_plan import asks_for_one, dived_plan, greedy_plan
from mlsysim_opt.optimize.coupled.outcome import (
    EXACT,
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
from mlsysim_opt.optimize.stopping import Standing, noted_interrupts

FEW = 20_000
"""Programs of up to so many columns go to the solver as they are."""
FIRST = 4_000
"""Columns that are first branched over; then four times as many, and so on."""
WORTH = 10
"""Where all that is left is not so many times as much, it is branched over at once."""
FINEST = 1e-10
"""HiGHS's least tolerance."""
TIED = 1e-8
"""Plans that differ by less, relatively, are as good as one another where columns are left out."""
COARSE = 1e-3
"""The gap to which a program is solved that does not settle the answer."""

__all__ = ["EXACT", "FEW", "Found", "HighsBackend", "Options", "ProgramBackend", "ROUNDING", "within"]


class HighsBackend:
    """HiGHS on the arrays."""

    name = "milp"
    continuous = True

    def solve(self, program: LinearProgram, options: Options) -> Found:
        """Return the best amounts with their proof, or why there are none."""
        began = time.monotonic()
        pressed: list[bool] = []
        if program.links is not None:
            with noted_interrupts(pressed):
                chained = solve_chain(program, options, pressed)
            if chained is not None:
                return chained
        return _Search(pruned(program, options), began, pressed).run()


class _Search:
    def __init__(self, part: Part, began: float, pressed: list[bool]) -> None:
        self.part, self.program, self.options = part, part.program, part.options
        self.began = began
        self.start, self.stopped = part.start, False
        self.pressed = pressed  # Ctrl-C
        # of several like programs each begins with a plan, and few of its columns are left: few nodes are expected
        self.without = () if self.options.first is None else LONG_SEARCHES

    def left(self) -> float | None:
        """Return the seconds that are left."""
        if self.options.time_limit is None:
            return None
        return max(0.0, self.options.time_limit - (time.monotonic() - self.began))

    def run(self) -> Found:
        """Return the outcome of the program."""
        first = self.options.first
        if first is None:  # several like programs each begin with a plan of the one before, or are solved at once
            self.start = self._at_once(partial(greedy_plan, self.program))
            if self.pressed:
                return self._interrupted(-math.inf)
        if self.program.columns <= (FEW if first is None else 3 * first) or not self.program.whole.any():
            return self._direct()
        found = self._sifted(FIRST if first is None else first)
        if first is None or found.status != "feasible" or self.stopped:
            return found
        return self._direct()  # tolerances left room between the two: that is settled over all columns

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
        if relaxed.stop == "interrupted":
            return self._interrupted(-math.inf)
        if relaxed.x is not None:
            solver = HighsProgram(program, size=added_up(program, relaxed.x))
            self.start = self._at_once(partial(dived_plan, program, kept=np.arange(program.columns)))
        self.part.details["relaxation"] = relaxed.bound
        if self.pressed:
            return self._interrupted(relaxed.bound)
        result = solver.solve(
            gap=self.options.gap,
            time_limit=self.left(),
            start=self.start,
            watch=self.options.watch,
            without=self.without,
        )
        bound = max(result.bound, relaxed.bound if relaxed.stop == "optimal" else -math.inf)
        result = self._sharpened(replace(result, bound=bound))
        try:
            return finished(self.part, result, highs_name(), "branch and bound", relaxed.duals)
        except VerificationError:  # a plan at the edge of tolerances: once more, with the finest
            finer = HighsProgram(program, size=result.value, tolerance=FINEST)
            result = finer.solve(gap=self.options.gap, time_limit=self.left(), watch=self.options.watch)
            return finished(self.part, result, highs_name(), "branch and bound", relaxed.duals)

    def _at_once(self, found: Callable[[Callable[[], bool]], Array | None]) -> Array | None:
        """Return the plan that is known, else one that is found in less than half of the time, if one is."""
        if self.start is not None or not asks_for_one(self.program):
            return self.start
        limit = self.left()
        until = math.inf if limit is None else time.monotonic() + limit / 2
        with noted_interrupts(self.pressed):
            return found(lambda: bool(self.pressed) or time.monotonic() > until)

    def _interrupted(self, bound: float) -> Found:
        """Return what is held where Ctrl-C was pressed before branch and bound."""
        x = self.start
        value = None if x is None else float(self.program.cost @ x) + self.program.offset
        return finished(self.part, Result("interrupted", x, value, bound), highs_name(), "relaxation")

    def _sharpened(self, result: Result) -> Result:
        """Return an optimum with its bound proven again, where tolerances left room between the two.

        Nothing may be better by more than rounding: that is asked for, in a row of its own.
        """
        program, value = self.program, result.value
        if result.stop != "optimal" or result.x is None or value is None:
            return result
        size = added_up(program, result.x)
        if within(value, result.bound, max(self.options.gap, EXACT), size):
            return result
        limit = value - 0.5 * max(EXACT * abs(value), EXACT * ROUNDING * size)
        narrowed = program.with_row(program.cost, -math.inf, limit - program.offset)
        better = HighsProgram(narrowed, size=size, tolerance=FINEST)
        again = better.solve(time_limit=self.left(), watch=self.options.watch)
        if again.stop == "infeasible":
            return replace(result, bound=limit)
        if again.x is not None and again.value is not None and again.value < value:
            return replace(again, bound=max(result.bound, again.bound))
        return result

    def _told_apart(self, result: Result) -> Result:
        """Return an outcome with unbounded told apart from infeasible, which solvers do not always do."""
        if result.stop != "unbounded":
            return result
        free = replace(self.program, cost=np.zeros(self.program.columns), offset=0.0)
        possible = HighsProgram(free).solve(time_limit=self.left()).stop != "infeasible"
        return result if possible else replace(result, stop="infeasible", bound=math.inf)

    def _first(self) -> Array:
        """Return a mask of the columns that the relaxation begins with, beside cheap ones: of what is known."""
        first = np.zeros(self.program.columns, dtype=bool)
        if self.start is not None:
            first |= self.start != 0
        if self.options.likely is not None:
            first |= self.options.likely[self.part.kept]
        return first

    # large ------------------------------------------------------------------------------------------------------------
    def _sifted(self, first: int) -> Found:
        """Solve over few columns, more of them each time, until none that is left out can be in a better plan.

        A plan with a column that was left out costs at least the bound of the relaxation and the column's excess.
        """
        program, options = self.program, self.options
        with noted_interrupts(self.pressed):
            relaxed = sift(program, self.left, self._first())
        if self.pressed:
            return self._interrupted(-math.inf if relaxed is None else relaxed.bound)
        if relaxed is None:  # the relaxation could not be made feasible by columns: the solver sees it all
            return self._direct()
        above = excess(program, relaxed.duals)
        self.part.details.update(relaxation=relaxed.bound, working=int(np.count_nonzero(relaxed.working)))
        if options.watch is not None:
            options.watch(Standing(time.monotonic() - self.began, None, relaxed.bound, 0))
        best = self.start = self._at_once(partial(dived_plan, program, kept=np.flatnonzero(relaxed.working)))
        how = "column pricing, reduced costs, branch and bound"
        if self.pressed:
            return self._interrupted(relaxed.bound)
        value = math.inf if best is None else float(program.cost @ best) + program.offset
        must = relaxed.working & (above == 0)
        at_once = max(first, 2 * int(np.count_nonzero(must)))
        nodes, proven, near = 0, relaxed.bound, options.near
        stop: Stop = "limit"
        while True:
            limit = min(value - relaxed.bound, near)
            if np.count_nonzero(above <= limit) > at_once * (1 if best is None else WORTH):
                limit = min(limit, float(np.partition(above, at_once)[at_once]))
            part = np.flatnonzero((above <= limit) if best is None else (above <= limit) | (best != 0))
            rest = float(np.min(above, initial=math.inf, where=above > limit))  # what the first left out costs
            last = relaxed.bound + rest >= value
            left = self.left()
            result = HighsProgram(program.only(part), size=relaxed.size).solve(
                gap=options.gap if last or limit == near else max(options.gap, COARSE),
                time_limit=None if left is None else left * (1.0 if last or not math.isfinite(rest) else 0.4),
                start=None if best is None else best[part],
                watch=options.watch,
                without=self.without,
            )
            nodes += result.nodes
            if result.x is not None and result.value is not None and result.value <= value:
                best, value = np.zeros(program.columns), result.value
                best[part] = result.x
            stop = result.stop
            if stop != "infeasible" or best is None:  # where a plan is known, the solver is mistaken: it proves nothing
                proven = max(proven, min(result.bound, relaxed.bound + rest, value))
            self.part.details["branched_over"] = len(part)
            near = math.inf
            if best is None and stop == "infeasible" and math.isfinite(rest):
                at_once *= 4
            elif best is None or stop in ("interrupted", "limit", "unbounded") or len(part) == program.columns:
                break
            elif within(value, proven, max(options.gap, EXACT)):
                stop = "optimal"
                break
            elif last:
                break
            else:
                at_once *= 4
        self.stopped = stop in ("limit", "interrupted")
        stop = "limit" if stop == "infeasible" and best is not None else stop
        merged = Result(stop, best, None if best is None else value, proven, None, nodes)
        found = finished(self.part, merged, highs_name(), how, relaxed.duals)
        if found.value is None:
            return found
        # rounding of the value, and more than its ties are held to
        mask = np.zeros(self.part.whole.columns, dtype=bool)
        mask[self.part.kept] = above <= (found.value - relaxed.bound) + TIED * (abs(found.value) + relaxed.size)
        return replace(found, near=mask)
