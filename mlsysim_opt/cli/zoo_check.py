"""The command that validates a user's own folder of catalog files, or reports on the catalog in use: zoo check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli.output import Answer, Screen, plain
from mlsysim_opt.errors import CatalogError, FileError, InputError

if TYPE_CHECKING:
    from mlsysim_opt.registry.catalog import Catalog
    from mlsysim_opt.registry.datum import Datum
    from mlsysim_opt.registry.entry import Entry, Part

NEAR = 0.05
"""A published parameter count and that of the shapes may differ by this share."""
SHOWN_PER_FILE = 20
"""Errors of one file that the text lists; ``--json`` has all of them."""


def check(folder: str) -> Answer:
    """Return what a folder holds, and which entries of the catalog it would replace.

    Raises:
        CatalogError: naming the faults of every file, each with its path, line and column. FileError: there is no
            such folder.
    """
    import warnings

    from mlsysim_opt.registry import default_catalog
    from mlsysim_opt.registry.kinds import KINDS
    from mlsysim_opt.registry.load import CatalogFileError, fold

    before = default_catalog()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is replaced is part of the answer
            catalog = before.with_folder(folder)
        own = list(_added(catalog, before))
        faults = list(_faults(catalog, own))
        if faults:
            raise CatalogFileError(folder, faults)
    except CatalogFileError as error:
        raise _all_of(error, folder) from None
    except CatalogError as error:
        if error.line is None and error.message.startswith(("no such", "is not a folder", "holds")):
            raise FileError(plain(error.message), path=plain(folder), hint=error.hint) from None
        raise
    collisions = [item for item in catalog.collisions if item not in before.collisions]
    taken = {(item.kind, fold(item.name)) for item in collisions}
    known = {name: set(before.names(name)) for name in KINDS}
    new = {name: [entry for entry in catalog.names(name) if entry not in known[name]] for name in KINDS}
    added = {name: [entry for entry in entries if (name, fold(entry)) not in taken] for name, entries in new.items()}
    notes = list(_uncalibrated(catalog, own))
    data: dict[str, Any] = {
        "status": "ok",
        "folder": folder,
        "added": {name: names for name, names in added.items() if names},
        "replaced": [
            {"kind": item.kind, "name": item.name, "replaced": item.replaced, "by": item.by} for item in collisions
        ],
        "warnings": notes,
    }

    def show(screen: Screen) -> None:
        screen.line(f"{folder}: no error", "bold green")
        for note in notes:
            screen.line(f"warning: {note}", "yellow")
        screen.table("Added to the catalog", ("kind", "entries"), [(k, ", ".join(v)) for k, v in data["added"].items()])
        rows = [(item.kind, item.name, item.replaced, item.by) for item in collisions]
        screen.table("Replaced (the catalog has them too)", ("kind", "entry", "of", "by"), rows)

    return Answer(data, show)


def _entries(catalog: Catalog) -> Iterator[Entry]:
    from mlsysim_opt.registry.kinds import KINDS

    for kind in KINDS:
        yield from catalog.all(kind)


def _added(catalog: Catalog, before: Catalog) -> Iterator[Entry]:
    """Yield the entries whose files are not those of the catalog before."""
    from mlsysim_opt.registry.kinds import KINDS

    for kind in KINDS:
        for name in catalog.names(kind):
            known = before.lookup(kind, name)
            if known is None or before.file_of(kind, known) is not catalog.file_of(kind, name):
                yield catalog.find(kind, name)


def _faults(catalog: Catalog, entries: Iterable[Entry]) -> Iterator[InputError]:
    """Yield what is wrong with entries although each field is right."""
    from mlsysim_opt.registry.scenario import ScenarioEntry
    from mlsysim_opt.scenarios.reading import split_faults

    for entry in entries:
        where = catalog.file_of(entry.kind, entry.name)
        wrong = count_fault(entry)
        if wrong is not None:
            hint = "correct the shapes, or the number; without it the shapes are counted"
            yield where.fault(("entries", entry.name, "parameter_count"), wrong, hint)
        if isinstance(entry, ScenarioEntry):
            for fault in split_faults(entry):
                key = str(fault.path).rpartition(".")[2]
                yield where.fault(("entries", entry.name, "split", key), fault.message, fault.hint, key=True)


def count_fault(entry: Entry) -> str | None:
    """Return what is wrong with the parameter count of a transformer, as the equations count its shapes; or None."""
    from mlsysim_opt.registry.workloads import Transformer

    if not isinstance(entry, Transformer) or entry.parameter_count is None:
        return None
    from mlsysim_opt.algebra.evaluate import evaluate
    from mlsysim_opt.physics.transformer import parameter_count
    from mlsysim_opt.physics.view import View

    view = View("model", [entry])
    counted, stated = float(evaluate(parameter_count(view), view.bindings())), int(entry.parameter_count)
    if abs(stated / counted - 1) <= NEAR:
        return None
    return f"{stated:.4g} parameters are stated, but the shapes of {entry.name} have {counted:.4g}"


def _uncalibrated(catalog: Catalog, entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a warning for each generation of accelerators that no calibration stands for."""
    from mlsysim_opt.registry.hardware import Accelerator

    known = set(catalog.names("calibration"))
    without: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, Accelerator) and entry.generation not in known:
            without.setdefault(entry.generation, []).append(entry.name)
    for generation, names in without.items():
        who = ", ".join(names)
        yield f"{who}: generation {generation!r} is not calibrated; questions about it need efficiency=..."


