"""What a formulation declares: decisions, metrics, constraints and objectives of one decision problem. No solver
code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from mlsysim_opt.algebra.expression import Choice, Expression, Operation
from mlsysim_opt.errors import InputError, MissingFieldError, MlsysimError, UnknownNameError
from mlsysim_opt.units import Unit, parse_unit, readable_unit

Sense = Literal["min", "max"]
LEVER_SECONDS = 10.0
"""How long other values of a given are tried when nothing is feasible."""


@dataclass(frozen=True)
class Decision:
    """One thing to be chosen.

    Attributes:
        choice: its values. about: what it is, for people.
        limited: why the values end where they do, if a larger box could hold better designs; None if they are all.
    """

    choice: Choice
    about: str = ""
    limited: str | None = None

    @property
    def name(self) -> str:
        return self.choice.name


@dataclass(frozen=True)
class Constraint:
    """A named truth that every design must satisfy.

    Attributes:
        name: in the user's words. holds: the truth.
        structural: whether it defines what a design is (sizes multiply to the fleet); it is then never relaxed, and
            joins choices before anything is evaluated.
        given_by_user: whether the user added it.
        lawful: whether nobody can do without it (a queue that grows without end): it may be what conflicts, but giving
            it up is no way out.
    """

    name: str
    holds: Expression
    structural: bool = False
    given_by_user: bool = False
    lawful: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.holds, Expression):
            raise InputError(
                f"a constraint must be a comparison of expressions, got {self.holds!r}",
                path=self.name,
                hint="a plain True or False is decided already; compare metrics or decisions",
            )
        if self.holds.sort != "truth":
            raise InputError(f"{self.name!r} is not a comparison", hint="write it with <=, >= or ==")

    @property
    def strict(self) -> bool:
        """Whether equality violates it though a number may come as close as it likes."""
        holds = self.holds
        return isinstance(holds, Operation) and holds.atom.name == "less" and not _whole(holds)

    @property
    def sides(self) -> tuple[Expression, Expression] | None:
        """The smaller and the larger side, if this is an inequality."""
        if isinstance(self.holds, Operation) and self.holds.atom.name in ("less_equal", "less"):
            return self.holds.args[0], self.holds.args[1]
        return None


def _whole(comparison: Operation) -> bool:
    return all(side.integer for side in comparison.args)


@dataclass(frozen=True)
class Objective:
    """What is wanted: the smallest or largest value of an expression."""

    name: str
    sense: Sense
    expression: Expression

    def __post_init__(self) -> None:
        if self.expression.sort != "number":
            raise InputError(f"the objective {self.name!r} is a {self.expression.sort}, not a number", path="objective")

    @property
    def cost(self) -> Expression:
        """The expression to minimise."""
        return self.expression if self.sense == "min" else -self.expression


@dataclass(frozen=True)
class Metric:
    """A named result of a design.

    Attributes:
        unit: it is shown in. about: what it is, for people.
        part_of: the metric of which it is one of the parts, where there is one.
        unavailable: the error to raise if it is asked for without what it needs.
    """

    name: str
    expression: Expression | None
    unit: str | None = None
    about: str = ""
    unavailable: MlsysimError | None = None
    part_of: str | None = None

    @property
    def reason(self) -> str:
        """Why there is no such metric, and what to do, in a line; nothing where there is one."""
        if self.unavailable is None:
            return ""
        path = self.unavailable.path if not isinstance(self.unavailable, MissingFieldError) else None
        hint = f" ({self.unavailable.hint})" if self.unavailable.hint else ""
        return (f"{path}: " if path else "") + self.unavailable.message + hint

    def display_unit(self, value: float) -> Unit:
        """Return the unit a value is shown in."""
        assert self.expression is not None
        return parse_unit(self.unit) if self.unit else readable_unit(value, self.expression.dimension)


@dataclass(frozen=True)
class Lever:
    """A given that could be changed to escape infeasibility, such as the number of nodes.

    Attributes:
        name: what changes. now: its present value. candidates: values to try, the cheapest first.
        rebuild: makes the problem (a `Problem` or a `CoupledProblem`) for another value.
        states: the constraint that says the same, where values of decisions end with it too (as many replicas as there
            are accelerators): the least change is then that of the given, not of the constraint alone.
    """

    name: str
    now: Any
    candidates: Callable[[], Iterable[Any]]
    rebuild: Callable[[Any], Any]
    describe: Callable[[Any], str]
    states: str = ""

    def told(self, candidate: Any) -> str:
        """Return what changes, in words."""
        return f"{self.name}: {self.describe(candidate)} instead of {self.now}, the first tried that will do"


class Named:
    """What has decisions, metrics and other names of them, which texts refer to.

    Attributes:
        metrics_first: whether a metric hides a decision of the same name.
    """

    metrics_first: ClassVar[bool] = False
    name: str
    decisions: dict[str, Decision]
    metrics: dict[str, Metric]
    aliases: dict[str, str]

    def metric(self, name: str) -> Expression:
        """Return the expression of a metric.

        Raises:
            UnknownNameError: there is none of this name. MissingFieldError: it needs a number that was not given.
        """
        found = self.metrics.get(self.aliases.get(name, name))
        if found is None:
            raise UnknownNameError(f"metric of {self.name}", name, [*self.metrics, *self.aliases])
        if found.expression is None:
            assert found.unavailable is not None
            raise found.unavailable
        return found.expression

    def checked_metric(self, name: str, replaces: bool) -> None:
        """Refuse a name that a metric has already, unless it is to be replaced.

        Raises:
            InputError: there is a metric of this name, or something else is called so.
        """
        if name in self.aliases:
            raise InputError(f"is another name of {self.aliases[name]!r}", path=name, hint="use a name of its own")
        if name in self.metrics and not replaces:
            raise InputError("there is a metric of this name already", path=name,
                             hint="use a name of its own, or replaces=True to put it in its place")  # fmt: skip

    def names(self) -> Mapping[str, Expression]:
        """Return what texts may refer to: decisions, metrics and their aliases."""
        return _Names(self)


class _Names(Mapping[str, Expression]):
    """Names that texts may use. A metric that lacks a number raises its own error when it is looked up."""

    def __init__(self, of: Named) -> None:
        self._of = of

    def __getitem__(self, name: str) -> Expression:
        real = self._of.aliases.get(name, name)
        if real in self._of.metrics and (self._of.metrics_first or real not in self._of.decisions):
            return self._of.metric(real)
        return self._of.decisions[real].choice

    def __contains__(self, name: object) -> bool:
        real = self._of.aliases.get(str(name), str(name))
        return real in self._of.decisions or real in self._of.metrics

    def __iter__(self) -> Iterator[str]:
        return iter([*self._of.decisions, *self._of.metrics, *self._of.aliases])

    def __len__(self) -> int:
        return len(self._of.decisions) + len(self._of.metrics) + len(self._of.aliases)


@dataclass
class Problem(Named):
    """A decision problem: declared once, solved by any backend.

    Attributes:
        name, item: the formulation's name and what is being designed.
        values: the number bound to every symbol, in base units.
        decisions, metrics, constraints: by name, in order of declaration.
        default_objective: the name used when none is given.
        assumptions: defaults that decide the answer, shown with it. levers: givens that could be changed when nothing
            is feasible. aliases: other names of decisions and metrics. request: what was asked, as JSON data.
        allowed: for some decisions, the value or values that the user allows; `choose` keeps to them.
    """

    name: str
    item: str = "design"
    values: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    constraints: list[Constraint] = field(default_factory=list)
    default_objective: str | None = None
    assumptions: dict[str, str] = field(default_factory=dict)
    levers: list[Lever] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    allowed: Mapping[str, Any] = field(default_factory=dict)

    # declaring --------------------------------------------------------------------------------------------------------
    def choose(self, name: str, values: Iterable[Any], *, about: str = "", limited: str | None = None) -> Choice:
        """Declare a decision and return its choice."""
        if name in self.decisions:
            raise InputError("is declared twice", path=name)
        options = list(values)
        given = next((given for key, given in self.allowed.items() if self.aliases.get(key, key) == name), None)
        if given is not None:
            options = among(name, given, options)
        choice = Choice(name, options)
        self.decisions[name] = Decision(choice, about, limited)
        return choice

    def require(
        self, name: str, holds: Any, *, structural: bool = False, given_by_user: bool = False, lawful: bool = False
    ) -> None:
        """Declare a constraint."""
        self.constraints.append(Constraint(name, holds, structural, given_by_user, lawful))

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
        """Declare a metric: an expression, or a function making one whose failure is kept until it is asked for.

        Args:
            replaces: whether it stands for a metric of this name that there is already.
        Raises:
            InputError: there is one, and it is not replaced.
        """
        self.checked_metric(name, replaces)
        try:
            made = value() if callable(value) else value
        except MlsysimError as error:
            self.metrics[name] = Metric(name, None, unit, about, error, part_of)
            return
        self.metrics[name] = Metric(name, made, unit, about, part_of=part_of)

    # asking -----------------------------------------------------------------------------------------------------------
    @property
    def choices(self) -> list[Choice]:
        return [decision.choice for decision in self.decisions.values()]

    @property
    def combinations(self) -> int:
        """How many combinations of decisions there are, feasible or not."""
        return math.prod(len(choice.values) for choice in self.choices)

    def with_constraints(self, extra: Sequence[Constraint]) -> Problem:
        """Return the same problem with more constraints."""
        return replace(self, constraints=[*self.constraints, *extra])

    def _decision_names(self) -> list[str]:
        return [*self.decisions, *(name for name, real in self.aliases.items() if real in self.decisions)]

    def untried(self, design: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a design gives to decisions that is none of their values."""
        found: dict[str, Any] = {}
        for name, value in design.items():
            real = self.aliases.get(name, name)
            if real in self.decisions and isinstance(value, str | int | float):
                found |= {} if value in self.decisions[real].choice.position else {real: value}
        return found

    def fixed(self, design: Mapping[str, Any]) -> dict[Choice, int]:
        """Return the position of each given value in its choice.

        Raises:
            UnknownNameError: a decision is not known, or does not have this value.
        """
        chosen: dict[Choice, int] = {}
        for name, value in design.items():
            real = self.aliases.get(name, name)
            if real not in self.decisions:
                raise UnknownNameError(f"decision of {self.name}", name, self._decision_names())
            choice = self.decisions[real].choice
            if choice in chosen:
                raise InputError("is given twice", path=real)
            if isinstance(value, bool):
                value = int(value)
            if not isinstance(value, str | int | float):
                raise InputError(f"expected one value, got {value!r}", path=real)
            if value not in choice.position:
                shown = ", ".join(str(item) for item in choice.values[:20])
                shown += " ..." if len(choice.values) > 20 else ""
                raise InputError(
                    f"{value!r} is not a value of {real}",
                    path=real,
                    hint=f"values: {shown}; others break a rule of the problem, such as dividing the accelerators, or "
                    "are tried only where choices=... names them",
                )
            chosen[choice] = choice.position[value]
        return chosen


def among(name: str, given: Any, options: list[Any]) -> list[Any]:
    """Return the options that a user allows, in their own order."""
    several = [given] if isinstance(given, str | int | float) else list(given)
    for value in several:
        if value not in options:
            raise UnknownNameError(
                f"value of {name}", str(value), [str(item) for item in options], path=f"choices.{name}"
            )
    return [item for item in options if item in several]
