"""What begins where a regime ends: which branch, which limit, which constraint, and what the output does there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlsysim_opt.algebra.expression import Expression, Operation, labels_of, short, topological
from mlsysim_opt.algebra.regimes import BESIDE, BRANCH, Edge, Regimes
from mlsysim_opt.solvers.point import Point, measured
from mlsysim_opt.units import show

Kind = Literal["kink", "limit", "constraint", "end"]
SHARED = 0.5
"""A label says what limits an output if at least this share of its equations are among those of the output."""
AS_GOOD = 0.05
"""Labels that share nearly as much count too: both phases limit the time of a request."""
CONSTRAINTS = "constraints"
ROUNDS = 64
"""Changes of branches without effect that are passed over, for one number and direction."""
SAME = 1e-8
"""Relative difference up to which two slopes, or two values, are the same."""
REACH = 1e3
"""Numbers are followed up to a thousand times as large, and as small."""


@dataclass(frozen=True)
class RegimeChange:
    """Where a regime ends as one number changes alone, and what begins there.

    Attributes:
        number: its name. factor: how many times its present value it is there. value: the number there.
        kind: ``kink`` (another branch of the equations), ``limit`` (another part is the largest, as the label of the
            model says), ``constraint`` (one holds or is violated from here), ``end`` (the output has no finite
            value, or has one again).
        regime: what begins, such as ``compute-bound``.
        elasticity: of the output to this number just beyond; None where it has none.
        jump: the relative change of the output at the very point; 0 where it is continuous.
    """

    number: str
    factor: float
    value: Any
    kind: Kind
    regime: str
    elasticity: float | None
    jump: float
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "number": self.number, "factor": self.factor, "kind": self.kind, "regime": self.regime,
            "elasticity_beyond": self.elasticity, "jump": self.jump, "text": self.text,
        }  # fmt: skip

    def __str__(self) -> str:
        return self.text


def limits_of(point: Point) -> dict[str, Expression]:
    """Return the labels of the model that say what limits this output: those made of the same equations."""
    inside = {id(node) for node in topological([point.root])}
    shares: dict[str, float] = {}
    for name in point.traced.labels:
        nodes = [node for node in topological([point.traced.expressions[name]]) if isinstance(node, Operation)]
        shares[name] = sum(id(node) in inside for node in nodes) / len(nodes)
    best = max(shares.values(), default=0.0)
    return {
        name: point.traced.expressions[name]
        for name, share in shares.items()
        if share >= SHARED and share >= best - AS_GOOD
    }


class Changes:
    """The regime changes of an output, number by number."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.labels = limits_of(point)
        rules = point.traced.result.constraints
        watched = {name: [node] for name, node in self.labels.items()}
        if rules:
            watched[CONSTRAINTS] = list(rules.values())
        self._regimes = Regimes(point.root, watched)
        self._rules = {id(node): name for name, node in rules.items()}
        self._outputs = {id(node): name for name, node in point.traced.expressions.items() if node.args}

    def all(self) -> dict[tuple[str, bool], list[RegimeChange]]:
        """Return the changes for each number and direction (upwards or not), the nearest first."""
        numbers = list(self.point.numbers.values())
        found = self._regimes.edges(self.point.named, numbers, REACH)
        for _ in range(ROUNDS):
            silent = {key: edges.pop(BRANCH).factor for key, edges in found.items() if self._silent(edges.get(BRANCH))}
            if not silent:
                break
            for key, edges in self._regimes.edges(self.point.named, numbers, REACH, silent).items():
                if BRANCH in edges:
                    found[key][BRANCH] = edges[BRANCH]
        else:
            for edges in found.values():
                if self._silent(edges.get(BRANCH)):
                    del edges[BRANCH]
        return {
            key: sorted(
                (self._change(group, edge) for group, edge in edges.items()),
                key=lambda item: abs(math.log(item.factor)),
            )
            for key, edges in found.items()
        }

    def kinked(self) -> dict[str, str]:
        """Return the numbers that stand at a kink, each with the branches that meet there."""
        found = self._regimes.kinks(self.point.named, list(self.point.leaves.values()))
        return {name: self._branch(edge) for name, edge in found.items()}

    def _silent(self, edge: Edge | None) -> bool:
        """Whether a branch changes without any effect of this number on the output: both forms are the same here."""
        if edge is None or edge.kind == "undefined":
            return False
        step = BESIDE if edge.upwards else -BESIDE
        inside, beyond = (
            self.point.elasticities({edge.symbol: at}).get(edge.symbol, 0.0)
            for at in (edge.inside * (1 - step), edge.factor * (1 + step))
        )
        if inside is None or beyond is None or not math.isclose(inside, beyond, rel_tol=SAME, abs_tol=SAME):
            return False
        before, after = (self.point.value({edge.symbol: at}) for at in (edge.inside, edge.factor))
        return math.isclose(before, after, rel_tol=SAME)

    def _change(self, group: str, edge: Edge) -> RegimeChange:
        point, name = self.point, edge.symbol
        leaf = point.numbers[name]
        beyond = edge.factor * (1 + BESIDE if edge.upwards else 1 - BESIDE)
        ends = edge.kind == "undefined" and not edge.after
        elasticity = None if ends else point.elasticities({name: beyond}).get(name, 0.0)
        before, after = point.value({name: edge.inside}), point.value({name: edge.factor})
        known = before and math.isfinite(before) and math.isfinite(after)
        jump = after / before - 1 if known else 0.0
        kind: Kind = "end" if edge.kind == "undefined" else "kink" if group == BRANCH else "limit"
        if group == CONSTRAINTS:
            kind = "constraint"
        regime = self._regime(group, edge)
        where = "beyond" if edge.upwards else "below"
        value = point.named[name] * edge.factor
        text = f"{regime} {where} {edge.factor:.4g}x {name} ({show(value, leaf.dimension)})"
        return RegimeChange(
            name, edge.factor, measured(value, leaf.dimension), kind, regime, elasticity,
            jump if abs(jump) > 10 * BESIDE else 0.0, text,
        )  # fmt: skip

    def _regime(self, group: str, edge: Edge) -> str:
        if group == CONSTRAINTS:
            return f"{self._rules[id(edge.node)]!r} {'holds' if edge.after else 'is violated'}"
        if group != BRANCH and edge.after < 0:
            return f"{group} is not defined"
        if group != BRANCH:
            return limited_by(group, labels_of(edge.node)[int(edge.after)])
        return self._branch(edge)

    def _branch(self, edge: Edge) -> str:
        """Return in words which form the value has beyond."""
        node = edge.node
        assert isinstance(node, Operation)
        if edge.kind == "undefined":
            return f"{self.point.output} has {'a' if edge.after else 'no finite'} value"
        if node.sort != "number" or (len(node.args) == 1 and node.atom.switch(node) is node) or node.integer:
            return f"{self._named(node)} becomes {edge.after:g}"
        if len(node.args) == 2:
            winner, loser = node.args if edge.after else node.args[::-1]
            return f"{self._named(winner)} takes over from {self._named(loser)}"
        condition = node.args[0]
        if id(condition) in self._rules:
            return f"{self._rules[id(condition)]!r} {'holds' if edge.after else 'is violated'}"
        return f"{short(condition, 70)} {'holds' if edge.after else 'no longer holds'}"

    def _named(self, node: Expression) -> str:
        return self._outputs.get(id(node)) or short(node, 60)


