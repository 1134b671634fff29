"""Solvers in trouble with coupled problems: those that die or lie, that run out of time or of digits, and Ctrl-C."""

from __future__ import annotations

import math
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyomo.common import Executable

import mlsysim_opt as mo
from mlsysim_opt.errors import (
    InfeasibleError,
    InputError,
    LimitReachedError,
    MlsysimError,
    ScaleError,
    SolverMissingError,
    UnboundedError,
    VerificationError,
)
from mlsysim_opt.optimize import CoupledProblem, PlanSolution
from mlsysim_opt.optimize.backends import _imports, pyomo_program

BACKENDS = ["milp", "pyomo", "cpsat"]


def depot(kilograms: float = 1.0, dollars: float = 1.0, high: float | None = 20) -> CoupledProblem:
    """Loads of 2 or 3 units at 5 or 7 USD each."""
    made = CoupledProblem("depot")
    size = made.choose("size", [2, 3])
    count = made.amounts("count", [size], whole=True, high=high)
    made.measure("weight", count * made.table("weight", [size], np.array([2.0, 3.0]) * kilograms, "kgCO2e"))
    made.measure("cost", count * made.table("price", [size], np.array([5.0, 7.0]) * dollars, "USD"), unit="USD")
    made.default_objective = "min_cost"
    return made


def solved(problem: CoupledProblem, *limits: str, **how: Any) -> PlanSolution:
    found = mo.optimize(problem, constraints=list(limits), **how)
    assert isinstance(found, PlanSolution)
    return found


# solvers that die, and solvers that lie -------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["kill -9 $$", "kill -11 $$", "exit 3", "exit 0", "echo nonsense; exit 0"])
def test_a_solver_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    program = tmp_path / "glpsol"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *--version*) echo "GLPSOL--GLPK LP/MIP Solver 5.0"; exit 0;; esac\n{end}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Executable("glpsol").rehash()  # Pyomo remembers where programs are
    with pytest.raises(MlsysimError, match="glpk ended without an answer") as caught:
        solved(depot(), "weight >= 17 kgCO2e", backend="pyomo:glpk")
    assert caught.value.hint


class Liar:
    """A solver of Pyomo's that calls some amounts the best."""

    def __init__(self, amounts: list[float | None], bound: float = -math.inf) -> None:
        self.amounts, self.bound = amounts, bound

    def solve(self, model: Any, load_solutions: bool) -> Any:
        from pyomo.opt import TerminationCondition

        self.model = model
        return SimpleNamespace(
            solver=SimpleNamespace(termination_condition=TerminationCondition.optimal), solution=[],
            problem=SimpleNamespace(lower_bound=self.bound),
        )  # fmt: skip

    def load_vars(self) -> None:
        for variable, amount in zip(self.model.x.values(), self.amounts, strict=True):
            variable.set_value(amount, skip_validation=True)


@pytest.mark.parametrize(
    "amounts",
    [
        [0.0, 0.0],  # weighs nothing
        [1.0, 4.0],  # 14 instead of 17
        [0.4, 5.4],  # 17, in parts that are none
        [None, None],
        [math.nan, 5.0],
    ],
)
def test_amounts_that_are_no_plan_are_withheld(monkeypatch: pytest.MonkeyPatch, amounts: list[float | None]) -> None:
    monkeypatch.setattr(pyomo_program, "_classic", lambda name: Liar(amounts))
    with pytest.raises(VerificationError):
        solved(depot(), "weight >= 17 kgCO2e", backend="pyomo:liar")


def test_a_bound_above_a_plan_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyomo_program, "_classic", lambda name: Liar([1.0, 5.0], 1e9))
    with pytest.raises(VerificationError, match="no plan is below"):
        solved(depot(), "weight >= 17 kgCO2e", backend="pyomo:liar")


def test_what_a_solver_proves_is_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    # 18 units as 6 x 3: 42 USD, where 17 for 40 would do; its own bound says that it is not known to be the best
    monkeypatch.setattr(pyomo_program, "_classic", lambda name: Liar([0.0, 6.0], 1.0))
    found = solved(depot(), "weight >= 17 kgCO2e", backend="pyomo:liar")
    assert found.status == "feasible"
    assert found.gap
    assert found.objective.value == 42


