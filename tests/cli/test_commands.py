"""What each command prints for people and for programs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import mlsysim_opt as mo
from mlsysim_opt.cli.demo import published

from .conftest import DESIGN, JOB, Done

Ask = Callable[..., Done]
Program = Callable[..., "subprocess.CompletedProcess[str]"]

KEYS = {"status", "objective", "bound", "gap", "design", "metrics", "binding", "certificate", "backend", "seconds"}


def test_optimize_for_people(ask: Ask) -> None:
    done = ask("optimize", "parallelism", *JOB, "--constraint", "memory <= 60 GiB")
    assert done.code == 0
    assert not done.err
    for part in ("optimal: min_step_time = ", "gap 0", "Design", "Memory by part", "Step time by part", "Constraints",
                 "memory <= 60 GiB", "Runners-up", "Assumptions", "numpy"):  # fmt: skip
        assert part in done.out, part


def test_optimize_json_has_the_promised_keys(ask: Ask) -> None:
    done = ask("optimize", *JOB, "--objective", "max_mfu", "--json")
    found = done.json
    assert done.code == 0
    assert set(found) >= KEYS
    assert found["status"] == "optimal"
    assert found["gap"] == 0
    assert found["objective"]["name"] == "max_mfu"
    assert set(found["metrics"]["memory"]) == {"value", "unit"}
    assert found["metrics"]["memory"]["unit"] == "GiB"
    assert mo.Solution.from_json(done.out).verify()["constraints_hold"]


def test_the_command_line_and_the_library_agree(ask: Ask) -> None:
    done = ask("optimize", *JOB, "--objective", "min_step_time", "--constraint", "tp_size <= 4", "--json")
    solution = mo.optimize(
        "parallelism",
        objective="min_step_time",
        constraints=["tp_size <= 4"],
        model="Llama3_8B",
        fleet="Lab_64_H100",
        global_batch_size=512,
        seq_len=8192,
    )
    assert done.json["design"] == solution.design
    assert done.json["objective"]["value"] == solution.objective.value


@pytest.mark.parametrize("backend", ["enumerate", "milp", "cpsat"])
def test_every_backend_answers(ask: Ask, backend: str) -> None:
    done = ask("optimize", *JOB, "--choose", "tp_size=2,4", "--backend", backend, "--json")
    auto = ask("optimize", *JOB, "--choose", "tp_size=2,4", "--json")
    assert done.json["backend"] == backend
    assert done.json["objective"]["value"] == pytest.approx(auto.json["objective"]["value"], rel=1e-9)


def test_lexicographic_objectives(ask: Ask) -> None:
    done = ask("optimize", *JOB, "--objective", "max_microbatches", "--objective", "min_memory", "--json")
    alone = ask("optimize", *JOB, "--objective", "max_microbatches", "--json")
    assert done.json["metrics"]["microbatches"] == alone.json["metrics"]["microbatches"]
    assert done.json["metrics"]["memory"]["value"] <= alone.json["metrics"]["memory"]["value"]


def test_any_given_is_set(ask: Ask) -> None:
    more = ("--set", "token_budget=1e12 token", "--set", "accelerator=H100,H200")
    more += ("--set", "price=H100=2.5 USD/h,H200=3 USD/h")
    done = ask("optimize", *JOB, *more, "--set", "nodes=4,8", "--objective", "min_cost", "--json")
    assert done.code == 0
    assert done.json["objective"]["unit"] == "USD"
    assert done.json["design"]["accelerator"] in ("H100", "H200")
    assert done.json["design"]["nodes"] in (4, 8)


def test_decisions_are_narrowed(ask: Ask) -> None:
    narrow = ("--choose", "tp_size=4", "--choose", "recomputation=full,selective", "--choose", "sequence_parallel=true")
    design = ask("optimize", *JOB, *narrow, "--json").json["design"]
    assert design["tp_size"] == 4
    assert design["recomputation"] in ("full", "selective")
    assert design["sequence_parallel"] == 1


PLAN = """\
formulation: parallelism
given:
  model: Llama3_8B
  fleet: Lab_64_H100
  batch_size: 512
  seq_len: 8192
choices:
  tp_size: [2, 4]
objective: max_mfu
constraints:
  - memory <= 60 GiB
