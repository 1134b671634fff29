"""A front by NSGA-II, by an interpreter that has pymoo: ``python nsga2.py INSTANCE.npz SECONDS ...`` prints JSON.

The instance is that of `coupled.Numbers`. A plan is a whole number for each job: which of its options it takes, sorted
by cost; options that another of the same device and region beats are left out, as they are on our side. Plans whose
fleets are too small are repaired: jobs, in random order, take the nearest option with room. Two of the first plans are
the cheapest and the cleanest of each job; the others are random. What is feasible and not dominated is kept for ever.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling
from pymoo.operators.crossover.ux import UX
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

Array = np.ndarray[Any, Any]
POPULATION = 100
SEEDS = 3


class Jobs(Problem):
    """Every job takes one of its options; carbon is capped."""

    def __init__(self, given: dict[str, Array]) -> None:
        self.given = given
        self.options = [self._options(job) for job in range(len(given["deadline"]))]
        most = np.array([len(option["cost"]) - 1 for option in self.options])
        super().__init__(n_var=len(most), n_obj=2, n_ieq_constr=1, xl=0, xu=most, vtype=int)

    def _options(self, job: int) -> dict[str, Array]:
        given = self.given
        fits = given["hours"][job] <= given["deadline"][job]
        small = given["nodes"] <= given["fleet"][:, :, None]
        device, region, design = np.nonzero(fits[:, None, :] & small)
        cost = given["cost"][job, device, region, design]
        carbon = given["energy"][job, device, design] * given["intensity"][region]
        nodes = given["nodes"][design]
        fleet = device * len(given["open_cost"]) + region
        values = np.stack([cost, carbon, nodes])
        no_worse = (values[:, :, None] <= values[:, None, :]).all(0) & (fleet[:, None] == fleet)
        beaten = (no_worse & ~no_worse.T).any(0)
        order = np.flatnonzero(~beaten)[np.argsort(cost[~beaten])]
        found = {"cost": cost, "carbon": carbon, "nodes": nodes, "fleet": fleet, "region": region}
        return {name: value[order] for name, value in found.items()}

    def _evaluate(self, x: Array, out: dict[str, Array], *args: Any, **kwargs: Any) -> None:
        x = x.astype(int)
        cost, carbon = np.zeros((2, len(x)))
        opened = np.zeros((len(x), len(self.given["open_cost"])), dtype=bool)
        for job, option in enumerate(self.options):
            cost += option["cost"][x[:, job]]
            carbon += option["carbon"][x[:, job]]
            opened[np.arange(len(x)), option["region"][x[:, job]]] = True
        cost += opened @ self.given["open_cost"]
        used = self.used(x)
        over = np.maximum(used - self.given["fleet"].reshape(-1), 0).sum(1)
        cap = float(self.given["carbon_cap"])
        out["F"] = np.column_stack([cost, carbon])
        out["G"] = (over + np.maximum(carbon / cap - 1, 0))[:, None]

    def used(self, x: Array) -> Array:
        """Return the nodes taken of each fleet."""
        found = np.zeros((len(x), self.given["fleet"].size))
        for job, option in enumerate(self.options):
            np.add.at(found, (np.arange(len(x)), option["fleet"][x[:, job]]), option["nodes"][x[:, job]])
        return found


class Moved(Repair):
    """Jobs that do not fit take the nearest option that does."""

    dice = np.random.default_rng(0)

    def _do(self, problem: Jobs, x: Array, **kwargs: Any) -> Array:
        x, room = x.astype(int), problem.given["fleet"].reshape(-1)
        for plan in np.flatnonzero((problem.used(x) > room).any(1)):
            left = room.copy()
            for job in self.dice.permutation(x.shape[1]):
                option = problem.options[job]
                fitting = np.flatnonzero(option["nodes"] <= left[option["fleet"]])
                if len(fitting):
                    x[plan, job] = fitting[np.argmin(np.abs(fitting - x[plan, job]))]
                left[option["fleet"][x[plan, job]]] -= option["nodes"][x[plan, job]]
        return x


class Drawn(Sampling):
    """Random plans, the cheapest and the cleanest of each job among them."""

    def _do(self, problem: Jobs, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> Array:
        x = random_state.integers(0, problem.xu + 1, size=(n_samples, problem.n_var))
        x[0] = 0
        x[1] = [int(np.argmin(option["carbon"])) for option in problem.options]
        return x


class Changed(Mutation):
    """A job takes another option: half of the time one of about the same cost, else any."""

    def _do(self, problem: Jobs, x: Array, *args: Any, random_state: Any = None, **kwargs: Any) -> Array:
        anything = random_state.integers(0, problem.xu + 1, size=x.shape)
        near = np.clip(x + random_state.integers(-5, 6, size=x.shape), 0, problem.xu)
        new = np.where(random_state.random(x.shape) < 0.5, near, anything)
        return np.where(random_state.random(x.shape) < 1 / problem.n_var, new, x)


def fronts(path: str, seconds: list[float], seed: int) -> list[dict[str, Any]]:
    """Return the front after each time, and how many plans were looked at by then."""
    with np.load(path) as given:
        problem = Jobs(dict(given))
    algorithm = NSGA2(POPULATION, sampling=Drawn(), crossover=UX(), mutation=Changed(), repair=Moved())
    started = time.process_time()
    algorithm.setup(problem, termination=("n_gen", 10**9), seed=seed)
    kept, looked, found = np.empty((0, 2)), 0, []
    for limit in sorted(seconds):
        while time.process_time() - started < limit:
            algorithm.next()
            looked += POPULATION
            good = algorithm.pop[algorithm.pop.get("CV")[:, 0] <= 0]
            if len(good):
                kept = np.unique(np.concatenate([kept, good.get("F")]), axis=0)
                kept = kept[NonDominatedSorting().do(kept, only_non_dominated_front=True)]
        found.append({"seconds": time.process_time() - started, "looked": looked, "front": kept.tolist()})
    return found


if __name__ == "__main__":
    runs = [fronts(sys.argv[1], [float(text) for text in sys.argv[2:]], seed) for seed in range(SEEDS)]
    print(json.dumps(runs))
