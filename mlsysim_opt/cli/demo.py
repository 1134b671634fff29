"""The demonstration: the best layout for a published training run, proved by every backend, and what was really done.

What is asked and what was published stands in ``catalog/published``, with its source.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli.output import Answer, Screen, write_text
from mlsysim_opt.errors import CatalogError, VerificationError

if TYPE_CHECKING:
    from mlsysim_opt.optimize import Solution, Task, WhyNot

RUN = "llama3_405b"


def published(name: str) -> dict[str, Any]:
    """Return a published run: title, source, formulation, objective, given, layout, measured.

    Raises:
        CatalogError: the file lacks one of them.
    """
    from importlib.resources import files

    from mlsysim_opt.registry.datum import Source
    from mlsysim_opt.registry.yaml_io import read_yaml

    label = f"catalog/published/{name}.yaml"
    data = read_yaml(files("mlsysim_opt.catalog") / "published" / f"{name}.yaml", label=label, error=CatalogError).data
    for key in ("title", "source", "formulation", "objective", "given", "layout", "measured"):
        if key not in data:
            raise CatalogError(f"missing required key {key!r}", path=label)
    return {**data, "source": Source.read(data["source"])}


def demonstrate() -> Answer:
    """Return the optimum over all decisions from each backend, and the published layout in the same model.

    Raises:
        VerificationError: two backends disagree.
    """
    from mlsysim_opt.optimize import BACKENDS, Task, evaluate, solve
    from mlsysim_opt.optimize import task as compile_task

    started = time.perf_counter()
    run = published(RUN)
    task = compile_task(run["formulation"], objective=run["objective"], **run["given"])
    assert isinstance(task, Task)
    solved: dict[str, Solution] = {}
    for backend in BACKENDS:
        _progress(f"proving the optimum with {backend} ...")
        solved[backend] = solve(task, backend=backend, explain=backend == "enumerate")
    _agree(solved)
    _progress("placing the published layout ...")
    best = solved["enumerate"]
    check = best.verify()
    why: WhyNot = best.why_not(**run["layout"])
    layout = evaluate(task.problem, design=why.best.design) if why.best is not None else None
    _progress("")
    seconds = time.perf_counter() - started
    data = {
        "status": best.status,
        "solution": best.as_dict(),
        "backends": {name: _summary(found) for name, found in solved.items()},
        "verified": check,
        "published": {
            "title": run["title"],
            "source": str(run["source"]),
            "layout": run["layout"],
            "measured": run["measured"],
            "in_this_model": why.as_dict(),
            "metrics": {name: value.as_dict() for name, value in layout["metrics"].values_with_units.items()}
            if layout
            else None,
        },
        "seconds": seconds,
    }
    return Answer(data, lambda screen: _show(screen, run, task, solved, why, layout, seconds))


def _progress(text: str) -> None:
    """Say what is going on, to a person who watches."""
    if sys.stderr.isatty():
        write_text(f"\r\033[K{text}", sys.stderr)


def _agree(solved: Mapping[str, Solution]) -> None:
    from mlsysim_opt.optimize.answer import relative
    from mlsysim_opt.optimize.run import AGREEMENT

    first = next(iter(solved.values()))
    for name, found in solved.items():
        assert found.objective.value is not None
        assert first.objective.value is not None
        if abs(relative(found.objective.value, first.objective.value)) > AGREEMENT:
            raise VerificationError(f"{name} found {found.objective}, {first.backend} found {first.objective}")


def _summary(found: Solution) -> dict[str, Any]:
    return {
        "status": found.status,
        "objective": found.objective.as_dict(),
        "gap": found.gap,
        "proof": found.certificate.proof,
        "solver": found.certificate.solver,
        "seconds": found.seconds,
        "design": found.design,
    }


def _show(
    screen: Screen,
    run: dict[str, Any],
    task: Task,
    solved: Mapping[str, Solution],
    why: WhyNot,
    layout: dict[str, Any] | None,
    seconds: float,
) -> None:
    from mlsysim_opt.cli import solution as pages
    from mlsysim_opt.registry import default_catalog

    best = solved["enumerate"]
    catalog = default_catalog()
    given = run["given"]
    screen.line(
        f"{catalog.find('model', given['model']).title} on {catalog.find('fleet', given['fleet']).title}, "
        f"{given['global_batch_size']:,} sequences of {given['seq_len']:,} tokens a step, {given['precision']}",
        "bold",
    )
    screen.line(
        f"{best.certificate.combinations:,} combinations of {len(best.design)} decisions; "
        f"{best.certificate.details.get('feasible', 0):,} designs satisfy every constraint"
    )
    screen.line()
    pages.show_answer(screen, best)
    pages.show_design(screen, best.design, task.problem)
    pages.show_parts(screen, "memory", best.metrics, task.problem)
    pages.show_parts(screen, "step_time", best.metrics, task.problem)
    rows = [
        (name, found.status, found.objective, found.gap, f"{found.seconds:.2f} s", found.certificate.solver)
        for name, found in solved.items()
    ]
    screen.table("The same from every backend", ("backend", "", f">{best.objective_name}", ">gap", ">", "solver"), rows)
    for name, found in solved.items():
        screen.line(f"  {name}: {found.certificate.proof}")
    screen.line(f"  each answer evaluated again by scalar arithmetic: {pages.recheck_text(best.certificate)}")
    pages.show_constraints(screen, best.constraints)
    pages.show_runners(screen, best.runner_ups[: pages.MOST], best.design)
    _show_published(screen, run, task, why, layout)
    screen.line(f"{seconds:.1f} s")


def _show_published(
    screen: Screen, run: dict[str, Any], task: Task, why: WhyNot, layout: dict[str, Any] | None
) -> None:
    from mlsysim_opt.cli import solution as pages

    shown = ", ".join(f"{name}={value}" for name, value in run["layout"].items())
    screen.heading(f"{run['title']}: {shown}")
    screen.line(f"  {run['source']}")
    if layout is None or why.best is None:
        screen.line(str(why))
        return
    metrics = layout["metrics"]
    fits = layout["constraints"].get("memory fits")
    pages.show_parts(screen, "memory", metrics, task.problem)
    slack = layout["slack"].get("memory fits")
    screen.line(f"memory fits: {'yes' if fits else 'no'}" + (f", {slack} to spare" if fits and slack else ""))
    modelled, measured = metrics["mfu"], run["measured"]["mfu"]
    screen.line(
        f"MFU {modelled:.1%} in this model with the open decisions chosen well "
        f"({pages.difference(why.best.design, run['layout'])}); "
        f"published {measured:.0%}: {(modelled - measured) * 100:+.1f} points"
    )
    screen.line(f"{why.best.worse_by:.1%} worse than the optimum")
