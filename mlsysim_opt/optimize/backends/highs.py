"""HiGHS on a linear program of arrays: built in one call, solved again warm after changes.

Numbers are scaled before they are handed over (see `scaling`), so that absolute tolerances mean the same in every unit.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from types import ModuleType
from typing import Any, Literal

import numpy as np

from mlsysim_opt.errors import MlsysimError, SolverError
from mlsysim_opt.optimize.backends._imports import load_highs
from mlsysim_opt.optimize.backends.aside import Aside
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.rounding import up_to_rounding
from mlsysim_opt.optimize.coupled.scaling import TINIEST, Scaling
from mlsysim_opt.optimize.stopping import Standing, Watch, noted_interrupts

Stop = Literal["optimal", "infeasible", "unbounded", "limit", "interrupted"]
TOLERANCE = 1e-9
"""HiGHS's tolerances, in scaled units. Its own, 1e-6, let n <= 1e7 open pass with open at 3e-7."""
DUAL, PRIMAL = 1, 4
"""HiGHS's numbers for the ways of its simplex method; where costs are large beside others the dual one may give up."""
USUAL = {"simplex_strategy": DUAL, "presolve": "choose"}
OTHERWISE = (False, {"simplex_strategy": PRIMAL}), (True, {"simplex_strategy": PRIMAL}), (True, {"presolve": "off"})
"""What is tried in turn where it gives up, and whether without what it left: its presolve may make up a plan, too."""
LONG = 10_000
"""Entries from which its steps that look at no clock, and at no Ctrl-C, take seconds: it is run aside."""
SPARSIFY = 1 << 14
"""HiGHS's bit for the rule of its presolve that adds equations to other rows: with flows, it lost the only plans."""
PROBING, ENUMERATION = 1 << 15, 1 << 16
"""HiGHS's bits for two more rules. They look at no clock, and at no Ctrl-C, while they merge cliques. The second one
may leave a plan that breaks its rows, which HiGHS sees and gives up on; without it, one front lost a point."""
CROWDED = 50_000, 8
"""Entries, and entries of a column, from which they take longer than they save: jobs that hold a place for hours."""
RESTARTS = ("mip_allow_restart",)
"""HiGHS begins again once much is fixed, which costs more than it saves where columns are few."""
LONG_SEARCHES = (
    *RESTARTS, "mip_heuristic_run_feasibility_jump", "mip_heuristic_run_rens", "mip_heuristic_run_rins",
)  # fmt: skip
"""What HiGHS does before and beside its tree, which pays in long searches: of a few nodes it is most of the work."""
BEYOND = 1e30
"""HiGHS has no finite number of this size; it stands for none."""


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


NOTHING = Result("limit", None, None, -math.inf)


@functools.cache
def _highspy() -> ModuleType:
    return load_highs()  # reads the metadata of packages: once is enough


@functools.cache
def highs_name() -> str:
    """Return the name and version of the solver."""
    return f"HiGHS {version('highspy')}"


def rules_off(program: LinearProgram) -> int:
    """Return the bits of the rules of its presolve that HiGHS is not to use for a program."""
    flows = (program.row_low == program.row_high)[program.index[~program.whole[program.entry_column]]]
    return (SPARSIFY if flows.any() else 0) | (PROBING | ENUMERATION if _crowded(program) else 0)


def _crowded(program: LinearProgram) -> bool:
    """Return whether there are so many picks in so many rows that looking for cliques among them does not pay."""
    least, each = CROWDED
    return bool(program.whole.any()) and len(program.value) >= max(least, each * program.columns)


