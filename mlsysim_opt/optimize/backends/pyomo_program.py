"""A linear program as a Pyomo model: to inspect, to write as a file, and to solve by any solver Pyomo knows.

The model is made from the arrays; so what Pyomo's solvers are asked is what HiGHS is asked directly.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlsysim_opt.errors import InputError, MlsysimError, SolverMissingError
from mlsysim_opt.files import written_whole
from mlsysim_opt.optimize.backends._imports import load_highs, load_pyomo
from mlsysim_opt.optimize.backends.highs import LONG, TOLERANCE, Result, Stop, rules_off
from mlsysim_opt.optimize.backends.milp import interrupts_told, one_at_a_time
from mlsysim_opt.optimize.coupled.compile import Compiled
from mlsysim_opt.optimize.coupled.outcome import Found, Options, finished, pruned
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.ratio import left
from mlsysim_opt.optimize.coupled.rounding import up_to_rounding
from mlsysim_opt.optimize.coupled.scaling import TINIEST, Scaling
from mlsysim_opt.optimize.stopping import noted_interrupts

FORMATS = (".lp", ".mps")
LONGEST_LABEL = 240
"""Characters of a name in an LP file: 255, less what marks the sides of a limit."""
WORDS = "free|inf|infinity|st|bounds?|bin|binary|binaries|gen|generals?|int|integers?|semi|sos|end"
LEGAL_LABEL = rf"(?i)(?!e\d)(?!(?:{WORDS})$)[a-z_]"
"""How a name in an LP file may begin: not as a number or the exponent of one, and it is no word of the format."""


@dataclass(frozen=True)
class Named:
    """Variables or constraints that follow one another: their name, and the index of each; one without an index."""

    name: str
    index: Sequence[Any] | None


class PyomoBackend:
    """A Pyomo model of the arrays, solved by HiGHS or by another solver of Pyomo's by its name."""

    continuous = True

    def __init__(self, solver: str = "highs") -> None:
        self.solver = solver
        self.name = "pyomo" if solver == "highs" else f"pyomo:{solver}"

    def solve(self, program: LinearProgram, options: Options) -> Found:
        """Return the best amounts with their proof, or why there are none."""
        part = pruned(program, options)
        empty = np.setdiff1d(np.arange(program.rows), part.program.index)
        if np.any((program.row_low[empty] > 0) | (program.row_high[empty] < 0)):
            return finished(part, Result("infeasible", None, None, np.inf), self._told(), "a limit without amounts")
        if not len(part.program.value):  # Pyomo's HiGHS calls a model without limits and costs unknown
            return finished(part, _apart(part.program), self._told(), "bounds")
        scaling = Scaling.of(part.program)
        began = time.monotonic()
        pressed: list[bool] = []
        result = Result("interrupted", None, None, -np.inf)

        def solve(scaled: LinearProgram, tolerance: float) -> tuple[Result, Array | None]:
            found = self._run(scaled, left(options, began), tolerance, pressed)
            if self.solver == "highs" and found.stop == "infeasible" and len(scaled.value) < LONG and not pressed:
                # its presolve may have lost the only plans
                found = self._run(scaled, left(options, began), tolerance, pressed, presolve="off")
            return found, found.x

        with noted_interrupts(pressed), one_at_a_time, interrupts_told():
            result, _ = solve(scaling.program, TOLERANCE)
            if result.stop == "infeasible":
                whole = bool(scaling.program.whole.any())
                result = up_to_rounding(scaling.program, result, solve, TOLERANCE, whole=whole)
        if result.stop == "unbounded":  # or infeasible, which solvers do not always tell apart
            free = replace(program, cost=np.zeros(program.columns), offset=0.0)
            if np.any(program.cost) and self.solve(free, replace(options, start=None)).status == "infeasible":
                result = Result("infeasible", None, None, np.inf)
        x = None if result.x is None else scaling.amounts(_within(result.x, scaling.program))
        offset = part.program.offset
        value = None if x is None else float(part.program.cost @ x) + offset
        bound = result.bound * scaling.cost + offset if np.isfinite(result.bound) else result.bound
        return finished(part, Result(result.stop, x, value, bound), self._told(), "branch and bound")

    def _run(
        self, program: LinearProgram, options: Options, tolerance: float, pressed: list[bool], presolve: str = "choose"
    ) -> Result:
        """Return what a solver finds of a scaled program; the tolerance and the presolve are for HiGHS.

        Args:
            pressed: true once Ctrl-C was.
        """
        model = model_of(program, _plain(program.columns, "x"), _plain(program.rows, "row"))
        if self.solver == "highs":
            return self._highs(model, program, options, tolerance, pressed, presolve)
        return self._other(model, program, options)

    def _told(self) -> str:
        pyomo = f"Pyomo {version('pyomo')}"
        return f"HiGHS {version('highspy')} through {pyomo}" if self.solver == "highs" else f"{self.solver} by {pyomo}"

    def _highs(
        self,
        model: Any,
        program: LinearProgram,
        options: Options,
        tolerance: float,
        pressed: list[bool],
        presolve: str,
    ) -> Result:
        load_highs()
        load_pyomo()
        from pyomo.contrib.solver.common.factory import SolverFactory
        from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition

        found = SolverFactory("highs").solve(
            model,
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
            time_limit=options.time_limit,
            threads=1,
            rel_gap=options.gap,
            abs_gap=0.0,
            solver_options={
                "random_seed": 0,
                "small_matrix_value": TINIEST,
                "mip_feasibility_tolerance": tolerance,
                "primal_feasibility_tolerance": tolerance,
                "dual_feasibility_tolerance": TOLERANCE,
                "presolve": presolve,
                "presolve_rule_off": rules_off(program),
            },
        )
        stops: dict[Any, Stop] = {
            TerminationCondition.convergenceCriteriaSatisfied: "optimal",
            TerminationCondition.maxTimeLimit: "limit",
            TerminationCondition.provenInfeasible: "infeasible",
            TerminationCondition.unbounded: "unbounded",
            TerminationCondition.infeasibleOrUnbounded: "unbounded",
        }
        if pressed:
            stops[TerminationCondition.unknown] = "interrupted"
        why = found.termination_condition
        if why not in stops:
            raise MlsysimError(f"HiGHS stopped with {why.name}")
        bound = -np.inf if found.objective_bound is None else float(found.objective_bound)
        if found.solution_status not in (SolutionStatus.optimal, SolutionStatus.feasible):
            return Result(stops[why], None, None, bound)
        found.solution_loader.load_vars()
        return Result(stops[why], _values(model), None, bound)

    def _other(self, model: Any, program: LinearProgram, options: Options) -> Result:
        load_pyomo()
        from pyomo.opt import TerminationCondition

        solver = _classic(self.solver)
        if options.time_limit is not None:
            raise InputError(
                f"a time limit cannot be handed to {self.solver} in a way that all of Pyomo's solvers share",
                path="time_limit",
                hint="leave it out, or use backend='milp'",
            )
        with _quiet():
            try:
                found = solver.solve(model, load_solutions=False)
            except Exception as error:  # each of Pyomo's interfaces has its own errors for a solver that dies
                raise MlsysimError(
                    f"{self.solver} ended without an answer: {error}",
                    path="backend",
                    hint="use backend='milp', or 'pyomo' (HiGHS by way of Pyomo)",
                ) from error
        why = found.solver.termination_condition
        stops: dict[Any, Stop] = {
            TerminationCondition.optimal: "optimal",
            TerminationCondition.infeasible: "infeasible",
            TerminationCondition.unbounded: "unbounded",
            TerminationCondition.infeasibleOrUnbounded: "unbounded",
        }
        if why not in stops:
            raise MlsysimError(f"{self.solver} stopped with {why}")
        if stops[why] != "optimal":
            return Result(stops[why], None, None, -np.inf)
        model.solutions.load_from(found) if len(found.solution) else solver.load_vars()
        x, told = _values(model), found.problem.lower_bound
        bound = float(told) if isinstance(told, int | float) and np.isfinite(told) else float(program.cost @ x)
        return Result("optimal", x, None, bound)


