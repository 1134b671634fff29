"""Accelerators, servers, networks, clusters and storage of the catalog: all there, of the right size, traps avoided.

Numbers in the tables below are written down from the vendors' pages independently of the YAML files.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlsysim_opt.errors import MissingFieldError, UnsupportedPrecisionError
from mlsysim_opt.registry import Calibrations, Catalog, Hardware, Systems, default_catalog
from mlsysim_opt.registry.types import Accelerator, Fabric, Fleet, Node, Storage

CATALOG = default_catalog()
SHARED = Path(os.environ.get("MLSYSIM_OPT_SHARED", Path(__file__).resolve().parents[3] / "shared"))
GB, TB, TERA = 1e9, 1e12, 1e12

# The devices of the reference implementation, by its names and groups.
REFERENCE = {
    "Cloud": "A100 A100_40GB B200 Cerebras_CS3 DMatrix_Corsair GB200_NVL72 Gaudi2 Gaudi3 Graphcore_GC200 Groq_LPU H100 "
    "H100_PCIe H200 IntelSGX K80 MI250X MI300X MI325X P100 ReferenceCPU T4 TPUv1 TPUv2 TPUv3 TPUv4 TPUv5p TPUv6 "
    "Trainium2 Untether_speedAI240 V100 V100_PCIe",
    "Edge": "Coral DriveThor GenericServer JetsonAGXOrin JetsonOrinNX JetsonOrinNano NUC_Movidius RoboTaxi JetsonAGX",
    "Mobile": "AppleM2 Pixel8 Snapdragon8Gen3 iPhone15Pro",
    "Tiny": "ESP32_S3 HimaxWE1 LockstepSafetyMCU_Reference OuraRing STM32F4 nRF52840",
    "Workstation": "DGX_Spark GTX580_3GB MacBookM3Max",
}
# Those it lacks.
WIDER = (
    "L4 L40S A10G A10 RTX4090 RTX5090 RTX_PRO_6000 MI350X MI355X TPUv5e TPUv6e TPUv7 Trainium1 Trainium3 Inferentia2 "
    "GB200 GB300 B300 H20 H800 GH200 JetsonThor H100_NVL H200_NVL"
)


def accelerators() -> tuple[Any, ...]:
    return CATALOG.all("accelerator")


# what is there --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("group", REFERENCE)
def test_every_device_of_the_reference_is_there(group: str) -> None:
    for name in REFERENCE[group].split():
        assert getattr(getattr(Hardware, group), name).group == group


def test_the_devices_that_it_lacks_are_there() -> None:
    missing = [name for name in WIDER.split() if name not in Hardware]
    assert not missing
    assert len(Hardware.all()) >= 80
    assert {chip.group for chip in Hardware} == set(REFERENCE)


def test_no_two_devices_share_a_name_or_an_alias() -> None:
    for kind in ("accelerator", "node", "fabric", "fleet", "storage"):
        names = [name.lower() for entry in CATALOG.all(kind) for name in (entry.name, *entry.aliases)]
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_the_hardware_of_published_measurements_resolves() -> None:
    path = SHARED / "validation" / "hardware.yaml"
    if not path.exists():
        pytest.skip("the published measurements are not part of this project")
    facts = yaml.safe_load(path.read_text(encoding="utf-8"))["hardware"]
    fields = {
        "bf16_tflops": ("compute.peak.bf16", TERA), "fp8_tflops": ("compute.peak.fp8", TERA),
        "fp4_tflops": ("compute.peak.fp4", TERA), "int8_tops": ("compute.peak.int8", TERA),
        "mem_bw_gbs": ("memory.bandwidth", GB), "nvlink_gbs_bidir": ("scale_up.bandwidth", GB / 2), "tdp_w": ("tdp", 1),
    }  # fmt: skip
    compared = 0
    for key, row in facts.items():
        chip: Any = Hardware[key]
        numbers = chip.parameters()
        for field, (path_, scale) in fields.items():
            if isinstance(row.get(field), str) or field not in row or (key, field) == ("v100-sxm2-32gb", "bf16_tflops"):
                continue  # V100: its 125 are fp16
            assert numbers[path_].si == pytest.approx(row[field] * scale, rel=0.01), f"{key}: {field}"
            compared += 1
        # A label counts GB or GiB, and what the driver offers may be less by what ECC takes of GDDR6 (a sixteenth).
        assert 0.91 * GB * row["mem_gb"] < numbers["memory.capacity"].si < 1.08 * GB * row["mem_gb"], key
    assert compared > 100


# plausible sizes ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("chip", accelerators(), ids=repr)
def test_every_accelerator_has_a_calibration(chip: Accelerator) -> None:
    assert chip.generation in Calibrations


@pytest.mark.parametrize("chip", accelerators(), ids=repr)
def test_rates_rise_as_precision_falls(chip: Accelerator) -> None:
    rate = {name: chip.peak_parameter(name).si for name in chip.precisions}
    for ladder in (("fp64", "fp32", "tf32", "bf16", "fp8", "fp6", "fp4"), ("fp32", "tf32", "fp16"), ("int8", "int4")):
        rates = [rate[name] for name in ladder if name in rate]
        assert rates == sorted(rates)
    if {"fp16", "bf16"} <= rate.keys() and chip.name != "Gaudi3":  # its matrix units do fp16 at a quarter
        assert rate["fp16"] == rate["bf16"]
    if chip.vendor in ("NVIDIA", "AMD") and {"fp8", "bf16"} <= rate.keys():
        assert rate["fp8"] == pytest.approx(2 * rate["bf16"], rel=0.02)


SRAM = {"Cerebras_CS3", "Groq_LPU", "Graphcore_GC200"}
"""Devices whose only memory is SRAM, besides microcontrollers."""


@pytest.mark.parametrize("chip", accelerators(), ids=repr)
def test_magnitudes_are_plausible(chip: Accelerator) -> None:
    bandwidth, capacity = chip.parameter("memory.bandwidth").si, chip.parameter("memory.capacity").si
    fastest = max(chip.peak_parameter(name).si for name in chip.precisions)
    full_read = capacity / bandwidth
    if chip.name in SRAM or chip.group == "Tiny":
        assert full_read < 2e-3, "SRAM is read through in less than two milliseconds"
    elif chip.name in ("ReferenceCPU", "IntelSGX", "GenericServer", "DMatrix_Corsair"):
        assert 0.3 < full_read < 5, "the memory of a server"
    else:
        assert 0.005 < full_read < 0.6, "a full read takes 5 to 600 milliseconds"
    ridge = fastest / bandwidth
    low, high = (0.2, 20) if chip.group == "Tiny" or chip.name in SRAM else (5, 30_000)
    assert low < ridge < high, "FLOP per byte at the fastest precision"
    per_watt = fastest / chip.parameter("tdp").si
    low, high = (0.2e9, 100e9) if chip.group == "Tiny" else (5e9, 30e12)
    assert low < per_watt < high, "FLOP/s per watt at the fastest precision"
    for path in ("scale_up.bandwidth", "host_link.bandwidth"):
        if path in chip.parameters():
            assert chip.parameter(path).si < bandwidth / 2, "a link is far below memory"


# (accelerator, dense 16-bit TFLOP/s, memory GB/s, link GB/s in one direction, TDP W); from the vendors' pages.
SHEETS = [
    ("V100", 125, 900, 150, 300), ("A100", 312, 2039, 300, 400), ("A100_40GB", 312, 1555, 300, 400),
    ("A100_PCIe", 312, 1935, 300, 300), ("H100", 989.4, 3350, 450, 700), ("H100_PCIe", 756, 2000, 300, 350),
    ("H200", 989.4, 4800, 450, 700), ("B200", 2250, 8000, 900, 1000), ("GB200", 2500, 8000, 900, 1200),
    ("B300", 2250, 8000, 900, 1100), ("GB300", 2500, 8000, 900, 1400), ("H20", 148, 4000, 450, 400),
    ("H800", 989.4, 3350, 200, 700), ("MI300X", 1307.4, 5300, 448, 750), ("MI325X", 1307.4, 6000, 448, 1000),
    ("MI355X", 2516.6, 8000, 537.6, 1400), ("L40S", 362.05, 864, None, 350), ("L4", 121, 300, None, 72),
    ("A10", 125, 600, None, 150), ("A10G", 70, 600, None, 300), ("T4", 65, 320, None, 70), ("P100", 21.2, 732, 80, 300),
    ("RTX4090", 165.2, 1008, None, 450), ("RTX5090", 209.5, 1792, None, 575), ("RTX_PRO_6000", 503.8, 1597, None, 600),
    ("TPUv4", 275, 1228, 300, 192), ("TPUv5e", 197, 819, 200, None), ("TPUv5p", 459, 2765, 600, None),
    ("TPUv6e", 918, 1638, 400, None), ("TPUv7", 2307, 7370, 600, None), ("Gaudi2", 432, 2460, 300, 600),
    ("Gaudi3", 1835, 3700, 600, 900), ("Trainium1", 190, 880.5, 192, None), ("Trainium2", 667, 2900, 640, 500),
    ("Trainium3", 671, 4900, 1280, None), ("Inferentia2", 190, 880.5, 103.1, None), ("MI250X", 383, 3276.8, 250, 560),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rate", "memory", "link", "power"), SHEETS)
def test_datasheets(name: str, rate: float, memory: float, link: float | None, power: float | None) -> None:
    chip: Any = Hardware[name]
    assert chip.compute.peak_flops.to("TFLOP/s").magnitude == pytest.approx(rate)
    assert chip.parameter("memory.bandwidth").si == pytest.approx(memory * GB, rel=1e-3)
    if power is not None:
        assert chip.parameter("tdp").si == power
    if link is not None:
        assert chip.parameter("scale_up.bandwidth").si == pytest.approx(link * GB, rel=1e-3)


def test_memory_is_what_the_driver_offers() -> None:
    gib = {chip.name: chip.parameter("memory.capacity").si / 2**30 for chip in accelerators()}
    assert gib["A100"] == gib["H100"] == 80
    assert gib["A100_40GB"] == 40
    assert gib["MI300X"] == 192
    assert gib["H200"] == pytest.approx(140.4, abs=0.05)
    assert gib["B200"] == pytest.approx(179.1, abs=0.05)
    assert gib["GB200"] == pytest.approx(185.0, abs=0.05)


# traps ----------------------------------------------------------------------------------------------------------------
def rate(name: str, precision: str) -> float:
    chip: Any = Hardware[name]
    return float(chip.peak_parameter(precision).si / TERA)


def test_trap_trainium2_is_not_half_of_itself() -> None:
    """The reference has 380 BF16, 760 FP8 and 2.4 TB/s; the Neuron documentation 667, 1299 and 2.9."""
    assert (rate("Trainium2", "bf16"), rate("Trainium2", "fp8"), rate("Trainium2", "fp32")) == (667, 1299, 181)
    assert Hardware.Cloud.Trainium2.parameter("memory.bandwidth").si == 2.9 * TB
    assert Hardware.Cloud.Trainium2.parameter("memory.capacity").si == 96 * 2**30
    # NeuronLink is printed for both directions together: 1,280 / 2 = 640 GB/s
    assert Hardware.Cloud.Trainium2.parameter("scale_up.bandwidth").si == 640 * GB


def test_trap_a_gb200_rack_is_72_gpus_with_links_not_one_device() -> None:
    """72 x 2,500 = 180,000 dense BF16 TFLOP/s, 72 x 10,000 = 720,000 FP4; the reference has 162,000 and 648,000.
    Memory: 72 x 189,471 MiB = 13.0 TiB = 14.3 TB, not 13.5 TiB = 14.84 TB."""
    rack: Any = Systems.Clusters.GB200_NVL72_Rack
    assert rack.accelerators == 72
    assert rack.node.scale_up.domain_size == 72
    assert rack.node.accelerators_per_node == 4
    assert 72 * rate("GB200", "bf16") == 180_000
    assert 72 * rate("GB200", "fp8") == 360_000
    assert 72 * rate("GB200", "fp4") == 720_000
    assert 72 * rack.accelerator.parameter("memory.capacity").si == pytest.approx(14.3e12, rel=0.005)
    assert rack.node.parameter("scale_up.bandwidth").si == 900 * GB
    assert Hardware["GB200_NVL72"] is Hardware.Cloud.GB200
    assert Systems.Clusters.GB300_NVL72.accelerators == 72
    assert 72 * rate("GB300", "fp4") == 1_080_000


@pytest.mark.parametrize(("name", "marketing"), [("JetsonAGXOrin", 275), ("JetsonOrinNX", 100), ("JetsonOrinNano", 40)])
def test_trap_jetson_tops_are_sparse(name: str, marketing: float) -> None:
    """275 = 2 x (85 GPU + 52.5 of both deep-learning accelerators); no precision runs at the printed number."""
    assert rate(name, "int8") == marketing / 2
    assert rate(name, "fp16") <= marketing / 4
    assert Hardware[name].parameter("compute.structured_sparsity").si == 2


def test_trap_jetson_orin_has_no_int4_or_fp8() -> None:
    for precision in ("int4", "fp8", "fp4"):
        with pytest.raises(UnsupportedPrecisionError):
            Hardware.Edge.JetsonAGX.peak(precision)
    assert rate("JetsonAGX", "fp16") == 42.5
    assert Hardware.Edge.JetsonAGX.name == "JetsonAGXOrin"


def test_trap_jetson_thor_is_dense_too() -> None:
    assert rate("JetsonThor", "fp4") == 2070 / 2
    assert rate("JetsonThor", "bf16") == pytest.approx(2070 / 8, rel=1e-3)


def test_trap_blackwell_has_fp4_and_no_int4_rate() -> None:
    for name in ("B200", "GB200", "B300", "GB300", "RTX5090"):
        assert "fp4" in Hardware[name].precisions  # type: ignore[attr-defined]
        assert "int4" not in Hardware[name].precisions  # type: ignore[attr-defined]
    assert rate("B200", "int8") == 4500
    assert rate("B300", "int8") == 150, "Blackwell Ultra gave its INT8 units up"


def test_trap_infinity_fabric_is_not_counted_in_both_directions() -> None:
    """Seven neighbours, 128 GB/s each in both directions together: 7 x 64 = 448 GB/s out, not 896."""
    assert Systems.Nodes.Server_8x_MI300X.parameter("scale_up.bandwidth").si == 448 * GB
    # CDNA 4: seven of 153.6 in both directions: 537.6 out
    assert Systems.Nodes.Server_8x_MI355X.parameter("scale_up.bandwidth").si == pytest.approx(7 * 153.6 / 2 * GB)


def test_trap_wafer_io_is_terabits() -> None:
    """Twelve ports of 100 Gbit/s = 1.2 Tbit/s = 150 GB/s; 1.2 TB/s would be eight times that."""
    wafer: Any = Hardware.Cloud.Cerebras_CS3
    assert wafer.parameter("host_link.bandwidth").si == 12 * 100e9 / 8
    assert wafer.parameter("memory.capacity").si == 44e9
    # 125 PFLOP/s count sparsity; 900,000 cores x 8 lanes x 2 x 1.04 GHz = 15 PFLOP/s
    assert rate("Cerebras_CS3", "fp16") == pytest.approx(900_000 * 8 * 2 * 1.04e9 / TERA, rel=0.01)


def test_trap_mi325x_is_complete() -> None:
    """Without an FP8 rate it would run FP8 at the FP16 rate."""
    assert (rate("MI325X", "fp8"), rate("MI325X", "int8"), rate("MI325X", "fp32")) == (2614.9, 2614.9, 163.4)
    assert Hardware.Cloud.MI325X.parameter("scale_up.bandwidth").si == 448 * GB


def test_trap_tpu_v6e_has_its_int8_rate_and_mi355x_its_fp4() -> None:
    assert rate("TPUv6", "int8") == 2 * rate("TPUv6e", "bf16") == 1836
    assert rate("MI355X", "fp4") == pytest.approx(2 * rate("MI355X", "fp8"), rel=1e-3)


def test_trap_t4_has_its_own_fp32_rate() -> None:
    assert rate("T4", "fp32") == 8.1
    assert "bf16" not in Hardware.Cloud.T4.precisions


def test_trap_v100_has_no_bf16_and_no_structured_sparsity() -> None:
    assert Hardware.Cloud.V100.precisions == ("fp64", "fp32", "fp16")
    with pytest.raises(MissingFieldError, match="structured_sparsity"):
        Hardware.Cloud.V100.parameter("compute.structured_sparsity")
    assert Hardware.Cloud.A100.compute.structured_sparsity == 2
    assert Hardware.Cloud.MI250X.compute.structured_sparsity is None


def test_trap_geforce_accumulates_in_fp32_at_half_rate() -> None:
    """330.3 of the RTX 4090 is the rate with FP16 accumulation."""
    assert rate("RTX4090", "fp16") == pytest.approx(330.3 / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "clock", "operations"),
    [("STM32F4", 168e6, 4), ("nRF52840", 64e6, 4), ("ESP32_S3", 240e6, 64), ("HimaxWE1", 400e6, 4)],
)
def test_microcontroller_rates_are_clock_times_operations(name: str, clock: float, operations: int) -> None:
    """Cortex-M4: two 16-bit MAC a cycle = 4 operations; ESP32-S3: two cores x 16 byte MAC x 2."""
    assert rate(name, "int8") * TERA == pytest.approx(clock * operations, rel=0.01)
    assert Hardware[name].parameter("flash.capacity").si >= 2**20  # weights stay in flash


def test_a_missing_power_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "kind: accelerator\nentries:\n  Mine: {title: Mine, source: {title: a, locator: b, date: 2024}, vendor: Me, "
        "released: 2024, generation: hopper, memory: {capacity: 1 GiB, bandwidth: 1 GB/s}, "
        "compute: {peak: {fp16: 1 TFLOP/s}}}\n",
        encoding="utf-8",
    )
    mine: Any = CATALOG.with_folder(tmp_path).Hardware["Mine"]
    assert mine.tdp is None
    with pytest.raises(MissingFieldError) as caught:
        mine.parameter("tdp")
    assert (caught.value.entry, caught.value.field) == ("Mine", "tdp")


# servers, clusters, networks, storage ---------------------------------------------------------------------------------
@pytest.mark.parametrize("node", CATALOG.all("node"), ids=repr)
def test_nodes_agree_with_their_accelerators(node: Node) -> None:
    chip, count = node.accelerator, node.accelerators_per_node
    assert node.parameter("max_power").si >= count * chip.parameter("tdp").si
    assert node.parameter("idle_power").si < node.parameter("busy_power").si <= node.parameter("max_power").si
    assert node.scale_up.domain_size % count == 0
    links = ("scale_up.bandwidth", "host_link.bandwidth")
    own = [chip.parameter(path).si for path in links if path in chip.parameters()]
    if own:
        assert node.parameter("scale_up.bandwidth").si <= 1.001 * max(own), (
            "the domain runs over the accelerator's links"
        )


@pytest.mark.parametrize("chip", [chip for chip in accelerators() if chip.group == "Cloud"], ids=repr)
def test_cloud_accelerators_with_links_of_their_own_stand_in_some_node(chip: Accelerator) -> None:
    lone = {"MI250X_GCD"}  # half of the MI250X, whose node is there
    if chip.scale_up is not None and chip.name not in lone:
        assert chip in {node.accelerator for node in CATALOG.all("node") if isinstance(node, Node)}


NODES = "DGX_H100 DGX_A100 DGX_B200 HGX_H100_EPYC GrandTeton_H100 Kempner_H100_4GPU Server_8x_MI300X Workstation_M3Max"
FABRICS = (
    "Ethernet_10G Ethernet_100G Ethernet_400G Ethernet_800G Ethernet_1.6T RoCE_100G RoCE_400G InfiniBand_EDR "
    "InfiniBand_HDR InfiniBand_NDR InfiniBand_XDR InfiniBand_GXDR InfiniBand_NDR_2to1 InfiniBand_NDR_4to1"
)
FLEETS = {
    "Lab_64_H100": 64, "Lab_64_A100": 64, "Research_256": 256, "DgxH100SuperPodSU": 256, "Kempner_H100_384": 384,
    "Training_512_H100": 512, "Training_1K": 1024, "Training_1K_A100": 1024, "Training_1K_B200": 1024,
    "Production_2K": 2048, "Frontier_8K": 8192, "Training_10K": 10_000, "Meta_RSC_A100_16K": 16_000,
    "Meta_Llama3_16K_H100": 16_384, "Meta_GenAI_H100_24K_IB": 24_576, "Meta_GenAI_H100_24K_RoCE": 24_576,
    "Reference_25K_H100": 25_000, "Mega_100K": 100_000, "H100_256": 256, "TPUv4_4096": 4096, "TPUv5p_8960": 8960,
    "DGX_H100_4Node": 32, "TPUv7_9216": 9216, "Trn2_UltraServer_64": 64, "Trn3_UltraServer_144": 144,
    "Eos_4608_H100": 4608, "GB200_576": 576,
}  # fmt: skip


def test_nodes_and_fabrics_of_the_reference_are_there() -> None:
    assert all(name in Systems.Nodes for name in NODES.split())
    assert all(name in Systems.Fabrics for name in FABRICS.split())
    rates = {name: Systems.Fabrics[name].parameter("bandwidth").si * 8 / 1e9 for name in FABRICS.split()}
    assert list(rates.values()) == [10, 100, 400, 800, 1600, 100, 400, 100, 200, 400, 800, 1600, 400, 400]


@pytest.mark.parametrize(("name", "size"), FLEETS.items())
def test_fleets_have_their_size(name: str, size: int) -> None:
    fleet: Any = Systems.Clusters[name]
    assert fleet.accelerators == size


@pytest.mark.parametrize("fleet", CATALOG.all("fleet"), ids=repr)
def test_every_fleet_resolves_down_to_its_calibration(fleet: Fleet) -> None:
    assert fleet.accelerator.generation in Calibrations
    assert fleet.accelerators == fleet.node_count * fleet.node.accelerators_per_node
    pod = fleet.node.scale_up.domain_size
    assert fleet.accelerators % min(pod, fleet.accelerators) == 0


def test_trap_the_llama3_cluster_was_roce() -> None:
    cluster = Systems.Clusters.Meta_Llama3_16K_H100
    assert cluster.fabric.technology == "roce"
    assert cluster.node.name == "GrandTeton_H100"
    assert cluster.node_count == 2048
    assert Systems.Clusters.Meta_Llama3_16K_H100_IB.fabric.technology == "infiniband"


@pytest.mark.parametrize(
    ("name", "chips", "domain", "link", "host"),
    [("TPUv4_Host", 4, 4096, 300, None), ("TPUv5e_Host", 8, 256, 200, 512), ("TPUv6e_Host", 8, 256, 400, 1536)],
)
def test_tpu_hosts_reach_their_pod_over_the_torus(
    name: str, chips: int, domain: int, link: float, host: float | None
) -> None:
    node: Any = Systems.Nodes[name]
    assert (node.accelerators_per_node, node.scale_up.domain_size) == (chips, domain)
    assert node.parameter("scale_up.bandwidth").si == link * GB
    if host is not None:
        assert node.parameter("host_memory").si == host * 2**30


@pytest.mark.parametrize("fabric", CATALOG.all("fabric"), ids=repr)
def test_fabrics_are_plausible(fabric: Fabric) -> None:
    assert 1e9 < fabric.parameter("bandwidth").si <= 200e9
    assert 1e-6 < fabric.parameter("latency").si < 1e-4


@pytest.mark.parametrize("store", CATALOG.all("storage"), ids=repr)
def test_storage_is_plausible(store: Storage) -> None:
    numbers = {path: datum.si for path, datum in store.parameters().items()}
    assert 1e6 < numbers["write_bandwidth"] <= numbers["read_bandwidth"] <= 20e12
    for path in ("read_iops", "write_iops"):
        # small operations of 4 KiB move no more than large ones
        assert numbers.get(path, 0) * 4096 <= 1.05 * numbers["read_bandwidth"]
    assert 1e-8 < numbers.get("latency", 1e-3) < 1


def test_storage_is_ordered_as_everybody_knows() -> None:
    names = ("HDD", "SATA_SSD", "NVMe_Gen3", "NVMe_Gen4", "NVMe_Gen5", "Host_DRAM")
    speed = [Systems.Storage[name].parameter("read_bandwidth").si for name in names]
    assert speed == sorted(speed)
    delay = [Systems.Storage[name].parameter("latency").si for name in names]
    assert delay[0] == max(delay)
    assert delay[-1] == min(delay)


def test_nodes_name_their_drives() -> None:
    node: Any = Systems.Nodes.DGX_H100
    assert node.local_storage is Systems.Storage.NVMe_Gen4
    assert node.storage_count == 8
    # 8 x 6.5 GB/s = 52 GB/s
    assert node.storage_count * node.parameter("local_storage.read_bandwidth").si == pytest.approx(52 * GB)
    assert Systems.Nodes.HGX_H200.local_storage is None


def test_a_users_storage_stands_beside(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "kind: storage\nentries:\n  Mine: {title: Mine, source: {title: a, locator: b, date: 2024}, medium: nvme, "
        "read_bandwidth: 7 GB/s, write_bandwidth: 5 GB/s, read_iops: 1000000 1/s}\n",
        encoding="utf-8",
    )
    catalog: Catalog = CATALOG.with_folder(tmp_path)
    assert catalog.Systems.Storage.Mine.parameter("read_iops").si == 1e6
    assert catalog.Systems["Mine"] is catalog.Systems.Storage.Mine


# the report -----------------------------------------------------------------------------------------------------------
def test_what_is_estimated_says_so_and_what_vendors_print_does_not() -> None:
    """The rates and bandwidths of the main accelerators are published; powers of TPUs and rates by clock are not."""
    for name in (
        "A100",
        "H100",
        "H200",
        "B200",
        "GB200",
        "MI300X",
        "MI355X",
        "TPUv5e",
        "TPUv5p",
        "Trainium2",
        "Gaudi3",
    ):
        chip = Hardware[name]
        for path in ("memory.bandwidth", "compute.peak.bf16"):
            assert chip.parameter(path).estimated is None, f"{name}.{path}"
    estimated = [
        f"{chip.name}.{path}" for chip in accelerators() for path, datum in chip.parameters().items() if datum.estimated
    ]
    assert "TPUv5p.tdp" in estimated, "Google publishes no power"
    assert "STM32F4.compute.peak.int8" in estimated
