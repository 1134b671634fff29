"""The commands about scenarios and their files."""

from __future__ import annotations

from typing import Annotated

import typer

from mlsysim_opt.cli.options import SETTINGS, Json, complete_scenario
from mlsysim_opt.cli.output import give

scenario_commands = typer.Typer(no_args_is_help=True, context_settings=SETTINGS, help="Check what a system promises.")
config_commands = typer.Typer(no_args_is_help=True, context_settings=SETTINGS, help="Check scenario files.")


@scenario_commands.command("list")
def scenario_list(json: Json = False) -> int:
    """List the scenarios of the catalog."""
    from mlsysim_opt.cli import scenario

    return give(scenario.listing(), as_json=json)


@scenario_commands.command("run")
def scenario_run(
    scenario: Annotated[
        str,
        typer.Argument(
            help="A scenario of the catalog, or a file (YAML or JSON).",
            autocompletion=complete_scenario,
            show_default=False,
        ),
    ],
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Also write a page.", show_default=False)
    ] = None,
    json: Json = False,
) -> int:
    """Show the scorecard; exit 5 if a promise is not kept, 3 if one cannot be judged."""
    from mlsysim_opt.cli import scenario as topic

    return give(topic.run(scenario, html), as_json=json)


@config_commands.command("check")
def config_check(
    file: Annotated[str, typer.Argument(help="A scenario file, YAML or JSON.", show_default=False)], json: Json = False
) -> int:
    """Check a file without running it; every fault is named with its place."""
    from mlsysim_opt.cli import scenario

    return give(scenario.check(file), as_json=json)
