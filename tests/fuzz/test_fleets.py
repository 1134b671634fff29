"""Serving fleets: every way to solve one finds what counting replicas finds, for traffic in parts and divisible.

A failure names its seed: `agree_seed(fleet, 17, every=True)` runs that instance again.
"""

from __future__ import annotations

import pytest
from fuzzing.agree import agree_seed
from fuzzing.fleets import fleet
from fuzzing.tally import Tally

QUICK, CAMPAIGN, STEP = 60, 5000, 50


@pytest.mark.parametrize("seed", range(QUICK))
def test_all_ways_agree_with_counting(seed: int, tally: Tally) -> None:
    agree_seed(fleet, seed, tally=tally)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int, tally: Tally) -> None:
    for seed in range(first, first + STEP):
        agree_seed(fleet, seed, every=True, tally=tally)
