"""The functions that equations are written with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsysim_opt.algebra.atoms.selection import Grid, Table
from mlsysim_opt.algebra.atoms.wording import label_text
from mlsysim_opt.algebra.expression import ATOMS, Choice, Constant, Expression, Operand, expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import parse_unit


def where(condition: Expression, then: Operand, otherwise: Operand) -> Expression:
    """Return `then` where the condition holds, else `otherwise`."""
    return ATOMS["where"](condition, then, otherwise)


def maximum(first: Operand, *others: Operand) -> Expression:
    """Return the largest of the values."""
    result = expression(first)
    for item in others:
        result = ATOMS["maximum"](result, item)
    return result


def minimum(first: Operand, *others: Operand) -> Expression:
    """Return the smallest of the values."""
    result = expression(first)
    for item in others:
        result = ATOMS["minimum"](result, item)
    return result


def ceil(value: Operand) -> Expression:
    """Return the value rounded up to a whole number."""
    return ATOMS["ceil"](value)


def floor(value: Operand) -> Expression:
    """Return the value rounded down to a whole number."""
    return ATOMS["floor"](value)


def ceildiv(a: Operand, b: Operand) -> Expression:
    """Return the exact ceiling of a / b for whole numbers."""
    return ATOMS["ceildiv"](a, b)


def divides(a: Operand, b: Operand) -> Expression:
    """Return whether `a` divides `b`."""
    return ATOMS["divides"](a, b)


def exp(value: Operand) -> Expression:
    """Return e to the power of a plain number."""
    return ATOMS["exp"](value)


def log(value: Operand) -> Expression:
    """Return the natural logarithm of a plain number."""
    return ATOMS["log"](value)


def sqrt(value: Operand) -> Expression:
    """Return the square root; the dimension is halved."""
    return expression(value) ** Constant(0.5)


def erlang_c(load: Operand, servers: Operand) -> Expression:
    """Return the share of arrivals that wait in an M/M/c queue; the load is in servers."""
    return ATOMS["erlang_c"](load, servers)


def exponential_mean(rate: Operand) -> Expression:
    """Return 1 / rate, infinite where the rate is not positive."""
    return ATOMS["exponential_mean"](rate)


def sojourn_quantile(
    chance: Operand, wait: Operand, fast: Operand, slow: Operand, share: Operand, level: Operand
) -> Expression:
    """Return a quantile of waiting and service together; see `queues.SojournQuantile`."""
    return ATOMS["sojourn_quantile"](chance, wait, fast, slow, share, level)


def poisson_below(count: Operand, mean: Operand) -> Expression:
    """Return the chance of fewer than `count` events where `mean` are expected (Poisson)."""
    return ATOMS["poisson_below"](count, mean)


def filling_quantile(size: Operand, level: Operand) -> Expression:
    """Return how long a share `level` of the requests of a batch waits at most until it is full, in mean times between
    arrivals; see `filling.FillingQuantile`."""
    return ATOMS["filling_quantile"](size, level)


def wait_decay(utilization: Operand) -> Expression:
    """Return how fast the chance of a wait of full batches falls, per mean time between arrivals; see
    `filling.WaitDecay`."""
    return ATOMS["wait_decay"](utilization)


def best_interval(cost: Operand) -> Expression:
    """Return the best work between checkpoints that cost so much, both in mean times between failures."""
    return ATOMS["best_interval"](cost)


def normal_tail(value: Operand) -> Expression:
    """Return the share of a standard normal variable above a plain number."""
    return ATOMS["normal_tail"](value)


def gaussian_privacy(epsilon: Operand, delta: Operand) -> Expression:
    """Return mu of the Gaussian mechanism that is exactly (epsilon, delta)-private."""
    return ATOMS["gaussian_privacy"](epsilon, delta)


def private_noise(epsilon: Operand, delta: Operand, rate: Operand, steps: Operand) -> Expression:
    """Return the noise, over the clipping norm, that keeps steps on samples (epsilon, delta)-private; never too low."""
    return ATOMS["private_noise"](epsilon, delta, rate, steps)


def private_rate(epsilon: Operand, delta: Operand, noise: Operand, steps: Operand) -> Expression:
    """Return the largest share of the data that steps with this noise may take to be (epsilon, delta)-private."""
    return ATOMS["private_rate"](epsilon, delta, noise, steps)


def lookup(
    choice: Choice,
    table: dict[Any, Any],
    *,
    unit: str = "dimensionless",
    reasons: dict[str, str] | None = None,
    title: str = "",
) -> Expression:
    """Return a number for each value of `choice`.

    Args:
        choice: the choice.
        table: a number in `unit` for every value; None where it is undefined.
        unit: unit of the numbers.
        reasons: for undefined values, why (shown among the excluded designs).
        title: name in LaTeX.
    Raises:
        InputError: a value of the choice is not in the table.
    """
    of = parse_unit(unit)
    missing = [str(item) for item in choice.values if item not in table]
    if missing:
        raise InputError(f"the table lacks {', '.join(missing)}", path=f"lookup({choice.name})")
    labels = [label_text(item) for item in choice.values]
    numbers = [table[item] for item in choice.values]
    return ATOMS["lookup"](choice, param=Table(labels, numbers, of, reasons, title))


def grid_lookup(choices: Sequence[Choice], values: Any, *, unit: str = "dimensionless", title: str) -> Expression:
    """Return a number for each combination of values of several choices.

    Args:
        choices: the choices. values: numbers in `unit`, of one axis per choice; NaN where there is none, infinity for
            no limit. title: what they are, for texts.
    Raises:
        InputError: the shape of the numbers is not that of the choices.
    """
    of = parse_unit(unit)
    return ATOMS["grid_lookup"](*choices, param=Grid(np.asarray(values, dtype=float) * of.factor, of, title))


def argmax_label(**values: Operand) -> Expression:
    """Return the name of the largest value: ``argmax_label(compute=t1, memory=t2)``."""
    return ATOMS["argmax_label"](*values.values(), param=tuple(values))
