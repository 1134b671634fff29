"""What a cluster does for a workload and what it costs: answers of nested questions and of models, as tables.

Each entry is the optimum of `parallelism` or of `serving_fleet` for one workload on one kind of hardware; money and
carbon are those of `EconomicsModel` and `SustainabilityModel`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.errors import InfeasibleError, MissingFieldError
from mlsysim_opt.optimize import optimize
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.physics.data import DataModel
from mlsysim_opt.physics.economics import EconomicsModel
from mlsysim_opt.physics.sustainability import SustainabilityModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry

OWN, OF_THE_PLACE = "own", "place"
TRAINS, SERVES = "training", "serving"
PROMISES = ("ttft", "itl")
"""What a service promises."""


@dataclass
class Site:
    """What is chosen, and what follows from it for one workload or one cluster at a time.

    Attributes:
        known: the answers of nested questions, or why there is none, by what is asked. nested: the optima that
            tables are made of, and refused: why there is none, by workload and hardware. tables: those tables, by name.
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
    known: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    nested: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    refused: dict[tuple[Any, ...], InfeasibleError] = field(default_factory=dict)
    tables: dict[str, Expression] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[Choice, ...]:
        """What a design is."""
        return self.node, self.fabric, self.storage, self.cooling, self.size

    def row(self, table: str, key: str, label: Any) -> Mapping[str, Any]:
        """Return the row of a given table for a value of its choice."""
        return next(item for item in self.values[table] if label_of(item[key]) == label)

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
        mine = [purpose_of(self.row("workloads", "name", item)) for item in self.workload.values]
        rows = [[float(of == purpose) for purpose in self.purpose.values] for of in mine]
        return self.problem.table("is done there", (self.workload, self.purpose), np.array(rows))

    def tokens_per_second(self, workload: str, node: str, fabric: str, size: int) -> float:
        """Return the speed of the best split of a training run; NaN where there is none."""
        row = self.row("workloads", "name", workload)
        if row["tokens"] is None:
            return np.nan
        return self._best(
            (workload, node, fabric, size),
            (),
            "parallelism",
            fleet=self.fleet(node, fabric, size),
            **{name: row[name] for name in ("model", "precision", "global_batch_size", "seq_len")},
            objective="max_tokens_per_second",
            explain=False,
        )

    def accelerators(self, workload: str, node: str) -> float:
        """Return the fewest accelerators that serve a workload; NaN where none do."""
        row, server = self.row("workloads", "name", workload), self.row("nodes", "node", node)["node"]
        if row["tokens"] is not None:
            return np.nan
        traffic = {name: row[name] for name in ("input_len", "output_len")} | {"name": workload}
        units = {"request_rate": "request/s", "ttft": "s", "itl": "s"}
        traffic |= {name: f"{row[name]!r} {unit}" for name, unit in units.items() if row[name] is not None}
        return self._best(
            (workload, node), tuple(row[name] for name in PROMISES), "serving_fleet", model=row["model"],
            precision=row["precision"], traffic=[traffic], offers=[{"accelerator": server.accelerator.name}],
            objective="min_accelerators", tp_size=[n for n in (1, 2, 4, 8) if n <= server.accelerators_per_node],
        )  # fmt: skip

    def _best(self, place: tuple[Any, ...], asked: tuple[Any, ...], name: str, **given: Any) -> float:
        """Return the optimum of a nested question; NaN where nothing is possible.

        Args:
            place: workload and hardware. asked: what else of the question may change.
        """
        if (place, asked) not in self.known:
            try:
                self.known[place, asked] = optimize(name, **given)
            except InfeasibleError as error:
                self.known[place, asked] = error
        best = self.known[place, asked]
        if isinstance(best, InfeasibleError):
            self.refused[place] = best
            return np.nan
        self.nested[place] = best
        return float(best.objective.si)

    def cannot_run(self, workload: str) -> str | None:
        """Return why no design runs a workload; None where one does."""
        if any(place[0] == workload for place in self.nested):
            return None
        why = {place[1]: error.conflict for place, error in self.refused.items() if place[0] == workload}
        return "it cannot run: " + "; ".join(f"on {node}: {' and '.join(conflict)}" for node, conflict in why.items())

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
            purpose = purpose_of(self.row("workloads", "name", row["workload"]))
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


def label_of(value: Any) -> Any:
    """Return what a row is told apart by: an entry of the catalog by its name."""
    return value.name if isinstance(value, Entry) else value


def purpose_of(row: Mapping[str, Any]) -> str:
    """Return what a cluster is for that a workload runs on."""
    return SERVES if row["tokens"] is None else TRAINS
