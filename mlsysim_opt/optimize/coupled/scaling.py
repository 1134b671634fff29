"""Units in which a program's numbers are about one: solvers' tolerances are absolute.

Rows are scaled to a largest coefficient of about one, costs so that the answer is a few thousand, continuous amounts to
what limits them where that is far from one. Units are powers of two: scaling, and scaling back, is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mlsysim_opt.errors import ScaleError
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram

LARGE = 4096.0
"""The size that the answer is scaled to: absolute tolerances of 1e-9 are then 2e-13 of it."""
LEAST = 1e-6
"""An answer of less than this share of the largest cost is scaled as if it were of that share."""
TINIEST = 1e-12
"""Solvers take coefficients below this for nothing, beside a largest of one in the row."""
UNIT = 1e-9
"""Beside a largest of one in the row, one more of a whole amount is less than solvers' tolerance."""
LARGEST = 1e15
"""Limits and costs beyond this are no numbers to a solver."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """The units of a program's rows, columns and costs.

    Attributes:
        program: in these units, without its offset.
    """

    rows: Array
    columns: Array
    cost: float
    program: LinearProgram

    @staticmethod
    def of(program: LinearProgram, size: float | None = None) -> Scaling:
        """Return units for a program.

        Args:
            size: about how much the costs of the answer add up to, without signs, where known.
        Raises:
            ScaleError: a number is not finite, or numbers are so far apart that a solver would take some for nothing.
        """
        checked(program)
        columns = column_units(program)
        rows = _power(_largest(program.index, program.value * columns[program.entry_column], program.rows))
        cost = _cost_unit(program, columns, size)
        if not cost > np.finfo(float).tiny * float(np.max(columns, initial=1.0)):
            raise ScaleError("costs are too small for floating-point numbers", path="objective",
                             hint="use smaller units, or a larger factor")  # fmt: skip
        made = replace(
            program,
            cost=program.cost * (columns / cost),
            low=program.low / columns,
            high=program.high / columns,
            row_low=program.row_low / rows,
            row_high=program.row_high / rows,
            value=program.value / rows[program.index] * columns[program.entry_column],
            offset=0.0,
        )
        _within_reach(made)
        return Scaling(rows, columns, cost, made)

    def extended(self, more: LinearProgram) -> tuple[Scaling, LinearProgram]:
        """Return units for further columns of the same rows too, and those columns in them."""
        checked(more)
        size = _largest(more.entry_column, more.value / self.rows[more.index], more.columns)
        columns = np.where(~more.whole & (size > 0), 1.0 / _power(size), 1.0)
        made = replace(
            more,
            cost=more.cost * (columns / self.cost),
            low=more.low / columns,
            high=more.high / columns,
            value=more.value / self.rows[more.index] * columns[more.entry_column],
        )
        return replace(self, columns=np.concatenate([self.columns, columns])), made

    def amounts(self, x: Array) -> Array:
        """Return amounts of the scaled program as amounts."""
        return x * self.columns

    def duals(self, duals: Array) -> Array:
        """Return duals of the scaled program as duals."""
        return duals / self.rows * self.cost


def checked(program: LinearProgram) -> None:
    """Refuse numbers that are none: they are not handed to a solver.

    Raises:
        ScaleError: a cost or coefficient is not finite, or a limit is not a number.
    """
    for name, numbers in (("a cost", program.cost), ("a coefficient", program.value)):
        if not np.all(np.isfinite(numbers)):
            raise ScaleError(f"{name} is not a finite number; it is not handed to a solver", path="program")
    for limits in (program.row_low, program.row_high, program.low, program.high):
        if np.isnan(limits).any():
            raise ScaleError("a limit is not a number; it is not handed to a solver", path="program")


def _within_reach(scaled: LinearProgram) -> None:
    """Refuse what a solver would silently take for zero, or for no limit."""
    least = np.where(scaled.whole[scaled.entry_column], UNIT, TINIEST)
    tiny = (np.abs(scaled.value) < least) & (scaled.value != 0)
    if tiny.any():
        most = np.maximum(np.abs(scaled.low), np.abs(scaled.high))[scaled.entry_column[tiny]]
        limits = np.stack([np.abs(scaled.row_low), np.abs(scaled.row_high)])
        limits[~np.isfinite(limits)] = np.inf
        room = TINIEST * np.min(limits, axis=0)[scaled.index[tiny]]
        if np.any(np.abs(scaled.value[tiny]) * most > room):
            raise ScaleError(
                f"coefficients of one limit are {float(np.min(np.abs(scaled.value[tiny]))):.0e} of one another: "
                "a solver would take the smaller for nothing",
                path="program",
                hint="leave out what is too small to matter, split the limit, or count in larger units",
            )
    for name, numbers in (
        ("a limit", np.concatenate([scaled.row_low, scaled.row_high])),
        ("a bound", np.concatenate([scaled.low, scaled.high])),
        ("a cost", scaled.cost),
    ):
        beyond = np.isfinite(numbers) & (np.abs(numbers) > LARGEST)
        if beyond.any():
            raise ScaleError(
                f"{name} is {float(np.max(np.abs(numbers[beyond]))):.1g} times what stands beside it: "
                "a solver would take it for infinite",
                path="program",
                hint="leave out limits that cannot be reached, or use larger units",
            )


def _power(size: Array) -> Array:
    """Return the power of two nearest below each size; one where there is none."""
    known = (size > 0) & np.isfinite(size)
    return np.exp2(np.where(known, np.floor(np.log2(np.where(known, size, 1.0))), 0.0))


def _largest(places: Array, numbers: Array, count: int) -> Array:
    size = np.zeros(count)
    np.maximum.at(size, places, np.abs(numbers))
    return size


def column_units(program: LinearProgram) -> Array:
    """Return the unit of each amount: whole ones stay; others get coefficients of about one, unless limits say more."""
    units = np.ones(program.columns)
    amounts = ~program.whole
    if not amounts.any():
        return units
    column = program.entry_column
    rows = _power(_largest(program.index, program.value, program.rows))
    size = _largest(column, program.value / rows[program.index], program.columns)
    units = np.where(amounts & (size > 0), 1.0 / _power(size), 1.0)
    natural = _natural(program)
    off = amounts & ((natural > 1e6 * units) | (natural < 1e-3 * units)) & (natural > 0)
    fitting = np.where(off, _power(natural), units)
    value = program.value * fitting[column]
    lost = np.abs(value) < TINIEST * _largest(program.index, value, program.rows)[program.index]
    fitting[column[lost]] = units[column[lost]]
    return fitting


def _natural(program: LinearProgram) -> Array:
    """Return how large each amount may be by its own bound and each limit alone; zero where nothing says."""
    column, sign = program.entry_column, program.value > 0
    above = np.where(sign, program.row_high[program.index], program.row_low[program.index])
    below = np.where(sign, program.row_low[program.index], program.row_high[program.index])
    most = np.where(np.isfinite(program.high) & (program.high > 0), program.high, math.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        limited = np.isfinite(above) & (above != 0) & (program.value != 0)
        np.minimum.at(most, column[limited], np.abs(above[limited] / program.value[limited]))
        asked = np.isfinite(below) & (below != 0) & (program.value != 0)
        least = np.zeros(program.columns)
        np.maximum.at(least, column[asked], np.abs(below[asked] / program.value[asked]))
    return np.where(np.isfinite(most), most, least)


def least_size(program: LinearProgram) -> float:
    """Return the size that an answer is scaled as, where it is smaller: what is below is rounding of its costs."""
    return LEAST * _largest_cost(program, column_units(program))


def _largest_cost(program: LinearProgram, columns: Array) -> float:
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(program.cost) * columns, initial=0.0))


def _cost_unit(program: LinearProgram, columns: Array, size: float | None) -> float:
    """Return the unit of costs, a power of two; zero where it would be too small for a number.

    Raises:
        ScaleError: it would be too large.
    """
    largest = _largest_cost(program, columns)
    if not math.isfinite(largest):
        raise ScaleError("costs are too large for floating-point numbers", path="objective",
                         hint="use larger units, or a smaller factor")  # fmt: skip
    if largest == 0:
        return 1.0
    size = abs(size) if size is not None and math.isfinite(size) else largest
    unit = max(size, largest * LEAST) / LARGE
    return float(2.0 ** math.floor(math.log2(unit))) if unit > 0 else 0.0
