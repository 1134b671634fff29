"""What one unit of a limit is worth, as people ask for it: ``USD/kW`` where they wrote kW and pay in USD.

Only the dimension of such a number is certain: in base units a USD per kW would be a ``s*USD/J``.
"""

from __future__ import annotations

import math
import re
from typing import Any

from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.units import (
    DIMENSIONLESS,
    NONE,
    NUMBER,
    POWER,
    TIME,
    Dimension,
    Unit,
    as_measure,
    customary_unit,
    has_ladder,
    parse_unit,
    readable_unit,
)

RELATION = re.compile("(<=|>=)")
_WRITTEN = re.compile(rf"(?<![\w.])({NUMBER}\s*[A-Za-zµμ][\w/^*()µμ]*)")
_OF_PLANS = {TIME: "h", POWER: "kW"}
"""Units of what plans take, where it is not that of a single device or step."""
_SIBILANTS = ("ches", "shes", "sses", "xes", "zes")


def per_unit(value: float, objective: str, limit: Unit) -> Value:
    """Return what one unit of a limit is worth.

    Args:
        value: in base units. objective: the unit that the objective is shown in; empty for plain numbers.
        limit: the unit of the limit.
    """
    text = "" if objective == limit.text else objective
    if limit.text not in (DIMENSIONLESS.text, objective):
        below = f"({limit.text})" if re.search("[/*]", limit.text) else limit.text
        text = f"{objective or 1}/{below}"
    number = value / (parse_unit(text).factor if text else 1.0)
    return Value(number if math.isfinite(number) else None, text)


def written_unit(constraint: Any, of: Dimension) -> Unit | None:
    """Return the unit that a limit of a dimension is written in; None where it is not told (by a function, say)."""
    if of == NONE:
        return DIMENSIONLESS
    if not isinstance(constraint, str):
        return None
    sides = [piece.strip() for piece in RELATION.split(constraint)]
    for piece in [*sides, *_WRITTEN.findall(constraint)]:
        try:
            measure = as_measure(piece)
        except InputError:
            continue
        if measure.dimension == of:
            return measure.unit
    return None


def limit_unit(constraint: Any, of: Dimension) -> Unit:
    """Return the unit that a limit is written in, or the one that people mostly write."""
    written = written_unit(constraint, of)
    if written is not None:
        return written
    if of in _OF_PLANS:
        return parse_unit(_OF_PLANS[of])
    return customary_unit(of) if has_ladder(of) else readable_unit(1.0, of)


def counted(constraint: str) -> str:
    """Return what a limit without a unit counts ("gpus" of ``gpus <= 64``); nothing where it is no word for several."""
    words = [piece.strip() for piece in RELATION.split(constraint)]
    word = next((piece for piece in words if piece.isidentifier()), "")
    return word if _one_of(word) else ""


def per_one(counts: str) -> str:
    """Return a text for one of what is counted (" per gpu"); nothing where `counts` is no word for several."""
    one = _one_of(counts)
    return f" per {one}" if one else ""


def _one_of(word: str) -> str:
    """Return what one of several is called; nothing where this is no word for several."""
    if not word.isidentifier() or len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return ""
    return (word[:-2] if word.endswith(_SIBILANTS) else word[:-1]).replace("_", " ")
