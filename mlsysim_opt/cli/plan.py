"""Plan files: what is asked, as YAML. Every fault is named with its line and column, all of them at once.

formulation: parallelism
given:
  model: Llama3_405B
  fleet: Meta_Llama3_16K_H100
  global_batch_size: 2048
  seq_len: 8192
choices:
  tp_size: [4, 8]
objective: max_mfu
constraints:
  - memory <= 76 GiB
scenarios:                # what may be given instead; one answer must do in all of them
  - {}
  - seq_len: 16384
robust: worst_case
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli.output import plain
from mlsysim_opt.errors import CatalogError, FileError, MlsysimError, PlanError, did_you_mean

if TYPE_CHECKING:
    from mlsysim_opt.registry.yaml_io import Document, KeyPath

UNCERTAIN = ("scenarios", "robust", "alpha", "shares")
ASKED = ("objective", "constraints")
KEYS = ("formulation", "given", "choices", "objective", "constraints", *UNCERTAIN)


@dataclass
class Plan:
    """A plan whose outline is checked; what the names and values mean is checked by the formulation.

    Attributes:
        uncertain: what is said of several scenarios, by the name of the argument of `mo.optimize`.
    """

    document: Document
    formulation: str | None = None
    given: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    objective: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    uncertain: dict[str, Any] = field(default_factory=dict)

    def fault(self, path: KeyPath, error: MlsysimError, *, key: bool = False) -> PlanError:
        """Return an error of a value (or of the key) at a path of the plan, with its place."""
        inside: list[str] = []
        message = error.message
        if isinstance(error, CatalogError) and error.line is not None:  # in a table that the plan names
            message = f"{error.path} (line {error.line}): {message}"
        elif error.path and path[0] == "given" and not key:
            inside = error.path.split(".")[1:]
        elif error.path and path[0] in ASKED and error.path.partition("[")[0] not in ASKED:  # what a text needs
            message = f"{error.path}: {message}"
        return _fault(self.document, path, message, error.hint, key=key, inside=inside)

    def objective_path(self, index: int) -> KeyPath:
        """Return the path of an objective: one stands alone or in a list."""
        return ("objective", index) if isinstance(self.document.data["objective"], list) else ("objective",)

    def constraint_path(self, index: int) -> KeyPath:
        """Return the path of a constraint."""
        return ("constraints", index) if isinstance(self.document.data["constraints"], list) else ("constraints",)


def read_plan(path: str) -> Plan:
    """Read a plan file and check its outline.

    Raises:
        FileError: it cannot be read. PlanError: it is not a plan; names every fault.
    """
    from mlsysim_opt.registry.yaml_io import read_yaml

    label = plain(path)
    try:
        document = read_yaml(path, label=label, error=PlanError)
    except PlanError as error:
        raise _unreadable(error) from None
    data = document.data
    if not isinstance(data, dict):
        hint = "at its top stand " + ", ".join(KEYS)
        raise _fault(document, (), f"expected a mapping, got {_kind(data)}", hint)
    errors: list[MlsysimError] = [
        _fault(document, (key,), f"unknown key {key!r}", did_you_mean(key, KEYS) or _known(), key=True)
        for key in data
        if key not in KEYS
    ]
    if data.get("formulation") is not None and not isinstance(data["formulation"], str):
        errors.append(_fault(document, ("formulation",), f"expected a name, got {_kind(data['formulation'])}"))
    for section in ("given", "choices"):
        if data.get(section) is not None and not isinstance(data[section], dict):
            wanted = "a mapping of names to values"
            errors.append(_fault(document, (section,), f"expected {wanted}, got {_kind(data[section])}"))
    errors += _text_faults(document, "objective", "min_step_time")
    errors += _text_faults(document, "constraints", "memory <= 76 GiB")
    if errors:
        raise PlanError.of(label, errors)
    return Plan(
        document,
        data.get("formulation"),
        dict(data.get("given") or {}),
        dict(data.get("choices") or {}),
        _texts(data.get("objective")),
        _texts(data.get("constraints")),
        {key: data[key] for key in UNCERTAIN if data.get(key) is not None},
    )


def _unreadable(error: PlanError) -> MlsysimError:
    """Return a fault of the file itself as such: it has no line, because there is nothing to point at."""
    if error.line is None and error.message.startswith(("no such", "is a folder", "is not a regular", "cannot be")):
        return FileError(error.message, path=error.path, hint=error.hint)
    return error


def _text_faults(document: Document, key: str, example: str) -> list[MlsysimError]:
    raw = document.data.get(key)
    if raw is None or isinstance(raw, str):
        return []
    if not isinstance(raw, list):
        return [_fault(document, (key,), f"expected text or a list of texts, got {_kind(raw)}", f"such as {example!r}")]
    return [
        _fault(document, (key, index), f"expected text, got {_kind(item)}", f"such as {example!r}")
        for index, item in enumerate(raw)
        if not isinstance(item, str)
    ]


def _texts(raw: Any) -> list[str]:
    return [] if raw is None else [raw] if isinstance(raw, str) else list(raw)


def _fault(
    document: Document,
    path: KeyPath,
    message: str,
    hint: str | None = None,
    *,
    key: bool = False,
    inside: Sequence[str] = (),
) -> PlanError:
    line, column = document.place(_inner(document.data, path, inside), key=key) or (None, None)
    shown = ".".join(plain(str(step)) for step in (*path, *inside))
    where = f"{document.label}: {shown}" if shown else document.label
    return PlanError(plain(message), path=where, line=line, column=column, hint=plain(hint) if hint else None)


def _inner(data: Any, path: KeyPath, inside: Sequence[str]) -> KeyPath:
    """Return the path down to what an error names inside a value, as far as it can be followed.

    Records in a list go by their name.
    """
    if not inside:
        return path
    for step in path:
        data = data[step]
    for name in inside:
        named: dict[str, str | int] = {}
        if isinstance(data, dict):
            named = {key: key for key in data}
        elif isinstance(data, list):
            named = {str(item.get("name")): at for at, item in enumerate(data) if isinstance(item, dict)}
        if name not in named:
            break
        path, data = (*path, named[name]), data[named[name]]
    return path


def _known() -> str:
    return "known: " + ", ".join(KEYS)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
    return names.get(type(value), f"the number {value}")
