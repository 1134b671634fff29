"""The equations of a model, compiled: for one structure of inputs (`Traced`), and with the values of entries (`Bound`).

A model's body is traced once for each structure. The first questions about some entries of the catalog run the program
of the structure; after a few, what depends on the entries alone is computed once and for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Operation
from mlsysim_opt.units import NONE, Dimension, Unit, has_ladder, parse_unit, quantity, readable_unit, show

if TYPE_CHECKING:
    from mlsysim_opt.physics.base import Result

ALL, CONSTRAINTS = "\nall", "\nconstraints"
"""Programs of a model beside those of its outputs; no output has such a name."""
SOON = 4
"""Runs after which a program of its own pays for the same entries: compiling one costs about as much as fifty runs,
and who asks so often will mostly ask on."""


class Traced:
    """The equations of a model for one structure of inputs, compiled as far as they are asked for."""

    def __init__(self, result: Result) -> None:
        self.result = result
        outputs = result.expressions()
        self.expressions = outputs
        self.position = {name: index for index, name in enumerate(outputs)}
        self.constraint_names = tuple(result.constraints)
        self.everything = {**result.constraints, **outputs}
        self._parts: dict[str, ScalarProgram] = {}
        self._arrays: dict[tuple[str, ...], ArrayProgram] = {}
        self.labels = {
            name: node.param for name, node in outputs.items() if isinstance(node, Operation) and node.sort == "label"
        }

    @cached_property
    def program(self) -> ScalarProgram:
        """Everything: the outputs, then the constraints."""
        return ScalarProgram([*self.expressions.values(), *self.result.constraints.values()])

    @cached_property
    def leaf_names(self) -> list[str]:
        """The names of the leaves of `program`, in its order."""
        return [leaf.name for leaf in self.program.leaves]

    def roots(self, part: str) -> list[Expression]:
        """Return the expressions of one output, of `ALL` outputs or of the `CONSTRAINTS`."""
        wanted = {ALL: self.expressions, CONSTRAINTS: self.result.constraints}
        return list(wanted[part].values()) if part in wanted else [self.expressions[part]]

    def part(self, part: str) -> ScalarProgram:
        """Return the program of these expressions."""
        found = self._parts.get(part)
        if found is None:
            found = self._parts[part] = ScalarProgram(self.roots(part))
        return found

    def arrays(self, names: Sequence[str]) -> ArrayProgram:
        """Return the program for many points of these outputs and constraints."""
        key = tuple(names)
        if key not in self._arrays:
            self._arrays[key] = ArrayProgram([self.everything[name] for name in names])
        return self._arrays[key]

    def unit_of(self, name: str, value: float) -> Unit:
        """Return the unit a field is shown in."""
        text = self.result.units.get(name)
        of: Dimension = self.expressions[name].dimension
        return parse_unit(text) if text else readable_unit(value, of)

    def read(self, name: str, value: Any) -> Any:
        """Return a raw value as users see it."""
        node = self.expressions[name]
        if node.sort == "label":
            return self.labels[name][int(value)]
        if node.sort == "truth":
            return bool(value)
        if node.dimension == NONE:
            return int(value) if node.integer and math.isfinite(value) else float(value)
        unit = self.unit_of(name, value)
        if name in self.result.floats:
            return value / unit.factor
        return quantity(value, unit)

    def plain(self, name: str, value: Any) -> Any:
        """Return a raw value as JSON data."""
        node = self.expressions[name]
        if node.sort != "number" or node.dimension == NONE:
            seen = self.read(name, value)
            return None if isinstance(seen, float) and not math.isfinite(seen) else seen
        unit = self.unit_of(name, value)
        return {"value": value / unit.factor if math.isfinite(value) else None, "unit": unit.text}

    def shown(self, name: str, value: Any) -> str:
        """Return a raw value as text."""
        node = self.expressions[name]
        if node.sort != "number":
            return str(self.read(name, value))
        text = self.result.units.get(name)
        if text and not has_ladder(node.dimension):  # prices and rates have no unit that everybody reads
            unit = parse_unit(text)
            return f"{value / unit.factor:,.4g} {unit.text}"
        return show(value, node.dimension)


class Bound:
    """The equations for one structure of inputs and certain entries of the catalog.

    Attributes:
        traced: the equations. known: the values of the leaves that the entries bind, by name.
        result_type: what a solved question is. kept: the entries, whose identities stand for them in a key.
    """

    def __init__(self, traced: Traced, known: Mapping[str, Any], result_type: Any, kept: Any) -> None:
        self.traced = traced
        self.known = known
        self.result_type = result_type
        self.kept = kept
        self._runs: dict[str, int] = {}
        self._parts: dict[str, tuple[Any, list[str]]] = {}

    def run(self, part: str, values: Mapping[str, Any]) -> list[Any]:
        """Return the raw values of one output, of `ALL` outputs or of the `CONSTRAINTS`, for checked inputs."""
        found = self._parts.get(part)
        if found is None:
            runs = self._runs[part] = self._runs.get(part, 0) + 1
            if runs <= SOON:
                program, known = self.traced.part(part), self.known
                return program.run([
                    known[leaf.name] if leaf.name in known else values[leaf.name] for leaf in program.leaves
                ])  # fmt: skip
            program = ScalarProgram(self.traced.roots(part), self.known)
            found = self._parts[part] = program.run, [leaf.name for leaf in program.leaves]
        run, names = found
        raw: list[Any] = run([values[name] for name in names])
        return raw
