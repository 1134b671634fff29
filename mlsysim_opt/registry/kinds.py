"""The kinds of catalog entries: where their files stand and which type reads them.

Light on purpose: naming a kind imports neither pydantic nor any type.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsysim_opt.errors import UnknownNameError

if TYPE_CHECKING:
    from mlsysim_opt.registry.entry import Entry


@dataclass(frozen=True)
class Kind:
    """One kind of entry.

    Attributes:
        name: as written in ``kind:`` at the top of a file.
        folder: its files are ``<folder>.yaml`` and ``<folder>/*.yaml``.
        module, type_name: where its type is defined.
    """

    name: str
    folder: str
    module: str
    type_name: str

    @property
    def entry_type(self) -> type[Entry]:
        """The type of its entries."""
        found: type[Entry] = getattr(importlib.import_module(f"mlsysim_opt.registry.{self.module}"), self.type_name)
        return found


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("accelerator", "accelerators", "hardware", "Accelerator"),
        Kind("node", "nodes", "hardware", "Node"),
        Kind("fabric", "fabrics", "hardware", "Fabric"),
        Kind("fleet", "fleets", "hardware", "Fleet"),
        Kind("storage", "storage", "storage", "Storage"),
        Kind("model", "models", "workloads", "Transformer"),
        Kind("workload", "workloads", "workloads", "Workload"),
        Kind("grid", "grids", "sites", "Grid"),
        Kind("datacenter", "datacenters", "sites", "Datacenter"),
        Kind("price", "prices", "sites", "Price"),
        Kind("profile", "profiles", "profiles", "Profile"),
        Kind("calibration", "calibration", "calibration", "Calibration"),
        Kind("reliability", "reliability", "reliability", "Reliability"),
        Kind("failure_cause", "failure_causes", "reliability", "FailureCause"),
        Kind("numerics", "numerics", "workloads", "NumericsRecipe"),
        Kind("scheduler", "schedulers", "scheduler", "Scheduler"),
        Kind("scaling_law", "scaling_laws", "evidence", "ScalingLaw"),
        Kind("evidence", "evidence", "evidence", "Evidence"),
        Kind("training_run", "training_runs", "runs", "TrainingRun"),
        Kind("scenario", "scenarios", "scenario", "ScenarioEntry"),
    )
}


_BY_NAME = {name: kind for kind in KINDS.values() for name in (kind.name, kind.folder)}


def kind_of(name: str) -> Kind:
    """Return the kind named so, in the singular or by its folder.

    Raises:
        UnknownNameError: there is none.
    """
    kind = _BY_NAME.get(name)
    if kind is None:
        raise UnknownNameError("kind of entry", name, KINDS)
    return kind
