"""What the row-picking backends are given and what they do with their answers: the real solvers, at their limits."""

from __future__ import annotations

import itertools
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra.atoms import lookup
from mlsysim_opt.errors import LimitReachedError, ScaleError, VerificationError
from mlsysim_opt.optimize import Problem, Task, solve, task
from mlsysim_opt.optimize.backends import cpsat, milp
from mlsysim_opt.optimize.backends.rows import CAP, scaled, settled
from mlsysim_opt.optimize.selector import SelectorForm, selector_form

SOLVERS = ["milp", "cpsat"]


def ladder(*costs: float) -> Task:
    """Return the task of picking the cheapest of some costs."""
    problem = Problem("ladder")
    choice = problem.choose("n", range(len(costs)))
    problem.measure("m", lookup(choice, dict(enumerate(costs))))
    return task(problem, objective="min_m")


def cube(side: int = 12, constraints: Any = ()) -> Task:
    """Return a task with side^3 designs of random cost, some of them equal."""
    dice = np.random.default_rng(side)
    problem = Problem("cube")
    a, b, c = (problem.choose(name, range(side)) for name in "abc")
    tables = [lookup(item, dict(enumerate(dice.integers(1, 9, side).tolist()))) for item in (a, b, c)]
    problem.measure("m", tables[0] * tables[1] + tables[2])
    problem.require("odd", (a + b) * c != 6)
    return task(problem, objective="min_m", constraints=constraints)


# rows ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("budget", [1, 7, 60, 10**6])
def test_pruned_rows_are_the_cheapest_of_those_that_agree(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysim_opt.optimize.selector.ROW_BUDGET", budget)
    search = cube().search()
    every, few = selector_form(search, prune=False), selector_form(search, prune=True)
    assert len(every.costs) == every.feasible == few.feasible
    assert len(few.costs) <= max(1, budget)
    best: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}
    for cost, design in zip(every.costs.tolist(), map(tuple, every.positions.tolist()), strict=True):
        key = tuple(design[index] for index in few.linked)
        best[key] = min(best.get(key, (np.inf, ())), (cost, design))
    held = zip(few.costs.tolist(), map(tuple, few.positions.tolist()), strict=True)
    assert sorted(held) == sorted(best.values())


def test_rows_are_pruned_on_the_way_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = selector_form(cube().search(), prune=True)
    monkeypatch.setattr("mlsysim_opt.optimize.selector.ROW_LIMIT", 100)
    monkeypatch.setattr("mlsysim_opt.optimize.selector.ROW_BUDGET", 50)
    monkeypatch.setattr("mlsysim_opt.algebra.evaluate.BLOCK", 30)
    few = selector_form(cube().search(), prune=True)
    assert few.costs.min() == whole.costs.min()
    assert few.feasible == whole.feasible
    for backend in SOLVERS:
        with pytest.raises(LimitReachedError, match="100"):
            solve(cube(), backend=backend, prune=False)


@pytest.mark.parametrize("backend", SOLVERS)
def test_a_design_that_is_no_row_cannot_be_chosen(backend: str) -> None:
    # Each value of a choice is cheap somewhere, but never together: big-M over such a table picks what is not there.
    problem = Problem("diagonal")
    a, b = problem.choose("a", range(6)), problem.choose("b", range(6))
    problem.measure("m", a * 10 + b)
    problem.require("sum", a + b == 5)
    assert solve(task(problem, objective="min_m"), backend=backend, prune=False).design == {"a": 0, "b": 5}


# scale ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("unit", [1e-300, 1e-9, 1.0, 7e17, 1e300])
@pytest.mark.parametrize("costs", [(3.0, 2.5, 1e6), (-3.0, 2.0, 0.0), (0.0, 5.0, 2.0), (-1.0, -1.0, 4e5)])
def test_scaling_keeps_order_and_puts_the_answer_near_one(unit: float, costs: tuple[float, ...]) -> None:
    given = np.array(costs) * unit
    seen, step = scaled(given)
    assert np.abs(seen.min()) < 2
    assert seen.max() <= CAP
    assert (seen.argsort(kind="stable") == given.argsort(kind="stable")).all()
    below = seen < CAP
    assert (seen[below] * step == given[below]).all()  # exact: the unit is a power of two


