"""Queues with several servers: who must wait, for how long, and the quantiles of the time in the system.

Sources: Erlang 1917 (delay formula); Kleinrock 1975, section 3.5 (M/M/c); Loader 2000 (Poisson probabilities without
cancellation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlsysim_opt.algebra.atoms.arithmetic import Exp
from mlsysim_opt.algebra.atoms.base import Atom, Inversion, Typing, need_numbers, plain_number, same_dimension
from mlsysim_opt.algebra.atoms.selection import Where
from mlsysim_opt.algebra.expression import ATOMS, Expression, Symbol, constant, short, substitute
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.roots import brent
from mlsysim_opt.errors import InputError, ScaleError
from mlsysim_opt.units import NONE, divide

SLACK = 1e-11
"""Relative width by which bounds are widened: more than rounding and root finding can be wrong."""
MOST_TERMS = 100_000
"""Terms of the series of the Erlang formula; so many are needed at saturation of 130 million servers."""


def _widened(low: float, high: float) -> Interval:
    return Interval(low * (1 - SLACK), high * (1 + SLACK))


# who must wait --------------------------------------------------------------------------------------------------------
def _remainder(servers: int) -> float:
    """Return what Stirling's formula leaves of ln(n!)."""
    if servers < 16:
        return math.lgamma(servers + 1) - (servers + 0.5) * math.log(servers or 1) + servers - math.log(2 * math.pi) / 2
    return 1 / (12 * servers) - 1 / (360 * servers**3) + 1 / (1260 * servers**5)


_REMAINDERS = np.array([_remainder(n) for n in range(16)])


def _waiting(load: Any, servers: Any, remainder: Any, lib: Any, pick: Any, done: Callable[[Any], bool]) -> Any:
    """Return the share of arrivals that wait, for 0 < load < servers; floats with `math`, arrays with `numpy`.

    With the Poisson probability p of `servers` arrivals, the share lost without a queue is B = p / (1 - p S), where
    S = a/(c+1) + a^2/((c+1)(c+2)) + ... sums the upper tail; with a queue it is B / (1 - (a/c)(1 - B)).
    """
    share = load / servers
    # 1 - share is exact where the logarithm is near zero; a tiny share would vanish beside 1
    logarithm = pick(share < 0.5, lib.log(share), lib.log1p(-pick(share < 0.5, 0.5, 1 - share)))
    likelihood = lib.exp(-servers * (share - 1 - logarithm) - remainder) / lib.sqrt(2 * math.pi * servers)
    term = load / (servers + 1)
    tail = term
    at = 2.0
    while not done(term <= 1e-17 * tail):
        term = term * (load / (servers + at))
        tail = tail + term
        at += 1
    lost = likelihood / (1 - likelihood * tail)
    return lost / (1 - share * (1 - lost))


def _pick(condition: Any, then: Any, otherwise: Any) -> Any:
    return then if condition else otherwise


def _all(truths: Any) -> bool:
    return bool(np.all(truths))


def _within_reach(load: float, servers: float) -> None:
    terms = min(40 * servers / max(servers - load, 1e-300), 9 * math.sqrt(servers))
    if terms > MOST_TERMS:
        raise ScaleError(f"erlang_c of {servers:.4g} servers so near to saturation (load {load:.6g})")


