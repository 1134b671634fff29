"""The backends of coupled problems, by name."""

from __future__ import annotations

import importlib
from typing import Any

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize.coupled.outcome import ProgramBackend

PROGRAM_BACKENDS = {
    "milp": "mlsysim_opt.optimize.coupled.search:HighsBackend",
    "cpsat": "mlsysim_opt.optimize.backends.cpsat_program:CpSatProgramBackend",
    "pyomo": "mlsysim_opt.optimize.backends.pyomo_program:PyomoBackend",
}


def program_backend(name: str) -> ProgramBackend:
    """Return a backend for coupled problems by name; ``auto`` is HiGHS. ``pyomo:NAME`` is Pyomo with that solver.

    Raises:
        UnknownNameError: there is no such backend.
    """
    if not isinstance(name, str):
        raise InputError(f"expected the name of a backend, got {name!r}", path="backend")
    kind, _, solver = ("milp" if name == "auto" else name).partition(":")
    if kind not in PROGRAM_BACKENDS or (solver and kind != "pyomo"):
        raise UnknownNameError(
            "backend of coupled problems", name, [*PROGRAM_BACKENDS, "auto", "pyomo:NAME"], path="backend"
        )
    module, _, attribute = PROGRAM_BACKENDS[kind].partition(":")
    made: Any = getattr(importlib.import_module(module), attribute)
    backend: ProgramBackend = made(solver) if solver else made()
    return backend
