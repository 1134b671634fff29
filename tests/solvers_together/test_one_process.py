"""HiGHS, CP-SAT and Pyomo in one process, in every order of import.

A wrong pair of versions fails at link time (google/or-tools#5246), and Pyomo then says no more than "not
available"; each order therefore runs in a process of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

HIGHS = """
import highspy
highs = highspy.Highs()
highs.silent()
x = highs.addIntegral(0, 10)
highs.addConstr(2 * x <= 7)
highs.maximize(x)
assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
assert round(highs.val(x)) == 3
"""
CPSAT = """
from ortools.sat.python import cp_model
model = cp_model.CpModel()
y = model.new_int_var(0, 10, "y")
model.add(2 * y <= 7)
model.maximize(y)
solver = cp_model.CpSolver()
assert solver.solve(model) == cp_model.OPTIMAL
assert solver.value(y) == 3
"""
PYOMO = """
import pyomo.environ as pyo
for name in ("appsi_highs", "highs"):
    assert pyo.SolverFactory(name).available(), name
    model = pyo.ConcreteModel()
    model.z = pyo.Var(bounds=(0, 10), domain=pyo.Integers)
    model.c = pyo.Constraint(expr=2 * model.z <= 7)
    model.o = pyo.Objective(expr=model.z, sense=pyo.maximize)
    pyo.assert_optimal_termination(pyo.SolverFactory(name).solve(model))
    assert round(pyo.value(model.z)) == 3
"""
PARTS = {"highs": HIGHS, "cpsat": CPSAT, "pyomo": PYOMO}


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS)), ids=" ".join)
def test_every_order_of_import_solves(order: tuple[str, ...], run_python: Callable[..., CompletedProcess[str]]) -> None:
    run_python("\n".join(PARTS[name] for name in order))


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["load_highs", "load_cpsat", "load_pyomo"])), ids=" ".join
)
def test_every_order_of_our_loaders(order: tuple[str, ...], run_python: Callable[..., CompletedProcess[str]]) -> None:
    names = ", ".join(order)
    calls = "; ".join(f"{name}()" for name in order)
    run_python(f"from mlsysim_opt.optimize.backends._imports import {names}; {calls}\n{HIGHS}{CPSAT}{PYOMO}")
