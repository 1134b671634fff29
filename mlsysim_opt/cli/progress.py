"""Where a search stands, on standard error while it runs: seconds, incumbent, bound and gap; only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlsysim_opt.cli.output import plain

if TYPE_CHECKING:
    from mlsysim_opt.optimize.progress import Progress, Show


@contextmanager
def shown_progress() -> Iterator[Show | None]:
    """Yield what a search is to be watched by; nothing where standard error is no terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, markup=False, highlight=False, emoji=False, no_color="NO_COLOR" in os.environ)
    with console.status(Text("compiling")) as status:

        def show(progress: Progress) -> None:
            status.update(Text(plain(str(progress))))

        yield show
