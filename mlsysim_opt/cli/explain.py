"""The command that shows what a formulation decides, and the running equations of metrics, models and walls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.cli.question import flagged, read_texts
from mlsysim_opt.errors import MlsysimError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from mlsysim_opt.algebra import Expression
    from mlsysim_opt.optimize import CoupledProblem, Formulation, Problem


FIRST = "parallelism"
"""Where a metric is looked for first, when several formulations have it: `--formulation` names another."""


def explain(
    name: str | None,
    within: str | None,
    named: Mapping[str, str],
    texts: Sequence[str] = (),
    *,
    as_latex: bool,
    as_markdown: bool = False,
) -> Answer:
    """Return what there is to know of a formulation, model, metric or wall; without a name, what there is.

    Raises:
        UnknownNameError: there is nothing of this name. UsageError: the form is not one of this topic.
    """
    from mlsysim_opt.cli import explain_coupled
    from mlsysim_opt.cli import explain_physics as physics
    from mlsysim_opt.optimize import CoupledProblem, formulation, formulation_names

    if as_markdown and name != "walls":
        raise UsageError("there is no such page", path="--markdown", hint="'explain walls --markdown' writes one")
    given = _given(named, texts)
    names = formulation_names()
    if name is None:
        return _overview()
    if name in names:
        return _formulation(formulation(name), given)
    if within is not None:
        names = [formulation(within).name]
    found = physics.topic(name, as_latex=as_latex, as_markdown=as_markdown)
    if found is not None:
        return found
    homes = [formulation(home) for home in dict.fromkeys([*([FIRST] if within is None else []), *names])]
    fitting = [home for home in homes if within is not None or home.fits(given)]
    made: dict[str, Problem | CoupledProblem] = {}  # some take seconds to make: only those that are looked at
    for own in (True, False):  # what is called so comes before what is also called so
        for home in fitting:
            problem = made[home.name] = made.get(home.name) or sample(home, given)
            real = name if own else problem.aliases.get(name, name)
            if isinstance(problem, CoupledProblem):
                coupled = explain_coupled.part(problem, real, as_latex=as_latex)
                if coupled is not None:
                    return coupled
                continue
            if real in problem.metrics:
                return _metric(problem, real, as_latex=as_latex)
            for rule in problem.constraints:
                if rule.name == name:
                    about = f"a constraint of {problem.name}"
                    return equations(name, {"holds": rule.holds}, about, as_latex=as_latex)
    known: list[str] = []
    for item in made.values():
        if isinstance(item, CoupledProblem):
            known += explain_coupled.parts(item)
        else:
            known += [*item.metrics, *item.aliases, *(rule.name for rule in item.constraints)]
    raise UnknownNameError("formulation, model, metric or constraint", name, [*names, *physics.names(), *known])


def _given(named: Mapping[str, str], texts: Sequence[str]) -> dict[str, str]:
    """Return the texts of what is given, by name."""
    return {**arguments.pairs(texts, "--set", "precision=bf16"), **named}


def sample(chosen: Formulation, given: Mapping[str, str]) -> Problem | CoupledProblem:
    """Return a small instance of a formulation, with what the user wants in its place."""
    wanted = read_texts(chosen, given)
    replaced = {chosen.aliases.get(name, name) for name in wanted}
    kept = {name: value for name, value in chosen.example.items() if chosen.aliases.get(name, name) not in replaced}
    try:
        return chosen.problem({**kept, **wanted})
    except MlsysimError as error:
        raise flagged(error, chosen, given) from None


def _overview() -> Answer:
    from mlsysim_opt.cli import explain_physics as physics
    from mlsysim_opt.optimize import formulation, formulation_names

    formulations = [(name, formulation(name).about) for name in formulation_names()]
    models = [(name, physics.first_line(name)) for name in physics.resolvers()]
    data = {"status": "ok", "formulations": dict(formulations), "models": dict(models), "walls": 22}

    def show(screen: Screen) -> None:
        screen.table("Formulations", ("name", "question"), formulations)
        screen.table("Models and solvers", ("name", ""), models)
        screen.line("'mlsysim-opt explain NAME' shows one, or the equation of a metric such as step_time")
        screen.line("'mlsysim-opt explain walls' lists the 22 walls, 'mlsysim-opt explain wall 4' shows one")

    return Answer(data, show)


# formulations ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Section:
    """A table of what a formulation declares: its key and list in JSON, and what people read."""

    key: str
    data: list[dict[str, Any]]
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def _formulation(chosen: Formulation, given: Mapping[str, str]) -> Answer:
    from mlsysim_opt.cli import explain_coupled
    from mlsysim_opt.optimize import CoupledProblem

    problem = sample(chosen, given)
    coupled = isinstance(problem, CoupledProblem)
    inputs = [(item.name, default_text(item.default), item.about) for item in chosen.inputs]
    declared = explain_coupled.sections(problem) if isinstance(problem, CoupledProblem) else _sections(problem)
    metrics = [(name, item.unit or "", item.about) for name, item in problem.metrics.items()]
    aliases = {**chosen.aliases, **problem.aliases}
    data = {
        "status": "ok",
        "formulation": chosen.name,
        "about": chosen.about,
        "coupled": coupled,
        "inputs": [{"name": name, "default": default, "about": about} for name, default, about in inputs],
        **{section.key: section.data for section in declared},
        "metrics": [{"name": name, "unit": unit or None, "about": about} for name, unit, about in metrics],
        "aliases": aliases,
        "default_objective": problem.default_objective,
        "example": chosen.example,
    }

    def show(screen: Screen) -> None:
        screen.line(f"{chosen.name}: {chosen.about}", "bold")
        options = "--set name=value" if coupled else "--model, --fleet, ..., --set name=value"
        screen.table(f"Given ({options})", ("name", "default", ""), inputs)
        shown = ", ".join(f"{name}={value}" for name, value in {**chosen.example, **given}.items())
        for at, section in enumerate(declared):
            screen.table(section.title, section.columns, section.rows)
            if at == 0:
                screen.line(f"(values for {shown})")
        screen.table("Metrics; min_ or max_ before one is an objective", ("name", "unit", ""), metrics)
        screen.table("Other names", ("name", "means"), aliases.items())

    return Answer(data, show)


def _sections(problem: Problem) -> list[Section]:
    """Return what a problem of one design declares."""
    constraints = [(item.name, "defines a design" if item.structural else "") for item in problem.constraints]
    return [
        choices_section("decisions", "Decisions (--choose name=v1,v2)", problem),
        Section(
            "constraints",
            [{"name": item.name, "structural": item.structural} for item in problem.constraints],
            "Constraints; your own are added by --constraint",
            ("constraint", ""),
            constraints,
        ),
    ]


def choices_section(key: str, title: str, problem: Problem | CoupledProblem) -> Section:
    """Return the choices of a problem with their values."""
    items = problem.decisions.values()
    data = [{"name": item.name, "values": list(item.choice.values), "about": item.about} for item in items]
    rows = [(item.name, values_text(item.choice.values), item.about) for item in items]
    return Section(key, data, title, ("name", "values", ""), rows)


def default_text(value: Any) -> str:
    """Return the default of an input for people."""
    from mlsysim_opt.physics.inputs import REQUIRED

    return "needed" if value is REQUIRED else "" if value is None else str(value)


def values_text(values: tuple[Any, ...]) -> str:
    """Return the values of a choice for people; of many, the first and the last."""
    shown = ", ".join(str(value) for value in values[:12])
    return shown if len(values) <= 12 else f"{shown}, ... {values[-1]} ({len(values)} values)"


# equations ------------------------------------------------------------------------------------------------------------
def _metric(problem: Problem, name: str, *, as_latex: bool) -> Answer:
    from mlsysim_opt.algebra import topological

    expression = problem.metric(name)
    below = {id(node) for node in topological([expression])}
    roots = {name: expression}
    for other, item in problem.metrics.items():  # metrics that this one is made of keep their names
        if item.expression is not None and item.expression.args and id(item.expression) in below:
            roots.setdefault(other, item.expression)
    metric = problem.metrics[name]
    title = f"a metric of {problem.name}" + (f", in {metric.unit}" if metric.unit else "")
    return equations(name, roots, f"{metric.about}; {title}", as_latex=as_latex)


def equations(name: str, roots: dict[str, Expression], about: str, *, as_latex: bool) -> Answer:
    """Return equations as they are evaluated."""
    from mlsysim_opt.algebra import equations_latex, equations_text

    return told(name, equations_latex(roots) if as_latex else equations_text(roots), about, as_latex=as_latex)


def told(name: str, text: str, about: str, *, as_latex: bool) -> Answer:
    """Return a text of equations."""
    data = {"status": "ok", "name": name, "about": about, "form": "latex" if as_latex else "text", "equations": text}

    def show(screen: Screen) -> None:
        if not as_latex:
            screen.line(f"{name}: {about}", "bold")
        screen.code(text)

    return Answer(data, show)
