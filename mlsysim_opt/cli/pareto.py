"""The command that asks for a front."""

from __future__ import annotations

from mlsysim_opt.cli.output import Answer
from mlsysim_opt.cli.plan_solution import show_front
from mlsysim_opt.cli.progress import shown_progress
from mlsysim_opt.cli.question import Asked
from mlsysim_opt.errors import UsageError

LIMIT_WITH_DESIGN = 8


def pareto(
    asked: Asked,
    *,
    points: int | None,
    backend: str,
    prune: bool,
    time_limit: str | None,
    gap: str | None,
    start: str | None,
    csv: str | None,
    parquet: str | None,
    plot: str | None,
) -> Answer:
    """Return a front, written and drawn where that is asked for.

    Raises:
        UsageError: there are not two objectives, or a plan to begin with for a problem without plans.
    """
    from mlsysim_opt.cli.solve import begun, share
    from mlsysim_opt.optimize import CoupledTask, PlanSolution
    from mlsysim_opt.optimize.coupled.front import coupled_front
    from mlsysim_opt.optimize.exports import check_exports
    from mlsysim_opt.optimize.front_designs import front
    from mlsysim_opt.optimize.run import to_seconds

    limit = None if time_limit is None else to_seconds(time_limit, "--time-limit")
    if len(asked.objectives) < 2 and asked.plan is None:
        raise UsageError("a front needs two objectives or more", path="--objective",
                         hint="--objective min_cost --objective min_carbon")  # fmt: skip
    check_exports(csv, parquet, plot)  # before the search, whose result would be lost
    task = asked.task()
    for option, value in (("--gap", gap), ("--start", start)):
        if value is not None and not isinstance(task, CoupledTask):
            raise UsageError(f"{task.problem.name} is solved by looking at all designs", path=option,
                             hint="this option is for coupled problems")  # fmt: skip
    if isinstance(task, CoupledTask):
        near, begin = share(gap), begun(start, PlanSolution)
        with shown_progress() as watch:
            found = coupled_front(
                task, points, backend=backend, prune=prune, time_limit=limit, gap=near, progress=watch, start=begin
            )
    else:
        with shown_progress() as show:
            found = front(task, points, limit, show)
    if csv is not None:
        found.to_csv(csv)
    if parquet is not None:
        found.to_parquet(parquet)
    if plot is not None:
        found.plot(plot)
    return Answer(found.as_dict(), lambda screen: show_front(screen, found), 0 if found.settled else LIMIT_WITH_DESIGN)
