"""Tier 3: declare what may be chosen, what must hold and what is wanted; get the provably best design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlsysim_opt.errors import InputError, MlsysimError
from mlsysim_opt.optimize.answer import Certificate, Metrics, Value
from mlsysim_opt.optimize.coupled.problem import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.run import checked_gap, solve_coupled
from mlsysim_opt.optimize.coupled.solution import PlanSolution
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.explain import WhyNot
from mlsysim_opt.optimize.formulation import Formulation, Instance, extended, formulation, formulation_names, infer
from mlsysim_opt.optimize.front import Front, FrontObjective
from mlsysim_opt.optimize.inverse import solve_for
from mlsysim_opt.optimize.problem import Constraint, Decision, Metric, Objective, Problem
from mlsysim_opt.optimize.progress import Progress, Show
from mlsysim_opt.optimize.request import ConstraintSpec, ObjectiveSpec
from mlsysim_opt.optimize.run import BACKENDS, Task, solve, to_seconds
from mlsysim_opt.optimize.scenarios import Robustness
from mlsysim_opt.optimize.solution import Relaxation, Runner, Slack, Solution


def task(
    problem: str | Formulation | Problem | CoupledProblem | None = None,
    *,
    objective: ObjectiveSpec | Sequence[ObjectiveSpec] | None = None,
    constraints: Sequence[ConstraintSpec] = (),
    choices: Mapping[str, Any] | None = None,
    extend: Callable[[Any], Any] | None = None,
    **given: Any,
) -> Task | CoupledTask:
    """Return the question `optimize` would answer, compiled but not solved."""
    if isinstance(problem, Problem | CoupledProblem):
        if given or choices:
            raise InputError("a Problem is complete; givens and choices belong to formulations", path="given")
        return question(extended(problem, extend), objective, constraints)
    if problem is not None and not isinstance(problem, str | Formulation):
        raise InputError(f"expected a formulation, a Problem or a CoupledProblem, got {problem!r}", path="problem")
    if choices is not None and not isinstance(choices, Mapping):
        raise InputError(f"expected values by decision, got {choices!r}", path="choices")
    instance = _instance(problem, given, choices, extend)
    assert instance is not None
    return question(instance.problem(), objective, constraints)


def _instance(
    problem: Any, given: Mapping[str, Any], choices: Mapping[str, Any] | None, extend: Callable[[Any], Any] | None
) -> Instance | None:
    """Return the formulation that is meant with its givens; None where a problem is given."""
    if isinstance(problem, Problem | CoupledProblem):
        return None
    chosen = (
        problem if isinstance(problem, Formulation) else formulation(problem) if problem is not None else infer(given)
    )
    return Instance(chosen, given, choices, extend)


def refuse_for_designs(problem: str, *, gap: float | str = 0.0, start: Any = None) -> None:
    """Refuse what only the search for plans knows: all designs of a problem are looked at.

    Raises:
        InputError: it is given.
    """
    if checked_gap(gap):
        raise InputError(f"{problem} is solved by looking at all designs: there is no gap to stop at", path="gap",
                         hint="leave it out; time_limit and progress end a search early")  # fmt: skip
    if start is not None:
        raise InputError(f"{problem} is solved by looking at all designs: a front begins with none", path="start")


def question(
    problem: Problem | CoupledProblem,
    objective: ObjectiveSpec | Sequence[ObjectiveSpec] | None,
    constraints: Sequence[ConstraintSpec],
) -> Task | CoupledTask:
    """Return what a user asks of a declared problem."""
    if isinstance(problem, CoupledProblem):
        return CoupledTask.of(problem, objective, constraints)
    return Task.of(problem, objective, constraints)


def optimize(
    problem: str | Formulation | Problem | CoupledProblem | None = None,
    *,
    objective: ObjectiveSpec | Sequence[ObjectiveSpec] | None = None,
    constraints: Sequence[ConstraintSpec] = (),
    choices: Mapping[str, Any] | None = None,
    backend: str = "auto",
    prune: bool = True,
    time_limit: float | None = None,
    explain: bool = True,
    gap: float | str = 0.0,
    progress: Show | None = None,
    start: PlanSolution | Solution | None = None,
    extend: Callable[[Any], Any] | None = None,
    scenarios: Sequence[Mapping[str, Any]] | None = None,
    intervals: Mapping[str, Any] | None = None,
    robust: str | None = None,
    alpha: float | None = None,
    shares: Sequence[float] | None = None,
    **given: Any,
) -> Solution | PlanSolution:
    """Return the best design, or the best plan of a coupled problem, with a proof that none is better.

    Args:
        problem: a formulation by name (``"parallelism"``), a `Formulation`, or your own `Problem`; when left out, the
        one
            formulation that takes all the givens.
        objective: ``"min_<metric>"`` or ``"max_<metric>"``, a text expression to minimise
            (``"cost + 100 USD/tCO2e * carbon"``), an expression, a function of the metrics, or a list of these for
            lexicographic optimization.
        constraints: comparisons, as text (``"memory <= 76 GiB"``), expressions or functions of the metrics.
        choices: for some decisions, the value or values allowed: ``{"tp_size": [4, 8]}``.
        backend: ``enumerate``, ``milp``, ``cpsat`` or ``auto``; of coupled problems ``milp``, ``cpsat``, ``pyomo``
            (``pyomo:NAME`` for another solver) or ``auto``.
        prune: let the solver backends see only designs that can be optimal.
        time_limit: seconds for a solver.
        explain: also find what binds, runners-up and elasticities; of a coupled question, why it has no plan.
        gap: for coupled problems: the relative gap at which to stop (``0.01`` or ``"1%"``).
        progress: a function that is shown the `Progress`; it stops the search by returning True. start: an earlier
            answer to begin with.
        extend: a function that is given the problem and adds to it: metrics, decisions, constraints.
        scenarios: what may be given instead, each a mapping of givens, numbers or tables by name. One answer must do in
            all of them (but for amounts that are decided once the scenario is known: who is served where); its
            `robustness` says what that costs.
        intervals: for numbers of the problem by name, a low and a high end; their corners are the scenarios, which is
            exact because only numbers in which the problem is affine are taken.
        robust: what is made small over the scenarios: ``worst_case`` (when None), ``expected`` (with `shares`,
            probabilities that are equal when None), ``cvar`` (the mean of the worst share ``1 - alpha``, 0.1 when None)
            or ``regret``.
        given: the formulation's inputs.
    Returns:
        a `Solution`; of a coupled problem a `PlanSolution`.
    Raises:
        InfeasibleError: no design satisfies all constraints; says which conflict and the cheapest ways out.
        InputError: something given is unknown, missing, of the wrong unit or out of range.
    """
    asked = task(problem, objective=objective, constraints=constraints, choices=choices, extend=extend, **given)
    limit = None if time_limit is None else to_seconds(time_limit)
    if scenarios is not None or intervals is not None:
        from mlsysim_opt.optimize.robust import Uncertain

        if start is not None:
            raise InputError("an answer to several scenarios begins with no earlier one", path="start")
        if isinstance(asked, Task):
            refuse_for_designs(asked.problem.name, gap=gap)
        uncertain = Uncertain.of(
            asked, scenarios=scenarios, intervals=intervals, measure=robust or "worst_case",
            alpha=alpha, shares=shares, instance=_instance(problem, given, choices, extend),
        )  # fmt: skip
        return uncertain.answer(backend=backend, prune=prune, time_limit=limit, gap=gap, progress=progress)
    for name, value in (("robust", robust), ("alpha", alpha), ("shares", shares)):
        if value is not None:
            raise InputError("is about scenarios, and none are given", path=name, hint="scenarios= or intervals=")
    if isinstance(asked, CoupledTask):
        return solve_coupled(
            asked,
            backend=backend,
            prune=prune,
            time_limit=limit,
            gap=gap,
            progress=progress,
            start=start,
            explain=explain,
        )
    refuse_for_designs(asked.problem.name, gap=gap)
    return solve(asked, backend=backend, prune=prune, time_limit=limit, progress=progress, start=start, explain=explain)


def pareto(
    problem: str | Formulation | Problem | CoupledProblem | None = None,
    *,
    objectives: Sequence[ObjectiveSpec],
    constraints: Sequence[ConstraintSpec] = (),
    choices: Mapping[str, Any] | None = None,
    points: int | None = None,
    backend: str = "auto",
    prune: bool = True,
    time_limit: float | None = None,
    gap: float | str = 0.0,
    progress: Show | None = None,
    start: PlanSolution | None = None,
    extend: Callable[[Any], Any] | None = None,
    **given: Any,
) -> Front:
    """Return all designs (or plans) that no other one beats in every objective, each with its proof.

    Args:
        objectives: two to four, each as for `optimize`.
        points: about so many points instead of all, with the guarantee that says what they stand for. Where amounts are
            divisible a front has no end, and 25 are found if nothing is said.
        gap: of coupled problems: stop in each program so near its bound; the front is then a cover.
        start, backend, prune: for coupled problems, as for `optimize`.
        problem, constraints, choices, time_limit, progress, extend, given: as for `optimize`; the time is that
            of the whole front. A front that it ends says where points may be missing.
    Raises:
        InfeasibleError, InputError, LimitReachedError, UnboundedError: as `optimize`.
    """
    from mlsysim_opt.optimize.coupled.front import coupled_front
    from mlsysim_opt.optimize.front_designs import front

    if isinstance(objectives, str) or not isinstance(objectives, list | tuple):
        raise InputError(f"expected a list of objectives, got {objectives!r}", path="objectives")
    for name in ("scenarios", "intervals", "robust"):
        if name in given:
            raise InputError("a front is of one scenario", path=name,
                             hint="optimize() answers over several, with limits on the other objectives")  # fmt: skip
    asked = task(problem, objective=list(objectives), constraints=constraints, choices=choices, extend=extend, **given)
    limit = None if time_limit is None else to_seconds(time_limit)
    if isinstance(asked, CoupledTask):
        return coupled_front(
            asked, points, backend=backend, prune=prune, time_limit=limit, gap=gap, progress=progress, start=start
        )
    refuse_for_designs(asked.problem.name, gap=gap, start=start)
    return front(asked, points, limit, progress)


def evaluate(
    problem: str | Formulation | Problem | None = None,
    *,
    design: Mapping[str, Any],
    constraints: Sequence[ConstraintSpec] = (),
    **given: Any,
) -> dict[str, Any]:
    """Return metrics and constraints of one fully given design.

    Args:
        problem: as for `optimize`. design: a value for each decision that has several; one that `optimize` takes in
            `choices` will do.
    Returns:
        ``design``, ``metrics`` (a `Metrics`), ``constraints`` (name to whether it holds), ``slack`` (of each
        inequality, a `Value`), ``feasible``.
    Raises:
        InputError: a decision has no value, or a value it does not have.
    """
    from mlsysim_opt.optimize.run import _shown_metrics

    base = task(problem, constraints=constraints, **given)
    if isinstance(base, CoupledTask):
        raise InputError(f"{base.problem.name} is a coupled problem: its plans have no single design", path="problem")
    untried = base.problem.untried(design)
    if untried and not isinstance(problem, Problem):  # a formulation may take more values than it tries by itself
        given["choices"] = {**(given.get("choices") or {}), **untried}
        with suppress(MlsysimError):  # it does not, as is said below
            wider = task(problem, constraints=constraints, **given)
            base = wider if isinstance(wider, Task) else base
    chosen: dict[str, Any] = {}
    asked = {choice.name: choice.values[index] for choice, index in base.problem.fixed(design).items()}
    missing = []
    for name, decision in base.problem.decisions.items():
        if name in asked:
            chosen[name] = asked[name]
        elif len(decision.choice.values) == 1:
            chosen[name] = decision.choice.values[0]
        else:
            missing.append(f"{name} ({', '.join(str(item) for item in decision.choice.values[:12])})")
    if missing:
        raise InputError(f"no value for {'; '.join(missing)}", path="design")
    _, metrics, truths, slack = base.scalar.at(chosen)
    names = [item.name for item in base.problem.constraints]
    sides = [item.sides for item in base.problem.constraints]
    return {
        "design": chosen,
        "metrics": _shown_metrics(base, metrics),
        "constraints": dict(zip(names, truths, strict=True)),
        "slack": {
            name: base.shown(pair[1], amount)
            for name, pair, amount in zip(names, sides, slack, strict=True)
            if pair is not None and amount is not None
        },
        "feasible": all(truths),
    }


__all__ = [
    "BACKENDS", "Certificate", "Constraint", "CoupledProblem", "CoupledTask", "Decision", "Formulation", "Front",
    "FrontObjective", "Largest", "Metric", "Metrics", "Objective", "PlanSolution", "Problem", "Progress", "Relaxation",
    "Robustness", "Runner", "Slack", "Solution", "Task", "Value", "WhyNot", "evaluate", "formulation",
    "formulation_names", "optimize", "pareto", "question", "solve", "solve_coupled", "solve_for",
    "task",
]  # fmt: skip
