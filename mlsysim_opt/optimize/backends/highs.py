"""HiGHS on a linear program of arrays: built in one call, solved again warm after changes.

Numbers are scaled by powers of two before they are handed over (rows to a largest coefficient of about one, costs so
that the answer is a few thousand), so that absolute tolerances mean the same in every unit; scaling back is exact.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from mlsysim_opt.errors import MlsysimError, ScaleError
from mlsysim_opt.optimize.backends._imports import load_highs
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram

Stop = Literal["optimal", "infeasible", "unbounded", "limit", "interrupted"]
LARGE = 4096.0
"""The size that the answer is scaled to: absolute tolerances of 1e-6 are then 1e-10 of it."""
NOTHING = 1e-9
"""An answer below this share of the largest cost is a difference of costs near zero, and no measure for them."""
BEYOND = 1e30
"""HiGHS has no finite number of this size; it stands for none."""


@dataclass(frozen=True)
class Progress:
    """Where a search stands: seconds, the best value held (None if none) and the bound, both of what is minimised."""

    seconds: float
    incumbent: float | None
    bound: float | None
    nodes: int

    @property
    def gap(self) -> float | None:
        """How far the incumbent may be from the best, relatively."""
        if self.incumbent is None or self.bound is None or not math.isfinite(self.bound):
            return None
        return max(0.0, self.incumbent - self.bound) / max(abs(self.incumbent), 1e-300)


Watch = Callable[[Progress], bool | None]
"""Called with the progress; returning True stops the search."""


@dataclass(frozen=True, eq=False)
class Result:
    """What HiGHS holds when it stops.

    Attributes:
        stop: why it stopped. x: the amounts, None if there are none. value: of what is minimised.
        bound: no plan is below this. duals: of the rows (linear programs only). nodes: of the search tree.
    """

    stop: Stop
    x: Array | None
    value: float | None
    bound: float
    duals: Array | None = None
    nodes: int = 0


def highs_name() -> str:
    """Return the name and version of the solver."""
    return f"HiGHS {version('highspy')}"


class HighsProgram:
    """A linear program inside HiGHS.

    Args:
        program: the program. size: about how large the answer is, where known: costs are scaled by it.
        tolerance: by how much a scaled row may be violated; HiGHS's own (1e-6) when None.
    """

    def __init__(self, program: LinearProgram, size: float | None = None, tolerance: float | None = None) -> None:
        self._highspy = load_highs()
        self.program = program
        _checked(program)
        self._rows = _row_units(program)
        self._columns = _column_units(program, self._rows)
        self._cost = _cost_unit(program, self._columns, size)
        self._highs = self._highspy.Highs()
        self._set(output_flag=False, threads=1, random_seed=0, small_matrix_value=1e-12)
        if tolerance is not None:
            self._set(mip_feasibility_tolerance=tolerance, primal_feasibility_tolerance=tolerance)
        self._pass()

    def _set(self, **options: Any) -> None:
        for name, value in options.items():
            self._highs.setOptionValue(name, value)

    def _pass(self) -> None:
        item, highspy = self.program, self._highspy
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = item.columns, item.rows
        lp.col_cost_ = item.cost * (self._columns / self._cost)
        lp.col_lower_, lp.col_upper_ = item.low / self._columns, item.high / self._columns
        lp.row_lower_, lp.row_upper_ = item.row_low / self._rows, item.row_high / self._rows
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = item.start, item.index
        lp.a_matrix_.value_ = item.value / self._rows[item.index] * self._columns[item.entry_column]
        if item.whole.any():
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            lp.integrality_ = [kinds[int(flag)] for flag in item.whole]
        status = self._highs.passModel(lp)
        if status == highspy.HighsStatus.kError:
            raise MlsysimError("HiGHS rejects the program")

    # changes ----------------------------------------------------------------------------------------------------------
    def change_row(self, row: int, low: float, high: float) -> None:
        """Give a row other limits; the next solve starts from where the last one ended."""
        self._highs.changeRowBounds(row, low / self._rows[row], high / self._rows[row])

    def change_costs(self, cost: Array) -> None:
        """Give other costs."""
        scaled = cost * (self._columns / self._cost)
        self._highs.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), scaled)

    # solving ----------------------------------------------------------------------------------------------------------
    def relaxation(self, *, time_limit: float | None = None) -> Result:
        """Return the best of the program as if no amount had to be whole."""
        self._set(solve_relaxation=True)
        try:
            return self._run(time_limit, None, whole=False)
        finally:
            self._set(solve_relaxation=False)

    def solve(
        self,
        *,
        gap: float = 0.0,
        time_limit: float | None = None,
        start: Array | None = None,
        watch: Watch | None = None,
        cutoff: float | None = None,
    ) -> Result:
        """Return the best of the program.

        Args:
            gap: stop when the incumbent is known to be within this share of the best. start: amounts to begin with.
            watch: called with the progress now and then. cutoff: plans of at least this value are of no interest.
        """
        self._set(mip_rel_gap=gap, mip_abs_gap=0.0)
        if cutoff is not None and math.isfinite(cutoff):
            self._set(objective_bound=(cutoff - self.program.offset) / self._cost)
        if start is not None:
            solution = self._highspy.HighsSolution()
            solution.col_value = list(start / self._columns)
            self._highs.setSolution(solution)
        return self._run(time_limit, watch, whole=bool(self.program.whole.any()))

    def _run(self, time_limit: float | None, watch: Watch | None, *, whole: bool) -> Result:
        # HiGHS counts the time of all runs of one object
        spent = self._highs.getRunTime()
        self._set(time_limit=math.inf if time_limit is None else spent + max(0.0, time_limit))
        highspy = self._highspy
        with self._watched(watch) as pressed:
            status = self._highs.run()
        why = self._highs.getModelStatus()
        info = self._highs.getInfo()
        stops = {
            highspy.HighsModelStatus.kOptimal: "optimal",
            highspy.HighsModelStatus.kInfeasible: "infeasible",
            highspy.HighsModelStatus.kUnbounded: "unbounded",
            highspy.HighsModelStatus.kUnboundedOrInfeasible: "unbounded",
            highspy.HighsModelStatus.kTimeLimit: "limit",
            highspy.HighsModelStatus.kInterrupt: "interrupted",
            highspy.HighsModelStatus.kObjectiveBound: "limit",
            highspy.HighsModelStatus.kObjectiveTarget: "limit",
            highspy.HighsModelStatus.kModelEmpty: "optimal",
        }
        if why not in stops or (status == highspy.HighsStatus.kError and stops[why] == "optimal"):
            raise MlsysimError(f"HiGHS stopped with {self._highs.modelStatusToString(why)}")
        stop: Any = stops[why]
        held = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        if why == highspy.HighsModelStatus.kModelEmpty:  # HiGHS does not look at rows without entries
            held = not (np.any(self.program.row_low > 0) or np.any(self.program.row_high < 0))
            stop = "optimal" if held else "infeasible"
        x = duals = None
        value = None
        if held and stop not in ("infeasible", "unbounded"):
            solution = self._highs.getSolution()
            x = np.array(solution.col_value[: self.program.columns]) * self._columns
            value = float(self.program.cost @ x) + self.program.offset
            if solution.dual_valid:
                duals = np.array(solution.row_dual) / self._rows * self._cost
        bound = info.mip_dual_bound if whole else info.objective_function_value
        if stop == "infeasible":
            bound = math.inf
        elif not whole and stop != "optimal":
            bound = -math.inf
        bound = bound * self._cost + self.program.offset if math.isfinite(bound) else bound
        if pressed:
            stop = "interrupted"
        return Result(stop, x, value, bound, duals, max(0, int(info.mip_node_count)))

    @contextmanager
    def _watched(self, watch: Watch | None) -> Iterator[list[bool]]:
        """Let the run be watched and stopped, by the one who watches or by Ctrl-C; the list holds why."""
        pressed: list[bool] = []
        began = time.monotonic()

        def look(event: Any) -> None:
            data = event.data_out
            held, proven = data.mip_primal_bound, data.mip_dual_bound
            offset = self.program.offset
            seen = Progress(
                time.monotonic() - began,
                held * self._cost + offset if abs(held) < BEYOND else None,
                proven * self._cost + offset if abs(proven) < BEYOND else None,
                int(data.mip_node_count),
            )
            if not pressed and watch is not None and watch(seen):
                pressed.append(True)
            if pressed:
                event.interrupt()

        def stop(event: Any) -> None:
            if pressed:
                event.interrupt()

        heard = [(self._highs.cbMipInterrupt, look), (self._highs.cbSimplexInterrupt, stop)]
        with noted_interrupts(pressed):
            for callback, function in heard:
                callback.subscribe(function)
            try:
                yield pressed
            finally:
                for callback, function in heard:
                    callback.unsubscribe(function)


@contextmanager
def noted_interrupts(pressed: list[bool]) -> Iterator[None]:
    """Note Ctrl-C in a list instead of raising, so that a solver can hand back what it holds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _checked(program: LinearProgram) -> None:
    for name, numbers in (("a cost", program.cost), ("a coefficient", program.value)):
        if not np.all(np.isfinite(numbers)):
            raise ScaleError(f"{name} is not a finite number; it is not handed to a solver", path="program")
    if np.isnan(program.row_low).any() or np.isnan(program.row_high).any():
        raise ScaleError("a limit is not a number; it is not handed to a solver", path="program")


def _power(size: Array) -> Array:
    """Return the power of two nearest below each size; one where there is none."""
    with np.errstate(divide="ignore"):
        exponent = np.where(size > 0, np.floor(np.log2(np.where(size > 0, size, 1.0))), 0.0)
    return np.exp2(exponent)


def _row_units(program: LinearProgram) -> Array:
    size = np.zeros(program.rows)
    np.maximum.at(size, program.index, np.abs(program.value))
    return _power(size)


def _column_units(program: LinearProgram, rows: Array) -> Array:
    """Return the unit of each amount: whole ones stay, others get coefficients of about one."""
    size = np.zeros(program.columns)
    np.maximum.at(size, program.entry_column, np.abs(program.value) / rows[program.index])
    units = 1.0 / _power(size)
    units[program.whole | (size == 0)] = 1.0
    return units


def _cost_unit(program: LinearProgram, columns: Array, size: float | None) -> float:
    largest = float(np.max(np.abs(program.cost) * columns, initial=0.0))
    if size is None or not math.isfinite(size) or abs(size) < NOTHING * largest:
        size = largest
    if size == 0:
        return 1.0
    return float(2.0 ** math.floor(math.log2(abs(size) / LARGE)))
