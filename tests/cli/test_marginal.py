"""What limits cost, on the command line: exact answers under other limits, beside the answer.

Jobs of size 1, 2 and 3; each unit of size costs 1, 4 or 6 USD and 10, 2 or 1 t in Iowa, Quebec or Oslo.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import LimitReachedError
from mlsysim_opt.optimize import PlanSolution

from .conftest import Done

Ask = Callable[..., Done]
Refused = Callable[..., str]
pytestmark = pytest.mark.usefixtures("third_party")
JOBS = ("optimize", "shoptalk", "--set", "jobs=3", "--constraint", "carbon <= 30 tCO2e")


@pytest.mark.parametrize("text", ["carbon <= 60, 30, 12, 5 tCO2e", "carbon<=60000 kgCO2e , 30 tCO2e, 12 tCO2e,5 tCO2e"])
def test_a_range_of_limits(ask: Ask, text: str) -> None:
    done = ask(*JOBS, "--marginal", text, "--json")
    assert done.code == 0, done.err
    (found,) = done.json["marginals"]
    assert found["status"] == "solved"
    # all in Iowa; sizes 1 and 3 in Quebec; all in Quebec; and 6 t is the least there is
    assert [value and value["value"] for value in found["values"]] == [6, 18, 24, None]
    assert [value and value["value"] for value in found["costs"]] == [None, 12, 6, None]
    saved = found["secants"][1]["value"] * (1000 if "kg" in text else 1)
    assert saved == pytest.approx(12 / (60 - 28))  # USD/tCO2e


def test_one_limit_goes_on_to_where_the_answer_changes(ask: Ask) -> None:
    plan = mo.optimize("shoptalk", jobs=3, constraints=["carbon <= 30 tCO2e"])
    done = ask(*JOBS, "--marginal", "carbon <= 30 tCO2e")
    told = done.out.split("What carbon <= 30 tCO2e costs\n")[1]
    assert told.split() == str(plan.marginal("carbon <= 30 tCO2e")).partition("\n")[2].split()
    # size 1 moves on from Quebec to Oslo: 1 t less for 2 USD
    assert "next at 27 tCO2e: 20 USD, 2 USD/tCO2e" in told


def test_a_constraint_with_a_comma_is_one_limit(ask: Ask) -> None:
    done = ask(*JOBS, "--marginal", "max(carbon, 2 * carbon) <= 60 tCO2e", "--json")
    assert done.json["marginals"][0]["values"][0]["value"] == 18


def test_beside_a_change_and_over_scenarios(ask: Ask) -> None:
    scenarios = ("--scenario", "as given", "--scenario", "carbon_price=1 USD/tCO2e")
    asked = ("--what-if", "min_carbon", "--marginal", "carbon <= 30, 12 tCO2e")
    done = ask(*JOBS, *scenarios, *asked, "--json")
    assert done.code == 0, done.err
    # in the second scenario 28 t cost 28 USD more, and 12 t 12 USD
    assert [value["value"] for value in done.json["marginals"][0]["values"]] == pytest.approx([36, 36])
    assert done.json["what_if"][0]["status"] == "optimal"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("carbn <= 3 tCO2e", 3, ("carbn", "carbon")),
        ("carbon <= 3, 2 USD", 3, ("USD",)),
        ("carbon <= rent", 3, ("carbon",)),
        ("", 3, ("constraint",)),
    ],
)
def test_what_is_no_limit_is_said_before_the_search(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, text: str, code: int, says: tuple[str, ...]
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the search was begun")

    monkeypatch.setattr("mlsysim_opt.optimize.coupled.run.solve_first", never)
    refused(*JOBS, "--marginal", text, code=code, says=("--marginal", *says))


def test_what_is_only_written_has_no_answer(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "x.lp"
    refused(*JOBS, "--write", str(file), "--marginal", "carbon <= 30 tCO2e", code=2, says=("--marginal", "not solved"))
    assert not file.exists()


def test_an_interrupt_and_a_limit_leave_the_answer(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any, **__: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    def limited(*_: Any, **__: Any) -> Any:
        raise LimitReachedError("a limit was reached", path="time_limit")

    asked = (*JOBS, "--marginal", "carbon <= 12 tCO2e", "--marginal", "carbon <= 20 tCO2e")
    for stop, status, told in ((pressed, "interrupted", "interrupted: not known"), (limited, "error", "a limit was")):
        monkeypatch.setattr(PlanSolution, "marginal", stop)
        done = ask(*asked, "--json")
        assert done.code == 8
        assert done.json["objective"]["value"] == 18
        assert [item["status"] for item in done.json["marginals"]] == [status, status]
        assert ask(*asked).out.count(told) == 2
