"""Time of a training step: parts worked by hand, what must and what must not change it, and published runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics import DistributedModel
from mlsysim_opt.physics.training import DistributedResult

PARTS = ("compute_time", "tp_time", "ep_time", "cp_time", "pp_time", "bubble_time", "dp_time", "optimizer_time",
         "straggler_time")  # fmt: skip
GPT3: dict[str, Any] = {
    "model": "GPT3", "fleet": "Training_1K_A100", "precision": "bf16", "batch_size": 1536, "tp_size": 8, "pp_size": 8,
    "microbatch_size": 1,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "model": "Llama3_405B", "fleet": "Meta_Llama3_16K_H100", "precision": "bf16", "batch_size": 2048, "seq_len": 8192,
    "tp_size": 8, "pp_size": 16, "dp_size": 128, "cp_size": 1, "microbatch_size": 1, "v_stages": 8, "zero_stage": 2,
    "sequence_parallel": True, "overlap_comm": True,
}  # fmt: skip
MIXTRAL: dict[str, Any] = {
    "model": "Mixtral_8x7B", "fleet": "Lab_64_H100", "precision": "bf16", "batch_size": 64, "seq_len": 4096,
    "microbatch_size": 1, "zero_stage": 1,
}  # fmt: skip


def solve(given: dict[str, Any], **more: Any) -> Any:
    return DistributedModel().solve(**{**given, **more})


# the parts ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("given", [GPT3, LLAMA, MIXTRAL, {**MIXTRAL, "ep_size": 8, "recomputation": "full"},
                                   {**LLAMA, "cp_size": 2, "dp_size": 64, "recomputation": "selective"}])  # fmt: skip
def test_parts_add_up_to_the_step(given: dict[str, Any]) -> None:
    result = solve(given)
    assert sum(result.si(part) for part in PARTS) == pytest.approx(result.si("step_time"), rel=1e-9)
    assert all(result.si(part) >= 0 for part in PARTS)


@pytest.mark.parametrize(("p", "v"), [(8, 1), (8, 2), (8, 12), (16, 3)])
def test_bubble_is_p_minus_1_over_v_m(p: int, v: int) -> None:
    # Narayanan et al. 2021, Section 2.2.2: bubble over ideal time is (p - 1)/(v m)
    result = solve(GPT3, pp_size=p, v_stages=v)
    m = result.microbatches
    assert m == 1536 // (1024 // (8 * p))
    busy = sum(result.si(part) for part in ("compute_time", "tp_time", "ep_time", "cp_time", "pp_time"))
    assert result.si("bubble_time") / busy == pytest.approx((p - 1) / (v * m), rel=1e-9)


def test_gradient_traffic_by_hand(changed: Callable[..., Any]) -> None:
    # Llama 2 7B on 8 nodes, one port of 25 GB/s each way an accelerator, 64 replicas, no latencies, no overlap.
    # All-reduce: 2 x 7/8 x (6,738,415,616 - 4096) parameters x 4 bytes over 8 ports of 0.85 x 25 GB/s
    given = {"model": "Llama2_7B", "fleet": "Lab_64_H100", "precision": "bf16", "batch_size": 64, "microbatch_size": 1}
    still = {f"calibration.scale_{level}_latency": 0.0 for level in ("up", "out")} | {"fleet.fabric.latency": 0.0}
    result = changed(still, **given)
    bytes_each_way = 7 / 8 * (6_738_415_616 - 4096) * 4
    assert result.si("dp_time") == pytest.approx(2 * bytes_each_way / (8 * 0.85 * 25e9), rel=1e-9)


def test_zero_3_is_one_and_a_half_times_zero_0(changed: Callable[..., Any]) -> None:
    # Rajbhandari et al. 2020, Section 7: reduce-scatter of gradients, and gathers for forward and for backward, all
    # of 2 bytes, instead of reduce-scatter and gather
    given = {"model": "Llama2_7B", "fleet": "Lab_64_H100", "precision": "bf16_zero", "batch_size": 64,
             "microbatch_size": 1}  # fmt: skip
    plain, split = solve(given, zero_stage=0), solve(given, zero_stage=3)
    assert split.si("dp_time") == pytest.approx(1.5 * plain.si("dp_time"), rel=1e-9)
    assert solve(given, zero_stage=1).si("dp_time") == pytest.approx(plain.si("dp_time"), rel=1e-9)


def test_sharded_weights_are_gathered_for_every_microbatch() -> None:
    given = {"model": "Llama2_7B", "fleet": "Lab_64_H100", "precision": "bf16_zero", "batch_size": 256, "zero_stage": 3}
    once, four = solve(given, microbatch_size=4), solve(given, microbatch_size=1)
    assert four.si("dp_time") == pytest.approx(4 * once.si("dp_time"), rel=1e-9)


def test_accumulation_of_gradients_does_not_divide_their_traffic() -> None:
    given = {"model": "Llama2_7B", "fleet": "Lab_64_H100", "precision": "bf16", "batch_size": 256}
    assert solve(given, microbatch_size=1).si("dp_time") == solve(given, microbatch_size=4).si("dp_time")


def test_expert_exchange_by_hand(changed: Callable[..., Any]) -> None:
    # Mixtral, 8 experts on 8 ranks of one node, 4096 tokens a rank, each sent to 2 experts: 4096 x 2 x 4096 x 2 bytes,
    # 7/8 of it leaves the rank over 0.75 x 450 GB/s; dispatch and combine, forward and backward: 4 in each of 32 layers
    still = {f"calibration.scale_{level}_latency": 0.0 for level in ("up", "out")} | {"fleet.fabric.latency": 0.0}
    result = changed(still, **MIXTRAL, ep_size=8)
    once = 4096 * 2 * 4096 * 2 * 7 / 8 / (0.75 * 450e9)
    assert result.si("ep_time") == pytest.approx(4 * 32 * once, rel=1e-9)
    again = changed(still, **MIXTRAL, ep_size=8, recomputation="full")
    assert again.si("ep_time") == pytest.approx(6 * 32 * once, rel=1e-9)


def test_tensor_communication_by_hand(changed: Callable[..., Any]) -> None:
    # Llama 2 7B on 8 ranks, 2048 tokens: an all-reduce is a reduce-scatter and an all-gather of 2048 x 4096 x 2
    # bytes, 7/8 of it over 0.75 x 450 GB/s; two a layer in each direction: 8 such halves in each of 32 layers
    given = {"model": "Llama2_7B", "fleet": "One_DGX_H100", "precision": "bf16", "batch_size": 1, "tp_size": 8}
    result = changed({"calibration.scale_up_latency": 0.0}, **given)
    half = 7 / 8 * 2048 * 4096 * 2 / (0.75 * 450e9)
    assert result.si("tp_time") == pytest.approx(8 * 32 * half, rel=1e-9)


# what may and may not change ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("given", [GPT3, LLAMA, {**MIXTRAL, "ep_size": 8}])
@pytest.mark.parametrize("kind", ["selective", "full"])
def test_recomputation_never_raises_mfu(given: dict[str, Any], kind: str) -> None:
    without, again = solve(given, recomputation="none"), solve(given, recomputation=kind)
    assert again.mfu < without.mfu
    assert again.hfu >= again.mfu
    assert without.hfu == without.mfu


def test_tiny_work_per_rank_is_not_efficient() -> None:
    # The trap of a flat efficiency: 16 context ranks of 512 tokens each would look as good as one of 8192.
    wide = solve(LLAMA, pp_size=8, dp_size=16, cp_size=16, zero_stage=1)
    assert wide.mfu < 0.7 * solve(LLAMA).mfu


def test_small_products_lose_efficiency() -> None:
    given = {"model": "Llama2_7B", "fleet": "One_DGX_H100", "precision": "bf16", "batch_size": 8}
    long, short = solve(given, seq_len=4096), solve(given, seq_len=128)
    assert short.mfu < 0.5 * long.mfu


def test_experts_with_few_rows_lose_efficiency() -> None:
    # Without expert parallelism each of DeepSeek's 256 experts sees 4096 x 8 / 256 = 128 rows; with 64 of it, 8192
    given = {"model": "DeepSeek_V3", "fleet": "Frontier_8K", "precision": "bf16", "batch_size": 8192, "seq_len": 4096,
             "microbatch_size": 1, "pp_size": 8}  # fmt: skip
    few = solve(given, ep_size=1)
    many = solve(given, ep_size=64)
    assert few.si("compute_time") > 1.5 * many.si("compute_time")


def test_overlap_hides_no_more_than_there_is_compute() -> None:
    # On a network a hundred times congested, communication must stay visible
    fast, slow = solve(LLAMA), solve(LLAMA, congestion_factor=100)
    assert slow.si("dp_time") > 20 * fast.si("dp_time")


def test_links_busy_with_context_do_not_also_carry_gradients() -> None:
    given = {"model": "Llama2_7B", "fleet": "Lab_64_H100", "precision": "bf16", "batch_size": 32, "seq_len": 8192,
             "tp_size": 8, "microbatch_size": 8, "overlap_comm": True, "sequence_parallel": True}  # fmt: skip
    free = solve(given, cp_size=1, dp_size=8, microbatch_size=4)
    busy = solve(given, cp_size=2, dp_size=4, microbatch_size=8)
    assert free.si("dp_time") <= busy.si("dp_time") * (1 + 1e-9)


# the traps of other tools ---------------------------------------------------------------------------------------------
def test_trap_tensor_latency_is_paid_for_every_microbatch(changed: Callable[..., Any]) -> None:
    given = {"model": "Llama2_7B", "fleet": "One_DGX_H100", "precision": "bf16", "batch_size": 8, "tp_size": 8}
    slow = {"calibration.scale_up_latency": 1000.0}
    one, eight = changed(slow, **given, microbatch_size=8), changed(slow, **given, microbatch_size=1)
    assert eight.si("tp_time") > 7 * one.si("tp_time")


def test_trap_recomputation_repeats_tensor_communication() -> None:
    given = {"model": "Llama2_7B", "fleet": "One_DGX_H100", "precision": "bf16", "batch_size": 1, "tp_size": 8}
    none, full = solve(given), solve(given, recomputation="full")
    assert full.si("tp_time") == pytest.approx(1.5 * none.si("tp_time"), rel=1e-9)


def test_trap_the_bubble_waits_for_tensor_communication_too(changed: Callable[..., Any]) -> None:
    slow = changed({"fleet.node.scale_up.bandwidth": 0.1}, **GPT3)
    assert slow.si("bubble_time") > 1.5 * solve(GPT3).si("bubble_time")


def test_trap_pipeline_transfers_cost_time() -> None:
    assert solve(GPT3).si("pp_time") > 0
    assert solve(GPT3, pp_size=1).si("pp_time") == 0


def test_trap_attention_work_grows_with_the_sequence() -> None:
    # 32 times the length at the same tokens: attention becomes most of the useful work
    short = solve(LLAMA)
    long = solve(LLAMA, seq_len=131072, batch_size=128, cp_size=16, dp_size=8)
    useful = [result.si("flops_per_device") * result.si("step_time") for result in (short, long)]
    assert useful[1] > 1.4 * useful[0]
    assert long.si("step_time") > 1.4 * short.si("step_time")


def test_trap_experts_gradients_are_reduced_over_their_own_replicas() -> None:
    # On one node with an expert on each rank nothing of them is reduced: 1.6 B of 46.7 B parameters remain
    node = {**MIXTRAL, "fleet": "One_DGX_H100", "batch_size": 8}
    alone, spread = solve(node), solve(node, ep_size=8)
    assert spread.si("dp_time") / alone.si("dp_time") == pytest.approx(1.6 / 46.7, rel=0.1)


def test_trap_idle_replicas_and_remainders_are_errors() -> None:
    with pytest.raises(InputError):
        solve({"model": "Llama2_7B", "fleet": "Lab_64_H100", "batch_size": 32, "precision": "bf16"})
    with pytest.raises(InputError, match="96"):
        solve({"model": "Llama2_7B", "fleet": "Lab_64_H100", "batch_size": 96, "microbatch_size": 1})


def test_trap_a_split_that_does_not_fill_the_fleet_is_an_error() -> None:
    with pytest.raises(InputError, match="accelerators"):
        solve(GPT3, dp_size=8)


def test_trap_experts_do_not_use_all_parameters() -> None:
    # Mixtral has 46.7 B parameters, but works like a model of 12.9 B
    mixtral = solve(MIXTRAL)
    dense = solve({**MIXTRAL, "model": "Llama2_13B"})
    assert mixtral.si("compute_time") < 1.6 * dense.si("compute_time")


def test_trap_routing_imbalance_slows_experts_not_everything() -> None:
    even = solve(MIXTRAL, ep_size=8)
    uneven = solve(MIXTRAL, ep_size=8, moe_routing_imbalance_factor=1.5)
    assert 1.05 < uneven.si("compute_time") / even.si("compute_time") < 1.5
    assert uneven.si("ep_time") == pytest.approx(1.5 * even.si("ep_time"), rel=0.05)
    assert uneven.mfu < even.mfu


def test_experts_with_tensor_parallelism_need_sequence_parallelism() -> None:
    free = solve(MIXTRAL, tp_size=2)
    assert not free.constraints["experts with tp need sequence parallelism"]


# published runs -------------------------------------------------------------------------------------------------------
def test_llama_3_on_16384_accelerators() -> None:
    # Llama Team 2024, Table 4: 41 % on 16,384, and it ran, so it fits 80 GiB less the reserve
    result = solve(LLAMA)
    assert result.feasible
    assert result.mfu == pytest.approx(0.41, abs=0.04)


def test_llama_3_on_8192_accelerators() -> None:
    result = solve(LLAMA, fleet="Frontier_8K", dp_size=64)
    assert result.mfu == pytest.approx(0.43, abs=0.04)
    assert result.mfu > solve(LLAMA).mfu


@pytest.mark.parametrize(
    ("model", "nodes", "batch", "split", "full", "selective"),
    [
        ("Megatron_22B", 1, 4, {"pp_size": 1, "v_stages": 1, "microbatch_size": 4}, 1.42, 1.10),
        ("Megatron_175B", 8, 64, {"pp_size": 8, "v_stages": 3, "microbatch_size": 1}, 18.13, 13.75),
        ("Megatron_530B", 35, 280, {"pp_size": 35, "v_stages": 3, "microbatch_size": 1}, 49.05, 37.83),
        ("Megatron_1T", 64, 512, {"pp_size": 64, "v_stages": 1, "microbatch_size": 1}, 94.42, 71.49),
    ],
)
def test_steps_of_korthikanti(
    model: str, nodes: int, batch: int, split: dict[str, Any], full: float, selective: float
) -> None:
    # Korthikanti et al. 2022, Table 5; unfused attention, dropout, no overlap
    from mlsysim_opt.registry import Systems

    fleet = Systems.Clusters.Lab_64_A100
    node = type(fleet).model_validate(
        {"name": "selene", "title": "so many nodes of Selene", "source": {"title": "t", "locator": "l", "date": 2022},
         "node": fleet.node, "fabric": fleet.fabric, "node_count": nodes}
    )  # fmt: skip
    given = {"model": model, "fleet": node, "batch_size": batch, "precision": "fp16", "tp_size": 8, **split,
             "dropout": True, "fused_attention": False}  # fmt: skip
    slow = solve(given, recomputation="full").si("step_time")
    fast = solve(given, recomputation="selective", sequence_parallel=True).si("step_time")
    assert slow == pytest.approx(full, rel=0.12)
    assert fast == pytest.approx(selective, rel=0.12)


def test_fields_are_finite() -> None:
    result = solve(LLAMA)
    for name in DistributedResult.field_names():
        value = result.si(name)
        assert isinstance(value, bool | int | float) or hasattr(value, "__float__")
        assert math.isfinite(float(value)), name


def test_tensor_parallelism_across_nodes_can_be_allowed() -> None:
    asked: dict[str, Any] = {"model": "Llama3_70B", "fleet": "Research_256", "batch_size": 256, "tp_size": 16}
    rule = "tp within the scale-up domain"
    assert DistributedModel().solve(**asked).constraints[rule] is False
    assert DistributedModel().solve(**asked, tp_across_nodes=True).constraints[rule] is True
