"""What the models say of a scenario: whether it can run, how fast, and what it takes. One function for each task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from mlsysim_opt.errors import InfeasibleError, InputError, MlsysimError, OOMError, UnsupportedPrecisionError
from mlsysim_opt.physics import (
    DataModel,
    DistributedModel,
    EconomicsModel,
    ServingModel,
    SingleNodeModel,
    SustainabilityModel,
    TailLatencyModel,
)
from mlsysim_opt.registry.scenario import ScenarioEntry
from mlsysim_opt.scenarios.evaluation import Amount
from mlsysim_opt.units import BYTE, ENERGY, POWER, TIME, TOKEN, divide

PER_TOKEN_TIME = divide(TOKEN, TIME)
Found = Amount | MlsysimError
"""A number, or the error that says why there is none."""


@dataclass
class Facts:
    """What is known of a scenario.

    Attributes:
        rules: what must hold for it to run, by name: whether it does, and the error where it does not.
        performance, macro: numbers by name, or the error that says what is missing.
        promises: truths that are no limits, such as a stable queue. labels, notes: words beside the numbers.
        memory: what it needs, and what there is. design: decisions. assumptions: defaults that decided.
    """

    rules: dict[str, MlsysimError | None] = field(default_factory=dict)
    performance: dict[str, Found] = field(default_factory=dict)
    macro: dict[str, Found] = field(default_factory=dict)
    promises: dict[str, bool] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Amount] = field(default_factory=dict)
    design: dict[str, Any] = field(default_factory=dict)
    assumptions: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether nothing forbids it."""
        return all(error is None for error in self.rules.values())

    def take(self, solved: Any, performance: Mapping[str, str]) -> None:
        """Note numbers of a result, by the name they get here and their field there."""
        for name, of in performance.items():
            self.performance[name] = number(solved, of)
        self.assumptions.update(solved.assumptions)


def number(solved: Any, name: str) -> Found:
    """Return a number of a result, or the error that stands in its place."""
    traced = solved.__dict__["_traced"]
    if name not in traced.position:
        try:
            getattr(solved, name)
        except MlsysimError as error:
            return error
    return Amount(float(solved.si(name)), traced.expressions[name].dimension)


def gather(spec: ScenarioEntry) -> Facts:
    """Return all that the models say of a scenario."""
    facts = Facts()
    try:
        TASKS[spec.job](spec, facts)
    except (UnsupportedPrecisionError, InfeasibleError) as error:
        facts.rules["can run"] = error
        return facts
    if facts.runs:
        _data(spec, facts)
        _macro(spec, facts)
    said = {*_said(spec), *(_said(spec.split) if spec.split is not None else ())}
    facts.assumptions = {name: text for name, text in facts.assumptions.items() if name not in said}
    return facts


def _said(part: Any) -> set[str]:
    return {name for name in part.model_fields_set if part.__dict__[name] is not None}


def _given(**inputs: Any) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if value is not None}


def _rules(facts: Facts, solved: Any, memory: OOMError) -> None:
    facts.memory["memory_needed"] = Amount(memory.required_bytes, BYTE)
    facts.memory["memory_available"] = Amount(memory.available_bytes, BYTE)
    for name, holds in solved.constraints.items():
        error: MlsysimError | None = None
        if not holds:
            broken = InfeasibleError(f"{name}: this does not hold", conflict=[name])
            error = memory if name.startswith("memory") else broken
        facts.rules[name] = error


