"""Expressions: an immutable DAG whose equal nodes are one object and whose units are checked when it is built.

Leaves are constants, symbols (an unknown, a given, a parameter of a catalog entry) and choices (a symbol that
ranges over a finite set). Everything else is an `Operation`: one atom (see `atoms`) applied to arguments.

Nodes are interned, so structural equality is identity and shared sub-expressions cost nothing. The table is weak:
an expression nobody holds is freed. Walks are iterative; depth is no limit.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mlsysim_opt.errors import DimensionError, InputError, SymbolicError, UnknownNameError
from mlsysim_opt.units import DIMENSIONLESS, NONE, Dimension, Unit, as_measure, base_unit, dimension_text

if TYPE_CHECKING:
    from mlsysim_opt.algebra.atoms import Atom

Sort = Literal["number", "truth", "label"]
Operand = Any
"""What may stand beside an expression: an expression, a number, text with a unit, a quantity."""

_interned: weakref.WeakValueDictionary[tuple[Any, ...], Expression] = weakref.WeakValueDictionary()
_lock = threading.RLock()  # making a node may show other nodes in an error message


def interned_count() -> int:
    """Return how many distinct nodes are alive (for tests of memory)."""
    return len(_interned)


def _intern(key: tuple[Any, ...], make: Callable[[], Expression]) -> Any:
    found = _interned.get(key)
    if found is None:
        with _lock:
            found = _interned.get(key)
            if found is None:
                found = make()
                _interned[key] = found
    return found


class Expression:
    """A node of the DAG.

    Attributes:
        dimension: exponents of its base units.
        integer: whether it is whole by type.
        sort: what kind of value it has.
        choices: the choices it depends on: its axes.
    """

    __slots__ = ("__weakref__", "choices", "dimension", "integer", "sort")

    dimension: Dimension
    integer: bool
    sort: Sort
    choices: frozenset[Choice]

    @property
    def args(self) -> tuple[Expression, ...]:
        """The arguments; a leaf has none."""
        return ()

    # NumPy ----------------------------------------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        from mlsysim_opt.algebra.foreign import combined

        return combined(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        from mlsysim_opt.algebra.foreign import refused

        raise refused(function.__name__)

    # arithmetic -----------------------------------------------------------------------------------------------------
    def __add__(self, other: Operand) -> Expression:
        return _beside("add", self, other)

    def __radd__(self, other: Operand) -> Expression:
        return _apply("add", other, self)

    def __sub__(self, other: Operand) -> Expression:
        return _beside("subtract", self, other)

    def __rsub__(self, other: Operand) -> Expression:
        return _apply("subtract", other, self)

    def __mul__(self, other: Operand) -> Expression:
        return _beside("multiply", self, other)

    def __rmul__(self, other: Operand) -> Expression:
        return _apply("multiply", other, self)

    def __truediv__(self, other: Operand) -> Expression:
        return _beside("divide", self, other)

    def __rtruediv__(self, other: Operand) -> Expression:
        return _apply("divide", other, self)

    def __pow__(self, exponent: Operand) -> Expression:
        return _apply("power", self, exponent)

    def __neg__(self) -> Expression:
        return _apply("negate", self)

    def __abs__(self) -> Expression:
        return _apply("absolute", self)

    def __mod__(self, other: Operand) -> Expression:
        return _apply("mod", self, other)

    # comparison -----------------------------------------------------------------------------------------------------
    def __le__(self, other: Operand) -> Expression:
        return _beside("less_equal", self, other)

    def __ge__(self, other: Operand) -> Expression:
        return _beside("less_equal", self, other, turned=True)

    def __lt__(self, other: Operand) -> Expression:
        return _apply("less", self, other)

    def __gt__(self, other: Operand) -> Expression:
        return _apply("less", other, self)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, str) and self.sort == "label":
            return is_value(self, other)
        if isinstance(other, Expression):
            return _compare("equal", self, other)
        return _apply("equal", self, other) if _is_quantity(other) else NotImplemented

    def __ne__(self, other: object) -> Any:
        if isinstance(other, str) and self.sort == "label":
            return _apply("not", is_value(self, other))
        if isinstance(other, Expression):
            return _compare("not_equal", self, other)
        return _apply("not_equal", self, other) if _is_quantity(other) else NotImplemented

    __hash__ = object.__hash__

    def __and__(self, other: Expression) -> Expression:
        return _apply("and", self, other)

    def __or__(self, other: Expression) -> Expression:
        return _apply("or", self, other)

    def __invert__(self) -> Expression:
        return _apply("not", self)

    def __bool__(self) -> bool:
        raise SymbolicError(
            f"the truth of {short(self)} is not known while equations are written",
            hint="use where(condition, then, otherwise) instead of if, & | ~ instead of and, or, not",
        )

    def __float__(self) -> float:
        raise SymbolicError(
            f"{short(self)} has no value yet",
            hint="evaluate it, or keep it symbolic: its functions are in mlsysim_opt.algebra (sqrt, exp, log, ...)",
        )

    __int__ = __float__
    __index__ = __float__

    def __iter__(self) -> Iterator[Any]:
        raise SymbolicError(f"{short(self)} is one value, not a sequence")

    def __str__(self) -> str:
        return short(self, 100_000)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {short(self)} [{dimension_text(self.dimension)}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        from mlsysim_opt.algebra.transport import freeze, thaw

        return (thaw, (freeze(self),))


def short(node: Expression, limit: int = 80) -> str:
    """Return the text of a node, cut to `limit` characters, for messages."""
    from mlsysim_opt.algebra.render import render

    return render(node, limit=limit)


def _is_quantity(value: object) -> bool:
    """Whether comparing with `value` is meant as an equation; anything else is simply another object."""
    return isinstance(value, int | float | str) or hasattr(value, "magnitude")


def _compare(name: str, left: Expression, right: Expression) -> Any:
    try:
        return _apply(name, left, right)
    except InputError as error:
        return Incomparable(error, name != "equal")


class Incomparable:
    """What ``==`` gives between expressions that no equation can connect, such as a time and a price.

    As a truth value it says that they are not the same, so that ``in`` works on lists of any expressions. Used as an
    equation it raises the error that names both units.
    """

    __slots__ = ("error", "truth")

    def __init__(self, error: InputError, truth: bool) -> None:
        self.error = error
        self.truth = truth

    def __bool__(self) -> bool:
        return self.truth

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.error

    def _refuse(self, *others: object) -> Any:
        raise self.error

    __and__ = __or__ = __rand__ = __ror__ = __invert__ = __add__ = __mul__ = _refuse

    def __repr__(self) -> str:
        return f"<no equation: {self.error.message}>"


class Constant(Expression):
    """A number as written, with its unit. Equal numbers in equal units are one node.

    Args:
        magnitude: the number in `unit`.
        unit: its unit.
    """

    __slots__ = ("magnitude", "unit", "value")
    magnitude: float
    unit: Unit
    value: float
    """Value in base units."""

    def __new__(cls, magnitude: float, unit: Unit = DIMENSIONLESS) -> Constant:
        magnitude = float(magnitude) + 0.0  # -0.0 and 0.0 are one node
        if not math.isfinite(magnitude * unit.factor):
            raise InputError(f"{magnitude} {unit.text} is not a finite number")

        def make() -> Constant:
            node = object.__new__(cls)
            node.magnitude, node.unit, node.value = magnitude, unit, magnitude * unit.factor
            node.dimension, node.sort = unit.dimension, "number"
            node.integer = unit.dimension == NONE and node.value.is_integer()
            node.choices = frozenset()
            return node

        return _intern((cls, magnitude, unit.text, unit.factor, unit.dimension), make)  # type: ignore[no-any-return]


class Symbol(Expression):
    """A named value bound at evaluation: a given, an unknown, or a parameter such as ``hardware.memory.bandwidth``.

    Args:
        name: dotted path, unique within an expression.
        dimension: its dimension.
        integer: whether it is whole.
        low, high: bounds in base units, used for interval bounds and for inversion.
    """

    __slots__ = ("high", "low", "name")
    name: str
    low: float
    high: float

    def __new__(
        cls, name: str, dimension: Dimension = NONE, *, integer: bool = False, low: float = 0.0, high: float = math.inf
    ) -> Symbol:
        if not low <= high:
            raise InputError(f"the lower bound {low} is not below the upper bound {high}", path=name)

        def make() -> Symbol:
            node = object.__new__(cls)
            node.name, node.low, node.high = name, float(low), float(high)
            node.dimension, node.integer, node.sort = dimension, integer, "number"
            node.choices = frozenset()
            return node

        return _intern((cls, name, dimension, integer, float(low), float(high)), make)  # type: ignore[no-any-return]


class Choice(Expression):
    """A symbol that ranges over a finite set: numbers, or labels (names of catalog entries, options, switches).

    Args:
        name: the decision's name.
        values: the distinct values, all numbers or all labels.
    """

    __slots__ = ("name", "numeric", "position", "values")
    name: str
    values: tuple[Any, ...]
    numeric: bool
    position: dict[Any, int]

    def __new__(cls, name: str, values: Iterable[Any]) -> Choice:
        given = tuple(values)
        if not given:
            raise InputError("the set of values is empty", path=name)
        labels = [isinstance(item, str) for item in given]
        if any(labels) and not all(labels):
            raise InputError("values must be all numbers or all names", path=name)
        items = given if all(labels) else tuple(_number(item, name) for item in given)
        if len(set(items)) != len(items):
            twice = sorted({str(item) for item in items if items.count(item) > 1})
            raise InputError(f"values appear twice: {', '.join(twice)}", path=name)

        def make() -> Choice:
            node = object.__new__(cls)
            node.name, node.values, node.numeric = name, items, not all(labels)
            node.dimension = NONE
            node.sort = "number" if node.numeric else "label"
            node.integer = node.numeric and all(float(item).is_integer() for item in items)
            node.position = {item: index for index, item in enumerate(items)}
            node.choices = frozenset((node,))
            return node

        return _intern((cls, name, items), make)  # type: ignore[no-any-return]

    def is_value(self, label: str) -> Expression:
        """Return the truth of this choice being `label`.

        Raises:
            UnknownNameError: the choice has no such value.
        """
        return is_value(self, label)


def is_value(node: Expression, label: str) -> Expression:
    """Return the truth of a choice, or of an `argmax_label`, being `label`.

    Raises:
        UnknownNameError: the node never takes this value.
    """
    known = labels_of(node)
    if label not in known:
        name = node.name if isinstance(node, Choice) else short(node)
        raise UnknownNameError(f"value of {name}", label, [str(item) for item in known])
    kind = "is_label" if isinstance(node, Choice) else "is_argmax"
    return _apply(kind, node, param=(label, known.index(label)))


def labels_of(node: Expression) -> tuple[Any, ...]:
    """Return the values of a choice, or the labels of an `argmax_label`, by position; empty for anything else."""
    if isinstance(node, Choice):
        return node.values
    return node.param if isinstance(node, Operation) and node.sort == "label" else ()


def _number(value: Any, name: str) -> float | int:
    measure = None if isinstance(value, str) else as_measure(value, name)
    if measure is None or measure.dimension != NONE:
        raise InputError(f"{value!r} is not a plain number", path=name)
    return int(measure.si) if measure.si.is_integer() else measure.si


class Operation(Expression):
    """An atom applied to arguments, with a parameter where the atom takes one (a table, labels)."""

    __slots__ = ("_args", "atom", "param")
    _args: tuple[Expression, ...]
    atom: Atom
    param: Any

    @property
    def args(self) -> tuple[Expression, ...]:
        """The arguments, in order."""
        return self._args

    def __bool__(self) -> bool:
        # Equality decides by identity, as equal expressions are one object: dict, set and `in` then work.
        if self.atom.name == "equal":
            return self._args[0] is self._args[1]
        if self.atom.name == "not_equal":
            return self._args[0] is not self._args[1]
        return super().__bool__()


def operation(atom: Atom, args: tuple[Expression, ...], param: Any = None) -> Expression:
    """Return the interned node of `atom` applied to `args`, after its dimension check."""

    def make() -> Operation:
        node = object.__new__(Operation)
        node.atom, node._args, node.param = atom, args, param
        node.dimension, node.integer, node.sort = atom.typed(args, param)
        axes: frozenset[Choice] = frozenset()
        for item in args:
            if item.choices and not item.choices <= axes:
                axes = axes | item.choices if axes else item.choices
        node.choices = axes
        return node

    return _intern((atom, tuple(map(id, args)), param), make)  # type: ignore[no-any-return]


def expression(value: Operand) -> Expression:
    """Return `value` as an expression: numbers are dimensionless, text and quantities keep their unit."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, bool):
        raise InputError(f"expected an expression or a quantity, got {value}", hint="compare with an expression")
    if isinstance(value, Incomparable):
        raise value.error
    measure = as_measure(value)
    return Constant(measure.magnitude, measure.unit)


