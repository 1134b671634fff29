"""Scenarios: a workload on a system with promises, all of them checked; their files and their scorecards."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsysim_opt.scenarios.config import SimulationConfig
    from mlsysim_opt.scenarios.evaluation import Amount, Check, Level, Status, SystemEvaluation
    from mlsysim_opt.scenarios.scenario import Scenario, Scenarios

__all__ = ["Amount", "Check", "Level", "Scenario", "Scenarios", "SimulationConfig", "Status", "SystemEvaluation"]

_MODULES = {
    **dict.fromkeys(("Amount", "Check", "Level", "Status", "SystemEvaluation"), "evaluation"),
    **dict.fromkeys(("Scenario", "Scenarios"), "scenario"),
    "SimulationConfig": "config",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
