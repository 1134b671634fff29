"""From a plan to one linear program.

Passes: tuples of each family -> coefficients over them -> rows of each relation -> one program of arrays, with what is
needed to map an answer back. Each pass keeps what it made, so that the same plan with another limit is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.coupled.audit import Amount
from mlsysim_opt.optimize.coupled.columns import Columns, columns_of, over_product
from mlsysim_opt.optimize.coupled.links import links_of
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram, Triplets
from mlsysim_opt.optimize.coupled.totals import Family, Place, Term, Total
from mlsysim_opt.optimize.problem import Constraint
from mlsysim_opt.units import parse_unit

ENTRIES = 400_000_000
"""Coefficients of one relation that are looked at, zeros included."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one relation.

    Attributes:
        name: of the relation. each: its axes. positions: for each axis, the position of its value in each row.
        low, high: limits of what amounts add up to, in base units.
        source: the relation, None for the groups of a pick.
    """

    name: str
    each: tuple[Choice, ...]
    positions: Mapping[Choice, Array]
    low: Array
    high: Array
    entries: Triplets
    source: Coupled | None

    @property
    def count(self) -> int:
        return len(self.low)

    def label(self, row: int) -> str:
        """Return the name of a row: that of its relation, and its place along the axes."""
        if not self.each:
            return self.name
        at = ", ".join(f"{axis.name}={axis.values[int(self.positions[axis][row])]}" for axis in self.each)
        return f"{self.name} ({at})"


@dataclass(eq=False)
class Compiled:
    """A plan as one program.

    Attributes:
        columns: the tuples of each family, in the order of the program's columns. first: the first column of each.
        rows: the rows of each relation, in order. program: the arrays.
        undefined: tuples that were left out because a number they need does not exist, by family.
    """

    problem: CoupledProblem
    columns: dict[Family, Columns]
    first: dict[Family, int]
    rows: list[Rows]
    program: LinearProgram
    undefined: dict[str, int]

    @property
    def combinations(self) -> float:
        """How many plans there are at most, as a power of ten: the product of what each group may pick."""
        total = 0.0
        for family, columns in self.columns.items():
            if family.sort == "pick" and columns.count:
                sizes = np.unique(columns.code(family.group), return_counts=True)[1]
                total += float(np.sum(np.log10(sizes)))
        return total

    def span(self, family: Family) -> slice:
        """Return where a family's columns are."""
        return slice(self.first[family], self.first[family] + self.columns[family].count)

    def coefficients(self, total: Total, compiler: Compiler) -> tuple[Array, float]:
        """Return a sum as numbers for each column, and its offset."""
        out = np.zeros(self.program.columns)
        for term in total.terms:
            out[self.span(term.family)] += compiler.coefficient(term)
        ((offset,), _) = over_product([total.offset], self.problem.values, ())
        return out, float(offset[0])


