"""The week of docs/placement.md: the plan under its budget, the front of cost and carbon, what a carbon cap costs.

``python benchmarks/placement_demo.py [--plots FOLDER]``. The front is a cover: for every plan, some point of it costs
no more, and emits no more than one of twelve steps from the cheapest plan to the cleanest above it.
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
from mlsysim_opt.optimize import CoupledProblem, Front, PlanSolution, formulation, pareto, question, solve_coupled
from mlsysim_opt.units import parse_unit

CASE = Path(__file__).parent.parent / "docs" / "placement_case.yaml"
GAP = 1e-6
STEPS = 12


@dataclass(frozen=True)
class Point:
    """A plan, its cost in USD and its carbon in tCO2e."""

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

    def front(self) -> Front:
        """Return the front of cost and carbon, in `STEPS` steps of carbon."""
        return pareto(self.problem, objectives=["min_cost", "min_carbon"], points=STEPS + 1)


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
    print(f"front, {len(front)} points in {time.process_time() - began:.2f} CPU-s; {front.guarantee}:")
    tonne = parse_unit("tCO2e").factor / parse_unit(front.objectives[1].unit).factor
    points = [(cost, carbon / tonne) for cost, carbon in front.values]
    for before, (cost, carbon), plan in zip([None, *points[:-1]], points, front, strict=True):
        step = f"  {(cost - before[0]) / (before[1] - carbon):10,.0f} USD/tCO2e" if before else ""
        print(f"  {cost:12,.0f} USD {carbon:8.3f} tCO2e  {plan.status}{step}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        draw_front(points, folder / "placement_front.svg")
        draw_week(best.plan, folder / "placement_week.svg")


def shares(plan: PlanSolution) -> dict[tuple[str, str], float]:
    """Return the share of each demand's requests that each region serves."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    for row in plan.amounts["serving"]:
        found[row["demand"], row["region"]] += row["amount"]
        total[row["demand"]] += row["amount"]
    return {key: amount / total[key[0]] for key, amount in found.items()}


def draw_front(points: list[tuple[float, float]], path: Path) -> None:
    """Draw cost (USD) against carbon (tCO2e)."""
    figure, axes = _figure()
    axes.plot([carbon for _, carbon in points], [cost / 1000 for cost, _ in points], "o-", markersize=4)
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
