"""Queues: the latency of requests to replicas, and the wait of jobs for a cluster.

One queue, first come first served, with c equal servers. With exponential interarrival and service times (M/M/c)
everything here is exact. Other variability is an approximation in two moments:

* The share of arrivals that wait is Erlang's C.
* The mean wait of those who wait goes from the light- to the heavy-traffic limit linearly in the utilization (Tijms
  2003, section 9.6). It is exact for one server (Pollaczek-Khinchine) and for exponential service; for constant service
  and 2 to 100 servers the mean wait is within 14 % wherever one arrival in a hundred or more waits (Crommelin's exact
  values), for lognormal service with a coefficient of variation of 2 within 12 % (simulated).
* That wait is taken as exponential. For constant service on one server this puts the P99 of the latency 13 % too high
  at a utilization of 0.5, 3 % at 0.9. For heavy tails it is too low: by a third for lognormal service of coefficient 2
  on one server at 0.7.
* The service is a constant and an exponential part where it varies less than exponentially, a mixture of two
  exponentials with balanced means (Whitt 1982) where it varies more.

Arrivals that are not Poisson enter the heavy-traffic limit only (Allen-Cunneen), not the share that waits: the mean
wait is then within 40 % at a utilization of 0.8 and coefficients from 0.5 to 2.

Sources: Erlang 1917; Kleinrock 1975, section 3.5; Allen 1990, section 5.3; Tijms 2003, section 9.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from mlsysim_opt.algebra.atoms import (
    ceildiv,
    erlang_c,
    exp,
    exponential_mean,
    filling_quantile,
    floor,
    log,
    maximum,
    minimum,
    poisson_below,
    sojourn_quantile,
    sojourn_tail,
    sqrt,
    wait_decay,
    where,
)
from mlsysim_opt.algebra.expression import Expression, constant, expression, symbols
from mlsysim_opt.algebra.invert_whole import Boundary, invert_integer
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View
from mlsysim_opt.units import RATE, REQUEST, TIME, Measure, as_measure, divide, parse_unit, to_si

if TYPE_CHECKING:
    from mlsysim_opt.physics.inverse import SolvedFor


@dataclass(frozen=True)
class Queue:
    """One queue before equal servers.

    Attributes:
        arrival_rate: arrivals per time. service: mean time of a service. servers: how many work at the same time.
        service_cv, arrival_cv: standard deviation over mean of service and interarrival times.
    """

    arrival_rate: Expression
    service: Expression
    servers: Expression
    service_cv: Expression = ONE
    arrival_cv: Expression = ONE

    @cached_property
    def load(self) -> Expression:
        """Work that arrives, in servers."""
        return self.arrival_rate * self.service

    @cached_property
    def utilization(self) -> Expression:
        """Offered load per server; above 1 the queue grows without end."""
        return self.load / self.servers

    @cached_property
    def stable(self) -> Expression:
        """Whether the servers keep up."""
        return self.load < self.servers

    @cached_property
    def wait_probability(self) -> Expression:
        """Share of arrivals that wait."""
        return erlang_c(self.load, self.servers)

    @cached_property
    def wait_of_waiting(self) -> Expression:
        """Mean wait of those who wait; infinite where the queue is not stable.

        For exponential service the three terms are 1 / (servers - load).
        """
        c, of_service = self.servers, self.service_cv**2
        light = 1 / (c + 1) + of_service / (c * (c + 1))
        heavy = (self.arrival_cv**2 + of_service) / 2 * self.utilization * exponential_mean(c - self.load)
        return self.service * (light + heavy)

    @cached_property
    def mean_wait(self) -> Expression:
        return self.wait_probability * self.wait_of_waiting

    @cached_property
    def length(self) -> Expression:
        """Mean number that wait (Little's law)."""
        return self.arrival_rate * self.mean_wait

    def wait_quantile(self, level: Expression) -> Expression:
        """Return the wait that a share of `level` of all arrivals does not exceed."""
        return self.wait_of_waiting * log(maximum(self.wait_probability / (1 - level), 1))

    def latency_quantile(self, level: Expression) -> Expression:
        """Return the time for waiting and service that a share of `level` of all arrivals does not exceed."""
        return self.constant + sojourn_quantile(self.wait_probability, self.wait_of_waiting, *self.mixture, level)

    @cached_property
    def time(self) -> Expression:
        """Mean time with a server of those whose latency is asked for."""
        return self.service

    @cached_property
    def constant(self) -> Expression:
        """The part of a service that is always the same."""
        return self.time * (1 - minimum(self.service_cv, 1))

    @cached_property
    def mixture(self) -> tuple[Expression, Expression, Expression]:
        """Two means of the exponential part of a service, and the share of the first.

        A value has a kink at exponential service, where one form of service goes over into the other: of four servers
        at a utilization of 0.8, P99 rises by 5.4 mean services per unit of cv below 1 and by 7.0 above. The derivative
        there is the one from below.
        """
        cv = self.service_cv
        share = where(cv > 1, (1 + sqrt((cv**2 - 1) / (cv**2 + 1))) / 2, 0.5)
        mean = self.time * minimum(cv, 1)
        return mean / (2 * share), mean / (2 * (1 - share)), share

    def waits_beyond(self, limit: Expression) -> Expression:
        """Return the share of arrivals that wait longer than a limit; all of them for one below zero."""
        return where(limit >= 0 * limit, self.wait_probability * exp(-limit / self.wait_of_waiting), 1)

    def takes_beyond(self, limit: Expression) -> Expression:
        """Return the share of arrivals whose wait and service take longer than a limit; all where it is unstable."""
        rest = limit - self.constant
        tail = sojourn_tail(maximum(rest, 0 * rest), self.wait_probability, self.wait_of_waiting, *self.mixture)
        return where(self.stable & (rest >= 0 * rest), tail, 1)


def occupied_share(mean: Expression, places: Expression) -> Expression:
    """Return the share of the time in which some place is taken, for a mean number of taken places.

    One less the chance that Poisson many are none, which is that of places without end; and, by Little's law, the mean
    over all places at least, which it is for a single place.
    """
    return minimum(maximum(1 - exp(-mean), mean / places), 1)


@dataclass(frozen=True)
class Gathered:
    """Requests that come at random and are gathered into batches of a fixed size, for servers that take a constant time
    for each (static batching).

    The request behind which i more are missing in its batch starts at the later of two times after it came: when they
    have come (an Erlang time), or when a server is free of the batches before. These two are independent, as one
    depends on arrivals after the request and the other on those before. The chance that the second is longer than t is
    at most (1 + y)^i exp(-y t), in mean times between arrivals (`wait_decay` gives y). With servers of equal constant
    times each takes every c-th batch, so that this holds for any number of them. The quantiles here give each half of
    the missing share and are thus **upper bounds, not estimates**; those of the filling alone are exact. So is the mean
    of the filling, and that of the wait behind other batches an upper bound (Daley 1977: Kingman's bound with
    utilization (2 - utilization) in place of 1 for the arrivals). A batch of one is an ordinary request (`Queue`).

    Sources: Kingman 1970, Inequalities in the theory of queues (the exponential bound); Daley 1977, as in Tran-Gia and
    Hossfeld 2021, Performance Modeling and Analysis of Communication Networks, section 5.6.3.

    Attributes:
        arrival_rate: requests per time. size: requests of a batch. service: time of a batch. servers: how many.
    """

    arrival_rate: Expression
    size: Expression
    service: Expression
    servers: Expression

    @cached_property
    def single(self) -> Queue:
        """The queue of batches of one."""
        return Queue(self.arrival_rate, self.service, self.servers, ZERO)

    @cached_property
    def load(self) -> Expression:
        """Work that arrives, in servers."""
        return self.arrival_rate / self.size * self.service

    @cached_property
    def utilization(self) -> Expression:
        """Share of the time a server is busy; above 1 the queue grows without end."""
        return self.load / self.servers

    @cached_property
    def stable(self) -> Expression:
        """Whether the servers keep up."""
        return self.load < self.servers

    @cached_property
    def mean_filling(self) -> Expression:
        """Mean wait for the batch to fill: (size - 1) / rate for its first request, none for its last."""
        return (self.size - 1) / (2 * self.arrival_rate)

    @cached_property
    def mean_wait(self) -> Expression:
        """Mean time from arrival to the start of the batch, at most."""
        u = self.utilization
        behind = u * (2 - u) / 2 * exponential_mean(self.arrival_rate * (1 - u))
        return self.mean_filling + where(self.size > 1, behind, self.single.mean_wait)

    def filling(self, level: Expression) -> Expression:
        """Return the wait for the batch to fill that a share of `level` of all requests does not exceed."""
        return filling_quantile(self.size, level) / self.arrival_rate

    def behind(self, missing: Expression) -> Expression:
        """Return a time until a server is free of the batches before that at most a share of `missing` exceeds.

        The mean over i of (1 + y)^i exp(-y x) is ((1 + y)^size - 1) / (size y) exp(-y x), and ln(1 + y) is y times the
        utilization.
        """
        y = wait_decay(self.utilization)
        full = self.size * self.utilization
        started = (1 - exp(-full * y)) / (self.size * y)
        longest = full + log(maximum(started / missing, exp(-full * y))) / y
        return where(self.stable, longest, exponential_mean(ZERO)) / self.arrival_rate

    def starts_beyond(self, limit: Expression) -> Expression:
        """Return a share of requests that is never less than that of those whose batch starts later than a limit."""
        count = maximum(limit, 0 * limit) * self.arrival_rate
        others = self.size - 1
        filling = (others * poisson_below(others, count) - count * poisson_below(others - 1, count)) / self.size
        y = wait_decay(self.utilization)
        full = self.size * self.utilization
        behind = exp((full - count) * y) * (1 - exp(-full * y)) / (self.size * y)
        bound = where(self.stable & (limit >= 0 * limit), minimum(filling + behind, 1), 1)
        return where(self.size > 1, bound, self.single.waits_beyond(limit))

    def wait_quantile(self, level: Expression) -> Expression:
        """Return a time to the start of the batch that a share of `level` of all requests does not exceed."""
        missing = (1 - level) / 2
        either = maximum(self.filling(1 - missing), self.behind(missing))
        return where(self.size > 1, either, self.single.wait_quantile(level))

    def latency_quantile(self, level: Expression) -> Expression:
        """Return a time to the end of the batch that a share of `level` of all requests does not exceed."""
        either = self.wait_quantile(level) + self.service
        return where(self.size > 1, either, self.single.latency_quantile(level))


@dataclass(frozen=True)
class Arrivals(Number):
    """A rate of arrivals: per time, or requests per time."""

    def _measure(self, value: Any) -> Measure:
        measure = as_measure(value, self.name)
        if measure.dimension == divide(REQUEST, TIME):
            return Measure(measure.si, parse_unit("1/s"))
        return super()._measure(value)


QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}


