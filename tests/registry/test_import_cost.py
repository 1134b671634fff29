"""What is loaded when: importing costs nothing, looking up a device never needs pint."""

from __future__ import annotations

import subprocess
import sys


def loaded(code: str) -> set[str]:
    watched = "yaml pydantic pint numpy"
    tail = f"\nimport sys; print(' '.join(name for name in '{watched}'.split() if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_or_the_registry_loads_nothing_heavy() -> None:
    assert not loaded("import mlsysim_opt") & {"pydantic", "pint", "yaml"}
    assert not loaded("import mlsysim_opt.registry") & {"pydantic", "pint", "yaml"}


def test_the_names_of_the_registry_load_no_file() -> None:
    names = "Hardware, Models, Systems, Infra, Calibrations, Numerics, default_catalog, find"
    assert not loaded(f"from mlsysim_opt.registry import {names}") & {"pydantic", "pint"}


def test_numbers_are_read_without_pint() -> None:
    code = """
from mlsysim_opt.registry import Hardware, Systems
assert Hardware.Cloud.H100.parameter("memory.bandwidth").si == 3.35e12
assert Systems.Clusters.Training_1K.parameters()
assert Hardware.Cloud.H100.peak_parameter("bf16").si == 989.4e12
assert Systems.Clusters.Training_1K.accelerators == 1024
Systems.Clusters.Training_1K.describe()
hash(Hardware.Cloud.H100), Hardware.Cloud.H100 == Hardware.Cloud.H200
"""
    assert "pint" not in loaded(code)


def test_only_the_files_of_the_kind_are_read() -> None:
    code = """
from mlsysim_opt.registry import Hardware, default_catalog
Hardware.Cloud.H100
assert set(default_catalog()._indexes) == {"accelerator"}, default_catalog()._indexes
"""
    loaded(code)
