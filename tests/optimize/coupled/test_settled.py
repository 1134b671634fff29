"""Plans to the last digits: what divisible amounts add up to keeps every limit to 1e-9, whatever the units are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlsysim_opt.errors import ScaleError, VerificationError
from mlsysim_opt.optimize import CoupledProblem
from mlsysim_opt.optimize.coupled.audit import Amount
from mlsysim_opt.optimize.coupled.outcome import EXACT, settled
from mlsysim_opt.optimize.coupled.program import LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.reported import without_dust
from mlsysim_opt.optimize.coupled.search import HighsBackend, Options


def program(seed: int) -> tuple[LinearProgram, np.ndarray]:
    """Return a random program that has a plan, with numbers up to twelve orders of magnitude apart, and that plan."""
    dice = np.random.default_rng(seed)
    flows, counts, rows = dice.integers(3, 12), dice.integers(1, 6), dice.integers(3, 12)
    reach = dice.choice([0, 2, 4, 6]) / 2

    def apart(*shape: int) -> np.ndarray:
        return 10 ** dice.uniform(-reach, reach, shape)

    columns = flows + counts
    table = dice.uniform(0.1, 2, (rows, columns)) * apart(rows, columns) * (dice.random((rows, columns)) < 0.6)
    table = table * apart(rows, 1)
    plan = np.concatenate([dice.uniform(0, 1, flows) * apart(flows), dice.integers(0, 5, counts)])
    total = table @ plan
    low, high = np.full(rows, -math.inf), np.full(rows, math.inf)
    for at, sense in enumerate(dice.integers(3, size=rows)):
        if sense != 1:
            low[at] = total[at]
        if sense != 0:
            high[at] = total[at] * (dice.choice([1, 1.1]) if sense == 1 else 1)
    row, column = np.nonzero(table)
    made = LinearProgram.of(
        Triplets(row, column, table[row, column]),
        cost=dice.uniform(0.1, 2, columns) * apart(columns),
        low=np.zeros(columns),
        high=np.concatenate([np.full(flows, math.inf), np.full(counts, 9.0)]),
        whole=np.arange(columns) >= flows,
        row_low=low,
        row_high=high,
    )
    return made, plan


# 78: HiGHS calls a bound proven that is above its own plan; 2215, 3441, 4032: choosing the others again misses a limit
# by up to 2e-8, so that they stay as they were
@pytest.mark.parametrize("seed", [*range(80), 2215, 3441, 4032])
def test_limits_hold_to_the_last_digits(seed: int) -> None:
    made, plan = program(seed)
    try:
        found = HighsBackend().solve(made, Options())
    except (ScaleError, VerificationError):  # said, and no plan shown
        assert np.max(np.abs(made.value)) / np.min(np.abs(made.value)) > 1e6
        return
    if found.x is None:  # of equations that hold to their last digits only
        assert np.any(made.row_low == made.row_high)
        return
    assert float(np.max(made.row_violations(found.x))) <= EXACT
    assert found.value is not None
    assert found.bound <= float(made.cost @ plan) * (1 + 1e-6), "the bound is below every plan"


def test_amounts_are_those_that_are_nearer_to_the_limits() -> None:
    made, plan = program(3)
    again = settled(made, plan)
    assert float(np.max(made.row_violations(again))) <= EXACT
    assert float(made.cost @ again) <= float(made.cost @ plan) * (1 + 1e-9)
    with pytest.raises(VerificationError):
        settled(made, np.where(made.whole, plan + 4, plan))


def test_what_is_rounding_beside_the_others_of_its_demand_is_dropped() -> None:
    made = CoupledProblem("served")
    demand, site = made.choose("demand", ["large", "small"]), made.choose("site", ["A", "B"])
    served = made.amounts("served", [demand, site])

    def amount(who: str, where: str, much: float) -> Amount:
        return Amount(served, {"demand": who, "site": where}, much)

    real = [amount("large", "A", 50.0), amount("small", "A", 1e-8), amount("small", "B", 2e-8)]
    assert without_dust([*real, amount("large", "B", 4.5e-8)]) == real  # 50 * 1e-9 is 5e-8
