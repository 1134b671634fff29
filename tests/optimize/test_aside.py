"""Runs of a solver that hear neither clock nor Ctrl-C: whoever waits leaves them, with what they told so far."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fuzzing.knapsack import knapsack

import mlsysim_opt as mo
from mlsysim_opt.errors import LimitReachedError
from mlsysim_opt.optimize import CoupledTask, Progress, task
from mlsysim_opt.optimize.backends import aside, highs
from mlsysim_opt.optimize.backends.aside import Aside
from mlsysim_opt.optimize.backends.highs import HighsProgram
from mlsysim_opt.optimize.coupled.outcome import possible
from mlsysim_opt.optimize.stopping import Standing

signals = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let runs stay deaf until an event, and be left soon; they end with the test."""
    event, ended = threading.Event(), Aside.ended

    def deaf(self: Aside, run: Callable[[], object], told: Callable[[], bool], until: float) -> bool:
        def running() -> None:
            run()
            event.wait(30)

        return ended(self, running, told, until)

    monkeypatch.setattr(Aside, "ended", deaf)
    monkeypatch.setattr(aside, "GRACE", 0.1)
    monkeypatch.setattr(highs, "LONG", 0)
    yield event
    event.set()
    for thread in aside._left:
        thread.join(30)
    assert not aside.still_running()


def knapsack_program() -> Any:
    asked = task(knapsack(), objective="max_value")
    assert isinstance(asked, CoupledTask)
    return asked.compiled().program


@signals
def test_ctrl_c_leaves_a_deaf_run_with_the_plan_it_told(hold: threading.Event) -> None:
    program = knapsack_program()
    threads = []

    def watch(seen: Standing) -> bool:
        threads.append(threading.current_thread())
        if seen.incumbent is not None:
            signal.raise_signal(signal.SIGINT)
        return False

    solver = HighsProgram(program)
    result = solver.solve(watch=watch)
    assert result.stop == "interrupted"
    assert aside.still_running()
    assert set(threads) == {threading.main_thread()}, "whoever watches is called where it asked"
    assert result.x is not None
    assert possible(program, np.round(result.x)) is not None
    assert result.value == pytest.approx(float(program.cost @ result.x) + program.offset)
    assert result.bound <= result.value
    solver.change_column(0, 0.0, 0.0)  # it has nothing left that could be changed
    assert solver.solve() is solver.relaxation()
    assert solver.solve().value == result.value


@signals
def test_an_answer_of_a_deaf_run_is_feasible_with_its_gap(hold: threading.Event) -> None:
    def pressed(progress: Progress) -> bool:
        if progress.incumbent is not None:
            signal.raise_signal(signal.SIGINT)
        return False

    found = mo.optimize(knapsack(), objective="max_value", progress=pressed)
    assert found.status == "feasible"
    assert "interrupted" in found.certificate.proof
    assert found.verify()["constraints_hold"]
    with pytest.raises(LimitReachedError, match="interrupted"):
        mo.optimize(knapsack(), constraints=["gain >= 949"], progress=lambda _: signal.raise_signal(signal.SIGINT))


def test_a_limit_leaves_a_deaf_run_too(hold: threading.Event) -> None:
    assert HighsProgram(knapsack_program()).solve(time_limit=0.3).stop == "limit"
    assert aside.still_running()


@pytest.mark.parametrize("seed", [25, 26])
def test_a_run_aside_finds_the_same(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    here = mo.optimize(knapsack(seed), objective="max_value")
    monkeypatch.setattr(highs, "LONG", 0)
    there = mo.optimize(knapsack(seed), objective="max_value")
    assert (there.status, there.objective, there.bound) == (here.status, here.objective, here.bound)


def test_errors_of_a_run_and_of_a_signal_are_raised_where_it_is_waited_for() -> None:
    def failing() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Aside().ended(failing, lambda: False, float("inf"))
    event, run = threading.Event(), Aside()

    def terminated() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.ended(lambda: event.wait(30), terminated, float("inf"))
    assert run.left
    event.set()
    aside._left[-1].join(30)


def test_a_command_ends_though_a_solver_that_was_left_does_not() -> None:
    code = (
        "import sys, threading\n"
        "from mlsysim_opt import cli\n"
        "from mlsysim_opt.cli import run\n"
        "from mlsysim_opt.optimize.backends import aside\n"
        "aside.GRACE = 0.1\n"
        "def command(arguments):\n"
        "    aside.Aside().ended(threading.Event().wait, lambda: True, 1e300)\n"
        "    print('told', end='')\n"
        "    return 8\n"
        "run.run = command\n"
        "sys.exit(cli.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (8, "told", "")
