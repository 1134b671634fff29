"""Which input gives an output: `solve_for`, the inverse of the very equations that run.

A continuous unknown is isolated, bracketed or searched for (`algebra.invert`); a whole one is found where the target
starts or stops to be met, by proof where the output only rises or falls, else by looking at every number of a range.
"""

from __future__ import annotations

import re
from typing import Any

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, model_of
from mlsysim_opt.physics.inverse_answer import Relation, SolvedFor
from mlsysim_opt.physics.inverse_equation import InverseEquation
from mlsysim_opt.physics.inverse_question import InverseQuestion
from mlsysim_opt.physics.inverse_whole import solve_between
from mlsysim_opt.physics.parts import is_list

TARGET = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|==?)\s*(\S.*?)\s*", re.DOTALL)
"""A target in one text: ``itl <= 30 ms``."""
VALUE = re.compile(r"\s*(<=|>=|==?)\s*(\S.*?)\s*", re.DOTALL)
"""A value with what it limits: ``<= 30 ms``."""


def solve_for(
    target: str,
    value: Any = None,
    *,
    unknown: str,
    using: Any,
    box: tuple[Any, Any] | None = None,
    **given: Any,
) -> Any:
    """Return what one number must be for an output to be equal to, at most or at least a value.

    Arguments, answer and errors are those of `mlsysim_opt.solve_for`, except that `using` is a model, or the solution
    of an optimization, and never a formulation.
    """
    if not isinstance(using, type | Model) and hasattr(using, "solve_for"):  # the solution of an optimization
        if given:
            raise InputError("a solution knows its inputs: nothing else is given", path=next(iter(given)))
        return using.solve_for(target, value, unknown=unknown, box=box)
    model = model_of(using)
    if not isinstance(unknown, str):
        raise InputError(f"expected the name of a number, got {type(unknown).__name__}", path="unknown")
    name, relation, wanted = asked(target, value)
    _check_box(box)
    lists = {"value": wanted, **given}
    empty = [name for name, listed in lists.items() if is_list(listed) and not len(listed)]
    if empty:
        raise InputError("is an axis without values", path=empty[0])
    if any(map(is_list, lists.values())):
        from mlsysim_opt.physics.inverse_sweep import solve_for_many

        return solve_for_many(model, name, relation, wanted, unknown, box, given)
    return answered(InverseQuestion(model, name, relation, unknown, given), wanted, box)


def answered(task: InverseEquation, wanted: Any, box: tuple[Any, Any] | None) -> SolvedFor:
    """Return the answer to a question whose target is wanted to be this, between the bounds of a box."""
    task.aim(wanted)
    return solve_between(task, task.read_box(box))


def asked(target: str, value: Any) -> tuple[str, Relation, Any]:
    """Return output, relation and value of a question in one or in two parts."""
    if not isinstance(target, str):
        raise InputError(f"expected the name of an output, got {type(target).__name__}", path="target",
                         hint="for example 'itl <= 30 ms'")  # fmt: skip
    if value is None:
        found = TARGET.fullmatch(target)
        if found is None:
            raise InputError(f"{target!r} is not of the form output = value", path="target",
                             hint="for example 'itl <= 30 ms'")  # fmt: skip
        return found[1], _relation(found[2]), found[3]
    if TARGET.fullmatch(target):
        raise InputError(f"the target is given twice: in {target!r}, and as {value!r}", path="value",
                         hint="leave one of them out")  # fmt: skip
    if isinstance(value, list | tuple):
        parts = [_limited(item) for item in value]
        relations = list(dict.fromkeys(relation for relation, _ in parts))
        if len(relations) > 1:
            raise InputError(f"{' and '.join(map(repr, relations))} stand in one list of values", path="value",
                             hint="one question is about one of =, <= and >=")  # fmt: skip
        return target, relations[0] if relations else "=", [item for _, item in parts]
    return target, *_limited(value)


def _limited(value: Any) -> tuple[Relation, Any]:
    """Return what a value says that the output should be to it, and the value itself."""
    found = VALUE.fullmatch(value) if isinstance(value, str) else None
    return ("=", value) if found is None else (_relation(found[1]), found[2])


def _check_box(box: Any) -> None:
    """Refuse bounds that are not two."""
    if box is not None and not (isinstance(box, tuple | list) and len(box) == 2):
        raise InputError(f"expected a lowest and a highest value, got {box!r}", path="box",
                         hint="for example ('1 TB/s', '8 TB/s')")  # fmt: skip


def _relation(text: str) -> Relation:
    return "<=" if text == "<=" else ">=" if text == ">=" else "="


__all__ = ["SolvedFor", "answered", "asked", "solve_for"]
