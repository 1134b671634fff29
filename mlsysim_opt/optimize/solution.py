"""What an optimization returns: the design, its proof, what binds, and what would change it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.units import parse_unit, quantity

if TYPE_CHECKING:
    from mlsysim_opt.optimize.marginal import Marginal
    from mlsysim_opt.optimize.run import Task
    from mlsysim_opt.optimize.scenarios import Robustness
    from mlsysim_opt.optimize.sensitivity import OptimumSensitivity
    from mlsysim_opt.physics.inverse_answer import SolvedFor

SCHEMA = 1


@dataclass(frozen=True)
class Value:
    """A number in the unit it is shown in; the unit is empty for plain numbers."""

    value: float | None
    unit: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"value": self.value, "unit": self.unit or None}

    @property
    def quantity(self) -> Any:
        """The number as users calculate with it: a pint quantity, or a float where there is no unit."""
        if not self.unit or self.value is None:
            return self.value
        unit = parse_unit(self.unit)
        return quantity(self.value * unit.factor, unit)

    @property
    def si(self) -> float:
        """The number in base units; NaN where it is undefined."""
        if self.value is None:
            return math.nan
        return self.value * (parse_unit(self.unit).factor if self.unit else 1.0)

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        magnitude = abs(self.value)
        text = f"{self.value:,.0f}" if magnitude >= 1e5 else f"{self.value:.6g}"
        return f"{text} {self.unit}".strip()


class Metrics(Mapping[str, Any]):
    """The metrics of a design by name, each a quantity (or float)."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values_with_units = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self.values_with_units[name].quantity

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_with_units)

    def __len__(self) -> int:
        return len(self.values_with_units)

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {value}" for name, value in self.values_with_units.items())


@dataclass(frozen=True)
class Runner:
    """Another design with its objective and how much worse it is, relatively; infinite if the best is zero."""

    design: dict[str, Any]
    objective: Value
    worse_by: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data, in which only finite numbers can stand."""
        worse = self.worse_by if math.isfinite(self.worse_by) else None
        return {"design": self.design, "objective": self.objective.as_dict(), "worse_by": worse}


@dataclass(frozen=True)
class Slack:
    """How far a design is from a constraint, and what giving way would bring.

    Attributes:
        name: the constraint. slack: right side minus left side; None where it is not an inequality.
        binding: whether a better design violates only this constraint.
        gain: for a binding one, the best objective without it, and that design.
        relax_by: the smallest change of the constraint that brings any gain.
    """

    name: str
    slack: Value | None
    binding: bool
    gain: Runner | None = None
    relax_by: Value | None = None
    given_by_user: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "constraint": self.name,
            "slack": self.slack.as_dict() if self.slack else None,
            "binding": self.binding,
            "without_it": self.gain.as_dict() if self.gain else None,
            "relax_by": self.relax_by.as_dict() if self.relax_by else None,
            "given_by_user": self.given_by_user,
        }


@dataclass(frozen=True)
class Relaxation:
    """A smallest change that makes a problem feasible, in the user's words."""

    constraint: str
    change: str
    amount: Value | None
    design: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "constraint": self.constraint,
            "change": self.change,
            "amount": self.amount.as_dict() if self.amount else None,
            "design": self.design,
        }

    def __str__(self) -> str:
        return self.change


@dataclass(frozen=True)
class Certificate:
    """Why the answer is to be believed.

    Attributes:
        proof: how optimality is known, in a sentence. kind: enumeration, or solver bound.
        solver: name and version. combinations: of all decisions. details: counts.
        rechecked: what the independent scalar evaluation found: its objective, the largest relative deviation, whether
            every constraint holds.
    """

    kind: str
    proof: str
    solver: str
    combinations: int
    details: dict[str, Any]
    rechecked: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "kind": self.kind,
            "proof": self.proof,
            "solver": self.solver,
            "combinations": self.combinations,
            "details": self.details,
            "rechecked": self.rechecked,
        }


class Answered:
    """An answer that knows its question, and can be asked what a limit costs."""

    def _task(self) -> Any:
        """Return the question."""
        raise NotImplementedError

    def marginal(
        self, constraint: Any, limits: Sequence[Any] | None = None, *, time_limit: float | None = None
    ) -> Marginal:
        """Return what a limit costs, by solving the same question exactly under other limits.

        Args:
            constraint: such as ``"carbon <= 100 tCO2e"``; one of the question, or a new one.
            limits: such as ``[100, 90, 80]`` or a range, in the unit that the constraint is written in, or with units;
                when None, the limit as it is and the next exact point beyond it.
            time_limit: seconds for each.
        Returns:
            a `Marginal`, readable as text: objective, what is reached, cost and secant of each step.
        """
        from mlsysim_opt.optimize.marginal import marginal

        return marginal(self._task(), constraint, limits, time_limit)


