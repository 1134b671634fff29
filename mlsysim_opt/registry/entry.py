"""The common base of all catalog entries: reading numbers, provenance, immutability."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from mlsysim_opt.errors import InputError, MissingFieldError, did_you_mean
from mlsysim_opt.registry.datum import Datum, Source
from mlsysim_opt.registry.fields import fault, resolve_source

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,79}")
NAME_RULE = "a name is a letter, then letters, digits, '_', '-', '.' or '+'"


class Part(BaseModel):
    """A group of fields. Numbers are stored as `Datum` and read as quantities, ints or floats."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return value.public if type(value) is Datum else value

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def leaves(self) -> Iterator[tuple[str, Datum]]:
        """Yield every number with its dotted path, those of referenced entries included."""
        for name, value in self.__dict__.items():
            if type(value) is Datum:
                yield name, value
            elif isinstance(value, Part):
                for path, datum in value.leaves():
                    yield f"{name}.{path}", datum

    def replacing(self, path: str, value: Any) -> Self:
        """Return a copy with something else at a dotted path, unchecked; everything else is the same."""
        step, _, rest = path.partition(".")
        return self.model_copy(update={step: self.__dict__[step].replacing(rest, value) if rest else value})

    def missing(self, entry: str, path: str) -> InputError:
        """Return the error for a number that this part does not hold; `path` is the path from the entry."""
        return MissingFieldError(entry, path)


class Entry(Part):
    """One thing of the catalog. Equal when type, name and all contents are equal; its name never changes.

    Attributes:
        name: the key, usable wherever an entry is expected.
        title: the name for people.
        group: the sub-namespace it stands in (``Cloud``, ``Language``), where there is one.
        aliases: other names it is found by.
        source: the source of every number that names none of its own.
    """

    kind: ClassVar[str] = ""

    name: str
    title: str
    group: str | None = None
    aliases: tuple[str, ...] = ()
    source: Any = None

    @field_validator("name", "title")
    @classmethod
    def _not_empty(cls, text: str, info: ValidationInfo) -> str:
        if not text.strip() or not text.isprintable():
            raise PydanticCustomError("catalog", "must be printable text, not empty")
        if info.field_name == "name" and not NAME.fullmatch(text):
            raise fault(InputError(f"{text!r} cannot be a name", hint=NAME_RULE))
        return text

    @field_validator("aliases", mode="before")
    @classmethod
    def _aliases(cls, raw: Any) -> Any:
        for alias in raw if isinstance(raw, list) else ():
            if not isinstance(alias, str) or not NAME.fullmatch(alias):
                raise fault(InputError(f"{alias!r} cannot be an alias", hint=NAME_RULE))
        return tuple(raw) if isinstance(raw, list) else raw

    @field_validator("source", mode="before")
    @classmethod
    def _source(cls, raw: Any, info: ValidationInfo) -> Source | None:
        if raw is None:
            return None
        try:
            return resolve_source(raw, info.context)
        except InputError as problem:
            raise fault(problem) from None

    @model_validator(mode="after")
    def _inherit_source(self) -> Self:
        _hand_down(self, self.__dict__["source"], "")
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of the numbers of this entry (and of the entries it refers to), each once."""
        found = {datum.source: None for _, datum in self.leaves() if datum.source is not None}
        return tuple(found)

    def parameters(self) -> dict[str, Datum]:
        """Return every number with its dotted path, ``memory.bandwidth``, ``node.accelerator.tdp``."""
        return dict(self.leaves())

    def parameter(self, path: str) -> Datum:
        """Return the number at a dotted path; pint is not involved.

        Raises:
            MissingFieldError: the entry has no such number; nothing is ever put in its place.
            UnsupportedPrecisionError: the path asks for the rate of a precision the device does not have.
        """
        here: Any = self
        for step in path.split("."):
            below = here.__dict__.get(step) if isinstance(here, Part) else None
            if below is None:
                raise self._absent(here, path, step)
            here = below
        if type(here) is not Datum:
            raise MissingFieldError(self.name, path, hint="this is a group of numbers or text, not one number")
        return here

    def _absent(self, here: Any, path: str, step: str) -> InputError:
        if isinstance(here, Part):
            declared = step in type(here).model_fields
            problem = here.missing(self.name, path)
            if problem.hint is None and not declared:
                problem.hint = did_you_mean(path, self.parameters())
            return problem
        return MissingFieldError(self.name, path, hint=did_you_mean(path, self.parameters()))

    def describe(self) -> str:
        """Return a text page: every number with its unit and its source."""
        rows = [(path, datum.text, datum.provenance) for path, datum in self.leaves()]
        wide = max((len(row[0]) for row in rows), default=0)
        mid = max((len(row[1]) for row in rows), default=0)
        lines = [f"{self.name}: {self.title} ({self.kind})"]
        lines += [f"  {path:<{wide}}  {text:<{mid}}  {origin}" for path, text, origin in rows]
        return "\n".join(lines)

    def __hash__(self) -> int:
        return hash((self.kind, self.__dict__["name"]))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __str__(self) -> str:
        return self.name


def _hand_down(part: Part, source: Source | None, prefix: str) -> None:
    """Give every number without a source that of its entry; refuse a number that then has none."""
    values = part.__dict__
    for name, value in list(values.items()):
        if type(value) is Datum and value.source is None and value.estimated is None:
            if source is None:
                raise PydanticCustomError(
                    "catalog",
                    "{message}",
                    {
                        "message": f"{prefix}{name} has no source",
                        "hint": "give the entry a source, or the number one",
                    },
                )
            values[name] = Datum(value.si, value.text, value.unit, value.dimension, value.kind, source, value.estimated)
        elif isinstance(value, Part) and not isinstance(value, Entry):
            _hand_down(value, source, f"{prefix}{name}.")
