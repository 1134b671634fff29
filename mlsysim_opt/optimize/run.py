"""The compile step and the run: one task, any backend, one checked solution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.derive import elasticities
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, symbols
from mlsysim_opt.errors import InputError, LimitReachedError, UnboundedError, UnknownNameError, VerificationError
from mlsysim_opt.optimize.answer import Answered, Certificate, Metrics, Value, relative
from mlsysim_opt.optimize.backends.base import Answer, Backend, Status
from mlsysim_opt.optimize.problem import Constraint, Objective, Problem
from mlsysim_opt.optimize.progress import Show, checked_progress, watch_of
from mlsysim_opt.optimize.request import ConstraintSpec, ObjectiveSpec, one_objective, plain_request, read_question
from mlsysim_opt.optimize.search import TIE, Design, Found, Search, excluded_reasons
from mlsysim_opt.optimize.solution import Runner, Slack, Solution
from mlsysim_opt.optimize.stopping import Halt, Watch, noted_interrupts
from mlsysim_opt.units import NONE, TIME, as_measure, readable_unit, to_si

if TYPE_CHECKING:
    from mlsysim_opt.optimize.robust import Uncertain
    from mlsysim_opt.optimize.sensitivity import OptimumSensitivity

BACKENDS = ("enumerate", "milp", "cpsat")
AGREEMENT = 1e-9
"""Relative agreement demanded between the vectorised and the scalar evaluation, and between backends."""


@dataclass
class Task:
    """A problem with what the user asks of it.

    Attributes:
        problem: the declared problem, with the user's constraints. objective: what is minimised or maximised first.
        then: objectives that decide among designs that tie, in order.
        uncertain: the question over several scenarios of which this is the program; None where there is one scenario.
    """

    problem: Problem
    objective: Objective
    then: list[Objective] = field(default_factory=list)
    specs: Sequence[ConstraintSpec] = ()
    objective_spec: ObjectiveSpec | Sequence[ObjectiveSpec] | None = None
    uncertain: Uncertain | None = None

    @staticmethod
    def of(
        problem: Problem,
        objective: ObjectiveSpec | Sequence[ObjectiveSpec] | None,
        constraints: Sequence[ConstraintSpec],
    ) -> Task:
        """Return the task of a problem with a user's objective (or objectives, most important first)."""
        read, limits, constraints = read_question(problem, objective, constraints)
        extended = problem.with_constraints(limits)
        return Task(extended, read[0], read[1:], constraints, objective)

    @property
    def request(self) -> dict[str, Any]:
        """What was asked, as JSON data; functions become None."""
        return {**self.problem.request, **plain_request(self.objective, self.objective_spec, self.specs)}

    def rebuilt(self, problem: Problem) -> Task:
        """Return the same question about another problem."""
        return Task.of(problem, self.objective_spec, self.specs)

    def sensitivity(self, numbers: Sequence[str] | None = None, *, reach: float = 4.0) -> OptimumSensitivity:
        """Return what the optimum of this question answers to; see `Solution.sensitivity`."""
        from mlsysim_opt.optimize.sensitivity import sensitivity_of_task

        return sensitivity_of_task(self, numbers, reach)

    # compiling --------------------------------------------------------------------------------------------------------
    def search(
        self,
        *,
        questioned: bool = False,
        keep: int = 16,
        extra: Sequence[Constraint] = (),
        cost: Expression | None = None,
    ) -> Search:
        """Return the search for this task.

        Args:
            questioned: evaluate every constraint that could be given way, also those that choices alone decide (which
            are
                otherwise applied when choices are joined).
        """
        constraints = [*self.problem.constraints, *extra]
        early = [item.holds for item in constraints if item.structural or (not questioned and _cheap(item))]
        late = [item for item in constraints if not item.structural and (questioned or not _cheap(item))]
        return Search(
            self.problem.choices, self.objective.cost if cost is None else cost, early, late, self.problem.values, keep
        )

    @cached_property
    def scalar(self) -> ScalarTask:
        """The independent scalar evaluator of this task."""
        return ScalarTask(self)

    def pyomo(self) -> Any:
        """Return the Pyomo model that the MILP backend solves: a row for each design that may be the best one.

        Numbers are in base units, and the first objective is minimised.

        Raises:
            InputError: no design keeps all limits.
        """
        from mlsysim_opt.optimize.backends.milp import model_of_search

        return model_of_search(self.search())

    def write(self, path: str | Path) -> Path:
        """Write that model as a file for other solvers, ``x.lp`` or ``x.mps``, and return its path.

        Raises:
            InputError: the file has another ending; there are several objectives. FileError: it cannot be written.
        """
        from mlsysim_opt.optimize.backends.pyomo_program import write_model

        one_objective([self.objective, *self.then])
        return write_model(self.pyomo(), path)

    def design_values(self, design: Design) -> dict[str, Any]:
        """Return the values of the decisions of a design."""
        return {choice.name: choice.values[index] for choice, index in zip(self.problem.choices, design, strict=True)}

    def shown(self, expression: Expression, value: float, like: float | None = None) -> Value:
        """Return a value in base units as shown to people."""
        if expression.dimension == NONE:
            return Value(value if math.isfinite(value) else None)
        named = [item.unit for item in self.problem.metrics.values() if item.expression is expression and item.unit]
        from mlsysim_opt.units import parse_unit

        unit = parse_unit(named[0]) if named else readable_unit(value if like is None else like, expression.dimension)
        return Value(value / unit.factor if math.isfinite(value) else None, unit.text)

    def runner(self, design: Design, cost: float, best: float) -> Runner:
        """Return a design as another answer beside the best one."""
        sign = 1.0 if self.objective.sense == "min" else -1.0
        shown = self.shown(self.objective.expression, sign * cost, sign * best)
        return Runner(self.design_values(design), shown, relative(cost, best))


