"""What every random coupled problem has to pass: all ways to solve it against trying everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from fuzzing.plans import Instance, plan, slack
from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.optimize import PlanSolution, solve_coupled

SMALL = {
    "mlsysim_opt.optimize.coupled.search.FEW": 0,
    "mlsysim_opt.optimize.coupled.search.FIRST": 1,
    "mlsysim_opt.optimize.coupled.sifting.PER_GROUP": 1,
    "mlsysim_opt.optimize.coupled.sifting.ADDED": 3,
}
"""Sizes that force even a small program through pricing and fixing by reduced costs."""


@contextmanager
def sifted() -> Iterator[None]:
    """Solve even small programs as large ones are."""
    with ExitStack() as stack:
        for name, value in SMALL.items():
            stack.enter_context(mock.patch(name, value))
        yield


def ways(instance: Instance, seed: int, *, every: bool) -> list[tuple[str, dict[str, Any], bool]]:
    """How to solve an instance (by two ways, or by all): a name, options, and whether as a large program."""
    found: list[tuple[str, dict[str, Any], bool]] = [
        ("milp", {"backend": "milp", "prune": True}, False),
        ("milp, unpruned", {"backend": "milp", "prune": False}, False),
        ("milp, sifted", {"backend": "milp", "prune": True}, True),
        ("milp, sifted, unpruned", {"backend": "milp", "prune": False}, True),
    ]
    found.append(("pyomo", {"backend": "pyomo", "prune": seed % 2 == 0}, False))
    helpers = {family for item in instance.task.relations for family in item.coupling.total.families}
    if all(family.whole for family in helpers | set(instance.task.problem.families.values())):
        found.append(("cpsat", {"backend": "cpsat", "prune": seed % 2 == 0}, False))
    if every:
        return found
    return [found[(seed + more) % len(found)] for more in (0, 2)]


def agree(seed: int, *, every: bool = False) -> str:
    """Hold every way to solve the instance of a seed against all its plans; return the status."""
    instance = plan(seed)
    best = instance.best()
    for name, options, large in ways(instance, seed, every=every):
        with sifted() if large else ExitStack():
            try:
                answer: PlanSolution | None = solve_coupled(instance.task, **options)
            except InfeasibleError:
                answer = None
            except InputError as error:
                if "zero in every plan" not in str(error):  # of what the goal divides by
                    raise
                answer = None
        if best is None:
            assert answer is None, f"{name}: found a plan where there is none"
            continue
        assert answer is not None, f"{name}: says that there is no plan"
        check(instance, answer, best, name)
    return "infeasible" if best is None else "optimal"


def check(instance: Instance, answer: PlanSolution, best: tuple[float, float], name: str) -> None:
    """Hold one answer against the best of all plans."""
    assert answer.status == "optimal", f"{name}: {answer.status}, {answer.certificate.proof}"
    value = instance.sign * answer.objective.si
    assert abs(value - best[0]) <= slack(best[0]), f"{name}: {value!r} instead of {best[0]!r}"
    amounts = {
        (family, tuple(row[axis.name] for axis in instance.task.problem.families[family].over)): row["amount"]
        for family, rows in answer.amounts.items()
        for row in rows
    }
    again = instance.value(amounts, room=1e-9 if instance.integral else 1e-6)
    assert again is not None, f"{name}: its plan does not hold"
    assert abs(again[0] - best[0]) <= 1e3 * slack(best[0]) if instance.flows else slack(best[0]), name
    if instance.then is not None:
        assert again[1] <= best[1] + 10 * slack(best[1]), f"{name}: the second objective is {again[1]}, not {best[1]}"
    for at, amount in amounts.items():
        assert at[0] not in ("run", "mode", "servers") or amount == round(amount), name
    answer.verify()
    assert PlanSolution.from_json(answer.to_json()).as_dict() == answer.as_dict()


def agree_seed(seed: int, *, every: bool = False) -> str:
    """Examine the instance of a seed; the seed stands in the message of a failure."""
    try:
        return agree(seed, every=every)
    except Exception as error:
        error.add_note(f"instance: plan({seed})")
        raise
