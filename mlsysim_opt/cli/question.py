"""From options and a plan file to one compiled question, with every fault of what was given named at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.cli.plan import Plan, read_plan
from mlsysim_opt.errors import InputError, MlsysimError, PlanError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from mlsysim_opt.optimize import CoupledProblem, CoupledTask, Formulation, Problem, Task
    from mlsysim_opt.optimize.formulation import Instance
    from mlsysim_opt.optimize.robust import Uncertain

OPTIONS = {
    "model": "--model", "fleet": "--fleet", "batch_size": "--batch-size", "global_batch_size": "--batch-size",
    "seq_len": "--seq-len", "precision": "--precision",
}  # fmt: skip
"""Givens that have an option of their own; every other one is given by ``--set``."""
AS_GIVEN = "as given"
"""The scenario in which nothing else is given."""


@dataclass
class Asked:
    """What the command line says: options win over the plan; its constraints are added to those of the plan.

    Attributes:
        named: givens with an option of their own (`OPTIONS`), by name; None where the option is absent.
        given, choices: the texts of ``--set`` and ``--choose``.
        scenarios, robust, otherwise, limited: the texts of ``--scenario``, ``--robust``, ``--what-if`` and
            ``--marginal``.
    """

    formulation: str | None = None
    named: dict[str, str | None] = field(default_factory=dict)
    given: Sequence[str] = ()
    choices: Sequence[str] = ()
    objectives: Sequence[str] = ()
    constraints: Sequence[str] = ()
    plan: str | None = None
    scenarios: Sequence[str] = ()
    robust: str | None = None
    otherwise: Sequence[str] = ()
    limited: Sequence[str] = ()

    def task(self) -> Task | CoupledTask:
        """Return the question, compiled but not solved.

        Raises:
            MlsysimError: something given is not acceptable; a fault of the plan is named with its place.
        """
        plan = read_plan(self.plan) if self.plan is not None else None
        if plan is not None and plan.uncertain:
            error = InputError("only optimize answers over several scenarios", hint="leave it out of the plan")
            raise plan.fault((next(iter(plan.uncertain)),), error, key=True)
        return self._read(plan)[0]

    def question(self) -> Task | CoupledTask | Uncertain:
        """Return the question, perhaps over several scenarios; see `task`."""
        plan = read_plan(self.plan) if self.plan is not None else None
        task, instance = self._read(plan)
        asked = {**(plan.uncertain if plan else {}), **self._uncertain(instance.of)}
        if not asked:
            return task
        return uncertain_question(task, instance, asked, plan)

    def _uncertain(self, chosen: Formulation) -> dict[str, Any]:
        """Return what the options say of several scenarios."""
        asked: dict[str, Any] = {}
        for text in self.scenarios:
            pieces = [] if text.strip() == AS_GIVEN else [piece for piece in text.split(";") if piece.strip()]
            texts = arguments.pairs([piece.strip() for piece in pieces], "--scenario", "'price=3 USD/h; seq_len=8192'")
            asked.setdefault("scenarios", []).append(read_texts(chosen, texts))
        return asked if self.robust is None else {**asked, "robust": self.robust}

    def _read(self, plan: Plan | None) -> tuple[Task | CoupledTask, Instance]:
        """Return the question, and the formulation with what is given."""
        from mlsysim_opt.optimize import question
        from mlsysim_opt.optimize.formulation import Instance

        texts = self._texts()
        choices = dict(plan.choices) if plan else {}
        narrowed = arguments.pairs(self.choices, "--choose", "tp_size=4,8")
        choices.update({name: arguments.values(text) for name, text in narrowed.items()})
        chosen = self._formulation(plan, {**(plan.given if plan else {}), **texts})
        given = _merged(plan, read_texts(chosen, texts), chosen)
        if plan is not None:
            _check_given(plan, chosen, given)
        try:
            problem = chosen.problem(given, choices)
        except MlsysimError as error:
            raise flagged(_explained(error, plan, chosen, given, choices), chosen, texts) from None
        objectives = list(self.objectives) or (plan.objective if plan else [])
        if plan is not None:
            _check_texts(plan, problem, with_objective=not self.objectives)
        constraints = [*(plan.constraints if plan else []), *self.constraints]
        try:
            return question(problem, objectives or None, constraints), Instance(chosen, given, choices)
        except MlsysimError as error:
            raise flagged(error, chosen, texts) from None

    def design_task(self) -> Task:
        """Return the question about one design.

        Raises:
            InputError: it is about a coupled problem, whose plans are many designs at once.
        """
        from mlsysim_opt.optimize import Task

        made = self.task()
        if not isinstance(made, Task):
            raise InputError(
                f"{made.problem.name} is a coupled problem: a plan of it is no single design",
                path="formulation",
                hint="mlsysim-opt optimize, with --choose or --constraint to fix parts of the plan",
            )
        return made

    def _texts(self) -> dict[str, str]:
        """Return the givens of the command line as they are written."""
        texts = {name: text for name, text in self.named.items() if text is not None}
        for name, text in arguments.pairs(self.given, "--set", "precision=bf16").items():
            if name in texts:
                raise UsageError(f"{name!r} is given twice", path="--set", hint=f"{OPTIONS[name]} gives it too")
            texts[name] = text
        return texts

    def _formulation(self, plan: Plan | None, given: dict[str, Any]) -> Formulation:
        from mlsysim_opt.optimize import formulation
        from mlsysim_opt.optimize.formulation import infer

        asked = None if self.formulation is None else formulation(self.formulation)
        if plan is None or plan.formulation is None:
            return infer(given) if asked is None else asked
        try:
            named = formulation(plan.formulation)
        except InputError as error:
            raise plan.fault(("formulation",), error) from None
        if asked is not None and asked.name != named.name:
            differs = InputError(
                f"the plan is about {named.name}, the command about {asked.name}",
                hint="leave one of the two names out",
            )
            raise plan.fault(("formulation",), differs)
        return named


def uncertain_question(
    task: Task | CoupledTask, instance: Instance, asked: dict[str, Any], plan: Plan | None
) -> Uncertain:
    """Return a question over several scenarios.

    Args:
        asked: arguments of `mo.optimize` about them. plan: where some of them may stand.
    """
    from mlsysim_opt.optimize.robust import Uncertain

    try:
        if "scenarios" not in asked:
            raise InputError("is about scenarios, and none are given", path=next(iter(asked)), hint="give scenarios")
        made = Uncertain.of(
            task, scenarios=asked.get("scenarios"), intervals=None, measure=asked.get("robust", "worst_case"),
            alpha=asked.get("alpha"), shares=asked.get("shares"), instance=instance,
        )  # fmt: skip
        _ = made.tasks  # every scenario is read
        return made
    except MlsysimError as error:
        key = (error.path or "scenarios").partition("[")[0].partition(".")[0]
        if plan is not None and asked.get(key) is not None and plan.uncertain.get(key) is asked[key]:
            raise plan.fault((key,), error) from None
        if key in ("scenarios", "robust"):
            error.path = "--scenario" if key == "scenarios" else "--robust"
        raise


def read_texts(chosen: Formulation, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what the texts of givens mean to a formulation: some inputs want them as they are written."""
    verbatim = {item.name for item in chosen.inputs if item.verbatim}
    return {
        name: text if chosen.aliases.get(name, name) in verbatim else arguments.value(text)
        for name, text in texts.items()
    }


