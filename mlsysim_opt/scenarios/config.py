"""Scenario files: YAML or JSON, checked before anything runs, every fault with its line and column.

version: 1
name: Chat on two H100
workload: Llama3_70B
system: H100
precision: fp8
batch_size: 8
seq_len: 4096
output_len: 512
split: {tp_size: 2}
limits: {ttft: 2 s, itl: 50 ms}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsysim_opt.errors import InputError, MlsysimError, PlanError, did_you_mean
from mlsysim_opt.registry.scenario import ScenarioEntry
from mlsysim_opt.registry.yaml_io import Document, KeyPath, parse_yaml, read_text
from mlsysim_opt.scenarios.evaluation import SystemEvaluation
from mlsysim_opt.scenarios.reading import NOT_FOR_USERS, all_of, read_fields
from mlsysim_opt.scenarios.scenario import Scenario

VERSIONS = (1,)


@dataclass(frozen=True)
class SimulationConfig:
    """A scenario as it stands in a file, checked.

    Attributes:
        scenario: what it describes. label: where it was read from.
    """

    scenario: Scenario
    label: str = "<config>"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> SimulationConfig:
        """Read a file: YAML, or JSON, which is nearly a part of YAML.

        Raises:
            FileError: it cannot be read. PlanError: it is not a scenario; names every fault with line and column.
        """
        label = _printable(os.fspath(path))
        text = read_text(path, label=label, error=PlanError)
        return cls.from_text(text, label=label, json=Path(label).suffix.lower() == ".json")

    from_yaml = from_file
    from_json = from_file

    @classmethod
    def from_text(cls, text: str, *, label: str = "<config>", json: bool = False) -> SimulationConfig:
        """Read YAML or JSON from memory; see `from_file`."""
        if json:
            text = text.replace("\t", " ")  # JSON may be indented with tabs, and has none inside its texts
        document = parse_yaml(text, label=label, error=PlanError)
        return cls(Scenario.of(_read(document)), label)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, label: str = "<config>") -> SimulationConfig:
        """Check plain data of the same form.

        Raises:
            PlanError: naming every fault by its path.
        """
        return cls(Scenario.of(_read(Document(dict(data), label))), label)

    def run(self) -> SystemEvaluation:
        """Return the scorecard."""
        return self.scenario.evaluate()

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the form of such a file as a JSON Schema (2020-12)."""
        from mlsysim_opt.scenarios.schema import config_schema

        return config_schema()


def _read(document: Document) -> ScenarioEntry:
    data = document.data
    if not isinstance(data, dict):
        hint = "at its top stand name, workload, system, limits ..."
        raise _fault(document, (), f"expected a mapping, got {_kind(data)}", hint)
    errors: list[MlsysimError] = []
    fields = dict(data)
    version = fields.pop("version", 1)
    if version not in VERSIONS or isinstance(version, bool):
        errors.append(
            _fault(document, ("version",), f"version {version!r} is not known", "this release reads version 1")
        )
    if "name" in fields and (not isinstance(fields["name"], str) or not fields["name"].strip()):
        errors.append(_fault(document, ("name",), f"expected a name, got {_kind(fields.pop('name'))}"))
    for key in [key for key in fields if key in NOT_FOR_USERS[1:] or key == "title"]:
        known = did_you_mean(key, [*ScenarioEntry.model_fields]) if key not in NOT_FOR_USERS else None
        errors.append(_fault(document, (key,), f"unknown field {key!r}", known or "the name is enough", key=True))
        fields.pop(key)
    try:
        spec = read_fields(fields, document.label, lambda *place, **way: _fault(document, *place, **way))
    except PlanError as error:
        errors += error.errors or (error,)
    if errors:
        raise all_of(document.label, sorted(errors, key=lambda item: (item.line or 0, item.column or 0)))
    return spec


def _fault(document: Document, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False) -> PlanError:
    line, column = document.place(path, key=key) or (None, None)
    shown = ".".join(_printable(str(step)) for step in path)
    where = f"{document.label}: {shown}" if shown else document.label
    return PlanError(_printable(message), path=where, line=line, column=column, hint=_printable(hint) if hint else None)


def _printable(text: str) -> str:
    """Return text that cannot steer a terminal; line breaks of ours stay."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {dict: "a mapping", list: "a list", str: f"the text {value!r}", bool: "true or false"}
    return names.get(type(value), f"the number {value}")


__all__ = ["InputError", "SimulationConfig"]
