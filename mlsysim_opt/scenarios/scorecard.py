"""Writing a scorecard: as text for a terminal, as a page for a browser. What comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlsysim_opt.scenarios.evaluation import Check, SystemEvaluation

COLOURS = {"PASS": "#1a7f37", "WARNING": "#9a6700", "FAIL": "#b42318", "SKIPPED": "#57606a"}
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-top:1px solid #d0d7de;"
    "vertical-align:top}.s{font-weight:600;white-space:nowrap}h2{margin-top:2rem}"
)


def as_text(seen: SystemEvaluation) -> str:
    """Return the scorecard as lines of text without control characters."""
    return "\n".join(_plain(line) for line in _lines(seen))


def _lines(seen: SystemEvaluation) -> Iterator[str]:
    scenario = seen.scenario
    yield f"{scenario.title}: {scenario.workload.name} on {scenario.system.name} ({scenario.job})"
    yield f"verdict: {seen.verdict.value}"
    for level in seen.levels:
        yield ""
        yield f"{level.name:12} {level.status.value:8} {level.summary if not level.checks else ''}".rstrip()
        for check in level.checks:
            yield f"  {check.status.value:8} {check.name}: {check.reason}"
        for name, value in level.metrics.items():
            yield f"           {name} = {value}"
    if seen.design:
        yield ""
        yield "design: " + ", ".join(f"{name}={value}" for name, value in seen.design.items())
    if seen.assumptions:
        yield ""
        yield "assumed: " + "; ".join(f"{name} = {text}" for name, text in seen.assumptions.items())


def as_html(seen: SystemEvaluation) -> str:
    """Return the scorecard as a page without scripts or anything to load."""
    scenario = seen.scenario
    body = [
        f"<h1>{_safe(scenario.title)}</h1>",
        f"<p>{_safe(scenario.application)}</p>" if scenario.application else "",
        f"<p>{_safe(scenario.workload.title)} on {_safe(scenario.system.title)} ({scenario.job}): "
        f"{_status(seen.verdict.value)}</p>",
    ]
    for level in seen.levels:
        body.append(f"<h2>{level.name} {_status(level.status.value)}</h2>")
        if not level.checks:
            body.append(f"<p>{_safe(level.summary)}</p>")
        else:
            body.append("<table><tr><th></th><th>check</th><th>is</th><th>promised</th><th>reason</th></tr>")
            body += [_row(check) for check in level.checks]
            body.append("</table>")
        if level.metrics:
            cells = "".join(
                f"<tr><td>{_safe(name)}</td><td>{_safe(str(item))}</td></tr>" for name, item in level.metrics.items()
            )
            body.append(f"<table>{cells}</table>")
    for title, rows in (("Design", seen.design), ("Assumed", seen.assumptions)):
        if rows:
            cells = "".join(f"<tr><td>{_safe(str(a))}</td><td>{_safe(str(b))}</td></tr>" for a, b in rows.items())
            body.append(f"<h2>{title}</h2><table>{cells}</table>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{_safe(scenario.title)}</title><style>{STYLE}</style></head><body>"
        + "\n".join(part for part in body if part)
        + "</body></html>\n"
    )


def _row(check: Check) -> str:
    value = str(check.value) if check.value else ""
    limit = str(check.limit) if check.limit else ""
    cells = "".join(f"<td>{_safe(text)}</td>" for text in (check.name, value, limit, check.reason))
    return f"<tr><td>{_status(check.status.value)}</td>{cells}</tr>"


def _status(text: str) -> str:
    return f'<span class="s" style="color:{COLOURS[text]}">{text}</span>'


def _safe(text: str) -> str:
    return escape(_plain(text))


def _plain(text: str) -> str:
    """Return text in which characters that could steer a terminal or a reader are shown as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
