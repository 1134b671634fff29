"""What optimizing a plan returns: its amounts, their proof, what is scarce, and what would change it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize.solution import Answered, Certificate, Metrics, Value, robustness_of

if TYPE_CHECKING:
    from mlsysim_opt.optimize.coupled.task import CoupledTask
    from mlsysim_opt.optimize.scenarios import Robustness

SCHEMA = 1


@dataclass(frozen=True)
class PlanSlack:
    """How much room a relation leaves.

    Attributes:
        name: the relation. slack: at its tightest place; None where nothing is limited. place: that place.
        estimate: by how much the objective would fall for one more unit of the limit, were amounts divisible: the dual
            of the relaxation summed over the places, an estimate only.
    """

    name: str
    slack: Value | None
    place: str
    given_by_user: bool = False
    estimate: Value | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "constraint": self.name,
            "slack": self.slack.as_dict() if self.slack else None,
            "place": self.place,
            "given_by_user": self.given_by_user,
            "relaxation_dual_estimate": self.estimate.as_dict() if self.estimate else None,
        }


@dataclass
class PlanSolution(Answered):
    """The answer to one coupled problem.

    Attributes:
        status: ``optimal`` (proven, within the gap asked for) or ``feasible`` (a limit was reached; see `gap`).
        objective_name, objective: what was asked and its value. bound, gap: no plan is better than the bound.
        amounts: for each family, what is not zero: the values of its choices and the amount.
        metrics: every metric that could be computed. constraints: relations with their slack.
        undefined: how many tuples of each family were left out because a number they need does not exist.
        robustness: what the answer to several scenarios costs; None where there was one.
    """

    status: str
    problem: str
    objective_name: str
    sense: str
    objective: Value
    bound: Value | None
    gap: float | None
    amounts: dict[str, list[dict[str, Any]]]
    metrics: Metrics
    constraints: list[PlanSlack]
    certificate: Certificate
    undefined: dict[str, int]
    assumptions: dict[str, str]
    backend: str
    seconds: float
    request: dict[str, Any] = field(default_factory=dict)
    robustness: Robustness | None = None
    task: CoupledTask | None = field(default=None, repr=False, compare=False)

    @property
    def design(self) -> dict[str, list[dict[str, Any]]]:
        """The amounts, under the name that designs of one item have."""
        return self.amounts

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: the compiled task stays here, and is made again from the request."""
        return {**self.__dict__, "task": None}

    def where(self, family: str, **values: Any) -> list[dict[str, Any]]:
        """Return the amounts of a family at some values of its choices: ``where("servers", region="Iowa")``.

        Raises:
            UnknownNameError: there is no such family, or it has no such choice.
        """
        if family not in self.amounts:
            raise UnknownNameError(f"amounts of {self.problem}", family, self.amounts)
        known = dict.fromkeys(name for row in self.amounts[family] for name in row)
        for name in values:
            if known and name not in known:
                raise UnknownNameError(f"choice of {family}", name, known)
        return [row for row in self.amounts[family] if all(row.get(name) == value for name, value in values.items())]

    # storing ----------------------------------------------------------------------------------------------------------
    def as_dict(self) -> dict[str, Any]:
        """Return the solution as strict JSON data."""
        return {
            "schema": SCHEMA,
            "kind": "plan",
            "status": self.status,
            "problem": self.problem,
            "objective": {"name": self.objective_name, "sense": self.sense, **self.objective.as_dict()},
            "bound": self.bound.value if self.bound else None,
            "gap": self.gap,
            "amounts": self.amounts,
            "metrics": {name: value.as_dict() for name, value in self.metrics.values_with_units.items()},
            "constraints": [item.as_dict() for item in self.constraints],
            "undefined": self.undefined,
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
    def from_json(cls, text: str) -> PlanSolution:
        """Return the solution a JSON text describes.

        Raises:
            InputError: the text is not a solution of this schema.
        """
        try:
            return cls._from_dict(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is not a plan written by this version: {error}", path="solution") from error

    @classmethod
    def _from_dict(cls, data: Mapping[str, Any]) -> PlanSolution:
        if data["schema"] != SCHEMA or data["kind"] != "plan":
            raise ValueError(f"schema {data['schema']} of a {data.get('kind', 'design')}, expected {SCHEMA} of a plan")
        objective = data["objective"]
        unit = objective["unit"] or ""

        def value(item: Mapping[str, Any] | None) -> Value | None:
            return None if item is None else Value(item["value"], item["unit"] or "")

        return cls(
            status=data["status"],
            problem=data["problem"],
            objective_name=objective["name"],
            sense=objective["sense"],
            objective=Value(objective["value"], unit),
            bound=None if data["bound"] is None else Value(data["bound"], unit),
            gap=data["gap"],
            amounts=data["amounts"],
            metrics=Metrics({name: Value(item["value"], item["unit"] or "") for name, item in data["metrics"].items()}),
            constraints=[
                PlanSlack(
                    item["constraint"],
                    value(item["slack"]),
                    item["place"],
                    item["given_by_user"],
                    value(item["relaxation_dual_estimate"]),
                )
                for item in data["constraints"]
            ],
            certificate=Certificate(**data["certificate"]),
            undefined=data["undefined"],
            assumptions=data["assumptions"],
            backend=data["backend"],
            seconds=data["seconds"],
            request=data["request"],
            robustness=robustness_of(data.get("robustness")),
        )

    # asking -----------------------------------------------------------------------------------------------------------
    def _task(self) -> CoupledTask:
        if self.task is None:
            from mlsysim_opt.optimize.coupled.task import CoupledTask

            self.task = CoupledTask.from_request(self.request)
        return self.task

    def verify(self) -> dict[str, Any]:
        """Re-evaluate the plan by the independent scalar path.

        Returns:
            the re-computed objective, the largest relative deviation, and how much was checked.
        Raises:
            VerificationError: something disagrees.
        """
        from mlsysim_opt.optimize.coupled.run import verify

        return verify(self._task(), self)

    def what_if(
        self,
        *,
        constraints: Sequence[Any] = (),
        without: Sequence[str] = (),
        objective: Any = None,
        choices: dict[str, Any] | None = None,
        time_limit: float | None = None,
        **given: Any,
    ) -> PlanSolution:
        """Return the answer to the same question with some of it changed.

        Args:
            constraints: to be added. without: constraints of the question, by their words, to be left out.
            objective: another one. choices, given: of the formulation, in place of what was given.
        Raises:
            InfeasibleError, InputError: as `optimize`.
        """
        from mlsysim_opt.optimize.coupled.run import solve_coupled
        from mlsysim_opt.optimize.marginal import asked_otherwise

        asked: Any = asked_otherwise(
            self._task(), constraints=constraints, without=without, objective=objective, choices=choices, given=given
        )
        return solve_coupled(asked, start=self, time_limit=time_limit)

    def moves(self, other: PlanSolution) -> list[str]:
        """Return what changes from this plan to another one, in words."""
        from mlsysim_opt.optimize.coupled.moves import plan_moves

        return plan_moves(self, other)

    # showing ----------------------------------------------------------------------------------------------------------
    def __str__(self) -> str:
        gap = "unknown" if self.gap is None else f"{self.gap:.2g}"
        lines = [f"{self.status}: {self.objective_name} = {self.objective} (gap {gap})"]
        for name, rows in self.amounts.items():
            lines += amount_lines(name, rows)
        lines += [f"{name} = {value}" for name, value in self.metrics.values_with_units.items()]
        lines.append(f"proof: {self.certificate.proof} [{self.certificate.solver}]")
        for item in self.constraints:
            if item.slack is not None:
                at = f" at {item.place}" if item.place else ""
                lines.append(f"room: {item.name}: {item.slack}{at}")
        lines += [str(self.robustness)] if self.robustness else []
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


SHOWN = 24
"""Amounts of one family that texts show."""


def amount_lines(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the amounts of a family as lines of text."""
    lines = [f"{name}:"]
    for row in rows[:SHOWN]:
        where = ", ".join(f"{key}={value}" for key, value in row.items() if key not in ("amount", "unit"))
        amount = row["amount"]
        told = f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6g}"
        lines.append(f"  {where}: {told} {row.get('unit', '')}".rstrip())
    if len(rows) > SHOWN:
        lines.append(f"  ... and {len(rows) - SHOWN:,} more")
    return lines
