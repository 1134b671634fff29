"""What the catalog says of the number at a path: between which bounds it has to be."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.registry.entry import Entry, Part
from mlsysim_opt.registry.fields import Number, Reference
from mlsysim_opt.registry.kinds import KINDS


def limits_of(path: str, values: Mapping[str, Any]) -> Number | None:
    """Return what the catalog says of the number at a path; None where it says nothing.

    Args:
        path: of a leaf, such as ``hardware.memory.bandwidth``. values: checked inputs of a model, entries among them.
    """
    steps = path.split(".")
    entry = values.get(steps[0])
    if isinstance(entry, Entry) and ".".join(steps[1:]) in entry.parameters():
        return _marker(type(entry), steps[1:])
    for at in reversed(range(len(steps) - 1)):  # the calibration of a device, the server it stands in
        if steps[at] in KINDS:  # of several entries, the name of one follows
            kind = KINDS[steps[at]].entry_type
            return _marker(kind, steps[at + 1 :]) or _marker(kind, steps[at + 2 :])
    return None


def _marker(part: Any, steps: Sequence[str]) -> Number | None:
    if not steps:
        return None
    info = part.model_fields.get(steps[0])
    if info is None:
        return None
    found = [*info.metadata, *_inside(info.annotation)]
    if len(steps) == 1:
        return next((item for item in found if isinstance(item, Number)), None)
    parts = [item for item in found if isinstance(item, type) and issubclass(item, Part)]
    references = [KINDS[item.kind].entry_type for item in found if isinstance(item, Reference)]
    return next((hit for item in [*parts, *references] if (hit := _marker(item, steps[1:])) is not None), None)


def _inside(annotation: Any) -> list[Any]:
    """Return what an annotation is made of."""
    made = typing.get_args(annotation)
    return [annotation, *(inner for item in made for inner in _inside(item))]
