"""What every random coupled problem has to pass: all ways to solve it against trying everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from unittest import mock

from fuzzing.tally import Tally, count
from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.optimize import CoupledTask, PlanSolution, solve_coupled

SMALL = {
    "mlsysim_opt.optimize.coupled.search.FEW": 0,
    "mlsysim_opt.optimize.coupled.search.FIRST": 1,
    "mlsysim_opt.optimize.coupled.sifting.PER_GROUP": 1,
    "mlsysim_opt.optimize.coupled.sifting.ADDED": 3,
}
"""Sizes that force even a small program through pricing and fixing by reduced costs."""
NOTHING = ("zero in every plan",)
"""What is said where every plan there is divides by zero: none has a value."""


class Asked(Protocol):
    """A question whose answer is known by trying everything."""

    task: CoupledTask

    @property
    def possible(self) -> bool:
        """Whether there is any plan."""
        ...

    def check(self, answer: PlanSolution, way: str) -> None:
        """Hold an answer against the best of all plans, and its amounts against all limits, by plain Python."""
        ...


@dataclass(frozen=True)
class Way:
    """How to solve a question: a backend, whether columns are pruned, and sizes that decide how programs are solved."""

    name: str
    backend: str = "milp"
    prune: bool = True
    sizes: Mapping[str, int] = field(default_factory=dict)


WAYS = (
    Way("milp"),
    Way("milp, unpruned", prune=False),
    Way("milp, sifted", sizes=SMALL),
    Way("milp, sifted, unpruned", prune=False, sizes=SMALL),
)


@contextmanager
def sized(sizes: Mapping[str, int]) -> Iterator[None]:
    """Solve with other sizes."""
    with ExitStack() as stack:
        for name, value in sizes.items():
            stack.enter_context(mock.patch(name, value))
        yield


def ways(task: CoupledTask, seed: int, *, every: bool, more: tuple[Way, ...] = ()) -> list[Way]:
    """Return how to solve a question: all ways, or two of them, other ones for each seed."""
    found = [*WAYS, Way("pyomo", "pyomo", seed % 2 == 0), *more]
    helpers = {family for item in task.relations for family in item.coupling.total.families}
    if all(family.whole for family in helpers | set(task.problem.families.values())):
        found.append(Way("cpsat", "cpsat", seed % 2 == 0))
    return found if every else [found[(seed + more) % len(found)] for more in (0, 2)]


def agree(
    asked: Asked, seed: int, *, every: bool = False, more: tuple[Way, ...] = (), tally: Tally | None = None
) -> str:
    """Hold every way to solve a question (or two of them) against trying everything; return the status."""
    several = ways(asked.task, seed, every=every, more=more)
    for way in several:
        answer = answered(asked.task, way, explain=way is several[0] and (not every or seed % 4 == 0))
        if not asked.possible:
            assert answer is None, f"{way.name}: found a plan where there is none"
            continue
        assert answer is not None, f"{way.name}: says that there is no plan"
        assert answer.status == "optimal", f"{way.name}: {answer.status}, {answer.certificate.proof}"
        asked.check(answer, way.name)
        answer.verify()
        assert PlanSolution.from_json(answer.to_json()).as_dict() == answer.as_dict(), way.name
    status = "optimal" if asked.possible else "infeasible"
    count(tally, status, (way.name for way in several))
    return status


def answered(task: CoupledTask, way: Way, *, explain: bool = True) -> PlanSolution | None:
    """Return the answer to a question; None where there is none.

    Args:
        explain: also look for the reason, which takes longer than to see that there is no plan. It does not depend on
            the way, so one of them is asked, and in campaigns for every fourth question.
    """
    with sized(way.sizes):
        try:
            return solve_coupled(task, backend=way.backend, prune=way.prune, explain=explain)
        except InfeasibleError:
            return None
        except InputError as error:
            if not any(text in str(error) for text in NOTHING):
                raise
            return None


def agree_seed(
    make: Callable[[int], Asked],
    seed: int,
    *,
    every: bool = False,
    more: tuple[Way, ...] = (),
    tally: Tally | None = None,
) -> str:
    """Examine the question of a seed; the seed stands in the message of a failure."""
    try:
        return agree(make(seed), seed, every=every, more=more, tally=tally)
    except Exception as error:
        error.add_note(f"instance: {make.__name__}({seed})")
        raise


def amounts_of(answer: PlanSolution) -> dict[tuple[Any, ...], float]:
    """Return what an answer says of each tuple that is not zero: by family and values of its choices."""
    assert answer.task is not None
    families = answer.task.problem.families
    return {
        (name, *(row[axis.name] for axis in families[name].over)): row["amount"]
        for name, rows in answer.amounts.items()
        for row in rows
    }