def test_K03_K09_G01_whole_costs_are_floored_and_stay_inside_int64() -> None:
    dice = np.random.default_rng(1)
    for rows in (1, 10, 100_000):
        costs, _ = scaled(dice.uniform(1, 3, rows))
        whole, steps = cpsat.whole_costs(costs)
        assert sum(whole.tolist()) < 2**62
        assert (whole <= costs * steps).all()
        assert (costs * steps < whole + 1).all()
        assert steps >= 2**40


def test_K10_too_many_rows_for_int64_are_refused_with_another_way() -> None:
    many = np.broadcast_to(np.float64(1.0), (2**37,))  # no memory behind it
    with pytest.raises(ScaleError, match="int64") as caught:
        cpsat.whole_costs(many)
    assert "enumerate" in str(caught.value.hint)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_K01_no_other_number_is_handed_over(bad: float) -> None:
    with pytest.raises(ScaleError):
        scaled(np.array([1.0, bad]))


@pytest.mark.parametrize("backend", ["enumerate", *SOLVERS])
@pytest.mark.parametrize("steps", [1e-9, 1e-13, 3e-16])
def test_K02_costs_closer_than_any_tolerance_are_told_apart(backend: str, steps: float) -> None:
    found = solve(ladder(1.0 + 2 * steps, 1.0 + steps, 1.0, 1e6, 1.0 + 3 * steps), backend=backend, prune=False)
    assert found.design == {"n": 2}


# answers -------------------------------------------------------------------------------------------------------------
def _form(*costs: float) -> SelectorForm:
    positions = np.arange(len(costs), dtype=np.int32).reshape(-1, 1)
    return SelectorForm(ladder(*costs).problem.choices, positions, np.array(costs), [0], len(costs), len(costs))


def test_K04_an_optimum_that_a_row_contradicts_is_withheld() -> None:
    form = _form(5.0, 3.0, 3.0 + 1e-9)
    with pytest.raises(VerificationError, match="calls a design optimal"):
        settled(form, 0, form.costs, 1e-6, proven=True, solver="liar")
    assert settled(form, 0, form.costs, 1e-6, proven=False, solver="honest") == 0
    assert settled(form, 2, form.costs, 1e-6, proven=True, solver="honest") == 1


@pytest.mark.parametrize("backend", SOLVERS)
def test_K06_K07_the_real_time_limit(backend: str) -> None:
    try:
        found = solve(cube(), backend=backend, prune=False, time_limit=1e-9)
    except LimitReachedError:
        return  # nothing held, and not called infeasible
    if found.status == "feasible":
        assert found.gap is None or found.gap >= 0
        assert found.bound is None or found.bound.value <= found.objective.value
    else:
        assert found.gap == 0  # solved before the clock was looked at


@pytest.mark.parametrize(("module", "backend"), [(milp, "milp"), (cpsat, "cpsat")])
def test_K06_nothing_held_is_no_answer(module: Any, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = milp._Run(None, None, False) if backend == "milp" else ("UNKNOWN", None, -np.inf)
    monkeypatch.setattr(module, "_run", lambda *_: nothing)
    with pytest.raises(LimitReachedError, match="no design"):
        solve(cube(), backend=backend)


@pytest.mark.parametrize(("module", "backend"), [(milp, "milp"), (cpsat, "cpsat")])
def test_K07_G04_what_is_held_at_the_limit_has_a_bound(
    module: Any, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "milp":
        held: Any = milp._Run(0, 0.75, False)
    else:
        steps = cpsat.whole_costs(scaled(np.array([5.0, 3.0, 4.0]))[0])[1]
        held = ("FEASIBLE", 0, 0.75 * steps)
    monkeypatch.setattr(module, "_run", lambda *_: held)
    found = solve(ladder(5.0, 3.0, 4.0), backend=backend)
    assert (found.status, found.objective.value) == ("feasible", 5.0)
    assert found.bound is not None
    assert found.bound.value == pytest.approx(1.5)  # 0.75 of the unit, which is 2
    assert found.gap == pytest.approx(5 / 1.5 - 1)


def test_the_pyomo_model_can_be_exported(tmp_path: Any) -> None:
    form = selector_form(cube(4).search(), prune=False)
    model = milp.pyomo_model(form, scaled(form.costs)[0])
    model.write(str(tmp_path / "cube.lp"), io_options={"symbolic_solver_labels": True})
    text = (tmp_path / "cube.lp").read_text()
    assert "binary" in text
    assert text.count("row(") >= len(form.costs)


@pytest.mark.parametrize("backend", ["enumerate", *SOLVERS])
def test_G10_G11_K13_H12_one_answer_however_often_and_from_threads(backend: str) -> None:
    asked = [cube(side) for side in (5, 6, 7, 8)]

    def ask(index: int) -> tuple[Any, ...]:
        found = solve(asked[index % 4], backend=backend, prune=False)
        return found.design, found.objective, found.tie_count, found.status

    alone = [ask(index) for index in range(4)]
    assert [ask(index) for index in range(4)] == alone
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(12))) == alone * 3


