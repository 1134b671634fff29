"""Numbers with units in the text form: which of the words behind a number are its unit, and which are names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn

from mlsysim_opt.algebra.expression import Constant, Expression
from mlsysim_opt.algebra.render import KEYWORDS
from mlsysim_opt.algebra.tokens import Cursor, Token, located
from mlsysim_opt.errors import MlsysimError, ScaleError, UnitError
from mlsysim_opt.units import DIMENSIONLESS, Unit, is_unit, parse_unit


class QuantityReader(Cursor):
    """Reads a number with its unit where it stands."""

    def __init__(self, text: str, names: Mapping[str, Expression], what: str) -> None:
        super().__init__(text, what)
        self.names = names

    def quantity(self, token: Token, literal: bool = False) -> Constant:
        """Return a number with the unit behind it.

        Args:
            token: the number.
            literal: nothing but literals may stand here, so that names of the expression are units all the same.
        """
        value = token.value
        if not math.isfinite(value):
            raise located(ScaleError("this number is outside the range of numbers"), self.text, token.column)
        if token.word.isdigit() and int(value) != int(token.word):
            raise located(ScaleError("no float holds this number exactly"), self.text, token.column)
        column = self.token.column
        try:
            return Constant(value, self._unit(token, {} if literal else self.names))
        except MlsysimError as error:
            raise self.located(error, column) from None

    def _unit(self, number: Token, names: Mapping[str, Expression]) -> Unit:
        if self.at("["):
            self.take()
            return self._bracketed_unit()
        if self.token.kind == "number":
            # Two numbers side by side are only meant as in 5 1/s.
            inverse = self.token.word == "1" and self.following().is_word("/")
            if not inverse or not self._unit_at(self.index + 2, names):
                self.fail(f"expected an operator between {number.word} and {self.token.word}")
        elif self.token.kind != "name" or self.token.quoted or self.token.word in KEYWORDS:
            return DIMENSIONLESS
        elif not is_unit(self.token.word):
            self._no_unit(number)
        words = [self.take().word, *self._power_of_unit()]
        while self.at("*", "/") and self._unit_at(self.index + 1, names):
            words.append(self.take().word)
            if self.at("("):
                words.extend(self._group())
            else:
                words.append(self.take().word)
            words.extend(self._power_of_unit())
        return parse_unit("".join(words))

    def _no_unit(self, number: Token) -> NoReturn:
        word = self.token.word
        if word in self.names:
            self.fail(f"expected an operator between {number.word} and {word}", hint=f"write {number.word} * {word}")
        try:
            parse_unit(word)
        except UnitError as error:
            error.message = f"unknown unit {word!r}"
            raise located(error, self.text, self.token.column) from None
        self.fail(f"{word!r} is not a unit")

    def _unit_at(self, index: int, names: Mapping[str, Expression]) -> bool:
        """Whether a unit stands here that is not meant as a name of the expression."""
        token = self.tokens[min(index, len(self.tokens) - 1)]
        after = self.tokens[min(index + 1, len(self.tokens) - 1)]
        if token.kind == "name":
            return is_unit(token.word) and not _is_number(token.word, names) and not after.is_word("(")
        return token.is_word("(") and self._group_end(index, names) is not None

    def _group_end(self, index: int, names: Mapping[str, Expression]) -> int | None:
        """Return where a parenthesis ends that holds units only."""
        depth, units = 0, 0
        for at in range(index, min(index + 40, len(self.tokens))):
            token = self.tokens[at]
            if token.kind == "name":
                if not is_unit(token.word) or _is_number(token.word, names):
                    return None
                units += 1
            elif token.is_word("("):
                depth += 1
            elif token.is_word(")"):
                depth -= 1
                if depth == 0:
                    return at if units else None
            elif not token.is_word("*", "/", "^") and not (token.kind == "number" and self.tokens[at - 1].is_word("^")):
                return None
        return None

    def _group(self) -> list[str]:
        end = self._group_end(self.index, {})
        assert end is not None
        words = [token.word for token in self.tokens[self.index : end + 1]]
        self.index = end + 1
        return words

    def _power_of_unit(self) -> list[str]:
        if not self.at("^"):
            return []
        if not self.following().word.isdigit():
            self.fail(
                "a power of a unit is a small whole number", hint="or put number and unit in parentheses: (5 s)^0.5"
            )
        return [self.take().word, self.take().word]

    def _bracketed_unit(self) -> Unit:
        words: list[str] = []
        while not self.at("]"):
            if self.token.kind not in ("name", "number", "symbol"):
                self.fail(f"expected ']' after the unit, found {self.token.shown}")
            words.append(self.take().word)
        self.take()
        return parse_unit("".join(words))


def _is_number(word: str, names: Mapping[str, Expression]) -> bool:
    """Whether a name of the expression may stand beside ``*`` and ``/``: a label may not."""
    try:
        return word in names and names[word].sort != "label"
    except MlsysimError:  # what a metric lacks is said where it is read
        return True
