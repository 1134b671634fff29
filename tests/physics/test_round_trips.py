"""A number of a model is changed, the output read, and the number asked for that gives it: it is among the answers.

Every model, every output, and every number on which the output depends, whole ones too: those of the example of the
model, and of other questions that use the inputs the example leaves out. `make round-trips` runs all of them, and
prints how the answers were found.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

from mlsysim_opt import physics, solve_for
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, symbols
from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import base_unit

MODELS = [
    kind
    for kind in (getattr(physics, name) for name in physics.__all__)
    if isinstance(kind, type) and issubclass(kind, Model) and kind.example
]
SERVED = {"model": "Llama3_70B", "hardware": "H200", "seq_len": 4096, "batch_size": 8, "output_len": 512, "tp_size": 2}
SPLIT = {"model": "Mixtral_8x7B", "hardware": "H200", "tp_size": 2, "pp_size": 2, "ep_size": 2, "efficiency": 0.5}
SITE = {"pue": 1.2, "carbon_intensity": "400 gCO2e/kWh", "wue": "1 L/kWh", "water_intensity": "1.5 L/kWh"}
MORE: dict[str, list[dict[str, Any]]] = {
    "ContinuousBatchingModel": [
        {**SPLIT, "seq_len": 2048, "max_batch_size": 64, "output_len": 256, "cached_prefix_len": 512,
         "requests_per_client": 4},
    ],
    "CompressionModel": [{"model": "Llama3_70B", "hardware": "H100", "method": "pruning", "sparsity": 0.5}],
    "DataModel": [
        {"workload_data_rate": "6 GB/s", "hardware": "A100", "sharing": 8, "storage": "NVMe_Gen4", "storage_count": 4},
    ],
    "DistributedModel": [{**physics.DistributedModel.example, "efficiency": 0.5, "memory_reserve": "4 GB"}],
    "EconomicsModel": [
        {"fleet": "Research_256", "duration_days": 365, "kwh_price": 0.08, "discount_rate": 0.08,
         "tokens_per_second": "1e6 token/s", **SITE},
        {"fleet": "Research_256", "duration_days": 365, "price": "2 USD/h", "tokens": "1e12 token"},
    ],
    "InferenceScalingModel": [{**SPLIT, "reasoning_steps": 128}],
    "MoERoutingModel": [{**physics.MoERoutingModel.example, "capacity_factor": 1.25}],
    "ReliabilityModel": [{**physics.ReliabilityModel.example, "checkpoint_interval": "30 min"}],
    "ScalingModel": [
        {"target_loss": 2.0},
        {"accelerator_time": "1e6 h", "mfu": 0.4, "hardware": "H100"},
        {"compute_budget": "5.76e23 FLOP", "inference_tokens": "1e12 token", "target_model_size": 70e9},
        {"compute_budget": "5.76e23 FLOP", "data_limit": "1e11 token"},
    ],
    "ServingCapacityModel": [
        {**physics.ServingCapacityModel.example, "num_replicas": 4, "tp_size": 2, "mean_request_tokens": 1024},
    ],
    "ServingModel": [
        {**SPLIT, "seq_len": 4096, "batch_size": 8, "cached_prefix_len": 512, "prefill_chunk_tokens": 512},
        {**SERVED, "draft_model": "Llama3_8B", "draft_acceptance_rate": 0.7},
        {**SERVED, "decode_hardware": "H100", "network_bandwidth": "50 GB/s"},
        {"model": "DeepSeek_V3", "hardware": "H200", "seq_len": 4096, "batch_size": 64, "tp_size": 8, "attention_dp": 8,
         "ep_size": 8},
    ],
    "SustainabilityModel": [
        {"devices": 64, "device_power": "700 W", "duration_days": 30, "utilization": 0.8, "lifetime_years": 5,
         "embodied_carbon_per_device": "150 kgCO2e", "lifetime_utilization": 0.6,
         "market_carbon_intensity": "100 gCO2e/kWh", **SITE},
    ],
    "TailLatencyModel": [{**physics.TailLatencyModel.example, "slo": "50 ms"}],
}  # fmt: skip
ROOM = 1e-9


class Trip:
    """One output and one number of a question."""

    def __init__(self, kind: type[Model], given: dict[str, Any], output: str, root: Expression, leaf: Symbol) -> None:
        self.model, self.output, self.root, self.leaf = kind(), output, root, leaf
        self.values = self.model.check(**given)
        self.named = self.model.leaf_values(self.values)
        self.start = float(self.named[leaf.name])
        self.rest = {name: value for name, value in given.items() if kind.aliases.get(name, name) != leaf.name}

    @cached_property
    def program(self) -> ScalarProgram:
        return ScalarProgram([self.root])

    def at(self, x: float) -> float:
        """Return the output of the model with another value of the number; NaN where it has none."""
        changed = self.changed(x)
        if changed is None:  # such as an efficiency of a generation of devices: only the equations have it
            return float(self.program.run_named({**self.named, self.leaf.name: x})[0])
        try:
            return float(self.model.solve(**{**self.rest, **changed}).si(self.output))
        except MlsysimError:
            return math.nan

    def changed(self, x: float) -> dict[str, Any] | None:
        """Return the input, or the entry, with another value of the number; None where it is of neither."""
        name, _, path = self.leaf.name.partition(".")
        if any(item.name == name and isinstance(item, Number) for item in self.model.inputs):
            return {name: int(x) if self.leaf.integer else f"{x!r} {base_unit(self.leaf.dimension).text}"}
        entry = self.values.get(name)
        if not isinstance(entry, Entry):
            return None
        datum = entry.parameters().get(path)
        if datum is None and self.leaf.high != 1.0:  # of the server that devices with a split stand in
            return None
        new = bool(x) if datum is None else datum.changed(int(x) if self.leaf.integer else x, "a test")
        return {name: entry.replacing(path, new)}

    def others(self, rnd: random.Random) -> list[float]:
        """Return other values of the number, the one to be found again first."""
        low, high, start = self.leaf.low, self.leaf.high, self.start
        if not self.leaf.integer:
            drawn = [start * rnd.uniform(0.7, 1.4) or rnd.random(), *(start * x for x in (0.9, 1e-3, 0.5, 2, 1e3))]
            return [min(max(x, low), high) for x in drawn]
        numbers = [round(start * rnd.uniform(0.7, 1.4)), start + 1, start - 1, start * 2, start // 2, start * 4]
        least = low if high == 1.0 else max(low, 1.0)  # zero layers are no model
        return [float(x) for x in numbers if least <= x <= high and x != start]


def trips(kind: type[Model]) -> Iterator[Trip]:
    seen = set()
    for given in [kind.example, *MORE.get(kind.__name__, [])]:
        model = kind()
        for output, root in model.trace(model.check(**given)).expressions.items():
            for leaf in symbols(root) if root.sort == "number" else ():
                if (output, leaf.name) not in seen:
                    seen.add((output, leaf.name))
                    yield Trip(kind, given, output, root, leaf)


def there_and_back(trip: Trip) -> str:
    """Return how the number was found again, or why there is nothing to look for."""
    rnd = random.Random(f"{type(trip.model).__name__} {trip.output} {trip.leaf.name}")
    tried = [(x, y) for x in trip.others(rnd) if math.isfinite(y := trip.at(x))]
    if not tried:
        return "no other value possible"
    x, y = tried[0]
    outputs = [*(output for _, output in tried), *filter(math.isfinite, [trip.at(trip.start)])]
    if max(outputs) - min(outputs) <= ROOM * abs(y):
        return "no dependence here"
    # Where replicas follow from a number, each whole one is a search of its own.
    searched = trip.leaf.integer and type(trip.model) is physics.ServingCapacityModel
    found = solve_for(
        trip.output, f"{y!r} {base_unit(trip.root.dimension).text}", unknown=trip.leaf.name, using=trip.model,
        box=(max(trip.leaf.low, x - 50), min(trip.leaf.high, x + 50)) if searched else None, **trip.rest,
    )  # fmt: skip
    assert found.residual <= ROOM
    for value in filter(math.isfinite, found.values[:50]):
        assert trip.at(value) == pytest.approx(y, rel=ROOM, abs=ROOM if y == 0 else 0), (trip.output, found)
    assert any(span.low - 1e-6 * x <= x <= span.high + 1e-6 * x for span in found.region), (trip.output, x, found)
    return found.method + ("" if found.complete else ", others not excluded")


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_some_numbers_are_found_again(kind: type[Model]) -> None:
    rnd = random.Random(f"0 {kind.__name__}")
    every = list(trips(kind))
    for trip in rnd.sample(every, min(len(every), 4 if kind is physics.ServingCapacityModel else 15)):
        there_and_back(trip)


COUNTS: Counter[str] = Counter()


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_every_number_is_found_again(kind: type[Model], capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter(there_and_back(trip) for trip in trips(kind))
    COUNTS.update(counts)
    with capsys.disabled():
        for title, found in ((kind.__name__, counts), ("so far", COUNTS)):
            listed = ", ".join(f"{count} {method}" for method, count in found.most_common())
            print(f"\n{title}: {sum(found.values())} ({listed})", end="")
