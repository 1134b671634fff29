"""A number of a model is changed, the output read, and the number asked for that gives it: it is among the answers.

Every model, every output, and every number on which the output depends, whole ones too: those of the example of the
model, and of other questions that use the inputs the example leaves out. Where it is claimed that there is nothing
else, values of all sizes are looked at. `make round-trips` runs all of them, and prints how the answers were found.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from typing import Any

import pytest

from mlsysim_opt import physics, solve_for
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol, symbols
from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.physics.inverse import SolvedFor
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.limits import limits_of
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
        self.model, self.given, self.output, self.root, self.leaf = kind(), given, output, root, leaf
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
            known = limits_of(self.leaf.name, self.values)  # a share is at most one
            if known is not None:
                low, high = max(low, known.minimum), high if known.maximum is None else known.maximum
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
    if found.complete:
        nothing_was_missed(trip, found, y)
    return described(trip, found)


def described(trip: Trip, found: SolvedFor) -> str:
    """Return how an answer was found, and what is claimed of others."""
    how = found.method
    if not trip.leaf.integer and any(span.low < span.high for span in found.region):
        how += ", a stretch of values"
    if not found.complete:
        return f"{how}, others not excluded"
    part = found.method == "all roots" and (found.box.low > trip.leaf.low or found.box.high < trip.leaf.high)
    return f"{how}, in a part of all values" if part else how


def nothing_was_missed(trip: Trip, found: SolvedFor, y: float) -> None:
    """Look at values of all sizes in the box over which an answer is complete: where the output is that of the target,
    or lies on its other side at the next value without a jump, there has to be a part of the answer."""
    low, high = found.box
    if trip.leaf.integer:
        rnd = random.Random(f"{trip.output} {trip.leaf.name}")
        points = sorted({round(min(max(trip.start * 4.0 ** rnd.uniform(-4, 4), low), high)) for _ in range(40)})
    else:
        points = [(trip.start or 1.0) * 10.0 ** (step / 20) for step in range(-80, 81)]
    at = dict.fromkeys(map(float, points), math.nan)
    for x in at:
        if low <= x <= high and not answers(found, x, x):
            with suppress(MlsysimError):
                at[x] = by_equation(trip, x)
    seen = [x for x, output in at.items() if math.isfinite(output)]
    for x in seen:
        missed = met(at[x], y) and met(trip.at(x), y) and not joined(trip, found, x, y)
        assert not missed, (trip.output, trip.leaf.name, x, found)
    for a, b in pairwise(seen if not trip.leaf.integer else ()):
        if (at[a] - y) * (at[b] - y) < 0 and not answers(found, a, b):
            x = crossing(lambda item: by_equation(trip, item) - y, a, b)
            assert not met(by_equation(trip, x), y) or not met(trip.at(x), y), (trip.output, trip.leaf.name, x, found)


def joined(trip: Trip, found: SolvedFor, x: float, y: float) -> bool:
    """Return whether the output is about the target all the way from a value to the nearest part of an answer."""
    end = min((end for span in found.region for end in span if math.isfinite(end)), key=lambda end: abs(end - x))
    return all(met(by_equation(trip, x + (end - x) * step / 20), y) for step in range(20))


def by_equation(trip: Trip, x: float) -> float:
    return float(trip.program.run_named({**trip.named, trip.leaf.name: x})[0])


def met(output: float, y: float) -> bool:
    return abs(output - y) <= ROOM / 10 * (abs(y) or 1.0)


def answers(found: SolvedFor, low: float, high: float) -> bool:
    """Return whether a part of the answer lies between two values, to a millionth."""
    return any(span.low * (1 - 1e-6) <= high and low <= span.high * (1 + 1e-6) for span in found.region)


def crossing(gap: Callable[[float], float], a: float, b: float) -> float:
    """Return where a function changes its sign, by halving."""
    at_a = gap(a)
    for _ in range(100):
        middle = a + (b - a) / 2
        if gap(middle) * at_a > 0:
            a = middle
        else:
            b = middle
    return b


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_some_numbers_are_found_again(kind: type[Model]) -> None:
    rnd = random.Random(f"0 {kind.__name__}")
    every = [trip for trip in trips(kind) if "data_limit" not in trip.given]  # of repeated data, each takes a minute
    for trip in rnd.sample(every, min(len(every), 4 if kind is physics.ServingCapacityModel else 15)):
        there_and_back(trip)


COUNTS: Counter[str] = Counter()


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_every_number_is_found_again(kind: type[Model], capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter(there_and_back(trip) for trip in trips(kind))
    COUNTS.update(counts)
    with capsys.disabled():
        print(f"\n{kind.__name__}: {sum(counts.values())}; so far {sum(COUNTS.values())}:")
        for method, count in COUNTS.most_common():
            print(f"  {count:5}  {method}")
