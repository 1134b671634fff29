"""NumPy's operators beside expressions, and its functions of them: which have a counterpart here, and are refused."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import SymbolicError, did_you_mean

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "remainder": operator.mod,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}
"""What NumPy's numbers ask of what stands beside them."""
HERE = ("abs", "ceil", "exp", "floor", "log", "maximum", "minimum", "sqrt", "where")
ALIKE = {
    "absolute": "abs", "fabs": "abs", "fmax": "maximum", "fmin": "minimum", "max": "maximum", "amax": "maximum",
    "min": "minimum", "amin": "minimum", "clip": "minimum", "log2": "log", "log10": "log",
}  # fmt: skip
"""NumPy's functions whose counterpart has another name."""
TEXT = {"maximum": "max", "minimum": "min"}
"""What is called otherwise in texts."""


def combined(ufunc: Any, method: str, inputs: Sequence[Any], options: Any) -> Any:
    """Return what an operator of NumPy's makes of numbers and expressions.

    Raises:
        SymbolicError: it is a function. InputError: an array stands beside an expression.
    """
    if method != "__call__" or options or ufunc.__name__ not in OPERATORS:
        raise refused("sum" if method == "reduce" and ufunc.__name__ == "add" else ufunc.__name__)
    both = [expression(item) for item in inputs]
    if ufunc.__name__ in ("equal", "not_equal") and not isinstance(inputs[0], Expression):
        both.reverse()  # as Python does
    return OPERATORS[ufunc.__name__](*both)


def refused(name: str) -> SymbolicError:
    """Return the error for a function of NumPy's."""
    ours = ALIKE.get(name, name)
    if ours == "abs":
        hint = "abs(...) does"
    elif ours in HERE:
        hint = f"mlsysim_opt.algebra.{ours} does; in texts, {TEXT.get(ours, ours)}(...)"
    else:
        known = ", ".join(item for item in HERE if item != "abs")
        hint = f"{did_you_mean(ours, HERE) or ''} functions of expressions are in mlsysim_opt.algebra: {known}".strip()
    return SymbolicError(f"numpy.{name} does not take expressions, whose values are not known yet", hint=hint)
