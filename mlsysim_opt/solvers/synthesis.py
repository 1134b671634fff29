"""The least hardware that keeps its promises of latency: wall 22."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.physics.base import Model, model_of
from mlsysim_opt.physics.inputs import Given
from mlsysim_opt.physics.serving import ServingModel, home_of
from mlsysim_opt.registry.types import Link
from mlsysim_opt.solvers.synthesis_answer import SynthesisResult, Target
from mlsysim_opt.solvers.synthesis_targets import BANDWIDTH_LEAF, LINK_LEAF, OUTPUTS, PEAK, Asked
from mlsysim_opt.solvers.synthesis_task import Least, Task
from mlsysim_opt.units import BANDWIDTH, TIME, as_measure, as_time, quantity, to_si

LINK = LINK_LEAF.removeprefix("hardware.")


class SynthesisSolver:
    """The least memory bandwidth, FLOP/s, memory and link bandwidth with which a model of serving keeps its latencies.

    The very equations of `ServingModel` (or of `SingleNodeModel`) are inverted: batch, keys and values, overheads and
    all splits are those of the model. Entered as hardware, the answer meets every target, and less of any of the
    numbers misses one.

    Two targets usually settle bandwidth and FLOP/s: where the decode step binds the one and the prompt the other. One
    target leaves their balance open near the ridge. It is then chosen: with `compute_share`, compute alone takes this
    share of the time that memory traffic alone takes in a step; a target on something else keeps the balance of `like`.
    Links between the accelerators of a split keep the ratio to the memory bandwidth that those of `like` have, in its
    server. What is not synthesized (overheads, efficiencies) is that of `like`, and several precisions keep the ratio
    that they have there.
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
        link_bandwidth: Any = None,
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
            link_bandwidth: of the links within a server, each way; ``like`` for that of the accelerator `like`. It is
                sought when absent, where accelerators exchange anything.
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
        shares = not isinstance(compute_share, bool) and isinstance(compute_share, int | float)
        if compute_share is not None and not (shares and 0 < compute_share <= 10):
            raise InputError(f"{compute_share} is outside 0 to 10", path="compute_share")
        usual = 2048 if isinstance(asked, ServingModel) else 1
        length = usual if seq_len is None else seq_len
        inputs = {"model": model, "precision": precision, "efficiency": efficiency, "batch_size": batch_size,
                  "seq_len": length, **given}  # fmt: skip
        base: Any = Given("like", kind="accelerator").check(like)
        _can_be(asked, {**inputs, "hardware": base}, base.name)
        template = _template(base, link_bandwidth)
        values = asked.check(**inputs, hardware=template)
        task = Task(
            asked, outputs, asked.trace(values), asked.leaf_values(values), f"{PEAK}{precision}",
            link=link_bandwidth is None,
        )  # fmt: skip
        latency = None
        if target_latency is not None:
            latency = to_si(as_time(as_measure(target_latency, "target_latency"), TIME), TIME, "target_latency")
            if not latency > 0:
                raise InputError(f"{target_latency} is not above zero", path="target_latency")
        kept = Asked(asked, outputs, latency, targets)
        wanted = kept(task.traced, task.named)
        for item in wanted:
            if not {task.main, BANDWIDTH_LEAF} & set(item.leaves):
                raise InputError(f"{item.text!r} depends neither on bandwidth nor on FLOP/s", path="targets")
        if link_bandwidth is not None and not any(LINK_LEAF in item.leaves for item in wanted):
            raise InputError("no target depends on links", path="link_bandwidth", hint="leave it out")
        links = {} if link_bandwidth is None else {"link_bandwidth": str(template.parameter(LINK))}
        least = task.solve(wanted, compute_share)
        capacity = task.memory()
        hardware = _hardware(template, least, capacity, task.peaks(least.rate))
        solved = asked.solve(**inputs, hardware=hardware)
        unmet = [name for name, holds in solved.constraints.items() if not holds]
        if unmet:
            raise InfeasibleError(f"no hardware makes this possible: {'; '.join(unmet)}", conflict=unmet)
        return SynthesisResult(
            required_bandwidth=quantity(least.bandwidth, "TB/s"),
            required_flops=quantity(least.rate, "TFLOP/s"),
            required_memory=quantity(capacity, "GB"),
            required_link_bandwidth=None if least.link is None else quantity(least.link, "GB/s"),
            target_latency=None if latency is None else quantity(latency, "ms"),
            compute_memory_ratio=quantity(least.rate / least.bandwidth, "FLOP/byte"),
            assumptions={
                **asked.assumptions(values),
                "like": base.name,
                **links,
                **least.chosen,
                "seq_len": str(length),
            },
            targets=tuple(task.reached(item, least) for item in wanted),
            balance=least.balance,
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


def _template(base: Any, link: Any) -> Any:
    """Return an accelerator with the numbers of another under a name of its own, so that nothing is looked up for it.

    Its link is the one that the accelerator reaches in its server, with another bandwidth where one is given.
    """
    update: dict[str, Any] = {
        "name": f"Synthesized_like_{base.name}", "title": f"Synthesized, like {base.name}", "aliases": (),
    }  # fmt: skip
    home = home_of(base)
    if home is not None:
        update["scale_up"] = Link.model_construct(bandwidth=home.__dict__["scale_up"].__dict__["bandwidth"])
    made = base.model_copy(update=update)
    if link is None or link == "like":
        return made
    si = to_si(link, BANDWIDTH, "link_bandwidth")
    if not si > 0:
        raise InputError(f"{link} is not above zero", path="link_bandwidth")
    if LINK not in made.parameters():
        raise InputError(f"{base.name} has no link", path="link_bandwidth", hint="like=... with one that has")
    return made.replacing(LINK, made.parameter(LINK).changed(si, "given"))


def _hardware(template: Any, least: Least, memory: float, peaks: Mapping[str, float]) -> Any:
    """Return an accelerator like another, with other numbers."""
    numbers = {"memory.bandwidth": least.bandwidth, "memory.capacity": memory}
    numbers.update({f"compute.peak.{name}": rate for name, rate in peaks.items()})
    if least.link is not None:
        numbers[LINK] = least.link
    for path, si in numbers.items():
        template = template.replacing(path, template.parameter(path).changed(si, "synthesized for a target"))
    return template


__all__ = ["SynthesisResult", "SynthesisSolver", "Target"]
