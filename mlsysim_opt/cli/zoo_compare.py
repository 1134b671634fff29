"""The command that sets entries of the catalog side by side: zoo compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import zoo, zoo_fields
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import InputError, UsageError

if TYPE_CHECKING:
    from mlsysim_opt.registry.datum import Datum
    from mlsysim_opt.registry.entry import Entry


def compare(names: Sequence[str], kind: str | None = None) -> Answer:
    """Return all fields of several entries of one kind, and each number as a multiple of that of the first.

    Args:
        names: two entries or more. kind: which kind is meant, where several have these names.
    Raises:
        UsageError: fewer than two are named, or one twice. UnknownNameError: one is not in the catalog.
        InputError: they are of different kinds.
    """
    entries = _entries(names, kind)
    found = [zoo_fields.numbers(entry) for entry in entries]
    paths = list(dict.fromkeys(path for item in found for path in item))
    words = [zoo_fields.words(entry) for entry in entries]
    facts = [name for name in dict.fromkeys(name for item in words for name in item) if name not in ("name", "kind")]
    rows = [(path, [item.get(path) for item in found]) for path in paths]
    data = {
        "status": "ok",
        "kind": entries[0].kind,
        "entries": [entry.name for entry in entries],
        "facts": [{"field": name, "values": [item.get(name) for item in words]} for name in facts],
        "fields": [
            {
                "field": path,
                "values": [_value(item) for item in line],
                "ratios": [_ratio(line[0], item) for item in line],
            }
            for path, line in rows
        ],
    }

    def show(screen: Screen) -> None:
        first, *others = (entry.name for entry in entries)
        heads = ("field", f">{first}", *(head for name in others for head in (f">{name}", ">")))
        texts = [(name, words[0].get(name, ""), *_spread([(item.get(name, ""), "") for item in words[1:]]))
                 for name in facts]  # fmt: skip
        amounts = [
            (path, _text(line[0]), *_spread([(_text(item), _times(_ratio(line[0], item))) for item in line[1:]]))
            for path, line in rows
        ]
        screen.table("", heads, [*texts, *amounts])

    return Answer(data, show)


def _entries(names: Sequence[str], kind: str | None) -> list[Entry]:
    from mlsysim_opt.registry import default_catalog
    from mlsysim_opt.registry.kinds import kind_of

    if len(names) < 2:
        raise UsageError("at least two names are needed", path="zoo compare", hint="for example zoo compare H100 H200")
    if kind is not None:
        wanted = kind_of(kind).name
        entries = [default_catalog().find(wanted, name) for name in names]
    else:
        by_kind = [{entry.kind: entry for entry in zoo.named(name)} for name in names]
        common = [name for name in by_kind[0] if all(name in item for item in by_kind)]
        if not common:
            shown = ", ".join(f"{name} ({' and '.join(item)})" for name, item in zip(names, by_kind, strict=True))
            raise InputError(f"only entries of one kind can be compared: {shown}", path="zoo compare")
        entries = [item[common[0]] for item in by_kind]
    for at, entry in enumerate(entries):
        if entry in entries[:at]:
            raise UsageError(f"{entry.name!r} is named twice", path="zoo compare")
    return entries


def _value(datum: Datum | None) -> dict[str, Any] | None:
    return None if datum is None else {"text": datum.text, "si": datum.si, "unit": datum.unit or None}


def _ratio(first: Datum | None, datum: Datum | None) -> float | None:
    """Return a number as a multiple of the first; None where one is missing or zero, or they measure other things."""
    if first is None or datum is None or not first.si or first.dimension != datum.dimension:
        return None
    return datum.si / first.si


def _text(datum: Datum | None) -> str:
    return "-" if datum is None else datum.text


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"x {ratio:.3g}"


def _spread(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [cell for pair in pairs for cell in pair]