class ErlangC(Atom):
    """The share of arrivals that find all servers busy and wait: ``erlang_c(offered load, servers)``.

    Poisson arrivals, exponential service, first come first served (M/M/c). The offered load is the arrival rate times
    the mean service time, in servers. From saturation on everybody waits.
    """

    name = function = "erlang_c"
    total = False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        plain_number(self.name, args[:1])
        plain_number(self.name, args[1:])
        if not args[1].integer:
            raise InputError(f"erlang_c needs a whole number of servers, but {short(args[1])} is not one by its type")
        return NONE, False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        load, servers = values
        if not (load >= 0 and servers >= 0):
            return math.nan
        if load >= servers:
            return 1.0
        if load == 0:
            return 0.0
        _within_reach(load, servers)
        return _waiting(load, servers, _remainder(servers), math, _pick, bool)

    def array(self, *values: Any, param: Any = None) -> Any:
        load, servers = np.broadcast_arrays(*(np.asarray(item, dtype=float) for item in values))
        some = (load > 0) & (load < servers) & np.isfinite(servers)
        if not np.any(some):
            some_load, some_servers = np.array([0.5]), np.array([1.0])
        else:
            some_load, some_servers = load[some], servers[some]
        nearest = np.argmin((some_servers - some_load) / some_servers)
        _within_reach(float(some_load[nearest]), float(some_servers[nearest]))
        small = some_servers < 16
        table = _REMAINDERS[np.where(small, some_servers, 0).astype(np.intp)]
        large = np.where(small, 16.0, some_servers)
        remainder = np.where(small, table, 1 / (12 * large) - 1 / (360 * large**3) + 1 / (1260 * large**5))
        result = np.where((load >= 0) & (servers >= 0), np.where(load >= servers, 1.0, 0.0), np.nan)
        if np.any(some):
            result[some] = _waiting(some_load, some_servers, remainder, np, np.where, _all)
        return result

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        load, servers = intervals
        return Interval(self._end(load.low, servers.high, 0.0), self._end(load.high, servers.low, 1.0))

    def _end(self, load: float, servers: float, otherwise: float) -> float:
        try:
            exact = self.scalar(max(load, 0.0), max(servers, 0.0))
        except (ScaleError, OverflowError):
            return otherwise
        if not math.isfinite(servers) or math.isnan(exact):
            return otherwise
        return float(min(1.0, max(0.0, exact * (1 - SLACK if otherwise == 0.0 else 1 + SLACK))))

    def derivative(self, index: int, node: Expression) -> Expression | None:
        if index == 1:
            return None
        load, servers = node.args
        slope = node * ((1 - node) / (servers - load) + (servers - load) / load)
        return ATOMS["where"](load < servers, slope, 0)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return 1 if index == 0 else -1

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"C_{{{args[1]}}}\left({args[0]}\right)"


class ExponentialMean(Atom):
    """The mean of an exponential time with this rate; infinite where the rate is not positive.

    With the rate at which a queue drains, it is how long whoever waits does so: for ever from saturation on.
    """

    name = function = "exponential_mean"
    arity, total = 1, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.name, args)
        return divide(NONE, args[0].dimension), False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        (rate,) = values
        if rate != rate:
            return math.nan
        return 1 / rate if rate > 0 else math.inf

    def array(self, *values: Any, param: Any = None) -> Any:
        rate = np.asarray(values[0], dtype=float)
        positive = rate > 0
        return np.where(np.isnan(rate), np.nan, np.where(positive, 1 / np.where(positive, rate, 1.0), np.inf))

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        low, high = (self.scalar(item) for item in reversed(intervals[0]))
        return _widened(low, high)

    def derivative(self, index: int, node: Expression) -> Expression | None:
        return -(node**2)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        return -1

    def inverse(self, index: int, args: tuple[Expression, ...], target: Expression) -> Inversion | None:
        return Inversion(1 / target, (target > constant(0, target.dimension),))

    def latex(self, args: Sequence[str], param: Any) -> str:
        return rf"\frac{{1}}{{\left({args[0]}\right)^{{+}}}}"


# time in the system ---------------------------------------------------------------------------------------------------
class _Operations(NamedTuple):
    """What the formula of the distribution is written with: for floats, for arrays, for expressions."""

    exp: Callable[[Any], Any]
    where: Callable[[Any, Any, Any], Any]


_FLOATS = _Operations(math.exp, _pick)
_ARRAYS = _Operations(np.exp, np.where)
_EXPRESSIONS = _Operations(lambda item: ATOMS[Exp.name](item), lambda *args: ATOMS[Where.name](*args))


