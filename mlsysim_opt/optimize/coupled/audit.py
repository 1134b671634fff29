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
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Family, Place, Term, Total
from mlsysim_opt.optimize.problem import Constraint

AGREEMENT = 1e-7
"""Violation of a relation, relative to what it adds up, that is rounding of continuous amounts."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Amount:
    """One amount of a plan that is not zero: of which family, at which values of its choices, how much (base units)."""

    family: Family
    at: Values
    amount: float


ByFamily = dict[Family, list[Amount]]


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


class Numbers:
    """Expressions by the scalar path: their values where choices have some values, each computed once."""

    def __init__(self, roots: Sequence[Expression], values: Mapping[str, float]) -> None:
        self._program = ScalarProgram(roots, values)
        self._names = [leaf.name for leaf in self._program.leaves]
        self._known: dict[tuple[Any, ...], Sequence[float]] = {}

    def __call__(self, at: Mapping[str, Any]) -> Sequence[float]:
        """Return the values of the expressions where choices have these values, by name.

        Raises:
            InputError: they depend on something that has no value.
        """
        try:
            place = tuple([at[name] for name in self._names])
        except KeyError as error:
            (name,) = error.args
            raise InputError(f"no value for {name!r}", path=name) from None
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = self._program.run(place)
        return found


class Scalars:
    """Numbers of single tuples of a problem by the scalar path: for one plan, or for several."""

    def __init__(self, problem: CoupledProblem) -> None:
        self.problem = problem
        self._known: dict[tuple[int, ...], Numbers] = {}
        self._held: list[Expression] = []  # what the keys are the identities of

    def of(self, *roots: Expression) -> Numbers:
        """Return expressions, to be asked for their values at a tuple."""
        key = tuple(map(id, roots))
        if key not in self._known:
            self._held.extend(roots)
            self._known[key] = Numbers(roots, self.problem.values)
        return self._known[key]


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
        self._scalars = scalars or Scalars(problem)

    def run(self, amounts: Sequence[Amount], totals: Sequence[Total | Largest]) -> Audit:
        """Return what the amounts add up to, and what they violate."""
        found = Audit()
        by_family: ByFamily = {}
        for item in amounts:
            by_family.setdefault(item.family, []).append(item)
        for family, items in by_family.items():
            self._amounts(family, items, found)
        for family in self.problem.families.values():
            if family.sort == "pick":
                self._picks(family, by_family.get(family, ()), found)
        for relation in self.relations:
            self._relation(relation, by_family, found)
        for total in totals:
            row = self._largest(total, by_family) if isinstance(total, Largest) else self._sum(total, by_family)
            found.totals.append(row.value)
            found.sizes.append(row.size)
        return found

    # families ---------------------------------------------------------------------------------------------------------
    def _amounts(self, family: Family, items: Sequence[Amount], found: Audit) -> None:
        least, most = (None if bound is None else self._scalars.of(bound) for bound in (family.low, family.high))
        rules = [rule for rule in self.local if rule.holds.choices <= set(family.over)]
        if family.exists is not None:
            rules.append(Constraint("there is no such amount", family.exists))
        truths = self._scalars.of(*(rule.holds for rule in rules))
        for item in items:
            found.checked += 1
            if family.whole and item.amount != round(item.amount):
                found.failing.append(f"{_place(family.name, item.at)} = {item.amount} is not whole")
            low = -math.inf if least is None else least(item.at)[0]
            high = math.inf if most is None else most(item.at)[0]
            room = AGREEMENT * max(1.0, abs(item.amount))
            if not low - room <= item.amount <= high + room:
                found.failing.append(f"{_place(family.name, item.at)} = {item.amount} is not within {low} and {high}")
            holds = truths(item.at)
            if not all(holds):
                broken = (rule.name for rule, truth in zip(rules, holds, strict=True) if not truth)
                found.failing += [f"{name} at {_place(family.name, item.at)}" for name in broken]

    def _picks(self, family: Family, items: Sequence[Amount], found: Audit) -> None:
        assert family.picks is not None
        counts, names = self._scalars.of(family.picks), [choice.name for choice in family.group]
        picked: dict[tuple[Any, ...], float] = {}
        for item in items:
            group = tuple(item.at[name] for name in names)
            picked[group] = picked.get(group, 0.0) + item.amount
        for group in itertools.product(*(choice.values for choice in family.group)):
            at = dict(zip(names, group, strict=True))
            (count,), have = counts(at), picked.get(group, 0.0)
            if have != count and not (family.optional and have <= count):
                found.failing.append(f"{_place(family.name, at)}: {have:g} picked instead of {count:g}")

    # sums -------------------------------------------------------------------------------------------------------------
    def _sum(self, total: Total, by_family: ByFamily) -> Row:
        parts = [*self._scalars.of(total.offset)({})]
        for term in total.terms:
            coefficient = self._scalars.of(term.coefficient)
            parts += [item.amount * coefficient(item.at)[0] for item in by_family.get(term.family, ())]
        return Row(math.fsum(parts), math.fsum(abs(part) for part in parts))

    def _largest(self, largest: Largest, by_family: ByFamily) -> Row:
        rows = self._rows(Coupled("", largest.total <= 0, largest.each), by_family)
        offsets, found = self._scalars.of(largest.total.offset), []
        for place in itertools.product(*(axis.values for axis in largest.each)):
            at = dict(zip((axis.name for axis in largest.each), place, strict=True))
            row, offset = rows.get(place, Row()), offsets(at)[0]
            found.append(Row(row.value + offset, row.size + abs(offset)))
        return Row(max(row.value for row in found), max(row.size for row in found))

    def _rows(self, relation: Coupled, by_family: ByFamily) -> dict[tuple[Any, ...], Row]:
        rows: dict[tuple[Any, ...], Row] = {}
        for term in relation.coupling.total.terms:
            coefficient, stands = self._scalars.of(term.coefficient), _Stands(term, relation.each)
            for item in by_family.get(term.family, ()):
                for place, at in stands.of(item):
                    value = item.amount * coefficient(at)[0]
                    row = rows.get(place)
                    if row is None:
                        row = rows[place] = Row()
                    row.value += value
                    row.size += abs(value)
        return rows

    def _relation(self, relation: Coupled, by_family: ByFamily, found: Audit) -> None:
        rows = self._rows(relation, by_family)
        names = [axis.name for axis in relation.each]
        offset = relation.coupling.total.offset
        offsets = self._scalars.of(offset)
        fixed = None if offset.choices else offsets({})[0]
        exists = None if relation.when is None else self._scalars.of(relation.when)
        least, where = math.inf, ""
        untouched = Row()
        # where nothing stands, and nothing is enough, no row can be violated
        enough = (
            fixed is not None and {"<=": fixed <= 0, ">=": fixed >= 0, "==": fixed == 0}[relation.coupling.relation]
        )
        for place in _looked_at(relation, rows, everywhere=fixed is None or (relation.when is not None and not enough)):
            at = dict(zip(names, place, strict=True))
            if exists is not None and not exists(at)[0]:
                continue
            row = rows.get(place, untouched)
            limit = fixed if fixed is not None else offsets(at)[0]
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


class _Stands:
    """Where along some axes the amounts of a term stand."""

    def __init__(self, term: Term, each: Sequence[Choice]) -> None:
        over = set(term.family.over)
        self._each = [(axis, term.at.get(axis) or (Place(axis) if axis in over else None)) for axis in each]
        self._beside = [(at, axis.name) for at, axis in enumerate(each) if axis not in over]

    def of(self, item: Amount) -> Iterator[tuple[tuple[Any, ...], Values]]:
        """Yield the places of an amount, each with the values of all choices there."""
        options: list[Sequence[Any]] = []
        for axis, place in self._each:
            if place is None:
                options.append(axis.values)
                continue
            position = place.choice.position[item.at[place.choice.name]] + place.shift
            if place.wrap:
                position %= len(axis.values)
            options.append(axis.values[position : position + 1] if position >= 0 else ())
        for values in itertools.product(*options):
            yield values, {**{name: values[at] for at, name in self._beside}, **item.at} if self._beside else item.at


def _place(name: str, at: Mapping[str, Any]) -> str:
    return name + (" (" + ", ".join(f"{axis}={value}" for axis, value in at.items()) + ")" if at else "")
