"""The base of all models: write equations once; solve, sweep, invert and differentiate come with it.

A body is traced once for each structure of its inputs (which optional numbers its entries have, which precision) and
compiled; a scalar `solve` then costs an evaluation. Quantities are made when a field is read.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Operation
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.inputs import Input, check_all
from mlsysim_opt.units import NONE, Dimension, Unit, parse_unit, quantity, readable_unit, show

if TYPE_CHECKING:
    from mlsysim_opt.physics.sweep import Sweep


class Result:
    """What a model returns: while equations are written, expressions; once solved, quantities read lazily.

    Subclasses declare their fields as annotations, with the unit they are shown in after the field in `units`. Ratios
    and counts read as floats, labels as text, truths as bools. `constraints` are named truths; a result is `feasible`
    when all hold.
    """

    units: ClassVar[dict[str, str]] = {}
    floats: ClassVar[frozenset[str]] = frozenset()
    """Fields that read as a plain float in their unit."""

    constraints: Mapping[str, Any]
    assumptions: Mapping[str, str]

    def __init__(self, *, constraints: Mapping[str, Any] | None = None, **fields: Any) -> None:
        unknown = set(fields) - set(self.field_names())
        missing = set(self.field_names()) - set(fields)
        if unknown or missing:
            raise TypeError(f"{type(self).__name__}: unknown {sorted(unknown)}, missing {sorted(missing)}")
        self.__dict__.update(fields)
        self.__dict__["constraints"] = dict(constraints or {})
        self.__dict__["assumptions"] = {}

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The names of the fields, in order of declaration."""
        result: Any = cls
        names: tuple[str, ...] = _field_names(result)
        return names

    def expressions(self) -> dict[str, Expression]:
        """Return the fields that are expressions, by name."""
        return {name: self.__dict__[name] for name in self.field_names() if isinstance(self.__dict__[name], Expression)}


@functools.cache
def _field_names(result: Any) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for base in reversed(result.__mro__):
        if base not in (Result, Solved, object):
            names.update(
                dict.fromkeys(name for name in inspect.get_annotations(base) if name not in ("units", "floats"))
            )
    return tuple(names)


class Solved:
    """Mixed into a result whose values are known: fields are read from raw numbers on demand."""

    _traced: Traced
    _raw: list[Any]

    def __getattr__(self, name: str) -> Any:
        traced: Traced | None = self.__dict__.get("_traced")
        if traced is None or name not in traced.position:
            known = traced.position if traced else ()
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; fields: {', '.join(known)}")
        value = traced.read(name, self.__dict__["_raw"][traced.position[name]])
        self.__dict__[name] = value
        return value

    @property
    def constraints(self) -> dict[str, bool]:
        """Each named constraint and whether it holds."""
        traced: Traced = self.__dict__["_traced"]
        raw = self.__dict__["_raw"][len(traced.position) :]
        return dict(zip(traced.constraint_names, (bool(item) for item in raw), strict=True))

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds."""
        return all(self.__dict__["_raw"][len(self.__dict__["_traced"].position) :])

    def si(self, name: str) -> Any:
        """Return a field in base units, as a plain number."""
        traced: Traced = self.__dict__["_traced"]
        return self.__dict__["_raw"][traced.position[name]]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data: value and unit of each, the constraints, the assumptions."""
        traced: Traced = self.__dict__["_traced"]
        fields = {name: traced.plain(name, self.si(name)) for name in traced.position}
        return {
            "fields": fields,
            "constraints": self.constraints,
            "feasible": self.feasible,
            "assumptions": dict(self.__dict__["assumptions"]),
        }

    def __str__(self) -> str:
        traced: Traced = self.__dict__["_traced"]
        rows = [f"  {name} = {traced.shown(name, self.si(name))}" for name in traced.position]
        rows += [f"  {'holds' if ok else 'VIOLATED'}: {name}" for name, ok in self.constraints.items()]
        return "\n".join([f"{type(self).__bases__[1].__name__}", *rows])

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, (self.as_dict(),))


class Traced:
    """The equations of a model for one structure of inputs, compiled."""

    def __init__(self, result: Result, inputs: Sequence[Input]) -> None:
        self.result = result
        outputs = result.expressions()
        self.expressions = outputs
        self.position = {name: index for index, name in enumerate(outputs)}
        self.constraint_names = tuple(result.constraints)
        self.program = ScalarProgram([*outputs.values(), *result.constraints.values()])
        self.leaf_names = [leaf.name for leaf in self.program.leaves]
        kind: Any = type(result)
        self.solved_type: Any = _solved_type(kind)
        self.labels = {
            name: node.param for name, node in outputs.items() if isinstance(node, Operation) and node.sort == "label"
        }

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
            return int(value) if node.integer and value == value else float(value)
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
        if node.sort == "number":
            return show(value, node.dimension)
        return str(self.read(name, value))


@functools.cache
def _solved_type(result: Any) -> Any:
    return type(result.__name__, (Solved, result), {"__module__": result.__module__})


