"""Seed-era address and names of the types of hardware: see `mlsysim_opt.registry.types`."""

from mlsysim_opt.registry.types import Accelerator, Compute, Fabric, Fleet, Memory, Node, Storage

HardwareNode = Accelerator
NetworkFabric = Fabric

__all__ = ["Accelerator", "Compute", "Fabric", "Fleet", "HardwareNode", "Memory", "NetworkFabric", "Node", "Storage"]
