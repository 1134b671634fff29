"""The text form of expressions: constraints, objectives and metrics as users write them.

A grammar of its own, read by precedence; text is never run as Python::

    1 <= tp_size <= 8                           comparisons, also in chains
    p99_latency <= 50 ms and cost < 2 MUSD      numbers with units; and, or, not
    cost + 100 USD/tCO2e * carbon               + - * / ^ (or **), parentheses
    recomputation == full                       a choice by its name, with or without quotes
    microbatch_size in {1, 2, 4}                one of several values
    max(compute_time, memory_time)              min abs ceil floor ceildiv mod divides exp log sqrt where
    lookup(gpu, "H100": 989 TFLOP/s, "A100": none "no FP8")
    argmax_label(compute: t1, memory: t2) == memory

A name directly after a number is its unit, and goes on over ``*`` and ``/`` as long as known units follow that are not
themselves names of numbers: ``100 USD/tCO2e * carbon``, ``cost / 2 USD``; a choice among labels may be called like a
unit, as nothing is divided by it. Brackets make it explicit: ``5 [GB/s]``. A name that is no plain word stands in
backquotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from mlsysim_opt.algebra.atoms import Table
from mlsysim_opt.algebra.atoms.base import P_AND, P_COMPARE, P_NOT, P_OR, P_POWER, P_PRODUCT, P_SUM
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import ATOMS, Constant, Expression, is_value, labels_of, short, symbols
from mlsysim_opt.algebra.quantities import QuantityReader
from mlsysim_opt.algebra.render import KEYWORDS, functions
from mlsysim_opt.algebra.tokens import Token, located, syntax_error
from mlsysim_opt.errors import (
    DimensionError,
    InputError,
    MlsysimError,
    ParseError,
    ScaleError,
    UnknownNameError,
)
from mlsysim_opt.units import (
    DIMENSIONLESS,
    NONE,
    Measure,
    as_time,
    customary_unit,
    dimension_text,
    is_unit,
    parse_quantity,
    parse_unit,
)

DEEPEST = 100
"""Nesting of parentheses and functions that is accepted."""

_COMPARISONS = {"<": "less", "<=": "less_equal", ">": "less", ">=": "less_equal", "=": "equal", "==": "equal",
                "!=": "not_equal"}  # fmt: skip
_BINARY = {"+": ("add", P_SUM), "-": ("subtract", P_SUM), "*": ("multiply", P_PRODUCT), "/": ("divide", P_PRODUCT),
           "^": ("power", P_POWER), "and": ("and", P_AND), "or": ("or", P_OR)}  # fmt: skip


def parse(text: str, names: Mapping[str, Expression], *, what: str = "constraint") -> Expression:
    """Return the expression that a text describes.

    Args:
        text: the text.
        names: what each name stands for: metrics, decisions, parameters.
        what: what the text is meant to be, for messages.
    Raises:
        ParseError: the text does not follow the grammar.
        UnknownNameError: a name is not among `names`; the hint offers the nearest.
        UnitError, DimensionError: a unit is unknown, missing, or does not fit.
    """
    if not isinstance(text, str):
        raise InputError(f"expected the text of a {what}, got {type(text).__name__}")
    return _Parser(text, names, what).whole()


def parse_number(text: str) -> Measure:
    """Return a number with its unit: ``30 ms``."""
    return parse_quantity(text)


def parse_assignment(text: str, names: Iterable[str]) -> tuple[str, Measure | str]:
    """Return name and value of ``name=value``, the value a number with its unit, or else a label.

    Raises:
        ParseError: there is no ``=``, or nothing beside it.
        UnknownNameError: the name is not among `names`.
    """
    name, equals, value = (item.strip() for item in text.partition("="))
    if not equals or not name or not value:
        raise ParseError(f"expected name=value, got {text[:80]!r}", hint="for example: batch_size=8")
    known = list(names)
    if name not in known:
        raise UnknownNameError("name", name, known)
    if re.match(r"[-+.]?[0-9]", value):
        return name, parse_number(value)
    return name, value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


class _Label(NamedTuple):
    """A quoted text, which only means something beside a choice."""

    text: str
    column: int


class _Parser(QuantityReader):
    def __init__(self, text: str, names: Mapping[str, Expression], what: str) -> None:
        super().__init__(text, names, what)
        self.functions = functions()
        self.written: dict[int, str] = {}
        self.depth = 0

    # the whole ----------------------------------------------------------------------------------------------
    def whole(self) -> Expression:
        if self.token.kind == "end":
            raise ParseError(f"the {self.what} is empty")
        result = self.number(self.expression(P_OR))
        if self.token.kind != "end":
            self.unexpected()
        return result

    def unexpected(self) -> NoReturn:
        token = self.token
        if token.kind in ("number", "name", "string") and not self.at("and", "or", "not", "in"):
            self.fail(f"expected an operator before {token.shown}")
        self.fail(f"unexpected {token.shown}")

    def number(self, value: Expression | _Label) -> Expression:
        """Refuse a quoted text where no choice stands beside it."""
        if isinstance(value, _Label):
            raise syntax_error(
                f"the text {value.text!r} stands alone",
                self.text,
                value.column,
                hint="a text is compared with a choice: recomputation == full",
            )
        return value

    def expression(self, level: int) -> Expression | _Label:
        """Read operators that bind at least as tightly as `level`."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"parentheses are nested more than {DEEPEST} deep")
        left = self.prefix(level)
        while True:
            token = self.token
            if level <= P_COMPARE and self.comparing():
                left = self.comparison(left)
            elif token.kind in ("symbol", "name") and not token.quoted and token.word in _BINARY:
                name, binds = _BINARY[token.word]
                if binds < level:
                    break
                self.take()
                # A power groups to the right, everything else to the left.
                right = self.number(self.expression(binds if name == "power" else binds + 1))
                left = self.binary(name, self.number(left), right, token)
            else:
                break
        self.depth -= 1
        return left

    def binary(self, name: str, left: Expression, right: Expression, token: Token) -> Expression:
        if name != "power":
            return self.apply(name, [left, right], token.column)
        raised = self.apply(name, [left, self.exponent(right, token)], token.column)
        if isinstance(left, Constant) and math.isinf(evaluate(raised)):
            raise located(ScaleError(f"{short(raised)} is too large"), self.text, token.column)
        return raised

    def exponent(self, node: Expression, token: Token) -> Expression:
        """Work out an exponent such as (1/3), which has to be a constant."""
        if isinstance(node, Constant) or node.sort != "number" or node.dimension != NONE:
            return node
        if node.choices or symbols(node):
            return node
        value = evaluate(node)
        if not math.isfinite(value):
            self.fail("this exponent is not a finite number", token)
        return Constant(value)

    def apply(self, name: str, args: Sequence[Expression], column: int) -> Expression:
        """Apply an atom; its complaints get the column."""
        try:
            return ATOMS[name](*args)
        except DimensionError as error:
            complaint = _missing_unit(args) or error
            for item in args:  # the user's word for it, not what stands behind that word
                if id(item) in self.written:
                    complaint.message = complaint.message.replace(short(item), self.written[id(item)])
            raise self.located(complaint, column) from None
        except MlsysimError as error:
            raise self.located(error, column) from None

    # comparisons --------------------------------------------------------------------------------------------
    def comparing(self) -> bool:
        token = self.token
        if token.quoted:
            return False
        if token.kind == "symbol":
            return token.word in _COMPARISONS
        return token.kind == "name" and (token.word == "in" or (token.word == "not" and self.following().is_word("in")))

    def comparison(self, left: Expression | _Label) -> Expression:
        """Read a chain of comparisons: ``1 <= tp_size <= 8`` means both."""
        result: Expression | None = None
        while self.comparing():
            token = self.take()
            link: Expression
            if token.word in ("in", "not"):
                if token.word == "not":
                    self.take()
                link = self.membership(self.number(left), token)
                link = ~link if token.word == "not" else link
                right: Expression | _Label = self.number(left)
            else:
                right = self.right_side(left)
                link = self.compare(token, left, right)
            result = link if result is None else result & link
            left = right
        assert result is not None
        return result

    def right_side(self, left: Expression | _Label) -> Expression | _Label:
        token = self.token
        labels = labels_of(left) if isinstance(left, Expression) and left.sort == "label" else ()
        word = token.word if labels and token.kind == "name" and not token.quoted else None
        # A label wins over a name; a word that is neither is reported as an unknown label.
        if word is not None and (word in labels or word not in self.names):
            self.take()
            return _Label(word, token.column)
        return self.expression(P_SUM)

    def compare(self, token: Token, left: Expression | _Label, right: Expression | _Label) -> Expression:
        if isinstance(left, _Label) and isinstance(right, Expression):
            left, right = right, left
        if isinstance(left, Expression) and isinstance(right, _Label):
            if token.word not in ("=", "==", "!="):
                self.fail("names are compared with == or != only", token)
            link = self.label(left, right)
            return ~link if token.word == "!=" else link
        first, second = self.number(left), self.number(right)
        if token.word in (">", ">="):
            first, second = second, first
        return self.apply(_COMPARISONS[token.word], _per_token(first, second), token.column)

    def label(self, left: Expression, label: _Label) -> Expression:
        if left.sort != "label":
            self.fail(f"{short(left)} is a {left.sort}; it has no value {label.text!r}", self.token_at(label.column))
        try:
            return is_value(left, label.text)
        except MlsysimError as error:
            raise self.located(error, label.column) from None

    def token_at(self, column: int) -> Token:
        return Token("", "", column)

    def membership(self, left: Expression, token: Token) -> Expression:
        """Read the set after ``in``."""
        closing = {"{": "}", "[": "]", "(": ")"}.get(self.token.word if self.token.kind == "symbol" else "")
        if closing is None:
            self.fail(f"expected a set such as {{1, 2, 4}} after 'in', found {self.token.shown}")
        if left.sort == "number" and not left.integer and not left.choices:
            self.fail("only a choice or a whole number can be 'in' a set", token, hint="use <= and >=")
        self.take()
        result: Expression | None = None
        while not self.at(closing):
            item = self.right_side(left)
            link = self.compare(Token("symbol", "==", self.token.column), left, item)
            result = link if result is None else result | link
            if not self.at(","):
                break
            self.take()
        self.expect(closing, "after the set")
        if result is None:
            self.fail("the set is empty", token)
        return result

    # operands -----------------------------------------------------------------------------------------------
    def prefix(self, level: int) -> Expression | _Label:
        token = self.token
        if token.kind == "symbol" and token.word in ("-", "+"):
            self.take()
            operand = self.number(self.expression(P_POWER))
            return self.apply("negate", [operand], token.column) if token.word == "-" else operand
        if self.at("not"):
            if level > P_NOT:
                self.fail("'not' needs parentheses here")
            self.take()
            return self.apply("not", [self.number(self.expression(P_NOT))], token.column)
        return self.primary()

    def primary(self) -> Expression | _Label:
        token = self.take()
        if token.kind == "number":
            return self.quantity(token)
        if token.kind == "string":
            return _Label(token.word, token.column)
        if token.kind == "name" and (token.quoted or token.word not in KEYWORDS):
            if self.at("(") and not token.quoted:
                return self.function(token)
            return self.name(token)
        if token.word == "(" and token.kind == "symbol":
            inner = self.number(self.expression(P_OR))
            self.expect(")", f"for the parenthesis of column {token.column}")
            return inner
        self.fail(f"expected a number or a name, found {token.shown}", token)

    def name(self, token: Token) -> Expression:
        found = self.names.get(token.word)
        if isinstance(found, Expression):
            self.written[id(found)] = token.word
            return found
        hint = None
        if not token.quoted and token.word in self.functions:
            hint = f"{token.word} is a function: {token.word}(...)"
        elif is_unit(token.word):
            hint = f"{token.word} is a unit; it stands after a number: 1 {token.word}"
        error = UnknownNameError("name", token.word, self.names, hint=hint)
        error.message += f" in the {self.what}"
        raise located(error, self.text, token.column)

    def function(self, token: Token) -> Expression:
        if token.word not in self.functions:
            if token.word in self.names:
                self.fail(f"{token.word} is not a function", token, hint=f"write {token.word} * (...)")
            raise located(UnknownNameError("function", token.word, self.functions), self.text, token.column)
        self.take()
        if token.word == "lookup":
            return self.lookup(token)
        if token.word == "argmax_label":
            return self.argmax_label(token)
        args = [] if self.at(")") else [self.number(self.expression(P_OR))]
        while self.at(","):
            self.take()
            args.append(self.number(self.expression(P_OR)))
        self.expect(")", f"after the arguments of {token.word}")
        return self.called(token, args)

    def called(self, token: Token, args: list[Expression]) -> Expression:
        name = self.functions[token.word]
        if token.word == "sqrt":
            self.count(token, args, 1)
            return self.apply("power", [args[0], Constant(0.5)], token.column)
        atom = ATOMS[name]
        if not atom.folds:
            self.count(token, args, atom.arity)
            return self.apply(name, args, token.column)
        if not args:
            self.fail(f"{token.word} takes one argument or more, got 0", token)
        result = args[0]
        for item in args[1:]:
            result = self.apply(name, [result, item], token.column)
        return result

    def count(self, token: Token, args: Sequence[Expression], wanted: int | None) -> None:
        if wanted is not None and len(args) != wanted:
            plural = "" if wanted == 1 else "s"
            self.fail(f"{token.word} takes {wanted} argument{plural}, got {len(args)}", token)

    # look-ups and labels ------------------------------------------------------------------------------------
    def lookup(self, token: Token) -> Expression:
        choice = self.number(self.expression(P_OR))
        known = labels_of(choice)
        rows: dict[object, tuple[Constant | None, str | None]] = {}
        options: dict[str, str] = {}
        while self.at(","):
            self.take()
            if self.token.kind == "name" and self.token.word in ("title", "unit") and self.following().is_word("="):
                self.option(options)
                continue
            key = self.take()
            label = self.row_label(key, known, choice)
            if label in rows:
                self.fail(f"{key.shown} appears twice in the look-up", key)
            self.expect(":", "after the label")
            rows[label] = self.entry()
        self.expect(")", "after the look-up")
        missing = [str(item) for item in known if item not in rows]
        if missing:
            self.fail(f"the look-up lacks {', '.join(missing)}", token)
        return self.table(token, choice, [(item, *rows[item]) for item in known], options)

    def option(self, options: dict[str, str]) -> None:
        name = self.take().word
        self.take()
        if self.token.kind != "string":
            self.fail(f"expected the {name} in quotes, found {self.token.shown}")
        options[name] = self.take().word

    def row_label(self, key: Token, known: Sequence[object], choice: Expression) -> object:
        if key.kind == "symbol" and key.word == "-" and self.token.kind == "number":
            key = Token("number", "-" + self.take().word, key.column)
        label: object = key.value if key.kind == "number" else key.word
        if key.kind not in ("number", "string", "name") or label not in known:
            raise located(
                UnknownNameError(f"value of {short(choice)}", key.word, [str(item) for item in known]),
                self.text,
                key.column,
            )
        return label

    def entry(self) -> tuple[Constant | None, str | None]:
        """Read a number of a look-up, or ``none`` with the reason."""
        if self.at("none"):
            self.take()
            return None, self.take().word if self.token.kind == "string" else None
        negative = self.at("-")
        if negative:
            self.take()
        if self.token.kind != "number":
            self.fail(f"expected a number or none, found {self.token.shown}")
        number = self.quantity(self.take(), literal=True)
        return Constant(-number.magnitude, number.unit) if negative else number, None

    def table(
        self,
        token: Token,
        choice: Expression,
        rows: Sequence[tuple[object, Constant | None, str | None]],
        options: Mapping[str, str],
    ) -> Expression:
        units = list(dict.fromkeys(number.unit for _, number, _ in rows if number is not None))
        unit = units[0] if units else DIMENSIONLESS
        try:
            if not units and "unit" in options:
                unit = parse_unit(options["unit"])
            if any(item.dimension != unit.dimension for item in units):
                raise DimensionError(f"a look-up cannot mix {', '.join(item.text for item in units)}")
            magnitudes = [
                None if item is None else item.magnitude if len(units) == 1 else item.value / unit.factor
                for _, item, _ in rows
            ]
            reasons = {str(label): reason for label, _, reason in rows if reason is not None}
            labels = [str(label) for label, _, _ in rows]
            table = Table(labels, magnitudes, unit, reasons, options.get("title", ""))
            return ATOMS["lookup"](choice, param=table)
        except MlsysimError as error:
            raise self.located(error, token.column) from None

    def argmax_label(self, token: Token) -> Expression:
        labels: list[str] = []
        values: list[Expression] = []
        while not labels or self.at(","):
            if labels:
                self.take()
            if self.token.kind not in ("name", "string"):
                self.fail(f"expected a label, found {self.token.shown}")
            labels.append(self.take().word)
            self.expect(":", "after the label")
            values.append(self.number(self.expression(P_OR)))
        self.expect(")", "after the arguments of argmax_label")
        try:
            return ATOMS["argmax_label"](*values, param=tuple(labels))
        except MlsysimError as error:
            raise self.located(error, token.column) from None


def _missing_unit(args: Sequence[Expression]) -> DimensionError | None:
    """Return the error for a bare number beside a quantity, with the unit it probably lacks."""
    bare = [item for item in args if isinstance(item, Constant) and item.dimension == NONE]
    other = next((item for item in args if item.dimension != NONE), None)
    if not bare or other is None:
        return None
    unit = other.unit if isinstance(other, Constant) else customary_unit(other.dimension)
    return DimensionError(
        f"{short(bare[0])} has no unit, but {short(other)} is {dimension_text(other.dimension)}",
        hint=f"write {short(bare[0])} {unit.text}",
    )


def _per_token(first: Expression, second: Expression) -> list[Expression]:
    """Read ``30 ms/token`` beside a time as ``30 ms``: the time between tokens is a time."""
    pair = [first, second]
    for index, item in enumerate(pair):
        if isinstance(item, Constant) and item.dimension != pair[1 - index].dimension:
            measure = as_time(Measure(item.magnitude, item.unit), pair[1 - index].dimension)
            pair[index] = Constant(measure.magnitude, measure.unit)
    return pair
