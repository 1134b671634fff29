"""A user's own folder as the catalog in use, from Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NODE = """
kind: node
sources:
  mine: {title: my own, locator: here, date: 2026}
entries:
  MyNode:
    title: My node
    source: mine
    accelerator: MyChip
    accelerators_per_node: 8
    scale_up: {domain_size: 8, bandwidth: 450 GB/s, latency: 1 us}
    nics_per_node: 8
    max_power: 12 kW
"""
CHIP = """
kind: accelerator
sources:
  mine: {title: my own, locator: here, date: 2026}
entries:
  MyChip:
    title: My chip
    vendor: me
    released: "2026"
    generation: hopper
    source: mine
    memory: {capacity: 160 GiB, bandwidth: 5 TB/s}
    compute: {peak: {bf16: 1200 TFLOP/s}}
    tdp: 900 W
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "node.yaml").write_text(NODE)
    (tmp_path / "chip.yaml").write_text(CHIP)
    return tmp_path


def test_own_chip_is_chosen_on_the_command_line(folder: Path, run_python: Any) -> None:
    arguments = [
        "--catalog", str(folder), "optimize", "parallelism", "--model", "Llama3_8B", "--fleet", "Lab_64_H100",
        "--batch-size", "256", "--seq-len", "4096", "--set", "accelerator=H100,MyChip", "--json",
    ]  # fmt: skip
    done = run_python(f"from mlsysim_opt.cli import main; raise SystemExit(main({arguments!r}))")
    assert json.loads(done.stdout)["design"]["accelerator"] == "MyChip"


def test_a_faulty_folder_changes_nothing(folder: Path) -> None:
    from mlsysim_opt.errors import CatalogError
    from mlsysim_opt.registry import default_catalog, use_folder

    (folder / "chip.yaml").write_text(CHIP.replace("160 GiB", "160 GB/s"))
    before = default_catalog()
    with pytest.raises(CatalogError, match="capacity"):
        use_folder(folder)
    assert default_catalog() is before


def test_an_overridden_default_is_still_named_as_an_assumption(tmp_path: Path, run_python: Any) -> None:
    (tmp_path / "law.yaml").write_text(
        "kind: scaling_law\n"
        'sources: {own: {title: "Own runs", locator: "table 1", date: 2026}}\n'
        "entries:\n"
        "  Besiroglu_2024:\n"
        "    title: own fit\n"
        "    source: own\n"
        "    surface: {E: 1.8, A: 480, B: 2080, alpha: 0.35, beta: 0.37}\n"
    )
    done = run_python(
        "import warnings; from mlsysim_opt.physics import ScalingModel; from mlsysim_opt.registry import use_folder\n"
        "before = ScalingModel().solve(compute_budget='1e24 FLOP')\n"
        f"warnings.simplefilter('ignore'); use_folder({str(tmp_path)!r})\n"
        "after = ScalingModel().solve(compute_budget='1e24 FLOP')\n"
        "assert before.loss != after.loss\n"
        "print(before.assumptions['fit'], after.assumptions['fit'])"
    )
    assert done.stdout.split() == ["Besiroglu_2024", "Besiroglu_2024"]
