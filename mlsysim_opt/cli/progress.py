"""Where a search stands, on standard error while it runs: seconds, incumbent, bound and gap; only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlsysim_opt.cli.output import plain

if TYPE_CHECKING:
    from mlsysim_opt.optimize import CoupledTask, Progress
    from mlsysim_opt.optimize.backends.highs import Watch


@contextmanager
def shown_progress(task: CoupledTask) -> Iterator[Watch | None]:
    """Yield what a search is to be watched by; nothing where standard error is no terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, markup=False, highlight=False, emoji=False, no_color="NO_COLOR" in os.environ)
    with console.status(Text("compiling")) as status:

        def watch(progress: Progress) -> None:
            status.update(Text(plain(progress_text(task, progress))))

        yield watch


def progress_text(task: CoupledTask, progress: Progress) -> str:
    """Return where a search stands in one line, in the sense and unit of the objective."""
    from mlsysim_opt.optimize.coupled.run import shown

    objective = task.objective
    sign = 1.0 if objective.sense == "min" else -1.0
    ratio = task.linear.divisor is not None  # what is minimised on the way is no value of the objective

    def told(value: float | None) -> str:
        if value is None or ratio:
            return "-"
        return str(shown(task.problem, objective.expression, sign * value, objective.expression.dimension))

    gap = progress.gap
    share = "-" if gap is None or ratio else f"{gap:.2%}"
    bound, held = told(progress.bound), told(progress.incumbent)
    return (
        f"{objective.name}: best {held}, bound {bound}, gap {share}, {progress.nodes:,} nodes, {progress.seconds:.1f} s"
    )
