"""The shipped catalog as a whole: provenance, conventions, cross checks between entries, known traps."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest

from mlsysim_opt.registry import Calibrations, Hardware, Infra, Systems, default_catalog
from mlsysim_opt.registry.kinds import KINDS
from mlsysim_opt.registry.load import read_file
from mlsysim_opt.registry.types import Accelerator, Entry, Fleet, Node

CATALOG = default_catalog()
EVERY = [pytest.param(entry, id=f"{kind}-{entry.name}") for kind in KINDS for entry in CATALOG.all(kind)]


@pytest.mark.parametrize("entry", EVERY)
def test_every_number_has_a_source_or_a_reason(entry: Entry) -> None:
    assert entry.parameters()
    for path, datum in entry.parameters().items():
        if datum.source is None:
            assert datum.estimated, path
            assert len(datum.estimated) >= 10, path
        else:
            assert min(len(datum.source.title), len(datum.source.locator), len(datum.source.date)) >= 4, path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_entries_and_its_files_declare_it(kind: str) -> None:
    assert CATALOG.names(kind)
    assert len({entry.title for entry in CATALOG.all(kind)}) == len(CATALOG.names(kind))


def test_every_yaml_file_is_read_by_some_kind() -> None:
    root = files("mlsysim_opt.catalog")
    on_disk = {item.name for item in root.iterdir() if item.name.endswith(".yaml")}
    on_disk |= {
        f"{folder.name}/{item.name}"
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith("_") and folder.name != "published"  # no entries: runs
        for item in folder.iterdir()
        if item.name.endswith(".yaml")
    }
    read = {file.label.removeprefix("catalog/") for kind in KINDS.values() for file in CATALOG._layers[0].files(kind)}
    assert read == on_disk


def test_every_source_is_used() -> None:
    for kind in KINDS.values():
        for file in CATALOG._layers[0].files(kind):
            used = {source for name in file.entries for source in CATALOG.find(kind.name, name).sources}
            unused = {key for key, source in file.sources.items() if source not in used}
            assert not unused, f"{file.label}: {unused}"


def test_a_file_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'grid' stands where 'node' is expected"):
        read_file(files("mlsysim_opt.catalog") / "grids.yaml", "grids.yaml", KINDS["node"])


def accelerators() -> tuple[Any, ...]:
    return CATALOG.all("accelerator")


@pytest.mark.parametrize("chip", accelerators(), ids=repr)
def test_rates_rise_as_precision_falls(chip: Accelerator) -> None:
    ladder = ["fp64", "fp32", "tf32", "fp16", "fp8", "fp4"]
    rates = [chip.peak_parameter(name).si for name in ladder if name in chip.precisions]
    assert rates == sorted(rates)
    if {"fp16", "bf16"} <= set(chip.precisions):
        assert chip.peak_parameter("fp16").si == chip.peak_parameter("bf16").si
    if "fp8" in chip.precisions:
        assert chip.peak_parameter("fp8").si == pytest.approx(2 * chip.peak_parameter("bf16").si, rel=0.02)


@pytest.mark.parametrize("chip", accelerators(), ids=repr)
def test_every_accelerator_has_a_calibration(chip: Accelerator) -> None:
    assert chip.generation in Calibrations


@pytest.mark.parametrize("chip", accelerators(), ids=repr)
def test_magnitudes_are_plausible(chip: Accelerator) -> None:
    bandwidth, capacity = chip.parameter("memory.bandwidth").si, chip.parameter("memory.capacity").si
    assert 5 < capacity / bandwidth * 1e3 < 80, "a full read takes tens of milliseconds"
    assert 0.1e12 < chip.peak_parameter("fp16").si / chip.parameter("tdp").si < 3e12
    if chip.scale_up is not None:
        assert chip.parameter("scale_up.bandwidth").si < bandwidth / 4, "a link, in one direction, is far below memory"


# (accelerator, dense 16-bit TFLOP/s, memory GB/s, link GB/s in one direction, TDP W); from the vendors' pages.
SHEETS = [
    ("V100", 125, 900, 150, 300), ("A100", 312, 2039, 300, 400), ("A100_40GB", 312, 1555, 300, 400),
    ("A100_PCIe", 312, 1935, 300, 300), ("H100", 989.4, 3350, 450, 700), ("H100_PCIe", 756, 2000, 300, 350),
    ("H200", 989.4, 4800, 450, 700), ("B200", 2250, 8000, 900, 1000), ("GB200", 2500, 8000, 900, 1200),
    ("MI300X", 1307.4, 5300, 448, 750), ("MI325X", 1307.4, 6000, 448, 1000), ("L40S", 362.05, 864, None, 350),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rate", "memory", "link", "power"), SHEETS)
def test_datasheets(name: str, rate: float, memory: float, link: float | None, power: float) -> None:
    chip: Any = Hardware[name]
    assert chip.parameter("compute.peak.fp16").si == pytest.approx(rate * 1e12)
    assert chip.parameter("memory.bandwidth").si == pytest.approx(memory * 1e9)
    assert chip.parameter("tdp").si == power
    if link is not None:
        assert chip.parameter("scale_up.bandwidth").si == pytest.approx(link * 1e9)


def test_memory_is_what_the_driver_offers() -> None:
    gib = {chip.name: chip.parameter("memory.capacity").si / 2**30 for chip in accelerators()}
    assert gib["A100"] == gib["H100"] == 80
    assert gib["A100_40GB"] == 40
    assert gib["MI300X"] == 192
    assert gib["H200"] == pytest.approx(140.4, abs=0.05)
    assert gib["B200"] == pytest.approx(179.1, abs=0.05)
    assert gib["GB200"] == pytest.approx(185.0, abs=0.05)


@pytest.mark.parametrize("node", CATALOG.all("node"), ids=repr)
def test_nodes_agree_with_their_accelerators(node: Node) -> None:
    chip = node.accelerator
    count = node.accelerators_per_node
    assert node.parameter("max_power").si > count * chip.parameter("tdp").si
    assert node.scale_up.domain_size % count == 0
    link = node.parameter("scale_up.bandwidth").si
    own = [
        chip.parameter(path).si for path in ("scale_up.bandwidth", "host_link.bandwidth") if path in chip.parameters()
    ]
    assert link in own, "the domain runs over one of the accelerator's links"


@pytest.mark.parametrize("fleet", CATALOG.all("fleet"), ids=repr)
def test_fleets_have_the_size_of_their_name(fleet: Fleet) -> None:
    sizes = {"64": 64, "256": 256, "1K": 1024, "8K": 8192, "16K": 16384, "24K": 24576, "DGX": 8}
    wanted = [size for part, size in sizes.items() if part in fleet.name.split("_")]
    assert wanted == [fleet.accelerators]


def test_trap_the_llama3_cluster_was_roce() -> None:
    cluster = Systems.Clusters.Meta_Llama3_16K_H100
    assert cluster.fabric.technology == "roce"
    assert cluster.node.name == "GrandTeton_H100"
    assert cluster.node_count == 2048
    assert Systems.Clusters.Meta_Llama3_16K_H100_IB.fabric.technology == "infiniband"


def test_trap_infinity_fabric_is_not_counted_in_both_directions() -> None:
    assert Systems.Nodes.Server_8x_MI300X.parameter("scale_up.bandwidth").si == 448e9


def test_trap_blackwell_has_fp4_and_no_int4_rate() -> None:
    assert "fp4" in Hardware.Cloud.B200.precisions
    assert "int4" not in Hardware.Cloud.B200.precisions


def test_trap_v100_has_no_bf16() -> None:
    assert Hardware.Cloud.V100.precisions == ("fp64", "fp32", "fp16")


def test_grids_are_of_the_right_order() -> None:
    value = {grid.name: grid.parameter("carbon_intensity").si * 3.6e9 for grid in Infra.Grids}
    assert {"China_Avg", "EU_Avg", "France", "Germany", "Iceland", "India_Avg", "Iowa", "Norway", "Poland", "Quebec",
            "Texas", "US_Avg"} <= value.keys()  # fmt: skip
    assert all(5 < number < 1000 for number in value.values())
    order = sorted(("Iceland", "France", "EU_Avg", "US_Avg", "Poland", "India_Avg"), key=lambda name: value[name])
    assert order == ["Iceland", "France", "EU_Avg", "US_Avg", "Poland", "India_Avg"]
    assert all(2020 <= grid.year <= 2026 for grid in Infra.Grids)


def test_prices_are_of_the_right_order() -> None:
    for price in Infra.Prices:
        if "rate" in price.parameters():
            assert 0.5 < price.parameter("rate").si * 3600 < 20
        else:
            assert 1e4 < price.parameter("amount").si < 1e5
