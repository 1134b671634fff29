"""Seed-era address of all models and solvers: see `mlsysim_opt.solvers`."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("mlsysim_opt.solvers"), name)
