"""The command that says what an output of a model answers to: sensitivity."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlsysim_opt.cli.models import inputs as inputs_of
from mlsysim_opt.cli.models import model_named, models
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import UsageError

if TYPE_CHECKING:
    from mlsysim_opt.physics.base import Model
    from mlsysim_opt.solvers.sensitivity import SensitivityResult


def sensitivity(
    using: str | None,
    output: str | None,
    named: Mapping[str, str | None],
    given: Sequence[str],
    *,
    percent: float,
    plot: str | None,
) -> Answer:
    """Return the elasticities of an output, its exact changes, its regimes and what binds.

    Raises:
        UsageError: no model or no output is named, or something is given twice.
    """
    from mlsysim_opt.solvers.sensitivity import SensitivitySolver

    if using is None:
        raise UsageError("which model is asked?", path="--using", hint="one of " + ", ".join(models()))
    model = model_named(using)
    if output is None:
        raise UsageError("which output is looked at?", path="--output", hint="one of " + ", ".join(_outputs(model)))
    inputs = inputs_of(named, given)
    inputs.setdefault("precision", None)  # left to the default of the model that is asked
    found = SensitivitySolver().solve(using=model, output=output, perturbation_pct=percent, **inputs)
    data = {"status": "ok" if found.feasible else "infeasible", **found.as_dict()}
    if plot is not None:
        data["plot"] = str(found.plot_tornado(plot))
    return Answer(data, lambda screen: show_sensitivity(screen, found, plot))


def _outputs(model: type[Model]) -> list[str]:
    """Return the outputs of a model that are numbers, as those of its example are."""
    from mlsysim_opt.solvers.point import number_outputs

    asked = model()
    return number_outputs(asked.trace(asked.check(**model.example)).expressions)


def show_sensitivity(screen: Screen, found: SensitivityResult, plot: str | None = None) -> None:
    """Write levers, tornado, numbers, regimes and constraints."""
    from mlsysim_opt.solvers import tornado

    unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    screen.line(tornado.headline(found), "bold")
    screen.line(tornado.state(found), "" if found.feasible else "bold red")
    screen.table("Levers", *tornado.levers_rows(found))
    screen.heading(tornado.title_of(found))
    screen.code(found.tornado(most=tornado.ROWS, plain=not unicode))
    screen.table("Numbers", *tornado.number_rows(found))
    regimes = tornado.regime_rows(found.numbers.values())
    screen.table("Where the regime ends as one number changes alone", *regimes)
    screen.table("Constraints", *tornado.constraint_rows(found))
    screen.table(
        "Ways out, each alone", ("constraint", "change"), [(way.constraint, way.text) for way in found.ways_out]
    )
    screen.table("Assumptions", ("input", "value"), found.assumptions.items())
    if plot is not None:
        screen.line()
        screen.line(f"tornado drawn in {plot}")
