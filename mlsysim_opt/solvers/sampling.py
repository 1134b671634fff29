"""Samples of the unit cube, and variance-based indices: the one door to SciPy, which is an optional extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlsysim_opt.errors import InputError, SolverMissingError, UnknownNameError
from mlsysim_opt.solvers.distributions import Array

METHODS = ("random", "latin", "sobol")
ROUNDING = 1e-12
"""An output that varies by no larger share than this is constant."""
OLDEST = (1, 15)
"""The first SciPy whose samplers take ``rng``; as in pyproject.toml (a test holds the two equal)."""


def load_stats() -> Any:
    """Return `scipy.stats`.

    Raises:
        SolverMissingError: SciPy is not installed, or too old.
    """
    hint = "pip install 'mlsysim-opt[uncertainty]'; sampling='random' needs no library"
    try:
        import scipy
        from scipy import stats
    except ImportError as error:
        raise SolverMissingError(
            "SciPy, which draws such samples and computes Sobol indices, is not installed", path="scipy", hint=hint
        ) from error
    if tuple(int(part) for part in scipy.__version__.split(".")[:2]) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise SolverMissingError(f"SciPy {scipy.__version__} is too old, {needed} is needed", path="scipy", hint=hint)
    return stats


def draw(method: str, dimensions: int, count: int, seed: int) -> Array:
    """Return `count` points of the unit cube, one a row.

    Args:
        method: ``random`` (independent), ``latin`` (Latin hypercube) or ``sobol`` (scrambled Sobol points).
        seed: the same seed gives the same points.
    Raises:
        UnknownNameError: there is no such method. InputError: Sobol points are a power of two.
    """
    need_method(method)
    if method == "random":
        return np.random.default_rng(seed).random((count, dimensions))
    qmc = load_stats().qmc
    if method == "latin":
        points: Array = qmc.LatinHypercube(dimensions, rng=np.random.default_rng(seed)).random(count)
        return points
    need_power_of_two(count)
    points = qmc.Sobol(dimensions, rng=np.random.default_rng(seed)).random(count)
    return points


def need_method(method: str) -> None:
    """Refuse a way of sampling that there is not."""
    if method not in METHODS:
        raise UnknownNameError("way of sampling", str(method), METHODS)


def need_power_of_two(count: int) -> None:
    """Refuse a count that would leave Sobol points unbalanced."""
    if count & (count - 1):
        near = 2 ** max(count.bit_length() - 1, 1)
        raise InputError(f"Sobol points are a power of two, not {count}", path="samples", hint=f"{near} or {2 * near}")


Indices = tuple[Array, Array]
"""First-order and total indices: for each output a row, for each uncertain number a column."""


class Ranked(NamedTuple):
    """Sobol indices, the lower and upper ends of their confidence intervals, and which outputs vary at all."""

    exact: Indices
    low: Indices
    high: Indices
    varies: Array


def sobol_indices(
    evaluate: Callable[[Array], Array], dimensions: int, count: int, seed: int, resamples: int, confidence: float
) -> Ranked:
    """Return Sobol indices with their confidence intervals.

    Args:
        evaluate: gives for points of the unit cube, one a row, the outputs, one a row.
        count: points of each of both designs; ``count * (dimensions + 2)`` points are evaluated.
        resamples, confidence: of the bootstrap over the points.
    Source: Saltelli et al. 2010 (designs, first order) and Jansen 1999 (total), by `scipy.stats.sobol_indices`.
    """
    stats = load_stats()
    need_power_of_two(count)
    both = draw("sobol", 2 * dimensions, count, seed)
    first, second = both[:, :dimensions], both[:, dimensions:]
    mixed = []
    for at in range(dimensions):
        swapped = first.copy()
        swapped[:, at] = second[:, at]
        mixed.append(swapped)
    whole = evaluate(np.concatenate([first, second, *mixed]))
    outputs = len(whole)
    twice = np.repeat(whole, 2, axis=0) if outputs == 1 else whole  # SciPy fails on one output of one number
    parts = twice.reshape(len(twice), dimensions + 2, count)

    def estimate(rows: Array) -> Indices:
        taken = parts[:, :, rows]
        with np.errstate(all="ignore"):
            found = stats.sobol_indices(
                func={"f_A": taken[:, 0], "f_B": taken[:, 1], "f_AB": np.moveaxis(taken[:, 2:], 1, 0)}, n=count
            )
        shape = (len(twice), dimensions)
        return np.reshape(found.first_order, shape)[:outputs], np.reshape(found.total_order, shape)[:outputs]

    rng = np.random.default_rng(seed)
    again = [estimate(rng.integers(count, size=count)) for _ in range(resamples)]
    tail = (1 - confidence) / 2

    def ends(share: float) -> Indices:
        return tuple(np.quantile([item[kind] for item in again], share, axis=0) for kind in (0, 1))  # type: ignore[return-value]

    varies = np.ptp(whole, axis=1) > ROUNDING * np.max(np.abs(whole), axis=1)
    return Ranked(estimate(np.arange(count)), ends(tail), ends(1 - tail), varies)
