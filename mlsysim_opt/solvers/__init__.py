"""Tier 2: from a wanted answer to what it takes. The models of Tier 1 are found here too, under their first address."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsysim_opt.physics import DistributedModel as DistributedSolver
    from mlsysim_opt.physics import EconomicsModel as EconomicsSolver
    from mlsysim_opt.physics import ServingModel as ServingSolver
    from mlsysim_opt.solvers.distributions import (
        Between,
        Discrete,
        LogNormal,
        Normal,
        Triangular,
        Uniform,
        uncertain_number,
    )
    from mlsysim_opt.solvers.ranking import rank_uncertainty
    from mlsysim_opt.solvers.sensitivity import SensitivitySolver
    from mlsysim_opt.solvers.synthesis import SynthesisSolver
    from mlsysim_opt.solvers.systems import solve_system
    from mlsysim_opt.solvers.uncertainty import uncertain

__all__ = [
    "Between", "Discrete", "DistributedSolver", "EconomicsSolver", "LogNormal", "Normal", "SensitivitySolver",
    "ServingSolver", "SynthesisSolver", "Triangular", "Uniform", "rank_uncertainty", "solve_system", "uncertain",
    "uncertain_number",
]  # fmt: skip

_MODULES = {
    "SensitivitySolver": "sensitivity", "SynthesisSolver": "synthesis",
    **dict.fromkeys(
        ("Between", "Discrete", "LogNormal", "Normal", "Triangular", "Uniform", "uncertain_number"), "distributions"
    ),
    "rank_uncertainty": "ranking", "solve_system": "systems", "uncertain": "uncertainty",
}  # fmt: skip
_FRONTS = ("BatchingOptimizer", "ParallelismOptimizer", "PlacementOptimizer")
_FIRST_NAMES = {
    "DistributedSolver": "DistributedModel", "EconomicsSolver": "EconomicsModel", "ServingSolver": "ServingModel",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    if name in _FRONTS:
        return getattr(importlib.import_module("mlsysim_opt.formulations.optimizers"), name)
    physics = importlib.import_module("mlsysim_opt.physics")
    if name in physics.__all__ or name in _FIRST_NAMES:
        return getattr(physics, _FIRST_NAMES.get(name, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_FRONTS, *importlib.import_module("mlsysim_opt.physics").__all__})
