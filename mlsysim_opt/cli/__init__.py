"""The command line `mlsysim-opt`: what the library can do, as tables for people and as JSON for programs.

Importing this package imports nothing: a command loads what it needs when it runs, so that ``--help`` and
``--version`` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; never raises.

    Args:
        arguments: what follows the program's name; by default those of this process.
    """
    from mlsysim_opt.cli.run import run

    if arguments is not None:
        return run(list(arguments))
    status = run(sys.argv[1:])
    aside = sys.modules.get("mlsysim_opt.optimize.backends.aside")
    if aside is not None and aside.still_running():  # a solver that Ctrl-C did not reach: the process ends without it
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    return status
