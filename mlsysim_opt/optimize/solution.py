"""What optimizing a design returns: the design, what binds, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.answer import Answered, Value

if TYPE_CHECKING:
    from mlsysim_opt.optimize.run import Task
    from mlsysim_opt.optimize.sensitivity import OptimumSensitivity
    from mlsysim_opt.physics.inverse_answer import SolvedFor


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

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Runner:
        """Return what `as_dict` wrote."""
        worse = math.nan if data["worse_by"] is None else data["worse_by"]
        return Runner(data["design"], Value.from_dict(data["objective"]), worse)


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

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Slack:
        """Return what `as_dict` wrote."""
        return Slack(
            data["constraint"],
            Value.from_dict(data["slack"]) if data["slack"] else None,
            data["binding"],
            Runner.from_dict(data["without_it"]) if data["without_it"] else None,
            Value.from_dict(data["relax_by"]) if data["relax_by"] else None,
            data["given_by_user"],
        )


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


@dataclass(kw_only=True, repr=False)
class Solution(Answered):
    """The answer to one problem.

    Attributes, besides those of every answer (`Answered`):
        design: the chosen value of each decision. constraints: each with its slack, and what it costs if it binds.
        runner_ups: next best designs. ties: designs as good as this one.
        elasticities: percent change of the objective for one percent of each number, while the design stays.
        limits: decisions at the end of a search box that was cut short. excluded: why some designs are undefined.
    """

    design: dict[str, Any]
    constraints: list[Slack]
    runner_ups: list[Runner]
    ties: list[Runner]
    tie_count: int
    elasticities: dict[str, float]
    limits: list[str]
    excluded: dict[str, str]

    KIND: ClassVar[str] = "design"

    @property
    def binding(self) -> list[Slack]:
        """The constraints that a better design would violate."""
        return [item for item in self.constraints if item.binding]

    # storing ----------------------------------------------------------------------------------------------------------
    def _own_dict(self) -> dict[str, Any]:
        return {
            "design": self.design,
            "binding": [item.as_dict() for item in self.binding],
            "constraints": [item.as_dict() for item in self.constraints],
            "runner_ups": [item.as_dict() for item in self.runner_ups],
            "ties": [item.as_dict() for item in self.ties],
            "tie_count": self.tie_count,
            "elasticities": self.elasticities,
            "limits": self.limits,
            "excluded": self.excluded,
        }

    @staticmethod
    def _own_fields(data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "design": data["design"],
            "constraints": [Slack.from_dict(item) for item in data["constraints"]],
            "runner_ups": [Runner.from_dict(item) for item in data["runner_ups"]],
            "ties": [Runner.from_dict(item) for item in data["ties"]],
            "tie_count": data["tie_count"],
            "elasticities": data["elasticities"],
            "limits": data["limits"],
            "excluded": data["excluded"],
        }

    # asking -----------------------------------------------------------------------------------------------------------
    def _answer(self, task: Task, **settings: Any) -> Solution:
        from mlsysim_opt.optimize import refuse_for_designs, solve

        refuse_for_designs(task.problem.name, gap=settings.pop("gap"))
        return solve(task, **settings)

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

    def moves(self, other: Self) -> list[str]:
        """Return what is decided otherwise in another design, in words."""
        names = dict.fromkeys([*self.design, *other.design])
        pairs = {name: (self.design.get(name), other.design.get(name)) for name in names}
        return [f"{name} from {old} to {new}" for name, (old, new) in pairs.items() if old != new]

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
            unknown: a number by the path of its leaf (``fleet.fabric.bandwidth``), or a decision, of which every value
                is looked at that goes with the others of the design. box: where to look.
        Raises:
            NotInvertibleError: no value gives the target. UnknownNameError: there is no such metric or number.
        """
        from mlsysim_opt.optimize.inverse import of_design

        return of_design(self._task(), self.design, target, value, unknown, box)

    # showing ----------------------------------------------------------------------------------------------------------
    def __str__(self) -> str:
        design = ", ".join(f"{name}={value}" for name, value in self.design.items())
        lines = [self._headline(), f"design: {design}", self._proof()]
        for item in self.constraints:
            state = "binds" if item.binding else "holds"
            slack = f", slack {item.slack}" if item.slack else ""
            gain = f"; without it {item.gain.objective} ({-item.gain.worse_by:.2%} better)" if item.gain else ""
            relax = f"; first gain at +{item.relax_by}" if item.relax_by else ""
            lines.append(f"{state}: {item.name}{slack}{gain}{relax}")
        for runner in self.runner_ups[:5]:
            design = ", ".join(f"{name}={value}" for name, value in runner.design.items())
            lines.append(f"next: {runner.objective} (+{runner.worse_by:.3%}) {design}")
        if self.tie_count > 1:
            lines.append(f"{self.tie_count} designs tie")
        lines += [str(self.robustness)] if self.robustness else []
        return "\n".join(lines)