def model_of(program: LinearProgram, columns: Sequence[Named], rows: Sequence[Named]) -> Any:
    """Return the Pyomo model of a program.

    Args:
        columns, rows: what its variables and constraints are called, in order.
    """
    pyo = load_pyomo()
    from pyomo.core.expr.numeric_expr import LinearExpression

    model = pyo.ConcreteModel()
    low, high = program.low.tolist(), program.high.tolist()
    variables: list[Any] = []
    for part in columns:
        made = pyo.Var() if part.index is None else pyo.Var(pyo.Set(initialize=part.index, ordered=True, dimen=None))
        model.add_component(_free(model, part.name), made)
        variables.extend([made] if part.index is None else made.values())
    whole = program.whole.tolist()
    for at, variable in enumerate(variables):
        if whole[at]:
            variable.domain = pyo.Integers
        variable.setlb(None if low[at] == -np.inf else low[at])
        variable.setub(None if high[at] == np.inf else high[at])
    order = np.argsort(program.index, kind="stable")
    ends = np.cumsum(np.bincount(program.index, minlength=program.rows)).tolist()
    column, value = program.entry_column[order].tolist(), program.value[order].tolist()
    row_low, row_high = program.row_low.tolist(), program.row_high.tolist()

    def row(at: int) -> Any:
        begin, end = (ends[at - 1] if at else 0), ends[at]
        below, above = row_low[at], row_high[at]
        if begin == end and below <= 0 <= above:
            return pyo.Constraint.Skip
        if begin == end:
            raise InputError(f"limit {at} has no amounts and does not hold: no plan is possible")
        body = LinearExpression(
            constant=0, linear_coefs=value[begin:end], linear_vars=[variables[item] for item in column[begin:end]]
        )
        if below == above:
            return body == below
        if below == -np.inf:
            return body <= above if above != np.inf else pyo.Constraint.Skip
        return body >= below if above == np.inf else (below, body, above)

    at = 0
    for part in rows:
        if part.index is None:
            constraint = pyo.Constraint(expr=row(at))
        else:
            place = {item: at + number for number, item in enumerate(part.index)}
            constraint = pyo.Constraint(
                pyo.Set(initialize=part.index, ordered=True, dimen=None),
                rule=lambda _, *index, _of=place: row(_of[index if len(index) > 1 else index[0]]),
            )
        model.add_component(_free(model, part.name), constraint)
        at += 1 if part.index is None else len(part.index)
    used = np.flatnonzero(program.cost)
    objective = LinearExpression(
        constant=program.offset,
        linear_coefs=program.cost[used].tolist(),
        linear_vars=[variables[item] for item in used.tolist()],
    )
    model.objective = pyo.Objective(expr=objective)
    return model


