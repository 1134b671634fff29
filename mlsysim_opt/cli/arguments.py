"""Reading ``name=value`` from the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mlsysim_opt.errors import UsageError

_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,4})?")
_TRUTHS = {"true": True, "false": False}


def scalar(text: str) -> Any:
    """Return what a text means: true or false, a number, or else the text (a name, a quantity)."""
    text = text.strip()
    if text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def value(text: str) -> Any:
    """Return a scalar, or the list that commas make."""
    return [scalar(part) for part in text.split(",")] if "," in text else scalar(text)


def values(text: str) -> list[Any]:
    """Return the scalars between commas; none for an empty text."""
    return [scalar(part) for part in text.split(",")] if text.strip() else []


def pair(text: str, option: str, example: str) -> tuple[str, str]:
    """Return name and value of ``name=value``.

    Raises:
        UsageError: it is not of that form.
    """
    name, equals, rest = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{text!r} is not of the form name=value", path=option, hint=f"for example {option} {example}")
    return name.strip(), rest.strip()


def pairs(texts: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Return the values of a repeated ``name=value`` option by name.

    Raises:
        UsageError: one is not of that form, or a name stands twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, rest = pair(text, option, example)
        if name in found:
            raise UsageError(f"{name!r} is given twice", path=option)
        found[name] = rest
    return found


def design(texts: Sequence[str]) -> dict[str, Any]:
    """Return a design written ``tp_size=8,pp_size=16``, perhaps in several pieces.

    Raises:
        UsageError: a piece is not of that form, or a name stands twice.
    """
    pieces = [piece for text in texts for piece in text.split(",") if piece.strip()]
    if not pieces:
        raise UsageError("names no decision", path="--design", hint="for example --design tp_size=8,pp_size=16")
    return {name: scalar(rest) for name, rest in pairs(pieces, "--design", "tp_size=8,pp_size=16").items()}
