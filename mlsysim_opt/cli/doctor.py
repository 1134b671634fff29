"""The command that looks at the machine: versions, solvers, cores, memory, write access."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from typing import Any

from mlsysim_opt import __version__
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import SolverMissingError

LIBRARIES = ("numpy", "pint", "pydantic", "PyYAML", "typer", "rich")


def examine() -> Answer:
    """Return what was found; the exit status is 9 if a solver cannot be used."""
    from mlsysim_opt.optimize.backends._imports import solver_report

    solvers = solver_report()
    unusable = [item for item in solvers if not item.usable]
    where = os.getcwd()
    problem = write_problem(where)
    data: dict[str, Any] = {
        "status": "solver-missing" if unusable else "ok",
        "mlsysim_opt": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "solvers": [
            {
                "solver": item.solver,
                "package": item.package,
                "version": item.version,
                "requirement": item.requirement,
                "usable": item.usable,
                "tested": item.tested,
                "problem": item.problem,
                "hint": item.hint,
            }
            for item in solvers
        ],
        "cores": cores(),
        "memory_gib": memory_gib(),
        "folder": where,
        "writable": problem is None,
        "write_problem": problem,
    }

    def show(screen: Screen) -> None:
        screen.table("Versions", ("", ""), [("mlsysim_opt", __version__), ("python", sys.version.split()[0])])
        screen.table("Libraries", ("", ""), data["libraries"].items())
        rows = []
        for item in solvers:
            state = "usable" if item.tested else "usable, but not a version this was tested with"
            rows.append((item.solver, item.version or "-", item.requirement, item.problem or state, item.hint))
        screen.table("Solvers", ("solver", "version", "wanted", "", ""), rows)
        memory = f"{data['memory_gib']:.1f} GiB" if data["memory_gib"] else "unknown"
        writable = "writable" if problem is None else f"not writable: {problem}"
        machine = [("cores", data["cores"]), ("memory", memory), ("this folder", writable)]
        screen.table("Machine", ("", ""), machine)

    return Answer(data, show, SolverMissingError.exit_code if unusable else 0)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float | None:
    """Return the memory of the machine in GiB, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):
        return None


def write_problem(folder: str) -> str | None:
    """Return why no file can be made in a folder, or None when one can; nothing is left behind."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
