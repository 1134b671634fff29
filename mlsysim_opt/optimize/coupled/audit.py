"""Independent re-evaluation of a plan: exact scalar arithmetic on its amounts, no tables, no arrays, no solver.

Nothing of the compile step is used: where an amount stands along the axes of a relation is worked out again from the
declaration.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Family, Place, Term, Total
from mlsysim_opt.optimize.problem import Constraint

AGREEMENT = 1e-7
"""Violation of a relation, relative to what it adds up, that is rounding of continuous amounts."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Amount:
    """One amount of a plan that is not zero: of which family, at which values of its choices, how much (base units)."""

    family: Family
    at: Values
    amount: float


@dataclass
class Row:
    """What a relation adds up to at one place: the sum, the sum of sizes (for rounding), and the limit's side."""

    value: float = 0.0
    size: float = 0.0


@dataclass
class Audit:
    """What the re-evaluation found.

    Attributes:
        totals: each sum that was asked for; NaN where a number it needs does not exist.
        sizes: what each of them adds up without signs: its rounding is a share of that.
        failing: relations and constraints that do not hold, with the place and by how much.
        slacks: for each relation, the smallest slack and the place; infinite where no row is limited.
    """

    totals: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    slacks: dict[str, tuple[float, str]] = field(default_factory=dict)
    checked: int = 0

    def compare(self, name: str, sides: Sequence[float]) -> None:
        """Note whether the first of two numbers is at most the second, up to rounding."""
        small, large = sides
        self.checked += 1
        if not small <= large + AGREEMENT * max(abs(small), abs(large)):
            self.failing.append(f"{name} by {small - large:g}")
        self.slacks[name] = (max(0.0, large - small), "")


class Scalars:
    """Numbers of single tuples of a problem by the scalar path, each computed once: for one plan, or for several."""

    def __init__(self, problem: CoupledProblem) -> None:
        self.problem = problem
        self._programs: dict[tuple[int, ...], _Known] = {}

    def __call__(self, roots: Sequence[Expression], at: Mapping[str, Any]) -> list[float]:
        """Return the values of expressions where choices have these values."""
        key = tuple(map(id, roots))
        if key not in self._programs:
            names = sorted({choice.name for root in roots for choice in root.choices})
            self._programs[key] = _Known(roots, names, ScalarProgram(list(roots), self.problem.values))
        known = self._programs[key]
        place = tuple(at.get(name) for name in known.names)
        if place not in known.values:
            known.values[place] = known.program.run_named({**self.problem.values, **at})
        return list(known.values[place])


@dataclass(frozen=True)
class _Known:
    """Expressions as a program, the names of the choices that they depend on, and their values by those of these."""

    roots: Sequence[Expression]  # held: the key is their identities
    names: Sequence[str]
    program: ScalarProgram
    values: dict[tuple[Any, ...], Sequence[float]] = field(default_factory=dict)