def to_seconds(limit: Any, name: str = "time_limit") -> float:
    """Return a time limit in seconds, from a time with its unit or a number of seconds; `name` is shown in messages.

    Raises:
        InputError: it is not a positive, finite time.
    """
    try:
        measure = as_measure(limit, name)
        seconds = measure.magnitude if measure.dimension == NONE else to_si(measure, TIME, name)
    except InputError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"{limit!r} is not a positive time", path=name, hint="such as 30, or '2 min'")
    return seconds


def _cheap(constraint: Constraint) -> bool:
    """Whether a constraint is decided by few choices, so that joining by it costs little."""
    from mlsysim_opt.algebra.expression import topological

    return 0 < len(constraint.holds.choices) <= 3 and len(topological([constraint.holds])) <= 24


class ScalarTask:
    """Objective, metrics and constraints of a task at one design, by exact scalar arithmetic (no NumPy)."""

    def __init__(self, task: Task) -> None:
        self.task = task
        problem = task.problem
        self.metrics = {name: item for name, item in problem.metrics.items() if item.expression is not None}
        metric_roots = [item.expression for item in self.metrics.values() if item.expression is not None]
        self.sides = [item.sides for item in problem.constraints]
        slack = [pair[1] - pair[0] for pair in self.sides if pair]
        self._program = ScalarProgram(
            [task.objective.cost, *metric_roots, *(item.holds for item in problem.constraints), *slack]
        )

    def at(self, design: Mapping[str, Any]) -> tuple[float, dict[str, float], list[bool], list[float | None]]:
        """Return cost, metrics, truth of each constraint and slack of each inequality, in base units."""
        out = self._program.run_named({**self.task.problem.values, **design})
        count, constraints = len(self.metrics), len(self.sides)
        metrics = dict(zip(self.metrics, out[1 : 1 + count], strict=True))
        truths = [bool(item) for item in out[1 + count : 1 + count + constraints]]
        slack = iter(out[1 + count + constraints :])
        room = [next(slack) if pair else None for pair in self.sides]
        # a limit that is met up to rounding leaves nothing
        room = [
            0.0 if holds and item is not None and item < 0 else item for holds, item in zip(truths, room, strict=True)
        ]
        return out[0], metrics, truths, room


