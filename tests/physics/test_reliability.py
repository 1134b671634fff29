"""Failures: published clusters, the exact goodput against a simulation, limits, inverses."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra import Expression, best_interval, gradient
from mlsysim_opt.algebra.atoms import ATOMS
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Symbol, constant
from mlsysim_opt.errors import InputError, NotInvertibleError
from mlsysim_opt.physics import ReliabilityModel
from mlsysim_opt.physics.reliability import Interrupted
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Fleet
from mlsysim_opt.units import NONE, TIME

LLAMA: dict[str, Any] = {"fleet": "Meta_Llama3_16K_H100", "job_duration_days": 54}


def solve(**given_: Any) -> Any:
    return ReliabilityModel().solve(**{**LLAMA, **given_})


def seconds(value: float) -> Expression:
    return constant(value, TIME)


def job(mtbf: float, saving: float, recovery: float, interval: float | None = None) -> Interrupted:
    return Interrupted(
        seconds(mtbf), seconds(saving), seconds(recovery), None if interval is None else seconds(interval)
    )


def fleet_of(accelerators: int, node: str) -> Fleet:
    inner = default_catalog().find("node", node)
    return Fleet.model_validate(
        {
            "name": "tried", "title": "tried", "node": inner, "node_count": accelerators // 8,
            "fabric": default_catalog().find("fabric", "InfiniBand_HDR"),
            "source": {"title": "a size for this test", "locator": "none", "date": 2025},
        }
    )  # fmt: skip


# published ------------------------------------------------------------------------------------------------------------
def test_llama3_is_interrupted_every_three_hours(validation: Callable[[str], Any]) -> None:
    row = next(row for row in validation("reliability.yaml")["rows"] if row["id"] == "c1-llama3-unexpected")
    result = solve()
    assert result.fleet_mtbf.to("h").magnitude == pytest.approx(row["measured"]["mtbf_unexpected_h"], rel=0.01)
    assert result.expected_failures == pytest.approx(row["measured"]["unexpected_interruptions"], rel=0.01)
    assert result.main_cause == "accelerators"  # 268 of the 419
    # They report more than 90 % effective time; 30 s of stand-still per checkpoint and 2 min of recovery give that.
    assert solve(checkpoint_time_s=30, avg_recovery_time_s=120).goodput > row["measured"]["effective_training_time_min"]


def test_the_projections_of_meta(validation: Callable[[str], Any]) -> None:
    rows = {row["id"]: row for row in validation("reliability.yaml")["rows"]}
    for name in ("c2-meta-mttf-16384", "c2-meta-mttf-131072"):
        row = rows[name]
        fleet = fleet_of(row["inputs"]["gpus"], "DGX_A100")
        found = solve(fleet=fleet, reliability="Meta_RSC1_A100").fleet_mtbf.to("h").magnitude
        assert found == pytest.approx(row["measured"]["mttf_h"], rel=0.03)


def test_opt_restarted_90_times(validation: Callable[[str], Any]) -> None:
    row = next(row for row in validation("reliability.yaml")["rows"] if row["id"] == "c3-opt-restarts")
    result = solve(fleet="Training_1K_A100", job_duration_days=57, reliability="OPT_A100")
    assert result.expected_failures == pytest.approx(row["measured"]["restarts"], rel=0.01)


def test_rates_of_one_record_hold_for_another_to_their_order() -> None:
    # MegaScale: more than 100 restarts in several weeks on 12,288 Ampere accelerators (NSDI 24, section 6.3)
    month = solve(fleet=fleet_of(12_288, "DGX_A100"), job_duration_days=28)
    assert 100 < month.expected_failures < 300


def test_longest_stretch_is_that_of_failures_at_random() -> None:
    random_ = random.Random(7)
    result = solve(job_duration_days=20)
    mean, duration = result.si("fleet_mtbf"), 20 * 86_400.0

    def longest() -> float:
        cuts, now = [0.0], 0.0
        while (now := now + random_.expovariate(1 / mean)) < duration:
            cuts.append(now)
        return max(after - before for before, after in zip(cuts, [*cuts[1:], duration], strict=True))

    simulated = sum(longest() for _ in range(2000)) / 2000
    assert result.si("longest_stretch") == pytest.approx(simulated, rel=0.03)
    short = ReliabilityModel().solve("Meta_Llama3_16K_H100", 1e-3)  # it will hardly fail
    assert 0.99 * 3.6 < short.si("longest_stretch") <= 3.6


def test_mtbf_by_hand() -> None:
    # H100_256: 256 x 1.262e-5 + 256 ports x 1.978e-6 + 32 x 1.733e-5 + 256 x 2.967e-6 per h
    # = 3.23072e-3 + 5.0637e-4 + 5.5456e-4 + 7.5955e-4 = 5.05120e-3: 197.97 h, and 3.6369 failures in 30 days
    result = ReliabilityModel().solve("H100_256", 720)
    assert result.fleet_mtbf.to("h").magnitude == pytest.approx(197.97, abs=0.01)
    assert result.expected_failures == pytest.approx(720 / 197.97, rel=1e-4)
    assert result.failure_probability == pytest.approx(1 - math.exp(-720 / 197.97), rel=1e-4)


# goodput --------------------------------------------------------------------------------------------------------------
def simulated(mtbf: float, saving: float, recovery: float, interval: float) -> float:
    """Share of progress in a long run: segments that either end or fail, recoveries that may fail too."""
    chance = random.Random(5)
    time, done = 0.0, 0.0
    for _ in range(40_000):
        while True:
            left = chance.expovariate(1 / mtbf)
            if left >= interval + saving:
                time += interval + saving
                done += interval
                break
            time += left
            while (left := chance.expovariate(1 / mtbf)) < recovery:
                time += left
            time += recovery
    return done / time


@pytest.mark.parametrize(
    ("mtbf", "saving", "recovery", "interval"), [(10_000, 60, 300, 1000), (1000, 200, 500, 700), (1000, 50, 10, 2500)]
)
def test_the_goodput_is_that_of_a_simulation(mtbf: float, saving: float, recovery: float, interval: float) -> None:
    found = evaluate(job(mtbf, saving, recovery, interval).goodput)
    assert found == pytest.approx(simulated(mtbf, saving, recovery, interval), rel=0.03)


def test_trap_the_work_lost_since_the_last_checkpoint_counts() -> None:
    # MTBF 7870 s, 60 s to save, 300 s to recover. Young: sqrt(2 x 60 x 7870) = 972 s. Saving 6.2 %, recovery 3.8 %, and
    # on average half an interval lost per failure, 972 / (2 x 7870) = 6.2 %: 0.84, not the 0.90 without the last part.
    found = job(7870, 60, 300)
    assert evaluate(found.between) == pytest.approx(972, rel=0.05)
    assert evaluate(found.goodput) == pytest.approx(0.84, abs=0.01)


def test_losses_add_up_and_rework_costs_as_much_as_saving() -> None:
    result = solve()
    lost = result.checkpoint_loss + result.recovery_loss + result.rework_loss
    assert lost + result.goodput == pytest.approx(1, rel=1e-12)
    assert result.rework_loss == pytest.approx(result.checkpoint_loss, rel=0.1)  # equal to first order at the optimum


def test_trap_checkpoints_longer_than_the_time_between_failures() -> None:
    # The square root gives an interval of 2 h x sqrt(...) beyond the MTBF, and a first-order goodput below zero.
    found = job(3600, 7200, 600)
    best = evaluate(found.between)
    assert 0 < best < 3600
    assert math.sqrt(2 * 7200 * 3600) > 3600
    assert 1 - 7200 / 7200 - best / 7200 < 0 < evaluate(found.goodput) < 0.1


@pytest.mark.parametrize(
    "more",
    [
        {"checkpoint_time_s": 1e6}, {"checkpoint_time_s": 1e6, "checkpoint_interval": "1 h"},
        {"avg_recovery_time_s": 1e9}, {"checkpoint_interval": "1e6 h"},
    ],
)  # fmt: skip
def test_trap_a_job_without_progress_is_not_feasible(more: dict[str, Any]) -> None:
    # 3 h between failures: no checkpoint of 12 days is ever written, no recovery of 30 years ends
    result = solve(**more)
    assert result.constraints == {"the job makes progress": False}
    assert not result.feasible
    assert 0 <= result.goodput < 1e-30
    assert result.si("time_to_finish") > 1e30  # or for ever; never NaN
    assert result.si("useful_time") < 1e-20


def test_a_job_with_little_progress_says_how_long_it_takes() -> None:
    result = solve(checkpoint_time_s=40_000)  # 3.7 times the time between failures
    assert result.feasible
    assert 1e-3 < result.goodput < 0.1
    assert result.si("time_to_finish") == pytest.approx(54 * 86_400 / result.goodput, rel=1e-12)


@given(st.floats(-5, 1.2).map(lambda power: 10.0**power), st.floats(0.0, 2.0))
def test_no_other_interval_is_better(cost: float, recovery: float) -> None:
    found = job(1.0, cost, recovery)
    best, goodput = evaluate(found.between), evaluate(found.goodput)
    assert evaluate(job(1.0, cost, recovery, best).goodput) == pytest.approx(goodput, rel=1e-6)
    for factor in (0.5, 0.95, 1.05, 2.0):
        assert evaluate(job(1.0, cost, recovery, best * factor).goodput) <= goodput * (1 + 1e-9)


def test_young_and_daly_for_short_checkpoints() -> None:
    # Daly 2006, eq. 20: sqrt(2 d M) (1 + sqrt(d / 2M) / 3 + d / (18 M)) - d
    for saving in (1.0, 30.0, 300.0):
        ratio = saving / 20_000
        daly = math.sqrt(2 * saving * 10_000) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - saving
        assert evaluate(job(10_000, saving, 0).between) == pytest.approx(daly, rel=1e-3)
    assert evaluate(job(1e7, 1.0, 0).between) == pytest.approx(math.sqrt(2e7), rel=1e-3)


@given(st.floats(-12, 2.5).map(lambda power: 10.0**power))
def test_the_best_interval_solves_its_equation(cost: float) -> None:
    x = ATOMS["best_interval"].scalar(cost)
    assert float(ATOMS["best_interval"].array(cost)) == pytest.approx(x, rel=1e-12)
    if 0.001 < x < 0.999:
        assert -math.log1p(-x) - x == pytest.approx(cost, rel=1e-9)
    symbol = Symbol("cost", NONE)
    if x < 0.999:
        (slope,) = gradient(best_interval(symbol), [symbol])
        step = cost * 1e-5
        around = (ATOMS["best_interval"].scalar(cost + step) - ATOMS["best_interval"].scalar(cost - step)) / (2 * step)
        assert evaluate(slope, {"cost": cost}) == pytest.approx(around, rel=1e-4)


# properties and inverses ----------------------------------------------------------------------------------------------
@given(st.integers(1, 20_000), st.floats(1, 3600), st.floats(0, 3600))
def test_more_nodes_and_longer_checkpoints_never_help(nodes: int, saving: float, recovery: float) -> None:
    given_: dict[str, Any] = {"checkpoint_time_s": saving, "avg_recovery_time_s": recovery}
    now = solve(fleet=fleet_of(8 * nodes, "DGX_A100"), **given_)
    larger = solve(fleet=fleet_of(8 * nodes + 8, "DGX_A100"), **given_)
    slower = solve(fleet=fleet_of(8 * nodes, "DGX_A100"), **{**given_, "checkpoint_time_s": 2 * saving})
    assert 0 < now.goodput < 1
    assert larger.goodput <= now.goodput
    assert slower.goodput <= now.goodput
    assert larger.si("fleet_mtbf") < now.si("fleet_mtbf")


def test_the_largest_fleet_for_a_goodput() -> None:
    found = ReliabilityModel().max_nodes(0.9, fleet="H100_256")
    assert (found.side, found.fails_at) == ("largest", found.value + 1)
    at, beyond = (solve(fleet=fleet_of(8 * nodes, "DGX_H100")).goodput for nodes in (found.value, found.value + 1))
    assert at >= 0.9 > beyond
    with pytest.raises(NotInvertibleError):
        ReliabilityModel().max_nodes(0.999999, fleet="H100_256")
    with pytest.raises(InputError, match="best interval"):
        ReliabilityModel().max_nodes(0.9, fleet="H100_256", checkpoint_interval="1 h")


def test_the_longest_checkpoint_for_a_goodput() -> None:
    found = ReliabilityModel().solve_for("goodput", 0.9, unknown="checkpoint_time_s", **LLAMA)
    assert found.complete
    assert solve(checkpoint_time_s=found.value).goodput == pytest.approx(0.9, rel=1e-9)


def test_a_given_interval_is_used_and_the_best_one_still_shown() -> None:
    fixed, best = solve(checkpoint_interval="1 h"), solve()
    assert fixed.checkpoint_interval.to("min").magnitude == pytest.approx(60)
    assert fixed.optimal_interval == best.optimal_interval
    assert fixed.goodput < best.goodput


def test_inputs_of_the_seeds_and_their_names() -> None:
    days = ReliabilityModel().solve(fleet="H100_256", job_duration_days=30)
    hours = ReliabilityModel().solve("H100_256", job_duration_hours=720, checkpoint_time_s=60.0)
    assert days.goodput == hours.goodput
    assert days.optimal_interval.to("minutes").magnitude == pytest.approx(153.5, abs=0.1)
    assert days.optimal_checkpoint_interval == days.optimal_interval
    assert days.goodput_ratio == days.goodput
    assert "Llama3_H100" in days.assumptions["reliability"]
    for wrong in ({}, {"job_duration_days": 1, "job_duration_hours": 24}, {"job_duration_days": -1}):
        with pytest.raises(InputError):
            ReliabilityModel().solve(fleet="H100_256", **wrong)


def test_sweeping_fleets_and_durations() -> None:
    swept = ReliabilityModel().sweep(
        fleet=["H100_256", "Meta_Llama3_16K_H100"], job_duration_days=[1, 30], outputs=["goodput", "expected_failures"]
    )
    assert swept["expected_failures"][1, 1] == pytest.approx(solve(job_duration_days=30).expected_failures)
    assert swept["goodput"][1, 0] == pytest.approx(solve().goodput)
