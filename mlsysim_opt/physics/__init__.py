"""Tier 1: the walls as equations. Models are resolved on first use; importing this package imports nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsysim_opt.physics.node import SingleNodeModel
    from mlsysim_opt.physics.questions import sensitivity, solve_for
    from mlsysim_opt.physics.training import DistributedModel, TrainingMemoryModel

__all__ = ["DistributedModel", "SingleNodeModel", "TrainingMemoryModel", "sensitivity", "solve_for"]

_MODULES = {
    "DistributedModel": "training",
    "SingleNodeModel": "node",
    "TrainingMemoryModel": "training",
    "sensitivity": "questions",
    "solve_for": "questions",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
