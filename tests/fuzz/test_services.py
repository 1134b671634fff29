"""All backends and a scalar enumeration agree on random services, and so do all explanations.

A failure names its seed: `examine_seed(service, 17, sizes=LONG)` runs that instance again.
"""

from __future__ import annotations

import pytest
from fuzzing.examine import LONG, examine_seed
from fuzzing.services import service
from fuzzing.tally import Tally

QUICK, CAMPAIGN, STEP = 40, 5000, 50


@pytest.mark.parametrize("seed", range(QUICK))
def test_backends_agree_with_a_scalar_enumeration(seed: int, tally: Tally) -> None:
    examine_seed(service, seed, sizes=LONG, tally=tally)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int, tally: Tally) -> None:
    for seed in range(first, first + STEP):
        examine_seed(service, seed, sizes=LONG, reasons=seed % 4 == 0, tally=tally)


@pytest.mark.parametrize("seed", [2, 4, 16])
def test_there_are_services_that_are_possible(seed: int) -> None:
    # or nothing of what is said of answers would be looked at
    assert examine_seed(service, seed, sizes=LONG) == "optimal"
