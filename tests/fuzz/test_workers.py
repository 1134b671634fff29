"""Disaggregated serving: every backend finds what counting finds, in equal replicas and in pools."""

from __future__ import annotations

import pytest
from fuzzing.examine import examine_seed
from fuzzing.workers import Pools, replicas

from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize.coupled.run import solve_coupled

QUICK, CAMPAIGN, STEP = 60, 2500, 50


def examine_pools(seed: int) -> None:
    """Hold every way to solve a question about pools against counting; the seed stands in the message of a failure."""
    question = Pools(seed)
    for backend, prune in (("milp", True), ("milp", False)):
        where = f"seed {seed}, {backend}, prune={prune}"
        try:
            found = solve_coupled(question.asked, backend=backend, prune=prune)
        except InfeasibleError:
            assert question.best is None, where
            continue
        assert question.best is not None, where
        assert found.status == "optimal", where
        assert found.objective.si == pytest.approx(question.best, rel=1e-9, abs=1e-9), where
        found.verify()


@pytest.mark.parametrize("seed", range(QUICK))
def test_equal_replicas(seed: int) -> None:
    examine_seed(replicas, seed)


@pytest.mark.parametrize("seed", range(QUICK))
def test_pools(seed: int) -> None:
    examine_pools(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + CAMPAIGN, STEP))
def test_campaign(first: int) -> None:
    for seed in range(first, first + STEP):
        examine_seed(replicas, seed)
        examine_pools(seed)
