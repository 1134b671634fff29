"""The commands that ask for designs and plans, and their options. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlsysim_opt.cli.options import (
    Batch,
    Choose,
    Constraint,
    Design,
    Fleet,
    Formulation,
    Json,
    Marginal,
    Model,
    Objective,
    PlanFile,
    Precision,
    Robust,
    Scenario,
    Sequence,
    Set,
    Start,
    StudyFile,
    TimeLimit,
    WhatIf,
    complete_backend,
)
from mlsysim_opt.cli.output import give

if TYPE_CHECKING:
    from mlsysim_opt.cli.question import Asked

design_commands = typer.Typer()


def _asked(
    formulation: str | None,
    named: dict[str, str | None],
    given: list[str] | None,
    choices: list[str] | None = None,
    objectives: list[str] | None = None,
    constraints: list[str] | None = None,
    plan: str | None = None,
) -> Asked:
    from mlsysim_opt.cli.question import Asked

    return Asked(formulation, named, given or [], choices or [], objectives or [], constraints or [], plan)


def _plan_file(plan: str | None, file: str | None) -> str | None:
    """Return the one file that is given, by --plan or after the name of the formulation."""
    from mlsysim_opt.errors import UsageError

    if plan is not None and file is not None:
        raise UsageError(f"two files are given: {plan} and {file}", path="--plan", hint="give one of them")
    return file if plan is None else plan


def _named(
    model: str | None, fleet: str | None, batch: str | None, length: str | None, precision: str | None
) -> dict[str, str | None]:
    return {
        "model": model,
        "fleet": fleet,
        "batch_size": batch,
        "seq_len": length,
        "precision": precision,
    }


@design_commands.command()
def optimize(
    formulation: Formulation = None,
    file: StudyFile = None,
    model: Model = None,
    fleet: Fleet = None,
    batch_size: Batch = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Set = None,
    choose: Choose = None,
    objective: Objective = None,
    constraint: Constraint = None,
    plan: PlanFile = None,
    backend: Annotated[
        str, typer.Option(help="enumerate, milp, cpsat or auto.", autocompletion=complete_backend)
    ] = "auto",
    no_prune: Annotated[
        bool, typer.Option("--no-prune", help="Let solvers see designs that cannot be optimal too.")
    ] = False,
    time_limit: TimeLimit = None,
    gap: Annotated[
        str | None,
        typer.Option(help="Of coupled problems: stop when so near the bound, such as 0.01 or 1%.", show_default=False),
    ] = None,
    start: Start = None,
    scenario: Scenario = None,
    robust: Robust = None,
    what_if: WhatIf = None,
    marginal: Marginal = None,
    write: Annotated[
        str | None,
        typer.Option(help="Do not solve: write the program as x.lp or x.mps, for other solvers.", show_default=False),
    ] = None,
    json: Json = False,
) -> int:
    """Find the best design, with the proof that none is better."""
    from mlsysim_opt.cli import solve

    named = _named(model, fleet, batch_size, seq_len, precision)
    asked = _asked(formulation, named, set_, choose, objective, constraint, _plan_file(plan, file))
    asked.scenarios, asked.robust = scenario or [], robust
    asked.otherwise, asked.limited = what_if or [], marginal or []
    if write is not None:
        return give(solve.written(asked, write), as_json=json)
    return give(
        solve.optimize(asked, backend=backend, prune=not no_prune, time_limit=time_limit, gap=gap, start=start),
        as_json=json,
    )


@design_commands.command()
def pareto(
    formulation: Formulation = None,
    file: StudyFile = None,
    model: Model = None,
    fleet: Fleet = None,
    batch_size: Batch = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Set = None,
    choose: Choose = None,
    objective: Objective = None,
    constraint: Constraint = None,
    plan: PlanFile = None,
    points: Annotated[
        int | None,
        typer.Option(min=2, help="About so many points, with the guarantee of a cover; else all.", show_default=False),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Of coupled problems: milp, cpsat, pyomo or auto.", autocompletion=complete_backend)
    ] = "auto",
    no_prune: Annotated[
        bool, typer.Option("--no-prune", help="Let solvers see designs that cannot be optimal too.")
    ] = False,
    time_limit: TimeLimit = None,
    gap: Annotated[
        str | None,
        typer.Option(help="Of coupled problems: stop each search so near its bound: 0.01 or 1%.", show_default=False),
    ] = None,
    start: Start = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Also write a table.", show_default=False)] = None,
    parquet: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same as Parquet; needs pyarrow.", show_default=False)
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also draw it (png, svg, pdf); needs matplotlib.", show_default=False),
    ] = None,
    json: Json = False,
) -> int:
    """Find all designs that no other one beats in two to four objectives, each with its proof."""
    from mlsysim_opt.cli import pareto as topic

    named = _named(model, fleet, batch_size, seq_len, precision)
    asked = _asked(formulation, named, set_, choose, objective, constraint, _plan_file(plan, file))
    answer = topic.pareto(
        asked, points=points, backend=backend, prune=not no_prune, time_limit=time_limit, gap=gap,
        start=start, csv=csv, parquet=parquet, plot=plot,
    )  # fmt: skip
    return give(answer, as_json=json)


@design_commands.command("eval")
def evaluate(
    design: Design,
    formulation: Formulation = None,
    model: Model = None,
    fleet: Fleet = None,
    batch_size: Batch = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Set = None,
    constraint: Constraint = None,
    plan: PlanFile = None,
    json: Json = False,
) -> int:
    """Show metrics and constraints of one design; exit 5 if it violates one."""
    from mlsysim_opt.cli import solve

    named = _named(model, fleet, batch_size, seq_len, precision)
    asked = _asked(formulation, named, set_, None, None, constraint, plan)
    return give(solve.evaluate(asked, design), as_json=json)


@design_commands.command("why-not")
def why_not(
    design: Design,
    formulation: Formulation = None,
    model: Model = None,
    fleet: Fleet = None,
    batch_size: Batch = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Set = None,
    choose: Choose = None,
    objective: Objective = None,
    constraint: Constraint = None,
    plan: PlanFile = None,
    json: Json = False,
) -> int:
    """Say what rejects a design, or how much worse than the best it is. Decisions left open are chosen well."""
    from mlsysim_opt.cli import solve

    named = _named(model, fleet, batch_size, seq_len, precision)
    asked = _asked(formulation, named, set_, choose, objective, constraint, plan)
    return give(solve.why_not(asked, design), as_json=json)
