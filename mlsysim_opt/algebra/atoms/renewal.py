"""The best interval between checkpoints of work that fails at random.

Source: Daly 2006, A higher order estimate of the optimum checkpoint interval for restart dumps, equations 13 and 17.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms.base import Atom, Inversion, Typing, plain_number
from mlsysim_opt.algebra.expression import ATOMS, Constant, Expression
from mlsysim_opt.algebra.interval import Interval

SLACK = 1e-11
"""Relative width by which bounds are widened: more than rounding and root finding can be wrong."""


class BestInterval(Atom):
    """The work between two checkpoints that loses the least time: ``best_interval(cost)``.

    Both are in mean times between failures: `cost` is the duration of one checkpoint, the value x solves
    -ln(1 - x) - x = cost, the zero of the derivative of Daly's expected run time. For small costs it is
    sqrt(2 cost) - 2/3 cost (Young 1974); it never reaches 1.
    """

    name = function = "best_interval"
    arity, total = 1, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        return plain_number(self.name, args), False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        (cost,) = values
        if not cost >= 0:
            return math.nan
        if cost == 0:
            return 0.0
        x = min(math.sqrt(2 * cost), -math.expm1(-1 - cost))
        if x == 1:
            return 1.0
        # Newton from above on a convex function: every step falls, until rounding
        for _ in range(60):
            lower = x - (_cost(x) - cost) * (1 - x) / x
            if not lower < x:
                break
            x = lower
        return x

    def array(self, *values: Any, param: Any = None) -> Any:
        cost = np.asarray(values[0], dtype=float)
        live = (cost > 0) & (cost < 700)
        some = np.where(live, cost, 1.0)
        x = np.minimum(np.sqrt(2 * some), -np.expm1(-1 - some))
        x = np.where(x == 1, np.nextafter(1.0, 0.0), x)
        for _ in range(60):
            lower = x - (_costs(x) - some) * (1 - x) / x
            falls = lower < x
            if not np.any(falls):
                break
            x = np.where(falls, lower, x)
        return np.where(live, x, np.where(cost >= 0, np.where(cost > 0, 1.0, 0.0), np.nan))

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (self.scalar(max(0.0, item)) for item in intervals[0])
        return Interval(low * (1 - SLACK), min(1.0, high * (1 + SLACK)))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return (1 - node) / node

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        return Inversion(-ATOMS["log"](1 - target) - target, (target >= Constant(0), target < Constant(1)))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"1 + W_0\left(-e^{{-1 - \left({args[0]}\right)}}\right)"


def _cost(x: float) -> float:
    """Return -ln(1 - x) - x without cancellation."""
    if x < 0.01:
        return x * x * (1 / 2 + x * (1 / 3 + x * (1 / 4 + x * (1 / 5 + x * (1 / 6 + x * (1 / 7 + x / 8))))))
    return -math.log1p(-x) - x


def _costs(x: Any) -> Any:
    series = x * x * (1 / 2 + x * (1 / 3 + x * (1 / 4 + x * (1 / 5 + x * (1 / 6 + x * (1 / 7 + x / 8))))))
    return np.where(x < 0.01, series, -np.log1p(-x) - x)
