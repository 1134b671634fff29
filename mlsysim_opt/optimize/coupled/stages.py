"""What one plan for several scenarios is made of: amounts decided before the scenario is known, and after it.

Amounts that are decided later (`Family.later`) have a copy for each scenario. All others are the same in all of them,
within the bounds of each. Source: Birge and Louveaux, Introduction to Stochastic Programming (2011), chapter 2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from mlsysim_opt.algebra.atoms import maximum, minimum
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.coupled.problem import CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Family, Term, Total
from mlsysim_opt.optimize.problem import Constraint
from mlsysim_opt.optimize.scenarios import settled_in

Change = Callable[[Expression], Expression]


def in_scenario(name: str, number: int) -> str:
    """Return the name of what belongs to one scenario, counted from zero."""
    return f"{name} [scenario {number + 1}]"


@dataclass(frozen=True, eq=False)
class Stages:
    """The amounts of a plan for several scenarios.

    Attributes:
        families: by name. there: for each scenario, what stands for each family of its problem, by name there.
        changes: for each scenario, a change that writes its numbers into an expression.
        local: the truths about single tuples that all scenarios share; others are `Family.exists`.
        same: whether the families are those of the problem for the givens as they are.
    """

    families: dict[str, Family]
    there: list[dict[str, Family]]
    changes: list[Change]
    local: list[Constraint]
    same: bool

    @staticmethod
    def of(base: CoupledProblem, problems: Sequence[CoupledProblem]) -> Stages:
        """Return the amounts of a plan for several scenarios of one problem.

        Raises:
            InputError: a scenario changes what there is to choose.
        """
        changes = [settled_in(item.values, base.values) for item in problems]
        truths = [
            {change(rule.holds): rule for rule in problem.local}
            for problem, change in zip(problems, changes, strict=True)
        ]
        shared = set(truths[0]).intersection(*truths[1:])
        own = [[holds for holds in item if holds not in shared] for item in truths]
        families: dict[str, Family] = {}
        there: list[dict[str, Family]] = [{} for _ in problems]
        for name in dict.fromkeys([*base.families, *(name for item in problems for name in item.families)]):
            for number, family in enumerate(_of_scenarios(name, base, problems, changes, own)):
                families[family.name] = there[number][name] = family
        local = [replace(rule, holds=holds) for holds, rule in truths[0].items() if holds in shared]
        same = list(families.values()) == list(base.families.values())
        return Stages(families, there, changes, local, same)

    def total(self, number: int, total: Total) -> Total:
        """Return a sum of a scenario over the amounts of the plan."""
        change, there = self.changes[number], self.there[number]
        terms = (Term(there.get(term.family.name, term.family), change(term.coefficient), term.at)
                 for term in total.terms)  # fmt: skip
        return Total(tuple(terms), change(total.offset))

    def as_given(self, total: Total | Largest) -> Total | Largest:
        """Return a sum for the givens as they are over those of the plan; amounts decided later stay."""
        if isinstance(total, Largest):
            inner = self.as_given(total.total)
            assert isinstance(inner, Total)
            return replace(total, total=inner)
        terms = (replace(term, family=self.families.get(term.family.name, term.family)) for term in total.terms)
        return Total(tuple(terms), total.offset)

    def measured(self, number: int, total: Total | Largest) -> Total | Largest:
        """Return what a metric of a scenario stands for, over the amounts of the plan."""
        if isinstance(total, Largest):
            return replace(total, total=self.total(number, total.total))
        return self.total(number, total)


def written(total: Total | Largest) -> tuple[Any, ...]:
    """Return what tells a sum from others."""
    inner, each = (total.total, total.each) if isinstance(total, Largest) else (total, None)
    return each, inner.offset, tuple((term.family, term.coefficient, tuple(term.at.items())) for term in inner.terms)


def _of_scenarios(
    name: str,
    base: CoupledProblem,
    problems: Sequence[CoupledProblem],
    changes: Sequence[Change],
    own: Sequence[Sequence[Expression]],
) -> list[Family]:
    """Return what stands for a family in each scenario.

    Args:
        own: for each scenario, the truths about single tuples that not all share.
    """
    first = base.families.get(name)
    each: list[Family] = []
    for problem, change, truths in zip(problems, changes, own, strict=True):
        mine = problem.families.get(name)
        if first is None or mine is None or not _alike(first, mine):
            raise InputError(f"a scenario changes what there is to choose: {name}", path="scenarios",
                             hint=_values_that_differ([base, *problems]))  # fmt: skip
        exists = [item for item in truths if item.choices <= set(mine.over)]
        each.append(replace(
            mine, low=_changed(change, mine.low), high=_changed(change, mine.high), picks=_changed(change, mine.picks),
            exists=reduce(Expression.__and__, exists) if exists else None,
        ))  # fmt: skip
    assert first is not None
    if first.later:
        return [replace(item, name=in_scenario(name, number)) for number, item in enumerate(each)]
    if any(item.picks is not each[0].picks for item in each):
        raise InputError(f"a scenario changes how many are picked: {name}", path="scenarios")
    truths = _unique(item.exists for item in each)
    merged = replace(
        first,
        low=_extreme(maximum, (item.low for item in each)),
        high=_extreme(minimum, (item.high for item in each)),
        picks=each[0].picks,
        exists=reduce(Expression.__and__, truths) if truths else None,
    )
    parts = ("low", "high", "picks", "exists")
    return [first if all(getattr(merged, part) is getattr(first, part) for part in parts) else merged] * len(each)


def _alike(one: Family, other: Family) -> bool:
    """Return whether two families are amounts of the same over the same choices (of which each exists once)."""
    pairs = [*itertools.zip_longest(one.over, other.over), *itertools.zip_longest(one.group, other.group)]
    return one.sort == other.sort and one.later == other.later and all(first is second for first, second in pairs)


def _values_that_differ(problems: Sequence[CoupledProblem]) -> str | None:
    """Return which choices have other values in some scenario, or none, in words."""
    values = [{name: item.choice.values for name, item in problem.decisions.items()} for problem in problems]
    every = dict.fromkeys(name for one in values for name in one)
    names = [name for name in every if any(one.get(name) != values[0].get(name) for one in values)]
    return f"{', '.join(names)} must have the same values in all scenarios" if names else None


def _changed(change: Change, bound: Expression | None) -> Expression | None:
    return None if bound is None else change(bound)


def _unique(items: Iterable[Expression | None]) -> list[Expression]:
    return [item for item in dict.fromkeys(items) if item is not None]


def _extreme(pick: Callable[..., Expression], bounds: Iterable[Expression | None]) -> Expression | None:
    """Return the tightest of the bounds that there are."""
    several = _unique(bounds)
    return pick(*several) if several else None
