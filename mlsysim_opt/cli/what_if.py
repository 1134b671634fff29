"""The same question otherwise: what ``--what-if`` says, and how its answer differs from the one it stands beside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.cli.beside import in_turn, show_failed, status_of, with_found
from mlsysim_opt.cli.output import LIMIT_WITH_DESIGN, Answer, Screen
from mlsysim_opt.cli.plan_solution import MOST
from mlsysim_opt.errors import InfeasibleError, MlsysimError, UsageError

if TYPE_CHECKING:
    from mlsysim_opt.optimize import CoupledTask, PlanSolution, Solution, Task
    from mlsysim_opt.optimize.difference import Difference
    from mlsysim_opt.optimize.robust import Uncertain

OPTION = "--what-if"
EXAMPLE = (
    "--what-if 'cost <= 900 USD', 'price=3 USD/h', 'min_carbon' or 'without cost <= 900 USD', with ; between several"
)
_GIVEN = re.compile(r"([A-Za-z_]\w*)\s*=(?!=)")
_OBJECTIVE = re.compile(r"(min|max)(_|imi[sz]e\b)[^<>=]*")
_WITHOUT = re.compile(r"without\s+(.*)")


@dataclass(frozen=True)
class Otherwise:
    """One ``--what-if``.

    Attributes:
        text: as it was given. changed: arguments of `what_if`. in_place_of: constraints that another limit replaces.
    """

    text: str
    changed: dict[str, Any]
    in_place_of: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The change in words."""
        instead = f", in place of {' and '.join(self.in_place_of)}" if self.in_place_of else ""
        return f"What if {self.text}{instead}"


@dataclass(frozen=True)
class Found:
    """The answer to one ``--what-if``, or why there is none."""

    asked: Otherwise
    answer: Solution | PlanSolution | None = None
    difference: Difference | None = None
    error: MlsysimError | None = None

    @property
    def status(self) -> int:
        """The exit status; that nothing is possible is an answer too."""
        if self.answer is not None:
            return 0 if self.answer.settled else LIMIT_WITH_DESIGN
        return 0 if isinstance(self.error, InfeasibleError) else status_of(self.error)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        from mlsysim_opt.cli.run import error_data

        data = {"what_if": self.asked.text, "in_place_of": list(self.asked.in_place_of)}
        if self.answer is not None and self.difference is not None:
            told = {"status": self.answer.status, "difference": self.difference.as_dict()}
            return {**data, **told, "answer": self.answer.as_dict()}
        return {**data, **(error_data(self.error) if self.error else {"status": "interrupted"})}


# reading --------------------------------------------------------------------------------------------------------------
def read(task: Task | CoupledTask | Uncertain, texts: Sequence[str]) -> list[Otherwise]:
    """Return what the texts ask, each compiled once, so that faults are found before the search.

    Raises:
        MlsysimError: a text is not understood, or cannot be asked.
    """
    from mlsysim_opt.optimize.otherwise import asked_otherwise
    from mlsysim_opt.optimize.robust import Uncertain

    base = task.base if isinstance(task, Uncertain) else task
    found = []
    for text in texts:
        try:
            asked = _read(base, text)
            if isinstance(task, Uncertain):
                _ = task.otherwise(**asked.changed).tasks  # every scenario is read
            else:
                asked_otherwise(task, **asked.changed)
        except MlsysimError as error:
            place = (error.path or "").partition("[")[0]
            error.path = OPTION if place in ("", "constraints", "objective", OPTION) else f"{OPTION} ({error.path})"
            raise
        found.append(asked)
    return found


def _read(task: Task | CoupledTask, text: str) -> Otherwise:
    from mlsysim_opt.cli.question import read_texts
    from mlsysim_opt.optimize import formulation
    from mlsysim_opt.optimize.marginal import same_limits

    problem = task.problem
    chosen = formulation(problem.request["formulation"])
    pieces = [" ".join(piece.split()) for piece in text.split(";") if piece.strip()]
    if not pieces:
        raise UsageError("says nothing that would be otherwise", path=OPTION, hint=EXAMPLE)
    given: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    objectives: list[str] = []
    constraints: list[str] = []
    without: list[str] = []
    for piece in pieces:
        named = _GIVEN.match(piece)
        name = named.group(1) if named else ""
        if name in chosen.takes:
            given.update(read_texts(chosen, dict([arguments.pair(piece, OPTION, EXAMPLE)])))
        elif problem.aliases.get(name, name) in problem.decisions:
            choices[name] = arguments.values(arguments.pair(piece, OPTION, EXAMPLE)[1])
        elif left_out := _WITHOUT.fullmatch(piece):
            without.append(left_out.group(1))
        elif _OBJECTIVE.fullmatch(piece):
            objectives.append(piece)
        else:
            constraints.append(piece)
    replaced = [rule for rule in same_limits(task, constraints) if rule not in without]
    changed = {
        "constraints": constraints, "without": [*without, *replaced], "objective": objectives or None,
        "choices": choices or None, "given": given,
    }  # fmt: skip
    return Otherwise("; ".join(pieces), changed, tuple(replaced))


# answering ------------------------------------------------------------------------------------------------------------
def beside(answer: Answer, first: Solution | PlanSolution, asked: Sequence[Otherwise], **settings: Any) -> Answer:
    """Return an answer with those to the same question otherwise, each by what it differs in.

    Ctrl-C ends the search for one of them with what it holds; while one is compiled, it leaves out all that are left.

    Args:
        settings: of the searches, as of `what_if`; `watch` returns a context that yields what shows their progress.
    """
    if not asked:
        return answer
    found = list(_answers(first, asked, **settings))
    return with_found(answer, "what_if", found, _show)


def _answers(
    first: Solution | PlanSolution, asked: Sequence[Otherwise], *, watch: Any = nullcontext, **settings: Any
) -> Iterable[Found]:
    from mlsysim_opt.optimize.difference import Difference

    def ask(item: Otherwise) -> Found:
        changed = {name: value for name, value in item.changed.items() if name != "given"}
        with watch() as progress:
            other = first.what_if(**changed, **item.changed["given"], progress=progress, **settings)
        return Found(item, other, Difference.between(first, other))

    return in_turn(asked, ask, lambda item, error: Found(item, error=error))


def _show(screen: Screen, found: Found) -> None:
    screen.heading(found.asked.title)
    if found.answer is None or found.difference is None:
        show_failed(screen, found.error, "interrupted: nothing was found yet")
        return
    answer, difference = found.answer, found.difference
    gap = "gap unknown" if answer.gap is None else f"gap {answer.gap:.3g}"
    change = "" if difference.objective is None else f": {difference.objective}"
    style = "green" if answer.settled else "yellow"
    screen.line(f"{answer.status}: {answer.objective_name} = {answer.objective} ({gap}){change}", style)
    if not answer.settled:
        screen.line(answer.certificate.proof)
    rows = [(name, item.before, item.after, item) for name, item in difference.metrics.items()]
    screen.table("", ("metric", ">the answer", ">what if", "change"), rows)
    for line in difference.decisions[:MOST] or ["nothing is decided otherwise"]:
        screen.line(line)
    if len(difference.decisions) > MOST:
        screen.line(f"... and {len(difference.decisions) - MOST:,} more; --json has all")
