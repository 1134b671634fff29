"""The command that inverts a model: solve-for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.cli.models import ends, model_named
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import UsageError

if TYPE_CHECKING:
    from mlsysim_opt.physics.candidates import Fitting
    from mlsysim_opt.physics.inverse import SolvedFor

SHOWN = 12
"""Entries of the catalog that are listed."""
READABLE = 1000
"""Characters of an equation that a person may look at."""


def solve_for(target: str, using: str, unknown: str, box: str | None, given: Mapping[str, Any]) -> Answer:
    """Return what one number must be for a model's output to meet a target."""
    from mlsysim_opt.physics.inverse import solve_for as solve

    found = solve(
        target, unknown=unknown, using=model_named(using), box=None if box is None else ends(box, "--box"), **given
    )
    fitting = found.matching() if found.on_entry else None
    data = {**found.as_dict(), "matching": None if fitting is None else fitting.as_dict()}
    return Answer(data, lambda screen: _show(screen, found, fitting))


def inputs_of(extra: Sequence[str]) -> dict[str, Any]:
    """Return inputs written as options, ``--tp-size 8``, ``--tp-size=8`` or ``--set tp_size=8``, by name.

    Raises:
        UsageError: something is no option, has no value, or stands twice.
    """
    found: dict[str, Any] = {}
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
        found[name] = arguments.scalar(value)
    return found


def _show(screen: Screen, found: SolvedFor, fitting: Fitting | None) -> None:
    screen.line(str(found), "bold green")
    if found.violated:
        screen.line("there, the model says no to: " + "; ".join(found.violated), "bold red")
    if found.fails_at and len(found.fails_at) <= 2:
        screen.line("not met any more at " + " and ".join(f"{item:,}" for item in found.fails_at))
    if found.formula is not None:
        screen.line(f"formula: {found.unknown} = {found.formula}")
        if found.conditions:
            screen.line("valid while " + "; ".join(map(str, found.conditions)))
    elif len(text := str(found.equation)) <= READABLE:  # it stands in more than one place: this is what was solved
        screen.line(f"formula: {found.target} = {text}")
    if found.residual:
        screen.line(f"substituted back, {found.target} differs by {found.residual:.1e} of the target")
    if fitting is not None:
        _show_entries(screen, found, fitting)


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
