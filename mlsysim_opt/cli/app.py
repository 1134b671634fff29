"""The commands and their options. Each imports what it needs when it runs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlsysim_opt import __version__
from mlsysim_opt.cli.app_scenario import config_commands, scenario_commands
from mlsysim_opt.cli.app_zoo import SETTINGS, Json, complete_kind, zoo_commands
from mlsysim_opt.cli.options import (
    Batch,
    Choose,
    Constraint,
    Design,
    Fleet,
    Formulation,
    Hardware,
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
    complete_formulation,
    complete_using,
)
from mlsysim_opt.cli.output import give

if TYPE_CHECKING:
    from mlsysim_opt.cli.question import Asked

cli = typer.Typer(
    name="mlsysim-opt",
    no_args_is_help=True,
    context_settings=SETTINGS,
    pretty_exceptions_enable=False,
    help="Declare what may be chosen, what must hold and what is wanted; get the provably best ML system.",
)
cli.add_typer(zoo_commands, name="zoo")
cli.add_typer(scenario_commands, name="scenario")
cli.add_typer(config_commands, name="config")


@functools.cache
def app() -> Any:
    """Return the command line, ready to be run."""
    return typer.main.get_command(cli)


def usage_fault() -> type[Exception]:
    """Return the base class of the parser's complaints, wherever this version of typer keeps it."""
    return next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlsysim-opt {__version__}")
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    catalog: Annotated[
        list[str] | None, typer.Option("--catalog", help="A folder of your own entries, on top of the catalog.")
    ] = None,
) -> None:
    """Hold the options of the program itself."""
    if catalog:
        from mlsysim_opt.cli import zoo_folders

        zoo_folders.use(catalog)


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


@cli.command()
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
    asked.scenarios, asked.robust, asked.otherwise = scenario or [], robust, what_if or []
    if write is not None:
        return give(solve.written(asked, write), as_json=json)
    return give(
        solve.optimize(asked, backend=backend, prune=not no_prune, time_limit=time_limit, gap=gap, start=start),
        as_json=json,
    )


@cli.command()
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


@cli.command("eval")
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


@cli.command("why-not")
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


@cli.command("solve-for", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def solve_for(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="What should be, such as 'itl <= 30 ms'.", show_default=False)],
    using: Annotated[str, typer.Option(help="The model, such as ServingModel.", show_default=False)],
    unknown: Annotated[
        str,
        typer.Option(help="The input or number of an entry, such as hardware.memory.bandwidth.", show_default=False),
    ],
    box: Annotated[
        str | None, typer.Option(help="Where to look, such as '1 TB/s..8 TB/s'.", show_default=False)
    ] = None,
    json: Json = False,
) -> int:
    """Find what one number must be for a model's output to meet a target; all else is given as --INPUT VALUE."""
    from mlsysim_opt.cli import solve_for as inverse

    given = inverse.inputs_of(context.args)
    return give(inverse.solve_for(target, using, unknown, box, given), as_json=json)


