"""Tier 1: the walls as equations. Models are resolved on first use; importing this package imports nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsysim_opt.physics.batching import ContinuousBatchingModel
    from mlsysim_opt.physics.capacity import ServingCapacityModel
    from mlsysim_opt.physics.checkpoint import CheckpointModel
    from mlsysim_opt.physics.compression import CompressionModel
    from mlsysim_opt.physics.data import DataModel, TransformationModel
    from mlsysim_opt.physics.economics import EconomicsModel
    from mlsysim_opt.physics.efficiency import EfficiencyModel
    from mlsysim_opt.physics.inverse import solve_for
    from mlsysim_opt.physics.node import Engine, SingleNodeModel
    from mlsysim_opt.physics.questions import sensitivity
    from mlsysim_opt.physics.queueing import OrchestrationModel, TailLatencyModel
    from mlsysim_opt.physics.reasoning import InferenceScalingModel
    from mlsysim_opt.physics.reliability import ReliabilityModel
    from mlsysim_opt.physics.responsible import ResponsibleEngineeringModel
    from mlsysim_opt.physics.routing import MoERoutingModel
    from mlsysim_opt.physics.scaling import ScalingModel
    from mlsysim_opt.physics.serving import ServingModel
    from mlsysim_opt.physics.streaming import WeightStreamingModel
    from mlsysim_opt.physics.sustainability import SustainabilityModel
    from mlsysim_opt.physics.topology import TopologyModel
    from mlsysim_opt.physics.training import DistributedModel, TrainingMemoryModel

__all__ = [
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
    "solve_for",
]

_MODULES = {
    "CheckpointModel": "checkpoint",
    "CompressionModel": "compression",
    "ContinuousBatchingModel": "batching",
    "DataModel": "data",
    "DistributedModel": "training",
    "EconomicsModel": "economics",
    "EfficiencyModel": "efficiency",
    "Engine": "node",
    "InferenceScalingModel": "reasoning",
    "MoERoutingModel": "routing",
    "OrchestrationModel": "queueing",
    "ReliabilityModel": "reliability",
    "ResponsibleEngineeringModel": "responsible",
    "ScalingModel": "scaling",
    "ServingCapacityModel": "capacity",
    "ServingModel": "serving",
    "SingleNodeModel": "node",
    "SustainabilityModel": "sustainability",
    "TailLatencyModel": "queueing",
    "TopologyModel": "topology",
    "TrainingMemoryModel": "training",
    "TransformationModel": "data",
    "WeightStreamingModel": "streaming",
    "sensitivity": "questions",
    "solve_for": "inverse",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
