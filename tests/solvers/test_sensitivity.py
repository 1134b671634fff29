"""Elasticities: against finite changes, against limits that are known, and the traps of other tools."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.serving import ServingModel
from mlsysim_opt.physics.training import DistributedModel
from mlsysim_opt.solvers import SensitivitySolver
from mlsysim_opt.solvers.sensitivity import changes


def solve(*args: Any, **given: Any) -> Any:
    return SensitivitySolver().solve(*(args or ("Llama3_8B", "H100")), **given)


def test_the_question_of_the_seed_documents() -> None:
    # Llama 3 70B on an A100: a decode step of a model that does not fit. Bandwidth counts, FLOP/s and capacity do not;
    # the printed -0.88 and -0.06 are elasticities too, for another efficiency and overhead.
    result = solve("Llama3_70B", "A100")
    assert list(result.sensitivities) == ["peak_flops", "memory_bandwidth", "memory_capacity"]
    assert -1 < result.sensitivities["memory_bandwidth"] < -0.85
    assert -0.1 < result.sensitivities["peak_flops"] <= 0
    assert result.sensitivities["memory_capacity"] == 0
    assert result.binding_constraint == "memory_bandwidth"


def test_trap_sensitivities_are_elasticities_not_changes() -> None:
    # ten percent more bandwidth: the time falls by about 0.96 x (1 - 1/1.1) = 8.8 percent, which is not the elasticity
    result = solve("Llama3_70B", "A100", perturbation_pct=10)
    elasticity = result.sensitivities["memory_bandwidth"]
    assert result.changes["memory_bandwidth"] == pytest.approx(elasticity * (1 - 1 / 1.1), abs=0.002)
    tiny = solve("Llama3_70B", "A100", perturbation_pct=1e-4)
    assert tiny.changes["memory_bandwidth"] / 1e-6 == pytest.approx(elasticity, rel=1e-5)


def test_trap_a_model_that_does_not_fit_has_levers_too() -> None:
    result = solve("Llama3_70B", "A100")
    assert not result.feasible
    assert result.note is not None
    assert "51.4 GiB are missing" in result.note
    assert any(result.sensitivities.values())
    assert solve().note is None
    assert solve().feasible


def test_trap_overhead_is_a_lever() -> None:
    # one image: launches take most of the time
    result = solve("ResNet50", "A100")
    assert result.binding_constraint == "overhead"
    assert result.levers["overhead"] > 0.5
    assert solve("ResNet50", "A100", batch_size=256).binding_constraint == "peak_flops"


def test_levers_are_derivatives() -> None:
    for batch, length in ((1, 1), (64, 1), (1, 512), (256, 1), (1, 4096)):
        result = solve(batch_size=batch, seq_len=length)
        step = 1 + 1e-6
        inputs = {"model": "Llama3_8B", "hardware": "H100", "batch_size": batch, "seq_len": length}
        from mlsysim_opt.physics import SingleNodeModel

        exact = changes(SingleNodeModel(), "latency", inputs, step)
        for lever, value in result.levers.items():
            assert value == pytest.approx(math.log1p(exact[lever]) / math.log(step), abs=1e-5)


def test_rates_and_overheads_together_explain_all_of_the_time() -> None:
    # time is homogeneous of degree one in (1 / rates, overheads): -bandwidth - FLOP/s + overhead = 1
    for batch in (1, 32, 512):
        levers = solve(batch_size=batch).levers
        total = -levers["memory_bandwidth"] - levers["peak_flops"] + levers["overhead"]
        assert total == pytest.approx(1, abs=1e-9)


def test_other_models_and_outputs() -> None:
    serving = solve("Llama3_8B", "H100", using=ServingModel, output="ttft", seq_len=4096)
    assert serving.binding_constraint == "peak_flops"
    assert serving.output == "ttft"
    step = solve(
        "Llama3_8B", using=DistributedModel, output="step_time", precision="bf16", fleet="Research_256",
        batch_size=1024, seq_len=2048, tp_size=8,
    )  # fmt: skip
    assert step.levers["peak_flops"] < -0.3
    assert step.levers["link_bandwidth"] <= 0


def test_no_change_is_refused() -> None:
    for wrong in (0, -100, float("nan")):
        with pytest.raises(InputError, match="no change"):
            solve(perturbation_pct=wrong)
    assert solve(perturbation_pct=-50).changes["memory_bandwidth"] > 0
