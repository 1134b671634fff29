"""From a YAML file to checked entries, with every error of a file named at once, by place.

A catalog file is a mapping of ``kind`` (what its entries are), ``sources`` (title, locator and date by key)
and ``entries`` (fields by name)::

    kind: accelerator
    sources:
      datasheet: {title: Vendor datasheet, locator: page 2, date: 2024-05}
    entries:
      MyChip:
        title: My chip
        source: datasheet
        memory: {capacity: 80 GiB, bandwidth: {value: 3 TB/s, estimated: "measured once"}}
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import CatalogError, InputError, did_you_mean
from mlsysim_opt.registry.datum import Source
from mlsysim_opt.registry.kinds import KINDS, Kind
from mlsysim_opt.registry.yaml_io import Document, KeyPath, read_yaml

if TYPE_CHECKING:
    from mlsysim_opt.registry.catalog import Catalog
    from mlsysim_opt.registry.entry import Entry

MAX_SHOWN = 20
_TOP = ("kind", "sources", "entries")
_SEPARATORS = re.compile(r"[-_. ]+")


def fold(name: str) -> str:
    """Return a name without case and with one form of separator: ``Llama3-8B`` becomes ``llama3_8b``."""
    return _SEPARATORS.sub("_", name.strip().lower())


class CatalogFileError(CatalogError):
    """One or more errors of one catalog file; `errors` holds each with its own place."""

    def __init__(self, label: str, errors: Sequence[InputError]) -> None:
        first = errors[0]
        if len(errors) == 1:
            super().__init__(first.message, path=first.path, line=first.line, column=first.column, hint=first.hint)
        else:
            lines = [f"{len(errors)} errors"]
            lines += ["  - " + str(error).replace("\n", "\n  ") for error in errors[:MAX_SHOWN]]
            if len(errors) > MAX_SHOWN:
                lines.append(f"  and {len(errors) - MAX_SHOWN} more")
            super().__init__("\n".join(lines), path=label)
        self.errors = tuple(errors)

    def as_dict(self) -> dict[str, Any]:
        """Return the error as JSON, with all errors of the file under ``errors``."""
        return {**super().as_dict(), "errors": [error.as_dict() for error in self.errors]}


@dataclass(frozen=True)
class CatalogFile:
    """One file, structurally checked; its entries are still raw."""

    label: str
    kind: Kind
    sources: dict[str, Source]
    entries: dict[str, dict[str, Any]]
    document: Document

    def fault(self, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False) -> CatalogError:
        """Return an error at a path of the file; entries are addressed without the leading ``entries``."""
        return _fault(self.document, path, message, hint, key=key)


def _fault(
    document: Document, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False
) -> CatalogError:
    place = document.place(path, key=key) or (None, None)
    shown = ".".join(_printable(str(step)) for step in (path[1:] if path[:1] == ("entries",) else path))
    where = f"{document.label}: {shown}" if shown else document.label
    return CatalogError(message, path=where, line=place[0], column=place[1], hint=hint)


def _printable(text: str) -> str:
    """Return text that cannot steer a terminal."""
    return text if text.isprintable() else ascii(text)


def read_file(source: str | os.PathLike[str] | Traversable, label: str, kind: Kind | None = None) -> CatalogFile:
    """Read a catalog file and check its outline.

    Args:
        source: the file.
        label: its name in messages.
        kind: the kind it must declare, where its place implies one.
    Raises:
        CatalogFileError: naming every fault of the outline; CatalogError: it cannot be read at all.
    """
    document = read_yaml(source, label=label, error=CatalogError)
    data = document.data
    if not isinstance(data, dict):
        raise _fault(document, (), "expected a mapping of kind, sources and entries at the top level")
    errors: list[InputError] = []
    for key in data:
        if key not in _TOP:
            hint = did_you_mean(key, _TOP) or "known: kind, sources, entries"
            errors.append(_fault(document, (key,), f"unknown key {key!r}", hint, key=True))
    found = _kind(document, data, kind, errors)
    sources = _sources(document, data.get("sources"), errors)
    entries = _entries(document, data, errors)
    if errors or found is None:
        raise CatalogFileError(label, errors)
    return CatalogFile(label, found, sources, entries, document)


def _kind(document: Document, data: dict[str, Any], wanted: Kind | None, errors: list[InputError]) -> Kind | None:
    name = data.get("kind")
    found = KINDS.get(name) if isinstance(name, str) else None
    if "kind" not in data:
        errors.append(_fault(document, (), "missing required key 'kind'", "one of " + ", ".join(KINDS)))
    elif found is None:
        hint = did_you_mean(str(name), KINDS) or "one of " + ", ".join(KINDS)
        errors.append(_fault(document, ("kind",), f"unknown kind {name!r}", hint))
    elif wanted is not None and found is not wanted:
        errors.append(_fault(document, ("kind",), f"kind {name!r} stands where {wanted.name!r} is expected"))
    return found


def _sources(document: Document, raw: Any, errors: list[InputError]) -> dict[str, Source]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        errors.append(_fault(document, ("sources",), "expected a mapping of source keys"))
        return {}
    result = {}
    for key, value in raw.items():
        try:
            result[key] = Source.read(value)
        except InputError as problem:
            errors.append(_fault(document, ("sources", key), problem.message, problem.hint))
    return result


def _entries(document: Document, data: dict[str, Any], errors: list[InputError]) -> dict[str, dict[str, Any]]:
    raw = data.get("entries")
    if not isinstance(raw, dict) or not raw:
        what = "missing required key 'entries'" if "entries" not in data else "expected a mapping of entries by name"
        errors.append(_fault(document, ("entries",) if "entries" in data else (), what))
        return {}
    for name, fields in raw.items():
        if not isinstance(fields, dict):
            errors.append(_fault(document, ("entries", name), "expected a mapping of fields"))
        elif "name" in fields:
            errors.append(_fault(document, ("entries", name, "name"), "the name is the key of the entry", key=True))
    return raw


def build(file: CatalogFile, name: str, catalog: Catalog | None) -> Entry:
    """Check one raw entry and return it typed.

    Raises:
        CatalogFileError: naming file, entry, field, line and column of every fault.
    """
    from pydantic import ValidationError

    from mlsysim_opt.registry.fields import LoadContext

    kind = file.kind.entry_type
    try:
        return kind.model_validate({"name": name, **file.entries[name]}, context=LoadContext(file.sources, catalog))
    except ValidationError as problem:
        errors = [_explain(file, name, kind, dict(item)) for item in problem.errors(include_url=False)]
        raise CatalogFileError(file.label, errors) from None


def _explain(file: CatalogFile, name: str, kind: type[Entry], item: dict[str, Any]) -> CatalogError:
    found: CatalogError = explain(file.fault, ("entries", name), kind, item)
    return found


def explain(fault: Callable[..., Any], above: KeyPath, kind: type[Entry], item: dict[str, Any]) -> Any:
    """Return what pydantic found wrong as an error of ours: `fault` makes it from a path, a message and a hint."""
    location: KeyPath = (*above, *item["loc"])
    if item["type"] == "missing":
        return fault(location[:-1], f"missing required field {location[-1]!r}")
    if item["type"] == "extra_forbidden":
        known = _fields_at(kind, item["loc"][:-1])
        hint = did_you_mean(str(location[-1]), known) or "known: " + ", ".join(known)
        return fault(location, f"unknown field {location[-1]!r}", hint, key=True)
    context = item.get("ctx") or {}
    if item["type"] == "catalog":
        return fault(location, item["msg"], context.get("hint"))
    if item["type"] == "model_type":
        return fault(location, "expected a mapping of fields")
    message = item["msg"][:1].lower() + item["msg"][1:]
    return fault(location, f"{message}, got {item['input']!r}")


def _fields_at(kind: Any, location: Sequence[Any]) -> list[str]:
    """Return the names of the fields at a path of a type, for the hint of a misspelt one."""
    from typing import get_args

    for step in location:
        if step not in kind.model_fields:
            return []
        annotation = kind.model_fields[step].annotation
        options = [annotation, *get_args(annotation)]
        kind = next((option for option in options if hasattr(option, "model_fields")), kind)
    return [name for name in kind.model_fields if name != "name"]
