"""What numbers that differ by their rounding are: the same. 3 x 1.1 USD is within a limit of 3.3 USD.

A few operations on floats that are exact in decimals leave an error of some units in the last place. Without room for
it, a limit that is met exactly is broken, and three workers of 0.7 request/s do not serve 2.1 request/s.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ROUNDING = 2.0**-48
"""Sixteen units in the last place: what some ten operations may leave."""
APART = 2.0**45
"""Whole numbers beyond are nearer to one another than that is wide, or nearly."""
_ABOVE, _BELOW = 1 + ROUNDING, 1 - ROUNDING

Array = np.ndarray[Any, Any]


def raised(value: float) -> float:
    """Return a number and its rounding: at most that much is at most the number."""
    return value * _ABOVE if value >= 0 else value * _BELOW


def at_most(small: float, large: float) -> bool:
    """Return whether a number is at most another one, up to rounding; False where one is none."""
    return small <= raised(large)


def below(small: float, large: float) -> bool:
    """Return whether a number is less than another one by more than rounding."""
    return large > raised(small)


def same(one: float, two: float) -> bool:
    """Return whether two numbers differ by no more than rounding."""
    return at_most(one, two) and at_most(two, one)


def ceiling(value: float) -> float:
    """Return the next whole number above, where the number is not one already, up to rounding."""
    if not math.isfinite(value):
        return value
    return float(math.ceil(-raised(-value) if abs(value) < APART else value))


def all_raised(values: Any) -> Array:
    """Return `raised` of each number."""
    found: Array = np.maximum(np.multiply(values, _ABOVE), np.multiply(values, _BELOW))
    return found


def all_at_most(small: Any, large: Any) -> Array:
    """Return `at_most` for each pair of numbers."""
    found: Array = np.less_equal(small, all_raised(large))
    return found


def all_below(small: Any, large: Any) -> Array:
    """Return `below` for each pair of numbers."""
    found: Array = np.greater(large, all_raised(small))
    return found


def all_same(one: Any, two: Any) -> Array:
    """Return `same` for each pair of numbers."""
    found: Array = np.logical_and(all_at_most(one, two), all_at_most(two, one))
    return found


def all_ceilings(values: Any) -> Array:
    """Return `ceiling` of each number."""
    found: Array = np.ceil(np.where(np.abs(values) < APART, -all_raised(np.negative(values)), values)) + 0.0
    return found
