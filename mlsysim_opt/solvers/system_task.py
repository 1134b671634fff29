"""The answers to several relations between several unknowns: a frontier, a point of it, the cheapest; part by part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra.bounds import bounds
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import short, symbols
from mlsysim_opt.algebra.monotone import direction
from mlsysim_opt.errors import InfeasibleError, InputError, LimitReachedError, NotInvertibleError, UnknownNameError
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.solvers.cheapest import Optimum, cheapest, narrowed
from mlsysim_opt.solvers.frontier_points import distinct, evenly, places, rays, spread, undominated
from mlsysim_opt.solvers.region import Point, Region, corners
from mlsysim_opt.solvers.specification import Cheapest, Dual, Specification
from mlsysim_opt.solvers.system_question import Question
from mlsysim_opt.units import Dimension, Measure, Unit, base_unit, parse_unit, quantity, readable_unit, show, to_si

SEARCHED = 50
"""Places of one unknown at which the others are sought where no direction is proven."""


class Task(Question):
    """One question with its answers."""

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
