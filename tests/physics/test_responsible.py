"""Private training against another accountant, and sample sizes by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics import ResponsibleEngineeringModel

ORDERS = [*range(2, 65), *range(72, 129, 8), *range(160, 257, 32), *range(320, 513, 64), *range(640, 1025, 128)]


def solve(**given_: Any) -> Any:
    return ResponsibleEngineeringModel().solve(**{"base_training_time": "100 h", **given_})


# another accountant ---------------------------------------------------------------------------------------------------
def renyi(rate: float, sigma: float, order: int) -> float:
    """Renyi divergence of one step at a whole order (Mironov, Talwar and Zhang 2019, equation 5)."""
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
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


def true_epsilon(rate: float, sigma: float, steps: int, delta: float) -> float:
    """Epsilon by adding up the distribution of the privacy loss (Koskela et al. 2020): no bound, but a number.

    A step shifts a unit of noise sigma for a share `rate` of all cases. The losses of both directions are rounded to
    the nearest point of a grid, and those of all steps are added by Fourier transform.
    """
    half, finest = 2**18, 4e-4
    x = np.linspace(-12 * sigma, 1 + 12 * sigma, 500_001)
    width = x[1] - x[0]
    without = np.exp(-(x**2) / 2 / sigma**2) / sigma / math.sqrt(2 * math.pi) * width
    shift = (x - 0.5) / sigma**2
    loss = np.log1p(rate * np.expm1(shift))
    with_one = without * np.exp(loss)
    found = 0.0
    for chances, losses in ((with_one, loss), (without, -loss)):
        places = np.clip(np.rint(losses / finest).astype(int), -half, half - 1) % (2 * half)
        one = np.bincount(places, weights=chances, minlength=2 * half)
        every = np.fft.ifft(np.fft.fft(one / one.sum()) ** steps).real
        total = np.fft.fftfreq(2 * half, 1 / (2 * half)) * finest
        low, high = 0.0, 30.0
        for _ in range(40):
            middle = (low + high) / 2
            beyond = total > middle
            private = float(np.sum(every[beyond] * -np.expm1(middle - total[beyond]))) <= delta
            low, high = (low, middle) if private else (middle, high)
        found = max(found, high)
    return found


# asked epsilon, sampling rate, steps, what the central limit takes, and epsilon of that by a numerical accountant
CASES = [
    (10.0, 0.01, 1000, 0.519, 11.84), (3.0, 0.05, 1000, 2.306, 3.08), (1.0, 0.1, 100, 3.796, 1.045),
    (3.0, 0.01, 10_000, 1.549, 3.044),
]  # fmt: skip


@pytest.mark.parametrize(("epsilon", "rate", "steps", "limit", "reached"), CASES)
def test_trap_what_is_promised_is_private(
    epsilon: float, rate: float, steps: int, limit: float, reached: float
) -> None:
    result = solve(epsilon=epsilon, sampling_rate=rate, steps=steps)
    assert result.feasible
    # the central limit breaks the promise
    assert result.central_limit_noise_multiplier == pytest.approx(limit, abs=5e-4)
    assert true_epsilon(rate, result.central_limit_noise_multiplier, steps, 1e-5) == pytest.approx(reached, rel=0.01)
    assert reached > epsilon
    # the bound keeps it, at a quarter more noise at most
    assert epsilon_of(rate, result.noise_multiplier, steps, 1e-5) <= epsilon
    assert true_epsilon(rate, result.noise_multiplier, steps, 1e-5) <= epsilon
    assert limit < result.noise_multiplier < 1.25 * limit


@given(
    st.floats(0.02, 30), st.floats(-10, -2).map(lambda power: 10.0**power),
    st.floats(-4, -0.01).map(lambda power: 10.0**power), st.integers(1, 200_000),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_any_noise_is_private_and_hardly_more_than_the_bound_asks(
    epsilon: float, delta: float, rate: float, steps: int
) -> None:
    sigma = solve(epsilon=epsilon, delta=delta, sampling_rate=rate, steps=steps).noise_multiplier
    mu = math.sqrt(steps) / sigma  # as if on all data: exact, and an upper bound (Dong, Roth and Su 2019)
    on_all = normal(mu / 2 - epsilon / mu) - math.exp(epsilon) * normal(-mu / 2 - epsilon / mu)
    by_order = epsilon_of(rate, sigma, steps, delta)
    assert by_order <= epsilon * (1 + 1e-9) or on_all <= delta * (1 + 1e-9)
    if by_order <= epsilon * (1 + 1e-9) and on_all < 0.99 * delta:
        assert epsilon_of(rate, sigma * 0.999, steps, delta) > epsilon


def normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def test_steps_on_all_data_are_one_gaussian_mechanism() -> None:
    # 100 steps on everything with sigma = 10 / mu: mu = 0.2681 is (1, 1e-5)-private, so sigma = 10 / 0.2681 = 37.3
    result = solve(sampling_rate=1.0, steps=100)
    assert result.gaussian_mu == pytest.approx(0.2681, abs=1e-4)
    assert result.noise_multiplier == pytest.approx(10 / result.gaussian_mu, rel=1e-9)


def test_few_steps_are_private_too() -> None:
    # the central limit does not hold for 0.001 sqrt(1000) = 0.03; the bound needs no limit
    result = solve(sampling_rate=0.001, steps=1000)
    assert result.feasible
    assert true_epsilon(0.001, result.noise_multiplier, 1000, 1e-5) <= 1.0
    assert true_epsilon(0.001, result.central_limit_noise_multiplier, 1000, 1e-5) > 1.3
    assert not solve(sampling_rate=0.6, batch_factor=2).constraints["a batch is no more than the data"]


def test_the_central_limit_by_hand() -> None:
    # epsilon 1, delta 1e-5: mu = 0.2681; q sqrt(T) = 0.01 x 100 = 1: sigma^2 = 1 / ln(1 + 0.2681^2) = 14.41
    result = solve()
    assert result.gaussian_mu == pytest.approx(0.2681, abs=1e-4)
    assert result.central_limit_noise_multiplier == pytest.approx(math.sqrt(1 / math.log(1 + 0.2681**2)), rel=1e-3)


def test_lists_give_the_values_of_single_questions() -> None:
    swept = ResponsibleEngineeringModel().sweep(base_training_time="100 h", epsilon=[1.0, 3.0], steps=[1000, 10_000])
    for at, epsilon in enumerate((1.0, 3.0)):
        for over, steps in enumerate((1000, 10_000)):
            assert swept["noise_multiplier"][at, over] == solve(epsilon=epsilon, steps=steps).noise_multiplier


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