def backend_named(name: str) -> Backend:
    """Return a backend by name; ``auto`` enumerates, which proves any uncoupled problem at the least cost.

    Raises:
        UnknownNameError: there is no such backend.
    """
    import importlib

    if not isinstance(name, str):
        raise InputError(f"expected the name of a backend, got {name!r}", path="backend")
    if name == "auto":
        name = "enumerate"
    classes = {"enumerate": "EnumerateBackend", "milp": "MilpBackend", "cpsat": "CpSatBackend"}
    if name not in classes:
        raise UnknownNameError("backend", name, [*BACKENDS, "auto"], path="backend")
    module = importlib.import_module(f"mlsysim_opt.optimize.backends.{name}")
    backend: Backend = getattr(module, classes[name])()
    return backend


def solve(
    task: Task,
    *,
    backend: str = "auto",
    prune: bool = True,
    time_limit: float | None = None,
    progress: Show | None = None,
    start: Answered | None = None,
    explain: bool = True,
) -> Solution:
    """Return the proven best design of a task, checked by the scalar path.

    Ctrl-C ends the search like a limit of time, with the best design that is held.

    Args:
        progress: called now and then; returning True stops. start: an earlier design, held until a better one is found.
    Raises:
        InfeasibleError: nothing satisfies every constraint; carries the conflict and the cheapest ways out.
        LimitReachedError: a limit was reached before any design was found.
        UnboundedError: the objective can be improved without limit. ScaleError: what is asked is no finite number.
        VerificationError: the answer does not survive re-evaluation; it is withheld.
    """
    from mlsysim_opt.optimize.explain import infeasible
    from mlsysim_opt.optimize.finite import refuse_overflow

    checked_progress(progress)
    known = None if start is None else _known(task, start)
    halt = Halt(_watch(task, task.objective, progress), None if time_limit is None else to_seconds(time_limit))
    engine = backend_named(backend)
    with noted_interrupts(halt.pressed):
        search = task.search()
        try:
            answer = engine.solve(search, prune=prune, halt=halt)
        except UnboundedError:
            refuse_overflow(task)
            raise
        if answer.status not in ("optimal", "infeasible") and known is not None:
            answer = _at_least(answer, known)
        first = answer
        for objective in task.then:
            halt.progress = _watch(task, objective, progress)
            answer, search = _refine(task, search, answer, objective, engine, prune, halt)
    seconds = halt.seconds
    if answer.status == "infeasible":
        raise infeasible(task)
    if answer.design is None or answer.cost is None:
        raise LimitReachedError(f"no design was found: {answer.proof}", hint=halt.hint)
    if explain and not halt.pressed:
        with suppress(KeyboardInterrupt):  # what is known already is not lost
            return solution_of(task, engine.name, answer, first, seconds)
    return solution_of(task, engine.name, answer, first, seconds, explain=False)


def proven(task: Task, **settings: Any) -> Solution:
    """Return the best design of a task, where another question rests on its being the best.

    Raises:
        LimitReachedError: it was ended, by Ctrl-C say, before that was proven.
    """
    found = solve(task, explain=False, **settings)
    found.refuse_unsettled()
    return found


def _known(task: Task, start: Answered) -> Found | None:
    """Return an earlier design as one of a task; None where it is none, or not a possible one.

    Raises:
        InputError: it is no design.
    """
    if not isinstance(start, Solution):
        raise InputError(f"expected an earlier design, got {type(start).__name__}", path="start",
                         hint="an answer of optimize(), or Solution.from_json(text)")  # fmt: skip
    choices = task.problem.choices
    if any(start.design.get(choice.name) not in choice.position for choice in choices):
        return None
    design = {choice.name: start.design[choice.name] for choice in choices}
    cost, _, truths, _ = task.scalar.at(design)
    if not (all(truths) and math.isfinite(cost)):
        return None
    return Found(cost, tuple(choice.position[design[choice.name]] for choice in choices))


