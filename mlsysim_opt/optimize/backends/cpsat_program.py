"""OR-Tools CP-SAT on a linear program all of whose amounts are whole, by numbers scaled to whole ones.

Costs are rounded down, and limits outwards: every plan of the program is one of the scaled program and costs no less
there, so that the proven value is a bound. Plans are evaluated again on the numbers themselves; those that the rounding
let in are cut off, one by one, and those within the rounding of the best are looked at until the bound is reached.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from mlsysim_opt.errors import InputError, MlsysimError, ScaleError
from mlsysim_opt.optimize.backends._imports import load_cpsat
from mlsysim_opt.optimize.backends.cpsat import COARSEST, interruptible, solver_of
from mlsysim_opt.optimize.backends.highs import Result, Stop
from mlsysim_opt.optimize.coupled.outcome import DOUBLE, EXACT, Found, Options, finished, pruned, within
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.scaling import checked

WHOLE = 60
"""What a row or the costs may add up to, as a power of two: CP-SAT refuses sums that could leave int64."""
TRIES = 100
"""Plans in the band of the rounding that are looked at."""


class CpSatProgramBackend:
    """CP-SAT over whole amounts."""

    name = "cpsat"
    continuous = False

    def solve(self, program: LinearProgram, options: Options) -> Found:
        """Return the best amounts with their proof, or why there are none.

        Raises:
            InputError: an amount is not whole. ScaleError: int64 has no room for the numbers.
        """
        load_cpsat()
        solver = f"OR-Tools CP-SAT {version('ortools')}"
        if not program.whole.all():
            raise InputError(
                f"{int(np.count_nonzero(~program.whole))} amounts are not whole numbers, which cpsat needs",
                path="backend",
                hint="use backend='milp'",
            )
        checked(program)
        part = pruned(program, options)
        if np.any(part.program.low > part.program.high):
            return finished(part, Result("infeasible", None, None, math.inf), solver, "bounds")
        run = _Run(part.program, replace(options, start=part.start))
        return finished(part, run.result(), solver, run.proof, resolved=DOUBLE)


@dataclass(frozen=True, eq=False)
class _Scaled:
    """Whole numbers for the entries of the rows and the costs, for amounts counted from their lower bounds.

    Attributes:
        steps: of the costs, per unit. entries, low, high: of the rows.
    """

    cost: Array
    steps: float
    entries: Array
    low: Array
    high: Array


class _Run:
    def __init__(self, program: LinearProgram, options: Options) -> None:
        self.program, self.options = program, options
        self.began = time.monotonic()
        self.low = program.low
        if not np.isfinite(self.low).all():
            raise ScaleError("an amount has no lower bound, which cpsat needs", path="backend", hint="backend='milp'")
        self.span = _upper(program) - self.low
        self.scaled = _scaled(program, self.low, self.span)
        self.base = float(program.cost @ self.low) + program.offset
        self.proof = f"CP-SAT, costs in steps of {1 / self.scaled.steps:.3g}, rounded down"

    def result(self) -> Result:
        """Return the best amounts, plans in the band of the rounding looked at one by one."""
        cp_model = load_cpsat()
        model = cp_model.CpModel()
        variables = [model.new_int_var(0, int(span), f"x{at}") for at, span in enumerate(self.span)]
        self._rows(cp_model, model, variables)
        whole = cp_model.LinearExpr.weighted_sum(variables, self.scaled.cost.tolist())
        model.minimize(whole)
        if self.options.start is not None:
            for variable, amount in zip(variables, np.round(self.options.start - self.low), strict=True):
                model.add_hint(variable, int(amount))
        best: tuple[float, Array] | None = None
        bound = -math.inf
        for _ in range(TRIES):
            status, x, proven = self._solve(model, variables)
            if status == "INFEASIBLE":
                bound = math.inf if best is None else best[0]
                break
            bound = max(bound, proven / self.scaled.steps + self.base)
            if x is not None:
                value = float(self.program.cost @ x) + self.program.offset
                holds = float(np.max(self.program.row_violations(x), initial=0.0)) <= EXACT
                if holds and (best is None or value < best[0]):
                    best = value, x
            if status != "OPTIMAL":
                stop: Stop = "limit"
                return Result(stop, None if best is None else best[1], best[0] if best else None, bound)
            if best is not None and within(best[0], bound, max(self.options.gap, EXACT)):
                break
            assert x is not None
            if best is not None:
                room = math.floor((best[0] - self.base) * self.scaled.steps)
                model.add(whole <= min(room, 2**62))
            self._cut(model, variables, x)
        else:
            raise ScaleError(
                f"{TRIES} plans are within the rounding to whole numbers, and none of them settles which is best",
                path="backend",
                hint="use backend='milp'",
            )
        if best is None:
            return Result("infeasible", None, None, math.inf)
        return Result("optimal", best[1], best[0], min(bound, best[0]))

    def _rows(self, cp_model: Any, model: Any, variables: list[Any]) -> None:
        program, scaled = self.program, self.scaled
        order = np.argsort(program.index, kind="stable")
        ends = np.cumsum(np.bincount(program.index, minlength=program.rows))
        column, value = program.entry_column[order], scaled.entries[order]
        for row, end in enumerate(ends):
            begin = ends[row - 1] if row else 0
            mine = [variables[at] for at in column[begin:end]]
            total = cp_model.LinearExpr.weighted_sum(mine, value[begin:end].tolist())
            low, high = int(scaled.low[row]), int(scaled.high[row])
            if begin == end:
                if low > 0 or high < 0:
                    model.add_bool_or([])
                continue
            ones = np.all(value[begin:end] == value[begin]) and bool(np.all(self.span[column[begin:end]] == 1))
            if ones and low == high == int(value[begin]):
                model.add_exactly_one(mine)
            else:
                model.add_linear_constraint(total, low, high)

    def _cut(self, model: Any, variables: list[Any], x: Array) -> None:
        """Exclude one plan."""
        parts = []
        for variable, amount, span in zip(variables, (x - self.low).tolist(), self.span.tolist(), strict=True):
            if span == 0:
                continue
            differs = model.new_bool_var("")
            model.add(variable != int(amount)).only_enforce_if(differs)
            parts.append(differs)
        model.add_bool_or(parts)

    def _solve(self, model: Any, variables: list[Any]) -> tuple[str, Array | None, float]:
        invalid = model.validate()
        if invalid:
            raise ScaleError(f"CP-SAT rejects the model: {invalid}", path="backend", hint="use backend='milp'")
        limit = self.options.time_limit
        solver = solver_of(None if limit is None else max(0.0, limit - (time.monotonic() - self.began)))
        solver.parameters.relative_gap_limit = self.options.gap
        code = interruptible(lambda: solver.solve(model), solver.stop_search)
        status: str = solver.status_name(code)
        if status not in ("OPTIMAL", "FEASIBLE", "INFEASIBLE", "UNKNOWN"):
            raise MlsysimError(f"CP-SAT stopped with {status}")
        if status == "INFEASIBLE":
            return status, None, math.inf
        x = None
        if status != "UNKNOWN":
            x = self.low + np.array([solver.value(variable) for variable in variables], dtype=float)
        return status, x, float(solver.best_objective_bound)


def _upper(program: LinearProgram) -> Array:
    """Return upper bounds, those that are missing from the rows, or from what any plan can need.

    Raises:
        ScaleError: an amount has none.
    """
    high = program.high.copy()
    for column in np.flatnonzero(~np.isfinite(high)).tolist():
        rows = [_Beside.of(program, at, column) for at in range(program.start[column], program.start[column + 1])]
        implied = [math.floor(row.most * (1 + EXACT) + EXACT) for row in rows if math.isfinite(row.most)]
        if implied:
            high[column] = min(implied)
        elif program.cost[column] >= 0 and all(row.high == math.inf for row in rows):
            # more of it costs, and no row asks for less: of what is beyond every need, there is no need
            needs = [row.need for row in rows]
            if all(need < math.inf for need in needs):
                high[column] = max([program.low[column], *(math.ceil(n * (1 + EXACT) + EXACT) for n in needs if n > 0)])
    if not np.isfinite(high).all():
        raise ScaleError("an amount has no upper bound, which cpsat needs", path="backend", hint="backend='milp'")
    if np.any(np.abs(high) > 2.0**53):
        raise ScaleError("an amount may be larger than 2^53", path="backend", hint="backend='milp'")
    return high


@dataclass(frozen=True)
class _Beside:
    """One row, seen from one amount, that it is written to add to.

    Attributes:
        high: what the row may add up to at most. need: how large the amount has to be where the others give least.
        most: how large it can be where they take least.
    """

    high: float
    need: float
    most: float

    @staticmethod
    def of(program: LinearProgram, at: int, column: int) -> _Beside:
        row, mine = int(program.index[at]), float(program.value[at])
        sign = 1.0 if mine > 0 else -1.0
        low, high = sorted([sign * float(program.row_low[row]), sign * float(program.row_high[row])])
        entries = np.flatnonzero(program.index == row)
        entries = entries[entries != at]
        others, columns = sign * program.value[entries], program.entry_column[entries]
        with np.errstate(invalid="ignore"):
            ends = np.where(others > 0, others * program.low[columns], others * program.high[columns])
        least = float(np.sum(ends))
        return _Beside(high, (low - least) / abs(mine), (high - least) / abs(mine))


def _scaled(program: LinearProgram, low: Array, span: Array) -> _Scaled:
    """Return whole numbers that let every plan in, with costs no larger than they are."""
    steps = float(_steps(np.array([np.sum(np.abs(program.cost) * np.maximum(span, 1.0))]))[0])
    cost = np.floor(program.cost * steps).astype(np.int64)
    size = np.bincount(
        program.index,
        weights=np.abs(program.value) * np.maximum(span, 1.0)[program.entry_column],
        minlength=program.rows,
    )
    fine = _steps(size)
    largest = np.zeros(program.rows)
    np.maximum.at(largest, program.index, np.abs(program.value))
    if np.any((largest > 0) & (largest * fine < 2.0**COARSEST)):
        raise ScaleError(
            f"int64 leaves the coefficients of a limit no room in steps of 2^-{COARSEST}",
            path="backend",
            hint="give the amounts smaller bounds, or use backend='milp'",
        )
    exact = program.value * fine[program.index]
    down = np.floor(exact)
    # entries are rounded down; what that may take from a row at most, is taken from its lower limit too
    lost = np.bincount(program.index, weights=(exact - down) * span[program.entry_column], minlength=program.rows)
    moved = program.activity(low)
    slack = EXACT * 1e-3 * (size + np.abs(moved)) * fine
    cap = 2.0 ** (WHOLE + 1)
    with np.errstate(invalid="ignore"):
        row_high = np.clip(np.floor((program.row_high - moved) * fine + slack), -cap, cap)
        row_low = np.clip(np.ceil((program.row_low - moved) * fine - slack - lost), -cap, cap)
    return _Scaled(cost, steps, down.astype(np.int64), row_low.astype(np.int64), row_high.astype(np.int64))


def _steps(size: Array) -> Array:
    """Return steps per unit, powers of two, for sums of these sizes."""
    known = np.where(size > 0, size, 1.0)
    steps: Array = np.exp2(np.minimum(WHOLE - 1 - np.ceil(np.log2(known)), 1000.0))
    return steps
