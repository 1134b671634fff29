"""Seed-era addresses: what stands here is a re-export."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Models":
        from mlsysim_opt.registry import Models

        return Models
    if name == "TransformerWorkload":
        from mlsysim_opt.models.types import TransformerWorkload

        return TransformerWorkload
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
