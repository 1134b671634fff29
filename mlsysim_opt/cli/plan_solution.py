"""A plan for people: the answer, its proof, the amounts, the metrics, what is scarce, what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsysim_opt.cli.output import Screen
    from mlsysim_opt.optimize import CoupledProblem, Front, PlanSolution

MOST = 24
"""Amounts of one family that are listed; ``--json`` has all."""


def show_plan(screen: Screen, plan: PlanSolution, problem: CoupledProblem) -> None:
    """Write a whole plan."""
    gap = "gap unknown" if plan.gap is None else f"gap {plan.gap:.3g}"
    style = "bold green" if plan.settled else "bold yellow"
    screen.line(f"{plan.status}: {plan.objective_name} = {plan.objective} ({gap})", style)
    show_proof(screen, plan)
    for name, rows in plan.amounts.items():
        show_amounts(screen, name, rows, problem)
    shown = plan.metrics.values_with_units
    screen.table("Metrics", ("metric", ">value", ""), [(n, v, problem.metrics[n].about) for n, v in shown.items()])
    screen.table("Metrics that are not known", ("metric", "why"), plan.metrics.not_known())
    room = [(item.name, item.room, item.place, item.worth) for item in plan.constraints if item.slack is not None]
    columns = ("constraint", ">room", "least at", ">a unit more, estimated")
    screen.table("Constraints (the estimate is that of divisible amounts)", columns, room)
    screen.table("Left out as undefined", ("amounts", ">tuples"), [(n, f"{c:,}") for n, c in plan.undefined.items()])
    screen.table("Assumptions", ("input", "value"), plan.assumptions.items())


def show_proof(screen: Screen, plan: PlanSolution) -> None:
    """Write why the answer is to be believed."""
    proof, details = plan.certificate, plan.certificate.details
    kept = details.get("after_reduced_costs", details.get("undominated"))
    size = f"{details.get('columns', 0):,} columns" + (f", {kept:,} left after pruning" if kept is not None else "")
    picks = details.get("combinations_power_of_ten", 0)
    rows = [
        ("proof", proof.proof),
        ("by", f"{proof.solver} ({plan.backend}), {plan.seconds:.2f} s"),
        ("bound", plan.bound),
        ("program", f"{size}, {details.get('rows', 0):,} rows"),
        *([("picks", f"10^{picks:.0f} combinations")] if picks else []),
        ("re-evaluated", f"{proof.rechecked['checked']:,} relations and amounts hold, "
                         f"objective agrees to {proof.rechecked['deviation']:.1g}"),
    ]  # fmt: skip
    screen.table("Proof", ("", ""), rows)


def show_amounts(screen: Screen, name: str, rows: Sequence[Mapping[str, Any]], problem: CoupledProblem) -> None:
    """Write what is not zero of a family; where each is one pick, without the ones."""
    if not rows:
        return
    from mlsysim_opt.optimize.coupled.solution import runs

    rows = runs(rows)
    family = problem.families[name]
    choices = [choice.name for choice in family.over]
    ones = family.sort == "pick" and all(row["amount"] == 1 for row in rows)
    columns = [*choices, *(() if ones else (">amount",))]
    body = [[*(row[choice] for choice in choices), *(() if ones else (amount_text(row),))] for row in rows[:MOST]]
    about = f"{name}: {family.about}" if family.about else name
    screen.table(about, columns, body)
    if len(rows) > MOST:
        screen.line(f"... and {len(rows) - MOST:,} more; --json has all")


def amount_text(row: Mapping[str, Any]) -> str:
    """Return an amount with its unit."""
    amount = row["amount"]
    told = f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6g}"
    return f"{told} {row.get('unit') or ''}".rstrip()


def show_front(screen: Screen, front: Front) -> None:
    """Write a front: what is proven, its points, and what moves between neighbours."""
    from mlsysim_opt.optimize import Value

    style = "bold green" if front.complete else "bold yellow"
    screen.line(f"{len(front)} points of {front.problem}: {front.guarantee}", style)
    rows = []
    for at, row in enumerate(front.values):
        shown = [str(Value(value, item.unit)) for item, value in zip(front.objectives, row, strict=True)]
        moves = front.moves(at - 1, at) if at else []
        told = "; ".join(moves[:3]) + (f"; and {len(moves) - 3} more" if len(moves) > 3 else "")
        rows.append((f"{at}{' knee' if at == front.knee and len(front) > 2 else ''}", *shown, told))
    names = [f">{item.name}" for item in front.objectives]
    screen.table("Front", ("point", *names, "what changes from the point before"), rows, last_folds=True)
    ends = [(item.name, front.ideal[item.name], front.nadir[item.name]) for item in front.objectives]
    screen.table("Ranges", ("objective", ">best", ">worst on the front"), ends)
    screen.line(f"hypervolume {front.hypervolume():.4f} of the box between best and worst; {front.seconds:.2f} s")
