"""Room for rounding in the rows of a program: what a solver calls infeasible may be no more than that.

Solvers' tolerances are absolute. The rounding of floating-point sums grows with what a row adds up, and an amount that
an equation determines moves by that rounding over its coefficient: away from a whole number, or from what other rows
ask for. Where either is beyond the tolerance, a plan that meets its equations to the last digit may pass for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, finite_sizes

ROUNDED = 1e-13
"""Share of what a row adds up that is rounding, where several of them are solved for one another."""
COARSEST = 1e-6
"""The largest tolerance, however far amounts move."""
HOLDS = 1e-9
"""A plan that violates no row by more than this share of what it adds up holds."""

Answer = TypeVar("Answer")


def up_to_rounding(
    program: LinearProgram,
    answer: Answer,
    solve: Callable[[LinearProgram, float], tuple[Answer, Array | None]],
    tolerance: float,
    *,
    whole: bool,
) -> Answer:
    """Return the answer to a scaled program without plans once it is the same with room for rounding; else the new one.

    What rows add up only a plan tells. So there is room for the most that it could be at first. If the plan of that
    does not hold, there is room for what it adds up.

    Args:
        answer: that there are no plans. solve: returns the answer to a program at a tolerance, and the amounts, if any.
            tolerance: of the solver. whole: whether amounts have to be whole.
    """
    amounts = reach(program)
    for _ in range(2):
        room = ROUNDED * program.row_sizes(amounts)
        apart = _moved(program, room)
        if max(apart, float(np.max(room, initial=0.0))) <= tolerance:
            break
        roomy = replace(program, row_low=program.row_low - room, row_high=program.row_high + room)
        answer, found = solve(roomy, min(COARSEST, max(tolerance, apart)))
        if found is None:
            break
        amounts = np.where(program.whole, np.round(found), found) if whole else found
        if np.max(program.row_violations(amounts), initial=0.0) <= HOLDS:
            break
    return answer


def reach(program: LinearProgram) -> Array:
    """Return how large each amount may be: by its bounds, and by the most that any limit alone asks for or lets be."""
    some = program.value != 0
    limits = finite_sizes(program.row_low, program.row_high)[program.index[some]]
    most = np.zeros(program.columns)
    np.maximum.at(most, program.entry_column[some], limits / np.abs(program.value[some]))
    own = np.maximum(np.abs(program.low), np.abs(program.high))
    return np.maximum(np.minimum(most, own), finite_sizes(program.low, program.low))


def _moved(program: LinearProgram, room: Array) -> float:
    """Return the most that an amount moves within the room of an equation that determines it."""
    equations = program.row_low == program.row_high
    some = (program.value != 0) & equations[program.index]
    return float(np.max(room[program.index[some]] / np.abs(program.value[some]), initial=0.0))
