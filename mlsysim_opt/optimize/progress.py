"""Where a search stands, as it is shown to the one who asked: in the sense and the unit of the objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.problem import Objective
from mlsysim_opt.optimize.stopping import Standing, Watch


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        objective: what is looked for, as asked. seconds: since the program at hand was begun.
        incumbent: the best value held; bound: no answer is better. Both None where they are not known, and for a ratio,
            whose programs have other values. gap: between the two, relatively.
        nodes: of the search tree. designs: how many were looked at, where all are.
    """

    objective: str
    seconds: float
    incumbent: Value | None
    bound: Value | None
    gap: float | None
    nodes: int = 0
    designs: int = 0

    def __str__(self) -> str:
        held, proven = (str(item) if item else "-" for item in (self.incumbent, self.bound))
        gap = "-" if self.gap is None else f"{self.gap:.2%}"
        done = f"{self.designs:,} designs" if self.designs else f"{self.nodes:,} nodes"
        return f"{self.objective}: best {held}, bound {proven}, gap {gap}, {done}, {self.seconds:.1f} s"


Show = Callable[[Progress], bool | None]
"""Called with the progress now and then; returning True stops the search."""


def checked_progress(progress: object) -> None:
    """Refuse what cannot be told about the progress.

    Raises:
        InputError: it is no function.
    """
    if progress is not None and not callable(progress):
        raise InputError(f"expected a function that is shown the progress, got {progress!r}", path="progress")


def watch_of(
    progress: Show | None, objective: Objective, shown: Callable[[float, float], Value] | None, *, designs: bool = False
) -> Watch | None:
    """Return what watches a search, and shows the progress of an objective.

    Args:
        shown: a value of the objective in base units, and one like it that decides the unit, as shown; None where what
            is minimised on the way is no value of the objective. designs: all of them are looked at, there is no tree.
    """
    if progress is None:
        return None
    sign = 1.0 if objective.sense == "min" else -1.0

    def watch(standing: Standing) -> bool | None:
        incumbent, bound = (None, None) if shown is None else (standing.incumbent, standing.bound)
        known = [item for item in (incumbent, bound) if item is not None]

        def told(value: float | None) -> Value | None:
            return None if value is None or shown is None else shown(sign * value, sign * known[0])

        return progress(
            Progress(
                objective.name,
                standing.seconds,
                told(incumbent),
                told(bound),
                None if shown is None else standing.gap,
                nodes=0 if designs else standing.nodes,
                designs=standing.nodes if designs else 0,
            )
        )

    return watch
