"""``python -m mlsysim_opt.cli`` is ``mlsysim-opt``."""

from __future__ import annotations

import sys

from mlsysim_opt.cli import main

if __name__ == "__main__":
    sys.exit(main())
