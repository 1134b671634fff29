"""Uncertain givens: the same problem under several scenarios, and what is minimised over them.

One design must do in all of them. Amounts of a plan that say so (`Family.later`) follow once the scenario is known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal

import numpy as np

from mlsysim_opt.algebra.atoms import grid_lookup, maximum
from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, constant, substitute, symbols, topological
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Coupling, Family, Total
from mlsysim_opt.optimize.difference import SAME
from mlsysim_opt.optimize.problem import Constraint, Problem
from mlsysim_opt.units import to_si

Robust = Literal["worst_case", "expected", "cvar", "regret"]
MEASURES = ("worst_case", "expected", "cvar", "regret")
MOST = 1024
"""Scenarios, corners of intervals included."""
LONGEST = 60
"""Characters of a scenario's given that are shown."""


@dataclass(frozen=True)
class Measure:
    """What is made small over the scenarios.

    Attributes:
        name: ``worst_case``, ``expected``, ``cvar`` (the mean of the worst share ``1 - alpha``) or ``regret`` (the
            largest distance to what would have been best, had the scenario been known).
        shares: the probability of each scenario.
    """

    name: str
    alpha: float
    shares: tuple[float, ...]

    @staticmethod
    def of(name: Any, alpha: Any, shares: Any, count: int) -> Measure:
        """Return the measure a user means.

        Args:
            alpha: of ``cvar`` alone; 0.9 when None. shares: equal when None.
        Raises:
            InputError: there is no such measure, or alpha or the probabilities are none.
        """
        if name not in MEASURES:
            raise UnknownNameError("measure of robustness", str(name), MEASURES, path="robust")
        if alpha is not None and name != "cvar":
            raise InputError(f"says nothing of {name}: it is the level of cvar", path="alpha",
                             hint="robust='cvar', or leave it out")  # fmt: skip
        alpha = 0.9 if alpha is None else alpha
        if isinstance(alpha, bool) or not (isinstance(alpha, int | float) and 0 <= alpha < 1):
            raise InputError(f"{alpha!r} is no level", path="alpha", hint="a share below one, such as 0.9")
        given = [1.0 / count] * count if shares is None else [float(item) for item in shares]
        if len(given) != count or not all(item >= 0 for item in given) or abs(math.fsum(given) - 1) > 1e-9:
            raise InputError(f"{count} probabilities that add up to one are needed, got {shares!r}", path="shares")
        return Measure(str(name), float(alpha), tuple(given))


@dataclass(frozen=True)
class Robustness:
    """What a robust answer costs, and what it saves.

    Attributes:
        measure: what was minimised. value: it, for the robust answer.
        nominal: the best objective for the givens as they are. of_robust: that of the robust answer for them.
        price: by how much it is worse: the price of robustness. These are None where nothing is possible for the givens
            as they are, which need be no scenario.
        scenarios: what was given in each. values: the objective of the robust answer in each.
        of_nominal: the objective of the nominal answer in each; None where that is not even possible.
    """

    measure: str
    value: Value
    nominal: Value | None
    of_robust: Value | None
    price: Value | None
    scenarios: list[dict[str, str]]
    values: list[Value]
    of_nominal: list[Value | None]

    @staticmethod
    def of(
        measure: Measure,
        given: Sequence[Mapping[str, Any]],
        told: Callable[[float], Value],
        *,
        sense: str,
        value: Value,
        nominal: Value | None,
        of_robust: float | None,
        values: Sequence[float],
        of_nominal: Sequence[float | None],
    ) -> Robustness:
        """Return the report on a robust answer, whose numbers `told` puts in the unit that users read."""
        worse = None
        if of_robust is not None and nominal is not None:
            worse = without_rounding(of_robust - nominal.si, of_robust, nominal.si)
        return Robustness(
            measure=measure.name + (f" at {measure.alpha:g}" if measure.name == "cvar" else ""),
            value=told(without_rounding(value.si, *values) if measure.name == "regret" else value.si),
            nominal=nominal,
            of_robust=None if of_robust is None else told(of_robust),
            price=None if worse is None else told(worse if sense == "min" else 0.0 - worse),
            scenarios=[{name: _brief(item) for name, item in scenario.items()} for scenario in given],
            values=[told(item) for item in values],
            of_nominal=[None if item is None else told(item) for item in of_nominal],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "measure": self.measure,
            "value": self.value.as_dict(),
            **{name: _plain(getattr(self, name)) for name in ("nominal", "of_robust", "price")},
            "scenarios": self.scenarios,
            "values": [item.as_dict() for item in self.values],
            "of_nominal": [_plain(item) for item in self.of_nominal],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any] | None) -> Robustness | None:
        """Return what `as_dict` wrote."""
        if data is None:
            return None

        def value(item: Any) -> Value | None:
            return None if item is None else Value.from_dict(item)

        return Robustness(
            measure=data["measure"],
            value=Value.from_dict(data["value"]),
            nominal=value(data["nominal"]),
            of_robust=value(data["of_robust"]),
            price=value(data["price"]),
            scenarios=data["scenarios"],
            values=[Value.from_dict(item) for item in data["values"]],
            of_nominal=[value(item) for item in data["of_nominal"]],
        )

    def __str__(self) -> str:
        told = "what is planned is not possible for the givens as they are"
        if self.nominal is None:
            told = "nothing is possible for the givens as they are"
        elif self.price is not None:
            told = (f"the price of robustness is {self.price}: {self.of_robust} instead of {self.nominal} "
                    "for the givens as they are")  # fmt: skip
        lines = [f"{self.measure}: {self.value}; {told}"]
        for given, value, other in zip(self.scenarios, self.values, self.of_nominal, strict=True):
            told = ", ".join(f"{name}={text}" for name, text in given.items()) or "as given"
            lines.append(f"{told}: {value}; the nominal answer: {other or 'not possible'}")
        return "\n".join(lines)


