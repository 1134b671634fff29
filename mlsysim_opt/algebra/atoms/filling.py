"""Batches of requests that come at random (Poisson arrivals): how long they fill, and how long the full ones wait.

The k-th last request of a batch waits for k - 1 more arrivals; each place is as likely. With N arrivals, Poisson of
mean x, in a time of x mean times between arrivals, the share that still waits then in a batch of b requests is

    E[(b - 1 - N)+] / b = ((b - 1) P(N < b - 1) - x P(N < b - 2)) / b.

Sources: Kleinrock 1975, section 2.4 (Poisson counts and Erlang times); Kingman 1970 (how the chance of a wait decays);
Chatzigeorgiou 2013 (bound on Lambert's W, from which the search of that rate starts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms.base import Atom, Typing, plain_number
from mlsysim_opt.algebra.atoms.normal import each
from mlsysim_opt.algebra.expression import ATOMS, Expression, short
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import NONE

SLACK = 1e-11
"""Relative width by which bounds are widened: more than rounding and root finding can be wrong."""
KEPT = 1 << 16
"""Values that are kept: a table of designs asks for the same few over and over."""
STEPS = 200
"""Newton steps at most; a few dozen are needed."""


def _likelihood(count: float, mean: float) -> float:
    """Return the chance of exactly `count` Poisson events."""
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))


@lru_cache(maxsize=KEPT)
def below(count: float, mean: float) -> float:
    """Return the chance of fewer than `count` Poisson events, summed from its larger end on the smaller side."""
    if not (mean >= 0 and count == count):
        return math.nan
    if count <= 0 or math.isinf(mean):
        return 0.0
    if mean == 0 or math.isinf(count):
        return 1.0
    lower = mean >= count
    at = count - 1 if lower else count
    term = total = 1.0
    while term > 1e-17 * total:
        at += 0 if lower else 1
        term *= at / mean if lower else mean / at
        at -= 1 if lower else 0
        total += term
    side = _likelihood(count - 1 if lower else count, mean) * total
    return min(1.0, side if lower else 1 - side)


class PoissonBelow(Atom):
    """The chance of fewer than `count` events where `mean` are expected: ``poisson_below(count, mean)``."""

    name = function = "poisson_below"

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        return _counted(self.name, args)

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return below(*values)

    def array(self, *values: Any, param: Any = None) -> Any:
        return each(below, *values)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        count, mean = intervals
        low, high = (below(count[end], max(mean[1 - end], 0.0)) for end in (0, 1))
        return Interval(max(0.0, low - SLACK), min(1.0, high + SLACK))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        if index == 0:
            return None
        count, mean = node.args
        return self(count - 1, mean) - node  # less the chance of exactly count - 1

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1 if index == 0 else -1

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"P\left(\mathrm{{Poisson}}_{{{args[1]}}} < {args[0]}\right)"


@lru_cache(maxsize=KEPT)
def quantile(size: float, level: float) -> float:
    """Return the time, in mean times between arrivals, that a share `level` of a batch waits at most until it is full.

    Newton's method from below: the waiting share is convex and falls, so that no step goes beyond the root.
    """
    if not (size >= 1 and 0 <= level <= 1):
        return math.nan
    others, goal = size - 1, size * (1 - level)
    if others <= goal:
        return 0.0
    if goal == 0 or math.isinf(size):
        return math.inf
    time = max(others - goal, 0.0)  # at least: those who wait are others - time, or more
    for _ in range(STEPS):
        waits = below(others, time)
        left = others * waits - time * below(others - 1, time) - goal
        if waits <= 0 or left <= 0 or time + left / waits == time:
            break
        time += left / waits
    return time


class FillingQuantile(Atom):
    """How long a request waits until its batch is full: ``filling_quantile(size, level)``, in mean interarrival times.

    A share `level` of all requests waits no longer. None waits in a batch of one.
    """

    name = function = "filling_quantile"
    total = False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        return _counted(self.name, args)

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return quantile(*values)

    def array(self, *values: Any, param: Any = None) -> Any:
        return each(quantile, *values)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (quantile(max(intervals[0][end], 1.0), min(max(intervals[1][end], 0.0), 1.0)) for end in (0, 1))
        return Interval(low * (1 - SLACK), high * (1 + SLACK))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        if index == 0:
            return None
        size = node.args[0]
        slope = size / ATOMS["poisson_below"](size - 1, node)
        return ATOMS["where"](node > 0, slope, 0)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"F_{{{args[1]}}}\left({args[0]}\right)"


# full batches that wait -----------------------------------------------------------------------------------------------
NEAR = 1e-6
"""So near to saturation the series is exact to rounding, and the equation is not."""

LEAST = 1e-290
"""Below this load the root is beyond what a float holds."""


def decay(load: Any) -> Any:
    """Return the positive root y of load y = ln(1 + y), for an array of loads: Newton's method on z = ln(1 + y).

    load (e^z - 1) - z is convex and the start lies above the root, so that no step goes beyond it.
    """
    load = np.asarray(load, dtype=float)
    left = np.maximum(1 - load, 0.0)
    series = 2 * left + 8 / 3 * left**2
    inner = (load > LEAST) & (left > NEAR)
    rho = np.where(inner, load, 0.5)
    excess = -np.log(rho) - (1 - rho)
    at = np.log((1 + np.sqrt(2 * excess) + excess) / rho)
    for _ in range(STEPS):
        step = (rho * np.expm1(at) - at) / (rho * np.exp(at) - 1)
        at = at - step
        if np.all(np.abs(step) <= 1e-15 * at):
            break
    solved = np.where(inner, np.expm1(at), np.where(left > 0, series, 0.0))
    return np.where(load >= 0, np.where(load <= LEAST, np.inf, solved), np.nan)


class WaitDecay(Atom):
    """How fast the chance of a long wait for a server falls: ``wait_decay(utilization)``, per mean time of an arrival.

    Servers take a constant time for a batch of a constant number of requests that come at random. The chance that a
    full batch waits longer than x mean times between arrivals is at most exp(-y x), where y > 0 is the root of
    utilization y = ln(1 + y): with y in place of the exponent, the work of a batch and the arrivals of the next
    balance (Kingman 1970). 0 from saturation on.
    """

    name = function = "wait_decay"
    arity, total = 1, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        plain_number(self.name, args)
        return NONE, False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return float(decay(values[0]))

    def array(self, *values: Any, param: Any = None) -> Any:
        return decay(values[0])

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (float(decay(max(intervals[0][end], 0.0))) for end in (1, 0))
        return Interval(low * (1 - SLACK), high * (1 + SLACK))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        load = node.args[0]
        slope = node * (1 + node) / (1 - load * (1 + node))
        return ATOMS["where"](load < 1, slope, 0)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return -1

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\theta\left({args[0]}\right)"


def _counted(name: str, args: tuple[Expression, ...]) -> Typing:
    for arg in args:
        plain_number(name, (arg,))
    if not args[0].integer:
        raise InputError(f"{name} needs a whole number, but {short(args[0])} is not one by its type")
    return NONE, False, "number"
