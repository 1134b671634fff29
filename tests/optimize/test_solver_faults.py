"""Faults of solvers and of what is handed to them (class K): none reaches a user as an answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra.atoms import lookup
from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import LimitReachedError, VerificationError
from mlsysim_opt.optimize import Problem, run
from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.stopping import Halt

JOB: dict[str, Any] = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 128, "seq_len": 4096}
NARROW = {"tp_size": [1, 2], "v_stages": [1, 2], "cp_size": [1, 2]}
BACKENDS = ["enumerate", "milp", "cpsat"]


def table(**costs: float | None) -> Problem:
    """Return the problem of picking the cheapest name."""
    problem = Problem("table")
    choice = problem.choose("name", list(costs))
    problem.measure("cost", lookup(choice, dict(costs), unit="USD", reasons={"none": "it has no price"}))
    return problem


@pytest.mark.parametrize("backend", BACKENDS)
def test_K01_undefined_numbers_never_reach_a_solver(backend: str) -> None:
    found = mo.optimize(table(dear=5.0, none=None, cheap=3.0), objective="min_cost", backend=backend)
    assert found.design == {"name": "cheap"}
    assert found.excluded == {"none": "it has no price"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1.0, 1e9, 1e18])
def test_K02_K03_costs_of_any_size(backend: str, scale: float) -> None:
    found = mo.optimize(table(a=3.0001 * scale, b=3.0 * scale, c=1e5 * scale), objective="min_cost", backend=backend)
    assert found.design == {"name": "b"}
    assert found.gap == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("costs", [(-3.0, -2.0, 5.0), (0.0, 1.0, 2.0), (-1e-9, 0.0, 1e-9)])
def test_costs_at_and_below_zero(backend: str, costs: tuple[float, ...]) -> None:
    problem = table(a=costs[1], b=costs[0], c=costs[2])
    assert mo.optimize(problem, objective="min_cost", backend=backend).design == {"name": "b"}
    assert mo.optimize(problem, objective="max_cost", backend=backend).design == {"name": "c"}


def test_K04_a_wrong_optimum_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that calls another design optimal, or another value, does not get past the scalar evaluation."""

    class Wrong:
        name = "milp"

        def solve(self, search: Any, *, prune: bool, halt: Halt) -> Answer:
            return Answer("optimal", (0,), 3.0, 3.0, "trust me", "liar 1.0")

    monkeypatch.setattr(run, "backend_named", lambda name: Wrong())
    with pytest.raises(VerificationError, match="liar"):
        mo.optimize(table(a=5.0, b=3.0), objective="min_cost", backend="milp")


@pytest.mark.parametrize("backend", BACKENDS)
def test_K05_infeasible_is_said_to_be_infeasible(backend: str) -> None:
    with pytest.raises(mo.InfeasibleError) as caught:
        mo.optimize(table(a=5.0, b=3.0), objective="min_cost", constraints=["cost <= 2 USD"], backend=backend)
    assert caught.value.conflict == ("cost <= 2 USD",)
    (way,) = caught.value.relaxations
    assert way.amount.quantity.to("USD").magnitude == pytest.approx(1.0)  # 3 USD against 2 USD
    assert way.design == {"name": "b"}


def test_K06_a_limit_without_a_design_is_not_infeasible(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = SimpleNamespace(
        name="milp", solve=lambda *_, **__: Answer("unknown", None, None, None, "time limit", "HiGHS")
    )
    monkeypatch.setattr(run, "backend_named", lambda name: nothing)
    with pytest.raises(LimitReachedError) as caught:
        mo.optimize(table(a=5.0), objective="min_cost", backend="milp")
    assert caught.value.exit_code == 7


def test_K07_a_limit_with_a_design_shows_bound_and_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    held = SimpleNamespace(
        name="milp", solve=lambda *_, **__: Answer("feasible", (0,), 5.0, 4.0, "time limit", "HiGHS")
    )
    monkeypatch.setattr(run, "backend_named", lambda name: held)
    found = mo.optimize(table(a=5.0, b=3.0), objective="min_cost", backend="milp")
    assert found.status == "feasible"
    assert found.gap == pytest.approx(0.25)  # 5 is a quarter above 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_K11_division_by_a_choice_that_can_be_zero(backend: str) -> None:
    problem = Problem("divide")
    n = problem.choose("n", [0, 1, 2])
    problem.measure("time", mo.Q_("6 s") / n, unit="s")
    found = mo.optimize(problem, objective="min_time", backend=backend)
    assert found.design == {"n": 2}
    assert found.metrics["time"].to("s").magnitude == 3.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_K12_exactly_on_the_limit_is_allowed_and_a_hair_beyond_is_not(backend: str) -> None:
    # 0.1 + 0.2 is 0.30000000000000004, which is 0.3 up to rounding; 0.3 and a ten trillionth of it is more
    for first, expected in ((0.1 + 0.2, "a"), (0.3 * (1 + 1e-13), "b")):
        problem = table(a=first, b=0.2)
        found = mo.optimize(problem, objective="max_cost", constraints=["cost <= 0.3 USD"], backend=backend)
        assert found.design == {"name": expected}


def test_K13_the_same_answer_every_time_and_in_threads() -> None:
    def ask(_: int) -> dict[str, Any]:
        found = mo.optimize("parallelism", choices=NARROW, **JOB)
        return {"design": found.design, "objective": found.objective, "runner_ups": found.runner_ups}

    alone = ask(0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(8))) == [alone] * 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_K14_ties_go_to_the_first_design_in_the_order_of_the_decisions(backend: str) -> None:
    problem = Problem("tie")
    a, b = problem.choose("a", [1, 2, 3]), problem.choose("b", [3, 2, 1])
    problem.measure("cost", a * b * mo.Q_("1 USD"))
    found = mo.optimize(problem, objective="max_cost", constraints=["cost <= 6 USD"], backend=backend)
    assert found.design == {"a": 2, "b": 3}
    assert found.tie_count == 2
    assert [item.design for item in found.ties] == [{"a": 3, "b": 2}]


def test_K15_a_user_function_that_fails_shows_its_own_error() -> None:
    def broken(metrics: Any) -> Any:
        raise RuntimeError("my own mistake")

    with pytest.raises(RuntimeError, match="my own mistake"):
        mo.optimize(table(a=1.0), objective=broken)
    with pytest.raises(mo.InputError, match="None"):
        mo.optimize(table(a=1.0), objective=lambda m: None)
    with pytest.raises(mo.SymbolicError, match="where"):
        mo.optimize(table(a=1.0), objective=lambda m: m.cost if m.cost > mo.Q_("1 USD") else 2 * m.cost)


@pytest.mark.parametrize("prune", [True, False])
def test_all_backends_agree_on_a_job(prune: bool) -> None:
    narrow = {**NARROW, "microbatch_size": [1, 2]}
    found = [mo.optimize("parallelism", choices=narrow, backend=name, prune=prune, **JOB) for name in BACKENDS]
    values = np.array([item.objective.value for item in found])
    assert np.ptp(values) <= 1e-9 * values[0]
    assert all(item.status == "optimal" and item.gap == 0 for item in found)
    assert len({tuple(item.design.items()) for item in found}) == 1


def test_choices_must_be_distinct_and_finite() -> None:
    for values in ([1, 1], [1, float("nan")], [1, "a"], []):
        with pytest.raises(mo.InputError):
            Choice("n", values)
