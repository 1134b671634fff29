"""Questions that any model answers from its equations alone: which input gives this output, and what matters most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, symbols
from mlsysim_opt.algebra.invert import Inverse, invert
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.units import to_si


def solve_for(
    target: str,
    value: Any,
    *,
    unknown: str,
    using: Model | type[Model],
    box: tuple[Any, Any] | None = None,
    **given: Any,
) -> Inverse:
    """Return the value of one number that gives an output a wanted value: the inverse of the very equation that runs.

    Args:
        target: name of an output of the model. value: what it should be, with its unit.
        unknown: a continuous input of the model, or a number of a catalog entry by its path
            (``fleet.node.accelerator.memory.bandwidth``).
        using: the model. box: lowest and highest value to look between. given: all other inputs.
    Returns:
        an `Inverse`: the values, the formula where there is one, and whether there can be others.
    Raises:
        NotInvertibleError: no value gives the target; the message says the attainable range.
    """
    model = using() if isinstance(using, type) else using
    real = model.aliases.get(unknown, unknown)
    inputs = {item.name: item for item in model.inputs}
    if real in inputs and real not in given:
        given = {**given, real: _placeholder(inputs[real], real)}
    values = model.check(**given)
    traced = model.trace(values)
    root = model.output(target, traced)
    leaf = _leaf(traced, real, root)
    known = model.leaf_values(values)
    known.pop(leaf.name, None)
    limits = None if box is None else (to_si(box[0], leaf.dimension, unknown), to_si(box[1], leaf.dimension, unknown))
    return invert(root, value, leaf, values=known, box=limits)


def sensitivity(model: Model, output: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Return the elasticity of an output to every continuous number it depends on: percent for one percent.

    They hold while the regime stays (which limit binds); at a kink they are those of the branch that is live.
    """
    values = model.check(**given)
    traced = model.trace(values)
    root = model.output(output, traced)
    wanted: Sequence[Expression] = [item for item in symbols(root) if not item.integer]
    named = model.leaf_values(values)
    out = ScalarProgram([root, *gradient(root, wanted)]).run_named(named)
    if not out[0]:
        raise InputError(f"{output} is {out[0]}; it has no relative changes", path=output)
    found = {
        leaf.name: slope * named[leaf.name] / out[0]
        for leaf, slope in zip(wanted, out[1:], strict=True)
        if isinstance(leaf, Symbol) and math.isfinite(slope) and slope != 0
    }
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))


def _placeholder(item: Any, name: str) -> Any:
    if not isinstance(item, Number) or item.integer:
        raise InputError(f"{name} is not a continuous number", path=name, hint="solve for a quantity")
    return f"{max(item.low, 1.0) if math.isinf(item.high) else item.high} {item.unit}"


def _leaf(traced: Traced, name: str, root: Expression) -> Symbol:
    leaves = {item.name: item for item in symbols(root)}
    if name not in leaves:
        raise UnknownNameError("number that the output depends on", name, [*leaves])
    return leaves[name]
