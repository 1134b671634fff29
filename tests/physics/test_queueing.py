"""Queues: exact cases by hand, known exact values of others, a simulation, and the inverses."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import DimensionError, InputError, NotInvertibleError
from mlsysim_opt.physics import OrchestrationModel, TailLatencyModel
from mlsysim_opt.physics.queueing import Gathered

SECOND: dict[str, Any] = {"service_latency": "1 s"}


def solve(**given_: Any) -> Any:
    return TailLatencyModel().solve(**given_)


# exact queues ---------------------------------------------------------------------------------------------------------
def test_one_server_by_hand() -> None:
    # M/M/1, 8 arrivals per s of 100 ms: utilization 0.8. The time in the system is exponential with rate
    # 10 - 8 = 2 per s: mean 500 ms, P50 ln 2 / 2 = 346.6 ms, P99 ln 100 / 2 = 2302.6 ms. The mean wait is
    # 500 - 100 = 400 ms; P(W > t) = 0.8 e^-2t, so its P50 is ln(0.8/0.5)/2 = 235.0 ms. 8 x 0.4 = 3.2 wait.
    result = solve(arrival_rate=8, service_latency=100)
    assert result.si("mean_latency") == pytest.approx(0.5, rel=1e-12)
    assert result.si("p50_latency") == pytest.approx(math.log(2) / 2, rel=1e-12)
    assert result.si("p99_latency") == pytest.approx(math.log(100) / 2, rel=1e-12)
    assert result.si("p999_latency") == pytest.approx(math.log(1000) / 2, rel=1e-12)
    assert result.si("mean_wait") == pytest.approx(0.4, rel=1e-12)
    assert result.si("p50_wait") == pytest.approx(math.log(1.6) / 2, rel=1e-12)
    assert result.wait_probability == pytest.approx(0.8)
    assert result.queue_length == pytest.approx(3.2)
    assert result.queue_utilization == pytest.approx(0.8)
    assert result.p99_latency.to("ms").magnitude == pytest.approx(2302.585, abs=1e-3)


def test_two_servers_by_hand() -> None:
    # M/M/2, load 1: C = 1/3, those who wait do so for 1/(2 - 1) services, so the mean wait is a third of a service
    result = solve(arrival_rate=1, **SECOND, num_replicas=2)
    assert result.wait_probability == pytest.approx(1 / 3, rel=1e-12)
    assert result.si("mean_wait") == pytest.approx(1 / 3, rel=1e-12)
    # P(T > t) = e^-t + C t e^-t, for both drain at rate 1
    t = result.si("p99_latency")
    assert math.exp(-t) * (1 + t / 3) == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize(
    ("rate", "milliseconds", "replicas", "exact", "wrong"),
    [
        (1, 100, 1, 511.7, 356),  # ln 100 x 100 ms / 0.9, against a P99 of the wait of 255.8 and a mean service of 100
        (50, 10, 4, 46.06, 10.0),  # nobody within the P99 waits (C = 0.0018): it is that of the service, ln 100 x 10 ms
        (950, 100, 100, 472.4, 178.5),
    ],
)
def test_trap_the_p99_of_a_sum_is_not_the_sum_of_a_p99_and_a_mean(
    rate: float, milliseconds: float, replicas: int, exact: float, wrong: float
) -> None:
    result = solve(arrival_rate=rate, service_latency=milliseconds, num_replicas=replicas)
    assert result.p99_latency.to("ms").magnitude == pytest.approx(exact, rel=1e-3)
    simple = result.p99_wait.to("ms").magnitude + milliseconds
    assert simple == pytest.approx(wrong, rel=2e-3)


def test_trap_an_unstable_queue_shows_its_load_and_no_latency() -> None:
    result = solve(arrival_rate=500, service_latency=10, num_replicas=4, slo="1 s")
    assert result.queue_utilization == pytest.approx(1.25)
    assert not result.is_stable
    assert not result.feasible
    assert result.constraints == {"queue is stable": False, "latency meets the objective": False}
    assert all(math.isinf(result.si(name)) for name in ("p50_latency", "p99_latency", "mean_wait", "p50_wait"))
    edge = solve(arrival_rate=400, service_latency=10, num_replicas=4)
    assert not edge.is_stable
    assert math.isinf(edge.si("p50_latency"))
    assert result.as_dict()["fields"]["p99_latency"]["value"] is None


def test_trap_headroom_falls_as_the_objective_is_missed() -> None:
    far = solve(arrival_rate=50, service_latency=10, num_replicas=4, slo="100 ms")
    assert far.slo_headroom == pytest.approx(1 - 0.0460589 / 0.1, rel=1e-4)
    missed = solve(arrival_rate=50, service_latency=10, num_replicas=4, slo="40 ms")
    assert missed.slo_headroom < 0
    assert not missed.feasible
    with pytest.raises(AttributeError, match="slo_headroom"):
        _ = solve(arrival_rate=50, service_latency=10).slo_headroom


# other variability ----------------------------------------------------------------------------------------------------
def poisson_from(n: int, mean: float) -> float:
    """P(N >= n)."""
    term = math.exp(-mean + n * math.log(mean) - math.lgamma(n + 1))
    total, at = term, n
    while term > 1e-18 * total:
        at += 1
        term *= mean / at
        total += term
    return total


def crommelin(load: float, servers: int) -> float:
    """Exact mean wait of M/D/c in services (Crommelin 1932)."""
    total, k = 0.0, 1
    while True:
        more = poisson_from(k * servers, k * load) - servers / load * poisson_from(k * servers + 1, k * load)
        total += more
        k += 1
        if more < 1e-7 * total:
            return total


@pytest.mark.parametrize("utilization", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("cv", [0.0, 0.5, 2.0])
def test_one_server_waits_as_pollaczek_and_khinchine_say(utilization: float, cv: float) -> None:
    result = solve(arrival_rate=utilization, **SECOND, service_time_cv=cv)
    exact = utilization / (1 - utilization) * (1 + cv**2) / 2
    assert result.si("mean_wait") == pytest.approx(exact, rel=1e-12)


def test_constant_service_against_the_exact_mean_wait() -> None:
    assert crommelin(0.5, 1) == pytest.approx(0.5, rel=1e-5)  # rho / (2 (1 - rho))
    for servers in (2, 3, 5, 10, 20, 50, 100):
        for utilization in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
            result = solve(arrival_rate=utilization * servers, **SECOND, num_replicas=servers, service_time_cv=0)
            if result.wait_probability >= 0.01:
                exact = crommelin(utilization * servers, servers)
                assert result.si("mean_wait") == pytest.approx(exact, rel=0.14), (servers, utilization)


def erlang_md1(rate: float, time: float) -> float:
    """Exact P(W <= t) of M/D/1 with a service of 1 (Erlang 1909); alternating, hence exact fractions of e."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        total = Decimal(0)
        for k in range(int(time) + 1):
            x = Decimal(repr(rate)) * (k - Decimal(repr(time)))
            total += (-x).exp() * (x**k if k else 1) / math.factorial(k)
        return float((1 - Decimal(repr(rate))) * total)


