"""All types of catalog entries in one place: ``from mlsysim_opt.registry.types import Accelerator``."""

from mlsysim_opt.registry.calibration import Calibration
from mlsysim_opt.registry.datum import Datum, Source
from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.hardware import (
    Accelerator,
    Compute,
    Fabric,
    Fleet,
    Link,
    Memory,
    Node,
    PeakRates,
    ScaleUp,
)
from mlsysim_opt.registry.sites import Datacenter, Grid, Price
from mlsysim_opt.registry.workloads import LatentAttention, MixtureOfExperts, NumericsRecipe, Transformer

__all__ = [
    "Accelerator",
    "Calibration",
    "Compute",
    "Datacenter",
    "Datum",
    "Entry",
    "Fabric",
    "Fleet",
    "Grid",
    "LatentAttention",
    "Link",
    "Memory",
    "MixtureOfExperts",
    "Node",
    "NumericsRecipe",
    "Part",
    "PeakRates",
    "Price",
    "ScaleUp",
    "Source",
    "Transformer",
]
