"""Checkpointing and compression: all backends and a scalar enumeration agree, and so do all explanations.

A failure names its seed: `examine_seed(saving, 17)` runs that instance again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fuzzing.examine import examine_seed
from fuzzing.small import quantized, saving
from fuzzing.tally import Tally

from mlsysim_opt.optimize import Task

QUICK, CAMPAIGN, STEP = 16, 2500, 50
MAKERS = [saving, quantized]


@pytest.mark.parametrize("seed", range(QUICK))
@pytest.mark.parametrize("make", MAKERS)
def test_backends_agree_with_a_scalar_enumeration(make: Callable[[int], Task], seed: int, tally: Tally) -> None:
    examine_seed(make, seed, tally=tally)


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(make: Callable[[int], Task], first: int, tally: Tally) -> None:
    for seed in range(first, first + STEP):
        examine_seed(make, seed, tally=tally)
