"""The least hardware that keeps its promises of latency: wall 22."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, constant, substitute, symbols
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.monotone import direction
from mlsysim_opt.errors import InfeasibleError, InputError, NotInvertibleError
from mlsysim_opt.physics.base import Model, model_of
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.physics.serving import ServingModel, home_of
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Link
from mlsysim_opt.solvers.matching import Matches, Ranking, replica_size
from mlsysim_opt.solvers.region import Point, Region, Unknown, corners
from mlsysim_opt.solvers.relations import ORDERED, Relation, as_relation, read_relations
from mlsysim_opt.units import BYTE, TIME, Measure, as_measure, as_time, divide, quantity, show, to_si

if TYPE_CHECKING:
    from pint import Quantity

    from mlsysim_opt.registry.types import Accelerator

BANDWIDTH_LEAF, PEAK, CAPACITY_LEAF = "hardware.memory.bandwidth", "hardware.compute.peak.", "hardware.memory.capacity"
FARTHEST = 1e6
"""Numbers are sought within this factor of those of the accelerator `like`."""
COMPUTE_SHARE = 0.2
PARTS = {"bandwidth": "memory traffic", "memory": "memory traffic", "compute": "compute",
         "communication": "exchanges", "overhead": "launches and scheduling"}  # fmt: skip
"""Outputs that are parts of a latency, by the end of their names."""


class _Outputs(NamedTuple):
    """Names of the outputs of a model: its latency, the parts of it, and the memory it takes."""

    latency: str
    compute: str
    bandwidth: str
    memory: str


OUTPUTS = {
    "ServingModel": _Outputs("itl", "itl_compute", "itl_bandwidth", "total_memory_required"),
    "SingleNodeModel": _Outputs("latency_resident", "latency_compute", "latency_memory", "memory_footprint"),
}


@dataclass(frozen=True)
class Target:
    """What was asked for: an inequality between outputs of the model.

    Attributes:
        text: as it was asked. output: the output it is about. binds: whether less hardware would miss it.
        value, limit: what the least hardware reaches, and what was asked for, in base units. shown: both as text.
    """

    text: str
    output: str
    binds: bool
    value: float
    limit: float
    shown: tuple[str, str]

    @property
    def slack(self) -> float:
        """How far the value is from the limit, as a share of it."""
        return abs(self.value - self.limit) / abs(self.limit)


@dataclass(frozen=True)
class SynthesisResult:
    """The least hardware for some targets.

    Attributes:
        required_bandwidth, required_flops, required_memory: of one accelerator.
        target_latency: what was asked for, if it was one latency of the model. targets: all that was asked for.
        compute_memory_ratio: FLOP/s over bandwidth. balance: why this ratio and no other.
        assumptions: what was not asked for and decided the answer.
    """

    required_bandwidth: Quantity[float]
    required_flops: Quantity[float]
    required_memory: Quantity[float]
    target_latency: Quantity[float] | None
    compute_memory_ratio: Quantity[float]
    assumptions: dict[str, str]
    targets: tuple[Target, ...]
    balance: str
    _model: Model = field(repr=False)
    _inputs: Mapping[str, Any] = field(repr=False)
    _asked: _Asked = field(repr=False)
    _hardware: Accelerator = field(repr=False)

    @property
    def required_bw(self) -> Quantity[float]:
        """The same as `required_bandwidth`."""
        return self.required_bandwidth

    def as_hardware(self) -> Accelerator:
        """Return an accelerator with exactly these numbers, otherwise like the one it was derived from."""
        return self._hardware

    @property
    def explanation(self) -> tuple[str, ...]:
        """Where time and memory go on the synthesized accelerator, in sentences."""
        solved = self._model.solve(**self._inputs, hardware=self._hardware)
        known = set(solved.field_names())
        said = []
        for item in self.targets:
            stem = item.output.removesuffix("_resident")
            parts = [
                f"{show(solved.si(f'{stem}_{part}'), TIME, 3)} {name}"
                for part, name in PARTS.items()
                if f"{stem}_{part}" in known and solved.si(f"{stem}_{part}") > 0
            ]
            if parts:
                said.append(f"{stem} of {item.shown[0]}, each alone: {', '.join(parts)}; what overlaps is not added up")
        said.append(self.balance)
        if "kv_cache_size" in known:
            devices = replica_size(self._model.check(**self._inputs, hardware=self._hardware))
            whole, weights, cache = (
                solved.si(name) / devices for name in ("total_memory_required", "model_weights_size", "kv_cache_size")
            )
            said.append(f"memory of one accelerator: {show(weights, BYTE, 3)} weights, {show(cache, BYTE, 3)} keys and "
                        f"values, {show(whole - weights - cache, BYTE, 3)} workspace and reserve")  # fmt: skip
        return tuple(said)

    def matching(
        self, accelerators: Iterable[Accelerator | str] | None = None, rank_by: str | Callable[[Any], Any] = "latency"
    ) -> Matches:
        """Return the accelerators on which the model meets the targets, the best first.

        Each is asked with the equations of the model itself, as many of it as the replica has.

        Args:
            accelerators: those to look at, as entries or by name; all of the catalog when absent.
            rank_by: ``latency`` (the output of the first target), ``price_per_hour`` of the replica by the lowest
                on-demand rate of the catalog, ``price_per_million_tokens``, ``tdp`` of the replica, any output of the
                model (``energy_per_token``), an expression of these (``price_per_hour * itl``), or a function of the
                model's result. The least is best; ``max_throughput`` or ``-throughput`` turns it round.
        Returns:
            the accelerators in order, with what they were ranked by (`ranked`), those that meet the targets and lack
            what the ranking needs (`unranked`), and all others (`missed`), each with the reason.
        """
        every: Any = default_catalog().all("accelerator") if accelerators is None else accelerators
        read = Given("accelerators", kind="accelerator").check
        chosen: Any = [read(item) for item in ([every] if isinstance(every, str) else every)]
        probe = {**self._inputs, "hardware": self._hardware}
        ranking = Ranking.by(rank_by, self.targets[0].output, self._model, probe)
        return Matches.among(chosen, self._model, self._inputs, self._asked, ranking)

    def as_dict(self) -> dict[str, Any]:
        """Return the specification as JSON data."""

        def plain(item: Quantity[float]) -> dict[str, Any]:
            return {"value": float(item.magnitude), "unit": f"{item.units:~}".replace(" ", "")}

        return {
            "required_bandwidth": plain(self.required_bandwidth),
            "required_flops": plain(self.required_flops),
            "required_memory": plain(self.required_memory),
            "compute_memory_ratio": plain(self.compute_memory_ratio),
            "balance": self.balance,
            "explanation": list(self.explanation),
            "targets": [
                {"target": item.text, "output": item.output, "binds": item.binds, "value": item.shown[0],
                 "limit": item.shown[1], "relative_slack": item.slack}
                for item in self.targets
            ],
            "assumptions": dict(self.assumptions),
        }  # fmt: skip

    def __str__(self) -> str:
        rows = [
            f"  memory bandwidth  {self.required_bandwidth.to('TB/s').magnitude:,.4g} TB/s",
            f"  compute           {self.required_flops.to('TFLOP/s').magnitude:,.4g} TFLOP/s",
            f"  memory            {self.required_memory.to('GB').magnitude:,.4g} GB",
        ]
        asked = [f"  {item.text}: {item.shown[0]}" + (" (binds)" if item.binds else "") for item in self.targets]
        assumed = "; ".join(f"{name} = {text}" for name, text in self.assumptions.items())
        return "\n".join(["the least of one accelerator", *rows, *asked, f"  balance: {self.balance}",
                          f"  assumed: {assumed}"])  # fmt: skip


class SynthesisSolver:
    """The least memory bandwidth, FLOP/s and memory with which a model of serving keeps its latencies.

    The very equations of `ServingModel` (or of `SingleNodeModel`) are inverted: batch, keys and values, overheads and
    all splits are those of the model. Entered as hardware, the answer meets every target, and less of any of the three
    numbers misses one.

    Two targets usually settle bandwidth and FLOP/s: where the decode step binds the one and the prompt the other. One
    target leaves their balance open near the ridge. It is then chosen: with `compute_share`, compute alone takes this
    share of the time that memory traffic alone takes in a step; a target on something else keeps the balance of `like`.
    What is not synthesized (overheads, efficiencies, links) is that of the accelerator `like`, and several precisions
    keep the ratio that they have there.
    """

    wall = 22

    def solve(
        self,
        model: Any,
        target_latency: Any = None,
        precision: str = "fp16",
        efficiency: float | None = None,
        batch_size: int = 1,
        seq_len: int | None = None,
        *,
        targets: Mapping[str, Any] | Sequence[str] = (),
        using: Model | type[Model] = ServingModel,
        like: Any = "H100",
        compute_share: float | None = None,
        **given: Any,
    ) -> SynthesisResult:
        """Return the least hardware for some latencies.

        Args:
            model: a transformer. target_latency: the time of a decode step (`itl`), ``30 ms`` or ``30 ms/token``.
            precision, efficiency, batch_size, seq_len, given: inputs of the model that is asked; the context is 2048
                tokens for `ServingModel`, and one token for `SingleNodeModel`, when absent.
            targets: further promises: relations (``["ttft <= 500 ms"]``), or outputs and what they may be at most, or
                have to be at least where more hardware gives more (``{"itl": "30 ms", "throughput": "900 token/s"}``).
            using: the model that is asked. like: the accelerator whose other numbers hold.
            compute_share: time of compute alone over that of memory traffic alone in a step; 0.2 when absent, and not
                used where two targets settle the balance.
        Raises:
            InputError: a target is no time or no output, or an input is wrong.
            NotInvertibleError: no hardware meets a target, because overheads or links alone take longer.
            InfeasibleError: the split, or the length, is not one that the model can have on any hardware.
        """
        asked = model_of(using)
        outputs = OUTPUTS.get(type(asked).__name__)
        if outputs is None:
            raise InputError(f"{type(asked).__name__} cannot be synthesized from", path="using",
                             hint="ServingModel or SingleNodeModel; solve_system takes any model")  # fmt: skip
        if "hardware" in given:
            raise InputError("is what is sought", path="hardware", hint="like=... says whose other numbers hold")
        if compute_share is not None and not (isinstance(compute_share, int | float) and 0 < compute_share <= 10):
            raise InputError(f"{compute_share} is outside 0 to 10", path="compute_share")
        usual = 2048 if isinstance(asked, ServingModel) else 1
        length = usual if seq_len is None else seq_len
        inputs = {"model": model, "precision": precision, "efficiency": efficiency, "batch_size": batch_size,
                  "seq_len": length, **given}  # fmt: skip
        base: Any = Given("like", kind="accelerator").check(like)
        _can_be(asked, {**inputs, "hardware": base}, base.name)
        template = _template(base)
        values = asked.check(**inputs, hardware=template)
        task = _Task(asked, outputs, asked.trace(values), asked.leaf_values(values), f"{PEAK}{precision}")
        latency = None
        if target_latency is not None:
            latency = to_si(as_time(as_measure(target_latency, "target_latency"), TIME), TIME, "target_latency")
            if not latency > 0:
                raise InputError(f"{target_latency} is not above zero", path="target_latency")
        kept = _Asked(asked, outputs, latency, targets)
        wanted = kept(task.traced, task.named)
        for item in wanted:
            if not {task.main, BANDWIDTH_LEAF} & set(item.leaves):
                raise InputError(f"{item.text!r} depends neither on bandwidth nor on FLOP/s", path="targets")
        bandwidth, rate, balance, chosen = task.solve(wanted, compute_share)
        capacity = task.memory()
        hardware = _hardware(template, bandwidth, capacity, task.peaks(rate))
        solved = asked.solve(**inputs, hardware=hardware)
        unmet = [name for name, holds in solved.constraints.items() if not holds]
        if unmet:
            raise InfeasibleError(f"no hardware makes this possible: {'; '.join(unmet)}", conflict=unmet)
        return SynthesisResult(
            required_bandwidth=quantity(bandwidth, "TB/s"),
            required_flops=quantity(rate, "TFLOP/s"),
            required_memory=quantity(capacity, "GB"),
            target_latency=None if latency is None else quantity(latency, "ms"),
            compute_memory_ratio=quantity(rate / bandwidth, "FLOP/byte"),
            assumptions={**asked.assumptions(values), "like": base.name, **chosen, "seq_len": str(length)},
            targets=tuple(task.reached(item, bandwidth, rate) for item in wanted),
            balance=balance,
            _model=asked,
            _inputs=inputs,
            _asked=kept,
            _hardware=hardware,
        )


def _can_be(model: Model, inputs: Mapping[str, Any], like: str) -> None:
    """Refuse a split that accelerators like this one cannot have, whatever their numbers."""
    solved = model.solve(**inputs)
    unmet = [name for name, holds in solved.constraints.items() if not holds and "memory" not in name]
    if unmet:
        raise InfeasibleError(
            f"no hardware like {like} makes this possible: {'; '.join(unmet)}", conflict=unmet,
            hint="change the split or the lengths, or take another accelerator with like=...",
        )  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """The targets as they were given, which are relations once there are equations."""

    model: Model
    outputs: _Outputs
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
            return direction(node, leaf, {**box, leaf.name: _around(leaf, named)}) or -1
    return -1


class _Task:
    """The equations of one question, with all peaks in proportion to the one of the products."""

    def __init__(self, model: Model, outputs: _Outputs, traced: Traced, named: Mapping[str, Any], main: str) -> None:
        self.model, self.outputs, self.traced, self.named, self.main = model, outputs, traced, named, main
        self.leaves = {leaf.name: leaf for leaf in symbols(*traced.everything.values())}
        if main not in self.leaves or BANDWIDTH_LEAF not in self.leaves:
            raise InputError(f"the latency does not depend on {main} and {BANDWIDTH_LEAF}", path="precision")
        self.rate, self.bandwidth = self.leaves[main], self.leaves[BANDWIDTH_LEAF]
        self.proportional: dict[Expression, Expression] = {
            leaf: self.rate * constant(named[name] / named[main], divide(leaf.dimension, self.rate.dimension))
            for name, leaf in self.leaves.items()
            if name.startswith(PEAK) and name != main
        }

    # answers ----------------------------------------------------------------------------------------------------------
    def region(self, wanted: Sequence[Relation], tie: float | None = None) -> Region:
        """Return where targets hold over bandwidth and FLOP/s; with `tie`, over the bandwidth at this ratio."""
        swap = dict(self.proportional)
        if tie is not None:
            per_byte = constant(tie, divide(self.rate.dimension, self.bandwidth.dimension))
            swap = {leaf: substitute(node, {self.rate: self.bandwidth * per_byte}) for leaf, node in swap.items()}
            swap[self.rate] = self.bandwidth * per_byte
        made = [Relation(item.text, substitute(item.left, swap), substitute(item.right, swap)) for item in wanted]
        moving = [self.bandwidth] if tie is not None else [self.bandwidth, self.rate]
        unknowns = [Unknown(leaf, *_around(leaf, self.named)) for leaf in moving]
        return Region(made, unknowns, self.named)

    def solve(self, wanted: Sequence[Relation], share: float | None) -> tuple[float, float, str, dict[str, str]]:
        """Return bandwidth, FLOP/s, why this balance, and what was assumed for it."""
        free = self.region(wanted)
        for item, moves in zip(wanted, free.moves, strict=True):
            if not set(moves) <= {-1, 0}:
                said = "does not help" if 1 in moves else "is not proven to help"
                raise InputError(f"more hardware {said} {item.text!r}", path="targets",
                                 hint="solve_system takes any relations")  # fmt: skip
        for at, name in enumerate(("memory bandwidth", "FLOP/s")):
            if not any(moves[at] for moves in free.moves):
                raise InputError(f"no target depends on the {name}", path="targets", hint="add one on itl or ttft")
        if free.ideal is None:
            raise self._unreachable(free)
        if share is None and len(wanted) > 1:
            found = corners(free)
            if found:
                point, first, second = min(found, key=lambda corner: math.prod(corner.point))
                said = f"bandwidth is settled by {wanted[first].text}, FLOP/s by {wanted[second].text}"
                return point[0], point[1], said, {}
        step = [at for at, item in enumerate(wanted) if item.left is self.traced.expressions[self.outputs.latency]]
        if step or share is not None:
            ratio = self._step_ratio(share or COMPUTE_SHARE)
            point = self._on_ray(free, wanted, ratio)
            if share is not None or set(step) & set(free.binding(point)):
                share = share or COMPUTE_SHARE
                said = f"in a step, compute alone takes {share:g} of what memory traffic alone takes"
                return point[0], point[1], said, {"compute_share": f"{share:g}"}
        like = self.named[self.main] / self.named[BANDWIDTH_LEAF]
        point = self._on_ray(free, wanted, like)
        said = "FLOP/s over bandwidth is that of the accelerator it is like"
        return point[0], point[1], said, {"compute_memory_ratio": f"{like:.4g} FLOP/byte"}

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
                lines.append(f"{item.text}: even without end of bandwidth and FLOP/s, {show(left, of)} against "
                             f"{show(right, of)}")  # fmt: skip
        return NotInvertibleError(
            "no hardware meets " + "; ".join(lines),
            hint="overheads and links alone take as long: another split, a smaller batch, or like=... with better ones",
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
            region = Region(relations, [Unknown(leaf, *_around(leaf, self.named))], self.named)
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

    def reached(self, item: Relation, bandwidth: float, rate: float) -> Target:
        """Return a target with what the answer reaches of it."""
        region = self.region([item])
        ((left, right),) = region.values((bandwidth, rate))
        turned = not symbols(item.left)
        value, limit = (right, left) if turned else (left, right)
        node = item.right if turned else item.left
        output = next((name for name, made in self.traced.expressions.items() if made is node), item.text)
        of = node.dimension
        return Target(item.text, output, abs(value - limit) <= 1e-9 * abs(limit), value, limit,
                      (show(value, of, 6), show(limit, of, 6)))  # fmt: skip


def _around(leaf: Symbol, named: Mapping[str, Any]) -> Interval:
    return Interval(named[leaf.name] / FARTHEST, named[leaf.name] * FARTHEST)


def _template(base: Any) -> Any:
    """Return an accelerator with the numbers of another under a name of its own, so that nothing is looked up for it.

    Its link is the one that the accelerator reaches in its server.
    """
    update: dict[str, Any] = {
        "name": f"Synthesized_like_{base.name}", "title": f"Synthesized, like {base.name}", "aliases": (),
    }  # fmt: skip
    home = home_of(base)
    if home is not None:
        update["scale_up"] = Link.model_construct(bandwidth=home.__dict__["scale_up"].__dict__["bandwidth"])
    return base.model_copy(update=update)


def _hardware(template: Any, bandwidth: float, memory: float, peaks: Mapping[str, float]) -> Any:
    """Return an accelerator like another, with other numbers."""
    numbers = {"memory.bandwidth": bandwidth, "memory.capacity": memory}
    numbers.update({f"compute.peak.{name}": rate for name, rate in peaks.items()})
    for path, si in numbers.items():
        template = template.replacing(path, template.parameter(path).changed(si, "synthesized for a target"))
    return template


__all__ = ["SynthesisResult", "SynthesisSolver", "Target"]
