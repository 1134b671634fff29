"""Seed-era address and names of the types of models: see `mlsysim_opt.registry.types`."""

from mlsysim_opt.registry.types import MixtureOfExperts, Transformer, Workload

TransformerWorkload = Transformer

__all__ = ["MixtureOfExperts", "Transformer", "TransformerWorkload", "Workload"]