def _beyond(time: Any, chance: Any, wait: Any, mean: Any, use: _Operations) -> Any:
    """Return the probability that an exponential service and the wait before it take longer than `time`."""
    in_means = time / mean
    own = use.exp(-in_means)
    gap = 1 - mean / wait
    near = abs(gap) < 1e-5
    apart = (use.exp(-(time / wait)) - own) / use.where(near, 1.0, gap)
    together = own * in_means * (1 + in_means * gap / 2)
    return own + chance * use.where(near, together, apart)


def _survival(time: Any, chance: Any, wait: Any, fast: Any, slow: Any, share: Any, use: _Operations) -> Any:
    of_fast = _beyond(time, chance, wait, fast, use)
    return share * of_fast + (1 - share) * _beyond(time, chance, wait, slow, use)


TINIEST = 1e-15
"""A mean time is at least this share of the largest one: no ratio of two of them is then undefined."""


class SojournQuantile(Atom):
    """A quantile of waiting and service together.

    ``sojourn_quantile(chance, wait, fast, slow, share, level)``: with probability `chance` there is a wait, exponential
    with mean `wait`; the service is exponential with mean `fast` in a share of all cases and with mean `slow` in the
    others (one mean for an M/M/c queue, for which this is exact). Infinite where an endless wait is likelier than
    1 - `level`.
    """

    name = function = "sojourn_quantile"
    arity, total = 6, False

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers(self.name, args)
        for index in (0, 4, 5):
            plain_number(self.name, args[index : index + 1])
        return same_dimension("compare", args[1:4]), False, "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        chance, wait, fast, slow, share, level = values
        proper = 0 <= chance <= 1 and 0 <= share <= 1 and 0 <= level <= 1 and min(wait, fast, slow) >= 0
        if not proper or math.isnan(wait + fast + slow):
            return math.nan
        if level == 0:
            return 0.0
        if level == 1 or math.isinf(max(fast, slow)) or (math.isinf(wait) and chance > 1 - level):
            return math.inf
        largest = max(fast, slow, wait if math.isfinite(wait) and chance > 0 else 0.0)
        if largest == 0:
            return 0.0
        # Scaled to the largest mean; none is quite zero, so that no ratio of two is undefined.
        wait, fast, slow = (min(max(item / largest, TINIEST), 1 / TINIEST) for item in (wait, fast, slow))
        goal = math.log(1 - level)

        def gap(time: float) -> float:
            return goal - math.log(_survival(time, chance, wait, fast, slow, share, _FLOATS) or 1e-300)

        high = 1.0 - goal
        at_high = gap(high)
        while at_high < 0:
            high *= 2
            at_high = gap(high)
        return largest * brent(gap, 0.0, high, goal, at_high)

    def array(self, *values: Any, param: Any = None) -> Any:
        given = np.broadcast_arrays(*(np.asarray(item, dtype=float) for item in values))
        chance, wait, fast, slow, share, level = given
        small = np.minimum(np.minimum(wait, fast), slow)
        inside = (chance >= 0) & (chance <= 1) & (share >= 0) & (share <= 1) & (level >= 0) & (level <= 1)
        proper = inside & (small >= 0)
        endless = (level == 1) | np.isinf(np.maximum(fast, slow)) | (np.isinf(wait) & (chance > 1 - level))
        largest = np.maximum(np.maximum(fast, slow), np.where(np.isfinite(wait) & (chance > 0), wait, 0.0))
        solve = proper & ~endless & (level > 0) & (largest > 0)
        result = np.where(proper, np.where(endless & (level > 0), np.inf, 0.0), np.nan)
        if np.any(solve):
            scale = largest[solve]
            some = [np.clip(item[solve] / scale, TINIEST, 1 / TINIEST) for item in (wait, fast, slow)]
            with np.errstate(all="ignore"):
                result[solve] = scale * _quantiles(chance[solve], some[0], some[1], some[2], share[solve], level[solve])
        return result

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        # It rises with all arguments but the share, and for any of these it moves one way with the share.
        share = intervals[4]
        ends = [min(1.0, max(0.0, item)) for item in share]
        lows, highs = (self._corner([item[end] for item in intervals], ends, end) for end in (0, 1))
        return _widened(min(lows), max(highs))

    def _corner(self, values: list[float], shares: list[float], end: int) -> list[float]:
        chance, wait, fast, slow, _, level = (max(item, 0.0) for item in values)
        found = [self.scalar(min(chance, 1.0), wait, fast, slow, share, min(level, 1.0)) for share in shares]
        return [(0.0, math.inf)[end] if math.isnan(item) else float(item) for item in found]

    def derivative(self, index: int, node: Expression) -> Expression | None:
        """By implicit differentiation of the survival function at the quantile."""
        from mlsysim_opt.algebra.derive import gradient

        time = Symbol("sojourn quantile", node.dimension)
        stand = [Symbol(f"sojourn argument {at}", item.dimension) for at, item in enumerate(node.args)]
        chance, wait, fast, slow, share, _ = stand
        survival = _survival(time, chance, wait, fast, slow, share, _EXPRESSIONS)
        actual: dict[Expression, Expression] = {time: node, **dict(zip(stand, node.args, strict=True))}
        for at, mean in enumerate(_not_zero(*node.args[1:4]), start=1):
            actual[stand[at]] = mean
        density, slope = gradient(survival, [time, stand[index]])
        return substitute(-1 / density if index == 5 else -slope / density, actual)

    def monotone(self, index: int, intervals: Sequence[Interval]) -> int | None:
        if index != 4:
            return 1
        fast, slow = intervals[2], intervals[3]
        if fast.high <= slow.low:
            return -1
        return 1 if fast.low >= slow.high else None

    def latex(self, args: Sequence[str], param: Any) -> str:
        chance, wait, fast, slow, share, level = args
        service = rf"\mathrm{{Exp}}_{{{share}:\,{fast},\,{slow}}}"
        return rf"Q_{{{level}}}\left({service} + \mathrm{{Exp}}_{{{chance}:\,{wait}}}\right)"


