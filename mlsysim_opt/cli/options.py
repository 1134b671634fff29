"""The options that several commands share, and what a shell completes them with."""

from __future__ import annotations

from typing import Annotated

import typer

SETTINGS = {"help_option_names": ["-h", "--help"]}


# completion -----------------------------------------------------------------------------------------------------------
def _starting(names: list[str], typed: str) -> list[str]:
    return [name for name in names if name.lower().startswith(typed.lower())]


def _entries(kind: str, typed: str) -> list[str]:
    from mlsysim_opt.registry import default_catalog

    return _starting(default_catalog().names(kind), typed)


def complete_model(incomplete: str) -> list[str]:
    """Return models of the catalog."""
    return _entries("model", incomplete)


def complete_fleet(incomplete: str) -> list[str]:
    """Return fleets of the catalog."""
    return _entries("fleet", incomplete)


def complete_precision(incomplete: str) -> list[str]:
    """Return number formats of the catalog."""
    return _entries("numerics", incomplete)


def complete_scenario(incomplete: str) -> list[str]:
    """Return scenarios of the catalog."""
    return _entries("scenario", incomplete)


def complete_kind(incomplete: str) -> list[str]:
    """Return kinds of catalog entries."""
    from mlsysim_opt.registry.kinds import KINDS

    return _starting(list(KINDS), incomplete)


def complete_formulation(incomplete: str) -> list[str]:
    """Return formulations."""
    from mlsysim_opt.optimize import formulation_names

    return _starting(formulation_names(), incomplete)


def complete_accelerator(incomplete: str) -> list[str]:
    """Return accelerators of the catalog."""
    return _entries("accelerator", incomplete)


def complete_using(incomplete: str) -> list[str]:
    """Return models that can be asked."""
    from mlsysim_opt.cli.models import models

    return _starting(list(models()), incomplete)


def complete_backend(incomplete: str) -> list[str]:
    """Return backends."""
    from mlsysim_opt.optimize import BACKENDS

    return _starting([*BACKENDS, "auto"], incomplete)


# options --------------------------------------------------------------------------------------------------------------
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Formulation = Annotated[
    str | None,
    typer.Argument(
        help="The decision problem; left out where only one takes all that is given.",
        autocompletion=complete_formulation,
        show_default=False,
    ),
]
Model = Annotated[
    str | None, typer.Option(help="A model of the catalog.", autocompletion=complete_model, show_default=False)
]
Fleet = Annotated[
    str | None, typer.Option(help="A fleet of the catalog.", autocompletion=complete_fleet, show_default=False)
]
Hardware = Annotated[
    str | None,
    typer.Option(help="An accelerator of the catalog.", autocompletion=complete_accelerator, show_default=False),
]
Batch = Annotated[
    str | None,
    typer.Option(
        "--batch-size", "--global-batch-size", help="Sequences per optimizer step, or requests.", show_default=False
    ),
]
Sequence = Annotated[str | None, typer.Option("--seq-len", help="Tokens per sequence.", show_default=False)]
Precision = Annotated[
    str | None, typer.Option(help="Number format.", autocompletion=complete_precision, show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other given; again for more.", show_default=False),
]
Choose = Annotated[
    list[str] | None,
    typer.Option("--choose", metavar="NAME=V1,V2", help="The values a decision may have.", show_default=False),
]
Objective = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        help="min_<metric>, max_<metric>, or an expression to minimise; again for the next among ties.",
        show_default=False,
    ),
]
Constraint = Annotated[
    list[str] | None,
    typer.Option("--constraint", help="Such as 'memory <= 76 GiB'; again for more.", show_default=False),
]
PlanFile = Annotated[
    str | None,
    typer.Option(
        "--plan", metavar="FILE", help="A YAML file with all of this; options win over it.", show_default=False
    ),
]
StudyFile = Annotated[str | None, typer.Argument(metavar="[FILE]", help="The same as --plan FILE.", show_default=False)]
Design = Annotated[
    list[str], typer.Option("--design", metavar="NAME=VALUE,...", help="Values of decisions.", show_default=False)
]

TimeLimit = Annotated[str | None, typer.Option(help="Seconds, or such as '2 min'.", show_default=False)]
Start = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="An answer of --json to begin with.", show_default=False),
]
WhatIf = Annotated[
    list[str] | None,
    typer.Option(
        "--what-if",
        metavar="CHANGE",
        help="Also answer with a limit ('cost <= 900 USD'), a given ('price=3 USD/h') or the objective changed, or "
        "'without' a constraint, and show the difference; again for more.",
        show_default=False,
    ),
]
Marginal = Annotated[
    list[str] | None,
    typer.Option(
        "--marginal",
        metavar="LIMIT",
        help="Also say what a limit costs, by exact answers: 'memory <= 60 GiB' up to where the answer changes next, "
        "'memory <= 60, 50, 40 GiB' under each; again for more.",
        show_default=False,
    ),
]
Scenario = Annotated[
    list[str] | None,
    typer.Option(
        "--scenario",
        metavar="NAME=VALUE;...",
        help="What may be given instead ('as given': nothing); again for more. One answer must do in all.",
        show_default=False,
    ),
]
Robust = Annotated[
    str | None,
    typer.Option(help="Over scenarios: worst_case, expected, cvar or regret; else worst_case.", show_default=False),
]
