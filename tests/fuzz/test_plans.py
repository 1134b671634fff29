"""All ways to solve coupled problems agree with trying every plan, on random problems that mean nothing.

A failure names its seed: `agree_seed(plan, 17, every=True)` runs that instance again.
"""

from __future__ import annotations

import pytest
from fuzzing.agree import agree_seed
from fuzzing.plans import plan
from fuzzing.tally import Tally

QUICK, CAMPAIGN, STEP = 200, 5000, 50


@pytest.mark.parametrize("seed", range(QUICK))
def test_all_ways_agree_with_every_plan(seed: int, tally: Tally) -> None:
    agree_seed(plan, seed, tally=tally)


@pytest.mark.parametrize("seed", [1307, 2228, 3108, 3185, 3633])
def test_seeds_that_failed_once(seed: int) -> None:
    # 1307: a step of CP-SAT's presolve left out the best plan and called another one optimal (google/or-tools#5293).
    # 2228: the bound of a question without costs was 4e-16, and so above its plan.
    # 3108: a ratio of -2e-17, the rounding of zero, was not told apart from its bound of -7e-17.
    # 3185, 3633: HiGHS's dual simplex ends in "Unknown" on what has no plan.
    agree_seed(plan, seed, every=True)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int, tally: Tally) -> None:
    for seed in range(first, first + STEP):
        agree_seed(plan, seed, every=True, tally=tally)


def test_the_instances_are_of_both_kinds() -> None:
    # Mostly with plans, some without, or the campaign would show less than it says.
    found = [plan(seed).possible for seed in range(100)]
    assert 5 <= found.count(False) <= 50
