"""Reading what a user asks: objectives and constraints as text, expressions or functions of the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, short, substitute, symbols
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import InputError, ParseError, UnknownNameError, did_you_mean
from mlsysim_opt.optimize.problem import Constraint, Metric, Objective

ObjectiveSpec = str | Expression | Callable[[Any], Any]
ConstraintSpec = str | Expression | Callable[[Any], Any]


GRAMMAR = (
    "an objective is min_<metric>, max_<metric>, or an expression to minimise such as 'cost + 100 USD/tCO2e * carbon'"
)


class Asked(Protocol):
    """What can be asked about: a problem, or a plan."""

    name: str
    values: dict[str, float]
    default_objective: str | None
    metrics: dict[str, Metric]
    aliases: dict[str, str]

    def names(self) -> Mapping[str, Expression]:
        """Return what texts may refer to."""


class Metrics:
    """What a user's function receives: metrics and decisions by attribute or by key, as expressions."""

    def __init__(self, problem: Asked) -> None:
        self._problem = problem

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Expression:
        names = self._problem.names()
        if name not in names:
            raise UnknownNameError(f"metric or decision of {self._problem.name}", name, list(names))
        return names[name]


def read_objective(problem: Asked, spec: ObjectiveSpec | None) -> Objective:
    """Return the objective a user means.

    Args:
        spec: ``min_<metric>`` or ``max_<metric>``; a text expression to minimise, optionally after ``minimize`` or
            ``maximize``; an expression to minimise; or a function of the metrics, called once, symbolically.
    Raises:
        UnknownNameError, ParseError, DimensionError: it names something unknown, is not an expression, or adds units.
    """
    if spec is None:
        spec = problem.default_objective
        if spec is None:
            raise InputError("this problem has no default objective", path="objective")
    if isinstance(spec, str):
        try:
            return _objective_text(problem, spec.strip())
        except InputError as error:
            error.path = error.path or "objective"
            raise
    if isinstance(spec, Expression):
        return Objective(short(spec), "min", spec)
    if callable(spec):
        made = spec(Metrics(problem))
        name = getattr(spec, "__name__", "objective")
        if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], str) and made[0] in ("min", "max"):
            sense, made = made
        else:
            sense = "min"
        if not isinstance(made, Expression):
            raise InputError(
                f"the objective function {name!r} returned {made!r}, not an expression of the metrics", path="objective"
            )
        return Objective(name if name != "<lambda>" else short(made), sense, made)
    raise InputError(f"an objective is text, an expression or a function, got {type(spec).__name__}", path="objective")


def _objective_text(problem: Asked, text: str) -> Objective:
    for prefix in ("min", "max"):
        if text.startswith(prefix + "_"):
            name = text[4:]
            if name in problem.names():
                return Objective(text, prefix, problem.names()[name])
            raise UnknownNameError(
                "objective", text, [f"{sense}_{metric}" for metric in problem.metrics for sense in ("min", "max")],
                path="objective",
            )  # fmt: skip
    word, _, rest = text.partition(" ")
    senses = {"minimize": "min", "minimise": "min", "maximize": "max", "maximise": "max"}
    if word.rstrip(":") in senses and rest:
        return Objective(text, senses[word.rstrip(":")], parse(rest, problem.names(), what="objective"))  # type: ignore[arg-type]
    if "_" in text and text.isidentifier() and text not in problem.names():
        offered = [f"{sense}_{metric}" for metric in problem.metrics for sense in ("min", "max")]
        if did_you_mean(text, offered):
            raise UnknownNameError("objective", text, offered, path="objective")
    if problem.aliases.get(text, text) in problem.metrics:
        raise InputError(f"{text!r} can be minimised or maximised", path="objective", hint=f"min_{text} or max_{text}")
    try:
        made = parse(text, problem.names(), what="objective")
    except (ParseError, UnknownNameError) as error:
        near = did_you_mean(word.rstrip(":"), senses) if rest else None
        error.hint = near or "; ".join(hint for hint in (error.hint, GRAMMAR) if hint)
        raise
    return Objective(text, "min", made)


def read_question(
    problem: Asked,
    objective: ObjectiveSpec | Sequence[ObjectiveSpec] | None,
    constraints: Sequence[ConstraintSpec],
) -> tuple[list[Objective], list[Constraint], Sequence[ConstraintSpec]]:
    """Return the objectives a user means, most important first, the constraints, and how the latter were written.

    Raises:
        InputError: there is no objective, or something is not readable.
    """
    if isinstance(constraints, str):
        constraints = [constraints]
    if not isinstance(constraints, list | tuple):
        raise InputError(f"expected a list of constraints, got {constraints!r}", path="constraints")
    several: list[Any] = list(objective) if isinstance(objective, list | tuple) else [objective]
    if not several:
        raise InputError("the list of objectives is empty", path="objective")
    objectives = [read_objective(problem, spec) for spec in several]
    return objectives, read_constraints(problem, constraints), constraints


