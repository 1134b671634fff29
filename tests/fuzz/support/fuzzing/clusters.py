"""Random clusters for portfolios of small workloads, asked as users ask; and their answers by trying every purchase.

For every set of clusters the shares of the workloads are a linear program of SciPy's, written by hand. What one
workload or one cluster takes is asked of the models of one point, as the formulation does; the answers are kept.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np

import mlsysim_opt as mo
from fuzzing.question import Question, at_most, somewhere
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize import CoupledTask, PlanSolution, formulation
from mlsysim_opt.registry import default_catalog

Design = tuple[str, str, str, int]
"""Server, fabric, cooling and number of servers."""
Bought = tuple[Design, str]
"""A design, and whether it trains or serves: a service is on all the time, a training run takes whole clusters."""
YEAR = 31_557_600.0
PLACE = "AWS_us_east_1"
KEPT: dict[str, Any] = {}
METRICS = ("tco", "carbon", "power", "nodes", "portfolios")


def kept(name: str, **given: Any) -> Any:
    """Answer a question about one workload once: what it is about recurs from instance to instance."""
    fleet = given.get("fleet")
    key = repr((name, fleet.name if fleet is not None else None, {k: v for k, v in given.items() if k != "fleet"}))
    if key not in KEPT:
        try:
            KEPT[key] = mo.optimize(name, **given)
        except InfeasibleError as error:
            KEPT[key] = error
    if isinstance(KEPT[key], InfeasibleError):
        raise KEPT[key]
    return KEPT[key]


@functools.cache
def bought(node: str, fabric: str, size: int) -> Any:
    """Return a cluster as an entry of the catalog."""
    catalog = default_catalog()
    base = catalog.find("fleet", "Lab_64_H100")
    count = base.__dict__["node_count"].changed(float(size), "test")
    parts = {"node": catalog.find("node", node), "fabric": catalog.find("fabric", fabric), "node_count": count}
    return base.model_copy(update={**parts, "grid": None, "datacenter": None, "name": f"{size} {node} on {fabric}"})


@functools.cache
def money(design: Design, pue: float, price: float, years: float, load: float) -> float:
    node, fabric, _, size = design
    found = mo.EconomicsModel().solve(
        fleet=bought(node, fabric, size), duration_days=f"{years} year", amortization_years=f"{years} year",
        utilization=load, node_price=f"{price} USD", datacenter=PLACE, pue=pue,
    )  # fmt: skip
    return float(found.tco_usd)


@functools.cache
def footprint(design: Design, pue: float, years: float, load: float) -> tuple[float, float]:
    """Return kilograms of operational carbon, and watts of the servers."""
    node, fabric, _, size = design
    found = mo.SustainabilityModel().solve(
        fleet=bought(node, fabric, size), duration_days=f"{years} year", utilization=load, datacenter=PLACE, pue=pue
    )
    return float(found.carbon_footprint_kg), float(found.it_power.to("W").magnitude)


class Purchase:
    """One random problem: what each workload and each design takes, as plain Python."""

    def __init__(self, dice: random.Random) -> None:
        self.years = dice.choice((1, 3))
        self.clusters = dice.choice((1, 1, 2))
        self.availability = dice.choice((1.0, 0.9))
        self.nodes = {"DGX_H100": dice.choice((300_000.0, 375_000.0)), "DGX_A100": 220_000.0}
        self.fabrics = {"InfiniBand_NDR": 40_000.0, "InfiniBand_NDR_4to1": dice.choice((22_000.0, 40_000.0))}
        self.coolings = {"air": (1.5, 0.0), "liquid": (1.1, dice.choice((6_000.0, 60_000.0)))}
        for table in (self.nodes, self.fabrics, self.coolings):
            if dice.random() < 0.5:
                del table[dice.choice(list(table))]  # type: ignore[attr-defined]
        self.sizes = dice.choice(([1, 2], [2], [1, 4]))
        self.workloads = [self._workload(dice, at) for at in range(dice.choice((1, 2, 2)))]
        self.purposes = ["training" if "tokens" in row else "serving" for row in self.workloads]
        self.clusters = max(self.clusters, len(set(self.purposes)))
        self.scaled = dice.random() < 0.35
        self.designs: list[Design] = list(itertools.product(self.nodes, self.fabrics, self.coolings, self.sizes))
        self.years_of = {(at, design): self._years(row, design)
                         for at, row in enumerate(self.workloads) for design in self.designs}  # fmt: skip

    def _workload(self, dice: random.Random, at: int) -> dict[str, Any]:
        model = dice.choice(("GPT2_Small", "GPT2_Medium"))
        if dice.random() < 0.6:
            tokens = f"{dice.uniform(0.02, 4) * 1e14!r} token"
            return {"name": f"w{at}", "model": model, "precision": "bf16", "tokens": tokens, "global_batch_size": 64,
                    "seq_len": 1024}  # fmt: skip
        rate = dice.choice((100, 400, 2000))
        return {"name": f"w{at}", "model": model, "precision": "fp16", "request_rate": f"{rate} request/s",
                "input_len": 300, "output_len": 100, "itl": "40 ms"}  # fmt: skip

    def _years(self, row: dict[str, Any], design: Design) -> float:
        """Return how many years of a cluster a workload takes; infinite where it cannot run there."""
        node, fabric, _, size = design
        one = bought(node, fabric, size)
        try:
            if "tokens" in row:
                best = kept("parallelism", fleet=one, model=row["model"], precision="bf16", global_batch_size=64,
                            seq_len=1024, objective="max_tokens_per_second", explain=False)  # fmt: skip
                return float(row["tokens"].split()[0]) / float(best.objective.si) / YEAR
            traffic = [{"input_len": 300, "output_len": 100, "name": row["name"],
                        "request_rate": f"{float(row['request_rate'].split()[0])!r} request/s",
                        "itl": "0.04 s"}]  # fmt: skip
            found = kept("serving_fleet", model=row["model"], precision="fp16", traffic=traffic,
                         offers=[{"accelerator": one.node.accelerator.name}], objective="min_accelerators",
                         tp_size=[1, 2, 4, 8])  # fmt: skip
            return self.years * float(found.objective.value) / (size * one.node.accelerators_per_node)
        except InfeasibleError:
            return math.inf

    def given(self) -> dict[str, Any]:
        """Return it as it is asked."""
        return {
            "workloads": self.workloads, "years": self.years, "clusters": self.clusters, "sizes": self.sizes,
            "availability": self.availability, "scaled": self.scaled, "datacenter": PLACE,
            "nodes": [{"node": name, "price": f"{price} USD"} for name, price in self.nodes.items()],
            "fabrics": [{"fabric": name, "price": f"{price} USD"} for name, price in self.fabrics.items()],
            "coolings": [{"name": name, "pue": pue, "price": f"{price} USD"}
                         for name, (pue, price) in self.coolings.items()],
        }  # fmt: skip

    def taken(self, design: Design, load: float) -> dict[str, float]:
        """Return what a design takes when it works for a share of the time."""
        node, fabric, cooling, size = design
        pue, extra = self.coolings[cooling]
        price = self.nodes[node] + self.fabrics[fabric] + extra
        carbon, _ = footprint(design, pue, self.years, load)
        return {"tco": money(design, pue, price, self.years, load), "carbon": carbon,
                "power": footprint(design, pue, self.years, 1.0)[1] * pue, "nodes": float(size)}  # fmt: skip

    def purchases(self) -> list[dict[Bought, int]]:
        """Return every multiset of clusters that may be bought, each to train or to serve."""
        every = list(itertools.product(self.designs, sorted(set(self.purposes))))
        return [
            {one: chosen.count(one) for one in dict.fromkeys(chosen)}
            for number in range(self.clusters + 1)
            for chosen in itertools.combinations_with_replacement(every, number)
        ]


Goal = tuple[str, dict[str, float], str | None, float, float]
GOALS: tuple[Goal, ...] = (
    ("min_tco", {"tco": 1.0}, None, 1.0, 1.0),
    ("min_tco", {"tco": 1.0}, None, 1.0, 1.0),
    ("min_operational_carbon", {"carbon": 1.0}, None, 1.0, 1.0),
    ("min_facility_power", {"power": 1.0}, None, 1.0, 1.0),
    ("min_nodes_bought", {"nodes": 1.0}, None, 1.0, 1.0),
    ("tco + 200 USD/tCO2e * operational_carbon", {"tco": 1.0, "carbon": 0.2}, None, 1.0, 1.0),
)
SCALED: tuple[Goal, ...] = (
    ("max_portfolios", {"portfolios": -1.0}, None, -1.0, 1.0),
    ("tco / portfolios", {"tco": 1.0}, "portfolios", 1.0, 1.0),
)
UNITS = {"tco": ("tco", "USD"), "carbon": ("operational_carbon", "kgCO2e"), "power": ("facility_power", "W"),
         "nodes": ("nodes_bought", "")}  # fmt: skip


class Shares:
    """How the workloads divide over what is bought: amounts and metrics as rows, the last column for what is fixed."""

    def __init__(self, asked: Purchase, purchase: dict[Bought, int]) -> None:
        self.names = [(at, one) for at, mine in enumerate(asked.purposes) for one in purchase
                      if one[1] == mine and math.isfinite(asked.years_of[at, one[0]])]  # fmt: skip
        width = len(self.names) + 2
        self.rows = {name: np.zeros(width) for name in METRICS}
        self.rows["portfolios"][-2] = 1.0
        for (design, _), number in purchase.items():
            for name, value in asked.taken(design, 0.0).items():
                self.rows[name][-1] += number * value
        self.above: list[Any] = []
        for (design, purpose), number in purchase.items():
            idle, busy = asked.taken(design, 0.0), asked.taken(design, 1.0)
            row = np.zeros(width)
            row[-1] = -asked.years * asked.availability * number
            for column, (at, on) in enumerate(self.names):
                if on == (design, purpose):
                    row[column] = asked.years_of[at, design]
                    for name in ("tco", "carbon"):
                        added = (busy[name] - idle[name]) / asked.years * asked.years_of[at, design]
                        self.rows[name][column] += added
            self.above.append(row)
        self.equal = []
        for at in range(len(asked.workloads)):
            row = np.zeros(width)
            row[[column for column, (mine, _) in enumerate(self.names) if mine == at]] = 1.0
            row[-2] = -1.0
            self.equal.append(row)
        if not asked.scaled:
            row = np.zeros(width)
            row[-2], row[-1] = 1.0, -1.0
            self.equal.append(row)

    def least(self, goal: dict[str, float], divisor: str | None, limits: Sequence[tuple[str, str, float]]) -> float:
        """Return the least of a sum, or of its ratio to a metric (Charnes and Cooper 1962); infinity for none."""
        from scipy.optimize import linprog

        cost = sum(weight * self.rows[name] for name, weight in goal.items())
        above = [*self.above]
        for name, sense, limit in limits:
            row = self.rows[name].copy()
            row[-1] -= limit
            above.append(row if sense == "<=" else -row)
        one = np.zeros(len(cost))
        one[-1] = 1.0
        ones = self.rows[divisor] if divisor is not None else one
        sizes = [float(np.max(np.abs(row), initial=1e-12)) for row in above]
        size = float(np.max(np.abs(cost))) or 1.0
        found = linprog(
            cost / size, [row / scale for row, scale in zip(above, sizes, strict=True)] or None,
            [0.0] * len(above) or None, [*self.equal, ones], [0.0] * len(self.equal) + [1.0], method="highs",
        )  # fmt: skip
        assert found.status in (0, 2), found.message
        return float(found.fun) * size if found.status == 0 else math.inf


def cluster(seed: int) -> Question:
    """Return the question of a seed."""
    dice = random.Random(seed)
    asked = Purchase(dice)
    with mock.patch("mlsysim_opt.formulations.cluster_site.optimize", kept):
        problem = formulation("cluster_design").problem(asked.given())
    objective, goal, divisor, sign, unit = dice.choice(SCALED if asked.scaled else GOALS)
    purchases = asked.purchases()
    limits: list[tuple[str, str, float]] = []
    texts: list[str] = []
    if dice.random() < 0.5 or asked.scaled:
        name = "tco" if asked.scaled else dice.choice(list(UNITS))
        values = [math.fsum(number * asked.taken(design, dice.choice((0.0, 0.5, 1.0)))[name]
                            for (design, _), number in item.items()) for item in purchases if item]  # fmt: skip
        most = somewhere(dice, values)
        limits.append((name, "<=", most))
        texts.append(f"{UNITS[name][0]} <= {most!r} {UNITS[name][1]}".strip())
    if divisor is not None:
        limits.append((divisor, ">=", 0.3))
        texts.append(f"{divisor} >= 0.3")
    best = min((Shares(asked, item).least(goal, divisor, limits) for item in purchases), default=math.inf)

    def recheck(answer: PlanSolution) -> float | None:
        return _again(asked, answer, goal, divisor, limits)

    value = sign * best * unit if math.isfinite(best) else math.inf
    return Question(CoupledTask.of(problem, objective, texts), value, lambda answer: _signed(recheck(answer), sign))


def _signed(value: float | None, sign: float) -> float | None:
    return None if value is None else sign * value


def _again(
    asked: Purchase, answer: PlanSolution, goal: dict[str, float], divisor: str | None,
    limits: Sequence[tuple[str, str, float]],
) -> float | None:  # fmt: skip
    """Return what the goal of an answer is, each cluster asked of the models at the load that it has."""
    read: Callable[[dict[str, Any]], Design] = lambda row: tuple(  # noqa: E731
        row[axis] for axis in ("node", "fabric", "cooling", "nodes"))  # type: ignore[return-value]  # fmt: skip
    purchase = {(read(row), row["purpose"]): row["amount"] for row in answer.amounts["clusters"]}
    scale = math.fsum(row["amount"] for row in answer.amounts["portfolios"])
    busy = dict.fromkeys(purchase, 0.0)
    done = [0.0] * len(asked.workloads)
    for row in answer.amounts["shares"]:
        at, design = int(row["workload"][1:]), read(row)
        done[at] += row["amount"]
        busy[design, asked.purposes[at]] += row["amount"] * asked.years_of[at, design]
    if any(abs(share - scale) > 1e-9 * max(1.0, scale) for share in done) or (not asked.scaled and scale != 1):
        return None
    totals = dict.fromkeys(METRICS, 0.0) | {"portfolios": scale}
    for (design, purpose), number in purchase.items():
        work = busy[design, purpose]
        if not at_most(work, asked.years * asked.availability * number):
            return None
        for name, value in asked.taken(design, min(1.0, work / (asked.years * number))).items():
            totals[name] += number * value
    for name, sense, limit in limits:
        if not (at_most(totals[name], limit) if sense == "<=" else at_most(limit, totals[name])):
            return None
    return math.fsum(weight * totals[name] for name, weight in goal.items()) / (totals[divisor] if divisor else 1.0)
