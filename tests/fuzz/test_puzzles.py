"""All backends and a scalar enumeration agree on random problems that mean nothing, and so do all explanations.

A failure names its seed: `examine_seed(puzzle, 17)` runs that instance again.
"""

from __future__ import annotations

import pytest
from fuzzing.examine import examine_seed
from fuzzing.puzzles import puzzle
from fuzzing.tally import Tally

QUICK, CAMPAIGN, STEP = 440, 5000, 50


@pytest.mark.parametrize("seed", range(QUICK))
def test_backends_agree_with_a_scalar_enumeration(seed: int, tally: Tally) -> None:
    examine_seed(puzzle, seed, tally=tally)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int, tally: Tally) -> None:
    for seed in range(first, first + STEP):
        examine_seed(puzzle, seed, tally=tally)


def test_the_instances_are_of_both_kinds() -> None:
    # Many feasible and many infeasible ones, or the campaign would show less than it says.
    found = [examine_seed(puzzle, seed) for seed in range(100_000, 100_060)]
    assert 15 <= found.count("optimal") <= 45
