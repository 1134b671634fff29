"""Folders of a user's own entries on the command line: --catalog."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable

from mlsysim_opt.cli.output import plain, write_text

MAX_SHOWN = 20


def use(folders: Iterable[str]) -> None:
    """Put folders on top of the catalog; each entry that one replaces is a line on standard error.

    Raises:
        CatalogError: a folder or a file in it is not valid.
    """
    from mlsysim_opt.registry import CatalogOverrideWarning, use_folder

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CatalogOverrideWarning)
        for folder in folders:
            use_folder(folder)
    said = [" ".join(str(item.message).split()) for item in caught if item.category is CatalogOverrideWarning]
    lines = said[:MAX_SHOWN]
    if len(said) > MAX_SHOWN:
        lines.append(f"{len(said) - MAX_SHOWN} more entries are replaced")
    if lines:
        write_text("".join(f"warning: {plain(line)}\n" for line in lines), sys.stderr)
