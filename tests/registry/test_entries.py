"""What an entry offers: numbers as quantities, provenance, immutability, pickling."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from mlsysim_opt import units
from mlsysim_opt.errors import MissingFieldError, UnsupportedPrecisionError
from mlsysim_opt.registry import Hardware, Infra, Models, Numerics, Systems, default_catalog
from mlsysim_opt.registry.kinds import KINDS
from mlsysim_opt.registry.types import Datum, Entry

H100 = Hardware.Cloud.H100
EVERY = [entry for kind in KINDS for entry in default_catalog().all(kind)]


def test_numbers_read_as_quantities_counts_and_ratios() -> None:
    assert H100.memory.bandwidth.to("GB/s").magnitude == pytest.approx(3350)
    assert f"{H100.memory.capacity:~}" == "80.0 GiB"
    ridge = H100.compute.peak_flops / H100.memory.bandwidth
    assert ridge.to("FLOP/byte").magnitude == pytest.approx(295.3, rel=1e-3)
    assert Systems.Nodes.DGX_H100.accelerators_per_node == 8
    assert type(Models.Language.Llama3_405B.layers) is int
    assert type(Systems.Fabrics.InfiniBand_NDR.oversubscription_ratio) is float
    assert Infra.Grids.Quebec.carbon_intensity.to("gCO2e/kWh").magnitude == pytest.approx(30.51)
    with pytest.raises(Exception, match="Cannot convert"):
        H100.memory.bandwidth.to("FLOP/s")


def test_seed_names() -> None:
    assert H100.compute.peak_flops == H100.peak("fp16") == H100.compute.peak["fp16"]
    assert f"{Infra.Grids.Poland.name:12s}" == "Poland      "
    assert Systems.Clusters.H100_256.accelerators == Systems.Clusters.Research_256.size == 256


def test_optional_numbers_are_none_to_read_and_an_error_to_need() -> None:
    card = Hardware.Cloud.L40S
    assert card.scale_up is None
    for path in ("scale_up.bandwidth", "idle_power", "nonsense", "memory.nonsense", "memory.capacity.more"):
        with pytest.raises(MissingFieldError) as caught:
            card.parameter(path)
        assert caught.value.entry == "L40S"
        assert caught.value.field == path
    with pytest.raises(MissingFieldError, match="group of numbers"):
        card.parameter("memory")
    with pytest.raises(UnsupportedPrecisionError, match="L40S has no rate for precision 'fp64'"):
        card.parameter("compute.peak.fp64")


def test_misspelt_path_has_a_hint() -> None:
    with pytest.raises(MissingFieldError, match=r"did you mean 'memory\.bandwidth'"):
        H100.parameter("memory.bandwith")


def test_parameters_reach_through_references() -> None:
    fleet = Systems.Clusters.Training_1K
    found = fleet.parameters()
    assert found["node.accelerator.memory.bandwidth"] is H100.parameter("memory.bandwidth")
    assert found["node_count"].si == 128
    assert fleet.parameter("fabric.bandwidth").si == pytest.approx(50e9)
    assert all(fleet.parameter(path) is datum for path, datum in found.items())


@pytest.mark.parametrize("entry", EVERY, ids=repr)
def test_every_leaf_is_consistent(entry: Entry) -> None:
    for path, datum in entry.parameters().items():
        assert type(datum) is Datum
        assert datum.si >= 0 or entry.kind == "evidence", path  # only changes of quality can be negative
        if datum.kind == "quantity":
            measure = units.parse_quantity(datum.text)
            assert (measure.si, measure.dimension) == (datum.si, datum.dimension)
            assert datum.dimension != units.NONE
        else:
            assert datum.dimension == units.NONE
            assert datum.unit == ""


@pytest.mark.parametrize("entry", EVERY, ids=repr)
def test_A14_entries_pickle(entry: Entry) -> None:
    again = pickle.loads(pickle.dumps(entry))
    assert again == entry
    assert hash(again) == hash(entry)
    assert again.parameters() == entry.parameters()
    assert copy.deepcopy(entry) == entry


def test_A14_a_pickle_loads_in_a_new_process() -> None:
    code = "import pickle, sys; chip = pickle.load(sys.stdin.buffer); print(chip.name, chip.memory.bandwidth)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(H100), capture_output=True, check=True)
    assert done.stdout.decode().split() == ["H100", "3.35", "terabyte", "/", "second"]


def test_I09_entries_are_immutable() -> None:
    with pytest.raises(AttributeError, match="Accelerator is immutable"):
        H100.tdp = 1
    with pytest.raises(AttributeError, match="Memory is immutable"):
        H100.memory.bandwidth = units.Q_("9 TB/s")
    with pytest.raises(AttributeError, match="immutable"):
        del H100.tdp
    with pytest.raises(AttributeError, match="immutable"):
        H100.remark = "x"
    with pytest.raises(AttributeError):
        H100.parameter("tdp").si = 1.0  # type: ignore[misc]
    rate = H100.memory.bandwidth
    rate *= 2
    assert H100.memory.bandwidth.to("TB/s").magnitude == pytest.approx(3.35)
    assert isinstance(H100.aliases, tuple)


def test_entries_work_as_keys_and_compare_by_content() -> None:
    table: dict[Any, int] = {H100: 1, Hardware.Cloud.A100: 2}
    assert table[Hardware["h100"]] == 1
    assert Hardware.Cloud.H100 != Hardware.Cloud.H200
    assert H100 != "H100"


def test_describe_names_numbers_and_sources() -> None:
    page = H100.describe()
    assert "memory.bandwidth" in page
    assert "3.35 TB/s" in page
    assert "NVIDIA H100 Tensor Core GPU datasheet" in page
    assert repr(H100) == "<Accelerator H100>"
    assert str(H100) == "H100"
    assert "estimated" in Systems.Fabrics.RoCE_400G.describe()
    assert len(H100.sources) >= 2


def test_numerics_are_those_of_the_literature() -> None:
    total = {
        recipe.name: sum(recipe.parameter(f"{part}_bytes").si for part in ("weight", "gradient", "optimizer"))
        for recipe in Numerics
    }
    assert total == {
        "bf16": 18, "fp16": 20, "bf16_zero": 16, "fp8": 18, "fp8_zero": 16, "fp8_weights": 15, "fp4_zero": 16,
        "int8": 18, "fp32": 16,
    }  # fmt: skip


def test_attention_forms() -> None:
    forms = {name: Models[name].attention for name in ("GPT3", "Llama3_70B", "DeepSeek_V3")}
    assert forms == {"GPT3": "mha", "Llama3_70B": "gqa", "DeepSeek_V3": "mla"}


def test_price_has_a_rate_or_an_amount() -> None:
    rented, bought = Infra.Prices.H100_AWS, Infra.Prices.H100_Purchase
    assert rented.rate.to("USD/h").magnitude == pytest.approx(6.88)
    assert bought.amount.to("USD").magnitude == pytest.approx(31250)
    with pytest.raises(MissingFieldError):
        bought.parameter("rate")
    for price in Infra.Prices:
        if price.commodity is None:
            assert len(price.parameters().keys() & {"rate", "amount"}) == 1
