"""Read JSON that other people wrote, safely: limits on size, depth and digits; no duplicate keys, no NaN."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

from mlsysim_opt.errors import CatalogError
from mlsysim_opt.registry.yaml_io import MAX_DEPTH, MAX_DIGITS, read_text


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the mapping that a JSON file holds.

    Raises:
        FileError: the file is missing, not a regular file, or unreadable. CatalogError: it is too large, not UTF-8,
            empty, not JSON, nested too deep, or no mapping; a key stands twice; a number is not finite or too long.
    """
    label = str(path)
    text = read_text(path, error=CatalogError)
    if not text.strip():
        raise CatalogError("is empty", path=label)
    _check_depth(text, label)
    try:
        data = json.loads(
            text,
            object_pairs_hook=lambda pairs: _mapping(pairs, label),
            parse_constant=lambda word: _refuse(f"{word} is not a finite number", label),
            parse_int=lambda digits: _number(int, digits, label),
            parse_float=lambda digits: _number(float, digits, label),
        )
    except json.JSONDecodeError as problem:
        message = f"is not valid JSON: {problem.msg}"
        raise CatalogError(message, path=label, line=problem.lineno, column=problem.colno) from None
    if not isinstance(data, dict):
        raise CatalogError("expected a mapping at the top level", path=label)
    return data


def _check_depth(text: str, label: str) -> None:
    """Refuse deep nesting before anything recurses; brackets inside of text do not count."""
    depth, inside, skip = 0, False, False
    for character in text:
        if inside:
            if skip:
                skip = False
            elif character == "\\":
                skip = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                _refuse(f"is nested deeper than {MAX_DEPTH} levels", label)
        elif character in "]}":
            depth -= 1


def _mapping(pairs: list[tuple[str, Any]], label: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            _refuse(f"key {key[:80]!a} stands twice", label)
        found[key] = value
    return found


def _number(kind: Any, digits: str, label: str) -> Any:
    if len(digits) > MAX_DIGITS:
        _refuse(f"a number of {len(digits)} characters is not sensible", label)
    value = kind(digits)
    if value in (float("inf"), float("-inf")):
        _refuse(f"{digits} is not a finite number", label)
    return value


def _refuse(message: str, label: str) -> NoReturn:
    raise CatalogError(message, path=label)
