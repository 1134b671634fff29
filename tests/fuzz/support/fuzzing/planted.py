"""Random equations that a known plan meets to the last digit, with coefficients of very different sizes."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

import numpy as np

import mlsysim_opt as mo
from fuzzing.tally import Tally, count
from mlsysim_opt.errors import InfeasibleError, LimitReachedError, MlsysimError
from mlsysim_opt.optimize import CoupledProblem, PlanSolution

SHARES = (0.1, 0.3, 0.7, 1 / 3, 2 / 3, 1 / 7, 1 / 9, 1.0, 1.1, 2.0, 3.0)
REFUSED = "refused"


@dataclass(frozen=True, eq=False)
class Planted:
    """Equations of sums, and what the plan that they were made from costs."""

    problem: CoupledProblem
    cost: float


def planted(seed: int, largest: float = 1e5) -> Planted:
    """Return two to six equations of whole amounts, continuous ones and picks, which their plan adds up to exactly.

    Args:
        largest: how large whole amounts are at most.
    """
    dice = random.Random(seed)
    rows, parts, spread = dice.randint(2, 6), dice.randint(1, 3), dice.choice((0, 1, 2, 3))
    kinds = dice.choice((("whole",), ("continuous",), ("pick",), ("whole", "continuous", "pick")))
    problem = CoupledProblem("planted")
    row = problem.choose("row", range(rows))
    sums: list[list[float]] = [[] for _ in range(rows)]
    costs: list[float] = []
    totals, prices = [], []
    for part in range(parts):
        kind, width = dice.choice(kinds), dice.randint(1, 4)
        item = problem.choose(f"item {part}", range(width))
        shape = (rows, width)
        exponents = [dice.choice((dice.randint(-spread, spread), dice.uniform(-spread, spread)))
                     for _ in range(rows * width)]  # fmt: skip
        numbers = [dice.choice(SHARES) * 10**each * dice.choice((1, 1, 1, -1)) * (dice.random() < 0.8)
                   for each in exponents]  # fmt: skip
        weights = np.reshape(numbers, shape)
        price = np.array([dice.choice(SHARES) * 10 ** dice.randint(0, 2) for _ in range(width)])
        size = dice.choice((1.0, 10.0, 1000.0, largest if kind == "whole" else 1e6))
        if kind == "pick":
            family = problem.picks(f"x {part}", [item])
            plan = np.eye(width)[dice.randrange(width)]
        else:
            high = dice.choice((None, math.ceil(3 * size)))
            family = problem.amounts(f"x {part}", [item], whole=kind == "whole", high=high)
            drawn = [dice.random() * size for _ in range(width)]
            plan = np.array([float(math.floor(each + 0.5)) if kind == "whole" else round(each, 3) for each in drawn])
        totals.append(family * problem.table(f"weight {part}", [row, item], weights))
        prices.append(family * problem.table(f"price {part}", [item], price))
        for at, column in itertools.product(range(rows), range(width)):
            sums[at].append(float(weights[at, column] * plan[column]))
        costs += (price * plan).tolist()
    total = sum(totals[1:], totals[0])
    limits = problem.table("limit", [row], [math.fsum(terms) for terms in sums])
    problem.require("balance", (total - limits).equals(0), each=[row])
    problem.measure("cost", sum(prices[1:], prices[0]))
    return Planted(problem, math.fsum(costs))


def meets_seed(seed: int, tally: Tally | None = None, time_limit: float = 1.0) -> str:
    """Return how equations with a plan end: with one that is no worse, at the limit, or refused; never without plans.

    Raises:
        AssertionError: they are said to be infeasible, or an optimum is worse than the plan.
    """
    made = planted(seed)
    try:
        answer = mo.optimize(made.problem, objective="min_cost", time_limit=time_limit)
    except InfeasibleError as error:
        raise AssertionError(f"seed {seed} has a plan") from error
    except LimitReachedError:
        status = "limit reached"
    except MlsysimError:  # out of scale, withheld, or the solver gave up
        status = REFUSED
    else:
        assert isinstance(answer, PlanSolution)
        answer.verify()
        status = answer.status
        assert answer.bound is None or answer.bound.si <= made.cost + 1e-9 * abs(made.cost), f"seed {seed}"
    count(tally, status, ())
    return status
