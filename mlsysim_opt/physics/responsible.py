"""What responsible training costs: differential privacy, and enough samples to see how small groups fare.

Private training (DP-SGD) clips the gradient of every example and adds Gaussian noise to their sum. The noise is that of
an upper bound, so that the training is (epsilon, delta)-private: the Renyi accountant of the sampled Gaussian mechanism
(`algebra.atoms.privacy`), 5 to 22 % more than the central limit asks for from q sqrt(T) of 0.3 on. It holds for batches
that take every example with the same chance (Poisson sampling) and for neighbours that differ by one example more;
batches of a fixed size drawn otherwise are a case of their own.

The central limit is reported beside it: T steps, each on a share q of the data, are together about as private as one
Gaussian mechanism of mu = q sqrt(T (e^(1/sigma^2) - 1)) (Bu et al. 2020). Its noise is too small: asked for epsilon of
10 at q = 0.01 and 1,000 steps, it gives 11.8 by a numerical accountant. It is an estimate, not a promise, and none at
all below q sqrt(T) of 0.3.

Sources: Abadi et al. 2016 (DP-SGD); Mironov, Talwar and Zhang 2019, and Canonne, Kamath and Steinke 2020 (the bound);
Dong, Roth and Su 2019 and Bu et al. 2020 (Gaussian differential privacy, the central limit); Yousefpour et al. 2021,
Opacus (per-example gradients, 1.5 to 5 times the time); Li et al. 2022 (ghost clipping, 1.1 to 1.5 times); Cochran
1977, section 4.4 (sample size for a proportion).
"""

from __future__ import annotations

from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import ceil, gaussian_privacy, log, maximum, private_noise, private_rate, sqrt
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.units import TIME


class ResponsibleEngineeringResult(Result):
    """Noise, time and data that privacy takes, and samples for small groups."""

    units: ClassVar[dict[str, str]] = {"effective_training_time": "h", "additional_training_time": "h"}
    dp_slowdown_factor: Any
    effective_training_time: Any
    additional_training_time: Any
    noise_multiplier: Any
    central_limit_noise_multiplier: Any
    relative_noise: Any
    gaussian_mu: Any
    private_data_factor: Any
    additional_data_requirement: Any
    subgroup_samples: Any
    required_samples: Any
    epsilon: Any
    delta: Any

    @property
    def dp_slowdown(self) -> Any:
        """The same as `dp_slowdown_factor`."""
        return self.dp_slowdown_factor

    @property
    def fairness_data_ratio(self) -> Any:
        """The same as `additional_data_requirement`."""
        return self.additional_data_requirement


class ResponsibleEngineeringModel(Model):
    """Cost of differentially private training, and of evaluating the smallest group.

    `noise_multiplier` is a standard deviation of the noise over the clipping norm that makes `steps` steps on a share
    `sampling_rate` of the data (epsilon, delta)-private: by an upper bound, never too little.
    `central_limit_noise_multiplier` is what the central limit estimates, which is less and keeps no promise.

    The time grows by the overhead of clipping every example (1.1 to 5 times, by method) and by `batch_factor`, how much
    larger a batch is taken to drown the noise; its effect is `relative_noise`, the noise of the mean gradient, 1 for a
    multiplier of 1 at the base batch. At a fixed number of steps a larger batch helps little once the multiplier is
    above 1: the sampling rate rises with it. More data helps:
    `private_data_factor` times as much, with batch and steps as they are, needs a multiplier of `tolerated_noise` only.
    epsilon itself does not slow a step down.

    To see a rate in a group with a `margin_of_error` takes `subgroup_samples` of the group; sampled at random from all,
    that is `required_samples`, and `additional_data_requirement` times what the whole population would take.

    Sources: see `responsible`.
    """

    wall = 20
    inputs = (
        Number("base_training_time", "time without privacy", unit="h", of=TIME, open_low=True),
        Number("epsilon", "privacy loss of the whole training", default=1.0, open_low=True),
        Number("delta", "probability with which it may be more", default=1e-5, high=0.5, open_low=True),
        Number("min_subgroup_prevalence", "share of the smallest group", default=0.01, high=1.0, open_low=True),
        Number("sampling_rate", "batch over data set", default=0.01, high=1.0, open_low=True),
        Number("steps", "optimizer steps", default=10_000, integer=True, low=1),
        Number("clipping_overhead", "time of a step with clipping of every example over one without", default=2.0,
               low=1.0),
        Number("batch_factor", "batch over the base batch, at the same number of steps", default=1.0, low=1.0),
        Number("tolerated_noise", "noise multiplier that does not hurt at the base batch", default=1.0, open_low=True),
        Number("margin_of_error", "half width of the interval for the rate in a group", default=0.05, high=1.0,
               open_low=True),
        Number("expected_rate", "the rate that is measured; 0.5 takes most samples", default=0.5, high=1.0),
        Number("confidence_z", "standard deviations of the interval; 1.96 for 95 percent", default=1.959964,
               open_low=True),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {"min_prevalence": "min_subgroup_prevalence"}
    example: ClassVar[dict[str, Any]] = {"base_training_time": "100 h", "epsilon": 3.0}

    def equations(self, **leaves: Any) -> ResponsibleEngineeringResult:
        factor, steps = leaves["batch_factor"], leaves["steps"]
        budget = leaves["epsilon"], leaves["delta"]
        mu = gaussian_privacy(*budget)
        rate = leaves["sampling_rate"] * factor
        sigma = private_noise(*budget, rate, steps)
        tolerated = private_rate(*budget, leaves["tolerated_noise"], steps)
        slowdown = leaves["clipping_overhead"] * factor
        time, share, p = leaves["base_training_time"], leaves["min_subgroup_prevalence"], leaves["expected_rate"]
        of_group = leaves["confidence_z"] ** 2 * p * (1 - p) / leaves["margin_of_error"] ** 2
        return ResponsibleEngineeringResult(
            dp_slowdown_factor=slowdown,
            effective_training_time=time * slowdown,
            additional_training_time=time * (slowdown - 1),
            noise_multiplier=sigma,
            central_limit_noise_multiplier=1 / sqrt(log(1 + mu**2 / (rate**2 * steps))),
            relative_noise=sigma / factor,
            gaussian_mu=mu,
            private_data_factor=maximum(leaves["sampling_rate"] / tolerated, 1),
            additional_data_requirement=1 / share,
            subgroup_samples=ceil(of_group),
            required_samples=ceil(of_group / share),
            epsilon=leaves["epsilon"],
            delta=leaves["delta"],
            constraints={"a batch is no more than the data": rate <= 1},
        )
