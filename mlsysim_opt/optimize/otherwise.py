"""The same question otherwise: other constraints, another objective, other givens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, symbols
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.difference import SAME
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
        constraints: to be added. without: constraints of the user's to be left out, by their words or by others that
            say the same (``"carbon <= 700 kgCO2e"`` for ``"carbon <= 0.7 tCO2e"``).
        specs: all constraints, in place of those.
        objective: another one. choices, given: of the formulation, in place of what was given.
        problem: what these make, where it is made already.
    Raises:
        UnknownNameError: there is no such constraint.
        InputError: the problem is not made by a formulation that could be given these.
    """
    own = read_constraints(task.problem, task.specs)
    left_out = {name for words in without for name in _meant(task.problem, own, words)}
    kept = specs_without(task.problem, task.specs, lambda item: item.name in left_out)
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


def _meant(problem: Any, own: Sequence[Constraint], words: str) -> list[str]:
    """Return the names of the constraints that words mean: their own, spaced anyhow, or others that say the same."""
    found = [item.name for item in own if "".join(item.name.split()) == "".join(words.split())]
    if not found:
        with suppress(MlsysimError):  # no comparison of this problem
            meant = read_constraints(problem, [words])
            found = [item.name for item in own if any(_alike(problem, item, other) for other in meant)]
    if not found:
        raise UnknownNameError("constraint of this question", words, [item.name for item in own], path="without")
    return found


def _alike(problem: Any, one: Constraint, two: Constraint) -> bool:
    """Return whether two constraints say the same: of the same sides, where numbers are equal up to rounding."""
    if one.holds is two.holds:
        return True
    if one.sides is None or two.sides is None or one.strict != two.strict:
        return False
    for mine, other in zip(one.sides, two.sides, strict=True):
        if mine is other:
            continue
        if any(side.choices or {leaf.name for leaf in symbols(side)} - problem.values.keys() for side in (mine, other)):
            return False
        numbers = ScalarProgram([mine, other]).run_named(problem.values)
        if not math.isclose(*numbers, rel_tol=SAME):
            return False
    return True


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
