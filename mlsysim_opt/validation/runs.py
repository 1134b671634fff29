"""Published training runs of the catalog, and how long they take: as published, or by the model of training."""

from __future__ import annotations

import re
from pathlib import Path

from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Fabric, Fleet, TrainingRun
from mlsysim_opt.validation.rows import Row, Unmodelled
from mlsysim_opt.validation.training import run_seconds

SOURCE = {"title": "a published training run", "locator": "the catalog's training_runs", "date": 2026}
NO_NAME = re.compile(r"[^A-Za-z0-9.+]+")
"""What rows write in names of models that no name of the catalog holds: ``PaLM (540B)`` is ``PaLM_540B``."""


def run_of(name: str) -> TrainingRun:
    """Return the run of a model.

    Raises:
        Unmodelled: the catalog has none.
    """
    catalog = default_catalog()
    found = catalog.lookup("training_run", NO_NAME.sub("_", name).strip("_"))
    if found is None:
        raise Unmodelled("neither hours nor accelerators of the run are stated, nor are they in the catalog")
    run = catalog.find("training_run", found)
    assert isinstance(run, TrainingRun)
    return run


def runs_of(family: str) -> list[TrainingRun]:
    """Return the runs of a family of models (``gemma-2``).

    Raises:
        Unmodelled: the catalog has none.
    """
    every = [run for run in default_catalog().all("training_run") if isinstance(run, TrainingRun)]
    found = [run for run in every if run.group == family]
    if not found:
        raise Unmodelled("the runs of this family are not in the catalog")
    return found


def fleet_of_run(run: TrainingRun) -> Fleet:
    """Return the whole nodes that a run worked on."""
    fabric = default_catalog().find("fabric", "InfiniBand_NDR")  # neither prices nor power have it in them
    assert isinstance(fabric, Fabric)
    count = max(run.accelerators // run.node.accelerators_per_node, 1)
    fields = {"node": run.node, "node_count": count, "fabric": fabric, "source": SOURCE}
    return Fleet.model_validate({"name": "run-fleet", "title": "nodes of the run", **fields})


def hours(run: TrainingRun) -> float:
    """Return how long a run takes; see `accelerator_hours`."""
    return accelerator_hours(run) / run.accelerators


def accelerator_hours(run: TrainingRun) -> float:
    """Return the hours of all accelerators together: those published, else those of training without a pause.

    Raises:
        Unmodelled: the run cannot be described to the model of training.
    """
    if run.accelerator_hours is not None:
        return run.parameter("accelerator_hours").si / 3600
    assert run.model is not None
    inputs = {
        "model": run.model.name, "hardware": run.node.accelerator.name, "gpus": run.accelerators,
        "gpus_per_node": run.node.accelerators_per_node, "seq_len": run.sequence_length,
        "global_batch": run.sequences, "precision": "bf16", "fsdp": "FULL_SHARD", "tp": run.tensor_parallel or 1,
        "activation_recompute": run.recomputation,
    }  # fmt: skip
    row = Row(f"run-{run.name}", "training-run", "training", inputs, {}, file=Path(run.name))
    return run_seconds(row, run.parameter("tokens").si) * run.accelerators / 3600
