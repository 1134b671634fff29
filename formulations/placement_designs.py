"""The columns of `placement` that are jobs: ways to run each of them, by physics or as they were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from mlsysim_opt.formulations.parallelism import _nodes_of
from mlsysim_opt.formulations.placement_givens import Array
from mlsysim_opt.formulations.training_columns import TrainingColumn, training_columns

from mlsysim_opt.errors import InfeasibleError, InputError, MlsysimError
from mlsysim_opt.optimize import optimize
from mlsysim_opt.physics.serving import home_of
from mlsysim_opt.registry.entry import Entry

if TYPE_CHECKING:
    from mlsysim_opt.formulations.placement_plan import Plan

Columns = tuple[TrainingColumn, ...]
Labelled = tuple[TrainingColumn, str]


def may_use(item: Mapping[str, Any], field: str, entries: Sequence[Entry]) -> Array:
    """Return which of the plan's entries a job or demand may use.

    Raises:
        InputError: none of them.
    """
    own = item[field]
    names = None if own is None else {entry.name for entry in own}
    may = np.array([names is None or entry.name in names for entry in entries])
    if not may.any():
        raise InputError(
            f"{item['name']} may use none of the {field} of the plan",
            path=f"{item['name']}.{field}",
            hint=", ".join(entry.name for entry in entries[:8]),
        )
    return may


def nodes_of(accelerators: tuple[Entry, ...], fleet: Entry | None) -> list[Entry]:
    """Return the node that holds each accelerator: the fleet's own where it fits.

    Raises:
        InputError: the catalog has none.
    """
    if fleet is not None:
        return list(_nodes_of(accelerators, fleet))
    found: list[Entry] = []
    for accelerator in accelerators:
        node = home_of(accelerator)
        if node is None:
            raise InputError(f"no node of the catalog holds {accelerator.name}", path="accelerators")
        found.append(node)
    return found


def ways_of(plan: Plan) -> dict[tuple[str, str], list[Labelled]]:
    """Return the ways to run each job on each accelerator, each with a label of its own among those of its size.

    Raises:
        InfeasibleError: a job fits on none of the accelerators and sizes. InputError: what is given of it is wrong.
    """
    found: dict[tuple[str, str], list[Labelled]] = {}
    for item in plan.jobs:
        reasons: list[MlsysimError] = []
        may = may_use(item, "accelerators", plan.accelerators)
        usable = [entry for entry, good in zip(plan.accelerators, may, strict=True) if good]
        together = {} if item["designs"] else _together(plan, item, usable)
        for accelerator in usable:
            try:
                mine = together.get(accelerator.name) or _ways(plan, item, accelerator)
            except MlsysimError as error:
                reasons.append(error)
                plan.problem.assumptions[f"{item['name']} on {accelerator.name}"] = f"left out: {error.message}"
                continue
            if mine:
                found[item["name"], accelerator.name] = _labelled(mine)
        if not any(name == item["name"] for name, _ in found):
            tried = [entry for entry in usable if f"{item['name']} on {entry.name}" not in plan.problem.assumptions]
            if reasons and not tried:
                raise reasons[0]
            raise _unfit(plan, item, tried)
    return found


def _unfit(plan: Plan, item: Mapping[str, Any], accelerators: Sequence[Entry]) -> MlsysimError:
    """Return that a job fits nowhere, with what `parallelism` says of it."""
    if item["designs"]:
        return InputError(f"{item['name']} has no design on an accelerator that it may use",
                          path=f"jobs.{item['name']}.designs")  # fmt: skip
    words = f"no plan is possible: {item['name']} fits on none of the accelerators and sizes"
    try:
        optimize("parallelism", objective="min_time", token_budget="1 token", **_asked(plan, item, accelerators))
    except InfeasibleError as error:
        return InfeasibleError(f"{words}: {error.message}; more nodes may hold it (nodes=...)", conflict=error.conflict,
                               relaxations=error.relaxations, solves=error.solves, hint=error.hint)  # fmt: skip
    except MlsysimError as error:
        return error
    return InfeasibleError(f"{words}; more nodes may hold it (nodes=...)")


def _labelled(columns: Sequence[TrainingColumn]) -> list[Labelled]:
    seen: dict[tuple[int, str], int] = {}
    found = []
    for column in columns:
        times = seen[column.nodes, column.label] = seen.get((column.nodes, column.label), 0) + 1
        found.append((column, column.label + (f" #{times}" if times > 1 else "")))
    return found


def _ways(plan: Plan, item: Mapping[str, Any], accelerator: Entry) -> Sequence[TrainingColumn]:
    if item["designs"]:
        return _measured(plan, item, accelerator)
    return _designs(plan, item, [accelerator])[accelerator.name]


def _together(plan: Plan, item: Mapping[str, Any], accelerators: Sequence[Entry]) -> Mapping[str, Columns]:
    """Return the designs on accelerators whose nodes hold as many, at once, which takes less time than one by one.

    An accelerator that is absent here, or has none, is asked alone: there the reason is told.
    """
    alike: dict[int, list[Entry]] = {}
    for accelerator in accelerators:
        node = plan.node.entries[plan.accelerators.index(accelerator)]
        alike.setdefault(int(node.accelerators_per_node), []).append(accelerator)
    found: dict[str, Columns] = {}
    for several in alike.values():
        with suppress(MlsysimError):
            found.update(_designs(plan, item, several))
    return found


def _designs(plan: Plan, item: Mapping[str, Any], accelerators: Sequence[Entry]) -> Mapping[str, Columns]:
    fleet, sizes = plan.values["fleet"], item["nodes"] or plan.values["nodes"]
    needed = {"fleet": fleet, "nodes": sizes}
    needed |= {name: item[name] for name in ("model", "token_budget", "global_batch_size", "seq_len")}
    for name, value in needed.items():
        if value is None:
            raise InputError(
                f"not given, but the designs of {item['name']} need it",
                path=name,
                hint="or give designs: ways to run the job as they were measured",
            )
    found: Mapping[str, Columns] = training_columns(_asked(plan, item, accelerators))
    return found


def _asked(plan: Plan, item: Mapping[str, Any], accelerators: Sequence[Entry]) -> dict[str, Any]:
    """Return what `parallelism` is given for a job on some accelerators, but for its tokens."""
    fleet, sizes = plan.values["fleet"], item["nodes"] or plan.values["nodes"]
    return {
        "model": item["model"].name,
        "fleet": fleet.name,
        "global_batch_size": item["global_batch_size"],
        "seq_len": item["seq_len"],
        "precision": item["precision"],
        "accelerator": [entry.name for entry in accelerators],
        "nodes": sizes if isinstance(sizes, str) else list(sizes),
    }


def _measured(plan: Plan, item: Mapping[str, Any], accelerator: Entry) -> Sequence[TrainingColumn]:
    found = []
    for design in item["designs"]:
        if design["accelerator"].name != accelerator.name:
            continue
        power = design["node_power"]
        if power is None:
            power = plan.node.entries[plan.accelerators.index(accelerator)].parameter("busy_power").si
        # a measured time is that of the whole job, failures included
        speed = (item["token_budget"] or 1.0) / (design["time"] * item["goodput"])
        found.append(TrainingColumn(design["nodes"], speed, power * design["nodes"], {}, design["name"]))
    return found
