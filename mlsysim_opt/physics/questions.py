"""What matters most for an output of any model, from its equations alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.derive import elasticities, gradient
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, symbols
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model


def sensitivity(model: Model, output: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Return the elasticity of an output to every continuous number it depends on: percent for one percent.

    They hold while the regime stays (which limit binds); at a kink they are those of the branch that is live.
    """
    values = model.check(**given)
    traced = model.trace(values)
    root = model.output(output, traced)
    wanted: Sequence[Expression] = [item for item in symbols(root) if not item.integer]
    named = model.leaf_values(values)
    slopes = gradient(root, wanted)
    value, *out = ScalarProgram([root, *slopes, *elasticities(root, wanted, slopes)]).run_named(named)
    if not value:
        raise InputError(f"{output} is {value}; it has no relative changes", path=output)
    found = {
        leaf.name: relative
        for leaf, slope, relative in zip(wanted, out, out[len(wanted) :], strict=False)
        if isinstance(leaf, Symbol) and math.isfinite(slope) and slope != 0
    }
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))
