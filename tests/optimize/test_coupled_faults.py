"""Coupled problems that cannot be answered, or hardly: each a clear error or status, never a wrong optimum."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest
from fuzzing.knapsack import knapsack

import mlsysim_opt as mo
from mlsysim_opt.algebra import lookup
from mlsysim_opt.errors import (
    DimensionError,
    InfeasibleError,
    InputError,
    LimitReachedError,
    MlsysimError,
    ScaleError,
    SolverMissingError,
    UnboundedError,
    UnknownNameError,
    VerificationError,
)
from mlsysim_opt.optimize import CoupledProblem, Progress
from mlsysim_opt.optimize.backends import highs
from mlsysim_opt.optimize.backends._imports import load_highs
from mlsysim_opt.optimize.coupled.run import checked_gap
from mlsysim_opt.optimize.coupled.totals import sum_of


def depot(kilograms: float = 1.0, dollars: float = 1.0, whole: bool = True) -> CoupledProblem:
    """Ten loads of 2 or 3 units at 5 or 7 USD each must reach 17 units: 19 units are 4 x 3 + ... ; scaled as asked."""
    made = CoupledProblem("depot")
    size = made.choose("size", [2, 3])
    count = made.amounts("count", [size], whole=whole, high=20)
    made.measure("weight", count * made.table("weight", [size], np.array([2.0, 3.0]) * kilograms, "kgCO2e"))
    made.measure("cost", count * made.table("price", [size], np.array([5.0, 7.0]) * dollars, "USD"), unit="USD")
    made.default_objective = "min_cost"
    return made


def test_contradictory_and_infeasible() -> None:
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(depot(), constraints=["weight >= 5 kgCO2e", "weight <= 4 kgCO2e"])
    assert set(caught.value.conflict) == {"weight >= 5 kgCO2e", "weight <= 4 kgCO2e"}
    with pytest.raises(InfeasibleError):
        mo.optimize(depot(), constraints=["weight >= 1000 kgCO2e"])


def test_unbounded() -> None:
    made = CoupledProblem("endless")
    size = made.choose("size", [1, 2])
    count = made.amounts("count", [size], whole=True)
    made.measure("gain", count * size)
    made.measure("cost", count.total())
    with pytest.raises(UnboundedError):
        mo.optimize(made, objective="max_gain")
    with pytest.raises(UnboundedError):
        mo.pareto(made, objectives=["max_gain", "min_cost"])


def test_empty() -> None:
    made = CoupledProblem("empty")
    with pytest.raises(InputError):
        mo.optimize(made)
    with pytest.raises(InputError):
        made.choose("nothing", [])
    job = made.choose("job", ["a"])
    run = made.picks("run", [job], for_each=[job])
    made.measure("cost", run.total())
    made.allow("fits", lookup(job, {"a": 90.0}) <= 80)  # a table of one number is that number
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(made, objective="min_cost")
    assert caught.value.conflict == ("fits",)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kilograms", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("dollars", [1e-6, 1.0, 1e12])
def test_scale_does_not_change_the_plan(kilograms: float, dollars: float, whole: bool) -> None:
    # whole: 17 units as 3 x 2 + ... : (1, 5) weighs 17 and costs 40; divisible: 17/3 of the larger, 39.67
    limit = f"weight >= {17 * kilograms!r} kgCO2e"
    found = mo.optimize(depot(kilograms, dollars, whole), constraints=[limit])
    assert found.status == "optimal"
    expected = 40.0 if whole else 17 / 3 * 7
    assert found.objective.value == pytest.approx(expected * dollars, rel=1e-9)
    if whole:
        assert {row["size"]: row["amount"] for row in found.amounts["count"]} == {2: 1, 3: 5}
        front = mo.pareto(depot(kilograms, dollars), objectives=["min_cost", "max_weight"], constraints=[
            f"weight <= {17 * kilograms!r} kgCO2e", f"weight >= {15 * kilograms!r} kgCO2e"])  # fmt: skip
        # 15 as (0, 5): 35; 16 as (2, 4): 38; 17 as (1, 5): 40
        assert np.allclose(np.array(front.values)[:, 0] / dollars, [35, 38, 40], rtol=1e-9)


def test_tiny_beside_huge_is_solved_or_refused_but_never_wrong() -> None:
    made = CoupledProblem("mixed")
    kind = made.choose("kind", ["dust", "plant"])
    count = made.amounts("count", [kind], whole=True, high=3)
    made.measure("cost", count * made.table("price", [kind], [1e-9, 1e12], "USD"), unit="USD")
    made.measure("need", count * made.table("need", [kind], [1e-9, 1e12]))
    try:
        found = mo.optimize(made, objective="min_cost", constraints=["need >= 1e12"])
    except (VerificationError, ScaleError):
        return
    assert found.metrics["cost"].to("USD").magnitude == pytest.approx(1e12, rel=1e-9)
    found.verify()


def test_a_time_limit_before_any_plan() -> None:
    # 949 is the best there is: no rounding finds it, only a search
    with pytest.raises(LimitReachedError):
        mo.optimize(knapsack(), constraints=["gain >= 949"], time_limit=1e-6)
    with pytest.raises(LimitReachedError):
        mo.pareto(
            knapsack(), objectives=["max_gain", "minimize gain / 2"], constraints=["gain >= 949"], time_limit=1e-6
        )
    for wrong in (0, -1, float("nan"), "3 USD"):
        with pytest.raises(InputError):
            mo.optimize(knapsack(), time_limit=wrong)


def test_stopping_gives_what_is_held_with_its_gap() -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> bool:
        seen.append(progress)
        return progress.incumbent is not None

    found = mo.optimize(knapsack(80), progress=stop)
    assert seen
    assert found.status == "feasible"
    assert found.gap is not None
    assert found.gap > 0
    assert found.bound is not None
    assert found.bound.si >= found.objective.si
    assert found.verify()["constraints_hold"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_gives_what_is_held_with_its_gap() -> None:
    def press(progress: Progress) -> None:
        if progress.incumbent is not None:
            signal.raise_signal(signal.SIGINT)

    found = mo.optimize(knapsack(80), progress=press)
    assert found.status == "feasible"
    assert found.gap
    again = mo.optimize(knapsack(80), gap=0.2, start=found)  # and the next search begins there
    assert again.objective.si >= found.objective.si * (1 - 1e-9)


def test_a_gap_is_kept() -> None:
    best = mo.optimize(knapsack())
    assert (best.status, best.gap) == ("optimal", 0)
    for gap in ("5%", 0.2, 0.5):
        found = mo.optimize(knapsack(), gap=gap)
        assert found.settled
        assert found.gap is not None
        assert found.gap <= checked_gap(gap)
        assert found.status == ("optimal" if found.gap == 0 else "within_gap")
        assert found.status == "within_gap" or found.objective == best.objective
        assert "within the gap" in found.certificate.proof or found.status == "optimal"
        assert type(found).from_json(found.to_json()).status == found.status
    assert found.status == "within_gap", "the loosest of them stops early"
    for wrong in (-0.1, 1, "much"):
        with pytest.raises(InputError, match="gap"):
            mo.optimize(knapsack(), gap=wrong)


def test_a_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    monkeypatch.setattr(highs, "_highspy", load_highs)  # not the one that was loaded before
    with pytest.raises(SolverMissingError, match="highspy"):
        mo.optimize(depot(), constraints=["weight >= 17 kgCO2e"])
    with pytest.raises(UnknownNameError):
        mo.optimize(depot(), backend="gurobi")


def test_what_is_not_linear_or_not_known_is_named() -> None:
    problem = depot()
    for wrong in ("cost * weight", "minimize sqrt(cost / 1 USD)", "minimize cost / weight / cost"):
        with pytest.raises(InputError):
            mo.optimize(problem, objective=wrong)
    with pytest.raises(DimensionError):
        mo.optimize(problem, constraints=["cost <= 3 kgCO2e"])
    with pytest.raises(UnknownNameError, match="costs"):
        mo.optimize(problem, objective="min_costs")
    with pytest.raises(InputError):
        mo.optimize(problem, constraints=["size * cost <= 3 USD"])
    with pytest.raises(MlsysimError):
        mo.optimize(problem, constraints="cost <= nan USD")


def test_numbers_that_are_not_finite_are_refused_or_left_out() -> None:
    made = CoupledProblem("odd")
    kind = made.choose("kind", ["a", "b", "c"])
    run = made.picks("run", [kind])
    made.measure("cost", sum_of([run * made.table("price", [kind], [float("nan"), 3.0, 2.0])]))
    made.measure("limit", run * made.table("odd", [kind], [1.0, 1.0, float("inf")]))
    assert mo.optimize(made, objective="min_cost").amounts["run"][0]["kind"] == "c"
    # what is infinite is never taken where something finite will do
    assert mo.optimize(made, objective="min_limit", constraints=["limit <= 5"]).metrics["limit"] == 1


@pytest.mark.parametrize("needed", [1e8, 1e9, 1e10, 1e11, 1e12])
def test_whole_amounts_beside_a_divisible_one_of_any_size(needed: float) -> None:
    # 0.9 a piece for 1, or 1.62 for 2: the first are the cheaper, 1.1 against 1.2 for each unit that is needed.
    # From 1e10 on HiGHS took one more of a whole amount for nothing, and called the second the optimum.
    made = CoupledProblem("many")
    kind = made.choose("kind", ["a", "b"])
    pieces, flow = made.amounts("pieces", [kind], whole=True), made.amounts("flow", [])
    made.require("flow", flow.equals(needed))
    made.require("enough", pieces * made.table("rate", [kind], [0.9, 1.62]) >= flow)
    made.measure("cost", pieces * made.table("price", [kind], [1, 2]))
    try:
        found = mo.optimize(made, objective="min_cost")
    except ScaleError:
        assert needed > 1e8, "this is no large number"
    else:
        assert found.objective.value == pytest.approx(needed / 0.9, rel=1e-8)


def test_costs_too_small_for_numbers_are_refused() -> None:
    with pytest.raises(ScaleError):
        mo.pareto(depot(kilograms=1e-305), objectives=["min_cost", "max_weight"])
    # all that is weighed from 0 to 100 but 1 and 99, by so small a unit as by any other
    assert len(mo.pareto(depot(kilograms=1e-300), objectives=["min_cost", "max_weight"])) == 99


def test_what_is_no_plan_no_function_and_no_scenario_is_named() -> None:
    for wrong in ({"start": 3}, {"progress": 3}, {"extend": "x"}, {"robust": "worst_case"}, {"alpha": 0.5}):
        (name,) = wrong
        with pytest.raises(InputError, match=name):
            mo.optimize(depot(), **wrong)  # type: ignore[arg-type]
    plan = mo.optimize(depot(), constraints=["weight >= 17 kgCO2e"])
    with pytest.raises(UnknownNameError, match="siez"):
        plan.where("count", siez=2)
    with pytest.raises(InputError, match="limits choices"):
        plan.marginal("size <= 2")


def test_what_is_not_linear_is_said_where_it_was_written() -> None:
    for text in ("cost * cost <= 4 USD^2", "cost / weight - 3 USD/kgCO2e <= 0 USD/kgCO2e", "max(cost, 3 USD) >= 4 USD"):
        with pytest.raises(InputError) as caught:
            mo.optimize(depot(), constraints=[text])
        assert caught.value.path == text
        assert "#" not in str(caught.value)


def test_a_strict_limit_on_a_sum_is_refused_with_what_to_write() -> None:
    for text in ("count_of_all < 8", "cost < 40 USD"):
        made = depot()
        made.measure("count_of_all", made.families["count"].total())
        with pytest.raises(InputError, match=r"not known to be a whole number(?s:.*)n <= 7 for n < 8"):
            mo.optimize(made, constraints=[text])
