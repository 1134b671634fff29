"""Training of low-rank adapters over frozen weights: what is saved, by hand. (The trap: gradients of all weights are
not computed, not only not communicated.)"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.physics.training import DistributedModel, TrainingMemoryModel
from mlsysim_opt.registry import default_catalog

JOB: dict[str, Any] = {
    "model": "Llama2_70B", "fleet": "Lab_64_H100", "batch_size": 256, "seq_len": 4096, "precision": "bf16",
    "tp_size": 8, "microbatch_size": 1, "zero_stage": 1, "sequence_parallel": True,
}  # fmt: skip
GIB = 2**30


def test_the_work_is_two_forward_passes_instead_of_three() -> None:
    full, lora = (DistributedModel().solve(**JOB, is_lora=switch) for switch in (False, True))
    assert lora.si("flops_per_device") * lora.si("step_time") == pytest.approx(
        2 / 3 * full.si("flops_per_device") * full.si("step_time")
    )
    # The products take two thirds; attention and everything between the products stay, adapters come on top.
    assert 0.6 < lora.si("compute_time") / full.si("compute_time") < 0.85
    assert lora.mfu < 1


def test_only_adapters_have_gradients_and_optimizer_states() -> None:
    given = {"model": "Llama2_70B", "hardware": "H100", "batch_size": 8, "seq_len": 4096, "precision": "bf16",
             "tp_size": 8, "sequence_parallel": True}  # fmt: skip
    found = TrainingMemoryModel().solve(**given, is_lora=True, lora_rank=16)
    # Rank 16 beside the attention projections of 80 layers on one of 8 ranks; widths of inputs and outputs:
    # hidden in and out 2 x 8192, queries and values 2 x 8192 / 8, keys and values of one head each 2 x 128.
    adapters = 80 * 16 * (2 * 8192 + 2 * 8192 / 8 + 2 * 128)
    assert found.gradients.to("GiB").magnitude == pytest.approx(4 * adapters / GIB)
    assert found.optimizer_state.to("GiB").magnitude == pytest.approx(12 * adapters / GIB)
    full = TrainingMemoryModel().solve(**given)
    assert found.weights == full.weights
    assert found.activations < full.activations  # inputs of frozen products of the feed-forward are not kept


def test_the_gradients_that_travel_are_those_of_the_adapters() -> None:
    quiet = {**JOB, "overlap_comm": False}
    full, lora = (DistributedModel().solve(**quiet, is_lora=switch) for switch in (False, True))
    assert lora.si("dp_time") < 0.05 * full.si("dp_time")
    assert lora.si("optimizer_time") < 0.01 * full.si("optimizer_time")


def test_the_default_trains_everything() -> None:
    assert DistributedModel().solve(**JOB).si("step_time") == DistributedModel().solve(**JOB, is_lora=False).si(
        "step_time"
    )


@given(st.integers(1, 256), st.integers(1, 256))
def test_a_higher_rank_is_never_faster_nor_smaller(one: int, other: int) -> None:
    low, high = sorted((one, other))
    first, second = (DistributedModel().solve(**JOB, is_lora=True, lora_rank=rank) for rank in (low, high))
    assert first.si("step_time") <= second.si("step_time")
    assert first.si("total_memory") <= second.si("total_memory")
    assert second.mfu <= 1


def test_latent_experts_exchange_latent_numbers() -> None:
    """Nemotron 3 Super sends 1,024 numbers a token and expert, not 4,096; 40 of its 48 layers have experts."""
    given = {"fleet": "Lab_64_H100", "batch_size": 64, "seq_len": 4096, "precision": "bf16", "ep_size": 64,
             "microbatch_size": 1, "zero_stage": 1}  # fmt: skip
    found = DistributedModel().solve(model="Nemotron_3_Super", **given)
    # 22 x 4,096 tokens x 1,024 x 2 bytes over 8 nodes of 8: 56 of 64 parts leave the node at 0.85 x 25 GB/s (HDR)
    once = 22 * 4096 * 1024 * 2 * 56 / 64 / (0.85 * 25e9) + 10e-6
    assert found.si("ep_time") == pytest.approx(4 * 48 * once * 40 / 48, rel=0.02)


def test_states_of_recurrent_mixers_cross_the_memory() -> None:
    """The state at the end of each chunk of 256 tokens is written and read, forward once and backward twice as much."""
    entry = default_catalog().find("model", "Nemotron_H_8B")
    fields = {name: entry.__dict__[name] for name in type(entry).model_fields}
    part = entry.__dict__["recurrent"]
    numbers = {name: part.__dict__[name] for name in type(part).model_fields}
    numbers["state_elements"] = 2 * part.state_elements
    doubled = type(entry).model_validate({**fields, "aliases": (), "recurrent": type(part).model_validate(numbers)})
    given = {"fleet": "One_DGX_H100", "batch_size": 8, "seq_len": 8192, "precision": "bf16", "microbatch_size": 1}
    first, second = (DistributedModel().solve(model=model, **given) for model in (entry, doubled))
    state = part.state_elements * 4
    more = part.layers * 3 * 2 * state * 8192 / 256 / (0.9 * 3.35e12)
    rate = default_catalog().find("accelerator", "H100").parameter("compute.peak.bf16").si
    reached = default_catalog().find("calibration", "hopper").parameter("attention_efficiency").si
    # the state is also updated and read by products: two multiply-adds an element and token, 3.5 passes in all
    work = part.layers * 3.5 * 2 * 2 * part.state_elements * 8192 / (rate * reached)
    assert second.si("compute_time") - first.si("compute_time") == pytest.approx(more + work, rel=0.02)
