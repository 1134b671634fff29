"""One question of several relations between several unknowns: read, taken apart, and answered part by part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Symbol, short, symbols
from mlsysim_opt.algebra.monotone import direction
from mlsysim_opt.errors import InfeasibleError, InputError, LimitReachedError, NotInvertibleError, UnknownNameError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import REQUIRED, Number
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.solvers.cheapest import Optimum, cheapest, narrowed
from mlsysim_opt.solvers.region import Point, Region, Unknown, corners
from mlsysim_opt.solvers.relations import Relation, as_relation, read_relations
from mlsysim_opt.solvers.specification import Cheapest, Dual, Specification, read_cost
from mlsysim_opt.units import (
    Dimension,
    Measure,
    Unit,
    base_unit,
    dimension_text,
    parse_unit,
    quantity,
    readable_unit,
    show,
    to_si,
)

FARTHEST = 1e6
"""Unknowns are sought within this factor of the value they have today, where no range is given."""
SEARCHED = 50
"""Places of one unknown at which the others are sought where no direction is proven."""
WIDEST = 1e3
"""Those places lie within this factor of what is proven to be needed, where that is known."""
MOST_UNKNOWNS = 6


class Task:
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
            if self.model.aliases.get(name, name) not in self.leaves:
                raise UnknownNameError("number that is sought", name, list(self.leaves), path="costs")
        costs = {self.model.aliases.get(name, name): cost for name, cost in costs.items()}
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

    # answers ----------------------------------------------------------------------------------------------------------
    def specification(self, point: Sequence[float]) -> Specification:
        """Return a point with its names and with what binds there."""
        binding = dict.fromkeys(self.region.relations[j].text for j in self.region.binding(point))
        return Specification(dict(zip(self.leaves, point, strict=True)), tuple(binding), self.leaves)

    def frontier(self) -> tuple[tuple[Specification, ...], str]:
        """Return points of the frontier, and what they rest on.

        Raises:
            InfeasibleError: there is none.
        """
        found = [self._points(part) for _, _, part in self.parts]
        if not all(found):
            raise self.conflict()
        whole: list[Point] = []
        for choice in itertools.islice(itertools.product(*found), 10_000):
            point = [0.0] * len(self.leaves)
            for (mine, _, _), part in zip(self.parts, choice, strict=True):
                for at, value in zip(mine, part, strict=True):
                    point[at] = value
            whole.append(tuple(point))
        shown = tuple(self.specification(point) for point in sorted(whole) if self.region.holds(point))
        if not shown:
            raise self.conflict()
        return shown, self._proof()

    def _points(self, part: Region) -> list[Point]:
        """Return the frontier of one group of unknowns: one point where it has no choice; empty where none holds."""
        if not part.aligned:
            return self._searched(part)
        if part.ideal is None:
            return []
        if len(part.unknowns) == 1 or part.holds(part.ideal):
            return [part.ideal]
        found = [part.along(part.ideal, steps) for steps in rays(len(part.unknowns), self.points)]
        turns: Iterable[Point] = [corner.point for corner in corners(part)] if len(part.unknowns) == 2 else []
        return distinct([*turns, *(point for point in found if point is not None)])

    def _searched(self, part: Region) -> list[Point]:
        """Return points found by trying values of all unknowns but the last, and all roots in that one.

        Empty only if it is proven that there are none.
        """
        box = narrowed(part)
        if box is None:
            return []
        count = len(part.unknowns)
        each = SEARCHED if count <= 2 else max(4, round(SEARCHED ** (1 / (count - 1))))
        axes = [places(part.unknowns[at], box[0][at], box[1][at], each) for at in range(count - 1)]
        met: list[Point] = []
        for values in itertools.product(*axes):
            last = part.least((*values, part.easy(count - 1)), count - 1)
            if last is not None and part.holds((*values, last)):
                met.append(part.lowered((*values, last)))
        if not met:
            found = cheapest(part, evenly(part))
            met = [] if found is None else [part.lowered(found.point)]
        signs = [1.0 if part.wants_least(at) else -1.0 for at in range(count)]
        return spread(undominated(distinct(met), signs), signs, self.points)

    def _proof(self) -> str:
        region = self.region
        if region.aligned:
            return "every relation is proven to move one way with each unknown, so that from these nothing can be taken"
        if region.unproven:
            said = dict.fromkeys(f"{region.relations[j].text} in {region.unknowns[i].name}" for j, i in region.unproven)
            searched = "all roots were searched, at places of the other unknowns"
            return f"not proven to move one way: {'; '.join(said)}; {searched}"
        mixed = [item.name for item, sense in zip(region.unknowns, region.senses, strict=True) if not sense]
        return f"more of {' and '.join(mixed)} helps one relation and hurts another; points were searched between them"

    def conflict(self) -> InfeasibleError:
        """Return the error that names relations that cannot hold together, and what each can reach."""
        region = self.region
        culprits = list(range(len(region.relations)))
        if region.aligned:
            gaps = region.gaps(region.easiest)
            culprits = [at for at in culprits if gaps[at] > 0.0] or culprits
        else:
            for at in list(culprits):  # what can be left out without making it possible is no part of the conflict
                rest = [j for j in culprits if j != at]
                if rest and self._empty(rest):
                    culprits = rest
        texts = list(dict.fromkeys(region.relations[at].text for at in culprits))
        lines = [self._reach(at) for at in range(len(region.relations))]
        said = " nor ".join(texts) if region.aligned or len(texts) == 1 else " and ".join(texts) + " together"
        conflict = texts[:1] if region.aligned else texts  # each of those alone is out of reach
        return InfeasibleError(f"no values of {', '.join(self.leaves)} meet {said}", conflict=conflict,
                               hint="within their ranges, " + "; ".join(lines))  # fmt: skip

    def _empty(self, relations: Sequence[int]) -> bool:
        """Whether it is proven that these relations hold nowhere together."""
        part = Region([self.region.relations[j] for j in relations], self.region.unknowns, self.named)
        try:
            return cheapest(part, evenly(part)) is None
        except LimitReachedError:
            return False

    def _reach(self, at: int) -> str:
        """Return between which values the side of a relation that moves can be, as text."""
        region, item = self.region, self.region.relations[at]
        left, right = region.sides[at]
        side, node = (0, left) if any(leaf in symbols(left) for leaf in self.leaves.values()) else (1, right)
        whole = item.left if side == 0 else item.right
        name = next((name for name, made in self.traced.expressions.items() if made is whole), short(whole, 40))
        moves = [direction(node, unknown.leaf, region.box) for unknown in region.unknowns]
        if None in moves:
            ends, said = tuple(bounds(node, region.box)), "lies somewhere within"
        else:
            corners_of = [
                [item.low if (move or 0) * way >= 0 else item.high
                 for item, move in zip(region.unknowns, moves, strict=True)]
                for way in (1, -1)
            ]  # fmt: skip
            ends, said = tuple(region.values(corner)[at][side] for corner in corners_of), "is"
        low, high = (show(end, node.dimension) if math.isfinite(end) else f"{end:+}" for end in ends)
        return f"{name} {said} {low} to {high} ({item.text})"

    def at(self, values: Mapping[str, Any]) -> Specification:
        """Return the specification with these values and the least of the others."""
        fixed: dict[str, float] = {}
        for name, value in values.items():
            if name not in self.leaves:
                raise UnknownNameError("number that is sought", name, list(self.leaves))
            fixed[name] = to_si(value, self.leaves[name].dimension, name)
        point = dict(fixed)
        for mine, _, part in self.parts:
            names = [self.region.unknowns[at].name for at in mine]
            left = [at for at, name in enumerate(names) if name not in fixed]
            if len(left) > 1:
                raise InputError(f"{len(left) - 1} of {', '.join(names[at] for at in left)} must be given",
                                 hint="the last one follows from the others")  # fmt: skip
            here = [fixed.get(name, part.easy(at)) for at, name in enumerate(names)]
            for at in left:
                found = part.least(here, at)
                if found is None:
                    said = ", ".join(f"{name} = {show(x, self.leaves[name].dimension, 6)}" for name, x in fixed.items())
                    raise NotInvertibleError(f"no {names[at]} is enough with {said}" if said else
                                             f"no {names[at]} is enough")  # fmt: skip
                point[names[at]] = found
        whole = [point[name] for name in self.leaves]
        gaps = self.region.gaps(whole)
        missed = [item.text for item, gap in zip(self.region.relations, gaps, strict=True) if gap > 0.0]
        if missed:
            raise InfeasibleError(f"these values do not meet {'; '.join(missed)}", conflict=missed)
        return self.specification(whole)

    def cheapest(self, costs: list[float], of: Dimension, unit: str) -> Cheapest:
        """Return the cheapest specification: groups of unknowns cost what each of them costs."""
        point = [0.0] * len(self.leaves)
        prices = [0.0] * len(self.region.relations)
        cost = bound = 0.0
        proofs: list[str] = []
        for mine, theirs, part in self.parts:
            found: Optimum | None = cheapest(part, [costs[at] for at in mine])
            if found is None:
                raise self.conflict()
            for at, value in zip(mine, found.point, strict=True):
                point[at] = value
            for at, price in zip(theirs, found.prices, strict=True):
                prices[at] = price
            cost, bound = cost + found.cost, bound + found.bound
            proofs.append(found.proof)
        gap = max(0.0, (cost - bound) / cost)
        return Cheapest(
            specification=self.specification(point),
            cost=quantity(cost, unit),
            bound=quantity(bound, unit),
            gap=gap,
            status="optimal" if gap <= 1e-9 else "feasible",
            proof="; ".join(dict.fromkeys(proofs)),
            duals=tuple(self._dual(at, price, point, unit) for at, price in enumerate(prices)),
        )

    def _dual(self, at: int, price: float, point: Sequence[float], unit: str) -> Dual:
        """Return what a unit more of slack saves: in the side that the unknowns do not move, else in the left one."""
        item = self.region.relations[at]
        left, right = self.region.values(point)[at]
        moving = [any(leaf in symbols(side) for leaf in self.leaves.values()) for side in (item.left, item.right)]
        side = right if moving[0] and not moving[1] else left
        shown: Unit = readable_unit(side, item.left.dimension)
        counted = parse_unit(unit)
        saves = price / side * shown.factor / counted.factor if price else 0.0
        return Dual(item.text, saves, f"{unit} per {shown.text}")

    def notes(self, values: Mapping[str, float]) -> tuple[str, ...]:
        """Return what is not asked for and does not hold at a point, and what a range ends."""
        rules = self.traced.result.constraints
        truths = ScalarProgram(list(rules.values())).run_named({**self.named, **values})
        failed = [name for name, holds in zip(rules, truths, strict=True) if not holds]
        asked = {item.text for item in self.region.relations}
        found = [name for name in failed if name not in asked]
        ended = [item.name for item in self.region.unknowns if values[item.name] in (item.low, item.high)]
        return (
            *([f"not asked for, and violated: {'; '.join(found)}"] if found else []),
            *([f"at the end of the range it is sought in: {', '.join(ended)}"] if ended else []),
        )

    def entered(self, values: Mapping[str, float]) -> dict[str, Any]:
        """Return the inputs with these values; entries of the catalog are replaced by copies with other numbers."""
        inputs = dict(self.given)
        for name, value in values.items():
            head, _, path = name.partition(".")
            entry = inputs.get(head) if head in inputs else None
            if not path:
                inputs[name] = Measure(value, base_unit(self.leaves[name].dimension))
                continue
            holder = self.values.get(head) if not isinstance(entry, Entry) else entry
            if not isinstance(holder, Entry) or path not in holder.parameters():
                raise InputError(f"{name} is not a number of an entry that is given", path=name,
                                 hint="it follows from the entries; it can be solved for, not entered")  # fmt: skip
            inputs[head] = holder.replacing(path, holder.parameter(path).changed(value, "solved for"))
        return inputs


def _names(unknowns: Sequence[str], model: Model) -> list[str]:
    if isinstance(unknowns, str) or not isinstance(unknowns, Sequence) or not unknowns:
        raise InputError(f"expected names of numbers, got {unknowns!r}", path="unknowns",
                         hint='for example ["hardware.memory.bandwidth"]')  # fmt: skip
    names = [model.aliases.get(name, name) for name in unknowns]
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


def rays(count: int, points: int) -> list[tuple[float, ...]]:
    """Return directions into the positive quadrant, about evenly spread."""
    if count == 2:
        angles = [math.pi / 2 * (at + 0.5) / points for at in range(points)]
        return [(math.cos(angle), math.sin(angle)) for angle in angles]
    parts = 1
    while math.comb(parts + count - 1, count - 1) < points:
        parts += 1
    found = []
    for bars in itertools.combinations(range(parts + count - 1), count - 1):
        cuts = (-1, *bars, parts + count - 1)
        found.append(tuple(b - a - 1 + 1 / count for a, b in itertools.pairwise(cuts)))
    return found


def places(unknown: Unknown, low: float, high: float, count: int) -> list[float]:
    """Return values of an unknown that are tried: near what is proven to be needed, else over its whole range."""
    if low > unknown.low:
        high = min(high, low * WIDEST)
    elif high < unknown.high:
        low = max(low, high / WIDEST)
    return [low * (high / low) ** (at / (count - 1)) for at in range(count)]


def evenly(region: Region) -> list[float]:
    """Return costs with which the middles of the ranges of all unknowns cost the same."""
    return [1 / math.sqrt(item.low * item.high) for item in region.unknowns]


def spread(points: list[Point], signs: Sequence[float], count: int) -> list[Point]:
    """Return at most so many of some points, in directions as different as can be from what none goes below."""
    if len(points) <= count:
        return points
    logs = [[sign * math.log(x) for x, sign in zip(point, signs, strict=True)] for point in points]
    least = [min(column) for column in zip(*logs, strict=True)]
    steps = [[x - low for x, low in zip(row, least, strict=True)] for row in logs]

    def nearness(ray: Sequence[float], at: int) -> float:
        along: float = sum(a * b for a, b in zip(ray, steps[at], strict=True))
        return along / (math.hypot(*steps[at]) or 1.0)

    chosen = {max(range(len(points)), key=lambda at, ray=ray: nearness(ray, at)) for ray in rays(len(signs), count)}  # type: ignore[misc]
    return [points[at] for at in sorted(chosen)]


def distinct(points: Iterable[Point]) -> list[Point]:
    """Return points in order, of those that differ by rounding only one."""
    found: list[Point] = []
    for point in sorted(points):
        if not found or any(abs(a - b) > 1e-9 * abs(b) for a, b in zip(point, found[-1], strict=True)):
            found.append(point)
    return found


def undominated(points: Sequence[Point], signs: Sequence[float]) -> list[Point]:
    """Return the points than which no other asks for less or as much of everything; signs turn unknowns round."""

    def below(a: Point, b: Point) -> bool:
        return a != b and all(s * x <= s * y for s, x, y in zip(signs, a, b, strict=True))

    return [point for point in points if not any(below(other, point) for other in points)]