@cli.command()
def sensitivity(
    using: Annotated[
        str | None,
        typer.Option(help="The model that is asked.", autocompletion=complete_using, show_default=False),
    ] = None,
    output: Annotated[str | None, typer.Option(help="One of its outputs.", show_default=False)] = None,
    model: Model = None,
    hardware: Hardware = None,
    fleet: Fleet = None,
    batch_size: Annotated[str | None, typer.Option(help="Sequences at a time.", show_default=False)] = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Set = None,
    percent: Annotated[float, typer.Option(help="The change that is looked at, up and down.")] = 10.0,
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Also draw the tornado (png, svg, pdf); needs matplotlib.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Show which number an output answers to most, how far that holds, and what comes after."""
    from mlsysim_opt.cli import sensitivity as topic

    named = {
        "model": model,
        "hardware": hardware,
        "fleet": fleet,
        "batch_size": batch_size,
        "seq_len": seq_len,
        "precision": precision,
    }
    return give(topic.sensitivity(using, output, named, set_ or [], percent=percent, plot=plot), as_json=json)


@cli.command()
def explain(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            help="A formulation, model, metric or constraint, 'walls', or 'wall 4'; left out: what there is.",
            show_default=False,
        ),
    ] = None,
    formulation: Annotated[
        str | None,
        typer.Option(help="Where the metric stands.", autocompletion=complete_formulation, show_default=False),
    ] = None,
    model: Model = None,
    fleet: Fleet = None,
    set_: Set = None,
    latex: Annotated[bool, typer.Option("--latex", help="Equations as LaTeX.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page of all walls, as Markdown.")] = False,
    json: Json = False,
) -> int:
    """Show what a formulation decides, or the very equations that are evaluated for a metric, a model or a wall."""
    from mlsysim_opt.cli import explain as topic

    asked = " ".join(name) if name else None
    given = {name: text for name, text in (("model", model), ("fleet", fleet)) if text is not None}
    return give(
        topic.explain(asked, formulation, given, set_ or [], as_latex=latex, as_markdown=markdown), as_json=json
    )


Using = Annotated[str, typer.Option(help="The model that is asked, by the name of its class.")]
Sizes = Annotated[str | None, typer.Option("--batch-size", help="Requests in the batch.", show_default=False)]


@cli.command()
def synthesize(
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="Such as 'itl = 30 ms', 'ttft <= 500 ms'; again for more.", show_default=False),
    ] = None,
    model: Model = None,
    batch_size: Sizes = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Set = None,
    like: Annotated[str, typer.Option(help="The accelerator whose overheads and efficiencies hold.")] = "H100",
    compute_share: Annotated[
        float | None,
        typer.Option(help="Time of compute alone over that of memory traffic alone in a step.", show_default=False),
    ] = None,
    link_bandwidth: Annotated[
        str | None,
        typer.Option(
            help="Bandwidth of links within a server, or 'like' for that of --like; sought when absent.",
            show_default=False,
        ),
    ] = None,
    rank_by: Annotated[
        str,
        typer.Option(
            help="latency, price_per_hour, price_per_million_tokens, tdp, a number of one accelerator by its path "
            "(memory.bandwidth), or an expression of these and of outputs; max_... turns it round."
        ),
    ] = "latency",
    limit: Annotated[int, typer.Option(min=1, help="Accelerators to show at most.")] = 10,
    using: Using = "ServingModel",
    json: Json = False,
) -> int:
    """Find the least hardware that keeps some latencies, and what of the catalog does."""
    from mlsysim_opt.cli import synthesize as topic
    from mlsysim_opt.cli.models import inputs

    named = {"model": model, "batch_size": batch_size, "seq_len": seq_len, "precision": precision}
    return give(
        topic.synthesize(
            inputs(named, set_ or []), target or [],
            using=using, like=like, compute_share=compute_share, link_bandwidth=link_bandwidth, rank_by=rank_by,
            limit=limit,
        ),
        as_json=json,
    )  # fmt: skip


@cli.command("solve-system")
def solve_system(
    relation: Annotated[
        list[str] | None,
        typer.Option("--relation", help="Such as 'itl <= 30 ms', 'memory fits'; again for more.", show_default=False),
    ] = None,
    unknown: Annotated[
        list[str] | None,
        typer.Option("--unknown", help="Such as hardware.memory.bandwidth; again for more.", show_default=False),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            "--cost",
            metavar="UNKNOWN=COST",
            help="Such as 'efficiency=300 USD per 0.01'; of each unknown or of none.",
            show_default=False,
        ),
    ] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="UNKNOWN=LOW,HIGH", help="Where to look.", show_default=False),
    ] = None,
    model: Model = None,
    hardware: Annotated[
        str | None, typer.Option(help="The accelerator whose other numbers hold.", show_default=False)
    ] = None,
    batch_size: Sizes = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Set = None,
    points: Annotated[int, typer.Option(min=1, help="Points of the frontier to show.")] = 9,
    using: Using = "ServingModel",
    json: Json = False,
) -> int:
    """Find all least values of several unknowns that meet some relations, and the cheapest."""
    from mlsysim_opt.cli import synthesize as topic
    from mlsysim_opt.cli.models import inputs

    named = {"model": model, "hardware": hardware, "batch_size": batch_size, "seq_len": seq_len, "precision": precision}
    return give(
        topic.system(
            inputs(named, set_ or []), relation or [], unknown or [], cost or [], range_ or [],
            using=using, points=points,
        ),
        as_json=json,
    )  # fmt: skip


@cli.command()
def validate(
    file: Annotated[
        str, typer.Argument(help="Published measurements, YAML or CSV; see docs/validation.md.", show_default=False)
    ],
    group: Annotated[str | None, typer.Option(help="Only this group of rows.", show_default=False)] = None,
    json: Json = False,
) -> int:
    """Predict every row of a file of published measurements, and show how far off the models are."""
    from mlsysim_opt.cli import validate as measured

    return give(measured.validate(file, group), as_json=json)


@cli.command()
def uncertain(
    using: Annotated[
        str,
        typer.Option(
            help="The model that is asked, such as ServingModel.", autocompletion=complete_using, show_default=False
        ),
    ],
    output: Annotated[list[str], typer.Option(help="One of its outputs; again for more.", show_default=False)],
    model: Model = None,
    hardware: Hardware = None,
    fleet: Fleet = None,
    seq_len: Sequence = None,
    precision: Precision = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other given, or a number of the catalog by its path: '2.9 .. 3.4 TB/s' (an interval), "
            "'3.2 +- 0.1 TB/s' (normal), 'uniform(0.4, 0.6)', ...; again for more.",
            show_default=False,
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option("--constraint", help="How likely is, say, 'itl <= 30 ms'; again for more.", show_default=False),
    ] = None,
    rank: Annotated[bool, typer.Option("--rank", help="Which uncertain given matters most.")] = False,
    samples: Annotated[
        int | None, typer.Option(help="4096 when absent; with --rank 1024 per design.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    sampling: Annotated[str, typer.Option(help="random, latin or sobol.")] = "random",
    quantiles: Annotated[str, typer.Option(help="Which, as shares.")] = "0.05,0.5,0.95",
    json: Json = False,
) -> int:
    """Say what a model gives when numbers are uncertain: bounds of intervals, quantiles of distributions."""
    from mlsysim_opt.cli import uncertain as asked

    named = {"model": model, "hardware": hardware, "fleet": fleet, "seq_len": seq_len, "precision": precision}
    answer = asked.uncertain(
        using, output, named, set_ or [], constraint or [],
        samples=samples, seed=seed, sampling=sampling, quantiles=quantiles, rank=rank,
    )  # fmt: skip
    return give(answer, as_json=json)


@cli.command()
def schema(
    name: Annotated[
        str, typer.Argument(help="config (scenario files), or a kind of catalog entry.", autocompletion=complete_kind)
    ] = "config",
    json: Json = False,
) -> int:
    """Print the JSON Schema of a form of file, for editors and checkers."""
    from mlsysim_opt.cli import scenario

    return give(scenario.schema(name), as_json=json)


@cli.command()
def doctor(json: Json = False) -> int:
    """Check versions, solvers, cores, memory and write access; exit 9 if a solver cannot be used."""
    from mlsysim_opt.cli.doctor import examine

    return give(examine(), as_json=json)


@cli.command()
def demo(json: Json = False) -> int:
    """Train Llama 3.1 405B on 16,384 H100 as well as possible: the proof, and what was really done."""
    from mlsysim_opt.cli.demo import demonstrate

    return give(demonstrate(), as_json=json)