def test_solvers_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for name in ("glpsol", "cbc"):
        Executable(name).rehash()
    for name in ("glpk", "cbc", "nonsense"):
        with pytest.raises(SolverMissingError, match=name):
            solved(depot(), "weight >= 17 kgCO2e", backend=f"pyomo:{name}")
    installed = _imports._installed
    for package, backend in (("pyomo", "pyomo"), ("highspy", "pyomo"), ("ortools", "cpsat")):
        monkeypatch.setattr(
            _imports, "_installed", lambda name, gone=package: None if name == gone else installed(name)
        )
        with pytest.raises(SolverMissingError, match=package):
            solved(depot(), "weight >= 17 kgCO2e", backend=backend)


# what every backend says ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKENDS)
def test_infeasible_and_contradictory(backend: str) -> None:
    for limits in (
        ["weight >= 1000 kgCO2e"],
        ["weight >= 5 kgCO2e", "weight <= 4 kgCO2e"],
        ["size >= 9", "cost >= 1 USD"],
    ):
        with pytest.raises(InfeasibleError) as caught:
            solved(depot(), *limits, backend=backend)
        assert set(caught.value.conflict) == set(limits)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unbounded(backend: str) -> None:
    with pytest.raises((UnboundedError, ScaleError)) as caught:
        solved(depot(high=None), objective="max_cost", backend=backend)
    assert backend == "cpsat" or isinstance(caught.value, UnboundedError), "only cpsat needs bounds before it looks"
    with pytest.raises(InfeasibleError):  # and what would be unbounded if it were possible
        solved(depot(high=None), "weight >= 1 kgCO2e", "weight <= 0.5 kgCO2e", objective="max_cost", backend="milp")


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_that_are_none_are_left_out(backend: str) -> None:
    made = CoupledProblem("odd")
    kind = made.choose("kind", ["unknown", "known", "cheap"])
    run = made.picks("run", [kind])
    made.measure("cost", run * made.table("price", [kind], [math.nan, 3.0, 2.0]))
    made.measure("rent", run * made.table("rent", [kind], [1.0, 1.0, math.nan]))
    assert solved(made, objective="min_cost", backend=backend).amounts["run"][0]["kind"] == "cheap"
    assert solved(made, objective="cost + rent", backend=backend).amounts["run"][0]["kind"] == "known"
    nothing = CoupledProblem("nothing")
    kind = nothing.choose("kind", ["a", "b"])
    nothing.measure("cost", nothing.picks("run", [kind]) * nothing.table("price", [kind], [math.nan, math.nan]))
    with pytest.raises(InfeasibleError):
        solved(nothing, objective="min_cost", backend=backend)
    endless = CoupledProblem("endless")
    kind = endless.choose("kind", ["a"])
    endless.measure("cost", endless.picks("run", [kind]) * endless.table("price", [kind], [math.inf]))
    with pytest.raises((ScaleError, InfeasibleError)):
        solved(endless, objective="min_cost", backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_time_limit_before_any_plan(backend: str) -> None:
    dice = np.random.default_rng(5)
    made = CoupledProblem("hard")
    item, limit = made.choose("item", range(40)), made.choose("limit", range(6))
    taken = made.amounts("taken", [item], whole=True, high=1)
    weights = dice.integers(20, 90, (40, 6)).astype(float)
    weight = made.table("weight", [item, limit], weights)
    made.require("room", taken * weight <= made.table("room", [limit], weights.sum(axis=0) / 3), each=[limit])
    made.measure("gain", taken * made.table("gain", [item], dice.integers(20, 90, 40).astype(float)))
    with pytest.raises(LimitReachedError):  # 949 is the best there is: no rounding finds it
        solved(made, "gain >= 949", objective="max_gain", backend=backend, time_limit=1e-6)


# digits ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kilograms", [1e-9, 1.0, 1e9, 1e15])
@pytest.mark.parametrize("dollars", [1e-9, 1.0, 1e12, 1e17])
def test_units_do_not_change_the_plan(kilograms: float, dollars: float, backend: str) -> None:
    found = solved(depot(kilograms, dollars), f"weight >= {17 * kilograms!r} kgCO2e", backend=backend)
    assert found.status == "optimal"
    assert {row["size"]: row["amount"] for row in found.amounts["count"]} == {2: 1, 3: 5}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("power", range(3, 19))
def test_beside_one_another_sizes_are_told_apart_or_refused(power: int, backend: str) -> None:
    """A plant and dust: 3 of the plant (dear) or dust by the million million, one more or less of which decides."""
    many = 10.0**power
    made = CoupledProblem("mixed")
    kind = made.choose("kind", ["dust", "plant"])
    count = made.amounts("count", [kind], whole=True, high=made.table("most", [kind], [2 * many, 3.0]))
    made.require("need", count * made.table("makes", [kind], [1.0, many]) >= 2 * many + 3)
    made.measure("cost", count * made.table("price", [kind], [1.0, 0.9 * many]), unit=None)
    try:
        found = solved(made, objective="min_cost", backend=backend)
    except (ScaleError, VerificationError):
        assert power > 6, "these are no large numbers"
        return
    # two plants and 3 of dust; a third plant instead would cost 0.9 of `many`. From 1e10 on, 3 of dust are less than
    # 1e-9 of what is needed: the rounding of sums.
    amounts = {row["kind"]: row["amount"] for row in found.amounts["count"]}
    assert amounts == {"dust": 3, "plant": 2} or (power >= 10 and amounts["plant"] == 2)
    assert found.verify()["constraints_hold"]


@pytest.mark.parametrize("size", [2.0**30, 2.0**52, 2.0**53, 2.0**60, 1e300])
def test_amounts_beyond_int64_are_refused_by_cpsat(size: float) -> None:
    problem = depot(high=size)
    limit = f"weight >= {size / 4!r} kgCO2e"
    if size > 2.0**40:
        with pytest.raises(ScaleError, match="milp"):
            solved(problem, limit, backend="cpsat")
        return
    assert solved(problem, limit, backend="cpsat").objective.value == pytest.approx(size / 4 / 3 * 7, rel=1e-8)


# Ctrl-C in a terminal -------------------------------------------------------------------------------------------------
LONG = """
import numpy as np
import mlsysim_opt as mo
from mlsysim_opt.optimize import CoupledProblem

dice = np.random.default_rng(5)
made = CoupledProblem("long")
item, limit = made.choose("item", range(300)), made.choose("limit", range(12))
taken = made.amounts("taken", [item], whole=True, high=1)
weights = dice.integers(20, 90, (300, 12)).astype(float)
weight = made.table("weight", [item, limit], weights)
made.require("room", taken * weight <= made.table("room", [limit], weights.sum(axis=0) / 3), each=[limit])
made.measure("gain", taken * made.table("gain", [item], dice.integers(20, 90, 300).astype(float)))

def show(progress):
    if progress.incumbent is not None:
        print("held", flush=True)

found = mo.optimize(made, objective="max_gain", progress=show)
print("ended", found.status, found.gap > 0, found.verify()["constraints_hold"], flush=True)
"""


def test_ctrl_c_in_a_terminal_gives_what_is_held(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()

    def begin() -> None:
        os.setsid()
        ioctl(theirs, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started pytest may have had it ignored, or blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    process = subprocess.Popen(
        [sys.executable, "-c", LONG], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=begin
    )
    os.close(theirs)
    said, pressed, until = b"", False, time.monotonic() + 240
    try:
        while time.monotonic() < until and b"\n" not in said.partition(b"ended")[2]:
            if process.poll() is not None and not select.select([ours], [], [], 0)[0]:
                break
            if select.select([ours], [], [], 1)[0]:
                try:
                    said += os.read(ours, 4096)
                except OSError:  # the other side is closed
                    break
            if b"held" in said and not pressed:
                os.write(ours, b"\x03")
                pressed = True
        assert pressed, said
        assert b"ended feasible True True" in said, said
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_backend_that_knows_whole_numbers_only_says_which_are_not() -> None:
    made = CoupledProblem("flow")
    made.measure("cost", made.amounts("flow", [made.choose("site", ["a"])], low=1).total())
    with pytest.raises(InputError, match="flow"):
        solved(made, objective="min_cost", backend="cpsat")
