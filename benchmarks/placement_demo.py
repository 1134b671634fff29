"""The week of docs/placement.md: the plan under its budget, the front of cost and carbon, what a carbon cap costs.

``python benchmarks/placement_demo.py [--plots FOLDER]``. Every point of the front is solved to a proven gap. Between
the cheapest and the cleanest plan they stand at equal steps of carbon, so the front between two is bounded by both.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlsysim_opt.cli.plan import read_plan
from mlsysim_opt.optimize import CoupledProblem, PlanSolution, formulation, question, solve_coupled

CASE = Path(__file__).parent.parent / "docs" / "placement_case.yaml"
GAP = 1e-6
STEPS = 12


@dataclass(frozen=True)
class Point:
    """A point of the front: cost in USD, carbon in tCO2e, and its plan."""

    cost: float
    carbon: float
    plan: PlanSolution


class Case:
    """The problem of the case, built once."""

    def __init__(self) -> None:
        plan = read_plan(str(CASE))
        problem = formulation("placement").problem(plan.given)
        assert isinstance(problem, CoupledProblem)
        self.problem, self.objective, self.limits = problem, plan.objective, plan.constraints

    def solve(self, objective: Any, limits: list[str]) -> Point:
        """Return the best plan under limits."""
        found = solve_coupled(question(self.problem, objective, limits), gap=GAP)
        assert isinstance(found, PlanSolution)
        cost, carbon = (found.metrics[name].m_as(unit) for name, unit in (("cost", "USD"), ("carbon", "tCO2e")))
        return Point(float(cost), float(carbon), found)

    def front(self) -> list[Point]:
        """Return the cheapest plan, the cleanest, and the cheapest at equal steps of carbon between them."""
        cleanest, cheapest = self.solve(["min_carbon", "min_cost"], []), self.solve(["min_cost", "min_carbon"], [])
        caps = np.linspace(cheapest.carbon, cleanest.carbon, STEPS + 1)[1:-1]
        both = ["min_cost", "min_carbon"]
        found = [cheapest, *(self.solve(both, [f"carbon <= {float(cap)!r} tCO2e"]) for cap in caps), cleanest]
        # one plan may be the cheapest under several caps
        return [p for p, after in zip(found, [*found[1:], None], strict=True) if after is None or after.cost > p.cost]


def main() -> None:
    """Print the case and, if asked, draw it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--plots", type=Path, help="folder for placement_front.svg and placement_week.svg")
    folder = options.parse_args().plots
    began = time.process_time()
    case = Case()
    print(f"{len(case.problem.decisions['region'].choice.values)} regions, 168 hours: built in "
          f"{time.process_time() - began:.2f} CPU-s")  # fmt: skip
    began = time.process_time()
    best = case.solve(case.objective, case.limits)
    print(f"{case.objective[0]} under {case.limits[0]}: {best.carbon:.3f} tCO2e for {best.cost:,.0f} USD; "
          f"{best.plan.status}, gap {best.plan.gap:.1g}, {time.process_time() - began:.2f} CPU-s")  # fmt: skip
    for row in best.plan.amounts["jobs"]:
        print(f"  {row['job']}: {row['nodes']} nodes, {row['split']}, in {row['region']}")
    for (demand, region), share in sorted(shares(best.plan).items()):
        print(f"  {demand}: {share:.1%} of requests in {region}")
    began = time.process_time()
    front = case.front()
    print(f"front, {len(front)} points in {time.process_time() - began:.2f} CPU-s:")
    for before, point in zip([None, *front[:-1]], front, strict=True):
        step = ""
        if before is not None:
            step = f"  {(point.cost - before.cost) / (before.carbon - point.carbon):10,.0f} USD/tCO2e"
        print(f"  {point.cost:12,.0f} USD {point.carbon:8.3f} tCO2e  {point.plan.status}{step}")
    if folder is not None:
        draw_front(front, folder / "placement_front.svg")
        draw_week(best.plan, folder / "placement_week.svg")


def shares(plan: PlanSolution) -> dict[tuple[str, str], float]:
    """Return the share of each demand's requests that each region serves."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    for row in plan.amounts["serving"]:
        found[row["demand"], row["region"]] += row["amount"]
        total[row["demand"]] += row["amount"]
    return {key: amount / total[key[0]] for key, amount in found.items()}


def draw_front(front: list[Point], path: Path) -> None:
    """Draw cost against carbon."""
    figure, axes = _figure()
    axes.plot([point.carbon for point in front], [point.cost / 1000 for point in front], "o-", markersize=4)
    axes.set_xlabel("carbon of the week, tCO2e")
    axes.set_ylabel("cost, kUSD")
    figure.savefig(path, metadata={"Date": None})


def draw_week(plan: PlanSolution, path: Path) -> None:
    """Draw which region serves how much, and when jobs work."""
    figure, axes = _figure(height=4.2)
    rows: dict[str, Any] = defaultdict(lambda: np.zeros(168))
    for row in plan.amounts["serving"]:
        rows[f"{row['demand']}: {row['region']}"][row["period"]] += row["amount"]
    axes.stackplot(np.arange(168), *rows.values(), labels=list(rows))
    for place, job in enumerate(plan.amounts["jobs"]):
        hours = [row["period"] for row in plan.amounts["work"] if row["job"] == job["job"]]
        axes.plot(hours, [-6.0 - 6 * place] * len(hours), "|", markersize=5, label=f"{job['job']}: {job['region']}")
    axes.set_xlabel("hour of the week, UTC")
    axes.set_ylabel("requests/s; below: jobs at work")
    axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    figure.savefig(path, metadata={"Date": None})


def _figure(height: float = 3.0) -> Any:
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "placement"  # the same picture is the same file
    figure = Figure(figsize=(7, height), layout="constrained")
    return figure, figure.subplots()


if __name__ == "__main__":
    main()
