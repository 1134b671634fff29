"""The inverse of a metric of an optimal design."""

from __future__ import annotations

from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import DimensionError, InputError, NotInvertibleError, UnknownNameError

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
    with pytest.raises(InputError, match="nothing else is given"):
        mo.solve_for("step_time <= 5 s", unknown="calibration.gemm_efficiency", using=solution, seq_len=4096)
    with pytest.raises(InputError, match="expected a model, got 'parallelism'"):
        mo.solve_for("step_time <= 5 s", unknown="calibration.gemm_efficiency", using="parallelism")
    with pytest.raises(DimensionError):
        mo.solve_for("step_time <= 5 GB", unknown="calibration.gemm_efficiency", using=solution)


def test_the_attainable_range_of_a_metric_does_not_contradict_itself(solution: Any) -> None:
    # Without end, the network leaves 0.485 of the peak: step by step, and by the range that an error says.
    fast = solution.solve_for("mfu", 0.485, unknown="fleet.fabric.bandwidth")
    assert fast.residual < 1e-9
    for target in ("mfu >= 0.5", "mfu = 0.5"):
        with pytest.raises(NotInvertibleError) as caught:
            solution.solve_for(target, unknown="fleet.fabric.bandwidth")
        assert caught.value.hint == "attainable is 0 to 0.485037"


def test_at_most_and_at_least(solution: Any) -> None:
    step = solution.metrics["step_time"]
    name = "calibration.gemm_efficiency"
    exact = solution.solve_for("step_time", step * 0.95, unknown=name)
    most = mo.solve_for("step_time", f"<= {(step * 0.95).to('s').magnitude!r} s", unknown=name, using=solution)
    least = mo.solve_for("step_time", f">= {(step * 0.95).to('s').magnitude!r} s", unknown=name, using=solution)
    assert most.region[0].low == pytest.approx(exact.value)
    assert least.region[0].high == pytest.approx(exact.value)
    assert f"{name} at least" in str(most)
    assert not most.violated
    with pytest.raises(InputError, match="not a number of an entry"):
        most.result()


def test_a_whole_number_of_a_problem(solution: Any) -> None:
    found = solution.solve_for("step_time <= 6 s", unknown="seq_len")
    assert found.fails_at
