"""Fields of catalog entries by path, and the conditions that `zoo list --filter` takes.

A condition is read by the package's own grammar, with units; text is never run. Fields that are words are compared as
names (``vendor = NVIDIA``); an entry without a field that a condition names does not fit it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import InputError, MlsysimError, ParseError, UnknownNameError

if TYPE_CHECKING:
    from mlsysim_opt.algebra import Expression
    from mlsysim_opt.registry.datum import Datum
    from mlsysim_opt.registry.entry import Entry

HEAD = ("name", "title", "kind", "group")
_WORDS = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(==|=|!=)\s*([^=<>\"'].*?)\s*")
_LONGER = re.compile(r"[<>=!\"'(]|\b(and|or|not|in)\b")
_CONDITION = re.compile(r"[<>=!]|\bin\b\s*\{")

Fits = Callable[["Entry"], bool]


def words(entry: Entry) -> dict[str, str]:
    """Return the fields of an entry that are words, truths or references to other entries, by name."""
    from mlsysim_opt.registry.entry import Entry as EntryType

    found = {"name": entry.name, "title": entry.title, "kind": entry.kind}
    for name, value in entry.__dict__.items():
        if name in (*HEAD[:2], "aliases", "source") or value is None:
            continue
        if isinstance(value, EntryType):
            found[name] = value.name
        elif isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, str):
            found[name] = value
    return found


def numbers(entry: Entry) -> dict[str, Datum]:
    """Return the numbers of an entry by path."""
    return entry.parameters()


def check_names(names: Iterable[str], entries: Sequence[Entry], option: str) -> None:
    """Raise for a name that is no field of any of the entries.

    Raises:
        UnknownNameError: the hint offers the nearest field.
    """
    known = known_fields(entries)
    for name in names:
        if entries and name not in known:
            raise UnknownNameError("field", name, known, path=option)


def known_fields(entries: Sequence[Entry]) -> list[str]:
    """Return the names of all fields that any of the entries has."""
    found: dict[str, None] = dict.fromkeys(HEAD)
    for entry in entries:
        found.update(dict.fromkeys(words(entry)))
        found.update(dict.fromkeys(numbers(entry)))
    return list(found)


def condition(text: str, entries: Sequence[Entry], option: str = "--filter") -> Fits:
    """Return a test of entries: a condition such as ``memory.capacity >= 80 GiB``, or a part of a name.

    Raises:
        UnknownNameError: a field is in no entry, or a word is the value of none. ParseError, UnitError: the condition
            cannot be read, or its units do not fit.
    """
    if not text.strip():
        raise InputError("is empty", path=option, hint="for example 'memory.capacity >= 80 GiB', or a part of a name")
    if not _CONDITION.search(text):
        return lambda entry: _named(entry, text.strip())
    plain = _WORDS.fullmatch(text)
    if plain is not None:
        found = _word_condition(plain[1], plain[2], plain[3], entries, option)
        if found is not None:
            return found
    try:
        return _parsed(text, entries)
    except MlsysimError as error:
        error.path = error.path or option
        raise


def _named(entry: Entry, wanted: str) -> bool:
    texts = (entry.name, entry.title, entry.group or "", *entry.aliases)
    return any(wanted.lower() in text.lower() for text in texts)


def _word_condition(name: str, relation: str, value: str, entries: Sequence[Entry], option: str) -> Fits | None:
    """Return the test of a field that is a word; None where it is a number, unknown, or part of something longer."""
    values = {words(entry).get(name) for entry in entries} - {None}
    if not values or any(name in numbers(entry) for entry in entries):
        return None
    by_fold = {item.lower(): item for item in values if item is not None}
    if value.lower() not in by_fold:
        if _LONGER.search(value):
            return None
        raise UnknownNameError(name, value, sorted(by_fold.values()), path=option)
    wanted = by_fold[value.lower()]
    return lambda entry: (
        (entry_words := words(entry)).get(name) is not None and ((entry_words[name] == wanted) is (relation != "!="))
    )


def _parsed(text: str, entries: Sequence[Entry]) -> Fits:
    from mlsysim_opt.algebra import ScalarProgram
    from mlsysim_opt.algebra.parse import parse

    leaves = _leaves(entries)
    truth = parse(text, leaves, what="filter")
    if truth.sort != "truth":
        raise ParseError("this is not a condition: nothing is compared", hint="for example memory.capacity >= 80 GiB")
    program = ScalarProgram([truth])

    def fits(entry: Entry) -> bool:
        amounts = numbers(entry).items()  # another kind may mean another thing by the same name
        same = {path: datum.si for path, datum in amounts if datum.dimension == leaves[path].dimension}
        have: dict[str, Any] = {**words(entry), **same}
        if any(leaf.name not in have for leaf in program.leaves):
            return False
        return bool(program.run_named(have)[0])

    return fits


def _leaves(entries: Sequence[Entry]) -> dict[str, Expression]:
    """Return a symbol for each number, and a choice for each word."""
    from mlsysim_opt.algebra import Choice, Symbol

    symbols: dict[str, Expression] = {}
    texts: dict[str, dict[str, None]] = {}
    for entry in entries:
        for path, datum in numbers(entry).items():
            symbols.setdefault(path, Symbol(path, datum.dimension, low=-float("inf")))
        for name, value in words(entry).items():
            texts.setdefault(name, {})[value] = None
    choices: dict[str, Expression] = {name: Choice(name, tuple(values)) for name, values in texts.items()}
    return {**choices, **symbols}
