"""Chains: one pick for each stage in a row, changes between neighbours, and one limit of what all of them use.

Labels (cost and use of a beginning of the chain, by the layout it ends in) are extended stage by stage. A label goes if
another one of its layout costs and uses no more, or if nothing that follows keeps it below a value; that is known from
the relaxation of the limit at several prices. If a chain is found below the value, the best one is the best of all;
otherwise none is below, and the value is raised: both are proofs. Where something is needed once, by the stage that
needs most of it, every such amount is tried.

Sources: Desrochers and Soumis, INFOR 26 (1988), labels under resource limits; Handler and Zang, Networks 10 (1980),
bounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.optimize.coupled.blocks import Chain
from mlsysim_opt.optimize.coupled.compile import Compiled, Rows
from mlsysim_opt.optimize.coupled.outcome import EXACT, Found, Options, added_up
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.task import CoupledTask

WHOLE = 2.0**60
"""What all stages together take at most, in the units of labels: sums of whole numbers do not depend on their order."""
FIRST, STEP = 1e-6, 4.0
"""The share above the bound that is first looked at, and by how much more each time."""
PRICES, REFINED = 48, 9
LABELS = 2_000_000
"""Labels of one layout that are extended at most."""
ROOM = 1e-12
"""Rounding of what is used, as a share of the limit."""


def solve_chain(task: CoupledTask, options: Options) -> tuple[Compiled, Found] | None:
    """Return the best chain with its proof; None where a task is no chain under one limit, or has too many labels."""
    chain: Chain | None = task.problem.chain
    if chain is None or task.linear.divisor is not None or task.linear.relations:
        return None
    compiled = task.compiled()
    parts = _parts(chain, compiled)
    return None if parts is None else _Search(parts, compiled, options).run()


@dataclass(frozen=True, eq=False)
class Parts:
    """A chain as numbers.

    Attributes:
        columns, cost, use, peak, layout: of the picks of each stage. change_columns, change_cost, change_use: of
            changes behind each stage, by layout before and after; infinite cost where there is none.
        limit: of all use; a unit of the peak uses `peak_use` of it, and costs nothing.
    """

    columns: list[Array]
    cost: list[Array]
    use: list[Array]
    peak: list[Array]
    layout: list[Array]
    change_columns: Array
    change_cost: Array
    change_use: Array
    limit: float
    peak_use: float
    peak_column: int | None


def _parts(chain: Chain, compiled: Compiled) -> Parts | None:
    """Return the numbers of a program that is a chain under one limit; None if it is not."""
    program, stages, layouts = compiled.program, len(chain.stage.values), len(chain.layout.values)
    known = {chain.goes_on, chain.comes_from, chain.peak_relation}
    rows = {item.name: item for item in compiled.rows}
    others = [item for item in compiled.rows if item.source is not None and item.name not in known]
    if len(others) != 1 or others[0].count != 1 or (math.isinf(others[0].high[0]) == math.isinf(others[0].low[0])):
        return None
    (limiting,) = others
    sign = 1.0 if math.isfinite(limiting.high[0]) else -1.0
    limit = float(limiting.high[0]) if sign > 0 else -float(limiting.low[0])
    use = _by_column(limiting, program.columns) * sign
    of = np.full(program.columns, -1, dtype=np.int64)
    for name in (chain.goes_on, chain.comes_from):
        if name in rows:
            item = rows[name]
            of[item.entries.column] = item.positions[chain.layout][item.entries.row]
    picks, changes = compiled.columns[chain.picks], compiled.columns[chain.changes]
    span, change_span = compiled.span(chain.picks), compiled.span(chain.changes)
    peak_column, peak, peak_use = None, np.zeros(program.columns), 0.0
    if chain.peak is not None and chain.peak_relation in rows:
        peak_column = compiled.first[chain.peak]
        peak = _by_column(rows[chain.peak_relation], program.columns)
        size = rows[chain.peak_relation].entries
        mine = size.value[size.column == peak_column]
        if program.cost[peak_column] != 0 or len(set(mine.tolist())) != 1 or not mine[0] < 0:
            return None
        peak, peak_use = peak / -mine[0], float(use[peak_column])
    open_ = program.high >= 1
    stage = np.full(program.columns, -1, dtype=np.int64)
    stage[span] = picks.positions[chain.stage]
    columns = [np.flatnonzero((stage == at) & open_) for at in range(stages)]
    if stages == 1:
        of[span] = 0
    if any(not len(item) or (of[item] < 0).any() for item in columns):
        return None
    shape = (stages, layouts, layouts)
    change_columns = np.full(shape, -1, dtype=np.int64)
    change_cost, change_use = np.full(shape, math.inf), np.zeros(shape)
    where = tuple(changes.positions[axis] for axis in (chain.stage, chain.before, chain.after))
    column = np.arange(change_span.start, change_span.stop)
    change_columns[where] = column
    change_cost[where] = np.where(open_[column], program.cost[column], math.inf)
    change_use[where] = use[column]
    return Parts(
        columns, [program.cost[item] for item in columns], [use[item] for item in columns],
        [peak[item] for item in columns], [of[item] for item in columns], change_columns, change_cost, change_use,
        limit, peak_use, peak_column,
    )  # fmt: skip


def _by_column(rows: Rows, count: int) -> Array:
    """Return what each column takes of the rows of a relation, of which it stands in one."""
    return np.bincount(rows.entries.column, weights=rows.entries.value, minlength=count)


@dataclass(frozen=True, eq=False)
class _Tail:
    """What follows each stage: the least it costs at some prices, by price and layout, and the least it uses."""

    prices: Array
    cost: Array
    use: Array
    bound: float


class _Late(Exception):
    """There are too many labels, or too little time."""


class _Search:
    def __init__(self, parts: Parts, compiled: Compiled, options: Options) -> None:
        self.parts, self.compiled, self.options = parts, compiled, options
        self.began = time.monotonic()
        self.labels = 0
        finite = np.where(np.isfinite(parts.change_cost), parts.change_cost, 0.0)
        self.unit = (_largest(parts.cost, finite) or 1.0) / WHOLE
        self.use_unit = (max(_largest(parts.use, parts.change_use), abs(parts.limit)) or 1.0) / WHOLE
        self.stages = len(parts.columns)
        self.layouts = parts.change_cost.shape[1]

    def run(self) -> tuple[Compiled, Found] | None:
        peaks = np.unique(np.concatenate(self.parts.peak))
        tails = [(float(peak), tail) for peak in peaks if (tail := self._tail(float(peak))) is not None]
        if not tails:  # why nothing is possible, others say better
            return None
        bound = min(tail.bound for _, tail in tails)
        above = FIRST
        try:
            while True:
                most = bound + above * max(abs(bound), self.unit)
                best: tuple[int, list[int]] | None = None
                for peak, tail in sorted(tails, key=lambda item: item[1].bound):
                    limit = most if best is None else min(most, best[0] * self.unit)
                    if tail.bound <= limit:
                        found = self._labels(peak, tail, limit)
                        best = found if found is not None and (best is None or found[0] < best[0]) else best
                if best is not None:
                    return self.compiled, self._told(best[1])
                if not most - bound <= 2 * WHOLE * self.unit:  # what fits is a matter of rounding
                    return None
                above *= STEP
        except _Late:
            return None

    # bounds -----------------------------------------------------------------------------------------------------------
    def _picks(self, stage: int, peak: float) -> Array:
        return np.flatnonzero(self.parts.peak[stage] <= peak)

    def _room(self, peak: float) -> float:
        return self.parts.limit - self.parts.peak_use * peak + ROOM * abs(self.parts.limit)

    def _tail(self, peak: float) -> _Tail | None:
        """Return bounds of what follows where no pick needs more than a peak; None if nothing is possible."""
        room = self._room(peak)
        least = self._backward(np.array([1.0]), peak, 0.0)
        if least is None or not float(least[0].min()) <= room:
            return None
        scale = self.unit / self.use_unit
        prices = np.concatenate([[0.0], scale * np.geomspace(1e-4, 1e4, PRICES)])
        values = self._roots(prices, peak, room)
        for _ in range(3):
            at = int(np.argmax(values))
            low, high = prices[max(at - 1, 0)], prices[min(at + 1, len(prices) - 1)]
            prices = np.linspace(low, high, PRICES)
            values = self._roots(prices, peak, room)
        at = int(np.argmax(values))
        kept = np.unique(np.concatenate([[0.0], prices[at] * np.linspace(0.6, 1.4, REFINED), [prices[at]]]))
        found = self._backward(kept, peak, 1.0)
        assert found is not None
        return _Tail(kept, found[1:], least[1:, 0], float(values[at]))

    def _roots(self, prices: Array, peak: float, room: float) -> Array:
        found = self._backward(prices, peak, 1.0)
        assert found is not None
        return np.asarray(found[0].min(axis=1) - prices * room)

    def _backward(self, prices: Array, peak: float, weight: float) -> Array | None:
        """Return the least of cost (by weight) and use (by price) from each stage on, by stage, price and layout.

        The first is the whole chain by the layout it begins with; the others are what follows a stage.
        """
        parts = self.parts
        after = np.zeros((len(prices), self.layouts))
        found = np.empty((self.stages + 1, len(prices), self.layouts))
        for stage in range(self.stages - 1, -1, -1):
            found[stage + 1] = after
            here = self._picks(stage, peak)
            if not len(here):
                return None
            each = weight * parts.cost[stage][here] + prices[:, None] * parts.use[stage][here]
            own = np.full((len(prices), self.layouts), math.inf)
            layout = parts.layout[stage][here]
            for at in np.unique(layout):
                own[:, at] = each[:, layout == at].min(axis=1)
            own = own + after
            if stage:
                closed = np.where(np.isfinite(parts.change_cost[stage - 1]), 0.0, math.inf)
                cost = np.where(closed == 0, parts.change_cost[stage - 1], 0.0)
                change = weight * cost + prices[:, None, None] * parts.change_use[stage - 1] + closed
                after = (change + own[:, None, :]).min(axis=2)
            else:
                found[0] = own
        return found

    # labels -----------------------------------------------------------------------------------------------------------
    def _labels(self, peak: float, tail: _Tail, most: float) -> tuple[int, list[int]] | None:
        """Return the cost, in units, and the columns of the best chain that costs no more than a value; None: none."""
        room = self._room(peak)
        ends: list[list[dict[str, Array]]] = []
        for stage in range(self.stages):
            here = self._picks(stage, peak)
            reached = [self._reached(ends[-1] if stage else None, stage, at) for at in range(self.layouts)]
            row = []
            for at in range(self.layouts):
                mine = here[self.parts.layout[stage][here] == at]
                row.append(self._extended(reached[at], stage, at, mine, tail, most, room))
            ends.append(row)
            if not any(len(item["cost"]) for item in row):
                return None
        best = min((int(item["cost"].min()), at) for at, item in enumerate(ends[-1]) if len(item["cost"]))
        return best[0], list(self._columns(ends, best[1]))

    def _reached(self, before: Sequence[Mapping[str, Array]] | None, stage: int, at: int) -> dict[str, Array]:
        """Return labels at the beginning of a stage in a layout: those of the stage before, changed."""
        if before is None:
            none = np.zeros(1, dtype=np.int64)
            return {"cost": none, "use": none, "layout": none, "label": none}
        parts, found = self.parts, []
        for old, labels in enumerate(before):
            if len(labels["cost"]) and math.isfinite(parts.change_cost[stage - 1, old, at]):
                count = len(labels["cost"])
                found.append({
                    "cost": labels["cost"] + self._whole(parts.change_cost[stage - 1, old, at], self.unit),
                    "use": labels["use"] + self._whole(parts.change_use[stage - 1, old, at], self.use_unit),
                    "layout": np.full(count, old), "label": np.arange(count),
                })  # fmt: skip
        return _undominated(_joined(found, ("cost", "use", "layout", "label")))

    def _extended(
        self, labels: dict[str, Array], stage: int, at: int, picks: Array, tail: _Tail, most: float, room: float
    ) -> dict[str, Array]:
        """Return the labels behind a stage: each with each pick, without those from which nothing good follows."""
        count = len(labels["cost"])
        cost = self._whole(self.parts.cost[stage][picks], self.unit)
        use = self._whole(self.parts.use[stage][picks], self.use_unit)
        if count * len(picks) > 8 * LABELS:
            raise _Late
        made = {
            "cost": (labels["cost"][:, None] + cost).reshape(-1), "use": (labels["use"][:, None] + use).reshape(-1),
            "layout": np.repeat(labels["layout"], len(picks)), "label": np.repeat(labels["label"], len(picks)),
            "pick": np.tile(picks, count),
        }  # fmt: skip
        spent, used = made["cost"] * self.unit, made["use"] * self.use_unit
        good = used + tail.use[stage, at] <= room
        for price, after in zip(tail.prices, tail.cost[stage, :, at], strict=True):
            good &= spent + after + price * (used - room) <= most + EXACT * 1e-3 * abs(most)
        found = _undominated({name: item[good] for name, item in made.items()})
        self.labels += len(found["cost"])
        limit = self.options.time_limit
        late = limit is not None and time.monotonic() - self.began > limit / 2
        if len(found["cost"]) > LABELS or late:
            raise _Late
        return found

    @staticmethod
    def _whole(value: Any, unit: float) -> Any:
        return np.round(np.asarray(value) / unit).astype(np.int64)

    def _columns(self, ends: list[list[dict[str, Array]]], layout: int) -> Iterator[int]:
        """Yield the columns of the best chain, from its end."""
        label = int(np.argmin(ends[-1][layout]["cost"]))
        for stage in range(self.stages - 1, -1, -1):
            row = ends[stage][layout]
            yield int(self.parts.columns[stage][row["pick"][label]])
            before = int(row["layout"][label])
            label = int(row["label"][label])
            if stage:
                yield int(self.parts.change_columns[stage - 1, before, layout])
            layout = before

    def _told(self, columns: list[int]) -> Found:
        program, parts = self.compiled.program, self.parts
        x = np.zeros(program.columns)
        x[columns] = 1.0
        if parts.peak_column is not None:
            needed = np.zeros(program.columns)
            needed[np.concatenate(parts.columns)] = np.concatenate(parts.peak)
            x[parts.peak_column] = needed[columns].max()
        value = float(program.cost @ x) + program.offset
        details = {"columns": program.columns, "rows": program.rows, "labels": self.labels}
        proof = "labels over the chain: dominance, and bounds by prices of the limit; bound reached"
        return Found("optimal", x, value, value, proof, "labels", details, None, added_up(program, x))


def _largest(parts: list[Array], changes: Array) -> float:
    """Return what a chain takes at most, without signs."""
    between = np.abs(changes).max(axis=(1, 2), initial=0.0).sum()
    return float(sum(np.abs(item).max(initial=0.0) for item in parts) + between)


def _joined(parts: list[dict[str, Array]], names: tuple[str, ...]) -> dict[str, Array]:
    if not parts:
        return {name: np.empty(0, dtype=np.int64) for name in names}
    return {name: np.concatenate([item[name] for item in parts]) for name in names}


def _undominated(labels: dict[str, Array]) -> dict[str, Array]:
    """Return labels that no other one is as good as in cost and use; the first of equals."""
    order = np.lexsort((labels["cost"], labels["use"]))
    cost = labels["cost"][order]
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = cost[1:] < np.minimum.accumulate(cost)[:-1]
    kept = order[keep]
    return {name: item[kept] for name, item in labels.items()}
