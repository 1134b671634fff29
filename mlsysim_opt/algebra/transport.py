"""Expressions as plain data, so that they can be sent to another process and stand there interned again.

The data are nested tuples of texts, numbers, booleans and None: nothing in them can run.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from mlsysim_opt.algebra.atoms import Grid, Table
from mlsysim_opt.algebra.expression import (
    ATOMS,
    Choice,
    Constant,
    Expression,
    Operation,
    Symbol,
    operation,
    topological,
)
from mlsysim_opt.errors import InputError, MlsysimError
from mlsysim_opt.units import Dimension, Unit

Frozen = tuple[tuple[Any, ...], ...]
"""One record per node, arguments before the nodes that use them, given by their place; the last is the root."""


def freeze(root: Expression) -> Frozen:
    """Return an expression as plain tuples."""
    order = topological([root])
    place = {id(node): index for index, node in enumerate(order)}
    return tuple(_record(node, place) for node in order)


def thaw(data: Frozen) -> Expression:
    """Return the expression that was frozen; equal expressions are one object again.

    Raises:
        InputError: the data do not describe an expression.
    """
    nodes: list[Expression] = []
    try:
        for record in data:
            nodes.append(_node(record, nodes))
        return nodes[-1]
    except MlsysimError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"these data do not describe an expression (record {len(nodes)})") from error


def _record(node: Expression, place: Mapping[int, int]) -> tuple[Any, ...]:
    if isinstance(node, Constant):
        return "constant", node.magnitude, _unit_record(node.unit)
    if isinstance(node, Symbol):
        return "symbol", node.name, _dimension_record(node.dimension), node.integer, node.low, node.high
    if isinstance(node, Choice):
        return "choice", node.name, node.values
    assert isinstance(node, Operation)
    args = tuple(place[id(item)] for item in node.args)
    return "operation", node.atom.name, args, _parameter_record(node.param)


def _node(record: tuple[Any, ...], nodes: list[Expression]) -> Expression:
    kind, *rest = record
    if kind == "constant":
        return Constant(rest[0], _unit(rest[1]))
    if kind == "symbol":
        name, of, integer, low, high = rest
        return Symbol(name, _dimension(of), integer=integer, low=low, high=high)
    if kind == "choice":
        return Choice(*rest)
    name, args, param = rest
    if name not in ATOMS:
        raise InputError(f"the operation {name!r} is not known here", hint="import the module that defines it first")
    if not all(0 <= index < len(nodes) for index in args):
        raise InputError(f"an argument of {name!r} stands after it")
    return operation(ATOMS[name], tuple(nodes[index] for index in args), _parameter(param))


def _dimension_record(of: Dimension) -> tuple[Any, ...]:
    return tuple(item if isinstance(item, int) else str(item) for item in of)


def _dimension(record: tuple[Any, ...]) -> Dimension:
    return tuple(item if isinstance(item, int) else Fraction(item) for item in record)


def _unit_record(unit: Unit) -> tuple[Any, ...]:
    return unit.text, unit.factor, _dimension_record(unit.dimension)


def _unit(record: tuple[Any, ...]) -> Unit:
    text, factor, of = record
    return Unit(text, factor, _dimension(of))


def _parameter_record(param: Any) -> tuple[Any, ...]:
    if isinstance(param, Grid):
        return "grid", param.array.tolist(), _unit_record(param.unit), param.title
    if not isinstance(param, Table):
        return "plain", param
    reasons = tuple(sorted(param.reasons.items()))
    return "table", param.labels, param.magnitudes, _unit_record(param.unit), reasons, param.title


def _parameter(record: tuple[Any, ...]) -> Any:
    kind, *rest = record
    if kind == "plain":
        return rest[0]
    if kind == "grid":
        values, unit, title = rest
        return Grid(values, _unit(unit), title)
    labels, magnitudes, unit, reasons, title = rest
    return Table(labels, magnitudes, _unit(unit), dict(reasons), title)
