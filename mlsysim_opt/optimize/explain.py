"""Why: what binds, what rejects a design, which constraints conflict, and the cheapest ways out.

There are no honest duals of a discrete problem. Every statement here is an exact finite one: found by evaluating the
designs that violate just the constraint in question.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlsysim_opt.algebra.expression import Expression, constant, topological
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize.answer import Value, instead, relative
from mlsysim_opt.optimize.finite import refuse_overflow
from mlsysim_opt.optimize.problem import LEVER_SECONDS, Constraint, Lever
from mlsysim_opt.optimize.run import Task
from mlsysim_opt.optimize.search import TIE, Outcome, Violation, conflicts, excluded_reasons
from mlsysim_opt.optimize.solution import Relaxation, Runner, Slack, Solution
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.units import NONE


def questioned(task: Task) -> list[Constraint]:
    """Return the constraints that could give way, in the order of the bits of a search."""
    return [item for item in task.problem.constraints if not item.structural]


def slacks(task: Task, cost: float, slack: Sequence[float | None], *, explain: bool) -> list[Slack]:
    """Return each constraint's slack at the optimum, and what it costs: the best design that violates only it."""
    found: list[Slack] = []
    outcome: Outcome | None = None
    if explain:
        below = cost - TIE * abs(cost)
        outcome = task.search(questioned=True, keep=1).run(diagnose=True, better_than=below)
    singles = iter(outcome.single) if outcome else iter(())
    for item, amount in zip(task.problem.constraints, slack, strict=True):
        if item.structural:
            continue
        violation = next(singles, Violation())
        sides = item.sides
        shown = None if amount is None or sides is None else _amount(task, sides[1], amount)
        gain = None
        relax = None
        if violation.best is not None:
            gain = task.runner(violation.best.design, violation.best.cost, cost)
            if sides is not None and violation.least_design is not None and np.isfinite(violation.least):
                relax = _amount(task, sides[1], violation.least)
        found.append(Slack(item.name, shown, gain is not None, gain, relax, item.given_by_user))
    return found


def _amount(task: Task, side: Expression, amount: float) -> Value:
    return task.shown(side, float(amount), abs(float(amount)))


# infeasibility --------------------------------------------------------------------------------------------------------
def infeasible(task: Task) -> InfeasibleError:
    """Return the error of a task without feasible designs: a smallest conflict, and the smallest ways out.

    Raises:
        ScaleError: what was asked is no finite number at any design: that says nothing about what is possible.
    """
    refuse_overflow(task)
    outcome = task.search(questioned=True, keep=1).run(diagnose=True)
    asked = questioned(task)
    if outcome.structural == 0:
        names = _structural_conflict(task)
        return _error(task, names, list(_levers(task).values()), "no design is structurally valid")
    levers = _levers(task)
    if not outcome.violated:
        return _error(task, ["every design has an undefined number"], list(levers.values()), _undefined_text(task))
    sets = conflicts(outcome.violated, len(asked))
    stated = [lever.states for lever in levers if lever.states]  # each alone makes a design possible: it is to blame
    names = [item.name for index, item in enumerate(asked) if sets[0] >> index & 1 or item.name in stated]
    relaxations = [
        relaxation
        for item, violation in zip(asked, outcome.single, strict=True)
        if not item.lawful
        and item.name not in stated
        and violation.best is not None
        and (relaxation := _relaxation(task, item, violation)) is not None
    ]
    if not relaxations and not stated:
        relaxations = _together(task, outcome, asked)
    return _error(task, names, [*relaxations, *levers.values()], f"{outcome.evaluated:,} valid designs were evaluated")


def _error(task: Task, names: list[str], relaxations: list[Relaxation], detail: str) -> InfeasibleError:
    message = f"no {task.problem.item} satisfies: " + "; ".join(names) + f" ({detail})"
    hint = "ways out: " + " | ".join(str(item) for item in relaxations) if relaxations else None
    return InfeasibleError(message, conflict=names, relaxations=relaxations, hint=hint)


def _excluded_text(task: Task) -> str:
    reasons = excluded_reasons([task.objective.expression])
    return "; ".join(f"{name}: {why}" for name, why in reasons.items()) or "undefined"