def _replicas(spec: ScenarioEntry, each: int) -> int:
    if spec.replicas is not None:
        return spec.replicas
    return max(1, spec.system.accelerators // each) if spec.system.kind == "fleet" else 1


def _accelerator(spec: ScenarioEntry) -> Any:
    return spec.system.accelerator if spec.system.kind == "fleet" else spec.system


# inference ------------------------------------------------------------------------------------------------------------
def _inference(spec: ScenarioEntry, facts: Facts) -> None:
    hardware, batch = _accelerator(spec), spec.batch_size or 1
    solved = SingleNodeModel().solve(
        spec.workload, hardware, batch_size=batch, precision=spec.precision, offload=spec.offload,
        **_given(efficiency=spec.efficiency, seq_len=spec.seq_len),
    )  # fmt: skip
    needed, there = solved.si("memory_footprint"), solved.si("memory_available")
    _rules(facts, solved, OOMError(needed, there, what=spec.workload.name, where=hardware.name, path="memory fits"))
    facts.design["replicas"] = replicas = _replicas(spec, 1)
    facts.take(solved, {"latency": "latency", "energy": "energy", "throughput": "throughput", "mfu": "mfu"})
    facts.labels["bottleneck"] = solved.bottleneck
    _scale(facts, "throughput", replicas)
    latency, energy = facts.performance["latency"], facts.performance["energy"]
    assert isinstance(latency, Amount)
    if spec.workload.kind == "model":
        tokens = batch * (spec.seq_len or 1) * replicas
        facts.performance["token_throughput"] = Amount(tokens / latency.si, PER_TOKEN_TIME)
    facts.performance["power"] = (
        Amount(energy.si / latency.si * replicas, POWER) if isinstance(energy, Amount) else energy
    )
    _queue(spec, facts, latency.si, replicas * batch)


def _scale(facts: Facts, name: str, factor: float) -> None:
    found = facts.performance[name]
    if isinstance(found, Amount):
        facts.performance[name] = Amount(found.si * factor, found.dimension)


def _queue(spec: ScenarioEntry, facts: Facts, service: float, servers: int) -> None:
    """Note the quantiles of latency; every place of every replica serves one queue."""
    if spec.arrival_rate is None:
        return
    queue = TailLatencyModel().solve(
        arrival_rate=spec.arrival_rate, service_latency=f"{service!r} s", num_replicas=servers
    )
    facts.take(queue, {name: name for name in ("p50_latency", "p95_latency", "p99_latency", "p999_latency")})
    facts.performance["queue_utilization"] = number(queue, "queue_utilization")
    facts.promises["the queue is stable"] = bool(queue.is_stable)


# serving --------------------------------------------------------------------------------------------------------------
def _serving(spec: ScenarioEntry, facts: Facts) -> None:
    hardware = _accelerator(spec)
    asked: dict[str, Any] = {
        "model": spec.workload, "hardware": hardware, "seq_len": spec.seq_len, "precision": spec.precision,
        **_given(batch_size=spec.batch_size, efficiency=spec.efficiency, output_len=spec.output_len,
                 memory_reserve=spec.memory_reserve, weight_precision=spec.weight_precision),
    }  # fmt: skip
    solved, split = _served(spec, asked)
    needed, there = solved.si("total_memory_required"), solved.si("available_memory")
    each = split["tp_size"] * split["pp_size"]
    where = hardware.name if each == 1 else f"{each} {hardware.name}"
    _rules(facts, solved, OOMError(needed, there, what=spec.workload.name, where=where, path="memory fits"))
    replicas = _replicas(spec, each)
    if spec.system.kind == "fleet" and replicas * each > spec.system.accelerators:
        facts.rules["the fleet holds all replicas"] = InfeasibleError(
            f"{replicas} replicas of {each} accelerators are more than the {spec.system.accelerators} of the fleet"
        )
    facts.design.update(split, replicas=replicas)
    facts.take(solved, {
        "ttft": "ttft", "itl": "itl", "request_latency": "request_latency", "token_throughput": "throughput",
        "energy_per_token": "energy_per_token", "energy": "energy_per_request",
    })  # fmt: skip
    facts.labels.update(prefill_bottleneck=solved.prefill_bottleneck, decode_bottleneck=solved.decode_bottleneck)
    speed, energy = facts.performance["token_throughput"], facts.performance["energy_per_token"]
    assert isinstance(speed, Amount)
    facts.performance["power"] = (
        Amount(energy.si * speed.si * replicas, POWER) if isinstance(energy, Amount) else energy
    )
    _scale(facts, "token_throughput", replicas)
    facts.performance["latency"] = facts.performance["request_latency"]
    request = facts.performance["request_latency"]
    assert isinstance(request, Amount)
    _queue(spec, facts, request.si, replicas * (spec.batch_size or 1))


def _served(spec: ScenarioEntry, asked: dict[str, Any]) -> tuple[Any, dict[str, int]]:
    """Return the answer for the split that is given, or for the smallest one on which the model fits."""
    best: tuple[Any, dict[str, int]] | None = None
    for split in _splits(spec):
        solved = ServingModel().solve(**asked, **split)
        if solved.feasible:
            return solved, split
        best = solved, split
    assert best is not None
    return best


def _splits(spec: ScenarioEntry) -> Iterator[dict[str, int]]:
    """Yield what may be: splits in order of their accelerators, tensor before pipeline parallelism."""
    given = spec.split.given() if spec.split is not None else {}
    domain = count = 1
    if spec.system.kind == "fleet":
        domain = min(int(spec.system.node.scale_up.domain_size), spec.system.accelerators)
        count = spec.system.accelerators
    doublings = [2**power for power in range(count.bit_length())]
    tensor = [given["tp_size"]] if "tp_size" in given else [size for size in doublings if size <= domain]
    pipeline = (
        [given["pp_size"]] if "pp_size" in given else [size for size in doublings if size <= spec.workload.layers]
    )
    pairs = sorted(product(tensor, pipeline), key=lambda pair: (pair[0] * pair[1], pair[1]))
    if spec.system.kind == "fleet":
        pairs = [pair for pair in pairs if pair[0] * pair[1] <= count] or pairs[:1]
    for tp, pp in pairs:
        yield {"tp_size": tp, "pp_size": pp, "ep_size": given.get("ep_size", 1)}


# training -------------------------------------------------------------------------------------------------------------
def _training(spec: ScenarioEntry, facts: Facts) -> None:
    fleet = spec.system
    given = spec.split.given() if spec.split is not None else {}
    batch = spec.batch_size or fleet.accelerators
    if spec.batch_size is None:
        facts.assumptions["batch_size"] = f"{batch}: one sequence for each accelerator"
    asked: dict[str, Any] = {
        "model": spec.workload, "fleet": fleet, "seq_len": spec.seq_len, "precision": spec.precision,
        **_given(efficiency=spec.efficiency, memory_reserve=spec.memory_reserve),
    }  # fmt: skip
    if not given.get("is_lora"):
        given = _best_split(asked, batch, given)
    solved = DistributedModel().solve(**asked, batch_size=batch, **given)
    there = fleet.accelerator.memory.capacity.to("byte").magnitude
    needed = solved.si("total_memory")
    _rules(facts, solved, OOMError(needed, there, what=f"a rank of {spec.workload.name}", where=fleet.accelerator.name,
                                   path="memory fits"))  # fmt: skip
    facts.design.update(given)
    facts.take(solved, {
        "step_time": "step_time", "mfu": "mfu", "token_throughput": "tokens_per_second",
        "throughput": "effective_throughput", "busy_fraction": "busy_fraction", "memory": "total_memory",
    })  # fmt: skip
    facts.labels["bottleneck"] = solved.bottleneck
    if spec.tokens is not None:
        speed = facts.performance["token_throughput"]
        assert isinstance(speed, Amount)
        facts.performance["training_time"] = Amount(spec.tokens.to("token").magnitude / speed.si, TIME)
    else:
        facts.performance["training_time"] = InputError("not given, and the time of a run needs it", path="tokens")


def _best_split(asked: Mapping[str, Any], batch: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fastest split in which what is given holds.

    Raises:
        InfeasibleError: there is none; says what conflicts.
    """
    from mlsysim_opt.optimize import optimize

    found = optimize(
        "parallelism", objective="min_step_time", choices={name: [value] for name, value in given.items()},
        explain=False, global_batch_size=batch, **asked,
    )  # fmt: skip
    return {
        name: value for name, value in found.design.items() if name in {item.name for item in DistributedModel.inputs}
    }


# around it ------------------------------------------------------------------------------------------------------------
def _data(spec: ScenarioEntry, facts: Facts) -> None:
    """Note whether data arrives in time. Waiting for data makes a run slow, not impossible."""
    if spec.data_rate is None:
        return
    source = {"node": spec.system.node} if spec.system.kind == "fleet" else {"hardware": spec.system}
    solved = DataModel().solve(workload_data_rate=spec.data_rate, **source, **_given(storage=spec.storage))
    facts.promises["data arrives in time"] = not solved.is_stalled
    facts.performance["data_utilization"] = number(solved, "utilization")
    facts.labels["data_bottleneck"] = solved.bottleneck


def _macro(spec: ScenarioEntry, facts: Facts) -> None:
    power = (
        facts.performance.pop("power") if "power" in facts.performance else InputError("is of a fleet", path="power")
    )
    facts.macro["power"] = power
    training_time = facts.performance.get("training_time")
    duration = spec.duration
    seconds = duration.to("s").magnitude if duration is not None else None
    if seconds is None and isinstance(training_time, Amount):
        seconds = training_time.si
        facts.assumptions["duration"] = "that of the training run"
    accuracy = getattr(spec.workload, "accuracy", None)
    if accuracy is not None:
        facts.macro["accuracy"] = Amount(accuracy.value)
        facts.notes["accuracy is"] = accuracy.metric
    else:
        gap = InputError(f"{spec.workload.name} has no published accuracy in the catalog", path="workload.accuracy")
        facts.macro["accuracy"] = gap
    if spec.system.kind == "fleet":
        _fleet(spec, facts, seconds)
    else:
        _device(spec, facts, seconds)


NO_DURATION = InputError("not given, and cost, carbon and water are those of some time", path="duration",
                         hint="such as duration: 30 day")  # fmt: skip


def _fleet(spec: ScenarioEntry, facts: Facts, seconds: float | None) -> None:
    busy = facts.performance.get("busy_fraction")
    load = busy.si if isinstance(busy, Amount) else 1.0
    asked = {"fleet": spec.system, "duration_days": f"{seconds or 86400.0!r} s", "utilization": load,
             **_given(datacenter=spec.place)}  # fmt: skip
    _note(facts, ("power",), lambda: _sustained(asked, {"power": "it_power"}))
    if seconds is None:
        facts.macro.update(dict.fromkeys(("cost", "carbon", "water"), NO_DURATION))
        return
    of = {"carbon": "carbon_footprint_kg", "water": "water_usage_liters", "energy_of_facility": "total_energy_kwh"}
    _note(facts, tuple(of), lambda: _sustained(asked, of, facts))
    _note(facts, ("cost",), lambda: _costed(asked, facts))


def _sustained(asked: Mapping[str, Any], of: Mapping[str, str], facts: Facts | None = None) -> dict[str, Found]:
    solved = SustainabilityModel().solve(**asked)
    if facts is not None:
        facts.assumptions.update(solved.assumptions)
    return {name: number(solved, where) for name, where in of.items()}


def _costed(asked: Mapping[str, Any], facts: Facts) -> dict[str, Found]:
    solved = EconomicsModel().solve(**asked)
    facts.assumptions.update(solved.assumptions)
    return {"cost": number(solved, "tco_usd")}


def _device(spec: ScenarioEntry, facts: Facts, seconds: float | None) -> None:
    power = facts.macro["power"]
    facts.macro["cost"] = InputError("cost is known for fleets, not for one accelerator", path="system")
    if seconds is None:
        facts.macro.update(dict.fromkeys(("carbon", "water"), NO_DURATION))
        return
    if not isinstance(power, Amount):
        facts.macro.update(dict.fromkeys(("carbon", "water"), power))
        return
    facts.macro["energy_of_devices"] = Amount(power.si * seconds, ENERGY)
    asked = {"devices": 1, "device_power": f"{power.si!r} W", "duration_days": f"{seconds!r} s",
             **_given(datacenter=spec.place)}  # fmt: skip
    of = {"carbon": "carbon_footprint_kg", "water": "water_usage_liters"}
    _note(facts, tuple(of), lambda: _sustained(asked, of, facts))


def _note(facts: Facts, names: tuple[str, ...], make: Callable[[], Mapping[str, Found]]) -> None:
    """Note numbers, or for all of them the error that says what is missing."""
    try:
        facts.macro.update(make())
    except InputError as error:
        facts.macro.update(dict.fromkeys(names, error))


TASKS: dict[str, Callable[[ScenarioEntry, Facts], None]] = {
    "inference": _inference, "serving": _serving, "training": _training,
}  # fmt: skip