def constant(value: float, of: Dimension) -> Constant:
    """Return a constant of dimension `of`, given in base units."""
    return Constant(value, base_unit(of))


ATOMS: dict[str, Atom] = {}
"""Every atom by its name; filled by `atoms`, each class registering itself."""


def _beside(name: str, left: Expression, right: Operand, *, turned: bool = False) -> Expression:
    """Return what an operator makes of two operands, unless the right one says that it takes expressions itself."""
    if getattr(right, "takes_expressions", False):
        return NotImplemented  # type: ignore[no-any-return]
    return _apply(name, right, left) if turned else _apply(name, left, right)


def _apply(name: str, *args: Operand, param: Any = None) -> Expression:
    return ATOMS[name](*args, param=param)


def topological(roots: Sequence[Expression], known: Iterable[int] = ()) -> list[Expression]:
    """Return every node below `roots` once, arguments before the nodes that use them.

    Args:
        known: the identities of nodes that are left out, with what stands below them alone.
    """
    order: list[Expression] = []
    done = set(known)
    stack: list[tuple[Expression, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if id(node) in done:
            continue
        if expanded or not node.args:
            done.add(id(node))
            order.append(node)
        else:
            stack.append((node, True))
            stack.extend((item, False) for item in reversed(node.args) if id(item) not in done)
    return order


def chain(node: Operation) -> tuple[Expression, ...]:
    """Return the arguments of an operation on two, those of nested uses of the same atom on the left drawn together."""
    rest: list[Expression] = []
    first: Expression = node
    while isinstance(first, Operation) and first.atom is node.atom:
        rest.append(first.args[1])
        first = first.args[0]
    return (first, *reversed(rest))


def symbols(*roots: Expression) -> list[Symbol]:
    """Return the symbols an expression depends on, in order of first use."""
    return [node for node in topological(roots) if isinstance(node, Symbol)]


def substitute(root: Expression, replacements: dict[Expression, Expression]) -> Expression:
    """Return `root` with nodes replaced; dimensions must agree.

    Raises:
        DimensionError: a replacement has another dimension than the node it stands for.
    """
    by_id: dict[int, Expression] = {}
    for old, new in replacements.items():
        if old.dimension != new.dimension:
            raise DimensionError(
                f"{short(old)} is {dimension_text(old.dimension)}, its replacement "
                f"{short(new)} is {dimension_text(new.dimension)}"
            )
        by_id[id(old)] = new
    for node in topological([root], by_id):
        if isinstance(node, Operation):
            args = tuple(by_id[id(item)] for item in node.args)
            same = all(new is old for new, old in zip(args, node.args, strict=True))
            by_id[id(node)] = node if same else node.atom(*args, param=node.param)
        else:
            by_id[id(node)] = node
    return by_id[id(root)]
