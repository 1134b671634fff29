"""Commands take any formulation: its own inputs decide what may be given, and errors name the option."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mlsysim_opt.algebra import Symbol
from mlsysim_opt.optimize import Formulation, Problem
from mlsysim_opt.optimize.formulation import BUILT_IN, _entry_points
from mlsysim_opt.physics.inputs import Input, Number
from mlsysim_opt.units import TIME, parse_unit
from tests.cli.conftest import JOB, Done

Ask = Callable[..., Done]
Refused = Callable[..., str]


@dataclass(frozen=True)
class Label(Input):
    verbatim = True

    def check(self, value: Any) -> str:
        assert isinstance(value, str)
        return value


def _build(values: dict[str, Any], narrowed: Any) -> Problem:
    problem = Problem("shelves", default_objective="min_total_time")
    count = problem.choose("count", range(1, 1 + values["batch_size"]), about="how many")
    problem.values["reach"] = values["reach"]
    problem.measure("total_time", count * Symbol("reach", TIME), unit=str(parse_unit("s").text), about="time of all")
    problem.assumptions["label"] = repr(values["label"])
    return problem


shelves = Formulation(
    "shelves", "how many shelves", (
        Number("batch_size", "shelves", integer=True, low=1), Number("reach", "time of each", unit="s", of=TIME),
        Label("label", "what stands on them", default="none"),
    ), _build, {"lag": "reach"}, {"batch_size": 3, "reach": "2 s"},
)  # fmt: skip


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a formulation, as an entry point of another package would."""
    monkeypatch.setitem(BUILT_IN, "shelves", f"{__name__}:shelves")
    _entry_points.cache_clear()
    yield
    _entry_points.cache_clear()


ASKED = ("shelves", "--batch-size", "4", "--set", "reach=2 s")


def test_every_command_takes_it(ask: Ask) -> None:
    found = ask("optimize", *ASKED, "--constraint", "count >= 2", "--time-limit", "5", "--json").json
    assert (found["status"], found["design"], found["objective"]["value"]) == ("optimal", {"count": 2}, 4)
    assert ask("eval", *ASKED, "--design", "count=3", "--json").json["metrics"]["total_time"]["value"] == 6
    assert "3 s" not in ask("why-not", *ASKED, "--design", "count=3").err
    told = ask("explain", "shelves", "--set", "lag=7 s", "--json").json
    assert told["decisions"][0]["values"] == [1, 2, 3]
    assert "total_time = count * reach" in ask("explain", "total_time", "--set", "reach=7 s").out


def test_text_that_is_wanted_as_it_is_stays_so(ask: Ask) -> None:
    for text in ("1", "true", "a,b.csv", "x=y"):
        assert ask("optimize", *ASKED, "--set", f"label={text}", "--json").json["assumptions"]["label"] == repr(text)


def test_errors_name_the_option_and_the_nearest_name(refused: Refused) -> None:
    refused("optimize", *ASKED, "--set", "labl=x", says=("--set", "'labl'", "did you mean 'label'"))
    refused("optimize", *ASKED, "--fleet", "Lab_64_H100", says=("--fleet", "'fleet'", "known: batch_size"))
    refused("optimize", "shelves", "--batch-size", "0", says=("--batch-size", "at least 1"))
    refused("optimize", *ASKED[:3], "--set", "lag=2 GB", says=("--set reach", "2 GB"))
    refused("optimize", *ASKED[:3], says=("--set reach", "needs 'reach' (time of each)"))
    refused("optimize", *ASKED, "--set", "batch_size=2", code=2, says=("given twice", "--batch-size"))
    refused("optimize", *ASKED, "--objective", "min_totl_time", says=("--objective", "min_total_time"))
    refused("explain", "shelves", "--set", "reach=1 kg", says=("--set reach",))


def test_what_is_given_decides_which_is_meant(ask: Ask) -> None:
    assert ask("optimize", "--set", "reach=1 s", "--batch-size", "2", "--json").json["problem"] == "shelves"
    assert ask("optimize", *JOB, "--json").json["problem"] == "parallelism"
    assert (
        "--choose tp_size=8" in ask("optimize", *JOB, "--set", "tp_size=8").err
    )  # that of which nothing else is lacking
    assert "step_time" in ask("explain", "step_time").out
