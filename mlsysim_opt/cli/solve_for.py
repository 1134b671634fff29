"""The command that inverts a model: solve-for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.cli.models import asked_named, ends
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import UsageError

if TYPE_CHECKING:
    from mlsysim_opt.optimize import Formulation
    from mlsysim_opt.physics.base import Model
    from mlsysim_opt.physics.candidates import Fitting
    from mlsysim_opt.physics.inverse import SolvedFor
    from mlsysim_opt.physics.inverse_sweep_answer import SolvedSweep

POINTS = 200
"""Points of a question over axes that are listed."""
SHOWN = 12
"""Entries of the catalog that are listed."""
READABLE = 1000
"""Characters of an equation that a person may look at."""


def solve_for(target: str, using: str, unknown: str, box: str | None, given: Mapping[str, str]) -> Answer:
    """Return what one number must be for a model's output to meet a target; over axes where anything is a list."""
    from mlsysim_opt.physics.inverse import asked
    from mlsysim_opt.physics.inverse_sweep_answer import SolvedSweep

    model = asked_named(using)
    if isinstance(model, type):
        from mlsysim_opt.physics.inverse import solve_for as solve
    else:
        from mlsysim_opt.optimize import solve_for as solve
    output, relation, wanted = asked(target, None)
    found = solve(
        output, [f"{relation} {value}" for value in listed(wanted)] if "," in wanted else f"{relation} {wanted}",
        unknown=unknown, using=model, box=None if box is None else ends(box, "--box"), **read_lists(model, given),
    )  # fmt: skip
    if isinstance(found, SolvedSweep):
        return Answer(found.as_dict(), lambda screen: _show_points(screen, found))
    fitting = found.matching() if found.on_entry else None
    data = {**found.as_dict(), "matching": None if fitting is None else fitting.as_dict()}
    return Answer(data, lambda screen: _show(screen, found, fitting))


def listed(text: str) -> list[str]:
    """Return the texts between commas."""
    return [part.strip() for part in text.split(",")]


def read_lists(model: type[Model] | Formulation, given: Mapping[str, str]) -> dict[str, Any]:
    """Return what the texts of inputs mean; several values between commas are an axis."""
    verbatim = {item.name for item in model.inputs if item.verbatim}
    return {
        name: arguments.scalar(text) if model.aliases.get(name, name) in verbatim else arguments.value(text)
        for name, text in given.items()
    }


def inputs_of(extra: Sequence[str]) -> dict[str, str]:
    """Return inputs written as options, ``--tp-size 8``, ``--tp-size=8`` or ``--set tp_size=8``, as texts by name.

    Raises:
        UsageError: something is no option, has no value, or stands twice.
    """
    found: dict[str, str] = {}
    rest = list(extra)
    while rest:
        option = rest.pop(0)
        if not option.startswith("--"):
            raise UsageError(f"{option!r} is not an option", hint="inputs are written as --name value")
        name, equals, value = option[2:].partition("=")
        if not equals:
            if not rest:
                raise UsageError("has no value", path=option)
            value = rest.pop(0)
        name = name.replace("-", "_")
        if name == "set":
            name, value = arguments.pair(value, "--set", "tp_size=8")
        if name in found:
            raise UsageError("is given twice", path=option)
        found[name] = value
    return found


def _show(screen: Screen, found: SolvedFor, fitting: Fitting | None) -> None:
    screen.line(str(found), "bold green")
    if found.violated:
        screen.line("there, the model says no to: " + "; ".join(found.violated), "bold red")
    if found.fails_at:
        screen.line(f"not met any more at {found.beside}")
    if found.formula is not None:
        screen.line(f"formula: {found.unknown} = {found.formula}")
        if found.conditions:
            screen.line("valid while " + "; ".join(map(str, found.conditions)))
    elif found.unknown in (text := str(found.equation)) and len(text) <= READABLE:  # what was solved, if in one piece
        screen.line(f"formula: {found.target} = {text}")
    if found.residual:
        screen.line(f"substituted back, {found.target} differs by {found.residual:.1e} of the target")
    if fitting is not None:
        _show_entries(screen, found, fitting)


def _show_points(screen: Screen, found: SolvedSweep) -> None:
    from mlsysim_opt.units import show

    def text(name: str, value: Any) -> str:
        if name == found.unknown:
            return found.shown(value)
        return show(value, found.target_dimension, 6) if name == found.target else str(value)

    goal = "" if found.goal is None else f" {show(found.goal, found.target_dimension, 6)}"
    rows = [[text(name, value) for name, value in row.items()] for row in found.rows()[:POINTS]]
    screen.table(
        f"{found.unknown} for {found.target} {found.relation}{goal}", (*found.axes, f">{found.unknown}"), rows
    )  # fmt: skip
    if found.si.size > POINTS:
        screen.line(f"{POINTS} of {found.si.size:,} points; --json has all")
    for cause in found.excluded:
        screen.line(cause)
    screen.line("how: " + ", ".join(f"{method} ({count:,})" for method, count in found.methods.items()))
    if not found.proven:
        screen.line("other values are not excluded everywhere")


def _show_entries(screen: Screen, found: SolvedFor, fitting: Fitting) -> None:
    from mlsysim_opt.units import show

    place = found.unknown.partition(".")[0]
    if not fitting:
        screen.line(f"no entry of the catalog, as a whole in the place of {place}, meets it")
    rows = [(item.name, show(value, found.target_dimension)) for item, value in fitting[:SHOWN]]
    more = f" (the best {SHOWN} of {len(fitting)})" if len(fitting) > SHOWN else ""
    screen.table(f"Meet it, each entry as a whole in the place of {place}{more}", ("entry", f">{found.target}"), rows)
    more = f" ({SHOWN} of {len(fitting.aside)})" if len(fitting.aside) > SHOWN else ""
    screen.table(f"Meet it, and cannot be used{more}", ("entry", "reason"),
                 [(item.entry.name, item.reason) for item in fitting.aside[:SHOWN]])  # fmt: skip
    screen.line(f"{len(fitting.missed)} others do not meet it; --json has the reason of each")
