"""The same question otherwise: other constraints, another objective, other givens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.formulation import Instance, formulation
from mlsysim_opt.optimize.problem import Constraint, Problem
from mlsysim_opt.optimize.request import ConstraintSpec, Metrics, read_constraints
from mlsysim_opt.optimize.run import Task


def asked_otherwise(
    task: Task | CoupledTask,
    *,
    constraints: Sequence[ConstraintSpec] = (),
    without: Sequence[str] = (),
    specs: Sequence[ConstraintSpec] | None = None,
    objective: Any = None,
    choices: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
    problem: Problem | CoupledProblem | None = None,
) -> Task | CoupledTask:
    """Return a question with some of it changed.

    Args:
        constraints: to be added. without: constraints of the user's, by their words, to be left out.
        specs: all constraints, in place of those.
        objective: another one. choices, given: of the formulation, in place of what was given.
        problem: what these make, where it is made already.
    Raises:
        InputError: there is no such constraint, or the problem is not made by a formulation that could be given these.
    """
    own = read_constraints(task.problem, task.specs)
    names = [item.name for item in own]
    for name in without:
        if name not in names:
            raise InputError(f"no constraint of this question is {name!r}", path="without",
                             hint="constraints: " + "; ".join(names))  # fmt: skip
    kept = specs_without(task.problem, task.specs, lambda item: item.name in without)
    if given or choices:
        request = task.problem.request
        if not request.get("formulation"):
            raise InputError("this problem is not made by a formulation, so it has no givens", path="given")
        if request.get("extended"):
            raise InputError("a function adds to this problem, which is not made again for other givens", path="given",
                             hint="ask optimize() again with the function")  # fmt: skip
        before = Instance(formulation(request["formulation"]), request["given"], request.get("choices"))
        problem = before.under(given or {}, choices).problem()
    elif problem is None:
        problem = task.problem
        if isinstance(problem, Problem):
            holds = {item.holds for item in own}
            problem = replace(problem, constraints=[item for item in problem.constraints if item.holds not in holds])
    spec = objective if objective is not None else task.objective_spec
    asked: Callable[..., Any] = CoupledTask.of if isinstance(task, CoupledTask) else Task.of
    made_task: Task | CoupledTask = asked(problem, spec, [*kept, *constraints] if specs is None else list(specs))
    if isinstance(made_task, CoupledTask) and isinstance(task, CoupledTask) and problem is task.problem:
        made_task.compiler = task.compiler  # what it evaluated is evaluated
    return made_task


def specs_without(
    problem: Any, specs: Sequence[ConstraintSpec], dropped: Callable[[Constraint], bool]
) -> list[ConstraintSpec]:
    """Return constraints, as the user says them, without some; of a conjunction the other parts stay."""
    kept: list[ConstraintSpec] = []
    for spec in specs:
        parts = read_constraints(problem, [spec])
        left = [at for at, part in enumerate(parts) if not dropped(part)]
        if len(left) == len(parts):
            kept.append(spec)
        else:
            kept += [_part_of(spec, at, parts[at].name) for at in left]
    return kept


def _part_of(spec: ConstraintSpec, at: int, name: str) -> ConstraintSpec:
    def part(metrics: Metrics) -> Expression:
        return read_constraints(metrics._problem, [spec])[at].holds

    part.__name__ = name
    return part
