"""The command that validates a user's own folder of catalog files: zoo check."""

from __future__ import annotations

import warnings
from typing import Any

from mlsysim_opt.cli.output import Answer, Screen, plain
from mlsysim_opt.errors import CatalogError, FileError


def check(folder: str) -> Answer:
    """Return what a folder holds, and which entries of the catalog it would replace.

    Raises:
        CatalogError: naming every fault of every file, each with its path, line and column. FileError: there is no
            such folder.
    """
    from mlsysim_opt.registry import default_catalog
    from mlsysim_opt.registry.kinds import KINDS
    from mlsysim_opt.registry.load import CatalogFileError, fold

    before = default_catalog()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is replaced is part of the answer
            catalog = before.with_folder(folder)
    except CatalogFileError as error:
        raise _all_of(error, folder) from None
    except CatalogError as error:
        if error.line is None and error.message.startswith(("no such", "is not a folder", "holds")):
            raise FileError(plain(error.message), path=plain(folder), hint=error.hint) from None
        raise
    collisions = [item for item in catalog.collisions if item not in before.collisions]
    taken = {(item.kind, fold(item.name)) for item in collisions}
    known = {name: set(before.names(name)) for name in KINDS}
    new = {name: [entry for entry in catalog.names(name) if entry not in known[name]] for name in KINDS}
    added = {name: [entry for entry in entries if (name, fold(entry)) not in taken] for name, entries in new.items()}
    data: dict[str, Any] = {
        "status": "ok",
        "folder": folder,
        "added": {name: names for name, names in added.items() if names},
        "replaced": [
            {"kind": item.kind, "name": item.name, "replaced": item.replaced, "by": item.by} for item in collisions
        ],
    }

    def show(screen: Screen) -> None:
        screen.line(f"{folder}: no error", "bold green")
        screen.table("Added to the catalog", ("kind", "entries"), [(k, ", ".join(v)) for k, v in data["added"].items()])
        rows = [(item.kind, item.name, item.replaced, item.by) for item in collisions]
        screen.table("Replaced (the catalog has them too)", ("kind", "entry", "of", "by"), rows)

    return Answer(data, show)


def _all_of(error: Any, folder: str) -> CatalogError:
    """Return the error with the text of every fault, not only of the first twenty."""
    if len(error.errors) == 1:
        return error.errors[0] if isinstance(error.errors[0], CatalogError) else error
    lines = [f"{len(error.errors)} errors", *("  - " + str(item).replace("\n", "\n    ") for item in error.errors)]
    error.message = "\n".join(lines)
    error.path = folder
    found: CatalogError = error
    return found
