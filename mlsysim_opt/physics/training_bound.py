"""What a training job takes at least, whatever its ZeRO stage is and whether its communication overlaps."""

from __future__ import annotations

from collections.abc import Iterable

from mlsysim_opt.algebra.expression import Choice, Expression, constant, expression, substitute

OF_ZERO = ("dp_time", "optimizer_time")
"""Parts of a step that the ZeRO stage decides, by their names in `DistributedResult`."""


def quickest(root: Expression, decided: Iterable[Expression], overlap: Choice) -> Expression:
    """Return what time or energy of a job is not below, as an expression of the other choices.

    It is the equation of `root` itself, at a step in which what the ZeRO stage decides takes no time, with overlap.
    That is a bound because no part is negative, a step grows with each, and overlap hides more than it costs. Nodes
    draw idle power for the whole step, and more while stages work, which they do no shorter without overlap.

    Args:
        root: the time or the energy. decided: the parts of the step named in `OF_ZERO`.
        overlap: the choice whether communication overlaps.
    """
    ideal = {part: constant(0.0, part.dimension) for part in decided}
    return substitute(root, {**ideal, overlap: expression(max(overlap.values))})
