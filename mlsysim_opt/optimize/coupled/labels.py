"""Labels of chains: what their beginnings cost and use, and which of them others beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlsysim_opt.optimize.coupled.links import Parts
from mlsysim_opt.optimize.coupled.program import Array

FEW = 4096
"""Pairs that are compared one by one."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Beginnings of a chain, as whole numbers.

    Attributes:
        totals: uses of each limit, then what each costs, of shape (limits + 1, labels).
        layout, label: of the stage before, which each came from. pick: of its own stage, by number.
    """

    totals: Array
    layout: Array
    label: Array
    pick: Array

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.label)

    def only(self, kept: Array) -> Labels:
        """Return some of them."""
        return Labels(self.totals[:, kept], self.layout[kept], self.label[kept], self.pick[kept])

    def unbeaten(self) -> Labels:
        """Return those that no other one is as good as in everything; the first of equals."""
        return self.only(unbeaten(self.totals))

    @staticmethod
    def joined(parts: Sequence[Labels], limits: int) -> Labels:
        """Return all labels of several."""
        if not parts:
            none = np.empty(0, dtype=np.int64)
            return Labels(np.empty((1 + limits, 0), dtype=np.int64), none, none, none)
        return Labels(
            np.concatenate([item.totals for item in parts], axis=1),
            np.concatenate([item.layout for item in parts]),
            np.concatenate([item.label for item in parts]),
            np.concatenate([item.pick for item in parts]),
        )


def columns_of(parts: Parts, ends: Sequence[Sequence[Labels]], layout: int, label: int) -> Iterator[int]:
    """Yield the columns of the chain that a label ends, from its end.

    Args:
        ends: the labels behind each stage, by layout.
    """
    for stage in range(len(ends) - 1, -1, -1):
        row = ends[stage][layout]
        yield int(parts.picks[stage][row.pick[label]])
        before, label = int(row.layout[label]), int(row.label[label])
        if stage:
            yield int(parts.changes[stage - 1, before, layout])
        layout = before


def unbeaten(totals: Array) -> Array:
    """Return which columns no other one is as small as in all rows, in order of the last row; the first of equals.

    Sources: Kung, Luccio and Preparata, Journal of the ACM 22 (1975), halves of halves.
    """
    order = np.lexsort(totals)
    return order[_among(totals[:, order])]


def _among(totals: Array) -> Array:
    """Return which of columns in order of their last row (then of the one before, and so on) none before beats."""
    count = totals.shape[1]
    if len(totals) == 1:
        return np.arange(min(count, 1))
    if len(totals) == 2:
        keep = np.ones(count, dtype=bool)
        keep[1:] = totals[0, 1:] < np.minimum.accumulate(totals[0])[:-1]
        return np.flatnonzero(keep)
    if count * count <= FEW:
        as_good = (totals[:, :, None] <= totals[:, None, :]).all(axis=0)
        return np.flatnonzero(~np.triu(as_good, 1).any(axis=0))
    half = count // 2
    one = _among(totals[:, :half])
    two = half + _among(totals[:, half:])
    return np.concatenate([one, two[~_beaten(totals[:-1, one], totals[:-1, two])]])


def _beaten(by: Array, those: Array) -> Array:
    """Return which columns another matrix has one for that is as small in all rows."""
    beaten = np.zeros(those.shape[1], dtype=bool)
    if not by.shape[1] or not those.shape[1]:
        return beaten
    if len(by) == 1:
        return np.asarray(those[0] >= by[0].min())
    if len(by) == 2:
        order = np.argsort(by[0], kind="stable")
        least = np.minimum.accumulate(by[1, order])
        at = np.searchsorted(by[0, order], those[0], side="right") - 1
        return np.asarray((at >= 0) & (least[np.maximum(at, 0)] <= those[1]))
    if by.shape[1] * those.shape[1] <= FEW:
        return np.asarray((by[:, :, None] <= those[:, None, :]).all(axis=0).any(axis=0))
    low, high = by[-1].min(), by[-1].max()
    if low == high:
        at = np.flatnonzero(those[-1] >= low)
        beaten[at] = _beaten(by[:-1], those[:-1, at])
        return beaten
    middle = low + (high - low) // 2
    smaller, larger = by[:, by[-1] <= middle], by[:, by[-1] > middle]
    above = np.flatnonzero(those[-1] > middle)
    beaten[above] = _beaten(smaller[:-1], those[:-1, above])
    above = above[~beaten[above]]
    beaten[above] = _beaten(larger, those[:, above])
    below = np.flatnonzero(those[-1] <= middle)
    beaten[below] = _beaten(smaller, those[:, below])
    return beaten