class Model:
    """A physical relation, written once.

    Subclasses state `inputs`, `aliases` and one method `equations`, which receives a leaf (or view) for each input and
    returns a `Result` of expressions. Everything else is inherited.
    """

    inputs: ClassVar[tuple[Input, ...]] = ()
    aliases: ClassVar[dict[str, str]] = {}
    example: ClassVar[dict[str, Any]] = {}
    """Inputs of a typical question: what the documentation prints, and where the tests of properties start."""
    _cache: ClassVar[dict[Any, Traced]]
    _keyed: ClassVar[tuple[Input, ...]] = ()
    """Inputs whose value, not only whose presence, decides the equations."""
    _compound: ClassVar[tuple[Input, ...]] = ()
    """Inputs that bind more leaves than one of their own name."""
    _defaults: ClassVar[tuple[tuple[str, Any, str], ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._cache = {}
        cls._keyed = tuple(item for item in cls.inputs if type(item).key is not Input.key)
        cls._compound = tuple(item for item in cls.inputs if type(item).bind is not Input.bind)
        cls._defaults = tuple((item.name, item.default, str(item.default)) for item in cls.inputs)

    def equations(self, **inputs: Any) -> Result:
        """Return the equations for these leaves. Arguments may be symbols, choices or expressions; the body is one."""
        raise NotImplementedError

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        """Derive what may be left out from what is given, on checked plain values."""
        return values

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each leaf beyond those the inputs make themselves (derived entries, overrides)."""
        return {}

    def trace(self, values: Mapping[str, Any]) -> Traced:
        """Return the compiled equations for the structure of these checked values."""
        absent = tuple([values[item.name] is None for item in self.inputs])
        key = (absent, *[_key(item, values[item.name]) for item in self._keyed])
        found = self._cache.get(key)
        if found is None:
            leaves = {
                item.name: None if values[item.name] is None else item.leaf(values[item.name]) for item in self.inputs
            }
            found = Traced(self.equations(**leaves), self.inputs)
            self._cache[key] = found
        return found

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        """Return every input, checked: positional arguments in the order of `inputs`, then by name or alias."""
        if len(args) > len(self.inputs):
            raise InputError(f"{type(self).__name__} takes at most {len(self.inputs)} arguments")
        for item, value in zip(self.inputs, args, strict=False):
            if item.name in given:
                raise InputError("is given twice", path=item.name)
            given[item.name] = value
        return self.prepare(check_all(self.inputs, given, self.aliases, type(self).__name__))

    def solve(self, *args: Any, **given: Any) -> Any:
        """Evaluate the model at one point; all inputs known.

        Returns:
            its result with quantities, `feasible`, and each constraint.
        Raises:
            InputError: an input is unknown, missing, of the wrong unit or out of range.
        """
        values = self.check(*args, **given)
        traced = self.trace(values)
        named = self.leaf_values(values)
        raw = traced.program.run([named[name] for name in traced.leaf_names])
        solved: Any = object.__new__(traced.solved_type)
        solved.__dict__.update(_traced=traced, _raw=raw, assumptions=self.assumptions(values))
        return solved

    def leaf_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of every leaf of the equations, by name, for checked inputs."""
        named = dict(values)  # what most inputs bind: their own name
        for item in self._compound:
            value = values[item.name]
            if value is not None:
                named.update(item.bind(value))
        named.update(self.bindings(values))
        return named

    def sweep(self, *, outputs: Sequence[str] | None = None, **given: Any) -> Sweep:
        """Evaluate the model for every combination of the inputs that are given as lists, as arrays.

        Args:
            outputs: the outputs wanted (``feasible`` among them); all when absent.
            given: the inputs; those given as a list, range or array are swept.
        Returns:
            a `Sweep`: arrays with one axis per swept input, in the order given.
        Raises:
            InputError: as in `solve`. A point that cannot be (a device without the precision, sizes that do not divide)
                is left undefined, and the reason listed, unless no point can be.
        """
        from mlsysim_opt.physics.sweep import sweep

        return sweep(self, given, outputs)

    def equations_latex(self, outputs: Sequence[str] | None = None, **given: Any) -> str:
        """Return the equations that run for these inputs (those of `example` when none are given) as LaTeX."""
        from mlsysim_opt.algebra import equations_latex

        traced = self.trace(self.check(**(given or self.example)))
        names = list(traced.expressions) if outputs is None else outputs
        return equations_latex({name: self.output(name, traced) for name in names})

    def solve_for(self, target: str, value: Any, *, unknown: str, **given: Any) -> Any:
        """Return the value of `unknown` that gives the output `target` this value; see `questions.solve_for`."""
        from mlsysim_opt.physics.questions import solve_for

        return solve_for(target, value, unknown=unknown, using=self, **given)

    def sensitivity(self, output: str, **given: Any) -> dict[str, float]:
        """Return the elasticity of an output to every continuous number; see `questions.sensitivity`."""
        from mlsysim_opt.physics.questions import sensitivity

        return sensitivity(self, output, given)

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the defaults that decided the answer, as text."""
        return {name: text for name, default, text in self._defaults if default == values[name]}

    def output(self, name: str, traced: Traced) -> Expression:
        """Return the expression of an output by name."""
        if name not in traced.expressions:
            raise UnknownNameError(f"output of {type(self).__name__}", name, list(traced.expressions))
        return traced.expressions[name]


def _key(item: Input, value: Any) -> Any:
    return None if value is None else item.key(value)
