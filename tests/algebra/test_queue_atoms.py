"""Operations of queues and of the normal distribution: exact values, and every view of them against the value."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra import (
    Choice,
    Expression,
    ScalarProgram,
    Symbol,
    best_interval,
    constant,
    erlang_c,
    exponential_mean,
    filling_quantile,
    freeze,
    gaussian_privacy,
    gradient,
    latex,
    normal_tail,
    poisson_below,
    private_noise,
    private_rate,
    sojourn_quantile,
    thaw,
    wait_decay,
)
from mlsysim_opt.algebra.atoms import ATOMS
from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.evaluate import Axes, GridProgram, evaluate
from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.invert import invert
from mlsysim_opt.algebra.monotone import direction
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.algebra.render import render
from mlsysim_opt.errors import DimensionError, InputError, ScaleError
from mlsysim_opt.units import NONE, RATE, TIME

LOAD = Symbol("load", NONE, high=1000.0)
SERVERS = Symbol("servers", NONE, integer=True, low=1.0, high=1000.0)
WAIT, FAST, SLOW = (Symbol(name, TIME) for name in ("wait", "fast", "slow"))
CHANCE, SHARE, LEVEL = (Symbol(name, NONE, high=1.0) for name in ("chance", "share", "level"))
RATE_LEFT = Symbol("rate", RATE, low=-10.0)
COST = Symbol("cost", NONE)
EPSILON, DELTA = Symbol("epsilon", NONE), Symbol("delta", NONE, high=1.0)
SAMPLED, NOISE, STEPS = Symbol("sampled", NONE, high=1.0), Symbol("noise", NONE), Symbol("steps", NONE)
QUANTILE = sojourn_quantile(CHANCE, WAIT, FAST, SLOW, SHARE, LEVEL)
ROOTS: dict[str, Expression] = {
    "erlang_c": erlang_c(LOAD, SERVERS),
    "exponential_mean": exponential_mean(RATE_LEFT),
    "sojourn_quantile": QUANTILE,
    "filling_quantile": filling_quantile(SERVERS, LEVEL),
    "poisson_below": poisson_below(SERVERS, LOAD),
    "wait_decay": wait_decay(CHANCE),
    "normal_tail": normal_tail(LOAD),
    "gaussian_privacy": gaussian_privacy(EPSILON, DELTA),
    "private_noise": private_noise(EPSILON, DELTA, SAMPLED, STEPS),
    "private_noise of all data": private_noise(EPSILON, DELTA, 1, STEPS),
    "private_rate": private_rate(EPSILON, DELTA, NOISE, STEPS),
    "best_interval": best_interval(COST),
}
POINT = {"load": 3.2, "servers": 4, "wait": 0.7, "fast": 0.1, "slow": 0.4, "chance": 0.6, "share": 0.7, "level": 0.99,
         "rate": 2.0, "epsilon": 1.3, "delta": 1e-5, "cost": 0.3, "sampled": 0.02, "noise": 1.7,
         "steps": 3000.0}  # fmt: skip


def erlang(load: float, servers: int) -> float:
    """The textbook recurrence on the inverse of the loss."""
    inverse = 1.0
    for number in range(1, servers + 1):
        inverse = 1 + inverse * number / load
    lost = 1 / inverse
    return lost / (1 - load / servers * (1 - lost))


# the Erlang formula ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("load", "servers"),
    [(0.3, 1), (0.5, 4), (14.9, 15), (15.9, 16), (95.0, 100), (20.0, 100), (990.0, 1000), (99_900.0, 100_000)],
)
def test_the_share_that_waits_is_that_of_the_recurrence(load: float, servers: int) -> None:
    want = erlang(load, servers)
    assert ATOMS["erlang_c"].scalar(load, servers) == pytest.approx(want, rel=1e-12)
    assert float(ATOMS["erlang_c"].array(load, servers)) == pytest.approx(want, rel=1e-12)


def test_one_server_makes_wait_as_often_as_it_is_busy() -> None:
    for load in (1e-9, 0.25, 0.999):
        assert ATOMS["erlang_c"].scalar(load, 1) == pytest.approx(load, rel=1e-13)


def test_two_servers_by_hand() -> None:
    # a = 1, c = 2: lost = (1/2) / (1 + 1 + 1/2) = 1/5; C = (1/5) / (1 - (1/2)(4/5)) = 1/3
    assert ATOMS["erlang_c"].scalar(1.0, 2) == pytest.approx(1 / 3, rel=1e-14)


def test_the_edges_of_the_erlang_formula() -> None:
    atom = ATOMS["erlang_c"]
    assert [atom.scalar(*at) for at in ((0.0, 3), (3.0, 3), (7.0, 3), (1.0, 0))] == [0.0, 1.0, 1.0, 1.0]
    assert math.isnan(atom.scalar(-1.0, 3))
    assert math.isnan(atom.scalar(math.nan, 3))
    found = atom.array(np.array([0.0, 3.0, 7.0, -1.0, 1.5]), 3.0)
    assert np.array_equal(found[:4], [0.0, 1.0, 1.0, math.nan], equal_nan=True)
    assert atom.scalar(1e4, 2**53) == 0.0
    with pytest.raises(ScaleError, match="near to saturation"):
        atom.scalar(1e14 - 1, 1e14)
    assert bounds(erlang_c(LOAD, SERVERS), {"load": Interval(1e14 - 1, 1e14), "servers": 1e14}) == (0.0, 1.0)


def test_servers_are_counted_and_loads_are_plain() -> None:
    with pytest.raises(InputError, match="whole number of servers"):
        erlang_c(LOAD, LOAD)
    with pytest.raises(DimensionError):
        erlang_c(WAIT, SERVERS)


# time in the system ---------------------------------------------------------------------------------------------------
def test_one_server_has_an_exponential_sojourn() -> None:
    # M/M/1 at utilization 0.9 and mean service 1 s: exponential with rate 0.1 per s, so the P99 is 10 ln 100 s
    found = ATOMS["sojourn_quantile"].scalar(0.9, 10.0, 1.0, 1.0, 0.5, 0.99)
    assert found == pytest.approx(10 * math.log(100), rel=1e-12)


def test_wait_and_service_of_equal_means_are_an_erlang_sum() -> None:
    # both of mean 1, always a wait: P(T > t) = e^-t (1 + t); at t = 2 that is 3 e^-2
    found = ATOMS["sojourn_quantile"].scalar(1.0, 1.0, 1.0, 1.0, 0.5, 1 - 3 * math.exp(-2))
    assert found == pytest.approx(2.0, rel=1e-9)
    near = ATOMS["sojourn_quantile"].scalar(1.0, 1.0 + 1e-4, 1.0, 1.0, 0.5, 0.99)
    assert near == pytest.approx(ATOMS["sojourn_quantile"].scalar(1.0, 1.0, 1.0, 1.0, 0.5, 0.99), rel=1e-4)


def test_without_wait_a_mixture_of_services_is_left() -> None:
    # P(T > t) = 0.9 e^-t + 0.1 e^(-t/10) is 0.1 e^-1.5 + 0.9 e^-15 at t = 15
    level = 1 - (0.1 * math.exp(-1.5) + 0.9 * math.exp(-15))
    assert ATOMS["sojourn_quantile"].scalar(0.0, 5.0, 1.0, 10.0, 0.9, level) == pytest.approx(15, rel=1e-9)


def test_the_edges_of_the_sojourn() -> None:
    atom = ATOMS["sojourn_quantile"]
    cases = {
        (1.0, math.inf, 1.0, 1.0, 0.5, 0.99): math.inf,  # a queue without end
        (0.001, math.inf, 1.0, 1.0, 0.5, 0.5): -math.log(0.499 / 0.999),  # that few meet: P = e^-t + 0.001 (1 - e^-t)
        (0.5, 2.0, 0.0, 0.0, 0.5, 0.75): 2 * math.log(2),  # no service: P(W > t) = 0.5 e^(-t/2) = 0.25
        (0.5, 0.0, 0.0, 0.0, 0.5, 0.75): 0.0,
        (0.5, 2.0, 1.0, 1.0, 0.5, 0.0): 0.0,
        (0.5, 2.0, 1.0, 1.0, 0.5, 1.0): math.inf,
        (1.5, 2.0, 1.0, 1.0, 0.5, 0.9): math.nan,
        (0.5, -2.0, 1.0, 1.0, 0.5, 0.9): math.nan,
    }
    columns = [np.array(column) for column in zip(*cases, strict=True)]
    for given_, want, at_once in zip(cases, cases.values(), atom.array(*columns), strict=True):
        assert atom.scalar(*given_) == pytest.approx(want, rel=1e-9, nan_ok=True), given_
        assert at_once == pytest.approx(want, rel=1e-9, nan_ok=True), given_


POSITIVE = st.floats(-4, 4).map(lambda power: 10.0**power)
PARTS = st.floats(0.0, 1.0)
LEVELS = st.floats(0.001, 0.9999)


@given(PARTS, POSITIVE, POSITIVE, POSITIVE, PARTS, LEVELS)
def test_the_survival_at_the_quantile_is_what_is_left(
    chance: float, wait: float, fast: float, slow: float, share: float, level: float
) -> None:
    time = ATOMS["sojourn_quantile"].scalar(chance, wait, fast, slow, share, level)
    at_once = ATOMS["sojourn_quantile"].array(chance, wait, fast, slow, share, level)
    assert float(at_once) == pytest.approx(time, rel=1e-9)

    def survival(mean: float) -> float:  # by parts: the service alone, or a service that leaves less than the wait
        if abs(wait - mean) < 1e-3 * mean:
            return math.exp(-time / mean) * (1 + chance * time / mean)
        both = wait / (wait - mean) * (math.exp(-time / wait) - math.exp(-time / mean))
        return math.exp(-time / mean) + chance * both

    assert share * survival(fast) + (1 - share) * survival(slow) == pytest.approx(1 - level, rel=2e-2)


# batches that fill ---------------------------------------------------------------------------------------------------
def test_the_share_that_waits_for_its_batch_by_hand() -> None:
    # A batch of two: its first request waits for one arrival, its second for none. P(wait > x) = e^-x / 2 is 0.01 at
    # ln 50. Of three, E[(2 - N)+] / 3 = (2 e^-x + x e^-x) / 3.
    atom = ATOMS["filling_quantile"]
    assert atom.scalar(2, 0.99) == pytest.approx(math.log(50), rel=1e-12)
    assert atom.scalar(3, 1 - (2 + 1.5) * math.exp(-1.5) / 3) == pytest.approx(1.5, rel=1e-12)
    # Nobody waits alone; the last third of a batch of three does not wait either; some wait without limit.
    assert [atom.scalar(1, 0.999), atom.scalar(3, 1 / 3), atom.scalar(1, 1.0)] == [0.0, 0.0, 0.0]
    assert atom.scalar(2, 1.0) == math.inf
    assert math.isnan(atom.scalar(0, 0.5))
    assert math.isnan(atom.scalar(2, 1.5))


def test_fewer_poisson_events_by_hand() -> None:
    # mean 2: P(N < 3) = e^-2 (1 + 2 + 2) = 5 e^-2
    assert ATOMS["poisson_below"].scalar(3, 2.0) == pytest.approx(5 * math.exp(-2), rel=1e-13)
    assert [ATOMS["poisson_below"].scalar(*at) for at in ((0, 2.0), (3, 0.0), (3, math.inf))] == [0.0, 1.0, 0.0]


@given(st.integers(2, 3000), LEVELS)
def test_the_share_that_waits_at_the_quantile_is_what_is_left(size: int, level: float) -> None:
    time = ATOMS["filling_quantile"].scalar(size, level)
    chance, waiting = math.exp(-time) if time < 700 else 0.0, 0.0
    if time == 0:
        assert (size - 1) / size <= 1 - level + 1e-15
        return
    for count in range(size - 1):  # the definition, term by term
        chance = math.exp(count * math.log(time) - time - math.lgamma(count + 1))
        waiting += (size - 1 - count) * chance
    assert waiting / size == pytest.approx(1 - level, rel=1e-8)


def test_the_decay_of_the_wait_by_hand() -> None:
    # ln(1 + y) = y / 2 ... at utilization ln(3) / 2 the root is y = 2; near saturation y = 2 (1 - u) + 8/3 (1 - u)^2
    atom = ATOMS["wait_decay"]
    assert atom.scalar(math.log(3) / 2) == pytest.approx(2.0, rel=1e-13)
    assert atom.scalar(math.log(1.001) / 0.001) == pytest.approx(0.001, rel=1e-9)
    assert [atom.scalar(0.0), atom.scalar(1.0), atom.scalar(7.0)] == [math.inf, 0.0, 0.0]
    assert math.isnan(atom.scalar(-0.1))


@given(st.floats(1e-12, 1 - 1e-12))
def test_the_decay_solves_its_equation(load: float) -> None:
    root = ATOMS["wait_decay"].scalar(load)
    # y/2 - y^2/3 ... = 1 - u is what tells the root from 0 near saturation
    assert load * root == pytest.approx(math.log1p(root), rel=1e-9)
    assert root >= 2 * (1 - load) * (1 - 1e-9)


# all views of each agree ----------------------------------------------------------------------------------------------
def moved(root: Expression, name: str, value: float) -> float:
    return float(evaluate(root, {**POINT, name: value}))


@pytest.mark.parametrize("name", ROOTS)
def test_slopes_are_those_of_the_value(name: str) -> None:
    root = ROOTS[name]
    leaves = [leaf for leaf in ScalarProgram([root]).leaves if isinstance(leaf, Symbol) and not leaf.integer]
    slopes = ScalarProgram(gradient(root, leaves)).run_named(POINT) if leaves else []
    assert leaves
    for leaf, slope in zip(leaves, slopes, strict=True):
        at = POINT[leaf.name]
        step = 1e-5 * min(at, 1 - at if leaf.name == "level" else at)
        around = (moved(root, leaf.name, at + step) - moved(root, leaf.name, at - step)) / (2 * step)
        assert slope == pytest.approx(around, rel=1e-5), leaf.name


@pytest.mark.parametrize("name", ROOTS)
def test_the_proven_direction_is_that_of_the_value(name: str) -> None:
    root = ROOTS[name]
    for leaf in ScalarProgram([root]).leaves:
        assert isinstance(leaf, Symbol)
        box = {key: float(value) for key, value in POINT.items() if key != leaf.name}
        proven = direction(root, leaf, box)
        more = moved(root, leaf.name, POINT[leaf.name] + 1 if leaf.integer else POINT[leaf.name] * 1.001)
        assert proven == (1 if more > moved(root, leaf.name, POINT[leaf.name]) else -1), leaf.name


@given(st.lists(PARTS, min_size=16, max_size=16), st.lists(PARTS, min_size=16, max_size=16))
def test_bounds_hold_every_value(ends: list[float], inside: list[float]) -> None:
    limits = {"load": (0, 12), "servers": (1, 9), "wait": (0, 5), "fast": (0, 2), "slow": (0, 3), "chance": (0, 1),
              "share": (0, 1), "level": (0, 1), "rate": (-1, 3), "epsilon": (0, 4), "delta": (0, 0.9),
              "cost": (0, 40), "sampled": (0, 1), "noise": (0, 3), "steps": (0, 5000)}  # fmt: skip
    box: dict[str, Any] = {}
    point: dict[str, Any] = {}
    for (name, (low, high)), width, part in zip(limits.items(), ends, inside, strict=False):
        a, b = sorted((low + width * (high - low), low + part * (high - low)))
        a, b = (math.floor(a), math.ceil(b)) if name == "servers" else (a, b)
        box[name] = Interval(a, b)
        point[name] = b if name == "servers" else (a + b) / 2
    for root in ROOTS.values():
        found, value = bounds(root, box), float(evaluate(root, point))
        assert math.isnan(value) or found.low <= value <= found.high, (render(root), found, value)


@pytest.mark.parametrize("name", ROOTS)
def test_text_latex_and_records_read_back(name: str) -> None:
    root = ROOTS[name]
    names = {leaf.name: leaf for leaf in ScalarProgram([root]).leaves}
    assert parse(render(root), names) is root
    assert thaw(freeze(root)) is root
    assert pickle.loads(pickle.dumps(root)) is root
    assert latex(root)


def test_a_grid_gives_the_scalar_values() -> None:
    loads = Choice("load", [0.0, 0.5, 3.2, 3.999, 4, 90])
    servers = Choice("servers", [1, 4, 16, 100])
    wait = constant(1.0, TIME) * exponential_mean(servers - loads)
    roots = [erlang_c(loads, servers), sojourn_quantile(erlang_c(loads, servers), wait, "1 s", "1 s", 0.5, 0.99)]
    tables = GridProgram(roots, {}, Axes.of([loads, servers])).tables()
    for i, load in enumerate(loads.values):
        for j, count in enumerate(servers.values):
            for root, table in zip(roots, tables, strict=True):
                want = evaluate(root, {"load": load, "servers": count})
                assert table[i, j] == pytest.approx(want, rel=1e-12, nan_ok=True)


def test_a_load_is_found_for_a_share_that_waits() -> None:
    found = invert(erlang_c(LOAD, SERVERS), 1 / 3, LOAD, values={"servers": 2})
    assert found.value == pytest.approx(1.0)
    assert found.complete
    cost = invert(best_interval(COST), 0.5, COST)
    assert (cost.value, cost.method) == (pytest.approx(math.log(2) - 0.5), "closed form")
    rate = invert(exponential_mean(RATE_LEFT), "4 s", RATE_LEFT)
    assert (rate.value, rate.method) == (0.25, "closed form")


# the normal distribution ----------------------------------------------------------------------------------------------
def test_the_normal_tail() -> None:
    # tables of the normal distribution: 2.5 % above 1.959964, 1 % above 2.326348
    assert evaluate(normal_tail(expression(1.959964))) == pytest.approx(0.025, rel=1e-5)
    assert evaluate(normal_tail(expression(2.326348))) == pytest.approx(0.01, rel=1e-5)
    assert evaluate(normal_tail(expression(0))) == 0.5


def test_no_epsilon_leaves_the_distance_of_the_distributions() -> None:
    # epsilon 0: delta is the total variation distance 2 Phi(mu/2) - 1, 0.682689 for mu = 2
    assert ATOMS["gaussian_privacy"].scalar(0.0, 0.682689492137) == pytest.approx(2.0, rel=1e-9)


@given(st.floats(0.01, 20.0), st.floats(-12, -1).map(lambda power: 10.0**power))
def test_the_distance_gives_delta_back(epsilon: float, delta: float) -> None:
    mu = ATOMS["gaussian_privacy"].scalar(epsilon, delta)

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    back = phi(mu / 2 - epsilon / mu) - math.exp(epsilon) * phi(-mu / 2 - epsilon / mu)
    assert back == pytest.approx(delta, rel=1e-6)
    assert float(ATOMS["gaussian_privacy"].array(epsilon, delta)) == mu


# noise that keeps privacy ---------------------------------------------------------------------------------------------
@given(st.floats(0.02, 20.0), st.floats(-12, -1).map(lambda power: 10.0**power), st.floats(0.0, 1.0),
       st.integers(1, 100_000))  # fmt: skip
def test_the_rate_gives_the_noise_back(epsilon: float, delta: float, rate: float, steps: int) -> None:
    noise = ATOMS["private_noise"].scalar(epsilon, delta, rate, steps)
    assert float(ATOMS["private_noise"].array(epsilon, delta, rate, steps)) == noise
    allowed = ATOMS["private_rate"].scalar(epsilon, delta, noise, steps)
    # what the noise is enough for is never less than asked, up to the search; all data where sampling helps nothing
    assert allowed >= rate * (1 - 1e-9) or rate < 1e-290
    assert ATOMS["private_noise"].scalar(epsilon, delta, allowed, steps) <= noise * (1 + 1e-9)


def test_one_order_by_hand() -> None:
    # Order 2, one step: A = 1 + q^2 (e^(1/sigma^2) - 1). For q = 0.1 and sigma = 1, ln(1.0171828) = 0.0170368.
    from mlsysim_opt.algebra.atoms.privacy import _epsilons

    by_order_2 = math.log(1 + 0.01 * (math.e - 1)) + math.log(1 / 2) - math.log(1e-5 * 2)
    assert _epsilons(1.0, 1e-5, 0.1, 1.0)[0] == pytest.approx(by_order_2, rel=1e-12)


def test_the_edges_of_private_noise() -> None:
    noise, rate = ATOMS["private_noise"].scalar, ATOMS["private_rate"].scalar
    assert [noise(1.0, 1e-5, 0.0, 10), noise(math.inf, 1e-5, 0.1, 10), noise(1.0, 1.0, 0.1, 10)] == [0.0] * 3
    assert [noise(1.0, 0.0, 0.1, 10), noise(1.0, 1e-5, 0.1, math.inf)] == [math.inf] * 2
    assert noise(1.0, 1e-5, 1.5, 10) == noise(1.0, 1e-5, 1.0, 10)  # no batch is more than the data
    assert [rate(1.0, 1e-5, 0.0, 10), rate(1.0, 0.0, 1.0, 10), rate(1.0, 1e-5, math.inf, 10)] == [0.0, 0.0, 1.0]
    for wrong in ((-1.0, 1e-5, 0.1, 10), (1.0, 2.0, 0.1, 10), (1.0, 1e-5, -0.1, 10), (math.nan, 1e-5, 0.1, 10)):
        assert math.isnan(noise(*wrong))
        assert math.isnan(rate(*wrong))
    assert noise(0.0, 1e-5, 0.01, 100) == pytest.approx(10 / ATOMS["gaussian_privacy"].scalar(0.0, 1e-5))
    with pytest.raises(InputError, match="second derivative"):
        gradient(gradient(ROOTS["private_noise"], [EPSILON])[0], [EPSILON])
