"""The commands that ask about one problem: optimize, eval and why-not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlsysim_opt.cli import arguments, limits, what_if
from mlsysim_opt.cli.output import LIMIT_WITH_DESIGN, Answer, Screen
from mlsysim_opt.cli.question import Asked
from mlsysim_opt.errors import FileError, InputError, UsageError

if TYPE_CHECKING:
    from mlsysim_opt.cli.limits import Limited
    from mlsysim_opt.cli.what_if import Otherwise
    from mlsysim_opt.optimize import CoupledTask, PlanSolution, Problem, Solution, Task, WhyNot
    from mlsysim_opt.optimize.robust import Uncertain

Begun = TypeVar("Begun", "Solution", "PlanSolution")
INFEASIBLE = 5


@dataclass(frozen=True)
class Beside:
    """What is asked beside the answer: the same question otherwise, and what limits cost."""

    otherwise: Sequence[Otherwise]
    limited: Sequence[Limited]

    @staticmethod
    def of(task: Task | CoupledTask | Uncertain, asked: Asked) -> Beside:
        """Return what the options say, each compiled once, so that faults are found before the search."""
        return Beside(what_if.read(task, asked.otherwise), limits.read(task, asked.limited))

    def with_answers(self, answer: Answer, found: Solution | PlanSolution, **settings: Any) -> Answer:
        """Return an answer with those to what is asked beside it; `settings` are those of `what_if.beside`."""
        answer = what_if.beside(answer, found, self.otherwise, **settings)
        return limits.beside(answer, found, self.limited, time_limit=settings["time_limit"])


def optimize(
    asked: Asked, *, backend: str, prune: bool, time_limit: str | None, gap: str | None = None, start: str | None = None
) -> Answer:
    """Return the best design with its proof."""
    from mlsysim_opt.cli.progress import shown_progress
    from mlsysim_opt.cli.solution import show_solution
    from mlsysim_opt.optimize import CoupledTask, Solution, Task, solve
    from mlsysim_opt.optimize.run import backend_named, to_seconds

    limit = None if time_limit is None else to_seconds(time_limit, "--time-limit")
    task = asked.question()
    others = Beside.of(task, asked)
    if not isinstance(task, Task | CoupledTask):
        return _robust(task, others, backend=backend, prune=prune, limit=limit, gap=gap, start=start)
    if isinstance(task, CoupledTask):
        return _plan(task, others, backend=backend, prune=prune, limit=limit, gap=gap, start=start)
    _refuse_gap(task.problem.name, gap)
    backend_named(backend)
    begin = begun(start, Solution)
    with shown_progress() as show:
        found = solve(task, backend=backend, prune=prune, time_limit=limit, progress=show, start=begin)
    answer = Answer(
        found.as_dict(),
        lambda screen: show_solution(screen, found, task.problem),
        0 if found.settled else LIMIT_WITH_DESIGN,
    )
    return others.with_answers(answer, found, watch=shown_progress, backend=backend, time_limit=limit)


def written(asked: Asked, file: str) -> Answer:
    """Write the program as a file for other solvers."""
    if asked.scenarios or asked.robust:
        raise UsageError("the program of one question is written, not that of several scenarios", path="--write")
    for option, texts in (("--what-if", asked.otherwise), (limits.OPTION, asked.limited)):
        if texts:
            raise UsageError("the program is written, not solved: there is no answer to stand beside", path=option)
    target = asked.task().write(file)
    data = {"status": "written", "file": str(target)}
    return Answer(data, lambda screen: screen.line(f"written: {target}; not solved"))


def _plan(
    task: CoupledTask,
    others: Beside,
    *,
    backend: str,
    prune: bool,
    limit: float | None,
    gap: str | None,
    start: str | None,
) -> Answer:
    """Return the best plan of a coupled problem; Ctrl-C ends the search with what it holds."""
    from mlsysim_opt.cli.plan_solution import show_plan
    from mlsysim_opt.cli.progress import shown_progress
    from mlsysim_opt.optimize import PlanSolution, solve_coupled

    near, begin = share(gap), begun(start, PlanSolution)
    with shown_progress() as watch:
        plan = solve_coupled(
            task, backend=backend, prune=prune, time_limit=limit, gap=near, start=begin, progress=watch
        )  # fmt: skip
    answer = Answer(
        plan.as_dict(),
        lambda screen: show_plan(screen, plan, task.problem),
        0 if plan.settled else LIMIT_WITH_DESIGN,
    )
    return others.with_answers(answer, plan, watch=shown_progress, backend=backend, time_limit=limit, gap=near)


def _robust(
    task: Uncertain,
    others: Beside,
    *,
    backend: str,
    prune: bool,
    limit: float | None,
    gap: str | None,
    start: str | None,
) -> Answer:
    """Return the best answer over several scenarios, and what that costs."""
    from mlsysim_opt.cli.plan_solution import show_plan
    from mlsysim_opt.cli.progress import shown_progress
    from mlsysim_opt.cli.solution import show_solution
    from mlsysim_opt.optimize import CoupledTask, PlanSolution

    if start is not None:
        raise UsageError("a robust answer begins with nothing", path="--start")
    settings: dict[str, Any] = {"backend": backend, "prune": prune, "time_limit": limit}
    if isinstance(task.base, CoupledTask):
        with shown_progress() as watch:
            found = task.answer(**settings, gap=share(gap), progress=watch)
    else:
        _refuse_gap(task.base.problem.name, gap)
        found = task.answer(**settings)

    def show(screen: Screen) -> None:
        if isinstance(found, PlanSolution):
            show_plan(screen, found, found.task.problem)
        else:
            show_solution(screen, found, found.task.problem)
        for line in str(found.robustness).splitlines():
            screen.line(line)

    answer = Answer(found.as_dict(), show, 0 if found.settled else LIMIT_WITH_DESIGN)
    near = share(gap)
    return others.with_answers(answer, found, watch=shown_progress, backend=backend, time_limit=limit, gap=near)


def _refuse_gap(problem: str, gap: str | None) -> None:
    if gap is not None:
        raise UsageError(f"{problem} is solved by looking at all designs", path="--gap",
                         hint="this option is for coupled problems")  # fmt: skip


def share(text: str | None) -> float:
    """Return a gap: ``0.01`` or ``1%``."""
    from mlsysim_opt.optimize.coupled.run import checked_gap

    try:
        return checked_gap(text or 0.0)
    except InputError as error:
        raise UsageError(error.message, path="--gap", hint=error.hint) from error


def begun(file: str | None, kind: type[Begun]) -> Begun | None:
    """Return an answer that ``--json`` wrote.

    Raises:
        InputError: it is another one. FileError: it cannot be read.
    """
    if file is None:
        return None
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {file}: {error}", path="--start") from error
    try:
        return kind.from_json(text)
    except InputError as error:
        raise InputError(error.message, path=f"--start {file}", hint=error.hint) from error


def evaluate(asked: Asked, design: Sequence[str]) -> Answer:
    """Return metrics and constraints of one fully given design."""
    from mlsysim_opt.optimize import evaluate as evaluate_design

    chosen = arguments.design(design)
    problem = asked.design_task().problem
    found = evaluate_design(problem, design=chosen)
    shown = found["metrics"].values_with_units
    data = {
        "status": "feasible" if found["feasible"] else "infeasible",
        "problem": problem.name,
        "design": found["design"],
        "feasible": found["feasible"],
        "metrics": {name: value.as_dict() for name, value in shown.items()},
        "constraints": [
            {"constraint": name, "holds": holds, "slack": slack.as_dict() if slack else None}
            for name, holds, slack in _constraints(found)
        ],
        "violated": [name for name, holds, _ in _constraints(found) if not holds],
        "assumptions": problem.assumptions,
    }
    return Answer(data, lambda screen: _show_evaluation(screen, found, problem), 0 if found["feasible"] else INFEASIBLE)


def _constraints(found: dict[str, Any]) -> list[tuple[str, bool, Any]]:
    return [(name, holds, found["slack"].get(name)) for name, holds in found["constraints"].items()]


def _show_evaluation(screen: Screen, found: dict[str, Any], problem: Problem) -> None:
    from mlsysim_opt.cli.solution import show_design, show_metrics

    violated = [name for name, holds, _ in _constraints(found) if not holds]
    if violated:
        screen.line("infeasible: violates " + "; ".join(violated), "bold red")
    else:
        screen.line("feasible: every constraint holds", "bold green")
    show_design(screen, found["design"], problem)
    show_metrics(screen, found["metrics"], problem)
    rows = [(name, "holds" if holds else "VIOLATED", slack) for name, holds, slack in _constraints(found)]
    screen.table("Constraints", ("constraint", "", ">slack"), rows)
    screen.table("Assumptions", ("input", "value"), problem.assumptions.items())


def why_not(asked: Asked, design: Sequence[str]) -> Answer:
    """Return why a design is not the best: what rejects it, or how much worse it is."""
    from mlsysim_opt.optimize.run import proven

    chosen = arguments.design(design)
    task = asked.design_task()
    task.problem.fixed(chosen)
    best = proven(task)
    found: WhyNot = best.why_not(**chosen)
    optimum = {"design": best.design, "objective": {"name": best.objective_name, **best.objective.as_dict()}}
    data = {"status": "possible" if found.possible else "rejected", **found.as_dict(), "optimum": optimum}

    def show(screen: Screen) -> None:
        screen.line(str(found))
        values = ", ".join(f"{name}={value}" for name, value in best.design.items())
        screen.line(f"the optimum is {best.objective_name} = {best.objective} with {values}")

    return Answer(data, show)