@dataclass(eq=False)
class Compiler:
    """Compiles a plan, and plans that differ from it in few relations, keeping what they share."""

    problem: CoupledProblem
    _columns: dict[tuple[Family, tuple[int, ...]], Columns] = field(default_factory=dict)
    _rows: dict[tuple[int, tuple[int, ...]], Rows] = field(default_factory=dict)
    _coefficients: dict[tuple[int, int], Array] = field(default_factory=dict)
    _current: dict[Family, Columns] = field(default_factory=dict)
    _held: list[object] = field(default_factory=list)  # what the keys above are the identities of

    def columns(self, family: Family, local: Sequence[Constraint]) -> Columns:
        """Return the tuples of a family under these constraints."""
        mine = [item for item in local if item.holds.choices <= set(family.over)]
        key = (family, tuple(id(item.holds) for item in mine))
        if key not in self._columns:
            self._held.extend(mine)
            self._columns[key] = columns_of(family, mine, self.problem.values)
        return self._columns[key]

    def coefficient(self, term: Term) -> Array:
        """Return a term's coefficient over the tuples of its family."""
        columns = self._current[term.family]
        key = (id(term), id(columns))
        if key not in self._coefficients:
            self._held.append(term)
            self._coefficients[key] = columns.evaluate([term.coefficient], self.problem.values)[0]
        return self._coefficients[key]

    def compile(
        self,
        objective: Total,
        couplings: Sequence[Coupled] | None = None,
        local: Sequence[Constraint] | None = None,
        extra: Mapping[Family, Columns] | None = None,
        defined: Sequence[Total] = (),
    ) -> Compiled:
        """Return the program that minimises an objective.

        Args:
            couplings, local: the relations and constraints; those of the plan when None. extra: tuples of families that
                are given instead of made. defined: further sums; tuples for which a number of theirs does not exist
                are left out.
        """
        relations = self.problem.couplings if couplings is None else couplings
        constraints = self.problem.local if local is None else local
        used = dict.fromkeys([*self.problem.families.values(), *objective.families])
        for item in relations:
            used.update(dict.fromkeys(item.coupling.total.families))
        columns = {family: (extra or {}).get(family) or self.columns(family, constraints) for family in used}
        self._current = columns
        first, at = {}, 0
        for family, table in columns.items():
            first[family] = at
            at += table.count
        rows = [self._group_rows(family, table) for family, table in columns.items() if family.sort == "pick"]
        rows += [self._relation_rows(item, columns) for item in relations]
        rows = [item for item in rows if item.count]
        parts, below = [], 0
        for made in rows:
            parts.append(Triplets(made.entries.row + below, made.entries.column, made.entries.value))
            below += made.count
        low, high, whole, group = self._bounds(columns, at)
        cost = np.zeros(at)
        for term in objective.terms:
            span = slice(first[term.family], first[term.family] + columns[term.family].count)
            cost[span] += self.coefficient(term)
        every = Triplets.joined(parts)
        undefined = np.isnan(cost) | np.isnan(low) | np.isnan(high)
        for term in (term for total in defined for term in total.terms):
            undefined[first[term.family] : first[term.family] + columns[term.family].count] |= np.isnan(
                self.coefficient(term)
            )
        undefined[every.column[np.isnan(every.value)]] = True
        counted = {
            family.name: int(np.count_nonzero(undefined[first[family] : first[family] + table.count]))
            for family, table in columns.items()
        }
        if undefined.any():
            cost, low, high = (np.where(undefined, 0.0, item) for item in (cost, low, high))
            kept = ~undefined[every.column]
            every = Triplets(every.row[kept], every.column[kept], every.value[kept])
        ((offset,), _) = over_product([objective.offset], self.problem.values, ())
        program = LinearProgram.of(
            every,
            cost=cost,
            low=low,
            high=high,
            whole=whole,
            row_low=np.concatenate([item.low for item in rows]) if rows else np.empty(0),
            row_high=np.concatenate([item.high for item in rows]) if rows else np.empty(0),
            offset=float(offset[0]),
            group=group,
        )
        if self.problem.chain is not None:
            program = replace(program, links=links_of(self.problem.chain, rows, columns, first, at))
        return Compiled(
            self.problem, columns, first, rows, program, {name: count for name, count in counted.items() if count}
        )

    # bounds and groups ------------------------------------------------------------------------------------------------
    def _bounds(
        self, columns: Mapping[Family, Columns], count: int
    ) -> tuple[Array, Array, Array, tuple[Array, Array, Array]]:
        low, high = np.zeros(count), np.full(count, math.inf)
        whole, group = np.zeros(count, dtype=bool), np.full(count, -1, dtype=np.int64)
        least: list[Array] = []
        most: list[Array] = []
        at, groups = 0, 0
        for family, table in columns.items():
            span = slice(at, at + table.count)
            at += table.count
            whole[span] = family.whole
            low[span] = -math.inf
            if family.low is not None:
                low[span] = table.evaluate([family.low], self.problem.values)[0]
            if family.high is not None:
                high[span] = table.evaluate([family.high], self.problem.values)[0]
            if family.sort == "pick":
                codes, one, place = np.unique(table.code(family.group), return_index=True, return_inverse=True)
                group[span] = groups + place.reshape(-1)
                groups += len(codes)
                assert family.picks is not None
                counts = table.evaluate([family.picks], self.problem.values)[0]
                most.append(counts[one])
                least.append(np.zeros(len(one)) if family.optional else counts[one])
                high[span] = np.minimum(high[span], counts)
            if family.whole:
                low[span], high[span] = np.ceil(low[span] - 1e-9) + 0.0, np.floor(high[span] + 1e-9)
        none = np.empty(0)
        return low, high, whole, (group, np.concatenate([none, *least]), np.concatenate([none, *most]))

    def _group_rows(self, family: Family, table: Columns) -> Rows:
        assert family.picks is not None
        (counts,), positions = over_product([family.picks], self.problem.values, family.group)
        first = self._first(family)
        column = np.arange(first, first + table.count, dtype=np.int64)
        entries = Triplets(table.code(family.group), column, np.ones(table.count))
        words = " and ".join(choice.name for choice in family.group)
        name = f"{family.name}: one for each {words}" if words else f"{family.name}: as many as asked"
        low = np.zeros(len(counts)) if family.optional else counts
        return Rows(name, family.group, positions, low, counts, entries, None)

    def _first(self, family: Family) -> int:
        at = 0
        for other, table in self._current.items():
            if other is family:
                return at
            at += table.count
        raise InputError("is no family of this plan", path=family.name)

    # relations --------------------------------------------------------------------------------------------------------
    def _relation_rows(self, item: Coupled, columns: Mapping[Family, Columns]) -> Rows:
        families = item.coupling.total.families
        key = (id(item), tuple(id(columns[family]) for family in families) + tuple(map(self._first, families)))
        if key not in self._rows:
            self._held.append(item)
            self._rows[key] = self._make_rows(item)
        return self._rows[key]

    def _make_rows(self, item: Coupled) -> Rows:
        total, each = item.coupling.total, item.each
        wanted: list[Expression] = [total.offset, *([item.when] if item.when is not None else [])]
        try:
            (offset, *truth), positions = over_product(wanted, self.problem.values, each)
        except InputError as error:
            error.path = error.path or item.name
            raise
        present = np.ones(len(offset), dtype=bool) if not truth else np.asarray(truth[0], dtype=bool)
        if np.isnan(offset[present]).any():
            at = int(np.flatnonzero(np.isnan(offset) & present)[0])
            where = ", ".join(f"{axis.name}={axis.values[int(positions[axis][at])]}" for axis in each)
            raise InputError(f"a number that the limit needs is not known at {where or 'all'}", path=item.name)
        limit = 0.0 - offset
        relation = item.coupling.relation
        low = np.where(relation == "<=", -math.inf, limit)
        high = np.where(relation == ">=", math.inf, limit)
        present &= np.isfinite(low) | np.isfinite(high)
        number = np.full(len(limit), -1, dtype=np.int64)
        number[present] = np.arange(int(np.count_nonzero(present)))
        parts = [self._entries(term, item, number) for term in total.terms]
        entries = Triplets.joined(parts)
        if len({term.family for term in total.terms}) < len(total.terms):
            entries = entries.summed(1 + int(entries.column.max(initial=0)), item.cancelled)
        kept = {axis: column[present] for axis, column in positions.items()}
        return Rows(item.name, each, kept, low[present], high[present], entries, item)

    def _entries(self, term: Term, item: Coupled, number: Array) -> Triplets:
        """Return the entries of a term: where its tuples stand among the rows, and with which coefficient."""
        table = self._current[term.family]
        places = {axis: term.at.get(axis) or (Place(axis) if axis in table.positions else None) for axis in item.each}
        spread = tuple(axis for axis, place in places.items() if place is None)
        strangers = term.coefficient.choices - set(table.positions) - set(spread)
        if strangers:
            names = ", ".join(sorted(choice.name for choice in strangers))
            raise InputError(
                f"a coefficient of {term.family.name} depends on {names}, which it has not", path=item.name
            )
        width = math.prod(len(axis.values) for axis in spread)
        if table.count * width > ENTRIES:
            raise InputError(f"{table.count * width:,} coefficients of {term.family.name} are too many", path=item.name)
        depends = tuple(axis for axis in spread if axis in term.coefficient.choices)
        if depends:
            (values,) = table.evaluate([term.coefficient], self.problem.values, depends)
        else:
            values = self.coefficient(term)
        shape = (table.count, *(len(axis.values) if axis in depends else 1 for axis in spread))
        full = np.broadcast_to(values.reshape(shape), (table.count, *(len(axis.values) for axis in spread))).reshape(
            table.count, width
        )
        column, beside = np.nonzero(full)
        at = (
            dict(zip(spread, np.unravel_index(beside, tuple(len(a.values) for a in spread)), strict=True))
            if spread
            else {}
        )
        code, inside = np.zeros(len(column), dtype=np.int64), np.ones(len(column), dtype=bool)
        for axis in item.each:
            size, place = len(axis.values), places[axis]
            if place is None:
                position = at[axis]
            else:
                position = table.positions[place.choice][column] + place.shift
                if place.wrap:
                    position = position % size
                inside &= (position >= 0) & (position < size)
            code = code * size + position
        row = np.full(len(column), -1, dtype=np.int64)
        row[inside] = number[code[inside]]
        kept = row >= 0
        first = self._first(term.family)
        return Triplets(row[kept], column[kept] + first, full[column[kept], beside[kept]])


