"""Private training against another accountant, and sample sizes by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics import ResponsibleEngineeringModel

ORDERS = [*range(2, 64), 80, 96, 128, 192, 256, 384, 512]


def solve(**given_: Any) -> Any:
    return ResponsibleEngineeringModel().solve(**{"base_training_time": "100 h", **given_})


# another accountant ---------------------------------------------------------------------------------------------------
def renyi(rate: float, sigma: float, order: int) -> float:
    """Renyi divergence of one step at a whole order (Mironov, Talwar and Zhang 2019, equation 5)."""
    terms = [
        math.log(math.comb(order, k))
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + (k * k - k) / 2 / sigma**2
        for k in range(order + 1)
    ]
    top = max(terms)
    return (top + math.log(sum(math.exp(term - top) for term in terms))) / (order - 1)


def epsilon_of(rate: float, sigma: float, steps: int, delta: float) -> float:
    """An upper bound of epsilon (conversion of Balle et al. 2020)."""
    return min(
        steps * renyi(rate, sigma, order) + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
        for order in ORDERS
    )


def test_the_other_accountant_is_one() -> None:
    # TensorFlow Privacy's example: 60,000 images, batches of 256, 60 epochs, multiplier 1.1: epsilon 2.6 to 3.0 at 1e-5
    assert 2.5 < epsilon_of(256 / 60_000, 1.1, 60 * 60_000 // 256, 1e-5) < 3.1
    # Abadi et al. 2016, section 3.2: q = 0.01, sigma = 4, 10,000 steps: epsilon 1.26 by moments; tighter today
    assert 0.9 < epsilon_of(0.01, 4, 10_000, 1e-5) < 1.26


@pytest.mark.parametrize(("rate", "steps"), [(0.01, 1000), (0.01, 10_000), (0.001, 100_000), (0.05, 100)])
@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
def test_the_noise_is_somewhat_below_that_of_the_upper_bound(rate: float, steps: int, epsilon: float) -> None:
    result = solve(epsilon=epsilon, sampling_rate=rate, steps=steps)
    assert result.feasible
    assert epsilon_of(rate, result.noise_multiplier, steps, 1e-5) >= epsilon  # the bound is above
    assert epsilon_of(rate, result.noise_multiplier / 0.8, steps, 1e-5) < epsilon  # by less than 20 % in sigma


def test_where_the_central_limit_fails_it_says_so() -> None:
    result = solve(sampling_rate=0.001, steps=1000)
    assert not result.constraints["enough steps for the central limit"]
    assert not solve(sampling_rate=0.6, batch_factor=2).constraints["a batch is no more than the data"]


def test_the_noise_by_hand() -> None:
    # epsilon 1, delta 1e-5: mu = 0.2681; q sqrt(T) = 0.01 x 100 = 1: sigma^2 = 1 / ln(1 + 0.2681^2) = 14.41
    result = solve()
    assert result.gaussian_mu == pytest.approx(0.2681, abs=1e-4)
    assert result.noise_multiplier == pytest.approx(math.sqrt(1 / math.log(1 + 0.2681**2)), rel=1e-3)


# cost -----------------------------------------------------------------------------------------------------------------
def test_trap_every_term_of_the_accountant_counts() -> None:
    # A law of 1 + 2/epsilon knows neither delta, nor the sampling rate, nor the steps, nor how gradients are clipped.
    base = solve().noise_multiplier
    assert solve(delta=1e-7).noise_multiplier > base
    assert solve(sampling_rate=0.02).noise_multiplier > base
    assert solve(steps=20_000).noise_multiplier > base
    assert solve(epsilon=2).noise_multiplier < base
    assert solve(clipping_overhead=1.2).dp_slowdown_factor == pytest.approx(1.2)
    assert solve(clipping_overhead=1.2, epsilon=0.1).dp_slowdown_factor == pytest.approx(1.2)


def test_time_grows_by_clipping_and_batch() -> None:
    result = solve(clipping_overhead=1.5, batch_factor=4)
    assert result.dp_slowdown == result.dp_slowdown_factor == 6
    assert result.effective_training_time.to("h").magnitude == pytest.approx(600)
    assert result.additional_training_time.to("h").magnitude == pytest.approx(500)


def test_a_larger_batch_helps_little_and_more_data_much() -> None:
    # At multipliers above 1 the noise of the sum grows with the batch, and their ratio falls to a limit above zero
    assert 0.9 < solve(batch_factor=8).relative_noise / solve().relative_noise < 1
    found = solve(tolerated_noise=1.0)
    enough = solve(sampling_rate=0.01 / found.private_data_factor)
    assert enough.noise_multiplier == pytest.approx(1.0, rel=1e-9)
    assert solve(epsilon=8, tolerated_noise=2).private_data_factor == 1


def test_the_epsilon_of_a_noise_multiplier() -> None:
    found = ResponsibleEngineeringModel().solve_for(
        "noise_multiplier", 2.0, unknown="epsilon", base_training_time="100 h"
    )
    assert solve(epsilon=found.value).noise_multiplier == pytest.approx(2.0, rel=1e-9)
    assert found.complete


# fairness -------------------------------------------------------------------------------------------------------------
def test_samples_for_a_small_group_by_hand() -> None:
    # 1.96^2 x 0.25 / 0.05^2 = 384.15: 385 of the group, and 38,415 in all where it is 1 in 100
    result = solve()
    assert result.subgroup_samples == 385
    assert result.required_samples == math.ceil(1.959964**2 * 0.25 / 0.05**2 / 0.01) == 38_415
    assert result.additional_data_requirement == result.fairness_data_ratio == 100
    assert solve(expected_rate=0.1).subgroup_samples == math.ceil(1.959964**2 * 0.09 / 0.05**2) == 139


@given(st.floats(0.1, 10), st.floats(-9, -2).map(lambda power: 10.0**power), st.floats(0.003, 0.5))
def test_more_privacy_takes_more_noise_and_data(epsilon: float, delta: float, rate: float) -> None:
    now = solve(epsilon=epsilon, delta=delta, sampling_rate=rate)
    for stricter in ({"epsilon": epsilon / 2, "delta": delta}, {"epsilon": epsilon, "delta": delta / 10}):
        more = solve(**stricter, sampling_rate=rate)
        assert more.noise_multiplier > now.noise_multiplier > 0
        assert more.private_data_factor >= now.private_data_factor >= 1
        assert more.dp_slowdown_factor == now.dp_slowdown_factor


def test_inputs_out_of_range_are_refused() -> None:
    for wrong in ({"epsilon": 0}, {"delta": 0}, {"delta": 1}, {"sampling_rate": 2}, {"min_subgroup_prevalence": 0}):
        with pytest.raises(InputError):
            solve(**wrong)
