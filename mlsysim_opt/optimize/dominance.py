"""Points that no other one beats in every objective, and the volume they dominate. All objectives are minimised."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def beaten(points: Array, by: Array) -> Array:
    """Return which points (rows) some row of `by` beats: it is nowhere worse, and somewhere better."""
    out = np.zeros(len(points), dtype=bool)
    alive = np.arange(len(points))
    for other in by:
        if not len(alive):
            break
        worse = np.all(points[alive] >= other, axis=1) & np.any(points[alive] > other, axis=1)
        if worse.any():
            out[alive[worse]] = True
            alive = alive[~worse]
    return out


def undominated(points: Array) -> Array:
    """Return positions of the rows that no other row beats, in the order of the first objective; of equal rows the
    first.
    """
    order = np.lexsort((np.arange(len(points)), *reversed(points.T)))
    ranked = points[order]
    if points.shape[1] == 2:  # after sorting, what is left lowers the second objective
        second = ranked[:, 1]
        before = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
        return order[second < before]
    kept: list[int] = []
    alive = np.arange(len(ranked))
    while len(alive):  # the first in order is beaten by none that follows it
        first = alive[0]
        kept.append(int(first))
        alive = alive[1:][~np.all(ranked[alive[1:]] >= ranked[first], axis=1)]
    return order[np.array(kept, dtype=np.intp)]


def covering(points: Array, step: Array) -> Array:
    """Return positions of undominated rows such that every row is within a step of one of them in every objective.

    Args:
        step: for each objective, by how much a point that stands for another may be worse than it.
    """
    order = np.lexsort(tuple(reversed(points.T)))
    kept: list[int] = []
    for at in order:
        if not any(np.all(points[other] <= points[at] + step) for other in kept):
            kept.append(int(at))
    return np.array(kept, dtype=np.intp)


def hypervolume(points: Array, reference: Array) -> float:
    """Return the volume of what some point is at least as good as, up to a reference point.

    Exact: the space is cut into slices along the last objective, each one an area of the objectives before it.
    """
    inside = points[np.all(points < reference, axis=1)]
    if not len(inside):
        return 0.0
    return _volume(inside[undominated(inside)], reference)


def _volume(points: Array, reference: Array) -> float:
    if points.shape[1] == 1:
        return float(reference[0] - points.min())
    if points.shape[1] == 2:
        ranked = points[undominated(points)]
        ends = np.concatenate([ranked[1:, 0], reference[:1]])
        return float(np.sum((ends - ranked[:, 0]) * (reference[1] - ranked[:, 1])))
    order = np.argsort(points[:, -1], kind="stable")
    ranked = points[order]
    total = 0.0
    for count in range(1, len(ranked) + 1):
        end = reference[-1] if count == len(ranked) else ranked[count, -1]
        depth = end - ranked[count - 1, -1]
        if depth > 0:
            below = ranked[:count, :-1]
            total += depth * _volume(below[undominated(below)], reference[:-1])
    return float(total)
