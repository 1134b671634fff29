"""The parts of `placement`: families of jobs and demands, who may go where, and what everything takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import Choice, Expression, constant, expression
from mlsysim_opt.errors import InputError, MissingFieldError, MlsysimError, UnknownNameError
from mlsysim_opt.formulations.parallelism import _nodes_of
from mlsysim_opt.formulations.placement_givens import Array, ByRegion
from mlsysim_opt.formulations.placement_numbers import Numbers, catalog_prices, given_numbers, intensities
from mlsysim_opt.formulations.serving_columns import ServingColumn, serving_column
from mlsysim_opt.formulations.training_columns import TrainingColumn, training_columns
from mlsysim_opt.optimize.coupled.columns import over_product
from mlsysim_opt.optimize.coupled.problem import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Family, Total, sum_of
from mlsysim_opt.physics.economics import capital_cost, maintenance_cost, node_price
from mlsysim_opt.physics.operations import Energy, Run, node_power, rent
from mlsysim_opt.physics.sustainability import life_share
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import CARBON, ENERGY, MONEY, NONE, TIME, Dimension, divide

ONE = expression(1)


@dataclass(frozen=True, eq=False)
class Load:
    """What one unit of an amount takes.

    Attributes:
        family: the amounts. energy: of the nodes. device_time: of accelerators.
        number: how a number by region and period reads at one of its tuples.
    """

    family: Family
    energy: Expression
    devices: Expression
    time: Expression
    number: Callable[[Numbers], Expression]


class Plan:
    """A problem being declared."""

    def __init__(self, problem: CoupledProblem, values: dict[str, Any], narrowed: Mapping[str, Any]) -> None:
        self.problem = problem
        self.values = values
        self.narrowed = dict(narrowed)
        self.jobs: tuple[dict[str, Any], ...] = values["jobs"] or ()
        self.demands: tuple[dict[str, Any], ...] = values["demands"] or ()
        self.periods = int(values["periods"])
        self.duration: float | None = values["duration"]
        if self.duration is None and (self.periods > 1 or self.demands or values["hold"]):
            raise InputError("not given, but periods, demands and held nodes need it", path="duration",
                             hint="such as duration='7 day'")  # fmt: skip
        self.length = None if self.duration is None else self.duration / self.periods
        self.regions: tuple[Entry, ...] = self._narrow("region", values["regions"])
        self.accelerators = self._narrow("accelerator", self._candidates())
        self.loads: list[Load] = []
        self.uses: list[Load] = []

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
        nodes = _home_nodes(self.accelerators, values["fleet"])
        self.node = View("node", nodes, self.accelerator)
        self.per_node = self.node.accelerators_per_node
        self.period = problem.choose("period", range(self.periods), about="span of time") if self.periods > 1 else None
        self._read_numbers()
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
        self._measure()

    def _item(self, name: str) -> ByRegion:
        from mlsysim_opt.formulations.placement import INPUTS

        found = next(item for item in INPUTS if item.name == name)
        assert isinstance(found, ByRegion)
        return found

    def _read_numbers(self) -> None:
        values, assumed = self.values, self.problem.assumptions
        self.intensity, notes = intensities(
            self._item("carbon_intensity"), values["carbon_intensity"], self.regions, self.periods, self.length,
            values["month"],
        )  # fmt: skip
        assumed.update(notes)

    def _given(self, name: str) -> Numbers:
        numbers, off = given_numbers(
            self._item(name), self.values[name], self.accelerators, self.regions, self.periods
        )
        if off:
            self.problem.assumptions[f"{name} of a period"] = "the mean of the values given for it"
        return numbers

    def _price(self) -> Numbers:
        price = self.values["price"]
        if price is None:
            raise InputError(
                "not given, but cost needs it", path="price",
                hint="such as price='catalog', or 'H100: 2.50 USD/h' by accelerator, by region in it",
            )  # fmt: skip
        if price == "catalog":
            elsewhere = None if self.values["price_elsewhere"] is None else self._given("price_elsewhere")
            found, notes = catalog_prices(self.accelerators, self.regions, self.values["plan"], elsewhere)
            self.problem.assumptions.update(notes)
            numbers = Numbers("price", "USD/h", np.repeat(found[:, :, None], self.periods, axis=2))
        else:
            numbers = self._given("price")
        for item in (*self.jobs, *self.demands):
            places = np.ix_(self._may(item, "accelerators", self.accelerators),
                            self._may(item, "regions", self.regions))  # fmt: skip
            if np.isnan(numbers.values[places]).all():
                raise MissingFieldError(
                    "price", item["name"], needed_for="cost",
                    hint="in no region where it may be is there a price for an accelerator that it may use; "
                    "give price, or price_elsewhere beside price='catalog'",
                )  # fmt: skip
        return numbers

    @staticmethod
    def _may(item: Mapping[str, Any], field: str, entries: Sequence[Entry]) -> Array:
        """Return which of the plan's entries an item may use."""
        own = item[field]
        names = None if own is None else {entry.name for entry in own}
        may = np.array([names is None or entry.name in names for entry in entries])
        if not may.any():
            raise InputError(
                f"{item['name']} may use none of the {field} of the plan", path=f"{item['name']}.{field}",
                hint=", ".join(entry.name for entry in entries[:8]),
            )  # fmt: skip
        return may

    # jobs -------------------------------------------------------------------------------------------------------------
    def _declare_jobs(self) -> None:
        problem = self.problem
        job = problem.choose("job", [item["name"] for item in self.jobs], about="training job")
        columns = self._columns()
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
                            [self._may(item, "regions", self.regions) for item in self.jobs])  # fmt: skip
        problem.allow("the job has such a design", exists >= 1, structural=True)
        problem.allow("the job may run there", may >= 1, structural=True)
        straight = self.period is None or not self.values["pauses"]
        if straight and self.period is not None:
            self.start = problem.choose("start", range(self.periods), about="period in which the job begins")
            placed = problem.picks("jobs", (*way, self.region, self.start), for_each=(job,), about="where each job runs")
            ((lasting,), _) = over_product([run.time / self._span], problem.values, way)
            number = self._means_over_runs(way, lasting.reshape(shape))
            begins = self.start * self._span
        else:
            placed = problem.picks("jobs", (*way, self.region), for_each=(job,), about="where each job runs")
            number, begins = self._now, self._window(job, "start")
        self.run, self.placed, self.way = run, placed, way
        if straight:
            self._limit_time(job, begins, run.time)
            self.loads.append(Load(placed, drawn * run.time, run.devices, run.time, number))
            return
        self._declare_work(job, exists, drawn)

    @property
    def _span(self) -> Expression:
        assert self.length is not None
        return constant(self.length, TIME)

    def _window(self, job: Choice, name: str) -> Expression:
        last = self.duration if self.duration is not None else np.inf
        ends = [item[name] if item[name] is not None else last for item in self.jobs]
        return self.problem.table(name, (job,), np.minimum(ends, last), "s")

    def _limit_time(self, job: Choice, begins: Expression, time: Expression) -> None:
        if self.period is not None:
            self.problem.allow("jobs begin when they may", begins >= self._window(job, "start"))
        if self.duration is not None or any(item["deadline"] is not None for item in self.jobs):
            self.problem.allow("jobs end by their deadline", begins + time <= self._window(job, "deadline"))
        self.problem.measure(
            "makespan", Largest(self.placed.total(begins + time), (job,)), unit="day", about="end of the last job"
        )

    def _declare_work(self, job: Choice, exists: Expression, drawn: Expression) -> None:
        """Declare how long each job works in each period: as long as it takes, in all."""
        assert self.period is not None
        assert self.length is not None
        edges = np.arange(self.periods + 1) * self.length
        most = []
        for item in self.jobs:
            end = min(item["deadline"] or np.inf, edges[-1])
            inside = np.minimum(edges[1:], end) - np.maximum(edges[:-1], item["start"])
            most.append(np.maximum(inside, 0.0))
        open_ = self.problem.table("time in the period", (job, self.period), most, "s")
        total = self.problem.table("time in all", (job,), np.sum(most, axis=1), "s")
        self.problem.allow("jobs end by their deadline", self.run.time <= total)
        self.problem.allow("the period is between start and deadline", open_ > constant(0, TIME), structural=True)
        work = self.problem.amounts(
            "work", (*self.way, self.region, self.period), high=open_, unit="h", about="hours each job works"
        )
        self.problem.require(
            "each job works as long as it takes",
            (work - self.placed.total(self.run.time)).equals(0),
            each=(*self.way, self.region),
            when=exists >= 1,
            structural=True,
        )
        self.loads.append(Load(work, drawn, self.run.devices, ONE, self._now))

    def _columns(self) -> dict[tuple[str, str], list[tuple[TrainingColumn, str]]]:
        """Return the ways to run each job on each accelerator, each with a label of its own among those of its size."""
        found: dict[tuple[str, str], list[tuple[TrainingColumn, str]]] = {}
        for item in self.jobs:
            reasons: list[MlsysimError] = []
            may = self._may(item, "accelerators", self.accelerators)
            for accelerator in (entry for entry, good in zip(self.accelerators, may, strict=True) if good):
                try:
                    mine = self._measured(item, accelerator) if item["designs"] else self._designs(item, accelerator)
                except MlsysimError as error:
                    reasons.append(error)
                    self.problem.assumptions[f"{item['name']} on {accelerator.name}"] = f"left out: {error.message}"
                    continue
                seen: dict[tuple[int, str], int] = {}
                for column in mine:
                    times = seen[column.nodes, column.label] = seen.get((column.nodes, column.label), 0) + 1
                    label = column.label + (f" #{times}" if times > 1 else "")
                    found.setdefault((item["name"], accelerator.name), []).append((column, label))
            if not any(name == item["name"] for name, _ in found):
                if reasons:
                    raise reasons[0]
                raise InputError(
                    f"{item['name']} fits on none of the accelerators and sizes", path=f"jobs.{item['name']}",
                    hint="larger fleets: nodes=...",
                )  # fmt: skip
        return found

    def _designs(self, item: Mapping[str, Any], accelerator: Entry) -> Sequence[TrainingColumn]:
        sizes = item["nodes"] or self.values["nodes"]
        needed = {"fleet": self.values["fleet"], "nodes": sizes, **{
            name: item[name] for name in ("model", "token_budget", "global_batch_size", "seq_len")
        }}  # fmt: skip
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise InputError(
                f"not given, but the designs of {item['name']} need it", path=missing[0],
                hint="or give designs: ways to run the job as they were measured",
            )  # fmt: skip
        return training_columns(
            {
                "model": item["model"].name,
                "fleet": self.values["fleet"].name,
                "global_batch_size": item["global_batch_size"],
                "seq_len": item["seq_len"],
                "precision": item["precision"],
                "accelerator": accelerator.name,
                "nodes": sizes if isinstance(sizes, str) else list(sizes),
            }
        )

    def _measured(self, item: Mapping[str, Any], accelerator: Entry) -> Sequence[TrainingColumn]:
        found = []
        for design in item["designs"]:
            if design["accelerator"].name != accelerator.name:
                continue
            power = design["node_power"]
            if power is None:
                node = self.node.entries[self.accelerators.index(accelerator)]
                power = node.parameter("busy_power").si
            tokens = item["token_budget"] or 1.0
            # a measured time is that of the whole job, failures included
            speed = tokens / (design["time"] * item["goodput"])
            found.append(TrainingColumn(design["nodes"], speed, power * design["nodes"], {}, design["name"]))
        return found

    # numbers at tuples ------------------------------------------------------------------------------------------------
    def _now(self, numbers: Numbers) -> Expression:
        """Return a number by region and period, where tuples have a period (or there is only one)."""
        axes: tuple[Choice, ...] = (self.accelerator, self.region) if len(numbers.values) > 1 else (self.region,)
        values = numbers.values if len(numbers.values) > 1 else numbers.values[0]
        if self.period is None or numbers.steady:
            return self._table(numbers, axes, values[..., 0])
        return self._table(numbers, (*axes, self.period), values)

    def _on_average(self, numbers: Numbers) -> Expression:
        axes: tuple[Choice, ...] = (self.accelerator, self.region) if len(numbers.values) > 1 else (self.region,)
        return self._table(numbers, axes, numbers.mean if len(numbers.values) > 1 else numbers.mean[0])

    def _means_over_runs(self, way: tuple[Choice, ...], lasting: Array) -> Callable[[Numbers], Expression]:
        def number(numbers: Numbers) -> Expression:
            if numbers.steady:
                return self._now(numbers)
            return self._table(numbers, (*way, self.region, self.start), numbers.over_runs(lasting))

        return number

    def _table(self, numbers: Numbers, axes: tuple[Choice, ...], values: Array) -> Expression:
        made = self.problem.table(numbers.name, axes, values, "dimensionless")
        return made * constant(1, _dimension(numbers.unit))

    # demands ----------------------------------------------------------------------------------------------------------
    def _declare_demands(self) -> None:
        problem = self.problem
        demand = problem.choose("demand", [item["name"] for item in self.demands], about="served demand")
        rate = np.full((len(self.demands), len(self.accelerators)), np.nan)
        for row, item in enumerate(self.demands):
            reasons: list[MlsysimError] = []
            for column in np.flatnonzero(self._may(item, "accelerators", self.accelerators)):
                accelerator = self.accelerators[int(column)]
                try:
                    best = _serving(item, accelerator)
                except MlsysimError as error:
                    reasons.append(error)
                    problem.assumptions[f"{item['name']} on {accelerator.name}"] = f"left out: {error.message}"
                    continue
                rate[row, column] = best.rate
                problem.assumptions[f"{item['name']} on {accelerator.name}"] = (
                    f"{best.rate:.4g} requests/s an accelerator at full load ({best.label})"
                )
            if np.isnan(rate[row]).all():
                raise reasons[0]
        load = constant(float(self.values["serving_utilization"]), NONE)
        full = problem.table("requests per accelerator", (demand, self.accelerator), rate, "request/s")
        devices = 1 / (full * load)
        power = node_power(self.node, load) / self.per_node
        may = problem.table("the demand may be served there", (demand, self.region),
                            [self._may(item, "regions", self.regions) for item in self.demands])  # fmt: skip
        exists = problem.table("the demand can be served on it", (demand, self.accelerator), ~np.isnan(rate))
        problem.allow("the demand can be served on it", exists >= 1, structural=True)
        problem.allow("the demand may be served there", may >= 1, structural=True)
        over = (demand, self.accelerator, self.region, *((self.period,) if self.period else ()))
        served = problem.amounts("serving", over, unit="request/s", about="requests served where")
        from mlsysim_opt.formulations.placement_givens import spans

        asked = np.array([spans(item["rate"], self.periods, "rate")[0] for item in self.demands])
        rows = (demand, self.period) if self.period else (demand,)
        wanted = problem.table("rate", rows, asked if self.period else asked[:, 0], "1/s") * expression("1 request")
        problem.require("all requests are served", served.total().equals(wanted), each=rows, structural=True)
        self.loads.append(Load(served, devices * power * self._span, devices, self._span, self._now))

    # nodes held -------------------------------------------------------------------------------------------------------
    def _declare_held(self) -> None:
        """Declare nodes that are held for the whole duration: they stand, and draw power, used or not."""
        problem = self.problem
        over = (self.accelerator, self.region)
        here = (*over, *((self.period,) if self.period else ()))
        self.held = problem.amounts("held", over, whole=True, about="nodes held all the time")
        uses = [self._at_once(load) for load in self.loads]
        if self.values["hold"] == "reserved":
            self.rented = problem.amounts("rented", here, about="accelerators rented on demand")
            uses = [*uses, -self.rented.total()]
        problem.require(
            "what works is held or rented", sum_of(uses) - self.held.total(self.per_node) <= 0, each=here
        )
        idle = self.node.idle_power / self.per_node
        for load in self.uses:
            self.loads.append(
                Load(load.family, -load.devices * load.time * idle, -load.devices, load.time, load.number)
            )
        all_day = constant(self.duration or 0.0, TIME)
        held = Load(self.held, self.node.idle_power * all_day, self.per_node, all_day, self._on_average)
        self.loads.append(held)
        if self.rented is not None:
            self.loads.append(Load(self.rented, idle * self._span, ONE, self._span, self._now))

    def _at_once(self, load: Load) -> Total:
        """Return the accelerators that a load holds in a period, on average over it."""
        if load.family is not self.placed_or_none:
            return load.family.total(load.devices * load.time / self._span)
        if self.period is None:
            return load.family.total(load.devices * load.time / self._span)
        return load.family.total(load.devices * self._overlap() / self._span)

    def _overlap(self) -> Expression:
        """Return how long a run that does not pause works in a period."""
        from mlsysim_opt.algebra.atoms import maximum, minimum

        assert self.period is not None
        left = self.run.time - (self.period - self.start) * self._span
        inside = maximum(minimum(left, self._span), constant(0, TIME))
        return where(self.start <= self.period, inside, constant(0, TIME))

    @property
    def placed_or_none(self) -> Family | None:
        """The picks of jobs, where there are jobs."""
        return getattr(self, "placed", None)

    # limits -----------------------------------------------------------------------------------------------------------
    def _limit_capacity(self) -> None:
        if self.values["capacity"] is None:
            return
        limits = self._given("capacity")
        values = np.nan_to_num(limits.values, nan=np.inf)
        most = self._now(Numbers("capacity", "dimensionless", values))
        here = (self.accelerator, self.region, *((self.period,) if self.period else ()))
        if self.held is not None:
            taken = self.held.total(self.per_node)
            if self.rented is not None:
                taken = taken + self.rented.total()
        else:
            taken = sum_of([self._standing(load) for load in self.uses])
        if self.period is not None and self.values["pauses"] and self.jobs:
            self.problem.assumptions["capacity"] = "of a period on average: jobs that pause share it in turns"
        self.problem.require("capacity", taken - most <= 0, each=here)

    def _standing(self, load: Load) -> Total:
        """Return the accelerators that a load needs at once in a period."""
        if load.family is self.placed_or_none:
            if self.period is None:
                return load.family.total(load.devices)
            works = self._overlap() > constant(0, TIME)
            return load.family.total(load.devices * where(works, 1, 0))
        return load.family.total(load.devices * load.time / self._span)

    # metrics ----------------------------------------------------------------------------------------------------------
    def _sum(self, coefficient: Callable[[Load], Expression], loads: Sequence[Load] | None = None) -> Total:
        return sum_of([load.family.total(coefficient(load)) for load in (self.loads if loads is None else loads)])

    def _measure(self) -> None:
        measure, site = self.problem.measure, self.site
        energy = {load: Energy(load.energy, site.pue) for load in self.loads}
        total = self.problem.total
        measure("it_energy", lambda: self._sum(lambda load: load.energy), unit="MWh", about="energy of the nodes")
        measure("energy", lambda: self._sum(lambda load: energy[load].facility), unit="MWh",
                about="energy of the buildings")  # fmt: skip
        grid = ("location_carbon", lambda: self._sum(lambda load: energy[load].carbon(load.number(self.intensity))))
        after = ("market_carbon", lambda: self._sum(
            lambda load: energy[load].carbon(site.number("market_carbon_intensity"))))  # fmt: skip
        for name, made in (grid, after):
            measure(name, made, unit="tCO2e", about="operational carbon, by the grid" if made is grid[1]
                    else "operational carbon, after contracts")  # fmt: skip
        counted = grid if self.values["accounting"] == "location" else after
        measure("carbon", counted[1], unit="tCO2e", about=f"operational carbon, {self.values['accounting']}-based")
        measure("embodied_carbon", self._embodied, unit="tCO2e", about="carbon of making what is used, by time")
        measure("total_carbon", lambda: _known(counted[1]) + self._embodied(), unit="tCO2e",
                about="operational and embodied carbon")  # fmt: skip
        on_site = lambda: self._sum(lambda load: energy[load].water_on_site(site.number("wue")))  # noqa: E731
        source = lambda: self._sum(lambda load: energy[load].water_at_source(site.number("water_intensity")))  # noqa: E731
        measure("water_onsite", on_site, unit="kL", about="water of the buildings")
        measure("water_source", source, unit="kL", about="water that power plants evaporate")
        measure("water", lambda: on_site() + source(), unit="kL", about="both")
        measure("device_time", lambda: self._sum(lambda load: load.devices * load.time, self.uses), unit="h",
                about="accelerator hours at work")  # fmt: skip
        cost = self._cost()
        measure("cost", cost, unit="USD", about="rent, or what is bought and its electricity")
        measure("carbon_cost", lambda: counted[1]() * self._carbon_price(), unit="USD", about="carbon at its price")
        measure("total_cost", lambda: cost() + counted[1]() * self._carbon_price(), unit="USD", about="cost and carbon")
        del total

    def _carbon_price(self) -> Expression:
        price = self.values["carbon_price"]
        if price is None:
            raise InputError("not given, but total_cost needs it", path="carbon_price", hint="such as '100 USD/tCO2e'")
        return constant(price, divide(MONEY, CARBON))

    def _embodied(self) -> Total:
        if self.values["embodied_carbon_per_device"] is not None:
            each = self._on_average(self._given("embodied_carbon_per_device"))
        else:
            node = self.node
            whole = node.number("embodied_carbon") + self.per_node * node.number("accelerator.embodied_carbon")
            each = whole / self.per_node
        life = constant(self.values["lifetime_years"], TIME)
        use = constant(self.values["lifetime_utilization"], NONE)
        return self._sum(lambda load: load.devices * each * life_share(load.time, life, use))

    def _cost(self) -> Callable[[], Total]:
        hold = self.values["hold"]
        if hold == "buy":
            return self._bought
        if hold == "reserved":
            return self._reserved
        return lambda: self._rent(self.uses)

    def _rent(self, loads: Sequence[Load]) -> Total:
        price = self._price()
        return self._sum(lambda load: rent(load.devices, load.time, load.number(price)), loads)

    def _reserved(self) -> Total:
        if self.values["reserved_price"] is None:
            raise InputError("not given, but held nodes need it", path="reserved_price", hint="such as '1.80 USD/h'")
        kept = self._given("reserved_price")
        assert self.held is not None
        assert self.rented is not None
        held = next(load for load in self.loads if load.family is self.held)
        rented = next(load for load in self.loads if load.family is self.rented)
        price = self._on_average(kept)
        return held.family.total(rent(held.devices, held.time, price)) + self._rent([rented])

    def _bought(self) -> Total:
        assert self.held is not None
        catalog = default_catalog()
        prices = []
        for node in self.node.entries:
            found = node_price(catalog, node.name).parameter("amount")
            self.problem.assumptions[f"price of {node.name}"] = found.text
            prices.append(found.si)
        each = self.problem.table("node price", (self.accelerator,), prices, "USD")
        purchase = each * constant(self.values["infrastructure_multiplier"], NONE)
        leaves = {
            "duration_days": constant(self.duration or 0.0, TIME),
            "amortization_years": constant(self.values["amortization_years"], TIME),
            "maintenance_rate": constant(self.values["maintenance_rate"], NONE),
            "residual_value": expression(0),
            "discount_rate": None,
        }
        tariff = self._tariff()
        electricity = self._sum(lambda load: Energy(load.energy, self.site.pue).facility * load.number(tariff))
        return self.held.total(capital_cost(purchase, leaves) + maintenance_cost(purchase, leaves)) + electricity

    def _tariff(self) -> Numbers:
        if self.values["electricity_price"] is not None:
            found = self._given("electricity_price")
            return Numbers(found.name, "USD/kWh", found.values[:1])
        known = [item.__dict__["electricity_price"] for item in self.regions]
        each = np.array([np.nan if item is None else item.si for item in known])
        if np.isnan(each).all():
            raise MissingFieldError("electricity_price", self.regions[0].name, needed_for="electricity of what is "
                                    "bought", hint="give electricity_price")  # fmt: skip
        return Numbers("electricity_price", "USD/kWh", np.repeat(each[None, :, None], self.periods, axis=2))


def _known(made: Callable[[], Total]) -> Total:
    return made()


def _dimension(unit: str) -> Dimension:
    from mlsysim_opt.units import parse_unit

    return parse_unit(unit).dimension


def _home_nodes(accelerators: tuple[Entry, ...], fleet: Entry | None) -> list[Entry]:
    """Return the node that holds each accelerator: the fleet's own where it fits."""
    if fleet is not None:
        return _nodes_of(accelerators, fleet)
    from mlsysim_opt.physics.serving import home_of

    found = [home_of(item) for item in accelerators]
    for accelerator, node in zip(accelerators, found, strict=True):
        if node is None:
            raise InputError(f"no node of the catalog holds {accelerator.name}", path="accelerators")
    return [node for node in found if node is not None]


def _serving(item: Mapping[str, Any], accelerator: Entry) -> ServingColumn:
    if item["requests_per_device"] is not None:
        return ServingColumn(float(item["requests_per_device"]), 1, 1, "as measured")
    return serving_column(item, accelerator)


__all__ = ["Load", "Plan", "ENERGY"]