def _not_zero(*means: Expression) -> list[Expression]:
    """Return means as a quantile is found: none is quite zero, so that a service of fixed length has a slope."""
    wait, fast, slow = means
    largest = ATOMS["maximum"](ATOMS["maximum"](fast, slow), wait)
    return [ATOMS["maximum"](mean, TINIEST * largest) for mean in means]


def sojourn_tail(
    time: Expression, chance: Expression, wait: Expression, fast: Expression, slow: Expression, share: Expression
) -> Expression:
    """Return the probability that waiting and service take longer than `time`; see `SojournQuantile`."""
    wait, fast, slow = _not_zero(wait, fast, slow)
    found: Expression = _survival(time, chance, wait, fast, slow, share, _EXPRESSIONS)
    return found


def _quantiles(chance: Any, wait: Any, fast: Any, slow: Any, share: Any, level: Any) -> Any:
    """Return the quantiles for arrays, in (0, infinity): Chandrupatla's method (1997) on the logarithm."""
    goal = np.log1p(-level)

    def gap(time: Any) -> Any:
        chances = _survival(time, chance, wait, fast, slow, share, _ARRAYS)
        return goal - np.log(np.where(chances > 0, chances, 1e-300))

    high = 1.0 - goal
    while np.any(gap(high) < 0):
        high = np.where(gap(high) < 0, 2 * high, high)
    a, b = high, np.zeros_like(high)
    fa, fb = gap(a), goal
    c, fc = a, fa
    step = np.full_like(high, 0.5)
    for _ in range(200):
        x = a + step * (b - a)
        fx = gap(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        width = np.abs(b - a)
        tolerance = 4 * np.spacing(np.maximum(best, 1e-300)) / np.where(width > 0, width, 1.0)
        if np.all((tolerance >= 0.5) | (fa == 0) | (width == 0)):
            break
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        inward = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        curved = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        step = np.clip(np.where(inward & np.isfinite(curved), curved, 0.5), np.minimum(tolerance, 0.5), None)
        step = np.minimum(step, 1 - np.minimum(tolerance, 0.5))
    return np.where(np.abs(fa) < np.abs(fb), a, b)
