"""What every test may use: the root of the tree, a fresh interpreter, and the hypothesis profiles."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

FullDisk = Callable[[int], AbstractContextManager[None]]
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
def third_party(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Put a distribution on the path that brings the formulation `shoptalk`; return that name."""
    entries = importlib.import_module("mlsysim_opt.optimize.formulation")._entry_points
    folder = tmp_path / "site" / "shoptalk-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: shoptalk\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[mlsysim_opt.formulations]\nshoptalk = fuzzing.shoptalk:shoptalk\n")
    monkeypatch.syspath_prepend(str(root / "tests" / "fuzz" / "support"))
    monkeypatch.syspath_prepend(str(folder.parent))
    entries.cache_clear()
    yield "shoptalk"
    monkeypatch.undo()
    entries.cache_clear()


@pytest.fixture
def full_disk() -> FullDisk:
    """Return a context in which no file takes more than so many bytes: what is beyond fails as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


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
