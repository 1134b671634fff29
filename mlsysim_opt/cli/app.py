"""The program: all its commands in order, its own options, and the commands about itself."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import typer

from mlsysim_opt import __version__
from mlsysim_opt.cli.app_designs import design_commands
from mlsysim_opt.cli.app_models import model_commands
from mlsysim_opt.cli.app_scenario import config_commands, scenario_commands
from mlsysim_opt.cli.app_zoo import zoo_commands
from mlsysim_opt.cli.options import SETTINGS, Json, complete_kind
from mlsysim_opt.cli.output import give

cli = typer.Typer(
    name="mlsysim-opt",
    no_args_is_help=True,
    context_settings=SETTINGS,
    pretty_exceptions_enable=False,
    help="Declare what may be chosen, what must hold and what is wanted; get the provably best ML system.",
)
program_commands = typer.Typer()
cli.add_typer(design_commands)
cli.add_typer(model_commands)
cli.add_typer(program_commands)
cli.add_typer(zoo_commands, name="zoo")
cli.add_typer(scenario_commands, name="scenario")
cli.add_typer(config_commands, name="config")


@functools.cache
def app() -> Any:
    """Return the command line, ready to be run."""
    return typer.main.get_command(cli)


def usage_fault() -> type[Exception]:
    """Return the base class of the parser's complaints, wherever this version of typer keeps it."""
    return next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlsysim-opt {__version__}")
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    catalog: Annotated[
        list[str] | None, typer.Option("--catalog", help="A folder of your own entries, on top of the catalog.")
    ] = None,
) -> None:
    """Hold the options of the program itself."""
    if catalog:
        from mlsysim_opt.cli import zoo_folders

        zoo_folders.use(catalog)


@program_commands.command()
def schema(
    name: Annotated[
        str, typer.Argument(help="config (scenario files), or a kind of catalog entry.", autocompletion=complete_kind)
    ] = "config",
    json: Json = False,
) -> int:
    """Print the JSON Schema of a form of file, for editors and checkers."""
    from mlsysim_opt.cli import scenario

    return give(scenario.schema(name), as_json=json)


@program_commands.command()
def doctor(json: Json = False) -> int:
    """Check versions, solvers, cores, memory and write access; exit 9 if a solver cannot be used."""
    from mlsysim_opt.cli.doctor import examine

    return give(examine(), as_json=json)


@program_commands.command()
def demo(json: Json = False) -> int:
    """Train Llama 3.1 405B on 16,384 H100 as well as possible: the proof, and what was really done."""
    from mlsysim_opt.cli.demo import demonstrate

    return give(demonstrate(), as_json=json)
