"""What a coupled formulation decides: its choices, amounts, relations and metrics, with the sums that are compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlsysim_opt.cli.explain import Section
    from mlsysim_opt.cli.output import Answer
    from mlsysim_opt.optimize import CoupledProblem
    from mlsysim_opt.optimize.coupled.totals import Family


LONGEST = 400
"""Characters of a relation that a table shows."""


def sections(problem: CoupledProblem) -> list[Section]:
    """Return what a coupled problem declares: choices, amounts, relations of sums, and truths about single choices."""
    from mlsysim_opt.cli.explain import Section, choices_section
    from mlsysim_opt.optimize.coupled.words import relation_text

    families = [(item.name, kind(item), item.unit or "", item.about) for item in problem.families.values()]
    relations = [(item, relation_text(item)) for item in problem.couplings]
    return [
        choices_section("choices", "Choices (--choose name=v1,v2)", problem),
        Section(
            "amounts",
            [{"name": n, "kind": k, "unit": u or None, "about": about} for n, k, u, about in families],
            "Amounts that are decided",
            ("name", "what", "unit", ""),
            list(families),
        ),
        Section(
            "relations",
            [{"name": item.name, "structural": item.structural, "relation": text} for item, text in relations],
            "Relations of sums; your own are added by --constraint",
            ("name", "", ""),
            [(item.name, _cut(text), "defines a plan" if item.structural else "") for item, text in relations],
        ),
        Section(
            "constraints",
            [{"name": item.name, "structural": item.structural} for item in problem.local],
            "Constraints on single choices",
            ("constraint", ""),
            [(item.name, "defines what there is" if item.structural else "") for item in problem.local],
        ),
    ]


def kind(family: Family) -> str:
    """Return what the amounts of a family are, in words."""
    over = ", ".join(choice.name for choice in family.over) or "the plan"
    if family.sort == "pick":
        group = ", ".join(choice.name for choice in family.group)
        return f"a pick of {over}" + (f" for each {group}" if group else "") + (", or none" if family.optional else "")
    return f"{'whole' if family.whole else 'divisible'} amounts for each {over}"


def _cut(text: str) -> str:
    """Return the beginning of a text too long for a table: physics of replicas fills pages."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text):,} characters: explain this name alone)"


def parts(problem: CoupledProblem) -> list[str]:
    """Return the names of what can be explained of a problem."""
    relations = [item.name for item in [*problem.couplings]] + [item.name for item in problem.local]
    return [*problem.metrics, *problem.aliases, *relations]


def part(problem: CoupledProblem, name: str, *, as_latex: bool) -> Answer | None:
    """Return the equation of a metric, a relation or a constraint; None where there is none of this name."""
    from mlsysim_opt.cli.explain import equations, told
    from mlsysim_opt.optimize.coupled.words import relation_text, total_text

    if name in problem.metrics:
        metric = problem.metrics[name]
        expression = problem.metric(name)
        about = f"{metric.about}; a metric of {problem.name}" + (f", in {metric.unit}" if metric.unit else "")
        if name not in problem.totals:
            return equations(name, {name: expression}, about, as_latex=as_latex)
        text = total_text(problem.totals[name], as_latex=as_latex)
        return told(name, f"{name} = {text}", about, as_latex=as_latex)
    for item in problem.couplings:
        if item.name == name:
            text, about = relation_text(item, as_latex=as_latex), f"a relation of {problem.name}"
            return told(name, text, about, as_latex=as_latex)
    for rule in problem.local:
        if rule.name == name:
            return equations(name, {"holds": rule.holds}, f"a constraint of {problem.name}", as_latex=as_latex)
    return None
