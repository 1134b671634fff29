"""Every error a user can meet, in one place.

An error says what was given, what was expected, the nearest valid name and what to do. It carries a
machine-readable `code`, where it was found (`path`, `line`, `column`) and a `hint`; the command line prints it
as text or, under ``--json``, as one object, and leaves with the class's `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

DOCS = "docs/errors.md"


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known names that look most like `name`, best first.

    Case, dashes, dots and underscores are ignored, so ``h100`` finds ``H100`` and ``batchsize`` finds ``batch_size``.
    """

    def fold(text: str) -> str:
        return "".join(character for character in text.lower() if character.isalnum())

    by_fold: dict[str, str] = {}
    for candidate in known:
        by_fold.setdefault(fold(candidate), candidate)
    found = difflib.get_close_matches(fold(name), list(by_fold), n=count, cutoff=0.55)
    return [by_fold[item] for item in found]


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean 'H100'?`` for a misspelt name, or None when nothing is near."""
    close = nearest(name, known)
    if not close:
        return None
    return "did you mean " + " or ".join(repr(item) for item in close) + "?"


class MlsysimError(Exception):
    """Base of all errors of this package.

    Args:
        message: what was given and what was expected.
        path: dotted path of the offending field or name, where there is one.
        line, column: position in a file or text, counted from 1.
        hint: what to do about it.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line
        self.column = column
        self.hint = hint

    def __str__(self) -> str:
        place = ""
        if self.path is not None:
            place = self.path
        if self.line is not None:
            place += f" (line {self.line}" + (f", column {self.column})" if self.column is not None else ")")
        elif self.column is not None:
            place += f" (column {self.column})"
        text = f"{place.strip()}: {self.message}" if place else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, Any]:
        """Return the error as the JSON object the command line prints."""
        return {
            "code": self.code,
            "message": self.message,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "hint": self.hint,
            "docs": f"{DOCS}#{self.code}",
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(kind: type[MlsysimError], args: tuple[Any, ...], state: dict[str, Any]) -> MlsysimError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(MlsysimError):
    """The command or call itself is malformed (an unknown option, two answers to one question)."""

    code = "usage"
    exit_code = 2


class InputError(MlsysimError, ValueError):
    """A value given by the user is not acceptable: wrong type, sign, range or size."""

    code = "bad-input"
    exit_code = 3


class UnitError(InputError):
    """A unit is unknown, missing, or of the wrong dimension for the place where it stands."""

    code = "bad-unit"


class DimensionError(UnitError, TypeError):
    """Two quantities of different dimension meet in one operation, or a result has the wrong dimension."""

    code = "dimension-mismatch"


class ParseError(InputError):
    """A constraint, objective or quantity text does not follow the grammar; `column` points at the place."""

    code = "cannot-parse"

    def __init__(self, message: str, *, text: str = "", column: int | None = None, hint: str | None = None) -> None:
        shown = message
        if text:
            shown += f"\n    {text}"
            if column is not None:
                shown += "\n    " + " " * (column - 1) + "^"
        super().__init__(shown, column=column, hint=hint)
        self.text = text


class SymbolicError(MlsysimError, TypeError):
    """Python control flow (`if`, `and`, `float()`) was applied to an expression whose value is not known yet."""

    code = "symbolic-truth-value"
    exit_code = 1


LONGEST_NAME = 200
"""Characters of a name that an error repeats."""


class UnknownNameError(InputError, KeyError):
    """A name is not in the place where it was looked up; the hint offers the nearest valid ones.

    Args:
        also: what may be done instead; said where no name is near.
    """

    code = "unknown-name"

    def __init__(self, what: str, name: str, known: Sequence[str] | Iterable[str] = (), **place: Any) -> None:
        names = list(dict.fromkeys(known))
        also = place.pop("also", None)
        hint = place.pop("hint", None) or did_you_mean(name, names)
        if hint is None and names:
            shown = ", ".join(sorted(names)[:12])
            hint = f"known: {shown}" + (" ..." if len(names) > 12 else "") + (f"; {also}" if also else "")
        written = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..."
        super().__init__(f"unknown {what} {written!r}", hint=hint, **place)
        self.name = name


class CatalogError(InputError):
    """A catalog file or entry is not valid: a wrong unit, a missing field, a duplicate, a broken reference."""

    code = "bad-catalog"


class FileError(MlsysimError):
    """A file could not be read or written."""

    code = "file"
    exit_code = 4


class PlanError(InputError):
    """A plan file is not valid: an unknown key, a value of the wrong type; all of its errors are named at once."""

    code = "bad-plan"

    def __init__(self, message: str, *, errors: Sequence[MlsysimError] = (), **place: Any) -> None:
        super().__init__(message, **place)
        self.errors = tuple(errors)

    @classmethod
    def of(cls, label: str, errors: Sequence[MlsysimError]) -> PlanError:
        """Return one error that names all of these, each with its place."""
        if len(errors) == 1 and isinstance(errors[0], PlanError):
            return errors[0]
        lines = [f"{len(errors)} errors", *("  - " + str(error).replace("\n", "\n    ") for error in errors)]
        return cls("\n".join(lines), path=label, errors=errors)

    def as_dict(self) -> dict[str, Any]:
        """Return the error as JSON, with all errors of the file under ``errors``, each with its own place."""
        return {**super().as_dict(), "errors": [error.as_dict() for error in self.errors]}


class MissingFieldError(InputError, AttributeError):
    """A number that decides the answer is absent: a price, a power, a rate. It is never replaced by a default."""

    code = "missing-value"

    def __init__(self, entry: str, field: str, *, needed_for: str | None = None, hint: str | None = None) -> None:
        reason = f", which {needed_for} needs" if needed_for else ""
        super().__init__(f"{entry} has no {field!r}{reason}", path=f"{entry}.{field}", hint=hint)
        self.entry = entry
        self.field = field


class UnsupportedPrecisionError(InputError):
    """The device has no rate for this precision; another one is never used in its place."""

    code = "unsupported-precision"

    def __init__(self, entry: str, precision: str, supported: Iterable[str]) -> None:
        names = sorted(supported)
        near = did_you_mean(precision, names)
        super().__init__(
            f"{entry} has no rate for precision {precision!r}",
            path=f"{entry}.compute.peak",
            hint=(near + " " if near else "") + "supported: " + ", ".join(names),
        )


class ScaleError(InputError, OverflowError):
    """A number is outside what can be represented exactly (an integer above 2**53, an int64 coefficient)."""

    code = "out-of-range"


class NotInvertibleError(MlsysimError):
    """No value of the unknown gives the target, or it cannot be isolated; the message says the attainable range."""

    code = "no-such-value"
    exit_code = 5


class InfeasibleError(MlsysimError):
    """No design satisfies every constraint.

    Attributes:
        conflict: an irreducible set of constraints, in the user's words, that cannot hold together.
        relaxations: for each constraint that can give way, the smallest change that makes a design possible.
        solves: feasibility programs that the conflict took, where it took some.
    """

    code = "infeasible"
    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        conflict: Sequence[str] = (),
        relaxations: Sequence[Any] = (),
        solves: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.conflict = tuple(conflict)
        self.relaxations = tuple(relaxations)
        self.solves = solves

    def as_dict(self) -> dict[str, Any]:
        """Return the error as JSON, with the conflict and the relaxations."""
        result = super().as_dict()
        result["status"] = "infeasible"
        result["conflict"] = list(self.conflict)
        result["feasibility_solves"] = self.solves
        result["relaxations"] = [item.as_dict() if hasattr(item, "as_dict") else item for item in self.relaxations]
        return result


class OOMError(MlsysimError):
    """What is to run needs more memory than there is.

    Args:
        required, available: bytes.
        what: who needs it. where: whose memory it is.
    Attributes:
        required_bytes, available_bytes: both again.
    """

    code = "out-of-memory"
    exit_code = 5

    def __init__(
        self, required: float, available: float, *, what: str = "this", where: str = "the memory", **place: Any
    ) -> None:
        short = f"{required / 2**30:.4g} GiB of memory, {where} has {available / 2**30:.4g} GiB"
        super().__init__(f"{what} needs {short}", **place)
        self.required_bytes = required
        self.available_bytes = available


class SLAViolation(MlsysimError):
    """What was promised of latency, throughput, power or accuracy is not kept.

    Args:
        metric: which promise. value, limit: what it is, and what it should have been, as text with units.
    """

    code = "sla-violated"
    exit_code = 5

    def __init__(self, metric: str, value: str, limit: str, **place: Any) -> None:
        super().__init__(f"{metric} is {value}, promised was {limit}", path=place.pop("path", metric), **place)
        self.metric, self.value, self.limit = metric, value, limit


class UnboundedError(MlsysimError):
    """The objective can be improved without limit."""

    code = "unbounded"
    exit_code = 6


class LimitReachedError(MlsysimError):
    """A time or size limit was reached before any design was found. This is not the same as infeasible."""

    code = "limit-reached"
    exit_code = 7


class SolverMissingError(MlsysimError, ImportError):
    """A solver cannot be loaded: not installed, or its version clashes with another one."""

    code = "solver-missing"
    exit_code = 9


class LibraryMissingError(MlsysimError, ImportError):
    """A library that only this needs is not installed; the hint says which extra brings it."""

    code = "library-missing"
    exit_code = 9


class SolverError(MlsysimError):
    """A solver gave up on a question in every way it has. That says nothing about the question."""

    code = "solver-gave-up"


class VerificationError(MlsysimError):
    """An answer did not survive its independent re-evaluation. It is withheld."""

    code = "verification-failed"
    exit_code = 1
