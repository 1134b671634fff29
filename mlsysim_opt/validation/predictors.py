"""Which predictor answers which rows. A predictor takes a row and returns predictions, or says why there is none."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from mlsysim_opt.errors import InputError, MlsysimError, ScaleError, UnknownNameError, did_you_mean
from mlsysim_opt.validation.entries import fault_of
from mlsysim_opt.validation.report import Outcome, Prediction, Report
from mlsysim_opt.validation.rows import Row, Unmodelled, read_rows, shown

Answer: TypeAlias = "Prediction | Sequence[Prediction] | Unmodelled"
Predictor: TypeAlias = Callable[[Row], Answer]

PREDICTORS = {
    "training": "training:predict_training",
    "memory": "memory:predict_memory",
    "inference": "serving:predict_serving",
    "silicon": "serving:predict_serving",
    "energy": "energy:predict_energy",
    "reliability": "reliability:predict_reliability",
    "scaling": "scaling:predict_scaling",
    "network": "network:predict_network",
    "collectives": "network:predict_network",
}
"""The predictor of each subject, as ``module:function`` of this package; loaded when a row asks for it."""


@cache
def predictor(subject: str) -> Predictor | None:
    """Return the predictor of a subject, or None where there is none."""
    place = PREDICTORS.get(subject)
    if place is None:
        return None
    module, _, name = place.partition(":")
    try:
        loaded = importlib.import_module(f"{__package__}.{module}")
    except ModuleNotFoundError as problem:
        if problem.name != f"{__package__}.{module}":
            raise
        return None
    found: Predictor = getattr(loaded, name)
    return found


def predict(row: Row) -> list[Outcome]:
    """Return the outcomes of one row: one for each of its targets that a model predicts."""
    answer = _answer(row)
    if isinstance(answer, Unmodelled):
        return [Outcome(row, answer)]
    found = [answer] if isinstance(answer, Prediction) else list(answer)
    if not found:
        return [Outcome(row, Unmodelled("nothing that was measured is modelled"))]
    return [Outcome(row, item if _sound(item) else Unmodelled("the model gives no finite value")) for item in found]


def _sound(found: Prediction) -> bool:
    return math.isfinite(found.value) and math.isfinite(found.measured) and found.measured > 0


def _answer(row: Row) -> Answer:
    asked = predictor(row.subject)
    if asked is None:
        return Unmodelled(f"no model for rows about {row.subject!r}")
    try:
        row.check()
        return asked(row)
    except Unmodelled as reason:
        return reason
    except ScaleError:
        return Unmodelled("the numbers of the row are too large together to be counted exactly")
    except MlsysimError as problem:
        return Unmodelled(str(problem).splitlines()[0])
    except (ArithmeticError, LookupError, TypeError, ValueError) as problem:
        # A row of somebody's file that is not what its predictor takes for granted must not hide all others.
        return Unmodelled(_unreadable(row, problem))


def _unreadable(row: Row, problem: Exception) -> str:
    """Return why a row that its predictor could not digest has none, in words of the row: which inputs look wrong."""
    if isinstance(problem, ValidationError):
        return f"the row describes no system that can be: {fault_of(problem)}"
    odd = [f"{name} {shown(value)}" for name, value in row.inputs.items() if _odd(value)]
    if odd:
        return f"the row cannot be read: see {', '.join(odd)}"
    return f"the row cannot be read: its inputs ({', '.join(map(str, row.inputs))}) do not go together"


def _odd(value: object) -> bool:
    return isinstance(value, list | dict) or (isinstance(value, int | float) and value is not False and value <= 0)


def validate(path: str | Path, group: str | None = None) -> Report:
    """Predict every row of a file of published measurements.

    Args:
        path: the file, see `rows.read_rows`.
        group: only rows of this group.
    Returns:
        the report, see `report.Report`.
    Raises:
        InputError: the file is not of the form expected, or is about something that no model answers.
        UnknownNameError: it has no such group.
    """
    rows = read_rows(path)
    for subject in dict.fromkeys(row.subject for row in rows):
        if subject not in PREDICTORS:
            meant = did_you_mean(subject, PREDICTORS)
            raise InputError(
                f"rows about {subject!r}: no such subject; expected one of {', '.join(PREDICTORS)}", path=str(path),
                hint=(f"{meant} " if meant else "") + "state it as 'meta: {subject: training}' above the rows",
            )  # fmt: skip
    return report(rows, group)


def report(rows: Iterable[Row], group: str | None = None) -> Report:
    """Return the report of rows; `group` selects one, by the row's own group or the one it is reported under."""
    outcomes = [item for row in rows for item in predict(row)]
    if group is None:
        return Report(tuple(outcomes))
    chosen = tuple(item for item in outcomes if group in (item.group, item.row.group))
    if not chosen:
        known = dict.fromkeys(item.group for item in outcomes)
        if not known:
            raise InputError("holds no rows")
        raise UnknownNameError("group", group, list(known), path="--group")
    return Report(chosen)
