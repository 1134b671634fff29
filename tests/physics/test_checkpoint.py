"""Checkpoints: published sizes and times, tiers by hand, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt import Hardware
from mlsysim_opt.errors import InputError, MissingFieldError, UnknownNameError
from mlsysim_opt.physics import CheckpointModel, ReliabilityModel

LLAMA: dict[str, Any] = {"model": "Llama3_70B", "hardware": "H100", "checkpoint_interval": "30 min"}
SIZE = 70_553_706_496 * 14
"""Bytes: the parameters of Llama 3 70B, each 2 bytes and three numbers of 4 bytes."""


def solve(**given_: Any) -> Any:
    return CheckpointModel().solve(**{**LLAMA, **given_})


# size -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("optimizer", "per_parameter"), [("adam", 14), ("adamw", 14), ("sgd_momentum", 10), ("sgd", 6), ("none", 2)]
)
def test_trap_every_optimizer_keeps_the_weights_too(optimizer: str, per_parameter: int) -> None:
    # 2 B of working weights; master weight 4 B; a momentum 4 B; Adam's second moment 4 B. SGD is not 4 B, which would
    # be the master weights alone.
    result = solve(optimizer=optimizer)
    assert result.si("bytes_per_parameter") == per_parameter
    assert result.si("checkpoint_size") == pytest.approx(SIZE / 14 * per_parameter, rel=1e-9)


def test_published_sizes(validation: Callable[[str], Any]) -> None:
    rows = {row["id"]: row for row in validation("reliability.yaml")["rows"]}
    # MLPerf Storage writes 912 GB for Llama 3 70B with the same contents; it counts GB of 2^30 bytes
    stated = rows["c4-mlperf-storage-llama3-70b"]["measured"]["checkpoint_bytes"]
    assert solve().si("checkpoint_size") == pytest.approx(stated / 1e9 * 2**30, rel=0.01)
    # BLOOM 176B: 2.3 TB, again 2^40 bytes
    bloom = rows["c4-bloom-ckpt-size"]
    result = solve(model="BLOOM_176B", hardware="A100")
    assert result.si("checkpoint_size") == pytest.approx(bloom["measured"]["checkpoint_tb"] * 2**40, rel=0.03)


def test_bloom_saves_in_40_seconds_and_loses_a_third_of_a_percent(validation: Callable[[str], Any]) -> None:
    rows = {row["id"]: row for row in validation("reliability.yaml")["rows"]}
    stated, lost = rows["c4-bloom-ckpt-time"], rows["c4-bloom-ckpt-interval"]["measured"]
    result = solve(
        model="BLOOM_176B", hardware="A100", n_writers=stated["inputs"]["writers"], checkpoint_interval=None,
        checkpoint_interval_hours=lost["checkpoint_interval_h"],
        filesystem_bandwidth=stated["measured"]["implied_bw_gbs"],
    )  # fmt: skip
    assert result.write_time.to("s").magnitude == pytest.approx(stated["measured"]["save_time_s"], rel=0.1)
    assert result.mfu_penalty_pct == pytest.approx(lost["overhead_pct"], rel=0.1)
    assert result.bottleneck == "file system"


# times ----------------------------------------------------------------------------------------------------------------
def test_one_writer_by_hand() -> None:
    # 987.752 GB over one PCIe 5 x16 link of 64 GB/s: 15.434 s; over 30 min and itself: 0.85 %
    result = solve(n_writers=1)
    assert result.si("write_time") == pytest.approx(SIZE / 64e9, rel=1e-9)
    assert result.mfu_penalty == pytest.approx(15.434 / (1800 + 15.434), rel=1e-3)
    assert result.mfu_penalty_pct == pytest.approx(100 * result.mfu_penalty)
    assert result.write_time_seconds == pytest.approx(result.write_time.to("s").magnitude)


def test_without_storage_it_stays_in_host_memory_and_says_so() -> None:
    # 80 GiB hold 85.9 GB: 12 accelerators hold 988 GB
    result = solve()
    assert result.n_writers == 12
    assert result.bottleneck == "host link"
    assert result.si("write_bandwidth") == 12 * 64e9
    assert "host memory" in result.assumptions["storage"]
    assert "as many" in result.assumptions["n_writers"]
    assert not {"storage", "n_writers"} & solve(storage="NVMe_Gen4", n_writers=8).assumptions.keys()


def test_trap_all_writers_work_and_no_rate_is_invented() -> None:
    # 64 writers to a drive of 3.5 GB/s each: 224 GB/s, 4.4 s, instead of one writer at 1 GB/s (988 s)
    result = solve(n_writers=64, storage="NVMe_Gen4")
    assert result.si("write_time") == pytest.approx(SIZE / (64 * 3.5e9), rel=1e-9)
    assert result.bottleneck == "storage"
    limited = solve(n_writers=64, storage="NVMe_Gen4", filesystem_limit_gbs=100)
    assert limited.si("write_time") == pytest.approx(SIZE / 100e9, rel=1e-9)
    without = next(entry.name for entry in Hardware.all() if entry.host_link is None)
    with pytest.raises(MissingFieldError, match="host_link"):
        solve(hardware=without)


def test_trap_the_penalty_is_a_share() -> None:
    # Writing for 41 minutes every 36 seconds is not a penalty of 6800 % but of 98.6 %, and cannot be done in the
    # background
    given_ = {"n_writers": 1, "filesystem_bandwidth": "0.4 GB/s", "checkpoint_interval": "36 s"}
    result = solve(**given_)
    assert result.mfu_penalty == pytest.approx(SIZE / 0.4e9 / (SIZE / 0.4e9 + 36), rel=1e-9)
    assert result.mfu_penalty < 1
    assert result.feasible
    assert not solve(**given_, mode="asynchronous").feasible


def test_asynchronous_waits_for_the_snapshot_only() -> None:
    given_ = {"n_writers": 16, "filesystem_bandwidth": "20 GB/s"}
    both, alone = solve(**given_), solve(**given_, mode="asynchronous")
    assert both.si("blocking_time") == pytest.approx(SIZE / 20e9)
    assert alone.si("blocking_time") == pytest.approx(SIZE / (16 * 64e9))
    assert alone.write_time == both.write_time
    assert alone.feasible


def test_tiers_spread_the_wait_for_storage() -> None:
    # Every tenth checkpoint waits for 49.4 s, the others for 0.96 s: 5.8 s on average
    result = solve(n_writers=16, filesystem_bandwidth="20 GB/s", persist_every=10)
    snapshot, write = SIZE / (16 * 64e9), SIZE / 20e9
    assert result.si("blocking_time") == pytest.approx((9 * snapshot + write) / 10, rel=1e-9)
    waiting = (9 * snapshot + write) / 10
    assert result.si("bandwidth_required") == pytest.approx(SIZE / (18_000 + waiting), rel=1e-9)


@given(st.integers(1, 4096), st.floats(0.1, 5000), st.floats(1, 1e6), st.sampled_from(["adam", "sgd"]))
def test_more_writers_and_bandwidth_never_cost_more(writers: int, rate: float, interval: float, optimizer: str) -> None:
    def penalty(n: int, gbs: float, seconds: float) -> float:
        result = solve(n_writers=n, filesystem_bandwidth=gbs, checkpoint_interval=f"{seconds} s", optimizer=optimizer)
        assert result.si("snapshot_time") <= result.si("blocking_time") <= result.si("write_time") * (1 + 1e-12)
        return float(result.mfu_penalty)

    now = penalty(writers, rate, interval)
    assert 0 < now < 1
    assert penalty(writers + 1, rate, interval) <= now * (1 + 1e-12)
    assert penalty(writers, 2 * rate, interval) <= now * (1 + 1e-12)
    assert penalty(writers, rate, 2 * interval) < now


# with failures --------------------------------------------------------------------------------------------------------
def test_the_chain_of_the_seeds() -> None:
    failures = ReliabilityModel().solve(fleet="H100_256", job_duration_days=30)
    result = CheckpointModel().solve(
        model="Llama3_70B", hardware="H100", optimizer="adam", checkpoint_interval=failures.optimal_interval
    )
    assert result.checkpoint_size.to("GB").magnitude == pytest.approx(987.75, abs=0.01)
    assert 0 < result.mfu_penalty < 0.001


def test_the_interval_is_given_once_and_4_hours_otherwise() -> None:
    assert solve(checkpoint_interval=None).assumptions["checkpoint_interval"] == "4 h"
    hours = solve(checkpoint_interval=None, checkpoint_interval_hours=0.5)
    assert hours.mfu_penalty == solve().mfu_penalty
    with pytest.raises(InputError, match="once"):
        solve(checkpoint_interval_hours=1)
    with pytest.raises(UnknownNameError, match="adamm"):
        solve(optimizer="adamm")


def test_the_bandwidth_for_a_penalty() -> None:
    found = CheckpointModel().solve_for("mfu_penalty", 0.01, unknown="filesystem_bandwidth", n_writers=64, **LLAMA)
    # t / (t + 1800 s) = 0.01: t = 18.18 s, so 987.75 GB / 18.18 s = 54.3 GB/s
    assert found.value == pytest.approx(SIZE / (1800 / 99), rel=1e-9)


def test_sweeping_optimizers_and_intervals() -> None:
    swept = CheckpointModel().sweep(
        model="Llama3_70B", hardware="H100", optimizer=["adam", "sgd"], checkpoint_interval_hours=[1, 4],
        outputs=["mfu_penalty"],
    )  # fmt: skip
    want = solve(optimizer="sgd", checkpoint_interval="4 h").mfu_penalty
    assert swept["mfu_penalty"][1, 1] == pytest.approx(want, rel=1e-12)
