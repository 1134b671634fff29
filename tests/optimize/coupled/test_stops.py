"""Searches for plans that are ended early: what is held by then, and what is said where nothing is."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from fuzzing.knapsack import knapsack

import mlsysim_opt as mo
from mlsysim_opt.errors import LimitReachedError
from mlsysim_opt.optimize import CoupledProblem, CoupledTask, Progress, task
from mlsysim_opt.optimize.backends import highs
from mlsysim_opt.optimize.backends.highs import ENUMERATION, PROBING, HighsProgram
from mlsysim_opt.optimize.coupled import first_plan
from mlsysim_opt.optimize.coupled.first_plan import dived_plan, greedy_plan
from mlsysim_opt.optimize.coupled.outcome import possible
from mlsysim_opt.optimize.coupled.program import LinearProgram

signals = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def yard(seed: int, *, rented: bool = False, jobs: int = 5, slots: int = 6) -> CoupledProblem:
    """Jobs that each take some of the room of a slot, or of machines that are rented there."""
    dice = random.Random(seed)
    made = CoupledProblem("yard")
    job, slot = made.choose("job", range(jobs)), made.choose("slot", range(slots))
    run = made.picks("run", [job, slot], for_each=[job])
    size = made.table("size", [job], [dice.randint(2, 5) for _ in range(jobs)])
    price = made.table("price", [job, slot], [[dice.randint(1, 30) for _ in range(slots)] for _ in range(jobs)], "USD")
    cost = run * price
    if rented:
        machines = made.amounts("machines", [slot], whole=True, high=4)
        made.require("room", run * size <= machines * 3, each=[slot])
        cost = cost + machines * made.table("rent", [slot], [dice.randint(1, 9) for _ in range(slots)], "USD")
    else:
        made.require("room", run * size <= 7, each=[slot])
    made.measure("cost", cost, unit="USD")
    made.default_objective = "min_cost"
    return made


def program_of(problem: CoupledProblem) -> LinearProgram:
    asked = task(problem)
    assert isinstance(asked, CoupledTask)
    return asked.compiled().program


@pytest.mark.parametrize("rented", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_a_first_plan_is_one_and_not_far_from_the_best(seed: int, rented: bool) -> None:
    problem = yard(seed, rented=rented)
    program = program_of(problem)
    best = mo.optimize(problem).objective.value
    assert best is not None
    every = np.arange(program.columns)
    plans = [greedy_plan(program, lambda: False), dived_plan(program, lambda: False, every)]
    assert any(plan is not None for plan in plans)
    for plan in plans:
        if plan is not None:
            assert possible(program, plan) is not None
            assert best <= float(program.cost @ plan) + program.offset <= 4 * best
    assert dived_plan(program, lambda: True, every) is None, "it gives up when it is told to"


def test_where_there_is_no_room_no_first_plan_is_made_up() -> None:
    problem = yard(1, jobs=12, slots=2)  # twelve jobs of two or more in two slots of seven
    program = program_of(problem)
    assert greedy_plan(program, lambda: False) is None
    assert dived_plan(program, lambda: False, np.arange(program.columns)) is None


def at_once(progress: Progress) -> bool:
    return True


@pytest.mark.parametrize("columns", [None, 10])
def test_a_large_search_that_is_stopped_at_once_has_a_plan(
    monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    problem = yard(3, jobs=30, slots=40)
    best = mo.optimize(problem)
    monkeypatch.setattr(first_plan, "MANY", 100)
    if columns is not None:  # most columns are priced against few
        monkeypatch.setattr("mlsysim_opt.optimize.coupled.search.FEW", columns)
    found = mo.optimize(problem, progress=at_once)
    assert found.verify()["constraints_hold"]
    assert found.bound is not None
    assert found.bound.si <= best.objective.si * (1 + 1e-9)
    assert found.objective.si >= best.objective.si * (1 - 1e-9)
    assert mo.optimize(problem).objective.si == pytest.approx(best.objective.si, rel=1e-9)


@signals
@pytest.mark.parametrize("pressed", [True, False])
def test_without_a_plan_the_bound_is_told_and_what_happened(pressed: bool) -> None:
    def stop(progress: Progress) -> bool:
        if pressed:
            signal.raise_signal(signal.SIGINT)
        return not pressed

    with pytest.raises(LimitReachedError, match=r"interrupted; no plan is above max_gain = 9\d\d") as caught:
        mo.optimize(knapsack(), constraints=["gain >= 949"], progress=stop, time_limit=600)
    assert caught.value.hint == "let it run longer"


def test_progress_is_told_in_the_sense_and_unit_of_the_objective() -> None:
    problem = knapsack()
    seen: list[Progress] = []
    best = mo.optimize(problem, objective="max_value", progress=seen.append)  # type: ignore[arg-type]
    held = [progress for progress in seen if progress.incumbent is not None and progress.bound is not None]
    assert held
    for progress in held:
        assert progress.incumbent is not None
        assert progress.bound is not None
        assert progress.objective == "max_value"
        assert progress.incumbent.unit == progress.bound.unit == best.objective.unit == "kUSD"
        assert 0 < progress.incumbent.si <= best.objective.si * (1 + 1e-9)
        assert progress.bound.si >= best.objective.si * (1 - 1e-9)


def test_progress_of_a_front_is_that_of_the_objective_that_is_looked_for() -> None:
    problem = knapsack(25)
    seen: list[Progress] = []
    front = mo.pareto(problem, objectives=["max_gain", "min_weight"], points=3, progress=seen.append)  # type: ignore[arg-type]
    assert {progress.objective for progress in seen} == {"max_gain", "min_weight"}
    for progress in seen:
        unit = "CO2e" if progress.objective == "min_weight" else ""
        assert all(item is None or item.unit.endswith(unit) for item in (progress.incumbent, progress.bound))
    assert len(front) >= 2


class Refused(Exception):
    """An error of whoever watches."""


@pytest.mark.parametrize("ask", [mo.optimize, partial(mo.pareto, objectives=["max_gain", "min_weight"])])
def test_an_error_of_who_watches_ends_the_search_and_is_raised_as_it_is(
    ask: Callable[..., object], capfd: pytest.CaptureFixture[str]
) -> None:
    def watch(progress: Progress) -> bool:
        raise Refused(progress.objective)

    with pytest.raises(Refused):
        ask(knapsack(25), progress=watch)
    assert capfd.readouterr() == ("", "")


# HiGHS's presolve -----------------------------------------------------------------------------------------------------
def test_rules_that_look_at_no_clock_are_off_for_crowded_programs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(yard(2))
    _, off = HighsProgram(program)._highs.getOptionValue("presolve_rule_off")
    assert off == 0
    monkeypatch.setattr(highs, "CROWDED", (1, 0))
    _, off = HighsProgram(program)._highs.getOptionValue("presolve_rule_off")
    assert off == PROBING | ENUMERATION


@pytest.mark.parametrize("seed", range(10))
def test_these_rules_do_not_change_what_is_best(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    problem = yard(seed, rented=bool(seed % 2), jobs=8, slots=8)
    expected = mo.optimize(problem).objective
    monkeypatch.setattr(highs, "CROWDED", (1, 0))
    assert mo.optimize(problem).objective == expected
