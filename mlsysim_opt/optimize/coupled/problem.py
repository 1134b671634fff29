"""What a coupled formulation declares: families of amounts, what each may be, and what they must add up to.

Everything nonlinear depends on choices, so it stands in coefficients, which become tables. What is left is linear in
the amounts; that is how it is written, so nothing has to be proven later. No solver code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import grid_lookup
from mlsysim_opt.algebra.expression import Choice, Expression, Operand, Symbol, expression, symbols
from mlsysim_opt.errors import InputError, MlsysimError
from mlsysim_opt.optimize.coupled.program import CANCELLED
from mlsysim_opt.optimize.coupled.totals import Coupling, Family, Sort, Total, total_of
from mlsysim_opt.optimize.problem import Constraint, Decision, Lever, Metric, Named
from mlsysim_opt.units import NONE, parse_unit


@dataclass(frozen=True, eq=False)
class Coupled:
    """A named relation of sums, for each tuple of values of some axes.

    Attributes:
        name: in the user's words. coupling: the relation. each: the axes of its rows.
        when: which tuples have a row; all of them when None.
        structural: whether it defines what a plan is; it is then never offered as a way out.
        counts: what plain numbers of its sum count, in texts ("accelerators").
        cancelled: what is left of its terms, where several are of one amount, is nothing below this share of them.
    """

    name: str
    coupling: Coupling
    each: tuple[Choice, ...] = ()
    when: Expression | None = None
    structural: bool = False
    given_by_user: bool = False
    counts: str = ""
    cancelled: float = CANCELLED


@dataclass(frozen=True, eq=False)
class Largest:
    """The largest of a sum over the tuples of some axes: the worst region, the peak hour."""

    total: Total
    each: tuple[Choice, ...]


@dataclass(frozen=True, eq=False)
class Coarser:
    """A smaller problem that stands for another one: alike values of one of its choices are one value.

    Attributes:
        problem: the smaller one, of the same names. axis: the name of the choice. count: the values it has left.
    """

    problem: CoupledProblem
    axis: str
    count: int


@dataclass
class CoupledProblem(Named):
    """A coupled decision problem: declared once, compiled to one linear program, solved by any backend.

    Attributes:
        name, item: the formulation's name and what is being made.
        values: the number bound to every symbol, in base units.
        decisions: the choices (what exists, and what may be chosen) by name. families: the amounts by name.
        metrics: what may be asked, by name; a sum's expression is a symbol that stands for it. totals: those sums.
        local: constraints on single tuples of families. couplings: relations of sums.
        blocks: parts whose best plan at given prices is known without a solver; large problems of nothing else are
            solved by generating their plans. standing: what they share, if they share what is held.
        chain: what makes it one pick after another, if that is all it is.
        recheck: returns, for a plan, numbers that tables hold and what they are when they are computed again, by name.
        coarser: a smaller problem, whose best plan says what to pick in this one.
        notes: of constraints of its own that are known to make every plan impossible, by name: what to say of them.
        levers: givens that could be changed when it has no plan, whatever the user asks.
    """

    metrics_first: ClassVar[bool] = True
    name: str
    item: str = "plan"
    values: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    totals: dict[str, Total | Largest] = field(default_factory=dict)
    local: list[Constraint] = field(default_factory=list)
    couplings: list[Coupled] = field(default_factory=list)
    blocks: list[Any] = field(default_factory=list)
    standing: Any = None
    chain: Any = None
    recheck: Callable[[Any], Iterable[tuple[str, float, float]]] | None = None
    coarser: Coarser | None = None
    default_objective: str | None = None
    assumptions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    levers: list[Lever] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)

    # declaring --------------------------------------------------------------------------------------------------------
    def choose(self, name: str, values: Iterable[Any], *, about: str = "", limited: str | None = None) -> Choice:
        """Declare a choice: what exists (jobs, regions, hours), or what is to be chosen (designs, sizes)."""
        if name in self.decisions:
            raise InputError("is declared twice", path=name)
        choice = Choice(name, values)
        self.decisions[name] = Decision(choice, about, limited)
        return choice

    def table(self, name: str, over: Sequence[Choice], values: Any, unit: str = "dimensionless") -> Expression:
        """Return numbers given for each combination of values of choices, as an expression.

        Args:
            name: what they are. over: the choices. values: numbers in `unit`, one axis per choice; NaN where there is
                none (such tuples are left out, with the reason), infinity where there is no limit.
        """
        return grid_lookup(over, values, unit=unit, title=name)

    def amounts(
        self,
        name: str,
        over: Sequence[Choice],
        *,
        whole: bool = False,
        low: Operand = 0,
        high: Operand | None = None,
        unit: str | None = None,
        about: str = "",
        counts: str = "",
        later: bool = False,
        least: bool = False,
    ) -> Family:
        """Declare an amount for each tuple of values of choices.

        Args:
            over: the choices. whole: whether amounts are whole numbers. low, high: bounds, in the unit of the amount:
                what is so whatever gives way. A limit that a relation states is not stated here once more: the least
                change of the relation would be sought under it.
            unit: the unit of the amounts; plain numbers when None. counts: what plain numbers count ("nodes").
            later: under several scenarios, whether they are decided once the scenario is known (who is served where);
                what is not is decided before, and is the same in all of them (what is bought).
            least: whether, of plans that are as good, one is told in which nothing of them is needless.
        """
        of = parse_unit(unit).dimension if unit else NONE
        bounds = (_bound(low, unit), None if high is None else _bound(high, unit))
        sort: Sort = "whole" if whole else "continuous"
        family = Family(name, tuple(over), sort, low=bounds[0], high=bounds[1], dimension=of, unit=unit, about=about)
        return self._add(replace(family, counts=counts, later=later, least=least))

    def picks(
        self,
        name: str,
        over: Sequence[Choice],
        *,
        for_each: Sequence[Choice] = (),
        count: Operand = 1,
        optional: bool = False,
        about: str = "",
    ) -> Family:
        """Declare that for each tuple of `for_each`, so many tuples of `over` are picked (`count`; one by default).

        Args:
            optional: whether fewer may be picked. count: an expression over `for_each`.
        """
        missing = [choice.name for choice in for_each if choice not in over]
        if missing:
            raise InputError(f"picks for each {missing[0]}, which is not among its choices", path=name)
        return self._add(
            Family(name, tuple(over), "pick", tuple(for_each), expression(count), optional, expression(0), about=about)
        )

    def _add(self, family: Family) -> Family:
        if family.name in self.families:
            raise InputError("is declared twice", path=family.name)
        strangers = [choice.name for choice in family.over if self.decisions.get(choice.name, None) is None]
        if strangers:
            raise InputError(
                f"uses {strangers[0]!r}, which is not declared", path=family.name, hint="problem.choose(...)"
            )
        self.families[family.name] = family
        return family

    def allow(self, name: str, holds: Expression, *, structural: bool = False) -> None:
        """Declare which tuples there are: families that have all choices of the truth keep those where it holds.

        A truth that is false whatever is chosen leaves no tuples.
        """
        self.local.append(Constraint(name, holds, structural))

    def require(
        self,
        name: str,
        coupling: Coupling,
        *,
        each: Sequence[Choice] = (),
        when: Expression | None = None,
        structural: bool = False,
        counts: str = "",
    ) -> None:
        """Declare a relation of sums, for each tuple of values of `each` (where `when` holds).

        Args:
            counts: what plain numbers of the sum count ("accelerators").
        """
        if not isinstance(coupling, Coupling):
            raise InputError(f"expected a relation of sums, got {coupling!r}", path=name, hint="compare with <= or >=")
        coupling = replace(coupling, total=self._summed(name, coupling.total, tuple(each)))
        self.couplings.append(Coupled(name, coupling, tuple(each), when, structural, counts=counts))

    def measure(
        self,
        name: str,
        value: Any,
        *,
        unit: str | None = None,
        about: str = "",
        part_of: str | None = None,
        replaces: bool = False,
    ) -> None:
        """Declare a metric: a sum, the `Largest` of sums, or an expression over choices (of single tuples).

        A function making it may be given: an error in it is kept until the metric is asked for. Metrics may be part of
        a sum: ``problem.metric("cost") + contracts * fee``.

        Args:
            replaces: whether it stands for a metric of this name that there is already.
        Raises:
            InputError: there is one, and it is not replaced.
        """
        self.checked_metric(name, replaces)
        try:
            made = value() if isinstance(value, Callable) else value  # type: ignore[arg-type]
        except MlsysimError as error:
            self.totals.pop(name, None)
            self.metrics[name] = Metric(name, None, unit, about, error, part_of)
            return
        if isinstance(made, Family) or (isinstance(made, Expression) and self._is_in(name, made)):
            made = total_of(made)
        if isinstance(made, Total):
            made = self._summed(name, made)
        elif isinstance(made, Largest):
            made = replace(made, total=self._summed(name, made.total, made.each))
        self.totals.pop(name, None)
        if isinstance(made, Total | Largest):
            of = made.dimension if isinstance(made, Total) else made.total.dimension
            self.totals[name] = made
            made = metric_symbol(name, of)
        self.metrics[name] = Metric(name, made, unit, about, part_of=part_of)

    def _is_in(self, name: str, node: Expression) -> bool:
        """Return whether an expression is about the sum that a metric of this name is by now."""
        return any(item.name == name and self.is_total(item) for item in symbols(node))

    def _summed(self, name: str, total: Total, each: tuple[Choice, ...] = ()) -> Total:
        """Return a sum with the sums that metrics in it stand for.

        Args:
            each: the axes of the rows that it is for.
        Raises:
            InputError: it is not linear in them, or it is for several rows, while they are of the whole plan.
        """
        if not any(map(self.is_total, symbols(total.offset, *(term.coefficient for term in total.terms)))):
            return total
        from mlsysim_opt.optimize.coupled.linear import summed

        return summed(self, name, total, each)

    # asking -----------------------------------------------------------------------------------------------------------
    def total(self, symbol: Symbol) -> Total | Largest:
        """Return the sum that a metric's symbol stands for."""
        return self.totals[symbol.name]

    def is_total(self, symbol: Symbol) -> bool:
        """Return whether a symbol stands for a sum of amounts."""
        return symbol.name in self.totals and self.metrics[symbol.name].expression is symbol

    def copy(self) -> CoupledProblem:
        """Return a plan that can be added to without changing this one."""
        return replace(
            self,
            metrics=dict(self.metrics),
            totals=dict(self.totals),
            local=list(self.local),
            couplings=list(self.couplings),
        )


def metric_symbol(name: str, of: Any) -> Symbol:
    """Return the symbol that stands for a sum in objectives and constraints."""
    return Symbol(name, of, low=float("-inf"))


def _bound(value: Operand, unit: str | None) -> Expression:
    made = expression(value)
    if made.dimension == NONE and unit is not None and not made.choices:
        made = made * expression(f"1 {unit}") if parse_unit(unit).dimension != NONE else made
    return made
