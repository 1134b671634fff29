"""What to buy: nodes, fabric, storage, cooling and size of one or several clusters for a portfolio of workloads.

Families: picks of designs, each to train or to serve, and shares of each workload on them. What serves is on all the
time and a training run takes a whole cluster, so no cluster does both. The size of a cluster is one of a few, so that
what is not linear in it (the split of a training job, its communication) is a table: each entry is the optimum of
`parallelism` or of `serving_fleet` for this workload on this hardware. Money and carbon are those of `EconomicsModel`
and `SustainabilityModel`, which are affine in the share of time at work.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from mlsysim_opt.formulations.narrowed import Narrowed, allow
from mlsysim_opt.formulations.rows import Label, Rows, Several

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol, constant
from mlsysim_opt.errors import InfeasibleError, InputError, MissingFieldError
from mlsysim_opt.optimize import optimize
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.formulation import Formulation
from mlsysim_opt.physics.data import DataModel
from mlsysim_opt.physics.economics import EconomicsModel
from mlsysim_opt.physics.inputs import Given, Input, Number, Switch, Text
from mlsysim_opt.physics.portfolio import added_by_load, serving_time, training_time
from mlsysim_opt.physics.replicas import facility_power
from mlsysim_opt.physics.sustainability import SustainabilityModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import BANDWIDTH, CARBON, MONEY, NONE, REQUEST, TIME, TOKEN, divide


def _whole(name: str, about: str) -> Number:
    return Number(name, about, default=None, integer=True, low=1, high=2**31)


def _price(about: str) -> Number:
    return Number("price", about, default=None, unit="USD", of=MONEY)


WORKLOADS = Rows(
    "workloads", "rows: training runs (`tokens`), and services (`request_rate`)",
    columns=(
        Label("name", "of the workload"),
        Given("model", "trained or served", kind="model"),
        Text("precision", "number format", of_kind="numerics"),
        Number("tokens", "to train on, in all the years", default=None, unit="token", of=TOKEN, open_low=True),
        _whole("global_batch_size", "sequences per optimizer step"),
        _whole("seq_len", "tokens per sequence"),
        Number("data_rate", "data that one accelerator consumes in training", default=None, unit="GB/s", of=BANDWIDTH),
        Number("request_rate", "to be served all the time", default=None, unit="request/s", of=divide(REQUEST, TIME),
               open_low=True),
        _whole("input_len", "tokens of a prompt"),
        _whole("output_len", "generated tokens"),
        Number("ttft", "limit of the P99 of the time to the first token", default=None, unit="ms", of=TIME),
        Number("itl", "limit of the mean time between two tokens", default=None, unit="ms", of=TIME),
    ),
)  # fmt: skip
INPUTS: tuple[Input, ...] = (
    WORKLOADS,
    Rows("nodes", "rows: servers to choose among",
         columns=(Given("node", "server of the catalog", kind="node"), _price("that of the catalog when absent"),
                  Number("embodied_carbon_per_device", "of making an accelerator and its share of the node; by the "
                         "catalog when absent", default=None, unit="kgCO2e", of=CARBON))),
    Rows("fabrics", "rows: networks to choose among, oversubscription included",
         columns=(Given("fabric", "of the catalog", kind="fabric"), _price("for each node"))),
    Rows("storages", "rows: storage to choose among; the nodes' own when absent", default=None,
         columns=(Label("name", "of the option"), Given("storage", "of the catalog", kind="storage"),
                  Number("count", "drives or clients of each node", default=1, integer=True, low=1),
                  _price("for each node"))),
    Rows("coolings", "rows: ways of cooling to choose among; the place's PUE when absent", default=None,
         columns=(Label("name", "of the option"), Number("pue", "facility energy over IT energy", low=1.0, high=10.0),
                  _price("for each node"))),
    Several("sizes", "nodes of a cluster to choose among", each=Number("sizes", integer=True, low=1, high=2**20)),
    Number("clusters", "clusters at most", default=1, integer=True, low=1, high=100),
    Number("years", "for which it is bought", unit="year", of=TIME, open_low=True, bare=True),
    Number("availability", "share of time that a cluster works", default=1.0, high=1.0, open_low=True),
    Given("datacenter", "where it stands", kind="datacenter"),
    Number("maintenance_rate", "per year, of the price paid", default=0.05, high=1.0),
    Switch("scaled", "as much as possible of the portfolio, instead of all of it once", default=False),
)  # fmt: skip
OWN, OF_THE_PLACE = "own", "place"
TRAINS, SERVES = "training", "serving"
PORTFOLIO_SHARE = "each workload gets its share"


@dataclass
class Site:
    """What is chosen, and what follows from it for one workload or one cluster at a time.

    Attributes:
        nested: the optima that tables are made of, by workload and hardware. tables: those tables, by name.
    """

    problem: CoupledProblem
    values: Mapping[str, Any]
    workload: Choice
    node: Choice
    fabric: Choice
    storage: Choice
    cooling: Choice
    size: Choice
    purpose: Choice
    nested: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    tables: dict[str, Expression] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[Choice, ...]:
        """What a design is."""
        return self.node, self.fabric, self.storage, self.cooling, self.size

    def row(self, table: str, key: str, label: Any) -> Mapping[str, Any]:
        """Return the row of a given table for a value of its choice."""
        return next(item for item in self.values[table] if _label(item[key]) == label)

    def fleet(self, node: str, fabric: str, size: int) -> Any:
        """Return a cluster as an entry of the catalog."""
        example = default_catalog().find("fleet", default_catalog().names("fleet")[0])
        count = example.__dict__["node_count"].changed(float(size), "candidate")
        parts = {
            "node": self.row("nodes", "node", node)["node"],
            "fabric": self.row("fabrics", "fabric", fabric)["fabric"],
        }
        return example.model_copy(
            update={
                **parts,
                "node_count": count,
                "grid": None,
                "datacenter": None,
                "name": f"{size} {node} on {fabric}",
            }
        )

    def over(self, choices: Sequence[Choice], read: Callable[..., float], name: str, unit: str) -> Expression:
        """Return a number for each combination of values of choices; NaN where there is none."""
        numbers = [read(*values) for values in itertools.product(*(choice.values for choice in choices))]
        shape = tuple(len(choice.values) for choice in choices)
        self.tables[name] = self.problem.table(name, choices, np.array(numbers, dtype=float).reshape(shape), unit)
        return self.tables[name]

    # workloads --------------------------------------------------------------------------------------------------------
    @cached_property
    def trained(self) -> Expression:
        """Whether a workload is a training run."""
        rows = [float(self.row("workloads", "name", item)["tokens"] is not None) for item in self.workload.values]
        return self.problem.table("is trained", (self.workload,), np.array(rows))

    @property
    def done_there(self) -> Expression:
        """One where a workload runs on clusters of a purpose, else zero."""
        mine = [_purpose(self.row("workloads", "name", item)) for item in self.workload.values]
        rows = [[float(of == purpose) for purpose in self.purpose.values] for of in mine]
        return self.problem.table("is done there", (self.workload, self.purpose), np.array(rows))

    def tokens_per_second(self, workload: str, node: str, fabric: str, size: int) -> float:
        """Return the speed of the best split of a training run; NaN where there is none."""
        row = self.row("workloads", "name", workload)
        if row["tokens"] is None:
            return np.nan
        try:
            best = optimize(
                "parallelism",
                fleet=self.fleet(node, fabric, size),
                **{name: row[name] for name in ("model", "precision", "global_batch_size", "seq_len")},
                objective="max_tokens_per_second",
                explain=False,
            )
        except InfeasibleError:
            return np.nan
        self.nested[workload, node, fabric, size] = best
        return float(best.objective.si)

    def accelerators(self, workload: str, node: str) -> float:
        """Return the fewest accelerators that serve a workload; NaN where none do."""
        row, server = self.row("workloads", "name", workload), self.row("nodes", "node", node)["node"]
        if row["tokens"] is not None:
            return np.nan
        traffic = {name: row[name] for name in ("input_len", "output_len")} | {"name": workload}
        units = {"request_rate": "request/s", "ttft": "s", "itl": "s"}
        traffic |= {name: f"{row[name]!r} {unit}" for name, unit in units.items() if row[name] is not None}
        try:
            best = optimize("serving_fleet", model=row["model"], precision=row["precision"], traffic=[traffic],
                            offers=[{"accelerator": server.accelerator.name}], objective="min_accelerators",
                            tp_size=[n for n in (1, 2, 4, 8) if n <= server.accelerators_per_node])  # fmt: skip
        except InfeasibleError:
            return np.nan
        self.nested[workload, node] = best
        return float(best.objective.si)

    def stall(self, workload: str, node: str, fabric: str, storage: str) -> float:
        """Return the share of time that accelerators wait for data."""
        row = self.row("workloads", "name", workload)
        if row["data_rate"] is None:
            return 0.0
        given: dict[str, Any] = {"node": self.row("nodes", "node", node)["node"]}
        if storage != OWN:
            source = self.row("storages", "name", storage)
            network = self.row("fabrics", "fabric", fabric)["fabric"]
            given |= {"storage": source["storage"], "storage_count": source["count"], "fabric": network}
        found = DataModel().solve(workload_data_rate=f"{row['data_rate']!r} byte/s", **given)
        return float(found.stall_fraction)

    # money and carbon -------------------------------------------------------------------------------------------------
    def price(self, node: str, fabric: str, storage: str, cooling: str) -> float:
        """Return the price of a node with its part of everything else.

        Raises:
            MissingFieldError: a price is not given.
        """
        options = [("fabrics", "fabric", fabric)]
        options += [("storages", "name", storage)] if storage != OWN else []
        options += [("coolings", "name", cooling)] if cooling != OF_THE_PLACE else []
        parts = []
        for table, key, label in options:
            amount = self.row(table, key, label)["price"]
            if amount is None:
                raise MissingFieldError(
                    f"{table} {label}", "price", needed_for="buying it", hint="give price in its row"
                )
            parts.append(amount)
        server = self.row("nodes", "node", node)
        amount = server["price"]
        if amount is None:
            one = self.fleet(node, fabric, 1)
            amount = EconomicsModel().solve(fleet=one, duration_days=1, kwh_price="0 USD/kWh").purchase_usd
        return float(amount) + float(sum(parts))

    def _place(self, cooling: str) -> dict[str, Any]:
        place: dict[str, Any] = {"datacenter": self.values["datacenter"]}
        if cooling != OF_THE_PLACE:
            place["pue"] = self.row("coolings", "name", cooling)["pue"]
        return place

    def economics(self, load: float, field: str) -> Callable[..., float]:
        """Return what reads a number of the economics of a design at a load."""

        def read(node: str, fabric: str, storage: str, cooling: str, size: int) -> float:
            found = EconomicsModel().solve(
                fleet=self.fleet(node, fabric, size), duration_days=f"{self.values['years']!r} s", utilization=load,
                node_price=f"{self.price(node, fabric, storage, cooling)!r} USD",
                amortization_years=f"{self.values['years']!r} s", maintenance_rate=self.values["maintenance_rate"],
                **self._place(cooling),
            )  # fmt: skip
            return float(getattr(found, field))

        return read

    def carbon(self, load: float, field: str) -> Callable[..., float]:
        """Return what reads a number of the sustainability of a design at a load, in base units."""

        def read(node: str, fabric: str, cooling: str, size: int) -> float:
            each = self.row("nodes", "node", node)["embodied_carbon_per_device"]
            made = {} if each is None else {"embodied_carbon_per_device": f"{each!r} kgCO2e"}
            found = SustainabilityModel().solve(
                fleet=self.fleet(node, fabric, size), duration_days=f"{self.values['years']!r} s", utilization=load,
                lifetime_years=f"{self.values['years']!r} s", **made, **self._place(cooling),
            )  # fmt: skip
            try:
                value = getattr(found, field)
            except MissingFieldError as error:
                if error.field.rpartition(".")[2] == "embodied_carbon":
                    error.hint = "no figure is published; give embodied_carbon_per_device=... in its row of nodes"
                raise
            return float(value if isinstance(value, float | int) else value.to("W").magnitude)

        return read

    # checking ---------------------------------------------------------------------------------------------------------
    def recheck(self, plan: PlanSolution, time: Expression) -> Iterator[tuple[str, float, float]]:
        """Yield what a plan rests on, as it stands there and computed again: nested optima, money and carbon by load.

        Args:
            time: that a workload keeps a cluster, whose table is made of the nested optima.
        """
        axes = [choice.name for choice in self.axes]
        work: dict[tuple[Any, ...], float] = {}
        program = ScalarProgram([time], self.problem.values)
        for row in plan.amounts["shares"]:
            design = tuple(row[name] for name in axes)
            (held,) = program.run_named({**self.problem.values, **row})
            purpose = _purpose(self.row("workloads", "name", row["workload"]))
            work[design, purpose] = work.get((design, purpose), 0.0) + row["amount"] * held
            workload, node, fabric, size = (row[name] for name in ("workload", "node", "fabric", "nodes"))
            key = (workload, node, fabric, size) if (workload, node, fabric, size) in self.nested else (workload, node)
            nested = self.nested[key]
            again = nested.verify()["objective"]
            exact = Value(again["value"], again["unit"] or "").si
            yield f"{nested.objective_name} of {workload} on {node}", self._held(workload, node, fabric, size), exact
        sums = {"tco": 0.0, "operational_carbon": 0.0}
        for row in plan.amounts["clusters"]:
            node, fabric, storage, cooling, size = design = tuple(row[name] for name in axes)
            busy = work.get((design, row["purpose"]), 0.0)
            load = min(1.0, busy / (row["amount"] * float(self.values["years"])))
            if "tco" in plan.metrics:
                sums["tco"] += row["amount"] * self.economics(load, "tco_usd")(node, fabric, storage, cooling, size)
            if "operational_carbon" in plan.metrics:
                sums["operational_carbon"] += row["amount"] * self.carbon(load, "carbon_footprint_kg")(
                    node, fabric, cooling, size
                )
        for name, unit in (("tco", "USD"), ("operational_carbon", "kgCO2e")):
            if name in plan.metrics:
                yield name, float(plan.metrics[name].to(unit).magnitude), sums[name]

    def _held(self, workload: str, node: str, fabric: str, size: int) -> float:
        """Return the number that the tables hold of a nested optimum."""
        trained = (workload, node, fabric, size) in self.nested
        table = self.tables["speed" if trained else "accelerators needed"]
        places = {self.workload: workload, self.node: node, self.fabric: fabric, self.size: size}
        (value,) = ScalarProgram([table], self.problem.values).run_named(
            {**self.problem.values, **{choice.name: place for choice, place in places.items()}}
        )
        return float(value)


def _label(value: Any) -> Any:
    return value.name if isinstance(value, Entry) else value


def _purpose(row: Mapping[str, Any]) -> str:
    """Return what a cluster is for that a workload runs on."""
    return SERVES if row["tokens"] is None else TRAINS


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> CoupledProblem:
    _check(values)
    problem = CoupledProblem("cluster_design", item="cluster", default_objective="min_tco")
    decide = Narrowed(problem, narrowed)

    def rows(table: str, key: str, absent: str) -> list[str]:
        return [_label(item[key]) for item in values[table] or ({key: absent},)]

    workload = decide("workload", rows("workloads", "name", ""), "what is run")
    purposes = {_purpose(row) for row in values["workloads"] if row["name"] in workload.values}
    if len(purposes) > values["clusters"]:
        raise InputError("a cluster either trains or serves, and both are asked for", path="clusters",
                         hint="clusters=2 or more")  # fmt: skip
    site = Site(
        problem, values, workload,
        decide("node", rows("nodes", "node", ""), "server"),
        decide("fabric", rows("fabrics", "fabric", ""), "network between servers"),
        decide("storage", rows("storages", "name", OWN), "where data is read from"),
        decide("cooling", rows("coolings", "name", OF_THE_PLACE), "how the building is cooled"),
        decide("nodes", list(values["sizes"]), "servers of a cluster"),
        decide("purpose", sorted(purposes, reverse=True), "whether a cluster trains or serves"),
    )  # fmt: skip
    decide.finished()
    for name in ("years", "availability"):
        problem.values[name] = float(values[name])
    duration = Symbol("years", TIME)
    bought = problem.picks(
        "clusters", (*site.axes, site.purpose), count=int(values["clusters"]), optional=True, about="that are bought"
    )
    run = problem.amounts("shares", (site.workload, *site.axes), about="of a workload on a design")
    scale = problem.amounts("portfolios", (), low=0 if values["scaled"] else 1, high=None if values["scaled"] else 1,
                            about="how many times all workloads are done")  # fmt: skip
    time = _time(site, duration)
    problem.recheck = lambda plan: site.recheck(plan, time)
    problem.require(PORTFOLIO_SHARE, (run.total() - scale.total()).equals(0), each=(site.workload,))
    works = run.total(time * site.done_there) - bought.total(duration * Symbol("availability", NONE, high=1.0))
    each = (*site.axes, site.purpose)
    problem.require("a cluster works no longer than it stands", works <= 0, each=each, structural=True)
    _metrics(site, bought, run, scale, time, duration)
    for item in INPUTS:
        if item.name in ("availability", "maintenance_rate", "clusters") and values[item.name] == item.check(
            item.default
        ):
            problem.assumptions[item.name] = str(item.default)
    return problem


def _check(values: Mapping[str, Any]) -> None:
    """Refuse workloads of which something is missing, and names that stand twice."""
    for table, key in (
        ("workloads", "name"),
        ("nodes", "node"),
        ("fabrics", "fabric"),
        ("storages", "name"),
        ("coolings", "name"),
    ):
        labels = [_label(item[key]) for item in values[table] or ()]
        for label in labels:
            if labels.count(label) > 1:
                raise InputError(f"{label} is given twice", path=table)
    for row in values["workloads"]:
        if (row["tokens"] is None) == (row["request_rate"] is None):
            raise InputError(f"{row['name']} needs tokens to train on, or a request_rate to serve", path="workloads")
        needed = ("global_batch_size", "seq_len") if row["tokens"] is not None else ("input_len", "output_len")
        for name in needed:
            if row[name] is None:
                raise MissingFieldError(f"workloads {row['name']}", name, needed_for="what it takes")


def _time(site: Site, duration: Expression) -> Expression:
    """Return the time that a workload keeps a cluster, and leave out designs on which it cannot run."""
    problem, workload = site.problem, site.workload
    tokens = [site.row("workloads", "name", item)["tokens"] or np.nan for item in workload.values]
    asked = problem.table("tokens", (workload,), np.array(tokens, dtype=float), "token")
    speed = site.over((workload, site.node, site.fabric, site.size), site.tokens_per_second, "speed", "token/s")
    stall = site.over((workload, site.node, site.fabric, site.storage), site.stall, "stall", "dimensionless")
    needed = site.over((workload, site.node), site.accelerators, "accelerators needed", "dimensionless")
    there = site.over((site.node,), lambda name: site.row("nodes", "node", name)["node"].accelerators_per_node,
                      "accelerators of a node", "dimensionless") * site.size  # fmt: skip
    time = where(site.trained > 0, training_time(asked, speed, stall), serving_time(needed, there, duration))
    allow(problem, "the workload can run on it", time > constant(0, TIME), structural=True)
    return time


def _metrics(site: Site, bought: Family, run: Family, scale: Family, time: Expression, duration: Expression) -> None:
    problem, axes = site.problem, site.axes
    carbon_axes = (site.node, site.fabric, site.cooling, site.size)

    def affine(idle: Expression, busy: Expression) -> Total:
        return bought.total(idle) + run.total(added_by_load(idle, busy, time, duration))

    def money(field: str) -> Callable[[], Total]:
        return lambda: affine(
            *(site.over(axes, site.economics(load, field), f"{field} at {load:g}", "USD") for load in (0.0, 1.0))
        )

    def footprint(field: str) -> Callable[[], Total]:
        return lambda: affine(
            *(site.over(carbon_axes, site.carbon(load, field), f"{field} at {load:g}", "kgCO2e") for load in (0.0, 1.0))
        )

    def power() -> Total:
        it = site.over(carbon_axes, site.carbon(1.0, "it_power"), "power at work", "W")
        pue = site.over(carbon_axes, site.carbon(1.0, "pue"), "PUE", "dimensionless")
        return bought.total(facility_power(it, pue))

    per_node = site.over((site.node,), lambda name: site.row("nodes", "node", name)["node"].accelerators_per_node,
                         "accelerators of a node", "dimensionless")  # fmt: skip
    measure = problem.measure
    measure("tco", money("tco_usd"), unit="USD", about="price, electricity and maintenance over the years")
    measure("purchase", money("purchase_usd"), unit="USD", about="price of all that is bought", part_of="tco")
    measure("electricity", money("opex_energy_usd"), unit="USD", about="electricity", part_of="tco")
    measure("carbon", footprint("total_carbon_kg"), unit="tCO2e", about="operation and embodied, over the years")
    measure(
        "operational_carbon",
        footprint("carbon_footprint_kg"),
        unit="tCO2e",
        about="of electricity, location-based",
        part_of="carbon",
    )
    measure(
        "embodied_carbon", footprint("embodied_carbon_kg"), unit="tCO2e", about="of what is bought", part_of="carbon"
    )
    measure("facility_power", power, unit="kW", about="power of the buildings with all nodes at work")
    measure("nodes_bought", bought.total(site.size), about="servers")
    measure("accelerators", bought.total(site.size * per_node), about="accelerators")
    measure("work", run.total(time), unit="day", about="time of clusters at work")
    measure("portfolios", scale.total(), about="how many times all workloads are done")


cluster_design = Formulation(
    name="cluster_design",
    about="what to buy for a portfolio of workloads over years: servers, network, storage, cooling, size",
    inputs=INPUTS,
    build=_build,
    example={
        "workloads": [
            {"name": "training", "model": "Llama3_8B", "precision": "bf16", "tokens": "2e12 token",
             "global_batch_size": 512, "seq_len": 4096},
            {"name": "chat", "model": "Llama3_8B", "precision": "fp16", "request_rate": "40 request/s",
             "input_len": 500, "output_len": 250, "itl": "40 ms"},
        ],
        "nodes": [{"node": "DGX_H100"}, {"node": "DGX_A100"}],
        "fabrics": [
            {"fabric": "InfiniBand_NDR", "price": "40000 USD"},
            {"fabric": "InfiniBand_NDR_4to1", "price": "22000 USD"},
        ],
        "sizes": [4, 8, 16],
        "clusters": 2,
        "years": 3,
        "datacenter": "AWS_us_east_1",
    },
)  # fmt: skip
