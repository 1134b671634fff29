"""One unknown of an expression, all other leaves being given: what depends on it, its formula, the values it gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression, Operation, Symbol, short, topological
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InputError, NotInvertibleError


def dependents(root: Expression, unknown: Symbol) -> set[int]:
    """Return the nodes below `root` that depend on the unknown, by their identity."""
    found: set[int] = set()
    for node in topological([root]):
        if node is unknown or any(id(item) in found for item in node.args):
            found.add(id(node))
    return found


def isolate(root: Expression, target: Expression, unknown: Symbol) -> tuple[Expression, tuple[Expression, ...]] | None:
    """Return the unknown as a formula of `target` and the other leaves, with its side conditions.

    None if the unknown stands on more than one path, or under an operation without an inverse.
    """
    dependent = dependents(root, unknown)
    conditions: list[Expression] = []
    node, formula = root, target
    while node is not unknown:
        inside = [index for index, item in enumerate(node.args) if id(item) in dependent]
        if not isinstance(node, Operation) or len(inside) != 1:
            return None
        try:
            step = node.atom.inverse(inside[0], node.args, formula)
        except InputError:  # the target is one that the operation never gives: 1 / x = 0
            step = None
        if step is None:
            return None
        conditions.extend(step.conditions)
        node, formula = node.args[inside[0]], step.value
    return formula, tuple(dict.fromkeys(conditions))


def function_of(
    roots: Sequence[Expression], unknown: Symbol, values: Mapping[str, Any]
) -> Callable[[float], list[Any]]:
    """Return the exact values of expressions as a function of the unknown.

    Raises:
        NotInvertibleError: they do not depend on it. InputError: a leaf has no value.
    """
    program = ScalarProgram(roots)
    inputs = [_value(leaf, values, unknown) for leaf in program.leaves]
    place = next((index for index, leaf in enumerate(program.leaves) if leaf is unknown), None)
    if place is None:
        raise NotInvertibleError(f"{short(roots[0])} does not depend on {unknown.name}")

    def value(number: float) -> list[Any]:
        inputs[place] = number
        return program.run(inputs)

    return value


def given_box(root: Expression, values: Mapping[str, Any], unknown: Symbol) -> dict[str, Interval | float | str]:
    """Return the given values as a box, every leaf but the unknown at its value."""
    box: dict[str, Interval | float | str] = {}
    for node in topological([root]):
        if isinstance(node, Symbol | Choice) and node is not unknown:
            value = _value(node, values, unknown)
            box[node.name] = value if isinstance(value, str) else float(value)
    return box


def _value(leaf: Symbol | Choice, values: Mapping[str, Any], unknown: Symbol) -> Any:
    if leaf is unknown:
        return math.nan
    if leaf.name not in values:
        raise InputError(f"no value for {leaf.name!r}", path=leaf.name)
    return values[leaf.name]