@pytest.mark.parametrize(("utilization", "off"), [(0.5, 0.14), (0.7, 0.09), (0.9, 0.03), (0.95, 0.015)])
def test_constant_service_has_a_p99_somewhat_above_the_exact_one(utilization: float, off: float) -> None:
    result = solve(arrival_rate=utilization, **SECOND, service_time_cv=0)
    wait = result.si("p99_wait")
    assert result.si("p99_latency") == pytest.approx(1 + wait)
    assert erlang_md1(utilization, wait) >= 0.99  # on the safe side
    assert erlang_md1(utilization, (1 + wait) / (1 + off) - 1) <= 0.99  # but by at most `off` of the latency


def simulated(rate: float, servers: int, services: Any, seed: int) -> tuple[Any, Any]:
    """Waits and latencies of a queue, first come first served, after a warm-up."""
    generator = np.random.default_rng(seed)
    arrivals = np.cumsum(generator.exponential(1 / rate, len(services)))
    free = [0.0] * servers
    waits = []
    for arrival, service in zip(arrivals.tolist(), services.tolist(), strict=True):
        start = max(heapq.heappop(free), arrival)
        waits.append(start - arrival)
        heapq.heappush(free, start + service)
    waited = np.array(waits)[10_000:]
    return waited, waited + services[10_000:]


