"""Predictions beside measurements: errors per row, per group and overall.

All errors are shares of the measured value (0.1 is 10 percent). Rows that carry flags are predicted and shown, but not
scored; rows without a prediction are counted by the reason, never dropped.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlsysim_opt.registry import default_catalog
from mlsysim_opt.validation.rows import Row, Unmodelled

WORST = 10


@dataclass(frozen=True)
class Prediction:
    """What a model says about one measured value of a row.

    Attributes:
        value, measured: predicted and measured, in `unit`.
        parts: how the prediction divides (compute, bandwidth, communication, overhead), in the same unit or as shares.
        target: which value of the row it is, where a row has several (``ttft``, ``tpot``).
        group: the group it is reported under, where that is not the row's.
        note: what was decided for the row that it leaves open.
    """

    value: float
    unit: str
    measured: float
    parts: Mapping[str, float] = field(default_factory=dict)
    target: str = ""
    group: str = ""
    note: str = ""

    @property
    def error(self) -> float:
        """The signed relative error: positive where the prediction is too large."""
        return self.value / self.measured - 1


@dataclass(frozen=True)
class Outcome:
    """A row with its prediction, or with the reason why there is none."""

    row: Row
    answer: Prediction | Unmodelled

    @property
    def group(self) -> str:
        """The group it is reported under."""
        said = self.answer.group if isinstance(self.answer, Prediction) else ""
        return said or self.row.group

    @property
    def scored(self) -> bool:
        """Whether it counts in the errors: it has a prediction, and the row no flags."""
        return isinstance(self.answer, Prediction) and not self.row.flags

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON data."""
        base: dict[str, Any] = {"id": self.row.id, "group": self.group}
        if self.row.flags:
            base["flags"] = list(self.row.flags)
        if isinstance(self.answer, Unmodelled):
            return {**base, "scored": False, "reason": self.answer.reason}
        found = self.answer
        return {
            **base, "scored": self.scored, "target": found.target, "unit": found.unit, "measured": found.measured,
            "predicted": found.value, "error": found.error, "ape": abs(found.error), "parts": dict(found.parts),
            **({"note": found.note} if found.note else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Errors of a set of outcomes.

    Attributes:
        rows: rows in the set. modelled: rows with a prediction. flagged: rows not scored because of their flags.
        scored: predictions that count. median_ape, mean_ape, p90_ape: absolute errors. bias: mean signed error.
        unmodelled: rows without a prediction, by reason.
    """

    rows: int
    modelled: int
    flagged: int
    scored: int
    median_ape: float | None
    mean_ape: float | None
    p90_ape: float | None
    bias: float | None
    unmodelled: Mapping[str, int]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Summary:
        """Return the summary of some outcomes."""
        rows = {item.row.id: item.row for item in outcomes}
        modelled = {item.row.id for item in outcomes if isinstance(item.answer, Prediction)}
        errors = [item.answer.error for item in outcomes if item.scored and isinstance(item.answer, Prediction)]
        sizes = [abs(item) for item in errors]
        reasons = Counter(item.answer.reason for item in outcomes if isinstance(item.answer, Unmodelled))
        return cls(
            rows=len(rows),
            modelled=len(modelled),
            flagged=sum(1 for row in rows.values() if row.flags),
            scored=len(errors),
            median_ape=statistics.median(sizes) if sizes else None,
            mean_ape=statistics.fmean(sizes) if sizes else None,
            p90_ape=quantile(sizes, 0.9) if sizes else None,
            bias=statistics.fmean(errors) if errors else None,
            unmodelled=dict(reasons.most_common()),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON data."""
        return {name: getattr(self, name) for name in type(self).__dataclass_fields__}


@dataclass(frozen=True)
class Report:
    """The outcomes of the rows of a file."""

    outcomes: tuple[Outcome, ...]

    @property
    def overall(self) -> Summary:
        """All rows together."""
        return Summary.of(self.outcomes)

    @property
    def groups(self) -> dict[str, Summary]:
        """Each group on its own, in the order of the file."""
        by_group: dict[str, list[Outcome]] = {}
        for item in self.outcomes:
            by_group.setdefault(item.group, []).append(item)
        return {name: Summary.of(items) for name, items in by_group.items()}

    @property
    def worst(self) -> list[Outcome]:
        """The scored outcomes with the largest errors, worst first."""
        scored = [item for item in self.outcomes if item.scored]
        return sorted(scored, key=lambda item: -abs(_error(item)))[:WORST]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {
            "overall": self.overall.as_dict(),
            "groups": {name: summary.as_dict() for name, summary in self.groups.items()},
            "rows": [item.as_dict() for item in self.outcomes],
            "worst": [item.row.id for item in self.worst],
            "fitted_parameters": len(fitted_parameters()),
            "parameters_from_tables": len(tabulated_parameters()),
            "errors_are": "shares of the measured value: 0.1 is 10 percent",
        }


def _error(item: Outcome) -> float:
    return item.answer.error if isinstance(item.answer, Prediction) else 0.0


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value below which this share of the values lies, interpolated between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


TABLES = (
    "collective tables", "table of hardware latencies", "table of base latencies", "network benchmarks",
    "achievable matmul", "maxtext and mlperf", "palm (",
)  # fmt: skip
"""Words in the titles of sources that are tables of measurements: of links, of matrix products, of whole runs."""


def fitted_parameters() -> dict[str, float]:
    """Return every fitted constant of the catalog (calibration, scheduler), as ``entry.name``.

    A value counts where its source is a fit. One that was fitted once and stands at all generations with the same
    value and reason counts once, under the first generation.
    """
    return _parameters_from(lambda title: title.startswith("fit on"))


def tabulated_parameters() -> dict[str, float]:
    """Return every constant of the catalog that was read off a table of measurements, counted as the fitted ones.

    Nothing was fitted to find them, but a row of such a table that is predicted with them tests no more than a row of
    a fit does: efficiencies and latencies of links stand at the collective tables of `collectives.csv`.
    """
    return _parameters_from(lambda title: any(word in title for word in TABLES))


def _parameters_from(wanted: Callable[[str], bool]) -> dict[str, float]:
    found: dict[str, float] = {}
    seen: set[tuple[str, float, str | None]] = set()
    catalog = default_catalog()
    for entry in (*catalog.all("calibration"), *catalog.all("scheduler")):
        for name, datum in entry.parameters().items():
            if datum.source is None or not wanted(datum.source.title.lower()):
                continue
            shared = (name, datum.si, datum.estimated)
            if shared not in seen:
                seen.add(shared)
                found[f"{entry.name}.{name}"] = datum.si
    return found
