"""Solvers in trouble, and life in a shell: classes G and H of the fault list, each test named by its id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.optimize import Formulation
from mlsysim_opt.optimize.backends import _imports
from mlsysim_opt.optimize.search import Search

from .conftest import ANSI, DESIGN, JOB, Done

Refused = Callable[..., str]
Ask = Callable[..., Done]
Program = Callable[..., "subprocess.CompletedProcess[str]"]
GIVEN: dict[str, Any] = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512, "seq_len": 8192}
LARGE = ("--model", "Llama3_405B", "--fleet", "Meta_Llama3_16K_H100", "--batch-size", "2048", "--seq-len", "8192")
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


# solvers --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("factor", ["1e-30", "1e-12", "1e12", "1e30"])
@pytest.mark.parametrize("backend", ["milp", "cpsat"])
def test_G01_objectives_of_any_size(ask: Ask, backend: str, factor: str) -> None:
    objective = ("--objective", f"{factor} * step_time", "--choose", "tp_size=2")
    scaled = ask("optimize", *JOB, *objective, "--backend", backend, "--json").json
    plain = ask("optimize", *JOB, "--choose", "tp_size=2", "--json").json
    assert scaled["objective"]["value"] > 0
    assert scaled["metrics"]["step_time"]["value"] == pytest.approx(plain["objective"]["value"], rel=1e-9)


@pytest.mark.parametrize("backend", ["enumerate", "milp", "cpsat"])
def test_G02_G06_infeasible(ask: Ask, backend: str) -> None:
    done = ask("optimize", *JOB, "--constraint", "step_time <= 1 ms", "--backend", backend, "--json")
    assert done.code == 5
    assert done.json["status"] == "infeasible"
    assert done.json["conflict"] == ["step_time <= 1 ms"]
    assert "design" not in done.json


@pytest.mark.parametrize("backend", ["enumerate", "milp", "cpsat"])
def test_G04_time_limit(ask: Ask, backend: str) -> None:
    done = ask("optimize", *LARGE, "--time-limit", "1e-9", "--backend", backend, "--json")
    assert done.code in (7, 8)
    if done.code == 8:
        assert done.json["status"] == "feasible"
        assert done.json["bound"] is not None
        assert done.json["gap"] > 0
    else:
        assert done.json["error"]["code"] == "limit-reached"
        assert "infeasible" not in done.out


def test_G05_G07_objective_never_defined(ask: Ask) -> None:
    done = ask("optimize", *JOB, "--objective", "step_time / (ep_size - 1)", "--json")
    assert done.code == 3
    assert "is not a finite number at any design" in done.json["error"]["message"]
    assert "divide by no zero" in done.json["error"]["hint"]


def test_G08_large_objective(ask: Ask) -> None:
    done = ask("optimize", *JOB, "--objective", "maximize 1e15 * tokens_per_second", "--json")
    assert done.code == 0
    assert done.json["objective"]["value"] > 1e10


@pytest.mark.parametrize(("package", "backend"), [("ortools", "cpsat"), ("highspy", "milp"), ("pyomo", "milp")])
def test_G09_solver_missing(ask: Ask, monkeypatch: pytest.MonkeyPatch, package: str, backend: str) -> None:
    installed = _imports._installed
    monkeypatch.setattr(_imports, "_installed", lambda name: None if name == package else installed(name))
    done = ask("optimize", *JOB, "--backend", backend)
    assert done.code == 9
    assert f"pip install '{package}" in done.err
    assert ask("optimize", *JOB, "--json").code == 0, "enumeration needs no solver"
    doctor = ask("doctor", "--json")
    assert doctor.code == 9
    assert doctor.json["status"] == "solver-missing"


@pytest.mark.parametrize("backend", ["enumerate", "milp", "cpsat"])
def test_G10_G11_the_same_question_has_the_same_answer(ask: Ask, backend: str) -> None:
    question = ("optimize", *JOB, "--choose", "tp_size=2,4", "--backend", backend, "--json")
    first, second = ask(*question).json, ask(*question).json
    for found in (first, second):
        found.pop("seconds")
    assert first == second


def test_G13_exactly_on_the_limit(ask: Ask) -> None:
    best = mo.optimize("parallelism", **GIVEN)
    memory = best.task.scalar.at(best.design)[1]["memory"]  # type: ignore[union-attr]
    for limit, same in ((memory, True), (memory * (1 - 1e-6), False)):
        found = ask("optimize", *JOB, "--constraint", f"memory <= {limit!r} byte", "--json").json
        assert (found["objective"]["value"] == best.objective.value) is same


# the shell ------------------------------------------------------------------------------------------------------------
def interrupted(number: int, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the program, and send it a signal once it is at work."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
        "from mlsysim_opt.cli import main, solve\n"
        "def wait(*a, **k):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(30)\n"
        "solve.optimize = wait\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    return process


@pytest.mark.parametrize(
    ("number", "status", "told"),
    [(signal.SIGINT, 130, "interrupted: nothing was found yet\n"), (signal.SIGTERM, 143, "terminated\n")],
)
def test_H01_signals(tmp_path: Path, number: int, status: int, told: str) -> None:
    process = interrupted(number, "optimize", *JOB, cwd=tmp_path)
    started = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert time.monotonic() - started < 5
    assert err == told


def test_H01_ctrl_c_while_a_problem_is_compiled_says_that_nothing_was_found(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: Any, **__: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Formulation, "problem", pressed)
    for arguments in (("optimize", *JOB), ("pareto", *JOB, "--objective", "min_mfu", "--objective", "min_memory")):
        done = ask(*arguments, "--json")
        assert (done.code, done.out, done.err) == (130, "", "interrupted: nothing was found yet\n")


def test_H01_ctrl_c_gives_the_design_that_is_held(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = Search.evaluated

    def pressed(self: Search, *arguments: Any, **named: Any) -> Any:
        for part in evaluated(self, *arguments, **named):
            yield part  # it is looked at before the next one is asked for
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Search, "evaluated", pressed)
    monkeypatch.setattr("mlsysim_opt.algebra.evaluate.BLOCK", 256)
    done = ask("optimize", *LARGE, "--json")
    assert done.code == 8
    assert done.json["status"] == "feasible"
    assert done.json["bound"] is not None
    assert done.json["gap"] > 0
    assert "interrupted" in done.json["certificate"]["proof"]


def test_H02_reader_goes_away(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mlsysim_opt.cli", "explain", "step_time"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert err == b""


@needs_full
@pytest.mark.parametrize("arguments", [("zoo", "list", "--json"), ("zoo", "list"), ("--version",), ("zoo", "show", "?"),
                                       ("zoo", "show", "?", "--json")])  # fmt: skip
def test_H03_disk_full(program: Program, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = program(*arguments, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == (3 if arguments == ("zoo", "show", "?") else 4)
    assert "error" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("optimize", *JOB), ("zoo", "show", "H1000"), ("nonsense",)])
def test_H04_no_colours_outside_a_terminal(program: Program, arguments: tuple[str, ...]) -> None:
    done = program(*arguments)
    assert ANSI not in done.stdout + done.stderr
    forced = program(*arguments, environment={"NO_COLOR": "1"})
    assert ANSI not in forced.stdout + forced.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_H04_colours_in_a_terminal(tmp_path: Path, environment: dict[str, str], coloured: bool) -> None:
    import pty

    master, slave = pty.openpty()
    base = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    command = [sys.executable, "-m", "mlsysim_opt.cli", "zoo", "show", "H100"]
    settings = {**base, "TERM": "xterm", **environment}
    with subprocess.Popen(command, cwd=tmp_path, stdout=slave, stderr=slave, env=settings) as process:
        os.close(slave)
        seen = b""
        try:
            while chunk := os.read(master, 4096):
                seen += chunk
        except OSError:  # Linux says so when the other end is closed
            pass
    os.close(master)
    assert process.returncode == 0
    assert (b"\x1b[" in seen) is coloured


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (("optimize", "--nonsense"), 2, "error"),
        (("nonsense",), 2, "error"),
        (("optimize", *JOB, "--model", "x"), 3, "error"),
        (("optimize", "--plan", "nowhere.yaml"), 4, "error"),
        (("optimize", *JOB, "--constraint", "tp_size > 99"), 5, "infeasible"),
        (("optimize", *JOB, "--time-limit", "1e-9", "--backend", "cpsat"), 7, "error"),
    ],
)
def test_H05_errors_as_json(ask: Ask, arguments: tuple[str, ...], code: int, status: str) -> None:
    done = ask(*arguments, "--json")
    assert done.code == code
    assert done.err == ""
    assert done.json["status"] == status
    assert set(done.json["error"]) >= {"code", "message", "path", "line", "column", "hint", "docs"}
    page = (Path(__file__).resolve().parents[2] / "docs/errors.md").read_text()
    assert f"\n## {done.json['error']['code']}\n" in page


def test_H06_exit_statuses_are_distinct(ask: Ask) -> None:
    statuses = {
        "ok": ask("optimize", *JOB).code,
        "usage": ask("optimize", "--nonsense").code,
        "input": ask("optimize", *JOB, "--model", "x").code,
        "file": ask("optimize", "--plan", "nowhere.yaml").code,
        "infeasible": ask("optimize", *JOB, "--constraint", "tp_size > 99").code,
    }
    assert statuses == {"ok": 0, "usage": 2, "input": 3, "file": 4, "infeasible": 5}


def test_H07_version(ask: Ask) -> None:
    done = ask("--version")
    assert done.code == 0
    assert done.out.strip() == f"mlsysim-opt {mo.__version__}"


def test_H08_H09_infeasible_exit_status(ask: Ask) -> None:
    too_big = ("--model", "Llama3_405B", "--fleet", "One_DGX_H100", "--batch-size", "64", "--seq-len", "8192")
    assert ask("optimize", *too_big).code == 5
    assert ask("eval", *JOB, "--design", DESIGN.replace("tp_size=2", "tp_size=4")).code == 5


def test_H12_threads() -> None:
    expected = mo.optimize("parallelism", **GIVEN)
    found: list[Any] = []

    def work(backend: str) -> None:
        found.append(mo.optimize("parallelism", backend=backend, choices={"tp_size": [1, 2]}, **GIVEN))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("enumerate", "milp", "cpsat", "enumerate")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {item.objective.value for item in found} == {found[0].objective.value}
    assert found[0].objective.value >= expected.objective.value


def test_usage_errors_say_what_was_meant(refused: Refused) -> None:
    refused("optimise", code=2, says=("optimise", "optimize"))
    refused("optimize", "--objectiv", "x", code=2, says=("--objectiv", "--objective"))
    refused("eval", *JOB, code=2, says=("--design",))
    refused("eval", *JOB, "--design", "tp_size", code=2, says=("--design", "name=value"))
    refused("optimize", *JOB, "--set", "x", code=2, says=("--set", "name=value"))
    refused("optimize", *JOB, "--choose", "tp_size=1", "--choose", "tp_size=2", code=2, says=("tp_size", "twice"))


def test_json_never_holds_what_json_has_not(ask: Ask) -> None:
    done = ask("optimize", *JOB, "--json")
    assert "NaN" not in done.out
    assert "Infinity" not in done.out
    json.loads(done.out)