def _at_least(answer: Answer, known: Found) -> Answer:
    """Return what was not proven to be the best with a known design where that is better."""
    if answer.cost is not None and answer.cost <= known.cost:
        return answer
    bound = None if answer.bound is None else min(answer.bound, known.cost)
    proof = f"{answer.proof}; the design is the one that was begun with"
    return replace(answer, status="feasible", design=known.design, cost=known.cost, bound=bound, proof=proof)


def _watch(task: Task, objective: Objective, progress: Show | None) -> Watch | None:
    return watch_of(progress, objective, partial(task.shown, objective.expression), designs=True)


def solution_of(
    task: Task, backend: str, answer: Answer, first: Answer, seconds: float, *, explain: bool = True
) -> Solution:
    """Return what a backend holds as a solution, after its design was evaluated again by the scalar path.

    Args:
        answer: what is held. first: the answer for the first objective alone. explain: look at the whole space for what
            binds and what comes next.
    Raises:
        VerificationError: something disagrees.
    """
    from mlsysim_opt.optimize.explain import slacks

    assert answer.design is not None
    design = task.design_values(answer.design)
    rechecked, metrics, slack = _recheck(task, design, answer, first)
    sign = 1.0 if task.objective.sense == "min" else -1.0
    cost = rechecked.pop("cost")
    explain = explain and answer.status == "optimal"  # explaining takes a look at the whole space
    outcome = (first.outcome or task.search().run()) if explain else first.outcome
    others = [item for item in (outcome.best if outcome else []) if item.design != answer.design]
    runners = [task.runner(item.design, item.cost, cost) for item in others]
    ties = [item for item in runners if abs(item.worse_by) <= TIE]
    bound = first.bound if first.bound is not None else -math.inf
    reasons = excluded_reasons([task.objective.expression, *(item.holds for item in task.problem.constraints)])
    return Solution(
        status=answer.status,
        problem=task.problem.name,
        objective_name=task.objective.name,
        sense=task.objective.sense,
        objective=task.shown(task.objective.expression, sign * cost),
        bound=task.shown(task.objective.expression, sign * bound, sign * cost) if math.isfinite(bound) else None,
        gap=0.0 if first.status == "optimal" else _gap(cost, bound),
        design=design,
        metrics=_shown_metrics(task, metrics),
        constraints=slacks(task, cost, slack, explain=explain),
        certificate=Certificate(
            kind="enumeration" if backend == "enumerate" else "solver bound",
            proof=first.proof + (f"; then, among its ties: {answer.proof}" if answer is not first else ""),
            solver=answer.solver,
            combinations=task.problem.combinations,
            details=answer.details,
            rechecked=rechecked,
        ),
        runner_ups=[item for item in runners if item not in ties],
        ties=ties,
        tie_count=max(1, outcome.ties if outcome else 1),
        elasticities=_elasticities(task, design) if explain else {},
        limits=_limits(task, answer.design),
        excluded=reasons,
        assumptions=dict(task.problem.assumptions),
        backend=backend,
        seconds=seconds,
        request=task.request,
        task=task,
    )


