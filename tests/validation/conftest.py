"""Rows for the tests: made in place, from the project's own table, or from the collection beside a checkout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsysim_opt.validation.rows import Row


@pytest.fixture
def collection(root: Path) -> Callable[[str], Path]:
    """Return a function that finds a file of the bulk collection, and skips where it is absent."""

    def find(name: str) -> Path:
        path = root.parent / "shared" / "validation" / name
        if not path.is_file():
            pytest.skip(f"the bulk collection of measurements is not here ({name}); the project's own table is tested")
        return path

    return find


def row(measured: dict[str, Any] | None = None, group: str = "dgxc", subject: str = "training", **inputs: Any) -> Row:
    """Return a training row: Llama 3 8B on one node of H100, changed by `inputs`; None takes an input away."""
    base: dict[str, Any] = {
        "model": "Llama3_8B", "hardware": "H100", "gpus": 8, "seq_len": 8192, "global_batch": 128, "micro_batch": 1,
        "precision": "bf16", "tp": 1, "pp": 1, "cp": 2,
    }  # fmt: skip
    stated = {name: value for name, value in {**base, **inputs}.items() if value is not None}
    return Row("r", group, subject, stated, {"step_time_s": 12.78} if measured is None else measured)
