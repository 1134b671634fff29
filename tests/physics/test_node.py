"""One accelerator: a forward pass by hand, and the traps of other tools."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mlsysim_opt.errors import InputError, OOMError, UnknownNameError, UnsupportedPrecisionError
from mlsysim_opt.physics import SingleNodeModel
from mlsysim_opt.physics.node import Engine
from mlsysim_opt.physics.serving import ServingModel
from mlsysim_opt.registry import Hardware, Models, default_catalog


def solve(**given: Any) -> Any:
    return SingleNodeModel().solve(**{"model": "Llama3_8B", "hardware": "H100", **given})


def test_one_token_reads_the_weights_once() -> None:
    # 8,030,261,248 weights without the embedding (525,336,576) and norms (65 x 4096) of 2 bytes: 15.009 GB; with 0.5
    # % of activations over 0.9 x 3.35 TB/s: 4.98 ms
    result = solve()
    weights = 2 * (8_030_261_248 - 525_336_576 - 65 * 4096)
    assert weights < result.si("latency_memory") * 0.9 * 3.35e12 < 1.005 * weights
    assert result.bottleneck == "Memory"
    assert result.si("arithmetic_intensity") == pytest.approx(1, rel=0.01)


def test_a_long_prompt_is_bound_by_compute() -> None:
    # 2048 tokens: 2 x 6.98 B x 2048 = 28.6 TFLOP of layers, and attention, over 0.683 x 989.4 TFLOP/s: above 42 ms
    result = solve(seq_len=2048)
    assert result.bottleneck == "Compute"
    assert result.si("latency") > 2 * 6_979_321_856 * 2048 / (0.683 * 989.4e12)
    assert 0.4 < result.mfu < 0.683


def test_the_latency_is_above_both_limits_and_below_their_sum() -> None:
    for batch in (1, 8, 64, 512, 4096):
        result = solve(batch_size=batch)
        compute, memory = result.si("latency_compute"), result.si("latency_memory")
        overhead = result.si("latency_overhead")
        assert max(compute, memory) <= (result.si("latency") - overhead) * (1 + 1e-9) <= (compute + memory) * (1 + 1e-9)


def test_trap_activations_do_not_grow_with_the_weights() -> None:
    # Charging a tenth of the weights per sequence makes 32 sequences four times slower; the shapes say 15 percent.
    assert solve(batch_size=32).si("latency") < 1.2 * solve().si("latency")


def test_trap_experts_that_nobody_meets_are_not_read() -> None:
    # DeepSeek-V3 has 671 B parameters; one token meets 37 B of them
    one = SingleNodeModel().solve(model="DeepSeek_V3", hardware="H200", precision="fp8")
    assert one.si("latency_memory") * 0.9 * 4.8e12 < 45e9
    many = SingleNodeModel().solve(model="DeepSeek_V3", hardware="H200", precision="fp8", batch_size=1024)
    assert many.si("latency_memory") * 0.9 * 4.8e12 > 640e9


def test_narrow_formats_halve_the_weights() -> None:
    assert solve(precision="fp8").si("latency_memory") == pytest.approx(solve().si("latency_memory") / 2, rel=0.02)
    assert solve(precision="fp8").si("peak_flops_actual") == pytest.approx(
        2 * solve().si("peak_flops_actual"), rel=0.001
    )


def test_a_missing_precision_is_an_error_never_another_rate() -> None:
    with pytest.raises(UnsupportedPrecisionError):
        solve(precision="fp4")
    with pytest.raises(UnknownNameError):
        solve(precision="fp12")


def test_memory_that_does_not_suffice_is_infeasible() -> None:
    result = solve(model="Llama3_70B")
    assert not result.feasible
    assert result.si("memory_footprint") > 141e9
    assert solve(model="Llama3_70B", hardware="H200", precision="fp8").feasible


def test_efficiency_can_be_given() -> None:
    half = solve(efficiency=0.5, seq_len=2048)
    assert half.si("peak_flops_actual") == pytest.approx(0.5 * 989.4e12)
    assert half.si("latency") > solve(seq_len=2048, efficiency=0.9).si("latency")


# networks known by their totals ---------------------------------------------------------------------------------------
def resnet(**given: Any) -> Any:
    return SingleNodeModel().solve(**{"model": "ResNet50", "hardware": "A100", **given})


def test_a_convolutional_network_by_hand() -> None:
    # ResNet-50, 256 images in FP16: 8.178 GFLOP each, 11.115 M outputs written and read in 2 bytes, 150,528 bytes in:
    # 256 x (4 x 11.115e6 + 150,528) = 11.420 GB, and 51.1 MB of weights, over 0.88 x 2,039 GB/s = 6.393 ms
    result = resnet(batch_size=256)
    traffic = 256 * (4 * 11_114_984 + 150_528) + 2 * 25_557_032
    assert result.si("latency_memory") == pytest.approx(traffic / (0.88 * 2039e9), rel=1e-9)
    # work: 2.094 TFLOP; half a wave of 54 layers is 54 x 108 x 128 x 128 outputs of 2.845e9 (3.4 % more)
    work = 256 * 8_178_368_512 * (1 + 54 * 108 * 128 * 128 / (256 * 11_114_984))
    assert result.si("latency_compute") == pytest.approx(work / result.si("peak_flops_actual"), rel=1e-9)
    assert result.bottleneck == "Compute"
    assert 0.4 < result.mfu < 0.8


def test_trap_activations_of_a_network_are_its_own() -> None:
    # A tenth of the weights per image would be 5 MB; ResNet-50 writes and reads 44.5 MB of activations per image.
    more = resnet(batch_size=33).si("latency_memory") - resnet(batch_size=32).si("latency_memory")
    assert more * resnet().si("peak_bw_actual") == pytest.approx(4 * 11_114_984 + 150_528, rel=1e-6)


def test_batches_lead_from_overhead_to_compute() -> None:
    # One image takes 0.03 ms of products and 0.05 ms of traffic, but 54 launches: neither compute nor memory binds.
    found = [resnet(batch_size=size) for size in (1, 4, 16, 32, 64, 128, 256)]
    assert found[0].bottleneck == "Overhead"
    assert found[-1].bottleneck == "Compute"
    rates = [item.si("throughput") for item in found]
    assert rates == sorted(rates)
    assert rates[-1] < 256 * rates[0]


def test_published_throughput_of_resnet() -> None:
    # NVIDIA's table of A100 inference (TensorRT, INT8; from memory): 11,300 images/s at batch 8, 31,600 at 128. No
    # constant of convolutions was fitted; within 40 % is what the totals alone give.
    assert resnet(batch_size=8, precision="int8").si("throughput") == pytest.approx(11_300, rel=0.4)
    assert resnet(batch_size=128, precision="int8").si("throughput") == pytest.approx(31_600, rel=0.4)


def test_rates_print_as_numbers() -> None:
    # the lines of the batch sweep of the seed documents
    result = resnet(batch_size=32)
    assert f"{result.throughput:>8.0f} img/s" == f"{result.si('throughput'):8.0f} img/s"
    assert f"{result.latency.to('ms'):>8.2f~}".endswith(" ms")
    assert "sample" in f"{result.throughput:~.1f}"
    assert (result.throughput * result.latency).to("sample").magnitude == pytest.approx(32)
    assert pickle.loads(pickle.dumps(result.throughput)) == result.throughput


# memory and offload ---------------------------------------------------------------------------------------------------
def test_trap_only_the_spill_crosses_the_host_link() -> None:
    # 70.55 B weights of 2 bytes are 141.1 GB; 85.9 GB fit an A100, 55.2 GB cross 32 GB/s: 1.73 s. All of it would
    # take 4.4 s.
    result = solve(model="Llama3_70B", hardware="A100")
    spill = 2 * 70_553_706_496 - 80 * 2**30
    assert result.si("offload_spill_bytes") == pytest.approx(spill, rel=2e-3)
    assert result.si("latency_offload") == pytest.approx(spill / 32e9, rel=0.02)  # the embedding is not read
    assert result.si("latency") == pytest.approx(result.si("latency_resident") + result.si("latency_offload"))
    assert result.si("latency") < 1.9
    mean = result.si("offload_effective_bw")
    assert 32e9 < mean < 0.1 * result.si("peak_bw_actual")
    assert not result.feasible


def test_offload_is_a_choice_and_needs_a_link() -> None:
    assert solve(model="Llama3_70B", hardware="A100", offload=True).feasible
    assert not solve(model="Llama3_70B", hardware="MI300X", precision="fp32", batch_size=2**18, offload=True).feasible
    fits = solve(hardware="A100")
    assert fits.feasible
    assert fits.si("offload_spill_bytes") == fits.si("latency_offload") == 0
    assert fits.si("offload_effective_bw") == pytest.approx(fits.si("peak_bw_actual"))
    alone = next(item for item in Hardware.all() if item.host_link is None and "fp16" in item.precisions)
    stuck = solve(model="Llama3_405B", hardware=alone, offload=True)
    assert not stuck.feasible
    assert stuck.si("latency_offload") == 0


def test_more_batch_spills_more_activations() -> None:
    footprints = [solve(batch_size=size, seq_len=512).si("memory_footprint") for size in (1, 8, 64)]
    assert footprints == sorted(footprints)
    assert footprints[0] > 2 * 8_030_261_248


def test_memory_that_does_not_suffice_can_be_an_error() -> None:
    with pytest.raises(OOMError, match=r"Llama3_70B needs 131.* GiB of memory, H100 has 80 GiB") as caught:
        solve(model="Llama3_70B", raise_errors=True)
    assert caught.value.required_bytes > 141e9
    assert caught.value.available_bytes == 80 * 2**30
    assert caught.value.exit_code == 5
    assert pickle.loads(pickle.dumps(caught.value)).required_bytes == caught.value.required_bytes
    assert solve(raise_errors=True).feasible


def test_the_engine_is_the_same_model() -> None:
    assert Engine.solve("Llama3_8B", "H100").as_dict() == solve().as_dict()
    assert Engine.solve(model="ResNet50", hardware="A100", batch_size=4).as_dict() == resnet(batch_size=4).as_dict()


# energy ---------------------------------------------------------------------------------------------------------------
def test_energy_follows_what_is_used() -> None:
    # A decode step uses almost all of the bandwidth and hardly any compute: of 700 W, 0.51 + 0.25 x 0.8 is drawn. The
    # rated power, as the reference charges it, would be 1.4 times too much.
    result = solve()
    power = result.si("energy") / result.si("latency")
    assert 0.65 * 700 < power < 0.75 * 700
    assert result.si("throughput") == pytest.approx(1 / result.si("latency"))
    busy = solve(batch_size=64, seq_len=512)
    assert busy.si("energy") / busy.si("latency") == 700  # never more than the rated power


def test_energy_is_that_of_serving() -> None:
    step = solve(seq_len=1, batch_size=8)
    served = ServingModel().solve("Llama3_8B", "H100", seq_len=1, batch_size=8)
    assert step.si("latency") == pytest.approx(served.si("ttft"), rel=1e-12)
    power = served.si("energy_per_token") * 8 / served.si("itl")
    assert step.si("energy") / step.si("latency") == pytest.approx(power, rel=0.02)


def test_no_power_no_energy() -> None:
    result = solve(hardware=Hardware.Cloud.H100.model_copy(update={"tdp": None}))
    assert result.si("latency") > 0
    with pytest.raises(InputError, match="tdp"):
        _ = result.energy


# all of the catalog ---------------------------------------------------------------------------------------------------
def _precision(entry: Any) -> str:
    return next(name for name in ("fp16", "bf16", "fp32", "int8", *entry.precisions) if name in entry.precisions)


@pytest.mark.parametrize("hardware", [entry.name for entry in Hardware.all()])
def test_nothing_is_faster_than_its_peaks(hardware: str) -> None:
    # implied MFU and bandwidth utilization never exceed 1; a batch is never slower than its samples one by one
    entry = Hardware[hardware]
    precision = _precision(entry)
    catalog = default_catalog()
    transformers = ("Llama3_8B", "Mixtral_8x7B", "DeepSeek_V3") if precision in ("fp16", "bf16", "fp32") else ()
    for name in (*transformers, *catalog.names("workload")):
        one = solve(model=name, hardware=entry, precision=precision)
        many = solve(model=name, hardware=entry, precision=precision, batch_size=16)
        for result in (one, many):
            assert 0 < result.mfu < 1
            assert result.si("latency_memory") * result.si("peak_bw_actual") > 0
            if entry.flash is None:
                floor = result.si("latency_memory") * result.si("peak_bw_actual")
                assert floor / entry.parameter("memory.bandwidth").si < result.si("latency")
            assert result.si("latency") >= result.si("latency_compute")
        assert one.si("latency") <= many.si("latency")
        assert many.si("latency_resident") <= 16 * one.si("latency_resident") * (1 + 1e-9)


@pytest.mark.parametrize("model", [entry.name for entry in Models.all()])
def test_every_model_runs(model: str) -> None:
    result = solve(model=model, hardware="H200", batch_size=4, seq_len=16)
    assert 0 < result.mfu < 1
    assert result.si("latency") > 0


def test_a_sample_reads_its_rows_of_the_tables() -> None:
    # DLRM: 24e9 weights in tables, of which a sample reads its own few million numbers; not 48 GB a pass.
    one = SingleNodeModel().solve("DLRM", "B200", batch_size=1)
    assert one.si("latency_memory") < 48e9 / 8000e9 / 100
    assert SingleNodeModel().solve("DLRM", "B200", batch_size=10**7).si("latency_memory") > 48e9 / 8000e9


def test_a_device_without_a_wide_format_attends_in_the_one_it_has() -> None:
    assert SingleNodeModel().solve("GPT2", "TPUv1", precision="int8").si("latency") > 0
