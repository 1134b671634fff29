"""Routing to experts: bytes and times by hand, and what uneven loads do and do not change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.physics import DistributedModel, MoERoutingModel

MIXTRAL: dict[str, Any] = {"model": "Mixtral_8x7B", "batch_size": 64, "seq_len": 4096, "ep_size": 8}


def solve(**given_: Any) -> Any:
    return MoERoutingModel().solve(**{**MIXTRAL, **given_})


def test_bytes_by_hand() -> None:
    # 64 x 4096 tokens, 2 copies of 4096 x 2 B each, 7 of 8 leave their rank: 3.758 GB a layer, each way; 32 layers
    result = solve()
    layer = 64 * 4096 * 2 * 4096 * 2 * 7 / 8
    assert result.si("token_dispatch_bytes") == pytest.approx(layer, rel=1e-12)
    assert result.si("token_combine_bytes") == pytest.approx(layer, rel=1e-12)
    assert result.si("bytes_all_layers") == pytest.approx(32 * 2 * layer, rel=1e-12)


def test_trap_every_rank_has_its_share_and_every_layer_both_ways() -> None:
    # One rank sends an eighth of the tokens: 536.9 MB of which 7/8 over NVLink of 450 GB/s, at the calibrated share of
    # it; twice per layer, 32 layers. The whole batch on every rank would be 8 times that, one layer one 64th.
    result = solve(fleet="Lab_64_H100")
    per_rank = 64 * 4096 / 8 * 2 * 4096 * 2 * 7 / 8
    ideal = 32 * 2 * per_rank / 450e9
    assert ideal < result.si("all_to_all_latency") < 1.6 * ideal
    assert result.si("layer_all_to_all_latency") * 32 == pytest.approx(result.si("all_to_all_latency"), rel=1e-12)


def test_trap_uneven_loads_move_work_and_make_none() -> None:
    even, uneven = solve(fleet="Lab_64_H100"), solve(fleet="Lab_64_H100", routing_imbalance_factor=1.5)
    for name in ("token_dispatch_bytes", "token_combine_bytes", "bytes_all_layers"):
        assert uneven.si(name) == even.si(name)
    assert uneven.active_parameters == even.active_parameters
    # but everybody waits for the fullest rank
    assert uneven.si("all_to_all_latency") == pytest.approx(1.5 * even.si("all_to_all_latency"), rel=0.01)


def test_trap_the_dense_part_is_not_routed() -> None:
    # Mixtral: 12.88 B active, of which 2 x 3 x 4096 x 14336 x 32 = 11.274 B are routed. At 1.5: 12.88 + 0.5 x 11.274
    result = solve(routing_imbalance_factor=1.5)
    routed = 2 * 3 * 4096 * 14_336 * 32
    assert result.active_parameters == pytest.approx(12.88e9, rel=0.001)
    assert result.effective_active_parameters == pytest.approx(result.active_parameters + 0.5 * routed, rel=1e-9)
    assert result.active_parameter_multiplier < 1.5
    assert result.effective_active_experts == pytest.approx(3)


def test_active_parameters_are_the_published_ones() -> None:
    # DeepSeek-V3: 37 B of 671 B; Mixtral 8x7B: 12.9 B of 46.7 B
    result = solve(model="DeepSeek_V3", precision="fp8", ep_size=64)
    assert result.active_parameters == pytest.approx(37e9, rel=0.02)
    assert result.effective_active_experts == 8


def test_a_capacity_limits_the_fullest_rank_and_drops() -> None:
    result = solve(routing_imbalance_factor=1.5, capacity_factor=1.25, fleet="Lab_64_H100")
    assert result.fullest_rank_load == pytest.approx(1.25)
    assert result.fullest_drop_rate == pytest.approx(1 - 1.25 / 1.5)
    assert result.si("all_to_all_latency") < solve(routing_imbalance_factor=1.5, fleet="Lab_64_H100").si(
        "all_to_all_latency"
    )
    assert solve(routing_imbalance_factor=1.2, capacity_factor=1.25).fullest_drop_rate == 0


def test_one_rank_sends_nothing_and_cannot_be_uneven() -> None:
    result = solve(ep_size=1, routing_imbalance_factor=2.0, fleet="Lab_64_H100")
    assert result.si("token_dispatch_bytes") == 0
    assert result.si("all_to_all_latency") == 0
    assert result.fullest_rank_load == 1


def test_precisions_of_both_ways() -> None:
    both = solve(precision="fp8", combine_precision="bf16")
    assert both.si("token_combine_bytes") == 2 * both.si("token_dispatch_bytes")
    with pytest.raises(UnknownNameError, match="fp12"):
        solve(precision="fp12")


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match="no experts"):
        solve(model="Llama3_8B")
    assert not solve(ep_size=16).feasible  # 8 experts
    assert not solve(model="DeepSeek_V3", ep_size=128, fleet="Lab_64_H100").feasible
    with pytest.raises(AttributeError, match="all_to_all_latency"):
        _ = solve().all_to_all_latency


def test_trap_ranks_divide_the_experts_as_in_training() -> None:
    # 8 experts on 3 ranks: some would hold 3 and some 2. The same rule, by the same name, as in DistributedModel.
    name = "ep divides the experts"
    assert [ranks for ranks in range(1, 17) if solve(ep_size=ranks).constraints[name]] == [1, 2, 4, 8]
    assert not solve(ep_size=3).feasible
    job = DistributedModel().solve(model="Mixtral_8x7B", fleet="Lab_64_H100", batch_size=192, ep_size=3)
    assert job.constraints[name] is solve(ep_size=3).constraints[name] is False


def test_beyond_a_domain_the_fabric_sets_the_pace() -> None:
    given_ = {"model": "DeepSeek_V3", "precision": "fp8", "fleet": "Lab_64_H100", "batch_size": 512}
    near, far = solve(**given_, ep_size=8), solve(**given_, ep_size=64)
    # the same tokens per rank would be 8 times fewer on 64 ranks, and yet each takes longer: 25 GB/s against 450
    assert far.si("all_to_all_latency") / 8 > near.si("all_to_all_latency") / 64
    congested = solve(**given_, ep_size=64, congestion_factor=2.0)
    assert congested.si("all_to_all_latency") > 1.8 * far.si("all_to_all_latency")


@given(st.sampled_from([1, 2, 4, 8]), st.floats(1, 8), st.integers(1, 512), st.integers(1, 8192))
def test_loads_and_times_rise_together(ranks: int, imbalance: float, batch: int, length: int) -> None:
    given_: dict[str, Any] = {"ep_size": ranks, "batch_size": batch, "seq_len": length, "fleet": "Lab_64_H100"}
    even, uneven = solve(**given_), solve(**given_, routing_imbalance_factor=imbalance)
    assert 1 <= uneven.fullest_rank_load <= min(imbalance, ranks) + 1e-12
    assert uneven.si("all_to_all_latency") >= even.si("all_to_all_latency")
    assert uneven.active_parameters == even.active_parameters <= uneven.effective_active_parameters
    longer = solve(**{**given_, "seq_len": length + 1})
    assert longer.si("bytes_all_layers") >= even.si("bytes_all_layers")