@pytest.mark.parametrize(("utilization", "servers", "cv", "tolerance"), [(0.8, 4, 1.0, 0.03), (0.8, 4, 0.5, 0.12)])
def test_against_a_simulation(utilization: float, servers: int, cv: float, tolerance: float) -> None:
    services = np.random.default_rng(7).gamma(1 / cv**2, cv**2, 150_000)
    waits, latencies = simulated(utilization * servers, servers, services, 11)
    result = solve(arrival_rate=utilization * servers, **SECOND, num_replicas=servers, service_time_cv=cv)
    assert result.si("mean_wait") == pytest.approx(waits.mean(), rel=2 * tolerance)
    for name, level in {"p50": 0.5, "p95": 0.95, "p99": 0.99}.items():
        assert result.si(f"{name}_latency") == pytest.approx(np.quantile(latencies, level), rel=tolerance)


# properties -----------------------------------------------------------------------------------------------------------
UTILIZATIONS = st.floats(0.01, 0.99)
REPLICAS = st.integers(1, 300)
CVS = st.sampled_from([0.0, 0.3, 1.0, 1.7, 4.0])


@given(UTILIZATIONS, REPLICAS, CVS)
def test_quantiles_rise_and_service_is_part_of_them(utilization: float, replicas: int, cv: float) -> None:
    result = solve(arrival_rate=utilization * replicas, **SECOND, num_replicas=replicas, service_time_cv=cv)
    latencies = [result.si(f"{name}_latency") for name in ("p50", "p95", "p99", "p999")]
    waits = [result.si(f"{name}_wait") for name in ("p50", "p95", "p99", "p999")]
    assert latencies == sorted(latencies)
    assert waits == sorted(waits)
    assert all(latency >= wait for latency, wait in zip(latencies, waits, strict=True))
    assert result.si("mean_latency") == pytest.approx(result.si("mean_wait") + 1)
    assert result.feasible


@given(st.floats(0.01, 0.95), REPLICAS, CVS)
def test_more_requests_wait_longer_and_more_replicas_help(utilization: float, replicas: int, cv: float) -> None:
    given_: dict[str, Any] = {**SECOND, "service_time_cv": cv}
    now = solve(arrival_rate=utilization * replicas, num_replicas=replicas, **given_)
    more = solve(arrival_rate=utilization * replicas * 1.05, num_replicas=replicas, **given_)
    wider = solve(arrival_rate=utilization * replicas, num_replicas=replicas + 1, **given_)
    for name in ("p50_latency", "p99_latency", "mean_wait", "p99_wait"):
        assert wider.si(name) <= now.si(name) * (1 + 1e-12) <= more.si(name) * (1 + 1e-11)


def test_a_hundred_thousand_replicas() -> None:
    result = solve(arrival_rate=99_900, **SECOND, num_replicas=100_000)
    assert result.wait_probability == pytest.approx(0.65799, rel=1e-4)  # the recurrence, in floats
    assert result.si("mean_wait") == pytest.approx(0.65799 / 100, rel=1e-4)


# inverses and inputs --------------------------------------------------------------------------------------------------
def test_the_largest_rate_for_a_p99() -> None:
    # M/M/1: P99 = ln 100 / (mu - lambda) = 1 s, so lambda = 10 - 4.60517 per s
    found = TailLatencyModel().max_arrival_rate("1 s", service_latency="100 ms")
    assert found.value == pytest.approx(10 - math.log(100), rel=1e-9)
    assert found.complete
    with pytest.raises(NotInvertibleError, match="attainable"):
        TailLatencyModel().max_arrival_rate("400 ms", service_latency="100 ms")  # ln 100 x 100 ms already without load


