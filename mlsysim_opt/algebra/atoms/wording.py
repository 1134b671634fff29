"""How numbers, units and labels are written, so that they read back as the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from mlsysim_opt.units import Unit

_PLAIN_UNIT = re.compile(r"(?:1/)?[A-Za-zµμ]\w*(?:\^[0-9]+)?(?:[*/][A-Za-zµμ]\w*(?:\^[0-9]+)?)*")


def number_text(value: float) -> str:
    """Return the shortest text that reads back as exactly this number."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)


def unit_text(unit: Unit, guarded: Callable[[], bool] = lambda: False) -> str:
    """Return a unit as it stands after a number: in brackets where it would not be read back whole.

    Args:
        unit: the unit.
        guarded: whether names of the expression look like units, so that ``5 GB/s`` could be a division.
    """
    if not _PLAIN_UNIT.fullmatch(unit.text) or (not unit.text.isalnum() and guarded()):
        return f"[{unit.text}]"
    return unit.text


def quoted(text: str) -> str:
    """Return `text` in double quotes, with quotes, backslashes and control characters escaped as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def unquoted(label: str) -> str:
    """Return the label that `label_text` wrote."""
    return str(json.loads(label)) if label.startswith('"') else label


def label_text(value: Any) -> str:
    """Return a value of a choice as it is written in a look-up."""
    return quoted(value) if isinstance(value, str) else number_text(float(value))


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX.update({character: "\\" + character for character in "&%$#_{}"})


def latex_text(text: str) -> str:
    """Return `text` with the characters escaped that mean something to LaTeX."""
    return "".join(_LATEX.get(character, character) for character in text)
