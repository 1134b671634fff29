"""A solution for people: the answer, its proof, what binds, what comes next, what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsysim_opt.cli.output import Screen
    from mlsysim_opt.optimize import Certificate, Metrics, Problem, Runner, Slack, Solution

MOST = 5
"""How many runners-up and ties are listed; ``--json`` has all that were kept."""
MOST_ELASTICITIES = 8


def show_solution(screen: Screen, solution: Solution, problem: Problem) -> None:
    """Write a whole solution."""
    show_answer(screen, solution)
    show_proof(screen, solution)
    show_design(screen, solution.design, problem)
    show_metrics(screen, solution.metrics, problem)
    show_constraints(screen, solution.constraints)
    show_others(screen, solution)
    show_elasticities(screen, solution)
    show_ground(screen, solution)


def show_answer(screen: Screen, solution: Solution) -> None:
    """Write status, objective and gap."""
    gap = "gap unknown" if solution.gap is None else f"gap {solution.gap:.3g}"
    style = "bold green" if solution.status == "optimal" else "bold yellow"
    screen.line(f"{solution.status}: {solution.objective_name} = {solution.objective} ({gap})", style)


def show_proof(screen: Screen, solution: Solution) -> None:
    """Write why the answer is to be believed."""
    proof = solution.certificate
    rows = [
        ("proof", proof.proof),
        ("by", f"{proof.solver} ({solution.backend}), {solution.seconds:.2f} s"),
        ("bound", solution.bound),
        ("combinations", f"{proof.combinations:,}"),
        ("re-evaluated", recheck_text(proof)),
    ]
    undefined = proof.details.get("excluded")
    if undefined:
        rows.append(("undefined", f"{undefined:,} designs have no number for the objective and are left out"))
    screen.table("Proof", ("", ""), rows)


def recheck_text(proof: Certificate) -> str:
    """Return what the independent re-evaluation found."""
    found = proof.rechecked
    return f"{found['constraints']} constraints hold, objective agrees to {found['deviation']:.1g}"


def show_design(screen: Screen, design: Mapping[str, Any], problem: Problem) -> None:
    """Write the chosen value of each decision."""
    rows = [(name, value, problem.decisions[name].about) for name, value in design.items()]
    screen.table("Design", ("decision", ">value", ""), rows)


def show_metrics(screen: Screen, metrics: Metrics, problem: Problem) -> None:
    """Write the parts of each metric that has some, then every other metric."""
    shown = metrics.values_with_units
    wholes = list(dict.fromkeys(item.part_of for item in problem.metrics.values() if item.part_of))
    for whole in wholes:
        show_parts(screen, whole, metrics, problem)
    rest = [name for name in shown if name not in wholes and not problem.metrics[name].part_of]
    rows = [(name, shown[name], problem.metrics[name].about) for name in rest]
    screen.table("Metrics", ("metric", ">value", ""), rows)
    screen.table("Metrics that are not known", ("metric", "why"), metrics.not_known())


def show_parts(screen: Screen, whole: str, metrics: Metrics, problem: Problem) -> None:
    """Write the parts of one metric with their shares; parts that are zero are left out."""
    shown = metrics.values_with_units
    total = shown[whole]
    rows = []
    for name, item in problem.metrics.items():
        part = shown.get(name)
        if item.part_of == whole and part is not None and part.value:
            share = f"{part.value / total.value:.1%}" if total.value else ""
            rows.append((name, part, share, item.about))
    rows.append((whole, total, "", problem.metrics[whole].about))
    screen.table(f"{whole.replace('_', ' ').capitalize()} by part", ("part", ">value", ">share", ""), rows)


def show_constraints(screen: Screen, constraints: Sequence[Slack]) -> None:
    """Write the slack of each constraint and what the binding ones cost."""
    rows = []
    for item in constraints:
        gain = f"{item.gain.objective} ({abs(item.gain.worse_by):.2%} better)" if item.gain else ""
        state = "binds" if item.binding else "holds"
        rows.append((item.name, state, item.slack, gain, f"+{item.relax_by}" if item.relax_by else ""))
    columns = ("constraint", "", ">slack", "without it", ">first gain at")
    screen.table("Constraints", columns, rows)


def show_others(screen: Screen, solution: Solution) -> None:
    """Write designs that tie and those that come next, each by what is different."""
    if solution.tie_count > 1:
        rows = [(item.objective, difference(item.design, solution.design)) for item in solution.ties[:MOST]]
        screen.table(f"{solution.tie_count:,} designs tie; others are", (">objective", "differs in"), rows)
    show_runners(screen, solution.runner_ups[:MOST], solution.design)


def show_runners(screen: Screen, runners: Iterable[Runner], design: Mapping[str, Any]) -> None:
    """Write runners-up with how much worse each is."""
    rows = [(item.objective, f"{item.worse_by:+.3%}", difference(item.design, design)) for item in runners]
    screen.table("Runners-up", (">objective", ">worse by", "differs in"), rows)


def difference(design: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """Return the values in which a design differs from another."""
    different = [f"{name}={value}" for name, value in design.items() if reference.get(name) != value]
    return ", ".join(different) or "nothing"


def show_elasticities(screen: Screen, solution: Solution) -> None:
    """Write by how much the objective changes with each number, while the design stays."""
    found = list(solution.elasticities.items())[:MOST_ELASTICITIES]
    rows = [(name, f"{amount:+.3f} %") for name, amount in found]
    screen.table(f"1 % more changes {solution.objective_name} by", ("number", ">change"), rows)


def show_ground(screen: Screen, solution: Solution) -> None:
    """Write what the answer rests on: limits of the search box, what was left out, assumptions."""
    for limit in solution.limits:
        screen.line(f"at the end of the search box: {limit}", "yellow")
    screen.table("Left out as undefined", ("what", "why"), solution.excluded.items())
    screen.table("Assumptions", ("input", "value"), solution.assumptions.items())