def flagged(error: MlsysimError, chosen: Formulation, texts: Mapping[str, str]) -> MlsysimError:
    """Return an error about something given with the option that gives it as its place."""
    if isinstance(error, PlanError):
        return error
    path = error.path or ""
    name, _, rest = path.partition(".")
    if isinstance(error, UnknownNameError) and not path and error.name in texts.keys() - chosen.takes:
        error.path = OPTIONS.get(error.name, "--set")
    elif name == "choices" and rest:
        error.path = f"--choose {rest}"
    elif name == "objective" or name.startswith("constraints["):
        error.path = f"--{name.partition('[')[0].removesuffix('s')}"
    elif name in chosen.takes:
        option = OPTIONS.get(name, f"--set {name}")
        told = option.lstrip("-").replace("-", "_").endswith(path)  # the option itself says which
        error.path = option if told else f"{option} ({path})"
    return error


def _merged(plan: Plan | None, mine: dict[str, Any], chosen: Formulation) -> dict[str, Any]:
    """Return the givens of the plan that the command line does not replace (by whatever name), and its own."""
    if plan is None:
        return mine
    replaced = {chosen.aliases.get(name, name) for name in mine}
    kept = {name: value for name, value in plan.given.items() if chosen.aliases.get(name, name) not in replaced}
    return {**kept, **mine}


