"""The base of all models: write equations once; solve, sweep, invert and differentiate come with it.

A body is traced once for each structure of its inputs (which optional numbers its entries have, which precision) and
compiled; a scalar `solve` then costs an evaluation. Quantities are made when a field is read.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Operation
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.inputs import REQUIRED, Input, check_all
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.units import NONE, Dimension, Unit, has_ladder, parse_unit, quantity, readable_unit, show

if TYPE_CHECKING:
    from mlsysim_opt.physics.sweep import Sweep
    from mlsysim_opt.registry.catalog import Catalog


class Result:
    """What a model returns: while equations are written, expressions; once solved, quantities read lazily.

    Subclasses declare their fields as annotations, with the unit they are shown in after the field in `units`. Ratios
    and counts read as floats, labels as text, truths as bools. `constraints` are named truths; a result is `feasible`
    when all hold. A field that needs what the catalog may lack can hold the error that says so (`known`): it is raised
    when that field is read.
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
    """Mixed into a result whose inputs are known: what is read is evaluated, a few fields one by one, then all."""

    _traced: Traced

    def __getattr__(self, name: str) -> Any:
        traced: Traced | None = self.__dict__.get("_traced")
        if traced is None or name not in traced.position:
            held = None if traced is None else traced.result.__dict__.get(name)
            if isinstance(held, MlsysimError):
                raise copy.copy(held)
            known = traced.position if traced else ()
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; fields: {', '.join(known)}")
        value = traced.read(name, self.si(name))
        self.__dict__[name] = value
        return value

    @property
    def _holds(self) -> list[Any]:
        """The truths of the constraints, in order."""
        here = self.__dict__
        if "_truths" not in here:
            here["_truths"] = here["_traced"].run(CONSTRAINTS, here["_given"])
        found: list[Any] = here["_truths"]
        return found

    @property
    def constraints(self) -> dict[str, bool]:
        """Each named constraint and whether it holds."""
        traced: Traced = self.__dict__["_traced"]
        return dict(zip(traced.constraint_names, (bool(item) for item in self._holds), strict=True))

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds."""
        return all(self._holds)

    def si(self, name: str) -> Any:
        """Return a field in base units, as a plain number."""
        here = self.__dict__
        traced: Traced = here["_traced"]
        seen: dict[str, Any] = here["_seen"]
        if name not in seen:
            if len(seen) < FEW:
                seen[name] = traced.run(name, here["_given"])[0]
            else:
                seen.update(zip(traced.position, traced.run(ALL, here["_given"]), strict=True))
        return seen[name]

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

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a result is immutable: {name!r} cannot be set")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__["_traced"].position})

    def __reduce__(self) -> tuple[Any, ...]:
        here = self.__dict__
        return _solved_again, (here["_model"], dict(here["_values"]))


FEW = 3
"""Fields that are evaluated one by one before all of them are."""
ALL, CONSTRAINTS = "\nall", "\nconstraints"
"""Programs of a model beside those of its outputs; no output has such a name."""


class Traced:
    """The equations of a model for one structure of inputs, compiled as far as they are asked for."""

    def __init__(self, result: Result, inputs: Sequence[Input]) -> None:
        self.result = result
        outputs = result.expressions()
        self.expressions = outputs
        self.position = {name: index for index, name in enumerate(outputs)}
        self.constraint_names = tuple(result.constraints)
        self.program = ScalarProgram([*outputs.values(), *result.constraints.values()])
        self.leaf_names = [leaf.name for leaf in self.program.leaves]
        self._parts: dict[str, tuple[ScalarProgram, list[int]]] = {}
        self.sources: list[tuple[int, str]] | None = None
        """For each leaf, which of the mappings of `Model.leaf_sources` holds its value; known after the first run."""
        kind: Any = type(result)
        self.solved_type: Any = _solved_type(kind)
        self.labels = {
            name: node.param for name, node in outputs.items() if isinstance(node, Operation) and node.sort == "label"
        }

    def run(self, part: str, given: Sequence[Any]) -> list[Any]:
        """Return the raw values of one output, of `ALL` outputs or of the `CONSTRAINTS`, for values of all leaves."""
        found = self._parts.get(part)
        if found is None:
            wanted = {ALL: self.expressions, CONSTRAINTS: self.result.constraints}
            roots = list(wanted[part].values()) if part in wanted else [self.expressions[part]]
            program = ScalarProgram(roots)
            found = program, [self.leaf_names.index(leaf.name) for leaf in program.leaves]
            self._parts[part] = found
        return found[0].run([given[at] for at in found[1]])

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

    def __init_subclass__(cls) -> None:
        cls._cache = {}
        cls._keyed = tuple(item for item in cls.inputs if type(item).key is not Input.key)
        cls._compound = tuple(item for item in cls.inputs if type(item).bind is not Input.bind)
        if "solve" not in cls.__dict__:
            cls.solve = _documented(cls)  # type: ignore[method-assign]

    def equations(self, **inputs: Any) -> Result:
        """Return the equations for these leaves. Arguments may be symbols, choices or expressions; the body is one."""
        raise NotImplementedError

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        """Derive what may be left out from what is given, on checked plain values."""
        return values

    def bindings(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
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
        return self.solved(self.check(*args, **given))

    def solved(self, values: dict[str, Any]) -> Any:
        """Return the result for checked inputs."""
        traced = self.trace(values)
        solved: Any = object.__new__(traced.solved_type)
        leaves = self._leaf_list(traced, values)
        solved.__dict__.update(
            _traced=traced, _given=leaves, _seen={}, _model=type(self), _values=values,
            assumptions=self.assumptions(values),
        )  # fmt: skip
        return solved

    def _leaf_list(self, traced: Traced, values: Mapping[str, Any]) -> list[Any]:
        """Return the values of the leaves in the order of the program, without merging all that is bound."""
        if type(self).leaf_values is not Model.leaf_values:
            named = self.leaf_values(values)
            return [named[name] for name in traced.leaf_names]
        compound = [item for item in self._compound if values[item.name] is not None]
        sources: list[Mapping[str, Any]] = [values, *[item.bind(values[item.name]) for item in compound]]
        sources.append(self.bindings(values))
        if traced.sources is None:
            traced.sources = [
                (max((at for at, source in enumerate(sources) if name in source), default=0), name)
                for name in traced.leaf_names
            ]  # later ones win, as in `leaf_values`
        return [sources[at][name] for at, name in traced.sources]

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
        model: Any = type(self)
        settled = _read_defaults(default_catalog(), model)
        found = {name: text for name, default, text in settled if default == values[name]}
        if values.get("efficiency", self) is None:
            found["efficiency"] = "calibrated"
        return found

    def output(self, name: str, traced: Traced) -> Expression:
        """Return the expression of an output by name."""
        if name not in traced.expressions:
            raise UnknownNameError(f"output of {type(self).__name__}", name, list(traced.expressions))
        return traced.expressions[name]


def _solved_again(kind: type[Model], values: dict[str, Any]) -> Any:
    """Return a result that was pickled or copied: the same equations for the same inputs."""
    return kind().solved(values)


@functools.lru_cache
def _read_defaults(catalog: Catalog, model: Any) -> tuple[tuple[str, Any, str], ...]:
    """Return the defaults of a model that are values of their own: as checked in a catalog, and as written."""
    return tuple(
        (item.name, item.check(item.default), str(item.default))
        for item in model.inputs
        if item.default is not None and item.default is not REQUIRED
    )


def _documented(model: type[Model]) -> Any:
    """Return `Model.solve` with the arguments of a model in its signature and documentation."""
    base = Model.solve
    named = types.FunctionType(base.__code__, base.__globals__, "solve", base.__defaults__, base.__closure__)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arguments = sorted(model.inputs, key=lambda item: item.default is not REQUIRED)
    named.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", kind),
            *(
                inspect.Parameter(item.name, kind if item.default is REQUIRED else inspect.Parameter.KEYWORD_ONLY,
                                  default=inspect.Parameter.empty if item.default is REQUIRED else item.default)
                for item in arguments
            ),
        ]
    )  # fmt: skip
    lines = [f"            {item.name}: {item.about or item.name.replace('_', ' ')}" for item in model.inputs]
    named.__doc__ = (base.__doc__ or "") + "\n        Args:\n" + "\n".join(lines) + "\n"
    named.__qualname__ = f"{model.__qualname__}.solve"
    return named


def known(make: Callable[[], Any]) -> Any:
    """Return what `make` returns, or the error that it raises: a field that holds one raises it when it is read."""
    try:
        return make()
    except MlsysimError as error:
        return error


def _key(item: Input, value: Any) -> Any:
    return None if value is None else item.key(value)
