"""The selector-row form: the normal form that MILP and CP-SAT read.

One row per feasible design: the positions of its choices and its cost. A solver picks exactly one row; marginals link
the rows to one-hot literals of each choice. The rows are the hull of the table, so the linear relaxation has the
optimum as its value, and a tuple that is not listed cannot be chosen (unlike big-M over pruned tables).

Pruning eliminates choices exactly: of rows that agree in all remaining choices only the cheapest can be optimal,
because no constraint that is left can see the difference. Without it every feasible row is handed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import LimitReachedError
from mlsysim_opt.optimize.search import Array, Design, Search
from mlsysim_opt.optimize.space import Domain, spaces
from mlsysim_opt.optimize.stopping import Halt

ROW_BUDGET = 20_000
"""Rows a solver is given at most when pruning; choices are eliminated, last declared first, until they fit."""
ROW_LIMIT = 2_000_000
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
    positions: Array
    costs: Array
    linked: list[int]
    feasible: int
    evaluated: int

    def design(self, row: int) -> Design:
        """Return the design of a row."""
        return tuple(int(item) for item in self.positions[row])


def selector_form(search: Search, *, prune: bool, halt: Halt | None = None) -> SelectorForm:
    """Return the rows of a problem.

    Args:
        search: the problem's cost, constraints and space.
        prune: eliminate choices until the rows fit `ROW_BUDGET`. halt: what ends this early.
    Raises:
        LimitReachedError: it was ended, or there are more feasible designs than can be held; pruning or enumeration
            handles them.
    """
    width = len(search.choices)
    linked = list(range(width))
    tables: list[Array] = [np.zeros((0, width), dtype=np.int32)]
    costs: list[Array] = [np.zeros(0)]
    halt = halt or Halt()
    held = evaluated = feasible = 0
    for axes in spaces(Domain.of(search.choices), search.structural, search.values):
        for part in search.evaluated(axes):
            evaluated += part.cost.size
            if halt.now():
                raise LimitReachedError(f"no design was found: {halt.why} before the solver began", hint=halt.hint)
            flat = np.flatnonzero(part.feasible())
            if not len(flat):
                continue
            feasible += len(flat)
            held += len(flat)
            tables.append(np.stack(part.positions(flat), axis=1).astype(np.int32))
            costs.append(part.cost.reshape(-1)[flat])
            if held > ROW_LIMIT and prune:
                table, cost = _fitted(np.concatenate(tables), np.concatenate(costs), linked)
                tables, costs, held = [table], [cost], len(cost)
            elif held > ROW_LIMIT:
                raise LimitReachedError(
                    f"more than {ROW_LIMIT:,} feasible designs to hand to a solver",
                    hint="let it prune (prune=True), or use backend='enumerate', which needs no table",
                )
    table, cost = np.concatenate(tables), np.concatenate(costs)
    if prune:
        table, cost = _fitted(table, cost, linked)
    return SelectorForm(search.choices, table, cost, linked, feasible, evaluated)


def _fitted(table: Array, cost: Array, linked: list[int]) -> tuple[Array, Array]:
    """Eliminate choices, the last declared first, until the rows fit the budget; takes them out of `linked`."""
    while len(cost) > ROW_BUDGET:
        table, cost = _cheapest(table, cost, linked)
        if len(cost) <= ROW_BUDGET:
            break
        linked.pop()
    return table, cost


def _cheapest(table: Array, cost: Array, linked: list[int]) -> tuple[Array, Array]:
    """Return, of rows that agree in the linked choices, the first in the order of designs."""
    others = [index for index in range(table.shape[1]) if index not in linked]
    by_design = (table[:, index] for index in reversed(others))
    order = np.lexsort((*by_design, cost, *(table[:, index] for index in reversed(linked))))
    table, cost = table[order], cost[order]
    if not linked:
        return table[:1], cost[:1]
    keys = table[:, linked]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return table[first], cost[first]
