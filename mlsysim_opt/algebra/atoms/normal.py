"""The normal distribution, and what a Gaussian mechanism reveals.

Source: Dong, Roth and Su 2019, Gaussian Differential Privacy, Corollary 2.13 (epsilon, delta and mu).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.atoms.base import Atom, Typing, need_numbers, plain_number
from mlsysim_opt.algebra.expression import ATOMS, Constant, Expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.roots import brent
from mlsysim_opt.units import NONE

SLACK = 1e-9
"""Relative width by which bounds are widened: more than rounding and root finding can be wrong."""
_ROOT = math.sqrt(2 * math.pi)


def normal_tail(x: float) -> float:
    """Return the share of a standard normal variable above `x`."""
    return math.erfc(x / math.sqrt(2)) / 2


def log_normal_tail(x: float) -> float:
    """Return the logarithm of the share above `x`, also where the share itself is no longer a float."""
    if x < 30:
        return math.log(normal_tail(x))
    y = 1 / x / x
    return -x * x / 2 - math.log(x * _ROOT) + math.log1p(-y + 3 * y**2 - 15 * y**3)


class NormalTail(Atom):
    """The share of a standard normal variable above a number."""

    name = function = "normal_tail"
    arity = 1

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        return plain_number(self.name, args), False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return normal_tail(values[0])

    def array(self, *values: Any, param: Any = None) -> Any:
        return each(normal_tail, *values)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (normal_tail(item) for item in reversed(intervals[0]))
        return iv.widen_power(low * (1 - SLACK), min(1.0, high * (1 + SLACK) + iv.TINY))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return ATOMS["exp"](-(node.args[0] ** 2) / 2) / Constant(-_ROOT)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return -1

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\Phi\left(-\left({args[0]}\right)\right)"


class GaussianPrivacy(Atom):
    """How far apart two unit normal distributions may be, so that telling them apart is (epsilon, delta)-private.

    ``gaussian_privacy(epsilon, delta)`` is mu with Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) = delta:
    a mechanism that adds noise of standard deviation sigma to a sum of sensitivity 1 has mu = 1/sigma.
    """

    name = function = "gaussian_privacy"
    total = False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.name, args)
        for item in args:
            plain_number(self.name, (item,))
        return NONE, False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        epsilon, delta = (float(item) for item in values)
        if not (epsilon >= 0 and 0 <= delta <= 1):
            return math.nan
        if delta == 0:
            return 0.0
        if delta == 1 or math.isinf(epsilon):
            return math.inf

        def gap(mu: float) -> float:
            return gaussian_delta(epsilon, mu) - delta

        low, high = 0.0, 1.0
        while gap(high) < 0:
            low, high = high, 2 * high
        return brent(gap, low, high, -delta if low == 0 else gap(low), gap(high))

    def array(self, *values: Any, param: Any = None) -> Any:
        return each(self.scalar, *values)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (self.scalar(max(0.0, intervals[0][end]), min(1.0, max(0.0, intervals[1][end]))) for end in (0, 1))
        return Interval(low * (1 - SLACK), high * (1 + SLACK))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        epsilon = node.args[0]
        nearer, farther = epsilon / node - node / 2, epsilon / node + node / 2
        density = ATOMS["exp"](-(nearer**2) / 2) / Constant(_ROOT)
        # d delta/d mu is the density at the nearer point, d delta/d epsilon is -e^epsilon times the farther tail
        return 1 / density if index == 1 else ATOMS["exp"](epsilon) * ATOMS["normal_tail"](farther) / density

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\mu_{{{args[0]},\,{args[1]}}}"


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Return delta for epsilon and mu (Dong, Roth and Su 2019, Corollary 2.13)."""
    if mu == 0:
        return 0.0
    return normal_tail(epsilon / mu - mu / 2) - math.exp(min(0.0, epsilon + log_normal_tail(epsilon / mu + mu / 2)))


def each(function: Any, *values: Any) -> Any:
    """Return what a function of floats gives for arrays of them."""
    shaped = np.broadcast_arrays(*(np.asarray(item, dtype=float) for item in values))
    flat = zip(*(item.ravel().tolist() for item in shaped), strict=True)
    return np.array([function(*row) for row in flat], dtype=float).reshape(shaped[0].shape)
