"""What a coupled formulation decides: its choices, amounts, relations and metrics, with the sums that are compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli.output import Answer, Screen

if TYPE_CHECKING:
    from mlsysim_opt.optimize import CoupledProblem, Formulation
    from mlsysim_opt.optimize.coupled.totals import Family


def formulation(chosen: Formulation, problem: CoupledProblem, given: Mapping[str, str]) -> Answer:
    """Return all that a coupled formulation declares, for its example with what the user wants in its place."""
    from mlsysim_opt.cli.explain import default_text, values_text
    from mlsysim_opt.optimize.coupled.words import relation_text

    inputs = [(item.name, default_text(item.default), item.about) for item in chosen.inputs]
    choices = [(item.name, values_text(item.choice.values), item.about) for item in problem.decisions.values()]
    families = [(item.name, kind(item), item.unit or "", item.about) for item in problem.families.values()]
    relations = [(item.name, relation_text(item), _part(item)) for item in problem.couplings]
    local = [(item.name, "defines what there is" if item.structural else "") for item in problem.local]
    metrics = [(name, item.unit or "", item.about) for name, item in problem.metrics.items()]
    aliases = {**chosen.aliases, **problem.aliases}
    data = {
        "status": "ok",
        "formulation": chosen.name,
        "about": chosen.about,
        "coupled": True,
        "inputs": [{"name": name, "default": default, "about": about} for name, default, about in inputs],
        "choices": [
            {"name": item.name, "values": list(item.choice.values), "about": item.about}
            for item in problem.decisions.values()
        ],
        "amounts": [{"name": n, "kind": k, "unit": u or None, "about": about} for n, k, u, about in families],
        "relations": [
            {"name": item.name, "structural": item.structural, "relation": relation_text(item)}
            for item in problem.couplings
        ],
        "constraints": [{"name": item.name, "structural": item.structural} for item in problem.local],
        "metrics": [{"name": name, "unit": unit or None, "about": about} for name, unit, about in metrics],
        "aliases": aliases,
        "default_objective": problem.default_objective,
        "example": chosen.example,
    }

    def show(screen: Screen) -> None:
        screen.line(f"{chosen.name}: {chosen.about}", "bold")
        screen.table("Given (--set name=value)", ("name", "default", ""), inputs)
        screen.table("Choices (--choose name=v1,v2)", ("name", "values", ""), choices)
        shown = ", ".join(f"{name}={value}" for name, value in {**chosen.example, **given}.items())
        screen.line(f"(values for {shown})")
        screen.table("Amounts that are decided", ("name", "what", "unit", ""), families)
        screen.table("Relations of sums; your own are added by --constraint", ("name", "", ""), relations)
        screen.table("Constraints on single choices", ("constraint", ""), local)
        screen.table("Metrics; min_ or max_ before one is an objective", ("name", "unit", ""), metrics)
        screen.table("Other names", ("name", "means"), aliases.items())

    return Answer(data, show)


def kind(family: Family) -> str:
    """Return what the amounts of a family are, in words."""
    over = ", ".join(choice.name for choice in family.over) or "the plan"
    if family.sort == "pick":
        group = ", ".join(choice.name for choice in family.group)
        return f"a pick of {over}" + (f" for each {group}" if group else "") + (", or none" if family.optional else "")
    return f"{'whole' if family.whole else 'divisible'} amounts for each {over}"


def _part(item: Any) -> str:
    return "defines a plan" if item.structural else ""


def parts(problem: CoupledProblem) -> list[str]:
    """Return the names of what can be explained of a problem."""
    relations = [item.name for item in [*problem.couplings]] + [item.name for item in problem.local]
    return [*problem.metrics, *problem.aliases, *relations]


def part(problem: CoupledProblem, name: str, *, as_latex: bool) -> Answer | None:
    """Return the equation of a metric, a relation or a constraint; None where there is none of this name."""
    from mlsysim_opt.cli.explain import equations
    from mlsysim_opt.optimize.coupled.words import relation_text, total_text

    if name in problem.metrics:
        metric = problem.metrics[name]
        expression = problem.metric(name)
        about = f"{metric.about}; a metric of {problem.name}" + (f", in {metric.unit}" if metric.unit else "")
        if name not in problem.totals:
            return equations(name, {name: expression}, about, as_latex=as_latex)
        return _text(name, f"{name} = {total_text(problem.totals[name], as_latex=as_latex)}", about, as_latex)
    for item in problem.couplings:
        if item.name == name:
            return _text(name, relation_text(item, as_latex=as_latex), f"a relation of {problem.name}", as_latex)
    for rule in problem.local:
        if rule.name == name:
            return equations(name, {"holds": rule.holds}, f"a constraint of {problem.name}", as_latex=as_latex)
    return None


def _text(name: str, text: str, about: str, as_latex: bool) -> Answer:
    data = {"status": "ok", "name": name, "about": about, "form": "latex" if as_latex else "text", "equations": text}

    def show(screen: Screen) -> None:
        if not as_latex:
            screen.line(f"{name}: {about}", "bold")
        screen.code(text)

    return Answer(data, show)
