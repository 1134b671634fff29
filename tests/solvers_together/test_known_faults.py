"""Wrong answers that releases of the solvers have given, with their smallest reproducers."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

# The optimum is y = 0, b = 10. highspy 1.14.0 answers 99999 and calls it optimal (HiGHS#2975, #3002).
BIG_M_HIGHSPY = """
import highspy
highs = highspy.Highs()
highs.silent()
a, b = highs.addVariable(0), highs.addVariable(0)
y = highs.addBinary()
highs.addConstr(a + b == 10)
highs.addConstr(a <= 100 * y)
highs.minimize(2 * b + 99999 * y)
assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
print(highs.getObjectiveValue())
"""
BIG_M_PYOMO = """
import pyomo.environ as pyo
m = pyo.ConcreteModel()
m.a, m.b, m.y = pyo.Var(bounds=(0, None)), pyo.Var(bounds=(0, None)), pyo.Var(domain=pyo.Binary)
m.sum = pyo.Constraint(expr=m.a + m.b == 10)
m.link = pyo.Constraint(expr=m.a <= 100 * m.y)
m.cost = pyo.Objective(expr=2 * m.b + 99999 * m.y)
pyo.assert_optimal_termination(pyo.SolverFactory("appsi_highs").solve(m))
print(pyo.value(m.cost))
"""


def test_the_big_m_optimum_is_right(run_python: Callable[..., CompletedProcess[str]]) -> None:
    for code in (BIG_M_HIGHSPY, BIG_M_PYOMO):
        objective = float(run_python(code).stdout)
        assert abs(objective - 20) < 1e-6, code