def _undefined_text(task: Task) -> str:
    """Return which metrics of the objective are undefined, and what all designs violate."""
    reasons = excluded_reasons([task.objective.expression])
    if reasons:
        return _excluded_text(task)
    outcome = task.search(questioned=True, keep=1, cost=constant(0, NONE)).run(diagnose=True)
    asked = questioned(task)
    best = [*outcome.best, *(item.best for item in outcome.single if item.best is not None)]
    if not best:
        return "undefined"
    numbers = task.scalar.at(task.design_values(best[0].design))[1]
    inside = set(topological([task.objective.expression]))
    names: dict[Expression | None, str] = {}  # one name of each
    for name, metric in task.problem.metrics.items():
        if metric.expression in inside and not math.isfinite(numbers.get(name, math.nan)):
            names.setdefault(metric.expression, name)
    told = " and ".join(names.values()) or "the objective"
    told += f" {'are' if len(names) > 1 else 'is'} undefined"
    if not outcome.best and outcome.violated:
        violated = conflicts(outcome.violated, len(asked))[0]
        told += (
            f", as none keeps {' and '.join(repr(item.name) for at, item in enumerate(asked) if violated >> at & 1)}"
        )
    return told


def _relaxation(task: Task, constraint: Constraint, violation: Violation) -> Relaxation | None:
    """Return the smallest change of one constraint that makes a design possible, all others holding."""
    best = violation.best
    if best is None:
        return None
    if constraint.lawful:
        return Relaxation(constraint.name, f"{constraint.name!r} does not hold", None, task.design_values(best.design))
    if constraint.sides is None or violation.least_design is None:
        design = task.design_values(best.design)
        return Relaxation(constraint.name, f"give up {constraint.name!r} ({_brief(task, design)})", None, design)
    design = task.design_values(violation.least_design)
    amount = _amount(task, constraint.sides[1], violation.least)
    changed = _changed_limit(task, constraint, design)
    by = amount.text(1) if not constraint.strict else f"more than {amount}" if violation.least else "the least bit"
    change = f"{constraint.name!r} by {by}{changed} ({_brief(task, design)})"
    return Relaxation(constraint.name, change, amount, design)


def _changed_limit(task: Task, constraint: Constraint, design: Mapping[str, Any]) -> str:
    """Return what the smaller side then is, and what it may be now."""
    from mlsysim_opt.algebra.evaluate import ScalarProgram

    assert constraint.sides is not None
    small, large = ScalarProgram(list(constraint.sides)).run_named({**task.problem.values, **design})
    left = task.shown(constraint.sides[0], small)
    right = task.shown(constraint.sides[1], large)
    if not constraint.sides[1].choices:
        return f": a limit {'above' if constraint.strict else 'of'} {instead(left, right, 1)}"
    if not constraint.sides[0].choices:
        return f": a limit {'below' if constraint.strict else 'of'} {instead(right, left, -1)}"
    return f": {left} against {right}"


def _brief(task: Task, design: Mapping[str, Any]) -> str:
    """Return what of a design differs from the simplest one: decisions at their first value are left out."""
    first = {name: decision.choice.values[0] for name, decision in task.problem.decisions.items()}
    told = {name: value for name, value in design.items() if value != first[name]}
    return _differences(told) if told else "the simplest design"


def _differences(design: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in design.items())


def _together(task: Task, outcome: Outcome, asked: list[Constraint]) -> list[Relaxation]:
    """Return the fewest constraints that would have to give way at once."""
    fewest = min(outcome.violated, key=int.bit_count)
    given_up = [item for index, item in enumerate(asked) if fewest >> index & 1]
    if any(item.lawful for item in given_up):
        return []
    names = [item.name for item in given_up]
    return [Relaxation(" and ".join(names), "give up " + " and ".join(repr(name) for name in names), None, {})]


def _structural_conflict(task: Task) -> list[str]:
    """Return an irreducible set of constraints without any valid design, by leaving out one after the other."""
    kept = [item for item in task.problem.constraints if item.structural or 0 < len(item.holds.choices) <= 3]
    for item in list(kept):
        fewer = [other for other in kept if other is not item]
        if _empty(task, fewer):
            kept = fewer
    return [item.name for item in kept]


def _empty(task: Task, constraints: list[Constraint]) -> bool:
    every = spaces(Domain.of(task.problem.choices), [item.holds for item in constraints], task.problem.values)
    return next(every, None) is None