def _refine(
    task: Task, search: Search, answer: Answer, objective: Objective, engine: Backend, prune: bool, halt: Halt
) -> tuple[Answer, Search]:
    """Return the best design for the next objective among those that tie in the previous one."""
    from mlsysim_opt.optimize.finite import refuse_overflow

    if answer.cost is None:
        return answer, search
    from mlsysim_opt.algebra.expression import constant

    margin = abs(answer.cost) * TIE
    held = search.cost <= constant(answer.cost + margin, search.cost.dimension)
    named = Constraint(f"{task.objective.name} stays at its best", held)
    narrowed = Search(
        search.choices, objective.cost, search.structural, [*search.questioned, named], search.values, search.keep
    )
    found = engine.solve(narrowed, prune=prune, halt=halt)
    if found.design is not None:
        status: Status = "optimal" if answer.status == found.status == "optimal" else "feasible"
        return replace(found, status=status), narrowed
    if found.status == "infeasible":  # the next objective is defined for none of them: it cannot decide
        refuse_overflow(replace(task, objective=objective, then=[]))
        return answer, search
    return replace(answer, status="feasible"), search


def _gap(cost: float, bound: float) -> float | None:
    """Return how far a cost is above its bound, relatively; None where that says nothing."""
    if not math.isfinite(bound):
        return None
    gap = max(0.0, relative(cost, bound))
    return gap if math.isfinite(gap) else None


def _recheck(
    task: Task, design: Mapping[str, Any], answer: Answer, first: Answer
) -> tuple[dict[str, Any], dict[str, float], list[float | None]]:
    """Evaluate the design by the scalar path, and refuse it if anything disagrees.

    Args:
        answer: what is held. first: the answer for the first objective alone, whose cost the design must have.
    """
    cost, metrics, truths, slack = task.scalar.at(design)
    if any(amount is not None and math.isnan(amount) for amount in slack):  # infinity compared with infinity
        from mlsysim_opt.optimize.finite import refuse_overflow

        refuse_overflow(task)
    claimed = first.cost
    assert claimed is not None
    deviation = abs(relative(cost, claimed)) if claimed else abs(cost)
    failing = [item.name for item, holds in zip(task.problem.constraints, truths, strict=True) if not holds]
    if failing or not deviation <= AGREEMENT:
        raise VerificationError(
            f"the answer of {answer.solver} does not hold: "
            + (f"violates {', '.join(failing)}" if failing else f"objective off by {deviation:.2g}"),
            hint="this is a fault of the solver or of this package; please report it",
        )
    rechecked = {"cost": cost, "deviation": deviation, "constraints_hold": True, "constraints": len(truths)}
    return rechecked, metrics, slack


def _shown_metrics(task: Task, metrics: Mapping[str, float]) -> Metrics:
    shown: dict[str, Value] = {}
    for name, value in metrics.items():
        item = task.problem.metrics[name]
        assert item.expression is not None
        if item.expression.dimension == NONE:
            shown[name] = Value(value if math.isfinite(value) else None)
        else:
            unit = item.display_unit(value)
            shown[name] = Value(value / unit.factor if math.isfinite(value) else None, unit.text)
    return Metrics(shown, {name: item.reason for name, item in task.problem.metrics.items() if item.reason})


def _elasticities(task: Task, design: Mapping[str, Any], most: int = 12) -> dict[str, float]:
    """Return the percentages by which the objective changes for one percent of each continuous number."""
    wanted: list[Expression] = [item for item in symbols(task.objective.expression) if not item.integer]
    if not wanted:
        return {}
    program = ScalarProgram(elasticities(task.objective.expression, wanted))
    found: dict[str, float] = {}
    for leaf, change in zip(wanted, program.run_named({**task.problem.values, **design}), strict=True):
        assert isinstance(leaf, Symbol)
        if math.isfinite(change) and abs(change) > 1e-6:
            found[leaf.name] = change
    return dict(sorted(found.items(), key=lambda item: -abs(item[1]))[:most])


def _limits(task: Task, design: Design) -> list[str]:
    """Return the decisions whose search box was cut short, with what was left out."""
    found = []
    for decision, index in zip(task.problem.decisions.values(), design, strict=True):
        if decision.limited:
            found.append(f"{decision.name} = {decision.choice.values[index]}: {decision.limited}")
    return found


__all__ = ["AGREEMENT", "BACKENDS", "Slack", "Task", "backend_named", "proven", "solution_of", "solve"]
