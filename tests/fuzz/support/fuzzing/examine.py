"""What every random instance has to pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from unittest import mock

from fuzzing.oracle import Oracle
from fuzzing.tally import Tally, count
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize import Solution, Task, solve

BACKENDS = ("enumerate", "milp", "cpsat")
SIZES = {
    "mlsysim_opt.optimize.space.ROWS_AT_ONCE": (3, 20, 200),
    "mlsysim_opt.optimize.space.DENSE_AT_ONCE": (1, 3, 20),
    "mlsysim_opt.optimize.selector.ROW_BUDGET": (1, 5, 50),
    "mlsysim_opt.optimize.selector.ROW_LIMIT": (401, 1000),
    "mlsysim_opt.algebra.evaluate.BLOCK": (1, 7, 64),
    "mlsysim_opt.algebra.evaluate.TABLE_LIMIT": (0, 5, 40),
}
"""Sizes that decide how a space is cut up, and small values of them: the answer may not depend on any."""


LONG = {
    **SIZES,
    "mlsysim_opt.optimize.space.ROWS_AT_ONCE": (20, 200),
    "mlsysim_opt.algebra.evaluate.BLOCK": (16, 64),
    "mlsysim_opt.algebra.evaluate.TABLE_LIMIT": (5, 40),
}
"""The same for equations of thousands of nodes: a piece takes as long as a whole space of short ones."""


@contextmanager
def cut_up(dice: random.Random, sizes: Mapping[str, tuple[int, ...]] = SIZES) -> Iterator[dict[str, int]]:
    """Make some of the sizes so small that even a small space is cut into many pieces."""
    with ExitStack() as stack:
        chosen = {name: dice.choice(values) for name, values in sizes.items() if dice.random() < 0.4}
        for name, value in chosen.items():
            stack.enter_context(mock.patch(name, value))
        yield chosen


def examine(
    task: Task,
    seed: int,
    *,
    rows: int = 400,
    sizes: Mapping[str, tuple[int, ...]] = SIZES,
    reasons: bool = True,
    tally: Tally | None = None,
) -> str:
    """Hold every backend, and every explanation, against the scalar enumeration; return the status.

    Args:
        rows: more feasible designs than this are not handed to the solvers unpruned. sizes: how the space is cut up.
        reasons: also look at why nothing is possible; of long equations that takes ten times as long as to see it.
    """
    dice = random.Random(seed)
    oracle = Oracle(task)
    feasible = len(oracle.satisfying())
    with cut_up(dice, sizes):
        prune = feasible > rows or dice.random() < 0.15
        answers = {name: _solved(task, name, prune=prune, reasons=reasons) for name in BACKENDS}
        if not feasible:
            for name, answer in answers.items():
                assert isinstance(answer, InfeasibleError), name
            if reasons:
                oracle.check_infeasible(answers["enumerate"])
            count(tally, "infeasible", BACKENDS)
            return "infeasible"
        for name, answer in answers.items():
            assert isinstance(answer, Solution), f"{name}: {answer}"
            oracle.check_solution(answer)
        best = answers["enumerate"]
        assert len({tuple(answer.design.items()) for answer in answers.values()}) == 1, (
            "backends break ties differently"
        )
        oracle.check_neighbours(best)
        oracle.check_slacks(best)
        best.verify(samples=5)
        again = Solution.from_json(best.to_json())
        assert again.as_dict() == best.as_dict()
        _ask_why_not(oracle, best, dice)
    count(tally, "optimal", BACKENDS)
    return "optimal"


def _solved(task: Task, backend: str, *, prune: bool, reasons: bool) -> Solution | InfeasibleError:
    """Return what a backend finds; why it finds nothing is asked once, since it does not depend on the backend."""
    first = backend == "enumerate"
    with ExitStack() as stack:
        if not (first and reasons):
            stack.enter_context(mock.patch("mlsysim_opt.optimize.explain.infeasible", _without_reasons))
        try:
            return solve(task, backend=backend, prune=prune, explain=first)
        except InfeasibleError as error:
            return error


def _without_reasons(task: Task) -> InfeasibleError:
    return InfeasibleError(f"no {task.problem.item} is possible")


def _ask_why_not(oracle: Oracle, solution: Solution, dice: random.Random) -> None:
    for _ in range(2):
        point = dice.choice(oracle.points)
        pairs = list(zip(oracle.names, point.design, strict=True))
        asked = dict(dice.sample(pairs, dice.randint(1, len(pairs))))
        oracle.check_why_not(asked, solution.why_not(**asked))


def examine_seed(
    make: Callable[[int], Task],
    seed: int,
    *,
    sizes: Mapping[str, tuple[int, ...]] = SIZES,
    reasons: bool = True,
    tally: Tally | None = None,
) -> str:
    """Examine the instance of a seed; the seed stands in the message of a failure."""
    try:
        return examine(make(seed), seed, sizes=sizes, reasons=reasons, tally=tally)
    except Exception as error:
        error.add_note(f"instance: {make.__name__}({seed})")
        raise
