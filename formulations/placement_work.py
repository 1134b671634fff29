"""When the jobs of `placement` work, and in which periods nobody else has their accelerators.

A job that may pause works as long as it takes, in periods of its choice; one that may not begins with a period. It is
paid, and draws power, for its own time. Half the accelerators for twice the time are not the same job, so where
accelerators are shared it keeps all of its own for the whole of each period in which it works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mlsysim_opt.formulations.placement_givens import Array
from mlsysim_opt.formulations.placement_numbers import HOUR
from mlsysim_opt.formulations.placement_times import fits, periods_in, periods_of, too_little_time

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import Choice, Expression, constant, expression
from mlsysim_opt.optimize.coupled.blocks import FITS, Schedule
from mlsysim_opt.optimize.coupled.columns import over_product
from mlsysim_opt.optimize.coupled.problem import Largest
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.physics.operations import Run
from mlsysim_opt.units import TIME

if TYPE_CHECKING:
    from mlsysim_opt.formulations.placement_plan import Plan

ONE = expression(1)
WORKS, DEADLINE = "each job works as long as it takes", "jobs end by their deadline"


class Work:
    """The time of all jobs.

    Attributes:
        placed: which way each runs, and where. run, way: of a job, and the choices that say which way it is.
        family: what of jobs takes energy and accelerators: their picks, or hours or periods of work.
        kept: periods in which jobs keep accelerators from others, where these are amounts of their own.
        start: the period with which a job begins, where it does not pause; None where there is one period.
        rented_last: what such a job rents in its last period, beside held nodes.
    """

    def __init__(self, plan: Plan, job: Choice, run: Run, way: tuple[Choice, ...], placed: Family) -> None:
        self.plan, self.problem, self.job, self.run, self.way, self.placed = plan, plan.problem, job, run, way, placed
        self.family = placed
        self.kept: Family | None = None
        self.start: Choice | None = None
        self.rented_last: Family | None = None

    def standing(self, devices: Expression) -> Total:
        """Return the accelerators that jobs need at once in a period, of which each needs so many."""
        if self.plan.period is None:
            return self.placed.total(devices)
        if self.start is not None:
            return self.placed.total(devices * self._working())
        keeps = self.family if self.kept is None else self.kept
        return keeps.total(devices * (self.plan.one / self.plan.span))

    # jobs that run through --------------------------------------------------------------------------------------------
    def run_through(self, start: Choice | None) -> None:
        """Declare that jobs begin with a period (at their own start where there is one), and run through.

        Args:
            start: the period with which each begins.
        """
        plan, self.start = self.plan, start
        begins = self._window("start") if start is None else start * plan.span
        if start is not None:
            self.problem.allow("jobs begin when they may", fits(self._window("start"), begins))
            if plan.shared:
                self._tell("in which it works, the last one too; it pays for its own time")
        if plan.duration is not None or any(item["deadline"] is not None for item in plan.jobs):
            self.problem.allow(DEADLINE, fits(begins + self.run.time, self._window("deadline")))
            self._note_late(DEADLINE, None if start is None else plan.length)
        end = self.placed.total(begins + self.run.time)
        self.problem.measure("makespan", Largest(end, (self.job,)), unit="day", about="end of the last job")

    @property
    def lasting(self) -> Expression:
        """In how many periods a job works at least."""
        found: Expression = periods_of(self.run.time, self.plan.one)
        return found

    @property
    def rest(self) -> Expression:
        """How long a job that runs through works in its last period."""
        rest: Expression = self.run.time - (self.lasting - 1) * self.plan.one
        return rest

    def _since(self) -> Expression:
        assert self.plan.period is not None
        assert self.start is not None
        since: Expression = self.plan.period - self.start
        return since

    def _working(self) -> Expression:
        since = self._since()
        return where((since >= 0) & (since < self.lasting), 1, 0)

    def rent_to_the_end(self) -> None:
        """Declare what jobs that run through rent in their last period for as long as they work in it.

        All that work in a period do so at its beginning, so what held nodes lack then is rented for as long as those
        work that end first.
        """
        self.rented_last = self.problem.amounts(
            "rented_last", self.placed.over, high=where(fits(self.plan.one, self.rest), 0, self.run.devices),
            later=True, about="accelerators rented for the part of its last period in which a job works",
            counts="accelerators",
        )  # fmt: skip
        self.problem.require(
            "a job rents for itself", self.rented_last - self.placed.total(self.run.devices) <= 0,
            each=self.placed.over, structural=True,
        )  # fmt: skip

    def ending(self) -> Total:
        """Return what jobs that end in a period rent for themselves."""
        assert self.rented_last is not None
        return self.rented_last.total(where(self._since() >= self.lasting - 1, self._working(), 0))

    def share(self) -> Expression:
        """Return the part of a period in which a job that runs through works."""
        last: Expression = where(self._since() >= self.lasting - 1, self.rest / self.plan.one, 1)
        return self._working() * last

    # jobs that may pause ----------------------------------------------------------------------------------------------
    def pause(self, exists: Expression) -> Expression:
        """Declare how long each job works in each period, as long as it takes in all; return the time of one amount.

        Args:
            exists: whether there is such a way to run the job.
        """
        plan, held = self.plan, self.plan.pooled
        assert plan.period is not None
        inside = self._inside()
        open_ = self.problem.table("time in the period", (self.job, plan.period), plan.grouped(inside), "s")
        self.problem.allow("the period is between start and deadline", open_ > constant(0, TIME), structural=True)
        over = (*self.way, *plan.place, plan.period)
        if held:
            needed = self._work_in_whole_periods(over, inside)
        else:
            needed = self.run.time
            total = self.problem.table("time in all", (self.job,), inside.sum(axis=1), "s")
            self.problem.allow(DEADLINE, fits(needed, total))
            self._note_late(DEADLINE)
            self.family = self.problem.amounts("work", over, high=open_, unit="h", about="hours each job works")
        self.problem.require(
            WORKS,
            (self.family - self.placed.total(needed)).equals(0),
            each=(*self.way, *plan.place),
            when=exists >= 1,
            structural=True,
        )
        if plan.shared and not held:
            self._keep_from_others(exists, inside)
        else:
            self.problem.blocks.append(Schedule(self.placed, self.family, needed, WORKS))
        return self.run.time / needed if held else ONE

    def _inside(self) -> Array:
        """Return the time between start and deadline, by job and period."""
        plan = self.plan
        assert plan.length is not None
        edges = np.arange(plan.every + 1) * plan.length
        inside = []
        for item in plan.jobs:
            end = min(item["deadline"] or np.inf, edges[-1])
            part = np.minimum(edges[1:], end) - np.maximum(edges[:-1], item["start"])
            inside.append(np.where(part > FITS * edges[-1], part, 0.0))
        return np.array(inside)

    def _work_in_whole_periods(self, over: tuple[Choice, ...], inside: Array) -> Expression:
        """Declare in which periods jobs work that use held nodes; return how many each takes.

        What is held or rented beside it is so for whole periods, and a job that pauses begins and stops with one. It
        works in each for the same part of its time.
        """
        plan = self.plan
        assert plan.period is not None
        assert plan.length is not None
        there, each = periods_in(inside, plan.length), f"{plan.length / HOUR:g} h"
        self.family = self.problem.amounts(
            "work", over, whole=True, about="periods it works", counts=f"x {each}",
            high=self.problem.table("whole periods", (self.job, plan.period), plan.grouped(there)),
        )  # fmt: skip
        rented = "what it rents is paid for all of them (with pauses=false: for its own time); "
        self._tell(
            f"in which it works; {rented if plan.values['hold'] == 'reserved' else ''}it draws power for its own time, "
            "alike in each of them; more periods round less"
        )
        rule = f"{DEADLINE}, in whole periods of {each}"
        most = self.problem.table("whole periods in all", (self.job,), there.sum(axis=1))
        self.problem.allow(rule, self.lasting <= most, structural=True)
        self._note_late(rule, plan.length, whole=True)
        return self.lasting

    def _keep_from_others(self, exists: Expression, inside: Array) -> None:
        """Declare in which periods a job keeps its accelerators from others: all of those in which it works."""
        plan, problem = self.plan, self.problem
        assert plan.period is not None
        _, accelerator, nodes, _ = self.way
        ((found,), _) = over_product([exists], problem.values, self.way)
        any_split = found.reshape([len(item.values) for item in self.way]).max(axis=-1)
        only = plan.decides and plan.values["capacity"] is None  # then nobody lacks what others rent
        some = problem.table("some design exists", (self.job, accelerator, nodes), any_split)
        problem.allow("the job has a design of such a size", some >= 1, structural=True)
        count = plan.grouped((inside > 0).astype(float))
        most = problem.table("periods between start and deadline", (self.job, plan.period), count)
        each = problem.table(
            "time in one of them", (self.job, plan.period), plan.grouped(inside) / np.maximum(count, 1), "s"
        )
        here = (self.job, accelerator, nodes, *plan.place)
        if only:
            most = where(plan.owned >= 1, most, 0)
        kept_there = (some >= 1) & (plan.owned >= 1) if only else some >= 1
        self.kept = problem.amounts("kept", (*here, plan.period), whole=True, high=most, least=True,
                                    about="periods in which a job keeps its accelerators from others")  # fmt: skip
        problem.require("jobs work where they keep accelerators", self.family - self.kept.total(each) <= 0,
                        each=(*here, plan.period), when=kept_there, structural=True)  # fmt: skip
        # what follows from this makes the relaxation as tight as one in whole periods
        problem.require("jobs keep them for as long as they take", self.placed.total(self.lasting) - self.kept <= 0,
                        each=here, when=kept_there, structural=True)  # fmt: skip
        self._tell("in which it works; it pays for its own time")

    # words ------------------------------------------------------------------------------------------------------------
    def _window(self, name: str) -> Expression:
        last = self.plan.duration if self.plan.duration is not None else np.inf
        ends = [item[name] if item[name] is not None else last for item in self.plan.jobs]
        window: Expression = self.problem.table(name, (self.job,), np.minimum(ends, last), "s")
        return window

    def _tell(self, what: str) -> None:
        assert self.plan.length is not None
        self.problem.assumptions["whole periods"] = (
            f"a job keeps its accelerators from others for the whole of each period of {self.plan.length / HOUR:g} h "
            f"{what}"
        )

    def _note_late(self, rule: str, length: float | None = None, *, whole: bool = False) -> None:
        """Say which jobs are over too late, whatever is planned, where there are such."""
        ((times,), _) = over_product([self.run.time], self.problem.values, self.way)
        least = np.nan_to_num(times, nan=np.inf).reshape(len(self.plan.jobs), -1).min(axis=1)
        last = np.inf if self.plan.duration is None else self.plan.duration
        told = too_little_time(self.plan.jobs, least, last, self.plan.every, length, whole)
        if told:
            self.problem.notes[rule] = f"{told}; or a way to run it that takes less time (more nodes)"