@dataclass
class Solution(Answered):
    """The answer to one problem.

    Attributes:
        status: ``optimal`` (proven) or ``feasible`` (a limit was reached; see `gap`).
        objective_name, objective: what was asked and its value. bound, gap: no design is better than the bound.
        design: the chosen value of each decision. metrics: every metric that could be computed.
        binding: constraints with their slack. runner_ups: next best designs. ties: designs as good as this one.
        elasticities: percent change of the objective for one percent of each number, while the design stays.
        limits: decisions at the end of a search box that was cut short. excluded: why some designs are undefined.
        robustness: what the answer to several scenarios costs; None where there was one.
    """

    status: str
    problem: str
    objective_name: str
    sense: str
    objective: Value
    bound: Value | None
    gap: float | None
    design: dict[str, Any]
    metrics: Metrics
    constraints: list[Slack]
    certificate: Certificate
    runner_ups: list[Runner]
    ties: list[Runner]
    tie_count: int
    elasticities: dict[str, float]
    limits: list[str]
    excluded: dict[str, str]
    assumptions: dict[str, str]
    backend: str
    seconds: float
    request: dict[str, Any] = field(default_factory=dict)
    robustness: Robustness | None = None
    task: Task | None = field(default=None, repr=False, compare=False)

    @property
    def binding(self) -> list[Slack]:
        """The constraints that a better design would violate."""
        return [item for item in self.constraints if item.binding]

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: the compiled task stays here, and is made again from the request."""
        return {**self.__dict__, "task": None}

    # storing ----------------------------------------------------------------------------------------------------------
    def as_dict(self) -> dict[str, Any]:
        """Return the solution as strict JSON data."""
        return {
            "schema": SCHEMA,
            "status": self.status,
            "problem": self.problem,
            "objective": {"name": self.objective_name, "sense": self.sense, **self.objective.as_dict()},
            "bound": self.bound.value if self.bound else None,
            "gap": self.gap,
            "design": self.design,
            "metrics": {name: value.as_dict() for name, value in self.metrics.values_with_units.items()},
            "binding": [item.as_dict() for item in self.binding],
            "constraints": [item.as_dict() for item in self.constraints],
            "runner_ups": [item.as_dict() for item in self.runner_ups],
            "ties": [item.as_dict() for item in self.ties],
            "tie_count": self.tie_count,
            "elasticities": self.elasticities,
            "limits": self.limits,
            "excluded": self.excluded,
            "assumptions": self.assumptions,
            "certificate": self.certificate.as_dict(),
            "backend": self.backend,
            "seconds": self.seconds,
            "request": self.request,
            "robustness": self.robustness.as_dict() if self.robustness else None,
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return the solution as JSON text, from which `from_json` makes an equal one."""
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Solution:
        """Return the solution a JSON text describes.

        Raises:
            InputError: the text is not a solution of this schema.
        """
        try:
            data = json.loads(text)
            return cls._from_dict(data)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"this is not a solution written by this version: {error}", path="solution") from error

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> Solution:
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}, expected {SCHEMA}")
        objective = data["objective"]
        unit = objective["unit"] or ""
        return cls(
            status=data["status"],
            problem=data["problem"],
            objective_name=objective["name"],
            sense=objective["sense"],
            objective=Value(objective["value"], unit),
            bound=None if data["bound"] is None else Value(data["bound"], unit),
            gap=data["gap"],
            design=data["design"],
            metrics=Metrics({name: _value(item) for name, item in data["metrics"].items()}),
            constraints=[_slack(item) for item in data["constraints"]],
            certificate=Certificate(**data["certificate"]),
            runner_ups=[_runner(item) for item in data["runner_ups"]],
            ties=[_runner(item) for item in data["ties"]],
            tie_count=data["tie_count"],
            elasticities=data["elasticities"],
            limits=data["limits"],
            excluded=data["excluded"],
            assumptions=data["assumptions"],
            backend=data["backend"],
            seconds=data["seconds"],
            request=data["request"],
            robustness=robustness_of(data.get("robustness")),
        )

    # asking -----------------------------------------------------------------------------------------------------------
    def _task(self) -> Task:
        if self.task is None:
            from mlsysim_opt.optimize.run import Task

            self.task = Task.from_request(self.request)
        return self.task

    def verify(self, samples: int = 200) -> dict[str, Any]:
        """Re-evaluate the answer by the independent scalar path, and challenge its bound with other designs.

        Args:
            samples: random designs of the space that are tried against the bound, besides the runner-ups.
        Returns:
            the re-computed objective, the largest relative deviation, constraints that fail, and how many designs were
            tried without one that beats the bound.
        Raises:
            VerificationError: something disagrees.
        """
        from mlsysim_opt.optimize.verify import verify

        return verify(self._task(), self, samples)

    def why_not(self, **design: Any) -> Any:
        """Say why a design was not chosen: what rejects it and by how much, or how much worse it is.

        Args:
            design: values of some decisions; the others are chosen as well as possible.
        Returns:
            a `WhyNot`, readable as text.
        """
        from mlsysim_opt.optimize.explain import why_not

        return why_not(self._task(), self, design)

    def sensitivity(self, numbers: Sequence[str] | None = None, *, reach: float = 4.0) -> OptimumSensitivity:
        """Return what the optimum answers to: elasticities of the best objective, and how far the design stays optimal.

        One number is changed at a time: prices, rates, efficiencies, by the path of their leaf. Where several
        accelerators are to choose among, their numbers stand in tables and are not among them.

        Args:
            numbers: the numbers to look at; all continuous ones of objective and constraints when absent.
            reach: how many times as large, and as small, they are made at most.
        Returns:
            an `OptimumSensitivity`, readable as text.
        Raises:
            UnknownNameError: there is no such number. InputError: the solution is not proven to be optimal.
        """
        from mlsysim_opt.optimize.sensitivity import sensitivity

        if self.status != "optimal":
            raise InputError("this design is not proven to be optimal", path="status", hint="raise the time limit")
        return sensitivity(self._task(), self.design, numbers, reach)

    def solve_for(
        self, target: str, value: Any = None, *, unknown: str, box: tuple[Any, Any] | None = None
    ) -> SolvedFor:
        """Return what one number of the problem must be for a metric of this design to be a value, at most or at least.

        The design stays as it is: another one might be better then (see `sensitivity` for how far this one stays the
        best).

        Args:
            target: name of a metric, or all in one: ``"step_time <= 5 s"``. value: what it should be, with its unit;
                ``"<= 5 s"`` for at most.
            unknown: a number by the path of its leaf (``fleet.fabric.bandwidth``). box: where to look.
        Raises:
            NotInvertibleError: no value gives the target. UnknownNameError: there is no such metric or number.
        """
        from mlsysim_opt.algebra.expression import symbols
        from mlsysim_opt.physics.inverse import answered, asked
        from mlsysim_opt.physics.inverse_equation import InverseEquation

        name, relation, wanted = asked(target, value)
        problem = self._task().problem
        root = problem.metric(name)
        leaves = {leaf.name: leaf for leaf in symbols(root)}
        if unknown not in leaves:
            raise UnknownNameError(f"number that {name} depends on", unknown, list(leaves))
        known = {**problem.values, **self.design}
        return answered(InverseEquation(name, root, relation, leaves[unknown], known, known.get(unknown)), wanted, box)

    def what_if(
        self,
        *,
        constraints: Sequence[Any] = (),
        without: Sequence[str] = (),
        objective: Any = None,
        choices: dict[str, Any] | None = None,
        **given: Any,
    ) -> Solution:
        """Return the answer to the same question with some of it changed.

        Args:
            constraints: to be added. without: constraints of the question, by their words, to be left out.
            objective: another one. choices, given: of the formulation, in place of what was given.
        Raises:
            InfeasibleError, InputError: as `optimize`.
        """
        from mlsysim_opt.optimize.marginal import asked_otherwise
        from mlsysim_opt.optimize.run import solve

        asked: Any = asked_otherwise(
            self._task(), constraints=constraints, without=without, objective=objective, choices=choices, given=given
        )
        return solve(asked)

    # showing ----------------------------------------------------------------------------------------------------------
    def __str__(self) -> str:
        from mlsysim_opt.optimize.report import solution_text

        return solution_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def robustness_of(data: Mapping[str, Any] | None) -> Robustness | None:
    """Return what a stored robust answer costs; None of another one."""
    from mlsysim_opt.optimize.scenarios import Robustness

    return Robustness.from_dict(data)


def relative(value: float, reference: float) -> float:
    """Return how far a value is from a reference, relative to the reference."""
    if value == reference:
        return 0.0
    return (value - reference) / abs(reference) if reference else math.copysign(math.inf, value)


def _value(item: dict[str, Any] | None) -> Value:
    assert item is not None
    return Value(item["value"], item["unit"] or "")


def _runner(item: dict[str, Any]) -> Runner:
    worse = math.nan if item["worse_by"] is None else item["worse_by"]
    return Runner(item["design"], _value(item["objective"]), worse)


def _slack(item: dict[str, Any]) -> Slack:
    return Slack(
        item["constraint"],
        _value(item["slack"]) if item["slack"] else None,
        item["binding"],
        _runner(item["without_it"]) if item["without_it"] else None,
        _value(item["relax_by"]) if item["relax_by"] else None,
        item["given_by_user"],
    )
