"""Seed-era address of the models of the catalog: see `mlsysim_opt.registry`."""

from mlsysim_opt.registry import Models

__all__ = ["Models"]