class HighsProgram:
    """A linear program inside HiGHS.

    Args:
        program: the program. size: about how large the answer is, where known: costs are scaled by it.
        tolerance: of limits and of whole numbers, in scaled units.
    """

    def __init__(self, program: LinearProgram, size: float | None = None, tolerance: float = TOLERANCE) -> None:
        self._highspy = _highspy()
        self.program = program
        self._scaling = Scaling.of(program, size)
        self._costs = program.cost
        self._tolerance = tolerance
        self._highs = self._highspy.Highs()
        self._set(output_flag=False, threads=1, random_seed=0, small_matrix_value=TINIEST)
        self._set(mip_feasibility_tolerance=tolerance, primal_feasibility_tolerance=tolerance)
        self._set(dual_feasibility_tolerance=tolerance)
        self._set(presolve_rule_off=rules_off(program))
        self._pass()
        self._aside: Aside | None = None
        self._pressed: list[bool] = []
        self._until = math.inf
        self._seen = NOTHING  # what the run at hand has told so far
        self._gone: Result | None = None  # what was held when a run was left: HiGHS is not touched any more

    def _set(self, **options: Any) -> None:
        for name, value in options.items():
            self._highs.setOptionValue(name, value)

    def _pass(self) -> None:
        item, highspy = self._scaling.program, self._highspy
        status = self._highs.passModel(  # as arrays: an attribute of HighsLp is copied number by number
            item.columns, item.rows, len(item.value),
            int(highspy.MatrixFormat.kColwise), int(highspy.ObjSense.kMinimize), 0.0,
            item.cost, item.low, item.high, item.row_low, item.row_high,
            item.start, item.index, item.value, item.whole.astype(np.int32),
        )  # fmt: skip
        if status == highspy.HighsStatus.kError:
            raise MlsysimError("HiGHS rejects the program")

    # changes ----------------------------------------------------------------------------------------------------------
    def change_row(self, row: int, low: float, high: float) -> None:
        """Give a row other limits; the next solve starts from where the last one ended."""
        self._highs.changeRowBounds(row, low / self._scaling.rows[row], high / self._scaling.rows[row])

    def change_column(self, column: int, low: float, high: float) -> None:
        """Give a column other limits; the next solve starts from where the last one ended."""
        scale = self._scaling.columns[column]
        self._highs.changeColBounds(column, low / scale, high / scale)

    def change_costs(self, cost: Array) -> None:
        """Give other costs."""
        scaled = cost * (self._scaling.columns / self._scaling.cost)
        self._highs.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), scaled)

    def add_columns(self, more: LinearProgram) -> None:
        """Add columns of the same rows; the next solve starts from where the last one ended."""
        self._scaling, part = self._scaling.extended(more)
        self._costs = np.concatenate([self._costs, more.cost])
        self._highs.addCols(
            part.columns, part.cost, part.low, part.high, len(part.value), part.start[:-1], part.index, part.value
        )

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
        without: Sequence[str] = (),
    ) -> Result:
        """Return the best of the program.

        Args:
            gap: stop when the incumbent is known to be within this share of the best. start: amounts to begin with.
            watch: called with the progress now and then. cutoff: plans of at least this value are of no interest.
            without: which of `LONG_SEARCHES` to leave out.
        """
        self._set(mip_rel_gap=gap, mip_abs_gap=0.0, **{name: name not in without for name in LONG_SEARCHES})
        if cutoff is not None and math.isfinite(cutoff):
            self._set(objective_bound=(cutoff - self.program.offset) / self._scaling.cost)
        known = None if start is None else float(self._costs @ start) + self.program.offset
        if start is not None and time_limit is not None and time_limit <= 0:
            return Result("limit", start, known, -math.inf)
        if start is not None:
            solution = self._highspy.HighsSolution()
            solution.col_value = list(start / self._scaling.columns)
            self._highs.setSolution(solution)
        result = self._run(time_limit, watch, whole=bool(self.program.whole.any()))
        if start is None or result.x is not None or result.stop not in ("limit", "interrupted"):
            return result
        return replace(result, x=start, value=known)  # it ended before it looked at the start

    def _run(self, time_limit: float | None, watch: Watch | None, *, whole: bool) -> Result:
        if self._gone is not None:
            return self._gone
        if time_limit is not None and time_limit <= 0:  # HiGHS may finish before it looks at the clock
            return NOTHING
        self._seen, self._until = NOTHING, math.inf if time_limit is None else time.monotonic() + time_limit
        # HiGHS counts the time of all runs of one object
        spent = self._highs.getRunTime()
        self._set(time_limit=math.inf if time_limit is None else spent + max(0.0, time_limit))
        with self._watched(watch) as pressed:
            self._pressed = pressed
            result = self._once(whole)
            if result.stop == "infeasible" and not pressed and len(self.program.value) < LONG:
                result = self._without_presolve(whole)
            if result.stop == "infeasible" and not pressed:
                result = self._confirmed(result, whole)
        return replace(result, stop="interrupted") if pressed else result

    def _without_presolve(self, whole: bool) -> Result:
        """Return what one more run finds, without what may have lost the only plans."""
        self._highs.clearSolver()
        self._set(presolve="off")
        try:
            return self._once(whole)
        finally:
            self._set(**USUAL)

    def _confirmed(self, result: Result, whole: bool) -> Result:
        """Return an outcome without plans if it is no matter of rounding; see `rounding`."""
        held = self._held()

        def solve(roomy: LinearProgram, tolerance: float) -> tuple[Result, Array | None]:
            self._set(mip_feasibility_tolerance=tolerance, primal_feasibility_tolerance=tolerance)
            self._set(presolve_rule_off=rules_off(self.program) | SPARSIFY)
            self._change_rows(roomy)
            again = self._once(whole)
            return again, None if again.x is None else again.x / self._scaling.columns

        try:
            return up_to_rounding(held, result, solve, self._tolerance, whole=whole)
        finally:
            self._set(mip_feasibility_tolerance=self._tolerance, primal_feasibility_tolerance=self._tolerance)
            self._set(presolve_rule_off=rules_off(self.program))
            self._change_rows(held)

    def _held(self) -> LinearProgram:
        """Return the scaled program as HiGHS holds it by now, without costs."""
        lp = self._highs.getLp()
        matrix, whole = lp.a_matrix_, self._scaling.program.whole
        return LinearProgram(
            cost=np.zeros(lp.num_col_),
            low=np.array(lp.col_lower_),
            high=np.array(lp.col_upper_),
            whole=np.concatenate([whole, np.zeros(lp.num_col_ - len(whole), dtype=bool)]),
            row_low=np.array(lp.row_lower_),
            row_high=np.array(lp.row_upper_),
            start=np.array(matrix.start_, dtype=np.int32),
            index=np.array(matrix.index_, dtype=np.int32),
            value=np.array(matrix.value_, dtype=float),
        )

    def _change_rows(self, like: LinearProgram) -> None:
        rows = np.arange(like.rows, dtype=np.int32)
        self._highs.changeRowsBounds(like.rows, rows, like.row_low, like.row_high)

    def _once(self, whole: bool) -> Result:
        """Return what one run of HiGHS finds; where it gives up, another one."""
        highspy = self._highspy
        status = self._ran(whole)
        states = highspy.HighsModelStatus
        for fresh, otherwise in OTHERWISE:
            gave_up = self._highs.getModelStatus() in (states.kNotset, states.kUnknown, states.kSolveError)
            if self._gone is not None or not gave_up:
                break
            if fresh:
                self._highs.clearSolver()
            self._set(**otherwise)
            status = self._ran(whole)
            self._set(**USUAL)
        if self._gone is not None:
            return self._gone
        why = self._highs.getModelStatus()
        info = self._highs.getInfo()
        stops = {
            states.kOptimal: "optimal",
            states.kInfeasible: "infeasible",
            states.kUnbounded: "unbounded",
            states.kUnboundedOrInfeasible: "unbounded",
            states.kTimeLimit: "limit",
            states.kInterrupt: "interrupted",
            states.kObjectiveBound: "limit",
            states.kObjectiveTarget: "limit",
            states.kModelEmpty: "optimal",
        }
        if why not in stops or (status == highspy.HighsStatus.kError and stops[why] == "optimal"):
            raise SolverError(
                f"HiGHS gave up: {self._highs.modelStatusToString(why)}",
                hint="where all amounts are whole, backend='cpsat' may not; else ask in other units: numbers that are "
                "huge or tiny beside one another are the usual reason",
            )
        stop: Any = stops[why]
        held = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        if why == states.kModelEmpty:  # HiGHS does not look at rows without entries
            held = not (np.any(self.program.row_low > 0) or np.any(self.program.row_high < 0))
            stop = "optimal" if held else "infeasible"
        x = duals = None
        value = None
        if held and stop not in ("infeasible", "unbounded"):
            solution = self._highs.getSolution()
            x = self._scaling.amounts(np.array(solution.col_value))
            value = float(self._costs @ x) + self.program.offset
            if solution.dual_valid:
                duals = self._scaling.duals(np.array(solution.row_dual))
        bound = info.mip_dual_bound if whole else info.objective_function_value
        if stop == "infeasible":
            bound = math.inf
        elif not whole and stop != "optimal":
            bound = -math.inf
        bound = bound * self._scaling.cost + self.program.offset if math.isfinite(bound) else bound
        return Result(stop, x, value, bound, duals, max(0, int(info.mip_node_count)))

    def _ran(self, whole: bool) -> Any:
        """Run HiGHS, aside where it may be deaf for long; return its status, None where it was left."""
        if self._gone is not None:
            return None
        if not whole or len(self.program.value) < LONG:
            return self._highs.run()
        self._aside, pressed, run = Aside(), self._pressed, self._highs.run
        statuses: list[Any] = []
        try:
            self._aside.ended(lambda: statuses.append(run()), lambda: bool(pressed), self._until)
        finally:
            if self._aside.left:
                self._gone = replace(self._seen, stop="interrupted" if pressed else "limit")
                self._highs = self._highspy.Highs()  # the run has the other one
                self._set(output_flag=False)
        return statuses[0] if statuses else None

    @contextmanager
    def _watched(self, watch: Watch | None) -> Iterator[list[bool]]:
        """Let the run be watched and stopped, by the one who watches or by Ctrl-C; the list holds why.

        An error of the one who watches ends the run too, and is raised after it: HiGHS would print and pass it on.
        """
        pressed: list[bool] = []
        failed: list[BaseException] = []
        began = time.monotonic()

        def look(event: Any) -> None:
            if self._aside is not None and self._aside.left:
                event.interrupt()
                return
            data = event.data_out
            held, proven = data.mip_primal_bound, data.mip_dual_bound
            offset = self.program.offset
            seen = Standing(
                time.monotonic() - began,
                held * self._scaling.cost + offset if abs(held) < BEYOND else None,
                proven * self._scaling.cost + offset if abs(proven) < BEYOND else None,
                int(data.mip_node_count),
            )
            self._seen = replace(
                self._seen, bound=-math.inf if seen.bound is None else seen.bound, nodes=max(0, seen.nodes)
            )

            def shown() -> None:
                try:
                    if not pressed and watch is not None and watch(seen):
                        pressed.append(True)
                except BaseException as error:
                    failed.append(error)
                    pressed.append(True)

            if self._aside is None or watch is None:
                shown()
            else:  # whoever watches is called in the thread that asked
                self._aside.ask(shown)
            if pressed:
                event.interrupt()

        def better(event: Any) -> None:
            x = self._scaling.amounts(np.array(event.data_out.mip_solution))
            self._seen = replace(self._seen, x=x, value=float(self._costs @ x) + self.program.offset)

        def stop(event: Any) -> None:
            if pressed:
                event.interrupt()

        highs = self._highs
        heard = [(highs.cbMipInterrupt, look), (highs.cbSimplexInterrupt, stop)]
        if len(self.program.value) >= LONG:
            heard.append((highs.cbMipImprovingSolution, better))
        with noted_interrupts(pressed):
            for callback, function in heard:
                callback.subscribe(function)
            try:
                yield pressed
            finally:
                if self._gone is None:
                    for callback, function in heard:
                        callback.unsubscribe(function)
        if failed:
            raise failed[0]
