"""Seed-era address of the units: see `mlsysim_opt.units`."""

from mlsysim_opt.units import Q_, parse_unit, quantity, registry

__all__ = ["Q_", "parse_unit", "quantity", "registry"]
