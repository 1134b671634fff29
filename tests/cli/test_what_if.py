"""The same question otherwise, on the command line: the difference to the answer, and what is no question.

Jobs of size 1, 2 and 3; each unit of size costs 1, 4 or 6 USD and 10, 2 or 1 t in Iowa, Quebec or Oslo.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import LimitReachedError
from mlsysim_opt.optimize import PlanSolution

from .conftest import JOB, Done

Ask = Callable[..., Done]
Refused = Callable[..., str]
pytestmark = pytest.mark.usefixtures("third_party")
# 60 t in Iowa for 6 USD; sizes 1 and 3 in Quebec save 32 t for 12 USD
JOBS = ("optimize", "shoptalk", "--set", "jobs=3", "--constraint", "carbon <= 30 tCO2e")


def other(ask: Ask, *texts: str, of: tuple[str, ...] = JOBS) -> list[dict[str, Any]]:
    done = ask(*of, *(item for text in texts for item in ("--what-if", text)), "--json")
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = done.json["what_if"]
    return found


@pytest.mark.parametrize(
    ("text", "objective", "instead"),
    [
        ("carbon <= 40 tCO2e", 15, ["carbon <= 30 tCO2e"]),  # 24 t less for 9 USD
        ("carbon<=12000 kgCO2e", 24, ["carbon <= 30 tCO2e"]),  # all in Quebec
        ("carbon >= 50 tCO2e; without carbon <= 30 tCO2e", 6, []),
        ("without carbon <= 30 tCO2e", 6, []),
        ("carbon_price=1 USD/tCO2e", 36, []),  # 6 units of size at 4 + 2 USD in Quebec
        ("place=Oslo", 36, []),
        ("place = Oslo,Quebec; jobs = 2", 12, []),
        ("min_carbon", 6, []),
        ("minimize rent + 0 USD/tCO2e * carbon", 18, []),
    ],
)
def test_what_is_otherwise(ask: Ask, text: str, objective: float, instead: list[str]) -> None:
    (found,) = other(ask, text)
    assert found["status"] == "optimal"
    assert found["answer"]["objective"]["value"] == pytest.approx(objective)
    assert found["in_place_of"] == instead


def test_it_is_what_python_answers(ask: Ask) -> None:
    plan = mo.optimize("shoptalk", jobs=3, constraints=["carbon <= 30 tCO2e"])
    again = plan.what_if(constraints=["carbon <= 40 tCO2e"], without=["carbon <= 30 tCO2e"], slots=4)
    (found,) = other(ask, "carbon <= 40 tCO2e; slots=4")
    for part in ("objective", "amounts", "metrics", "request"):
        assert found["answer"][part] == json.loads(again.to_json())[part]


def test_the_difference_for_programs(ask: Ask) -> None:
    found, none = other(ask, "carbon <= 12 tCO2e", "carbon <= 5 tCO2e")
    change = found["difference"]["objective"]
    assert (change["before"]["value"], change["after"]["value"]) == (18, 24)
    assert (change["by"], change["share"]) == ({"value": 6, "unit": "USD"}, pytest.approx(1 / 3))
    # sizes 1 and 3 in Quebec and 2 in Iowa are 28 t
    assert found["difference"]["metrics"]["carbon"]["by"] == {"value": -16, "unit": "tCO2e"}
    assert found["difference"]["decisions"] == ["run: job 2 moves place from Iowa to Quebec"]
    assert none["status"] == "infeasible"
    assert none["relaxations"][0]["amount"] == {"value": pytest.approx(1), "unit": "tCO2e"}
    assert "difference" not in none


def test_the_difference_for_people(ask: Ask) -> None:
    asked = ("--what-if", "carbon <= 12 tCO2e", "--what-if", "carbon <= 5 tCO2e", "--what-if", "slots=999")
    done = ask(*JOBS, *asked)
    assert done.code == 0
    first, more, none, same = done.out.split("What if ")
    assert "optimal: min_cost = 18 USD" in first
    assert more.startswith("carbon <= 12 tCO2e, in place of carbon <= 30 tCO2e\n")
    assert "optimal: min_cost = 24 USD (gap 0): 6 USD more (+33.33%)" in more
    assert "16 tCO2e less (-57.14%)" in more
    assert "run: job 2 moves place from Iowa to Quebec" in more
    assert "infeasible: no plan satisfies: carbon <= 5 tCO2e" in none
    assert "a limit of 6 tCO2e instead of 5 tCO2e" in none
    assert "(gap 0): the same" in same
    assert "nothing is decided otherwise" in same


def test_the_answer_is_the_same_and_can_be_begun_with(ask: Ask, tmp_path: Path) -> None:
    alone, beside = ask(*JOBS, "--json").json, ask(*JOBS, "--what-if", "min_carbon", "--json")
    for part in ("objective", "amounts", "metrics", "constraints", "certificate"):
        assert beside.json[part] == alone[part]
    assert PlanSolution.from_json(beside.out).objective.value == 18
    file = tmp_path / "answer.json"
    file.write_text(beside.out)
    assert ask(*JOBS, "--start", str(file), "--what-if", "min_carbon", "--gap", "1%", "--json").code == 0


def test_a_design_otherwise(ask: Ask) -> None:
    job = ("optimize", "parallelism", *JOB)
    tight, longer = other(ask, "memory <= 30 GiB", "seq_len=4096; tp_size=2,4", of=job)
    assert tight["difference"]["objective"]["by"]["value"] > 0
    assert tight["difference"]["metrics"]["memory"]["after"]["value"] <= 30
    assert any("from" in line for line in tight["difference"]["decisions"])
    assert longer["answer"]["request"]["given"]["seq_len"] == 4096
    assert longer["answer"]["design"]["tp_size"] in (2, 4)
    best = mo.Solution.from_json(ask(*job, "--json").out)
    assert best.moves(mo.Solution.from_dict(tight["answer"])) == tight["difference"]["decisions"]


def test_scenarios_stay(ask: Ask) -> None:
    scenarios = ("--scenario", "as given", "--scenario", "carbon_price=1 USD/tCO2e")
    (found,) = other(ask, "carbon <= 12 tCO2e", of=(*JOBS, *scenarios))
    # all in Quebec: 24 USD, and 12 USD for the carbon in the second scenario
    assert found["answer"]["robustness"]["value"]["value"] == pytest.approx(36)
    assert found["difference"]["objective"]["after"]["value"] == pytest.approx(36)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("carbn <= 3 tCO2e", 3, ("carbn", "carbon")),
        ("carbon <= 3 USD", 3, ("USD",)),
        ("jobs=0", 3, ("jobs",)),
        ("min_carbn", 3, ("min_carbon",)),
        ("placee=Oslo", 3, ("placee", "place")),
        ("without carbon <= 31 tCO2e", 3, ("carbon <= 30 tCO2e",)),
        (" ; ", 2, ("otherwise", "price=3 USD/h")),
    ],
)
def test_what_cannot_be_asked_is_said_before_the_search(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, text: str, code: int, says: tuple[str, ...]
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the search was begun")

    monkeypatch.setattr("mlsysim_opt.optimize.coupled.run.solve_first", never)
    refused(*JOBS, "--what-if", text, code=code, says=("--what-if", *says))
    scenarios = ("--scenario", "slots=900", "--scenario", "slots=800")
    refused(*JOBS, *scenarios, "--what-if", text, code=code, says=("--what-if", *says))


def test_what_is_only_written_has_no_difference(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "x.lp"
    refused(*JOBS, "--write", str(file), "--what-if", "min_carbon", code=2, says=("--what-if", "not solved"))
    assert not file.exists()


def test_an_interrupt_and_a_limit_leave_the_answer(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (*JOBS, "--what-if", "carbon <= 12 tCO2e", "--what-if", "min_carbon")

    def pressed(*_: Any, **__: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    def limited(*_: Any, **__: Any) -> Any:
        raise LimitReachedError("no plan was found: the time was up")

    for stop, status, told in (
        (pressed, "interrupted", "interrupted: nothing was found yet"),
        (limited, "error", "no plan was found"),
    ):
        monkeypatch.setattr(PlanSolution, "_answer", stop)
        done = ask(*asked, "--json")
        assert done.code == 8
        assert done.json["objective"]["value"] == 18
        assert [item["status"] for item in done.json["what_if"]] == [status, status]
        assert ask(*asked).out.count(told) == 2
