"""Scenarios on the command line: list, run, check a file, print the schema of files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import InfeasibleError, InputError, UnknownNameError
from mlsysim_opt.files import written_whole
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.scenarios import Scenario, Scenarios, SimulationConfig, Status, SystemEvaluation


def listing() -> Answer:
    """Return all scenarios of the catalog."""
    rows = [
        {
            "name": item.name,
            "task": item.spec.job,
            "workload": item.spec.workload.name,
            "system": item.spec.system.name,
            "application": item.spec.application,
        }
        for item in Scenarios
    ]

    def show(screen: Screen) -> None:
        screen.table("", list(rows[0]), [list(row.values()) for row in rows])

    return Answer({"scenarios": rows}, show)


def run(target: str, html: str | None) -> Answer:
    """Return the scorecard of a scenario, by name or from a file."""
    seen = _scenario(target).evaluate()
    if html is not None:
        text = seen.to_html()
        with written_whole(html) as part:
            part.write_text(text, encoding="utf-8")
    return Answer(seen.to_dict(), lambda screen: screen.code(seen.scorecard()), _status(seen))


def check(path: str) -> Answer:
    """Return whether a file is a scenario; its faults are raised."""
    spec = SimulationConfig.from_file(path).scenario.spec
    data = {"status": "ok", "file": path, "name": spec.title, "task": spec.job, "workload": spec.workload.name,
            "system": spec.system.name}  # fmt: skip

    def show(screen: Screen) -> None:
        screen.line(f"{path}: ok, {spec.job} of {spec.workload.name} on {spec.system.name}")

    return Answer(data, show)


def schema(name: str) -> Answer:
    """Return the JSON Schema of a form of file."""
    from mlsysim_opt.scenarios.schema import catalog_schema, config_schema, schema_names

    if name not in schema_names():
        raise UnknownNameError("form of file", name, schema_names())
    data = config_schema() if name == "config" else catalog_schema(name)
    return Answer(data, lambda screen: screen.code(json.dumps(data, indent=2)))


def _scenario(target: str) -> Scenario:
    if default_catalog().lookup("scenario", target) is not None:
        return Scenario.of(target)
    if Path(target).suffix or os.sep in target or Path(target).exists():
        return SimulationConfig.from_file(target).scenario
    raise UnknownNameError("scenario", target, Scenarios.names())


def _status(seen: SystemEvaluation) -> int:
    if seen.failed:
        return InfeasibleError.exit_code
    return InputError.exit_code if any(item.status == Status.SKIPPED for item in seen.checks) else 0
