"""Random small coupled problems, and all of their plans by counting: nothing of the compile step is used."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mlsysim_opt.optimize import CoupledProblem
from mlsysim_opt.optimize.coupled.totals import sum_of

METRICS = ("cost", "carbon", "energy", "delay")


@dataclass
class Shop:
    """Jobs that each pick a site and a size, under the capacity of sites; sites are opened at a price.

    Attributes:
        numbers: for each metric, an array over (job, site, size). space: slots that a size takes.
        slots: the capacity of each site. opening: USD for each open site.
    """

    jobs: int
    sites: int
    sizes: tuple[int, ...]
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    slots: tuple[int, ...] = ()
    opening: tuple[float, ...] = ()

    @staticmethod
    def of(seed: int, *, whole: bool = False) -> Shop:
        """Return the shop of a seed; with `whole`, its numbers are whole, so that many plans tie."""
        dice = random.Random(seed)
        jobs, sites = dice.randint(1, 3), dice.randint(1, 3)
        sizes = tuple(sorted(dice.sample(range(1, 6), dice.randint(1, 2))))
        rolled = np.random.default_rng(seed)
        shape = (jobs, sites, len(sizes))
        numbers = {
            name: rolled.integers(1, 6, shape).astype(float) if whole else rolled.uniform(1, 9, shape)
            for name in METRICS
        }
        slots = tuple(dice.randint(1, 9) for _ in range(sites))
        opening = tuple(float(dice.randint(0, 4)) if whole else dice.uniform(0, 4) for _ in range(sites))
        return Shop(jobs, sites, sizes, numbers, slots, opening)

    def problem(self) -> CoupledProblem:
        """Return it as a coupled problem."""
        made = CoupledProblem("shop")
        job = made.choose("job", [f"job{index}" for index in range(self.jobs)])
        site = made.choose("site", [f"site{index}" for index in range(self.sites)])
        size = made.choose("size", list(self.sizes))
        run = made.picks("run", [job, site, size], for_each=[job])
        open_ = made.amounts("open", [site], whole=True, high=1)
        tables = {name: made.table(name, [job, site, size], values) for name, values in self.numbers.items()}
        opening = made.table("opening", [site], self.opening)
        slots = made.table("slots", [site], self.slots)
        made.require("capacity", run.total(size) <= open_ * slots, each=[site])
        made.measure("cost", sum_of([run * tables["cost"], open_ * opening]))
        for name in METRICS[1:]:
            made.measure(name, run * tables[name])
        made.default_objective = "min_cost"
        return made

    def plans(self) -> Iterator[dict[str, float]]:
        """Yield the metrics of every plan, with exactly the sites open that are used (others may be open too)."""
        designs = list(itertools.product(range(self.sites), range(len(self.sizes))))
        for chosen in itertools.product(designs, repeat=self.jobs):
            used = [0] * self.sites
            for site, size in chosen:
                used[site] += self.sizes[size]
            if any(a > b for a, b in zip(used, self.slots, strict=True)):
                continue
            found = {
                name: float(sum(values[(job, *design)] for job, design in enumerate(chosen)))
                for name, values in self.numbers.items()
            }
            found["cost"] += sum(price for price, taken in zip(self.opening, used, strict=True) if taken)
            yield found
