"""Solving one linear program with whole amounts to proven optimality, or to a certified gap.

Small programs go to the solver as they are. Of large ones, columns that cannot matter are left out first, each step
with its proof: dominated ones; then the relaxation is solved over few columns and all others are priced against it,
which gives the bound of the whole; then those are left out that the bound and a known plan exclude.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from mlsysim_opt.errors import VerificationError
from mlsysim_opt.optimize.backends.highs import HighsProgram, Progress, Result, Watch, highs_name
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.prune import dual_bound, undominated

FEW = 20_000
"""Programs of up to so many columns go to the solver as they are."""
PER_GROUP = 4
"""Columns of each pick that the first relaxation has, and that each pricing adds at most."""
ADDED = 20_000
"""Columns that one pricing adds at most."""
ROUNDS = 60
FEASIBLE = 1e-7
"""Violation of a row, relative to what it adds up, that is rounding."""

Status = Literal["optimal", "feasible", "infeasible", "unbounded", "unknown"]


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome for one program, in what is minimised.

    Attributes:
        status: ``optimal`` means within the gap that was asked for. x: the amounts. value, bound: of what is minimised.
        proof: how the bound is known. details: counts. relaxed: the bound without whole numbers, and its duals.
    """

    status: Status
    x: Array | None
    value: float | None
    bound: float
    proof: str
    solver: str
    details: dict[str, Any] = field(default_factory=dict)
    duals: Array | None = None


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        gap: relative distance of the plan to its bound at which to stop. time_limit: seconds. prune: leave columns out.
        watch: called with the progress. start: amounts of a known plan. criteria: further costs that pruning respects.
        tolerance: by how much a row may be violated, in units of its largest coefficient; the solver's own when None.
    """

    gap: float = 0.0
    time_limit: float | None = None
    prune: bool = True
    watch: Watch | None = None
    start: Array | None = None
    criteria: Sequence[Array] = ()
    tolerance: float | None = None


class ProgramBackend(Protocol):
    """Solves one linear program."""

    name: str

    def solve(self, program: LinearProgram, options: Options) -> Found:
        """Return the best amounts with their proof, or why there are none."""


class HighsBackend:
    """HiGHS on the arrays."""

    name = "milp"

    def solve(self, program: LinearProgram, options: Options) -> Found:
        """Return the best amounts with their proof, or why there are none."""
        return _Search(program, options).run()


class _Search:
    def __init__(self, program: LinearProgram, options: Options) -> None:
        self.program = program
        self.options = options
        self.began = time.monotonic()
        self.details: dict[str, Any] = {"columns": program.columns, "rows": program.rows}

    def left(self) -> float | None:
        """Return the seconds that are left."""
        if self.options.time_limit is None:
            return None
        return max(0.0, self.options.time_limit - (time.monotonic() - self.began))

    def run(self) -> Found:
        kept = np.arange(self.program.columns)
        if self.options.prune:
            kept = np.flatnonzero(undominated(self.program, self.options.criteria))
            self.details["undominated"] = len(kept)
        pruned = self.program.only(kept)
        start = None if self.options.start is None else self._started(kept)
        if pruned.columns <= FEW or not pruned.whole.any():
            return self._direct(pruned, kept, start)
        return self._sifted(pruned, kept, start)

    def _started(self, kept: Array) -> Array | None:
        """Return the known plan on the columns that are left, unless it uses others or is not possible here."""
        start = self.options.start
        assert start is not None
        if self.program.violation(start) > FEASIBLE or np.any(start[self.program.whole] % 1 != 0):
            return None
        rest = np.ones(len(start), dtype=bool)
        rest[kept] = False
        return None if np.any(start[rest] != 0) else start[kept]

    # small ------------------------------------------------------------------------------------------------------------
    def _direct(self, program: LinearProgram, kept: Array, start: Array | None) -> Found:
        solver = HighsProgram(program, tolerance=self.options.tolerance)
        if not program.whole.any():
            result = solver.solve(time_limit=self.left(), watch=self.options.watch)
            return self._found(program, kept, result, "linear program")
        relaxed = solver.relaxation(time_limit=self.left())
        if relaxed.stop in ("infeasible", "unbounded"):
            return self._found(program, kept, relaxed, "relaxation")
        if relaxed.stop == "interrupted":
            return self._found(program, kept, replace(relaxed, x=None), "relaxation")
        size = relaxed.value
        if size is not None:
            solver = HighsProgram(program, size=size - program.offset, tolerance=self.options.tolerance)
        result = solver.solve(gap=self.options.gap, time_limit=self.left(), start=start, watch=self.options.watch)
        bound = max(result.bound, relaxed.bound if relaxed.stop == "optimal" else -math.inf)
        found = self._found(program, kept, replace(result, bound=bound), "branch and bound")
        self.details["relaxation"] = relaxed.bound
        return replace(found, duals=relaxed.duals)

    # large ------------------------------------------------------------------------------------------------------------
    def _sifted(self, program: LinearProgram, kept: Array, start: Array | None) -> Found:
        sifted = sift(program, self.left, start)
        if sifted is None:  # the relaxation over few columns could not be made feasible: the solver sees it all
            return self._direct(program, kept, start)
        bound, duals, working = sifted
        self.details.update(relaxation=bound, priced=program.columns, working=int(np.count_nonzero(working)))
        reduced = _excess(program, duals)
        gap = self.options.gap
        best, value = start, math.inf if start is None else float(program.cost @ start) + program.offset
        if self.options.watch is not None:
            self.options.watch(Progress(time.monotonic() - self.began, None, bound, 0))
        first = np.flatnonzero(working & (reduced <= np.quantile(reduced[working], 0.9)))
        tried = self._part(program, first, bound, None, share=0.3, gap=max(gap, 1e-3))
        if tried.x is not None and tried.value is not None and tried.value < value:
            best, value = np.zeros(program.columns), tried.value
            best[first] = tried.x
        while True:
            room = value - bound
            open_ = reduced <= room if math.isfinite(value) else np.ones(program.columns, dtype=bool)
            if best is not None:
                open_ |= best != 0
            self.details["after_reduced_costs"] = int(np.count_nonzero(open_))
            part = np.flatnonzero(open_)
            begin = None if best is None else best[part]
            result = self._part(program, part, bound, begin, share=1.0, gap=gap)
            if result.x is not None and result.value is not None and result.value <= value:
                best, value = np.zeros(program.columns), result.value
                best[part] = result.x
            break
        proven = max(bound, min(result.bound, value))
        full = None if best is None else best
        merged = Result(result.stop, full, None if full is None else value, proven, duals, result.nodes)
        if result.stop == "infeasible" and best is not None:
            merged = replace(merged, stop="optimal", bound=value)
        found = self._found(program, kept, merged, "column pricing, reduced costs, branch and bound")
        return replace(found, duals=duals)

    def _part(
        self, program: LinearProgram, part: Array, bound: float, start: Array | None, *, share: float, gap: float
    ) -> Result:
        left = self.left()
        limit = None if left is None else left * share
        solver = HighsProgram(program.only(part), size=bound - program.offset, tolerance=self.options.tolerance)
        return solver.solve(gap=gap, time_limit=limit, start=start, watch=self.options.watch)

    # mapping back -----------------------------------------------------------------------------------------------------
    def _found(self, program: LinearProgram, kept: Array, result: Result, how: str) -> Found:
        solver = highs_name()
        details = {**self.details, "nodes": result.nodes}
        if result.stop == "infeasible":
            return Found("infeasible", None, None, math.inf, f"{how}: infeasible", solver, details)
        if result.stop == "unbounded":
            return Found("unbounded", None, None, -math.inf, f"{how}: unbounded", solver, details)
        if result.x is None:
            return Found("unknown", None, None, result.bound, f"{how} stopped at its limit", solver, details)
        x = settled(program, result.x)
        value = float(program.cost @ x) + program.offset
        full = np.zeros(self.program.columns)
        full[kept] = x
        bound = min(result.bound, value)
        near = within(value, bound, max(self.options.gap, 1e-9))
        status: Status = "optimal" if result.stop == "optimal" and near else "feasible"
        proof = f"{how}: bound {'reached' if status == 'optimal' else 'not reached: ' + result.stop}"
        return Found(status, full, value, bound, proof, solver, details, result.duals)


def within(value: float, bound: float, gap: float) -> bool:
    """Return whether a value is within a relative gap of its bound."""
    return value - bound <= gap * max(abs(value), abs(bound)) + 1e-300


def settled(program: LinearProgram, x: Array) -> Array:
    """Return amounts with whole numbers made whole and the others chosen again for them.

    Raises:
        VerificationError: with whole numbers made whole, no amounts satisfy every row.
    """
    x = np.where(program.whole, np.round(x), x)
    x = np.clip(x, program.low, program.high)
    if not program.whole.all() and program.whole.any():
        again = HighsProgram(program.fixed(x, program.whole)).relaxation()
        if again.x is not None and again.stop == "optimal":
            x = np.where(program.whole, x, np.clip(again.x, program.low, program.high))
    violated = program.violation(x)
    if violated > FEASIBLE:
        raise VerificationError(
            f"the solver's plan violates a row by {violated:.2g} of what it adds up once whole numbers are made whole",
            hint="this is a matter of scale: give amounts in units in which they are neither tiny nor huge",
        )
    return x


def sift(
    program: LinearProgram, left: Callable[[], float | None], start: Array | None = None
) -> tuple[float, Array, Array] | None:
    """Return the value of the relaxation over all columns, its duals, and the columns it was solved over.

    The relaxation is solved over few columns; all others are priced against its duals, and those that would lower it
    join, until none would. The bound returned is that of weak duality over every column.
    """
    working = _first_columns(program)
    if start is not None:
        working |= start != 0
    best = -math.inf
    kept_duals: Array | None = None
    for _ in range(ROUNDS):
        part = np.flatnonzero(working)
        result = HighsProgram(program.only(part)).relaxation(time_limit=left())
        if result.stop != "optimal" or result.duals is None:
            return None if kept_duals is None else (best, kept_duals, working)
        bound = dual_bound(program, result.duals)
        if bound > best or kept_duals is None:
            best, kept_duals = bound, result.duals
        assert result.value is not None
        if result.value - best <= 1e-9 * max(1e-300, abs(result.value)):
            break
        reduced = program.reduced_costs(result.duals)
        added = _cheapest(program, reduced, working)
        if not len(added):
            break
        working[added] = True
    assert kept_duals is not None
    return best, kept_duals, working


def _first_columns(program: LinearProgram) -> Array:
    """Return the columns to begin with: all that are in no pick, and of each pick the cheapest and the lightest."""
    assert program.group is not None
    working = program.group < 0
    if np.count_nonzero(working) > 10 * FEW:
        working = working & (program.low > 0)
    members = np.flatnonzero(program.group >= 0)
    weight = np.bincount(program.entry_column, weights=np.abs(program.value), minlength=program.columns)
    for key in (program.cost, weight):
        order = members[np.lexsort((key[members], program.group[members]))]
        working[order[_rank_in_runs(program.group[order]) < PER_GROUP]] = True
    return working


def _rank_in_runs(codes: Array) -> Array:
    """Return, for sorted codes, the place of each in its run of equal ones."""
    first = np.concatenate([[True], codes[1:] != codes[:-1]])
    begin = np.maximum.accumulate(np.where(first, np.arange(len(codes)), 0))
    return np.arange(len(codes)) - begin


def _cheapest(program: LinearProgram, reduced: Array, working: Array) -> Array:
    """Return columns that would lower the relaxation: of each pick the best few, of the others the best."""
    assert program.group is not None
    scale = float(np.max(np.abs(program.cost), initial=0.0))
    good = np.flatnonzero(~working & (reduced < -1e-11 * scale))
    if not len(good):
        return good
    group = program.group[good]
    order = np.lexsort((reduced[good], group))
    good, group = good[order], group[order]
    chosen = good[(group < 0) | (_rank_in_runs(group) < PER_GROUP)]
    return chosen[np.argsort(reduced[chosen])][:ADDED]


def _excess(program: LinearProgram, duals: Array) -> Array:
    """Return by how much a plan with a column costs at least more than the bound."""
    reduced = program.reduced_costs(duals)
    if program.group is None:
        return np.maximum(reduced, 0.0)
    member = program.group >= 0
    least = np.zeros(int(program.group.max()) + 1 if member.any() else 1)
    np.minimum.at(least, program.group[member], reduced[member])
    excess = np.where(member, reduced - least[np.maximum(program.group, 0)], np.maximum(reduced, 0.0))
    return np.where(program.whole, excess, 0.0)
