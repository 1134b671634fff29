"""Replicas with continuous batching under requests that come at random: what waits for what, and how full they are.

A request waits twice, first come first served: for a place in a replica, and for the passes that process the prompts
before its own. A pass decodes a token (or a round of speculation) for every request, and carries a part of one prompt
where one is at hand; `Batching.at_once` prompts are processed at the same time, each in a lane of its own. With a load
of l requests per time, w decode steps of a request, k passes of a prompt that take C each and save s when they share
one with a step, and steps that take D(n) = a + b n for n requests:

* A prompt takes S = k (C + D - s), as each of its passes also decodes. The lanes are an M/D/c queue (`Queue`) of such
  services: an estimate, not a bound. They keep up while l S < lanes.
* Passes with a prompt lengthen the mean time between tokens to D / (1 - l k (C - s) / lanes).
* Little's law closes the circle: n = l w (a + b (n + 1)) / (1 - l k (C - s) / lanes), as a request meets n others. It
  never exceeds w lanes / k: there every pass carries a prompt, and the lanes no longer keep up.
* The more requests, the slower each: with p = l (b w + k (C - s) / lanes) their number is negative binomial with this
  mean and the variance n / (1 - p) (processor sharing, whatever the service: Kelly 1979, section 3.3). Quantiles take
  it as normal, and its quantile at most where exp(-z^2 / 2) / 2 is the missing share (an upper bound of a normal tail).
* The share that waits for a place is Erlang's C, requests and places scaled to the variance of a Poisson number
  (Hayward: Fredericks 1980); whoever waits does so behind a full replica.

A quantile adds those of both waits and of the slowing down: as if who is unlucky with one were so with all. All are
estimates. Against simulations of the passes at 30 to 80 % of the capacity (tests/physics/test_pool.py) P50 and P99 of
TTFT and latency are 18 % too short to 60 % too long; beyond, a place is waited for by half of all requests from a load
on that is known to within 4 % only, and there a median TTFT may be half of what it is.

Sources: Little 1961; Kelly 1979, Reversibility and Stochastic Networks; Fredericks 1980, Congestion in Blocking
Systems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

from mlsysim_opt.algebra.atoms import ceil, erlang_c, exp, floor, log, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.expression import Expression, constant
from mlsysim_opt.physics.batching import Batching
from mlsysim_opt.physics.forward import NO_TIME
from mlsysim_opt.physics.queueing import Queue, occupied_share
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.units import TIME

LEAST = constant(1e-15, TIME)
"""So short a time is none, where something is divided by it."""


@dataclass(frozen=True)
class Places(Queue):
    """A queue before places that are left the later, the more of them are taken.

    `service` is the time in a full replica: it says how fast the queue drains.

    Attributes:
        held: mean time in a place under the load. taken: mean number of taken places. crowding: by how much their
            variance exceeds their mean, as a share of the variance.
    """

    held: Expression = NO_TIME
    taken: Expression = ZERO
    crowding: Expression = ZERO

    @cached_property
    def time(self) -> Expression:
        return self.held

    @cached_property
    def wait_probability(self) -> Expression:
        """Share of arrivals that wait."""
        alike = 1 - self.crowding
        found = erlang_c(self.taken * alike, maximum(floor(self.servers * alike), 1))
        return where(self.stable, found, 1)


@dataclass(frozen=True)
class Part:
    """A part of a latency: the time that a share of all requests does not exceed, and the share that exceeds a time."""

    quantile: Callable[[Expression], Expression]
    beyond: Callable[[Expression], Expression]


@dataclass(frozen=True)
class Pool:
    """Replicas with continuous batching, all places of which serve one queue.

    Attributes:
        inside: a full replica; its requests are the places. replicas: how many there are. arrival_rate: of requests.
        service_cv: standard deviation over mean of the time a request stays.
    """

    inside: Batching
    replicas: Expression
    arrival_rate: Expression
    service_cv: Expression

    @cached_property
    def places(self) -> Expression:
        """Requests that a replica holds at once."""
        return self.inside.active

    @cached_property
    def lanes(self) -> Expression:
        """Prompts that a replica processes at once."""
        return self.inside.at_once

    @cached_property
    def steps(self) -> Expression:
        """Decode steps of a request."""
        return (self.inside.output - 1) / self.inside.step_tokens

    @cached_property
    def most(self) -> Expression:
        """Requests that a replica decodes at once at most: with more, every pass would carry more than one prompt."""
        return maximum(minimum(self.places, self.steps * self.lanes / self.inside.prefill_passes), 1)

    @cached_property
    def alone(self) -> Batching:
        """A replica with one request."""
        return replace(self.inside, clients=ONE)

    @cached_property
    def fullest(self) -> Batching:
        """A replica that decodes as many as it can."""
        return replace(self.inside, clients=self.most)

    # passes -----------------------------------------------------------------------------------------------------------
    def step(self, requests: Expression) -> Expression:
        """Return the time of a decode step, nearly affine in the requests of the batch."""
        return self.alone.round_time + (requests - 1) * self.step_slope

    @cached_property
    def step_slope(self) -> Expression:
        """Time by which each more request lengthens a step."""
        rise = self.fullest.round_time - self.alone.round_time
        return where(self.most > 1, rise / maximum(self.most - 1, 1e-9), NO_TIME)

    def prompt_time(self, requests: Expression) -> Expression:
        """Return the time of the passes of one prompt, which also decode for all requests but its own, if there are."""
        shared = self.step(requests) - self.fullest.shared
        return self.inside.prompt_time + (1 - exp(1 - requests)) * self.inside.prefill_passes * shared

    @cached_property
    def stolen(self) -> Expression:
        """Time that one prompt takes from those who decode."""
        alone = self.inside.prompt_time - self.inside.prefill_passes * self.fullest.shared
        return maximum(alone, NO_TIME) / self.lanes

    @cached_property
    def each(self) -> Expression:
        """Requests per time of one replica."""
        return self.arrival_rate / self.replicas

    # load -------------------------------------------------------------------------------------------------------------
    @cached_property
    def rate(self) -> Expression:
        """Requests that one replica answers per time at most: its places or its prompts limit it."""
        return minimum(self.places / self.inside.cycle, self.lanes / self.prompt_time(self.most))

    @cached_property
    def slowing(self) -> Expression:
        """Time by which each request lengthens the stay of another."""
        return where(self.places > 1, self.steps * self.step_slope + self.stolen, NO_TIME)

    @cached_property
    def crowding(self) -> Expression:
        """Share of the variance of the number of requests that is due to each slowing the others."""
        return minimum(self.each * self.slowing, 1 - 1e-9)

    @cached_property
    def decoding(self) -> Expression:
        """Mean number of requests that a replica decodes."""
        found = self.each * self.steps * self.alone.round_time / (1 - self.crowding)
        return minimum(found, self.most)

    @cached_property
    def batch(self) -> Expression:
        """Requests in the batch of a request, on average: those that it meets, and itself."""
        return minimum(self.decoding + 1, self.most)

    @cached_property
    def spread(self) -> Expression:
        """Standard deviation of the number of requests of a replica."""
        return sqrt(self.decoding / (1 - self.crowding))

    @cached_property
    def undisturbed(self) -> Expression:
        """Share of the time that prompts leave for decoding."""
        return maximum(1 - self.each * self.stolen, 1e-9)

    @cached_property
    def itl(self) -> Expression:
        """Mean time between two tokens, the prompts of others that come between them included."""
        mean = self.step(self.batch) / self.inside.step_tokens
        return where(self.places > 1, mean / self.undisturbed, mean)

    @cached_property
    def own_prompt(self) -> Expression:
        """Time of the passes of a request's own prompt."""
        return self.prompt_time(self.batch)

    @cached_property
    def stay(self) -> Expression:
        """Mean time of a request in its place."""
        return self.own_prompt + (self.inside.output - 1) * self.itl

    @cached_property
    def busy(self) -> Expression:
        """Share of the time in which a replica holds a request."""
        return occupied_share(self.each * self.stay, self.places)

    # waits ------------------------------------------------------------------------------------------------------------
    @cached_property
    def prompts(self) -> Queue:
        """The queue of prompts. They wait when a replica is fuller than on average, and then their passes take longer:
        by how many standard deviations is a number of the scheduler, fitted on simulations."""
        fuller = minimum(self.batch + self.spread * self.inside.scheduler.waiting_deviations, self.most)
        return Queue(self.arrival_rate, self.prompt_time(fuller), self.replicas * self.lanes, ZERO)

    @cached_property
    def queue(self) -> Places:
        """All places behind one queue."""
        places = self.replicas * self.places
        return Places(
            self.arrival_rate, self.inside.cycle, places, self.service_cv,
            held=self.stay, taken=self.replicas * self.decoding, crowding=self.crowding,
        )  # fmt: skip

    @cached_property
    def stable(self) -> Expression:
        """Whether places and prompts keep up."""
        return (self.queue.load < self.queue.servers) & (self.prompts.load < self.prompts.servers)

    @cached_property
    def utilization(self) -> Expression:
        """Load over the most that the replicas answer; above 1 a queue grows without end."""
        return self.each / self.rate

    @cached_property
    def front_end(self) -> Expression:
        """Time of a request outside the passes."""
        return self.inside.scheduler.front_end

    @cached_property
    def mean_wait(self) -> Expression:
        """Mean wait for a place and for the prompts before one's own."""
        return self.queue.mean_wait + self.prompts.mean_wait

    @cached_property
    def mean_ttft(self) -> Expression:
        """Mean time from arrival to the first token."""
        return self.front_end + self.mean_wait + self.own_prompt

    @cached_property
    def mean_latency(self) -> Expression:
        """Mean time from arrival to the last token."""
        return self.front_end + self.mean_wait + self.stay

    # quantiles --------------------------------------------------------------------------------------------------------
    def occupancy(self, level: Expression) -> Expression:
        """Return the requests in the batch of a request that a share of `level` does not exceed."""
        return minimum(self.batch + self.spread * _deviations(level), self.most)

    def token_gap(self, level: Expression) -> Expression:
        """Return the time that a share of `level` of all gaps between two tokens of a request does not exceed.

        A gap is a step at the quantile of the occupancy, with a pass of a prompt where these are that frequent; the
        pass is taken to be the longest, the last of a prompt. Tokens of one round of speculation count as evenly
        spread.
        """
        pass_time = self.step(self.batch) / self.undisturbed
        carrying = self.each * ceil(self.inside.prefill_passes) / self.lanes * pass_time
        longest = maximum(self.inside.longest_pass - self.fullest.shared, NO_TIME)
        disturbed = (self.places > 1) & (carrying > 1 - level)
        return self.step(self.occupancy(level)) / self.inside.step_tokens + where(disturbed, longest, NO_TIME)

    @cached_property
    def _waits(self) -> list[Part]:
        return [Part(item.wait_quantile, item.waits_beyond) for item in (self.prompts, self.queue)]

    @cached_property
    def _stays(self) -> list[Part]:
        """The wait for the prompts before, that for a place with the stay, and what crowds add to the stay."""
        crowd = self.spread * self.slowing

        def beyond(time: Expression) -> Expression:
            return exp(-((time / maximum(crowd, LEAST)) ** 2) / 2) / 2

        slowed = Part(lambda level: crowd * _deviations(level), beyond)
        return [self._waits[0], Part(self.queue.latency_quantile, self.queue.takes_beyond), slowed]

    def wait(self, level: Expression) -> Expression:
        """Return the wait before the prompt that a share of `level` of all requests does not exceed."""
        return _added(self._waits, level)

    def ttft(self, level: Expression) -> Expression:
        """Return the time from arrival to the first token that a share of `level` of all requests does not exceed."""
        return self.front_end + self.wait(level) + self.own_prompt

    def latency(self, level: Expression) -> Expression:
        """Return the time from arrival to the last token that a share of `level` of all requests does not exceed."""
        return self.front_end + _added(self._stays, level)

    def ttft_beyond(self, limit: Expression, level: Expression) -> Expression:
        """Return the share of requests with a longer TTFT than a limit, at most; best near the quantile of `level`."""
        return _beyond(self._waits, limit - self.front_end - self.own_prompt, level, self.stable)

    def latency_beyond(self, limit: Expression, level: Expression) -> Expression:
        """Return the share of requests that take longer than a limit, at most; best near the quantile of `level`."""
        return _beyond(self._stays, limit - self.front_end, level, self.stable)


def _deviations(level: Expression) -> Expression:
    """Return how many standard deviations above its mean a normal number is at a level at most; 0 below its median."""
    return sqrt(2 * log(maximum(1 / (2 * (1 - level)), 1)))


def _added(parts: Sequence[Part], level: Expression) -> Expression:
    return reduce(Expression.__add__, (part.quantile(level) for part in parts))


def _beyond(parts: Sequence[Part], limit: Expression, level: Expression, stable: Expression) -> Expression:
    """Return the share for which the sum of quantiles exceeds a limit, at most.

    However the limit is divided, the sum at that share exceeds it only where some part exceeds its own. The limit is
    divided as the quantiles at the level are, and evenly; the lower of both bounds counts.
    """
    total = maximum(_added(parts, level), LEAST)
    shares = [where(stable, part.quantile(level) / total, 1 / len(parts)) for part in parts]
    divided = [reduce(maximum, (part.beyond(limit * share) for part, share in zip(parts, shares, strict=True)))]
    divided.append(reduce(maximum, (part.beyond(limit / len(parts)) for part in parts)))
    return where(stable & (limit >= NO_TIME), minimum(*divided), 1)