def without_rounding(difference: float, *compared: float) -> float:
    """Return a difference of numbers; zero where it is only what is left of their rounding."""
    return 0.0 if abs(difference) <= SAME * max(map(abs, compared), default=0.0) else difference


def _plain(item: Value | None) -> dict[str, Any] | None:
    return None if item is None else item.as_dict()


def _brief(item: Any) -> str:
    text = str(item)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


# reading --------------------------------------------------------------------------------------------------------------
def corners(intervals: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scenarios at the corners of intervals.

    Raises:
        InputError: an interval has no two ends, or there are too many corners.
    """
    if not isinstance(intervals, Mapping) or not intervals:
        raise InputError(f"expected intervals by name, got {intervals!r}", path="intervals")
    for name, ends in intervals.items():
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            raise InputError(f"{ends!r} is no interval", path=f"intervals.{name}", hint="such as ('3 USD', '5 USD')")
    if 2 ** len(intervals) > MOST:
        raise InputError(f"{len(intervals)} intervals have more than {MOST} corners", path="intervals")
    return [dict(zip(intervals, ends, strict=True)) for ends in itertools.product(*intervals.values())]


def checked_scenarios(scenarios: Any) -> list[dict[str, Any]]:
    """Return scenarios, each what is given in it by name.

    Raises:
        InputError: they are no list of such, or too many.
    """
    if not isinstance(scenarios, list | tuple) or not scenarios:
        raise InputError(f"expected a list of scenarios, got {scenarios!r}", path="scenarios")
    if len(scenarios) > MOST:
        raise InputError(f"{len(scenarios)} scenarios are too many", path="scenarios", hint=f"{MOST} at most")
    for at, item in enumerate(scenarios):
        if not isinstance(item, Mapping):
            raise InputError(f"expected values by name, got {item!r}", path=f"scenarios[{at}]")
    return [dict(item) for item in scenarios]


Rebuild = Callable[[dict[str, Any]], Problem | CoupledProblem]


def under(
    problem: Problem | CoupledProblem, given: Mapping[str, Any], takes: Iterable[str], rebuild: Rebuild | None
) -> Problem | CoupledProblem:
    """Return a problem under a scenario.

    Args:
        given: numbers of the problem and its tables by name, or givens of the formulation that makes it (`takes`).
        rebuild: makes the problem from changed givens.
    Raises:
        UnknownNameError: there is no such number, table or given.
    """
    known = set(takes)
    anew = {name: value for name, value in given.items() if name in known}
    made = rebuild(anew) if anew and rebuild is not None else problem
    roots = list(_roots(made))
    named = {leaf.name: leaf for leaf in symbols(*roots) if leaf.name in made.values}
    tables = _tables(roots)
    values = dict(made.values)
    replaced: dict[Expression, Expression] = {}
    for name, value in given.items():
        if name in anew:
            continue
        if name in named:
            values[name] = to_si(value, named[name].dimension, name)
        elif name in tables:
            for node in tables[name]:
                replaced[node] = _table(node, value, name)
        else:
            raise UnknownNameError(
                "uncertain number, table or given", name, [*named, *tables, *known], path="scenarios"
            )
    changed = replace(made, values=values)
    return _mapped(changed, replaced) if replaced else changed


def _tables(roots: Sequence[Expression]) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for node in topological(roots):
        if isinstance(node, Operation) and node.atom.name in ("lookup", "grid_lookup") and node.param.title:
            found.setdefault(node.param.title, []).append(node)
    return found


def _table(node: Operation, value: Any, name: str) -> Expression:
    """Return a table with other numbers: an array, in the unit of the table; or by the value of its one choice."""
    choices: Any = node.args
    if isinstance(value, Mapping):
        if len(choices) != 1:
            raise InputError("expected an array with one axis for each choice", path=name)
        missing = [item for item in choices[0].values if item not in value]
        if missing:
            raise InputError(f"lacks {missing[0]!r}", path=name)
        value = [value[item] for item in choices[0].values]
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{value!r} is no array of numbers", path=name) from error
    return grid_lookup(choices, numbers, unit=node.param.unit.text, title=name)


def _roots(problem: Problem | CoupledProblem) -> Iterable[Expression]:
    if isinstance(problem, Problem):
        yield from (item.expression for item in problem.metrics.values() if item.expression is not None)
        yield from (item.holds for item in problem.constraints)
        return
    yield from (item.expression for item in problem.metrics.values() if item.expression is not None)
    yield from (item.holds for item in problem.local)
    for total in [*problem.totals.values(), *(item.coupling.total for item in problem.couplings)]:
        inner = total.total if isinstance(total, Largest) else total
        yield inner.offset
        yield from (term.coefficient for term in inner.terms)
    yield from (item.when for item in problem.couplings if item.when is not None)
    for family in problem.families.values():
        yield from (bound for bound in (family.low, family.high, family.picks) if bound is not None)


def _mapped(problem: Problem | CoupledProblem, replaced: dict[Expression, Expression]) -> Problem | CoupledProblem:
    def change(node: Expression) -> Expression:
        return substitute(node, replaced)

    metrics = {
        name: item if item.expression is None else replace(item, expression=change(item.expression))
        for name, item in problem.metrics.items()
    }
    if isinstance(problem, Problem):
        constraints = [replace(item, holds=change(item.holds)) for item in problem.constraints]
        return replace(problem, metrics=metrics, constraints=constraints)
    families = {item: _bounded(item, change) for item in problem.families.values()}

    def moved(total: Total) -> Total:
        terms = (replace(term, family=families.get(term.family, term.family)) for term in total.mapped(change).terms)
        return Total(tuple(terms), change(total.offset))

    made = replace(
        problem,
        metrics=metrics,
        families={item.name: item for item in families.values()},
        totals={
            name: replace(item, total=moved(item.total)) if isinstance(item, Largest) else moved(item)
            for name, item in problem.totals.items()
        },
        local=[replace(item, holds=change(item.holds)) for item in problem.local],
        couplings=[changed_relation(item, change, moved) for item in problem.couplings],
    )
    if any(old is not new for old, new in families.items()):  # what is known about parts is about the old amounts
        made.blocks, made.standing, made.chain = [], None, None
    return made


def _bounded(family: Family, change: Callable[[Expression], Expression]) -> Family:
    """Return amounts with a change made to their bounds: the same ones where it changes nothing."""
    old = (family.low, family.high, family.picks)
    low, high, picks = (None if bound is None else change(bound) for bound in old)
    if low is family.low and high is family.high and picks is family.picks:
        return family
    return replace(family, low=low, high=high, picks=picks)


def changed_relation(
    item: Coupled, change: Callable[[Expression], Expression], moved: Callable[[Total], Total]
) -> Coupled:
    """Return a relation with a change made to all of its expressions, and one to its sum."""
    coupling = Coupling(moved(item.coupling.total), item.coupling.relation)
    return replace(item, coupling=coupling, when=None if item.when is None else change(item.when))


def in_all(rules: Sequence[Constraint]) -> Constraint:
    """Return a constraint of several scenarios as one that holds in all of them.

    A limit that they share is one of the largest (or least) of what they limit, so that it can give way as one.
    """
    first, sides = rules[0], [rule.sides for rule in rules]
    if all(rule.holds is first.holds for rule in rules):
        return first
    if all(sides) and all(isinstance(rule.holds, Operation) and rule.holds.atom.name != "less" for rule in rules):
        small, large = (list(dict.fromkeys(part)) for part in zip(*filter(None, sides), strict=True))
        if len(large) == 1:
            return replace(first, holds=maximum(*small) <= large[0])
        if len(small) == 1:
            return replace(first, holds=small[0] <= -maximum(*(-item for item in large)))
    return replace(first, holds=reduce(Expression.__and__, dict.fromkeys(rule.holds for rule in rules)))


def settled_in(values: Mapping[str, float], base: Mapping[str, float]) -> Callable[[Expression], Expression]:
    """Return a change that writes into an expression the numbers that a scenario has instead of the base."""

    def change(node: Expression) -> Expression:
        leaves = [leaf for leaf in symbols(node) if leaf.name in values and values[leaf.name] != base.get(leaf.name)]
        return substitute(node, {leaf: constant(values[leaf.name], leaf.dimension) for leaf in leaves})

    return change


def refuse_bent(roots: Iterable[Expression], names: Iterable[str]) -> None:
    """Refuse intervals whose corners say nothing about what is between them.

    Raises:
        InputError: an expression is not affine in an uncertain number, so its worst may be inside.
    """
    wanted = set(names)
    for root in roots:
        for leaf in symbols(root):
            if leaf.name in wanted and _bent(root, leaf):
                raise InputError(
                    f"the problem is not affine in {leaf.name}: the worst may be inside its interval",
                    path=f"intervals.{leaf.name}",
                    hint="give scenarios",
                )


def _bent(root: Expression, leaf: Symbol) -> bool:
    (slope,) = gradient(root, [leaf])
    return leaf in symbols(slope)