def plain_request(
    objective: Objective, spec: ObjectiveSpec | Sequence[ObjectiveSpec] | None, constraints: Sequence[ConstraintSpec]
) -> dict[str, Any]:
    """Return an objective and constraints as JSON data; functions become None."""
    plain: Any
    if isinstance(spec, list | tuple):
        plain = [item if isinstance(item, str) else None for item in spec]
        plain = None if None in plain else plain
    elif spec is None:
        plain = objective.name
    else:
        plain = spec if isinstance(spec, str) else None
    return {"objective": plain, "constraints": [item if isinstance(item, str) else None for item in constraints]}


def read_constraints(problem: Asked, specs: Sequence[ConstraintSpec]) -> list[Constraint]:
    """Return the constraints a user means, each once, named by the user's own words.

    Raises:
        InputError: one is a plain bool, is not a comparison, or compares strictly what is not known: choices and known
            numbers have finitely many values, so that strict is exact there; an unknown can come as close as it likes.
    """
    read: list[Constraint] = []
    for index, spec in enumerate(specs):
        try:
            parts = _parts(problem, _constraint(problem, spec, index))
        except InputError as error:
            error.path = error.path or f"constraints[{index}]"
            raise
        for part in parts:
            if not any(part.holds is other.holds for other in read):
                same = sum(1 for other in read if other.name == part.name)
                read.append(replace(part, name=f"{part.name} ({same + 1})") if same else part)
    return read


def one_objective(objectives: Sequence[Objective]) -> None:
    """Refuse several objectives, most important first, for what has one only.

    Raises:
        InputError: there are several.
    """
    if len(objectives) > 1:
        first, second, *_ = (item.name for item in objectives)
        raise InputError(
            f"a file has one objective, and {len(objectives)} are asked for",
            path="objective",
            hint=f"write {first} alone; for {second}, add a constraint that holds the first at its best",
        )


def _parts(problem: Asked, constraint: Constraint) -> list[Constraint]:
    """Return a conjunction (`2 s <= step_time <= 3 s`) as its parts: each has a slack and can give way alone."""
    waiting, parts = [constraint.holds], []
    while waiting:
        node = waiting.pop()
        if isinstance(node, Operation) and node.atom.name == "and":
            waiting.extend(reversed(node.args))
        else:
            parts.append(node)
    if len(parts) == 1:
        return [constraint]
    return [replace(constraint, name=_in_words(problem, part), holds=part) for part in parts]


def _in_words(problem: Asked, node: Expression) -> str:
    """Return a comparison with metrics by name instead of written out."""
    named: dict[Expression, Expression] = {
        item.expression: Symbol(name, item.expression.dimension, integer=item.expression.integer)
        for name, item in problem.metrics.items()
        if item.expression is not None and isinstance(item.expression, Operation) and item.expression.sort == "number"
    }
    return short(substitute(node, named))


def _constraint(problem: Asked, spec: ConstraintSpec, index: int) -> Constraint:
    if isinstance(spec, str):
        made: Any = parse(spec, problem.names(), what="constraint")
        name = " ".join(spec.split())
    elif isinstance(spec, Expression):
        made, name = spec, short(spec)
    elif callable(spec):
        made = spec(Metrics(problem))
        name = getattr(spec, "__name__", "")
        name = (
            name if name not in ("", "<lambda>") else short(made) if isinstance(made, Expression) else f"#{index + 1}"
        )
    else:
        raise InputError(
            f"a constraint is text, a comparison or a function, got {spec!r}",
            path=f"constraints[{index}]",
            hint="a comparison such as 'memory <= 76 GiB'",
        )
    constraint = Constraint(name, made, given_by_user=True)
    for node in _compared(constraint.holds):
        if node.atom.name == "less" and not all(item.integer for item in node.args):
            unknown = [leaf.name for leaf in symbols(node) if leaf.name not in problem.values]
            if unknown:
                raise InputError(
                    f"{name!r} is strict, but {unknown[0]} is not known to be a whole number",
                    path=f"constraints[{index}]",
                    hint="use <= or >= (of what is whole, with the next number: n <= 7 for n < 8); "
                    "strict comparison is for choices, and for whole numbers that follow from them",
                )
    return constraint


def _compared(holds: Expression) -> Iterator[Operation]:
    """Yield the comparisons a truth is made of; what stands inside a metric is not the user's."""
    waiting = [holds]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Operation):
            yield node
            waiting.extend(item for item in node.args if item.sort == "truth")
