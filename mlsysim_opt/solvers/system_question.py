"""One question of several relations between several unknowns, read: what moves, what has to hold, what it may cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Symbol, symbols
from mlsysim_opt.errors import InfeasibleError, InputError, UnknownNameError
from mlsysim_opt.physics.base import Model, own_name
from mlsysim_opt.physics.inputs import REQUIRED, Number
from mlsysim_opt.solvers.region import Region, Unknown
from mlsysim_opt.solvers.relations import Relation, as_relation, read_relations
from mlsysim_opt.solvers.specification import read_cost
from mlsysim_opt.units import Dimension, dimension_text, to_si

FARTHEST = 1e6
"""Unknowns are sought within this factor of the value they have today, where no range is given."""
MOST_UNKNOWNS = 6


class Question:
    """One question: the region, and its parts that can be decided by themselves."""

    def __init__(
        self,
        relations: Sequence[str],
        unknowns: Sequence[str],
        model: Model,
        box: Mapping[str, tuple[Any, Any]],
        points: int,
        given: Mapping[str, Any],
    ) -> None:
        if isinstance(points, bool) or not isinstance(points, int) or not 1 <= points <= 10_000:
            raise InputError(f"{points!r} points are not between 1 and 10,000", path="points")
        self.model, self.points = model, points
        wanted = _names(unknowns, model)
        held = self._completed(wanted, given)
        self.given = held
        self.values = model.check(**held)
        self.traced = model.trace(self.values)
        self.named = model.leaf_values(self.values)
        asked = read_relations(relations, self.traced)
        every = {leaf.name: leaf for leaf in symbols(*self.traced.everything.values())}
        self.leaves = {name: _leaf(name, every) for name in wanted}
        kept = self._apart(asked)
        self._all_used(kept, {leaf.name for _, node in asked for leaf in symbols(node)})
        box = {own_name(self.model, str(name)): ends for name, ends in box.items()}
        for name in box:
            if name not in self.leaves:
                raise UnknownNameError("number that is sought", name, list(self.leaves), path="box")
        sought = [self._unknown(name, leaf, box.get(name)) for name, leaf in self.leaves.items()]
        self.region = Region(kept, sought, self.named)
        unused = [item.name for item, column in zip(sought, zip(*self.region.moves, strict=True), strict=True)
                  if not any(move != 0 for move in column)]  # fmt: skip
        if unused:
            raise InputError(f"no relation changes with {' or '.join(unused)}, as the others are given",
                             path="unknowns", hint="leave it out, or add a relation that depends on it")  # fmt: skip
        self.parts = [
            (mine, theirs, Region([kept[j] for j in theirs], [sought[i] for i in mine],
                                  {**self.named, **{item.name: item.low for item in sought}}))
            for mine, theirs in self.region.blocks()
        ]  # fmt: skip

    # what is asked ----------------------------------------------------------------------------------------------------
    def _completed(self, wanted: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs with something in the place of each unknown that is an input itself."""
        held = dict(given)
        inputs = {item.name: item for item in self.model.inputs}
        names = {self.model.aliases.get(name, name) for name in given}
        for name in wanted:
            if name not in inputs:
                continue
            item = inputs[name]
            if not isinstance(item, Number) or item.integer:
                raise InputError(f"{name} is not a continuous number", path=name,
                                 hint="whole numbers and entries are decided by optimize")  # fmt: skip
            if name in names:
                raise InputError("is both given and unknown", path=name, hint="leave one of the two out")
            usual = item.default not in (None, REQUIRED)
            held[name] = (
                item.default
                if usual
                else f"{max(item.low, 1.0) if math.isinf(item.high) else item.high} " + (item.unit)
            )
        return held

    def _apart(self, asked: Sequence[tuple[str, Any]]) -> list[Relation]:
        """Return the relations that depend on an unknown; the others have to hold as they are.

        Raises:
            InfeasibleError: one does not.
        """
        kept, failed = [], []
        for text, node in asked:
            if set(self.leaves) & {leaf.name for leaf in symbols(node)}:
                kept.append(as_relation(text, node))
            elif not ScalarProgram([node]).run_named(self.named)[0]:
                failed.append(text)
        if failed:
            raise InfeasibleError(f"no unknown changes it, and it does not hold: {'; '.join(failed)}", conflict=failed)
        return kept

    def _all_used(self, kept: Sequence[Relation], asked: set[str]) -> None:
        used = {name for item in kept for name in item.leaves}
        unused = [name for name in self.leaves if name not in used]
        if unused:
            near = sorted(
                name
                for name in asked
                if name not in self.leaves
                and (name.startswith("hardware.") or ("." not in name and not self._whole(name)))
            )
            raise InputError(
                f"no relation depends on {' or '.join(unused)}", path="unknowns",
                hint="leave it out, or add a relation that does"
                + (f"; those given also depend on {', '.join(near[:8])}" if near else ""),
            )  # fmt: skip

    def _whole(self, name: str) -> bool:
        return any(leaf.name == name and leaf.integer for leaf in symbols(*self.traced.everything.values()))

    def _unknown(self, name: str, leaf: Symbol, limits: tuple[Any, Any] | None) -> Unknown:
        today = float(self.named[name])
        if limits is not None:
            if not isinstance(limits, tuple | list) or len(limits) != 2:
                raise InputError(f"expected the lowest and the highest value, got {limits!r}", path=f"box.{name}")
            low, high = (to_si(item, leaf.dimension, name) for item in limits)
        elif today > 0:
            low, high = max(leaf.low, today / FARTHEST), min(leaf.high, today * FARTHEST)
        else:
            raise InputError("has no value today from which a range could follow", path=name,
                             hint=f'give its range: box={{"{name}": (lowest, highest)}}')  # fmt: skip
        if not 0 < low <= high:
            raise InputError("the range has to begin above zero and must not be empty", path=f"box.{name}")
        return Unknown(leaf, low, high)

    def prices(self, costs: Mapping[str, Any]) -> tuple[list[float], Dimension, str]:
        """Return the cost of one base unit of each unknown, what costs are counted in, and in which unit.

        Raises:
            InputError: a cost is missing, below zero, or of another unit than the others.
        """
        if not isinstance(costs, Mapping):
            raise InputError(f"expected a cost for each unknown, got {costs!r}", path="costs",
                             hint='{"hardware.memory.bandwidth": "2 USD per GB/s"}')  # fmt: skip
        for name in costs:
            if own_name(self.model, str(name)) not in self.leaves:
                raise UnknownNameError("number that is sought", name, list(self.leaves), path="costs")
        costs = {own_name(self.model, name): cost for name, cost in costs.items()}
        missing = [name for name in self.leaves if name not in costs]
        if missing:
            raise InputError(f"the cost of {' and '.join(missing)} is missing", path="costs",
                             hint="what costs nothing would be taken without end")  # fmt: skip
        most = [item.name for at, item in enumerate(self.region.unknowns) if self.region.senses[at] == 1]
        if most:
            raise InputError(f"relations only suffer from more {' and '.join(most)}", path="costs",
                             hint="leave it out of the unknowns, or ask without costs")  # fmt: skip
        read = {name: read_cost(costs[name], leaf.dimension, name) for name, leaf in self.leaves.items()}
        kinds = {item.of for item in read.values()}
        if len(kinds) > 1:
            said = ", ".join(f"{name} in {dimension_text(item.of)}" for name, item in read.items())
            raise InputError(f"costs are of several kinds: {said}", path="costs", hint="give all in USD, or all in W")
        return [item.si for item in read.values()], kinds.pop(), next(iter(read.values())).unit


def _names(unknowns: Sequence[str], model: Model) -> list[str]:
    listed = not isinstance(unknowns, str) and isinstance(unknowns, Sequence) and len(unknowns) > 0
    if not listed or not all(isinstance(name, str) for name in unknowns):
        raise InputError(f"expected names of numbers, got {unknowns!r}", path="unknowns",
                         hint='for example ["hardware.memory.bandwidth"]')  # fmt: skip
    names = [own_name(model, name) for name in unknowns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{', '.join(twice)} stands twice", path="unknowns")
    if len(names) > MOST_UNKNOWNS:
        raise InputError(f"{len(names)} unknowns are more than {MOST_UNKNOWNS}", path="unknowns", hint="use optimize")
    return names


def _leaf(name: str, every: Mapping[str, Symbol]) -> Symbol:
    """Return the leaf of an unknown.

    Raises:
        UnknownNameError: the model has no such number. InputError: it is whole.
    """
    if name not in every:
        known = [item for item, leaf in every.items() if not leaf.integer]
        raise UnknownNameError("number of the model", name, known, path="unknowns")
    if every[name].integer:
        raise InputError(f"{name} is a whole number", path="unknowns", hint="optimize decides whole numbers")
    return every[name]
