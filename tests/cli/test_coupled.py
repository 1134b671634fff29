"""Coupled formulations on the command line: plans, fronts, reasons, limits; with one of another distribution."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mlsysim_opt.optimize import CoupledTask, Front, Progress, task
from mlsysim_opt.optimize.coupled.front_program import ProgramPlans
from mlsysim_opt.optimize.coupled.run import watching
from mlsysim_opt.optimize.stopping import Standing

from .conftest import JOB, Done

Ask = Callable[..., Done]
pytestmark = pytest.mark.usefixtures("third_party")
JOBS = ("shoptalk", "--set", "jobs=3")


def test_a_plan_for_people(ask: Ask) -> None:
    done = ask("optimize", *JOBS, "--constraint", "carbon <= 30 tCO2e")
    assert done.code == 0
    assert not done.err
    # sizes 1, 2, 3: 60 t in Iowa for 6 USD; size s in Quebec saves 8 s tons for 3 s USD: s = 1 and 3 save 32 t
    for part in ("optimal: min_cost = 18 USD (gap 0)", "Proof", "run: where each job runs", "Quebec", "Metrics",
                 "rent of all jobs", "carbon <= 30 tCO2e", "Assumptions", "slots"):  # fmt: skip
        assert part in done.out, part


def test_a_plan_for_programs_begins_another_search(ask: Ask, tmp_path: Path) -> None:
    first = ask("optimize", *JOBS, "--json")
    file = tmp_path / "plan.json"
    file.write_text(first.out)
    again = ask("optimize", *JOBS, "--start", str(file), "--gap", "1%", "--time-limit", "1 min", "--json")
    assert again.json["objective"]["value"] == first.json["objective"]["value"] == 6
    assert again.json["kind"] == "plan"


def test_the_program_is_written_instead_of_solved(ask: Ask, refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "plan.lp"
    done = ask("optimize", *JOBS, "--write", str(file))
    assert f"written: {file}; not solved" in done.out.replace("\n", "")
    assert "optimal" not in done.out
    assert "jobs(" in file.read_text() or "run(" in file.read_text()
    refused("optimize", *JOBS, "--write", str(tmp_path / "none" / "x.lp"), code=4, says=("cannot be written",))
    refused("optimize", *JOBS, "--objective", "carbon/rent", "--write", str(file), says=("is a ratio",))


def test_wrong_starts_and_gaps(ask: Ask, refused: Callable[..., str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    plan = json.loads(ask("optimize", *JOBS, "--json").out)
    others = {
        "{": "it is no JSON",
        "{}": "it is an empty JSON object",
        "[1]": "a list, not an object",
        '{"replicas": 3}': "another JSON object, with replicas",
        json.dumps({**plan, "kind": "front"}): "it is a front",
        json.dumps({**plan, "schema": 0}): "a plan of schema 0, not 1",
        json.dumps({key: value for key, value in plan.items() if key != "amounts"}): "it lacks 'amounts'",
        ask("optimize", *JOBS, "--constraint", "carbon <= -1 tCO2e", "--json").out: "it is an error",
        ask("optimize", "parallelism", *JOB, "--json").out: "it is a design",
    }
    for text, told in others.items():
        broken.write_text(text)
        refused("optimize", *JOBS, "--start", str(broken), says=("not a plan", told, "broken.json", "--json"))
    broken.write_text(json.dumps(plan))
    refused("optimize", "parallelism", *JOB, "--start", str(broken), says=("not a design", "it is a plan"))
    refused("optimize", *JOBS, "--start", str(tmp_path / "none.json"), code=4, says=("cannot read",))
    for gap in ("much", "-1", "100%", "nan"):
        refused("optimize", *JOBS, "--gap", gap, code=2, says=("share",))
    refused("optimize", "parallelism", *JOB, "--gap", "0.1", code=2, says=("coupled problems",))


def test_an_earlier_design_is_held_until_a_better_one_is_found(ask: Ask, tmp_path: Path) -> None:
    first = ask("optimize", "parallelism", *JOB, "--json")
    file = tmp_path / "design.json"
    file.write_text(first.out)
    again = ask("optimize", "parallelism", *JOB, "--start", str(file), "--time-limit", "1e-9", "--json")
    assert again.code == 8
    assert again.json["design"] == first.json["design"]
    assert "begun with" in again.json["certificate"]["proof"]


def test_a_front(ask: Ask, tmp_path: Path) -> None:
    table, picture = tmp_path / "front.csv", tmp_path / "front.svg"
    asked = ("pareto", "shoptalk", "--set", "jobs=2", "--objective", "min_rent", "--objective", "min_carbon")
    done = ask(*asked, "--csv", str(table), "--plot", str(picture))
    assert done.code == 0
    for part in ("complete: all", "min_rent", "job 1 moves place from Iowa to Quebec", "hypervolume"):
        assert part in done.out, part
    assert table.read_text().startswith("min_rent [USD],min_carbon [tCO2e],")
    assert picture.stat().st_size > 1000
    data = ask(*asked, "--json").json
    assert data["status"] == "complete"
    assert data["values"][0] == [3, 30]  # sizes 1 and 2 in Iowa
    assert data["values"][-1] == [18, 3]  # both in Oslo
    again = tmp_path / "plan.json"
    again.write_text(ask("optimize", "shoptalk", "--set", "jobs=2", "--json").out)
    assert ask(*asked, "--start", str(again), "--json").json["values"] == data["values"]
    few = ask(*asked, "--points", "2", "--json")
    assert few.json["status"] == "cover"
    assert few.code == 0


def test_a_front_of_designs(ask: Ask) -> None:
    objectives = ("--objective", "min_step_time", "--objective", "min_memory")
    done = ask("pareto", "parallelism", *JOB, *objectives, "--points", "5")
    assert done.code == 0
    assert "cover: for each of the" in done.out


def test_what_is_no_front(refused: Callable[..., str]) -> None:
    refused("pareto", *JOBS, code=2, says=("two objectives",))
    two = ("--objective", "min_step_time", "--objective", "min_memory")
    refused("pareto", "parallelism", *JOB, *two, "--start", "plan.json", code=2, says=("coupled problems",))
    refused("pareto", *JOBS, "--objective", "min_rent", code=2, says=("two objectives",))
    refused("pareto", *JOBS, "--objective", "min_rent", "--objective", "min_rents", says=("min_rent",))
    refused("pareto", *JOBS, "--objective", "min_rent", "--objective", "min_carbon", "--plot", "front.xyz",
            says=("known format",))  # fmt: skip


def test_why_no_plan_is_possible(ask: Ask) -> None:
    constraints = ("--constraint", "rent <= 20 USD", "--constraint", "carbon <= 10 tCO2e")
    done = ask("optimize", *JOBS, *constraints)
    assert done.code == 5
    assert "infeasible: no plan satisfies: rent <= 20 USD; carbon <= 10 tCO2e" in done.err
    # all in Quebec: 24 USD, 12 t; size 1 in Oslo: 26, 11; size 2 in Oslo: 28, 10
    assert "'rent <= 20 USD' by 8 USD: a limit of 28 USD instead of 20 USD" in done.err
    data = ask("optimize", *JOBS, *constraints, "--json").json
    assert data["status"] == "infeasible"
    assert data["feasibility_solves"] <= 3
    assert data["relaxations"][0]["amount"] == {"value": 8.0, "unit": "USD"}


def test_a_coupled_formulation_is_explained(ask: Ask) -> None:
    done = ask("explain", "shoptalk")
    assert done.code == 0
    for part in ("where to run jobs", "Choices", "a pick of job, place for each job", "sum(run[job, place] * (job))",
                 "<= 1000   for each place", "min_ or max_", "carbon_price"):  # fmt: skip
        assert part in done.out, part
    data = ask("explain", "shoptalk", "--json").json
    assert data["coupled"]
    assert data["amounts"][0]["name"] == "run"
    done = ask("explain", "rent", "--formulation", "shoptalk")
    assert "rent = sum(run[job, place] * (job * price(place)))" in done.out
    assert r"\sum" in ask("explain", "rent", "--formulation", "shoptalk", "--latex").out
    assert "for each place" in ask("explain", "slots", "--formulation", "shoptalk").out
    assert ask("explain", "nothing", "--formulation", "shoptalk").code == 3


def test_a_relation_that_fills_pages_is_cut_and_shown_alone(ask: Ask) -> None:
    table = ask("explain", "serving_fleet").out
    assert table.count("explain this name alone") == 1
    assert len(table.splitlines()) < 200
    whole = ask("explain", "replicas carry the load", "--formulation", "serving_fleet").out
    assert len(whole) > 10 * len(table)


def test_progress_is_told_in_the_sense_and_unit_of_the_objective() -> None:
    asked = task("shoptalk", jobs=3, objective="max_rent")
    assert isinstance(asked, CoupledTask)
    told: list[Progress] = []
    watch = watching(asked, told.append)  # type: ignore[arg-type]
    assert watch is not None
    for standing in (Standing(2.0, -10.0, -12.0, 7), Standing(0.1, None, None, 0)):
        watch(standing)  # of what is minimised: the rent with its sign turned
    assert str(told[0]) == "max_rent: best 10 USD, bound 12 USD, gap 20.00%, 7 nodes, 2.0 s"
    assert "best -" in str(told[1])


def test_no_progress_where_there_is_no_terminal(ask: Ask) -> None:
    assert not ask("optimize", *JOBS).err
    assert json.loads(ask("optimize", *JOBS, "--json").out)["status"] == "optimal"


FRONT = ("pareto", "shoptalk", "--set", "jobs=3", "--objective", "min_rent", "--objective", "min_carbon")


def test_a_front_to_a_gap(ask: Ask, refused: Callable[..., str]) -> None:
    whole = ask(*FRONT, "--json").json
    near = ask(*FRONT, "--gap", "10%", "--json")
    assert near.code == 0
    assert near.json["settled"]
    room = (near.json["steps"] or [0, 0])[0]
    for rent, carbon in whole["values"]:
        assert any(one <= rent + room and two <= carbon for one, two in near.json["values"])
    for gap in ("much", "-1", "100%", "nan"):
        refused(*FRONT, "--gap", gap, code=2, says=("share",))
    two = ("--objective", "min_step_time", "--objective", "min_memory")
    refused("pareto", "parallelism", *JOB, *two, "--gap", "0.1", code=2, says=("--gap", "coupled problems"))


def test_a_front_is_exported(ask: Ask, refused: Callable[..., str], tmp_path: Path) -> None:
    table, columns = tmp_path / "front.csv", tmp_path / "front.parquet"
    data = ask(*FRONT, "--csv", str(table), "--json").json
    head, *rows = table.read_text().splitlines()
    assert head.startswith("min_rent [USD],min_carbon [tCO2e],")
    assert [[float(cell) for cell in row.split(",")[:2]] for row in rows] == data["values"]
    assert Front.from_json(json.dumps(data)).values == data["values"]
    refused(*FRONT, "--csv", str(tmp_path / "none" / "front.csv"), code=4, says=("cannot be written",))
    parquet = pytest.importorskip("pyarrow.parquet")
    assert ask(*FRONT, "--parquet", str(columns)).code == 0
    assert parquet.read_table(columns).to_pydict()["min_rent [USD]"] == [row[0] for row in data["values"]]


def test_parquet_without_its_library(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(ProgramPlans, "least", never)
    refused(*FRONT, "--parquet", str(tmp_path / "front.parquet"), code=9, says=("pyarrow", "mlsysim-opt[parquet]"))


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("the search was begun, and its result would be lost")


def test_what_cannot_be_written_is_said_before_the_search(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProgramPlans, "least", never)
    refused(*FRONT, "--plot", str(tmp_path / "front.xyz"), code=3, says=("front.xyz", ".svg"))
    for option in ("--csv", "--plot"):
        missing = str(tmp_path / "none" / "front.svg")
        refused(*FRONT, option, missing, code=4, says=("cannot be written", "there is no folder"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(*FRONT, "--plot", str(tmp_path / "front.svg"), code=9, says=("matplotlib", "mlsysim-opt[plots]"))


def test_a_disk_that_fills_loses_neither_the_front_nor_an_earlier_file(
    ask: Ask, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    table, picture = tmp_path / "front.csv", tmp_path / "front.svg"
    table.write_text("before")
    with full_disk(40):
        done = ask(*FRONT, "--csv", str(table))
        data = ask(*FRONT, "--csv", str(table), "--plot", str(picture), "--json")
    assert done.code == data.code == 4
    assert f"error: {table}: cannot be written: " in done.err
    assert "complete: all" in done.out, "the front itself is shown"
    assert [item["code"] for item in data.json["export_errors"]] == ["file", "file"]
    assert data.json["values"] == ask(*FRONT, "--json").json["values"]
    assert Front.from_json(data.out).complete
    assert table.read_text() == "before"
    assert sorted(item.name for item in tmp_path.iterdir() if item.is_file()) == ["front.csv"]


def test_a_folder_that_may_not_be_written_to_is_said_before_the_search(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProgramPlans, "least", never)
    monkeypatch.setattr("mlsysim_opt.files.os.access", lambda path, mode: Path(path) != tmp_path)  # root may everywhere
    for option in ("--csv", "--plot"):
        refused(*FRONT, option, str(tmp_path / "x.svg"), code=4, says=("x.svg", "folder", "may not be written to"))
    refused(*FRONT, "--csv", str(tmp_path), code=4, says=("it is a folder",))


def test_an_interrupted_front_is_shown_and_exported(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, solve, count = tmp_path / "front.csv", ProgramPlans.least, itertools.count(1)

    def least(self: ProgramPlans, *arguments: Any, **named: Any) -> Any:
        found = solve(self, *arguments, **named)
        if next(count) % 7 == 0:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(ProgramPlans, "least", least)
    done = ask(*FRONT)
    assert done.code == 8
    assert "a limit was reached" in done.out
    assert "others may be missing with min_carbon below" in " ".join(done.out.split())
    data = ask(*FRONT, "--csv", str(table), "--json")
    assert data.code == 8
    assert data.json["status"] == "stopped"
    assert data.json["details"]["open_regions"]
    assert len(table.read_text().splitlines()) == 1 + len(data.json["values"])


def test_a_front_whose_time_is_up_before_any_point(ask: Ask) -> None:
    done = ask(*FRONT, "--time-limit", "1e-9 s", "--json")
    assert done.code == 7
    assert done.json["error"]["code"] == "limit-reached"


def test_a_fault_inside_a_record_has_its_own_place_and_a_fault_of_an_option_none_in_the_plan(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("""\
formulation: placement
given:
  accelerators: H100
  regions: AWS_us_east_1
  price: 2 USD/h
  jobs:
    - name: first
      designs: [{accelerator: H100, nodes: 1, time: 20 h, node_power: 8 kW}]
    - name: second
      designs: [{accelerator: H100, nodes: 1, time: 20 h, node_power: 8 kW}]
      deadline: 1:30
""")
    refused("optimize", "placement", str(plan), says=("given.jobs.second.deadline (line 11, column 17)",))
    plan.write_text(plan.read_text().replace("1:30", "30 h"))
    absent = ("--set", "price=prices.csv")
    refused("optimize", "placement", str(plan), *absent, code=4, says=("price: prices.csv: no such file",))
    told = refused("optimize", "placement", str(plan), "--set", "price=much", says=("--set price",))
    assert "plan.yaml" not in told
