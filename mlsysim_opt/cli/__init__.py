"""The command line `mlsysim-opt`: what the library can do, as tables for people and as JSON for programs.

Importing this package imports nothing: a command loads what it needs when it runs, so that ``--help`` and
``--version`` answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; never raises.

    Args:
        arguments: what follows the program's name; by default those of this process.
    """
    from mlsysim_opt.cli.run import run

    return run(list(sys.argv[1:] if arguments is None else arguments))