# the report -----------------------------------------------------------------------------------------------------------
def report() -> Answer:
    """Return what the catalog in use holds: entries and numbers of each kind, and where the numbers come from.

    Raises:
        CatalogError: an entry is not valid.
    """
    from mlsysim_opt.registry import default_catalog

    catalog = default_catalog()
    every = list(_entries(catalog))
    faults = list(_faults(catalog, every))
    rows, bare = _rows(every)
    notes = list(_uncalibrated(catalog, every))
    total = {name: sum(row[name] for row in rows) for name in ("entries", "numbers", "sourced", "estimated")}
    errors = [*(f"{item.path}: {item.message}" for item in faults), *(f"{item}: no unit or origin" for item in bare)]
    data: dict[str, Any] = {
        "status": "error" if errors else "ok",
        "kinds": rows,
        "total": total,
        "every_number_has_unit_and_origin": not bare,
        "errors": errors,
        "warnings": notes,
    }

    def show(screen: Screen) -> None:
        cells = [(*list(row.values())[:5], _years(row["first_year"], row["last_year"])) for row in rows]
        heads = ("kind", ">entries", ">numbers", ">with a source", ">estimated", ">years of the sources")
        screen.table("", heads, [*cells, ("all", *total.values(), "")])
        if not bare:
            screen.line("every number has a unit and a source or the reason of an estimate", "bold green")
        for error in errors:
            screen.line(f"error: {error}", "bold red")
        for note in notes:
            screen.line(f"warning: {note}", "yellow")

    return Answer(data, show, InputError.exit_code if errors else 0)


def _rows(entries: Sequence[Entry]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the counts of each kind, and the numbers that lack a unit or an origin. Each number counts once."""
    counts: dict[str, Counter[str]] = {}
    years: dict[str, list[int]] = {}
    bare: list[str] = []
    seen: set[int] = set()  # what a datacenter takes from its grid is the same object
    for entry in entries:
        row = counts.setdefault(entry.kind, Counter())
        row["entries"] += 1
        for path, datum in _own(entry):
            if id(datum) in seen:
                continue
            seen.add(id(datum))
            row["numbers"] += 1
            row["estimated" if datum.estimated is not None else "sourced"] += 1
            if datum.source is not None:
                years.setdefault(entry.kind, []).append(int(datum.source.date[:4]))
            if (datum.kind == "quantity" and not datum.unit) or not (datum.source or datum.estimated):
                bare.append(f"{entry.name}.{path}")
    rows = []
    for kind, row in counts.items():
        dates = years.get(kind, [])
        span = {"first_year": min(dates, default=None), "last_year": max(dates, default=None)}
        rows.append({"kind": kind, **{n: row[n] for n in ("entries", "numbers", "sourced", "estimated")}, **span})
    return rows, bare


def _own(part: Part, prefix: str = "") -> Iterator[tuple[str, Datum]]:
    """Yield the numbers of an entry itself, without those of the entries it names."""
    from mlsysim_opt.registry.datum import Datum
    from mlsysim_opt.registry.entry import Entry, Part

    for name, value in part.__dict__.items():
        if type(value) is Datum:
            yield f"{prefix}{name}", value
        elif isinstance(value, Part) and not isinstance(value, Entry):
            yield from _own(value, f"{prefix}{name}.")


def _years(first: int | None, last: int | None) -> str:
    return "" if first is None else str(first) if first == last else f"{first} to {last}"


def _all_of(error: Any, folder: str) -> CatalogError:
    """Return the error with the text of up to twenty faults of every file, not only of the first twenty in all."""
    if len(error.errors) == 1:
        return error.errors[0] if isinstance(error.errors[0], CatalogError) else error
    of_file: dict[str, list[InputError]] = {}
    for item in error.errors:
        of_file.setdefault(str(item.path).partition(": ")[0], []).append(item)
    lines = [f"{len(error.errors)} errors"]
    for label, faults in of_file.items():
        lines += ["  - " + str(item).replace("\n", "\n    ") for item in faults[:SHOWN_PER_FILE]]
        if len(faults) > SHOWN_PER_FILE:
            lines.append(f"  and {len(faults) - SHOWN_PER_FILE} more in {label}")
    error.message = "\n".join(lines)
    error.path = folder
    found: CatalogError = error
    return found
