"""What a program costs at least with one of its columns at one: what costs too much is left out of a search.

Source: probing, Savelsbergh, ORSA J. Comput. 6 (1994); by the whole relaxation, solved again warm for each column.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from mlsysim_opt.optimize.backends.highs import HighsProgram
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram


def with_each(program: LinearProgram, columns: Sequence[int], seconds: float | None = None) -> Array:
    """Return what no plan with each of some columns at one is below; minus infinity where time runs out.

    Args:
        columns: columns of amounts that are zero or one. seconds: for all of them; None: as long as it takes.
    """
    began = time.monotonic()
    solver = HighsProgram(program)
    found = np.full(len(columns), -math.inf)
    for at, column in enumerate(columns):
        left = None if seconds is None else seconds - (time.monotonic() - began)
        if left is not None and left <= 0:
            break
        solver.change_column(column, 1.0, 1.0)
        found[at] = solver.relaxation(time_limit=left).bound
        solver.change_column(column, float(program.low[column]), float(program.high[column]))
    return found