def _levers(task: Task) -> dict[Lever, Relaxation]:
    """Return, for each given that may be changed, the first candidate that makes the task feasible."""
    found: dict[Lever, Relaxation] = {}
    for lever in task.problem.levers:
        deadline = time.monotonic() + LEVER_SECONDS
        for candidate in lever.candidates():
            if time.monotonic() > deadline:
                break
            other = task.rebuilt(lever.rebuild(candidate))
            outcome = other.search(keep=1).run()
            if outcome.best:
                design = other.design_values(outcome.best[0].design)
                change = f"{lever.told(candidate)} ({_brief(other, design)})"
                found[lever] = Relaxation(lever.name, change, Value(float(candidate)), design)
                break
    return found


# why not --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class WhyNot:
    """Why a design was not chosen.

    Attributes:
        design: what was asked about. possible: whether it satisfies every constraint.
        best: for a possible one, its best completion and how much worse it is than the optimum.
        rejected_by: else, the constraints that reject it, each with the smallest violation.
    """

    design: dict[str, Any]
    possible: bool
    best: Runner | None = None
    rejected_by: list[Relaxation] = field(default_factory=list)
    conflict: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "design": self.design,
            "possible": self.possible,
            "best": self.best.as_dict() if self.best else None,
            "rejected_by": [item.as_dict() for item in self.rejected_by],
            "conflict": list(self.conflict),
        }

    def __str__(self) -> str:
        asked = _differences(self.design)
        if self.best is not None:
            if self.best.worse_by <= 0:
                return f"{asked} is as good as the optimum: {_differences(self.best.design)}"
            return (
                f"{asked} is possible, but {self.best.worse_by:.3%} worse: {self.best.objective} "
                f"with {_differences(self.best.design)}"
            )
        lines = [f"{asked} is rejected by: {'; '.join(self.conflict)}"]
        lines += [f"  {item.change}" for item in self.rejected_by]
        return "\n".join(lines)

    __repr__ = __str__


def why_not(task: Task, solution: Solution, design: Mapping[str, Any]) -> WhyNot:
    """Return why a (partial) design was not chosen; open decisions are completed as well as possible."""
    fixed = task.problem.fixed(design)
    asked = {choice.name: choice.values[index] for choice, index in fixed.items()}
    search = task.search(questioned=True, keep=1)
    outcome = search.run(fixed, diagnose=True)
    cost, *_ = task.scalar.at(solution.design)
    if outcome.best:
        best = outcome.best[0]
        return WhyNot(asked, True, Runner(*_parts(task, best.design, best.cost, cost)))
    if outcome.structural == 0:
        constraints = [
            item.name for item in task.problem.constraints if item.structural and not _possible(task, item, fixed)
        ]
        return WhyNot(asked, False, conflict=tuple(constraints or _fixed_conflict(task, fixed)))
    if not outcome.violated:
        return WhyNot(asked, False, conflict=(f"the objective is undefined there ({_excluded_text(task)})",))
    considered = questioned(task)
    sets = conflicts(outcome.violated, len(considered))
    names = [item.name for index, item in enumerate(considered) if sets[0] >> index & 1]
    rejected = [
        relaxation
        for item, violation in zip(considered, outcome.single, strict=True)
        if violation.best is not None and (relaxation := _relaxation(task, item, violation)) is not None
    ]
    return WhyNot(asked, False, rejected_by=rejected or _together(task, outcome, considered), conflict=tuple(names))


def _parts(task: Task, design: Any, cost: float, best: float) -> tuple[dict[str, Any], Value, float]:
    runner = task.runner(design, cost, best)
    return runner.design, runner.objective, relative(cost, best)


def _possible(task: Task, constraint: Constraint, fixed: Mapping[Any, int]) -> bool:
    domain = Domain.of(task.problem.choices, fixed)
    return next(spaces(domain, [constraint.holds], task.problem.values), None) is not None


def _fixed_conflict(task: Task, fixed: Mapping[Any, int]) -> list[str]:
    """Return an irreducible set of structural constraints that the fixed values cannot satisfy together."""
    domain = Domain.of(task.problem.choices, fixed)
    kept = [item for item in task.problem.constraints if item.structural]
    for item in list(kept):
        fewer = [other for other in kept if other is not item]
        if next(spaces(domain, [other.holds for other in fewer], task.problem.values), None) is None:
            kept = fewer
    return [item.name for item in kept]
