"""How much noise makes many small looks at the data private: an upper bound, so that what is promised holds.

A step takes every example with probability q (Poisson sampling), adds their clipped gradients and normal noise of
sigma times the clipping norm. The Renyi divergence of whole order a of one step is ln(A) / (a - 1) with

    A = sum over k of C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 sigma^2)),

divergences of steps add up, and T of them are private with

    epsilon = T ln(A) / (a - 1) + ln(1 - 1/a) - (ln(delta) + ln(a)) / (a - 1)

for every order a; the least is taken. Steps on a sample reveal no more than steps on all data, which together are one
Gaussian mechanism of mu = sqrt(T) / sigma: where this exact answer is the better one, it is taken.

Neighbours are data sets of which one holds one example more.

Sources: Mironov, Talwar and Zhang 2019, Renyi Differential Privacy of the Sampled Gaussian Mechanism, section 3.3;
Canonne, Kamath and Steinke 2020, The Discrete Gaussian for Differential Privacy, Proposition 12 (epsilon from orders);
Dong, Roth and Su 2019, Gaussian Differential Privacy, Corollary 2.13 and section 3 (steps on all data).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.atoms.base import Atom, Typing, need_numbers, plain_number
from mlsysim_opt.algebra.atoms.normal import SLACK, GaussianPrivacy, each, log_normal_tail
from mlsysim_opt.algebra.expression import ATOMS, Constant, Expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.roots import brent
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import NONE

ORDERS = (*range(2, 65), *range(72, 129, 8), *range(160, 257, 32), *range(320, 513, 64), *range(640, 1025, 128))
"""Orders of which the best is taken. More of them make the bound tighter, never wrong."""
ABOVE = 1 + 1e-11
"""By how much a root is moved to the safe side: more than its search can be wrong."""
LEAST_LOG_RATE = math.log(1e-300)


# one step -------------------------------------------------------------------------------------------------------------
class _Terms(NamedTuple):
    """What the sums of all orders have in common for all noises and rates, one after the other; k from 2 on."""

    orders: Any
    starts: Any
    """Where the terms of each order begin."""
    chosen: Any
    others: Any
    """k, and the order less k."""
    log_count: Any
    """Logarithms of the binomial coefficients."""
    exponent: Any
    """(k^2 - k) / 2."""


@cache
def _terms() -> _Terms:
    orders = np.array(ORDERS, dtype=float)
    counts = np.array(ORDERS) - 1
    logs = np.array([math.lgamma(item + 1) for item in range(ORDERS[-1] + 1)])
    order = np.repeat(np.array(ORDERS), counts)
    chosen = np.concatenate([np.arange(2, item + 1) for item in ORDERS])
    log_count = logs[order] - logs[chosen] - logs[order - chosen]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return _Terms(orders, starts, chosen * 1.0, (order - chosen) * 1.0, log_count, (chosen * chosen - chosen) / 2.0)


def _log_parts(noise: float, rate: float) -> Any:
    """Return the logarithms of what each term adds to 1, so that sums near to 1 keep their digits."""
    of = _terms()
    with np.errstate(all="ignore"):
        power = of.exponent / noise / noise
        chance = of.log_count + of.chosen * math.log(rate) + of.others * math.log1p(-rate)
        return chance + power + np.log(-np.expm1(-power))


def _log_sums(parts: Any) -> Any:
    """Return ln(A) of every order; infinite where it is no longer a float."""
    of = _terms()
    with np.errstate(all="ignore"):
        largest = np.maximum.reduceat(parts, of.starts)
        scaled = np.exp(parts - np.repeat(largest, np.diff([*of.starts, len(parts)])))
        sums = np.logaddexp(0.0, largest + np.log(np.add.reduceat(scaled, of.starts)))
        return np.where(largest == -np.inf, 0.0, np.where(np.isnan(sums), np.inf, sums))


def _epsilons(noise: float, delta: float, rate: float, steps: float) -> Any:
    """Return the bound by every order."""
    orders = _terms().orders
    sums = _log_sums(_log_parts(noise, rate))
    return steps * sums / (orders - 1) + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)


def renyi_epsilon(noise: float, delta: float, rate: float, steps: float) -> float:
    """Return the bound of epsilon by the best of `ORDERS`, for a rate in (0, 1)."""
    return float(np.min(_epsilons(noise, delta, rate, steps)))


def _of_all_data(epsilon: float, delta: float, steps: float) -> float:
    """Return the noise of steps on all data, exactly."""
    mu = ATOMS[GaussianPrivacy.name].scalar(epsilon, delta)
    return math.sqrt(steps) / mu if mu > 0 else math.inf


@lru_cache(maxsize=8192)
def _noise(epsilon: float, delta: float, rate: float, steps: float) -> float:
    most = _of_all_data(epsilon, delta, steps)
    if rate == 1 or not math.isfinite(most):
        return most

    def gap(log_noise: float) -> float:
        return min(renyi_epsilon(math.exp(log_noise), delta, rate, steps) - epsilon, 1e300)

    high = math.log(most)
    at_high = gap(high)
    if at_high > 0:
        return most
    low, at_low = high - math.log(2), gap(high - math.log(2))
    while at_low <= 0:
        high, at_high = low, at_low
        low -= math.log(2)
        at_low = gap(low)
    return min(most, math.exp(brent(gap, low, high, at_low, at_high)) * ABOVE)


@lru_cache(maxsize=8192)
def _rate(epsilon: float, delta: float, noise: float, steps: float) -> float:
    if noise >= _of_all_data(epsilon, delta, steps):
        return 1.0

    def gap(log_rate: float) -> float:
        return min(renyi_epsilon(noise, delta, math.exp(log_rate), steps) - epsilon, 1e300)

    low, high = LEAST_LOG_RATE, math.log1p(-1e-9)
    at_low, at_high = gap(low), gap(high)
    if at_low > 0:
        return 0.0
    return math.exp(high if at_high <= 0 else brent(gap, low, high, at_low, at_high)) / ABOVE


# how the numbers trade ------------------------------------------------------------------------------------------------
NOISE, EPSILON, DELTA, RATE, STEPS = range(5)


def _partials(noise: float, epsilon: float, delta: float, rate: float, steps: float) -> tuple[float, ...]:
    """Return the slopes by all five numbers of what is zero where noise and privacy fit each other."""
    if noise >= _of_all_data(epsilon, delta, steps) / ABOVE or rate >= 1:
        mu = math.sqrt(steps) / noise
        density = math.exp(-((epsilon / mu - mu / 2) ** 2) / 2) / math.sqrt(2 * math.pi)
        by_epsilon = -math.exp(epsilon + log_normal_tail(epsilon / mu + mu / 2))
        return -density * mu / noise, by_epsilon, -1.0, 0.0, density * mu / (2 * steps)
    of, parts = _terms(), _log_parts(noise, rate)
    best = int(np.argmin(_epsilons(noise, delta, rate, steps)))
    order = float(of.orders[best])
    own = slice(int(of.starts[best]), int(of.starts[best]) + int(order) - 1)
    log_sum = float(_log_sums(parts)[best])
    weight, power = np.exp(parts[own] - log_sum), of.exponent[own] / noise**2
    by_noise = float(np.sum(weight * (-2 * power / noise) / -np.expm1(-power)))
    by_rate = float(np.sum(weight * (of.chosen[own] / rate - of.others[own] / (1 - rate))))
    each_step = steps / (order - 1)
    return each_step * by_noise, -1.0, -1 / (delta * (order - 1)), each_step * by_rate, log_sum / (order - 1)


class PrivacyTrade(Atom):
    """How one number of a private training changes with another, all else equal.

    ``privacy_trade(of, by, noise, epsilon, delta, rate, steps)`` with `of` and `by` the positions of two of the last
    five: the slopes of `private_noise` and `private_rate`, by implicit differentiation at the order that decides.
    """

    name = function = "privacy_trade"
    arity, total, continuous = 7, False, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        for item in args:
            plain_number(self.name, (item,))
        return NONE, False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        of, by = int(values[0]), int(values[1])
        noise, epsilon, delta, rate, steps = (float(item) for item in values[2:])
        proper = epsilon > 0 and 0 < delta < 1 and rate > 0 and steps > 0 and 0 < noise < math.inf
        if not (proper and math.isfinite(epsilon + rate + steps)):
            return math.nan
        slopes = _partials(noise, epsilon, delta, rate, steps)
        if slopes[of] == 0:
            return 0.0  # the whole of the data: no rate is above 1
        return -slopes[by] / slopes[of]

    def array(self, *values: Any, param: Any = None) -> Any:
        return each(self.scalar, *values)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        raise InputError("the second derivative of a noise that keeps privacy is not known", hint="compare neighbours")


class _Private(Atom):
    """What both have in common: four plain numbers, of which the first is epsilon and the second delta."""

    arity, total = 4, False
    own: int
    """The position in `PrivacyTrade` of what is found."""
    places: tuple[int, int, int, int]
    """The positions there of the four arguments."""
    directions: tuple[int, int, int, int]
    """Whether it rises or falls with each of them."""

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.name, args)
        for item in args:
            plain_number(self.name, (item,))
        return NONE, False, "number"

    def array(self, *values: Any, param: Any = None) -> Any:
        return each(self.scalar, *values)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        inside = [(max(0.0, item.low), max(0.0, item.high)) for item in intervals]
        inside[1] = (min(1.0, inside[1][0]), min(1.0, inside[1][1]))
        ends = []
        for end, unknown in ((0, 0.0), (1, math.inf)):
            corner = [
                pair[end] if way > 0 else pair[1 - end] for pair, way in zip(inside, self.directions, strict=True)
            ]
            value = float(self.scalar(*corner))
            ends.append(unknown if math.isnan(value) else value)
        return Interval(ends[0] * (1 - SLACK), ends[1] * (1 + SLACK))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        five: list[Expression] = [node] * 5
        for place, item in zip(self.places, node.args, strict=True):
            five[place] = item
        return ATOMS[PrivacyTrade.name](Constant(self.own), Constant(self.places[index]), *five)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return self.directions[index]


class PrivateNoise(_Private):
    """The noise that makes steps on samples private.

    ``private_noise(epsilon, delta, rate, steps)`` is the least standard deviation over the clipping norm for which the
    bound of the module is at most epsilon. Rates above 1 count as 1.
    """

    name = function = "private_noise"
    own, places, directions = NOISE, (EPSILON, DELTA, RATE, STEPS), (-1, -1, 1, 1)

    def scalar(self, *values: Any, param: Any = None) -> Any:
        epsilon, delta, rate, steps = (float(item) for item in values)
        if not (epsilon >= 0 and 0 <= delta <= 1 and rate >= 0 and steps >= 0):
            return math.nan
        if rate == 0 or steps == 0 or delta == 1 or math.isinf(epsilon):
            return 0.0
        if delta == 0 or math.isinf(steps):
            return math.inf
        return _noise(epsilon, delta, min(rate, 1.0), steps)

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\sigma_{{{args[0]},\,{args[1]}}}\left({args[2]},\, {args[3]}\right)"


class PrivateRate(_Private):
    """The share of the data that steps with a given noise may take.

    ``private_rate(epsilon, delta, noise, steps)`` is the largest rate for which `private_noise` is at most `noise`;
    1 where the noise is enough for all data, 0 where no rate is shown to be private by the orders that are tried.
    """

    name = function = "private_rate"
    continuous = False
    own, places, directions = RATE, (EPSILON, DELTA, NOISE, STEPS), (1, 1, 1, -1)

    def scalar(self, *values: Any, param: Any = None) -> Any:
        epsilon, delta, noise, steps = (float(item) for item in values)
        if not (epsilon >= 0 and 0 <= delta <= 1 and noise >= 0 and steps >= 0):
            return math.nan
        if steps == 0 or delta == 1 or math.isinf(epsilon):
            return 1.0
        if noise == 0 or delta == 0 or math.isinf(steps):
            return 0.0
        return 1.0 if math.isinf(noise) else _rate(epsilon, delta, noise, steps)

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"q_{{{args[0]},\,{args[1]}}}\left({args[2]},\, {args[3]}\right)"
