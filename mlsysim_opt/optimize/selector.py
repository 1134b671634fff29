"""The selector-row form: the normal form that MILP and CP-SAT read.

One row per feasible design: the positions of its choices and its cost. A solver picks exactly one row; marginals link the
rows to one-hot literals of each choice. The rows are the hull of the table, so the linear relaxation has the optimum as
its value, and a tuple that is not listed cannot be chosen (unlike big-M over pruned tables).

Pruning eliminates choices exactly: of rows that agree in all remaining choices only the cheapest can be optimal, because
no constraint that is left can see the difference. Without it every feasible row is handed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import LimitReachedError
from mlsysim_opt.optimize.search import Design, Search
from mlsysim_opt.optimize.space import Domain, spaces

ROW_BUDGET = 20_000
"""Rows a solver is given at most when pruning; choices are eliminated, last declared first, until they fit."""
ROW_LIMIT = 4_000_000
"""Rows that are held at once."""


@dataclass(frozen=True)
class SelectorForm:
    """Feasible designs as rows.

    Attributes:
        choices: the decisions. positions: for each row, the position of each choice's value. costs: of each row.
        linked: indices of the choices a solver sees one-hot (the others were eliminated).
        feasible: how many feasible designs the rows stand for. evaluated: how many points were computed to find them.
    """

    choices: list[Choice]
    positions: np.ndarray[Any, np.dtype[np.int32]]
    costs: np.ndarray[Any, np.dtype[np.float64]]
    linked: list[int]
    feasible: int
    evaluated: int

    def design(self, row: int) -> Design:
        """Return the design of a row."""
        return tuple(int(item) for item in self.positions[row])


def selector_form(search: Search, *, prune: bool) -> SelectorForm:
    """Return the rows of a problem.

    Args:
        search: the problem's cost, constraints and space.
        prune: eliminate choices until the rows fit `ROW_BUDGET`.
    Raises:
        LimitReachedError: there are more feasible designs than can be held; pruning or enumeration handles them.
    """
    positions: list[np.ndarray[Any, Any]] = []
    costs: list[np.ndarray[Any, Any]] = []
    held = evaluated = feasible = 0
    for _, axes in spaces(Domain.of(search.choices), search.structural, search.values):
        for part in search.evaluated(axes):
            good = ~np.isnan(part.cost)
            for holds in part.holds:
                good = good & holds
            evaluated += part.cost.size
            flat = np.flatnonzero(good.reshape(-1))
            if not len(flat):
                continue
            feasible += len(flat)
            rows, *dense = np.unravel_index(flat, part.cost.shape)
            at = dict(zip(axes.dense, dense, strict=True))
            columns = [
                at[choice] if choice in at else axes.joined[choice][part.start + rows] for choice in search.choices
            ]
            positions.append(np.stack(columns, axis=1).astype(np.int32))
            costs.append(part.cost.reshape(-1)[flat])
            held += len(flat)
            if held > ROW_LIMIT:
                raise LimitReachedError(
                    f"more than {ROW_LIMIT:,} feasible designs to hand to a solver",
                    hint="use backend='enumerate', which needs no table",
                )
    width = len(search.choices)
    table = np.concatenate(positions) if positions else np.zeros((0, width), dtype=np.int32)
    cost = np.concatenate(costs) if costs else np.zeros(0)
    linked = list(range(width))
    if prune:
        while len(cost) > ROW_BUDGET and linked:
            linked.pop()
            table, cost = _cheapest(table, cost, linked)
    return SelectorForm(search.choices, table, cost, linked, feasible, evaluated)


def _cheapest(
    table: np.ndarray[Any, Any], cost: np.ndarray[Any, Any], linked: list[int]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return, of rows that agree in the linked choices, the cheapest."""
    order = np.lexsort((cost, *(table[:, index] for index in reversed(linked))))
    table, cost = table[order], cost[order]
    if not linked:
        return table[:1], cost[:1]
    keys = table[:, linked]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return table[first], cost[first]
