"""How often to save a training job, to what, and whether to wait: interval, storage, mode and tiers against goodput."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsysim_opt.formulations.givens import Counts, Names
from mlsysim_opt.formulations.rows import Several

from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.optimize.formulation import Formulation, defaults, leaves
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.physics.checkpoint import CheckpointModel
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.physics.reliability import PROGRESS, FailureRates, tiered
from mlsysim_opt.physics.view import View
from mlsysim_opt.units import TIME

SECOND = expression("1 s")
INTERVALS = (10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 14400)
SECONDS = Number("interval", unit="s", of=TIME, integer=True, open_low=True, bare=True)
OWN = (
    Given("fleet", "what is trained on, all of it", kind="fleet"),
    Given("reliability", "rates of failure", kind="reliability"),
    Number("recovery_time", "from a failure until the job goes on", unit="min", of=TIME),
)
SAVED = tuple(item for item in CheckpointModel.inputs
              if item.name in ("model", "optimizer", "n_writers", "filesystem_bandwidth", "weight_bytes"))  # fmt: skip
CANDIDATES = (
    Names("storage", "what each writer writes to, to choose among", kind="storage"),
    Several("interval", "work between two checkpoints: whole seconds, or times", default=INTERVALS, each=SECONDS),
    Counts("persist_every", "every how many-th checkpoint goes to storage, to choose among", default=(1,)),
)


def _build(values: dict[str, Any], narrowed: Mapping[str, Any]) -> Problem:
    problem = Problem("checkpointing", item="way to save", default_objective="max_goodput", allowed=narrowed)
    given = leaves(problem, (*OWN, *SAVED), values)
    node = given["fleet"].below("node")
    seconds = sorted(int(item) for item in values["interval"])
    interval = SECOND * problem.choose("interval", seconds, about="seconds between two checkpoints")
    every = problem.choose("persist_every", values["persist_every"], about="every how many-th goes to storage")
    places = values["storage"]
    storage = problem.choose("storage", [item.name for item in places], about="where it goes")
    mode = problem.choose("mode", ("synchronous", "asynchronous"), about="whether training waits for the storage")

    saved = CheckpointModel().equations(
        **{item.name: given[item.name] for item in SAVED}, hardware=node.below("accelerator"), mode=mode,
        checkpoint_interval=interval, checkpoint_interval_hours=None, persist_every=every,
        storage=View("storage", places, storage),
    )  # fmt: skip
    rates = FailureRates(given["reliability"], given["fleet"].node_count, node)
    others = rates.total - rates.hosts
    job = tiered(others, rates.hosts, saved.blocking_time, given["recovery_time"], interval, every)
    for name, holds in {**saved.constraints, "the job makes progress": job.goodput > PROGRESS}.items():
        problem.require(name, holds)
    problem.measure("goodput", job.goodput, about="share of time that is lasting progress")
    problem.measure("checkpoint_interval", interval, unit="min", about="work between two checkpoints")
    problem.measure("blocking_time", saved.blocking_time, unit="s", about="time a checkpoint holds the job up")
    problem.measure("write_time", saved.write_time, unit="s", about="until a checkpoint is safe in storage")
    problem.measure("checkpoint_size", saved.checkpoint_size, unit="GB", about="size of a checkpoint")
    problem.measure("bandwidth_required", saved.bandwidth_required, unit="GB/s", about="to storage, on average")
    problem.measure("fleet_mtbf", 1 / rates.total, unit="h", about="mean time between failures")
    problem.assumptions.update(defaults((*SAVED, *CANDIDATES), values))
    return problem


checkpointing = Formulation(
    name="checkpointing",
    about="how often to save a training job, and to what",
    inputs=(*OWN, *SAVED, *CANDIDATES),
    build=_build,
    example={
        "model": "Llama3_405B", "fleet": "Meta_Llama3_16K_H100", "reliability": "Llama3_H100", "n_writers": 512,
        "recovery_time": "5 min", "storage": ["Parallel_FS_Client", "NVMe_Gen4"], "persist_every": [1, 2, 4],
    },
)  # fmt: skip
