"""Sensitivities as text: tables, and bars from the change for less to the change for more."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mlsysim_opt.solvers.changes import RegimeChange
    from mlsysim_opt.solvers.sensitivity import ElasticityTable, NumberSensitivity, SensitivityResult

WIDTH, BAR = 118, 30
"""Columns of a table, and of a bar."""
ROWS = 12
"""Numbers that are shown of many."""


def share(value: float | None) -> str:
    """Return a relative change as text."""
    return "-" if value is None else f"{value:+.2%}"


def title_of(result: SensitivityResult) -> str:
    """Return what a tornado shows."""
    return f"Change of {result.output} for {percents(result)[0]} and {percents(result)[1]} of one number"


def percents(result: SensitivityResult) -> tuple[str, str]:
    """Return the two changes that are looked at, less and more."""
    return f"{-result.perturbation_pct:+g} %", f"{result.perturbation_pct:+g} %"


def tornado_text(result: SensitivityResult, of: str, *, most: int, plain: bool) -> str:
    """Return the changes of an output as a table with bars; see `SensitivityResult.tornado`."""
    from rich.bar import Bar
    from rich.text import Text

    rows = result.swings(of)
    if not rows:
        return f"no {of.removesuffix('s')} moves {result.output} between these"
    widest = max((abs(item) for row in rows for item in row[1:] if item is not None), default=1.0)
    table: list[list[RenderableType]] = []
    for name, down, up in rows[:most]:
        ends = [0.0, *(item for item in (down, up) if item is not None)]
        bar = Bar(2 * widest, widest + min(ends), widest + max(ends), width=BAR)
        table.append([Text(name), Text(share(down)), Text(share(up)), bar])
    less, more = percents(result)
    kind = "number" if of == "numbers" else "lever"
    left_out = len(rows) - len(table)
    text = rendered((kind, ">" + less, ">" + more, f"{-widest:+.1%}".ljust(BAR - 7) + f"{widest:+.1%}".rjust(7)), table)
    text += f"\n{left_out} smaller ones are not shown" if left_out else ""
    return _ascii(text) if plain else text


def headline(result: SensitivityResult) -> str:
    """Return the output, its value, the model, and what limits it."""
    limits = ", ".join(f"{label} = {value}" for label, value in result.limits.items())
    point = result._point
    asked, value = type(point.model).__name__, point.traced.shown(result.output, point.base)
    return f"{result.output} = {value} ({asked}{'; ' + limits if limits else ''})"


def state(result: SensitivityResult) -> str:
    """Return whether every constraint holds, which is tightest, or what must change first."""
    if not result.feasible:
        return f"infeasible: {result.note}"
    tightest = result.tightest
    near = f"; the tightest is {tightest.name!r}, slack {tightest.text}" if tightest else ""
    return "feasible: every constraint holds" + near


def sensitivity_text(result: SensitivityResult) -> str:
    """Return a whole result as text."""
    lines = [headline(result), state(result)]
    levers = levers_rows(result)
    lines += ["", "Levers", rendered(*cells(levers))] if levers[1] else []
    lines += ["", title_of(result), result.tornado(most=ROWS)]
    regimes = regime_rows(result.numbers.values())
    if regimes[1]:
        lines += ["", "Where the regime ends as one number changes alone", rendered(*cells(regimes))]
    lines += ["", "Constraints", rendered(*cells(constraint_rows(result)))] if result.constraints else []
    return "\n".join(lines)


Table = tuple[Sequence[str], list[list[str]]]


def levers_rows(result: SensitivityResult) -> Table:
    """Return the levers: elasticity, and both exact changes."""
    less, more = percents(result)
    rows = [
        [name, f"{value:+.4f}", share(result.change(name, -result.perturbation_pct)), share(result.change(name))]
        for name, value in sorted(result.levers.items(), key=lambda item: -abs(item[1]))
        if any(result.levers.values())  # a model without hardware has none
    ]
    return ("lever", ">elasticity", ">" + less, ">" + more), rows


def number_rows(result: SensitivityResult, most: int = ROWS) -> Table:
    """Return the numbers: value, elasticity (both sides at a kink), and between which factors it is of one branch."""
    rows = []
    for item in list(result.numbers.values())[:most]:
        elasticity = f"{item.elasticity:+.4f}"
        if item.kink is not None:
            elasticity = " | ".join(_number(side) for side in (item.below, item.above))
        low, high = item.holds_between
        rows.append([item.name, item.text, elasticity, f"{low:.4g}x" if low else "-",
                     "-" if high == math.inf else f"{high:.4g}x"])  # fmt: skip
    return ("number", ">value", ">elasticity", ">same branch from", ">to"), rows


def regime_rows(numbers: Iterable[NumberSensitivity], most: int = ROWS) -> Table:
    """Return the kinks at which numbers stand, then the nearest regime changes."""
    every = list(numbers)
    rows = [[item.name, "1x", f"here: {item.kink}", _number(item.above)] for item in every if item.kink is not None]
    found = sorted((change for item in every for change in item.regimes), key=_distance)
    rows += [
        [change.number, f"{change.factor:.4g}x", change.regime, _number(change.elasticity)] for change in found[:most]
    ]
    return ("number", ">from", "what begins", ">elasticity there"), rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _distance(change: RegimeChange) -> float:
    return max(change.factor, 1 / change.factor)


def constraint_rows(result: SensitivityResult) -> Table:
    """Return the constraints with their slack."""
    rows = [
        [item.name, "holds" if item.holds else "VIOLATED", item.text,
         "" if item.relative is None else f"{item.relative:.1%}"]
        for item in result.constraints.values()
    ]  # fmt: skip
    return ("constraint", "", ">slack", ">of the limit"), rows


def table_text(table: ElasticityTable) -> str:
    """Return the three largest elasticities of every output."""
    rows = [
        [output, ", ".join(f"{name} {value:+.3f}" for name, value in list(found.items())[:3])]
        for output, found in table.elasticities.items()
    ]
    text = rendered(*cells((("output", "largest elasticities"), rows)))
    return "\n".join([text, *(f"{name}: none, {why}" for name, why in table.without.items())])


def cells(table: Table) -> tuple[Sequence[str], list[list[RenderableType]]]:
    """Return columns and rows of texts as `rendered` takes them: no text is read as markup."""
    from rich.text import Text

    columns, rows = table
    return columns, [[Text(cell) for cell in row] for row in rows]


def rendered(columns: Sequence[str], rows: Sequence[Sequence[RenderableType]]) -> str:
    """Return a table as text without colours; a column whose name begins with ``>`` is set to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn

    buffer = io.StringIO()
    console = Console(file=buffer, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    made = Drawn(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left",
                        overflow="fold")  # fmt: skip
    for row in rows:
        made.add_row(*row)
    console.print(made)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip("\n").split("\n"))


def _ascii(text: str) -> str:
    """Return text in which lines are dashes, and bars hashes."""
    return "".join(
        char
        if char.isascii()
        else "-"
        if "\u2500" <= char <= "\u257f"
        else "#"
        if "\u2580" <= char <= "\u259f"
        else "?"
        for char in text
    )
