"""Why no plan satisfies everything: an irreducible conflict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize.coupled.search import Options, ProgramBackend
from mlsysim_opt.optimize.coupled.task import CoupledTask


def feasible(task: CoupledTask, engine: ProgramBackend, options: Options) -> bool:
    """Return whether any plan satisfies the constraints of a task."""
    program = task.compiled().program
    empty = replace(program, cost=np.zeros(program.columns), offset=0.0)
    return engine.solve(empty, replace(options, watch=None, start=None)).status != "infeasible"


def infeasible(task: CoupledTask, engine: ProgramBackend, options: Options) -> InfeasibleError:
    """Return the error of a task without plans: constraints none of which can be left out of the conflict.

    Each of k constraints is left out in turn, and stays out if there is still no plan: k solves.
    """
    conflict = [item.name for item in task.user]
    for name in list(conflict):
        fewer = [other for other in conflict if other != name]
        dropped = [item.name for item in task.user if item.name not in fewer]
        if not feasible(task.without(dropped), engine, options):
            conflict = fewer
    if not conflict:
        names = [item.name for item in task.problem.couplings if not item.structural]
        message = f"no {task.problem.item} is possible even without the constraints of the user"
        return InfeasibleError(message, conflict=names)
    return InfeasibleError(f"no {task.problem.item} satisfies: " + "; ".join(conflict), conflict=conflict)
