"""What holds for every model of the package, and for every entry of the catalog: units, shares, and who helps whom."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from typing import Any

import pytest

from mlsysim_opt import physics
from mlsysim_opt.algebra.expression import Symbol, symbols
from mlsysim_opt.errors import MlsysimError, UnsupportedPrecisionError
from mlsysim_opt.physics import (
    ContinuousBatchingModel,
    EconomicsModel,
    ReliabilityModel,
    ServingModel,
    SingleNodeModel,
    SustainabilityModel,
    TailLatencyModel,
)
from mlsysim_opt.physics.base import Model
from mlsysim_opt.registry import Hardware, Models, default_catalog
from mlsysim_opt.registry.types import Transformer
from mlsysim_opt.units import parse_unit

ALL = [
    kind
    for name in physics.__all__
    if inspect.isclass(kind := getattr(physics, name)) and issubclass(kind, Model)
]  # fmt: skip
DEVICES = [entry.name for entry in Hardware.all()]
TRANSFORMERS = [entry.name for entry in Models.all() if isinstance(entry, Transformer)]
WORKLOADS = [entry.name for entry in default_catalog().all("workload")]
HELPS = ("memory.bandwidth", "compute.peak.", "scale_up.bandwidth", "host_link.bandwidth", "fabric.bandwidth",
         "storage.read_bandwidth", "storage.write_bandwidth", "network_bandwidth")  # fmt: skip
TIMES = ("latency", "time", "ttft", "itl", "step", "wait")
"""What stands in the names of outputs of which less is better."""


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_example_of_a_model_is_solved_in_its_units(kind: type[Model]) -> None:
    solved = kind().solve(**kind.example)
    assert solved.feasible, solved
    traced = solved._traced
    for name, node in traced.expressions.items():
        shown = traced.result.units.get(name)
        if shown:
            assert parse_unit(shown).dimension == node.dimension, name
        value = solved.si(name)
        assert node.sort != "number" or not math.isnan(value), name
    assert kind().equations_latex()
    assert type(kind).__doc__


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_better_hardware_never_takes_longer(kind: type[Model]) -> None:
    """At the example of each model, every time falls or stays when a bandwidth or a rate of the hardware rises."""
    model = kind()
    traced = model.trace(model.check(**kind.example))
    for name, node in traced.expressions.items():
        if node.sort != "number" or not any(word in name for word in TIMES) or "utilization" in name:
            continue
        if (
            traced.result.units.get(name)
            and parse_unit(traced.result.units[name]).dimension != parse_unit("s").dimension
        ):
            continue
        if not any(isinstance(item, Symbol) and any(text in item.name for text in HELPS) for item in symbols(node)):
            continue
        solved = model.solve(**kind.example)
        if not solved.si(name):
            continue
        for leaf, elasticity in model.sensitivity(name, **kind.example).items():
            if any(text in leaf for text in HELPS):
                assert elasticity <= 1e-12, (name, leaf, elasticity)


@pytest.mark.parametrize("hardware", DEVICES)
def test_every_device_runs_what_it_has_rates_for(hardware: str) -> None:
    device = Hardware[hardware]
    tried = 0
    for precision in device.precisions:
        for model in ("ResNet50", "GPT2"):
            for batch in (1, 16, 256):
                try:
                    solved = SingleNodeModel().solve(model, hardware, batch_size=batch, precision=precision)
                except UnsupportedPrecisionError:
                    continue
                tried += 1
                assert 0 < solved.mfu <= 1, (precision, model, batch)
                assert solved.si("latency_compute") <= solved.si("latency") * (1 + 1e-9)
                assert solved.si("latency_memory") <= solved.si("latency") * (1 + 1e-9)
                one = SingleNodeModel().solve(model, hardware, batch_size=1, precision=precision)
                assert one.si("latency") <= solved.si("latency") * (1 + 1e-12)
                if solved.feasible:  # else weights are pushed out of the memory
                    assert solved.si("latency") <= batch * one.si("latency") * (1 + 1e-9)
    assert tried


@pytest.mark.parametrize("model", WORKLOADS)
def test_every_workload_runs(model: str) -> None:
    solved = SingleNodeModel().solve(model, "H100")
    assert 0 < solved.mfu <= 1
    assert solved.si("memory_footprint") > 0


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_every_transformer_is_served(model: str) -> None:
    entry = Models[model]
    length = min(int(entry.context_length), 2048)
    served = ServingModel().solve(model, "B200", seq_len=length, batch_size=4, precision="bf16")
    assert 0 < served.prefill_mfu <= 1
    assert 0 < served.decode_mfu <= 1
    assert 0 < served.decode_bandwidth_utilization <= 1
    assert served.si("itl") < served.si("ttft") * 1.01
    one = ServingModel().solve(model, "B200", seq_len=length, precision="bf16")
    assert one.si("itl") <= served.si("itl") <= 4 * one.si("itl")
    batching = ContinuousBatchingModel().solve(model, "B200", seq_len=length, output_len=length // 2, precision="bf16")
    assert batching.si("itl") > 0


def test_quantiles_are_in_order() -> None:
    for load in (0.1, 0.5, 0.9, 0.99):
        found = TailLatencyModel().solve(arrival_rate=load * 400, service_latency="10 ms", num_replicas=4)
        quantiles = [found.si(f"{name}_latency") for name in ("p50", "p95", "p99", "p999")]
        assert quantiles == sorted(quantiles)


def test_money_carbon_and_failures_grow_with_work() -> None:
    given: dict[str, Any] = {"fleet": "Research_256", "datacenter": "Iowa"}
    days = [1, 10, 100, 1000]
    cost = [EconomicsModel().solve(**given, duration_days=d).tco_usd for d in days]
    carbon = [SustainabilityModel().solve(**given, duration_days=d).carbon_footprint_kg for d in days]
    failures = [ReliabilityModel().solve("Research_256", job_duration_days=d).expected_failures for d in days]
    for series in (cost, carbon, failures):
        assert series == sorted(series)
        assert series[0] > 0


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_missing_field_is_named(kind: type[Model]) -> None:
    """Leaving any one input out of the example either changes nothing that is silent, or is an error that names it."""
    required = [item.name for item in kind.inputs if item.default is not None and item.name in kind.example]
    for name in required:
        left = {key: value for key, value in kind.example.items() if key != name}
        try:
            told = str(kind().solve(**left).assumptions)
        except MlsysimError as error:
            told = f"{error} {error.path} {error.hint}"
        assert name in told, f"{name} was decided silently"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_result_is_a_value(kind: type[Model]) -> None:
    """It can be pickled and copied, cannot be changed, and shows its fields and its arguments to completion."""
    solved = kind().solve(**kind.example)
    names = list(solved._traced.position)
    for again in (pickle.loads(pickle.dumps(solved)), copy.deepcopy(solved)):
        assert type(again) is type(solved)
        assert again.as_dict() == solved.as_dict()
    with pytest.raises(AttributeError, match="immutable"):
        setattr(solved, names[0], 3)
    assert set(names) <= set(dir(solved))
    assert all(item.name in (kind.solve.__doc__ or "") for item in kind.inputs) or "solve" in kind.__dict__
