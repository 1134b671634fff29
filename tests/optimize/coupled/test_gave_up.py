"""Where HiGHS gives up: what is tried otherwise, what is said, and what is not lost."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import SolverError
from mlsysim_opt.optimize import CoupledProblem
from mlsysim_opt.optimize.backends import highs
from mlsysim_opt.optimize.backends.highs import HighsProgram, Result
from mlsysim_opt.optimize.coupled.outcome import Options, finished, pruned
from mlsysim_opt.optimize.coupled.program import LinearProgram, Triplets

JOBS, SITES = 4, 3
COST = [-5.0, -6, -10, 12, -4, -10, 9, 13, -11, -12, 6, -3]
GAIN = [11.0, 29, 5, 27, 13, 19, 12, 26, 14, 15, 28, 27]
WASTE = [348.0, 252, 84, 264, 60, 228, 108, 360, 348, 312, 192, 348]
OBJECTIVES = ["min_cost", "max_gain", "min_waste"]


def jobs(*, gain: float | None = None, waste: float | None = None) -> CoupledProblem:
    """Four jobs, each at one of three sites with room for two."""
    problem = CoupledProblem("jobs")
    job, site = problem.choose("job", range(JOBS)), problem.choose("site", range(SITES))
    run = problem.picks("run", [job, site], for_each=[job])
    problem.require("room", run.total() <= 2, each=[site])
    table = {
        name: problem.table(f"{name}s", [job, site], np.reshape(numbers, (JOBS, SITES)).tolist())
        for name, numbers in (("cost", COST), ("gain", GAIN), ("waste", WASTE))
    }
    for name, numbers in table.items():
        problem.measure(name, run * numbers)
    if gain is not None:
        problem.require("gained", run * table["gain"] >= gain)
    if waste is not None:
        problem.require("wasted", run * table["waste"] <= waste)
    return problem


def plans() -> list[tuple[float, float, float]]:
    """Return cost, gain and waste of every plan."""
    found = []
    for sites in itertools.product(range(SITES), repeat=JOBS):
        if max(sites.count(site) for site in sites) <= 2:
            at = [SITES * job + site for job, site in enumerate(sites)]
            found.append((sum(COST[i] for i in at), sum(GAIN[i] for i in at), sum(WASTE[i] for i in at)))
    return found


@pytest.mark.parametrize("rules", [None, 0])
def test_a_plan_that_presolve_makes_up_is_looked_for_without_it(
    monkeypatch: pytest.MonkeyPatch, rules: int | None
) -> None:
    # HiGHS 1.13.1 ends with "Solve error" here: what its presolve makes of the rows of picks breaks the others.
    if rules is not None:
        monkeypatch.setattr(highs, "rules_off", lambda program: rules)
    best = min(cost for cost, gain, waste in plans() if gain >= 87.5 and waste <= 1014)
    assert mo.optimize(jobs(gain=87.5, waste=1014), objective="min_cost").objective.value == best


def front_of(problem: CoupledProblem) -> Any:
    return mo.pareto(problem, objectives=OBJECTIVES)


def points_of(front: Any) -> set[tuple[float, ...]]:
    return {tuple(item.metrics[name] for name in ("cost", "gain", "waste")) for item in front}


def test_the_front_on_which_it_gave_up_is_complete() -> None:
    front = front_of(jobs())
    every = plans()
    best = {
        one for one in every
        if not any(two != one and two[0] <= one[0] and two[1] >= one[1] and two[2] <= one[2] for two in every)
    }  # fmt: skip
    assert front.status == "complete"
    assert points_of(front) == best


@pytest.mark.parametrize("at", [4, 8])
def test_a_front_keeps_its_points_where_the_solver_gives_up_once(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    complete = points_of(front_of(jobs()))
    solve, asked = HighsProgram.solve, []

    def giving_up(self: HighsProgram, **how: Any) -> Result:
        asked.append(self)
        if len(asked) == at:
            raise SolverError("HiGHS gave up: Solve error")
        return solve(self, **how)

    monkeypatch.setattr(HighsProgram, "solve", giving_up)
    front = front_of(jobs())
    assert front.status == "stopped"
    assert "gave up" in front.guarantee
    assert "may be missing" in front.guarantee
    points = points_of(front)
    assert points
    assert points <= complete


def test_where_every_way_fails_the_error_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    module = highs._highspy()
    tried = []
    monkeypatch.setattr(module.Highs, "run", lambda self: tried.append(self.getOptionValue("presolve")[1]))
    monkeypatch.setattr(module.Highs, "getModelStatus", lambda self: module.HighsModelStatus.kSolveError)
    with pytest.raises(SolverError, match="HiGHS gave up: Solve error") as caught:
        HighsProgram(least_of_two()).relaxation()
    assert tried == ["choose", "choose", "choose", "off"]
    assert caught.value.hint is not None
    assert "backend='cpsat'" in caught.value.hint


# a proven zero --------------------------------------------------------------------------------------------------------
def least_of_two(held: float = 340.0) -> LinearProgram:
    """Minimise t, which is at least 340 x - held in one row and 0 in the other, with x = 1: zero where 340 is held."""
    entries = Triplets(np.array([0, 0]), np.array([0, 1]), np.array([-340.0, 1.0], float))
    low, inf = np.array([-held], float), np.array([math.inf], float)
    return LinearProgram.of(
        entries, cost=np.array([0.0, 1.0], float), low=np.array([1.0, -math.inf], float),
        high=np.array([1.0, math.inf], float), whole=np.array([True, False], bool), row_low=low, row_high=inf,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("below", "status"),
    [
        (8.3e-14, "optimal"),  # the rounding of 340 - 340 is 6e-14
        (3e-10, "optimal"),  # 1e-9 of a thousandth of what is compared, as for other sums that cancel
        (1e-9, "feasible"),
        (1e-6, "feasible"),
    ],
)
def test_a_largest_of_zero_is_proven_to_the_rounding_of_what_it_compares(below: float, status: str) -> None:
    program = least_of_two()
    result = Result("optimal", np.array([1.0, 0.0], float), 0.0, -below)
    found = finished(pruned(program, Options(prune=False)), result, "HiGHS", "branch and bound")
    assert (found.status, found.value) == (status, 0.0)


def test_other_amounts_that_cost_are_no_largest() -> None:
    # The same row, but x costs as well: then a sum of costs is what is known to its own rounding.
    program = least_of_two()
    program.cost[0] = 1e-30
    result = Result("optimal", np.array([1.0, 0.0], float), 0.0, -3e-10)
    found = finished(pruned(program, Options(prune=False)), result, "HiGHS", "branch and bound")
    assert found.status == "feasible"