class Auditor:
    """Evaluates amounts of one plan.

    Args:
        scalars: the numbers of the problem that plans before this one needed.
    """

    def __init__(
        self,
        problem: CoupledProblem,
        relations: Sequence[Coupled],
        local: Sequence[Constraint],
        scalars: Scalars | None = None,
    ) -> None:
        self.problem = problem
        self.relations = list(relations)
        self.local = list(local)
        self._evaluated = scalars or Scalars(problem)

    def run(self, amounts: Sequence[Amount], totals: Sequence[Total | Largest]) -> Audit:
        """Return what the amounts add up to, and what they violate."""
        found = Audit()
        self._families(amounts, found)
        for relation in self.relations:
            self._relation(relation, amounts, found)
        for total in totals:
            row = self._largest(total, amounts) if isinstance(total, Largest) else self._sum(total, amounts)
            found.totals.append(row.value)
            found.sizes.append(row.size)
        return found

    # families ---------------------------------------------------------------------------------------------------------
    def _families(self, amounts: Sequence[Amount], found: Audit) -> None:
        picked: dict[tuple[Family, tuple[Any, ...]], float] = {}
        for item in amounts:
            family, name = item.family, _place(item.family.name, item.at)
            found.checked += 1
            if family.whole and item.amount != round(item.amount):
                found.failing.append(f"{name} = {item.amount} is not whole")
            bounds = [bound for bound in (family.low, family.high) if bound is not None]
            ends = self._evaluated(bounds, item.at) if bounds else []
            room = AGREEMENT * max(1.0, abs(item.amount))
            low = ends.pop(0) if family.low is not None else -math.inf
            high = ends.pop(0) if family.high is not None else math.inf
            if not low - room <= item.amount <= high + room:
                found.failing.append(f"{name} = {item.amount} is not within {low} and {high}")
            mine = [rule for rule in self.local if rule.holds.choices <= set(family.over)]
            if family.exists is not None:
                mine.append(Constraint("there is no such amount", family.exists))
            for rule, holds in zip(mine, self._evaluated([rule.holds for rule in mine], item.at), strict=True):
                if not holds:
                    found.failing.append(f"{rule.name} at {name}")
            if family.sort == "pick":
                group = tuple(item.at[choice.name] for choice in family.group)
                picked[family, group] = picked.get((family, group), 0.0) + item.amount
        for family in self.problem.families.values():
            if family.sort != "pick":
                continue
            assert family.picks is not None
            for group in itertools.product(*(choice.values for choice in family.group)):
                at = dict(zip((choice.name for choice in family.group), group, strict=True))
                (count,) = self._evaluated([family.picks], at)
                have = picked.get((family, group), 0.0)
                if have != count and not (family.optional and have <= count):
                    found.failing.append(f"{_place(family.name, at)}: {have:g} picked instead of {count:g}")

    # sums -------------------------------------------------------------------------------------------------------------
    def _sum(self, total: Total, amounts: Sequence[Amount]) -> Row:
        parts = self._evaluated([total.offset], {})
        for term in total.terms:
            parts += [
                item.amount * self._evaluated([term.coefficient], item.at)[0]
                for item in amounts
                if item.family is term.family
            ]
        return Row(math.fsum(parts), math.fsum(abs(part) for part in parts))

    def _largest(self, largest: Largest, amounts: Sequence[Amount]) -> Row:
        rows = self._rows(Coupled("", largest.total <= 0, largest.each), amounts)
        found = []
        for place in itertools.product(*(axis.values for axis in largest.each)):
            at = dict(zip((axis.name for axis in largest.each), place, strict=True))
            row, offset = rows.get(place, Row()), self._evaluated([largest.total.offset], at)[0]
            found.append(Row(row.value + offset, row.size + abs(offset)))
        return Row(max(row.value for row in found), max(row.size for row in found))

    def _rows(self, relation: Coupled, amounts: Sequence[Amount]) -> dict[tuple[Any, ...], Row]:
        rows: dict[tuple[Any, ...], Row] = {}
        by_family: dict[Family, list[Amount]] = {}
        for item in amounts:
            by_family.setdefault(item.family, []).append(item)
        for term in relation.coupling.total.terms:
            for item in by_family.get(term.family, ()):
                for place, at in _places(term, item, relation.each):
                    value = item.amount * self._evaluated([term.coefficient], at)[0]
                    row = rows.setdefault(place, Row())
                    row.value += value
                    row.size += abs(value)
        return rows

    def _relation(self, relation: Coupled, amounts: Sequence[Amount], found: Audit) -> None:
        rows = self._rows(relation, amounts)
        names = [axis.name for axis in relation.each]
        offset = relation.coupling.total.offset
        fixed = None if offset.choices else self._evaluated([offset], {})[0]
        least, where = math.inf, ""
        untouched = Row()
        # where nothing stands, and nothing is enough, no row can be violated
        enough = (
            fixed is not None and {"<=": fixed <= 0, ">=": fixed >= 0, "==": fixed == 0}[relation.coupling.relation]
        )
        for place in _looked_at(relation, rows, everywhere=fixed is None or (relation.when is not None and not enough)):
            at = dict(zip(names, place, strict=True))
            if relation.when is not None and not self._evaluated([relation.when], at)[0]:
                continue
            row = rows.get(place, untouched)
            limit = fixed if fixed is not None else self._evaluated([offset], at)[0]
            value = row.value + limit
            slack = {"<=": -value, ">=": value, "==": -abs(value)}[relation.coupling.relation]
            room = AGREEMENT * max(row.size, abs(limit) if math.isfinite(limit) else 0.0)
            found.checked += 1
            if not slack >= -room:
                found.failing.append(f"{_place(relation.name, at)} by {-slack:g}")
            if slack < least:
                least, where = slack + 0.0, _place("", at).strip(" ()")
        found.slacks[relation.name] = (max(0.0, least), where)


def _looked_at(
    relation: Coupled, rows: Mapping[tuple[Any, ...], Row], *, everywhere: bool
) -> Iterator[tuple[Any, ...]]:
    """Return the places of a relation to look at; under one limit, one place without amounts stands for all."""
    every = itertools.product(*(axis.values for axis in relation.each))
    if everywhere:
        yield from every
        return
    yield from rows
    yield from itertools.islice((place for place in every if place not in rows), 1)


def _places(term: Term, item: Amount, each: Sequence[Choice]) -> list[tuple[tuple[Any, ...], Values]]:
    """Return the places along the axes where an amount stands, with the values of all choices there."""
    options: list[Sequence[Any]] = []
    over = set(term.family.over)
    for axis in each:
        place = term.at.get(axis) or (Place(axis) if axis in over else None)
        if place is None:
            options.append(axis.values)
            continue
        position = place.choice.position[item.at[place.choice.name]] + place.shift
        if place.wrap:
            position %= len(axis.values)
        options.append([axis.values[position]] if 0 <= position < len(axis.values) else [])
    found = []
    spread = [axis.name for axis in each if axis not in over]
    for values in itertools.product(*options):
        beside = {axis.name: value for axis, value in zip(each, values, strict=True) if axis.name in spread}
        found.append((values, {**beside, **item.at}))
    return found


def _place(name: str, at: Mapping[str, Any]) -> str:
    return name + (" (" + ", ".join(f"{axis}={value}" for axis, value in at.items()) + ")" if at else "")
