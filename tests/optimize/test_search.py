"""The search: order of designs, ties, the best of a part, what is violated; the same however the space is cut up."""

from __future__ import annotations

import itertools
import random
import signal
import sys
from typing import Any

import numpy as np
import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra.atoms import exp, lookup, where
from mlsysim_opt.algebra.evaluate import project
from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import InputError, LimitReachedError, UnboundedError
from mlsysim_opt.optimize import Problem, Progress, Task, search, solve, stopping, task
from mlsysim_opt.optimize.search import Found, conflicts
from mlsysim_opt.optimize.space import Domain

SMALL = {
    "mlsysim_opt.optimize.space.ROWS_AT_ONCE": 5,
    "mlsysim_opt.optimize.space.DENSE_AT_ONCE": 4,
    "mlsysim_opt.algebra.evaluate.BLOCK": 8,
}


def grid(objective: Any = "min_m", constraints: Any = (), **values: list[Any]) -> Task:
    """Return a task over some choices, with the metric `m` equal to their product."""
    problem = Problem("grid")
    product: Any = 1
    for name, items in values.items():
        product = problem.choose(name, items) * product
    problem.measure("m", product)
    return task(problem, objective=objective, constraints=constraints)


@pytest.mark.parametrize("cut_up", [False, True])
def test_the_best_come_in_order_and_ties_by_place(cut_up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items() if cut_up else ():
        monkeypatch.setattr(name, value)
    values = {"a": [3, 1, 2], "b": [2, 4, 1], "c": [1, 3, 2, 6]}
    found = grid(**values).search(keep=7).run()
    every = [
        Found(float(a * b * c), (i, j, k))
        for (i, a), (j, b), (k, c) in itertools.product(*(enumerate(items) for items in values.values()))
    ]
    assert found.best == sorted(every)[:7]
    assert found.ties == 1
    most = grid("max_m", ["m <= 6"], **values).search(keep=3).run()
    sixes = sorted(item.design for item in every if item.cost == 6)
    assert [item.design for item in most.best] == sixes[:3]
    assert most.ties == len(sixes)


def test_more_ties_than_are_kept_are_counted() -> None:
    problem = Problem("flat")
    a, b = problem.choose("a", range(1, 301)), problem.choose("b", range(1, 301))
    problem.measure("m", a * 0 + b * 0 + 7)
    found = solve(task(problem, objective="min_m"))
    assert found.tie_count == 90_000
    assert found.design == {"a": 1, "b": 1}
    assert len(found.ties) == 15


def test_costs_that_differ_by_rounding_are_ties() -> None:
    problem = Problem("rounding")
    choice = problem.choose("order", ["left", "right", "worse"])
    problem.measure("m", lookup(choice, {"left": (0.1 + 0.2) + 0.3, "right": 0.1 + (0.2 + 0.3), "worse": 0.7}))
    assert solve(task(problem, objective="min_m")).tie_count == 2


def test_interval_bounds_leave_out_boxes_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {name: list(range(1, 21)) for name in "abc"}
    whole = grid(**values).search(keep=3).run()
    monkeypatch.setattr("mlsysim_opt.optimize.space.ROWS_AT_ONCE", 50)
    monkeypatch.setattr("mlsysim_opt.optimize.space.DENSE_AT_ONCE", 1)
    cut = grid(**values).search(keep=3).run()
    assert cut.pruned > 5000
    assert cut.evaluated + cut.pruned == 8000
    assert cut.best == whole.best


def test_the_time_limit_stops_with_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysim_opt.optimize.space.ROWS_AT_ONCE", 10)
    monkeypatch.setattr("mlsysim_opt.optimize.space.DENSE_AT_ONCE", 1)
    asked = grid("max_m", a=list(range(1, 200)), b=list(range(1, 200)))
    clock = itertools.count()
    monkeypatch.setattr(stopping.time, "monotonic", lambda: float(next(clock)))
    found = solve(asked, time_limit=5.0)
    assert found.status == "feasible"
    assert found.bound is not None
    assert found.bound.value == pytest.approx(199 * 199)
    assert found.gap is not None
    assert found.gap > 0
    assert found.certificate.details["evaluated"] < 199 * 199


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("pressed", [True, False])
def test_ctrl_c_and_who_watches_stop_with_what_is_held(monkeypatch: pytest.MonkeyPatch, pressed: bool) -> None:
    monkeypatch.setattr("mlsysim_opt.optimize.space.ROWS_AT_ONCE", 10)
    monkeypatch.setattr("mlsysim_opt.optimize.space.DENSE_AT_ONCE", 1)
    asked = grid("max_m", a=list(range(1, 200)), b=list(range(1, 200)))
    seen: list[Progress] = []

    def show(progress: Progress) -> bool:
        seen.append(progress)
        if len(seen) == 3 and pressed:
            signal.raise_signal(signal.SIGINT)
        return len(seen) == 3 and not pressed

    found = solve(asked, progress=show)
    assert len(seen) == 3
    assert found.status == "feasible"
    assert ("it was interrupted" if pressed else "it was told to stop") in found.certificate.proof
    assert found.bound is not None
    assert found.bound.value == pytest.approx(199 * 199)
    assert found.gap is not None
    assert found.gap > 0
    assert seen[-1].incumbent == found.objective
    assert seen[-1].bound == found.bound
    assert str(seen[-1]).startswith("max_m: best ")
    again = solve(asked, start=found, time_limit=1e-9)  # held until a better one is found
    assert again.objective.value is not None
    assert found.objective.value is not None
    assert again.objective.value >= found.objective.value
    assert solve(asked, start=found).status == "optimal"


def test_what_a_search_over_all_designs_does_not_know_is_refused() -> None:
    problem = grid(a=[1, 2], b=[5, 7]).problem
    best: dict[str, Any] = {"objective": "min_m"}
    for wrong in ({"gap": "zzz"}, {"gap": -1}, {"gap": 0.1}, {"start": "zzz"}, {"start": 3}, {"progress": 3}):
        (name,) = wrong
        with pytest.raises(InputError, match=name):
            mo.optimize(problem, **best, **wrong)
    found = mo.optimize(problem, **best)
    assert mo.optimize(problem, **best, gap=0.0, start=found).objective == found.objective
    front: dict[str, Any] = {"objectives": ["min_m", "max_m"]}
    for wrong in ({"gap": "zzz"}, {"gap": 0.1}, {"start": found}, {"progress": 3}):
        (name,) = wrong
        with pytest.raises(InputError, match=name):
            mo.pareto(problem, **front, **wrong)
    with pytest.raises(InputError, match="start"):
        mo.optimize(problem, **best, start=found, scenarios=[{}])
    with pytest.raises(LimitReachedError, match="it was told to stop after"):
        mo.pareto(problem, **front, progress=lambda seen: True)


def test_an_earlier_design_that_is_none_of_these_is_left_out() -> None:
    found = solve(grid(a=[1, 2, 9], b=[5, 7], objective="max_m"))
    assert found.design == {"a": 9, "b": 7}
    for other in (grid(a=[1, 2], b=[5, 7]), grid("min_m", ["m <= 60"], a=[1, 2, 9], b=[5, 7])):
        with pytest.raises(LimitReachedError):
            solve(other, start=found, time_limit=1e-12, backend="milp")


def test_a_limit_of_time_is_not_taken_for_impossible() -> None:
    found = solve(grid("max_m", ["m <= 30"], a=[1, 2, 3], b=[5, 7]))
    with pytest.raises(LimitReachedError, match="a limit was reached"):
        found.marginal("m <= 30", [20, 10], time_limit=1e-12)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_rests_on_the_best_is_not_answered_by_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysim_opt.optimize.space.ROWS_AT_ONCE", 10)
    monkeypatch.setattr("mlsysim_opt.optimize.space.DENSE_AT_ONCE", 1)
    asked = grid("max_m", a=list(range(1, 50)), b=list(range(1, 50)))
    evaluated = search.Search.evaluated

    def pressed(self: search.Search, *arguments: Any, **named: Any) -> Any:
        for part in evaluated(self, *arguments, **named):
            yield part
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(search.Search, "evaluated", pressed)
    with pytest.raises(LimitReachedError, match="no best was proven: it was interrupted"):
        asked.sensitivity()


def test_an_interrupt_after_the_proof_loses_only_the_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = grid("max_m", ["m <= 30"], a=[1, 2, 3], b=[5, 7])

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlsysim_opt.optimize.run._elasticities", interrupted)
    found = solve(asked)
    assert found.status == "optimal"
    assert found.objective.value == 21


def test_a_part_of_the_space() -> None:
    asked = grid(a=[1, 2], b=[5, 7])
    a, _ = asked.problem.choices
    assert asked.search().run({a: 1}).best[0] == Found(10.0, (1, 0))


def test_what_violates_one_constraint_alone() -> None:
    asked = grid("max_m", ["a <= 3", "b < 4"], a=[1, 2, 3, 4, 5], b=[1, 2, 3, 4, 5])
    outcome = asked.search(questioned=True).run(diagnose=True, better_than=-9.0)
    left, right = outcome.single
    assert outcome.best[0].cost == -9
    assert left.best == Found(-15.0, (4, 2))
    assert (left.least, left.least_design) == (1.0, (3, 2))
    assert right.best == Found(-15.0, (2, 4))
    assert (right.least, right.least_design) == (1.0, (2, 3))  # strict: b < 5 would allow it
    assert outcome.violated == {0}  # the empty set: some design violates nothing


def test_conflicts_are_the_minimal_hitting_sets() -> None:
    dice = random.Random(7)
    for _ in range(200):
        count = dice.randint(1, 7)
        violated: set[int] = set()
        for _ in range(dice.randint(1, 9)):
            search._add_minimal(violated, dice.randint(1, 2**count - 1))
        assert all(a == b or a & b != a for a in violated for b in violated)
        hitting = [s for s in range(2**count) if all(s & family for family in violated)]
        minimal = {s for s in hitting if not any(other != s and other & s == other for other in hitting)}
        found = conflicts(violated, count)
        assert set(found) == minimal
        assert [item.bit_count() for item in found] == sorted(item.bit_count() for item in found)


@pytest.mark.parametrize("count", [3, 17, 70])
def test_any_number_of_constraints(count: int) -> None:
    problem = Problem("many")
    a = problem.choose("a", range(count + 2))
    problem.measure("m", a * 1)
    for index in range(count):
        problem.require(f"not {index}", a != index)
    assert solve(task(problem, objective="min_m")).design == {"a": count}
    nothing = task(problem, objective="min_m", constraints=[f"a <= {count - 1}"])
    outcome = nothing.search(questioned=True).run(diagnose=True)
    assert outcome.violated == {1 << index for index in range(count + 1)}
    assert outcome.single[count].least_design == (count,)


def test_an_infinite_cost_is_excluded_and_an_endless_gain_is_unbounded() -> None:
    problem = Problem("overflow")
    a = problem.choose("a", [1, 1000, 2])
    problem.measure("m", exp(a * 1))
    assert solve(task(problem, objective="min_m")).design == {"a": 1}
    assert task(problem, objective="min_m").search().run().excluded == 1
    for backend in ("enumerate", "milp", "cpsat"):
        with pytest.raises(UnboundedError, match="a=1000"):
            solve(task(problem, objective="max_m"), backend=backend)
    assert solve(task(problem, objective="max_m", constraints=["a <= 2"])).design == {"a": 2}


def test_undefined_costs_are_never_compared() -> None:
    problem = Problem("undefined")
    a = problem.choose("a", [0, 1, 2])
    b = problem.choose("b", [0, 1])
    problem.measure("m", where(b == 0, 1 / a, 5 - a))
    outcome = task(problem, objective="min_m").search().run()
    assert outcome.excluded == 1
    assert [item.cost for item in outcome.best] == [0.5, 1.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("span", [10, 10**5])
@pytest.mark.parametrize("rows", [1, 17, 4000])
def test_a_projection_numbers_the_distinct_tuples(rows: int, span: int) -> None:
    dice = np.random.default_rng(rows)
    columns = [dice.integers(0, size, rows) for size in (3, span, 5)]
    for known in (None, project(columns[:1], [3], rows)):
        rest = columns if known is None else columns[1:]
        found = project(rest, [3, span, 5] if known is None else [span, 5], rows, known)
        tuples = list(zip(*(column.tolist() for column in columns), strict=True))
        shown = [tuples[at] for at in found.first]
        assert found.count == len(set(tuples)) == len(set(shown))
        assert [shown[at] for at in found.inverse] == tuples


def test_boxes_are_split_into_parts_that_hold_everything_once() -> None:
    a, b = Choice("a", range(7)), Choice("b", range(3))
    box = Domain.of([a, b])
    for parts in (2, 3, 50):
        pieces = box.split(parts)
        assert sorted(np.concatenate([piece.positions[a] for piece in pieces]).tolist()) == list(range(7))
        assert all(piece.positions[b].tolist() == [0, 1, 2] for piece in pieces)
        assert len(pieces) == min(parts, 7)
