"""Failures of large jobs: how often, what they cost, and how often to save.

Failures come at random with a constant rate (exponential times between them), the sum of the rates of all parts. A
failure loses the work since the last checkpoint and a recovery, which may fail too. Nothing is linearized, so that the
goodput is right where failures are as frequent as checkpoints.

Sources: Young 1974; Daly 2006 (expected run time, equations 13 and 17); Llama Team 2024, section 3.3.4; Kokolis et al.
2025 (rates); Pyke 1965, "Spacings" (longest stretch).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, best_interval, exp, exponential_mean, log, minimum
from mlsysim_opt.algebra.expression import Expression, expression, symbols
from mlsysim_opt.algebra.invert_whole import Boundary, invert_integer
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.physics.view import View
from mlsysim_opt.units import TIME

PROGRESS = 1e-9
"""Share of time from which on a job counts as making progress: a second of work in 30 years is none."""
EULER = 0.5772156649015329
"""The difference between the harmonic numbers and the logarithm, in the limit."""
DEFAULT_RATES = "Llama3_H100"
"""The record of failures that is used where none is named: the largest with published causes."""


@dataclass(frozen=True)
class FailureRates:
    """Failures per time of all the parts of a job that runs on whole nodes.

    Attributes:
        rates: the catalog entry with the rate of each part. nodes: how many nodes work. node: one of them.
    """

    rates: View
    nodes: Expression
    node: View

    @cached_property
    def accelerators(self) -> Expression:
        return self.nodes * self.node.accelerators_per_node * self.rates.accelerator_rate

    @cached_property
    def network(self) -> Expression:
        return self.nodes * self.node.nics_per_node * self.rates.port_rate

    @cached_property
    def hosts(self) -> Expression:
        return self.nodes * self.rates.host_rate

    @cached_property
    def software(self) -> Expression:
        return self.nodes * self.node.accelerators_per_node * self.rates.software_rate

    @cached_property
    def total(self) -> Expression:
        return self.accelerators + self.network + self.hosts + self.software


@dataclass(frozen=True)
class Interrupted:
    """Work that is saved at intervals, fails at random and goes on from the last checkpoint.

    Attributes:
        mtbf: mean time between failures. saving: time the work stands still for a checkpoint.
        recovery: time from a failure until the work goes on.
        interval: work between two checkpoints; None for the one that loses the least time.
    """

    mtbf: Expression
    saving: Expression
    recovery: Expression
    interval: Expression | None = None

    @cached_property
    def best(self) -> Expression:
        """The interval that loses the least time, in mean times between failures."""
        return best_interval(self.saving / self.mtbf)

    @cached_property
    def between(self) -> Expression:
        """Work between two checkpoints."""
        return self.best * self.mtbf if self.interval is None else self.interval

    @cached_property
    def recovered(self) -> Expression:
        """Share of time not spent recovering: every failure costs a recovery, unless the next one comes before."""
        return exp(-(self.recovery / self.mtbf))

    @cached_property
    def goodput(self) -> Expression:
        """Share of time that is lasting progress: Daly's expected time of one interval into the interval.

        At the best interval it simplifies to what its best share of the mean time between failures leaves.
        """
        if self.interval is None:
            return (1 - self.best) * self.recovered
        return self.interval / self.mtbf * self.recovered / (exp((self.interval + self.saving) / self.mtbf) - 1)

    @cached_property
    def checkpoint_share(self) -> Expression:
        """Share of time for checkpoints that count."""
        return self.goodput * self.saving / self.between


def tiered(
    frequent: Expression,
    severe: Expression,
    saving: Expression,
    recovery: Expression,
    interval: Expression,
    persist_every: Expression,
) -> Interrupted:
    """Return work whose checkpoints stay in host memory, every so many-th also in storage, as failures of hosts see it.

    Failures that leave the hosts up go back to the last checkpoint; those of hosts to the last one in storage. To the
    latter, the work between two checkpoints in storage is one interval, as long as the former make it on average. (With
    its mean for its distribution, the goodput is off by less than 0.002 where it is above 0.6.)

    Args:
        frequent, severe: rates of failures that leave host memory, and that do not. saving, recovery, interval: as in
            `Interrupted`. persist_every: checkpoints from one in storage to the next.
    """
    near = Interrupted(1 / frequent, saving, recovery, interval)
    work = persist_every * interval
    return Interrupted(1 / severe, work / near.goodput - work, recovery, work)


def longest_stretch(duration: Expression, mtbf: Expression) -> Expression:
    """Return the expected longest time without a failure within a duration.

    Failures at random cut a duration into one piece more than there are of them, evenly distributed; the longest of m
    such pieces is H_m / m of the whole on average (Pyke 1965, "Spacings"), H_m = ln m + 0.5772 + 1 / 2m.
    """
    pieces = 1 + duration / mtbf
    return duration * minimum((log(pieces) + EULER + 1 / (2 * pieces)) / pieces, 1)


class ReliabilityResult(Result):
    """How often a job fails, how to save it, and what share of its time is progress."""

    units: ClassVar[dict[str, str]] = {
        "fleet_mtbf": "h", "optimal_interval": "min", "checkpoint_interval": "min", "useful_time": "h",
        "time_to_finish": "h", "longest_stretch": "h",
    }  # fmt: skip
    fleet_mtbf: Any
    expected_failures: Any
    failure_probability: Any
    longest_stretch: Any
    optimal_interval: Any
    checkpoint_interval: Any
    goodput: Any
    checkpoint_loss: Any
    recovery_loss: Any
    rework_loss: Any
    useful_time: Any
    time_to_finish: Any
    main_cause: Any

    @property
    def optimal_checkpoint_interval(self) -> Any:
        """The same as `optimal_interval`."""
        return self.optimal_interval

    @property
    def goodput_ratio(self) -> Any:
        """The same as `goodput`."""
        return self.goodput


class ReliabilityModel(Model):
    """Interruptions of a synchronous job on a whole fleet, the best checkpoint interval, and the goodput.

    The mean time between failures follows from the rates of the parts in a `reliability` entry (by default those of the
    16,384 H100 of Llama 3; a job that is not synchronous, or that has spares running, does better). `optimal_interval`
    is the exact optimum, sqrt(2 x checkpoint x MTBF) (Young) where checkpoints are much shorter than the MTBF. The
    goodput is that of `checkpoint_interval`, or of the optimum where none is given; `checkpoint_loss`, `recovery_loss`
    and `rework_loss` are the shares of time lost, and add up to the rest. `useful_time` is the progress within the
    duration, `longest_stretch` the longest time in it without a failure, `time_to_finish` how long work of that
    duration takes: for ever where failures leave no time for it (the constraint of progress is then violated). Planned
    interruptions are not counted.

    Sources: see `reliability`.
    """

    wall = 15
    inputs = (
        Given("fleet", kind="fleet"),
        Number("job_duration_hours", "wall-clock time of the job", default=None, unit="h", of=TIME, open_low=True,
               bare=True),
        Number("checkpoint_time_s", "time a checkpoint holds the job up", default=60.0, unit="s", of=TIME,
               open_low=True, bare=True),
        Number("avg_recovery_time_s", "from a failure until the job goes on", default=300.0, unit="s", of=TIME,
               bare=True),
        Number("job_duration_days", "the same in days", default=None, unit="day", of=TIME, open_low=True, bare=True),
        Number("checkpoint_interval", "work between two checkpoints; the best one where absent", default=None,
               unit="min", of=TIME, open_low=True),
        Given("reliability", "rates of failure", kind="reliability", default=DEFAULT_RATES),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {
        "job_duration": "job_duration_hours", "checkpoint_time": "checkpoint_time_s",
        "avg_recovery_time": "avg_recovery_time_s", "recovery_time": "avg_recovery_time_s",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {"fleet": "Meta_Llama3_16K_H100", "job_duration_days": 54}

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        values = super().check(*args, **given)
        if (values["job_duration_hours"] is None) == (values["job_duration_days"] is None):
            raise InputError(
                "give the duration of the job once: job_duration_hours or job_duration_days", path="job_duration_hours"
            )
        return values

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        found = super().assumptions(values)
        if values["checkpoint_interval"] is None:
            found["checkpoint_interval"] = "the one that loses the least time"
        if values["reliability"].name == DEFAULT_RATES:
            found["reliability"] = f"{DEFAULT_RATES}: {values['reliability'].title}"
        return found

    def equations(self, **leaves: Any) -> ReliabilityResult:
        fleet: View = leaves["fleet"]
        hours, days = leaves["job_duration_hours"], leaves["job_duration_days"]
        duration: Expression = days if hours is None else hours
        rates = FailureRates(leaves["reliability"], fleet.node_count, fleet.below("node"))
        mtbf = 1 / rates.total
        saving, recovery, interval = (
            leaves["checkpoint_time_s"],
            leaves["avg_recovery_time_s"],
            leaves["checkpoint_interval"],
        )
        job = Interrupted(mtbf, saving, recovery, interval)
        recovery_loss = 1 - job.recovered
        return ReliabilityResult(
            fleet_mtbf=mtbf,
            expected_failures=duration / mtbf,
            failure_probability=1 - exp(-(duration / mtbf)),
            longest_stretch=longest_stretch(duration, mtbf),
            optimal_interval=job.best * mtbf,
            checkpoint_interval=job.between,
            goodput=job.goodput,
            checkpoint_loss=job.checkpoint_share,
            recovery_loss=recovery_loss,
            rework_loss=1 - job.goodput - job.checkpoint_share - recovery_loss,
            useful_time=duration * job.goodput,
            time_to_finish=duration * exponential_mean(job.goodput),  # for ever, where nothing lasts
            main_cause=argmax_label(
                accelerators=rates.accelerators, network=rates.network, hosts=rates.hosts, software=rates.software
            ),
            constraints={"the job makes progress": job.goodput > PROGRESS},
        )

    def max_nodes(self, goodput: float, **given: Any) -> Boundary:
        """Return the largest number of nodes of the fleet's kind whose goodput is at least this, saved at the best
        interval.

        The answer names the neighbour that fails (`fails_at`), checked by evaluation.

        Args:
            goodput: the share of time wanted. given: inputs; of the fleet only the kind of node counts, and the
                duration of the job does not count at all.
        Raises:
            NotInvertibleError: not even one node reaches it.
            InputError: a checkpoint interval is given: it would have to change with the number of nodes.
        """
        if given.get("checkpoint_interval") is not None:
            raise InputError("the largest fleet is sought at the best interval", path="checkpoint_interval")
        if not {"job_duration_hours", "job_duration_days", "job_duration"} & given.keys():
            given["job_duration_hours"] = 1.0
        values = self.check(**given)
        root = self.output("goodput", self.trace(values))
        known = self.leaf_values(values)
        nodes = next(leaf for leaf in symbols(root) if leaf.name == "fleet.node_count")
        known.pop(nodes.name)
        return invert_integer(root >= expression(goodput), nodes, values=known, box=(1, 2**40))
