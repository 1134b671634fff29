"""A number that is not finite says nothing about what is possible: it is told, with the words that make it."""

from __future__ import annotations

import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra import lookup
from mlsysim_opt.errors import InfeasibleError, ScaleError
from mlsysim_opt.optimize import CoupledProblem, Problem


def designs() -> Problem:
    """Three sizes, of which the largest takes 5 s."""
    problem = Problem("sizes")
    size = problem.choose("size", [1, 2, 3])
    problem.measure("time", lookup(size, {1: 20.0, 2: 10.0, 3: 5.0}, unit="s"), unit="s")
    problem.measure("cost", size * mo.Q_("2 USD"), unit="USD")
    problem.measure("load", 1 / (size - 1))  # undefined at 1
    problem.default_objective = "min_time"
    return problem


@pytest.mark.parametrize("backend", ["enumerate", "milp", "cpsat"])
@pytest.mark.parametrize("text", ["1e308*time", "maximize 1e308 * time", "-1e308*time", "time / (cost - cost)"])
def test_an_objective_beyond_all_numbers_is_not_called_infeasible(text: str, backend: str) -> None:
    with pytest.raises(ScaleError, match="not a finite number at any design") as caught:
        mo.optimize(designs(), objective=text, backend=backend)
    assert text in str(caught.value)
    with pytest.raises(ScaleError, match="not a finite number"):
        mo.pareto(designs(), objectives=["min_cost", text])


def test_what_decides_among_ties_is_a_number_too() -> None:
    with pytest.raises(ScaleError, match=r"'1e308\*time'"):
        mo.optimize(designs(), objective=["min_cost", "1e308*time"])


@pytest.mark.parametrize(
    "text",
    [
        "1e308*time <= 1e308 s",  # infinity on one side
        "1e308*time - 1e308*(12 s) <= 0 s",  # infinity less infinity
        "1e308*time <= 1e308*(12 s)",  # both: it would hold at every design
    ],
)
def test_a_limit_of_numbers_beyond_all_numbers_is_named(text: str) -> None:
    with pytest.raises(ScaleError) as caught:
        mo.optimize(designs(), constraints=[text])
    assert text in str(caught.value)


def test_what_is_undefined_at_some_designs_is_no_fault_of_the_question() -> None:
    assert mo.optimize(designs(), objective="min_load").design["size"] == 3  # 1 / 2
    with pytest.raises(InfeasibleError):  # of 2 and 3, which have a load, none keeps it
        mo.optimize(designs(), constraints=["cost * load <= 1 USD"])
    assert mo.optimize(designs(), objective="max_load").design["size"] == 2


def plans() -> CoupledProblem:
    """Two jobs at 1 or 2 USD each."""
    problem = CoupledProblem("jobs")
    job, place = problem.choose("job", ["a", "b"]), problem.choose("place", ["Iowa", "Utah"])
    run = problem.picks("run", [job, place], for_each=[job])
    problem.measure("cost", run * problem.table("price", [place], [1.0, 2.0], "USD"), unit="USD")
    problem.measure("jobs", run)
    problem.default_objective = "min_cost"
    return problem


@pytest.mark.parametrize("backend", ["milp", "cpsat", "pyomo"])
@pytest.mark.parametrize("factor", ["1e-320", "1e-323", "1e308"])
@pytest.mark.filterwarnings("error")
def test_factors_that_leave_the_range_of_numbers_are_named(factor: str, backend: str) -> None:
    for asked in (
        {"objective": f"cost*{factor}"},
        {"objective": f"maximize cost*{factor} / jobs"},
        {"objective": f"max(cost*{factor}, 3 USD)"},
        {"constraints": [f"cost*{factor} <= 3 USD"]},
        {"constraints": [f"cost/jobs*{factor} >= 3 USD"]},
    ):
        with pytest.raises(ScaleError, match="multiplies cost by"):
            mo.optimize(plans(), backend=backend, **asked)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_a_number_of_its_own_may_be_too_large_as_well() -> None:
    with pytest.raises(ScaleError, match="not a finite number where all sums are zero"):
        mo.optimize(plans(), objective="cost + 1e308*2*1 USD")
    with pytest.raises(ScaleError, match="not a finite number at the best plan"):
        mo.optimize(plans(), objective="cost*1e308 - cost*1e308 + cost")


def test_a_metric_that_is_undefined_everywhere_is_what_is_missing_not_a_number_that_is_too_large() -> None:
    problem = designs()
    problem.measure("never", problem.metric("time") / (problem.metric("cost") - problem.metric("cost")))
    for objective in ("min_never", "never + 2 * time / cost"):
        with pytest.raises(InfeasibleError, match="never is undefined"):
            mo.optimize(problem, objective=objective)
