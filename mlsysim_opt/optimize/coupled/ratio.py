"""Ratios of sums: the least of one by Dinkelbach's iteration, and what they divide by.

A sum is multiplied by a divisor only where that is never negative: else a limit would mean its opposite.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mlsysim_opt.algebra.expression import Expression, constant
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.backends.highs import HighsProgram
from mlsysim_opt.optimize.coupled.audit import Auditor
from mlsysim_opt.optimize.coupled.compile import Compiled, amounts_of
from mlsysim_opt.optimize.coupled.generate import generates, solve_generated
from mlsysim_opt.optimize.coupled.linear import Linear
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, ProgramBackend, Status, within
from mlsysim_opt.optimize.coupled.problem import Coupled
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, difference
from mlsysim_opt.optimize.coupled.prune import dual_bound
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Total
from mlsysim_opt.units import divide

AGREEMENT = 1e-9
"""Relative agreement demanded between the objective by arrays and by the scalar path."""
TIE = 1e-9
"""By how much, relatively, an earlier objective may give way to a later one: the rounding of its sum."""
TIED = 0.51 * TIE
"""An amount has that ratio itself where no more is left of its ``N - q (1 + TIE) D``, as a share of the two terms."""
STEPS = 50
NOISE = 1e-14
"""What is left of two numbers of this size, relatively, once one is taken from the other, is their rounding."""


def left(options: Options, began: float) -> Options:
    """Return options with what is left of their time, since a moment of `time.monotonic`."""
    if options.time_limit is None:
        return options
    return replace(options, time_limit=max(0.0, options.time_limit - (time.monotonic() - began)))


@dataclass(frozen=True, eq=False)
class Divided:
    """A question whose divisor is above zero in every plan.

    Attributes:
        task: the question, under that relation where it takes one. least: what the divisor is at least.
        compiled, held: a program of the question and its outcome: a plan to begin with, or why there is none.
    """

    task: CoupledTask
    least: float
    compiled: Compiled
    held: Found


def divided(task: CoupledTask, engine: ProgramBackend, options: Options, name: str, divisor: Total) -> Divided:
    """Return a question without the plans in which a divisor is zero: they have no ratio.

    Args:
        name: of the objective that divides.
    Raises:
        InputError: the divisor is negative in some plan, zero in every plan, or as near to zero as you like.
    """
    began = time.monotonic()
    compiled, held = least_sum(task, -divisor, engine, options)
    if held.status == "unbounded":  # any plan will do to begin with
        compiled, held = least_sum(task, divisor, engine, left(options, began))
    if held.x is None:
        return Divided(task, 0.0, compiled, held)
    most = value_of(compiled, divisor, task, held.x)
    if most <= 0:
        raise InputError(f"{name} divides by a sum that is zero in every plan", path="objective")
    _, lowest = least_sum(task, divisor, engine, replace(left(options, began), gap=1e-3, start=None))
    if lowest.value is not None and lowest.value < -AGREEMENT * most:
        raise InputError(f"{name} divides by a sum that may be negative", path="objective")
    least = lowest.bound
    if not least > AGREEMENT * most:
        least = _least_positive(task, compiled, name, divisor)
        relation = f"{name} divides by more than zero"
        limit = divisor >= constant(least * (1 - TIE), divisor.dimension)
        task = task.with_relations([Coupled(relation, limit, structural=True)], relation)
    return Divided(task, least, compiled, held)


def least_sum(
    task: CoupledTask,
    total: Total,
    engine: ProgramBackend,
    options: Options,
    cleaned: Callable[[Compiled], LinearProgram] | None = None,
) -> tuple[Compiled, Found]:
    """Return the plan with the least of a sum under all limits of a task, by whichever way fits its size.

    Args:
        cleaned: makes the program to be solved of a compiled one; the program itself when absent.
    """
    if engine.name == "milp" and generates(task):
        return solve_generated(task, options, total)
    compiled = task.compiled(total)
    return compiled, engine.solve(cleaned(compiled) if cleaned else compiled.program, options)


def least_ratio(task: CoupledTask, engine: ProgramBackend, options: Options) -> tuple[Compiled, Found]:
    """Minimise N / D: solve ``min N - q D`` for the best ratio q known so far, until nothing is below zero.

    Source: Dinkelbach, Management Science 13 (1967).

    Raises:
        InputError: as of `divided`.
    """
    linear, began = task.linear, time.monotonic()
    assert linear.divisor is not None
    begun = divided(task, engine, options, task.objective.name, linear.divisor)
    task, compiled, held, least = begun.task, begun.compiled, begun.held, begun.least
    if held.x is None:
        return compiled, held
    best, x, of = math.inf, held.x, compiled
    steps = 0
    while held.x is not None and steps < STEPS:
        ratio = value_of(compiled, linear.total, task, held.x) / value_of(compiled, linear.divisor, task, held.x)
        if not ratio < best - 1e-12 * abs(best if steps else 0.0):
            break
        best, x, of = ratio, held.x, compiled
        steps += 1
        excess = linear.total - linear.divisor * ratio_number(linear, best)
        exactly = replace(left(options, began), gap=0.0, start=held.x)
        compiled, held = least_sum(task, excess, engine, exactly, partial(_without_noise, task=task, ratio=best))
    bound = best + min(0.0, held.bound) / least
    size = held.size / least  # of which a ratio near zero is the rounding
    proven = within(best, bound, max(options.gap, EXACT), size)
    proof = f"Dinkelbach's iteration, {steps} programs: in no plan is the numerator below the ratio times the divisor"
    status: Status = "optimal" if proven else "feasible"
    made = Found(status, x, best, min(bound, best), proof, held.solver, held.details, size=size)
    return of, made


def _without_noise(compiled: Compiled, task: CoupledTask, ratio: float) -> LinearProgram:
    """Return a program of ``N - q D``, with costs of zero where nothing is left of the two but their rounding."""
    linear = task.linear
    assert linear.divisor is not None
    assert task.compiler is not None
    above, _ = compiled.coefficients(linear.total, task.compiler)
    below, _ = compiled.coefficients(linear.divisor, task.compiler)
    return replace(compiled.program, cost=np.nan_to_num(difference(above, ratio * below, NOISE)))


def refuse_negative_divisors(task: CoupledTask, options: Options) -> None:
    """Refuse the user's limits on ratios whose divisor may be negative in a plan that keeps all other limits.

    A plan in which the numerator and the divisor of a limited ratio are zero keeps the limit.

    Raises:
        InputError: one may be.
    """
    if all(item.divisor is None for item in task.user):
        return
    bare = task.without([item.name for item in task.user if item.divisor is not None])
    for item in task.user:
        if item.divisor is None:
            continue
        asked = bare.with_relations(item.divisor.relations, "what the divisor brings along")
        if generates(asked):
            _, lowest = solve_generated(asked, replace(options, gap=1e-3), item.divisor.total)
            if lowest.bound < 0:
                raise _negative(item.name)
            continue
        program = asked.compiled(item.divisor.total).program
        if dual_bound(program, np.zeros(program.rows)) >= 0:  # whatever is planned within its bounds
            continue
        result = HighsProgram(program).relaxation(time_limit=options.time_limit)
        if result.stop == "infeasible":
            continue
        size = float(np.max(np.abs(program.cost), initial=0.0)) + abs(program.offset)
        if not result.bound >= -EXACT * size:
            raise _negative(item.name)


def _negative(name: str) -> InputError:
    return InputError(
        f"{name!r} divides by a sum that may be negative",
        path="constraints",
        hint="write it without the division, or add a constraint that the divisor is at least zero",
    )


def _least_positive(task: CoupledTask, compiled: Compiled, name: str, divisor: Total) -> float:
    """Return what a divisor that is not zero is at least, where it adds up whole amounts.

    Raises:
        InputError: it may be as small as you like, so that the ratio has no bound.
    """
    assert task.compiler is not None
    numbers, offset = np.ones(1), 1.0  # of amounts of parts, which are divisible
    if not generates(task):
        numbers, offset = compiled.coefficients(divisor, task.compiler)
    used = np.nan_to_num(numbers) != 0
    if offset != 0 or np.any(numbers[used] < 0) or not compiled.program.whole[used].all():
        raise InputError(
            f"{name} divides by a sum that may be zero, or as near to it as you like",
            path="objective",
            hint="add a constraint that it is at least something",
        )
    return float(np.min(numbers[used]))


def ratio_number(linear: Linear, value: float) -> Expression:
    """Return a number in the unit of an objective that is a ratio."""
    assert linear.divisor is not None
    return constant(value, divide(linear.total.dimension, linear.divisor.dimension))


def value_of(compiled: Compiled, total: Total, task: CoupledTask, x: Array) -> float:
    """Return a sum at amounts."""
    assert task.compiler is not None
    if len(x) != compiled.program.columns:  # of generated columns there is no program
        return float(Auditor(task.problem, [], []).run(amounts_of(compiled, x), [total]).totals[0])
    coefficients, offset = compiled.coefficients(total, task.compiler)
    return float(np.nan_to_num(coefficients) @ x) + offset
