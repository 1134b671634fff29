"""Every argument of the documented signatures is accepted, and moves the answer the way physics does."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.hardware.types import HardwareNode, NetworkFabric
from mlsysim_opt.models.types import TransformerWorkload

# The arguments of document 001, in its order.
DOCUMENTED = {
    "DistributedModel": "model fleet batch_size precision efficiency tp_size pp_size ep_size v_stages microbatch_count "
    "topology_override zero_stage is_lora activation_recomputation overlap_comm overlap_efficiency congestion_factor "
    "straggler_factor moe_routing_imbalance_factor gradient_accumulation_steps seq_len",
    "EconomicsModel": "fleet duration_days kwh_price",
    "ReliabilityModel": "fleet job_duration_hours checkpoint_time_s",
    "ServingModel": "model hardware seq_len batch_size precision efficiency decode_hardware network_bandwidth "
    "draft_model draft_acceptance_rate cached_prefix_len prefill_chunk_tokens",
    "SingleNodeModel": "model hardware batch_size precision efficiency",
    "SustainabilityModel": "fleet duration_days datacenter",
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_arguments_are_inputs(name: str) -> None:
    model = getattr(mo, name)
    assert set(DOCUMENTED[name].split()) <= {*(item.name for item in model.inputs), *model.aliases}


@pytest.mark.parametrize(("name", "count"), [("ServingModel", 6), ("EconomicsModel", 3), ("ReliabilityModel", 3),
                                             ("SingleNodeModel", 5), ("SustainabilityModel", 2)])  # fmt: skip
def test_positional_arguments_keep_their_order(name: str, count: int) -> None:
    names = [item.name for item in getattr(mo, name).inputs]
    assert names[:count] == DOCUMENTED[name].split()[:count]


def distributed(**changes: Any) -> Any:
    given = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "batch_size": 512, "seq_len": 4096, "tp_size": 2,
             "pp_size": 4, "microbatch_count": 16, "activation_recomputation": True, **changes}  # fmt: skip
    return mo.DistributedModel().solve(**given)


def experts(**changes: Any) -> Any:
    given = {"model": "Mixtral_8x7B", "fleet": "Lab_64_H100", "batch_size": 512, "seq_len": 4096, "ep_size": 8,
             "tp_size": 2, "pp_size": 2, "microbatch_count": 8, "sequence_parallel": True, **changes}  # fmt: skip
    return mo.DistributedModel().solve(**given)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"congestion_factor": 4.0}),
        ({}, {"straggler_factor": 1.2}),
        ({"efficiency": 0.6}, {"efficiency": 0.4}),
        ({"overlap_comm": True}, {}),
        ({"overlap_comm": True, "overlap_efficiency": 0.9}, {"overlap_comm": True, "overlap_efficiency": 0.1}),
        ({"v_stages": 2}, {}),  # the bubble (p - 1) / (v m + p - 1) shrinks
        ({"microbatch_count": 32}, {"microbatch_count": 4}),
        ({"activation_recomputation": False}, {}),
        ({"is_lora": True}, {}),  # no gradients of the frozen weights
        ({"batch_size": 256, "microbatch_count": 8}, {"batch_size": 512}),
        ({"seq_len": 2048}, {}),
        ({}, {"precision": "fp32"}),
    ],
)
def test_distributed_arguments_that_change_the_step(better: dict[str, Any], worse: dict[str, Any]) -> None:
    assert distributed(**better).step_time < distributed(**worse).step_time


def test_distributed_arguments_that_change_memory() -> None:
    stages = [distributed(zero_stage=stage).total_memory for stage in (0, 1, 2, 3)]
    assert stages == sorted(stages, reverse=True)
    assert stages[0] > stages[3]
    assert distributed().activations < distributed(activation_recomputation=False).activations
    lora = distributed(is_lora=True)
    assert lora.gradients < distributed().gradients / 10
    assert lora.optimizer_state < distributed().optimizer_state / 10


def test_gradient_accumulation_does_not_divide_the_one_all_reduce() -> None:
    # The batch is that of the optimizer step, and its gradients are added up once, however it is cut (trap).
    once = distributed(pp_size=1, tp_size=8, microbatch_count=1, gradient_accumulation_steps=4)
    more = distributed(pp_size=1, tp_size=8, microbatch_count=1, gradient_accumulation_steps=8)
    assert more.dp_time.to("s").magnitude == pytest.approx(once.dp_time.to("s").magnitude, rel=1e-9)
    assert more.microbatches == 2 * once.microbatches
    assert more.activations < once.activations


def test_topology_override() -> None:
    # Experts over 2 domains of 8: with dp 16 = 64 / (2 x 2), experts are spread over 8 ranks with tp, of 16 a stage.
    across = {"ep_size": 8, "tp_size": 1, "pp_size": 1, "dp_size": 64, "microbatch_count": 8}
    wide = {"model": "DeepSeek_V3", "fleet": "Training_1K", "batch_size": 4096, "ep_size": 64, "tp_size": 1,
            "pp_size": 16, "microbatch_count": 64}  # fmt: skip
    tree, ring = (experts(**wide, topology_override=name) for name in ("tree", "ring"))
    assert tree.ep_time < ring.ep_time
    # 64 ranks on 8 nodes: a ring of 8 is cut at 2 links, while half of the nodes (4) have half of their traffic cross
    # it: 8/2 x 8/2 / 7 = 2.29 links are wanted. Every node gets 2 / 2.29 = 7/8 of its port.
    assert ring.ep_time.to("s").magnitude > tree.ep_time.to("s").magnitude
    assert tree.ep_time.to("s").magnitude == pytest.approx(experts(**wide).ep_time.to("s").magnitude)
    # Inside a node, and for rings of gradients, the network between nodes has no such bottleneck.
    assert experts(**across, topology_override="ring").ep_time == experts(**across).ep_time
    assert distributed(topology_override="ring").step_time == distributed().step_time
    with pytest.raises(mo.UnknownNameError, match="bogus"):
        distributed(topology_override="bogus")


def test_moe_routing_imbalance() -> None:
    even, uneven = experts(), experts(moe_routing_imbalance_factor=1.5)
    assert uneven.step_time > even.step_time
    assert uneven.ep_time > even.ep_time


def test_parallel_sizes() -> None:
    # More tensor parallelism: less memory, more communication. More pipeline: less memory, a bubble.
    assert distributed(tp_size=4, pp_size=4).total_memory < distributed().total_memory
    assert distributed(tp_size=4).tp_time > distributed(tp_size=2).tp_time
    assert distributed(pp_size=1).bubble_fraction == 0 < distributed().bubble_fraction
    assert experts(ep_size=8).weights < experts(ep_size=1).weights


def served(**changes: Any) -> Any:
    return mo.ServingModel().solve(**{"model": "Llama3_8B", "hardware": "H100", "seq_len": 4096, **changes})


def test_serving_arguments() -> None:
    base = served()
    assert served(seq_len=8192).ttft > base.ttft
    assert served(seq_len=8192).kv_cache_size == 2 * base.kv_cache_size
    assert served(batch_size=8).itl > base.itl
    assert served(batch_size=8).throughput > base.throughput
    assert served(precision="fp8").itl < base.itl
    assert served(efficiency=0.9).ttft < served(efficiency=0.3).ttft
    assert served(efficiency=0.3).ttft < 3.1 * served(efficiency=0.9).ttft


def test_phase_split_serving() -> None:
    split = served(decode_hardware="H200", output_len=128)
    assert split.itl < served(output_len=128).itl  # decode takes the bandwidth of the H200
    slow = served(decode_hardware="H200", output_len=128, network_bandwidth="1 GB/s")
    # 3968 tokens x 2 x 32 layers x 8 heads x 128 x 2 bytes = 0.520 GB cross the link.
    assert slow.kv_transfer_time.to("s").magnitude == pytest.approx(0.5201, rel=1e-3)
    assert (slow.ttft - split.ttft).to("s").magnitude == pytest.approx(0.5201 * 0.99, rel=1e-3)


def test_speculative_serving() -> None:
    target = {"model": "Llama3_70B", "hardware": "H200", "draft_model": "Llama3_8B", "precision": "fp8"}
    none = served(**{**target, "draft_model": None})
    rates = [served(**target, draft_acceptance_rate=rate).itl for rate in (0.1, 0.5, 0.9)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < none.itl < rates[0]


def test_prompt_cache_and_chunks() -> None:
    cached = served(cached_prefix_len=3072)
    assert cached.prompt_cache_hit_ratio == pytest.approx(3072 / 4096)
    assert served().prompt_cache_hit_ratio == 0
    assert cached.ttft < served().ttft / 2
    chunked = served(prefill_chunk_tokens=512)
    assert chunked.prefill_chunks == 8
    assert chunked.decode_stall_bound < served().decode_stall_bound
    assert chunked.ttft >= served().ttft  # the weights are read again for every chunk


def test_single_node_arguments() -> None:
    engine = mo.Engine.solve
    assert engine("ResNet50", "A100", 32).latency > engine("ResNet50", "A100", 1).latency
    assert engine("ResNet50", "A100", 32, "int8").latency < engine("ResNet50", "A100", 32, "fp16").latency
    assert engine("ResNet50", "A100", 256, "fp16", 0.3).latency > engine("ResNet50", "A100", 256, "fp16", 0.6).latency
    assert not engine("Llama3_70B", "H100").feasible
    with pytest.raises(mo.OOMError) as caught:
        engine("Llama3_70B", "H100", raise_errors=True)
    assert caught.value.required_bytes > 141e9 > caught.value.available_bytes


def test_reliability_in_hours_and_days() -> None:
    model = mo.ReliabilityModel()
    days, hours = model.solve("H100_256", job_duration_days=30), model.solve("H100_256", 720)
    assert days.expected_failures == pytest.approx(hours.expected_failures)
    assert model.solve("H100_256", 1440).expected_failures == pytest.approx(2 * hours.expected_failures)
    slower = model.solve("H100_256", 720, checkpoint_time_s=240.0)
    # Young: the interval grows with the square root, twice; Daly's higher order takes a little off.
    ratio = slower.optimal_interval.to("s").magnitude / hours.optimal_interval.to("s").magnitude
    assert 1.95 < ratio < 2
    assert slower.goodput_ratio < hours.goodput_ratio


def test_prices_and_places() -> None:
    economics = mo.EconomicsModel()
    dear, cheap = (economics.solve("Research_256", 365, kwh_price=price) for price in (0.16, 0.08))
    assert dear.opex_energy_usd == pytest.approx(2 * cheap.opex_energy_usd)
    sustain = mo.SustainabilityModel()
    grid = sustain.solve("Research_256", 30, mo.Infra.Grids.Quebec)
    building = sustain.solve("Research_256", 30, mo.Infra.Datacenters.AWS_ca_central_1)
    assert grid.it_energy_kwh == pytest.approx(building.it_energy_kwh)
    assert building.total_energy_kwh < grid.total_energy_kwh  # its own PUE, below the average of all sites


# document 003 ---------------------------------------------------------------------------------------------------------
def test_first_names_of_the_solvers() -> None:
    assert mo.ServingSolver is mo.ServingModel
    assert mo.DistributedSolver is mo.DistributedModel
    assert mo.EconomicsSolver is mo.EconomicsModel


def test_first_names_of_results() -> None:
    solved = mo.ServingSolver().solve("Llama3_70B", "H100", 4096)
    assert solved.latency_prefill == solved.ttft
    assert solved.latency_decoding == solved.itl
    assert solved.total_kv_cache_gb == pytest.approx(1.34217728)
    assert solved.feasible_on_hardware is False  # 141 GB of weights on 80 GB, as the plan found too


def test_first_names_of_types() -> None:
    assert isinstance(mo.Hardware.Cloud.H100, HardwareNode)
    assert isinstance(mo.Systems.Fabrics.InfiniBand_NDR, NetworkFabric)
    assert mo.Systems.Fabrics.InfiniBand_NDR.oversubscription_ratio >= 1
    assert isinstance(mo.Models.Language.Llama3_70B, TransformerWorkload)


def test_kv_cache_of_a_model() -> None:
    model = mo.Models.Language.Llama3_70B
    # 2 x 80 layers x 8 heads x 128 x 4096 tokens x 2 bytes
    assert model.get_kv_cache_size(4096).to("byte").magnitude == 2 * 80 * 8 * 128 * 4096 * 2
    assert model.get_kv_cache_size(seq_len=4096, batch_size=4, precision="fp8") == 2 * model.get_kv_cache_size(4096)
    assert model.get_kv_cache_size(4096) == mo.ServingModel().solve(model, "H100", 4096).kv_cache_size
    # DeepSeek-V3 keeps 512 + 64 numbers a token and layer instead of keys and values of its 128 heads.
    assert mo.Models["DeepSeek_V3"].get_kv_cache_size(1).to("byte").magnitude == 61 * 576 * 2
    with pytest.raises(mo.InputError, match="at least 1"):
        model.get_kv_cache_size(0)


def test_quantile_of_the_plan() -> None:
    solved = mo.TailLatencyModel().solve(arrival_rate=50, service_latency="10 ms", num_replicas=1)
    # M/M/1 at half load: the sojourn is exponential with mean 20 ms; P99.9 = 20 ms x ln 1000.
    assert solved.p999_latency.to("ms").magnitude == pytest.approx(138.155, rel=1e-4)


@pytest.mark.parametrize("module", ["solvers", "core.solver"])
def test_seed_modules_hold_every_resolver(module: str) -> None:
    import importlib

    home = importlib.import_module(f"mlsysim_opt.{module}")
    for name in (*DOCUMENTED, "SensitivitySolver", "SynthesisSolver", "TrainingMemoryModel", "MoERoutingModel"):
        assert inspect.isclass(getattr(home, name))
        assert getattr(home, name) is getattr(mo, name)
    with pytest.raises(AttributeError, match="Nonsense"):
        home.Nonsense  # noqa: B018
