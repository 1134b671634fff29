"""One question of synthesis: the equations, and the least bandwidths and FLOP/s with which the targets hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Operation, constant, substitute, symbols
from mlsysim_opt.errors import InputError, NotInvertibleError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.solvers.region import Point, Region, Unknown, corners
from mlsysim_opt.solvers.relations import ORDERED, Relation, as_relation
from mlsysim_opt.solvers.synthesis_answer import Target
from mlsysim_opt.solvers.synthesis_targets import (
    BANDWIDTH_LEAF,
    CAPACITY_LEAF,
    FARTHEST,
    LINK_LEAF,
    PEAK,
    Outputs,
    around,
)
from mlsysim_opt.units import NONE, divide, show

COMPUTE_SHARE = 0.2


@dataclass(frozen=True)
class Least:
    """The least numbers with which all targets hold, in base units.

    Attributes:
        bandwidth, rate: of the memory, and of the products. link: of the links; None where it is given, or no target
            depends on it.
        balance: why they are in this ratio. chosen: what was not asked for and decided it.
    """

    bandwidth: float
    rate: float
    link: float | None
    balance: str
    chosen: Mapping[str, str]

    @property
    def point(self) -> Point:
        """The numbers as a point of the region of all that is sought."""
        return (self.bandwidth, self.rate) if self.link is None else (self.bandwidth, self.rate, self.link)


class Task:
    """The equations of one question, with all peaks in proportion to the one of the products.

    Args:
        main: the leaf of the FLOP/s of the products. link: whether the bandwidth of links is sought too.
    """

    def __init__(
        self, model: Model, outputs: Outputs, traced: Traced, named: Mapping[str, Any], main: str, *, link: bool
    ) -> None:
        self.model, self.outputs, self.traced, self.named, self.main = model, outputs, traced, named, main
        self.leaves = {leaf.name: leaf for leaf in symbols(*traced.everything.values())}
        if main not in self.leaves or BANDWIDTH_LEAF not in self.leaves:
            raise InputError(f"the latency does not depend on {main} and {BANDWIDTH_LEAF}", path="precision")
        self.rate, self.bandwidth = self.leaves[main], self.leaves[BANDWIDTH_LEAF]
        self.link = self.leaves.get(LINK_LEAF) if link else None
        self.proportional: dict[Expression, Expression] = {
            leaf: self.rate * constant(named[name] / named[main], divide(leaf.dimension, self.rate.dimension))
            for name, leaf in self.leaves.items()
            if name.startswith(PEAK) and name != main
        }

    # answers ----------------------------------------------------------------------------------------------------------
    def region(self, wanted: Sequence[Relation], tie: float | None = None, *, linked: bool = True) -> Region:
        """Return where targets hold over bandwidth and FLOP/s.

        Args:
            tie: FLOP/s over bandwidth, where only the bandwidth is free. linked: whether links keep the ratio to the
                bandwidth of the memory that they have; otherwise theirs is the last unknown.
        """
        swap = dict(self.proportional)
        if tie is not None:
            per_byte = constant(tie, divide(self.rate.dimension, self.bandwidth.dimension))
            swap = {leaf: substitute(node, {self.rate: self.bandwidth * per_byte}) for leaf, node in swap.items()}
            swap[self.rate] = self.bandwidth * per_byte
        moving = [self.bandwidth] if tie is not None else [self.bandwidth, self.rate]
        if self.link is not None and linked:
            swap[self.link] = self.bandwidth * constant(self._link_ratio, NONE)
        elif self.link is not None:
            moving.append(self.link)
        made = [Relation(item.text, substitute(item.left, swap), substitute(item.right, swap)) for item in wanted]
        unknowns = [Unknown(leaf, *around(leaf, self.named)) for leaf in moving]
        return Region(made, unknowns, self.named)

    @property
    def _link_ratio(self) -> float:
        """Bandwidth of links over that of the memory, today."""
        ratio: float = self.named[LINK_LEAF] / self.named[BANDWIDTH_LEAF]
        return ratio

    def solve(self, wanted: Sequence[Relation], share: float | None) -> Least:
        """Return the least numbers with which all targets hold."""
        if self.link is not None and not any(self.link.name in item.leaves for item in wanted):
            self.link = None
        every = self.region(wanted, linked=False)
        for item, moves in zip(wanted, every.moves, strict=True):
            if not set(moves) <= {-1, 0}:
                said = "does not help" if 1 in moves else "is not proven to help"
                raise InputError(f"more hardware {said} {item.text!r}", path="targets",
                                 hint="solve_system takes any relations")  # fmt: skip
        for at, name in enumerate(("memory bandwidth", "FLOP/s")):
            if not any(moves[at] for moves in every.moves):
                raise InputError(f"no target depends on the {name}", path="targets", hint="add one on itl or ttft")
        free = self.region(wanted)
        if free.ideal is None:
            raise self._unreachable(free)
        point, said, chosen = self._balanced(free, wanted, share)
        if not free.binding(point):
            raise NotInvertibleError(
                f"no target binds: hardware {1 / FARTHEST:g} times as fast as the one it is like meets them all",
                hint="lower the limits; what they should be is what a user can wait for",
            )
        if self.link is None:
            return Least(point[0], point[1], None, said, chosen)
        start = (*point, point[0] * self._link_ratio * (1 + 1e-15))
        bandwidth, rate, link = every.lowered(start)
        said += "; links over memory bandwidth are as on the accelerator it is like"
        return Least(bandwidth, rate, link, said, {**chosen, "link_memory_ratio": f"{self._link_ratio:.4g}"})

    def _balanced(
        self, free: Region, wanted: Sequence[Relation], share: float | None
    ) -> tuple[Point, str, dict[str, str]]:
        """Return bandwidth and FLOP/s, why they are in this ratio, and what was assumed for it."""
        if share is None and len(wanted) > 1:
            found = corners(free)
            if found:
                point, first, second = min(found, key=lambda corner: math.prod(corner.point))
                said = f"bandwidth is settled by {wanted[first].text}, FLOP/s by {wanted[second].text}"
                return point, said, {}
        step = [at for at, item in enumerate(wanted) if item.left is self.traced.expressions[self.outputs.latency]]
        if step or share is not None:
            ratio = self._step_ratio(share or COMPUTE_SHARE)
            point = self._on_ray(free, wanted, ratio)
            if share is not None or set(step) & set(free.binding(point)):
                share = share or COMPUTE_SHARE
                said = f"in a step, compute alone takes {share:g} of what memory traffic alone takes"
                return point, said, {"compute_share": f"{share:g}"}
        like = self.named[self.main] / self.named[BANDWIDTH_LEAF]
        point = self._on_ray(free, wanted, like)
        said = "FLOP/s over bandwidth is that of the accelerator it is like"
        return point, said, {"compute_memory_ratio": f"{like:.4g} FLOP/byte"}

    def _on_ray(self, free: Region, wanted: Sequence[Relation], ratio: float) -> Point:
        """Return the least bandwidth and FLOP/s that are in this ratio."""
        tied = self.region(wanted, ratio)
        scale = tied.least(tied.easiest, 0)
        if scale is None:
            raise self._unreachable(tied)
        return free.lowered((scale, scale * ratio * (1 + 1e-15)))

    def _step_ratio(self, share: float) -> float:
        """Return FLOP/s over bandwidth with which compute alone takes this share of memory traffic alone in a step."""
        parts = [self.traced.expressions[name] for name in (self.outputs.compute, self.outputs.bandwidth)]
        compute, memory = ScalarProgram(parts).run_named(self.named)
        today: float = self.named[self.main] / self.named[BANDWIDTH_LEAF]
        return today * float(compute / (share * memory))

    def _unreachable(self, region: Region) -> NotInvertibleError:
        values, gaps = region.values(region.easiest), region.gaps(region.easiest)
        lines = []
        for (left, right), item, missed in zip(values, region.relations, gaps, strict=True):
            if missed > 0:
                of = item.left.dimension
                ends = "bandwidth and FLOP/s" if self.link is None else "bandwidth, FLOP/s and links"
                lines.append(f"{item.text}: even without end of {ends}, {show(left, of)} against {show(right, of)}")
        alone = "overheads and links alone" if self.link is None else "overheads, and what links wait, alone"
        return NotInvertibleError(
            "no hardware meets " + "; ".join(lines),
            hint=f"{alone} take as long: another split, a smaller batch, or like=... with better ones",
        )

    def memory(self) -> float:
        """Return the least memory of one accelerator: with a byte less, the model does not fit."""
        leaf = self.leaves.get(CAPACITY_LEAF)
        relations = [
            as_relation(name, node)
            for name, node in self.traced.result.constraints.items()
            if leaf in symbols(node) and isinstance(node, Operation) and node.atom.name == ORDERED
        ]
        if leaf is not None and relations:
            region = Region(relations, [Unknown(leaf, *around(leaf, self.named))], self.named)
            found = region.least(region.easiest, 0)
            if found is not None:
                return found
        whole: float = self._value(self.traced.expressions[self.outputs.memory])
        return whole  # of one accelerator: only models of several state the constraint as an inequality

    def _value(self, node: Expression) -> float:
        return float(ScalarProgram([node]).run_named(self.named)[0])

    def peaks(self, rate: float) -> dict[str, float]:
        """Return all rates of the accelerator, in the proportion they have."""
        return {
            name.removeprefix(PEAK): value * (rate / self.named[self.main]) if name != self.main else rate
            for name, value in self.named.items()
            if name.startswith(PEAK)
        }

    def reached(self, item: Relation, least: Least) -> Target:
        """Return a target with what the answer reaches of it."""
        ((left, right),) = self.region([item], linked=False).values(least.point)
        turned = not symbols(item.left)
        value, limit = (right, left) if turned else (left, right)
        node = item.right if turned else item.left
        output = next((name for name, made in self.traced.expressions.items() if made is node), item.text)
        of = node.dimension
        return Target(item.text, output, abs(value - limit) <= 1e-9 * abs(limit), value, limit,
                      (show(value, of, 6), show(limit, of, 6)))  # fmt: skip
