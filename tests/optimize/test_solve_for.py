"""The inverse of a metric of an optimal design."""

from __future__ import annotations

from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import InputError, UnknownNameError

JOB: dict[str, Any] = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512, "seq_len": 8192}


@pytest.fixture(scope="module")
def solution() -> Any:
    return mo.optimize("parallelism", objective="min_step_time", explain=False, **JOB)


def test_a_metric_of_the_best_design_is_inverted(solution: Any) -> None:
    step = solution.metrics["step_time"]
    found = mo.solve_for("step_time", step * 0.95, unknown="calibration.gemm_efficiency", using=solution)
    assert found.residual < 1e-9
    # Five percent less time takes more than five percent more efficiency, as not all of the time is matrix products.
    from mlsysim_opt.registry import default_catalog

    now = default_catalog().find("calibration", "hopper").parameter("gemm_efficiency").si
    assert found.value > now * 1.05


def test_bad_questions_about_a_solution(solution: Any) -> None:
    with pytest.raises(UnknownNameError, match="number that step_time depends on"):
        mo.solve_for("step_time = 5 s", unknown="calibration.gem_efficiency", using=solution)
    with pytest.raises(InputError, match="asked to be equal to a value"):
        mo.solve_for("step_time <= 5 s", unknown="calibration.gemm_efficiency", using=solution)
