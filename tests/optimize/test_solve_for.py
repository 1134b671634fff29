"""The inverse of a metric of an optimal design."""

from __future__ import annotations

from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import DimensionError, InputError, NotInvertibleError, UnknownNameError
from mlsysim_opt.optimize import formulation

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
    with pytest.raises(InputError, match="expected a model, got 5"):
        mo.solve_for("step_time <= 5 s", unknown="calibration.gemm_efficiency", using=5)
    with pytest.raises(DimensionError) as caught:
        mo.solve_for("step_time <= 5", unknown="calibration.gemm_efficiency", using=solution)
    assert str(caught.value.hint).endswith("'5 s'")  # the unit of the metric
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
    assert most.result().si("step_time") == pytest.approx((step * 0.95).to("s").magnitude)


def test_a_whole_number_of_a_problem(solution: Any) -> None:
    found = solution.solve_for("step_time <= 6 s", unknown="seq_len")
    assert found.fails_at


DESIGN: dict[str, Any] = {
    "tp_size": 2, "pp_size": 1, "dp_size": 32, "cp_size": 1, "microbatch_size": 1, "v_stages": 1, "zero_stage": 1,
    "recomputation": "none", "sequence_parallel": True, "overlap_comm": True,
}  # fmt: skip


def test_a_design_of_a_formulation_by_name() -> None:
    given = {"using": "parallelism", **JOB, **DESIGN}
    found = mo.solve_for("memory <= 40 GiB", unknown="seq_len", **given)
    length = int(found.value)
    assert found.fails_at == (length + 1,)
    assert found.result().si("memory") <= 40 * 2**30
    there = mo.evaluate("parallelism", design=DESIGN, **{**JOB, "seq_len": 8192}).get("metrics")
    assert there["memory"].to("GiB").magnitude > 40  # today's length does not meet it
    # What the design cannot have the memory for is said: 80 GB of an H100 are less than what 131,072 tokens need.
    assert mo.solve_for("memory >= 100 GiB", unknown="seq_len", **given).violated == ("memory fits",)


def test_what_is_left_out_of_a_design_is_chosen_well(solution: Any) -> None:
    asked: dict[str, Any] = {"target": "step_time <= 7 s", "unknown": "gemm_efficiency"}
    by_name = mo.solve_for(**asked, using="parallelism", objective="min_step_time", **JOB)
    assert by_name.value == solution.solve_for(**asked).value  # the end of its path is enough
    narrow = mo.solve_for(**asked, using="parallelism", objective="min_step_time", tp_size=2, **JOB)
    assert narrow.value > by_name.value  # with less choice, it takes more


def test_a_decision_is_found_by_looking_at_its_values() -> None:
    rest = {name: value for name, value in DESIGN.items() if name != "microbatch_size"}
    given = {"using": "parallelism", **JOB, **rest}
    found = mo.solve_for("memory <= 70 GiB", unknown="microbatch_size", **given)
    seen = {}
    for size in (1, 2, 4):
        answer = mo.evaluate("parallelism", design={**rest, "microbatch_size": size}, **JOB)
        seen[size] = answer["feasible"] and answer["metrics"]["memory"].to("GiB").magnitude <= 70
    assert [size for size, meets in seen.items() if meets] == [*found.values]
    with pytest.raises(NotInvertibleError) as caught:
        mo.solve_for("memory <= 40 GiB", unknown="microbatch_size", **given)
    assert "1 gives 44.7281 GiB" in str(caught.value.hint)
    assert "violates 'memory fits'" in str(caught.value.hint)


def test_a_decision_of_a_solution_goes_with_the_others(solution: Any) -> None:
    found = solution.solve_for("step_time <= 8 s", unknown="microbatch_size")
    assert solution.design["microbatch_size"] in found.values
    assert mo.solve_for("step_time <= 8 s", unknown="tp_size", using=solution).values == (solution.design["tp_size"],)
    with pytest.raises(NotInvertibleError, match="no tp_size makes") as caught:
        solution.solve_for("step_time <= 6 s", unknown="tp_size")
    assert "violates 'tp x pp x dp x cp = devices'" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"unknown": "recomputation"}, "recomputation is no number, but one of none"),
        ({"unknown": "tp_size", "tp_size": 2}, "tp_size is the unknown, and given"),
        ({"tp_size": 3}, "3 is not a value of tp_size"),
        ({"tp_sise": 2}, "did you mean 'tp_size'"),
        ({"tp_size": [1, 2]}, "expected one value of a decision"),
        ({**DESIGN, "dp_size": 8}, "this is no design: it violates 'tp x pp x dp x cp = devices'"),
        ({"target": "step_time", "value": ["<= 5 s", "<= 6 s"]}, "expected one value"),
        ({"using": "paralelism"}, "did you mean 'parallelism'"),
    ],
)
def test_bad_questions_about_a_formulation(asked: dict[str, Any], message: str) -> None:
    question = {"target": "step_time <= 6 s", "unknown": "gemm_efficiency", "using": "parallelism", **JOB, **asked}
    with pytest.raises(InputError) as caught:
        mo.solve_for(**question)
    assert message in str(caught.value)


def test_a_plan_of_a_coupled_problem_is_no_single_design() -> None:
    with pytest.raises(InputError, match="placement is a coupled problem"):
        mo.solve_for("cost <= 5 USD", unknown="x", using="placement", **formulation("placement").example)
