"""Equations that a known plan meets are never called infeasible, however awkward their numbers are.

A failure names its seed: `meets_seed(17)` runs that instance again.
"""

from __future__ import annotations

import pytest
from fuzzing.planted import REFUSED, meets_seed
from fuzzing.tally import Tally

QUICK, CAMPAIGN, STEP = 100, 5000, 50


def test_equations_with_a_plan_are_possible(tally: Tally) -> None:
    found = [meets_seed(seed, tally) for seed in range(QUICK)]
    assert found.count(REFUSED) <= QUICK // 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int, tally: Tally) -> None:
    found = [meets_seed(seed, tally) for seed in range(first, first + STEP)]
    assert found.count(REFUSED) <= 2
