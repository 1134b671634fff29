"""What the tests of the registry share: a valid accelerator as text, and a folder of users' files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from mlsysim_opt.registry import Catalog, default_catalog

sys.path.insert(0, str(Path(__file__).parent / "support"))  # counted_networks

ACCELERATOR = """\
kind: accelerator
sources:
  sheet: {title: Sheet, locator: page 1, date: 2024-05}
entries:
  MyChip:
    title: My chip
    source: sheet
    vendor: Me
    released: 2024-01
    generation: hopper
    memory: {capacity: 64 GiB, bandwidth: 2 TB/s}
    compute: {peak: {bf16: 500 TFLOP/s}}
    tdp: 400 W
"""

Overlay = Callable[..., Catalog]


@pytest.fixture
def overlay(tmp_path: Path) -> Overlay:
    """Write files into a folder and put it on top of the catalog of the package."""

    def make(*texts: str, **named: str) -> Catalog:
        files = {f"file{number}.yaml": text for number, text in enumerate(texts)}
        files |= {f"{name}.yaml": text for name, text in named.items()}
        for name, text in files.items():
            (tmp_path / name).write_text(dedent(text), encoding="utf-8")
        return default_catalog().with_folder(tmp_path)

    return make
