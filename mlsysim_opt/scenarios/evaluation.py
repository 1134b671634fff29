"""The scorecard of a scenario: three levels of checks, each with its reason.

A level that has nothing to check, or that cannot be judged, is SKIPPED, which never counts as passed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.units import NONE, Dimension, readable_unit, show

if TYPE_CHECKING:
    from mlsysim_opt.registry.scenario import ScenarioEntry


class Status(StrEnum):
    """What a check, a level or a scenario came to."""

    PASS = "PASS"
    WARNING = "WARNING"
    FAIL = "FAIL"
    SKIPPED = "SKIPPED"


LEVELS = ("feasibility", "performance", "macro")


@dataclass(frozen=True)
class Amount:
    """A number in base units with its dimension."""

    si: float
    dimension: Dimension = NONE

    def __str__(self) -> str:
        return show(self.si, self.dimension)

    def as_dict(self) -> dict[str, Any]:
        """Return value and unit as they are read most easily."""
        unit = readable_unit(self.si, self.dimension)
        return {"value": self.si / unit.factor, "unit": unit.text}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what. status: what it came to. reason: why, in words.
        value, limit: what it is, and what was promised, where both are numbers.
        asked: whether the scenario asks for it, so that it must not stay open.
        error: what `Scenario.validate` raises for it, where it is not fulfilled.
    """

    name: str
    status: Status
    reason: str
    value: Amount | None = None
    limit: Amount | None = None
    asked: bool = True
    error: MlsysimError | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON data."""
        return {
            "name": self.name,
            "status": self.status.value,
            "reason": self.reason,
            "value": self.value.as_dict() if self.value else None,
            "limit": self.limit.as_dict() if self.limit else None,
        }


@dataclass(frozen=True)
class Level:
    """The checks of one level, and the numbers behind them."""

    name: str
    checks: tuple[Check, ...]
    metrics: Mapping[str, Amount | str]
    nothing: str = "nothing was promised"

    @property
    def status(self) -> Status:
        """FAIL if one check fails; else SKIPPED if there is none, or one that was asked for stays open."""
        found = {check.status for check in self.checks}
        if Status.FAIL in found:
            return Status.FAIL
        if not self.checks or Status.SKIPPED in found:
            return Status.SKIPPED
        return Status.WARNING if Status.WARNING in found else Status.PASS

    @property
    def passed(self) -> bool:
        """Whether all was checked and holds."""
        return self.status in (Status.PASS, Status.WARNING)

    @property
    def summary(self) -> str:
        """The reasons for the status, in one line."""
        if not self.checks:
            return self.nothing
        worst = [check for check in self.checks if check.status == self.status]
        if self.status == Status.PASS:
            return f"{len(self.checks)} of {len(self.checks)} checks hold"
        return "; ".join(f"{check.name}: {check.reason}" for check in worst)

    def as_dict(self) -> dict[str, Any]:
        """Return the level as JSON data."""
        return {
            "status": self.status.value,
            "summary": self.summary,
            "checks": [check.as_dict() for check in self.checks],
            "metrics": {
                name: item.as_dict() if isinstance(item, Amount) else item for name, item in self.metrics.items()
            },
        }


@dataclass(frozen=True)
class SystemEvaluation:
    """How a scenario fares: can it run (feasibility), fast enough (performance), at what price (macro)?

    Attributes:
        scenario: what was asked. feasibility, performance, macro: the levels.
        design: decisions that were given or found, such as `tp_size`. assumptions: defaults that decided.
    """

    scenario: ScenarioEntry
    feasibility: Level
    performance: Level
    macro: Level
    design: Mapping[str, Any]
    assumptions: Mapping[str, str]

    @property
    def levels(self) -> tuple[Level, Level, Level]:
        """All levels, in order."""
        return self.feasibility, self.performance, self.macro

    @property
    def checks(self) -> Iterable[Check]:
        """The checks of all levels."""
        return [check for level in self.levels for check in level.checks]

    @property
    def passed_all(self) -> bool:
        """Whether every level was checked and holds; one that was skipped is not passed."""
        return all(level.passed for level in self.levels)

    @property
    def failed(self) -> bool:
        """Whether something that was checked does not hold."""
        return any(level.status == Status.FAIL for level in self.levels)

    @property
    def open(self) -> tuple[Check, ...]:
        """The promises that could not be judged."""
        return tuple(check for check in self.checks if check.status == Status.SKIPPED)

    @property
    def verdict(self) -> Status:
        """FAIL if something fails; SKIPPED if a promise stays open or none was made; else WARNING or PASS."""
        if self.failed:
            return Status.FAIL
        asked = [level.status for level in self.levels if level.checks]
        promised = any(level.checks for level in self.levels[1:])
        if Status.SKIPPED in asked or not promised:
            return Status.SKIPPED
        return Status.WARNING if Status.WARNING in asked else Status.PASS

    def metric(self, name: str) -> Amount:
        """Return a number of the scorecard by name, whatever its level.

        Raises:
            KeyError: there is none.
        """
        for level in self.levels:
            found = level.metrics.get(name)
            if isinstance(found, Amount):
                return found
        raise KeyError(name)

    def scorecard(self) -> str:
        """Return the scorecard as text."""
        from mlsysim_opt.scenarios.scorecard import as_text

        return as_text(self)

    __str__ = scorecard

    def to_dict(self) -> dict[str, Any]:
        """Return the scorecard as JSON data; `levels`, `design`, `assumptions`, and what they come to."""
        scenario = self.scenario
        return {
            "scenario": scenario.name,
            "title": scenario.title,
            "task": scenario.job,
            "workload": scenario.workload.name,
            "system": scenario.system.name,
            "verdict": self.verdict.value,
            "passed_all": self.passed_all,
            "levels": {level.name: level.as_dict() for level in self.levels},
            "design": dict(self.design),
            "assumptions": dict(self.assumptions),
        }

    def to_json(self) -> str:
        """Return the same as JSON text; what is not finite is null."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False)

    def to_html(self) -> str:
        """Return the scorecard as one HTML page that needs nothing else."""
        from mlsysim_opt.scenarios.scorecard import as_html

        return as_html(self)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if abs(data) < float("inf") else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(item) for item in data] if isinstance(data, list | tuple) else data