def _check_given(plan: Plan, chosen: Formulation, given: dict[str, Any]) -> None:
    """Check each given that stands in the plan (and was not replaced by an option)."""
    inputs = {item.name: item for item in chosen.inputs}
    known = [*inputs, *chosen.aliases]
    errors: list[MlsysimError] = []
    for name, value in plan.given.items():
        real = chosen.aliases.get(name, name)
        if real not in inputs:
            unknown = UnknownNameError(f"argument of formulation {chosen.name!r}", name, known)
            errors.append(plan.fault(("given", name), unknown, key=True))
        elif value is not None and name in given and given[name] is value:
            try:
                inputs[real].read(value)
            except InputError as error:
                errors.append(plan.fault(("given", name), error))
    if errors:
        raise PlanError.of(plan.document.label, errors)


def _check_texts(plan: Plan, problem: Problem | CoupledProblem, *, with_objective: bool) -> None:
    """Check each objective and constraint that stands in the plan."""
    from mlsysim_opt.optimize.request import read_constraints, read_objective

    errors: list[MlsysimError] = []
    for index, text in enumerate(plan.objective if with_objective else []):
        try:
            read_objective(problem, text)
        except InputError as error:
            errors.append(plan.fault(plan.objective_path(index), error))
    for index, text in enumerate(plan.constraints):
        try:
            read_constraints(problem, [text])
        except InputError as error:
            errors.append(plan.fault(plan.constraint_path(index), error))
    if errors:
        raise PlanError.of(plan.document.label, errors)


def _explained(
    error: MlsysimError, plan: Plan | None, chosen: Formulation, given: dict[str, Any], choices: dict[str, Any]
) -> MlsysimError:
    """Return an error of the formulation with its place in the plan, or with what the user may have meant."""
    step = (error.path or "").removeprefix("choices.").split(".")[0]
    if plan is not None:
        for section, asked in (("choices", choices), ("given", given)):
            names = getattr(plan, section)
            written = next((name for name in names if step in (name, chosen.aliases.get(name))), None)
            if written is not None and asked.get(written) is names[written]:  # else an option replaced it
                return plan.fault((section, written), error)
        if isinstance(error, UnknownNameError):
            for section in ("choices", "given"):
                if error.name in getattr(plan, section):
                    return plan.fault((section, error.name), error, key=True)
        if step in chosen.takes and step not in given:
            return plan.fault(("given",), error)
    if isinstance(error, UnknownNameError) and error.name in given:
        decision = _as_decision(error.name, chosen, given, choices)
        if decision is not None:
            error.hint = f"{decision!r} is a decision: --choose {error.name}={given[error.name]} narrows it"
    if isinstance(error, UnknownNameError) and error.name in choices and error.name in chosen.takes:
        text = ",".join(str(item) for item in choices[error.name])
        error.hint = f"{error.name!r} is given, not decided: --set {error.name}={text}"
    return error


def _as_decision(name: str, chosen: Formulation, given: dict[str, Any], choices: dict[str, Any]) -> str | None:
    """Return the decision that a name given by mistake means, if the problem can be built without it."""
    try:
        problem = chosen.problem({key: value for key, value in given.items() if key != name}, choices)
    except MlsysimError:
        return None
    real = problem.aliases.get(name, name)
    return real if real in problem.decisions else None
