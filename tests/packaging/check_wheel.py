"""Build the sdist and the wheel, install the wheel in a clean environment, and use it from another folder.

`make wheel-check` runs this. It takes a minute, because the clean environment gets every dependency anew; the
quick checks of what the wheel holds are in test_wheel.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INSIDE = """
import importlib, importlib.resources, pathlib, sys
import mlsysim_opt
here = pathlib.Path(mlsysim_opt.__file__).resolve()
assert pathlib.Path(sys.prefix).resolve() in here.parents, f"not the installed package: {here}"
for name in ("formulations", "catalog", "tests", "benchmarks", "docs"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"the wheel put a generic name into site-packages: {name}")
files = importlib.resources.files("mlsysim_opt.catalog")
assert any(pathlib.Path(str(files)).rglob("*.yaml")), "the catalog is not in the wheel"
for name in mlsysim_opt.__all__:
    getattr(mlsysim_opt, name)
from importlib.metadata import entry_points, version
assert version("mlsysim-opt") == mlsysim_opt.__version__
for point in entry_points(group="mlsysim_opt.formulations"):
    point.load()
"""


def run(what: str, *command: str | Path, cwd: Path) -> None:
    """Run a command as a user elsewhere would, with nothing of this checkout in its environment."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"failed: {what} (exit {done.returncode})\n{done.stdout}\n{done.stderr}")
    print(f"ok: {what}", flush=True)


def main() -> None:
    """Build, install, use."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # Without --wheel, `build` makes the wheel from the sdist: both are then known to be complete.
        run("build sdist and wheel", sys.executable, "-m", "build", "--outdir", work / "dist", ROOT, cwd=work)
        (wheel,) = (work / "dist").glob("*.whl")
        run("clean environment", sys.executable, "-m", "venv", work / "env", cwd=work)
        binaries = work / "env" / ("Scripts" if os.name == "nt" else "bin")
        python = binaries / "python"
        run(f"install {wheel.name}", python, "-m", "pip", "install", "-qq", wheel, cwd=work)
        run("every public name, the catalog, nothing generic", python, "-c", INSIDE, cwd=work)
        for argument in ("--version", "demo"):
            run(f"mlsysim-opt {argument}", binaries / "mlsysim-opt", argument, cwd=work)


if __name__ == "__main__":
    main()
