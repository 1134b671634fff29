"""The run of a coupled problem: compiled, solved, checked by the scalar path, and made into a solution."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from mlsysim_opt.algebra.expression import constant
from mlsysim_opt.errors import InfeasibleError, InputError, LimitReachedError, UnboundedError
from mlsysim_opt.optimize.answer import Answered, Value
from mlsysim_opt.optimize.coupled.compile import placed
from mlsysim_opt.optimize.coupled.engines import program_backend
from mlsysim_opt.optimize.coupled.generate import generates, solve_generated
from mlsysim_opt.optimize.coupled.outcome import ROUNDING, Found, Options, ProgramBackend
from mlsysim_opt.optimize.coupled.pooled import pools, solve_pooled
from mlsysim_opt.optimize.coupled.problem import Coupled
from mlsysim_opt.optimize.coupled.ratio import TIE, TIED, least_ratio, left, ratio_number, refuse_negative_divisors
from mlsysim_opt.optimize.coupled.reported import Solved, shown, solution_of
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.problem import Objective
from mlsysim_opt.optimize.progress import Show, checked_progress, watch_of
from mlsysim_opt.optimize.stopping import Watch


def solve_coupled(
    task: CoupledTask,
    *,
    backend: str = "auto",
    prune: bool = True,
    time_limit: float | None = None,
    gap: float | str = 0.0,
    progress: Show | None = None,
    start: Answered | None = None,
    explain: bool = True,
) -> PlanSolution:
    """Return the proven best plan, checked by the scalar path.

    Args:
        gap: relative distance to the bound at which to stop, ``0.01`` or ``"1%"``. progress: called now and then;
            returning True stops.
        start: an earlier plan to begin with. explain: say why there is no plan, which may take longer than to see
            that there is none.
    Raises:
        InfeasibleError: nothing satisfies every constraint; carries the conflict and the cheapest ways out.
        LimitReachedError: a limit was reached before any plan was found.
        UnboundedError: the objective can be improved without limit.
        VerificationError: the answer does not survive re-evaluation; it is withheld.
    """
    share = checked_gap(gap)
    begin = checked_search(progress, start)
    engine = program_backend(backend)
    began = time.monotonic()
    options = Options(within_share(share), time_limit, prune, watching(task, progress))
    first = _by_fewer(task, options) if engine.name == "milp" and begin is None else None
    first = first or solve_first(task, engine, options, begin)
    status = first.found.status
    if status == "infeasible":
        if not explain:
            raise InfeasibleError(f"no {task.problem.item} satisfies every constraint", hint="explain=True says why")
        from mlsysim_opt.optimize.coupled.reasons import infeasible

        raise infeasible(task, engine, left(options, began))
    if status == "unbounded":
        raise _unbounded(task.objective)
    if first.found.x is None:
        late = time_limit is not None and time.monotonic() - began >= time_limit
        known = _no_better(task, first.found)
        wait = "raise the time limit" if late else "let it run longer"
        raise LimitReachedError(f"no plan was found: {first.found.proof}{known}", hint=wait)
    solved, current, unsettled = first, task, None
    for objective in task.then:
        following = replace(left(options, began), watch=watching(replace(task, objective=objective), progress))
        current, solved, settled = _refine(current, solved, objective, engine, following)
        if not settled:  # what comes after it is not looked at: it would decide among plans that are not its best
            unsettled = objective
            break
    answer = solution_of(task, first, solved, engine.name, time.monotonic() - began, share)
    if unsettled is not None:
        proof = f"{answer.certificate.proof}; {unsettled.name} among such plans: not proven, a limit was reached"
        answer.status, answer.certificate = "feasible", replace(answer.certificate, proof=proof)
    return answer


def checked_gap(gap: Any) -> float:
    """Return a relative distance, given as a number (``0.01``) or as text (``"1%"``).

    Raises:
        InputError: it is no number from 0 to 1.
    """
    share = gap
    if isinstance(gap, str):
        number, percent, rest = gap.partition("%")
        try:
            share = float(number) / (100 if percent else 1)
        except ValueError:
            rest = gap
        share = share if not rest.strip() else None
    if isinstance(share, bool) or not (isinstance(share, int | float) and 0 <= share < 1):
        raise InputError(f"{gap!r} is not a gap", path="gap", hint="a share below one, such as 0.01 or '1%'")
    return float(share)


def _no_better(task: CoupledTask, found: Found) -> str:
    """Return the bound that is known where no plan is, in words."""
    if task.linear.divisor is not None or not math.isfinite(found.bound):
        return ""
    objective, least = task.objective, task.objective.sense == "min"
    of = objective.expression.dimension
    bound = shown(task.problem, objective.expression, found.bound if least else -found.bound, of)
    return f"; no plan is {'below' if least else 'above'} {objective.name} = {bound}"


def within_share(gap: float) -> float:
    """Return the share of a plan's value that its bound may be off, for a gap that is told as a share of the bound."""
    return gap / (1 + gap)


