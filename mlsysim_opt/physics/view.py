"""Catalog entries as equations see them: every number is a named parameter leaf, bound only at evaluation.

Equal numbers of different meaning never merge, and a target, a sensitivity or a calibration can address each leaf by
its
path (``hardware.memory.bandwidth``). Where the entry itself is a choice, a leaf is a table over that choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

from mlsysim_opt.algebra.atoms import ATOMS, Table
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol
from mlsysim_opt.errors import InputError, MlsysimError
from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import NONE, Unit, dimension_text, parse_unit

Found = TypeVar("Found")


class View:
    """A catalog entry, or a choice among several of one kind, whose numbers are expressions.

    Args:
        prefix: the path under which its leaves are named.
        entries: the entry, or one entry for each value of `choice`.
        choice: the choice among the entries; None for a single entry.
        replaced: expressions that stand in place of numbers of the entries, by path.
    """

    def __init__(
        self,
        prefix: str,
        entries: Sequence[Entry],
        choice: Choice | None = None,
        replaced: Mapping[str, Expression] | None = None,
    ) -> None:
        if (choice is None and len(entries) != 1) or (choice is not None and len(choice.values) != len(entries)):
            raise InputError("one entry is needed for each value of the choice", path=prefix)
        self._prefix = prefix
        self._entries = tuple(entries)
        self._choice = choice
        self._replaced = dict(replaced or {})

    def replacing(self, **numbers: Expression) -> View:
        """Return the same view with these expressions in place of its own numbers."""
        return View(self._prefix, self._entries, self._choice, {**self._replaced, **numbers})

    def number(self, path: str) -> Expression:
        """Return the number at a dotted path as an expression.

        Raises:
            MissingFieldError: no entry has it. With a choice, entries that lack it are excluded with the reason.
        """
        if path in self._replaced:
            return self._replaced[path]
        if self._choice is None:
            datum = self._entries[0].parameter(path)
            return Symbol(f"{self._prefix}.{path}", datum.dimension, integer=datum.kind == "count")
        found: list[Datum | MlsysimError] = [_try(entry, path) for entry in self._entries]
        data = [item for item in found if isinstance(item, Datum)]
        if not data:
            raise next(item for item in found if isinstance(item, MlsysimError))
        reasons = {
            entry.name: item.message
            for entry, item in zip(self._entries, found, strict=True)
            if isinstance(item, MlsysimError)
        }
        of = data[0].dimension
        unit = Unit("dimensionless", 1.0, NONE) if of == NONE else parse_unit(dimension_text(of))
        values = [item.si if isinstance(item, Datum) else None for item in found]
        labels = [f'"{entry.name}"' for entry in self._entries]
        return ATOMS["lookup"](self._choice, param=Table(labels, values, unit, reasons, f"{self._prefix}.{path}"))

    def flag(self, name: str) -> Expression:
        """Return a yes/no property as the number 1 or 0."""
        values = [float(bool(getattr(entry, name))) for entry in self._entries]
        if self._choice is None:
            return Symbol(f"{self._prefix}.{name}", NONE, integer=True, high=1.0)
        labels = [f'"{entry.name}"' for entry in self._entries]
        return ATOMS["lookup"](self._choice, param=Table(labels, values, Unit("dimensionless", 1.0, NONE)))

    def has(self, part: str) -> bool:
        """Return whether the optional part is there; it decides the structure of the equations.

        Raises:
            InputError: some entries of the choice have it and others do not.
        """
        answers = {_present(entry, part) for entry in self._entries}
        if len(answers) > 1:
            raise InputError(f"entries with and without {part!r} cannot be one choice", path=self._prefix)
        return answers.pop()

    def below(self, part: str, entries: Sequence[Entry] | None = None) -> View:
        """Return the view of an entry that this one refers to (``fleet`` -> ``fleet.node``)."""
        inner = entries or [getattr(entry, part) for entry in self._entries]
        return View(f"{self._prefix}.{part}", inner, self._choice)

    @property
    def name(self) -> str:
        """The name of the entry, or of the choice."""
        return self._entries[0].name if self._choice is None else self._choice.name

    @property
    def choice(self) -> Choice | None:
        """The choice among its entries; None for a single one."""
        return self._choice

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self._entries

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.number(name)

    def bindings(self) -> dict[str, float]:
        """Return the value of every leaf of a single entry, by name; nothing for a choice (its tables hold them)."""
        if self._choice is not None:
            return {}
        return entry_bindings(self._prefix, self._entries[0])


KEPT = 512
"""Entries of which something is kept."""


def kept_by_entry(function: Callable[..., Found]) -> Callable[..., Found]:
    """Keep what a function returns for the last entries, by their identity: entries that differ in one number are many
    where one is solved for, and comparing them takes longer than most such functions."""
    kept: dict[Any, tuple[Entry, Found]] = {}

    @wraps(function)
    def found(entry: Entry, *rest: str) -> Found:
        key = (id(entry), *rest)
        hit = kept.get(key)
        if hit is None:
            if len(kept) >= KEPT:
                kept.clear()
            hit = kept[key] = entry, function(entry, *rest)
        return hit[1]

    return found


@kept_by_entry
def _leaf_values(entry: Entry, prefix: str) -> dict[str, float]:
    values = {f"{prefix}.{path}": float(datum.si) for path, datum in entry.parameters().items()}
    for name in type(entry).model_fields:
        item = entry.__dict__.get(name)
        if isinstance(item, bool):
            values[f"{prefix}.{name}"] = float(item)
    return values


def entry_bindings(prefix: str, entry: Entry) -> dict[str, float]:
    """Return the value of every leaf of an entry, by the leaf's name."""
    return _leaf_values(entry, prefix).copy()


def _try(entry: Entry, path: str) -> Datum | MlsysimError:
    try:
        return entry.parameter(path)
    except MlsysimError as error:
        return error


def _present(entry: Entry, part: str) -> bool:
    here: Any = entry
    for step in part.split("."):
        here = here.__dict__.get(step)
        if here is None:
            return False
    return True
