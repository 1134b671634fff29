"""Pictures of sensitivities and fronts; matplotlib is loaded here alone, when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import InputError, LibraryMissingError
from mlsysim_opt.files import written_whole
from mlsysim_opt.solvers.tornado import percents, title_of

if TYPE_CHECKING:
    from mlsysim_opt.solvers.sensitivity import SensitivityResult

FORMATS = ("png", "svg", "pdf")


def plot_tornado(result: SensitivityResult, path: str | Path, of: str, *, most: int) -> Path:
    """Write a tornado as a picture; see `SensitivityResult.plot_tornado`."""
    target = _target(path)
    figure_type = _figure()
    rows = result.swings(of)[:most][::-1]  # the first bar stands on top
    figure = figure_type(figsize=(9, 1.2 + 0.35 * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots()
    less, more = percents(result)
    for colour, label, at in (("tab:blue", less, 1), ("tab:orange", more, 2)):
        widths = [100 * (row[at] or 0.0) for row in rows]
        axes.barh([row[0] for row in rows], widths, color=colour, label=label, height=0.7)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"change of {result.output} [%]")
    axes.set_title(title_of(result), fontsize=10)
    if rows:
        axes.legend()
    return _saved(figure, target)


def plot_front(
    labels: Sequence[str], values: Sequence[Sequence[float]], path: str | Path, title: str, marked: int
) -> Path:
    """Write the points of a front as a picture, one panel for each pair of objectives.

    Args:
        labels: of the objectives. values: a row for each point. marked: the position of the point that is set off.
    """
    target = _target(path)
    pairs = [(one, two) for two in range(1, len(labels)) for one in range(two)]
    figure = _figure()(figsize=(1 + 4.5 * len(pairs), 4.5), layout="constrained")
    for axes, (one, two) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        axes.plot([row[one] for row in values], [row[two] for row in values], "o", markersize=4, color="tab:blue")
        axes.plot(values[marked][one], values[marked][two], "D", color="tab:orange", label="knee")
        axes.set_xlabel(labels[one])
        axes.set_ylabel(labels[two])
        axes.legend()
    figure.suptitle(title, fontsize=10)
    return _saved(figure, target)


def check_picture(path: str | Path) -> None:
    """Refuse what no picture could be written to, before there is one.

    Raises:
        InputError: the ending is no known format. LibraryMissingError: matplotlib is not installed.
    """
    _target(path)
    _figure()


def _target(path: str | Path) -> Path:
    if not isinstance(path, str | Path):
        raise InputError(f"expected a path, got {path!r}", path="path")
    target = Path(path)
    if target.suffix.lstrip(".").lower() not in FORMATS:
        raise InputError(f"{target.name!r} does not end in a known format", path="path",
                         hint="endings: " + ", ".join("." + item for item in FORMATS))  # fmt: skip
    return target


def _saved(figure: Any, target: Path) -> Path:
    with written_whole(target) as part:
        figure.savefig(part)
    return target


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LibraryMissingError("plots need matplotlib, which is not installed", path="matplotlib",
                                  hint="pip install 'mlsysim-opt[plots]'") from error  # fmt: skip
    return Figure
