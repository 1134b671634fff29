"""The parts of a task as oracles, the rows that tie them together, and the plans of them that are known."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlsysim_opt.optimize.coupled.blocks import Priced, Schedule, ScheduleOracle, ShareOracle, Shares
from mlsysim_opt.optimize.coupled.columns import Columns, columns_of, over_product
from mlsysim_opt.optimize.coupled.outcome import Options
from mlsysim_opt.optimize.coupled.problem import Coupled
from mlsysim_opt.optimize.coupled.program import Array
from mlsysim_opt.optimize.coupled.task import CoupledTask
from mlsysim_opt.optimize.coupled.totals import Family, Total


@dataclass(eq=False)
class Known:
    """The plans that are known: block, group, tuple, amounts, cost and uses of each."""

    block: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    tuple_: list[int] = field(default_factory=list)
    amounts: list[Array] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    uses: list[Array] = field(default_factory=list)
    seen: set[tuple[int, int, int, bytes]] = field(default_factory=set)

    def add(self, block: int, found: Priced) -> int:
        """Add plans that are new; return how many are."""
        before = len(self.block)
        for at in range(len(found.costs)):
            key = (block, int(found.group[at]), int(found.tuple_[at]), found.amounts[at].tobytes())
            if key in self.seen:
                continue
            self.seen.add(key)
            self.block.append(block)
            self.group.append(int(found.group[at]))
            self.tuple_.append(int(found.tuple_[at]))
            self.amounts.append(found.amounts[at])
            self.cost.append(float(found.costs[at]))
            self.uses.append(found.uses[at])
        return len(self.block) - before

    def __len__(self) -> int:
        return len(self.block)


class Parts:
    """The parts of a task as oracles, and the plans of them that are known."""

    def __init__(self, task: CoupledTask, options: Options, total: Total | None = None) -> None:
        self.task, self.options = task, options
        self.problem = task.problem
        self.began = time.monotonic()
        self.pressed: list[bool] = []  # Ctrl-C: no time is left
        names = self._relations()
        self.tying: list[Coupled] = [item for item in task.relations if item.name not in names]
        self.totals = [total or task.linear.total, *(item.coupling.total for item in self.tying)]
        self.offsets = np.array(
            [float(table[0]) for table in over_product([t.offset for t in self.totals], self.problem.values, ())[0]]
        )
        limits = -self.offsets[1:]
        senses = [item.coupling.relation for item in self.tying]
        self.row_low = np.array([-math.inf if s == "<=" else v for s, v in zip(senses, limits, strict=True)])
        self.row_high = np.array([math.inf if s == ">=" else v for s, v in zip(senses, limits, strict=True)])
        self.oracles = [self._oracle(block) for block in self.problem.blocks]
        self.first_group, self.groups = [], 0
        for oracle in self.oracles:
            self.first_group.append(self.groups)
            self.groups += oracle.count if isinstance(oracle, ScheduleOracle) else 1
        self.pool = Known()
        self.details: dict[str, Any] = {
            "tuples": sum(math.prod(len(c.values) for c in f.over) for f in self.problem.families.values()),
            "rows": len(self.tying),
        }

    def _relations(self) -> set[str]:
        """Return the names of the relations that stand inside parts."""
        return {block.relation for block in self.problem.blocks}

    def _coefficients(self, total: Total, family: Family, columns: Columns, axis: Any) -> Array:
        """Return what one unit of a family takes of a sum, (tuples, places) or, where steady, (tuples, 1)."""
        found: Array | None = None
        for term in total.terms:
            if term.family is family:
                depends = (axis,) if axis is not None and axis in term.coefficient.choices else ()
                (values,) = columns.evaluate([term.coefficient], self.problem.values, depends)
                part = _by_tuple(values, columns, float)
                found = part if found is None else found + part
        return np.zeros((columns.count, 1)) if found is None else found

    def _oracle(self, block: Schedule | Shares) -> ScheduleOracle | ShareOracle:
        axis, local = block.axis, self.task.local
        main = block.picks if isinstance(block, Schedule) else block.amounts
        over = tuple(choice for choice in main.over if choice is not axis)
        base = Family(main.name, over)
        columns = columns_of(base, [item for item in local if axis not in item.holds.choices], self.problem.values)
        open_ = np.ones((columns.count, len(axis.values)), dtype=bool)
        for item in local:
            if axis in item.holds.choices and item.holds.choices <= set(block.amounts.over):
                (truth,) = columns.evaluate([item.holds], self.problem.values, (axis,))
                open_ &= _by_tuple(truth, columns, bool)
        each = [self._coefficients(total, block.amounts, columns, axis) for total in self.totals]
        for total in self.task.sums:
            open_ &= ~np.isnan(self._coefficients(total, block.amounts, columns, axis))
        if isinstance(block, Schedule):
            groups = np.zeros(columns.count, dtype=np.int64)
            for choice in block.picks.group:
                groups = groups * len(choice.values) + columns.positions[choice]
            assert block.amounts.high is not None
            depends = (axis,) if axis in block.amounts.high.choices else ()
            (high,) = columns.evaluate([block.amounts.high], self.problem.values, depends)
            (needed,) = columns.evaluate([block.needed], self.problem.values)
            own = np.stack([self._coefficients(t, block.picks, columns, None)[:, 0] for t in self.totals])
            for total in self.task.sums:
                own[0, np.isnan(self._coefficients(total, block.picks, columns, None)[:, 0])] = np.nan
            limits = np.where(open_, _by_tuple(high, columns, float), 0.0)
            made = ScheduleOracle(columns, groups, needed, limits, own, each)
            made.count = math.prod(len(choice.values) for choice in block.picks.group)
            return made
        rows = (*block.parts, axis)
        ((asked,), _) = over_product([block.asked], self.problem.values, rows)
        groups = columns.code(block.parts)
        each = [np.where(open_, item, np.nan) if not open_.all() else item for item in each]
        return ShareOracle(columns, groups, asked.reshape(-1, len(axis.values)), each)

    def _bound(self, duals: Array, value: float) -> float:
        """Return what no plan costs less than: what the rows are worth at these prices, and what the parts cost."""
        with np.errstate(invalid="ignore"):
            worth = np.where(duals > 0, duals * self.row_low, np.where(duals < 0, duals * self.row_high, 0.0))
        return float(math.fsum(worth)) + value

    def _left(self) -> float | None:
        limit = 0.0 if self.pressed else self.options.time_limit
        return None if limit is None else max(0.0, limit - (time.monotonic() - self.began))


def _by_tuple(values: Array, columns: Columns, kind: type) -> Array:
    """Return numbers (or truths) of tuples along an axis, (tuples, places) or, where they are steady, (tuples, 1)."""
    width = values.size // columns.count if columns.count else 1  # of no tuples, a shape says nothing
    return np.asarray(values, dtype=kind).reshape(columns.count, width)
