"""The base of all models: write equations once; solve, sweep, invert and differentiate come with it.

A body is traced once for each structure of its inputs (which optional numbers its entries have, which precision) and
compiled (`traced`); a scalar `solve` then costs an evaluation. Quantities are made when a field is read.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.asked import asked
from mlsysim_opt.physics.inputs import REQUIRED, Input, check_all
from mlsysim_opt.physics.traced import ALL, CONSTRAINTS, Bound, Traced
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry

if TYPE_CHECKING:
    from mlsysim_opt.physics.sweep import Sweep


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
            if traced is not None:
                self.__dict__["_model"]().check_known(name, traced, self.__dict__["_values"])
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
            here["_truths"] = here["_bound"].run(CONSTRAINTS, here["_values"])
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
        """Return a field in base units, as a plain number.

        Raises:
            UnknownNameError: there is no such field. MlsysimError: it needs a number that an entry lacks.
        """
        here = self.__dict__
        seen: dict[str, Any] = here["_seen"]
        if name not in seen:
            bound: Bound = here["_bound"]
            if name not in bound.traced.position:
                here["_model"]().check_known(name, bound.traced, here["_values"])
                raise UnknownNameError("output", name, list(bound.traced.position))
            if len(seen) < FEW:
                seen[name] = bound.run(name, here["_values"])[0]
            else:
                seen.update(zip(bound.traced.position, bound.run(ALL, here["_values"]), strict=True))
        return seen[name]

    @property
    def assumptions(self) -> dict[str, str]:
        """The defaults that decided the answer, as text."""
        here = self.__dict__
        if "_assumed" not in here:
            here["_assumed"] = here["_model"]().assumptions(here["_values"])
        return dict(here["_assumed"])

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data: value and unit of each, the constraints, the assumptions."""
        traced: Traced = self.__dict__["_traced"]
        fields = {name: traced.plain(name, self.si(name)) for name in traced.position}
        return {
            "fields": fields,
            "constraints": self.constraints,
            "feasible": self.feasible,
            "assumptions": self.assumptions,
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


KEPT = 256
"""Sets of entries of which a model keeps the equations."""
FEW = 3
"""Fields that are evaluated one by one before all of them are."""


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
    derived: ClassVar[frozenset[str]] = frozenset()
    """Inputs that `prepare` may fill in from numbers of others."""
    _cache: ClassVar[dict[Any, Traced]]
    _bounds: ClassVar[dict[Any, Bound]]
    _keyed: ClassVar[tuple[Input, ...]] = ()
    """Inputs whose value, not only whose presence, decides the equations."""
    _optional: ClassVar[tuple[str, ...]] = ()
    """The others that may be absent."""
    _compound: ClassVar[tuple[Input, ...]] = ()
    """Inputs that bind more leaves than one of their own name."""

    def __init_subclass__(cls) -> None:
        cls._cache, cls._bounds = {}, {}
        cls._keyed = tuple(item for item in cls.inputs if type(item).key is not Input.key)
        cls._optional = tuple(item.name for item in cls.inputs if item not in cls._keyed and item.default is None)
        cls._compound = tuple(item for item in cls.inputs if type(item).bind is not Input.bind)
        cls.solve = asked(cls.__dict__.get("solve") or _documented(cls))  # type: ignore[method-assign]

    def equations(self, **inputs: Any) -> Result:
        """Return the equations for these leaves. Arguments may be symbols, choices or expressions; the body is one."""
        raise NotImplementedError

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        """Derive what may be left out from what is given, on checked plain values."""
        return values

    def refuse(self, values: Mapping[str, Any]) -> None:
        """Raise where prepared values do not go together.

        It changes nothing: where inputs are only refused, never derived, the equations alone say what another value of
        a number gives, as far as it is not refused.
        """

    def bindings(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the value of each leaf beyond those the inputs make themselves (derived entries, overrides).

        They follow from inputs that decide the equations (entries, names), never from numbers.
        """
        return {}

    @property
    def derives(self) -> bool:
        """Whether inputs follow from others, so that each question has to be checked by itself."""
        mine = type(self)
        return mine.prepare is not Model.prepare or mine.check is not Model.check or self.refuses

    @property
    def refuses(self) -> bool:
        """Whether inputs that are valid by themselves may not go together."""
        return type(self).refuse is not Model.refuse

    def trace(self, values: Mapping[str, Any], entries: Mapping[str, Any] | None = None) -> Traced:
        """Return the compiled equations for the structure of these checked values: which inputs are absent, what
        decides the equations of the others, and which leaves their entries bind (`entry_values`)."""
        absent = tuple([values[name] is None for name in self._optional])
        bound = frozenset(self.entry_values(values) if entries is None else entries)
        key = (absent, bound, *[_key(item, values[item.name]) for item in self._keyed])
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = Traced(self.written(values))
        return found

    def written(self, values: Mapping[str, Any]) -> Result:
        """Return the equations for these checked values."""
        return self.equations(**{
            item.name: None if values[item.name] is None else item.leaf(values[item.name]) for item in self.inputs
        })  # fmt: skip

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        """Return every input, checked: positional arguments in the order of `inputs`, then by name or alias."""
        if len(args) > len(self.inputs):
            raise InputError(f"{type(self).__name__} takes at most {len(self.inputs)} arguments")
        for item, value in zip(self.inputs, args, strict=False):
            if item.name in given:
                raise InputError("is given twice", path=item.name)
            given[item.name] = value
        values = self.prepare(check_all(self.inputs, given, self.aliases, type(self).__name__))
        self.refuse(values)
        return values

    @asked
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
        bound = self.bound(values)
        solved: Any = object.__new__(bound.result_type)
        solved.__dict__.update(_traced=bound.traced, _bound=bound, _values=values, _seen={}, _model=type(self))
        return solved

    def identity(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what questions about the same entries, with the same inputs absent, have in common."""
        return (
            default_catalog(),
            *[values[name] is None for name in self._optional],
            *[None if values[item.name] is None else item.identity(values[item.name]) for item in self._keyed],
        )

    def bound(self, values: Mapping[str, Any]) -> Bound:
        """Return the equations with the values of the entries among these checked inputs."""
        kept = self.identity(values)
        found = self._bounds.get(kept)
        if found is None:
            if len(self._bounds) >= KEPT:
                self._bounds.clear()
            entries = self.entry_values(values)
            traced = self.trace(values, entries)
            result: Any = type(traced.result)
            held = [values[item.name] for item in self._keyed]
            found = self._bounds[kept] = Bound(traced, entries, _solved_type(result), held)
        return found

    def entry_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the leaves that entries bind."""
        named: dict[str, Any] = {}
        for item in self._compound:
            value = values[item.name]
            if value is not None:
                named.update(item.bind(value))
        named.update(self.bindings(values))
        return named

    def leaf_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of every leaf of the equations, by name, for checked inputs."""
        return {**values, **self.entry_values(values)}  # what most inputs bind is their own name

    @asked
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

    @asked
    def solve_for(self, target: str, value: Any = None, *, unknown: str, **given: Any) -> Any:
        """Return the value of `unknown` that gives the output `target` this value; see `mlsysim_opt.solve_for`."""
        from mlsysim_opt.physics.inverse import solve_for

        return solve_for(target, value, unknown=unknown, using=self, **given)

    @asked
    def sensitivity(self, output: str, **given: Any) -> dict[str, float]:
        """Return the elasticity of an output to every continuous number; see `questions.sensitivity`."""
        from mlsysim_opt.physics.questions import sensitivity

        return sensitivity(self, output, given)

    def assumptions(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the defaults that decided the answer, as text."""
        model: Any = type(self)
        found = {
            name: text
            for name, default, text in _read_defaults(model)
            if default == (values[name].name if isinstance(values[name], Entry) else values[name])
        }
        if values.get("efficiency", self) is None:
            found["efficiency"] = "calibrated"
        return found

    def check_known(self, name: str, traced: Traced, values: Mapping[str, Any]) -> None:
        """Raise the error that an output holds because entries lack what it needs, in the words of these entries: the
        equations are shared by all that lack the same."""
        if isinstance(traced.result.__dict__.get(name), MlsysimError):
            raise self.written(values).__dict__[name]

    def output(self, name: str, traced: Traced) -> Expression:
        """Return the expression of an output by name."""
        if name not in traced.expressions:
            raise UnknownNameError(f"output of {type(self).__name__}", name, list(traced.expressions))
        return traced.expressions[name]


def model_of(using: Any) -> Model:
    """Return the model that is asked, from itself or its class.

    Raises:
        InputError: it is neither.
    """
    if isinstance(using, Model):
        return using
    if isinstance(using, type) and issubclass(using, Model):
        return using()
    shown = using.__name__ if isinstance(using, type) else repr(using)
    raise InputError(f"expected a model, got {shown}", path="using", hint="such as mlsysim_opt.ServingModel")


def own_name(model: Model, name: str) -> str:
    """Return an input, or the path of a number, by the names of the model: inputs may be given by other names."""
    first, dot, path = name.partition(".")
    return f"{model.aliases.get(first, first)}{dot}{path}"


def _solved_again(kind: type[Model], values: dict[str, Any]) -> Any:
    """Return a result that was pickled or copied: the same equations for the same inputs."""
    return kind().solved(values)


@functools.cache
def _read_defaults(model: Any) -> tuple[tuple[str, Any, str], ...]:
    """Return the defaults of a model that are values of their own: as checked (entries by name), and as written."""
    return tuple(
        (item.name, item.check(item.default) if item.fixed else item.default, str(item.default))
        for item in model.inputs
        if item.default is not None and item.default is not REQUIRED
    )


def _documented(model: type[Model]) -> Any:
    """Return `Model.solve` with the arguments of a model in its signature and documentation."""
    base: Any = Model.solve.__func__  # type: ignore[attr-defined]
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
