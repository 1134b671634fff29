"""Seed-era addresses: what stands here is a re-export."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Hardware":
        from mlsysim_opt.registry import Hardware

        return Hardware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