def test_the_fewest_replicas_for_a_p99_and_one_less_fails() -> None:
    given_: dict[str, Any] = {"arrival_rate": 5000, "service_latency": 10}
    found = TailLatencyModel().min_replicas("50 ms", **given_)
    assert (found.side, found.fails_at) == ("smallest", found.value - 1)
    assert solve(**given_, num_replicas=found.value).si("p99_latency") <= 0.05
    assert solve(**given_, num_replicas=found.value - 1).si("p99_latency") > 0.05
    with pytest.raises(NotInvertibleError):
        TailLatencyModel().min_replicas("40 ms", **given_)  # below the P99 of the service alone, 46.05 ms


@pytest.mark.parametrize("cv", [0.0, 0.5, 2.0])
def test_the_inverses_hold_for_other_variability(cv: float) -> None:
    given_: dict[str, Any] = {"service_latency": 10, "service_time_cv": cv}
    rate = TailLatencyModel().max_arrival_rate("150 ms", **given_, num_replicas=8, quantile=0.95)
    assert rate.complete
    assert solve(**given_, num_replicas=8, arrival_rate=rate.value).si("p95_latency") == pytest.approx(0.15, rel=1e-9)
    fewest = TailLatencyModel().min_replicas("150 ms", **given_, arrival_rate=3000)
    assert solve(**given_, num_replicas=fewest.value, arrival_rate=3000).si("p99_latency") <= 0.15


def test_elasticities_are_those_of_differences() -> None:
    given_: dict[str, Any] = {"service_latency": 0.01, "num_replicas": 4, "arrival_rate": 350.0}
    units = {"service_latency": "s", "arrival_rate": "1/s"}

    def p99(**changed: float) -> float:
        values = {**given_, **changed}
        return float(solve(**{n: f"{v} {units[n]}" if n in units else v for n, v in values.items()}).si("p99_latency"))

    found = TailLatencyModel().sensitivity("p99_latency", **{**given_, "service_latency": "10 ms"})
    for name in ("arrival_rate", "service_latency"):
        up, down = (math.log(p99(**{name: given_[name] * factor})) for factor in (1.0001, 0.9999))
        assert found[name] == pytest.approx((up - down) / (math.log(1.0001) - math.log(0.9999)), rel=1e-4)


def test_bare_numbers_and_aliases_take_the_declared_unit() -> None:
    plain = solve(arrival_rate="50 1/s", service_latency="10 ms", num_replicas=4)
    assert solve(arrival_rate_qps=50, service_latency_ms=10, replicas=4).p99_latency == plain.p99_latency
    assert solve(arrival_rate="50 request/s", service_latency="0.01 s", num_replicas=4).p99_latency == plain.p99_latency
    with pytest.raises(DimensionError):
        solve(arrival_rate="50 GB/s", service_latency=10)
    for wrong in ({"arrival_rate": 0}, {"arrival_rate": -1}, {"num_replicas": 0}, {"service_time_cv": -1}):
        with pytest.raises(InputError):
            solve(**{"arrival_rate": 1, "service_latency": 10, **wrong})


# jobs on a cluster ----------------------------------------------------------------------------------------------------
def cluster(**given_: Any) -> Any:
    return OrchestrationModel().solve(
        **{"fleet": "Research_256", "arrival_rate_jobs_per_day": 0.8, "avg_job_duration_days": 1, **given_}
    )


def test_jobs_of_the_whole_cluster_run_one_at_a_time() -> None:
    # M/M/1 at 0.8: mean wait 0.8/0.2 = 4 days, 3.2 jobs wait. Constant durations halve it (the M/D/1 of 2 days).
    result = cluster()
    assert result.job_slots == 1
    assert result.avg_wait_time_days == pytest.approx(4.0)
    assert result.avg_queue_length == pytest.approx(3.2)
    assert result.cluster_utilization == pytest.approx(0.8)
    assert "whole cluster" in result.assumptions["job_size"]
    assert cluster(duration_cv=0).avg_wait_time_days == pytest.approx(2.0)


