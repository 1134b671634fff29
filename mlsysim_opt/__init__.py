"""Declare what may be chosen, what must hold and what is wanted; get the best ML system, and why it is best.

The public names are resolved on first use (PEP 562): importing the package loads no numerical library, so
that a command line or a notebook cell that needs only a part pays only for that part.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlsysim_opt.errors import (
        CatalogError,
        DimensionError,
        FileError,
        InfeasibleError,
        InputError,
        LibraryMissingError,
        LimitReachedError,
        MissingFieldError,
        MlsysimError,
        NotInvertibleError,
        OOMError,
        ParseError,
        PlanError,
        ScaleError,
        SLAViolation,
        SolverError,
        SolverMissingError,
        SymbolicError,
        UnboundedError,
        UnitError,
        UnknownNameError,
        UnsupportedPrecisionError,
        UsageError,
        VerificationError,
    )
    from mlsysim_opt.formulations.optimizers import (
        BatchingOptimizer,
        ParallelismOptimizer,
        PlacementOptimizer,
    )
    from mlsysim_opt.optimize import (
        CoupledProblem,
        Front,
        PlanSolution,
        Problem,
        Solution,
        evaluate,
        optimize,
        pareto,
        solve_for,
    )
    from mlsysim_opt.physics import (
        CheckpointModel,
        CompressionModel,
        ContinuousBatchingModel,
        DataModel,
        DistributedModel,
        EconomicsModel,
        EfficiencyModel,
        Engine,
        InferenceScalingModel,
        MoERoutingModel,
        OrchestrationModel,
        ReliabilityModel,
        ResponsibleEngineeringModel,
        ScalingModel,
        ServingCapacityModel,
        ServingModel,
        SingleNodeModel,
        SustainabilityModel,
        TailLatencyModel,
        TopologyModel,
        TrainingMemoryModel,
        TransformationModel,
        WeightStreamingModel,
        sensitivity,
    )
    from mlsysim_opt.physics.walls import (
        walls,
    )
    from mlsysim_opt.registry import (
        Hardware,
        Infra,
        Models,
        Systems,
    )
    from mlsysim_opt.scenarios import (
        Scenario,
        Scenarios,
        SimulationConfig,
        SystemEvaluation,
    )
    from mlsysim_opt.solvers import (
        Between,
        Discrete,
        DistributedSolver,
        EconomicsSolver,
        LogNormal,
        Normal,
        SensitivitySolver,
        ServingSolver,
        SynthesisSolver,
        Triangular,
        Uniform,
        rank_uncertainty,
        solve_system,
        uncertain,
        uncertain_number,
    )
    from mlsysim_opt.units import (
        Q_,
    )

__all__ = [
    "BatchingOptimizer",
    "Between",
    "CatalogError",
    "CheckpointModel",
    "CompressionModel",
    "ContinuousBatchingModel",
    "CoupledProblem",
    "DataModel",
    "DimensionError",
    "Discrete",
    "DistributedModel",
    "DistributedSolver",
    "EconomicsModel",
    "EconomicsSolver",
    "EfficiencyModel",
    "Engine",
    "FileError",
    "Front",
    "Hardware",
    "InfeasibleError",
    "InferenceScalingModel",
    "Infra",
    "InputError",
    "LibraryMissingError",
    "LimitReachedError",
    "LogNormal",
    "MissingFieldError",
    "MlsysimError",
    "MoERoutingModel",
    "Models",
    "Normal",
    "NotInvertibleError",
    "OOMError",
    "OrchestrationModel",
    "ParseError",
    "ParallelismOptimizer",
    "PlacementOptimizer",
    "PlanError",
    "PlanSolution",
    "Problem",
    "Q_",
    "ReliabilityModel",
    "ResponsibleEngineeringModel",
    "SLAViolation",
    "ScaleError",
    "ScalingModel",
    "Scenario",
    "Scenarios",
    "SensitivitySolver",
    "ServingCapacityModel",
    "ServingModel",
    "ServingSolver",
    "SimulationConfig",
    "SingleNodeModel",
    "Solution",
    "SolverError",
    "SolverMissingError",
    "SustainabilityModel",
    "SymbolicError",
    "SynthesisSolver",
    "SystemEvaluation",
    "Systems",
    "TailLatencyModel",
    "TopologyModel",
    "TrainingMemoryModel",
    "TransformationModel",
    "Triangular",
    "UnboundedError",
    "Uniform",
    "UnitError",
    "UnknownNameError",
    "UnsupportedPrecisionError",
    "UsageError",
    "VerificationError",
    "WeightStreamingModel",
    "__version__",
    "evaluate",
    "optimize",
    "pareto",
    "rank_uncertainty",
    "sensitivity",
    "solve_for",
    "uncertain",
    "uncertain_number",
    "solve_system",
    "walls",
]

_MODULES: dict[str, tuple[str, ...]] = {
    "mlsysim_opt.errors": (
        "CatalogError",
        "DimensionError",
        "FileError",
        "InfeasibleError",
        "InputError",
        "LibraryMissingError",
        "LimitReachedError",
        "MissingFieldError",
        "MlsysimError",
        "NotInvertibleError",
        "OOMError",
        "ParseError",
        "PlanError",
        "SLAViolation",
        "ScaleError",
        "SolverError",
        "SolverMissingError",
        "SymbolicError",
        "UnboundedError",
        "UnitError",
        "UnknownNameError",
        "UnsupportedPrecisionError",
        "UsageError",
        "VerificationError",
    ),
    "mlsysim_opt.formulations.optimizers": (
        "BatchingOptimizer",
        "ParallelismOptimizer",
        "PlacementOptimizer",
    ),
    "mlsysim_opt.optimize": (
        "CoupledProblem",
        "Front",
        "PlanSolution",
        "Problem",
        "Solution",
        "evaluate",
        "optimize",
        "pareto",
        "solve_for",
    ),
    "mlsysim_opt.physics": (
        "CheckpointModel",
        "CompressionModel",
        "ContinuousBatchingModel",
        "DataModel",
        "DistributedModel",
        "EconomicsModel",
        "EfficiencyModel",
        "Engine",
        "InferenceScalingModel",
        "MoERoutingModel",
        "OrchestrationModel",
        "ReliabilityModel",
        "ResponsibleEngineeringModel",
        "ScalingModel",
        "ServingCapacityModel",
        "ServingModel",
        "SingleNodeModel",
        "SustainabilityModel",
        "TailLatencyModel",
        "TopologyModel",
        "TrainingMemoryModel",
        "TransformationModel",
        "WeightStreamingModel",
        "sensitivity",
    ),
    "mlsysim_opt.physics.walls": ("walls",),
    "mlsysim_opt.registry": (
        "Hardware",
        "Infra",
        "Models",
        "Systems",
    ),
    "mlsysim_opt.scenarios": (
        "Scenario",
        "Scenarios",
        "SimulationConfig",
        "SystemEvaluation",
    ),
    "mlsysim_opt.solvers": (
        "Between",
        "Discrete",
        "DistributedSolver",
        "EconomicsSolver",
        "LogNormal",
        "Normal",
        "SensitivitySolver",
        "ServingSolver",
        "SynthesisSolver",
        "Triangular",
        "Uniform",
        "rank_uncertainty",
        "uncertain",
        "uncertain_number",
        "solve_system",
    ),
    "mlsysim_opt.units": ("Q_",),
}
_HOMES: dict[str, str] = {name: module for module, names in _MODULES.items() for name in names}
"""Public name -> the module that defines it. tests/test_public_names.py holds it equal to `__all__`."""


class _CallableModule(ModuleType):
    """A sub-package that bears the name of its main function, and answers a call with that function.

    `mlsysim_opt.optimize` is both the function users call and the package it lives in; the import system
    binds the package to that name the first time anything below it is imported. Making the package callable
    keeps both readings right whatever was imported first.
    """

    def _function(self) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function()(*args, **kwargs)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(self._function())

    def __reduce__(self) -> tuple[Any, ...]:
        # So that `executor.submit(mo.optimize, ...)` works across processes, as it does for a function.
        return importlib.import_module, (self.__name__,)


class _Package(ModuleType):
    """This package: makes a sub-package callable when the import system binds it over a public function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in _HOMES:
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

if not TYPE_CHECKING:  # a checker that saw this would take every misspelt name for Any

    def __getattr__(name: str) -> Any:
        """Import the module that defines a public name, on the first use of that name."""
        if name in _HOMES:
            module = importlib.import_module(_HOMES[name])
            # Importing mlsysim_opt.optimize has already bound `optimize`; everything else is bound here.
            return globals().setdefault(name, getattr(module, name))
        message = f"module {__name__!r} has no attribute {name!r}"
        if not name.startswith("__"):
            from mlsysim_opt.errors import did_you_mean

            near = did_you_mean(name, _HOMES)
            message += f"; {near}" if near else ""
        raise AttributeError(message, name=name, obj=sys.modules[__name__])

    def __dir__() -> list[str]:
        """List the public names, loaded or not, and the sub-packages, for tab completion."""

        def shown(name: str, value: Any) -> bool:
            ours = isinstance(value, ModuleType) and value.__name__.startswith(__name__ + ".")
            return name.startswith("__") or (ours and not name.startswith("_"))

        return sorted({*(name for name, value in globals().items() if shown(name, value)), *__all__})
