"""The command that asks a model about numbers that are not known exactly: uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.cli.models import model_named
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import UsageError

if TYPE_CHECKING:
    from mlsysim_opt.solvers.ranking import UncertaintyRanking
    from mlsysim_opt.solvers.uncertain_answer import UncertainResult


def uncertain(
    using: str,
    outputs: Sequence[str],
    named: dict[str, str | None],
    given: Sequence[str],
    constraints: Sequence[str],
    *,
    samples: int | None,
    seed: int,
    sampling: str,
    quantiles: str,
    rank: bool,
) -> Answer:
    """Return bounds or quantiles of outputs; with `rank`, which uncertain given matters most.

    Raises:
        UsageError: a name is given twice, or `rank` with constraints.
    """
    from mlsysim_opt.solvers.distributions import is_uncertain_text
    from mlsysim_opt.solvers.ranking import rank_uncertainty
    from mlsysim_opt.solvers.uncertainty import uncertain as ask

    model = model_named(using)
    inputs: dict[str, Any] = {name: text for name, text in named.items() if text is not None}
    for name, text in arguments.pairs(given, "--set", "efficiency='0.4 .. 0.6'").items():
        if name in inputs:
            raise UsageError(f"{name!r} is given twice", path="--set")
        inputs[name] = text if is_uncertain_text(text) else arguments.scalar(text)
    if rank:
        if constraints:
            raise UsageError("a ranking is of outputs, not of constraints", path="--constraint")
        count = 1024 if samples is None else samples
        ranked = rank_uncertainty(using=model, outputs=outputs, samples=count, seed=seed, **inputs)
        return Answer({"status": "ok", **ranked.as_dict()}, lambda screen: _show(screen, ranked))
    shares = [arguments.scalar(part) for part in quantiles.split(",")]
    if not all(isinstance(item, float) for item in shares):
        raise UsageError(f"{quantiles!r} are not shares", path="--quantiles", hint="for example 0.05,0.5,0.95")
    found = ask(
        using=model, outputs=outputs, constraints=constraints, samples=4096 if samples is None else samples, seed=seed,
        sampling=sampling, quantiles=shares, **inputs,
    )  # fmt: skip
    return Answer({"status": "ok", **found.as_dict()}, lambda screen: _show(screen, found))


def _show(screen: Screen, found: UncertainResult | UncertaintyRanking) -> None:
    for title, columns, rows in found.tables():
        if columns:
            screen.table(title, columns, rows)
        else:
            screen.heading(title)
    assumed = getattr(found, "assumptions", {})
    if assumed:
        screen.line()
        screen.line("assumed: " + "; ".join(f"{name} = {text}" for name, text in assumed.items()))
