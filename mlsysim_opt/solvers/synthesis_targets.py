"""What a synthesis is asked to keep: limits of a model's outputs, read once there are equations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mlsysim_opt.algebra.expression import Expression, Symbol, constant, symbols
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.monotone import direction
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.solvers.relations import Relation, as_relation, read_relations
from mlsysim_opt.units import TIME, Measure, as_measure, as_time, show, to_si

BANDWIDTH_LEAF, PEAK, CAPACITY_LEAF = "hardware.memory.bandwidth", "hardware.compute.peak.", "hardware.memory.capacity"
LINK_LEAF = "hardware.scale_up.bandwidth"
FARTHEST = 1e6
"""Numbers are sought within this factor of those of the accelerator `like`."""


class Outputs(NamedTuple):
    """Names of the outputs of a model: its latency, the parts of it, and the memory it takes."""

    latency: str
    compute: str
    bandwidth: str
    memory: str


OUTPUTS = {
    "ServingModel": Outputs("itl", "itl_compute", "itl_bandwidth", "total_memory_required"),
    "SingleNodeModel": Outputs("latency_resident", "latency_compute", "latency_memory", "memory_footprint"),
}


@dataclass(frozen=True)
class Asked:
    """The targets as they were given, which are relations once there are equations."""

    model: Model
    outputs: Outputs
    latency: float | None
    more: Mapping[str, Any] | Sequence[str]

    def __call__(self, traced: Traced, named: Mapping[str, Any]) -> list[Relation]:
        """Return the targets as relations.

        Raises:
            InputError: there is none, or one is no relation between outputs.
        """
        found: list[Relation] = []
        if self.latency is not None:
            node = traced.expressions[self.outputs.latency]
            text = f"{self.outputs.latency.removesuffix('_resident')} <= {show(self.latency, TIME)}"
            found.append(Relation(text, node, constant(self.latency, TIME)))
        more = [self.more] if isinstance(self.more, str) else self.more
        if isinstance(more, Mapping):
            found += [self._at_best(name, value, traced, named) for name, value in more.items()]
        elif more:
            found += [_directed(text, node, named) for text, node in read_relations(more, traced, equal=True)]
        if not found:
            raise InputError("there is no target", path="target_latency",
                             hint='target_latency="30 ms", or targets=["itl <= 30 ms", "ttft <= 500 ms"]')  # fmt: skip
        return found

    def _at_best(self, name: str, value: Any, traced: Traced, named: Mapping[str, Any]) -> Relation:
        node = self.model.output(name, traced)
        if node.sort != "number":
            raise InputError(f"{name} is a {node.sort}; a target is a limit of a number", path="targets")
        measure: Measure = as_time(as_measure(value, name), node.dimension)
        limit = constant(to_si(measure, node.dimension, name), node.dimension)
        if _helped(node, named) > 0:
            return Relation(f"{name} >= {measure}", limit, node)
        return Relation(f"{name} <= {measure}", node, limit)


def _directed(text: str, node: Any, named: Mapping[str, Any]) -> Relation:
    """Read ``itl = 30 ms`` as the bound that more hardware keeps."""
    if node.atom.name != "equal":
        return as_relation(text, node)
    left, right = node.args
    return Relation(text, right, left) if _helped(left - right, named) > 0 else Relation(text, left, right)


def _helped(node: Expression, named: Mapping[str, Any]) -> int:
    """Return how an expression moves with more bandwidth or FLOP/s; -1 where that is not proven."""
    box = {leaf.name: named[leaf.name] for leaf in symbols(node)}
    for leaf in symbols(node):
        if leaf.name == BANDWIDTH_LEAF or leaf.name.startswith(PEAK):
            return direction(node, leaf, {**box, leaf.name: around(leaf, named)}) or -1
    return -1


def around(leaf: Symbol, named: Mapping[str, Any]) -> Interval:
    """Return between which values a number is sought."""
    return Interval(named[leaf.name] / FARTHEST, named[leaf.name] * FARTHEST)
