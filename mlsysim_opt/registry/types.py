"""All types of catalog entries in one place: ``from mlsysim_opt.registry.types import Accelerator``."""

from mlsysim_opt.registry.calibration import Calibration
from mlsysim_opt.registry.datum import Datum, Source
from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.evidence import Evidence, Frontier, LossSurface, Repetition, ScalingLaw
from mlsysim_opt.registry.hardware import (
    Accelerator,
    Compute,
    Fabric,
    Fleet,
    Link,
    Memory,
    Node,
    OnChipMemory,
    PeakRates,
    ScaleUp,
)
from mlsysim_opt.registry.profiles import Profile
from mlsysim_opt.registry.reliability import FailureCause, Reliability
from mlsysim_opt.registry.runs import TrainingRun
from mlsysim_opt.registry.scenario import Limits, ScenarioEntry, Split
from mlsysim_opt.registry.sites import Datacenter, Grid, Price
from mlsysim_opt.registry.storage import Storage
from mlsysim_opt.registry.workloads import (
    Accuracy,
    LatentAttention,
    MixtureOfExperts,
    NumericsRecipe,
    RecurrentMixer,
    SlidingWindow,
    Transformer,
    Workload,
)

__all__ = [
    "Accelerator",
    "Accuracy",
    "Calibration",
    "Compute",
    "Datacenter",
    "Datum",
    "Entry",
    "Evidence",
    "Fabric",
    "FailureCause",
    "Fleet",
    "Frontier",
    "Grid",
    "LatentAttention",
    "Limits",
    "Link",
    "LossSurface",
    "Memory",
    "MixtureOfExperts",
    "Node",
    "NumericsRecipe",
    "OnChipMemory",
    "Part",
    "PeakRates",
    "Price",
    "Profile",
    "Reliability",
    "Repetition",
    "RecurrentMixer",
    "ScaleUp",
    "ScalingLaw",
    "ScenarioEntry",
    "SlidingWindow",
    "Source",
    "Split",
    "Storage",
    "TrainingRun",
    "Transformer",
    "Workload",
]
