"""Seed-era address of the hardware of the catalog: see `mlsysim_opt.registry`."""

from mlsysim_opt.registry import Hardware

__all__ = ["Hardware"]
