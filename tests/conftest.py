"""What every test may use: the root of the tree, a fresh interpreter, and the hypothesis profiles."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

RunPython = Callable[..., subprocess.CompletedProcess[str]]

# `quick` is repeatable: a red build is red again on the next machine. `campaign` explores: `make fuzz`.
# No deadlines, because the time of an example says more about the machine's load than about the code.
_shared = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=60, derandomize=True, **_shared)
settings.register_profile("campaign", max_examples=5000, print_blob=True, **_shared)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Return a function that runs code in a fresh interpreter, in an empty folder, and insists on exit 0."""

    def run(code: str, *, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
