"""What a user wrote that is no finite number at any design, though everything in it is one: told, not searched over.

Such a number says nothing about the designs: it left the range of floating-point numbers, or is divided by zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlsysim_opt.algebra.evaluate import GridProgram
from mlsysim_opt.algebra.expression import Expression, Operation, constant, topological
from mlsysim_opt.errors import ScaleError
from mlsysim_opt.optimize.run import Task
from mlsysim_opt.optimize.search import excluded_reasons
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.units import NONE


def refuse_overflow(task: Task) -> None:
    """Refuse an objective, or a side of a user's constraint, that is not finite at any design where its metrics are.

    A metric that is undefined everywhere is none of them, nor is a table that says why it has no number: what they lack
    is said elsewhere.

    Raises:
        ScaleError: there is one; names it.
    """
    for path, name, node in _asked(task):
        inside = _metrics(task, node)
        mine = inside and node.sort == "number" and not any(item is node for item in inside)
        mine = mine and not excluded_reasons([item for item in _own(node, inside) if item.atom.name == "lookup"])
        if mine and _nowhere(task, node, inside):
            raise ScaleError(
                f"{name!r} is not a finite number at any design, though its metrics are",
                path=path,
                hint="numbers end at 1.8e308: use other units or a factor nearer to one, and divide by no zero",
            )


def _asked(task: Task) -> Iterator[tuple[str, str, Expression]]:
    for item in (task.objective, *task.then):
        yield "objective", item.name, item.expression
    for rule in task.problem.constraints:
        if rule.given_by_user and isinstance(rule.holds, Operation):
            for side in rule.holds.args:
                yield "constraints", rule.name, side


def _metrics(task: Task, node: Expression) -> list[Expression]:
    """Return the metrics and decisions that an expression is made of."""
    parts = set(topological([node]))
    known = [item.expression for item in task.problem.metrics.values() if item.expression is not None]
    return [item for item in dict.fromkeys([*known, *task.problem.choices]) if item in parts and item.sort == "number"]


def _own(node: Expression, inside: list[Expression]) -> list[Operation]:
    """Return the operations of an expression that are not those of what it is made of."""
    others = set(topological(inside))
    return [item for item in topological([node]) if isinstance(item, Operation) and item not in others]


def _nowhere(task: Task, node: Expression, inside: list[Expression]) -> bool:
    """Return whether an expression is finite at no design, though all that is inside is at some."""
    search = task.search(questioned=True, cost=constant(0, NONE))
    some = False
    for axes in spaces(Domain.of(search.choices), search.structural, search.values):
        for _, _, (value, *parts) in GridProgram([node, *inside], search.values, axes).blocks():
            if np.isfinite(value).any():
                return False
            some = some or bool(np.logical_and.reduce([np.isfinite(part) for part in parts]).any())
    return some
