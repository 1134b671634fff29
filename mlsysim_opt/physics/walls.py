"""The 22 walls: what limits a machine-learning system, which model answers for it, and the equation that model runs.

Names, questions, sources and worked examples stand in ``catalog/walls.yaml``; equations and values come from the
models.

Source: the taxonomy of mlsysim (22 walls in six domains).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

from mlsysim_opt.algebra import Choice, elasticity, symbols, topological
from mlsysim_opt.algebra.expression import Expression, Symbol
from mlsysim_opt.algebra.unknown import isolate
from mlsysim_opt.errors import CatalogError, UnknownNameError
from mlsysim_opt.physics import wall_equations
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Option, Switch
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.registry.datum import Source
from mlsysim_opt.units import Measure, parse_quantity

DOMAINS = ("node", "data", "algorithm", "fleet", "operations", "analysis")
LABEL = "catalog/walls.yaml"


@dataclass(frozen=True)
class Example:
    """A question with numbers, worked out by hand and by the model.

    Attributes:
        inputs: what the model is given. output: what is asked for: a field of the result, or a path below one.
        steps: the arithmetic, ``what it is: left side = right side``.
        answer: the result by hand, to the digits that are claimed.
    """

    inputs: dict[str, Any]
    output: str
    steps: tuple[str, ...]
    answer: str
    _wall: Wall = field(repr=False, compare=False)

    @property
    def by_hand(self) -> Measure:
        """The answer as a number with its unit."""
        return parse_quantity(self.answer)

    @cached_property
    def value(self) -> float:
        """What the model (or solver) answers, in the unit of the answer by hand."""
        solved: Any = self._wall.solve(**self.inputs)
        factor = self.by_hand.unit.factor
        if hasattr(solved, "si"):
            return float(solved.si(self.output)) / factor
        found = solved
        for step in self.output.split("."):
            found = found[step] if isinstance(found, dict) else getattr(found, step)
        return float(found.to_base_units().magnitude if hasattr(found, "to_base_units") else found) / factor

    @property
    def shown(self) -> str:
        """What the model answers, as text with two digits more than the answer by hand."""
        number, _, unit = self.answer.partition(" ")
        mantissa, letter, exponent = number.partition("e")
        digits = sum(char.isdigit() for char in mantissa.lstrip("-0."))
        value = self.value / 10 ** int(exponent or 0)
        return f"{value:.{digits + 2}g}{letter}{exponent} {unit}".strip()


@dataclass(frozen=True)
class Wall:
    """One of the walls.

    Attributes:
        number, name, domain: its place in the taxonomy. question: what one asks about it.
        resolver: the class that answers. also: other classes that have a part in it.
        outputs: outputs of the resolver whose equations are shown.
        sources: where the relation was published.
    """

    number: int
    name: str
    domain: str
    question: str
    resolver: str
    also: tuple[str, ...]
    outputs: tuple[str, ...]
    sources: tuple[Source, ...]
    _raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def resolver_class(self) -> Any:
        """The class that answers."""
        return _load(self._raw["resolver"])

    def solve(self, **inputs: Any) -> Any:
        """Ask the class that answers; a solver asks the model whose equations are shown."""
        asked = {"using": _load(self._raw["model"])} if "model" in self._raw else {}
        return self.resolver_class().solve(**inputs, **asked)

    @cached_property
    def example(self) -> Example:
        """A question with numbers, worked out by hand."""
        raw = self._raw["example"]
        inputs = raw.get("inputs") or self.resolver_class.example
        return Example(dict(inputs), raw["output"], tuple(raw["steps"]), str(raw["answer"]), self)

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """The inputs whose values are written into the equations, with those values."""
        asked, values = self._asked
        wanted = self._raw.get("written_in", ())
        known = [item for item in asked.inputs if isinstance(item, Option | Switch) or item.name in wanted]
        there = {leaf.name for leaf in topological([*self._roots.values()]) if isinstance(leaf, Symbol | Choice)}
        return {item.name: values[item.name] for item in known if item.name in there}

    @property
    def equation(self) -> str:
        """The equations that run, as text."""
        return wall_equations.text(self._parts, len(self._roots))

    @property
    def headline(self) -> str:
        """The first of the equations, as text."""
        return self.equation.partition("\n")[0]

    @property
    def latex(self) -> str:
        """The equations that run, as LaTeX (``align*``)."""
        return wall_equations.latex(self._parts, latex_symbols())

    @property
    def symbols(self) -> dict[str, str]:
        """What each symbol of the LaTeX stands for: LaTeX by name."""
        used = {leaf.name for node in self._parts.values() for leaf in symbols(node)}
        return {name: tex for name, tex in latex_symbols().items() if name in used}

    @cached_property
    def _asked(self) -> tuple[Model, dict[str, Any]]:
        """The model behind the equations, and its checked inputs: those of the example."""
        model: Model = _load(self._raw.get("model", self._raw["resolver"]))()
        names = {item.name for item in model.inputs} | set(model.aliases)
        given = self._raw.get("traced") or self.example.inputs
        return model, model.check(**{name: value for name, value in given.items() if name in names})

    @cached_property
    def traced(self) -> Traced:
        """The compiled equations of the model, for the structure of the example."""
        model, values = self._asked
        return model.trace(values)

    @cached_property
    def _roots(self) -> dict[str, Expression]:
        traced = self.traced
        if "elasticity" in self._raw:
            of, by = self._raw["elasticity"]["of"], self._raw["elasticity"]["by"]
            root = traced.expressions[of]
            return {f"elasticity of {of} to {by}": elasticity(root, _leaf(root, by))}
        if "inverse" in self._raw:
            of, by = self._raw["inverse"]["of"], self._raw["inverse"]["by"]
            root = traced.expressions[of]
            found = isolate(root, Symbol(f"target_{of}", root.dimension), _leaf(root, by))
            if found is None:
                raise CatalogError(f"{by} cannot be isolated in {of}", path=f"{LABEL}: {self.number}")
            return {by: found[0]}
        return {name: traced.expressions[name] for name in self.outputs}

    @cached_property
    def _parts(self) -> dict[str, Expression]:
        others = {name: node for name, node in self.traced.expressions.items() if name not in self._roots}
        return wall_equations.shown_parts(self._roots, others, self.fixed)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data, equations and the model's answer included."""
        return {
            "number": self.number,
            "name": self.name,
            "domain": self.domain,
            "question": self.question,
            "resolver": self.resolver,
            "also": list(self.also),
            "equation": self.equation,
            "latex": self.latex,
            "for": self.fixed,
            "example": {
                "inputs": self.example.inputs,
                "output": self.example.output,
                "steps": list(self.example.steps),
                "by_hand": self.example.answer,
                "model": self.example.shown,
            },
            "sources": [str(source) for source in self.sources],
        }