def test_trap_the_cluster_and_the_size_of_jobs_count() -> None:
    # 256 accelerators hold two jobs of 128: load 0.8 on 2 slots. C = 0.8^2/2 / (0.6 + 0.8^2/2 + 0.8 x 0.6)
    # = 0.32/1.4 = 0.228571; mean wait C / (2 - 0.8) = 0.190476 days
    half = cluster(job_size=128)
    assert half.job_slots == 2
    assert half.avg_wait_time_days == pytest.approx(0.32 / 1.4 / 1.2, rel=1e-9)
    assert half.accelerator_utilization == pytest.approx(0.4)
    assert cluster(fleet="Training_1K", job_size=128).avg_wait_time_days < 1e-3 * half.avg_wait_time_days
    assert "job_size" not in half.assumptions


def test_large_jobs_take_whole_nodes_and_small_ones_share() -> None:
    # 32 nodes of 8: a job of 12 takes 2 nodes, hence 16 slots; of 3, two share a node: 64; of 5, one: 32
    assert [cluster(job_size=size).job_slots for size in (12, 3, 5, 8, 256)] == [16, 64, 32, 32, 1]


def test_jobs_that_do_not_fit_or_too_many() -> None:
    large = cluster(job_size=512)
    assert not large.constraints["a job fits the cluster"]
    assert not large.feasible
    for size in (257, 512):  # never NaN: a job without a slot waits for ever
        for cv in (0.0, 1.0):
            lost = cluster(job_size=size, duration_cv=cv, arrival_cv=cv)
            assert lost.job_slots == lost.accelerator_utilization == 0
            assert lost.cluster_utilization == lost.avg_wait_time_days == lost.avg_queue_length == math.inf
            assert lost.si("p50_wait_time") == lost.si("p99_wait_time") == math.inf
            assert lost.avg_turnaround_days == math.inf
    busy = cluster(arrival_rate_jobs_per_day=3, job_size=128)
    assert busy.cluster_utilization == pytest.approx(1.5)
    assert busy.accelerator_utilization == pytest.approx(1.0)
    assert math.isinf(busy.avg_wait_time_days)
    assert not busy.is_stable


def test_the_wait_has_quantiles() -> None:
    # M/M/1: P(W > t) = 0.8 e^(-0.2 t), P95 at 5 ln 16 days
    result = cluster()
    assert result.p95_wait_time.to("day").magnitude == pytest.approx(5 * math.log(16), rel=1e-9)
    assert result.p50_wait_time < result.p95_wait_time < result.p99_wait_time


def test_the_tail_has_a_kink_at_exponential_service() -> None:
    # four servers at a utilization of 0.8: two slopes of P99, in mean services per unit of the coefficient of variation
    def at(cv: float) -> float:
        given_ = {"arrival_rate": 320, "service_latency": 10, "num_replicas": 4, "service_time_cv": cv}
        return float(TailLatencyModel().solve(**given_).si("p99_latency")) / 0.01

    below, above = (at(1.0) - at(1.0 - 1e-5)) / 1e-5, (at(1.0 + 1e-5) - at(1.0)) / 1e-5
    assert below == pytest.approx(5.4, abs=0.05)
    assert above == pytest.approx(7.0, abs=0.05)


# batches that are gathered --------------------------------------------------------------------------------------------
def gathered(rate: float, size: int, service: float, servers: int) -> Gathered:
    return Gathered(
        expression(f"{rate} 1/s"), expression(size), expression(f"{service} s"), expression(servers)
    )  # fmt: skip


def of(root: Expression) -> float:
    return float(evaluate(root, {}))


