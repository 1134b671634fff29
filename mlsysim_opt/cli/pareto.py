"""The command that asks for a front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysim_opt.cli.output import LIMIT_WITH_DESIGN, Answer
from mlsysim_opt.cli.plan_solution import show_front
from mlsysim_opt.cli.progress import shown_progress
from mlsysim_opt.cli.question import Asked
from mlsysim_opt.errors import FileError, UsageError

if TYPE_CHECKING:
    from mlsysim_opt.optimize import Front


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

    What can be seen to be in the way of a file is an error before the search. A file that fails after it (the disk is
    full) is told beside the front, which is not lost.

    Raises:
        FileError: a file may not be written.
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
    failed = _export(found, csv, parquet, plot)
    status = FileError.exit_code if failed else 0 if found.settled else LIMIT_WITH_DESIGN
    data = {**found.as_dict(), **({"export_errors": [item.as_dict() for item in failed]} if failed else {})}
    return Answer(data, lambda screen: show_front(screen, found), status, failed)


def _export(found: Front, csv: str | None, parquet: str | None, plot: str | None) -> list[FileError]:
    """Write a front to each file that is asked for; return what could not be written."""
    failed: list[FileError] = []
    for write, file in ((found.to_csv, csv), (found.to_parquet, parquet), (found.plot, plot)):
        if file is not None:
            try:
                write(file)
            except FileError as error:
                failed.append(error)
    return failed
