"""What users ask: objectives and constraints as text, expression or function mean the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra.expression import Choice, Symbol, expression
from mlsysim_opt.errors import DimensionError, InputError, UnknownNameError, VerificationError
from mlsysim_opt.optimize import Problem, formulation, task
from mlsysim_opt.units import BYTE, NONE, TIME

JOB: dict[str, Any] = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 128, "seq_len": 4096}
MONEY: dict[str, Any] = {"token_budget": "1e12 token", "price": "2.50 USD/h", "pue": 1.2, "grid": "US_Avg"}
NARROW = {"tp_size": [1, 2], "v_stages": [1, 2], "cp_size": [1, 2]}


def test_custom_objective_as_text_function_and_in_the_formulation_is_one_optimum() -> None:
    text = mo.optimize("parallelism", objective="cost + 100 USD/tCO2e * carbon", choices=NARROW, **JOB, **MONEY)
    function = mo.optimize(
        "parallelism", objective=lambda m: m.cost + mo.Q_("100 USD/tCO2e") * m.carbon, choices=NARROW, **JOB, **MONEY
    )
    problem = formulation("parallelism").problem({**JOB, **MONEY}, NARROW)
    problem.measure("price_of_all", problem.metric("cost") + expression("100 USD/tCO2e") * problem.metric("carbon"))
    written = mo.optimize(problem, objective="min_price_of_all")
    assert text.design == function.design == written.design
    assert text.objective.quantity.to("USD").magnitude == pytest.approx(
        written.objective.quantity.to("USD").magnitude, rel=1e-12
    )
    # 100 USD/t is 0.1 USD/kg: the objective is the cost plus a tenth of the kilograms.
    parts = text.metrics["cost"].to("USD").magnitude + 0.1 * text.metrics["carbon"].to("kgCO2e").magnitude
    assert text.objective.quantity.to("USD").magnitude == pytest.approx(parts, rel=1e-12)


def test_constraint_as_text_expression_and_function_is_one_constraint() -> None:
    asked = task("parallelism", choices=NARROW, **JOB)
    memory = asked.problem.metric("memory")
    kinds: list[Any] = ["memory <= 60 GiB", memory <= mo.Q_("60 GiB"), lambda m: m.memory <= mo.Q_("60 GiB")]
    found = [mo.optimize("parallelism", choices=NARROW, constraints=[kind], **JOB) for kind in kinds]
    assert found[0].design == found[1].design == found[2].design
    assert found[0].metrics["memory"] <= mo.Q_("60 GiB")


def test_a_conjunction_is_two_constraints_with_slacks_of_their_own() -> None:
    found = mo.optimize("parallelism", choices=NARROW, constraints=["20 GiB <= memory <= 60 GiB"], **JOB)
    asked = [item for item in found.constraints if item.given_by_user]
    assert [item.name for item in asked] == ["20 GiB <= memory", "memory <= 60 GiB"]
    assert all(item.slack is not None for item in asked)


def test_objectives_in_order_of_importance() -> None:
    first = mo.optimize("parallelism", objective="max_microbatches", choices=NARROW, **JOB)
    both = mo.optimize("parallelism", objective=["max_microbatches", "min_step_time"], choices=NARROW, **JOB)
    assert both.objective == first.objective
    fixed = mo.optimize("parallelism", choices=NARROW, constraints=[f"microbatches = {first.objective.value}"], **JOB)
    assert both.metrics["step_time"].to("s").magnitude == pytest.approx(fixed.metrics["step_time"].to("s").magnitude)


@pytest.mark.parametrize("spec", [True, False, 3, None, b"memory"])
def test_a_constraint_that_is_no_comparison_is_refused(spec: Any) -> None:
    with pytest.raises(InputError, match=r"constraints\[0\]"):
        mo.optimize("parallelism", constraints=[spec], **JOB)


def test_a_strict_comparison_of_choices_and_known_numbers_is_exact() -> None:
    assert mo.optimize("parallelism", constraints=["tp_size < 2"], **JOB).design["tp_size"] == 1
    problem = Problem("steps", values={"each": 0.1})
    count = problem.choose("count", range(1, 6))
    problem.measure("time", count * Symbol("each", TIME), unit="s")
    for backend in ("enumerate", "milp", "cpsat"):
        found = mo.optimize(problem, objective="max_time", constraints=["time < 0.3 s"], backend=backend)
        assert found.design == {"count": 2}  # 3 * 0.1 is 0.30000000000000004, and would not do for <= either
        assert mo.optimize(problem, objective="max_time", constraints=["time < 0.4 s"]).design == {"count": 3}
        assert mo.optimize(problem, objective="max_time", constraints=["time <= 0.4 s"]).design == {"count": 4}
    with pytest.raises(mo.InfeasibleError, match=r"by more than 50 ms: a limit above 0\.1 s instead of 50 ms"):
        mo.optimize(problem, objective="max_time", constraints=["time < 0.05 s"])
    with pytest.raises(mo.InfeasibleError) as caught:
        mo.optimize(problem, objective="max_time", constraints=["time < 0.1 s"])
    assert "by the least bit: a limit above 0.1 s instead of 100 ms (the simplest design)" in str(caught.value)


def test_a_strict_comparison_of_an_unknown_is_refused() -> None:
    problem = Problem("open")
    problem.measure("share", problem.choose("count", range(1, 6)) * Symbol("part", NONE))
    with pytest.raises(InputError, match="strict, but part is not known to be a whole number"):
        mo.optimize(problem, objective="max_share", constraints=["share < 0.5"])


def test_units_that_do_not_add_are_named() -> None:
    with pytest.raises(DimensionError, match=r"(?s)cost.*USD|USD.*cost"):
        mo.optimize("parallelism", objective="cost + carbon", **JOB, **MONEY)


def test_a_missing_price_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="price"):
        mo.optimize("parallelism", objective="min_cost", token_budget="1e12 token", **JOB)


def test_an_own_problem_without_any_formulation() -> None:
    """Buffer of b bytes in n pieces: time = b / n / 1 GB/s + n * 1 us is least near n = sqrt(b / 1 kB)."""
    problem = Problem("pieces", item="plan")
    size = Symbol("size", BYTE)
    problem.values["size"] = 1e6
    pieces = problem.choose("pieces", range(1, 101))
    problem.measure("time", size / pieces / mo.Q_("1 GB/s") + pieces * mo.Q_("1 us"), unit="us")
    best = mo.optimize(problem, objective="min_time")
    # d/dn (1000 us / n + n us) = 0 at n = sqrt(1000) = 31.6; 31 gives 63.258, 32 gives 63.25
    assert best.design == {"pieces": 32}
    assert best.metrics["time"].to("us").magnitude == pytest.approx(1000 / 32 + 32)


def test_solutions_survive_json_and_verify_themselves() -> None:
    found = mo.optimize("parallelism", constraints=["memory <= 60 GiB"], choices=NARROW, **JOB)
    again = mo.Solution.from_json(found.to_json())
    assert again.as_dict() == found.as_dict()
    checked = again.verify()
    assert checked["constraints_hold"]
    assert checked["deviation"] < 1e-9
    assert str(again.why_not(tp_size=2)) == str(found.why_not(tp_size=2))


@pytest.mark.parametrize("field", ["objective", "design", "metrics"])
def test_a_solution_that_was_tampered_with_does_not_verify(field: str) -> None:
    data = mo.optimize("parallelism", choices=NARROW, **JOB).as_dict()
    if field == "objective":
        data["objective"]["value"] *= 0.99
    elif field == "design":
        data["design"]["zero_stage"] = (data["design"]["zero_stage"] + 1) % 4
    else:
        data["metrics"]["memory"]["value"] *= 1.01
    with pytest.raises(VerificationError):
        mo.Solution.from_json(json.dumps(data)).verify()


def test_an_accelerator_without_the_precision_is_excluded_with_the_reason() -> None:
    found = mo.optimize("parallelism", accelerator=["H100", "A100"], precision="fp8", choices=NARROW, **JOB)
    assert found.design["accelerator"] == "H100"
    assert "fp8" in found.excluded["A100"]


def test_fewer_nodes_can_be_the_answer() -> None:
    found = mo.optimize(
        "parallelism",
        nodes="any",
        objective="min_cost",
        choices=NARROW,
        token_budget="1e12 token",
        price="2 USD/h",
        **JOB,
    )
    assert found.design["nodes"] < 8
    assert found.metrics["devices"] == 8 * found.design["nodes"]


def test_unknown_decisions_and_values_are_named() -> None:
    with pytest.raises(UnknownNameError, match="tp_sise"):
        mo.optimize("parallelism", choices={"tp_sise": 4}, **JOB)
    with pytest.raises(InputError, match="zero_stage"):
        mo.optimize("parallelism", choices={"zero_stage": 7}, **JOB)


def test_choices_of_other_problems_are_refused() -> None:
    problem = Problem("one")
    problem.choose("a", [1, 2])
    problem.measure("cost", Choice("b", [1, 2]) * expression("1 USD"))
    with pytest.raises(mo.MlsysimError):
        mo.optimize(problem, objective="min_cost")