def test_a_batch_fills_as_its_requests_come() -> None:
    # 5 requests per s, batches of 256: the first waits for 255 others, 255 / 5 = 51 s on average; all of them 25.5 s.
    # Of two: half wait for one arrival; P(wait > t) = e^-5t / 2 is 0.01 at ln 50 / 5 = 782.4 ms.
    assert of(gathered(5, 256, 1, 1).mean_filling) == pytest.approx(25.5)
    assert of(gathered(5, 2, 0.1, 1).filling(expression(0.99))) == pytest.approx(math.log(50) / 5)
    assert of(gathered(5, 1, 0.1, 1).filling(expression(0.999))) == 0.0


def test_the_bound_of_the_wait_by_hand() -> None:
    # 1 request per s, batches of 2 and a service of ln 3 s: utilization ln(3) / 2, whose y is 2. Behind the batches
    # before: the mean of 3^0 and 3^1 is 2, and 2 e^-2t is 0.005 at ln(400) / 2 = 2.996 s. The first of two waits for
    # the second: e^-t / 2 is 0.005 at ln 100 = 4.605 s, which is longer, so that 99 % start within it.
    batches = gathered(1, 2, math.log(3), 1)
    assert of(batches.behind(expression(0.005))) == pytest.approx(math.log(400) / 2, rel=1e-12)
    assert of(batches.wait_quantile(expression(0.99))) == pytest.approx(math.log(100), rel=1e-12)
    assert of(batches.latency_quantile(expression(0.99))) == pytest.approx(math.log(300), rel=1e-12)
    # Daley: u (2 - u) / 2 / (1 - u) s behind others for u = 0.5493, that is 0.8843 s, and 0.5 s of filling.
    assert of(batches.mean_wait) == pytest.approx(0.5 + 0.549306 * 1.450694 / 2 / 0.450694, rel=1e-5)


def test_gathered_batches_beyond_saturation_wait_for_ever() -> None:
    full = gathered(10, 4, 0.5, 1)  # 2.5 batches per s of 0.5 s each
    assert not of(full.stable)
    assert of(full.utilization) == pytest.approx(1.25)
    assert of(full.latency_quantile(expression(0.99))) == of(full.mean_wait) == math.inf


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99, 0.999])
def test_a_batch_of_one_is_an_ordinary_request(level: float) -> None:
    alone = TailLatencyModel().solve(
        arrival_rate=5, service_latency=300, num_replicas=2, service_time_cv=0.0, quantile=level
    )
    assert of(gathered(5, 1, 0.3, 2).latency_quantile(expression(level))) == pytest.approx(alone.si("latency"))


@pytest.mark.parametrize(
    ("rate", "size", "utilization", "servers", "closer"),
    [(5, 2, 0.1, 1, 1.3), (5, 2, 0.8, 1, 1.3), (5, 8, 0.9, 1, 1.3), (5, 64, 0.7, 1, 1.1), (50, 16, 0.9, 4, 1.2)],
)
def test_the_bounds_of_gathered_batches_hold_in_a_simulation(
    rate: float, size: int, utilization: float, servers: int, closer: float
) -> None:
    # Bounds: never below what is simulated (but for its noise), and the P99 not far above.
    service = utilization * servers * size / rate
    dice = np.random.default_rng(3)
    arrivals = np.cumsum(dice.exponential(1 / rate, 200_000 // size * size)).reshape(-1, size)
    free = [0.0] * servers
    starts = []
    for full in arrivals[:, -1]:
        starts.append(max(heapq.heappop(free), full))
        heapq.heappush(free, starts[-1] + service)
    waits = (np.array(starts)[:, None] - arrivals).ravel()
    batches = gathered(rate, size, service, servers)
    for level in (0.5, 0.95, 0.99, 0.999):
        assert of(batches.wait_quantile(expression(level))) >= np.quantile(waits, level) * 0.98
        assert of(batches.latency_quantile(expression(level))) >= np.quantile(waits + service, level) * 0.98
    assert of(batches.latency_quantile(expression(0.99))) <= np.quantile(waits + service, 0.99) * closer
    assert of(batches.mean_wait) >= waits.mean() * 0.98
