"""Places that no best plan needs: all that is done, held and rented there could be elsewhere, and cost no more.

What is moved to a place that already does something takes nothing from it: more is held or rented there by what it
uses. That holds as long as places have no capacity of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlsysim_opt.optimize.coupled.program import Array

Part = tuple[Array, Array, Array]
"""Of what may be done: its place, what tells it from others at its place, and numbers of which less is better."""


def undominated_places(held: Array, parts: Sequence[Part]) -> Array:
    """Return the places that are left when each that another one can stand in for is left out.

    Args:
        held: numbers of each place, of shape (places, numbers), of which less is better. parts: what may be done there;
            numbers of shape (things, numbers). A thing that is not at a place cannot be done there.
    """
    tables = [held]
    for place, key, numbers in parts:
        keys, which = np.unique(key, return_inverse=True)
        table = np.full((len(held), len(keys), numbers.shape[1]), np.inf)
        table[place, which.reshape(-1)] = np.where(np.isnan(numbers), np.inf, numbers)
        tables.append(table.reshape(len(held), -1))
    every = np.concatenate(tables, axis=1)
    kept: list[int] = []
    for at in np.argsort(held.sum(axis=1), kind="stable"):  # cheap ones first: few are left to compare with
        if not np.any(np.all(every[kept] <= every[at], axis=1)):
            kept = [item for item in kept if not np.all(every[at] <= every[item])]
            kept.append(int(at))
    return np.array(sorted(kept), dtype=np.int64)
