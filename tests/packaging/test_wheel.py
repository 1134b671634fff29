"""What the wheel holds, and that the wheel is used in place of the tree.

Built from a copy, so that no stale build folder gets in and no new one is left behind. `make wheel-check`
goes further: a clean environment with every dependency, and the command line run from another folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "venv", "_build")


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of this tree."""
    work = tmp_path_factory.mktemp("wheel")
    tree = work / "tree"
    shutil.copytree(root, tree, ignore=NOT_COPIED)
    out = work / "dist"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_wheel_puts_one_package_into_site_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mlsysim_opt"}


def test_the_wheel_is_complete(wheel: zipfile.ZipFile, root: Path) -> None:
    names = set(wheel.namelist())
    code = {f"mlsysim_opt/{path.relative_to(root / 'mlsysim_opt')}" for path in (root / "mlsysim_opt").rglob("*.py")}
    content = {
        f"mlsysim_opt/{path.relative_to(root)}"
        for folder in ("catalog", "formulations")
        for pattern in ("*.py", "*.yaml")
        for path in (root / folder).rglob(pattern)
    }
    assert code | content | {"mlsysim_opt/py.typed"} <= names
    assert {name for name in names if name.endswith("LICENSE")}


def test_the_wheel_works_away_from_the_tree(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(path) as opened:
        opened.extractall(site)
    code = f"""
import importlib.resources, pathlib, mlsysim_opt, mlsysim_opt.catalog, mlsysim_opt.formulations
for module in (mlsysim_opt, mlsysim_opt.catalog, mlsysim_opt.formulations):
    assert pathlib.Path(module.__file__).is_relative_to({str(site)!r}), module
assert list(pathlib.Path(str(importlib.resources.files("mlsysim_opt.catalog"))).rglob("*.yaml"))
mlsysim_opt.Hardware
for name in ("formulations", "catalog", "tests"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(name)
"""
    environment = dict(os.environ, PYTHONPATH=str(site))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
