"""The form of answers as JSON data: one that was changed by hand is refused where it is read, not where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError


class _Form(BaseModel):
    """A part of an answer; what else stands in it is read by whoever knows it."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Number(_Form):
    value: float | None
    unit: str | None


class _Objective(_Number):
    name: str
    sense: Literal["min", "max"]


class _Answer(_Form):
    """What every answer has; see `mlsysim_opt.optimize.answer.Answered`."""

    status: str
    problem: str
    objective: _Objective
    bound: float | None
    gap: float | None
    metrics: dict[str, _Number]
    unavailable_metrics: dict[str, str] | None = None
    certificate: dict[str, Any]
    assumptions: dict[str, str]
    backend: str
    seconds: float
    request: dict[str, Any]


class _PlanSlack(_Form):
    constraint: str
    slack: _Number | None
    relaxation_dual_estimate: _Number | None


class _Row(_Form):
    amount: FiniteFloat


class _Plan(_Answer):
    """What a plan has besides; see `mlsysim_opt.optimize.coupled.solution.PlanSolution`."""

    amounts: dict[str, list[_Row]]
    constraints: list[_PlanSlack]
    undefined: dict[str, int]


class _Runner(_Form):
    design: dict[str, Any]
    objective: _Number
    worse_by: float | None


class _Slack(_Form):
    constraint: str
    slack: _Number | None
    binding: bool
    without_it: _Runner | None
    relax_by: _Number | None


class _Design(_Answer):
    """What a design has besides; see `mlsysim_opt.optimize.solution.Solution`."""

    design: dict[str, Any]
    constraints: list[_Slack]
    runner_ups: list[_Runner]
    ties: list[_Runner]
    tie_count: int
    elasticities: dict[str, float | None]
    limits: list[str]
    excluded: dict[str, str]


FORMS: Mapping[str, type[_Answer]] = {"plan": _Plan, "design": _Design}


def check_form(data: Mapping[str, Any]) -> None:
    """Refuse what is no answer of its kind.

    Raises:
        ValueError: with the first place where it is not, and what stands there.
    """
    try:
        FORMS[data["kind"]].model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(item) for item in first["loc"])
        if first["type"] == "missing":
            raise ValueError(f"it lacks {place!r}") from error
        raise ValueError(f"{place}: {first['msg'].lower()}, got {str(first['input'])[:60]}") from error
