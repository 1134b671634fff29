"""The audit is independent: a plan that was tampered with in any way is caught."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from mlsysim_opt.errors import InputError, VerificationError
from mlsysim_opt.optimize import CoupledProblem, PlanSolution, optimize
from mlsysim_opt.optimize.coupled import compile as compiling


def plan() -> CoupledProblem:
    """Jobs on sites; whole servers under them, and energy in kWh by hour that the servers draw."""
    problem = CoupledProblem("plan")
    job, size = problem.choose("job", ["a", "b"]), problem.choose("size", [1, 2, 4])
    site, hour = problem.choose("site", ["A", "B"]), problem.choose("hour", [1, 2])
    run = problem.picks("run", [job, size, site], for_each=[job])
    servers = problem.amounts("servers", [site], whole=True, high=4)
    energy = problem.amounts("energy", [site, hour], unit="kWh", high=50)
    problem.allow("small at B", (size <= 2) | (site == "A"))
    problem.require("room", run * size <= servers * 2, each=[site])
    problem.require("energy", energy.equals(servers * "3 kWh"), each=[site, hour])
    problem.require("not all", servers <= 5)
    tariff = problem.table("tariff", [site, hour], [[0.1, 0.3], [0.2, 0.2]], unit="USD/kWh")
    problem.measure("cost", servers * "1 USD" + energy * tariff, unit="USD")
    problem.measure("work", run * size)
    return problem


@pytest.fixture
def answer() -> PlanSolution:
    # 6 units need 3 servers: 3 USD, and 3 kWh in each of two hours at 0.2 on average: 3 * 3 * 2 * 0.2 = 3.6. 6.6 USD.
    return optimize(plan(), objective="min_cost", constraints=["work >= 6"])


def test_the_answer_itself_holds(answer: PlanSolution) -> None:
    assert answer.objective.value == pytest.approx(6.6)
    checked = answer.verify()
    assert checked["constraints_hold"]
    assert checked["deviation"] <= 1e-9


def _rows(solution: PlanSolution, family: str) -> list[dict[str, Any]]:
    return solution.amounts[family]


TAMPERED: dict[str, Callable[[PlanSolution], None]] = {
    "one picked instead of": lambda s: _rows(s, "run").append(copy.copy(_rows(s, "run")[0])),
    "picked instead of 1": lambda s: _rows(s, "run").pop(),
    "room": lambda s: _rows(s, "servers")[0].update(amount=_rows(s, "servers")[0]["amount"] - 1),
    "is not whole": lambda s: _rows(s, "servers")[0].update(amount=1.5),
    "is not within": lambda s: _rows(s, "servers")[0].update(amount=7),
    "energy": lambda s: _rows(s, "energy")[0].update(amount=_rows(s, "energy")[0]["amount"] * (1 + 1e-5)),
    "small at B": lambda s: _rows(s, "run")[0].update(size=4, site="B"),
    "work >= 6": lambda s: [row.update(size=1) for row in _rows(s, "run")],  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("says", TAMPERED)
def test_tampered_amounts_are_caught(answer: PlanSolution, says: str) -> None:
    TAMPERED[says](answer)
    with pytest.raises(VerificationError, match=says.removeprefix("one ")):
        answer.verify()


def test_a_tampered_objective_metric_or_bound_is_caught(answer: PlanSolution) -> None:
    for name, wrong in (
        ("objective", lambda s: setattr(s, "objective", type(s.objective)(6.5, "USD"))),
        ("metric", lambda s: s.metrics.values_with_units.update(work=type(s.objective)(7))),
        ("bound", lambda s: setattr(s, "bound", type(s.objective)(6.7, "USD"))),
    ):
        tampered = copy.deepcopy({**answer.__dict__, "task": None})
        changed = PlanSolution(**{**tampered, "task": answer.task})
        wrong(changed)  # type: ignore[no-untyped-call]
        with pytest.raises(VerificationError):
            changed.verify()
        assert name


def test_what_the_compile_step_forgets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    # The rows of one relation are not made: the audit does not know of the compile step and finds them violated.
    made = compiling.Compiler._relation_rows

    def forgetful(self: Any, item: Any, columns: Any) -> Any:
        rows = made(self, item, columns)
        if item.name != "room":
            return rows
        nothing = compiling.Triplets.joined([])
        return compiling.Rows(item.name, (), {}, rows.low[:0], rows.high[:0], nothing, item)

    monkeypatch.setattr(compiling.Compiler, "_relation_rows", forgetful)
    with pytest.raises(VerificationError, match="room"):
        optimize(plan(), objective="min_cost", constraints=["work >= 6"])


def test_json_round_trip(answer: PlanSolution) -> None:
    again = PlanSolution.from_json(answer.to_json())
    assert again.as_dict() == answer.as_dict()
    assert json.loads(answer.to_json())["kind"] == "plan"
    # An own problem is not stored: the error says so, and what to do.
    with pytest.raises(InputError, match="ask optimize"):
        again.verify()
    again.task = answer.task
    assert again.verify()["constraints_hold"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 9, "kind": "plan"}', '{"schema": 1, "kind": "design"}'])
def test_other_json_is_no_plan(text: str) -> None:
    with pytest.raises(InputError, match="not a plan"):
        PlanSolution.from_json(text)


def test_slacks_are_told_with_their_place() -> None:
    # Servers 3 of 5: slack 2. Both sites' rooms: of 6 units on 3 servers none is left.
    answer = optimize(plan(), objective="min_cost", constraints=["work >= 6"])
    slack = {item.name: item for item in answer.constraints}
    assert slack["not all"].slack is not None
    assert slack["not all"].slack.value == 2
    assert slack["room"].slack is not None
    assert slack["room"].slack.value == 0
    assert slack["room"].place.startswith("site=")
    assert slack["work >= 6"].given_by_user


def test_a_metric_of_a_number_that_has_no_value_is_refused() -> None:
    problem = plan()
    _, size, _ = problem.families["run"].over
    problem.measure("odd", problem.families["servers"] * 1 + size)  # of which size?
    with pytest.raises(InputError, match="no value for 'size'"):
        optimize(problem, objective="min_cost", constraints=["work >= 6"])
