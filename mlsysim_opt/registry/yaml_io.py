"""Read YAML that other people wrote, safely and with places.

The text is read as a stream of parser events and the tree is built here, so that nesting, aliases, tags and
duplicate keys are refused while they are met, before anything has been expanded or any recursion has begun.
Plain scalars follow the YAML 1.2 core schema: ``NO``, ``yes`` and ``on`` are text, ``1:30`` is text, ``010``
is ten, ``1e3`` is a number. Every value keeps the line and column where it stands, so that a later check can
point at it.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from mlsysim_opt.errors import FileError, InputError, MlsysimError

MAX_BYTES = 5 * 2**20
MAX_DEPTH = 40
MAX_DIGITS = 400

KeyPath: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, int]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_NUMERIC = frozenset("+-.0123456789")
"""What a number begins with."""
_INT = re.compile(r"[-+]?[0-9]+")
_RADIX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = {".nan", ".NaN", ".NAN"}
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


@dataclass(frozen=True)
class Document:
    """One YAML document: plain Python data and the place of every value and key.

    Attributes:
        data: dicts with text keys, lists, text, numbers, booleans and None.
        label: the name of the file, for messages.
        values: place (line, column; from 1) of the value at each path.
        keys: place of the key at each path.
    """

    data: Any
    label: str
    values: dict[KeyPath, Place] = field(repr=False, default_factory=dict)
    keys: dict[KeyPath, Place] = field(repr=False, default_factory=dict)

    def place(self, path: KeyPath, *, key: bool = False) -> Place | None:
        """Return the place of the value (or of the key) at `path`, or of the nearest enclosing value."""
        table = self.keys if key else self.values
        if path in table:
            return table[path]
        while path:
            path = path[:-1]
            if path in self.values:
                return self.values[path]
        return None


def read_yaml(
    source: str | os.PathLike[str] | Traversable,
    *,
    label: str | None = None,
    error: type[InputError] = InputError,
) -> Document:
    """Read one YAML file.

    Args:
        source: a path, or a resource of a package.
        label: the name shown in messages; by default the path as given.
        error: the class of errors to raise.
    Returns:
        the document with its places.
    Raises:
        InputError: (or `error`) the file is missing, not a regular file, unreadable, too large, not UTF-8,
            empty, not YAML, or uses what is not allowed here: aliases, tags, duplicate keys, several
            documents, deep nesting.
    """
    shown = label if label is not None else str(source)
    return parse_yaml(_read_bytes(source, shown, error, error), label=shown, error=error)


def parse_yaml(content: str | bytes, *, label: str = "<text>", error: type[InputError] = InputError) -> Document:
    """Read one YAML document from memory; see `read_yaml`."""
    text = _decode(content, label, error) if isinstance(content, bytes) else content
    if len(text) > MAX_BYTES:
        raise error(f"larger than the limit of {MAX_BYTES >> 20} MiB", path=label)
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        raise error("contains a NUL character: this is not a text file", path=label, line=line)
    return _Builder(text.removeprefix("\ufeff"), label, error).document()


def read_text(source: str | os.PathLike[str], *, label: str | None = None, error: type[InputError] = InputError) -> str:
    """Return the text of a file of any form under the same rules: a regular file of limited size, in UTF-8.

    Raises:
        FileError: the file is missing, not a regular file, or unreadable. InputError: (or `error`) it is too large, or
            not UTF-8.
    """
    shown = label if label is not None else str(source)
    return _decode(_read_bytes(source, shown, error, FileError), shown, error).removeprefix("\ufeff")


def _read_bytes(
    source: str | os.PathLike[str] | Traversable, label: str, error: type[InputError], unread: type[MlsysimError]
) -> bytes:
    if not isinstance(source, str | os.PathLike):
        return source.read_bytes()
    path = Path(source)
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise unread("no such file", path=label) from None
    except (OSError, ValueError) as problem:
        if path.is_dir():
            raise unread("is a folder, a file is expected", path=label) from None
        raise unread(f"cannot be read: {_reason(problem)}", path=label) from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "is a folder, a file is expected" if stat.S_ISDIR(mode) else "is not a regular file"
        raise unread(what, path=label)
    with os.fdopen(handle, "rb") as stream:
        try:
            content = stream.read(MAX_BYTES + 1)
        except OSError as problem:
            raise unread(f"cannot be read: {_reason(problem)}", path=label) from None
    if len(content) > MAX_BYTES:
        raise error(f"larger than the limit of {MAX_BYTES >> 20} MiB", path=label)
    return content


def _reason(problem: Exception) -> str:
    return (getattr(problem, "strerror", None) or str(problem)).lower()


def _decode(content: bytes, label: str, error: type[InputError]) -> str:
    if content.startswith(_WIDE_MARKS):
        raise error("is UTF-16 or UTF-32, UTF-8 is expected", path=label, hint="save the file as UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"is not UTF-8: byte 0x{content[problem.start]:02x}",
            path=label,
            line=line,
            hint="save the file as UTF-8",
        ) from None


@dataclass
class _Frame:
    """A list or mapping under construction; `key` is the mapping key whose value is awaited."""

    container: dict[str, Any] | list[Any]
    path: KeyPath
    key: str | None = None


class _Builder:
    def __init__(self, text: str, label: str, error: type[InputError]) -> None:
        self.text, self.label, self.error = text, label, error
        self.values: dict[KeyPath, Place] = {}
        self.keys: dict[KeyPath, Place] = {}
        self.stack: list[_Frame] = []
        self.roots: list[Any] = []

    def document(self) -> Document:
        try:
            loader = _Loader(self.text)
            while loader.check_event():
                self._take(loader.get_event())
        except (yaml.YAMLError, UnicodeEncodeError) as problem:
            raise self._syntax(problem) from None
        if not self.roots or (self.roots == [None] and not self.text.strip()):
            raise self.error("is empty", path=self.label)
        return Document(self.roots[0], self.label, self.values, self.keys)

    def _take(self, event: Any) -> None:
        mark = event.start_mark
        place = (mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):  # most events are scalars
            self._check_node(event, place)
            self._scalar(event, place)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check_node(event, place)
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], place)
        elif isinstance(event, yaml.AliasEvent):
            raise self._fault(f"alias *{event.anchor} is not allowed", place, "write the value out")
        elif isinstance(event, yaml.DocumentStartEvent) and self.roots:
            raise self._fault("holds more than one document", place, "one document a file; remove '---'")

    def _check_node(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            raise self._fault(f"anchor &{event.anchor} is not allowed", place, "write the value out")
        if event.tag is not None:
            raise self._fault(f"tag {event.tag!r} is not allowed", place, "remove the tag")

    def _open(self, container: dict[str, Any] | list[Any], place: Place) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise self._fault(f"is nested deeper than {MAX_DEPTH} levels", place)
        if self.stack and isinstance(self.stack[-1].container, dict) and self.stack[-1].key is None:
            raise self._fault("a key must be plain text", place)
        path = self._add(container, place)
        self.stack.append(_Frame(container, path))

    def _scalar(self, event: Any, place: Place) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            self._start_key(top, event.value, place)
        else:
            self._add(event.value if not event.implicit[0] else self._core(event.value, place), place)

    def _start_key(self, top: _Frame, key: str, place: Place) -> None:
        path = (*top.path, key)
        if not key:
            raise self._fault("a key is empty", place)
        if key in top.container:
            first = self.keys[path][0]
            raise self._fault(f"key {key!r} stands twice (first on line {first})", place)
        self.keys[path] = place
        top.key = key

    def _add(self, value: Any, place: Place) -> KeyPath:
        if not self.stack:
            self.roots.append(value)
            path: KeyPath = ()
        else:
            top = self.stack[-1]
            if isinstance(top.container, dict):
                assert top.key is not None
                path = (*top.path, top.key)
                top.container[top.key], top.key = value, None
            else:
                path = (*top.path, len(top.container))
                top.container.append(value)
        self.values[path] = place
        return path

    def _core(self, text: str, place: Place) -> Any:
        """Resolve a plain scalar by the YAML 1.2 core schema."""
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if text[0] not in _NUMERIC:
            return text
        if _INT.fullmatch(text) or _FLOAT.fullmatch(text) or _RADIX.fullmatch(text):
            if len(text) > MAX_DIGITS:
                raise self._fault(f"a number of {len(text)} characters is not sensible", place)
            if _RADIX.fullmatch(text):
                return int(text, 0)
            return int(text) if _INT.fullmatch(text) else float(text)
        if _INFINITE.fullmatch(text):
            return float(text.replace(".", ""))
        return float("nan") if text in _NAN else text

    def _fault(self, message: str, place: Place, hint: str | None = None) -> InputError:
        return self.error(message, path=self.label, line=place[0], column=place[1], hint=hint)

    def _syntax(self, problem: yaml.YAMLError | UnicodeEncodeError) -> InputError:
        mark = getattr(problem, "problem_mark", None)
        what = getattr(problem, "problem", None) or getattr(problem, "reason", None) or "not readable"
        if "nesting depth" in what:  # libyaml has a limit of its own, and looks ahead
            return self.error(
                f"is nested deeper than {MAX_DEPTH} levels", path=self.label, line=mark.line + 1 if mark else None
            )
        lines = self.text.splitlines()
        tab = mark is not None and mark.line < len(lines) and "\t" in lines[mark.line]
        return self.error(
            f"is not valid YAML: {what}",
            path=self.label,
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
            hint="indent with spaces, not with tabs" if tab else None,
        )
