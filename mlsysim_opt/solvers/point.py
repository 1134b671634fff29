"""One output of a model at one point: its equations, and the values of their leaves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from mlsysim_opt.algebra.derive import elasticities
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, symbols
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.units import NONE, Dimension, quantity, readable_unit


class Point:
    """One output of a model for certain inputs.

    Args:
        model: the model. values: its inputs, checked. output: the output, a number.
    Raises:
        UnknownNameError: the model has no such output. InputError: the output is no number, or what it needs is not
            known.
    """

    def __init__(self, model: Model, values: Mapping[str, Any], output: str) -> None:
        if not isinstance(output, str):
            raise InputError(f"expected the name of an output, got {output!r}", path="output")
        self.model, self.values, self.output = model, values, output
        self.traced = model.trace(values)
        model.check_known(output, self.traced, values)
        numbers = number_outputs(self.traced.expressions)
        if output not in self.traced.expressions:
            raise UnknownNameError(f"output of {type(model).__name__}", output, numbers, path="output")
        if output not in numbers:
            raise InputError(
                f"{output} is a {self.traced.expressions[output].sort}, not a number", path="output",
                hint="outputs that are numbers: " + ", ".join(numbers),
            )  # fmt: skip
        self.root: Expression = self.traced.expressions[output]
        self.named = dict(model.leaf_values(values))

    def __reduce__(self) -> tuple[Any, ...]:
        return Point, (self.model, self.values, self.output)

    @cached_property
    def leaves(self) -> dict[str, Symbol]:
        """The continuous numbers the output depends on, by name."""
        return {item.name: item for item in symbols(self.root) if not item.integer and self.named[item.name]}

    @cached_property
    def numbers(self) -> dict[str, Symbol]:
        """These, and those that only constraints depend on."""
        rules = symbols(*self.traced.result.constraints.values())
        return {**self.leaves, **{item.name: item for item in rules if not item.integer and self.named[item.name]}}

    @cached_property
    def base(self) -> float:
        """The output in base units."""
        return self.value({})

    @cached_property
    def _program(self) -> ScalarProgram:
        return ScalarProgram([self.root])

    @cached_property
    def _relative(self) -> ScalarProgram:
        return ScalarProgram(elasticities(self.root, list(self.leaves.values())))

    def scaled(self, factors: Mapping[str, float]) -> dict[str, Any]:
        """Return the values of the leaves with some multiplied."""
        return {**self.named, **{name: self.named[name] * factor for name, factor in factors.items()}}

    def value(self, factors: Mapping[str, float]) -> float:
        """Return the output with some leaves multiplied."""
        return float(self._program.run_named(self.scaled(factors))[0])

    def change(self, leaves: Iterable[str], factor: float) -> float | None:
        """Return the relative change of the output when leaves are multiplied, by evaluating it again; None where a
        leaf would leave its range or the output has no finite value."""
        every = self._all_symbols
        mine = [name for name in leaves if name in every]
        for name in mine:
            here = self.named[name] * factor
            if not every[name].low <= here <= every[name].high:
                return None
        there = self.value(dict.fromkeys(mine, factor))
        return there / self.base - 1 if math.isfinite(there) and math.isfinite(self.base) else None

    @cached_property
    def _all_symbols(self) -> dict[str, Symbol]:
        return {item.name: item for item in symbols(self.root)}

    def elasticities(self, factors: Mapping[str, float] | None = None) -> dict[str, float | None]:
        """Return the elasticity to every continuous number, with some leaves multiplied; None where there is none."""
        found = self._relative.run_named(self.scaled(factors or {}))
        return {
            name: change if math.isfinite(change) else None for name, change in zip(self.leaves, found, strict=True)
        }


def number_outputs(expressions: Mapping[str, Expression]) -> list[str]:
    """Return the names of the outputs that are numbers."""
    return [name for name, node in expressions.items() if node.sort == "number"]


def measured(si: float, of: Dimension) -> Any:
    """Return a value in base units as users calculate with it: a quantity in a readable unit, or a float."""
    return float(si) if of == NONE else quantity(si, readable_unit(si, of))


def plain(si: float, of: Dimension) -> dict[str, Any]:
    """Return a value in base units as JSON data: a number, and the unit in which it is read easily."""
    unit = readable_unit(si, of)
    return {"value": si / unit.factor if math.isfinite(si) else None, "unit": None if of == NONE else unit.text}


__all__ = ["Point", "measured", "number_outputs", "plain"]
