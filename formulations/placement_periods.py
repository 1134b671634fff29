"""Representative periods of `placement`: few periods, each of which stands for many that are alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mlsysim_opt.formulations.placement_givens import Array

from mlsysim_opt.optimize.coupled.blocks import FITS


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which representative period stands for each period.

    Attributes:
        of: the position of the representative period of each period.
    """

    of: Array

    @property
    def weights(self) -> Array:
        """How many periods each representative period stands for."""
        return np.bincount(self.of)

    def sum(self, values: Array) -> Array:
        """Return the sums over the periods that are stood for; periods are the last axis."""
        flat = values.reshape(-1, values.shape[-1])
        sums = np.stack([np.bincount(self.of, weights=row) for row in flat])
        return sums.reshape(*values.shape[:-1], -1)

    def least(self, values: Array) -> Array:
        """Return the least over the periods that are stood for; periods are the last axis."""
        return np.stack([values[..., self.of == group].min(axis=-1) for group in range(len(self.weights))], axis=-1)

    def mean(self, values: Array) -> Array:
        """Return the means over the periods that are stood for; periods are the last axis."""
        return np.asarray(self.sum(values) / self.weights)


def alike(features: Array, apart: Sequence[float], count: int) -> Grouping:
    """Return so many groups of periods that are alike in their features, none of them across an edge.

    The group that differs most in itself is split at its mean, along the feature in which it differs most, until there
    are enough: no random numbers, and the same groups for the same features.

    Args:
        features: of shape (periods, features), on one scale. apart: edges, as numbers of periods from the beginning.
        count: how many; more where there are more spans between edges, fewer where no two periods differ.
    """
    periods = len(features)
    near = [(np.floor(edge * (1 + FITS)), np.ceil(edge * (1 - FITS))) for edge in apart]
    edges = np.unique([0, *(int(place) for both in near for place in both), periods])
    edges = edges[(edges >= 0) & (edges <= periods)]
    groups = [np.arange(low, high) for low, high in itertools.pairwise(edges)]
    spread = [_spread(features[group]) for group in groups]
    while len(groups) < count and max(spread) > 0:
        at = int(np.argmax(spread))
        mine = groups.pop(at)
        spread.pop(at)
        part = features[mine]
        along = part[:, int(np.argmax(part.var(axis=0)))]
        low = along <= along.mean()
        for half in (mine[low], mine[~low]):
            groups.append(half)
            spread.append(_spread(features[half]))
    found = np.empty(periods, dtype=np.int64)
    for place, group in enumerate(sorted(groups, key=lambda item: int(item[0]))):
        found[group] = place
    return Grouping(found)


def _spread(part: Array) -> float:
    """Return by how much periods differ from their mean; nothing where all are the same."""
    return 0.0 if (part == part[0]).all() else float(((part - part.mean(axis=0)) ** 2).sum())
