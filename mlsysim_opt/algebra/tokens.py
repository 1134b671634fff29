"""The words of the text form, and errors that point at a place in it."""

from __future__ import annotations

import json
import re
from typing import NamedTuple, TypeVar

from mlsysim_opt.errors import MlsysimError, ParseError
from mlsysim_opt.units import NUMBER

LONGEST_TEXT = 10_000

AnyError = TypeVar("AnyError", bound=MlsysimError)


class Token(NamedTuple):
    """A word of a text: its kind (number, name, string, symbol, end), its meaning and its column from 1."""

    kind: str
    word: str
    column: int
    quoted: bool = False


_TOKEN = re.compile(
    r"[ \t\r\n]*(?:"
    rf"(?P<number>{NUMBER})"
    r"|(?P<name>[A-Za-zµμ_][A-Za-z0-9µμ_]*(?:\.[A-Za-z0-9_]+)*)"
    r'|(?P<string>"(?:[^"\\\x00-\x1f]|\\.)*")'
    r"|(?P<label>'[^'\\\x00-\x1f]*')"
    r"|(?P<quoted_name>`(?:[^`\\\x00-\x1f]|\\.)*`)"
    r"|(?P<symbol>\*\*|<=|>=|==|!=|[-+*/^()<>=,:{}\[\]])"
    r"|(?P<end>\Z)"
    r")"
)
_ADVICE = {
    "≤": "write <=", "≥": "write >=", "≠": "write !=", "×": "write *", "·": "write *", "−": "write -", "÷": "write /",
    "%": "write percent", "$": "write USD", "&": "write and", "|": "write or", "!": "write not", "~": "write not",
    "'": "the quote is not closed", '"': "the quote is not closed", "`": "the quote is not closed",
    ".": "a name continues after a dot", ";": "give one expression at a time", "@": "only + - * / ^ are operators",
}  # fmt: skip


def located(error: AnyError, text: str, column: int) -> AnyError:
    """Return the error with the column, and the part of the text around it with a caret below."""
    start = max(0, column - 60)
    part = text[start : start + 100]
    shown = "".join(item if item.isprintable() else "·" for item in part)
    before, after = "... " if start else "", " ..." if start + 100 < len(text) else ""
    caret = " " * (len(before) + column - 1 - start) + "^"
    error.message = f"{error.message}\n    {before}{shown}{after}\n    {caret}"
    error.args = (error.message,)
    error.column = column
    return error


def syntax_error(message: str, text: str, column: int, hint: str | None = None) -> ParseError:
    """Return the error that the text does not follow the grammar at this column."""
    error = located(ParseError(message, hint=hint), text, column)
    error.text = text
    return error


def tokens(text: str, what: str) -> list[Token]:
    """Return the words of a text, the last of kind ``end``.

    Raises:
        ParseError: a character that the grammar does not use, or a text that is too long.
    """
    if len(text) > LONGEST_TEXT:
        raise ParseError(f"the {what} has {len(text)} characters; at most {LONGEST_TEXT} are read")
    found: list[Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None:
            raise _stray(text, position)
        kind = match.lastgroup or ""
        word, column = match.group(kind), match.start(kind) + 1
        found.append(_token(kind, word, column, text))
        position = match.end()
    return found


def _token(kind: str, word: str, column: int, text: str) -> Token:
    if kind == "label":
        return Token("string", word[1:-1], column)
    if kind == "string":
        try:
            return Token("string", json.loads(word), column)
        except ValueError:
            raise syntax_error("this quoted text has an unknown escape", text, column) from None
    if kind == "quoted_name":
        return Token("name", re.sub(r"\\(.)", r"\1", word[1:-1]), column, quoted=True)
    return Token(kind, "^" if word == "**" else word, column)


def _stray(text: str, position: int) -> ParseError:
    while text[position] in " \t\r\n":
        position += 1
    character = text[position]
    shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
    return syntax_error(f"{shown} is not allowed here", text, position + 1, hint=_ADVICE.get(character))
