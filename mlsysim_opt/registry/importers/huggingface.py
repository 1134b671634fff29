"""A model of the catalog from the ``config.json`` of a Hugging Face repository, read from a local file."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlsysim_opt.errors import CatalogError, UnknownNameError
from mlsysim_opt.registry.datum import Datum, Source
from mlsysim_opt.registry.entry import NAME, NAME_RULE, Entry, Part
from mlsysim_opt.registry.importers.hf_config import Config, shown
from mlsysim_opt.registry.importers.hf_families import FAMILIES, WRAPPED
from mlsysim_opt.registry.importers.json_io import read_json
from mlsysim_opt.registry.workloads import Transformer

STATE = {"value": "4 byte", "estimated": "not in the configuration; kept in fp32, as most kernels do"}
_ODD = re.compile(r"[^A-Za-z0-9_.+-]+")


def read_hf_config(
    source: str | os.PathLike[str] | Mapping[str, Any], name: str | None = None, *, parameter_count: int | None = None
) -> Transformer:
    """Return the model that a Hugging Face configuration describes. Nothing is fetched.

    A configuration of several modalities gives its language part. It does not state how many parameters there are:
    without `parameter_count` the entry has none, and the models count its shapes.

    Args:
        source: the path of a ``config.json``, or its content.
        name: the name of the entry; by default the last part of ``_name_or_path``, else of the file's folder.
        parameter_count: the published number of parameters.
    Returns:
        the entry, its numbers with the file as their source.
    Raises:
        UnknownNameError: the model type is not supported; the hint lists or offers those that are.
        CatalogError: the file is not JSON, a key is missing or not of its kind, or the shapes do not fit together.
    """
    label = "the configuration" if isinstance(source, Mapping) else str(source)
    data = source if isinstance(source, Mapping) else read_json(source)
    whole = Config(data, label)
    part = next((inner for key in WRAPPED if (inner := whole.inner(key)) is not None), whole)
    kind = part.text("model_type") or whole.text("model_type")
    if kind is None:
        raise whole.fault("model_type", "missing required key", "is this the config.json of a language model?")
    if kind not in FAMILIES:
        hint = "supported: " + ", ".join(sorted(FAMILIES))
        raise UnknownNameError("model_type", shown(kind).strip("'"), FAMILIES, path=label, hint=hint)
    origin = whole.text("_name_or_path") or ""
    fields = FAMILIES[kind](part)
    if "recurrent" in fields:
        fields["recurrent"]["state_element"] = STATE
    if parameter_count is not None:
        fields["parameter_count"] = parameter_count
    chosen = name if name is not None else _name(origin, source)
    if not NAME.fullmatch(chosen):
        raise CatalogError(f"{shown(chosen)} cannot be a name", path=label, hint=f"give one: {NAME_RULE}")
    title = "/".join(origin.rstrip("/").split("/")[-2:])[:200]
    if not title.strip() or not title.isprintable():
        title = chosen
    fields |= {"name": chosen, "title": title, "group": "Imported", "source": _source(title, kind, source)}
    try:
        return Transformer.model_validate(fields)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise CatalogError(first["msg"], path=f"{label}: {where}" if where else label) from None


def import_hf_config(
    path: str | os.PathLike[str], name: str | None = None, *, parameter_count: int | None = None
) -> str:
    """Return a ``config.json`` as a file of a user's catalog folder (YAML text); see `read_hf_config`."""
    return entry_yaml(read_hf_config(path, name, parameter_count=parameter_count))


def entry_yaml(entry: Entry) -> str:
    """Return an entry as a catalog file: kind, the sources of its numbers, and the entry itself."""
    keys: dict[Source, str] = {}
    for source in entry.sources:
        keys[source] = f"source{len(keys) + 1}"
    own = entry.__dict__.get("source")
    lines = [f"kind: {entry.kind}", "sources:"]
    for source, key in keys.items():
        parts = {"title": source.title, "locator": source.locator, "date": source.date}
        lines.append(f"  {key}: {{{', '.join(f'{what}: {_quoted(text)}' for what, text in parts.items())}}}")
    lines += ["entries:", f"  {entry.name}:"]
    lines += _lines(entry, keys, own, "    ")
    return "\n".join(lines) + "\n"


def _lines(part: Part, keys: Mapping[Source, str], own: Source | None, indent: str) -> list[str]:
    lines = []
    for name in type(part).model_fields:
        value = part.__dict__.get(name)
        if value is None or value == () or (name == "name" and isinstance(part, Entry)):
            continue
        if isinstance(value, Part) and not isinstance(value, Entry):
            lines += [f"{indent}{name}:", *_lines(value, keys, own, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_scalar(value, keys, own)}")
    return lines


def _scalar(value: Any, keys: Mapping[Source, str], own: Source | None) -> str:
    if isinstance(value, Source):
        return keys.get(value, "")
    if isinstance(value, Datum):
        text = _quoted(value.text) if value.kind == "quantity" else value.text
        if value.estimated is not None:
            return f"{{value: {text}, estimated: {_quoted(value.estimated)}}}"
        return (
            text if value.source is None or value.source == own else f"{{value: {text}, source: {keys[value.source]}}}"
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_quoted(str(item)) for item in value) + "]"
    return _quoted(value.name if isinstance(value, Entry) else str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a text of JSON is one of YAML


def _name(origin: str, source: str | os.PathLike[str] | Mapping[str, Any]) -> str:
    tail = origin.rstrip("/").rpartition("/")[2]
    if not tail and not isinstance(source, Mapping):
        place = Path(source)
        tail = place.stem if place.stem != "config" else place.absolute().parent.name
    return _ODD.sub("_", tail)[:80]


def _source(title: str, kind: str, source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, str]:
    day = datetime.datetime.now(tz=datetime.UTC)
    if not isinstance(source, Mapping):
        day = datetime.datetime.fromtimestamp(Path(source).stat().st_mtime, tz=datetime.UTC)
    return {"title": f"config.json of {title}", "locator": f"model_type {kind}", "date": day.date().isoformat()}
