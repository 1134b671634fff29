"""The command that measures the models against published measurements: validate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import InputError

if TYPE_CHECKING:
    from mlsysim_opt.validation.report import Outcome, Report, Summary


def validate(path: str, group: str | None) -> Answer:
    """Return the errors of all rows of a file of published measurements; exit 3 if no row could be modelled."""
    from mlsysim_opt.validation.predictors import validate as run

    found = run(path, group)
    status = 0 if found.overall.modelled else InputError.exit_code
    return Answer(found.as_dict(), lambda screen: show_report(screen, found), status)


def show_report(screen: Screen, report: Report) -> None:
    """Write the errors by group, what has no prediction, and the worst rows with their parts."""
    from mlsysim_opt.validation.report import fitted_parameters, tabulated_parameters

    overall = report.overall
    if overall.modelled:
        said = f"mean absolute error {_percent(overall.mean_ape)}"
    else:
        said = "no row is modelled, so there is no error to report; the reasons stand below"
    screen.line(f"{overall.modelled} of {overall.rows} rows modelled; {said}")
    rows = [(name, *_cells(summary)) for name, summary in report.groups.items()]
    screen.table(
        "Errors by group (shares of the measured value; flagged rows are not scored)",
        ("group", ">rows", ">modelled", ">flagged", ">median", ">mean", ">90 %", ">bias"),
        [*rows, ("all", *_cells(overall))],
    )
    screen.table("Without a prediction", (">rows", "reason"), [(n, why) for why, n in overall.unmodelled.items()])
    screen.table(
        "Worst rows", ("row", ">measured", ">predicted", "unit", ">error", "parts"), [_worst(i) for i in report.worst]
    )
    screen.line()
    screen.line(
        f"{len(fitted_parameters())} fitted parameters in the catalog's calibration, "
        f"{len(tabulated_parameters())} more taken from tables of measurements"
    )


def _cells(summary: Summary) -> tuple[str, ...]:
    errors = (summary.median_ape, summary.mean_ape, summary.p90_ape)
    return (
        str(summary.rows), str(summary.modelled), str(summary.flagged),
        *(_percent(item) for item in errors), _percent(summary.bias, signed=True),
    )  # fmt: skip


def _percent(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.1%}" if signed else f"{value:.1%}"


def _worst(item: Outcome) -> tuple[str, ...]:
    from mlsysim_opt.validation.report import Prediction

    found = item.answer
    assert isinstance(found, Prediction)
    parts = ", ".join(f"{name} {value:.3g}" for name, value in found.parts.items())
    name = item.row.id + (f" ({found.target})" if found.target else "")
    return name, f"{found.measured:.4g}", f"{found.value:.4g}", found.unit, f"{found.error:+.1%}", parts
