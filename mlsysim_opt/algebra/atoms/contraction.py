"""A sum of products as one operation: over two groups of axes, it is a product of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsysim_opt.algebra import interval as iv
from mlsysim_opt.algebra.atoms.base import P_SUM, Atom, Staged, Typing, need_numbers, same_dimension
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.algebra.interval import Interval

Array = np.ndarray[Any, Any]


class InnerProduct(Atom):
    """``a1 * b1 + a2 * b2 + ...`` of the arguments ``a1, b1, a2, b2, ...``; made by `regroup`, written by nobody."""

    name, arity, precedence = "inner_product", None, P_SUM

    def typed(self, args: tuple[Expression, ...], param: Any) -> Typing:
        need_numbers("+", args)
        products = [first * second for first, second in _pairs(args)]
        return same_dimension("add", products), all(item.integer for item in args), "number"

    def scalar(self, *values: Any, param: Any = None) -> Any:
        return sum(first * second for first, second in _pairs(values))

    def array(self, *values: Any, param: Any = None) -> Any:
        most = max(np.ndim(value) for value in values)
        shaped = [np.reshape(value, [1] * (most - np.ndim(value)) + list(np.shape(value))) for value in values]
        return product_of_stacks(stacked(*shaped[::2]), stacked(*shaped[1::2]))

    def staged(self) -> Staged:
        return Staged((stacked, stacked), product_of_stacks)

    def bounds(self, *intervals: Interval, param: Any = None) -> Interval:
        found = Interval(0.0, 0.0)
        for first, second in _pairs(intervals):
            found = iv.add(found, iv.multiply(first, second))
        return found

    def text(self, args: Sequence[str], param: Any) -> str:
        return " + ".join(f"({first}) * ({second})" for first, second in _pairs(args))


def _pairs(items: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items[::2], items[1::2], strict=True))


def stacked(*items: Any) -> Array:
    """Return all first, or all second factors in one array: an axis along them, then those that they have together."""
    found = np.empty((len(items), *np.broadcast_shapes(*map(np.shape, items))))
    for at, item in enumerate(items):
        found[at] = item
    return found


def product_of_stacks(first: Array, second: Array, out: Array | None = None) -> Any:
    """Return the sum of the products of two stacks.

    It is a product of matrices, one for each place along the first axes: as few axes as leave, of the others, none that
    both have, and those that the first has before those that the second has.

    Args:
        out: a contiguous array that the sum is put into.
    """
    one, other = first.shape[1:], second.shape[1:]
    shape = tuple(map(max, one, other))
    sides = [3 if a > 1 and b > 1 else 1 if a > 1 else 2 if b > 1 else 0 for a, b in zip(one, other, strict=True)]
    split = next(at for at in range(len(sides) + 1) if _rows_then_columns(sides[at:]))
    rows, columns, places = math.prod(one[split:]), math.prod(other[split:]), math.prod(shape[:split])
    left = np.broadcast_to(first, (len(first), *shape[:split], *one[split:])).reshape(-1, places, rows)
    right = np.broadcast_to(second, (len(second), *shape[:split], *other[split:])).reshape(-1, places, columns)
    into = None if out is None else out.reshape(places, rows, columns)
    found = np.matmul(left.transpose(1, 2, 0), right.swapaxes(0, 1), out=into)
    return found.reshape(shape) if out is None else out


def _rows_then_columns(sides: Sequence[int]) -> bool:
    present = [side for side in sides if side]
    return 3 not in present and present == sorted(present)
