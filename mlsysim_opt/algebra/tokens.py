"""The words of the text form, a cursor over them, and errors that point at a place in the text."""

from __future__ import annotations

import json
import re
from typing import NamedTuple, NoReturn, TypeVar

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

    def is_word(self, *words: str) -> bool:
        """Return whether it is one of these symbols or keywords."""
        return self.kind in ("symbol", "name") and not self.quoted and self.word in words

    @property
    def value(self) -> float:
        """The value of a number."""
        return float(self.word.replace("_", ""))

    @property
    def shown(self) -> str:
        """The word as messages name it."""
        return "the end" if self.kind == "end" else repr(self.word if len(self.word) < 40 else self.word[:36] + " ...")


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


class Cursor:
    """A place among the words of a text, which moves on as they are taken."""

    def __init__(self, text: str, what: str) -> None:
        self.text, self.what = text, what
        self.tokens = tokens(text, what)
        self.index = 0

    @property
    def token(self) -> Token:
        """The word that comes next."""
        return self.tokens[self.index]

    def following(self) -> Token:
        """Return the word after the next."""
        return self.tokens[min(self.index + 1, len(self.tokens) - 1)]

    def take(self) -> Token:
        """Return the next word and move on."""
        token = self.token
        if token.kind != "end":
            self.index += 1
        return token

    def at(self, *words: str) -> bool:
        """Return whether the next word is one of these symbols or keywords."""
        return self.token.is_word(*words)

    def expect(self, word: str, why: str) -> None:
        """Take the next word, which has to be this one."""
        if not self.at(word):
            self.fail(f"expected {word!r} {why}, found {self.token.shown}")
        self.take()

    def fail(self, message: str, token: Token | None = None, hint: str | None = None) -> NoReturn:
        """Raise the error that the text does not follow the grammar at a word, by default the next."""
        raise syntax_error(message, self.text, (token or self.token).column, hint)

    def located(self, error: MlsysimError, column: int) -> MlsysimError:
        """Return the error with this column, where it has none."""
        return error if error.column is not None else located(error, self.text, column)


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
