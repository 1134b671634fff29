"""Purchases of clusters: every way to solve one finds what trying every purchase finds.

A failure names its seed: `agree_seed(cluster, 17, every=True)` runs that instance again.
"""

from __future__ import annotations

import pytest
from fuzzing.agree import agree_seed
from fuzzing.clusters import cluster
from fuzzing.tally import Tally

QUICK, CAMPAIGN, STEP = 16, 5000, 50


@pytest.mark.parametrize("seed", range(QUICK))
def test_all_ways_agree_with_every_purchase(seed: int, tally: Tally) -> None:
    agree_seed(cluster, seed, tally=tally)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int, tally: Tally) -> None:
    for seed in range(first, first + STEP):
        agree_seed(cluster, seed, every=True, tally=tally)
