"""The parts of `placement`: families of jobs and demands, who may go where, and what everything takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mlsysim_opt.formulations.placement_designs import may_use, nodes_of, ways_of
from mlsysim_opt.formulations.placement_givens import Array, ByRegion, parts_of, series_in
from mlsysim_opt.formulations.placement_loads import BUYS, ONE, OWNED, RENTED, Load, on_nodes, rent_the_rest
from mlsysim_opt.formulations.placement_metrics import declare_metrics
from mlsysim_opt.formulations.placement_numbers import (
    Numbers,
    catalog_idle_power,
    given_numbers,
    intensities,
    least_of,
    mean_of,
    told_of_a_period,
)
from mlsysim_opt.formulations.placement_periods import Grouping, alike
from mlsysim_opt.formulations.placement_serving import peaks_of, serving_of
from mlsysim_opt.formulations.placement_work import Work

from mlsysim_opt.algebra.expression import Choice, Expression, constant, expression
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize.coupled.blocks import Shares, Standing
from mlsysim_opt.optimize.coupled.columns import over_product
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.totals import Family, Total, sum_of
from mlsysim_opt.physics.operations import Run
from mlsysim_opt.physics.replicas import replica_power
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import TIME, Dimension, parse_unit

CHANGING = ("price", "market_carbon_intensity", "electricity_price", "capacity")
"""Numbers beside the carbon intensity that may change over time."""
STEADY = ("reserved_price", "node_price", "idle_power", "embodied_carbon_per_device")
"""Numbers of which the mean over the whole duration counts."""
SERIES = (Mapping, tuple)
SERVED, HELD, CAPACITY = "all requests are served", "what works is held or rented", "capacity"


class Plan:
    """A problem being declared.

    Attributes:
        decides: whether it is decided what is bought and what is rented. pooled: whether all that works uses what is
            held. shared: whether there is something that jobs and demands may take from each other.
        place: the choices that say where something is: the region, and whether nodes there are owned if it is decided.
        loads: all that takes energy. uses: jobs and demands. own: what takes energy that is bought. rents: what is
            rented beside held nodes.
    """

    def __init__(
        self, problem: CoupledProblem, values: dict[str, Any], narrowed: Mapping[str, Any],
        grouping: Grouping | None = None,
    ) -> None:  # fmt: skip
        self.problem = problem
        self.grouping = grouping
        self.values = values
        self.narrowed = dict(narrowed)
        self.jobs: tuple[dict[str, Any], ...] = values["jobs"] or ()
        self.demands: tuple[dict[str, Any], ...] = values["demands"] or ()
        self.every = int(values["periods"])
        self.periods = self.every if grouping is None else len(grouping.weights)
        self.duration: float | None = values["duration"]
        if self.duration is None and (self.every > 1 or self.demands or values["hold"]):
            raise InputError("not given, but periods, series, demands and held nodes need it", path="duration",
                             hint="such as duration='7 day'")  # fmt: skip
        self.decides = values["hold"] == "buy_or_rent"
        self.pooled = values["hold"] is not None and not self.decides
        self.shared = values["hold"] is not None or values["capacity"] is not None
        self._ask_for_periods()
        if values["reserved_price"] is not None and values["hold"] != "reserved":
            raise InputError("it is the rent of nodes that are held, and none are", path="reserved_price",
                             hint="hold='reserved', or price for what is rented on demand")  # fmt: skip
        if values["node_price"] is not None and values["hold"] not in BUYS:
            raise InputError("it is what nodes are bought for, and none are", path="node_price",
                             hint="hold='buy', or 'buy_or_rent' beside price")  # fmt: skip
        year = parse_unit("year").factor
        if values["hold"] in BUYS and self.duration is not None and self.duration > values["lifetime_years"]:
            raise InputError(
                f"nodes that are bought last {values['lifetime_years'] / year:g} years, and the plan is for "
                f"{self.duration / year:.4g}: nothing is bought again", path="lifetime_years",
                hint="plan for less, or give the lifetime_years (and amortization_years) in which they are used",
            )  # fmt: skip
        self.length = None if self.duration is None else self.duration / self.every
        self.regions: tuple[Entry, ...] = self._narrow("region", values["regions"])
        self.accelerators = self._narrow("accelerator", self._candidates())
        for item in self.jobs:
            ends = min(item["deadline"] or np.inf, np.inf if self.duration is None else self.duration)
            if item["start"] >= ends:
                raise InputError("it may not start before it has to be done: by its deadline, or the end of the plan",
                                 path=f"jobs.{item['name']}.start")  # fmt: skip
        self.loads: list[Load] = []
        self.uses: list[Load] = []
        self.own: list[Load] = []
        self.rents: list[Load] = []
        self.work: Work | None = None

    def _ask_for_periods(self) -> None:
        """Refuse one period where the answer depends on when in it jobs work, and say what it is taken for elsewhere.

        Sums of accelerator hours do not say whether jobs can take turns, so all of them work at once.
        """
        if self.every > 1 or not self.jobs:
            return
        if self.values["hold"] == "reserved":
            raise InputError("1 period says nothing of when jobs use what is held", path="periods",
                             hint="such as periods=42, for a week of periods of 4 hours")  # fmt: skip
        if self.at_once:
            self.problem.assumptions["one period"] = "all jobs work at once; with more (periods=24) they may take turns"

    @property
    def rented_last(self) -> Family | None:
        """What jobs that run through rent in their last period, beside held nodes."""
        return None if self.work is None else self.work.rented_last

    @property
    def at_once(self) -> bool:
        """Whether several jobs share accelerators in one period."""
        return self.every == 1 and self.shared and len(self.jobs) > 1

    # choices ----------------------------------------------------------------------------------------------------------
    def _candidates(self) -> tuple[Entry, ...]:
        fleet, named = self.values["fleet"], self.values["accelerators"]
        if named is None and fleet is None:
            raise InputError("not given, and neither is a fleet", path="accelerators", hint="such as H100, or a fleet")
        own = named or (fleet.node.accelerator,)
        asked = [entry for item in (*self.jobs, *self.demands) for entry in item["accelerators"] or ()]
        asked += [design["accelerator"] for item in self.jobs for design in item["designs"] or ()]
        return tuple({entry.name: entry for entry in (*own, *asked)}.values())

    def _narrow(self, name: str, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        named = {entry.name: entry for entry in entries}
        if name not in self.narrowed:
            return tuple(named.values())
        given = self.narrowed.pop(name)
        wanted = [given] if isinstance(given, str) else list(given)
        for item in wanted:
            if item not in named:
                raise UnknownNameError(f"value of {name}", str(item), list(named), path=f"choices.{name}")
        return tuple(named[item] for item in wanted)

    def declare(self) -> None:
        """Declare everything.

        Raises:
            InputError: a job or a demand cannot be anywhere, whatever the limits.
        """
        problem, values = self.problem, self.values
        self.region = problem.choose("region", [item.name for item in self.regions], about="site")
        self.accelerator = problem.choose("accelerator", [item.name for item in self.accelerators], about="accelerator")
        self.site = View("region", self.regions, self.region)
        nodes = nodes_of(self.accelerators, values["fleet"])
        self.node = View("node", nodes, self.accelerator)
        self.per_node = self.node.accelerators_per_node
        self.period = problem.choose("period", range(self.periods), about="span of time") if self.every > 1 else None
        self.place: tuple[Choice, ...] = (self.region,)
        if self.decides:
            tenure = problem.choose("tenure", [OWNED, RENTED], about="whether its nodes are bought or rented")
            self.owned = problem.table("nodes are owned", (tenure,), [1, 0])
            self.place = (tenure, self.region)
        self._read_numbers()
        self._read_idle_power(nodes)
        if self.jobs:
            self._declare_jobs()
        if self.demands:
            self._declare_demands()
        if self.narrowed:
            raise UnknownNameError("choice to narrow", next(iter(self.narrowed)), ["region", "accelerator", "nodes"],
                                   path=f"choices.{next(iter(self.narrowed))}")  # fmt: skip
        self.uses = list(self.loads)
        self.held: Family | None = None
        self.rented: Family | None = None
        if values["hold"] is not None:
            self._declare_held()
        self._limit_capacity()
        declare_metrics(self)

    def _item(self, name: str) -> ByRegion:
        from mlsysim_opt.formulations.placement import INPUTS

        found = next(item for item in INPUTS if item.name == name)
        assert isinstance(found, ByRegion)
        return found

    def _read_numbers(self) -> None:
        values, assumed = self.values, self.problem.assumptions
        found, notes = intensities(
            self._item("carbon_intensity"), values["carbon_intensity"], self.regions, self.every, self.length,
            values["month"],
        )  # fmt: skip
        self.intensity = found.grouped(self.grouping)
        assumed.update(notes)

    def _read_idle_power(self, nodes: Sequence[Entry]) -> None:
        """Let what is given stand for the idle power of the catalog, and tell what held nodes are taken to draw."""
        given = self.values["idle_power"]
        if given is not None and self.values["hold"] is None and not self.demands:
            raise InputError("it is the power of nodes that are held or serve, and none do", path="idle_power",
                             hint="hold='reserved' or 'buy'; of jobs, node_power of their designs")  # fmt: skip
        catalog, told = catalog_idle_power(nodes)
        if given is not None:
            numbers = self.given("idle_power")
            values = np.where(np.isnan(numbers.values), catalog[:, None, None], numbers.values)
            self.node = self.node.replacing(idle_power=self.on_average(replace(numbers, values=values)))
            told = [text for text, row in zip(told, numbers.values, strict=True) if np.isnan(row).any()]
        if self.values["hold"] is not None and told:
            self.problem.assumptions["idle_power"] = "a held node on which nothing runs draws " + "; ".join(told)

    def given(self, name: str) -> Numbers:
        item, of = self._item(name), least_of if name == "capacity" else mean_of
        periods = 1 if name in STEADY else self.every
        numbers, off = given_numbers(item, self.values[name], self.accelerators, self.regions, periods, of)
        if name in STEADY:
            numbers = replace(numbers, values=np.repeat(numbers.values, self.every, axis=2))
        if off:
            what = f"{name} of the whole time" if name in STEADY else f"{name} of a period"
            self.problem.assumptions[what] = told_of_a_period(name, off, item.unit)
        return numbers.grouped(self.grouping)

    def grouped(self, values: Array) -> Array:
        """Return sums over the periods that are stood for."""
        return values if self.grouping is None else self.grouping.sum(values)

    # jobs -------------------------------------------------------------------------------------------------------------
    def _declare_jobs(self) -> None:
        problem = self.problem
        job = problem.choose("job", [item["name"] for item in self.jobs], about="training job")
        columns = ways_of(self)
        sizes = sorted({item.nodes for mine in columns.values() for item, _ in mine})
        if "nodes" in self.narrowed:
            given = self.narrowed.pop("nodes")
            wanted = [given] if isinstance(given, int) else list(given)
            sizes = [size for size in sizes if size in wanted]
            if not sizes:
                raise InputError("no job has a design of such a size", path="choices.nodes")
        nodes = problem.choose("nodes", sizes, about="nodes of the job")
        labels = list(dict.fromkeys(label for mine in columns.values() for _, label in mine))
        split = problem.choose("split", labels, about="how the job is split over its accelerators")
        way = (job, self.accelerator, nodes, split)
        shape = tuple(len(item.values) for item in way)
        speed, power = np.full(shape, np.nan), np.full(shape, np.nan)
        for (name, accelerator), mine in columns.items():
            for item, label in mine:
                if item.nodes in nodes.position:
                    at = (job.position[name], self.accelerator.position[accelerator], nodes.position[item.nodes],
                          split.position[label])  # fmt: skip
                    speed[at] = item.speed
                    power[at] = np.nan if item.power is None else item.power
        run = Run(
            problem.table("tokens", (job,), [item["token_budget"] or 1.0 for item in self.jobs], "token"),
            problem.table("tokens_per_second", way, speed, "token/s"),
            problem.table("goodput", (job,), [item["goodput"] for item in self.jobs]),
            nodes * self.per_node, nodes, self.node, ONE,
        )  # fmt: skip
        drawn = problem.table("power", way, power, "W")
        exists = problem.table("design exists", way, ~np.isnan(speed))
        may = problem.table("the job may run there", (job, self.region),
                            [may_use(item, "regions", self.regions) for item in self.jobs])  # fmt: skip
        problem.allow("the job has such a design", exists >= 1, structural=True)
        problem.allow("the job may run there", may >= 1, structural=True)
        straight = self.period is None or not self.values["pauses"]
        start = None
        if straight and self.period is not None:
            start = problem.choose("start", range(self.periods), about="period in which the job begins")
        placed = problem.picks(
            "jobs", (*way, *self.place, *(() if start is None else (start,))), for_each=(job,),
            about="where each job runs",
        )  # fmt: skip
        self.work = Work(self, job, run, way, placed)
        if straight:
            self.work.run_through(start)
            number = self.now if start is None else self._at_starts(run.time / self.span, Numbers.over_runs)
            self.loads.append(Load(placed, drawn * run.time, run.devices, run.time, number))
        else:
            time = self.work.pause(exists)
            self.loads.append(Load(self.work.family, drawn * time, run.devices, time, self.now))

    @property
    def one(self) -> Expression:
        """One period, as the plan is asked for."""
        assert self.length is not None
        return constant(self.length, TIME)

    @property
    def span(self) -> Expression:
        """The time that a period stands for."""
        if self.grouping is None:
            return self.one
        assert self.period is not None
        return self.problem.table("periods stood for", (self.period,), self.grouping.weights) * self.one

    # representative periods -------------------------------------------------------------------------------------------
    def alike(self, count: int) -> Grouping:
        """Return periods that stand for all: those they stand for are alike in prices, intensities and demands."""
        assert self.length is not None
        numbers = [self.intensity, *(self.given(name) for name in CHANGING if isinstance(self.values[name], SERIES))]
        rates = np.array([mean_of(parts_of(item["rate"], self.every))[0] for item in self.demands])
        tables = [item.values.reshape(-1, self.every) for item in numbers] + [row[None] for row in rates]
        scaled = [np.nan_to_num(item / np.nanstd(item)) for item in tables if np.nanmax(np.ptp(item, axis=1)) > 0]
        features = np.concatenate(scaled).T if scaled else np.zeros((self.every, 1))
        ends = [item[name] for item in self.jobs for name in ("start", "deadline") if item[name] is not None]
        return alike(features, [end / self.length for end in ends if end < self.every * self.length], count)

    # numbers at tuples ------------------------------------------------------------------------------------------------
    def now(self, numbers: Numbers) -> Expression:
        """Return a number by region and period, where tuples have a period (or there is only one)."""
        axes: tuple[Choice, ...] = (self.accelerator, self.region) if len(numbers.values) > 1 else (self.region,)
        values = numbers.values if len(numbers.values) > 1 else numbers.values[0]
        if self.period is None or numbers.steady:
            return self._table(numbers, axes, values[..., 0])
        return self._table(numbers, (*axes, self.period), values)

    def on_average(self, numbers: Numbers) -> Expression:
        axes: tuple[Choice, ...] = (self.accelerator, self.region) if len(numbers.values) > 1 else (self.region,)
        return self._table(numbers, axes, numbers.mean if len(numbers.values) > 1 else numbers.mean[0])

    def _at_starts(
        self, lasting: Expression, read: Callable[[Numbers, Array], Array]
    ) -> Callable[[Numbers], Expression]:
        """Return how numbers read of jobs that run through, by when they begin: `read` from how long they last."""
        assert self.work is not None
        assert self.work.start is not None
        way, start = self.work.way, self.work.start
        ((periods,), _) = over_product([lasting], self.problem.values, way)
        shaped = periods.reshape([len(item.values) for item in way])

        def number(numbers: Numbers) -> Expression:
            if numbers.steady:
                return self.now(numbers)
            return self._table(numbers, (*way, self.region, start), read(numbers, shaped))

        return number

    def _table(self, numbers: Numbers, axes: tuple[Choice, ...], values: Array) -> Expression:
        made = self.problem.table(numbers.name, axes, values, "dimensionless")
        return made * constant(1, _dimension(numbers.unit))

    # demands ----------------------------------------------------------------------------------------------------------
    def _declare_demands(self) -> None:
        problem = self.problem
        demand = problem.choose("demand", [item["name"] for item in self.demands], about="served demand")
        found = serving_of(self)
        replica = problem.choose("replica", found.labels, about="what serves: its split, requests at once and load")
        way = (demand, self.accelerator, replica)
        load = problem.table("load", way, found.load)
        full = problem.table("requests per accelerator", way, found.rate, "request/s")
        devices = 1 / (full * load)
        power = replica_power(ONE, self.node, problem.table("time with a request", way, found.busy))
        kept = problem.table("it keeps what is promised there", (*way, self.region), found.kept)
        problem.allow("it keeps what is promised there", kept >= 1, structural=True)
        over = (*way, *self.place, *((self.period,) if self.period is not None else ()))
        served = problem.amounts("serving", over, unit="request/s", later=True, about="requests served where")
        rates = np.array([mean_of(parts_of(item["rate"], self.every))[0] for item in self.demands])
        asked = rates if self.grouping is None else self.grouping.mean(rates)
        rows = (demand, self.period) if self.period is not None else (demand,)
        wanted = problem.table("rate", rows, asked if self.period is not None else asked[:, 0], "1/s") * expression(
            "1 request"
        )
        if self.period is not None and (not self.shared or self.pooled):
            problem.blocks.append(Shares(served, (demand,), wanted, SERVED))
        problem.require(SERVED, served.total().equals(wanted), each=rows, structural=True)
        self.loads.append(
            Load(served, devices * power * self.span, devices, self.span, self.now, peaks_of(self, demand, rates))
        )

    # nodes held -------------------------------------------------------------------------------------------------------
    def _declare_held(self) -> None:
        """Declare nodes that are held for the whole duration: they stand, and draw power, used or not."""
        problem = self.problem
        over = (self.accelerator, self.region)
        here = (*over, *((self.period,) if self.period is not None else ()))
        self.held = problem.amounts("held", over, whole=True, about="nodes held all the time", counts="nodes")
        working: list[Load] = on_nodes(self, OWNED) if self.decides else self.uses
        uses = [self._standing(load) for load in working]
        if self.values["hold"] == "reserved":
            self.rented = problem.amounts("rented", here, later=True, about="accelerators rented on demand",
                                          counts="accelerators")  # fmt: skip
            uses = [*uses, -self.rented.total()]
            if self.work is not None and self.work.start is not None:
                self.work.rent_to_the_end()
                uses.append(-self.work.ending())
        if self.period is not None and self.pooled:
            limit = None if self.values["capacity"] is None else self.capacity_rule
            problem.standing = Standing(self.held, self.rented, HELD, limit)
        problem.require(HELD, sum_of(uses) - self.held.total(self.per_node) <= 0, each=here, counts="accelerators")
        idle = self.node.idle_power / self.per_node
        all_day = constant(self.duration or 0.0, TIME)
        nodes = [
            *(Load(load.family, -load.devices * load.time * idle, -load.devices, load.time, load.number)
              for load in working),
            Load(self.held, self.node.idle_power * all_day, self.per_node, all_day, self.on_average),
        ]  # fmt: skip
        self.loads += nodes
        self.own = [*working, *nodes]
        if self.decides:
            self.rented = rent_the_rest(self, here)
            return
        if self.rented is not None:
            self.rents.append(Load(self.rented, idle * self.span, ONE, self.span, self.now))
        if self.rented_last is not None and self.work is not None:
            number = self._at_starts(self.work.lasting, Numbers.at_ends)
            self.rents.append(Load(self.rented_last, idle * self.work.rest, ONE, self.work.rest, number))
        self.loads += self.rents

    # limits -----------------------------------------------------------------------------------------------------------
    def _limit_capacity(self) -> None:
        if self.values["capacity"] is None:
            return
        limits = self.given("capacity")
        values = np.nan_to_num(limits.values, nan=np.inf)
        most = self.now(Numbers("capacity", "dimensionless", values))
        here = (self.accelerator, self.region, *((self.period,) if self.period is not None else ()))
        if self.held is not None:
            taken = self.held.total(self.per_node)
            if self.decides:
                taken = taken + sum_of([self._standing(load) for load in on_nodes(self, RENTED)])
            elif self.rented is not None:
                taken = taken + self.rented.total()
            if self.rented_last is not None and self.work is not None:
                taken = taken + self.work.ending()
        else:
            taken = sum_of([self._standing(load) for load in self.uses])
        self.problem.require(self.capacity_rule, taken - most <= 0, each=here, counts="accelerators")

    @property
    def capacity_rule(self) -> str:
        """The name of the limit of capacity: it says what counts where a period stands for several values or jobs."""
        if self.at_once:
            return f"{CAPACITY} (all jobs at once: with periods they may take turns)"
        given = [self.values["capacity"], *(item["rate"] for item in self.demands)]
        finer = any(len(series) > self.every for value in given for _, series in series_in("", value))
        return f"{CAPACITY} (the least of each period, for the peak of each demand)" if finer else CAPACITY

    def _standing(self, load: Load) -> Total:
        """Return the accelerators that a load needs at once in a period."""
        standing: Total
        if self.work is not None and load.family is self.work.family:
            standing = self.work.standing(load.devices)
        else:
            standing = load.family.total(load.devices * load.time / self.span * load.peak)
        return standing


def _dimension(unit: str) -> Dimension:
    return parse_unit(unit).dimension
