"""The commands about the catalog and their options. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from mlsysim_opt.cli.options import SETTINGS, Json, complete_kind
from mlsysim_opt.cli.output import give

zoo_commands = typer.Typer(no_args_is_help=True, context_settings=SETTINGS, help="Look into the catalog; add to it.")
import_commands = typer.Typer(
    no_args_is_help=True, context_settings=SETTINGS, help="Turn files of others into files of your own catalog folder."
)
zoo_commands.add_typer(import_commands, name="import")


Out = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Write a new file into this folder; printed otherwise.", show_default=False),
]


@zoo_commands.command("list")
def zoo_list(
    kind: Annotated[
        str | None,
        typer.Argument(help="Such as accelerator, model, fleet.", autocompletion=complete_kind, show_default=False),
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="TEXT",
            help="A part of a name, or such as 'memory.capacity >= 80 GiB', 'vendor=NVIDIA'; again for more.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[str | None, typer.Option(help="By a field, such as memory.capacity.", show_default=False)] = None,
    descending: Annotated[
        bool | None,
        typer.Option("--descending/--ascending", help="Which end first; by default large numbers.", show_default=False),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The fields to show.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Entries to show at most.", show_default=False)] = None,
    json: Json = False,
) -> int:
    """List the entries of a kind, or how many there are of each."""
    from mlsysim_opt.cli import zoo

    found = zoo.listing(kind, filter_ or [], sort, descending=descending, columns=columns, limit=limit)
    return give(found, as_json=json)


@zoo_commands.command("show")
def zoo_show(
    name: Annotated[str, typer.Argument(help="An entry, whatever its kind.", show_default=False)], json: Json = False
) -> int:
    """Show every number of an entry with its unit and source."""
    from mlsysim_opt.cli import zoo

    return give(zoo.show(name), as_json=json)


@zoo_commands.command("compare")
def zoo_compare(
    names: Annotated[list[str], typer.Argument(help="Two entries of one kind, or more.", show_default=False)],
    kind: Annotated[
        str | None,
        typer.Option(help="Where several kinds have the names.", autocompletion=complete_kind, show_default=False),
    ] = None,
    json: Json = False,
) -> int:
    """Show all numbers of several entries side by side, as multiples of those of the first."""
    from mlsysim_opt.cli import zoo_compare as side_by_side

    return give(side_by_side.compare(names, kind), as_json=json)


@zoo_commands.command("check")
def zoo_check(
    folder: Annotated[
        str | None,
        typer.Argument(help="A folder of your own *.yaml entries; left out: the catalog in use.", show_default=False),
    ] = None,
    json: Json = False,
) -> int:
    """Check your own folder of entries: every error with its place; exit 3 if there is one.

    Without a folder: what the catalog in use holds, and where its numbers come from.
    """
    from mlsysim_opt.cli import zoo_check as checking

    return give(checking.report() if folder is None else checking.check(folder), as_json=json)


@import_commands.command("hf")
def import_hf(
    file: Annotated[str, typer.Argument(help="A config.json of Hugging Face, on this machine.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="The name of the model.", show_default=False)] = None,
    parameters: Annotated[
        str | None, typer.Option(help="The published number of parameters, such as 8.03e9.", show_default=False)
    ] = None,
    out: Out = None,
    json: Json = False,
) -> int:
    """Make a model of a Hugging Face configuration."""
    from mlsysim_opt.cli import zoo_import

    return give(zoo_import.from_hugging_face(file, name, parameters, out), as_json=json)


@import_commands.command("skypilot")
def import_sky(
    file: Annotated[str, typer.Argument(help="A catalog file of SkyPilot (vms.csv).", show_default=False)],
    provider: Annotated[
        str | None, typer.Option(help="Who offers these; by default as the file or its folder.", show_default=False)
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="When the prices held; by default when the file was written.", show_default=False)
    ] = None,
    out: Out = None,
    json: Json = False,
) -> int:
    """Make rental prices of accelerators of a SkyPilot catalog."""
    from mlsysim_opt.cli import zoo_import

    return give(zoo_import.from_skypilot(file, provider, date, out), as_json=json)


@import_commands.command("intensity")
def import_series(
    file: Annotated[str, typer.Argument(help="A CSV file: a time and an intensity a row.", show_default=False)],
    name: Annotated[str, typer.Option(help="The name of the entry.", show_default=False)],
    column: Annotated[str | None, typer.Option(help="The column of the intensity.", show_default=False)] = None,
    unit: Annotated[str, typer.Option(help="Its unit.")] = "gCO2e/kWh",
    basis: Annotated[
        str | None,
        typer.Option(help="'life cycle' or 'direct'; needed unless the column's name says it.", show_default=False),
    ] = None,
    kind: Annotated[str, typer.Option(help="'profile' (by month and hour) or 'grid' (the mean).")] = "profile",
    out: Out = None,
    json: Json = False,
) -> int:
    """Make a carbon-intensity profile, or a grid, of a time series."""
    from mlsysim_opt.cli import zoo_import

    found = zoo_import.from_intensity(file, name, out, column=column, unit=unit, basis=basis, kind=kind)
    return give(found, as_json=json)
