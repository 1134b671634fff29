"""Choices of a formulation, some of whose values a user left out, and truths that may not depend on any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.errors import InfeasibleError, UnknownNameError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.problem import among


class Narrowed:
    """Declares choices of a problem, with the values that a user allows.

    Args:
        problem: where they are declared. allowed: for some choices, the value or values allowed.
    """

    def __init__(self, problem: CoupledProblem, allowed: Mapping[str, Any]) -> None:
        self._problem = problem
        self._left = dict(allowed)

    def __call__(self, name: str, options: Sequence[Any], about: str) -> Choice:
        """Declare a choice.

        Raises:
            UnknownNameError: a value that is allowed is none of the options.
        """
        given = self._left.pop(name, None)
        if given is not None:
            options = among(name, given, list(options))
        return self._problem.choose(name, options, about=about)

    def finished(self) -> None:
        """Refuse what is left over: values of choices that there are not.

        Raises:
            UnknownNameError: there are some.
        """
        if self._left:
            known = list(self._problem.decisions)
            raise UnknownNameError(f"decision of {self._problem.name}", next(iter(self._left)), known, path="choices")


def allow(problem: CoupledProblem, name: str, holds: Expression, *, structural: bool = False) -> None:
    """Declare which tuples there are; a truth that depends on no choice is decided at once.

    Raises:
        InfeasibleError: it does not hold.
    """
    if holds.choices:
        problem.allow(name, holds, structural=structural)
    elif not ScalarProgram([holds]).run_named(problem.values)[0]:
        raise InfeasibleError(f"no {problem.item} is possible: {name!r} never holds", conflict=[name])
