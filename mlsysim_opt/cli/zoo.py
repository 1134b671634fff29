"""The commands that look into the catalog: zoo list and zoo show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import zoo_fields
from mlsysim_opt.cli.output import Answer, Screen
from mlsysim_opt.errors import InputError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from mlsysim_opt.registry.entry import Entry

SHOWN = {
    "accelerator": ("memory.capacity", "memory.bandwidth", "compute.peak.bf16", "tdp"),
    "node": ("accelerators_per_node", "nics_per_node", "max_power"),
    "fabric": ("bandwidth", "latency"),
    "fleet": ("node_count", "node.accelerators_per_node"),
    "storage": ("read_bandwidth", "write_bandwidth", "capacity"),
    "model": ("parameter_count", "layers", "hidden", "heads"),
    "workload": ("parameter_count", "forward_flops", "layers"),
    "grid": ("carbon_intensity",),
    "datacenter": ("pue", "carbon_intensity"),
    "price": ("rate", "price"),
    "profile": ("mean",),
}
"""The fields that a list of each kind shows; `zoo show` has them all."""


def listing(
    kind: str | None,
    filters: Sequence[str] = (),
    sort: str | None = None,
    *,
    descending: bool | None = None,
    columns: str | None = None,
    limit: int | None = None,
) -> Answer:
    """Return the entries of a kind, or of all kinds, that fit every filter.

    Args:
        kind: such as ``accelerator``. filters: see `zoo_fields.condition`.
        sort: a field; numbers come largest first, words in their order, unless `descending` says otherwise.
        columns: the fields to show, between commas. limit: how many entries to show at most.
    Raises:
        UnknownNameError: there is no such kind or field. InputError: another argument is not acceptable.
    """
    from mlsysim_opt.registry import default_catalog
    from mlsysim_opt.registry.kinds import KINDS, kind_of

    catalog = default_catalog()
    kinds = [kind_of(kind).name] if kind is not None else list(KINDS)
    every = [entry for name in kinds for entry in catalog.all(name)]
    wanted = _columns(columns, every)
    entries = every
    for text in filters:
        fits = zoo_fields.condition(text, every)
        entries = [entry for entry in entries if fits(entry)]
    if sort is not None:
        zoo_fields.check_names([sort], every, "--sort")
        entries = _sorted(entries, sort, descending)
    if limit is not None and limit < 1:
        raise InputError(f"{limit} is no number of entries", path="--limit", hint="at least 1")
    shown = entries if limit is None else entries[:limit]
    data = {
        "status": "ok",
        "count": len(entries),
        "entries": [_row(entry, wanted or _usual(entry.kind, sort)) for entry in shown],
    }
    overview = kind is None and not filters and sort is None and columns is None and limit is None

    def show(screen: Screen) -> None:
        if overview:
            counts = [(name, sum(entry.kind == name for entry in entries)) for name in kinds]
            screen.table("", ("kind", ">entries"), counts)
            screen.line("'mlsysim-opt zoo list KIND' lists them, 'mlsysim-opt zoo show NAME' shows one")
        else:
            _show_entries(screen, shown, wanted or (_usual(kinds[0], sort) if kind else []), kind is None, wanted)
            if len(shown) < len(entries):
                screen.line(f"{len(shown)} of {len(entries)} entries; --limit allows more")

    return Answer(data, show)


def _columns(text: str | None, entries: Sequence[Entry]) -> list[str]:
    if text is None:
        return []
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError("names no field", path="--columns", hint="for example --columns memory.capacity,tdp")
    zoo_fields.check_names(names, entries, "--columns")
    return list(dict.fromkeys(names))


def _usual(kind: str, sort: str | None) -> list[str]:
    fields = list(SHOWN.get(kind, ()))
    if sort is not None and sort not in (*fields, "name", "title"):
        fields.insert(0, sort)
    return fields


def _show_entries(
    screen: Screen, entries: Sequence[Entry], fields: Sequence[str], with_kind: bool, wanted: Sequence[str]
) -> None:
    if not entries:
        screen.line("no entry fits")
        return
    found = [(entry, zoo_fields.numbers(entry), zoo_fields.words(entry)) for entry in entries]
    fields = [name for name in fields if name in wanted or any(name in numbers for _, numbers, _ in found)]
    is_word = {name: not any(name in numbers for _, numbers, _ in found) for name in fields}
    rows = [
        (
            entry.name,
            *((entry.kind,) if with_kind else ()),
            *(numbers[name].text if name in numbers else words.get(name, "") for name in fields),
            *(() if wanted else (entry.title,)),
        )
        for entry, numbers, words in found
    ]
    heads = (name if is_word[name] else f">{name}" for name in fields)
    screen.table(
        "", ("name", *(("kind",) if with_kind else ()), *heads, *(() if wanted else ("title",))), rows, last_folds=True
    )


def _sorted(entries: list[Entry], field: str, descending: bool | None) -> list[Entry]:
    """Return entries in the order of a field; those without it come last."""
    amounts = [(zoo_fields.numbers(entry).get(field), entry) for entry in entries]
    if any(number is not None for number, _ in amounts):
        having = [(number.si, entry) for number, entry in amounts if number is not None]
        having.sort(key=lambda pair: pair[0], reverse=descending is not False)
        return [*(entry for _, entry in having), *(entry for number, entry in amounts if number is None)]
    texts = [(zoo_fields.words(entry).get(field), entry) for entry in entries]
    named = [(text.lower(), entry) for text, entry in texts if text is not None]
    named.sort(key=lambda pair: pair[0], reverse=descending is True)
    return [*(entry for _, entry in named), *(entry for text, entry in texts if text is None)]


def _row(entry: Entry, fields: Sequence[str]) -> dict[str, Any]:
    numbers, words = zoo_fields.numbers(entry), zoo_fields.words(entry)
    row: dict[str, Any] = {"kind": entry.kind, "name": entry.name, "title": entry.title, "group": entry.group}
    for name in fields:
        if name in numbers:
            row[name] = {"text": numbers[name].text, "si": numbers[name].si, "unit": numbers[name].unit or None}
        else:
            row[name] = words.get(name)
    return row


def show(name: str) -> Answer:
    """Return every number of the entry (or of the entries of several kinds) with this name.

    Raises:
        UnknownNameError: there is none.
    """
    found = list(named(name))
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


def named(name: str) -> Iterable[Entry]:
    """Return the entries of this name, of whatever kind.

    Raises:
        UnknownNameError: there is none; the hint offers the nearest.
    """
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
    return [(name, value) for name, value in zoo_fields.words(entry).items() if name not in ("name", "title", "kind")]


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