def named_model(compiled: Compiled) -> Any:
    """Return the Pyomo model of a plan: a variable per family and a constraint per relation, by their names.

    Amounts, costs and limits are in base units.
    """
    columns = []
    for family, table in compiled.columns.items():
        values = [choice.values for choice in family.over]
        places = [table.positions[choice].tolist() for choice in family.over]
        columns.append(Named(family.name, _index(values, places)))
    rows = []
    for item in compiled.rows:
        values = [axis.values for axis in item.each]
        rows.append(Named(item.name, _index(values, [item.positions[axis].tolist() for axis in item.each])))
    return model_of(compiled.program, columns, rows)


def write_model(model: Any, path: str | Path) -> Path:
    """Write a Pyomo model as a ``.lp`` or ``.mps`` file, and return its path.

    Names are those of the model where the format allows them; of two that would be one in it, the second has a number.

    Raises:
        InputError: the file has another ending. FileError: it cannot be written.
    """
    target = Path(path)
    if target.suffix not in FORMATS:
        raise InputError(f"{target.name!r} is neither an LP nor an MPS file", path="path", hint="x.lp or x.mps")
    from pyomo.core.base.label import ShortNameLabeler, TextLabeler

    labels = ShortNameLabeler(LONGEST_LABEL, "_", labeler=TextLabeler(), prefix="x_", legalRegex=LEGAL_LABEL)
    with written_whole(target) as part:
        model.write(str(part), io_options={"labeler": labels})
    return target


def _index(values: Sequence[Sequence[Any]], places: Sequence[list[int]]) -> list[Any] | None:
    if not values:
        return None
    if len(values) == 1:
        return [values[0][at] for at in places[0]]
    return [tuple(of[at] for of, at in zip(values, row, strict=True)) for row in zip(*places, strict=True)]


def _free(model: Any, name: str) -> str:
    """Return a name that no component of the model has."""
    while model.component(name) is not None or name == "objective":
        name += "_"
    return name


def _apart(program: LinearProgram) -> Result:
    """Return the best of a program without limits: each amount where its cost sends it."""
    if np.any(program.low > program.high):
        return Result("infeasible", None, None, np.inf)
    nearest = np.clip(0.0, program.low, program.high)
    x = np.where(program.cost > 0, program.low, np.where(program.cost < 0, program.high, nearest))
    if not np.isfinite(x).all():
        return Result("unbounded", None, None, -np.inf)
    value = float(program.cost @ x) + program.offset
    return Result("optimal", x, value, value)


def _plain(count: int, name: str) -> list[Named]:
    return [Named(name, range(count))]


def _values(model: Any) -> Array:
    return np.array([0.0 if item.value is None else float(item.value) for item in model.x.values()])


def _within(x: Array, program: LinearProgram) -> Array:
    """Return amounts within their bounds: what stands in no limit and has no cost was not told by the solver."""
    return np.clip(x, program.low, program.high)


def _classic(name: str) -> Any:
    """Return a solver of Pyomo's.

    Raises:
        SolverMissingError: Pyomo does not know it, or does not find it.
    """
    pyo = load_pyomo()
    with _quiet():
        solver = pyo.SolverFactory(name)
        usable = bool(solver.available(exception_flag=False))
    if not usable:
        raise SolverMissingError(
            f"Pyomo has no solver {name!r} that can be used here",
            path="backend",
            hint="install it and put it in PATH, or use backend='pyomo' (HiGHS)",
        )
    return solver


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pyomo from writing to the terminal what is raised as an error anyhow."""
    logger = logging.getLogger("pyomo")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
