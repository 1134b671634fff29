"""JSON Schemas of the files that people write, from the types that check them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from mlsysim_opt.registry.catalog import default_catalog
from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.fields import Number, Reference
from mlsysim_opt.registry.kinds import KINDS, kind_of
from mlsysim_opt.registry.scenario import OneOf, ScenarioEntry
from mlsysim_opt.scenarios.reading import NOT_FOR_USERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN: dict[Any, dict[str, Any]] = {str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"}}
EXAMPLES = 12
SOURCED = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "locator": {"type": "string"}, "date": {"type": ["string", "integer"]}},
    "required": ["title", "locator", "date"],
}
SOURCE = {"description": "a key of the file's sources, or the source itself", "anyOf": [{"type": "string"}, SOURCED]}


def config_schema() -> dict[str, Any]:
    """Return the schema of a scenario file."""
    body = _object(ScenarioEntry, skip=(*NOT_FOR_USERS[1:], "title"))
    body["properties"] = {
        "version": {"const": 1, "description": "of this form"},
        **body["properties"],
        "name": {"type": "string", "minLength": 1, "description": "what it is called, in words"},
    }
    body["required"] = [name for name in body["required"] if name not in ("name", "title")]
    return {"$schema": DIALECT, "title": "Scenario of mlsysim-opt", **body}


def catalog_schema(kind: str) -> dict[str, Any]:
    """Return the schema of a catalog file of a kind.

    Raises:
        UnknownNameError: there is no such kind.
    """
    found = kind_of(kind)
    return {
        "$schema": DIALECT,
        "title": f"Catalog file of kind {found.name}",
        "type": "object",
        "required": ["kind", "entries"],
        "additionalProperties": False,
        "properties": {
            "kind": {"const": found.name},
            "sources": {"type": "object", "additionalProperties": SOURCED},
            "entries": {"type": "object", "additionalProperties": _object(found.entry_type, skip=("name",))},
        },
    }


def schema_names() -> list[str]:
    """Return what there is a schema of."""
    return ["config", *KINDS]


def _object(kind: type[Part], skip: tuple[str, ...] = ()) -> dict[str, Any]:
    properties, required = {}, []
    for name, field in kind.model_fields.items():
        if name in skip:
            continue
        described = {"description": field.description} if field.description else {}
        properties[name] = {**_schema(field.annotation, field.metadata, name), **described}
        if field.is_required():
            required.append(name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(annotation: Any, metadata: list[Any], name: str = "") -> dict[str, Any]:
    if name == "source":
        return SOURCE
    for marker in [*metadata, *_markers(annotation)]:
        if isinstance(marker, Number):
            return _number(marker)
        if isinstance(marker, Reference | OneOf):
            return _reference((marker.kind,) if isinstance(marker, Reference) else marker.kinds)
    options = [item for item in get_args(annotation) if item is not type(None)]
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        found = [_schema(item, []) for item in options]
        return found[0] if len(found) == 1 else {"anyOf": found}
    if origin is Literal:
        return {"enum": options}
    if origin in (tuple, list):
        return {"type": "array", "items": _schema(options[0], []) if options else {}}
    if origin is not None and options:  # Annotated and the like
        return _schema(options[0], list(get_args(annotation)[1:]))
    if isinstance(annotation, type) and issubclass(annotation, Entry):
        return _reference((annotation.kind,))
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return _object(annotation)
    return dict(PLAIN.get(annotation, {}))


def _markers(annotation: Any) -> Iterator[Any]:
    """Yield the markers of an annotation, those of the members of a union too."""
    for item in get_args(annotation):
        yield from getattr(item, "__metadata__", ())
    yield from getattr(annotation, "__metadata__", ())


def _number(marker: Number) -> dict[str, Any]:
    if marker.kind == "quantity":
        simple: dict[str, Any] = {"type": "string", "examples": [f"1 {marker.unit}"]}
    elif marker.kind == "count":
        simple = {"type": "integer", "minimum": int(marker.minimum) + (1 if marker.above_minimum else 0)}
    else:
        bounds = {"maximum": marker.maximum} if marker.maximum is not None else {}
        low = "exclusiveMinimum" if marker.above_minimum else "minimum"
        simple = {"anyOf": [{"type": "number", low: marker.minimum, **bounds}, {"type": "string"}]}
    sourced = {
        "type": "object",
        "properties": {"value": simple, "source": SOURCE, "estimated": {"type": "string"}},
        "required": ["value"],
        "additionalProperties": False,
    }
    return {"anyOf": [simple, sourced]}


def _reference(kinds: tuple[str, ...]) -> dict[str, Any]:
    names = [name for kind in kinds for name in default_catalog().names(kind)][:EXAMPLES]
    return {"type": "string", "$comment": "the name of a " + " or ".join(kinds), "examples": names}