class TailLatencyResult(Result):
    """Latency and wait by quantile, and the state of the queue."""

    units: ClassVar[dict[str, str]] = dict.fromkeys(
        ("latency", "mean_latency", "mean_wait", *(f"{name}_{of}" for name in QUANTILES for of in ("latency", "wait"))),
        "ms",
    )
    latency: Any
    p50_latency: Any
    p95_latency: Any
    p99_latency: Any
    p999_latency: Any
    mean_latency: Any
    p50_wait: Any
    p95_wait: Any
    p99_wait: Any
    p999_wait: Any
    mean_wait: Any
    wait_probability: Any
    queue_length: Any
    queue_utilization: Any
    is_stable: Any
    capacity: Any
    slo_headroom: Any


class TailLatencyModel(Model):
    """Waiting and latency of requests that share some replicas, by quantile.

    Latency is waiting and service together, and so are its quantiles: the P99 of the sum, which is neither the sum of
    two P99s nor the P99 of the wait and a mean service. `queue_utilization` is the offered load per replica and exceeds
    1 where the replicas do not keep up; the queue is then unstable, that constraint is violated and latencies are
    infinite. `latency` is the one at `quantile`; with an objective `slo` for it, `slo_headroom` is the share of it that
    is left (negative where it is missed), and absent otherwise.

    Sources and accuracy: see `queueing`.
    """

    wall = 7
    inputs = (
        Arrivals("arrival_rate", "requests per second", unit="1/s", of=RATE, open_low=True, bare=True),
        Number("service_latency", "mean time of one request on an idle replica", unit="ms", of=TIME, open_low=True,
               bare=True),
        Number("num_replicas", "replicas, each serving one request at a time", default=1, integer=True, low=1),
        Number("service_time_cv", "standard deviation of the service time over its mean", default=1.0),
        Number("arrival_cv", "the same of the times between arrivals; 1 for Poisson arrivals", default=1.0),
        Number("quantile", "share of requests that `latency` is for", default=0.99, high=1.0),
        Number("slo", "objective for the latency at the quantile", default=None, unit="ms", of=TIME, open_low=True,
               bare=True),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {
        "arrival_rate_qps": "arrival_rate", "service_latency_ms": "service_latency", "replicas": "num_replicas",
        "slo_latency_ms": "slo",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {"arrival_rate": "50 1/s", "service_latency": "10 ms", "num_replicas": 4}

    def equations(self, **leaves: Any) -> TailLatencyResult:
        queue = Queue(
            leaves["arrival_rate"],
            leaves["service_latency"],
            leaves["num_replicas"],
            leaves["service_time_cv"],
            leaves["arrival_cv"],
        )
        latency, slo = queue.latency_quantile(leaves["quantile"]), leaves["slo"]
        rules = {"queue is stable": queue.stable}
        if slo is not None:
            rules["latency meets the objective"] = latency <= slo
        latencies = {f"{name}_latency": queue.latency_quantile(expression(level)) for name, level in QUANTILES.items()}
        waits = {f"{name}_wait": queue.wait_quantile(expression(level)) for name, level in QUANTILES.items()}
        return TailLatencyResult(
            **latencies,
            **waits,
            latency=latency,
            mean_latency=queue.mean_wait + queue.service,
            mean_wait=queue.mean_wait,
            wait_probability=queue.wait_probability,
            queue_length=queue.length,
            queue_utilization=queue.utilization,
            is_stable=queue.stable,
            capacity=queue.servers / queue.service,
            slo_headroom=None if slo is None else 1 - latency / slo,
            constraints=rules,
        )

    def max_arrival_rate(self, target: Any, *, quantile: float = 0.99, **given: Any) -> SolvedFor:
        """Return the arrival rate at which the latency at `quantile` reaches `target`: the inverse of `latency`.

        Args:
            target: the latency, with its unit. given: all other inputs but the arrival rate.
        Raises:
            NotInvertibleError: even a request that never waits takes longer.
        """
        found: SolvedFor = self.solve_for("latency", target, unknown="arrival_rate", quantile=quantile, **given)
        return found

    def min_replicas(self, target: Any, *, quantile: float = 0.99, **given: Any) -> Boundary:
        """Return the smallest number of replicas whose latency at `quantile` is at most `target`.

        The answer names the neighbour that fails (`fails_at`), checked by evaluation.

        Args:
            target: the latency, with its unit. given: all other inputs but the replicas.
        Raises:
            NotInvertibleError: no number of replicas is fast enough.
        """
        values = self.check(**given, quantile=quantile, num_replicas=1)
        latency = self.output("latency", self.trace(values))
        known = self.leaf_values(values)
        known.pop("num_replicas")
        replicas = next(leaf for leaf in symbols(latency) if leaf.name == "num_replicas")
        goal = constant(to_si(target, TIME, "target"), TIME)
        return invert_integer(latency <= goal, replicas, values=known)


class _Slots(Queue):
    """A queue whose servers may be none at all, because no job fits: then everybody waits for ever."""

    @cached_property
    def utilization(self) -> Expression:
        return self.load * exponential_mean(self.servers)

    @cached_property
    def wait_of_waiting(self) -> Expression:
        return where(self.servers >= 1, super().wait_of_waiting, self.service * exponential_mean(self.servers))


class OrchestrationResult(Result):
    """How busy a cluster is and how long jobs wait for it."""

    units: ClassVar[dict[str, str]] = {"avg_wait_time_days": "day", "avg_turnaround_days": "day", "capacity": "1/day"}
    units |= dict.fromkeys(("p50_wait_time", "p95_wait_time", "p99_wait_time"), "h")
    floats = frozenset(("avg_wait_time_days", "avg_turnaround_days"))
    cluster_utilization: Any
    accelerator_utilization: Any
    avg_wait_time_days: Any
    avg_turnaround_days: Any
    avg_queue_length: Any
    wait_probability: Any
    p50_wait_time: Any
    p95_wait_time: Any
    p99_wait_time: Any
    job_slots: Any
    capacity: Any
    is_stable: Any


class OrchestrationModel(Model):
    """Wait of jobs for a cluster that runs as many of them at a time as fit.

    Jobs arrive at random (Poisson), are of one size, and start in order of arrival as soon as there is room. A job
    smaller than a node shares it; a larger one takes whole nodes. **Without `job_size` a job takes the whole cluster**,
    so that one runs at a time; the assumption stands in the result. `duration_cv` of 1 makes durations exponential
    (exact); recorded clusters show 2 and more. `cluster_utilization` is the offered load per slot and exceeds 1 where
    the queue grows without end. A job that does not fit the cluster waits for ever, and that constraint is violated.

    Sources and accuracy: see `queueing`; Jeon et al. 2019 (Philly: durations over several orders of magnitude).
    """

    wall = 16
    inputs = (
        Given("fleet", kind="fleet"),
        Number("arrival_rate_jobs_per_day", "jobs per day", unit="1/day", of=RATE, open_low=True, bare=True),
        Number("avg_job_duration_days", "mean duration of a job", unit="day", of=TIME, open_low=True, bare=True),
        Number("job_size", "accelerators of a job; all of them where absent", default=None, integer=True, low=1),
        Number("duration_cv", "standard deviation of the duration over its mean", default=1.0),
        Number("arrival_cv", "the same of the times between arrivals; 1 for Poisson arrivals", default=1.0),
    )
    aliases: ClassVar[dict[str, str]] = {
        "arrival_rate": "arrival_rate_jobs_per_day", "avg_duration": "avg_job_duration_days",
        "avg_duration_days": "avg_job_duration_days", "accelerators_per_job": "job_size",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {
        "fleet": "Research_256", "arrival_rate_jobs_per_day": 12, "avg_job_duration_days": 0.5, "job_size": 32,
    }  # fmt: skip

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        found = super().assumptions(values)
        if values["job_size"] is None:
            found["job_size"] = "the whole cluster, one job at a time"
        return found

    def equations(self, **leaves: Any) -> OrchestrationResult:
        fleet: View = leaves["fleet"]
        per_node, nodes = fleet.below("node").accelerators_per_node, fleet.node_count
        devices, size = nodes * per_node, leaves["job_size"]
        if size is None:
            size, slots = devices, ONE
        else:
            slots = where(size > per_node, floor(nodes / ceildiv(size, per_node)), nodes * floor(per_node / size))
        queue = _Slots(
            leaves["arrival_rate_jobs_per_day"],
            leaves["avg_job_duration_days"],
            slots,
            leaves["duration_cv"],
            leaves["arrival_cv"],
        )
        return OrchestrationResult(
            cluster_utilization=queue.utilization,
            accelerator_utilization=minimum(queue.load, slots) * size / devices,
            avg_wait_time_days=queue.mean_wait,
            avg_turnaround_days=queue.mean_wait + queue.service,
            avg_queue_length=queue.length,
            wait_probability=queue.wait_probability,
            p50_wait_time=queue.wait_quantile(expression(0.5)),
            p95_wait_time=queue.wait_quantile(expression(0.95)),
            p99_wait_time=queue.wait_quantile(expression(0.99)),
            job_slots=slots,
            capacity=slots / queue.service,
            is_stable=queue.stable,
            constraints={"a job fits the cluster": size <= devices, "queue is stable": queue.stable},
        )
