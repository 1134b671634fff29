"""What limits cost: what ``--marginal`` asks beside an answer, and the exact answers under other limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli.beside import in_turn, show_failed, status_of, with_found
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import MlsysimError

if TYPE_CHECKING:
    from mlsysim_opt.optimize import CoupledTask, PlanSolution, Solution, Task
    from mlsysim_opt.optimize.marginal import Marginal
    from mlsysim_opt.optimize.robust import Uncertain

OPTION = "--marginal"
_SEVERAL = re.compile(r"(?P<side>.+?[<>]=?)(?P<limits>[^<>=]+,[^<>=]+)")
_ONE = re.compile(r"\s*(?P<number>[-+]?[0-9][0-9_]*(\.[0-9]*)?([eE][-+]?[0-9]+)?)\s*(?P<unit>[^\s0-9,(][^,(]*?)?\s*")


@dataclass(frozen=True)
class Limited:
    """One ``--marginal``.

    Attributes:
        text: as it was given. constraint: what is limited. limits: to solve for, as text; None for the limit and the
            next exact point.
    """

    text: str
    constraint: str
    limits: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Found:
    """What one limit costs, or why that is not known."""

    asked: Limited
    marginal: Marginal | None = None
    error: MlsysimError | None = None

    @property
    def status(self) -> int:
        """The exit status."""
        return 0 if self.marginal is not None else status_of(self.error)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        from mlsysim_opt.cli.run import error_data

        if self.marginal is not None:
            return {"status": "solved", **self.marginal.as_dict()}
        told = error_data(self.error) if self.error else {"status": "interrupted"}
        return {"constraint": self.asked.text, **told}


# reading --------------------------------------------------------------------------------------------------------------
def read(task: Task | CoupledTask | Uncertain, texts: Sequence[str]) -> list[Limited]:
    """Return what the texts ask, so that faults are found before the search.

    Raises:
        MlsysimError: a text is no limit of the question.
    """
    from mlsysim_opt.optimize.marginal import asked_limits
    from mlsysim_opt.optimize.robust import Uncertain

    found = [_read(text) for text in texts]
    for asked in found:
        try:
            for question in task.tasks if isinstance(task, Uncertain) else [task]:
                asked_limits(question, asked.constraint, asked.limits)
        except MlsysimError as error:
            error.path = OPTION
            raise
    return found


def _read(text: str) -> Limited:
    """Return one constraint and its limits: ``memory <= 60, 50 GiB`` is about two, whose unit may stand once."""
    several = _SEVERAL.fullmatch(text)
    ones = [_ONE.fullmatch(piece) for piece in several["limits"].split(",")] if several else [None]
    if several is None or None in ones:
        return Limited(text, text)
    read = [(one["number"], one["unit"]) for one in ones if one is not None]
    unit = read[-1][1] or ""
    limits = tuple(f"{number} {own or unit}".strip() for number, own in read)
    return Limited(text, f"{several['side']} {limits[0]}", limits)


# answering ------------------------------------------------------------------------------------------------------------
def beside(
    answer: Answer, first: Solution | PlanSolution, asked: Sequence[Limited], *, time_limit: float | None
) -> Answer:
    """Return an answer with what limits cost; Ctrl-C leaves out those that are not known by then."""
    if not asked:
        return answer

    def ask(item: Limited) -> Found:
        return Found(item, first.marginal(item.constraint, item.limits, time_limit=time_limit))

    found = list(in_turn(asked, ask, lambda item, error: Found(item, error=error)))
    return with_found(answer, "marginals", found, _show)


def _show(screen: Screen, found: Found) -> None:
    screen.heading(f"What {found.asked.text} costs")
    if found.marginal is None:
        show_failed(screen, found.error, "interrupted: not known")
        return
    for line in str(found.marginal).splitlines()[1:]:
        screen.line(line)