def test_all_backends_pick_the_same_of_many_ties() -> None:
    for side, prune in itertools.product((3, 9), (True, False)):
        found = {name: solve(cube(side), backend=name, prune=prune).design for name in ("enumerate", *SOLVERS)}
        assert len({tuple(design.items()) for design in found.values()}) == 1, found


# Ctrl-C --------------------------------------------------------------------------------------------------------------
INTERRUPTED = """
import os, signal, threading, time
import numpy as np
from mlsysim_opt.optimize.backends import {name}
import mlsysim_opt
import {solver}
from mlsysim_opt.optimize import Problem, solve, task
from mlsysim_opt.algebra.atoms import lookup
from mlsysim_opt.errors import LimitReachedError

problem = Problem("large")
dice = np.random.default_rng(0)
total = 0
for name in "abcd":
    choice = problem.choose(name, range(16))
    total = total + lookup(choice, dict(enumerate(dice.uniform(1, 2, 16).tolist()))) * (total + 1)
problem.measure("m", total)
asked = task(problem, objective="min_m")
begun = threading.Event()

real = {name}.{hook}
def told(*arguments, **named):
    begun.set()
    return real(*arguments, **named)
{name}.{hook} = told

def press():
    begun.wait()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
started = time.monotonic()
try:
    print(solve(asked, backend="{name}", prune=False, explain=False).status)  # it may be faster than the key
except LimitReachedError as error:
    print(error.message)
assert time.monotonic() - started < 60
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="no signals here")
@pytest.mark.parametrize(
    ("name", "solver", "hook"), [("cpsat", "ortools", "interruptible"), ("milp", "highspy", "_run")]
)
def test_H01_ctrl_c_gives_what_the_solver_holds(name: str, solver: str, hook: str, run_python: Any) -> None:
    done = run_python(INTERRUPTED.format(name=name, solver=solver, hook=hook))
    last = done.stdout.splitlines()[-1]
    assert last in ("optimal", "feasible") or "interrupted before" in last


def test_K17_one_thread_per_solve_and_K19_no_fork() -> None:
    import inspect

    assert "num_workers = 1" in inspect.getsource(cpsat)
    assert "threads=1" in inspect.getsource(milp)
    assert "fork" not in inspect.getsource(milp) + inspect.getsource(cpsat)


def test_K08_G09_a_solver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlsysim_opt.optimize.backends import _imports

    monkeypatch.setattr(_imports, "_installed", lambda package: None)
    for backend, title in (("milp", "HiGHS"), ("cpsat", "OR-Tools")):
        with pytest.raises(mo.SolverMissingError, match=title) as caught:
            solve(cube(3), backend=backend)
        assert "pip install" in str(caught.value.hint)
    assert solve(cube(3)).status == "optimal"


def test_C16_an_unknown_backend_is_named_with_the_known_ones() -> None:
    with pytest.raises(mo.UnknownNameError, match="cp-sat") as caught:
        solve(cube(3), backend="cp-sat")
    assert "cpsat" in str(caught.value.hint)
