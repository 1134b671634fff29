"""The commands that ask a model, and their options. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from mlsysim_opt.cli.options import (
    Fleet,
    Hardware,
    Json,
    Model,
    Precision,
    Sequence,
    Set,
    complete_formulation,
    complete_using,
)
from mlsysim_opt.cli.output import give

model_commands = typer.Typer()

Using = Annotated[str, typer.Option(help="The model that is asked, by the name of its class.")]
Sizes = Annotated[str | None, typer.Option("--batch-size", help="Requests in the batch.", show_default=False)]


@model_commands.command("solve-for", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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


@model_commands.command()
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


@model_commands.command()
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


@model_commands.command()
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


@model_commands.command("solve-system")
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


@model_commands.command()
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


@model_commands.command()
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
