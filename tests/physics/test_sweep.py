"""A sweep is the same equations at many points: every cell equals the single solve, whatever is swept."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt import physics
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics import DistributedModel, SingleNodeModel, SustainabilityModel
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.inputs import REQUIRED, Given, Input, Number, Option, Switch
from mlsysim_opt.physics.sweep import Sweep
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.units import base_unit


def same(tool: Model, sweep: Sweep, swept: Mapping[str, Any] | None = None, **single: Any) -> int:
    """Compare every cell with the single solve; return how many are defined."""
    defined = 0
    for index in itertools.product(*(range(size) for size in sweep.shape)):
        axes = sweep.axes if swept is None else swept
        point = {name: values[at] for (name, values), at in zip(axes.items(), index, strict=True)}
        try:
            alone = tool.solve(**single, **point)
        except InputError:
            assert not sweep["feasible"][index]
            assert all(np.isnan(sweep.si(name)[index]) for name in sweep if name != "feasible")
            continue
        defined += 1
        for name in sweep:
            seen = sweep.si(name)[index]
            if name != "feasible" and name not in alone._traced.position:  # what it needs is not known there
                assert np.isnan(seen), (name, point)
                continue
            expected = float(alone.feasible if name == "feasible" else alone.si(name))
            assert seen == pytest.approx(expected, rel=1e-12, nan_ok=True), (name, point)
    return defined


MODELS = [
    kind
    for kind in (getattr(physics, name) for name in physics.__all__)
    if isinstance(kind, type) and issubclass(kind, Model) and kind.example
]


def values_of(item: Input, given: Any) -> list[Any]:
    """Return a few values of an input near one that is known to do; nothing for inputs that are not given."""
    if isinstance(item, Given) and not item.also:
        return [*default_catalog().names(item.kind)[::25], *([] if given is None else [given])]
    if isinstance(item, Option):
        return list(item.options)
    if isinstance(item, Switch):
        return [True, False]
    if not isinstance(item, Number) or given is None:
        return []
    base = item.check(given)
    wanted = {base, base // 2, base + 1, 2 * base} if item.integer else {base, base / 2, base * 1.7}
    inside = [value for value in sorted(wanted) if item.low < value <= item.high]
    return inside if item.integer else [f"{value!r} {base_unit(item.of).text}" for value in inside]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_any_model_over_any_inputs(data: st.DataObject, regrouped: bool) -> None:
    kind = data.draw(st.sampled_from(MODELS))
    usual = {item.name: None if item.default is REQUIRED else item.default for item in kind.inputs}
    single = {kind.aliases.get(name, name): value for name, value in kind.example.items()}
    every = {item.name: values_of(item, single.get(item.name, usual[item.name])) for item in kind.inputs}
    names = data.draw(
        st.lists(st.sampled_from([n for n, v in every.items() if v]), min_size=1, max_size=2, unique=True)
    )
    swept = {name: every[name] for name in names}
    single = {name: value for name, value in single.items() if name not in swept}
    try:
        with pytest.MonkeyPatch.context() as patch:
            if regrouped:  # as large sweeps are
                patch.setattr("mlsysim_opt.algebra.arrays.REGROUPED", 0)
                patch.setattr("mlsysim_opt.algebra.least_work.FEW", 1 << 30)
            sweep = kind().sweep(**single, **swept)
    except InputError:
        for point in itertools.product(*swept.values()):
            with pytest.raises(InputError):
                kind().solve(**single, **dict(zip(swept, point, strict=True)))
        return
    same(kind(), sweep, swept, **single)


@pytest.mark.parametrize("kind", MODELS)
def test_a_sweep_of_many_axes_regrouped(kind: type[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysim_opt.algebra.arrays.REGROUPED", 0)
    monkeypatch.setattr("mlsysim_opt.algebra.least_work.FEW", 1 << 30)
    single = {kind.aliases.get(name, name): value for name, value in kind.example.items()}
    every = {item.name: values_of(item, single.get(item.name)) for item in kind.inputs if isinstance(item, Number)}
    swept = {name: values[:3] for name, values in every.items() if len(values) > 1}
    swept = dict(list(swept.items())[:4])
    single = {name: value for name, value in single.items() if name not in swept}
    if swept:
        same(kind(), kind().sweep(**single, **swept), swept, **single)


def test_entries_formats_and_numbers_of_one_device() -> None:
    swept = {
        "model": ["Llama3_8B", "Llama3_70B", "Mixtral_8x7B"],  # with experts and without: two structures
        "hardware": ["H100", "A100"], "precision": ["fp16", "fp8"], "batch_size": [1, 7, 300], "seq_len": [1, 128],
    }  # fmt: skip
    sweep = SingleNodeModel().sweep(**swept)
    assert sweep.shape == (3, 2, 2, 3, 2)
    assert same(SingleNodeModel(), sweep) == 3 * (2 + 1) * 3 * 2  # the A100 has no rate for FP8
    assert sweep.excluded == ["A100 has no rate for precision 'fp8'"]


def test_sizes_that_follow_from_each_other() -> None:
    single = {"model": "Llama3_70B", "sequence_parallel": True}
    swept = {
        "fleet": ["Research_256", "Lab_64_H100"], "batch_size": [256, 500], "tp_size": [2, 8], "zero_stage": [0, 3],
        "recomputation": ["none", "full"],
    }  # fmt: skip
    sweep = DistributedModel().sweep(**single, **swept)
    assert same(DistributedModel(), sweep, **single) == 16
    assert any("500 sequences does not divide" in reason for reason in sweep.excluded)


def test_values_are_read_in_units_and_as_records(tmp_path: Path) -> None:
    sweep = SingleNodeModel().sweep(
        outputs=["latency", "bottleneck"], model="Llama3_8B", hardware="H100", efficiency=[None, 0.5]
    )
    assert list(sweep) == ["latency", "bottleneck"]
    assert sweep["latency"].to("s").magnitude == pytest.approx(sweep.si("latency"))
    assert list(sweep["bottleneck"]) == ["Memory", "Memory"]
    path = tmp_path / "sweep.csv"
    sweep.to_csv(path)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["latency [ms]"]) == pytest.approx(sweep.si("latency")[1] * 1e3)


def test_what_cannot_be_swept_is_said() -> None:
    model = SingleNodeModel()
    with pytest.raises(InputError, match="the list of values is empty"):
        model.sweep(model="Llama3_8B", hardware=[])
    with pytest.raises(UnknownNameError, match="batchsize"):
        model.sweep(model="Llama3_8B", hardware="H100", batchsize=[1, 2])
    with pytest.raises(UnknownNameError, match="H1000"):
        model.sweep(model="Llama3_8B", hardware=["H100", "H1000"])
    with pytest.raises(UnknownNameError, match="latencies"):
        model.sweep(outputs=["latencies"], model="Llama3_8B", hardware=["H100", "A100"])
    with pytest.raises(InputError, match="no rate for precision 'fp8'"):
        model.sweep(model="Llama3_8B", hardware=["A100"], precision=["fp8"])
    with pytest.raises(InputError, match="more than one sweep holds"):
        model.sweep(model="Llama3_8B", hardware="H100", batch_size=range(1, 20_000), seq_len=range(1, 20_000))


def test_an_output_that_some_points_lack_is_undefined_there() -> None:
    # Market-based carbon is known for a region whose provider states it, not for a bare grid.
    job: dict[str, Any] = {"fleet": "Lab_64_H100", "duration_days": 30}
    places = ["GCP_us_central1", "Quebec"]
    sweep = SustainabilityModel().sweep(outputs=["market_carbon_kg"], datacenter=places, **job)
    known = [SustainabilityModel().solve(**job, datacenter="GCP_us_central1").si("market_carbon_kg"), np.nan]
    assert sweep.si("market_carbon_kg") == pytest.approx(known, nan_ok=True)
    assert sweep.excluded
    with pytest.raises(InputError, match="market_carbon_kg is not known for any of the points"):
        SustainabilityModel().sweep(outputs=["market_carbon_kg"], datacenter=["Quebec", "Poland"], **job)
