"""The commands that look into the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from mlsysim_opt.registry.entry import Entry

SHOWN = {
    "accelerator": ("memory.capacity", "memory.bandwidth", "compute.peak.bf16", "tdp"),
    "node": ("accelerators_per_node", "nics_per_node", "power"),
    "fabric": ("bandwidth", "latency"),
    "fleet": ("node_count", "node.accelerators_per_node"),
    "model": ("parameter_count", "layers", "hidden", "heads"),
    "grid": ("carbon_intensity",),
    "datacenter": ("pue",),
    "price": ("price",),
}
"""The fields that a list of each kind shows; `zoo show` has them all."""


def listing(kind: str | None, wanted: str | None, sort: str | None) -> Answer:
    """Return the entries of a kind, or of all kinds; with a field to sort by, the largest first."""
    from mlsysim_opt.registry import default_catalog
    from mlsysim_opt.registry.kinds import KINDS, kind_of

    catalog = default_catalog()
    kinds = [kind_of(kind).name] if kind is not None else list(KINDS)
    entries = [entry for name in kinds for entry in catalog.all(name) if _matches(entry, wanted)]
    if sort is not None:
        entries = _sorted(entries, sort)
    data = {"status": "ok", "count": len(entries), "entries": [_row(entry, sort) for entry in entries]}

    def show(screen: Screen) -> None:
        if kind is None and wanted is None and sort is None:
            counts = [(name, sum(entry.kind == name for entry in entries)) for name in kinds]
            screen.table("", ("kind", ">entries"), counts)
            screen.line("'mlsysim-opt zoo list KIND' lists them, 'mlsysim-opt zoo show NAME' shows one")
        else:
            _show_entries(screen, entries, kinds if kind is not None else None, sort)

    return Answer(data, show)


def _show_entries(screen: Screen, entries: list[Entry], kinds: list[str] | None, sort: str | None) -> None:
    if not entries:
        screen.line("no entry fits")
        return
    fields = [*SHOWN.get(kinds[0], ())] if kinds else []
    if sort is not None and sort not in fields:
        fields.insert(0, sort)
    numbers = [(entry, entry.parameters()) for entry in entries]
    rows = [
        (entry.name, *(() if kinds else (entry.kind,)), *(_text(found, name) for name in fields), entry.title)
        for entry, found in numbers
    ]
    columns = ("name", *(() if kinds else ("kind",)), *(f">{name}" for name in fields), "title")
    screen.table("", columns, rows)


def _text(numbers: dict[str, Any], name: str) -> str:
    return numbers[name].text if name in numbers else ""


def _matches(entry: Entry, wanted: str | None) -> bool:
    if wanted is None:
        return True
    words = (entry.name, entry.title, entry.group or "", *entry.aliases)
    return any(wanted.lower() in word.lower() for word in words)


def _sorted(entries: list[Entry], field: str) -> list[Entry]:
    if field in ("name", "title"):
        return sorted(entries, key=lambda entry: str(getattr(entry, field)).lower())
    found = [(entry.parameters().get(field), entry) for entry in entries]
    if entries and not any(number is not None for number, _ in found):
        known = {name: None for entry in entries for name in entry.parameters()}
        raise UnknownNameError("field", field, ["name", *known], path="--sort")
    having = [(number.si, entry) for number, entry in found if number is not None]
    having.sort(key=lambda pair: -pair[0])
    return [*(entry for _, entry in having), *(entry for number, entry in found if number is None)]


def _row(entry: Entry, sort: str | None) -> dict[str, Any]:
    row = {"kind": entry.kind, "name": entry.name, "title": entry.title, "group": entry.group}
    numbers = entry.parameters()
    fields = [*SHOWN.get(entry.kind, ()), *([sort] if sort else [])]
    return {**row, **{name: _text(numbers, name) for name in fields if name in numbers}}


def show(name: str) -> Answer:
    """Return every number of the entry (or of the entries of several kinds) with this name.

    Raises:
        UnknownNameError: there is none.
    """
    found = list(_named(name))
    data = {"status": "ok", "entries": [_page(entry) for entry in found]}

    def show_pages(screen: Screen) -> None:
        for entry in found:
            screen.line(f"{entry.name}: {entry.title} ({entry.kind})", "bold")
            if entry.aliases:
                screen.line("also called " + ", ".join(entry.aliases))
            rows = [(path, datum.text, datum.provenance) for path, datum in entry.leaves()]
            facts = [(path, value, "") for path, value in _facts(entry)]
            screen.table("", ("field", ">value", "source"), [*facts, *rows])

    return Answer(data, show_pages)


def _named(name: str) -> Iterable[Entry]:
    from mlsysim_opt.registry import default_catalog
    from mlsysim_opt.registry.kinds import KINDS

    catalog = default_catalog()
    found = [catalog.find(kind, name) for kind in KINDS if catalog.lookup(kind, name) is not None]
    if not found:
        every = [known for kind in KINDS for known in catalog.names(kind)]
        hint = did_you_mean(name, every) or "'mlsysim-opt zoo list' says what there is"
        raise UnknownNameError("name in the catalog", name, every, hint=hint)
    return found


def _facts(entry: Entry) -> list[tuple[str, str]]:
    """Return the fields that are words or references: a generation, the accelerator of a node."""
    from mlsysim_opt.registry.entry import Entry as EntryType

    facts = []
    for name, value in entry.__dict__.items():
        if name in ("name", "title", "aliases", "source") or value is None:
            continue
        if isinstance(value, EntryType):
            facts.append((name, value.name))
        elif isinstance(value, str | bool):
            facts.append((name, str(value)))
    return facts


def _page(entry: Entry) -> dict[str, Any]:
    fields = [
        {
            "field": path,
            "text": datum.text,
            "si": datum.si,
            "unit": datum.unit or None,
            "source": str(datum.source) if datum.source is not None else None,
            "estimated": datum.estimated,
        }
        for path, datum in entry.leaves()
    ]
    head = {"kind": entry.kind, "name": entry.name, "title": entry.title, "aliases": list(entry.aliases)}
    return {**head, **dict(_facts(entry)), "fields": fields}