def limited_by(label: str, value: str) -> str:
    """Return in words that a label has this value: ``compute-bound`` where the label is a bottleneck."""
    if not label.endswith("bottleneck"):
        return f"{label.replace('_', ' ')} is {value.replace('_', ' ')}"
    text = value.replace("_", " ").lower()
    phase = label.removesuffix("bottleneck").rstrip("_").replace("_", " ")
    bound = text if text.endswith("-bound") else f"{text}-bound"
    return f"{phase} {bound}".strip()


def label_now(point: Point) -> dict[str, str]:
    """Return what limits the output now, by label of the model."""
    from mlsysim_opt.algebra.evaluate import ScalarProgram

    labels = limits_of(point)
    raw = ScalarProgram(list(labels.values())).run_named(point.named) if labels else []
    return {name: labels_of(node)[int(at)] for (name, node), at in zip(labels.items(), raw, strict=True) if at >= 0}


def sides(point: Point, kinked: Mapping[str, str]) -> dict[str, tuple[float | None, float | None]]:
    """Return the elasticity from below and from above for each number at a kink."""
    return {
        name: (point.elasticities({name: 1 - BESIDE})[name], point.elasticities({name: 1 + BESIDE})[name])
        for name in kinked
    }


__all__ = ["Changes", "RegimeChange", "label_now", "limited_by", "limits_of", "sides"]
