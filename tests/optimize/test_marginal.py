"""What a limit costs, and the same question otherwise: by hand and by counting."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing.plans import Shop

import mlsysim_opt as mo
from mlsysim_opt.errors import DimensionError, InputError
from mlsysim_opt.optimize import CoupledProblem


def ships() -> CoupledProblem:
    """Two jobs, two places. Plans by hand (USD, kgCO2e): (2, 20), (5, 12), (6, 11), (9, 3)."""
    made = CoupledProblem("ships")
    job, place = made.choose("job", ["a", "b"]), made.choose("place", ["Iowa", "Quebec"])
    run = made.picks("run", [job, place], for_each=[job])
    made.measure("cost", run * made.table("price", [job, place], [[1, 4], [1, 5]], "USD"), unit="USD")
    made.measure("carbon", run * made.table("carbon", [job, place], [[10, 2], [10, 1]], "kgCO2e"), unit="kgCO2e")
    made.default_objective = "min_cost"
    return made


def test_steps_of_a_limit_by_hand() -> None:
    found = mo.optimize(ships()).marginal("carbon <= 20 kgCO2e", [20, 15, 11, 3, 2])
    assert [item.value if item else None for item in found.values] == [2, 5, 6, 9, None]
    assert [item.value if item else None for item in found.reached] == [20, 12, 11, 3, None]
    assert [item.value if item else None for item in found.costs] == [None, 3, 1, 3, None]
    # 3 USD for 5 kg, 1 USD for 4 kg, 3 USD for 8 kg
    assert [item.value if item else None for item in found.secants] == pytest.approx([None, 0.6, 0.25, 0.375, None])
    text = str(found)
    assert "20 kgCO2e -> 15 kgCO2e costs 3 USD, 0.6 USD/kgCO2e" in text
    assert "2 kgCO2e: nothing is possible" in text
    assert "an estimate" in text


def test_the_next_exact_point() -> None:
    found = mo.optimize(ships(), constraints=["carbon <= 15 kgCO2e"]).marginal("carbon <= 15 kgCO2e")
    assert [item.value for item in found.limits] == pytest.approx([15, 11])
    assert [item.value for item in found.values if item] == [5, 6]
    assert found.secants[1] is not None
    assert found.secants[1].value == pytest.approx(1 / 4)


@pytest.mark.parametrize("seed", range(10))
def test_each_limit_is_solved_exactly(seed: int) -> None:
    shop = Shop.of(seed)
    plans = list(shop.plans())
    if not plans:
        return
    limits = np.linspace(0.8, 1.2, 5) * float(np.median([plan["carbon"] for plan in plans]))
    found = mo.optimize(shop.problem()).marginal(f"carbon <= {limits[0]}", limits)
    for limit, value in zip(found.limits, found.values, strict=True):
        possible = [plan["cost"] for plan in plans if limit.value is not None and plan["carbon"] <= limit.value]
        assert (value is None) is (not possible)
        if value is not None:
            assert value.value == pytest.approx(min(possible), rel=1e-9)


def test_limits_of_a_design() -> None:
    job = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 256, "seq_len": 8192}
    best = mo.optimize("parallelism", **job)
    found = best.marginal("memory <= 80 GB", range(80, 20, -20))
    assert [str(item) for item in found.limits] == ["80 GB", "60 GB", "40 GB"]
    for limit, value in zip(found.limits, found.values, strict=True):
        if value is not None:
            again = mo.optimize("parallelism", constraints=[f"memory <= {limit}"], explain=False, **job)
            assert value.si == pytest.approx(again.objective.si, rel=1e-12)
    tighter = best.what_if(constraints=["memory <= 40 GB"], seq_len=4096)
    assert tighter.request["given"]["seq_len"] == 4096
    assert tighter.metrics["memory"].to("GB").magnitude <= 40


def test_the_same_question_otherwise() -> None:
    first = mo.optimize(ships(), constraints=["carbon <= 15 kgCO2e"])
    other = first.what_if(constraints=["cost <= 100 USD"], without=["carbon <= 15 kgCO2e"])
    assert other.objective.value == 2
    assert first.moves(other) == ["run: job a moves place from Quebec to Iowa"]
    assert first.what_if(objective="min_carbon").objective.value == 3
    with pytest.raises(InputError, match="no constraint"):
        first.what_if(without=["carbon <= 1 kgCO2e"])
    with pytest.raises(InputError, match="formulation"):
        first.what_if(price="1 USD")


def test_what_is_no_limit_is_refused() -> None:
    best = mo.optimize(ships())
    for wrong in ("carbon == 3 kgCO2e", "carbon / 1 kgCO2e <= cost / 1 USD"):
        with pytest.raises(InputError):
            best.marginal(wrong, [1])
    with pytest.raises(InputError, match="empty"):
        best.marginal("carbon <= 3 kgCO2e", [])
    with pytest.raises(DimensionError):
        best.marginal("carbon <= 3 kgCO2e", ["3 USD"])
    with pytest.raises(InputError, match="expected limits"):
        best.marginal("carbon <= 3 kgCO2e", 3)
