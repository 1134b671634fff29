"""The inverse of a metric of a design: what a number has to be, or which values of a decision meet a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Symbol, symbols
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.errors import InfeasibleError, InputError, NotInvertibleError, UnknownNameError
from mlsysim_opt.optimize.formulation import Formulation, formulation
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.optimize.request import ConstraintSpec, ObjectiveSpec
from mlsysim_opt.optimize.run import Task, solve
from mlsysim_opt.physics.inverse import answered, asked
from mlsysim_opt.physics.inverse import solve_for as solve_for_model
from mlsysim_opt.physics.inverse_answer import CHOICE, Relation, SolvedFor, meets
from mlsysim_opt.physics.inverse_equation import InverseEquation
from mlsysim_opt.physics.parts import is_list
from mlsysim_opt.units import show

REASONS = 3
"""Values of a decision of which an error says why they do not do."""


def solve_for(
    target: str,
    value: Any = None,
    *,
    unknown: str,
    using: Any,
    box: tuple[Any, Any] | None = None,
    objective: ObjectiveSpec | Sequence[ObjectiveSpec] | None = None,
    constraints: Sequence[ConstraintSpec] = (),
    **given: Any,
) -> Any:
    """Return what one number must be for an output to be equal to, at most or at least a value.

    Args:
        target: name of an output of the model (a metric of the formulation), or all in one: ``"itl <= 30 ms"``.
        value: what it should be, with its unit; ``"<= 30 ms"`` for at most, ``">= 30 ms"`` for at least.
            Several values, as a list, are an axis of the answer (``["<= 10 ms", "<= 20 ms"]``).
        unknown: a numeric input of the model, or a number of an entry by its path
            (``fleet.node.accelerator.memory.bandwidth``; the end of the path will do where only one ends so). Of a
            formulation, a number by its path, or a decision.
        using: the model, the solution of an optimization, whose design's metrics are asked about, or a formulation
            (``"parallelism"``): the design is then given, and what is left out of it is chosen as well as possible.
        box: lowest and highest value to look between. given: all other inputs; those given as lists
            are axes, and every combination is a question. Of a formulation, its givens (today's, where one is the
            unknown) and the values of decisions.
        objective, constraints: of a formulation, as for `optimize`.
    Returns:
        a `SolvedFor`: where the target is met, the formula where there is one, and whether there is anything else; over
        axes a `SolvedSweep`.
    Raises:
        NotInvertibleError: no value meets the target (the message says the attainable range), or the output does not
            depend on the unknown.
        UnknownNameError: there is no such output or number. InputError, DimensionError: an input is wrong.
        InfeasibleError: of a formulation: no design satisfies all constraints.
    """
    if isinstance(using, str | Formulation):
        chosen = formulation(using) if isinstance(using, str) else using
        return _of_formulation(chosen, target, value, unknown, box, objective, constraints, given)
    extra = {"objective": objective, "constraints": constraints or None}
    given.update((name, item) for name, item in extra.items() if item is not None)
    return solve_for_model(target, value, unknown=unknown, using=using, box=box, **given)


def _of_formulation(
    chosen: Formulation, target: str, value: Any, unknown: str, box: Any, objective: Any,
    constraints: Sequence[ConstraintSpec], given: Mapping[str, Any],
) -> SolvedFor:  # fmt: skip
    """Return the answer about a design of a formulation, of which some decisions may be given."""
    inputs = {name: item for name, item in given.items() if name in chosen.takes}
    fixed = {name: item for name, item in given.items() if name not in chosen.takes}
    listed = next((name for name, item in fixed.items() if is_list(item)), None)
    if listed is not None:
        raise InputError("expected one value of a decision", path=listed)

    def task(choices: Mapping[str, Any]) -> Task:
        problem = chosen.problem(inputs, choices)
        if not isinstance(problem, Problem):
            raise InputError(f"{chosen.name} is a coupled problem: a plan of it is no single design", path="using")
        return Task.of(problem, objective, list(constraints))

    asked_of = task({})
    problem = asked_of.problem
    for name in fixed:
        if problem.aliases.get(name, name) not in problem.decisions:
            raise UnknownNameError(
                f"argument or decision of formulation {chosen.name!r}", name, [*chosen.takes, *problem.decisions]
            )
    problem.fixed(fixed)  # refuses values that there are not
    decision = problem.aliases.get(unknown, unknown)
    if decision in problem.decisions:
        if decision in {problem.aliases.get(name, name) for name in fixed}:
            raise InputError(f"{decision} is the unknown, and given", path=decision)
        return _of_decision(asked_of, lambda one: _design(task({**fixed, decision: one})), decision, target, value)
    narrowed = task(fixed)
    return of_design(narrowed, _design(narrowed), target, value, unknown, box)


def _design(task: Task) -> dict[str, Any]:
    """Return the only design of a task, or the best of several.

    Raises:
        InfeasibleError: there is none. InputError: the only one breaks a rule of what a design is.
    """
    problem = task.problem
    if problem.combinations > 1:
        return solve(task, explain=False).design
    design = {choice.name: choice.values[0] for choice in problem.choices}
    holds = DesignPoint(problem, {**problem.values, **design}).constraints
    broken = [rule.name for rule in problem.constraints if rule.structural and not holds[rule.name]]
    if broken:
        raise InputError(f"this is no design: it violates {broken[0]!r}", path="design",
                         hint="leave a decision out, and it is chosen as well as possible")  # fmt: skip
    return design


def of_design(
    task: Task, design: Mapping[str, Any], target: str, value: Any, unknown: str, box: tuple[Any, Any] | None
) -> SolvedFor:
    """Return the answer about one design of a problem; see `Solution.solve_for`."""
    problem = task.problem
    decision = problem.aliases.get(unknown, unknown)
    if decision in problem.decisions:
        return _of_decision(task, lambda one: {**design, decision: one}, decision, target, value)
    name, relation, wanted = _one(target, value)
    root = problem.metric(name)
    leaves = {leaf.name: leaf for leaf in symbols(root)}
    ends = [leaf for path, leaf in leaves.items() if path.endswith(f".{unknown}")]
    if unknown not in leaves and len(ends) != 1:
        raise UnknownNameError(f"number that {name} depends on", unknown, [*leaves, *problem.decisions])
    leaf = leaves[unknown] if unknown in leaves else ends[0]
    return answered(MetricEquation(problem, design, name, relation, leaf), wanted, box)


def _one(target: str, value: Any) -> tuple[str, Relation, Any]:
    """Return metric, relation and value of a question about one design."""
    name, relation, wanted = asked(target, value)
    if is_list(wanted):
        raise InputError("expected one value: lists are axes of questions to a model", path="value",
                         hint="ask once for each value")  # fmt: skip
    return name, relation, wanted


class MetricEquation(InverseEquation):
    """The equation of a metric of one design."""

    def __init__(
        self, problem: Problem, design: Mapping[str, Any], name: str, relation: Relation, leaf: Symbol
    ) -> None:
        known = {**problem.values, **design}
        super().__init__(name, problem.metric(name), relation, leaf, known, known.get(leaf.name))
        self.problem, self.design = problem, design
        self.unit = problem.metrics[problem.aliases.get(name, name)].unit

    def ask(self, changed: Mapping[str, Any]) -> DesignPoint:
        return DesignPoint(self.problem, {**self.problem.values, **self.design, **changed})

    def change(self, x: float) -> dict[str, Any]:
        return {self.leaf.name: int(x) if self.leaf.integer else x}


class DesignPoint:
    """A design with other numbers: its metrics in base units, and which constraints hold."""

    def __init__(self, problem: Problem, values: Mapping[str, Any]) -> None:
        self.problem, self.values = problem, values

    def si(self, name: str) -> float:
        """Return a metric in base units."""
        return float(ScalarProgram([self.problem.metric(name)]).run_named(self.values)[0])

    @property
    def constraints(self) -> dict[str, bool]:
        """Each constraint of the problem with whether it holds."""
        rules = self.problem.constraints
        truths = ScalarProgram([rule.holds for rule in rules]).run_named(self.values) if rules else ()
        return {rule.name: bool(holds) for rule, holds in zip(rules, truths, strict=True)}


def _of_decision(task: Task, design: Any, name: str, target: str, value: Any) -> SolvedFor:
    """Return which values of a decision meet a target, each evaluated.

    Args:
        design: makes the design that has a value of the decision; raises `InfeasibleError` where there is none.
    Raises:
        NotInvertibleError: none does; the message says what some of them give.
    """
    problem = task.problem
    choice = problem.decisions[name].choice
    if not choice.numeric:
        raise InputError(f"{name} is no number, but one of {', '.join(map(str, choice.values))}", path="unknown",
                         hint="optimize with the target as a constraint chooses among names")  # fmt: skip
    output, relation, wanted = _one(target, value)
    question = MetricEquation(problem, {}, output, relation, Symbol(name, choice.dimension, integer=True))
    question.aim(wanted)
    points: dict[float, DesignPoint] = {}
    met, missed, said = [], [], []
    for one in choice.values:
        try:
            point = DesignPoint(problem, {**problem.values, **design(one)})
        except (InfeasibleError, InputError) as error:
            said.append(f"{one}: {error.message}")
            continue
        broken = [rule for rule, holds in point.constraints.items() if not holds]
        if broken:
            said.append(f"{one} violates {broken[0]!r}")
            continue
        points[float(one)] = point
        if meets(point.si(output), relation, question.goal):
            met.append(float(one))
        else:
            missed.append(f"{one} gives {show(point.si(output), question.root.dimension, 6)}")
    if not met:
        said = [*missed, *said]
        raise NotInvertibleError(
            f"no {name} makes {output} {relation} {show(question.goal, question.root.dimension, 6)}",
            hint="; ".join(said[:REASONS]) + ("; ..." if len(said) > REASONS else ""),
        )
    ends = Interval(float(min(choice.values)), float(max(choice.values)))
    tried = sorted(points)
    beside = {tried[at + step] for at, x in enumerate(tried) if x in met for step in (-1, 1)
              if 0 <= at + step < len(tried)}  # fmt: skip
    return question.answer(
        values=tuple(met), region=tuple(Interval(x, x) for x in met), method=CHOICE, complete=True, residual=0.0,
        box=ends, fails_at=tuple(sorted(int(x) for x in beside - {*met})), _rises=None,
    )  # fmt: skip
