"""Disaggregated serving: every backend finds what counting finds, in equal replicas and in pools."""

from __future__ import annotations

import pytest
from fuzzing.agree import agree_seed
from fuzzing.examine import examine_seed
from fuzzing.tally import Tally
from fuzzing.workers import Pools, replicas

QUICK, CAMPAIGN, STEP = 60, 2500, 50


@pytest.mark.parametrize("seed", range(QUICK))
def test_equal_replicas(seed: int, tally: Tally) -> None:
    examine_seed(replicas, seed, tally=tally)


@pytest.mark.parametrize("seed", range(QUICK))
def test_pools(seed: int, tally: Tally) -> None:
    agree_seed(Pools, seed, tally=tally)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int, tally: Tally) -> None:
    for seed in range(first, first + STEP):
        examine_seed(replicas, seed, tally=tally)
        agree_seed(Pools, seed, every=True, tally=tally)
