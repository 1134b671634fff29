"""Whether other inputs of a model follow from a number, so that its equations alone do not say what another one gives.

Inputs are prepared with a stand-in that cannot be read in place of the number: where that works, they follow from the
others alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Degree, Number
from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import NONE, base_unit


class _Read(Exception):
    """The number was read while inputs were prepared."""


def _refuse(*_: Any) -> Any:
    raise _Read


class _Unread:
    """Stands for a number that nobody may look at."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Unread | Datum):  # two entries are compared, not two numbers
            return self is other
        raise _Read

    __hash__ = object.__hash__
    __getattr__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __float__ = __int__ = __index__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __abs__ = _refuse
    __round__ = __floor__ = __ceil__ = __trunc__ = __divmod__ = __iter__ = __len__ = __format__ = __str__ = _refuse


def input_text(item: Number, value: float) -> str:
    """Return a value of a numeric input as the model takes it."""
    unit = "" if item.of == NONE else f" {base_unit(item.of).text}"
    return f"{int(value)}" if item.integer else f"{value!r}{unit}"


def reads(model: Model, given: Mapping[str, Any], values: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Return whether one of these numbers is looked at while the inputs are prepared and entries are bound.

    Args:
        given: the other inputs as they were given. values: all inputs, checked.
        names: numeric inputs, or paths of numbers of entries.
    """
    usual = {item.name: item for item in model.inputs}
    if any(usual.get(name) in model._keyed and not isinstance(usual[name], Degree) for name in names):
        return True  # its value, not only its presence, decides the equations
    if not model.derives:
        return False
    unread = _Unread()
    inputs = {name: unread for name in names if name in usual}
    paths = [name for name in names if name not in usual]
    kind: Any = type(model)

    def prepare(probed: Any, values: dict[str, Any]) -> dict[str, Any]:
        return kind.prepare(probed, {**values, **inputs})  # type: ignore[no-any-return]

    def bindings(probed: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        return {**kind.bindings(probed, values), **dict.fromkeys(paths, unread)}

    changed = {"prepare": prepare, "bindings": bindings, "refuse": Model.refuse}
    probe = type(f"{kind.__name__}Probe", (kind,), changed)()
    start = {model.aliases.get(name, name): value for name, value in given.items()}
    for path in paths:
        root, _, rest = path.partition(".")
        entry = values.get(root)
        if isinstance(entry, Entry) and rest in entry.parameters():
            before = start.get(root)
            start[root] = (before if isinstance(before, Entry) else entry).replacing(rest, unread)
    for name in inputs:
        item = usual[name]
        assert isinstance(item, Number)
        start[name] = input_text(item, values[name])
    try:
        found = probe.check(**start)
        kind.bindings(probe, found)
    except (_Read, MlsysimError):
        return True
    return not all(
        found[name] is unread if name in inputs else isinstance(value, Entry) or found[name] == value
        for name, value in values.items()
    )