def _by_fewer(task: CoupledTask, options: Options) -> Solved | None:
    """Return a plan by way of a smaller problem that stands for this one; None where there is none."""
    if task.problem.coarser is None:
        return None
    from mlsysim_opt.optimize.coupled.aggregate import solve_aggregated

    found = solve_aggregated(task, options)
    return None if found is None else Solved(*found)


def checked_search(progress: Any, start: Any) -> PlanSolution | None:
    """Return the plan to begin with; refuse what is none, and what cannot be told about the progress.

    Raises:
        InputError: it is no function, or no plan.
    """
    checked_progress(progress)
    if start is not None and not isinstance(start, PlanSolution):
        raise InputError(f"expected an earlier plan, got {type(start).__name__}", path="start",
                         hint="an answer of optimize(), or PlanSolution.from_json(text)")  # fmt: skip
    return start


def watching(task: CoupledTask, progress: Show | None) -> Watch | None:
    """Return what watches the search for the best of a task's first objective."""
    if progress is None:
        return None
    objective, of = task.objective, task.objective.expression.dimension

    def told(value: float, like: float) -> Value:
        return shown(task.problem, objective.expression, value, of, like)

    return watch_of(progress, objective, told if task.linear.divisor is None else None)


def _unbounded(objective: Objective) -> UnboundedError:
    return UnboundedError(
        f"{objective.name} can be improved without limit",
        hint="an amount that pays for itself has no upper bound, and nothing limits it",
    )


def solve_first(
    task: CoupledTask, engine: ProgramBackend, options: Options, start: PlanSolution | None = None
) -> Solved:
    """Return the best of the first objective: one program, or for a ratio a few (Dinkelbach's iteration)."""
    if not engine.continuous:
        _all_whole(task, engine)
    refuse_negative_divisors(task, options)
    if engine.name == "milp" and task.linear.divisor is None and generates(task):
        return Solved(*solve_generated(task, options))
    if engine.name == "milp" and start is None and pools(task):
        pooled = solve_pooled(task, options)
        if pooled is not None:
            return Solved(*pooled)
    if task.linear.divisor is None:
        compiled = task.compiled()
        if start is not None:
            options = replace(options, start=placed(compiled, start.amounts))
        return Solved(compiled, engine.solve(compiled.program, options))
    return Solved(*least_ratio(task, engine, options))


def _all_whole(task: CoupledTask, engine: ProgramBackend) -> None:
    """Refuse a plan with amounts that are not whole, for a backend that knows no others."""
    families = [
        *task.problem.families.values(),
        *(it for item in task.relations for it in item.coupling.total.families),
    ]
    names = list(dict.fromkeys(family.name for family in families if not family.whole))
    if names and task.problem.families.keys().isdisjoint(names):
        raise InputError(
            f"{engine.name} knows whole numbers only, and the largest or smallest of several, as asked for, is none",
            path="backend",
            hint="use backend='milp'",
        )
    if names:
        raise InputError(
            f"{engine.name} knows whole numbers only, and these are not: {', '.join(names)}",
            path="backend",
            hint="use backend='milp', or declare them whole",
        )


def _refine(
    task: CoupledTask, solved: Solved, objective: Objective, engine: ProgramBackend, options: Options
) -> tuple[CoupledTask, Solved, bool]:
    """Return the best plan for the next objective among those as good in the one before, and whether that is proven."""
    value = solved.found.value
    assert value is not None
    linear = task.linear
    size = abs(value) or ROUNDING * solved.found.size
    name = f"{task.objective.name} stays at its best"
    if linear.divisor is None:
        most = linear.total <= constant(value + TIE * size, linear.total.dimension)
        held = Coupled(name, most, structural=True)
    else:
        most = linear.total - linear.divisor * ratio_number(linear, value + TIE * size) <= 0
        held = Coupled(name, most, structural=True, cancelled=TIED)
    narrowed = task.with_relations([held, *linear.relations], name)
    following = replace(narrowed, objective=objective, then=[])
    found = solve_first(following, engine, replace(options, start=None))
    if found.found.status == "unbounded":
        raise _unbounded(objective)
    if found.found.x is None:
        return task, solved, False
    return following, found, found.found.status == "optimal"