def amounts_of(compiled: Compiled, x: Array) -> list[Amount]:
    """Return what is not zero of a plan."""
    found: list[Amount] = []
    for family, table in compiled.columns.items():
        part = x[compiled.span(family)]
        found += [Amount(family, table.at(int(at)), float(part[at])) for at in np.flatnonzero(part)]
    return found


def placed(
    compiled: Compiled, amounts: Mapping[str, Sequence[Mapping[str, Any]]], families: Iterable[Family] | None = None
) -> Array | None:
    """Return the amounts of a plan, by family, as columns; None where a tuple of it does not exist here.

    Args:
        families: those that are placed; all when absent.
    """
    x = np.zeros(compiled.program.columns)
    for family in compiled.columns if families is None else families:
        rows, table = amounts.get(family.name, ()), compiled.columns[family]
        if not rows:
            continue
        factor = parse_unit(family.unit).factor if family.unit else 1.0
        code = table.code(family.over)
        for row in rows:
            mine = 0
            for choice in family.over:
                position = choice.position.get(row.get(choice.name))
                if position is None:
                    return None
                mine = mine * len(choice.values) + position
            at = int(np.searchsorted(code, mine))
            if at >= table.count or code[at] != mine:
                return None
            x[compiled.first[family] + at] = row["amount"] * factor
    return x
