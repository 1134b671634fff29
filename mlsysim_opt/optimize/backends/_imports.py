"""The one door through which solvers are loaded, and the check that two of them can live in one process.

Nothing here is imported before a backend runs. Each loader raises `SolverMissingError` with what to install,
and names a version that is known to be wrong or to clash, in place of the linker message (or of Pyomo's bare
"not available") that the user would meet otherwise.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

from mlsysim_opt.errors import SolverMissingError

REQUIREMENTS = {"highspy": ">=1.12,<1.14", "ortools": ">=9.15,<9.16", "pyomo": ">=6.9.2"}
"""The tested versions, as in pyproject.toml (a test holds the two equal)."""

_TITLES = {"highspy": "HiGHS", "ortools": "OR-Tools CP-SAT", "pyomo": "Pyomo"}


@dataclass(frozen=True)
class SolverStatus:
    """What is known of one solver without loading it.

    Attributes:
        solver: its name for people.
        package: its name for pip.
        version: the installed version, or None.
        requirement: the versions this release was tested with.
        tested: whether the installed version is one of them.
        problem: why it cannot be used here, or None when it can.
        hint: what to do about it.
    """

    solver: str
    package: str
    version: str | None
    requirement: str
    tested: bool
    problem: str | None
    hint: str | None

    @property
    def usable(self) -> bool:
        """Whether a backend may load it."""
        return self.problem is None


def load_highs() -> ModuleType:
    """Return the module `highspy`.

    Call this before Pyomo's own HiGHS interfaces too: they swallow an ImportError and report "not available".
    """
    return _load("highspy", "highspy")


def load_cpsat() -> ModuleType:
    """Return the module `ortools.sat.python.cp_model`."""
    return _load("ortools", "ortools.sat.python.cp_model")


def load_pyomo() -> ModuleType:
    """Return the module `pyomo.environ`."""
    return _load("pyomo", "pyomo.environ")


def solver_report() -> list[SolverStatus]:
    """Return the state of every solver, from package metadata alone: nothing is imported."""
    return [_status(package) for package in REQUIREMENTS]


def _load(package: str, module: str) -> ModuleType:
    status = _status(package)
    if status.problem is not None:
        raise SolverMissingError(status.problem, path=package, hint=status.hint)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SolverMissingError(
            f"{status.solver} ({package} {status.version}) is installed but cannot be loaded: {error}",
            path=package,
            hint=_install("highspy", "ortools") if package != "pyomo" else _install(package),
        ) from error


def _status(package: str) -> SolverStatus:
    version = _installed(package)
    problem, hint = _problem(package, version)
    return SolverStatus(
        solver=_TITLES[package],
        package=package,
        version=version,
        requirement=REQUIREMENTS[package],
        tested=version is not None and _within(version, REQUIREMENTS[package]),
        problem=problem,
        hint=hint,
    )


def _problem(package: str, version: str | None) -> tuple[str | None, str | None]:
    """Return why a package cannot be used and what to do, or (None, None)."""
    if version is None:
        return f"{_TITLES[package]} is not installed", _install(package)
    check = _KNOWN_FAULTS.get(package)
    problem = check(version) if check else None
    return problem, _install("highspy") if problem else None


def _highs_fault(version: str) -> str | None:
    """Name the faults of a HiGHS version: wrong answers, or a clash with the installed OR-Tools."""
    if _numbers(version)[:2] == (1, 14):
        return f"highspy {version} reports wrong optima of mixed-integer problems as optimal (HiGHS#2975, #3002)"
    ortools = _installed("ortools")
    return _clash(version, ortools) if ortools is not None else None


def _cpsat_fault(version: str) -> str | None:
    """Name the clash, where a foreign import has already loaded the HiGHS that OR-Tools cannot share.

    Without that, CP-SAT works: `load_highs` never lets a clashing HiGHS into the process.
    """
    highs = _installed("highspy")
    return _clash(highs, version) if highs is not None and "highspy" in sys.modules else None


def _clash(highs: str, ortools: str) -> str | None:
    """Name the clash of two versions that cannot be loaded in one process, or return None."""
    if _numbers(highs) < (1, 15) or _numbers(ortools) >= (9, 16):
        return None
    return (
        f"highspy {highs} and ortools {ortools} cannot be loaded in one process: each brings its own "
        "libhighs.so.1, and whichever is imported second fails (google/or-tools#5246)"
    )


_KNOWN_FAULTS: dict[str, Callable[[str], str | None]] = {"highspy": _highs_fault, "ortools": _cpsat_fault}


def _install(*packages: str) -> str:
    return "pip install " + " ".join(f"'{package}{REQUIREMENTS[package]}'" for package in packages)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``9.15.67`` -> (9, 15, 67), ``1.15.0rc1`` -> (1, 15, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _within(version: str, requirement: str) -> bool:
    """Whether a version satisfies a requirement made of ``>=`` and ``<`` bounds."""
    have = _numbers(version)
    for bound in requirement.split(","):
        limit = _numbers(bound.lstrip("<>="))
        if (have < limit) if bound.startswith(">=") else (have >= limit):
            return False
    return True
