"""Amounts that cost nothing and that nothing needs, made as small as the relations of a plan let them be."""

from __future__ import annotations

import numpy as np

from mlsysim_opt.optimize.coupled.blocks import FITS
from mlsysim_opt.optimize.coupled.compile import Compiled
from mlsysim_opt.optimize.coupled.program import Array


def lowered(compiled: Compiled, x: Array) -> Array:
    """Return a plan with the amounts of `Family.least` one by one as small as all others let them be.

    No row is violated that was not, and no cost changes.
    """
    families = [family for family in compiled.columns if family.least]
    if not families:
        return x
    program, x = compiled.program, x.copy()
    added = np.bincount(program.index, weights=program.value * x[program.entry_column], minlength=program.rows)
    for family in families:
        span = compiled.span(family)
        spare = (x[span] > program.low[span]) & (program.cost[span] == 0)
        for column in span.start + np.flatnonzero(spare):
            entries = slice(program.start[column], program.start[column + 1])
            rows, value = program.index[entries], program.value[entries]
            room = np.where(value > 0, added[rows] - program.row_low[rows], program.row_high[rows] - added[rows])
            step = min(x[column] - program.low[column], np.min(room / np.abs(value), initial=np.inf))
            if family.whole:
                step = np.floor(step + FITS)
            if step > 0:
                x[column] -= step
                added[rows] -= value * step
    return x
