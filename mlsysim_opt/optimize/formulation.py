"""Formulations: decision problems by name, found through entry points."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlsysim_opt.errors import InputError, UnknownNameError, nearest
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.physics.inputs import REQUIRED, Input, Option, check_all

GROUP = "mlsysim_opt.formulations"
BUILT_IN = {
    "batching": "mlsysim_opt.formulations.batching:batching",
    "checkpointing": "mlsysim_opt.formulations.checkpointing:checkpointing",
    "cluster_design": "mlsysim_opt.formulations.cluster_design:cluster_design",
    "compression": "mlsysim_opt.formulations.compression:compression",
    "disaggregated_serving": "mlsysim_opt.formulations.disaggregated_serving:disaggregated_serving",
    "layerwise": "mlsysim_opt.formulations.layerwise:layerwise",
    "parallelism": "mlsysim_opt.formulations.parallelism:parallelism",
    "placement": "mlsysim_opt.formulations.placement:placement",
    "serving_fleet": "mlsysim_opt.formulations.serving_fleet:serving_fleet",
}


@dataclass(frozen=True)
class Formulation:
    """A decision problem as a function of what is given.

    Attributes:
        name: how users ask for it. about: the question it answers.
        inputs: what may be given, checked before anything is built.
        build: makes the problem from checked values (and candidate values of decisions the user narrowed).
        aliases: other names of inputs.
        example: givens of a small instance, for pages that explain the formulation.
        one_of: inputs of which one must be given.
    """

    name: str
    about: str
    inputs: tuple[Input, ...]
    build: Callable[[dict[str, Any], Mapping[str, Any]], Problem | CoupledProblem]
    aliases: dict[str, str] = field(default_factory=dict)
    example: dict[str, Any] = field(default_factory=dict)
    one_of: tuple[str, ...] = ()

    def problem(self, given: Mapping[str, Any], choices: Mapping[str, Any] | None = None) -> Problem | CoupledProblem:
        """Return the problem for these givens.

        Args:
            given: inputs by name or alias. choices: for some decisions, the value or values allowed.
        Raises:
            InputError: an input is missing, unknown or wrong.
        """
        values = check_all(self.inputs, dict(given), self.aliases, f"formulation {self.name!r}")
        narrowed = dict(choices or {})
        problem = self.build(values, narrowed)
        problem.request = {"formulation": self.name, "given": self._plain(values), "choices": narrowed}
        return problem

    def _plain(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the givens as JSON data from which the same problem can be built again."""
        present = (item for item in self.inputs if values[item.name] is not None)
        return {item.name: item.plain(values[item.name]) for item in present}

    def fits(self, given: Mapping[str, Any]) -> bool:
        """Return whether these givens are inputs of this formulation."""
        return set(given) <= self.takes

    def missing(self, given: Mapping[str, Any]) -> list[str]:
        """Return the inputs that are needed and not among these givens."""
        have = {self.aliases.get(name, name) for name in given}
        needed = [item.name for item in self.inputs if item.default is REQUIRED and item.name not in have]
        return needed if not self.one_of or have & set(self.one_of) else [*needed, " or ".join(self.one_of)]

    @property
    def takes(self) -> set[str]:
        """The names and aliases of its inputs."""
        return {item.name for item in self.inputs} | set(self.aliases)


@dataclass(frozen=True)
class Instance:
    """A formulation with what it is given, from which problems under other givens are made.

    Attributes:
        of: the formulation. given, choices: its inputs, and the values allowed of some decisions.
        extend: a user's function that adds to the problem.
    """

    of: Formulation
    given: Mapping[str, Any]
    choices: Mapping[str, Any] | None = None
    extend: Callable[[Any], Any] | None = None

    def problem(self) -> Problem | CoupledProblem:
        """Return the problem, with what the user's function adds."""
        return extended(self.of.problem(self.given, self.choices), self.extend)

    def under(self, given: Mapping[str, Any], choices: Mapping[str, Any] | None = None) -> Instance:
        """Return it with some givens (by whatever name) and choices replaced."""
        aliases = self.of.aliases
        replaced = {aliases.get(name, name) for name in given}
        kept = {name: value for name, value in self.given.items() if aliases.get(name, name) not in replaced}
        return replace(self, given={**kept, **given}, choices={**(self.choices or {}), **(choices or {})})