"""


def test_a_plan_says_the_same_as_options(ask: Ask, plan: Callable[[str], str]) -> None:
    by_plan = ask("optimize", "--plan", plan(PLAN), "--json").json
    options = ("--choose", "tp_size=2,4", "--objective", "max_mfu", "--constraint", "memory <= 60 GiB")
    by_options = ask("optimize", "parallelism", *JOB, *options, "--json").json
    for found in (by_plan, by_options):
        found.pop("seconds")
    assert by_plan["design"] == by_options["design"]
    assert by_plan["objective"] == by_options["objective"]


def test_a_study_file_stands_after_the_formulation(
    ask: Ask, refused: Callable[..., str], plan: Callable[[str], str]
) -> None:
    by_plan = ask("optimize", "--plan", plan(PLAN), "--json").json
    for content in (PLAN, PLAN.replace("formulation: parallelism\n", "")):
        found = ask("optimize", "parallelism", plan(content), "--json").json
        assert found["design"] == by_plan["design"]
        assert found["objective"] == by_plan["objective"]
    both = ("--objective", "min_step_time", "--objective", "min_memory")
    front = ask("pareto", "parallelism", plan(PLAN), *both, "--points", "3", "--json").json
    assert front["status"] == "cover"
    assert front["points"][0]["constraints"][-1]["constraint"].startswith("memory")
    for given in ((plan(PLAN),), ("--plan", plan(PLAN))):
        refused("optimize", "batching", *given, says=("parallelism", "batching", "plan.yaml"))
    refused("optimize", "parallelism", plan(PLAN), "--plan", plan(PLAN), code=2, says=("two files",))
    refused("optimize", "parallelism", "none.yaml", code=4, says=("no such",))


def test_options_win_over_the_plan(ask: Ask, plan: Callable[[str], str]) -> None:
    override = ("--fleet", "H100_256", "--choose", "tp_size=1", "--objective", "min_memory")
    found = ask("optimize", "--plan", plan(PLAN), *override, "--json").json
    assert found["request"]["given"]["fleet"] == "H100_256"
    assert found["design"]["tp_size"] == 1
    assert found["objective"]["name"] == "min_memory"
    assert [item["constraint"] for item in found["constraints"] if item["given_by_user"]] == ["memory <= 60 GiB"]


def test_a_replaced_value_of_the_plan_is_not_read(ask: Ask, plan: Callable[[str], str]) -> None:
    done = ask("optimize", "--plan", plan(PLAN.replace("512", ".nan")), "--batch-size", "512", "--json")
    assert done.code == 0, done.out


def test_eval_of_a_feasible_design(ask: Ask) -> None:
    done = ask("eval", *JOB, "--design", DESIGN)
    assert done.code == 0
    assert "feasible: every constraint holds" in done.out
    found = ask("eval", *JOB, "--design", DESIGN, "--json").json
    assert found["status"] == "feasible"
    assert found["violated"] == []
    assert found["design"]["tp_size"] == 2
    memory = next(item for item in found["constraints"] if item["constraint"] == "memory fits")
    assert memory["holds"]
    assert memory["slack"]["value"] > 0


def test_eval_of_an_infeasible_design(ask: Ask) -> None:
    done = ask("eval", *JOB, "--design", DESIGN, "--constraint", "memory <= 3 GiB", "--json")
    assert done.code == 5
    assert done.json["status"] == "infeasible"
    assert done.json["violated"] == ["memory <= 3 GiB"]
    shown = ask("eval", *JOB, "--design", DESIGN.replace("dp_size=32", "dp_size=16"))
    assert shown.code == 5
    assert "infeasible: violates tp x pp x dp x cp = devices" in shown.out


def test_why_not(ask: Ask) -> None:
    possible = ask("why-not", *JOB, "--design", "zero_stage=0,tp_size=2")
    assert possible.code == 0
    assert "worse" in possible.out
    rejected = ask("why-not", *JOB, "--design", "tp_size=16", "--json").json
    assert rejected["status"] == "rejected"
    assert rejected["conflict"] == ["tp within the scale-up domain"]
    assert rejected["rejected_by"][0]["amount"]["value"] == 8


def test_zoo_list(ask: Ask) -> None:
    overview = ask("zoo", "list")
    assert "accelerator" in overview.out
    sorted_list = ask("zoo", "list", "accelerator", "--sort", "memory.bandwidth", "--json").json["entries"]
    names = [entry["name"] for entry in sorted_list]
    assert names.index("H200") < names.index("H100") < names.index("A100")
    filtered = ask("zoo", "list", "--filter", "llama", "--json").json["entries"]
    assert filtered
    assert all("llama" in (entry["name"] + entry["title"]).lower() for entry in filtered)


def test_zoo_list_of_every_kind(ask: Ask) -> None:
    from mlsysim_opt.registry.kinds import KINDS

    for kind in KINDS:
        assert ask("zoo", "list", kind).code == 0
        assert ask("zoo", "list", kind, "--json").json["count"] > 0


def test_zoo_show(ask: Ask) -> None:
    done = ask("zoo", "show", "h100")
    assert done.code == 0
    assert "H100: NVIDIA H100 SXM5 80 GB (accelerator)" in done.out
    fields = {item["field"]: item for item in ask("zoo", "show", "H100", "--json").json["entries"][0]["fields"]}
    assert fields["memory.bandwidth"]["text"] == "3.35 TB/s"
    assert fields["memory.bandwidth"]["source"]


def test_explain(ask: Ask) -> None:
    assert "parallelism" in ask("explain").out
    page = ask("explain", "parallelism")
    for part in ("tp_size", "memory fits", "step_time", "global_batch_size"):
        assert part in page.out
    found = ask("explain", "parallelism", "--json").json
    assert {"decisions", "constraints", "metrics", "inputs"} <= set(found)
    equation = ask("explain", "memory")
    assert "\nmemory = max(" in equation.out
    assert ask("explain", "total_memory").out == equation.out
    assert ask("explain", "step_time", "--latex").out.startswith("\\begin{align*}")
    assert "holds = " in ask("explain", "memory fits").out
    assert "global_batch_size" in ask("explain", "tokens_per_second", "--json").json["equations"]


@pytest.mark.parametrize("name", ["SingleNodeModel", "TrainingMemoryModel", "DistributedModel"])
def test_explain_a_model(ask: Ask, name: str) -> None:
    done = ask("explain", name)
    assert done.code == 0, done.err
    assert name in done.out


def test_doctor(ask: Ask) -> None:
    found = ask("doctor", "--json")
    assert found.code == 0
    assert found.json["writable"]
    assert {item["package"] for item in found.json["solvers"]} == {"highspy", "ortools", "pyomo"}
    assert found.json["cores"] >= 1
    assert "HiGHS" in ask("doctor").out


def test_demo(ask: Ask) -> None:
    found = ask("demo", "--json").json
    assert found["status"] == "optimal"
    assert found["solution"]["gap"] == 0
    assert found["solution"]["certificate"]["combinations"] > 100_000_000
    assert set(found["backends"]) == {"enumerate", "milp", "cpsat"}
    values = [item["objective"]["value"] for item in found["backends"].values()]
    assert max(values) - min(values) <= 1e-9 * max(values)
    place = found["published"]
    assert place["layout"] == {"tp_size": 8, "cp_size": 1, "pp_size": 16, "dp_size": 128}
    assert place["in_this_model"]["possible"]
    assert place["measured"]["mfu"] == 0.41
    assert found["seconds"] < 60


def test_demo_for_people(ask: Ask) -> None:
    done = ask("demo")
    assert done.code == 0
    for part in ("combinations", "optimal: max_mfu", "Memory by part", "enumerate", "milp", "cpsat", "Runners-up",
                 "published 41%", "memory fits: yes", "2407.21783"):  # fmt: skip
        assert part in done.out, part


def test_the_published_run_has_its_source() -> None:
    run = published("llama3_405b")
    assert "2407.21783" in str(run["source"])
    assert run["given"]["global_batch_size"] * run["given"]["seq_len"] == 2**24


def test_no_command_shows_the_help(ask: Ask) -> None:
    done = ask()
    assert done.code == 2
    assert "optimize" in done.out + done.err


@pytest.mark.parametrize("command", ["optimize", "eval", "why-not", "explain", "zoo", "doctor", "demo"])
def test_every_command_has_help(ask: Ask, command: str) -> None:
    short = ask(command, "-h")
    assert short.code == 0
    assert short.out == ask(command, "--help").out


def test_completion_is_offered(program: Program) -> None:
    done = program(
        environment={
            "_MLSYSIM_OPT_COMPLETE": "complete_bash",
            "COMP_WORDS": "mlsysim-opt optimize --model Llama3_4",
            "COMP_CWORD": "3",
        },
    )
    assert done.returncode == 0
    assert done.stdout.split() == ["Llama3_405B"]


def test_an_internal_fault_is_one_line(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlsysim_opt.cli import doctor

    def broken() -> int:
        raise RuntimeError("the wheel came off")

    monkeypatch.setattr(doctor, "cores", broken)
    done = ask("doctor")
    assert done.code == 1
    assert done.err.startswith("error: internal error: RuntimeError: the wheel came off")
    assert "report" in done.err
    assert ask("doctor", "--json").json["error"]["code"] == "error"


def test_doctor_says_when_nothing_can_be_written(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlsysim_opt.cli import doctor

    assert doctor.write_problem("/nonexistent/folder") is not None
    monkeypatch.setattr(doctor, "write_problem", lambda folder: "Permission denied")
    done = ask("doctor")
    assert done.code == 0
    assert "not writable: Permission denied" in done.out


def test_starting_costs_little(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    # what is loaded, whatever machine that is on: the parser of commands is some 150 modules, and its help 150 more
    code = """
import sys
from mlsysim_opt.cli import main
status = main([{argument!r}])
heavy = {{"numpy", "pint", "pydantic", "pyomo", "highspy", "ortools", "yaml"}} & set(sys.modules)
assert status == 0 and not heavy, (status, heavy)
print("\\n", len(sys.modules))
"""
    for argument, most in (("--help", 400), ("--version", 220)):
        loaded = int(run_python(code.format(argument=argument)).stdout.split()[-1])
        assert loaded < most, (argument, loaded)


def test_json_is_one_object(program: Program) -> None:
    done = program("optimize", *JOB, "--json")
    assert json.loads(done.stdout)["status"] == "optimal"
    assert done.stderr == ""


def test_no_published_number_stands_in_code(root: Path) -> None:
    for path in (root / "mlsysim_opt/cli").glob("*.py"):
        assert "0.41" not in path.read_text(), path
