"""The commands that turn a model around: synthesize and solve-system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.cli.models import ends, model_named
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import UsageError

if TYPE_CHECKING:
    from mlsysim_opt.solvers.matching import Matches
    from mlsysim_opt.solvers.synthesis import SynthesisResult
    from mlsysim_opt.solvers.systems import SystemSolution


# synthesize -----------------------------------------------------------------------------------------------------------
def synthesize(
    inputs: dict[str, Any],
    targets: Sequence[str],
    *,
    using: str,
    like: str,
    compute_share: float | None,
    link_bandwidth: str | None,
    rank_by: str,
    limit: int,
) -> Answer:
    """Return the least hardware for some targets, and the accelerators of the catalog that meet them."""
    from mlsysim_opt.solvers import SynthesisSolver

    if not targets:
        raise UsageError("names no target", path="--target", hint="for example --target 'itl <= 30 ms'")
    if "model" not in inputs:
        raise UsageError("a model is needed", path="--model", hint="for example --model Llama3_70B")
    specs = SynthesisSolver().solve(
        targets=list(targets), using=model_named(using), like=like, compute_share=compute_share,
        link_bandwidth=link_bandwidth, **inputs,
    )  # fmt: skip
    matches = specs.matching(rank_by=rank_by)
    data = {"status": "ok", **specs.as_dict(), "matching": matches.as_dict()}
    return Answer(data, lambda screen: _show_synthesis(screen, specs, matches, limit))


def _show_synthesis(screen: Screen, specs: SynthesisResult, matches: Matches, limit: int) -> None:
    rows = [
        *specs.numbers(6),
        ("compute over bandwidth", f"{specs.compute_memory_ratio.magnitude:,.4g} FLOP/byte"),
    ]
    screen.table("The least of one accelerator", ("", ""), rows)
    screen.table(
        "Targets", ("target", ">reached", ""),
        [(item.text, item.shown[0], "binds" if item.binds else "") for item in specs.targets],
    )  # fmt: skip
    screen.heading("Why")
    for line in specs.explanation:
        screen.line(f"- {line}")
    shown = [(place, item.accelerator.name, item.shown) for place, item in enumerate(matches.ranked[:limit], 1)]
    screen.table(f"Accelerators that meet it, by {matches.ranking}", (">", "accelerator", f">{matches.ranking}"), shown)
    if not matches:
        screen.line("no accelerator of the catalog meets it")
    if len(matches) > limit:
        screen.line(f"{limit} of {len(matches)}; --limit allows more")
    screen.table(
        "Meet it, and cannot be ranked", ("accelerator", "reason"),
        [(item.accelerator.name, item.reason) for item in matches.unranked],
    )  # fmt: skip
    screen.line(f"{len(matches.missed)} others do not meet it; --json has the reason of each")
    screen.table("Assumptions", ("input", "value"), specs.assumptions.items())


# solve-system ---------------------------------------------------------------------------------------------------------
def system(
    inputs: dict[str, Any],
    relations: Sequence[str],
    unknowns: Sequence[str],
    costs: Sequence[str],
    boxes: Sequence[str],
    *,
    using: str,
    points: int,
) -> Answer:
    """Return the frontier of values with which all relations hold, and the cheapest."""
    from mlsysim_opt.solvers import solve_system

    if not relations:
        raise UsageError("names no relation", path="--relation", hint="for example --relation 'itl <= 30 ms'")
    if not unknowns:
        raise UsageError("names no unknown", path="--unknown", hint="for example --unknown hardware.memory.bandwidth")
    prices = arguments.pairs(costs, "--cost", "'hardware.memory.bandwidth=2 USD per GB/s'")
    ranges = arguments.pairs(boxes, "--range", "'efficiency=0.2..0.8'")
    found = solve_system(
        list(relations),
        unknowns=list(unknowns),
        using=model_named(using),
        costs=prices or None,
        box={name: ends(text, "--range") for name, text in ranges.items()},
        points=points,
        **inputs,
    )
    return Answer({"status": "ok", **found.as_dict()}, lambda screen: _show_system(screen, found))


def brief(names: Sequence[str]) -> list[str]:
    """Return paths without the first step that all of them share."""
    heads = {name.partition(".")[0] for name in names}
    return [name.partition(".")[2] or name for name in names] if len(heads) == 1 else list(names)


def _show_system(screen: Screen, found: SystemSolution) -> None:
    from mlsysim_opt.solvers.systems import cost_text

    best = found.cheapest
    if best is not None:
        screen.line(f"{best.status}: {cost_text(best.cost)} (gap {best.gap:.1g})", "bold green")
        screen.line(best.proof)
        screen.table(
            "Cheapest", ("unknown", ">value"), [(name, best.specification.shown(name)) for name in found.unknowns]
        )
        screen.table(
            "Relations", ("relation", "", "more slack saves"),
            [(item.relation, "binds" if item.relation in best.specification.binding else "", item.text)
             for item in best.duals],
        )  # fmt: skip
    screen.table(
        "Frontier: nothing can be taken from any of these" if found.exact else "Frontier, as far as it was searched",
        (*(f">{name}" for name in brief(found.unknowns)), "binds"),
        [(*(item.shown(name) for name in found.unknowns), ", ".join(item.binding)) for item in found.frontier],
    )
    screen.line(found.proof)
    for note in found.notes:
        screen.line(f"note: {note}")
    screen.table("Sought between", ("unknown", "range"), found.box.items())
    screen.table("Assumptions", ("input", "value"), found.assumptions.items())