def leaves(problem: Problem, inputs: Sequence[Input], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what equations get in place of checked values (None where one is absent), and bind it in the problem.

    An option is a decision that has one value.
    """
    made: dict[str, Any] = {}
    for item in inputs:
        value = values[item.name]
        if isinstance(item, Option):
            made[item.name] = problem.choose(item.name, [value], about=item.about)
            continue
        made[item.name] = None if value is None else item.leaf(value)
        if value is not None:
            problem.values.update(item.bind(value))
    return made


def defaults(inputs: Sequence[Input], values: Mapping[str, Any]) -> dict[str, str]:
    """Return the defaults that decided, as text, for `Problem.assumptions`."""
    some = (item for item in inputs if item.default is not REQUIRED and item.default is not None)
    return {item.name: str(item.default) for item in some if values[item.name] == item.check(item.default)}


@functools.cache
def _entry_points() -> dict[str, str]:
    from importlib.metadata import entry_points

    found = dict(BUILT_IN)
    for point in entry_points(group=GROUP):
        found[point.name] = point.value
    return found


def formulation_names() -> list[str]:
    """Return the names of all formulations, the package's own and those of installed packages."""
    return sorted(_entry_points())


def formulation(name: str) -> Formulation:
    """Return a formulation by name.

    Raises:
        UnknownNameError: there is none of this name.
    """
    known = _entry_points()
    if name not in known:
        raise UnknownNameError("formulation", name, known)
    module, _, attribute = known[name].partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        if name in BUILT_IN:
            raise
        raise InputError(
            f"{known[name]}, which an installed package brings, cannot be loaded: {type(error).__name__}: {error}",
            path=name,
            hint="mend or remove that package",
        ) from error
    if not isinstance(found, Formulation):
        raise InputError(f"{known[name]} is not a Formulation", path=name)
    return found


def asked_again(request: Mapping[str, Any]) -> Problem | CoupledProblem:
    """Return what a stored solution was the answer to.

    Raises:
        InputError: its objective or a constraint was a function, which JSON cannot hold.
    """
    functions = request.get("objective") is None or None in request.get("constraints", [])
    if not request.get("formulation") or functions or request.get("extended"):
        raise InputError(
            "this solution was asked with a Python function or an own problem, which is not stored",
            path="request",
            hint="ask optimize() again with the function",
        )
    return formulation(request["formulation"]).problem(request["given"], request.get("choices"))


def extended(problem: Problem | CoupledProblem, extend: Callable[[Any], Any] | None) -> Problem | CoupledProblem:
    """Return a problem with what a user's function adds to it: decisions, metrics, constraints.

    Args:
        extend: is given a problem of its own to add to; may return it, or another one.
    Raises:
        InputError: it returned something else.
    """
    if extend is None:
        return problem
    if not callable(extend):
        raise InputError(f"expected a function of the problem, got {extend!r}", path="extend")
    mine: Problem | CoupledProblem
    if isinstance(problem, CoupledProblem):
        mine = replace(problem.copy(), decisions=dict(problem.decisions), families=dict(problem.families))
    else:
        parts = {"decisions": dict(problem.decisions), "metrics": dict(problem.metrics)}
        mine = replace(problem, constraints=list(problem.constraints), **parts)  # type: ignore[arg-type]
    name = getattr(extend, "__name__", "a function")
    made = extend(mine)
    mine = mine if made is None else made
    if not isinstance(mine, Problem | CoupledProblem):
        raise InputError(f"{name} returned {mine!r}, not a problem", path="extend")
    mine.request = {**mine.request, "extended": name}
    return mine


def _strangeness(item: Formulation, given: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return how many givens a formulation does not know, how many of these are like none of its own, what it lacks."""
    unknown = set(given) - item.takes
    return len(unknown), sum(1 for name in unknown if not nearest(name, item.takes)), len(item.missing(given))


def infer(given: Mapping[str, Any]) -> Formulation:
    """Return the one formulation that takes all these givens (or, of several, that needs no others).

    Where none takes all, it is the one that was most likely meant, which then says itself what it does not know.

    Raises:
        InputError: several formulations do; the message lists them.
    """
    found = [formulation(name) for name in formulation_names()]
    fitting = [item for item in found if item.fits(given)]
    complete = [item for item in fitting if not item.missing(given)]
    if len(fitting) == 1 or len(complete) == 1:
        return (complete or fitting)[0]
    if not fitting and given:
        return min(found, key=lambda item: _strangeness(item, given))
    raise InputError(
        f"{len(fitting)} formulations take {', '.join(given) or 'no givens'}: {', '.join(i.name for i in fitting)}",
        path="formulation",
        hint=f"name it: optimize({(fitting or found)[0].name!r}, ...)",
    )