def _leaf(root: Expression, name: str) -> Symbol:
    return next(item for item in symbols(root) if item.name == name)


def _load(address: str) -> Any:
    """Return a class by its address below this package; walls 21 and 22 are answered by Tier 2."""
    module, _, name = address.rpartition(".")
    return getattr(importlib.import_module(f"mlsysim_opt.{module}"), name)


@functools.cache
def _document() -> dict[str, Any]:
    from importlib.resources import files

    from mlsysim_opt.registry.yaml_io import read_yaml

    data: dict[str, Any] = read_yaml(files("mlsysim_opt.catalog") / "walls.yaml", label=LABEL, error=CatalogError).data
    return data


def latex_symbols() -> dict[str, str]:
    """Return how names that occur often are set in LaTeX, by name."""
    found: dict[str, str] = _document()["symbols"]
    return found


@functools.cache
def _all() -> tuple[Wall, ...]:
    data = _document()
    sources = {key: Source.read(raw) for key, raw in data["sources"].items()}
    return tuple(_wall(raw, sources) for raw in data["walls"])


def _wall(raw: Mapping[str, Any], sources: Mapping[str, Source]) -> Wall:
    return Wall(
        number=raw["number"],
        name=raw["name"],
        domain=raw["domain"],
        question=raw["question"],
        resolver=raw["resolver"].rpartition(".")[2],
        also=tuple(raw.get("also", ())),
        outputs=tuple(raw["outputs"]),
        sources=tuple(sources[key] for key in raw["sources"]),
        _raw=raw,
    )


@overload
def walls(number: int) -> Wall: ...
@overload
def walls(number: None = None, *, domain: str | None = None, resolver: str | None = None) -> tuple[Wall, ...]: ...
def walls(
    number: int | None = None, *, domain: str | None = None, resolver: str | None = None
) -> Wall | tuple[Wall, ...]:
    """Return the walls, in order, or one of them by its number.

    Args:
        number: 1 to 22. domain: only those of a domain (see `DOMAINS`).
        resolver: only those that a class (by its name) answers or has a part in.
    Raises:
        UnknownNameError: there is no such wall, domain or resolver.
    """
    found = _all()
    if number is not None:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(found):
            raise UnknownNameError("wall", str(number), hint=f"walls are numbered 1 to {len(found)}")
        return found[number - 1]
    if domain is not None:
        if domain not in DOMAINS:
            raise UnknownNameError("domain", domain, DOMAINS)
        found = tuple(wall for wall in found if wall.domain == domain)
    if resolver is not None:
        known = {name for wall in found for name in (wall.resolver, *wall.also)}
        if resolver not in known:
            raise UnknownNameError("resolver", resolver, known)
        found = tuple(wall for wall in found if resolver in (wall.resolver, *wall.also))
    return found


def walls_of(resolver: str) -> tuple[Wall, ...]:
    """Return the walls that a class answers or has a part in; none for a class that has no part in any."""
    return tuple(wall for wall in _all() if resolver in (wall.resolver, *wall.also))


__all__ = ["DOMAINS", "Example", "Wall", "latex_symbols", "walls", "walls_of"]
